//! Mistakes of a contract as a whole: an expression or template that does not parse or names nothing declared,
//! a template that does not exist, and what `Contract::mistakes` finds. Each with file and line.
//!
//! Pure. build.rs asks it of every built-in contract, and `contract::registry` of an image's own.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::expression::{Expressions, condition_template, each_parts};
use crate::contract::properties::{KEYED, Origin, place};
use crate::contract::{
    Argument, Contract, File, Group, Http, Postgres, PostgresqlCluster, PostgresqlContents, RefusedTables, S3, Variable,
};

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

/// Names known to every expression besides the contract's own.
const BUILT_IN: [&str; 10] = [
    "etc",
    "run_dir",
    "dl_entry",
    "service",
    "arguments",
    "arguments_given",
    "files_checked",
    "starting",
    "container",
    "health_port",
];

const READS_A_FILE: &str = "contents() is for the value of a `let`, which says whether it is a `secret`";

fn reads_a_file(text: &str) -> bool {
    text.match_indices("contents").any(|(index, name)| text[index + name.len()..].trim_start().starts_with('('))
}

/// Everything there is of one service, for its check.
#[derive(Debug, Clone, Copy)]
pub struct Package<'a> {
    /// Name of its folder.
    pub name: &'a str,
    pub contract: &'a Contract,
    /// Path and text of the contract and of what it includes: where a mistake may stand.
    pub sources: &'a [(String, String)],
    /// Templates and tables by file name: path and text.
    pub files: &'a BTreeMap<String, (String, String)>,
}

/// Every mistake of a contract and its templates, each with file and line.
pub fn mistakes(package: Package) -> Vec<String> {
    Checker::new(package).check()
}

/// Names of files that the contract does not mention.
pub fn unused<'a>(package: Package<'a>) -> impl Iterator<Item = &'a String> {
    let mut used = BTreeSet::new();
    for file in &package.contract.files {
        used.insert(file.template.as_str());
        used.extend(file.keys.iter().map(|keys| keys.table.as_str()));
        used.extend(file.keys.iter().flat_map(|keys| &keys.elsewhere).map(|other| other.table.as_str()));
    }
    package.files.keys().filter(move |name| !used.contains(name.as_str()))
}

/// Looks at one contract as a whole.
struct Checker<'a> {
    package: Package<'a>,
    known: BTreeSet<String>,
    complaints: Vec<String>,
}

impl<'a> Checker<'a> {
    fn new(package: Package<'a>) -> Self {
        let contract = package.contract;
        let mut known: BTreeSet<String> = BUILT_IN.iter().map(|name| (*name).to_owned()).collect();
        known.extend(contract.variables.iter().map(|variable| contract.key_of(variable).into_owned()));
        known.extend(contract.groups.iter().map(|group| group.key.clone()));
        known.extend(contract.passthrough.iter().map(|passthrough| passthrough.key.clone()));
        known.extend(contract.derived.iter().map(|derived| derived.name.clone()));
        Checker { package, known, complaints: Vec::new() }
    }

    fn check(mut self) -> Vec<String> {
        if self.package.contract.service.name != self.package.name {
            self.complain("name", "the service's name is not its folder's");
        }
        for (word, what) in self.package.contract.mistakes() {
            self.complain(&word, &what);
        }
        self.check_variables();
        self.check_texts();
        self.check_files();
        self.check_properties();
        self.complaints
    }

    /// The line where `word` first stands, as the best guess at where the mistake is.
    fn complain(&mut self, word: &str, what: &str) {
        let found = self.package.sources.iter().find_map(|(path, text)| Some((path, line_of(text, word)?)));
        let first = || self.package.sources.first().map(|(path, _)| (path, 1));
        let place = found.or_else(first).map(|(path, line)| format!("{path}:{line}: ")).unwrap_or_default();
        self.complaints.push(format!("{place}{what}"));
    }

    fn check_variables(&mut self) {
        let contract = self.package.contract;
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
        if group.is_some() && !variable.requires.is_empty() {
            self.complain(&variable.name, &format!("{}: `requires` is for variables outside of groups", variable.name));
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
        let contract = self.package.contract;
        for argument in &contract.service.command {
            match argument {
                Argument::Plain(text) => self.expression("command", text, &[]),
                Argument::Conditional(argument) => {
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
        let contract = self.package.contract;
        for wait in &contract.waits {
            let items = self.each("wait", wait.each.as_deref());
            wait.when.iter().for_each(|when| self.condition("wait", when, &items));
            let texts = [&wait.timeout, &wait.tcp, &wait.dns, &wait.file, &wait.etcd];
            texts.into_iter().flatten().for_each(|text| self.expression("wait", text, &items));
            wait.http.iter().for_each(|http| self.request("wait", http, &items));
            wait.s3.iter().for_each(|s3| self.s3("wait", s3, &items));
            wait.postgres.iter().for_each(|postgres| self.postgres("wait", postgres, &items));
        }
        for probe in &contract.ready {
            probe.when.iter().for_each(|when| self.condition("ready", when, &[]));
            probe.tcp.iter().chain(&probe.settle).for_each(|text| self.expression("ready", text, &[]));
            probe.http.iter().for_each(|http| self.request("ready", http, &[]));
            probe.postgres.iter().for_each(|postgres| self.postgres("ready", postgres, &[]));
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
            task.postgresql_cluster.iter().for_each(|cluster| self.cluster(cluster));
            task.postgresql_contents.iter().for_each(|contents| self.contents(contents));
        }
    }

    fn postgres(&mut self, place: &str, postgres: &Postgres, items: &[&str]) {
        let texts = [&postgres.host, &postgres.port, &postgres.user, &postgres.database, &postgres.sslmode];
        let texts = texts.into_iter().chain(&postgres.password).chain(&postgres.root_certificate);
        let texts = texts.chain(&postgres.search_path).chain(&postgres.options).chain(&postgres.server_type);
        let texts = texts.chain(&postgres.client_certificate).chain(&postgres.client_key);
        texts.for_each(|text| self.expression(place, text, items));
        postgres.refuse.iter().for_each(|refused| self.refused_tables(refused, items));
    }

    fn cluster(&mut self, cluster: &PostgresqlCluster) {
        let texts = [&cluster.data, &cluster.folder, &cluster.names, &cluster.initdb, &cluster.init_scripts];
        let texts = texts.into_iter().chain([&cluster.on_partial, &cluster.beside_data]);
        texts.for_each(|text| self.expression("task", text, &[]));
        self.contents(&cluster.contents);
    }

    fn contents(&mut self, contents: &PostgresqlContents) {
        let texts = [&contents.socket, &contents.port, &contents.superuser, &contents.password, &contents.database];
        let texts = texts.into_iter().chain([&contents.start_scripts, &contents.reconcile]);
        texts.chain(contents.script_environment.values()).for_each(|text| self.expression("task", text, &[]));
        for role in &contents.roles {
            let items = self.each("task", role.each.as_deref());
            role.when.iter().for_each(|when| self.condition("task", when, &items));
            [&role.name, &role.password, &role.replication]
                .into_iter()
                .for_each(|text| self.expression("task", text, &items));
        }
        for database in &contents.databases {
            let items = self.each("task", database.each.as_deref());
            database.when.iter().for_each(|when| self.condition("task", when, &items));
            let texts = [&database.name, &database.owner, &database.extensions];
            texts.into_iter().for_each(|text| self.expression("task", text, &items));
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
        for file in &self.package.contract.files {
            self.check_file(file);
        }
    }

    fn check_file(&mut self, file: &File) {
        let place = file.template.as_str();
        let items = self.each(place, file.each.as_deref());
        self.expression(place, &file.path, &items);
        file.when.iter().for_each(|when| self.condition(place, when, &items));
        for name in file.extend.iter().chain(&file.lead).chain(&file.merge) {
            self.expression(place, &format!("{{{{ {name} }}}}"), &items);
        }
        if !FORMATS.contains(&file.format.as_str()) {
            let formats = FORMATS.join(", ");
            self.complain(place, &format!("{place}: unknown format {:?}; accepted: {formats}", file.format));
        }
        if !file.merge.is_empty() && file.format != "yaml" {
            self.complain(place, &format!("{place}: `merge` is for files of format yaml"));
        }
        self.check_sections(file, &items);
        if let Some(keys) = &file.keys {
            let conditions = keys.unknown_when.iter().chain(&keys.error_when);
            conditions.for_each(|when| self.condition(place, when, &items));
            self.expression(place, &keys.version, &items);
            let tables = std::iter::once(&keys.table).chain(keys.elsewhere.iter().map(|other| &other.table));
            let absent: Vec<&String> = tables.filter(|table| !self.package.files.contains_key(*table)).collect();
            absent.into_iter().for_each(|table| self.complain(table, &format!("{place}: {table} does not exist")));
        }
        match self.package.files.get(place) {
            Some((path, text)) => self.check_template(path, text, &items),
            None => self.complain(place, &format!("the template {place} does not exist")),
        }
    }

    /// Their lines are made, so that nothing is wrong with those where nothing is wrong here.
    fn check_properties(&mut self) {
        let contract = self.package.contract;
        for one in contract.destinations() {
            let Some(file) = contract.file_of(one) else { continue };
            let key = one.property.key.as_str();
            let item = file.each.as_deref().and_then(each_parts).map(|(item, _)| item);
            let items: Vec<&str> = item.filter(|_| matches!(one.origin, Origin::OfGroup(..))).into_iter().collect();
            self.expression(key, &one.expression(contract, file), &items);
            for condition in one.own_conditions() {
                self.condition(key, &condition, &item.into_iter().collect::<Vec<_>>());
            }
            let template = self.package.files.get(&file.template);
            if template.is_some_and(|(_, text)| !text.lines().any(|line| place(line).is_some())) {
                self.complain(key, &format!("the property {key}: {} says nowhere {{{{ properties }}}}", file.template));
            }
        }
    }

    fn check_sections(&mut self, file: &File, items: &[&str]) {
        for condition in file.sections.iter().filter_map(|section| section.when.as_ref()) {
            self.condition(&file.template, condition, items);
        }
        let text = self.package.files.get(&file.template).map(|(_, text)| text.as_str()).unwrap_or_default();
        let named = |name: &str| file.sections.iter().any(|section| section.name.as_deref() == Some(name));
        for name in text.lines().filter_map(place).filter(|name| !name.is_empty() && !named(name)) {
            self.complain(&file.template, &format!("{}: no section is called {name}", file.template));
        }
        if !file.sections.is_empty() && !KEYED.contains(&file.format.as_str()) {
            self.complain(&file.template, &format!("{}: sections are for files of keys and values", file.template));
        }
    }

    fn check_template(&mut self, path: &str, text: &str, items: &[&str]) {
        let own = |line: &str| if place(line).is_some() { "\n".to_owned() } else { format!("{line}\n") };
        let text = &text.lines().map(own).collect::<String>();
        if reads_a_file(text) {
            self.complaints.push(format!("{path}: {READS_A_FILE}"));
        }
        match Expressions::default().variables(text) {
            Err(why) => self.complaints.push(format!("{path}: {why}")),
            Ok(names) => {
                for name in names.iter().filter(|name| !self.known.contains(*name) && !items.contains(&name.as_str())) {
                    let line = line_of(text, name).unwrap_or(1);
                    self.complaints.push(format!("{path}:{line}: no variable is called {name}"));
                }
            }
        }
    }
}

/// The line where a word first stands by itself, or else within another.
fn line_of(text: &str, word: &str) -> Option<usize> {
    let line = |found: &dyn Fn(&str) -> bool| Some(text.lines().position(found)? + 1);
    line(&|line| has_word(line, word)).or_else(|| line(&|line| line.contains(word)))
}

fn has_word(line: &str, word: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    line.match_indices(word)
        .any(|(start, _)| !line[..start].ends_with(in_word) && !line[start + word.len()..].starts_with(in_word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::format::Format;

    const SERVICE: &str = "[service]\nname = \"demo\"\nsummary = \"x\"\ncommand = [\"/bin/true\"]\n";

    fn mistakes_of(text: &str, files: &[(&str, &str)]) -> Vec<String> {
        let text = format!("{SERVICE}{text}");
        let contract = Contract::from_toml(&text).unwrap();
        let sources = [("service.toml".to_owned(), text)];
        let pair = |(name, text): &(&str, &str)| ((*name).to_owned(), (format!("t/{name}"), (*text).to_owned()));
        let files = files.iter().map(pair).collect();
        mistakes(Package { name: "demo", contract: &contract, sources: &sources, files: &files })
    }

    #[test]
    fn every_format_is_one_that_can_be_written() {
        for name in FORMATS {
            assert!(Format::from_name(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_mistake_is_reported_with_its_line() {
        for (text, mistake) in [
            ("[[let]]\nname = \"a\"\nvalue = \"{{ nothing }}\"\n", "service.toml:7: a: no variable is called nothing"),
            ("[[let]]\nname = \"a\"\nholds = \"nothing\"\n", "service.toml:7: a: no variable is called nothing"),
            ("[[let]]\nname = \"a\"\nfirst = [\"nothing\"]\n", "service.toml:7: a: no variable is called nothing"),
            (
                "[[directory]]\npath = \"/a\"\neach = \"b\"\n",
                "service.toml:7: directory: `each` is \"b\"; write `item in list`",
            ),
            (
                "[[directory]]\npath = \"{{ contents(path='/a') }}\"\n",
                &format!("service.toml:6: directory: {READS_A_FILE}"),
            ),
            (
                "[[group]]\nname = \"g\"\nkey = \"g_s\"\nprefix = \"G_\"\ndoc = \"x\"\n[[group.env]]\nname = \"A\"\ntype = \"string\"\ndoc = \"x\"\nrequires = [\"B\"]\n",
                "service.toml:11: A: `requires` is for variables outside of groups",
            ),
            ("[[together]]\nvariables = [\"A_B\"]\n", "service.toml:6: a rule names A_B, which nothing declares"),
            (
                "[[file]]\ntemplate = \"a.tera\"\npath = \"/a\"\nformat = \"plain\"\n",
                "service.toml:6: the template a.tera does not exist",
            ),
        ] {
            assert_eq!(mistakes_of(text, &[]).first().map(String::as_str), Some(mistake));
        }
    }

    #[test]
    fn a_template_is_checked_with_what_its_file_goes_over() {
        let file = "[[file]]\ntemplate = \"a.tera\"\npath = \"/a\"\nformat = \"plain\"\neach = \"word in arguments\"\n";
        assert_eq!(mistakes_of(file, &[("a.tera", "{{ word }}{{ etc }}")]), [""; 0]);
        let unknown = mistakes_of(file, &[("a.tera", "{{ word }}\n{{ wrd }}")]);
        assert_eq!(unknown, ["t/a.tera:2: no variable is called wrd"]);
        let format = file.replace("plain", "plan");
        let [mistake] = &mistakes_of(&format, &[("a.tera", "")])[..] else { panic!("one mistake") };
        assert!(
            mistake.starts_with("service.toml:6: a.tera: unknown format \"plan\"; accepted: properties, "),
            "{mistake}"
        );
    }

    #[test]
    fn a_property_is_checked_with_its_file() {
        let variable = "[[env]]\nname = \"A\"\ntype = \"int\"\ndoc = \"x\"\nproperty = \"a.b\"\n";
        let file = "[[file]]\ntemplate = \"a.tera\"\npath = \"/a\"\nformat = \"properties\"\n";
        let sound = format!("{variable}{file}");
        let template = ("a.tera", "{{ properties }}\n");
        assert_eq!(mistakes_of(&sound, &[template]), [""; 0]);
        let when = sound.replace("\n[[file]]", "\nwhen = \"nothing\"\n[[file]]");
        let section = sound + "[[file.section]]\nkeys = [\"a.\"]\nwhen = \"nothing\"\n";
        for (text, template, mistake) in [
            (&section, template, "service.toml:16: a.tera: no variable is called nothing"),
            (&when, template, "service.toml:10: a.b: no variable is called nothing"),
            (
                &when.replace("nothing", "a"),
                ("a.tera", ""),
                "service.toml:9: the property a.b: a.tera says nowhere {{ properties }}",
            ),
            (
                &when.replace("nothing", "a"),
                ("a.tera", "{{ properties }}\n{{ properties.b }}"),
                "service.toml:12: a.tera: no section is called b",
            ),
        ] {
            assert_eq!(mistakes_of(text, &[template]), [mistake]);
        }
    }

    #[test]
    fn a_file_that_is_not_mentioned_is_unused() {
        let contract = Contract::from_toml(SERVICE).unwrap();
        let files = BTreeMap::from([("a.tera".to_owned(), (String::new(), String::new()))]);
        let package = Package { name: "demo", contract: &contract, sources: &[], files: &files };
        assert_eq!(unused(package).collect::<Vec<_>>(), ["a.tera"]);
    }
}
