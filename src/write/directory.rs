//! Directories: made, owned with all that is in them, and proven writable for the service.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{AccessFlags, Gid, Uid, access, fchown, fchownat, getegid, geteuid};

use super::mounts::Mounts;
use super::{Owner, WriteError, folder_of, kind};
use crate::plan::Directory;
use crate::system;

/// Folders on the way to one that is asked for.
const MODE_OF_ANCESTORS: u32 = 0o755;

/// Makes the directory or takes over the one that is there.
pub(super) fn make(directory: &Directory, owner: Owner, mounts: &Mounts) -> Result<(), WriteError> {
    let path = &directory.path;
    let exists = exists(path)?;
    if !exists {
        create(path, directory.mode, owner)?;
    }
    let folder = open(path).map_err(|source| WriteError::Folder { path: path.clone(), source })?;
    if exists {
        take_over(folder, directory, owner, mounts)?;
    }
    check_writable(path, owner)
}

/// Makes the folder of a file, if no directory of the plan is that folder.
pub(super) fn make_parent(path: &Path, owner: Owner) -> Result<(), WriteError> {
    let parent = folder_of(path);
    // Links above a file are whoever built the image's business.
    match parent.is_dir() {
        true => Ok(()),
        false => create(parent, MODE_OF_ANCESTORS, owner),
    }
}

fn exists(path: &Path) -> Result<bool, WriteError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(true),
        Ok(metadata) => {
            let (path, what) = (path.to_owned(), kind(&metadata));
            Err(WriteError::InTheWay { path, what, wanted: "a folder" })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(WriteError::folder(path, &error)),
    }
}

/// Also the folders above it; all belong to the service.
fn create(path: &Path, mode: u32, owner: Owner) -> Result<(), WriteError> {
    let failed = |source| WriteError::Folder { path: path.to_owned(), source };
    let parent = folder_of(path);
    if !parent.is_dir() {
        create(parent, MODE_OF_ANCESTORS, owner)?;
    }
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(WriteError::folder(path, &error)),
        _ => {}
    }
    let folder = open(path).map_err(failed)?;
    // The umask has had its say in mkdir(2); and while the folder is ours, this needs no CAP_FOWNER.
    tolerated(fchmod(&folder, Mode::from_bits_truncate(mode))).map_err(failed)?;
    match owner {
        Some((uid, gid)) => {
            tolerated(fchown(&folder, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))).map_err(failed)
        }
        None => Ok(()),
    }
}

/// Never through a link: the last component must be a directory itself.
fn open(path: &Path) -> Result<Dir, Errno> {
    Dir::open(path, FOLDER, Mode::empty())
}

const FOLDER: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);

fn take_over(folder: Dir, directory: &Directory, owner: Owner, mounts: &Mounts) -> Result<(), WriteError> {
    let path = &directory.path;
    let failed = |source| WriteError::Folder { path: path.clone(), source };
    let stat = fstat(&folder).map_err(failed)?;
    if let Some((uid, gid)) = owner {
        let mut walk = Walk { uid, gid, device: stat.st_dev, mounts, given: 0, refused: 0 };
        walk.give(&stat, || fchown(&folder, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))).map_err(failed)?;
        walk.give_entries(folder, path).map_err(failed)?;
        walk.tell(path);
    }
    let folder = open(path).map_err(failed)?;
    if stat.st_mode & 0o777 != directory.mode & 0o777 {
        // A volume's set-group-ID bit (Kubernetes fsGroup) stays.
        let mode = stat.st_mode & 0o7000 | directory.mode;
        tolerated(fchmod(&folder, Mode::from_bits_truncate(mode))).map_err(failed)?;
    }
    Ok(())
}

/// Not being allowed is no failure by itself: what counts is whether the service can write, which is checked last.
fn tolerated(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EPERM | Errno::EACCES | Errno::EROFS) => Ok(()),
        other => other,
    }
}

/// Gives a tree to one user. Relative to open folders all the way, so that nobody can swap a link in; only what
/// differs is touched, and other mounts are not entered.
struct Walk<'mounts> {
    uid: u32,
    gid: u32,
    device: libc::dev_t,
    mounts: &'mounts Mounts,
    given: u64,
    refused: u64,
}

impl Walk<'_> {
    fn give_entries(&mut self, mut folder: Dir, path: &Path) -> Result<(), Errno> {
        let descriptor = folder.as_fd().try_clone_to_owned().map_err(|error| super::errno(&error))?;
        for entry in folder.iter() {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                self.give_entry(&descriptor, entry.file_name(), path)?;
            }
        }
        Ok(())
    }

    fn give_entry(&mut self, folder: &OwnedFd, name: &CStr, path: &Path) -> Result<(), Errno> {
        let stat = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(()), // gone since
            other => other?,
        };
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        if stat.st_dev != self.device || self.mounts.contains(&path) {
            return Ok(());
        }
        let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        self.give(&stat, || fchownat(folder, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW))?;
        if !is_directory(&stat) {
            return Ok(());
        }
        match Dir::openat(folder, name, FOLDER, Mode::empty()) {
            Ok(inner) => self.give_entries(inner, &path),
            Err(Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn give(&mut self, stat: &FileStat, chown: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        if (stat.st_uid, stat.st_gid) == (self.uid, self.gid) {
            return Ok(());
        }
        match chown() {
            Ok(()) => self.given += 1,
            Err(Errno::ENOENT) => {}
            Err(Errno::EPERM | Errno::EACCES | Errno::EROFS) => self.refused += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn tell(&self, path: &Path) {
        let (path, uid, gid) = (path.display(), self.uid, self.gid);
        if self.given > 0 {
            tracing::info!("gave {} entries of {path} to {uid}:{gid}", self.given);
        }
        if self.refused > 0 {
            tracing::warn!("not allowed to give {} entries of {path} to {uid}:{gid}", self.refused);
        }
    }
}

fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFDIR
}

/// access(2) knows groups, ACLs and read-only mounts, but only asks for ourselves; for another user the mode says it.
fn check_writable(path: &Path, owner: Owner) -> Result<(), WriteError> {
    let (uid, gid) = owner.unwrap_or((geteuid().as_raw(), getegid().as_raw()));
    let refused = |read_only| WriteError::NotWritable { path: path.to_owned(), uid, gid, read_only };
    match access(path, AccessFlags::W_OK | AccessFlags::X_OK) {
        Err(Errno::EROFS) => return Err(refused(true)),
        Err(_) if uid == geteuid().as_raw() => return Err(refused(false)),
        _ if uid == geteuid().as_raw() => return Ok(()),
        _ => {}
    }
    let metadata = fs::metadata(path).map_err(|error| WriteError::folder(path, &error))?;
    let shift = match () {
        () if metadata.uid() == uid => 6,
        () if metadata.gid() == gid => 3,
        () => 0,
    };
    let writable = metadata.mode() >> shift & 0o3 == 0o3;
    match writable {
        true => Ok(()),
        false if may_give() => Err(refused(false)),
        false => Err(WriteError::Owner { path: path.to_owned(), uid, gid, source: Errno::EPERM }),
    }
}

/// Whether we have CAP_CHOWN, the first of capabilities(7); a network file system may refuse us all the same.
fn may_give() -> bool {
    system::effective_capabilities().is_ok_and(|[held, _]| held & 1 != 0)
}
