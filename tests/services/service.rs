//! One service under `dl-entry run`: its folder, its environment, its health, its end; and what calls it.
//!
//! Everything a service writes is below one folder, whose path its command line names: so what it leaves is found.

use crate::support::{Ended, Folder, Running, entry, free_port, try_get, until};
use nix::sys::signal::Signal;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What every service runs as when root starts it.
const SERVICE_USER: u32 = 1000;

/// Longer than any of these servers takes to start or to stop, on a machine that does other things too.
pub const LONG: Duration = Duration::from_secs(90);

/// Every character that has ever broken a template, a shell or a URL, and some beyond ASCII.
pub const HOSTILE: &str = r##"'"$\#{}%&=:!${x}ü漢字🐘"##;

/// One server on a JVM at a time: two cores have enough to do with it.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A download of `./dl fetch`.
pub fn artifact(name: &str) -> PathBuf {
    let folder = std::env::var("DL_ARTIFACTS").unwrap_or_default();
    let path = Path::new(&folder).join(name);
    let hint = "run ./dl fetch, see demo/test.sh";
    assert!(path.exists(), "DL_ARTIFACTS names no folder with {name} in it ({folder:?}): {hint}");
    path
}

/// One service of a test: its environment, and the folder with all it writes.
pub struct Service {
    pub name: &'static str,
    pub folder: Folder,
    pub environment: Vec<(String, String)>,
    pub health: u16,
}

impl Service {
    /// `test` makes the folder's name readable; two folders never have the same.
    pub fn new(name: &'static str, test: &str) -> Service {
        let folder = Folder::new(&format!("{name}-{test}"));
        let health = free_port();
        let mut service = Service { name, folder, environment: Vec::new(), health };
        let run_folder = service.own_folder("run");
        service.set("DL_NAME_SERVICE", "off");
        service.set("DL_RUN_DIR", run_folder.display()).set("DL_HEALTH_ADDR", format_args!("127.0.0.1:{health}"));
        service
    }

    pub fn set(&mut self, name: &str, value: impl ToString) -> &mut Service {
        self.environment.retain(|(other, _)| other != name);
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// A folder the service may write to.
    pub fn own_folder(&self, name: &str) -> PathBuf {
        let path = self.folder.join(name);
        std::fs::create_dir_all(&path).unwrap();
        give(&path);
        path
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = entry(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn start(&self) -> Running {
        Running::start(self.command(&["run", "--service", self.name]))
    }

    /// What the test answers at this socket is the service's answer.
    pub fn start_with_listener(&self, listener: &std::net::TcpListener) -> Running {
        Running::start_with_listener(self.command(&["run", "--service", self.name]), listener)
    }

    /// Starts it and waits until it is ready.
    pub fn ready(&self) -> Running {
        let mut running = self.start();
        self.await_ready(&mut running);
        running
    }

    pub fn await_ready(&self, running: &mut Running) {
        let began = Instant::now();
        while self.readyz() != Some(200) {
            let ended = running.has_ended();
            if ended || began.elapsed() > LONG {
                panic!("{} is not ready (ended: {ended})\n{}\n{}", self.name, running.stdout(), running.stderr());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The status of `/readyz`; nothing while nobody listens.
    pub fn readyz(&self) -> Option<u16> {
        try_get(self.health, "/readyz").ok().map(|(status, _)| status)
    }

    /// The exit status of `dl-entry health ready`, as a probe of a container has it.
    pub fn health_ready(&self) -> i32 {
        Running::start(self.command(&["health", "ready"])).ended(Duration::from_secs(10)).code()
    }

    /// Stops it as a container runtime does; it must end within `within` and leave no process.
    pub fn stop(&self, running: Running, within: Duration) -> Ended {
        running.signal(Signal::SIGTERM);
        let ended = running.ended(within);
        assert_eq!(self.processes(), Vec::<String>::new(), "left behind by {ended:?}");
        ended
    }

    /// The command lines of all processes that name its folder.
    pub fn processes(&self) -> Vec<String> {
        self.identified().into_iter().map(|(_, line)| line).collect()
    }

    /// Waits until the server itself runs: not only `dl-entry`, whose command line does not name the folder. Returns
    /// whose process it is.
    pub fn await_process(&self) -> u32 {
        until(LONG, "the server's process", || self.identified().pop()).0
    }

    fn identified(&self) -> Vec<(u32, String)> {
        let folder = self.folder.path().to_str().unwrap();
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let lines = entries.filter_map(|entry| {
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            Some((entry.metadata().ok()?.uid(), String::from_utf8_lossy(&line).replace('\0', " ")))
        });
        lines.filter(|(_, line)| line.contains(folder)).collect()
    }

    /// Root is dropped, for good.
    pub fn assert_not_root(&self) {
        let own = nix::unistd::geteuid().as_raw();
        assert_eq!(self.await_process(), if own == 0 { SERVICE_USER } else { own });
    }

    /// Runs it to its end, which must be a refusal that names every one of `problems`, with nothing started or written.
    pub fn expect_refusal(&self, problems: &[&str]) -> String {
        let ended = self.start().ended(Duration::from_secs(10));
        assert_eq!(ended.code(), 78, "{}", ended.stderr);
        assert_eq!(ended.stdout, "");
        for problem in problems {
            assert!(ended.stderr.contains(problem), "{problem:?} is not in\n{}", ended.stderr);
        }
        let written: Vec<_> = std::fs::read_dir(self.folder.join("run")).unwrap().flatten().collect();
        assert!(written.is_empty(), "{written:?}");
        ended.stderr
    }
}

/// Gives a file or folder to the service's user, where the test may.
pub fn give(path: &Path) {
    if nix::unistd::geteuid().is_root() {
        chown(path, Some(SERVICE_USER), Some(SERVICE_USER)).unwrap();
    }
}

/// A file only the service can read.
pub fn give_secret(path: &Path, content: &str) {
    std::fs::write(path, content).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    give(path);
}

/// What a server answered to curl(1).
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// Calls a server with curl(1). `config` is read from its standard input, so that no secret is on a command line.
pub fn curl(arguments: &[&str], config: &str) -> Answer {
    let mut command = Command::new("curl");
    command.args(["-sS", "-i", "--max-time", "30", "-w", "\n%{http_code}", "-K", "-"]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("curl");
    child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let (text, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "curl {arguments:?}: {complaint}");
    let (answer, status) = text.rsplit_once('\n').unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    Answer { status: status.parse().unwrap(), head: head.to_owned(), body: body.to_owned() }
}

/// The line of curl's configuration that signs a request for S3; a value in quotes escapes `\` and `"` there.
pub fn credentials(access_key: &str, secret_key: &str) -> String {
    let user = format!("{access_key}:{secret_key}").replace('\\', r"\\").replace('"', "\\\"");
    // Curl before 8 signs another digest of a body than S3 wants.
    let unsigned = "header = \"x-amz-content-sha256: UNSIGNED-PAYLOAD\"";
    format!("user = \"{user}\"\naws-sigv4 = \"aws:amz:us-east-1:s3\"\n{unsigned}\n")
}

/// The Java that runs the servers on a JVM, as `./dl test` found it.
pub fn java_home() -> PathBuf {
    let named = std::env::var("DL_JAVA").unwrap_or_default();
    let java = PathBuf::from(&named).canonicalize();
    let java = java.unwrap_or_else(|error| panic!("DL_JAVA names no java ({named:?}): {error}; see demo/java.sh"));
    java.ancestors().nth(2).unwrap().to_owned()
}

/// A server's certificate for loopback, and the authority it is from.
pub struct Certificate {
    pub authority: String,
    pub chain: String,
    pub key: String,
}

impl Certificate {
    pub fn new() -> Certificate {
        let authority_key = rcgen::KeyPair::generate().unwrap();
        let mut authority = rcgen::CertificateParams::default();
        // A certificate whose issuer has its own name would be taken for self-signed.
        authority.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        Certificate { authority: root.pem(), chain: certificate.pem(), key: key.serialize_pem() }
    }
}
