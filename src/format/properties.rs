//! java.util.Properties (`load(Reader)` in its documentation), and the two expansions on top of it that we meet:
//! SmallRye Config's `${…}` and `$$`, and airlift's `${ENV:NAME}`.
//!
//! What is written is ASCII, so that `load(InputStream)`, which reads ISO 8859-1, and `load(Reader)` agree.

use super::{Entry, ParseError};

/// SmallRye takes `\$` for a dollar sign, so a backslash before one must come from somewhere else: this key.
const BACKSLASH_KEY: &str = "dl.bs";
pub(super) const BACKSLASH_LINE: &str = "dl.bs=\\\\\n";
const BACKSLASH_REFERENCE: &str = "${dl.bs}";

/// airlift (`SecretsResolver`) knows no way to write `${` literally. The dollar sign comes from the service's
/// environment instead; what is put in is not expanded again.
const DOLLAR_REFERENCE: &str = "${ENV:TRINO_DOLLAR}";

/// airlift (`ConfigurationLoader.loadPropertiesFrom`) trims every value before it expands it. A blank at an end comes
/// from the environment too.
const BLANK_REFERENCE: &str = "${ENV:TRINO_BLANK}";

/// Characters that may be written by reference, for whoever looks for a value in a text.
pub const REFERENCES: [(char, &str); 3] =
    [('\\', BACKSLASH_REFERENCE), ('$', DOLLAR_REFERENCE), (' ', BLANK_REFERENCE)];

/// A value: leading blanks, backslashes and line breaks escaped, everything beyond printable ASCII as `\uXXXX`.
pub(super) fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() + 8);
    for (index, c) in value.chars().enumerate() {
        match c {
            ' ' if index == 0 => escaped.push_str("\\ "),
            '\\' => escaped.push_str("\\\\"),
            c => push_character(&mut escaped, c),
        }
    }
    escaped
}

/// A key: the separators and comment signs escaped too.
pub(super) fn escape_key(key: &str) -> String {
    let mut escaped = String::with_capacity(key.len() + 8);
    for c in key.chars() {
        if matches!(c, ' ' | '=' | ':' | '#' | '!' | '\\') {
            escaped.push('\\');
            escaped.push(c);
        } else {
            push_character(&mut escaped, c);
        }
    }
    escaped
}

fn push_character(escaped: &mut String, c: char) {
    match c {
        '\n' => escaped.push_str("\\n"),
        '\r' => escaped.push_str("\\r"),
        '\t' => escaped.push_str("\\t"),
        '\u{c}' => escaped.push_str("\\f"),
        ' '..='~' => escaped.push(c),
        other => {
            // Java's characters are UTF-16 code units.
            for unit in other.encode_utf16(&mut [0; 2]) {
                escaped.push_str(&format!("\\u{unit:04X}"));
            }
        }
    }
}

/// A value SmallRye gives back as it is: every dollar doubled, and the backslashes right before one by reference.
pub(super) fn escape_smallrye(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() + 16);
    let mut rest = value;
    while let Some(dollar) = rest.find('$') {
        let before = rest[..dollar].trim_end_matches('\\');
        escaped.push_str(&escape_part(before, escaped.is_empty()));
        escaped.push_str(&BACKSLASH_REFERENCE.repeat(dollar - before.len()));
        escaped.push_str("$$");
        rest = &rest[dollar + 1..];
    }
    escaped.push_str(&escape_part(rest, escaped.is_empty()));
    escaped
}

/// A part of a value: only at its beginning is a blank a leading one.
fn escape_part(part: &str, first: bool) -> String {
    let escaped = escape(part);
    if first { escaped } else { escaped.strip_prefix("\\ ").map(|rest| format!(" {rest}")).unwrap_or(escaped) }
}

/// Whether the text refers to the key of the backslash.
pub(super) fn needs_backslash_key(text: &str) -> bool {
    text.contains(BACKSLASH_REFERENCE)
}

/// A value airlift gives back as it is: no `${` of its own is left, and no blank at an end.
pub(super) fn escape_airlift(value: &str) -> Result<String, &'static str> {
    let trimmed = |c: char| c <= ' ';
    let middle = value.trim_matches(' ');
    if middle.starts_with(trimmed) || middle.ends_with(trimmed) {
        return Err("a control character at the beginning or the end");
    }
    let leading = value.len() - value.trim_start_matches(' ').len();
    let trailing = value.len() - middle.len() - leading;
    let escaped = escape(middle).replace("${", &format!("{DOLLAR_REFERENCE}{{"));
    Ok(BLANK_REFERENCE.repeat(leading) + &escaped + &BLANK_REFERENCE.repeat(trailing))
}

/// Every key and value, in the order of the file; a key set twice is there twice.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut entries = Vec::new();
    for line in logical_lines(text) {
        let (key, value) = split(&line.text);
        let malformed = |_| ParseError { line: line.lines.start + 1, message: "malformed \\uxxxx encoding".into() };
        let key = unescape(key).map_err(malformed)?;
        let value = unescape(value).map_err(malformed)?;
        entries.push(Entry { key, value, lines: line.lines });
    }
    Ok(entries)
}

/// As `parse`, and expanded as SmallRye does; the key of the backslash is left out.
pub(super) fn parse_smallrye(text: &str) -> Result<Vec<Entry>, ParseError> {
    let entries = parse(text)?;
    let expanded = entries.iter().filter(|entry| entry.key != BACKSLASH_KEY).map(|entry| {
        let value = expand(&entry.value, &entries, 0).map_err(|name| ParseError {
            line: entry.lines.start + 1,
            message: format!("{name:?} is an expression that stands for nothing"),
        })?;
        Ok(Entry { value, ..entry.clone() })
    });
    expanded.collect()
}

/// SmallRye's expansion: `\$` and `$$` are a dollar, `${key}` is that key's value. An undefined one would make the
/// whole value absent: here it is an error, with its name.
fn expand(value: &str, entries: &[Entry], depth: usize) -> Result<String, String> {
    let value = value.replace("\\$", "$$");
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value.as_str();
    while let Some(dollar) = rest.find('$') {
        expanded.push_str(&rest[..dollar]);
        let after = &rest[dollar + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            expanded.push('$');
            rest = tail;
        } else if let Some(expression) = after.strip_prefix('{') {
            let end = expression.find('}').ok_or_else(|| expression.to_owned())?;
            let (name, default) =
                expression[..end].split_once(':').map_or((&expression[..end], None), |(n, d)| (n, Some(d)));
            let found =
                entries.iter().rev().find(|entry| entry.key == name).map(|entry| entry.value.as_str()).or(default);
            let found = found.filter(|_| depth < 8).ok_or_else(|| name.to_owned())?;
            expanded.push_str(&expand(found, entries, depth + 1)?);
            rest = &expression[end + 1..];
        } else {
            expanded.push('$');
            rest = after;
        }
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// As `parse`, trimmed, and with our own references resolved; others are the template's and stay.
pub(super) fn parse_airlift(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut entries = parse(text)?;
    for entry in &mut entries {
        let trimmed = entry.value.trim_matches(|c: char| c <= ' ');
        entry.value = trimmed.replace(DOLLAR_REFERENCE, "$").replace(BLANK_REFERENCE, " ");
    }
    Ok(entries)
}

struct Line {
    text: String,
    lines: std::ops::Range<usize>,
}

const BLANKS: [char; 3] = [' ', '\t', '\u{c}'];

/// Natural lines joined where one ends in an odd number of backslashes; comments and blank lines left out.
fn logical_lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut continued = false;
    for (index, natural) in natural_lines(text) {
        let trimmed = natural.trim_start_matches(BLANKS);
        if !continued && (trimmed.is_empty() || trimmed.starts_with(['#', '!'])) {
            continue;
        }
        let open = trimmed.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1;
        let content = if open { &trimmed[..trimmed.len() - 1] } else { trimmed };
        match lines.last_mut().filter(|_| continued) {
            Some(line) => {
                line.text.push_str(content);
                line.lines.end = index + 1;
            }
            None => lines.push(Line { text: content.to_owned(), lines: index..index + 1 }),
        }
        continued = open;
    }
    lines.retain(|line| !line.text.is_empty());
    lines
}

/// Lines ended by `\n`, `\r` or both. The number is that of the `\n`-line, by which files are edited.
fn natural_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split('\n').enumerate().flat_map(|(index, line)| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        line.split('\r').map(move |part| (index, part))
    })
}

/// The key ends at the first blank, `=` or `:` that is not escaped; one separator and the blanks around it go.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let ends = !escaped && matches!(c, '=' | ':' | ' ' | '\t' | '\u{c}');
        escaped = *c == '\\' && !escaped;
        ends
    });
    let Some((end, _)) = end else { return (line, "") };
    let rest = line[end..].trim_start_matches(BLANKS);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (&line[..end], rest.trim_start_matches(BLANKS))
}

fn unescape(text: &str) -> Result<String, ()> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' {
            chars.next()
        } else {
            units.extend(c.encode_utf16(&mut [0; 2]).iter());
            continue;
        };
        match c {
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let hexadecimal = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
                units.push(hexadecimal.then(|| u16::from_str_radix(&digits, 16)).ok_or(())?.map_err(|_| ())?);
            }
            Some('n') => units.push(u16::from(b'\n')),
            Some('r') => units.push(u16::from(b'\r')),
            Some('t') => units.push(u16::from(b'\t')),
            Some('f') => units.push(0xc),
            Some(other) => units.extend(other.encode_utf16(&mut [0; 2]).iter()),
            None => {}
        }
    }
    Ok(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().into_iter().map(|entry| (entry.key, entry.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn lines_are_read_as_java_documents_it() {
        // The examples of java.util.Properties.load.
        assert_eq!(
            pairs("Truth = Beauty\n Truth:Beauty\nTruth                    :Beauty"),
            vec![pair("Truth", "Beauty"); 3]
        );
        let fruits =
            "fruits                           apple, banana, pear, \\\n   cantaloupe, watermelon, \\\n  kiwi, mango";
        assert_eq!(pairs(fruits), [pair("fruits", "apple, banana, pear, cantaloupe, watermelon, kiwi, mango")]);
        assert_eq!(pairs("cheeses"), [pair("cheeses", "")]);
        assert_eq!(pairs("\\:\\==x\r! c\rk\\ ey=v\\\\"), [pair(":=", "x"), pair("k ey", "v\\")]);
        assert_eq!(parse("a=\\u00zz").unwrap_err().to_string(), "line 1: malformed \\uxxxx encoding");
    }

    #[test]
    fn an_entry_knows_the_lines_it_stands_on() {
        let entries = parse("# c\na=1\\\n  2\nb=3\n").unwrap();
        assert_eq!((entries[0].lines.clone(), entries[1].lines.clone()), (1..3, 3..4));
    }

    #[test]
    fn smallryes_dollar_and_backslash_are_written_so_that_they_come_back() {
        assert_eq!(escape_smallrye("a$b"), "a$$b");
        assert_eq!(escape_smallrye("a\\$b"), "a${dl.bs}$$b");
        assert_eq!(escape_smallrye("a\\b"), "a\\\\b");
        assert_eq!(expand("a$$b ${x:dflt} \\$c", &[], 0), Ok("a$b dflt $c".into()));
        assert_eq!(expand("${x}", &[], 0), Err("x".into()));
    }

    #[test]
    fn airlifts_reference_is_never_made_by_a_value() {
        assert_eq!(escape_airlift("${ENV:HOME}").unwrap(), "${ENV:TRINO_DOLLAR}{ENV:HOME}");
        assert_eq!(escape_airlift(" x  ").unwrap(), "${ENV:TRINO_BLANK}x${ENV:TRINO_BLANK}${ENV:TRINO_BLANK}");
        assert!(escape_airlift("\tx").is_err());
        let entries = parse_airlift("a=${ENV:TRINO_DOLLAR}{ENV:HOME}\nb=${ENV:SECRET}\n").unwrap();
        assert_eq!((entries[0].value.as_str(), entries[1].value.as_str()), ("${ENV:HOME}", "${ENV:SECRET}"));
    }
}
