//! Where the text of a variable comes from: the environment under its name or an old one, `X_FILE`, or the secrets
//! directory.

use std::path::PathBuf;

use super::groups::split_group_name;
use super::{Loader, Source};
use crate::contract::Variable;
use crate::exit;
use crate::report::Problem;

/// A text and its provenance.
pub(super) struct Raw {
    pub text: String,
    pub source: Source,
    /// The text only stands for a file that is on another machine: nothing can be said of it.
    pub unknown: bool,
}

impl Raw {
    pub(super) fn known(text: String, source: Source) -> Raw {
        Raw { text, source, unknown: false }
    }
}

impl Loader<'_> {
    pub(super) fn report_links(&mut self, links: &[String]) {
        if let Some(first) = links.first() {
            let others = if links.len() > 1 { format!(" and {} more", links.len() - 1) } else { String::new() };
            self.problems.push(Problem::notice(
                format!("{first}{others}"),
                "dropped: Kubernetes service links, not settings (enableServiceLinks: false turns them off)",
            ));
        }
    }

    /// Text of a variable that is set and not empty; a name that is not UTF-8 in value is an error, as it is needed.
    pub(super) fn text_of(&mut self, name: &str, keep_empty: bool) -> Option<String> {
        self.known.insert(name.to_owned());
        let value = self.environment.get(name)?;
        let Some(text) = value.to_str() else {
            self.problems.push(Problem::error(name, "is not UTF-8 text").from_source("environment"));
            return None;
        };
        (keep_empty || !text.is_empty()).then(|| text.to_owned())
    }

    pub(super) fn rename_aliases(&mut self) {
        let contract = self.contract;
        let given_in = &self.given_in;
        let declared = contract.variables.iter().flat_map(|variable| {
            let keys = variable.properties.iter().filter(|property| property.adopt).map(|property| &property.key);
            // Without a dot or a dash, it may be the name of somebody else's variable.
            let keys = keys.filter(|key| key.contains(['.', '-']) || given_in.contains_key(*key));
            let names = variable.aliases.iter().chain(keys);
            names.map(move |name| (name.as_str(), variable.name.as_str(), variable.takes_file()))
        });
        let of_groups = contract.alias.iter().map(|(old, new)| (old.as_str(), new.as_str(), self.takes_file(new)));
        let aliases: Vec<(String, String, bool)> =
            declared.chain(of_groups).map(|(old, new, file)| (old.to_owned(), new.to_owned(), file)).collect();
        for (old, new, takes_file) in aliases {
            if self.is_reference_in_key(&old) {
                continue;
            }
            let before = self.problems.len();
            self.rename(&old, &new);
            if takes_file {
                self.name_mounted_secret(&old, &new);
                self.rename(&format!("{old}_FILE"), &format!("{new}_FILE"));
            }
            self.break_key_since(before, &new);
        }
    }

    /// A secret file that is named like an old name, where nothing else gives the variable a value.
    fn name_mounted_secret(&mut self, old: &str, new: &str) {
        let names = [old, new].into_iter().flat_map(|name| [name.to_owned(), format!("{name}_FILE")]);
        let given =
            names.into_iter().any(|name| self.environment.get(&name).is_some() || self.renamed.contains_key(&name));
        let mounted = |name: &str| self.options.secrets.path_for(name).ok().flatten();
        // What cannot be looked for is reported where the variable is read.
        let path = if given || mounted(new).is_some() { None } else { mounted(old) };
        if let Some(path) = path.as_ref().and_then(|path| path.to_str()) {
            self.environment.insert(&format!("{old}_FILE"), path);
        }
    }

    fn takes_file(&self, full_name: &str) -> bool {
        let plain = self.contract.variables.iter().find(|variable| variable.name == full_name);
        let grouped = self.contract.groups.iter().find_map(|group| split_group_name(group, full_name).map(|(_, v)| v));
        plain.or(grouped).is_some_and(Variable::takes_file)
    }

    pub(super) fn rename(&mut self, old: &str, new: &str) {
        let Some(value) = self.text_of(old, false) else { return };
        let current = self.renamed.get(new).cloned();
        let beside = current.as_deref().unwrap_or(new);
        match self.environment.get(beside).filter(|text| !text.is_empty()) {
            None => {
                self.problems.push(self.notice_of(old, new));
                self.renamed.insert(new.to_owned(), old.to_owned());
            }
            Some(text) if text == value.as_str() => {}
            // It is reported where it is read.
            Some(text) if text.to_str().is_none() => {}
            Some(_) => self.problems.push(
                Problem::error(format!("{old}, {beside}"), "are two names of one setting and have different values")
                    .accepted(format!("{new} alone"))
                    .from_source("environment"),
            ),
        }
    }

    fn notice_of(&self, old: &str, new: &str) -> Problem {
        match (self.given_in.get(old), self.adopted.contains(old)) {
            (Some(from), _) => Problem::notice(from, format!("sets {old}: taken as {new}")),
            (None, true) => Problem::notice(old, format!("sets a key that a variable is there for: taken as {new}")),
            (None, false) => Problem::notice(old, format!("is an old or foreign name: taken as {new}")),
        }
    }

    /// The text of a variable, from the environment, its `_FILE` or `/run/secrets`.
    pub(super) fn raw(&mut self, name: &str, variable: &Variable) -> Option<Raw> {
        let origin = self.renamed.get(name).cloned();
        let before = self.problems.len();
        let direct = self.text_of(origin.as_deref().unwrap_or(name), variable.keep_empty);
        self.break_key_since(before, name);
        self.known.insert(name.to_owned());
        let source = origin.clone().map_or(Source::Environment, Source::Alias);
        if !variable.takes_file() {
            return direct.map(|text| Raw::known(text, source));
        }
        let file_variable = format!("{name}_FILE");
        let file_origin = self.renamed.get(&file_variable).cloned().unwrap_or_else(|| file_variable.clone());
        let named = self.text_of(&file_origin, false);
        self.break_key_since(before, name);
        self.known.insert(file_variable);
        match (direct, named) {
            (Some(_), Some(_)) => {
                let direct_origin = origin.as_deref().unwrap_or(name);
                let names = format!("{direct_origin}, {file_origin}");
                let both = Problem::error(names, "are both set").accepted("one of the two");
                self.problems.push(both.from_source("environment"));
                self.broken.insert(self.key_of_name(name));
                None
            }
            (Some(text), None) => Some(Raw::known(text, source)),
            (None, Some(path)) => {
                let path = self.options.secrets.named(&path);
                self.secret_file(name, &file_origin, path, variable.is_secret())
            }
            (None, None) => {
                let path = self.mounted_secret(name)?;
                self.secret_file(name, name, path, variable.is_secret())
            }
        }
    }

    /// The file of the secrets directory that is this variable. Where the directory cannot be searched, that is one
    /// problem, however many variables might be there.
    fn mounted_secret(&mut self, name: &str) -> Option<PathBuf> {
        let why = match self.options.secrets.path_for(name) {
            Ok(path) => return path,
            Err(why) => why,
        };
        let problem = Problem::error("DL_SECRETS_DIR", why)
            .accepted("a folder this user can search, and none where secrets come another way")
            .with_status(exit::SECRET_FILE);
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
        self.broken.insert(self.key_of_name(name));
        None
    }

    /// Problems reported since then are this variable's: its missing value is not reported again.
    pub(super) fn break_key_since(&mut self, before: usize, name: &str) {
        if crate::report::has_errors(&self.problems[before..]) {
            self.broken.insert(self.key_of_name(name));
        }
    }

    fn secret_file(&mut self, name: &str, variable: &str, path: PathBuf, secret: bool) -> Option<Raw> {
        if !self.options.secrets.must_exist {
            let text = format!("‹the content of {}›", path.display());
            return Some(Raw { text, source: Source::File(path), unknown: true });
        }
        match self.options.secrets.read(&path) {
            Ok(content) => {
                if secret && content.world_readable {
                    let message = format!("is read from {}, which every user can read: chmod o-r it", path.display());
                    self.problems.push(Problem::warning(variable, message));
                }
                Some(Raw::known(content.text, Source::File(path)))
            }
            Err(why) => {
                let message = format!("names {}, which {why}", path.display());
                let problem = Problem::error(variable, message)
                    .accepted("a readable file of at most 1 MiB of text, its one newline at the end left out")
                    .with_status(exit::SECRET_FILE);
                // A file that is there by its name has no variable that names it.
                let source = if variable == name { path.display().to_string() } else { "environment".to_owned() };
                self.problems.push(problem.from_source(source));
                self.broken.insert(self.key_of_name(name));
                None
            }
        }
    }

    pub(super) fn key_of_name(&self, name: &str) -> String {
        let variable = self.contract.variables.iter().find(|variable| variable.name == name);
        variable.map_or_else(|| name.to_lowercase(), |variable| self.contract.key_of(variable).into_owned())
    }
}
