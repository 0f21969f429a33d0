//! Whether a value may be what it is: a secret that everybody knows, a path that leads nowhere.

use std::collections::BTreeSet;
use std::os::unix::fs::FileTypeExt as _;

use super::{Loader, Source};
use super::groups::split_group_name;
use super::sources::Raw;
use crate::contract::Variable;
use crate::read;
use crate::report::Problem;
use crate::secrets::detect;
use crate::secrets::detect::Within;
use crate::secrets::{SHORTEST_SECRET, is_too_short};
use crate::value::{Exists, ValueType};

impl Loader<'_> {
    pub(super) fn examine_secret(&mut self, name: &str, variable: &Variable, value_type: &ValueType, raw: &Raw) {
        // A default is made from another secret, which is judged under its own name.
        if !variable.is_secret() || raw.source == Source::Default {
            return;
        }
        let minimum = match value_type {
            ValueType::Secret { min_length } => *min_length,
            // Options of java that may hold secrets.
            ValueType::Words => 1,
            _ => SHORTEST_SECRET,
        };
        let short = raw.text.chars().count() < minimum;
        let what = if short {
            Some("is shorter than a secret must be".to_owned())
        } else {
            placeholder(&raw.text, &variable.well_known).map(|why| format!("is not a safe secret: {why}"))
        };
        let Some(what) = what else { return };
        let accepted = format!("{} of your own; DL_ALLOW_INSECURE=1 lets this one pass", value_type.accepted());
        self.push_insecure(Problem::error(name, what).accepted(accepted).from_source(raw.source.to_string()));
    }

    pub(super) fn push_insecure(&mut self, mut problem: Problem) {
        if self.options.allow_insecure {
            problem.severity = crate::report::Severity::Warning;
        }
        self.problems.push(problem);
    }

    /// Keeps what is secret inside a value that is none as a whole.
    pub(super) fn keep_secrets_within(&mut self, name: &str, text: &str) {
        for Within { secret, place } in detect::within(text) {
            self.settings.places.extend(place.map(|place| (secret.clone().into_owned(), place.into_owned())));
            self.settings.secrets.push((name.to_owned(), secret.into_owned()));
        }
    }

    /// Keeps the secrets inside everything that came in, declared or not: all of it may be printed by somebody.
    pub(super) fn keep_undeclared_secrets(&mut self) {
        // Lent rather than copied: a value may be large.
        let environment = std::mem::take(&mut self.environment);
        for (name, value) in environment.iter() {
            self.keep_undeclared(&name.to_string_lossy(), &value.to_string_lossy());
        }
        self.environment = environment;
        for argument in &self.options.arguments {
            self.keep_undeclared("arguments", argument);
        }
    }

    fn keep_undeclared(&mut self, name: &str, value: &str) {
        self.keep_secrets_within(name, value);
        let folder = matches!(name, "PWD" | "OLDPWD");
        if !folder && !self.known.contains(name) && detect::is_secret(name, value) && !is_too_short(value) {
            self.settings.secrets.push((name.to_owned(), value.to_owned()));
        }
    }

    /// A secret of a passthrough that is too short to be found in a text; a declared one is reported by its type. Where
    /// it passes all the same, no value that is it is shown.
    pub(super) fn examine_short_secrets(&mut self) {
        let short = self.settings.secrets.iter().filter(|(_, secret)| !secret.is_empty() && is_too_short(secret));
        let (names, values): (BTreeSet<String>, BTreeSet<String>) = short.cloned().unzip();
        for setting in self.settings.settings.iter_mut().filter(|setting| values.contains(&setting.shown)) {
            setting.shown = "‹redacted›".into();
        }
        for name in names {
            if !self.is_declared(&name) {
                let accepted = "at least 4 characters; DL_ALLOW_INSECURE=1 lets this one pass";
                let problem = Problem::error(name, "is shorter than a secret must be").accepted(accepted);
                self.push_insecure(problem.from_source("environment"));
            }
        }
    }

    fn is_declared(&self, name: &str) -> bool {
        let contract = self.contract;
        contract.variables.iter().any(|variable| variable.name == name)
            || contract.groups.iter().any(|group| split_group_name(group, name).is_some())
            || contract.derived.iter().any(|derived| derived.name == name)
    }

    pub(super) fn examine_path(&mut self, name: &str, value_type: &ValueType, raw: &Raw) {
        let ValueType::Path { exists } = value_type else { return };
        if !self.options.check_files || *exists == Exists::Unchecked {
            return;
        }
        if let Err(why) = look_at(raw.text.trim(), *exists) {
            let message = format!("names {}, which {why}", raw.text.trim());
            let problem = Problem::error(name, message).accepted(value_type.accepted());
            self.problems.push(problem.from_source(raw.source.to_string()));
        }
    }
}

/// A value that everybody knows, or that was never filled in: says which.
pub(super) fn placeholder(value: &str, further: &[String]) -> Option<&'static str> {
    const KNOWN: [&str; 24] = [
        "minioadmin",
        "minioadmin123",
        "admin",
        "admin123",
        "administrator",
        "root",
        "password",
        "password1",
        "password123",
        "passw0rd",
        "changeme",
        "change_me",
        "change-me",
        "secret",
        "default",
        "postgres",
        "test",
        "test123",
        "example",
        "123456",
        "12345678",
        "qwerty",
        "patroni123",
        "nessie123",
    ];
    let lower = value.trim().to_lowercase();
    if KNOWN.contains(&lower.as_str()) || further.iter().any(|known| known.eq_ignore_ascii_case(value.trim())) {
        return Some("it is a well-known default");
    }
    let stems =
        ["change_me", "changeme", "change-me", "change_this", "your_", "your-", "replace_me", "replace-me", "insert_"];
    if stems.iter().any(|stem| lower.starts_with(stem)) || (lower.starts_with('<') && lower.ends_with('>')) {
        return Some("it is a placeholder");
    }
    None
}

fn look_at(path: &str, exists: Exists) -> Result<(), String> {
    let metadata =
        std::fs::metadata(path).map_err(|error| format!("cannot be used: {}", crate::text::reason(&error)))?;
    match exists {
        Exists::Unchecked => Ok(()),
        Exists::Directory if metadata.is_dir() => Ok(()),
        Exists::Directory => Err("is not a directory".into()),
        Exists::File | Exists::Pem if metadata.is_dir() => Err("is a directory, not a file".into()),
        // A file for the service may be a device; a pipe would be consumed here.
        Exists::File if metadata.file_type().is_char_device() => Ok(()),
        Exists::File => read::open_regular(path.as_ref())
            .map(drop)
            .map_err(|error| format!("cannot be read: {}", crate::text::reason(&error))),
        Exists::Pem => {
            let text = read::text(path.as_ref(), read::CERTIFICATES)
                .map_err(|error| format!("cannot be read: {}", crate::text::reason(&error)))?;
            text.contains("-----BEGIN ").then_some(()).ok_or_else(|| "is not PEM".to_owned())
        }
    }
}
