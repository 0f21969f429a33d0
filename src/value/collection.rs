//! Texts of many parts: lists, words, JSON, YAML and properties.

use super::{JsonShape, Rejection, Value, ValueType};

pub(super) fn parse_list(
    text: &str,
    item: &ValueType,
    reject: &impl Fn(&str) -> Rejection,
) -> Result<Value, Rejection> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let number_and_value = |(index, word)| {
        item.parse(word)
            .map_err(|why: Rejection| reject(&format!("has an item (number {}) that {}", index + 1, why.what)))
    };
    words.enumerate().map(number_and_value).collect::<Result<Vec<_>, _>>().map(Value::List)
}

/// Splits as a shell does (POSIX 2.2 Quoting), expanding nothing; `None` where a quote is left open.
pub fn split_words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_whitespace() => words.extend(word.take()),
            '\'' => {
                let current = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '\'' => break,
                        c => current.push(c),
                    }
                }
            }
            '"' => {
                let current = word.get_or_insert_default();
                loop {
                    match chars.next()? {
                        '"' => break,
                        '\\' => match chars.next()? {
                            c @ ('"' | '\\' | '$' | '`') => current.push(c),
                            c => current.extend(['\\', c]),
                        },
                        c => current.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next()?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}

pub(super) fn parse_json(text: &str, shape: JsonShape) -> Result<serde_json::Value, String> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| format!("is not JSON (line {}, column {})", error.line(), error.column()))?;
    match shape {
        JsonShape::Object if !value.is_object() => Err("is JSON, but not an object".into()),
        JsonShape::Array if !value.is_array() => Err("is JSON, but not an array".into()),
        _ => Ok(value),
    }
}

pub(super) fn check_yaml(text: &str) -> Result<(), String> {
    let mut parser = saphyr_parser::Parser::new_from_str(text);
    let broken = parser.find_map(Result::err);
    broken.map_or(Ok(()), |error| Err(format!("is not YAML (line {})", error.marker().line())))
}

/// Lines of `key=value` (or `key: value`); blank lines and lines starting with `#` or `!` are left out. Values are
/// literal: no backslash escapes, so that what an operator types is what the service gets.
pub(super) fn parse_properties(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let (key, value) = line.split_once(['=', ':']).ok_or_else(|| format!("has no = in line {}", index + 1))?;
        let key = key.trim_end();
        if key.is_empty() {
            return Err(format!("has no key in line {}", index + 1));
        }
        if pairs.iter().any(|(earlier, _)| earlier == key) {
            return Err(format!("has a key twice, again in line {}", index + 1));
        }
        pairs.push((key.to_owned(), value.trim_start().to_owned()));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_split_as_a_shell_splits_them_and_expand_nothing() {
        assert_eq!(split_words(r#"--a "b c" 'd$e' f\ g"#).unwrap(), ["--a", "b c", "d$e", "f g"]);
        assert_eq!(split_words(""), Some(vec![]));
        assert_eq!(split_words("'open"), None);
    }

    #[test]
    fn a_list_that_is_set_has_an_item() {
        let list = ValueType::List { item: Box::new(ValueType::Identifier) };
        for text in [",", " ", " , ,", "\t"] {
            assert_eq!(list.parse(text).unwrap_err().what, "has no item in it", "{text:?}");
        }
        assert_eq!(list.parse("a,,b").unwrap(), Value::List(vec![Value::Text("a".into()), Value::Text("b".into())]));
        assert_eq!(ValueType::Words.parse(" ").unwrap_err().what, "has no word in it");
        assert_eq!(ValueType::Words.parse("''").unwrap(), Value::List(vec![Value::Text(String::new())]));
    }

    #[test]
    fn a_document_that_must_be_an_object_is_one() {
        let what = |shape, text| ValueType::Json { shape }.parse(text).err().map(|why| why.what);
        for text in ["[]", "null", "5", "\"x\"", "false"] {
            assert_eq!(what(JsonShape::Object, text).as_deref(), Some("is JSON, but not an object"), "{text}");
            assert_eq!(what(JsonShape::Any, text), None, "{text}");
        }
        assert_eq!(what(JsonShape::Object, "{}"), None);
        assert_eq!(what(JsonShape::Array, "[]"), None);
        assert_eq!(what(JsonShape::Array, "{}").as_deref(), Some("is JSON, but not an array"));
    }

    #[test]
    fn properties_are_literal_and_refuse_a_key_twice() {
        let pairs = parse_properties("# x\na.b = c:d \\n\n\nkey:v=w\n").unwrap();
        assert_eq!(pairs, [("a.b".to_owned(), "c:d \\n".to_owned()), ("key".to_owned(), "v=w".to_owned())]);
        assert_eq!(parse_properties("a=1\na=2"), Err("has a key twice, again in line 2".into()));
        assert_eq!(parse_properties("nothing"), Err("has no = in line 1".into()));
    }
}
