//! Reaching a host: every address of a name is tried, and what went wrong is said in words an operator can act on.
//!
//! Owns name lookup, TCP connections and the wording of network errors. Knows no protocol and no dependency by name.
//! Used by `http`, `wait` and `health`; nothing here blocks the thread (`threads` has the lookups).

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::net::TcpStream;

use crate::log;
use crate::threads;

/// How long one address is tried alone before the next one joins (RFC 8305 section 5, "Connection Attempt Delay").
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// A look-up takes no longer, so that a silent name server is told of before the attempt is over. musl asks a second
/// time after half of resolv.conf(5)'s 5 s.
const LOOKUP: Duration = Duration::from_millis(3500);

/// The most that is repeated of what the other side says, characters.
const LONGEST_WORDS: usize = 200;

/// The beginning of std's text for an error of getaddrinfo(3); the rest differs between C libraries.
const LOOKUP_FAILED: &str = "failed to lookup address information: ";

/// The addresses of a name, in the order the system prefers them; looked up anew each time.
pub async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![(address, port).into()]);
    }
    let name = host.to_owned();
    let look_up = threads::call(move || (name.as_str(), port).to_socket_addrs());
    let looked_up = tokio::time::timeout(LOOKUP, look_up).await;
    let looked_up = looked_up.map_err(|_| {
        format!("the name cannot be resolved (the name server does not answer within {})", in_words(LOOKUP))
    })?;
    let looked_up = looked_up.map_err(|error| format!("the name cannot be resolved ({})", no_thread(&error)))?;
    let found: Vec<_> = looked_up.map_err(|error| reason(&error))?.collect();
    if found.is_empty() { Err("the name has no address".to_owned()) } else { Ok(found) }
}

/// Loopback, or the address of an interface: one that a socket can be bound to.
pub fn is_own(address: IpAddr) -> bool {
    address.is_loopback() || std::net::UdpSocket::bind((address, 0)).is_ok()
}

/// Why a call that blocks was not begun.
pub fn no_thread(error: &io::Error) -> String {
    format!("no thread can be started: {}; the limit of processes or of memory is reached", crate::text::reason(error))
}

/// A connection to the first address of `host` that accepts one. The error is that of the last address that failed.
pub async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let mut failure = io::Error::from(io::ErrorKind::TimedOut);
    let mut running = FuturesUnordered::new();
    for address in addresses(host, port).await? {
        running.push(connect_to(address));
        match tokio::time::timeout(NEXT_ADDRESS_AFTER, running.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => failure = error,
            Ok(None) | Err(_) => {}
        }
    }
    while let Some(outcome) = running.next().await {
        match outcome {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(reason(&failure))
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    not_to_itself(TcpStream::connect(address).await?)
}

/// Where nobody listens on a port of this machine that the kernel also gives to connections, one of them may be given
/// that very port and meet itself (RFC 9293 section 3.5, simultaneous open): nobody answered.
fn not_to_itself(stream: TcpStream) -> io::Result<TcpStream> {
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    Ok(stream)
}

/// Why something failed, from the innermost error that says it best: `connection refused`, not the four layers above.
pub fn reason(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    loop {
        if let Some(text) = error_in_words(innermost) {
            return text;
        }
        match cause_of(innermost) {
            Some(cause) => innermost = cause,
            None => return quoted(&innermost.to_string()),
        }
    }
}

/// Words of the other side: on one line, with nothing a terminal obeys, and cut. Anything may be behind a port.
pub fn quoted(words: &str) -> String {
    log::quoted(words, LONGEST_WORDS)
}

/// The next error inwards. An `io::Error` made from another error hides it from `source`, so it is opened first.
fn cause_of<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    carried.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
}

fn error_in_words(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(crate::net::tls::reason(error));
    }
    let error = error.downcast_ref::<io::Error>()?;
    if let Some(detail) = error.to_string().strip_prefix(LOOKUP_FAILED) {
        // EAI_AGAIN, as musl and glibc have it, leaves open who is to try again.
        let is_server = matches!(detail, "Try again" | "Temporary failure in name resolution");
        let detail = if is_server { "the name server fails or does not answer" } else { detail };
        return Some(format!("the name cannot be resolved ({detail})"));
    }
    let text = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "connection reset by the other side",
        io::ErrorKind::HostUnreachable => "no route to the host",
        io::ErrorKind::NetworkUnreachable => "the network is unreachable",
        io::ErrorKind::UnexpectedEof => "connection closed before an answer",
        io::ErrorKind::TimedOut => "the connection timed out",
        io::ErrorKind::PermissionDenied => "permission denied",
        io::ErrorKind::NotFound => "not found",
        _ => return None,
    };
    Some(text.to_owned())
}

/// A duration as an operator writes it: `250 ms`, `5 s`, `1.5 s`.
pub fn in_words(duration: Duration) -> String {
    match duration.as_millis() {
        millis if millis < 1000 => format!("{millis} ms"),
        millis if millis % 1000 == 0 => format!("{} s", millis / 1000),
        millis => format!("{}.{} s", millis / 1000, millis % 1000 / 100),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Behaviours: 95.
    #[tokio::test]
    async fn a_name_with_a_dead_address_family_is_still_reached() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        connect("localhost", port).await.unwrap();
    }

    #[tokio::test]
    async fn a_port_nobody_listens_on_is_refused_in_words() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        assert_eq!(connect("127.0.0.1", port).await.unwrap_err(), "connection refused");
    }

    #[tokio::test]
    async fn a_connection_that_meets_itself_is_refused() {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let own = socket.local_addr().unwrap();
        let met = socket.connect(own).await.unwrap();
        assert_eq!(not_to_itself(met).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_said_to_be_unresolvable() {
        let error = connect("no-such-host.invalid", 1).await.unwrap_err();
        assert!(error.starts_with("the name cannot be resolved ("), "{error}");
    }

    #[test]
    fn the_innermost_cause_is_what_is_told() {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let wrapped = io::Error::other(io::Error::other(refused));
        assert_eq!(reason(&wrapped), "connection refused");
        assert_eq!(reason(&io::Error::other("said as it is")), "said as it is");
    }

    #[test]
    fn what_the_other_side_says_is_cut_and_has_nothing_a_terminal_obeys() {
        assert_eq!(quoted("no\n\u{1b}[2J\u{202e}way"), r"no \u{1b}[2J\u{202e}way");
        assert_eq!(quoted(&"ü".repeat(200)), "ü".repeat(200));
        assert_eq!(quoted(&"ü".repeat(201)), "ü".repeat(200) + "…");
        assert_eq!(reason(&io::Error::other("a\u{7}b")), r"a\u{7}b");
    }

    #[test]
    fn a_name_server_that_fails_is_told_from_a_name_it_does_not_know() {
        let told = |detail: &str| reason(&io::Error::other(format!("{LOOKUP_FAILED}{detail}")));
        let failing = "the name cannot be resolved (the name server fails or does not answer)";
        assert_eq!(told("Try again"), failing);
        assert_eq!(told("Temporary failure in name resolution"), failing);
        assert_eq!(told("Name does not resolve"), "the name cannot be resolved (Name does not resolve)");
    }

    #[test]
    fn durations_read_as_they_are_written() {
        let told = [250, 5000, 1500, 61_000].map(|millis| in_words(Duration::from_millis(millis)));
        assert_eq!(told, ["250 ms", "5 s", "1.5 s", "61 s"]);
    }
}
