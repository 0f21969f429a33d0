//! One file on its way: staged beside its target and renamed over it, or written over in place.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, posix_fallocate, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{Uid, UnlinkatFlags, linkat, unlinkat};

use super::folder::{self, Folder, Links, New};
use super::{Owner, WriteError, folder_of, has_mode_and_owner};
use crate::plan::RenderedFile;

/// Staged files begin and end like this, so that one left behind by a SIGKILL is known for what it is.
const PREFIX: &str = ".dl-entry.";
const SUFFIX: &str = ".tmp";

/// A complete file beside its target. Dropped without `keep`, it is removed, and what it replaced is back.
#[derive(Debug)]
pub(super) struct Staged {
    folder: Folder,
    temporary: OsString,
    target: PathBuf,
    /// Holds the lock that tells others that somebody is still at it.
    file: File,
    state: State,
}

#[derive(Debug)]
enum State {
    Beside,
    /// In its place, and what was there before.
    Renamed(Old),
    Kept,
}

/// A file that a rename replaced.
#[derive(Debug)]
enum Old {
    None,
    /// It has this name now, too.
    Linked(OsString),
    /// Not every file system knows a second name.
    Lost,
}

impl Staged {
    /// Writes the file with its final mode and owner, down to the disk.
    pub(super) fn beside(rendered: &RenderedFile, links: Links, new: New) -> Result<Staged, WriteError> {
        let target = rendered.path.clone();
        let failed = |error: io::Error| WriteError::file(&rendered.path, &error);
        let (folder, _) = folder::make(folder_of(&target), links, new)?;
        remove_stale(&folder);
        let (temporary, file) = create(&folder).map_err(failed)?;
        let staged = Staged { folder, temporary, target, file, state: State::Beside };
        // The umask has had its say in open(2); and while the file is ours, this needs no CAP_FOWNER.
        staged.file.set_permissions(fs::Permissions::from_mode(rendered.mode)).map_err(failed)?;
        give(&staged.file, &rendered.path, new.owner)?;
        let filled = (&staged.file).write_all(&rendered.contents).and_then(|()| staged.file.sync_all());
        filled.map_err(failed)?;
        Ok(staged)
    }

    /// Puts the file in its place; `false` when that is a mount point.
    pub(super) fn rename(&mut self) -> Result<bool, WriteError> {
        let old = self.old();
        match renameat(&self.folder, self.temporary.as_os_str(), &self.folder, self.name()) {
            Ok(()) => self.state = State::Renamed(old),
            Err(source) => {
                old.forget(&self.folder);
                let failed = || WriteError::File { path: self.target.clone(), source };
                return if source == Errno::EBUSY { Ok(false) } else { Err(failed()) };
            }
        }
        Ok(true)
    }

    /// From here on there is no way back.
    pub(super) fn keep(mut self) {
        if let State::Renamed(old) = &self.state {
            old.forget(&self.folder);
            self.state = State::Kept;
        }
    }

    fn name(&self) -> &OsStr {
        self.target.file_name().unwrap_or_default()
    }

    fn old(&self) -> Old {
        let second = temporary_name();
        match linkat(&self.folder, self.name(), &self.folder, second.as_os_str(), AtFlags::empty()) {
            Ok(()) => Old::Linked(second),
            Err(Errno::ENOENT) => Old::None,
            Err(_) => Old::Lost,
        }
    }

    /// Makes the renames in the folder last (fsync(2): a file's own does not include its entry). Folders that may not
    /// be read and file systems that cannot do it are none the worse.
    pub(super) fn sync_folder(&self) -> Result<(), WriteError> {
        match self.folder.readable().and_then(nix::unistd::fsync) {
            Err(source @ (Errno::EIO | Errno::ENOSPC | Errno::EDQUOT)) => {
                Err(WriteError::File { path: folder_of(&self.target).to_owned(), source })
            }
            _ => Ok(()),
        }
    }
}

impl Old {
    fn forget(&self, folder: &Folder) {
        if let Old::Linked(second) = self {
            let _ = unlinkat(folder, second.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = match &self.state {
            State::Beside => unlinkat(&self.folder, self.temporary.as_os_str(), UnlinkatFlags::NoRemoveDir),
            State::Renamed(Old::None) => unlinkat(&self.folder, self.name(), UnlinkatFlags::NoRemoveDir),
            State::Renamed(Old::Linked(old)) => renameat(&self.folder, old.as_os_str(), &self.folder, self.name()),
            State::Renamed(Old::Lost) | State::Kept => Ok(()),
        };
    }
}

fn temporary_name() -> OsString {
    format!("{PREFIX}{:016x}{SUFFIX}", RandomState::new().build_hasher().finish()).into()
}

fn create(folder: &Folder) -> io::Result<(OsString, File)> {
    loop {
        let name = temporary_name();
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = match openat(folder, name.as_os_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Err(Errno::EEXIST) => continue,
            other => File::from(other?),
        };
        // Where locks do not work, nobody removes what is not theirs either.
        let _ = file.lock();
        // Another process may have taken it for a stale one before we had the lock.
        if file.metadata()?.nlink() > 0 {
            return Ok((name, file));
        }
    }
}

/// Files that a killed run has left behind. A file whose lock is held is somebody else's, in the middle of the same
/// work.
fn remove_stale(folder: &Folder) {
    let Ok(mut entries) = folder.readable().and_then(Dir::from_fd) else { return };
    let ours = |name: &[u8]| name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes());
    for entry in entries.iter().flatten().filter(|entry| ours(entry.file_name().to_bytes())) {
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = openat(folder, name, flags, Mode::empty());
        if opened.is_ok_and(|file| File::from(file).try_lock().is_ok()) {
            let _ = unlinkat(folder, name, UnlinkatFlags::NoRemoveDir);
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

/// A file whose content was written over. Gets its old content, mode and owner back when dropped without `keep`.
#[derive(Debug)]
pub(super) struct Overwritten {
    file: File,
    old: Option<(Vec<u8>, fs::Metadata)>,
}

impl Overwritten {
    /// Room is reserved first, so that a full disk is noticed before anything is lost.
    pub(super) fn with(rendered: &RenderedFile, links: Links, owner: Owner) -> Result<Overwritten, WriteError> {
        let path = &rendered.path;
        let failed = |error: io::Error| WriteError::file(path, &error);
        let mut file = open_in_place(path, links)?;
        let mut old = Vec::new();
        file.read_to_end(&mut old).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let mut overwritten = Overwritten { file, old: Some((old, metadata)) };
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

fn open_in_place(path: &Path, links: Links) -> Result<File, WriteError> {
    let failed = |source| WriteError::File { path: path.to_owned(), source };
    let folder = folder::find(folder_of(path), links)?.ok_or_else(|| failed(Errno::ENOENT))?;
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(&folder, path.file_name().unwrap_or_default(), flags, Mode::empty()).map(File::from).map_err(failed)
}

impl Drop for Overwritten {
    fn drop(&mut self) {
        if let Some((content, old)) = self.old.take() {
            let _ = self.fill(&content);
            self.set_mode_and_owner(old.mode() & 0o7777, Some((old.uid(), old.gid())));
        }
    }
}
