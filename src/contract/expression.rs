//! Tera, as this project uses it: expressions in contracts and templates in files share one set of filters.
//!
//! No filter reads the environment, the clock or a random source, so the same settings always give the same text.
//! An undefined variable is an error wherever its text would be used; in a condition it is false.

use std::collections::{BTreeMap, HashSet};

use percent_encoding::utf8_percent_encode;
use tera::{Context, Kwargs, State, Tera, TeraResult, Value};

use crate::contract::entries;
use crate::contract::jar;
use crate::contract::java;
use crate::contract::search_path;
use crate::contract::shortcut;
use crate::contract::volumes;
use crate::read;
use crate::value;

/// Evaluates the expressions of a contract.
#[derive(Debug)]
pub struct Expressions {
    tera: Tera,
}

impl Default for Expressions {
    fn default() -> Self {
        let mut tera = Tera::new();
        register(&mut tera);
        // Not for templates: what a file says is printed through a `let`, which says whether it is a secret.
        tera.register_function("contents", |kwargs: Kwargs, _: &State| -> TeraResult<String> {
            let path: &str = kwargs.must_get("path")?;
            read::text(path.as_ref(), read::VALUE).map_err(|error| tera::Error::message(format!("{path}: {error}")))
        });
        Expressions { tera }
    }
}

impl Expressions {
    /// The text of an expression.
    ///
    /// # Errors
    /// Tera's own message, on one line.
    pub fn text(&self, expression: &str, context: &Context) -> Result<String, String> {
        if !expression.contains("{{") && !expression.contains("{%") {
            return Ok(expression.to_owned());
        }
        let rest = |part: &str| self.tera.render_str(part, context, false).ok();
        shortcut::text(expression, context, &rest).map_or_else(|| self.by_tera(expression, context), Ok)
    }

    /// Whether a condition holds. Undefined is false.
    ///
    /// # Errors
    /// As `text`.
    pub fn holds(&self, condition: &str, context: &Context) -> Result<bool, String> {
        let rest = |part: &str| self.tera.render_str(part, context, false).ok();
        let held = shortcut::holds(condition, context, &rest);
        held.map_or_else(|| Ok(self.by_tera(&condition_template(condition), context)? == "1"), Ok)
    }

    fn by_tera(&self, expression: &str, context: &Context) -> Result<String, String> {
        self.tera.render_str(expression, context, false).map_err(|error| one_line(&error))
    }

    /// A named value of the context, such as the list an `each` goes over.
    pub fn lookup(context: &Context, name: &str) -> Option<Value> {
        let (root, path) = name.split_once('.').map_or((name, None), |(root, path)| (root, Some(path)));
        let value = context.get(root)?;
        path.map_or(Some(value), |path| value.get_from_path(path)).cloned()
    }

    /// The variables a text needs from its context, for the build's check.
    ///
    /// # Errors
    /// The text does not parse, or names an unknown filter.
    pub fn variables(&mut self, expression: &str) -> Result<HashSet<String>, String> {
        self.tera.add_raw_template("expression", expression).map_err(|error| error.to_string())?;
        let names = self.tera.get_template_variables("expression").map_err(|error| error.to_string())?;
        Ok(names.into_iter().map(str::to_owned).collect())
    }
}

/// A condition as a template that prints `1` where it holds.
pub fn condition_template(condition: &str) -> String {
    format!("{{% if {condition} %}}1{{% endif %}}")
}

/// Whether an expression uses what a variable says, and not only whether it is there: `{{ x }}` and `x == 1` do, `if
/// x`,
/// `not x and y` and `x is defined` do not.
pub fn reads_content(expression: &str, name: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    expression.match_indices(name).any(|(start, _)| {
        let (before, after) = (&expression[..start], &expression[start + name.len()..]);
        let whole = !before.ends_with(|c| in_word(c) || c == '.') && !after.starts_with(in_word);
        let (before, after) = (before.trim_end(), after.trim_start());
        let asked =
            before.is_empty() || ["(", " if", " elif", "not", "and", "or"].iter().any(|end| before.ends_with(end));
        let over =
            after.is_empty() || [")", "%}", "and ", "or ", "is defined"].iter().any(|next| after.starts_with(next));
        whole && !(asked && over)
    })
}

/// `catalog in catalogs` → (`catalog`, `catalogs`).
pub fn each_parts(each: &str) -> Option<(&str, &str)> {
    each.split_once(" in ").map(|(item, list)| (item.trim(), list.trim()))
}

fn one_line(error: &tera::Error) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Adds the project's filters to a Tera instance and takes away what does not belong in configuration.
pub fn register(tera: &mut Tera) {
    tera.register_filter("fraction", |bytes: u64, kwargs: Kwargs, _: &State| -> TeraResult<u64> {
        let of: f64 = kwargs.must_get("of")?;
        Ok((bytes as f64 * of) as u64)
    });
    tera.register_filter("at_least", |number: i64, kwargs: Kwargs, _: &State| -> TeraResult<i64> {
        Ok(number.max(kwargs.must_get("of")?))
    });
    tera.register_filter("at_most", |number: i64, kwargs: Kwargs, _: &State| -> TeraResult<i64> {
        Ok(number.min(kwargs.must_get("of")?))
    });
    tera.register_filter("whole_mebibytes", |bytes: u64, _: Kwargs, _: &State| bytes / (1 << 20) * (1 << 20));
    tera.register_filter("datasize", |bytes: u64, _: Kwargs, _: &State| value::show_datasize(bytes));
    tera.register_filter("jvmsize", |bytes: u64, _: Kwargs, _: &State| value::show_jvmsize(bytes));
    tera.register_filter("bytes", |bytes: u64, _: Kwargs, _: &State| value::show_bytes(bytes));
    tera.register_filter("mebibytes", |bytes: u64, _: Kwargs, _: &State| bytes / (1 << 20));
    tera.register_filter("duration", |millis: u64, _: Kwargs, _: &State| value::show_duration(millis));
    tera.register_filter("duration_postgresql", |millis: u64, _: Kwargs, _: &State| {
        value::show_postgresql_duration(millis)
    });
    tera.register_filter("duration_iso", |millis: u64, _: Kwargs, _: &State| show_iso_duration(millis));
    tera.register_filter("seconds", |millis: u64, _: Kwargs, _: &State| millis.div_ceil(1000));
    tera.register_filter("since", |version: Value, kwargs: Kwargs, _: &State| -> TeraResult<bool> {
        let earliest: Value = kwargs.must_get("version")?;
        Ok(version_key(&plain(&version)) >= version_key(&plain(&earliest)))
    });
    tera.register_filter("host_of", |text: &str, _: Kwargs, _: &State| host_of(text));
    tera.register_filter("hosts_of", |text: &str, _: Kwargs, _: &State| hosts_of(text).to_owned());
    tera.register_filter("port_of", |text: &str, kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let default: Option<Value> = kwargs.get("default")?;
        Ok(port_of(text).unwrap_or_else(|| default.map(|value| plain(&value)).unwrap_or_default()))
    });
    tera.register_filter("listen_address", |given: &str, kwargs: Kwargs, _: &State| -> TeraResult<String> {
        Ok(listen_address(given.trim(), &plain(&kwargs.must_get("port")?)))
    });
    tera.register_filter("url_parameter", |text: &str, kwargs: Kwargs, _: &State| -> TeraResult<String> {
        Ok(url_parameter(text, kwargs.must_get("name")?).unwrap_or_default())
    });
    tera.register_filter("search_path_of", |text: &str, _: Kwargs, _: &State| {
        search_path::of_statements(text).flatten().unwrap_or_default()
    });
    tera.register_filter("keeps_search_path_known", |text: &str, _: Kwargs, _: &State| {
        search_path::of_statements(text).is_some()
    });
    tera.register_filter("path_of", |text: &str, _: Kwargs, _: &State| path_of(text));
    tera.register_filter("scheme_of", |text: &str, _: Kwargs, _: &State| {
        text.split_once("://").map(|(scheme, _)| scheme.to_lowercase()).unwrap_or_default()
    });
    tera.register_filter("without_suffix", |text: &str, kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let suffix: &str = kwargs.must_get("suffix")?;
        Ok(text.strip_suffix(suffix).unwrap_or(text).to_owned())
    });
    tera.register_filter("pem_lines", |text: &str, _: Kwargs, _: &State| pem_lines(text));
    tera.register_filter("reached_at", |address: &str, _: Kwargs, _: &State| reached_at(address));
    tera.register_filter("url_host", |text: &str, _: Kwargs, _: &State| bracketed(text));
    tera.register_filter("urlencode", |text: &str, _: Kwargs, _: &State| {
        utf8_percent_encode(text, crate::text::RESERVED).to_string()
    });
    tera.register_filter("json", |value: Value, _: Kwargs, _: &State| -> TeraResult<String> {
        serde_json::to_string(&value).map_err(|error| tera::Error::message(error.to_string()))
    });
    tera.register_filter("node_id", |text: &str, _: Kwargs, _: &State| node_id(text));
    tera.register_filter("slug", |text: &str, _: Kwargs, _: &State| slug(text));
    tera.register_filter("basename", |text: &str, _: Kwargs, _: &State| {
        text.rsplit('/').next().unwrap_or(text).to_owned()
    });
    tera.register_filter("matches", |text: &str, kwargs: Kwargs, _: &State| -> TeraResult<bool> {
        let pattern: &str = kwargs.must_get("pattern")?;
        let regex = regex_lite::Regex::new(pattern).map_err(|error| tera::Error::message(error.to_string()))?;
        Ok(regex.is_match(text))
    });
    tera.register_filter("without", |list: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let unwanted: Value = kwargs.must_get("item")?;
        let kept: Vec<Value> =
            list.as_array().unwrap_or(&[]).iter().filter(|item| **item != unwanted).cloned().collect();
        Ok(kept.into())
    });
    tera.register_filter("expand_ellipses", |text: Value, _: Kwargs, _: &State| -> Value {
        let drives = if text.as_array().is_some() { texts(&text) } else { vec![plain(&text)] };
        values(drives.iter().flat_map(|text| expand_ellipses(text)))
    });
    tera.register_filter("option", |words: Value, kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let names = texts(&kwargs.must_get("names")?);
        let parts = command_line(&texts(&words), &texts(&kwargs.must_get("switches")?));
        let given = parts.iter().rev().find_map(|part| part.option.as_ref().filter(|(name, _)| names.contains(name)));
        Ok(given.map(|(_, value)| value.clone()).unwrap_or_default())
    });
    tera.register_filter("operands", |words: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let parts = command_line(&texts(&words), &texts(&kwargs.must_get("switches")?));
        Ok(values(parts.into_iter().filter(|part| part.option.is_none()).flat_map(|part| part.words)))
    });
    tera.register_filter("options", |words: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let without = texts(&kwargs.must_get("without")?);
        let parts = command_line(&texts(&words), &texts(&kwargs.must_get("switches")?));
        let kept = |part: &Part| part.option.as_ref().is_some_and(|(name, _)| !without.contains(name));
        Ok(values(parts.into_iter().filter(kept).flat_map(|part| part.words)))
    });
    tera.register_function("java_version", |kwargs: Kwargs, _: &State| -> TeraResult<u32> {
        let home: &str = kwargs.must_get("home")?;
        Ok(java::version_at(std::path::Path::new(home)).unwrap_or(0))
    });
    for name in ["words", "java_options"] {
        tera.register_function(name, |kwargs: Kwargs, _: &State| -> TeraResult<Value> {
            Ok(values(nested_texts(&kwargs.must_get("of")?).into_iter()))
        });
    }
    // Lists in a list, one after the other.
    tera.register_function("flat", |kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let lists: Value = kwargs.must_get("of")?;
        Ok(values(lists.as_array().unwrap_or(&[]).iter().flat_map(texts)))
    });
    tera.register_filter("prints_a_secret", |options: &str, _: Kwargs, _: &State| java::prints_a_secret(options));
    tera.register_filter("java_heap", |words: Value, kwargs: Kwargs, _: &State| -> TeraResult<u64> {
        Ok(java::heap(&texts(&words), kwargs.must_get("memory")?).unwrap_or(0))
    });
    tera.register_filter("java_initial_heap", |words: Value, _: Kwargs, _: &State| {
        java::initial_heap(&texts(&words)).unwrap_or(0)
    });
    tera.register_filter("java_collector", |words: Value, _: Kwargs, _: &State| {
        java::collector(&texts(&words)).unwrap_or_default().to_owned()
    });
    tera.register_filter("refused_by_java", |words: Value, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        Ok(values(java::refusals(&texts(&words), kwargs.must_get("version")?).into_iter()))
    });
    register_lookups(tera);
    entries::register(tera);
    // In a file's template this is the renderer's own, which escapes a key as the file's format wants it.
    tera.register_filter("key", |text: &str, _: Kwargs, _: &State| text.to_owned());
    tera.register_function("file_exists", |kwargs: Kwargs, _: &State| -> TeraResult<bool> {
        let path: &str = kwargs.must_get("path")?;
        Ok(std::path::Path::new(path).exists())
    });
}

/// Functions for searches that would need a loop: through files, lines or nodes.
fn register_lookups(tera: &mut Tera) {
    tera.register_function("jar_version", |kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let (folder, name): (&str, &str) = (kwargs.must_get("folder")?, kwargs.must_get("name")?);
        Ok(jar_version(folder.as_ref(), name).unwrap_or_default())
    });
    tera.register_function("first_file", |kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let folder: &str = kwargs.must_get("folder")?;
        let paths = texts(&kwargs.must_get("names")?).into_iter().map(|name| format!("{folder}/{name}"));
        Ok(paths.into_iter().find(|path| std::path::Path::new(path).exists()).unwrap_or_default())
    });
    tera.register_function("volume_of", |kwargs: Kwargs, _: &State| -> TeraResult<String> {
        let path: &str = kwargs.must_get("path")?;
        Ok(volumes::mount_point(path.as_ref()))
    });
    tera.register_function("volume_size", |kwargs: Kwargs, _: &State| -> TeraResult<u64> {
        let path: &str = kwargs.must_get("path")?;
        Ok(volumes::size(path.as_ref()))
    });
    tera.register_function("writable", |kwargs: Kwargs, _: &State| -> TeraResult<bool> {
        let path: &str = kwargs.must_get("path")?;
        Ok(volumes::is_writable(path.as_ref()))
    });
    tera.register_function("missing_classes", |kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        let (folder, classes): (&str, Value) = (kwargs.must_get("folder")?, kwargs.must_get("classes")?);
        Ok(values(jar::missing_classes(folder.as_ref(), &texts(&classes)).into_iter()))
    });
    tera.register_function("file_names", |kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        Ok(values(file_names(kwargs.must_get::<&str>("folder")?.as_ref(), kwargs.must_get("pattern")?)?.into_iter()))
    });
    tera.register_filter("line_value", |text: &str, kwargs: Kwargs, _: &State| -> TeraResult<String> {
        Ok(line_value(text, kwargs.must_get("key")?).unwrap_or_default())
    });
    tera.register_filter("yaml_values", |text: &str, _: Kwargs, _: &State| -> TeraResult<Value> {
        let node = value::yaml::Node::parse(text).map_err(tera::Error::message)?;
        let entries = node.entries().into_iter();
        Ok(Value::from_serializable(&entries.collect::<BTreeMap<String, String>>()))
    });
    tera.register_filter("node_urls", |nodes: &str, kwargs: Kwargs, _: &State| -> TeraResult<Value> {
        Ok(values(node_urls(nodes, kwargs.must_get("scheme")?, kwargs.must_get("path")?)))
    });
}

/// A PEM text whose line breaks are written `\n`, as environments of one line have them.
fn pem_lines(text: &str) -> String {
    text.replace("\\n", "\n").trim().to_owned()
}

/// Where a server that listens at an address is asked from the same machine: `:9000` → `127.0.0.1:9000`.
fn reached_at(address: &str) -> String {
    let host = host_of(address);
    let host = if ["", "0.0.0.0", "::", "*"].contains(&host.as_str()) { "127.0.0.1".into() } else { bracketed(&host) };
    format!("{host}:{}", port_of(address).unwrap_or_default())
}

/// The newest version among the files `NAME-VERSION.jar` of a folder, of versions that are numbers with dots.
fn jar_version(folder: &std::path::Path, name: &str) -> Option<String> {
    let files = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.file_name());
    let version = |file: std::ffi::OsString| {
        let version = file.to_str()?.strip_prefix(name)?.strip_prefix('-')?.strip_suffix(".jar")?.to_owned();
        version.split('.').all(|part| part.parse::<u32>().is_ok()).then_some(version)
    };
    files.filter_map(version).max_by_key(|version| version_key(version))
}

/// The names of a folder's files that a pattern matches, in order; none where it cannot be read.
fn file_names(folder: &std::path::Path, pattern: &str) -> TeraResult<Vec<String>> {
    let regex = regex_lite::Regex::new(pattern).map_err(|error| tera::Error::message(error.to_string()))?;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| regex.is_match(name));
    names.sort();
    Ok(names)
}

/// The value of the first line `KEY: VALUE` of a text, without quotes; an indented line belongs to another key.
fn line_value(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.replace(['"', '\''], "").trim().to_owned())
}

/// Nodes separated by commas, semicolons or blanks as URLs: `host`, `host/path` and URLs as they are.
fn node_urls<'t>(nodes: &'t str, scheme: &'t str, path: &'t str) -> impl Iterator<Item = String> + 't {
    let words = nodes.split(|c: char| c.is_whitespace() || matches!(c, ',' | ';')).filter(|word| !word.is_empty());
    words.map(move |node| {
        let url = if node.contains("://") { node.to_owned() } else { format!("{scheme}://{node}") };
        match path_of(&url).as_str() {
            "" | "/" => format!("{}{path}", url.strip_suffix('/').unwrap_or(&url)),
            _ => url,
        }
    })
}

/// A scalar without Tera's quotes.
pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The items of a list as texts.
pub(super) fn texts(list: &Value) -> Vec<String> {
    list.as_array().unwrap_or(&[]).iter().map(plain).collect()
}

/// The items of lists in a list, one after the other; a text is split into words, and what is undefined left out.
fn nested_texts(list: &Value) -> Vec<String> {
    let lists = list.as_array().unwrap_or(&[]).iter().filter(|item| !item.is_undefined());
    let words = |item: &Value| value::split_words(&plain(item)).unwrap_or_else(|| vec![plain(item)]);
    lists.flat_map(|item| if item.as_array().is_some() { texts(item) } else { words(item) }).collect()
}

pub(super) fn values(texts: impl Iterator<Item = String>) -> Value {
    texts.map(|text| Value::normal_string(&text)).collect::<Vec<_>>().into()
}

/// A part of a command line: an operand, or an option with its value.
struct Part {
    /// As they were given.
    words: Vec<String>,
    /// Name without dashes, and value; empty where it has none.
    option: Option<(String, String)>,
}

/// Words as a program with GNU's long options reads them: `--name value`, `--name=value`, and `--name` alone where
/// it is one of `switches`; one dash is as good as two (Go's `flag` package). After `--` all are operands.
fn command_line(words: &[String], switches: &[String]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let name = word.strip_prefix("--").or_else(|| word.strip_prefix('-')).filter(|name| *name != "-");
        match name {
            Some("") if word == "--" => {
                parts.extend(words.by_ref().map(|word| Part { words: vec![word.clone()], option: None }));
            }
            Some(name) if !name.is_empty() => {
                let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
                let takes_next = value.is_none() && !switches.iter().any(|switch| switch == name);
                let next = if takes_next { words.next() } else { None };
                let value = value.or(next.map(String::as_str)).unwrap_or_default();
                let option = Some((name.to_owned(), value.to_owned()));
                parts.push(Part { words: std::iter::once(word).chain(next).cloned().collect(), option });
            }
            _ => parts.push(Part { words: vec![word.clone()], option: None }),
        }
    }
    parts
}

/// No list of hosts or drives is longer; a longer one is a typing mistake that would fill the memory.
const MOST_EXPANDED: usize = 4096;

/// `/data{1...4}` → `/data1` … `/data4`, every range with every other, as MinIO's server reads them: decimal, or
/// hexadecimal where a letter is in it, padded to the width of the last where either begins with a zero. None at all
/// where the braces are no such range.
fn expand_ellipses(text: &str) -> Vec<String> {
    let Some(start) = text.find('{') else {
        return if text.contains(['}']) || text.contains("...") { vec![] } else { vec![text.to_owned()] };
    };
    let (head, rest) = (&text[..start], &text[start + 1..]);
    let Some((range, tail)) = rest.split_once('}') else { return vec![] };
    let labels = range_labels(range).filter(|_| !head.contains("...") && !head.contains('}')).unwrap_or_default();
    let tails = expand_ellipses(tail);
    if labels.len().saturating_mul(tails.len()) > MOST_EXPANDED {
        return vec![];
    }
    labels.iter().flat_map(|label| tails.iter().map(move |tail| format!("{head}{label}{tail}"))).collect()
}

fn range_labels(range: &str) -> Option<Vec<String>> {
    let (first, last) = range.split_once("...")?;
    let hexadecimal = [first, last].iter().any(|bound| bound.bytes().any(|byte| !byte.is_ascii_digit()));
    let radix = if hexadecimal { 16 } else { 10 };
    let (from, to) = (u64::from_str_radix(first, radix).ok()?, u64::from_str_radix(last, radix).ok()?);
    if from > to || to - from >= MOST_EXPANDED as u64 {
        return None;
    }
    let padded = (first.starts_with('0') && first.len() > 1) || last.starts_with('0');
    let width = if padded { last.len() } else { 0 };
    let label = |number| if hexadecimal { format!("{number:0width$x}") } else { format!("{number:0width$}") };
    Some((from..=to).map(label).collect())
}

/// ISO 8601 seconds: `PT90S`, `PT0.25S`.
fn show_iso_duration(millis: u64) -> String {
    if millis.is_multiple_of(1000) { format!("PT{}S", millis / 1000) } else { format!("PT{}S", millis as f64 / 1000.0) }
}

/// Numbers of a version in order, so that `0.104.3` comes after `0.99.0`.
pub fn version_key(version: &str) -> Vec<u64> {
    let numbers = version.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
    numbers.map(|part| part.parse().unwrap_or(u64::MAX)).collect()
}

/// The authority of `scheme://user@host:port/path` or `host:port`: host and port apart.
pub fn authority(text: &str) -> (&str, Option<&str>) {
    let rest = hosts_of(text);
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    }
}

/// All hosts of a URL that has several, each with its port: `a:5432,b`.
fn hosts_of(text: &str) -> &str {
    let rest = text.rsplit_once("://").map_or(text, |(_, rest)| rest);
    let rest = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    rest.rsplit_once('@').map_or(rest, |(_, rest)| rest)
}

fn host_of(text: &str) -> String {
    authority(text).0.trim_matches(['[', ']']).to_owned()
}

fn port_of(text: &str) -> Option<String> {
    authority(text).1.map(str::to_owned)
}

fn path_of(text: &str) -> String {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    rest.split_once('/').map_or(String::new(), |(_, path)| format!("/{path}"))
}

/// `jdbc:postgresql://db/x?sslmode=require` → the value of one parameter, percent-decoded. Of several it is the last,
/// as for the driver (`parseURL` of pgjdbc's `Driver`).
fn url_parameter(text: &str, name: &str) -> Option<String> {
    let (_, query) = text.split_once('?')?;
    let pairs = url::form_urlencoded::parse(query.as_bytes());
    pairs.into_iter().filter(|(key, _)| key == name).last().map(|(_, value)| value.into_owned())
}

/// An IPv6 address in brackets, as a URL wants it; anything else as it is.
pub fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// `host:port` or `:port` to listen at: a port alone is one of every interface, and nothing is `port`.
fn listen_address(given: &str, port: &str) -> String {
    match given {
        "" => format!(":{port}"),
        _ if given.contains(':') => given.to_owned(),
        _ => format!(":{given}"),
    }
}

/// A legal `node.id` of Trino (airlift's NodeConfig: `[A-Za-z0-9][_A-Za-z0-9-]*`), stable for the same text.
fn node_id(text: &str) -> String {
    let id: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '-' }).collect();
    let trimmed = id.trim_start_matches(['-', '_']);
    if trimmed.is_empty() { "node".to_owned() } else { trimmed.to_owned() }
}

/// Lower-case letters, digits and underscores: a legal `node.environment`.
fn slug(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// A context of plain values, for the build's and the tests' use.
pub fn context_of(pairs: &BTreeMap<String, Value>) -> Context {
    let mut context = Context::new();
    for (name, value) in pairs {
        context.insert_value(name.clone(), value.clone());
    }
    context
}

#[cfg(test)]
mod tests;
