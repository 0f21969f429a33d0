//! PID 1 at work: forward every signal, reap everybody, stop the service rung by rung, end with its status.
//!
//! `step` decides and is pure; the loop around it carries out what it says. The loop waits for a signal, a deadline or
//! a rung's request, and for nothing else: idle means no wake-ups.
//!
//! Signals go to the service's main process, which knows best what its children should hear; what is left of the
//! service when that process ends hears SIGTERM, gets a moment, and SIGKILL. SIGTERM and SIGINT ask to stop: they
//! start the contract's ladder, and a second one skips to the next rung. Without a ladder (`init`, a shell) every
//! signal goes through as it is, and only SIGTERM sets a deadline.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use nix::unistd::Pid;
use tokio::time::Instant;

use crate::container;
use crate::exit;
use crate::plan::{HttpProbe, StopAction, StopRung};
use crate::process::Child;
use crate::processes;
use crate::signals::{self, STOPS, Signals};
use crate::system::{self, Ended, Reaped};

/// What is left of a service gets this long after SIGTERM.
const STRAGGLER_TIME: Duration = Duration::from_secs(5);

/// How the service ended.
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

/// The service's end, and whether we had been asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    pub exit: Exit,
    pub asked: bool,
}

impl Ending {
    /// The status to end with: 0 where it is one of `success` and was asked for.
    pub fn status(&self, success: &[u8]) -> u8 {
        let status = self.exit.status();
        if self.asked && success.contains(&status) { 0 } else { status }
    }
}

/// What the loop tells while it works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    Forwarded {
        signal: i32,
    },
    Reaped {
        pid: i32,
        ours: bool,
    },
    /// A rung began; `draining` while it is a request and not yet a signal.
    StopStarted {
        draining: bool,
    },
    /// The main process has ended, and what it left behind may not have.
    MainEnded {
        status: u8,
    },
}

// --- deciding -----------------------------------------------------------------------------------------------------

/// Where the loop is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Rung `rung` of the ladder has begun; `rungs.len()` is the final SIGKILL.
    Stopping {
        rung: usize,
    },
    /// The main process has ended; `killed` once SIGKILL was sent to the rest.
    Clearing {
        exit: Exit,
        killed: bool,
    },
    Done(Exit),
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Signal(i32),
    MainEnded(Exit),
    /// No process of the service is left.
    NobodyLeft,
    Deadline,
    /// A rung's request was answered, or was not.
    RequestFailed,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Forward(i32),
    BeginRung(usize),
    Kill,
    ClearOut(i32),
    /// From now; `None` for no deadline.
    Deadline(Option<Duration>),
    /// From now, but no later than a deadline there is.
    DeadlineAtMost(Option<Duration>),
}

/// The next state and what to do, from the present one and what happened. `rungs` is the length of the ladder,
/// `limit` how long a stop without a ladder may take.
fn step(state: State, event: Event, rungs: usize, limit: Option<Duration>) -> (State, Vec<Action>) {
    let next_rung = |rung: usize| match rung {
        rung if rung < rungs => (State::Stopping { rung }, vec![Action::BeginRung(rung)]),
        _ => (State::Stopping { rung: rungs }, vec![Action::Kill, Action::Deadline(None)]),
    };
    let asks_to_stop = |signal: i32| signal == libc::SIGTERM || signal == libc::SIGINT;
    match (state, event) {
        (State::Running, Event::Signal(signal)) if asks_to_stop(signal) && rungs > 0 => next_rung(0),
        (State::Running, Event::Signal(libc::SIGTERM)) => {
            (State::Running, vec![Action::Forward(libc::SIGTERM), Action::DeadlineAtMost(limit)])
        }
        (State::Running, Event::Deadline) => next_rung(rungs),
        (State::Stopping { rung }, Event::Signal(signal)) if asks_to_stop(signal) => next_rung(rung + 1),
        (State::Stopping { rung }, Event::Deadline | Event::RequestFailed) => next_rung(rung + 1),
        (State::Running | State::Stopping { .. }, Event::Signal(signal)) => (state, vec![Action::Forward(signal)]),
        (State::Running | State::Stopping { .. }, Event::MainEnded(exit)) => {
            let clear = vec![Action::ClearOut(libc::SIGTERM), Action::Deadline(Some(STRAGGLER_TIME))];
            (State::Clearing { exit, killed: false }, clear)
        }
        (State::Clearing { exit, killed: false }, Event::Deadline) => {
            let kill = vec![Action::ClearOut(libc::SIGKILL), Action::Deadline(Some(STRAGGLER_TIME))];
            (State::Clearing { exit, killed: true }, kill)
        }
        (State::Clearing { exit, killed: false }, Event::Signal(signal)) if asks_to_stop(signal) => {
            let kill = vec![Action::ClearOut(libc::SIGKILL), Action::Deadline(Some(STRAGGLER_TIME))];
            (State::Clearing { exit, killed: true }, kill)
        }
        // A process that even SIGKILL cannot end (a hung disk) must not keep us.
        (State::Clearing { exit, killed: true }, Event::Deadline) => (State::Done(exit), vec![]),
        (State::Clearing { exit, .. }, Event::NobodyLeft) => (State::Done(exit), vec![]),
        (state, _) => (state, vec![]),
    }
}

// --- doing --------------------------------------------------------------------------------------------------------

/// Watches over the service to its end. `limit` is `DL_STOP_TIMEOUT`: what the whole stop may take.
pub async fn supervise(
    child: Child,
    signals: &mut Signals,
    ladder: &[StopRung],
    limit: Option<Duration>,
    events: &dyn Fn(Happened),
    request: impl AsyncFn(&HttpProbe, Duration) -> Result<(), String>,
) -> Ending {
    // Our own folder must not keep a file system from being unmounted; what is relative was the service's.
    let _ = nix::unistd::chdir("/");
    let kills = container::memory_kills(Path::new("/"));
    let mut supervisor = Supervisor {
        pid: child.pid(),
        ladder,
        limit,
        events,
        asked: false,
        deadline: None,
        give_up: None,
        request: None,
    };
    let mut state = State::Running;
    let mut asked_in = state;
    let mut waiting: Option<Request> = None;
    // The service may have ended before anybody looked.
    state = supervisor.reap(state);
    loop {
        // A request is its rung's: its answer, or that there is none, means nothing to the next one.
        if state != asked_in {
            (waiting, asked_in) = (None, state);
        }
        if let Some((probe, within)) = supervisor.request.take() {
            waiting = Some(Box::pin(request(probe, within)));
        }
        if let State::Done(exit) = state {
            tell_lack_of_memory(exit, kills);
            return Ending { exit, asked: supervisor.asked };
        }
        let event = tokio::select! {
            signal = signals.next() => match signal {
                libc::SIGCHLD => {
                    state = supervisor.reap(state);
                    continue;
                }
                signal => Event::Signal(signal),
            },
            () = until(supervisor.deadline) => {
                supervisor.deadline = None;
                Event::Deadline
            }
            answer = answered(&mut waiting) => {
                waiting = None;
                match answer {
                    Ok(()) => continue,
                    Err(why) => {
                        tracing::warn!("the service could not be asked to stop: {why}");
                        Event::RequestFailed
                    }
                }
            }
        };
        state = supervisor.carry_out(state, event);
        state = supervisor.reap(state);
    }
}

type Request<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + 'a>>;

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

async fn answered(waiting: &mut Option<Request<'_>>) -> Result<(), String> {
    match waiting {
        Some(request) => request.as_mut().await,
        None => std::future::pending().await,
    }
}

struct Supervisor<'a> {
    pid: i32,
    ladder: &'a [StopRung],
    limit: Option<Duration>,
    events: &'a dyn Fn(Happened),
    /// Whether the service was told to stop.
    asked: bool,
    deadline: Option<Instant>,
    /// When the whole stop must be over.
    give_up: Option<Instant>,
    /// A rung's request that has not been sent yet.
    request: Option<(&'a HttpProbe, Duration)>,
}

impl Supervisor<'_> {
    fn carry_out(&mut self, state: State, event: Event) -> State {
        let (next, actions) = step(state, event, self.ladder.len(), self.limit);
        for action in actions {
            self.act(action);
        }
        next
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Forward(signal) => self.forward(signal),
            Action::BeginRung(rung) => self.begin(rung),
            Action::Kill => {
                tracing::warn!("the service did not end in time: SIGKILL");
                self.signal(self.pid, libc::SIGKILL);
            }
            Action::ClearOut(signal) => self.clear_out(signal),
            Action::Deadline(after) => self.deadline = after.map(|after| Instant::now() + after),
            Action::DeadlineAtMost(after) => {
                let new = after.map(|after| Instant::now() + after);
                self.deadline = self.deadline.into_iter().chain(new).min();
            }
        }
    }

    fn forward(&mut self, signal: i32) {
        tracing::debug!("forwarding {}", signals::name(signal));
        self.asked |= signal == libc::SIGTERM;
        self.signal(self.pid, signal);
        (self.events)(Happened::Forwarded { signal });
    }

    /// Nobody there any more is no error: the status is about to be read.
    fn signal(&self, pid: i32, signal: i32) {
        if let Err(errno) = system::send_signal(pid, signal)
            && errno != nix::errno::Errno::ESRCH
        {
            tracing::warn!("{} could not be sent: {}", signals::name(signal), errno.desc());
        }
    }

    fn begin(&mut self, rung: usize) {
        self.asked = true;
        let now = Instant::now();
        let limit = self.limit;
        let give_up = *self.give_up.get_or_insert_with(|| now + limit.unwrap_or(Duration::from_secs(86_400)));
        let StopRung { action, within } = &self.ladder[rung];
        self.deadline = Some((now + *within).min(give_up));
        let draining = matches!(action, StopAction::Http(_));
        (self.events)(Happened::StopStarted { draining });
        match action {
            StopAction::Signal(signal) => {
                tracing::info!(
                    "stopping: {}, then {} to end",
                    signals::name(*signal),
                    crate::value::show_duration(within.as_millis() as u64)
                );
                self.forward(*signal);
            }
            StopAction::Http(probe) => {
                tracing::info!(
                    "stopping: {} {}, then {} to end",
                    probe.method,
                    crate::http::shown(&probe.url),
                    crate::value::show_duration(within.as_millis() as u64)
                );
                self.request = Some((probe, *within));
            }
        }
    }

    /// Everybody the service has left behind.
    fn clear_out(&self, signal: i32) {
        if nix::unistd::getpid() == Pid::from_raw(1) {
            // All of our own PID namespace but ourselves (kill(2)).
            self.signal(-1, signal);
            return;
        }
        let mut family = descendants();
        // Without /proc, the group of the service is all that is known.
        if family.is_empty() {
            family.insert(-self.pid);
        }
        family.into_iter().for_each(|pid| self.signal(pid, signal));
    }

    /// Takes every child that has ended; SIGCHLD may stand for many.
    fn reap(&mut self, state: State) -> State {
        let mut state = state;
        loop {
            match system::reap() {
                Ok(Reaped::Child(pid, ended)) => {
                    let ours = pid.as_raw() == self.pid;
                    (self.events)(Happened::Reaped { pid: pid.as_raw(), ours });
                    if ours && !matches!(state, State::Clearing { .. } | State::Done(_)) {
                        state = self.ended(state, ended.into());
                    }
                }
                Ok(Reaped::NoChildren) => {
                    // The status of the main process was lost: nobody else should have taken it.
                    if matches!(state, State::Running | State::Stopping { .. }) {
                        state = self.ended(state, Exit::Unknown);
                    }
                    return self.carry_out(state, Event::NobodyLeft);
                }
                Ok(Reaped::NoneYet) => return state,
                Err(errno) => {
                    tracing::error!("waitid failed: {}", errno.desc());
                    return state;
                }
            }
        }
    }

    /// Only where somebody is left is there anybody to clear out.
    fn ended(&mut self, state: State, exit: Exit) -> State {
        (self.events)(Happened::MainEnded { status: exit.status() });
        let (next, actions) = step(state, Event::MainEnded(exit), self.ladder.len(), self.limit);
        if matches!(system::peek(), Ok(Reaped::NoChildren)) {
            return State::Done(exit);
        }
        tracing::debug!("the service has ended and left processes behind");
        for action in actions {
            self.act(action);
        }
        next
    }
}

/// The status of a service that the kernel killed for lack of memory looks like anybody's SIGKILL; that of a shell whose
/// program was killed says the same.
fn tell_lack_of_memory(exit: Exit, kills_before: u64) {
    let killed = exit.status() == exit::of_signal(libc::SIGKILL);
    if killed && container::memory_kills(Path::new("/")) > kills_before {
        tracing::error!(
            "the kernel killed a process of the service for lack of memory: give it more, or let it use less"
        );
    }
}

/// Orphans of our descendants become our children, so that they are reaped (PR_SET_CHILD_SUBREAPER in prctl(2)). Before
/// the service is started: on a busy machine it leaves orphans before we run again.
pub fn adopt_orphans() {
    if nix::unistd::getpid() != Pid::from_raw(1)
        && let Err(errno) = nix::sys::prctl::set_child_subreaper(true)
    {
        tracing::warn!("orphans of the service go to another process: {}", errno.desc());
    }
}

/// Our children, and theirs; none without /proc. As orphans come to us, these are all.
fn descendants() -> BTreeSet<i32> {
    processes::descendants(nix::unistd::getpid().as_raw(), &processes::all())
}

/// Runs `future` while PID 1's duties go on: orphans are reaped, and a signal that asks to end ends it.
///
/// # Errors
/// The signal that asked to end.
pub async fn run_to_end<F: Future>(
    future: F,
    signals: &mut Signals,
    events: &dyn Fn(Happened),
) -> Result<F::Output, i32> {
    let mut future = pin!(future);
    loop {
        tokio::select! {
            output = &mut future => return Ok(output),
            signal = signals.next() => match signal {
                libc::SIGCHLD => reap_orphans(events),
                signal if STOPS.contains(&signal) => return Err(signal),
                // Meant for a service that does not run yet.
                _ => {}
            },
        }
    }
}

fn reap_orphans(events: &dyn Fn(Happened)) {
    while let Ok(Reaped::Child(pid, _)) = system::reap() {
        events(Happened::Reaped { pid: pid.as_raw(), ours: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Event = Event::Signal(libc::SIGTERM);
    const ENDED: Exit = Exit::Code(3);

    fn run(rungs: usize, events: &[Event]) -> (State, Vec<Action>) {
        let limit = Some(Duration::from_secs(30));
        events.iter().fold((State::Running, vec![]), |(state, mut done), event| {
            let (next, actions) = step(state, *event, rungs, limit);
            done.extend(actions);
            (next, done)
        })
    }

    #[test]
    fn signals_are_forwarded_while_the_service_runs_and_while_it_stops() {
        let (state, actions) = run(1, &[Event::Signal(1), TERM, Event::Signal(40)]);
        assert_eq!(state, State::Stopping { rung: 0 });
        assert_eq!(actions, [Action::Forward(1), Action::BeginRung(0), Action::Forward(40)]);
    }

    #[test]
    fn a_second_request_to_stop_and_a_deadline_go_to_the_next_rung_and_the_last_is_kill() {
        let (state, actions) = run(2, &[TERM, TERM, Event::Deadline]);
        assert_eq!(state, State::Stopping { rung: 2 });
        assert_eq!(actions, [Action::BeginRung(0), Action::BeginRung(1), Action::Kill, Action::Deadline(None)]);
    }

    #[test]
    fn a_request_that_fails_goes_to_the_next_rung_at_once() {
        assert_eq!(run(2, &[TERM, Event::RequestFailed]).1, [Action::BeginRung(0), Action::BeginRung(1)]);
    }

    #[test]
    fn without_a_ladder_signals_pass_through_and_only_term_has_a_deadline() {
        let (state, actions) = run(0, &[Event::Signal(libc::SIGINT), TERM, Event::Deadline]);
        assert_eq!(state, State::Stopping { rung: 0 });
        let limit = Some(Duration::from_secs(30));
        let (int, term) = (Action::Forward(libc::SIGINT), Action::Forward(libc::SIGTERM));
        assert_eq!(actions, [int, term, Action::DeadlineAtMost(limit), Action::Kill, Action::Deadline(None)]);
    }

    /// Behaviours: 103.
    #[test]
    fn what_is_left_gets_term_then_kill_and_then_nothing_more_is_waited_for() {
        let (state, actions) = run(1, &[Event::MainEnded(ENDED), Event::Deadline, Event::Deadline]);
        assert_eq!(state, State::Done(ENDED));
        let time = Action::Deadline(Some(STRAGGLER_TIME));
        assert_eq!(actions, [Action::ClearOut(libc::SIGTERM), time, Action::ClearOut(libc::SIGKILL), time]);
        assert_eq!(run(1, &[Event::MainEnded(ENDED), Event::NobodyLeft]).0, State::Done(ENDED));
    }

    /// Behaviours: 17, 32.
    #[test]
    fn after_its_end_the_services_process_id_means_nothing() {
        let again = Event::MainEnded(Exit::Code(9));
        let (state, actions) =
            run(1, &[Event::MainEnded(ENDED), again, Event::Signal(libc::SIGUSR1), Event::NobodyLeft]);
        assert_eq!(state, State::Done(ENDED));
        assert!(!actions.iter().any(|action| matches!(action, Action::Forward(_))), "{actions:?}");
    }

    /// Behaviours: 8.
    #[test]
    fn a_status_becomes_0_only_where_the_stop_was_asked_for() {
        let killed = Exit::Signal { number: libc::SIGTERM, core: false };
        assert_eq!(Ending { exit: killed, asked: true }.status(&[143]), 0);
        assert_eq!(Ending { exit: killed, asked: true }.status(&[]), 143);
        assert_eq!(Ending { exit: killed, asked: false }.status(&[143]), 143);
        assert_eq!(Ending { exit: Exit::Code(1), asked: true }.status(&[143]), 1);
    }

    /// Behaviours: 3, 10.
    #[test]
    fn statuses_are_the_services_own_or_128_and_the_signal() {
        assert_eq!(Exit::Code(7).status(), 7);
        assert_eq!(Exit::Signal { number: 15, core: false }.status(), 143);
        assert_eq!(Exit::Signal { number: 40, core: true }.status(), 168);
        assert_eq!(Exit::Signal { number: 11, core: true }.to_string(), "was ended by SIGSEGV, and left a core dump");
    }
}
