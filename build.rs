//! Embeds every contract with its templates and key tables, and fails the build, with file and line, when one of them
//! could not work: a template that does not parse or names a variable no contract declares, an unknown type or field,
//! a name or alias used twice, a file that nothing refers to.

// The program's own modules do the reading, so that the build and the program cannot disagree.
#[allow(dead_code)]
#[path = "src/contract"]
mod contract {
    pub mod check;
    mod entries;
    pub mod expression;
    pub mod fragments;
    pub mod jar;
    pub mod java;
    pub mod properties;
    mod schema;
    mod search_path;
    mod shortcut;
    pub mod shorthand;
    mod tasks;
    mod types;
    pub mod uses;
    mod volumes;

    pub use self::schema::*;
    pub use self::tasks::*;
    pub use self::types::{Text, mistake_in_type};
}
#[allow(dead_code)]
#[path = "src/did_you_mean.rs"]
mod did_you_mean;
#[allow(dead_code)]
#[path = "src/read.rs"]
mod read;
#[allow(dead_code)]
#[path = "src/text.rs"]
mod text;
#[allow(dead_code, unused_imports)]
#[path = "src/value/mod.rs"]
// `mod.rs`: a module with a path looks for its own beside itself.
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use contract::Contract;
use contract::check::Package;
use contract::fragments::Fragment;
use serde_json::Value;

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo:rerun-if-changed=services");
    println!("cargo:rerun-if-changed=templates");
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    let mut complaints = Vec::new();
    let shared = shared_fragments(&root, &mut complaints);
    let fragment = |name: &str| shared.get(name).map(|(value, _)| value.clone());
    let mut embedded = String::from("static EMBEDDED: &[Embedded] = &[\n");
    for name in folders(&root.join("services")) {
        let path = format!("services/{name}/service.toml");
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else { continue };
        match contract::fragments::read(&text, &fragment) {
            Ok((contract, data)) => {
                let sources: Vec<(String, String)> =
                    std::iter::once((path, text)).chain(shared.values().map(|(_, source)| source.clone())).collect();
                let paths = files_of(&root, &name);
                let files = with_texts(&root, &paths);
                let package = Package { name: &name, contract: &contract, sources: &sources, files: &files };
                complaints.extend(contract::check::mistakes(package));
                let unused = contract::check::unused(package);
                complaints.extend(unused.map(|file| format!("{}:1: nothing uses {file}", sources[0].0)));
                embed(&mut embedded, &contract, &data, &files, &out);
            }
            Err(error) => complaints.push(format!("{path}: {error}")),
        }
    }
    embedded.push_str("];\nstatic FRAGMENTS: &[(&str, Packed)] = &[\n");
    for (name, (value, _)) in &shared {
        let packed = pack(&out, &format!("{name}.fragment"), &value.to_string());
        writeln!(embedded, "    ({name:?}, {packed}),").expect("a String takes it");
    }
    embedded.push_str("];\n");
    for complaint in &complaints {
        println!("cargo::error={}", complaint.replace('\n', "\ncargo::error="));
    }
    std::fs::write(out.join("embedded.rs"), embedded).expect("OUT_DIR can be written");
    println!("cargo:rerun-if-changed=src");
    let words = pack(&out, "words", &words(&root));
    std::fs::write(out.join("words.rs"), words).expect("OUT_DIR can be written");
}

/// The words that dl-entry may print, one a line: of contracts, templates, tables and its own code.
fn words(root: &Path) -> String {
    let mut words = BTreeSet::new();
    let mut folders: Vec<PathBuf> = ["src", "services", "templates"].map(|folder| root.join(folder)).into();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            match path.extension().and_then(|extension| extension.to_str()) {
                _ if path.is_dir() => folders.push(path),
                Some("rs") if !path.ends_with("tests.rs") => add_words(code_without_tests(&text), &mut words),
                Some("toml" | "tera" | "tsv") => add_words(text.lines(), &mut words),
                _ => {}
            }
        }
    }
    Vec::from_iter(words).join("\n")
}

fn code_without_tests(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    lines.filter(|line| !line.trim_start().starts_with("//"))
}

/// Shorter ones are no secrets.
fn add_words<'t>(lines: impl Iterator<Item = &'t str>, words: &mut BTreeSet<String>) {
    for line in lines {
        let parts = line.split(|character: char| !character.is_ascii_alphanumeric());
        words.extend(parts.filter(|word| word.len() >= 4).map(str::to_owned));
    }
}

fn folders(parent: &Path) -> BTreeSet<String> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Templates and tables of a service, by file name.
fn files_of(root: &Path, name: &str) -> BTreeMap<String, PathBuf> {
    let folders = [root.join("templates").join(name), root.join("services").join(name)];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let paths = entries.map(|entry| entry.path()).filter(|path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("tera" | "tsv"))
    });
    paths.map(|path| (path.file_name().expect("listed").to_string_lossy().into_owned(), path)).collect()
}

/// Path and text of each file.
fn with_texts(root: &Path, paths: &BTreeMap<String, PathBuf>) -> BTreeMap<String, (String, String)> {
    let pair = |path: &PathBuf| {
        let shown = path.strip_prefix(root).unwrap_or(path).display().to_string();
        (shown, std::fs::read_to_string(path).expect("a file can be read"))
    };
    paths.iter().map(|(name, path)| (name.clone(), pair(path))).collect()
}

/// The fragments of services/shared: data, and path and text.
fn shared_fragments(root: &Path, complaints: &mut Vec<String>) -> BTreeMap<String, (Value, (String, String))> {
    let mut shared = BTreeMap::new();
    for entry in std::fs::read_dir(root.join("services/shared")).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let Some(name) = file.strip_suffix(".toml") else { continue };
        let text = std::fs::read_to_string(entry.path()).expect("a fragment can be read");
        match toml::from_str::<Fragment>(&text).and_then(|_| toml::from_str(&text)) {
            Ok(value) => drop(shared.insert(name.to_owned(), (value, (format!("services/shared/{file}"), text)))),
            Err(error) => complaints.push(format!("services/shared/{file}: {error}")),
        }
    }
    shared
}

/// Rust for the names each `let` is worked out from.
fn uses(contract: &Contract) -> String {
    let sorted =
        |(name, used): (String, Vec<String>)| format!("({name:?}, &{:?}), ", Vec::from_iter(BTreeSet::from_iter(used)));
    contract::uses::uses_of(contract).into_iter().map(sorted).collect()
}

fn embed(code: &mut String, contract: &Contract, data: &Value, texts: &BTreeMap<String, (String, String)>, out: &Path) {
    // Only the fields that were written: reading them takes a third of the time of all fields.
    let (name, json, uses) = (&contract.service.name, data.to_string(), uses(contract));
    // One text of them all, as one is quickest to unpack: the contract, files, and templates as they were written.
    let mut packed = json.clone();
    let (mut files, mut originals, mut reads) = (String::new(), String::new(), String::new());
    let mut last = String::new();
    for (file, (_, text)) in texts {
        let is_template = file.ends_with(".tera");
        let written = if is_template { contract.with_properties(file, text) } else { text.into() };
        packed.push_str(&written);
        files.push_str(&format!("({file:?}, {}), ", written.len()));
        if *written != **text {
            last.push_str(text);
            originals.push_str(&format!("({file:?}, {}), ", text.len()));
        }
        if is_template {
            let names = Vec::from_iter(contract::uses::read_by(&written)).join("\n");
            reads.push_str(&format!("({file:?}, {names:?}), "));
        }
    }
    packed.push_str(&last);
    let (contract, packed) = (json.len(), pack(out, name, &packed));
    writeln!(
        code,
        "    Embedded {{ name: {name:?}, packed: {packed}, contract: {contract}, uses: &[{uses}], files: &[{files}], \
         originals: &[{originals}], reads: &[{reads}] }},"
    )
    .expect("a String takes it");
}

/// Writes a text compressed, and returns the expression that embeds it.
fn pack(out: &Path, name: &str, text: &str) -> String {
    let file = format!("{name}.deflate");
    let bytes = miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 10);
    std::fs::write(out.join(&file), bytes).expect("OUT_DIR can be written");
    format!("Packed {{ bytes: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")), length: {} }}", text.len())
}
