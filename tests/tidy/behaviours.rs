//! The behaviours required of a PID 1 and entrypoint, by number, and the tests that show them: `docs/behaviours.md`.
//!
//! `behaviours.tsv` says what each number means. A test claims numbers in a line of its documentation,
//! `/// Behaviours: 17, 18.`; `reasons.tsv` has a reason for every number without a test (`does not apply: …` or
//! `not yet: …`), and for one with tests that leave something out (`but: …`). The table is made of the three and fails
//! here when it has drifted; `DL_UPDATE=1` writes it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Number → text.
type Texts = BTreeMap<u16, String>;
/// Number → `file::function` of every test that claims it.
type Claims = BTreeMap<u16, BTreeSet<String>>;

const TABLE: &str = "docs/behaviours.md";
const MARK: &str = "/// Behaviours: ";

#[test]
fn every_behaviour_has_a_test_or_a_reason_and_the_table_says_which() {
    let behaviours = texts("behaviours.tsv");
    let reasons = texts("reasons.tsv");
    let mut mistakes = Vec::new();
    let claims = claims(&mut mistakes);
    mistakes.extend(unaccounted(&behaviours, &reasons, &claims));
    assert!(mistakes.is_empty(), "{} mistakes:\n{}", mistakes.len(), mistakes.join("\n"));
    let table = table(&behaviours, &reasons, &claims);
    let path = root().join(TABLE);
    if std::env::var_os("DL_UPDATE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    let changed: Vec<&str> = table.lines().filter(|line| !known.lines().any(|old| old == *line)).collect();
    assert!(known == table, "{TABLE} is out of date (DL_UPDATE=1 writes it):\n{}", changed.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Lines of a number, a tab and a text.
fn texts(name: &str) -> Texts {
    let text = std::fs::read_to_string(root().join("tests/tidy").join(name)).unwrap();
    let mut texts = Texts::new();
    for line in text.lines() {
        let (number, text) = line.split_once('\t').unwrap_or_else(|| panic!("{name}: no tab in {line:?}"));
        let number = number.parse().unwrap_or_else(|error| panic!("{name}: {line:?}: {error}"));
        assert!(texts.insert(number, text.to_owned()).is_none(), "{name}: {number} is there twice");
    }
    texts
}

// --- what the tests claim -----------------------------------------------------------------------------------------

fn claims(mistakes: &mut Vec<String>) -> Claims {
    let mut claims = Claims::new();
    for path in sources(&root().join("src")).into_iter().chain(sources(&root().join("tests"))) {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(numbers) = line.strip_prefix(MARK) else { continue };
            match claim(numbers, &lines[index + 1..]) {
                Ok((function, numbers)) => numbers.into_iter().for_each(|number| {
                    claims.entry(number).or_default().insert(format!("{name}::{function}"));
                }),
                Err(why) => mistakes.push(format!("{name}:{}: {why}", index + 1)),
            }
        }
    }
    claims
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let rust = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    rust.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

/// The test below a claim, and the numbers of it.
fn claim(numbers: &str, below: &[&str]) -> Result<(String, Vec<u16>), String> {
    let numbers = numbers.strip_suffix('.').ok_or("the list does not end with a full stop")?.split(", ");
    let numbers: Result<Vec<u16>, _> = numbers.map(str::parse).collect();
    let numbers = numbers.map_err(|error| format!("a list of numbers is wanted: {error}"))?;
    let belongs = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
    let attributes: Vec<&&str> = below.iter().take_while(belongs).collect();
    let function = below.get(attributes.len()).and_then(|line| line.split_once("fn "));
    let (_, function) = function.ok_or("there is no function below it")?;
    let function = function.split('(').next().unwrap_or(function).to_owned();
    let is_test = attributes.iter().any(|line| matches!(**line, "#[test]" | "#[tokio::test]"));
    let is_ignored = attributes.iter().any(|line| line.starts_with("#[ignore"));
    match is_test && !is_ignored {
        true => Ok((function, numbers)),
        false => Err(format!("{function} is no test that runs")),
    }
}

// --- what is wrong, and the table ---------------------------------------------------------------------------------

fn unaccounted(behaviours: &Texts, reasons: &Texts, claims: &Claims) -> Vec<String> {
    let mut mistakes = Vec::new();
    for number in reasons.keys().chain(claims.keys()).filter(|number| !behaviours.contains_key(number)) {
        mistakes.push(format!("{number}: there is no such behaviour"));
    }
    for number in behaviours.keys() {
        match (reasons.get(number), claims.contains_key(number)) {
            (None, true) => {}
            (None, false) => mistakes.push(format!("{number}: neither a test nor a reason")),
            (Some(reason), true) if reason.starts_with("but: ") => {}
            (Some(_), true) => mistakes.push(format!("{number}: both a test and a reason to have none")),
            (Some(reason), false) if kind(reason).is_some() => {}
            (Some(_), false) => {
                mistakes.push(format!("{number}: the reason is neither `does not apply:` nor `not yet:`"))
            }
        }
    }
    mistakes
}

fn kind(reason: &str) -> Option<&str> {
    ["does not apply", "not yet"].into_iter().find(|kind| reason.starts_with(&format!("{kind}: ")))
}

fn table(behaviours: &Texts, reasons: &Texts, claims: &Claims) -> String {
    let count = |wanted: &str| reasons.values().filter(|reason| kind(reason) == Some(wanted)).count();
    let partly = reasons.values().filter(|reason| reason.starts_with("but: ")).count();
    let mut table = format!(
        "# Behaviours\n\n\
         The behaviours expected of a container's first process and its identity, and the proof of each. Written by \
         `tests/tidy` (`DL_UPDATE=1`), not by hand.\n\n\
         {} of {} are tested, {partly} of these with something left out (*but*); {} do not apply; {} are not had yet.\n\n\
         | number | behaviour | test or reason |\n|---:|---|---|\n",
        claims.len(),
        behaviours.len(),
        count("does not apply"),
        count("not yet"),
    );
    for (number, behaviour) in behaviours {
        let tests = claims.get(number).into_iter().flatten().map(|test| format!("`{test}`"));
        let shown: Vec<String> =
            tests.chain(reasons.get(number).map(|reason| format!("*{}", emphasised(reason)))).collect();
        let _ = writeln!(table, "| {number} | {behaviour} | {} |", shown.join("<br>"));
    }
    table
}

/// `but: x` → `but:* x`
fn emphasised(reason: &str) -> String {
    reason.replacen(": ", ":* ", 1)
}
