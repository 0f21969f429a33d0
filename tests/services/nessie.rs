//! Nessie on each store it is documented with, and its Iceberg catalog on a real MinIO.

use crate::minio::Minio;
use crate::service::{Answer, HOSTILE, LONG, Service, artifact, credentials, curl, turn};
use crate::support::{Ended, Running, free_port, until};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const PROMPT: Duration = Duration::from_secs(15);

struct Nessie {
    service: Service,
    port: u16,
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
    fn on_rocksdb(test: &str) -> Nessie {
        let mut nessie = Nessie::new(test);
        let data = nessie.service.own_folder("data").join("rocksdb");
        nessie.service.set("NESSIE_VERSION_STORE_TYPE", "ROCKSDB");
        nessie.service.set("NESSIE_VERSION_STORE_PERSIST_ROCKS_DATABASE_PATH", data.display());
        nessie
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn get(&self, path: &str) -> Answer {
        curl(&[&self.url(path)], "")
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        curl(&["-H", "content-type: application/json", "-d", &body.to_string(), &self.url(path)], "")
    }

    fn create_branch(&self, name: &str) {
        let main = json(&self.get("api/v2/trees/main"));
        let created = self.post(&format!("api/v2/trees?name={name}&type=BRANCH"), &main["reference"]);
        assert_eq!(json(&created)["reference"]["name"], name);
    }

    fn has_branch(&self, name: &str) -> bool {
        self.get(&format!("api/v2/trees/{name}")).status == 200
    }

    /// Stops it, and reads what it said while it ran.
    fn stop(&self, running: Running) -> Ended {
        let ended = self.service.stop(running, PROMPT);
        assert_eq!(ended.code(), 143, "a JVM's own status after SIGTERM: {}", ended.stderr);
        assert!(!ended.stdout.to_lowercase().contains("unrecognized configuration key"), "{}", ended.stdout);
        ended
    }
}

fn java_home() -> PathBuf {
    let named = std::env::var("DL_JAVA").unwrap_or_default();
    let java = PathBuf::from(&named).canonicalize();
    let java = java.unwrap_or_else(|error| panic!("DL_JAVA names no java ({named:?}): {error}; see demo/java.sh"));
    java.ancestors().nth(2).unwrap().to_owned()
}

fn json(answer: &Answer) -> Value {
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
    assert_eq!(nessie.service.health_ready(), 0);
    assert_eq!(crate::support::get(nessie.management, "/q/health/ready").0, 200);
    nessie.create_branch("kept");
    nessie.stop(running);

    let running = nessie.service.ready();
    assert!(nessie.has_branch("kept"));
    assert!(!nessie.has_branch("another"));
    nessie.stop(running);
}
