//! Files that hold the value of one variable: `/run/secrets`, and those that `NAME_FILE` names.
//!
//! Reads, also from pipes; `settings` says which variable a text belongs to and marks it as a secret.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::pid1::signals::{self, Awaited};
use crate::read;

/// A writer of a named pipe gets this long to write the secret.
const PIPE_DEADLINE: Duration = Duration::from_secs(10);

/// Where secret files are, and whether they must be.
#[derive(Debug, Clone)]
pub struct SecretFiles {
    /// `/run/secrets`: a file named like the variable in lower case is that variable. `None` where there is no such
    /// folder to look into.
    pub directory: Option<PathBuf>,
    /// False where the environment is from files and the container's own files are elsewhere: an absent secret file
    /// is then taken to be there.
    pub must_exist: bool,
}

/// The content of a secret file.
pub struct SecretText {
    pub text: String,
    /// Others than the owner and the group can read it.
    pub world_readable: bool,
}

impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretText").field("world_readable", &self.world_readable).finish_non_exhaustive()
    }
}

impl SecretFiles {
    /// The file that stands for `name` by its mere presence, if it is there: a link that leads nowhere is.
    ///
    /// # Errors
    /// Why the folder cannot be searched, as a predicate of the folder: the file may or may not exist.
    pub fn path_for(&self, name: &str) -> Result<Option<PathBuf>, String> {
        let Some(directory) = self.directory.as_ref().filter(|_| self.must_exist) else { return Ok(None) };
        let path = directory.join(name.to_lowercase());
        match path.symlink_metadata() {
            Ok(_) => Ok(Some(path)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                let (who, why) = (nix::unistd::geteuid(), crate::text::reason(&error));
                Err(format!("is {}, which uid {who} cannot search: {why}", directory.display()))
            }
        }
    }

    /// The file an operator names: a relative name is one of the folder's, as MinIO's own image has it.
    pub fn named(&self, name: &str) -> PathBuf {
        self.directory.as_deref().unwrap_or(Path::new("/run/secrets")).join(name)
    }

    /// Reads one secret: at most 1 MiB of UTF-8 without NUL, less exactly one newline at the end.
    ///
    /// # Errors
    /// Why the file is refused, as a predicate of the file; never its content.
    pub fn read(&self, path: &Path) -> Result<SecretText, String> {
        let who = || format!("uid {}", nix::unistd::geteuid());
        let file = read::open(path)
            .map_err(|error| format!("cannot be read by {}: {}", who(), crate::text::reason(&error)))?;
        let metadata =
            file.metadata().map_err(|error| format!("cannot be read by {}: {}", who(), crate::text::reason(&error)))?;
        if metadata.is_dir() {
            return Err("is a directory, not a file".into());
        }
        let pipe = metadata.file_type().is_fifo();
        let mut bytes = read_bounded(file, metadata.is_file(), read::VALUE)?;
        let text = secret_text(&bytes);
        bytes.zeroize();
        Ok(SecretText { text: text?, world_readable: !pipe && metadata.mode() & 0o004 != 0 })
    }
}

/// A pipe that has had no writer yet reads as its end, so what is no plain file is waited for before every read.
pub(super) fn read_bounded(mut file: File, plain: bool, limit: u64) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + PIPE_DEADLINE;
    let mut bytes = Vec::new();
    let mut chunk = [0u8; 4096];
    loop {
        if !plain {
            await_writer(&file, deadline, bytes.is_empty())?;
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // Another reader was quicker.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock && !plain => {}
            Err(error) => return Err(format!("cannot be read: {}", crate::text::reason(&error))),
        }
        if bytes.len() as u64 > limit {
            bytes.zeroize();
            return Err(format!("is larger than {} MiB", limit >> 20));
        }
    }
    chunk.zeroize();
    Ok(bytes)
}

fn await_writer(file: &File, deadline: Instant, silent: bool) -> Result<(), String> {
    let seconds = PIPE_DEADLINE.as_secs();
    match signals::await_readable(file, deadline) {
        Ok(Awaited::Readable) => Ok(()),
        Ok(Awaited::Stop) => Err("was not read: a signal asked to stop".into()),
        Ok(Awaited::Deadline) if silent => Err(format!("is a pipe nobody wrote to within {seconds} s")),
        Ok(Awaited::Deadline) => Err(format!("is a pipe its writer did not close within {seconds} s")),
        Err(error) => Err(format!("cannot be waited for: {}", crate::text::reason(&error))),
    }
}

fn secret_text(bytes: &[u8]) -> Result<String, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    if text.contains('\0') {
        return Err("has a NUL byte in it".into());
    }
    let text = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n')).unwrap_or(text);
    if text.is_empty() { Err("is empty".into()) } else { Ok(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behaviours: 82, 83.
    #[test]
    fn exactly_one_newline_is_taken_off_a_secret() {
        assert_eq!(secret_text(b"a b \n").unwrap(), "a b ");
        assert_eq!(secret_text(b"a\n\n").unwrap(), "a\n");
        assert_eq!(secret_text(b"a\r\n").unwrap(), "a");
        assert_eq!(secret_text(b"\n").unwrap_err(), "is empty");
        assert_eq!(secret_text(b"").unwrap_err(), "is empty");
        assert_eq!(secret_text(b"a\0b").unwrap_err(), "has a NUL byte in it");
        assert_eq!(secret_text(b"\xff").unwrap_err(), "is not UTF-8 text");
    }

    /// Behaviours: 82.
    #[test]
    fn a_secret_that_cannot_be_read_says_why_and_for_whom() {
        let folder = std::env::temp_dir().join(format!("dl-entry-env-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = SecretFiles { directory: Some(folder.clone()), must_exist: true };
        let uid = nix::unistd::geteuid();
        let missing = files.read(&folder.join("missing")).unwrap_err();
        assert_eq!(missing, format!("cannot be read by uid {uid}: no such file or directory"));
        assert_eq!(files.read(&folder).unwrap_err(), "is a directory, not a file");
        std::fs::write(folder.join("large"), vec![b'a'; (read::VALUE + 1) as usize]).unwrap();
        assert_eq!(files.read(&folder.join("large")).unwrap_err(), "is larger than 1 MiB");
        std::fs::write(folder.join("db_password"), "x\n").unwrap();
        assert_eq!(files.path_for("DB_PASSWORD"), Ok(Some(folder.join("db_password"))));
        assert_eq!(files.path_for("OTHER"), Ok(None));
        std::os::unix::fs::symlink("nowhere", folder.join("other")).unwrap();
        assert_eq!(files.path_for("OTHER"), Ok(Some(folder.join("other"))), "it was meant to be there");
        let elsewhere = SecretFiles { must_exist: false, ..files.clone() };
        assert_eq!(elsewhere.path_for("DB_PASSWORD"), Ok(None), "this machine's files are not another's");
        let no_folder = SecretFiles { directory: Some(folder.join("large")), must_exist: true };
        let why = format!("is {}, which uid {uid} cannot search: not a directory", folder.join("large").display());
        assert_eq!(no_folder.path_for("OTHER"), Err(why));
        assert!(files.read(&folder.join("db_password")).unwrap().world_readable);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
