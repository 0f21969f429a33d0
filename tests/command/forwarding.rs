//! Every signal there is, and those that come at a bad time.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::signals::{as_pid_1, started};
use crate::support::{Running, descendants, entry, free_port, until};
use dl_entry::pid1::sys::send_signal;
use nix::sys::signal::Signal::*;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Says the number of every signal, one by one as the kernel has them; its libc leaves 32 and 33 alone.
const ALL_EARS: &str = "exec /usr/bin/python3 -c '
import signal
every = signal.valid_signals()
signal.pthread_sigmask(signal.SIG_BLOCK, every)
print(\"up\", flush=True)
while True: print(int(signal.sigwaitinfo(every).si_signo), flush=True)'";

fn numbers(running: &Running) -> Vec<i32> {
    running.stdout().lines().skip(1).map(|line| line.parse().unwrap()).collect()
}

/// SIGKILL and SIGSTOP cannot be caught, SIGCHLD is ours.
fn catchable() -> impl Iterator<Item = i32> {
    (1..=64).filter(|signal| ![9, 17, 19, 32, 33].contains(signal))
}

fn all_arrive(command: Command, entry: fn(&Running) -> i32) {
    let mut command = command;
    command.env("DL_STOP_TIMEOUT", "10m");
    let running = started(command);
    let entry = entry(&running);
    let mut expected = Vec::new();
    for _ in 0..3 {
        for signal in catchable() {
            // Nothing comes of this one.
            send_signal(entry, libc::SIGCHLD).unwrap();
            send_signal(entry, signal).unwrap();
            expected.push(signal);
            until(LONG, "it arrives", || (numbers(&running).len() >= expected.len()).then_some(()));
        }
    }
    assert_eq!(numbers(&running), expected);
    // Real-time signals are queued, not merged.
    (34..=64).for_each(|signal| (0..5).for_each(|_| send_signal(entry, signal).unwrap()));
    until(LONG, "all that were queued", || (numbers(&running).len() >= expected.len() + 5 * 31).then_some(()));
    let mut queued = numbers(&running).split_off(expected.len());
    queued.sort_unstable();
    assert_eq!(queued, (34..=64).flat_map(|signal| [signal; 5]).collect::<Vec<_>>());
}

/// Behaviours: 23, 24.
#[test]
fn every_signal_that_can_be_caught_arrives_once_and_in_order() {
    all_arrive(entry(&["sh", "-c", ALL_EARS]), |running| running.pid().as_raw());
}

/// Behaviours: 23, 24, 25.
#[test]
fn every_signal_that_can_be_caught_arrives_through_process_1() {
    all_arrive(as_pid_1(ALL_EARS), |running| {
        until(LONG, "process 1", || descendants(running.pid()).first().map(|pid| pid.as_raw()))
    });
}

/// Behaviours: 23, 25.
#[test]
fn a_signal_that_ends_programs_ends_the_service_and_not_us_alone() {
    for signal in [3, 4, 5, 6, 7, 8, 11, 31, 32, 33, 34, 64] {
        let running = started(entry(&["sh", "-c", "ulimit -c 0; echo up; exec sleep 1000"]));
        let main = *descendants(running.pid()).first().unwrap();
        send_signal(running.pid().as_raw(), signal).unwrap();
        let ended = running.ended(LONG);
        assert_eq!(ended.status.code(), Some(128 + signal), "{}", ended.stderr);
        assert!(nix::sys::signal::kill(main, None).is_err());
    }
}

/// Behaviours: 31.
#[test]
fn a_signal_is_for_the_service_alone_and_not_for_its_children() {
    let child = "trap 'echo child' USR1; echo ready; while :; do sleep 0.05; done";
    let mut command =
        entry(&["sh", "-c", "sh -c \"$CHILD\" & trap 'echo main' USR1; echo up; while :; do sleep 0.05; done"]);
    command.env("CHILD", child);
    let mut running = started(command);
    running.await_text(LONG, "ready\n");
    running.signal(SIGUSR1);
    running.await_text(LONG, "main\n");
    std::thread::sleep(Duration::from_millis(300));
    assert!(!running.stdout().contains("child"), "{}", running.stdout());
}

/// Behaviours: 32.
#[test]
fn a_signal_for_a_service_that_has_ended_is_no_error() {
    let left = "trap '' TERM USR1; echo left; sleep 1";
    let mut command = entry(&[
        "sh",
        "-c",
        "setsid sh -c \"$LEFT\" & main=$$; (while kill -0 $main; do sleep 0.01; done; echo gone) 2>&- &
        echo up; sleep 0.3; exit 6",
    ]);
    command.env("LEFT", left);
    let mut running = started(command);
    let main = *descendants(running.pid()).first().unwrap();
    running.await_text(LONG, "left\n");
    until(LONG, "the service has ended", || nix::sys::signal::kill(main, None).is_err().then_some(()));
    running.signal(SIGUSR1);
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stderr.as_str()), (6, ""));
}

/// Behaviours: 35.
#[test]
fn a_hail_of_signals_during_a_wait_and_the_start_of_the_service_is_no_error() {
    let port = free_port();
    let demo = Demo::new(&format!("{STOP}[[wait]]\ntcp = \"127.0.0.1:{port}\"\n"));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "trap '' WINCH; echo up; sleep 0.5; exit 4");
    let mut running = Running::start(command);
    running.await_text(LONG, "waiting for tcp://");
    let (pid, over) = (running.pid().as_raw(), AtomicBool::new(false));
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let _ = send_signal(pid, libc::SIGWINCH);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        let _dependency = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let deadline = Instant::now() + LONG;
        while !running.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        over.store(true, Ordering::Relaxed);
        running.ended(LONG)
    });
    assert_eq!((ended.code(), ended.stdout.as_str()), (4, "up\n"), "{}", ended.stderr);
    assert!(!ended.stderr.to_lowercase().contains("interrupted"), "{}", ended.stderr);
}

/// Behaviours: 45.
#[test]
fn a_full_pipe_to_the_log_does_not_keep_signals_from_the_service() {
    let (_reader, writer) = std::io::pipe().unwrap();
    fill(&writer);
    let demo = Demo::new(STOP);
    let heard = demo.join("heard");
    std::fs::write(&heard, "").unwrap();
    let mut command = demo.entry(&[]);
    let script = "trap 'echo usr1' USR1; trap 'echo term; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    command.env("DEMO_SCRIPT", script).env("DL_LOG_LEVEL", "debug").stdin(Stdio::null()).stderr(writer);
    command.stdout(std::fs::OpenOptions::new().append(true).open(&heard).unwrap());
    let mut child = command.spawn().unwrap();
    let says = |text: &str| until(LONG, text, || std::fs::read_to_string(&heard).unwrap().contains(text).then_some(()));
    says("up\n");
    send_signal(child.id() as i32, libc::SIGUSR1).unwrap();
    says("usr1\n");
    send_signal(child.id() as i32, libc::SIGTERM).unwrap();
    let ended = until(LONG, "the end", || child.try_wait().unwrap());
    assert_eq!(ended.code(), Some(3));
}

fn fill(writer: &std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while nix::unistd::write(writer.as_fd(), &[b'x'; 4096]).is_ok() {}
    while nix::unistd::write(writer.as_fd(), b"x").is_ok() {}
    fcntl(writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
}

/// Behaviours: 26.
#[test]
fn a_rung_with_a_signal_that_is_none_is_refused_before_anything_starts() {
    for signal in ["SIGHERP", "TERM", "15", ""] {
        let demo = Demo::new(&format!("[[stop]]\nsignal = \"{signal}\"\nwithin = \"10s\"\n"));
        let mut command = demo.entry(&[]);
        command.env("DEMO_SCRIPT", "echo started");
        let ended = Running::start(command).ended(LONG);
        assert_eq!((ended.code(), ended.stdout.as_str()), (65, ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("{signal:?} is not a signal")), "{}", ended.stderr);
    }
}
