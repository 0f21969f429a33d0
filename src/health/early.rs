//! Answers before there is a runtime: while a folder of data is walked, by one thread, as root.
//!
//! Asked now and then, between two entries; never waits. A few connections at a time, one read and one answer each.
//! Everybody else stays in the kernel's queue until `server` takes over the listener.

use std::cell::RefCell;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::server::Response;
use super::{Health, Question};

/// Connections whose request has not arrived yet.
const MOST_WAITING: usize = 8;
/// How long one may say nothing.
const MOST_SILENCE: Duration = Duration::from_secs(1);
/// The part of a request that is read: its first line counts.
const LONGEST_REQUEST: usize = 1024;

/// The listener of the endpoints before they are served.
#[derive(Debug)]
pub struct Early<'a> {
    listener: Option<&'a TcpListener>,
    health: &'a Health,
    waiting: RefCell<Vec<(TcpStream, Instant)>>,
}

impl<'a> Early<'a> {
    /// Without a listener nothing is answered.
    pub fn on(listener: Option<&'a TcpListener>, health: &'a Health) -> Early<'a> {
        // `server` has it so, too.
        let listener = listener.filter(|listener| listener.set_nonblocking(true).is_ok());
        Early { listener, health, waiting: RefCell::default() }
    }

    /// Answers those who have asked by now.
    pub fn answer(&self) {
        let Some(listener) = self.listener else { return };
        let mut waiting = self.waiting.borrow_mut();
        while waiting.len() < MOST_WAITING {
            let Ok((stream, _)) = listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                waiting.push((stream, Instant::now()));
            }
        }
        waiting.retain_mut(|(stream, since)| !self.is_done(stream) && since.elapsed() < MOST_SILENCE);
    }

    /// Whether the connection has been answered, or is broken.
    fn is_done(&self, stream: &mut TcpStream) -> bool {
        let mut request = [0; LONGEST_REQUEST];
        match stream.read(&mut request) {
            Ok(length) => {
                // Short enough for the socket's buffer.
                let _ = stream.write_all(&self.answer_to(&request[..length]));
                true
            }
            Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }

    fn answer_to(&self, request: &[u8]) -> Vec<u8> {
        let asks = |start: &str| request.starts_with(start.as_bytes());
        let live = asks("GET /livez ") || asks("HEAD /livez ");
        let report = self.health.report(if live { Question::Live } else { Question::Startup });
        Response::report(&report, false, self.health).bytes(asks("HEAD "), true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Phase;
    use crate::secrets::Secrets;

    fn asked(early: &Early, address: std::net::SocketAddr, path: &str) -> String {
        let mut client = TcpStream::connect(address).unwrap();
        write!(client, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        client.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (mut answer, deadline) = (String::new(), Instant::now() + Duration::from_secs(10));
        while client.read_to_string(&mut answer).is_err() || answer.is_empty() {
            assert!(Instant::now() < deadline, "nothing answers");
            early.answer();
        }
        answer
    }

    #[test]
    fn livez_is_answered_without_a_runtime_and_nothing_is_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let health = Health::new("demo", &Secrets::default());
        health.set_phase(Phase::Rendering);
        let early = Early::on(Some(&listener), &health);
        // Those who say nothing do not keep the others out for ever.
        let silent: Vec<TcpStream> = (0..2 * MOST_WAITING).map(|_| TcpStream::connect(address).unwrap()).collect();
        let live = asked(&early, address, "/livez");
        assert!(live.starts_with("HTTP/1.1 200 OK\r\n") && live.contains("\r\n\r\nok: rendering for "), "{live}");
        for path in ["/readyz", "/startupz", "/metrics", "/"] {
            let answer = asked(&early, address, path);
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("has not been ready yet"), "{answer}");
        }
        drop(silent);
    }
}
