//! The log: one line per event on stderr, for people or as JSON.
//!
//! Owns the format of a line, the current phase and the panic message. Must never write to stdout, which is the
//! service's, never let a secret through (`secrets` sees every line), never let one event become two lines, and never
//! block for long: PID 1 has to go on reaping when nobody reads its stderr.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind, IsTerminal as _};
use std::os::fd::AsFd;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::secrets::Secrets;

/// `DL_LOG_FORMAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people: time, level, phase, elapsed time, message, fields.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = ();

    fn from_str(text: &str) -> Result<Format, ()> {
        match text {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            _ => Err(()),
        }
    }
}

/// The level that `DL_LOG_LEVEL` names: `error`, `warn`, `info`, `debug` or `trace`.
pub fn level(text: &str) -> Option<Level> {
    match text {
        "error" => Some(Level::ERROR),
        "warn" => Some(Level::WARN),
        "info" => Some(Level::INFO),
        "debug" => Some(Level::DEBUG),
        "trace" => Some(Level::TRACE),
        _ => None,
    }
}

/// Starts the log, or changes it: the first call is made before the environment is read, a second one after.
pub fn init(format: Format, level: Level, secrets: &Secrets) {
    static ONCE: OnceLock<()> = OnceLock::new();
    let coloured = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    *settings() = Settings { format, level, coloured, secrets: secrets.clone() };
    let first = ONCE.set(()).is_ok();
    if first {
        started();
        // Fails when a program that embeds this library has a subscriber of its own, which then stays.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lines));
    } else {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// From here on a panic, in whatever thread or task, is one line and the end with `exit::INTERNAL`: as PID 1 nobody may
/// limp on, and the SIGABRT of an abort is not for PID 1 (kill(2)).
pub fn end_on_panic() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    std::panic::set_hook(Box::new(|panic| {
        while BEGUN.swap(true, Ordering::Relaxed) {
            // The first one ends us all.
            std::thread::park();
        }
        write_panic(panic);
        crate::pid1::sys::end_now(crate::exit::INTERNAL.into());
    }));
}

/// Why dl-entry ends: for people as the report it is, on lines of its own; as JSON an event like any other.
pub fn write_failure(text: &str) {
    let (format, secrets) = {
        let settings = settings();
        (settings.format, settings.secrets.clone())
    };
    match format {
        Format::Text => {
            let lines = secrets.redact(text);
            let lines: Vec<String> = lines.split('\n').map(crate::text::without_controls).collect();
            write_line(&io::stderr(), &format!("dl-entry: {}\n", lines.join("\n")), &LOST);
        }
        Format::Json => tracing::error!("{text}"),
    }
}

/// From here on every line carries this phase.
pub fn set_phase(phase: &str) {
    *lock(&PHASE) = Cow::Owned(phase.to_owned());
}

static PHASE: Mutex<Cow<'static, str>> = Mutex::new(Cow::Borrowed("starting"));

struct Settings {
    format: Format,
    level: Level,
    coloured: bool,
    secrets: Secrets,
}

fn settings() -> MutexGuard<'static, Settings> {
    static SETTINGS: OnceLock<Mutex<Settings>> = OnceLock::new();
    lock(SETTINGS.get_or_init(|| {
        let secrets = Secrets::of_this_run().clone();
        Mutex::new(Settings { format: Format::Text, level: Level::INFO, coloured: false, secrets })
    }))
}

fn started() -> Instant {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

/// A panic elsewhere must not keep the log from saying so.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// ---- from an event to a line -----------------------------------------------------------------------------------

/// The subscriber's layer: every event of an enabled level becomes a line.
struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = settings().level;
        let own = metadata.target().starts_with("dl_entry");
        // Libraries are heard when something is wrong, or when everything is asked for.
        *metadata.level() <= if own || level == Level::TRACE { level } else { level.min(Level::WARN) }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut content = Content::default();
        event.record(&mut content);
        write_event(*event.metadata().level(), content);
    }
}

#[derive(Debug, Default)]
struct Content {
    message: String,
    fields: Vec<(&'static str, serde_json::Value)>,
}

impl Content {
    fn add(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        self.fields.push((field.name(), value.into()));
    }
}

impl Visit for Content {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.add(field, format!("{value:?}")),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => self.message = value.to_owned(),
            _ => self.add(field, value),
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, value.to_string());
    }
}

/// One event with all that a line says about it.
struct Record<'event> {
    time: SystemTime,
    elapsed: Duration,
    level: Level,
    phase: &'event str,
    content: Content,
}

fn write_event(level: Level, content: Content) {
    let phase = lock(&PHASE).clone();
    let record = Record { time: SystemTime::now(), elapsed: started().elapsed(), level, phase: &phase, content };
    let line = {
        let settings = settings();
        match settings.format {
            Format::Text => text_line(&record, &settings.secrets, settings.coloured),
            Format::Json => json_line(&record, &settings.secrets),
        }
    };
    write_line(&io::stderr(), &line, &LOST);
}

/// `2026-11-23T10:00:00.123Z INFO  waiting    +1.234s message key=value`
fn text_line(record: &Record<'_>, secrets: &Secrets, coloured: bool) -> String {
    let mut text = String::new();
    crate::text::push_without_controls(&mut text, &on_one_line(&secrets.redact(&record.content.message)));
    for (name, value) in &record.content.fields {
        let _ = write!(text, " {name}=");
        push_value(&mut text, &secrets.redact_json(value));
    }
    let (time, elapsed) = (Timestamp(record.time), record.elapsed.as_secs_f64());
    let (colour, reset) = if coloured { (colour(record.level), "\x1b[0m") } else { ("", "") };
    let (level, phase) = (record.level.as_str(), record.phase);
    format!("{time} {colour}{level:<5}{reset} {phase:<10} +{elapsed:.3}s {text}\n")
}

/// A message of several lines, each of which says something.
fn on_one_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines.join("; ")
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        _ => "\x1b[2m",
    }
}

fn push_value(line: &mut String, value: &serde_json::Value) {
    match value {
        serde_json::Value::String(text) if text.is_empty() || text.contains([' ', '"', '=', '\t', '\n']) => {
            let _ = write!(line, "{}", serde_json::Value::String(crate::text::without_controls(text)));
        }
        serde_json::Value::String(text) => crate::text::push_without_controls(line, text),
        number_or_bool => {
            let _ = write!(line, "{number_or_bool}");
        }
    }
}

/// At most so many characters of words that are not ours, on one line. The secrets go first: half of one is none that
/// could be found later.
pub(crate) fn quoted(words: &str, most: usize) -> String {
    let words = Secrets::of_this_run().redact(words).replace(['\r', '\n'], " ");
    match words.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", crate::text::without_controls(&words[..end])),
        None => crate::text::without_controls(&words),
    }
}

/// `{"time":…,"level":…,"phase":…,"elapsed_ms":…,"message":…, fields…}`
///
/// Each text is redacted before it is quoted: a secret that begins with a quote must not take JSON's along.
fn json_line(record: &Record<'_>, secrets: &Secrets) -> String {
    let mut line = serde_json::Map::new();
    line.insert("time".into(), Timestamp(record.time).to_string().into());
    line.insert("level".into(), record.level.as_str().to_ascii_lowercase().into());
    line.insert("phase".into(), secrets.redact(record.phase).into());
    line.insert("elapsed_ms".into(), (record.elapsed.as_millis() as u64).into());
    line.insert("message".into(), secrets.redact(&record.content.message).into());
    for (name, value) in &record.content.fields {
        let name = if line.contains_key(*name) { format!("{name}_") } else { (*name).to_owned() };
        line.insert(name, secrets.redact_json(value));
    }
    format!("{}\n", serde_json::Value::Object(line))
}

/// UTC with milliseconds, as in RFC 3339.
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let [year, month, day, hour, minute, second] = crate::text::utc(since.as_secs());
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
    }
}

// ---- from a line to stderr -------------------------------------------------------------------------------------

/// Lines that nobody took; told as soon as somebody reads again.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How long the first line waits for a reader. The lines after it do not wait until one has come back.
const PATIENCE_MILLIS: u16 = 1000;

/// One write(2) for the whole line, so that the lines of several processes do not mix (pipe(7), PIPE_BUF).
fn write_line(stderr: &impl AsFd, line: &str, lost: &AtomicU64) {
    let patience = if lost.load(Ordering::Relaxed) == 0 { PATIENCE_MILLIS } else { 0 };
    if !is_writable(stderr, patience) {
        lost.fetch_add(1, Ordering::Relaxed);
        return;
    }
    match lost.swap(0, Ordering::Relaxed) {
        0 => write_whole(stderr, line.as_bytes()),
        count => {
            write_whole(stderr, format!("dl-entry: {count} log lines lost, nobody read stderr\n{line}").as_bytes())
        }
    }
}

/// Text for a stream that nobody may be reading: after a second without a reader it is given up.
pub(crate) fn write_patiently(stream: &impl AsFd, text: &str) {
    if is_writable(stream, PATIENCE_MILLIS) {
        write_whole(stream, text.as_bytes());
    }
}

/// A pipe that is writable has room for PIPE_BUF bytes: the write does not block.
fn is_writable(stderr: &impl AsFd, patience_millis: u16) -> bool {
    let mut descriptors = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    !matches!(poll(&mut descriptors, PollTimeout::from(patience_millis)), Ok(0))
}

/// In pieces that a writable pipe has room for: a report may be longer than the pipe.
fn write_whole(stderr: &impl AsFd, mut rest: &[u8]) {
    loop {
        match nix::unistd::write(stderr.as_fd(), piece(rest)).map_err(io::Error::from) {
            Ok(written) => rest = &rest[written..],
            Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
            // There is no other place to complain to.
            Err(_) => return,
        }
        if rest.is_empty() || !is_writable(stderr, PATIENCE_MILLIS) {
            return;
        }
    }
}

/// The lines at its beginning that fit together, or as much of the first as does.
fn piece(text: &[u8]) -> &[u8] {
    let Some(fitting) = text.get(..libc::PIPE_BUF) else { return text };
    let end = fitting.iter().rposition(|byte| *byte == b'\n').map_or(fitting.len(), |position| position + 1);
    &text[..end]
}

/// How long the message of a panic may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// In a thread of its own: where the panic came out of the log itself, a lock of it may be held, or what has panicked
/// panics again. Then only the place is told, without the message that could not be redacted.
fn write_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(|location| format!(" at {}:{}", location.file(), location.line()));
    let place = place.unwrap_or_default();
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("panic");
    let message = format!("internal error{place}: {text} (a bug in dl-entry, please report it)");
    let (told, telling) = std::sync::mpsc::channel();
    let teller = std::thread::Builder::new().spawn(move || {
        write_event(Level::ERROR, Content { message, fields: Vec::new() });
        told.send(())
    });
    if teller.is_err() || telling.recv_timeout(LAST_WORDS).is_err() {
        let line = format!("dl-entry: internal error{place} (a bug in dl-entry, please report it)\n");
        write_line(&io::stderr(), &line, &LOST);
    }
}

#[cfg(test)]
mod tests;
