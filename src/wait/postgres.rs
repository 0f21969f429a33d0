//! PostgreSQL: a whole login and a polite goodbye. An open port proves nothing: the server accepts connections while
//! it is "starting up".
//!
//! Error codes: PostgreSQL documentation, Appendix A. sslmode: "33.19. SSL Support" of the libpq chapter; what `prefer`
//! does where the encrypted connection is refused: "33.1.2. Parameter Key Words" there, and pgjdbc's does the same.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use postgres_protocol::escape::escape_literal;
use rustls::ClientConfig;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Error, SimpleQueryMessage};

use super::Miss;
use crate::net::connect;
use crate::net::tls::{self, Verification};
use crate::plan::{ClientIdentity, PostgresTarget, RefusedTables, ServerKind};

/// The values of `sslmode` that are understood.
pub(super) const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Answers that no waiting changes: wrong password, no such user or not from here, no such database, a search path that
/// is no list of names.
const FINAL: [SqlState; 4] = [
    SqlState::INVALID_PASSWORD,
    SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    SqlState::INVALID_CATALOG_NAME,
    SqlState::INVALID_PARAMETER_VALUE,
];

/// More than this is not read of what a server says to a login, bytes.
const LONGEST_ANSWER: usize = 1 << 20;

/// Logs in and out at the first server that lets us in. As for libpq, the next one is asked only where this one cannot
/// answer, or where the driver asks it after a refusal, too; and a host that begins with a slash is the folder of the
/// server's Unix socket.
pub(super) async fn login(target: &PostgresTarget, allowed: Duration) -> Result<(), Miss> {
    let identity = match identity(target).await {
        Ok(identity) => identity,
        Err(reason) => return port_alone(target, &reason).await,
    };
    let server = |host, port| Server { host, port, target, identity: identity.as_ref() };
    if let [(host, port)] = target.servers.as_slice() {
        return server(host, *port).login().await;
    }
    // A bit is left, so that what they all said is told.
    let share = allowed.mul_f32(0.9) / target.servers.len().max(1) as u32;
    let mut misses = Vec::new();
    let mut refusals = 0;
    for (host, port) in &target.servers {
        match tokio::time::timeout(share, server(host, *port).login()).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(Miss::Never(error))) if !target.past_refusals => {
                return Err(Miss::Never(format!("{host}:{port}: {error}")));
            }
            Ok(Err(Miss::Never(error))) => {
                refusals += 1;
                misses.push(format!("{host}:{port}: {error}"));
            }
            Ok(Err(unfit @ Miss::Unfit(_))) => return Err(unfit),
            Ok(Err(Miss::NotYet(error))) => misses.push(format!("{host}:{port}: {error}")),
            Err(_) => misses.push(format!("{host}:{port}: no answer")),
        }
    }
    let all = misses.join("; ");
    Err(if refusals == misses.len() { Miss::Never(all) } else { Miss::NotYet(all) })
}

type Identity = Arc<dyn ResolvesClientCert>;

async fn identity(target: &PostgresTarget) -> Result<Option<Identity>, String> {
    match &target.identity {
        None => Ok(None),
        Some(ClientIdentity { certificate: Some(chain), key: Some(key) }) => {
            tls::client_identity(chain.clone(), key.clone()).await.map(Some)
        }
        Some(_) => Err("of sslcert and sslkey only one is given".to_owned()),
    }
}

/// Where only the driver can prove who logs in, an open port has to be enough; what is not looked for is said.
async fn port_alone(target: &PostgresTarget, reason: &str) -> Result<(), Miss> {
    let mut misses = Vec::new();
    for (host, port) in &target.servers {
        match connect::connect(host, *port).await {
            Ok(_) => {
                tracing::warn!("{}", unproven(target, reason));
                return Ok(());
            }
            Err(error) => misses.push(format!("{host}:{port}: {error}")),
        }
    }
    Err(Miss::NotYet(misses.join("; ")))
}

fn unproven(target: &PostgresTarget, reason: &str) -> String {
    let told = format!("the client certificate cannot be used here: {reason}; only the port was waited for");
    match target.refused.first() {
        Some(refused) => format!(
            "{told}, and tables of another {} were not looked for: make sure that the database has none",
            refused.variable
        ),
        None => told,
    }
}

/// One of the servers.
#[derive(Clone, Copy)]
struct Server<'a> {
    host: &'a str,
    port: u16,
    target: &'a PostgresTarget,
    identity: Option<&'a Identity>,
}

impl Server<'_> {
    async fn login(self) -> Result<(), Miss> {
        let (mode, verification) = encryption(self.target)?;
        let Err(failure) = self.attempt(mode, verification).await else { return Ok(()) };
        if mode != SslMode::Prefer || !failure.is_of_encryption {
            return Err(failure.miss);
        }
        // `prefer` means another connection without encryption where that is what the server or its TLS does not want.
        let plain = self.attempt(SslMode::Disable, None).await;
        plain.map_err(|plain| both(failure.miss, plain.miss))
    }

    async fn attempt(self, mode: SslMode, verification: Option<Verification>) -> Result<(), Failure> {
        let Server { host, port, target, identity } = self;
        if host.starts_with('/') {
            let stream = UnixStream::connect(format!("{host}/.s.PGSQL.{port}")).await;
            let stream = stream.map_err(|error| Miss::NotYet(connect::reason(&error)))?;
            let tls = tls::unused_config().map_err(|error| Miss::NotYet(error.to_string()))?;
            return converse(target, SslMode::Disable, stream, connector(host, tls)).await;
        }
        let tls = match verification {
            Some(verification) => tls::client_config(verification, target.root_certificate.clone()).await,
            None => tls::unused_config(),
        };
        let mut tls = tls.map_err(|error| Miss::NotYet(error.to_string()))?;
        if let Some(identity) = identity {
            tls.client_auth_cert_resolver = Arc::clone(identity);
        }
        let stream = connect::connect(host, port).await.map_err(Miss::NotYet)?;
        converse(target, mode, stream, connector(host, tls)).await
    }
}

/// One connection that did not come to a login.
struct Failure {
    miss: Miss,
    /// The handshake failed, or the server refused this user at this database over an encrypted connection.
    is_of_encryption: bool,
}

impl From<Miss> for Failure {
    fn from(miss: Miss) -> Self {
        Failure { miss, is_of_encryption: false }
    }
}

/// Final only where both are.
fn both(encrypted: Miss, plain: Miss) -> Miss {
    match (encrypted, plain) {
        (Miss::Unfit(told), _) | (_, Miss::Unfit(told)) => Miss::Unfit(told),
        (Miss::Never(encrypted), Miss::Never(plain)) => Miss::Never(in_both_words(&encrypted, &plain)),
        (Miss::Never(encrypted) | Miss::NotYet(encrypted), Miss::Never(plain) | Miss::NotYet(plain)) => {
            Miss::NotYet(in_both_words(&encrypted, &plain))
        }
    }
}

fn in_both_words(encrypted: &str, plain: &str) -> String {
    if encrypted == plain { plain.to_owned() } else { format!("{encrypted}; without encryption: {plain}") }
}

/// libpq verifies the issuer for `require` too as soon as a root certificate is configured.
fn encryption(target: &PostgresTarget) -> Result<(SslMode, Option<Verification>), Miss> {
    Ok(match (target.sslmode.as_str(), &target.root_certificate) {
        ("disable", _) => (SslMode::Disable, None),
        ("prefer", _) => (SslMode::Prefer, Some(Verification::Nothing)),
        ("require", None) => (SslMode::Require, Some(Verification::Nothing)),
        ("require", Some(_)) | ("verify-ca", _) => (SslMode::Require, Some(Verification::IssuerOnly)),
        ("verify-full", _) => (SslMode::Require, Some(Verification::Full)),
        (other, _) => {
            return Err(Miss::Never(format!("sslmode `{other}` is not one of {}", SSL_MODES.join(", "))));
        }
    })
}

fn login_of(target: &PostgresTarget, mode: SslMode) -> Config {
    let mut config = Config::new();
    config.user(&target.user).dbname(&target.database).application_name("dl-entry").ssl_mode(mode);
    if let Some(password) = &target.password {
        config.password(password);
    }
    if let Some(options) = &target.options {
        config.options(options);
    }
    config
}

async fn converse<S>(target: &PostgresTarget, mode: SslMode, stream: S, tls: Connector) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let encrypted = Arc::clone(&tls.encrypted);
    let connected = login_of(target, mode).connect_raw(Bounded::new(stream), tls).await;
    let (client, connection) = connected.map_err(|error| Failure {
        is_of_encryption: match encrypted.get() {
            Some(true) => error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
            Some(false) => true,
            None => false,
        },
        miss: miss(error),
    })?;
    // Without its client the connection says goodbye and ends, so that the server has nothing to log.
    let (judged, _) = tokio::join!(judge(client, target), connection);
    judged.map_err(Failure::from)
}

/// Whether the database is one that the service may be started with.
async fn judge(client: Client, target: &PostgresTarget) -> Result<(), Miss> {
    if target.kind != ServerKind::Any {
        judge_kind(&client, target.kind).await?;
    }
    if target.refused.is_empty() {
        return Ok(());
    }
    let answered = client.simple_query(&look_up(target)).await.map_err(miss)?;
    let there: Vec<&str> = answered.iter().filter_map(table_of).collect();
    let all = |tables: &[String]| tables.iter().all(|table| there.contains(&table.as_str()));
    match target.refused.iter().find(|refused| all(&refused.found) && !all(&refused.missing)) {
        Some(refused) => Err(Miss::Unfit(refused.message.clone())),
        None => Ok(()),
    }
}

/// Asks as pgjdbc does: a standby is whatever takes no writes.
async fn judge_kind(client: &Client, wanted: ServerKind) -> Result<(), Miss> {
    let answered = client.simple_query("SHOW transaction_read_only").await.map_err(miss)?;
    let read_only =
        answered.iter().any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")));
    match (wanted, read_only) {
        (ServerKind::Primary, true) => Err(Miss::NotYet("takes no writes, and targetServerType is primary".to_owned())),
        (ServerKind::Standby, false) => Err(Miss::NotYet("takes writes, and targetServerType is secondary".to_owned())),
        _ => Ok(()),
    }
}

/// The tables that are there, each by its name. All in one query, and so in one transaction: behind a pooler the search
/// path must hold for the look-up, and for nothing after it.
fn look_up(target: &PostgresTarget) -> String {
    let path = target.search_path.as_ref();
    let path = path.map(|path| format!("SELECT set_config('search_path', {}, true);", escape_literal(path)));
    let tables = target.refused.iter().flat_map(|RefusedTables { found, missing, .. }| found.iter().chain(missing));
    let tables: Vec<_> = tables.map(|table| format!("({})", escape_literal(table))).collect();
    let select = "SELECT there FROM (VALUES";
    let only = "AS tables (there) WHERE to_regclass(quote_ident(there)) IS NOT NULL";
    format!("{}{select} {}) {only}", path.unwrap_or_default(), tables.join(", "))
}

/// Rows of `set_config` have no such column.
fn table_of(message: &SimpleQueryMessage) -> Option<&str> {
    let SimpleQueryMessage::Row(row) = message else { return None };
    row.try_get("there").ok().flatten()
}

fn miss(error: Error) -> Miss {
    let Some(answer) = error.as_db_error() else {
        return match connect::reason(&error).as_str() {
            "password missing" => Miss::Never("the server asks for a password and none is configured".to_owned()),
            reason => Miss::NotYet(reason.to_owned()),
        };
    };
    let told = format!("{} ({})", connect::quoted(answer.message()), connect::quoted(answer.code().code()));
    if FINAL.contains(answer.code()) { Miss::Never(told) } else { Miss::NotYet(told) }
}

/// rustls for tokio-postgres. Channel binding is left out: it would need an X.509 parser of its own, and no server can
/// ask for it.
struct Connector {
    config: Arc<ClientConfig>,
    host: String,
    /// Whether the handshake succeeded, once there was one.
    encrypted: Arc<OnceLock<bool>>,
}

fn connector(host: &str, config: ClientConfig) -> Connector {
    Connector { config: Arc::new(config), host: host.to_owned(), encrypted: Arc::default() }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connector {
    type Stream = Bounded<tokio_rustls::client::TlsStream<S>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            let shaken = tokio_rustls::TlsConnector::from(self.config).connect(name, stream).await;
            // Nobody else sets it.
            let _ = self.encrypted.set(shaken.is_ok());
            shaken.map(Bounded::new)
        })
    }
}

/// A stream that ends with an error where the other side says more than a login needs: the length a message announces
/// would otherwise be kept in memory, whatever speaks on this port. Also tokio-rustls's stream under a type of our own,
/// which the trait of another crate needs.
struct Bounded<S> {
    stream: S,
    left: usize,
}

impl<S> Bounded<S> {
    fn new(stream: S) -> Self {
        Bounded { stream, left: LONGEST_ANSWER }
    }
}

/// The other side said more than `LONGEST_ANSWER`.
#[derive(Debug)]
struct TooLong;

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the answer to a login is longer than {} KiB: this is not PostgreSQL", LONGEST_ANSWER / 1024)
    }
}

impl std::error::Error for TooLong {}

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Bounded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let left = self.left.checked_sub(buf.filled().len() - before);
        self.left = left.ok_or_else(|| io::Error::other(TooLong))?;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
