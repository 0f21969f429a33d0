//! JSON (RFC 8259). A key that is there twice is an error: readers differ on which one counts.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Entry, ParseError};

pub(super) fn escape(value: &str) -> String {
    serde_json::Value::String(value.to_owned()).to_string()
}

/// One entry per scalar; the key is its path, `a.b[0].c`.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut entries = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let walker = Walker { path: String::new(), entries: &mut entries };
    let read = walker.deserialize(&mut deserializer).and_then(|()| deserializer.end());
    read.map_err(|error| ParseError { line: error.line(), message: error.to_string() })?;
    Ok(entries)
}

struct Walker<'e> {
    path: String,
    entries: &'e mut Vec<Entry>,
}

impl Walker<'_> {
    fn scalar<E>(self, value: String) -> Result<(), E> {
        self.entries.push(Entry { key: self.path, value, lines: 0..0 });
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walker<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walker<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.scalar(value.to_string())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.scalar(value.to_string())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.scalar(value.to_string())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.scalar(value.to_string())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.scalar(value.to_owned())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.scalar("null".into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        while items
            .next_element_seed(Walker { path: format!("{}[{index}]", self.path), entries: &mut *self.entries })?
            .is_some()
        {
            index += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !keys.insert(key.clone()) {
                return Err(serde::de::Error::custom(format!("the key {key} is there twice")));
            }
            let path = if self.path.is_empty() { key } else { format!("{}.{key}", self.path) };
            map.next_value_seed(Walker { path, entries: &mut *self.entries })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_found_by_their_path_and_a_key_twice_is_an_error() {
        let entries = parse(r#"{"a": [1, {"b": null}], "c": "x"}"#).unwrap();
        let pairs: Vec<(&str, &str)> = entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        assert_eq!(pairs, [("a[0]", "1"), ("a[1].b", "null"), ("c", "x")]);
        assert!(parse(r#"{"a": 1, "a": 2}"#).unwrap_err().message.starts_with("the key a is there twice"));
        assert!(parse("{} x").is_err());
    }
}
