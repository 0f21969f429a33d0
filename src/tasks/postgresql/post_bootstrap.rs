//! `dl-entry post-bootstrap`: the program Patroni runs on a new cluster, before anybody can use it (`post_bootstrap` in
//! its documentation). Where it fails, Patroni removes the cluster and begins again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::ClusterError;
use super::reconcile;
use super::session::{Place, Session};
use crate::plan::{PostgresqlContents, PostgresqlDatabase, PostgresqlRole, Reconcile};
use crate::read;
use crate::secrets::Secrets;

/// The server runs already.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The file with the contents, which `run` has rendered.
#[derive(Deserialize)]
struct File {
    socket: PathBuf,
    port: u16,
    superuser: String,
    password: Option<String>,
    roles: Vec<PostgresqlRole>,
    databases: Vec<PostgresqlDatabase>,
}

/// Makes roles, databases and extensions in the cluster.
///
/// # Errors
/// The file cannot be read, or the server refuses.
pub async fn run(path: &Path) -> Result<(), ClusterError> {
    let text = read::text(path, read::CONTRACT).map_err(|error| ClusterError::file(path, "read", &error))?;
    let file: File = serde_json::from_str(&text).map_err(|error| {
        ClusterError::refused(format!("{} does not list roles and databases: {error}", path.display()))
    })?;
    let passwords = file.roles.iter().filter_map(|role| role.password.as_ref()).chain(&file.password);
    passwords.for_each(|password| Secrets::of_this_run().add("password", password.as_bytes()));
    // A template prints what is unset as an empty text.
    let set = |text: Option<String>| text.filter(|text| !text.is_empty());
    let roles = file.roles.into_iter().map(|role| PostgresqlRole { password: set(role.password), ..role });
    let databases =
        file.databases.into_iter().map(|database| PostgresqlDatabase { owner: set(database.owner), ..database });
    let contents = PostgresqlContents {
        socket: file.socket,
        port: file.port,
        superuser: file.superuser,
        password: set(file.password),
        roles: roles.collect(),
        databases: databases.collect(),
        database: String::new(),
        start_scripts: PathBuf::new(),
        script_environment: vec![],
        reconcile: Reconcile::On,
        timeout: TIMEOUT,
    };
    let place = Place { socket: &contents.socket, port: contents.port };
    let session = Session::once_answering(place, &contents, "postgres").await?;
    reconcile::apply(&contents, &session, place, false).await
}
