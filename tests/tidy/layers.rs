//! The modules build on each other in one direction.

use std::collections::BTreeSet;

use crate::source::lines;

/// From what operators touch down to what everything stands on: a module may use those of its own line and of the lines
/// below. Of several prefixes of a module's name the longest counts.
const LAYERS: [&str; 32] = [
    "cli",
    "run",
    "evaluate",
    "tasks",
    "wait",
    "render",
    "plan::build",
    "settings",
    "environment::dl_settings",
    "write",
    "health",
    "net",
    "contract",
    "environment",
    "pid1",
    "identity",
    "plan",
    "threads",
    "read",
    "pid1::proc",
    "pid1::signals",
    "log",
    "pid1::sys",
    "report",
    "secrets",
    "environment::container",
    "value",
    "render::format",
    "value::yaml",
    "text",
    "packed",
    "did_you_mean",
];
/// Anybody may end with a status.
const UNDER_ALL: &str = "exit";

#[test]
fn no_module_uses_one_that_is_built_on_it() {
    let mut upwards = Vec::new();
    let mut used = BTreeSet::new();
    for line in lines() {
        let own = layer(&line.module).unwrap_or_else(|| panic!("{}: `{}` is in no layer", line.place, line.module));
        used.insert(own);
        for target in line.code.split("crate::").skip(1).map(path_at_start) {
            match layer(&target) {
                Some(other) if other >= own => {}
                _ => upwards.push(format!("{}: {} uses {target}", line.place, line.module)),
            }
        }
    }
    assert!(upwards.is_empty(), "arrows upwards:\n{}", upwards.join("\n"));
    let empty: Vec<&str> = (0..LAYERS.len()).filter(|layer| !used.contains(layer)).map(|layer| LAYERS[layer]).collect();
    assert!(empty.is_empty(), "layers without a module: {empty:?}");
}

/// The index in `LAYERS`; below all of them for what anybody may use.
fn layer(module: &str) -> Option<usize> {
    let holds =
        |prefix: &str| module.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    if holds(UNDER_ALL) {
        return Some(LAYERS.len());
    }
    (0..LAYERS.len()).filter(|index| holds(LAYERS[*index])).max_by_key(|index| LAYERS[*index].len())
}

/// `pid1::signals::Signals` of `pid1::signals::Signals::block();`.
fn path_at_start(code: &str) -> String {
    code.chars().take_while(|character| character.is_alphanumeric() || matches!(character, '_' | ':')).collect()
}

#[test]
fn a_use_upwards_is_seen() {
    assert!(layer("plan::build") < layer("plan"));
    assert!(layer("cli::entry") < layer("run"));
    assert_eq!(layer("planning"), None);
    assert_eq!(path_at_start("net::http::{self, Reason};"), "net::http::");
    assert_eq!(layer("net::http::"), layer("net"));
}
