//! START HERE: the subcommands, and the pipeline from environment to exit, top to bottom.
//!
//! Errors become text and an exit status here and nowhere else.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use crate::catalogue::{self, Package};
use crate::cli::{self, CheckEnv, Cli, Command, Explain, From, Render};
use crate::compose;
use crate::container::Container;
use crate::contract::Contract;
use crate::env::{Environment, SecretFiles};
use crate::exit;
use crate::own::Own;
use crate::plan::{Plan, RenderedFile};
use crate::render;
use crate::report::{self, Problem, Severity};
use crate::settings::{self, Options, Settings};

/// Where an image names its service.
const SERVICE_FILE: &str = "/etc/dl-entry/service";
/// Where rendered files go unless `DL_RUN_DIR` says otherwise.
const RUN_DIR: &str = "/run/dl";

/// The whole program.
pub fn main() -> ExitCode {
    let words = image_words();
    let arguments = cli::normalized(std::env::args_os().collect(), &words);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let status = match cli.command.unwrap_or(Command::Run(Default::default())) {
        Command::CheckEnv(arguments) => check_env(&arguments),
        Command::Render(arguments) => render_files(&arguments),
        Command::Explain(arguments) => explain(&arguments),
        Command::Services => services(),
        other => unimplemented_yet(&other),
    };
    ExitCode::from(status.unwrap_or_else(|failure| failure.print()))
}

fn unimplemented_yet(_: &Command) -> Result<u8, Failure> {
    Ok(exit::INTERNAL)
}

/// clap's help goes to stdout with 0, its errors to stderr with 64.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done where even the help cannot be printed.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { exit::USAGE } else { 0 })
}

/// Text for the operator, and the status to end with.
struct Failure {
    status: u8,
    text: String,
}

impl Failure {
    fn new(status: u8, text: impl ToString) -> Failure {
        Failure { status, text: text.to_string() }
    }

    fn print(self) -> u8 {
        eprintln!("dl-entry: {}", self.text);
        self.status
    }
}

// --- the pure half: environment → plan and files ------------------------------------------------------------------

/// Everything known before anything is done.
struct Prepared {
    package: Package,
    settings: Settings,
    plan: Option<Plan>,
    problems: Vec<Problem>,
}

/// Words of the image's own service that stand for it as a first argument.
fn image_words() -> Vec<String> {
    let own = Own::load(&Environment::of_process()).0;
    let name = service_name(None, &own).ok();
    let package = name.and_then(|name| catalogue::find(&name, Path::new(catalogue::FOLDER)).ok());
    package.map(|package| package.contract.service.words).unwrap_or_default()
}

fn service_name(argument: Option<&str>, own: &Own) -> Result<String, Failure> {
    let image = || std::fs::read_to_string(SERVICE_FILE).ok().map(|text| text.trim().to_owned());
    let name = argument.map(str::to_owned).or_else(|| own.service.clone()).or_else(image);
    name.filter(|name| !name.is_empty()).ok_or_else(|| {
        let names = catalogue::names(Path::new(catalogue::FOLDER)).join(", ");
        Failure::new(exit::USAGE, format!("no service is named\n  say --service NAME or set DL_SERVICE: {names}"))
    })
}

/// From `--env-file`s, or from this process.
fn environment_of(from: &From) -> Result<Environment, Failure> {
    match from.env_files.is_empty() {
        true => Ok(Environment::of_process()),
        false => Environment::from_files(&from.env_files).map_err(|why| Failure::new(exit::USAGE, why)),
    }
}

fn prepare(
    service: Option<&str>,
    environment: &Environment,
    arguments: &[OsString],
    here: bool,
    strict: bool,
) -> Result<Prepared, Failure> {
    let (own, mut problems) = Own::load(environment);
    let name = service_name(service, &own)?;
    let package =
        catalogue::find(&name, Path::new(catalogue::FOLDER)).map_err(|error| Failure::new(exit::USAGE, error))?;
    let options = Options {
        strict: strict || own.strict,
        allow_insecure: own.allow_insecure,
        check_files: here,
        secrets: SecretFiles { directory: own.secrets_dir.clone(), must_exist: here },
        run_dir: own.run_dir.clone().unwrap_or_else(|| PathBuf::from(RUN_DIR)),
        arguments: service_arguments(&package.contract, arguments),
        container: Container::observe(),
    };
    let (settings, found) = settings::load(&package.contract, environment, &options);
    problems.extend(found);
    let plan =
        (!report::has_errors(&problems)).then(|| plan_of(&package, &settings, &options, &mut problems)).flatten();
    Ok(Prepared { package, settings, plan, problems })
}

/// The operator's arguments, less a first word that only stands for the service.
fn service_arguments(contract: &Contract, arguments: &[OsString]) -> Vec<String> {
    let texts = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
    let texts: Vec<String> = texts.collect();
    let word = texts.first().is_some_and(|first| contract.service.words.contains(first));
    texts.into_iter().skip(usize::from(word)).collect()
}

fn plan_of(package: &Package, settings: &Settings, options: &Options, problems: &mut Vec<Problem>) -> Option<Plan> {
    let composed = compose::compose(&package.contract, settings, &options.arguments);
    let (files, found) = render::render(package, settings);
    problems.extend(found);
    match composed {
        Ok(plan) => Some(Plan { files, ..plan }),
        Err(error) => {
            let name = package.contract.service.name.clone();
            problems.push(Problem::error(name, error.to_string()).with_status(exit::TEMPLATE));
            None
        }
    }
}

// --- subcommands that only look -----------------------------------------------------------------------------------

fn check_env(arguments: &CheckEnv) -> Result<u8, Failure> {
    let environment = environment_of(&arguments.from)?;
    let here = arguments.from.env_files.is_empty();
    let service = arguments.from.service.as_deref();
    let prepared = prepare(service, &environment, &arguments.arguments, here, arguments.strict)?;
    let name = &prepared.package.contract.service.name;
    let text = match arguments.format {
        cli::Format::Text => report::text(name, &prepared.problems),
        cli::Format::Json => problems_as_json(name, &prepared).to_string(),
    };
    print(&redacted(&prepared, &text))?;
    let wrong = report::has_errors(&prepared.problems);
    Ok(if wrong { report::status(&prepared.problems) } else { 0 })
}

fn problems_as_json(service: &str, prepared: &Prepared) -> serde_json::Value {
    let (notices, problems): (Vec<_>, Vec<_>) =
        prepared.problems.iter().partition(|problem| problem.severity == Severity::Notice);
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
        "service": service,
        "ok": !report::has_errors(&prepared.problems),
        "problems": problems,
        "notices": notices,
        "values": set.map(value).collect::<Vec<_>>(),
    })
}

fn render_files(arguments: &Render) -> Result<u8, Failure> {
    let environment = environment_of(&arguments.from)?;
    let here = arguments.from.env_files.is_empty();
    let prepared = prepare(arguments.from.service.as_deref(), &environment, &[], here, false)?;
    let name = &prepared.package.contract.service.name;
    let (Some(plan), false) = (&prepared.plan, report::has_errors(&prepared.problems)) else {
        let text = redacted(&prepared, &report::text(name, &prepared.problems));
        return Err(Failure::new(report::status(&prepared.problems), text));
    };
    let text = plan.files.iter().map(printed_file).collect::<String>();
    print(redacted(&prepared, &text).trim_end())?;
    Ok(0)
}

fn printed_file(file: &RenderedFile) -> String {
    format!("# {} ({:04o})\n{}\n", file.path.display(), file.mode, String::from_utf8_lossy(&file.contents))
}

fn explain(arguments: &Explain) -> Result<u8, Failure> {
    let environment = environment_of(&arguments.from)?;
    let here = arguments.from.env_files.is_empty();
    let prepared = prepare(arguments.from.service.as_deref(), &environment, &[], here, false)?;
    let contract = &prepared.package.contract;
    let text =
        crate::explain::explain(contract, &prepared.settings, arguments.variable.as_deref()).ok_or_else(|| {
            let variable = arguments.variable.as_deref().unwrap_or_default();
            let name = &contract.service.name;
            Failure::new(
                exit::USAGE,
                format!("{variable} is not a variable of {name}\n  dl-entry explain --service {name} lists them"),
            )
        })?;
    print(redacted(&prepared, &text).trim_end())?;
    Ok(0)
}

fn services() -> Result<u8, Failure> {
    let folder = Path::new(catalogue::FOLDER);
    let mut lines = Vec::new();
    for name in catalogue::names(folder) {
        let package = catalogue::find(&name, folder).map_err(|error| Failure::new(exit::CONTRACT, error))?;
        lines.push(format!("{name:<12} {}", package.contract.service.summary));
    }
    print(&lines.join("\n"))?;
    Ok(0)
}

fn redacted(_: &Prepared, text: &str) -> String {
    text.to_owned()
}

fn print(text: &str) -> Result<(), Failure> {
    let written = writeln!(std::io::stdout(), "{text}");
    written.map_err(|error| {
        Failure::new(exit::SYSTEM, format!("stdout cannot be written: {}", crate::env::reason(&error)))
    })
}
