//! Output that nobody reads: a pipe that is full, and one whose reader has gone.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::support::{binary, descendants, entry, require_root, until};
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

/// A pipe without room, and its other end.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(&writer, &[b'x'; 4096]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

fn is_named(pid: Pid, name: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
}

fn status(child: &mut Child) -> i32 {
    let status = until(LONG, "its end", || child.try_wait().unwrap());
    status.code().unwrap()
}

#[test]
fn help_and_usage_errors_end_where_nobody_reads_them() {
    for (arguments, expected) in
        [(&["--help"][..], 0), (&["run", "--help"], 0), (&["health", "--bogus"], 64), (&["wait"], 64)]
    {
        let (_reader, writer) = full_pipe();
        let mut command = entry(arguments);
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        assert_eq!(status(&mut command.spawn().unwrap()), expected, "{arguments:?}");
    }
}

#[test]
fn as_process_1_what_only_looks_is_ended_by_a_signal() {
    require_root("a PID namespace of its own needs it");
    for arguments in [&["services"][..], &["check-env"], &["render"], &["explain"]] {
        for (signal, expected) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
            let demo = Demo::new(STOP);
            let (_reader, writer) = full_pipe();
            let own = binary();
            let words = ["unshare", "-p", "-f", "--mount-proc", "--kill-child", own.to_str().unwrap()];
            let mut command = demo.command(&[&words, arguments].concat());
            let mut child = command.stdout(writer).stderr(Stdio::null()).spawn().unwrap();
            let process_1 = until(LONG, "process 1", || {
                let family = descendants(Pid::from_raw(child.id() as i32));
                family.into_iter().find(|pid| is_named(*pid, "dl-entry"))
            });
            // Until it has taken signals over, the kernel drops them.
            let ended = until(LONG, "its end", || {
                let _ = kill(process_1, signal);
                child.try_wait().unwrap()
            });
            assert_eq!(ended.code(), Some(expected), "{arguments:?}");
        }
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error_and_the_status_is_the_commands_own() {
    let demo = Demo::new(STOP);
    for (arguments, port, expected) in [
        (&["services"][..], "1", 0),
        (&["explain"], "1", 0),
        (&["render"], "1", 0),
        (&["check-env"], "1", 0),
        (&["check-env"], "x", 78),
        (&["check-env", "--format", "json"], "x", 78),
        (&["--help"], "1", 0),
    ] {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        drop(reader);
        let mut command = demo.entry(arguments);
        let mut child = command.env("DEMO_PORT", port).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!((status(&mut child), told.as_str()), (expected, ""), "{arguments:?}");
    }
}

#[test]
fn a_health_line_that_nobody_reads_does_not_change_the_answer() {
    let demo = Demo::new(STOP);
    let mut running = crate::support::Running::start(demo.entry(&[]));
    running.await_text(LONG, "demo is ready");
    let (reader, writer) = nix::unistd::pipe().unwrap();
    drop(reader);
    let mut command: Command = entry(&["health"]);
    command.env("DL_HEALTH_ADDR", format!("127.0.0.1:{}", demo.health)).stdout(writer);
    assert_eq!(status(&mut command.spawn().unwrap()), 0);
}

/// Behaviours: 41.
#[test]
fn a_log_whose_reader_has_gone_sends_the_service_no_sigpipe_and_somebody_elses_arrives() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    drop(reader);
    let script = "trap 'echo piped; exit 4' PIPE; echo up; while :; do sleep 0.02; done";
    let mut command = entry(&["sh", "-c", script]);
    command.env("DL_LOG_LEVEL", "debug").stdout(Stdio::piped()).stderr(writer);
    let mut child = command.spawn().unwrap();
    drop(command);
    let pid = Pid::from_raw(child.id() as i32);
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert_eq!(lines.next().unwrap().unwrap(), "up");
    // Each is a line of the log: it is passed on.
    for _ in 0..3 {
        kill(pid, Signal::SIGWINCH).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(child.try_wait().unwrap().is_none());
    }
    kill(pid, Signal::SIGPIPE).unwrap();
    assert_eq!((status(&mut child), lines.next().unwrap().unwrap().as_str()), (4, "piped"));
}
