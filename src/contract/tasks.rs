//! What a contract says about native work: one section for each task, whose texts are expressions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::schema::{Http, S3};

/// Native work, by name: exactly one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Task {
    pub when: Option<String>,
    /// Expression of a duration.
    pub timeout: Option<String>,
    pub s3_buckets: Option<S3Buckets>,
    pub postgresql_cluster: Option<PostgresqlCluster>,
    pub postgresql_contents: Option<PostgresqlContents>,
}

/// Initialises a PostgreSQL cluster before the server starts, so that it is never half there, and reconciles it at each
/// start. Texts are expressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PostgresqlCluster {
    /// The data folder.
    pub data: String,
    /// A folder below the run directory, for the socket of a temporary server.
    pub folder: String,
    /// The file of the map `dl-entry` of user names (`ident_file`), to which the name of the service's user is added.
    pub names: String,
    /// Words for initdb, as a shell would split them; nothing is expanded.
    #[serde(default)]
    pub initdb: String,
    /// Folder of scripts for the first start.
    pub init_scripts: String,
    /// `resume`, `fail` or `wipe`: an initialisation that was interrupted.
    pub on_partial: String,
    /// `true`: a new cluster may be made although the volume holds something that looks like another one.
    pub beside_data: String,
    pub contents: PostgresqlContents,
}

/// Reconciles roles, passwords, databases and extensions with the environment once the server answers, unless it is a
/// standby; then runs the scripts of every start. Texts are expressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PostgresqlContents {
    /// The folder of the server's own socket.
    pub socket: String,
    pub port: String,
    pub superuser: String,
    pub password: String,
    #[serde(default)]
    pub roles: Vec<PostgresqlRole>,
    #[serde(default)]
    pub databases: Vec<PostgresqlDatabase>,
    /// Where scripts run.
    pub database: String,
    /// Folder of scripts for every start.
    pub start_scripts: String,
    /// Set for scripts, beside the server's environment; an empty one is left out.
    #[serde(default)]
    pub script_environment: BTreeMap<String, String>,
    /// `on`, `dry-run` or `off`.
    pub reconcile: String,
}

/// A role that can log in.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PostgresqlRole {
    pub when: Option<String>,
    /// `item in list`: one role for each.
    pub each: Option<String>,
    pub name: String,
    #[serde(default)]
    pub password: String,
    /// `true`: a standby may log in as this role.
    #[serde(default = "no")]
    pub replication: String,
}

fn no() -> String {
    "false".to_owned()
}

/// A database. An empty owner leaves it as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct PostgresqlDatabase {
    pub when: Option<String>,
    /// `item in list`: one database for each.
    pub each: Option<String>,
    pub name: String,
    #[serde(default)]
    pub owner: String,
    /// Separated by commas or blanks.
    #[serde(default)]
    pub extensions: String,
}

/// Texts are expressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3Buckets {
    pub server: S3,
    /// Answers once the server can write.
    pub quorum: Http,
    /// `name[:policy][:versioning],…`.
    pub buckets: String,
}
