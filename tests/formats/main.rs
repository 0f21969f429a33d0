//! Every format against its real reader: what `escape` writes comes back as it was, and adds no key.
//!
//! Java's own Properties, SmallRye Config as Nessie ships it, airlift as Trino ships it, the `java` launcher's argument
//! files, PyYAML, Python's json and ElementTree, PostgreSQL's own postgresql.conf reader. The services' jars come from
//! the cache that `./dl fetch` fills; what is missing fails with how to get it.

mod readers;

use dl_entry::render::format::Format;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const HOSTILE: [&str; 26] = [
    "",
    "plain",
    "'\"$\\#{}%&=:! ü€😀",
    "a$$b",
    "${undefined}",
    "${key}",
    "a\\$b",
    "\\\\${x:y}",
    "\\$\\$",
    "$",
    "${",
    "$}",
    "${ENV:HOME}",
    "line\nkey=injected",
    "line\r\nkey: injected",
    " leading",
    "trailing ",
    "two  ",
    "\\",
    "#",
    "!",
    "]]>",
    "a,b\\,c",
    "\u{2028}\u{85}\u{feff}",
    "{{ x }} {% if %}",
    "null",
];

/// The hostile ones, and some hundred that a fixed seed makes.
fn values() -> Vec<String> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategies = ["(\\PC|[\\s\\\\$'\"#{}=:,!&<>%-]){0,30}", "[\\t\\n\\r -~]{0,30}"];
    let made = (0..600).map(|index| strategies[index % 2].new_tree(&mut runner).unwrap().current());
    HOSTILE.into_iter().map(str::to_owned).chain(made).filter(|value| !value.contains('\0')).collect()
}

/// What can be written in the format, with how it is written.
fn writable(format: Format) -> Vec<(String, String)> {
    let escaped = values().into_iter().filter_map(|value| format.escape(&value).ok().map(|escaped| (value, escaped)));
    let escaped: Vec<_> = escaped.collect();
    assert!(escaped.len() > 100, "{format:?} refuses nearly everything");
    escaped
}

fn check_java(format: Format) {
    let cases = writable(format);
    let file = |escaped: &str| {
        let text = format!("# first\na.b=1\nkey={escaped}\nz=2\n");
        format!("{}{text}", format.prelude(&text).unwrap_or_default())
    };
    let files: Vec<String> = cases.iter().map(|(_, escaped)| file(escaped)).collect();
    let answers = readers::java(format.name(), &files);
    for (((value, escaped), file), (count, found)) in cases.iter().zip(&files).zip(answers) {
        assert_eq!(found.as_ref(), Some(value), "{format:?}: {value:?} was written {escaped:?}");
        assert_eq!(
            count,
            if file.starts_with("dl.bs") { 4 } else { 3 },
            "{format:?}: {value:?} was written {escaped:?}"
        );
    }
}

/// Behaviours: 88.
#[test]
fn java_reads_back_what_properties_writes() {
    check_java(Format::Properties);
}

/// Behaviours: 88.
#[test]
fn smallrye_reads_back_what_smallrye_writes() {
    check_java(Format::Smallrye);
}

#[test]
fn smallrye_resolves_the_references_of_an_operators_line_and_no_other_dollar() {
    let lines = [
        ("${a.b}", "1"),
        ("x${a.b}${none:${z}}\\", "x12\\"),
        ("\\${a.b} $${a.b} ${a.b", "\\1 ${a.b} ${a.b"),
        ("a$b$$c\\$", "a$b$$c\\$"),
    ];
    let file = |line: &str| {
        let text = format!("a.b=1\nkey={}\nz=2\n", Format::Smallrye.escape_keeping_references(line).unwrap());
        format!("{}{text}", Format::Smallrye.prelude(&text).unwrap_or_default())
    };
    let files: Vec<String> = lines.iter().map(|(line, _)| file(line)).collect();
    let found = readers::java("smallrye", &files);
    for ((line, meant), (_, found)) in lines.iter().zip(found) {
        assert_eq!(found.as_deref(), Some(*meant), "{line}");
    }
}

/// Behaviours: 88.
#[test]
fn airlift_reads_back_what_airlift_writes() {
    check_java(Format::Airlift);
}

/// Behaviours: 88.
#[test]
fn the_java_launcher_reads_back_what_jvm_options_writes() {
    let cases = writable(Format::JvmOptions);
    let files: String = cases.iter().map(|(_, escaped)| format!("-Dkey={escaped} # comment\n")).collect();
    let arguments = readers::java_launcher(&files);
    let meant: Vec<String> = cases.iter().map(|(value, _)| format!("-Dkey={value}")).collect();
    assert_eq!(arguments, meant);
}

fn check_python(format: Format, reader: &str, file: impl Fn(&str) -> String) {
    let cases = writable(format);
    let files: Vec<String> = cases.iter().map(|(_, escaped)| file(escaped)).collect();
    for ((value, escaped), found) in cases.iter().zip(readers::python(reader, &files)) {
        assert_eq!(&found, value, "{format:?} was written {escaped:?}");
    }
}

/// Behaviours: 88.
#[test]
fn pyyaml_reads_back_what_yaml_writes() {
    check_python(Format::Yaml, "yaml", |escaped| format!("a: 1\nlist:\n  - key: {escaped}\n    z: 2\n"));
}

/// Behaviours: 88.
#[test]
fn python_reads_back_what_json_writes() {
    check_python(Format::Json, "json", |escaped| format!("{{\"list\": [{{\"key\": {escaped}}}]}}"));
}

/// Behaviours: 88.
#[test]
fn elementtree_reads_back_what_xml_writes() {
    check_python(Format::Xml, "xml", |escaped| format!("<c><p name=\"{escaped}\">{escaped}</p></c>"));
}

/// Behaviours: 88.
#[test]
fn postgresql_reads_back_what_postgresql_conf_writes() {
    let cases = writable(Format::PostgresqlConf);
    let lines: String =
        cases.iter().enumerate().map(|(index, (_, escaped))| format!("dl.v{index} = {escaped} # x\n")).collect();
    let found = readers::postgresql_conf(&lines, cases.len());
    let meant: Vec<&String> = cases.iter().map(|(value, _)| value).collect();
    assert_eq!(found.iter().collect::<Vec<_>>(), meant);
}
