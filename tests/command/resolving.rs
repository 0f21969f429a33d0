//! Names, as the binary's own resolver has them: a name server of ours in a network namespace.

use crate::demo::{Demo, STOP};
use crate::support::{Running, binary, descendants, until};
use crate::{LONG, PROMPT};
use nix::sys::signal::Signal::SIGTERM;
use nix::sys::signal::kill;
use std::process::Command;
use std::time::{Duration, Instant};

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 listed\n";
/// Becomes the rest of the words, where the name server is and /etc/resolv.conf is `$RESOLV`.
const SETUP: &str = "echo \"$HOSTS\" >/etc/hosts; rm -f /etc/resolv.conf
    [ -z \"$RESOLV\" ] || echo \"$RESOLV\" >/etc/resolv.conf
    /usr/bin/python3 \"$SERVER\" \"$UP\" & while [ ! -e \"$UP\" ]; do sleep 0.02; done
    exec \"$@\"";

/// The binary waiting for `urls` with this /etc/resolv.conf, or none.
fn waiting(demo: &Demo, resolv: &str, arguments: &[&str]) -> Command {
    let own = binary();
    let words = ["unshare", "-n", "-p", "-f", "--kill-child", "sh", "-ec", SETUP, "sh", own.to_str().unwrap(), "wait"];
    let mut command = demo.command(&[&words, arguments].concat());
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/command/nameserver.py");
    command.env("RESOLV", resolv).env("HOSTS", HOSTS).env("SERVER", server).env("UP", demo.join("up"));
    command
}

/// Behaviours: 95, 96.
#[test]
fn names_are_found_whatever_the_resolver_is_told() {
    let plain = "nameserver 127.0.0.1";
    let five = "search a.test b.test c.test d.test e.test\noptions ndots:5\nnameserver 127.0.0.1";
    for (resolv, url) in [
        (plain, "tcp://plain.test:8080"),
        // Only TCP carries the answer.
        (plain, "tcp://large.test:8080"),
        (plain, "tcp://six.test:8081"),
        (plain, "tcp://listed:8080"),
        ("search .\nnameserver 127.0.0.1", "tcp://plain.test:8080"),
        (five, "tcp://plain.test:8080"),
        (five, "tcp://inside:8080"),
        ("options single-request\nnameserver 127.0.0.1", "tcp://plain.test:8080"),
        ("options timeout:1\nnameserver 127.0.0.9\nnameserver 127.0.0.1", "tcp://plain.test:8080"),
        ("", "tcp://listed:8080"),
    ] {
        let demo = Demo::new(STOP);
        let ended = Running::start(waiting(&demo, resolv, &[url, "--timeout", "12s"])).ended(LONG);
        assert_eq!(ended.code(), 0, "{resolv}\n{url}\n{}", ended.stderr);
    }
}

/// Behaviours: 96.
#[test]
fn a_name_that_appears_later_or_whose_server_fails_at_first_is_asked_for_again() {
    for name in ["later.test", "failing.test"] {
        let demo = Demo::new(STOP);
        let url = format!("tcp://{name}:8080");
        let command = waiting(&demo, "nameserver 127.0.0.1", &[&url, "--timeout", "12s"]);
        let begun = Instant::now();
        let ended = Running::start(command).ended(LONG);
        assert_eq!(ended.code(), 0, "{name}\n{}", ended.stderr);
        // The server knows it half a second after it was first asked.
        assert!(begun.elapsed() > Duration::from_millis(500), "{:?}", begun.elapsed());
    }
}

/// Behaviours: 96.
#[test]
fn a_name_server_that_is_silent_or_not_there_does_not_hold_the_deadline() {
    for resolv in ["nameserver 127.0.0.9", "nameserver 192.0.2.1"] {
        let demo = Demo::new(STOP);
        let command = waiting(&demo, resolv, &["tcp://plain.test:8080", "dns://plain.test", "--timeout", "1s"]);
        let begun = Instant::now();
        let ended = Running::start(command).ended(LONG);
        assert_eq!(ended.code(), 69, "{resolv}\n{}", ended.stderr);
        assert!(begun.elapsed() < Duration::from_secs(4), "{resolv}: {:?}", begun.elapsed());
    }
}

/// Behaviours: 96.
#[test]
fn a_silent_name_server_and_an_unknown_name_are_told_apart() {
    let demo = Demo::new(STOP);
    let urls = ["tcp://plain.test:8080", "dns://plain.test", "http://plain.test:8080/"];
    let arguments = [&urls[..], &["--timeout", "4500ms"]].concat();
    let ended = Running::start(waiting(&demo, "nameserver 127.0.0.9", &arguments)).ended(LONG);
    for url in urls {
        let told = "the name cannot be resolved (the name server does not answer within 3.5 s)";
        assert!(ended.stderr.contains(&format!("\n  {url}: {told}")), "{}", ended.stderr);
    }
    let demo = Demo::new(STOP);
    let command = waiting(&demo, "nameserver 127.0.0.1", &["dns://nobody.test", "--timeout", "500ms"]);
    let ended = Running::start(command).ended(LONG);
    assert!(ended.stderr.contains("\n  dns://nobody.test: the name cannot be resolved ("), "{}", ended.stderr);
    assert!(!ended.stderr.contains("the name server"), "{}", ended.stderr);
}

/// Behaviours: 27.
#[test]
fn a_stop_while_a_name_is_looked_up_is_prompt() {
    let demo = Demo::new(STOP);
    let command = waiting(&demo, "nameserver 127.0.0.9", &["tcp://plain.test:8080", "dns://plain.test"]);
    let mut running = Running::start(command);
    let waits = |pid: &nix::unistd::Pid| {
        let words = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split('\0').take(2).eq([binary().to_str().unwrap(), "wait"])
    };
    let entry = until(LONG, "it waits", || descendants(running.pid()).into_iter().find(waits));
    until(LONG, "it asks", || {
        let tasks = std::fs::read_dir(format!("/proc/{entry}/task")).ok()?.count();
        (tasks > 1).then_some(())
    });
    kill(entry, SIGTERM).unwrap();
    until(PROMPT, "the end", || running.has_ended().then_some(()));
    assert_eq!(running.ended(LONG).code(), 143);
}
