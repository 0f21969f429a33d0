//! The real readers, each started once for all cases.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME")).join(".cache/datalyptica");
    std::env::var_os("DL_CACHE").map_or_else(home, PathBuf::from)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal")).collect()
}

/// A Java of at least 24, which Trino's classes need: JAVA_HOME, then what is installed.
fn java_home() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let given = std::env::var_os("JAVA_HOME").map(PathBuf::from);
    let candidates = given.into_iter().chain(installed).chain([cache().join("java")]);
    let recent = |home: &PathBuf| {
        let release = std::fs::read_to_string(home.join("release")).unwrap_or_default();
        let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\"")).unwrap_or_default();
        version
            .split(['.', '"', '+', '-'])
            .next()
            .and_then(|major| major.parse::<u32>().ok())
            .is_some_and(|major| major >= 24)
    };
    candidates.into_iter().find(recent).expect("no Java 24 or newer: set JAVA_HOME, or run ./dl fetch")
}

fn run(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} ended with {}", output.status);
    writer.join().unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// How many keys each file has, and what its key "key" is.
pub fn java(reader: &str, files: &[String]) -> Vec<(usize, Option<String>)> {
    let nessie = cache().join("nessie-quarkus-0.99.0-runner.jar");
    let trino = cache().join("trino-server-476/lib");
    for path in [&nessie, &trino] {
        assert!(path.exists(), "{} is missing: run ./dl fetch", path.display());
    }
    let classes = classes();
    let class_path = format!("{}:{}:{}/*", classes.display(), nessie.display(), trino.display());
    let mut command = Command::new(java_home().join("bin/java"));
    command.args(["-cp", &class_path, "Readers"]).env("TRINO_DOLLAR", "$").env("TRINO_BLANK", " ");
    let input: String = files.iter().map(|file| format!("{reader} {}\n", hex(file.as_bytes()))).collect();
    let output = run(&mut command, &input);
    let answers: Vec<_> = output.lines().map(answer).collect();
    assert_eq!(answers.len(), files.len());
    answers
}

fn answer(line: &str) -> (usize, Option<String>) {
    let (count, value) = line.split_once(' ').expect("COUNT HEX");
    let value = (value != "-").then(|| String::from_utf8(unhex(value)).expect("UTF-8"));
    (count.parse().expect("a count"), value)
}

/// The harness, compiled by whatever JDK there is.
fn classes() -> PathBuf {
    static CLASSES: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    CLASSES
        .get_or_init(|| {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("readers-{}", std::process::id()));
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/Readers.java");
            let mut command = Command::new("javac");
            command.arg("-d").arg(&folder).arg(source);
            let compiled = command.status().expect("javac is missing: apt-get install openjdk-17-jdk-headless");
            assert!(compiled.success());
            folder
        })
        .clone()
}

/// The arguments that a `java @file` of these lines comes to.
pub fn java_launcher(lines: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("launcher-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("arguments");
    std::fs::write(&file, lines).unwrap();
    // With this set the launcher prints what it makes of its files before it starts the machine.
    let output = Command::new(java_home().join("bin/java"))
        .arg(format!("@{}", file.display()))
        .arg("-version")
        .env("_JAVA_LAUNCHER_DEBUG", "1")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    printed_arguments(&printed)
}

/// `argv[1] = -Dkey=…`: a value may span lines.
fn printed_arguments(printed: &str) -> Vec<String> {
    let parts = printed.split("\nargv[").filter_map(|part| part.split_once("] = "));
    parts.map(|(_, text)| text.to_owned()).filter(|text| text.starts_with("-Dkey=")).collect()
}

const PYTHON: &str = r#"
import sys, json, xml.etree.ElementTree as tree
reader = sys.argv[1]
if reader == "yaml":
    import yaml
for line in sys.stdin:
    text = bytes.fromhex(line.strip()).decode()
    if reader == "yaml":
        value = yaml.safe_load(text)["list"][0]["key"]
    elif reader == "json":
        value = json.loads(text)["list"][0]["key"]
    else:
        element = tree.fromstring(text).find("p")
        value = element.text or ""
        assert element.get("name") == value
    assert isinstance(value, str), repr(value)
    print(value.encode().hex())
"#;

/// What each file's value is. Debian's Python, because that is where its PyYAML is.
pub fn python(reader: &str, files: &[String]) -> Vec<String> {
    let input: String = files.iter().map(|file| format!("{}\n", hex(file.as_bytes()))).collect();
    let has_yaml =
        Command::new("/usr/bin/python3").args(["-c", "import yaml"]).status().is_ok_and(|status| status.success());
    assert!(has_yaml, "PyYAML is missing: apt-get install python3-yaml");
    let output = run(Command::new("/usr/bin/python3").args(["-c", PYTHON, reader]), &input);
    let values: Vec<String> = output.split('\n').map(|line| String::from_utf8(unhex(line)).unwrap()).collect();
    assert_eq!(values.len(), files.len() + 1);
    values[..files.len()].to_vec()
}

/// What PostgreSQL makes of parameters `dl.v0` to `dl.v<count-1>`: shown by a single-user server.
pub fn postgresql_conf(lines: &str, count: usize) -> Vec<String> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let folder = versions
        .map(|entry| entry.path().join("bin"))
        .max()
        .expect("PostgreSQL is missing: apt-get install postgresql");
    let data = std::env::temp_dir().join(format!("dl-formats-{}", std::process::id()));
    let as_postgres = |program: &str| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
            .arg(folder.join(program))
            .current_dir("/");
        command
    };
    let made = as_postgres("initdb")
        .args(["--no-sync", "-E", "UTF8", "--locale=C", "-D"])
        .arg(&data)
        .stdout(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let configuration = data.join("postgresql.conf");
    let text = std::fs::read_to_string(&configuration).unwrap() + lines;
    std::fs::write(&configuration, text).unwrap();
    let query: String = (0..count)
        .map(|index| format!("select encode(convert_to(current_setting('dl.v{index}'), 'UTF8'), 'hex') as v\n"))
        .collect();
    let output = run(
        as_postgres("postgres").args(["--single", "-D"]).arg(&data).arg("postgres").stderr(Stdio::inherit()),
        &query,
    );
    std::fs::remove_dir_all(&data).unwrap();
    let values = output
        .lines()
        .filter_map(|line| line.split_once("v = \""))
        .map(|(_, rest)| rest.split('"').next().unwrap_or_default());
    values.map(|text| String::from_utf8(unhex(text)).unwrap()).collect()
}
