//! `tests/golden/SERVICE/CASE/env` in, `…/expected/` out: the report, the plan and every file, word for word. A file
//! `arguments` beside `env` has those of the service, one a line.
//!
//! The container's facts are fixed, so that the outcome is the same everywhere. `DL_UPDATE=1` writes what is expected
//! anew; read the difference before committing it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dl_entry::contract::registry;
use dl_entry::environment::container::Container;
use dl_entry::environment::{Environment, SecretFiles};
use dl_entry::plan::build;
use dl_entry::plan::{Plan, PostgresTarget, PostgresqlCluster, Probe, StopAction, Target, Task};
use dl_entry::render;
use dl_entry::report;
use dl_entry::settings;
use dl_entry::settings::Options;

/// File name below `expected/` → content.
type Outcome = BTreeMap<PathBuf, String>;

/// Behaviours: 94.
#[test]
fn every_case_comes_out_as_expected() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut wrong = Vec::new();
    let mut count = 0;
    for service in folders(&root) {
        for case in folders(&service) {
            count += 1;
            wrong.extend(differences(&service, &case));
        }
    }
    assert!(count > 0, "no case below {}", root.display());
    assert!(wrong.is_empty(), "{} differ (DL_UPDATE=1 writes them):\n{}", wrong.len(), wrong.join("\n"));
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).unwrap().flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn differences(service: &Path, case: &Path) -> Vec<String> {
    let outcome = outcome(service.file_name().unwrap().to_str().unwrap(), &case.join("env"));
    let expected = case.join("expected");
    if std::env::var_os("DL_UPDATE").is_some() {
        let _ = std::fs::remove_dir_all(&expected);
        for (path, text) in &outcome {
            let path = expected.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    let known = read_tree(&expected, &expected);
    let names: std::collections::BTreeSet<&PathBuf> = outcome.keys().chain(known.keys()).collect();
    let differing = names.into_iter().filter(|name| outcome.get(*name) != known.get(*name));
    differing.map(|name| describe(&expected.join(name), known.get(name), outcome.get(name))).collect()
}

fn describe(path: &Path, expected: Option<&String>, found: Option<&String>) -> String {
    let lines = |text: Option<&String>| {
        text.map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).unwrap_or_default()
    };
    let (expected, found) = (lines(expected), lines(found));
    let gone = expected.iter().filter(|line| !found.contains(line)).map(|line| format!("  - {line}"));
    let new = found.iter().filter(|line| !expected.contains(line)).map(|line| format!("  + {line}"));
    format!("{}\n{}", path.display(), gone.chain(new).collect::<Vec<_>>().join("\n"))
}

fn read_tree(root: &Path, folder: &Path) -> Outcome {
    let mut files = Outcome::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(read_tree(root, &path));
        } else {
            files.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read_to_string(&path).unwrap());
        }
    }
    files
}

fn outcome(service: &str, env_file: &Path) -> Outcome {
    let package = registry::find(service, Path::new("/nonexistent")).unwrap();
    let environment = Environment::from_files(&[env_file.to_owned()]).unwrap();
    let arguments = std::fs::read_to_string(env_file.with_file_name("arguments")).unwrap_or_default();
    let arguments: Vec<String> = arguments.lines().map(str::to_owned).collect();
    let options = Options { arguments: arguments.clone(), ..options() };
    let (settings, mut problems) = settings::load(&package.contract, &environment, &options);
    let mut files = Outcome::new();
    if !report::has_errors(&problems) {
        match build::compose(&package.contract, &settings, &arguments) {
            Ok(plan) => drop(files.insert("plan".into(), describe_plan(&plan))),
            Err(error) => problems.push(error.problem(service, &settings)),
        }
        let (rendered, found) = render::render(&package, &settings);
        problems.extend(found);
        for file in rendered {
            let path = Path::new("files").join(file.path.strip_prefix("/").unwrap());
            files.insert(path, String::from_utf8(file.contents).unwrap());
        }
    }
    if report::has_errors(&problems) && !files.contains_key(Path::new("plan")) {
        problems.extend(render::judge_additions(&package, &settings));
    }
    // Where the checkout is, is of no interest.
    let folder = env_file.parent().unwrap().to_str().unwrap();
    files.insert("report".into(), report::text(service, &problems).replace(folder, ".") + "\n");
    files
}

fn options() -> Options {
    Options {
        strict: false,
        allow_insecure: false,
        check_files: false,
        starting: false,
        secrets: SecretFiles { directory: None, must_exist: false },
        run_dir: "/run/dl".into(),
        arguments: vec![],
        container: Container {
            memory: 8 << 30,
            memory_limited: true,
            cpus: 4.0,
            hostname: "pod-0.example".into(),
            address: "10.0.0.7".into(),
            uid: 1000,
            gid: 1000,
            architecture: "amd64".into(),
        },
    }
}

/// What happens, a line each; secrets of the environment stay out of it as they do out of a log.
fn describe_plan(plan: &Plan) -> String {
    let mut text = String::new();
    for directory in &plan.directories {
        writeln!(text, "directory {} {:04o}", directory.path.display(), directory.mode).unwrap();
    }
    for wait in &plan.waits {
        writeln!(text, "wait {} {}", wait.name, kind(&wait.target)).unwrap();
        if let Target::Postgres(postgres) = &wait.target {
            describe_tables(postgres, &mut text);
        }
    }
    for argument in &plan.command.argv {
        writeln!(text, "argument {}", argument.to_string_lossy()).unwrap();
    }
    for (name, _) in &plan.command.environment {
        writeln!(text, "environment {}", name.to_string_lossy()).unwrap();
    }
    for task in &plan.tasks {
        writeln!(text, "task {}", task.name()).unwrap();
        if let Task::PostgresqlCluster(cluster) = task {
            describe_cluster(cluster, &mut text);
        }
    }
    for probe in &plan.ready {
        match probe {
            Probe::Http(http) => writeln!(text, "ready {} {} {:?}", http.method, http.url, http.json).unwrap(),
            Probe::Tcp { host, port } => writeln!(text, "ready {host}:{port}").unwrap(),
            Probe::Postgres(target) => writeln!(text, "ready {target:?}").unwrap(),
        }
    }
    for rung in &plan.stop {
        match &rung.action {
            StopAction::Signal(signal) => writeln!(text, "stop signal {signal} within {:?}", rung.within).unwrap(),
            StopAction::Http(http) => {
                writeln!(text, "stop {} {} within {:?}", http.method, http.url, rung.within).unwrap()
            }
        }
    }
    text
}

fn describe_cluster(cluster: &PostgresqlCluster, text: &mut String) {
    let contents = &cluster.contents;
    writeln!(text, "  initdb {}", cluster.initdb.join(" ")).unwrap();
    writeln!(text, "  superuser {} {}", contents.superuser, secrecy(&contents.password)).unwrap();
    for role in &contents.roles {
        let replication = if role.replication { " for replication" } else { "" };
        writeln!(text, "  role {} {}{replication}", role.name, secrecy(&role.password)).unwrap();
    }
    for database in &contents.databases {
        let owner = database.owner.as_deref().unwrap_or("the superuser");
        writeln!(text, "  database {} of {owner} {}", database.name, database.extensions.join(" ")).unwrap();
    }
}

fn secrecy(password: &Option<String>) -> &'static str {
    if password.is_some() { "with a password" } else { "without a password" }
}

fn describe_tables(postgres: &PostgresTarget, text: &mut String) {
    for refused in &postgres.refused {
        let (found, missing) = (refused.found.join(" "), refused.missing.join(" "));
        writeln!(text, "  refused with {found} and not {missing}").unwrap();
    }
    for (name, value) in [("search path", &postgres.search_path), ("options", &postgres.options)] {
        value.iter().for_each(|value| writeln!(text, "  {name} {value}").unwrap());
    }
}

fn kind(target: &Target) -> &'static str {
    match target {
        Target::Tcp { .. } => "tcp",
        Target::Unix { .. } => "unix",
        Target::Dns { .. } => "dns",
        Target::File { .. } => "file",
        Target::Http(_) => "http",
        Target::Postgres(_) => "postgres",
        Target::S3(_) => "s3",
        Target::Etcd { .. } => "etcd",
    }
}
