//! PostgreSQL: a whole login and a polite goodbye. An open port proves nothing: the server accepts connections while
//! it is "starting up".
//!
//! Error codes: PostgreSQL documentation, Appendix A. sslmode: "33.19. SSL Support" of the libpq chapter.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Config, Error};

use super::Miss;
use crate::network;
use crate::plan::PostgresTarget;
use crate::tls::{self, Verification};

/// The values of `sslmode` that are understood.
pub(super) const SSL_MODES: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

/// Answers that no waiting changes: wrong password, no such user or not from here, no such database.
const FINAL: [SqlState; 3] =
    [SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION, SqlState::INVALID_CATALOG_NAME];

/// Logs in and out. A host that begins with a slash is the folder of the server's Unix socket, as for libpq.
pub(super) async fn login(target: &PostgresTarget) -> Result<(), Miss> {
    let (mode, verification) = encryption(target)?;
    if target.host.starts_with('/') {
        let path = format!("{}/.s.PGSQL.{}", target.host, target.port);
        let stream = UnixStream::connect(path).await.map_err(|error| Miss::NotYet(network::reason(&error)))?;
        let tls = tls::unused_config().map_err(|error| Miss::NotYet(error.to_string()))?;
        return converse(&login_of(target, SslMode::Disable), stream, connector(target, tls)).await;
    }
    let tls = match verification {
        Some(verification) => tls::client_config(verification, target.root_certificate.clone()).await,
        None => tls::unused_config(),
    };
    let tls = tls.map_err(|error| Miss::NotYet(error.to_string()))?;
    let stream = network::connect(&target.host, target.port).await.map_err(Miss::NotYet)?;
    converse(&login_of(target, mode), stream, connector(target, tls)).await
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
    config
}

async fn converse<S>(config: &Config, stream: S, tls: Connector) -> Result<(), Miss>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = config.connect_raw(stream, tls).await.map_err(miss)?;
    // Without its client the connection says goodbye and ends, so that the server has nothing to log.
    drop(client);
    let _ = connection.await;
    Ok(())
}

fn miss(error: Error) -> Miss {
    let Some(answer) = error.as_db_error() else {
        return match network::reason(&error).as_str() {
            "password missing" => Miss::Never("the server asks for a password and none is configured".to_owned()),
            reason => Miss::NotYet(reason.to_owned()),
        };
    };
    let told = format!("{} ({})", answer.message(), answer.code().code());
    if FINAL.contains(answer.code()) { Miss::Never(told) } else { Miss::NotYet(told) }
}

/// rustls for tokio-postgres. Channel binding is left out: it would need an X.509 parser of its own, and no server can
/// ask for it.
struct Connector {
    config: Arc<ClientConfig>,
    host: String,
}

fn connector(target: &PostgresTarget, config: ClientConfig) -> Connector {
    Connector { config: Arc::new(config), host: target.host.clone() }
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Connector {
    type Stream = Encrypted<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let name = ServerName::try_from(self.host).map_err(io::Error::other)?;
            tokio_rustls::TlsConnector::from(self.config).connect(name, stream).await.map(Encrypted)
        })
    }
}

/// tokio-rustls's stream under a type of our own, which the trait of another crate needs.
struct Encrypted<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> TlsStream for Encrypted<S> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Encrypted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Encrypted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
