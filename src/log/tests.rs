use super::*;
use std::io::Read as _;

fn record<'a>(message: &str, fields: Vec<(&'static str, serde_json::Value)>) -> Record<'a> {
    Record {
        time: SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_428_000_123),
        elapsed: Duration::from_millis(1234),
        level: Level::INFO,
        phase: "waiting",
        content: Content { message: message.to_owned(), fields },
    }
}

fn secrets() -> Secrets {
    let secrets = Secrets::default();
    secrets.add("PASSWORD", b"\"hunter22\\\n");
    secrets
}

#[test]
fn a_text_line_has_time_level_phase_elapsed_message_and_fields() {
    let fields = vec![("attempt", 3.into()), ("error", "connection refused".into()), ("host", "db".into())];
    let line = text_line(&record("postgres://db:5432 is not ready", fields), &secrets(), false);
    let expected = "2026-11-23T10:00:00.123Z INFO  waiting    +1.234s postgres://db:5432 is not ready attempt=3 \
                        error=\"connection refused\" host=db\n";
    assert_eq!(line, expected);
}

#[test]
fn a_json_line_has_the_same() {
    let fields = vec![("attempt", 3.into()), ("phase", "other".into())];
    let line = json_line(&record("not ready", fields), &secrets());
    let expected = "{\"time\":\"2026-11-23T10:00:00.123Z\",\"level\":\"info\",\"phase\":\"waiting\",\
                        \"elapsed_ms\":1234,\"message\":\"not ready\",\"attempt\":3,\"phase_\":\"other\"}\n";
    assert_eq!(line, expected);
}

#[test]
fn no_message_becomes_two_lines_or_moves_the_cursor() {
    let text = "one\ntwo\r\x1b[2J\u{9b}x\u{2028}y\u{202e}z\0";
    let line = text_line(&record(text, vec![("field", text.into())]), &Secrets::default(), false);
    let clean = r"one; two\r\u{1b}[2J\u{9b}x\u{2028}y\u{202e}z\u{0}";
    let quoted = clean.replace('\\', r"\\").replace("; ", r"\\n");
    let expected = format!("2026-11-23T10:00:00.123Z INFO  waiting    +1.234s {clean} field=\"{quoted}\"\n");
    assert_eq!(line, expected);
    let json = json_line(&record(text, vec![]), &Secrets::default());
    assert_eq!(json.matches('\n').count(), 1);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap()["message"], text);
}

#[test]
fn secrets_are_redacted_in_messages_and_fields_of_both_formats() {
    let fields = || vec![("value", "\"hunter22\\\n".into()), ("json", r#"{"p":"\"hunter22\\\n"}"#.into())];
    let text = text_line(&record("with \"hunter22\\\n!", fields()), &secrets(), false);
    assert!(!text.contains("hunter22"), "{text}");
    assert!(text.contains(" with ‹redacted:PASSWORD›! value="), "{text}");
    let json = json_line(&record("with \"hunter22\\\n!", fields()), &secrets());
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["message"], "with ‹redacted:PASSWORD›!");
    assert_eq!(parsed["value"], "‹redacted:PASSWORD›");
    assert_eq!(parsed["json"], "{\"p\":\"‹redacted:PASSWORD›\"}");
}

#[test]
fn only_the_level_is_coloured() {
    let line = text_line(&record("message", vec![]), &secrets(), true);
    assert_eq!(line, "2026-11-23T10:00:00.123Z \x1b[32mINFO \x1b[0m waiting    +1.234s message\n");
}

#[test]
fn dates_are_right_at_the_ends_of_years_and_february() {
    let date = |seconds| Timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).to_string();
    assert_eq!(date(0), "1970-01-01T00:00:00.000Z");
    assert_eq!(date(951_782_399), "2000-02-28T23:59:59.000Z");
    assert_eq!(date(951_782_400), "2000-02-29T00:00:00.000Z");
    assert_eq!(date(4_107_542_399), "2100-02-28T23:59:59.000Z");
    assert_eq!(date(4_107_542_400), "2100-03-01T00:00:00.000Z");
    assert_eq!(date(1_767_225_599), "2025-12-31T23:59:59.000Z");
}

/// Behaviours: 45.
#[test]
fn a_full_pipe_loses_lines_instead_of_blocking_and_says_so_later() {
    let (mut reader, writer) = io::pipe().unwrap();
    let lost = AtomicU64::new(1); // somebody has already waited once
    let line = format!("{}\n", "x".repeat(999));
    let writer = PipeAsStderr(writer);
    (0..100).for_each(|_| write_line(&writer, &line, &lost));
    let count = lost.load(Ordering::Relaxed);
    assert!(count > 20, "{count}");
    let mut taken = vec![0; 70_000];
    let length = reader.read(&mut taken).unwrap();
    assert!(taken[..length].starts_with(b"dl-entry: 1 log lines lost, nobody read stderr\nxxx"));
    write_line(&writer, "after\n", &lost);
    let length = reader.read(&mut taken).unwrap();
    let told = format!("dl-entry: {count} log lines lost, nobody read stderr\nafter\n");
    assert_eq!(String::from_utf8_lossy(&taken[..length]), told);
}

#[test]
#[ignore = "run by the next test in a process of its own"]
fn panic_inside_the_log() {
    Secrets::of_this_run().add("PASSWORD", b"hunter22");
    end_on_panic();
    let _held = settings();
    panic!("with hunter22");
}

/// Behaviours: 113.
#[test]
fn a_panic_inside_the_log_ends_too_and_tells_no_secret() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["log::tests::panic_inside_the_log", "--exact", "--ignored", "--nocapture"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(crate::exit::INTERNAL.into()));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let place =
        stderr.strip_prefix("dl-entry: internal error at src/log/tests.rs:").unwrap_or_else(|| panic!("{stderr}"));
    assert!(place.ends_with(" (a bug in dl-entry, please report it)\n") && place.len() < 50, "{stderr}");
}

#[test]
fn a_report_longer_than_the_pipe_has_room_does_not_block() {
    let (mut reader, writer) = io::pipe().unwrap();
    let writer = PipeAsStderr(writer);
    let lines = |length: usize| "a problem of forty characters, in words\n".repeat(length / 40);
    // Room for two pages is left, and the report is of three.
    nix::fcntl::fcntl(&writer.0, nix::fcntl::FcntlArg::F_SETPIPE_SZ(65_536)).unwrap();
    (0..14).for_each(|_| write_whole(&writer, &[b'x'; 4096]));
    let (done, waits) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            write_line(&writer, &lines(12_000), &AtomicU64::new(0));
            done.send(()).unwrap();
        });
        let in_time = waits.recv_timeout(Duration::from_secs(10));
        let mut taken = vec![0; 200_000];
        let mut length = reader.read(&mut taken).unwrap();
        // A writer that blocks ends with this, and the test with it.
        if in_time.is_err() {
            length += reader.read(&mut taken[length..]).unwrap();
        }
        assert_eq!(in_time, Ok(()), "it blocked after {length} bytes");
        assert!(taken[..length].ends_with(b" in words\n"), "cut off within a line");
    });
}

#[test]
fn a_text_is_written_by_lines_that_fit_a_pipe() {
    let lines = "x".repeat(99) + "\n";
    assert_eq!(piece(lines.repeat(100).as_bytes()).len(), 4000);
    assert_eq!(piece(&[b'x'; 5000]).len(), 4096);
    assert_eq!(piece(b"one\ntwo"), b"one\ntwo");
}

struct PipeAsStderr(io::PipeWriter);

impl AsFd for PipeAsStderr {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[test]
fn settings_are_read_by_their_names() {
    assert_eq!("json".parse(), Ok(Format::Json));
    assert_eq!("JSON".parse::<Format>(), Err(()));
    assert_eq!(level("debug"), Some(Level::DEBUG));
    assert_eq!(level("5"), None);
}
