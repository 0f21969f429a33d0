//! Problems with the environment: all of them, at once, in words an operator can act on.
//!
//! A problem names the variable, what is wrong, what is accepted and where the value came from. It never holds the
//! value: an operator can look that up, and a secret must not be printed.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The service does not start.
    Error,
    /// It starts.
    Warning,
    /// It starts, and what was done with a variable is worth knowing.
    Notice,
}

/// One thing wrong with one variable, or between some.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Names, separated by a comma and a blank.
    pub variable: String,
    pub severity: Severity,
    /// The problem, as a predicate of the variable: "is not a port".
    pub message: String,
    pub accepted: Option<String>,
    /// "environment", the file's path, "default".
    pub source: Option<String>,
    /// The status this problem alone would end with.
    #[serde(skip)]
    pub status: u8,
}

impl Problem {
    /// A problem that stops the service.
    pub fn error(variable: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem::of(Severity::Error, variable, message)
    }

    /// A problem that does not.
    pub fn warning(variable: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem::of(Severity::Warning, variable, message)
    }

    /// Something done that is worth knowing.
    pub fn notice(variable: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem::of(Severity::Notice, variable, message)
    }

    fn of(severity: Severity, variable: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            variable: variable.into(),
            severity,
            message: message.into(),
            accepted: None,
            source: None,
            status: crate::exit::CONTRACT,
        }
    }

    /// The accepted values.
    pub fn accepted(mut self, accepted: impl Into<String>) -> Problem {
        self.accepted = Some(accepted.into()).filter(|text| !text.is_empty());
        self
    }

    /// Where the value came from.
    pub fn from_source(mut self, source: impl Into<String>) -> Problem {
        self.source = Some(source.into());
        self
    }

    /// The problem on one line.
    pub fn line(&self) -> String {
        format!("{} {}", one_line(&self.variable), one_line(&self.message))
    }

    /// Ends with another status than that of the contract.
    pub fn with_status(mut self, status: u8) -> Problem {
        self.status = status;
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.line())?;
        if let Some(accepted) = &self.accepted {
            write!(f, "\n     accepted: {}", one_line(accepted))?;
        }
        if let Some(source) = &self.source {
            write!(f, "\n     from: {}", one_line(source))?;
        }
        Ok(())
    }
}

/// The text with everything escaped that would end its line or steer a terminal: names, paths and some values are an
/// operator's, and none of them may look like a line of the report.
fn one_line(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let escaped = |c: char| if steers(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escaped).collect())
}

/// Whether anything in the list stops the service.
pub fn has_errors(problems: &[Problem]) -> bool {
    problems.iter().any(|problem| problem.severity == Severity::Error)
}

/// The status to end with: the contract's, unless every error agrees on another.
pub fn status(problems: &[Problem]) -> u8 {
    let mut statuses =
        problems.iter().filter(|problem| problem.severity == Severity::Error).map(|problem| problem.status);
    let first = statuses.next().unwrap_or(crate::exit::CONTRACT);
    if statuses.all(|status| status == first) { first } else { crate::exit::CONTRACT }
}

/// The whole report, for people: numbered errors, then warnings and notices.
pub fn text(service: &str, problems: &[Problem]) -> String {
    let count = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let headline = match (count(Severity::Error), count(Severity::Warning)) {
        (0, 0) => format!("{service}: environment is valid"),
        (0, warnings) => format!("{service}: environment is valid, with {}", several(warnings, "warning")),
        (errors, 0) => format!("{service}: environment has {}", several(errors, "problem")),
        (errors, warnings) => {
            let (errors, warnings) = (several(errors, "problem"), several(warnings, "warning"));
            format!("{service}: environment has {errors} and {warnings}")
        }
    };
    let mut lines = vec![headline];
    for severity in [Severity::Error, Severity::Warning, Severity::Notice] {
        let label = if severity == Severity::Error { "" } else { severity_name(severity) };
        for (index, problem) in problems.iter().filter(|problem| problem.severity == severity).enumerate() {
            let mark = if label.is_empty() { format!("{:>3}.", index + 1) } else { format!("  {label}:") };
            lines.push(format!("{mark} {problem}"));
        }
    }
    lines.join("\n")
}

/// `error`, `warning`, `notice`.
pub fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Notice => "notice",
    }
}

fn several(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_numbers_the_errors_and_says_what_is_accepted_and_where_it_came_from() {
        let problems = [
            Problem::error("A_PORT", "is not a port").accepted("a port, 1 to 65535").from_source("environment"),
            Problem::warning("A_PROT", "is not a variable of a: did you mean A_PORT?"),
            Problem::error("B", "is required"),
        ];
        assert_eq!(
            text("a", &problems),
            "a: environment has 2 problems and 1 warning\n  \
             1. A_PORT is not a port\n     accepted: a port, 1 to 65535\n     from: environment\n  \
             2. B is required\n  \
             warning: A_PROT is not a variable of a: did you mean A_PORT?"
        );
        assert_eq!(status(&problems), crate::exit::CONTRACT);
    }

    #[test]
    fn no_name_path_or_value_makes_a_line_of_its_own() {
        let problem =
            Problem::error("A\tB", "names /x\n  2. FAKE\u{1b}[2J, which is not there").from_source("a\rb\u{202e}c");
        let expected = "A\\tB names /x\\n  2. FAKE\\u{1b}[2J, which is not there\n     from: a\\rb\\u{202e}c";
        assert_eq!(problem.to_string(), expected);
    }

    #[test]
    fn secret_files_alone_end_with_their_own_status() {
        let file = || Problem::error("X_FILE", "cannot be read").with_status(crate::exit::SECRET_FILE);
        assert_eq!(status(&[file(), Problem::warning("A", "b")]), crate::exit::SECRET_FILE);
        assert_eq!(status(&[file(), Problem::error("A", "b")]), crate::exit::CONTRACT);
    }
}
