//! Ports that nobody can listen on once root is given up: the kernel keeps the low ones for who has
//! CAP_NET_BIND_SERVICE (ip(7), `ip_unprivileged_port_start`).
//!
//! Looks before anything is written, so that the variable is named and not the error of a server that has half started.
//! Opens nothing; where `/proc` does not tell where low ports end, none is refused.

use url::Url;

use crate::environment::dl_settings::Own;
use crate::net::http;
use crate::plan::{Plan, Probe};
use crate::settings::{Setting, Source};

/// A port of this container, and who listens there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Port {
    number: u16,
    listener: String,
    /// The variables it is from.
    variables: Vec<String>,
}

/// The mistakes in the ports of `plan` and, where it is `served`, of the health endpoint: one paragraph each.
pub fn refused(plan: &Plan, own: &Own, served: bool, settings: &[Setting]) -> Vec<String> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap_or_default();
    let first = text.trim().parse().unwrap_or(0);
    let health = served.then(|| of_health(own)).flatten();
    let ports = health.into_iter().chain(of_service(plan, settings));
    ports.filter(|port| port.number < first).map(|port| in_words(&port, first)).collect()
}

fn of_health(own: &Own) -> Option<Port> {
    let addresses = crate::health::addresses(&own.health_addr).ok()?;
    let variables = vec!["DL_HEALTH_ADDR".to_owned()];
    Some(Port { number: addresses.first()?.port(), listener: "the health endpoint".to_owned(), variables })
}

/// Those it is asked at whether it is ready, each once.
fn of_service(plan: &Plan, settings: &[Setting]) -> Vec<Port> {
    let mut numbers: Vec<u16> = plan.ready.iter().filter_map(own_port).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let named = |number: u16| {
        let set = settings.iter().filter(|setting| !matches!(setting.source, Source::Default | Source::Unset));
        let has_it = |setting: &&Setting| {
            !setting.secret && setting.shown.rsplit(':').next().is_some_and(|port| port.parse() == Ok(number))
        };
        set.filter(has_it).map(|setting| setting.name.clone()).collect()
    };
    let port = |number| Port { number, listener: plan.service.clone(), variables: named(number) };
    numbers.into_iter().map(port).collect()
}

fn own_port(probe: &Probe) -> Option<u16> {
    let url = match probe {
        Probe::Http(probe) => Url::parse(&probe.url).ok()?,
        Probe::Tcp { host, port } if host.contains(':') => Url::parse(&format!("http://[{host}]:{port}")).ok()?,
        Probe::Tcp { host, port } => Url::parse(&format!("http://{host}:{port}")).ok()?,
        Probe::Postgres(target) => Url::parse(&format!("postgres://127.0.0.1:{}", target.servers.first()?.1)).ok()?,
    };
    http::is_own_address(&url).then(|| url.port_or_known_default())?
}

fn in_words(port: &Port, first: u16) -> String {
    let Port { number, listener, variables } = port;
    let named = if variables.is_empty() { String::new() } else { format!("{}: ", variables.join(", ")) };
    format!(
        "{named}port {number} cannot be listened on by {listener}, which has none of root's rights\n  accepted: a port \
         from {first} on; or start the container with --sysctl net.ipv4.ip_unprivileged_port_start={number}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_of_a_port_of_this_container_only_at_an_address_of_it() {
        let tcp = |host: &str| own_port(&Probe::Tcp { host: host.to_owned(), port: 80 });
        assert_eq!(["127.0.0.1", "localhost", "::1"].map(tcp), [Some(80); 3]);
        assert_eq!(["192.0.2.1", "elsewhere"].map(tcp), [None; 2]);
    }

    #[test]
    fn the_words_name_variable_port_and_way_out() {
        let port =
            Port { number: 80, listener: "trino".to_owned(), variables: vec!["TRINO_HTTP_SERVER_PORT".to_owned()] };
        let expected = "TRINO_HTTP_SERVER_PORT: port 80 cannot be listened on by trino, which has none of root's \
                        rights\n  accepted: a port from 1024 on; or start the container with --sysctl \
                        net.ipv4.ip_unprivileged_port_start=80";
        assert_eq!(in_words(&port, 1024), expected);
    }
}
