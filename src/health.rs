//! Public state: the phase of the start, whether the service is ready, and a few figures.
//!
//! Owns the shared state (`Health`), the answers made from it and the addresses; `server` speaks HTTP, `metrics`
//! writes OpenMetrics, `client` is `dl-entry health`. Must not act on the service, must not wake up when nobody asks,
//! and must not show a secret. The pipeline in `entry` reports into `Health`; nothing is decided from it.

mod client;
mod early;
mod metrics;
mod server;
mod slots;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::secrets::Secrets;

pub use client::ask;
pub use early::Early;
pub use server::{serve, status_of};

/// Where a start has got to. In this order, but for `Tasks`, which a contract may ask for at several points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Reading and checking the environment.
    Validating,
    /// Making and writing the files.
    Rendering,
    /// Waiting for dependencies.
    Waiting,
    /// Native work, by name.
    Tasks(String),
    /// The service runs and is not ready yet.
    Starting,
    /// The service has been ready; whether it still is, the probe says.
    Ready,
    /// The first stop rung, when it is a request: the service finishes what it has.
    Draining,
    /// A signal has been sent.
    Stopping,
    /// dl-entry is about to end because something failed.
    Failed,
}

impl Phase {
    const LABELS: [&'static str; 9] =
        ["validating", "rendering", "waiting", "tasks", "starting", "ready", "draining", "stopping", "failed"];

    /// The name without that of the task, as in the metrics.
    pub fn label(&self) -> &'static str {
        let index = match self {
            Phase::Validating => 0,
            Phase::Rendering => 1,
            Phase::Waiting => 2,
            Phase::Tasks(_) => 3,
            Phase::Starting => 4,
            Phase::Ready => 5,
            Phase::Draining => 6,
            Phase::Stopping => 7,
            Phase::Failed => 8,
        };
        Phase::LABELS[index]
    }

    fn is_stopping(&self) -> bool {
        matches!(self, Phase::Draining | Phase::Stopping)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Tasks(name) => write!(f, "tasks({name})"),
            other => f.write_str(other.label()),
        }
    }
}

/// The state of dl-entry and the service. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    state: Arc<Mutex<State>>,
    secrets: Secrets,
}

#[derive(Debug)]
struct State {
    service: String,
    phase: Phase,
    since: Instant,
    /// Time spent in phases that are over.
    durations: BTreeMap<&'static str, Duration>,
    was_ready: bool,
    /// Dependency and its last error.
    pending: BTreeMap<String, String>,
    child: Option<i32>,
    last_exit: Option<u8>,
    orphans_reaped: u64,
    signals_forwarded: BTreeMap<&'static str, u64>,
    /// CPU time of processes that ended elsewhere would be missing in the next sum: a counter never falls.
    most_cpu_seconds: f64,
    /// The last look into proc(5).
    measured: Option<metrics::Measured>,
}

impl Health {
    /// The state at the start of a run: validating, nothing counted.
    pub fn new(service: &str, secrets: &Secrets) -> Health {
        Health::since(Instant::now(), service, secrets)
    }

    /// The same for a run that began some time ago: the state is known only once the environment has been read.
    pub fn since(begun: Instant, service: &str, secrets: &Secrets) -> Health {
        let state = State {
            service: service.to_owned(),
            phase: Phase::Validating,
            since: begun,
            durations: BTreeMap::new(),
            was_ready: false,
            pending: BTreeMap::new(),
            child: None,
            last_exit: None,
            orphans_reaped: 0,
            signals_forwarded: BTreeMap::new(),
            most_cpu_seconds: 0.0,
            measured: None,
        };
        Health { state: Arc::new(Mutex::new(state)), secrets: secrets.clone() }
    }

    /// Enters a phase, here and in the log.
    pub fn set_phase(&self, phase: Phase) {
        crate::log::set_phase(&phase.to_string());
        let mut state = self.state();
        let (over, spent) = (state.phase.label(), state.since.elapsed());
        *state.durations.entry(over).or_default() += spent;
        state.since = Instant::now();
        state.was_ready |= phase == Phase::Ready;
        state.phase = phase;
    }

    /// A dependency that does not answer yet, and why. Must not hold credentials; secrets are redacted all the same.
    pub fn set_pending(&self, dependency: &str, error: &str) {
        self.state().pending.insert(dependency.to_owned(), error.to_owned());
    }

    /// A dependency that has answered.
    pub fn clear_pending(&self, dependency: &str) {
        self.state().pending.remove(dependency);
    }

    /// The service runs as this process.
    pub fn set_child(&self, pid: i32) {
        self.state().child = Some(pid);
    }

    /// The service has ended with this status (128+n for a death by signal n).
    pub fn child_ended(&self, status: u8) {
        let mut state = self.state();
        (state.child, state.last_exit) = (None, Some(status));
    }

    /// Whether the service has been ready once.
    pub fn has_been_ready(&self) -> bool {
        self.state().was_ready
    }

    /// A process that was nobody's has been reaped.
    pub fn count_orphan(&self) {
        self.state().orphans_reaped += 1;
    }

    /// A signal has been passed on to the service.
    pub fn count_signal(&self, signal: i32) {
        let name = nix::sys::signal::Signal::try_from(signal).map_or("other", |signal| signal.as_str());
        *self.state().signals_forwarded.entry(name).or_default() += 1;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer to a question that needs no probe.
    fn report(&self, question: Question) -> Report {
        let state = self.state();
        let answer = match question {
            Question::Live => state.live(),
            Question::Startup => state.started(),
            Question::Ready => state.may_be_ready(),
        };
        Report {
            ok: answer.is_ok(),
            phase: state.phase.to_string(),
            since: state.since.elapsed(),
            pending: state.pending.iter().map(|(name, error)| (name.clone(), error.clone())).collect(),
            reasons: answer.err().into_iter().collect(),
        }
    }
}

impl State {
    /// That this is asked at all shows that the loop of PID 1 turns.
    fn live(&self) -> Result<(), String> {
        let ended = self.last_exit.filter(|_| self.child.is_none() && !self.phase.is_stopping());
        match (&self.phase, ended) {
            (Phase::Failed, _) => Err("the start has failed".to_owned()),
            (_, Some(status)) => Err(format!("{} has ended with status {status}", self.service)),
            _ => Ok(()),
        }
    }

    fn started(&self) -> Result<(), String> {
        if self.was_ready { Ok(()) } else { Err(format!("{} has not been ready yet", self.service)) }
    }

    fn may_be_ready(&self) -> Result<(), String> {
        match &self.phase {
            Phase::Ready => self.live(),
            phase if phase.is_stopping() => Err(format!("{} is being stopped", self.service)),
            Phase::Failed => self.live(),
            _ => Err(format!("{} has not been ready yet", self.service)),
        }
    }
}

/// The question of a container runtime's probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// `/livez`: is a restart the only thing that helps?
    Live,
    /// `/readyz`: may it get traffic?
    Ready,
    /// `/startupz`: has it been ready once?
    Startup,
}

impl Question {
    /// The path that is asked.
    pub fn path(self) -> &'static str {
        match self {
            Question::Live => "/livez",
            Question::Ready => "/readyz",
            Question::Startup => "/startupz",
        }
    }
}

impl FromStr for Question {
    type Err = ();

    fn from_str(text: &str) -> Result<Question, ()> {
        match text {
            "live" => Ok(Question::Live),
            "ready" => Ok(Question::Ready),
            "startup" => Ok(Question::Startup),
            _ => Err(()),
        }
    }
}

/// One answer: a line for people, an object for programs.
#[derive(Debug)]
struct Report {
    ok: bool,
    phase: String,
    since: Duration,
    pending: Vec<(String, String)>,
    reasons: Vec<String>,
}

impl Report {
    fn status(&self) -> &'static str {
        if self.ok { "ok" } else { "unavailable" }
    }

    /// `unavailable: waiting for 3.1 s: nessie has not been ready yet; postgres://db:5432: connection refused`
    fn line(&self, secrets: &Secrets) -> String {
        let pending = self.pending.iter().map(|(name, error)| format!("{name}: {error}"));
        let details: Vec<String> = self.reasons.iter().cloned().chain(pending).collect();
        let colon = if details.is_empty() { "" } else { ": " };
        let (status, phase, seconds) = (self.status(), &self.phase, self.since.as_secs_f64());
        let line = format!("{status}: {phase} for {seconds:.1} s{colon}{}", details.join("; "));
        format!("{}\n", secrets.redact(&line).replace(char::is_control, " "))
    }

    fn json(&self, secrets: &Secrets) -> String {
        let redacted = |text: &str| serde_json::Value::from(secrets.redact(text));
        let pending = self.pending.iter();
        let pending =
            pending.map(|(name, error)| serde_json::json!({"name": redacted(name), "error": redacted(error)}));
        let report = serde_json::json!({
            "status": self.status(),
            "phase": redacted(&self.phase),
            "since_seconds": (self.since.as_secs_f64() * 1000.0).round() / 1000.0,
            "pending": pending.collect::<Vec<_>>(),
            "reasons": self.reasons.iter().map(|reason| redacted(reason)).collect::<Vec<_>>(),
        });
        format!("{report}\n")
    }
}

// ---- the address -----------------------------------------------------------------------------------------------

/// The accepted values of `DL_HEALTH_ADDR`.
pub(crate) const ACCEPTED_ADDRESSES: &str =
    "0.0.0.0:9190, [::]:9190, 127.0.0.1:9190, :9190 (ports from 1 to 65535) or off";

/// Listens on `DL_HEALTH_ADDR`; `None` when it is `off`.
pub fn bind(address: &str) -> Result<Option<TcpListener>, HealthError> {
    if address == "off" {
        return Ok(None);
    }
    let candidates = addresses(address)?;
    let mut failure = None;
    for candidate in candidates {
        match TcpListener::bind(candidate).and_then(with_room) {
            Ok(listener) => return Ok(Some(listener)),
            Err(error) => failure = failure.or(Some(bind_error(candidate, error))),
        }
    }
    Err(failure.unwrap_or_else(|| HealthError::Address { value: address.to_owned() }))
}

/// As many connections may wait to be accepted as the kernel allows (net.core.somaxconn): with std's 128 a crowd makes
/// a probe wait a second for its next SYN. listen(2) may be called again to change that.
fn with_room(listener: TcpListener) -> io::Result<TcpListener> {
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::MAXALLOWABLE)?;
    Ok(listener)
}

fn bind_error(address: SocketAddr, source: io::Error) -> HealthError {
    match source.kind() {
        io::ErrorKind::AddrInUse => HealthError::InUse { address },
        _ => HealthError::Bind { address, source },
    }
}

/// The addresses that a `DL_HEALTH_ADDR` stands for, best first: `:9190` is every address of both families, or of
/// IPv4 alone where the host has no other.
pub(crate) fn addresses(text: &str) -> Result<Vec<SocketAddr>, HealthError> {
    let both = |first: &str, second: &str, port: &str| [format!("{first}:{port}"), format!("{second}:{port}")];
    let candidates = match text.rsplit_once(':') {
        Some(("", port)) => both("[::]", "0.0.0.0", port).to_vec(),
        Some(("localhost", port)) => both("127.0.0.1", "[::1]", port).to_vec(),
        _ => vec![text.to_owned()],
    };
    let parsed: Result<Vec<SocketAddr>, _> = candidates.iter().map(|candidate| candidate.parse()).collect();
    parsed.map_err(|_| HealthError::Address { value: text.to_owned() })
}

/// Why the health endpoint cannot be opened or asked.
#[derive(Debug)]
pub enum HealthError {
    /// Not an address and a port.
    Address { value: String },
    /// Another process listens there.
    InUse { address: SocketAddr },
    /// The system does not let us listen there.
    Bind { address: SocketAddr, source: io::Error },
    /// The listener cannot be used.
    Serve { source: io::Error },
    /// There is nothing to ask.
    Off,
    /// No connection.
    Unreachable { address: SocketAddr, source: io::Error },
    /// A connection, and no answer that makes sense.
    NoAnswer { address: SocketAddr, reason: String },
}

impl fmt::Display for HealthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HealthError::Address { value } => {
                write!(f, "DL_HEALTH_ADDR: `{value}` is not an address\n  write {ACCEPTED_ADDRESSES}")
            }
            HealthError::InUse { address } => write!(
                f,
                "DL_HEALTH_ADDR: cannot listen on {address}: the port is in use\n  \
                 set DL_HEALTH_ADDR to a free port (on a host network each container needs its own), or to off"
            ),
            HealthError::Bind { address, source } => {
                let reason = reason(source);
                write!(f, "DL_HEALTH_ADDR: cannot listen on {address}: {reason}")?;
                match source.kind() {
                    io::ErrorKind::PermissionDenied => f.write_str("\n  choose a port from 1024 on"),
                    io::ErrorKind::AddrNotAvailable => f.write_str("\n  choose an address of this host, or 0.0.0.0"),
                    _ => f.write_str("\n  write 0.0.0.0:9190 where there is no IPv6, or off"),
                }
            }
            HealthError::Serve { source } => write!(f, "cannot serve the health endpoint: {}", reason(source)),
            HealthError::Off => f.write_str("there is no health endpoint to ask: DL_HEALTH_ADDR is off"),
            HealthError::Unreachable { address, source } => {
                let reason = reason(source);
                write!(f, "cannot reach the health endpoint at {address}: {reason}")
            }
            HealthError::NoAnswer { address, reason } => {
                write!(f, "no answer from the health endpoint at {address}: {reason}")
            }
        }
    }
}

impl std::error::Error for HealthError {}

/// The text of a system error, in lower case and without its number.
fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new("nessie", &Secrets::default())
    }

    fn ok(health: &Health, question: Question) -> bool {
        health.report(question).ok
    }

    #[test]
    fn live_is_true_in_every_phase_but_failed() {
        let health = health();
        for phase in [Phase::Rendering, Phase::Waiting, Phase::Tasks("s3-buckets".into()), Phase::Starting] {
            health.set_phase(phase);
            assert!(ok(&health, Question::Live));
        }
        health.set_child(4711);
        for phase in [Phase::Ready, Phase::Draining, Phase::Stopping] {
            health.set_phase(phase);
            assert!(ok(&health, Question::Live));
        }
        health.child_ended(143);
        assert!(ok(&health, Question::Live), "a service that is asked to stop may end");
        health.set_phase(Phase::Failed);
        assert_eq!(health.report(Question::Live).reasons, ["the start has failed"]);
    }

    #[test]
    fn live_is_false_when_the_service_has_ended_by_itself() {
        let health = health();
        health.set_child(4711);
        health.set_phase(Phase::Ready);
        health.child_ended(137);
        assert_eq!(health.report(Question::Live).reasons, ["nessie has ended with status 137"]);
        assert_eq!(health.report(Question::Ready).reasons, ["nessie has ended with status 137"]);
    }

    #[test]
    fn startup_is_true_from_the_first_ready_on() {
        let health = health();
        health.set_phase(Phase::Starting);
        assert!(!ok(&health, Question::Startup));
        health.set_phase(Phase::Ready);
        assert!(ok(&health, Question::Startup));
        health.set_phase(Phase::Stopping);
        assert!(ok(&health, Question::Startup));
    }

    #[test]
    fn ready_is_false_before_and_from_the_first_stop_rung_on() {
        let health = health();
        assert_eq!(health.report(Question::Ready).reasons, ["nessie has not been ready yet"]);
        health.set_phase(Phase::Ready);
        assert!(ok(&health, Question::Ready));
        health.set_phase(Phase::Draining);
        assert_eq!(health.report(Question::Ready).reasons, ["nessie is being stopped"]);
    }

    #[test]
    fn a_report_is_one_line_or_one_object_without_secrets() {
        let secrets = Secrets::default();
        secrets.add("PASSWORD", b"hunter22");
        let report = Report {
            ok: false,
            phase: "waiting".into(),
            since: Duration::from_millis(3140),
            pending: vec![("tcp://db:5432".into(), "refused\nhunter22".into())],
            reasons: vec!["nessie has not been ready yet".into()],
        };
        assert_eq!(
            report.line(&secrets),
            "unavailable: waiting for 3.1 s: nessie has not been ready yet; tcp://db:5432: refused ‹redacted:PASSWORD›\n"
        );
        assert_eq!(
            report.json(&secrets),
            "{\"status\":\"unavailable\",\"phase\":\"waiting\",\"since_seconds\":3.14,\"pending\":[{\"name\":\
             \"tcp://db:5432\",\"error\":\"refused\\n‹redacted:PASSWORD›\"}],\
             \"reasons\":[\"nessie has not been ready yet\"]}\n"
        );
    }

    #[test]
    fn an_address_may_leave_out_the_host_and_anything_else_is_explained() {
        assert_eq!(addresses(":9190").unwrap(), ["[::]:9190".parse().unwrap(), "0.0.0.0:9190".parse().unwrap()]);
        assert_eq!(addresses("[::]:9190").unwrap(), ["[::]:9190".parse().unwrap()]);
        assert_eq!(addresses("127.0.0.1:9190").unwrap(), ["127.0.0.1:9190".parse().unwrap()]);
        assert!(bind("off").unwrap().is_none());
        for wrong in ["9190", "", "host:9190", "::9190", "0.0.0.0:99999", "0.0.0.0"] {
            let expected = format!(
                "DL_HEALTH_ADDR: `{wrong}` is not an address\n  \
                 write 0.0.0.0:9190, [::]:9190, 127.0.0.1:9190, :9190 (ports from 1 to 65535) or off"
            );
            assert_eq!(bind(wrong).unwrap_err().to_string(), expected);
        }
    }
}
