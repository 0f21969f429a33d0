//! The pure half of the pipeline: environment → settings → plan and files, with every problem found on the way.
//!
//! `check-env`, `render`, `explain` and `run` all begin here, so that they cannot disagree. Reads the contract, the
//! environment and secret files; writes nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::contract::Contract;
use crate::contract::registry::{self, Package};
use crate::environment::arguments;
use crate::environment::container::Container;
use crate::environment::dl_settings::Own;
use crate::environment::{Environment, SecretFiles};
use crate::exit;
use crate::plan::Plan;
use crate::plan::build;
use crate::read;
use crate::render;
use crate::report::{self, Problem};
use crate::secrets::Secrets;
use crate::settings::public_words;
use crate::settings::{self, Options, Settings};

/// Where an image names its service.
const SERVICE_FILE: &str = "/etc/dl-entry/service";
/// Where a file named like a variable is that variable, unless `DL_SECRETS_DIR` says otherwise.
pub const SECRETS_DIR: &str = "/run/secrets";
/// Where rendered files go unless `DL_RUN_DIR` says otherwise.
pub const RUN_DIR: &str = "/run/dl";

/// Text for the operator, and the status to end with.
#[derive(Debug)]
pub struct Failure {
    pub status: u8,
    pub text: String,
}

impl Failure {
    /// `text` is printed once, by `entry`.
    pub fn new(status: u8, text: impl ToString) -> Failure {
        Failure { status, text: text.to_string() }
    }
}

/// Everything known before anything is done.
#[derive(Debug)]
pub struct Prepared {
    pub own: Own,
    pub package: Package,
    pub settings: Settings,
    /// `None` where a problem stands in its way.
    pub plan: Option<Plan>,
    pub problems: Vec<Problem>,
    /// The secrets of this environment, to keep out of everything printed.
    pub secrets: Secrets,
}

impl Prepared {
    /// The service's name.
    pub fn service(&self) -> &str {
        &self.package.contract.service.name
    }

    /// The plan, where nothing is wrong.
    ///
    /// # Errors
    /// The whole report, and the status it ends with.
    pub fn sound_plan(&self) -> Result<&Plan, Failure> {
        match &self.plan {
            Some(plan) if !report::has_errors(&self.problems) => Ok(plan),
            _ => {
                let text = report::text(self.service(), &self.problems);
                Err(Failure::new(report::status(&self.problems), self.secrets.redact(&text)))
            }
        }
    }
}

/// The inputs of an evaluation, and how they are read.
#[derive(Debug, Default)]
pub struct Request<'a> {
    /// `--service`.
    pub service: Option<&'a str>,
    /// The operator's arguments.
    pub arguments: &'a [OsString],
    /// Whether the environment is this container's own, so that its files can be looked at.
    pub here: bool,
    /// Whether the service is about to start.
    pub starting: bool,
    pub strict: bool,
    /// Where rendered files go, where `DL_RUN_DIR` does not say.
    pub run_dir: Option<PathBuf>,
}

/// Words of the image's own service that ask for it as a first argument.
pub fn image_words() -> Vec<String> {
    let own = Own::load(&Environment::of_process()).0;
    let name = service_name(None, &own).ok();
    let package = name.and_then(|name| registry::find(&name, Path::new(registry::FOLDER)).ok());
    package
        .map(|package| [package.contract.service.words, package.contract.service.commands].concat())
        .unwrap_or_default()
}

/// `--service`, `DL_SERVICE` of the environment looked at or of this process, or what the image says.
fn service_name(argument: Option<&str>, own: &Own) -> Result<String, Failure> {
    let process = || Own::load(&Environment::of_process()).0.service;
    let named = argument.map(str::to_owned).or_else(|| own.service.clone()).or_else(process);
    let name = named.map_or_else(|| service_of_image(Path::new(SERVICE_FILE)), Ok)?;
    if !name.is_empty() {
        return Ok(name);
    }
    let names = registry::names(Path::new(registry::FOLDER)).map_err(|error| Failure::new(exit::USAGE, error))?;
    let names = names.join(", ");
    Err(Failure::new(exit::USAGE, format!("no service given\n  use --service NAME or set DL_SERVICE: {names}")))
}

/// Empty where the image has no such file.
fn service_of_image(path: &Path) -> Result<String, Failure> {
    match read::text(path, read::VALUE) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => {
            let why = format!("{} cannot be read: {}", path.display(), crate::text::reason(&error));
            Err(Failure::new(
                exit::USAGE,
                format!("{why}\n  it says which service to run: make it readable, or set DL_SERVICE"),
            ))
        }
    }
}

/// Validates, plans and renders, all in memory.
///
/// # Errors
/// Only where there is no contract to hold against the environment; everything else is in `Prepared::problems`.
pub fn prepare(environment: &Environment, request: &Request) -> Result<Prepared, Failure> {
    let (own, mut problems) = Own::load(environment);
    let name = service_name(request.service, &own)?;
    let package =
        registry::find(&name, Path::new(registry::FOLDER)).map_err(|error| Failure::new(error.status(), error))?;
    let options = options_of(&own, &package.contract, request);
    let (mut settings, found) = settings::load(&package.contract, environment, &options);
    problems.extend(found);
    public_words::set_apart(&package, &mut settings, &mut problems, options.allow_insecure);
    let secrets = Secrets::of_this_run().clone();
    for (name, value) in &settings.secrets {
        secrets.add(name, value.as_bytes());
    }
    let plan = match report::has_errors(&problems) {
        false => plan_of(&package, &settings, &options, &mut problems),
        true => {
            problems.extend(render::judge_additions(&package, &settings));
            None
        }
    };
    Ok(Prepared { own, package, settings, plan, problems, secrets })
}

fn options_of(own: &Own, contract: &Contract, request: &Request) -> Options {
    let usual_secrets = request.here.then(|| PathBuf::from(SECRETS_DIR));
    Options {
        strict: request.strict || own.strict,
        allow_insecure: own.allow_insecure,
        check_files: request.here,
        starting: request.starting,
        secrets: SecretFiles { directory: own.secrets_dir.clone().or(usual_secrets), must_exist: request.here },
        run_dir: own.run_dir.clone().or_else(|| request.run_dir.clone()).unwrap_or_else(|| PathBuf::from(RUN_DIR)),
        arguments: service_arguments(contract, request.arguments),
        container: Container::observe(),
    }
}

/// The operator's arguments, less the first words that only stand for the service.
fn service_arguments(contract: &Contract, arguments: &[OsString]) -> Vec<String> {
    let texts = arguments.iter().map(|argument| arguments::text_of(argument));
    texts.skip(arguments::words_taken(arguments, &contract.service.words)).collect()
}

fn plan_of(package: &Package, settings: &Settings, options: &Options, problems: &mut Vec<Problem>) -> Option<Plan> {
    let composed = build::compose(&package.contract, settings, &options.arguments);
    let (files, found) = render::render(package, settings);
    problems.extend(found);
    match composed {
        Ok(plan) => Some(Plan { files, ..plan }),
        Err(error) => {
            problems.push(error.problem(&package.contract.service.name, settings));
            None
        }
    }
}
