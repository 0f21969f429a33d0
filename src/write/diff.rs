//! The changes of a run as a unified diff for `patch -p1`.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::stat::FileStat;
use similar::TextDiff;

use super::folder::{self, Links};
use super::list::List;
use super::mounts::Mounts;
use super::{Outcome, content, decide, folder_of};
use crate::plan::RenderedFile;

/// The difference between what is below `root` and what would be written there. Holds secrets: redact before printing.
pub fn diff(files: &[RenderedFile], root: &Path) -> String {
    let mounts = Mounts::of_this_process();
    files.iter().map(|file| file_diff(file, root, &mounts)).collect()
}

/// Files a run would remove from a service's `folder`, without their content: it holds secrets that nobody knows any
/// more, to keep them out.
pub fn leftovers(folder: &Path, files: &[RenderedFile]) -> String {
    let list = List::read(folder);
    let names = list.leftovers(files).filter(|name| list.holds(name));
    let line =
        |name| format!("# {} is of an earlier configuration and would be removed\n", list.path_of(name).display());
    names.map(line).collect()
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn links_below(root: &Path) -> Links<'_> {
    if root == Path::new("/") { Links::Trusted } else { Links::NoneBelow(root) }
}

fn file_diff(file: &RenderedFile, root: &Path, mounts: &Mounts) -> String {
    let name = file.path.strip_prefix("/").unwrap_or(&file.path).display();
    let (a, b) = (format!("a/{name}"), format!("b/{name}"));
    let file = RenderedFile { path: below(root, &file.path), ..file.clone() };
    let (path, new) = (file.path.display(), String::from_utf8_lossy(&file.contents));
    let outcome = match decide(&file, None, mounts, links_below(root)) {
        Ok(outcome) => outcome,
        Err(error) => return error.to_string().lines().map(|line| format!("# {line}\n")).collect(),
    };
    let old = old(&file.path, links_below(root));
    match (outcome, old) {
        (Outcome::Unchanged, _) => String::new(),
        (Outcome::Created, _) => format!("new file mode {:04o}\n", file.mode) + &unified("", &new, "/dev/null", &b),
        // It may be a link into nowhere.
        (Outcome::Kept { .. }, old) => {
            let old = old.map(|(_, text)| text).unwrap_or_default();
            format!("# {path} is mounted by the operator and would be kept\n{}", unified(&old, &new, &a, &b))
        }
        (_, Err(error)) => format!("# {path}: {}\n", super::reason(super::errno(&error))),
        (_, Ok((stat, old))) => mode_change(&file, &stat) + &unified(&old, &new, &a, &b),
    }
}

fn old(path: &Path, links: Links) -> io::Result<(FileStat, String)> {
    let gone = || io::Error::from(io::ErrorKind::NotFound);
    let folder = folder::find(folder_of(path), links).ok().flatten().ok_or_else(gone)?;
    let name = path.file_name().unwrap_or_default();
    let stat = folder.stat_entry(name)?.ok_or_else(gone)?;
    Ok((stat, String::from_utf8_lossy(&content(&folder, name)?).into_owned()))
}

fn mode_change(file: &RenderedFile, old: &FileStat) -> String {
    let (path, old, new) = (file.path.display(), old.st_mode & 0o7777, file.mode);
    if old == new { String::new() } else { format!("# {path}\nold mode {old:04o}\nnew mode {new:04o}\n") }
}

fn unified(old: &str, new: &str, old_name: &str, new_name: &str) -> String {
    let changes = TextDiff::from_lines(old, new);
    changes.unified_diff().header(old_name, new_name).to_string()
}
