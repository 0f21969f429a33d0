//! The same behaviours asked of `dl-entry init` and of its peers, each as users run it.
//!
//! The peers are found in PATH; `./dl test` installs them. `PEER=tini cargo test --test peers` asks one and prints what it
//! passes. `docs/peers.md` has all of them, written by this program (`DL_UPDATE=1`) and compared with what it finds.

#[path = "../support/mod.rs"]
mod support;

mod behaviours;

use behaviours::BEHAVIOURS;
use std::path::PathBuf;

/// A program that starts another one.
pub struct Peer {
    pub name: &'static str,
    /// What stands before the command it runs.
    pub words: Vec<String>,
    splits: bool,
}

impl Peer {
    /// Panics where the program is not in PATH, with the command that installs it.
    fn installed(known: &Known) -> Peer {
        let Known { name, program, arguments, installer, splits } = *known;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
        let file = found.unwrap_or_else(|| panic!("{program} is not in PATH: {installer} {name}, or run ./dl test"));
        let arguments = arguments.iter().map(|word| (*word).to_owned());
        Peer { name, words: std::iter::once(file.to_str().unwrap().to_owned()).chain(arguments).collect(), splits }
    }

    /// A word of the command, as the program has to be given it.
    pub fn word(&self, word: &str) -> String {
        if self.splits { format!("'{}'", word.replace('\'', r"'\''")) } else { word.to_owned() }
    }

    /// The behaviours it does not have, each with what was seen.
    fn failures(&self) -> Vec<Option<String>> {
        BEHAVIOURS.iter().map(|behaviour| (behaviour.check)(self).err()).collect()
    }

    /// The same, each asked until the answer is what the table has, five times at most: a busy machine makes a program
    /// look worse than it is, and a race between two processes ends either way.
    fn failures_beside(&self, table: &str) -> Vec<Option<String>> {
        let asked = BEHAVIOURS.iter().map(|behaviour| {
            let known = known(table, self.name, behaviour.claim);
            let agrees = |failure: &Option<String>| known.is_none_or(|known| known == mark(failure));
            let mut answers = (0..5).map(|_| (behaviour.check)(self).err());
            let first = answers.next().flatten();
            if agrees(&first) { first } else { answers.find(agrees).unwrap_or(first) }
        });
        asked.collect()
    }
}

/// What the table has in a peer's column and a claim's row.
fn known<'a>(table: &'a str, peer: &str, claim: &str) -> Option<&'a str> {
    let cells = |line: &'a str| line.split(" | ").map(|cell| cell.trim_matches([' ', '|'])).collect::<Vec<_>>();
    let column = cells(table.lines().find(|line| line.starts_with("| | "))?).iter().position(|name| *name == peer)?;
    let row = cells(table.lines().find(|line| line.starts_with(&format!("| {claim} | ")))?);
    row.get(column).copied()
}

/// How a peer is run and had.
struct Known {
    name: &'static str,
    program: &'static str,
    /// Before the command.
    arguments: &'static [&'static str],
    installer: &'static str,
    /// It joins the words of the command, and splits the whole as a shell would.
    splits: bool,
}

const USER: &[&str] = &["--reuid=1000", "--regid=1000", "--clear-groups", "--"];
const PID1: &[&str] = &["--user-id=1000", "--group-id=1000", "--"];
const PEERS: &[Known] = &[
    packaged("tini", &["--"]),
    packaged("dumb-init", &["--"]),
    packaged("catatonit", &["--"]),
    Known { program: "pid1", installer: "cargo install", ..packaged("pid1-exe", PID1) },
    Known { installer: "cargo install", splits: true, ..packaged("horust", &["--"]) },
    packaged("gosu", &["1000:1000"]),
    Known { installer: "apt-get install util-linux, which has", ..packaged("setpriv", USER) },
];

const fn packaged(name: &'static str, arguments: &'static [&'static str]) -> Known {
    Known { name, program: name, arguments, installer: "apt-get install", splits: false }
}

fn ourselves() -> Peer {
    let binary = support::binary().into_os_string().into_string().unwrap();
    Peer { name: "dl-entry", words: vec![binary, "init".into(), "--".into()], splits: false }
}

#[test]
fn every_behaviour_is_ours() {
    support::require_root("users are changed and PID namespaces made");
    let failures = ourselves().failures();
    let failed: Vec<String> = BEHAVIOURS
        .iter()
        .zip(failures)
        .filter_map(|(behaviour, failure)| failure.map(|why| format!("{}: {why}", behaviour.claim)))
        .collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn the_table_of_peers_is_what_they_do() {
    support::require_root("users are changed and PID namespaces made");
    if let Some(only) = std::env::var_os("PEER") {
        return ask_one(only.to_str().expect("PEER is a name"));
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/peers.md");
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let compared: Vec<Peer> = std::iter::once(ourselves()).chain(PEERS.iter().map(Peer::installed)).collect();
    let columns: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = compared.iter().map(|peer| scope.spawn(|| peer.failures_beside(&known))).collect();
        asked.into_iter().map(|column| column.join().expect("a check panicked")).collect()
    });
    let table = table(&compared, &columns);
    if std::env::var_os("DL_UPDATE").is_some() {
        return std::fs::write(&file, &table).unwrap();
    }
    let other: Vec<&str> = table.lines().filter(|line| !known.lines().any(|known| known == *line)).collect();
    assert!(known == table, "docs/peers.md differs (DL_UPDATE=1 writes it):\n{}\n{columns:#?}", other.join("\n"));
}

fn ask_one(name: &str) {
    let row = PEERS.iter().find(|known| known.name == name);
    let names: Vec<&str> = PEERS.iter().map(|known| known.name).collect();
    let peer = Peer::installed(row.unwrap_or_else(|| panic!("PEER is one of {}", names.join(", "))));
    for (behaviour, failure) in BEHAVIOURS.iter().zip(peer.failures()) {
        println!("{:4} {}: {}", mark(&failure), behaviour.claim, failure.unwrap_or_default());
    }
}

fn mark(failure: &Option<String>) -> &'static str {
    if failure.is_none() { "yes" } else { "–" }
}

fn table(peers: &[Peer], columns: &[Vec<Option<String>>]) -> String {
    let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    let mut text = format!(
        "# Peers\n\nWhat `dl-entry init` and programs people use in its place do, each asked by `tests/peers` as Debian 12 \
         ships it (pid1-exe and horust: crates.io) and run as its manual says; gosu and setpriv only \
         change the user, and tini, dumb-init, catatonit and horust so started never do. Written by that test (`DL_UPDATE=1`), not by hand.\n\n| | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for (row, behaviour) in BEHAVIOURS.iter().enumerate() {
        let marks: Vec<&str> = columns.iter().map(|column| mark(&column[row])).collect();
        text.push_str(&format!("| {} | {} |\n", behaviour.claim, marks.join(" | ")));
    }
    let counts: Vec<String> =
        columns.iter().map(|column| column.iter().filter(|failure| failure.is_none()).count().to_string()).collect();
    text + &format!("| **of {}** | {} |\n", BEHAVIOURS.len(), counts.join(" | "))
}
