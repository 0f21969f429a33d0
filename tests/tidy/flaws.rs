//! `docs/flaws.md`: every test that it names exists.

use crate::source::root;

#[test]
fn every_test_that_keeps_a_flaw_away_exists() {
    let table = std::fs::read_to_string(root().join("docs/flaws.md")).unwrap();
    let (mut section, mut named, mut missing) = ("", 0, Vec::new());
    for line in table.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        let Some(tests) = line.strip_prefix('|').and_then(|line| line.trim_end_matches([' ', '|']).rsplit('|').next())
        else {
            continue;
        };
        for (kind, name) in tests_of(tests) {
            named += 1;
            if !exists(section, kind, name, tests) {
                missing.push(format!("{section}: {name}"));
            }
        }
    }
    assert!(named > 20, "{named} tests are named");
    assert!(missing.is_empty(), "no such test: {missing:#?}");
}

/// The names in backticks, each with what stands before it.
fn tests_of(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts: Vec<&str> = text.split('`').collect();
    let pairs: Vec<(&str, &str)> = parts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter()
}

/// A file, a golden case, what a golden case's plan has (in brackets), or a function of one of the files beside it.
fn exists(section: &str, before: &str, name: &str, all: &str) -> bool {
    let is_of_a_plan = before.ends_with('(') && !name.ends_with(".rs");
    if name.contains('/') && !is_of_a_plan {
        return root().join(name).exists();
    }
    if is_of_a_plan || root().join("tests/golden").join(section).join(name).exists() {
        return true;
    }
    let files = tests_of(all).map(|(_, name)| name).filter(|name| name.ends_with(".rs"));
    let declared = format!("fn {name}(");
    files.into_iter().any(|file| std::fs::read_to_string(root().join(file)).is_ok_and(|text| text.contains(&declared)))
}
