//! A stranger on the service's port: its answers are not the service's.

use crate::LONG;
use crate::demo::{Demo, READY, STOP};
use crate::support::{Running, free_port, get, until};
use nix::sys::signal::Signal::{SIGTERM, SIGUSR1};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Answers 200 to everything, on a thread of the test's; counts the questions.
struct Answering {
    listener: TcpListener,
    asked: Arc<AtomicUsize>,
}

impl Answering {
    fn at(address: &str) -> Answering {
        let listener = TcpListener::bind(address).unwrap();
        let (accepting, asked) = (listener.try_clone().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counter = asked.clone();
        std::thread::spawn(move || {
            for mut stream in accepting.incoming().flatten() {
                let _ = stream.read(&mut [0; 4096]);
                counter.fetch_add(1, Ordering::Relaxed);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        Answering { listener, asked }
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[test]
fn a_service_whose_port_is_a_strangers_is_never_ready_and_the_reason_says_so() {
    for url in ["http://127.0.0.1:{{ port }}/", "http://localhost:{{ port }}/"] {
        let stranger = Answering::at("127.0.0.1:0");
        let demo = Demo::new(&format!("{STOP}[[ready]]\nhttp = {{ url = \"{url}\" }}\n"));
        let mut command = demo.entry(&[]);
        // A zombie of the service's has no descriptors that could be looked at.
        command.env("DEMO_SCRIPT", "true & exec sleep 1000").env("DEMO_PORT", stranger.port().to_string());
        let mut running = Running::start(command);
        let told = format!("port {} is answered by another process, not by the service", stranger.port());
        running.await_text(LONG, &told);
        let (status, body) = get(demo.health, "/readyz");
        assert_eq!(status, 503, "{body}");
        assert!(!running.stderr().contains("is ready"), "{}", running.stderr());
        assert_eq!(stranger.asked(), 0);
        running.signal(SIGTERM);
        assert_eq!(running.ended(LONG).code(), 143);
    }
}

#[test]
fn a_tcp_probe_is_not_satisfied_by_a_stranger() {
    let stranger = Answering::at("[::]:0");
    let demo = Demo::new(&format!("{STOP}[[ready]]\ntcp = \"127.0.0.1:{{{{ port }}}}\"\n"));
    let mut command = demo.entry(&[]);
    command.env("DEMO_PORT", stranger.port().to_string());
    let mut running = Running::start(command);
    running.await_text(LONG, "is answered by another process, not by the service");
    assert!(!running.stderr().contains("is ready"), "{}", running.stderr());
}

#[test]
fn no_bucket_is_made_in_a_strangers_server() {
    let stranger = Answering::at("127.0.0.1:0");
    let demo = Demo::new(&format!("{STOP}{}", crate::phases::with_task(stranger.port())));
    let mut running = Running::start(demo.entry(&[]));
    running.await_text(LONG, "is answered by another process, not by the service");
    let (status, body) = get(demo.health, "/readyz");
    assert_eq!((status, body.contains("tasks(s3-buckets)")), (503, true), "{body}");
    running.signal(SIGTERM);
    assert_eq!(running.ended(LONG).code(), 143);
    assert_eq!(stranger.asked(), 0);
}

#[test]
fn a_stranger_is_not_drained() {
    let stranger = Answering::at("127.0.0.1:0");
    let rung = format!(
        "[[stop]]\nhttp = {{ method = \"PUT\", url = \"http://127.0.0.1:{}/drain\" }}\nwithin = \"10m\"\n{STOP}",
        stranger.port()
    );
    let demo = Demo::new(&rung);
    let mut running = Running::start(demo.entry(&[]));
    running.await_text(LONG, "demo is ready");
    running.signal(SIGTERM);
    let ended = running.ended(LONG);
    assert_eq!(ended.code(), 143, "{}", ended.stderr);
    assert!(ended.stderr.contains("is answered by another process, not by the service"), "{}", ended.stderr);
    assert_eq!(stranger.asked(), 0);
}

/// Answers 200 at the port it is given until it gets SIGUSR1; then it lives on without a socket.
const SERVER: &str = r#"
import http.server, signal, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *words): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
def close(*_):
    server.server_close(); print("closed", flush=True); signal.pause()
signal.signal(signal.SIGUSR1, close)
server.serve_forever()
"#;

#[test]
fn a_stranger_who_takes_over_the_port_of_a_ready_service_makes_it_unready() {
    let port = free_port();
    let demo = Demo::new(&format!("{STOP}{READY}"));
    let server = demo.write("server.py", SERVER);
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", format!("exec /usr/bin/python3 {} {port}", server.display()));
    command.env("DEMO_PORT", port.to_string());
    let mut running = Running::start(command);
    running.await_text(LONG, "demo is ready");
    assert_eq!(get(demo.health, "/readyz").0, 200);
    running.signal(SIGUSR1);
    running.await_text(LONG, "closed\n");
    let stranger = Answering::at(&format!("127.0.0.1:{port}"));
    let told = "is answered by another process, not by the service";
    until(LONG, "the reason", || get(demo.health, "/readyz").1.contains(told).then_some(()));
    assert_eq!(stranger.asked(), 0);
}

/// The children of the service, whoever started them, are the service.
#[test]
fn a_socket_of_a_grandchild_or_of_an_orphan_is_the_services() {
    for script in ["sleep 1000 & wait", "(setsid sleep 1000 &) ; exec 0</dev/null; exec sleep 1000"] {
        let own = Answering::at("127.0.0.1:0");
        let demo = Demo::new(&format!("{STOP}{READY}"));
        let mut command = demo.entry(&[]);
        let script = format!("exec 4<&0; {}", script.replace("sleep 1000 &", "sleep 1000 <&4 4<&- &"));
        command.env("DEMO_SCRIPT", script.replace("exec 0</dev/null", "exec 0</dev/null 4<&-"));
        command.env("DEMO_PORT", own.port().to_string());
        let mut running = Running::start_with_listener(command, &own.listener);
        running.await_text(LONG, "demo is ready");
    }
}

/// Behaviours: 72.
#[test]
fn where_the_owner_of_a_port_cannot_be_seen_the_answer_counts() {
    for before in ["umount -l /proc", "mount -t tmpfs none /proc"] {
        let somebody = Answering::at("127.0.0.1:0");
        let demo = Demo::new(&format!("{STOP}{READY}"));
        let own = crate::support::binary();
        let before = format!("{before}; exec \"$@\"");
        let mut command = demo.command(&["sh", "-ec", &before, "sh", own.to_str().unwrap()]);
        command.env("DEMO_PORT", somebody.port().to_string());
        let mut running = Running::start(command);
        running.await_text(LONG, "demo is ready");
    }
}
