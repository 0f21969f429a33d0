//! What a run would change, as a unified diff that `patch -p1` understands.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use similar::TextDiff;

use super::folder::{self, Links};
use super::list::List;
use super::{folder_of, is_operators_file};
use crate::plan::RenderedFile;

/// The difference between what is below `root` and what would be written there. Holds secrets: redact before printing.
pub fn diff(files: &[RenderedFile], root: &Path) -> String {
    files.iter().map(|file| file_diff(file, root)).collect()
}

/// What a run would remove from a service's `folder` below `root`. Without the content: it holds secrets that nobody
/// knows any more, to keep them out.
pub fn leftovers(folder: &Path, files: &[RenderedFile], root: &Path) -> String {
    let links = if root == Path::new("/") { Links::Trusted } else { Links::NoneBelow(root) };
    let below = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
    let files: Vec<RenderedFile> =
        files.iter().map(|file| RenderedFile { path: below(&file.path), ..file.clone() }).collect();
    let list = List::read(&below(folder), links);
    let names = list.leftovers(&files).filter(|name| list.holds(name, links));
    let line =
        |name| format!("# {} is of an earlier configuration and would be removed\n", list.path_of(name).display());
    names.map(line).collect()
}

fn file_diff(file: &RenderedFile, root: &Path) -> String {
    let inside = file.path.strip_prefix("/").unwrap_or(&file.path);
    let (path, name) = (root.join(inside), inside.display());
    let new = String::from_utf8_lossy(&file.contents);
    let old = match content(&path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let created = format!("new file mode {:04o}\n", file.mode);
            return created + &unified("", &new, "/dev/null", &format!("b/{name}"));
        }
        Err(error) => return format!("# {}: {}\n", path.display(), super::reason(super::errno(&error))),
    };
    let changes = unified(&String::from_utf8_lossy(&old), &new, &format!("a/{name}"), &format!("b/{name}"));
    match is_operators_file(&path) {
        true if changes.is_empty() => changes,
        true => format!("# {} is mounted by the operator and would be kept\n{changes}", path.display()),
        false => mode_change(file, &path) + &changes,
    }
}

fn content(path: &Path) -> io::Result<Vec<u8>> {
    let folder = folder::find(folder_of(path), Links::Trusted).ok().flatten().ok_or(io::ErrorKind::NotFound)?;
    super::content(&folder, path.file_name().unwrap_or_default())
}

fn mode_change(file: &RenderedFile, path: &Path) -> String {
    let mode = fs::symlink_metadata(path).map_or(file.mode, |metadata| metadata.permissions().mode() & 0o7777);
    let mut change = String::new();
    if mode != file.mode {
        let _ = writeln!(change, "# {}\nold mode {mode:04o}\nnew mode {:04o}", path.display(), file.mode);
    }
    change
}

fn unified(old: &str, new: &str, old_name: &str, new_name: &str) -> String {
    let changes = TextDiff::from_lines(old, new);
    changes.unified_diff().header(old_name, new_name).to_string()
}
