//! A signal is honoured in every phase, and a service never starts without what it depends on.

use crate::demo::{Demo, READY, STOP};
use crate::support::{ANOTHER_REQUEST, Ended, Running, entry, free_port, get, try_get, until};
use crate::{LONG, PROMPT};
use nix::sys::signal::Signal::{self, *};
use nix::sys::stat::Mode;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Says that it runs, which nobody may hear who should not.
const LOUD: &str = "echo started; exec sleep 1000";

fn stopped(running: Running, signal: Signal) -> Ended {
    running.signal(signal);
    running.ended(PROMPT)
}

fn assert_never_started(ended: &Ended, code: i32) {
    assert_eq!((ended.code(), ended.stdout.as_str()), (code, ""), "{}", ended.stderr);
}

fn fifo(demo: &Demo) -> String {
    let path = demo.join("secret");
    nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Whether it has the file open, which it does only to wait for its writer.
fn has_open(running: &Running, path: &str) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target.to_str() == Some(path))
}

/// A server on loopback that takes requests and answers none of them, or says 200 once it may.
struct Silent {
    port: u16,
    listener: TcpListener,
    asked: Arc<AtomicBool>,
    answers: Arc<AtomicBool>,
}

impl Silent {
    fn new() -> Silent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (told, may) = (asked.clone(), answers.clone());
        let accepting = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut kept = Vec::new();
            for mut stream in accepting.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                told.store(true, Ordering::Relaxed);
                if may.load(Ordering::Relaxed) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                } else {
                    kept.push(stream);
                }
            }
        });
        Silent { port, listener, asked, answers }
    }

    /// As the service's own server.
    fn of(&self, command: Command) -> Running {
        Running::start_with_listener(command, &self.listener)
    }

    fn await_request(&self) {
        until(LONG, "a request", || self.asked.load(Ordering::Relaxed).then_some(()));
    }
}

/// Behaviours: 27, 29.
#[test]
fn a_stop_while_a_secret_is_read_from_a_pipe_is_prompt() {
    for (signal, code) in [(SIGTERM, 143), (SIGINT, 130), (SIGQUIT, 131), (SIGHUP, 129)] {
        let demo = Demo::new(STOP);
        let secret = fifo(&demo);
        let mut command = demo.entry(&[]);
        command.env("DEMO_SCRIPT", LOUD).env("DEMO_PASSWORD_FILE", &secret);
        let running = Running::start(command);
        until(LONG, "it waits for the secret", || has_open(&running, &secret).then_some(()));
        let ended = stopped(running, signal);
        assert_never_started(&ended, code);
        assert_eq!(ended.stderr, "");
        assert!(!demo.file().exists());
    }
}

/// Behaviours: 18.
#[test]
fn an_orphan_that_ends_while_a_secret_is_read_from_a_pipe_is_reaped() {
    let demo = Demo::new(STOP);
    let secret = fifo(&demo);
    let own = crate::support::binary();
    let mut command = demo.command(&["sh", "-c", "sleep 0.3 & exec \"$@\"", "sh", own.to_str().unwrap()]);
    command.env("DEMO_SCRIPT", LOUD).env("DEMO_PASSWORD_FILE", &secret);
    let running = Running::start(command);
    until(LONG, "it waits for the secret", || has_open(&running, &secret).then_some(()));
    until(LONG, "no zombie is left", || crate::support::descendants(running.pid()).is_empty().then_some(()));
    assert!(has_open(&running, &secret));
    assert_never_started(&stopped(running, SIGTERM), 143);
}

/// Behaviours: 82.
#[test]
fn a_secret_comes_through_a_pipe_in_pieces() {
    let demo = Demo::new(STOP);
    let secret = fifo(&demo);
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", format!("cat {}; exit 4", demo.file().display())).env("DEMO_PASSWORD_FILE", &secret);
    let running = Running::start(command);
    until(LONG, "it waits for the secret", || has_open(&running, &secret).then_some(()));
    // Neither ends the wait nor is kept for a service that would die of it.
    running.signal(SIGUSR1);
    let mut writer = std::fs::OpenOptions::new().write(true).open(&secret).unwrap();
    writer.write_all(b"correct horse ").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(200));
    writer.write_all(b"battery\n").unwrap();
    drop(writer);
    let ended = running.ended(LONG);
    assert_eq!(ended.code(), 4, "{}", ended.stderr);
    assert!(ended.stdout.ends_with("password = correct horse battery\n"), "{}", ended.stdout);
}

/// Behaviours: 6, 82.
#[test]
fn a_pipe_that_is_closed_without_a_word_is_an_empty_secret() {
    let demo = Demo::new(STOP);
    let secret = fifo(&demo);
    let mut command = demo.entry(&[]);
    command.env("DEMO_PASSWORD_FILE", &secret);
    let running = Running::start(command);
    drop(std::fs::OpenOptions::new().write(true).open(&secret).unwrap());
    let ended = running.ended(LONG);
    assert_eq!(ended.code(), 66);
    assert!(ended.stderr.contains(&format!("names {secret}, which is empty")), "{}", ended.stderr);
}

/// Behaviours: 27, 82.
#[test]
fn a_password_file_of_wait_may_be_a_pipe_and_its_mistakes_are_those_of_a_secret() {
    let demo = Demo::new(STOP);
    let pipe = fifo(&demo);
    let port = free_port();
    let wait = |path: &str| {
        let url = format!("postgres://u@127.0.0.1:{port}/d?password-file={path}");
        Running::start(entry(&["wait", &url, "--timeout", "300ms"]))
    };
    let silent = wait(&pipe);
    until(LONG, "it waits for the password", || has_open(&silent, &pipe).then_some(()));
    assert_never_started(&stopped(silent, SIGTERM), 143);

    let written = wait(&pipe);
    std::fs::write(&pipe, "hunter22\n").unwrap();
    let ended = written.ended(LONG);
    assert_eq!(ended.code(), 69, "{}", ended.stderr);

    let ended = wait("/nonexistent").ended(LONG);
    assert_eq!(ended.code(), 66);
    assert!(ended.stderr.contains("the password file /nonexistent cannot be read by uid "), "{}", ended.stderr);
}

/// Behaviours: 27, 29.
#[test]
fn a_stop_while_a_dependency_is_waited_for_is_prompt() {
    let port = free_port();
    let demo = Demo::new(&format!("{STOP}[[wait]]\ntcp = \"127.0.0.1:{port}\"\n"));
    for (signal, code, exec) in [(SIGTERM, 143, "0"), (SIGINT, 130, "0"), (SIGTERM, 143, "1")] {
        let mut command = demo.entry(&[]);
        command.env("DEMO_SCRIPT", LOUD).env("DL_EXEC", exec);
        let mut running = Running::start(command);
        running.await_text(LONG, "waiting for tcp://");
        assert_never_started(&stopped(running, signal), code);
    }
    let mut running = Running::start(entry(&["wait", &format!("tcp://127.0.0.1:{port}")]));
    running.await_text(LONG, "waiting for tcp://");
    assert_never_started(&stopped(running, SIGTERM), 143);
}

#[test]
fn with_exec_the_service_takes_our_place_once_its_dependencies_answer() {
    let port = free_port();
    let demo = Demo::new(&format!("{STOP}[[wait]]\ntcp = \"127.0.0.1:{port}\"\n{}", with_task(port)));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "echo $$; exec sleep 1000").env("DL_EXEC", "1");
    let mut running = Running::start(command);
    running.await_text(LONG, "waiting for tcp://");
    assert_eq!(running.stdout(), "");
    let _dependency = TcpListener::bind(("127.0.0.1", port)).unwrap();
    until(LONG, "the service runs as us", || (running.stdout() == format!("{}\n", running.pid())).then_some(()));
    let ended = stopped(running, SIGTERM);
    assert!(ended.stderr.contains("s3-buckets is not done: with DL_EXEC"), "{}", ended.stderr);
}

/// Behaviours: 27.
#[test]
fn a_stop_while_a_dependency_accepts_and_never_answers_is_prompt() {
    let silent = Silent::new();
    let demo = Demo::new(&format!("{STOP}[[wait]]\nhttp = {{ url = \"http://127.0.0.1:{}/\" }}\n", silent.port));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", LOUD);
    let running = Running::start(command);
    silent.await_request();
    assert_never_started(&stopped(running, SIGTERM), 143);
}

pub fn with_task(demo_port: u16) -> String {
    let server = format!(
        "endpoint = \"http://127.0.0.1:{demo_port}\"\nregion = \"us-east-1\"\naccess-key = \"demo\"\nsecret-key = \"long enough\""
    );
    format!(
        "[[task]]\n[task.s3-buckets]\nbuckets = \"lakehouse\"\nquorum = {{ url = \"http://127.0.0.1:{demo_port}/\" }}\n\
         [task.s3-buckets.server]\n{server}\n"
    )
}

/// Behaviours: 27.
#[test]
fn a_stop_while_a_task_is_done_ends_the_service_and_the_task() {
    let silent = Silent::new();
    let demo = Demo::new(&format!("{STOP}{}", with_task(silent.port)));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", LOUD);
    let mut running = silent.of(command);
    running.await_text(LONG, "started\n");
    silent.await_request();
    let (status, body) = get(demo.health, "/readyz");
    assert_eq!(status, 503);
    assert!(body.starts_with("unavailable: tasks(s3-buckets) for "), "{body}");
    let ended = stopped(running, SIGTERM);
    assert_eq!((ended.code(), ended.stdout.as_str()), (143, "started\n"), "{}", ended.stderr);
}

/// Behaviours: 27.
#[test]
fn a_stop_while_the_service_starts_is_prompt() {
    let silent = Silent::new();
    let demo = Demo::new(&format!("{STOP}{READY}"));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", LOUD).env("DEMO_PORT", silent.port.to_string());
    let running = silent.of(command);
    silent.await_request();
    let ended = stopped(running, SIGTERM);
    assert_eq!((ended.code(), ended.stdout.as_str()), (143, "started\n"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("is ready"), "{}", ended.stderr);
}

/// Behaviours: 9, 27.
#[test]
fn a_stop_while_the_service_runs_is_prompt_and_its_own_status_is_returned() {
    for (script, code) in [
        ("echo up; exec sleep 1000", 143),
        ("trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done", 0),
        ("trap 'exit 143' TERM; echo up; while :; do sleep 0.05; done", 143),
        ("trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done", 9),
    ] {
        let demo = Demo::new(STOP);
        let mut command = demo.entry(&[]);
        command.env("DEMO_SCRIPT", script);
        let mut running = Running::start(command);
        running.await_text(LONG, "demo is ready");
        running.await_text(LONG, "up\n");
        let ended = stopped(running, SIGTERM);
        assert_eq!(ended.code(), code, "{script}\n{}", ended.stderr);
    }
}

/// Behaviours: 106.
#[test]
fn a_service_that_is_being_stopped_never_becomes_ready_again() {
    let silent = Silent::new();
    let demo = Demo::new(&format!("{STOP}{READY}"));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "trap 'echo stopping' TERM; trap 'exit 0' INT; echo up; while :; do sleep 0.05; done");
    command.env("DEMO_PORT", silent.port.to_string());
    let mut running = silent.of(command);
    running.await_text(LONG, "up\n");
    silent.await_request();
    running.signal(SIGTERM);
    running.await_text(LONG, "stopping\n");
    silent.answers.store(true, Ordering::Relaxed);
    // Longer than the longest pause between two questions to a service that starts.
    let begun = Instant::now();
    while begun.elapsed() < PROMPT {
        assert_eq!(get(demo.health, "/readyz").0, 503);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let (_, body) = get(demo.health, "/readyz");
    assert!(body.contains("demo is being stopped"), "{body}");
    assert!(!running.stderr().contains("is ready"), "{}", running.stderr());
    let ended = stopped(running, SIGTERM);
    assert_eq!(ended.code(), 137, "{}", ended.stderr);
}

/// Behaviours: 103, 106.
#[test]
fn a_service_that_has_ended_is_neither_live_nor_ready_while_what_it_left_is_ended() {
    let demo = Demo::new(STOP);
    let left = "trap 'echo asked; sleep 2' TERM; while :; do sleep 0.05; done";
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", format!("setsid sh -c \"{left}\" & sleep 1; exit 4"));
    let mut running = Running::start(command);
    running.await_text(LONG, "demo is ready");
    assert_eq!(get(demo.health, "/livez").0, 200);
    running.await_text(LONG, "asked\n");
    for path in ["/livez", "/readyz"] {
        let (status, body) = get(demo.health, path);
        assert_eq!((status, body.contains("demo has ended with status 4")), (503, true), "{path}: {body}");
    }
    assert_eq!(running.ended(LONG).code(), 4);
}

/// Behaviours: 30.
#[test]
fn while_it_stops_a_second_and_third_request_are_honoured() {
    let demo = Demo::new(
        "[[stop]]\nsignal = \"SIGUSR1\"\nwithin = \"10m\"\n[[stop]]\nsignal = \"SIGTERM\"\nwithin = \"10m\"\n",
    );
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "trap '' TERM; trap 'echo asked' USR1; echo up; while :; do sleep 0.05; done");
    let mut running = Running::start(command);
    running.await_text(LONG, "up\n");
    running.signal(SIGTERM);
    running.await_text(LONG, "asked\n");
    std::thread::sleep(ANOTHER_REQUEST);
    running.signal(SIGTERM);
    running.await_text(LONG, "stopping: SIGTERM");
    std::thread::sleep(ANOTHER_REQUEST);
    assert_eq!(stopped(running, SIGTERM).code(), 137);
}

#[test]
fn a_rung_that_is_a_request_is_sent_and_one_that_is_refused_leads_on_at_once() {
    let refused = free_port();
    let silent = Silent::new();
    for (port, log) in [(refused, "the service could not be asked to stop"), (silent.port, "stopping: PUT")] {
        let rung = format!(
            "[[stop]]\nhttp = {{ method = \"PUT\", url = \"http://127.0.0.1:{port}/drain\" }}\nwithin = \"10m\"\n{STOP}"
        );
        let demo = Demo::new(&rung);
        let mut running = silent.of(demo.entry(&[]));
        running.await_text(LONG, "demo is ready");
        running.signal(SIGTERM);
        running.await_text(LONG, log);
        if port == refused {
            assert_eq!(running.ended(PROMPT).code(), 143);
            continue;
        }
        silent.await_request();
        let (status, body) = get(demo.health, "/readyz");
        assert_eq!((status, body.contains("draining for ")), (503, true), "{body}");
        std::thread::sleep(ANOTHER_REQUEST);
        assert_eq!(stopped(running, SIGTERM).code(), 143);
    }
}

/// Behaviours: 6, 99, 100.
#[test]
fn at_the_deadline_every_missing_dependency_is_named_with_its_last_error_and_nothing_starts() {
    let (first, second) = (free_port(), free_port());
    let present = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = present.local_addr().unwrap().port();
    let waits = format!(
        "[[wait]]\ntcp = \"127.0.0.1:{first}\"\n[[wait]]\ntcp = \"127.0.0.1:{there}\"\n\
         [[wait]]\nhttp = {{ url = \"http://127.0.0.1:{second}/up\" }}\n[[wait]]\nfile = \"/nonexistent/file\"\n"
    );
    let demo = Demo::new(&format!("{STOP}{waits}"));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", LOUD).env("DL_WAIT_TIMEOUT", "1s");
    let ended = Running::start(command).ended(LONG);
    assert_never_started(&ended, 69);
    let report = ended.stderr.split_once("dl-entry: ").map_or("", |(_, report)| report);
    let expected = format!(
        "3 of 4 dependencies not ready within 1 s
  tcp://127.0.0.1:{first}: connection refused
  http://127.0.0.1:{second}/up: connection refused
  /nonexistent/file: not found
set DL_WAIT_TIMEOUT higher if they only need more time
"
    );
    assert_eq!(report, expected, "{}", ended.stderr);
}

/// Behaviours: 106.
#[test]
fn while_it_waits_the_endpoint_lives_and_names_what_is_missing() {
    let port = free_port();
    let demo = Demo::new(&format!("{STOP}[[wait]]\ntcp = \"127.0.0.1:{port}\"\n"));
    let mut running = Running::start(demo.entry(&[]));
    running.await_text(LONG, "waiting for tcp://");
    assert_eq!(get(demo.health, "/livez").0, 200);
    let (status, body) = get(demo.health, "/readyz?format=json");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["phase"]), (503, &"waiting".into()));
    assert_eq!(body["pending"][0]["name"], format!("tcp://127.0.0.1:{port}"));
    let dependency = TcpListener::bind(("127.0.0.1", port)).unwrap();
    running.await_text(LONG, "demo is ready");
    drop(dependency);
    assert_eq!(stopped(running, SIGTERM).code(), 143);
}

/// Behaviours: 18.
#[test]
fn an_orphan_that_ends_while_a_dependency_is_waited_for_is_reaped() {
    // Our own children before the service: what a shell left running when it became us.
    let port = free_port();
    let mut command = Command::new("sh");
    let binary = crate::support::binary();
    command
        .args(["-c", "sleep 0.3 & exec \"$@\"", "sh"])
        .arg(binary)
        .args(["wait", &format!("tcp://127.0.0.1:{port}")]);
    let mut running = Running::start(command);
    running.await_text(LONG, "waiting for tcp://");
    until(LONG, "no zombie is left", || crate::support::descendants(running.pid()).is_empty().then_some(()));
    assert_eq!(stopped(running, SIGTERM).code(), 143);
}

#[test]
fn a_task_that_fails_stops_the_service_through_its_ladder() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let quorum = Arc::new(AtomicBool::new(false));
    let is_there = quorum.clone();
    let accepting = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for mut stream in accepting.incoming().flatten() {
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap_or(0);
            let status = match head[..length].starts_with(b"GET / ") {
                true if is_there.load(Ordering::Relaxed) => "200 OK",
                true => "503 Service Unavailable",
                false => "403 Forbidden",
            };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    let demo = Demo::new(&format!("{STOP}{}", with_task(port)));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done");
    let mut running = Running::start_with_listener(command, &listener);
    running.await_text(LONG, "up\n");
    quorum.store(true, Ordering::Relaxed);
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (69, "up\nasked\n"), "{}", ended.stderr);
    assert!(ended.stderr.contains("dl-entry: demo was stopped: task s3-buckets: "), "{}", ended.stderr);
    assert!(try_get(demo.health, "/livez").is_err());
}

#[test]
fn a_port_the_kernel_keeps_for_root_is_refused_before_anything_is_written() {
    let demo = Demo::new(&format!("{STOP}{READY}"));
    let own = crate::support::binary();
    let with = |first: &str, variables: &[(&str, &str)]| {
        let script =
            format!("echo {first} >/proc/sys/net/ipv4/ip_unprivileged_port_start; ip link set lo up; exec \"$@\"");
        let mut command = demo.command(&["unshare", "-n", "sh", "-ec", &script, "sh", own.to_str().unwrap()]);
        command.env("DEMO_SCRIPT", "echo started").envs(variables.iter().copied());
        Running::start(command).ended(LONG)
    };
    let refused = |variable: &str, port: u16, listener: &str| {
        format!(
            "{variable}: port {port} cannot be listened on by {listener}, which has none of root's rights\n  accepted: a port \
             from 1024 on; or start the container with --sysctl net.ipv4.ip_unprivileged_port_start={port}\n"
        )
    };
    let ended = with("1024", &[("DEMO_PORT", "80"), ("DL_HEALTH_ADDR", "127.0.0.1:90")]);
    assert_never_started(&ended, 78);
    let expected = refused("DL_HEALTH_ADDR", 90, "the health endpoint") + &refused("DEMO_PORT", 80, "demo");
    assert_eq!(ended.stderr.split_once("dl-entry: ").map(|(_, report)| report), Some(expected.as_str()));
    assert!(!demo.file().exists());
    let ended = with("80", &[("DEMO_PORT", "80"), ("DL_HEALTH_ADDR", "127.0.0.1:90")]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{}", ended.stderr);
}

/// Has every execution of a file wait until this is dropped (fanotify(7)).
struct Held(std::fs::File);

impl Held {
    fn at(path: &std::path::Path) -> Held {
        use std::os::fd::FromRawFd as _;
        let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: plain system calls; the path ends with NUL, and the descriptor is nobody else's.
        unsafe {
            let group = libc::fanotify_init(libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC, libc::O_RDONLY as u32);
            assert!(group >= 0, "fanotify: {}", std::io::Error::last_os_error());
            let group = std::fs::File::from_raw_fd(group);
            let descriptor = std::os::fd::AsRawFd::as_raw_fd(&group);
            let (flags, events) = (libc::FAN_MARK_ADD, libc::FAN_OPEN_EXEC_PERM);
            let marked = libc::fanotify_mark(descriptor, flags, events, libc::AT_FDCWD, name.as_ptr());
            assert_eq!(marked, 0, "fanotify: {}", std::io::Error::last_os_error());
            Held(group)
        }
    }

    /// Until somebody wants to execute it.
    fn await_execution(&self) {
        let mut readable = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(&self.0), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut readable, 15_000u16), Ok(1), "nobody executes it");
    }
}

/// Behaviours: 27.
#[test]
fn a_stop_while_the_program_is_being_executed_is_prompt() {
    crate::support::require_root("fanotify needs it");
    let folder = crate::support::Folder::new("held");
    let program = folder.join("program");
    std::fs::copy("/bin/sleep", &program).unwrap();
    for (signal, code) in [(SIGTERM, 143), (SIGINT, 130)] {
        let held = Held::at(&program);
        let running = Running::start(entry(&[program.to_str().unwrap(), "1000"]));
        held.await_execution();
        let ended = stopped(running, signal);
        assert_eq!((ended.code(), ended.stderr.as_str()), (code, ""));
    }
}
