//! Who can look into the supervisor's memory: nobody but root.

use crate::support::{Folder, Running, require_root};
use std::process::Command;
use std::time::Duration;

/// What a child may see of its supervisor, whose the supervisor's memory is, and whose the child's own.
const LOOK: &str = "cat /proc/$PPID/environ; cat /proc/$PPID/mem; ls /proc/$PPID/fd; \
    stat -c %u /proc/$PPID/environ /proc/$$/environ";

fn look_as(options: &[&str]) -> String {
    require_root("another user is needed");
    let folder = Folder::new("memory");
    let mut command = Command::new("setpriv");
    command.args(options).arg(folder.binary()).args(["sh", "-c", LOOK]).env_clear();
    command.env("DL_NAME_SERVICE", "off");
    command.env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").env("SOME_PASSWORD", "correct horse");
    let ended = Running::start(command).ended(Duration::from_secs(10));
    assert!(!ended.stdout.contains("correct horse"), "{}", ended.stdout);
    assert_eq!(ended.stderr.matches("Permission denied").count(), 3, "{}", ended.stderr);
    ended.stdout
}

/// Behaviours: 51.
#[test]
fn the_service_cannot_read_its_supervisor_after_the_drop() {
    assert_eq!(look_as(&["--reuid=0"]), "0\n1000\n");
}

/// Behaviours: 51.
#[test]
fn the_service_cannot_read_its_supervisor_where_both_were_never_root() {
    assert_eq!(look_as(&["--reuid=1000", "--regid=1000", "--clear-groups"]), "0\n1000\n");
}
