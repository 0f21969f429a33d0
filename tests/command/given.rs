//! What the service gets is what we were given: arguments, descriptors, limits, its place.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::signals::started;
use crate::support::{Ended, Folder, Running, binary, entry};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

fn ended(command: Command) -> Ended {
    Running::start(command).ended(LONG)
}

/// A shell that does `before` and becomes the binary with `arguments`.
fn after(before: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-ec", &format!("{before}; exec \"$@\""), "sh"]).arg(binary()).args(arguments);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

/// Behaviours: 41.
#[test]
fn a_pipe_that_closes_ends_its_writer_silently() {
    let ended = ended(entry(&["sh", "-c", "(yes; echo $? >&2) | head -n 1"]));
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (0, "y\n", "141\n"));
}

/// Behaviours: 42, 43.
#[test]
fn sockets_passed_on_purpose_arrive_with_the_programs_own_process_id_and_others_do_not() {
    let open = "exec 3</etc/passwd 4</etc/group 6</etc/passwd; export LISTEN_FDS=2";
    let look = "for n in 3 4 5 6; do [ -e /proc/$$/fd/$n ] && readlink /proc/$$/fd/$n; done
        [ \"$LISTEN_PID\" = $$ ] && echo mine; echo $LISTEN_FDS";
    // The shell moves nothing of its own to 3 or 4: a script on its command line is not a file.
    for exec in ["0", "1"] {
        let mut ours = after(&format!("{open}; export LISTEN_PID=$$"), &["init", "--", "sh", "-c", look]);
        ours.env("DL_EXEC", exec);
        assert_eq!(ended(ours).stdout, "/etc/passwd\n/etc/group\nmine\n2\n", "DL_EXEC={exec}");
        let mut others = after(&format!("{open}; export LISTEN_PID=99999"), &["init", "--", "sh", "-c", look]);
        others.env("DL_EXEC", exec);
        assert_eq!(ended(others).stdout, "2\n", "DL_EXEC={exec}");
    }
}

/// Behaviours: 44.
#[test]
fn closed_standard_streams_hurt_nobody_and_no_file_lands_on_their_numbers() {
    let look =
        "for n in 0 1 2; do case $(readlink /proc/$$/fd/$n) in /dev/null|pipe:*) ;; *) exit 9 ;; esac; done; exit 4";
    for closed in ["<&-", ">&-", "2>&-", "<&- >&-", "<&- >&- 2>&-"] {
        let demo = Demo::new(STOP);
        let own = binary();
        let script = format!("exec \"$@\" {closed}");
        let mut command = demo.command(&["sh", "-c", &script, "sh", own.to_str().unwrap()]);
        command.env("DEMO_SCRIPT", look).env("DEMO_PASSWORD", "correct horse");
        let ended = ended(command);
        assert_eq!(ended.code(), 4, "{closed}\n{}", ended.stderr);
        assert_eq!(std::fs::read_to_string(demo.file()).unwrap(), "port = 8080\npassword = correct horse\n");
        assert!(!ended.stdout.contains("correct horse"), "{}", ended.stdout);
    }
}

/// Behaviours: 46.
#[test]
fn the_umask_is_passed_on() {
    assert_eq!(ended(after("umask 027", &["sh", "-c", "umask"])).stdout, "0027\n");
}

/// Behaviours: 46.
#[test]
fn a_rendered_file_has_its_mode_and_owner_under_any_umask() {
    for umask in ["000", "077"] {
        let demo = Demo::new(STOP);
        let own = binary();
        let script = format!("umask {umask}; exec \"$@\"");
        let mut command = demo.command(&["sh", "-c", &script, "sh", own.to_str().unwrap()]);
        command.env("DEMO_SCRIPT", format!("stat -c '%a %u' {0}; cat {0}", demo.file().display()));
        let ended = ended(command);
        assert_eq!(ended.stdout, "640 1000\nport = 8080\n", "{umask}\n{}", ended.stderr);
    }
}

/// Behaviours: 47.
#[test]
fn the_program_keeps_our_folder_and_we_do_not() {
    let folder = Folder::new("folder");
    let mut command = entry(&["sh", "-c", "pwd; echo up; exec sleep 1000"]);
    command.current_dir(folder.path());
    let running = started(command);
    assert_eq!(running.stdout(), format!("{}\nup\n", folder.path().display()));
    assert_eq!(std::fs::read_link(format!("/proc/{}/cwd", running.pid())).unwrap().to_str(), Some("/"));
}

/// Behaviours: 48, 49.
#[test]
fn arguments_and_the_environment_arrive_byte_by_byte() {
    let odd = OsStr::from_bytes(b"\xff= '\"$(x)`\n");
    let mut command =
        entry(&["init", "--", "sh", "-c", "printf '[%s]' \"$0\" \"$@\" \"$ODD\" | od -An -v -tx1 | tr -d ' \\n'"]);
    command.args(["zero", "a b", "", "--", "-x", "*"]).arg(odd).env("ODD", odd);
    let mut expected = b"[zero][a b][][--][-x][*]".to_vec();
    (0..2).for_each(|_| expected.extend([b"[", odd.as_bytes(), b"]"].concat()));
    let expected: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(ended(command).stdout, expected);
}

/// Behaviours: 7.
#[test]
fn a_folder_that_cannot_be_entered_is_named_and_is_no_status_of_the_service() {
    let demo = Demo::new(STOP);
    let contract = demo.join("services/demo/service.toml");
    let text = std::fs::read_to_string(&contract).unwrap();
    let text = text.replacen("prefixes =", "working-directory = \"/nonexistent/folder\"\nprefixes =", 1);
    std::fs::write(contract, text).unwrap();
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "echo started");
    let ended = ended(command);
    assert_eq!((ended.code(), ended.stdout.as_str()), (71, ""), "{}", ended.stderr);
    let message = "the working directory /nonexistent/folder cannot be entered: No such file or directory";
    assert!(ended.stderr.contains(message), "{}", ended.stderr);
}

/// Behaviours: 50.
#[test]
fn limits_priorities_affinity_and_personality_are_those_we_were_given() {
    let set = "ulimit -S -n 777; ulimit -S -c 0; ulimit -S -s 4096; echo 321 >/proc/self/oom_score_adj
        set -- nice -n 5 setarch -R taskset -c 0 \"$@\"";
    let look = "cat /proc/self/limits /proc/self/oom_score_adj /proc/self/personality; nice; grep Cpus_allowed /proc/self/status";
    let mut direct = Command::new("sh");
    direct.args(["-ec", &format!("{set}; exec \"$@\""), "sh", "sh", "-c", look]);
    let expected = ended(direct).stdout;
    assert!(expected.contains("\n321\n") && expected.contains("Max open files            777 "), "{expected}");
    for exec in ["0", "1"] {
        let mut command = after(set, &["sh", "-c", look]);
        command.env("DL_EXEC", exec);
        let ended = ended(command);
        assert_eq!(ended.stdout, expected, "{}", ended.stderr);
    }
}
