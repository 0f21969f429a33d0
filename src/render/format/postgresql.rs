//! PostgreSQL's own files: postgresql.conf (guc-file.l), pg_hba.conf (hba.c), and libpq's password file.

use super::{Entry, ParseError};

/// A quoted value, with the escapes of `GUC_scanstr`.
pub(super) fn escape_conf(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() + 8);
    escaped.push('\'');
    for c in value.chars() {
        match c {
            '\'' => escaped.push_str("''"),
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            c => escaped.push(c),
        }
    }
    escaped.push('\'');
    escaped
}

/// A name: an identifier, or two with a dot between them.
pub(super) fn check_name(name: &str) -> Result<(), &'static str> {
    let identifier = |part: &str| {
        let first = part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        first && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$')
    };
    let parts: Vec<&str> = name.split('.').collect();
    let sound = parts.len() <= 2 && parts.into_iter().all(identifier);
    sound.then_some(()).ok_or("a parameter name that is no identifier")
}

/// A token in quotes. They take the meaning from keywords, but not from a slash at the beginning: since PostgreSQL 16
/// that makes a regular expression (`regcomp_auth_token`).
pub(super) fn escape_hba(value: &str) -> Result<String, &'static str> {
    no_line_break(value)?;
    if value.starts_with('/') {
        return Err("a slash at the beginning");
    }
    Ok(format!("\"{}\"", value.replace('"', "\"\"")))
}

/// A field; a star of its own would be libpq's wildcard.
pub(super) fn escape_pgpass(value: &str) -> Result<String, &'static str> {
    no_line_break(value)?;
    let special = |c: char| matches!(c, '\\' | ':' | '#' | '*');
    Ok(value.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect())
}

fn no_line_break(value: &str) -> Result<(), &'static str> {
    if value.contains(['\n', '\r']) { Err("a line break") } else { Ok(()) }
}

pub(super) fn parse_conf(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut entries = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let malformed = |message: &str| ParseError { line: index + 1, message: message.to_owned() };
        let line = line.trim_matches([' ', '\t', '\r']);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let end = line.find([' ', '\t', '=']).ok_or_else(|| malformed("a parameter without a value"))?;
        check_name(&line[..end]).map_err(malformed)?;
        let rest = line[end..].trim_start_matches([' ', '\t']);
        let rest = rest.strip_prefix('=').unwrap_or(rest).trim_start_matches([' ', '\t']);
        let value = conf_value(rest).ok_or_else(|| malformed("a value that is not closed, or something after it"))?;
        entries.push(Entry { key: line[..end].to_owned(), value, lines: index..index + 1 });
    }
    Ok(entries)
}

/// A quoted or bare value and nothing but a comment behind it.
fn conf_value(text: &str) -> Option<String> {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find([' ', '\t', '#']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (!value.is_empty() && !value.contains(['\'', '\\', '"']) && only_comment(rest))
            .then(|| value.to_owned());
    };
    let mut value = String::new();
    let mut chars = quoted.chars();
    loop {
        match chars.next()? {
            '\'' if chars.as_str().starts_with('\'') => {
                chars.next();
                value.push('\'');
            }
            '\'' => return only_comment(chars.as_str()).then_some(value),
            '\\' => match chars.next()? {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                'b' => value.push('\u{8}'),
                'f' => value.push('\u{c}'),
                other => value.push(other),
            },
            c => value.push(c),
        }
    }
}

fn only_comment(rest: &str) -> bool {
    let rest = rest.trim_start_matches([' ', '\t', '\r']);
    rest.is_empty() || rest.starts_with('#')
}

/// Between the tokens of one entry's value: no file has it.
const SEPARATOR: &str = "\u{1f}";

/// One entry per line; its tokens one after the other.
pub(super) fn parse_hba(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut entries = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let tokens =
            hba_tokens(line).ok_or_else(|| ParseError { line: index + 1, message: "a quote is not closed".into() })?;
        if !tokens.is_empty() {
            entries.push(Entry { key: index.to_string(), value: tokens.join(SEPARATOR), lines: index..index + 1 });
        }
    }
    Ok(entries)
}

fn hba_tokens(line: &str) -> Option<Vec<String>> {
    let mut tokens = Vec::new();
    let mut token: Option<String> = None;
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                token.get_or_insert_default().push('"');
            }
            '"' => {
                quoted = !quoted;
                token.get_or_insert_default();
            }
            ' ' | '\t' | '\r' | ',' if !quoted => tokens.extend(token.take()),
            '#' if !quoted => break,
            c => token.get_or_insert_default().push(c),
        }
    }
    tokens.extend(token);
    (!quoted).then_some(tokens)
}

/// A field that matches anything, which no value can be.
const ANY: char = '\0';

/// One entry per line; its fields one after the other.
pub(super) fn parse_pgpass(text: &str) -> Vec<Entry> {
    let lines = text.split('\n').enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|(index, line)| {
            let mut fields = vec![String::new()];
            let mut chars = line.chars();
            while let Some(c) = chars.next() {
                match c {
                    '*' => fields.last_mut().expect("never empty").push(ANY),
                    '\\' => fields.last_mut().expect("never empty").extend(chars.next()),
                    ':' => fields.push(String::new()),
                    c => fields.last_mut().expect("never empty").push(c),
                }
            }
            Entry { key: index.to_string(), value: fields.join(SEPARATOR), lines: index..index + 1 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_as_guc_file_reads_it() {
        let text = "# c\nport = 5432 # x\nlisten_addresses '*, it''s'\na.b='x\\ny'\n";
        let entries = parse_conf(text).unwrap();
        let pairs: Vec<(&str, &str)> = entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        assert_eq!(pairs, [("port", "5432"), ("listen_addresses", "*, it's"), ("a.b", "x\ny")]);
        assert!(parse_conf("a = 'x").is_err());
        assert!(parse_conf("a = 'x' y").is_err());
        assert!(parse_conf("1a = 2").is_err());
        assert!(parse_conf("a.b.c = 2").is_err());
    }

    #[test]
    fn no_value_is_a_wildcard_or_a_regular_expression() {
        assert_eq!(escape_pgpass("*").unwrap(), "\\*");
        assert_ne!(parse_pgpass("*:1:d:u:p")[0].value, parse_pgpass("\\*:1:d:u:p")[0].value);
        assert_eq!(escape_hba("/.*"), Err("a slash at the beginning"));
        assert_eq!(escape_hba("a/b").unwrap(), "\"a/b\"");
    }

    #[test]
    fn a_password_file_keeps_colons_and_backslashes() {
        assert_eq!(escape_pgpass("a:b\\c#").unwrap(), "a\\:b\\\\c\\#");
        assert_eq!(parse_pgpass("h:1:d:u:a\\:b\\\\c")[0].value, ["h", "1", "d", "u", "a:b\\c"].join(SEPARATOR));
    }
}
