//! Deadlines, pauses and what is told; the protocols meet real servers in `tests/waits`.

use super::*;
use crate::testing::{self, Script};
use tokio::net::TcpListener;

fn wait_for(url: &str) -> Wait {
    parse_target(url).unwrap()
}

/// Every change told, in words.
async fn watch(waits: &[Wait], total: Duration) -> (Result<(), Pending>, Vec<String>) {
    let told = RefCell::new(Vec::new());
    let note = |progress: Progress<'_>| match progress {
        Progress::Pending { name, error } => told.borrow_mut().push(format!("{name}: {error}")),
        Progress::Ready { name, .. } => told.borrow_mut().push(format!("{name} ready")),
    };
    let outcome = wait_for_all(waits, total, &note).await;
    (outcome, told.into_inner())
}

#[tokio::test]
async fn nothing_to_wait_for_is_ready_at_once() {
    let (outcome, told) = watch(&[], Duration::ZERO).await;
    outcome.unwrap();
    assert!(told.is_empty());
}

/// Behaviours: 95.
#[tokio::test]
async fn each_change_of_the_error_is_told_once() {
    let scripts = [503, 503, 503, 404, 404, 200].map(|status| Script::answer(status, "")).to_vec();
    let server = testing::http(scripts).await;
    let name = server.url("/ready");
    let (outcome, told) = watch(&[wait_for(&name)], Duration::from_secs(20)).await;
    outcome.unwrap();
    let changes = [
        format!("{name}: answered 503, expected 200 to 299"),
        format!("{name}: answered 404, expected 200 to 299"),
        format!("{name} ready"),
    ];
    assert_eq!(told, changes);
}

/// Behaviours: 95, 100.
#[tokio::test]
async fn at_the_deadline_everything_pending_is_listed_with_its_last_error() {
    let port = testing::unused_port().await;
    let silent = testing::http(vec![Script::Silence]).await;
    let answering = testing::http(vec![Script::answer(200, "")]).await;
    let waits = [
        wait_for(&format!("tcp://127.0.0.1:{port}")),
        wait_for(&answering.url("/")),
        wait_for(&silent.url("/")),
        wait_for("file:///nonexistent/flag"),
    ];
    let started = Instant::now();
    let (outcome, _) = watch(&waits, Duration::from_millis(600)).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let told = format!(
        "3 of 4 dependencies not ready within 600 ms\n  \
         tcp://127.0.0.1:{port}: connection refused\n  \
         {}: no answer yet\n  \
         file:///nonexistent/flag: not found\n\
         set DL_WAIT_TIMEOUT higher if they only need more time",
        silent.url("/")
    );
    assert_eq!(outcome.unwrap_err().to_string(), told);
}

#[tokio::test]
async fn its_own_deadline_ends_the_wait_for_all() {
    let port = testing::unused_port().await;
    let mut short = wait_for(&format!("tcp://127.0.0.1:{port}"));
    short.timeout = Some(Duration::from_millis(300));
    let waits = [short, wait_for("file:///nonexistent/flag")];
    let (outcome, _) = watch(&waits, Duration::from_secs(60)).await;
    let told = format!(
        "tcp://127.0.0.1:{port} is not ready within its own 300 ms; 2 of 2 dependencies pending\n  \
         tcp://127.0.0.1:{port}: connection refused\n  \
         file:///nonexistent/flag: not found"
    );
    assert_eq!(outcome.unwrap_err().to_string(), told);
}

/// Behaviours: 95.
#[tokio::test]
async fn a_server_that_appears_just_before_the_deadline_is_seen() {
    let path = std::env::temp_dir().join(format!("dl-entry-late-{}", std::process::id()));
    let late = {
        let path = path.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(1700)).await;
            std::fs::write(path, "").unwrap();
        })
    };
    let (outcome, told) = watch(&[wait_for(&format!("file://{}", path.display()))], Duration::from_secs(2)).await;
    late.await.unwrap();
    std::fs::remove_file(&path).unwrap();
    outcome.unwrap();
    assert_eq!(told.len(), 2, "{told:?}");
}

#[tokio::test]
async fn a_pause_leaves_time_for_one_last_attempt() {
    let end = Instant::now() + Duration::from_millis(400);
    assert!(pause(Duration::from_secs(5), end).await);
    assert!(Instant::now() < end);
    assert!(!pause(Duration::from_secs(5), end).await);
    assert!(Instant::now() >= end);
}

#[tokio::test]
async fn a_question_that_cannot_be_asked_ends_the_wait_at_once() {
    let mut odd = wait_for("http://127.0.0.1:1/");
    if let Target::Http(probe) = &mut odd.target {
        probe.method = "G ET".to_owned();
    }
    let (outcome, _) = watch(&[odd], Duration::from_secs(60)).await;
    let told = "http://127.0.0.1:1/ refused, and waiting cannot help; 1 of 1 dependencies pending\n  \
                http://127.0.0.1:1/: `G ET` is not an HTTP method";
    assert_eq!(outcome.unwrap_err().to_string(), told);
}

/// Behaviours: 100.
#[tokio::test]
async fn fifty_dependencies_are_waited_for_at_once_and_all_listed() {
    let port = testing::unused_port().await;
    let waits: Vec<_> = (0..50).map(|_| wait_for(&format!("tcp://127.0.0.1:{port}"))).collect();
    let (outcome, _) = watch(&waits, Duration::from_millis(400)).await;
    assert_eq!(outcome.unwrap_err().dependencies.len(), 50);
}

#[tokio::test]
async fn dropping_the_wait_ends_it_within_an_attempt() {
    let silent = testing::http(vec![Script::Silence]).await;
    let waits = [wait_for(&silent.url("/")), wait_for("file:///nonexistent/flag")];
    let started = Instant::now();
    tokio::select! {
        _ = wait_for_all(&waits, Duration::from_secs(60), &|_| {}) => panic!("nothing there can answer"),
        () = tokio::time::sleep(Duration::from_millis(100)) => {}
    }
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn sockets_names_and_files_are_found() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("dl-entry-socket-{}", std::process::id()));
    let _listener = tokio::net::UnixListener::bind(&path).unwrap();
    let waits = [
        wait_for(&format!("unix://{}", path.display())),
        wait_for(&format!("file://{}", folder.display())),
        wait_for("dns://localhost"),
    ];
    let (outcome, _) = watch(&waits, Duration::from_secs(5)).await;
    std::fs::remove_file(&path).unwrap();
    outcome.unwrap();
}

/// PostgreSQL, "55.7. Message Formats": ErrorResponse, then a close.
fn postgres_error(code: &str, message: &str) -> Vec<u8> {
    let fields = format!("SFATAL\0VFATAL\0C{code}\0M{message}\0\0");
    let mut bytes = vec![b'E'];
    bytes.extend((fields.len() as u32 + 4).to_be_bytes());
    bytes.extend(fields.as_bytes());
    bytes
}

/// Behaviours: 97.
#[tokio::test]
async fn a_postgresql_that_is_starting_up_is_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let hostile = "x\n  tcp://db:5432: ready\u{1b}[2J";
        let starting = "the database system is starting up";
        for answer in
            [postgres_error("57P03", starting), postgres_error("XX000", hostile), postgres_error("3D000", "no db")]
        {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut startup = [0; 256];
            let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut startup).await;
            tokio::io::AsyncWriteExt::write_all(&mut stream, &answer).await.unwrap();
        }
    });
    let wait = wait_for(&format!("postgres://u:p@127.0.0.1:{port}/d?sslmode=disable"));
    let name = wait.name.clone();
    let (outcome, told) = watch(&[wait], Duration::from_secs(10)).await;
    server.await.unwrap();
    let changes = [
        format!("{name}: the database system is starting up (57P03)"),
        format!(r"{name}: x   tcp://db:5432: ready\u{{1b}}[2J (XX000)"),
        format!("{name}: no db (3D000)"),
    ];
    assert_eq!(told, changes);
    assert_eq!(outcome.unwrap_err().ending, Ending::Refused { name });
}

/// Says that it speaks TLS, and ends the handshake; without encryption it lets everybody in.
async fn postgres_with_broken_tls(listener: TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut said = [0; 256];
        let length = stream.read(&mut said).await.unwrap_or(0);
        // "55.7. Message Formats": SSLRequest is eight bytes; AuthenticationOk, ReadyForQuery.
        let answer: &[u8] = if length == 8 { b"S" } else { b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I" };
        stream.write_all(answer).await.unwrap();
        let _ = stream.read(&mut said).await;
    }
}

#[tokio::test]
async fn of_several_postgresql_servers_the_next_is_asked_where_one_does_not_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(postgres_with_broken_tls(listener));
    let silent = testing::http(vec![Script::Silence]).await;
    let closed = testing::unused_port().await;
    let url = |more: &str| format!("postgres://u@127.0.0.1:{closed},127.0.0.1:{}{more}/d?sslmode=disable", silent.port);
    let (outcome, _) = watch(&[wait_for(&url(&format!(",127.0.0.1:{port}")))], Duration::from_secs(10)).await;
    outcome.unwrap();
    let (outcome, _) = watch(&[wait_for(&url(""))], Duration::from_millis(300)).await;
    let told = format!("127.0.0.1:{closed}: connection refused; 127.0.0.1:{}: no answer", silent.port);
    assert_eq!(outcome.unwrap_err().dependencies[0].1, told);
    server.abort();
}

#[tokio::test]
async fn prefer_goes_on_without_encryption_where_the_handshake_fails() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(postgres_with_broken_tls(listener));
    let url = |mode: &str| format!("postgres://u:p@127.0.0.1:{port}/d?sslmode={mode}");
    let (outcome, _) = watch(&[wait_for(&url("prefer"))], Duration::from_secs(5)).await;
    outcome.unwrap();
    let (outcome, _) = watch(&[wait_for(&url("require"))], Duration::from_millis(500)).await;
    outcome.unwrap_err();
    server.abort();
}

#[tokio::test]
async fn a_server_that_never_stops_talking_is_no_postgresql() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut said = 0;
            // A length of more than a gigabyte, and everything that was announced.
            while said < 64 << 20 && tokio::io::AsyncWriteExt::write_all(&mut stream, &[b'R'; 1 << 16]).await.is_ok() {
                said += 1 << 16;
            }
            assert!(said < 32 << 20, "all of it was read");
        }
    });
    let wait = wait_for(&format!("postgres://u:p@127.0.0.1:{port}/d?sslmode=disable"));
    let name = wait.name.clone();
    let (_, told) = watch(&[wait], Duration::from_secs(1)).await;
    assert!(!server.is_finished());
    server.abort();
    assert_eq!(told, [format!("{name}: the answer to a login is longer than 1024 KiB: this is not PostgreSQL")]);
}

#[tokio::test]
async fn an_etcd_without_a_leader_is_not_healthy_and_one_healthy_member_is_enough() {
    let leaderless = testing::http(vec![Script::answer(200, r#"{"health":"false"}"#)]).await;
    let port = testing::unused_port().await;
    let url = format!("etcd://127.0.0.1:{port},127.0.0.1:{}", leaderless.port);
    let (_, told) = watch(&[wait_for(&url)], Duration::from_millis(300)).await;
    let both = format!(
        "{url}: http://127.0.0.1:{port}/health: connection refused; \
         http://127.0.0.1:{}/health /health is \"false\", expected \"true\"",
        leaderless.port
    );
    assert_eq!(told, [both]);

    let silent = testing::http(vec![Script::Silence]).await;
    let url = format!("etcd://127.0.0.1:{},127.0.0.1:{port}", silent.port);
    let (_, told) = watch(&[wait_for(&url)], Duration::from_millis(600)).await;
    let both =
        format!("{url}: {}: no answer; http://127.0.0.1:{port}/health: connection refused", silent.url("/health"));
    assert_eq!(told, [both]);

    let healthy = testing::http(vec![Script::answer(200, r#"{"health":"true"}"#)]).await;
    let url = format!("etcd://127.0.0.1:{port},127.0.0.1:{}", healthy.port);
    let (outcome, _) = watch(&[wait_for(&url)], Duration::from_secs(5)).await;
    outcome.unwrap();
}

#[tokio::test]
async fn wrong_s3_keys_are_final_and_missing_rights_or_buckets_are_not() {
    let body = |code: &str| format!("<Error><Code>{code}</Code><Message>m</Message></Error>");
    let server = testing::http(vec![
        Script::s3(404, ""),
        Script::s3(403, ""),
        Script::s3(403, &body("AccessDenied")),
        Script::s3(403, ""),
        Script::s3(403, &body("SignatureDoesNotMatch")),
    ])
    .await;
    let wait = wait_for(&format!("s3+http://key:secret@127.0.0.1:{}/lake", server.port));
    let name = wait.name.clone();
    let (outcome, told) = watch(&[wait], Duration::from_secs(10)).await;
    let changes = [
        format!("{name}: the bucket lake does not exist"),
        format!("{name}: GetBucketLocation answered 403 AccessDenied: m"),
        format!("{name}: GetBucketLocation answered 403 SignatureDoesNotMatch: the secret key is wrong"),
    ];
    assert_eq!(told, changes);
    assert_eq!(outcome.unwrap_err().ending, Ending::Refused { name });
}
