//! Plan's files: templates → bytes, all in memory, all or nothing, each proven to say what was meant.
//!
//! The proof: every template is rendered twice, once with a harmless token in place of each value and once with the
//! values themselves, both escaped for the file's declared format. Both texts are parsed as the service will parse
//! them. Where the tokens, put back, do not give exactly the entries of the real file, some value broke out of its
//! place, and nothing is written.

pub mod format;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::path::PathBuf;

use tera::{Context, Filter, Kwargs, State, Tera, TeraResult};

use crate::contract::expression::{Expressions, each_parts, register};
use crate::contract::key_table::{Table, Verdict};
use crate::contract::properties::{Destination, Origin};
use crate::contract::registry::Package;
use crate::contract::uses;
use crate::contract::{Contract, File, Group, UnknownKey, Variable};
use crate::plan::RenderedFile;
use crate::plan::build::contexts;
use crate::render::format::{Entry, Format, Unrepresentable};
use crate::report::Problem;
use crate::settings::{Addition, Additions, Setting, Settings, Source};
use crate::value::yaml::Node;

/// Everything a service's files come to, and every problem on the way. With an error among the problems, no file
/// may be written.
pub fn render(package: &Package, settings: &Settings) -> (Vec<RenderedFile>, Vec<Problem>) {
    let mut renderer = Renderer::new(package, settings);
    for file in &package.contract.files {
        renderer.render_file(file);
    }
    (renderer.files, renderer.problems)
}

/// Problems with the keys an operator added, where nothing can be rendered because something else is wrong: so that
/// they are in the same report.
pub fn judge_additions(package: &Package, settings: &Settings) -> Vec<Problem> {
    let mut renderer = Renderer::new(package, settings);
    renderer.problems.clear();
    for file in &package.contract.files {
        let all = contexts(&renderer.expressions, &settings.context, file.when.as_ref(), file.each.as_ref());
        for context in all.unwrap_or_default() {
            let Ok(job) = renderer.job(file, &context) else { continue };
            let entries = job.additions.iter().map(|(key, addition)| (key.as_str(), addition.value.as_str()));
            renderer.judge_keys(&job, &entries.collect::<Vec<_>>(), None);
            renderer.judge_owned(&job, None);
        }
    }
    renderer.problems
}

struct Renderer<'a> {
    package: &'a Package,
    settings: &'a Settings,
    expressions: Expressions,
    tera: Tera,
    tables: BTreeMap<&'a str, Table<'a>>,
    files: Vec<RenderedFile>,
    problems: Vec<Problem>,
}

/// One file to render: a contract's entry, for one item where there are several.
struct Job<'f> {
    file: &'f File,
    format: Format,
    context: &'f Context,
    path: String,
    /// The group it is about, and the item's name in lower case.
    item: Option<(&'f Group, String)>,
    /// Additions from the operator's passthrough.
    additions: Additions,
}

/// A file's text that says what was meant, and how that was found out.
struct Proven {
    text: String,
    /// Its entries, in order.
    entries: Vec<(String, String)>,
    /// The rendered template, with tokens for `values`.
    tokens: Vec<Entry>,
    values: Vec<String>,
    /// What an operator's documents set, by variable.
    merged: Vec<(String, BTreeSet<String>)>,
}

impl Proven {
    /// The template's own value of `key`.
    fn own<'p>(&'p self, key: &'p str) -> impl Iterator<Item = &'p Entry> {
        self.tokens.iter().filter(move |entry| put_back(&entry.key, &self.values) == key)
    }

    /// The values printed into a part of an entry.
    fn values_in<'p>(&'p self, text: &'p str) -> Vec<&'p str> {
        let numbers = (0..self.values.len()).filter(|number| text.contains(&token(*number)));
        numbers.map(|number| self.values[number].as_str()).collect()
    }
}

/// The owner of a template's line: the value it prints, and the variables it comes from.
struct Owner {
    expression: String,
    variables: Vec<String>,
    /// It prints one variable and nothing else.
    alone: bool,
}

impl<'a> Renderer<'a> {
    fn new(package: &'a Package, settings: &'a Settings) -> Self {
        let mut tera = Tera::new();
        register(&mut tera);
        tera.register_filter("key", KeyFilter);
        tera.set_escape_fn(escape);
        let mut problems = Vec::new();
        let mut tables = BTreeMap::new();
        for file in &package.contract.files {
            let Some(keys) = &file.keys else { continue };
            for name in std::iter::once(&keys.table).chain(keys.elsewhere.iter().map(|other| &other.table)) {
                if tables.contains_key(name.as_str()) {
                    continue;
                }
                match Table::parse(package.files.get(name).map(String::as_str).unwrap_or_default()) {
                    Ok(table) => drop(tables.insert(name.as_str(), table)),
                    Err(why) => problems.push(mistake(name, why)),
                }
            }
        }
        // Every template, whatever its name: what decides is the declared format, not a suffix.
        tera.autoescape_on([""]);
        Renderer { package, settings, expressions: Expressions::default(), tera, tables, files: vec![], problems }
    }

    fn render_file(&mut self, file: &File) {
        match contexts(&self.expressions, &self.settings.context, file.when.as_ref(), file.each.as_ref()) {
            Err(reason) => self.problems.push(mistake(&file.template, reason)),
            Ok(contexts) => {
                // Most files of a contract are not made, and a template takes long to parse.
                if !contexts.is_empty() {
                    self.read_template(file);
                }
                for context in contexts {
                    if let Err(problem) = self.render_one(file, &context) {
                        self.problems.push(problem);
                    }
                }
            }
        }
    }

    fn read_template(&mut self, file: &File) {
        if self.tera.get_template_names().any(|name| name == file.template) {
            return;
        }
        let text = self.package.files.get(&file.template).map(String::as_str).unwrap_or_default();
        if let Err(error) = self.tera.add_raw_template(&file.template, text) {
            self.problems.push(mistake(&file.template, error.to_string()));
        }
    }

    fn render_one(&mut self, file: &File, context: &Context) -> Result<(), Problem> {
        let mode =
            u32::from_str_radix(&file.mode, 8).map_err(|_| mistake(&file.template, "its mode is not octal".into()))?;
        let job = self.job(file, context)?;
        let proven = self.proven(&job)?;
        let entries = proven.entries.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        self.judge_keys(&job, &entries.collect::<Vec<_>>(), Some(&proven));
        self.judge_owned(&job, Some(&proven));
        let variables = self.given_variables_of(&job);
        let path = PathBuf::from(&job.path);
        if let Some(other) = self.files.iter().find(|other| other.path == path) {
            return Err(made_twice(&job, &[&other.variables[..], &variables].concat()));
        }
        self.files.push(RenderedFile { path, contents: proven.text.into_bytes(), mode, variables });
        Ok(())
    }

    fn job<'f>(&self, file: &'f File, context: &'f Context) -> Result<Job<'f>, Problem>
    where
        'a: 'f,
    {
        let format = Format::from_name(&file.format)
            .ok_or_else(|| mistake(&file.template, format!("unknown format {:?}", file.format)))?;
        let path = self.expressions.text(&file.path, context).map_err(|reason| mistake(&file.template, reason))?;
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(mistake(&file.template, format!("its path {path:?} is not an absolute one without ..")));
        }
        let item = file.each.as_deref().and_then(each_parts).and_then(|(item, list)| {
            let group = self.package.contract.groups.iter().find(|group| group.key == list)?;
            let name = Expressions::lookup(context, &format!("{item}.name"))?.as_str()?.to_owned();
            Some((group, name))
        });
        let additions = self.additions(file, format, context, item.as_ref());
        Ok(Job { file, format, context, path, item, additions })
    }

    /// The passthrough that extends this file; without the blanks around a value that its reader would drop, where
    /// they cannot be part of a secret.
    fn additions(&self, file: &File, format: Format, context: &Context, item: Option<&(&Group, String)>) -> Additions {
        let Some(extend) = file.extend.as_deref() else { return Additions::new() };
        let place = match (item, extend.split_once('.')) {
            (Some((group, name)), Some((_, field))) => format!("{}.{name}.{field}", group.name),
            _ => extend.to_owned(),
        };
        let kept = self.settings.additions.get(&place).cloned();
        let mut additions = kept.unwrap_or_else(|| self.additions_of_value(extend, context));
        for addition in additions.values_mut().filter(|addition| format.trims() && !addition.secret) {
            addition.value = addition.value.trim_matches(|c: char| c <= ' ').to_owned();
        }
        additions
    }

    /// A map that is no passthrough, but the value of a variable or worked out.
    fn additions_of_value(&self, extend: &str, context: &Context) -> Additions {
        let contract = &self.package.contract;
        let declared = contract.variables.iter().find(|variable| contract.key_of(variable) == extend);
        let variable = declared.map_or_else(|| extend.to_owned(), |variable| variable.name.clone());
        let secret = declared.is_some_and(|variable| variable.is_secret());
        let map = Expressions::lookup(context, extend).and_then(|map| serde_json::to_value(&map).ok());
        let map: BTreeMap<String, String> = map.and_then(|map| serde_json::from_value(map).ok()).unwrap_or_default();
        let addition = |value| Addition { variable: variable.clone(), value, secret };
        map.into_iter().map(|(key, value)| (key, addition(value))).collect()
    }

    /// The file's text, where it says what is meant.
    fn proven(&self, job: &Job) -> Result<Proven, Problem> {
        let lead = self.lead(job)?;
        let (tokens, values) = self.pass(job, Mode::Tokens)?;
        let (text, again) = self.pass(job, Mode::Values)?;
        let (tokens, text) = (format!("{lead}{tokens}"), format!("{lead}{text}"));
        let tokens = parsed(job.format, &tokens, &job.path)?;
        let own = tokens.iter().map(|entry| (put_back(&entry.key, &values), put_back(&entry.value, &values)));
        let (replaced, mut meant): (Vec<_>, Vec<_>) = own.partition(|(key, _)| job.additions.contains_key(key));
        let text = extended(job, text, !replaced.is_empty())?;
        let value = |addition: &Addition| job.format.meant_keeping_references(&addition.value);
        meant.extend(job.additions.iter().map(|(key, addition)| (key.clone(), value(addition))));
        let real = parsed(job.format, &text, &job.path)?;
        let entries: Vec<(String, String)> = real.into_iter().map(|entry| (entry.key, entry.value)).collect();
        if values != again || !same_entries(job.format, &meant, &entries) {
            let wrong =
                meant.iter().zip(&entries).find(|(meant, found)| meant != found).map_or("", |((key, _), _)| key);
            let what = format!("would not say what is meant (at {wrong:?}): a value does not stay in its place");
            return Err(mistake(&job.path, what));
        }
        let proven = self.merged(job, Proven { text, entries, tokens, values, merged: vec![] })?;
        self.refuse_a_key_twice(job, &proven)?;
        Ok(proven)
    }

    /// With the operator's own documents laid over it.
    fn merged(&self, job: &Job, mut proven: Proven) -> Result<Proven, Problem> {
        let given = job.file.merge.iter().filter_map(|name| {
            let text = Expressions::lookup(job.context, name)?;
            Some((self.variable_called(name).to_owned(), text.as_str()?.to_owned()))
        });
        let given: Vec<(String, String)> = given.collect();
        if given.is_empty() {
            return Ok(proven);
        }
        let mut whole = Node::parse(&proven.text).map_err(|why| mistake(&job.path, why))?;
        for (variable, text) in given {
            let accepted = format!("YAML that is laid over {}", job.path);
            let refused = |why| Problem::error(&variable, format!("cannot be read: {why}")).accepted(accepted.clone());
            let over = Node::parse(&text).map_err(refused)?;
            if !matches!(over, Node::Mapping(_)) {
                return Err(refused("it is not a map of keys".to_owned()));
            }
            proven.merged.push((variable, over.entries().into_iter().map(|(key, _)| key).collect()));
            whole = whole.merged(over);
        }
        proven.text = whole.written();
        proven.entries = whole.entries();
        let read = parsed(job.format, &proven.text, &job.path)?;
        let same = read.into_iter().map(|entry| (entry.key, entry.value)).eq(proven.entries.iter().cloned());
        if same { Ok(proven) } else { Err(mistake(&job.path, "would not say what is meant".into())) }
    }

    /// The variable of a key in expressions, or the key itself.
    fn variable_called<'n>(&self, name: &'n str) -> &'n str
    where
        'a: 'n,
    {
        let contract: &'a Contract = &self.package.contract;
        let declared = contract.variables.iter().find(|variable| contract.key_of(variable) == name);
        declared.map_or(name, |variable| &variable.name)
    }

    /// The operator's own text that the file begins with. An empty line parts it from ours, whatever it ends with.
    fn lead(&self, job: &Job) -> Result<String, Problem> {
        let name = job.file.lead.as_deref().unwrap_or_default();
        let text = Expressions::lookup(job.context, name);
        let Some(text) = text.as_ref().and_then(|text| text.as_str()) else { return Ok(String::new()) };
        job.format.parse(text).map_err(|error| {
            Problem::error(self.variable_called(name), format!("cannot be read: {error}"))
                .accepted(format!("lines of {}", job.path))
        })?;
        Ok(format!("{text}\n\n"))
    }

    /// Readers differ on which of the two counts, and some stop; nobody means both.
    fn refuse_a_key_twice(&self, job: &Job, proven: &Proven) -> Result<(), Problem> {
        let mut seen = BTreeSet::new();
        let twice = proven.entries.iter().find(|(key, _)| !seen.insert(key)).filter(|_| job.format.has_keys());
        let Some((key, _)) = twice else { return Ok(()) };
        let variables = self.setters(job, Some(proven), key);
        if variables.is_empty() {
            return Err(mistake(&job.path, format!("has the key {key} twice")));
        }
        let message = format!("would give {} the key {key} twice", job.path);
        Err(Problem::error(variables.join(", "), message).accepted("the key once"))
    }

    /// One rendering: the text, and the values printed into it, in order.
    fn pass(&self, job: &Job, mode: Mode) -> Result<(String, Vec<String>), Problem> {
        ESCAPING.set(Escaping { format: Some(job.format), mode, values: vec![], refused: None });
        let rendered = self.tera.render(&job.file.template, job.context);
        let escaping = ESCAPING.take();
        if let Some((reason, value)) = escaping.refused {
            return Err(refusal(job, &self.variables_with(job, &value), reason));
        }
        let mut text = rendered.map_err(|error| mistake(&job.file.template, error.to_string()))?;
        if let Some(prelude) = job.format.prelude(&text) {
            text.insert_str(0, prelude);
        }
        Ok((text, escaping.values))
    }

    // --- where a value came from ----------------------------------------------------------------------------------

    /// The variables that somebody has set and whose values are in this file, directly or through values worked out
    /// from them: what an operator who mounts a file of their own has set in vain.
    fn given_variables_of(&self, job: &Job) -> Vec<String> {
        let merged = job.file.merge.iter().map(String::as_str);
        let read = self.package.read_by(&job.file.template).chain(merged).map(str::to_owned).collect();
        let sources = uses::sources(&self.package.uses, read);
        let grouped = self.grouped_keys(job, &sources);
        let mut names: BTreeSet<&String> = job.additions.values().map(|addition| &addition.variable).collect();
        let given = self.settings.settings.iter().filter(|one| is_given(one));
        names.extend(given.filter(|one| sources.contains(&one.key) || grouped.contains(&one.key)).map(|one| &one.name));
        let printed = self.settings.additions.iter().filter(|(place, _)| sources.contains(&name_of_place(place)));
        names.extend(printed.flat_map(|(_, additions)| additions.values().map(|addition| &addition.variable)));
        names.into_iter().cloned().collect()
    }

    /// Keys of the settings of groups that the template reads: of the file's own item, or of all.
    fn grouped_keys(&self, job: &Job, sources: &HashSet<String>) -> HashSet<String> {
        let mut keys = HashSet::new();
        for group in &self.package.contract.groups {
            let names: Vec<String> = match &job.item {
                Some((own, name)) if own.key == group.key => vec![name.clone()],
                _ if sources.contains(&group.key) => names_of(job.context, group),
                _ => continue,
            };
            let read = |variable: &&Variable| sources.contains(&format!("{}.{}", group.name, Group::key_of(variable)));
            for variable in group.variables.iter().filter(read) {
                let key = |name: &String| format!("{}{name}_{}", group.prefix, variable.name).to_lowercase();
                keys.extend(names.iter().map(key));
            }
        }
        keys
    }

    /// Of the variables set whose values are in this file, those that hold `value`; all of them where it is nobody's
    /// alone. Only names: the value may be a secret.
    fn variables_with(&self, job: &Job, value: &str) -> Vec<String> {
        let given = self.given_variables_of(job);
        let texts: Vec<(&String, &String)> = self.texts().filter(|(name, _)| given.contains(name)).collect();
        let holders = |holds: &dyn Fn(&str) -> bool| -> Vec<String> {
            let names: BTreeSet<&String> =
                texts.iter().filter(|(_, text)| holds(text)).map(|(name, _)| *name).collect();
            names.into_iter().cloned().collect()
        };
        let attempts = [
            holders(&|text| text == value),
            holders(&|text| text.contains(value) || text.len() > 3 && value.contains(text)),
        ];
        attempts.into_iter().find(|names| !names.is_empty()).unwrap_or(given)
    }

    /// Every text somebody has set, by variable.
    fn texts(&self) -> impl Iterator<Item = (&'a String, &'a String)> {
        let Settings { settings, secrets, open, additions, .. } = self.settings;
        let plain = settings.iter().filter(|one| is_given(one) && !one.secret).map(|one| (&one.name, &one.shown));
        let secret = secrets.iter().chain(open).map(|(name, value)| (name, value));
        let added = additions.values().flat_map(|additions| additions.values());
        let added = added.map(|addition| (&addition.variable, &addition.value));
        plain.chain(secret).chain(added).filter(|(_, text)| !text.is_empty())
    }

    /// The variables that put `key` into the file; none where it is the template's own.
    fn setters(&self, job: &Job, proven: Option<&Proven>, key: &str) -> Vec<String> {
        if let Some(addition) = job.additions.get(key) {
            return vec![addition.variable.clone()];
        }
        let merged = proven.into_iter().flat_map(|proven| proven.merged.iter().rev());
        if let Some((variable, _)) = merged.into_iter().find(|(_, keys)| keys.contains(key)) {
            return vec![variable.clone()];
        }
        let printed = proven.into_iter().flat_map(|proven| {
            let entries = proven.own(key);
            entries.filter_map(|entry| self.printed_addition(proven, entry)).map(|addition| addition.variable.clone())
        });
        let printed: BTreeSet<String> = printed.collect();
        match self.owner(job, key).filter(|owner| owner.alone && printed.is_empty()) {
            Some(owner) => owner.variables,
            None => printed.into_iter().collect(),
        }
    }

    /// The entry of a passthrough that a template's loop made this line of.
    fn printed_addition(&self, proven: &Proven, entry: &Entry) -> Option<&'a Addition> {
        let (names, values) = (proven.values_in(&entry.key), proven.values_in(&entry.value));
        let places = self.settings.additions.iter();
        let all = places.flat_map(|(place, additions)| additions.iter().map(move |(key, one)| (place, key, one)));
        let same = all
            .filter(|(_, key, one)| values.contains(&one.value.as_str()) && names.iter().any(|name| alike(name, key)));
        let of_item =
            |place: &str| place.split('.').nth(1).is_some_and(|item| names.iter().any(|name| alike(name, item)));
        same.max_by_key(|(place, ..)| of_item(place)).map(|(.., one)| one)
    }

    /// The owner of the file's line of `key`, printed or not; none if it is no property.
    fn owner(&self, job: &Job, key: &str) -> Option<Owner> {
        let contract: &Contract = &self.package.contract;
        let of_file = |one: &Destination| contract.file_of(*one).is_some_and(|file| file.template == job.file.template);
        let mut all = contract.destinations().filter(|one| one.property.key == key).filter(of_file);
        let first = all.next()?;
        let file = contract.file_of(first)?;
        let holds = |one: &Destination| {
            one.conditions(file).iter().all(|when| self.expressions.holds(when, job.context).unwrap_or(false))
        };
        let one = if holds(&first) { first } else { all.find(holds).unwrap_or(first) };
        let (variables, alone) = self.variables_of(job, one.origin);
        let expression = one.expression(contract, file);
        (!variables.is_empty()).then_some(Owner { expression, variables, alone })
    }

    /// The variables that a property's value is from, and whether it is the value of one.
    fn variables_of(&self, job: &Job, origin: Origin) -> (Vec<String>, bool) {
        let name = match (origin, &job.item) {
            (Origin::Variable(variable), _) => return (vec![variable.name.clone()], true),
            (Origin::OfGroup(group, variable), Some((_, item))) => {
                return (vec![format!("{}{}_{}", group.prefix, item.to_uppercase(), variable.name)], true);
            }
            (Origin::OfGroup(..), None) => return (vec![], false),
            (Origin::Derived(derived), _) => derived.name.clone(),
        };
        let contract: &Contract = &self.package.contract;
        let sources = uses::sources(&self.package.uses, HashSet::from([name]));
        let used = contract.variables.iter().filter(|variable| sources.contains(&*contract.key_of(variable)));
        (used.map(|variable| variable.name.clone()).collect(), false)
    }

    // --- keys -----------------------------------------------------------------------------------------------------

    /// A passthrough of a key that a variable is there for: rules, waits and probes go by the variable.
    fn judge_owned(&mut self, job: &Job, proven: Option<&Proven>) {
        for (key, addition) in &job.additions {
            let replaced = proven.and_then(|proven| proven.own(key).next().map(|entry| (proven, entry)));
            let own = replaced.map(|(proven, entry)| put_back(&entry.value, &proven.values));
            if own.as_ref() == Some(&addition.value) {
                continue;
            }
            self.problems.extend(match self.owner(job, key) {
                Some(owner) => self.judge_past(job, key, addition, &owner),
                None => own.map(|_| {
                    Problem::warning(&addition.variable, format!("replaces the line of {key} that {} has", job.path))
                }),
            });
        }
    }

    fn judge_past(&self, job: &Job, key: &str, addition: &Addition, owner: &Owner) -> Option<Problem> {
        let said = self.expressions.text(&owner.expression, job.context).ok();
        if said.as_ref() == Some(&addition.value) {
            return None;
        }
        let names = owner.variables.join(", ");
        let is_owner = |one: &&Setting| one.name.eq_ignore_ascii_case(&names);
        if owner.alone && self.settings.settings.iter().find(is_owner).is_some_and(is_given) {
            let message = format!("set {key} differently");
            let variables = format!("{}, {names}", addition.variable);
            return Some(
                Problem::error(variables, message).accepted(format!("{names} alone")).from_source("environment"),
            );
        }
        // A variable's value is never a reference, so a secret that is one can be given no other way.
        if addition.secret && job.format.refers(&addition.value) {
            return None;
        }
        let whose = if owner.alone { format!("{names} is there for") } else { format!("is worked out from {names}") };
        let message = format!("sets {key}, which {whose}: checks, waits and probes take no notice of it");
        Some(Problem::warning(&addition.variable, message).accepted(format!("{names} instead")))
    }

    fn judge_keys(&mut self, job: &Job, found: &[(&str, &str)], proven: Option<&Proven>) {
        let Some(keys) = &job.file.keys else { return };
        let Some(table) = self.tables.get(keys.table.as_str()) else { return };
        // Without a version, because its own variable is wrong, nothing can be said.
        let Ok(version) = self.expressions.text(&keys.version, job.context) else { return };
        let holds = |when: &String| self.expressions.holds(when, job.context).unwrap_or(true);
        let unknown = if keys.unknown_when.as_ref().is_none_or(holds) { keys.unknown } else { UnknownKey::Allowed };
        let unknown = if keys.error_when.as_ref().is_some_and(holds) { UnknownKey::Error } else { unknown };
        let problems = found.iter().filter_map(|(key, value)| {
            let name = keys.name_of(key)?;
            let verdict = table.judge(name, &version);
            if verdict == Verdict::Valid {
                return self.judge_value(job, proven, key, table.mistake_in(name, value)?);
            }
            let is_there = |new: &&str| found.iter().any(|(key, _)| key == new);
            let replacement = table.replacement(name, &version).filter(is_there);
            match replacement {
                Some(new) => Some(self.old_beside_new(job, proven, key, new, &version)),
                None => self.judge_key(job, proven, table, unknown, &version, (key, verdict)),
            }
        });
        let problems: Vec<Problem> = problems.collect();
        self.problems.extend(problems);
    }

    fn judge_value(&self, job: &Job, proven: Option<&Proven>, key: &str, mistake: String) -> Option<Problem> {
        let setters = self.setters(job, proven, key);
        let variable = if setters.is_empty() { format!("{key} in {}", job.path) } else { setters.join(", ") };
        Some(Problem::error(variable, format!("sets {key}, which {mistake}")))
    }

    /// airlift stops where a key stands beside its old name.
    fn old_beside_new(&self, job: &Job, proven: Option<&Proven>, old: &str, new: &str, version: &str) -> Problem {
        let setters = [old, new].map(|key| self.setters(job, proven, key)).concat();
        let variables = if setters.is_empty() { job.path.clone() } else { setters.join(", ") };
        let service = &self.package.contract.service.name;
        let path = &job.path;
        let message = format!(
            "sets {old}, an old name of {new}: {path} would have both, and {service} {version} does not start so"
        );
        Problem::error(variables, message).accepted(format!("{new} alone"))
    }

    /// The message for a key of another file's table.
    fn elsewhere(&self, job: &Job, key: &str) -> Option<(String, String)> {
        let others = job.file.keys.iter().flat_map(|keys| &keys.elsewhere);
        let mut fitting =
            others.filter(|other| self.tables.get(other.table.as_str()).is_some_and(|table| table.has(key)));
        fitting.next().map(|other| (other.message.clone(), format!("{}{key}", other.prefix)))
    }

    fn judge_key(
        &self,
        job: &Job,
        proven: Option<&Proven>,
        table: &Table,
        unknown: UnknownKey,
        version: &str,
        (key, verdict): (&str, Verdict),
    ) -> Option<Problem> {
        let elsewhere = if verdict == Verdict::Unlisted { self.elsewhere(job, key) } else { None };
        if verdict == Verdict::Unlisted && unknown == UnknownKey::Allowed && elsewhere.is_none() {
            return None;
        }
        let setters = self.setters(job, proven, key);
        let variable = if setters.is_empty() { format!("{key} in {}", job.path) } else { setters.join(", ") };
        // A variable may be named like its key.
        let plain = setters.iter().all(|setter| setter == key);
        let named = |what: String| if plain { what } else { format!("sets {key}, which {what}") };
        match verdict {
            Verdict::Valid => None,
            Verdict::Legacy(what) | Verdict::Ignored(what) => Some(Problem::warning(variable, named(what))),
            Verdict::Stops(what) => Some(Problem::error(variable, named(what))),
            Verdict::Unlisted => {
                if let Some((message, accepted)) = elsewhere {
                    return Some(Problem::error(variable, named(message)).accepted(accepted));
                }
                let problem = match unknown {
                    UnknownKey::Error => Problem::error,
                    UnknownKey::Warning => Problem::warning,
                    UnknownKey::Allowed => return None,
                };
                let name = job.file.keys.as_ref().and_then(|keys| keys.name_of(key)).unwrap_or(key);
                let hint = table.nearest(name).map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default();
                let service = &self.package.contract.service.name;
                Some(problem(variable, named(format!("is no key of {service} {version}{hint}"))))
            }
        }
    }
}

fn is_given(setting: &Setting) -> bool {
    !matches!(setting.source, Source::Default | Source::Unset)
}

/// What templates call the additions of a place: `catalog.lake.properties` is `catalog.properties`.
fn name_of_place(place: &str) -> String {
    match (place.split_once('.'), place.rsplit_once('.')) {
        (Some((group, _)), Some((_, field))) => format!("{group}.{field}"),
        _ => place.to_owned(),
    }
}

/// The items of a group, in lower case.
fn names_of(context: &Context, group: &Group) -> Vec<String> {
    let items = Expressions::lookup(context, &group.key);
    let items = items.as_ref().and_then(|items| items.as_array()).unwrap_or(&[]);
    let names = items.iter().filter_map(|item| item.get_from_path("name").and_then(|name| name.as_str()));
    names.map(str::to_owned).collect()
}

/// Whether two names differ in capitals and marks alone.
fn alike(one: &str, other: &str) -> bool {
    let plain = |c: u8| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { b'_' };
    one.bytes().map(plain).eq(other.bytes().map(plain))
}

fn mistake(what: &str, reason: String) -> Problem {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    Problem::error(what, reason).with_status(crate::exit::TEMPLATE)
}

/// The values of these variables cannot be written in the file.
fn refusal(job: &Job, variables: &[String], reason: &str) -> Problem {
    let format = job.format.name();
    if variables.is_empty() {
        return mistake(&job.path, format!("would hold {reason}, which no file of format {format} can"));
    }
    let message = format!("contains {reason}, which cannot be written in {} (format {format})", job.path);
    Problem::error(variables.join(", "), message).accepted(format!("the value without {reason}"))
}

fn made_twice(job: &Job, variables: &[String]) -> Problem {
    let of_group = |name: &&String| job.item.as_ref().is_none_or(|(group, _)| name.starts_with(&group.prefix));
    let names: BTreeSet<&String> = variables.iter().filter(of_group).collect();
    if names.is_empty() {
        return mistake(&job.path, "is made twice".into());
    }
    let names = names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    Problem::error(names, format!("would make {} twice", job.path)).accepted("names that differ in more than capitals")
}

fn parsed(format: Format, text: &str, path: &str) -> Result<Vec<Entry>, Problem> {
    format.parse(text).map_err(|error| mistake(path, format!("cannot be read back: {error}")))
}

/// Entries equal, in order; where keys are a set, order is of no meaning and an extended file may differ in it.
fn same_entries(format: Format, meant: &[(String, String)], found: &[(String, String)]) -> bool {
    if !format.has_keys() {
        return meant == found;
    }
    let sorted = |entries: &[(String, String)]| {
        let mut entries = entries.to_vec();
        entries.sort();
        entries
    };
    sorted(meant) == sorted(found)
}

/// `text` without the lines of keys that the operator's additions replace, and with the additions at its end.
fn extended(job: &Job, text: String, replaces: bool) -> Result<String, Problem> {
    let Job { format, path, additions, .. } = job;
    if additions.is_empty() {
        return Ok(text);
    }
    let mut extended = if replaces { without(*format, &text, additions, path)? } else { text };
    if !extended.is_empty() && !extended.ends_with('\n') {
        extended.push('\n');
    }
    for (key, addition) in additions {
        let variables = [addition.variable.clone()];
        if format.reserves(key) {
            let message = format!("sets {key}, which is kept for how {path} is written");
            return Err(Problem::error(&addition.variable, message).accepted("another key"));
        }
        let refused = |why: Unrepresentable| refusal(job, &variables, why.reason);
        let key = format.escape_key(key).map_err(refused)?;
        let value = format.escape_keeping_references(&addition.value).map_err(refused)?;
        extended.push_str(&format!("{key}={value}\n"));
    }
    if let Some(prelude) = format.prelude(&extended).filter(|prelude| !extended.starts_with(*prelude)) {
        extended.insert_str(0, prelude);
    }
    Ok(extended)
}

fn without(format: Format, text: &str, additions: &Additions, path: &str) -> Result<String, Problem> {
    let entries = parsed(format, text, path)?;
    let replaced = entries.iter().filter(|entry| additions.contains_key(&entry.key));
    let replaced: BTreeSet<usize> = replaced.flat_map(|entry| entry.lines.clone()).collect();
    let kept = text.lines().enumerate().filter(|(index, _)| !replaced.contains(index)).map(|(_, line)| line);
    Ok(kept.flat_map(|line| [line, "\n"]).collect())
}

// --- escaping -----------------------------------------------------------------------------------------------------

/// The text that `{{ value }}` prints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Values,
    Tokens,
}

/// State of the rendering under way: Tera's escape function is a plain `fn` and cannot carry it.
#[derive(Debug, Default)]
struct Escaping {
    format: Option<Format>,
    mode: Mode,
    values: Vec<String>,
    /// The text that this format cannot express, and the value that contains it.
    refused: Option<(&'static str, String)>,
}

thread_local! {
    static ESCAPING: RefCell<Escaping> = RefCell::default();
}

/// A token is letters and digits only, so that every format carries it unchanged.
fn token(number: usize) -> String {
    format!("dlv{number}x")
}

fn put_back(text: &str, values: &[String]) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("dlv") {
        let digits = rest[start + 3..].bytes().take_while(u8::is_ascii_digit).count();
        let end = start + 3 + digits;
        let value = rest[start + 3..end].parse::<usize>().ok().and_then(|number| values.get(number));
        match value.filter(|_| rest[end..].starts_with('x')) {
            Some(value) => {
                result.push_str(&rest[..start]);
                result.push_str(value);
                rest = &rest[end + 1..];
            }
            None => {
                result.push_str(&rest[..start + 3]);
                rest = &rest[start + 3..];
            }
        }
    }
    result + rest
}

/// Notes the value and gives what is printed for it, escaped by `with`.
fn printed(value: &str, with: fn(Format, &str) -> Result<String, Unrepresentable>) -> String {
    ESCAPING.with_borrow_mut(|escaping| {
        let number = escaping.values.len();
        escaping.values.push(value.to_owned());
        let format = escaping.format.unwrap_or(Format::Plain);
        let text = if escaping.mode == Mode::Tokens { token(number) } else { value.to_owned() };
        // In either pass: a token stands for a value, and it is the value that must be writable.
        if let Err(why) = with(format, value) {
            escaping.refused.get_or_insert_with(|| (why.reason, value.to_owned()));
        }
        with(format, &text).unwrap_or_default()
    })
}

fn escape(value: &str, output: &mut dyn Write) -> std::io::Result<()> {
    output.write_all(printed(value, Format::escape).as_bytes())
}

/// `{{ name | key }}`: the value as a key of the file's format.
struct KeyFilter;

impl Filter<&str, TeraResult<String>> for KeyFilter {
    fn call(&self, value: &str, _: Kwargs, _: &State) -> TeraResult<String> {
        Ok(printed(value, Format::escape_key))
    }

    fn is_safe(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
