//! Native work a contract asks for by name; the only service-specific code there is.
//!
//! Runs what `Plan::tasks` lists, phase by phase. Each task is idempotent and ends when its future is dropped; the
//! programs it has started are then stopped for it (`pid1::children`).

pub mod postgresql;
pub mod s3_buckets;

use std::fmt;
use std::os::fd::OwnedFd;

use crate::exit;
use crate::identity::privilege::Unprivileged;
use crate::net::listeners::Listeners;
use crate::pid1::children::Children;
use crate::plan::{CommandLine, Task, TaskPhase};

/// What a task can use.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    pub listeners: &'a Listeners,
    pub children: &'a Children,
    pub user: &'a Unprivileged,
    /// The service's command, with the environment of whoever runs it.
    pub command: &'a CommandLine,
}

/// A task that could not be done, by its name.
#[derive(Debug)]
pub enum TaskError {
    S3Buckets(s3_buckets::BucketsError),
    PostgresqlCluster(postgresql::ClusterError),
    PostgresqlContents(postgresql::ClusterError),
}

impl TaskError {
    /// The status to end with.
    pub fn status(&self) -> u8 {
        match self {
            Self::S3Buckets(_) => exit::DEPENDENCY,
            Self::PostgresqlCluster(error) | Self::PostgresqlContents(error) => error.status(),
        }
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3Buckets(error) => write!(f, "task s3-buckets: {error}"),
            Self::PostgresqlCluster(error) => write!(f, "task postgresql-cluster: {error}"),
            Self::PostgresqlContents(error) => write!(f, "task postgresql-contents: {error}"),
        }
    }
}

impl std::error::Error for TaskError {}

/// Puts into the rendered files what is known only once root is given up. After each rendering.
///
/// # Errors
/// A file cannot be written.
pub fn rendered(task: &Task, command: &CommandLine) -> Result<(), TaskError> {
    match task {
        Task::PostgresqlCluster(cluster) => {
            postgresql::add_present_user(cluster, command).map_err(TaskError::PostgresqlCluster)
        }
        Task::S3Buckets(_) | Task::PostgresqlContents(_) => Ok(()),
    }
}

/// Refuses data that is there already.
///
/// # Errors
/// There is some.
pub fn refuse_data(task: &Task) -> Result<(), TaskError> {
    match task {
        Task::PostgresqlCluster(cluster) => postgresql::refuse_data(cluster).map_err(TaskError::PostgresqlCluster),
        Task::S3Buckets(_) | Task::PostgresqlContents(_) => Ok(()),
    }
}

/// Does what a task has to do in this phase, and logs what it changed. Descriptors that the service must hold for as
/// long as it runs.
///
/// # Errors
/// The reason; the service is not started, or stopped again.
pub async fn run(task: &Task, phase: TaskPhase, around: Surroundings<'_>) -> Result<Vec<OwnedFd>, TaskError> {
    match task {
        Task::S3Buckets(buckets) => {
            let created = s3_buckets::create_buckets(buckets, Some(around.listeners)).await;
            created.map_err(TaskError::S3Buckets)?.iter().for_each(|outcome| tracing::info!("{outcome}"));
            Ok(vec![])
        }
        Task::PostgresqlCluster(cluster) => {
            postgresql::run(cluster, phase, around).await.map_err(TaskError::PostgresqlCluster)
        }
        Task::PostgresqlContents(contents) => {
            postgresql::once_answering(contents, around).await.map_err(TaskError::PostgresqlContents)?;
            Ok(vec![])
        }
    }
}
