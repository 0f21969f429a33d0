//! One server on one data folder: flock(2) on a file in it, held by us and by the server until both are gone.
//!
//! The pid file of the server cannot tell: two containers count their processes alike.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::ClusterError;

/// In the data folder.
pub const FILE: &str = ".dl-entry.lock";

/// The container before this one may still be stopping.
pub const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);

/// Locks the folder, for as long as anybody holds the descriptor. Waits for another server for at most `patience`.
///
/// # Errors
/// Another server holds the lock, or the file cannot be made.
pub async fn acquire(data: &Path, patience: Duration) -> Result<OwnedFd, ClusterError> {
    let path = data.join(FILE);
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let opened = OpenOptions::new().read(true).write(true).create(true).mode(0o600).custom_flags(flags).open(&path);
    let file = opened.map_err(|error| ClusterError::file(&path, "opened", &error))?;
    let end = Instant::now() + patience;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file.into()),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!("{} is locked by another server; waiting for it to end", data.display());
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(TryLockError::WouldBlock) => return Err(locked(data)),
            Err(TryLockError::Error(error)) => return Ok(without(file, &path, &error)),
        }
    }
}

fn locked(data: &Path) -> ClusterError {
    ClusterError::refused(format!(
        "{} is locked: another server runs on this data folder\n  stop that container first; two servers on one folder \
         destroy it",
        data.display()
    ))
}

/// Some network file systems know no locks.
fn without(file: File, path: &Path, error: &std::io::Error) -> OwnedFd {
    let reason = crate::text::reason(error);
    tracing::warn!("{} cannot be locked ({reason}): make sure that no other server uses this folder", path.display());
    file.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[tokio::test]
    async fn a_second_server_is_refused_until_the_first_is_gone() {
        let folder = Folder::new("lock");
        let first = acquire(folder.path(), Duration::ZERO).await.unwrap();
        let refused = acquire(folder.path(), Duration::ZERO).await.unwrap_err();
        assert!(refused.to_string().contains("another server runs"), "{refused}");
        drop(first);
        acquire(folder.path(), Duration::ZERO).await.unwrap();
    }
}
