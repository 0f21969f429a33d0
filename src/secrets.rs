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

    /// The same for every text and number of a JSON document, which stays one: its names, `true`, `false` and `null`
    /// are its own, whatever a secret is called.
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
            // How a text shows other bytes: as replacements, or as characters of Latin-1.
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

    /// A secret of hardly anything but marks and escapes folds to nothing: it is looked for as our formats and URLs
    /// spell it, a long one as JSON does, the only format that spells everything.
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
mod tests;
