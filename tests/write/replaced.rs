//! Ordinary folders: what is replaced, what is left alone, and what stays after a failure or a SIGKILL.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use dl_entry::plan::{Directory, RenderedFile};
use dl_entry::write::{Outcome, diff, leftovers, write_all, write_service};

use crate::{Folder, process};

fn file(path: &Path, contents: &str) -> RenderedFile {
    let contents = contents.as_bytes().to_vec();
    RenderedFile { path: path.to_owned(), contents, mode: 0o640, variables: vec!["A".into()] }
}

fn outcome(path: &Path, contents: &str) -> Outcome {
    write_all(&[file(path, contents)], &[], None).unwrap().remove(0).outcome
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Behaviours: 46.
#[test]
fn a_file_is_created_with_its_mode_whatever_the_umask_and_its_folder_with_it() {
    let folder = Folder::new();
    let path = folder.join("etc/trino/config.properties");
    let directories = [Directory { path: folder.join("data/inner"), mode: 0o770 }];
    let mut wide = file(&path, "a=b\n");
    wide.mode = 0o666;
    let written = write_all(&[wide], &directories, None).unwrap();
    assert_eq!(written[0].outcome, Outcome::Created);
    assert_eq!(folder.read("etc/trino/config.properties"), "a=b\n");
    assert_eq!((mode(&path), mode(&folder.join("data/inner")), mode(&folder.join("data"))), (0o666, 0o770, 0o755));
    assert_eq!(folder.names(), ["data", "etc"]);
}

/// Behaviours: 79.
#[test]
fn the_same_content_leaves_the_inode_alone_and_a_difference_replaces_it() {
    let folder = Folder::new();
    let path = folder.join("file");
    let inode = || std::fs::metadata(&path).unwrap().ino();
    assert_eq!(outcome(&path, "one"), Outcome::Created);
    let first = inode();
    assert_eq!(outcome(&path, "one"), Outcome::Unchanged);
    assert_eq!(inode(), first);
    assert_eq!(outcome(&path, "two"), Outcome::Replaced);
    assert_ne!(inode(), first);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(outcome(&path, "two"), Outcome::Replaced);
    assert_eq!((mode(&path), folder.names()), (0o640, vec!["file".to_owned()]));
}

/// Behaviours: 75.
#[test]
fn what_is_in_the_way_is_named_and_nothing_is_written() {
    let folder = Folder::new();
    let first = folder.write("first", "old");
    let elsewhere = folder.write("elsewhere", "untouched");
    symlink(&elsewhere, folder.join("link")).unwrap();
    std::fs::create_dir(folder.join("folder")).unwrap();
    nix::unistd::mkfifo(&folder.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let before = folder.names();
    for (name, what, advice) in [
        ("link", "a symbolic link", "remove it or mount a file there"),
        ("folder", "a folder", "remove it or mount a file (Docker makes a folder when the host has no such file)"),
        ("fifo", "a FIFO", "remove it or mount a file there"),
    ] {
        let path = folder.join(name);
        let error = write_all(&[file(&first, "new"), file(&path, "new")], &[], None).unwrap_err();
        let expected = format!("cannot write {}: {what} is in the way of a file\n  {advice}", path.display());
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!((folder.read("first"), folder.read("elsewhere")), ("old".to_owned(), "untouched".to_owned()));
    assert_eq!(folder.names(), before);
    let directory = Directory { path: folder.join("link"), mode: 0o755 };
    let expected = format!(
        "cannot write {}: a symbolic link is in the way of a folder\n  remove it or mount a folder there",
        directory.path.display()
    );
    assert_eq!(write_all(&[], &[directory], None).unwrap_err().to_string(), expected);
}

#[test]
fn a_file_in_place_of_a_folder_is_an_error_and_earlier_files_stay_old() {
    let folder = Folder::new();
    let first = folder.write("first", "old");
    let below = folder.write("file", "x").join("below");
    let error = write_all(&[file(&first, "new"), file(&below, "new")], &[], None).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {}: not a directory", below.display()));
    assert_eq!((folder.read("first"), folder.names()), ("old".into(), vec!["file".to_owned(), "first".to_owned()]));
}

/// Behaviours: 75.
#[test]
fn a_kubernetes_config_map_is_the_operators() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("..2026")).unwrap();
    folder.write("..2026/config", "theirs");
    symlink("..2026", folder.join("..data")).unwrap();
    symlink("..data/config", folder.join("config")).unwrap();
    let path = folder.join("config");
    let written = write_all(&[file(&path, "ours")], &[], None).unwrap();
    assert_eq!(written[0].outcome, Outcome::Kept { ineffective: vec!["A".into()] });
    let expected = format!("{} is mounted by the operator and kept as it is: no effect there for A", path.display());
    assert_eq!(written[0].warning(), Some(expected));
    assert_eq!(folder.read("config"), "theirs");
    assert_eq!(outcome(&path, "theirs"), Outcome::Unchanged);
}

#[test]
fn a_diff_shows_new_changed_and_unchanged_files_as_patch_reads_them() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("etc")).unwrap();
    let same = folder.write("etc/same", "a\n");
    let changed = folder.write("etc/changed", "a\nb\nc\n");
    for path in [&same, &changed] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    let files = [("/etc/same", "a\n"), ("/etc/changed", "a\nB\nc\n"), ("/etc/new", "x\n")]
        .map(|(path, text)| file(Path::new(path), text));
    let expected = "--- a/etc/changed\n+++ b/etc/changed\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n\
                    new file mode 0640\n--- /dev/null\n+++ b/etc/new\n@@ -0,0 +1 @@\n+x\n";
    assert_eq!(diff(&files, &folder.0), expected);
    std::fs::set_permissions(&same, std::fs::Permissions::from_mode(0o600)).unwrap();
    let expected = format!("# {}\nold mode 0600\nnew mode 0640\n", same.display());
    assert_eq!(diff(&files[..1], &folder.0), expected);
}

/// Behaviours: 76.
#[test]
fn a_sigkill_leaves_the_old_or_the_new_file_and_the_next_run_removes_what_was_staged() {
    let folder = Folder::new();
    let path = folder.join("file");
    let mut left_behind = 0;
    for round in 0..60u64 {
        let target = path.to_str().unwrap();
        let two = ["--forever", "--file", target, "640", "a*200000", "--file", target, "640", "b*200000"];
        let mut process = process::command(&two).stdout(Stdio::piped()).spawn().unwrap();
        // The first outcome tells that it has begun; from there on it is always somewhere in the middle.
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().starts_with("file ")));
        std::thread::sleep(Duration::from_micros(round * 137 % 5000));
        process.kill().unwrap();
        process.wait().unwrap();
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len(), 200_000);
        assert!(content.iter().all(|byte| *byte == content[0]), "a mixture of old and new");
        left_behind = left_behind.max(folder.names().len() - 1);
    }
    // The new file and, for the moment of the rename, a second name of the old one.
    assert!(left_behind <= 2, "{left_behind} staged files were left to pile up");
    assert_eq!(outcome(&path, "end"), Outcome::Replaced);
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn a_staged_file_is_removed_only_when_nobody_holds_it() {
    let folder = Folder::new();
    folder.write(".dl-entry.0000000000000001.tmp", "left behind");
    let held = std::fs::File::create(folder.join(".dl-entry.0000000000000002.tmp")).unwrap();
    held.lock().unwrap();
    folder.write(".dl-entry.mine", "no staged file");
    assert_eq!(outcome(&folder.join("file"), "text"), Outcome::Created);
    assert_eq!(folder.names(), [".dl-entry.0000000000000002.tmp", ".dl-entry.mine", "file"]);
}

/// Behaviours: 77.
#[test]
fn two_at_the_same_time_do_not_take_each_others_staged_files() {
    let folder = Folder::new();
    let path = folder.join("file");
    let work = |letter: &str| {
        let contents = letter.repeat(50_000);
        (0..100).for_each(|_| drop(write_all(&[file(&path, &contents)], &[], None).unwrap()));
    };
    std::thread::scope(|scope| {
        for letter in ["a", "b", "c"] {
            scope.spawn(move || work(letter));
        }
    });
    let content = folder.read("file");
    assert_eq!(content, content[..1].repeat(50_000));
    assert_eq!(folder.names(), ["file"]);
}

#[test]
fn a_list_that_is_none_is_as_good_as_empty_and_a_whole_one_is_not_written_again() {
    let folder = Folder::new();
    let (one, two) = (file(&folder.join("one"), "text"), file(&folder.join("two"), "text"));
    let write = |files: &[RenderedFile]| write_service(&folder.0, files, &[], None, &|| {}).unwrap();
    assert_eq!(write(&[]), []);
    assert_eq!(folder.names(), [""; 0]);
    write(&[one.clone(), two.clone()]);
    let list = folder.read(".dl-entry.files");
    assert!(list.ends_with("\none\ntwo\n"), "{list}");
    let inode = || std::fs::metadata(folder.join(".dl-entry.files")).unwrap().ino();
    let first = inode();
    assert_eq!(write(&[one.clone(), two.clone()]).len(), 2);
    assert_eq!(inode(), first);
    let removed = format!("# {} is of an earlier configuration and would be removed\n", two.path.display());
    assert_eq!(leftovers(&folder.0, std::slice::from_ref(&one)), removed);
    for broken in ["", "one\ntwo\n", &format!("{list}../two\n"), list.trim_end()] {
        folder.write(".dl-entry.files", broken);
        assert_eq!(leftovers(&folder.0, std::slice::from_ref(&one)), "");
        write(std::slice::from_ref(&one));
        assert_eq!(folder.names(), [".dl-entry.files", "one", "two"]);
    }
    assert!(folder.read(".dl-entry.files").ends_with("\none\n"));
}
