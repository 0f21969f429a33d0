//! Keys of the service that no contract declares: `PREFIX<key>`, lines of an extra block, the service's own spellings.

use std::collections::BTreeMap;

use super::telling::is_secret;
use super::{Loader, Setting, Source};
use crate::contract::Passthrough;
use crate::report::Problem;
use crate::value::{Value, ValueType};

impl Loader<'_> {
    pub(super) fn read_passthroughs(&mut self) {
        for Passthrough { key, prefix, extra, literal, keys, .. } in &self.contract.passthrough {
            let mut map = self.passthrough_map(prefix, extra);
            self.read_native_names(literal, keys, &mut map);
            self.settings.context.insert(key.clone(), &map);
        }
    }

    /// Variables nobody declared whose names are the service's own names of its keys.
    fn read_native_names(&mut self, literal: &[String], keys: &[String], map: &mut BTreeMap<String, String>) {
        let undeclared = self.environment.names().filter(|name| !self.known.contains(*name));
        let named = undeclared.filter_map(|name| {
            let as_it_is = literal.iter().any(|prefix| name.starts_with(prefix.as_str()));
            let key = if as_it_is { Some(name.to_owned()) } else { key_of_native_name(keys, name) };
            key.map(|key| (name.to_owned(), key))
        });
        for (name, key) in named.collect::<Vec<_>>() {
            let Some(value) = self.text_of(&name, false) else { continue };
            if map.get(&key).is_some_and(|earlier| *earlier != value) {
                let problem = Problem::error(&name, format!("sets {key}, which another variable sets differently"));
                self.problems.push(problem.accepted("the key in one place").from_source("environment"));
            }
            self.record_entry(name, &key, &value);
            map.insert(key, value);
        }
    }

    /// `PREFIX<key>=value` variables and the lines of the extra block, by key.
    pub(super) fn passthrough_map(&mut self, prefix: &str, extra: &str) -> BTreeMap<String, String> {
        let names: Vec<String> =
            self.environment.names().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
        let mut map = BTreeMap::new();
        for name in names {
            let key = passthrough_key(&name[prefix.len()..]);
            let Some(value) = self.text_of(&name, false) else { continue };
            if key.is_empty() {
                self.problems.push(Problem::error(&name, "names no key").accepted(format!("{prefix}<key>")));
                continue;
            }
            self.record_entry(name, &key, &value);
            map.insert(key, value);
        }
        self.read_extra(extra, &mut map);
        map
    }

    /// Keeps one entry of a passthrough. No contract says which of them are secrets; their names do.
    fn record_entry(&mut self, name: String, key: &str, value: &str) {
        let secret = is_secret(key, value);
        if secret {
            self.settings.secrets.push((name.clone(), value.to_owned()));
        }
        let shown = if secret { "‹redacted›" } else { value }.to_owned();
        self.settings.settings.push(Setting { shown, key: key.to_owned(), name, source: Source::Environment, secret });
    }

    fn read_extra(&mut self, extra: &str, map: &mut BTreeMap<String, String>) {
        let Some(text) = self.text_of(extra, false) else { return };
        let lines = match ValueType::Properties.parse(&text) {
            Ok(Value::Map(lines)) => lines,
            Ok(_) => return,
            Err(why) => {
                self.problems.push(Problem::error(extra, why.what).accepted(why.accepted).from_source("environment"));
                return;
            }
        };
        for (key, value) in lines {
            if map.get(&key).is_some_and(|earlier| *earlier != value) {
                let message = format!("sets {key}, which a variable of its own sets differently");
                self.problems.push(Problem::error(extra, message).accepted("the key in one of the two places"));
            }
            if is_secret(&key, &value) {
                self.settings.secrets.push((extra.to_owned(), value.clone()));
            }
            map.insert(key, value);
        }
        let shown = format!("{} lines", text.lines().count());
        self.settings.settings.push(Setting {
            name: extra.into(),
            key: extra.to_lowercase(),
            shown,
            source: Source::Environment,
            secret: false,
        });
    }
}

/// `query_max__run__time` → `query.max-run-time`; a key with a dot or a dash in it is meant as it is.
fn passthrough_key(name: &str) -> String {
    if name.contains(['.', '-']) {
        return name.to_owned();
    }
    let mut key = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(start) = rest.find('_') {
        key.push_str(&rest[..start]);
        let run = rest[start..].bytes().take_while(|byte| *byte == b'_').count();
        // Three or more: an underscore for each full three, then the remainder.
        key.push_str(&"_".repeat(run / 3));
        key.push_str(["", ".", "-"][run % 3]);
        rest = &rest[start + run..];
    }
    key.push_str(rest);
    key
}

/// `NESSIE_SECRETS_CACHE_TTL` → `nessie.secrets.cache.ttl`, where that is one of `keys`. Of several keys that fit, the
/// one with the longest text of its own; what `*` stands for is in lower case.
pub(super) fn key_of_native_name(keys: &[String], name: &str) -> Option<String> {
    let fitting = keys.iter().filter_map(|key| {
        let Some((before, after)) = key.split_once('*') else {
            return is_spelt(name, key).then(|| (key, key.clone()));
        };
        let (start, rest) = name.split_at_checked(before.len())?;
        let (chosen, end) = rest.split_at_checked(rest.len().checked_sub(after.len())?)?;
        let fits = !chosen.is_empty() && is_spelt(start, before) && is_spelt(end, after);
        fits.then(|| (key, format!("{before}{}{after}", chosen.to_lowercase())))
    });
    fitting.max_by_key(|(key, _)| (!key.contains('*'), key.len())).map(|(_, key)| key)
}

/// Whether a key of letters, digits and marks is spelt so as a variable: asked for every key of every variable.
fn is_spelt(name: &str, key: &str) -> bool {
    let in_capitals = |c: u8| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { b'_' };
    name.bytes().eq(key.bytes().map(in_capitals))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behaviours: 92.
    #[test]
    fn a_native_name_is_the_key_with_the_longest_text_of_its_own() {
        let keys = ["a.cache.ttl", "a.buckets.*.name", "a.buckets.*.iam.role-name", "a.map.*"].map(str::to_owned);
        let key = |name: &str| key_of_native_name(&keys, name);
        assert_eq!(key("A_CACHE_TTL"), Some("a.cache.ttl".into()));
        assert_eq!(key("A_BUCKETS_MY_LAKE_IAM_ROLE_NAME"), Some("a.buckets.my_lake.iam.role-name".into()));
        assert_eq!(key("A_BUCKETS_X_NAME"), Some("a.buckets.x.name".into()));
        assert_eq!(key("A_MAP_FOO"), Some("a.map.foo".into()));
        assert_eq!(key("A_BUCKETS__NAME"), None);
        assert_eq!(key("A_CACHE_TTLS"), None);
    }

    /// Behaviours: 92.
    #[test]
    fn underscores_of_a_name_stand_for_dots_dashes_and_themselves() {
        assert_eq!(passthrough_key("query_max__run__time"), "query.max-run-time");
        assert_eq!(passthrough_key("a_B_c"), "a.B.c");
        assert_eq!(passthrough_key("a___b"), "a_b");
        assert_eq!(passthrough_key("a____b"), "a_.b");
        assert_eq!(passthrough_key("exact.key_with-dash"), "exact.key_with-dash");
    }
}
