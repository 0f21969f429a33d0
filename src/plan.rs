//! The plan of a start as plain data: the files, directories, waits, tasks, command, probes and stop ladder of one
//! service.
//!
//! Nothing here acts and nothing here knows where a value came from. `contract` says what a plan is made from,
//! `render` fills `Plan::files`, and `write`, `wait`, `supervise` and `health` each carry out their own part.

macro_rules! debug_without_secrets {
    ($type:ident { $($field:ident),* }) => {
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type))$(.field(stringify!($field), &self.$field))*.finish_non_exhaustive()
            }
        }
    };
}

pub mod buckets;
pub mod build;
mod tasks;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

pub use self::tasks::{
    Bucket, BucketPolicy, OnPartial, PostgresqlCluster, PostgresqlContents, PostgresqlDatabase, PostgresqlRole,
    Reconcile, S3Buckets, Task, TaskPhase,
};

/// Everything one start of one service will do, in the order it will be done.
#[derive(Debug)]
pub struct Plan {
    /// Name of the service, as in its contract.
    pub service: String,
    /// Where its rendered files are, and those an earlier configuration left behind.
    pub folder: PathBuf,
    /// Made and owned before the first file is written.
    pub directories: Vec<Directory>,
    /// Rendered in memory and already checked; written all or not at all.
    pub files: Vec<RenderedFile>,
    /// Dependencies that must answer before the service starts; all at once.
    pub waits: Vec<Wait>,
    /// Native work before and after the start (`Task::phases` says when).
    pub tasks: Vec<Task>,
    /// The service itself.
    pub command: CommandLine,
    /// The readiness probe.
    pub ready: Vec<Probe>,
    /// How long it must have told so before the service is first ready.
    pub settle: Duration,
    /// How the service is asked to stop, gentlest first. A KILL always follows the last rung.
    pub stop: Vec<StopRung>,
}

/// A directory the service writes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    pub path: PathBuf,
    pub mode: u32,
}

/// One file, complete, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedFile {
    pub path: PathBuf,
    pub contents: Vec<u8>,
    pub mode: u32,
    /// The variables whose values are in this file; named when the operator's own file is kept instead.
    pub variables: Vec<String>,
}

/// One dependency, and how long it may take.
#[derive(Debug, Clone)]
pub struct Wait {
    /// The operator's name for it: the URL without credentials, or the path.
    pub name: String,
    pub target: Target,
    /// Own deadline, counted from the start of the wait; the total one is `DL_WAIT_TIMEOUT`.
    pub timeout: Option<Duration>,
}

/// The protocol of a dependency.
#[derive(Debug, Clone)]
pub enum Target {
    /// A connection is accepted.
    Tcp { host: String, port: u16 },
    /// A connection to this socket is accepted.
    Unix { path: PathBuf },
    /// The name resolves to at least one address.
    Dns { host: String },
    /// The path exists.
    File { path: PathBuf },
    /// A request is answered as expected.
    Http(HttpProbe),
    /// The server completes a login to this database: "starting up" is not ready, a wrong password is final.
    Postgres(PostgresTarget),
    /// A signed HeadBucket (or ListBuckets where no bucket is named) succeeds.
    S3(S3Target),
    /// One member answers `/health` with `"health":"true"`.
    Etcd { endpoints: Vec<String> },
}

/// A PostgreSQL login. `password` is a secret and is never printed.
#[derive(Clone)]
pub struct PostgresTarget {
    /// Host and port of each server, tried in this order.
    pub servers: Vec<(String, u16)>,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    /// libpq's `sslmode`: `disable`, `prefer`, `require`, `verify-ca`, `verify-full`.
    pub sslmode: String,
    pub root_certificate: Option<PathBuf>,
    /// Tables to look for after the login; if empty, nothing is asked.
    pub refused: Vec<RefusedTables>,
    /// Where tables are looked up; `None` leaves that to the server.
    pub search_path: Option<String>,
    /// libpq's `options`.
    pub options: Option<String>,
    /// The driver's proof of its identity; `None` where the password is enough.
    pub identity: Option<ClientIdentity>,
    /// Which of the servers the driver uses.
    pub kind: ServerKind,
    /// The next server is asked where this one refuses, too, as pgjdbc does and libpq does not.
    pub past_refusals: bool,
}

/// A client certificate and its key, as the driver's `sslcert` and `sslkey` name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// pgjdbc's `targetServerType`, as far as it keeps the driver from a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerKind {
    /// The preferred kinds, too: the standby of a server has the same tables.
    Any,
    Primary,
    Standby,
}

/// A database in which all of `found` are, and not all of `missing`: no waiting changes that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedTables {
    pub found: Vec<String>,
    pub missing: Vec<String>,
    /// Variable that is to be set another way.
    pub variable: String,
    /// The variable, what is wrong, and what to do.
    pub message: String,
}

/// An S3 endpoint with static credentials. `secret_key` is a secret and is never printed.
#[derive(Clone)]
pub struct S3Target {
    /// Scheme, host and port, and a path where the server is not at the root.
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
    /// `None` asks only whether the credentials are accepted (ListBuckets).
    pub bucket: Option<String>,
    pub path_style: bool,
    /// Do not verify the certificate: only for one's own address.
    pub insecure_tls: bool,
    pub root_certificate: Option<PathBuf>,
}

/// One HTTP request and what counts as the right answer.
#[derive(Clone)]
pub struct HttpProbe {
    pub method: String,
    pub url: String,
    /// May hold credentials: values are never printed.
    pub headers: Vec<(String, String)>,
    pub body: Option<String>,
    /// Accepted status codes; empty accepts 200–299.
    pub statuses: Vec<u16>,
    /// JSON pointers (RFC 6901) into the answer and what must be found there.
    pub json: Vec<(String, JsonExpectation)>,
    /// Do not verify the server's certificate: only for the service's own loopback address.
    pub insecure_tls: bool,
    /// Trusted in addition to the system's certificates.
    pub root_certificate: Option<PathBuf>,
}

/// The value expected at a JSON pointer.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonExpectation {
    Equals(serde_json::Value),
    /// An array of at least this many items, or a number of at least this value.
    AtLeast(u64),
}

/// One question asked of the service itself.
#[derive(Debug, Clone)]
pub enum Probe {
    Http(HttpProbe),
    Tcp {
        host: String,
        port: u16,
    },
    /// A login.
    Postgres(PostgresTarget),
}

/// Where a program is looked for when there is no PATH: Docker's own default.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The command to execute. `environment` has a secret only if the contract exports it.
#[derive(Clone)]
pub struct CommandLine {
    /// Program first; looked up in the child's own PATH when it has no slash.
    pub argv: Vec<OsString>,
    /// The whole environment of the child: built, never inherited.
    pub environment: Vec<(OsString, OsString)>,
    pub working_directory: Option<PathBuf>,
}

/// One step of stopping: do this, then give the service this long to end.
#[derive(Debug, Clone)]
pub struct StopRung {
    pub action: StopAction,
    pub within: Duration,
}

/// The action of a rung.
#[derive(Debug, Clone)]
pub enum StopAction {
    /// A signal number to the service's process group.
    Signal(i32),
    /// A request to the service (a drain, for one). Its failure is logged and the ladder goes on at once.
    Http(HttpProbe),
}

debug_without_secrets!(PostgresTarget { servers, user, database, sslmode });
debug_without_secrets!(S3Target { endpoint, region, bucket, path_style });
debug_without_secrets!(HttpProbe { method, url, statuses, json, insecure_tls });
debug_without_secrets!(CommandLine { argv, working_directory });
