//! Signals, blocked from the first statement of `main` and read one by one from a signalfd(2).
//!
//! Blocked signals are kept by the kernel, for PID 1 too, which would otherwise lose every signal it has no handler
//! for. Read from a descriptor they come in order and with their number, real-time ones included, which a handler
//! that sets flags cannot give. The service has none blocked, whatever this process was started with.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd, siginfo};
use tokio::io::unix::AsyncFd;

use crate::pid1::sys::Reaped;

/// Signals that ask a program to end.
pub const STOPS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// Every signal sent to this process, from now to its end: dropping this unblocks none.
#[derive(Debug)]
pub struct Signals {
    descriptor: Descriptor,
    inherited: SigSet,
    /// Read, and not yet asked for.
    queue: VecDeque<i32>,
}

#[derive(Debug)]
enum Descriptor {
    Plain(SignalFd),
    /// Known to the runtime, from the first `next` on.
    Watched(AsyncFd<SignalFd>),
    /// Only while one becomes the other.
    Changing,
}

impl Signals {
    /// Blocks every signal, and makes sure that children can be waited for. A fault of our own still ends us: the
    /// kernel gives a blocked SIGSEGV that it raises itself its default action (`force_sig`).
    ///
    /// # Errors
    /// The system refused, which it has no reason to.
    pub fn block() -> io::Result<Signals> {
        let mask = crate::pid1::sys::every_signal();
        let inherited = crate::pid1::sys::set_signal_mask(&mask);
        // Inherited as ignored, the kernel would reap our children itself and their status would be lost (wait(2)).
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        crate::pid1::sys::set_action(Signal::SIGCHLD, &default)?;
        let descriptor = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Signals { descriptor: Descriptor::Plain(descriptor), inherited, queue: VecDeque::new() })
    }

    /// Takes them as any program does, with the mask of before; as process 1, too, which the kernel would let ignore
    /// what asks it to end (pid_namespaces(7)).
    ///
    /// Only for what looks and ends: where a service has run, a signal that comes at the very end must not take the
    /// place of its status.
    pub fn restore(self) {
        if std::process::id() == 1 {
            STOPS.iter().filter_map(|stop| Signal::try_from(*stop).ok()).for_each(crate::pid1::sys::end_on);
        }
        crate::pid1::sys::set_signal_mask(&self.inherited);
    }

    /// The first signal so far that asks us to end, without waiting; all others stay for `next`.
    pub fn pending_stop(&mut self) -> Option<i32> {
        self.read_all();
        let index = self.queue.iter().position(|signal| STOPS.contains(signal))?;
        self.queue.remove(index)
    }

    /// Drops what `pending_stop` has left: meant for a service that does not run yet, which might die of it.
    pub fn forget(&mut self) {
        self.queue.clear();
    }

    /// The next signal, in the order they came. Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> i32 {
        loop {
            if let Some(signal) = self.queue.pop_front() {
                return signal;
            }
            self.readable().await;
            self.read_all();
        }
    }

    async fn readable(&mut self) {
        if let Descriptor::Plain(_) = self.descriptor {
            self.descriptor = match std::mem::replace(&mut self.descriptor, Descriptor::Changing) {
                Descriptor::Plain(descriptor) => match crate::pid1::sys::watch(descriptor) {
                    Ok(watched) => Descriptor::Watched(watched),
                    // The runtime is out of descriptors: there is nobody to tell but the one who started us.
                    Err(error) => panic!("signals cannot be watched: {error}"),
                },
                other => other,
            };
        }
        if let Descriptor::Watched(watched) = &self.descriptor
            && let Ok(mut ready) = watched.readable().await
        {
            ready.clear_ready();
        }
    }

    fn read_all(&mut self) {
        let descriptor = match &self.descriptor {
            Descriptor::Plain(descriptor) => descriptor,
            Descriptor::Watched(watched) => watched.get_ref(),
            Descriptor::Changing => return,
        };
        loop {
            match descriptor.read_signal() {
                Ok(Some(information)) if is_of_our_own_writing(&information) => {}
                Ok(Some(information)) => self.queue.push_back(information.ssi_signo as i32),
                Ok(None) => return,
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }
}

/// SIGPIPE for a line of ours that nobody reads any more: blocked, it is kept although it is ignored, and is not for
/// the service, which might die of it. That of somebody else has another sender.
fn is_of_our_own_writing(information: &siginfo) -> bool {
    information.ssi_signo as i32 == libc::SIGPIPE && information.ssi_pid == std::process::id()
}

/// The first event seen by `await_readable`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    Readable,
    /// A signal that asks to end; it stays pending, for `Signals::pending_stop`.
    Stop,
    Deadline,
}

/// Waits, without a runtime and before the service runs, until `file` can be read or its writer is gone. While
/// `Signals` has them blocked, a signal that asks to end is seen too: a descriptor that nobody reads from leaves the
/// signal where it is (signalfd(2)). Orphans are reaped meanwhile.
///
/// # Errors
/// The descriptor or signal that became ready.
pub fn await_readable(file: &impl AsFd, deadline: Instant) -> io::Result<Awaited> {
    let children = watched(&[libc::SIGCHLD])?;
    await_either(file, Some(&children), deadline)
}

/// The same for as long as it takes, where a child's status is somebody else's to read.
///
/// # Errors
/// As `await_readable`.
pub fn await_readable_or_stop(file: &impl AsFd) -> io::Result<Awaited> {
    const FOR_EVER: Duration = Duration::from_secs(1 << 32);
    await_either(file, None, Instant::now() + FOR_EVER)
}

fn await_either(file: &impl AsFd, children: Option<&SignalFd>, deadline: Instant) -> io::Result<Awaited> {
    let stops = Stops::new()?;
    let watch = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
    let mut all = vec![watch(stops.0.as_fd()), watch(file.as_fd())];
    all.extend(children.map(|children| watch(children.as_fd())));
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match poll(&mut all, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
            Ok(0) if left.is_zero() => return Ok(Awaited::Deadline),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) if all[0].any() == Some(true) => return Ok(Awaited::Stop),
            Ok(_) if all[1].any() == Some(true) => return Ok(Awaited::Readable),
            Ok(_) => children.into_iter().for_each(reap_all),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// One SIGCHLD may stand for many.
fn reap_all(children: &SignalFd) {
    let _ = children.read_signal();
    while let Ok(Reaped::Child(..)) = crate::pid1::sys::reap() {}
}

fn watched(signals: &[i32]) -> io::Result<SignalFd> {
    let signals: SigSet = signals.iter().filter_map(|signal| Signal::try_from(*signal).ok()).collect();
    Ok(SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Tells, without a runtime and without taking it, whether a signal asks to end.
#[derive(Debug)]
pub struct Stops(SignalFd);

impl Stops {
    /// # Errors
    /// Those of signalfd(2).
    pub fn new() -> io::Result<Stops> {
        watched(&STOPS).map(Stops)
    }

    /// Whether one is pending; it stays so, for `Signals::pending_stop`.
    pub fn asked(&self) -> bool {
        let mut descriptor = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut descriptor, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

/// `SIGTERM`, or the number where there is no name.
pub fn name(signal: i32) -> String {
    match signal_hook::low_level::signal_name(signal) {
        Some(name) => name.to_owned(),
        None => format!("signal {signal}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_signal_7() {
        assert_eq!(name(15), "SIGTERM");
        assert_eq!(name(40), "signal 40");
    }
}
