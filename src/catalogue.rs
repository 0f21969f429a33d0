//! The services there are: those built in, and those an image adds under `/etc/dl-entry/services`.
//!
//! A folder there with a `service.toml` adds a service, or extends the built-in one of the same name: tables are
//! merged, lists appended, everything else replaced. Its other files are templates and key tables.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::contract::Contract;
use crate::expression::Expressions;

/// Where an image's own services are.
pub const FOLDER: &str = "/etc/dl-entry/services";

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// One service as build.rs embeds it.
#[derive(Debug)]
struct Embedded {
    name: &'static str,
    /// The contract as JSON, which is quicker to read than TOML.
    contract: &'static str,
    uses: &'static [(&'static str, &'static [&'static str])],
    files: &'static [(&'static str, &'static str)],
}

/// A contract and the files that belong to it, by file name.
#[derive(Debug, Clone)]
pub struct Package {
    pub contract: Contract,
    /// The contract as it was read.
    pub text: Cow<'static, str>,
    pub files: BTreeMap<String, String>,
    pub uses: Uses,
}

/// Every `let`, and the names it is worked out from: settings, and what stands before it.
pub type Uses = Vec<(String, Vec<String>)>;

/// Why a service cannot be had.
#[derive(Debug)]
pub enum CatalogueError {
    /// No service of this name; those there are.
    Unknown { name: String, names: Vec<String> },
    /// A file of an image's own service cannot be read.
    Unreadable { path: PathBuf, reason: String },
    /// An image's own contract is not one.
    Malformed { path: PathBuf, reason: String },
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogueError::Unknown { name, names } => {
                write!(f, "there is no service {name:?}\n  accepted: {}", names.join(", "))
            }
            CatalogueError::Unreadable { path, reason } => write!(f, "{} cannot be read: {reason}", path.display()),
            CatalogueError::Malformed { path, reason } => write!(f, "{} is not a contract: {reason}", path.display()),
        }
    }
}

/// The names of all services, in order. `folder` is `FOLDER` but in tests.
pub fn names(folder: &Path) -> Vec<String> {
    let added = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let added = added.filter(|entry| entry.path().join("service.toml").is_file());
    let mut names: Vec<String> = added.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.extend(EMBEDDED.iter().map(|embedded| embedded.name.to_owned()));
    names.sort();
    names.dedup();
    names
}

/// The service called `name`.
///
/// # Errors
/// `CatalogueError`, naming the service or the file.
pub fn find(name: &str, folder: &Path) -> Result<Package, CatalogueError> {
    // A name and no path: a contract is the image's, not anybody's.
    if name.contains('/') || name.trim_matches('.').is_empty() {
        return Err(CatalogueError::Unknown { name: name.to_owned(), names: names(folder) });
    }
    let own = folder.join(name);
    let embedded = EMBEDDED.iter().find(|embedded| embedded.name == name);
    let added = own.join("service.toml").is_file().then(|| read_folder(&own)).transpose()?;
    let malformed = |reason: String| CatalogueError::Malformed { path: own.join("service.toml"), reason };
    let mut files: BTreeMap<String, String> = BTreeMap::new();
    if let Some(embedded) = embedded {
        files.extend(embedded.files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())));
    }
    match (embedded, added) {
        (None, None) => Err(CatalogueError::Unknown { name: name.to_owned(), names: names(folder) }),
        (Some(embedded), None) => {
            let contract = serde_json::from_str(embedded.contract).map_err(|error| malformed(error.to_string()))?;
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let uses = embedded.uses.iter().map(|(name, used)| ((*name).to_owned(), owned(used))).collect();
            Ok(Package { contract, text: embedded.contract.into(), files, uses })
        }
        (embedded, Some((addition, added_files))) => {
            files.extend(added_files);
            let base = embedded
                .map_or(Ok(Value::Null), |embedded| serde_json::from_str(embedded.contract))
                .map_err(|error| malformed(error.to_string()))?;
            let merged = merge(base, addition);
            let text = merged.to_string().into();
            let contract: Contract = serde_json::from_value(merged).map_err(|error| malformed(error.to_string()))?;
            // As build.rs has done for those built in.
            if let Some((_, mistake)) = contract.mistakes().into_iter().next() {
                return Err(malformed(mistake));
            }
            let uses = uses_of(&contract);
            Ok(Package { contract, text, files, uses })
        }
    }
}

fn uses_of(contract: &Contract) -> Uses {
    let mut expressions = Expressions::default();
    let mut used = |value| expressions.variables(value).unwrap_or_default().into_iter().collect();
    contract.derived.iter().map(|derived| (derived.name.clone(), used(&derived.value))).collect()
}

fn read_folder(folder: &Path) -> Result<(Value, BTreeMap<String, String>), CatalogueError> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| CatalogueError::Unreadable { path: path.to_owned(), reason: crate::env::reason(&error) })
    };
    let path = folder.join("service.toml");
    let contract = toml::from_str::<Value>(&read(&path)?)
        .map_err(|error| CatalogueError::Malformed { path: path.clone(), reason: error.to_string() })?;
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_file() && entry.path() != path {
            files.insert(entry.file_name().to_string_lossy().into_owned(), read(&entry.path())?);
        }
    }
    Ok((contract, files))
}

/// `addition` over `base`: tables key by key, lists one after the other, the rest replaced.
fn merge(base: Value, addition: Value) -> Value {
    match (base, addition) {
        (Value::Object(mut base), Value::Object(addition)) => {
            for (key, value) in addition {
                let below = base.remove(&key).unwrap_or(Value::Null);
                base.insert(key, merge(below, value));
            }
            Value::Object(base)
        }
        (Value::Array(mut base), Value::Array(addition)) => {
            base.extend(addition);
            Value::Array(base)
        }
        (_, addition) => addition,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_an_image_adds_a_service_with_its_templates() {
        let folder = std::env::temp_dir().join(format!("dl-entry-catalogue-{}", std::process::id()));
        let own = folder.join("mine");
        std::fs::create_dir_all(&own).unwrap();
        let contract = "[service]\nname = \"mine\"\nsummary = \"x\"\ncommand = [\"/bin/true\"]\n";
        std::fs::write(own.join("service.toml"), contract).unwrap();
        std::fs::write(own.join("a.conf.tera"), "a = {{ run_dir }}").unwrap();
        let package = find("mine", &folder).unwrap();
        assert_eq!(package.contract.service.name, "mine");
        assert_eq!(package.files["a.conf.tera"], "a = {{ run_dir }}");
        assert!(names(&folder).contains(&"mine".to_owned()));
        let unknown = find("nothing", &folder).unwrap_err().to_string();
        assert!(unknown.starts_with("there is no service \"nothing\"\n  accepted: "), "{unknown}");
        std::fs::write(own.join("service.toml"), "[service]\nnme = 1\n").unwrap();
        let malformed = find("mine", &folder).unwrap_err().to_string();
        assert!(malformed.contains("unknown field `nme`"), "{malformed}");
        std::fs::write(
            own.join("service.toml"),
            format!("{contract}[[env]]\nname = \"A\"\ntype = \"bol\"\ndoc = \"x\"\n"),
        )
        .unwrap();
        let mistyped = find("mine", &folder).unwrap_err().to_string();
        assert!(mistyped.contains("A: ") && mistyped.contains("bol"), "{mistyped}");
        let int = |name: &str| format!("[[env]]\nname = \"{name}\"\ntype = \"int\"\ndoc = \"x\"\n");
        for (addition, mistake) in [
            (int("A") + &int("A"), "the name A is used twice"),
            (int("A") + "[[let]]\nname = \"a\"\nvalue = \"1\"\n", "two values are called a in expressions"),
            ("[alias]\nOLD = \"NEW\"\n".to_owned(), "OLD stands for NEW, which nothing declares"),
            ("[[stop]]\nsignal = \"TERM\"\nwithin = \"1s\"\n".to_owned(), "stop: \"TERM\" is not a signal"),
            ("[[directory]]\npath = \"/a\"\nmode = \"rwx\"\n".to_owned(), "/a: the mode \"rwx\" is not octal"),
        ] {
            std::fs::write(own.join("service.toml"), format!("{contract}{addition}")).unwrap();
            let error = find("mine", &folder).unwrap_err().to_string();
            assert!(error.ends_with(&format!("service.toml is not a contract: {mistake}")), "{error}");
        }
        for path in [own.to_str().unwrap(), "../mine", ".", "..", ""] {
            assert!(matches!(find(path, &folder), Err(CatalogueError::Unknown { .. })), "{path:?}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_built_in_contract_can_be_read() {
        for name in names(Path::new("/nonexistent")) {
            find(&name, Path::new("/nonexistent")).unwrap();
        }
    }

    #[test]
    fn an_addition_merges_tables_appends_lists_and_replaces_the_rest() {
        let merged = merge(
            serde_json::json!({"service": {"name": "a", "summary": "x"}, "env": [1]}),
            serde_json::json!({"service": {"summary": "y"}, "env": [2]}),
        );
        assert_eq!(merged, serde_json::json!({"service": {"name": "a", "summary": "y"}, "env": [1, 2]}));
    }
}
