//! The name under which the service's user is the superuser at the server's own socket (pg_ident.conf): known only once
//! root is given up, and another in each container.

use std::fs;

use super::ClusterError;
use crate::exit;
use crate::plan::{CommandLine, PostgresqlCluster, RenderedFile};
use crate::write;

/// The map's name in pg_hba.conf.
const MAP: &str = "dl-entry";

/// Adds the present user to the map.
///
/// # Errors
/// The file cannot be read or written.
pub fn add_present_user(cluster: &PostgresqlCluster, command: &CommandLine) -> Result<(), ClusterError> {
    let user = command.environment.iter().find(|(name, _)| name == "USER");
    let Some(user) = user.and_then(|(_, name)| name.to_str()).filter(|name| !name.is_empty()) else { return Ok(()) };
    let path = &cluster.names;
    let text = fs::read_to_string(path).map_err(|error| ClusterError::file(path, "read", &error))?;
    let line = line(user, &cluster.contents.superuser);
    if text.lines().any(|other| other == line) {
        return Ok(());
    }
    let contents = format!("{}\n{line}\n", text.trim_end()).into_bytes();
    let file = RenderedFile { path: path.clone(), contents, mode: 0o600, variables: vec![] };
    let written = write::write_all(&[file], &[], None);
    written.map(drop).map_err(|error| ClusterError { status: exit::CANNOT_WRITE, message: error.to_string() })
}

fn line(user: &str, superuser: &str) -> String {
    format!("{MAP} {} {}", quoted(user), quoted(superuser))
}

/// A quoted name is neither a pattern nor two words.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_the_servers_files_want_it() {
        assert_eq!(line("shusr", "a \"b\""), r#"dl-entry "shusr" "a ""b""""#);
    }
}
