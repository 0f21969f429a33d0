//! What is missing, broken or forbidden around us, and the marks we must not leave.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::support::{Ended, Folder, Running, binary, entry, require_root, until};
use nix::sys::signal::Signal::SIGTERM;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

fn ended(command: Command) -> Ended {
    Running::start(command).ended(LONG)
}

/// The demo service after a shell script in the same mount namespace, where `$D` is its folder.
fn after(demo: &Demo, before: &str, script: &str) -> Ended {
    let own = binary();
    let before = format!("{before}; exec \"$@\"");
    let mut command = demo.command(&["sh", "-ec", &before, "sh", own.to_str().unwrap()]);
    command.env("D", demo.path()).env("DEMO_SCRIPT", script);
    ended(command)
}

/// What says that it was asked to end.
const LEFT: &str = "sh -c 'trap \"echo asked; exit\" TERM; echo started; while :; do sleep 0.02; done'";

/// Behaviours: 72.
#[test]
fn without_proc_or_with_one_that_hides_others_the_service_runs_and_nobody_is_left() {
    for before in ["umount -l /proc", "mount -t tmpfs none /proc", "mount -t proc -o hidepid=2 proc /proc"] {
        let demo = Demo::new(STOP);
        let inner = "exec unshare -p -f --kill-child sh -ec \"$BEFORE; exec \\\"\\$0\\\"\" \"$ENTRY\"";
        let mut command = demo.command(&["sh", "-ec", inner]);
        let script = format!("(sleep 0.1 &); setsid {LEFT} & sleep 0.5; exit 4");
        command.env("BEFORE", before).env("ENTRY", binary()).env("DEMO_SCRIPT", script);
        let ended = ended(command);
        assert_eq!((ended.code(), ended.stdout.as_str()), (4, "started\nasked\n"), "{before}\n{}", ended.stderr);
        assert_eq!(std::fs::read_to_string(demo.file()).unwrap(), "port = 8080\n");
    }
}

/// Behaviours: 72.
#[test]
fn without_proc_and_not_process_1_the_service_runs_and_its_group_is_ended() {
    let demo = Demo::new(STOP);
    let ended = after(&demo, "umount -l /proc", &format!("{LEFT} & sleep 0.5; exit 4"));
    assert_eq!((ended.code(), ended.stdout.as_str()), (4, "started\nasked\n"), "{}", ended.stderr);
}

/// Behaviours: 73.
#[test]
fn a_read_only_root_no_temporary_folder_and_run_without_exec_are_enough() {
    for temporary in ["mount -t tmpfs -o noexec,nosuid,nodev none /tmp", "mount -t tmpfs -o mode=000,ro none /tmp"] {
        let demo = Demo::new(STOP);
        // The checkout may be under /tmp.
        let copy = "cp \"$1\" \"$D/entry\"; set -- \"$D/entry\"";
        let before = format!(
            "{copy}; {temporary}; mount -t tmpfs -o noexec,nosuid,nodev,mode=755 none $D/run
            mount -o remount,ro /etc; mount -o remount,bind,ro /"
        );
        let script = format!("echo started; cat {}; touch /var/tmp/x 2>&- || echo read-only", demo.file().display());
        let ended = after(&demo, &before, &script);
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\nport = 8080\nread-only\n"), "{}", ended.stderr);
    }
}

/// Behaviours: 60.
#[test]
fn users_files_that_are_missing_or_broken_do_not_keep_the_number_from_working() {
    for broken in [
        "rm /etc/passwd /etc/group",
        "printf 'root:x\\n+::::::\\n#\\nx:x:-1:9:::\\n\\377\\376\\n' >/etc/passwd",
        "head -c 1000000 /dev/zero | tr '\\0' 'x' >/etc/passwd",
        "chmod 000 /etc/passwd /etc/group",
    ] {
        let demo = Demo::new(STOP);
        let ended = after(&demo, broken, "id -u; id -g");
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, "1000\n1000\n"), "{broken}\n{}", ended.stderr);
    }
}

/// Behaviours: 60.
#[test]
fn users_files_that_cannot_be_read_are_an_error_for_a_name_and_none_for_a_number() {
    for (broken, file, kind) in [
        ("rm /etc/passwd; mkdir /etc/passwd", "/etc/passwd", "directory"),
        ("rm /etc/group; mkdir /etc/group", "/etc/group", "directory"),
        ("rm /etc/passwd; mkfifo /etc/passwd", "/etc/passwd", "pipe"),
    ] {
        let demo = Demo::new(STOP);
        let refused = after(&demo, broken, "id -u; id -g");
        let expected = format!(
            "dl-entry: {file} cannot be read: it is a {kind}, not a file\n  it says who shusr is: make it readable for root\n"
        );
        assert_eq!((refused.code(), refused.stderr.as_str()), (77, expected.as_str()));
        let contract = demo.join("services/demo/service.toml");
        let numbered = std::fs::read_to_string(&contract).unwrap().replace("prefixes", "user = \"1000\"\nprefixes");
        std::fs::write(&contract, numbered).unwrap();
        let ended = after(&demo, broken, "id -u; id -g");
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, "1000\n1000\n"), "{broken}\n{}", ended.stderr);
    }
}

/// Behaviours: 58.
#[test]
fn a_byte_that_is_not_utf_8_does_not_make_the_services_user_another_one() {
    let demo = Demo::new(STOP);
    let users =
        "printf 'root:x:0:0::/:/bin/sh\\njos\\351:x:7:7:Jos\\351:/:/bin/sh\\nshusr:x:77:78::/:/bin/sh\\n' >/etc/passwd
        printf 'jos\\351:x:7:\\nlake:x:79:jos\\351,shusr\\n' >/etc/group";
    let ended = after(&demo, users, "id -u; id -g; id -G");
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "77\n78\n78 79\n"), "{}", ended.stderr);
}

/// Behaviours: 64.
#[test]
fn a_service_user_who_is_root_is_refused_and_root_by_name_is_not() {
    let demo = Demo::new(STOP);
    let hidden = "printf 'root:x:0:0::/:/bin/sh\\nshusr:x:0:0::/:/bin/sh\\n' >/etc/passwd";
    let refused = after(&demo, hidden, "id -u");
    assert_eq!((refused.code(), refused.stdout.as_str()), (77, ""), "{}", refused.stderr);
    assert!(refused.stderr.starts_with("dl-entry: shusr has uid 0 in /etc/passwd"), "{}", refused.stderr);
    assert!(!demo.file().exists());
    let contract = demo.join("services/demo/service.toml");
    let open = std::fs::read_to_string(&contract).unwrap().replace("prefixes", "user = \"root\"\nprefixes");
    std::fs::write(&contract, open).unwrap();
    let ended = after(&demo, hidden, "id -u");
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "0\n"), "{}", ended.stderr);
}

/// Behaviours: 61.
#[test]
fn where_groups_cannot_be_set_root_is_dropped_all_the_same() {
    require_root("a user namespace with many users needs it");
    let folder = Folder::new("namespace");
    let mapped = folder.join("mapped");
    let wait = "while [ ! -e \"$0\" ]; do sleep 0.02; done; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-U", "sh", "-c", wait]).arg(&mapped).arg(folder.binary());
    let running = Running::start({
        command.args(["sh", "-c", "id -u; id -g; cat /proc/self/setgroups"]);
        command
    });
    let process = |file: &str| format!("/proc/{}/{file}", running.pid());
    let parents = std::fs::read_link("/proc/self/ns/user").unwrap();
    until(LONG, "its own namespace", || std::fs::read_link(process("ns/user")).ok().filter(|own| *own != parents));
    std::fs::write(process("setgroups"), "deny").unwrap();
    std::fs::write(process("uid_map"), "0 0 65536").unwrap();
    std::fs::write(process("gid_map"), "0 0 65536").unwrap();
    std::fs::write(&mapped, "").unwrap();
    let ended = running.ended(LONG);
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "1000\n1000\ndeny\n"), "{}", ended.stderr);
}

/// Behaviours: 64.
#[test]
fn a_namespace_without_the_services_user_is_named_and_one_of_that_user_is_enough() {
    let folder = Folder::new("unmapped");
    for (map, expected) in [("--map-root-user", ""), ("--map-user=1000", "1000\n")] {
        let mut command = Command::new("unshare");
        command.args(["--user", map]).arg(folder.binary()).args(["id", "-u"]).env_clear().env("PATH", "/usr/bin:/bin");
        command.env("DL_NAME_SERVICE", "off");
        let ended = ended(command);
        assert_eq!(ended.stdout, expected, "{}", ended.stderr);
        let told = "dl-entry: root cannot be given up: uid 1000 is not mapped in this user namespace \
                    (/proc/self/uid_map)\n  map more ids to the container (/etc/subuid and /etc/subgid of who starts it), \
                    or start it as the service's user (podman run --userns=keep-id:uid=1000,gid=1000)\n";
        let (status, told) = if expected.is_empty() { (77, told) } else { (0, "") };
        assert_eq!((ended.code(), ended.stderr.as_str()), (status, told));
    }
}

/// Behaviours: 62.
#[test]
fn a_program_with_the_set_user_id_bit_gains_nothing_after_the_drop() {
    require_root("there is no root to drop");
    let folder = Folder::new("gain");
    let program = folder.join("id");
    std::fs::copy("/usr/bin/id", &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    assert_eq!(ended(entry(&[program.to_str().unwrap(), "-u"])).stdout, "1000\n");
}

/// Behaviours: 69.
#[test]
fn our_own_set_user_id_bit_is_refused() {
    require_root("another user is needed");
    let folder = Folder::new("borrowed");
    let program = folder.join("copy");
    std::fs::copy(binary(), &program).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o4755)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "1000", "--regid", "1000", "--clear-groups"]).arg(program).args(["id", "-u"]);
    let ended = ended(command);
    assert_eq!((ended.code(), ended.stdout.as_str()), (77, ""), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("\n  take the bit away: chmod ug-s\n"), "{}", ended.stderr);
}

/// Behaviours: 67.
#[test]
fn standard_streams_can_be_opened_anew_after_the_drop() {
    require_root("there is no root to drop");
    let script = "echo out >/dev/stdout; echo err >/proc/self/fd/2";
    let pipes = ended(entry(&["sh", "-c", script]));
    assert_eq!((pipes.stdout.as_str(), pipes.stderr.as_str()), ("out\n", "err\n"));
}

/// Behaviours: 68.
#[test]
fn a_file_and_a_device_under_any_name_keep_their_owner() {
    require_root("there is no root to drop");
    let folder = Folder::new("owners");
    let script = "cd \"$0\"; mknod null c 1 3; mknod zero c 1 5; touch bound file; mount --bind /dev/null bound
        for input in null zero bound file /dev/full; do \"$@\" <$input >>$input 2>>file || exit
        stat -c '%n %u' $input; done";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-ec", script]).arg(folder.path()).arg(binary()).args(["sh", "-c", ":"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("DL_NAME_SERVICE", "off");
    let ended = ended(command);
    assert_eq!(ended.stdout, "null 0\nzero 0\nbound 0\nfile 0\n/dev/full 0\n", "{}", ended.stderr);
    assert_eq!(std::fs::metadata("/dev/null").unwrap().uid(), 0);
}

/// Behaviours: 68.
#[test]
fn a_named_pipe_keeps_its_owner() {
    require_root("there is no root to drop");
    let folder = Folder::new("owners");
    let script = "cd \"$0\"; mkfifo pipe; \"$@\" <>pipe >&0 2>&0; stat -c '%n %u' pipe";
    let mut command = Command::new("sh");
    command.args(["-ec", script]).arg(folder.path()).arg(binary()).args(["sh", "-c", ":"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("DL_NAME_SERVICE", "off");
    let ended = ended(command);
    assert_eq!(ended.stdout, "pipe 0\n", "{}", ended.stderr);
}

/// Behaviours: 68.
#[test]
fn the_null_device_keeps_its_owner_and_a_read_only_stream_is_no_error() {
    require_root("there is no root to drop");
    assert_eq!(ended(entry(&["true"])).code(), 0);
    let null = std::fs::metadata("/dev/null").unwrap();
    assert_eq!((null.uid(), null.gid()), (0, 0));
    let folder = Folder::new("input");
    let mut command = Command::new("unshare");
    let script =
        "mount -t tmpfs none \"$0\"; echo text >\"$0/file\"; mount -o remount,ro \"$0\"; exec \"$@\" <\"$0/file\"";
    command.args(["-m", "sh", "-ec", script]).arg(folder.path()).arg(binary()).arg("cat");
    let ended = ended(command);
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "text\n"), "{}", ended.stderr);
}

// --- system calls that are not to be had ---------------------------------------------------------------------------

/// Answers these calls with `errno` and lets all others through (seccomp(2)).
fn deny(calls: &[libc::c_long], errno: i32) -> Vec<libc::sock_filter> {
    let statement = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for call in calls {
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        filter.push(libc::sock_filter { code: equal as u16, jt: 0, jf: 1, k: *call as u32 });
        filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    filter
}

fn without(mut command: Command, calls: &[libc::c_long], errno: i32) -> Command {
    let mut filter = deny(calls, errno);
    // SAFETY: prctl is async-signal-safe, and the program lives in the closure.
    unsafe {
        command.pre_exec(move || {
            let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            match libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    command
}

/// Behaviours: 42, 80.
#[test]
fn newer_system_calls_that_are_denied_have_an_older_way() {
    let calls = [
        libc::SYS_close_range,
        libc::SYS_pidfd_open,
        libc::SYS_openat2,
        libc::SYS_clone3,
        libc::SYS_memfd_create,
        libc::SYS_faccessat2,
    ];
    let leak = "exec 7</etc/passwd; exec \"$@\"";
    let look = "for n in 3 4 5 6 7 8 9; do [ -e /proc/$$/fd/$n ] && readlink /proc/$$/fd/$n; done; echo started";
    for errno in [libc::EPERM, libc::ENOSYS] {
        let demo = Demo::new(STOP);
        let own = binary();
        let mut command = demo.command(&["sh", "-c", leak, "sh", own.to_str().unwrap()]);
        command.env("DEMO_SCRIPT", look).env("DEMO_PASSWORD", "correct horse");
        let ended = ended(without(command, &calls, errno));
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{errno}\n{}", ended.stderr);
        assert_eq!(std::fs::read_to_string(demo.file()).unwrap(), "port = 8080\npassword = correct horse\n");
    }
}

// --- looking from elsewhere ---------------------------------------------------------------------------------------

/// Behaviours: 108.
#[test]
fn health_is_asked_by_any_user_on_a_read_only_root() {
    let demo = Demo::new(STOP);
    let mut running = Running::start(demo.entry(&[]));
    running.await_text(LONG, "demo is ready");
    let folder = Folder::new("asker");
    let ask = |address: &str| {
        let mut command = Command::new("unshare");
        let user = "exec setpriv --reuid 123456 --regid 0 --clear-groups --bounding-set -all --no-new-privs \"$@\"";
        let script = format!("mount -o remount,bind,ro /; mount -t tmpfs -o ro none /tmp; {user}");
        command.args(["-m", "sh", "-ec", &script, "sh"]).arg(folder.binary()).args(["health", "ready"]);
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin").env("DL_HEALTH_ADDR", address);
        ended(command).code()
    };
    let address = format!("127.0.0.1:{}", demo.health);
    assert_eq!(ask(&address), 0);
    running.signal(SIGTERM);
    assert_eq!(running.ended(LONG).code(), 143);
    assert_eq!(ask(&address), 1);
}

// --- templates an image brings ------------------------------------------------------------------------------------

/// Behaviours: 90, 93, 94.
#[test]
fn what_is_escaped_is_said_by_the_contract_and_braces_of_other_engines_stay() {
    let names = ["page.html", "page.xml", "page.xml.tera", "page.conf"];
    let sections = |format: &str| {
        let section = |name: &&str| {
            format!("[[file]]\ntemplate = \"{name}\"\npath = \"{{{{ etc }}}}/{name}\"\nformat = \"{format}\"\n")
        };
        names.iter().map(section).collect::<String>()
    };
    let hostile = "true # </a> & 'b' \"c\"";
    let text = |body: &str| format!("{body}{{% raw %}}{{{{ .Values.x }}}} {{% if %}}{{% endraw %}}");
    for (format, template, expected) in [
        ("properties", text("a={{ script }}\nb="), "a=true # </a> & 'b' \"c\"\nb={{ .Values.x }} {% if %}"),
        (
            "xml",
            text("<c><a>{{ script }}</a><b>") + "</b></c>",
            "<c><a>true # &lt;/a&gt; &amp; &apos;b&apos; &quot;c&quot;</a><b>{{ .Values.x }} {% if %}</b></c>",
        ),
    ] {
        let demo = Demo::new(&sections(format));
        names.iter().for_each(|name| std::fs::write(demo.join("services/demo").join(name), &template).unwrap());
        let render = || {
            let mut command = demo.entry(&["render", "--root", demo.join("out").to_str().unwrap()]);
            command.env("DEMO_SCRIPT", hostile);
            let rendered = ended(command);
            assert_eq!(rendered.code(), 0, "{}", rendered.stderr);
            let below = demo.join("out").join(demo.run().strip_prefix("/").unwrap()).join("demo");
            names.map(|name| std::fs::read_to_string(below.join(name)).unwrap())
        };
        let first = render();
        assert_eq!(first, render());
        first.iter().for_each(|text| assert_eq!(text, expected, "{format}"));
    }
}
