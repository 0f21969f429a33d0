//! (stub until the real one lands)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Plain,
}
#[derive(Debug)]
pub struct Entry {
    pub key: String,
    pub value: String,
    pub lines: std::ops::Range<usize>,
}
impl Format {
    pub fn from_name(_: &str) -> Option<Format> {
        Some(Format::Plain)
    }
    pub fn escape(self, value: &str) -> Result<String, String> {
        Ok(value.into())
    }
    pub fn escape_key(self, value: &str) -> Result<String, String> {
        Ok(value.into())
    }
    pub fn prelude(self, _: &str) -> Option<&'static str> {
        None
    }
    pub fn has_keys(self) -> bool {
        true
    }
    pub fn parse(self, text: &str) -> Result<Vec<Entry>, String> {
        Ok(text
            .lines()
            .enumerate()
            .filter_map(|(i, line)| {
                let (k, v) = line.split_once('=')?;
                Some(Entry { key: k.into(), value: v.into(), lines: i..i + 1 })
            })
            .collect())
    }
}
