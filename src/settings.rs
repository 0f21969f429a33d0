//! Contract + environment → settings: every variable resolved, typed and traced to where it came from.
//!
//! Collects every problem and stops at none. Nothing here reads a file but the secret files the contract allows, and
//! nothing is decided about what to run: that is `compose`.

mod groups;
mod passthrough;
mod rules;
mod secrets;
mod sources;
mod undeclared;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use tera::Context;

use self::groups::Instance;
pub use self::passthrough::{Addition, Additions};
use self::sources::Raw;
use crate::container::Container;
use crate::contract::{Contract, Export, Variable};
use crate::env::{Environment, SecretFiles};
use crate::exit;
use crate::expression::Expressions;
use crate::report::Problem;
use crate::value::{Value, ValueType};

/// How strictly, and with what at hand.
#[derive(Debug, Clone)]
pub struct Options {
    /// Unknown variables of the service are errors.
    pub strict: bool,
    /// Well-known and short secrets, and checks marked `insecure`, are warnings.
    pub allow_insecure: bool,
    /// Whether paths and secret files are looked at: not when the environment belongs to another machine.
    pub check_files: bool,
    pub secrets: SecretFiles,
    /// `/run/dl` or its fallback.
    pub run_dir: PathBuf,
    /// What the operator put after the command.
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
    /// What expressions and templates see.
    pub context: Context,
    /// Keys the operator added, by the passthrough they are from: `config`, or `catalog.lake.properties`.
    pub additions: BTreeMap<String, Additions>,
    /// Name and value of every secret, for redaction.
    pub secrets: Vec<(String, String)>,
    /// What the service's environment starts from: undeclared variables and exported ones.
    pub inherited: Vec<(OsString, OsString)>,
}

/// Resolves the whole environment against the contract.
pub fn load(contract: &Contract, environment: &Environment, options: &Options) -> (Settings, Vec<Problem>) {
    let mut environment = environment.clone();
    let links = environment.drop_service_links();
    let mut loader = Loader::new(contract, environment, options);
    loader.report_links(&links);
    loader.rename_aliases();
    loader.read_variables();
    loader.read_passthroughs();
    loader.read_groups();
    loader.work_out_derived();
    loader.check_rules();
    loader.report_unknown();
    loader.inherit();
    (loader.settings, loader.problems)
}

struct Loader<'a> {
    contract: &'a Contract,
    options: &'a Options,
    environment: Environment,
    /// Canonical name → the old name whose value it takes.
    renamed: BTreeMap<String, String>,
    expressions: Expressions,
    settings: Settings,
    problems: Vec<Problem>,
    /// Every environment name the contract accounts for.
    known: BTreeSet<String>,
    /// Keys without a value because theirs was wrong: what depends on them is not reported again.
    broken: BTreeSet<String>,
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
        context.insert("container", &options.container.to_json());
        let settings =
            Settings { settings: vec![], context, additions: BTreeMap::new(), secrets: vec![], inherited: vec![] };
        Loader {
            contract,
            options,
            environment,
            renamed: BTreeMap::new(),
            expressions: Expressions::default(),
            settings,
            problems: vec![],
            known: BTreeSet::new(),
            broken: BTreeSet::new(),
        }
    }

    fn read_variables(&mut self) {
        for variable in &self.contract.variables {
            let key = self.contract.key_of(variable);
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
        let value_type = match ValueType::of(variable) {
            Ok(value_type) => value_type,
            Err(why) => {
                self.problems.push(Problem::error(name, format!("is declared wrongly: {why}")));
                return None;
            }
        };
        if variable.is_secret() && !raw.text.is_empty() {
            self.settings.secrets.push((name.to_owned(), raw.text.clone()));
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
                let problem = Problem::error(name, what).accepted(accepted).from_source(raw.source.to_string());
                self.problems.push(problem);
                self.record(name, variable, None, raw.source);
                None
            }
        }
    }

    fn typed(&self, variable: &Variable, kind: &ValueType, text: &str) -> Result<Value, (String, String)> {
        if let (Some(whole), Some(percent)) = (&variable.percent_of, text.trim().strip_suffix('%')) {
            let reject = |what: &str| (what.to_owned(), format!("{}, or a percentage", kind.accepted()));
            let percent: f64 = percent.trim().parse().map_err(|_| reject("is not a percentage"))?;
            let whole = self.expressions.text(whole, &self.settings.context).map_err(|why| reject(&why))?;
            let whole: f64 = whole.trim().parse().map_err(|_| reject("is a percentage of something unknown"))?;
            if !(0.0..=100.0).contains(&percent) {
                return Err(reject("is not between 0% and 100%"));
            }
            return Ok(Value::Size((whole * percent / 100.0) as u64));
        }
        let either = |accepted: String| match variable.percent_of {
            Some(_) => format!("{accepted}, or a percentage"),
            None => accepted,
        };
        kind.parse(text).map_err(|rejection| (rejection.what, either(rejection.accepted)))
    }

    fn default(&mut self, name: &str, variable: &Variable, instance: Option<&Instance>) -> Option<Raw> {
        let expression = &variable.default.as_ref()?.0;
        let text = self.expressions.text(expression, &self.context_with(instance));
        match text {
            Ok(text) if text.is_empty() => None,
            Ok(text) => Some(Raw { text, source: Source::Default }),
            Err(why) => {
                self.report_expression(name, "the default", expression, &why);
                None
            }
        }
    }

    /// An expression that failed because of a variable already reported is not a second problem.
    pub(super) fn report_expression(&mut self, name: &str, what: &str, expression: &str, why: &str) {
        let words = Expressions::default().variables(expression).unwrap_or_default();
        if !words.iter().any(|word| self.broken.contains(word)) && !crate::report::has_errors(&self.problems) {
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
        let accepted = ValueType::of(variable).map(|kind| kind.accepted()).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            strict: false,
            allow_insecure: false,
            check_files: false,
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
        default = "{{ container.memory | fraction(of=0.5) | jvmsize }}"
        percent-of = "{{ container.memory }}"
        doc = "Heap."

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
                "error: DEMO_HEAP is not between 0% and 100%",
                "warning: DEMO_CACHE has no effect: the cache is gone since 2023",
                "warning: DEMO_PROT is not a variable of demo: did you mean DEMO_PORT?",
            ]
        );
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
            ("minioadmin", "is no secret: it is a well-known default"),
            ("CHANGE_ME_SECURE_PASSWORD", "is no secret: it is a placeholder"),
            ("prefix_$(openssl rand -hex 12)", "is no secret: it is a shell expression that nothing expanded"),
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
        assert_eq!(settings.inherited, [(OsString::from("OTHER"), bytes())]);
    }
}
