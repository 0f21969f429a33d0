//! PID 1 at work: signals go through, orphans are reaped, the service's status is ours.

use crate::demo::{Demo, STOP};
use crate::support::{ANOTHER_REQUEST, Folder, Running, binary, descendants, entry, require_root, until};
use crate::{LONG, PROMPT};
use nix::sys::signal::Signal::{self, *};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Says which signals arrive, for half a minute.
const LISTENER: &str = "for signal in TERM INT HUP QUIT USR1 USR2 WINCH; do trap \"echo $signal\" $signal; done
    echo up; i=0; while [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done";
/// Cannot be asked to end.
const DEAF: &str = "trap '' TERM; echo up; i=0; while [ $i -lt 600 ]; do sleep 0.05; i=$((i+1)); done";

pub fn started(command: Command) -> Running {
    let mut running = Running::start(command);
    running.await_text(LONG, "up\n");
    running
}

fn listener() -> Running {
    started(entry(&["sh", "-c", LISTENER]))
}

/// Behaviours: 25.
#[test]
fn every_signal_is_forwarded_once_and_in_order() {
    let mut running = listener();
    let mut expected = "up\n".to_owned();
    for (signal, name) in [
        (SIGHUP, "HUP"),
        (SIGUSR1, "USR1"),
        (SIGINT, "INT"),
        (SIGQUIT, "QUIT"),
        (SIGWINCH, "WINCH"),
        (SIGUSR2, "USR2"),
        (SIGTERM, "TERM"),
        (SIGUSR1, "USR1"),
    ] {
        running.signal(signal);
        expected.push_str(&format!("{name}\n"));
        running.await_text(LONG, &expected);
    }
    assert_eq!(running.stdout(), expected);
    assert!(!running.has_ended());
}

#[test]
fn signals_sent_together_all_arrive() {
    let running = listener();
    [SIGUSR2, SIGHUP, SIGUSR1, SIGINT].into_iter().for_each(|signal| running.signal(signal));
    let mut names: Vec<String> = until(LONG, "four signals", || {
        let lines: Vec<String> = running.stdout().lines().skip(1).map(str::to_owned).collect();
        (lines.len() >= 4).then_some(lines)
    });
    names.sort();
    assert_eq!(names, ["HUP", "INT", "USR1", "USR2"]);
}

/// Behaviours: 28.
#[test]
fn a_signal_that_comes_before_our_first_statement_is_not_lost() {
    // Sent while it is blocked, it is already there when the binary starts.
    let mut command = Command::new("env");
    command.args(["--block-signal=TERM", "sh", "-c", "kill -TERM $$; exec \"$@\"", "sh"]).arg(binary());
    command
        .args(["init", "--", "sleep", "1000"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("DL_NAME_SERVICE", "off");
    assert_eq!(Running::start(command).ended(LONG).code(), 143);
}

/// Behaviours: 28.
#[test]
fn as_pid_1_a_stop_that_comes_before_an_exec_is_not_lost() {
    require_root("a PID namespace of its own needs it");
    let before = "kill -TERM $$; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-p", "-f", "--mount-proc", "--kill-child", "env", "--block-signal=TERM", "sh", "-c", before, "sh"]);
    command.arg(binary()).args(["init", "--", "echo", "started"]).env("DL_EXEC", "1").env("DL_NAME_SERVICE", "off");
    let ended = Running::start(command).ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (143, ""), "{}", ended.stderr);
}

/// Behaviours: 3.
#[test]
fn the_status_is_the_programs_own_or_128_and_the_signal() {
    for (script, code) in [
        ("exit 0", 0),
        ("exit 1", 1),
        ("exit 42", 42),
        ("exit 255", 255),
        ("kill -TERM $$", 143),
        ("kill -KILL $$", 137),
        ("ulimit -c 0; kill -SEGV $$", 139),
        ("kill -HUP $$", 129),
        ("kill -35 $$", 163),
    ] {
        let ended = Running::start(entry(&["sh", "-c", script])).ended(LONG);
        assert_eq!(ended.code(), code, "{script}\n{}", ended.stderr);
    }
}

#[test]
fn our_own_status_is_an_exit_even_where_the_program_died_by_a_signal() {
    let ended = Running::start(entry(&["sh", "-c", "kill -TERM $$"])).ended(LONG);
    assert_eq!(ended.status.code(), Some(143));
}

/// Behaviours: 5, 111.
#[test]
fn what_cannot_be_executed_is_126_and_what_does_not_exist_127_with_the_reason() {
    let folder = Folder::new("exec");
    folder.write("plain", "#!/bin/sh\necho no\n");
    folder.write("empty", "");
    folder.write("text", "echo no interpreter\n");
    folder.write("lost", "#!/no/such/shell -e\n");
    folder.write("windows", "#!/bin/sh\r\necho x\r\n");
    folder.write("windows-env", "#! /usr/bin/env bash\r\necho x\r\n");
    folder.write("marked", "\u{feff}#!/bin/sh\necho x\n");
    // The first lines of an ELF file for the machine 0xfeed.
    folder.write("foreign", "\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x6d\x7e\x01\0\0\0");
    nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    for name in ["empty", "text", "lost", "foreign", "pipe", "windows", "windows-env", "marked"] {
        std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let shown = folder.path().display().to_string();
    for (program, code, message) in [
        (
            "no-such-program".to_owned(),
            127,
            "no-such-program is not found on PATH (/usr/local/bin:/usr/bin:/bin)".into(),
        ),
        (path("foreign"), 126, format!("{shown}/foreign cannot be executed: it is built for another machine (")),
        (path("missing"), 127, format!("{shown}/missing does not exist")),
        (path("lost"), 127, format!("{shown}/lost needs /no/such/shell, which does not exist")),
        (
            path("windows"),
            127,
            format!(
                "{shown}/windows has Windows line endings (CRLF): no interpreter is called `/bin/sh\\r`\n  save it with Unix \
                 line endings: sed -i 's/\\r$//' {shown}/windows\n"
            ),
        ),
        (path("windows-env"), 127, format!("{shown}/windows-env has Windows line endings (CRLF): ")),
        (path("marked"), 126, format!("{shown}/marked cannot be executed: a byte order mark comes before the #!")),
        (path("plain"), 126, format!("{shown}/plain cannot be executed: it is not executable (chmod +x); mode ")),
        (path("empty"), 126, format!("{shown}/empty cannot be executed: it is empty")),
        (path("text"), 126, format!("{shown}/text cannot be executed: it is no binary")),
        (path("pipe"), 126, format!("{shown}/pipe cannot be executed: it is not a regular file")),
        (shown.clone(), 126, format!("{shown} cannot be executed: it is a directory")),
    ] {
        for exec in ["0", "1"] {
            let mut command = entry(&["init", "--", &program]);
            command.env("DL_EXEC", exec);
            let ended = Running::start(command).ended(LONG);
            assert_eq!((ended.code(), ended.stdout.as_str()), (code, ""), "{program}\n{}", ended.stderr);
            assert!(ended.stderr.starts_with(&format!("dl-entry: {message}")), "{program}\n{}", ended.stderr);
        }
    }
}

#[test]
fn without_a_path_the_usual_folders_are_searched_and_never_the_present_one() {
    let folder = Folder::new("no-path");
    for name in ["true", "only-here"] {
        folder.write(name, "#!/bin/sh\nexit 9\n");
        std::fs::set_permissions(folder.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    for path in [None, Some(""), Some(":/usr/bin:/bin")] {
        for (program, code) in [("true", 0), ("only-here", 127)] {
            let mut command = entry(&["init", "--", program]);
            command.current_dir(folder.path()).env_remove("PATH").envs(path.map(|path| ("PATH", path)));
            let ended = Running::start(command).ended(LONG);
            assert_eq!(ended.code(), code, "{program}, PATH {path:?}\n{}", ended.stderr);
        }
    }
}

/// Behaviours: 11, 21.
#[test]
fn orphans_are_adopted_and_reaped() {
    // A grandchild whose parent ends at once: it must come to us, and not stay as a zombie once it ends.
    let script = "sh -c 'sh -c \"echo orphan \\$\\$; sleep 0.2\" &'; echo up; exec sleep 1000";
    let mut running = started(entry(&["sh", "-c", script]));
    running.await_text(LONG, "orphan ");
    let main = until(LONG, "the orphan is gone", || match descendants(running.pid())[..] {
        [main] => Some(main),
        _ => None,
    });
    assert_eq!(std::fs::read_to_string(format!("/proc/{main}/comm")).unwrap(), "sleep\n");
    running.signal(SIGTERM);
    assert_eq!(running.ended(LONG).code(), 143);
}

/// Behaviours: 11.
#[test]
fn a_hundred_orphans_that_end_together_leave_no_zombie() {
    let script = "i=0; while [ $i -lt 100 ]; do (sleep 0.3 &); i=$((i+1)); done; echo up; exec sleep 1000";
    let running = started(entry(&["sh", "-c", script]));
    until(LONG, "only the main process is left", || (descendants(running.pid()).len() == 1).then_some(()));
}

/// Behaviours: 103.
#[test]
fn what_the_program_leaves_behind_is_ended_with_it() {
    let running = started(entry(&["sh", "-c", "setsid sleep 1000 & sleep 1001 & echo up; sleep 2; exit 5"]));
    let family = until(LONG, "all three run", || Some(descendants(running.pid())).filter(|family| family.len() >= 3));
    assert_eq!(running.ended(LONG).code(), 5);
    let left: Vec<_> = family.into_iter().filter(|pid| nix::sys::signal::kill(*pid, None).is_ok()).collect();
    assert_eq!(left, []);
}

/// The binary as process 1 of a PID namespace.
pub fn as_pid_1(script: &str) -> Command {
    require_root("a PID namespace of its own needs it");
    let mut command = Command::new("unshare");
    command.args(["-p", "-f", "--mount-proc", "--kill-child"]).arg(binary()).args(["sh", "-c", script]);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("DL_NAME_SERVICE", "off");
    command
}

/// Behaviours: 11, 18.
#[test]
fn as_pid_1_it_reaps_orphans_and_returns_the_status() {
    let script = "(sh -c 'echo orphan; sleep 0.2' &); sleep 0.1; cat /proc/1/comm; sleep 0.7
        grep -l '^State:.Z' /proc/[0-9]*/status; exit 9";
    let ended = Running::start(as_pid_1(script)).ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (9, "orphan\ndl-entry\n"), "{}", ended.stderr);
}

/// Behaviours: 25.
#[test]
fn as_pid_1_it_forwards_signals_the_kernel_would_not_give_it() {
    let mut running = started(as_pid_1(LISTENER));
    let entry = until(LONG, "process 1", || descendants(running.pid()).first().copied());
    for (signal, expected) in
        [(SIGUSR1, "up\nUSR1\n"), (SIGTERM, "up\nUSR1\nTERM\n"), (SIGHUP, "up\nUSR1\nTERM\nHUP\n")]
    {
        nix::sys::signal::kill(entry, signal).unwrap();
        running.await_text(LONG, expected);
    }
}

/// Behaviours: 103.
#[test]
fn as_pid_1_it_ends_everybody_it_would_leave_behind() {
    let left = "setsid sh -c 'trap \"echo asked; exit\" TERM; echo up; while :; do sleep 0.02; done'";
    let ended = Running::start(as_pid_1(&format!("{left} & {left} & sleep 0.5; exit 3"))).ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "up\nup\nasked\nasked\n"), "{}", ended.stderr);
}

/// Waits until it has ended, and how long that took.
fn stopped(running: Running, signal: Signal) -> (i32, Duration) {
    let begun = Instant::now();
    running.signal(signal);
    (running.ended(LONG).code(), begun.elapsed())
}

/// Behaviours: 101.
#[test]
fn a_program_that_ignores_term_is_killed_at_the_stop_timeout() {
    let mut command = entry(&["sh", "-c", DEAF]);
    command.env("DL_STOP_TIMEOUT", "1s");
    let (code, took) = stopped(started(command), SIGTERM);
    assert_eq!(code, 137);
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

/// Behaviours: 101.
#[test]
fn asking_again_does_not_put_off_the_stop_timeout() {
    let mut command = entry(&["sh", "-c", DEAF]);
    command.env("DL_STOP_TIMEOUT", "2s");
    let mut running = started(command);
    let begun = Instant::now();
    while !running.has_ended() {
        running.signal(SIGTERM);
        std::thread::sleep(Duration::from_millis(300));
        assert!(begun.elapsed() < LONG, "still running");
    }
    assert_eq!(running.ended(LONG).code(), 137);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Behaviours: 101.
#[test]
fn a_service_that_ignores_its_ladder_is_killed_at_the_stop_timeout() {
    let demo = Demo::new("[[stop]]\nsignal = \"SIGTERM\"\nwithin = \"10m\"\n");
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", DEAF).env("DL_STOP_TIMEOUT", "1s");
    let (code, took) = stopped(started(command), SIGTERM);
    assert_eq!(code, 137);
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// Behaviours: 101.
#[test]
fn a_contract_without_a_ladder_has_sigterm_and_half_a_minute() {
    let demo = Demo::new("");
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", DEAF);
    let mut running = started(command);
    running.signal(SIGTERM);
    running.await_text(LONG, "SIGTERM received, stopping: SIGTERM, then 30s to end");
}

/// Takes its time with what it was asked to end, and says that it did.
const TIDY: &str = "trap 'sleep 2; echo tidied; exit 3' TERM; echo up; while :; do sleep 0.05; done";

/// Behaviours: 101.
#[test]
fn a_longer_stop_timeout_gives_the_last_rung_longer() {
    let demo = Demo::new("[[stop]]\nsignal = \"SIGTERM\"\nwithin = \"1s\"\n");
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", TIDY).env("DL_STOP_TIMEOUT", "14s");
    let mut running = started(command);
    running.signal(SIGTERM);
    running.await_text(LONG, "stopping: SIGTERM, then 14s to end");
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "up\ntidied\n"), "{}", ended.stderr);
}

/// Behaviours: 101, 103.
#[test]
fn the_stop_timeout_is_for_what_is_left_behind_too() {
    let script = "sh -c \"$LEFT\" & trap 'exit 4' TERM; while :; do sleep 0.05; done";
    let mut command = entry(&["sh", "-c", script]);
    command.env("LEFT", DEAF).env("DL_STOP_TIMEOUT", "1s");
    let (code, took) = stopped(started(command), SIGTERM);
    assert_eq!(code, 4);
    assert!((Duration::from_millis(900)..Duration::from_secs(4)).contains(&took), "{took:?}");
}

/// Behaviours: 30.
#[test]
fn a_request_to_stop_that_comes_twice_at_once_is_one() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", TIDY);
    let running = started(command);
    for pause in [0, 2, 100] {
        running.signal(SIGTERM);
        std::thread::sleep(Duration::from_millis(pause));
    }
    running.signal(SIGINT);
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "up\ntidied\n"), "{}", ended.stderr);
}

/// Behaviours: 26, 101.
#[test]
fn a_rung_that_is_over_leads_to_the_next_and_the_last_to_kill() {
    let ladder = ["USR1", "INT"].map(|signal| format!("[[stop]]\nsignal = \"SIG{signal}\"\nwithin = \"1s\"\n"));
    let demo = Demo::new(&ladder.concat());
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", LISTENER);
    let running = started(command);
    running.signal(SIGTERM);
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (137, "up\nUSR1\nINT\n"), "{}", ended.stderr);
}

/// Behaviours: 30.
#[test]
fn a_second_request_to_stop_skips_to_the_next_rung() {
    let ladder = ["USR1", "INT"].map(|signal| format!("[[stop]]\nsignal = \"SIG{signal}\"\nwithin = \"10m\"\n"));
    let demo = Demo::new(&ladder.concat());
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", LISTENER);
    let mut running = started(command);
    running.signal(SIGTERM);
    running.await_text(LONG, "up\nUSR1\n");
    running.signal(SIGHUP);
    running.await_text(LONG, "up\nUSR1\nHUP\n");
    std::thread::sleep(ANOTHER_REQUEST);
    running.signal(SIGINT);
    running.await_text(LONG, "up\nUSR1\nHUP\nINT\n");
    std::thread::sleep(ANOTHER_REQUEST);
    let (code, took) = stopped(running, SIGTERM);
    assert_eq!(code, 137);
    assert!(took < PROMPT, "{took:?}");
}

#[test]
fn with_exec_the_program_takes_our_place_and_our_pid() {
    let demo = Demo::new(STOP);
    let by_option = demo.entry(&["run", "--exec"]);
    let mut by_variable = demo.entry(&["run"]);
    by_variable.env("DL_EXEC", "1");
    let mut program = entry(&["sleep", "1000"]);
    program.env("DL_EXEC", "true");
    for mut command in [by_option, by_variable, program] {
        command.env("DEMO_SCRIPT", "exec sleep 1000");
        let running = Running::start(command);
        let exe = format!("/proc/{}/exe", running.pid());
        until(LONG, "our process is the program", || {
            std::fs::read_link(&exe).ok().filter(|exe| exe.file_name().is_some_and(|name| name == "sleep"))
        });
        assert_eq!(descendants(running.pid()), []);
        running.signal(SIGTERM);
        let ended = running.ended(LONG);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status), Some(15), "{}", ended.stderr);
    }
}

/// Behaviours: 3, 35.
#[test]
fn a_signal_that_comes_at_the_very_end_does_not_take_the_place_of_the_services_status() {
    for _ in 0..20 {
        let mut running = started(entry(&["sh", "-c", "trap '' TERM; echo up; sleep 0.05; exit 7"]));
        while !running.has_ended() {
            // It may have ended since.
            let _ = nix::sys::signal::kill(running.pid(), SIGTERM);
        }
        let ended = running.ended(LONG);
        assert_eq!(ended.status.code(), Some(7), "{}", ended.stderr);
    }
}
