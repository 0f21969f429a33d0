//! Rendered files as they are shown: printed, or compared with those there are.
//!
//! `secrets` finds the secrets of this run in any text. Here is what it cannot know: values too short to be found, and
//! the secrets of an earlier run in the files it left. Writes nothing; what comes out still has to be redacted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::contract::expression::Expressions;
use crate::evaluate::Prepared;
use crate::plan::RenderedFile;
use crate::plan::build::contexts;
use crate::render::format::{Entry, Format};
use crate::secrets::detect::{is_secret, secrets_within};
use crate::secrets::{Secrets, is_too_short};
use crate::write;

/// The files of one service, with their secrets.
pub(crate) struct Shown {
    formats: BTreeMap<PathBuf, Format>,
    secrets: Secrets,
    /// Secrets that `secrets` leaves alone, by value.
    open: BTreeMap<String, String>,
}

impl Shown {
    /// For the files of this plan, and for its secrets.
    pub fn of(prepared: &Prepared) -> Shown {
        let open = prepared.settings.open.iter().filter(|(_, value)| !value.is_empty());
        let open = open.map(|(name, value)| (value.clone(), name.clone())).collect();
        Shown { formats: formats(prepared), secrets: prepared.secrets.clone(), open }
    }

    /// The text of a file.
    pub fn text(&self, file: &RenderedFile) -> String {
        let text = String::from_utf8_lossy(&file.contents);
        let format = self.format(file);
        let entries = if self.open.is_empty() { vec![] } else { entries(format, &text).unwrap_or_default() };
        let hidden: Vec<(&Entry, &String)> =
            entries.iter().filter_map(|entry| Some((entry, self.open_secret(entry)?))).collect();
        match hidden.first() {
            Some((_, name)) if !format.has_keys() => format!("‹redacted:{name}›\n"),
            _ => {
                let masks = hidden.iter().map(|(entry, name)| (entry.lines.clone(), mask(&entry.key, name)));
                masked(&text, &masks.collect::<Vec<_>>())
            }
        }
    }

    /// As `write::diff`, and the secrets of the earlier files are known from then on.
    pub fn diff(&self, files: &[RenderedFile], root: &Path) -> String {
        files.iter().map(|file| self.changes(file, &write::diff(std::slice::from_ref(file), root))).collect()
    }

    /// `diff` is of this file alone.
    fn changes(&self, file: &RenderedFile, diff: &str) -> String {
        let begin = if diff.starts_with("--- ") { Some(0) } else { diff.find("\n--- ").map(|index| index + 1) };
        let Some(begin) = begin else { return diff.to_owned() };
        let (head, body) = diff.split_at(begin);
        let shown = match self.format(file).has_keys() {
            true => self.keyed_changes(file, body),
            false => {
                (!self.holds_a_secret(file) && secrets_within(&side(body, '-').text).is_empty()).then(|| body.into())
            }
        };
        let hidden = || format!("# {} differs; it holds a secret and is not shown\n", file.path.display());
        head.to_owned() + &shown.unwrap_or_else(hidden)
    }

    /// The hunks of a file of keys; `None` where they cannot be read.
    fn keyed_changes(&self, file: &RenderedFile, body: &str) -> Option<String> {
        let format = self.format(file);
        let all = entries(format, &String::from_utf8_lossy(&file.contents))?;
        let new: BTreeMap<&str, &str> = all.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        let mut masks = Vec::new();
        for marker in ['-', '+'] {
            let side = side(body, marker);
            for entry in entries(format, &side.text)? {
                let old = marker == '-';
                if old {
                    secrets_within(&entry.value)
                        .iter()
                        .for_each(|secret| self.secrets.add(&entry.key, secret.as_bytes()));
                }
                let known = self.open_secret(&entry);
                let secret = old && self.was_secret(&entry, new.get(entry.key.as_str()).copied());
                if secret {
                    self.secrets.add(&entry.key, entry.value.as_bytes());
                }
                if known.is_some() || secret && (is_short(&entry.value) || entry.lines.len() > 1) {
                    let text = mask(&entry.key, known.unwrap_or(&entry.key));
                    masks.extend(
                        side.lines_of(&entry.lines).map(|(line, marker)| (line..line + 1, format!("{marker}{text}"))),
                    );
                }
            }
        }
        Some(masked(body, &masks))
    }

    /// Whether an entry of an earlier file was a secret: its name says so, or that its value is one now.
    fn was_secret(&self, old: &Entry, new: Option<&str>) -> bool {
        let is_now = |new: &str| {
            self.open.contains_key(new) && is_short(new) || matches!(self.secrets.redact(new), Cow::Owned(_))
        };
        is_secret(&old.key, &old.value) || new.is_some_and(|new| is_now(new) && secrets_within(new).is_empty())
    }

    fn holds_a_secret(&self, file: &RenderedFile) -> bool {
        let text = String::from_utf8_lossy(&file.contents);
        let open = || entries(self.format(file), &text).unwrap_or_default();
        matches!(self.secrets.redact(&text), Cow::Owned(_))
            || !self.open.is_empty() && open().iter().any(|entry| self.open_secret(entry).is_some())
    }

    /// The name of the secret that the value of an entry is. A word is one where the key says so: it may be a user's
    /// name, too.
    fn open_secret(&self, entry: &Entry) -> Option<&String> {
        let name = self.open.get(&entry.value)?;
        (is_short(&entry.value) || is_secret(&entry.key, &entry.value)).then_some(name)
    }

    fn format(&self, file: &RenderedFile) -> Format {
        self.formats.get(&file.path).copied().unwrap_or(Format::Plain)
    }
}

fn is_short(value: &str) -> bool {
    !value.is_empty() && is_too_short(value)
}

/// The format of every file there may be, by path.
fn formats(prepared: &Prepared) -> BTreeMap<PathBuf, Format> {
    let (expressions, context) = (Expressions::default(), &prepared.settings.context);
    let mut formats = BTreeMap::new();
    for file in &prepared.package.contract.files {
        let Some(format) = Format::from_name(&file.format) else { continue };
        let all = contexts(&expressions, context, file.when.as_ref(), file.each.as_ref()).unwrap_or_default();
        let paths = all.iter().filter_map(|context| expressions.text(&file.path, context).ok());
        formats.extend(paths.map(|path| (PathBuf::from(path), format)));
    }
    formats
}

/// The entries of a text; a text that is not of its format, such as a part of a file, is read as properties.
fn entries(format: Format, text: &str) -> Option<Vec<Entry>> {
    let parsed =
        format.parse(text).or_else(|error| if format.has_keys() { Format::Properties.parse(text) } else { Err(error) });
    parsed.ok()
}

fn mask(key: &str, name: &str) -> String {
    format!("{key}=‹redacted:{name}›")
}

/// A text with others in place of some of its lines.
fn masked(text: &str, masks: &[(Range<usize>, String)]) -> String {
    let mut lines: Vec<Cow<'_, str>> = text.split_inclusive('\n').map(Cow::from).collect();
    for (range, mask) in masks {
        for (index, line) in range.clone().zip(lines.iter_mut().skip(range.start)) {
            *line = if index == range.start { format!("{mask}\n").into() } else { "".into() };
        }
    }
    lines.concat()
}

/// One side of a unified diff, as far as it is there.
struct Side {
    text: String,
    /// Line of the diff and its marker, for each line of the text.
    lines: Vec<(usize, char)>,
}

impl Side {
    fn lines_of(&self, range: &Range<usize>) -> impl Iterator<Item = (usize, char)> {
        self.lines.get(range.clone()).unwrap_or_default().iter().copied()
    }
}

fn side(diff: &str, marker: char) -> Side {
    let mut side = Side { text: String::new(), lines: vec![] };
    // After the names of the two files.
    for (index, line) in diff.lines().enumerate().skip(2) {
        let found = line.chars().next().filter(|first| *first == marker || *first == ' ');
        let Some(found) = found else { continue };
        side.lines.push((index, found));
        side.text.push_str(&line[1..]);
        side.text.push('\n');
    }
    side
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: Format, secrets: &[(&str, &str)]) -> Shown {
        let list = Secrets::default();
        secrets.iter().for_each(|(name, value)| list.add(name, value.as_bytes()));
        let open = secrets.iter().filter(|(_, value)| is_short(value));
        let open = open.map(|(name, value)| ((*value).to_owned(), (*name).to_owned())).collect();
        Shown { formats: BTreeMap::from([("/x".into(), format)]), secrets: list, open }
    }

    fn file(text: &str) -> RenderedFile {
        RenderedFile { path: "/x".into(), contents: text.into(), mode: 0o600, variables: vec![] }
    }

    fn diff(shown: &Shown, old: &str, new: &str) -> String {
        let text = similar::TextDiff::from_lines(old, new).unified_diff().header("a/x", "b/x").to_string();
        shown.secrets.redact(&shown.changes(&file(new), &format!("old mode 0644\n{text}"))).into_owned()
    }

    #[test]
    fn a_secret_of_an_earlier_run_is_not_shown() {
        let known = [("PASSWORD", "new secret"), ("URL", "hunter22")];
        let shown = shown(Format::Airlift, &known);
        let old =
            "a=1\nkept=x\nurl=jdbc:x?password=old11\nthing=old secret\napi-key=${ENV:TRINO_BLANK}olden\npassword=ab\n";
        let new = "a=2\nkept=x\nurl=jdbc:x?password=hunter22\nthing=new secret\n";
        let expected = "old mode 0644\n--- a/x\n+++ b/x\n@@ -1,6 +1,4 @@\n-a=1\n+a=2\n kept=x\n\
                        -url=jdbc:x?password=‹redacted:url›\n-thing=‹redacted:thing›\n-api-key=‹redacted:api-key›\n\
                        -password=‹redacted:password›\n+url=jdbc:x?password=‹redacted:URL›\n\
                        +thing=‹redacted:PASSWORD›\n";
        assert_eq!(diff(&shown, old, new), expected);
    }

    #[test]
    fn a_line_that_goes_on_is_hidden_to_its_end() {
        let shown = shown(Format::Properties, &[]);
        let changes = diff(&shown, "password=first\\\n  second\nb=1\n", "password=x\nb=1\n");
        assert!(!changes.contains("first") && !changes.contains("second") && changes.contains("\n b=1\n"), "{changes}");
    }

    #[test]
    fn a_file_without_keys_that_holds_a_secret_is_not_compared() {
        let hidden = "old mode 0644\n# /x differs; it holds a secret and is not shown\n";
        assert_eq!(diff(&shown(Format::Plain, &[("KEY", "the new key")]), "the old key\n", "the new key\n"), hidden);
        assert_eq!(diff(&shown(Format::Yaml, &[("PIN", "123")]), "a: 4\n", "a: \"123\"\n"), hidden);
        let old = "-Xmx1g\n-Dx.password=old secret\n";
        assert_eq!(diff(&shown(Format::JvmOptions, &[]), old, "-Xmx2g\n"), hidden);
        let changes = diff(&shown(Format::JvmOptions, &[("KEY", "the new key")]), "-Xmx1g\n", "-Xmx2g\n");
        assert!(changes.ends_with("\n--Xmx1g\n+-Xmx2g\n"), "{changes}");
    }

    #[test]
    fn a_short_secret_is_not_shown_where_a_value_is_it() {
        let text = "a=1\npassword = ab\nabc=abc\n";
        let known = [("PASSWORD", "ab")];
        let expected = "a=1\npassword=‹redacted:PASSWORD›\nabc=abc\n";
        assert_eq!(shown(Format::Airlift, &known).text(&file(text)), expected);
        assert_eq!(shown(Format::Json, &known).text(&file("[\"ab\"]")), "‹redacted:PASSWORD›\n");
        assert_eq!(shown(Format::Airlift, &[("OTHER", "xy")]).text(&file(text)), text);
        let changes = diff(&shown(Format::Airlift, &known), "a=2\npassword=cd\n", text);
        assert!(changes.contains("\n-password=‹redacted:password›\n") && !changes.contains("= ab"), "{changes}");
    }
}
