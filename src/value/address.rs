//! Ports, host names and URLs.

use super::parse_int;

/// A TCP port, 1 to 65535.
pub fn parse_port(text: &str) -> Option<u16> {
    parse_int(text).and_then(|number| u16::try_from(number).ok()).filter(|port| *port > 0)
}

/// The URL as given, less surrounding blanks, once its scheme is one of `schemes` and it names a host where it must.
pub(super) fn parse_url(text: &str, schemes: &[String]) -> Result<String, String> {
    // java.sql's URLs carry their scheme behind "jdbc:"; the rest is an ordinary URL.
    let (prefix, rest) = text.split_at(if text.starts_with("jdbc:") { 5 } else { 0 });
    let scheme = rest.split_once(':').map(|(scheme, _)| format!("{prefix}{}", scheme.to_ascii_lowercase()));
    if !scheme.as_ref().is_some_and(|scheme| schemes.contains(scheme)) {
        return Err("is not a URL of an accepted scheme".into());
    }
    let url = url::Url::parse(rest).map_err(|error| format!("is not a URL ({error})"))?;
    let needs_host = !matches!(url.scheme(), "file" | "local");
    // The URL standard reads "http:///x" as the host "x"; no service does.
    let empty_authority = rest.split_once("://").is_none_or(|(_, rest)| rest.is_empty() || rest.starts_with('/'));
    if needs_host && (empty_authority || url.host_str().is_none_or(str::is_empty)) {
        return Err("is a URL without a host".into());
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("is a URL with a blank in it".into());
    }
    hosts_of(rest).into_iter().find_map(|host| host_mistake(url.scheme(), host)).map_or(Ok(text.into()), Err)
}

/// The hosts of a URL as they are written; some URLs name several, separated by commas.
fn hosts_of(url: &str) -> Vec<&str> {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#', ';']).next().unwrap_or(""));
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    hosts.split(',').map(without_port).collect()
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(host, |(host, _)| host)
}

/// Characters that no client accepts in a URL's host. An underscore passes where the host is looked up by a driver of
/// its own: java.net.URI, which reads the others, sees no host in it (RFC 3986 section 3.2.2, RFC 1123 section 2.1).
fn host_mistake(scheme: &str, host: &str) -> Option<String> {
    let is_uri = matches!(scheme, "http" | "https" | "thrift" | "ws" | "wss");
    let stray = |c: char| !(c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '[' | ']' | ':' | '%'));
    match host.chars().find(|c| stray(*c)) {
        Some(c) => Some(format!("is a URL with {c:?} in its host")),
        None if is_uri && host.contains('_') => {
            Some("is a URL with an underscore in its host, which Java and HTTP clients refuse".into())
        }
        None => None,
    }
}

/// The mistake in a text that is the URL of a server, as the keys of a service that no contract declares have it.
pub fn url_mistake(text: &str) -> Option<String> {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme)?;
    let known = ["http", "https", "thrift"].contains(&scheme);
    known.then(|| hosts_of(text).into_iter().find_map(|host| host_mistake(scheme, host)))?
}

pub(super) fn parse_host(text: &str) -> Option<String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<std::net::IpAddr>().is_ok();
    (address || is_host_name(text)).then(|| bare.to_owned())
}

/// RFC 1123, and the underscore that Compose's service names have.
fn is_host_name(text: &str) -> bool {
    let label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        !label.is_empty() && label.len() <= 63 && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    name.len() <= 253 && name.split('.').all(label)
}

pub(super) fn parse_hostport(text: &str, default: Option<u16>) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, parse_port(port)?),
        _ => (text, default?),
    };
    let bare = parse_host(host)?;
    Some(if bare.contains(':') { format!("[{bare}]:{port}") } else { format!("{bare}:{port}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behaviours: 86.
    #[test]
    fn addresses_are_told_from_urls() {
        assert_eq!(parse_host("[::1]"), Some("::1".into()));
        assert_eq!(parse_host("nessie_1"), Some("nessie_1".into()));
        assert_eq!(parse_host("http://x"), None);
        assert_eq!(parse_hostport("[::1]:80", None), Some("[::1]:80".into()));
        assert_eq!(parse_hostport("db", Some(5432)), Some("db:5432".into()));
        assert_eq!(parse_hostport("db:0", Some(5432)), None);
        let schemes = vec!["http".to_owned(), "jdbc:postgresql".to_owned()];
        assert!(parse_url("http://nessie:19120/api/v2", &schemes).is_ok());
        assert!(parse_url("jdbc:postgresql://db:5432/nessie?x=y", &schemes).is_ok());
        assert_eq!(parse_url("tcp://10.0.0.1:1", &schemes), Err("is not a URL of an accepted scheme".into()));
        assert_eq!(parse_url("http:///x", &schemes), Err("is a URL without a host".into()));
    }
}
