//! Waits and the bucket task against real servers: PostgreSQL, etcd and MinIO, each on ports and folders of its own.
//!
//! Needs Debian's `postgresql` and `etcd-server`, and a `minio` (built once with
//! `CGO_ENABLED=0 GOBIN=FOLDER go install github.com/minio/minio@latest`) in PATH or in the cache folder.

mod environment;
mod etcd;
mod minio;
mod postgres;
mod server;
#[path = "../support/mod.rs"]
mod support;
mod tables;

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use dl_entry::plan::Wait;
use dl_entry::wait::{Pending, Progress, parse_target, wait_for_all};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Every character that has ever broken a template, a URL or a shell.
const HOSTILE: &str = r##"'"$\#{}%&=:! @/?[]<>|;*~`+,^ ü漢字"##;

/// Drives one test on the runtime the program uses, and never longer than 50 s.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(50), test).await });
    runtime.shutdown_background();
    done.expect("the test took longer than 50 s")
}

/// Waits, and returns every change that was told.
async fn watch(urls: &[&str], total: Duration) -> (Result<(), Pending>, Vec<String>) {
    let waits: Vec<Wait> = urls.iter().map(|url| parse_target(url).unwrap()).collect();
    let told = RefCell::new(Vec::new());
    let note = |progress: Progress<'_>| match progress {
        Progress::Pending { error, .. } => told.borrow_mut().push(error.to_owned()),
        Progress::Ready { .. } => told.borrow_mut().push("ready".to_owned()),
    };
    let outcome = wait_for_all(&waits, total, &note).await;
    (outcome, told.into_inner())
}

async fn expect_ready(url: &str) {
    let (outcome, _) = watch(&[url], Duration::from_secs(20)).await;
    outcome.unwrap_or_else(|pending| panic!("{pending}"));
}

/// The error that ended the wait, which must have come much sooner than the deadline.
async fn expect_refused(url: &str) -> String {
    let started = std::time::Instant::now();
    let (outcome, _) = watch(&[url], Duration::from_secs(20)).await;
    assert!(started.elapsed() < Duration::from_secs(5), "not at once, but after {:?}", started.elapsed());
    outcome.unwrap_err().dependencies.remove(0).1
}

/// The last error of a wait that is still pending when its short deadline comes.
async fn expect_pending(url: &str) -> String {
    let (outcome, _) = watch(&[url], Duration::from_secs(2)).await;
    let pending = outcome.unwrap_err();
    assert!(pending.to_string().ends_with("set DL_WAIT_TIMEOUT higher if they only need more time"), "{pending}");
    pending.dependencies[0].1.clone()
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}
