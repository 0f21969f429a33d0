//! What a test that fails leaves: neither a process nor a folder. What one that is killed leaves: no process.

use crate::minio::Minio;
use crate::service::{LONG, Service};
use crate::support::{Running, descendants, until};
use nix::unistd::Pid;
use std::io::{BufRead as _, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A test that fails while its server runs: `reach` brings the server to where it is then.
fn fail_after(reach: impl Fn(&Service, &mut Running)) {
    let minio = Minio::new("failure");
    let folder = minio.service.folder.path().to_owned();
    let failed = catch_unwind(AssertUnwindSafe(|| {
        let mut running = minio.service.start();
        reach(&minio.service, &mut running);
        assert!(!minio.service.processes().is_empty());
        panic!("as a failed assertion does");
    }));
    let message = failed.unwrap_err().downcast_ref::<&str>().map(|message| (*message).to_owned());
    assert_eq!(message.as_deref(), Some("as a failed assertion does"));
    // A process that was killed is gone once the kernel has had its turn.
    until(LONG, "no process of the test that failed", || minio.service.processes().is_empty().then_some(()));
    drop(minio);
    assert!(!folder.exists(), "{}", folder.display());
}

#[test]
fn a_test_that_fails_while_its_server_starts_leaves_nothing() {
    fail_after(|service, _| _ = service.await_process());
}

#[test]
fn a_test_that_fails_while_its_server_is_ready_leaves_nothing() {
    fail_after(|service, running| service.await_ready(running));
}

#[test]
#[ignore = "the test below starts and kills it"]
fn with_a_server_until_it_is_killed() {
    let minio = Minio::new("killed");
    let _running = minio.service.ready();
    println!("\nserving in {}", minio.service.folder.path().display());
    std::thread::sleep(LONG);
}

#[test]
fn a_test_program_that_is_killed_leaves_no_process() {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--ignored", "--exact", "failure::with_a_server_until_it_is_killed", "--nocapture"]);
    let mut program = program.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map_while(Result::ok);
    let folder = lines.find_map(|line| line.strip_prefix("serving in ").map(str::to_owned)).expect("a server");
    let family = descendants(Pid::from_raw(program.id() as i32));
    program.kill().unwrap();
    program.wait().unwrap();
    // The supervisor, its server, and what was to end them.
    assert!(family.len() >= 3, "{family:?}");
    let runs = |pid: &Pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    until(Duration::from_secs(15), "no process of a killed test", || (!family.iter().any(runs)).then_some(()));
    std::fs::remove_dir_all(folder).unwrap();
}
