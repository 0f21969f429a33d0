//! A tree is given to one user, once: a folder of data has more entries than a start can look at each time.
//!
//! Relative to open folders all the way, so that nobody can swap a link in; only what differs is touched, and other
//! mounts are not entered. Three descriptors are open at most, however deep the tree is: the way back up is `..`, which
//! must be the folder that it was. A request to stop ends it.
//!
//! A finished walk leaves a mark on the folder, an extended attribute with the owner, and a folder that has the mark
//! and the owner is not walked again. Whoever forges it only keeps their files from being given to the service's user.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{Gid, Uid, fchown, fchownat};

use super::folder::kind_of;
use super::mounts::Mounts;
use crate::pid1::signals::Stops;
use crate::pid1::sys;

/// `setfattr -x user.dl-entry.owner FOLDER` has the folder walked once more.
const MARK: &CStr = c"user.dl-entry.owner";
const FOLDER: OFlag = OFlag::O_DIRECTORY.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC).union(OFlag::O_RDONLY);
/// How many entries are looked at between two looks at the signals.
const ENTRIES_BETWEEN_SIGNALS: u32 = 64;

/// Gives a folder and all that is in it to a user; `Err(EINTR)` where a signal asked to stop. `meanwhile` is called as
/// often as signals are looked at.
pub(super) fn give(
    folder: &OwnedFd,
    path: &Path,
    owner: (u32, u32),
    mounts: &Mounts,
    meanwhile: &dyn Fn(),
) -> Result<(), Errno> {
    let (uid, gid) = owner;
    let stat = fstat(folder)?;
    let mark = format!("{uid}:{gid}");
    if (stat.st_uid, stat.st_gid) == owner && sys::attribute(folder, MARK).is_ok_and(|found| found == mark.as_bytes()) {
        return Ok(());
    }
    let stops = Stops::new().map_err(|error| super::errno(&error))?;
    let mut walk = Walk {
        owner,
        device: stat.st_dev,
        mounts,
        stops,
        meanwhile,
        until_look: 0,
        given: 0,
        refused: 0,
        path: path.to_owned(),
    };
    walk.give(&stat, || fchown(folder, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))?;
    let whole = walk.give_tree(openat(folder, ".", FOLDER, Mode::empty())?)?;
    walk.tell(path);
    if whole && walk.refused == 0 {
        // Not every file system has attributes: it is walked each time.
        let _ = sys::set_attribute(folder, MARK, mark.as_bytes());
    }
    Ok(())
}

struct Walk<'a> {
    owner: (u32, u32),
    device: libc::dev_t,
    mounts: &'a Mounts,
    stops: Stops,
    meanwhile: &'a dyn Fn(),
    until_look: u32,
    given: u64,
    refused: u64,
    /// Where it is.
    path: PathBuf,
}

/// A folder on the way down.
struct Level {
    /// Its identity, to recognise it when the walk returns to it.
    identity: (libc::dev_t, libc::ino_t),
    /// The folders in it that are still to be given.
    ahead: Vec<CString>,
}

impl Walk<'_> {
    /// Whether it saw all of it: somebody may move the folder it is in.
    fn give_tree(&mut self, top: OwnedFd) -> Result<bool, Errno> {
        let mut folder = top;
        let mut levels = vec![self.give_entries(&folder)?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.ahead.pop() else {
                levels.pop();
                let Some(above) = levels.last() else { break };
                folder = openat(&folder, "..", FOLDER, Mode::empty())?;
                self.path.pop();
                if identity(&fstat(&folder)?) != above.identity {
                    return Ok(false);
                }
                continue;
            };
            folder = match openat(&folder, name.as_c_str(), FOLDER, Mode::empty()) {
                Ok(inner) => inner,
                Err(Errno::EACCES | Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => continue,
                Err(error) => return Err(error),
            };
            self.path.push(OsStr::from_bytes(name.to_bytes()));
            levels.push(self.give_entries(&folder)?);
        }
        Ok(true)
    }

    fn give_entries(&mut self, folder: &OwnedFd) -> Result<Level, Errno> {
        let mut level = Level { identity: identity(&fstat(folder)?), ahead: vec![] };
        // A descriptor of its own: what is opened by another has its place in the list.
        let mut entries = Dir::from_fd(openat(folder, ".", FOLDER, Mode::empty())?)?;
        for entry in entries.iter() {
            self.look_at_signals()?;
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") && self.give_entry(folder, name)? {
                level.ahead.push(name.to_owned());
            }
        }
        Ok(level)
    }

    /// Whether it is a folder to go into.
    fn give_entry(&mut self, folder: &OwnedFd, name: &CStr) -> Result<bool, Errno> {
        let stat = match fstatat(folder, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => return Ok(false), // gone since
            other => other?,
        };
        if stat.st_dev != self.device || self.mounts.contains_in(&self.path, OsStr::from_bytes(name.to_bytes())) {
            return Ok(false);
        }
        let (uid, gid) = (Some(Uid::from_raw(self.owner.0)), Some(Gid::from_raw(self.owner.1)));
        self.give(&stat, || fchownat(folder, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW))?;
        Ok(kind_of(&stat) == SFlag::S_IFDIR)
    }

    fn give(&mut self, stat: &FileStat, chown: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        if (stat.st_uid, stat.st_gid) == self.owner {
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

    fn look_at_signals(&mut self) -> Result<(), Errno> {
        let now = self.until_look == 0;
        self.until_look = if now { ENTRIES_BETWEEN_SIGNALS } else { self.until_look - 1 };
        if now {
            (self.meanwhile)();
        }
        if now && self.stops.asked() { Err(Errno::EINTR) } else { Ok(()) }
    }

    fn tell(&self, path: &Path) {
        let (path, (uid, gid)) = (path.display(), self.owner);
        if self.given > 0 {
            let entries = if self.given == 1 { "entry" } else { "entries" };
            tracing::info!("changed the owner of {} {entries} of {path} to {uid}:{gid}", self.given);
        }
        if self.refused > 0 {
            tracing::warn!("not allowed to give {} entries of {path} to {uid}:{gid}", self.refused);
        }
    }
}

fn identity(stat: &FileStat) -> (libc::dev_t, libc::ino_t) {
    (stat.st_dev, stat.st_ino)
}
