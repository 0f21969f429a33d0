//! How a value is written in each kind of file, and how the file is read back.
//!
//! `escape` is what `{{ value }}` prints in a template of that format; `parse` gives the entries the file's real
//! consumer would see. `render` proves with the two that every value stays in its place. Pure text to text.

mod json;
mod jvm_options;
mod postgresql;
mod properties;
mod xml;
mod yaml;

use std::fmt;
use std::ops::Range;

pub use self::properties::REFERENCES;

/// The formats a contract can declare for a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// java.util.Properties.
    Properties,
    /// Properties whose values SmallRye Config expands: Quarkus, Nessie.
    Smallrye,
    /// Properties whose values airlift expands: Trino.
    Airlift,
    /// A `java @file` of arguments (java(1), "java Command-Line Argument Files").
    JvmOptions,
    /// YAML 1.1 and 1.2 alike: values are double-quoted scalars.
    Yaml,
    Json,
    /// XML 1.0: element text and attribute values.
    Xml,
    /// postgresql.conf (PostgreSQL documentation, "Setting Parameters").
    PostgresqlConf,
    /// pg_hba.conf and pg_ident.conf.
    PgHba,
    /// A password file of libpq.
    Pgpass,
    /// Docker's `--env-file`: nothing is quoted.
    EnvFile,
    /// Text as it is.
    Plain,
}

/// One thing a file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, the path, or the number of the line, whatever the format has.
    pub key: String,
    pub value: String,
    /// The lines it stands on, from 0.
    pub lines: Range<usize>,
}

/// A value that this format has no way to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrepresentable {
    pub format: Format,
    pub reason: &'static str,
}

impl fmt::Display for Unrepresentable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be written in a file of format {}", self.reason, self.format.name())
    }
}

/// A text that is not of its format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl Format {
    pub const ALL: [Format; 12] = [
        Format::Properties,
        Format::Smallrye,
        Format::Airlift,
        Format::JvmOptions,
        Format::Yaml,
        Format::Json,
        Format::Xml,
        Format::PostgresqlConf,
        Format::PgHba,
        Format::Pgpass,
        Format::EnvFile,
        Format::Plain,
    ];

    /// As a contract writes it.
    pub fn name(self) -> &'static str {
        match self {
            Format::Properties => "properties",
            Format::Smallrye => "smallrye",
            Format::Airlift => "airlift",
            Format::JvmOptions => "jvm-options",
            Format::Yaml => "yaml",
            Format::Json => "json",
            Format::Xml => "xml",
            Format::PostgresqlConf => "postgresql-conf",
            Format::PgHba => "pg-hba",
            Format::Pgpass => "pgpass",
            Format::EnvFile => "env",
            Format::Plain => "plain",
        }
    }

    /// The format a contract names.
    pub fn from_name(name: &str) -> Option<Format> {
        Format::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether a file is a set of keys with one value each, so that a key can be added or replaced.
    pub fn has_keys(self) -> bool {
        use Format::{Airlift, EnvFile, PostgresqlConf, Properties, Smallrye};
        matches!(self, Properties | Smallrye | Airlift | PostgresqlConf | EnvFile)
    }

    /// The text that stands for `value` where a template prints it.
    ///
    /// # Errors
    /// The format has no way to write it.
    pub fn escape(self, value: &str) -> Result<String, Unrepresentable> {
        if value.contains('\0') {
            return Err(Unrepresentable { format: self, reason: "a NUL byte" });
        }
        let refuse = |reason| Unrepresentable { format: self, reason };
        match self {
            Format::Properties => Ok(properties::escape(value)),
            Format::Smallrye => Ok(properties::escape_smallrye(value)),
            Format::Airlift => properties::escape_airlift(value).map_err(refuse),
            Format::JvmOptions => jvm_options::escape(value).map_err(refuse),
            Format::Yaml => Ok(yaml::escape(value)),
            Format::Json => Ok(json::escape(value)),
            Format::Xml => xml::escape(value).map_err(refuse),
            Format::PostgresqlConf => Ok(postgresql::escape_conf(value)),
            Format::PgHba => postgresql::escape_hba(value).map_err(refuse),
            Format::Pgpass => postgresql::escape_pgpass(value).map_err(refuse),
            Format::EnvFile if value.contains(['\n', '\r']) => Err(refuse("a line break")),
            Format::EnvFile | Format::Plain => Ok(value.to_owned()),
        }
    }

    /// As `escape`, but a reference that the format's consumer resolves (airlift's `${ENV:NAME}`, SmallRye's `${key}`)
    /// is meant as one: an operator wrote the line as it would stand in the file.
    ///
    /// # Errors
    /// The format has no way to write it.
    pub fn escape_keeping_references(self, value: &str) -> Result<String, Unrepresentable> {
        let refuse = |reason| Unrepresentable { format: self, reason };
        match self {
            _ if value.contains('\0') => self.escape(value),
            Format::Airlift => properties::escape_airlift_line(value).map_err(refuse),
            Format::Smallrye => Ok(properties::escape_smallrye_line(value)),
            _ => self.escape(value),
        }
    }

    /// The result of `parse` for a value written by `escape_keeping_references`.
    pub fn meant_keeping_references(self, value: &str) -> String {
        match self {
            Format::Airlift => properties::meant_by_airlift_line(value),
            Format::Smallrye => properties::meant_by_smallrye_line(value),
            _ => value.to_owned(),
        }
    }

    /// Whether a value that `escape_keeping_references` wrote has a reference in it.
    pub fn refers(self, value: &str) -> bool {
        self.meant_keeping_references(value).contains(properties::REFERENCE)
    }

    /// The references accepted in an operator's own line, in words.
    pub fn references(self) -> Option<&'static str> {
        match self {
            Format::Airlift => {
                Some("${ENV:NAME} in the value of such a key is a reference, which the service resolves.")
            }
            Format::Smallrye => {
                Some("${key} in the value of such a key is a reference, which the service resolves; $${ is a plain ${.")
            }
            _ => None,
        }
    }

    /// Whether blanks around a value are of no meaning to the format's consumer.
    pub fn trims(self) -> bool {
        self == Format::Airlift
    }

    /// Whether the key is one that escaping needs for itself.
    pub fn reserves(self, key: &str) -> bool {
        self == Format::Smallrye && key == properties::BACKSLASH_KEY
    }

    /// The text that stands for `key` where a key is expected.
    ///
    /// # Errors
    /// The format has no way to write it.
    pub fn escape_key(self, key: &str) -> Result<String, Unrepresentable> {
        let refuse = |reason| Unrepresentable { format: self, reason };
        match self {
            _ if key.is_empty() || key.contains('\0') => Err(refuse("an empty key or one with a NUL byte")),
            Format::Properties | Format::Smallrye | Format::Airlift => Ok(properties::escape_key(key)),
            Format::PostgresqlConf => postgresql::check_name(key).map(|()| key.to_owned()).map_err(refuse),
            Format::EnvFile if key.contains(|c: char| c.is_whitespace() || c == '=') || key.starts_with('#') => {
                Err(refuse("a key with a blank, a = or a leading #"))
            }
            Format::Xml => Err(refuse("a key")),
            _ => self.escape(key),
        }
    }

    /// Lines a file needs at its top because of how its values were escaped.
    pub fn prelude(self, text: &str) -> Option<&'static str> {
        (self == Format::Smallrye && properties::needs_backslash_key(text)).then_some(properties::BACKSLASH_LINE)
    }

    /// Everything the file says, in order, escapes and expressions undone.
    ///
    /// # Errors
    /// The line, and what its real consumer would object to.
    pub fn parse(self, text: &str) -> Result<Vec<Entry>, ParseError> {
        match self {
            Format::Properties => properties::parse(text),
            Format::Smallrye => properties::parse_smallrye(text),
            Format::Airlift => properties::parse_airlift(text),
            Format::JvmOptions => jvm_options::parse(text),
            Format::Yaml => yaml::parse(text),
            Format::Json => json::parse(text),
            Format::Xml => xml::parse(text),
            Format::PostgresqlConf => postgresql::parse_conf(text),
            Format::PgHba => postgresql::parse_hba(text),
            Format::Pgpass => Ok(postgresql::parse_pgpass(text)),
            Format::EnvFile => parse_env_file(text),
            Format::Plain => {
                let lines = 0..text.lines().count();
                Ok(vec![Entry { key: String::new(), value: text.to_owned(), lines }])
            }
        }
    }
}

fn parse_env_file(text: &str) -> Result<Vec<Entry>, ParseError> {
    let lines = text
        .split('\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_start().is_empty() && !line.trim_start().starts_with('#'));
    let entry = |(index, line): (usize, &str)| {
        let (key, value) =
            line.trim_start().split_once('=').ok_or_else(|| ParseError { line: index + 1, message: "no =".into() })?;
        Ok(Entry { key: key.to_owned(), value: value.to_owned(), lines: index..index + 1 })
    };
    lines.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A value amid what stands around it in a real file, and where to find it again.
    fn surrounded(format: Format, value: &str) -> String {
        match format {
            Format::Properties | Format::Smallrye | Format::Airlift => format!("# first\na.b=1\nkey={value}\nz=2\n"),
            Format::JvmOptions => format!("-Xmx1g\n-Dkey={value}\n# last\n-ea\n"),
            Format::Yaml => format!("a: 1\nlist:\n  - key: {value}\n    z: 2\n"),
            Format::Json => format!("{{\"a\": 1, \"list\": [{{\"key\": {value}}}], \"z\": 2}}"),
            Format::Xml => format!("<c><p name=\"{value}\">{value}</p><z>2</z></c>"),
            Format::PostgresqlConf => format!("a = 1 # x\nkey = {value}\nz = 2\n"),
            Format::PgHba => format!("# first\nhost all {value} 10.0.0.0/8 scram-sha-256\nlocal all all peer\n"),
            Format::Pgpass => format!("{value}:5432:*:user:{value}\nhost:1:db:u:p\n"),
            Format::EnvFile => format!("A=1\nKEY={value}\nZ=2\n"),
            Format::Plain => value.to_owned(),
        }
    }

    fn entries(format: Format, value: &str) -> Vec<(String, String)> {
        let text = surrounded(format, value);
        let text = format!("{}{text}", format.prelude(&text).unwrap_or_default());
        let parsed = format.parse(&text).unwrap_or_else(|error| panic!("{format:?}: {error}"));
        parsed.into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    fn check(format: Format, value: &str) {
        let Ok(escaped) = format.escape(value) else { return };
        let found = entries(format, &escaped);
        let meant: Vec<(String, String)> = entries(format, &format.escape("dlvx").unwrap())
            .into_iter()
            .map(|(key, text)| (key, text.replace("dlvx", value)))
            .collect();
        assert_eq!(found, meant, "{format:?} of {value:?}");
    }

    const HOSTILE: [&str; 22] = [
        "plain",
        "'\"$\\#{}%&=:! ü€😀",
        "a$$b",
        "${undefined}",
        "a\\$b",
        "\\\\${x:y}",
        "$",
        "${",
        "${ENV:HOME}",
        "line\nkey=injected",
        "line\r\nkey: injected",
        " leading",
        "trailing ",
        "\t",
        "ends with \\",
        "#",
        "!",
        "]]>",
        "-Dx=y @file",
        "\u{2028}\u{85}\u{feff}",
        "{{ x }} {% if %}",
        "\u{1}\u{7f}",
    ];

    /// Behaviours: 88, 89.
    #[test]
    fn hostile_values_come_back_from_every_format_or_are_refused() {
        for format in Format::ALL {
            for value in HOSTILE {
                check(format, value);
            }
        }
    }

    /// Behaviours: 88.
    #[test]
    fn what_a_format_cannot_carry_is_refused_with_the_reason() {
        let reason = |format: Format, value: &str| format.escape(value).unwrap_err().to_string();
        assert_eq!(reason(Format::Pgpass, "a\nb"), "a line break cannot be written in a file of format pgpass");
        assert_eq!(reason(Format::EnvFile, "a\rb"), "a line break cannot be written in a file of format env");
        assert_eq!(reason(Format::Xml, "\u{1}"), "a control character cannot be written in a file of format xml");
        assert_eq!(
            reason(Format::JvmOptions, "ü"),
            "a character beyond ASCII cannot be written in a file of format jvm-options"
        );
        assert_eq!(reason(Format::Yaml, "\0"), "a NUL byte cannot be written in a file of format yaml");
    }

    proptest! {
        /// Behaviours: 88.
        #[test]
        fn any_text_comes_back_or_is_refused(value in "(\\PC|[\\s\\\\$'\"#{}=:,!&<>%-]){0,40}") {
            for format in Format::ALL {
                check(format, &value);
            }
        }

        #[test]
        fn any_key_comes_back(key in "(\\PC|[ =:#!\\\\\t]){1,20}") {
            for format in [Format::Properties, Format::Smallrye, Format::Airlift] {
                let text = format!("{}=value\n", format.escape_key(&key).unwrap());
                let parsed = format.parse(&text).unwrap();
                prop_assert_eq!(parsed.len(), 1);
                prop_assert_eq!(&parsed[0].key, &key);
                prop_assert_eq!(&parsed[0].value, "value");
            }
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,60}(\n\\PC{0,20}){0,3}") {
            for format in Format::ALL {
                let _ = format.parse(&text);
            }
        }
    }
}
