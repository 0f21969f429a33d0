//! The secrets of this run, and the last filter over every text that leaves the process.
//!
//! Owns the one list of secret values and finds them again in a text however they were written there: as they are,
//! in base64, hex, percent encoding, JSON, XML, Java properties, C, shell or doubled quotes, or by one of our own
//! references. Must not print, log or keep a value: only hashes of its parts stay. Nothing here knows where a secret
//! came from; `settings` adds them, `log`, `health` and every printed diff or report pass through `secrets`.
//!
//! `fold` makes one sequence of all spellings of a text, `needles` finds in it what is looked for. Time and memory are
//! linear in the text and in each secret, whatever they hold.

pub(crate) mod detect;
mod fold;
mod needles;

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode_byte, utf8_percent_encode};
use serde_json::Value;

use self::fold::{Folded, Reading, fold, is_token, token_units};
use self::needles::{Edges, Hit, Needles, VERY_LONG};
use crate::render::format::Format;
use crate::text::without_controls;

/// A value of fewer characters would be found in every second line of a log: `settings` refuses it, and where the
/// operator insists, `masked_view` hides the whole values that are it.
pub const SHORTEST_SECRET: usize = 4;
/// A word, or some words put together, are no longer.
pub(crate) const LONGEST_WORD: usize = 31;
/// Lines of a secret of several lines (a PEM key) are secrets of their own from this length on.
const SHORTEST_LINE: usize = 12;
/// A text is looked through in pieces of so many bytes: what is kept of one is several times as large.
const PIECE: usize = 1 << 16;
/// Pieces overlap by more than any window of escaped units is long.
const OVERLAP: usize = 1 << 12;
/// Also a multiple of three: base64 of one piece after the other is that of the whole.
const PIECE_OF_SECRET: usize = 3 << 12;
const OVERLAP_OF_SECRET: usize = 3 << 8;

/// The secrets of this run. A clone is the same list.
#[derive(Clone, Default)]
pub struct Secrets {
    known: Arc<RwLock<Known>>,
}

/// The values to find.
#[derive(Default)]
struct Known {
    names: Vec<String>,
    /// Values that were added, by their hash.
    values: HashSet<u64>,
    hashes: RandomState,
    needles: Needles,
    /// Whether one of them is nothing but marks, which only a text that is read as it is tells apart.
    of_marks: bool,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.known.read().unwrap_or_else(PoisonError::into_inner).values.len();
        write!(f, "Secrets({count})")
    }
}

/// Whether a value is too short to be looked for.
pub fn is_too_short(value: &str) -> bool {
    value.chars().nth(SHORTEST_SECRET - 1).is_none()
}

impl Secrets {
    /// The list of this process, for what cannot be handed one: the panic hook and the log writer.
    pub fn of_this_run() -> &'static Secrets {
        static OF_THIS_RUN: OnceLock<Secrets> = OnceLock::new();
        OF_THIS_RUN.get_or_init(Secrets::default)
    }

    /// Adds a value. One of fewer than `SHORTEST_SECRET` characters is left out.
    pub fn add(&self, name: &str, value: &[u8]) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let hash = known.hashes.hash_one(value);
        if value.len() >= SHORTEST_SECRET && known.values.insert(hash) {
            known.add(name, value);
        }
    }

    /// `text` with every occurrence of every secret replaced by `‹redacted:NAME›`.
    pub fn redact<'text>(&self, text: &'text str) -> Cow<'text, str> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let found = merged(known.occurrences(text));
        if found.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut redacted = String::with_capacity(text.len());
        let mut written = 0;
        for occurrence in found {
            redacted.push_str(&text[written..occurrence.start]);
            redacted.push_str("‹redacted:");
            redacted.push_str(&known.names[occurrence.name as usize]);
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

impl Known {
    fn add(&mut self, name: &str, value: &[u8]) {
        let index = self.names.len() as u32;
        // It is put into texts whose controls are escaped already.
        self.names.push(without_controls(name));
        self.add_spellings(index, value, true);
        if value.contains(&b'\n') {
            telling_lines(value).for_each(|line| self.add_spellings(index, line, value.len() < VERY_LONG));
        }
    }

    fn add_spellings(&mut self, name: u32, value: &[u8], encoded: bool) {
        match std::str::from_utf8(value) {
            Ok(text) => self.add_text(name, text),
            // What a text shows of other bytes: a replacement, or the characters of Latin-1.
            Err(_) => {
                let latin = value.utf8_chunks().map(|chunk| {
                    chunk
                        .valid()
                        .chars()
                        .chain(chunk.invalid().iter().map(|byte| char::from(*byte)))
                        .collect::<String>()
                });
                self.add_text(name, &String::from_utf8_lossy(value));
                self.add_text(name, &latin.collect::<String>());
            }
        }
        if encoded {
            self.add_encodings(name, value);
        }
    }

    fn add_text(&mut self, name: u32, text: &str) {
        for (_, piece) in pieces(text, PIECE_OF_SECRET, OVERLAP_OF_SECRET) {
            if self.add_plain(name, piece) {
                continue;
            }
            let folded = fold(piece, Reading::Escaped);
            let end = folded.units.last().map_or(0, |unit| unit.end);
            let edges = Edges { backslashes: end < piece.len(), ..Edges::default() };
            let (escaped, as_it_is) = (codes(&folded), codes(&fold(piece, Reading::AsItIs)));
            self.needles.add(&escaped, name, edges);
            if escaped.len() < SHORTEST_SECRET {
                self.add_marks(name, piece);
            } else if as_it_is != escaped {
                self.needles.add(&as_it_is, name, Edges::default());
            }
        }
    }

    /// A piece without anything that could be an escape, which nothing has to be undone in.
    fn add_plain(&mut self, name: u32, piece: &str) -> bool {
        let escaped = if is_token(piece) { token_units(piece) } else { vec![] };
        let is_plain = escaped.len() >= SHORTEST_SECRET;
        if is_plain {
            self.needles.add(&escaped, name, Edges::default());
            // As it is, a run of marks is not one.
            if escaped.len() < piece.len() {
                let as_it_is: Vec<u32> = piece.bytes().map(u32::from).collect();
                self.needles.add(&as_it_is, name, Edges::default());
            }
        }
        is_plain
    }

    /// A secret of hardly anything but marks and escapes folds to nothing: it is looked for as our formats and URLs spell
    /// it, a long one as JSON does, the only format that spells everything.
    fn add_marks(&mut self, name: u32, text: &str) {
        self.of_marks = true;
        let formats = if text.len() < VERY_LONG { &Format::ALL[..] } else { &[Format::Json] };
        let mut spellings: Vec<String> = formats.iter().filter_map(|format| format.escape(text).ok()).collect();
        let again: Option<String> =
            Format::Json.escape(text).and_then(|json| Format::Json.escape(unquoted(&json))).ok();
        spellings.extend(again.filter(|_| text.len() < VERY_LONG));
        spellings.push(utf8_percent_encode(text, NON_ALPHANUMERIC).to_string());
        spellings.push(text.bytes().map(percent_encode_byte).collect());
        for spelling in spellings.iter().map(|spelling| unquoted(spelling)).chain([text]) {
            self.needles.add(&codes(&fold(spelling, Reading::AsItIs)), name, Edges::default());
        }
    }

    fn add_encodings(&mut self, name: u32, value: &[u8]) {
        let is_very_long = value.len() >= VERY_LONG;
        let alphabets = if is_very_long { &[STANDARD_NO_PAD][..] } else { &[STANDARD_NO_PAD, URL_SAFE_NO_PAD] };
        for piece in value.chunks(PIECE_OF_SECRET) {
            for alphabet in alphabets {
                (0..3).for_each(|offset| self.add_base64(name, piece, offset, alphabet));
            }
        }
        if !is_very_long {
            let digits: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
            self.add_token(name, &digits, Edges::default());
            self.add_token(name, &digits.to_uppercase(), Edges::default());
        }
    }

    /// The base64 characters (RFC 4648) that depend on nothing but `value` when `offset` bytes precede it in its group.
    fn add_base64(&mut self, name: u32, value: &[u8], offset: usize, alphabet: &GeneralPurpose) {
        let (bits, first) = ((offset + value.len()) * 8, (offset * 8).div_ceil(6));
        let encoded = alphabet.encode([&[0; 3][..offset], value].concat());
        let edges = Edges { partial_before: offset != 0, partial_after: !bits.is_multiple_of(6), backslashes: false };
        self.add_token(name, &encoded[first..bits / 6], edges);
    }

    fn add_token(&mut self, name: u32, token: &str, edges: Edges) {
        let units = token_units(token);
        self.needles.add(&units, name, edges);
        if units.len() < SHORTEST_SECRET {
            self.of_marks = true;
            self.needles.add(&codes(&fold(token, Reading::AsItIs)), name, edges);
        }
    }
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

fn codes(folded: &Folded) -> Vec<u32> {
    folded.units.iter().map(|unit| unit.code).collect()
}

/// Without the quotes around it.
fn unquoted(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote).and_then(|text: &str| text.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

/// Pieces of a text, each with where it begins and `overlap` bytes more than its own.
fn pieces(text: &str, length: usize, overlap: usize) -> impl Iterator<Item = (usize, &str)> {
    let boundary = |index: usize| (index.min(text.len())..=text.len()).find(|index| text.is_char_boundary(*index));
    (0..text.len()).step_by(length).map(move |start| {
        let (start, end) = (boundary(start), boundary(start + length + overlap));
        let (start, end) = (start.unwrap_or_default(), end.unwrap_or(text.len()));
        (start, &text[start..end])
    })
}

// ---- where it is found -----------------------------------------------------------------------------------------

/// `text[start..end]` shows a part of the secret with this name.
#[derive(Debug)]
struct Occurrence {
    start: usize,
    end: usize,
    name: u32,
}

impl Known {
    fn occurrences(&self, text: &str) -> Vec<Occurrence> {
        let mut found = Vec::new();
        if self.needles.is_empty() {
            return found;
        }
        for (offset, piece) in pieces(text, PIECE, OVERLAP) {
            let folded = fold(piece, Reading::Escaped);
            let (undone, wrapped) = (folded.undone, folded.wrapped);
            self.search(piece, offset, &folded, &mut found);
            if undone || self.of_marks {
                self.search(piece, offset, &fold(piece, Reading::AsItIs), &mut found);
            }
            if wrapped {
                self.search(piece, offset, &fold(piece, Reading::Unwrapped), &mut found);
            }
        }
        found
    }

    fn search(&self, piece: &str, offset: usize, folded: &Folded, found: &mut Vec<Occurrence>) {
        self.needles.find(&codes(folded), &mut |hit| {
            let (start, end) = place(piece, folded, &hit);
            let (start, end) = (offset + start, offset + end);
            // Parts of one secret follow each other: kept apart, they would take more room than the text.
            match found.last_mut() {
                Some(last) if last.name == hit.name && (last.start..=last.end).contains(&start) => {
                    last.end = last.end.max(end);
                }
                _ => found.push(Occurrence { start, end, name: hit.name }),
            }
        });
    }
}

/// Where a hit stands in a text, with the characters around it that tell a part of it.
fn place(text: &str, folded: &Folded, hit: &Hit) -> (usize, usize) {
    let bytes = text.as_bytes();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte);
    let (first, last) = (folded.units[hit.start], folded.units[hit.end - 1]);
    let mut start = first.start + quotes_around(&text[first.start..first.end]).0;
    let mut end = last.end - quotes_around(&text[last.start..last.end]).1;
    if hit.edges.backslashes {
        end = folded.units.get(hit.end).map_or(text.len(), |next| next.own_start);
    }
    if hit.edges.partial_before && start > 0 && is_base64(&bytes[start - 1]) {
        start -= 1;
    }
    if hit.edges.partial_after && bytes.get(end).is_some_and(is_base64) {
        end += 1;
    }
    while hit.edges.partial_after && bytes.get(end) == Some(&b'=') {
        end += 1;
    }
    (start, end)
}

/// Of a run of quotes, those that are not escaped beside one that is: JSON's own, before and after.
fn quotes_around(run: &str) -> (usize, usize) {
    let is_quote = |c| matches!(c, '"' | '\'');
    match run.contains('\\') && run.matches(is_quote).count() == 2 {
        true => {
            (usize::from(run.starts_with(is_quote)), usize::from(["\"\"", "''"].iter().any(|pair| run.ends_with(pair))))
        }
        false => (0, 0),
    }
}

/// Occurrences that overlap become one, under the name of the longest, so that no end of any secret is left standing;
/// and those of one secret that touch.
fn merged(mut found: Vec<Occurrence>) -> Vec<Occurrence> {
    found.sort_by_key(|occurrence| (occurrence.start, std::cmp::Reverse(occurrence.end)));
    let mut merged: Vec<Occurrence> = Vec::new();
    let mut longest = 0;
    for occurrence in found {
        let length = occurrence.end - occurrence.start;
        match merged.last_mut() {
            Some(last)
                if occurrence.start < last.end || occurrence.start == last.end && occurrence.name == last.name =>
            {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::format::Format;
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
    fn a_secret_that_is_hardly_more_than_an_escape_is_found_in_a_url() {
        let secret = r"cc\u0001\\";
        for spelling in ["cc%5Cu0001%5C%5C", "%63%63%5C%75%30%30%30%31%5C%5C", secret, r"cc\\u0001\\\\"] {
            assert_eq!(redacted(&[("S", secret)], &format!("<{spelling}>")), "<‹redacted:S›>", "{spelling}");
        }
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

    /// Whether these take a time that a start can do with, one after the other; each took minutes once.
    fn within_seconds(work: impl FnOnce()) {
        let begun = std::time::Instant::now();
        work();
        assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_long_secret_of_any_kind_is_found_in_linear_time() {
        let random: String =
            (0..1 << 16).map(|index: u32| format!("{:02x}", index.wrapping_mul(2_654_435_769) >> 24)).collect();
        let lines: String =
            (0..4_000).map(|index| format!("the line {index} of a very long secret {index}\n")).collect();
        let many =
            ["\\".repeat(20_000), "\\".repeat(1 << 17), "a".repeat(1 << 17), "%41".repeat(40_000), lines, random];
        for secret in many
            .into_iter()
            .chain(["\\u0041", "&amp;", "''", "ab\n", "ä€"].map(|part| part.repeat((1 << 17) / part.len())))
        {
            let begun: String = secret.chars().take(20).collect();
            within_seconds(|| {
                let secrets = Secrets::default();
                secrets.add("S", secret.as_bytes());
                let text = format!("before {secret} after");
                let left = secrets.redact(&text).into_owned();
                assert!(left == "before ‹redacted:S› after", "{begun:?} {left:.100}");
                let encoded = base64(secret.as_bytes(), STANDARD, true);
                let left = secrets.redact(&encoded).into_owned();
                assert!(left == "‹redacted:S›", "{begun:?} {left:.100}");
                let json = serde_json::to_string(&secret).unwrap();
                let left = secrets.redact(&json).into_owned();
                assert!(left.len() < 30, "{begun:?} {left:.100}");
            });
        }
    }

    #[test]
    fn a_long_text_of_any_kind_is_filtered_in_linear_time() {
        let secrets = Secrets::default();
        let few =
            ["\\".repeat(100), "a".repeat(31) + "b", "a".repeat(1000) + "b", "%41&+'\\".repeat(9), "hunter22".into()];
        few.iter().for_each(|secret| secrets.add("S", secret.as_bytes()));
        (0..10_000).for_each(|index| secrets.add("S", format!("aaaaaaaa{index:05}").as_bytes()));
        for part in ["\\", "a", "%&+'\\", "%25", "\\u005c", "&amp;", "hunter2", "QUFB\n", "ä", "{{{}}}", "aaaaaaaa"] {
            within_seconds(|| drop(secrets.redact(&part.repeat((1 << 17) / part.len()))));
        }
    }

    #[test]
    fn a_part_of_a_long_secret_is_found() {
        let secret: String = (0..100).map(|index: u32| char::from_u32(0x4e00 + index).unwrap()).collect();
        let cut: String = secret.chars().take(70).collect();
        let left = redacted(&[("S", &secret)], &cut);
        assert_eq!(left.chars().filter(|character| secret.contains(*character)).count(), 6, "{left}");
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

    /// Whether nothing is left of a value but marks that may stand for each other.
    fn is_of_marks(value: &str) -> bool {
        fold(value, Reading::Escaped).units.len() < SHORTEST_SECRET
    }

    const STANDARD: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const URL_SAFE: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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
            let encodings = if is_of_marks(&value) { vec![value.clone()] } else { all_encodings(&value) };
            for encoded in encodings {
                let text = format!("(\u{2039}{encoded}\u{203a})");
                // A quote at its end or beginning may be taken for one around it.
                let mark = "‹redacted:S›";
                let left = ["'", "\""].iter().fold(secrets.redact(&text).into_owned(), |left, quote| {
                    left.replace(&format!("{mark}{quote}"), mark).replace(&format!("{quote}{mark}"), mark)
                });
                prop_assert_eq!(left, "(\u{2039}‹redacted:S›\u{203a})", "{:?} as {:?}", value, text);
            }
        }

        /// Only the format's own text around the value remains.
        #[test]
        fn no_format_of_ours_writes_a_secret_that_is_not_found(
            value in "[^\0]{4,24}|[ -~]{4,24}|[\\\\$ {}:A-C]{4,12}|[a-z]{6}\\$\\{[a-z]{6}| [a-z]{8} "
        ) {
            let secrets = Secrets::default();
            secrets.add("S", value.as_bytes());
            for format in Format::ALL {
                let Ok(escaped) = format.escape(&value) else { continue };
                let redacted = secrets.redact(&escaped).into_owned();
                // A quote at its end is one with the quote around it.
                let kept = redacted.trim_matches(|c| matches!(c, '\'' | '"'));
                prop_assert!(kept == "‹redacted:S›", "{:?} in {:?} is {:?}", value, format, redacted);
                if is_of_marks(&value) {
                    continue;
                }
                let more = format.escape(&format!(" {value}<${value} ")).unwrap_or_default();
                let left = secrets.redact(&more).replace("‹redacted:S›", "\0");
                // Two that end and begin with marks may touch.
                let touch = value.ends_with(|c: char| c.is_ascii_punctuation() || c == ' ');
                let once = left.matches('\0').count() == 1 && !touch;
                prop_assert!(!left.contains(&value) && !once, "{:?} {:?}", format, left);
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
