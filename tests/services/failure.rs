//! What a test that fails leaves: neither a process nor a folder, whatever its server was doing.

use crate::minio::Minio;
use crate::service::{LONG, Service};
use crate::support::{Running, until};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
