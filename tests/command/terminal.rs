//! With a terminal: a real one, whose other end a test holds.

use crate::LONG;
use crate::support::{descendants, entry, until};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A process that leads a session whose terminal is ours.
struct Terminal {
    child: Child,
    keyboard: Option<File>,
    reader: Option<std::thread::JoinHandle<()>>,
    hung_up: Arc<AtomicBool>,
    screen: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(mut command: Command) -> Terminal {
        let (master, slave) = pair();
        let copy = || slave.try_clone().unwrap();
        command.stdin(copy()).stdout(copy()).stderr(copy());
        // SAFETY: both calls are async-signal-safe; 0 is the terminal by now.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                nix::errno::Errno::result(libc::ioctl(0, libc::TIOCSCTTY, 0))?;
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        drop((slave, command));
        let keyboard = File::from(master);
        let screen = Arc::new(Mutex::new(String::new()));
        let hung_up = Arc::new(AtomicBool::new(false));
        let (mut from, into, over) = (keyboard.try_clone().unwrap(), screen.clone(), hung_up.clone());
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while !over.load(Ordering::Relaxed) {
                let mut readable = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                if poll(&mut readable, 50u8) == Ok(0) {
                    continue;
                }
                let Ok(length @ 1..) = from.read(&mut piece) else { return };
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        Terminal { child, keyboard: Some(keyboard), reader: Some(reader), hung_up, screen }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap().clone()
    }

    fn type_in(&mut self, text: &str) {
        self.keyboard.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn shows(&self, text: &str) {
        until(LONG, &format!("{text:?} on\n{}", self.screen()), || self.screen().contains(text).then_some(()));
    }

    fn foreground(&self) -> Pid {
        nix::unistd::tcgetpgrp(self.keyboard.as_ref().unwrap().as_fd()).unwrap()
    }

    /// Closes our end, the reader's copy too.
    fn hang_up(&mut self) {
        self.hung_up.store(true, Ordering::Relaxed);
        self.reader.take().unwrap().join().unwrap();
        drop(self.keyboard.take());
    }

    fn ended(mut self) -> i32 {
        let status = until(LONG, "the end", || self.child.try_wait().unwrap());
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let family = descendants(self.pid());
        let _ = self.child.kill();
        family.into_iter().for_each(|pid| kill(pid, Signal::SIGKILL).unwrap_or_default());
        let _ = self.child.wait();
    }
}

/// Both ends, which no child inherits: only so can a terminal hang up (pts(4)).
fn pair() -> (OwnedFd, File) {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname_r(&master).unwrap();
    let slave = File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(name).unwrap();
    (master.as_fd().try_clone_to_owned().unwrap(), slave)
}

/// Longer than a second signal, a stop or a message would take to come.
fn a_moment() {
    std::thread::sleep(Duration::from_millis(400));
}

fn state(pid: Pid) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("State:\t")).unwrap().to_owned()
}

/// Behaviours: 52.
#[test]
fn an_interactive_shell_has_job_control() {
    let mut terminal = Terminal::start(entry(&["bash", "--norc", "-i"]));
    terminal.type_in("set -o | grep monitor; sleep 1000 & jobs\n");
    terminal.shows("monitor        \ton");
    terminal.shows("Running");
    assert!(!terminal.screen().contains("job control") && !terminal.screen().contains("terminal process group"));
    terminal.type_in("kill %1; exit 5\n");
    assert_eq!(terminal.ended(), 5);
}

/// Behaviours: 53.
#[test]
fn control_c_is_one_sigint() {
    let script = "n=0; trap 'n=$((n+1)); echo heard $n' INT; echo up; while :; do sleep 0.05; done";
    let mut terminal = Terminal::start(entry(&["sh", "-c", script]));
    terminal.shows("up\r\n");
    assert_eq!(terminal.foreground(), *descendants(terminal.pid()).first().unwrap());
    terminal.type_in("\x03");
    terminal.shows("heard 1\r\n");
    a_moment();
    assert!(!terminal.screen().contains("heard 2"), "{}", terminal.screen());
}

/// Behaviours: 54.
#[test]
fn suspending_resuming_and_resizing_work_under_a_shell() {
    let mut terminal = Terminal::start(entry(&["bash", "--norc", "-i"]));
    terminal.type_in("sh -c 'echo up; sleep 1000'; echo after $((1+1))\n");
    terminal.shows("up\r\n");
    terminal.type_in("\x1a");
    terminal.shows("Stopped");
    terminal.type_in("fg\n");
    until(LONG, "it runs again", || {
        let foreground = terminal.foreground();
        std::fs::read_to_string(format!("/proc/{foreground}/comm")).ok().filter(|name| name != "bash\n")
    });
    terminal.type_in("\x03");
    terminal.type_in("trap 'stty size' WINCH; echo set $((2+2))\n");
    terminal.shows("set 4");
    let size = libc::winsize { ws_row: 50, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    let master = std::os::fd::AsRawFd::as_raw_fd(terminal.keyboard.as_ref().unwrap());
    // SAFETY: the descriptor is open and the pointer is to a live winsize.
    assert_eq!(unsafe { libc::ioctl(master, libc::TIOCSWINSZ, &size) }, 0);
    terminal.type_in("\n");
    terminal.shows("50 120");
}

/// Behaviours: 33.
#[test]
fn a_program_that_was_stopped_is_resumed_through_us() {
    let terminal = Terminal::start(entry(&["sh", "-c", "echo up; exec sleep 1000"]));
    terminal.shows("up\r\n");
    let main = *descendants(terminal.pid()).first().unwrap();
    kill(terminal.pid(), Signal::SIGTSTP).unwrap();
    until(LONG, "it is stopped", || state(main).starts_with('T').then_some(()));
    assert!(!state(terminal.pid()).starts_with('T'));
    kill(terminal.pid(), Signal::SIGCONT).unwrap();
    until(LONG, "it runs again", || state(main).starts_with('S').then_some(()));
    kill(terminal.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(terminal.ended(), 143);
}

/// Behaviours: 55.
#[test]
fn what_we_write_to_the_terminal_does_not_stop_us() {
    let script = "stty tostop; trap 'echo heard' USR1; echo up; while :; do sleep 0.05; done";
    let mut command = entry(&["sh", "-c", script]);
    command.env("DL_LOG_LEVEL", "debug");
    let terminal = Terminal::start(command);
    terminal.shows("up\r\n");
    kill(terminal.pid(), Signal::SIGUSR1).unwrap();
    terminal.shows("forwarding SIGUSR1");
    terminal.shows("heard\r\n");
    assert!(!state(terminal.pid()).starts_with('T'));
}

/// Behaviours: 56.
#[test]
fn a_terminal_that_somebody_else_is_using_is_left_to_them() {
    let mut command = Command::new("bash");
    command.args(["--norc", "-i"]).env("ENTRY", crate::support::binary());
    let mut terminal = Terminal::start(command);
    terminal.type_in("\"$ENTRY\" init -- sh -c 'echo program; sleep 1000' &\n");
    terminal.shows("program\r\n");
    a_moment();
    assert_eq!(terminal.foreground(), terminal.pid());
    terminal.type_in("echo still $((1+1))\n");
    terminal.shows("still 2\r\n");
}

/// Behaviours: 57.
#[test]
fn a_terminal_that_hangs_up_ends_the_service_and_us() {
    let mut terminal = Terminal::start(entry(&["sh", "-c", "echo up; exec sleep 1000"]));
    terminal.shows("up\r\n");
    terminal.hang_up();
    assert_eq!(terminal.ended(), 129);
}

/// Says what it reads.
const READER: &str = "echo up; read line; echo got $line; read line; exit 5";

/// Behaviours: 54.
#[test]
fn without_a_shell_around_control_z_does_not_hang_the_service() {
    let own = crate::support::binary();
    let mut namespace = Command::new("unshare");
    namespace.args(["-p", "-f", "--mount-proc", "--kill-child", "setsid", "-c"]).arg(own).args(["sh", "-c", READER]);
    namespace.env("DL_NAME_SERVICE", "off");
    for command in [entry(&["sh", "-c", READER]), namespace] {
        let mut terminal = Terminal::start(command);
        terminal.shows("up\r\n");
        terminal.type_in("\x1a");
        a_moment();
        terminal.type_in("one\n");
        terminal.shows("got one\r\n");
        terminal.type_in("two\n");
        assert_eq!(terminal.ended(), 5);
    }
}

/// Behaviours: 54.
#[test]
fn under_a_shell_control_z_gives_it_the_terminal_and_fg_resumes_the_service() {
    let mut command = Command::new("bash");
    command.args(["--norc", "-i"]).env("ENTRY", crate::support::binary()).env("READER", READER);
    command.env("DL_NAME_SERVICE", "off");
    let mut terminal = Terminal::start(command);
    terminal.type_in("\"$ENTRY\" init -- sh -c \"$READER\"\n");
    terminal.shows("up\r\n");
    for round in 1..=2 {
        terminal.type_in("\x1a");
        until(LONG, "it is stopped", || (terminal.screen().matches("Stopped").count() == round).then_some(()));
        terminal.type_in(&format!("echo shell $((1+{round}))\n"));
        terminal.shows(&format!("shell {}\r\n", 1 + round));
        terminal.type_in("fg\n");
        until(LONG, "it has the terminal", || (terminal.foreground() != terminal.pid()).then_some(()));
        a_moment();
    }
    terminal.type_in("bg\n");
    terminal.shows("got bg\r\n");
    terminal.type_in("\x1a");
    until(LONG, "it is stopped", || (terminal.screen().matches("Stopped").count() == 3).then_some(()));
    // In the background it stops again at its next read, and says so to the shell.
    terminal.type_in("bg\n");
    terminal.type_in("\n");
    a_moment();
    terminal.type_in("\n");
    until(LONG, "it is stopped by its read", || (terminal.screen().matches("Stopped").count() == 4).then_some(()));
    terminal.type_in("fg\n");
    a_moment();
    terminal.type_in("two\n");
    a_moment();
    terminal.type_in("echo status $?\n");
    terminal.shows("status 5\r\n");
}

/// Behaviours: 56.
#[test]
fn whoever_comes_after_us_in_a_terminal_has_it_again() {
    for program in ["sh -c 'exit 5'", "/no/such/program", "bash --norc -ic 'exit 5'"] {
        let script = format!("\"$ENTRY\" init -- {program}; echo ended $?; read line; echo got $line");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env("ENTRY", crate::support::binary()).env("DL_NAME_SERVICE", "off");
        let mut terminal = Terminal::start(command);
        terminal.shows(if program.starts_with('/') { "ended 127\r\n" } else { "ended 5\r\n" });
        terminal.type_in("word\n");
        terminal.shows("got word\r\n");
    }
}

/// Behaviours: 68.
#[test]
fn a_terminal_that_outlives_us_keeps_its_owner() {
    let mut command = entry(&["sh", "-c", "echo up"]);
    let (_master, slave) = pair();
    let owner = || nix::sys::stat::fstat(&slave).unwrap().st_uid;
    let before = owner();
    let copy = || slave.try_clone().unwrap();
    let mut child = command.stdin(copy()).stdout(copy()).stderr(copy()).spawn().unwrap();
    assert!(until(LONG, "the end", || child.try_wait().unwrap()).success());
    assert_eq!(owner(), before);
}
