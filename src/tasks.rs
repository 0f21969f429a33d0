//! Native work a contract asks for by name; the only service-specific code there is.
//!
//! Runs what `Plan::tasks` lists. Each task is idempotent, bounded in time, and ends when its future is dropped.

pub mod s3_buckets;

use std::fmt;

use crate::net::listeners::Listeners;
use crate::plan::Task;

/// A task that could not be done, by its name.
#[derive(Debug)]
pub enum TaskError {
    S3Buckets(s3_buckets::BucketsError),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::S3Buckets(error) => write!(f, "task s3-buckets: {error}"),
        }
    }
}

impl std::error::Error for TaskError {}

/// Does one task to its end and logs what it changed. Only at a server that is the service.
pub async fn run(task: &Task, listeners: &Listeners) -> Result<(), TaskError> {
    match task {
        Task::S3Buckets(buckets) => {
            for outcome in s3_buckets::create_buckets(buckets, Some(listeners)).await.map_err(TaskError::S3Buckets)? {
                tracing::info!("{outcome}");
            }
        }
    }
    Ok(())
}
