//! The types a variable can have: what is accepted, what it becomes, how it is shown.
//!
//! Pure: no environment, no files. Sizes are bytes and durations are milliseconds once parsed, so that contracts can
//! compare and divide them; the filters in `expression` write them in the unit a service understands.

mod address;
mod amount;
mod collection;
mod duration;
mod size;
pub mod yaml;

use std::collections::BTreeMap;
use std::fmt;

pub use self::address::{parse_port, url_mistake};
pub use self::collection::split_words;
pub use self::duration::{parse_duration, show_duration, show_postgresql_duration};
pub use self::size::{parse_bytes, parse_datasize, parse_jvmsize, show_bytes, show_datasize, show_jvmsize};

use self::address::{parse_host, parse_hostport, parse_url};
use self::collection::{check_yaml, parse_json, parse_list, parse_properties};

/// The type of a variable.
#[derive(Debug, Clone)]
pub enum ValueType {
    Bool,
    Int {
        min: Option<i64>,
        max: Option<i64>,
    },
    Float {
        min: Option<f64>,
        max: Option<f64>,
    },
    Port,
    /// Trino's and Java's sizes: 1 kB is 1024 bytes.
    Datasize {
        min: Option<u64>,
        max: Option<u64>,
    },
    /// A size as `-Xmx` takes it.
    Jvmsize {
        min: Option<u64>,
        max: Option<u64>,
    },
    /// IEC (`KiB`) and SI (`kB`) told apart.
    Bytes {
        min: Option<u64>,
        max: Option<u64>,
    },
    Percent,
    Duration {
        min: Option<u64>,
        max: Option<u64>,
    },
    Url {
        schemes: Vec<String>,
    },
    Host,
    Hostport {
        port: Option<u16>,
    },
    List {
        item: Box<ValueType>,
    },
    /// Words as a shell splits them, with quotes and backslashes, and nothing expanded.
    Words,
    Enum {
        values: Vec<String>,
        synonyms: BTreeMap<String, String>,
    },
    Path {
        exists: Exists,
    },
    Text {
        pattern: Option<String>,
        accepted: Option<String>,
        min_length: usize,
    },
    /// A name that needs no quoting in SQL or a file: a letter or `_`, then letters, digits, `_` and `-`.
    Identifier,
    Version,
    Json {
        shape: JsonShape,
    },
    Yaml,
    /// Lines of `key=value`, as java.util.Properties reads them.
    Properties,
    Secret {
        min_length: usize,
    },
}

/// The required top level of a JSON document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonShape {
    Any,
    Object,
    Array,
}

/// The entry required at a path before the service starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exists {
    Unchecked,
    File,
    Directory,
    Pem,
}

/// A value that fulfils its type.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Bytes.
    Size(u64),
    /// Milliseconds.
    Duration(u64),
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, String)>),
    Json(serde_json::Value),
}

/// Why a text is not of a type. Never quotes the text: it may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// "is not a duration", said of the variable.
    pub what: String,
    /// "write 60s, 2m or 1h30m".
    pub accepted: String,
}

impl ValueType {
    /// The accepted values in words: "a duration: 60s, 2m or 1h30m".
    pub fn accepted(&self) -> String {
        match self {
            ValueType::Bool => "true or false (yes/no, on/off, 1/0)".into(),
            ValueType::Int { min, max } => format!("a whole number{}", range(min, max)),
            ValueType::Float { min, max } => format!("a number{}", range(min, max)),
            ValueType::Port => "a port, 1 to 65535".into(),
            ValueType::Datasize { min, max } => {
                format!("a size such as 512MB or 4GB{}", range(&min.map(show_datasize), &max.map(show_datasize)))
            }
            ValueType::Jvmsize { min, max } => {
                format!("a JVM size such as 512m or 2g{}", range(&min.map(show_jvmsize), &max.map(show_jvmsize)))
            }
            ValueType::Bytes { min, max } => {
                format!("a size such as 512MiB or 1GB{}", range(&min.map(show_bytes), &max.map(show_bytes)))
            }
            ValueType::Percent => "a percentage, 0% to 100%".into(),
            ValueType::Duration { min, max } => format!(
                "a duration with its unit: 60s, 2m, 1h30m or PT1M30S{}",
                range(&min.map(show_duration), &max.map(show_duration))
            ),
            ValueType::Url { schemes } => {
                let examples: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://…")).collect();
                format!("a URL: {}", examples.join(" or "))
            }
            ValueType::Host => "a host name or an IP address, without scheme or port".into(),
            ValueType::Hostport { port: Some(port) } => format!("host:port, or host for port {port}"),
            ValueType::Hostport { port: None } => "host:port".into(),
            ValueType::List { item } => format!("a comma-separated list, each {}", item.accepted()),
            ValueType::Words => "space-separated words; quote words that contain spaces".into(),
            ValueType::Enum { values, .. } => format!("one of {}", values.join(", ")),
            ValueType::Path { exists } => match exists {
                Exists::Unchecked => "an absolute path".into(),
                Exists::File => "an absolute path of a readable file".into(),
                Exists::Directory => "an absolute path of a directory".into(),
                Exists::Pem => "an absolute path of a readable PEM file".into(),
            },
            ValueType::Text { accepted: Some(accepted), .. } => accepted.clone(),
            ValueType::Text { pattern: Some(pattern), .. } => format!("a text matching {pattern}"),
            ValueType::Text { min_length, .. } if *min_length > 1 => {
                format!("a text of at least {min_length} characters")
            }
            ValueType::Text { .. } => "a text".into(),
            ValueType::Identifier => "a name: a letter or _, then letters, digits, _ or -".into(),
            ValueType::Version => "a version such as 476 or 0.99.0".into(),
            ValueType::Json { shape } => match shape {
                JsonShape::Any => "a JSON document".into(),
                JsonShape::Object => "a JSON object: {…}".into(),
                JsonShape::Array => "a JSON array: […]".into(),
            },
            ValueType::Yaml => "a YAML document".into(),
            ValueType::Properties => "lines of key=value".into(),
            ValueType::Secret { min_length: 0 | 1 } => "a secret".into(),
            ValueType::Secret { min_length } => format!("a secret of at least {min_length} characters"),
        }
    }

    /// Reads `text` as this type. Surrounding blanks are dropped except where the text itself is the value.
    ///
    /// # Errors
    /// `Rejection` says what is wrong and what is accepted, without the text.
    pub fn parse(&self, text: &str) -> Result<Value, Rejection> {
        let reject = |what: &str| Rejection { what: what.into(), accepted: self.accepted() };
        let verbatim = matches!(
            self,
            ValueType::Text { .. }
                | ValueType::Secret { .. }
                | ValueType::Json { .. }
                | ValueType::Yaml
                | ValueType::Properties
        );
        let word = if verbatim { text } else { text.trim() };
        match self {
            ValueType::Bool => parse_bool(word).map(Value::Bool).ok_or_else(|| reject("is neither true nor false")),
            ValueType::Int { min, max } => {
                let number = parse_int(word).ok_or_else(|| reject("is not a whole number"))?;
                within(number, min, max).map(Value::Int).ok_or_else(|| reject("is out of range"))
            }
            ValueType::Float { min, max } => {
                let number = parse_float(word).ok_or_else(|| reject("is not a number"))?;
                within(number, min, max).map(Value::Float).ok_or_else(|| reject("is out of range"))
            }
            ValueType::Port => {
                parse_port(word).map(|port| Value::Int(port.into())).ok_or_else(|| reject("is not a port"))
            }
            ValueType::Datasize { min, max } => self.sized(parse_datasize(word), min, max),
            ValueType::Jvmsize { min, max } => self.sized(parse_jvmsize(word), min, max),
            ValueType::Bytes { min, max } => self.sized(parse_bytes(word), min, max),
            ValueType::Percent => parse_percent(word).map(Value::Float).ok_or_else(|| reject("is not a percentage")),
            ValueType::Duration { min, max } => {
                let millis =
                    parse_duration(word).map_err(|why| Rejection { what: why.what, accepted: self.accepted() })?;
                within(millis, min, max).map(Value::Duration).ok_or_else(|| reject("is out of range"))
            }
            ValueType::Url { schemes } => parse_url(word, schemes).map(Value::Text).map_err(|what| reject(&what)),
            ValueType::Host => parse_host(word).map(Value::Text).ok_or_else(|| reject("is not a host name")),
            ValueType::Hostport { port } => {
                parse_hostport(word, *port).map(Value::Text).ok_or_else(|| reject("is not host:port"))
            }
            // An empty list would take the place of a default that is not: of who may log in, for one.
            ValueType::List { .. } if !text.is_empty() && word.split(',').all(|item| item.trim().is_empty()) => {
                Err(reject("has no item in it"))
            }
            ValueType::List { item } => parse_list(word, item, &reject),
            ValueType::Words => match split_words(word) {
                None => Err(reject("has an unclosed quote")),
                Some(words) if words.is_empty() && !text.is_empty() => Err(reject("has no word in it")),
                Some(words) => Ok(Value::List(words.into_iter().map(Value::Text).collect())),
            },
            ValueType::Enum { values, synonyms } => {
                choose(word, values, synonyms).map(Value::Text).ok_or_else(|| reject("is not a known choice"))
            }
            ValueType::Path { .. } if !word.starts_with('/') => Err(reject("is not an absolute path")),
            ValueType::Path { .. } => Ok(Value::Text(word.into())),
            ValueType::Text { pattern, min_length, .. } => {
                if text.chars().count() < *min_length {
                    return Err(reject("is too short"));
                }
                let matches = pattern.as_deref().is_none_or(|pattern| whole_match(pattern, text));
                matches.then(|| Value::Text(text.into())).ok_or_else(|| reject("has an invalid format"))
            }
            ValueType::Identifier => {
                is_identifier(word).then(|| Value::Text(word.into())).ok_or_else(|| reject("is not a plain name"))
            }
            ValueType::Version => {
                is_version(word).then(|| Value::Text(word.into())).ok_or_else(|| reject("is not a version"))
            }
            ValueType::Json { shape } => parse_json(text, *shape).map(Value::Json).map_err(|what| reject(&what)),
            ValueType::Yaml => check_yaml(text).map(|()| Value::Text(text.into())).map_err(|what| reject(&what)),
            ValueType::Properties => parse_properties(text).map(Value::Map).map_err(|what| reject(&what)),
            // A short secret is insecure, not unreadable: `settings` decides what that means.
            ValueType::Secret { .. } => Ok(Value::Text(text.into())),
        }
    }

    fn sized(&self, size: Result<u64, Rejection>, min: &Option<u64>, max: &Option<u64>) -> Result<Value, Rejection> {
        let reject = |what: String| Rejection { what, accepted: self.accepted() };
        let bytes = size.map_err(|why| reject(why.what))?;
        within(bytes, min, max).map(Value::Size).ok_or_else(|| reject("is out of range".into()))
    }

    /// So many bytes, where this type of size takes as many.
    ///
    /// # Errors
    /// They are fewer than `min` or more than `max`.
    pub fn of_bytes(&self, bytes: u64) -> Result<Value, Rejection> {
        let (ValueType::Datasize { min, max } | ValueType::Jvmsize { min, max } | ValueType::Bytes { min, max }) = self
        else {
            return Ok(Value::Size(bytes));
        };
        let value = Value::Size(bytes);
        let reject = || Rejection {
            what: format!("amounts to {}, outside the allowed range", self.show(&value)),
            accepted: self.accepted(),
        };
        within(bytes, min, max).map(Value::Size).ok_or_else(reject)
    }

    /// The value as an operator would write it; secrets are the caller's business.
    pub fn show(&self, value: &Value) -> String {
        match (self, value) {
            (ValueType::Datasize { .. }, Value::Size(bytes)) => show_datasize(*bytes),
            (ValueType::Jvmsize { .. }, Value::Size(bytes)) => show_jvmsize(*bytes),
            (ValueType::Bytes { .. }, Value::Size(bytes)) => show_bytes(*bytes),
            (ValueType::Percent, Value::Float(percent)) => format!("{percent}%"),
            (ValueType::List { item }, Value::List(items)) => {
                items.iter().map(|value| item.show(value)).collect::<Vec<_>>().join(",")
            }
            (_, value) => value.to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            Value::Float(value) => write!(f, "{value}"),
            Value::Size(bytes) => write!(f, "{}", show_bytes(*bytes)),
            Value::Duration(millis) => write!(f, "{}", show_duration(*millis)),
            Value::Text(text) => f.write_str(text),
            Value::List(items) => f.write_str(&items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")),
            Value::Map(pairs) => {
                f.write_str(&pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("\n"))
            }
            Value::Json(value) => write!(f, "{value}"),
        }
    }
}

impl Value {
    /// The value as templates see it: sizes in bytes, durations in milliseconds.
    pub fn to_tera(&self) -> tera::Value {
        match self {
            Value::Bool(value) => (*value).into(),
            Value::Int(value) => (*value).into(),
            Value::Float(value) => (*value).into(),
            Value::Size(number) | Value::Duration(number) => (*number).into(),
            Value::Text(text) => tera::Value::normal_string(text),
            Value::List(items) => items.iter().map(Value::to_tera).collect::<Vec<_>>().into(),
            Value::Map(pairs) => {
                let map: BTreeMap<&str, &str> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
                tera::Value::from_serializable(&map)
            }
            Value::Json(value) => tera::Value::from_serializable(value),
        }
    }
}

fn whole_match(pattern: &str, text: &str) -> bool {
    regex_lite::Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|regex| regex.is_match(text))
}

fn range<T: fmt::Display>(min: &Option<T>, max: &Option<T>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!(", {min} to {max}"),
        (Some(min), None) => format!(", at least {min}"),
        (None, Some(max)) => format!(", at most {max}"),
        (None, None) => String::new(),
    }
}

fn within<T: PartialOrd + Copy>(number: T, min: &Option<T>, max: &Option<T>) -> Option<T> {
    let inside = min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max);
    inside.then_some(number)
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "enabled" => Some(true),
        "false" | "no" | "off" | "0" | "disabled" => Some(false),
        _ => None,
    }
}

/// Decimal digits with an optional minus: no `0x`, no `1e3`, no leading `+`, no other script's digits.
fn parse_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn parse_float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
    plain.then(|| text.parse().ok()).flatten().filter(|number: &f64| number.is_finite())
}

/// `12.5%` or `12.5`, from 0 to 100.
pub fn parse_percent(text: &str) -> Option<f64> {
    let number = parse_float(text.strip_suffix('%').unwrap_or(text).trim_end())?;
    (0.0..=100.0).contains(&number).then_some(number)
}

fn choose(text: &str, values: &[String], synonyms: &BTreeMap<String, String>) -> Option<String> {
    let listed = values.iter().find(|value| value.eq_ignore_ascii_case(text));
    listed
        .or_else(|| synonyms.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, value)| value))
        .cloned()
}

fn is_identifier(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn is_version(text: &str) -> bool {
    text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'+' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behaviours: 86.
    #[test]
    fn whole_numbers_are_decimal_and_nothing_else() {
        for bad in ["0x10", "1e3", "+5", "٣", "", "-", "5 5", "4294967296000000000000"] {
            assert_eq!(parse_int(bad), None, "{bad:?}");
        }
        assert_eq!(ValueType::Int { min: None, max: None }.parse(" 08 "), Ok(Value::Int(8)));
        assert_eq!(parse_port("65536"), None);
        assert_eq!(parse_port("0"), None);
    }

    #[test]
    fn choices_are_found_in_any_case_and_by_synonym() {
        let synonyms = BTreeMap::from([("G1GC".to_owned(), "UseG1GC".to_owned())]);
        let values = vec!["UseG1GC".to_owned(), "UseZGC".to_owned()];
        assert_eq!(choose("useg1gc", &values, &synonyms).as_deref(), Some("UseG1GC"));
        assert_eq!(choose("G1GC", &values, &synonyms).as_deref(), Some("UseG1GC"));
        assert_eq!(choose("G2", &values, &synonyms), None);
    }
}
