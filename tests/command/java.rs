//! A JVM as the service: what operators do to one works as without us.

use crate::support::{Folder, Running, descendants, entry, until};
use nix::sys::signal::Signal::*;
use std::process::Command;
use std::time::Duration;

/// A JVM on a busy machine takes its time.
const PATIENCE: Duration = Duration::from_secs(90);

const PROGRAM: &str = "public class Program {
    public static void main(String[] words) throws Exception {
        System.out.println(\"up\");
        if (words.length > 0) { long[][] all = new long[100][]; for (int i = 0; i < 100; i++) all[i] = new long[1 << 20]; }
        Thread.sleep(1000000);
    }
}";

fn start(folder: &Folder, words: &[&str]) -> Running {
    let program = folder.write("Program.java", PROGRAM);
    let options = ["java", "-Xmx64m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError"];
    let mut running = Running::start(entry(&[&options[..], &[program.to_str().unwrap()], words].concat()));
    running.await_text(PATIENCE, "up\n");
    running
}

/// Behaviours: 37, 114.
#[test]
fn sigquit_prints_the_threads_and_jcmd_attaches_and_the_jvm_lives_on() {
    let folder = Folder::new("java");
    let mut running = start(&folder, &[]);
    running.signal(SIGQUIT);
    running.await_text(PATIENCE, "Full thread dump");
    let jvm = descendants(running.pid()).first().unwrap().to_string();
    let mut jcmd = Command::new("setpriv");
    jcmd.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "jcmd", &jvm, "Thread.print"]);
    let printed = Running::start(jcmd).ended(PATIENCE);
    assert_eq!(printed.code(), 0, "{}{}", printed.stdout, printed.stderr);
    assert!(printed.stdout.contains("\"main\""), "{}", printed.stdout);
    running.signal(SIGTERM);
    assert_eq!(running.ended(PATIENCE).code(), 143);
}

/// Behaviours: 114.
#[test]
fn a_jvm_told_to_exit_when_memory_runs_out_does_so_with_its_own_status() {
    let folder = Folder::new("memory");
    let mut running = start(&folder, &["eat"]);
    until(PATIENCE, "the end", || running.has_ended().then_some(()));
    assert_eq!(running.ended(PATIENCE).code(), 3);
}
