//! One HTTP question and whether the answer is the expected one. The only place that talks to reqwest.
//!
//! Owns what is common to probes, waits and S3: no proxy from the environment (a check must reach the very address it
//! names), no redirects (a login page answers 200), HTTP/1.1, bounded answers, certificates as in `tls`. Retries
//! nothing and logs nothing: `wait`, `tasks` and `health` decide when to ask again. URLs are shown without user
//! information and query, because both may hold secrets.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Method, Response};
use serde_json::Value;
use url::{Host, Url};

use crate::log;
use crate::net::connect;
use crate::net::tls::{self, TlsError, Verification};
use crate::plan::{HttpProbe, JsonExpectation};

/// More of an answer than this is not read, bytes.
const LARGEST_ANSWER: usize = 1 << 20;

/// More of an unexpected JSON value than this is not shown, characters.
const SHOWN_JSON: usize = 60;

/// Of the time for a question, what its connection may take. It is divided by the addresses of a family, which are
/// tried one after the other: an address that swallows everything must not keep the others from being tried.
const SHARE_TO_CONNECT: f32 = 0.8;

/// A question that did not get the expected answer: where it was asked, and what came instead.
#[derive(Debug)]
pub struct Unmet {
    /// Without user information and query.
    pub url: String,
    pub reason: Reason,
}

/// Why an answer is not the expected one.
#[derive(Debug)]
pub enum Reason {
    /// The question cannot be asked: a URL, method or header that is none. Trying again changes nothing.
    Unusable(String),
    /// Another process than the service has the port.
    Stranger { port: u16 },
    /// No certificate can be checked.
    Tls(TlsError),
    /// No connection, or one that broke.
    Unreachable(String),
    /// Nothing, or not all of it, in this time.
    NoAnswer { within: Duration },
    /// Another status than the accepted ones; `accepted` in words.
    Status { status: u16, accepted: String },
    /// More than 1 MiB.
    TooLarge,
    /// The status is right but the body is not JSON.
    NotJson(String),
    /// There is nothing at this JSON pointer.
    Missing { pointer: String },
    /// There is something else at this JSON pointer.
    Json { pointer: String, found: String, expected: String },
}

impl Reason {
    /// Whether the very same question may be answered later.
    pub fn may_pass(&self) -> bool {
        !matches!(self, Self::Unusable(_))
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, reason } = self;
        match reason {
            Reason::Unusable(_)
            | Reason::Stranger { .. }
            | Reason::Tls(_)
            | Reason::Unreachable(_)
            | Reason::NoAnswer { .. } => write!(f, "{url}: {reason}"),
            _ => write!(f, "{url} {reason}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unusable(why) | Self::Unreachable(why) => f.write_str(why),
            Self::Stranger { port } => {
                write!(f, "port {port} is answered by another process, not by the service")
            }
            Self::Tls(error) => error.fmt(f),
            Self::NoAnswer { within } => write!(f, "no answer within {}", connect::in_words(*within)),
            Self::Status { status, accepted } => {
                let redirect = if (300..400).contains(status) { " (redirects are not followed)" } else { "" };
                write!(f, "answered {status}, expected {accepted}{redirect}")
            }
            Self::TooLarge => write!(f, "answered more than {} KiB", LARGEST_ANSWER / 1024),
            Self::NotJson(why) => write!(f, "answered with something that is not JSON: {why}"),
            Self::Missing { pointer } => write!(f, "{pointer} is not in the answer"),
            Self::Json { pointer, found, expected } => write!(f, "{pointer} is {found}, expected {expected}"),
        }
    }
}

impl std::error::Error for Unmet {}
impl std::error::Error for Reason {}

/// Asks once, and is satisfied only by an accepted status and every JSON expectation, all within `timeout`.
pub async fn ask(probe: &HttpProbe, timeout: Duration) -> Result<(), Unmet> {
    let answered = tokio::time::timeout(timeout, expect_answer(probe, timeout)).await;
    let outcome = answered.unwrap_or(Err(Reason::NoAnswer { within: timeout }));
    outcome.map_err(|reason| Unmet { url: crate::text::without_credentials(&probe.url), reason })
}

/// Reads now what questions to this URL will need, for when nothing can be read any more. Whether they will need
/// another thread all the same: to look up a name, or to read anew what was believed.
pub async fn prepare(url: &str, insecure_tls: bool, root_certificate: Option<&Path>) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let verified = url.scheme() == "https" && !(insecure_tls && is_own_address(&url));
    if verified {
        // Asked again each time, and told then.
        let _ = tls::client_config(Verification::Full, root_certificate.map(Path::to_owned)).await;
    }
    verified || matches!(url.host(), Some(Host::Domain(_)))
}

async fn expect_answer(probe: &HttpProbe, timeout: Duration) -> Result<(), Reason> {
    let answer = open(&Request::from(probe), timeout).await?;
    expect_status(&probe.statuses, answer.status().as_u16())?;
    if probe.json.is_empty() {
        return Ok(());
    }
    let body = read(answer).await?;
    let document: Value = serde_json::from_slice(&body).map_err(|error| Reason::NotJson(error.to_string()))?;
    probe.json.iter().try_for_each(|(pointer, expectation)| expect_json(&document, pointer, expectation))
}

fn expect_status(accepted: &[u16], status: u16) -> Result<(), Reason> {
    let fits = if accepted.is_empty() { (200..300).contains(&status) } else { accepted.contains(&status) };
    if fits {
        return Ok(());
    }
    let accepted = match accepted {
        [] => "200 to 299".to_owned(),
        codes => codes.iter().map(u16::to_string).collect::<Vec<_>>().join(" or "),
    };
    Err(Reason::Status { status, accepted })
}

fn expect_json(document: &Value, pointer: &str, expectation: &JsonExpectation) -> Result<(), Reason> {
    let missing = || Reason::Missing { pointer: pointer.to_owned() };
    let found = document.pointer(pointer).ok_or_else(missing)?;
    let (fits, expected) = match expectation {
        JsonExpectation::Equals(wanted) => (found == wanted, wanted.to_string()),
        JsonExpectation::AtLeast(least) => (amount(found) >= Some(*least as f64), format!("at least {least}")),
    };
    if fits { Ok(()) } else { Err(Reason::Json { pointer: pointer.to_owned(), found: in_words(found), expected }) }
}

/// The size of an array or the value of a number.
fn amount(value: &Value) -> Option<f64> {
    value.as_array().map(|items| items.len() as f64).or_else(|| value.as_f64())
}

fn in_words(value: &Value) -> String {
    if let Value::Array(items) = value {
        return format!("an array of {}", items.len());
    }
    log::quoted(&value.to_string(), SHOWN_JSON)
}

/// A request as `s3` and the probes both need it.
pub(crate) struct Request<'a> {
    pub method: &'a str,
    pub url: &'a str,
    pub headers: &'a [(String, String)],
    pub body: Vec<u8>,
    pub insecure_tls: bool,
    pub root_certificate: Option<PathBuf>,
}

impl<'a> From<&'a HttpProbe> for Request<'a> {
    fn from(probe: &'a HttpProbe) -> Self {
        Request {
            method: &probe.method,
            url: &probe.url,
            headers: &probe.headers,
            body: probe.body.clone().unwrap_or_default().into_bytes(),
            insecure_tls: probe.insecure_tls,
            root_certificate: probe.root_certificate.clone(),
        }
    }
}

/// An answer read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

/// Sends one request and reads its whole answer, all within `timeout`.
pub(crate) async fn send(request: Request<'_>, timeout: Duration) -> Result<Answer, Reason> {
    let exchange = async {
        let answer = open(&request, timeout).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { status, headers, body: read(answer).await? })
    };
    tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(Reason::NoAnswer { within: timeout }))
}

async fn open(request: &Request<'_>, timeout: Duration) -> Result<Response, Reason> {
    let url = Url::parse(request.url).map_err(|error| Reason::Unusable(format!("not a URL: {error}")))?;
    let method = Method::from_bytes(request.method.as_bytes())
        .map_err(|_| Reason::Unusable(format!("`{}` is not an HTTP method", request.method)))?;
    let client = client_for(&url, request, timeout).await?;
    let client = client.build().map_err(|error| Reason::Unusable(without_layers(error)))?;
    let mut question = client.request(method, url).body(request.body.clone());
    for (name, value) in request.headers {
        question = question.header(name, value.as_bytes());
    }
    let question = question.build().map_err(|error| Reason::Unusable(without_layers(error)))?;
    client.execute(question).await.map_err(|error| Reason::Unreachable(without_layers(error)))
}

async fn client_for(url: &Url, request: &Request<'_>, timeout: Duration) -> Result<ClientBuilder, Reason> {
    let config = match url.scheme() {
        "http" => tls::unused_config(),
        "https" => tls::client_config(verification(url, request)?, request.root_certificate.clone()).await,
        other => return Err(Reason::Unusable(format!("`{other}` is not http or https"))),
    };
    Ok(Client::builder()
        .tls_backend_preconfigured(config.map_err(Reason::Tls)?)
        .connect_timeout(timeout.mul_f32(SHARE_TO_CONNECT))
        .dns_resolver(Names)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("dl-entry/", env!("CARGO_PKG_VERSION"))))
}

/// Names as everywhere else in the program, a silent name server included.
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = connect::addresses(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn verification(url: &Url, request: &Request<'_>) -> Result<Verification, Reason> {
    match (request.insecure_tls, is_own_address(url)) {
        (false, _) => Ok(Verification::Full),
        (true, true) => Ok(Verification::Nothing),
        (true, false) => Err(Reason::Unusable(
            "an unverified certificate is accepted only from this container's own address".to_owned(),
        )),
    }
}

/// Whether it is this container that is asked, as far as the URL says.
pub(crate) fn is_own_address(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => connect::is_own(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => connect::is_own(IpAddr::V6(address)),
        None => false,
    }
}

async fn read(mut answer: Response) -> Result<Vec<u8>, Reason> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| Reason::Unreachable(without_layers(error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            return Err(Reason::TooLarge);
        }
    }
    Ok(body)
}

/// reqwest's outer layers repeat the URL, user information and all; the innermost cause is what matters.
fn without_layers(error: reqwest::Error) -> String {
    // That of an address and that of all of them have the same words.
    if error.is_connect() && error.is_timeout() {
        return connect::reason(&io::Error::from(io::ErrorKind::TimedOut));
    }
    connect::reason(&error.without_url())
}

#[cfg(test)]
#[path = "http/tests.rs"]
mod tests;
