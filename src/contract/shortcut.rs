//! Expressions as most contracts have them, evaluated without Tera: plain text, `{{ name }}`, `{% if … %}`, and
//! conditions of names joined by `and`, `or` and `not`.
//!
//! Tera parses an expression each time, which costs a hundred times what a name's look-up does. What is left over is
//! asked of Tera part by part, through `Rest`, and not at all where the parts before it decide. `None` is for Tera as a
//! whole: what is written in another way, and whatever fails, so that its message is the same.

use tera::{Context, Value};

/// The parts of an expression that need Tera: a template of its own → its text, `None` where it fails.
pub(super) type Rest<'r> = &'r dyn Fn(&str) -> Option<String>;

/// The text of a template.
pub(super) fn text(template: &str, context: &Context, rest: Rest) -> Option<String> {
    let (mut printed, mut after) = (String::new(), template);
    let mut open: Vec<Branch> = Vec::new();
    while let Some((plain, tag, next)) = next_tag(after)? {
        let shown = open.iter().all(|branch| *branch == Branch::Shown);
        if shown {
            printed.push_str(plain);
        }
        match tag {
            Tag::Print(whole) if shown => printed.push_str(&printed_value(whole, context, rest)?),
            Tag::Print(_) => {}
            Tag::Statement(statement) => take_statement(statement, &mut open, context, rest)?,
        }
        after = next;
    }
    printed.push_str(after);
    open.is_empty().then_some(printed)
}

/// Whether a condition holds.
pub(super) fn holds(condition: &str, context: &Context, rest: Rest) -> Option<bool> {
    let condition = condition.trim();
    let alternatives = split(condition, "or")?;
    if let [first, others @ ..] = &alternatives[..]
        && !others.is_empty()
    {
        return first_that(true, first, others, context, rest);
    }
    let conditions = split(condition, "and")?;
    if let [first, others @ ..] = &conditions[..]
        && !others.is_empty()
    {
        return first_that(false, first, others, context, rest);
    }
    if let Some(negated) = after_word(condition, "not") {
        return holds(negated, context, rest).map(|held| !held);
    }
    match condition.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')) {
        Some(inner) if split(inner, "").is_some() => holds(inner, context, rest),
        _ => atom(condition, context, rest),
    }
}

/// One branch of an `if`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Branch {
    Shown,
    /// None of the branches so far held.
    Waiting,
    /// One before it held, or the `if` itself is not shown.
    Over,
}

enum Tag<'t> {
    /// `{{ … }}` as it stands.
    Print(&'t str),
    /// The inside of `{% … %}`.
    Statement(&'t str),
}

/// The text before the next tag, the tag, and what follows it; `None` for tags that are written in a rare way.
#[allow(clippy::option_option)]
fn next_tag(text: &str) -> Option<Option<(&str, Tag<'_>, &str)>> {
    let starts = text.match_indices('{').map(|(start, _)| start);
    let tag = |start: &usize| text[start + 1..].starts_with(['{', '%', '#']);
    let Some(start) = starts.into_iter().find(tag) else { return Some(None) };
    let end = match text.as_bytes()[start + 1] {
        b'{' => "}}",
        b'%' => "%}",
        _ => return None,
    };
    let length = text[start + 2..].find(end)?;
    let (whole, next) = text[start..].split_at(length + 4);
    let inner = &whole[2..length + 2];
    if inner.starts_with(['-', '{']) || inner.ends_with('-') || next.starts_with('}') {
        return None;
    }
    let tag = if end == "}}" { Tag::Print(whole) } else { Tag::Statement(inner.trim()) };
    Some(Some((&text[..start], tag, next)))
}

fn take_statement(statement: &str, open: &mut Vec<Branch>, context: &Context, rest: Rest) -> Option<()> {
    let branch_of = |condition: &str| -> Option<Branch> {
        Some(if holds(condition, context, rest)? { Branch::Shown } else { Branch::Waiting })
    };
    if let Some(condition) = after_word(statement, "if") {
        let shown = open.iter().all(|branch| *branch == Branch::Shown);
        open.push(if shown { branch_of(condition)? } else { Branch::Over });
        return Some(());
    }
    let last = open.pop()?;
    if let Some(condition) = after_word(statement, "elif") {
        open.push(if last == Branch::Waiting { branch_of(condition)? } else { Branch::Over });
    } else if statement == "else" {
        open.push(if last == Branch::Waiting { Branch::Shown } else { Branch::Over });
    } else if statement != "endif" {
        return None;
    }
    Some(())
}

fn printed_value(whole: &str, context: &Context, rest: Rest) -> Option<String> {
    let inner = whole[2..whole.len() - 2].trim();
    match named(inner, context) {
        Named::Value(value) if !value.is_none() => Some(value.to_string()),
        _ => rest(whole),
    }
}

/// Whether the first that is `decisive` among the conditions, in order, is there; what follows it is not asked.
fn first_that(decisive: bool, first: &str, others: &[&str], context: &Context, rest: Rest) -> Option<bool> {
    for condition in std::iter::once(&first).chain(others) {
        if holds(condition, context, rest)? == decisive {
            return Some(decisive);
        }
    }
    Some(!decisive)
}

/// A condition without `and`, `or` and `not`.
fn atom(condition: &str, context: &Context, rest: Rest) -> Option<bool> {
    let by_tera = || rest(&super::expression::condition_template(condition)).map(|text| text == "1");
    if let Some(name) = condition.strip_suffix(" is defined") {
        return match named(name.trim(), context) {
            Named::Value(_) => Some(true),
            Named::Absent => Some(false),
            Named::Other => by_tera(),
        };
    }
    if let Some((name, text)) = condition.split_once(" == ")
        && let (Named::Value(value), Some(text)) = (named(name.trim(), context), quoted(text.trim()))
    {
        return Some(value.as_str() == Some(text));
    }
    if let Some((name, text)) = condition.split_once(" != ")
        && let (Named::Value(value), Some(text)) = (named(name.trim(), context), quoted(text.trim()))
    {
        return Some(value.as_str() != Some(text));
    }
    match (condition, named(condition, context)) {
        ("true", _) => Some(true),
        ("false", _) => Some(false),
        (_, Named::Value(value)) => Some(value.is_truthy()),
        (_, Named::Absent) => Some(false),
        (_, Named::Other) => by_tera(),
    }
}

enum Named<'c> {
    Value(&'c Value),
    /// Undefined, where that is no mistake.
    Absent,
    /// No name.
    Other,
}

/// The value of `name` or `name.field`.
fn named<'c>(path: &'c str, context: &'c Context) -> Named<'c> {
    const RESERVED: [&str; 13] =
        ["true", "True", "false", "False", "loop", "self", "and", "or", "not", "is", "in", "none", "None"];
    let is_name = |part: &str| {
        !part.is_empty()
            && part.bytes().all(in_word)
            && !part.as_bytes()[0].is_ascii_digit()
            && !part.starts_with("__")
            && !RESERVED.contains(&part)
            && !["null", "continue", "break"].contains(&part)
    };
    let (name, field) = path.split_once('.').map_or((path, None), |(name, field)| (name, Some(field)));
    if !is_name(name) || !field.is_none_or(is_name) {
        return Named::Other;
    }
    match (context.get(name).filter(|value| !value.is_undefined()), field) {
        (None, None) => Named::Absent,
        // The field of what is not there is a mistake.
        (None, Some(_)) => Named::Other,
        (Some(value), None) => Named::Value(value),
        (Some(value), Some(_)) if value.as_map().is_none() => Named::Other,
        (Some(value), Some(field)) => value.get_from_path(field).map_or(Named::Absent, Named::Value),
    }
}

/// The text in quotes that hold nothing to be told apart.
fn quoted(text: &str) -> Option<&str> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    (!inner.contains([quote, '\\'])).then_some(inner)
}

/// The parts between a word that stands outside of brackets and quotes; `None` where that cannot be told.
fn split<'c>(condition: &'c str, word: &str) -> Option<Vec<&'c str>> {
    let bytes = condition.as_bytes();
    let (mut parts, mut begun, mut depth, mut at) = (Vec::new(), 0, 0usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => return None,
            quote @ (b'"' | b'\'' | b'`') => at += 1 + condition[at + 1..].bytes().position(|byte| byte == quote)?,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.checked_sub(1)?,
            byte if in_word(byte) => {
                let end = at + condition[at..].bytes().position(|byte| !in_word(byte)).unwrap_or(bytes.len() - at);
                match &condition[at..end] {
                    // Of lower rank than `or`.
                    "if" | "else" | "for" => return None,
                    found if found == word && depth == 0 => {
                        parts.push(&condition[begun..at]);
                        begun = end;
                    }
                    _ => {}
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    parts.push(&condition[begun..]);
    (depth == 0).then_some(parts)
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn after_word<'c>(text: &'c str, word: &str) -> Option<&'c str> {
    text.strip_prefix(word).filter(|rest| rest.bytes().next().is_some_and(|byte| !in_word(byte)))
}
