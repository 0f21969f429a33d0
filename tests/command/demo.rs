//! A service of the tests' own, where an image would put it: `/etc/dl-entry/services/demo`, in a mount namespace that
//! ends with the process.

use crate::support::{Folder, binary, free_port, require_root};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The service: a shell that runs `DEMO_SCRIPT`.
const CONTRACT: &str = r#"
[service]
name = "demo"
summary = "a shell script"
command = ["/bin/sh", "-c", "{{ script }}", "demo"]
prefixes = ["DEMO_"]
words = ["serve"]

[[env]]
name = "DEMO_SCRIPT"
type = "string"
references = "any"
default = "exec sleep 1000"
doc = "What runs."

[[env]]
name = "DEMO_PORT"
type = "port"
default = 8080
doc = "Port it listens on."

[[env]]
name = "DEMO_PASSWORD"
type = "secret"
doc = "Secret in its file."

[[env]]
name = "DEMO_TOKEN"
type = "secret"
export = true
doc = "Secret in its environment."

[[env]]
name = "DEMO_TIMEOUT"
type = "duration"
default = "30s"
aliases = ["DEMO_OLD_TIMEOUT"]
doc = "How long it is patient."

[[file]]
template = "demo.properties.tera"
path = "{{ etc }}/demo.properties"
format = "properties"
mode = "0640"
"#;

const TEMPLATE: &str = "port = {{ port }}\n{% if password %}password = {{ password }}\n{% endif %}";

/// Asks the service at `DEMO_PORT` whether it is ready.
pub const READY: &str = "[[ready]]\nhttp = { url = \"http://127.0.0.1:{{ port }}/ready\" }\n";

/// One rung: SIGTERM.
pub const STOP: &str = "[[stop]]\nsignal = \"SIGTERM\"\nwithin = \"10s\"\n";

/// Shadows /etc, adds the services of `$1` and becomes the rest of the words.
const SETUP: &str = "mount -t tmpfs none \"$1/etc\"; mkdir \"$1/etc/upper\" \"$1/etc/work\"
    mount -t overlay overlay -o \"lowerdir=/etc,upperdir=$1/etc/upper,workdir=$1/etc/work\" /etc
    mkdir -p /etc/dl-entry; ln -s \"$1/services\" /etc/dl-entry/services
    shift; exec \"$@\"";

/// The demo service and all its folders.
pub struct Demo {
    folder: Folder,
    pub health: u16,
}

impl Demo {
    /// `additions` are further sections of the contract.
    pub fn new(additions: &str) -> Demo {
        require_root("the demo service is put under /etc by a mount");
        let folder = Folder::new("demo");
        let service = folder.join("services/demo");
        for path in [&service, &folder.join("etc"), &folder.join("run")] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(service.join("service.toml"), format!("{CONTRACT}\n{additions}")).unwrap();
        std::fs::write(service.join("demo.properties.tera"), TEMPLATE).unwrap();
        std::fs::set_permissions(folder.join("run"), PermissionsExt::from_mode(0o777)).unwrap();
        Demo { folder, health: free_port() }
    }

    /// The same folders with other `additions`, which may name what is in them.
    pub fn with(self, additions: &str) -> Demo {
        std::fs::write(self.join("services/demo/service.toml"), format!("{CONTRACT}\n{additions}")).unwrap();
        self
    }

    /// The binary, as root, with the demo service and `arguments`.
    pub fn entry(&self, arguments: &[&str]) -> Command {
        let binary = binary();
        self.command(&[&[binary.to_str().unwrap()], arguments].concat())
    }

    /// The binary as another user from the start: `1000:0` for one.
    pub fn entry_as(&self, uid: u32, gid: u32, arguments: &[&str]) -> Command {
        let (uid, gid, binary) = (uid.to_string(), gid.to_string(), self.folder.binary());
        let user = ["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", binary.to_str().unwrap()];
        self.command(&[&user, arguments].concat())
    }

    /// Any program that sees the demo service under /etc.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-ec", SETUP, "sh"])
            .arg(self.path())
            .args(words)
            .env_clear()
            .env("DL_NAME_SERVICE", "off");
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin").env("DL_SERVICE", "demo");
        command.env("DL_RUN_DIR", self.run()).env("DL_HEALTH_ADDR", format!("127.0.0.1:{}", self.health));
        command
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn write(&self, name: &str, content: &str) -> PathBuf {
        self.folder.write(name, content)
    }

    /// `DL_RUN_DIR`.
    pub fn run(&self) -> PathBuf {
        self.folder.join("run")
    }

    /// The one file it renders.
    pub fn file(&self) -> PathBuf {
        self.run().join("demo/demo.properties")
    }
}
