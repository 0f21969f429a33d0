//! YAML documents as trees: read, one laid over another, and written.
//!
//! A scalar keeps its text and whether it was plain, so that no type is guessed: `on` and `"on"` stay apart, whichever
//! version of YAML the reader is of. Anchors, aliases and tags are refused: one document could not say what another's
//! stand for.

use std::borrow::Cow;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::text::yaml_quoted;

/// A value that is no list and no map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    pub text: String,
    /// Without quotes: the reader works out what it is.
    pub plain: bool,
}

/// One node of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    Mapping(Vec<(Scalar, Node)>),
}

impl Node {
    /// Reads a text of one document; without any, an empty mapping.
    ///
    /// # Errors
    /// The line, and what is wrong or cannot be laid over another document.
    pub fn parse(text: &str) -> Result<Node, String> {
        let mut events = Vec::new();
        for event in Parser::new_from_str(text) {
            let (event, span) = event.map_err(|error| format!("line {}: {}", error.marker().line(), error.info()))?;
            let line = span.start.line();
            match &event {
                Event::DocumentStart(_) if !events.is_empty() => return Err(format!("line {line}: a second document")),
                Event::Alias(_) => return Err(format!("line {line}: an alias, which has to be written out")),
                Event::Scalar(_, _, anchor, tag)
                | Event::SequenceStart(anchor, tag)
                | Event::MappingStart(anchor, tag) => {
                    if *anchor != 0 || tag.is_some() {
                        return Err(format!("line {line}: an anchor or a tag, which has no meaning here"));
                    }
                    events.push((event, line));
                }
                Event::SequenceEnd | Event::MappingEnd => events.push((event, line)),
                _ => {}
            }
        }
        let mut events = events.into_iter();
        match events.next() {
            Some((event, _)) => node(event, &mut events),
            None => Ok(Node::Mapping(vec![])),
        }
    }

    /// `over` laid over this one: maps key by key, and a null takes its key away; anything else is replaced.
    pub fn merged(self, over: Node) -> Node {
        let (Node::Mapping(mut entries), Node::Mapping(changes)) = (self, over.clone()) else { return over };
        for (key, change) in changes {
            let place = entries.iter().position(|(own, _)| own.text == key.text);
            match place {
                Some(place) if change.is_null() => drop(entries.remove(place)),
                Some(place) => {
                    let own = std::mem::replace(&mut entries[place].1, Node::Sequence(vec![]));
                    entries[place].1 = own.merged(change);
                }
                None if change.is_null() => {}
                None => entries.push((key, Node::Mapping(vec![]).merged(change))),
            }
        }
        Node::Mapping(entries)
    }

    fn is_null(&self) -> bool {
        let null = |scalar: &Scalar| scalar.plain && ["", "~", "null", "Null", "NULL"].contains(&scalar.text.as_str());
        matches!(self, Node::Scalar(scalar) if null(scalar))
    }

    /// Every scalar with its path, `a.b[0].c`.
    pub fn entries(&self) -> Vec<(String, String)> {
        let mut entries = Vec::new();
        self.collect(String::new(), &mut entries);
        entries
    }

    fn collect(&self, path: String, entries: &mut Vec<(String, String)>) {
        match self {
            Node::Scalar(scalar) => entries.push((path, scalar.text.clone())),
            Node::Sequence(items) => {
                items.iter().enumerate().for_each(|(index, item)| item.collect(format!("{path}[{index}]"), entries));
            }
            Node::Mapping(pairs) => pairs.iter().for_each(|(key, value)| {
                let dot = if path.is_empty() { "" } else { "." };
                value.collect(format!("{path}{dot}{}", key.text), entries);
            }),
        }
    }

    /// As a block, each line a key or an item.
    pub fn written(&self) -> String {
        let mut text = String::new();
        match self {
            Node::Scalar(scalar) => text.extend([&*scalar.written(), "\n"]),
            _ if self.is_empty() => text.push_str("{}\n"),
            _ => self.write(0, &mut text),
        }
        text
    }

    fn is_empty(&self) -> bool {
        matches!(self, Node::Sequence(items) if items.is_empty())
            || matches!(self, Node::Mapping(pairs) if pairs.is_empty())
    }

    fn write(&self, indent: usize, text: &mut String) {
        let margin = " ".repeat(indent);
        let parts: Vec<(String, &Node)> = match self {
            Node::Scalar(_) => vec![],
            Node::Sequence(items) => items.iter().map(|item| ("-".to_owned(), item)).collect(),
            Node::Mapping(pairs) => pairs.iter().map(|(key, value)| (format!("{}:", key.written()), value)).collect(),
        };
        for (start, value) in parts {
            match value {
                Node::Scalar(scalar) => text.push_str(&format!("{margin}{start} {}", scalar.written())),
                Node::Sequence(items) if items.is_empty() => text.push_str(&format!("{margin}{start} []")),
                Node::Mapping(pairs) if pairs.is_empty() => text.push_str(&format!("{margin}{start} {{}}")),
                _ => {
                    let mut inner = String::new();
                    value.write(indent + 2, &mut inner);
                    // The first line of an item stands beside its dash.
                    let rest = if start == "-" { format!(" {}", &inner[indent + 2..]) } else { format!("\n{inner}") };
                    text.push_str(&format!("{margin}{start}{rest}"));
                    continue;
                }
            }
            text.push('\n');
        }
    }
}

impl Scalar {
    fn written(&self) -> Cow<'_, str> {
        if self.plain && !self.text.contains('\n') {
            Cow::Borrowed(&self.text)
        } else {
            Cow::Owned(yaml_quoted(&self.text))
        }
    }
}

fn node<'e>(event: Event<'e>, rest: &mut impl Iterator<Item = (Event<'e>, usize)>) -> Result<Node, String> {
    match event {
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some((event, _)) = rest.next().filter(|(event, _)| *event != Event::SequenceEnd) {
                items.push(node(event, rest)?);
            }
            Ok(Node::Sequence(items))
        }
        Event::MappingStart(..) => {
            let mut pairs: Vec<(Scalar, Node)> = Vec::new();
            while let Some((event, line)) = rest.next().filter(|(event, _)| *event != Event::MappingEnd) {
                let Event::Scalar(text, style, ..) = event else {
                    return Err(format!("line {line}: a key that is a list or a map"));
                };
                let key = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                if pairs.iter().any(|(other, _)| other.text == key.text) {
                    return Err(format!("line {line}: the key {} is there twice", key.text));
                }
                let (event, _) = rest.next().ok_or_else(|| format!("line {line}: a key without a value"))?;
                pairs.push((key, node(event, rest)?));
            }
            Ok(Node::Mapping(pairs))
        }
        Event::Scalar(text, style, ..) => {
            Ok(Node::Scalar(Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain }))
        }
        _ => Ok(Node::Sequence(vec![])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(base: &str, over: &str) -> String {
        Node::parse(base).unwrap().merged(Node::parse(over).unwrap()).written()
    }

    #[test]
    fn maps_are_merged_and_lists_and_scalars_replaced() {
        let base = "a:\n  b: 1\n  c: [1, 2]\nd: \"on\"\n";
        assert_eq!(merged(base, "a: {c: [3], e: on}\n"), "a:\n  b: 1\n  c:\n    - 3\n  e: on\nd: \"on\"\n");
        assert_eq!(merged(base, "a: 5"), "a: 5\nd: \"on\"\n");
        assert_eq!(merged(base, ""), "a:\n  b: 1\n  c:\n    - 1\n    - 2\nd: \"on\"\n");
    }

    #[test]
    fn a_null_takes_its_key_away() {
        assert_eq!(merged("a: 1\nb: 2\n", "a: null\nc: ~\nd: {e: }\n"), "b: 2\nd: {}\n");
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let texts = [
            "x: |\n  two\n  lines\ny: 'it''s: #'\nz: a long\n  plain\n",
            "- [[], {}]\n- - a\n  - b: ü\n    c:\n",
            "{}",
        ];
        for text in texts {
            let node = Node::parse(text).unwrap();
            assert_eq!(Node::parse(&node.written()).unwrap(), node, "{}", node.written());
        }
    }

    #[test]
    fn a_scalar_has_the_path_to_it() {
        let entries = Node::parse("a:\n  - b: x\n  - [y]\n").unwrap().entries();
        assert_eq!(entries, [("a[0].b".to_owned(), "x".to_owned()), ("a[1][0]".to_owned(), "y".to_owned())]);
    }

    #[test]
    fn what_cannot_be_laid_over_is_refused_with_its_line() {
        for (text, why) in [
            ("a: &x 1\nb: *x\n", "line 1: an anchor or a tag, which has no meaning here"),
            ("a: !!str 1\n", "line 1: an anchor or a tag, which has no meaning here"),
            ("a: 1\n---\nb: 2\n", "line 2: a second document"),
            ("a: 1\na: 2\n", "line 2: the key a is there twice"),
            ("? [a]\n: 1\n", "line 1: a key that is a list or a map"),
        ] {
            assert_eq!(Node::parse(text).unwrap_err(), why);
        }
        assert!(Node::parse("a: [1\n").is_err());
    }
}
