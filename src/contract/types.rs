//! The type a variable of a contract declares.
//!
//! Owns the names of the types in a contract and their parameters; `value` says what each accepts.

use serde::{Deserialize, Deserializer, Serialize};

use super::Variable;
use crate::value::{
    Exists, JsonShape, Rejection, ValueType, parse_bytes, parse_datasize, parse_duration, parse_jvmsize,
};

/// A scalar of a contract as text, which may be written bare or quoted: `1`, `"1GB"`, `true`.
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

/// The type a contract's variable declares.
///
/// # Errors
/// A text for the contract's author: unknown type, missing or misplaced parameter.
pub fn type_of(variable: &Variable) -> Result<ValueType, String> {
    named(&variable.kind, variable)
}

fn named(kind: &str, variable: &Variable) -> Result<ValueType, String> {
    let sizes = |unit: fn(&str) -> Result<u64, Rejection>| -> Result<(Option<u64>, Option<u64>), String> {
        let bound = |text: &Option<Text>| {
            text.as_ref()
                .map(|text| unit(&text.0).map_err(|why| format!("bound {:?} {}", text.0, why.what)))
                .transpose()
        };
        Ok((bound(&variable.min)?, bound(&variable.max)?))
    };
    Ok(match kind {
        "bool" => ValueType::Bool,
        "int" => ValueType::Int { min: number(&variable.min)?, max: number(&variable.max)? },
        "float" => ValueType::Float { min: number(&variable.min)?, max: number(&variable.max)? },
        "port" => ValueType::Port,
        "datasize" => sizes(parse_datasize).map(|(min, max)| ValueType::Datasize { min, max })?,
        "jvmsize" => sizes(parse_jvmsize).map(|(min, max)| ValueType::Jvmsize { min, max })?,
        "bytes" => sizes(parse_bytes).map(|(min, max)| ValueType::Bytes { min, max })?,
        "percent" => ValueType::Percent,
        "duration" => sizes(parse_duration).map(|(min, max)| ValueType::Duration { min, max })?,
        "url" if variable.schemes.is_empty() => return Err("a url needs `schemes`".into()),
        "url" => ValueType::Url { schemes: variable.schemes.clone() },
        "host" => ValueType::Host,
        "hostport" => ValueType::Hostport { port: variable.port },
        "list" => {
            let of = variable.of.as_deref().ok_or("a list needs `of`, the type of its items")?;
            ValueType::List { item: Box::new(named(of, variable)?) }
        }
        "words" => ValueType::Words,
        "enum" if variable.values.is_empty() => return Err("an enum needs `values`".into()),
        "enum" => ValueType::Enum { values: variable.values.clone(), synonyms: variable.synonyms.clone() },
        "path" => ValueType::Path { exists: exists(variable.exists.as_deref())? },
        "string" => ValueType::Text {
            pattern: variable.pattern.clone(),
            accepted: variable.accepted.clone(),
            min_length: variable.min_length.unwrap_or(0),
        },
        "identifier" => ValueType::Identifier,
        "version" => ValueType::Version,
        "json" => ValueType::Json { shape: json_shape(variable.of.as_deref())? },
        "yaml" => ValueType::Yaml,
        "properties" => ValueType::Properties,
        // Fewer cannot be kept out of what is printed (`secrets::SHORTEST_SECRET`).
        "secret" => ValueType::Secret { min_length: variable.min_length.unwrap_or(4) },
        other => return Err(format!("unknown type {other:?}")),
    })
}

fn number<T: std::str::FromStr>(text: &Option<Text>) -> Result<Option<T>, String> {
    text.as_ref().map(|text| text.0.parse().map_err(|_| format!("bound {:?} is not a number", text.0))).transpose()
}

fn exists(text: Option<&str>) -> Result<Exists, String> {
    match text {
        None => Ok(Exists::Unchecked),
        Some("file") => Ok(Exists::File),
        Some("directory") => Ok(Exists::Directory),
        Some("pem") => Ok(Exists::Pem),
        Some(other) => Err(format!("`exists` is {other:?}; file, directory or pem")),
    }
}

/// The mistake in a declared type. Patterns are compiled here once for a contract, not at every start.
pub fn mistake_in_type(variable: &Variable) -> Option<String> {
    match type_of(variable) {
        Ok(kind) => mistake_in_pattern(&kind),
        Err(why) => Some(why),
    }
}

fn mistake_in_pattern(kind: &ValueType) -> Option<String> {
    match kind {
        ValueType::List { item } => mistake_in_pattern(item),
        ValueType::Text { pattern: Some(pattern), .. } => {
            regex_lite::Regex::new(pattern).err().map(|error| format!("pattern {pattern:?}: {error}"))
        }
        _ => None,
    }
}

fn json_shape(of: Option<&str>) -> Result<JsonShape, String> {
    match of {
        None => Ok(JsonShape::Any),
        Some("object") => Ok(JsonShape::Object),
        Some("array") => Ok(JsonShape::Array),
        Some(other) => Err(format!("`of` is {other:?}; a json is an object or an array")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_that_is_none_is_a_mistake_of_the_contract_in_lists_too() {
        let variable = |kind: &str, pattern: &str| Variable {
            kind: kind.into(),
            of: Some("string".into()),
            pattern: Some(pattern.into()),
            ..Variable::default()
        };
        for kind in ["string", "list"] {
            let why = mistake_in_type(&variable(kind, "a(")).unwrap();
            assert!(why.starts_with("pattern \"a(\": "), "{why}");
            assert_eq!(mistake_in_type(&variable(kind, "a(b)")), None);
        }
        assert_eq!(mistake_in_type(&variable("text", "a")), Some("unknown type \"text\"".into()));
    }
}
