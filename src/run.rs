//! `dl-entry run`: the effects, in their one order.
//!
//! prepare (pure) → listen → write as whoever we are → become the service's user for good → health → wait → spawn →
//! tasks → supervise → exit. A signal is honoured in every phase; nothing of the service runs before the drop is
//! proven.

mod low_ports;

use std::cell::RefCell;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::environment::Environment;
use crate::environment::dl_settings::Own;
use crate::evaluate::{Failure, Prepared, RUN_DIR, Request, prepare};
use crate::exit;
use crate::health::{self, Early, Health, Phase};
use crate::identity::accounts;
use crate::identity::name_service::{self, Names};
use crate::identity::privilege::{self, Unprivileged};
use crate::identity::user_spec::{self, BadUser, Identity};
use crate::log;
use crate::net::connect;
use crate::net::http;
use crate::net::listeners::Listeners;
use crate::net::tls;
use crate::pid1::children::Children;
use crate::pid1::signals::{self, Signals};
use crate::pid1::spawn;
use crate::pid1::supervise::{self, Handling, Happened};
use crate::plan::{CommandLine, Directory, HttpProbe, Plan, Probe, StopAction, Task, TaskPhase, Wait};
use crate::report::{self, Severity};
use crate::secrets::Secrets;
use crate::tasks::{self, Surroundings, TaskError};
use crate::threads;
use crate::value::parse_duration;
use crate::wait::{self, Progress};
use crate::write;

/// One question to the service may take this long.
const PROBE_TIMEOUT: Duration = Duration::from_millis(900);
/// Pauses between two questions to a service that is starting: short at first, then longer.
const PROBE_PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(200), Duration::from_millis(400), Duration::from_millis(800)];
/// Time to end after SIGTERM for a program run without a contract, unless `DL_STOP_TIMEOUT` is set.
const PROGRAM_STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The command line of `dl-entry run`.
#[derive(Debug)]
pub struct Asked<'a> {
    /// `None`: `DL_SERVICE`, or the image's own.
    pub service: Option<&'a str>,
    pub end: End,
    pub arguments: &'a [OsString],
}

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// To the end of the service, supervised; to its start where `DL_EXEC` says so.
    OfService,
    /// To its start: the service takes our place.
    Replaced,
    /// Only until its data is there; with `new` none may be there before.
    WithData { new: bool },
}

/// Runs the image's service to its end.
///
/// # Errors
/// Everything that keeps it from starting, with its status.
pub fn service(asked: &Asked, mut signals: Signals) -> Result<u8, Failure> {
    let begun = Instant::now();
    let environment = Environment::of_process();
    let (own, _) = Own::load(&environment);
    start_log(&own);
    let (run_dir, fallback) = run_dir(&own);
    let service = asked.service;
    let request = Request {
        service,
        arguments: asked.arguments,
        here: true,
        starting: true,
        strict: false,
        run_dir: Some(run_dir.clone()),
    };
    let prepared = prepare(&environment, &request)?;
    // Before the report: a signal cuts short the wait for a secret's pipe, which then looks like a problem.
    stop_if_asked(&mut signals)?;
    let plan = prepared.sound_plan()?;
    tell(&prepared, fallback.as_deref());
    let identity = identity(&prepared.package.contract.service.user)?;
    let health = Health::since(begun, &plan.service, &prepared.secrets);
    let exec = asked.end == End::Replaced || asked.end == End::OfService && own.exec;
    let served = asked.end == End::OfService && !exec;
    refuse_low_ports(&prepared, plan, served)?;
    health.set_phase(Phase::Rendering);
    let listener = match served {
        false => None,
        true => health::bind(&own.health_addr).map_err(|error| Failure::new(exit::SYSTEM, error))?,
    };
    let early = Early::on(listener.as_ref(), &health);
    let written = write_plan(plan, &run_dir, identity.as_ref(), &|| early.answer());
    // A signal cuts short the walk through a folder of data.
    stop_if_asked(&mut signals)?;
    written.map_err(|failure| with_hint(failure, &own, &run_dir))?;
    let user = drop_privileges(identity.as_ref(), &own)?;
    let (command, names) = with_identity(&plan.command, &user, &own, exec, &run_dir)?;
    let (stopping, listeners, children) = (Notify::new(), Listeners::default(), Children::default());
    let reloads = prepared.package.contract.service.reloads;
    let started = Started {
        plan,
        command: &command,
        user: &user,
        own: &own,
        health: &health,
        listeners: &listeners,
        children: &children,
        stopping: &stopping,
        held: RefCell::default(),
        reload: &|| !reloads || reload(&environment, &request, &run_dir, &command),
    };
    if exec {
        return Err(started.replaced(&mut signals));
    }
    drop(early);
    if let End::WithData { new } = asked.end {
        return block_on(async {
            tokio::select! {
                status = started.with_data(new, &mut signals) => status,
                never = answer_names(names) => match never {},
            }
        });
    }
    block_on(async {
        let serving = serve(listener, &health, &plan.ready, &listeners);
        tokio::select! {
            // In this order: signals and the service before those who only ask.
            biased;
            status = started.to_its_end(&mut signals) => status,
            failure = serving => Err(failure),
            never = answer_names(names) => match never {},
        }
    })
}

/// Runs any program supervised, without a contract.
///
/// # Errors
/// The program cannot be started, or root cannot be dropped.
pub fn program(words: &[OsString], mut signals: Signals) -> Result<u8, Failure> {
    let environment = Environment::of_process();
    let own = own_settings(&environment)?;
    let identity = identity("shusr")?;
    let user = drop_privileges(identity.as_ref(), &own)?;
    let inherited = environment.iter().filter(|(name, _)| !is_own(name));
    let command = CommandLine {
        argv: words.to_vec(),
        environment: inherited.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        working_directory: None,
    };
    let (command, names) = with_identity(&command, &user, &own, own.exec, Path::new("/"))?;
    if own.exec {
        stop_if_asked(&mut signals)?;
        return Err(failed_start(&spawn::replace(&command, &[], &user)));
    }
    block_on(async {
        supervise::adopt_orphans();
        let children = Children::default();
        let child = spawn(&command, &[], &user, &mut signals)?;
        let limit = Some(own.stop_timeout.unwrap_or(PROGRAM_STOP_TIMEOUT));
        let handling = Handling { ladder: &[], limit, reload: &|| true };
        tokio::select! {
            biased;
            ended = supervise::supervise(child, &children, &mut signals, handling, &|_| {}, no_request) => {
                Ok(ended.status(&own.stop_success))
            }
            never = answer_names(names) => match never {},
        }
    })
}

/// `dl-entry wait`: 0 once every dependency answers.
///
/// # Errors
/// Dependencies still missing at the deadline, or an invalid URL.
pub fn wait(urls: &[String], timeout: Option<&str>, mut signals: Signals) -> Result<u8, Failure> {
    let own = own_settings(&Environment::of_process())?;
    log::set_phase("waiting");
    let total = match timeout {
        None => own.wait_timeout,
        Some(text) => {
            let millis = parse_duration(text).map_err(|why| {
                Failure::new(exit::USAGE, format!("--timeout {}\n  accepted: 60s, 2m or 1h30m", why.what))
            })?;
            Duration::from_millis(millis)
        }
    };
    let targets = urls.iter().map(|url| wait::parse_target(url)).collect::<Result<Vec<_>, _>>();
    // As for a service: a signal cuts short the wait for a password's pipe.
    stop_if_asked(&mut signals)?;
    wait::keep_secrets(urls, targets.as_deref().unwrap_or_default(), Secrets::of_this_run());
    let targets = targets.map_err(|error| Failure::new(error.status(), error))?;
    block_on(async {
        let waiting = wait::wait_for_all(&targets, total, &|_| {});
        match supervise::run_to_end(waiting, &Children::default(), &mut signals, None, &|_| {}).await {
            Err(signal) => Err(Failure::new(exit::of_signal(signal), "")),
            Ok(Err(pending)) => {
                let set_by = if timeout.is_some() { "--timeout" } else { pending.set_by };
                Err(Failure::new(pending.status(), wait::Pending { set_by, ..pending }))
            }
            Ok(Ok(())) => Ok(0),
        }
    })
}

/// `dl-entry post-bootstrap`: roles, databases and extensions in a new cluster.
///
/// # Errors
/// What the server or the file says.
pub fn post_bootstrap(file: &Path, mut signals: Signals) -> Result<u8, Failure> {
    own_settings(&Environment::of_process())?;
    log::set_phase("post-bootstrap");
    block_on(async {
        let work = tasks::postgresql::post_bootstrap::run(file);
        match supervise::run_to_end(work, &Children::default(), &mut signals, None, &|_| {}).await {
            Err(signal) => Err(Failure::new(exit::of_signal(signal), "")),
            Ok(done) => done.map(|()| 0).map_err(|error| Failure::new(error.status(), error)),
        }
    })
}

// --- before the drop ----------------------------------------------------------------------------------------------

fn start_log(own: &Own) {
    let format = own.log_format.parse().unwrap_or_default();
    let level = log::level(&own.log_level).unwrap_or(tracing::Level::INFO);
    log::init(format, level, Secrets::of_this_run());
    log::set_phase("validating");
}

/// dl-entry's own settings where there is no contract to report them with; starts the log.
fn own_settings(environment: &Environment) -> Result<Own, Failure> {
    let (own, problems) = Own::load(environment);
    start_log(&own);
    if report::has_errors(&problems) {
        return Err(Failure::new(report::status(&problems), report::text("dl-entry", &problems)));
    }
    problems.iter().for_each(|problem| tracing::warn!("{}", problem.line()));
    Ok(own)
}

fn is_own(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("DL_"))
}

/// Warnings and notices, one line each.
fn tell(prepared: &Prepared, fallback: Option<&str>) {
    for problem in &prepared.problems {
        match problem.severity {
            Severity::Notice => tracing::info!("{}", problem.line()),
            _ => tracing::warn!("{}", problem.line()),
        }
    }
    if let Some(fallback) = fallback {
        tracing::warn!("{fallback}");
    }
    debug_assert!(!report::has_errors(&prepared.problems));
}

/// `DL_RUN_DIR`, or `/run/dl`, or, where that cannot be written, a folder of our own below the temporary one, with a
/// warning that says so.
fn run_dir(own: &Own) -> (PathBuf, Option<String>) {
    if let Some(path) = &own.run_dir {
        return (path.clone(), None);
    }
    let usual = Path::new(RUN_DIR);
    let candidate = if usual.exists() { usual } else { Path::new("/run") };
    if nix::unistd::access(candidate, nix::unistd::AccessFlags::W_OK).is_ok() {
        return (usual.to_owned(), None);
    }
    let fallback = temporary().join(format!("dl-entry-{}", nix::unistd::geteuid()));
    let shown = fallback.display();
    let warning = format!("{RUN_DIR} cannot be written: files go to {shown}; mount a tmpfs at /run or set DL_RUN_DIR");
    (fallback, Some(warning))
}

/// Where temporary files go. An empty or relative TMPDIR names no folder, and `/` is everybody's.
fn temporary() -> PathBuf {
    let named = std::env::var_os("TMPDIR").map(PathBuf::from);
    named.filter(|path| path.is_absolute() && path.parent().is_some()).unwrap_or_else(|| PathBuf::from("/tmp"))
}

fn stop_if_asked(signals: &mut Signals) -> Result<(), Failure> {
    match signals.pending_stop() {
        Some(signal) => Err(Failure::new(exit::of_signal(signal), "")),
        None => Ok(()),
    }
}

/// The user the service runs as; `None` if this process is not root and keeps its own.
fn identity(user: &str) -> Result<Option<Identity>, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(None);
    }
    let (passwd, group) = (accounts_for(user, "/etc/passwd")?, accounts_for(user, "/etc/group")?);
    let identity = match user_spec::parse_user(user, &passwd, &group) {
        // An image without the house's user still runs as its number.
        Err(BadUser::UnknownUser(name)) if name == "shusr" => user_spec::parse_user("1000:1000", &passwd, &group),
        named => named,
    };
    let identity = identity.map_err(|error| Failure::new(exit::PRIVILEGE, error))?;
    user_spec::refuse_hidden_root(user, &identity).map_err(|error| Failure::new(exit::PRIVILEGE, error))?;
    privilege::check_can_become(&identity).map_err(|error| Failure::new(exit::PRIVILEGE, error))?;
    Ok(Some(identity))
}

/// Sockets that are passed on are open already, whatever their port.
fn refuse_low_ports(prepared: &Prepared, plan: &Plan, served: bool) -> Result<(), Failure> {
    let refused = low_ports::refused(plan, &prepared.own, served, &prepared.settings.settings);
    if refused.is_empty() || std::env::var_os("LISTEN_FDS").is_some() {
        return Ok(());
    }
    Err(Failure::new(exit::CONTRACT, refused.join("\n")))
}

/// The text of a file of users or groups; only who is written as a number can do without.
fn accounts_for(user: &str, path: &str) -> Result<String, Failure> {
    let by_number = user.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    match accounts::text(path) {
        Err(error) if !by_number => {
            let reason = crate::text::reason(&error);
            let complaint =
                format!("{path} cannot be read: {reason}\n  it says who {user} is: make it readable for root");
            Err(Failure::new(exit::PRIVILEGE, complaint))
        }
        text => Ok(text.unwrap_or_default()),
    }
}

fn write_plan(plan: &Plan, run_dir: &Path, identity: Option<&Identity>, meanwhile: &dyn Fn()) -> Result<(), Failure> {
    private_fallback(run_dir)?;
    let parents = plan.files.iter().filter_map(|file| file.path.parent()).filter(|parent| parent.starts_with(run_dir));
    // Below a temporary folder, which is everybody's, it stays private.
    let mode = if run_dir.starts_with(temporary()) { 0o700 } else { 0o755 };
    let mut directories = vec![Directory { path: run_dir.to_owned(), mode }];
    for parent in parents {
        let below = parent.ancestors().take_while(|path| *path != run_dir).collect::<Vec<_>>();
        directories.extend(below.into_iter().rev().map(|path| Directory { path: path.to_owned(), mode: 0o750 }));
    }
    directories.extend(plan.directories.iter().cloned());
    let mut seen = std::collections::BTreeSet::new();
    directories.retain(|directory| seen.insert(directory.path.clone()));
    let owner = identity.map(|identity| (identity.uid, identity.gid));
    write::write_service(&plan.folder, &plan.files, &directories, owner, meanwhile)
        .map_err(|error| Failure::new(exit::CANNOT_WRITE, error))?;
    Ok(())
}

/// Where nobody named the run folder, what to do about one that cannot be written.
fn with_hint(failure: Failure, own: &Own, run_dir: &Path) -> Failure {
    let is_about_it = own.run_dir.is_none() && failure.text.contains(&*run_dir.to_string_lossy());
    let hint =
        "\n  or mount a tmpfs at /run (docker run --tmpfs /run), or set DL_RUN_DIR to a folder that can be written";
    if is_about_it { Failure::new(failure.status, failure.text + hint) } else { failure }
}

/// A folder below a temporary one may have been put there by anybody: it must be ours alone.
fn private_fallback(run_dir: &Path) -> Result<(), Failure> {
    let is_temporary = run_dir.starts_with(temporary());
    match !is_temporary || write::make_private(run_dir).map_err(|error| Failure::new(exit::CANNOT_WRITE, error))? {
        true => Ok(()),
        false => {
            let (folder, uid) = (run_dir.display(), nix::unistd::geteuid());
            let complaint = format!("{folder} is not a folder of uid {uid} alone\n  remove it, or set DL_RUN_DIR");
            Err(Failure::new(exit::CANNOT_WRITE, complaint))
        }
    }
}

/// Evaluates the environment and its secret files once more, and writes what comes out. The files of before stay where
/// anything is wrong.
fn reload(environment: &Environment, request: &Request, run_dir: &Path, command: &CommandLine) -> bool {
    match reloaded(environment, request, run_dir, command) {
        Ok(()) => true,
        Err(failure) => {
            tracing::error!("SIGHUP is not passed on, and nothing has changed: {}", failure.text);
            false
        }
    }
}

fn reloaded(
    environment: &Environment,
    request: &Request,
    run_dir: &Path,
    command: &CommandLine,
) -> Result<(), Failure> {
    let prepared = prepare(environment, request)?;
    let plan = prepared.sound_plan()?;
    write_plan(plan, run_dir, None, &|| {})?;
    let rendered = plan.tasks.iter().try_for_each(|task| tasks::rendered(task, command));
    rendered.map_err(|error| Failure::new(error.status(), error))?;
    tracing::info!("SIGHUP received: {} files are rendered anew", plan.files.len());
    Ok(())
}

fn drop_privileges(identity: Option<&Identity>, own: &Own) -> Result<Unprivileged, Failure> {
    let dropped = match identity {
        Some(identity) => {
            name_service::prepare(own.name_service, own.user_name.as_deref(), identity);
            privilege::become_user(identity)
        }
        None => privilege::stay(),
    };
    dropped.map_err(|error| Failure::new(exit::PRIVILEGE, error))
}

/// The command with the environment of who it runs as, under the name they have or are given here.
fn with_identity(
    command: &CommandLine,
    user: &Unprivileged,
    own: &Own,
    exec: bool,
    run_dir: &Path,
) -> Result<(CommandLine, Option<Names>), Failure> {
    let identity = user.identity();
    let mut environment = command.environment.clone();
    let home = home(&environment, identity, run_dir).to_owned();
    let names = name_service::open(own.name_service, own.user_name.as_deref(), identity, Path::new(&home), !exec)
        .map_err(|error| Failure::new(error.status(), error))?;
    let name = names.as_ref().map_or(identity.name.as_str(), Names::name);
    for (name, value) in [("HOME", home.as_os_str()), ("USER", OsStr::new(name)), ("LOGNAME", OsStr::new(name))] {
        // A user without a name keeps the inherited HOME, USER and LOGNAME, unless they are root's.
        environment.retain(|(other, inherited)| other != name || value.is_empty() && inherited != "root");
        if !value.is_empty() {
            environment.push((name.into(), value.to_owned()));
        }
    }
    Ok((CommandLine { environment, ..command.clone() }, names))
}

/// HOME: the operator's, that of the user's entry, or where we may write.
fn home<'a>(environment: &'a [(OsString, OsString)], identity: &'a Identity, run_dir: &'a Path) -> &'a OsStr {
    // A container runtime says "/" of a user without an entry in /etc/passwd.
    let nobodys = |value: &OsStr| value == "/root" || value == "/";
    let given = environment.iter().find(|(name, value)| name == "HOME" && Path::new(value).is_dir() && !nobodys(value));
    match (given, identity.home.as_os_str()) {
        (Some((_, given)), _) => given,
        (None, home) if home.is_empty() || home == "/" || !identity.home.is_dir() => run_dir.as_os_str(),
        (None, home) => home,
    }
}

/// Answers lookups of names; never completes if there is nothing to answer.
async fn answer_names(names: Option<Names>) -> std::convert::Infallible {
    match names {
        None => std::future::pending().await,
        Some(names) => names.serve().await,
    }
}

fn failed_start(error: &spawn::SpawnError) -> Failure {
    Failure::new(error.status(), error)
}

/// Starts the command; a signal that asks to end before it runs is what ends us.
fn spawn(
    command: &CommandLine,
    held: &[OwnedFd],
    user: &Unprivileged,
    signals: &mut Signals,
) -> Result<spawn::Child, Failure> {
    spawn::spawn(command, held, user).map_err(|error| match (&error, stop_if_asked(signals)) {
        (spawn::SpawnError::Asked, Err(asked)) => asked,
        _ => failed_start(&error),
    })
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        built.map_err(|error| Failure::new(exit::SYSTEM, format!("the event loop cannot be set up: {error}")))?;
    runtime.block_on(work)
}

// --- after the drop -----------------------------------------------------------------------------------------------

/// Everything needed from here to the end.
struct Started<'a> {
    plan: &'a Plan,
    command: &'a CommandLine,
    user: &'a Unprivileged,
    own: &'a Own,
    health: &'a Health,
    listeners: &'a Listeners,
    /// The programs of tasks.
    children: &'a Children,
    /// Told when the first rung begins, or the service has ended.
    stopping: &'a Notify,
    /// Descriptors that tasks have the service hold.
    held: RefCell<Vec<OwnedFd>>,
    /// Renders everything anew; whether the service should read it.
    reload: &'a dyn Fn() -> bool,
}

impl Started<'_> {
    async fn to_its_end(&self, signals: &mut Signals) -> Result<u8, Failure> {
        supervise::adopt_orphans();
        self.until_startable(signals).await?;
        self.health.set_phase(Phase::Starting);
        prepare_questions(self.plan).await;
        let child = spawn(self.command, &self.held.borrow(), self.user, signals)?;
        self.health.set_child(child.pid());
        tracing::info!(pid = child.pid(), "{} started", self.plan.service);
        let events = |happened: Happened| self.note(&happened);
        let request = async |probe: &HttpProbe, within| {
            self.listeners.ask(probe, within).await.map_err(|unmet| unmet.to_string())
        };
        let handling = Handling { ladder: &self.plan.stop, limit: self.own.stop_timeout, reload: self.reload };
        let supervised = supervise::supervise(child, self.children, signals, handling, &events, request);
        tokio::pin!(supervised);
        // In this order: once a stop has begun, no task goes on and nothing becomes ready any more.
        let failed = tokio::select! {
            biased;
            ended = &mut supervised => return Ok(self.ended(&ended)),
            () = self.stopping.notified() => return Ok(self.ended(&supervised.await)),
            failure = self.until_a_task_fails() => failure,
        };
        self.health.set_phase(Phase::Failed);
        tracing::error!("{failed}");
        // The same way out as for an operator: the whole ladder.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::Signal::SIGTERM);
        self.ended(&supervised.await);
        Err(Failure::new(failed.status(), format!("{} was stopped: {failed}", self.plan.service)))
    }

    /// All that comes before the start.
    async fn until_startable(&self, signals: &mut Signals) -> Result<(), Failure> {
        stop_if_asked(signals)?;
        signals.forget();
        let rendered = self.plan.tasks.iter().try_for_each(|task| tasks::rendered(task, self.command));
        rendered.map_err(|error| Failure::new(error.status(), error))?;
        self.tasks_before_start(TaskPhase::BeforeStart, signals).await?;
        self.wait_for_dependencies(signals).await?;
        self.tasks_before_start(TaskPhase::AfterWaits, signals).await
    }

    async fn tasks_before_start(&self, phase: TaskPhase, signals: &mut Signals) -> Result<(), Failure> {
        if self.tasks_of(phase).next().is_none() {
            return Ok(());
        }
        let done = self.until_it_ends(self.tasks(phase), signals).await?;
        done.map_err(|error| Failure::new(error.status(), error))
    }

    fn tasks_of(&self, phase: TaskPhase) -> impl Iterator<Item = &Task> {
        self.plan.tasks.iter().filter(move |task| task.phases().contains(&phase))
    }

    async fn tasks(&self, phase: TaskPhase) -> Result<(), TaskError> {
        let Started { listeners, children, user, command, .. } = *self;
        for task in self.tasks_of(phase) {
            self.health.set_phase(Phase::Tasks(task.name().to_owned()));
            let held = tasks::run(task, phase, Surroundings { listeners, children, user, command }).await?;
            self.held.borrow_mut().extend(held);
        }
        Ok(())
    }

    /// The outcome of work before the start, which a signal that asks to end cuts short.
    async fn until_it_ends<T>(&self, work: impl Future<Output = T>, signals: &mut Signals) -> Result<T, Failure> {
        let events = |happened: Happened| self.note(&happened);
        let outcome = supervise::run_to_end(work, self.children, signals, self.own.stop_timeout, &events).await;
        outcome.map_err(|signal| {
            tracing::info!("{} received, {} is not started", signals::name(signal), self.plan.service);
            Failure::new(exit::of_signal(signal), "")
        })
    }

    /// Only what comes before the waits.
    async fn with_data(&self, new: bool, signals: &mut Signals) -> Result<u8, Failure> {
        if self.tasks_of(TaskPhase::BeforeStart).next().is_none() {
            let complaint = format!("{} makes no data of its own before it starts", self.plan.service);
            return Err(Failure::new(exit::USAGE, complaint));
        }
        supervise::adopt_orphans();
        stop_if_asked(signals)?;
        signals.forget();
        for task in self.tasks_of(TaskPhase::BeforeStart).filter(|_| new) {
            tasks::refuse_data(task).map_err(|error| Failure::new(error.status(), error))?;
        }
        self.tasks_before_start(TaskPhase::BeforeStart, signals).await?;
        Ok(0)
    }

    /// Becomes the service once its dependencies answer; returns only where that fails.
    fn replaced(&self, signals: &mut Signals) -> Failure {
        supervise::adopt_orphans();
        if let Err(failure) = block_on(self.until_startable(signals)) {
            return failure;
        }
        for task in self.tasks_of(TaskPhase::OnceAnswering) {
            tracing::warn!(
                "{} is not done: with DL_EXEC nothing is left to do it once the service answers",
                task.name()
            );
        }
        // As process 1 the service would never see it: what has no handler there is dropped.
        match stop_if_asked(signals) {
            Ok(()) => failed_start(&spawn::replace(self.command, &self.held.borrow(), self.user)),
            Err(failure) => failure,
        }
    }

    async fn wait_for_dependencies(&self, signals: &mut Signals) -> Result<(), Failure> {
        let waits: &[Wait] = &self.plan.waits;
        if waits.is_empty() {
            return Ok(());
        }
        self.health.set_phase(Phase::Waiting);
        let progress = |progress: Progress| match progress {
            Progress::Pending { name, error } => self.health.set_pending(name, error),
            Progress::Ready { name, .. } => self.health.clear_pending(name),
        };
        let waiting = wait::wait_for_all(waits, self.own.wait_timeout, &progress);
        let answered = self.until_it_ends(waiting, signals).await?;
        answered.map_err(|pending| Failure::new(pending.status(), pending))
    }

    /// Brings the service to readiness and does the contract's tasks; ends only with a failure.
    async fn until_a_task_fails(&self) -> TaskError {
        if let Err(error) = self.tasks(TaskPhase::OnceAnswering).await {
            return error;
        }
        self.health.set_phase(Phase::Starting);
        self.until_ready().await;
        if !self.plan.settle.is_zero() {
            tokio::time::sleep(self.plan.settle).await;
            self.until_ready().await;
        }
        self.health.set_phase(Phase::Ready);
        tracing::info!("{} is ready", self.plan.service);
        std::future::pending().await
    }

    async fn until_ready(&self) {
        let mut pauses = PROBE_PAUSES.iter();
        let mut pause = PROBE_PAUSES[0];
        while ready(&self.plan.ready, self.listeners).await.is_err() {
            tokio::time::sleep(pause).await;
            pause = *pauses.next().unwrap_or(&PROBE_PAUSES[3]);
        }
    }

    fn note(&self, happened: &Happened) {
        match happened {
            Happened::Forwarded { signal } => self.health.count_signal(*signal),
            Happened::OrphanReaped => self.health.count_orphan(),
            Happened::StopStarted { draining } => {
                self.health.set_phase(if *draining { Phase::Draining } else { Phase::Stopping });
                self.stopping.notify_one();
            }
            // Whatever may be left of it serves nobody, and gets no more work.
            Happened::MainEnded { status } => {
                self.health.child_ended(*status);
                self.stopping.notify_one();
            }
        }
    }

    /// Nobody has asked a server to end by itself. One that was never one (`--version`) may, where all went well.
    fn ended(&self, ended: &supervise::Ending) -> u8 {
        let did_its_work = ended.exit.status() == 0 && !self.health.has_been_ready();
        match ended.asked || did_its_work {
            true => tracing::info!("{} {}", self.plan.service, ended.exit),
            false => tracing::error!("{} {}, and nobody had asked it to", self.plan.service, ended.exit),
        }
        ended.status(&self.own.stop_success)
    }
}

/// Once the service runs, there may be no thread to be had, and it is asked all the same.
async fn prepare_questions(plan: &Plan) {
    // The roots of the waits may not be needed again.
    tls::forget();
    let mut needs_thread = false;
    for (url, insecure_tls, root) in questions(plan) {
        needs_thread |= http::prepare(&url, insecure_tls, root).await;
    }
    if needs_thread && let Err(error) = threads::keep_one() {
        tracing::warn!("names cannot be looked up while the service runs: {}", connect::no_thread(&error));
    }
}

/// Every URL the service is asked at while it runs, and how its certificate is verified.
fn questions(plan: &Plan) -> Vec<(String, bool, Option<&Path>)> {
    fn asked(probe: &HttpProbe) -> (String, bool, Option<&Path>) {
        (probe.url.clone(), probe.insecure_tls, probe.root_certificate.as_deref())
    }
    let ready = plan.ready.iter().flat_map(|probe| match probe {
        Probe::Http(probe) => vec![asked(probe)],
        Probe::Tcp { host, port } => vec![(format!("tcp://{host}:{port}"), false, None)],
        Probe::Postgres(target) => {
            let hosts = target.servers.iter().filter(|(host, _)| !host.starts_with('/'));
            hosts.map(|(host, port)| (format!("tcp://{host}:{port}"), false, None)).collect()
        }
    });
    let tasks = plan.tasks.iter().flat_map(|task| match task {
        Task::S3Buckets(task) => {
            let server = &task.server;
            let server = (server.endpoint.clone(), server.insecure_tls, server.root_certificate.as_deref());
            vec![asked(&task.quorum), server]
        }
        Task::PostgresqlCluster(_) | Task::PostgresqlContents(_) => vec![],
    });
    let rungs = plan.stop.iter().filter_map(|rung| match &rung.action {
        StopAction::Http(probe) => Some(asked(probe)),
        StopAction::Signal(_) => None,
    });
    ready.chain(tasks).chain(rungs).collect()
}

/// Serves the endpoints until the program ends; without an address it never completes.
async fn serve(
    listener: Option<std::net::TcpListener>,
    health: &Health,
    probes: &[Probe],
    listeners: &Listeners,
) -> Failure {
    match listener {
        None => std::future::pending().await,
        Some(listener) => {
            match health::serve(listener, health.clone(), async || ready(probes, listeners).await).await {
                Ok(never) => match never {},
                Err(error) => Failure::new(exit::SYSTEM, error),
            }
        }
    }
}

/// Asks the service every question of its contract; the first that is not answered as expected is the reason.
async fn ready(probes: &[Probe], listeners: &Listeners) -> Result<(), String> {
    for probe in probes {
        match probe {
            Probe::Http(http) => listeners.ask(http, PROBE_TIMEOUT).await.map_err(|unmet| unmet.to_string())?,
            Probe::Tcp { host, port } => {
                listeners.check_at(host, *port).await.map_err(|reason| format!("{host}:{port}: {reason}"))?;
                let connected = tokio::time::timeout(PROBE_TIMEOUT, connect::connect(host, *port)).await;
                connected.unwrap_or_else(|_| Err("no answer".into())).map_err(|why| format!("{host}:{port}: {why}"))?;
            }
            Probe::Postgres(target) => {
                let answered = tokio::time::timeout(PROBE_TIMEOUT, wait::login(target, PROBE_TIMEOUT)).await;
                answered.unwrap_or_else(|_| Err("no answer".into())).map_err(|why| format!("login: {why}"))?;
            }
        }
    }
    Ok(())
}

/// A rung's request, which a program without a contract has none of.
async fn no_request(_: &HttpProbe, _: Duration) -> Result<(), String> {
    Ok(())
}
