//! Tables of the configuration keys each version of a service knows: `services/NAME/*.tsv`.
//!
//! ```text
//! key<TAB>476<TAB>480<TAB>482<TAB>note
//! discovery-server.enabled<TAB>+<TAB>x<TAB>x<TAB>drop it
//! ```
//! Cells: `+` valid, `~` an old name that still works, `x` stops the service, `-` unknown to that version (which stops
//! it too), `o` unknown to that version, which takes no notice, `?` not recorded. The column used is the newest not
//! newer than the version asked about. A key ending in
//! `*` stands for every key that starts so; another `*` in it for one part, which may be in quotes:
//! `warehouses.*.location`. A note `use NAME` of a `~` says that the two together stop the service. A column `value`
//! after the note says what the key's value may be (`setting_value`).

use std::borrow::Cow;

use crate::contract::expression::version_key;
use crate::contract::setting_value;
use crate::did_you_mean::{edit_distance, tolerance};

/// One table, in memory.
#[derive(Debug)]
pub struct Table<'a> {
    versions: Vec<&'a str>,
    rows: Vec<Row<'a>>,
    /// Those whose keys have a `*`.
    patterns: Vec<Row<'a>>,
}

#[derive(Debug, Clone, Copy)]
struct Row<'a> {
    key: &'a str,
    /// One a version, with tabs between them.
    cells: &'a str,
    note: &'a str,
    /// What its value may be; empty for any text.
    value: &'a str,
}

impl<'a> Row<'a> {
    fn read(line: &'a str, versions: usize) -> Option<Row<'a>> {
        let (key, rest) = line.split_once('\t')?;
        let sound = |cell: &str| matches!(cell, "+" | "~" | "x" | "-" | "o" | "?");
        let after = rest.match_indices('\t').nth(versions - 1).map_or(rest.len(), |(tab, _)| tab);
        let (cells, note) = rest.split_at(after);
        let (note, value) = note.strip_prefix('\t').and_then(|note| note.split_once('\t')).unwrap_or((note, ""));
        let row = Row { key, cells, note: note.trim_start_matches('\t'), value };
        (row.cells().count() == versions && row.cells().all(sound)).then_some(row)
    }

    fn cells(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.cells.split('\t')
    }
}

/// How a version of the service treats a key.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    Valid,
    /// Works under an old name: the note says what to write.
    Legacy(String),
    /// Has no effect; the reason.
    Ignored(String),
    /// Stops the service; the reason.
    Stops(String),
    /// In no version of the table.
    Unlisted,
}

impl<'a> Table<'a> {
    /// Reads a table.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub fn parse(text: &'a str) -> Result<Table<'a>, String> {
        let mut lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
        let (_, header) = lines.next().ok_or("the table is empty")?;
        let versions: Vec<&str> = header.split('\t').skip(1).filter(|name| !["note", "value"].contains(name)).collect();
        if versions.is_empty() {
            return Err("line 1: no version in the header".into());
        }
        let rows = lines.map(|(index, line)| {
            Row::read(line, versions.len()).ok_or_else(|| format!("line {}: not key, cells, note", index + 1))
        });
        let rows: Vec<Row> = rows.collect::<Result<_, _>>()?;
        let patterns = rows.iter().filter(|row| row.key.contains('*')).copied().collect();
        Ok(Table { rows, patterns, versions })
    }

    /// How `version` of the service treats `key`.
    pub fn judge(&self, key: &str, version: &str) -> Verdict {
        let Some(row) = self.row(key) else { return Verdict::Unlisted };
        let note = if row.note.is_empty() { String::new() } else { format!(": {}", row.note) };
        match row.cells().nth(self.column(version)).unwrap_or_default() {
            "+" | "?" => Verdict::Valid,
            "~" => Verdict::Legacy(format!("is an old name in version {version}{note}")),
            "o" => {
                let nearest = (row.key != key && row.note.is_empty()).then(|| self.nearest(key)).flatten();
                let hint = nearest.map(|nearest| format!(": did you mean {nearest}?")).unwrap_or_default();
                Verdict::Ignored(format!("has no effect in version {version}{note}{hint}"))
            }
            "x" => Verdict::Stops(format!("stops version {version}, where it is defunct{note}")),
            _ => {
                let where_valid = self.versions.iter().zip(row.cells()).filter(|(_, cell)| ["+", "~"].contains(cell));
                let names = where_valid.map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
                let nearest = (row.key != key).then(|| self.nearest(key)).flatten();
                let elsewhere = match (names.is_empty(), nearest) {
                    (false, _) => format!(" (known in {names})"),
                    (true, Some(nearest)) => format!(": did you mean {nearest}?"),
                    (true, None) => String::new(),
                };
                Verdict::Stops(format!("stops version {version}, which does not know it{elsewhere}{note}"))
            }
        }
    }

    /// What is wrong with the value of a key, where the table says what it may be.
    pub fn mistake_in(&self, key: &str, value: &str) -> Option<String> {
        self.row(key).and_then(|row| setting_value::mistake(row.value, value))
    }

    /// The key's own name in `version`, where it is an old one whose note says `use NAME`: the two together stop the
    /// service.
    pub fn replacement(&self, key: &str, version: &str) -> Option<&'a str> {
        let row = self.rows.iter().find(|row| row.key == key)?;
        let old = row.cells().nth(self.column(version)) == Some("~");
        row.note.strip_prefix("use ").filter(|new| old && !new.contains(' '))
    }

    /// Whether some version knows the key.
    pub fn has(&self, key: &str) -> bool {
        self.row(key).is_some_and(|row| row.cells().any(|cell| ["+", "~", "?"].contains(&cell)))
    }

    /// The row of the key itself, or the one that says most about it.
    fn row(&self, key: &str) -> Option<&Row<'a>> {
        let exact = self.rows.iter().find(|row| row.key == key);
        let fitting = || self.patterns.iter().filter(|row| fits(row.key, key));
        exact.or_else(|| fitting().max_by_key(|row| row.key.len()))
    }

    fn column(&self, version: &str) -> usize {
        let wanted = version_key(version);
        let not_newer = self.versions.iter().rposition(|name| version_key(name) <= wanted);
        not_newer.unwrap_or(0)
    }

    /// The key that was probably meant.
    pub fn nearest(&self, key: &str) -> Option<String> {
        let tolerance = tolerance(key, 3);
        let spelt =
            |pattern: &str| if pattern.contains('*') { in_words_of(key, pattern).into() } else { Cow::Borrowed(key) };
        let distances = self.rows.iter().map(|row| (edit_distance(&spelt(row.key), row.key), row));
        // A key that no version knows is not suggested.
        let is_known = |row: &Row| row.cells().any(|cell| ["+", "~"].contains(&cell));
        let near = distances.filter(|(distance, row)| *distance <= tolerance && is_known(row));
        near.map(|(distance, row)| (distance, row.key)).min().map(|(_, key)| key.to_owned())
    }
}

/// Whether `key` is one `pattern` stands for.
fn fits(pattern: &str, key: &str) -> bool {
    if let Some(prefix) = pattern.strip_suffix('*').filter(|prefix| !prefix.contains('*')) {
        return key.starts_with(prefix);
    }
    let before = pattern.split('*').next().unwrap_or_default();
    if !key.starts_with(before) {
        return false;
    }
    let (parts, names) = (parts_of(pattern), parts_of(key));
    let open = parts.last() == Some(&"*");
    let enough = if open { names.len() >= parts.len() } else { names.len() == parts.len() };
    enough && parts.iter().zip(&names).all(|(part, name)| *part == "*" || part == name)
}

/// `a."b.c".d` → `a`, `"b.c"`, `d`.
fn parts_of(key: &str) -> Vec<&str> {
    let mut quoted = false;
    let split = move |c: char| {
        quoted ^= c == '"';
        c == '.' && !quoted
    };
    key.split(split).collect()
}

/// `key` with `*` where `pattern` has it, so that only what is spelt wrongly counts as a difference.
fn in_words_of(key: &str, pattern: &str) -> String {
    let (names, parts) = (parts_of(key), parts_of(pattern));
    let word = |(index, name): (usize, &&str)| if parts.get(index) == Some(&"*") { "*" } else { *name }.to_owned();
    names.iter().enumerate().map(word).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# comment\nkey\t476\t480\tnote\na.b\t+\t+\t\nold\t+\tx\tuse new\nnew\t-\t+\t\nalias\t+\t~\twrite a.b\nquarkus.*\t+\t+\t\n";

    #[test]
    fn a_key_is_judged_for_the_newest_column_not_newer_than_the_version() {
        let table = Table::parse(TABLE).unwrap();
        assert_eq!(table.judge("a.b", "478"), Verdict::Valid);
        assert_eq!(table.judge("old", "479"), Verdict::Valid);
        assert_eq!(table.judge("old", "481"), Verdict::Stops("stops version 481, where it is defunct: use new".into()));
        let unknown = "stops version 476, which does not know it (known in 480)";
        assert_eq!(table.judge("new", "476"), Verdict::Stops(unknown.into()));
        assert_eq!(table.judge("alias", "480"), Verdict::Legacy("is an old name in version 480: write a.b".into()));
        assert_eq!(table.judge("quarkus.http.port", "480"), Verdict::Valid);
        assert_eq!(table.judge("a.c", "480"), Verdict::Unlisted);
        assert_eq!(table.nearest("a.c").as_deref(), Some("a.b"));
        assert_eq!(["a.b", "quarkus.x", "a.c"].map(|key| table.has(key)), [true, true, false]);
    }

    #[test]
    fn an_old_name_has_a_replacement_in_the_versions_where_it_is_old() {
        let table = Table::parse("key\t1\t2\tnote\nold\t+\t~\tuse new\nolder\t~\t~\tnew\n").unwrap();
        assert_eq!(table.replacement("old", "2"), Some("new"));
        assert_eq!((table.replacement("old", "1"), table.replacement("older", "2")), (None, None));
    }

    #[test]
    fn a_key_the_service_takes_no_notice_of_says_so() {
        let table = Table::parse("key\t1\tnote\nserver.branch\t+\t\nhealth.*\to\tit is elsewhere\n*\to\t\n").unwrap();
        let elsewhere = "has no effect in version 1: it is elsewhere";
        assert_eq!(table.judge("health.path", "1"), Verdict::Ignored(elsewhere.into()));
        let meant = "has no effect in version 1: did you mean server.branch?";
        assert_eq!(table.judge("srever.branch", "1"), Verdict::Ignored(meant.into()));
    }

    #[test]
    fn a_value_is_judged_where_the_table_says_what_it_may_be() {
        let table = Table::parse("key\t1\tnote\tvalue\nport\t+\t\tinteger 1 65535\nname\t+\tuse it\t\n").unwrap();
        assert_eq!(table.mistake_in("port", "0").as_deref(), Some("is outside of 1 to 65535"));
        assert_eq!(
            [("port", "80"), ("name", "x"), ("z", "x")].map(|(key, value)| table.mistake_in(key, value)),
            [None, None, None]
        );
    }

    #[test]
    fn a_star_inside_a_key_is_one_part_in_quotes_or_not() {
        let text = "key\t1\tnote\nwh.*.location\t+\t\nwh.*.defaults.*\t+\t\nwh*\t-\t\n";
        let table = Table::parse(text).unwrap();
        for key in ["wh.a.location", "wh.\"a.b\".location", "wh.a.defaults.x", "wh.a.defaults.x.y"] {
            assert_eq!(table.judge(key, "1"), Verdict::Valid, "{key}");
        }
        let typo = "stops version 1, which does not know it: did you mean wh.*.location?";
        assert_eq!(table.judge("wh.a.lokation", "1"), Verdict::Stops(typo.into()));
        assert_eq!(
            table.judge("wh.a.b.c.d.e.f", "1"),
            Verdict::Stops("stops version 1, which does not know it".into())
        );
    }

    #[test]
    fn a_broken_table_is_refused_with_its_line() {
        assert_eq!(Table::parse("key\t1\na\n").unwrap_err(), "line 2: not key, cells, note");
        assert_eq!(Table::parse("key\t1\na\tmaybe\n").unwrap_err(), "line 2: not key, cells, note");
    }
}
