//! YAML: every value a double-quoted scalar in ASCII, which YAML 1.1 (PyYAML, SnakeYAML) and 1.2 read alike.

use saphyr_parser::{Event, Parser, Span, SpannedEventReceiver};

use super::{Entry, ParseError};
use crate::text::yaml_quoted;

pub(super) fn escape(value: &str) -> String {
    yaml_quoted(value)
}

/// One entry per scalar that is not a key; the key is its path, `a.b[0].c`.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let mut walker = Walker::default();
    let malformed =
        |error: saphyr_parser::ScanError| ParseError { line: error.marker().line(), message: error.info().to_owned() };
    Parser::new_from_str(text).load(&mut walker, true).map_err(malformed)?;
    walker.problem.map_or(Ok(walker.entries), Err)
}

/// Where we are inside a document.
enum Level {
    Sequence { path: String, next: usize },
    Mapping { path: String, key: Option<String>, keys: Vec<String> },
}

#[derive(Default)]
struct Walker {
    levels: Vec<Level>,
    entries: Vec<Entry>,
    problem: Option<ParseError>,
}

impl Walker {
    /// The path of the node that comes now, or `None` where it is a key.
    fn place(&mut self) -> Option<String> {
        match self.levels.last_mut() {
            None => Some(String::new()),
            Some(Level::Sequence { path, next }) => {
                *next += 1;
                Some(format!("{path}[{}]", *next - 1))
            }
            Some(Level::Mapping { path, key, .. }) => {
                let key = key.take()?;
                Some(if path.is_empty() { key } else { format!("{path}.{key}") })
            }
        }
    }

    fn scalar(&mut self, value: String, line: usize) {
        if let Some(place) = self.place() {
            self.entries.push(Entry { key: place, value, lines: line.saturating_sub(1)..line });
        } else if let Some(Level::Mapping { key, keys, .. }) = self.levels.last_mut() {
            if keys.contains(&value) {
                self.problem.get_or_insert(ParseError { line, message: format!("the key {value} is there twice") });
            }
            keys.push(value.clone());
            *key = Some(value);
        }
    }
}

impl SpannedEventReceiver<'_> for Walker {
    fn on_event(&mut self, event: Event<'_>, span: Span) {
        match event {
            Event::Scalar(value, ..) => self.scalar(value.into_owned(), span.start.line()),
            Event::SequenceStart(..) => {
                let path = self.place().unwrap_or_default();
                self.levels.push(Level::Sequence { path, next: 0 });
            }
            Event::MappingStart(..) => {
                let path = self.place().unwrap_or_default();
                self.levels.push(Level::Mapping { path, key: None, keys: vec![] });
            }
            Event::SequenceEnd | Event::MappingEnd => {
                self.levels.pop();
            }
            Event::Alias(_) => {
                self.place();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_found_by_their_path_and_a_key_twice_is_an_error() {
        let entries = parse("a: 1\nb:\n  - c: x\n    d: [y, z]\n").unwrap();
        let pairs: Vec<(&str, &str)> = entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b[0].c", "x"), ("b[0].d[0]", "y"), ("b[0].d[1]", "z")]);
        assert_eq!(parse("a: 1\na: 2\n").unwrap_err().to_string(), "line 2: the key a is there twice");
    }
}
