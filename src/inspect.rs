//! The subcommands that only look: check-env, render, explain, services.
//!
//! Everything printed passes the secrets of the environment looked at. Only `render --root` writes.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::catalogue;
use crate::cli::{self, CheckEnv, Explain, From, Render};
use crate::exit;
use crate::explain;
use crate::plan::{Directory, RenderedFile};
use crate::prepare::{Failure, Prepared, Request, SECRETS_DIR, environment_of, prepare};
use crate::report::{self, Severity};
use crate::settings;
use crate::write;

/// `dl-entry check-env`: 0, or the status of what is wrong.
///
/// # Errors
/// No contract, no environment, or stdout gone.
pub fn check_env(arguments: &CheckEnv) -> Result<u8, Failure> {
    let prepared = look(&arguments.from, &arguments.arguments, arguments.strict)?;
    let text = match arguments.format {
        cli::Format::Text => report::text(prepared.service(), &prepared.problems),
        cli::Format::Json => problems_as_json(&prepared).to_string(),
    };
    print(&prepared.secrets.redact(&text))?;
    let wrong = report::has_errors(&prepared.problems);
    Ok(if wrong { report::status(&prepared.problems) } else { 0 })
}

fn look(from: &From, arguments: &[OsString], strict: bool) -> Result<Prepared, Failure> {
    let environment = environment_of(from)?;
    let here = from.env_files.is_empty();
    prepare(&environment, &Request { service: from.service.as_deref(), arguments, here, strict, run_dir: None })
}

fn problems_as_json(prepared: &Prepared) -> serde_json::Value {
    // A notice is no problem: what was done with a variable shows in the source of its value.
    let problems = prepared.problems.iter().filter(|problem| problem.severity != Severity::Notice);
    let set = prepared.settings.settings.iter().filter(|setting| !setting.shown.is_empty());
    let value = |setting: &settings::Setting| {
        json!({
            "variable": setting.name,
            "value": setting.shown,
            "source": setting.source.to_string(),
            "secret": setting.secret,
        })
    };
    json!({
        "service": prepared.service(),
        "ok": !report::has_errors(&prepared.problems),
        "problems": problems.collect::<Vec<_>>(),
        "values": set.map(value).collect::<Vec<_>>(),
    })
}

/// `dl-entry render`: prints, compares, or writes below a folder.
///
/// # Errors
/// The report of what is wrong with the environment, or what cannot be written.
pub fn render(arguments: &Render) -> Result<u8, Failure> {
    let prepared = look(&arguments.from, &[], false)?;
    let plan = prepared.sound_plan()?;
    if arguments.diff {
        let root = arguments.root.as_deref().unwrap_or(Path::new("/"));
        print(prepared.secrets.redact(&write::diff(&plan.files, root)).trim_end())?;
    } else if let Some(root) = arguments.root.as_deref().filter(|_| !arguments.stdout) {
        let files: Vec<RenderedFile> = plan.files.iter().map(|file| below(root, file)).collect();
        let folders = folders_of(&files);
        write::write_all(&files, &folders, None).map_err(|error| Failure::new(exit::CANNOT_WRITE, error))?;
        let lines: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
        print(&lines.join("\n"))?;
    } else {
        let text = plan.files.iter().map(printed_file).collect::<String>();
        print(prepared.secrets.redact(&text).trim_end())?;
    }
    Ok(0)
}

/// The same file under another root, for its owner's eyes alone: it holds the secrets.
fn below(root: &Path, file: &RenderedFile) -> RenderedFile {
    let relative = file.path.strip_prefix("/").unwrap_or(&file.path);
    RenderedFile { path: root.join(relative), mode: 0o600, ..file.clone() }
}

fn folders_of(files: &[RenderedFile]) -> Vec<Directory> {
    let parents: BTreeSet<&Path> = files.iter().filter_map(|file| file.path.parent()).collect();
    parents.into_iter().map(|path| Directory { path: path.to_owned(), mode: 0o700 }).collect()
}

fn printed_file(file: &RenderedFile) -> String {
    format!("# {} ({:04o})\n{}\n", file.path.display(), file.mode, String::from_utf8_lossy(&file.contents))
}

/// `dl-entry explain`: the contract in words.
///
/// # Errors
/// A variable the contract does not know.
pub fn explain(arguments: &Explain) -> Result<u8, Failure> {
    let prepared = look(&arguments.from, &[], false)?;
    let contract = &prepared.package.contract;
    let wanted = arguments.variable.as_deref();
    let secrets = prepared.own.secrets_dir.as_deref().unwrap_or(Path::new(SECRETS_DIR));
    let text = explain::explain(&prepared.package, &prepared.settings, secrets, wanted).ok_or_else(|| {
        let (variable, name) = (wanted.unwrap_or_default(), &contract.service.name);
        let advice = format!("dl-entry explain --service {name} lists them");
        Failure::new(exit::USAGE, format!("{variable} is not a variable of {name}\n  {advice}"))
    })?;
    print(prepared.secrets.redact(&text).trim_end())?;
    Ok(0)
}

/// `dl-entry services`: name and summary of each.
///
/// # Errors
/// A service of the image's own whose contract is not one.
pub fn services() -> Result<u8, Failure> {
    let folder = Path::new(catalogue::FOLDER);
    let mut lines = Vec::new();
    for name in catalogue::names(folder) {
        let package = catalogue::find(&name, folder).map_err(|error| Failure::new(exit::CONTRACT, error))?;
        lines.push(format!("{name:<12} {}", package.contract.service.summary));
    }
    print(&lines.join("\n"))?;
    Ok(0)
}

fn print(text: &str) -> Result<(), Failure> {
    let written = writeln!(std::io::stdout(), "{text}");
    written.map_err(|error| {
        Failure::new(exit::SYSTEM, format!("stdout cannot be written: {}", crate::env::reason(&error)))
    })
}
