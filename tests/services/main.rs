//! The real servers, each under `dl-entry run` with an environment and nothing else.

#[path = "../support/mod.rs"]
mod support;

#[test]
fn the_binary_lists_its_services() {
    let ended = support::Running::start(support::entry(&["services"])).ended(std::time::Duration::from_secs(10));
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}
