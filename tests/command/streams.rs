//! Standard streams that are closed from the start, without a /dev/null to put in their place.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::support::{Running, binary, require_root};
use std::process::Command;

/// The binary with some of its streams closed, in a mount namespace without /dev/null.
fn closed(streams: &str, arguments: &[&str]) -> Command {
    require_root("a mount namespace without /dev/null needs it");
    let script = format!("mount -t tmpfs none /dev; exec \"$@\" {streams}");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", &script, "sh"]).arg(binary()).args(arguments);
    command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("DL_NAME_SERVICE", "off");
    command
}

#[test]
fn without_dev_null_a_closed_stream_is_no_reason_to_end() {
    for streams in ["<&-", "<&- 2>&-", "<&- >&- 2>&-", ">&-"] {
        let ended = Running::start(closed(streams, &["sh", "-c", "exit 4"])).ended(LONG);
        assert_eq!(ended.code(), 4, "{streams}: {}", ended.stderr);
    }
    let ended = Running::start(closed("<&-", &["services"])).ended(LONG);
    assert_eq!((ended.code(), ended.stdout.contains("minio")), (0, true), "{}", ended.stderr);
}

#[test]
fn without_dev_null_a_closed_input_is_at_its_end_and_nothing_else_is_found_there() {
    let ended = Running::start(closed("<&-", &["sh", "-c", "read -r line; echo \"$? $line\""])).ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "1 \n"), "{}", ended.stderr);
    let demo = Demo::new(STOP);
    let own = binary();
    let script = "mount -t tmpfs none /dev; exec \"$@\" <&- >&-";
    let mut command = demo.command(&["sh", "-ec", script, "sh", own.to_str().unwrap()]);
    command.env("DEMO_SCRIPT", format!("echo lost; cat {} >&2; exit 3", demo.file().display()));
    let ended = Running::start(command).ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("port = 8080\n"), "{}", ended.stderr);
}
