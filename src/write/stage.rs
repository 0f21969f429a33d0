//! One file on its way: staged beside its target and renamed over it, or written over in place.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::posix_fallocate;
use nix::unistd::Uid;

use super::{Owner, WriteError, directory, folder_of, has_mode_and_owner};
use crate::plan::RenderedFile;

/// Staged files begin and end like this, so that one left behind by a SIGKILL is known for what it is.
const PREFIX: &str = ".dl-entry.";
const SUFFIX: &str = ".tmp";

/// A complete file beside its target. Removed when dropped without having been renamed.
#[derive(Debug)]
pub(super) struct Staged {
    temporary: PathBuf,
    target: PathBuf,
    /// Holds the lock that tells others that somebody is still at it.
    _file: File,
    renamed: bool,
}

impl Staged {
    /// Writes the file with its final mode and owner, down to the disk.
    pub(super) fn beside(file: &RenderedFile, owner: Owner) -> Result<Staged, WriteError> {
        directory::make_parent(&file.path, owner)?;
        let folder = folder_of(&file.path);
        remove_stale(folder);
        let (temporary, mut opened) = create(folder).map_err(|error| WriteError::file(&file.path, &error))?;
        let staged = Staged {
            temporary,
            target: file.path.clone(),
            _file: opened.try_clone().map_err(|error| WriteError::file(&file.path, &error))?,
            renamed: false,
        };
        // The umask has had its say in open(2); and while the file is ours, this needs no CAP_FOWNER.
        let permitted = opened.set_permissions(fs::Permissions::from_mode(file.mode));
        permitted.map_err(|error| WriteError::file(&file.path, &error))?;
        give(&opened, &file.path, owner)?;
        let filled = opened.write_all(&file.contents).and_then(|()| opened.sync_all());
        filled.map_err(|error| WriteError::file(&file.path, &error))?;
        Ok(staged)
    }

    /// Puts the file in its place; `false` when that is a mount point.
    pub(super) fn rename(mut self) -> Result<bool, WriteError> {
        match fs::rename(&self.temporary, &self.target) {
            Ok(()) => self.renamed = true,
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Ok(false),
            Err(error) => return Err(WriteError::file(&self.target, &error)),
        }
        Ok(true)
    }
}

/// Makes the renames in a folder last (fsync(2): a file's own does not include its entry). Folders that may not be
/// read and file systems that cannot do it are none the worse.
pub(super) fn sync(folder: &Path) -> Result<(), WriteError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    match synced {
        Err(error) if matches!(super::errno(&error), Errno::EIO | Errno::ENOSPC | Errno::EDQUOT) => {
            Err(WriteError::file(folder, &error))
        }
        _ => Ok(()),
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn create(folder: &Path) -> io::Result<(PathBuf, File)> {
    loop {
        let path = folder.join(format!("{PREFIX}{:016x}{SUFFIX}", RandomState::new().build_hasher().finish()));
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(flags).open(&path);
        let file = match options {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            other => other?,
        };
        // Where locks do not work, nobody removes what is not theirs either.
        let _ = file.lock();
        // Another process may have taken it for a stale one before we had the lock.
        if file.metadata()?.nlink() > 0 {
            return Ok((path, file));
        }
    }
}

/// What a killed run has left behind. A file whose lock is held is somebody else's, in the middle of the same work.
fn remove_stale(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    for entry in entries.filter(|entry| entry.file_name().to_str().is_some_and(ours)) {
        let path = entry.path();
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
        let opened = fs::OpenOptions::new().read(true).custom_flags(flags).open(&path);
        if opened.is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn give(file: &File, path: &Path, owner: Owner) -> Result<(), WriteError> {
    let Some((uid, gid)) = owner else { return Ok(()) };
    let metadata = file.metadata().map_err(|error| WriteError::file(path, &error))?;
    if (metadata.uid(), metadata.gid()) == (uid, gid) {
        return Ok(());
    }
    fchown(file, Some(uid), Some(gid)).map_err(|error| {
        let source = super::errno(&error);
        WriteError::Owner { path: path.to_owned(), uid, gid, source }
    })
}

/// A file whose content was written over. Gets its old content back when dropped without `keep`.
#[derive(Debug)]
pub(super) struct Overwritten {
    file: File,
    old: Option<Vec<u8>>,
}

impl Overwritten {
    /// Room is reserved first, so that a full disk is noticed before anything is lost.
    pub(super) fn with(rendered: &RenderedFile, owner: Owner) -> Result<Overwritten, WriteError> {
        let path = &rendered.path;
        let failed = |error: io::Error| WriteError::file(path, &error);
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let mut file = fs::OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).map_err(failed)?;
        let mut old = Vec::new();
        file.read_to_end(&mut old).map_err(failed)?;
        let mut overwritten = Overwritten { file, old: Some(old) };
        overwritten.reserve(rendered.contents.len()).map_err(failed)?;
        overwritten.fill(&rendered.contents).map_err(failed)?;
        overwritten.set_mode_and_owner(rendered.mode, owner);
        Ok(overwritten)
    }

    pub(super) fn keep(mut self) {
        self.old = None;
    }

    fn reserve(&self, length: usize) -> io::Result<()> {
        match posix_fallocate(self.file.as_fd(), 0, length.max(1) as libc::off_t) {
            Err(error @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG)) => Err(error.into()),
            // Not every file system can.
            _ => Ok(()),
        }
    }

    fn fill(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(content)?;
        self.file.set_len(content.len() as u64)?;
        self.file.sync_all()
    }

    /// As far as the operator's file system lets us; the mode comes first, while the file may still be ours.
    fn set_mode_and_owner(&self, mode: u32, owner: Owner) {
        let Ok(metadata) = self.file.metadata() else { return };
        if has_mode_and_owner(&metadata, mode, owner) {
            return;
        }
        let _ = self.file.set_permissions(fs::Permissions::from_mode(mode));
        if let Some((uid, gid)) = owner.filter(|_| Uid::effective().is_root()) {
            let _ = fchown(&self.file, Some(uid), Some(gid));
        }
    }
}

impl Drop for Overwritten {
    fn drop(&mut self) {
        if let Some(old) = self.old.take() {
            let _ = self.fill(&old);
        }
    }
}
