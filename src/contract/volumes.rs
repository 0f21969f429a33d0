//! What a path is on: the answers that contracts' guards of data need. Looks, and changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

/// File systems that container engines make a container's own root of: it goes with the container.
const LAYERS: [&str; 5] = ["overlay", "aufs", "fuse-overlayfs", "fuse.fuse-overlayfs", "unionfs"];

/// Where the volume that has this path, or will have it, is mounted; empty for a container's own root.
pub(super) fn mount_point(path: &Path) -> String {
    mount_point_in(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), &real(path))
}

/// Bytes of the file system at this path; 0 where there is none.
pub(super) fn size(path: &Path) -> u64 {
    statvfs(path).map_or(0, |volume| volume.blocks() * volume.fragment_size())
}

/// Whether this user may make an entry in this folder.
pub(super) fn is_writable(path: &Path) -> bool {
    path.is_dir() && access(path, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
}

/// The path as the kernel names it, as far as it exists.
fn real(path: &Path) -> PathBuf {
    let known = path.ancestors().find_map(|ancestor| Some((ancestor, ancestor.canonicalize().ok()?)));
    known.map_or_else(
        || path.to_owned(),
        |(ancestor, real)| match path.strip_prefix(ancestor) {
            Ok(rest) if rest != Path::new("") => real.join(rest),
            _ => real,
        },
    )
}

/// Of the mounts above a path, the last of those at the longest place is seen (proc_pid_mountinfo(5)).
fn mount_point_in(mountinfo: &str, path: &Path) -> String {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        Some((before.split(' ').nth(4)?.replace("\\040", " "), after.split(' ').next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    match above.max_by_key(|(point, _)| point.len()) {
        Some((point, kind)) if point != "/" || !LAYERS.contains(&kind) => point,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "1 0 0:1 / / rw - overlay overlay rw
2 1 8:1 / /var/lib/postgresql/data rw shared:1 - ext4 /dev/sda1 rw
3 1 8:1 / /my\\040data rw - xfs /dev/sdb rw
";

    #[test]
    fn a_volume_is_told_from_the_root_of_a_container() {
        let of = |path: &str| mount_point_in(MOUNTS, Path::new(path));
        assert_eq!(of("/var/lib/postgresql/data/pgdata"), "/var/lib/postgresql/data");
        assert_eq!(of("/var/lib/postgresql/data2"), "");
        assert_eq!(of("/my data/x"), "/my data");
        assert_eq!(mount_point_in("1 0 8:1 / / rw - ext4 /dev/sda1 rw\n", Path::new("/srv")), "/");
    }

    #[test]
    fn what_is_not_there_yet_is_in_the_folder_that_is() {
        let folder = std::env::temp_dir().canonicalize().unwrap();
        assert_eq!(real(&folder.join("no-such/folder")), folder.join("no-such/folder"));
        assert!(is_writable(&folder) && size(&folder) > 0);
        assert_eq!((is_writable(Path::new("/no-such")), size(Path::new("/no-such"))), (false, 0));
    }
}
