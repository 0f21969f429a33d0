//! Whether a value may be what it is: a secret that everybody knows, a path that leads nowhere.

use super::Loader;
use super::sources::Raw;
use crate::contract::Variable;
use crate::report::Problem;
use crate::value::{Exists, ValueType};

impl Loader<'_> {
    pub(super) fn examine_secret(&mut self, name: &str, variable: &Variable, value_type: &ValueType, raw: &Raw) {
        if !variable.is_secret() {
            return;
        }
        let minimum = match value_type {
            ValueType::Secret { min_length } => *min_length,
            _ => 1,
        };
        let short = raw.text.chars().count() < minimum;
        let what = if short {
            Some("is shorter than a secret must be".to_owned())
        } else {
            placeholder(&raw.text, &variable.well_known).map(|why| format!("is no secret: {why}"))
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
    let unexpanded = value.contains("$(") && value.contains(')') || value.starts_with("${") && value.ends_with('}');
    unexpanded.then_some("it is a shell expression that nothing expanded")
}

/// Whether the name of a key says that its value is to be kept to oneself: `quarkus.mail.password`, `x.secret-key`.
pub(super) fn names_a_secret(key: &str) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key).to_lowercase();
    let telling = ["password", "passphrase", "secret", "secret-key", "private-key", "token", "tokens", "credentials"];
    telling.iter().any(|ending| last.ends_with(ending))
}

fn look_at(path: &str, exists: Exists) -> Result<(), String> {
    let metadata =
        std::fs::metadata(path).map_err(|error| format!("cannot be used: {}", crate::env::reason(&error)))?;
    match exists {
        Exists::Unchecked => Ok(()),
        Exists::Directory if metadata.is_dir() => Ok(()),
        Exists::Directory => Err("is not a directory".into()),
        Exists::File | Exists::Pem if metadata.is_dir() => Err("is a directory, not a file".into()),
        Exists::File => std::fs::File::open(path)
            .map(drop)
            .map_err(|error| format!("cannot be read: {}", crate::env::reason(&error))),
        Exists::Pem => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| format!("cannot be read: {}", crate::env::reason(&error)))?;
            text.contains("-----BEGIN ").then_some(()).ok_or_else(|| "is not PEM".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_a_key_says_whether_it_is_a_secret() {
        assert!(names_a_secret("quarkus.mail.password"));
        assert!(!names_a_secret("quarkus.oidc.token.issuer"));
        assert!(!names_a_secret("nessie.catalog.validate-secrets"));
    }
}
