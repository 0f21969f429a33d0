//! Nessie's contract and a database with a repository: the start, with a script in the place of java.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use crate::expect_ready;
use crate::postgres::Cluster;
use crate::run;
use crate::server::Server;
use crate::support::{Ended, Folder, Running, entry};

const PASSWORD: &str = "correct horse battery";
const OLD: [&str; 2] = ["refs", "objs"];
const NEW: [&str; 2] = ["refs2", "objs2"];

/// What the start ends with where only the tables of the other type are there.
const OLD_ALONE: &str = "NESSIE_VERSION_STORE_TYPE is JDBC2, and the database has a repository of the type JDBC";
const NEW_ALONE: &str = "NESSIE_VERSION_STORE_TYPE is JDBC, and the database has a repository of the type JDBC2";

struct Repository {
    cluster: Cluster,
    folder: Folder,
    _server: Server,
}

impl Repository {
    fn new(name: &str) -> Repository {
        Repository::with(name, Cluster::new(name, PASSWORD), &[])
    }

    fn with(name: &str, cluster: Cluster, settings: &[&str]) -> Repository {
        let server = cluster.start(settings);
        run(expect_ready(&cluster.url(PASSWORD, "postgres")));
        let folder = Folder::new(name);
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
        let java = folder.join("bin/java");
        std::fs::create_dir(java.parent().unwrap()).unwrap();
        std::fs::write(&java, "#!/bin/sh\necho the server runs\n").unwrap();
        std::fs::set_permissions(&java, PermissionsExt::from_mode(0o755)).unwrap();
        Repository { cluster, folder, _server: server }
    }

    /// A new database of this name, with these tables in `schema`.
    fn database(&self, name: &str, schema: &str, tables: &[&str]) {
        self.cluster.execute(PASSWORD, "postgres", &[&format!("CREATE DATABASE \"{name}\"")]);
        let tables = tables.iter().map(|table| format!("CREATE TABLE \"{schema}\".{table} (repo text)"));
        let schema = [format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\"")];
        let statements: Vec<String> = schema.into_iter().chain(tables).collect();
        self.cluster.execute(PASSWORD, name, &statements.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn start(&self, database: &str, environment: &[(&str, &str)]) -> Ended {
        let mut command = entry(&["run", "--service", "nessie"]);
        let own = |path: &Path| path.display().to_string();
        command.env("DL_RUN_DIR", own(&self.folder.join("run"))).env("DL_HEALTH_ADDR", "off");
        command.env("JAVA_HOME", own(self.folder.path())).env("NESSIE_DB_PORT", self.cluster.port.to_string());
        command
            .env("NESSIE_JAR", own(&self.folder.join("bin/java")))
            .env("NESSIE_DB_HOST", "127.0.0.1")
            .env("NESSIE_DB_NAME", database);
        command.env("NESSIE_DB_USER", "postgres").env("NESSIE_DB_PASSWORD", PASSWORD);
        command.envs(environment.iter().copied());
        Running::start(command).ended(Duration::from_secs(20))
    }

    fn expect_start(&self, database: &str, environment: &[(&str, &str)]) {
        let ended = self.start(database, environment);
        assert_eq!((ended.code(), ended.stdout.as_str()), (0, "the server runs\n"), "{}", ended.stderr);
    }

    fn expect_stop(&self, database: &str, environment: &[(&str, &str)], why: &str) -> String {
        let ended = self.start(database, environment);
        assert_eq!((ended.code(), ended.stdout.as_str()), (78, ""), "{}", ended.stderr);
        assert!(ended.stderr.contains(why), "{}", ended.stderr);
        ended.stderr
    }
}

#[test]
fn a_repository_of_the_other_store_type_alone_stops_the_start_and_anything_else_does_not() {
    let repository = Repository::new("repository");
    repository.database("neither", "public", &[]);
    repository.database("old", "public", &OLD);
    repository.database("new", "public", &NEW);
    repository.database("both", "public", &[OLD, NEW].concat());
    repository.database("begun", "public", &[&OLD[..], &NEW[..1]].concat());
    repository.database("another", "public", &OLD[..1]);
    let (jdbc, jdbc2) = (("NESSIE_VERSION_STORE_TYPE", "JDBC"), ("NESSIE_VERSION_STORE_TYPE", "JDBC2"));

    let told = repository.expect_stop("old", &[], OLD_ALONE);
    let report = told.split_once("dl-entry: ").map_or("", |(_, report)| report);
    let port = repository.cluster.port;
    let expected = format!(
        "postgres://127.0.0.1:{port}/old does not fit the configuration; 1 of 1 dependencies pending
  postgres://127.0.0.1:{port}/old: {OLD_ALONE} (tables refs and objs) and none of JDBC2 (refs2 and objs2): the server \
         would begin an empty one beside it
    accepted: JDBC to go on with that repository; JDBC2 once it is moved with `export` and `import` of Nessie's server \
         admin tool; another database or NESSIE_DB_SCHEMA for a new one
"
    );
    assert_eq!(report, expected, "{told}");
    repository.expect_stop("old", &[jdbc2], OLD_ALONE);
    repository.expect_stop("old", &[("DL_EXEC", "1")], OLD_ALONE);
    repository.expect_stop("begun", &[], OLD_ALONE);
    repository.expect_stop("new", &[jdbc], NEW_ALONE);

    repository.expect_start("old", &[jdbc]);
    repository.expect_start("new", &[]);
    for database in ["neither", "both", "another"] {
        repository.expect_start(database, &[]);
        repository.expect_start(database, &[jdbc]);
    }
    repository.expect_start("both", &[("DL_EXEC", "1")]);
}

#[test]
fn tables_are_looked_up_in_the_schema_that_the_driver_uses() {
    let repository = Repository::new("schema");
    repository.database("lake", "public", &[]);
    repository.cluster.execute(PASSWORD, "lake", &[r#"CREATE SCHEMA "Old ""'\ Data""#]);
    for table in OLD {
        let made = format!(r#"CREATE TABLE "Old ""'\ Data".{table} (repo text)"#);
        repository.cluster.execute(PASSWORD, "lake", &[&made]);
    }
    let there = ("NESSIE_DB_SCHEMA", r#"Old "'\ Data"#);
    repository.expect_start("lake", &[]);
    repository.expect_start("lake", &[("NESSIE_DB_SCHEMA", "elsewhere")]);
    repository.expect_stop("lake", &[there], OLD_ALONE);
    repository.expect_start("lake", &[there, ("NESSIE_VERSION_STORE_TYPE", "JDBC")]);

    repository.database("plain", "lake", &OLD);
    let statement = "QUARKUS_DATASOURCE_POSTGRESQL_JDBC_NEW_CONNECTION_SQL";
    repository.expect_stop("plain", &[(statement, "SET statement_timeout = 0; SET search_path TO 'lake'")], OLD_ALONE);
    let ended = repository.start("plain", &[(statement, "SELECT set_config('search_path', 'lake', false)")]);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let warned = "_NEW_CONNECTION_SQL may choose a schema, and is not a plain SET: tables that another";
    assert!(ended.stderr.contains(warned), "{}", ended.stderr);
    repository.expect_stop("plain", &[("NESSIE_DB_PARAMETERS", "currentSchema=lake")], OLD_ALONE);
    repository.expect_stop("plain", &[("NESSIE_DB_PARAMETERS", "options=-c%20search_path%3Dlake")], OLD_ALONE);
    let of_the_user = "ALTER ROLE postgres IN DATABASE plain SET search_path TO lake";
    repository.cluster.execute(PASSWORD, "plain", &[of_the_user]);
    repository.expect_stop("plain", &[], OLD_ALONE);
    repository
        .expect_start("plain", &[("QUARKUS_DATASOURCE_POSTGRESQL_JDBC_NEW_CONNECTION_SQL", "SET search_path=new")]);
}

#[test]
fn a_search_path_that_is_none_ends_the_wait_at_once() {
    let repository = Repository::new("path");
    let ended = repository.start("postgres", &[("NESSIE_DB_PARAMETERS", "currentSchema=a%20b")]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (69, ""), "{}", ended.stderr);
    let why = "invalid value for parameter \"search_path\": \"a b\" (22023)";
    assert!(ended.stderr.contains(why), "{}", ended.stderr);
}

#[test]
fn tables_are_looked_up_at_the_one_of_several_hosts_that_the_driver_uses() {
    let repository = Repository::new("hosts");
    repository.cluster.execute(
        PASSWORD,
        "postgres",
        &["CREATE TABLE refs (repo text)", "CREATE TABLE objs (repo text)"],
    );
    let standby = Cluster::new("standby", "another password");
    let _standby = standby.start(&["default_transaction_read_only=on"]);
    run(expect_ready(&standby.url("another password", "postgres")));
    let closed = crate::server::free_port();
    let url = |first: u16, more: &str| {
        format!("jdbc:postgresql://127.0.0.1:{first},127.0.0.1:{}/postgres{more}", repository.cluster.port)
    };
    let stop = |url: &str| repository.expect_stop("", &[("QUARKUS_DATASOURCE_JDBC_URL", url)], OLD_ALONE);
    stop(&url(closed, ""));
    // The driver asks the next one after a refusal, too.
    stop(&url(standby.port, ""));
    repository.cluster.execute(PASSWORD, "postgres", &["ALTER ROLE postgres PASSWORD 'another password'"]);
    let password = ("NESSIE_DB_PASSWORD", "another password");
    let empty = url(standby.port, "");
    repository.expect_start("", &[password, ("QUARKUS_DATASOURCE_JDBC_URL", &empty)]);
    let primary = url(standby.port, "?targetServerType=primary");
    repository.expect_stop("", &[password, ("QUARKUS_DATASOURCE_JDBC_URL", &primary)], OLD_ALONE);
}

#[test]
fn tables_are_looked_up_with_the_client_certificate_of_the_driver_or_it_is_said_that_they_are_not() {
    let cluster = Cluster::new("certificate", PASSWORD);
    let root = cluster.make_certificates();
    let lines = "hostssl old all 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 scram-sha-256\n";
    cluster.write_secret("pg_hba.conf", lines);
    let authority = format!("ssl_ca_file={}", root.display());
    let repository = Repository::with("certificate-start", cluster, &["ssl=on", &authority]);
    repository.database("old", "public", &OLD);
    let folder = repository.cluster.folder.path().display().to_string();
    let parameters = |key: &str| format!("sslcert={folder}/client.crt&sslkey={folder}/{key}");
    let sslmode = ("NESSIE_DB_SSLMODE", "require");
    repository.expect_stop("old", &[sslmode, ("NESSIE_DB_PARAMETERS", &parameters("client.pk8"))], OLD_ALONE);

    std::fs::write(repository.cluster.folder.join("client.p12"), "a key store").unwrap();
    let ended = repository.start("old", &[sslmode, ("NESSIE_DB_PARAMETERS", &parameters("client.p12"))]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "the server runs\n"), "{}", ended.stderr);
    let warned = "client.p12 is not a private key without a password, in PKCS #8 (DER) or PEM; only the port was waited \
                  for, and tables of another NESSIE_VERSION_STORE_TYPE were not looked for";
    assert!(ended.stderr.contains(warned), "{}", ended.stderr);
}
