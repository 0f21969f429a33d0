//! A process of the binary under test: started, listened to, signalled, and gone when the test ends.
//!
//! Shared by the test programs (`#[path = "../support/mod.rs"] mod support;`), each of which uses a part of it.
#![allow(dead_code)]

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

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
    command
}

/// A port nothing listened on a moment ago, on loopback.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
    pub fn start(mut command: Command) -> Running {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: setsid is async-signal-safe.
        unsafe { command.pre_exec(|| nix::unistd::setsid().map(drop).map_err(Into::into)) };
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        let (stdout, one) = collect(child.stdout.take().unwrap());
        let (stderr, other) = collect(child.stderr.take().unwrap());
        Running { child, stdout, stderr, readers: vec![one, other] }
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
        self.child.try_wait().unwrap().is_some()
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
        let _ = killpg(self.pid(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
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
        let path = PathBuf::from(format!("/var/tmp/dl-entry-{name}-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
