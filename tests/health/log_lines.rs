//! The log is one per process: each test runs this binary again and reads its stderr.

use std::process::{Command, Output};

use dl_entry::log::{self, Format};
use dl_entry::secrets::Secrets;
use tracing::Level;

/// Runs `test` of this binary, which says what it says and may panic.
fn process(test: &str) -> Output {
    command(test).output().unwrap()
}

fn command(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&format!("log_lines::{test}"), "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn text_then_json() {
    let secrets = Secrets::of_this_run();
    secrets.add("PASSWORD", b"hunter22");
    log::init(Format::Text, Level::INFO, secrets);
    say("first");
    log::set_phase("waiting");
    log::init(Format::Json, Level::WARN, secrets);
    say("second");
    log::init(Format::Json, Level::DEBUG, secrets);
    say("third");
}

fn say(time: &str) {
    tracing::warn!(target: "dl_entry::test", password = "hunter22", attempt = 3, "{time} warning\nwith hunter22");
    tracing::info!(target: "dl_entry::test", "{time} info");
    tracing::debug!(target: "dl_entry::test", "{time} debug");
    tracing::info!(target: "some_library", "libraries are heard when they warn");
}

#[test]
fn a_second_init_changes_format_and_level_and_nothing_goes_to_stdout() {
    let output = process("text_then_json");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = stderr.lines().collect();
    assert_eq!(lines.len(), 6, "{stderr}");
    let (_, first) = lines[0].split_once("Z WARN  starting   +0.").unwrap();
    let told = "s first warning; with ‹redacted:PASSWORD› password=‹redacted:PASSWORD› attempt=3";
    assert_eq!(&first[3..], told);
    assert!(lines[1].ends_with("s first info"), "{stderr}");
    let messages: Vec<(String, String)> = lines[2..].iter().map(|line| level_and_message(line)).collect();
    let expected = [
        ("warn", "second warning\nwith ‹redacted:PASSWORD›"),
        ("warn", "third warning\nwith ‹redacted:PASSWORD›"),
        ("info", "third info"),
        ("debug", "third debug"),
    ];
    assert_eq!(messages, expected.map(|(level, message)| (level.to_owned(), message.to_owned())));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(!stdout.contains("first") && !stdout.contains("message"), "{stdout}");
}

fn level_and_message(line: &str) -> (String, String) {
    let parsed: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(parsed["phase"], "waiting");
    assert!(parsed["elapsed_ms"].is_u64());
    (parsed["level"].as_str().unwrap().to_owned(), parsed["message"].as_str().unwrap().to_owned())
}

fn with_a_secret() {
    Secrets::of_this_run().add("PASSWORD", b"hunter22");
    log::init(Format::Text, Level::ERROR, Secrets::of_this_run());
    log::end_on_panic();
}

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn panic_with_a_secret() {
    with_a_secret();
    panic!("no place\nfor aHVudGVyMjI=");
}

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn panic_in_a_thread() {
    with_a_secret();
    let _ = std::thread::spawn(|| panic!("no place\nfor hunter22")).join();
    std::thread::sleep(LONG);
}

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn panic_in_a_task() {
    with_a_secret();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let _ = tokio::spawn(async { panic!("no place\nfor hunter22") }).await;
        tokio::time::sleep(LONG).await;
    });
}

/// Longer than the end of a process takes.
const LONG: std::time::Duration = std::time::Duration::from_secs(30);

#[test]
#[ignore = "run by the other tests in a process of its own"]
fn panics_in_many_threads() {
    with_a_secret();
    let threads: Vec<_> = (0..20).map(|_| std::thread::spawn(|| panic!("no place\nfor hunter22"))).collect();
    threads.into_iter().for_each(|thread| drop(thread.join()));
    std::thread::sleep(LONG);
}

fn assert_one_redacted_line(output: Output) {
    assert_eq!(output.status.code(), Some(dl_entry::exit::INTERNAL.into()), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let (_, told) = stderr.split_once("Z ERROR starting   +0.").unwrap_or_else(|| panic!("{stderr}"));
    let (before, after) = told.split_once("log_lines.rs:").unwrap();
    assert!(before.ends_with("s internal error at tests/health/"), "{told}");
    let expected = ": no place; for ‹redacted:PASSWORD› (a bug in dl-entry, please report it)\n";
    assert!(after.ends_with(expected), "{told}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// Behaviours: 84, 113.
#[test]
fn a_panic_anywhere_is_one_redacted_line_and_status_70() {
    for test in ["panic_with_a_secret", "panic_in_a_thread", "panic_in_a_task", "panics_in_many_threads"] {
        assert_one_redacted_line(process(test));
    }
}

/// Behaviours: 113.
#[test]
fn a_panic_of_process_1_is_one_redacted_line_and_status_70() {
    assert!(nix::unistd::geteuid().is_root(), "run as root: a namespace of process ids is needed");
    for test in ["panic_with_a_secret", "panic_in_a_task"] {
        let own = command(test);
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(own.get_program()).args(own.get_args());
        assert_one_redacted_line(command.output().unwrap());
    }
}
