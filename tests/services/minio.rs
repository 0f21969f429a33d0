//! MinIO, one server or two, with the buckets and the secrets it is told.

use crate::service::{Answer, Certificate, HOSTILE, LONG, Service, artifact, credentials, curl, give, give_secret};
use crate::support::{free_port, until};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

const PASSWORD: &str = "correct horse battery";

/// What counts as prompt for a server that is idle.
const PROMPT: Duration = Duration::from_secs(10);

pub struct Minio {
    pub service: Service,
    pub port: u16,
}

impl Minio {
    /// The documented minimum, and what differs between a container and this machine.
    pub fn new(test: &str) -> Minio {
        let mut service = Service::new("minio", test);
        let (port, console, data) = (free_port(), free_port(), service.own_folder("data"));
        service.set("MINIO_ROOT_PASSWORD", PASSWORD);
        service.set("MINIO_BINARY", artifact("bin/minio").display()).set("MINIO_DATA_DIR", data.display());
        service.set("MINIO_ADDRESS", format_args!("127.0.0.1:{port}"));
        service.set("MINIO_CONSOLE_ADDRESS", format_args!("127.0.0.1:{console}"));
        Minio { service, port }
    }

    /// Gives it a folder of certificates. Returns the path of the authority's.
    pub fn use_tls(&mut self) -> PathBuf {
        let (folder, certificate) = (self.service.own_folder("certificates"), Certificate::new());
        std::fs::write(folder.join("public.crt"), certificate.chain).unwrap();
        give_secret(&folder.join("private.key"), &certificate.key);
        self.service.set("MINIO_CERTS_DIR", folder.display());
        self.service.folder.write("authority.pem", &certificate.authority)
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    pub fn signed(&self, secret: &str, arguments: &[&str], path: &str) -> Answer {
        let url = self.url(path);
        curl(&[arguments, &[url.as_str()]].concat(), &credentials("admin", secret))
    }

    fn anonymous(&self, method: &str, path: &str) -> u16 {
        curl(&["-X", method, &self.url(path)], "").status
    }
}

/// The file is root's: only who owns it may open it as the server does.
#[test]
fn a_file_of_pools_says_where_the_server_listens_and_the_probe_follows() {
    let mut minio = Minio::new("pools");
    let (port, pool) = (free_port(), minio.service.own_folder("pool"));
    let text = format!("version: v2\naddress: \"127.0.0.1:{port}\"\npools:\n  - args:\n    - \"{}\"\n", pool.display());
    let file = minio.service.folder.write("pools.yaml", &text);
    minio.service.set("MINIO_CONFIG", file.display());
    let mut running = minio.service.start();
    minio.service.await_ready(&mut running);
    minio.port = port;
    assert_eq!(minio.anonymous("GET", "minio/health/live"), 200);
}

#[test]
fn the_documented_minimum_is_first_not_ready_then_ready() {
    let minio = Minio::new("minimum");
    let mut running = minio.service.start();
    let first = until(PROMPT, "an answer of /readyz", || minio.service.readyz());
    assert_eq!((first, minio.service.health_ready()), (503, 1));
    minio.service.await_ready(&mut running);
    minio.service.assert_not_root();
    assert_eq!(minio.service.health_ready(), 0);
    assert_eq!(minio.signed(PASSWORD, &["-X", "PUT"], "lake").status, 200);
    let ended = minio.service.stop(running, PROMPT);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}

#[test]
fn a_broken_environment_is_refused_with_all_its_problems_and_nothing_is_started_or_written() {
    let mut minio = Minio::new("broken");
    let data = minio.service.folder.join("not-made");
    minio.service.set("MINIO_ROOT_PASSWORD", "tiny").set("MINIO_ADDRESS", ":nine").set("MINIO_UPDATE", "maybe");
    minio.service.set("MINIO_DEFAULT_BUCKETS", "Lake House").set("MINIO_DATA_DIR", data.display());
    let problems = [
        "minio: environment has 4 problems",
        "MINIO_ROOT_PASSWORD is too short",
        "MINIO_ADDRESS",
        "MINIO_UPDATE",
        "MINIO_DEFAULT_BUCKETS",
    ];
    let report = minio.service.expect_refusal(&problems);
    assert!(!report.contains("tiny"), "{report}");
    assert!(!data.exists());
}

#[test]
fn a_password_everybody_knows_is_refused_and_so_is_none() {
    let mut minio = Minio::new("placeholder");
    minio.service.set("MINIO_ROOT_PASSWORD", "minioadmin").expect_refusal(&["MINIO_ROOT_PASSWORD"]);
    minio.service.set("MINIO_ROOT_PASSWORD", "").expect_refusal(&["MINIO_ROOT_PASSWORD is required"]);
}

#[test]
fn https_that_was_asked_for_never_becomes_plain_http() {
    let mut minio = Minio::new("no-certificate");
    minio.service.set("MINIO_SCHEME", "https").expect_refusal(&["MINIO_SCHEME is https, and there is no certificate"]);
    minio.service.set("MINIO_SCHEME", "").set("MINIO_CERTS_DIR", "/nonexistent");
    minio.service.expect_refusal(&["MINIO_CERTS_DIR is /nonexistent, which is not there"]);
}

#[test]
fn sigterm_while_it_starts_ends_it_at_once() {
    let minio = Minio::new("starting");
    let running = minio.service.start();
    minio.service.await_process();
    let ended = minio.service.stop(running, PROMPT);
    // Its own status: the signal's before it has a handler, 0 with one.
    let expected = if ended.stderr.contains("minio was ended by SIGTERM") { 143 } else { 0 };
    assert_eq!(ended.code(), expected, "{}", ended.stderr);
    assert!(!ended.stderr.contains("is ready"), "{}", ended.stderr);
}

#[test]
fn an_object_survives_a_restart_and_the_hostile_password_signs_for_it() {
    let mut minio = Minio::new("restart");
    minio.service.set("MINIO_ROOT_PASSWORD", HOSTILE).set("MINIO_DEFAULT_BUCKETS", "lake");
    let running = minio.service.ready();
    assert_eq!(minio.signed(HOSTILE, &["-X", "PUT", "-d", "still here"], "lake/object").status, 200);
    let refused = minio.signed(&HOSTILE[1..], &[], "lake/object");
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("<Code>SignatureDoesNotMatch</Code>"), "{}", refused.body);
    assert_eq!(minio.service.stop(running, PROMPT).code(), 0);

    let running = minio.service.ready();
    let object = minio.signed(HOSTILE, &[], "lake/object");
    assert_eq!((object.status, object.body.as_str()), (200, "still here"));
    let ended = minio.service.stop(running, PROMPT);
    let said = ended.stderr + &ended.stdout;
    assert!(!said.contains(HOSTILE) && !said.contains("漢字"), "{said}");
}

#[test]
fn buckets_are_there_before_it_is_ready_with_the_access_they_were_given_and_stay_as_they_are() {
    let mut minio = Minio::new("buckets");
    minio.service.set("MINIO_DEFAULT_BUCKETS", "lake,logs:download,raw:none");
    for (round, outcome) in ["created", "was there"].into_iter().enumerate() {
        let running = minio.service.ready();
        let said = running.stderr();
        for bucket in ["lake", "logs", "raw"] {
            assert!(said.contains(&format!("bucket {bucket} {outcome}")), "{said}");
            assert_eq!(minio.signed(PASSWORD, &["-I"], bucket).status, 200);
            if round == 0 {
                let path = format!("{bucket}/object");
                assert_eq!(minio.signed(PASSWORD, &["-X", "PUT", "-d", bucket], &path).status, 200);
            }
        }
        let reads = ["lake/object", "logs/object", "raw/object"].map(|path| minio.anonymous("GET", path));
        assert_eq!(reads, [403, 200, 403]);
        assert_eq!(minio.anonymous("GET", "logs"), 200);
        assert_eq!(minio.anonymous("PUT", "logs/other"), 403);
        assert_eq!(minio.service.stop(running, PROMPT).code(), 0);
    }
}

#[test]
fn with_a_folder_of_certificates_it_speaks_https_and_is_ready() {
    let mut minio = Minio::new("tls");
    minio.service.set("MINIO_DEFAULT_BUCKETS", "lake");
    let authority = minio.use_tls();
    let running = minio.service.ready();
    let url = minio.url("lake").replace("http:", "https:");
    let trusted = authority.to_str().unwrap();
    assert_eq!(curl(&["--cacert", trusted, "-I", &url], &credentials("admin", PASSWORD)).status, 200);
    assert_eq!(curl(&[&minio.url("lake")], "").status, 400, "HTTP where HTTPS is spoken");
    assert_eq!(minio.service.stop(running, PROMPT).code(), 0);
}

/// A folder in memory: MinIO takes no drive that is part of the root file system once there are several nodes.
struct Drives(PathBuf);

impl Drives {
    fn new() -> Drives {
        let path = PathBuf::from(format!("/dev/shm/dl-entry-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir(&path).unwrap();
        give(&path);
        Drives(path)
    }
}

impl Drop for Drives {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An address of this machine other than loopback, which several nodes may not have.
fn own_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: this only asks which way it would go.
    socket.connect("198.51.100.1:9").expect("a network other than loopback, for MinIO's nodes");
    socket.local_addr().unwrap().ip().to_string()
}

struct Cluster {
    nodes: [Minio; 2],
    address: String,
    _drives: Drives,
}

impl Cluster {
    /// Two nodes with two drives each, which differ in nothing but where they listen.
    fn new(test: &str) -> Cluster {
        let (address, drives) = (own_address(), Drives::new());
        let mut nodes = [Minio::new(test), Minio::new(test)];
        let urls = nodes.each_ref().map(|node| {
            let drive = format!("http://{address}:{}{}/{}", node.port, drives.0.display(), node.port);
            format!("{drive}-one {drive}-two")
        });
        for node in &mut nodes {
            let listens = format!("{address}:{}", node.port);
            node.service.set("MINIO_VOLUMES", urls.join(" ")).set("MINIO_ADDRESS", listens);
        }
        Cluster { nodes, address, _drives: drives }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.nodes.iter_mut().for_each(|node| _ = node.service.set(name, value));
    }

    fn signed(&self, node: usize, arguments: &[&str], path: &str) -> Answer {
        let url = self.nodes[node].url(path).replace("127.0.0.1", &self.address);
        curl(&[arguments, &[url.as_str()]].concat(), &credentials("admin", PASSWORD))
    }
}

#[test]
fn two_nodes_with_two_drives_each_are_one_storage() {
    let mut cluster = Cluster::new("distributed");
    cluster.set("MINIO_DEFAULT_BUCKETS", "lake:download");
    let [mut one, mut other] = cluster.nodes.each_ref().map(|node| node.service.start());
    cluster.nodes[0].service.await_ready(&mut one);
    cluster.nodes[1].service.await_ready(&mut other);
    for bucket in ["lake", "made"] {
        assert_eq!(cluster.signed(0, &["-X", "PUT"], "made").status == 200, bucket == "lake");
        assert_eq!(cluster.signed(1, &["-I"], bucket).status, 200);
    }
    assert_eq!(cluster.signed(0, &["-X", "PUT", "-d", "both"], "made/object").status, 200);
    assert_eq!(cluster.signed(1, &[], "made/object").body, "both");
    let stop = |node: usize, running| cluster.nodes[node].service.stop(running, LONG).code();
    assert_eq!(stop(1, other), 0);
    let without_quorum = || (cluster.nodes[0].service.readyz() == Some(503)).then_some(());
    until(LONG, "half of the drives are no quorum", without_quorum);
    assert_eq!(stop(0, one), 0);
}

#[test]
fn sigterm_while_the_buckets_wait_for_the_other_node_ends_it_at_once() {
    let mut cluster = Cluster::new("lonely");
    cluster.set("MINIO_DEFAULT_BUCKETS", "lake");
    let service = &cluster.nodes[0].service;
    let mut running = service.start();
    running.await_text(LONG, "Waiting for a minimum of 2 drives to come online");
    assert_eq!((service.readyz(), service.health_ready()), (Some(503), 1));
    let ended = service.stop(running, PROMPT);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    assert!(!ended.stderr.contains("is ready"), "{}", ended.stderr);
}
