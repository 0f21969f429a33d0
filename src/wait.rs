//! Waiting until every dependency answers, all at once, with an end.
//!
//! Owns the deadlines, the pauses between attempts and what is told while waiting. One attempt of each protocol is in
//! `wait/`; names are looked up inside each attempt, because they change. The clock is monotonic, nothing blocks the
//! thread, and dropping the future ends everything: a signal is honoured at once. Never goes on without a dependency.

mod backoff;
mod etcd;
mod postgres;
mod target;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

pub(crate) use backoff::Backoff;
pub use target::{ACCEPTED, BadTarget, parse_target};

use crate::exit;
use crate::net::connect;
use crate::net::http;
use crate::net::s3::{self, S3Error};
use crate::plan::{HttpProbe, PostgresTarget, S3Target, Target, Wait};
use crate::secrets::Secrets;
use crate::secrets::detect::secrets_within;
use crate::settings::public_words;
use crate::threads;

/// No attempt takes longer: a server that accepts and never answers must not use up the deadline.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(5);

/// The last attempt begins this long before the deadline, so that a late dependency is still seen.
const LAST_ATTEMPT_BEFORE_END: Duration = Duration::from_millis(200);

/// A change in the state of one dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress<'a> {
    /// The first failure, or another error than before.
    Pending {
        name: &'a str,
        error: &'a str,
    },
    Ready {
        name: &'a str,
        after: Duration,
    },
}

/// Why the wait ended without every dependency, and all that are missing.
#[derive(Debug)]
pub struct Pending {
    pub ending: Ending,
    /// Every dependency that did not answer, with its last error, in the order of the plan.
    pub dependencies: Vec<(String, String)>,
    /// How many were waited for.
    pub of: usize,
    /// Where the total deadline was set.
    pub set_by: &'static str,
}

/// Why the wait ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// The time for all of them (`DL_WAIT_TIMEOUT` or `--timeout`) is over.
    TotalDeadline(Duration),
    /// The time of this one is over.
    OwnDeadline { name: String, timeout: Duration },
    /// This one gave an answer that no waiting changes, such as a wrong password.
    Refused { name: String },
    /// This one answers and holds what the service must not be started with.
    Unfit { name: String },
}

impl Pending {
    /// The exit status: what another configuration cures is the environment's fault.
    pub fn status(&self) -> u8 {
        if let Ending::Unfit { .. } = self.ending { exit::CONTRACT } else { exit::DEPENDENCY }
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let missing = format!("{} of {} dependencies", self.dependencies.len(), self.of);
        match &self.ending {
            Ending::TotalDeadline(total) => write!(f, "{missing} not ready within {}", connect::in_words(*total))?,
            Ending::OwnDeadline { name, timeout } => {
                write!(f, "{name} is not ready within its own {}; {missing} pending", connect::in_words(*timeout))?
            }
            Ending::Refused { name } => write!(f, "{name} refused, and waiting cannot help; {missing} pending")?,
            Ending::Unfit { name } => write!(f, "{name} does not fit the configuration; {missing} pending")?,
        }
        for (name, error) in &self.dependencies {
            write!(f, "\n  {name}: {}", error.replace('\n', "\n    "))?;
        }
        match self.ending {
            Ending::TotalDeadline(_) => write!(f, "\nset {} higher if they only need more time", self.set_by),
            Ending::OwnDeadline { .. } | Ending::Refused { .. } | Ending::Unfit { .. } => Ok(()),
        }
    }
}

impl std::error::Error for Pending {}

/// Why one attempt was not enough.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// Try again.
    NotYet(String),
    /// Trying again changes nothing.
    Never(String),
    /// It answers, and only another configuration goes with what it holds.
    Unfit(String),
}

/// Keeps the passwords of these dependencies out of everything printed from here on: as they are, and as their URLs
/// have them. What is a part of a name that is told, or a word of ours, would only leave a hole there.
pub fn keep_secrets(urls: &[String], waits: &[Wait], secrets: &Secrets) {
    let mut found: Vec<String> = urls.iter().flat_map(|url| secrets_within(url)).collect();
    for wait in waits {
        match &wait.target {
            Target::Postgres(target) => found.extend(target.password.clone()),
            Target::S3(target) => found.push(target.secret_key.clone()),
            _ => {}
        }
    }
    let names: Vec<&str> = waits.iter().map(|wait| wait.name.as_str()).collect();
    for secret in public_words::without_words(found, &names) {
        secrets.add("password", secret.as_bytes());
    }
}

/// Logs in once, for a readiness probe.
///
/// # Errors
/// What the server answers, or why it does not.
pub async fn login(target: &PostgresTarget, allowed: Duration) -> Result<(), String> {
    postgres::login(target, allowed).await.map_err(|miss| match miss {
        Miss::NotYet(reason) | Miss::Never(reason) | Miss::Unfit(reason) => reason,
    })
}

/// Waits for all of them at once. Ends at the first that can no longer become ready, or after `total`.
pub async fn wait_for_all(waits: &[Wait], total: Duration, progress: &dyn Fn(Progress)) -> Result<(), Pending> {
    let started = Instant::now();
    let dependencies: Vec<_> = waits.iter().map(|wait| Dependency::new(wait, started)).collect();
    let mut running: FuturesUnordered<_> = dependencies.iter().map(|one| one.until_ready(total, progress)).collect();
    while let Some(outcome) = running.next().await {
        outcome.map_err(|ending| pending(ending, &dependencies))?;
    }
    Ok(())
}

fn pending(ending: Ending, dependencies: &[Dependency]) -> Pending {
    let missing = dependencies.iter().filter(|one| !one.ready.get());
    let told = missing.map(|one| {
        let error = one.last_error.borrow().clone();
        (one.wait.name.clone(), error.unwrap_or_else(|| "no answer yet".to_owned()))
    });
    Pending { ending, dependencies: told.collect(), of: dependencies.len(), set_by: "DL_WAIT_TIMEOUT" }
}

/// One dependency while it is waited for.
struct Dependency<'a> {
    wait: &'a Wait,
    started: Instant,
    last_error: RefCell<Option<String>>,
    ready: Cell<bool>,
}

impl<'a> Dependency<'a> {
    fn new(wait: &'a Wait, started: Instant) -> Self {
        Dependency { wait, started, last_error: RefCell::new(None), ready: Cell::new(false) }
    }

    async fn until_ready(&self, total: Duration, progress: &dyn Fn(Progress<'_>)) -> Result<(), Ending> {
        let (end, ending) = self.deadline(total);
        let mut backoff = Backoff::new();
        loop {
            match self.attempt(end).await {
                Ok(()) => {
                    self.announce_ready(progress);
                    return Ok(());
                }
                Err(Some(Miss::NotYet(error))) => self.announce_error(error, progress),
                Err(Some(Miss::Never(error))) => {
                    self.announce_error(error, progress);
                    return Err(Ending::Refused { name: self.wait.name.clone() });
                }
                Err(Some(Miss::Unfit(error))) => {
                    self.announce_error(error, progress);
                    return Err(Ending::Unfit { name: self.wait.name.clone() });
                }
                Err(None) => {}
            }
            if !pause(backoff.next_pause(), end).await {
                return Err(ending);
            }
        }
    }

    /// The nearer of its own deadline and everybody's, and what it means to reach it.
    fn deadline(&self, total: Duration) -> (Instant, Ending) {
        match self.wait.timeout {
            Some(own) if own < total => {
                (self.started + own, Ending::OwnDeadline { name: self.wait.name.clone(), timeout: own })
            }
            _ => (self.started + total, Ending::TotalDeadline(total)),
        }
    }

    /// `None`: the deadline cut a try short that would have had more time, which says nothing new.
    async fn attempt(&self, end: Instant) -> Result<(), Option<Miss>> {
        let allowed = ATTEMPT.min(end.saturating_duration_since(Instant::now()));
        match tokio::time::timeout(allowed, try_once(&self.wait.target, allowed)).await {
            Ok(outcome) => outcome.map_err(Some),
            Err(_) if allowed < ATTEMPT => Err(None),
            Err(_) => Err(Some(Miss::NotYet(format!("no answer within {}", connect::in_words(allowed))))),
        }
    }

    fn announce_ready(&self, progress: &dyn Fn(Progress<'_>)) {
        let (name, after) = (self.wait.name.as_str(), self.started.elapsed());
        self.ready.set(true);
        tracing::info!("{name} is ready after {}", connect::in_words(after));
        progress(Progress::Ready { name, after });
    }

    fn announce_error(&self, error: String, progress: &dyn Fn(Progress<'_>)) {
        if self.last_error.borrow().as_deref() == Some(&error) {
            return;
        }
        let name = self.wait.name.as_str();
        tracing::info!("waiting for {name}: {error}");
        progress(Progress::Pending { name, error: &error });
        self.last_error.replace(Some(error));
    }
}

/// Sleeps, but leaves time for one last attempt before `end`. `false`: there is no time for another one.
pub(crate) async fn pause(length: Duration, end: Instant) -> bool {
    let last_attempt = end.checked_sub(LAST_ATTEMPT_BEFORE_END).unwrap_or(end);
    let now = Instant::now();
    if now >= last_attempt {
        tokio::time::sleep_until(end).await;
        return false;
    }
    tokio::time::sleep_until((now + length).min(last_attempt)).await;
    true
}

async fn try_once(target: &Target, allowed: Duration) -> Result<(), Miss> {
    match target {
        Target::Tcp { host, port } => connect::connect(host, *port).await.map(drop).map_err(Miss::NotYet),
        Target::Unix { path } => connect_unix(path).await,
        Target::Dns { host } => connect::addresses(host, 0).await.map(drop).map_err(Miss::NotYet),
        Target::File { path } => path_exists(path.clone()).await,
        Target::Http(probe) => http_answers(probe).await,
        Target::Postgres(target) => postgres::login(target, allowed).await,
        Target::S3(target) => s3_answers(target).await,
        Target::Etcd { endpoints } => etcd::one_is_healthy(endpoints, allowed).await,
    }
}

async fn connect_unix(path: &Path) -> Result<(), Miss> {
    let connected = tokio::net::UnixStream::connect(path).await;
    connected.map(drop).map_err(|error| Miss::NotYet(connect::reason(&error)))
}

/// stat(2) of a path on a dead network file system hangs, so it hangs on another thread.
async fn path_exists(path: PathBuf) -> Result<(), Miss> {
    match threads::call(move || std::fs::metadata(path)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Miss::NotYet(connect::reason(&error))),
        Err(error) => Err(Miss::NotYet(connect::no_thread(&error))),
    }
}

async fn http_answers(probe: &HttpProbe) -> Result<(), Miss> {
    http::ask(probe, ATTEMPT).await.map_err(|unmet| {
        let may_pass = unmet.reason.may_pass();
        let told = unmet.reason.to_string();
        if may_pass { Miss::NotYet(told) } else { Miss::Never(told) }
    })
}

async fn s3_answers(target: &S3Target) -> Result<(), Miss> {
    let Some(bucket) = &target.bucket else {
        return s3::list_buckets(target, ATTEMPT).await.map_err(s3_miss);
    };
    match s3::bucket_exists(target, bucket, ATTEMPT).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(Miss::NotYet(format!("the bucket {bucket} does not exist"))),
        Err(error) => Err(s3_miss(error)),
    }
}

/// Rights may still be granted while we wait; wrong keys, names and regions stay wrong.
fn s3_miss(error: S3Error) -> Miss {
    let is_final = error.is_final() || !(error.may_pass() || error.is_refusal());
    if is_final { Miss::Never(error.to_string()) } else { Miss::NotYet(error.to_string()) }
}

#[cfg(test)]
#[path = "wait/tests.rs"]
mod tests;
