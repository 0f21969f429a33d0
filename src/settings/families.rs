//! Families: variables the service reads by itself, which the contract knows by name and form but does not use.
//!
//! They reach the service as they are. Here a misspelt one is named, a value the service would refuse is an error, and
//! so is what nothing turns on.

use std::collections::{BTreeMap, BTreeSet};

use super::Loader;
use crate::contract::{Contract, Family, UnknownKey};
use crate::did_you_mean::{edit_distance, tolerance};
use crate::report::Problem;
use crate::value::ValueType;

/// The settings of a family, by target: the name after a key, empty for the family itself.
type Targets = BTreeMap<String, BTreeSet<String>>;

impl Loader<'_> {
    pub(super) fn check_families(&mut self) {
        let (names, contract) = (self.set_names(), self.contract);
        for family in &contract.families {
            let mut targets = Targets::new();
            let own = |name: &&String| family_of(contract, name).is_some_and(|own| own.prefix == family.prefix);
            for name in names.iter().filter(own) {
                match family.split(name) {
                    Some((key, target)) => {
                        targets.entry(target.to_owned()).or_default().insert(key.to_owned());
                        self.check_form(family, name, key);
                    }
                    None if self.known.contains(name) => {}
                    None => self.report_stranger(family, name),
                }
            }
            for (target, keys) in &targets {
                self.check_target(family, target, keys);
            }
        }
    }

    fn set_names(&self) -> Vec<String> {
        let set = |name: &&str| self.environment.get(name).is_some_and(|text| !text.is_empty());
        self.environment.names().filter(set).map(str::to_owned).collect()
    }

    fn check_form(&mut self, family: &Family, name: &str, key: &str) {
        if self.known.contains(name) || !self.is_clean_as_passed(name) {
            return;
        }
        let Some(form) = self.contract.forms.get(&family.keys[key]) else { return };
        let Some(text) = self.text_of(name, false) else { return };
        let kind = ValueType::Text {
            pattern: Some(form.pattern.clone()),
            accepted: Some(form.accepted.clone()),
            min_length: 0,
        };
        if let Err(why) = kind.parse(&text) {
            let what = format!("{}{}", why.what, consequence(family));
            let source = self.source_of(name);
            self.problems.push(Problem::error(name, what).accepted(why.accepted).from_source(source));
        }
        // It is not declared: the service gets it.
        self.known.remove(name);
    }

    fn report_stranger(&mut self, family: &Family, name: &str) {
        let service = &self.contract.service.name;
        let relatives = self.contract.families.iter().filter(|other| other.prefix.starts_with(&family.prefix));
        let nearest = relatives.filter_map(|other| other.nearest(name)).min();
        let hint = nearest.map(|(_, nearest)| format!(": did you mean {nearest}?")).unwrap_or_default();
        let problem = match family.unknown {
            UnknownKey::Allowed => return,
            UnknownKey::Error => {
                let what = format!("is not a variable of {service}{}{hint}", consequence(family));
                Problem::error(name, what).accepted(family.accepted_names())
            }
            UnknownKey::Warning => {
                let what = format!("is not a variable of {service} and has no effect{hint}");
                if self.options.strict { Problem::error(name, what) } else { Problem::warning(name, what) }
            }
        };
        self.problems.push(problem.from_source("environment"));
    }

    /// The settings a target requires: the variable that turns it on, and the ones that one needs.
    fn check_target(&mut self, family: &Family, target: &str, keys: &BTreeSet<String>) {
        let Some(switch) = &family.enable else { return };
        let named = |key: &str| family.name_of(key, target);
        if !keys.contains(switch) {
            let names = keys.iter().map(|key| named(key)).collect::<Vec<_>>().join(", ");
            let verb = if keys.len() == 1 { "has" } else { "have" };
            let form = family.keys.get(switch).map(String::as_str);
            let example = if form == Some("on-off") { "=on" } else { "" };
            let message = format!("{verb} no effect: {} is not set", named(switch));
            let problem = Problem::warning(names, message).accepted(format!("{}{example} as well", named(switch)));
            self.problems.push(problem.from_source("environment"));
            return;
        }
        if self.is_off(&named(switch)) || keys.contains("ENABLE") && self.is_off(&named("ENABLE")) {
            return;
        }
        let needed = family.needs.iter().map(|key| (key, switch));
        let beside = |pair: &(&String, &String)| keys.contains(pair.1);
        let pairs = family.together.iter().flat_map(|[one, other]| [(one, other), (other, one)]).filter(beside);
        for (key, because) in needed.chain(pairs).filter(|(key, _)| !keys.contains(*key)) {
            let message = format!("is required: {} is set{}", named(because), consequence(family));
            let form = self.contract.forms.get(&family.keys[key]);
            let accepted = form.map_or("a value", |form| form.accepted.as_str());
            self.problems.push(Problem::error(named(key), message).accepted(accepted));
        }
    }

    fn is_off(&self, name: &str) -> bool {
        let text = self.environment.get(name).and_then(|text| text.to_str()).unwrap_or_default();
        ["off", "0", "f", "false", "disabled"].contains(&text.to_lowercase().as_str())
    }
}

/// The family of the longest prefix.
pub(super) fn family_of<'a>(contract: &'a Contract, name: &str) -> Option<&'a Family> {
    let fitting = contract.families.iter().filter(|family| name.starts_with(family.prefix.as_str()));
    fitting.max_by_key(|family| family.prefix.len())
}

fn consequence(family: &Family) -> String {
    family.consequence.as_ref().map(|what| format!(", {what}")).unwrap_or_default()
}

impl Family {
    /// The key a variable is about, and the target it names: the longest key that fits.
    fn split<'n>(&self, name: &'n str) -> Option<(&str, &'n str)> {
        let rest = name.strip_prefix(self.prefix.as_str())?;
        let fitting = self.keys.keys().filter_map(|key| {
            let after = rest.strip_prefix(key.as_str())?;
            let target = after.strip_prefix('_').filter(|target| self.targets && !target.is_empty());
            if after.is_empty() { Some((key.as_str(), "")) } else { target.map(|target| (key.as_str(), target)) }
        });
        fitting.max_by_key(|(key, _)| key.len())
    }

    fn name_of(&self, key: &str, target: &str) -> String {
        let target = if target.is_empty() { String::new() } else { format!("_{target}") };
        format!("{}{key}{target}", self.prefix)
    }

    /// The name that was probably meant, and how far it is; a target stays what it is.
    fn nearest(&self, name: &str) -> Option<(usize, String)> {
        let candidates = self.keys.keys().flat_map(|key| {
            let plain = self.name_of(key, "");
            let targets = name.match_indices('_').map(|(at, _)| name[at + 1..].to_owned());
            let with_target = targets.filter(|target| self.targets && !target.is_empty());
            let with_target = with_target.map(|target| self.name_of(key, &target)).collect::<Vec<_>>();
            std::iter::once(plain).chain(with_target)
        });
        let distances = candidates.map(|candidate| (edit_distance(name, &candidate), candidate));
        distances.filter(|(distance, _)| *distance <= tolerance(name, 3)).min()
    }

    fn accepted_names(&self) -> String {
        let keys = self.keys.keys().cloned().collect::<Vec<_>>().join(", ");
        format!("{} with one of {keys}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::tests::loaded;

    const CONTRACT: &str = r#"
        [service]
        name = "demo"
        summary = "A demonstration"
        prefixes = ["DEMO_"]
        command = ["/bin/demo"]
        [child]
        drop = ["DEMO_*"]
        pass = ["DEMO_HOOK_*", "DEMO_LDAP_*"]
        [form.on-off]
        pattern = "on|off"
        accepted = "on or off"
        [form.url]
        pattern = "https?://.+"
        accepted = "a URL"
        [[family]]
        prefix = "DEMO_HOOK_"
        targets = true
        enable = "ENABLE"
        needs = ["ENDPOINT"]
        together = [["CERT", "KEY"]]
        keys = { any = ["CERT", "KEY", "AUTH_TOKEN"], on-off = ["ENABLE"], url = ["ENDPOINT"] }
        [[family]]
        prefix = "DEMO_LDAP_"
        unknown = "error"
        consequence = "which turns LDAP off"
        keys = { any = ["SERVER_ADDR", "USER_BASE_DN"] }
    "#;

    fn run(pairs: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let (settings, problems) = loaded(CONTRACT, pairs);
        let inherited = settings.inherited.iter().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
        (problems, inherited)
    }

    #[test]
    fn what_is_well_formed_reaches_the_service_without_a_word() {
        let pairs =
            [("DEMO_HOOK_ENABLE_A", "on"), ("DEMO_HOOK_ENDPOINT_A", "http://a"), ("DEMO_LDAP_SERVER_ADDR", "x")];
        let (problems, inherited) = run(&pairs);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(inherited, ["DEMO_HOOK_ENABLE_A", "DEMO_HOOK_ENDPOINT_A", "DEMO_LDAP_SERVER_ADDR"]);
    }

    #[test]
    fn a_misspelt_name_is_named_and_says_what_comes_of_it() {
        let (problems, _) = run(&[("DEMO_LDAP_USER_BASE", "x")]);
        let meant =
            "DEMO_LDAP_USER_BASE is not a variable of demo, which turns LDAP off: did you mean DEMO_LDAP_USER_BASE_DN?";
        assert_eq!(problems, [meant]);
        let (problems, _) = run(&[("DEMO_HOOK_ENABLE_A", "off"), ("DEMO_HOOK_ENPOINT_A", "http://a")]);
        let meant =
            "DEMO_HOOK_ENPOINT_A is not a variable of demo and has no effect: did you mean DEMO_HOOK_ENDPOINT_A?";
        assert_eq!(problems, [meant]);
    }

    #[test]
    fn a_value_of_another_form_is_an_error() {
        let (problems, _) = run(&[("DEMO_HOOK_ENABLE", "on"), ("DEMO_HOOK_ENDPOINT", "a:1")]);
        assert_eq!(problems, ["DEMO_HOOK_ENDPOINT has an invalid format"]);
    }

    #[test]
    fn a_target_that_nothing_turns_on_and_one_that_lacks_something_are_said() {
        let (problems, _) = run(&[("DEMO_HOOK_ENDPOINT_A", "http://a"), ("DEMO_HOOK_ENABLE_B", "on")]);
        let no_effect = "DEMO_HOOK_ENDPOINT_A has no effect: DEMO_HOOK_ENABLE_A is not set";
        assert_eq!(problems, [no_effect, "DEMO_HOOK_ENDPOINT_B is required: DEMO_HOOK_ENABLE_B is set"]);
        let (problems, _) =
            run(&[("DEMO_HOOK_ENDPOINT", "http://a"), ("DEMO_HOOK_ENABLE", "on"), ("DEMO_HOOK_KEY", "/key")]);
        assert_eq!(problems, ["DEMO_HOOK_CERT is required: DEMO_HOOK_KEY is set"]);
    }
}
