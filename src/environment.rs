//! The raw environment: variables as they came, env files, Kubernetes service links.
//!
//! Reads; never decides what a variable means. Secret bytes leave this module only as values that `settings` marks.

pub mod arguments;
pub mod container;
pub mod dl_settings;
mod secret_files;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use self::secret_files::{SecretFiles, SecretText};

use self::secret_files::read_bounded;
use crate::read;

/// Everything set, by name.
#[derive(Clone, Default)]
pub struct Environment {
    /// Shared with every clone: a value may be large.
    variables: BTreeMap<OsString, Arc<OsStr>>,
    /// Where a variable of an env file is set, and with which value. Empty for the environment of a process.
    lines: BTreeMap<String, Vec<(Line, Arc<OsStr>)>>,
}

/// A line of an env file, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub file: PathBuf,
    pub number: usize,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.number)
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// This process's environment. Variables that are not UTF-8 are kept as they are.
    pub fn of_process() -> Environment {
        Environment::from_pairs(std::env::vars_os())
    }

    /// The variables of files in Docker's `--env-file` format, later files winning. These alone are the environment.
    ///
    /// # Errors
    /// One line naming the file, the line and what is accepted.
    pub fn from_files(paths: &[PathBuf]) -> Result<Environment, String> {
        let mut environment = Environment::default();
        for path in paths {
            let bytes = Self::bytes_of(path).map_err(|why| format!("{} {why}", path.display()))?;
            environment.read_lines(path, &bytes).map_err(|why| format!("{}, {why}", path.display()))?;
        }
        Ok(environment)
    }

    /// A pipe is as good as a file: `--env-file <(…)`.
    fn bytes_of(path: &Path) -> Result<Vec<u8>, String> {
        let cannot = |error: std::io::Error| format!("cannot be read: {}", crate::text::reason(&error));
        let file = read::open(path).map_err(cannot)?;
        let metadata = file.metadata().map_err(cannot)?;
        if metadata.is_dir() {
            return Err("is a directory, not a file".into());
        }
        read_bounded(file, metadata.is_file(), read::ENVIRONMENT)
    }

    fn read_lines(&mut self, file: &Path, bytes: &[u8]) -> Result<(), String> {
        let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let place = Line { file: file.to_owned(), number: index + 1 };
            self.read_line(place, line).map_err(|why| format!("line {}: {why}", index + 1))?;
        }
        Ok(())
    }

    fn read_line(&mut self, place: Line, line: &[u8]) -> Result<(), &'static str> {
        let line = std::str::from_utf8(line).map_err(|_| "not UTF-8 text")?;
        let line = line.strip_suffix('\r').unwrap_or(line).trim_start();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if line.contains('\0') {
            return Err("a NUL byte, which no variable can hold");
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(Arc::from(OsStr::new(value)))),
            // As Docker has it: a name alone is taken from where the command runs.
            None => (line, None),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err("not a variable; write NAME=value");
        }
        let value: Option<Arc<OsStr>> = value.or_else(|| std::env::var_os(name).map(Arc::from));
        if let Some(value) = value {
            self.lines.entry(name.to_owned()).or_default().push((place, value.clone()));
            self.variables.insert(name.into(), value);
        }
        Ok(())
    }

    /// The line of an env file that sets a variable: the last one where there are several.
    pub fn line_of(&self, name: &str) -> Option<&Line> {
        self.lines.get(name)?.last().map(|(line, _)| line)
    }

    /// The variables that one env file sets more than once and differently, and on which lines. A later file may set a
    /// variable again: that is what it is for.
    pub fn set_twice(&self) -> impl Iterator<Item = (&str, Vec<&Line>)> {
        self.lines.iter().filter_map(|(name, lines)| {
            let (last, value) = lines.last()?;
            let same_file: Vec<&(Line, Arc<OsStr>)> = lines.iter().filter(|(line, _)| line.file == last.file).collect();
            let differ = same_file.iter().any(|(_, other)| other != value);
            differ.then(|| (name.as_str(), same_file.into_iter().map(|(line, _)| line).collect()))
        })
    }

    /// For tests and for callers that have the variables at hand.
    pub fn from_pairs<N: Into<OsString>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (N, V)>) -> Environment {
        let variables = pairs.into_iter().map(|(name, value)| (name.into(), Arc::from(value.into()))).collect();
        Environment { variables, lines: BTreeMap::new() }
    }

    /// The value, empty or not.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(AsRef::as_ref)
    }

    /// Sets one, in place of what it was.
    pub fn insert(&mut self, name: &str, value: &str) {
        self.variables.insert(name.into(), OsStr::new(value).into());
    }

    /// Takes one out.
    pub fn remove(&mut self, name: &str) {
        self.variables.remove(OsStr::new(name));
    }

    /// Every variable, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.variables.iter().map(|(name, value)| (name.as_os_str(), value.as_ref()))
    }

    /// Every name that is UTF-8, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.keys().filter_map(|name| name.to_str())
    }

    /// Takes out what Kubernetes adds for every service of the namespace, and says what it took.
    ///
    /// `NESSIE_PORT=tcp://10.0.0.1:19120` is not the port somebody meant for Nessie
    /// (Kubernetes documentation, "Accessing the Service", environment variables).
    pub fn drop_service_links(&mut self) -> Vec<String> {
        let links: Vec<String> = self.names().filter(|name| self.is_service_link(name)).map(str::to_owned).collect();
        for name in &links {
            self.variables.remove(OsStr::new(name));
        }
        links
    }

    fn is_service_link(&self, name: &str) -> bool {
        // The API server's own are what clients inside the cluster find it by.
        if name.starts_with("KUBERNETES_") {
            return false;
        }
        let value = self.get(name).and_then(OsStr::to_str).unwrap_or_default();
        let link = |value: &str| {
            let rest = ["tcp://", "udp://", "sctp://"].iter().find_map(|scheme| value.strip_prefix(scheme));
            rest.is_some_and(|rest| rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()))
        };
        let has = |name: String| self.variables.contains_key(OsStr::new(&name));
        if let Some(service) = name.strip_suffix("_SERVICE_HOST") {
            return has(format!("{service}_SERVICE_PORT"));
        }
        if let Some((service, port)) = name.split_once("_SERVICE_PORT") {
            let of_service = port.is_empty() || port.starts_with('_');
            return of_service && has(format!("{service}_SERVICE_HOST"));
        }
        let Some((_, tail)) = name.rsplit_once("_PORT") else { return false };
        if tail.is_empty() && link(value) {
            return true;
        }
        // X_PORT_9000_TCP, X_PORT_9000_TCP_ADDR, …_PORT, …_PROTO; the last `_PORT` may be the ending's own.
        let stem = name.strip_suffix("_PORT").unwrap_or(name);
        let mut parts = stem.rsplit_once("_PORT_").map_or("", |(_, rest)| rest).split('_');
        let number = parts.next().is_some_and(|part| part.parse::<u16>().is_ok());
        number && parts.next().is_some_and(|protocol| matches!(protocol, "TCP" | "UDP" | "SCTP"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(environment: &Environment) -> Vec<&str> {
        environment.names().collect()
    }

    #[test]
    fn an_env_file_may_be_a_pipe_and_may_not_be_endless() {
        let mut folder = std::env::temp_dir();
        folder.push(format!("dl-entry-env-file-{}", std::process::id()));
        nix::unistd::mkfifo(&folder, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let writer = folder.clone();
        let writer = std::thread::spawn(move || std::fs::write(writer, "A=1\n").unwrap());
        let environment = Environment::from_files(std::slice::from_ref(&folder)).unwrap();
        writer.join().unwrap();
        std::fs::remove_file(&folder).unwrap();
        assert_eq!(environment.get("A"), Some(OsStr::new("1")));
        let endless = Environment::from_files(&["/dev/zero".into()]).unwrap_err();
        assert_eq!(endless, "/dev/zero is larger than 4 MiB");
        assert_eq!(Environment::from_files(&["/".into()]).unwrap_err(), "/ is a directory, not a file");
    }

    #[test]
    fn service_links_are_dropped_and_what_only_looks_like_one_is_kept() {
        let mut environment = Environment::from_pairs([
            ("NESSIE_PORT", "tcp://10.0.0.1:19120"),
            ("NESSIE_PORT_19120_TCP", "tcp://10.0.0.1:19120"),
            ("NESSIE_PORT_19120_TCP_ADDR", "10.0.0.1"),
            ("NESSIE_PORT_19120_TCP_PORT", "19120"),
            ("NESSIE_PORT_19120_TCP_PROTO", "tcp"),
            ("NESSIE_SERVICE_HOST", "10.0.0.1"),
            ("NESSIE_SERVICE_PORT", "19120"),
            ("NESSIE_SERVICE_PORT_HTTP", "19120"),
            ("TRINO_PORT", "8080"),
            ("QUARKUS_HTTP_PORT", "19120"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("KUBERNETES_SERVICE_PORT", "443"),
            ("A_SERVICE_HOST", "kept: no port beside it"),
        ]);
        let dropped = environment.drop_service_links();
        assert_eq!(dropped.len(), 8, "{dropped:?}");
        assert_eq!(
            names(&environment),
            ["A_SERVICE_HOST", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "QUARKUS_HTTP_PORT", "TRINO_PORT"]
        );
    }

    #[test]
    fn an_env_file_is_read_as_docker_reads_it() {
        let mut environment = Environment::default();
        environment
            .read_lines(Path::new("e"), "\u{feff}# a\n\nA=1 # not a comment\n  B='x'\r\nC=\nA=2\n".as_bytes())
            .unwrap();
        assert_eq!(environment.get("A"), Some(OsStr::new("2")));
        assert_eq!(environment.get("B"), Some(OsStr::new("'x'")));
        assert_eq!(environment.get("C"), Some(OsStr::new("")));
        assert_eq!(environment.line_of("A").map(ToString::to_string), Some("e:6".into()));
        let twice: Vec<_> = environment.set_twice().map(|(name, lines)| (name, lines.len())).collect();
        assert_eq!(twice, [("A", 2)]);
        for (text, why) in [
            (b"ok=1\nexport X=1".as_slice(), "line 2: not a variable; write NAME=value"),
            (b"HOME ", "line 1: not a variable; write NAME=value"),
            (b"ok=1\n\nX=a\0b\n", "line 3: a NUL byte, which no variable can hold"),
            (b"ok=1\nX=\xff\n", "line 2: not UTF-8 text"),
        ] {
            assert_eq!(environment.read_lines(Path::new("e"), text).unwrap_err(), why);
        }
        let missing = Environment::from_files(&["/nonexistent/env".into()]).unwrap_err();
        assert_eq!(missing, "/nonexistent/env cannot be read: no such file or directory");
    }
}
