//! One session at the server's socket. Every statement is sent whole, with identifiers and literals quoted by the driver.

use std::path::Path;
use std::time::Duration;

use postgres_protocol::escape::escape_identifier;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::ClusterError;
use crate::net::connect;
use crate::plan::PostgresqlContents;

const PAUSE: Duration = Duration::from_millis(50);

/// Nothing of ours is to be found in the server's log or to wait for a standby that may never come.
const SETTINGS: &str = "SET log_statement = 'none'; SET log_min_duration_statement = -1; \
                        SET log_min_error_statement = 'panic'; SET synchronous_commit = 'local'; \
                        SET client_min_messages = 'warning'";

/// A server's socket.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub socket: &'a Path,
    pub port: u16,
}

/// A session of the superuser.
pub struct Session {
    client: Client,
}

/// Why there is no session.
pub enum Miss {
    /// Nobody answers.
    NotYet(String),
    /// The server recovers, which takes the time it takes.
    Recovering,
    Never(String),
}

impl Session {
    /// Logs in once.
    ///
    /// # Errors
    /// The server's answer, or that there is none.
    pub async fn open(place: Place<'_>, contents: &PostgresqlContents, database: &str) -> Result<Session, Miss> {
        let path = place.socket.join(format!(".s.PGSQL.{}", place.port));
        let stream = UnixStream::connect(&path).await;
        let stream =
            stream.map_err(|error| Miss::NotYet(format!("{}: {}", path.display(), connect::reason(&error))))?;
        let mut config = Config::new();
        config.user(&contents.superuser).dbname(database).application_name("dl-entry");
        if let Some(password) = &contents.password {
            config.password(password);
        }
        let (client, connection) = config.connect_raw(stream, NoTls).await.map_err(|error| miss(&error))?;
        // Ends with its client.
        tokio::spawn(connection);
        let session = Session { client };
        session.run(SETTINGS).await.map_err(|error| Miss::Never(error.message))?;
        Ok(session)
    }

    /// Logs in as soon as the server answers. Recovery may take its time; a server that does not answer at all has the
    /// task's.
    ///
    /// # Errors
    /// No answer in time, or one that no waiting changes.
    pub async fn once_answering(
        place: Place<'_>,
        contents: &PostgresqlContents,
        database: &str,
    ) -> Result<Session, ClusterError> {
        let mut end = Instant::now() + contents.timeout;
        loop {
            match Session::open(place, contents, database).await {
                Ok(session) => return Ok(session),
                Err(Miss::Recovering) => end = Instant::now() + contents.timeout,
                Err(Miss::NotYet(_)) if Instant::now() < end => {}
                Err(Miss::NotYet(reason)) => {
                    let timeout = connect::in_words(contents.timeout);
                    return Err(ClusterError::failed(format!("the server does not answer within {timeout}: {reason}")));
                }
                Err(Miss::Never(reason)) => return Err(refused(&contents.superuser, &reason)),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Runs statements.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn run(&self, statements: &str) -> Result<(), ClusterError> {
        self.client.batch_execute(statements).await.map_err(|error| answer(&error))
    }

    /// The rows of a query, as texts.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn rows(&self, query: &str) -> Result<Vec<Vec<Option<String>>>, ClusterError> {
        let messages = self.client.simple_query(query).await.map_err(|error| answer(&error))?;
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Whether the server replays what another one writes.
    ///
    /// # Errors
    /// The server's answer.
    pub async fn is_standby(&self) -> Result<bool, ClusterError> {
        let rows = self.rows("SELECT pg_is_in_recovery()").await?;
        Ok(rows == [[Some("t".to_owned())]])
    }
}

/// A name in a statement, whatever is in it.
pub fn identifier(name: &str) -> String {
    escape_identifier(name)
}

fn miss(error: &Error) -> Miss {
    match error.code() {
        Some(&SqlState::CANNOT_CONNECT_NOW) => Miss::Recovering,
        Some(&SqlState::TOO_MANY_CONNECTIONS) => Miss::NotYet(answer(error).message),
        Some(_) => Miss::Never(answer(error).message),
        None => match connect::reason(error).as_str() {
            "password missing" => Miss::Never("it asks for a password and none is configured".to_owned()),
            reason => Miss::NotYet(reason.to_owned()),
        },
    }
}

fn answer(error: &Error) -> ClusterError {
    ClusterError::failed(match error.as_db_error() {
        Some(answer) => {
            format!(
                "the server says: {} ({})",
                connect::quoted(answer.message()),
                connect::quoted(answer.code().code())
            )
        }
        None => format!("the server does not answer: {}", connect::reason(error)),
    })
}

fn refused(superuser: &str, reason: &str) -> ClusterError {
    ClusterError::refused(format!(
        "no login as the superuser {superuser}: {reason}\n  accepted: the superuser this cluster was made with, and its \
         password; or POSTGRES_RECONCILE=off"
    ))
}
