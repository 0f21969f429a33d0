//! What the engine takes away: memory, and system calls.

use crate::FILE;
use crate::engine::Settings;

const LIMIT: i64 = 256 << 20;

/// Behaviours: 81.
#[test]
fn a_default_follows_the_containers_memory_limit() {
    let said = Settings::script(&format!("cat {FILE}")).memory(LIMIT).run().success();
    assert_eq!(said, "heap = 128m\n");
}

#[test]
fn explain_shows_the_default_the_memory_limit_makes() {
    let said = Settings::new(&["explain", "DEMO_HEAP"]).memory(LIMIT).run().success();
    assert!(said.contains("128m"), "{said}");
}

/// Behaviours: 36.
#[test]
fn a_service_that_the_kernel_ended_for_its_memory_is_137_and_said() {
    let ended = Settings::script("exec perl -e '$x = \"x\" x (400 << 20); sleep 1000'").memory(LIMIT / 4).run();
    assert_eq!(ended.status, 128 + 9, "{}", ended.stderr);
    assert!(ended.stderr.contains("the kernel killed a process of the service for lack of memory"), "{}", ended.stderr);
}

/// A profile that allows everything but the newer calls, which fail with `errno`.
fn refusing(errno: i32) -> String {
    let calls = ["close_range", "pidfd_open", "clone3", "memfd_create", "openat2", "statx", "faccessat2", "rseq"];
    let rule = serde_json::json!({ "names": calls, "action": "SCMP_ACT_ERRNO", "errnoRet": errno });
    format!("seccomp={}", serde_json::json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] }))
}

/// Prints what close_range(2) fails with: 436 is its number everywhere.
const REFUSED: &str = "perl -e 'syscall(436, 900, 900, 0) and print $! + 0, \"\\n\"'";

/// Behaviours: 80.
#[test]
fn calls_that_seccomp_refuses_are_done_without() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let listing = "cd /proc/$$/fd; echo *; read line <$HOME/demo/demo.properties; echo $line";
        let settings =
            Settings::script(&format!("{listing}; {REFUSED}")).env("DEMO_HEAP", "64m").security(&refusing(errno));
        let ended = settings.strict().tmpfs("/run/dl").run();
        let (log, said) = (ended.stderr.clone(), ended.success());
        // 3 is the shell's own, for the listing.
        assert_eq!(said, format!("0 1 2 3\nheap = 64m\n{errno}\n"), "errno {errno}: {log}");
    }
}

/// Behaviours: 80.
#[test]
fn root_is_given_up_where_seccomp_refuses_the_newer_calls() {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let said = Settings::script(&format!("echo $UID; {REFUSED}")).security(&refusing(errno)).run().success();
        assert_eq!(said, format!("1000\n{errno}\n"));
    }
}
