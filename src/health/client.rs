//! `dl-entry health`: asks the health endpoint of this container once, without a runtime.
//!
//! Started every few seconds by a container runtime, so it does as little as possible; one blocking connection.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::{HealthError, Question, addresses};

/// For connection, request and answer together.
const DEADLINE: Duration = Duration::from_secs(2);
/// No answer of ours comes near.
const LONGEST_ANSWER: usize = 64 * 1024;

/// Asks the endpoint at `address` (a `DL_HEALTH_ADDR`; loopback when it is a wildcard): whether the answer is yes,
/// and its line.
pub fn ask(question: Question, address: &str) -> Result<(bool, String), HealthError> {
    if address == "off" {
        return Err(HealthError::Off);
    }
    let deadline = Instant::now() + DEADLINE;
    let mut failure = HealthError::Off;
    for candidate in reachable(address)? {
        match TcpStream::connect_timeout(&candidate, remaining(deadline)) {
            Ok(stream) => return answer(stream, candidate, question, deadline),
            Err(source) => failure = HealthError::Unreachable { address: candidate, source },
        }
    }
    Err(failure)
}

/// Where to connect to reach what listens on `address`: a wildcard is nobody's address. IPv4 comes last because it
/// is the one that every host has, and its error is the one to show.
fn reachable(address: &str) -> Result<Vec<SocketAddr>, HealthError> {
    let loopback = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![(Ipv4Addr::LOCALHOST, address.port()).into()],
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec![(Ipv6Addr::LOCALHOST, address.port()).into(), (Ipv4Addr::LOCALHOST, address.port()).into()]
        }
        _ => vec![address],
    };
    let mut candidates: Vec<SocketAddr> = addresses(address)?.into_iter().flat_map(loopback).collect();
    candidates.dedup();
    Ok(candidates)
}

fn remaining(deadline: Instant) -> Duration {
    // Zero means for ever to the socket options, and is refused by connect_timeout.
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn answer(
    stream: TcpStream,
    address: SocketAddr,
    question: Question,
    deadline: Instant,
) -> Result<(bool, String), HealthError> {
    let no_answer = |reason: String| HealthError::NoAnswer { address, reason };
    let answer = exchange(stream, address, question, deadline).map_err(|error| no_answer(in_words(&error)))?;
    let answer = String::from_utf8_lossy(&answer);
    let Some(status) = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)) else {
        return Err(no_answer("not HTTP; is something else listening there?".to_owned()));
    };
    match (status, line(&answer)) {
        ("200", Some(line)) => Ok((true, line.to_owned())),
        ("503", Some(line)) => Ok((false, line.to_owned())),
        ("200" | "503", None) => Err(no_answer("the answer ends in the middle".to_owned())),
        _ => Err(no_answer(format!("HTTP status {status}; is something else listening there?"))),
    }
}

/// The first line of the body; `None` where the answer was cut off before its end.
fn line(answer: &str) -> Option<&str> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|field| field.strip_prefix("Content-Length: ")?.parse().ok());
    let whole = length.is_none_or(|length: usize| body.len() >= length);
    whole.then(|| body.lines().next())?
}

fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("none within {} s", DEADLINE.as_secs()),
        io::ErrorKind::FileTooLarge => {
            format!("more than {} KiB; is something else listening there?", LONGEST_ANSWER / 1024)
        }
        _ => super::reason(error),
    }
}

fn exchange(mut stream: TcpStream, address: SocketAddr, question: Question, deadline: Instant) -> io::Result<Vec<u8>> {
    stream.set_write_timeout(Some(remaining(deadline)))?;
    let path = question.path();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while Instant::now() < deadline {
        // A timeout per read is none for the whole: a server that sends a byte now and then must not hold us.
        stream.set_read_timeout(Some(remaining(deadline)))?;
        match stream.read(&mut piece)? {
            0 => return Ok(answer),
            length if answer.len() + length > LONGEST_ANSWER => return Err(io::ErrorKind::FileTooLarge.into()),
            length => answer.extend_from_slice(&piece[..length]),
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}
