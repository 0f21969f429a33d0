//! Environments operators really set, each through `check-env`: accepted, or rejected for a reason that is true.
//!
//! `DL_ENVIRONMENTS` names the file of cases (JSON: a list of `{id, service, env, args, secrets}`); the verdicts are
//! committed in `docs/real-environments.md` and compared, so that a change of a verdict is seen in review.
//! `DL_UPDATE=1` writes the table anew.

mod field;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

const SERVICES: [&str; 6] = ["minio", "nessie", "patroni", "postgresql", "spark", "trino"];

#[derive(Deserialize)]
struct Case {
    id: String,
    service: String,
    env: BTreeMap<String, String>,
    args: Option<Vec<String>>,
    secrets: Vec<String>,
}

#[derive(Deserialize)]
struct Report {
    ok: bool,
    problems: Vec<Problem>,
}

#[derive(Deserialize)]
struct Problem {
    variable: String,
    severity: String,
    message: String,
}

#[test]
fn every_verdict_is_the_committed_one() {
    let file = std::env::var_os("DL_ENVIRONMENTS").expect("set DL_ENVIRONMENTS to the JSON file of cases");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut cases: Vec<Case> = serde_json::from_str(&text).expect("a list of cases");
    cases.retain(|case| SERVICES.contains(&case.service.as_str()));
    cases.sort_by(|one, other| (&one.service, &one.id).cmp(&(&other.service, &other.id)));
    assert!(!cases.is_empty(), "the file holds no case of {SERVICES:?}");
    let folder = std::env::temp_dir().join(format!("dl-environments-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let table = table(&cases, &folder);
    std::fs::remove_dir_all(&folder).unwrap();
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/real-environments.md");
    if std::env::var_os("DL_UPDATE").is_some() {
        std::fs::create_dir_all(committed.parent().unwrap()).unwrap();
        std::fs::write(&committed, &table).unwrap();
    }
    let known = std::fs::read_to_string(&committed).unwrap_or_default();
    let difference: Vec<&str> = table.lines().filter(|line| !known.lines().any(|known| known == *line)).collect();
    assert!(known == table, "verdicts changed (DL_UPDATE=1 writes them):\n{}", difference.join("\n"));
}

fn table(cases: &[Case], folder: &Path) -> String {
    let mut rows = String::new();
    let (mut accepted, mut accepted_insecure) = (0, 0);
    for case in cases {
        let report = check(case, folder, "");
        let insecure = check(case, folder, "DL_ALLOW_INSECURE=1\n");
        accepted += usize::from(report.ok);
        accepted_insecure += usize::from(insecure.ok);
        let (verdict, demonstration) = (verdict(&report), verdict(&insecure));
        writeln!(rows, "| {} | {} | {verdict} | {demonstration} | {} |", case.id, case.service, reasons(&report))
            .unwrap();
    }
    format!(
        "# Real environments\n\nWhat `dl-entry check-env` says of environments that operators of the platform's first images really set. \
         Written by `tests/environments` (`DL_UPDATE=1`), not by hand.\n\n\
         {accepted} of {} are accepted, and {accepted_insecure} with `DL_ALLOW_INSECURE=1`, which lets well-known and placeholder secrets pass \
         (column *insecure*). The last column lists the warnings of those accepted and the errors of the others.\n\n\
         | case | service | verdict | insecure | why |\n|---|---|---|---|---|\n{rows}",
        cases.len()
    )
}

fn verdict(report: &Report) -> &'static str {
    if report.ok { "accepted" } else { "rejected" }
}

fn reasons(report: &Report) -> String {
    let wanted = if report.ok { "warning" } else { "error" };
    let problems = report.problems.iter().filter(|problem| problem.severity == wanted);
    let texts = problems.map(|problem| format!("`{}` {}", problem.variable, problem.message.replace('|', "\\|")));
    texts.collect::<Vec<_>>().join("<br>")
}

/// The report on a case, with further lines in its env file.
fn check(case: &Case, folder: &Path, further: &str) -> Report {
    let secrets = secrets_of(case, folder);
    let mut lines = format!("DL_SECRETS_DIR={}\n{further}", secrets.display());
    for (name, value) in &case.env {
        assert!(!value.contains('\n'), "{}: {name} cannot stand in an env file", case.id);
        writeln!(lines, "{name}={value}").unwrap();
    }
    let file = folder.join(format!("{}.env", case.id));
    std::fs::write(&file, lines).unwrap();
    let mut command = Command::new(binary());
    command.args(["check-env", "--format", "json", "--service", &case.service, "--env-file"]).arg(&file).arg("--");
    let output = command.args(case.args.iter().flatten()).env_clear().output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let report: Report =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{}: {error}\n{stderr}", case.id));
    let status = output.status.code().unwrap_or_else(|| panic!("{}: ended by a signal\n{stderr}", case.id));
    assert_eq!(status == 0, report.ok, "{}: status {status}\n{stderr}", case.id);
    report
}

/// The secret files the case mounts, each with something in it that could be a secret.
fn secrets_of(case: &Case, folder: &Path) -> PathBuf {
    let secrets = folder.join(format!("{}-secrets", case.id));
    std::fs::create_dir_all(&secrets).unwrap();
    for name in case.secrets.iter().filter_map(|secret| secret.split(" -> ").next()) {
        std::fs::write(secrets.join(name.rsplit('/').next().unwrap()), "q7Rz0pLm4Xw9Tb2Vc6Yd8Ne1K\n").unwrap();
    }
    secrets
}

fn binary() -> PathBuf {
    std::env::var_os("DL_ENTRY").map_or_else(|| env!("CARGO_BIN_EXE_dl-entry").into(), PathBuf::from)
}
