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
    let Passthrough { prefix, extra, literal, keys, .. } = passthrough;
    let starts = |prefix: &String| name.starts_with(prefix.as_str());
    starts(prefix)
        || name == extra
        || literal.iter().any(starts)
        || passthrough::key_of_native_name(keys, name).is_some()
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
mod tests {
    use super::*;

    pub(super) fn options() -> Options {
        Options {
            strict: false,
            allow_insecure: false,
            check_files: false,
            starting: false,
            secrets: SecretFiles { directory: None, must_exist: false },
            run_dir: "/run/dl".into(),
            arguments: vec![],
            container: Container {
                memory: 4 << 30,
                memory_limited: true,
                cpus: 2.0,
                hostname: "box".into(),
                address: "10.0.0.7".into(),
                uid: 1000,
                gid: 1000,
                architecture: "amd64".into(),
            },
        }
    }

    const CONTRACT: &str = r#"
        [service]
        name = "demo"
        summary = "A demonstration"
        prefixes = ["DEMO_"]
        command = ["/bin/demo"]

        [alias]
        OLD_LAKE_URI = "DEMO_CATALOG_LAKE_URI"

        [[env]]
        name = "DEMO_PORT"
        type = "port"
        default = 8080
        doc = "Port."

        [[env]]
        name = "DEMO_PASSWORD"
        type = "secret"
        min-length = 8
        required = true
        aliases = ["LEGACY_PASSWORD"]
        doc = "Password."

        [[env]]
        name = "DEMO_GRACE"
        type = "duration"
        doc = "Grace."

        [[env]]
        name = "DEMO_HEAP"
        type = "jvmsize"
        min = "64m"
        default = "{{ container.memory | fraction(of=0.5) | jvmsize }}"
        percent-of = "{{ container.memory }}"
        doc = "Heap."

        [[env]]
        name = "DEMO_PART"
        type = "bytes"
        percent-of = "{{ heap }}"
        doc = "Part of the heap."

        [[env]]
        name = "DEMO_CATALOGS_NAMED"
        type = "string"
        doc = "Catalogs there are."

        [[env]]
        name = "DEMO_PIN"
        type = "int"
        file = true
        doc = "Pin."

        [[env]]
        name = "DEMO_CACHE"
        type = "string"
        ignored = "the cache is gone since 2023"
        doc = "Cache."

        [[group]]
        name = "catalog"
        key = "catalogs"
        prefix = "DEMO_CATALOG_"
        passthrough = "properties"
        always = "{{ catalogs_named | default(value='') }}"
        doc = "Catalogs."
        [[group.env]]
        name = "URI"
        type = "url"
        schemes = ["http"]
        doc = "URI."
        [[group.env]]
        name = "NESSIE_URI"
        type = "url"
        schemes = ["http"]
        doc = "URI of Nessie."
        [[group.env]]
        name = "SECRET_KEY"
        type = "secret"
        doc = "Key."

        [[passthrough]]
        key = "config"
        prefix = "DEMO_CONFIG__"
        extra = "DEMO_CONFIG_EXTRA"
        doc = "Any key."

        [[let]]
        name = "double"
        type = "int"
        value = "{{ port * 2 }}"

        [[let]]
        name = "pin_again"
        type = "int"
        value = "{% if pin is defined %}{{ pin }}{% endif %}"

        [[check]]
        when = "pin_again"
        require = "pin_again < 1000"
        variables = ["DEMO_PIN"]
        message = "is too high"

        [[check]]
        require = "grace is not defined or grace != 9000"
        variables = ["DEMO_PORT", "DEMO_GRACE"]
        message = "do not go together"

        [[check]]
        when = "grace"
        require = "not pin"
        variables = ["DEMO_GRACE"]
        message = "needs no pin"

        [[check]]
        require = "port != 9000"
        variables = ["DEMO_PORT"]
        message = "is {{ port }}, which the console uses"
        accepted = "another port"
    "#;

    fn run(pairs: &[(&str, &str)], options: &Options) -> (Settings, Vec<String>) {
        let contract = Contract::from_toml(CONTRACT).unwrap();
        let (settings, problems) = load(&contract, &Environment::from_pairs(pairs.iter().copied()), options);
        let lines = problems.iter().map(|problem| {
            format!("{}: {} {}", crate::report::severity_name(problem.severity), problem.variable, problem.message)
        });
        (settings, lines.collect())
    }

    fn number(settings: &Settings, key: &str) -> Option<u64> {
        settings.context.get(key).and_then(tera::Value::as_u64)
    }

    const GOOD: (&str, &str) = ("DEMO_PASSWORD", "correct horse");

    #[test]
    fn defaults_derived_values_and_provenance_come_out() {
        let (settings, problems) = run(&[GOOD, ("DEMO_GRACE", "1h30m")], &options());
        assert_eq!(problems, [""; 0]);
        assert_eq!(number(&settings, "port"), Some(8080));
        assert_eq!(number(&settings, "double"), Some(16160));
        assert_eq!(number(&settings, "heap"), Some(2 << 30));
        assert_eq!(number(&settings, "grace"), Some(5_400_000));
        let password = settings.settings.iter().find(|setting| setting.name == "DEMO_PASSWORD").unwrap();
        assert_eq!((password.shown.as_str(), &password.source), ("‹redacted›", &Source::Environment));
        assert_eq!(settings.secrets, [("DEMO_PASSWORD".to_owned(), "correct horse".to_owned())]);
    }

    /// Behaviours: 85, 87.
    #[test]
    fn every_problem_is_reported_in_one_run() {
        let pairs = [
            ("DEMO_PORT", "99999"),
            ("DEMO_GRACE", "60"),
            ("DEMO_HEAP", "120%"),
            ("DEMO_CACHE", "x"),
            ("DEMO_PROT", "1"),
        ];
        let (_, problems) = run(&pairs, &options());
        assert_eq!(
            problems,
            [
                "error: DEMO_PORT is not a port",
                "error: DEMO_PASSWORD is required",
                "error: DEMO_GRACE is a duration without its unit",
                "error: DEMO_HEAP is not a percentage, 0% to 100%",
                "warning: DEMO_CACHE has no effect: the cache is gone since 2023",
                "warning: DEMO_PROT is not a variable of demo: did you mean DEMO_PORT?",
            ]
        );
    }

    #[test]
    fn a_percentage_is_held_to_the_bounds_of_its_size() {
        let (settings, problems) = run(&[GOOD, ("DEMO_HEAP", " 33.3 %")], &options());
        assert_eq!(problems, [""; 0]);
        assert_eq!(number(&settings, "heap"), Some(1363 << 20));
        for (text, why) in [
            ("1%", "amounts to 40m, outside the allowed range"),
            ("0%", "amounts to 0, outside the allowed range"),
            ("1e1%", "is not a percentage, 0% to 100%"),
            ("+10%", "is not a percentage, 0% to 100%"),
            ("%", "is not a percentage, 0% to 100%"),
        ] {
            assert_eq!(run(&[GOOD, ("DEMO_HEAP", text)], &options()).1, [format!("error: DEMO_HEAP {why}")]);
        }
    }

    #[test]
    fn a_percentage_of_what_is_wrong_is_not_a_second_problem() {
        let (settings, problems) = run(&[GOOD, ("DEMO_HEAP", "8"), ("DEMO_PART", "30%")], &options());
        assert_eq!(problems, ["error: DEMO_HEAP is a size without its unit"]);
        assert_eq!(number(&settings, "part"), None);
    }

    #[test]
    fn a_default_that_is_out_of_range_names_the_memory_it_is_a_part_of() {
        let mut small = options();
        small.container.memory = 100 << 20;
        let (_, problems) = run(&[GOOD], &small);
        let expected = "DEMO_HEAP is out of range: its default is a part of the container's memory limit, 100MiB";
        assert_eq!(problems, [format!("error: {expected}")]);
    }

    #[test]
    fn an_empty_variable_is_unset() {
        let (settings, problems) = run(&[GOOD, ("DEMO_PORT", ""), ("DEMO_PROT", "")], &options());
        assert_eq!(problems, [""; 0]);
        assert_eq!(number(&settings, "port"), Some(8080));
    }

    /// Behaviours: 87.
    #[test]
    fn old_names_are_used_with_a_notice_and_conflicts_are_errors() {
        let (_, problems) = run(&[("LEGACY_PASSWORD", "correct horse")], &options());
        assert_eq!(problems, ["notice: LEGACY_PASSWORD is an old or foreign name: taken as DEMO_PASSWORD"]);
        let (_, problems) = run(&[GOOD, ("LEGACY_PASSWORD", "another horse")], &options());
        let conflict = "error: LEGACY_PASSWORD, DEMO_PASSWORD are two names of one setting and have different values";
        assert_eq!(problems, [conflict]);
        let (_, problems) = run(&[GOOD, ("LEGACY_PASSWORD", GOOD.1)], &options());
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn known_and_short_secrets_are_errors_that_can_be_allowed() {
        for (bad, why) in [
            ("minioadmin", "is not a safe secret: it is a well-known default"),
            ("CHANGE_ME_SECURE_PASSWORD", "is not a safe secret: it is a placeholder"),
            ("prefix_$(openssl rand -hex 12)", "contains a reference that nothing expanded, ${…} or $(…)"),
            ("short", "is shorter than a secret must be"),
        ] {
            let (_, problems) = run(&[("DEMO_PASSWORD", bad)], &options());
            assert_eq!(problems, [format!("error: DEMO_PASSWORD {why}")]);
            let (_, problems) = run(&[("DEMO_PASSWORD", bad)], &Options { allow_insecure: true, ..options() });
            assert_eq!(problems, [format!("warning: DEMO_PASSWORD {why}")]);
        }
    }

    /// Behaviours: 82.
    #[test]
    fn a_secret_and_its_file_together_are_an_error() {
        let (_, problems) = run(&[GOOD, ("DEMO_PASSWORD_FILE", "/run/secrets/x")], &options());
        assert_eq!(problems, ["error: DEMO_PASSWORD, DEMO_PASSWORD_FILE are both set"]);
        let (settings, problems) = run(&[("DEMO_PASSWORD_FILE", "/run/secrets/x")], &options());
        assert_eq!(problems, [""; 0], "the file of another machine is taken to be there");
        assert_eq!(settings.settings[1].source, Source::File("/run/secrets/x".into()));
    }

    #[test]
    fn nothing_is_said_of_a_secret_that_is_on_another_machine() {
        let here = std::env::temp_dir().join(format!("dl-entry-settings-{}", std::process::id()));
        std::fs::write(&here, "changeme").unwrap();
        let (settings, problems) = run(&[("DEMO_PASSWORD_FILE", here.to_str().unwrap())], &options());
        std::fs::remove_file(&here).unwrap();
        assert_eq!(problems, [""; 0], "this machine's file is not that machine's");
        assert!(settings.context.get("password").unwrap().as_str().unwrap().starts_with("‹the content of /"));
        // A number, a rule about it and one about whether it is there.
        let (_, problems) = run(&[GOOD, ("DEMO_PIN_FILE", "/run/pin")], &options());
        assert_eq!(problems, [""; 0]);
        let (_, problems) = run(&[GOOD, ("DEMO_PIN", "4711")], &options());
        assert_eq!(problems, ["error: DEMO_PIN is too high"]);
        let (_, problems) = run(&[GOOD, ("DEMO_PIN_FILE", "/run/pin"), ("DEMO_GRACE", "1s")], &options());
        assert_eq!(problems, ["error: DEMO_GRACE needs no pin"]);
    }

    #[test]
    fn what_is_said_of_an_old_name_names_what_was_set() {
        let (_, problems) = run(&[("LEGACY_PASSWORD", GOOD.1), ("DEMO_PASSWORD_FILE", "/x")], &options());
        assert_eq!(problems[1..], ["error: LEGACY_PASSWORD, DEMO_PASSWORD_FILE are both set"]);
    }

    #[test]
    fn groups_are_found_by_their_longest_ending_and_by_old_names() {
        let pairs = [
            GOOD,
            ("DEMO_CATALOG_MY_LAKE_NESSIE_URI", "http://n"),
            ("DEMO_CATALOG_MY_LAKE__hive.key-x", "1"),
            ("DEMO_CATALOG_MY_LAKE__a_b__c", "2"),
            ("DEMO_CATALOG_MY_LAKE_SECRET_KEY_FILE", "/s"),
            ("OLD_LAKE_URI", "http://old"),
            ("DEMO_CATALOG_MY_LAKE_URL", "http://typo"),
        ];
        let (settings, problems) = run(&pairs, &options());
        assert_eq!(
            problems,
            [
                "notice: OLD_LAKE_URI is an old or foreign name: taken as DEMO_CATALOG_LAKE_URI",
                "warning: DEMO_CATALOG_MY_LAKE_URL is not a variable of demo and has no effect",
            ]
        );
        let catalogs = serde_json::to_value(settings.context.get("catalogs").unwrap()).unwrap();
        assert_eq!(catalogs[0]["name"], "lake");
        assert_eq!(catalogs[0]["uri"], "http://old");
        assert_eq!(catalogs[1]["name"], "my_lake");
        assert_eq!(catalogs[1]["nessie_uri"], "http://n");
        assert_eq!(catalogs[1]["properties"], serde_json::json!({"hive.key-x": "1", "a.b-c": "2"}));
        assert_eq!(catalogs[1]["secret_key"], "‹the content of /s›");
    }

    #[test]
    fn a_name_is_never_its_own_correction() {
        let (_, problems) = run(&[GOOD, ("DEMO_CATALOG__URI", "http://a")], &options());
        assert_eq!(problems, ["warning: DEMO_CATALOG__URI is not a variable of demo and has no effect"]);
    }

    #[test]
    fn a_rule_says_where_the_values_came_from() {
        let contract = Contract::from_toml(CONTRACT).unwrap();
        let sources = |pairs: &[(&str, &str)]| {
            let (_, problems) = load(&contract, &Environment::from_pairs(pairs.iter().copied()), &options());
            problems.into_iter().map(|problem| problem.source).collect::<Vec<_>>()
        };
        assert_eq!(sources(&[GOOD, ("DEMO_PORT", "9000")]), [Some("environment".to_owned())]);
        let sum = [GOOD, ("DEMO_PORT", "9001"), ("DEMO_GRACE", "9s")];
        assert_eq!(sources(&sum), [Some("environment".to_owned())]);
        let with_default = [GOOD, ("DEMO_GRACE", "9s")];
        assert_eq!(sources(&with_default), [Some("default (DEMO_PORT), environment (DEMO_GRACE)".to_owned())]);
    }

    #[test]
    fn two_spellings_of_one_item_are_an_error() {
        let pairs = [GOOD, ("DEMO_CATALOG_LAKE_URI", "http://a"), ("DEMO_CATALOG_lake_URI", "http://b")];
        let (settings, problems) = run(&pairs, &options());
        assert_eq!(problems, ["error: DEMO_CATALOG_lake_URI spells lake in another way than DEMO_CATALOG_LAKE_…"]);
        let catalogs = serde_json::to_value(settings.context.get("catalogs").unwrap()).unwrap();
        assert_eq!(catalogs.as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_declared_item_is_spelt_as_its_variables_spell_it() {
        let items = |pairs: &[(&str, &str)]| {
            let (settings, problems) = run(&[&[GOOD], pairs].concat(), &options());
            assert_eq!(problems, [""; 0]);
            let catalogs = serde_json::to_value(settings.context.get("catalogs").unwrap()).unwrap();
            let text = |catalog: &serde_json::Value, key: &str| catalog[key].as_str().unwrap_or("-").to_owned();
            let catalogs = catalogs.as_array().unwrap().iter();
            catalogs.map(|one| ["name", "spelling", "uri"].map(|key| text(one, key)).join(" ")).collect::<Vec<_>>()
        };
        let named = |names| ("DEMO_CATALOGS_NAMED", names);
        assert_eq!(items(&[named("my-cat")]), ["my-cat MY_CAT -"]);
        assert_eq!(items(&[named("my-cat"), ("DEMO_CATALOG_MY_CAT_URI", "http://a")]), ["my-cat MY_CAT http://a"]);
        assert_eq!(items(&[("DEMO_CATALOG_MY-CAT_URI", "http://a")]), ["my-cat MY-CAT http://a"]);
        assert_eq!(items(&[named("sales"), ("DEMO_CATALOG_sales_URI", "http://a")]), ["sales sales http://a"]);
        assert_eq!(items(&[named("a-b,a_b"), ("DEMO_CATALOG_A_B_URI", "http://a")]), ["a-b A-B -", "a_b A_B http://a"]);
        assert_eq!(items(&[named("a-b, a_b")]), ["a-b A-B -", "a_b A_B -"]);
    }

    #[test]
    fn passthrough_keys_follow_one_rule_and_extra_lines_join_them() {
        let pairs = [GOOD, ("DEMO_CONFIG__a_b", "1"), ("DEMO_CONFIG_EXTRA", "# x\nc.d-e=2\n")];
        let (settings, problems) = run(&pairs, &options());
        assert_eq!(problems, [""; 0]);
        let config = serde_json::to_value(settings.context.get("config").unwrap()).unwrap();
        assert_eq!(config, serde_json::json!({"a.b": "1", "c.d-e": "2"}));
    }

    #[test]
    fn a_passthrough_key_in_two_places_is_an_error_unless_they_agree() {
        let both = |one, other| {
            run(
                &[GOOD, ("DEMO_CONFIG__a__b", one), ("DEMO_CONFIG__a-b", other), ("DEMO_CONFIG_EXTRA", "c=1")],
                &options(),
            )
        };
        let (_, problems) = both("1h", "2h");
        assert_eq!(problems, ["error: DEMO_CONFIG__a__b sets a-b, which DEMO_CONFIG__a-b sets differently"]);
        let (settings, problems) = both("1h", "1h");
        assert_eq!(problems, [""; 0]);
        assert_eq!(settings.additions["config"]["c"].variable, "DEMO_CONFIG_EXTRA");
        let pairs = [GOOD, ("DEMO_CONFIG__a.b", "1"), ("DEMO_CONFIG_EXTRA", "a.b=2")];
        let (_, problems) = run(&pairs, &options());
        assert_eq!(problems, ["error: DEMO_CONFIG_EXTRA sets a.b, which DEMO_CONFIG__a.b sets differently"]);
    }

    #[test]
    fn a_passthrough_key_named_like_a_secret_is_never_shown() {
        let pairs = [GOOD, ("DEMO_CONFIG__mail.password", "hunter22"), ("DEMO_CONFIG_EXTRA", "x.token=abcdefgh")];
        let (settings, _) = run(&pairs, &options());
        let shown = settings.settings.iter().find(|setting| setting.key == "mail.password").unwrap();
        assert_eq!((shown.shown.as_str(), shown.secret), ("‹redacted›", true));
        for secret in [("DEMO_CONFIG__mail.password", "hunter22"), ("DEMO_CONFIG_EXTRA", "abcdefgh")] {
            let secret = (secret.0.to_owned(), secret.1.to_owned());
            assert!(settings.secrets.contains(&secret), "{secret:?}");
        }
    }

    #[test]
    fn a_secret_too_short_to_be_found_is_an_error_and_shown_nowhere() {
        let short = ["DEMO_CATALOG_LAKE_SECRET_KEY", "DEMO_CONFIG__mail.password", "DEMO_CONFIG__user"];
        let pairs = [&[GOOD][..], &short.map(|name| (name, "abc"))].concat();
        let wrong = |severity: &str| {
            [short[0], short[1]].map(|name| format!("{severity}: {name} is shorter than a secret must be"))
        };
        let (_, problems) = run(&pairs, &options());
        assert_eq!(problems, wrong("error"));
        let (settings, problems) = run(&pairs, &Options { allow_insecure: true, ..options() });
        assert_eq!(problems, wrong("warning"));
        assert!(settings.settings.iter().all(|setting| setting.shown != "abc"), "{:?}", settings.settings);
        let (_, problems) =
            run(&[GOOD, ("DEMO_CATALOG_LAKE_SECRET_KEY", ""), ("DEMO_CONFIG__x.token", "30")], &options());
        assert_eq!(problems, [""; 0]);
    }

    #[test]
    fn a_secret_inside_a_value_is_kept_wherever_the_value_came_from() {
        let arguments = vec!["-Dkey.storePassword=hunter11".to_owned()];
        let pairs = [
            GOOD,
            ("DEMO_CATALOG_LAKE_URI", "http://u:hunter22@lake"),
            ("DEMO_CONFIG__url", "jdbc:x://y?password=hunter33"),
            ("DEMO_CONFIG_EXTRA", "a.url=mongodb://u:hunter44@h/"),
            ("ELSEWHERE", "http://u:hunter55@h/"),
            ("SOME_TOKEN", "hunter66"),
        ];
        let (settings, _) = run(&pairs, &Options { arguments, ..options() });
        for secret in ["hunter11", "hunter22", "hunter33", "hunter44", "hunter55", "hunter66"] {
            assert!(settings.secrets.iter().any(|(_, kept)| kept == secret), "{secret} {:?}", settings.secrets);
        }
        assert!(!settings.secrets.iter().any(|(name, _)| name == "PWD"));
    }

    #[test]
    fn a_rule_across_variables_is_checked_and_silent_when_its_variable_is_wrong() {
        let (_, problems) = run(&[GOOD, ("DEMO_PORT", "9000")], &options());
        assert_eq!(problems, ["error: DEMO_PORT is 9000, which the console uses"]);
    }

    #[test]
    fn unknown_variables_are_errors_where_strict_and_others_pass_through() {
        let (_, problems) = run(&[GOOD, ("DEMO_PROT", "1")], &Options { strict: true, ..options() });
        assert_eq!(problems, ["error: DEMO_PROT is not a variable of demo: did you mean DEMO_PORT?"]);
        let (settings, _) = run(&[GOOD, ("HOME_TOWN", "x"), ("DL_LOG_LEVEL", "debug")], &options());
        assert_eq!(settings.inherited, [(OsString::from("HOME_TOWN"), OsString::from("x"))]);
        // Of the service's own names an empty one is dropped; what others make of theirs is not known.
        let (settings, problems) = run(&[GOOD, ("DEMO_WHATEVER", ""), ("OTHER", "")], &options());
        assert_eq!(problems, [""; 0]);
        assert_eq!(settings.inherited, [(OsString::from("OTHER"), OsString::new())]);
    }

    /// Behaviours: 48.
    #[test]
    fn a_variable_that_is_not_text_is_an_error_only_where_it_is_needed() {
        use std::os::unix::ffi::OsStringExt;
        let contract = Contract::from_toml(CONTRACT).unwrap();
        let bytes = || OsString::from_vec(vec![0xff]);
        let pairs = [(OsString::from("DEMO_PASSWORD"), bytes()), (OsString::from("OTHER"), bytes())];
        let (settings, problems) = load(&contract, &Environment::from_pairs(pairs), &options());
        assert_eq!(problems[0].to_string(), "DEMO_PASSWORD is not UTF-8 text\n     from: environment");
        assert_eq!(problems.len(), 1, "{problems:?}");
        let beside = [(OsString::from("DEMO_PASSWORD"), bytes()), ("LEGACY_PASSWORD".into(), GOOD.1.into())];
        let (_, problems) = load(&contract, &Environment::from_pairs(beside), &options());
        assert_eq!(problems[0].to_string(), "DEMO_PASSWORD is not UTF-8 text\n     from: environment");
        assert_eq!(problems.len(), 1, "{problems:?}");
        let old = [(OsString::from("LEGACY_PASSWORD"), bytes())];
        let (_, problems) = load(&contract, &Environment::from_pairs(old), &options());
        assert_eq!(problems[0].to_string(), "LEGACY_PASSWORD is not UTF-8 text\n     from: environment");
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(settings.inherited, [(OsString::from("OTHER"), bytes())]);
    }
}
