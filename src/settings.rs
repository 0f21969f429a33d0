//! Contract + environment → settings: every variable resolved, typed and traced to where it came from.
//!
//! Collects every problem and stops at none. Nothing here reads a file but the secret files the contract allows, and
//! nothing is decided about what to run: that is `plan::build`.

mod adoption;
mod base_image;
mod families;
mod groups;
mod passthrough;
pub(crate) mod public_words;
mod residue;
mod rules;
mod secrets;
mod sources;
mod undeclared;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use tera::Context;

use self::groups::Instance;
pub(crate) use self::groups::{instance_of, split_group_name};
pub use self::passthrough::{Addition, Additions};
use self::sources::Raw;
use crate::contract::expression::Expressions;
use crate::contract::{Contract, Export, Passthrough, Variable};
use crate::environment::container::Container;
use crate::environment::dl_settings;
use crate::environment::{Environment, SecretFiles};
use crate::exit;
use crate::report::Problem;
use crate::value::{Value, ValueType, parse_percent, show_bytes};

/// A percentage of memory is rounded down to whole ones.
const MEBIBYTE: u64 = 1 << 20;

/// How strictly, and with what at hand.
#[derive(Debug, Clone)]
pub struct Options {
    /// Unknown variables of the service are errors.
    pub strict: bool,
    /// Well-known and short secrets, and checks marked `insecure`, are warnings.
    pub allow_insecure: bool,
    /// Whether paths and secret files are looked at: not when the environment belongs to another machine.
    pub check_files: bool,
    /// Whether the service is about to start: what it cannot do without is looked for.
    pub starting: bool,
    pub secrets: SecretFiles,
    /// `/run/dl` or its fallback.
    pub run_dir: PathBuf,
    /// The operator's arguments.
    pub arguments: Vec<String>,
    pub container: Container,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Environment,
    /// The environment, under an old or foreign name.
    Alias(String),
    File(PathBuf),
    Default,
    Unset,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Environment => f.write_str("environment"),
            Source::Alias(name) => write!(f, "environment, as {name}"),
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Default => f.write_str("default"),
            Source::Unset => f.write_str("unset"),
        }
    }
}

/// One variable, resolved.
#[derive(Debug, Clone)]
pub struct Setting {
    pub name: String,
    pub key: String,
    pub shown: String,
    pub source: Source,
    pub secret: bool,
}

/// Everything the rest of the program needs to know about the environment.
#[derive(Debug)]
pub struct Settings {
    pub settings: Vec<Setting>,
    /// The values visible to expressions and templates.
    pub context: Context,
    /// Keys the operator added, by the passthrough they are from: `config`, or `catalog.lake.properties`.
    pub additions: BTreeMap<String, Additions>,
    /// Name and value of every secret, for redaction.
    pub secrets: Vec<(String, String)>,
    /// Those that nothing looks for, too short or words of public texts: `public_words` sets them apart.
    pub open: Vec<(String, String)>,
    /// Short secrets inside other values, with what stands around them.
    pub places: Vec<(String, String)>,
    /// The base of the service's environment: undeclared variables and exported ones.
    pub inherited: Vec<(OsString, OsString)>,
}

/// Resolves the whole environment against the contract.
pub fn load(contract: &Contract, environment: &Environment, options: &Options) -> (Settings, Vec<Problem>) {
    let mut environment = environment.clone();
    let links = environment.drop_service_links();
    let mut loader = Loader::new(contract, environment, options);
    loader.report_links(&links);
    loader.report_twice();
    loader.drop_base_image();
    loader.adopt_keys();
    loader.rename_aliases();
    loader.read_variables();
    loader.read_passthroughs();
    loader.read_groups();
    loader.work_out_derived();
    loader.check_rules();
    loader.check_families();
    loader.report_unknown();
    loader.inherit();
    loader.keep_undeclared_secrets();
    loader.examine_short_secrets();
    (loader.settings, loader.problems)
}

/// Whether a variable that no contract declares is a key of this passthrough.
pub(crate) fn is_passed_through(passthrough: &Passthrough, name: &str) -> bool {
    let Passthrough { prefix, extra, literal, .. } = passthrough;
    let starts = |prefix: &String| name.starts_with(prefix.as_str());
    starts(prefix)
        || name == extra
        || literal.iter().any(starts)
        || passthrough::key_of_native_name(passthrough, name).is_some()
}

struct Loader<'a> {
    contract: &'a Contract,
    options: &'a Options,
    environment: Environment,
    /// Canonical name → the old name whose value it takes.
    renamed: BTreeMap<String, String>,
    /// Variables of a passthrough, and `EXTRA key` of its lines, that are taken for a variable.
    adopted: BTreeSet<String>,
    /// Keys that are in the environment as if they were variables, and the variable they are given in.
    given_in: BTreeMap<String, String>,
    expressions: Expressions,
    settings: Settings,
    problems: Vec<Problem>,
    /// Every environment name the contract accounts for.
    known: BTreeSet<String>,
    /// Keys without a value because theirs was wrong: what depends on them is not reported again.
    broken: BTreeSet<String>,
    /// Keys whose values are in files of another machine, and what is worked out from those.
    unknown: BTreeSet<String>,
}

impl<'a> Loader<'a> {
    fn new(contract: &'a Contract, environment: Environment, options: &'a Options) -> Self {
        let mut context = Context::new();
        let run_dir = options.run_dir.display().to_string();
        context.insert("etc", &format!("{run_dir}/{}", contract.service.name));
        context.insert("run_dir", &run_dir);
        context.insert("dl_entry", &own_program(options.starting));
        context.insert("service", &contract.service.name);
        context.insert("arguments", &options.arguments);
        context.insert("arguments_given", &!options.arguments.is_empty());
        context.insert("files_checked", &options.check_files);
        context.insert("starting", &options.starting);
        context.insert("container", &options.container.to_json());
        if let Some(port) = health_port(&environment) {
            context.insert("health_port", &port);
        }
        let settings = Settings {
            settings: vec![],
            context,
            additions: BTreeMap::new(),
            secrets: vec![],
            open: vec![],
            places: vec![],
            inherited: vec![],
        };
        Loader {
            contract,
            options,
            environment,
            renamed: BTreeMap::new(),
            adopted: BTreeSet::new(),
            given_in: BTreeMap::new(),
            expressions: Expressions::default(),
            settings,
            problems: vec![],
            known: BTreeSet::new(),
            broken: BTreeSet::new(),
            unknown: BTreeSet::new(),
        }
    }

    fn read_variables(&mut self) {
        for variable in &self.contract.variables {
            let key = self.contract.key_of(variable).into_owned();
            let before = self.problems.len();
            let value = self.resolve(&variable.name, variable, None);
            match value {
                Some(value) => self.settings.context.insert_value(key, value.to_tera()),
                None if crate::report::has_errors(&self.problems[before..]) => {
                    self.broken.insert(key);
                }
                None => {}
            }
        }
    }

    /// Reads, types and records one variable. `instance` is the group's item being filled, if any.
    pub(super) fn resolve(&mut self, name: &str, variable: &Variable, instance: Option<&Instance>) -> Option<Value> {
        let raw = self.raw(name, variable);
        if let Some(reason) = &variable.ignored {
            if let Some(raw) = raw {
                let problem = Problem::warning(name, format!("has no effect: {reason}"));
                self.problems.push(problem.from_source(raw.source.to_string()));
                self.record(name, variable, None, raw.source);
            }
            return None;
        }
        let given = raw.is_some();
        let raw = raw.or_else(|| self.default(name, variable, instance));
        let Some(raw) = raw else {
            self.require(name, variable, instance);
            self.record(name, variable, None, Source::Unset);
            return None;
        };
        let value_type = match crate::contract::type_of(variable) {
            Ok(value_type) => value_type,
            Err(why) => {
                self.problems.push(Problem::error(name, format!("is declared wrongly: {why}")));
                return None;
            }
        };
        if variable.is_secret() && !raw.text.is_empty() {
            self.settings.secrets.push((name.to_owned(), raw.text.clone()));
        }
        if raw.unknown {
            let value = Value::Text(raw.text);
            self.unknown.insert(self.key_of_name(name));
            self.record(name, variable, Some((&value_type, &value)), raw.source);
            return Some(value);
        }
        if let Source::File(_) = raw.source {
            self.keep_secrets_within(name, &raw.text);
        }
        if self.is_part_of_broken(variable, &raw.text) {
            self.broken.insert(self.key_of_name(name));
            self.record(name, variable, None, raw.source);
            return None;
        }
        let source = self.told(name, &raw.source);
        if given && !self.is_clean(name, variable, &raw.text, &source) {
            self.broken.insert(self.key_of_name(name));
            self.record(name, variable, None, raw.source);
            return None;
        }
        match self.typed(variable, &value_type, &raw.text) {
            Ok(value) => {
                if given {
                    self.examine_secret(name, variable, &value_type, &raw);
                    self.examine_path(name, &value_type, &raw);
                }
                self.record(name, variable, Some((&value_type, &value)), raw.source);
                Some(value)
            }
            Err((what, accepted)) => {
                let what = what + &self.said_of_memory(variable, &raw.source);
                let problem = Problem::error(name, what).accepted(accepted).from_source(raw.source.to_string());
                self.problems.push(problem);
                self.record(name, variable, None, raw.source);
                None
            }
        }
    }

    fn typed(&self, variable: &Variable, kind: &ValueType, text: &str) -> Result<Value, (String, String)> {
        if let Some((whole, text)) = percentage(variable, text) {
            let reject = |what: String| (what, format!("{}, or a percentage", kind.accepted()));
            let percent = parse_percent(text).ok_or_else(|| reject("is not a percentage, 0% to 100%".into()))?;
            let whole = self.expressions.text(whole, &self.settings.context).map_err(reject)?;
            let whole: f64 = whole.trim().parse().map_err(|_| reject("is a percentage of something unknown".into()))?;
            let bytes = (whole * percent / 100.0) as u64 / MEBIBYTE * MEBIBYTE;
            return kind.of_bytes(bytes).map_err(|why| reject(why.what));
        }
        let either = |accepted: String| match variable.percent_of {
            Some(_) => format!("{accepted}, or a percentage"),
            None => accepted,
        };
        kind.parse(text).map_err(|rejection| (rejection.what, either(rejection.accepted)))
    }

    /// The memory from which defaults are computed, for operators who set nothing.
    fn said_of_memory(&self, variable: &Variable, source: &Source) -> String {
        let default = variable.default.as_ref().filter(|_| *source == Source::Default);
        if !default.is_some_and(|default| default.0.contains("container.memory")) {
            return String::new();
        }
        let Container { memory, memory_limited, .. } = &self.options.container;
        let whose = if *memory_limited { "container's memory limit" } else { "machine's memory" };
        format!(": its default is a part of the {whose}, {}", show_bytes(*memory))
    }

    /// Whether the text is a percentage of what is wrong itself, and reported already.
    fn is_part_of_broken(&self, variable: &Variable, text: &str) -> bool {
        percentage(variable, text).is_some_and(|(whole, _)| self.uses_broken(whole))
    }

    fn uses_broken(&self, expression: &str) -> bool {
        // Parsing is what costs: of a sound environment nothing is parsed.
        if self.broken.is_empty() {
            return false;
        }
        let names = Expressions::default().variables(expression).unwrap_or_default();
        names.iter().any(|name| self.broken.contains(name))
    }

    /// Whether what an expression gives depends on the content of a file of another machine.
    pub(super) fn is_unknown(&self, expression: &str) -> bool {
        self.unknown.iter().any(|name| crate::contract::expression::reads_content(expression, name))
    }

    fn default(&mut self, name: &str, variable: &Variable, instance: Option<&Instance>) -> Option<Raw> {
        let expression = &variable.default.as_ref()?.0;
        let text = self.expressions.text(expression, &self.context_with(instance));
        match text {
            Ok(text) if text.is_empty() => None,
            Ok(text) => {
                let unknown = self.is_unknown(expression);
                Some(Raw { text, source: Source::Default, unknown })
            }
            Err(why) => {
                self.report_expression(name, "the default", expression, &why);
                self.broken.insert(self.key_of_name(name));
                None
            }
        }
    }

    /// An expression that failed because of a variable already reported is not a second problem.
    pub(super) fn report_expression(&mut self, name: &str, what: &str, expression: &str, why: &str) {
        if !self.uses_broken(expression) && !crate::report::has_errors(&self.problems) {
            let message = format!("has a mistake in its contract: {what}: {why}");
            self.problems.push(Problem::error(name, message).with_status(exit::TEMPLATE));
        }
    }

    fn require(&mut self, name: &str, variable: &Variable, instance: Option<&Instance>) {
        let holds = |condition: &String| self.expressions.holds(condition, &self.context_with(instance));
        let conditional = variable.required_if.as_ref().map(holds);
        let required = variable.required || conditional.is_some_and(|held| held.unwrap_or(false));
        if !required || self.broken.contains(&self.key_of_name(name)) {
            return;
        }
        let accepted = crate::contract::type_of(variable).map(|kind| kind.accepted()).unwrap_or_default();
        let hint = variable.hint.as_deref().map(|hint| format!(": {hint}")).unwrap_or_default();
        let file = if variable.takes_file() { format!(", or {name}_FILE with its path") } else { String::new() };
        let example = variable.example.as_deref().map(|example| format!(", for example {example}")).unwrap_or_default();
        self.problems
            .push(Problem::error(name, format!("is required{hint}")).accepted(format!("{accepted}{file}{example}")));
    }

    fn record(&mut self, name: &str, variable: &Variable, value: Option<(&ValueType, &Value)>, source: Source) {
        let shown = match value {
            Some(_) if variable.is_secret() => "‹redacted›".to_owned(),
            Some((value_type, value)) => value_type.show(value),
            None => String::new(),
        };
        if let (Some(export), Some((value_type, value))) = (&variable.export, value) {
            let exported = match export {
                Export::Same(true) => Some(name),
                Export::Same(false) => None,
                Export::As(other) => Some(other.as_str()),
            };
            let text = value_type.show(value);
            self.settings.inherited.extend(exported.map(|exported| (exported.into(), text.into())));
        }
        let key = self.key_of_name(name);
        self.settings.settings.push(Setting { name: name.into(), key, shown, source, secret: variable.is_secret() });
    }
}

/// The port of the health endpoints, which no listener of the service can have; none where they are off.
/// Where this program is; elsewhere, where an image has it.
fn own_program(starting: bool) -> String {
    let own = starting.then(|| std::env::current_exe().ok()).flatten();
    own.map_or_else(|| "/usr/local/bin/dl-entry".to_owned(), |path| path.display().to_string())
}

fn health_port(environment: &Environment) -> Option<u16> {
    let given = environment.get("DL_HEALTH_ADDR").filter(|text| !text.is_empty());
    let address = given.map_or(Some(dl_settings::HEALTH_ADDR), |text| text.to_str())?;
    address.rsplit_once(':')?.1.parse().ok()
}

/// The base of a percentage and the percentage, if the text is one and the variable accepts it.
fn percentage<'v, 't>(variable: &'v Variable, text: &'t str) -> Option<(&'v str, &'t str)> {
    let text = text.trim();
    variable.percent_of.as_deref().filter(|_| text.ends_with('%')).map(|whole| (whole, text))
}

#[cfg(test)]
pub(crate) mod tests;
