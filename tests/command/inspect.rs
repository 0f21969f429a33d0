//! The commands that only look, and what a running entry says of itself.

use crate::LONG;
use crate::demo::{Demo, READY, STOP};
use crate::support::{Ended, Folder, Running, entry, free_port, get, try_get, until};
use nix::sys::signal::Signal::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Every character that some format writes in another way.
const HOSTILE: &str = "k'\"$\\#{}%&=:!ü<€ 9";

fn ended(command: Command) -> Ended {
    Running::start(command).ended(LONG)
}

fn json_of(ended: &Ended) -> Value {
    assert_eq!(ended.stderr, "");
    assert_eq!(ended.stdout.lines().count(), 1, "{}", ended.stdout);
    serde_json::from_str(&ended.stdout).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

// --- check-env ----------------------------------------------------------------------------------------------------

/// Behaviours: 6, 85, 87.
#[test]
fn a_right_environment_is_0_and_a_broken_one_78_with_every_problem() {
    let demo = Demo::new(STOP);
    let right = ended(demo.entry(&["check-env"]));
    assert_eq!((right.code(), right.stdout.as_str()), (0, "demo: environment is valid\n"), "{}", right.stderr);
    let mut command = demo.entry(&["check-env"]);
    command.env("DEMO_PORT", "70000").env("DEMO_OLD_TIMEOUT", "60").env("DEMO_PROT", "1").env("DEMO_TOKEN", "changeme");
    command.env("DEMO_PASSWORD", "long enough by far").env("DEMO_PASSWORD_FILE", "/x").env("DL_WAIT_TIMEOUT", "soon");
    let broken = ended(command);
    assert_eq!((broken.code(), broken.stderr.as_str()), (78, ""));
    let expected = "demo: environment has 5 problems and 1 warning
  1. DL_WAIT_TIMEOUT is not a duration
";
    assert!(broken.stdout.starts_with(expected), "{}", broken.stdout);
    for line in [
        "DEMO_PORT is not a port\n     accepted: a port, 1 to 65535\n     from: environment",
        "DEMO_TIMEOUT is a duration without its unit\n     accepted: a duration with its unit: 60s, 2m, 1h30m or PT1M30S\n     from: environment, as DEMO_OLD_TIMEOUT",
        "DEMO_PASSWORD, DEMO_PASSWORD_FILE are both set\n     accepted: one of the two",
        "DEMO_TOKEN is not a safe secret: ",
        "warning: DEMO_PROT is not a variable of demo: did you mean DEMO_PORT?",
        "notice: DEMO_OLD_TIMEOUT is an old or foreign name: taken as DEMO_TIMEOUT",
    ] {
        assert!(broken.stdout.contains(line), "{line}\n{}", broken.stdout);
    }
    assert!(!broken.stdout.contains("changeme") && !broken.stdout.contains("70000"), "{}", broken.stdout);
}

#[test]
fn a_service_with_a_broken_environment_gives_the_same_report_and_does_not_start() {
    let demo = Demo::new(STOP);
    let variables = [("DEMO_PORT", "x"), ("DEMO_TIMEOUT", "60"), ("DEMO_SCRIPT", "echo started")];
    let mut check = demo.entry(&["check-env"]);
    let mut run = demo.entry(&["run"]);
    check.envs(variables);
    run.envs(variables);
    let (checked, ran) = (ended(check), ended(run));
    assert_eq!((ran.code(), ran.stdout.as_str()), (78, ""));
    assert_eq!(ran.stderr, format!("dl-entry: {}", checked.stdout));
    assert!(!demo.file().exists());
}

/// Behaviours: 85.
#[test]
fn the_json_report_has_the_documented_shape() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&["check-env", "--format", "json"]);
    command.env("DEMO_PORT", "x").env("DEMO_PROT", "1").env("DEMO_PASSWORD", "long enough by far");
    command.env("DEMO_OLD_TIMEOUT", "5s");
    let report = ended(command);
    assert_eq!(report.code(), 78);
    let report = json_of(&report);
    assert_eq!(keys(&report), ["service", "ok", "problems", "values"]);
    assert_eq!((&report["service"], &report["ok"]), (&json!("demo"), &json!(false)));
    let expected = json!([
        {"variable": "DEMO_PORT", "severity": "error", "message": "is not a port",
         "accepted": "a port, 1 to 65535", "source": "environment"},
        {"variable": "DEMO_PROT", "severity": "warning",
         "message": "is not a variable of demo: did you mean DEMO_PORT?", "accepted": null, "source": "environment"},
    ]);
    assert_eq!(report["problems"], expected);
    assert_eq!(keys(&report["problems"][0]), ["variable", "severity", "message", "accepted", "source"]);
    let expected = json!([
        {"variable": "DEMO_SCRIPT", "value": "exec sleep 1000", "source": "default", "secret": false},
        {"variable": "DEMO_PASSWORD", "value": "‹redacted›", "source": "environment", "secret": true},
        {"variable": "DEMO_TIMEOUT", "value": "5s", "source": "environment, as DEMO_OLD_TIMEOUT", "secret": false},
    ]);
    assert_eq!(report["values"], expected);
    assert_eq!(keys(&report["values"][0]), ["variable", "value", "source", "secret"]);
}

/// Behaviours: 85.
#[test]
fn the_json_report_is_the_same_every_time_and_says_when_all_is_well() {
    let demo = Demo::new(STOP);
    let report = || {
        let mut command = demo.entry(&["check-env", "--format", "json"]);
        command.env("DEMO_TIMEOUT", "90s").env("DEMO_TOKEN", "long enough by far");
        ended(command)
    };
    let first = report();
    assert_eq!(first.code(), 0);
    assert_eq!((&json_of(&first)["ok"], &json_of(&first)["problems"]), (&json!(true), &json!([])));
    assert_eq!(first.stdout, report().stdout);
}

#[test]
fn env_files_are_the_whole_environment_and_a_later_one_wins() {
    let demo = Demo::new(STOP);
    let first = demo.write("first.env", "# comment\nDEMO_PORT=1000\nDEMO_TIMEOUT=5s\n");
    let second = demo.write("second.env", "DEMO_PORT=2000\n");
    let files = ["--env-file", first.to_str().unwrap(), "--env-file", second.to_str().unwrap()];
    let mut command = demo.entry(&[&["check-env", "--format", "json", "--service", "demo"], &files[..]].concat());
    command.env("DEMO_SCRIPT", "not looked at").env("DEMO_TOKEN", "changeme").env("DL_STRICT", "maybe");
    let report = ended(command);
    assert_eq!(report.code(), 0, "{}", report.stdout);
    let report = json_of(&report);
    let values: BTreeMap<&str, &str> = report["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|value| (value["variable"].as_str().unwrap(), value["value"].as_str().unwrap()))
        .collect();
    let expected = [("DEMO_PORT", "2000"), ("DEMO_SCRIPT", "exec sleep 1000"), ("DEMO_TIMEOUT", "5s")];
    assert_eq!(values, BTreeMap::from(expected));
}

/// Behaviours: 87.
#[test]
fn unknown_variables_are_warnings_and_errors_when_strict() {
    let demo = Demo::new(STOP);
    for (arguments, strict, code) in
        [(&["check-env"][..], "0", 0), (&["check-env", "--strict"], "0", 78), (&["check-env"], "1", 78)]
    {
        let mut command = demo.entry(arguments);
        command.env("DEMO_PROT", "1").env("DL_STRICT", strict);
        assert_eq!(ended(command).code(), code, "{arguments:?} {strict}");
    }
}

#[test]
fn a_well_known_secret_is_an_error_that_can_be_allowed() {
    let demo = Demo::new(STOP);
    for (allow, code) in [("0", 78), ("1", 0)] {
        let mut command = demo.entry(&["check-env"]);
        command.env("DEMO_TOKEN", "password123").env("DL_ALLOW_INSECURE", allow);
        let report = ended(command);
        assert_eq!(report.code(), code);
        assert!(report.stdout.contains("DEMO_TOKEN is not a safe secret"), "{}", report.stdout);
    }
}

/// Path, size, time of change and inode of everything below.
fn snapshot(folder: &Path) -> Vec<(String, u64, i64, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        found.push((path.display().to_string(), metadata.len(), metadata.ctime_nsec(), metadata.ino()));
        if metadata.is_dir() {
            found.extend(snapshot(&path));
        }
    }
    found.sort();
    found
}

#[test]
fn what_only_looks_writes_nothing() {
    let demo = Demo::new(STOP);
    let mut run = demo.entry(&["run"]);
    run.env("DEMO_SCRIPT", "exit 0");
    assert_eq!(ended(run).code(), 0);
    let before = snapshot(demo.path());
    for arguments in
        [&["check-env"][..], &["render"], &["render", "--stdout"], &["render", "--diff"], &["explain"], &["services"]]
    {
        let mut command = demo.entry(arguments);
        command.env("DEMO_PORT", "9999").env("TMPDIR", demo.path()).current_dir(demo.path());
        assert_eq!(ended(command).code(), 0, "{arguments:?}");
        assert_eq!(snapshot(demo.path()), before, "{arguments:?}");
    }
}

// --- secrets ------------------------------------------------------------------------------------------------------

fn base64(bytes: &[u8], alphabet: &[u8; 64]) -> String {
    let mut text = String::new();
    for piece in bytes.chunks(3) {
        let bits = piece.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        (0..=piece.len()).for_each(|index| text.push(alphabet[(bits >> (18 - 6 * index)) as usize & 63] as char));
    }
    text
}

/// The secret as some would write it: as it is, base64, percent-encoded, JSON, hexadecimal.
fn spellings(secret: &str) -> Vec<String> {
    let standard = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let url = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let percent: String = secret
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let quoted = serde_json::to_string(secret).unwrap();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let (standard, url) = (base64(secret.as_bytes(), standard), base64(secret.as_bytes(), url));
    vec![secret.to_owned(), standard, url, percent, quoted.trim_matches('"').to_owned(), hex]
}

fn assert_kept(secret: &str, text: &str, what: &str) {
    for spelling in spellings(secret) {
        assert!(!text.contains(&spelling), "{what} has {spelling}\n{text}");
    }
}

/// Behaviours: 84.
#[test]
fn no_output_of_any_command_has_a_secret_in_any_spelling() {
    let demo = Demo::new(STOP);
    let secrets = [("DEMO_PASSWORD", HOSTILE), ("DEMO_TOKEN", "another \"secret\" of 40 characters & more")];
    let all_commands = [
        &["check-env"][..],
        &["check-env", "--format", "json"],
        &["render"],
        &["render", "--diff"],
        &["explain"],
        &["explain", "DEMO_PASSWORD"],
        &["run"],
    ];
    for (broken, code) in [("8080", 0), ("x", 78)] {
        for arguments in all_commands {
            let mut command = demo.entry(arguments);
            command.envs(secrets).env("DEMO_PORT", broken).env("DL_LOG_LEVEL", "trace").env("DEMO_SCRIPT", "exit 0");
            let ended = ended(command);
            let code = if arguments[0] == "explain" { 0 } else { code };
            assert_eq!(ended.code(), code, "{arguments:?}\n{}", ended.stderr);
            for (_, secret) in secrets {
                assert_kept(secret, &ended.stdout, &format!("stdout of {arguments:?}"));
                assert_kept(secret, &ended.stderr, &format!("stderr of {arguments:?}"));
            }
        }
    }
}

/// Behaviours: 84.
#[test]
fn a_secret_in_other_spellings_inside_other_values_is_redacted_too() {
    let demo = Demo::new(STOP);
    for spelling in spellings(HOSTILE) {
        let mut command = demo.entry(&["check-env", "--format", "json"]);
        command.env("DEMO_PASSWORD", HOSTILE).env("DEMO_SCRIPT", format!("curl --data <{spelling}>"));
        let ended = ended(command);
        assert_eq!(ended.code(), 0, "{}", ended.stdout);
        let report = json_of(&ended);
        assert!(!ended.stdout.contains(&spelling), "{spelling}\n{}", ended.stdout);
        assert_eq!(report["values"][0]["value"], "curl --data <‹redacted:DEMO_PASSWORD›>", "{spelling}");
    }
}

// --- render, explain, wait -----------------------------------------------------------------------------------------

#[test]
fn render_writes_real_secrets_below_a_folder_readable_by_their_owner_alone() {
    let demo = Demo::new(STOP);
    let root = demo.join("out");
    let mut command = demo.entry(&["render", "--root", root.to_str().unwrap()]);
    command.env("DEMO_PASSWORD", "correct horse");
    let rendered = ended(command);
    let path = root.join(demo.file().strip_prefix("/").unwrap());
    assert_eq!((rendered.code(), rendered.stdout), (0, format!("{}\n", path.display())), "{}", rendered.stderr);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "port = 8080\npassword = correct horse\n");
    let metadata = path.metadata().unwrap();
    assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o600, nix::unistd::geteuid().as_raw()));
    assert!(!demo.file().exists());
}

#[test]
fn render_prints_the_files_and_shows_what_would_change() {
    let demo = Demo::new(STOP);
    let mut run = demo.entry(&["run"]);
    run.env("DEMO_SCRIPT", "exit 0").env("DEMO_PASSWORD", "correct horse");
    assert_eq!(ended(run).code(), 0);
    let file = demo.file().display().to_string();
    for arguments in [&["render"][..], &["render", "--stdout"]] {
        let mut command = demo.entry(arguments);
        command.env("DEMO_PASSWORD", "correct horse");
        let printed = ended(command);
        let expected = format!("# {file} (0640)\nport = 8080\npassword = ‹redacted:DEMO_PASSWORD›\n");
        assert_eq!((printed.code(), printed.stdout), (0, expected), "{}", printed.stderr);
    }
    for (port, expected) in [
        ("8080", "\n".to_owned()),
        (
            "9090",
            format!(
                "--- a{file}\n+++ b{file}\n@@ -1,2 +1,2 @@\n-port = 8080\n+port = 9090\n password = ‹redacted:DEMO_PASSWORD›\n"
            ),
        ),
    ] {
        let mut command = demo.entry(&["render", "--diff"]);
        command.env("DEMO_PASSWORD", "correct horse").env("DEMO_PORT", port);
        let printed = ended(command);
        assert_eq!((printed.code(), printed.stdout), (0, expected), "{}", printed.stderr);
    }
}

#[test]
fn render_below_a_root_stays_there_and_leaves_its_folders_as_they_are() {
    let demo = Demo::new(STOP);
    let (root, outside) = (demo.join("out"), demo.join("outside"));
    std::fs::create_dir_all(root.join("var")).unwrap();
    std::fs::create_dir_all(root.join("run")).unwrap();
    std::fs::create_dir(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, root.join("var/run")).unwrap();
    let render = |run_dir: &str, further: &[&str]| {
        let mut command = demo.entry(&[&["render", "--root", root.to_str().unwrap()], further].concat());
        command.env("DL_RUN_DIR", run_dir);
        ended(command)
    };
    let refused = render("/var/run/dl", &[]);
    let message = format!(
        "dl-entry: {0}/var/run is a symbolic link to {1}, which could lead out of {0}: it is not followed\n  \
         name another folder with --root, or a DL_RUN_DIR without the link\n",
        root.display(),
        outside.display()
    );
    assert_eq!((refused.code(), refused.stdout.as_str(), refused.stderr), (73, "", message));
    let escaped = render("/x/../../../../tmp/ESC", &[]);
    assert_eq!((escaped.code(), escaped.stdout.as_str()), (78, ""));
    assert!(escaped.stderr.contains("1. DL_RUN_DIR goes up again with ..\n"), "{}", escaped.stderr);
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 0);

    let written = render("/run/dl", &[]);
    assert_eq!(written.code(), 0, "{}", written.stderr);
    let mode = |path: &str| root.join(path).metadata().unwrap().mode() & 0o7777;
    assert_eq!([mode("run"), mode("run/dl"), mode("run/dl/demo")], [0o755, 0o700, 0o700]);
    let unchanged = render("/run/dl", &["--diff"]);
    assert_eq!((unchanged.code(), unchanged.stdout.as_str()), (0, "\n"));

    let file = root.join("run/dl/demo/demo.properties");
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("elsewhere", &file).unwrap();
    let changed = render("/run/dl", &["--diff"]);
    let line = format!("# cannot write {}: a symbolic link is in the way of a file\n", file.display());
    assert_eq!(changed.stdout, format!("{line}#   remove it or mount a file there\n"));
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("..data/gone", &file).unwrap();
    let kept = format!("{} is mounted by the operator and", file.display());
    let changed = render("/run/dl", &["--diff"]);
    assert!(changed.stdout.starts_with(&format!("# {kept} would be kept\n--- a/")), "{}", changed.stdout);
    let written = render("/run/dl", &[]);
    let warning = format!("dl-entry: warning: {kept} kept as it is\n");
    assert_eq!((written.code(), written.stdout.as_str(), written.stderr), (0, "\n", warning));
}

#[test]
fn render_of_a_broken_environment_is_its_report() {
    let demo = Demo::new(STOP);
    let root = demo.join("out");
    let mut command = demo.entry(&["render", "--root", root.to_str().unwrap()]);
    command.env("DEMO_PORT", "x");
    let rendered = ended(command);
    assert_eq!((rendered.code(), rendered.stdout.as_str()), (78, ""));
    assert!(rendered.stderr.contains("1. DEMO_PORT is not a port"), "{}", rendered.stderr);
    assert!(!root.exists());
}

#[test]
fn explain_tells_type_default_meaning_destination_value_and_source() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&["explain", "DEMO_PORT"]);
    command.env("DEMO_PORT", "9090");
    let expected = format!(
        "DEMO_PORT
    Port it listens on.
    accepted:   a port, 1 to 65535
    default:    8080
    ends up in: {}
    now:        9090 (from: environment)
",
        demo.file().display()
    );
    let explained = ended(command);
    assert_eq!((explained.code(), explained.stdout), (0, expected), "{}", explained.stderr);
    let everything = ended(demo.entry(&["explain"])).stdout;
    for name in ["DEMO_SCRIPT", "DEMO_PORT", "DEMO_PASSWORD", "DEMO_TOKEN", "DEMO_TIMEOUT"] {
        assert!(everything.contains(&format!("\n{name}\n")), "{everything}");
    }
    let unknown = ended(demo.entry(&["explain", "DEMO_PROT"]));
    assert_eq!((unknown.code(), unknown.stdout.as_str()), (64, ""));
}

/// Whatever check-env takes for a name, explain knows.
#[test]
fn explain_knows_every_name_that_is_accepted() {
    for (service, name, heading) in [
        ("trino", "DL_RUN_DIR", "DL_RUN_DIR\n"),
        ("trino", "TRINO_CATALOG_X__hive.foo", "TRINO_CATALOG_<NAME>__<key>, TRINO_CATALOG_<NAME>_EXTRA\n"),
        ("trino", "TRINO_CATALOG_X_EXTRA", "TRINO_CATALOG_<NAME>__<key>, TRINO_CATALOG_<NAME>_EXTRA\n"),
        ("trino", "TRINO_CATALOG_X_S3_SECRET_KEY_FILE", "TRINO_CATALOG_<NAME>_S3_SECRET_KEY\n"),
        ("trino", "TRINO_CATALOG_<NAME>_S3_SECRET_KEY", "TRINO_CATALOG_<NAME>_S3_SECRET_KEY\n"),
        ("nessie", "NESSIE_SECRETS_CACHE_TTL", "NESSIE_CONFIG__<key>, "),
    ] {
        let explained = ended(entry(&["explain", "--service", service, name]));
        assert_eq!(explained.code(), 0, "{name}: {}", explained.stderr);
        assert!(explained.stdout.starts_with(heading), "{name}: {}", explained.stdout);
    }
    let mut command = entry(&["explain", "--service", "trino", "TRINO_CATALOG_X_S3_SECRET_KEY"]);
    command.env("DL_SECRETS_DIR", "/secrets");
    let explained = ended(command).stdout;
    assert!(explained.contains("or the file /secrets/trino_catalog_<name>_s3_secret_key\n"), "{explained}");
    assert!(explained.contains("/trino/etc/catalog/<NAME>.properties\n"), "{explained}");
    let mut command = entry(&["explain", "--service", "trino", "TRINO_JVM_XMX"]);
    command.env("TRINO_JVM_XMX", "8");
    let explained = ended(command).stdout;
    assert!(explained.contains("now:        not accepted: check-env says why (from: environment)\n"), "{explained}");
    let everything = ended(entry(&["explain", "--service", "trino"])).stdout;
    assert!(everything.contains("\nDL_SECRETS_DIR\n"), "{everything}");
}

#[test]
fn explain_says_in_words_that_a_default_is_worked_out() {
    for service in ["minio", "nessie", "trino"] {
        let said = ended(entry(&["explain", "--service", service])).stdout;
        assert!(said.contains("default:    worked out from other settings or the container"), "{said}");
        assert!(!said.lines().any(|line| line.contains("default:") && line.contains("{%")), "{said}");
    }
}

#[test]
fn the_version_of_trino_is_its_jars_and_another_one_is_said() {
    let home = Folder::new("trino-home");
    std::fs::create_dir(home.join("lib")).unwrap();
    home.write("lib/io.trino_trino-main-480.jar", "");
    let asked = |words: &[&str], version: Option<&str>| {
        let mut command = entry(&[words, &["--service", "trino"]].concat());
        command.env("TRINO_HOME", home.path()).env("TRINO_CATALOGS", "tpch");
        command.envs(version.map(|version| ("TRINO_VERSION", version)));
        ended(command).stdout
    };
    let told = asked(&["explain", "TRINO_VERSION"], None);
    assert!(told.contains("now:        480 (from: default)"), "{told}");
    assert_eq!(asked(&["check-env"], Some("480")), "trino: environment is valid\n");
    let said = asked(&["check-env"], Some("476"));
    let wrong = format!("warning: TRINO_VERSION is 476, and the Trino in {} is 480", home.path().display());
    assert!(said.contains(&wrong), "{said}");
}

#[test]
fn wait_ends_when_everything_answers_and_names_what_does_not() {
    let there = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = format!("tcp://{}", there.local_addr().unwrap());
    let folder = Folder::new("wait");
    let file = format!("file://{}", folder.path().display());
    let waited = ended(entry(&["wait", &there, &file, "dns://localhost"]));
    assert_eq!((waited.code(), waited.stdout.as_str()), (0, ""), "{}", waited.stderr);
    let missing = format!("tcp://127.0.0.1:{}", free_port());
    let waited = ended(entry(&["wait", &missing, &file, "--timeout", "300ms"]));
    assert_eq!(waited.code(), 69);
    let report = format!("dl-entry: 1 of 2 dependencies not ready within 300 ms\n  {missing}: connection refused\n");
    let report = |setting: &str| format!("{report}set {setting} higher if they only need more time\n");
    assert!(waited.stderr.contains(&report("--timeout")), "{}", waited.stderr);
    let mut command = entry(&["wait", &missing, &file]);
    command.env("DL_WAIT_TIMEOUT", "300ms");
    let waited = ended(command);
    assert!(waited.stderr.contains(&report("DL_WAIT_TIMEOUT")), "{}", waited.stderr);
}

// --- health -------------------------------------------------------------------------------------------------------

/// An HTTP server on loopback whose status can be changed.
fn service(status: u16) -> (TcpListener, Arc<AtomicU16>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    let status = Arc::new(AtomicU16::new(status));
    let present = status.clone();
    std::thread::spawn(move || {
        for mut stream in accepting.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let status = present.load(Ordering::Relaxed);
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (listener, status)
}

fn ask(demo: &Demo, question: &str) -> (i32, String) {
    let mut command = entry(&["health", question]);
    command.env("DL_HEALTH_ADDR", format!("127.0.0.1:{}", demo.health));
    let answer = ended(command);
    assert_eq!((answer.stderr.as_str(), answer.stdout.lines().count()), ("", 1), "{}", answer.stdout);
    (answer.code(), answer.stdout)
}

/// Behaviours: 106.
#[test]
fn health_is_no_then_yes_and_no_again_before_the_service_is_asked_to_stop() {
    let (listener, status) = service(503);
    let port = listener.local_addr().unwrap().port();
    let demo = Demo::new(&format!("{STOP}{READY}"));
    let mut command = demo.entry(&[]);
    // When it is asked to stop, it looks at its own readiness.
    let script = format!(
        "trap '\"$BINARY\" health ready; echo status $?; exit 0' TERM; echo up; export DL_HEALTH_ADDR=127.0.0.1:{}
        while :; do sleep 0.05; done",
        demo.health
    );
    let folder = Folder::new("health");
    command.env("DEMO_SCRIPT", script).env("DEMO_PORT", port.to_string()).env("BINARY", folder.binary());
    let mut running = Running::start_with_listener(command, &listener);
    running.await_text(LONG, "up\n");
    assert_eq!(ask(&demo, "live").0, 0);
    assert_eq!(ask(&demo, "startup").0, 1);
    let (code, line) = ask(&demo, "ready");
    assert_eq!((code, line.contains("demo has not been ready yet")), (1, true), "{line}");
    status.store(200, Ordering::Relaxed);
    until(LONG, "it is ready", || (ask(&demo, "ready").0 == 0).then_some(()));
    assert_eq!((ask(&demo, "live").0, ask(&demo, "startup").0), (0, 0));
    // What was ready can be unready again, and alive all the time.
    status.store(500, Ordering::Relaxed);
    until(LONG, "it is unready", || (get(demo.health, "/readyz").0 == 503).then_some(()));
    assert_eq!((get(demo.health, "/livez").0, get(demo.health, "/startupz").0), (200, 200));
    status.store(200, Ordering::Relaxed);
    until(LONG, "it is ready again", || (get(demo.health, "/readyz").0 == 200).then_some(()));
    running.signal(SIGTERM);
    let ended = running.ended(LONG);
    let said = ended.stdout.strip_prefix("up\n").unwrap_or_default();
    assert!(
        said.starts_with("unavailable: stopping for ") && said.ends_with("demo is being stopped\nstatus 1\n"),
        "{said}"
    );
    assert_eq!(ended.code(), 0);
    let (code, line) = ask(&demo, "live");
    assert_eq!((code, line.contains("refused")), (1, true), "{line}");
}

#[test]
fn health_ends_with_1_where_nothing_can_be_printed_or_asked() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let demo = Demo::new(STOP);
    let mut running = Running::start(demo.entry(&[]));
    running.await_text(LONG, "demo is ready");
    let mut command = entry(&["health", "live"]);
    command.env("DL_HEALTH_ADDR", format!("127.0.0.1:{}", demo.health)).stdout(full());
    assert_eq!(command.status().unwrap().code(), Some(1));
    let mut command = entry(&["health", "live"]);
    command.env("DL_HEALTH_ADDR", "foo");
    let asked = ended(command);
    assert_eq!((asked.code(), asked.stdout.lines().next()), (1, Some("DL_HEALTH_ADDR is not an address and a port")));
}

#[test]
fn a_service_is_named_and_not_a_path() {
    for name in ["/tmp", "../minio", ".", "a/b"] {
        let named = ended(entry(&["check-env", "--service", name]));
        let unknown = format!("dl-entry: there is no service {name:?}");
        assert!(named.code() == 64 && named.stderr.starts_with(&unknown), "{}", named.stderr);
    }
}

#[test]
fn health_can_be_turned_off_and_the_service_runs() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    command.env("DL_HEALTH_ADDR", "off");
    let mut running = Running::start(command);
    running.await_text(LONG, "demo is ready");
    assert!(try_get(demo.health, "/livez").is_err());
}

/// Behaviours: 6, 107.
#[test]
fn an_address_that_is_taken_is_an_error_before_the_service_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    command.env("DL_HEALTH_ADDR", &address).env("DEMO_SCRIPT", "echo started");
    let ended = ended(command);
    assert_eq!((ended.code(), ended.stdout.as_str()), (71, ""), "{}", ended.stderr);
    assert!(ended.stderr.contains(&address), "{}", ended.stderr);
}

/// Samples of an OpenMetrics text by name and labels, after a look at its grammar.
fn samples(text: &str) -> BTreeMap<String, f64> {
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    let mut declared = Vec::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            declared.push(family.split_once(' ').unwrap().0.to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
            let of_family = declared.last().is_some_and(|family| name.starts_with(family.as_str()));
            assert!(of_family, "{line} is not of {declared:?}");
            let value = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line}");
        }
    }
    samples
}

#[test]
fn the_metrics_have_the_documented_names_and_count() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "trap 'echo heard' USR1; (sleep 1 &); echo up; while :; do sleep 0.05; done");
    let mut running = Running::start(command);
    running.await_text(LONG, "demo is ready");
    running.await_text(LONG, "up\n");
    running.signal(SIGUSR1);
    running.await_text(LONG, "heard\n");
    let metrics = || samples(&get(demo.health, "/metrics").1);
    until(LONG, "the orphan is reaped", || (metrics()["dl_entry_orphans_reaped_total"] >= 1.0).then_some(()));
    let metrics = metrics();
    for (name, least) in [
        ("dl_entry_phase{dl_entry_phase=\"ready\"}", 1.0),
        ("dl_entry_phase_duration_seconds{phase=\"ready\"}", 0.0),
        ("dl_entry_signals_forwarded_total{signal=\"SIGUSR1\"}", 1.0),
        ("dl_entry_service_cpu_seconds_total", 0.0),
        ("dl_entry_service_resident_memory_bytes", 100_000.0),
        ("dl_entry_service_processes", 1.0),
        ("dl_entry_resident_memory_bytes", 100_000.0),
    ] {
        assert!(metrics.get(name).is_some_and(|value| *value >= least), "{name}: {metrics:?}");
    }
    assert!(metrics.keys().any(|name| name.starts_with("dl_entry_info{version=\"")), "{metrics:?}");
    assert_eq!(metrics["dl_entry_phase{dl_entry_phase=\"stopping\"}"], 0.0);
    // Those before there is an endpoint, too.
    for phase in ["validating", "rendering", "starting"] {
        let seconds = metrics.get(&format!("dl_entry_phase_duration_seconds{{phase=\"{phase}\"}}")).copied();
        assert!(seconds.is_some_and(|seconds| (1e-6..15.0).contains(&seconds)), "{phase}: {metrics:?}");
    }
}

#[test]
fn the_health_address_is_said_to_be_from_its_variable_only_where_that_is_set() {
    for (address, expected) in
        [(None, "127.0.0.1:9190"), (Some(format!("127.0.0.1:{}", free_port())), "DL_HEALTH_ADDR")]
    {
        let mut command = entry(&["health"]);
        // A network of its own, where nobody listens.
        let mut inner = Command::new("unshare");
        inner
            .args(["-n", "sh", "-c", "ip link set lo up; exec \"$@\"", "sh"])
            .arg(command.get_program())
            .args(["health"]);
        inner
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .envs(address.clone().map(|a| ("DL_HEALTH_ADDR", a)));
        command = inner;
        let ended = ended(command);
        assert_eq!(ended.code(), 1, "{}", ended.stderr);
        assert!(ended.stdout.contains(expected), "{}", ended.stdout);
        assert_eq!(ended.stdout.contains("address from DL_HEALTH_ADDR"), address.is_some(), "{}", ended.stdout);
    }
}

#[test]
fn every_exit_status_of_ours_is_in_the_help() {
    let help = ended(entry(&["--help"])).stdout;
    for status in [64, 65, 66, 69, 70, 71, 73, 77, 78, 126, 127] {
        let listed = help.lines().any(|line| line.trim_start().starts_with(&format!("{status} ")));
        assert!(listed, "{status} is not in\n{help}");
    }
}

// --- logs ---------------------------------------------------------------------------------------------------------

#[test]
fn stdout_is_the_services_alone() {
    let demo = Demo::new(STOP);
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "echo out; echo err >&2; exit 3").env("DL_LOG_LEVEL", "trace").env("DEMO_PROT", "1");
    let ended = ended(command);
    assert_eq!((ended.code(), ended.stdout.as_str()), (3, "out\n"));
    assert!(ended.stderr.contains("err\n") && ended.stderr.contains("demo ended with status 3"), "{}", ended.stderr);
}

/// The lines of one level that dl-entry has logged.
fn logged(ended: &Ended, level: &str) -> Vec<String> {
    let lines = ended.stderr.lines().filter(|line| line.split_whitespace().nth(1) == Some(level));
    lines.map(|line| line.splitn(5, char::is_whitespace).last().unwrap_or_default().to_owned()).collect()
}

#[test]
fn an_end_nobody_asked_for_is_an_error_and_one_that_was_asked_for_is_not() {
    let demo = Demo::new(STOP);
    for (script, told) in [
        ("sleep 0.5; exit 3", "demo ended with status 3, and nobody had asked it to"),
        ("sleep 0.5; exit 0", "demo ended with status 0, and nobody had asked it to"),
        ("kill -TERM $$", "demo was ended by SIGTERM, and nobody had asked it to"),
        ("kill -KILL $$", "SIGKILL did not come from dl-entry: most often the kernel sends it at the memory limit"),
    ] {
        let mut command = demo.entry(&[]);
        command.env("DEMO_SCRIPT", script);
        let ended = ended(command);
        assert!(logged(&ended, "ERROR").iter().any(|line| line.contains(told)), "{script}: {}", ended.stderr);
    }
    for (signal, name) in [(SIGTERM, "SIGTERM"), (SIGINT, "SIGINT")] {
        let mut command = demo.entry(&[]);
        // Deaf, so that it is killed in the end, by us.
        command.env("DEMO_SCRIPT", "trap '' TERM; exec sleep 1000").env("DL_STOP_TIMEOUT", "300ms");
        let mut running = Running::start(command);
        running.await_text(LONG, "demo is ready");
        running.signal(signal);
        let ended = running.ended(LONG);
        assert_eq!((ended.code(), logged(&ended, "ERROR")), (137, vec![]), "{}", ended.stderr);
        let told = format!("{name} received, stopping: SIGTERM, then ");
        assert!(ended.stderr.contains(&told), "{}", ended.stderr);
    }
}

#[test]
fn a_program_of_the_services_that_only_answers_and_ends_well_is_no_error() {
    let demo = Demo::new(&format!("{STOP}{READY}"));
    let mut command = demo.entry(&[]);
    command.env("DEMO_SCRIPT", "echo version 1").env("DEMO_PORT", free_port().to_string());
    let ended = ended(command);
    assert_eq!((ended.code(), logged(&ended, "ERROR")), (0, vec![]), "{}", ended.stderr);
}

#[test]
fn with_json_every_line_of_ours_is_an_object_with_phase_and_elapsed_time() {
    let missing = free_port();
    let wait = format!("{STOP}[[wait]]\ntcp = \"127.0.0.1:{missing}\"\n");
    for (contract, variables, code) in [
        (STOP, &[("DEMO_SCRIPT", "exit 0"), ("DEMO_PROT", "1"), ("DEMO_OLD_TIMEOUT", "30s")][..], 0),
        (STOP, &[("DEMO_PORT", "x")], 78),
        (STOP, &[("DEMO_SCRIPT", "kill -9 $$")], 137),
        (STOP, &[("DL_RUN_DIR", "/proc/nothing")], 73),
        (&wait, &[("DL_WAIT_TIMEOUT", "300ms")], 69),
    ] {
        let demo = Demo::new(contract);
        let mut command = demo.entry(&[]);
        command.env("DL_LOG_FORMAT", "json").env("DL_LOG_LEVEL", "debug").envs(variables.iter().copied());
        let ended = ended(command);
        assert_eq!(ended.code(), code, "{}", ended.stderr);
        assert!(!ended.stderr.is_empty());
        for line in ended.stderr.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {}", ended.stderr));
            let whole = line["phase"].is_string() && line["elapsed_ms"].is_u64() && line["message"].is_string();
            assert!(whole && line["level"].is_string() && line["time"].is_string(), "{line}");
        }
    }
}

#[test]
fn a_missing_server_and_a_java_that_is_too_old_are_named_before_the_start_and_not_by_the_jvm() {
    let folder = Folder::new("java");
    let java = folder.path().join("java");
    std::fs::create_dir_all(java.join("bin")).unwrap();
    std::fs::write(java.join("release"), "JAVA_VERSION=\"17.0.15\"\n").unwrap();
    let run = |service: &str| {
        let mut command = entry(&["run", "--service", service]);
        command.env("JAVA_HOME", &java).env("DL_RUN_DIR", folder.path().join("run")).env("DL_HEALTH_ADDR", "off");
        command.env("TRINO_HOME", "/nonexistent").env("NESSIE_JAR", "/nonexistent.jar");
        ended(command)
    };
    let trino = run("trino");
    assert_eq!(trino.code(), 78, "{}", trino.stderr);
    assert!(trino.stderr.contains("JAVA_HOME is Java 17, and Trino 476 does not start with it"), "{}", trino.stderr);
    let home = "TRINO_HOME is /nonexistent, where no Trino server is: /nonexistent/lib does not exist";
    assert!(trino.stderr.contains(home), "{}", trino.stderr);
    let nessie = run("nessie");
    assert_eq!(nessie.code(), 78, "{}", nessie.stderr);
    assert!(nessie.stderr.contains("NESSIE_JAR names /nonexistent.jar, which does not exist"), "{}", nessie.stderr);
    let looked = ended(entry(&["check-env", "--service", "trino"]));
    assert_eq!(looked.code(), 0, "looking needs no server: {}", looked.stderr);
}
