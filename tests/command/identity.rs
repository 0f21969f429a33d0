//! Who the service is, and what it gets from us: nothing that is not its own.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::support::{Ended, Folder, Running, binary, entry, require_root};
use std::process::Command;

const STATUS: &str = "cat /proc/self/status";

fn ended(command: Command) -> Ended {
    let ended = Running::start(command).ended(LONG);
    assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
    ended
}

/// A line of proc_pid_status(5) without its name.
fn field<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect()
}

fn assert_no_capabilities(status: &str, sets: &[&str]) {
    for set in sets {
        assert_eq!(field(status, set), ["0000000000000000"], "{set}\n{status}");
    }
    assert_eq!(field(status, "NoNewPrivs"), ["1"]);
}

/// The binary as another user from the start, without the demo service.
fn entry_as(folder: &Folder, options: &[&str], arguments: &[&str]) -> Command {
    require_root("another user is needed");
    let mut command = Command::new("setpriv");
    command.args(options).arg(folder.binary()).args(arguments).env_clear().env("PATH", "/usr/bin:/bin");
    command.env("DL_NAME_SERVICE", "off");
    command
}

/// Behaviours: 61, 62.
#[test]
fn root_is_dropped_for_uid_and_gid_1000_without_other_groups() {
    require_root("there is no root to drop");
    let status = ended(entry(&["sh", "-c", STATUS])).stdout;
    assert_eq!(field(&status, "Uid"), ["1000"; 4]);
    assert_eq!(field(&status, "Gid"), ["1000"; 4]);
    assert_eq!(field(&status, "Groups"), ["1000"]);
    assert_no_capabilities(&status, &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]);
    let id = ended(entry(&["id", "-G"])).stdout;
    assert_eq!(id, "1000\n");
}

/// Behaviours: 61.
#[test]
fn groups_of_root_are_dropped_with_it() {
    let folder = Folder::new("groups");
    let status = ended(entry_as(&folder, &["--groups", "0,4,27"], &["sh", "-c", STATUS])).stdout;
    assert_eq!(field(&status, "Groups"), ["1000"]);
}

/// Behaviours: 62.
#[test]
fn a_service_of_root_is_dropped_too_and_its_files_are_its_own() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", format!("{STATUS}; stat -c '%u:%g %a' {}", demo.file().display()));
    let said = ended(command).stdout;
    assert_eq!(field(&said, "Uid"), ["1000"; 4]);
    assert_no_capabilities(&said, &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]);
    assert!(said.ends_with("\n1000:1000 640\n"), "{said}");
}

/// Behaviours: 65.
#[test]
fn who_is_not_root_stays_who_they_are() {
    let folder = Folder::new("stay");
    for (uid, gid) in [("1000", "1000"), ("123456", "0")] {
        let user = ["--reuid", uid, "--regid", gid, "--clear-groups", "--no-new-privs"];
        let status = ended(entry_as(&folder, &user, &["sh", "-c", STATUS])).stdout;
        assert_eq!(field(&status, "Uid"), [uid; 4]);
        assert_eq!(field(&status, "Gid"), [gid; 4]);
        assert!(field(&status, "Groups").is_empty(), "{status}");
        assert_no_capabilities(&status, &["CapInh", "CapPrm", "CapEff", "CapAmb"]);
    }
}

/// Behaviours: 65.
#[test]
fn a_service_of_an_unknown_user_in_group_0_runs_and_writes_its_files() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry_as(123_456, 0, &[]);
    let folder = demo.join("own");
    let script =
        "id -u; id -g; echo $HOME ${USER-none} ${LOGNAME-none}; test -w $HOME && cat $HOME/demo/demo.properties";
    std::fs::create_dir(&folder).unwrap();
    nix::unistd::chown(&folder, Some(123_456.into()), Some(0.into())).unwrap();
    command.env("DEMO_SCRIPT", script).env("DL_RUN_DIR", &folder);
    let expected = format!("123456\n0\n{} none none\nport = 8080\n", folder.display());
    assert_eq!(ended(command).stdout, expected);
}

/// Behaviours: 63.
#[test]
fn capabilities_somebody_gave_us_end_with_us() {
    let folder = Folder::new("ambient");
    let capability = "+net_bind_service";
    let user = ["--reuid", "1000", "--regid", "1000", "--clear-groups", "--inh-caps", capability];
    let options = [&user[..], &["--ambient-caps", capability]].concat();
    let status = ended(entry_as(&folder, &options, &["sh", "-c", STATUS])).stdout;
    assert_no_capabilities(&status, &["CapInh", "CapPrm", "CapEff", "CapAmb"]);
}

/// Behaviours: 6, 64.
#[test]
fn root_without_the_right_to_drop_it_is_refused_and_nothing_runs() {
    let folder = Folder::new("refused");
    for (missing, capability) in [("-setuid", "CAP_SETUID"), ("-setgid", "CAP_SETGID"), ("-all", "CAP_SETGID")] {
        let options = ["--bounding-set", missing, "--inh-caps", "-all"];
        let ended = Running::start(entry_as(&folder, &options, &["echo", "ran"])).ended(LONG);
        assert_eq!((ended.code(), ended.stdout.as_str()), (77, ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(capability), "{}", ended.stderr);
    }
}

/// Words that run the binary after these lines have become /etc/passwd.
fn with_passwd<'a>(binary: &'a str, passwd: &'a str) -> [&'a str; 6] {
    ["sh", "-ec", "echo \"$1\" >/etc/passwd; shift; exec \"$@\"", "sh", passwd, binary]
}

#[test]
fn home_and_user_are_those_of_who_the_service_is() {
    let demo = Demo::new(STOP);
    let binary = binary();
    let home = demo.join("home");
    std::fs::create_dir(&home).unwrap();
    let (home, run) = (home.to_str().unwrap().to_owned(), demo.run().to_str().unwrap().to_owned());
    let root = "root:x:0:0::/root:/bin/sh";
    for (passwd, expected) in [
        (format!("{root}\nshusr:x:1000:1000::{home}:/bin/sh"), format!("{home} shusr shusr")),
        (format!("{root}\nother:x:1000:1000::/nonexistent:/bin/sh"), format!("{run} other other")),
        (root.to_owned(), format!("{run} none none")),
    ] {
        let mut command = demo.command(&with_passwd(binary.to_str().unwrap(), &passwd));
        command.env("DEMO_SCRIPT", "echo $HOME ${USER-none} ${LOGNAME-none}");
        command.env("HOME", "/root").env("USER", "root").env("LOGNAME", "root");
        assert_eq!(ended(command).stdout, format!("{expected}\n"), "{passwd}");
    }
}

#[test]
fn a_home_the_operator_gives_is_kept() {
    let folder = Folder::new("home");
    let mut command = entry(&["sh", "-c", "echo $HOME"]);
    command.env("HOME", folder.path());
    assert_eq!(ended(command).stdout, format!("{}\n", folder.path().display()));
}

#[test]
fn a_home_of_the_root_folder_is_none() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry_as(123_456, 0, &[]);
    command.env("DEMO_SCRIPT", "echo $HOME").env("HOME", "/");
    assert_eq!(ended(command).stdout, format!("{}\n", demo.run().display()));
}

fn names(environment: &str) -> Vec<&str> {
    let mut names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // A shell's own, and those of a user who has a name.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_", "USER", "LOGNAME"].contains(name));
    names.sort_unstable();
    names
}

/// Behaviours: 48.
#[test]
fn the_services_environment_has_nothing_of_ours_and_only_the_secrets_its_contract_exports() {
    let demo = Demo::new(STOP);
    let (password, token) = ("correct horse battery", "staple of the token");
    let mut command = demo.entry(&[]);
    command
        .env("DEMO_PASSWORD_FILE", demo.write("password", password))
        .env("DEMO_TOKEN_FILE", demo.write("token", token));
    command.env("DEMO_SCRIPT", "env").env("DL_LOG_LEVEL", "info").env("DL_NOT_KNOWN", "x").env("LANG", "C.UTF-8");
    command.env("DEMO_PORT", "9000").env("OTHER_PORT", "tcp://10.0.0.1:80").env("SSL_CERT_FILE", "/etc/ssl/cert.pem");
    let environment = ended(command).stdout;
    assert_eq!(names(&environment), ["DEMO_TOKEN", "HOME", "LANG", "PATH", "SSL_CERT_FILE"], "{environment}");
    assert!(environment.contains(&format!("DEMO_TOKEN={token}\n")) && !environment.contains(password), "{environment}");
}

/// Behaviours: 48.
#[test]
fn a_program_without_a_contract_gets_the_environment_without_what_is_ours() {
    let mut command = entry(&["env"]);
    command.env("DL_LOG_LEVEL", "info").env("DEMO_PORT", "9000").env("EMPTY", "");
    let environment = ended(command).stdout;
    assert_eq!(names(&environment), ["DEMO_PORT", "EMPTY", "HOME", "PATH"], "{environment}");
}

/// Behaviours: 84.
#[test]
fn no_secret_is_on_a_command_line_or_in_our_own_arguments() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    command
        .env("DEMO_PASSWORD", "correct horse")
        .env("DEMO_SCRIPT", "cat /proc/$$/cmdline /proc/$PPID/cmdline | tr '\\0' ' '");
    let said = ended(command).stdout;
    assert!(said.contains("/bin/sh -c") && said.contains("dl-entry"), "{said}");
    assert!(!said.contains("correct horse"), "{said}");
}

/// Behaviours: 42.
#[test]
fn only_the_three_standard_streams_are_open_in_the_child() {
    let binary = binary();
    let leak = "exec 5</dev/null 7</etc/passwd 9>/dev/null; exec \"$@\"";
    let listing = "for descriptor in /proc/$$/fd/*; do echo ${descriptor##*/}; done";
    for exec in ["0", "1"] {
        let mut command = Command::new("sh");
        command.args(["-c", leak, "sh"]).arg(&binary).args(["init", "--", "sh", "-c", listing]).env("DL_EXEC", exec);
        let descriptors = ended(command).stdout;
        // The shell's own for the listing, where it has one, is 3.
        assert_eq!(descriptors.replace("3\n", ""), "0\n1\n2\n", "DL_EXEC={exec}");
    }
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", listing);
    assert_eq!(ended(command).stdout.replace("3\n", ""), "0\n1\n2\n");
}

/// Behaviours: 39.
#[test]
fn the_child_has_no_signal_blocked_or_ignored() {
    let binary = binary();
    for exec in ["0", "1"] {
        let mut command = Command::new("env");
        command.args(["--ignore-signal=PIPE,HUP,INT", "--block-signal=USR1,TERM,RTMIN"]).arg(&binary).args([
            "init",
            "--",
            "cat",
            "/proc/self/status",
        ]);
        command.env("DL_EXEC", exec);
        let status = ended(command).stdout;
        for set in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
            assert_eq!(field(&status, set), ["0000000000000000"], "{set} with DL_EXEC={exec}");
        }
    }
}

#[test]
fn the_child_leads_a_session_of_its_own() {
    let stat = ended(entry(&["cat", "/proc/self/stat"])).stdout;
    let fields: Vec<&str> = stat.split_whitespace().collect();
    // pid, then after the name and the state: parent, group, session (proc_pid_stat(5)).
    assert_eq!((fields[4], fields[5]), (fields[0], fields[0]), "{stat}");
}
