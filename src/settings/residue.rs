//! Text in a value that was meant for a tool on the way: quotes, comments, blanks, line ends, unexpanded references.
//!
//! `docker run --env-file` and Kubernetes hand over every byte; compose and shells do not. Pure; runs before a value is
//! typed, so that the cause is reported and not what it looks like to the type.

use super::{Addition, Loader, Source};
use crate::contract::{References, Variable};
use crate::report::Problem;
use crate::secrets::detect;
use crate::value::url_mistake;

const LETS_PASS: &str = "DL_ALLOW_INSECURE=1 lets this one pass";

/// Residue in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Residue<'t> {
    /// Enclosed in this mark.
    Quotes(char),
    /// ` # …` at the end.
    Comment,
    Newline,
    CarriageReturn,
    /// Blanks at one end.
    Blanks,
    /// `${NAME}`, `$(NAME)` or `$NAME`.
    Reference(&'t str),
}

/// Text that may stand in a value on purpose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Syntax {
    /// Words are quoted by whoever writes them.
    pub words: bool,
    /// Blanks around the value are dropped anyway.
    pub trimmed: bool,
    /// A generated secret may contain anything: within one, only what a shell's variable looks like is suspicious.
    pub secret: bool,
    pub references: References,
}

impl Syntax {
    /// That of a declared variable.
    fn of(variable: &Variable) -> Syntax {
        let kind = variable.kind.as_str();
        // A document has comments, quotes and lines of its own.
        let free = if matches!(kind, "json" | "yaml" | "properties") { References::Any } else { References::None };
        Syntax {
            words: kind == "words",
            trimmed: !matches!(kind, "string" | "secret"),
            secret: variable.is_secret(),
            references: variable.references.unwrap_or(free),
        }
    }

    /// That of a key no contract declares, whose reader is the service: it drops blanks, or the file's format does,
    /// where they cannot be part of a secret.
    pub(super) fn of_key(references: References, secret: bool) -> Syntax {
        Syntax { words: false, trimmed: !secret, secret, references }
    }
}

/// The first thing found that no reader of the value would want.
pub(super) fn residue(text: &str, syntax: Syntax) -> Option<Residue<'_>> {
    if syntax.references == References::Any {
        return None;
    }
    residue_of_line(text, syntax).or_else(|| unexpanded(text, syntax).map(Residue::Reference))
}

fn residue_of_line(text: &str, syntax: Syntax) -> Option<Residue<'_>> {
    let line = text.trim_end_matches(['\r', '\n']);
    let one_line = !line.contains('\n');
    if let Some(mark) = enclosing_quotes(line.trim()).filter(|_| !syntax.words || is_a_list_in_quotes(line.trim())) {
        return Some(Residue::Quotes(mark));
    }
    if one_line && (line.contains(" #") || line.contains("\t#")) {
        return Some(Residue::Comment);
    }
    if syntax.trimmed || !one_line {
        return None;
    }
    match text {
        text if text.ends_with('\n') => Some(Residue::Newline),
        text if text.ends_with('\r') => Some(Residue::CarriageReturn),
        text if text.trim_matches([' ', '\t']).len() != text.len() => Some(Residue::Blanks),
        _ => None,
    }
}

/// The mark that opens and closes the whole text and stands nowhere within it.
fn enclosing_quotes(text: &str) -> Option<char> {
    let mark = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let within = text.strip_prefix(mark)?.strip_suffix(mark)?;
    (!within.contains(mark)).then_some(mark)
}

/// Several options quoted as one: `"-Xmx1g -Xlog:gc"`, but not `"-Dname=two words"`.
fn is_a_list_in_quotes(text: &str) -> bool {
    text.contains(" -") || text.contains(" /") || text.contains(" http")
}

/// The first reference that whatever reads the value does not resolve.
fn unexpanded(text: &str, Syntax { references, secret, .. }: Syntax) -> Option<&str> {
    if !text.contains('$') {
        return None;
    }
    if text.strip_prefix('$').is_some_and(is_shouted) {
        return Some(text);
    }
    let starts = text.match_indices('$').map(|(start, _)| &text[start..]);
    let meant = |found: &&str| *found == text || is_a_variable(found, secret);
    starts.filter_map(reference).find(|found| meant(found) && !is_resolved(found, references))
}

/// Within a longer text: not a provider's form, which no shell writes, and in a secret only a name in capitals.
fn is_a_variable(reference: &str, secret: bool) -> bool {
    let Some(inside) = reference.strip_prefix("${") else { return true };
    let inside = inside.trim_end_matches('}');
    let name = inside.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default();
    !is_of_provider(inside) && (!secret || is_shouted(name))
}

/// `$NAME` alone is a reference in capitals only: `$pass` may be a password.
fn is_shouted(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase() || c == '_')
        && name.len() > 1
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The `${…}` or `$(…)` that a text begins with.
fn reference(text: &str) -> Option<&str> {
    let close = match text.as_bytes().get(1)? {
        b'{' => '}',
        b'(' => ')',
        _ => return None,
    };
    let end = text.find(close)?;
    let inside = &text[2..end];
    let named = inside.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    named.then(|| &text[..=end])
}

/// Airlift resolves `${provider:key}` and gives `${USER}` to what authenticates; SmallRye Config resolves `${key}`.
fn is_resolved(reference: &str, references: References) -> bool {
    let Some(inside) = reference.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else { return false };
    match references {
        References::None => false,
        References::Any | References::Smallrye => true,
        References::Airlift => inside == "USER" || is_of_provider(inside),
    }
}

/// `ENV:NAME`, and not a shell's `NAME:-default`.
fn is_of_provider(inside: &str) -> bool {
    inside.split_once(':').is_some_and(|(_, key)| !key.is_empty() && !key.starts_with(['-', '=', '?', '+']))
}

impl Residue<'_> {
    /// The problem, as a predicate of the variable. The text of a secret is not quoted.
    fn what(&self, secret: bool) -> String {
        match self {
            Residue::Quotes('"') => "is enclosed in double quotation marks, which become part of the value".into(),
            Residue::Quotes(_) => "is enclosed in single quotation marks, which become part of the value".into(),
            Residue::Comment => "ends in a comment (\" # …\"), which becomes part of the value".into(),
            Residue::Newline => "ends in a newline, which becomes part of the value".into(),
            Residue::CarriageReturn => "ends in a carriage return, which becomes part of the value".into(),
            Residue::Blanks => "begins or ends with a blank, which becomes part of the value".into(),
            Residue::Reference(_) if secret => "contains a reference that nothing expanded, ${…} or $(…)".into(),
            Residue::Reference(text) => format!("contains {text}, which nothing expanded"),
        }
    }

    fn accepted(&self) -> &'static str {
        match self {
            Residue::Quotes(_) | Residue::Comment => {
                "the value alone: docker run --env-file keeps quotes and comments, compose strips them"
            }
            Residue::Newline => "the value alone: printf %s in place of echo, where it is encoded or written to a file",
            Residue::CarriageReturn => "lines that end with a newline alone, not as on Windows",
            Residue::Blanks => "the value without blanks around it",
            Residue::Reference(_) => {
                "the value itself: ${NAME} is expanded by a shell or compose, $(NAME) by Kubernetes, from variables \
                 set there"
            }
        }
    }
}

impl Loader<'_> {
    /// Reports what is left in the value of a declared variable. Whether the value may be used all the same.
    pub(super) fn is_clean(&mut self, name: &str, variable: &Variable, text: &str, source: &str) -> bool {
        let Some(found) = residue(text, Syntax::of(variable)) else { return true };
        if !variable.is_secret() {
            self.problems.push(Problem::error(name, found.what(false)).accepted(found.accepted()).from_source(source));
            return false;
        }
        let accepted = format!("{}; {LETS_PASS}", found.accepted());
        self.push_insecure(Problem::error(name, found.what(true)).accepted(accepted).from_source(source));
        self.options.allow_insecure
    }

    /// The same for a key that no contract declares.
    pub(super) fn examine_key(&mut self, key: &str, addition: &Addition, references: References) {
        let Addition { variable, value, secret } = addition;
        let found = residue(value, Syntax::of_key(references, *secret));
        let (what, accepted) = match (&found, url_mistake(value)) {
            (Some(found), _) => (found.what(*secret), found.accepted()),
            (None, Some(what)) => (what, "a host of letters, digits, hyphens and dots"),
            (None, None) => return,
        };
        // A variable of many lines sets many keys.
        let is_whole = self.environment.get(variable).is_some_and(|text| text == value.as_str());
        let place = if is_whole { String::new() } else { format!("sets {key} to a value that ") };
        let problem = Problem::error(variable, place + &what).from_source(self.source_of(variable));
        if *secret {
            self.push_insecure(problem.accepted(format!("{accepted}; {LETS_PASS}")));
        } else {
            self.problems.push(problem.accepted(accepted));
        }
    }

    /// The same for a variable that is passed on to a service that takes it as it is. Whether nothing was found.
    pub(super) fn is_clean_as_passed(&mut self, name: &str) -> bool {
        let Some(text) = self.environment.get(name).and_then(|text| text.to_str()).map(str::to_owned) else {
            return true;
        };
        let (secret, before) = (detect::is_secret(name, &text), self.problems.len());
        self.examine_key(name, &Addition { variable: name.to_owned(), value: text, secret }, References::None);
        self.problems.len() == before
    }

    /// A variable is set twice in the same env file: the last one counts.
    pub(super) fn report_twice(&mut self) {
        let twice: Vec<Problem> = self
            .environment
            .set_twice()
            .map(|(name, lines)| {
                let lines = lines.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let message = format!("is set more than once, with different values: {lines}; the last one counts");
                Problem::warning(name, message).accepted("one line for each variable")
            })
            .collect();
        self.problems.extend(twice);
    }

    /// Where the value of a declared variable came from, with the line of an env file.
    pub(super) fn told(&self, name: &str, source: &Source) -> String {
        match source {
            Source::Environment => self.source_of(name),
            Source::Alias(old) => format!("{}, as {old}", self.source_of(old)),
            source => source.to_string(),
        }
    }

    /// `prod.env:7`, or `environment`.
    pub(super) fn source_of(&self, variable: &str) -> String {
        self.environment.line_of(variable).map_or_else(|| "environment".into(), ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRING: Syntax = Syntax { words: false, trimmed: false, secret: false, references: References::None };

    fn found(text: &str) -> Option<Residue<'_>> {
        residue(text, STRING)
    }

    #[test]
    fn quotes_around_a_whole_value_are_found_and_others_are_the_values_own() {
        assert_eq!(found("\"10.0.0.1:389\""), Some(Residue::Quotes('"')));
        assert_eq!(found("'x' "), Some(Residue::Quotes('\'')));
        for own in ["\"a\" and \"b\"", "'op' in ['a']", "\"", "it's", "a\"b\""] {
            assert_eq!(found(own), None, "{own}");
        }
        let words = Syntax { words: true, trimmed: true, ..STRING };
        assert_eq!(residue("\"-Xmx1g -Xlog:gc\"", words), Some(Residue::Quotes('"')));
        assert_eq!(residue("\"-Dname=two words\"", words), None);
    }

    #[test]
    fn comments_blanks_and_line_ends_are_found_where_the_value_would_keep_them() {
        assert_eq!(found("prod # cluster"), Some(Residue::Comment));
        assert_eq!(found("prod#1"), None);
        assert_eq!(found("prod\n"), Some(Residue::Newline));
        assert_eq!(found("prod\r"), Some(Residue::CarriageReturn));
        assert_eq!(found(" prod"), Some(Residue::Blanks));
        assert_eq!(found("-----BEGIN X-----\nAA # B\n"), None, "several lines are meant");
        let number = Syntax { trimmed: true, ..STRING };
        assert_eq!(residue("8080\r\n", number), None);
        assert_eq!(residue("8080 # port", number), Some(Residue::Comment));
        let document = Syntax { references: References::Any, ..STRING };
        assert_eq!(residue("a: \"b\" # ${c}\n", document), None);
    }

    #[test]
    fn references_that_nobody_resolves_are_found_anywhere() {
        for (text, reference) in [
            ("http://${COORD}:8080", "${COORD}"),
            ("s3://$(BUCKET)/wh", "$(BUCKET)"),
            ("${A:-b}", "${A:-b}"),
            ("x_$(openssl rand -hex 12)", "$(openssl rand -hex 12)"),
            ("$HOST", "$HOST"),
            ("${ENV:KEY}", "${ENV:KEY}"),
        ] {
            assert_eq!(found(text), Some(Residue::Reference(reference)), "{text}");
        }
        for own in ["a${ENV:HOME}", "$pass", "$2y$10$abc", "a$(", "^$", "${}", "pa$$word", "$1"] {
            assert_eq!(found(own), None, "{own}");
        }
    }

    #[test]
    fn a_generated_secret_is_not_taken_for_a_reference() {
        let secret = Syntax { secret: true, ..STRING };
        assert_eq!(residue("a$1${x}$${y:z}", secret), None);
        assert_eq!(residue("a${DB_PASSWORD}b", secret), Some(Residue::Reference("${DB_PASSWORD}")));
        assert_eq!(residue("${password}", secret), Some(Residue::Reference("${password}")));
    }

    #[test]
    fn references_that_the_reader_resolves_are_its_own() {
        let is_free = |text, references| residue(text, Syntax::of_key(references, false)).is_none();
        assert!(is_free("${ENV:KEY}", References::Airlift) && is_free("${USER}@corp", References::Airlift));
        assert!(!is_free("${KEY}", References::Airlift) && !is_free("${KEY:-x}", References::Airlift));
        assert!(is_free("${key:default}", References::Smallrye) && !is_free("$(KEY)", References::Smallrye));
        assert!(is_free("$(KEY)", References::Any));
    }
}
