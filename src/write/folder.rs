//! The way to a folder: step by step, and never through a link that somebody could have put there.
//!
//! Root makes folders and gives files away where the service's user has been at work before, and a link of theirs must
//! not lead it elsewhere. A link is followed only if nobody but root (or this user) could have made it: an image's
//! /var/run. Whatever comes after is relative to the open folder, so that nothing can be swapped in between.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, fchown, geteuid};

use super::{Owner, WriteError};

/// The kernel's own limit (path_resolution(7)).
const MOST_LINKS: u32 = 40;

/// Which links on the way are followed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Links<'a> {
    /// Those that nobody but root or we could have made.
    Trusted,
    /// None below this folder; how that one is reached is its operator's business.
    NoneBelow(&'a Path),
}

/// Owner and mode of folders to make; those on the way have `ancestors`.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    pub mode: u32,
    pub ancestors: u32,
    pub owner: Owner,
}

/// A folder, open; entries are reached from it. Needs no permission to read it.
#[derive(Debug)]
pub(super) struct Folder {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The folder at `path`, if there is one.
pub(super) fn find(path: &Path, links: Links) -> Result<Option<Folder>, WriteError> {
    match start(path, links) {
        Err(WriteError::Folder { source: Errno::ENOENT, .. }) => Ok(None),
        Err(error) => Err(error),
        Ok((start, rest)) => Ok(walk(start, rest, links, None)?.map(|(folder, _)| folder)),
    }
}

/// The folder at `path`, made with all above it where it is missing; and whether it was.
pub(super) fn make(path: &Path, links: Links, new: New) -> Result<(Folder, bool), WriteError> {
    let (start, rest) = start(path, links)?;
    let missing = || WriteError::Folder { path: path.to_owned(), source: Errno::ENOENT };
    walk(start, rest, links, Some(new))?.ok_or_else(missing)
}

impl Folder {
    /// The folder at a relative path, reached through no link at all.
    pub(super) fn inside(self, relative: &Path) -> Result<Option<Folder>, WriteError> {
        let base = self.path.clone();
        Ok(walk(self, relative, Links::NoneBelow(&base), None)?.map(|(folder, _)| folder))
    }

    /// Where it is, links followed.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The same folder, to be read, synced or changed itself.
    pub(super) fn readable(&self) -> Result<OwnedFd, Errno> {
        openat(self, ".", READABLE, Mode::empty())
    }

    pub(super) fn stat(&self) -> Result<FileStat, Errno> {
        fstat(self)
    }

    /// The entry of that name, links not followed; `None` if there is none.
    pub(super) fn stat_entry(&self, name: &OsStr) -> Result<Option<FileStat>, Errno> {
        match fstatat(self, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Err(Errno::ENOENT) => Ok(None),
            other => other.map(Some),
        }
    }

    fn open(path: &Path) -> Result<Folder, WriteError> {
        let failed = |source| WriteError::Folder { path: path.to_owned(), source };
        let descriptor = openat(AT_FDCWD, path, SEARCHED | OFlag::O_DIRECTORY, Mode::empty()).map_err(failed)?;
        Ok(Folder { descriptor, path: path.to_owned() })
    }

    fn entered(&self, name: &OsStr) -> Result<Entry, Errno> {
        let descriptor = openat(self, name, SEARCHED | OFlag::O_NOFOLLOW, Mode::empty())?;
        let stat = fstat(&descriptor)?;
        match kind_of(&stat) {
            SFlag::S_IFDIR => {
                let mut path = self.path.clone();
                match name == ".." {
                    true => _ = path.pop(),
                    false => path.push(name),
                }
                Ok(Entry::Folder(Folder { descriptor, path }))
            }
            SFlag::S_IFLNK => Ok(Entry::Link { target: readlinkat(&descriptor, "")?.into(), stat }),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// `EEXIST` where somebody else was quicker: theirs is judged like any other.
    fn made(&self, name: &OsStr, mode: u32, owner: Owner) -> Result<Folder, Errno> {
        let mode = Mode::from_bits_truncate(mode);
        mkdirat(self, name, mode)?;
        let descriptor = openat(self, name, READABLE | OFlag::O_NOFOLLOW, Mode::empty())?;
        // The umask has had its say in mkdir(2); and while the folder is ours, this needs no CAP_FOWNER.
        tolerated(fchmod(&descriptor, mode))?;
        if let Some((uid, gid)) = owner {
            tolerated(fchown(&descriptor, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))))?;
        }
        Ok(Folder { descriptor, path: self.path.join(name) })
    }
}

const SEARCHED: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);
const READABLE: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

enum Entry {
    Folder(Folder),
    Link { target: PathBuf, stat: FileStat },
}

fn start<'p>(path: &'p Path, links: Links) -> Result<(Folder, &'p Path), WriteError> {
    let root = match links {
        Links::NoneBelow(root) if path.starts_with(root) => root,
        _ if path.is_absolute() => Path::new("/"),
        _ => Path::new("."),
    };
    Ok((Folder::open(root)?, path.strip_prefix(root).unwrap_or(path)))
}

/// Goes the way; `None` where a folder is missing and none is to be made. Also says whether the last one was made.
fn walk(start: Folder, path: &Path, links: Links, new: Option<New>) -> Result<Option<(Folder, bool)>, WriteError> {
    let (mut folder, mut made, mut followed) = (start, false, 0);
    let mut ahead = names(path);
    while let Some(name) = ahead.pop() {
        let failed = |source| WriteError::Folder { path: folder.path.join(&name), source };
        match folder.entered(&name) {
            Ok(Entry::Folder(next)) => (folder, made) = (next, false),
            Ok(Entry::Link { target, stat }) => {
                judge(&folder, &name, &target, &stat, links)?;
                followed += 1;
                if followed > MOST_LINKS {
                    return Err(failed(Errno::ELOOP));
                }
                ahead.extend(names(&target));
                if target.is_absolute() {
                    folder = Folder::open(Path::new("/"))?;
                }
            }
            Err(Errno::ENOENT) => {
                let Some(new) = new else { return Ok(None) };
                let mode = if ahead.is_empty() { new.mode } else { new.ancestors };
                match folder.made(&name, mode, new.owner) {
                    Ok(next) => (folder, made) = (next, true),
                    Err(Errno::EEXIST) => ahead.push(name),
                    Err(source) => return Err(failed(source)),
                }
            }
            Err(source) => return Err(failed(source)),
        }
    }
    Ok(Some((folder, made)))
}

/// The last name first.
fn names(path: &Path) -> Vec<OsString> {
    let named = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    named.rev().map(|part| part.as_os_str().to_owned()).collect()
}

fn judge(folder: &Folder, name: &OsStr, target: &Path, link: &FileStat, links: Links) -> Result<(), WriteError> {
    let (path, target) = (folder.path.join(name), target.to_owned());
    match links {
        Links::NoneBelow(root) => Err(WriteError::LinkBelow { path, target, root: root.to_owned() }),
        Links::Trusted => {
            let around = folder.stat().map_err(|source| WriteError::Folder { path: path.clone(), source })?;
            match trust(link, &around, geteuid().as_raw()) {
                Ok(()) => Ok(()),
                Err(stranger) => Err(WriteError::Link { path, target, stranger }),
            }
        }
    }
}

/// Sticky or not, a folder that others can write to may hold what they want: they can move a link of root's about.
/// For a user other than root, links are harmless: they lead nowhere the service could not go by itself.
fn trust(link: &FileStat, folder: &FileStat, we: u32) -> Result<(), Option<u32>> {
    let ours = |uid| uid == 0 || uid == we;
    let others_write = !ours(folder.st_uid) || folder.st_mode & 0o022 != 0;
    match () {
        () if !ours(link.st_uid) => Err(Some(link.st_uid)),
        () if we == 0 && others_write => Err(None),
        () => Ok(()),
    }
}

pub(super) fn kind_of(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Not being allowed is no failure by itself: what counts is whether the service can write, which is checked last.
pub(super) fn tolerated(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::EPERM | Errno::EACCES | Errno::EROFS) => Ok(()),
        other => other,
    }
}
