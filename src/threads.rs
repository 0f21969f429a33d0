//! Calls that block and have no other form (getaddrinfo(3), stat(2) on a dead network file system), on other threads.
//!
//! Each call gets a thread of its own while one can be had. Where the limit of processes or of memory is reached, it
//! waits for the one that was started in time (`keep_one`), and fails where there is none: tokio's own pool panics
//! there, which would end PID 1 and the healthy service with it. Must not start before root is given up, and nothing
//! here wakes up without work.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// For getaddrinfo(3) of any C library; it is address space, and memory only as far as it is used.
const STACK: usize = 512 * 1024;

type Call = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Calls {
    waiting: VecDeque<Call>,
    threads: usize,
    idle: usize,
}

static CALLS: Mutex<Calls> = Mutex::new(Calls { waiting: VecDeque::new(), threads: 0, idle: 0 });
static MORE: Condvar = Condvar::new();

fn calls() -> MutexGuard<'static, Calls> {
    CALLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the result of `call` without blocking this thread. An abandoned call is not begun.
///
/// # Errors
/// No thread can be had.
pub async fn call<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (call, told) = telling(call);
    hand_over(call)?;
    told.await.map_err(io::Error::other)
}

fn telling<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> (Call, oneshot::Receiver<T>) {
    let (tell, told) = oneshot::channel();
    let telling = move || {
        if !tell.is_closed() {
            // Nobody may be left to be told by now.
            let _ = tell.send(call());
        }
    };
    (Box::new(telling), told)
}

/// Starts a thread that stays, for what will be called when there may be no other.
///
/// # Errors
/// No thread can be had even now.
pub fn keep_one() -> io::Result<()> {
    start(&mut calls(), true)
}

fn hand_over(call: Call) -> io::Result<()> {
    let mut calls = calls();
    calls.waiting.push_back(call);
    if calls.idle >= calls.waiting.len() {
        MORE.notify_one();
        return Ok(());
    }
    let started = start(&mut calls, false);
    if started.is_err() && calls.threads == 0 {
        calls.waiting.pop_back();
        return started;
    }
    Ok(())
}

fn start(calls: &mut Calls, stays: bool) -> io::Result<()> {
    std::thread::Builder::new().name("calls".to_owned()).stack_size(STACK).spawn(move || work(stays))?;
    calls.threads += 1;
    Ok(())
}

fn work(stays: bool) {
    let mut calls = calls();
    loop {
        while let Some(call) = calls.waiting.pop_front() {
            drop(calls);
            call();
            calls = self::calls();
        }
        if !stays {
            calls.threads -= 1;
            return;
        }
        calls.idle += 1;
        calls = MORE.wait(calls).unwrap_or_else(PoisonError::into_inner);
        calls.idle -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};

    #[tokio::test]
    async fn calls_are_answered_by_other_threads_at_the_same_time() {
        keep_one().unwrap();
        let barrier = Arc::new(Barrier::new(2));
        // Each returns only when the other runs.
        let meet = |barrier: Arc<Barrier>| move || (barrier.wait(), std::thread::current().id()).1;
        let (first, second) = tokio::join!(call(meet(barrier.clone())), call(meet(barrier)));
        let (first, second, here) = (first.unwrap(), second.unwrap(), std::thread::current().id());
        assert!(first != here && second != here && first != second);
    }

    #[test]
    fn a_call_nobody_waits_for_any_more_is_not_begun() {
        let (call, told) = telling(|| panic!("it was begun"));
        drop(told);
        call();
    }
}
