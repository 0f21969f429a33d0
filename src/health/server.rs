//! A small HTTP/1.1 server for probes and scrapes: GET and HEAD, four paths, everything bounded.
//!
//! Written by hand on purpose: what is not there cannot be slow, large or held open. Connections, their lifetime, the
//! size of a request and the number of requests on a connection all have a limit. Without a connection there is no
//! timer and no wake-up. One future on the caller's thread; it needs no `Send` and spawns nothing.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::slots::{Seat, Seats, Stage};
use super::{Health, HealthError, Question, Report};
use crate::pid1::sys;

/// Connections that are being told that there are too many, where descriptors allow it.
const MOST_TURNED_AWAY: usize = 192;
/// How long those get to read it.
const GOODBYE: Duration = Duration::from_millis(200);
/// How long a connection may say nothing.
const MOST_SILENCE: Duration = Duration::from_secs(1);
/// For one request in total, from its first byte on: reading it, probing, answering.
const REQUEST_DEADLINE: Duration = Duration::from_secs(1);
/// Kept back from the probe, to say that it took too long.
const TIME_TO_ANSWER: Duration = Duration::from_millis(100);
/// A probe that had less than this, because the request came slowly, proves nothing to anybody else.
const FAIR_PROBE: Duration = Duration::from_millis(800);
/// A second question within this time gets the first one's answer.
const PROBE_FRESHNESS: Duration = Duration::from_secs(1);
const LONGEST_HEAD: usize = 4096;
const MOST_REQUESTS: usize = 100;
/// When the process is out of descriptors, accepting again at once would only burn CPU.
const PAUSE_AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// Answers until it is dropped. `probe` asks the service whether it is ready; an error is the reason, in one line.
pub async fn serve(
    listener: StdListener,
    health: Health,
    probe: impl AsyncFn() -> Result<(), String>,
) -> Result<Infallible, HealthError> {
    let listener = listening(listener).map_err(|source| HealthError::Serve { source })?;
    let readiness = Readiness { probe, last: Mutex::new(None) };
    let spare = sys::spare_descriptors();
    let (mut seats, most_turned_away) = (Seats::within(spare), MOST_TURNED_AWAY.min(spare / 4));
    let mut answered = FuturesUnordered::new();
    let mut turned_away = FuturesUnordered::new();
    loop {
        tokio::select! {
            // In this order: whoever lost their seat is gone before the next one comes.
            biased;
            Some(seat) = answered.next() => seats.leave(&seat),
            Some(()) = turned_away.next() => {}
            stream = accepted(&listener) => match seats.take(is_local(&stream)) {
                Some(seat) => answered.push(converse(stream, seat, &health, &readiness)),
                None if turned_away.len() < most_turned_away => turned_away.push(turn_away(stream)),
                None => drop(stream.try_write(TOO_MANY)),
            },
        }
    }
}

fn listening(listener: StdListener) -> io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    // Data that has arrived is read first: a request that is already there keeps its slot.
    yield_now().await;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => sleep(PAUSE_AFTER_ACCEPT_ERROR).await,
        }
    }
}

/// Whether the other side is in this container, too, or on this host, where the network is the host's.
fn is_local(stream: &TcpStream) -> bool {
    let (Ok(other), Ok(own)) = (stream.peer_addr(), stream.local_addr()) else { return false };
    other.ip().to_canonical().is_loopback() || other.ip() == own.ip()
}

const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 33\r\nConnection: close\r\nRetry-After: 1\r\n\r\nunavailable: too many connections";

/// Reads on for a moment: a connection closed with unread data is reset, and the answer with it.
async fn turn_away(mut stream: TcpStream) {
    let _ = timeout(GOODBYE, async {
        stream.write_all(TOO_MANY).await?;
        drain(&mut stream).await
    })
    .await;
}

async fn drain(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

// ---- one connection --------------------------------------------------------------------------------------------

/// Gives its seat back when the connection has ended.
async fn converse<P: AsyncFn() -> Result<(), String>>(
    mut stream: TcpStream,
    seat: Rc<Seat>,
    health: &Health,
    readiness: &Readiness<P>,
) -> Rc<Seat> {
    let made_way = tokio::select! {
        biased;
        () = seat.taken_away() => true,
        () = talk(&mut stream, &seat, health, readiness) => false,
    };
    // After an answer it would be taken for the next one.
    if made_way && seat.stage() == Stage::New {
        let _ = stream.try_write(TOO_MANY);
    }
    seat
}

async fn talk<P: AsyncFn() -> Result<(), String>>(
    stream: &mut TcpStream,
    seat: &Seat,
    health: &Health,
    readiness: &Readiness<P>,
) {
    let mut buffer = Vec::new();
    for count in 1..=MOST_REQUESTS {
        if buffer.is_empty() && !matches!(timeout(MOST_SILENCE, read_more(stream, &mut buffer)).await, Ok(Ok(1..))) {
            return;
        }
        let deadline = Instant::now() + REQUEST_DEADLINE;
        let last = count == MOST_REQUESTS;
        let exchanged = exchange(stream, &mut buffer, seat, last, deadline, health, readiness);
        match timeout_at(deadline, exchanged).await {
            // However many requests have arrived together, signals are looked for between two of them.
            Ok(Ok(After::KeepAlive)) => yield_now().await,
            Ok(Ok(After::Close)) => return drop(timeout(GOODBYE, drain(stream)).await),
            Ok(Err(_)) => return,
            Err(_) => return drop(stream.try_write(&Response::error(408, "request timeout").bytes(false, true))),
        }
    }
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; 2048];
    let length = stream.read(&mut piece).await?;
    buffer.extend_from_slice(&piece[..length]);
    Ok(length)
}

enum After {
    KeepAlive,
    Close,
}

/// One request and its answer. Bytes after the request stay in the buffer for the next one.
async fn exchange<P: AsyncFn() -> Result<(), String>>(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    seat: &Seat,
    last: bool,
    deadline: Instant,
    health: &Health,
    readiness: &Readiness<P>,
) -> io::Result<After> {
    let (response, head_only, close) = match request(stream, buffer).await? {
        None => return Ok(After::Close),
        Some(Err(response)) => (response, false, true),
        Some(Ok(request)) => {
            seat.enter(Stage::Asked);
            let response = answer(&request, deadline - TIME_TO_ANSWER, health, readiness).await;
            (response, request.head_only, last || request.close)
        }
    };
    stream.write_all(&response.bytes(head_only, close)).await?;
    seat.enter(Stage::Answered);
    Ok(if close { After::Close } else { After::KeepAlive })
}

/// `None` when the other side has closed without asking.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Result<Request, Response>>> {
    loop {
        let begin = buffer.iter().take_while(|byte| **byte == b'\r' || **byte == b'\n').count();
        buffer.drain(..begin); // RFC 9112, 2.2: empty lines before a request are ignored
        if let Some(length) = head_length(buffer) {
            let head: Vec<u8> = buffer.drain(..length).collect();
            return Ok(Some(if length > LONGEST_HEAD { Err(head_too_large()) } else { parse(&head) }));
        }
        if buffer.len() > LONGEST_HEAD {
            return Ok(Some(Err(head_too_large())));
        }
        match read_more(stream, buffer).await? {
            0 if buffer.is_empty() => return Ok(None),
            0 => return Ok(Some(Err(Response::error(400, "the request ends in the middle")))),
            _ => {}
        }
    }
}

fn head_too_large() -> Response {
    Response::error(431, "the request is longer than 4096 bytes")
}

/// The length of a complete head with the empty line that ends it.
fn head_length(buffer: &[u8]) -> Option<usize> {
    let crlf = buffer.windows(4).position(|window| window == b"\r\n\r\n").map(|position| position + 4);
    let bare = buffer.windows(2).position(|window| window == b"\n\n").map(|position| position + 2);
    crlf.into_iter().chain(bare).min()
}

// ---- one request -----------------------------------------------------------------------------------------------

#[derive(Debug, PartialEq)]
struct Request {
    path: String,
    head_only: bool,
    json: bool,
    close: bool,
}

/// The status a head is answered with before anything else is looked at: 200 where it is understood.
pub fn status_of(head: &[u8]) -> u16 {
    parse(head).map_or_else(|refusal| refusal.status, |_| 200)
}

/// RFC 9112, as far as a request without a body needs it.
fn parse(head: &[u8]) -> Result<Request, Response> {
    let malformed = || Response::error(400, "malformed request");
    // RFC 9110, 5.5: a field's value may hold any byte from 0x80 on, and none of them means anything here.
    let head = String::from_utf8_lossy(head);
    if head.bytes().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\r' | b'\n' | b'\t')) {
        return Err(malformed());
    }
    let mut lines = head.lines();
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = words[..] else {
        return Err(malformed());
    };
    if method.is_empty() || !method.bytes().all(is_token) || !(target.starts_with('/') || target.starts_with("http://"))
    {
        return Err(malformed());
    }
    let persistent = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => false,
        _ if version.starts_with("HTTP/") => return Err(Response::error(505, "HTTP/1.1 is spoken here")),
        _ => return Err(malformed()),
    };
    let headers = Headers::parse(lines).ok_or_else(malformed)?;
    if method != "GET" && method != "HEAD" {
        return Err(Response { allow: true, ..Response::error(405, "only GET and HEAD are answered") });
    }
    let (path, query) = origin_form(target);
    let json = headers.json || query.split('&').any(|pair| pair == "format=json");
    let close = headers.close || headers.has_body || !persistent;
    Ok(Request { path: path.to_owned(), head_only: method == "HEAD", json, close })
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Path and query; a proxy may send the whole URL (RFC 9112, 3.2.2).
fn origin_form(target: &str) -> (&str, &str) {
    let path = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |slash| &rest[slash..]),
        None => target,
    };
    path.split_once('?').unwrap_or((path, ""))
}

#[derive(Default)]
struct Headers {
    json: bool,
    close: bool,
    has_body: bool,
}

impl Headers {
    fn parse<'head>(lines: impl Iterator<Item = &'head str>) -> Option<Headers> {
        let mut headers = Headers::default();
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            headers.read(&name.to_ascii_lowercase(), &value.trim().to_ascii_lowercase());
        }
        Some(headers)
    }

    fn read(&mut self, name: &str, value: &str) {
        match name {
            "accept" => self.json |= value.contains("application/json"),
            "connection" => self.close |= value.split(',').any(|option| option.trim() == "close"),
            // A body is not read; closing afterwards keeps it from being taken for the next request.
            "content-length" => self.has_body |= value != "0",
            "transfer-encoding" => self.has_body = true,
            _ => {}
        }
    }
}

async fn answer<P: AsyncFn() -> Result<(), String>>(
    request: &Request,
    deadline: Instant,
    health: &Health,
    readiness: &Readiness<P>,
) -> Response {
    let report = match request.path.as_str() {
        "/livez" => health.report(Question::Live),
        "/startupz" => health.report(Question::Startup),
        "/readyz" => readiness.report(health, deadline).await,
        "/metrics" => return Response::metrics(health),
        _ => return Response::error(404, "not found: ask /livez, /readyz, /startupz or /metrics"),
    };
    Response::report(&report, request.json, health)
}

// ---- readiness -------------------------------------------------------------------------------------------------

/// The contract's probe and its last result. The lock is held while it runs: there is one probe at a time, and
/// whoever waited for the lock finds its result.
struct Readiness<P> {
    probe: P,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

const LATE: &str = "the service did not answer its probe within a second";

impl<P: AsyncFn() -> Result<(), String>> Readiness<P> {
    async fn report(&self, health: &Health, deadline: Instant) -> Report {
        let report = health.report(Question::Ready);
        if !report.ok {
            return report;
        }
        let result = timeout_at(deadline, self.probed(deadline)).await.unwrap_or_else(|_| Err(LATE.to_owned()));
        // Asked again: a stop may have begun while the probe ran.
        let mut report = health.report(Question::Ready);
        if let (true, Err(reason)) = (report.ok, result) {
            report.ok = false;
            report.reasons.push(reason);
        }
        report
    }

    async fn probed(&self, deadline: Instant) -> Result<(), String> {
        let mut last = self.last.lock().await;
        if let Some((_, result)) = last.as_ref().filter(|(at, _)| at.elapsed() < PROBE_FRESHNESS) {
            return result.clone();
        }
        let given = deadline.saturating_duration_since(Instant::now());
        let answered = timeout_at(deadline, (self.probe)()).await;
        let result = answered.unwrap_or_else(|_| Err(LATE.to_owned()));
        if result.is_ok() || given >= FAIR_PROBE {
            *last = Some((Instant::now(), result.clone()));
        }
        result
    }
}

// ---- one answer ------------------------------------------------------------------------------------------------

pub(super) struct Response {
    status: u16,
    content_type: &'static str,
    body: String,
    allow: bool,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Response {
    fn error(status: u16, message: &str) -> Response {
        Response { status, content_type: TEXT, body: format!("{message}\n"), allow: false }
    }

    pub(super) fn report(report: &Report, json: bool, health: &Health) -> Response {
        let status = if report.ok { 200 } else { 503 };
        let (content_type, body) =
            if json { (JSON, report.json(&health.secrets)) } else { (TEXT, report.line(&health.secrets)) };
        Response { status, content_type, body, allow: false }
    }

    fn metrics(health: &Health) -> Response {
        Response { status: 200, content_type: OPEN_METRICS, body: health.metrics(), allow: false }
    }

    pub(super) fn bytes(&self, head_only: bool, close: bool) -> Vec<u8> {
        let (status, reason, length) = (self.status, reason_phrase(self.status), self.body.len());
        let mut text = format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {}\r\n", self.content_type);
        let _ = write!(text, "Content-Length: {length}\r\nCache-Control: no-store\r\n");
        if self.allow {
            text.push_str("Allow: GET, HEAD\r\n");
        }
        text.push_str(if close { "Connection: close\r\n\r\n" } else { "\r\n" });
        if !head_only {
            text.push_str(&self.body);
        }
        text.into_bytes()
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Service Unavailable",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> u16 {
        parse(head.as_bytes()).err().map_or(200, |response| response.status)
    }

    #[test]
    fn a_request_is_read_with_its_wishes() {
        let request = parse(b"GET /readyz?x=1&format=json HTTP/1.1\r\nHost: a\r\n\r\n").ok();
        assert_eq!(request, Some(Request { path: "/readyz".into(), head_only: false, json: true, close: false }));
        let request = parse(b"HEAD http://a:1/livez HTTP/1.0\nAccept: text/html, Application/JSON\n\n").ok();
        assert_eq!(request, Some(Request { path: "/livez".into(), head_only: true, json: true, close: true }));
    }

    #[test]
    fn a_value_may_hold_bytes_that_are_no_utf_8_and_a_name_may_not() {
        let all: Vec<u8> = (0x80..=0xff).collect();
        let head = |field: &[&[u8]]| [b"GET /livez HTTP/1.1\r\n", &field.concat()[..], b"\r\n\r\n"].concat();
        assert_eq!(status_of(&head(&[b"X-Team: K\xe4se ", &all])), 200);
        assert_eq!(status_of(&head(&[b"X-Team: \xc2\x80"])), 200);
        assert_eq!(status_of(&head(&[b"K\xe4se: x"])), 400);
        assert_eq!(status_of(&head(&[b"X: \x7f"])), 400);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for malformed in [
            "GET /livez\r\n\r\n",
            "GET  /livez HTTP/1.1\r\n\r\n",
            "GET livez HTTP/1.1\r\n\r\n",
            "G(T /livez HTTP/1.1\r\n\r\n",
            "GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
            "GET /livez HTTP/1.1\r\n folded: x\r\n\r\n",
            "GET /livez\0 HTTP/1.1\r\n\r\n",
            "GET /livez FTP/1.1\r\n\r\n",
            "\u{16}\u{3}\u{1}\u{2}\r\n\r\n",
        ] {
            assert_eq!(status(malformed), 400, "{malformed:?}");
        }
        assert_eq!(status("PRI * HTTP/2.0\r\n\r\n"), 400);
        assert_eq!(status("GET /livez HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status("POST /livez HTTP/1.1\r\n\r\n"), 405);
    }

    #[test]
    fn the_answer_to_too_many_has_the_length_it_says() {
        let text = std::str::from_utf8(TOO_MANY).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
    }
}
