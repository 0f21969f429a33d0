//! Searches through maps of keys and texts, such as a passthrough's: filters for contracts, which need no loop.
//!
//! Pure. `pattern` is for the key, `value` for what the text must match, and `except` for what it must not.

use regex_lite::Regex;
use tera::{Kwargs, State, Tera, TeraResult, Value};

use super::expression::{plain, texts, values};

/// Adds the filters to a Tera instance.
pub(super) fn register(tera: &mut Tera) {
    tera.register_filter("has_key", |map: Value, kwargs: Kwargs, _: &State| -> TeraResult<bool> {
        Ok(!found(&map, &kwargs)?.is_empty())
    });
    tera.register_filter("values_of", |map: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        Ok(values(found(&map, &kwargs)?.into_iter().map(|(_, value)| value)))
    });
    // With `prefix` before each.
    tera.register_filter("keys_of", |map: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let prefix: Option<String> = kwargs.get("prefix")?;
        let prefix = prefix.unwrap_or_default();
        Ok(values(found(&map, &kwargs)?.into_iter().map(|(key, _)| prefix.clone() + &key)))
    });
    // The text that the pattern's first group matches in each key.
    tera.register_filter("names_of", |map: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let regex = regex(&kwargs.must_get::<String>("pattern")?)?;
        let keys = found(&map, &kwargs)?.into_iter().map(|(key, _)| key);
        Ok(values(keys.filter_map(|key| named(&regex, &key))))
    });
    // Of these keys, those that are not there.
    tera.register_filter("missing", |map: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let keys = texts(&kwargs.must_get("keys")?);
        Ok(values(keys.into_iter().filter(|key| text_of(&map, key).is_empty())))
    });
    // Keys called `needs` that should be beside those found, and are neither there nor among those of `common`.
    tera.register_filter("missing_beside", |map: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let (needs, common): (String, String) = (kwargs.must_get("needs")?, kwargs.must_get("common")?);
        if !text_of(&map, &format!("{common}{needs}")).is_empty() {
            return Ok(values(std::iter::empty()));
        }
        let beside = found(&map, &kwargs)?.into_iter().map(|(key, _)| sibling(&key, &needs));
        Ok(values(beside.filter(|key| text_of(&map, key).is_empty())))
    });
}

/// The entries that the arguments of a filter describe, in their order; numbers count as such.
fn found(map: &Value, kwargs: &Kwargs) -> TeraResult<Vec<(String, String)>> {
    let pattern = regex(&kwargs.must_get::<String>("pattern")?)?;
    let given = |name: &str| kwargs.get::<String>(name)?.map(|pattern| regex(&pattern)).transpose();
    let (value, except) = (given("value")?, given("except")?);
    let is_meant = |(key, text): &(String, String)| {
        pattern.is_match(key)
            && value.as_ref().is_none_or(|value| value.is_match(text))
            && !except.as_ref().is_some_and(|except| except.is_match(text))
    };
    let entries = map.as_map().into_iter().flatten().map(|(key, value)| (key.to_string(), plain(value)));
    let mut entries: Vec<(String, String)> = entries.filter(is_meant).collect();
    if entries.iter().all(|(key, _)| key.parse::<u64>().is_ok()) {
        entries.sort_by_key(|(key, _)| key.parse::<u64>().ok());
    }
    Ok(entries)
}

fn regex(pattern: &str) -> TeraResult<Regex> {
    Regex::new(pattern).map_err(|error| tera::Error::message(error.to_string()))
}

/// The first group of the pattern that is in the key.
fn named(regex: &Regex, key: &str) -> Option<String> {
    let groups = regex.captures(key)?;
    let group = groups.iter().skip(1).flatten().next()?;
    Some(group.as_str().to_owned())
}

/// The text of a key; empty where there is none.
fn text_of(map: &Value, key: &str) -> String {
    let mut entries = map.as_map().into_iter().flatten();
    entries.find(|(name, _)| name.to_string() == key).map(|(_, value)| plain(value)).unwrap_or_default()
}

/// `a.b.auth-type` → `a.b.account`.
fn sibling(key: &str, name: &str) -> String {
    let parent = key.rsplit_once('.').map_or("", |(parent, _)| parent);
    format!("{parent}.{name}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tera::Context;

    use crate::contract::expression::Expressions;

    fn said(expression: &str) -> String {
        let map = BTreeMap::from([
            ("a.buckets.\"x.y\".endpoint", "http://s3"),
            ("a.buckets.z.auth-type", "Sas"),
            ("a.buckets.z.endpoint", "s3:9000"),
            ("b.empty", ""),
        ]);
        let mut context = Context::new();
        context.insert("map", &map);
        Expressions::default().text(&format!("{{{{ map | {expression} }}}}"), &context).unwrap()
    }

    #[test]
    fn entries_are_found_by_their_keys_and_texts() {
        for (expression, expected) in [
            ("has_key(pattern='^a[.]')", "true"),
            ("has_key(pattern='^a[.]', value='^ftp:')", "false"),
            ("keys_of(pattern='endpoint$', except='^http://') | join(sep=',')", "a.buckets.z.endpoint"),
            ("keys_of(pattern='auth-type$', prefix='p.') | join(sep=',')", "p.a.buckets.z.auth-type"),
            ("values_of(pattern='endpoint$') | join(sep=',')", "http://s3,s3:9000"),
            (r#"names_of(pattern='^a[.]buckets[.](?:"([^"]+)"|([^.]+))[.]endpoint$') | join(sep=',')"#, "x.y,z"),
        ] {
            assert_eq!(said(expression), expected, "{expression}");
        }
    }

    #[test]
    fn keys_that_are_needed_and_absent_or_empty_are_missing() {
        assert_eq!(said("missing(keys=['b.empty', 'c', 'a.buckets.z.endpoint']) | join(sep=',')"), "b.empty,c");
        let beside = |needs: &str, common: &str| {
            said(&format!(
                "missing_beside(pattern='auth-type$', value='(?i)^sas$', needs='{needs}', common='{common}') | join(sep=',')"
            ))
        };
        assert_eq!(beside("token", "a."), "a.buckets.z.token");
        assert_eq!(beside("endpoint", "a."), "");
        assert_eq!(beside("endpoint", "a.buckets.z."), "");
    }
}
