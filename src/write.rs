//! Puts directories and rendered files in their place: all or none, whole or not at all, never through a link.
//!
//! Owns how a file is replaced and whose it then is. Must not render, and must not decide what is written: it gets
//! `Plan::directories` and complete `Plan::files`. Runs as root where the container does, before the drop; `owner` is
//! who the service will be. Each file is staged beside its target with its final mode and owner, then renamed over it
//! (rename(2) is atomic); the first error removes what was staged and leaves every old file as it was.
//!
//! A file the operator mounted is the operator's: read-only or not ours to write, it is kept and the variables it
//! makes ineffective are named; writable, it is written in place, because a mount point cannot be renamed over.

mod diff;
mod directory;
mod mounts;
mod stage;

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::{fs, io};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access, geteuid};

use crate::plan::{Directory, RenderedFile};
use crate::system;

pub use diff::diff;
use mounts::Mounts;
use stage::{Overwritten, Staged};

/// User and group of the service; `None` leaves everything to whoever we are.
pub type Owner = Option<(u32, u32)>;

/// What became of one file.
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
    /// What the operator should know about this file, if anything.
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
    let mounts = Mounts::of_this_process();
    for directory in directories {
        directory::make(directory, owner, &mounts)?;
    }
    let mut decided = Vec::new();
    for file in files {
        decided.push((file, decide(file, owner, &mounts)?));
    }
    replace(&mut decided, owner)?;
    let written = decided.into_iter().map(|(file, outcome)| Written { path: file.path.clone(), outcome });
    let written: Vec<Written> = written.collect();
    for warning in written.iter().filter_map(Written::warning) {
        tracing::warn!("{warning}");
    }
    Ok(written)
}

/// Whether the file at `path` is one that a run would keep.
pub fn is_operators_file(path: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return false;
    };
    match metadata.is_symlink() {
        true => is_kubernetes_link(path),
        false => metadata.is_file() && is_kept(path, &Mounts::of_this_process()),
    }
}

/// Everything that can fail for want of space comes before the first rename, and whatever is dropped on the way out
/// undoes itself.
fn replace(decided: &mut [(&RenderedFile, Outcome)], owner: Owner) -> Result<(), WriteError> {
    let (mut staged, mut in_place) = (Vec::new(), Vec::new());
    for (file, outcome) in decided {
        match outcome {
            Outcome::Created | Outcome::Replaced => staged.push((Staged::beside(file, owner)?, *file, outcome)),
            Outcome::InPlace => in_place.push(*file),
            Outcome::Unchanged | Outcome::Kept { .. } => {}
        }
    }
    let mut overwritten = Vec::new();
    for file in in_place {
        overwritten.push(Overwritten::with(file, owner)?);
    }
    let mut folders = BTreeSet::new();
    for (temporary, file, outcome) in staged {
        folders.insert(folder_of(&file.path));
        if !temporary.rename()? {
            // A mount point that /proc did not tell us about.
            overwritten.push(Overwritten::with(file, owner)?);
            *outcome = Outcome::InPlace;
        }
    }
    overwritten.into_iter().for_each(Overwritten::keep);
    folders.into_iter().try_for_each(stage::sync)
}

fn decide(file: &RenderedFile, owner: Owner, mounts: &Mounts) -> Result<Outcome, WriteError> {
    let path = &file.path;
    let kept = || Outcome::Kept { ineffective: file.variables.clone() };
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Created),
        Err(error) => return Err(WriteError::file(path, &error)),
    };
    if metadata.is_symlink() && is_kubernetes_link(path) {
        return Ok(if content(path).is_ok_and(|old| old == file.contents) { Outcome::Unchanged } else { kept() });
    }
    if !metadata.is_file() {
        let (path, what) = (path.clone(), kind(&metadata));
        return Err(WriteError::InTheWay { path, what, wanted: "a file" });
    }
    // What cannot be read is certainly not known to be the same.
    let same = metadata.len() == file.contents.len() as u64 && content(path).is_ok_and(|old| old == file.contents);
    Ok(match (same, is_kept(path, mounts), mounts.contains(path)) {
        // The mode and owner of a mounted file are the operator's when there is nothing else to change.
        (true, true, _) | (true, _, true) => Outcome::Unchanged,
        (true, _, _) if has_mode_and_owner(&metadata, file.mode, owner) => Outcome::Unchanged,
        (false, true, _) => kept(),
        (false, false, true) => Outcome::InPlace,
        (_, false, false) => Outcome::Replaced,
    })
}

/// A single file that we cannot write to, or any file of a volume that is mounted read-only. The container's own root
/// may be read-only as well, but that is no choice of a file.
fn is_kept(path: &Path, mounts: &Mounts) -> bool {
    match mounts.contains(path) {
        true => access(path, AccessFlags::W_OK).is_err(),
        false => mounts.is_inside_read_only_volume(path),
    }
}

/// Files of a ConfigMap or Secret are links into `..data`, which Kubernetes swaps as a whole
/// (kubernetes/pkg/volume/util/atomic_writer.go).
fn is_kubernetes_link(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target.starts_with("..data"))
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let flags = libc::O_NONBLOCK | libc::O_CLOEXEC;
    let mut content = Vec::new();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?.read_to_end(&mut content)?;
    Ok(content)
}

fn has_mode_and_owner(metadata: &fs::Metadata, mode: u32, owner: Owner) -> bool {
    metadata.mode() & 0o7777 == mode && owner.is_none_or(|owner| owner == (metadata.uid(), metadata.gid()))
}

fn kind(metadata: &fs::Metadata) -> &'static str {
    let kind = metadata.file_type();
    match () {
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_dir() => "a folder",
        () if kind.is_file() => "a file",
        () if kind.is_fifo() => "a FIFO",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("/"))
}

// ---- errors ----------------------------------------------------------------------------------------------------

/// What could not be written, and why. Exit status 73.
#[derive(Debug)]
pub enum WriteError {
    /// A file cannot be written; the old one is as it was.
    File { path: PathBuf, source: Errno },
    /// A folder cannot be made or read.
    Folder { path: PathBuf, source: Errno },
    /// Something else has that name.
    InTheWay { path: PathBuf, what: &'static str, wanted: &'static str },
    /// The service's user could not write to its own folder.
    NotWritable { path: PathBuf, uid: u32, gid: u32, read_only: bool },
    /// A file cannot be given to the service's user.
    Owner { path: PathBuf, uid: u32, gid: u32, source: Errno },
}

impl WriteError {
    fn file(path: &Path, error: &io::Error) -> WriteError {
        WriteError::File { path: path.to_owned(), source: errno(error) }
    }

    fn folder(path: &Path, error: &io::Error) -> WriteError {
        WriteError::Folder { path: path.to_owned(), source: errno(error) }
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
        Errno::EACCES if uid.is_root() && !holds_dac_override() => {
            f.write_str("\n  add the capability DAC_OVERRIDE, or start the container as the service's user")
        }
        Errno::EACCES | Errno::EPERM => write!(f, "\n  let uid {uid} write to {folder}, or mount a tmpfs there"),
        _ => Ok(()),
    }
}

/// Root without it is nobody in a folder that is the service's (capabilities(7)).
fn holds_dac_override() -> bool {
    system::effective_capabilities().is_ok_and(|[held, _]| held & 1 << 1 != 0)
}
