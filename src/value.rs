//! The types a variable can have: what is accepted, what it becomes, how it is shown.
//!
//! Pure: no environment, no files. Sizes are bytes and durations are milliseconds once parsed, so that contracts can
//! compare and divide them; the filters in `expression` write them in the unit a service understands.

use std::collections::BTreeMap;
use std::fmt;

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

const KIB: u64 = 1024;

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

/// A TCP port, 1 to 65535.
pub fn parse_port(text: &str) -> Option<u16> {
    parse_int(text).and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
}

/// `12.5%` or `12.5`, from 0 to 100.
pub fn parse_percent(text: &str) -> Option<f64> {
    let number = parse_float(text.strip_suffix('%').unwrap_or(text).trim_end())?;
    (0.0..=100.0).contains(&number).then_some(number)
}

/// Splits `1.5GB` into the number and the unit.
fn amount(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some((number, text[end..].trim_start()))
}

fn size_in(text: &str, what: &str, factor: impl Fn(&str) -> Option<u64>) -> Result<u64, Rejection> {
    let reject = |what: String| Rejection { what, accepted: String::new() };
    let (number, unit) = amount(text).ok_or_else(|| reject(format!("is not {what}")))?;
    if unit.is_empty() && number != 0.0 {
        return Err(reject("is a size without its unit".into()));
    }
    let factor = if unit.is_empty() { 1 } else { factor(unit).ok_or_else(|| reject("has an unknown unit".into()))? };
    let bytes = number * factor as f64;
    if bytes > i64::MAX as f64 {
        return Err(reject("is too large".into()));
    }
    Ok(bytes as u64)
}

/// A number without a unit and without a sign: bytes, as many as the services and expressions can count.
fn plain_bytes(text: &str) -> Option<Result<u64, Rejection>> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let too_large = || Rejection { what: "is too large".into(), accepted: String::new() };
    digits.then(|| parse_int(text).map(i64::unsigned_abs).ok_or_else(too_large))
}

fn binary_factor(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    // An "i" stands between a prefix and the byte: `5i` is no size.
    if matches!(lower.as_str(), "i" | "ib") {
        return None;
    }
    let prefix = lower.strip_suffix("ib").or_else(|| lower.strip_suffix(['b', 'i'])).unwrap_or(&lower);
    ["", "k", "m", "g", "t", "p"].iter().position(|name| *name == prefix).map(|power| KIB.pow(power as u32))
}

/// `4GB`, `512 MB`, `1.5kB`: airlift's DataSize, whose units are powers of 1024; IEC spellings are taken too.
pub fn parse_datasize(text: &str) -> Result<u64, Rejection> {
    size_in(text, "a size", binary_factor)
}

/// `2g`, `512m`, `8G`, `2GB`, `1073741824`: what `-Xmx` takes and what people write for it.
pub fn parse_jvmsize(text: &str) -> Result<u64, Rejection> {
    match plain_bytes(text) {
        Some(Ok(bytes)) if bytes < KIB * KIB => size_in(text, "a JVM size", binary_factor),
        Some(bytes) => bytes,
        None => size_in(text, "a JVM size", binary_factor),
    }
}

/// `512MiB` is 512·1024², `512MB` is 512·1000²; a plain number is bytes.
pub fn parse_bytes(text: &str) -> Result<u64, Rejection> {
    if let Some(bytes) = plain_bytes(text) {
        return bytes;
    }
    size_in(text, "a size", |unit| {
        let lower = unit.to_ascii_lowercase();
        if lower.ends_with('i') || lower.ends_with("ib") {
            return binary_factor(unit);
        }
        let prefix = lower.strip_suffix('b').unwrap_or(&lower);
        ["", "k", "m", "g", "t", "p"].iter().position(|name| *name == prefix).map(|power| 1000u64.pow(power as u32))
    })
}

/// 31 thousand years, in milliseconds.
const LONGEST: f64 = 1e15;

const DURATION_UNITS: [(&str, f64); 8] = [
    ("ns", 1e-6),
    ("us", 1e-3),
    ("µs", 1e-3),
    ("ms", 1.0),
    ("s", 1000.0),
    ("m", 60_000.0),
    ("h", 3_600_000.0),
    ("d", 86_400_000.0),
];

/// Milliseconds of `60s`, `1.5h`, `1h30m` (Trino's and Go's spellings) or `PT1M30S` (ISO 8601, as Java reads it).
pub fn parse_duration(text: &str) -> Result<u64, Rejection> {
    let reject = |what: &str| Rejection { what: what.into(), accepted: String::new() };
    let upper = text.to_ascii_uppercase();
    if let Some(iso) = upper.strip_prefix('P') {
        return whole_millis(parse_iso_duration(iso).ok_or_else(|| reject("is not a duration"))?);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, tail) = amount(rest).ok_or_else(|| reject("is not a duration"))?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = tail[..end].trim_end();
        if unit.is_empty() {
            return Err(reject("is a duration without its unit"));
        }
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
        total += number * factor.ok_or_else(|| reject("has an unknown unit"))?;
        rest = &tail[end..];
    }
    if text.is_empty() { Err(reject("is not a duration")) } else { whole_millis(total) }
}

/// Milliseconds that make sense: some or none, and not a fraction of one.
fn whole_millis(total: f64) -> Result<u64, Rejection> {
    let reject = |what: &str| Rejection { what: what.into(), accepted: String::new() };
    match total {
        0.0 => Ok(0),
        less if less < 1.0 => Err(reject("is not a duration of at least 1ms")),
        more if more > LONGEST => Err(reject("is too long")),
        millis => Ok(millis.round() as u64),
    }
}

fn parse_iso_duration(text: &str) -> Option<f64> {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let mut total = 0.0;
    for (part, units) in [
        (date, [("D", 86_400_000.0), ("", 0.0), ("", 0.0)].as_slice()),
        (time, [("H", 3_600_000.0), ("M", 60_000.0), ("S", 1000.0)].as_slice()),
    ] {
        let mut rest = part;
        while !rest.is_empty() {
            let (number, tail) = amount(rest)?;
            let unit = tail.get(..1)?;
            total += number * units.iter().find(|(name, _)| *name == unit)?.1;
            rest = &tail[1..];
        }
    }
    (!text.is_empty() && text != "T").then_some(total)
}

fn largest_unit(number: u64, units: &[(&'static str, u64)]) -> (u64, &'static str) {
    let fitting = units.iter().rev().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor));
    fitting.map_or((number, units[0].0), |(name, factor)| (number / factor, name))
}

/// Trino's spelling: the largest unit without a fraction, `4GB`, `1536MB`, `123B`.
pub fn show_datasize(bytes: u64) -> String {
    let units = [("B", 1), ("kB", KIB), ("MB", KIB.pow(2)), ("GB", KIB.pow(3)), ("TB", KIB.pow(4))];
    let (number, unit) = largest_unit(bytes, &units);
    format!("{number}{unit}")
}

/// `-Xmx`'s spelling: `2g`, `1536m`, `123`.
pub fn show_jvmsize(bytes: u64) -> String {
    let (number, unit) = largest_unit(bytes, &[("", 1), ("k", KIB), ("m", KIB.pow(2)), ("g", KIB.pow(3))]);
    format!("{number}{unit}")
}

/// IEC spelling: `2GiB`, `1536MiB`, `123B`.
pub fn show_bytes(bytes: u64) -> String {
    let units = [("B", 1), ("KiB", KIB), ("MiB", KIB.pow(2)), ("GiB", KIB.pow(3)), ("TiB", KIB.pow(4))];
    let (number, unit) = largest_unit(bytes, &units);
    format!("{number}{unit}")
}

/// Trino's and Go's spelling: `90s`, `2m`, `250ms`.
pub fn show_duration(millis: u64) -> String {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    if millis == 0 {
        return "0s".into();
    }
    let (number, unit) = largest_unit(millis, &units);
    format!("{number}{unit}")
}

/// The URL as given, less surrounding blanks, once its scheme is one of `schemes` and it names a host where it must.
fn parse_url(text: &str, schemes: &[String]) -> Result<String, String> {
    // java.sql's URLs carry their scheme behind "jdbc:"; the rest is an ordinary URL.
    let (prefix, rest) = text.split_at(if text.starts_with("jdbc:") { 5 } else { 0 });
    let scheme = rest.split_once(':').map(|(scheme, _)| format!("{prefix}{}", scheme.to_ascii_lowercase()));
    if !scheme.as_ref().is_some_and(|scheme| schemes.contains(scheme)) {
        return Err("is not a URL of an accepted scheme".into());
    }
    let url = url::Url::parse(rest).map_err(|error| format!("is not a URL ({error})"))?;
    let needs_host = !matches!(url.scheme(), "file" | "local");
    // The URL standard reads "http:///x" as the host "x"; no service does.
    let empty_authority = rest.split_once("://").is_none_or(|(_, rest)| rest.is_empty() || rest.starts_with('/'));
    if needs_host && (empty_authority || url.host_str().is_none_or(str::is_empty)) {
        return Err("is a URL without a host".into());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("is a URL with a blank in it".into());
    }
    hosts_of(rest).into_iter().find_map(|host| host_mistake(url.scheme(), host)).map_or(Ok(text.into()), Err)
}

/// The hosts of a URL as they are written; some URLs name several, separated by commas.
fn hosts_of(url: &str) -> Vec<&str> {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#', ';']).next().unwrap_or(""));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    hosts.split(',').map(without_port).collect()
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(host, _)| host)
}

/// Characters that no client accepts in a URL's host. An underscore passes where the host is looked up by a driver of its own:
/// java.net.URI, which reads the others, sees no host in it (RFC 3986 section 3.2.2, RFC 1123 section 2.1).
fn host_mistake(scheme: &str, host: &str) -> Option<String> {
    let is_uri = matches!(scheme, "http" | "https" | "thrift" | "ws" | "wss");
    let stray = |c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':' | '%'));
    match host.chars().find(|c| stray(*c)) {
        Some(c) => Some(format!("is a URL with {c:?} in its host")),
        None if is_uri && host.contains('_') => {
            Some("is a URL with an underscore in its host, which Java and HTTP clients refuse".into())
        }
        None => None,
    }
}

/// What is wrong with a text that is the URL of a server, as the keys of a service that no contract declares have it.
pub fn url_mistake(text: &str) -> Option<String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme)?;
    let known = ["http", "https", "thrift"].contains(&scheme);
    known.then(|| hosts_of(text).into_iter().find_map(|host| host_mistake(scheme, host)))?
}

fn parse_host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<std::net::IpAddr>().is_ok();
    (address || is_host_name(text)).then(|| bare.to_owned())
}

/// RFC 1123, and the underscore that Compose's service names have.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        !label.is_empty() && label.len() <= 63 && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253 && name.split('.').all(label)
}

fn parse_hostport(text: &str, default: Option<u16>) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, parse_port(port)?),
        _ => (text, default?),
    };
    let bare = parse_host(host)?;
    Some(if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") })
}

fn parse_list(text: &str, item: &ValueType, reject: &impl Fn(&str) -> Rejection) -> Result<Value, Rejection> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let number_and_value = |(index, word)| {
        item.parse(word)
            .map_err(|why: Rejection| reject(&format!("has an item (number {}) that {}", index + 1, why.what)))
    };
    words.enumerate().map(number_and_value).collect::<Result<Vec<_>, _>>().map(Value::List)
}

/// Splits as a shell does (POSIX 2.2 Quoting), expanding nothing; `None` where a quote is left open.
pub fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => {
                let current = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => current.push(c),
                    }
                }
            }
            '"' => {
                let current = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => current.push(c),
                            c => current.extend(['\\', c]),
                        },
                        c => current.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
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

fn parse_json(text: &str, shape: JsonShape) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| format!("is not JSON (line {}, column {})", error.line(), error.column()))?;
    match shape {
        JsonShape::Object if !value.is_object() => Err("is JSON, but not an object".into()),
        JsonShape::Array if !value.is_array() => Err("is JSON, but not an array".into()),
        _ => Ok(value),
    }
}

fn check_yaml(text: &str) -> Result<(), String> {
    let mut parser = saphyr_parser::Parser::new_from_str(text);
    let broken = parser.find_map(Result::err);
    broken.map_or(Ok(()), |error| Err(format!("is not YAML (line {})", error.marker().line())))
}

/// Lines of `key=value` (or `key: value`); blank lines and lines starting with `#` or `!` are left out. Values are
/// literal: no backslash escapes, so that what an operator types is what the service gets.
fn parse_properties(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) = line.split_once(['=', ':']).ok_or_else(|| format!("has no = in line {}", index + 1))?;
        let key = key.trim_end();
        if key.is_empty() {
            return Err(format!("has no key in line {}", index + 1));
        }
        if pairs.iter().any(|(earlier, _)| earlier == key) {
            return Err(format!("has a key twice, again in line {}", index + 1));
        }
        pairs.push((key.to_owned(), value.trim_start().to_owned()));
    }
    Ok(pairs)
}

/// Numbers in contracts may be written bare or quoted.
pub mod toml_text {
    use serde::{Deserialize, Deserializer, Serialize};

    /// A scalar of a contract as text: `1`, `"1GB"`, `true`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize)]
    #[serde(transparent)]
    pub struct Text(pub String);

    impl<'de> Deserialize<'de> for Text {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            #[derive(Deserialize)]
            #[serde(untagged)]
            enum Scalar {
                Bool(bool),
                Int(i64),
                Float(f64),
                Text(String),
            }
            Ok(Text(match Scalar::deserialize(deserializer)? {
                Scalar::Bool(value) => value.to_string(),
                Scalar::Int(value) => value.to_string(),
                Scalar::Float(value) => value.to_string(),
                Scalar::Text(value) => value,
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(text: &str) -> Result<u64, String> {
        parse_duration(text).map_err(|why| why.what)
    }

    /// Behaviours: 86.
    #[test]
    fn durations_take_trinos_gos_and_iso_spellings_and_refuse_bare_numbers() {
        assert_eq!(duration("60s"), Ok(60_000));
        assert_eq!(duration("1h30m"), Ok(5_400_000));
        assert_eq!(duration("1.5h"), Ok(5_400_000));
        assert_eq!(duration("PT1M30S"), Ok(90_000));
        assert_eq!(duration("P1DT1H"), Ok(90_000_000));
        assert_eq!(duration("0s"), Ok(0));
        assert_eq!(duration("60"), Err("is a duration without its unit".into()));
        assert_eq!(duration("60 sec"), Err("has an unknown unit".into()));
        assert_eq!(duration("1ns"), Err("is not a duration of at least 1ms".into()));
        assert_eq!(duration("PT"), Ok(0).and(Err("is not a duration".into())));
        assert_eq!(duration("PT0.0001S"), Err("is not a duration of at least 1ms".into()));
        assert_eq!(duration("PT99999999999999999999S"), Err("is too long".into()));
        assert_eq!(duration("99999999999d"), Err("is too long".into()));
        assert_eq!(duration(""), Err("is not a duration".into()));
        let shown = ValueType::Duration { min: None, max: None }.parse("60").unwrap_err();
        assert_eq!(shown.accepted, "a duration with its unit: 60s, 2m, 1h30m or PT1M30S");
    }

    /// Behaviours: 86.
    #[test]
    fn sizes_keep_each_services_meaning_of_a_unit() {
        assert_eq!(parse_datasize("4GB").unwrap(), 4 << 30);
        assert_eq!(parse_datasize("512 MB").unwrap(), 512 << 20);
        assert_eq!(parse_jvmsize("8G").unwrap(), 8 << 30);
        assert_eq!(parse_jvmsize("2Gi").unwrap(), 2 << 30);
        assert_eq!(parse_jvmsize("536870912").unwrap(), 512 << 20);
        assert_eq!(parse_bytes("1MB").unwrap(), 1_000_000);
        assert_eq!(parse_bytes("1MiB").unwrap(), 1 << 20);
        assert_eq!(parse_jvmsize("2").unwrap_err().what, "is a size without its unit");
        assert_eq!(parse_datasize("4GX").unwrap_err().what, "has an unknown unit");
        assert_eq!(parse_datasize("99999999999PB").unwrap_err().what, "is too large");
        for parse in [parse_jvmsize, parse_bytes] {
            assert_eq!(parse("18446744073709551615").unwrap_err().what, "is too large");
            assert_eq!(parse("99999999999999999999").unwrap_err().what, "is too large");
            assert!(parse("+1073741824").is_err());
            assert_eq!(parse("5i").unwrap_err().what, "has an unknown unit");
            assert_eq!(parse("5ib").unwrap_err().what, "has an unknown unit");
        }
        assert_eq!(show_datasize(1536 << 20), "1536MB");
        assert_eq!(show_jvmsize(2 << 30), "2g");
    }

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

    /// Behaviours: 86.
    #[test]
    fn addresses_are_told_from_urls() {
        assert_eq!(parse_host("[::1]"), Some("::1".into()));
        assert_eq!(parse_host("nessie_1"), Some("nessie_1".into()));
        assert_eq!(parse_host("http://x"), None);
        assert_eq!(parse_hostport("[::1]:80", None), Some("[::1]:80".into()));
        assert_eq!(parse_hostport("db", Some(5432)), Some("db:5432".into()));
        assert_eq!(parse_hostport("db:0", Some(5432)), None);
        let schemes = vec!["http".to_owned(), "jdbc:postgresql".to_owned()];
        assert!(parse_url("http://nessie:19120/api/v2", &schemes).is_ok());
        assert!(parse_url("jdbc:postgresql://db:5432/nessie?x=y", &schemes).is_ok());
        assert_eq!(parse_url("tcp://10.0.0.1:1", &schemes), Err("is not a URL of an accepted scheme".into()));
        assert_eq!(parse_url("http:///x", &schemes), Err("is a URL without a host".into()));
    }

    #[test]
    fn words_split_as_a_shell_splits_them_and_expand_nothing() {
        assert_eq!(split_words(r#"--a "b c" 'd$e' f\ g"#).unwrap(), ["--a", "b c", "d$e", "f g"]);
        assert_eq!(split_words(""), Some(vec![]));
        assert_eq!(split_words("'open"), None);
    }

    #[test]
    fn a_list_that_is_set_has_an_item() {
        let list = ValueType::List { item: Box::new(ValueType::Identifier) };
        for text in [",", " ", " , ,", "\t"] {
            assert_eq!(list.parse(text).unwrap_err().what, "has no item in it", "{text:?}");
        }
        assert_eq!(list.parse("a,,b").unwrap(), Value::List(vec![Value::Text("a".into()), Value::Text("b".into())]));
        assert_eq!(ValueType::Words.parse(" ").unwrap_err().what, "has no word in it");
        assert_eq!(ValueType::Words.parse("''").unwrap(), Value::List(vec![Value::Text(String::new())]));
    }

    #[test]
    fn a_document_that_must_be_an_object_is_one() {
        let what = |shape, text| ValueType::Json { shape }.parse(text).err().map(|why| why.what);
        for text in ["[]", "null", "5", "\"x\"", "false"] {
            assert_eq!(what(JsonShape::Object, text).as_deref(), Some("is JSON, but not an object"), "{text}");
            assert_eq!(what(JsonShape::Any, text), None, "{text}");
        }
        assert_eq!(what(JsonShape::Object, "{}"), None);
        assert_eq!(what(JsonShape::Array, "[]"), None);
        assert_eq!(what(JsonShape::Array, "{}").as_deref(), Some("is JSON, but not an array"));
    }

    #[test]
    fn properties_are_literal_and_refuse_a_key_twice() {
        let pairs = parse_properties("# x\na.b = c:d \\n\n\nkey:v=w\n").unwrap();
        assert_eq!(pairs, [("a.b".to_owned(), "c:d \\n".to_owned()), ("key".to_owned(), "v=w".to_owned())]);
        assert_eq!(parse_properties("a=1\na=2"), Err("has a key twice, again in line 2".into()));
        assert_eq!(parse_properties("nothing"), Err("has no = in line 1".into()));
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
