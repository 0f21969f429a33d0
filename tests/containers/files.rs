//! Where files can be written, and what is said where they cannot.

use crate::FILE;
use crate::engine::Settings;
use crate::support::Folder;

/// Behaviours: 73.
#[test]
fn without_its_folder_a_private_one_below_a_noexec_tmp_is_used_and_said() {
    let file = "/tmp/dl-entry-123456/demo/demo.properties";
    let script = format!("grep -o ' /tmp tmpfs [a-z,]*noexec' /proc/mounts; stat -c %a ${{HOME}} {file}");
    let ended = Settings::script(&script).strict().tmpfs("/tmp").run();
    let log = ended.stderr.clone();
    assert_eq!(ended.success(), " /tmp tmpfs rw,nosuid,nodev,noexec\n700\n640\n");
    let warning =
        "/run/dl cannot be written: files go to /tmp/dl-entry-123456; mount a tmpfs at /run or set DL_RUN_DIR";
    assert!(log.contains(warning), "{log}");
}

/// Behaviours: 74.
#[test]
fn with_nothing_to_write_to_the_folder_is_named_and_nothing_starts() {
    let script = || Settings::script("echo started");
    let hint =
        "  or mount a tmpfs at /run (docker run --tmpfs /run), or set DL_RUN_DIR to a folder that can be written\n";
    for (settings, folder, mount, hint) in [
        (script().strict(), "/tmp/dl-entry-123456", "/tmp", hint),
        (script().read_only(), "/tmp/dl-entry-0", "/tmp", hint),
        (script().read_only().env("DL_RUN_DIR", "/srv/dl"), "/srv/dl", "/srv", ""),
    ] {
        let ended = settings.run();
        assert_eq!((ended.status, ended.stdout.as_str()), (73, ""), "{}", ended.stderr);
        let last = format!(
            "dl-entry: cannot make the folder {folder}: read-only file system\n  mount a volume or a tmpfs at {mount}\n{hint}"
        );
        assert!(ended.stderr.ends_with(&last), "{}", ended.stderr);
    }
}

/// Behaviours: 75.
#[test]
fn a_configuration_file_the_operator_mounted_read_only_is_kept_and_the_variables_named() {
    let folder = Folder::new("mounted");
    let own = folder.write("own.properties", "own = 1\n");
    let settings = Settings::script(&format!("cat {FILE}")).env("DEMO_PORT", "8081").tmpfs("/run/dl");
    let ended = settings.bind(&own, &format!("{FILE}:ro")).run();
    let log = ended.stderr.clone();
    assert_eq!(ended.success(), "own = 1\n");
    assert!(
        log.contains(&format!("{FILE} is mounted by the operator and kept as it is: no effect there for")),
        "{log}"
    );
    assert!(log.contains("DEMO_PORT"), "{log}");
}

/// Behaviours: 75.
#[test]
fn a_single_file_mounted_for_us_is_written_where_it_is() {
    let folder = Folder::new("mounted");
    let file = folder.write("demo.properties", "old = 1\n");
    let settings = Settings::script(&format!("cat {FILE}")).env("DEMO_PORT", "8081").env("DEMO_HEAP", "64m");
    let ended = settings.bind(&file, FILE).run();
    let log = ended.stderr.clone();
    assert_eq!(ended.success(), "heap = 64m\nport = 8081\n");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "heap = 64m\nport = 8081\n");
    assert!(log.contains(&format!("{FILE} is mounted as a single file: written in place, not atomically")), "{log}");
}
