//! Texts that build.rs embeds compressed (RFC 1951): the binary would be a tenth larger with them as they are.

/// One text.
#[derive(Debug)]
pub struct Packed {
    pub bytes: &'static [u8],
    /// Of the text, in bytes.
    pub length: usize,
}

impl Packed {
    /// The text as it was.
    pub fn text(&self) -> String {
        let unpacked = miniz_oxide::inflate::decompress_to_vec_with_limit(self.bytes, self.length);
        unpacked.ok().and_then(|bytes| String::from_utf8(bytes).ok()).expect("build.rs has packed it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_out_as_it_went_in() {
        let text = "dl-entry ".repeat(50) + "ü";
        let bytes = miniz_oxide::deflate::compress_to_vec(text.as_bytes(), 10).leak();
        assert!(bytes.len() < text.len() / 4);
        assert_eq!(Packed { bytes, length: text.len() }.text(), text);
    }
}
