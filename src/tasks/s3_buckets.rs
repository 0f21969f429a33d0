//! The buckets an operator asks for, made over the S3 API once the server has quorum.
//!
//! Owns the anonymous policies as documents; `plan::buckets` reads the list. Idempotent, so every
//! node of a cluster may do it at once and at each start. Never deletes a bucket, never switches versioning off.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::net::connect;
use crate::net::http;
use crate::net::listeners::Listeners;
use crate::net::s3::{self, Creation, S3Error};
use crate::plan::{Bucket, BucketPolicy, S3Buckets, S3Target};
use crate::wait::{ATTEMPT, Backoff, pause};

/// The outcome for one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub bucket: String,
    /// `false`: it was there before, or another node was quicker.
    pub created: bool,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bucket {} {}", self.bucket, if self.created { "created" } else { "was there" })
    }
}

/// Why not every bucket is as asked for.
#[derive(Debug)]
pub enum BucketsError {
    /// The server never had quorum; nothing was tried.
    NoQuorum { timeout: Duration, last: String, missing: Vec<String> },
    /// The time is over with these buckets missing or not set up; `last` is about the first of them.
    Deadline { timeout: Duration, last: String, missing: Vec<String> },
    /// The server refused this bucket for good.
    Refused { bucket: String, error: S3Error },
}

impl fmt::Display for BucketsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQuorum { timeout, last, missing } => write!(
                f,
                "the server had no quorum within {}: {last}\nnot created: {}",
                connect::in_words(*timeout),
                missing.join(", ")
            ),
            Self::Deadline { timeout, last, missing } => write!(
                f,
                "not all buckets are ready within {}: {last}\nnot ready: {}",
                connect::in_words(*timeout),
                missing.join(", ")
            ),
            Self::Refused { bucket, error } => write!(f, "bucket {bucket}: {error}"),
        }
    }
}

impl std::error::Error for BucketsError {}

/// Waits for quorum, then creates and sets up every bucket, in the order given. With `listeners` the server must be the
/// service: keys are not shown to a stranger.
pub async fn create_buckets(task: &S3Buckets, listeners: Option<&Listeners>) -> Result<Vec<Outcome>, BucketsError> {
    let end = Instant::now() + task.timeout;
    quorum(task, listeners, end).await?;
    let mut outcomes = Vec::new();
    for bucket in &task.buckets {
        outcomes.push(ready_bucket(task, listeners, bucket, end).await?);
    }
    Ok(outcomes)
}

async fn quorum(task: &S3Buckets, listeners: Option<&Listeners>, end: Instant) -> Result<(), BucketsError> {
    let mut backoff = Backoff::new();
    loop {
        let asked = match listeners {
            Some(listeners) => listeners.ask(&task.quorum, until(end)).await,
            None => http::ask(&task.quorum, until(end)).await,
        };
        let Err(unmet) = asked else { return Ok(()) };
        tracing::debug!("waiting for quorum: {unmet}");
        if !unmet.reason.may_pass() || !pause(backoff.next_pause(), end).await {
            let missing = names(&task.buckets);
            return Err(BucketsError::NoQuorum { timeout: task.timeout, last: unmet.to_string(), missing });
        }
    }
}

async fn ready_bucket(
    task: &S3Buckets,
    listeners: Option<&Listeners>,
    bucket: &Bucket,
    end: Instant,
) -> Result<Outcome, BucketsError> {
    let mut backoff = Backoff::new();
    let mut created = false;
    loop {
        let outcome = match refuse_stranger(&task.server, listeners).await {
            Ok(()) => set_up(&task.server, bucket, end, &mut created).await,
            refused => refused,
        };
        let Err(error) = outcome else { return Ok(Outcome { bucket: bucket.name.clone(), created }) };
        tracing::debug!("bucket {}: {error}", bucket.name);
        if !error.may_pass() {
            return Err(BucketsError::Refused { bucket: bucket.name.clone(), error });
        }
        if !pause(backoff.next_pause(), end).await {
            let missing = names(task.buckets.iter().skip_while(|other| *other != bucket));
            let last = format!("bucket {}: {error}", bucket.name);
            return Err(BucketsError::Deadline { timeout: task.timeout, last, missing });
        }
    }
}

async fn refuse_stranger(server: &S3Target, listeners: Option<&Listeners>) -> Result<(), S3Error> {
    match listeners {
        Some(listeners) => listeners.check(&server.endpoint).await.map_err(S3Error::Http),
        None => Ok(()),
    }
}

/// `created` outlives a failure half way, so that what is told at the end is right.
async fn set_up(server: &S3Target, bucket: &Bucket, end: Instant, created: &mut bool) -> Result<(), S3Error> {
    if !s3::bucket_exists(server, &bucket.name, until(end)).await? {
        *created |= s3::create_bucket(server, &bucket.name, until(end)).await? == Creation::Created;
    }
    if bucket.versioning {
        s3::enable_versioning(server, &bucket.name, until(end)).await?;
    }
    match bucket.policy {
        BucketPolicy::Unset => Ok(()),
        policy => s3::set_policy(server, &bucket.name, policy_document(&bucket.name, policy), until(end)).await,
    }
}

/// The time one call may take: counted anew for each, or several together outlast the end.
fn until(end: Instant) -> Duration {
    ATTEMPT.min(end.saturating_duration_since(Instant::now()))
}

fn names<'a>(buckets: impl IntoIterator<Item = &'a Bucket>) -> Vec<String> {
    buckets.into_iter().map(|bucket| bucket.name.clone()).collect()
}

/// The policy `mc anonymous set` writes (minio-go, `pkg/policy`); `None` for no anonymous access.
fn policy_document(bucket: &str, policy: BucketPolicy) -> Option<String> {
    let (on_bucket, on_objects): (&[&str], &[&str]) = match policy {
        BucketPolicy::Unset | BucketPolicy::Private => return None,
        BucketPolicy::Download => (&["s3:GetBucketLocation", "s3:ListBucket"], &["s3:GetObject"]),
        BucketPolicy::Upload => (
            &["s3:GetBucketLocation", "s3:ListBucketMultipartUploads"],
            &["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:ListMultipartUploadParts", "s3:PutObject"],
        ),
        BucketPolicy::Public => (
            &["s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
            &[
                "s3:AbortMultipartUpload",
                "s3:DeleteObject",
                "s3:GetObject",
                "s3:ListMultipartUploadParts",
                "s3:PutObject",
            ],
        ),
    };
    let document = json!({
        "Version": "2012-10-17",
        "Statement": [
            allow(on_bucket, format!("arn:aws:s3:::{bucket}")),
            allow(on_objects, format!("arn:aws:s3:::{bucket}/*")),
        ],
    });
    Some(document.to_string())
}

fn allow(actions: &[&str], resource: String) -> Value {
    json!({ "Effect": "Allow", "Principal": { "AWS": ["*"] }, "Action": actions, "Resource": [resource] })
}

#[cfg(test)]
#[path = "s3_buckets/tests.rs"]
mod tests;
