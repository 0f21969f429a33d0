//! Contract + settings → plan: every expression of the contract evaluated, nothing done yet.
//!
//! Pure. The files of the plan are `render`'s; this module fills everything else.

mod tasks;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use tera::Context;

use crate::contract::expression::{self, Expressions, bracketed, each_parts};
use crate::contract::{
    Argument, Contract, Http, Postgres, Probe as ProbeSection, RefusedTables as RefusedSection, S3, Stop,
    Wait as WaitSection,
};
use crate::environment::arguments;
use crate::plan::{
    ClientIdentity, CommandLine, DEFAULT_PATH, Directory, HttpProbe, JsonExpectation, Plan, PostgresTarget, Probe,
    RefusedTables, S3Target, ServerKind, StopAction, StopRung, Target, Wait,
};
use crate::report::Problem;
use crate::settings::Settings;
use crate::value::{parse_duration, parse_port};

/// Time to end after SIGTERM for a service whose contract has no stop ladder.
const USUAL_STOP: Duration = Duration::from_secs(30);

/// A part of the contract that cannot be turned into a plan: the contract's mistake, or a value it did not check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeError {
    /// "the command", "a wait".
    pub part: &'static str,
    pub reason: String,
    /// That of the template, as the contract is wrong; that of the contract, where the environment is.
    pub status: u8,
    /// Key of the setting that is to blame, and what it may be: where the environment is wrong.
    pub blamed: Option<(String, String)>,
}

impl std::fmt::Display for ComposeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} cannot be worked out: {}", self.part, self.reason)
    }
}

impl ComposeError {
    fn mistake(part: &'static str, reason: impl Into<String>) -> ComposeError {
        ComposeError { part, reason: reason.into(), status: crate::exit::TEMPLATE, blamed: None }
    }

    /// For the report: of the variable that is to blame, otherwise of the service.
    pub fn problem(self, service: &str, settings: &Settings) -> Problem {
        let setting = |key: &String| settings.settings.iter().find(|setting| setting.key == *key);
        match self.blamed.as_ref().and_then(|(key, accepted)| Some((setting(key)?, accepted))) {
            Some((setting, accepted)) => {
                let problem = Problem::error(&setting.name, self.reason).with_status(self.status);
                problem.accepted(accepted).from_source(setting.source.to_string())
            }
            None => Problem::error(service, self.to_string()).with_status(self.status),
        }
    }
}

/// The plan of one start, but for its files.
///
/// # Errors
/// The first part that cannot be worked out.
pub fn compose(contract: &Contract, settings: &Settings, arguments: &[String]) -> Result<Plan, ComposeError> {
    let composer = Composer { expressions: Expressions::default(), context: settings.context.clone() };
    Ok(Plan {
        service: contract.service.name.clone(),
        folder: PathBuf::from(composer.text("the folder of its files", "{{ etc }}", &composer.context)?),
        directories: composer.directories(contract)?,
        files: vec![],
        waits: composer.waits(contract)?,
        tasks: composer.tasks(contract)?,
        command: composer.command(contract, settings, arguments)?,
        ready: composer.probes(&contract.ready)?,
        settle: composer.settle(&contract.ready)?,
        stop: composer.ladder(&contract.stop)?,
    })
}

/// Every context an `each` and a `when` leave: one per item, or one, or none.
pub(crate) fn contexts(
    expressions: &Expressions,
    context: &Context,
    when: Option<&String>,
    each: Option<&String>,
) -> Result<Vec<Context>, String> {
    let holds = |context: &Context| when.map_or(Ok(true), |when| expressions.holds(when, context));
    let all: Vec<Context> = match each.and_then(|each| each_parts(each)) {
        // Most conditions do not hold, and a context is large.
        None => return Ok(if holds(context)? { vec![context.clone()] } else { vec![] }),
        Some((item, list)) => {
            let items = Expressions::lookup(context, list);
            let with_item = |value: &tera::Value| {
                let mut context = context.clone();
                context.insert_value(item.to_owned(), value.clone());
                context
            };
            items.as_ref().and_then(|items| items.as_array()).unwrap_or(&[]).iter().map(with_item).collect()
        }
    };
    let mut kept = Vec::new();
    for context in all {
        if holds(&context)? {
            kept.push(context);
        }
    }
    Ok(kept)
}

struct Composer {
    expressions: Expressions,
    context: Context,
}

impl Composer {
    fn text(&self, part: &'static str, expression: &str, context: &Context) -> Result<String, ComposeError> {
        self.expressions.text(expression, context).map_err(|reason| ComposeError::mistake(part, reason))
    }

    fn optional(
        &self,
        part: &'static str,
        expression: Option<&String>,
        context: &Context,
    ) -> Result<Option<String>, ComposeError> {
        let text = expression.map(|expression| self.text(part, expression, context)).transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    }

    fn contexts(
        &self,
        part: &'static str,
        when: Option<&String>,
        each: Option<&String>,
    ) -> Result<Vec<Context>, ComposeError> {
        contexts(&self.expressions, &self.context, when, each).map_err(|reason| ComposeError::mistake(part, reason))
    }

    fn duration(&self, part: &'static str, expression: &str, context: &Context) -> Result<Duration, ComposeError> {
        let text = self.text(part, expression, context)?;
        let millis =
            parse_duration(text.trim()).map_err(|why| ComposeError::mistake(part, format!("{text:?} {}", why.what)))?;
        Ok(Duration::from_millis(millis))
    }

    fn flag(&self, part: &'static str, expression: &str, context: &Context) -> Result<bool, ComposeError> {
        match self.text(part, expression, context)?.as_str() {
            "true" => Ok(true),
            "false" | "" => Ok(false),
            other => Err(ComposeError::mistake(part, format!("{other:?} is neither true nor false"))),
        }
    }

    // --- directories and command ----------------------------------------------------------------------------------

    fn directories(&self, contract: &Contract) -> Result<Vec<Directory>, ComposeError> {
        const PART: &str = "a directory";
        let mut directories = Vec::new();
        for section in &contract.directories {
            let mode = u32::from_str_radix(&section.mode, 8)
                .map_err(|_| ComposeError::mistake(PART, format!("mode {:?} is not octal", section.mode)))?;
            for context in self.contexts(PART, section.when.as_ref(), section.each.as_ref())? {
                let path = self.text(PART, &section.path, &context)?;
                if !path.is_empty() {
                    directories.push(Directory { path: PathBuf::from(path), mode });
                }
            }
        }
        Ok(directories)
    }

    /// An argument of the contract's own; nothing where it comes out empty.
    fn argument(&self, text: &str, context: &Context) -> Result<Option<OsString>, ComposeError> {
        let text = self.text("the command", text, context)?;
        Ok(Some(arguments::bytes_of(&text)).filter(|argument| !argument.is_empty()))
    }

    fn command(
        &self,
        contract: &Contract,
        settings: &Settings,
        arguments: &[String],
    ) -> Result<CommandLine, ComposeError> {
        const PART: &str = "the command";
        let mut argv: Vec<OsString> = Vec::new();
        for argument in &contract.service.command {
            match argument {
                Argument::Plain(text) => argv.extend(self.argument(text, &self.context)?),
                Argument::Conditional(argument) => {
                    for context in self.contexts(PART, argument.when.as_ref(), argument.each.as_ref())? {
                        match argument.each {
                            // An item of a list may be an empty argument of the operator's.
                            Some(_) => argv.push(arguments::bytes_of(&self.text(PART, &argument.value, &context)?)),
                            None => argv.extend(self.argument(&argument.value, &context)?),
                        }
                    }
                }
            }
        }
        if !contract.service.places_arguments {
            argv.extend(arguments.iter().map(|argument| arguments::bytes_of(argument)));
        }
        if argv.is_empty() {
            return Err(ComposeError::mistake(PART, "it is empty"));
        }
        let folder = self.optional(PART, contract.service.working_directory.as_ref(), &self.context)?;
        let environment = self.environment(contract, settings)?;
        Ok(CommandLine { argv, environment, working_directory: folder.map(PathBuf::from) })
    }

    fn environment(&self, contract: &Contract, settings: &Settings) -> Result<Vec<(OsString, OsString)>, ComposeError> {
        let mut environment: BTreeMap<OsString, OsString> = settings.inherited.iter().cloned().collect();
        environment.entry("PATH".into()).or_insert_with(|| DEFAULT_PATH.into());
        for (name, expression) in &contract.child.set {
            let value = self.text("the service's environment", expression, &self.context)?;
            match value.is_empty() {
                true => environment.remove(&OsString::from(name)),
                false => environment.insert(name.into(), value.into()),
            };
        }
        Ok(environment.into_iter().collect())
    }

    // --- dependencies ---------------------------------------------------------------------------------------------

    fn waits(&self, contract: &Contract) -> Result<Vec<Wait>, ComposeError> {
        let mut waits: Vec<Wait> = Vec::new();
        for section in &contract.waits {
            for context in self.contexts("a wait", section.when.as_ref(), section.each.as_ref())? {
                let wait = self.wait(section, &context)?;
                if !waits.iter().any(|earlier| earlier.name == wait.name) {
                    waits.push(wait);
                }
            }
        }
        Ok(waits)
    }

    fn wait(&self, section: &WaitSection, context: &Context) -> Result<Wait, ComposeError> {
        const PART: &str = "a wait";
        let (name, target) = if let Some(text) = self.optional(PART, section.tcp.as_ref(), context)? {
            let (host, port) = host_and_port(PART, &text)?;
            (format!("tcp://{text}"), Target::Tcp { host, port })
        } else if let Some(host) = self.optional(PART, section.dns.as_ref(), context)? {
            (format!("dns://{host}"), Target::Dns { host })
        } else if let Some(path) = self.optional(PART, section.file.as_ref(), context)? {
            (path.clone(), Target::File { path: path.into() })
        } else if let Some(text) = self.optional(PART, section.etcd.as_ref(), context)? {
            let endpoints: Vec<String> = text.split(',').map(|endpoint| endpoint.trim().to_owned()).collect();
            let named: Vec<String> = endpoints.iter().map(|endpoint| etcd_name(endpoint)).collect();
            (named.join(","), Target::Etcd { endpoints })
        } else if let Some(http) = &section.http {
            let probe = self.request(PART, http, context)?;
            (without_credentials(&probe.url), Target::Http(probe))
        } else if let Some(postgres) = &section.postgres {
            let target = self.postgres(postgres, context)?;
            let servers: Vec<_> =
                target.servers.iter().map(|(host, port)| format!("{}:{port}", bracketed(host))).collect();
            (format!("postgres://{}/{}", servers.join(","), target.database), Target::Postgres(target))
        } else if let Some(s3) = &section.s3 {
            let target = self.s3(PART, s3, context)?;
            (s3_name(&target), Target::S3(target))
        } else {
            return Err(ComposeError::mistake(PART, "it names nothing to wait for"));
        };
        let timeout = section.timeout.as_ref().map(|text| self.duration(PART, text, context)).transpose()?;
        Ok(Wait { name, target, timeout })
    }

    fn postgres(&self, section: &Postgres, context: &Context) -> Result<PostgresTarget, ComposeError> {
        const PART: &str = "a wait for PostgreSQL";
        let port = self.text(PART, &section.port, context)?;
        let port = parse_port(&port).ok_or_else(|| ComposeError::mistake(PART, format!("{port:?} is not a port")))?;
        let hosts = self.text(PART, &section.host, context)?;
        let path = |text: Option<&String>| Ok(self.optional(PART, text, context)?.map(PathBuf::from));
        let (certificate, key) = (path(section.client_certificate.as_ref())?, path(section.client_key.as_ref())?);
        let server_type = self.optional(PART, section.server_type.as_ref(), context)?;
        Ok(PostgresTarget {
            servers: hosts.split(',').map(|host| server(PART, host, port)).collect::<Result<_, _>>()?,
            user: self.text(PART, &section.user, context)?,
            password: self.optional(PART, section.password.as_ref(), context)?,
            database: self.text(PART, &section.database, context)?,
            sslmode: self.text(PART, &section.sslmode, context)?,
            root_certificate: path(section.root_certificate.as_ref())?,
            refused: self.refused(PART, &section.refuse, context)?,
            search_path: self.optional(PART, section.search_path.as_ref(), context)?,
            options: self.optional(PART, section.options.as_ref(), context)?,
            identity: (certificate.is_some() || key.is_some()).then_some(ClientIdentity { certificate, key }),
            kind: server_kind(server_type.as_deref()),
            past_refusals: true,
        })
    }

    fn refused(
        &self,
        part: &'static str,
        sections: &[RefusedSection],
        context: &Context,
    ) -> Result<Vec<RefusedTables>, ComposeError> {
        let mut refused = Vec::new();
        for section in sections {
            for context in contexts(&self.expressions, context, section.when.as_ref(), None)
                .map_err(|reason| ComposeError::mistake(part, reason))?
            {
                let text = |expression| self.text(part, expression, &context);
                let (variable, message) = (text(&section.variable)?, text(&section.message)?);
                refused.push(RefusedTables {
                    found: section.found.clone(),
                    missing: section.missing.clone(),
                    message: format!("{variable} {message}\naccepted: {}", text(&section.accepted)?),
                    variable,
                });
            }
        }
        Ok(refused)
    }

    fn s3(&self, part: &'static str, section: &S3, context: &Context) -> Result<S3Target, ComposeError> {
        Ok(S3Target {
            endpoint: self.text(part, &section.endpoint, context)?.trim_end_matches('/').to_owned(),
            region: self.text(part, &section.region, context)?,
            access_key: self.text(part, &section.access_key, context)?,
            secret_key: self.text(part, &section.secret_key, context)?,
            bucket: self.optional(part, section.bucket.as_ref(), context)?,
            path_style: self.flag(part, &section.path_style, context)?,
            insecure_tls: section.insecure_tls,
            root_certificate: self.optional(part, section.root_certificate.as_ref(), context)?.map(PathBuf::from),
        })
    }

    fn request(&self, part: &'static str, section: &Http, context: &Context) -> Result<HttpProbe, ComposeError> {
        let mut headers = Vec::new();
        for (name, expression) in &section.headers {
            headers.push((name.clone(), self.text(part, expression, context)?));
        }
        headers.retain(|(_, value)| !value.is_empty());
        Ok(HttpProbe {
            method: section.method.clone(),
            url: self.text(part, &section.url, context)?,
            headers,
            body: self.optional(part, section.body.as_ref(), context)?,
            statuses: section.status.clone(),
            json: section.json.iter().map(|(pointer, value)| (pointer.clone(), expectation(value))).collect(),
            insecure_tls: section.insecure_tls,
            root_certificate: self.optional(part, section.root_certificate.as_ref(), context)?.map(PathBuf::from),
        })
    }

    // --- probes, tasks, stopping ----------------------------------------------------------------------------------

    fn probes(&self, sections: &[ProbeSection]) -> Result<Vec<Probe>, ComposeError> {
        const PART: &str = "a readiness probe";
        let mut probes = Vec::new();
        for section in sections {
            for context in self.contexts(PART, section.when.as_ref(), None)? {
                probes.push(match (&section.http, &section.tcp, &section.postgres) {
                    (Some(http), None, None) => Probe::Http(self.request(PART, http, &context)?),
                    (None, None, Some(postgres)) => Probe::Postgres(self.postgres(postgres, &context)?),
                    (None, Some(tcp), None) => {
                        let (host, port) = host_and_port(PART, &self.text(PART, tcp, &context)?)?;
                        Probe::Tcp { host, port }
                    }
                    _ => {
                        return Err(ComposeError::mistake(PART, "it needs exactly one of http, tcp and postgres"));
                    }
                });
            }
        }
        Ok(probes)
    }

    /// The longest of the probes that apply.
    fn settle(&self, sections: &[ProbeSection]) -> Result<Duration, ComposeError> {
        const PART: &str = "a readiness probe";
        let mut longest = Duration::ZERO;
        for section in sections {
            for (context, settle) in self.contexts(PART, section.when.as_ref(), None)?.iter().zip(&section.settle) {
                longest = longest.max(self.duration(PART, settle, context)?);
            }
        }
        Ok(longest)
    }

    fn ladder(&self, sections: &[Stop]) -> Result<Vec<StopRung>, ComposeError> {
        const PART: &str = "the stop ladder";
        let mut rungs = Vec::new();
        for section in sections {
            for context in self.contexts(PART, section.when.as_ref(), None)? {
                let action = match (&section.signal, &section.http) {
                    (Some(signal), None) => StopAction::Signal(signal_number(signal)?),
                    (None, Some(http)) => StopAction::Http(self.request(PART, http, &context)?),
                    _ => {
                        return Err(ComposeError::mistake(PART, "a rung needs exactly one of signal and http"));
                    }
                };
                rungs.push(StopRung { action, within: self.duration(PART, &section.within, &context)? });
            }
        }
        // Without a rung nothing would ever follow the operator's SIGTERM.
        if rungs.is_empty() {
            rungs.push(StopRung { action: StopAction::Signal(libc::SIGTERM), within: USUAL_STOP });
        }
        Ok(rungs)
    }
}

fn signal_number(name: &str) -> Result<i32, ComposeError> {
    let unknown = || ComposeError::mistake("the stop ladder", format!("{name:?} is not a signal"));
    Signal::from_str(name).map(|signal| signal as i32).map_err(|_| unknown())
}

fn host_and_port(part: &'static str, text: &str) -> Result<(String, u16), ComposeError> {
    let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, parse_port(port)?)));
    let (host, port) = parts.ok_or_else(|| ComposeError::mistake(part, format!("{text:?} is not host:port")))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

/// `HOST`, `HOST:PORT`, or the folder of a Unix socket.
fn server(part: &'static str, text: &str, default_port: u16) -> Result<(String, u16), ComposeError> {
    let (host, port) = if text.starts_with('/') { (text, None) } else { expression::authority(text) };
    let port = port.map_or(Some(default_port), parse_port);
    let port = port.ok_or_else(|| ComposeError::mistake(part, format!("{text:?} has no valid port")))?;
    Ok((host.trim_matches(['[', ']']).to_owned(), port))
}

/// The driver reads capitals as small letters, and has two names for each kind.
fn server_kind(text: Option<&str>) -> ServerKind {
    match text.map(str::to_lowercase).as_deref() {
        Some("primary" | "master") => ServerKind::Primary,
        Some("secondary" | "slave") => ServerKind::Standby,
        _ => ServerKind::Any,
    }
}

/// `{ at-least = 1 }`, or the value itself.
fn expectation(value: &serde_json::Value) -> JsonExpectation {
    match value.get("at-least").and_then(serde_json::Value::as_u64) {
        Some(least) => JsonExpectation::AtLeast(least),
        None => JsonExpectation::Equals(value.clone()),
    }
}

/// An endpoint is `HOST:PORT` or a URL.
fn etcd_name(endpoint: &str) -> String {
    if endpoint.contains("://") { without_credentials(endpoint) } else { endpoint.to_owned() }
}

fn s3_name(target: &S3Target) -> String {
    let endpoint = without_credentials(&target.endpoint);
    match &target.bucket {
        Some(bucket) => format!("s3 bucket {bucket} at {endpoint}"),
        None => format!("s3 at {endpoint}"),
    }
}

/// The name of a wait is printed: it contains nothing of its URL that may be secret, such as the query.
fn without_credentials(url: &str) -> String {
    let shown = crate::text::without_credentials(url);
    // Only what the operator did not write is taken off again.
    if url.ends_with('/') { shown } else { shown.trim_end_matches('/').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tables_whose_condition_holds_are_refused_each_with_its_variable_and_what_to_do() {
        let contract = Contract::from_toml(
            r#"
            [service]
            name = "demo"
            summary = "a demo"
            command = ["demo"]
            [[wait]]
            [wait.postgres]
            host = "db"
            port = "5432"
            user = "demo"
            database = "demo"
            search-path = "{{ schema }}"
            [[wait.postgres.refuse]]
            when = "kind == 'new'"
            found = ["old"]
            missing = ["new"]
            variable = "DEMO_KIND"
            message = "is {{ kind }}"
            accepted = "old"
            [[wait.postgres.refuse]]
            when = "kind == 'old'"
            found = ["new"]
            missing = ["old"]
            variable = "DEMO_KIND"
            message = "is {{ kind }}"
            accepted = "new"
            "#,
        )
        .unwrap();
        let mut context = Context::new();
        context.insert("kind", "new");
        context.insert("schema", "lake");
        let composer = Composer { expressions: Expressions::default(), context };
        let waits = composer.waits(&contract).unwrap();
        let Target::Postgres(target) = &waits[0].target else { panic!("{waits:?}") };
        let (found, missing) = (vec!["old".to_owned()], vec!["new".to_owned()]);
        let message = "DEMO_KIND is new\naccepted: old".to_owned();
        let variable = "DEMO_KIND".to_owned();
        assert_eq!(target.refused, [RefusedTables { found, missing, variable, message }]);
        assert_eq!((target.search_path.as_deref(), target.options.as_deref()), (Some("lake"), None));
    }

    #[test]
    fn a_wait_is_named_without_what_may_be_secret_in_its_url() {
        let mut target = S3Target {
            endpoint: "http://user:hunter2@minio:9000/base?token=hunter2".to_owned(),
            region: String::new(),
            access_key: String::new(),
            secret_key: String::new(),
            bucket: Some("lake".to_owned()),
            path_style: true,
            insecure_tls: false,
            root_certificate: None,
        };
        assert_eq!(s3_name(&target), "s3 bucket lake at http://minio:9000/base");
        (target.bucket, target.endpoint) = (None, "http://user:hunt er2@min io".to_owned());
        assert_eq!(s3_name(&target), "s3 at the URL");
        assert_eq!(without_credentials("http://u:hunter2@h/v1/config?token=hunter2"), "http://h/v1/config");
        assert_eq!(without_credentials("http://h:1/"), "http://h:1/");
        assert_eq!(etcd_name("http://root:hunter2@e1:2379"), "http://e1:2379");
        assert_eq!(etcd_name("e1:2379"), "e1:2379");
    }
}
