//! Nessie on each store it is documented with, and its Iceberg catalog on a real MinIO.

use crate::minio::Minio;
use crate::service::{Answer, Certificate, HOSTILE, LONG, Service, artifact, curl, give_secret, java_home, turn};
use crate::support::{Ended, Folder, Running, free_port, require_root, until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PROMPT: Duration = Duration::from_secs(15);

pub struct Nessie {
    pub service: Service,
    pub port: u16,
    management: u16,
}

impl Nessie {
    /// What differs between a container and this machine; no store.
    fn new(test: &str) -> Nessie {
        let mut service = Service::new("nessie", test);
        let (port, management) = (free_port(), free_port());
        service.set("NESSIE_JAR", artifact("nessie-quarkus-0.99.0-runner.jar").display());
        service.set("JAVA_HOME", java_home().display()).set("NESSIE_HEAP_SIZE", "256m");
        service.set("QUARKUS_HTTP_HOST", "127.0.0.1").set("QUARKUS_HTTP_PORT", port);
        service.set("QUARKUS_MANAGEMENT_HOST", "127.0.0.1").set("QUARKUS_MANAGEMENT_PORT", management);
        Nessie { service, port, management }
    }

    /// The documented minimum for a repository in files.
    pub fn on_rocksdb(test: &str) -> Nessie {
        let mut nessie = Nessie::new(test);
        let data = nessie.service.own_folder("data").join("rocksdb");
        nessie.service.set("NESSIE_VERSION_STORE_TYPE", "ROCKSDB");
        nessie.service.set("NESSIE_VERSION_STORE_PERSIST_ROCKS_DATABASE_PATH", data.display());
        nessie
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn get(&self, path: &str) -> Answer {
        curl(&[&self.url(path)], "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        curl(&["-H", "content-type: application/json", "-d", &body.to_string(), &self.url(path)], "")
    }

    fn create_branch(&self, name: &str) {
        let main = read(&self.get("api/v2/trees/main"));
        let created = self.post(&format!("api/v2/trees?name={name}&type=BRANCH"), &main["reference"]);
        assert_eq!(read(&created)["reference"]["name"], name);
    }

    fn has_branch(&self, name: &str) -> bool {
        self.get(&format!("api/v2/trees/{name}")).status == 200
    }

    /// Stops it, and reads what it said while it ran.
    pub fn stop(&self, running: Running) -> Ended {
        let ended = self.service.stop(running, PROMPT);
        assert_eq!(ended.code(), 143, "a JVM's own status after SIGTERM: {}", ended.stderr);
        assert!(!ended.stdout.to_lowercase().contains("unrecognized configuration key"), "{}", ended.stdout);
        ended
    }
}

#[track_caller]
fn read(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.body))
}

#[test]
fn a_branch_in_rocksdb_survives_a_restart_of_the_documented_minimum() {
    let _turn = turn();
    let nessie = Nessie::on_rocksdb("rocksdb");
    let mut running = nessie.service.start();
    let first = until(PROMPT, "an answer of /readyz", || nessie.service.readyz());
    assert_eq!((first, nessie.service.health_ready()), (503, 1));
    nessie.service.await_ready(&mut running);
    nessie.service.assert_not_root();
    assert_eq!(nessie.service.health_ready(), 0);
    assert_eq!(crate::support::get(nessie.management, "/q/health/ready").0, 200);
    nessie.create_branch("kept");
    nessie.stop(running);

    let running = nessie.service.ready();
    assert!(nessie.has_branch("kept"));
    assert!(!nessie.has_branch("another"));
    nessie.stop(running);
}

#[test]
fn a_repository_in_memory_is_refused_unless_it_is_asked_for() {
    let mut nessie = Nessie::new("in-memory");
    nessie.service.set("NESSIE_VERSION_STORE_TYPE", "IN_MEMORY");
    let lost = "NESSIE_VERSION_STORE_TYPE is IN_MEMORY: every branch, commit and table is lost when the server stops";
    nessie.service.expect_refusal(&["has 1 problem", lost, "NESSIE_ALLOW_IN_MEMORY=true"]);
    nessie.service.set("NESSIE_ALLOW_IN_MEMORY", "true");
    let accepted = Running::start(nessie.service.command(&["check-env", "--service", "nessie"])).ended(PROMPT);
    assert_eq!(accepted.code(), 0, "{}", accepted.stderr);
}

#[test]
fn a_broken_environment_is_refused_with_all_its_problems_and_nothing_is_started_or_written() {
    let mut nessie = Nessie::on_rocksdb("broken");
    nessie.service.set("QUARKUS_HTTP_PORT", "99999").set("QUARKUS_LOG_LEVEL", "LOUD");
    nessie.service.set("NESSIE_CATALOG_WAREHOUSES_LAKE_LOCATION", "lake/warehouse").set("S3_SECRET_KEY", "minioadmin");
    nessie.service.set("NESSIE_SERVER_AUTHENTICATION_ENABLED", "true");
    let problems = [
        "nessie: environment has 6 problems",
        "QUARKUS_HTTP_PORT",
        "QUARKUS_LOG_LEVEL",
        "NESSIE_CATALOG_WAREHOUSES_LAKE_LOCATION",
        "S3_SECRET_KEY",
        "S3_ACCESS_KEY is required",
        "QUARKUS_OIDC_AUTH_SERVER_URL is required",
    ];
    nessie.service.expect_refusal(&problems);
    assert!(!nessie.service.folder.join("data/rocksdb").exists());
}

#[test]
fn sigterm_while_it_starts_ends_it_at_once() {
    let _turn = turn();
    let nessie = Nessie::on_rocksdb("starting");
    let running = nessie.service.start();
    nessie.service.await_process();
    let ended = nessie.stop(running);
    assert!(!ended.stderr.contains("is ready"), "{}", ended.stderr);
}

#[test]
fn sigterm_while_it_waits_for_its_database_ends_it_and_no_server_was_started() {
    let nessie = on_postgresql("waiting", free_port(), "correct horse battery");
    let mut running = nessie.service.start();
    running.await_text(PROMPT, "connection refused");
    assert_eq!((nessie.service.readyz(), nessie.service.health_ready()), (Some(503), 1));
    let asked = Instant::now();
    let ended = nessie.service.stop(running, Duration::from_secs(2));
    assert_eq!((ended.code(), ended.stdout.as_str()), (143, ""), "{} after {:?}", ended.stderr, asked.elapsed());
    assert!(!ended.stderr.contains("nessie started"), "{}", ended.stderr);
}

#[test]
fn a_provider_of_tokens_that_cannot_be_reached_is_waited_for_and_named_at_the_deadline() {
    let mut nessie = Nessie::on_rocksdb("oidc");
    let provider = format!("http://127.0.0.1:{}/realms/lakehouse", free_port());
    nessie.service.set("QUARKUS_OIDC_AUTH_SERVER_URL", &provider).set("DL_WAIT_TIMEOUT", "2s");
    let ended = nessie.service.start().ended(PROMPT);
    assert_eq!((ended.code(), ended.stdout.as_str()), (69, ""), "{}", ended.stderr);
    let named = format!("{provider}/.well-known/openid-configuration");
    assert!(ended.stderr.contains(&named) && ended.stderr.contains("connection refused"), "{}", ended.stderr);
}

/// What a provider says about itself, to whoever asks until the test program ends.
fn provider() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let issuer = format!("http://{}/realms/lakehouse", listener.local_addr().unwrap());
    let endpoint = |name: &str| format!("{issuer}/{name}");
    let (token, authorization) = (endpoint("token"), endpoint("authorization"));
    let about = json!({"issuer": issuer, "jwks_uri": endpoint("keys"), "token_endpoint": token,
        "authorization_endpoint": authorization});
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let length = stream.read(&mut request).unwrap_or_default();
            let of_keys = String::from_utf8_lossy(&request[..length]).contains("/keys ");
            let body = if of_keys { json!({"keys": []}) } else { about.clone() }.to_string();
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close";
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        }
    });
    issuer
}

#[test]
fn with_a_provider_of_tokens_nobody_gets_in_without_one() {
    let _turn = turn();
    let mut nessie = Nessie::on_rocksdb("tokens");
    nessie.service.set("QUARKUS_OIDC_AUTH_SERVER_URL", provider()).set("QUARKUS_OIDC_CLIENT_ID", "nessie");
    nessie.service.set("QUARKUS_OIDC_TOKEN_AUDIENCE", "nessie,account").set("QUARKUS_OIDC_CREDENTIALS_SECRET", HOSTILE);
    nessie.service.set("NESSIE_SERVER_AUTHORIZATION_ENABLED", "true");
    nessie
        .service
        .set("NESSIE_SERVER_AUTHORIZATION_RULES", "readers=op in ['VIEW_REFERENCE'] && role.contains('reader')");
    let running = nessie.service.ready();
    assert_eq!(nessie.get("api/v2/trees/main").status, 401);
    let forged = ["-H", "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.", &nessie.url("api/v2/trees/main")];
    assert_eq!(curl(&forged, "").status, 401);
    nessie.stop(running);
}

/// A PostgreSQL of one test, as Debian installs it.
struct Database {
    server: Child,
    port: u16,
    authority: PathBuf,
    _folder: Folder,
}

const ROLE: &str = "nessie";

impl Database {
    /// Its only role has `password`, and nobody else gets in.
    fn start(password: &str) -> Database {
        require_root("PostgreSQL does not run as root, so the test becomes postgres");
        let programs = newest("/usr/lib/postgresql");
        let postgres = User::from_name("postgres").unwrap().expect("apt-get install postgresql");
        let folder = Folder::new("postgresql");
        let secret = folder.join("password");
        let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
        let made = Certificate::new();
        give_secret(&secret, password);
        give_secret(&certificate, &made.chain);
        give_secret(&key, &made.key);
        let authority = folder.write("authority.pem", &made.authority);
        for path in [folder.path(), &secret, &certificate, &key] {
            std::os::unix::fs::chown(path, Some(postgres.uid.as_raw()), Some(postgres.gid.as_raw())).unwrap();
        }
        let data = folder.join("data");
        let mut initialise = as_postgres(&programs.join("initdb"));
        initialise.args(["--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "-U", ROLE]);
        let made = initialise.arg("--pwfile").arg(&secret).arg("-D").arg(&data).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let mut serve = as_postgres(&programs.join("postgres"));
        serve.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        for (name, path) in [("ssl_cert_file", &certificate), ("ssl_key_file", &key)] {
            serve.args(["-c", "ssl=on", "-c", &format!("{name}={}", path.display())]);
        }
        // Nothing of it is left in /tmp or /dev/shm, however it ends.
        serve.args(["-c", "unix_socket_directories=", "-c", "dynamic_shared_memory_type=mmap", "-c", "fsync=off"]);
        Database {
            server: serve.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(),
            port,
            authority,
            _folder: folder,
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.server.id() as i32), Signal::SIGINT);
        let _ = self.server.wait();
    }
}

/// Debian keeps one folder for each major version.
fn newest(folder: &str) -> PathBuf {
    let versions = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    versions.filter(|programs| programs.join("postgres").exists()).max().expect("apt-get install postgresql")
}

/// The kernel ends it when the test is killed.
fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "INT", "--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command.stdin(Stdio::null()).current_dir("/");
    command
}

/// The documented minimum for a repository in PostgreSQL.
fn on_postgresql(test: &str, port: u16, password: &str) -> Nessie {
    let mut nessie = Nessie::new(test);
    let url = format!("jdbc:postgresql://127.0.0.1:{port}/template1");
    nessie.service.set("QUARKUS_DATASOURCE_JDBC_URL", url).set("QUARKUS_DATASOURCE_USERNAME", ROLE);
    nessie.service.set("QUARKUS_DATASOURCE_PASSWORD", password);
    nessie
}

#[test]
fn a_branch_in_postgresql_survives_a_restart_and_the_hostile_password_logs_in() {
    let _turn = turn();
    let mut nessie = on_postgresql("postgresql", 0, HOSTILE);
    let database = Database::start(HOSTILE);
    let url = format!("jdbc:postgresql://127.0.0.1:{}/template1", database.port);
    nessie.service.set("QUARKUS_DATASOURCE_JDBC_URL", url);
    let running = nessie.service.ready();
    nessie.create_branch("kept");
    nessie.stop(running);

    // The same repository, said the other way.
    let mut other = Nessie::new("postgresql-other");
    other.service.set("NESSIE_DB_SSLMODE", "verify-full").set("NESSIE_DB_SSLROOTCERT", database.authority.display());
    other.service.set("NESSIE_DB_HOST", "127.0.0.1").set("NESSIE_DB_PORT", database.port);
    other.service.set("NESSIE_DB_NAME", "template1").set("NESSIE_DB_USER", ROLE).set("NESSIE_DB_PASSWORD", HOSTILE);
    for (name, value) in [
        ("NESSIE_DB_SCHEMA", "public"),
        ("NESSIE_DB_PARAMETERS", "ApplicationName=a%20catalog&connectTimeout=5"),
        ("QUARKUS_DATASOURCE_JDBC_INITIAL_SIZE", "1"),
        ("QUARKUS_DATASOURCE_JDBC_MIN_SIZE", "1"),
        ("QUARKUS_DATASOURCE_JDBC_MAX_SIZE", "5"),
        ("QUARKUS_DATASOURCE_JDBC_ACQUISITION_TIMEOUT", "20s"),
        ("QUARKUS_DATASOURCE_JDBC_MAX_LIFETIME", "PT30M"),
        ("QUARKUS_DATASOURCE_JDBC_IDLE_REMOVAL_INTERVAL", "5m"),
    ] {
        other.service.set(name, value);
    }
    let running = other.service.ready();
    assert!(other.has_branch("kept"));
    let ended = other.stop(running);
    let said = ended.stdout + &ended.stderr;
    assert!(!said.contains(HOSTILE) && !said.contains("漢字"), "{said}");

    nessie.service.set("QUARKUS_DATASOURCE_PASSWORD", &HOSTILE[1..]);
    let asked = Instant::now();
    let ended = nessie.service.start().ended(PROMPT);
    assert_eq!((ended.code(), ended.stdout.as_str()), (69, ""), "{}", ended.stderr);
    assert!(asked.elapsed() < Duration::from_secs(5), "not at once, but after {:?}", asked.elapsed());
    let why = format!("postgres://127.0.0.1:{}/template1: password authentication failed for user", database.port);
    assert!(ended.stderr.contains(&why), "{}", ended.stderr);
}

const TABLE: &str = r#"{"name": "orders", "stage-create": false, "schema": {"type": "struct", "schema-id": 0, "fields": [
    {"id": 1, "name": "number", "required": true, "type": "long"}]}}"#;

#[test]
fn an_iceberg_table_is_made_in_a_minio_whose_secret_is_hostile() {
    let _turn = turn();
    let mut minio = Minio::new("of-nessie");
    minio.service.set("MINIO_ROOT_PASSWORD", HOSTILE).set("MINIO_DEFAULT_BUCKETS", "lake");
    let storage = minio.service.ready();
    let mut nessie = Nessie::on_rocksdb("catalog");
    nessie.service.set("WAREHOUSE_LOCATION", "s3://lake/warehouse").set("S3_ENDPOINT", minio.url(""));
    nessie.service.set("S3_ACCESS_KEY", "admin").set("S3_SECRET_KEY", HOSTILE);
    // Not the secret itself, which would be refused for standing in a setting that anybody may read.
    let greeting = format!("{HOSTILE}?");
    for (name, value) in [
        ("NESSIE_CATALOG_WAREHOUSES_OTHER_LOCATION", "s3://lake/other"),
        ("NESSIE_CATALOG_WAREHOUSES_OTHER__iceberg-config-defaults.greeting", greeting.as_str()),
        ("NESSIE_CATALOG_WAREHOUSES_OTHER_EXTRA", "iceberg-config-overrides.s3.acl=private"),
        ("NESSIE_CATALOG_OBJECT_STORES_HEALTH_CHECK_ENABLED", "true"),
        ("S3_EXTERNAL_ENDPOINT", "https://s3.example.com"),
        ("S3_REQUEST_SIGNING_ENABLED", "true"),
        ("S3_CLIENT_IAM_ENABLED", "false"),
        ("S3_CLIENT_IAM_ROLE_SESSION_NAME", "lakehouse"),
        ("S3_CLIENT_IAM_SESSION_DURATION", "PT1H"),
        ("S3_SERVER_IAM_ENABLED", "false"),
    ] {
        nessie.service.set(name, value);
    }
    let running = nessie.service.ready();
    let other = read(&nessie.get("iceberg/v1/config?warehouse=other"));
    assert_eq!(other["defaults"]["greeting"], greeting, "{other}");
    assert_eq!(other["overrides"]["s3.acl"], "private", "{other}");
    let config = read(&nessie.get("iceberg/v1/config?warehouse=warehouse"));
    assert_eq!(config["overrides"]["s3.endpoint"], "https://s3.example.com", "{config}");
    let prefix = config["defaults"]["prefix"].as_str().unwrap_or_else(|| panic!("{config}"));
    let namespaces = format!("iceberg/v1/{prefix}/namespaces");
    read(&nessie.post(&namespaces, &json!({"namespace": ["sales"]})));
    let table = nessie.post(&format!("{namespaces}/sales/tables"), &serde_json::from_str(TABLE).unwrap());
    let location = read(&table)["metadata-location"].as_str().unwrap().to_owned();
    let object = location.strip_prefix("s3://").unwrap_or_else(|| panic!("{location}"));
    assert!(object.starts_with("lake/warehouse/sales/orders"), "{location}");
    let metadata = read(&minio.signed(HOSTILE, &[], object));
    assert_eq!(metadata["schemas"][0]["fields"][0]["name"], "number");
    let ended = nessie.stop(running);
    let said = ended.stdout + &ended.stderr;
    assert!(!said.contains(HOSTILE) && !said.contains("漢字"), "{said}");

    nessie.service.set("S3_SECRET_KEY", &HOSTILE[1..]);
    let ended = nessie.service.start().ended(PROMPT);
    assert_eq!((ended.code(), ended.stdout.as_str()), (69, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains("SignatureDoesNotMatch") || ended.stderr.contains("403"), "{}", ended.stderr);
    assert_eq!(minio.service.stop(storage, LONG).code(), 0);
}

#[test]
fn an_iceberg_table_is_made_in_a_minio_that_speaks_https() {
    let _turn = turn();
    let mut minio = Minio::new("of-nessie-tls");
    minio.service.set("MINIO_DEFAULT_BUCKETS", "lake");
    let authority = minio.use_tls();
    let storage = minio.service.ready();
    let mut nessie = Nessie::on_rocksdb("catalog-tls");
    let (trust, password) = (nessie.service.folder.join("trust.p12"), &HOSTILE[..12]);
    let mut import = Command::new(java_home().join("bin/keytool"));
    import.args([
        "-importcert",
        "-noprompt",
        "-alias",
        "authority",
        "-storetype",
        "PKCS12",
        "-storepass:env",
        "SECRET",
    ]);
    import.arg("-keystore").arg(&trust).arg("-file").arg(&authority).env("SECRET", password);
    let made = import.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
    nessie.service.set("WAREHOUSE_LOCATION", "s3://lake/warehouse").set("S3_CA_CERTIFICATE", authority.display());
    nessie.service.set("S3_ENDPOINT", minio.url("").replace("http:", "https:"));
    nessie.service.set("S3_ACCESS_KEY", "admin").set("S3_SECRET_KEY", "correct horse battery");
    nessie.service.set("S3_TRUST_STORE_PATH", trust.display()).set("S3_TRUST_STORE_PASSWORD", password);
    let running = nessie.service.ready();
    let namespaces = "iceberg/v1/main%7Cwarehouse/namespaces";
    read(&nessie.post(namespaces, &json!({"namespace": ["sales"]})));
    read(&nessie.post(&format!("{namespaces}/sales/tables"), &serde_json::from_str(TABLE).unwrap()));
    nessie.stop(running);
    assert_eq!(minio.service.stop(storage, LONG).code(), 0);
}

#[test]
fn with_a_certificate_and_cors_both_are_spoken_as_they_were_set() {
    let _turn = turn();
    let mut nessie = Nessie::new("tls");
    nessie.service.set("NESSIE_VERSION_STORE_TYPE", "IN_MEMORY").set("NESSIE_ALLOW_IN_MEMORY", "true");
    let (made, folder) = (Certificate::new(), &nessie.service.folder);
    let authority = folder.write("authority.pem", &made.authority);
    let (certificate, key) = (folder.write("tls.crt", &made.chain), folder.join("tls.key"));
    give_secret(&key, &made.key);
    let port = free_port();
    nessie.service.set("QUARKUS_HTTP_SSL_CERTIFICATE_FILES", certificate.display()).set("QUARKUS_HTTP_SSL_PORT", port);
    nessie.service.set("QUARKUS_HTTP_SSL_CERTIFICATE_KEY_FILES", key.display());
    nessie.service.set("QUARKUS_HTTP_INSECURE_REQUESTS", "disabled");
    nessie.service.set("QUARKUS_MANAGEMENT_SSL_CERTIFICATE_FILES", certificate.display());
    nessie.service.set("QUARKUS_MANAGEMENT_SSL_CERTIFICATE_KEY_FILES", key.display());
    // Nothing is asserted about these but that the server knows and takes them.
    for (name, value) in [
        ("QUARKUS_HTTP_CORS_METHODS", "GET,POST"),
        ("QUARKUS_HTTP_CORS_HEADERS", "authorization,content-type"),
        ("QUARKUS_HTTP_CORS_EXPOSED_HEADERS", "x-request-id"),
        ("QUARKUS_HTTP_CORS_ACCESS_CONTROL_MAX_AGE", "24H"),
        ("QUARKUS_HTTP_CORS_ACCESS_CONTROL_ALLOW_CREDENTIALS", "true"),
        ("QUARKUS_HTTP_LIMITS_MAX_BODY_SIZE", "50M"),
        ("QUARKUS_HTTP_PROXY_PROXY_ADDRESS_FORWARDING", "true"),
        ("QUARKUS_HTTP_PROXY_ENABLE_FORWARDED_HOST", "true"),
        ("QUARKUS_HTTP_PROXY_ENABLE_FORWARDED_PREFIX", "true"),
        ("QUARKUS_HTTP_PROXY_TRUSTED_PROXIES", "127.0.0.1,10.0.0.0/8"),
        ("QUARKUS_HTTP_ACCESS_LOG_PATTERN", "common"),
        ("HTTP_ACCESS_LOG_LEVEL", "INFO"),
        ("QUARKUS_HTTP_SSL_CLIENT_AUTH", "request"),
        ("QUARKUS_LOG_LEVEL", "info"),
        ("QUARKUS_LOG_CONSOLE_FORMAT", "%d{HH:mm:ss} %-5p [%c{3.}] (%t) %s%e%n"),
        ("QUARKUS_LOG_CONSOLE_COLOR", "false"),
        ("QUARKUS_LOG_CATEGORY_ORG_PROJECTNESSIE_LEVEL", "DEBUG"),
        ("NESSIE_SERVER_DEFAULT_BRANCH", "trunk"),
        ("NESSIE_SERVER_SEND_STACKTRACE_TO_CLIENT", "true"),
        ("NESSIE_VERSION_STORE_PERSIST_REPOSITORY_ID", "ours"),
        ("NESSIE_VERSION_STORE_PERSIST_CACHE_CAPACITY_MB", "16"),
        ("NESSIE_VERSION_STORE_PERSIST_CACHE_INVALIDATIONS_VALID_TOKENS", HOSTILE),
        ("NESSIE_CONFIG__quarkus.http.idle-timeout", "5M"),
        ("NESSIE_EXTRA_CONFIG", "nessie.version.store.persist.commit-retries=7\nquarkus.http.read-timeout=20s"),
    ] {
        nessie.service.set(name, value);
    }
    nessie.service.set("QUARKUS_HTTP_CORS", "true").set("QUARKUS_HTTP_CORS_ORIGINS", "https://ui.example.com");
    let running = nessie.service.ready();
    let trusted = authority.to_str().unwrap();
    let url = format!("https://127.0.0.1:{port}/api/v2/config");
    assert_eq!(curl(&["--cacert", trusted, &url], "").status, 200);
    let management = format!("https://127.0.0.1:{}/q/health/ready", nessie.management);
    assert_eq!(curl(&["--cacert", trusted, &management], "").status, 200);
    assert!(std::net::TcpStream::connect(("127.0.0.1", nessie.port)).is_err(), "HTTP is off");

    let preflight = |origin: &str| {
        let origin = format!("Origin: {origin}");
        let asked =
            ["-X", "OPTIONS", "-H", "Access-Control-Request-Method: GET", "-H", &origin, "--cacert", trusted, &url];
        curl(&asked, "").head.to_lowercase()
    };
    let allowed = "access-control-allow-origin: https://ui.example.com";
    assert!(preflight("https://ui.example.com").contains(allowed));
    assert!(!preflight("https://evil.example.com").contains("access-control-allow-origin"));
    nessie.stop(running);
}

#[test]
fn no_output_of_a_start_holds_a_secret() {
    let _turn = turn();
    let mut nessie = Nessie::on_rocksdb("secrets");
    let secrets = ["Zq1-jvm.K7", "Zq2-s3.secret.K7", "Zq3-tokens.K7", "Zq4-database.K7", "Zq5-oidc.K7", "Zq6-kafka.K7"];
    let [jvm, s3, tokens, database, oidc, kafka] = secrets;
    nessie.service.set("JAVA_OPTS_APPEND", format_args!("-Dlake.password={jvm}"));
    nessie.service.set("WAREHOUSE_LOCATION", "s3://lake/wh").set("S3_ACCESS_KEY", "lake-svc").set("S3_SECRET_KEY", s3);
    nessie.service.set("NESSIE_VERSION_STORE_PERSIST_CACHE_INVALIDATIONS_VALID_TOKENS", tokens);
    nessie.service.set("QUARKUS_DATASOURCE_PASSWORD", database).set("QUARKUS_OIDC_CREDENTIALS_SECRET", oidc);
    nessie.service.set("QUARKUS_KAFKA_PASSWORD", kafka);
    // Readiness asks the object store, which is not there: what the server says until it answers is enough.
    let running = nessie.service.start();
    until(LONG, "the end of the start", || running.stdout().contains("Profile prod activated").then_some(()));
    let ended = nessie.service.stop(running, PROMPT);
    for said in [&ended.stdout, &ended.stderr] {
        let told: Vec<&str> = said.lines().filter(|line| secrets.iter().any(|secret| line.contains(secret))).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
}
