//! Puts directories and rendered files in their place: all or none, whole or not at all, never through a link.
//!
//! Owns how a file is replaced and whose it then is. Must not render, and must not decide what is written: it gets
//! `Plan::directories` and complete `Plan::files`. Runs as root where the container does, before the drop; `owner` is
//! who the service will be. Each file is staged beside its target with its final mode and owner, then renamed over it
//! (rename(2) is atomic); the first error removes what was staged and leaves every old file as it was. Where already a
//! few were renamed, they are put back, as far as the file system knows hard links; only a SIGKILL in between cannot be
//! undone, and leaves whole files, some new and some old.
//!
//! A list of what was written stays beside the files, so that what a later configuration is without is removed.
//!
//! A file the operator mounted is the operator's: read-only or not ours to write, it is kept and the variables it
//! makes ineffective are named; writable, it is written in place, because a mount point cannot be renamed over.

mod diff;
mod directory;
mod folder;
mod list;
mod mounts;
mod owner;
mod stage;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag};
use nix::unistd::{AccessFlags, faccessat, geteuid};

use crate::pid1::sys;
use crate::plan::{Directory, RenderedFile};

pub use diff::{diff, leftovers};
use directory::MODE_OF_ANCESTORS;
pub use directory::make_private;
use folder::{Folder, Links, New, kind_of};
use list::List;
use mounts::Mounts;
use stage::{Overwritten, Staged};

/// Folders of somebody who only looks: the files hold secrets.
const MODE_OF_PRIVATE: u32 = 0o700;

/// No file of a configuration is longer; of an old one no more is compared.
const LONGEST_OLD: u64 = 16 << 20;

/// User and group of the service; `None` leaves everything to whoever we are.
pub type Owner = Option<(u32, u32)>;

/// The outcome for one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub path: PathBuf,
    pub outcome: Outcome,
}

/// How a file got its content, or why it did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There was none.
    Created,
    /// The old file was replaced as a whole.
    Replaced,
    /// Content, mode and owner were right; not touched.
    Unchanged,
    /// A single mounted file, which cannot be replaced: its content was written over.
    InPlace,
    /// The operator's own file; these variables have no effect.
    Kept { ineffective: Vec<String> },
}

impl Written {
    /// A note for the operator about this file, if any.
    pub fn warning(&self) -> Option<String> {
        let path = self.path.display();
        match &self.outcome {
            Outcome::InPlace => Some(format!("{path} is mounted as a single file: written in place, not atomically")),
            Outcome::Kept { ineffective } if ineffective.is_empty() => {
                Some(format!("{path} is mounted by the operator and kept as it is"))
            }
            Outcome::Kept { ineffective } => {
                let variables = ineffective.join(", ");
                Some(format!("{path} is mounted by the operator and kept as it is: no effect there for {variables}"))
            }
            Outcome::Created | Outcome::Replaced | Outcome::Unchanged => None,
        }
    }
}

/// Makes the directories and writes the files. Every warning is logged as well.
pub fn write_all(files: &[RenderedFile], directories: &[Directory], owner: Owner) -> Result<Vec<Written>, WriteError> {
    write(files, directories, owner, None, &|| {})
}

/// The same for a service whose files are in `folder`: those that an earlier configuration left there are removed.
/// `meanwhile` is called now and then where it takes long.
pub fn write_service(
    folder: &Path,
    files: &[RenderedFile],
    directories: &[Directory],
    owner: Owner,
    meanwhile: &dyn Fn(),
) -> Result<Vec<Written>, WriteError> {
    write(files, directories, owner, Some(folder), meanwhile)
}

fn write(
    files: &[RenderedFile],
    directories: &[Directory],
    owner: Owner,
    folder: Option<&Path>,
    meanwhile: &dyn Fn(),
) -> Result<Vec<Written>, WriteError> {
    let mounts = Mounts::of_this_process();
    for directory in directories {
        directory::make(directory, owner, &mounts, meanwhile)?;
    }
    let decide = |file| Ok((file, decide(file, owner, &mounts, Links::Trusted)?));
    let mut decided = files.iter().map(decide).collect::<Result<Vec<_>, _>>()?;
    let new = New { mode: MODE_OF_ANCESTORS, ancestors: MODE_OF_ANCESTORS, owner };
    let list = folder.map(List::read);
    let ours = list.as_ref().map(|list| list.ours(&decided, &mounts)).unwrap_or_default();
    let announced = list.as_ref().and_then(|list| list.announced(&ours));
    if let Some(announced) = &announced {
        decided.insert(0, decide(announced)?);
    }
    replace(&mut decided, Links::Trusted, new)?;
    if let Some(tidied) = list.as_ref().map(|list| list.tidied(files, &ours, &mounts)).transpose()?.flatten() {
        replace(&mut [(&tidied, Outcome::Replaced)], Links::Trusted, new)?;
    }
    decided.drain(..usize::from(announced.is_some()));
    let written = outcomes(decided);
    for warning in written.iter().filter_map(Written::warning) {
        tracing::warn!("{warning}");
    }
    Ok(written)
}

/// Writes files whose paths are below `root`, a folder of an operator's who looks at what would be written: it is left
/// by no link, and its own folders stay as they are.
pub fn write_below(root: &Path, files: &[RenderedFile]) -> Result<Vec<Written>, WriteError> {
    let made = fs::DirBuilder::new().recursive(true).mode(MODE_OF_PRIVATE).create(root);
    made.map_err(|error| WriteError::Folder { path: root.to_owned(), source: errno(&error) })?;
    let (mounts, links) = (Mounts::of_this_process(), Links::NoneBelow(root));
    let mut decided = Vec::new();
    for file in files {
        decided.push((file, decide(file, None, &mounts, links)?));
    }
    let new = New { mode: MODE_OF_PRIVATE, ancestors: MODE_OF_PRIVATE, owner: None };
    replace(&mut decided, links, new)?;
    Ok(outcomes(decided))
}

fn outcomes(decided: Vec<(&RenderedFile, Outcome)>) -> Vec<Written> {
    decided.into_iter().map(|(file, outcome)| Written { path: file.path.clone(), outcome }).collect()
}

/// Everything that can fail for want of space comes before the first rename, and whatever is dropped on the way out
/// undoes itself.
fn replace(decided: &mut [(&RenderedFile, Outcome)], links: Links, new: New) -> Result<(), WriteError> {
    let (mut staged, mut in_place) = (Vec::new(), Vec::new());
    for (file, outcome) in decided {
        match outcome {
            Outcome::Created | Outcome::Replaced => staged.push((Staged::beside(file, links, new)?, *file, outcome)),
            Outcome::InPlace => in_place.push(*file),
            Outcome::Unchanged | Outcome::Kept { .. } => {}
        }
    }
    let mut overwritten = Vec::new();
    for file in in_place {
        overwritten.push(Overwritten::with(file, links, new.owner)?);
    }
    for (temporary, file, outcome) in &mut staged {
        if !temporary.rename()? {
            // A mount point that /proc did not tell us about.
            overwritten.push(Overwritten::with(file, links, new.owner)?);
            **outcome = Outcome::InPlace;
        }
    }
    let mut synced = BTreeSet::new();
    let mut folders = staged.iter().filter(|(_, file, _)| synced.insert(folder_of(&file.path)));
    folders.try_for_each(|(one, ..)| one.sync_folder())?;
    overwritten.into_iter().for_each(Overwritten::keep);
    staged.into_iter().for_each(|(one, ..)| one.keep());
    Ok(())
}

fn decide(file: &RenderedFile, owner: Owner, mounts: &Mounts, links: Links) -> Result<Outcome, WriteError> {
    let path = &file.path;
    let failed = |source| WriteError::File { path: path.clone(), source };
    let kept = || Outcome::Kept { ineffective: file.variables.clone() };
    let folder = match folder::find(folder_of(path), links) {
        Err(WriteError::Folder { source, .. }) => return Err(failed(source)),
        other => other?,
    };
    let (Some(folder), Some(name)) = (folder, path.file_name()) else { return Ok(Outcome::Created) };
    let Some(stat) = folder.stat_entry(name).map_err(failed)? else { return Ok(Outcome::Created) };
    let is_same = || content(&folder, name).is_ok_and(|old| old == file.contents);
    if kind_of(&stat) == SFlag::S_IFLNK && is_kubernetes_link(&folder, name) {
        return Ok(if is_same() { Outcome::Unchanged } else { kept() });
    }
    if kind_of(&stat) != SFlag::S_IFREG {
        let (path, what) = (path.clone(), kind(&stat));
        return Err(WriteError::InTheWay { path, what, wanted: "a file" });
    }
    // A file that cannot be read may differ.
    let same = stat.st_size == file.contents.len() as i64 && is_same();
    let has_mode_and_owner =
        stat.st_mode & 0o7777 == file.mode && owner.is_none_or(|owner| owner == (stat.st_uid, stat.st_gid));
    let outcome = match (same, is_kept(&folder, path, mounts), mounts.contains(path)) {
        // The mode and owner of a mounted file are the operator's when there is nothing else to change.
        (true, true, _) | (true, _, true) => Outcome::Unchanged,
        (true, _, _) if has_mode_and_owner => Outcome::Unchanged,
        (false, true, _) => kept(),
        (false, false, true) => Outcome::InPlace,
        (_, false, false) => Outcome::Replaced,
    };
    match outcome {
        Outcome::Replaced if !may_replace(&folder.stat().map_err(failed)?, &stat) => {
            Err(WriteError::Sticky { path: path.clone(), uid: stat.st_uid })
        }
        outcome => Ok(outcome),
    }
}

/// In a sticky folder only the owner of a file may replace it, or of the folder, or CAP_FOWNER (rename(2), EPERM).
fn may_replace(folder: &FileStat, file: &FileStat) -> bool {
    let we = geteuid().as_raw();
    folder.st_mode & 0o1000 == 0 || folder.st_uid == we || file.st_uid == we || holds(CAP_FOWNER)
}

/// A single file that we cannot write to, or any file of a volume that is mounted read-only. The container's own root
/// may be read-only as well, but that is no choice of a file.
fn is_kept(folder: &Folder, path: &Path, mounts: &Mounts) -> bool {
    let name = path.file_name().unwrap_or_default();
    match mounts.contains(path) {
        true => faccessat(folder, name, AccessFlags::W_OK, AtFlags::empty()).is_err(),
        false => mounts.is_inside_read_only_volume(path),
    }
}

/// Files of a ConfigMap or Secret are links into `..data`, which Kubernetes swaps as a whole
/// (kubernetes/pkg/volume/util/atomic_writer.go).
fn is_kubernetes_link(folder: &Folder, name: &OsStr) -> bool {
    readlinkat(folder, name).is_ok_and(|target| Path::new(&target).starts_with("..data"))
}

fn content(folder: &Folder, name: &OsStr) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let mut content = Vec::new();
    // A pipe may have been put there since.
    File::from(openat(folder, name, flags, Mode::empty())?).take(LONGEST_OLD).read_to_end(&mut content)?;
    Ok(content)
}

fn has_mode_and_owner(metadata: &fs::Metadata, mode: u32, owner: Owner) -> bool {
    metadata.mode() & 0o7777 == mode && owner.is_none_or(|owner| owner == (metadata.uid(), metadata.gid()))
}

fn kind(stat: &FileStat) -> &'static str {
    match kind_of(stat) {
        SFlag::S_IFLNK => "a symbolic link",
        SFlag::S_IFDIR => "a folder",
        SFlag::S_IFREG => "a file",
        SFlag::S_IFIFO => "a FIFO",
        SFlag::S_IFSOCK => "a socket",
        _ => "a device",
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("/"))
}

// ---- errors ----------------------------------------------------------------------------------------------------

/// The operation that failed, and why. Exit status 73.
#[derive(Debug)]
pub enum WriteError {
    /// A file cannot be written; the old one is as it was.
    File { path: PathBuf, source: Errno },
    /// A folder cannot be made or read.
    Folder { path: PathBuf, source: Errno },
    /// Something else has that name.
    InTheWay { path: PathBuf, what: &'static str, wanted: &'static str },
    /// A file that a sticky folder keeps for its owner.
    Sticky { path: PathBuf, uid: u32 },
    /// A file of an earlier configuration, which the service would use, stays.
    Leftover { path: PathBuf, source: Errno },
    /// A link on the way that somebody else has made, or could have moved there.
    Link { path: PathBuf, target: PathBuf, stranger: Option<u32> },
    /// A link on the way below a folder that must not be left.
    LinkBelow { path: PathBuf, target: PathBuf, root: PathBuf },
    /// The service's user could not write to its own folder.
    NotWritable { path: PathBuf, uid: u32, gid: u32, read_only: bool },
    /// The service's user could not write to a folder that is left as it is.
    Shared { path: PathBuf, uid: u32, mode: u32 },
    /// A signal asked to stop while a folder was given to the service's user; the next start goes on.
    Stopped { path: PathBuf },
    /// A file cannot be given to the service's user.
    Owner { path: PathBuf, uid: u32, gid: u32, source: Errno },
}

impl WriteError {
    fn file(path: &Path, error: &io::Error) -> WriteError {
        WriteError::File { path: path.to_owned(), source: errno(error) }
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::File { path, source } => {
                write!(f, "cannot write {}: {}", path.display(), reason(*source))?;
                write_advice(f, *source, folder_of(path))
            }
            WriteError::Folder { path, source } => {
                write!(f, "cannot make the folder {}: {}", path.display(), reason(*source))?;
                write_advice(f, *source, folder_of(path))
            }
            WriteError::InTheWay { path, what, wanted } => {
                write!(f, "cannot write {}: {what} is in the way of {wanted}", path.display())?;
                f.write_str("\n  remove it or mount ")?;
                match *what {
                    "a folder" => f.write_str("a file (Docker makes a folder when the host has no such file)"),
                    _ => write!(f, "{wanted} there"),
                }
            }
            WriteError::Sticky { path, uid } => write!(
                f,
                "cannot write {}: it is uid {uid}'s, and in a sticky folder nobody else may replace it\n  \
                 remove it, or name a folder that is the service's alone",
                path.display()
            ),
            WriteError::Leftover { path, source } => write!(
                f,
                "cannot remove {}, left over from the previous configuration: {}\n  \
                 remove it: the service would use it",
                path.display(),
                reason(*source)
            ),
            WriteError::Link { path, target, stranger } => {
                let whose = match stranger {
                    Some(uid) => format!("that uid {uid} has made"),
                    None => "in a folder that others can write to".to_owned(),
                };
                let (path, target) = (path.display(), target.display());
                writeln!(f, "{path} is a symbolic link to {target} {whose}: it is not followed")?;
                f.write_str("  remove it; name or mount the folder itself instead")
            }
            WriteError::LinkBelow { path, target, root } => write!(
                f,
                "{} is a symbolic link to {}, which could lead out of {}: it is not followed\n  \
                 name another folder with --root, or a DL_RUN_DIR without the link",
                path.display(),
                target.display(),
                root.display()
            ),
            WriteError::NotWritable { path, uid, gid, read_only } => {
                let path = path.display();
                let why = if *read_only { ", which is read-only" } else { "" };
                writeln!(f, "uid {uid} cannot write to {path}{why}")?;
                match read_only {
                    true => write!(f, "  mount a volume or a tmpfs at {path}"),
                    false => write!(
                        f,
                        "  give the volume to it (`chown -R {uid}:{gid}`, or `securityContext.fsGroup: {gid}` in \
                         Kubernetes), or mount a tmpfs at {path}"
                    ),
                }
            }
            WriteError::Shared { path, uid, mode } => write!(
                f,
                "uid {uid} cannot write to {} (mode {mode:04o}), which others use, too, and which is left as it is\n  \
                 name a folder that is the service's alone",
                path.display()
            ),
            WriteError::Stopped { path } => {
                write!(f, "a signal asked to stop while {} was given to the service's user", path.display())
            }
            WriteError::Owner { path, uid, gid, source } => {
                write!(f, "cannot give {} to {uid}:{gid}: {}", path.display(), reason(*source))?;
                f.write_str("\n  add the capability CHOWN, or start the container as that user")
            }
        }
    }
}

impl std::error::Error for WriteError {}

fn reason(source: Errno) -> String {
    source.desc().to_lowercase()
}

fn write_advice(f: &mut fmt::Formatter<'_>, source: Errno, folder: &Path) -> fmt::Result {
    let (folder, uid) = (folder.display(), geteuid());
    match source {
        Errno::EROFS => write!(f, "\n  mount a volume or a tmpfs at {folder}"),
        Errno::ENOSPC | Errno::EDQUOT => write!(f, "\n  make room on the file system of {folder}"),
        Errno::EACCES if uid.is_root() && !holds(CAP_DAC_OVERRIDE) => {
            f.write_str("\n  add the capability DAC_OVERRIDE, or start the container as the service's user")
        }
        Errno::EACCES | Errno::EPERM => write!(f, "\n  let uid {uid} write to {folder}, or mount a tmpfs there"),
        _ => Ok(()),
    }
}

/// Root without it is nobody in a folder that is the service's (capabilities(7)).
const CAP_DAC_OVERRIDE: u64 = 1;
const CAP_FOWNER: u64 = 3;

fn holds(capability: u64) -> bool {
    sys::effective_capabilities().is_ok_and(|[held, _]| held & 1 << capability != 0)
}
