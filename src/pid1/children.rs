//! The programs started beside the service: those of a task, a temporary server. Each exit status goes to whoever
//! started the program; every other process that is reaped is an orphan.
//!
//! One place reaps at a time (`supervise`), and hands each status to `deliver`. All of it is on one thread, and nothing
//! reaps between the start of a program and its entry here, so that no status is lost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::exit;
use crate::identity::privilege::Unprivileged;
use crate::pid1::signals;
use crate::pid1::spawn::{self, SpawnError, Streams};
use crate::pid1::sys::{self, Ended};
use crate::plan::CommandLine;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(u8),
    Signal {
        number: i32,
        core: bool,
    },
    /// Somebody else took its status.
    Unknown,
}

impl Exit {
    /// The status to end with.
    pub fn status(&self) -> u8 {
        match self {
            Exit::Code(code) => *code,
            Exit::Signal { number, .. } => exit::of_signal(*number),
            Exit::Unknown => exit::INTERNAL,
        }
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Exit {
        match ended {
            Ended::Code(code) => Exit::Code(code as u8),
            Ended::Signal { number, core } => Exit::Signal { number, core },
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "ended with status {code}"),
            Exit::Signal { number, core } => {
                let dumped = if *core { ", and left a core dump" } else { "" };
                write!(f, "was ended by {}{dumped}", signals::name(*number))
            }
            Exit::Unknown => f.write_str("ended with a status that is not known"),
        }
    }
}

/// How a program is asked to end: the signals in this order, each with its time, and SIGKILL after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ladder {
    pub rungs: &'static [(i32, Duration)],
    /// Its whole process group is signalled: a shell does not pass a signal on. A server knows best by itself.
    pub whole_group: bool,
}

impl Ladder {
    /// For scripts and other programs that are not servers.
    pub const PROGRAM: Ladder = Ladder { rungs: &[(libc::SIGTERM, Duration::from_secs(5))], whole_group: true };

    /// The signal of a rung; beyond the last, SIGKILL.
    fn signal(&self, rung: usize) -> i32 {
        self.rungs.get(rung).map_or(libc::SIGKILL, |(signal, _)| *signal)
    }

    fn send(&self, pid: i32, rung: usize) {
        // Gone already: its status is on the way.
        let _ = sys::send_signal(if self.whole_group { -pid } else { pid }, self.signal(rung));
    }
}

/// All programs that run beside the service.
#[derive(Debug, Default)]
pub struct Children {
    running: RefCell<BTreeMap<i32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    ladder: Ladder,
    tell: oneshot::Sender<Exit>,
}

impl Children {
    /// Starts a program in a session of its own.
    ///
    /// # Errors
    /// As for the service.
    pub fn start(
        &self,
        command: &CommandLine,
        streams: Streams,
        ladder: Ladder,
        user: &Unprivileged,
    ) -> Result<Running<'_>, SpawnError> {
        let pid = spawn::spawn_beside(command, streams, user)?.pid();
        let (tell, ended) = oneshot::channel();
        self.running.borrow_mut().insert(pid, Entry { ladder, tell });
        Ok(Running { pid, children: self, ended })
    }

    /// Tells the one that started `pid` how it ended. `false`: nobody here did.
    pub fn deliver(&self, pid: i32, exit: Exit) -> bool {
        let entry = self.running.borrow_mut().remove(&pid);
        // Whoever started it may not care any more.
        entry.map(|entry| entry.tell.send(exit)).is_some()
    }

    /// Whether no program runs.
    pub fn is_empty(&self) -> bool {
        self.running.borrow().is_empty()
    }

    /// Asks every program to end by this rung of its ladder. The longest of the times they have.
    pub fn ask_to_end(&self, rung: usize) -> Option<Duration> {
        let running = self.running.borrow();
        running.iter().for_each(|(pid, entry)| entry.ladder.send(*pid, rung));
        running.values().filter_map(|entry| entry.ladder.rungs.get(rung).map(|(_, within)| *within)).max()
    }
}

/// A program that runs. Dropped, it is asked to end; `supervise` sees to it that it does.
#[derive(Debug)]
pub struct Running<'a> {
    pid: i32,
    children: &'a Children,
    ended: oneshot::Receiver<Exit>,
}

impl Running<'_> {
    /// Waits for the end. May be dropped and called again, until it has told.
    pub async fn ended(&mut self) -> Exit {
        (&mut self.ended).await.unwrap_or(Exit::Unknown)
    }

    /// Asks it to end rung by rung, and waits until it has.
    pub async fn stop(mut self) -> Exit {
        let Some(ladder) = self.children.running.borrow().get(&self.pid).map(|entry| entry.ladder) else {
            return self.ended().await;
        };
        for (rung, (_, within)) in ladder.rungs.iter().enumerate() {
            ladder.send(self.pid, rung);
            if let Ok(exit) = tokio::time::timeout(*within, self.ended()).await {
                return exit;
            }
        }
        ladder.send(self.pid, ladder.rungs.len());
        self.ended().await
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.children.running.borrow().get(&self.pid) {
            entry.ladder.send(self.pid, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_goes_to_the_one_that_waits_and_an_orphans_to_nobody() {
        let children = Children::default();
        let (tell, mut ended) = oneshot::channel();
        children.running.borrow_mut().insert(7, Entry { ladder: Ladder::PROGRAM, tell });
        assert!(!children.deliver(8, Exit::Code(1)));
        assert!(children.deliver(7, Exit::Code(3)));
        assert_eq!(ended.try_recv(), Ok(Exit::Code(3)));
        assert!(children.is_empty() && !children.deliver(7, Exit::Code(3)));
    }

    #[test]
    fn the_ladder_ends_with_kill() {
        assert_eq!([0, 1, 2].map(|rung| Ladder::PROGRAM.signal(rung)), [libc::SIGTERM, libc::SIGKILL, libc::SIGKILL]);
    }
}
