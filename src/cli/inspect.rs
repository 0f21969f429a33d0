//! The subcommands that only look: check-env, render, explain, services.
//!
//! Everything printed passes the secrets of the environment looked at. Only `render --root` writes.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::json;

use crate::cli::command_line::{self, CheckEnv, Explain, From, Render};
use crate::cli::explain;
use crate::cli::masked_view::Shown;
use crate::contract::registry;
use crate::environment::Environment;
use crate::evaluate::{Failure, Prepared, Request, SECRETS_DIR, prepare};
use crate::exit;
use crate::plan::RenderedFile;
use crate::report::{self, Severity};
use crate::settings;
use crate::write::{self, Outcome, Written};

/// `dl-entry check-env`: 0, or the status of what is wrong.
///
/// # Errors
/// No contract, no environment, or stdout gone.
pub fn check_env(arguments: &CheckEnv) -> Result<u8, Failure> {
    let prepared = look(&arguments.from, &arguments.arguments, arguments.strict)?;
    match arguments.format {
        command_line::Format::Text => {
            print(&prepared.secrets.redact(&report::text(prepared.service(), &prepared.problems)))?
        }
        command_line::Format::Json => print(&problems_as_json(&prepared).to_string())?,
    }
    let wrong = report::has_errors(&prepared.problems);
    Ok(if wrong { report::status(&prepared.problems) } else { 0 })
}

/// The variables of `--env-file`s, or of this process.
///
/// # Errors
/// A file that cannot be read or is not one.
fn environment_of(from: &From) -> Result<Environment, Failure> {
    match from.env_files.is_empty() {
        true => Ok(Environment::of_process()),
        false => Environment::from_files(&from.env_files).map_err(|why| Failure::new(exit::USAGE, why)),
    }
}

fn look(from: &From, arguments: &[OsString], strict: bool) -> Result<Prepared, Failure> {
    let environment = environment_of(from)?;
    let here = from.env_files.is_empty();
    prepare(&environment, &Request { service: from.service.as_deref(), arguments, here, strict, ..Request::default() })
}

/// Each text is redacted before it is quoted: no secret takes the document apart.
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
    let (problems, values) = (json!(problems.collect::<Vec<_>>()), json!(set.map(value).collect::<Vec<_>>()));
    json!({
        "service": prepared.service(),
        "ok": !report::has_errors(&prepared.problems),
        "problems": prepared.secrets.redact_json(&problems),
        "values": prepared.secrets.redact_json(&values),
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
        let shown = Shown::of(&prepared);
        let changes = match &arguments.root {
            None => shown.diff(&plan.files, Path::new("/")) + &write::leftovers(&plan.folder, &plan.files),
            // The modes are those that `--root` writes.
            Some(root) => shown.diff(&plan.files.iter().map(private).collect::<Vec<_>>(), root),
        };
        print(prepared.secrets.redact(&changes).trim_end())?;
    } else if let Some(root) = arguments.root.as_deref().filter(|_| !arguments.stdout) {
        write_below(root, &plan.files)?;
    } else {
        let shown = Shown::of(&prepared);
        let text = plan.files.iter().map(|file| printed_file(file, &shown)).collect::<String>();
        print(prepared.secrets.redact(&text).trim_end())?;
    }
    Ok(0)
}

/// Writes the files and prints the path of each; what was not written is said on stderr.
fn write_below(root: &Path, files: &[RenderedFile]) -> Result<(), Failure> {
    let relative = |file: &RenderedFile| file.path.strip_prefix("/").unwrap_or(&file.path).to_owned();
    let files: Vec<RenderedFile> =
        files.iter().map(|file| RenderedFile { path: root.join(relative(file)), ..private(file) }).collect();
    let written = write::write_below(root, &files).map_err(|error| Failure::new(exit::CANNOT_WRITE, error))?;
    for warning in written.iter().filter_map(Written::warning) {
        // Nothing can be done where nobody listens.
        let _ = writeln!(std::io::stderr(), "dl-entry: warning: {warning}");
    }
    let there = written.iter().filter(|written| !matches!(written.outcome, Outcome::Kept { .. }));
    let lines: Vec<String> = there.map(|written| written.path.display().to_string()).collect();
    print(&lines.join("\n"))
}

/// The same file for its owner's eyes alone: it holds the secrets.
fn private(file: &RenderedFile) -> RenderedFile {
    RenderedFile { mode: 0o600, ..file.clone() }
}

fn printed_file(file: &RenderedFile, shown: &Shown) -> String {
    format!("# {} ({:04o})\n{}\n", file.path.display(), file.mode, shown.text(file))
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
    let folder = Path::new(registry::FOLDER);
    let mut lines = Vec::new();
    let mut broken = Vec::new();
    for name in registry::names(folder).map_err(|error| Failure::new(exit::CONTRACT, error))? {
        match registry::find(&name, folder) {
            Ok(package) => lines.push(format!("{name:<12} {}", package.contract.service.summary)),
            Err(error) => broken.push(error.to_string()),
        }
    }
    print(&lines.join("\n"))?;
    if broken.is_empty() { Ok(0) } else { Err(Failure::new(exit::CONTRACT, broken.join("\n"))) }
}

/// A reader that has seen enough (`dl-entry … | head`) is no failure: the status says what the command found.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(exit::SYSTEM, format!("stdout cannot be written: {}", crate::text::reason(&error))))
        }
        _ => Ok(()),
    }
}
