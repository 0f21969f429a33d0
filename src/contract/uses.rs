//! Which names of a contract are worked out from which others, and which a template reads.
//!
//! Asked once, where a contract is built in or read; a start only looks them up.

use std::collections::{BTreeSet, HashSet};

use super::Contract;
use super::expression::Expressions;

/// Every `let`, and the names it is worked out from: settings, and what stands before it.
pub type Uses = Vec<(String, Vec<String>)>;

pub(crate) fn uses_of(contract: &Contract) -> Uses {
    let mut expressions = Expressions::default();
    let mut used = |value: &str| expressions.variables(value).unwrap_or_default().into_iter().collect();
    contract.derived.iter().map(|derived| (derived.name.clone(), used(&derived.expression()))).collect()
}

/// The names that a template reads: settings, and `item.field` of what it goes over.
pub(crate) fn read_by(template: &str) -> BTreeSet<String> {
    let names = Expressions::default().variables(template).unwrap_or_default();
    names.into_iter().chain(tags(template).flat_map(fields)).collect()
}

/// The insides of `{{ … }}` and `{% … %}`.
fn tags(template: &str) -> impl Iterator<Item = &str> {
    let inside = |part| {
        let end = if template[part..].starts_with("{{") { "}}" } else { "%}" };
        template[part + 2..].split(end).next()
    };
    let starts = template.match_indices('{').map(|(start, _)| start);
    starts.filter(|start| template[start + 1..].starts_with(['{', '%'])).filter_map(inside)
}

/// Names with dots, outside of texts in quotes.
fn fields(tag: &str) -> impl Iterator<Item = String> {
    let plain = tag.split(['"', '\'']).step_by(2);
    let words = plain.flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.'));
    words.filter(|word| word.contains('.') && !word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_reads_what_its_tags_name_and_not_what_it_says_beside_them() {
        let template = "a.b={{ one.x | default(value='no.y') }}\n{% if not two.z and three %}{# four.w #}{% endif %}";
        let names: Vec<String> = read_by(template).into_iter().collect();
        assert_eq!(names, ["one", "one.x", "three", "two", "two.z"]);
    }
}
