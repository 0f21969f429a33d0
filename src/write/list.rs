//! The files written below a service's folder, so that a later configuration can take it away again: a catalog that is
//! no longer wanted would still be used, with its credentials.
//!
//! The list is a file of the service's, and whoever may write to the folder may have changed it: what it names is
//! removed only where it is a regular file inside the folder, reached through no link, and not mounted by the operator.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{Mode, SFlag};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::folder::{self, Links, kind_of};
use super::mounts::Mounts;
use super::{Outcome, WriteError};
use crate::plan::RenderedFile;

const NAME: &str = ".dl-entry.files";
const HEADER: &str = "# Files that dl-entry wrote here, and removes where a later configuration is without them.";
/// No configuration has so many files.
const LONGEST: u64 = 1 << 20;

/// Paths relative to the folder.
type Names = BTreeSet<PathBuf>;

/// The list of one service's folder, as an earlier run left it.
#[derive(Debug)]
pub(super) struct List {
    folder: PathBuf,
    names: Names,
}

impl List {
    /// A list that cannot be read is an empty one, and says so.
    pub(super) fn read(folder: &Path) -> List {
        let names = read(folder).unwrap_or_else(|why| {
            let path = folder.join(NAME);
            tracing::warn!("{} {why}: files of an earlier configuration stay where they are", path.display());
            Names::new()
        });
        List { folder: folder.to_owned(), names }
    }

    /// Those of the files that are ours: what the operator mounts is not, nor what is in a folder they mount.
    pub(super) fn ours(&self, decided: &[(&RenderedFile, Outcome)], mounts: &Mounts) -> Names {
        let written = decided.iter().filter(|(_, outcome)| !matches!(outcome, Outcome::InPlace | Outcome::Kept { .. }));
        let names = written.filter_map(|(file, _)| file.path.strip_prefix(&self.folder).ok());
        names.filter(|name| is_name(name) && !self.is_mounted(name, mounts)).map(Path::to_owned).collect()
    }

    /// The new list, before anything else is written: it has the old names, too, so that a file is in it whenever
    /// the run ends. `None` where the old one says it all.
    pub(super) fn announced(&self, ours: &Names) -> Option<RenderedFile> {
        let both: Names = self.names.union(ours).cloned().collect();
        (both != self.names).then(|| self.file(&both))
    }

    /// Files that this configuration does not replace.
    pub(super) fn leftovers<'a>(&'a self, files: &[RenderedFile]) -> impl Iterator<Item = &'a Path> {
        let wanted: BTreeSet<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
        self.names.iter().map(PathBuf::as_path).filter(move |name| !wanted.contains(&self.folder.join(name)))
    }

    /// Removes them; the list to write once they are gone, where it is another than `announced`.
    pub(super) fn tidied(
        &self,
        files: &[RenderedFile],
        ours: &Names,
        mounts: &Mounts,
    ) -> Result<Option<RenderedFile>, WriteError> {
        for name in self.leftovers(files).filter(|name| !self.is_mounted(name, mounts)) {
            if self.remove(name)? {
                let path = self.folder.join(name);
                tracing::info!("removed {}, left over from the previous configuration", path.display());
            }
        }
        Ok((!self.names.is_subset(ours)).then(|| self.file(ours)))
    }

    /// Whether there is such a file to remove.
    pub(super) fn holds(&self, name: &Path) -> bool {
        let folder = folder::find(&self.folder, Links::Trusted).ok().flatten();
        let inner = folder.and_then(|folder| folder.inside(name.parent()?).ok().flatten());
        let stat = inner.and_then(|inner| inner.stat_entry(name.file_name()?).ok().flatten());
        stat.is_some_and(|stat| kind_of(&stat) == SFlag::S_IFREG)
    }

    pub(super) fn path_of(&self, name: &Path) -> PathBuf {
        self.folder.join(name)
    }

    fn remove(&self, name: &Path) -> Result<bool, WriteError> {
        if !self.holds(name) {
            return Ok(false);
        }
        let failed = |source| WriteError::Leftover { path: self.folder.join(name), source };
        let parent = name.parent().unwrap_or(Path::new(""));
        let folder = folder::find(&self.folder, Links::Trusted)?.map(|folder| folder.inside(parent)).transpose()?;
        let (Some(folder), Some(name)) = (folder.flatten(), name.file_name()) else { return Ok(false) };
        match unlinkat(&folder, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) => drop(folder.readable().and_then(nix::unistd::fsync)),
            Err(Errno::ENOENT) => return Ok(false),
            Err(source) => return Err(failed(source)),
        }
        Ok(true)
    }

    fn is_mounted(&self, name: &Path, mounts: &Mounts) -> bool {
        name.ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .any(|part| mounts.contains(&self.folder.join(part)))
    }

    fn file(&self, names: &Names) -> RenderedFile {
        let lines = names.iter().filter_map(|name| name.to_str()).flat_map(|name| [name, "\n"]);
        let contents = format!("{HEADER}\n{}", lines.collect::<String>()).into_bytes();
        RenderedFile { path: self.folder.join(NAME), contents, mode: 0o600, variables: vec![] }
    }
}

fn read(folder: &Path) -> Result<Names, String> {
    let failed = |why: String| format!("cannot be read ({why})");
    let folder = folder::find(folder, Links::Trusted).map_err(|error| failed(error.to_string()))?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let opened = folder.map(|folder| openat(folder, NAME, flags, Mode::empty()));
    let file = match opened {
        None | Some(Err(Errno::ENOENT)) => return Ok(Names::new()),
        Some(opened) => File::from(opened.map_err(|error| failed(super::reason(error)))?),
    };
    let mut text = String::new();
    let length = file.take(LONGEST).read_to_string(&mut text);
    length.map_err(|error: io::Error| failed(error.kind().to_string()))?;
    parse(&text).ok_or_else(|| "is no list of dl-entry's".to_owned())
}

fn parse(text: &str) -> Option<Names> {
    let names = text.strip_prefix(HEADER)?.strip_prefix('\n')?;
    let complete = names.is_empty() || names.ends_with('\n');
    let names: Names = names.lines().map(PathBuf::from).collect();
    (complete && names.iter().all(|name| is_name(name))).then_some(names)
}

/// Inside the folder, one line, and nothing of our own.
fn is_name(path: &Path) -> bool {
    let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
    let text = path.to_str().unwrap_or_default();
    plain && !text.is_empty() && !text.contains('\n') && !text.starts_with(".dl-entry.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_inside_the_folder_are_a_list() {
        let list = |names: &str| parse(&format!("{HEADER}\n{names}"));
        assert_eq!(list("").unwrap(), Names::new());
        assert_eq!(list("a\netc/b c\n").unwrap(), Names::from(["a".into(), "etc/b c".into()]));
        for wrong in ["/etc/passwd\n", "../a\n", "a/../../b\n", "a\n\n", "torn", ".dl-entry.files\n", ".\n"] {
            assert_eq!(list(wrong), None, "{wrong:?}");
        }
        assert_eq!(parse("a\n"), None);
        assert_eq!(parse(""), None);
    }
}
