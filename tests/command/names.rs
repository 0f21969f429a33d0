//! A uid nobody has heard of gets a name, from every library that asks for one.

use crate::LONG;
use crate::support::{Ended, Folder, Running, require_root};
use std::process::Command;

/// In a mount namespace of its own, with a /run that only holds `folder`, or, with `mode` ro, cannot be written.
const NAMESPACE: &str = "mount -t tmpfs -o mode=755 none /run; mkdir -m 1777 /run/nscd; \
    if [ \"$1\" = ro ]; then mount -o remount,ro /run; fi; shift; exec \"$@\"";

fn unnamed(folder: &Folder, run: &str, settings: &[(&str, &str)], script: &str) -> Command {
    require_root("a mount namespace and another user are needed");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", NAMESPACE, "sh", run]);
    command.args(["setpriv", "--reuid=123456", "--regid=0", "--clear-groups"]).arg(folder.binary());
    command.args(["sh", "-c", script]).env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C");
    command.envs(settings.iter().copied());
    command
}

fn run(run: &str, settings: &[(&str, &str)], script: &str) -> Ended {
    let folder = Folder::new("names");
    Running::start(unnamed(&folder, run, settings, script)).ended(LONG)
}

const ON: (&str, &str) = ("DL_NAME_SERVICE", "on");

/// Behaviours: 66.
#[test]
fn every_way_to_ask_for_the_name_finds_it() {
    let script = "id -un; id -gn; whoami; echo $USER $LOGNAME; getent passwd 123456; getent passwd shusr; \
        python3 -c 'import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.getgrouplist(\"shusr\", 0))'";
    let ended = run("rw", &[ON, ("HOME", "/tmp")], script);
    let entry = "shusr:x:123456:0:shusr:/tmp:/bin/sh";
    let expected = format!("shusr\nroot\nshusr\nshusr shusr\n{entry}\n{entry}\nshusr [0]\n");
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
    assert_eq!(ended.code(), 0);
}

#[test]
fn everybody_else_keeps_their_name_and_nobody_gets_one_who_has_none() {
    let script =
        "id root; getent passwd daemon; getent group daemon; getent passwd 54321; echo $?; id nobody-here; echo $?";
    let ended = run("rw", &[ON], script);
    let daemon = "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\ndaemon:x:1:\n";
    assert_eq!(ended.stdout, format!("uid=0(root) gid=0(root) groups=0(root)\n{daemon}2\n1\n"), "{}", ended.stderr);
}

/// Behaviours: 66.
#[test]
fn java_and_initdb_know_who_they_are() {
    let java = std::env::var("DL_JAVA").expect("DL_JAVA names no java: see demo/test.sh");
    let initdb = std::fs::read_dir("/usr/lib/postgresql").expect("apt-get install postgresql").flatten().next();
    let initdb = initdb.expect("apt-get install postgresql").path().join("bin/initdb");
    let script = format!(
        "{java} -XshowSettings:properties -version 2>&1 | grep user.name; d=$(mktemp -d); {} -D $d/data -A trust \
         --no-sync | head -n 1; rm -rf $d",
        initdb.display()
    );
    let ended = run("rw", &[ON, ("HOME", "/tmp")], &script);
    let expected =
        "    user.name = shusr\nThe files belonging to this database system will be owned by user \"shusr\".\n";
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
}

#[test]
fn a_static_program_of_the_other_c_library_finds_it_too() {
    let cache = std::env::var("DL_CACHE").unwrap_or_else(|_| std::env::var("HOME").unwrap() + "/.cache/datalyptica");
    let folder = Folder::new("names-musl");
    let source = folder.write(
        "name.c",
        "#include <grp.h>\n#include <pwd.h>\n#include <stdio.h>\n#include <unistd.h>\nint main(void) {\n\
         struct passwd *me = getpwuid(getuid()); puts(me ? me->pw_name : \"?\");\n\
         struct passwd *named = getpwnam(\"shusr\"); puts(named ? named->pw_dir : \"?\");\n\
         gid_t groups[9]; int count = 9; printf(\"%d\\n\", getgrouplist(\"shusr\", 0, groups, &count));\n}\n",
    );
    let program = folder.join("name");
    let mut compiler = Command::new(format!("{cache}/zig/bin/python"));
    let target = format!("{}-linux-musl", std::env::consts::ARCH);
    compiler.args(["-m", "ziglang", "cc", "-target", &target, "-static", "-o"]).arg(&program).arg(source);
    // Where ./dl build has the C library built already.
    compiler.env("ZIG_GLOBAL_CACHE_DIR", format!("{cache}/zig-cache/zig"));
    let compiled = compiler.status().unwrap_or_else(|error| panic!("no zig in {cache}: {error}; run ./dl build"));
    assert!(compiled.success());
    let ended = run("rw", &[ON, ("HOME", "/tmp")], program.to_str().unwrap());
    assert_eq!(ended.stdout, "shusr\n/tmp\n1\n", "{}", ended.stderr);
}

#[test]
fn a_hundred_lookups_at_once_are_all_answered() {
    let script = "i=0; while [ $i -lt 100 ]; do id -un & i=$((i+1)); done; wait";
    let ended = run("rw", &[ON], script);
    let named = ended.stdout.lines().filter(|line| *line == "shusr").count();
    assert_eq!(named, 100, "{}", ended.stderr);
}

#[test]
fn where_the_socket_cannot_be_made_the_folder_is_named() {
    let ended = run("ro", &[ON], "echo never");
    let expected = "dl-entry: uid 123456 has no name here, and /var/run/nscd cannot be used to give it one: read-only \
        file system\n  programs that ask for it fail: make that folder writable (docker run --tmpfs \
        /var/run/nscd, an emptyDir), or DL_NAME_SERVICE=off\n";
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (73, "", expected));
    // In a container it is a warning, as not every service asks.
    let ended = run("ro", &[("KUBERNETES_SERVICE_HOST", "10.0.0.1")], "echo runs");
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "runs\n"));
    assert!(ended.stderr.contains("WARN") && ended.stderr.contains("has no name here"), "{}", ended.stderr);
}

#[test]
fn the_operator_chooses_the_name_but_not_that_of_somebody_else() {
    let ended = run("rw", &[ON, ("DL_USER_NAME", "lake.house")], "id -un; echo $USER");
    assert_eq!(ended.stdout, "lake.house\nlake.house\n", "{}", ended.stderr);
    for (name, status, expected) in [
        (
            "root",
            78,
            "dl-entry: DL_USER_NAME: root is the name of uid 0 in /etc/passwd\n  accepted: a name nobody has\n",
        ),
        ("a:b", 78, "DL_USER_NAME"),
    ] {
        let ended = run("rw", &[ON, ("DL_USER_NAME", name)], "echo never");
        assert_eq!((ended.code(), ended.stdout.as_str()), (status, ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    }
}

/// A shell line that makes `$1` a file of group 0 in the place of /etc/passwd, and becomes the rest.
const OWN_PASSWD: &str = "cp /etc/passwd $1; printf 'shusr:x:77:77::/:/bin/sh' >>$1; chmod 664 $1; \
    mount --bind $1 /etc/passwd; shift; exec \"$@\"";

#[test]
fn where_there_is_no_socket_a_writable_passwd_gets_one_line_once() {
    for (settings, run) in [(&[ON][..], "ro"), (&[ON, ("DL_EXEC", "1")], "rw")] {
        let folder = Folder::new("names-passwd");
        let passwd = folder.join("passwd");
        let inner = unnamed(&folder, run, settings, "id -un; echo $USER; ls /run/nscd; tail -n 2 /etc/passwd");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", OWN_PASSWD, "sh"]).arg(&passwd);
        // Twice: the second time there is an entry.
        command.args(["sh", "-c", "\"$@\"; \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().env("HOME", "/tmp").envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = Running::start(command).ended(LONG);
        let lines = "shusr:x:77:77::/:/bin/sh\nuid123456:x:123456:0:uid123456:/tmp:/bin/sh\n";
        let once = format!("uid123456\nuid123456\n{lines}");
        assert_eq!(ended.stdout, once.repeat(2), "{}", ended.stderr);
    }
}

#[test]
fn a_group_without_an_entry_has_a_name_too() {
    let folder = Folder::new("names-group");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", NAMESPACE, "sh", "rw", "setpriv", "--reuid=1", "--regid=54321"]);
    command.arg("--clear-groups").arg(folder.binary()).args(["sh", "-c", "id -un; id -gn; getent group 54321 daemon"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("DL_NAME_SERVICE", "on");
    let ended = Running::start(command).ended(LONG);
    // The user's own name is another group's.
    let expected = "daemon\ngid54321\ngid54321:x:54321:\ndaemon:x:1:\n";
    assert_eq!(ended.stdout, expected, "{}", ended.stderr);
}

#[test]
fn root_hands_over_a_folder_and_never_what_a_link_leads_to() {
    let binary = Folder::new("names-root");
    let script = "mount -t tmpfs -o mode=755 none /run; mount -t tmpfs -o mode=755 none /etc/opt; \
        printf 'root:x:0:0::/root:/bin/sh\\n' >/run/passwd; mount --bind /run/passwd /etc/passwd; \
        if [ \"$1\" = link ]; then ln -s /etc/opt /run/nscd; fi; shift; \"$@\"; stat -c %u /etc/opt";
    for (how, expected) in [("none", "shusr\n0\n"), ("link", "1000\n0\n")] {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", how]).arg(binary.binary()).args(["sh", "-c", "id -un"]);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        let ended = Running::start(command).ended(LONG);
        assert_eq!(ended.stdout, expected, "{how}: {}", ended.stderr);
    }
}

#[test]
fn one_who_answers_already_is_left_alone() {
    let folder = Folder::new("names-twice");
    let script = "DL_NAME_SERVICE=on \"$0\" sh -c 'id -un; echo $USER'; id -un; ls /run/nscd";
    let inner = unnamed(&folder, "rw", &[ON], script);
    let mut command = Command::new(inner.get_program());
    command.args(inner.get_args()).arg(folder.binary()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let ended = Running::start(command).ended(LONG);
    assert_eq!(ended.stdout, "shusr\nshusr\nshusr\nsocket\n", "{}", ended.stderr);
}

#[test]
fn the_socket_is_gone_afterwards_and_a_stale_one_is_replaced() {
    let folder = Folder::new("names-stale");
    let twice = "for i in 1 2; do setpriv --reuid=123456 --regid=0 --clear-groups \"$@\"; ls /run/nscd; done; \
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"/run/nscd/socket\")'; \
        chown 123456 /run/nscd/socket; setpriv --reuid=123456 --regid=0 --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    require_root("a mount namespace and another user are needed");
    command.args(["--mount", "sh", "-c", NAMESPACE, "sh", "rw", "sh", "-c", twice, "sh"]).arg(folder.binary());
    command.args(["id", "-un"]).env_clear().env("PATH", "/usr/bin:/bin").env("DL_NAME_SERVICE", "on");
    let ended = Running::start(command).ended(LONG);
    assert_eq!(ended.stdout, "shusr\nshusr\nshusr\n", "{}", ended.stderr);
}

#[test]
fn pid_1_gives_a_name_unasked_and_none_where_that_is_off() {
    for (settings, expected) in [(&[][..], "shusr\n"), (&[("DL_NAME_SERVICE", "off")][..], "123456\n")] {
        let folder = Folder::new("names-auto");
        let inner = unnamed(&folder, "rw", settings, "id -un");
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).arg(inner.get_program()).args(inner.get_args());
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let ended = Running::start(command).ended(LONG);
        assert_eq!(ended.stdout, expected, "{}", ended.stderr);
    }
}

#[test]
fn strange_clients_are_closed_and_harm_nobody() {
    let script = "python3 -c '
import os, socket, struct
for message in [b\"\", b\"x\", os.urandom(64), struct.pack(\"3i\", 2, 0, 2**31 - 1), struct.pack(\"3i\", 2, 11, 7) + b\"passwd\\0\",
                struct.pack(\"3i\", 1, 0, 5) + b\"root\\0\", struct.pack(\"3i\", 2, 0, 4) + b\"root\"]:
    client = socket.socket(socket.AF_UNIX); client.settimeout(5); client.connect(\"/run/nscd/socket\")
    client.sendall(message); client.shutdown(socket.SHUT_WR)
    try: print(len(client.recv(1024)), end=\" \")
    except ConnectionResetError: print(0, end=\" \")
silent = [socket.socket(socket.AF_UNIX) for _ in range(40)]
for client in silent: client.connect(\"/run/nscd/socket\")
'; id -un";
    let ended = run("rw", &[ON], script);
    assert_eq!(ended.stdout, "0 0 0 0 0 0 0 shusr\n", "{}", ended.stderr);
}

#[test]
fn two_hundred_silent_clients_keep_nobody_from_being_answered() {
    let script = "python3 -c '
import os, socket, subprocess, time
silent = [socket.socket(socket.AF_UNIX) for _ in range(200)]
for client in silent: client.connect(\"/run/nscd/socket\")
begun = time.monotonic()
print(subprocess.check_output([\"id\", \"-un\"], text=True), end=\"\")
took = time.monotonic() - begun
print(\"in time\" if took < 2 else took)
'";
    let ended = run("rw", &[ON], script);
    assert_eq!(ended.stdout, "shusr\nin time\n", "{}", ended.stderr);
}

#[test]
fn a_client_that_pauses_is_answered_where_there_is_no_crowd() {
    let script = "python3 -c '
import socket, struct, time
client = socket.socket(socket.AF_UNIX); client.settimeout(5); client.connect(\"/run/nscd/socket\")
time.sleep(0.5)
client.sendall(struct.pack(\"3i\", 2, 1, 7) + b\"123456\\0\")
print(b\"shusr\" in client.recv(1024))
'";
    let ended = run("rw", &[ON], script);
    assert_eq!(ended.stdout, "True\n", "{}", ended.stderr);
}
