//! Wording that every module shares: reasons of the system, text that is safe on a terminal, URLs without secrets.
//!
//! Pure; knows nothing of the rest of the program.

use std::fmt::Write as _;

use url::Url;

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
