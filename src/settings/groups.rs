//! Groups: any number of items whose variables share a prefix, such as `TRINO_CATALOG_<NAME>_…`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use tera::Context;

use super::Loader;
use crate::contract::{Group, Variable};

impl Loader<'_> {
    pub(super) fn read_groups(&mut self) {
        for group in &self.contract.groups {
            let names = self.instance_names(group);
            let mut items = Vec::new();
            for name in names {
                items.push(self.read_instance(group, &name));
            }
            self.settings.context.insert(group.key.clone(), &items);
        }
    }

    fn instance_names(&mut self, group: &Group) -> BTreeSet<String> {
        let renamed = self.renamed.keys().map(String::as_str);
        let candidates: Vec<String> = self.environment.names().chain(renamed).map(str::to_owned).collect();
        let mut names = BTreeSet::new();
        for full_name in candidates {
            let set = self.environment.get(&full_name).is_none_or(|text| !text.is_empty());
            if let Some((instance, _)) = split_group_name(group, &full_name) {
                self.known.insert(full_name.clone());
                names.extend(set.then(|| instance.to_owned()));
            } else if let Some((instance, _)) = split_group_passthrough(group, &full_name) {
                self.known.insert(full_name.clone());
                names.extend(set.then(|| instance.to_owned()));
            }
        }
        if let Some(always) = &group.always {
            match self.expressions.text(always, &self.settings.context) {
                Ok(text) => {
                    names.extend(text.split(',').map(|name| name.trim().to_uppercase()).filter(|n| !n.is_empty()))
                }
                Err(why) => self.report_expression(&group.name, "`always`", always, &why),
            }
        }
        names
    }

    fn read_instance(&mut self, group: &Group, name: &str) -> tera::Value {
        let mut instance = Instance { item: group.name.clone(), values: BTreeMap::new() };
        instance.values.insert("name".into(), tera::Value::normal_string(&name.to_lowercase()));
        for variable in &group.variables {
            let full_name = format!("{}{name}_{}", group.prefix, variable.name);
            if let Some(value) = self.resolve(&full_name, variable, Some(&instance)) {
                instance.values.insert(Group::key_of(variable), value.to_tera());
            }
        }
        if let Some(key) = &group.passthrough {
            let prefix = format!("{}{name}__", group.prefix);
            let extra = format!("{}{name}_EXTRA", group.prefix);
            let place = format!("{}.{}.{key}", group.name, name.to_lowercase());
            let map = self.passthrough_map(place, &prefix, &extra);
            instance.values.insert(key.clone(), tera::Value::from_serializable(&map));
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
pub(super) fn split_group_name<'a, 'n>(group: &'a Group, name: &'n str) -> Option<(&'n str, &'a Variable)> {
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
fn split_group_passthrough<'n>(group: &Group, name: &'n str) -> Option<(&'n str, &'n str)> {
    group.passthrough.as_ref()?;
    let rest = name.strip_prefix(group.prefix.as_str())?;
    let parts = rest.split_once("__").or_else(|| rest.strip_suffix("_EXTRA").map(|instance| (instance, "")));
    parts.filter(|(instance, _)| is_instance_name(instance))
}

fn is_instance_name(name: &str) -> bool {
    !name.is_empty() && !name.contains("__") && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
