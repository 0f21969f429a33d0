//! Statuses of every kind, orphans in any number, and who is ended with the service.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::signals::{as_pid_1, started};
use crate::support::{ANOTHER_REQUEST, Folder, Running, binary, descendants, entry, require_root, until};
use nix::sys::signal::Signal::*;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use std::process::Command;
use std::time::{Duration, Instant};

fn code(mut command: Command) -> Option<i32> {
    command.status().unwrap().code()
}

/// Behaviours: 1, 4.
#[test]
fn every_status_from_0_to_255_is_ours_too() {
    for status in 0..=255 {
        let script = format!("exit {status}");
        assert_eq!(code(entry(&["sh", "-c", &script])), Some(status));
    }
}

/// Behaviours: 2, 3.
#[test]
fn a_death_by_any_signal_is_128_and_its_number() {
    let ending = (1..=64).filter(|signal| !matches!(signal, 17..=23 | 28));
    for signal in ending {
        let script = format!("ulimit -c 0; kill -{signal} $$");
        assert_eq!(code(entry(&["sh", "-c", &script])), Some(128 + signal));
    }
}

/// Behaviours: 12.
#[test]
fn a_storm_of_orphans_and_short_lived_children_leaves_no_zombie_and_the_right_status() {
    let storm =
        "perl -e 'for (1..300) { my $p = fork; if (!$p) { exit 0 if fork; select undef, undef, undef, 0.05; exit 0 }
            waitpid $p, 0 }
        for (1..5000) { my $p = fork; exit 0 if !$p; waitpid $p, 0 }'
        sleep 0.5; grep -l '^State:.Z' /proc/[0-9]*/status; exit 9";
    let ended = Running::start(as_pid_1(storm)).ended(4 * LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (9, ""), "{}", ended.stderr);
}

/// Behaviours: 13.
#[test]
fn a_service_and_an_orphan_that_end_in_the_same_moment_are_both_seen() {
    for _ in 0..100 {
        let ended = Running::start(entry(&["sh", "-c", "(sleep 0.02 &); sleep 0.02; exit 6"])).ended(LONG);
        assert_eq!(ended.code(), 6, "{}", ended.stderr);
    }
}

/// Behaviours: 14.
#[test]
fn a_program_that_ends_at_once_is_seen_every_time() {
    for _ in 0..200 {
        let ended = Running::start(entry(&["true"])).ended(LONG);
        assert_eq!(ended.code(), 0, "{}", ended.stderr);
    }
}

/// Behaviours: 15, 16.
#[test]
fn statuses_are_right_whatever_was_inherited_for_sigchld() {
    for option in ["--ignore-signal=CHLD", "--block-signal=CHLD"] {
        let mut command = Command::new("env");
        command.arg(option).arg(binary()).args(["sh", "-c", "(true &); sleep 0.1; sh -c 'exit 4'; exit $(($? + 1))"]);
        assert_eq!(Running::start(command).ended(LONG).code(), 5, "{option}");
    }
}

/// Behaviours: 18.
#[test]
fn orphans_are_reaped_while_the_service_stops() {
    let script = "trap 'for i in 1 2 3; do (sleep 0.05 &); done; sleep 0.6
        grep -l \"^State:.Z\" /proc/[0-9]*/status; exit 4' TERM; echo up; while :; do sleep 0.05; done";
    let running = started(as_pid_1(script));
    let entry = until(LONG, "process 1", || descendants(running.pid()).first().copied());
    kill(entry, SIGTERM).unwrap();
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (4, "up\n"), "{}", ended.stderr);
}

/// A line of proc_pid_status(5).
fn line(pid: Pid, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned()
}

/// How often every thread of a process has gone to sleep and woken again.
fn switches(pid: Pid) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let mut lines: Vec<String> = tasks
        .map(|task| std::fs::read_to_string(task.path().join("status")).unwrap())
        .map(|status| status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned())
        .collect();
    lines.sort();
    lines
}

/// Behaviours: 20.
#[test]
fn a_stopped_program_has_not_ended_and_waiting_for_it_costs_nothing() {
    let mut running = started(entry(&["sh", "-c", "echo up; exec sleep 1000"]));
    let main = *descendants(running.pid()).first().unwrap();
    kill(main, SIGSTOP).unwrap();
    until(LONG, "it is stopped", || line(main, "State").contains("T (stopped)").then_some(()));
    std::thread::sleep(Duration::from_millis(300));
    let before = switches(running.pid());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(switches(running.pid()), before);
    assert!(!running.has_ended());
    // It is resumed for its end.
    running.signal(SIGTERM);
    assert_eq!(running.ended(LONG).code(), 143);
}

/// Behaviours: 20, 101.
#[test]
fn a_service_that_is_stopped_hears_its_ladder_and_what_it_leaves_is_resumed_to_end() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    let left = "trap 'echo left; exit' TERM; kill -STOP $$; sleep 1000";
    let script = format!("sh -c \"{}\" & trap 'echo tidied; exit 3' TERM; echo up; while :; do sleep 0.05; done", left);
    command.env("DEMO_SCRIPT", script.replace("$$", "\\$\\$"));
    let running = started(command);
    let family = until(LONG, "both run", || Some(descendants(running.pid())).filter(|family| family.len() >= 2));
    let stopped = |pid: Pid| line(pid, "State").contains("T (stopped)");
    until(LONG, "one is stopped", || family.iter().any(|pid| stopped(*pid)).then_some(()));
    kill(family[0], SIGSTOP).unwrap();
    until(LONG, "the service is stopped", || stopped(family[0]).then_some(()));
    let begun = Instant::now();
    running.signal(SIGTERM);
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "up\ntidied\nleft\n"), "{}", ended.stderr);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

/// Behaviours: 22.
#[test]
fn a_zombie_whose_parent_lives_is_left_to_its_parent() {
    let running = started(entry(&["sh", "-c", "sleep 0.1 & echo up; exec sleep 1000"]));
    let main = *descendants(running.pid()).first().unwrap();
    let zombie = until(LONG, "a zombie", || {
        descendants(main).into_iter().find(|child| line(*child, "State").contains("Z (zombie)"))
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(descendants(main), [zombie]);
    running.signal(SIGTERM);
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stderr.as_str()), (143, ""));
}

/// Behaviours: 109.
#[test]
fn nothing_wakes_up_while_the_service_idles() {
    let demo = Demo::new(STOP);
    let mut service = Running::start(demo.entry(&[]));
    service.await_text(LONG, "demo is ready");
    let program = started(entry(&["sh", "-c", "echo up; exec sleep 1000"]));
    std::thread::sleep(Duration::from_millis(1500));
    let before = (switches(service.pid()), switches(program.pid()));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!((switches(service.pid()), switches(program.pid())), before);
}

/// Behaviours: 109.
#[test]
fn memory_and_descriptors_stay_as_they_are_over_thousands_of_orphans() {
    let storm =
        "exec perl -e '$| = 1; $SIG{USR1} = sub { for (1..3000) { my $p = fork; if (!$p) { fork; exit 0 } waitpid $p, 0 }
        print \"done\\n\" }; print \"up\\n\"; sleep 1 while 1'";
    let running = started(entry(&["sh", "-c", storm]));
    let round = |number: usize| {
        running.signal(SIGUSR1);
        until(4 * LONG, "a round", || (running.stdout().matches("done").count() == number).then_some(()));
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap().count();
        let resident = line(running.pid(), "VmRSS").split_whitespace().nth(1).unwrap().parse::<i64>().unwrap();
        (descriptors, resident)
    };
    let (first, second) = (round(1), round(2));
    assert_eq!(first.0, second.0);
    assert!(second.1 - first.1 < 256, "{} KiB, then {} KiB", first.1, second.1);
}

/// Behaviours: 102.
#[test]
fn once_the_service_has_ended_nothing_more_is_waited_for() {
    let script = "trap 'sleep 0.05; exit 0' TERM; echo up; while :; do sleep 0.01; done";
    let running = started(entry(&["sh", "-c", script]));
    let begun = Instant::now();
    running.signal(SIGTERM);
    assert_eq!(running.ended(LONG).code(), 0);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

/// Behaviours: 103.
#[test]
fn what_is_left_behind_gets_time_to_end() {
    let left = "trap 'sleep 1; echo flushed; exit' TERM; echo up; while :; do sleep 0.05; done";
    let mut command =
        entry(&["sh", "-c", "setsid sh -c \"$LEFT\" & while [ ! -e /proc/$! ]; do :; done; sleep 0.5; exit 5"]);
    command.env("LEFT", left);
    let ended = started(command).ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (5, "up\nflushed\n"), "{}", ended.stderr);
}

/// Behaviours: 30, 103.
#[test]
fn a_first_request_to_stop_takes_no_time_from_what_is_left_behind_and_a_second_one_does() {
    let left = "trap 'echo asked; sleep 2; echo flushed; exit' TERM; echo up; while :; do sleep 0.05; done";
    for (requests, flushed) in [(1, true), (2, false)] {
        let mut command = entry(&["sh", "-c", "setsid sh -c \"$LEFT\" & sleep 0.5; exit 5"]);
        command.env("LEFT", left);
        let mut running = started(command);
        running.await_text(LONG, "asked\n");
        for _ in 0..requests {
            running.signal(SIGTERM);
            std::thread::sleep(ANOTHER_REQUEST);
        }
        let ended = running.ended(LONG);
        assert_eq!((ended.code(), ended.stdout.contains("flushed")), (5, flushed), "{}", ended.stderr);
    }
}

/// Behaviours: 103.
#[test]
fn who_may_not_be_signalled_is_not_waited_for() {
    require_root("a process that another user may not signal");
    // Root's, and our child: what a shell left running when it became us.
    let script = "sleep 1000 >&- 2>&- & exec \"$@\"";
    let with = |mut command: Command| {
        command.args(["sh", "-c", script, "sh"]).arg(binary()).args(["sh", "-c", "exit 3"]);
        command.env("DL_NAME_SERVICE", "off");
        command
    };
    let mut namespace = Command::new("unshare");
    namespace.args(["-p", "-f", "--mount-proc", "--kill-child"]);
    for command in [with(Command::new("env")), with(namespace)] {
        let begun = Instant::now();
        let ended = Running::start(command).ended(LONG);
        assert_eq!(ended.code(), 3, "{}", ended.stderr);
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
}

/// Behaviours: 103.
#[test]
fn what_is_left_behind_and_does_not_listen_is_killed_with_its_own_children() {
    let left = "trap '' TERM; echo up; setsid sleep 1000; true";
    let mut command = entry(&["sh", "-c", "setsid sh -c \"$LEFT\" & sleep 0.5; exit 5"]);
    command.env("LEFT", left);
    let running = started(command);
    let family = until(LONG, "all three run", || Some(descendants(running.pid())).filter(|family| family.len() >= 3));
    let begun = Instant::now();
    assert_eq!(running.ended(LONG).code(), 5);
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let alive = |pid: &Pid| !["", "State:\tZ (zombie)"].contains(&line(*pid, "State").as_str());
    assert!(!family.iter().any(alive), "{family:?}");
}

/// Behaviours: 103.
#[test]
fn what_forks_and_exits_all_the_time_is_killed_where_it_is_not_process_1_too() {
    require_root("a PID namespace of its own needs it");
    for each_time in ["1", "setpgrp(0, 0)"] {
        let chain = format!(
            "$0 = 'chain'; $SIG{{TERM}} = 'IGNORE'; $SIG{{HUP}} = 'IGNORE';
            while (1) {{ my $p = fork; exit 0 if $p; {each_time} }}"
        );
        // The namespace ends with its shell, and whoever is left with it.
        let script = "\"$@\"; echo $?; awk '/^Name/ { name = $2 } /^State/ && name == \"chain\" && $2 != \"Z\"' \
            /proc/[0-9]*/status 2>&-";
        let mut command = Command::new("unshare");
        command.args(["-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", script, "sh"]).arg(binary());
        // A crowd that is killed first gives the chain time to be elsewhere.
        let crowd =
            "trap '' TERM; for i in $(seq 200); do sleep 1000 >&- 2>&- & done; setsid perl -e \"$CHAIN\" & sleep 0.5";
        command.args(["sh", "-c", &format!("{crowd}; exit 5")]);
        command.env("CHAIN", chain).env("DL_NAME_SERVICE", "off");
        let ended = Running::start(command).ended(2 * LONG);
        assert_eq!(ended.stdout, "5\n", "{each_time}: {}", ended.stderr);
    }
}

/// Behaviours: 21, 104.
#[test]
fn where_it_is_not_process_1_its_neighbours_are_left_alone() {
    require_root("a PID namespace of its own needs it");
    // A killed neighbour would be a zombie, which kill -0 still finds.
    let script = "sleep 1000 & neighbour=$!; \"$@\"; echo $?; grep ^State /proc/$neighbour/status; pgrep -c -x sleep";
    let mut command = Command::new("unshare");
    command.args(["-p", "-f", "--mount-proc", "--kill-child", "sh", "-c", script, "sh"]).arg(binary());
    command.args(["sh", "-c", "setsid sleep 1001 & exit 3"]);
    let ended = Running::start(command).ended(LONG);
    assert_eq!(ended.stdout, "3\nState:\tS (sleeping)\n1\n", "{}", ended.stderr);
}

/// Behaviours: 112.
#[test]
fn one_under_another_is_as_one() {
    let folder = Folder::new("nested");
    let own = folder.binary();
    let own = own.to_str().unwrap();
    let ended =
        Running::start(entry(&["init", "--", own, "init", "--", "sh", "-c", "(sleep 0.1 &); exit 7"])).ended(LONG);
    assert_eq!(ended.code(), 7, "{}", ended.stderr);
    let script =
        format!("exec {own} init -- sh -c 'trap \"echo heard; exit 8\" USR1; echo up; while :; do sleep 0.05; done'");
    let running = started(as_pid_1(&script));
    let first = until(LONG, "process 1", || descendants(running.pid()).first().copied());
    kill(first, SIGUSR1).unwrap();
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (8, "up\nheard\n"), "{}", ended.stderr);
}

/// Behaviours: 8.
#[test]
fn a_status_the_operator_calls_success_is_0_after_a_stop_and_itself_without_one() {
    let demo = Demo::new(STOP);
    let command = |script: &str| {
        let mut command = demo.entry(&[]);
        command.env("DEMO_SCRIPT", script).env("DL_STOP_SUCCESS", "143, 130");
        command
    };
    let running = started(command("echo up; exec sleep 1000"));
    running.signal(SIGTERM);
    assert_eq!(running.ended(LONG).code(), 0);
    assert_eq!(Running::start(command("kill -TERM $$")).ended(LONG).code(), 143);
    for signal in [SIGTERM, SIGINT] {
        let mut program = entry(&["sh", "-c", "echo up; exec sleep 1000"]);
        program.env("DL_STOP_SUCCESS", "143,130");
        let running = started(program);
        running.signal(signal);
        assert_eq!(running.ended(LONG).code(), 0);
    }
}
