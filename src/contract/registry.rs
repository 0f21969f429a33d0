//! The services there are: those built in, and those an image adds under `/etc/dl-entry/services`.
//!
//! A folder there with a `service.toml` adds a service, or extends the built-in one of the same name: tables are
//! merged, lists appended, everything else replaced. Its other files are templates and key tables.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::contract::Contract;
use crate::contract::check;
use crate::contract::fragments::{included, merge};
use crate::contract::uses;
use crate::exit;
use crate::packed::Packed;
use crate::read;

/// Where an image's own services are.
pub const FOLDER: &str = "/etc/dl-entry/services";

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// One service as build.rs embeds it.
#[derive(Debug)]
struct Embedded {
    name: &'static str,
    /// The texts of it all: the contract as JSON, which is quicker to read than TOML, then `files`, then `originals`.
    packed: Packed,
    /// The length of the contract, in bytes, as those of the files are.
    contract: usize,
    uses: &'static [(&'static str, &'static [&'static str])],
    /// Templates with their properties as lines, and tables.
    files: &'static [(&'static str, usize)],
    /// Templates with properties, as they were written.
    originals: &'static [(&'static str, usize)],
    /// The names that each template reads, one a line.
    reads: &'static [(&'static str, &'static str)],
}

/// The texts of an embedded service.
struct Texts {
    contract: String,
    files: BTreeMap<String, String>,
    originals: BTreeMap<String, String>,
}

impl Embedded {
    fn unpacked(&self) -> Texts {
        let text = self.packed.text();
        let (contract, mut rest) = text.split_at(self.contract);
        let mut next = |(name, length): &(&str, usize)| {
            let (text, after) = rest.split_at(*length);
            rest = after;
            ((*name).to_owned(), text.to_owned())
        };
        let files = self.files.iter().map(&mut next).collect();
        let originals = self.originals.iter().map(&mut next).collect();
        Texts { contract: contract.to_owned(), files, originals }
    }
}

/// A contract and the files that belong to it, by file name.
#[derive(Debug, Clone)]
pub struct Package {
    pub contract: Contract,
    /// The contract as it was read.
    pub text: String,
    pub files: BTreeMap<String, String>,
    pub uses: uses::Uses,
    /// The names that each template reads, one a line.
    reads: BTreeMap<String, Cow<'static, str>>,
}

impl Package {
    /// The names that a template reads.
    pub fn read_by(&self, template: &str) -> impl Iterator<Item = &str> {
        self.reads.get(template).into_iter().flat_map(|names| names.lines())
    }
}

/// Why a service cannot be had.
#[derive(Debug)]
pub enum CatalogueError {
    /// No service of this name; those there are.
    Unknown { name: String, names: Vec<String> },
    /// A file of an image's own service cannot be read.
    Unreadable { path: PathBuf, reason: String },
    /// An image's own contract is not one.
    Malformed { path: PathBuf, reason: String },
    /// It is one that could not work: every mistake, with file and line.
    Mistaken { mistakes: Vec<String> },
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogueError::Unknown { name, names } => {
                write!(f, "there is no service {name:?}\n  accepted: {}", names.join(", "))
            }
            CatalogueError::Unreadable { path, reason } => write!(f, "{} cannot be read: {reason}", path.display()),
            CatalogueError::Mistaken { mistakes } => f.write_str(&mistakes.join("\n")),
            CatalogueError::Malformed { path, reason } => write!(f, "{} is not a contract: {reason}", path.display()),
        }
    }
}

impl CatalogueError {
    /// The exit status of a command that needs the service.
    pub fn status(&self) -> u8 {
        match self {
            CatalogueError::Mistaken { .. } => exit::TEMPLATE,
            _ => exit::USAGE,
        }
    }
}

/// The names of all services, in order. `folder` is `FOLDER` but in tests.
///
/// # Errors
/// The folder is there and cannot be looked into.
pub fn names(folder: &Path) -> Result<Vec<String>, CatalogueError> {
    let mut names: Vec<String> = EMBEDDED.iter().map(|embedded| embedded.name.to_owned()).collect();
    for entry in entries(folder)? {
        if is_there(&entry.join("service.toml"))? {
            names.extend(entry.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// The entries of a folder; none if it does not exist.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
    let listed = match std::fs::read_dir(folder) {
        Err(error) if is_absence(&error) => return Ok(vec![]),
        listed => listed.and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect()),
    };
    listed.map_err(|error| unreadable(folder, &error))
}

/// Whether a file is there; one that cannot be seen might be.
fn is_there(path: &Path) -> Result<bool, CatalogueError> {
    match path.metadata() {
        Ok(_) => Ok(true),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(unreadable(path, &error)),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn unreadable(path: &Path, error: &io::Error) -> CatalogueError {
    CatalogueError::Unreadable { path: path.to_owned(), reason: crate::text::reason(error) }
}

fn unknown(name: &str, folder: &Path) -> CatalogueError {
    match names(folder) {
        Ok(names) => CatalogueError::Unknown { name: name.to_owned(), names },
        Err(error) => error,
    }
}

/// The service called `name`.
///
/// # Errors
/// `CatalogueError`, naming the service or the file.
pub fn find(name: &str, folder: &Path) -> Result<Package, CatalogueError> {
    // A name and no path: a contract is the image's, not anybody's.
    if name.contains('/') || name.trim_matches('.').is_empty() {
        return Err(unknown(name, folder));
    }
    let own = folder.join(name);
    let embedded = EMBEDDED.iter().find(|embedded| embedded.name == name);
    let added = is_there(&own.join("service.toml"))?.then(|| read_folder(&own)).transpose()?;
    let malformed = |reason: String| CatalogueError::Malformed { path: own.join("service.toml"), reason };
    match (embedded, added) {
        (None, None) => Err(unknown(name, folder)),
        (Some(embedded), None) => {
            let Texts { contract: text, files, .. } = embedded.unpacked();
            let contract: Contract = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
            let contract = contract.written_out();
            let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            let uses = embedded.uses.iter().map(|(name, used)| ((*name).to_owned(), owned(used))).collect();
            let reads =
                embedded.reads.iter().map(|(name, names)| ((*name).to_owned(), Cow::Borrowed(*names))).collect();
            Ok(Package { contract, text, files, uses, reads })
        }
        (embedded, Some(Addition { contract: addition, text: own_text, files: added_files })) => {
            let built_in = embedded.map(Embedded::unpacked);
            let base = built_in.as_ref().map_or(Ok(Value::Null), |texts| serde_json::from_str(&texts.contract));
            let base = base.map_err(|error| malformed(error.to_string()))?;
            let mut files = BTreeMap::new();
            if let Some(texts) = built_in {
                files.extend(texts.files);
                // An addition may have properties for a template that is built in.
                files.extend(texts.originals);
            }
            files.extend(added_files);
            let merged = merge(base, included(addition, &shared).map_err(malformed)?);
            let text = merged.to_string();
            let contract: Contract = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
            let contract = contract.written_out();
            // As build.rs has done for those built in.
            let sources = [(own.join("service.toml").display().to_string(), own_text)];
            let placed =
                |(name, text): (&String, &String)| (name.clone(), (own.join(name).display().to_string(), text.clone()));
            let placed = files.iter().map(placed).collect();
            let package = check::Package { name, contract: &contract, sources: &sources, files: &placed };
            let mistakes = check::mistakes(package);
            if !mistakes.is_empty() {
                return Err(CatalogueError::Mistaken { mistakes });
            }
            let uses = uses::uses_of(&contract);
            let mut reads = BTreeMap::new();
            for template in contract.files.iter().map(|file| &file.template) {
                let Some(text) = files.get_mut(template) else { continue };
                *text = contract.with_properties(template, text).into_owned();
                let names = Vec::from_iter(uses::read_by(text)).join("\n");
                reads.insert(template.clone(), names.into());
            }
            Ok(Package { contract, text, files, uses, reads })
        }
    }
}

/// A fragment that contracts can include.
fn shared(name: &str) -> Option<Value> {
    let (_, packed) = FRAGMENTS.iter().find(|(fragment, _)| *fragment == name)?;
    serde_json::from_str(&packed.text()).ok()
}

/// The additions of an image.
struct Addition {
    contract: Value,
    /// The contract as it was written.
    text: String,
    files: BTreeMap<String, String>,
}

fn read_folder(folder: &Path) -> Result<Addition, CatalogueError> {
    let read = |path: &Path| read::text(path, read::CONTRACT).map_err(|error| unreadable(path, &error));
    let path = folder.join("service.toml");
    let text = read(&path)?;
    let malformed = |reason| CatalogueError::Malformed { path: path.clone(), reason };
    let contract: Value = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    // By the reader of the built-in contracts: another one for TOML would be a tenth of the binary.
    serde_json::from_str::<Contract>(&contract.to_string()).map_err(|error| malformed(with_line(&error, &text)))?;
    let mut files = BTreeMap::new();
    for entry in entries(folder)?.into_iter().filter(|entry| !entry.is_dir() && *entry != path) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, read(&entry)?);
    }
    Ok(Addition { contract, text, files })
}

/// The mistake in a contract as data, with the line of the word it is about.
fn with_line(error: &serde_json::Error, text: &str) -> String {
    let reason = error.to_string();
    let reason = reason.split(" at line ").next().unwrap_or_default();
    let word = reason.split('`').nth(1).unwrap_or_default();
    match text.lines().position(|line| !word.is_empty() && line.contains(word)) {
        Some(index) => format!("line {}: {reason}", index + 1),
        None => reason.to_owned(),
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
        assert!(names(&folder).unwrap().contains(&"mine".to_owned()));
        let unknown = find("nothing", &folder).unwrap_err().to_string();
        assert!(unknown.starts_with("there is no service \"nothing\"\n  accepted: "), "{unknown}");
        std::fs::write(own.join("service.toml"), "[service]\nnme = 1\n").unwrap();
        let malformed = find("mine", &folder).unwrap_err().to_string();
        assert!(malformed.contains("line 2") && malformed.contains("unknown field `nme`"), "{malformed}");
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
            ("[[directory]]\npath = \"{{ etcetera }}\"\n".to_owned(), "directory: no variable is called etcetera"),
            (
                "[[file]]\ntemplate = \"b.tera\"\npath = \"/b\"\nformat = \"plain\"\n".to_owned(),
                "the template b.tera does not exist",
            ),
            ("[[directory]]\npath = \"/a\"\nmode = \"rwx\"\n".to_owned(), "/a: the mode \"rwx\" is not octal"),
        ] {
            std::fs::write(own.join("service.toml"), format!("{contract}{addition}")).unwrap();
            let error = find("mine", &folder).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{}/service.toml:", own.display())), "{error}");
            assert!(error.lines().any(|line| line.ends_with(&format!(": {mistake}"))), "{error}");
        }
        let include = |parameters: &str| format!("{contract}[[include]]\nfragment = \"java\"\n{parameters}");
        let parameters =
            "options = \"arguments\"\nnames = \"\"\nsupported = \"true\"\ntitle = \"x\"\naccepted = \"x\"\n";
        std::fs::write(own.join("service.toml"), include(parameters)).unwrap();
        assert_eq!(find("mine", &folder).unwrap().contract.variables[0].name, "JAVA_HOME");
        std::fs::write(own.join("service.toml"), include("")).unwrap();
        let error = find("mine", &folder).unwrap_err().to_string();
        assert!(error.ends_with("include: java needs the parameter accepted"), "{error}");
        for name in ["service.toml", "a.conf.tera"] {
            std::fs::write(own.join("service.toml"), contract).unwrap();
            std::fs::remove_file(own.join(name)).unwrap();
            nix::unistd::mkfifo(&own.join(name), nix::sys::stat::Mode::S_IRWXU).unwrap();
            let error = find("mine", &folder).unwrap_err().to_string();
            assert_eq!(error, format!("{} cannot be read: it is a pipe, not a file", own.join(name).display()));
            std::fs::remove_file(own.join(name)).unwrap();
        }
        std::os::unix::fs::symlink("looped", folder.join("looped")).unwrap();
        let error = find("trino", &folder).map(drop).and_then(|()| names(&folder).map(drop)).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("{}/service.toml cannot be read: ", folder.join("looped").display())),
            "{error}"
        );
        std::fs::remove_file(folder.join("looped")).unwrap();
        for path in [own.to_str().unwrap(), "../mine", ".", "..", ""] {
            assert!(matches!(find(path, &folder), Err(CatalogueError::Unknown { .. })), "{path:?}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn an_image_adds_a_property_to_a_template_that_is_built_in() {
        let folder = std::env::temp_dir().join(format!("dl-entry-addition-{}", std::process::id()));
        let own = folder.join("trino");
        std::fs::create_dir_all(&own).unwrap();
        let variable = "[[env]]\nname = \"TRINO_OWN\"\ntype = \"int\"\nproperty = \"own.key\"\ndoc = \"x\"\n";
        std::fs::write(own.join("service.toml"), variable).unwrap();
        let package = find("trino", &folder).unwrap();
        let text = &package.files["config.properties.tera"];
        assert!(text.contains("{% if own is defined %}own.key={{ own }}\n{% endif %}"), "{text}");
        assert!(package.read_by("config.properties.tera").any(|name| name == "own"));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn every_built_in_contract_can_be_read() {
        for name in names(Path::new("/nonexistent")).unwrap() {
            find(&name, Path::new("/nonexistent")).unwrap();
        }
    }
}
