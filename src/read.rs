//! Files that somebody else names: opened without waiting, looked at, and read up to a limit.
//!
//! A path may lead to a named pipe, whose open(2) waits for a writer for ever, or to a disk image. Everything that is
//! read whole is read here, but for secrets and env files, which may be pipes (`environment`).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A secret, or a file whose content is the value of a setting.
pub const VALUE: u64 = 1 << 20;
/// Certificates: a bundle of all authorities there are has a sixteenth of it.
pub const CERTIFICATES: u64 = 4 << 20;
/// A contract, a template or a table of keys.
pub const CONTRACT: u64 = 4 << 20;
/// Users or groups: a hundred thousand lines.
pub const ACCOUNTS: u64 = 8 << 20;
/// Variables: execve(2) takes no more.
pub const ENVIRONMENT: u64 = 4 << 20;

/// An open file, whatever it is; a pipe without a writer reads as empty.
///
/// # Errors
/// open(2)'s.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY).open(path)
}

/// An open regular file.
///
/// # Errors
/// open(2)'s, and what else it is.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    match kind(&file.metadata()?) {
        None => Ok(file),
        Some(kind) => Err(io::Error::other(format!("it is {kind}, not a file"))),
    }
}

/// The content of a regular file of at most `limit` bytes.
///
/// # Errors
/// Why the file cannot be read, as a predicate of the file.
pub fn bytes(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::other(format!("it is larger than {} MiB", limit >> 20))),
        false => Ok(bytes),
    }
}

/// The same as text.
///
/// # Errors
/// As `bytes`, and what is not UTF-8.
pub fn text(path: &Path, limit: u64) -> io::Result<String> {
    String::from_utf8(bytes(path, limit)?).map_err(|_| io::Error::other("it is not UTF-8 text"))
}

/// The kind of a file that is not a regular one.
pub fn kind(metadata: &std::fs::Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => None,
        () if kind.is_dir() => Some("a directory"),
        () if kind.is_fifo() => Some("a pipe"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("a device"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_regular_file_or_too_large_is_not_read_and_not_waited_for() {
        let folder = std::env::temp_dir().join(format!("dl-entry-read-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (pipe, file) = (folder.join("pipe"), folder.join("file"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::write(&file, vec![b'a'; 1 << 20]).unwrap();
        let why = |path: &Path, limit| bytes(path, limit).unwrap_err().to_string();
        assert_eq!(why(&pipe, VALUE), "it is a pipe, not a file");
        assert_eq!(why(&folder, VALUE), "it is a directory, not a file");
        assert_eq!(why(Path::new("/dev/zero"), VALUE), "it is a device, not a file");
        assert_eq!(bytes(&file, VALUE).unwrap().len(), 1 << 20);
        std::fs::write(&file, vec![b'a'; (1 << 20) + 1]).unwrap();
        assert_eq!(why(&file, VALUE), "it is larger than 1 MiB");
        std::fs::write(&file, b"\xff").unwrap();
        assert_eq!(text(&file, VALUE).unwrap_err().to_string(), "it is not UTF-8 text");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
