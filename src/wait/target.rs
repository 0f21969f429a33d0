//! `dl-entry wait URL…`: from a URL to a dependency.
//!
//! The name it gets never holds user information or a query, because it is printed. Reads nothing but a password file,
//! and waits for a pipe's writer no longer than for a secret's.

use std::fmt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use url::Url;

use super::postgres::SSL_MODES;
use crate::environment::SecretFiles;
use crate::exit;
use crate::plan::{HttpProbe, PostgresTarget, S3Target, ServerKind, Target, Wait};

/// Every form that can be waited for, one a line.
pub const ACCEPTED: &str = "\
accepted are:
  tcp://HOST:PORT                               a connection is accepted
  http://HOST[:PORT]/PATH, https://…            the answer is 200 to 299
  postgres://USER[:PASSWORD]@HOST[:PORT]/DB     a login succeeds [?sslmode=, sslrootcert=, password-file=];
                                                of HOST[:PORT],HOST[:PORT]… at one of them
  s3+http://KEY:SECRET@HOST[:PORT][/BUCKET]     the bucket is there [?region=, path-style=, password-file=]
  s3+https://…                                  the same, encrypted [?root-certificate=]
  etcd://HOST:PORT[,HOST:PORT…], etcd+https://… one member is healthy
  dns://NAME                                    the name has an address
  file:///PATH, unix:///PATH                    the path exists; the socket accepts a connection";

const POSTGRES_PARAMETERS: &[&str] = &["sslmode", "sslrootcert", "password-file"];
const S3_PARAMETERS: &[&str] = &["region", "path-style", "root-certificate", "password-file"];

/// A URL that is nothing to wait for. Never shows more of it than its scheme: the rest may hold a secret.
#[derive(Debug, PartialEq, Eq)]
pub enum BadTarget {
    /// There is no `://`.
    NoScheme,
    /// A scheme that is not in the list.
    UnknownScheme(String),
    /// The URL cannot be read.
    NotAUrl { scheme: String, reason: String },
    /// A part that must be there is not.
    Missing { scheme: String, what: &'static str },
    /// A part that means nothing here.
    Unexpected { scheme: String, what: &'static str },
    /// A query parameter with another name than the accepted ones.
    UnknownParameter { scheme: String, name: String, accepted: &'static [&'static str] },
    /// A query parameter with a value that is none.
    BadParameter { name: &'static str, accepted: String },
    /// A password in the URL and another one in a file.
    TwoPasswords { scheme: String },
    /// The password file cannot be read; the reason is said of it.
    PasswordFile { path: PathBuf, reason: String },
}

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoScheme => write!(f, "nothing to wait for: not a URL\n{ACCEPTED}"),
            Self::UnknownScheme(scheme) => write!(f, "cannot wait for `{scheme}://` URLs\n{ACCEPTED}"),
            Self::NotAUrl { scheme, reason } => write!(
                f,
                "the {scheme}:// URL cannot be read: {reason}\n\
                 write special characters of a password as %XX, or use ?password-file=/PATH"
            ),
            Self::Missing { scheme, what } => write!(f, "the {scheme}:// URL needs {what}\n{ACCEPTED}"),
            Self::Unexpected { scheme, what } => write!(f, "the {scheme}:// URL must not have {what}\n{ACCEPTED}"),
            Self::UnknownParameter { scheme, name, accepted } => {
                write!(f, "the {scheme}:// URL has no parameter `{name}`\naccepted are: {}", accepted.join(", "))
            }
            Self::BadParameter { name, accepted } => write!(f, "the parameter `{name}` must be {accepted}"),
            Self::TwoPasswords { scheme } => {
                write!(f, "the {scheme}:// URL has a password and a password-file\ngive one of them")
            }
            Self::PasswordFile { path, reason } => {
                write!(f, "the password file {} {reason}", path.display())
            }
        }
    }
}

impl std::error::Error for BadTarget {}

impl BadTarget {
    /// The exit status.
    pub fn status(&self) -> u8 {
        if let Self::PasswordFile { .. } = self { exit::SECRET_FILE } else { exit::USAGE }
    }
}

/// The dependency that a URL names; it has no deadline of its own.
pub fn parse_target(url: &str) -> Result<Wait, BadTarget> {
    let (scheme, rest) = url.split_once("://").ok_or(BadTarget::NoScheme)?;
    // RFC 3986 section 3.1: capitals mean the same.
    let scheme = scheme.to_ascii_lowercase();
    let (url, scheme) = (&format!("{scheme}://{rest}"), scheme.as_str());
    let (name, target) = match scheme {
        "tcp" => tcp(url)?,
        "http" | "https" => http(url, scheme)?,
        "postgres" | "postgresql" => postgres(url, scheme)?,
        "s3+http" | "s3+https" => s3(url, scheme)?,
        "etcd" => etcd(scheme, "http", rest)?,
        "etcd+https" => etcd(scheme, "https", rest)?,
        "dns" => dns(url)?,
        "file" => path_of(scheme, rest).map(|path| (url.to_owned(), Target::File { path }))?,
        "unix" => path_of(scheme, rest).map(|path| (url.to_owned(), Target::Unix { path }))?,
        other => return Err(BadTarget::UnknownScheme(other.to_owned())),
    };
    Ok(Wait { name, target, timeout: None })
}

fn tcp(url: &str) -> Result<(String, Target), BadTarget> {
    let url = read(url, "tcp")?;
    let (host, port) = (host_of(&url, "tcp")?, port_of(&url, "tcp")?);
    only_host(&url, "tcp")?;
    Ok((format!("tcp://{}", host_and_port(&host, port)), Target::Tcp { host, port }))
}

fn http(url: &str, scheme: &str) -> Result<(String, Target), BadTarget> {
    read(url, scheme)?;
    let probe = HttpProbe {
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
        body: None,
        statuses: Vec::new(),
        json: Vec::new(),
        insecure_tls: false,
        root_certificate: None,
    };
    Ok((crate::text::without_credentials(url), Target::Http(probe)))
}

fn postgres(url: &str, scheme: &str) -> Result<(String, Target), BadTarget> {
    let (url, servers) = servers(url, scheme)?;
    let user = user_of(&url, scheme, "a user: USER@HOST")?;
    let database = Some(decoded(url.path().trim_start_matches('/'))).filter(|database| !database.is_empty());
    let database = database.unwrap_or_else(|| user.clone());
    let parameters = Parameters::of(&url, scheme, POSTGRES_PARAMETERS)?;
    let sslmode = parameters.get("sslmode").unwrap_or_else(|| "prefer".to_owned());
    if !SSL_MODES.contains(&sslmode.as_str()) {
        let accepted = format!("one of {}", SSL_MODES.join(", "));
        return Err(BadTarget::BadParameter { name: "sslmode", accepted });
    }
    let password = parameters.password(&url, scheme)?;
    let root_certificate = parameters.get("sslrootcert").map(PathBuf::from);
    let named: Vec<_> = servers.iter().map(|(host, port)| host_and_port(host, *port)).collect();
    let name = format!("postgres://{}/{database}", named.join(","));
    let target = PostgresTarget {
        servers,
        user,
        password,
        database,
        sslmode,
        root_certificate,
        refused: Vec::new(),
        search_path: None,
        options: None,
        identity: None,
        kind: ServerKind::Any,
        past_refusals: false,
    };
    Ok((name, Target::Postgres(target)))
}

/// libpq's several hosts, each with a port or without: the URL with the first alone, and all of them.
fn servers(url: &str, scheme: &str) -> Result<(Url, Vec<(String, u16)>), BadTarget> {
    let (_, rest) = url.split_once("://").ok_or(BadTarget::NoScheme)?;
    let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (before, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let mut urls = Vec::new();
    for host in hosts.split(',') {
        urls.push(read(&format!("{scheme}://{before}{host}{rest}"), scheme)?);
    }
    let servers = urls.iter().map(|url| Ok((host_of(url, scheme)?, url.port().unwrap_or(5432))));
    let servers = servers.collect::<Result<_, _>>()?;
    Ok((urls.swap_remove(0), servers))
}

fn s3(url: &str, scheme: &str) -> Result<(String, Target), BadTarget> {
    let transport = scheme.trim_start_matches("s3+");
    let url = read(url.trim_start_matches("s3+"), scheme)?;
    let host = host_of(&url, scheme)?;
    let authority = url.port().map_or_else(|| bracketed(&host), |port| host_and_port(&host, port));
    let access_key = user_of(&url, scheme, "an access key: KEY:SECRET@HOST")?;
    let parameters = Parameters::of(&url, scheme, S3_PARAMETERS)?;
    let secret_key = parameters.password(&url, scheme)?;
    let secret_key = secret_key.ok_or_else(|| missing(scheme, "a secret key: KEY:SECRET@HOST or ?password-file="))?;
    let bucket = Some(url.path().trim_matches('/').to_owned()).filter(|bucket| !bucket.is_empty());
    if bucket.as_ref().is_some_and(|bucket| bucket.contains('/')) {
        return Err(unexpected(scheme, "more than a bucket in its path"));
    }
    let path_style = match parameters.get("path-style").as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(_) => return Err(BadTarget::BadParameter { name: "path-style", accepted: "true or false".to_owned() }),
    };
    if !path_style && !matches!(url.host(), Some(url::Host::Domain(_))) {
        let accepted = "true where the host is an IP address, which no bucket can come before".to_owned();
        return Err(BadTarget::BadParameter { name: "path-style", accepted });
    }
    let name = format!("{scheme}://{authority}/{}", bucket.as_deref().unwrap_or_default());
    let target = S3Target {
        endpoint: format!("{transport}://{authority}"),
        region: parameters.get("region").unwrap_or_else(|| "us-east-1".to_owned()),
        access_key,
        secret_key,
        bucket,
        path_style,
        insecure_tls: false,
        root_certificate: parameters.get("root-certificate").map(PathBuf::from),
    };
    Ok((name, Target::S3(target)))
}

fn etcd(scheme: &str, transport: &str, members: &str) -> Result<(String, Target), BadTarget> {
    let mut endpoints = Vec::new();
    for member in members.split(',') {
        let url = read(&format!("{scheme}://{member}"), scheme)?;
        let (host, port) = (host_of(&url, scheme)?, port_of(&url, scheme)?);
        only_host(&url, scheme)?;
        endpoints.push(format!("{transport}://{}", host_and_port(&host, port)));
    }
    Ok((format!("{scheme}://{members}"), Target::Etcd { endpoints }))
}

fn dns(url: &str) -> Result<(String, Target), BadTarget> {
    let url = read(url, "dns")?;
    let host = host_of(&url, "dns")?;
    only_host(&url, "dns")?;
    if url.port().is_some() {
        return Err(unexpected("dns", "a port"));
    }
    Ok((format!("dns://{host}"), Target::Dns { host }))
}

fn path_of(scheme: &str, rest: &str) -> Result<PathBuf, BadTarget> {
    if rest.starts_with('/') && rest.len() > 1 {
        return Ok(PathBuf::from(decoded(rest)));
    }
    Err(missing(scheme, "an absolute path, so three slashes"))
}

fn read(url: &str, scheme: &str) -> Result<Url, BadTarget> {
    let url =
        Url::parse(url).map_err(|error| BadTarget::NotAUrl { scheme: scheme.to_owned(), reason: error.to_string() })?;
    if url.fragment().is_some() {
        return Err(BadTarget::NotAUrl { scheme: scheme.to_owned(), reason: "it has a `#`".to_owned() });
    }
    Ok(url)
}

fn host_of(url: &Url, scheme: &str) -> Result<String, BadTarget> {
    let host = url.host().map(|host| match host {
        url::Host::Ipv6(address) => address.to_string(),
        other => decoded(&other.to_string()),
    });
    host.filter(|host| !host.is_empty()).ok_or_else(|| missing(scheme, "a host"))
}

fn port_of(url: &Url, scheme: &str) -> Result<u16, BadTarget> {
    url.port().filter(|port| *port != 0).ok_or_else(|| missing(scheme, "a port from 1 to 65535"))
}

fn user_of(url: &Url, scheme: &str, what: &'static str) -> Result<String, BadTarget> {
    Some(decoded(url.username())).filter(|user| !user.is_empty()).ok_or_else(|| missing(scheme, what))
}

fn only_host(url: &Url, scheme: &str) -> Result<(), BadTarget> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err(unexpected(scheme, "a user or password"));
    }
    let has_more = !matches!(url.path(), "" | "/") || url.query().is_some();
    if has_more { Err(unexpected(scheme, "a path or query")) } else { Ok(()) }
}

fn host_and_port(host: &str, port: u16) -> String {
    format!("{}:{port}", bracketed(host))
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn missing(scheme: &str, what: &'static str) -> BadTarget {
    BadTarget::Missing { scheme: scheme.to_owned(), what }
}

fn unexpected(scheme: &str, what: &'static str) -> BadTarget {
    BadTarget::Unexpected { scheme: scheme.to_owned(), what }
}

/// The query of a URL, once every name in it is known to mean something.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(url: &Url, scheme: &str, accepted: &'static [&'static str]) -> Result<Self, BadTarget> {
        // Not as a form's: a `+` is part of a file's name.
        let pairs = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let parts = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let pairs: Vec<_> = parts.map(|(name, value)| (decoded(name), decoded(value))).collect();
        match pairs.iter().find(|(name, _)| !accepted.contains(&name.as_str())) {
            Some((name, _)) => {
                Err(BadTarget::UnknownParameter { scheme: scheme.to_owned(), name: name.clone(), accepted })
            }
            None => Ok(Parameters(pairs)),
        }
    }

    fn get(&self, wanted: &str) -> Option<String> {
        self.0.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone())
    }

    /// The one in the URL, or the whole file less one newline at its end, read as a variable's `_FILE` is.
    fn password(&self, url: &Url, scheme: &str) -> Result<Option<String>, BadTarget> {
        match (url.password(), self.get("password-file")) {
            (Some(_), Some(_)) => Err(BadTarget::TwoPasswords { scheme: scheme.to_owned() }),
            (password, None) => Ok(password.map(decoded)),
            (None, Some(path)) => {
                let path = PathBuf::from(path);
                match (SecretFiles { directory: None, must_exist: true }).read(&path) {
                    Ok(secret) => Ok(Some(secret.text)),
                    Err(reason) => Err(BadTarget::PasswordFile { path, reason }),
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "target/tests.rs"]
mod tests;
