use super::*;
use crate::contract::registry;
use crate::environment::Environment;
use crate::report::{has_errors, severity_name};
use crate::settings::{self, Options};
use std::path::Path;

const SECRET: &str = "abc-hunter22";

fn options() -> Options {
    // Residue of a tool in a secret is an error otherwise.
    Options { allow_insecure: true, ..settings::tests::options() }
}

/// The files, and what the renderer says; the settings themselves must be right.
fn rendered(service: &str, pairs: &[(&str, &str)]) -> (Vec<RenderedFile>, Vec<Problem>) {
    let package = registry::find(service, Path::new("/nonexistent")).unwrap();
    let environment = Environment::from_pairs(pairs.iter().copied());
    let (settings, problems) = settings::load(&package.contract, &environment, &options());
    assert!(!has_errors(&problems), "{problems:?}");
    render(&package, &settings)
}

fn said(service: &str, pairs: &[(&str, &str)]) -> Vec<String> {
    let (_, problems) = rendered(service, pairs);
    let line = |one: &Problem| {
        assert_eq!(one.status, crate::exit::CONTRACT, "{one}");
        assert!(!one.to_string().contains(SECRET), "{one}");
        format!("{}: {} {}", severity_name(one.severity), one.variable, one.message)
    };
    problems.iter().map(line).collect()
}

fn text(service: &str, file: &str, pairs: &[(&str, &str)]) -> String {
    let (files, problems) = rendered(service, pairs);
    assert!(!has_errors(&problems), "{problems:?}");
    let file = files.into_iter().find(|one| one.path.ends_with(file)).unwrap();
    String::from_utf8(file.contents).unwrap()
}

const PG: [(&str, &str); 2] =
    [("TRINO_CATALOG_PG_CONNECTOR_NAME", "postgresql"), ("TRINO_CATALOG_PG_CONNECTION_URL", "jdbc:postgresql://db/x")];

#[test]
fn a_value_that_cannot_be_written_is_named_by_its_variable() {
    let password = format!("{SECRET}\n");
    let pairs = [PG[0], PG[1], ("TRINO_CATALOG_PG_CONNECTION_PASSWORD", &password), ("TRINO_VERSION", "476")];
    let what = "contains a control character at the beginning or the end, which cannot be \
                    written in /run/dl/trino/etc/catalog/pg.properties (format airlift)";
    assert_eq!(said("trino", &pairs), [format!("error: TRINO_CATALOG_PG_CONNECTION_PASSWORD {what}")]);
    let what =
        "contains a character beyond ASCII, which cannot be written in /run/dl/nessie/jvm.options (format jvm-options)";
    assert_eq!(said("nessie", &[("JAVA_OPTS_APPEND", "-Da=b -Dc=ü")]), [format!("error: JAVA_OPTS_APPEND {what}")]);
    let pairs = [PG[0], PG[1], ("TRINO_CATALOG_PG__a.secret-key", "x1y2z3\n")];
    assert!(said("trino", &pairs)[0].starts_with("error: TRINO_CATALOG_PG__a.secret-key contains a control character"));
}

#[test]
fn a_file_knows_the_variables_of_its_own_catalog() {
    let pairs = [
        PG[0],
        PG[1],
        ("TRINO_CATALOG_PG_2_CONNECTOR_NAME", "hive"),
        ("TRINO_CATALOG_PG_2_METASTORE_URI", "thrift://hms:9083"),
        ("TRINO_CATALOG_PG__case-insensitive-name-matching", "true"),
        ("TRINO_CATALOG_PG_2_EXTRA", "hive.x=1"),
    ];
    let (files, _) = rendered("trino", &pairs);
    let variables = |name: &str| files.iter().find(|one| one.path.ends_with(name)).unwrap().variables.clone();
    let of_first = [PG[1].0, PG[0].0, "TRINO_CATALOG_PG__case-insensitive-name-matching"];
    assert_eq!(variables("pg.properties"), of_first);
    let of_second =
        ["TRINO_CATALOG_PG_2_CONNECTOR_NAME", "TRINO_CATALOG_PG_2_EXTRA", "TRINO_CATALOG_PG_2_METASTORE_URI"];
    assert_eq!(variables("pg_2.properties"), of_second);
}

#[test]
fn blanks_around_a_value_stay_where_it_may_be_a_secret() {
    let line = |variable: &str| {
        let text = text("trino", "pg.properties", &[PG[0], PG[1], (variable, "4four ")]);
        text.lines().last().unwrap().to_owned()
    };
    assert_eq!(line("TRINO_CATALOG_PG__a.b"), "a.b=4four");
    assert_eq!(line("TRINO_CATALOG_PG__a.password"), "a.password=4four${ENV:TRINO_BLANK}");
}

#[test]
fn a_problem_with_a_key_names_the_variable_that_set_it() {
    let what = "sets fs.s3.enabled, which stops version 476, which does not know it (known in 481, 482): \
                    use fs.native-s3.enabled before 481";
    let pairs = [
        ("TRINO_CATALOG_A_CONNECTOR_NAME", "hive"),
        ("TRINO_CATALOG_A_METASTORE_URI", "thrift://metastore:9083"),
        ("TRINO_CATALOG_B_CONNECTOR_NAME", "hive"),
        ("TRINO_CATALOG_B_METASTORE_URI", "thrift://metastore:9083"),
        ("TRINO_CATALOG_C_CONNECTOR_NAME", "hive"),
        ("TRINO_CATALOG_C_METASTORE_URI", "thrift://metastore:9083"),
        ("TRINO_CATALOG_A__fs.s3.enabled", "1"),
        ("TRINO_CATALOG_B__fs.s3.enabled", "2"),
        ("TRINO_CATALOG_C_EXTRA", "fs.s3.enabled=3"),
    ];
    let of = |variable: &str| format!("error: {variable} {what}");
    let variables = ["TRINO_CATALOG_A__fs.s3.enabled", "TRINO_CATALOG_B__fs.s3.enabled", "TRINO_CATALOG_C_EXTRA"];
    assert_eq!(said("trino", &pairs), variables.map(of));
    // Keys that a template makes of a passthrough's.
    let pairs = [
        ("NESSIE_CATALOG_WAREHOUSES_A_LOCATION", "s3://a"),
        ("NESSIE_CATALOG_WAREHOUSES_B_LOCATION", "s3://b"),
        ("NESSIE_CATALOG_WAREHOUSES_B__lokation", "1"),
    ];
    let said = said("nessie", &pairs);
    let what = "error: NESSIE_CATALOG_WAREHOUSES_B__lokation sets nessie.catalog.warehouses.b.lokation, which stops";
    assert!(said.len() == 1 && said[0].starts_with(what), "{said:?}");
}

#[test]
fn a_passthrough_of_a_key_that_a_variable_is_there_for_is_said() {
    let tpch = ("TRINO_CATALOG_TPCH_CONNECTOR_NAME", "tpch");
    let past = ": checks, waits and probes take no notice of it";
    // Taken for the variable.
    assert_eq!(said("trino", &[tpch, ("TRINO_CONFIG__http-server.http.port", "9999")]), [""; 0]);
    // Not in the file by itself.
    let pairs = [tpch, ("TRINO_EXTRA_CONFIG", "http-server.authentication.type=PASSWORD")];
    let what = "warning: TRINO_EXTRA_CONFIG sets http-server.authentication.type";
    assert_eq!(said("trino", &pairs), [format!("{what}, which TRINO_AUTHENTICATION_TYPE is there for{past}")]);
    let pairs = [tpch, ("TRINO_CONFIG__coordinator", "false")];
    let what = "warning: TRINO_CONFIG__coordinator sets coordinator, which is worked out from TRINO_ROLE";
    assert_eq!(said("trino", &pairs), [format!("{what}{past}")]);
    let pairs = [tpch, ("TRINO_CATALOG_TPCH__connector.name", "memory")];
    let both = "error: TRINO_CATALOG_TPCH__connector.name, TRINO_CATALOG_TPCH_CONNECTOR_NAME";
    assert_eq!(said("trino", &pairs), [format!("{both} set connector.name differently")]);
    let pairs = [tpch, ("TRINO_CONFIG__http-server.log.path", "/y")];
    let what = "warning: TRINO_CONFIG__http-server.log.path replaces the line of http-server.log.path that";
    assert_eq!(said("trino", &pairs), [format!("{what} /run/dl/trino/etc/config.properties has")]);
}

#[test]
fn a_passthrough_that_says_what_is_said_anyway_is_no_problem() {
    let pairs = [
        ("TRINO_CATALOG_TPCH__connector.name", "tpch"),
        ("TRINO_CONFIG__http-server.http.port", "8080"),
        ("TRINO_QUERY_MAX_RUN_TIME", "1h"),
        ("TRINO_CONFIG__query.max-run-time", "1h"),
        ("TRINO_CONFIG__internal-communication.shared-secret", "${ENV:ELSEWHERE}"),
    ];
    assert_eq!(said("trino", &pairs), [""; 0]);
    let pairs = [&pairs[..2], &[("TRINO_RETRY_POLICY", "NONE"), ("TRINO_CONFIG__retry-policy", "QUERY")]];
    let both = "error: TRINO_CONFIG__retry-policy, TRINO_RETRY_POLICY";
    assert_eq!(said("trino", &pairs.concat()), [format!("{both} set retry-policy differently")]);
}

#[test]
fn a_key_that_would_be_there_twice_is_an_error() {
    let pairs = [("NESSIE_SERVER_AUTHORIZATION_RULES_FOO", "false"), ("NESSIE_SERVER_AUTHORIZATION_RULES_foo", "true")];
    let twice = "would give /run/dl/nessie/application.properties the key nessie.server.authorization.rules.foo twice";
    assert_eq!(said("nessie", &pairs), [format!("error: {}, {} {twice}", pairs[0].0, pairs[1].0)]);
}

#[test]
fn an_old_name_of_a_key_beside_the_new_one_is_an_error() {
    let pairs = [
        ("TRINO_VERSION", "481"),
        ("NESSIE_URI", "http://n:1"),
        ("S3_ENDPOINT", "http://s:1"),
        ("S3_ACCESS_KEY", "lakehouse"),
        ("S3_SECRET_KEY", "lakehouse-key-1"),
        ("TRINO_CATALOG_ICEBERG__fs.native-s3.enabled", "true"),
        ("TRINO_CATALOG_ICEBERG__fs.s3.enabled", "true"),
    ];
    assert_eq!(
        said("trino", &pairs[..6]),
        [
            "warning: TRINO_CATALOG_ICEBERG__fs.native-s3.enabled sets fs.native-s3.enabled, which is an old name in version 481: use fs.s3.enabled"
        ]
    );
    let what = "sets fs.native-s3.enabled, an old name of fs.s3.enabled: \
                    /run/dl/trino/etc/catalog/iceberg.properties would have both, and trino 481 does not start so";
    assert_eq!(said("trino", &pairs), [format!("error: {}, {} {what}", pairs[5].0, pairs[6].0)]);
}

#[test]
fn a_key_that_escaping_needs_is_reserved_and_references_of_a_line_are_its_own() {
    let what = "sets dl.bs, which is kept for how /run/dl/nessie/application.properties is written";
    assert_eq!(said("nessie", &[("NESSIE_CONFIG__dl.bs", "x")]), [format!("error: NESSIE_CONFIG__dl.bs {what}")]);
    let pairs = [("NESSIE_EXTRA_CONFIG", "a.b=${c.d}\nc.d=1\ne=$${x} a$b\\$")];
    let text = text("nessie", "application.properties", &pairs);
    assert!(text.ends_with("\na.b=${c.d}\nc.d=1\ne=$${x} a$$b${dl.bs}$$\n"), "{text}");
}

#[test]
fn the_path_of_a_smallrye_file_is_a_uri() {
    let package = registry::find("nessie", Path::new("/nonexistent")).unwrap();
    let options = Options { run_dir: "/tmp/a b,%20".into(), ..options() };
    let (settings, _) = settings::load(&package.contract, &Environment::default(), &options);
    let (files, problems) = render(&package, &settings);
    assert!(!has_errors(&problems), "{problems:?}");
    let options = String::from_utf8(files[0].contents.clone()).unwrap();
    let path = "\n-Dsmallrye.config.locations=/tmp/a%20b%2C%2520/nessie/application.properties\n";
    assert!(options.contains(path), "{options}");
}
