//! The name under which the service's user is the superuser at the server's own socket (pg_ident.conf): known only once
//! root is given up, and another in each container.

use std::fs;

use super::ClusterError;
use crate::plan::{CommandLine, PostgresqlCluster};

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
    let beside = path.with_extension("new");
    let written = fs::write(&beside, format!("{}\n{line}\n", text.trim_end())).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| ClusterError::file(path, "written", &error))
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
