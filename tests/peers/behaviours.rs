//! What is asked of each. A check starts the peer, looks from outside, and says what it saw where that is wrong.

use crate::Peer;
use crate::support::{Ended, Folder, Running, descendants};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::process::Command;
use std::time::{Duration, Instant};

pub struct Behaviour {
    pub claim: &'static str,
    pub check: fn(&Peer) -> Result<(), String>,
}

/// Nothing here takes longer where it works; a peer that hangs is given up then.
const SOON: Duration = Duration::from_secs(8);

pub const BEHAVIOURS: &[Behaviour] = &[
    Behaviour { claim: "the command's exit status is returned", check: own_status },
    Behaviour { claim: "a command ended by SIGTERM gives 143", check: terminated },
    Behaviour { claim: "a command ended by real-time signal 40 gives 168", check: real_time_death },
    Behaviour { claim: "the status survives a SIGCHLD that was ignored at the start", check: ignored_child_signal },
    Behaviour { claim: "the status survives a closed standard input", check: closed_input },
    Behaviour { claim: "a command that does not exist gives 127 and is named", check: not_found },
    Behaviour { claim: "a command that is not executable gives 126 and is named", check: not_executable },
    Behaviour { claim: "a script without #! gives 126 and is named", check: no_interpreter_line },
    Behaviour { claim: "every signal arrives once, in order", check: signals_in_order },
    Behaviour { claim: "real-time signals arrive", check: real_time_signals },
    Behaviour { claim: "a stopped command is not taken for an ended one", check: stopped },
    Behaviour { claim: "100 orphans are reaped as PID 1", check: orphans_of_pid_1 },
    Behaviour { claim: "orphans are adopted and reaped where it is not PID 1", check: orphans_elsewhere },
    Behaviour { claim: "a process the command leaves behind has time to end", check: stragglers },
    Behaviour { claim: "a command that ignores SIGTERM is killed at a deadline", check: deaf },
    Behaviour { claim: "the command has an empty signal mask and ignores nothing", check: clean_signals },
    Behaviour { claim: "the command has no inherited descriptor above 2", check: descriptors },
    Behaviour { claim: "nothing wakes up while nothing happens", check: idle },
    Behaviour { claim: "root is dropped: all user and group ids, no other group", check: ids },
    Behaviour { claim: "no capability is left, in any set", check: capabilities },
    Behaviour { claim: "no new privileges can be had", check: no_new_privileges },
    Behaviour { claim: "HOME and USER are no longer root's", check: home },
    Behaviour { claim: "/dev/stdout can be opened after the drop", check: reopened_output },
    Behaviour { claim: "the command cannot read the environment of what started it", check: private_memory },
];

/// `peer sh -c SCRIPT`, started by root.
fn command(peer: &Peer, script: &str) -> Command {
    prefixed(&[], peer, script)
}

fn prefixed(prefix: &[&str], peer: &Peer, script: &str) -> Command {
    prefixed_program(prefix, peer, &["sh", "-c", script])
}

fn prefixed_program(prefix: &[&str], peer: &Peer, program: &[&str]) -> Command {
    let run: Vec<String> = program.iter().map(|word| peer.word(word)).collect();
    let mut words = prefix.iter().copied().chain(peer.words.iter().chain(&run).map(String::as_str));
    let mut command = Command::new(words.next().unwrap());
    command.args(words).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("DL_HEALTH_ADDR", "off");
    command.env("DL_NAME_SERVICE", "off");
    command.env("HOME", "/root").env("USER", "root").env("LOGNAME", "root").env("DL_STOP_TIMEOUT", "1s");
    command
}

/// Runs it to its end, or says that it hangs.
fn end(command: Command) -> Result<Ended, String> {
    let mut running = Running::start(command);
    await_end(&mut running)?;
    Ok(running.ended(SOON))
}

fn await_end(running: &mut Running) -> Result<(), String> {
    let began = Instant::now();
    while !running.has_ended() {
        if began.elapsed() > SOON {
            return Err("it hangs".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn expect(seen: impl PartialEq + std::fmt::Debug, expected: impl PartialEq + std::fmt::Debug) -> Result<(), String> {
    let (seen, expected) = (format!("{seen:?}"), format!("{expected:?}"));
    if seen == expected { Ok(()) } else { Err(format!("{seen} instead of {expected}")) }
}

fn await_output(running: &mut Running, text: &str) -> Result<(), String> {
    let began = Instant::now();
    while !running.stdout().contains(text) {
        if began.elapsed() > SOON || running.has_ended() {
            return Err(format!("no {text:?} in {:?} (ended: {})", running.stdout(), running.has_ended()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn own_status(peer: &Peer) -> Result<(), String> {
    expect(end(command(peer, "exit 7"))?.code(), 7)
}

fn terminated(peer: &Peer) -> Result<(), String> {
    expect(end(command(peer, "kill -TERM $$"))?.code(), 143)
}

fn real_time_death(peer: &Peer) -> Result<(), String> {
    expect(end(command(peer, "kill -40 $$"))?.code(), 168)
}

fn ignored_child_signal(peer: &Peer) -> Result<(), String> {
    let ended = end(prefixed(&["env", "--ignore-signal=CHLD"], peer, "exit 7"))?;
    expect(ended.code(), 7)
}

fn closed_input(peer: &Peer) -> Result<(), String> {
    let ended = end(prefixed(&["sh", "-c", "exec \"$@\" <&-", "sh"], peer, "exit 7"))?;
    expect(ended.code(), 7)
}

/// Runs a path instead of a script: its status, and whether it is named.
fn run_path(peer: &Peer, path: &str) -> Result<(i32, bool), String> {
    let mut command = Command::new(&peer.words[0]);
    command
        .args(&peer.words[1..])
        .arg(peer.word(path))
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("DL_HEALTH_ADDR", "off");
    command.env("DL_NAME_SERVICE", "off");
    let ended = end(command)?;
    Ok((ended.code(), ended.stderr.contains(path)))
}

fn not_found(peer: &Peer) -> Result<(), String> {
    expect(run_path(peer, "/no/such/program")?, (127, true))
}

fn not_executable(peer: &Peer) -> Result<(), String> {
    let folder = Folder::new("peer-mode");
    let file = folder.write("program", "#!/bin/sh\n");
    expect(run_path(peer, file.to_str().unwrap())?, (126, true))
}

fn no_interpreter_line(peer: &Peer) -> Result<(), String> {
    let folder = Folder::new("peer-script");
    let file = folder.write("script", "echo done\n");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    expect(run_path(peer, file.to_str().unwrap())?, (126, true))
}

fn signals_in_order(peer: &Peer) -> Result<(), String> {
    use Signal::*;
    let signals = [SIGHUP, SIGUSR1, SIGINT, SIGQUIT, SIGUSR2, SIGWINCH, SIGPWR, SIGALRM, SIGTERM];
    let traps = "for s in HUP USR1 INT QUIT USR2 WINCH PWR ALRM TERM; do trap \"echo $s\" $s; done";
    // A test run under nohup hands on an ignored SIGHUP, which no shell can trap.
    // It ends by itself, also where a peer ends without it.
    let script = format!("{traps}; echo up; i=0; while [ $i -lt 1000 ]; do sleep 0.02; i=$((i+1)); done");
    let mut running = Running::start(prefixed(&["env", "--default-signal"], peer, &script));
    await_output(&mut running, "up\n")?;
    let mut expected = "up\n".to_owned();
    for signal in signals {
        running.signal(signal);
        expected.push_str(&format!("{}\n", signal.as_str().trim_start_matches("SIG")));
        await_output(&mut running, &expected)?;
    }
    std::thread::sleep(Duration::from_millis(100));
    expect(running.stdout(), expected)
}

fn real_time_signals(peer: &Peer) -> Result<(), String> {
    // Not print: a handler may come while the first one is still at it.
    let program = "import os, signal, time\n\
        for number in range(35, 65): signal.signal(number, lambda n, _: os.write(1, b'%d\\n' % n))\n\
        os.write(1, b'up\\n')\nfor _ in range(20): time.sleep(1)";
    let mut running = Running::start(command(peer, &format!("exec python3 -c \"{program}\"")));
    await_output(&mut running, "up\n")?;
    for number in ["35", "40", "64"] {
        Command::new("kill").args([&format!("-{number}"), &running.pid().to_string()]).status().unwrap();
        await_output(&mut running, &format!("{number}\n"))?;
    }
    Ok(())
}

fn stopped(peer: &Peer) -> Result<(), String> {
    let script = "(sleep 0.3; kill -CONT $$) & kill -STOP $$; exit 7";
    expect(end(command(peer, script))?.code(), 7)
}

/// Two forks each, so that every one ends as a child of whoever adopts orphans.
const ORPHANS: &str = "i=0; while [ $i -lt 100 ]; do sh -c 'sleep 0.05 &'; i=$((i+1)); done; sleep 0.5";
const COUNT_ZOMBIES: &str = "grep -h '^State' /proc/[0-9]*/status | grep -c Z";

fn orphans_of_pid_1(peer: &Peer) -> Result<(), String> {
    let namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let ended = end(prefixed(&namespace, peer, &format!("{ORPHANS}; {COUNT_ZOMBIES}")))?;
    expect(ended.stdout.trim(), "0")
}

fn orphans_elsewhere(peer: &Peer) -> Result<(), String> {
    let script = "sh -c 'sleep 2 & echo $!' >&2; exec sleep 60";
    let running = Running::start(command(peer, script));
    let began = Instant::now();
    let orphan = loop {
        if let Ok(pid) = running.stderr().trim().rsplit('\n').next().unwrap_or_default().parse::<i32>() {
            break pid;
        }
        if began.elapsed() > SOON {
            return Err("no orphan".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    std::thread::sleep(Duration::from_millis(100));
    let adopted = descendants(running.pid()).contains(&Pid::from_raw(orphan));
    expect(adopted, true)?;
    let reaped = || !std::path::Path::new(&format!("/proc/{orphan}")).exists();
    let began = Instant::now();
    while !reaped() && began.elapsed() < Duration::from_secs(2) + SOON {
        std::thread::sleep(Duration::from_millis(20));
    }
    expect(reaped(), true)
}

fn stragglers(peer: &Peer) -> Result<(), String> {
    let folder = Folder::new("peer-straggler");
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let note = folder.join("note");
    let left = format!("trap 'sleep 0.3; echo saved > {}; exit' TERM; while :; do sleep 0.02; done", note.display());
    let script = format!("trap 'exit 0' TERM; sh -c \"{left}\" & echo up; while :; do sleep 0.02; done");
    let namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let mut running = Running::start(prefixed(&namespace, peer, &script));
    await_output(&mut running, "up\n")?;
    std::thread::sleep(Duration::from_millis(200));
    let first = *descendants(running.pid()).first().ok_or("nothing runs")?;
    nix::sys::signal::kill(first, Signal::SIGTERM).unwrap();
    await_end(&mut running)?;
    expect(note.exists(), true)
}

fn deaf(peer: &Peer) -> Result<(), String> {
    let mut running = Running::start(command(peer, "trap '' TERM; echo up; while :; do sleep 0.05; done"));
    await_output(&mut running, "up\n")?;
    running.signal(Signal::SIGTERM);
    await_end(&mut running)?;
    expect(running.ended(SOON).code(), 137)
}

/// A line of the command's own /proc/self/status. Without a shell between, which would empty the signal mask.
fn status_line(peer: &Peer, prefix: &[&str], name: &str) -> Result<String, String> {
    let ended = end(prefixed_program(prefix, peer, &["cat", "/proc/self/status"]))?;
    let line = ended.stdout.lines().find_map(|line| line.strip_prefix(&format!("{name}:")).map(str::to_owned));
    Ok(line.ok_or("no status")?.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn clean_signals(peer: &Peer) -> Result<(), String> {
    let prefix = ["env", "--default-signal", "--block-signal=USR1", "--ignore-signal=PIPE"];
    expect(status_line(peer, &prefix, "SigBlk")?, "0000000000000000")?;
    expect(status_line(peer, &prefix, "SigIgn")?, "0000000000000000")
}

fn descriptors(peer: &Peer) -> Result<(), String> {
    let open = ["sh", "-c", "exec \"$@\" 7</dev/null", "sh"];
    expect(end(prefixed(&open, peer, "test -e /proc/self/fd/7; echo $?"))?.stdout.trim(), "1")
}

fn idle(peer: &Peer) -> Result<(), String> {
    let mut running = Running::start(command(peer, "echo up; exec sleep 60"));
    await_output(&mut running, "up\n")?;
    std::thread::sleep(Duration::from_millis(300));
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap_or_default();
        status.lines().filter(|line| line.contains("ctxt_switches")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    expect(switches(), before)
}

fn ids(peer: &Peer) -> Result<(), String> {
    let prefix = ["setpriv", "--groups=4,24"];
    expect(status_line(peer, &prefix, "Uid")?, "1000 1000 1000 1000")?;
    expect(status_line(peer, &prefix, "Gid")?, "1000 1000 1000 1000")?;
    let groups = status_line(peer, &prefix, "Groups")?;
    if ["", "1000"].contains(&groups.as_str()) { Ok(()) } else { Err(format!("groups {groups}")) }
}

fn capabilities(peer: &Peer) -> Result<(), String> {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        expect(status_line(peer, &[], set)?, "0000000000000000").map_err(|why| format!("{set}: {why}"))?;
    }
    Ok(())
}

fn no_new_privileges(peer: &Peer) -> Result<(), String> {
    expect(status_line(peer, &[], "NoNewPrivs")?, "1")
}

fn home(peer: &Peer) -> Result<(), String> {
    let ended = end(command(peer, "echo \"$HOME $USER $LOGNAME\""))?;
    let is_ours = ended.stdout.contains("root") || ended.stdout.trim().is_empty();
    if is_ours { Err(ended.stdout) } else { Ok(()) }
}

fn reopened_output(peer: &Peer) -> Result<(), String> {
    let ended = end(command(peer, "[ \"$(id -u)\" != 0 ] && echo written > /dev/stdout"))?;
    expect(ended.stdout.trim(), "written")
}

fn private_memory(peer: &Peer) -> Result<(), String> {
    let namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let ended = end(prefixed(&namespace, peer, "sh -c 'cat /proc/1/environ' | wc -c"))?;
    expect(ended.stdout.trim(), "0")
}
