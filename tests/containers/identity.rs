//! Who the service is, whoever the container was started as.

use crate::engine::{LONG, Settings};
use crate::support::{Folder, require_root, until};
use crate::{FILE, LISTEN};
use bollard::models::HealthStatusEnum;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// By proc_pid_status(5).
fn field<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect()
}

fn assert_powerless(status: &str) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(status, set), ["0000000000000000"], "{set}\n{status}");
    }
    assert_eq!(field(status, "NoNewPrivs"), ["1"]);
}

/// Behaviours: 61, 62.
#[test]
fn started_as_root_the_service_is_1000_without_capabilities_for_good() {
    let said = Settings::script(&format!("cat /proc/self/status; stat -c '%u:%g %a' {FILE}")).run().success();
    assert_eq!((field(&said, "Uid"), field(&said, "Gid")), (vec!["1000"; 4], vec!["1000"; 4]));
    assert_eq!(field(&said, "Groups"), ["1000"]);
    assert_powerless(&said);
    assert!(said.ends_with("\n1000:1000 640\n"), "{said}");
}

/// Behaviours: 65, 73.
#[test]
fn a_random_user_on_a_read_only_root_without_capabilities_gets_its_files_and_becomes_ready() {
    let script = format!("cat /proc/self/status; echo home $HOME; cat {FILE}; {LISTEN}");
    let settings = Settings::script(&script).env("DEMO_PORT", "8080").strict();
    let container = settings.tmpfs("/run/dl").tmpfs("/var/run/nscd").start();
    until(LONG, "healthy", || (container.health() == Some(HealthStatusEnum::HEALTHY)).then_some(()));
    let (said, log) = container.said();
    assert_eq!((field(&said, "Uid"), field(&said, "Gid")), (vec!["123456"; 4], vec!["0"; 4]));
    assert_powerless(&said);
    assert!(said.contains("\nhome /run/dl\n") && said.contains("\nport = 8080\n"), "{said}");
    assert!(log.contains("demo is ready") && !log.contains("WARN"), "{log}");
    let ended = container.stop();
    assert_eq!(ended.status, 128 + 15, "{}", ended.stderr);
}

/// Behaviours: 66.
#[test]
fn a_random_user_has_a_name_where_the_names_socket_can_be() {
    let settings = || Settings::script("whoami; id -un 123456; perl -e 'print +(getpwuid $<)[7]'").strict();
    let said = settings().tmpfs("/run/dl").tmpfs("/var/run/nscd").run().success();
    assert_eq!(said, "shusr\nshusr\n/run/dl");
    let without = settings().tmpfs("/run/dl").run();
    let warning = "uid 123456 has no name here, and /var/run/nscd cannot be used to give it one: read-only file system";
    assert!(without.stderr.contains(warning) && !without.stdout.contains("shusr"), "{without:?}");
}

/// Behaviours: 62.
#[test]
fn no_new_privileges_does_not_keep_root_from_becoming_the_service() {
    let said = Settings::script("cat /proc/self/status").security("no-new-privileges").run().success();
    assert_eq!(field(&said, "Uid"), ["1000"; 4]);
    assert_powerless(&said);
}

/// Behaviours: 64.
#[test]
fn root_without_the_capabilities_it_needs_is_refused_with_the_one_it_lacks() {
    let chown = "cannot give /run/dl/demo to 1000:1000: operation not permitted\n  add the capability CHOWN, or start";
    let folder =
        "cannot write /run/dl/demo/demo.properties: permission denied\n  add the capability DAC_OVERRIDE, or start";
    for (held, status, lacks) in [
        (&[][..], 77, "without CAP_SETGID: add the capability, or start"),
        (&["SETGID"], 77, "without CAP_SETUID: add the capability, or start"),
        (&["SETGID", "SETUID"], 73, chown),
        (&["SETGID", "SETUID", "CHOWN"], 73, folder),
    ] {
        let ended = Settings::script("echo started").capabilities(held).tmpfs("/run/dl").run();
        assert_eq!((ended.status, ended.stdout.as_str()), (status, ""), "{held:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(lacks), "{held:?}: {}", ended.stderr);
    }
}

#[test]
fn four_capabilities_are_enough_for_root() {
    let held = ["SETGID", "SETUID", "CHOWN", "DAC_OVERRIDE"];
    let settings = Settings::script("cat /proc/self/status").capabilities(&held).read_only();
    let said = settings.tmpfs("/run/dl").run().success();
    assert_eq!((field(&said, "Uid"), field(&said, "Gid")), (vec!["1000"; 4], vec!["1000"; 4]));
    assert_eq!((field(&said, "CapEff"), field(&said, "CapPrm")), (vec!["0000000000000000"], vec!["0000000000000000"]));
}

/// A folder for /run/secrets whose one file is `owner`'s alone.
fn secret(folder: &Folder, owner: u32) -> PathBuf {
    require_root("a secret of another user is made");
    let path = folder.write("demo_password", "correct horse battery\n");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    nix::unistd::chown(&path, Some(owner.into()), Some(owner.into())).unwrap();
    folder.path().to_owned()
}

/// Behaviours: 82.
#[test]
fn a_secret_of_another_user_is_an_error_that_names_the_file_and_who_cannot_read_it() {
    let folder = Folder::new("secret");
    let settings = Settings::script("echo started").strict().tmpfs("/run/dl");
    let ended = settings.bind(&secret(&folder, 2000), "/run/secrets").run();
    assert_eq!((ended.status, ended.stdout.as_str()), (66, ""), "{}", ended.stderr);
    for part in ["DEMO_PASSWORD", "/run/secrets/demo_password", "cannot be read by uid 123456: permission denied"] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

#[test]
fn a_secret_of_root_alone_reaches_the_service_in_its_file_and_nowhere_else() {
    let folder = Folder::new("secret");
    let script = format!("cat {FILE}; env; cat /run/secrets/demo_password");
    let ended = Settings::script(&script).bind(&secret(&folder, 0), "/run/secrets").run();
    assert_eq!(ended.status, 1, "{}", ended.stderr);
    assert_eq!(ended.stdout.matches("correct horse battery").count(), 1, "{}", ended.stdout);
    assert!(ended.stdout.contains("password = correct horse battery\n"), "{}", ended.stdout);
}
