//! Every connection here is a real one, on a port of the system's choice.

use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dl_entry::health::{self, Health, Phase, Question};
use dl_entry::secrets::Secrets;

/// What the probe of a test does.
#[derive(Clone, Copy)]
enum Probe {
    Answers,
    Fails(&'static str),
    AnswersAfter(Duration),
    NeverAnswers,
}

/// A server on a thread of its own, stopped when dropped.
struct Server {
    address: SocketAddr,
    health: Health,
    probed: Arc<AtomicU32>,
    /// How often what runs beside the endpoint had its turn.
    turns: Arc<AtomicU32>,
    thread_id: i32,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(probe: Probe) -> Server {
        let listener = health::bind("127.0.0.1:0").unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let secrets = Secrets::default();
        secrets.add("PASSWORD", b"hunter22");
        let health = Health::new("nessie", &secrets);
        let probed = Arc::new(AtomicU32::new(0));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (told, thread_id) = mpsc::channel();
        let (for_thread, counter, turns) = (health.clone(), probed.clone(), Arc::new(AtomicU32::new(0)));
        let others = turns.clone();
        let thread = std::thread::spawn(move || {
            told.send(nix::unistd::gettid().as_raw()).unwrap();
            run(listener, for_thread, probe, counter, others, stopped);
        });
        let (thread_id, stop, thread) = (thread_id.recv().unwrap(), Some(stop), Some(thread));
        Server { address, health, probed, turns, thread_id, stop, thread }
    }

    fn ready(probe: Probe) -> Server {
        let server = Server::start(probe);
        server.health.set_phase(Phase::Ready);
        server
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends `bytes` and reads until the server closes.
    fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_to_end(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.exchange(format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").as_bytes())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

fn run(
    listener: TcpListener,
    health: Health,
    probe: Probe,
    counter: Arc<AtomicU32>,
    turns: Arc<AtomicU32>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let at_once = Rc::new(Cell::new(0));
    let probe = async move || {
        counter.fetch_add(1, Ordering::Relaxed);
        let inside = Inside::enter(at_once.clone());
        assert_eq!(inside.0.get(), 1, "two probes at the same time");
        match probe {
            Probe::Answers => Ok(()),
            Probe::Fails(reason) => Err(reason.to_owned()),
            Probe::AnswersAfter(duration) => {
                tokio::time::sleep(duration).await;
                Ok(())
            }
            Probe::NeverAnswers => std::future::pending().await,
        }
    };
    runtime.block_on(async {
        let other = std::future::poll_fn(|_| {
            turns.fetch_add(1, Ordering::Relaxed);
            std::task::Poll::<()>::Pending
        });
        tokio::select! {
            biased;
            () = other => {}
            result = health::serve(listener, health, probe) => panic!("{result:?}"),
            _ = stopped => {}
        }
    });
}

/// Counts the probes that run at a moment; one that is dropped half way counts as over.
struct Inside(Rc<Cell<u32>>);

impl Inside {
    fn enter(count: Rc<Cell<u32>>) -> Inside {
        count.set(count.get() + 1);
        Inside(count)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A reset counts as an end: the server closed while we were still sending.
fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    loop {
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            Err(error) => panic!("the server left the connection open: {error}"),
        }
    }
    String::from_utf8(answer).unwrap()
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or(answer)
}

/// A line of the endpoint without the time that has passed, which is another one each time.
fn timeless(line: &str) -> String {
    let (before, rest) = line.split_once(" for ").unwrap_or((line, ""));
    let (time, after) = rest.split_once(" s").unwrap_or((rest, ""));
    assert!(time.parse::<f64>().is_ok_and(|seconds| seconds < 30.0), "{line}");
    format!("{before} for … s{after}")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// Behaviours: 106.
#[test]
fn each_path_answers_in_each_phase() {
    let server = Server::start(Probe::Answers);
    let statuses = || ["/livez", "/startupz", "/readyz"].map(|path| status(&server.get(path)).to_owned());
    for phase in [Phase::Validating, Phase::Rendering, Phase::Waiting, Phase::Tasks("x".into()), Phase::Starting] {
        server.health.set_phase(phase);
        assert_eq!(statuses(), ["200", "503", "503"]);
    }
    server.health.set_phase(Phase::Ready);
    assert_eq!(statuses(), ["200", "200", "200"]);
    for phase in [Phase::Draining, Phase::Stopping] {
        server.health.set_phase(phase);
        assert_eq!(statuses(), ["200", "200", "503"]);
    }
    server.health.set_phase(Phase::Failed);
    assert_eq!(statuses(), ["503", "200", "503"]);
}

#[test]
fn a_wait_is_told_in_a_line_and_as_json_without_secrets() {
    let server = Server::start(Probe::Answers);
    server.health.set_phase(Phase::Waiting);
    server.health.set_pending("postgres://db:5432/nessie", "refused for hunter22");
    let line = server.get("/startupz");
    assert!(line.contains("\r\nContent-Type: text/plain; charset=utf-8\r\n"), "{line}");
    let expected = "unavailable: waiting for … s: nessie has not been ready yet; \
                    postgres://db:5432/nessie: refused for ‹redacted:PASSWORD›\n";
    assert_eq!(timeless(body(&line)), expected);
    let accept = b"GET /startupz HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    for answer in [server.exchange(accept), server.get("/startupz?format=json")] {
        assert!(answer.contains("\r\nContent-Type: application/json\r\n"), "{answer}");
        let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(json["status"], "unavailable");
        assert_eq!(json["phase"], "waiting");
        assert!(json["since_seconds"].as_f64().unwrap() < 5.0);
        assert_eq!(json["pending"][0]["error"], "refused for ‹redacted:PASSWORD›");
        assert_eq!(json["reasons"], serde_json::json!(["nessie has not been ready yet"]));
    }
    server.health.clear_pending("postgres://db:5432/nessie");
    assert_eq!(timeless(body(&server.get("/livez"))), "ok: waiting for … s\n");
}

#[test]
fn metrics_say_what_they_are() {
    let answer = Server::start(Probe::Answers).get("/metrics");
    let content_type = "\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.contains(content_type), "{answer}");
    assert!(answer.ends_with("\n# EOF\n"), "{answer}");
}

/// Behaviours: 107.
#[test]
fn head_gets_the_head_of_the_answer_and_the_connection_lives_on() {
    let server = Server::ready(Probe::Answers);
    let answer = server.exchange(
        b"HEAD /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    let (first, second) = answer.split_once("\r\n\r\n").unwrap();
    assert!(first.contains("\r\nContent-Length: 20\r\n"), "{first}");
    assert!(second.starts_with("HTTP/1.1 200 OK\r\n"), "{second}");
    assert_eq!(body(second).len(), 20);
}

/// Behaviours: 107.
#[test]
fn pipelined_requests_are_answered_in_order_and_a_hundred_are_enough() {
    let server = Server::ready(Probe::Answers);
    let answer =
        server.exchange("GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\n\r\n".repeat(60).as_bytes());
    let statuses: Vec<&str> = answer.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "404"].repeat(50));
}

/// Behaviours: 107.
#[test]
fn what_is_wrong_with_a_request_is_its_answer() {
    let server = Server::start(Probe::Answers);
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(5000));
    let endless = "x".repeat(100_000);
    for (request, expected) in [
        ("nonsense\r\n\r\n", "400"),
        ("GET /livez HTTP/1.1\r\nHost\r\n\r\n", "400"),
        ("GET /livez HTTP/3.0\r\n\r\n", "505"),
        (&long, "431"),
        (&endless, "431"),
        ("GET /favicon.ico HTTP/1.0\r\n\r\n", "404"),
        ("DELETE /livez HTTP/1.1\r\n\r\n", "405"),
        ("POST /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "405"),
    ] {
        let answer = server.exchange(request.as_bytes());
        assert_eq!(status(&answer), expected, "{:.60}", request);
        assert_eq!(answer.contains("\r\nAllow: GET, HEAD\r\n"), expected == "405");
        assert_eq!(answer.matches("Content-Length").count(), 1);
    }
    let body = server.exchange(b"GET /livez HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /livez HTTP/1.1\r\n\r\n");
    assert_eq!(body.matches("HTTP/1.1 200").count(), 1, "a body was taken for a request: {body}");
}

/// Behaviours: 107.
#[test]
fn slow_silent_and_half_open_connections_are_closed_at_the_deadline() {
    let server = Server::start(Probe::Answers);
    let begun = Instant::now();
    let mut silent = server.connect();
    let mut slow = server.connect();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    let mut half_open = server.connect();
    half_open.write_all(b"GET /livez").unwrap();
    half_open.shutdown(Shutdown::Write).unwrap();
    assert_eq!(body(&read_to_end(&mut half_open)), "the request ends in the middle\n");
    for _ in 0..8 {
        std::thread::sleep(Duration::from_millis(100));
        slow.write_all(b"X: y\r\n").unwrap();
    }
    assert_eq!(status(&read_to_end(&mut slow)), "408");
    assert_eq!(read_to_end(&mut silent), "");
    let took = begun.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

/// Behaviours: 107.
#[test]
fn two_thousand_connections_are_all_ended_and_somebody_who_asks_is_answered() {
    let server = Server::ready(Probe::Answers);
    let wanted = 4200;
    let (_, hard) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, wanted.min(hard), hard).unwrap();
    let mut crowd: Vec<TcpStream> = (0..2000).map(|_| server.connect()).collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    let address = server.address.to_string();
    while !matches!(health::ask(Question::Ready, &address), Ok((true, _))) {
        assert!(Instant::now() < deadline, "nobody is answered any more");
    }
    let answers: Vec<String> = crowd.iter_mut().map(read_to_end).collect();
    let turned_away = answers.iter().filter(|answer| body(answer) == "unavailable: too many connections").count();
    let silent = answers.iter().filter(|answer| answer.is_empty()).count();
    assert_eq!(turned_away + silent, 2000);
    assert!(turned_away >= 1000, "{turned_away}");
}

/// Behaviours: 107.
#[test]
fn silent_and_slow_connections_make_way_for_one_who_asks() {
    let server = Server::ready(Probe::Answers);
    let mut crowd = Vec::new();
    let mut crowded = || {
        crowd.extend((0..32).map(|_| server.connect()));
        let mut slow = server.connect();
        slow.write_all(b"GET /livez HTTP/1.1\r\nX: ").unwrap();
        crowd.push(slow);
    };
    (0..4).for_each(|_| crowded());
    for _ in 0..20 {
        crowded();
        assert_eq!(status(&server.get("/livez")), "200");
    }
    assert_eq!(status(&read_to_end(&mut crowd[32])), "503", "one that was slow is told why it is closed");
}

/// Behaviours: 107.
#[test]
fn one_who_has_asked_and_one_who_is_answered_is_not_closed_in_between() {
    let server = Server::ready(Probe::AnswersAfter(Duration::from_millis(400)));
    let mut asked = server.connect();
    asked.write_all(b"GET /readyz HTTP/1.1\r\n\r\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.probed.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    let crowd: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    let mut answer = [0; 15];
    asked.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    // What makes way after its answer is closed without a word that would be taken for the next one.
    let more: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    assert!(!read_to_end(&mut asked).contains("HTTP/1.1"));
    drop((crowd, more));
}

#[test]
fn many_questions_at_once_are_one_probe_and_its_result_lasts_a_second() {
    let server = Server::ready(Probe::AnswersAfter(Duration::from_millis(200)));
    let mut streams: Vec<TcpStream> = (0..20).map(|_| server.connect()).collect();
    let request = b"GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n";
    streams.iter_mut().for_each(|stream| stream.write_all(request).unwrap());
    assert!(streams.iter_mut().all(|stream| status(&read_to_end(stream)) == "200"));
    assert_eq!(server.probed.load(Ordering::Relaxed), 1);
    std::thread::sleep(Duration::from_millis(1050));
    assert_eq!(status(&server.get("/readyz")), "200");
    assert_eq!(server.probed.load(Ordering::Relaxed), 2);
}

#[test]
fn a_probe_that_fails_or_hangs_is_the_reason_for_not_ready() {
    let server = Server::ready(Probe::Fails("/v1/info says starting, password hunter22"));
    let expected = "unavailable: ready for … s: /v1/info says starting, password ‹redacted:PASSWORD›\n";
    assert_eq!(timeless(body(&server.get("/readyz"))), expected);
    let server = Server::ready(Probe::NeverAnswers);
    let begun = Instant::now();
    let mut streams = [server.connect(), server.connect()];
    streams.iter_mut().for_each(|stream| stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap());
    for stream in &mut streams {
        let answer = read_to_end(stream);
        assert_eq!(status(&answer), "503");
        assert!(answer.ends_with(": the service did not answer its probe within a second\n"), "{answer}");
    }
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

/// Behaviours: 106.
#[test]
fn a_stop_that_begins_during_the_probe_is_not_ready() {
    let server = Server::ready(Probe::AnswersAfter(Duration::from_millis(300)));
    let mut stream = server.connect();
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while server.probed.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(5));
    }
    server.health.set_phase(Phase::Draining);
    let answer = read_to_end(&mut stream);
    assert_eq!(status(&answer), "503");
    assert!(answer.ends_with(": nessie is being stopped\n"), "{answer}");
}

/// Behaviours: 109.
#[test]
fn nothing_wakes_up_while_nobody_asks() {
    let server = Server::ready(Probe::Answers);
    assert_eq!(status(&server.get("/readyz")), "200");
    let switches = || {
        let status = std::fs::read_to_string(format!("/proc/self/task/{}/status", server.thread_id)).unwrap();
        status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned()
    };
    // The timers of the last connection come to rest first.
    std::thread::sleep(Duration::from_millis(1300));
    let before = switches();
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(switches(), before);
}

#[test]
fn the_client_says_yes_no_or_why_it_cannot_know() {
    let server = Server::start(Probe::Answers);
    let port = server.address.port();
    for address in [format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"), format!("localhost:{port}")] {
        let (ok, line) = health::ask(Question::Live, &address).unwrap();
        assert_eq!((ok, timeless(&line).as_str()), (true, "ok: validating for … s"));
    }
    let (ok, line) = health::ask(Question::Ready, &format!(":{port}")).unwrap();
    let expected = "unavailable: validating for … s: nessie has not been ready yet";
    assert_eq!((ok, timeless(&line).as_str()), (false, expected));
    let off = health::ask(Question::Live, "off").unwrap_err().to_string();
    assert_eq!(off, "there is no health endpoint to ask: DL_HEALTH_ADDR is off");
    drop(server);
    let refused = health::ask(Question::Live, &format!("0.0.0.0:{port}")).unwrap_err().to_string();
    let expected = format!("cannot reach the health endpoint at 127.0.0.1:{port}: connection refused");
    assert_eq!(refused, expected);
}

#[test]
fn the_client_is_not_held_by_somebody_elses_server() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let silent = std::thread::spawn(move || health::ask(Question::Live, &address.to_string()).unwrap_err().to_string());
    let (held, _) = listener.accept().unwrap();
    let begun = Instant::now();
    let expected = format!("no answer from the health endpoint at {address}: none within 2 s");
    assert_eq!(silent.join().unwrap(), expected);
    assert!(begun.elapsed() < Duration::from_secs(4));
    drop(held);
    let other = std::thread::spawn(move || health::ask(Question::Live, &address.to_string()).unwrap_err().to_string());
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let expected =
        format!("no answer from the health endpoint at {address}: not HTTP; is something else listening there?");
    assert_eq!(other.join().unwrap(), expected);
}

#[test]
fn the_client_says_of_an_answer_that_it_is_cut_off_or_too_long() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let long = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(65_536));
    for (answer, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok: ready for 0.", "the answer ends in the middle"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "the answer ends in the middle"),
        (&long, "more than 64 KiB; is something else listening there?"),
    ] {
        let asked = std::thread::spawn(move || health::ask(Question::Live, &address.to_string()));
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.write_all(answer.as_bytes());
        stream.shutdown(Shutdown::Write).unwrap();
        let told = asked.join().unwrap().unwrap_err().to_string();
        assert_eq!(told, format!("no answer from the health endpoint at {address}: {expected}"));
    }
}

/// Behaviours: 107.
#[test]
fn a_port_in_use_is_explained() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let expected = format!(
        "DL_HEALTH_ADDR: cannot listen on {address}: the port is in use\n  \
         set DL_HEALTH_ADDR to a free port (on a host network each container needs its own), or to off"
    );
    assert_eq!(health::bind(&address.to_string()).unwrap_err().to_string(), expected);
    let foreign = "DL_HEALTH_ADDR: cannot listen on 192.0.2.1:9190: cannot assign requested address\n  \
                   choose an address of this host, or 0.0.0.0";
    assert_eq!(health::bind("192.0.2.1:9190").unwrap_err().to_string(), foreign);
}

/// Behaviours: 107.
#[test]
fn every_address_of_both_families_or_of_one() {
    let wildcard = health::bind(":0").unwrap().unwrap();
    assert!(wildcard.local_addr().unwrap().ip().is_unspecified());
    let address = format!(":{}", wildcard.local_addr().unwrap().port());
    let asked = std::thread::spawn(move || health::ask(Question::Live, &address));
    let (mut stream, _) = wildcard.accept().unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nyes\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(asked.join().unwrap().unwrap(), (true, "yes".to_owned()));
    assert!(health::bind("0.0.0.0:0").unwrap().unwrap().local_addr().unwrap().is_ipv4());
}

#[test]
fn between_two_requests_that_arrived_together_everybody_else_has_a_turn() {
    let server = Server::start(Probe::Answers);
    let before = server.turns.load(Ordering::Relaxed);
    let requests = "GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n".repeat(50);
    let answers = server.exchange((requests + "GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n").as_bytes());
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 51);
    let turns = server.turns.load(Ordering::Relaxed) - before;
    assert!(turns >= 50, "{turns}");
}
