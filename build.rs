//! Embeds every contract with its templates and key tables, and fails the build, with file and line, when one of them
//! could not work: a template that does not parse or names a variable no contract declares, an unknown type or field,
//! a name or alias used twice, a file that nothing refers to.

// The program's own modules do the reading, so that the build and the program cannot disagree.
#[allow(dead_code)]
#[path = "src/contract.rs"]
mod contract;
#[allow(dead_code)]
#[path = "src/expression.rs"]
mod expression;
#[allow(dead_code)]
#[path = "src/java.rs"]
mod java;
#[allow(dead_code)]
#[path = "src/read.rs"]
mod read;
#[allow(dead_code)]
#[path = "src/shorthand.rs"]
mod shorthand;
#[allow(dead_code)]
#[path = "src/spelling.rs"]
mod spelling;
#[allow(dead_code)]
#[path = "src/value.rs"]
mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use contract::{Contract, Group, Http, RefusedTables, S3, Variable};
use expression::{Expressions, condition_template, each_parts};

const FORMATS: [&str; 12] = [
    "properties",
    "smallrye",
    "airlift",
    "jvm-options",
    "yaml",
    "json",
    "xml",
    "postgresql-conf",
    "pg-hba",
    "pgpass",
    "env",
    "plain",
];

/// What every expression knows beside the contract's own names.
const BUILT_IN: [&str; 9] = [
    "etc",
    "run_dir",
    "service",
    "arguments",
    "arguments_given",
    "files_checked",
    "starting",
    "container",
    "health_port",
];

fn main() {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo:rerun-if-changed=services");
    println!("cargo:rerun-if-changed=templates");
    let mut complaints = Vec::new();
    let mut embedded = String::from("static EMBEDDED: &[Embedded] = &[\n");
    for name in folders(&root.join("services")) {
        let path = root.join("services").join(&name).join("service.toml");
        if !path.is_file() {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a contract can be read");
        match Contract::from_toml(&text) {
            Ok(contract) => {
                let files = files_of(&root, &name);
                complaints.extend(Checker::new(&name, &text, &contract, &files).check());
                embed(&mut embedded, &name, &text, &uses(&contract), &files);
            }
            Err(error) => complaints.push(format!("services/{name}/service.toml: {error}")),
        }
    }
    embedded.push_str("];\n");
    for complaint in &complaints {
        println!("cargo::error={}", complaint.replace('\n', "\ncargo::error="));
    }
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo sets it"));
    std::fs::write(out.join("embedded.rs"), embedded).expect("OUT_DIR can be written");
    println!("cargo:rerun-if-changed=src");
    std::fs::write(out.join("words.txt"), words(&root)).expect("OUT_DIR can be written");
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

/// Rust for the names each `let` is worked out from.
fn uses(contract: &Contract) -> String {
    let mut expressions = Expressions::default();
    let mut code = String::new();
    for derived in &contract.derived {
        let used: BTreeSet<String> =
            expressions.variables(&derived.expression()).unwrap_or_default().into_iter().collect();
        write!(code, "({:?}, &{:?}), ", derived.name, Vec::from_iter(used)).expect("a String takes it");
    }
    code
}

fn embed(code: &mut String, name: &str, contract: &str, uses: &str, files: &BTreeMap<String, PathBuf>) {
    // What was written and nothing more: a third of the time to read that every field would take.
    let contract: serde_json::Value = toml::from_str(contract).expect("it was read before");
    let json = contract.to_string();
    writeln!(code, "    Embedded {{ name: {name:?}, contract: {json:?}, uses: &[{uses}], files: &[")
        .expect("a String takes it");
    for (file, path) in files {
        writeln!(code, "        ({file:?}, include_str!({:?})),", path.display().to_string())
            .expect("a String takes it");
    }
    code.push_str("    ] },\n");
}

const READS_A_FILE: &str = "contents() is for the value of a `let`, which says whether it is a `secret`";

fn reads_a_file(text: &str) -> bool {
    text.match_indices("contents").any(|(index, name)| text[index + name.len()..].trim_start().starts_with('('))
}

/// Looks at one contract as a whole.
struct Checker<'a> {
    name: &'a str,
    text: &'a str,
    contract: &'a Contract,
    files: &'a BTreeMap<String, PathBuf>,
    known: BTreeSet<String>,
    complaints: Vec<String>,
}

impl<'a> Checker<'a> {
    fn new(name: &'a str, text: &'a str, contract: &'a Contract, files: &'a BTreeMap<String, PathBuf>) -> Self {
        let mut known: BTreeSet<String> = BUILT_IN.iter().map(|name| (*name).to_owned()).collect();
        known.extend(contract.variables.iter().map(|variable| contract.key_of(variable)));
        known.extend(contract.groups.iter().map(|group| group.key.clone()));
        known.extend(contract.passthrough.iter().map(|passthrough| passthrough.key.clone()));
        known.extend(contract.derived.iter().map(|derived| derived.name.clone()));
        Checker { name, text, contract, files, known, complaints: Vec::new() }
    }

    fn check(mut self) -> Vec<String> {
        if self.contract.service.name != self.name {
            self.complain("name", "the service's name is not its folder's");
        }
        for (word, what) in self.contract.mistakes() {
            self.complain(&word, &what);
        }
        self.check_variables();
        self.check_texts();
        self.check_files();
        self.complaints
    }

    /// The line of the contract where `word` first stands, as the best guess at where the mistake is.
    fn complain(&mut self, word: &str, what: &str) {
        let line = self.text.lines().position(|line| line.contains(word)).map_or(1, |index| index + 1);
        self.complaints.push(format!("services/{}/service.toml:{line}: {what}", self.name));
    }

    fn check_variables(&mut self) {
        let contract = self.contract;
        for variable in &contract.variables {
            self.check_variable(variable, None);
        }
        for group in &contract.groups {
            for variable in &group.variables {
                self.check_variable(variable, Some(group));
            }
            if let Some(always) = &group.always {
                self.expression(&group.name, always, &[]);
            }
        }
    }

    fn check_variable(&mut self, variable: &Variable, group: Option<&Group>) {
        let item: Vec<&str> = group.iter().map(|group| group.name.as_str()).collect();
        let default = variable.default.as_ref().map(|text| text.0.as_str());
        for text in default.into_iter().chain(variable.percent_of.as_deref()) {
            self.expression(&variable.name, text, &item);
        }
        if let Some(condition) = &variable.required_if {
            self.condition(&variable.name, condition, &item);
        }
    }

    fn expression(&mut self, place: &str, text: &str, items: &[&str]) {
        if reads_a_file(text) {
            self.complain(text.lines().next().unwrap_or(place), &format!("{place}: {READS_A_FILE}"));
        }
        self.expression_of_let(place, text, items);
    }

    fn expression_of_let(&mut self, place: &str, text: &str, items: &[&str]) {
        match Expressions::default().variables(text) {
            Err(why) => self.complain(text.lines().next().unwrap_or(place), &format!("{place}: {why}")),
            Ok(names) => {
                for name in names {
                    if !self.known.contains(&name) && !items.contains(&name.as_str()) {
                        self.complain(&name, &format!("{place}: no variable is called {name}"));
                    }
                }
            }
        }
    }

    fn condition(&mut self, place: &str, condition: &str, items: &[&str]) {
        self.expression(place, &condition_template(condition), items);
    }

    fn each<'t>(&mut self, place: &str, each: Option<&'t str>) -> Vec<&'t str> {
        let Some(each) = each else { return vec![] };
        match each_parts(each) {
            Some((item, list)) => {
                self.expression(place, &format!("{{{{ {list} }}}}"), &[]);
                vec![item]
            }
            None => {
                self.complain(each, &format!("{place}: `each` is {each:?}; write `item in list`"));
                vec![]
            }
        }
    }

    fn check_texts(&mut self) {
        let contract = self.contract;
        for argument in &contract.service.command {
            match argument {
                contract::Argument::Plain(text) => self.expression("command", text, &[]),
                contract::Argument::Conditional(argument) => {
                    let items = self.each("command", argument.each.as_deref());
                    self.expression("command", &argument.value, &items);
                    argument.when.iter().for_each(|when| self.condition("command", when, &items));
                }
            }
        }
        contract.service.working_directory.iter().for_each(|text| self.expression("working-directory", text, &[]));
        for derived in &contract.derived {
            self.expression_of_let(&derived.name, &derived.expression(), &[]);
        }
        for check in &contract.checks {
            let items = self.each("check", check.each.as_deref());
            self.condition("check", &check.require, &items);
            check.when.iter().for_each(|when| self.condition("check", when, &items));
            let texts = check.variables.iter().chain([&check.message]).chain(&check.accepted);
            texts.for_each(|text| self.expression("check", text, &items));
        }
        for directory in &contract.directories {
            let items = self.each("directory", directory.each.as_deref());
            self.expression("directory", &directory.path, &items);
            directory.when.iter().for_each(|when| self.condition("directory", when, &items));
        }
        for (name, text) in &contract.child.set {
            self.expression(name, text, &[]);
        }
        self.check_requests();
    }

    fn check_requests(&mut self) {
        let contract = self.contract;
        for wait in &contract.waits {
            let items = self.each("wait", wait.each.as_deref());
            wait.when.iter().for_each(|when| self.condition("wait", when, &items));
            let texts = [&wait.timeout, &wait.tcp, &wait.dns, &wait.file, &wait.etcd];
            texts.into_iter().flatten().for_each(|text| self.expression("wait", text, &items));
            wait.http.iter().for_each(|http| self.request("wait", http, &items));
            wait.s3.iter().for_each(|s3| self.s3("wait", s3, &items));
            if let Some(postgres) = &wait.postgres {
                let texts = [&postgres.host, &postgres.port, &postgres.user, &postgres.database, &postgres.sslmode];
                let texts = texts.into_iter().chain(&postgres.password).chain(&postgres.root_certificate);
                let texts = texts.chain(&postgres.search_path).chain(&postgres.options);
                texts.for_each(|text| self.expression("wait", text, &items));
                postgres.refuse.iter().for_each(|refused| self.refused_tables(refused, &items));
            }
        }
        for probe in &contract.ready {
            probe.when.iter().for_each(|when| self.condition("ready", when, &[]));
            probe.tcp.iter().chain(&probe.settle).for_each(|text| self.expression("ready", text, &[]));
            probe.http.iter().for_each(|http| self.request("ready", http, &[]));
        }
        for rung in &contract.stop {
            rung.when.iter().for_each(|when| self.condition("stop", when, &[]));
            self.expression("stop", &rung.within, &[]);
            rung.http.iter().for_each(|http| self.request("stop", http, &[]));
        }
        for task in &contract.tasks {
            task.when.iter().for_each(|when| self.condition("task", when, &[]));
            task.timeout.iter().for_each(|text| self.expression("task", text, &[]));
            if let Some(buckets) = &task.s3_buckets {
                self.s3("task", &buckets.server, &[]);
                self.request("task", &buckets.quorum, &[]);
                self.expression("task", &buckets.buckets, &[]);
            }
        }
    }

    fn refused_tables(&mut self, refused: &RefusedTables, items: &[&str]) {
        refused.when.iter().for_each(|when| self.condition("refuse", when, items));
        let texts = [&refused.variable, &refused.message, &refused.accepted];
        texts.into_iter().for_each(|text| self.expression("refuse", text, items));
    }

    fn request(&mut self, place: &str, http: &Http, items: &[&str]) {
        let texts =
            [&http.url].into_iter().chain(http.headers.values()).chain(&http.body).chain(&http.root_certificate);
        texts.for_each(|text| self.expression(place, text, items));
    }

    fn s3(&mut self, place: &str, s3: &S3, items: &[&str]) {
        let texts = [&s3.endpoint, &s3.region, &s3.access_key, &s3.secret_key, &s3.path_style];
        texts
            .into_iter()
            .chain(&s3.bucket)
            .chain(&s3.root_certificate)
            .for_each(|text| self.expression(place, text, items));
    }

    fn check_files(&mut self) {
        let contract = self.contract;
        let mut used = BTreeSet::new();
        for file in &contract.files {
            let items = self.each(&file.template, file.each.as_deref());
            self.expression(&file.template, &file.path, &items);
            file.when.iter().for_each(|when| self.condition(&file.template, when, &items));
            let unknown_when = file.keys.iter().flat_map(|keys| keys.unknown_when.iter().chain(&keys.error_when));
            unknown_when.for_each(|when| self.condition(&file.template, when, &items));
            if let Some(extend) = &file.extend {
                self.expression(&file.template, &format!("{{{{ {extend} }}}}"), &items);
            }
            if !FORMATS.contains(&file.format.as_str()) {
                let formats = FORMATS.join(", ");
                self.complain(
                    &file.template,
                    &format!("{}: unknown format {:?}; {formats}", file.template, file.format),
                );
            }
            used.insert(file.template.as_str());
            match self.files.get(&file.template) {
                Some(path) => self.check_template(&file.template, path, &items),
                None => {
                    self.complain(&file.template, &format!("templates/{}/{} does not exist", self.name, file.template))
                }
            }
            if let Some(keys) = &file.keys {
                self.expression(&file.template, &keys.version, &items);
                used.insert(keys.table.as_str());
                used.extend(keys.elsewhere.iter().map(|other| other.table.as_str()));
            }
        }
        for file in self.files.keys().filter(|file| !used.contains(file.as_str())) {
            self.complaints.push(format!("services/{}/service.toml:1: nothing uses {file}", self.name));
        }
    }

    fn check_template(&mut self, template: &str, path: &Path, items: &[&str]) {
        let text = std::fs::read_to_string(path).expect("a template can be read");
        if reads_a_file(&text) {
            self.complaints.push(format!("templates/{}/{template}: {READS_A_FILE}", self.name));
        }
        match Expressions::default().variables(&text) {
            Err(why) => self.complaints.push(format!("templates/{}/{template}: {why}", self.name)),
            Ok(names) => {
                for name in names.iter().filter(|name| !self.known.contains(*name) && !items.contains(&name.as_str())) {
                    let line = text.lines().position(|line| line.contains(name.as_str())).map_or(1, |index| index + 1);
                    let place = format!("templates/{}/{template}:{line}", self.name);
                    self.complaints.push(format!("{place}: no variable is called {name}"));
                }
            }
        }
    }
}
