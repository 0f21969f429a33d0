//! PID 1 at work: forward every signal, reap everybody, stop the service rung by rung, end with its status.
//!
//! `step` decides and is pure; the loop around it carries out what it says. The loop waits for a signal, a deadline or
//! a rung's request, and for nothing else: idle means no wake-ups.
//!
//! Signals go to the service's main process, which knows best what its children should hear; what is left of the
//! service when that process ends hears SIGTERM, gets a moment, and SIGKILL. SIGTERM and SIGINT ask to stop: they
//! start the contract's ladder, and a second one skips to the next rung. Without a ladder (`init`, a shell) every
//! signal goes through as it is, and only SIGTERM sets a deadline.
//!
//! `DL_STOP_TIMEOUT` is the time from the first of them to the last SIGKILL, to what is left behind too.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::time::Instant;

use crate::environment::container;
use crate::exit;
use crate::pid1::children::{Children, Exit};
use crate::pid1::proc;
use crate::pid1::signals::{self, STOPS, Signals};
use crate::pid1::spawn::Child;
use crate::pid1::sys::{self, Ended, Reaped};
use crate::plan::{HttpProbe, StopAction, StopRung};

/// Time for leftover processes after SIGTERM, if the whole stop leaves that much.
const STRAGGLER_TIME: Duration = Duration::from_secs(5);
/// Requests to stop that are not further apart are one: whoever stops a container may signal its process group as well,
/// and a shell passes on what it was sent itself. Nobody has seen in less that the first had no effect.
const SAME_REQUEST: Duration = Duration::from_secs(1);

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

/// Events reported by the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    Forwarded {
        signal: i32,
    },
    /// A process that nobody waited for.
    OrphanReaped,
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

/// Inputs of the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// One that does not ask to stop.
    Signal(i32),
    /// SIGTERM or SIGINT.
    Asked(i32, Asking),
    MainEnded(Exit),
    /// No process of the service is left.
    NobodyLeft,
    /// Those that are left are not ours to signal (kill(2), EPERM), so that waiting for them is of no use.
    NobodyHears,
    Deadline,
    /// A rung's request was answered, or was not.
    RequestFailed,
}

/// Whether a request to stop has come before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    First,
    /// The same request once more.
    Same,
    Again,
}

impl Asking {
    fn after(previous: Option<Instant>, now: Instant) -> Asking {
        match previous {
            None => Asking::First,
            Some(previous) if now.duration_since(previous) < SAME_REQUEST => Asking::Same,
            Some(_) => Asking::Again,
        }
    }
}

/// The signals with which a terminal stops its programs.
const PAUSES: [i32; 3] = [libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

fn asks_to_stop(signal: i32) -> bool {
    signal == libc::SIGTERM || signal == libc::SIGINT
}

/// The decision on an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Forward(i32),
    BeginRung(usize),
    Kill,
    ClearOut(i32),
    /// From now; `None` for no deadline.
    Deadline(Option<Duration>),
    /// From now, but no later than the end of the whole stop.
    DeadlineInStop(Duration),
    /// The end of the whole stop, which begins with this unless it has begun.
    DeadlineOfStop,
}

/// The next state and what to do, from the present one and what happened. `rungs` is the length of the ladder.
fn step(state: State, event: Event, rungs: usize) -> (State, Vec<Action>) {
    let next_rung = |rung: usize| match rung {
        rung if rung < rungs => (State::Stopping { rung }, vec![Action::BeginRung(rung)]),
        _ => (State::Stopping { rung: rungs }, vec![Action::Kill, Action::Deadline(None)]),
    };
    match (state, event) {
        (State::Running, Event::Asked(signal, _)) if rungs == 0 => {
            let limit = (signal == libc::SIGTERM).then_some(Action::DeadlineOfStop);
            (State::Running, [Action::Forward(signal)].into_iter().chain(limit).collect())
        }
        (State::Running, Event::Asked(..)) => next_rung(0),
        (State::Running, Event::Deadline) => next_rung(rungs),
        (State::Stopping { rung }, Event::Asked(_, Asking::Again) | Event::Deadline | Event::RequestFailed) => {
            next_rung(rung + 1)
        }
        (State::Running | State::Stopping { .. }, Event::Signal(signal)) => (state, vec![Action::Forward(signal)]),
        (State::Running | State::Stopping { .. }, Event::MainEnded(exit)) => {
            let clear = vec![Action::ClearOut(libc::SIGTERM), Action::DeadlineInStop(STRAGGLER_TIME)];
            (State::Clearing { exit, killed: false }, clear)
        }
        (State::Clearing { exit, killed: false }, Event::Deadline | Event::Asked(_, Asking::Again)) => {
            let kill = vec![Action::ClearOut(libc::SIGKILL), Action::Deadline(Some(STRAGGLER_TIME))];
            (State::Clearing { exit, killed: true }, kill)
        }
        // A process that even SIGKILL cannot end (a hung disk) must not keep us.
        (State::Clearing { exit, killed: true }, Event::Deadline) => (State::Done(exit), vec![]),
        (State::Clearing { exit, .. }, Event::NobodyLeft | Event::NobodyHears) => (State::Done(exit), vec![]),
        (state, _) => (state, vec![]),
    }
}

/// How long the first of `rungs` may take, where all of them have `left`. The last has what is left. One before it has
/// its own time, or, where that is too little for all of them, its share.
fn time_of_first(rungs: &[StopRung], left: Option<Duration>) -> Duration {
    let [first, rest @ ..] = rungs else { return Duration::ZERO };
    let together: Duration = rungs.iter().map(|rung| rung.within).sum();
    match left {
        Some(left) if rest.is_empty() => left,
        Some(left) if left < together => left.mul_f64(first.within.div_duration_f64(together)),
        _ => first.within,
    }
}

// --- doing --------------------------------------------------------------------------------------------------------

/// How a service is stopped, and told to read its files again.
#[derive(Clone, Copy)]
pub(crate) struct Handling<'a> {
    pub ladder: &'a [StopRung],
    /// `DL_STOP_TIMEOUT`: what the whole stop may take.
    pub limit: Option<Duration>,
    /// Asked before SIGHUP is passed on; where it is not to be, it has said why.
    pub reload: &'a dyn Fn() -> bool,
}

/// Watches over the service to its end.
pub(crate) async fn supervise(
    child: Child,
    children: &Children,
    signals: &mut Signals,
    handling: Handling<'_>,
    events: &dyn Fn(Happened),
    request: impl AsyncFn(&HttpProbe, Duration) -> Result<(), String>,
) -> Ending {
    // Our own folder must not keep a file system from being unmounted; what is relative was the service's.
    let _ = nix::unistd::chdir("/");
    let kills = container::memory_kills(Path::new("/"));
    let mut supervisor = Supervisor {
        pid: child.pid(),
        children,
        paused: false,
        handling,
        events,
        asked: false,
        asked_by: None,
        killed: false,
        asked_at: None,
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
            child.return_terminal();
            tell_kill(exit, kills, supervisor.killed);
            return Ending { exit, asked: supervisor.asked };
        }
        let event = tokio::select! {
            signal = signals.next() => match signal {
                libc::SIGCHLD => {
                    state = supervisor.reap(state);
                    if matches!(state, State::Running | State::Stopping { .. }) {
                        supervisor.follow_suspension(&child);
                    }
                    continue;
                }
                signal => supervisor.received(signal, state),
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
    children: &'a Children,
    /// Whether we have passed on a signal that stops it, until one that resumes it.
    paused: bool,
    handling: Handling<'a>,
    events: &'a dyn Fn(Happened),
    /// Whether we were told to stop.
    asked: bool,
    /// The signal that told so, until the first rung has been announced with it.
    asked_by: Option<i32>,
    /// Whether we have sent SIGKILL to the main process.
    killed: bool,
    /// The last request to stop that was not the one before once more.
    asked_at: Option<Instant>,
    deadline: Option<Instant>,
    /// When the whole stop must be over.
    give_up: Option<Instant>,
    /// A rung's request that has not been sent yet.
    request: Option<(&'a HttpProbe, Duration)>,
}

impl Supervisor<'_> {
    fn received(&mut self, signal: i32, state: State) -> Event {
        if !asks_to_stop(signal) {
            return Event::Signal(signal);
        }
        if !self.asked {
            self.asked_by = Some(signal);
        }
        self.asked = true;
        // Without a ladder SIGINT may be a shell's Ctrl-C: nobody wants to end the rest of it the sooner.
        if signal == libc::SIGINT && state == State::Running && self.handling.ladder.is_empty() {
            return Event::Asked(signal, Asking::First);
        }
        let now = Instant::now();
        let asking = Asking::after(self.asked_at, now);
        match asking {
            Asking::Same => tracing::debug!("{} is taken for the request before it", signals::name(signal)),
            Asking::First | Asking::Again => self.asked_at = Some(now),
        }
        Event::Asked(signal, asking)
    }

    fn carry_out(&mut self, state: State, event: Event) -> State {
        let (mut next, actions) = step(state, event, self.handling.ladder.len());
        for action in actions {
            if let Some(event) = self.act(action) {
                next = self.carry_out(next, event);
            }
        }
        next
    }

    /// The resulting event, if any.
    fn act(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Forward(libc::SIGHUP) if !(self.handling.reload)() => {}
            Action::Forward(signal) => {
                self.forward(signal);
                if asks_to_stop(signal) {
                    self.resume();
                }
            }
            Action::BeginRung(rung) => self.begin(rung),
            Action::Kill => {
                tracing::warn!("the service did not end in time: SIGKILL");
                self.signal(self.pid, libc::SIGKILL);
            }
            Action::ClearOut(signal) => return (!self.clear_out(signal)).then_some(Event::NobodyHears),
            Action::Deadline(after) => self.deadline = after.and_then(from_now),
            Action::DeadlineInStop(after) => {
                self.deadline = from_now(after).into_iter().chain(self.end_of_stop()).min();
            }
            Action::DeadlineOfStop => self.deadline = self.end_of_stop(),
        }
        None
    }

    /// When the whole stop must be over. It begins when this is first asked.
    fn end_of_stop(&mut self) -> Option<Instant> {
        self.give_up = self.give_up.or_else(|| from_now(self.handling.limit?));
        self.give_up
    }

    fn forward(&mut self, signal: i32) {
        tracing::debug!("forwarding {}", signals::name(signal));
        self.signal(self.pid, signal);
        self.paused = signal != libc::SIGCONT && (self.paused || PAUSES.contains(&signal));
        (self.events)(Happened::Forwarded { signal });
    }

    /// A service that is stopped takes no signal but SIGKILL until it is resumed.
    fn resume(&mut self) {
        if sys::stopped_by(self.pid).is_some() {
            tracing::debug!("resuming the service, so that it can end");
            // With its children, which the same Ctrl-Z may have stopped.
            self.signal(-self.pid, libc::SIGCONT);
        }
    }

    /// A service that the terminal stopped, and no signal to us, is not ours alone to resume.
    fn follow_suspension(&self, child: &Child) {
        let signal = sys::stopped_by(self.pid).filter(|signal| PAUSES.contains(signal));
        if let Some(signal) = signal.and_then(|signal| Signal::try_from(signal).ok())
            && child.has_terminal()
            && !self.paused
        {
            child.follow_suspension(signal);
        }
    }

    /// Whether it was sent. Nobody there any more is no error: the status is about to be read.
    fn signal(&mut self, pid: i32, signal: i32) -> bool {
        self.killed |= (pid, signal) == (self.pid, libc::SIGKILL);
        let sent = sys::send_signal(pid, signal);
        if let Err(errno) = sent
            && errno != nix::errno::Errno::ESRCH
        {
            tracing::warn!("{} could not be sent: {}", signals::name(signal), errno.desc());
        }
        sent.is_ok()
    }

    fn begin(&mut self, rung: usize) {
        let left = self.end_of_stop().map(|end| end.saturating_duration_since(Instant::now()));
        let within = time_of_first(&self.handling.ladder[rung..], left);
        self.deadline = from_now(within);
        let action = &self.handling.ladder[rung].action;
        let draining = matches!(action, StopAction::Http(_));
        (self.events)(Happened::StopStarted { draining });
        let why =
            self.asked_by.take().map(|signal| format!("{} received, ", signals::name(signal))).unwrap_or_default();
        match action {
            StopAction::Signal(signal) => {
                tracing::info!("{why}stopping: {}, then {} to end", signals::name(*signal), shown(within));
                self.forward(*signal);
            }
            StopAction::Http(probe) => {
                let url = crate::text::without_credentials(&probe.url);
                tracing::info!("{why}stopping: {} {url}, then {} to end", probe.method, shown(within));
                self.request = Some((probe, within));
            }
        }
        self.resume();
    }

    /// Everybody the service has left behind. Whether there is anybody we may signal.
    fn clear_out(&mut self, signal: i32) -> bool {
        if signal == libc::SIGKILL {
            kill_whoever_they_become();
        }
        let mut family = descendants();
        if nix::unistd::getpid() == Pid::from_raw(1) {
            // All of our own PID namespace but ourselves; that it may signal none of them kill(2) does not say.
            let heard = |pid: &i32| sys::send_signal(*pid, 0).is_ok();
            let sent = self.signal(-1, signal);
            wake(-1);
            return sent && (family.is_empty() || family.iter().any(heard));
        }
        // Without /proc, the group of the service is all that is known.
        if family.is_empty() {
            family.insert(-self.pid);
        }
        let heard = family.iter().filter(|pid| self.signal(**pid, signal)).count() > 0;
        family.iter().for_each(|pid| wake(*pid));
        heard
    }

    /// Takes every child that has ended; SIGCHLD may stand for many.
    fn reap(&mut self, state: State) -> State {
        let mut state = state;
        loop {
            match sys::reap() {
                Ok(Reaped::Child(pid, ended)) => {
                    let ours = pid.as_raw() == self.pid;
                    if !ours {
                        deliver(self.children, pid, ended, self.events);
                        continue;
                    }
                    if !matches!(state, State::Clearing { .. } | State::Done(_)) {
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
                Ok(Reaped::NoneYet) => {
                    // Somebody has begun since they were killed.
                    if matches!(state, State::Clearing { killed: true, .. }) {
                        kill_whoever_they_become();
                    }
                    return state;
                }
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
        if matches!(sys::peek(), Ok(Reaped::NoChildren)) {
            return State::Done(exit);
        }
        tracing::debug!("the service has ended and left processes behind");
        self.carry_out(state, Event::MainEnded(exit))
    }
}

/// Resumes what is stopped, so that it takes the signal before this one. A process that is gone or not ours need not.
fn wake(pid: i32) {
    let _ = sys::send_signal(pid, libc::SIGCONT);
}

/// `None` where that is further off than the clock goes.
fn from_now(after: Duration) -> Option<Instant> {
    Instant::now().checked_add(after)
}

/// For a message: no fractions of what is longer than a second.
fn shown(time: Duration) -> String {
    let whole = if time < Duration::from_secs(1) { time } else { Duration::from_secs_f64(time.as_secs_f64().round()) };
    crate::value::show_duration(whole.as_millis() as u64)
}

/// The status of a service that the kernel killed for lack of memory looks like anybody's SIGKILL; that of a shell
/// whose program was killed says the same. `by_us`: SIGKILL was sent to the main process here.
fn tell_kill(exit: Exit, kills_before: u64, by_us: bool) {
    let killed = exit.status() == exit::of_signal(libc::SIGKILL);
    if killed && container::memory_kills(Path::new("/")) > kills_before {
        tracing::error!(
            "the kernel killed a process of the service for lack of memory: give it more, or let it use less"
        );
    } else if matches!(exit, Exit::Signal { number: libc::SIGKILL, .. }) && !by_us {
        tracing::error!(
            "SIGKILL did not come from dl-entry: most often the kernel sends it at the memory limit of the container or \
             the machine (see the kernel's log, or `OOMKilled` of the container)"
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

/// Looks this often, at most, for those that have begun since the last time.
const MOST_ROUNDS: usize = 20;

/// Kills our descendants and their process groups, until none is left alive. One that forks and exits would be gone
/// each time we had found it, but its group stays the same, and is killed all at once (kill(2)). As process 1 we reach
/// all of them at once anyway.
fn kill_whoever_they_become() {
    if nix::unistd::getpid() == Pid::from_raw(1) {
        return;
    }
    let own_group = nix::unistd::getpgrp().as_raw();
    for _ in 0..MOST_ROUNDS {
        let all = proc::all();
        let family = proc::descendants(nix::unistd::getpid().as_raw(), &all);
        let alive: Vec<_> =
            family.iter().filter(|pid| all.get(pid).is_some_and(|process| !process.is_zombie)).collect();
        let groups: BTreeSet<i32> = alive.iter().filter_map(|pid| Some(all.get(pid)?.group)).collect();
        let groups = groups.into_iter().filter(|group| *group > 1 && *group != own_group).map(|group| -group);
        let killed = groups.chain(alive.into_iter().copied()).filter(|id| sys::send_signal(*id, libc::SIGKILL).is_ok());
        if killed.count() == 0 {
            return;
        }
    }
}

/// Our children, and theirs; none without /proc. As orphans come to us, these are all.
fn descendants() -> BTreeSet<i32> {
    proc::descendants(nix::unistd::getpid().as_raw(), &proc::all())
}

/// Runs `future` while PID 1's duties go on: every child is reaped, and a signal that asks to end ends it. Programs that
/// `future` leaves behind are stopped before this returns, each by its own ladder; `limit` is `DL_STOP_TIMEOUT`.
///
/// # Errors
/// The signal that asked to end.
pub async fn run_to_end<F: Future>(
    future: F,
    children: &Children,
    signals: &mut Signals,
    limit: Option<Duration>,
    events: &dyn Fn(Happened),
) -> Result<F::Output, i32> {
    let outcome = until_asked(future, children, signals, events).await;
    if !children.is_empty() {
        stop_programs(children, signals, limit, events).await;
    }
    outcome
}

async fn until_asked<F: Future>(
    future: F,
    children: &Children,
    signals: &mut Signals,
    events: &dyn Fn(Happened),
) -> Result<F::Output, i32> {
    let mut future = pin!(future);
    loop {
        tokio::select! {
            output = &mut future => return Ok(output),
            signal = signals.next() => match signal {
                libc::SIGCHLD => reap_beside(children, events),
                signal if STOPS.contains(&signal) => return Err(signal),
                // Meant for a service that does not run yet.
                _ => {}
            },
        }
    }
}

/// Rung by rung until none is left. A request to stop that comes again skips to the next rung, as for the service.
async fn stop_programs(children: &Children, signals: &mut Signals, limit: Option<Duration>, events: &dyn Fn(Happened)) {
    let give_up = limit.and_then(from_now);
    let mut asked_at = Instant::now();
    for rung in 0.. {
        let within = children.ask_to_end(rung);
        let deadline = [from_now(within.unwrap_or(STRAGGLER_TIME)), give_up.filter(|_| within.is_some())];
        let deadline = deadline.into_iter().flatten().min();
        loop {
            reap_beside(children, events);
            if children.is_empty() {
                return;
            }
            tokio::select! {
                signal = signals.next() => {
                    let again = STOPS.contains(&signal) && asked_at.elapsed() >= SAME_REQUEST;
                    if again {
                        asked_at = Instant::now();
                        break;
                    }
                }
                () = until(deadline) => break,
            }
        }
        // A process that even SIGKILL cannot end (a hung disk) must not keep us.
        if within.is_none() {
            return;
        }
    }
}

fn reap_beside(children: &Children, events: &dyn Fn(Happened)) {
    while let Ok(Reaped::Child(pid, ended)) = sys::reap() {
        deliver(children, pid, ended, events);
    }
}

/// The status of a process other than the service's main one.
fn deliver(children: &Children, pid: Pid, ended: Ended, events: &dyn Fn(Happened)) {
    if !children.deliver(pid.as_raw(), ended.into()) {
        events(Happened::OrphanReaped);
    }
}

#[cfg(test)]
mod tests;
