//! Directories: made, owned with all that is in them, and proven writable for the service.

use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod};
use nix::unistd::{AccessFlags, faccessat, getegid, geteuid};

use super::folder::{self, Folder, Links, New, kind_of, tolerated};
use super::mounts::Mounts;
use super::{Owner, WriteError, folder_of, kind, owner};
use crate::pid1::sys;
use crate::plan::Directory;

/// Folders on the way to one that is asked for.
pub(super) const MODE_OF_ANCESTORS: u32 = 0o755;

/// Makes the directory or takes over the one that is there.
pub(super) fn make(
    directory: &Directory,
    owner: Owner,
    mounts: &Mounts,
    meanwhile: &dyn Fn(),
) -> Result<(), WriteError> {
    let path = &directory.path;
    check_is_folder(path)?;
    let new = New { mode: directory.mode, ancestors: MODE_OF_ANCESTORS, owner };
    let (folder, made) = folder::make(path, Links::Trusted, new)?;
    let stat = folder.stat().map_err(|source| WriteError::Folder { path: path.clone(), source })?;
    let shared = !made && is_shared(&folder, &stat);
    if !made && !shared {
        take_over(&folder, directory, owner, mounts, meanwhile)?;
    }
    match check_writable(&folder, path, owner) {
        Err(WriteError::NotWritable { path, uid, read_only: false, .. } | WriteError::Owner { path, uid, .. })
            if shared =>
        {
            Err(WriteError::Shared { path, uid, mode: stat.st_mode & 0o7777 })
        }
        other => other,
    }
}

/// A folder that others live in, too: sticky, everybody's to write, or the system's. Its owner and mode stay, and what
/// is in it.
fn is_shared(folder: &Folder, stat: &FileStat) -> bool {
    stat.st_mode & 0o1002 != 0 || SYSTEMS.iter().any(|path| folder.path() == Path::new(path))
}

/// Mount points for a service's data are not among them, whatever hier(7) says of them.
const SYSTEMS: [&str; 20] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/lib64", "/opt", "/proc", "/root", "/run", "/sbin", "/sys",
    "/tmp", "/usr", "/var", "/var/lib", "/var/log", "/var/tmp",
];

/// A folder below a temporary one, for us alone. One that is there may have been put there by anybody: `false` unless
/// only we (or whom we, as root, take it from) can write to it.
pub fn make_private(path: &Path) -> Result<bool, WriteError> {
    check_is_folder(path)?;
    let new = New { mode: 0o700, ancestors: MODE_OF_ANCESTORS, owner: None };
    let (folder, made) = folder::make(path, Links::Trusted, new)?;
    let stat = folder.stat().map_err(|source| WriteError::Folder { path: path.to_owned(), source })?;
    let we = geteuid();
    Ok(made || (we.is_root() || stat.st_uid == we.as_raw()) && stat.st_mode & 0o022 == 0)
}

/// The directory itself must be none but a folder: a link may only be on the way to it.
fn check_is_folder(path: &Path) -> Result<(), WriteError> {
    let (Some(name), Some(parent)) = (path.file_name(), folder::find(folder_of(path), Links::Trusted)?) else {
        return Ok(());
    };
    match parent.stat_entry(name).map_err(|source| WriteError::Folder { path: path.to_owned(), source })? {
        Some(stat) if kind_of(&stat) != SFlag::S_IFDIR => {
            let (path, what) = (path.to_owned(), kind(&stat));
            Err(WriteError::InTheWay { path, what, wanted: "a folder" })
        }
        _ => Ok(()),
    }
}

fn take_over(
    folder: &Folder,
    directory: &Directory,
    owner: Owner,
    mounts: &Mounts,
    meanwhile: &dyn Fn(),
) -> Result<(), WriteError> {
    let path = &directory.path;
    let failed = |source| WriteError::Folder { path: path.clone(), source };
    let stat = folder.stat().map_err(failed)?;
    let readable = folder.readable().map_err(failed)?;
    if let Some(owner) = owner {
        owner::give(&readable, path, owner, mounts, meanwhile).map_err(|error| match error {
            Errno::EINTR => WriteError::Stopped { path: path.clone() },
            error => failed(error),
        })?;
    }
    if stat.st_mode & 0o777 != directory.mode & 0o777 {
        // A volume's set-group-ID bit (Kubernetes fsGroup) stays.
        let mode = stat.st_mode & 0o7000 | directory.mode;
        tolerated(fchmod(&readable, Mode::from_bits_truncate(mode))).map_err(failed)?;
    }
    Ok(())
}

/// access(2) knows groups, ACLs and read-only mounts, but only asks for ourselves; for another user the mode says it.
fn check_writable(folder: &Folder, path: &Path, owner: Owner) -> Result<(), WriteError> {
    let (uid, gid) = owner.unwrap_or((geteuid().as_raw(), getegid().as_raw()));
    let refused = |read_only| WriteError::NotWritable { path: path.to_owned(), uid, gid, read_only };
    match faccessat(folder, ".", AccessFlags::W_OK | AccessFlags::X_OK, AtFlags::empty()) {
        Err(Errno::EROFS) => return Err(refused(true)),
        Err(_) if uid == geteuid().as_raw() => return Err(refused(false)),
        _ if uid == geteuid().as_raw() => return Ok(()),
        _ => {}
    }
    let stat = folder.stat().map_err(|source| WriteError::Folder { path: path.to_owned(), source })?;
    let shift = match () {
        () if stat.st_uid == uid => 6,
        () if stat.st_gid == gid => 3,
        () => 0,
    };
    let writable = stat.st_mode >> shift & 0o3 == 0o3;
    match writable {
        true => Ok(()),
        false if may_give() => Err(refused(false)),
        false => Err(WriteError::Owner { path: path.to_owned(), uid, gid, source: Errno::EPERM }),
    }
}

/// Whether we have CAP_CHOWN, the first of capabilities(7); a network file system may refuse us all the same.
fn may_give() -> bool {
    sys::effective_capabilities().is_ok_and(|[held, _]| held & 1 != 0)
}
