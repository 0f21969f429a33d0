//! A key of the service's own files that a variable is there for is that variable, however it is given: as
//! `PREFIX<key>`, as a line of the extra block, or as a `-D` of java. So defaults, rules, waits and probes see it.
//!
//! A variable says which key it is there for by its `property`, or by an alias that is the key where it is not printed
//! as it is. A reference (`${…}`) stays a line of the file, because what a variable says is never one.

use super::Loader;
use super::passthrough::{as_written, key_of_native_name, passthrough_key};
use crate::contract::properties::{Destination, Origin};
use crate::contract::{Passthrough, Variable};
use crate::report::Problem;
use crate::value::{Value, ValueType, split_words};

impl<'a> Loader<'a> {
    /// Finds the keys that variables are there for, before the variables are read.
    pub(super) fn adopt_keys(&mut self) {
        for passthrough in &self.contract.passthrough {
            self.adopt_options(passthrough);
            self.adopt_lines(passthrough);
            self.adopt_variables(passthrough);
        }
    }

    /// Words `-D<key>=<value>`, which java ranks above every file: what is rendered says the same.
    fn adopt_options(&mut self, passthrough: &Passthrough) {
        for name in &passthrough.options {
            let text = self.environment.get(name).and_then(|text| text.to_str()).unwrap_or_default();
            for word in split_words(text).unwrap_or_default() {
                let Some((key, value)) = word.strip_prefix("-D").and_then(|word| word.split_once('=')) else {
                    continue;
                };
                let taken = passthrough.literal.iter().any(|prefix| key.starts_with(prefix.as_str()));
                // A variable's value is never a reference: only java resolves it then.
                if taken && (self.owner_of(passthrough, key).is_none() || is_adopted(value)) {
                    self.give(name, key, value);
                }
            }
        }
    }

    /// As if the key itself were a variable.
    fn give(&mut self, from: &str, key: &str, value: &str) {
        match self.environment.get(key).filter(|text| !text.is_empty()) {
            None => self.insert_given(from, key, value),
            Some(other) if other == value => {}
            Some(_) => {
                let beside = self.given_in.get(key).map_or(key, String::as_str);
                let problem = Problem::error(format!("{from}, {beside}"), format!("set {key} differently"));
                self.problems.push(problem.accepted("the key in one of the two places").from_source("environment"));
            }
        }
    }

    fn insert_given(&mut self, from: &str, key: &str, value: &str) {
        self.environment.insert(key, value);
        self.given_in.insert(key.to_owned(), from.to_owned());
    }

    fn adopt_lines(&mut self, passthrough: &Passthrough) {
        let extra = &passthrough.extra;
        let text = self.environment.get(extra).and_then(|text| text.to_str()).unwrap_or_default();
        let Ok(Value::Map(lines)) = ValueType::Properties.parse(text) else { return };
        for (key, value) in lines.into_iter().map(|line| as_written(line, passthrough.underscores)) {
            let owned = self.owner_of(passthrough, &key).is_some();
            if owned && is_adopted(&value) && self.environment.get(&key).is_none() {
                self.insert_given(extra, &key, &value);
                self.adopted.insert(format!("{extra} {key}"));
            }
        }
    }

    fn adopt_variables(&mut self, passthrough: &Passthrough) {
        let prefix = &passthrough.prefix;
        let names: Vec<String> =
            self.environment.names().filter(|name| name.starts_with(prefix.as_str())).map(str::to_owned).collect();
        for name in names {
            let text = self.environment.get(&name).and_then(|text| text.to_str()).unwrap_or_default();
            let owner = self.owner_of(passthrough, &passthrough_key(&name[prefix.len()..], passthrough.underscores));
            if let Some(owner) = owner.filter(|_| is_adopted(text)) {
                let new = owner.name.clone();
                let before = self.problems.len();
                self.adopted.insert(name.clone());
                self.rename(&name, &new);
                self.break_key_since(before, &new);
            }
        }
    }

    /// Whether a name is a key as the service itself spells it, and its value a reference: it stays a line of the file.
    pub(super) fn is_reference_in_key(&self, name: &str) -> bool {
        let is_key = |passthrough: &Passthrough| {
            passthrough.literal.iter().any(|prefix| name.starts_with(prefix.as_str()))
                || key_of_native_name(passthrough, name).is_some()
        };
        let text = self.environment.get(name).and_then(|text| text.to_str()).unwrap_or_default();
        text.contains("${") && self.contract.passthrough.iter().any(is_key)
    }

    /// Whether a line of the extra block, or a variable of the passthrough, has been taken for another variable.
    pub(super) fn is_adopted_line(&self, extra: &str, key: &str) -> bool {
        self.adopted.contains(&format!("{extra} {key}"))
    }

    /// The variable that is there for a key, where the passthrough is of the key's file.
    fn owner_of(&self, passthrough: &Passthrough, key: &str) -> Option<&'a Variable> {
        let contract = self.contract;
        let is_of_file =
            |one: Destination| contract.file_of(one).is_some_and(|file| file.extend.as_ref() == Some(&passthrough.key));
        let printed = contract.variables.iter().find(|variable| {
            let mut of_key = variable.properties.iter().filter(|property| property.adopt && property.key == key);
            of_key.any(|property| is_of_file(Destination { property, origin: Origin::Variable(variable) }))
        });
        let starts = |one: &Passthrough| one.own.iter().any(|prefix| key.starts_with(prefix.as_str()));
        let of_another = !passthrough.own.is_empty() || contract.passthrough.iter().any(starts);
        let mut called = contract.variables.iter().filter(|_| !of_another || starts(passthrough));
        printed.or_else(|| called.find(|variable| variable.aliases.iter().any(|alias| alias == key)))
    }
}

fn is_adopted(value: &str) -> bool {
    !value.is_empty() && !value.contains("${")
}

#[cfg(test)]
mod tests {
    use crate::settings::{Settings, tests::loaded};

    const CONTRACT: &str = r#"
        [service]
        name = "demo"
        summary = "A demonstration"
        prefixes = ["DEMO_"]
        command = ["/bin/demo"]
        [[env]]
        name = "DEMO_PORT"
        type = "port"
        default = 8080
        aliases = ["http.port"]
        doc = "Port."
        [[env]]
        name = "DEMO_OPTIONS"
        type = "words"
        doc = "Options of java."
        [[env]]
        name = "DEMO_FSYNC"
        type = "bool"
        property = "fsync"
        doc = "A key that any variable may be called like."
        [[env]]
        name = "DEMO_LOUD"
        type = "bool"
        property = { key = "log.loud", file = "log" }
        doc = "A key of another file."
        [[passthrough]]
        key = "config"
        prefix = "DEMO_CONFIG__"
        extra = "DEMO_EXTRA"
        literal = ["http."]
        options = ["DEMO_OPTIONS"]
        doc = "Any key."
        [[file]]
        template = "demo.properties.tera"
        path = "/demo.properties"
        format = "airlift"
        extend = "config"
        [[file]]
        template = "log.properties.tera"
        path = "/log.properties"
        format = "properties"
    "#;

    fn run(pairs: &[(&str, &str)]) -> (Settings, Vec<String>) {
        loaded(CONTRACT, pairs)
    }

    #[test]
    fn a_key_that_a_variable_is_there_for_is_the_variable_wherever_it_is_given() {
        for pair in [
            ("DEMO_CONFIG__http.port", "9"),
            ("DEMO_CONFIG__http_port", "9"),
            ("DEMO_EXTRA", "http.port = 9\nother = 1"),
            ("DEMO_OPTIONS", "-Xmx1g -Dhttp.port=9"),
        ] {
            let (settings, _) = run(&[pair]);
            assert_eq!(settings.context.get("port").and_then(tera::Value::as_u64), Some(9), "{pair:?}");
            assert!(!settings.additions["config"].contains_key("http.port"), "{pair:?}");
        }
    }

    #[test]
    fn a_property_is_the_variable_in_the_passthrough_of_its_file_alone() {
        for pair in [("DEMO_CONFIG__fsync", "off"), ("DEMO_EXTRA", "fsync = off")] {
            let (settings, _) = run(&[pair]);
            assert_eq!(settings.context.get("fsync").and_then(tera::Value::as_bool), Some(false), "{pair:?}");
            assert!(settings.additions["config"].is_empty(), "{pair:?}");
        }
        let (settings, problems) = run(&[("DEMO_CONFIG__log.loud", "true"), ("fsync", "off")]);
        assert!(settings.additions["config"].contains_key("log.loud"));
        assert!(settings.context.get("loud").is_none() && settings.context.get("fsync").is_none());
        assert_eq!(problems, [""; 0]);
        // A name that no shell could export is nobody else's.
        let (settings, _) = run(&[("log.loud", "true")]);
        assert_eq!(settings.context.get("loud").and_then(tera::Value::as_bool), Some(true));
    }

    #[test]
    fn a_reference_stays_a_line_of_the_file() {
        for pair in [
            ("DEMO_CONFIG__http.port", "${ENV:PORT}"),
            ("DEMO_EXTRA", "http.port=${ENV:PORT}"),
            ("http.port", "${ENV:PORT}"),
        ] {
            let (settings, problems) = run(&[pair]);
            assert_eq!(settings.additions["config"]["http.port"].value, "${ENV:PORT}", "{pair:?}");
            assert!(problems.is_empty(), "{problems:?}");
        }
    }

    #[test]
    fn an_option_of_java_of_another_key_is_a_line_of_the_file_too() {
        let (settings, _) = run(&[("DEMO_OPTIONS", "-Dhttp.idle=5 -Duser.language=en")]);
        assert_eq!(settings.additions["config"]["http.idle"].value, "5");
        assert_eq!(settings.additions["config"].len(), 1);
    }

    #[test]
    fn two_places_that_differ_are_an_error() {
        let (_, problems) = run(&[("DEMO_CONFIG__http.port", "9"), ("DEMO_PORT", "10")]);
        assert!(problems.concat().contains("different values"), "{problems:?}");
        let (_, problems) = run(&[("http.port", "9"), ("DEMO_OPTIONS", "-Dhttp.port=10")]);
        assert_eq!(problems[0], "DEMO_OPTIONS, http.port set http.port differently");
    }
}
