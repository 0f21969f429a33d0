//! The server of an initialisation: on a cluster that is not in place yet, at a socket nobody else can reach.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use super::ClusterError;
use super::programs;
use super::session::{Place, Session};
use crate::pid1::children::{Exit, Ladder, Running};
use crate::pid1::spawn::Streams;
use crate::plan::PostgresqlCluster;
use crate::tasks::Surroundings;

/// Fast shutdown, then immediate (postgres(1), "Signals").
const LADDER: Ladder = Ladder {
    rungs: &[(libc::SIGINT, Duration::from_secs(120)), (libc::SIGQUIT, Duration::from_secs(10))],
    whole_group: false,
};
/// Only for the name of the socket.
const PORT: u16 = 5432;

/// A server that nobody else can reach.
pub struct Temporary<'a> {
    running: Running<'a>,
    cluster: &'a PostgresqlCluster,
}

impl<'a> Temporary<'a> {
    /// Starts the service's own command on `data`, with what makes it private put last.
    ///
    /// # Errors
    /// The server cannot be started.
    pub fn start(
        cluster: &'a PostgresqlCluster,
        data: &Path,
        around: Surroundings<'a>,
        held: &[OwnedFd],
    ) -> Result<Temporary<'a>, ClusterError> {
        let folder = &cluster.folder;
        // Of a server that is gone: the volume is locked, and nobody else knows this folder.
        let _ = fs::remove_dir_all(folder);
        let prepared = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        prepared.map_err(|error| ClusterError::file(folder, "made", &error))?;
        let (rules, names) = (folder.join("pg_hba.conf"), folder.join("pg_ident.conf"));
        fs::write(&rules, "local all all trust\n").map_err(|error| ClusterError::file(&rules, "written", &error))?;
        fs::write(&names, "").map_err(|error| ClusterError::file(&names, "written", &error))?;
        let mut argv = around.command.argv.clone();
        argv.extend(["-D".into(), data.into()]);
        let settings: [(&str, OsString); 13] = [
            ("data_directory", data.into()),
            ("listen_addresses", "".into()),
            ("port", PORT.to_string().into()),
            ("unix_socket_directories", folder.into()),
            ("unix_socket_permissions", "0700".into()),
            ("hba_file", rules.into()),
            ("ident_file", names.into()),
            ("ssl", "off".into()),
            ("logging_collector", "off".into()),
            ("log_statement", "none".into()),
            ("log_min_error_statement", "panic".into()),
            ("log_min_duration_statement", "-1".into()),
            ("fsync", "on".into()),
        ];
        for (name, value) in settings {
            let mut setting = OsString::from(format!("{name}="));
            setting.push(value);
            argv.extend(["-c".into(), setting]);
        }
        let streams = Streams { input: Some(programs::nothing()?), output: None, held };
        let running = programs::start(argv, &[], streams, LADDER, around)?;
        Ok(Temporary { running, cluster })
    }

    /// Its socket.
    pub fn place(&self) -> Place<'a> {
        Place { socket: &self.cluster.folder, port: PORT }
    }

    /// A session, as soon as it answers.
    ///
    /// # Errors
    /// It has ended, or does not answer.
    pub async fn session(&mut self) -> Result<Session, ClusterError> {
        let place = self.place();
        tokio::select! {
            biased;
            session = Session::once_answering(place, &self.cluster.contents, "postgres") => session,
            exit = self.running.ended() => Err(ended(exit)),
        }
    }

    /// Stops it, with all its data on the disk.
    ///
    /// # Errors
    /// It did not end well: what it has written has to be recovered first.
    pub async fn stop(self) -> Result<(), ClusterError> {
        match self.running.stop().await {
            Exit::Code(0) => {
                // What is left of it is of no use; a next start makes it again.
                let _ = fs::remove_dir_all(&self.cluster.folder);
                Ok(())
            }
            exit => Err(ended(exit)),
        }
    }
}

fn ended(exit: Exit) -> ClusterError {
    ClusterError::failed(format!("the server of the initialisation {exit}; its own words are above"))
}
