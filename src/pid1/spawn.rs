//! Starting the service: fork, a clean child, exec, and the exact reason where that fails.
//!
//! The child gets default signal actions, no blocked signal, descriptors 0 to 2, the sockets a socket activator passed
//! to us (sd_listen_fds(3)) and the environment of the plan. Everything it needs is prepared before the fork: between
//! fork and exec nothing may allocate, because another thread might have held the allocator's lock.

use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, Pid};

use crate::exit;
use crate::identity::privilege::Unprivileged;
use crate::pid1::signals::{self, Awaited};
use crate::pid1::sys::{self, Pointers};
use crate::plan::{CommandLine, DEFAULT_PATH};

/// The service, running.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    /// Whether its group was made the terminal's foreground one.
    terminal: bool,
}

impl Child {
    /// Its process id, which is its process group's too.
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Where its group had the terminal, our own has it again: who runs after us in it would otherwise be stopped by
    /// its first read (SIGTTIN), or find it closed. Where somebody else has taken it meanwhile, it stays theirs.
    pub fn return_terminal(&self) {
        let gone = |group: Pid| sys::send_signal(-group.as_raw(), 0) == Err(Errno::ESRCH);
        if self.terminal && foreground().is_some_and(|group| group == self.pid || gone(group)) {
            let _ = nix::unistd::tcsetpgrp(std::io::stdin(), nix::unistd::getpgrp());
        }
    }

    /// Follows a Ctrl-Z, or a read in the background, whose `signal` has stopped the service and not us. With the
    /// terminal back in our hands we stop of the same signal, so that the shell whose job we are sees it, and return
    /// when it resumes us. Where there is no shell the kernel does not stop us (an orphaned group, or process 1):
    /// nobody else could ever resume the service, so it goes on at once.
    pub fn follow_suspension(&self, signal: Signal) {
        let ours = nix::unistd::getpgrp();
        let had_terminal = foreground() == Some(self.pid);
        if had_terminal {
            let _ = nix::unistd::tcsetpgrp(std::io::stdin(), ours);
        }
        if had_terminal || foreground() != Some(ours) {
            let mut mask = sys::every_signal();
            mask.remove(signal);
            // The whole job, as from the terminal; taken where it is no longer blocked, which is here.
            let _ = sys::send_signal(0, signal as i32);
            sys::set_signal_mask(&mask);
            sys::set_signal_mask(&sys::every_signal());
        }
        // Resumed in the foreground, or never stopped; a job in the background is resumed by the SIGCONT we forward.
        if foreground() == Some(ours) {
            let _ = nix::unistd::tcsetpgrp(std::io::stdin(), self.pid);
            let _ = sys::send_signal(-self.pid(), libc::SIGCONT);
        }
    }

    /// Whether the service shares a terminal with us.
    pub fn has_terminal(&self) -> bool {
        self.terminal
    }
}

/// The terminal's foreground group.
fn foreground() -> Option<Pid> {
    nix::unistd::tcgetpgrp(std::io::stdin()).ok()
}

/// Why a program could not be started.
#[derive(Debug)]
pub enum SpawnError {
    /// Found nowhere on the child's PATH, or not at the path given.
    NotFound { program: PathBuf, path: Option<OsString> },
    /// The file exists and what it names to run it does not.
    NoInterpreter { program: PathBuf, interpreter: String },
    /// A script whose first line ends with a carriage return, which belongs to the interpreter's name for the kernel.
    WindowsLines { program: PathBuf, line: String },
    /// The file exists and cannot be executed.
    NotExecutable { program: PathBuf, reason: String },
    /// The working directory cannot be entered.
    Directory { path: PathBuf, errno: Errno },
    /// A text with a NUL byte cannot be passed on.
    Nul { what: &'static str },
    /// A signal asked to end before it was executed, which may take long (a network file system).
    Asked,
    /// fork or pipe failed.
    System { call: &'static str, errno: Errno },
}

impl SpawnError {
    /// 126, 127, or what a failing system ends with.
    pub fn status(&self) -> u8 {
        match self {
            SpawnError::NotFound { .. } | SpawnError::NoInterpreter { .. } | SpawnError::WindowsLines { .. } => {
                exit::NOT_FOUND
            }
            SpawnError::NotExecutable { .. } | SpawnError::Nul { .. } => exit::NOT_EXECUTABLE,
            SpawnError::Directory { .. } | SpawnError::Asked | SpawnError::System { .. } => exit::SYSTEM,
        }
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SpawnError::NotFound { program, path: Some(path) } => {
                write!(f, "{} is not found on PATH ({})", program.display(), path.display())
            }
            SpawnError::NotFound { program, path: None } => write!(f, "{} does not exist", program.display()),
            SpawnError::NoInterpreter { program, interpreter } => {
                write!(f, "{} needs {interpreter}, which does not exist", program.display())
            }
            SpawnError::WindowsLines { program, line } => write!(
                f,
                "{0} has Windows line endings (CRLF): no interpreter is called `{line}\\r`\n  save it with Unix line \
                 endings: sed -i 's/\\r$//' {0}",
                program.display()
            ),
            SpawnError::NotExecutable { program, reason } => {
                write!(f, "{} cannot be executed: {reason}", program.display())
            }
            SpawnError::Directory { path, errno } => {
                write!(f, "the working directory {} cannot be entered: {}", path.display(), errno.desc())
            }
            SpawnError::Asked => f.write_str("a signal asked to end before the program was started"),
            SpawnError::Nul { what } => write!(f, "{what} has a NUL byte in it"),
            SpawnError::System { call, errno } => write!(f, "{call} failed: {}", errno.desc()),
        }
    }
}

/// Descriptors of a program. A standard stream that is not given is ours.
#[derive(Debug, Default)]
pub struct Streams<'a> {
    pub input: Option<OwnedFd>,
    pub output: Option<OwnedFd>,
    /// Stays open in the program, under the number it has here: a lock that must last as long as the program.
    pub held: &'a [OwnedFd],
}

/// Starts the service as a process group of its own: the terminal's foreground one where we have a terminal, a new
/// session otherwise. Returns once it has been executed, or the reason why not.
///
/// # Errors
/// `SpawnError`, with the status to end with.
pub fn spawn(command: &CommandLine, held: &[OwnedFd], user: &Unprivileged) -> Result<Child, SpawnError> {
    start(command, Streams { held, ..Streams::default() }, has_terminal(), user)
}

/// Starts a program beside the service, in a session of its own.
///
/// # Errors
/// As `spawn`.
pub fn spawn_beside(command: &CommandLine, streams: Streams, user: &Unprivileged) -> Result<Child, SpawnError> {
    start(command, streams, false, user)
}

fn start(command: &CommandLine, streams: Streams, terminal: bool, _: &Unprivileged) -> Result<Child, SpawnError> {
    let mut prepared = Prepared::new(command, &streams)?;
    let (reader, writer) =
        nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| SpawnError::System { call: "pipe2", errno })?;
    match sys::fork().map_err(|errno| SpawnError::System { call: "fork", errno })? {
        ForkResult::Child => {
            own_group(terminal);
            prepared.execute_and_report(&writer)
        }
        ForkResult::Parent { child } => {
            drop(writer);
            if terminal {
                // Both sides do it, so that whoever is first finds it done.
                let _ = nix::unistd::setpgid(child, child);
            }
            prepared.outcome(Child { pid: child, terminal }, reader)
        }
    }
}

/// Becomes the command; returns only where that fails.
pub fn replace(command: &CommandLine, held: &[OwnedFd], _: &Unprivileged) -> SpawnError {
    let mut prepared = match Prepared::new(command, &Streams { held, ..Streams::default() }) {
        Ok(prepared) => prepared,
        Err(error) => return error,
    };
    let (step, errno) = prepared.execute();
    prepared.explain(step, errno)
}

/// The step that failed between fork and exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Directory,
    Execute,
}

struct Prepared {
    program: PathBuf,
    path: CString,
    arguments: Pointers,
    environment: Pointers,
    directory: Option<(PathBuf, CString)>,
    sockets: Option<Sockets>,
    /// Standard input and output, where they are not ours.
    input: Option<RawFd>,
    output: Option<RawFd>,
    held: Vec<RawFd>,
}

/// Descriptors from 3 on that are meant for the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sockets {
    count: u16,
    /// Of `LISTEN_PID` in the environment: whoever reads it must find their own number there.
    pid_at: usize,
}

impl Sockets {
    /// By `LISTEN_FDS` and `LISTEN_PID`, where the latter is us.
    fn passed_to(own: Pid, environment: &[(OsString, OsString)]) -> Option<Sockets> {
        let value = |name: &str| environment.iter().find(|(other, _)| other == name)?.1.to_str();
        let count = value("LISTEN_FDS")?.parse().ok().filter(|count| *count > 0)?;
        let pid: i32 = value("LISTEN_PID")?.parse().ok()?;
        let pid_at = environment.iter().position(|(name, _)| name == "LISTEN_PID")?;
        (pid == own.as_raw()).then_some(Sockets { count, pid_at })
    }
}

/// Room for any process id.
const LONGEST_PID: &str = "4294967295";

impl Prepared {
    fn new(command: &CommandLine, streams: &Streams) -> Result<Prepared, SpawnError> {
        let name = command.argv.first().map(OsString::as_os_str).unwrap_or_default();
        let program = find_program(name, &command.environment)?;
        refuse_windows_lines(&program)?;
        let arguments =
            command.argv.iter().map(|argument| c_string(argument, "an argument")).collect::<Result<Vec<_>, _>>()?;
        let sockets = Sockets::passed_to(nix::unistd::getpid(), &command.environment);
        let pid_at = sockets.map(|sockets| sockets.pid_at);
        let environment = command.environment.iter().enumerate().map(|(index, (name, value))| {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(if Some(index) == pid_at { OsStr::new(LONGEST_PID) } else { value });
            c_string(&pair, "an environment variable")
        });
        let directory = command.working_directory.as_ref();
        let directory = directory
            .map(|path| Ok((path.clone(), c_string(path.as_os_str(), "the working directory")?)))
            .transpose()?;
        Ok(Prepared {
            path: c_string(program.as_os_str(), "the program")?,
            program,
            arguments: arguments.into(),
            environment: environment.collect::<Result<Vec<_>, _>>()?.into(),
            directory,
            sockets,
            input: streams.input.as_ref().map(AsRawFd::as_raw_fd),
            output: streams.output.as_ref().map(AsRawFd::as_raw_fd),
            held: streams.held.iter().map(AsRawFd::as_raw_fd).collect(),
        })
    }

    /// Async-signal-safe from here to the end of the function.
    fn execute(&mut self) -> (Step, Errno) {
        if let Some((_, directory)) = &self.directory
            && let Err(errno) = nix::unistd::chdir(directory.as_c_str())
        {
            return (Step::Directory, errno);
        }
        if let Some(Sockets { pid_at, .. }) = self.sockets {
            self.environment.set_number(pid_at, nix::unistd::getpid().as_raw() as u32);
        }
        // Every descriptor of ours is above 2, so that neither hides the other.
        self.input.iter().for_each(|input| sys::duplicate_onto(*input, libc::STDIN_FILENO));
        self.output.iter().for_each(|output| sys::duplicate_onto(*output, libc::STDOUT_FILENO));
        sys::close_on_exec_from(3 + self.sockets.map_or(0, |sockets| i32::from(sockets.count)));
        self.held.iter().for_each(|held| sys::keep_on_exec(*held));
        sys::reset_signal_actions();
        sys::set_signal_mask(&SigSet::empty());
        (Step::Execute, sys::execute(&self.path, &self.arguments, &self.environment))
    }

    fn execute_and_report(&mut self, writer: &OwnedFd) -> ! {
        let (step, errno) = self.execute();
        let message = [step as u8, errno as i32 as u8, (errno as i32 >> 8) as u8];
        let _ = nix::unistd::write(writer.as_fd(), &message);
        // Nothing of the parent's may run in its copy: no destructors, no buffers.
        sys::end_now(127)
    }

    /// The pipe closes by itself when exec succeeds.
    fn outcome(&self, child: Child, reader: OwnedFd) -> Result<Child, SpawnError> {
        if matches!(signals::await_readable_or_stop(&reader), Ok(Awaited::Stop)) && !is_readable(&reader) {
            // Still a copy of ours, which has every other signal blocked. Nobody waits for what a disk may hold.
            let _ = sys::send_signal(child.pid(), libc::SIGKILL);
            child.return_terminal();
            return Err(SpawnError::Asked);
        }
        let mut message = Vec::new();
        // A pipe that cannot be read says as little as one that closed.
        let _ = std::fs::File::from(reader).read_to_end(&mut message);
        let [step, low, high] = message[..] else { return Ok(child) };
        child.return_terminal();
        let step = if step == Step::Directory as u8 { Step::Directory } else { Step::Execute };
        Err(self.explain(step, Errno::from_raw(i32::from(low) | i32::from(high) << 8)))
    }

    fn explain(&self, step: Step, errno: Errno) -> SpawnError {
        if let (Step::Directory, Some((path, _))) = (step, &self.directory) {
            return SpawnError::Directory { path: path.clone(), errno };
        }
        explain_exec(&self.program, errno)
    }
}

/// Whether a read would not wait.
fn is_readable(reader: &OwnedFd) -> bool {
    let mut readable = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    poll(&mut readable, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

fn c_string(text: &OsStr, what: &'static str) -> Result<CString, SpawnError> {
    CString::new(text.as_bytes()).map_err(|_| SpawnError::Nul { what })
}

/// Whether our standard input is our session's terminal and nobody else is using it.
fn has_terminal() -> bool {
    let stdin = std::io::stdin();
    let session = nix::unistd::getsid(None);
    let ours = nix::sys::termios::tcgetsid(&stdin).is_ok_and(|terminal| Ok(terminal) == session);
    // In the background of somebody's shell, the terminal is in use.
    ours && nix::unistd::tcgetpgrp(&stdin) == Ok(nix::unistd::getpgrp())
}

/// With a terminal, the child becomes its foreground group: Ctrl-C reaches it once, from the kernel, and a shell has
/// job control. Without one it gets a session of its own.
fn own_group(terminal: bool) {
    if !terminal {
        let _ = nix::unistd::setsid();
        return;
    }
    let own = nix::unistd::getpid();
    let _ = nix::unistd::setpgid(own, own);
    // SIGTTOU is still blocked here, so that a background process may do this (tcsetpgrp(3)).
    let _ = nix::unistd::tcsetpgrp(std::io::stdin(), own);
}

/// Looks for a name without a slash on the PATH the child will have; never asks a shell. Unlike execvp(3), an empty
/// part of PATH is not the present folder, and an empty PATH is none.
fn find_program(name: &OsStr, environment: &[(OsString, OsString)]) -> Result<PathBuf, SpawnError> {
    let program = PathBuf::from(name);
    if name.as_bytes().contains(&b'/') {
        return match program.symlink_metadata() {
            Ok(_) => Ok(program),
            Err(_) => Err(SpawnError::NotFound { program, path: None }),
        };
    }
    let path = environment.iter().find(|(name, path)| name == "PATH" && !path.is_empty());
    let path = path.map_or_else(|| DEFAULT_PATH.into(), |(_, path)| path.clone());
    let folders = || std::env::split_paths(&path).filter(|folder| !folder.as_os_str().is_empty());
    let candidates = || folders().map(|folder| folder.join(&program)).filter(|file| file.is_file());
    let executable = |file: &PathBuf| nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok();
    // One that may not be executed is found too where there is no better: the reason is then known.
    candidates()
        .find(executable)
        .or_else(|| candidates().next())
        .ok_or(SpawnError::NotFound { program, path: Some(path) })
}

/// With some interpreters (`env`) the kernel succeeds, and the error is one that nobody understands.
fn refuse_windows_lines(program: &Path) -> Result<(), SpawnError> {
    let head = first_bytes(program);
    let line = head.strip_prefix(b"#!").and_then(|head| head.split(|byte| *byte == b'\n').next());
    match line.and_then(|line| line.strip_suffix(b"\r")) {
        None => Ok(()),
        Some(line) => {
            let line = String::from_utf8_lossy(line).trim().to_owned();
            Err(SpawnError::WindowsLines { program: program.to_owned(), line })
        }
    }
}

fn explain_exec(program: &Path, errno: Errno) -> SpawnError {
    let refused = |reason: String| SpawnError::NotExecutable { program: program.to_owned(), reason };
    let head = first_bytes(program);
    match errno {
        Errno::ENOENT | Errno::ENOTDIR => match interpreter(&head) {
            Some(interpreter) => SpawnError::NoInterpreter { program: program.to_owned(), interpreter },
            None => SpawnError::NotFound { program: program.to_owned(), path: None },
        },
        Errno::EACCES if program.is_dir() => refused("it is a directory".into()),
        Errno::EACCES if program.metadata().is_ok_and(|metadata| !metadata.is_file()) => {
            refused("it is not a regular file".into())
        }
        Errno::EACCES => {
            let mode = program.metadata().map(|metadata| metadata.permissions().mode() & 0o7777).unwrap_or(0);
            let user = nix::unistd::geteuid();
            let advice = if mode & 0o111 == 0 {
                "it is not executable (chmod +x)"
            } else {
                "permission denied, or its file system is mounted noexec"
            };
            refused(format!("{advice}; mode {mode:04o}, uid {user}"))
        }
        Errno::ENOEXEC if head.starts_with(b"\x7fELF") => {
            refused(format!("it is built for another machine ({})", machine(&head)))
        }
        Errno::ENOEXEC if head.is_empty() => refused("it is empty".into()),
        Errno::ENOEXEC if head.starts_with("\u{feff}#!".as_bytes()) => {
            refused("a byte order mark comes before the #! of its first line".into())
        }
        Errno::ENOEXEC => refused("it is no binary and its first line names no interpreter (#!/bin/sh)".into()),
        Errno::E2BIG => refused("arguments and environment together are too long".into()),
        errno => refused(errno.desc().to_lowercase()),
    }
}

/// The beginning of a regular file; nothing of any other kind: opening a pipe would wait for its other end.
fn first_bytes(program: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    // Whatever it becomes between the look and the open, neither it nor the read waits.
    let open = || std::fs::File::options().read(true).custom_flags(libc::O_NONBLOCK).open(program);
    if program.metadata().is_ok_and(|metadata| metadata.is_file())
        && let Ok(file) = open()
    {
        // An unreadable file adds nothing to the reason.
        let _ = file.take(4096).read_to_end(&mut head);
    }
    head
}

/// The path behind `#!`, or in an ELF file's PT_INTERP segment (elf(5), 64-bit little-endian).
fn interpreter(head: &[u8]) -> Option<String> {
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        return String::from_utf8_lossy(line).split_whitespace().next().map(str::to_owned);
    }
    let number = |at: usize, size: usize| -> Option<usize> {
        let bytes = head.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    let segment = (0..count).map(|index| table + index * size).find(|at| number(*at, 4) == Some(3))?;
    let (start, length) = (number(segment + 8, 8)?, number(segment + 32, 8)?);
    let path = head.get(start..start + length)?;
    Some(String::from_utf8_lossy(path).trim_end_matches('\0').to_owned())
}

/// `e_machine` of an ELF file, by name where it is one of ours.
fn machine(head: &[u8]) -> String {
    match head.get(18..20) {
        Some([62, 0]) => "amd64".into(),
        Some([183, 0]) => "arm64".into(),
        Some([low, high]) => format!("ELF machine {}", u16::from_le_bytes([*low, *high])),
        _ => "unknown".into(),
    }
}
