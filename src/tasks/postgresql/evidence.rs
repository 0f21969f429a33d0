//! What is on the volume, before anything is made on it or removed from it.
//!
//! A new cluster beside an old one is lost data: what looks like another cluster, or like an upgrade that did not end,
//! stops the start with what was found. Whether a pid file is stale is decided by what the process is, not by its
//! number: in a container, numbers come back.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::initialise::{self, FOLDER};
use super::journal::Journal;
use super::{ClusterError, lock};
use crate::plan::PostgresqlCluster;

/// What the data folder holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// An initialisation of ours that has not ended.
    Partial(Journal),
    Cluster {
        major: String,
    },
}

/// Entries that a volume may have of its own.
const OF_THE_VOLUME: [&str; 3] = ["lost+found", ".snapshot", ".zfs"];

/// Looks at the data folder.
///
/// # Errors
/// It cannot be read, or holds neither a cluster nor nothing.
pub fn look(cluster: &PostgresqlCluster) -> Result<Found, ClusterError> {
    let data = &cluster.data;
    if let Some(journal) = Journal::read(&initialise::journal_path(data))? {
        return Ok(Found::Partial(journal));
    }
    match fs::read_to_string(data.join("PG_VERSION")) {
        Ok(text) => complete(data, text.trim()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => nothing_else(data),
        Err(error) => Err(ClusterError::file(&data.join("PG_VERSION"), "read", &error)),
    }
}

/// initdb writes PG_VERSION first: by itself it proves nothing.
fn complete(data: &Path, major: &str) -> Result<Found, ClusterError> {
    let control = data.join("global/pg_control");
    if control.metadata().is_ok_and(|file| file.len() > 0) {
        return Ok(Found::Cluster { major: major.to_owned() });
    }
    Err(ClusterError::refused(format!(
        "{} has PG_VERSION and no global/pg_control: an initialisation by other means was interrupted, or files were \
         lost\n  restore a backup, or empty the folder for a new cluster",
        data.display()
    )))
}

fn nothing_else(data: &Path) -> Result<Found, ClusterError> {
    let entries = fs::read_dir(data).map_err(|error| ClusterError::file(data, "read", &error))?;
    let mut others = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| ClusterError::file(data, "read", &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A folder of ours without a journal: the first one was not written to its end.
        if name != lock::FILE && name != FOLDER && !OF_THE_VOLUME.contains(&name.as_str()) {
            others.push(name);
        }
    }
    if others.is_empty() {
        return Ok(Found::Nothing);
    }
    others.sort();
    others.truncate(5);
    Err(ClusterError::refused(format!(
        "{} holds no cluster and is not empty: {}\n  accepted: a data folder of PostgreSQL, or an empty one; set PGDATA \
         to another folder, or move these away",
        data.display(),
        others.join(", ")
    )))
}

/// The words for a cluster of another major version.
pub fn other_version(data: &Path, found: &str, ours: &str) -> ClusterError {
    ClusterError::refused(format!(
        "{} is a cluster of PostgreSQL {found}, and this server is {ours}\n  run it with an image of PostgreSQL {found}, \
         or bring it to {ours} first (pg_upgrade, or dump and restore); nothing was changed",
        data.display()
    ))
}

// --- other clusters -----------------------------------------------------------------------------------------------

/// Folders below the volume's own are looked at this far down, and no more entries than this.
const DEPTH: usize = 3;
const MOST_ENTRIES: usize = 20_000;

/// Refuses a new cluster beside anything that looks like an old one.
///
/// # Errors
/// What was found.
pub fn refuse_other_clusters(cluster: &PostgresqlCluster) -> Result<(), ClusterError> {
    let found = other_clusters(&cluster.data);
    if found.is_empty() {
        return Ok(());
    }
    let all = found.join("; ");
    if cluster.beside_data {
        tracing::warn!("a new cluster is made beside {all}");
        return Ok(());
    }
    Err(ClusterError::refused(format!(
        "{} is empty, and on the same volume is {all}\n  a new cluster beside an old one would look like lost data: set \
         PGDATA to the folder of the old one, finish its upgrade, or set POSTGRES_INIT_BESIDE_DATA=yes to begin anew",
        cluster.data.display()
    )))
}

fn other_clusters(data: &Path) -> Vec<String> {
    let Some(top) = volume_of(data) else { return vec![] };
    let (mut found, mut left) = (Vec::new(), MOST_ENTRIES);
    let mut level = vec![top];
    for _ in 0..=DEPTH {
        let mut next = Vec::new();
        for folder in level {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten().take(left) {
                left -= 1;
                let path = entry.path();
                if path == data {
                    continue;
                }
                found.extend(looks_like_a_cluster(&path));
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    next.push(path);
                }
            }
        }
        level = next;
    }
    found
}

fn looks_like_a_cluster(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if let Ok(version) = fs::read_to_string(path.join("PG_VERSION"))
        // The folders of databases have one, too.
        && path.join("global").exists()
    {
        return Some(format!("{} (a cluster of PostgreSQL {})", path.display(), version.trim()));
    }
    let upgrade = name.contains("upgrade") && (name.ends_with(".lock") || name.ends_with(".d"));
    if upgrade || name == "delete_old_cluster.sh" {
        return Some(format!("{} (an upgrade that may not have ended)", path.display()));
    }
    let may_be_data = name.ends_with("_old") || name.ends_with(".old") || matches!(name, "data" | "pgdata" | "docker");
    let closed = fs::read_dir(path).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let old = name.ends_with("_old") && path.is_dir();
    (old || may_be_data && closed).then(|| {
        let reason = if closed { "which cannot be read" } else { "kept by an upgrade" };
        format!("{} ({reason})", path.display())
    })
}

/// The mount point above the data folder; on the root file system, the folder that holds it.
fn volume_of(data: &Path) -> Option<PathBuf> {
    let device = |path: &Path| path.metadata().map(|metadata| metadata.dev()).ok();
    let own = device(data)?;
    let mounted = data.ancestors().take_while(|ancestor| device(ancestor) == Some(own)).last()?;
    let top = if mounted == Path::new("/") { data.parent()? } else { mounted };
    Some(top.to_owned())
}

// --- permissions --------------------------------------------------------------------------------------------------

/// PostgreSQL refuses a folder of somebody else, or one that others may read (initdb(1), `--allow-group-access`).
///
/// # Errors
/// It is not ours.
pub fn mend_permissions(data: &Path) -> Result<(), ClusterError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(data);
    made.map_err(|error| ClusterError::file(data, "made", &error))?;
    let metadata = data.metadata().map_err(|error| ClusterError::file(data, "looked at", &error))?;
    let own = nix::unistd::geteuid().as_raw();
    if metadata.uid() != own {
        return Err(of_somebody_else(data, &metadata, own));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 == 0 {
        return Ok(());
    }
    let mended = if mode & 0o050 == 0o050 { 0o750 } else { 0o700 };
    let set = fs::set_permissions(data, fs::Permissions::from_mode(mended));
    set.map_err(|error| ClusterError::file(data, "given the mode of a data folder", &error))?;
    tracing::info!("{}: mode {mode:o} -> {mended:o}, as PostgreSQL wants it", data.display());
    Ok(())
}

fn of_somebody_else(data: &Path, metadata: &Metadata, own: u32) -> ClusterError {
    let message = format!(
        "{0} belongs to uid {1}, and the server runs as {own}: PostgreSQL refuses it\n  chown it once (chown -R {own} \
         {0}), start the container as root, or, where a volume belongs to root and a group, set PGDATA to a folder \
         below it",
        data.display(),
        metadata.uid()
    );
    ClusterError { status: crate::exit::CANNOT_WRITE, message }
}

// --- files of an earlier server -----------------------------------------------------------------------------------

/// Removes the pid file and the socket's lock file of a server that is gone.
///
/// # Errors
/// It is not gone.
pub fn clear_lock_files(data: &Path, socket: &Path, port: u16) -> Result<(), ClusterError> {
    clear_pid_file(&data.join("postmaster.pid"), data)?;
    clear_pid_file(&socket.join(format!(".s.PGSQL.{port}.lock")), data)
}

/// The same for one of them, by the process id in its first line.
///
/// # Errors
/// A server runs on this data folder.
pub fn clear_pid_file(path: &Path, data: &Path) -> Result<(), ClusterError> {
    let (text, metadata) = match (fs::read_to_string(path), path.metadata()) {
        (Ok(text), Ok(metadata)) => (text, metadata),
        (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        (Err(error), _) | (_, Err(error)) => return Err(ClusterError::file(path, "read", &error)),
    };
    let pid = text.lines().next().and_then(|line| line.trim().parse::<i32>().ok());
    if let Some(pid) = pid
        && is_server_on(pid, data, &metadata)
    {
        return Err(ClusterError::refused(format!(
            "{} names process {pid}, a server that runs on {}\n  stop it first; two servers on one folder destroy it",
            path.display(),
            data.display()
        )));
    }
    fs::remove_file(path).map_err(|error| ClusterError::file(path, "removed", &error))?;
    let of = pid.map_or(String::new(), |pid| format!(" of process {pid}"));
    tracing::info!("{}{of} is left from a server that is gone: removed", path.display());
    Ok(())
}

/// A process is that server only if it lives and is no thread, is older than the file, called postgres, and at home in
/// this folder. What `/proc` does not show may be it.
fn is_server_on(pid: i32, data: &Path, file: &Metadata) -> bool {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    if pid == std::process::id() as i32 {
        return false;
    }
    let Ok(started) = proc.metadata().and_then(|metadata| metadata.modified()) else { return false };
    let status = fs::read_to_string(proc.join("status")).unwrap_or_default();
    let field = |name: &str| Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned());
    // Its status has not been read yet; everything else of it is gone.
    let is_dead = field("State:").is_some_and(|state| state.starts_with(['Z', 'X']));
    let is_thread = field("Tgid:").is_some_and(|group| group != pid.to_string());
    let is_postgres = field("Name:").is_none_or(|name| name.starts_with("postgres") || name == "postmaster");
    let is_older = file.modified().is_ok_and(|written| started <= written);
    let is_there = fs::read_link(proc.join("cwd")).map_or(true, |folder| Some(folder) == data.canonicalize().ok());
    !is_dead && !is_thread && is_postgres && is_older && is_there
}

#[cfg(test)]
#[path = "evidence/tests.rs"]
mod tests;
