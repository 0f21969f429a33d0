//! That no command shows a secret of the real services: however it was given, and wherever it is written.

use crate::LONG;
use crate::support::{Ended, Folder, Running, entry};
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const CATALOG: [(&str, &str); 3] = [
    ("TRINO_CATALOG_PG_CONNECTOR_NAME", "postgresql"),
    ("TRINO_CATALOG_PG_CONNECTION_URL", "jdbc:postgresql://db/x"),
    ("TRINO_CATALOG_PG_CONNECTION_USER", "u"),
];
const PASSWORD: &str = "TRINO_CATALOG_PG_CONNECTION_PASSWORD";

fn ended(arguments: &[&str], service: &str, folder: &Folder, variables: &[(&str, &str)]) -> Ended {
    let mut command = entry(arguments);
    command.env("DL_SERVICE", service).env("DL_LOG_LEVEL", "trace").env("DL_HEALTH_ADDR", "off");
    command
        .env("DL_WAIT_TIMEOUT", "1s")
        .env("DL_RUN_DIR", folder.path().join("run"))
        .env("JAVA_HOME", folder.path().join("java"))
        .env("TRINO_HOME", folder.path().join("trino"))
        .env("NESSIE_JAR", folder.path().join("java/bin/java"));
    command.env("TRINO_NODE_DATA_DIR", folder.path().join("data")).env("TRINO_WAIT_FOR_DEPENDENCIES", "false");
    command.env("NESSIE_VERSION_STORE_PERSIST_ROCKS_DATABASE_PATH", folder.path().join("data"));
    command.envs(variables.iter().copied());
    Running::start(command).ended(LONG)
}

/// A folder with a `java` that does nothing, and something of a Trino.
fn folder_with_java() -> Folder {
    let folder = Folder::new("secrets");
    let java = folder.path().join("java/bin/java");
    std::fs::create_dir_all(java.parent().unwrap()).unwrap();
    std::fs::create_dir_all(folder.path().join("trino/lib")).unwrap();
    std::fs::write(&java, "#!/bin/sh\nexit 0\n").unwrap();
    for path in [java.as_path(), Path::new(folder.path())] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    folder
}

const COMMANDS: [&[&str]; 6] =
    [&["check-env"], &["check-env", "--format", "json"], &["render"], &["render", "--diff"], &["explain"], &["run"]];

fn assert_in_no_output(service: &str, variables: &[(&str, &str)], secrets: &[&str]) {
    let folder = folder_with_java();
    for arguments in COMMANDS {
        let ended = ended(arguments, service, &folder, variables);
        // Nothing that is waited for is there.
        let code = if arguments[0] == "run" { ended.code() % 69 } else { ended.code() };
        assert_eq!(code, 0, "{arguments:?} {}{}", ended.stdout, ended.stderr);
        for secret in secrets {
            let shown = [&ended.stdout, &ended.stderr].into_iter().any(|text| text.contains(secret));
            assert!(!shown, "{arguments:?} shows {secret}\n{}\n{}", ended.stdout, ended.stderr);
        }
    }
}

/// Behaviours: 84.
#[test]
fn a_secret_that_a_file_spells_by_reference_is_not_shown() {
    // A blank at the end is refused unless it is allowed.
    let password = [(PASSWORD, "Kq7ZbWm9${x}Rt8YcXn4 "), ("DL_ALLOW_INSECURE", "1")];
    let variables = [&CATALOG[..], &password].concat();
    assert_in_no_output("trino", &variables, &["Kq7ZbW", "Rt8YcX", "TRINO_DOLLAR"]);
    let variables = [
        ("NESSIE_CATALOG_DEFAULT_WAREHOUSE", "lake"),
        ("WAREHOUSE_LOCATION", "s3://lake/"),
        ("S3_ENDPOINT", "http://a:hunter4@minio:9000"),
        ("S3_ACCESS_KEY", "lake"),
        ("S3_SECRET_KEY", "pass\\$word99"),
    ];
    assert_in_no_output("nessie", &variables, &["pass$", "pass\\", "word99", "hunter4"]);
}

/// Behaviours: 84.
#[test]
fn a_secret_that_no_contract_declares_is_not_shown() {
    let secrets = ["hunter11", "hunter22", "hunter33", "hunter44", "hunter55", "hunter66", "hunter77", "hunt%40r88"];
    let variables = [
        ("TRINO_CATALOG_PG_CONNECTOR_NAME", "postgresql"),
        ("TRINO_CATALOG_PG_CONNECTION_URL", "jdbc:postgresql://db/x?user=a&password=hunter11"),
        ("TRINO_CATALOG_M_CONNECTOR_NAME", "mongodb"),
        ("TRINO_CATALOG_M__mongodb.connection-url", "mongodb://u:hunter22@h/"),
        ("TRINO_CATALOG_M_EXTRA", "some.uri=http://u:hunt%40r88@h/"),
        ("TRINO_JVM_OPTIONS", "-Xlog:gc -Djavax.net.ssl.keyStorePassword=hunter33"),
        ("TRINO_CONFIG__internal-communication.https.keystore.key", "hunter44"),
        ("NESSIE_URI", "http://u:hunter55@nessie:19120"),
        ("S3_ENDPOINT", "http://u:hunter66@minio:9000"),
        ("TRINO_EXCHANGE_BASE_DIRECTORIES", "/tmp"),
        ("TRINO_EXCHANGE__exchange.azure.connection-string", "AccountKey=hunter77;x=y"),
    ];
    assert_in_no_output("trino", &variables, &[&secrets[..], &["hunt@r88"]].concat());
    let report = ended(&["check-env", "--format", "json"], "trino", &Folder::new("json"), &variables);
    let report: Value = serde_json::from_str(&report.stdout).unwrap();
    let secret = |name: &str| {
        let values = report["values"].as_array().unwrap();
        values.iter().find(|value| value["variable"] == name).map(|value| value["secret"].clone())
    };
    assert_eq!(secret(variables[6].0), Some(json!(true)));
    assert_eq!(secret(variables[10].0), Some(json!(true)));
    assert_eq!(secret(variables[3].0), Some(json!(false)));
}

#[test]
fn a_password_that_is_a_word_of_the_report_leaves_it_whole() {
    let folder = Folder::new("words");
    for password in ["true", "false", "source", "variable", "value"] {
        let variables = [&CATALOG[..], &[(PASSWORD, password), ("DL_ALLOW_INSECURE", "1")]].concat();
        let report = ended(&["check-env", "--format", "json"], "trino", &folder, &variables);
        let report: Value = serde_json::from_str(&report.stdout).unwrap_or_else(|why| panic!("{password}: {why}"));
        assert_eq!((&report["service"], &report["ok"]), (&json!("trino"), &json!(true)));
        let problems = report["problems"].as_array().unwrap();
        let message = problems[0]["message"].as_str().unwrap();
        assert!(message.starts_with("is not a safe secret: it is ") && problems.len() == 1, "{problems:?}");
        let value = report["values"].as_array().unwrap().iter().find(|value| value["variable"] == PASSWORD).unwrap();
        let expected = json!({"variable": PASSWORD, "value": "‹redacted›", "source": "environment", "secret": true});
        assert_eq!(*value, expected);
    }
}

/// Behaviours: 84.
#[test]
fn a_short_secret_is_refused_and_hidden_where_it_is_let_through() {
    let folder = Folder::new("short");
    let short = [&CATALOG[..2], &[("TRINO_CATALOG_PG_CONNECTION_USER", "zq"), (PASSWORD, "zq")]].concat();
    let refused = ended(&["check-env"], "trino", &folder, &short);
    let expected =
        format!("1. {PASSWORD} is shorter than a secret must be\n     accepted: a secret of at least 4 characters");
    assert!(refused.code() == 78 && refused.stdout.contains(&expected), "{}", refused.stdout);
    let allowed = [&short[..], &[("DL_ALLOW_INSECURE", "1")]].concat();
    assert_in_no_output("trino", &allowed, &["=zq", "\"zq\"", " zq"]);
    let printed = ended(&["render"], "trino", &folder, &allowed).stdout;
    assert!(printed.contains(&format!("\nconnection-password=‹redacted:{PASSWORD}›\n")), "{printed}");
}

/// Behaviours: 84.
#[test]
fn neither_the_new_nor_the_old_secret_is_in_a_diff() {
    let (folder, root) = (Folder::new("rotated"), Folder::new("root"));
    let root = root.path().to_str().unwrap();
    let key = |name: &str, line: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, format!("-----BEGIN {name}-----\n{line}\nAb9=\n-----END {name}-----\n")).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = key("CERTIFICATE", "MIICertificateLine");
    let variables = |password: &'static str, url: &'static str, line: &str, options: &'static str| {
        let key = key("PRIVATE KEY", line);
        let given = [
            ("TRINO_CATALOG_PG_CONNECTOR_NAME", "postgresql"),
            ("TRINO_CATALOG_PG_CONNECTION_URL", url),
            (PASSWORD, password),
            ("TRINO_HTTPS_CERTIFICATE", &certificate),
            ("TRINO_HTTPS_PRIVATE_KEY", &key),
            ("TRINO_JVM_OPTIONS", options),
        ];
        given.map(|(name, value)| (name.to_owned(), value.to_owned()))
    };
    let old = variables(
        "OLDsecret1",
        "jdbc:postgresql://db/x?password=OLDsecret2",
        "MIIOldPrivateKey",
        "-Dp.token=OLDsecret3",
    );
    let new = variables(
        "NEWsecret1",
        "jdbc:postgresql://db/y?password=NEWsecret2",
        "MIINewPrivateKey",
        "-Dp.token=NEWsecret3",
    );
    let run = |arguments: &[&str], variables: &[(String, String)]| {
        let variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let ended = ended(arguments, "trino", &folder, &variables);
        assert_eq!(ended.code(), 0, "{}{}", ended.stdout, ended.stderr);
        ended.stdout
    };
    key("PRIVATE KEY", "MIIOldPrivateKey");
    run(&["render", "--root", root], &old);
    key("PRIVATE KEY", "MIINewPrivateKey");
    let diff = run(&["render", "--root", root, "--diff"], &new);
    for secret in ["OLDs", "NEWs", "PrivateKey", "Ab9="] {
        assert!(!diff.contains(secret), "{secret} in\n{diff}");
    }
    for line in [
        "-connection-password=‹redacted:connection-password›\n",
        "+connection-password=‹redacted:TRINO_CATALOG_PG_CONNECTION_PASSWORD›\n",
        "-connection-url=jdbc:postgresql://db/x?password=‹redacted:connection-url›\n",
        "+connection-url=jdbc:postgresql://db/y?password=‹redacted:TRINO_CATALOG_PG_CONNECTION_URL›\n",
        "keystore.pem differs; it holds a secret and is not shown\n",
        "jvm.config differs; it holds a secret and is not shown\n",
    ] {
        assert!(diff.contains(line), "{line} not in\n{diff}");
    }
}

/// Behaviours: 84.
#[test]
fn the_private_key_of_a_keystore_is_in_no_output() {
    let folder = Folder::new("key");
    std::fs::write(
        folder.path().join("c.pem"),
        "-----BEGIN CERTIFICATE-----\nMIICertificateLine\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let key = "-----BEGIN PRIVATE KEY-----\nMIIPrivateKeyLine1\nMIIPrivateKeyLine2\nAb9=\n-----END PRIVATE KEY-----\n";
    std::fs::write(folder.path().join("k.pem"), key).unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (certificate, key) = (path("c.pem"), path("k.pem"));
    let variables = [("TRINO_HTTPS_CERTIFICATE", certificate.as_str()), ("TRINO_HTTPS_PRIVATE_KEY", &key)];
    assert_in_no_output("trino", &variables, &["PrivateKey", "Ab9=", "PRIVATE KEY"]);
    let printed = ended(&["render"], "trino", &Folder::new("printed"), &variables).stdout;
    let expected = "keystore.pem (0600)\n-----BEGIN CERTIFICATE-----\nMIICertificateLine\n-----END CERTIFICATE-----\n\n‹redacted:pem_key_text›\n";
    assert!(printed.contains(expected), "{printed}");
    // A password may be among them.
    assert!(printed.contains("jvm.config (0600)\n"), "{printed}");
}

/// A word that everybody reads is not a safe secret: it is refused, and no text has a hole where the word stands.
#[test]
fn a_password_that_is_a_word_of_public_texts_is_refused_and_spoils_no_text() {
    let folder = Folder::new("words-refused");
    for password in ["trino", "environment", "lakehouse", "config.properties"] {
        let variables = [&CATALOG[..], &[(PASSWORD, password)]].concat();
        let refused = ended(&["check-env"], "trino", &folder, &variables);
        assert_eq!(refused.code(), 78, "{password} {}", refused.stdout);
        assert!(refused.stdout.contains(&format!("{PASSWORD} is not a safe secret: it is ")), "{}", refused.stdout);
        assert!(!refused.stdout.contains("‹redacted"), "{}", refused.stdout);
        let allowed = [&variables[..], &[("DL_ALLOW_INSECURE", "1"), ("SOME_TOKEN", password)]].concat();
        let reference = [&CATALOG[..], &[(PASSWORD, "hunter22"), ("DL_ALLOW_INSECURE", "1")]].concat();
        for arguments in [&["explain"][..], &["render"]] {
            let texts = [&allowed, &reference].map(|variables| ended(arguments, "trino", &folder, variables).stdout);
            let mark = format!("‹redacted:{PASSWORD}›");
            let [shown, expected] =
                texts.map(|text| text.replace(&mark, "‹redacted›").replace("‹redacted:SOME_TOKEN›", "‹redacted›"));
            assert_eq!(shown, expected, "{password} {arguments:?}");
        }
        let report = ended(&["check-env", "--format", "json"], "trino", &folder, &allowed);
        assert!(!report.stdout.contains("‹redacted:"), "{password} {}", report.stdout);
    }
    let same = [&CATALOG[..2], &[("TRINO_CATALOG_PG_CONNECTION_USER", "kestrel"), (PASSWORD, "kestrel")]].concat();
    let refused = ended(&["check-env"], "trino", &folder, &same);
    let why = format!("{PASSWORD} is not a safe secret: it is the same as TRINO_CATALOG_PG_CONNECTION_USER\n");
    assert!(refused.stdout.contains(&why), "{}", refused.stdout);
}

/// A word that is the password inside a URL is hidden where it stands there, and nowhere else.
#[test]
fn a_word_that_is_a_password_inside_a_value_is_hidden_there_alone() {
    let folder = Folder::new("words-within");
    let variables = [
        ("NESSIE_URI", "http://nessie:catalog@nessie:19120/api/v2"),
        ("S3_ACCESS_KEY", "kestrel"),
        ("S3_SECRET_KEY", "hunter22"),
    ];
    let report = ended(&["check-env", "--format", "json"], "trino", &folder, &variables);
    assert!(!report.stdout.contains("nessie:catalog@"), "{}", report.stdout);
    assert!(report.stdout.contains("nessie:19120/api/v2"), "{}", report.stdout);
}

/// Secrets in the forms of other programs: a document, a header, a command.
#[test]
fn a_secret_in_json_yaml_or_an_option_is_not_shown() {
    let secrets = ["hunter11", "hunter22", "hunter33", "hunter44", "hunter55"];
    let variables = [
        &CATALOG[..],
        &[
            (PASSWORD, "hunter99"),
            ("TRINO_CATALOG_PG__some.settings", r#"{"user":"a","password":"hunter11"}"#),
            ("TRINO_CATALOG_PG__some.header", "Authorization: Bearer hunter22"),
            ("TRINO_CATALOG_PG__some.command", "connect --password hunter33 --verbose"),
            ("TRINO_CATALOG_PG__some.yaml", "{user: a, token: hunter44}"),
            ("SOMETHING", r#"{"client_secret": "hunter55"}"#),
        ],
    ]
    .concat();
    assert_in_no_output("trino", &variables, &secrets);
}

/// A PostgreSQL server that answers every login with this.
fn postgres_that_says(message: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let fields = format!("SFATAL\0VFATAL\0C57P03\0M{message}\0\0");
            let length = (fields.len() as u32 + 4).to_be_bytes();
            let _ = stream.write_all(&[b"E", &length[..], fields.as_bytes()].concat());
        }
    });
    port
}

/// A server that repeats the password where its words are cut, or with its blanks in another number.
#[test]
fn a_server_that_repeats_a_password_shows_nothing_of_it() {
    let folder = Folder::new("repeats");
    let file = folder.path().join("password");
    std::fs::write(&file, "hunter  22kestrel\n").unwrap();
    for said in ["hunter  22kestrel", "hunter%20%2022kestrel", "hunter 22kestrel"] {
        let port = postgres_that_says(format!("{} {said}", "x".repeat(188)));
        let server = format!("127.0.0.1:{port}/d?sslmode=disable");
        let in_file = format!("postgres://u@{server}&password-file={}", file.display());
        for url in [format!("postgres://u:hunter%20%2022kestrel@{server}"), in_file] {
            let ended = Running::start(entry(&["wait", &url, "--timeout", "500ms"])).ended(LONG);
            assert_eq!(ended.code(), 69, "{}", ended.stderr);
            assert!(ended.stderr.contains("xxxx ‹redact"), "{}", ended.stderr);
            assert!(!ended.stderr.contains("hunt"), "{}", ended.stderr);
        }
    }
}

/// Whoever may name a variable writes no line of the log, and steers no terminal.
#[test]
fn the_name_of_a_variable_makes_no_line_and_steers_no_terminal() {
    let folder = folder_with_java();
    let name = "MY\u{1b}[2J\nERROR_TOKEN";
    let variables =
        [&CATALOG[..], &[(PASSWORD, "hunter22"), (name, "hunter33"), ("TRINO_\u{1b}\nX", "hunter33")]].concat();
    let further = [
        ("TRINO_CATALOG_PG__a.\u{1b}\nb", "hunter33"),
        ("TRINO_CONFIG__node.\u{1b}\nid", "x"),
        ("DL_\u{1b}\nX", "x"),
        ("TRINO_NODE_ENVIRONMENT", "a\u{1b}\nb"),
    ];
    for variables in further.map(|one| [&variables[..], &[one]].concat()) {
        for arguments in COMMANDS.into_iter().filter(|arguments| !arguments.contains(&"json")) {
            let ended = ended(arguments, "trino", &folder, &variables);
            for text in [&ended.stdout, &ended.stderr] {
                assert!(!text.contains('\u{1b}') && !text.contains("\nERROR"), "{arguments:?} {text:?}");
            }
        }
    }
}
