//! Plan's files: templates → bytes, all in memory, all or nothing, each proven to say what was meant.
//!
//! The proof: every template is rendered twice, once with a harmless token in place of each value and once with the
//! values themselves, both escaped for the file's declared format. Both texts are parsed as the service will parse
//! them. Where the tokens, put back, do not give exactly the entries of the real file, some value broke out of its
//! place, and nothing is written.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;

use tera::{Context, Filter, Kwargs, State, Tera, TeraResult};

use crate::catalogue::Package;
use crate::compose::contexts;
use crate::contract::{Contract, File, Keys, UnknownKey};
use crate::explain;
use crate::expression::{Expressions, register};
use crate::format::{Entry, Format};
use crate::keys::{Table, Verdict};
use crate::plan::RenderedFile;
use crate::report::Problem;
use crate::settings::{Settings, Source};

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
            let keys = renderer.additions(file, &context).into_keys().collect();
            renderer.judge_keys(file, &context, keys, &file.template);
        }
    }
    renderer.problems
}

struct Renderer<'a> {
    package: &'a Package,
    settings: &'a Settings,
    expressions: Expressions,
    tera: Tera,
    files: Vec<RenderedFile>,
    problems: Vec<Problem>,
}

impl<'a> Renderer<'a> {
    fn new(package: &'a Package, settings: &'a Settings) -> Self {
        let mut tera = Tera::new();
        register(&mut tera);
        tera.register_filter("key", KeyFilter);
        tera.set_escape_fn(escape);
        let mut problems = Vec::new();
        for file in &package.contract.files {
            let text = package.files.get(&file.template).map(String::as_str).unwrap_or_default();
            if let Err(error) = tera.add_raw_template(&file.template, text) {
                problems.push(mistake(&file.template, error.to_string()));
            }
        }
        // Every template, whatever its name: what decides is the declared format, not a suffix.
        tera.autoescape_on([""]);
        Renderer { package, settings, expressions: Expressions::default(), tera, files: vec![], problems }
    }

    fn render_file(&mut self, file: &File) {
        match contexts(&self.expressions, &self.settings.context, file.when.as_ref(), file.each.as_ref()) {
            Err(reason) => self.problems.push(mistake(&file.template, reason)),
            Ok(contexts) => {
                for context in contexts {
                    match self.render_one(file, &context) {
                        Ok(rendered) => self.files.push(rendered),
                        Err(problem) => self.problems.push(problem),
                    }
                }
            }
        }
    }

    fn render_one(&mut self, file: &File, context: &Context) -> Result<RenderedFile, Problem> {
        let format = Format::from_name(&file.format)
            .ok_or_else(|| mistake(&file.template, format!("unknown format {:?}", file.format)))?;
        let mode =
            u32::from_str_radix(&file.mode, 8).map_err(|_| mistake(&file.template, "its mode is not octal".into()))?;
        let path = self.expressions.text(&file.path, context).map_err(|reason| mistake(&file.template, reason))?;
        let additions = self.additions(file, context);
        let (text, keys) = self.proven_text(file, format, context, &additions, &path)?;
        self.judge_keys(file, context, keys, &path);
        Ok(RenderedFile {
            path: PathBuf::from(path),
            contents: text.into_bytes(),
            mode,
            variables: self.given_variables_of(&file.template, &additions),
        })
    }

    /// The passthrough map that extends this file.
    fn additions(&self, file: &File, context: &Context) -> BTreeMap<String, String> {
        let map = file.extend.as_deref().and_then(|name| Expressions::lookup(context, name));
        map.and_then(|map| serde_json::to_value(&map).ok())
            .and_then(|map| serde_json::from_value(map).ok())
            .unwrap_or_default()
    }

    /// The file's text, and the keys in it.
    fn proven_text(
        &self,
        file: &File,
        format: Format,
        context: &Context,
        additions: &BTreeMap<String, String>,
        path: &str,
    ) -> Result<(String, Vec<String>), Problem> {
        let (tokens, values) = self.pass(file, format, context, Mode::Tokens)?;
        let (text, again) = self.pass(file, format, context, Mode::Values)?;
        let text = extended(format, &text, additions).map_err(|why| mistake(path, why))?;
        let tokens = parsed(format, &tokens, path)?;
        let real = parsed(format, &text, path)?;
        let mut meant: Vec<(String, String)> =
            tokens.iter().map(|entry| (put_back(&entry.key, &values), put_back(&entry.value, &values))).collect();
        meant.retain(|(key, _)| !additions.contains_key(key));
        meant.extend(additions.iter().map(|(key, value)| (key.clone(), format.meant_keeping_references(value))));
        let found: Vec<(String, String)> = real.into_iter().map(|entry| (entry.key, entry.value)).collect();
        if values != again || !same_entries(format, &meant, &found) {
            let wrong =
                meant.iter().zip(&found).find(|(meant, found)| meant != found).map_or("", |((key, _), _)| key.as_str());
            let what = format!("would not say what is meant (at {wrong:?}): a value does not stay in its place");
            return Err(mistake(path, what));
        }
        Ok((text, found.into_iter().map(|(key, _)| key).collect()))
    }

    /// One rendering: the text, and the values printed into it, in order.
    fn pass(
        &self,
        file: &File,
        format: Format,
        context: &Context,
        mode: Mode,
    ) -> Result<(String, Vec<String>), Problem> {
        ESCAPING.set(Escaping { format: Some(format), mode, values: vec![], refused: None });
        let rendered = self.tera.render(&file.template, context);
        let escaping = ESCAPING.take();
        if let Some(reason) = escaping.refused {
            let variables = self.variables_of(&file.template, &BTreeMap::new());
            let problem = Problem::error(file.template.clone(), format!("cannot be written: {reason}"));
            let accepted = format!("another value in one of {}", variables.join(", "));
            return Err(problem.accepted(accepted).with_status(crate::exit::TEMPLATE));
        }
        let mut text = rendered.map_err(|error| mistake(&file.template, error.to_string()))?;
        if let Some(prelude) = format.prelude(&text) {
            text.insert_str(0, prelude);
        }
        Ok((text, escaping.values))
    }

    /// Environment names whose values a template prints.
    fn variables_of(&self, template: &str, additions: &BTreeMap<String, String>) -> Vec<String> {
        let keys = self.tera.get_template_variables(template).unwrap_or_default();
        let contract: &Contract = &self.package.contract;
        let plain = contract.variables.iter().filter(|variable| keys.contains(contract.key_of(variable).as_str()));
        let mut names: BTreeSet<String> = plain.map(|variable| variable.name.clone()).collect();
        let added = self.settings.settings.iter().filter(|setting| additions.contains_key(&setting.key));
        names.extend(added.map(|setting| setting.name.clone()));
        names.into_iter().collect()
    }

    /// Those that somebody has set and whose values are in this file, directly or through values worked out from them:
    /// what an operator who mounts a file of their own has set in vain.
    fn given_variables_of(&self, template: &str, additions: &BTreeMap<String, String>) -> Vec<String> {
        let printed = self.tera.get_template_variables(template).unwrap_or_default();
        let sources = explain::sources(&self.package.uses, printed.into_iter().map(str::to_owned).collect());
        let given = self.settings.settings.iter().filter(|one| !matches!(one.source, Source::Default | Source::Unset));
        let used = given.filter(|one| additions.contains_key(&one.key) || sources.contains(&one.key));
        used.map(|one| one.name.clone()).collect::<BTreeSet<String>>().into_iter().collect()
    }

    fn judge_keys(&mut self, file: &File, context: &Context, found: Vec<String>, path: &str) {
        let Some(keys) = &file.keys else { return };
        let table = match Table::parse(self.package.files.get(&keys.table).map(String::as_str).unwrap_or_default()) {
            Ok(table) => table,
            Err(why) => return self.problems.push(mistake(&keys.table, why)),
        };
        // Without a version, because its own variable is wrong, nothing can be said.
        let Ok(version) = self.expressions.text(&keys.version, context) else { return };
        for key in found {
            self.problems.extend(self.judge_key(&table, keys, &version, &key, path));
        }
    }

    fn judge_key(&self, table: &Table, keys: &Keys, version: &str, key: &str, path: &str) -> Option<Problem> {
        let setting = self.settings.settings.iter().find(|setting| setting.key == key);
        let variable = setting.map_or_else(|| format!("{key} in {path}"), |setting| setting.name.clone());
        let named = |what: String| if setting.is_some() { format!("sets {key}, which {what}") } else { what };
        match table.judge(key, version) {
            Verdict::Valid => None,
            Verdict::Legacy(what) | Verdict::Ignored(what) => Some(Problem::warning(variable, named(what))),
            Verdict::Stops(what) => Some(Problem::error(variable, named(what))),
            Verdict::Unlisted => {
                let problem = match keys.unknown {
                    UnknownKey::Error => Problem::error,
                    UnknownKey::Warning => Problem::warning,
                    UnknownKey::Allowed => return None,
                };
                let hint = table.nearest(key).map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default();
                let service = &self.package.contract.service.name;
                Some(problem(variable, named(format!("is no key of {service} {version}{hint}"))))
            }
        }
    }
}

fn mistake(what: &str, reason: String) -> Problem {
    let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
    Problem::error(what, reason).with_status(crate::exit::TEMPLATE)
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

/// `text` without the lines of keys that `additions` sets, and with `additions` at its end.
fn extended(format: Format, text: &str, additions: &BTreeMap<String, String>) -> Result<String, String> {
    if additions.is_empty() {
        return Ok(text.to_owned());
    }
    let entries = format.parse(text).map_err(|error| error.to_string())?;
    let replaced: BTreeSet<usize> = entries
        .iter()
        .filter(|entry| additions.contains_key(&entry.key))
        .flat_map(|entry| entry.lines.clone())
        .collect();
    let kept = text.lines().enumerate().filter(|(index, _)| !replaced.contains(index)).map(|(_, line)| line);
    let mut extended: String = kept.flat_map(|line| [line, "\n"]).collect();
    for (key, value) in additions {
        let key = format.escape_key(key).map_err(|why| why.to_string())?;
        let value = format.escape_keeping_references(value).map_err(|why| why.to_string())?;
        extended.push_str(&format!("{key}={value}\n"));
    }
    if let Some(prelude) = format.prelude(&extended).filter(|prelude| !extended.starts_with(*prelude)) {
        extended.insert_str(0, prelude);
    }
    Ok(extended)
}

// --- escaping -----------------------------------------------------------------------------------------------------

/// What `{{ value }}` prints.
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
    /// Why a value cannot be written in this format.
    refused: Option<String>,
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
fn printed(value: &str, with: fn(Format, &str) -> Result<String, String>) -> String {
    ESCAPING.with_borrow_mut(|escaping| {
        let number = escaping.values.len();
        escaping.values.push(value.to_owned());
        let format = escaping.format.unwrap_or(Format::Plain);
        let text = if escaping.mode == Mode::Tokens { token(number) } else { value.to_owned() };
        // In either pass: a token stands for a value, and it is the value that must be writable.
        if let Err(reason) = with(format, value) {
            escaping.refused.get_or_insert(reason);
        }
        with(format, &text).unwrap_or_default()
    })
}

fn escape(value: &str, output: &mut dyn Write) -> std::io::Result<()> {
    output.write_all(printed(value, |format, text| format.escape(text).map_err(|why| why.to_string())).as_bytes())
}

/// `{{ name | key }}`: the value as a key of the file's format.
struct KeyFilter;

impl Filter<&str, TeraResult<String>> for KeyFilter {
    fn call(&self, value: &str, _: Kwargs, _: &State) -> TeraResult<String> {
        Ok(printed(value, |format, text| format.escape_key(text).map_err(|why| why.to_string())))
    }

    fn is_safe(&self) -> bool {
        true
    }
}
