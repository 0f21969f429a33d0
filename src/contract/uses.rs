//! Which names of a contract are worked out from which others.

use std::collections::HashSet;

use super::Contract;
use super::expression::Expressions;

/// Every `let`, and the names it is worked out from: settings, and what stands before it.
pub type Uses = Vec<(String, Vec<String>)>;

pub(crate) fn uses_of(contract: &Contract) -> Uses {
    let mut expressions = Expressions::default();
    let mut used = |value: &str| expressions.variables(value).unwrap_or_default().into_iter().collect();
    contract.derived.iter().map(|derived| (derived.name.clone(), used(&derived.expression()))).collect()
}

/// A key, and every `let` that is worked out from it.
pub(crate) fn reach(uses: &Uses, key: String) -> HashSet<String> {
    let mut names = HashSet::from([key]);
    for (name, used) in uses {
        if used.iter().any(|used| names.contains(used)) {
            names.insert(name.clone());
        }
    }
    names
}

/// These names, and all that they are worked out from.
pub(crate) fn sources(uses: &Uses, mut names: HashSet<String>) -> HashSet<String> {
    for (name, used) in uses.iter().rev() {
        if names.contains(name) {
            names.extend(used.iter().cloned());
        }
    }
    names
}
