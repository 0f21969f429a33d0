//! How far an initialisation has come. Written whole, and on the disk before the step it announces begins.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::ClusterError;

/// A stage that has begun; each ends when the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// initdb makes the files.
    Cluster,
    /// Roles, databases and extensions are made.
    Contents,
    /// The scripts of the first start run.
    Scripts,
    /// The finished cluster is moved into place, entry by entry.
    Moving,
    /// It is served.
    Done,
}

/// A script that has run to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScriptDone {
    pub name: String,
    /// SHA-256 of its contents, in hexadecimal.
    pub sha256: String,
}

/// The journal of one initialisation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Journal {
    pub stage: Stage,
    #[serde(default)]
    pub scripts: Vec<ScriptDone>,
    /// The script that has begun; nobody knows how far it came.
    #[serde(default)]
    pub running: Option<String>,
}

impl Journal {
    pub fn new() -> Journal {
        Journal { stage: Stage::Cluster, scripts: vec![], running: None }
    }

    /// Reads a journal; `None` where there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is not a journal.
    pub fn read(path: &Path) -> Result<Option<Journal>, ClusterError> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| ClusterError::file(path, "read", &error))?,
        };
        let journal = serde_json::from_str(&text);
        journal.map(Some).map_err(|error| {
            let folder = path.parent().unwrap_or(path).display();
            ClusterError::refused(format!(
                "{} is not the journal of an initialisation: {error}\n  nothing has been served from {folder}: remove \
                 it to begin again",
                path.display()
            ))
        })
    }

    /// Writes it beside the old one and puts it in its place.
    ///
    /// # Errors
    /// The file or the folder cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), ClusterError> {
        let beside = path.with_extension("new");
        let written = (|| {
            let mut options = File::options();
            let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(serde_json::to_string(self).unwrap_or_default().as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, path)?;
            sync_folder(path.parent().unwrap_or(Path::new("/")))
        })();
        written.map_err(|error| ClusterError::file(path, "written", &error))
    }
}

/// Makes the names in a folder last (fsync(2), "Calling fsync() does not necessarily ensure …").
///
/// # Errors
/// Those of open(2) and fsync(2).
pub fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_journal_reads_back_as_written_and_a_torn_one_is_refused() {
        let folder = Folder::new("journal");
        let path = folder.path().join("journal.json");
        assert_eq!(Journal::read(&path).unwrap(), None);
        let done = vec![ScriptDone { name: "1.sql".into(), sha256: "ab".into() }];
        let journal = Journal { stage: Stage::Scripts, scripts: done, running: Some("2.sh".into()) };
        journal.write(&path).unwrap();
        assert_eq!(Journal::read(&path).unwrap(), Some(journal));
        fs::write(&path, "{").unwrap();
        assert!(Journal::read(&path).unwrap_err().to_string().contains("remove it to begin again"));
    }
}
