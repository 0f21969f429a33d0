//! Contract + environment → settings: every variable resolved, typed and traced to where it came from.
//!
//! Collects every problem and stops at none. Nothing here reads a file but the secret files the contract allows, and
//! nothing is decided about what to run: that is `compose`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;

use tera::Context;

use crate::container::Container;
use crate::contract::{Check, CheckSeverity, Contract, Derived, Export, Group, Passthrough, Variable};
use crate::env::{Environment, SecretFiles};
use crate::exit;
use crate::expression::{Expressions, each_parts};
use crate::report::Problem;
use crate::value::{Exists, Value, ValueType};

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

/// A raw text and its provenance.
struct Raw {
    text: String,
    source: Source,
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
        let settings = Settings { settings: vec![], context, secrets: vec![], inherited: vec![] };
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

    fn report_links(&mut self, links: &[String]) {
        if let Some(first) = links.first() {
            let others = if links.len() > 1 { format!(" and {} more", links.len() - 1) } else { String::new() };
            self.problems.push(Problem::notice(
                format!("{first}{others}"),
                "dropped: Kubernetes service links, not settings (enableServiceLinks: false turns them off)",
            ));
        }
    }

    /// Text of a variable that is set and not empty; a name that is not UTF-8 in value is an error, as it is needed.
    fn text_of(&mut self, name: &str, keep_empty: bool) -> Option<String> {
        self.known.insert(name.to_owned());
        let value = self.environment.get(name)?;
        let Some(text) = value.to_str() else {
            self.problems.push(Problem::error(name, "is not UTF-8 text").from_source("environment"));
            return None;
        };
        (keep_empty || !text.is_empty()).then(|| text.to_owned())
    }

    // --- old names --------------------------------------------------------------------------------------------

    fn rename_aliases(&mut self) {
        let contract = self.contract;
        let declared = contract.variables.iter().flat_map(|variable| {
            variable.aliases.iter().map(move |alias| (alias.as_str(), variable.name.as_str(), variable.takes_file()))
        });
        let of_groups = contract.alias.iter().map(|(old, new)| (old.as_str(), new.as_str(), self.takes_file(new)));
        let aliases: Vec<(String, String, bool)> =
            declared.chain(of_groups).map(|(old, new, file)| (old.to_owned(), new.to_owned(), file)).collect();
        for (old, new, takes_file) in aliases {
            self.rename(&old, &new);
            if takes_file {
                self.rename(&format!("{old}_FILE"), &format!("{new}_FILE"));
            }
        }
    }

    fn takes_file(&self, full_name: &str) -> bool {
        let plain = self.contract.variables.iter().find(|variable| variable.name == full_name);
        let grouped = self.contract.groups.iter().find_map(|group| split_group_name(group, full_name).map(|(_, v)| v));
        plain.or(grouped).is_some_and(Variable::takes_file)
    }

    fn rename(&mut self, old: &str, new: &str) {
        let Some(value) = self.text_of(old, false) else { return };
        let current = self.renamed.get(new).cloned();
        let beside = current.as_deref().unwrap_or(new);
        match self.environment.get(beside).and_then(|text| text.to_str()).filter(|text| !text.is_empty()) {
            None => {
                self.problems.push(Problem::notice(old, format!("is an old or foreign name: taken as {new}")));
                self.renamed.insert(new.to_owned(), old.to_owned());
            }
            Some(text) if text == value => {}
            Some(_) => self.problems.push(
                Problem::error(format!("{old}, {beside}"), "are two names of one setting and have different values")
                    .accepted(format!("{new} alone"))
                    .from_source("environment"),
            ),
        }
    }

    // --- raw texts ----------------------------------------------------------------------------------------------

    /// The text of a variable, from the environment, its `_FILE` or `/run/secrets`.
    fn raw(&mut self, name: &str, variable: &Variable) -> Option<Raw> {
        let origin = self.renamed.get(name).cloned();
        let direct = self.text_of(origin.as_deref().unwrap_or(name), variable.keep_empty);
        self.known.insert(name.to_owned());
        let source = origin.clone().map_or(Source::Environment, Source::Alias);
        if !variable.takes_file() {
            return direct.map(|text| Raw { text, source });
        }
        let file_variable = format!("{name}_FILE");
        let file_origin = self.renamed.get(&file_variable).cloned().unwrap_or_else(|| file_variable.clone());
        let named = self.text_of(&file_origin, false);
        self.known.insert(file_variable);
        match (direct, named) {
            (Some(_), Some(_)) => {
                let both = Problem::error(format!("{name}, {file_origin}"), "are both set").accepted("one of the two");
                self.problems.push(both.from_source("environment"));
                self.broken.insert(self.key_of_name(name));
                None
            }
            (Some(text), None) => Some(Raw { text, source }),
            (None, Some(path)) => {
                let path = self.options.secrets.named(&path);
                self.secret_file(name, &file_origin, path, variable.is_secret())
            }
            (None, None) => {
                let path = self.options.secrets.path_for(name)?;
                self.secret_file(name, name, path, variable.is_secret())
            }
        }
    }

    fn secret_file(&mut self, name: &str, variable: &str, path: PathBuf, secret: bool) -> Option<Raw> {
        if !self.options.secrets.must_exist && !path.exists() {
            // Said in a form no check of length or spelling can object to.
            return Some(Raw { text: format!("‹the content of {}›", path.display()), source: Source::File(path) });
        }
        match self.options.secrets.read(&path) {
            Ok(content) => {
                if secret && content.world_readable {
                    let message = format!("is read from {}, which every user can read: chmod o-r it", path.display());
                    self.problems.push(Problem::warning(variable, message));
                }
                Some(Raw { text: content.text, source: Source::File(path) })
            }
            Err(why) => {
                let message = format!("names {}, which {why}", path.display());
                let problem = Problem::error(variable, message)
                    .accepted("a readable file of at most 1 MiB of text, its one newline at the end left out")
                    .with_status(exit::SECRET_FILE);
                self.problems.push(problem);
                self.broken.insert(self.key_of_name(name));
                None
            }
        }
    }

    fn key_of_name(&self, name: &str) -> String {
        let variable = self.contract.variables.iter().find(|variable| variable.name == name);
        variable.map_or_else(|| name.to_lowercase(), |variable| self.contract.key_of(variable))
    }

    // --- variables ----------------------------------------------------------------------------------------------

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
    fn resolve(&mut self, name: &str, variable: &Variable, instance: Option<&Instance>) -> Option<Value> {
        let raw = self.raw(name, variable);
        if let Some(reason) = &variable.ignored {
            if let Some(raw) = raw {
                self.record(name, variable, None, raw.source);
                self.problems.push(Problem::warning(name, format!("has no effect: {reason}")));
            }
            return None;
        }
        let value_type = match ValueType::of(variable) {
            Ok(value_type) => value_type,
            Err(why) => {
                self.problems.push(Problem::error(name, format!("is declared wrongly: {why}")));
                return None;
            }
        };
        let given = raw.is_some();
        let raw = raw.or_else(|| self.default(name, variable, instance));
        let Some(raw) = raw else {
            self.require(name, variable, instance);
            self.record(name, variable, None, Source::Unset);
            return None;
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
        let context = self.context_with(instance);
        match self.expressions.text(expression, &context) {
            Ok(text) if text.is_empty() => None,
            Ok(text) => Some(Raw { text, source: Source::Default }),
            Err(why) => {
                self.report_expression(name, "the default", expression, &why);
                None
            }
        }
    }

    /// An expression that failed because of a variable already reported is not a second problem.
    fn report_expression(&mut self, name: &str, what: &str, expression: &str, why: &str) {
        let words = Expressions::variables(expression).unwrap_or_default();
        if !words.iter().any(|word| self.broken.contains(word)) && !crate::report::has_errors(&self.problems) {
            let message = format!("has a mistake in its contract: {what}: {why}");
            self.problems.push(Problem::error(name, message).with_status(exit::TEMPLATE));
        }
    }

    fn require(&mut self, name: &str, variable: &Variable, instance: Option<&Instance>) {
        let context = self.context_with(instance);
        let conditional = variable.required_if.as_ref().map(|condition| self.expressions.holds(condition, &context));
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

    // --- secrets and paths --------------------------------------------------------------------------------------

    fn examine_secret(&mut self, name: &str, variable: &Variable, value_type: &ValueType, raw: &Raw) {
        if !variable.is_secret() {
            return;
        }
        let minimum = match value_type {
            ValueType::Secret { min_length } => *min_length,
            _ => 1,
        };
        let short = raw.text.chars().count() < minimum;
        let what = if short {
            Some("is shorter than a secret must be".to_owned())
        } else {
            placeholder(&raw.text, &variable.well_known).map(|why| format!("is no secret: {why}"))
        };
        let Some(what) = what else { return };
        let accepted = format!("{} of your own; DL_ALLOW_INSECURE=1 lets this one pass", value_type.accepted());
        self.push_insecure(Problem::error(name, what).accepted(accepted).from_source(raw.source.to_string()));
    }

    fn push_insecure(&mut self, mut problem: Problem) {
        if self.options.allow_insecure {
            problem.severity = crate::report::Severity::Warning;
        }
        self.problems.push(problem);
    }

    fn examine_path(&mut self, name: &str, value_type: &ValueType, raw: &Raw) {
        let ValueType::Path { exists } = value_type else { return };
        if !self.options.check_files || *exists == Exists::Unchecked {
            return;
        }
        if let Err(why) = look_at(raw.text.trim(), *exists) {
            let message = format!("names {}, which {why}", raw.text.trim());
            let problem = Problem::error(name, message).accepted(value_type.accepted());
            self.problems.push(problem.from_source(raw.source.to_string()));
        }
    }

    // --- groups -------------------------------------------------------------------------------------------------

    fn read_groups(&mut self) {
        for group in &self.contract.groups {
            let names = self.instance_names(group);
            let mut items = Vec::new();
            for name in names {
                items.push(self.read_instance(group, &name));
            }
            self.settings.context.insert(group.key.clone(), &items);
        }
    }

    fn instance_names(&mut self, group: &Group) -> BTreeSet<String> {
        let renamed = self.renamed.keys().map(String::as_str);
        let candidates: Vec<String> = self.environment.names().chain(renamed).map(str::to_owned).collect();
        let mut names = BTreeSet::new();
        for full_name in candidates {
            let set = self.environment.get(&full_name).is_none_or(|text| !text.is_empty());
            if let Some((instance, _)) = split_group_name(group, &full_name) {
                self.known.insert(full_name.clone());
                names.extend(set.then(|| instance.to_owned()));
            } else if let Some((instance, _)) = split_group_passthrough(group, &full_name) {
                self.known.insert(full_name.clone());
                names.extend(set.then(|| instance.to_owned()));
            }
        }
        if let Some(always) = &group.always {
            match self.expressions.text(always, &self.settings.context) {
                Ok(text) => {
                    names.extend(text.split(',').map(|name| name.trim().to_uppercase()).filter(|n| !n.is_empty()))
                }
                Err(why) => self.report_expression(&group.name, "`always`", always, &why),
            }
        }
        names
    }

    fn read_instance(&mut self, group: &Group, name: &str) -> tera::Value {
        let mut instance = Instance { item: group.name.clone(), values: BTreeMap::new() };
        instance.values.insert("name".into(), tera::Value::normal_string(&name.to_lowercase()));
        for variable in &group.variables {
            let full_name = format!("{}{name}_{}", group.prefix, variable.name);
            if let Some(value) = self.resolve(&full_name, variable, Some(&instance)) {
                instance.values.insert(Group::key_of(variable), value.to_tera());
            }
        }
        if let Some(key) = &group.passthrough {
            let prefix = format!("{}{name}__", group.prefix);
            let extra = format!("{}{name}_EXTRA", group.prefix);
            let map = self.passthrough_map(&prefix, &extra);
            instance.values.insert(key.clone(), tera::Value::from_serializable(&map));
        }
        tera::Value::from_serializable(&instance.values)
    }

    fn context_with(&self, instance: Option<&Instance>) -> Context {
        let mut context = self.settings.context.clone();
        if let Some(instance) = instance {
            context.insert(instance.item.clone(), &instance.values);
        }
        context
    }

    // --- passthrough --------------------------------------------------------------------------------------------

    fn read_passthroughs(&mut self) {
        for Passthrough { key, prefix, extra, literal, keys, .. } in &self.contract.passthrough {
            let mut map = self.passthrough_map(prefix, extra);
            self.read_native_names(literal, keys, &mut map);
            self.settings.context.insert(key.clone(), &map);
        }
    }

    /// Variables nobody declared whose names are the service's own names of its keys.
    fn read_native_names(&mut self, literal: &[String], keys: &[String], map: &mut BTreeMap<String, String>) {
        let undeclared = self.environment.names().filter(|name| !self.known.contains(*name));
        let named = undeclared.filter_map(|name| {
            let as_it_is = literal.iter().any(|prefix| name.starts_with(prefix.as_str()));
            let key = if as_it_is { Some(name.to_owned()) } else { key_of_native_name(keys, name) };
            key.map(|key| (name.to_owned(), key))
        });
        for (name, key) in named.collect::<Vec<_>>() {
            let Some(value) = self.text_of(&name, false) else { continue };
            if map.get(&key).is_some_and(|earlier| *earlier != value) {
                let problem = Problem::error(&name, format!("sets {key}, which another variable sets differently"));
                self.problems.push(problem.accepted("the key in one place").from_source("environment"));
            }
            self.record_entry(name, &key, &value);
            map.insert(key, value);
        }
    }

    /// `PREFIX<key>=value` variables and the lines of the extra block, by key.
    fn passthrough_map(&mut self, prefix: &str, extra: &str) -> BTreeMap<String, String> {
        let names: Vec<String> =
            self.environment.names().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect();
        let mut map = BTreeMap::new();
        for name in names {
            let key = passthrough_key(&name[prefix.len()..]);
            let Some(value) = self.text_of(&name, false) else { continue };
            if key.is_empty() {
                self.problems.push(Problem::error(&name, "names no key").accepted(format!("{prefix}<key>")));
                continue;
            }
            self.record_entry(name, &key, &value);
            map.insert(key, value);
        }
        self.read_extra(extra, &mut map);
        map
    }

    /// Keeps one entry of a passthrough. No contract says which of them are secrets; their names do.
    fn record_entry(&mut self, name: String, key: &str, value: &str) {
        let secret = names_a_secret(key);
        if secret {
            self.settings.secrets.push((name.clone(), value.to_owned()));
        }
        let shown = if secret { "‹redacted›" } else { value }.to_owned();
        self.settings.settings.push(Setting { shown, key: key.to_owned(), name, source: Source::Environment, secret });
    }

    fn read_extra(&mut self, extra: &str, map: &mut BTreeMap<String, String>) {
        let Some(text) = self.text_of(extra, false) else { return };
        let lines = match ValueType::Properties.parse(&text) {
            Ok(Value::Map(lines)) => lines,
            Ok(_) => return,
            Err(why) => {
                self.problems.push(Problem::error(extra, why.what).accepted(why.accepted).from_source("environment"));
                return;
            }
        };
        for (key, value) in lines {
            if map.get(&key).is_some_and(|earlier| *earlier != value) {
                let message = format!("sets {key}, which a variable of its own sets differently");
                self.problems.push(Problem::error(extra, message).accepted("the key in one of the two places"));
            }
            if names_a_secret(&key) {
                self.settings.secrets.push((extra.to_owned(), value.clone()));
            }
            map.insert(key, value);
        }
        let shown = format!("{} lines", text.lines().count());
        self.settings.settings.push(Setting {
            name: extra.into(),
            key: extra.to_lowercase(),
            shown,
            source: Source::Environment,
            secret: false,
        });
    }

    // --- derived values and rules -------------------------------------------------------------------------------

    fn work_out_derived(&mut self) {
        for derived in &self.contract.derived {
            match self.derive(derived) {
                Ok(Some(value)) => self.settings.context.insert_value(derived.name.clone(), value.to_tera()),
                Ok(None) => {}
                Err(why) => {
                    self.report_expression(&derived.name, "its value", &derived.value, &why);
                    self.broken.insert(derived.name.clone());
                }
            }
        }
    }

    fn derive(&mut self, derived: &Derived) -> Result<Option<Value>, String> {
        let text = self.expressions.text(&derived.value, &self.settings.context)?;
        if text.is_empty() {
            return Ok(None);
        }
        if derived.secret {
            self.settings.secrets.push((derived.name.clone(), text.clone()));
        }
        let Some(kind) = &derived.kind else { return Ok(Some(Value::Text(text))) };
        parse_derived(kind, &text).map(Some)
    }

    fn check_rules(&mut self) {
        for check in &self.contract.checks {
            let Some(each) = check.each.as_deref().and_then(each_parts) else {
                let context = self.settings.context.clone();
                self.check_rule(check, &context);
                continue;
            };
            let (item, list) = each;
            let items = Expressions::lookup(&self.settings.context, list);
            for value in items.as_ref().and_then(|items| items.as_array()).unwrap_or(&[]) {
                let mut context = self.settings.context.clone();
                context.insert_value(item.to_owned(), value.clone());
                self.check_rule(check, &context);
            }
        }
    }

    fn check_rule(&mut self, check: &Check, context: &Context) {
        let applies = check.when.as_ref().map_or(Ok(true), |when| self.expressions.holds(when, context));
        let held = match applies {
            Ok(true) => self.expressions.holds(&check.require, context),
            other => other.map(|_| true),
        };
        match held {
            Ok(true) => {}
            Ok(false) if self.depends_on_broken(&check.require) => {}
            Ok(false) => self.report_rule(check, context),
            Err(why) => self.report_expression(&check.variables.join(", "), "a rule", &check.require, &why),
        }
    }

    fn depends_on_broken(&self, condition: &str) -> bool {
        let template = crate::expression::condition_template(condition);
        Expressions::variables(&template).unwrap_or_default().iter().any(|name| self.broken.contains(name))
    }

    fn report_rule(&mut self, check: &Check, context: &Context) {
        let text = |expression: &String| self.expressions.text(expression, context).unwrap_or_else(|why| why);
        let variables = check.variables.iter().map(text).collect::<Vec<_>>().join(", ");
        let accepted = check.accepted.as_ref().map(text).unwrap_or_default();
        let message = text(&check.message);
        match check.severity {
            CheckSeverity::Error => self.problems.push(Problem::error(variables, message).accepted(accepted)),
            CheckSeverity::Warning => self.problems.push(Problem::warning(variables, message).accepted(accepted)),
            CheckSeverity::Insecure => self.push_insecure(
                Problem::error(variables, message).accepted(format!("{accepted}; DL_ALLOW_INSECURE=1 lets this pass")),
            ),
        }
    }

    // --- what nobody knows --------------------------------------------------------------------------------------

    /// Has one of the service's prefixes.
    fn is_ours(&self, name: &str) -> bool {
        self.contract.service.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }

    fn report_unknown(&mut self) {
        let names: Vec<String> = self.environment.names().map(str::to_owned).collect();
        for name in names {
            let ours = self.is_ours(&name);
            let empty = self.environment.get(&name).is_none_or(|text| text.is_empty());
            if !ours || empty || self.known.contains(&name) || is_listed(&self.contract.child.pass, &name) {
                continue;
            }
            let service = &self.contract.service.name;
            let message = match self.nearest(&name) {
                Some(nearest) => format!("is not a variable of {service}: did you mean {nearest}?"),
                None => format!("is not a variable of {service} and has no effect"),
            };
            let problem =
                if self.options.strict { Problem::error(&name, message) } else { Problem::warning(&name, message) };
            self.problems.push(problem.from_source("environment"));
        }
    }

    fn nearest(&self, name: &str) -> Option<String> {
        let plain = self.contract.variables.iter().filter(|variable| variable.ignored.is_none());
        let plain = plain.map(|variable| variable.name.clone());
        let grouped = self.contract.groups.iter().flat_map(|group| {
            let rest = name.strip_prefix(group.prefix.as_str()).unwrap_or_default();
            let instance = rest.split('_').next().unwrap_or_default().to_owned();
            let variables = group.variables.iter().filter(move |_| !rest.is_empty());
            variables.map(move |variable| format!("{}{instance}_{}", group.prefix, variable.name))
        });
        let distances = plain.chain(grouped).map(|candidate| (edit_distance(name, &candidate), candidate));
        distances.filter(|(distance, _)| *distance <= 2).min().map(|(_, candidate)| candidate)
    }

    // --- what the service inherits ------------------------------------------------------------------------------

    fn inherit(&mut self) {
        let child = &self.contract.child;
        for (name, value) in self.environment.iter() {
            let text = name.to_str();
            let declared = text.is_some_and(|name| self.known.contains(name));
            let own = text.is_some_and(|name| name.starts_with("DL_"));
            let dropped = text.is_some_and(|name| is_listed(&child.drop, name) && !is_listed(&child.pass, name));
            // Most services take a variable that is there and empty for a value, and fail on it.
            let hollow = value.is_empty() && text.is_some_and(|name| self.is_ours(name));
            if !declared && !own && !dropped && !hollow {
                self.settings.inherited.push((name.to_owned(), value.to_owned()));
            }
        }
    }
}

/// One item of a group while it is being filled.
struct Instance {
    item: String,
    values: BTreeMap<String, tera::Value>,
}

/// `TRINO_CATALOG_MY_LAKE_S3_ENDPOINT` → (`MY_LAKE`, the variable): the longest known ending wins. `_FILE` is taken
/// off where the variable takes one.
fn split_group_name<'a, 'n>(group: &'a Group, name: &'n str) -> Option<(&'n str, &'a Variable)> {
    let rest = name.strip_prefix(group.prefix.as_str())?;
    let endings = group.variables.iter().flat_map(|variable| {
        let file = variable.takes_file().then(|| format!("_{}_FILE", variable.name));
        std::iter::once(format!("_{}", variable.name)).chain(file).map(move |ending| (ending, variable))
    });
    let fitting = endings.filter(|(ending, _)| rest.len() > ending.len() && rest.ends_with(ending.as_str()));
    let (ending, variable) = fitting.max_by_key(|(ending, _)| ending.len())?;
    let instance = &rest[..rest.len() - ending.len()];
    is_instance_name(instance).then_some((instance, variable))
}

/// `TRINO_CATALOG_LAKE__hive.x` → (`LAKE`, `hive.x`); `TRINO_CATALOG_LAKE_EXTRA` → (`LAKE`, ``).
fn split_group_passthrough<'n>(group: &Group, name: &'n str) -> Option<(&'n str, &'n str)> {
    group.passthrough.as_ref()?;
    let rest = name.strip_prefix(group.prefix.as_str())?;
    let parts = rest.split_once("__").or_else(|| rest.strip_suffix("_EXTRA").map(|instance| (instance, "")));
    parts.filter(|(instance, _)| is_instance_name(instance))
}

fn is_instance_name(name: &str) -> bool {
    !name.is_empty() && !name.contains("__") && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// `query_max__run__time` → `query.max-run-time`; a key with a dot or a dash in it is meant as it is.
pub fn passthrough_key(name: &str) -> String {
    if name.contains(['.', '-']) {
        return name.to_owned();
    }
    let mut key = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(start) = rest.find('_') {
        key.push_str(&rest[..start]);
        let run = rest[start..].bytes().take_while(|byte| *byte == b'_').count();
        // Three or more: an underscore for each full three, then the remainder.
        key.push_str(&"_".repeat(run / 3));
        key.push_str(["", ".", "-"][run % 3]);
        rest = &rest[start + run..];
    }
    key.push_str(rest);
    key
}

/// `NESSIE_SECRETS_CACHE_TTL` → `nessie.secrets.cache.ttl`, where that is one of `keys`. Of several keys that fit, the
/// one with the longest text of its own; what `*` stands for is in lower case.
fn key_of_native_name(keys: &[String], name: &str) -> Option<String> {
    let spelt = |text: &str| -> String {
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
    };
    let fitting = keys.iter().filter_map(|key| {
        let Some((before, after)) = key.split_once('*') else {
            return (spelt(key) == name).then(|| (key, key.clone()));
        };
        let chosen = name.strip_prefix(&spelt(before))?.strip_suffix(&spelt(after))?;
        (!chosen.is_empty()).then(|| (key, format!("{before}{}{after}", chosen.to_lowercase())))
    });
    fitting.max_by_key(|(key, _)| (!key.contains('*'), key.len())).map(|(_, key)| key)
}

/// Whether the name of a key says that its value is to be kept to oneself: `quarkus.mail.password`, `x.secret-key`.
fn names_a_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_lowercase();
    let telling = ["password", "passphrase", "secret", "secret-key", "private-key", "token", "tokens", "credentials"];
    telling.iter().any(|ending| last.ends_with(ending))
}

/// A value that everybody knows, or that was never filled in: says which.
fn placeholder(value: &str, further: &[String]) -> Option<&'static str> {
    const KNOWN: [&str; 24] = [
        "minioadmin",
        "minioadmin123",
        "admin",
        "admin123",
        "administrator",
        "root",
        "password",
        "password1",
        "password123",
        "passw0rd",
        "changeme",
        "change_me",
        "change-me",
        "secret",
        "default",
        "postgres",
        "test",
        "test123",
        "example",
        "123456",
        "12345678",
        "qwerty",
        "patroni123",
        "nessie123",
    ];
    let lower = value.trim().to_lowercase();
    if KNOWN.contains(&lower.as_str()) || further.iter().any(|known| known.eq_ignore_ascii_case(value.trim())) {
        return Some("it is a well-known default");
    }
    let stems =
        ["change_me", "changeme", "change-me", "change_this", "your_", "your-", "replace_me", "replace-me", "insert_"];
    if stems.iter().any(|stem| lower.starts_with(stem)) || (lower.starts_with('<') && lower.ends_with('>')) {
        return Some("it is a placeholder");
    }
    let unexpanded = value.contains("$(") && value.contains(')') || value.starts_with("${") && value.ends_with('}');
    unexpanded.then_some("it is a shell expression that nothing expanded")
}

fn parse_derived(kind: &str, text: &str) -> Result<Value, String> {
    let parsed = match kind {
        "bool" => ValueType::Bool.parse(text),
        "int" | "bytes" | "duration" => ValueType::Int { min: None, max: None }.parse(text),
        "float" => ValueType::Float { min: None, max: None }.parse(text),
        "list" => ValueType::List { item: Box::new(ValueType::Text { pattern: None, accepted: None, min_length: 0 }) }
            .parse(text),
        "json" => ValueType::Json.parse(text),
        "string" => Ok(Value::Text(text.to_owned())),
        other => return Err(format!("unknown type {other:?}")),
    };
    parsed.map_err(|rejection| rejection.what)
}

fn look_at(path: &str, exists: Exists) -> Result<(), String> {
    let metadata =
        std::fs::metadata(path).map_err(|error| format!("cannot be used: {}", crate::env::reason(&error)))?;
    match exists {
        Exists::Unchecked => Ok(()),
        Exists::Directory if metadata.is_dir() => Ok(()),
        Exists::Directory => Err("is not a directory".into()),
        Exists::File | Exists::Pem if metadata.is_dir() => Err("is a directory, not a file".into()),
        Exists::File => std::fs::File::open(path)
            .map(drop)
            .map_err(|error| format!("cannot be read: {}", crate::env::reason(&error))),
        Exists::Pem => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot be read: {}", crate::env::reason(&error)))?;
            text.contains("-----BEGIN ").then_some(()).ok_or_else(|| "is not PEM".to_owned())
        }
    }
}

/// Names, or prefixes ending in `*`.
fn is_listed(patterns: &[String], name: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    })
}

/// Levenshtein's distance, counting a swap of neighbours as one.
pub fn edit_distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > 3 {
        return usize::MAX;
    }
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let swap = i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b;
            let cost = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            row.push(if swap { cost.min(rows[i - 1][j - 1] + 1) } else { cost });
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_native_name_is_the_key_with_the_longest_text_of_its_own() {
        let keys = ["a.cache.ttl", "a.buckets.*.name", "a.buckets.*.iam.role-name", "a.map.*"].map(str::to_owned);
        let key = |name: &str| key_of_native_name(&keys, name);
        assert_eq!(key("A_CACHE_TTL"), Some("a.cache.ttl".into()));
        assert_eq!(key("A_BUCKETS_MY_LAKE_IAM_ROLE_NAME"), Some("a.buckets.my_lake.iam.role-name".into()));
        assert_eq!(key("A_BUCKETS_X_NAME"), Some("a.buckets.x.name".into()));
        assert_eq!(key("A_MAP_FOO"), Some("a.map.foo".into()));
        assert_eq!(key("A_BUCKETS__NAME"), None);
        assert_eq!(key("A_CACHE_TTLS"), None);
    }

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
        assert_eq!(passthrough_key("query_max__run__time"), "query.max-run-time");
        assert_eq!(passthrough_key("a_B_c"), "a.B.c");
        assert_eq!(passthrough_key("a___b"), "a_b");
        assert_eq!(passthrough_key("a____b"), "a_.b");
        assert_eq!(passthrough_key("exact.key_with-dash"), "exact.key_with-dash");
        let pairs = [GOOD, ("DEMO_CONFIG__a_b", "1"), ("DEMO_CONFIG_EXTRA", "# x\nc.d-e=2\n")];
        let (settings, problems) = run(&pairs, &options());
        assert_eq!(problems, [""; 0]);
        let config = serde_json::to_value(settings.context.get("config").unwrap()).unwrap();
        assert_eq!(config, serde_json::json!({"a.b": "1", "c.d-e": "2"}));
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
        assert!(!names_a_secret("quarkus.oidc.token.issuer"));
        assert!(!names_a_secret("nessie.catalog.validate-secrets"));
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

    #[test]
    fn distances_count_a_swap_as_one() {
        assert_eq!(edit_distance("PORT", "PROT"), 1);
        assert_eq!(edit_distance("PORT", "PORTS"), 1);
        assert_eq!(edit_distance("PORT", "HOST"), 2);
    }
}
