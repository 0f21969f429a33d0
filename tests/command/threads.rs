//! Where no thread can be had any more, because the limit of processes is reached or memory is.

use crate::LONG;
use crate::demo::{Demo, STOP};
use crate::support::{Running, entry, free_port, get, until};
use nix::sys::resource::Resource;
use nix::sys::signal::Signal::SIGTERM;
use rustls::pki_types::PrivateKeyDer;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;

/// A server for `localhost` on any port, its certificate in `root.pem` of the demo's folder.
fn https(demo: &Demo) -> TcpListener {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    demo.write("root.pem", &made.cert.pem());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for stream in accepting.incoming().flatten() {
            let connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    listener
}

/// Set by the very user it runs as: root may be without the capability to change another's.
fn limit(running: &Running, limit: &str) {
    let pid = running.pid().to_string();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "1000", "--regid", "1000", "--clear-groups", "prlimit", "--pid", &pid, limit]);
    assert!(command.status().unwrap().success());
}

fn virtual_memory(running: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn a_ready_service_stays_ready_where_no_thread_can_be_had_any_more() {
    // Memory: enough for a question, too little for the stack of a thread.
    for what in ["processes", "memory"] {
        let demo = Demo::new("");
        let root = demo.join("root.pem");
        let ready = format!(
            "[[ready]]\nhttp = {{ url = \"https://localhost:{{{{ port }}}}/ready\", root-certificate = \"{}\" }}\n",
            root.display()
        );
        let demo = demo.with(&format!("{STOP}{ready}"));
        let listener = https(&demo);
        let mut command = demo.entry(&[]);
        command.env("DEMO_PORT", listener.local_addr().unwrap().port().to_string());
        let mut running = Running::start_with_listener(command, &listener);
        running.await_text(LONG, "demo is ready");
        match what {
            "processes" => limit(&running, "--nproc=1"),
            _ => limit(&running, &format!("--as={}", virtual_memory(&running) + (256 << 10))),
        }
        // Longer than any thread is kept that is not needed for ever.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        for _ in 0..3 {
            let (status, body) = get(demo.health, "/readyz");
            assert_eq!(status, 200, "{what}: {body}\n{}", running.stderr());
            std::thread::sleep(std::time::Duration::from_millis(1100));
        }
        running.signal(SIGTERM);
        assert_eq!(running.ended(LONG).code(), 143, "{what}");
    }
}

/// As `nobody`-like user of this test alone, who may have one process: the binary itself.
fn alone(mut command: Command, uid: u32) -> Command {
    use std::os::unix::process::CommandExt;
    command.uid(uid).gid(uid);
    // SAFETY: setrlimit is async-signal-safe.
    unsafe { command.pre_exec(|| nix::sys::resource::setrlimit(Resource::RLIMIT_NPROC, 1, 1).map_err(Into::into)) };
    command
}

#[test]
fn a_wait_for_a_name_a_file_or_a_certificate_goes_on_to_its_deadline_where_no_thread_can_be_had() {
    let port = free_port();
    for (number, url) in [
        format!("tcp://localhost:{port}"),
        "dns://localhost.localdomain".to_owned(),
        "file:///nonexistent".to_owned(),
        format!("https://localhost:{port}/"),
        format!("postgres://u:p@localhost:{port}/d?sslmode=verify-full"),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = crate::support::Folder::new("alone");
        let mut command = Command::new(folder.binary());
        command.args(["wait", &url, "--timeout", "500ms"]).env_clear().env("DL_NAME_SERVICE", "off");
        let ended = Running::start(alone(command, 3_100_000 + number as u32)).ended(LONG);
        assert_eq!(ended.code(), 69, "{url}: {}", ended.stderr);
        assert!(!ended.stderr.contains("internal error"), "{url}: {}", ended.stderr);
    }
}

#[test]
fn a_program_and_a_service_without_names_have_one_thread() {
    let demo = Demo::new(&format!("{STOP}{}", crate::demo::READY));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let answering = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        for mut stream in answering.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    let mut command = demo.entry(&[]);
    command.env("DEMO_PORT", listener.local_addr().unwrap().port().to_string());
    let mut service = Running::start_with_listener(command, &listener);
    service.await_text(LONG, "demo is ready");
    let program = crate::signals::started(entry(&["sh", "-c", "echo up; exec sleep 1000"]));
    for running in [&service, &program] {
        let threads = std::fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap().count();
        assert_eq!(threads, 1);
    }
    until(LONG, "the endpoint", || (get(demo.health, "/readyz").0 == 200).then_some(()));
}
