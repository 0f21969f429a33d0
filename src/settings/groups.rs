//! Groups: any number of items whose variables share a prefix, such as `TRINO_CATALOG_<NAME>_…`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use tera::Context;

use super::Loader;
use crate::contract::{Group, Variable};
use crate::report::Problem;

impl Loader<'_> {
    pub(super) fn read_groups(&mut self) {
        for group in &self.contract.groups {
            let spellings = self.spellings(group);
            let mut items = Vec::new();
            for (spelling, name) in self.with_declared(group, spellings) {
                items.push(self.read_instance(group, &spelling, &name));
            }
            self.settings.context.insert(group.key.clone(), &items);
        }
    }

    /// The items variables name: as they spell it, and the name.
    fn spellings(&mut self, group: &Group) -> BTreeMap<String, String> {
        let renamed = self.renamed.keys().map(String::as_str);
        let candidates: Vec<String> = self.environment.names().chain(renamed).map(str::to_owned).collect();
        let mut spellings: BTreeMap<String, String> = BTreeMap::new();
        for full_name in candidates {
            let set = self.environment.get(&full_name).is_none_or(|text| !text.is_empty());
            let Some(spelling) = instance_of(group, &full_name) else { continue };
            self.known.insert(full_name.clone());
            let name = spelling.to_lowercase();
            let twin = spellings.iter().find(|(other, same)| **same == name && *other != spelling);
            match twin {
                Some((twin, _)) if set => {
                    let (twin, prefix) = (twin.clone(), &group.prefix);
                    let problem =
                        Problem::error(&full_name, format!("spells {name} in another way than {prefix}{twin}_…"));
                    self.problems.push(problem.accepted("one spelling for one name").from_source("environment"));
                }
                _ => spellings.extend(set.then(|| (spelling.to_owned(), name))),
            }
        }
        spellings
    }

    /// With those that exist even where no variable names them. A name with a dash is spelt with an underscore: no
    /// shell exports another variable.
    fn with_declared(&mut self, group: &Group, mut spellings: BTreeMap<String, String>) -> BTreeMap<String, String> {
        let Some(always) = &group.always else { return spellings };
        let text = match self.expressions.text(always, &self.settings.context) {
            Ok(text) => text,
            Err(why) => {
                self.report_expression(&group.name, "`always`", always, &why);
                return spellings;
            }
        };
        let names: BTreeSet<String> = text.split(',').map(|name| name.trim().to_lowercase()).collect();
        for name in names.iter().filter(|name| !name.is_empty()) {
            if spellings.values().any(|other| other == name) {
                continue;
            }
            let spelt = name.replace('-', "_");
            let meant = spellings.iter().find(|(_, other)| **other == spelt).map(|(spelling, _)| spelling.clone());
            let spelling = match meant {
                _ if *name != spelt && names.contains(&spelt) => name.to_uppercase(),
                Some(spelling) => spelling,
                None => spelt.to_uppercase(),
            };
            spellings.insert(spelling, name.clone());
        }
        spellings
    }

    fn read_instance(&mut self, group: &Group, spelling: &str, name: &str) -> tera::Value {
        let mut instance = Instance { item: group.name.clone(), values: BTreeMap::new() };
        instance.values.insert("name".into(), tera::Value::normal_string(name));
        instance.values.insert("spelling".into(), tera::Value::normal_string(spelling));
        // Before the variables, whose defaults may go by it.
        if let Some(key) = &group.passthrough {
            let prefix = format!("{}{spelling}__", group.prefix);
            let extra = format!("{}{spelling}_EXTRA", group.prefix);
            let place = format!("{}.{}.{key}", group.name, name.to_lowercase());
            let extend = format!("{}.{key}", group.name);
            let map = self.passthrough_map(place, &extend, &prefix, &extra);
            instance.values.insert(key.clone(), tera::Value::from_serializable(&map));
        }
        for variable in &group.variables {
            let full_name = format!("{}{spelling}_{}", group.prefix, variable.name);
            if let Some(value) = self.resolve(&full_name, variable, Some(&instance)) {
                instance.values.insert(Group::key_of(variable).into_owned(), value.to_tera());
            }
        }
        tera::Value::from_serializable(&instance.values)
    }

    pub(super) fn context_with(&self, instance: Option<&Instance>) -> Cow<'_, Context> {
        let Some(instance) = instance else { return Cow::Borrowed(&self.settings.context) };
        let mut context = self.settings.context.clone();
        context.insert(instance.item.clone(), &instance.values);
        Cow::Owned(context)
    }
}

/// One item of a group while it is being filled.
pub(super) struct Instance {
    item: String,
    values: BTreeMap<String, tera::Value>,
}

/// `TRINO_CATALOG_MY_LAKE_S3_ENDPOINT` → (`MY_LAKE`, the variable): the longest known ending wins. `_FILE` is taken
/// off where the variable takes one.
pub(crate) fn split_group_name<'a, 'n>(group: &'a Group, name: &'n str) -> Option<(&'n str, &'a Variable)> {
    let rest = name.strip_prefix(group.prefix.as_str())?;
    let endings = group.variables.iter().flat_map(|variable| {
        let file = variable.takes_file().then(|| format!("_{}_FILE", variable.name));
        std::iter::once(format!("_{}", variable.name)).chain(file).map(move |ending| (ending, variable))
    });
    let fitting = endings.filter(|(ending, _)| rest.len() > ending.len() && rest.ends_with(ending.as_str()));
    let (ending, variable) = fitting.max_by_key(|(ending, _)| ending.len())?;
    let instance = &rest[..rest.len() - ending.len()];
    is_instance_name(instance).then_some((instance, variable))
}

/// `TRINO_CATALOG_LAKE__hive.x` → (`LAKE`, `hive.x`); `TRINO_CATALOG_LAKE_EXTRA` → (`LAKE`, ``).
pub(crate) fn split_group_passthrough<'n>(group: &Group, name: &'n str) -> Option<(&'n str, &'n str)> {
    group.passthrough.as_ref()?;
    let rest = name.strip_prefix(group.prefix.as_str())?;
    let parts = rest.split_once("__").or_else(|| rest.strip_suffix("_EXTRA").map(|instance| (instance, "")));
    parts.filter(|(instance, _)| is_instance_name(instance))
}

/// The item a variable is about, as it spells it.
pub(crate) fn instance_of<'n>(group: &Group, name: &'n str) -> Option<&'n str> {
    let variable = split_group_name(group, name).map(|(instance, _)| instance);
    variable.or_else(|| split_group_passthrough(group, name).map(|(instance, _)| instance))
}

pub(super) fn is_instance_name(name: &str) -> bool {
    let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    !name.is_empty() && !name.contains("__") && letters
}
