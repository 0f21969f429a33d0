//! Programs beside the server: initdb, psql, scripts. Their output goes where ours goes.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::fcntl::OFlag;
use tokio::io::AsyncReadExt as _;

use super::ClusterError;
use crate::pid1::children::{Exit, Ladder, Running};
use crate::pid1::spawn::Streams;
use crate::plan::{CommandLine, DEFAULT_PATH};
use crate::tasks::Surroundings;

/// More than this is not read of what a program says, bytes.
const LONGEST_ANSWER: u64 = 4096;

/// Starts a program with the server's environment and these variables.
///
/// # Errors
/// It cannot be started.
pub fn start<'a>(
    argv: Vec<OsString>,
    variables: &[(OsString, OsString)],
    streams: Streams<'_>,
    ladder: Ladder,
    around: Surroundings<'a>,
) -> Result<Running<'a>, ClusterError> {
    let mut environment = around.command.environment.clone();
    environment.retain(|(name, _)| !variables.iter().any(|(other, _)| other == name));
    environment.extend(variables.iter().cloned());
    put_server_first(&mut environment, around.command);
    let command = CommandLine { argv, environment, working_directory: around.command.working_directory.clone() };
    let started = around.children.start(&command, streams, ladder, around.user);
    started.map_err(|error| ClusterError { status: error.status(), message: error.to_string() })
}

/// initdb and psql are those of the server, which may be in no folder of PATH.
fn put_server_first(environment: &mut Vec<(OsString, OsString)>, server: &CommandLine) {
    let Some(folder) = server.argv.first().and_then(|program| Path::new(program).parent()) else { return };
    if folder.as_os_str().is_empty() {
        return;
    }
    let path = environment.iter().position(|(name, _)| name == "PATH").map(|at| environment.swap_remove(at).1);
    let mut folders = folder.as_os_str().to_owned();
    folders.push(":");
    folders.push(path.filter(|path| !path.is_empty()).unwrap_or_else(|| DEFAULT_PATH.into()));
    environment.push(("PATH".into(), folders));
}

/// Runs a program that reads `input`, to its end.
///
/// # Errors
/// It cannot be started.
pub async fn run(
    argv: Vec<OsString>,
    variables: &[(OsString, OsString)],
    input: &[u8],
    around: Surroundings<'_>,
) -> Result<Exit, ClusterError> {
    let (reader, writer) = pipe()?;
    // Far less than a pipe holds, so that this does not wait.
    nix::unistd::write(&writer, input).map_err(|errno| failed("a pipe", &errno.into()))?;
    drop(writer);
    let streams = Streams { input: Some(reader), ..Streams::default() };
    Ok(start(argv, variables, streams, Ladder::PROGRAM, around)?.ended().await)
}

/// Both ends of a pipe; neither reaches a program by itself.
///
/// # Errors
/// Those of pipe2(2).
pub fn pipe() -> Result<(OwnedFd, OwnedFd), ClusterError> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|errno| failed("a pipe", &errno.into()))
}

fn failed(what: &str, error: &io::Error) -> ClusterError {
    ClusterError::failed(format!("{what} cannot be had: {}", crate::text::reason(error)))
}

/// The number before the first dot of what the server calls its version: `17`.
///
/// # Errors
/// The server cannot be asked.
pub async fn major_version(around: Surroundings<'_>) -> Result<String, ClusterError> {
    let program = around.command.argv.first().cloned().unwrap_or_default();
    let (reader, writer) = pipe()?;
    let streams = Streams { output: Some(writer), input: Some(nothing()?), ..Streams::default() };
    let mut running = start(vec![program.clone(), "--version".into()], &[], streams, Ladder::PROGRAM, around)?;
    let mut text = String::new();
    nix::fcntl::fcntl(&reader, nix::fcntl::FcntlArg::F_SETFL(OFlag::O_NONBLOCK))
        .map_err(|errno| failed("a pipe", &errno.into()))?;
    let receiver = tokio::net::unix::pipe::Receiver::from_owned_fd(reader).map_err(|error| failed("a pipe", &error))?;
    // What cannot be read is not a version.
    let _ = receiver.take(LONGEST_ANSWER).read_to_string(&mut text).await;
    let exit = running.ended().await;
    version_in(&text).ok_or_else(|| {
        let program = program.to_string_lossy().into_owned();
        ClusterError::failed(format!("{program} --version {exit} and does not tell a version of PostgreSQL"))
    })
}

/// An input at its end.
///
/// # Errors
/// Those of open(2).
pub fn nothing() -> Result<OwnedFd, ClusterError> {
    std::fs::File::open("/dev/null").map(OwnedFd::from).map_err(|error| failed("/dev/null", &error))
}

/// Of `postgres (PostgreSQL) 17.6 (Debian 17.6-1)`: `17`.
fn version_in(text: &str) -> Option<String> {
    let (_, version) = text.split_once("(PostgreSQL) ")?;
    let major: String = version.chars().take_while(char::is_ascii_digit).collect();
    (!major.is_empty()).then_some(major)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(version_in("postgres (PostgreSQL) 17.6 (Debian 17.6-1)\n").as_deref(), Some("17"));
        assert_eq!(version_in("postgres (PostgreSQL) 19beta1\n").as_deref(), Some("19"));
        assert_eq!(version_in("java 25"), None);
    }
}
