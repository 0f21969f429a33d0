//! Argument files of the `java` launcher: `java @file` (java(1), "java Command-Line Argument Files").
//!
//! Arguments are separated by blanks and line breaks; a part in quotes keeps them, and only there is a backslash
//! special. `#` outside quotes begins a comment, in the middle of an argument too. The launcher reads bytes in the
//! locale's encoding, which under `C` is not UTF-8: only ASCII is safe.

use super::{Entry, ParseError};

pub(super) fn escape(value: &str) -> Result<String, &'static str> {
    if !value.is_ascii() {
        return Err("a character beyond ASCII");
    }
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_./:=,+-@%*[]~^()<>|;&!?".contains(&byte);
    if !value.is_empty() && value.bytes().all(harmless) {
        return Ok(value.to_owned());
    }
    let mut escaped = String::with_capacity(value.len() + 8);
    escaped.push('"');
    for c in value.chars() {
        match c {
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            '\u{c}' => escaped.push_str("\\f"),
            '"' | '\\' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped.push('"');
    Ok(escaped)
}

/// One entry per argument; the key is its number.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut arguments: Vec<Entry> = Vec::new();
    let mut argument: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut line = 0;
    let mut begun = 0;
    let mut chars = text.chars();
    let mut finish = |argument: &mut Option<String>, begun: usize, line: usize| {
        if let Some(value) = argument.take() {
            arguments.push(Entry { key: arguments.len().to_string(), value, lines: begun..line + 1 });
        }
    };
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t' | '\n' | '\r' | '\u{c}') => finish(&mut argument, begun, line),
            (None, '#') => {
                finish(&mut argument, begun, line);
                chars.by_ref().find(|c| *c == '\n' || *c == '\r');
                line += 1;
                continue;
            }
            (None, '"' | '\'') => {
                begun = if argument.is_none() { line } else { begun };
                argument.get_or_insert_default();
                quote = Some(c);
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), '\n' | '\r') => {
                return Err(ParseError { line: line + 1, message: "a quote is not closed".into() });
            }
            (Some(_), '\\') => {
                let escaped = chars
                    .next()
                    .ok_or_else(|| ParseError { line: line + 1, message: "a quote is not closed".into() })?;
                argument.get_or_insert_default().push(match escaped {
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'f' => '\u{c}',
                    other => other,
                });
            }
            (_, c) => {
                begun = if argument.is_none() { line } else { begun };
                argument.get_or_insert_default().push(c);
            }
        }
        line += usize::from(c == '\n');
    }
    if quote.is_some() {
        return Err(ParseError { line: line + 1, message: "a quote is not closed".into() });
    }
    finish(&mut argument, begun, line);
    Ok(arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_the_launcher_reads_them() {
        let text = "-Xmx2g # heap\n-Dpath=\"C:\\\\a b\"'c d' -ea\n\"-Dx=#y\"\n-Dw=C:\\dir\n";
        let values: Vec<String> = parse(text).unwrap().into_iter().map(|entry| entry.value).collect();
        assert_eq!(values, ["-Xmx2g", "-Dpath=C:\\a bc d", "-ea", "-Dx=#y", "-Dw=C:\\dir"]);
        assert_eq!(parse("a\n\"b").unwrap_err().to_string(), "line 2: a quote is not closed");
    }

    #[test]
    fn a_value_is_quoted_only_where_it_must_be() {
        assert_eq!(escape("-XX:+UseG1GC").unwrap(), "-XX:+UseG1GC");
        assert_eq!(escape("a b\"\\").unwrap(), "\"a b\\\"\\\\\"");
        assert_eq!(escape("").unwrap(), "\"\"");
    }
}
