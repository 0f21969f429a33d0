//! The command line.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::support::{Ended, Running, entry};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

fn ended(command: Command) -> Ended {
    Running::start(command).ended(LONG)
}

#[test]
fn a_command_that_is_no_subcommand_runs_and_its_status_is_returned() {
    let ended = ended(entry(&["sh", "-c", "echo out; exit 7"]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (7, "out\n"), "{}", ended.stderr);
}

#[test]
fn init_runs_what_follows_two_dashes_even_when_it_is_called_like_a_subcommand() {
    let ended = ended(entry(&["init", "--", "sh", "-c", "echo $0 $1", "--help", "run"]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "--help run\n"), "{}", ended.stderr);
}

#[test]
fn options_of_a_program_are_its_own() {
    let ended = ended(entry(&["echo", "--help", "-V", "--", "--service"]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "--help -V -- --service\n"), "{}", ended.stderr);
}

#[test]
fn everything_that_means_the_service_appends_the_arguments_to_its_command() {
    let demo = Demo::new(STOP);
    for (arguments, expected) in [
        (&[][..], "demo\n"),
        (&["run"], "demo\n"),
        (&["run", "--", "-x", "y"], "demo -x y\n"),
        (&["run", "--service", "demo", "--", "a b"], "demo a b\n"),
        (&["--", "a"], "demo a\n"),
        (&["-x", "--help"], "demo -x --help\n"),
        (&["--verbose"], "demo --verbose\n"),
        (&["serve", "z"], "demo z\n"),
    ] {
        let mut command = demo.entry(arguments);
        command.env("DEMO_SCRIPT", "echo $0 \"$@\"");
        let ended = ended(command);
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, expected), "{arguments:?}\n{}", ended.stderr);
    }
}

#[test]
fn arguments_that_are_no_text_arrive_byte_for_byte() {
    let odd = OsStr::from_bytes(b"caf\xe9 \xff\xfe");
    let demo = Demo::new(STOP);
    let mut service = demo.entry(&["run", "--"]);
    service.env("DEMO_SCRIPT", "printf %s \"$1\" | od -An -tx1");
    let mut program = entry(&["sh", "-c", "printf %s \"$1\" | od -An -tx1", "sh"]);
    for command in [&mut service, &mut program] {
        command.arg(odd);
    }
    for command in [service, program] {
        let ended = ended(command);
        assert_eq!((ended.code(), ended.stdout.trim()), (0, "63 61 66 e9 20 ff fe"), "{}", ended.stderr);
    }
}

#[test]
fn a_service_nobody_knows_is_a_usage_error_that_lists_those_there_are() {
    for command in ["run", "check-env", "render", "explain"] {
        let ended = ended(entry(&[command, "--service", "tirno"]));
        assert_eq!((ended.code(), ended.stdout.as_str()), (64, ""), "{command}");
        let expected = "dl-entry: there is no service \"tirno\"\n  accepted: ";
        assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
        assert!(["minio", "nessie", "trino"].iter().all(|name| ended.stderr.contains(name)), "{}", ended.stderr);
    }
}

#[test]
fn without_the_name_of_a_service_the_ways_to_name_one_are_told() {
    let ended = ended(entry(&[]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (64, ""));
    let expected = "dl-entry: no service given\n  use --service NAME or set DL_SERVICE: ";
    assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
}

#[test]
fn the_image_names_its_service_in_a_file_and_the_operator_overrides_it() {
    let demo = Demo::new(STOP);
    let script = "echo demo >/etc/dl-entry/service; exec \"$@\"";
    let binary = crate::support::binary();
    let words = ["sh", "-ec", script, "sh", binary.to_str().unwrap(), "check-env"];
    let mut command = demo.command(&words);
    let named = ended({
        command.env_remove("DL_SERVICE");
        command
    });
    assert_eq!((named.code(), named.stdout.as_str()), (0, "demo: environment is valid\n"), "{}", named.stderr);
    let mut command = demo.command(&words);
    command.env("DL_SERVICE", "tirno");
    assert_eq!(ended(command).code(), 64);
}

/// Behaviours: 6.
#[test]
fn a_command_line_that_cannot_be_understood_is_a_usage_error_on_stderr() {
    for arguments in [
        &["check-env", "--nothing"][..],
        &["check-env", "--format", "xml"],
        &["health", "maybe"],
        &["init"],
        &["init", "--"],
        &["wait"],
        &["wait", "gopher://x"],
        &["wait", "tcp://127.0.0.1:1", "--timeout", "60"],
        &["render", "--stdout", "--diff"],
        &["run", "--service"],
        &["run", "stray"],
        &["services", "stray"],
        &["check-env", "--service", "minio", "--env-file", "/nonexistent"],
    ] {
        let ended = ended(entry(arguments));
        assert_eq!((ended.code(), ended.stdout.as_str()), (64, ""), "{arguments:?}\n{}", ended.stderr);
        assert!(!ended.stderr.is_empty() && !ended.stderr.contains("panicked"), "{arguments:?}\n{}", ended.stderr);
    }
}

#[test]
fn every_subcommand_has_help_with_an_example() {
    let overview = ended(entry(&["--help"]));
    assert_eq!((overview.code(), overview.stderr.as_str()), (0, ""));
    for command in ["run", "check-env", "render", "health", "wait", "explain", "services", "init"] {
        assert!(overview.stdout.contains(&format!("\n  {command} ")), "{command}\n{}", overview.stdout);
        let help = ended(entry(&[command, "--help"]));
        assert_eq!((help.code(), help.stderr.as_str()), (0, ""), "{command}");
        let example = help.stdout.split_once("Example").map_or("", |(_, example)| example);
        assert!(example.contains("dl-entry"), "{command}\n{}", help.stdout);
        assert!(example.contains(command), "{command}\n{}", help.stdout);
    }
}

#[test]
fn the_version_is_printed() {
    let version = ended(entry(&["--version"]));
    assert_eq!((version.code(), version.stderr.as_str()), (0, ""));
    assert!(version.stdout.starts_with("dl-entry ") && version.stdout.lines().count() == 1, "{}", version.stdout);
}

#[test]
fn services_lists_every_service_in_order_with_its_summary() {
    let demo = Demo::new(STOP);
    let services = ended(demo.entry(&["services"]));
    assert_eq!((services.code(), services.stderr.as_str()), (0, ""));
    let lines: Vec<&str> = services.stdout.lines().collect();
    assert!(lines.contains(&"demo         a shell script"), "{lines:?}");
    assert!(lines.is_sorted() && lines.iter().any(|line| line.starts_with("trino ")), "{lines:?}");
}

#[test]
fn a_mistake_in_a_setting_of_our_own_is_reported_by_every_command_that_uses_it() {
    for arguments in [&["true"][..], &["init", "--", "true"], &["wait", "file:///"]] {
        let mut command = entry(arguments);
        command.env("DL_STOP_TIMEOUT", "30").env("DL_EXEC", "maybe");
        let ended = ended(command);
        assert_eq!(ended.code(), 78, "{arguments:?}\n{}", ended.stderr);
        for expected in ["DL_STOP_TIMEOUT is a duration without its unit", "DL_EXEC is neither true nor false"] {
            assert!(ended.stderr.contains(expected), "{arguments:?}\n{}", ended.stderr);
        }
    }
}
