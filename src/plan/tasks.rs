//! Native work as plain data.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{HttpProbe, S3Target};

/// When a task is done. The service is not ready before all of them are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskPhase {
    /// After root is given up, before the dependencies are waited for.
    BeforeStart,
    /// The dependencies answer, the service does not run yet.
    AfterWaits,
    /// The service runs; the task finds out itself when it answers.
    OnceAnswering,
}

/// Native work: the only service-specific code there is.
#[derive(Debug, Clone)]
pub enum Task {
    /// Create buckets over the S3 API once the server has quorum.
    S3Buckets(S3Buckets),
    /// Initialise a PostgreSQL cluster before the server starts, reconcile it once it answers.
    PostgresqlCluster(PostgresqlCluster),
    /// Reconcile a cluster that somebody else initialises, once its server answers.
    PostgresqlContents(PostgresqlContents),
}

impl Task {
    /// As a contract names it.
    pub fn name(&self) -> &'static str {
        match self {
            Task::S3Buckets(_) => "s3-buckets",
            Task::PostgresqlCluster(_) => "postgresql-cluster",
            Task::PostgresqlContents(_) => "postgresql-contents",
        }
    }

    /// When there is something to do.
    pub fn phases(&self) -> &'static [TaskPhase] {
        match self {
            Task::S3Buckets(_) | Task::PostgresqlContents(_) => &[TaskPhase::OnceAnswering],
            Task::PostgresqlCluster(_) => &[TaskPhase::BeforeStart, TaskPhase::OnceAnswering],
        }
    }
}

/// A PostgreSQL cluster that is made here where there is none.
#[derive(Clone)]
pub struct PostgresqlCluster {
    /// The data folder (PGDATA).
    pub data: PathBuf,
    /// A folder of the run directory, for the temporary server's socket and rules.
    pub folder: PathBuf,
    /// The map `dl-entry` of user names; that of the service's user is added.
    pub names: PathBuf,
    /// Further words for initdb.
    pub initdb: Vec<String>,
    /// A folder of scripts for the first start.
    pub init_scripts: PathBuf,
    pub on_partial: OnPartial,
    /// A new cluster may be made although something on the volume looks like another one.
    pub beside_data: bool,
    pub contents: PostgresqlContents,
}

/// The contents of a PostgreSQL cluster as the operator wants them. `password` and those of the roles are secrets and are
/// never printed.
#[derive(Clone)]
pub struct PostgresqlContents {
    /// The folder of the server's socket, and the port in its name.
    pub socket: PathBuf,
    pub port: u16,
    pub superuser: String,
    pub password: Option<String>,
    pub roles: Vec<PostgresqlRole>,
    pub databases: Vec<PostgresqlDatabase>,
    /// Where scripts run.
    pub database: String,
    /// A folder of scripts for every start.
    pub start_scripts: PathBuf,
    /// Variables for scripts, beside the server's own environment. May hold secrets.
    pub script_environment: Vec<(OsString, OsString)>,
    pub reconcile: Reconcile,
    /// The server must answer within this time, recovery left out.
    pub timeout: Duration,
}

/// A role that can log in.
#[derive(Clone, Deserialize)]
pub struct PostgresqlRole {
    pub name: String,
    /// A new role without one cannot log in by password; that of an old role is left alone.
    pub password: Option<String>,
    /// A standby may log in as this role.
    #[serde(default)]
    pub replication: bool,
}

/// A database with its owner and extensions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PostgresqlDatabase {
    pub name: String,
    /// `None`: the superuser of a new one, and whoever it is of an old one.
    pub owner: Option<String>,
    #[serde(default)]
    pub extensions: Vec<String>,
}

/// What to do about an initialisation that was interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnPartial {
    /// Go on where it stopped, or from the beginning where that is not certain.
    Resume,
    /// Stop, and say so.
    Fail,
    /// Begin again.
    Wipe,
}

/// What to do about a cluster that differs from the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reconcile {
    On,
    /// Say what would be changed.
    DryRun,
    Off,
}

/// The buckets to have, and where.
#[derive(Debug, Clone)]
pub struct S3Buckets {
    /// `bucket` is `None`.
    pub server: S3Target,
    /// Answers once the server has write quorum.
    pub quorum: HttpProbe,
    pub buckets: Vec<Bucket>,
    pub timeout: Duration,
}

/// One bucket. Existing ones are left as they are, but for versioning and policy where they are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    pub policy: BucketPolicy,
    pub versioning: bool,
}

/// Anonymous access, in the words of `mc anonymous set` and Bitnami's `MINIO_DEFAULT_BUCKETS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketPolicy {
    /// Nothing was asked for: an existing bucket keeps the policy it has, a new one is private.
    Unset,
    /// `none`, `private`: no anonymous access.
    Private,
    /// `download`, `readonly`, `read-only`: anyone may read.
    Download,
    /// `upload`, `writeonly`, `write-only`: anyone may write.
    Upload,
    /// `public`, `readwrite`, `read-write`: anyone may read and write.
    Public,
}

debug_without_secrets!(PostgresqlCluster { data, init_scripts, on_partial, contents });
debug_without_secrets!(PostgresqlContents { socket, port, superuser, database, databases, reconcile });
debug_without_secrets!(PostgresqlRole { name });
