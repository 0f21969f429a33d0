//! With few descriptors (`ulimit -n 64`): whoever connects leaves the service what it is started and asked with.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::support::{Running, free_port, get, until};
use nix::sys::signal::Signal::SIGTERM;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::Command;

/// With this many descriptors at most.
fn limited(demo: &Demo, most: u32) -> Command {
    let own = crate::support::binary();
    demo.command(&["sh", "-c", &format!("ulimit -n {most}; exec \"$@\""), "sh", own.to_str().unwrap()])
}

#[test]
fn silent_connections_keep_neither_a_wait_nor_the_service_nor_a_probe_from_a_descriptor() {
    for most in [64, 48] {
        let (port, other) = (free_port(), free_port());
        let waits = format!(
            "[[wait]]\ntcp = \"127.0.0.1:{port}\"\n[[wait]]\nhttp = {{ url = \"http://127.0.0.1:{other}/\" }}\n"
        );
        let demo = Demo::new(&format!("{STOP}{waits}"));
        let mut running = Running::start(limited(&demo, most));
        running.await_text(LONG, "waiting for tcp://");
        let connect = || {
            let mut stream = TcpStream::connect(("127.0.0.1", demo.health)).unwrap();
            // A request that never ends.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n");
            stream
        };
        let mut crowd: Vec<TcpStream> = (0..300).map(|_| connect()).collect();
        let pid = running.pid();
        let open = || std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
        until(LONG, "the crowd is there", || (open() > 10).then_some(()));
        let _dependency = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let answering = TcpListener::bind(("127.0.0.1", other)).unwrap();
        std::thread::spawn(move || {
            for mut stream in answering.incoming().flatten() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
        });
        // The crowd renews itself all the time, until the service runs.
        until(LONG, "the service is ready", || {
            crowd.rotate_left(30);
            crowd.truncate(270);
            crowd.extend((0..30).map(|_| connect()));
            assert!(!running.has_ended(), "{}", running.stderr());
            running.stderr().contains("demo is ready").then_some(())
        });
        until(LONG, "an answer", || (get(demo.health, "/livez").0 == 200).then_some(()));
        running.signal(SIGTERM);
        assert_eq!(running.ended(LONG).code(), 143);
    }
}
