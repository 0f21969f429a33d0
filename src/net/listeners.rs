//! Whether what answers on a port of this container is the service, or a stranger that had the port before it.
//!
//! Reads proc_net_tcp(5) and the descriptors of our descendants (proc_pid_fd(5)), and never acts. A port is a
//! stranger's only where it is certain: one that nobody listens on, that of another host, and everything that `/proc`
//! does not show are as good as the service's.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use url::Url;

use crate::net::connect;
use crate::net::http::{self, Reason, Unmet};
use crate::pid1::proc;
use crate::plan::HttpProbe;

/// `st` of a socket that listens (include/net/tcp_states.h). In the table they come before all others.
const LISTENS: &str = "0A";

/// The listening sockets of this network namespace.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Inodes of those found to be the service's, so that its descriptors are looked through once.
    ours: RefCell<BTreeSet<u64>>,
    told: Cell<bool>,
}

impl Listeners {
    /// `http::ask`, where the service is there to answer.
    pub async fn ask(&self, probe: &HttpProbe, timeout: Duration) -> Result<(), Unmet> {
        let checked = self.check(&probe.url).await;
        checked.map_err(|reason| Unmet { url: crate::text::without_credentials(&probe.url), reason })?;
        http::ask(probe, timeout).await
    }

    /// Refuses a URL that a stranger would answer.
    ///
    /// # Errors
    /// `Reason::Stranger`.
    pub async fn check(&self, url: &str) -> Result<(), Reason> {
        let Ok(url) = Url::parse(url) else { return Ok(()) };
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return Ok(()) };
        self.check_at(host.trim_matches(['[', ']']), port).await
    }

    /// The same for a host and a port.
    ///
    /// # Errors
    /// `Reason::Stranger`.
    pub async fn check_at(&self, host: &str, port: u16) -> Result<(), Reason> {
        let sockets = listening_on(port);
        let is_strangers = |address: &IpAddr| {
            let answering = answering(&sockets, *address);
            !answering.is_empty() && !self.are_ours(&answering)
        };
        let strangers = !sockets.is_empty() && own_addresses(host).await.iter().any(is_strangers);
        if strangers && !self.told.replace(strangers) {
            tracing::error!("{}: stop that process, or give the service another port", Reason::Stranger { port });
        }
        if strangers { Err(Reason::Stranger { port }) } else { Ok(()) }
    }

    fn are_ours(&self, inodes: &BTreeSet<u64>) -> bool {
        if !self.ours.borrow().is_disjoint(inodes) {
            return true;
        }
        let held = held_by_the_service(inodes);
        if held == Some(true) {
            self.ours.borrow_mut().extend(inodes);
        }
        held != Some(false)
    }
}

/// Those of a host's addresses that a connection reaches this container at.
async fn own_addresses(host: &str) -> Vec<IpAddr> {
    let found = match host {
        "localhost" => return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
        _ => connect::addresses(host, 0).await.unwrap_or_default(),
    };
    let reached = found.into_iter().map(|address| match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip.to_canonical(),
    });
    reached.filter(|address| connect::is_own(*address)).collect()
}

/// Whether a process of the service has one of these sockets open; `None` where not all of it can be seen.
fn held_by_the_service(inodes: &BTreeSet<u64>) -> Option<bool> {
    let all = proc::all();
    let mut family = proc::descendants(nix::unistd::getpid().as_raw(), &all);
    // A process that has ended has no descriptors and cannot be inspected.
    family.retain(|pid| all.get(pid).is_some_and(|process| !process.is_zombie));
    let mut seen = (!family.is_empty()).then_some(false);
    for process in family {
        match sockets_of(process) {
            Ok(sockets) if !sockets.is_disjoint(inodes) => return Some(true),
            Ok(_) => {}
            // It has ended.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => seen = None,
        }
    }
    seen
}

fn sockets_of(process: i32) -> io::Result<BTreeSet<u64>> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.flatten();
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
    Ok(targets.filter_map(|target| socket_inode(target.to_str()?)).collect())
}

/// `socket:[4711]`
fn socket_inode(target: &str) -> Option<u64> {
    target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A socket that listens on the port in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    address: IpAddr,
    inode: u64,
}

fn listening_on(port: u16) -> Vec<Socket> {
    // Our own network, which is the one that is asked in.
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"].into_iter().filter_map(|path| File::open(path).ok());
    tables.flat_map(|table| listening(BufReader::new(table).lines().map_while(Result::ok), port)).collect()
}

fn listening(lines: impl Iterator<Item = String>, port: u16) -> Vec<Socket> {
    let sockets = lines.skip(1).map_while(|line| socket(&line));
    sockets.filter(|(_, other)| *other == port).map(|(socket, _)| socket).collect()
}

/// A line of the table with its port; `None` for a socket that does not listen, with which those that do are over.
fn socket(line: &str) -> Option<(Socket, u16)> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    let (address, port) = local.split_once(':').filter(|_| *state == LISTENS)?;
    let socket = Socket { address: address_of(address)?, inode: inode.parse().ok()? };
    Some((socket, u16::from_str_radix(port, 16).ok()?))
}

/// Words of 32 bits in the byte order of the machine, of which an IPv4 address has one.
fn address_of(digits: &str) -> Option<IpAddr> {
    let words = digits.as_bytes().chunks(8).map(|word| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok());
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.into_iter().flat_map(u32::to_ne_bytes).collect();
    match <[u8; 4]>::try_from(&bytes[..]) {
        Ok(bytes) => Some(bytes.into()),
        Err(_) => <[u8; 16]>::try_from(&bytes[..]).ok().map(|bytes| IpAddr::from(bytes).to_canonical()),
    }
}

/// The sockets a connection to `target` comes to: those of that very address before those of every one.
fn answering(sockets: &[Socket], target: IpAddr) -> BTreeSet<u64> {
    let every: &[IpAddr] = match target {
        // One of both families answers where none is of IPv4 alone.
        IpAddr::V4(_) => &[IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
        IpAddr::V6(_) => &[IpAddr::V6(Ipv6Addr::UNSPECIFIED)],
    };
    let at = |address: IpAddr| {
        let there = sockets.iter().filter(move |socket| socket.address == address);
        there.map(|socket| socket.inode).collect::<BTreeSet<_>>()
    };
    let candidates = std::iter::once(target).chain(every.iter().copied()).map(at);
    candidates.into_iter().find(|inodes| !inodes.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str =
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100 0 0 10 0
   1: 00000000:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 12 1 0 100 0 0 10 0
   2: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 13 1 0 100 0 0 10 0
   3: 0100007F:2328 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 14 1 0 20 4 30 10 -1
   4: 00000000:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 15 1 0 100 0 0 10 0
";

    #[cfg(target_endian = "little")]
    #[test]
    fn sockets_that_listen_are_read_up_to_the_first_that_does_not() {
        let found = listening(TABLE.lines().map(str::to_owned), 9000);
        let expected = [("127.0.0.1", 11), ("0.0.0.0", 12)];
        assert_eq!(found, expected.map(|(address, inode)| Socket { address: address.parse().unwrap(), inode }));
        for (digits, address) in [
            ("00000000000000000000000001000000", "::1"),
            ("0000000000000000FFFF00000100007F", "127.0.0.1"),
            ("B80D0120000000000000000001000000", "2001:db8::1"),
        ] {
            assert_eq!(address_of(digits), Some(address.parse().unwrap()), "{digits}");
        }
        assert_eq!(address_of("xyz"), None);
        assert_eq!(address_of("0100007F01"), None);
    }

    #[test]
    fn the_socket_of_the_very_address_answers_before_those_of_every_address() {
        let socket = |address: &str, inode| Socket { address: address.parse().unwrap(), inode };
        let all = [socket("127.0.0.1", 1), socket("0.0.0.0", 2), socket("::", 3), socket("0.0.0.0", 4)];
        let found = |sockets: &[Socket], target: &str| answering(sockets, target.parse().unwrap());
        assert_eq!(found(&all, "127.0.0.1"), [1].into());
        assert_eq!(found(&all, "127.0.0.2"), [2, 4].into());
        assert_eq!(found(&all, "::1"), [3].into());
        assert_eq!(found(&all[2..3], "127.0.0.1"), [3].into());
        assert_eq!(found(&all[..2], "::1"), [].into());
    }

    #[tokio::test]
    async fn a_port_of_ours_that_no_child_has_is_a_strangers_and_one_of_nobody_or_elsewhere_is_not() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        // With a child there is a service that could have it.
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let listeners = Listeners::default();
        for url in [format!("http://127.0.0.1:{port}/x"), format!("http://localhost:{port}")] {
            let refused = listeners.check(&url).await.unwrap_err().to_string();
            assert_eq!(refused, format!("port {port} is answered by another process, not by the service"));
        }
        for url in [format!("http://127.0.0.2:{port}"), format!("http://192.0.2.1:{port}"), "nonsense".to_owned()] {
            listeners.check(&url).await.unwrap();
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
