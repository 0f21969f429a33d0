//! Which schemas PostgreSQL looks in after the statements of a new connection, where they are plain settings.
//!
//! Pure. Reads `SET` and nothing that may be more than it looks like: what is not understood makes the path unknown.
//! PostgreSQL documentation: "SET", "4.1. Lexical Structure"; the path is written as `search_path` itself is.

/// Names after SET with which more than one parameter changes, or not for the whole connection.
const UNKNOWN: [&str; 5] = ["local", "role", "authorization", "constraints", "schema"];

#[derive(Debug, PartialEq)]
enum Token {
    Word(String),
    /// A name in quotation marks, with them.
    Name(String),
    /// A text, without its apostrophes.
    Text(String),
    Sign(char),
}

/// `None`: the statements may do anything to the path. `Some(None)`: they leave it alone.
pub fn of_statements(statements: &str) -> Option<Option<String>> {
    let tokens = tokens(statements)?;
    let mut path = None;
    for statement in tokens.split(|token| *token == Token::Sign(';')) {
        path = of_statement(statement)?.or(path);
    }
    Some(path)
}

fn of_statement(statement: &[Token]) -> Option<Option<String>> {
    let rest = match statement {
        [] => return Some(None),
        [select, Token::Word(number)] if is(select, "select") && number.parse::<u32>().is_ok() => return Some(None),
        [set, session, rest @ ..] if is(set, "set") && is(session, "session") => rest,
        [set, rest @ ..] if is(set, "set") => rest,
        _ => return None,
    };
    match rest {
        [path, equals, list @ ..] if is(path, "search_path") && (*equals == Token::Sign('=') || is(equals, "to")) => {
            list_of(list).map(Some)
        }
        [schema, name @ Token::Text(_)] if is(schema, "schema") => name_of(name).map(Some),
        [Token::Word(name), _, ..] => {
            let name = name.to_lowercase();
            (name != "search_path" && !UNKNOWN.contains(&name.as_str())).then_some(None)
        }
        _ => None,
    }
}

fn list_of(list: &[Token]) -> Option<String> {
    let names: Option<Vec<String>> = list.split(|token| *token == Token::Sign(',')).map(only_name).collect();
    names.map(|names| names.join(", "))
}

fn only_name(item: &[Token]) -> Option<String> {
    if let [name] = item { name_of(name) } else { None }
}

fn name_of(token: &Token) -> Option<String> {
    match token {
        Token::Word(word) if word.eq_ignore_ascii_case("default") || word.starts_with(|c: char| c.is_numeric()) => None,
        Token::Word(name) | Token::Name(name) => Some(name.clone()),
        Token::Text(text) => Some(format!("\"{}\"", text.replace('"', "\"\""))),
        Token::Sign(_) => None,
    }
}

fn is(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(other) if other.eq_ignore_ascii_case(word))
}

/// `None`: there is something only PostgreSQL reads right, such as a comment, an escape or an open quotation.
fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' | '"' => quoted(rest, first)?,
            _ if is_of_word(first) => rest.find(|c| !is_of_word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        match first {
            '\'' => tokens.push(Token::Text(token[1..length - 1].replace("''", "'"))),
            '"' => tokens.push(Token::Name(token.to_owned())),
            ';' | ',' | '=' => tokens.push(Token::Sign(first)),
            _ if is_of_word(first) => tokens.push(Token::Word(token.to_owned())),
            _ if first.is_whitespace() => {}
            _ => return None,
        }
        rest = after;
    }
    Some(tokens)
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

/// Length of a quotation, in which a doubled mark stands for one.
fn quoted(text: &str, mark: char) -> Option<usize> {
    let mut at = 1;
    loop {
        at += text[at..].find(mark)? + 1;
        match text[at..].starts_with(mark) {
            true => at += 1,
            false => return (!text[..at].contains('\\')).then_some(at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(path: &str) -> Option<Option<String>> {
        Some(Some(path.to_owned()))
    }

    #[test]
    fn a_path_is_read_from_plain_settings_as_the_parameter_itself_has_it() {
        assert_eq!(of_statements("SET search_path TO lake"), known("lake"));
        assert_eq!(
            of_statements(" set session SEARCH_PATH='The Lake', \"$user\",public ; "),
            known("\"The Lake\", \"$user\", public")
        );
        assert_eq!(of_statements("SET SCHEMA 'it''s'"), known("\"it's\""));
        assert_eq!(of_statements("SET search_path = 'a\"b'"), known("\"a\"\"b\""));
        assert_eq!(of_statements("SET search_path = a; SET statement_timeout = '5s'; SET search_path = b"), known("b"));
    }

    #[test]
    fn other_settings_leave_the_path_alone() {
        for statement in ["", "SELECT 1", "SET statement_timeout TO 5000", "SET TIME ZONE 'UTC';select 1;"] {
            assert_eq!(of_statements(statement), Some(None), "{statement}");
        }
    }

    #[test]
    fn what_is_not_a_plain_setting_makes_the_path_unknown() {
        let statements = [
            "SELECT choose_schema()",
            "SET search_path TO DEFAULT",
            "SET search_path",
            "SET search_path = a b",
            "SET search_path = a,",
            "SET LOCAL search_path = a",
            "SET ROLE nessie",
            "SET SESSION AUTHORIZATION nessie",
            "SET search_path = E'a'",
            "SET search_path = 'a\\b'",
            "SET search_path = 'a",
            "SET search_path = a -- b",
            "RESET search_path",
            "SET schema",
        ];
        for statement in statements {
            assert_eq!(of_statements(statement), None, "{statement}");
        }
    }
}
