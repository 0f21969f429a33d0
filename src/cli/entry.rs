//! START HERE: the subcommands. `run` is the pipeline; `inspect` only looks.
//!
//! Errors become text and an exit status here and nowhere else.

use std::process::ExitCode;

use clap::Parser;

use crate::cli::command_line::{self, Cli, Command, HealthArgs, InitData, Question, Run};
use crate::cli::inspect;
use crate::environment::Environment;
use crate::environment::dl_settings::Own;
use crate::evaluate::{Failure, image_words};
use crate::exit;
use crate::health::{self, HealthError};
use crate::identity::privilege;
use crate::log;
use crate::pid1::signals::Signals;
use crate::run::{self, End};

/// The whole program.
pub fn main() -> ExitCode {
    // First of all: a signal sent from here on is kept until somebody can honour it.
    let signals = Signals::block();
    // Secrets will be in this memory: no core dump, no ptrace, `/proc/PID/environ` for root alone. A refusal is said at
    // the drop, which undoes this and does it again; an exec undoes it too, the service's memory being its own.
    let _ = nix::sys::prctl::set_dumpable(false);
    log::end_on_panic();
    let arguments = command_line::normalized(std::env::args_os().collect());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage(&error, signals.ok()),
    };
    let status = signals
        .map_err(|error| Failure::new(exit::SYSTEM, format!("signals cannot be taken over: {error}")))
        .and_then(|signals| privilege::refuse_borrowed().map(|()| signals).map_err(not_permitted))
        .and_then(|signals| dispatch(asked(cli), signals));
    ExitCode::from(status.unwrap_or_else(report))
}

fn asked(cli: Cli) -> Command {
    cli.command.map_or(Command::Run(command_line::Run::default()), |command| command.or_service(image_words))
}

fn not_permitted(error: privilege::PrivilegeError) -> Failure {
    Failure::new(exit::PRIVILEGE, error)
}

fn dispatch(command: Command, signals: Signals) -> Result<u8, Failure> {
    match command {
        Command::Run(Run { service, exec, arguments }) => {
            let end = if exec { End::Replaced } else { End::OfService };
            run::service(&run::Asked { service: service.as_deref(), end, arguments: &arguments }, signals)
        }
        Command::InitData(InitData { service, enforce }) => {
            let end = End::WithData { new: enforce };
            run::service(&run::Asked { service: service.as_deref(), end, arguments: &[] }, signals)
        }
        Command::Init(arguments) => run::program(&arguments.command, signals),
        Command::Program(words) => run::program(&words, signals),
        Command::Wait(arguments) => run::wait(&arguments.urls, arguments.timeout.as_deref(), signals),
        Command::PostBootstrap(arguments) => run::post_bootstrap(&arguments.file, signals),
        Command::CheckEnv(arguments) => looking(signals, || inspect::check_env(&arguments)),
        Command::Render(arguments) => looking(signals, || inspect::render(&arguments)),
        Command::Explain(arguments) => looking(signals, || inspect::explain(&arguments)),
        Command::Health(arguments) => looking(signals, || ask(&arguments)),
        Command::Services => looking(signals, inspect::services),
    }
}

/// Subcommands that only look end on a signal as any program does.
fn looking(signals: Signals, look: impl FnOnce() -> Result<u8, Failure>) -> Result<u8, Failure> {
    signals.restore();
    look()
}

/// `dl-entry health`: 0 or 1, and one line.
fn ask(arguments: &HealthArgs) -> Result<u8, Failure> {
    let environment = Environment::of_process();
    let (own, problems) = Own::load(&environment);
    let is_set = environment.get("DL_HEALTH_ADDR").is_some_and(|address| !address.is_empty());
    let question = match arguments.question {
        Question::Live => health::Question::Live,
        Question::Ready => health::Question::Ready,
        Question::Startup => health::Question::Startup,
    };
    let wrong = problems.iter().find(|problem| problem.variable == "DL_HEALTH_ADDR");
    let answer = match wrong {
        Some(problem) => Err(problem.to_string()),
        None => health::ask(question, &own.health_addr).map_err(|error| match error {
            HealthError::Unreachable { .. } if is_set => format!("{error} (address from DL_HEALTH_ADDR)"),
            _ => error.to_string(),
        }),
    };
    let (well, line) = answer.unwrap_or_else(|error| (false, error));
    // A runtime that does not read the line still gets the status.
    let written = inspect::print(&line).is_ok();
    Ok(u8::from(!well || !written))
}

/// clap's help goes to stdout with 0, its errors to stderr with 64. Nobody may be reading either, and a signal ends it.
fn usage(error: &clap::Error, signals: Option<Signals>) -> ExitCode {
    if let Some(signals) = signals {
        signals.restore();
    }
    let text = error.render().to_string();
    if error.use_stderr() {
        log::write_patiently(&std::io::stderr(), &text);
        return ExitCode::from(exit::USAGE);
    }
    log::write_patiently(&std::io::stdout(), &text);
    ExitCode::SUCCESS
}

fn report(failure: Failure) -> u8 {
    if !failure.text.is_empty() {
        log::write_failure(&failure.text);
    }
    failure.status
}
