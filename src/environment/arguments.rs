//! An operator's arguments as text and back, byte for byte: expressions know only text, an argument may be any bytes.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Where the 256 characters begin that stand for bytes which are no text: private use, so that no text has them.
const FIRST_BYTE: u32 = 0x10_F700;

fn byte_of(character: char) -> Option<u8> {
    u8::try_from(u32::from(character).checked_sub(FIRST_BYTE)?).ok()
}

/// An operator's argument as text, for expressions: each byte that is not UTF-8 has a character that stands for it.
pub fn text_of(argument: &OsStr) -> String {
    let mut text = String::with_capacity(argument.len());
    let stand_in = |byte: &u8| char::from_u32(FIRST_BYTE + u32::from(*byte)).unwrap_or_default();
    for chunk in argument.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match byte_of(character) {
                // A stand-in that was given becomes four of them, and itself again.
                Some(_) => text.extend(character.encode_utf8(&mut [0; 4]).as_bytes().iter().map(stand_in)),
                None => text.push(character),
            }
        }
        text.extend(chunk.invalid().iter().map(stand_in));
    }
    text
}

/// The argument that `text_of` made this text of, or any other text as it is.
pub fn bytes_of(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match byte_of(character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    OsString::from_vec(bytes)
}

/// How many of the first arguments stand for the service: one of `server` or `org.example.*`, two of `minio server`.
pub fn words_taken(arguments: &[OsString], words: &[String]) -> usize {
    let is_word = |argument: &OsString, word: &str| match word.strip_suffix('*') {
        Some(beginning) => argument.to_str().is_some_and(|argument| argument.starts_with(beginning)),
        None => argument == word,
    };
    let length = |phrase: &String| {
        let count = phrase.split(' ').count();
        let same = phrase.split(' ').zip(arguments).filter(|(word, argument)| is_word(argument, word)).count() == count;
        same.then_some(count)
    };
    words.iter().filter_map(length).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_is_itself_again_byte_for_byte() {
        let stand_in = "\u{10f7ff}".as_bytes();
        let mut cut_off = stand_in.to_vec();
        cut_off.pop();
        for bytes in [b"".as_slice(), b"plain", "späte Größe".as_bytes(), b"\xff\x80a\xc3", stand_in, &cut_off] {
            let argument = OsStr::from_bytes(bytes);
            assert_eq!(bytes_of(&text_of(argument)), argument);
        }
        assert_eq!(text_of(OsStr::new("späte Größe")), "späte Größe");
    }
}
