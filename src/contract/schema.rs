//! `services/NAME/service.toml` as data: the one schema that operators, templates, documentation and checks share.
//!
//! Only the shape lives here. Every text marked *expression* is Tera, evaluated by `expression` over the settings.
//! Unknown fields are errors, so a misspelt one stops the build and not a production start.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::contract::fragments::Include;
use crate::contract::properties::{Property, one_or_more};
use crate::contract::shorthand::{keys_by_form, one_or_choices};
use crate::contract::tasks::Task;
use crate::contract::types::Text;

/// One service.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Contract {
    #[serde(default)]
    pub service: Service,
    /// Fragments of `services/shared`, by name or as `{ fragment = "NAME", parameter = "…" }`; gone once they are put
    /// in.
    #[serde(default)]
    pub include: Vec<Include>,
    /// Old or foreign names, each standing for one variable: `OLD = "NEW"`. Used with a notice.
    #[serde(default)]
    pub alias: BTreeMap<String, String>,
    /// Types by name, for the `type` or `of` of any number of variables.
    #[serde(default, rename = "type")]
    pub types: BTreeMap<String, NamedType>,
    /// Variables accepted for old environments, without effect.
    #[serde(default)]
    pub ignored: Vec<Ignored>,
    #[serde(default, rename = "base-image")]
    pub base_images: Vec<BaseImage>,
    #[serde(default, rename = "env")]
    pub variables: Vec<Variable>,
    #[serde(default, rename = "group")]
    pub groups: Vec<Group>,
    #[serde(default)]
    pub passthrough: Vec<Passthrough>,
    /// Forms of values in families, by name.
    #[serde(default, rename = "form")]
    pub forms: BTreeMap<String, Form>,
    #[serde(default, rename = "family")]
    pub families: Vec<Family>,
    #[serde(default, rename = "let")]
    pub derived: Vec<Derived>,
    #[serde(default, rename = "check")]
    pub checks: Vec<Check>,
    /// Variables of which none is of use without the others.
    #[serde(default)]
    pub together: Vec<Preset>,
    /// Variables of which at most one may be set.
    #[serde(default)]
    pub exclusive: Vec<Preset>,
    #[serde(default, rename = "directory")]
    pub directories: Vec<Directory>,
    #[serde(default, rename = "file")]
    pub files: Vec<File>,
    #[serde(default, rename = "wait")]
    pub waits: Vec<Wait>,
    #[serde(default, rename = "task")]
    pub tasks: Vec<Task>,
    #[serde(default)]
    pub ready: Vec<Probe>,
    #[serde(default, rename = "stop")]
    pub stop: Vec<Stop>,
    #[serde(default)]
    pub child: Child,
}

/// The command. An image's own contract that extends a built-in one may leave out `name`, `summary` and `command`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Service {
    #[serde(default)]
    pub name: String,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// The program and its arguments; an argument that comes out empty is left out, unless it is an item of a list.
    #[serde(default)]
    pub command: Vec<Argument>,
    /// Variables with these prefixes belong to the service: an unknown one is probably misspelt.
    #[serde(default)]
    pub prefixes: Vec<String>,
    /// Expression: where the service runs. Default: the run directory.
    pub working_directory: Option<String>,
    /// First words of the operator's arguments that stand for this service, one or several an entry:
    /// `docker run IMAGE minio server /data`.
    #[serde(default)]
    pub words: Vec<String>,
    /// First words that ask for this service as `words` do, and stay among the arguments, as they say what it is to
    /// do: `executor`. One that ends in `*` stands for every word that begins so.
    #[serde(default)]
    pub commands: Vec<String>,
    /// The command itself says where `arguments` go; otherwise they are put at its end.
    #[serde(default)]
    pub places_arguments: bool,
    /// User the service runs as when dl-entry is started as root, as `docker run --user` takes it.
    #[serde(default = "default_user")]
    pub user: String,
    /// The service reads its files again on SIGHUP: they are rendered anew before it is passed on, and it is not where
    /// that fails.
    #[serde(default)]
    pub reloads: bool,
    /// Notes for operators before the first start; shown by `explain`.
    #[serde(default)]
    pub doc: String,
}

fn default_user() -> String {
    "shusr".into()
}

/// One argument, or some.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Argument {
    /// Expression.
    Plain(String),
    /// Expression with a condition, or repeated for each item of a list.
    Conditional(ConditionalArgument),
}

/// `{ value = "--x={{ item }}", when = "…", each = "item in items" }`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConditionalArgument {
    pub value: String,
    pub when: Option<String>,
    pub each: Option<String>,
}

/// The environment that an image built FROM this one inherits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct BaseImage {
    pub name: String,
    /// A variable that has this value is taken to be unset, but for a `_FILE` whose secret is there.
    pub set: BTreeMap<String, String>,
}

/// The fields that variables of one kind have in common. A variable's own field wins.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct NamedType {
    /// The type it is made from: `string` unless given, `enum` where there are `values`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub values: Vec<String>,
    #[serde(default)]
    pub synonyms: BTreeMap<String, String>,
    #[serde(default)]
    pub schemes: Vec<String>,
    pub min: Option<Text>,
    pub max: Option<Text>,
    pub pattern: Option<String>,
    pub accepted: Option<String>,
    pub min_length: Option<usize>,
    pub exists: Option<String>,
}

/// Variables accepted for old environments, without effect.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ignored {
    pub names: Vec<String>,
    /// Why, shown as a warning to an operator who sets one.
    pub reason: String,
    /// Never shown: for old names of keys and passwords.
    #[serde(default)]
    pub secret: bool,
}

/// A rule of one of the usual shapes, whose message is generated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Preset {
    /// Names of variables; with `group`, what follows the instance's prefix.
    pub variables: Vec<String>,
    /// Condition: only then.
    pub when: Option<String>,
    /// Name of the group: checked for each of its instances.
    pub group: Option<String>,
    /// The remedy, if it is more than `all of them, or none`.
    pub accepted: Option<String>,
}

/// One environment variable. In a group, `name` is what follows the instance's prefix.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Variable {
    pub name: String,
    /// Name in expressions and templates. Default: `name` in lower case, less the service's own prefix.
    pub key: Option<String>,
    /// `bool int float port datasize jvmsize bytes percent duration url host hostport list words enum path string
    /// identifier version json yaml properties secret`.
    #[serde(rename = "type")]
    pub kind: String,
    /// One sentence for operators.
    pub doc: String,
    /// Type of a list's items; of a json, what it must be: `object` or `array`.
    pub of: Option<String>,
    #[serde(default)]
    pub values: Vec<String>,
    /// Other spellings of an enum's values.
    #[serde(default)]
    pub synonyms: BTreeMap<String, String>,
    #[serde(default)]
    pub schemes: Vec<String>,
    pub min: Option<Text>,
    pub max: Option<Text>,
    /// Regular expression the whole text must match.
    pub pattern: Option<String>,
    /// The accepted values in words.
    pub accepted: Option<String>,
    pub min_length: Option<usize>,
    /// The key of the service's own files that this variable is there for: its value is printed there, and a
    /// passthrough of the key is taken for the variable. Or `{ key = "…", file = "…", when = "…", print = "…", value =
    /// "…", adopt = false }`, or a list of those.
    #[serde(default, rename = "property", deserialize_with = "one_or_more")]
    pub properties: Vec<Property>,
    /// Condition: without it, the keys are left out of their files.
    pub when: Option<String>,
    /// The first `version` that knows it, and the first that does not any more: set with another version, it is an
    /// error.
    pub since: Option<String>,
    pub until: Option<String>,
    /// Port of a `hostport` that names none.
    pub port: Option<u16>,
    /// `file`, `directory` or `pem`: what must be at a path.
    pub exists: Option<String>,
    /// For sizes: a percentage is taken too and is of this expression's bytes.
    pub percent_of: Option<String>,
    /// Expression; empty means none. Or a list of `{ when, value }`, of which the first whose condition holds counts.
    #[serde(default, deserialize_with = "one_or_choices")]
    pub default: Option<Text>,
    #[serde(default)]
    pub required: bool,
    /// Expression: required where it holds.
    pub required_if: Option<String>,
    /// Why it is required, and what to do: shown when it is missing.
    pub hint: Option<String>,
    /// Old or foreign names. A key of the service's own files that the variable is there for without being printed as
    /// its `property` is one, too: a passthrough of the key is taken for the variable.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Never shown. Implied by the type `secret`.
    #[serde(default)]
    pub secret: bool,
    /// Whether `NAME_FILE` and `/run/secrets/<name>` are read. Default: for secrets.
    pub file: Option<bool>,
    /// Further values refused as too well known, beside the built-in list.
    #[serde(default)]
    pub well_known: Vec<String>,
    /// Whether the child sees it: `true` under its own name, or another name.
    pub export: Option<Export>,
    /// Names of variables this one has no effect without.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Accepted for old environments, without effect: the reason, shown as a warning. `[[ignored]]` for more than one.
    pub ignored: Option<String>,
    /// Whether an empty value is a value. Default: empty means unset.
    #[serde(default)]
    pub keep_empty: bool,
    /// References in the value that its reader resolves; any other is reported as one that nothing expanded.
    pub references: Option<References>,
    pub example: Option<String>,
}

/// The references of a value that its reader resolves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum References {
    None,
    /// Trino: `${provider:key}`, and `${USER}` in patterns of user names.
    Airlift,
    /// Quarkus: `${key}` and `${key:default}`.
    Smallrye,
    /// Every text is meant as it is, quotes, comments and blanks included: a script, a document.
    Any,
}

/// `export = true` or `export = "OTHER_NAME"`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Export {
    Same(bool),
    As(String),
}

/// Any number of instances of the same variables: `TRINO_CATALOG_<NAME>_<VARIABLE>`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Group {
    /// The name of one instance in expressions and messages: `catalog`.
    pub name: String,
    /// The list of all instances in expressions: `catalogs`. Each has `name` (lower case), `spelling` (as in the
    /// names of its variables) and its variables' keys.
    pub key: String,
    pub prefix: String,
    pub doc: String,
    #[serde(default, rename = "env")]
    pub variables: Vec<Variable>,
    /// Key of each instance's map of further keys: `PREFIX<NAME>__<key>` and `PREFIX<NAME>_EXTRA`.
    pub passthrough: Option<String>,
    /// Expression: comma-separated names of instances that exist even when no variable names them.
    pub always: Option<String>,
}

/// Keys no contract lists, given by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Passthrough {
    /// Name of the map in expressions and in a file's `extend`.
    pub key: String,
    /// `PREFIX<key>=value`. A key holding a dot or a dash is taken as it is; otherwise `_` is a dot, `__` a dash and
    /// `___` an underscore.
    pub prefix: String,
    /// A variable of many `key=value` lines.
    pub extra: String,
    /// Variables whose own names start so are keys as they are: `nessie.server.default-branch=main`.
    #[serde(default)]
    pub literal: Vec<String>,
    /// Keys also taken under their name in the environment, as MicroProfile Config spells it: upper case, and `_` for
    /// everything that is no letter or digit. `*` stands for a part the operator chooses.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Prefixes that such a name has in the environment: `POSTGRES_WORK_MEM` of `work_mem`.
    #[serde(default)]
    pub key_prefixes: Vec<String>,
    /// Keys have underscores of their own and are in lower case: `__` of a name is a dot, and nothing else changes. The
    /// lines of `extra` may have their values in apostrophes.
    #[serde(default)]
    pub underscores: bool,
    /// Variables of java's options, whose `-D<key>=<value>` are taken too where `literal` has the key's beginning.
    #[serde(default)]
    pub options: Vec<String>,
    /// Beginnings of keys that are of this passthrough's file alone. Another's key is not taken for a variable.
    #[serde(default)]
    pub own: Vec<String>,
    pub doc: String,
}

/// The accepted form of a value.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Form {
    /// Regular expression the whole text must match.
    pub pattern: String,
    /// The accepted values in words.
    pub accepted: String,
}

/// Variables of one prefix that the service reads by itself: `child.pass` lets them through.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Family {
    /// A name belongs to the family of the longest prefix.
    pub prefix: String,
    /// What may follow the prefix, with the name of its form, which is empty where any text will do. Written by form:
    /// `on-off = ["ENABLE"]`, and `any = ["COMMENT"]`.
    #[serde(default, deserialize_with = "keys_by_form")]
    pub keys: BTreeMap<String, String>,
    /// Whether a key may be followed by `_` and the name of a target.
    #[serde(default)]
    pub targets: bool,
    /// The key without which the others have no effect.
    pub enable: Option<String>,
    /// The keys it then cannot be without.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Pairs of keys of which none is of use alone.
    #[serde(default)]
    pub together: Vec<[String; 2]>,
    /// The problem of a name that has none of the keys.
    #[serde(default = "warning")]
    pub unknown: UnknownKey,
    /// The effect of a mistake on the service: `which turns LDAP off`.
    pub consequence: Option<String>,
}

fn warning() -> UnknownKey {
    UnknownKey::Warning
}

/// A value worked out from the settings, so that templates need no arithmetic.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Derived {
    pub name: String,
    /// Type of the result: `string` unless given, `bool` with `holds`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Expression; empty means undefined. With `first`: where none of those is set.
    #[serde(default)]
    pub value: String,
    /// Names of values of which the first that is set is the result.
    #[serde(default)]
    pub first: Vec<Candidate>,
    /// Condition: the result is whether it holds.
    pub holds: Option<String>,
    /// The result is a secret.
    #[serde(default)]
    pub secret: bool,
    /// The keys of the service's own files that it is printed at, as those of a variable.
    #[serde(default, rename = "property", deserialize_with = "one_or_more")]
    pub properties: Vec<Property>,
    /// Condition: without it, the keys are left out of their files.
    pub when: Option<String>,
}

/// `"name"` or `{ name = "name", when = "condition" }`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Candidate {
    Always(String),
    Sometimes(ConditionalCandidate),
}

/// A value that counts only where a condition holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ConditionalCandidate {
    pub name: String,
    pub when: String,
}

/// A rule across variables.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Check {
    /// Condition that must hold.
    pub require: String,
    /// Condition: only then.
    pub when: Option<String>,
    /// `catalog in catalogs`: checked for each.
    pub each: Option<String>,
    /// The same rule for each of these words, which stands for `$(key)` in its texts.
    #[serde(default)]
    pub keys: Vec<String>,
    /// Variables to name, expressions.
    pub variables: Vec<String>,
    /// Expression: what is wrong.
    pub message: String,
    /// The remedy.
    pub accepted: Option<String>,
    /// `error` (default), `warning`, or `insecure` (an error that DL_ALLOW_INSECURE makes a warning).
    #[serde(default)]
    pub severity: CheckSeverity,
}

/// How bad it is when a check fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckSeverity {
    #[default]
    Error,
    Warning,
    Insecure,
}

/// A directory the service writes to.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Directory {
    /// Expression; empty means none.
    pub path: String,
    #[serde(default = "default_directory_mode")]
    pub mode: String,
    pub when: Option<String>,
    pub each: Option<String>,
}

fn default_directory_mode() -> String {
    "0750".into()
}

/// A file made from a template.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// File name under `templates/NAME/`.
    pub template: String,
    /// Expression.
    pub path: String,
    /// `properties smallrye airlift jvm-options yaml json xml postgresql-conf pg-hba pgpass env plain`.
    pub format: String,
    #[serde(default = "default_file_mode")]
    pub mode: String,
    pub when: Option<String>,
    pub each: Option<String>,
    /// Expression's map whose entries are added to the file, and replace the template's own of the same key.
    pub extend: Option<String>,
    /// Name of a text that the file begins with, as an operator wrote it: lines that no value could be.
    pub lead: Option<String>,
    /// Names of texts that are YAML, laid over the file in this order: maps are merged, a null takes its key away, and
    /// anything else is replaced. For `yaml` files.
    #[serde(default)]
    pub merge: Vec<String>,
    /// Table of keys beside the contract, and the expression of the version to look up in it.
    pub keys: Option<Keys>,
    /// How the values of properties are written.
    #[serde(default)]
    pub print: Print,
    /// Properties that stand together, or not at all.
    #[serde(default, rename = "section")]
    pub sections: Vec<Section>,
}

/// How values are written in a file: filters of `expression`, separators and words.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Print {
    /// Filter for `datasize`, `jvmsize` and `bytes`: `datasize`, `jvmsize`, `bytes`, `mebibytes`.
    pub size: Option<String>,
    /// Filter for `duration`: `duration`, `duration_iso`, `duration_postgresql`, `seconds`.
    pub duration: Option<String>,
    /// The text between the items of a list: a comma unless given.
    pub list: Option<String>,
    /// The words for true and false.
    pub boolean: Option<[String; 2]>,
}

/// Properties of a file by the beginnings of their keys.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Section {
    /// The template prints them as `{{ properties.NAME }}`; without one, among the others.
    pub name: Option<String>,
    /// Beginnings of keys.
    pub keys: Vec<String>,
    /// Condition: without it, none of them is printed.
    pub when: Option<String>,
}

fn default_file_mode() -> String {
    "0600".into()
}

/// Which keys a version of the service knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keys {
    /// File name beside `service.toml`.
    pub table: String,
    /// Expression.
    pub version: String,
    /// The problem of a key that the table does not have.
    #[serde(default)]
    pub unknown: UnknownKey,
    /// Condition: elsewhere a key that the table does not have is allowed.
    pub unknown_when: Option<String>,
    /// Condition: a key that the table does not have is an error all the same.
    pub error_when: Option<String>,
    /// Tables of other files: a key that one of them has, and this one not, belongs there.
    #[serde(default)]
    pub elsewhere: Vec<Elsewhere>,
    /// Beginnings of the file's keys that the table is about, without them. Default: all keys as they are.
    #[serde(default)]
    pub below: Vec<String>,
}

impl Keys {
    /// The name that a key of the file has in the table; none where the table is not about it.
    pub fn name_of<'k>(&self, key: &'k str) -> Option<&'k str> {
        if self.below.is_empty() {
            return Some(key);
        }
        self.below.iter().find_map(|start| key.strip_prefix(start.as_str()))
    }
}

/// Where a key belongs that is in the wrong file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Elsewhere {
    pub table: String,
    /// Said of the key: `is a key of the server, and no catalog starts with it`.
    pub message: String,
    /// The prefix of the key where it belongs: `TRINO_CONFIG__`.
    pub prefix: String,
}

/// How to treat a key that is in no table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnknownKey {
    #[default]
    Error,
    Warning,
    Allowed,
}

/// A dependency: exactly one of the targets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Wait {
    pub when: Option<String>,
    pub each: Option<String>,
    /// Expression of a duration.
    pub timeout: Option<String>,
    /// Expression of `host:port`.
    pub tcp: Option<String>,
    /// Expression of a host.
    pub dns: Option<String>,
    /// Expression of a path.
    pub file: Option<String>,
    pub http: Option<Http>,
    pub postgres: Option<Postgres>,
    pub s3: Option<S3>,
    /// Expression: comma-separated URLs.
    pub etcd: Option<String>,
}

/// All fields are expressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Postgres {
    /// One or several, comma-separated, each `HOST` or `HOST:PORT`.
    pub host: String,
    /// Port of a host that has none.
    pub port: String,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    #[serde(default = "default_sslmode")]
    pub sslmode: String,
    pub root_certificate: Option<String>,
    /// Where tables are looked up, where that is not the server's own `search_path`.
    pub search_path: Option<String>,
    /// Options for the server, as libpq's `options`.
    pub options: Option<String>,
    /// pgjdbc's `targetServerType`.
    pub server_type: Option<String>,
    /// Paths of a client certificate (PEM) and its key (PKCS #8).
    pub client_certificate: Option<String>,
    pub client_key: Option<String>,
    /// Databases the service must not be started with.
    #[serde(default)]
    pub refuse: Vec<RefusedTables>,
}

/// Tables that were left by another configuration of the service, which would begin anew beside them.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RefusedTables {
    /// Condition: only then.
    pub when: Option<String>,
    /// Names of tables: refused where all of these are there …
    pub found: Vec<String>,
    /// … and not all of these.
    pub missing: Vec<String>,
    /// Variable that is to be set another way, with what is wrong and what to do: expressions.
    pub variable: String,
    pub message: String,
    pub accepted: String,
}

fn default_sslmode() -> String {
    "prefer".into()
}

/// All fields are expressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct S3 {
    pub endpoint: String,
    pub region: String,
    pub access_key: String,
    pub secret_key: String,
    pub bucket: Option<String>,
    /// Expression of true or false.
    #[serde(default = "default_path_style")]
    pub path_style: String,
    /// Do not verify the certificate: only for the service's own address.
    #[serde(default)]
    pub insecure_tls: bool,
    pub root_certificate: Option<String>,
}

fn default_path_style() -> String {
    "true".into()
}

/// A question to the service itself: exactly one of the targets. All must be answered as expected.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Probe {
    pub when: Option<String>,
    pub http: Option<Http>,
    /// Expression of `host:port`.
    pub tcp: Option<String>,
    pub postgres: Option<Postgres>,
    /// Expression of a duration: how long the answers must have been as expected before the service is first ready,
    /// where it goes on preparing itself without a word.
    pub settle: Option<String>,
}

/// One request. Texts are expressions.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Http {
    #[serde(default = "default_method")]
    pub method: String,
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    /// Accepted status codes; none accepts 200–299.
    #[serde(default)]
    pub status: Vec<u16>,
    /// JSON pointer → what must be there: a value, or `{ at-least = 1 }` items.
    #[serde(default)]
    pub json: BTreeMap<String, serde_json::Value>,
    /// Do not verify the certificate: only for the service's own address.
    #[serde(default)]
    pub insecure_tls: bool,
    pub root_certificate: Option<String>,
}

fn default_method() -> String {
    "GET".into()
}

/// A rung of the stop ladder: exactly one of `signal` and `http`. Without any, it is SIGTERM and 30 s.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Stop {
    pub when: Option<String>,
    /// `SIGTERM`.
    pub signal: Option<String>,
    pub http: Option<Http>,
    /// Expression of a duration: how long the service may take before the next rung.
    pub within: String,
}

/// The parts of the service's environment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Child {
    /// Set for the service: expressions; an empty one is left out.
    pub set: BTreeMap<String, String>,
    /// Undeclared variables that are not passed on: names, or prefixes ending in `*`.
    pub drop: Vec<String>,
    /// Exceptions from `drop`.
    pub pass: Vec<String>,
}

/// The signals that may ask a service to stop (signal(7)).
const SIGNALS: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// Items that occur a second time.
fn twice(names: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut seen = BTreeSet::new();
    names.filter(move |name| !seen.insert(name.clone()))
}

impl Contract {
    /// Reads and checks the shape of a contract.
    ///
    /// # Errors
    /// The TOML parser's own text, with line and column.
    pub fn from_toml(text: &str) -> Result<Contract, String> {
        toml::from_str(text).map(Contract::written_out).map_err(|error| error.to_string())
    }

    /// Mistakes that the parser of the shape cannot see, each with a word of the contract near it.
    pub fn mistakes(&self) -> Vec<(String, String)> {
        let mut mistakes = Vec::new();
        let Service { name, summary, command, .. } = &self.service;
        let absent = [("name", name.is_empty()), ("summary", summary.is_empty()), ("command", command.is_empty())];
        let absent = absent.into_iter().filter(|(_, absent)| *absent);
        mistakes.extend(absent.map(|(field, _)| ("[service]".to_owned(), format!("[service] needs `{field}`"))));
        let names = self.variables.iter().flat_map(Variable::names);
        mistakes.extend(
            twice(names.chain(self.alias.keys()).cloned())
                .map(|name| (name.clone(), format!("the name {name} is used twice"))),
        );
        // One without effect never has a value.
        let valued = self.variables.iter().filter(|variable| variable.ignored.is_none());
        let keys = valued.map(|variable| self.key_of(variable).into_owned());
        let keys = keys.chain(self.groups.iter().map(|group| group.key.clone()));
        let keys = keys.chain(self.passthrough.iter().map(|passthrough| passthrough.key.clone()));
        let keys = keys.chain(self.derived.iter().map(|derived| derived.name.clone()));
        mistakes.extend(twice(keys).map(|key| (key.clone(), format!("two values are called {key} in expressions"))));
        let of_groups = self.groups.iter().flat_map(|group| &group.variables);
        for variable in self.variables.iter().chain(of_groups) {
            let wrong = crate::contract::mistake_in_type(variable);
            mistakes.extend(wrong.map(|why| (variable.name.clone(), format!("{}: {why}", variable.name))));
        }
        mistakes.extend(self.families.iter().flat_map(|family| {
            let forms = family.keys.values().filter(|form| !form.is_empty() && !self.forms.contains_key(*form));
            let forms = forms.map(|form| format!("{}: no form is called {form}", family.prefix));
            let keys = family
                .needs
                .iter()
                .chain(&family.enable)
                .chain(family.together.iter().flatten())
                .filter(|key| !family.keys.contains_key(*key));
            let keys = keys.map(|key| format!("{}: {key} is not among its keys", family.prefix));
            forms.chain(keys).map(|why| (family.prefix.clone(), why)).collect::<Vec<_>>()
        }));
        let patterns = self.forms.iter().filter(|(_, form)| regex_lite::Regex::new(&form.pattern).is_err());
        mistakes.extend(patterns.map(|(name, _)| (name.clone(), format!("form {name}: not a regular expression"))));
        mistakes.extend(self.unknown_members());
        mistakes.extend(self.mistakes_in_properties());
        let targets = self.alias.iter().filter(|(_, target)| !self.declares(target));
        mistakes.extend(
            targets.map(|(old, target)| (old.clone(), format!("{old} stands for {target}, which nothing declares"))),
        );
        let modes = self.files.iter().map(|file| (&file.template, &file.mode));
        let modes = modes.chain(self.directories.iter().map(|directory| (&directory.path, &directory.mode)));
        let odd = modes.filter(|(_, mode)| u32::from_str_radix(mode, 8).is_err());
        mistakes.extend(odd.map(|(place, mode)| (place.clone(), format!("{place}: the mode {mode:?} is not octal"))));
        let refused = self.waits.iter().filter_map(|wait| wait.postgres.as_ref()).flat_map(|postgres| &postgres.refuse);
        let idle = refused.filter(|refused| refused.found.is_empty() || refused.missing.is_empty());
        let why = "refuse: both found and missing need a table";
        mistakes.extend(idle.map(|refused| (refused.variable.clone(), why.to_owned())));
        let signals = self.stop.iter().filter_map(|rung| rung.signal.as_ref());
        let unknown = signals.filter(|signal| !SIGNALS.contains(&signal.as_str()));
        mistakes.extend(unknown.map(|signal| (signal.clone(), format!("stop: {signal:?} is not a signal"))));
        mistakes
    }

    /// Names in presets and `requires` that no variable has.
    fn unknown_members(&self) -> impl Iterator<Item = (String, String)> {
        let presets = self.together.iter().chain(&self.exclusive);
        let members = presets.flat_map(|preset| preset.variables.iter().map(|name| (preset.group.as_ref(), name)));
        let required = self.variables.iter().flat_map(|variable| variable.requires.iter().map(|name| (None, name)));
        let unknown = members.chain(required).filter(|(group, name)| {
            let group = group.map(|group| self.groups.iter().find(|other| other.name == *group));
            let variables = group.map_or(Some(&self.variables), |group| group.map(|group| &group.variables));
            !variables.is_some_and(|variables| variables.iter().any(|variable| variable.name == **name))
        });
        unknown.map(|(_, name)| (name.clone(), format!("a rule names {name}, which nothing declares")))
    }

    /// Whether a full name is that of a variable, a group's included.
    fn declares(&self, name: &str) -> bool {
        let of_group = |group: &Group| {
            let rest = name.strip_prefix(group.prefix.as_str()).unwrap_or_default();
            group
                .variables
                .iter()
                .any(|variable| rest.strip_suffix(&variable.name).is_some_and(|name| name.ends_with('_')))
        };
        self.variables.iter().any(|variable| variable.name == name) || self.groups.iter().any(of_group)
    }

    /// The name a variable has in expressions.
    pub fn key_of<'v>(&self, variable: &'v Variable) -> Cow<'v, str> {
        // Every variable of a contract that is written out has its own: this is asked thousands of times.
        match &variable.key {
            Some(key) => Cow::Borrowed(key),
            None => Cow::Owned(default_key(variable, &own_prefix(&self.service.name))),
        }
    }

    /// Gives every variable its key.
    pub(super) fn name_keys(&mut self) {
        let own = own_prefix(&self.service.name);
        for variable in &mut self.variables {
            if variable.key.is_none() {
                variable.key = Some(default_key(variable, &own));
            }
        }
        for variable in self.groups.iter_mut().flat_map(|group| &mut group.variables) {
            if variable.key.is_none() {
                variable.key = Some(default_key(variable, ""));
            }
        }
    }
}

impl Group {
    /// The name a variable of this group has in expressions, under the instance.
    pub fn key_of(variable: &Variable) -> Cow<'_, str> {
        variable.key.as_deref().map_or_else(|| Cow::Owned(default_key(variable, "")), Cow::Borrowed)
    }
}

/// `MINIO_` of `minio`.
fn own_prefix(service: &str) -> String {
    format!("{}_", service.to_uppercase().replace('-', "_"))
}

fn default_key(variable: &Variable, own: &str) -> String {
    variable.name.strip_prefix(own).unwrap_or(&variable.name).to_lowercase()
}

impl Variable {
    /// All names that it may be given under.
    fn names(&self) -> impl Iterator<Item = &String> {
        let adopted = self.properties.iter().filter(|property| property.adopt).map(|property| &property.key);
        // Two properties of one key, where the one or the other holds, are one name.
        let keys: BTreeSet<&String> = adopted.collect();
        std::iter::once(&self.name).chain(&self.aliases).chain(keys)
    }

    /// Never shown anywhere.
    pub fn is_secret(&self) -> bool {
        self.secret || self.kind == "secret"
    }

    /// `NAME_FILE` and `/run/secrets/<name>` are read for it.
    pub fn takes_file(&self) -> bool {
        self.file.unwrap_or(self.is_secret())
    }
}
