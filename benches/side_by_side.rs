//! `dl-entry` and its peers side by side in one run: `cargo bench --bench side_by_side`, as root, on an idle machine.
//!
//! Prints a table of ratios, and writes it to `docs/benches.md` with `DL_UPDATE=1`. `DL_ENTRY` names the static binary
//! (`./dl build` makes it). Needs Debian's tini, dumb-init, gettext-base and curl; gosu and dockerize are compared where
//! they are in PATH (`go install github.com/jwilder/dockerize@v0.9.3`).

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

/// How often each start is measured; the median is what counts.
const ROUNDS: usize = 300;

const HEAD: &str = "# Benches

Side by side in one run of `DL_ENTRY=$PWD/dist/amd64/dl-entry DL_UPDATE=1 cargo bench --bench side_by_side` as root, on an
idle machine of two cores. A ratio is ours by the peer's, of medians; below 1 is better than the peer.

| | dl-entry | beside | target |
|---|---|---|---|
";

/// To be read anew with every new table.
const MISSED: &str = "
Two targets are missed.

- The full path. Two of its milliseconds are what starting any process takes here. The others go, in about equal parts,
  into reading the contract, into reading, typing and checking what it declares, and into rendering each file twice,
  reading both back and looking up every key. The shell and dockerize do none of that: the one leaves a password with a
  dollar sign or a line break to chance, the other renders one file of the two. The service then takes seconds to start.
- Memory at rest, by up to 0.2 MiB. What is not its own are pages of the binary, which all containers of a machine
  share.

confd and gomplate are not compared.
";

struct Row {
    what: &'static str,
    ours: String,
    peers: Vec<String>,
    target: &'static str,
}

fn main() {
    // Cargo passes `--bench`; as a child of itself this program is one of the measured commands.
    match std::env::args().nth(1).as_deref() {
        Some("catcher") => return catch_signals(),
        Some("orphans") => return leave_orphans(),
        _ => {}
    }
    assert!(nix::unistd::geteuid().is_root(), "run as root: PID namespaces are made");
    let rows = [
        start_to_exec(),
        full_path(),
        memory_at_rest(),
        wake_ups_at_rest(),
        signal_latency(),
        orphans_reaped(),
        health_question(),
        health_under_load(),
        binary_size(),
    ];
    std::fs::remove_dir_all(scratch()).unwrap();
    let table = table(&rows);
    print!("{table}");
    if std::env::var_os("DL_UPDATE").is_some() {
        std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benches.md"), table).unwrap();
    }
}

fn table(rows: &[Row]) -> String {
    let mut text = HEAD.to_owned();
    for Row { what, ours, peers, target } in rows {
        writeln!(text, "| {what} | {ours} | {} | {target} |", peers.join("<br>")).unwrap();
    }
    text + MISSED
}

/// A folder of this run, gone at its end.
fn scratch() -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dl-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn dl_entry() -> PathBuf {
    let named = std::env::var_os("DL_ENTRY").expect("DL_ENTRY names the static binary: ./dl build makes it");
    PathBuf::from(named).canonicalize().expect("DL_ENTRY")
}

fn quiet(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("DL_HEALTH_ADDR", "off");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Medians of all, measured in turns so that whatever else the machine does meets each alike.
fn medians(mut commands: Vec<Command>, rounds: usize) -> Vec<Duration> {
    let mut times = vec![Vec::new(); commands.len()];
    for _ in 0..rounds {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            let began = Instant::now();
            let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
            times.push(began.elapsed());
            assert!(status.success(), "{command:?}: {status}");
        }
    }
    times.into_iter().map(|mut times| *times.select_nth_unstable(rounds / 2).1).collect()
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn beside(name: &str, ours: f64, theirs: f64, shown: String) -> String {
    format!("{name} {shown}: {:.2}", ours / theirs)
}

fn compared(what: &'static str, names: &[&str], times: &[Duration], target: &'static str) -> Row {
    let ours = times[0].as_secs_f64();
    let peers = names.iter().zip(&times[1..]);
    let peers = peers.map(|(name, time)| beside(name, ours, time.as_secs_f64(), milliseconds(*time)));
    Row { what, ours: milliseconds(times[0]), peers: peers.collect(), target }
}

fn start_to_exec() -> Row {
    let commands = vec![
        quiet(dl_entry(), &["init", "--", "true"]),
        quiet("tini", &["--", "true"]),
        quiet("dumb-init", &["--", "true"]),
    ];
    compared("`init -- true`, start to end", &["tini", "dumb-init"], &medians(commands, ROUNDS), "≤ 1.3 × tini")
}

/// A Nessie on PostgreSQL, whose java is `true`.
fn full_path() -> Row {
    let folder = scratch().join("full-path");
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    std::os::unix::fs::symlink("/bin/true", folder.join("bin/java")).unwrap();
    let shell = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/shell");
    let environment = |mut command: Command| {
        command
            .env("QUARKUS_DATASOURCE_USERNAME", "nessie")
            .env("QUARKUS_DATASOURCE_PASSWORD", "correct horse battery");
        command
            .env("QUARKUS_DATASOURCE_JDBC_URL", "jdbc:postgresql://db-1,db-2/nessie")
            .env("NESSIE_HEAP_SIZE", "512m");
        command.env("JAVA_HOME", &folder).env("NESSIE_JAR", folder.join("bin/java"));
        command.env("CONFIG", folder.join("config")).env("TEMPLATES", &shell);
        command.env("DL_RUN_DIR", folder.join("run"));
        command
    };
    let script = shell.join("entrypoint.sh").display().to_string();
    let mut names = vec!["sh + envsubst"];
    let mut commands = vec![
        environment(quiet(dl_entry(), &["run", "--exec", "--service", "nessie"])),
        environment(quiet("sh", &[&script])),
    ];
    if let Some(dockerize) = in_path("dockerize") {
        let input = folder.join("dockerize.in");
        let text = std::fs::read_to_string(shell.join("application.properties.in")).unwrap();
        std::fs::write(&input, text.replace("${", "{{ .Env.").replace('}', " }}")).unwrap();
        let pair = format!("{}:{}", input.display(), folder.join("dockerize.out").display());
        names.push("dockerize (one file)");
        commands.push(environment(quiet(dockerize, &["-template", &pair, "true"])));
    }
    let times = medians(commands, ROUNDS / 3);
    compared("validate, render, drop root, exec: Nessie", &names, &times, "≤ 1.0 × shell, ≤ 0.4 × dockerize")
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
}

/// Starts it over `sleep`, and gives it time to settle.
fn at_rest(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Killed {
    let child = quiet(program, &[arguments, &["sleep", "1000"]].concat()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    Killed(child)
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

/// A number of /proc/PID/status.
fn status(child: &Child, name: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn memory_at_rest() -> Row {
    let ours = at_rest(dl_entry(), &["init", "--"]);
    let tini = at_rest("tini", &["--"]);
    let [resident, theirs] = [&ours, &tini].map(|at_rest| status(&at_rest.0, "VmRSS"));
    let anonymous = status(&ours.0, "RssAnon");
    Row {
        what: "resident memory at rest",
        ours: format!("{:.2} MiB, {:.2} of it its own", resident / 1024.0, anonymous / 1024.0),
        peers: vec![beside("tini", resident, theirs, format!("{:.2} MiB", theirs / 1024.0))],
        target: "≤ 3 MiB",
    }
}

fn wake_ups_at_rest() -> Row {
    let at_rest = [at_rest(dl_entry(), &["init", "--"]), at_rest("tini", &["--"]), at_rest("dumb-init", &["--"])];
    let switches = || at_rest.each_ref().map(|program| status(&program.0, "voluntary_ctxt_switches"));
    let before = switches();
    std::thread::sleep(Duration::from_secs(10));
    let after = switches();
    let count = |index: usize| format!("{}", after[index] - before[index]);
    Row {
        what: "wake-ups in 10 s at rest",
        ours: count(0),
        peers: vec![format!("tini {}", count(1)), format!("dumb-init {}", count(2))],
        target: "0",
    }
}

/// Answers each SIGUSR1 with a byte.
fn catch_signals() {
    let mut wanted = SigSet::empty();
    wanted.add(Signal::SIGUSR1);
    wanted.thread_block().unwrap();
    let mut output = std::io::stdout();
    loop {
        output.write_all(b"x").and_then(|()| output.flush()).unwrap();
        wanted.wait().unwrap();
    }
}

/// This program, where the user that a supervisor becomes can execute it.
fn myself() -> PathBuf {
    let copy = scratch().join("program");
    if !copy.exists() {
        std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    }
    copy
}

/// From kill(2) of the supervisor to the answer of the program under it.
fn latency(program: &Path, arguments: &[&str]) -> Duration {
    let myself = myself();
    let mut command = quiet(program, &[arguments, &[myself.to_str().unwrap(), "catcher"]].concat());
    let mut child = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut answers = child.0.stdout.take().unwrap();
    let mut byte = [0];
    answers.read_exact(&mut byte).unwrap();
    let pid = Pid::from_raw(child.0.id() as i32);
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            kill(pid, Signal::SIGUSR1).unwrap();
            answers.read_exact(&mut byte).unwrap();
            began.elapsed()
        })
        .collect();
    kill(Pid::from_raw(child.0.id() as i32), Signal::SIGTERM).unwrap();
    *times.select_nth_unstable(ROUNDS / 2).1
}

fn signal_latency() -> Row {
    let ours = latency(&dl_entry(), &["init", "--"]);
    let times = [ours, latency(Path::new("tini"), &["--"]), latency(Path::new("dumb-init"), &["--"])];
    let what = "a signal, from the supervisor to its command and back";
    compared(what, &["tini", "dumb-init"], &times, "")
}

const ORPHANS: usize = 10_000;

/// Children of children that have ended: each is the supervisor's to reap. Ends when none is left in /proc.
fn leave_orphans() {
    for _ in 0..ORPHANS / 100 {
        // A shell forks a hundred in the background and ends before they do.
        let script = "i=0; while [ $i -lt 100 ]; do : & i=$((i+1)); done";
        Command::new("sh").args(["-c", script]).status().unwrap();
    }
    while std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_number(&entry.file_name())).count() > 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_number(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
}

fn orphans_reaped() -> Row {
    let myself = myself();
    let namespace = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let own = dl_entry();
    let with = |words: &[&str]| quiet("unshare", &[&namespace, words, &[myself.to_str().unwrap(), "orphans"]].concat());
    let commands =
        vec![with(&[own.to_str().unwrap(), "init", "--"]), with(&["tini", "--"]), with(&["dumb-init", "--"])];
    compared("10 000 orphans made and reaped, as PID 1", &["tini", "dumb-init"], &medians(commands, 5), "")
}

/// CPU time of all children so far.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| Duration::new(time.tv_sec() as u64, time.tv_usec() as u32 * 1000);
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// A service that is ready, under the health endpoint of dl-entry.
fn served() -> (Killed, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = scratch().join("served");
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    std::fs::write(folder.join("bin/java"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    std::fs::set_permissions(folder.join("bin/java"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = quiet(dl_entry(), &["run", "--service", "nessie"]);
    command.env("JAVA_HOME", &folder).env("NESSIE_JAR", folder.join("bin/java")).env("DL_RUN_DIR", folder.join("run"));
    command.env("NESSIE_VERSION_STORE_PERSIST_ROCKS_DATABASE_PATH", folder.join("data"));
    command.env("DL_HEALTH_ADDR", format!("127.0.0.1:{port}"));
    let child = Killed(command.spawn().unwrap());
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    (child, port)
}

fn health_question() -> Row {
    let (_service, port) = served();
    let spent = |mut command: Command| {
        let before = processor_time();
        (0..ROUNDS).for_each(|_| assert!(command.status().unwrap().success(), "{command:?}"));
        (processor_time() - before) / ROUNDS as u32
    };
    let mut ours = quiet(dl_entry(), &["health", "live"]);
    ours.env("DL_HEALTH_ADDR", format!("127.0.0.1:{port}"));
    let times = [spent(ours), spent(quiet("curl", &["-f", "-s", &format!("http://127.0.0.1:{port}/livez")]))];
    compared("processor time of `dl-entry health live`", &["curl -f"], &times, "≤ 0.5 × curl")
}

fn health_under_load() -> Row {
    const CLIENTS: usize = 8;
    let (_service, port) = served();
    let until = Instant::now() + Duration::from_secs(5);
    let client = || {
        let mut times = Vec::new();
        while Instant::now() < until {
            let began = Instant::now();
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            assert!(line.starts_with("HTTP/1.1 200"), "{line}");
            times.push(began.elapsed());
        }
        times
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    let (count, at) = (times.len(), times.len() * 99 / 100);
    let slow = *times.select_nth_unstable(at).1;
    Row {
        what: "/livez asked by 8 clients without pause",
        ours: format!("{} a second, p99 {}", count / 5, milliseconds(slow)),
        peers: vec!["no peer has one".into()],
        target: "",
    }
}

fn binary_size() -> Row {
    let megabytes = |path: &Path| std::fs::metadata(path).unwrap().len() as f64 / 1e6;
    let ours = megabytes(&dl_entry());
    let mut peers: Vec<String> = ["tini", "dumb-init", "gosu"]
        .iter()
        .filter_map(|name| in_path(name).map(|path| (name, megabytes(&path))))
        .map(|(name, theirs)| beside(name, ours, theirs, format!("{theirs:.2} MB")))
        .collect();
    peers.extend(in_path("dockerize").map(|path| {
        let theirs = megabytes(&path);
        beside("dockerize", ours, theirs, format!("{theirs:.2} MB"))
    }));
    Row { what: "binary", ours: format!("{ours:.2} MB"), peers, target: "≤ 5 MB" }
}
