//! PostgreSQL killed in the middle of its first start, and in the middle of a rotation of passwords: the next start
//! serves all of it or says why not.
//!
//! Each server is process 1 of a namespace of its own, so that one SIGKILL ends its whole tree at once, as a container's.

use crate::postgresql::Postgresql;
use crate::service::LONG;
use crate::support::until;
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Of each signal.
const POINTS: u32 = 32;

#[test]
fn killed_at_any_point_of_its_first_start_the_next_one_serves_all_of_it() {
    each_point("killed", Signal::SIGKILL);
}

#[test]
fn asked_to_stop_at_any_point_of_its_first_start_the_next_one_serves_all_of_it() {
    each_point("stopped", Signal::SIGTERM);
}

/// Two at a time: there are two cores.
fn each_point(test: &'static str, signal: Signal) {
    let whole = whole_initialisation(test);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut stages = Vec::new();
        loop {
            let point = next.fetch_add(1, Ordering::Relaxed) as u32;
            if point >= POINTS {
                return stages;
            }
            stages.push(interrupted_at(point, whole, test, signal));
        }
    };
    let stages: Vec<String> = std::thread::scope(|scope| {
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().flat_map(|thread| thread.join().expect("every point ends well")).collect()
    });
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    stages.iter().for_each(|stage| *counts.entry(stage).or_default() += 1);
    // Not with `println!`, which a test that succeeds does not show.
    let told = writeln!(std::io::stderr(), "{signal} at {} points of {whole:?}, by stage: {counts:?}", stages.len());
    told.unwrap();
    assert!(counts.len() >= 3, "the points are not spread over the initialisation: {counts:?}");
}

/// How long it takes where nothing interrupts it.
fn whole_initialisation(test: &str) -> Duration {
    let server = Postgresql::with_scripts(test);
    let mut running = server.start_in_namespace();
    let began = Instant::now();
    server.service.await_ready(&mut running);
    let took = began.elapsed();
    Postgresql::stop(running);
    took
}

/// The stage in which it was interrupted. initdb takes most of the time: every other point comes after it.
fn interrupted_at(point: u32, whole: Duration, test: &str, signal: Signal) -> String {
    let server = Postgresql::with_scripts(test);
    let running = server.start_in_namespace();
    match point % 2 {
        0 => std::thread::sleep(whole * point / POINTS),
        _ => {
            let has_files = || !["not begun", "cluster"].contains(&server.stage().as_str());
            until(LONG, "the end of initdb", || has_files().then_some(()));
            std::thread::sleep(whole * point / POINTS / 3);
        }
    }
    Postgresql::end(&running, signal);
    running.ended(LONG);
    let stage = server.stage();
    let mut again = server.start_in_namespace();
    server.service.await_ready(&mut again);
    server.assert_complete();
    Postgresql::stop(again);
    stage
}

#[test]
fn killed_while_passwords_are_rotated_the_next_start_has_the_new_ones() {
    let mut server = Postgresql::with_scripts("rotated");
    let mut running = server.start_in_namespace();
    server.service.await_ready(&mut running);
    Postgresql::stop(running);
    for round in 0..12_u32 {
        server.rotate(&format!("rotated-{round}-'\"$$"));
        let running = server.start_in_namespace();
        std::thread::sleep(Duration::from_millis(60) * round);
        Postgresql::end(&running, Signal::SIGKILL);
        running.ended(LONG);
        let mut again = server.start_in_namespace();
        server.service.await_ready(&mut again);
        server.assert_complete();
        Postgresql::stop(again);
    }
}
