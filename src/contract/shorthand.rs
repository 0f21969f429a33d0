//! Shorthand of a contract, written out: named types, variables without effect, and the usual rules.
//!
//! Pure, and before everything else: the rest of the program sees variables, values and rules alone.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};

use crate::contract::properties::from;
use crate::contract::{Candidate, Check, Contract, Derived, Group, Ignored, NamedType, Preset, Text, Variable};

impl Contract {
    /// The same contract without shorthand.
    pub fn written_out(mut self) -> Contract {
        let of_groups = self.groups.iter_mut().flat_map(|group| &mut group.variables);
        self.variables.iter_mut().chain(of_groups).for_each(|variable| take_type(variable, &self.types));
        self.variables.extend(std::mem::take(&mut self.ignored).into_iter().flat_map(without_effect));
        self.name_keys();
        let rules: Vec<Check> = self.usual_rules().collect();
        self.checks = std::mem::take(&mut self.checks).into_iter().flat_map(for_each_key).collect();
        self.checks.extend(rules);
        self
    }

    fn usual_rules(&self) -> impl Iterator<Item = Check> {
        let requires = self.variables.iter().flat_map(|variable| self.requirements(variable));
        let of_groups = self.groups.iter().flat_map(|group| group.variables.iter().map(move |one| (Some(group), one)));
        let all = self.variables.iter().map(|one| (None, one)).chain(of_groups);
        let versions = all.flat_map(|(group, variable)| self.versions(group, variable));
        let together = self.together.iter().flat_map(|preset| together(preset, &self.members(preset)));
        let exclusive = self.exclusive.iter().map(|preset| exclusive(preset, &self.members(preset)));
        let of_groups = move |mut check: Check| {
            let group = check.each.take().and_then(|name| self.groups.iter().find(|group| group.name == name));
            check.each = group.map(|group| format!("{} in {}", group.name, group.key));
            check
        };
        requires.chain(versions).chain(together).chain(exclusive).map(of_groups)
    }

    fn requirements(&self, variable: &Variable) -> impl Iterator<Item = Check> {
        let of = |name: &str| self.member(name, None);
        variable.requires.iter().map(move |needed| Check {
            when: Some(of(&variable.name).is_set),
            require: of(needed).is_set,
            variables: vec![variable.name.clone()],
            message: format!("has no effect without {needed}"),
            accepted: Some(format!("{needed} as well, or neither")),
            ..Check::default()
        })
    }

    /// A variable that only some versions know.
    fn versions(&self, group: Option<&Group>, variable: &Variable) -> Vec<Check> {
        let service = &self.service.name;
        let since = variable.since.iter().map(|first| (from(first), format!("{service} {first} or newer")));
        let until =
            variable.until.iter().map(|last| (format!("not ({})", from(last)), format!("{service} before {last}")));
        let rule = |(require, accepted)| {
            let Member { name, is_set } = self.member(&variable.name, group);
            Check {
                each: group.map(|group| group.name.clone()),
                when: Some(is_set),
                require,
                variables: vec![name],
                message: format!("is unknown to {service} {{{{ version }}}}"),
                accepted: Some(format!("nothing, or {accepted}")),
                ..Check::default()
            }
        };
        since.chain(until).map(rule).collect()
    }

    fn members(&self, preset: &Preset) -> Vec<Member> {
        let group = preset.group.as_ref().and_then(|name| self.groups.iter().find(|group| group.name == *name));
        preset.variables.iter().map(|name| self.member(name, group)).collect()
    }

    fn member(&self, name: &str, group: Option<&Group>) -> Member {
        let variables = group.map_or(&self.variables, |group| &group.variables);
        let variable = variables.iter().find(|variable| variable.name == name);
        let Some(group) = group else {
            let key = variable.map_or(name.to_lowercase().into(), |variable| self.key_of(variable));
            return Member { name: name.to_owned(), is_set: format!("{key} is defined") };
        };
        let key = variable.map_or(name.to_lowercase().into(), Group::key_of);
        let name = format!("{}{{{{ {}.spelling }}}}_{name}", group.prefix, group.name);
        Member { name, is_set: format!("{}.{key} is defined", group.name) }
    }
}

/// A variable in a rule: its full name, an expression in a group, and the condition that it has a value.
struct Member {
    name: String,
    is_set: String,
}

/// One rule for each variable: it is required beside any of the others.
fn together(preset: &Preset, members: &[Member]) -> Vec<Check> {
    let rule = |missing: &Member| {
        let others = || members.iter().filter(|member| member.name != missing.name);
        let one_set = others().map(|other| other.is_set.as_str()).collect::<Vec<_>>().join(" or ");
        let named: Vec<(&str, &str)> = others().map(|other| (other.is_set.as_str(), other.name.as_str())).collect();
        let (last, before) = named.split_last().map_or(("", &[][..]), |((_, last), before)| (*last, before));
        let message = format!("is required beside {}", choice(before.iter().copied(), last));
        let all = if members.len() == 2 { "both, or neither" } else { "all of them, or none" };
        rule(preset, Some(one_set), missing.is_set.clone(), &[missing], message, all)
    };
    members.iter().map(rule).collect()
}

/// At most one of them is set: none of them stands beside a later one.
fn exclusive(preset: &Preset, members: &[Member]) -> Check {
    let beside = |(index, member): (usize, &Member)| {
        let later: Vec<&str> = members[index + 1..].iter().map(|member| member.is_set.as_str()).collect();
        (!later.is_empty()).then(|| format!("{} and ({})", member.is_set, later.join(" or ")))
    };
    let two: Vec<String> = members.iter().enumerate().filter_map(beside).collect();
    let shown: Vec<&Member> = members.iter().collect();
    rule(preset, None, format!("not ({})", two.join(" or ")), &shown, "exclude each other".into(), "one of them")
}

fn rule(
    preset: &Preset,
    when: Option<String>,
    require: String,
    shown: &[&Member],
    message: String,
    accepted: &str,
) -> Check {
    let both = |when: &String| preset.when.as_ref().map(|only| format!("({only}) and ({when})"));
    Check {
        each: preset.group.clone(),
        when: when.as_ref().and_then(both).or(when).or(preset.when.clone()),
        require,
        variables: shown.iter().map(|member| member.name.clone()).collect(),
        message,
        accepted: Some(preset.accepted.clone().unwrap_or(accepted.into())),
        ..Check::default()
    }
}

/// The rule of each of its keys; a rule without any as it is.
fn for_each_key(mut check: Check) -> Vec<Check> {
    let keys = std::mem::take(&mut check.keys);
    if keys.is_empty() {
        return vec![check];
    }
    let rule = |key: &String| {
        let of_key = |text: &String| text.replace("$(key)", key);
        Check {
            require: of_key(&check.require),
            when: check.when.as_ref().map(of_key),
            variables: check.variables.iter().map(of_key).collect(),
            message: of_key(&check.message),
            accepted: check.accepted.as_ref().map(of_key),
            ..check.clone()
        }
    };
    keys.iter().map(rule).collect()
}

/// Fills the fields that the variable leaves to its type.
fn take_type(variable: &mut Variable, types: &BTreeMap<String, NamedType>) {
    let is_list = variable.kind == "list";
    let name = if is_list { variable.of.clone().unwrap_or_default() } else { variable.kind.clone() };
    let Some(named) = types.get(&name) else { return };
    let base = named.kind.clone().unwrap_or(if named.values.is_empty() { "string" } else { "enum" }.into());
    if is_list {
        variable.of = Some(base);
    } else {
        variable.kind = base;
    }
    fill(&mut variable.min, &named.min);
    fill(&mut variable.max, &named.max);
    fill(&mut variable.pattern, &named.pattern);
    fill(&mut variable.accepted, &named.accepted);
    fill(&mut variable.min_length, &named.min_length);
    fill(&mut variable.exists, &named.exists);
    if variable.values.is_empty() {
        variable.values.clone_from(&named.values);
        variable.synonyms.clone_from(&named.synonyms);
    }
    if variable.schemes.is_empty() {
        variable.schemes.clone_from(&named.schemes);
    }
}

fn fill<T: Clone>(own: &mut Option<T>, common: &Option<T>) {
    if own.is_none() {
        own.clone_from(common);
    }
}

fn without_effect(ignored: Ignored) -> impl Iterator<Item = Variable> {
    let Ignored { names, reason, secret } = ignored;
    names.into_iter().map(move |name| Variable {
        name,
        kind: "string".into(),
        doc: "Accepted for old environments.".into(),
        secret,
        file: Some(false),
        ignored: Some(reason.clone()),
        ..Variable::default()
    })
}

impl Derived {
    /// The expression that gives the result, however it is written.
    pub fn expression(&self) -> Cow<'_, str> {
        if let Some(condition) = &self.holds {
            return format!("{{% if {condition} %}}true{{% else %}}false{{% endif %}}").into();
        }
        if self.first.is_empty() {
            return self.value.as_str().into();
        }
        let branches: Vec<(String, String)> = self.first.iter().map(Candidate::branch).collect();
        choice(branches.iter().map(|(when, value)| (when.as_str(), value.as_str())), &self.value).into()
    }

    /// Type of the result, where it is not plain text.
    pub fn kind(&self) -> Option<&str> {
        self.kind.as_deref().or(self.holds.as_ref().map(|_| "bool"))
    }
}

impl Candidate {
    fn branch(&self) -> (String, String) {
        let (name, only) = match self {
            Candidate::Always(name) => (name, String::new()),
            Candidate::Sometimes(candidate) => (&candidate.name, format!("({}) and ", candidate.when)),
        };
        (format!("{only}{name} is defined"), format!("{{{{ {name} }}}}"))
    }
}

/// The expression of the first value whose condition holds, or else the last.
fn choice<'t>(branches: impl Iterator<Item = (&'t str, &'t str)>, otherwise: &str) -> String {
    let mut text = String::new();
    for (when, value) in branches {
        let word = if text.is_empty() { "if" } else { "elif" };
        text.push_str(&format!("{{% {word} {when} %}}{value}"));
    }
    if text.is_empty() {
        return otherwise.to_owned();
    }
    let last = if otherwise.is_empty() { String::new() } else { format!("{{% else %}}{otherwise}") };
    format!("{text}{last}{{% endif %}}")
}

/// A default: a scalar, or a list of `{ when, value }` of which only the last may be without a condition.
///
/// # Errors
/// One before the last has no condition.
pub fn one_or_choices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Text>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Default {
        One(Text),
        Choices(Vec<Choice>),
    }
    match Default::deserialize(deserializer)? {
        Default::One(text) => Ok(Some(text)),
        Default::Choices(choices) => written_default(&choices).map(Some).map_err(serde::de::Error::custom),
    }
}

/// Form → keys as key → form; `any` is no form.
///
/// # Errors
/// It is not a table of lists.
pub fn keys_by_form<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let forms = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
    let pairs = forms.into_iter().flat_map(|(form, keys)| {
        let form = if form == "any" { String::new() } else { form };
        keys.into_iter().map(move |key| (key, form.clone()))
    });
    Ok(pairs.collect())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    when: Option<String>,
    value: Text,
}

fn written_default(choices: &[Choice]) -> Result<Text, String> {
    let (last, before) = match choices.split_last() {
        Some((Choice { when: None, value }, before)) => (value.0.as_str(), before),
        _ => ("", choices),
    };
    let branch = |choice: &'_ Choice| choice.when.clone().map(|when| (when, choice.value.0.clone()));
    let branches: Option<Vec<(String, String)>> = before.iter().map(branch).collect();
    let branches = branches.ok_or("only the last value of a default may be without `when`")?;
    Ok(Text(choice(branches.iter().map(|(when, value)| (when.as_str(), value.as_str())), last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "[service]\nname = \"demo\"\nsummary = \"x\"\ncommand = [\"/bin/true\"]\n";

    fn written(text: &str) -> Contract {
        let contract = Contract::from_toml(&format!("{SERVICE}{text}")).unwrap();
        assert_eq!(contract.mistakes(), []);
        contract
    }

    #[test]
    fn a_variable_takes_from_a_named_type_what_it_does_not_say_itself() {
        let contract = written(
            r#"
            [type.level]
            values = ["INFO", "DEBUG"]
            synonyms = { VERBOSE = "DEBUG" }
            [type.code]
            pattern = "[a-z]+"
            accepted = "letters"
            [[env]]
            name = "A"
            type = "level"
            doc = "x"
            [[env]]
            name = "B"
            type = "list"
            of = "code"
            accepted = "many letters"
            doc = "x"
            "#,
        );
        let [level, codes] = &contract.variables[..] else { panic!("two variables") };
        assert_eq!((level.kind.as_str(), level.values.len(), level.synonyms.len()), ("enum", 2, 1));
        assert_eq!((codes.kind.as_str(), codes.of.as_deref()), ("list", Some("string")));
        assert_eq!((codes.pattern.as_deref(), codes.accepted.as_deref()), (Some("[a-z]+"), Some("many letters")));
    }

    #[test]
    fn every_name_without_effect_is_a_variable_with_the_reason() {
        let contract = written("[[ignored]]\nnames = [\"OLD_A\", \"OLD_B\"]\nreason = \"x\"\nsecret = true\n");
        for (variable, name) in contract.variables.iter().zip(["OLD_A", "OLD_B"]) {
            assert_eq!((variable.name.as_str(), variable.ignored.as_deref()), (name, Some("x")));
            assert!(variable.is_secret() && !variable.takes_file());
        }
    }

    #[test]
    fn the_first_of_some_values_a_condition_and_choices_are_expressions() {
        let contract = written(
            r#"
            [[env]]
            name = "A"
            type = "int"
            default = [{ when = "container.memory_limited", value = 1 }, { value = "2" }]
            doc = "x"
            [[let]]
            name = "b"
            first = ["a", { name = "c", when = "d or e" }]
            value = "3"
            [[let]]
            name = "f"
            holds = "a == 1"
            "#,
        );
        let default = &contract.variables[0].default.as_ref().unwrap().0;
        assert_eq!(default, "{% if container.memory_limited %}1{% else %}2{% endif %}");
        let [first, holds] = &contract.derived[..] else { panic!("two values") };
        let chosen = "{% if a is defined %}{{ a }}{% elif (d or e) and c is defined %}{{ c }}{% else %}3{% endif %}";
        assert_eq!((first.expression().as_ref(), first.kind()), (chosen, None));
        let condition = "{% if a == 1 %}true{% else %}false{% endif %}";
        assert_eq!((holds.expression().as_ref(), holds.kind()), (condition, Some("bool")));
    }

    #[test]
    fn of_the_choices_of_a_default_only_the_last_may_be_without_a_condition() {
        let default = "[[env]]\nname = \"A\"\ntype = \"int\"\ndoc = \"x\"\ndefault = [{ value = 1 }, { value = 2 }]\n";
        let error = Contract::from_toml(&format!("{SERVICE}{default}")).unwrap_err();
        assert!(error.contains("only the last value of a default may be without `when`"), "{error}");
    }

    #[test]
    fn keys_of_a_family_are_written_by_form() {
        let family = "[[family]]\nprefix = \"A_\"\nkeys = { any = [\"X\"], f = [\"Y\", \"Z\"] }\n";
        let contract = written(&format!("[form.f]\npattern = \"a\"\naccepted = \"a\"\n{family}"));
        let keys: Vec<(&str, &str)> =
            contract.families[0].keys.iter().map(|(key, form)| (key.as_str(), form.as_str())).collect();
        assert_eq!(keys, [("X", ""), ("Y", "f"), ("Z", "f")]);
    }

    fn string(name: &str) -> String {
        format!("[[env]]\nname = \"{name}\"\ntype = \"string\"\ndoc = \"x\"\n")
    }

    #[test]
    fn a_usual_rule_is_a_check_with_a_message_of_its_own() {
        let variables = string("DEMO_A") + "requires = [\"C\"]\n" + &string("B") + &string("C");
        let presets = "[[together]]\nvariables = [\"DEMO_A\", \"B\"]\n[[exclusive]]\nvariables = [\"B\", \"C\"]\nwhen = \"tls\"\n";
        let contract = written(&(variables + presets));
        let shown: Vec<String> = contract
            .checks
            .iter()
            .map(|check| {
                let Check { when, require, variables, message, .. } = check;
                format!("{} | {require} | {} {message}", when.as_deref().unwrap_or_default(), variables.join(", "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "a is defined | c is defined | DEMO_A has no effect without C",
                "b is defined | a is defined | DEMO_A is required beside B",
                "a is defined | b is defined | B is required beside DEMO_A",
                "tls | not (b is defined and (c is defined)) | B, C exclude each other",
            ]
        );
    }

    #[test]
    fn a_variable_that_only_some_versions_know_is_an_error_in_the_others() {
        let variables = string("A") + "since = \"1.2\"\nuntil = \"2\"\n";
        let contract = written(&variables);
        let shown: Vec<String> = contract
            .checks
            .iter()
            .map(|check| format!("{} | {}", check.require, check.accepted.as_deref().unwrap_or_default()))
            .collect();
        let since = "version | since(version=\"1.2\") | nothing, or demo 1.2 or newer";
        assert_eq!(shown, [since, "not (version | since(version=\"2\")) | nothing, or demo before 2"]);
        assert_eq!(contract.checks[0].message, "is unknown to demo {{ version }}");
    }

    #[test]
    fn a_rule_with_keys_is_one_for_each() {
        let check = "[[check]]\nkeys = [\"a.b\", \"c\"]\nrequire = \"x == '$(key)'\"\nvariables = [\"X__$(key)\"]\nmessage = \"is required\"\n";
        let contract = written(check);
        let shown: Vec<(&str, &str)> =
            contract.checks.iter().map(|check| (check.require.as_str(), check.variables[0].as_str())).collect();
        assert_eq!(shown, [("x == 'a.b'", "X__a.b"), ("x == 'c'", "X__c")]);
    }

    #[test]
    fn a_usual_rule_of_a_group_is_checked_for_each_instance() {
        let group = "[[group]]\nname = \"catalog\"\nkey = \"catalogs\"\nprefix = \"DEMO_CATALOG_\"\ndoc = \"x\"\n";
        let variables = (string("USER") + &string("PASSWORD")).replace("[[env]]", "[[group.env]]");
        let preset = "[[together]]\ngroup = \"catalog\"\nvariables = [\"USER\", \"PASSWORD\"]\n";
        let contract = written(&format!("{group}{variables}{preset}"));
        let check = &contract.checks[0];
        assert_eq!(check.each.as_deref(), Some("catalog in catalogs"));
        assert_eq!(check.require, "catalog.user is defined");
        assert_eq!(check.variables, ["DEMO_CATALOG_{{ catalog.spelling }}_USER"]);
    }
}
