//! Variables the contract does not know: misspelt ones are named, foreign ones are the service's to inherit.

use super::Loader;
use super::families::family_of;
use super::groups::is_instance_name;
use crate::did_you_mean::{edit_distance, tolerance};
use crate::report::Problem;

/// Of shorter prefixes another one is a neighbour too easily.
const SHORTEST_PREFIX: usize = 5;

impl Loader<'_> {
    /// Has one of the service's prefixes.
    pub(super) fn is_ours(&self, name: &str) -> bool {
        self.contract.service.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    pub(super) fn report_unknown(&mut self) {
        let names: Vec<String> = self.environment.names().map(str::to_owned).collect();
        for name in names {
            let empty = self.environment.get(&name).is_none_or(|text| text.is_empty());
            if empty || self.known.contains(&name) {
                continue;
            }
            if self.is_ours(&name) && is_listed(&self.contract.child.pass, &name) {
                if family_of(self.contract, &name).is_none() {
                    self.is_clean_as_passed(&name);
                }
                continue;
            }
            if let Some(message) = self.why_unknown(&name) {
                let problem =
                    if self.options.strict { Problem::error(&name, message) } else { Problem::warning(&name, message) };
                self.problems.push(problem.from_source(self.source_of(&name)));
            }
        }
    }

    fn why_unknown(&self, name: &str) -> Option<String> {
        let service = &self.contract.service.name;
        if !self.is_ours(name) {
            return self.prefix_meant(name).map(|meant| format!("has no effect: did you mean {meant}?"));
        }
        Some(match self.nearest(name) {
            Some(nearest) => format!("is not a variable of {service}: did you mean {nearest}?"),
            None => format!("is not a variable of {service} and has no effect"),
        })
    }

    /// `MINNIO_ROOT_USER` → `MINIO_ROOT_USER`: the name with the prefix of the service that its own is a misspelling
    /// of.
    fn prefix_meant(&self, name: &str) -> Option<String> {
        let (first, rest) = name.split_once('_')?;
        let prefixes = self.contract.service.prefixes.iter().filter_map(|prefix| prefix.strip_suffix('_'));
        let near = |prefix: &&str| {
            let distance = edit_distance(first, prefix);
            prefix.len() >= SHORTEST_PREFIX && distance == 1
        };
        prefixes.into_iter().find(near).map(|prefix| format!("{prefix}_{rest}"))
    }

    fn nearest(&self, name: &str) -> Option<String> {
        let plain = self.contract.variables.iter().filter(|variable| variable.ignored.is_none());
        let plain = plain.map(|variable| variable.name.clone());
        let grouped = self.contract.groups.iter().flat_map(|group| {
            let rest = name.strip_prefix(group.prefix.as_str()).unwrap_or_default();
            let instance = rest.split('_').next().unwrap_or_default().to_owned();
            let named = is_instance_name(&instance);
            let variables = group.variables.iter().filter(move |_| named);
            variables.map(move |variable| format!("{}{instance}_{}", group.prefix, variable.name))
        });
        let distances = plain.chain(grouped).map(|candidate| (edit_distance(name, &candidate), candidate));
        distances.filter(|(distance, _)| *distance <= tolerance(name, 2)).min().map(|(_, candidate)| candidate)
    }

    pub(super) fn inherit(&mut self) {
        let child = &self.contract.child;
        for (name, value) in self.environment.iter() {
            let text = name.to_str();
            let declared = text.is_some_and(|name| self.known.contains(name));
            let own = text.is_some_and(|name| name.starts_with("DL_"));
            let dropped = text.is_some_and(|name| is_listed(&child.drop, name) && !is_listed(&child.pass, name));
            // Most services take a variable that is there and empty for a value, and fail on it.
            let hollow = value.is_empty() && text.is_some_and(|name| self.is_ours(name));
            if !declared && !own && !dropped && !hollow {
                self.settings.inherited.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

/// Names, or prefixes ending in `*`.
pub(super) fn is_listed(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    })
}
