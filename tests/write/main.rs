//! Files and directories on real file systems: full ones, read-only ones, mounted single files, other users.
//!
//! What needs a mount or another user runs in a process of its own under `unshare -m`, and so needs root.

mod mounted;
mod process;
mod replaced;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A folder under the temp dir that everybody may enter, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("dl-entry-write-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Folder(path.canonicalize().unwrap())
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.join(name)).unwrap()
    }

    /// Everything in it, sorted.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a script said.
struct Said {
    stdout: String,
    stderr: String,
}

/// Runs a shell script in its own mount namespace with `$D` a fresh folder and `$W` the process, which any user may
/// start.
fn script(text: &str) -> Said {
    assert!(nix::unistd::geteuid().is_root(), "run as root: file systems are mounted");
    let folder = Folder::new();
    let (program, write) = (folder.join("program"), folder.join("write"));
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::write(&write, process::shell_script(&program)).unwrap();
    std::fs::set_permissions(&write, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(folder.join("d")).unwrap();
    let mut command = Command::new("timeout");
    command.args(["20", "unshare", "-m", "sh", "-ec", text]);
    command.env("D", folder.join("d")).env("W", &write).env_remove("NO_COLOR");
    let output = command.output().unwrap();
    let folder = folder.join("d").to_string_lossy().into_owned();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&folder, "$D").replace(process::PREAMBLE, "");
    let said = Said { stdout: text(output.stdout), stderr: text(output.stderr) };
    assert!(output.status.success(), "{}{}", said.stdout, said.stderr);
    said
}
