//! The mount points, as far as writing needs them.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, statvfs};

use super::folder_of;

/// Every mount point of this process. Empty where there is no `/proc`: a rename over one then fails with EBUSY.
pub(super) struct Mounts {
    points: HashSet<PathBuf>,
}

impl Mounts {
    pub(super) fn of_this_process() -> Mounts {
        Mounts { points: points(&fs::read("/proc/self/mountinfo").unwrap_or_default()) }
    }

    /// Whether something is mounted at exactly this path.
    pub(super) fn contains(&self, path: &Path) -> bool {
        // Finding out what a path really is costs a few system calls: only for a name that some mount point has.
        self.points.iter().any(|point| point.file_name() == path.file_name()) && self.contains_resolved(path)
    }

    /// Whether something is mounted at this entry of a folder.
    pub(super) fn contains_in(&self, folder: &Path, name: &OsStr) -> bool {
        self.points.iter().any(|point| point.file_name() == Some(name)) && self.contains_resolved(&folder.join(name))
    }

    fn contains_resolved(&self, path: &Path) -> bool {
        resolved(path).is_some_and(|path| self.points.contains(&path))
    }

    /// Whether the path is inside a read-only mount that is not the container's own root.
    pub(super) fn is_inside_read_only_volume(&self, path: &Path) -> bool {
        let Some(path) = resolved(path) else { return false };
        let enclosing = path.ancestors().find(|ancestor| self.points.contains(*ancestor));
        let is_volume = enclosing.is_some_and(|point| point != Path::new("/"));
        is_volume && statvfs(folder_of(&path)).is_ok_and(|volume| volume.flags().contains(FsFlags::ST_RDONLY))
    }
}

/// The path as the kernel names it: links above the last component are followed, the last one is not.
fn resolved(path: &Path) -> Option<PathBuf> {
    let Some(name) = path.file_name() else {
        return Some(PathBuf::from("/"));
    };
    Some(folder_of(path).canonicalize().ok()?.join(name))
}

/// The fifth field of each line (proc_pid_mountinfo(5)).
fn points(mountinfo: &[u8]) -> HashSet<PathBuf> {
    let lines = mountinfo.split(|byte| *byte == b'\n');
    lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4)).map(unescaped).collect()
}

/// Blank, tab, line feed and backslash are written in octal: `\040`.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                path.push(byte);
                rest = &after[3..];
            }
            None => {
                path.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_with_blanks_and_backslashes_are_read() {
        let mountinfo = br"36 35 98:0 / / rw,noatime master:1 - ext3 /dev/sda1 rw
37 36 0:5 / /data/with\040blank\134 ro shared:2 - tmpfs tmpfs rw
";
        let expected = HashSet::from([PathBuf::from("/"), PathBuf::from(r"/data/with blank\")]);
        assert_eq!(points(mountinfo), expected);
    }

    #[test]
    fn the_root_is_a_mount_point_and_a_file_of_it_is_in_no_volume() {
        let mounts = Mounts { points: HashSet::from([PathBuf::from("/")]) };
        assert!(mounts.contains(Path::new("/")));
        assert!(!mounts.contains(Path::new("/etc/passwd")));
        assert!(!mounts.is_inside_read_only_volume(Path::new("/etc/passwd")));
    }
}
