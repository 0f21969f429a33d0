//! XML 1.0: element text and attribute values, written so that both read the same.

use super::{Entry, ParseError};

pub(super) fn escape(value: &str) -> Result<String, &'static str> {
    let mut escaped = String::with_capacity(value.len() + 8);
    for c in value.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&apos;"),
            // A reader makes a raw line break in an attribute a blank, and any \r a \n.
            '\n' | '\r' | '\t' => escaped.push_str(&format!("&#{};", c as u32)),
            // XML 1.0, production [2] Char.
            '\0'..='\u{1f}' => return Err("a control character"),
            '\u{fffe}' | '\u{ffff}' => return Err("a character that is none"),
            c => escaped.push(c),
        }
    }
    Ok(escaped)
}

/// One entry per element with its text, and per attribute, by path: `/configuration/property[2]/@name`.
pub(super) fn parse(text: &str) -> Result<Vec<Entry>, ParseError> {
    let document = roxmltree::Document::parse(text)
        .map_err(|error| ParseError { line: error.pos().row as usize, message: error.to_string() })?;
    let mut entries = Vec::new();
    walk(&document.root(), "", &mut entries);
    Ok(entries)
}

fn walk(node: &roxmltree::Node, path: &str, entries: &mut Vec<Entry>) {
    for (index, child) in node.children().enumerate().filter(|(_, child)| child.is_element()) {
        let path = format!("{path}/{}[{index}]", child.tag_name().name());
        // An element without text says so too: otherwise an empty value would be no entry at all.
        let text: String = child.children().filter_map(|part| part.text().filter(|_| part.is_text())).collect();
        entries.push(Entry { key: path.clone(), value: text, lines: 0..0 });
        for attribute in child.attributes() {
            let key = format!("{path}/@{}", attribute.name());
            entries.push(Entry { key, value: attribute.value().to_owned(), lines: 0..0 });
        }
        walk(&child, &path, entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_are_found_by_their_path() {
        let entries = parse("<c><p name=\"x&#10;\">v&amp;</p></c>").unwrap();
        let pairs: Vec<(&str, &str)> = entries.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        assert_eq!(pairs, [("/c[0]", ""), ("/c[0]/p[0]", "v&"), ("/c[0]/p[0]/@name", "x\n")]);
        assert!(parse("<c>").is_err());
    }
}
