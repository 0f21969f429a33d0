//! Wording that every module shares: reasons of the system, text that is safe on a terminal, URLs without secrets.
//!
//! Pure; knows nothing of the rest of the program.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};
use url::Url;

/// All but the unreserved characters of RFC 3986, 2.3.
pub const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The system's reason without "(os error 13)".
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

/// One line of text without control characters, which are written as escapes.
pub(crate) fn without_controls(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    push_without_controls(&mut clean, text);
    clean
}

/// A line stays one line, and a terminal shows what is there: no escape sequences, no reversed text.
pub(crate) fn push_without_controls(line: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            _ if is_control(character) => {
                let _ = write!(line, "\\u{{{:x}}}", u32::from(character));
            }
            _ => line.push(character),
        }
    }
}

/// Control characters (C0, DEL, C1), Unicode's line breaks and the marks that reorder text.
fn is_control(character: char) -> bool {
    let reorders = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || reorders || matches!(character, '\u{2028}' | '\u{2029}')
}

/// A URL without anything that may be secret, for messages.
pub fn without_credentials(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else { return "the URL".to_owned() };
    // Both fail only for URLs that cannot have user information in the first place.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.set_fragment(None);
    url.to_string()
}

/// Year, month, day, hour, minute and second of a moment, in UTC (Howard Hinnant, "chrono-compatible low-level date
/// algorithms").
pub fn utc(seconds_since_1970: u64) -> [u64; 6] {
    let (days, second) = (seconds_since_1970 / 86_400, seconds_since_1970 % 86_400);
    let days = days + 719_468; // from 0000-03-01, so that a leap day ends its year
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    [year, month, day, second / 3600, second / 60 % 60, second % 60]
}

/// A double-quoted scalar in ASCII, which YAML 1.1 (PyYAML, SnakeYAML) and 1.2 read alike.
pub fn yaml_quoted(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len() + 8);
    escaped.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            '\n' => escaped.push_str("\\n"),
            '\t' => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            ' '..='~' => escaped.push(c),
            c if (c as u32) < 0x100 => escaped.push_str(&format!("\\x{:02X}", c as u32)),
            c if (c as u32) < 0x1_0000 => escaped.push_str(&format!("\\u{:04X}", c as u32)),
            c => escaped.push_str(&format!("\\U{:08X}", c as u32)),
        }
    }
    escaped.push('"');
    escaped
}
