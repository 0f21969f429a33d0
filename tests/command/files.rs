//! What is written, and what is not: whole, ours to write, and never at the cost of what was there.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::support::{Ended, Folder, Running, entry, until};
use nix::sys::stat::Mode;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends at once, and says so.
const SCRIPT: &str = "echo started";

fn ended(mut command: Command) -> Ended {
    command.env("DEMO_SCRIPT", SCRIPT);
    Running::start(command).ended(LONG)
}

/// The binary as root after `script`, which has the demo's folder as `$D`.
fn after(demo: &Demo, script: &str) -> Ended {
    let (binary, folder) = (crate::support::binary(), demo.path().to_str().unwrap());
    let script = format!("D=$1; shift; {script}; exec \"$@\"");
    ended(demo.command(&["sh", "-ec", &script, "sh", folder, binary.to_str().unwrap()]))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// 73, the path in the message, and nothing of the service.
fn assert_refused(ended: &Ended, path: &Path, why: &str) {
    assert_eq!((ended.code(), ended.stdout.as_str()), (73, ""), "{}", ended.stderr);
    let message = format!("dl-entry: cannot write {}: {why}", path.display());
    assert!(ended.stderr.contains(&message), "{message}\n{}", ended.stderr);
}

fn old_file(demo: &Demo) -> std::path::PathBuf {
    std::fs::create_dir_all(demo.file().parent().unwrap()).unwrap();
    std::fs::write(demo.file(), "old\n").unwrap();
    demo.file()
}

/// Behaviours: 75.
#[test]
fn a_link_a_folder_or_a_pipe_in_the_way_is_refused_and_stays() {
    for (what, make) in [
        ("a symbolic link", (|path| symlink("../../target", path).unwrap()) as fn(&Path)),
        ("a folder", |path| std::fs::create_dir(path).unwrap()),
        ("a FIFO", |path| nix::unistd::mkfifo(path, Mode::S_IRWXU).unwrap()),
    ] {
        let demo = Demo::new(STOP);
        let target = demo.write("target", "theirs\n");
        let folder = demo.file().parent().unwrap().to_owned();
        std::fs::create_dir_all(&folder).unwrap();
        make(&demo.file());
        assert_refused(&ended(demo.entry(&[])), &demo.file(), &format!("{what} is in the way of a file\n"));
        assert_eq!(names(&folder), ["demo.properties"], "{what}");
        assert!(!demo.file().symlink_metadata().unwrap().is_file(), "{what}");
        assert_eq!(std::fs::read_to_string(target).unwrap(), "theirs\n");
    }
}

/// Behaviours: 74.
#[test]
fn a_read_only_file_system_is_refused_with_what_to_mount() {
    let demo = Demo::new(STOP);
    let ended = after(&demo, "mount -t tmpfs none $D/run; mkdir $D/run/demo; mount -o remount,ro $D/run");
    assert_eq!((ended.code(), ended.stdout.as_str()), (73, ""), "{}", ended.stderr);
    let run = demo.run().display().to_string();
    let message =
        format!("dl-entry: uid 1000 cannot write to {run}, which is read-only\n  mount a volume or a tmpfs at {run}\n");
    assert!(ended.stderr.ends_with(&message), "{}", ended.stderr);
}

/// Behaviours: 74.
#[test]
fn a_folder_of_somebody_else_is_refused_with_what_to_change() {
    let demo = Demo::new(STOP);
    let file = old_file(&demo);
    let ended = ended(demo.entry_as(123_456, 0, &[]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (73, ""), "{}", ended.stderr);
    let folder = file.parent().unwrap().display().to_string();
    assert!(
        ended.stderr.contains(&format!("uid 123456 cannot write to {folder}\n  give the volume to it")),
        "{}",
        ended.stderr
    );
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old\n");
    assert_eq!(names(file.parent().unwrap()), ["demo.properties"]);
}

/// Behaviours: 6, 74.
#[test]
fn a_full_disk_leaves_the_old_file_and_no_other() {
    let demo = Demo::new("[[file]]\ntemplate = \"large.tera\"\npath = \"{{ etc }}/large\"\nformat = \"plain\"\n");
    std::fs::write(demo.join("services/demo/large.tera"), "x".repeat(200_000)).unwrap();
    // What is mounted is gone with the process: the shell looks while it is there.
    let binary = crate::support::binary();
    let run = demo.run().display().to_string();
    let script = format!(
        "mount -t tmpfs -o size=64k none {run}; mkdir {run}/demo; echo old >{run}/demo/demo.properties
        \"$1\" || echo status $?; cat {run}/demo/demo.properties; ls -A {run}/demo"
    );
    let ended = ended(demo.command(&["sh", "-ec", &script, "sh", binary.to_str().unwrap()]));
    assert_eq!(ended.stdout, "status 73\nold\ndemo.properties\n", "{}", ended.stderr);
    let message = format!("dl-entry: cannot write {run}/demo/large: no space left on device\n  make room");
    assert!(ended.stderr.contains(&message), "{}", ended.stderr);
}

/// Behaviours: 79.
#[test]
fn unchanged_content_keeps_the_file_and_changed_content_replaces_it_whole() {
    let demo = Demo::new(STOP);
    let start = |port: &str| {
        let mut command = demo.entry(&[]);
        command.env("DEMO_PORT", port);
        let ended = ended(command);
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{}", ended.stderr);
        let metadata = demo.file().metadata().unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o640, 1000, 1000));
        (metadata.ino(), metadata.ctime(), metadata.ctime_nsec())
    };
    let first = start("1000");
    assert_eq!(start("1000"), first);
    // Held open, so that its number cannot be given to the next.
    let held = std::fs::File::open(demo.file()).unwrap();
    assert_ne!(start("2000").0, first.0);
    assert_eq!(held.metadata().unwrap().nlink(), 0);
    assert_eq!(std::fs::read_to_string(demo.file()).unwrap(), "port = 2000\n");
    assert_eq!(names(&demo.run().join("demo")), [".dl-entry.files", "demo.properties"]);
}

/// Behaviours: 75.
#[test]
fn a_file_the_operator_mounted_read_only_is_kept_and_the_variables_without_effect_are_named() {
    let demo = Demo::new(STOP);
    let file = old_file(&demo).display().to_string();
    let mine = demo.write("mine", "theirs\n");
    let script = format!("export DEMO_PORT=9000; mount --bind $D/mine {file}; mount -o remount,bind,ro {file}");
    let ended = after(&demo, &script);
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{}", ended.stderr);
    let warning = format!("{file} is mounted by the operator and kept as it is: no effect there for DEMO_PORT");
    let warnings: Vec<&str> = ended.stderr.lines().filter(|line| line.contains(" WARN ")).collect();
    assert!(warnings.len() == 1 && warnings[0].ends_with(&warning), "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(mine).unwrap(), "theirs\n");
}

/// Behaviours: 75.
#[test]
fn a_file_mounted_writable_is_written_in_place_with_one_warning() {
    let demo = Demo::new(STOP);
    let file = old_file(&demo).display().to_string();
    let mine = demo.write("mine", "theirs\n");
    let ended = after(&demo, &format!("mount --bind $D/mine {file}"));
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{}", ended.stderr);
    let warning = format!("{file} is mounted as a single file: written in place, not atomically");
    assert_eq!(ended.stderr.matches(&warning).count(), 1, "{}", ended.stderr);
    assert_eq!(std::fs::read_to_string(mine).unwrap(), "port = 8080\n");
}

/// Behaviours: 74, 78.
#[test]
fn nothing_is_written_where_one_file_of_several_cannot_be() {
    let second = "[[file]]\ntemplate = \"second.tera\"\npath = \"{{ etc }}/second\"\nformat = \"plain\"\n";
    let demo = Demo::new(second);
    std::fs::write(demo.join("services/demo/second.tera"), "port {{ port }}\n").unwrap();
    let file = old_file(&demo);
    let in_the_way = demo.run().join("demo/second");
    std::fs::create_dir(&in_the_way).unwrap();
    assert_refused(&ended(demo.entry(&[])), &in_the_way, "a folder is in the way of a file\n");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "old\n");
    assert_eq!(names(&demo.run().join("demo")), ["demo.properties", "second"]);
}

/// Behaviours: 6, 78, 91.
#[test]
fn a_template_that_cannot_be_filled_is_65_and_nothing_is_written() {
    let demo = Demo::new("");
    std::fs::write(demo.join("services/demo/demo.properties.tera"), "port = {{ prot }}\n").unwrap();
    let ended = ended(demo.entry(&[]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (65, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("demo.properties.tera") && ended.stderr.contains("prot"), "{}", ended.stderr);
    assert!(!demo.file().exists());
}

#[test]
fn a_template_that_is_not_there_is_65_with_file_and_line() {
    let demo = Demo::new("[[file]]\ntemplate = \"absent.tera\"\npath = \"{{ etc }}/a\"\nformat = \"plain\"\n");
    let ended = ended(demo.entry(&[]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (65, ""), "{}", ended.stderr);
    let text = std::fs::read_to_string(demo.join("services/demo/service.toml")).unwrap();
    let line = text.lines().position(|line| line.contains("absent.tera")).unwrap() + 1;
    let mistake = format!("/demo/service.toml:{line}: the template absent.tera does not exist\n");
    assert!(ended.stderr.contains(&mistake), "{}", ended.stderr);
}

#[test]
fn one_broken_contract_does_not_hide_the_other_services() {
    let demo = Demo::new(STOP);
    std::fs::create_dir(demo.join("services/broken")).unwrap();
    std::fs::write(demo.join("services/broken/service.toml"), "[service]\nnme = 1\n").unwrap();
    let ended = ended(demo.entry(&["services"]));
    assert_eq!(ended.code(), 78, "{}", ended.stderr);
    assert!(ended.stdout.contains("\ndemo ") || ended.stdout.starts_with("demo "), "{}", ended.stdout);
    assert!(ended.stdout.contains("trino "), "{}", ended.stdout);
    assert!(ended.stderr.contains("broken/service.toml is not a contract: "), "{}", ended.stderr);
}

#[test]
fn a_file_that_would_leave_its_folder_is_65_and_nothing_is_written() {
    let demo = Demo::new("[[file]]\ntemplate = \"second.tera\"\npath = \"{{ etc }}/../second\"\nformat = \"plain\"\n");
    std::fs::write(demo.join("services/demo/second.tera"), "x\n").unwrap();
    let ended = ended(demo.entry(&[]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (65, ""), "{}", ended.stderr);
    let problem = format!("second.tera its path \"{}/demo/../second\" is not an absolute one", demo.run().display());
    assert!(ended.stderr.contains(&problem), "{}", ended.stderr);
    assert!(!demo.file().exists());
}

#[test]
fn without_a_writable_run_folder_a_private_one_is_used_with_one_warning() {
    let demo = Demo::new(STOP);
    let temporary = demo.join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    nix::unistd::chown(&temporary, Some(123_456.into()), Some(0.into())).unwrap();
    let mut command = demo.entry_as(123_456, 0, &[]);
    command.env_remove("DL_RUN_DIR").env("TMPDIR", &temporary);
    let ended = ended(command);
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{}", ended.stderr);
    let folder = temporary.join("dl-entry-123456");
    let warning = format!("/run/dl cannot be written: files go to {}", folder.display());
    assert_eq!(ended.stderr.matches(&warning).count(), 1, "{}", ended.stderr);
    assert_eq!(folder.metadata().unwrap().mode() & 0o7777, 0o700);
    assert_eq!(std::fs::read_to_string(folder.join("demo/demo.properties")).unwrap(), "port = 8080\n");
}

#[test]
fn a_tmpdir_that_names_no_folder_does_not_make_every_folder_a_temporary_one() {
    for temporary in ["", ".", "tmp", "/"] {
        let demo = Demo::new(STOP);
        let run = demo.run().join("below");
        let mut command = demo.entry(&[]);
        command.env("DL_RUN_DIR", &run).env("TMPDIR", temporary);
        let ended = ended(command);
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{temporary:?}: {}", ended.stderr);
        assert_eq!(run.metadata().unwrap().mode() & 0o7777, 0o755, "{temporary:?}");
    }
}

#[test]
fn with_nothing_writable_the_hint_names_run_and_the_setting() {
    let demo = Demo::new(STOP);
    // The checkout may be under /tmp.
    let copy = "cp \"$1\" \"$D/entry\"; set -- \"$D/entry\"";
    let mounts = "mount -t tmpfs -o ro none /run; mount -t tmpfs -o ro none /tmp";
    let ended = after(&demo, &format!("{copy}; unset DL_RUN_DIR; {mounts}"));
    assert_eq!((ended.code(), ended.stdout.as_str()), (73, ""), "{}", ended.stderr);
    let hint =
        "or mount a tmpfs at /run (docker run --tmpfs /run), or set DL_RUN_DIR to a folder that can be written\n";
    assert!(ended.stderr.ends_with(hint), "{}", ended.stderr);
}

#[test]
fn a_private_folder_somebody_else_put_there_is_refused() {
    let demo = Demo::new(STOP);
    let temporary = demo.join("tmp");
    std::fs::create_dir_all(temporary.join("dl-entry-123456")).unwrap();
    nix::sys::stat::fchmodat(
        nix::fcntl::AT_FDCWD,
        &temporary,
        Mode::from_bits_truncate(0o777),
        nix::sys::stat::FchmodatFlags::FollowSymlink,
    )
    .unwrap();
    let mut command = demo.entry_as(123_456, 0, &[]);
    command.env_remove("DL_RUN_DIR").env("TMPDIR", &temporary);
    let ended = ended(command);
    assert_eq!((ended.code(), ended.stdout.as_str()), (73, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("is not a folder of uid 123456 alone"), "{}", ended.stderr);
}

#[test]
fn a_temporary_run_folder_behind_a_link_of_somebody_else_is_refused_and_not_made() {
    let demo = Demo::new(STOP);
    let script = "mkdir -m 1777 $D/tmp; mkdir $D/victim; ln -s $D/victim $D/tmp/link; chown -h 1000 $D/tmp/link
        export TMPDIR=$D/tmp DL_RUN_DIR=$D/tmp/link/run";
    let ended = after(&demo, script);
    assert_eq!((ended.code(), ended.stdout.as_str()), (73, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("that uid 1000 has made: it is not followed"), "{}", ended.stderr);
    assert_eq!(names(&demo.join("victim")), [""; 0]);
}

#[test]
fn a_file_that_a_later_configuration_is_without_is_shown_by_the_diff_and_removed() {
    let second = "[[file]]\ntemplate = \"second.tera\"\npath = \"{{ etc }}/inner/second\"\nformat = \"plain\"\n\
                  when = \"password\"\n";
    let demo = Demo::new(&format!("{STOP}{second}"));
    std::fs::write(demo.join("services/demo/second.tera"), "{{ password }}\n").unwrap();
    let mut command = demo.entry(&[]);
    command.env("DEMO_PASSWORD", "a long enough one: 4711");
    assert_eq!(ended(command).code(), 0);
    let path = demo.run().join("demo/inner/second");
    assert!(path.exists());
    let removed = format!("# {} is of an earlier configuration and would be removed\n", path.display());
    let shown = ended(demo.entry(&["render", "--diff"])).stdout;
    assert!(shown.ends_with(&removed) && !shown.contains("+++ b/inner/second"), "{shown}");
    let ended = ended(demo.entry(&[]));
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{}", ended.stderr);
    let line = format!("removed {}, left over from the previous configuration", path.display());
    assert_eq!(ended.stderr.matches(&line).count(), 1, "{}", ended.stderr);
    assert!(!path.exists() && demo.file().exists());
}

/// A pipe nobody writes to is told of, and not waited for; and so is a file without an end.
#[test]
fn a_pipe_or_a_device_in_place_of_a_file_is_an_error_and_not_waited_for() {
    let folder = Folder::new("pipes");
    let pipe = folder.path().join("pipe").display().to_string();
    nix::unistd::mkfifo(Path::new(&pipe), Mode::S_IRWXU).unwrap();
    for (service, variable) in
        [("trino", "TRINO_HTTPS_KEYSTORE_PATH"), ("nessie", "S3_CA_CERTIFICATE"), ("minio", "MINIO_CONFIG_ENV_FILE")]
    {
        let mut command = entry(&["check-env", "--service", service]);
        command.env(variable, &pipe);
        let ended = Running::start(command).ended(LONG);
        assert_eq!(ended.code(), 78, "{}", ended.stderr);
        let why = format!("{variable} names {pipe}, which cannot be read: it is a pipe, not a file\n");
        assert!(ended.stdout.contains(&why), "{}", ended.stdout);
    }
    let mut command = entry(&["check-env", "--service", "nessie"]);
    command.env("S3_CA_CERTIFICATE", "/dev/zero");
    let ended = Running::start(command).ended(LONG);
    assert!(
        ended.stdout.contains("S3_CA_CERTIFICATE names /dev/zero, which cannot be read: it is a device"),
        "{}",
        ended.stdout
    );
    let ended = Running::start(entry(&["check-env", "--service", "nessie", "--env-file", "/dev/zero"])).ended(LONG);
    assert_eq!((ended.code(), ended.stderr.as_str()), (64, "dl-entry: /dev/zero is larger than 4 MiB\n"));
    let waiting = Running::start(entry(&["check-env", "--service", "nessie", "--env-file", &pipe]));
    until(LONG, "it waits for the env file", || has_open(&waiting, &pipe).then_some(()));
    waiting.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(waiting.ended(LONG).code(), 143);
}

fn has_open(running: &Running, path: &str) -> bool {
    let folder = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).into_iter().flatten().flatten();
    folder.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == Path::new(path))
}

/// `DL_SERVICE` of an env file counts, and that of the process where the file has none.
#[test]
fn the_service_may_be_named_in_an_env_file_or_beside_it() {
    let folder = Folder::new("env-file-service");
    let (named, other) = (folder.path().join("named"), folder.path().join("other"));
    std::fs::write(&named, "DL_SERVICE=trino\n").unwrap();
    std::fs::write(&other, "A=b\n").unwrap();
    for (file, service, expected) in
        [(&named, None, "trino"), (&other, Some("nessie"), "nessie"), (&named, Some("nessie"), "trino")]
    {
        let mut command = entry(&["check-env", "--env-file", &file.display().to_string(), "--format", "json"]);
        command.envs(service.map(|service| ("DL_SERVICE", service)));
        let ended = Running::start(command).ended(LONG);
        assert!(ended.stdout.contains(&format!("\"service\":\"{expected}\"")), "{}{}", ended.stdout, ended.stderr);
    }
}

fn owner(path: &Path) -> u32 {
    path.metadata().unwrap().uid()
}

/// A start in the middle of giving a folder of many entries to the service's user, and the entries.
fn walking(folder: &Folder) -> (Demo, Running, Vec<PathBuf>) {
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let names: Vec<_> = (0..60_000).map(|index| data.join(index.to_string())).collect();
    names.iter().for_each(|name| drop(std::fs::File::create(name).unwrap()));
    let demo = Demo::new(&format!("{STOP}[[directory]]\npath = \"{}\"\nmode = \"0750\"\n", data.display()));
    let running = Running::start(demo.entry(&[]));
    let deadline = std::time::Instant::now() + LONG;
    while owner(&data) == 0 {
        assert!(std::time::Instant::now() < deadline, "{}", running.stderr());
        std::thread::yield_now();
    }
    (demo, running, names)
}

/// A folder of many entries is given to the service's user while signals are honoured; the next start goes on.
#[test]
fn a_request_to_stop_ends_the_walk_through_a_folder_of_data() {
    let folder = Folder::new("walked");
    let (demo, running, names) = walking(&folder);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    let ended = running.ended(LONG);
    assert_eq!(ended.code(), 143, "{}", ended.stderr);
    assert!(names.iter().any(|name| owner(name) == 0), "all were given before the signal was honoured");
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "exit 0");
    let ended = Running::start(command).ended(LONG);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(names.iter().all(|name| owner(name) != 0));
}

#[test]
fn livez_is_answered_during_the_walk_through_a_folder_of_data() {
    let folder = Folder::new("walked-live");
    let (demo, running, names) = walking(&folder);
    // Held until the question is there.
    running.signal(nix::sys::signal::Signal::SIGSTOP);
    let mut asking = std::net::TcpStream::connect(("127.0.0.1", demo.health)).unwrap();
    asking.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    assert!(names.iter().any(|name| owner(name) == 0), "the walk was over before the question");
    running.signal(nix::sys::signal::Signal::SIGCONT);
    let mut answer = String::new();
    asking.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("ok: rendering for "), "{answer}");
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.ended(LONG);
}

/// What cannot be looked into may hold the service: its absence is not what is told.
#[test]
fn a_service_file_or_folder_that_cannot_be_read_is_named() {
    let demo = Demo::new(STOP);
    let run = |script: &str, arguments: &[&str]| {
        let binary = crate::support::binary();
        let words = [&["sh", "-ec", script, "sh", binary.to_str().unwrap()], arguments].concat();
        let mut command = demo.command(&words);
        command.env_remove("DL_SERVICE");
        let ended = Running::start(command).ended(LONG);
        (ended.code(), ended.stderr)
    };
    let service = "mkfifo /etc/dl-entry/service; exec \"$@\"";
    let why = "dl-entry: /etc/dl-entry/service cannot be read: it is a pipe, not a file\n  \
               it says which service to run: make it readable, or set DL_SERVICE\n";
    assert_eq!(run(service, &["check-env"]), (64, why.to_owned()));
    let folder = "rm /etc/dl-entry/services; ln -s services /etc/dl-entry/services; exec \"$@\"";
    let why = "dl-entry: /etc/dl-entry/services/demo/service.toml cannot be read: ";
    let (code, stderr) = run(folder, &["check-env", "--service", "demo"]);
    assert!(code == 64 && stderr.starts_with(why), "{code} {stderr}");
    let (code, stderr) = run(folder, &["services"]);
    assert!(code == 78 && stderr.starts_with("dl-entry: /etc/dl-entry/services cannot be read: "), "{code} {stderr}");
}
