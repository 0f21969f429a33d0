//! Scripts of the operator: `*.sh`, `*.sql`, `*.sql.gz`, `*.sql.xz`, `*.sql.zst`, in the order of their names, and no
//! further than the first that fails.
//!
//! A shell script is a program of its own, never a part of us. SQL goes through psql, as its scripts expect it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::ClusterError;
use super::programs;
use super::session::Place;
use crate::pid1::children::{Exit, Ladder};
use crate::pid1::spawn::Streams;
use crate::plan::PostgresqlContents;
use crate::tasks::Surroundings;

/// How a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Shell,
    Sql,
    /// SQL that this program unpacks to its standard output.
    Packed(&'static str),
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    path: PathBuf,
    kind: Kind,
    /// SHA-256 of its contents, in hexadecimal.
    pub sha256: String,
}

impl Script {
    /// The name of its file.
    pub fn name(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

/// The scripts of a folder; none where there is no folder. Every one is read, so that one that cannot be is found before
/// anything runs.
///
/// # Errors
/// The folder or one of its scripts cannot be read.
pub fn list(folder: &Path) -> Result<Vec<Script>, ClusterError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries.map_err(|error| ClusterError::file(folder, "read", &error))?,
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(|error| ClusterError::file(folder, "read", &error))?;
    paths.sort();
    let mut scripts = Vec::new();
    for path in paths {
        match kind(&path) {
            Some(kind) => {
                let sha256 = hash(&path).map_err(|error| ClusterError::file(&path, "read", &error))?;
                scripts.push(Script { path, kind, sha256 });
            }
            // Kubernetes puts links of its own beside the files of a volume.
            None if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".")) => {}
            None => tracing::warn!("{} is neither a shell script nor SQL: it is left out", path.display()),
        }
    }
    Ok(scripts)
}

fn kind(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?;
    let ends = |ending| name.ends_with(ending) && !name.starts_with('.');
    match () {
        () if ends(".sh") => Some(Kind::Shell),
        () if ends(".sql") => Some(Kind::Sql),
        () if ends(".sql.gz") => Some(Kind::Packed("gunzip")),
        () if ends(".sql.xz") => Some(Kind::Packed("unxz")),
        () if ends(".sql.zst") => Some(Kind::Packed("unzstd")),
        () => None,
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Runs one script to its end.
///
/// # Errors
/// It failed, or cannot be started.
pub async fn run(
    script: &Script,
    contents: &PostgresqlContents,
    place: Place<'_>,
    around: Surroundings<'_>,
) -> Result<(), ClusterError> {
    tracing::info!("running {}", script.path.display());
    let variables = variables(contents, place);
    let input = || Ok::<_, ClusterError>(Streams { input: Some(programs::nothing()?), ..Streams::default() });
    let exit = match script.kind {
        Kind::Shell => {
            programs::start(shell(&script.path), &variables, input()?, Ladder::PROGRAM, around)?.ended().await
        }
        Kind::Sql => {
            let argv = psql(&["-f".into(), script.path.clone().into()]);
            programs::start(argv, &variables, input()?, Ladder::PROGRAM, around)?.ended().await
        }
        Kind::Packed(program) => packed(program, &script.path, &variables, around).await?,
    };
    match exit {
        Exit::Code(0) => Ok(()),
        exit => Err(ClusterError::failed(format!("{} {exit}; its own words are above", script.path.display()))),
    }
}

/// Where psql and other clients of a script find the server, and the operator's variables.
fn variables(contents: &PostgresqlContents, place: Place<'_>) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = vec![
        ("PGHOST".into(), place.socket.into()),
        ("PGPORT".into(), place.port.to_string().into()),
        ("PGUSER".into(), (&contents.superuser).into()),
        ("PGDATABASE".into(), (&contents.database).into()),
    ];
    variables.extend(contents.script_environment.iter().cloned());
    variables
}

fn psql(words: &[OsString]) -> Vec<OsString> {
    let usual = ["psql", "--no-psqlrc", "--no-password", "-v", "ON_ERROR_STOP=1"];
    usual.into_iter().map(OsString::from).chain(words.iter().cloned()).collect()
}

/// As the official image does: one that may be executed is, and any other is read by a shell, here one of its own.
fn shell(path: &Path) -> Vec<OsString> {
    let executable = path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o111 != 0);
    if executable {
        return vec![path.into()];
    }
    let shell = if Path::new("/bin/bash").exists() { "bash" } else { "sh" };
    vec![shell.into(), path.into()]
}

/// The worse end of the two.
async fn packed(
    program: &str,
    path: &Path,
    variables: &[(OsString, OsString)],
    around: Surroundings<'_>,
) -> Result<Exit, ClusterError> {
    let (reader, writer) = programs::pipe()?;
    let unpack = vec![program.into(), "-c".into(), path.into()];
    let streams = Streams { input: Some(programs::nothing()?), output: Some(writer), held: &[] };
    let mut unpacking = programs::start(unpack, &[], streams, Ladder::PROGRAM, around)?;
    let streams = Streams { input: Some(reader), ..Streams::default() };
    let mut reading = programs::start(psql(&[]), variables, streams, Ladder::PROGRAM, around)?;
    let (unpacked, read) = (unpacking.ended().await, reading.ended().await);
    Ok(if read == Exit::Code(0) { unpacked } else { read })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn scripts_come_in_the_order_of_their_names_and_others_are_left_out() {
        let folder = Folder::new("scripts");
        for name in ["2.sql", "10.sh", "1.sql.gz", "3.sql.zst", "notes.txt", ".hidden.sql"] {
            folder.write(name, name);
        }
        let found = list(folder.path()).unwrap();
        let kinds: Vec<_> = found.iter().map(|script| (script.name(), script.kind)).collect();
        let expected = [
            ("1.sql.gz", Kind::Packed("gunzip")),
            ("10.sh", Kind::Shell),
            ("2.sql", Kind::Sql),
            ("3.sql.zst", Kind::Packed("unzstd")),
        ];
        assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
        assert_eq!(found[2].sha256, "f05fec1a218bc0cc0c513d23404bb0ecb22982b5f6b2f4896c259bae54dc2db6".to_owned());
    }

    #[test]
    fn a_script_that_is_a_folder_is_found_before_anything_runs() {
        let folder = Folder::new("scripts-folder");
        fs::create_dir(folder.path().join("1.sql")).unwrap();
        assert!(list(folder.path()).unwrap_err().to_string().contains("1.sql cannot be read"));
        assert_eq!(list(Path::new("/nowhere")).unwrap(), []);
    }
}
