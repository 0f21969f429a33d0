//! Keys of the service that no contract declares: `PREFIX<key>`, lines of an extra block, the service's own spellings.

use std::collections::BTreeMap;

use super::{Loader, Setting, Source};
use crate::contract::{Passthrough, References};
use crate::report::Problem;
use crate::secrets::detect::is_secret;
use crate::value::{Value, ValueType};

/// One key an operator added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addition {
    /// The variable that says so.
    pub variable: String,
    pub value: String,
    /// Whether its key is named like a secret's.
    pub secret: bool,
}

/// The additions of one passthrough, by key.
pub type Additions = BTreeMap<String, Addition>;

impl Loader<'_> {
    pub(super) fn read_passthroughs(&mut self) {
        for passthrough in &self.contract.passthrough {
            let Passthrough { key, prefix, extra, underscores, .. } = passthrough;
            let mut additions = self.read_additions(prefix, extra, *underscores);
            self.read_native_names(passthrough, &mut additions);
            self.examine_additions(key, &additions);
            let map = self.keep_additions(key.clone(), additions);
            self.settings.context.insert(key.clone(), &map);
        }
    }

    /// The further keys of one item of a group; `place` is what `Settings::additions` has them under.
    /// `extend` is how the contract's files call it, `catalog.properties`.
    pub(super) fn passthrough_map(
        &mut self,
        place: String,
        extend: &str,
        prefix: &str,
        extra: &str,
    ) -> BTreeMap<String, String> {
        let additions = self.read_additions(prefix, extra, false);
        self.examine_additions(extend, &additions);
        self.keep_additions(place, additions)
    }

    fn examine_additions(&mut self, extend: &str, additions: &Additions) {
        let references = self.references_of(extend);
        for (key, addition) in additions {
            self.examine_key(key, addition, references);
        }
    }

    /// The references that the reader of a passthrough's file resolves. Keys that go into no file of their own may be
    /// anything.
    fn references_of(&self, extend: &str) -> References {
        let file = self.contract.files.iter().find(|file| file.extend.as_deref() == Some(extend));
        match file.map(|file| file.format.as_str()) {
            Some("airlift") => References::Airlift,
            Some("smallrye") => References::Smallrye,
            Some(_) => References::None,
            None => References::Any,
        }
    }

    /// Gives the map that expressions and templates see.
    fn keep_additions(&mut self, place: String, additions: Additions) -> BTreeMap<String, String> {
        let map = additions.iter().map(|(key, addition)| (key.clone(), addition.value.clone())).collect();
        self.settings.additions.entry(place).or_default().extend(additions);
        map
    }

    /// Variables nobody declared whose names are the service's own names of its keys.
    fn read_native_names(&mut self, passthrough: &Passthrough, additions: &mut Additions) {
        let undeclared = self.environment.names().filter(|name| !self.known.contains(*name));
        let named = undeclared.filter_map(|name| {
            let as_it_is = passthrough.literal.iter().any(|prefix| name.starts_with(prefix.as_str()));
            let key = if as_it_is { Some(name.to_owned()) } else { key_of_native_name(passthrough, name) };
            key.map(|key| (name.to_owned(), key))
        });
        for (name, key) in named.collect::<Vec<_>>() {
            self.read_entry(&name, key, additions);
        }
    }

    /// `PREFIX<key>=value` variables and the lines of the extra block, by key.
    fn read_additions(&mut self, prefix: &str, extra: &str, underscores: bool) -> Additions {
        let names: Vec<String> =
            self.environment.names().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
        // A variable may begin as a prefix does.
        let declared = |name: &String| self.contract.variables.iter().any(|variable| variable.name == *name);
        let names = names.into_iter().filter(|name| !self.adopted.contains(name) && !declared(name));
        let names = names.collect::<Vec<_>>();
        let mut additions = Additions::new();
        for name in names {
            let key = passthrough_key(&name[prefix.len()..], underscores);
            if key.is_empty() {
                if self.text_of(&name, false).is_some() {
                    self.problems.push(Problem::error(&name, "names no key").accepted(format!("{prefix}<key>")));
                }
                continue;
            }
            self.read_entry(&name, key, &mut additions);
        }
        self.read_extra(extra, underscores, &mut additions);
        additions
    }

    /// One variable that is one key.
    fn read_entry(&mut self, name: &str, key: String, additions: &mut Additions) {
        let Some(value) = self.text_of(name, false) else { return };
        let secret = is_secret(&key, &value);
        let shown = if secret { "‹redacted›" } else { &value }.to_owned();
        let (name, source) = (name.to_owned(), Source::Environment);
        self.settings.settings.push(Setting { name: name.clone(), key: key.clone(), shown, source, secret });
        self.insert(additions, key, Addition { variable: name, value, secret });
    }

    fn read_extra(&mut self, extra: &str, underscores: bool, additions: &mut Additions) {
        let Some(text) = self.text_of(extra, false) else { return };
        let lines = match ValueType::Properties.parse(&text) {
            Ok(Value::Map(lines)) => lines,
            Ok(_) => return,
            Err(why) => {
                self.problems.push(Problem::error(extra, why.what).accepted(why.accepted).from_source("environment"));
                return;
            }
        };
        for (key, value) in lines.into_iter().map(|line| as_written(line, underscores)) {
            if self.is_adopted_line(extra, &key) {
                continue;
            }
            let secret = is_secret(&key, &value);
            self.insert(additions, key, Addition { variable: extra.to_owned(), value, secret });
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

    /// Keeps one entry, whose key no other may say differently. No contract says which of them are secrets; their
    /// names do.
    fn insert(&mut self, additions: &mut Additions, key: String, addition: Addition) {
        if addition.secret {
            self.settings.secrets.push((addition.variable.clone(), addition.value.clone()));
        }
        if let Some(earlier) = additions.get(&key).filter(|earlier| earlier.value != addition.value) {
            let message = format!("sets {key}, which {} sets differently", earlier.variable);
            let problem = Problem::error(&addition.variable, message).accepted("the key in one of the two places");
            self.problems.push(problem.from_source("environment"));
        }
        additions.insert(key, addition);
    }
}

/// A line of an extra block whose keys are in lower case and whose values may be in apostrophes.
pub(super) fn as_written((key, value): (String, String), underscores: bool) -> (String, String) {
    if !underscores {
        return (key, value);
    }
    let quoted = value.trim().strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    (key.to_lowercase(), quoted.map(|text| text.replace("''", "'")).unwrap_or(value))
}

/// `query_max__run__time` → `query.max-run-time`; a key with a dot or a dash in it is meant as it is. Where keys have
/// underscores of their own, `Pg_stat__max` → `pg_stat.max`.
pub(super) fn passthrough_key(name: &str, underscores: bool) -> String {
    if underscores {
        return name.to_lowercase().replace("__", ".");
    }
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

/// `NESSIE_SECRETS_CACHE_TTL` → `nessie.secrets.cache.ttl`, where that is one of `keys`. Of several keys that fit,
/// the one with the longest text of its own; what `*` stands for is in lower case.
pub(super) fn key_of_native_name(passthrough: &Passthrough, name: &str) -> Option<String> {
    let Passthrough { keys, key_prefixes, .. } = passthrough;
    if key_prefixes.is_empty() {
        return key_of_spelling(keys, name);
    }
    key_prefixes.iter().find_map(|prefix| key_of_spelling(keys, name.strip_prefix(prefix.as_str())?))
}

fn key_of_spelling(keys: &[String], name: &str) -> Option<String> {
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
        let key = |name: &str| key_of_spelling(&keys, name);
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
        assert_eq!(passthrough_key("query_max__run__time", false), "query.max-run-time");
        assert_eq!(passthrough_key("a_B_c", false), "a.B.c");
        assert_eq!(passthrough_key("a___b", false), "a_b");
        assert_eq!(passthrough_key("a____b", false), "a_.b");
        assert_eq!(passthrough_key("exact.key_with-dash", false), "exact.key_with-dash");
    }

    #[test]
    fn a_key_with_underscores_of_its_own_keeps_them_and_its_line_may_have_apostrophes() {
        assert_eq!(passthrough_key("work_mem", true), "work_mem");
        assert_eq!(passthrough_key("PG_STAT_STATEMENTS__MAX", true), "pg_stat_statements.max");
        assert_eq!(passthrough_key("pg_stat_statements.max", true), "pg_stat_statements.max");
        let line = |value: &str| as_written(("Work_Mem".into(), value.into()), true).1;
        assert_eq!(["'4MB' ", "it", "'it''s'"].map(line), ["4MB", "it", "it's"]);
    }
}
