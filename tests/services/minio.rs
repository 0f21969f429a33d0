//! MinIO, one server or two, with the buckets and the secrets it is told.

use crate::service::{Answer, Service, artifact, credentials, curl};
use crate::support::{free_port, until};
use std::time::Duration;

const PASSWORD: &str = "correct horse battery";

/// What counts as prompt for a server that is idle.
const PROMPT: Duration = Duration::from_secs(10);

struct Minio {
    service: Service,
    port: u16,
}

impl Minio {
    /// The documented minimum, and what differs between a container and this machine.
    fn new(test: &str) -> Minio {
        let mut service = Service::new("minio", test);
        let (port, console, data) = (free_port(), free_port(), service.own_folder("data"));
        service.set("MINIO_ROOT_PASSWORD", PASSWORD);
        service.set("MINIO_BINARY", artifact("bin/minio").display()).set("MINIO_DATA_DIR", data.display());
        service.set("MINIO_ADDRESS", format_args!("127.0.0.1:{port}"));
        service.set("MINIO_CONSOLE_ADDRESS", format_args!("127.0.0.1:{console}"));
        Minio { service, port }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    fn signed(&self, secret: &str, arguments: &[&str], path: &str) -> Answer {
        let url = self.url(path);
        curl(&[arguments, &[url.as_str()]].concat(), &credentials("admin", secret))
    }

    fn anonymous(&self, method: &str, path: &str) -> u16 {
        curl(&["-X", method, &self.url(path)], "").status
    }
}

#[test]
fn the_documented_minimum_is_first_not_ready_then_ready() {
    let minio = Minio::new("minimum");
    let mut running = minio.service.start();
    let first = until(PROMPT, "an answer of /readyz", || minio.service.readyz());
    assert_eq!((first, minio.service.health_ready()), (503, 1));
    minio.service.await_ready(&mut running);
    assert_eq!(minio.service.health_ready(), 0);
    assert_eq!(minio.signed(PASSWORD, &["-X", "PUT"], "lake").status, 200);
    let ended = minio.service.stop(running, PROMPT);
    assert_eq!(ended.code(), 0, "{}", ended.stderr);
}
