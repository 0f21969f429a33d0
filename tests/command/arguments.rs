//! The command line.

use crate::support::{Running, entry};
use std::time::Duration;

#[test]
fn a_command_that_is_no_subcommand_runs_and_its_status_is_returned() {
    let ended = Running::start(entry(&["sh", "-c", "echo out; exit 7"])).ended(Duration::from_secs(10));
    assert_eq!((ended.code(), ended.stdout.as_str()), (7, "out\n"), "{}", ended.stderr);
}
