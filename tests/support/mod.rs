//! A process of the binary under test: started, listened to, signalled, and gone when the test ends.
//!
//! Shared by the test programs (`#[path = "../support/mod.rs"] mod support;`), each of which uses a part of it.
#![allow(dead_code, unsafe_code)]

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Requests to stop that are closer together are one.
pub const ANOTHER_REQUEST: Duration = Duration::from_millis(1100);

/// The binary under test: the one `DL_ENTRY` names (`./dl test` names the static one), or what Cargo has just built.
pub fn binary() -> PathBuf {
    let named = std::env::var_os("DL_ENTRY").map(PathBuf::from);
    let binary = named.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_dl-entry")));
    binary.canonicalize().unwrap_or_else(|error| panic!("DL_ENTRY: {}: {error}; run ./dl build", binary.display()))
}

/// The binary with `arguments` and nothing in its environment but a PATH.
pub fn entry(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    // The machine may be a container whose lookups we would answer: tests of that turn it on.
    command.env("DL_NAME_SERVICE", "off");
    command
}

/// A port nothing listened on a moment ago, on loopback; never the same twice.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// Tries `attempt` until it has an answer; fails the test with `what` after `within`.
pub fn until<T>(within: Duration, what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = attempt() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A child in a session of its own whose output is collected; it and its session are killed when this is dropped.
pub struct Running {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
    /// None once the child has been waited for: its number may be another's by then.
    guard: Option<Guard>,
}

/// Asks a process to stop when the test program is killed, which then drops nothing.
struct Guard(Child);

impl Guard {
    fn of(pid: u32) -> Guard {
        let mut command = Command::new("/bin/sh");
        // The pipe it reads from closes with this program, however that ends; it must not end of the same signal.
        command.args(["-c", "read -r line; kill -TERM \"$0\"", &pid.to_string()]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
        // SAFETY: setsid is async-signal-safe.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
        Guard(command.spawn().expect("/bin/sh"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Killed before its pipe is closed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a child that has ended left.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The exit status as a shell has it: 128 and the number of the signal for a death.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap())
    }
}

impl Running {
    pub fn start(command: Command) -> Running {
        Running::start_with(command, Stdio::null())
    }

    /// The service holds this socket, as its own standard input: what the test answers there is the service's answer.
    pub fn start_with_listener(command: Command, listener: &TcpListener) -> Running {
        Running::start_with(command, OwnedFd::from(listener.try_clone().unwrap()).into())
    }

    fn start_with(mut command: Command, stdin: Stdio) -> Running {
        command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: setsid is async-signal-safe.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        let guard = Some(Guard::of(child.id()));
        let (stdout, one) = collect(child.stdout.take().unwrap());
        let (stderr, other) = collect(child.stderr.take().unwrap());
        Running { child, stdout, stderr, readers: vec![one, other], guard }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    pub fn stdout(&self) -> String {
        self.stdout.lock().unwrap().clone()
    }

    pub fn stderr(&self) -> String {
        self.stderr.lock().unwrap().clone()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait().unwrap().is_some();
        if ended {
            self.guard = None;
        }
        ended
    }

    /// Waits until `text` is in what it printed on either stream.
    pub fn await_text(&mut self, within: Duration, text: &str) {
        let deadline = Instant::now() + within;
        while !self.stdout().contains(text) && !self.stderr().contains(text) {
            let ended = self.has_ended();
            if ended || Instant::now() > deadline {
                panic!("no {text:?} within {within:?} (ended: {ended})\n{}\n{}", self.stdout(), self.stderr());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until it has ended.
    pub fn ended(mut self, within: Duration) -> Ended {
        let deadline = Instant::now() + within;
        while !self.has_ended() {
            if Instant::now() > deadline {
                panic!("still running after {within:?}\n{}\n{}", self.stdout(), self.stderr());
            }
            thread::sleep(Duration::from_millis(5));
        }
        let status = self.child.wait().unwrap();
        // What it left behind may hold its pipes open.
        let patience = Instant::now() + Duration::from_secs(1);
        while self.readers.iter().any(|reader| !reader.is_finished()) && Instant::now() < patience {
            thread::sleep(Duration::from_millis(5));
        }
        Ended { status, stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A service has a session of its own and would outlive a test that fails.
        let family = descendants(self.pid());
        let _ = killpg(self.pid(), Signal::SIGKILL);
        family.into_iter().for_each(|pid| kill(pid, Signal::SIGKILL).unwrap_or_default());
        let _ = self.child.wait();
    }
}

/// The children of a process, and theirs.
pub fn descendants(of: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    let parents: Vec<(Pid, Pid)> =
        pids.into_iter().filter_map(|pid| Some((Pid::from_raw(pid), parent(pid)?))).collect();
    let mut family = vec![of];
    let mut next = 0;
    while let Some(&member) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == member).map(|(pid, _)| *pid));
        next += 1;
    }
    family.split_off(1)
}

/// By proc_pid_stat(5); the name, in parentheses, may hold anything.
fn parent(pid: i32) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok().map(Pid::from_raw)
}

/// Fails the test where it cannot do what it must: mount, unshare, be another user.
pub fn require_root(what: &str) {
    assert!(nix::unistd::geteuid().is_root(), "run as root: {what}");
}

/// What an HTTP server on loopback answers: status and body.
pub fn get(port: u16, path: &str) -> (u16, String) {
    try_get(port, path).unwrap_or_else(|error| panic!("GET {path} on port {port}: {error}"))
}

/// As `get`, where there may be no server yet.
pub fn try_get(port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, body.to_owned()))
}

fn collect(stream: impl Read + Send + 'static) -> (Arc<Mutex<String>>, thread::JoinHandle<()>) {
    let text = Arc::new(Mutex::new(String::new()));
    let into = text.clone();
    let reader = thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
            into.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    (text, reader)
}

/// A folder of this test alone, readable by everybody, gone when this is dropped.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/var/tmp/dl-entry-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The binary under test where every user can start it.
    pub fn binary(&self) -> PathBuf {
        let path = self.join("dl-entry");
        if !path.exists() && std::fs::hard_link(binary(), &path).is_err() {
            std::fs::copy(binary(), &path).unwrap();
        }
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
