//! java.util.Properties (`load(Reader)` in its documentation), and the two expansions on top of it that we meet:
//! SmallRye Config's `${…}` and `$$`, and airlift's `${ENV:NAME}`.
//!
//! The output is ASCII, so that `load(InputStream)`, which reads ISO 8859-1, and `load(Reader)` agree.

use super::{Entry, ParseError};

/// SmallRye takes `\$` for a dollar sign, so a backslash before one must come from somewhere else: this key.
pub(super) const BACKSLASH_KEY: &str = "dl.bs";
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
/// What stands in a parsed value for the dollar of a reference that is the file's own, and its reader's to resolve: no
/// value can hold it, and so none can be taken for a reference.
pub(super) const REFERENCE: &str = "\0";

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
    escape_smallrye_but(value, |_| None)
}

/// As `escape_smallrye`, but `${…}` is meant as the reference it is to SmallRye, and `$${` as a plain `${`.
pub(super) fn escape_smallrye_line(value: &str) -> String {
    escape_smallrye_but(value, kept_in_line)
}

/// `kept` says how much from a dollar sign on is written as it is.
fn escape_smallrye_but(value: &str, kept: fn(&str) -> Option<usize>) -> String {
    let mut escaped = String::with_capacity(value.len() + 16);
    let mut rest = value;
    while let Some(dollar) = rest.find('$') {
        let before = rest[..dollar].trim_end_matches('\\');
        escaped.push_str(&escape_part(before, escaped.is_empty()));
        escaped.push_str(&BACKSLASH_REFERENCE.repeat(dollar - before.len()));
        let from = &rest[dollar..];
        let length = kept(from);
        escaped.push_str(&length.map_or("$$".to_owned(), |length| escape_part(&from[..length], false)));
        rest = &from[length.unwrap_or(1)..];
    }
    escaped.push_str(&escape_part(rest, escaped.is_empty()));
    escaped
}

/// How much of a text that begins with a dollar sign stands in an operator's own line as it is in the file.
fn kept_in_line(text: &str) -> Option<usize> {
    if text.starts_with("$${") {
        return Some(2);
    }
    reference_end(text).filter(|end| text[..*end] != *BACKSLASH_REFERENCE)
}

/// Where the reference ends that a text begins with: `${a:${b}}` is one.
fn reference_end(text: &str) -> Option<usize> {
    if !text.starts_with("${") || text.starts_with("${}") {
        return None;
    }
    let mut depth = 0;
    for (index, c) in text.char_indices() {
        depth += usize::from(text[index..].starts_with("${"));
        depth -= usize::from(c == '}');
        if c == '}' && depth == 0 {
            return Some(index + 1);
        }
    }
    None
}

/// The result of `parse_smallrye` for a value written by `escape_smallrye_line`.
pub(super) fn meant_by_smallrye_line(value: &str) -> String {
    let mut meant = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(dollar) = rest.find('$') {
        meant.push_str(&rest[..dollar]);
        let from = &rest[dollar..];
        let length = kept_in_line(from).unwrap_or(1);
        match length {
            1 | 2 => meant.push('$'),
            _ => meant.extend([REFERENCE, &from[1..length]]),
        }
        rest = &from[length..];
    }
    meant + rest
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
    escape_airlift_but(value, |escaped| escaped.replace("${", &format!("{DOLLAR_REFERENCE}{{")))
}

/// As `escape_airlift`, but `${ENV:NAME}` is meant as the reference it is to airlift.
pub(super) fn escape_airlift_line(value: &str) -> Result<String, &'static str> {
    escape_airlift_but(value, |escaped| escaped)
}

fn escape_airlift_but(value: &str, dollars: fn(String) -> String) -> Result<String, &'static str> {
    let trimmed = |c: char| c <= ' ';
    let middle = value.trim_matches(' ');
    if middle.starts_with(trimmed) || middle.ends_with(trimmed) {
        return Err("a control character at the beginning or the end");
    }
    let leading = value.len() - value.trim_start_matches(' ').len();
    let trailing = value.len() - middle.len() - leading;
    Ok(BLANK_REFERENCE.repeat(leading) + &dollars(escape(middle)) + &BLANK_REFERENCE.repeat(trailing))
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

/// As `parse`, and with our own references resolved as SmallRye does; others are its own to resolve, and are marked as
/// what no value can be. The key of the backslash is left out.
pub(super) fn parse_smallrye(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut entries = parse(text)?;
    entries.retain(|entry| entry.key != BACKSLASH_KEY);
    for entry in &mut entries {
        entry.value = expand_smallrye(&entry.value);
    }
    Ok(entries)
}

/// `\$` and `$$` are a dollar.
fn expand_smallrye(value: &str) -> String {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(dollar) = rest.find('$') {
        let escaped = rest[..dollar].ends_with('\\');
        expanded.push_str(&rest[..dollar - usize::from(escaped)]);
        let from = &rest[dollar..];
        let reference = reference_end(from).filter(|_| !escaped);
        let length = match reference {
            Some(end) if from[..end] == *BACKSLASH_REFERENCE => {
                expanded.push('\\');
                end
            }
            Some(end) => {
                expanded.extend([REFERENCE, &from[1..end]]);
                end
            }
            None => {
                expanded.push('$');
                1 + usize::from(!escaped && from.starts_with("$$"))
            }
        };
        rest = &from[length..];
    }
    expanded + rest
}

/// As `parse`, trimmed, and with our own references resolved; others are airlift's own to resolve, and are marked as
/// what no value can be.
pub(super) fn parse_airlift(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut entries = parse(text)?;
    for entry in &mut entries {
        entry.value = expand_airlift(entry.value.trim_matches(|c: char| c <= ' '));
    }
    Ok(entries)
}

/// In one pass, as airlift does it: what is put in is not looked at again.
fn expand_airlift(value: &str) -> String {
    let mut expanded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(start) = rest.find("${") {
        expanded.push_str(&rest[..start]);
        let from = &rest[start..];
        let own = [(DOLLAR_REFERENCE, "$"), (BLANK_REFERENCE, " ")];
        let (read, put) = own.into_iter().find(|(own, _)| from.starts_with(own)).unwrap_or(("$", REFERENCE));
        expanded.push_str(put);
        rest = &from[read.len()..];
    }
    expanded + rest
}

/// The result of `parse_airlift` for a value written by `escape_airlift_line`.
pub(super) fn meant_by_airlift_line(value: &str) -> String {
    expand_airlift(value)
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
        assert_eq!(expand_smallrye("a$$b ${x:${y}} \\$c${dl.bs}"), "a$b \0{x:${y}} $c\\");
    }

    #[test]
    fn airlifts_reference_is_never_made_by_a_value() {
        assert_eq!(escape_airlift("${ENV:HOME}").unwrap(), "${ENV:TRINO_DOLLAR}{ENV:HOME}");
        assert_eq!(escape_airlift(" x  ").unwrap(), "${ENV:TRINO_BLANK}x${ENV:TRINO_BLANK}${ENV:TRINO_BLANK}");
        assert!(escape_airlift("\tx").is_err());
        let entries = parse_airlift("a=${ENV:TRINO_DOLLAR}{ENV:HOME}\nb=${ENV:SECRET}\n").unwrap();
        assert_eq!((entries[0].value.as_str(), entries[1].value.as_str()), ("${ENV:HOME}", "\0{ENV:SECRET}"));
    }

    #[test]
    fn a_value_that_spells_our_own_reference_comes_back() {
        for value in ["abc${ENV:TRINO_BLANK}defgh", "${ENV:TRINO_DOLLAR}{ENV:X}", " ${ENV:TRINO_DOLLAR} "] {
            let text = format!("a={}", escape_airlift(value).unwrap());
            assert_eq!(parse_airlift(&text).unwrap()[0].value, value);
        }
        for value in ["${dl.bs}", "\\${dl.bs}$"] {
            let text = format!("a={}", escape_smallrye(value));
            assert_eq!(parse_smallrye(&text).unwrap()[0].value, value);
        }
    }

    #[test]
    fn a_reference_in_an_operators_own_line_is_kept_and_never_taken_for_a_value() {
        assert_eq!(escape_smallrye_line("${c.d:${e}}$f"), "${c.d:${e}}$$f");
        assert_eq!(escape_smallrye_line("a\\${b} $${c} ${d"), "a${dl.bs}${b} $${c} $${d");
        for line in ["${c.d}", "a\\${b:${c}} $${d} ${e", " ${x}\\y$$", "${}$", "${dl.bs}"] {
            let text = format!("a={}", escape_smallrye_line(line));
            assert_eq!(parse_smallrye(&text).unwrap()[0].value, meant_by_smallrye_line(line), "{text}");
        }
        for line in ["${ENV:X}", " a${ENV:TRINO_DOLLAR}b "] {
            let text = format!("a={}", escape_airlift_line(line).unwrap());
            assert_eq!(parse_airlift(&text).unwrap()[0].value, meant_by_airlift_line(line), "{text}");
        }
        assert_ne!(meant_by_smallrye_line("${c.d}"), "${c.d}");
    }
}
