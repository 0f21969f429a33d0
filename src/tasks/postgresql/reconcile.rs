//! The cluster compared with the environment: roles, passwords, databases, owners, extensions. One line for each change;
//! nothing is ever removed.

use std::collections::BTreeMap;

use postgres_protocol::escape::escape_literal;

use super::ClusterError;
use super::scram;
use super::session::{Place, Session, identifier};
use crate::plan::{PostgresqlContents, PostgresqlDatabase, PostgresqlRole};

/// A statement and what it changes, for people.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    statement: String,
    what: String,
}

impl Change {
    fn new(statement: String, what: String) -> Change {
        Change { statement, what }
    }
}

/// Makes the cluster what the environment says. With `dry_run` it only says what would be changed.
///
/// # Errors
/// The server's answer to the first statement that fails.
pub async fn apply(
    contents: &PostgresqlContents,
    session: &Session,
    place: Place<'_>,
    dry_run: bool,
) -> Result<(), ClusterError> {
    let roles = roles(session).await?;
    carry_out(session, missing_roles(contents, &roles), dry_run).await?;
    let owners = owners(session).await?;
    carry_out(session, missing_databases(contents, &owners), dry_run).await?;
    for database in contents.databases.iter().filter(|database| !database.extensions.is_empty()) {
        if dry_run && !owners.contains_key(&database.name) {
            continue;
        }
        let there = Session::once_answering(place, contents, &database.name).await?;
        let installed = there.rows("SELECT extname FROM pg_extension").await?;
        let installed: Vec<String> = installed.into_iter().flatten().flatten().collect();
        carry_out(&there, missing_extensions(database, &installed), dry_run).await?;
    }
    Ok(())
}

async fn carry_out(session: &Session, changes: Vec<Change>, dry_run: bool) -> Result<(), ClusterError> {
    for Change { statement, what } in changes {
        if dry_run {
            tracing::info!("not done: {what}");
            continue;
        }
        let done = session.run(&statement).await;
        done.map_err(|error| ClusterError { message: format!("{what}: {}", error.message), ..error })?;
        tracing::info!("{what}");
    }
    Ok(())
}

/// A role as the server has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Role {
    verifier: Option<String>,
    can_log_in: bool,
    replication: bool,
}

async fn roles(session: &Session) -> Result<BTreeMap<String, Role>, ClusterError> {
    let rows = session.rows("SELECT rolname, rolpassword, rolcanlogin, rolreplication FROM pg_authid").await?;
    let is_true = |text: Option<String>| text.as_deref() == Some("t");
    let role = |row: Vec<Option<String>>| match <[Option<String>; 4]>::try_from(row) {
        Ok([Some(name), verifier, can, replication]) => {
            Some((name, Role { verifier, can_log_in: is_true(can), replication: is_true(replication) }))
        }
        _ => None,
    };
    Ok(rows.into_iter().filter_map(role).collect())
}

async fn owners(session: &Session) -> Result<BTreeMap<String, String>, ClusterError> {
    let rows = session.rows("SELECT datname, pg_get_userbyid(datdba) FROM pg_database").await?;
    let owner = |row: Vec<Option<String>>| match <[Option<String>; 2]>::try_from(row) {
        Ok([Some(name), Some(owner)]) => Some((name, owner)),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(owner).collect())
}

/// The superuser first, whose password is that of the rest of the start.
fn missing_roles(contents: &PostgresqlContents, there: &BTreeMap<String, Role>) -> Vec<Change> {
    let superuser =
        PostgresqlRole { name: contents.superuser.clone(), password: contents.password.clone(), replication: false };
    let others = contents.roles.iter().filter(|role| role.name != contents.superuser);
    std::iter::once(&superuser).chain(others).filter_map(|role| change_of_role(role, there.get(&role.name))).collect()
}

fn change_of_role(wanted: &PostgresqlRole, there: Option<&Role>) -> Option<Change> {
    let PostgresqlRole { name, password, replication } = wanted;
    let quoted = identifier(name);
    let verifier = |password: &String| format!(" PASSWORD {}", escape_literal(&scram::verifier(password)));
    let Some(role) = there else {
        let password = password.as_ref().map(verifier).unwrap_or_default();
        let replication = if *replication { " REPLICATION" } else { "" };
        let statement = format!("CREATE ROLE {quoted} LOGIN{replication}{password}");
        return Some(Change::new(statement, format!("role {name}: created")));
    };
    let is_right = |password: &str| role.verifier.as_deref().is_some_and(|verifier| scram::is_of(verifier, password));
    let changed = password.as_ref().filter(|password| !is_right(password));
    let changes = [
        (!role.can_log_in, " LOGIN".to_owned(), "may log in"),
        (*replication && !role.replication, " REPLICATION".to_owned(), "may replicate"),
        (changed.is_some(), changed.map(verifier).unwrap_or_default(), "password changed"),
    ];
    let changes: Vec<_> = changes.into_iter().filter(|(differs, ..)| *differs).collect();
    let options: String = changes.iter().map(|(_, option, _)| option.as_str()).collect();
    let what: Vec<&str> = changes.iter().map(|(.., what)| *what).collect();
    let change = Change::new(format!("ALTER ROLE {quoted}{options}"), format!("role {name}: {}", what.join(", ")));
    (!changes.is_empty()).then_some(change)
}

fn missing_databases(contents: &PostgresqlContents, there: &BTreeMap<String, String>) -> Vec<Change> {
    contents.databases.iter().filter_map(|database| change_of_database(database, there.get(&database.name))).collect()
}

fn change_of_database(database: &PostgresqlDatabase, there: Option<&String>) -> Option<Change> {
    let PostgresqlDatabase { name, owner, .. } = database;
    let quoted = identifier(name);
    match (there, owner) {
        (None, owner) => {
            let owned = owner.iter().map(|owner| format!(" OWNER {}", identifier(owner))).collect::<String>();
            Some(Change::new(format!("CREATE DATABASE {quoted}{owned}"), format!("database {name}: created")))
        }
        (Some(old), Some(new)) if old != new => {
            let statement = format!("ALTER DATABASE {quoted} OWNER TO {}", identifier(new));
            Some(Change::new(statement, format!("database {name}: owner {old} -> {new}")))
        }
        _ => None,
    }
}

fn missing_extensions(database: &PostgresqlDatabase, there: &[String]) -> Vec<Change> {
    let missing = database.extensions.iter().filter(|name| !there.contains(name));
    let create = |name: &String| {
        let statement = format!("CREATE EXTENSION IF NOT EXISTS {} CASCADE", identifier(name));
        Change::new(statement, format!("database {}: extension {name} created", database.name))
    };
    missing.map(create).collect()
}

/// Says which databases were sorted by another version of the C library or of ICU: their indexes may be wrong.
///
/// # Errors
/// The server's answer.
pub async fn tell_collations(session: &Session) -> Result<(), ClusterError> {
    const DRIFTED: &str = "SELECT datname, datcollversion, pg_database_collation_actual_version(oid) FROM pg_database \
                           WHERE datallowconn AND datcollversion <> pg_database_collation_actual_version(oid)";
    for row in session.rows(DRIFTED).await? {
        let Ok([Some(name), Some(old), Some(new)]) = <[Option<String>; 3]>::try_from(row) else { continue };
        let quoted = identifier(&name);
        tracing::warn!(
            "database {name} was made with version {old} of its collation, and here is {new}: indexes of texts may be \
             wrong until REINDEX DATABASE {quoted} has run in it; then ALTER DATABASE {quoted} REFRESH COLLATION VERSION"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(password: &str) -> Role {
        Role { verifier: Some(scram::verifier(password)), can_log_in: true, replication: false }
    }

    fn change(name: &str, password: Option<&str>, there: Option<&Role>) -> Option<Change> {
        let password = password.map(str::to_owned);
        change_of_role(&PostgresqlRole { name: name.to_owned(), password, replication: false }, there)
    }

    #[test]
    fn a_role_changes_only_where_it_differs_and_its_password_is_never_in_the_statement() {
        assert_eq!(change("app", Some("secret"), Some(&role("secret"))), None);
        assert_eq!(change("app", None, Some(&role("secret"))), None);
        let rotated = change("a\"b", Some("new"), Some(&role("old"))).unwrap();
        assert!(rotated.statement.starts_with("ALTER ROLE \"a\"\"b\" PASSWORD 'SCRAM-SHA-256$4096:"));
        assert_eq!(rotated.what, "role a\"b: password changed");
        let created = change("app", Some("hunter2"), None).unwrap();
        assert!(created.statement.starts_with("CREATE ROLE \"app\" LOGIN PASSWORD '"));
        assert!(!created.statement.contains("hunter2"));
        assert_eq!(change("app", None, None).unwrap().statement, "CREATE ROLE \"app\" LOGIN");
        let locked = Role { can_log_in: false, ..role("x") };
        assert_eq!(change("app", Some("x"), Some(&locked)).unwrap().statement, "ALTER ROLE \"app\" LOGIN");
        let standby = PostgresqlRole { name: "rep".into(), password: None, replication: true };
        assert_eq!(change_of_role(&standby, None).unwrap().statement, "CREATE ROLE \"rep\" LOGIN REPLICATION");
        let altered = change_of_role(&standby, Some(&role("x"))).unwrap();
        assert_eq!(
            (&*altered.statement, &*altered.what),
            ("ALTER ROLE \"rep\" REPLICATION", "role rep: may replicate")
        );
    }

    #[test]
    fn a_database_is_created_or_given_to_its_owner_and_otherwise_left_alone() {
        let database =
            PostgresqlDatabase { name: "d'b".into(), owner: Some("app".into()), extensions: vec!["pg_trgm".into()] };
        let created = change_of_database(&database, None).unwrap();
        assert_eq!(created.statement, "CREATE DATABASE \"d'b\" OWNER \"app\"");
        let given = change_of_database(&database, Some(&"postgres".to_owned())).unwrap();
        assert_eq!(given.statement, "ALTER DATABASE \"d'b\" OWNER TO \"app\"");
        assert_eq!(change_of_database(&database, Some(&"app".to_owned())), None);
        assert_eq!(missing_extensions(&database, &["pg_trgm".to_owned()]), []);
        assert_eq!(missing_extensions(&database, &[])[0].what, "database d'b: extension pg_trgm created");
    }
}
