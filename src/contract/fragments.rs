//! Parts that several contracts share (`services/shared/NAME.toml`), put where a contract includes them.
//!
//! Works on the text as data, before it is a `Contract`: build.rs and an image's own contract go the same way.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::contract::{
    Check, Contract, Derived, Directory, File, Group, Ignored, NamedType, Passthrough, Preset, Variable, Wait,
};

/// The fields of a fragment: parts of a contract, with `$(parameter)` in their texts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[derive(Default)]
pub struct Fragment {
    /// Each parameter with its default; one that is `false` has to be given.
    pub parameters: BTreeMap<String, Value>,
    pub alias: BTreeMap<String, String>,
    #[serde(rename = "type")]
    pub types: BTreeMap<String, NamedType>,
    pub ignored: Vec<Ignored>,
    #[serde(rename = "env")]
    pub variables: Vec<Variable>,
    #[serde(rename = "group")]
    pub groups: Vec<Group>,
    pub passthrough: Vec<Passthrough>,
    #[serde(rename = "let")]
    pub derived: Vec<Derived>,
    #[serde(rename = "check")]
    pub checks: Vec<Check>,
    pub together: Vec<Preset>,
    pub exclusive: Vec<Preset>,
    #[serde(rename = "directory")]
    pub directories: Vec<Directory>,
    #[serde(rename = "file")]
    pub files: Vec<File>,
    #[serde(rename = "wait")]
    pub waits: Vec<Wait>,
}

/// `"java"`, or `{ fragment = "s3-client", prefix = "S3_" }`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Include {
    Plain(String),
    With(BTreeMap<String, String>),
}

/// Reads a contract with all that it includes, ready for use, and the data it is made from.
///
/// # Errors
/// The TOML parser's message with line and column, or an error of `included`.
pub fn read(text: &str, fragment: &dyn Fn(&str) -> Option<Value>) -> Result<(Contract, Value), String> {
    // The parser of the text knows the lines.
    toml::from_str::<Contract>(text).map_err(|error| error.to_string())?;
    let data = toml::from_str::<Value>(text).map_err(|error| error.to_string())?;
    let data = included(data, fragment)?;
    let contract: Contract = serde_json::from_str(&data.to_string()).map_err(|error| error.to_string())?;
    Ok((contract.written_out(), data))
}

/// The contract with all that it includes: what a fragment has comes before what the contract has, which wins.
///
/// # Errors
/// A fragment or parameter that does not exist, or a parameter that is not given.
pub fn included(mut contract: Value, fragment: &dyn Fn(&str) -> Option<Value>) -> Result<Value, String> {
    let include = contract.as_object_mut().and_then(|table| table.remove("include")).unwrap_or(Value::Array(vec![]));
    let includes: Vec<Include> =
        serde_json::from_value(include).map_err(|_| "include: write a list of names, or { fragment = \"NAME\", … }")?;
    let parts: Vec<Value> = includes.iter().map(|include| filled(include, fragment)).collect::<Result<_, _>>()?;
    Ok(parts.into_iter().rev().fold(contract, |contract, part| merge(part, contract)))
}

fn filled(include: &Include, fragment: &dyn Fn(&str) -> Option<Value>) -> Result<Value, String> {
    let (name, given) = match include {
        Include::Plain(name) => (name.as_str(), BTreeMap::new()),
        Include::With(table) => {
            let name = table.get("fragment").ok_or("include: a table needs `fragment`, the name of one")?;
            let given =
                table.iter().filter(|(key, _)| *key != "fragment").map(|(key, text)| (key.clone(), text.clone()));
            (name.as_str(), given.collect())
        }
    };
    let mut part = fragment(name).ok_or_else(|| format!("include: no fragment is called {name}"))?;
    let declared = part.as_object_mut().and_then(|table| table.remove("parameters"));
    let parameters = parameters(name, declared.as_ref(), given)?;
    replace(&mut part, &parameters);
    Ok(part)
}

fn parameters(
    fragment: &str,
    declared: Option<&Value>,
    mut given: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, String> {
    let declared = declared.and_then(Value::as_object).cloned().unwrap_or_default();
    if let Some(unknown) = given.keys().find(|key| !declared.contains_key(*key)) {
        let known = BTreeSet::from_iter(declared.keys().map(String::as_str)).into_iter().collect::<Vec<_>>().join(", ");
        return Err(format!("include: {fragment} has no parameter {unknown}; it has {known}"));
    }
    for (key, default) in declared {
        match default.as_str() {
            _ if given.contains_key(&key) => {}
            Some(text) => drop(given.insert(key, text.to_owned())),
            None => return Err(format!("include: {fragment} needs the parameter {key}")),
        }
    }
    Ok(given)
}

/// `$(name)` in every text.
fn replace(value: &mut Value, parameters: &BTreeMap<String, String>) {
    match value {
        Value::String(text) if text.contains("$(") => {
            for (name, with) in parameters {
                *text = text.replace(&format!("$({name})"), with);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, parameters)),
        Value::Object(table) => table.values_mut().for_each(|item| replace(item, parameters)),
        _ => {}
    }
}

/// `addition` over `base`: tables key by key, lists one after the other, the rest replaced.
pub fn merge(base: Value, addition: Value) -> Value {
    match (base, addition) {
        (Value::Object(mut base), Value::Object(addition)) => {
            for (key, value) in addition {
                let below = base.remove(&key).unwrap_or(Value::Null);
                base.insert(key, merge(below, value));
            }
            Value::Object(base)
        }
        (Value::Array(mut base), Value::Array(addition)) => {
            base.extend(addition);
            Value::Array(base)
        }
        (_, addition) => addition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shared(name: &str) -> Option<Value> {
        let fragment = json!({
            "parameters": {"prefix": false, "doc": "Key."},
            "env": [{"name": "$(prefix)KEY", "doc": "$(doc)"}],
        });
        (name == "client").then_some(fragment)
    }

    #[test]
    fn a_fragment_comes_before_the_contract_with_its_parameters_filled_in() {
        let contract = json!({
            "include": [{"fragment": "client", "prefix": "A_"}, {"fragment": "client", "prefix": "B_", "doc": "Other."}],
            "env": [{"name": "OWN"}],
        });
        let expected = json!({
            "env": [{"name": "A_KEY", "doc": "Key."}, {"name": "B_KEY", "doc": "Other."}, {"name": "OWN"}],
        });
        assert_eq!(included(contract, &shared), Ok(expected));
    }

    #[test]
    fn a_fragment_or_parameter_that_does_not_exist_or_is_not_given_is_an_error() {
        for (include, why) in [
            (json!(["nothing"]), "include: no fragment is called nothing"),
            (json!(["client"]), "include: client needs the parameter prefix"),
            (
                json!([{"fragment": "client", "prefix": "", "x": ""}]),
                "include: client has no parameter x; it has doc, prefix",
            ),
            (json!([{"prefix": ""}]), "include: a table needs `fragment`, the name of one"),
            (json!("client"), "include: write a list of names, or { fragment = \"NAME\", … }"),
        ] {
            assert_eq!(included(json!({"include": include}), &shared), Err(why.to_owned()));
        }
    }

    #[test]
    fn an_addition_merges_tables_appends_lists_and_replaces_the_rest() {
        let merged = merge(
            json!({"service": {"name": "a", "summary": "x"}, "env": [1]}),
            json!({"service": {"summary": "y"}, "env": [2]}),
        );
        assert_eq!(merged, json!({"service": {"name": "a", "summary": "y"}, "env": [1, 2]}));
    }
}
