//! The secrets of this run, and the last filter over every text that leaves the process.
//!
//! Owns the one list of secret values and finds them again in a text however they were written there: as they are,
//! in base64, hex, percent encoding, JSON, XML, Java properties, C, shell or doubled quotes, or by one of our own
//! references. Must not print, log or keep a value longer than the list lives: values are zeroed when it is dropped.
//! Nothing here knows where a secret came from; `settings` adds them, `log`, `health` and every printed diff or report
//! pass through `redact`.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use serde_json::Value;
use zeroize::Zeroizing;

use crate::format;

/// A shorter value would be found in every second line of a log: `settings` refuses it, and where the operator insists,
/// `shown` hides the whole values that are it.
pub const SHORTEST_SECRET: usize = 4;
/// Lines of a secret of several lines (a PEM key) are secrets of their own from this length on.
const SHORTEST_LINE: usize = 12;
/// How many backslashes in a row still count as one escape, for escapes inside escapes.
const LONGEST_BACKSLASH_RUN: usize = 16;

/// How many readings of one text are followed at the same time.
const MOST_SPELLINGS: usize = 64;

/// The secrets of this run. A clone is the same list.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Arc<RwLock<Vec<Secret>>>,
}

/// One secret in every form it is looked for.
struct Secret {
    name: String,
    value: Zeroizing<Vec<u8>>,
    patterns: Vec<Pattern>,
}

/// A sequence of units that each may be escaped in its own way.
struct Pattern {
    units: Zeroizing<Vec<u32>>,
    /// Base64 may be broken into lines.
    wrapped: bool,
    /// The character before holds some bits of the secret (base64, second and third alignment).
    partial_before: bool,
    /// The character after holds some bits of the secret, and padding may follow.
    partial_after: bool,
}

/// Units up to here are Unicode scalar values; above, a byte that is not part of one.
const LONE_BYTE: u32 = 0x11_0000;
/// A lone byte shown by the replacement character of the lone byte before it.
const LONE_BYTE_CONTINUED: u32 = 0x11_0100;

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.known.read().unwrap_or_else(PoisonError::into_inner).len();
        write!(f, "Secrets({count})")
    }
}

impl Secrets {
    /// The list of this process, for what cannot be handed one: the panic hook and the log writer.
    pub fn of_this_run() -> &'static Secrets {
        static OF_THIS_RUN: OnceLock<Secrets> = OnceLock::new();
        OF_THIS_RUN.get_or_init(Secrets::default)
    }

    /// Adds a value. One of fewer than `SHORTEST_SECRET` bytes is left out.
    pub fn add(&self, name: &str, value: &[u8]) {
        if value.len() < SHORTEST_SECRET {
            return;
        }
        let secret = Secret { name: name.to_owned(), value: Zeroizing::new(value.to_vec()), patterns: patterns(value) };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.iter().all(|other| *other.value != *secret.value) {
            known.push(secret);
        }
    }

    /// `text` with every occurrence of every secret replaced by `‹redacted:NAME›`.
    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = merged(occurrences(&known, text));
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut redacted = String::with_capacity(text.len());
        let mut written = 0;
        for occurrence in found {
            redacted.push_str(&text[written..occurrence.start]);
            redacted.push_str("‹redacted:");
            redacted.push_str(occurrence.name);
            redacted.push('›');
            written = occurrence.end;
        }
        redacted.push_str(&text[written..]);
        Cow::Owned(redacted)
    }

    /// The same for every text and number of a JSON document, which stays one: its names, `true`, `false` and `null` are
    /// its own, whatever a secret is called.
    pub fn redact_json(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.redact(text).into(),
            Value::Number(number) => match self.redact(&number.to_string()) {
                Cow::Borrowed(_) => value.clone(),
                Cow::Owned(redacted) => redacted.into(),
            },
            Value::Array(items) => items.iter().map(|item| self.redact_json(item)).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| (name.clone(), self.redact_json(value))).collect()
            }
            Value::Bool(_) | Value::Null => value.clone(),
        }
    }
}

// ---- what is looked for ----------------------------------------------------------------------------------------

fn patterns(value: &[u8]) -> Vec<Pattern> {
    let mut patterns = encodings(value);
    if value.contains(&b'\n') {
        patterns.extend(telling_lines(value).flat_map(encodings));
    }
    patterns
}

/// The lines of a secret that say something: an indented or diffed PEM key is still found, its frame is no secret.
fn telling_lines(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = || value.split(|byte| *byte == b'\n').map(|line| line.trim_ascii());
    // The last line of a PEM key is as short as it happens to be.
    let shortest = |next: &[u8]| if next.starts_with(b"-----END") { SHORTEST_SECRET } else { SHORTEST_LINE };
    let with_next = lines().zip(lines().skip(1).chain([&b""[..]]));
    with_next
        .filter(move |(line, next)| line.len() >= shortest(next) && !line.starts_with(b"-----"))
        .map(|(line, _)| line)
}

fn encodings(value: &[u8]) -> Vec<Pattern> {
    let mut patterns = vec![plain(units_of_text(value))];
    for alphabet in [STANDARD, URL_SAFE] {
        patterns.extend((0..3).filter_map(|offset| base64_inside(value, offset, alphabet)));
    }
    patterns.push(plain(hexadecimal(value, b"0123456789abcdef")));
    patterns.push(plain(hexadecimal(value, b"0123456789ABCDEF")));
    patterns
}

fn plain(units: Zeroizing<Vec<u32>>) -> Pattern {
    Pattern { units, wrapped: false, partial_before: false, partial_after: false }
}

fn units_of_text(value: &[u8]) -> Zeroizing<Vec<u32>> {
    // The capacity is never exceeded: growing would leave a copy that nobody zeroes.
    let mut units = Zeroizing::new(Vec::with_capacity(value.len()));
    for chunk in value.utf8_chunks() {
        units.extend(chunk.valid().chars().map(u32::from));
        let bases = std::iter::once(LONE_BYTE).chain(std::iter::repeat(LONE_BYTE_CONTINUED));
        units.extend(chunk.invalid().iter().zip(bases).map(|(byte, base)| base + u32::from(*byte)));
    }
    units
}

const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The base64 characters (RFC 4648) that depend on nothing but `value` when `offset` bytes precede it in its group.
fn base64_inside(value: &[u8], offset: usize, alphabet: &[u8; 64]) -> Option<Pattern> {
    let bits = (offset + value.len()) * 8;
    let first = (offset * 8).div_ceil(6);
    let mut units = Zeroizing::new(Vec::with_capacity(bits / 6));
    for index in first..bits / 6 {
        let six_bits = (0..6).fold(0, |sum, bit| sum << 1 | bit_at(value, index * 6 + bit - offset * 8));
        units.push(u32::from(alphabet[six_bits]));
    }
    let differs = alphabet == STANDARD || units.iter().any(|unit| *unit == u32::from('-') || *unit == u32::from('_'));
    let (partial_before, partial_after) = (offset != 0, !bits.is_multiple_of(6));
    (differs && !units.is_empty()).then_some(Pattern { units, wrapped: true, partial_before, partial_after })
}

fn bit_at(value: &[u8], bit: usize) -> usize {
    usize::from(value[bit / 8] >> (7 - bit % 8) & 1)
}

fn hexadecimal(value: &[u8], digits: &[u8; 16]) -> Zeroizing<Vec<u32>> {
    let mut units = Zeroizing::new(Vec::with_capacity(value.len() * 2));
    for byte in value {
        units.push(u32::from(digits[usize::from(byte >> 4)]));
        units.push(u32::from(digits[usize::from(byte & 15)]));
    }
    units
}

// ---- where it is found -----------------------------------------------------------------------------------------

/// `text[start..end]` shows a part of the secret `name`.
struct Occurrence<'name> {
    start: usize,
    end: usize,
    name: &'name str,
}

fn occurrences<'name>(known: &'name [Secret], text: &str) -> Vec<Occurrence<'name>> {
    let mut searches: Vec<Search<'_>> = known.iter().flat_map(Secret::searches).collect();
    let mut by_first_byte = vec![Vec::new(); 256];
    for (index, search) in searches.iter().enumerate() {
        by_first_byte[usize::from(search.pattern.first_byte())].push(index);
    }
    let all: Vec<usize> = (0..searches.len()).collect();
    let mut found = Vec::new();
    for (start, byte) in text.bytes().enumerate() {
        let possible = if may_be_escape(text.as_bytes(), start) { &all } else { &by_first_byte[usize::from(byte)] };
        found.extend(possible.iter().filter_map(|index| searches[*index].at(text, start)));
    }
    found
}

/// One pattern on its way through a text.
struct Search<'name> {
    name: &'name str,
    pattern: &'name Pattern,
    /// Where its last occurrence ended: it is not looked for inside itself.
    resume: usize,
}

impl Secret {
    fn searches(&self) -> impl Iterator<Item = Search<'_>> {
        self.patterns.iter().map(|pattern| Search { name: &self.name, pattern, resume: 0 })
    }
}

impl<'name> Search<'name> {
    fn at(&mut self, text: &str, start: usize) -> Option<Occurrence<'name>> {
        let end = if start < self.resume { None } else { self.pattern.end_at(text, start) }?;
        self.resume = end;
        let (start, end) = self.pattern.widened(text, start, end);
        Some(Occurrence { start, end, name: self.name })
    }
}

/// Overlapping occurrences become one, under the name of the longest, so that no end of any secret is left standing.
fn merged(mut found: Vec<Occurrence<'_>>) -> Vec<Occurrence<'_>> {
    found.sort_by_key(|occurrence| (occurrence.start, std::cmp::Reverse(occurrence.end)));
    let mut merged: Vec<Occurrence<'_>> = Vec::new();
    let mut longest = 0;
    for occurrence in found {
        let length = occurrence.end - occurrence.start;
        match merged.last_mut() {
            Some(last) if occurrence.start < last.end => {
                last.end = last.end.max(occurrence.end);
                if length > longest {
                    (last.name, longest) = (occurrence.name, length);
                }
            }
            _ => {
                longest = length;
                merged.push(occurrence);
            }
        }
    }
    merged
}

impl Pattern {
    /// How the pattern begins where nothing is escaped. Always the first byte of a character.
    fn first_byte(&self) -> u8 {
        let first = char::from_u32(self.units[0]).unwrap_or(char::REPLACEMENT_CHARACTER);
        first.encode_utf8(&mut [0; 4]).as_bytes()[0]
    }

    /// The end of the longest stretch that begins at `start`.
    fn end_at(&self, text: &str, start: usize) -> Option<usize> {
        let mut ends = vec![start];
        for (index, unit) in self.units.iter().enumerate() {
            ends = self.advanced(&ends, *unit, text, index > 0);
            if ends.is_empty() {
                return None;
            }
        }
        ends.last().copied()
    }

    /// Every position that can be reached by reading one more unit.
    fn advanced(&self, positions: &[usize], unit: u32, text: &str, inside: bool) -> Vec<usize> {
        let mut reached = Vec::new();
        for position in positions {
            let skipped = if self.wrapped && inside { line_break(&text[*position..]) } else { 0 };
            let position = position + skipped;
            spellings(unit, &text[position..], &mut |length| reached.push(position + length));
        }
        reached.sort_unstable();
        reached.dedup();
        // Only a secret that is mostly backslashes gets here; what these spellings miss, one that begins later finds.
        reached.truncate(MOST_SPELLINGS);
        reached
    }

    fn widened(&self, text: &str, mut start: usize, mut end: usize) -> (usize, usize) {
        let bytes = text.as_bytes();
        let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
        if self.partial_before && start > 0 && is_base64(&bytes[start - 1]) {
            start -= 1;
        }
        if self.partial_after && bytes.get(end).is_some_and(is_base64) {
            end += 1;
        }
        while self.partial_after && bytes.get(end) == Some(&b'=') {
            end += 1;
        }
        (start, end)
    }
}

/// Whether a character may be spelt here in another way than as itself, which is so nearly nowhere.
fn may_be_escape(text: &[u8], start: usize) -> bool {
    match text[start] {
        // An escape that could begin at the backslash before would be the longer one.
        b'\\' => start == 0 || text[start - 1] != b'\\' || is_longest_run(&text[start..]),
        byte => matches!(byte, b'%' | b'&' | b'+' | b'\'' | b'$'),
    }
}

/// The place in a longer run of backslashes from which an escape can still be reached.
fn is_longest_run(text: &[u8]) -> bool {
    text.iter().take(LONGEST_BACKSLASH_RUN + 1).take_while(|byte| **byte == b'\\').count() == LONGEST_BACKSLASH_RUN
}

/// The length of a line break, plain or escaped, with the indentation after it.
fn line_break(text: &str) -> usize {
    let breaks = ["\r\n", "\n", "\\r\\n", "\\n"];
    let Some(found) = breaks.iter().find(|found| text.starts_with(**found)) else {
        return 0;
    };
    let indented = &text[found.len()..];
    text.len() - indented.trim_start_matches([' ', '\t']).len()
}

/// Reports the length of every way in which the beginning of `text` may spell `unit`.
fn spellings(unit: u32, text: &str, report: &mut dyn FnMut(usize)) {
    let backslashes = text.bytes().take(LONGEST_BACKSLASH_RUN).take_while(|byte| *byte == b'\\').count();
    let mut buffer = [0; 4];
    let Some(character) = char::from_u32(unit) else {
        return lone_byte_spellings(unit, text, backslashes, report);
    };
    let utf8 = character.encode_utf8(&mut buffer).as_bytes();
    // A backslash is doubled at each level of escaping; before anything else there may be any number.
    let is_level = |escape: &usize| character != '\\' || (escape + 1).is_power_of_two();
    for escape in (0..=backslashes).filter(is_level) {
        let escaped = &text[escape..];
        if escaped.starts_with(character) {
            report(escape + utf8.len());
        }
        if escape > 0 {
            backslash_spellings(character, escaped, &mut |length| report(escape + length));
        }
    }
    for form in [percent_byte, hexadecimal_byte, octal_byte] {
        report_all_bytes(utf8, text, form, report);
    }
    entity_spellings(character, text, report);
    quoted_spellings(character, text, report);
    let references =
        format::REFERENCES.iter().filter(|(meant, reference)| *meant == character && text.starts_with(reference));
    references.for_each(|(_, reference)| report(reference.len()));
}

fn backslashes(text: &str) -> usize {
    text.bytes().take(LONGEST_BACKSLASH_RUN).take_while(|byte| *byte == b'\\').count()
}

/// What follows one or more backslashes.
fn escaped(text: &str) -> Option<&str> {
    let count = backslashes(text);
    (count > 0).then(|| &text[count..])
}

/// What follows the backslash: JSON, Java, C, Rust and Python agree on most of it.
fn backslash_spellings(character: char, text: &str, report: &mut dyn FnMut(usize)) {
    let named = match character {
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\u{1b}' => 'e',
        '\0' => '0',
        _ => '\0',
    };
    if named != '\0' && text.starts_with(named) {
        report(1);
    }
    let code = u32::from(character);
    let fixed = [('x', 2), ('u', 4), ('U', 8)];
    for (letter, digits) in fixed {
        if text.strip_prefix(letter).and_then(|rest| hexadecimal_number(rest, digits)) == Some(code) {
            report(1 + digits);
        }
    }
    if let Some(length) = braced_code(text, code).or_else(|| surrogate_pair(text, character)) {
        report(length);
    }
}

/// `u{1f600}`
fn braced_code(text: &str, code: u32) -> Option<usize> {
    let digits = until(text.strip_prefix("u{")?, b'}')?;
    (hexadecimal_number(digits, digits.len())? == code).then_some(digits.len() + 3)
}

/// `ud83d\ude00`, with as many backslashes in the middle as there are.
fn surrogate_pair(text: &str, character: char) -> Option<usize> {
    let mut halves = [0; 2];
    let [high, low] = character.encode_utf16(&mut halves) else {
        return None;
    };
    let (high, low) = (u32::from(*high), u32::from(*low));
    let rest = text.strip_prefix('u').filter(|rest| hexadecimal_number(rest, 4) == Some(high))?;
    let rest = escaped(&rest[4..])?.strip_prefix('u')?;
    (hexadecimal_number(rest, 4)? == low).then_some(text.len() - rest.len() + 4)
}

/// The text up to a mark that must come soon.
fn until(text: &str, mark: u8) -> Option<&str> {
    let length = text.bytes().take(10).position(|byte| byte == mark)?;
    text.get(..length)
}

fn hexadecimal_number(text: &str, digits: usize) -> Option<u32> {
    let digits = text.get(..digits).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

/// Reports the length when every byte is spelt by `form`, one after the other.
fn report_all_bytes(bytes: &[u8], text: &str, form: fn(&str, u8) -> Option<usize>, report: &mut dyn FnMut(usize)) {
    let length = bytes.iter().try_fold(0, |length, byte| Some(length + form(&text[length..], *byte)?));
    if let Some(length) = length {
        report(length);
    }
}

/// `%2B` (RFC 3986, 2.1)
fn percent_byte(text: &str, byte: u8) -> Option<usize> {
    (hexadecimal_number(text.strip_prefix('%')?, 2)? == u32::from(byte)).then_some(3)
}

/// `\x2b`
fn hexadecimal_byte(text: &str, byte: u8) -> Option<usize> {
    let rest = escaped(text)?.strip_prefix('x')?;
    (hexadecimal_number(rest, 2)? == u32::from(byte)).then_some(text.len() - rest.len() + 2)
}

/// `\053`
fn octal_byte(text: &str, byte: u8) -> Option<usize> {
    let rest = escaped(text)?;
    let digits = rest.bytes().take(3).take_while(|byte| (b'0'..=b'7').contains(byte)).count();
    let value = u32::from_str_radix(&rest[..digits], 8).ok()?;
    (value == u32::from(byte)).then_some(text.len() - rest.len() + digits)
}

/// `&lt;`, `&#60;`, `&#x3c;` (XML 1.0, 4.1 and 4.6)
fn entity_spellings(character: char, text: &str, report: &mut dyn FnMut(usize)) {
    let Some(entity) = text.strip_prefix('&').and_then(|rest| until(rest, b';')) else {
        return;
    };
    let meant = match entity {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => entity.strip_prefix('#').filter(|number| number.len() <= 9).and_then(character_reference),
    };
    if meant == Some(character) {
        report(entity.len() + 2);
    }
}

fn character_reference(number: &str) -> Option<char> {
    let code = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    char::from_u32(code.ok()?)
}

/// A form's `+`, doubled quotes and dollars (SQL, YAML, CSV, SmallRye, Java's printf), and a shell's way out of quotes.
fn quoted_spellings(character: char, text: &str, report: &mut dyn FnMut(usize)) {
    if character == ' ' && text.starts_with('+') {
        report(1);
    }
    if character.is_ascii_punctuation() && text.strip_prefix(character).is_some_and(|rest| rest.starts_with(character))
    {
        report(2);
    }
    if character == '\'' {
        let ways_out = [r"'\''", r#"'"'"'"#];
        ways_out.iter().filter(|way| text.starts_with(**way)).for_each(|way| report(way.len()));
    }
}

fn lone_byte_spellings(unit: u32, text: &str, backslashes: usize, report: &mut dyn FnMut(usize)) {
    let byte = unit as u8;
    if text.starts_with(char::REPLACEMENT_CHARACTER) {
        report(char::REPLACEMENT_CHARACTER.len_utf8());
    }
    if unit >= LONE_BYTE_CONTINUED {
        report(0);
    }
    let forms: [fn(&str, u8) -> Option<usize>; 3] = [percent_byte, hexadecimal_byte, octal_byte];
    forms.iter().filter_map(|form| form(text, byte)).for_each(&mut *report);
    let code = text[backslashes..].strip_prefix('u').and_then(|rest| hexadecimal_number(rest, 4));
    if backslashes > 0 && code == Some(u32::from(byte)) {
        report(backslashes + 5);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use proptest::prelude::*;

    fn redacted(secrets: &[(&str, &str)], text: &str) -> String {
        let list = Secrets::default();
        secrets.iter().for_each(|(name, value)| list.add(name, value.as_bytes()));
        list.redact(text).into_owned()
    }

    #[test]
    fn a_secret_is_replaced_by_its_name() {
        let text = redacted(&[("PASSWORD", "hunter22")], "login with hunter22, again hunter22!");
        assert_eq!(text, "login with ‹redacted:PASSWORD›, again ‹redacted:PASSWORD›!");
    }

    #[test]
    fn a_text_without_secrets_is_not_copied() {
        let secrets = Secrets::default();
        secrets.add("PASSWORD", b"hunter22");
        assert!(matches!(secrets.redact("nothing % here \\ & '"), Cow::Borrowed(_)));
    }

    #[test]
    fn values_under_four_bytes_are_left_alone() {
        assert_eq!(redacted(&[("PIN", "abc")], "abc"), "abc");
        assert_eq!(redacted(&[("PIN", "abcd")], "abcd"), "‹redacted:PIN›");
    }

    #[test]
    fn the_longest_secret_wins_and_overlapping_ones_leave_nothing() {
        let secrets = [("SHORT", "pass"), ("LONG", "password1")];
        assert_eq!(redacted(&secrets, "password1 pass"), "‹redacted:LONG› ‹redacted:SHORT›");
        let overlapping = [("LEFT", "abcd"), ("RIGHT", "cdefgh")];
        assert_eq!(redacted(&overlapping, "<abcdefgh>"), "<‹redacted:RIGHT›>");
    }

    #[test]
    fn a_clone_is_the_same_list() {
        let secrets = Secrets::default();
        secrets.clone().add("PASSWORD", b"hunter22");
        assert_eq!(secrets.redact("hunter22"), "‹redacted:PASSWORD›");
        assert_eq!(format!("{secrets:?}"), "Secrets(1)");
    }

    #[test]
    fn a_basic_authorization_header_shows_nothing_of_the_password() {
        // admin:hunter22! in base64
        let text = redacted(&[("PASSWORD", "hunter22!")], "Authorization: Basic YWRtaW46aHVudGVyMjIh.");
        assert_eq!(text, "Authorization: Basic YWRtaW46‹redacted:PASSWORD›.");
    }

    #[test]
    fn a_document_stays_one_whatever_a_secret_is_called() {
        let secrets = Secrets::default();
        ["true", "source", "4711", "null"].iter().for_each(|secret| secrets.add("S", secret.as_bytes()));
        let document = serde_json::json!({"ok": true, "source": ["the source", 4711, 12, null], "a": {"b": "nullify"}});
        let expected = serde_json::json!(
            {"ok": true, "source": ["the ‹redacted:S›", "‹redacted:S›", 12, null], "a": {"b": "‹redacted:S›ify"}}
        );
        assert_eq!(secrets.redact_json(&document), expected);
    }

    #[test]
    fn a_text_full_of_escapes_takes_no_time_worth_mentioning() {
        let secrets = Secrets::default();
        secrets.add("S", "\\".repeat(100).as_bytes());
        let begun = std::time::Instant::now();
        assert!(secrets.redact(&"\\".repeat(2000)).starts_with("‹redacted:S›‹redacted:S›"));
        secrets.redact(&"%&+'\\".repeat(5000));
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    }

    #[test]
    fn the_lines_of_a_key_are_found_when_indented_or_in_a_diff() {
        let key = "-----BEGIN KEY-----\nMC4CAQAwBQYDK2Vw\nBCIEIJ7rSomething\n-----END KEY-----\n";
        let diff = "+    -----BEGIN KEY-----\n+    MC4CAQAwBQYDK2Vw\n+    BCIEIJ7rSomething\n";
        let expected = "+    -----BEGIN KEY-----\n+    ‹redacted:KEY›\n+    ‹redacted:KEY›\n";
        assert_eq!(redacted(&[("KEY", key)], diff), expected);
    }

    #[test]
    fn base64_broken_into_lines_is_found() {
        let secret = "x".repeat(70);
        let encoded = base64(secret.as_bytes(), STANDARD, true);
        let wrapped = format!("{}\n  {}", &encoded[..76], &encoded[76..]);
        assert_eq!(redacted(&[("S", &secret)], &wrapped), "‹redacted:S›");
    }

    #[test]
    fn bytes_that_are_no_text_are_found() {
        let secrets = Secrets::default();
        secrets.add("RAW", b"ab\xff\xfecd");
        for shown in ["ab\u{fffd}\u{fffd}cd", "ab%FF%fecd", r"ab\xff\xfecd", r"ab\377\376cd", r"ab\u00ff\u00fecd"] {
            assert_eq!(secrets.redact(shown), "‹redacted:RAW›", "{shown}");
        }
    }

    fn base64(value: &[u8], alphabet: &[u8; 64], padded: bool) -> String {
        let mut encoded = String::new();
        for group in value.chunks(3) {
            let bits = group.iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte)) << (8 * (3 - group.len()));
            (0..=group.len()).for_each(|index| encoded.push(alphabet[bits >> (18 - 6 * index) & 63].into()));
            if padded {
                (group.len()..3).for_each(|_| encoded.push('='));
            }
        }
        encoded
    }

    fn percent(value: &str, upper: bool, plus: bool) -> String {
        let mut encoded = String::new();
        for byte in value.bytes() {
            match byte {
                b' ' if plus => encoded.push('+'),
                _ if byte.is_ascii_alphanumeric() => encoded.push(byte.into()),
                _ if upper => encoded.push_str(&format!("%{byte:02X}")),
                _ => encoded.push_str(&format!("%{byte:02x}")),
            }
        }
        encoded
    }

    fn xml(value: &str, numbers: bool) -> String {
        let mut encoded = String::new();
        for character in value.chars() {
            match character {
                '&' => encoded.push_str("&amp;"),
                '<' => encoded.push_str("&lt;"),
                '>' => encoded.push_str("&gt;"),
                '"' => encoded.push_str("&quot;"),
                '\'' => encoded.push_str("&#39;"),
                _ if numbers => encoded.push_str(&format!("&#x{:X};", u32::from(character))),
                _ => encoded.push(character),
            }
        }
        encoded
    }

    /// As `java.util.Properties.store` writes them.
    fn properties(value: &str) -> String {
        let mut encoded = String::new();
        for character in value.chars() {
            match character {
                '\n' => encoded.push_str("\\n"),
                '\t' => encoded.push_str("\\t"),
                '\r' => encoded.push_str("\\r"),
                ' ' | '=' | ':' | '#' | '!' | '\\' => encoded.extend(['\\', character]),
                '!'..='~' => encoded.push(character),
                _ => character.encode_utf16(&mut [0; 2]).iter().for_each(|u| encoded.push_str(&format!("\\u{u:04X}"))),
            }
        }
        encoded
    }

    fn doubled(value: &str, quote: char) -> String {
        value.replace(quote, &format!("{quote}{quote}"))
    }

    fn octal(value: &str) -> String {
        value.bytes().map(|byte| format!("\\{byte:03o}")).collect()
    }

    fn all_encodings(value: &str) -> Vec<String> {
        let json = serde_json::to_string(value).unwrap();
        let json_in_json = serde_json::to_string(&json).unwrap();
        let mut encodings = vec![
            value.to_owned(),
            percent(value, true, false),
            percent(value, false, true),
            xml(value, false),
            xml(value, true),
            properties(value),
            json[1..json.len() - 1].to_owned(),
            json_in_json[3..json_in_json.len() - 3].to_owned(),
            value.escape_debug().to_string(),
            value.escape_unicode().to_string(),
            octal(value),
            value.bytes().map(|byte| format!("\\x{byte:02x}")).collect(),
            value.bytes().map(|byte| format!("{byte:02x}")).collect(),
            value.replace('\'', r"'\''"),
            value.replace('\'', r#"'"'"'"#),
        ];
        encodings.extend(['\'', '"', '$', '%'].map(|quote| doubled(value, quote)));
        for alphabet in [STANDARD, URL_SAFE] {
            encodings.extend([true, false].map(|padded| base64(value.as_bytes(), alphabet, padded)));
        }
        encodings
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        /// Behaviours: 84.
        #[test]
        fn no_encoding_of_a_secret_survives(value in "[^\0]{4,24}|[ -~]{4,24}|[\\\\'\"$%&+{} \n]{4,12}") {
            let secrets = Secrets::default();
            secrets.add("S", value.as_bytes());
            for encoded in all_encodings(&value) {
                let text = format!("(\u{2039}{encoded}\u{203a})");
                prop_assert_eq!(secrets.redact(&text), "(\u{2039}‹redacted:S›\u{203a})", "{:?} as {:?}", value, text);
            }
        }

        /// What is left is what the format puts around a value.
        #[test]
        fn no_format_of_ours_writes_a_secret_that_is_not_found(
            value in "[^\0]{4,24}|[ -~]{4,24}|[\\\\$ {}:A-C]{4,12}|[a-z]{6}\\$\\{[a-z]{6}| [a-z]{8} "
        ) {
            let secrets = Secrets::default();
            secrets.add("S", value.as_bytes());
            for format in Format::ALL {
                let Ok(escaped) = format.escape(&value) else { continue };
                let redacted = secrets.redact(&escaped).into_owned();
                prop_assert!(["", "'", "\""].iter().any(|quote| redacted == format!("{quote}‹redacted:S›{quote}")),
                    "{:?} in {:?} is {:?}", value, format, redacted);
                let more = format.escape(&format!(" {value}<${value} ")).unwrap_or_default();
                let left = secrets.redact(&more).replace("‹redacted:S›", "\0");
                prop_assert!(!left.contains(&value) && left.matches('\0').count() != 1, "{:?} {:?}", format, left);
            }
        }

        #[test]
        fn base64_of_a_secret_among_other_bytes_does_not_survive(
            before in prop::collection::vec(any::<u8>(), 0..7),
            value in prop::collection::vec(any::<u8>(), 4..24),
            after in prop::collection::vec(any::<u8>(), 0..7),
        ) {
            let secrets = Secrets::default();
            secrets.add("S", &value);
            let whole = [&before[..], &value, &after].concat();
            for alphabet in [STANDARD, URL_SAFE] {
                let encoded = base64(&whole, alphabet, true);
                let redacted = secrets.redact(&encoded).into_owned();
                let (left, right) = redacted.split_once("‹redacted:S›").expect(&encoded);
                // What is left holds whole characters of the bytes around the secret, and no bit of it.
                prop_assert!(left.len() <= before.len() * 8 / 6, "{redacted}");
                let kept = right.trim_end_matches('=').len();
                prop_assert!(kept <= (after.len() * 8).div_ceil(6), "{redacted}");
            }
        }

        #[test]
        fn any_text_can_be_filtered(value in "[^\0]{4,8}", text in "\\PC{0,200}|[\\\\%&#x0-9a-f;u{}']{0,200}") {
            let secrets = Secrets::default();
            secrets.add("S", value.as_bytes());
            prop_assert!(!secrets.redact(&text).contains(&value));
        }
    }
}
