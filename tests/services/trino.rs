//! Trino alone, on a lakehouse, with passwords, and as a cluster that loses a worker without losing a query.

use crate::minio::Minio;
use crate::nessie::Nessie;
use crate::service::{Answer, HOSTILE, LONG, Service, artifact, curl, java_home, turn};
use crate::support::{ANOTHER_REQUEST, Running, free_port, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Every text that a start must not print.
const SECRETS: [&str; 6] =
    ["Zq1-jvm.K7", "Zq2-shared-by-nodes.K7", "Zq3-oauth.K7", "Zq4-bearer.K7", "Zq5-s3.K7", "Zq6-exchange.K7"];

/// What counts as prompt for a JVM that has little to finish.
const PROMPT: Duration = Duration::from_secs(15);

/// What the workers here may take to drain: twice their TRINO_SHUTDOWN_GRACE_PERIOD and a minute.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(72);

struct Trino {
    service: Service,
    port: u16,
    /// How queries reach it, and as whom.
    url: String,
    config: String,
}

impl Trino {
    /// The documented minimum, and a Java that compiles less: it starts with half the work.
    fn new(test: &str) -> Trino {
        let mut trino = Trino::minimum(test);
        trino.service.set("TRINO_JVM_OPTIONS", "-XX:TieredStopAtLevel=1");
        trino
    }

    /// What differs between a container and this machine: folders, ports, loopback, little memory.
    fn minimum(test: &str) -> Trino {
        let mut service = Service::new("trino", test);
        let (port, data) = (free_port(), service.own_folder("data"));
        service.set("JAVA_HOME", java_home().display()).set("TRINO_HOME", artifact("trino-server-476").display());
        service.set("TRINO_NODE_ID", test).set("TRINO_NODE_DATA_DIR", data.display()).set("TRINO_JVM_XMX", "1g");
        service.set("TRINO_NODE_BIND_IP", "127.0.0.1").set("TRINO_NODE_INTERNAL_ADDRESS", "127.0.0.1");
        service.set("TRINO_ALLOW_LOOPBACK", "true").set("TRINO_HTTP_SERVER_PORT", port);
        let config = "header = \"X-Trino-User: tester\"\n".to_owned();
        Trino { service, port, url: format!("http://127.0.0.1:{port}"), config }
    }

    fn coordinator(test: &str, secret: &str) -> Trino {
        let mut trino = Trino::new(&format!("{test}-coordinator"));
        trino.service.set("TRINO_ROLE", "coordinator").set("TRINO_SHARED_SECRET", secret).set("TRINO_CATALOGS", "tpch");
        trino
    }

    fn worker(test: &str, coordinator: &Trino, secret: &str) -> Trino {
        let mut trino = Trino::new(test);
        trino.service.set("TRINO_ROLE", "worker").set("TRINO_SHARED_SECRET", secret).set("TRINO_CATALOGS", "tpch");
        trino.service.set("TRINO_DISCOVERY_URI", format_args!("http://127.0.0.1:{}", coordinator.port));
        trino.service.set("TRINO_SHUTDOWN_GRACE_PERIOD", "6s").set("TRINO_JVM_XMX", "768m");
        trino
    }

    fn curl(&self, arguments: &[&str], url: &str) -> Answer {
        curl(&[arguments, &[url]].concat(), &self.config)
    }

    /// The rows of a query, by the protocol every client of Trino speaks: POST, then `nextUri` until there is none.
    fn query(&self, sql: &str) -> Result<Vec<Value>, String> {
        let mut rows = Vec::new();
        let mut answer = self.curl(&["-d", sql], &format!("{}/v1/statement", self.url));
        loop {
            let state: Value = serde_json::from_str(&answer.body)
                .map_err(|error| format!("{} {error}: {}", answer.status, answer.body))?;
            if let Some(error) = state.get("error") {
                return Err(error["message"].to_string());
            }
            rows.extend(state["data"].as_array().into_iter().flatten().cloned());
            let Some(next) = state["nextUri"].as_str() else { return Ok(rows) };
            answer = self.curl(&[], next);
        }
    }

    fn rows(&self, sql: &str) -> String {
        let rows = self.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        Value::from(rows).to_string()
    }

    fn stop(&self, running: Running) {
        let ended = self.service.stop(running, PROMPT);
        assert_eq!(ended.code(), 143, "a JVM's own status after SIGTERM: {}", ended.stderr);
    }
}

#[test]
fn the_documented_minimum_is_first_not_ready_then_ready_and_answers() {
    let _turn = turn();
    let trino = Trino::minimum("minimum");
    let mut running = trino.service.start();
    let first = until(PROMPT, "an answer of /readyz", || trino.service.readyz());
    assert_eq!((first, trino.service.health_ready()), (503, 1));
    trino.service.await_ready(&mut running);
    assert_eq!(trino.service.health_ready(), 0);
    assert_eq!(trino.rows("SELECT 1 + 1, 'x'"), r#"[[2,"x"]]"#);
    assert_eq!(trino.rows("SELECT node_id, state FROM system.runtime.nodes"), r#"[["minimum","active"]]"#);
    trino.stop(running);
}

#[test]
fn the_first_query_after_ready_finds_the_nodes_of_its_catalog() {
    let _turn = turn();
    let mut trino = Trino::new("first-query");
    trino.service.set("TRINO_CATALOGS", "tpch");
    let running = trino.service.ready();
    assert_eq!(trino.rows("SELECT count(*) FROM tpch.tiny.nation"), "[[25]]");
    trino.stop(running);
}

#[test]
fn a_broken_environment_is_refused_with_all_its_problems_and_nothing_is_started_or_written() {
    let mut trino = Trino::new("broken");
    let data = trino.service.folder.join("not-made");
    trino.service.set("TRINO_NODE_DATA_DIR", data.display()).set("TRINO_NODE_ID", "a b");
    trino.service.set("TRINO_JVM_XMX", "128m").set("TRINO_QUERY_MAX_MEMORY", "4").set("TRINO_SPILL_ENABLED", "perhaps");
    trino.service.set("TRINO_NODE_ENVIRONMENT", "pro-d").set("TRINO_QUERY_MAX_RUN_TIME", "60");
    trino.service.set("TRINO_CONFIG__query.max-total-memory-per-node", "1GB").set("S3_SECRET_KEY", "minioadmin");
    let problems = [
        "trino: environment has 8 problems",
        "TRINO_NODE_ENVIRONMENT has an invalid format",
        "TRINO_NODE_ID has an invalid format",
        "TRINO_JVM_XMX is out of range",
        "TRINO_QUERY_MAX_MEMORY is a size without its unit",
        "TRINO_QUERY_MAX_RUN_TIME is a duration without its unit",
        "TRINO_SPILL_ENABLED is neither true nor false",
        "S3_SECRET_KEY is not a safe secret",
        "query.max-total-memory-per-node, which stops version 476",
    ];
    trino.service.expect_refusal(&problems);
    assert!(!data.exists());
}

#[test]
fn sigterm_while_it_waits_for_its_catalog_ends_it_at_once() {
    let mut trino = Trino::new("waiting");
    trino.service.set("NESSIE_URI", format_args!("http://127.0.0.1:{}", free_port()));
    let mut running = trino.service.start();
    running.await_text(PROMPT, "connection refused");
    assert_eq!(trino.service.readyz(), Some(503));
    let ended = trino.service.stop(running, PROMPT);
    assert_eq!(ended.code(), 143, "{}", ended.stderr);
    assert_eq!(ended.stdout, "");
}

#[test]
fn sigterm_while_it_starts_ends_it_at_once() {
    let _turn = turn();
    let trino = Trino::new("starting");
    // A JVM that has not taken its signals over yet, and a server half way up.
    for moment in ["starting", "-- Loading plugin"] {
        let mut running = trino.service.start();
        trino.service.await_process();
        running.await_text(LONG, moment);
        assert_eq!(trino.service.readyz(), Some(503), "{moment}");
        trino.stop(running);
    }
}

#[test]
fn tables_of_a_lakehouse_survive_a_restart_of_all_three_and_the_hostile_key_opens_them() {
    let _turn = turn();
    let mut minio = Minio::new("lakehouse");
    minio.service.set("MINIO_ROOT_PASSWORD", HOSTILE).set("MINIO_DEFAULT_BUCKETS", "lake");
    let mut nessie = Nessie::on_rocksdb("lakehouse");
    nessie.service.set("WAREHOUSE_LOCATION", "s3://lake/warehouse");
    nessie.service.set("S3_ENDPOINT", minio.url("")).set("S3_ACCESS_KEY", "admin").set("S3_SECRET_KEY", HOSTILE);
    let mut trino = Trino::new("lakehouse");
    trino.service.set("NESSIE_URI", format_args!("http://127.0.0.1:{}", nessie.port));
    trino.service.set("S3_ENDPOINT", minio.url("")).set("S3_ACCESS_KEY", "admin").set("S3_SECRET_KEY", HOSTILE);
    // The same tables, once more through Nessie's own interface.
    trino.service.set("TRINO_CATALOG_NATIVE_NESSIE_CATALOG_URI", nessie.url("api/v2"));
    trino.service.set("TRINO_CATALOG_NATIVE_NESSIE_CATALOG_DEFAULT_WAREHOUSE_DIR", "s3://lake/warehouse");
    let lakes = "SELECT name, depth FROM iceberg.geo.lakes ORDER BY depth";
    let expected = r#"[["O'Higgins/San Martín",836],["Baikal",1642]]"#;
    for round in ["written", "still there"] {
        let servers = (minio.service.ready(), nessie.service.ready(), trino.service.ready());
        if round == "written" {
            trino.rows("CREATE SCHEMA iceberg.geo");
            trino.rows("CREATE TABLE iceberg.geo.lakes (name varchar, depth integer)");
            trino.rows("INSERT INTO iceberg.geo.lakes VALUES ('Baikal', 1642), ('O''Higgins/San Martín', 836)");
        }
        assert_eq!(trino.rows(lakes), expected, "{round}");
        assert_eq!(trino.rows(&lakes.replace("iceberg.", "native.")), expected, "{round}");
        trino.stop(servers.2);
        nessie.stop(servers.1);
        minio.service.stop(servers.0, PROMPT);
    }
}

#[test]
fn a_hostile_password_logs_in_over_https_and_a_wrong_one_does_not() {
    let _turn = turn();
    let mut trino = Trino::new("passwords");
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certified = rcgen::generate_simple_self_signed(names).unwrap();
    let certificate = trino.service.folder.write("certificate.pem", &certified.cert.pem());
    let key = trino.service.folder.write("key.pem", &certified.signing_key.serialize_pem());
    let port = free_port();
    trino.service.set("TRINO_HTTPS_PORT", port).set("TRINO_SHARED_SECRET", HOSTILE);
    trino.service.set("TRINO_HTTPS_CERTIFICATE", certificate.display()).set("TRINO_HTTPS_PRIVATE_KEY", key.display());
    // Trino reads what a client sends as ISO 8859-1, as its own client writes it: no password goes beyond that.
    let password = format!("{}ü", HOSTILE.split('ü').next().unwrap());
    let sent: Vec<u8> = password.chars().map(|c| c as u8).collect();
    // Both forms that Trino reads, in the list that fits on one line.
    trino.service.set("TRINO_USERS", format_args!("alice:{},bob:{}", pbkdf2(&password), bcrypt(password.as_bytes())));
    trino.url = format!("https://127.0.0.1:{port}");
    let running = trino.service.ready();

    let tls = format!("cacert = \"{}\"\n", certificate.display());
    for user in ["alice", "bob"] {
        let pair = base64(&[user.as_bytes(), b":", &sent].concat());
        trino.config = format!("header = \"Authorization: Basic {pair}\"\n{tls}");
        assert_eq!(trino.rows("SELECT current_user"), format!("[[\"{user}\"]]"));
    }
    trino.config = format!("user = \"alice:wrong\"\n{tls}");
    assert_eq!(trino.curl(&["-d", "SELECT 1"], &format!("{}/v1/statement", trino.url)).status, 401);
    trino.config = format!("header = \"X-Trino-User: alice\"\n{tls}");
    assert_eq!(trino.curl(&["-d", "SELECT 1"], &format!("{}/v1/statement", trino.url)).status, 401);
    // Only who signs with the shared secret, every character of it, is a node.
    for (secret, status) in [(HOSTILE, 200), (&HOSTILE[1..], 401), (HOSTILE.trim_end_matches('🐘'), 401)] {
        trino.config = format!("header = \"X-Trino-Internal-Bearer: {}\"\n{tls}", node_token(secret));
        assert_eq!(trino.curl(&[], &format!("{}/v1/task", trino.url)).status, status);
    }
    let said = running.stderr() + &running.stdout();
    assert!(!said.contains(&password) && !said.contains("漢字"), "{said}");
    trino.stop(running);
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    let output = piped("base64", &["-w0"], bytes);
    output.trim().to_owned()
}

/// A line of Trino's password file for `password`: iterations, salt and hash (trino.io: password file authentication).
fn pbkdf2(password: &str) -> String {
    let program = "import hashlib, sys\n\
        hashed = hashlib.pbkdf2_hmac('sha1', sys.stdin.buffer.read(), bytes.fromhex('0102030405060708'), 1000, 64)\n\
        print('1000:0102030405060708:' + hashed.hex())";
    piped("python3", &["-c", program], password.as_bytes()).trim().to_owned()
}

/// As htpasswd -B writes it, made by the system's own crypt(3).
fn bcrypt(password: &[u8]) -> String {
    let program = "undef $/; binmode STDIN; print crypt(<STDIN>, '$2y$10$abcdefghijklmnopqrstuu')";
    let hash = piped("perl", &["-e", program], password);
    assert!(hash.starts_with("$2y$"), "crypt(3) of this system knows no bcrypt: {hash:?}");
    hash
}

/// What a node shows to another: a JWT (RFC 7519), signed with the SHA-256 of the shared secret
/// (io.trino.server.InternalAuthenticationManager).
fn node_token(secret: &str) -> String {
    let program = "import base64, hashlib, hmac, json, sys, time\n\
        part = lambda content: base64.urlsafe_b64encode(content).rstrip(b'=')\n\
        key = hashlib.sha256(sys.stdin.buffer.read()).digest()\n\
        claims = json.dumps({'sub': 'tester', 'exp': int(time.time()) + 60}).encode()\n\
        signed = part(b'{\"alg\":\"HS256\"}') + b'.' + part(claims)\n\
        print((signed + b'.' + part(hmac.digest(key, signed, 'sha256'))).decode())";
    piped("python3", &["-c", program], secret.as_bytes()).trim().to_owned()
}

/// What a program makes of its input, which is on no command line.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{program}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_second_sigterm_ends_the_drain_and_leaves_the_server_its_own_time() {
    let (worker, listener) = deaf_worker("second-sigterm");
    let running = worker.service.start_with_listener(&listener);
    worker.service.await_process();
    running.signal(Signal::SIGTERM);
    let held = request_to_drain(&listener);
    std::thread::sleep(ANOTHER_REQUEST);
    running.signal(Signal::SIGTERM);
    until(PROMPT, "the second rung", || running.stderr().contains("stopping: SIGTERM, then 30s").then_some(()));
    // The request fails only now, when nobody waits for its answer.
    drop(held);
    let ended = running.ended(PROMPT);
    assert_eq!(ended.code(), 5, "{}", ended.stderr);
}

#[test]
fn a_drain_nobody_answers_is_given_up_in_time_and_leaves_the_server_its_own() {
    let (mut worker, listener) = deaf_worker("unanswered");
    worker.service.set("TRINO_DRAIN_TIMEOUT", "1s");
    let running = worker.service.start_with_listener(&listener);
    worker.service.await_process();
    running.signal(Signal::SIGTERM);
    let _held = request_to_drain(&listener);
    let ended = running.ended(PROMPT);
    assert_eq!(ended.code(), 5, "{}", ended.stderr);
}

/// A worker with a program of the test's in the place of Trino, which takes half a second to end with status 5, and
/// where requests to it arrive.
fn deaf_worker(test: &str) -> (Trino, TcpListener) {
    let mut worker = Trino::new(test);
    let home = worker.service.folder.join("java");
    std::fs::create_dir_all(home.join("bin")).unwrap();
    let program = "#!/bin/sh\ntrap 'sleep 0.5; exit 5' TERM\nwhile :; do sleep 0.05; done\n";
    let java = worker.service.folder.write("java/bin/java", program);
    std::fs::set_permissions(&java, std::fs::Permissions::from_mode(0o755)).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    worker.service.set("JAVA_HOME", home.display()).set("TRINO_HTTP_SERVER_PORT", port).set("TRINO_ROLE", "worker");
    worker.service.set("TRINO_DISCOVERY_URI", "http://127.0.0.1:1").set("TRINO_WAIT_FOR_DEPENDENCIES", "false");
    (worker, listener)
}

/// The connection a request to drain came on; whoever asks something else is turned away.
fn request_to_drain(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    until(PROMPT, "a request to drain", || {
        let (mut stream, _) = listener.accept().ok()?;
        stream.set_read_timeout(Some(PROMPT)).unwrap();
        let mut method = [0; 4];
        stream.read_exact(&mut method).ok().filter(|()| method == *b"PUT ").map(|()| stream)
    })
}

#[test]
fn two_workers_share_a_query_and_draining_one_of_them_under_load_fails_none() {
    let _turn = turn();
    let coordinator = Trino::coordinator("cluster", HOSTILE);
    let workers = ["worker-a", "worker-b"].map(|name| Trino::worker(name, &coordinator, HOSTILE));
    let mut leading = coordinator.service.start();
    // A coordinator that executes nothing is not ready alone, although it has started.
    until(LONG, "the coordinator to have started", || started(&coordinator));
    assert_eq!(coordinator.service.readyz(), Some(503));
    let [first, second] = workers.each_ref().map(|worker| worker.service.start());
    let mut executing = [first, second];
    for (worker, running) in workers.iter().zip(&mut executing) {
        worker.service.await_ready(running);
    }
    coordinator.service.await_ready(&mut leading);
    until(LONG, "three active nodes", || (active_nodes(&coordinator) == 3).then_some(()));
    assert_eq!(nodes_that_worked(&coordinator), r#"[["worker-a"],["worker-b"]]"#);

    let [first, second] = executing;
    drain_under_load(&coordinator, &workers[0], first);
    until(PROMPT, "two active nodes", || (active_nodes(&coordinator) == 2).then_some(()));
    assert_eq!(coordinator.service.readyz(), Some(200));
    stop_without_draining(&workers[1], second);
    coordinator.stop(leading);
}

fn started(trino: &Trino) -> Option<()> {
    let output = Command::new("curl").args(["-sS", &format!("{}/v1/info", trino.url)]).output().unwrap();
    let info: Value = serde_json::from_slice(&output.stdout).ok()?;
    (info["starting"] == false).then_some(())
}

fn active_nodes(coordinator: &Trino) -> usize {
    coordinator.query("SELECT node_id FROM system.runtime.nodes WHERE state = 'active'").unwrap().len()
}

/// The workers that took part in one aggregation over tpch.
fn nodes_that_worked(coordinator: &Trino) -> String {
    let sql = "SELECT count(DISTINCT partkey) AS shared_by_both FROM tpch.sf1.lineitem";
    assert_eq!(coordinator.rows(sql), "[[200000]]");
    coordinator.rows(
        "SELECT DISTINCT node_id FROM system.runtime.tasks JOIN system.runtime.queries USING (query_id) \
         WHERE query LIKE '%shared_by_both%' AND query NOT LIKE '%system.runtime%' \
         AND processed_input_rows > 0 ORDER BY 1",
    )
}

/// Queries from three clients, all the time, while the worker gets SIGTERM, drains and ends.
fn drain_under_load(coordinator: &Trino, worker: &Trino, running: Running) {
    let load = Load::default();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| load.ask_again_and_again(coordinator))).collect();
        // Dropped in a failure too: the scope waits for its threads.
        let enough = load.until_dropped();
        until(LONG, "some answers", || (load.answered() > 5).then_some(()));
        let before = load.answered();
        drain(worker, running);
        let during = load.answered() - before;
        drop(enough);
        assert!(during > 3, "the load was no load: {during} queries");
        for client in clients {
            client.join().expect("a query failed");
        }
    });
}

/// Two SIGTERMs: the second one says that nobody wants to wait for the drain.
fn stop_without_draining(worker: &Trino, running: Running) {
    running.signal(Signal::SIGTERM);
    until(PROMPT, "a worker that drains", || (worker.service.readyz() == Some(503)).then_some(()));
    std::thread::sleep(ANOTHER_REQUEST);
    worker.stop(running);
}

/// One SIGTERM; the worker takes no new work, ends within its time and leaves nothing.
fn drain(worker: &Trino, running: Running) {
    let began = Instant::now();
    running.signal(Signal::SIGTERM);
    until(PROMPT, "a worker that is not ready", || (worker.service.readyz() == Some(503)).then_some(()));
    let ended = running.ended(LONG);
    let took = began.elapsed();
    assert_eq!(ended.code(), 0, "drained, it ends by itself: {}", ended.stderr);
    // It waits for the coordinator to notice, before and after: twice the grace period at least.
    assert!(took > Duration::from_secs(10) && took < DRAIN_TIMEOUT, "{took:?}: {}", ended.stderr);
    assert_eq!(worker.service.processes(), Vec::<String>::new());
}

/// Queries that go on until told otherwise, and how many have been answered.
#[derive(Default)]
struct Load {
    done: AtomicBool,
    answered: AtomicUsize,
}

/// Ends a load when it goes out of scope.
struct Enough<'load>(&'load AtomicBool);

impl Drop for Enough<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    fn until_dropped(&self) -> Enough<'_> {
        Enough(&self.done)
    }

    fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    fn ask_again_and_again(&self, coordinator: &Trino) {
        while !self.done.load(Ordering::Relaxed) {
            let rows = coordinator.query("SELECT count(DISTINCT orderkey) FROM tpch.tiny.lineitem");
            assert_eq!(rows.map(|rows| Value::from(rows).to_string()), Ok("[[15000]]".to_owned()));
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn no_output_of_a_start_holds_a_secret_and_every_known_key_of_a_connector_is_known_to_it() {
    let _turn = turn();
    let mut trino = Trino::new("secrets");
    let [jvm, shared, oauth, bearer, s3, exchange] = SECRETS;
    trino.service.set("TRINO_JVM_OPTIONS", format_args!("-XX:TieredStopAtLevel=1 -Dlake.password={jvm}"));
    trino.service.set("TRINO_WAIT_FOR_DEPENDENCIES", "false").set("TRINO_SHARED_SECRET", shared);
    trino.service.set("TRINO_CATALOG_LAKE_CATALOG_TYPE", "rest");
    trino.service.set("TRINO_CATALOG_LAKE_REST_CATALOG_URI", "http://127.0.0.1:1/iceberg");
    trino.service.set("TRINO_CATALOG_LAKE_REST_CATALOG_SECURITY", "OAUTH2");
    trino.service.set("TRINO_CATALOG_LAKE_REST_CATALOG_OAUTH2_CREDENTIAL", format_args!("lake:{oauth}"));
    trino.service.set("TRINO_CATALOG_OLD_CATALOG_TYPE", "nessie");
    trino.service.set("TRINO_CATALOG_OLD_NESSIE_CATALOG_URI", "http://127.0.0.1:1/api/v2");
    trino.service.set("TRINO_CATALOG_OLD_NESSIE_CATALOG_DEFAULT_WAREHOUSE_DIR", "s3://lake/");
    trino.service.set("TRINO_CATALOG_OLD_NESSIE_CATALOG_AUTHENTICATION_TOKEN", bearer);
    trino.service.set("S3_ENDPOINT", "http://127.0.0.1:1").set("S3_ACCESS_KEY", "lake-svc").set("S3_SECRET_KEY", s3);
    trino.service.set("TRINO_EXCHANGE_BASE_DIRECTORIES", "s3://exchange").set("TRINO_RETRY_POLICY", "TASK");
    trino.service.set("TRINO_EXCHANGE_S3_ENDPOINT", "http://127.0.0.1:1").set("TRINO_EXCHANGE_S3_REGION", "us-east-1");
    trino.service.set("TRINO_EXCHANGE_S3_ACCESS_KEY", "lake-svc").set("TRINO_EXCHANGE_S3_SECRET_KEY", exchange);
    trino.service.set("TRINO_CATALOGS", "tpch,memory,jmx");
    for (key, value) in KNOWN_KEYS {
        let connector = key.split('.').next().unwrap().to_uppercase();
        trino.service.set(&format!("TRINO_CATALOG_{connector}__{key}"), value);
    }
    let running = trino.service.ready();
    // A static catalog that cannot be loaded stops the server; a query would wait for the exchange, which is not there.
    let ended = trino.service.stop(running, PROMPT);
    for said in [&ended.stdout, &ended.stderr] {
        let told: Vec<&str> = said.lines().filter(|line| SECRETS.iter().any(|secret| line.contains(secret))).collect();
        assert!(told.is_empty(), "{told:#?}");
    }
    let said = ended.stdout + &ended.stderr;
    assert!(said.contains("tpch.splits-per-node"), "the server does not print its settings: {said}");
}

/// Every key of the tables of small connectors, with a value it may have.
const KNOWN_KEYS: [(&str, &str); 14] = [
    ("jmx.dump-period", "30s"),
    ("jmx.dump-tables", "java.lang:type=Runtime"),
    ("jmx.max-entries", "100"),
    ("memory.enable-lazy-dynamic-filtering", "false"),
    ("memory.max-data-per-node", "16MB"),
    ("memory.splits-per-node", "2"),
    ("tpch.column-naming", "STANDARD"),
    ("tpch.double-type-mapping", "DECIMAL"),
    ("tpch.max-rows-per-page", "1000"),
    ("tpch.partitioning-enabled", "false"),
    ("tpch.predicate-pushdown-enabled", "false"),
    ("tpch.splits-per-node", "2"),
    ("tpch.table-scan-redirection-catalog", "memory"),
    ("tpch.table-scan-redirection-schema", "default"),
];
