//! Patroni: three nodes that agree on a leader, and lose no write they have acknowledged when it goes.

use crate::postgresql::Postgresql;
use crate::service::{HOSTILE, LONG, Service, artifact, give_secret};
use crate::support::{Folder, Running, free_port, require_root, until};
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

const PASSWORD: &str = "correct horse battery";
const APP: &str = "app; \"DROP\"";
const TTL: u16 = 20;
const LOOP_WAIT: u16 = 1;

/// A store for the nodes.
struct Etcd {
    child: Child,
    client: u16,
    _folder: Folder,
}

impl Etcd {
    fn start(test: &str) -> Etcd {
        let (folder, client, peer) = (Folder::new(&format!("etcd-{test}")), free_port(), free_port());
        let (client_url, peer_url) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(folder.join("data")).args(["--name", "one", "--log-level", "error"]);
        command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
        command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        command.args(["--initial-cluster", &format!("one={peer_url}"), "--unsafe-no-fsync"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("apt-get install etcd-server");
        Etcd { child, client, _folder: folder }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One node: process 1 of a namespace of its own, on an address and ports of its own.
struct Node {
    service: Service,
    address: String,
    port: u16,
    rest: u16,
    running: Option<Running>,
}

impl Node {
    fn new(number: usize, etcd: &Etcd) -> Node {
        let mut service = Service::new("patroni", &format!("node{number}"));
        let (port, rest, address) = (free_port(), free_port(), format!("127.0.0.{}", number + 1));
        let (data, socket) = (service.own_folder("volume").join("data"), service.own_folder("socket"));
        service.set("PATRONI_SCOPE", "lakehouse").set("PATRONI_NAME", format!("node{number}"));
        // As the platform's compose file has them.
        service.set("ETCD_HOSTS", format!("'127.0.0.1:{}'", etcd.client)).set("PATRONI_API_PASSWORD", PASSWORD);
        service.set("POSTGRESQL_POSTGRES_PASSWORD", HOSTILE).set("POSTGRESQL_REPLICATION_PASSWORD", PASSWORD);
        service.set("POSTGRESQL_REWIND_PASSWORD", PASSWORD).set("POSTGRESQL_USERNAME", APP);
        service.set("POSTGRESQL_PASSWORD", HOSTILE).set("POSTGRESQL_DATABASE", "main's");
        service.set("NESSIE_DB", "nessie").set("NESSIE_PASSWORD", PASSWORD).set("DL_ALLOW_INSECURE", "1");
        let listen = |port| format!("{address}:{port}");
        service.set("PATRONI_POSTGRESQL_LISTEN", listen(port)).set("PATRONI_RESTAPI_LISTEN", listen(rest));
        service.set("PATRONI_POSTGRESQL_CONNECT_ADDRESS", listen(port));
        service.set("PATRONI_RESTAPI_CONNECT_ADDRESS", listen(rest));
        service.set("PGDATA", data.display()).set("POSTGRES_EPHEMERAL", "yes");
        service.set("POSTGRES_SOCKET_DIR", socket.display()).set("POSTGRES_SHARED_BUFFERS", "32MB");
        service.set("PATRONI_TTL", TTL).set("PATRONI_LOOP_WAIT", LOOP_WAIT).set("PATRONI_RETRY_TIMEOUT", 3);
        service.set("PATRONI_SYNCHRONOUS_MODE", "on").set("DL_NAME_SERVICE", "on");
        service.set("PATRONI_BINARY", "/usr/bin/python3 -m patroni");
        service.set("PYTHONPATH", artifact("patroni").display());
        Node { service, address, port, rest, running: None }
    }

    fn start(&mut self) {
        self.running = Some(Postgresql::as_process_1(&self.service, &["run", "--service", "patroni"]));
    }

    fn ready(&mut self) {
        self.service.await_ready(self.running.as_mut().expect("it was started"));
    }

    /// The whole tree at once, as a container's.
    fn kill(&mut self) {
        let running = self.running.take().expect("it runs");
        Postgresql::end(&running, Signal::SIGKILL);
        running.ended(LONG);
    }

    /// What it printed.
    fn stop(&mut self) -> String {
        Postgresql::stop(self.running.take().expect("it runs"))
    }

    /// Whether its REST interface answers that it is this.
    fn is(&self, role: &str) -> bool {
        let url = format!("http://{}:{}/{role}", self.address, self.rest);
        let output =
            Command::new("curl").args(["-s", "-o", "/dev/null", "-m", "2", "-w", "%{http_code}", &url]).output();
        self.running.is_some() && output.is_ok_and(|output| output.stdout == b"200")
    }
}

struct Cluster {
    etcd: Etcd,
    nodes: Vec<Node>,
}

impl Cluster {
    /// A leader, and two standbys of which one has every commit.
    fn ready(test: &str) -> Cluster {
        require_root("Patroni runs as the user of a container, in a namespace");
        let etcd = Etcd::start(test);
        let mut nodes: Vec<Node> = (1..=3).map(|number| Node::new(number, &etcd)).collect();
        nodes.iter_mut().for_each(Node::start);
        nodes.iter_mut().for_each(Node::ready);
        let cluster = Cluster { etcd, nodes };
        cluster.await_synchronous();
        cluster
    }

    fn await_synchronous(&self) {
        until(LONG, "a synchronous standby", || self.nodes.iter().any(|node| node.is("synchronous")).then_some(()));
    }

    fn leader(&self) -> usize {
        until(LONG, "a leader", || self.nodes.iter().position(|node| node.is("primary")))
    }

    fn client(&self) -> Client {
        let list = |of: &dyn Fn(&Node) -> String| self.nodes.iter().map(of).collect::<Vec<_>>().join(",");
        Client { hosts: list(&|node| node.address.clone()), ports: list(&|node| node.port.to_string()) }
    }
}

/// An application that knows all nodes, and writes to whichever takes writes.
struct Client {
    hosts: String,
    ports: String,
}

impl Client {
    /// What psql prints as this role; nothing where it fails.
    fn psql(&self, user: &str, password: &str, database: &str, statement: &str) -> Option<String> {
        let mut command = Command::new("psql");
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", database, "-c", statement]);
        command.env("PGHOST", &self.hosts).env("PGPORT", &self.ports).env("PGTARGETSESSIONATTRS", "read-write");
        command.env("PGPASSWORD", password).env("PGCONNECT_TIMEOUT", "2").stdin(Stdio::null());
        let output = command.output().expect("psql: apt-get install postgresql-client");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn app(&self, statement: &str) -> Option<String> {
        self.psql(APP, HOSTILE, "main's", statement)
    }
}

/// Ends the writing, also where a test fails.
struct Until<'f>(&'f AtomicBool);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The numbers that the cluster has acknowledged, before and after `action`.
fn while_writing(cluster: &mut Cluster, first: u32, action: impl FnOnce(&mut Cluster)) -> Vec<u32> {
    let (client, stop, count) = (cluster.client(), AtomicBool::new(false), AtomicUsize::new(0));
    let write = || {
        let written = |number: &u32| {
            let done = client.app(&format!("INSERT INTO writes VALUES ({number})")).is_some();
            count.fetch_add(usize::from(done), Ordering::Relaxed);
            done
        };
        (first..).take_while(|_| !stop.load(Ordering::Relaxed)).filter(written).collect()
    };
    let more_than = |number| until(LONG, "writes", || (count.load(Ordering::Relaxed) > number).then_some(()));
    std::thread::scope(|scope| {
        let writer = scope.spawn(write);
        let end = Until(&stop);
        more_than(10);
        action(cluster);
        more_than(count.load(Ordering::Relaxed) + 10);
        drop(end);
        writer.join().expect("the writer ends")
    })
}

/// Process 1 of each node is `dl-entry`, and Patroni is not: it leaves reaping alone.
///
/// Behaviours: 115.
#[test]
fn a_leader_that_goes_is_followed_by_another_and_no_acknowledged_write_is_lost() {
    let mut cluster = Cluster::ready("failover");
    // What the environment asks for is there, and its owner may use it.
    let client = cluster.client();
    assert_eq!(client.app("CREATE TABLE writes (number int PRIMARY KEY)").as_deref(), Some(""));
    assert_eq!(client.psql("nessie", PASSWORD, "nessie", "SELECT current_user").as_deref(), Some("nessie"));

    let first = cluster.leader();
    let killed = Instant::now();
    let acknowledged = while_writing(&mut cluster, 0, |cluster| cluster.nodes[first].kill());
    let took = killed.elapsed();
    let second = cluster.leader();
    assert_ne!(first, second);
    cluster.nodes[first].start();
    cluster.nodes[first].ready();
    assert!(cluster.nodes[first].is("replica"), "the former leader follows the new one");
    cluster.await_synchronous();

    let handed_over = while_writing(&mut cluster, 1_000_000, |cluster| drop(cluster.nodes[second].stop()));
    assert_ne!(cluster.leader(), second);
    let all = acknowledged.iter().chain(&handed_over).map(u32::to_string).collect::<Vec<_>>().join("), (");
    let lost = format!(
        "SELECT count(*) FROM (VALUES ({all})) AS told (number) WHERE number NOT IN (SELECT number FROM writes)"
    );
    assert_eq!(client.app(&lost).as_deref(), Some("0"));
    let told = format!(
        "{} writes acknowledged, none lost; killed, the next took {took:?}",
        acknowledged.len() + handed_over.len()
    );
    writeln!(std::io::stderr(), "{told}").unwrap();

    let printed: String = cluster.nodes.iter_mut().filter(|node| node.running.is_some()).map(Node::stop).collect();
    assert!(!printed.contains(PASSWORD) && !printed.contains(HOSTILE), "{printed}");
    drop(cluster.etcd);
}

#[test]
fn every_secret_may_be_a_file() {
    let mut service = Service::new("patroni", "files");
    let secrets = service.own_folder("secrets");
    service.set("DL_SECRETS_DIR", secrets.display()).set("ETCD_HOSTS", "etcd:2379").set("POSTGRES_EPHEMERAL", "yes");
    service.set("PATRONI_NAME", "node1").set("PATRONI_ETCD3_USERNAME", "patroni").set("POSTGRESQL_USERNAME", "app");
    let names = [
        "PATRONI_SUPERUSER_PASSWORD",
        "PATRONI_REPLICATION_PASSWORD",
        "PATRONI_REWIND_PASSWORD",
        "PATRONI_RESTAPI_PASSWORD",
        "PATRONI_ETCD3_PASSWORD",
        "POSTGRESQL_PASSWORD",
        "PATRONI_RESTAPI_KEYFILE_PASSWORD",
        "PATRONI_CTL_KEYFILE_PASSWORD",
        "PATRONI_SUPERUSER_SSLPASSWORD",
        "PATRONI_REPLICATION_SSLPASSWORD",
        "PATRONI_REWIND_SSLPASSWORD",
    ];
    for (number, name) in names.iter().enumerate() {
        let path = secrets.join(format!("secret{number}"));
        give_secret(&path, &format!("Xq7neutral-{number}-end\n"));
        service.set(&format!("{name}_FILE"), path.display());
    }
    let root = service.folder.join("root");
    let root = root.display().to_string();
    let ended = Running::start(service.command(&["render", "--service", "patroni", "--root", &root])).ended(LONG);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
    let folder = format!("{root}{}/patroni", service.folder.join("run").display());
    let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
    let written = read("patroni.yml") + &read("contents.json");
    for (number, name) in names.iter().enumerate() {
        assert!(written.contains(&format!("\"Xq7neutral-{number}-end\"")), "{name}: {written}");
    }
}
