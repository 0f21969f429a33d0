//! A new cluster, stage by stage, in a folder of its own inside the data folder, until it is complete.
//!
//! What is in that folder has never been served. An interrupted stage is done again where that is harmless, and the
//! whole initialisation begins again where nobody can tell how far it came: in the middle of initdb or of a script.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SecureRandom as _;

use super::ClusterError;
use super::evidence;
use super::journal::{Journal, ScriptDone, Stage, sync_folder};
use super::programs;
use super::reconcile;
use super::scripts::{self, Script};
use super::server::Temporary;
use crate::pid1::children::Exit;
use crate::plan::{OnPartial, PostgresqlCluster};
use crate::tasks::Surroundings;

/// In the data folder, until the cluster is in place.
pub const FOLDER: &str = ".dl-init";
const JOURNAL: &str = "journal.json";
/// The journal of a finished initialisation, in the data folder.
const FINISHED: &str = "dl-entry.json";
/// The file by which PostgreSQL knows a data folder; the last to be moved.
const LAST: &str = "PG_VERSION";

/// The path of the journal of an unfinished initialisation.
pub fn journal_path(data: &Path) -> PathBuf {
    data.join(FOLDER).join(JOURNAL)
}

/// Begins with an empty data folder.
///
/// # Errors
/// The stage that failed; the next start goes on.
pub async fn begin(
    cluster: &PostgresqlCluster,
    around: Surroundings<'_>,
    lock: &[OwnedFd],
) -> Result<(), ClusterError> {
    tracing::info!("initialising a new cluster in {}", cluster.data.display());
    go_through(&mut Initialisation::new(cluster, Journal::new(), around, lock)?).await
}

/// Goes on with what an earlier start has begun, as the operator wants it.
///
/// # Errors
/// The stage that failed, or that it must not go on.
pub async fn go_on(
    cluster: &PostgresqlCluster,
    journal: Journal,
    around: Surroundings<'_>,
    lock: &[OwnedFd],
) -> Result<(), ClusterError> {
    let mut initialisation = Initialisation::new(cluster, journal, around, lock)?;
    let left = initialisation.journal.in_words();
    let unclear = initialisation.unclear();
    match (cluster.on_partial, unclear) {
        (OnPartial::Fail, _) => {
            return Err(ClusterError::refused(format!(
                "the initialisation of {} was interrupted {left}\n  nothing of it was ever served: let it be resumed or \
                 wiped, or empty the folder",
                cluster.data.display()
            )));
        }
        // From here on the cluster is complete.
        (_, _) if initialisation.journal.stage >= Stage::Moving => tracing::info!("the initialisation goes on {left}"),
        (OnPartial::Wipe, _) | (_, true) => {
            tracing::warn!("the initialisation was interrupted {left}: it begins again; nothing of it was ever served");
            initialisation.start_over()?;
        }
        (OnPartial::Resume, false) => tracing::info!("the initialisation was interrupted {left}: it goes on there"),
    }
    go_through(&mut initialisation).await
}

async fn go_through(initialisation: &mut Initialisation<'_>) -> Result<(), ClusterError> {
    if initialisation.journal.stage == Stage::Cluster {
        initialisation.make_cluster().await?;
        initialisation.enter(Stage::Contents)?;
    }
    if matches!(initialisation.journal.stage, Stage::Contents | Stage::Scripts) {
        initialisation.fill().await?;
        initialisation.enter(Stage::Moving)?;
    }
    initialisation.move_into_place()?;
    tracing::info!("the cluster in {} is complete", initialisation.cluster.data.display());
    Ok(())
}

impl Journal {
    fn in_words(&self) -> String {
        match (self.stage, &self.running) {
            (Stage::Cluster, _) => "while initdb made its files".to_owned(),
            (Stage::Contents, _) => "while roles and databases were made".to_owned(),
            (Stage::Scripts, Some(script)) => format!("in the script {script}"),
            (Stage::Scripts, None) => format!("after {} scripts", self.scripts.len()),
            (Stage::Moving | Stage::Done, _) => "while the finished cluster was moved into place".to_owned(),
        }
    }
}

struct Initialisation<'a> {
    cluster: &'a PostgresqlCluster,
    journal: Journal,
    scripts: Vec<Script>,
    around: Surroundings<'a>,
    lock: &'a [OwnedFd],
}

impl<'a> Initialisation<'a> {
    /// Reads the scripts first: one that cannot be read is found before anything is done.
    fn new(
        cluster: &'a PostgresqlCluster,
        journal: Journal,
        around: Surroundings<'a>,
        lock: &'a [OwnedFd],
    ) -> Result<Initialisation<'a>, ClusterError> {
        let scripts = scripts::list(&cluster.init_scripts)?;
        let folder = cluster.data.join(FOLDER);
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| ClusterError::file(&folder, "made", &error))?;
        journal.write(&journal_path(&cluster.data))?;
        Ok(Initialisation { cluster, journal, scripts, around, lock })
    }

    fn new_cluster(&self) -> PathBuf {
        self.cluster.data.join(FOLDER).join("cluster")
    }

    fn write_journal(&self) -> Result<(), ClusterError> {
        self.journal.write(&journal_path(&self.cluster.data))
    }

    fn enter(&mut self, stage: Stage) -> Result<(), ClusterError> {
        tracing::debug!("initialisation: {stage:?}");
        self.journal.stage = stage;
        self.write_journal()
    }

    /// Whether nobody can tell how far the interrupted stage came, or the scripts are no longer those that have run.
    fn unclear(&self) -> bool {
        let done = self.journal.scripts.iter().zip(&self.scripts);
        let others = self.journal.scripts.len() > self.scripts.len()
            || done.into_iter().any(|(done, script)| (&done.name, &done.sha256) != (&script.name(), &script.sha256));
        self.journal.stage == Stage::Cluster || self.journal.running.is_some() || others
    }

    fn start_over(&mut self) -> Result<(), ClusterError> {
        let unfinished = self.new_cluster();
        // The write-ahead log may be in a folder of its own, which initdb wants empty.
        if let Ok(target) = fs::read_link(unfinished.join("pg_wal")) {
            empty(&target).map_err(|error| ClusterError::file(&target, "emptied", &error))?;
        }
        match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ClusterError::file(&unfinished, "removed", &error));
            }
            _ => {}
        }
        self.journal = Journal::new();
        self.write_journal()
    }

    async fn make_cluster(&mut self) -> Result<(), ClusterError> {
        self.start_over()?;
        let mut argv: Vec<OsString> = vec!["initdb".into(), "-D".into(), self.new_cluster().into()];
        argv.extend(["-U".into(), (&self.cluster.contents.superuser).into(), "--pwfile=/dev/stdin".into()]);
        argv.extend(["-A".into(), "scram-sha-256".into(), "--no-instructions".into()]);
        argv.extend(self.cluster.initdb.iter().map(OsString::from));
        let exit = programs::run(argv, &[], throwaway_password()?.as_bytes(), self.around).await?;
        match exit {
            Exit::Code(0) => Ok(()),
            exit => Err(ClusterError::failed(format!("initdb {exit}; its own words are above"))),
        }
    }

    async fn fill(&mut self) -> Result<(), ClusterError> {
        let data = self.new_cluster();
        evidence::clear_pid_file(&data.join("postmaster.pid"), &data)?;
        let mut server = Temporary::start(self.cluster, &data, self.around, self.lock)?;
        let session = server.session().await?;
        reconcile::apply(&self.cluster.contents, &session, server.place(), false).await?;
        drop(session);
        if self.journal.stage == Stage::Contents {
            self.enter(Stage::Scripts)?;
        }
        for script in self.scripts.split_off(self.journal.scripts.len().min(self.scripts.len())) {
            self.journal.running = Some(script.name());
            self.write_journal()?;
            scripts::run(&script, &self.cluster.contents, server.place(), self.around).await?;
            self.journal.running = None;
            self.journal.scripts.push(ScriptDone { name: script.name(), sha256: script.sha256.clone() });
            self.write_journal()?;
        }
        server.stop().await
    }

    /// Entry by entry, each by a rename; what PostgreSQL knows a data folder by comes last.
    fn move_into_place(&mut self) -> Result<(), ClusterError> {
        let data = &self.cluster.data;
        self.move_entries().map_err(|error| ClusterError::file(data, "filled", &error))?;
        self.journal.stage = Stage::Done;
        self.journal.write(&data.join(FINISHED))?;
        let folder = data.join(FOLDER);
        fs::remove_dir_all(&folder).map_err(|error| ClusterError::file(&folder, "removed", &error))?;
        sync_folder(data).map_err(|error| ClusterError::file(data, "written", &error))
    }

    fn move_entries(&self) -> io::Result<()> {
        let (from, to) = (self.new_cluster(), &self.cluster.data);
        let entries = match fs::read_dir(&from) {
            // All of it has been moved, and its folder removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        for name in names.iter().filter(|name| *name != LAST) {
            fs::rename(from.join(name), to.join(name))?;
        }
        sync_folder(to)?;
        if from.join(LAST).exists() {
            fs::rename(from.join(LAST), to.join(LAST))?;
        }
        sync_folder(to)
    }
}

fn empty(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let remove = if entry.file_type()?.is_dir() { fs::remove_dir_all } else { fs::remove_file };
        remove(entry.path())?;
    }
    Ok(())
}

/// initdb sets up passwords only where it is given one. Its own is replaced before anybody can use it.
fn throwaway_password() -> Result<String, ClusterError> {
    let mut bytes = [0; 24];
    let filled = ring::rand::SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| ClusterError::failed("the system has no random numbers"))?;
    Ok(STANDARD.encode(bytes) + "\n")
}
