//! A real server as a child: its folder, its ports, its end.

use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};

/// A folder of one test, gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dl-waits-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running server, ended when dropped, and by the kernel when the test itself is killed.
pub struct Server(Child);

impl Server {
    /// `user`: becomes this user when the test runs as root.
    pub fn start(program: &Path, arguments: &[&str], environment: &[(&str, &str)], user: Option<&str>) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).args(identity(user)).arg(program).args(arguments);
        command.envs(environment.iter().copied());
        Server(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("setpriv"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended, not killed: PostgreSQL would leave its shared memory behind.
        let _ = kill(Pid::from_raw(self.0.id() as i32), Signal::SIGINT);
        let deadline = Instant::now() + Duration::from_secs(5);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What setpriv(1) needs to run something as `user`; nothing when we are not root.
pub fn identity(user: Option<&str>) -> Vec<String> {
    match user.filter(|_| Uid::effective().is_root()) {
        Some(user) => vec![format!("--reuid={user}"), format!("--regid={user}"), "--init-groups".to_owned()],
        None => Vec::new(),
    }
}

/// Gives a file or folder to `user` when the test runs as root.
pub fn give(path: &Path, user: &str) {
    if Uid::effective().is_root() {
        let user = User::from_name(user).unwrap().unwrap_or_else(|| panic!("there is no user {user}"));
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The first of these folders that has the program; fails with what to install.
pub fn find(program: &str, folders: &[PathBuf], install: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(std::env::split_paths(&path));
    let found = all.map(|folder| folder.join(program)).find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("{program} is not installed: {install}"))
}
