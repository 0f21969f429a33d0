//! A text with its escapes undone, so that every spelling of a value is the same sequence of units.
//!
//! Undone are percent encoding, backslash escapes (JSON, Java, C, Rust, Python), XML's entities, doubled quotes and
//! dollars (SQL, YAML, CSV, SmallRye), a shell's way out of quotes, a form's `+`, and our own references; escapes
//! inside escapes as well. Ambiguous text becomes one: backslashes are dropped, a run of one mark is one mark, both
//! quotes are one quote, a control character is the letter it is escaped with. A value and a text are folded alike, so
//! nothing has to be guessed. Every step looks back over a bounded number of units: the time is linear.

use crate::render::format;

/// Units up to here are Unicode code points; above, a byte that may be a part of a character, or one of Latin-1.
const BYTE: u32 = 0x11_0000;
const BACKSLASH: u32 = '\\' as u32;
const PERCENT: u32 = '%' as u32;
/// An entity or a braced code is no longer than this.
const LONGEST_ESCAPE: usize = 10;

/// One unit, and where it stands in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unit {
    pub code: u32,
    /// With the backslashes before it.
    pub start: usize,
    /// Without them.
    pub own_start: usize,
    pub end: usize,
    /// How many escapes inside each other stood there.
    depth: u8,
}

/// How a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing is an escape.
    AsItIs,
    Escaped,
    /// Escaped, and base64 broken into lines is put together again.
    Unwrapped,
}

/// A folded text.
#[derive(Debug)]
pub(super) struct Folded {
    pub units: Vec<Unit>,
    /// Whether an escape was undone: a text without any says the same when it is read as it is.
    pub undone: bool,
    /// Whether the text goes on after a line break within base64, which only `Unwrapped` puts together.
    pub wrapped: bool,
}

/// The units of a text.
pub(super) fn fold(text: &str, reading: Reading) -> Folded {
    let mut fold = Fold { units: Vec::with_capacity(text.len()), undone: false, wrapped: false };
    let mut skip_to = 0;
    for (start, character) in text.char_indices() {
        let end = start + character.len_utf8();
        if start < skip_to {
            continue;
        }
        let unit = Unit { code: character.into(), start, own_start: start, end, depth: 0 };
        if reading == Reading::AsItIs {
            fold.units.push(Unit { code: byte(letter(mark(unit.code))), ..unit });
            continue;
        }
        if matches!(character, '\n' | '\r' | '\\')
            && let Some(next) = fold.break_within_base64(text, start)
        {
            fold.wrapped = true;
            if reading == Reading::Unwrapped {
                skip_to = next;
                continue;
            }
        }
        fold.push(unit);
    }
    if reading == Reading::AsItIs {
        return Folded { units: fold.units, undone: false, wrapped: false };
    }
    fold.finished()
}

/// Whether nothing in a text can be an escape, so that `token_units` are its units: most generated secrets.
pub(super) fn is_token(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-./:=@_,!*#~^|?<>()".contains(&byte))
}

/// The units of a text of ASCII letters, digits and marks in which nothing is an escape.
pub(super) fn token_units(token: &str) -> Vec<u32> {
    let mut units: Vec<u32> = token.bytes().map(u32::from).collect();
    if token.bytes().any(|byte| byte.is_ascii_punctuation()) {
        units.dedup_by(|one, other| one == other && is_mark(*one));
    }
    units
}

struct Fold {
    units: Vec<Unit>,
    undone: bool,
    wrapped: bool,
}

impl Fold {
    fn push(&mut self, mut unit: Unit) {
        loop {
            unit.code = byte(mark(unit.code));
            let Some((taken, code)) = self.escape_ending_in(unit.code) else { break };
            let escape = &self.units[self.units.len() - taken..];
            let first = escape[0];
            let depth = escape.iter().map(|unit| unit.depth).fold(unit.depth, u8::max).saturating_add(1);
            self.units.truncate(self.units.len() - taken);
            self.undone = true;
            unit = Unit { code, start: first.start, own_start: first.own_start, end: unit.end, depth };
        }
        match self.units.last_mut() {
            // A run of backslashes is one escape, however deep; and a percent sign is doubled to mean itself. One from
            // another depth is not its double: another escape may begin after it.
            Some(last) if last.code == unit.code && runs_on(unit.code) && last.depth == unit.depth => {
                last.end = unit.end;
            }
            _ => self.units.push(unit),
        }
    }

    /// The unit so many before the end.
    fn back(&self, count: usize) -> Option<u32> {
        Some(self.units[self.units.len().checked_sub(count)?].code)
    }

    /// The character of an escape that ends with this unit, and how many units before it belong to it.
    fn escape_ending_in(&self, code: u32) -> Option<(usize, u32)> {
        match code {
            0xdc00..=0xdfff => {
                let high = self.back(1).filter(|high| (0xd800..0xdc00).contains(high))?;
                Some((1, 0x1_0000 + (high - 0xd800) * 0x400 + (code - 0xdc00)))
            }
            0x30..=0x39 | 0x41..=0x46 | 0x61..=0x66 => self.number_ending_in(code),
            0x3b => self.entity(),
            0x7d => self.braced_code().or_else(|| self.reference()),
            _ => None,
        }
    }

    /// `%2b` (RFC 3986, 2.1), `\x2b`, `\053`, `\u002b`, `\U0000002b`.
    fn number_ending_in(&self, last: u32) -> Option<(usize, u32)> {
        if self.back(2) == Some(PERCENT) {
            return Some((2, self.number(1, 16, last)?));
        }
        if self.back(3) == Some(BACKSLASH) {
            return match self.back(2)? {
                0x78 => Some((3, self.number(1, 16, last)?)),
                _ => self.number(2, 8, last).filter(|code| *code < 256).map(|code| (3, code)),
            };
        }
        for (letter, digits) in [(u32::from('u'), 4), (u32::from('U'), 8)] {
            if self.back(digits) == Some(letter) && self.back(digits + 1) == Some(BACKSLASH) {
                return Some((digits + 1, self.number(digits - 1, 16, last).filter(|code| *code < BYTE)?));
            }
        }
        None
    }

    /// The number that the last units and this one are the digits of.
    fn number(&self, before: usize, radix: u32, last: u32) -> Option<u32> {
        let digits = (1..=before).rev().map(|count| self.back(count)).chain([Some(last)]);
        let digits = digits.map(|digit| char::from_u32(digit?)?.to_digit(radix));
        digits.into_iter().try_fold(0u32, |number, digit| number.checked_mul(radix)?.checked_add(digit?))
    }

    /// `&lt;`, `&#60;`, `&#x3c;` (XML 1.0, 4.1 and 4.6).
    fn entity(&self) -> Option<(usize, u32)> {
        let (name, taken) = self.text_since('&')?;
        let meant = match name.as_str() {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = name.strip_prefix('#')?;
                let hexadecimal = number.strip_prefix(['x', 'X']).map(|digits| u32::from_str_radix(digits, 16));
                char::from_u32(hexadecimal.unwrap_or_else(|| number.parse()).ok()?)?
            }
        };
        Some((taken, meant.into()))
    }

    /// `\u{1f600}`.
    fn braced_code(&self) -> Option<(usize, u32)> {
        let (digits, taken) = self.text_since('{')?;
        let escape = self.back(taken + 1) == Some('u'.into()) && self.back(taken + 2) == Some(BACKSLASH);
        let code = char::from_u32(u32::from_str_radix(&digits, 16).ok().filter(|_| escape)?)?;
        Some((taken + 2, code.into()))
    }

    /// The text after the last `begin`, which must be near, and how many units that and `begin` are.
    fn text_since(&self, begin: char) -> Option<(String, usize)> {
        let taken = (1..=LONGEST_ESCAPE).find(|count| self.back(*count) == Some(begin.into()))?;
        let text = (1..taken).rev().map(|count| char::from_u32(self.back(count)?)).collect::<Option<String>>()?;
        Some((text, taken))
    }

    fn reference(&self) -> Option<(usize, u32)> {
        format::REFERENCES.iter().find_map(|(meant, reference)| {
            let before = reference.len() - 1;
            let tail = &self.units[self.units.len().checked_sub(before)?..];
            let same = tail.iter().map(|unit| unit.code).eq(reference.bytes().take(before).map(u32::from));
            same.then_some((before, u32::from(*meant)))
        })
    }

    /// Where base64 goes on after a line break, plain or escaped, and the indentation.
    fn break_within_base64(&self, text: &str, start: usize) -> Option<usize> {
        let is_base64 =
            |code: u32| char::from_u32(code).is_some_and(|c| c.is_ascii_alphanumeric() || "+/-_".contains(c));
        self.back(1).filter(|before| is_base64(*before))?;
        let rest = &text[start..];
        let found = ["\r\n", "\n", "\\r\\n", "\\n"].iter().find(|found| rest.starts_with(**found))?;
        let indented = &rest[found.len()..];
        let next = indented.trim_start_matches([' ', '\t']);
        next.bytes().next().is_some_and(|byte| is_base64(byte.into())).then(|| text.len() - next.len())
    }

    /// Without the backslashes, which have done their work, with one mark for a run, and with nothing left that is no
    /// character.
    fn finished(self) -> Folded {
        let mut units: Vec<Unit> = Vec::with_capacity(self.units.len());
        let mut since = None;
        for mut unit in self.units {
            if unit.code == BACKSLASH {
                since = since.or(Some(unit.start));
                continue;
            }
            unit.start = since.take().unwrap_or(unit.start);
            unit.code = byte(letter(unit.code));
            while let Some((taken, code)) = character_of_bytes(&units, unit.code) {
                let first = units[units.len() - taken];
                units.truncate(units.len() - taken);
                unit = Unit { code: byte(code), end: unit.end, ..first };
            }
            match units.last_mut() {
                Some(last) if last.code == unit.code && is_mark(unit.code) => last.end = unit.end,
                _ => units.push(unit),
            }
        }
        Folded { units, undone: self.undone, wrapped: self.wrapped }
    }
}

/// A character of several bytes, by the last of them.
fn character_of_bytes(before: &[Unit], last: u32) -> Option<(usize, u32)> {
    let mut bytes = [0, 0, 0, last.checked_sub(BYTE)? as u8];
    for taken in 1..4 {
        bytes[3 - taken] = u8::try_from(before[before.len().checked_sub(taken)?].code.checked_sub(BYTE)?).ok()?;
        if let Ok(text) = std::str::from_utf8(&bytes[3 - taken..]) {
            return text.chars().next().map(|character| (taken, character.into()));
        }
    }
    None
}

fn runs_on(code: u32) -> bool {
    matches!(code, PERCENT | BACKSLASH)
}

/// A character of Latin-1 and a byte are written alike: `\xe4`.
fn byte(code: u32) -> u32 {
    if (0x80..0x100).contains(&code) { BYTE + code } else { code }
}

/// Quotes are one quote, and a blank is a form's `+`.
fn mark(code: u32) -> u32 {
    match code {
        0x22 => 0x27,
        0x20 => 0x2b,
        other => other,
    }
}

fn is_mark(code: u32) -> bool {
    char::from_u32(code).is_some_and(|character| character.is_ascii_punctuation())
}

/// A control character is the letter it is escaped with.
fn letter(code: u32) -> u32 {
    let letter = match code {
        0 => '0',
        0x07 => 'a',
        0x08 => 'b',
        0x09 => 't',
        0x0a => 'n',
        0x0b => 'v',
        0x0c => 'f',
        0x0d => 'r',
        0x1b => 'e',
        other => return other,
    };
    letter.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let characters = |unit: &Unit| char::from_u32(unit.code.checked_sub(BYTE).unwrap_or(unit.code));
        fold(text, Reading::Escaped).units.iter().filter_map(characters).collect()
    }

    #[test]
    fn every_spelling_of_a_text_folds_to_the_same() {
        for (spelling, meant) in [
            ("%2541", "A"),
            ("%%41", "A"),
            ("&amp;lt;", "<"),
            ("&#x3c;&#60;a", "<a"),
            (r"\ud83d\\ude00", "😀"),
            (r"\u{1F600}\U0001F600", "😀😀"),
            (r"%C3%A4\xc3\xa4\303\244\xe4\u00e4", "äääää"),
            (r#"a'"'"'b'\''c''d\\\"e"#, "a'b'c'd'e"),
            ("a${ENV:TRINO_DOLLAR}b$$c${ENV:TRINO_BLANK}${dl.bs}d", "a$b$c+d"),
            ("a  b+c\nd\\ne\te", "a+b+cndnete"),
            (r"\\\\", ""),
        ] {
            assert_eq!(folded(spelling), meant, "{spelling}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_holds_no_escape_has_the_units_of_a_token(text in "[a-zA-Z0-9+./:=@_,!*#~^|?<>()-]{0,40}") {
            proptest::prop_assert!(is_token(&text));
            let codes: Vec<u32> = fold(&text, Reading::Escaped).units.iter().map(|unit| unit.code).collect();
            proptest::prop_assert_eq!(codes, token_units(&text));
        }
    }

    #[test]
    fn a_unit_begins_with_its_backslashes_and_knows_where_they_end() {
        let units = fold(r"a\\\'b", Reading::Escaped).units;
        let places: Vec<_> = units.iter().map(|unit| (unit.start, unit.own_start, unit.end)).collect();
        assert_eq!(places, [(0, 0, 1), (1, 4, 5), (5, 5, 6)]);
    }
}
