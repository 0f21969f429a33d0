//! A PostgreSQL cluster that is there completely or not at all, and stays what the environment says.
//!
//! Before the start: the data folder is locked for as long as the server runs, evidence of another server or cluster is
//! looked for, and a new cluster is made in a folder of its own, stage by stage, until it is moved into place. Once the
//! server answers: roles, passwords, databases and extensions are compared with the environment, and the scripts of
//! every start run. Nobody else can reach the server of the first part: its socket is in a private folder.

mod evidence;
mod initialise;
mod journal;
mod lock;
mod names;
pub mod post_bootstrap;
mod programs;
mod reconcile;
mod scram;
mod scripts;
mod server;
mod session;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::exit;
use crate::plan::{PostgresqlCluster, PostgresqlContents, Reconcile, TaskPhase};
use crate::tasks::Surroundings;

pub use names::add_present_user;

use evidence::Found;
use session::Session;

/// Why the cluster cannot be served: what is wrong, and what to do about it.
#[derive(Debug)]
pub struct ClusterError {
    status: u8,
    message: String,
}

impl ClusterError {
    /// What the operator has to decide or to change.
    fn refused(message: impl Into<String>) -> ClusterError {
        ClusterError { status: exit::CONTRACT, message: message.into() }
    }

    /// A step that did not work; the next start tries again.
    fn failed(message: impl Into<String>) -> ClusterError {
        ClusterError { status: exit::DEPENDENCY, message: message.into() }
    }

    fn file(path: &Path, verb: &str, error: &std::io::Error) -> ClusterError {
        let message = format!("{} cannot be {verb}: {}", path.display(), crate::text::reason(error));
        ClusterError { status: exit::CANNOT_WRITE, message }
    }

    /// The status to end with.
    pub fn status(&self) -> u8 {
        self.status
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ClusterError {}

/// Refuses a data folder with a complete cluster; one whose initialisation was interrupted has none.
///
/// # Errors
/// There is one, or the folder cannot be read.
pub fn refuse_data(cluster: &PostgresqlCluster) -> Result<(), ClusterError> {
    match evidence::look(cluster)? {
        Found::Cluster { major } => Err(ClusterError::refused(format!(
            "{} holds a cluster of PostgreSQL {major} already\n  without --enforce it would be left as it is",
            cluster.data.display()
        ))),
        Found::Nothing | Found::Partial(_) => Ok(()),
    }
}

/// Does what this phase asks for. The lock on the data folder, which the server must hold.
///
/// # Errors
/// The cluster cannot be made, or must not be served.
pub async fn run(
    cluster: &PostgresqlCluster,
    phase: TaskPhase,
    around: Surroundings<'_>,
) -> Result<Vec<OwnedFd>, ClusterError> {
    match phase {
        TaskPhase::BeforeStart => before_start(cluster, around).await.map(|lock| vec![lock]),
        TaskPhase::AfterWaits => Ok(vec![]),
        TaskPhase::OnceAnswering => once_answering(&cluster.contents, around).await.map(|()| vec![]),
    }
}

async fn before_start(cluster: &PostgresqlCluster, around: Surroundings<'_>) -> Result<OwnedFd, ClusterError> {
    evidence::mend_permissions(&cluster.data)?;
    // Before anything is removed that an earlier server has left behind.
    let lock = lock::acquire(&cluster.data, lock::PATIENCE).await?;
    evidence::clear_lock_files(&cluster.data, &cluster.contents.socket, cluster.contents.port)?;
    let major = programs::major_version(around).await?;
    match evidence::look(cluster)? {
        Found::Cluster { major: found } if found == major => {}
        Found::Cluster { major: found } => return Err(evidence::other_version(&cluster.data, &found, &major)),
        Found::Nothing => {
            evidence::refuse_other_clusters(cluster)?;
            initialise::begin(cluster, around, std::slice::from_ref(&lock)).await?;
        }
        Found::Partial(journal) => initialise::go_on(cluster, journal, around, std::slice::from_ref(&lock)).await?,
    }
    Ok(lock)
}

/// Brings the contents of a server that runs to what the environment says.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn once_answering(contents: &PostgresqlContents, around: Surroundings<'_>) -> Result<(), ClusterError> {
    let place = session::Place { socket: &contents.socket, port: contents.port };
    let scripts = scripts::list(&contents.start_scripts)?;
    if contents.reconcile == Reconcile::Off && scripts.is_empty() {
        return Ok(());
    }
    let session = Session::once_answering(place, contents, "postgres").await?;
    if session.is_standby().await? {
        tracing::info!("this server is a standby: roles and databases are those of its primary");
        return Ok(());
    }
    if contents.reconcile != Reconcile::Off {
        reconcile::apply(contents, &session, place, contents.reconcile == Reconcile::DryRun).await?;
    }
    reconcile::tell_collations(&session).await?;
    drop(session);
    for script in &scripts {
        scripts::run(script, contents, place, around).await?;
    }
    Ok(())
}
