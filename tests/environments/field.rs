//! Small inputs that failed in the field, each a folder: env files, or a script that calls the program.
//!
//! `DL_FIELD` names the folder of cases, which is not part of the project; what the program says of each is committed
//! below `tests/environments/field`. `DL_UPDATE=1` writes it anew: read it before committing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{SERVICES, binary};

#[test]
fn every_input_from_the_field_is_judged_as_committed() {
    let root = PathBuf::from(std::env::var_os("DL_FIELD").expect("set DL_FIELD to the folder of cases"));
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/environments/field");
    let mut differing = Vec::new();
    let cases = sorted(&root);
    assert!(!cases.is_empty(), "no case below {}", root.display());
    for case in &cases {
        let said = said(case);
        let file = committed.join(case.file_name().unwrap()).with_extension("txt");
        if std::env::var_os("DL_UPDATE").is_some() {
            fs::create_dir_all(&committed).unwrap();
            fs::write(&file, &said).unwrap();
        }
        let known = fs::read_to_string(&file).unwrap_or_default();
        if known != said {
            differing.push(format!("{}\n--- committed\n{known}+++ now\n{said}", file.display()));
        }
    }
    assert!(differing.is_empty(), "DL_UPDATE=1 writes them:\n{}", differing.join("\n"));
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// What the program says of every input of a case, with its exit status.
fn said(case: &Path) -> String {
    let inputs = sorted(case).into_iter().filter(|path| !path.ends_with("README") && !path.ends_with("expected"));
    inputs.map(|input| format!("{}: {}", input.file_name().unwrap().display(), said_of(case, &input))).collect()
}

fn said_of(case: &Path, input: &Path) -> String {
    let name = input.file_name().unwrap().to_str().unwrap();
    let mut command = match name {
        "cmd.sh" => {
            let mut shell = Command::new("bash");
            shell.arg(input).arg(binary());
            shell
        }
        _ if name.ends_with(".sh") => {
            // A copy, as the folder may be read-only and its files not executable.
            let copy = std::env::temp_dir().join(format!("dl-field-{}-{name}", std::process::id()));
            fs::copy(input, &copy).unwrap();
            fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
            let mut init = Command::new(binary());
            init.args(["init", "--"]).arg(copy).env_clear();
            init
        }
        _ => {
            let mut check = Command::new(binary());
            check.args(["check-env", "--service", service_of(case, name), "--env-file"]).arg(input).env_clear();
            check
        }
    };
    let output = command.env("PATH", "/usr/local/bin:/usr/bin:/bin").output().unwrap();
    let status = output.status.code().unwrap_or_else(|| panic!("{}: ended by a signal", input.display()));
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let text = text.replace(case.to_str().unwrap(), ".").replace(&*std::env::temp_dir().to_string_lossy(), ".");
    let text = text.replace(&format!("dl-field-{}-", std::process::id()), "");
    format!("{status}\n{text}")
}

/// `trino2.env` is Trino's; of a plain `env` the case's README has the command.
fn service_of(case: &Path, name: &str) -> &'static str {
    let readme = fs::read_to_string(case.join("README")).unwrap();
    let named = SERVICES.into_iter().find(|service| name.starts_with(service));
    let in_readme = || SERVICES.into_iter().find(|service| readme.contains(&format!("--service {service}")));
    named.or_else(in_readme).unwrap_or_else(|| panic!("{}: README names no --service", case.display()))
}
