//! The same behaviours asked of `dl-entry init` and of its peers, each as users run it.
//!
//! `PEER=tini cargo test --test peers` asks one peer and prints what it passes. `docs/peers.md` has all of them, written
//! by this program (`DL_UPDATE=1`) and compared with what it finds.

#[path = "../support/mod.rs"]
mod support;

mod behaviours;

use behaviours::BEHAVIOURS;
use std::path::{Path, PathBuf};

/// A program that starts another one.
pub struct Peer {
    pub name: &'static str,
    /// What stands before the command it runs.
    pub words: Vec<String>,
}

impl Peer {
    fn new(name: &'static str, words: &[&str]) -> Peer {
        Peer { name, words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    /// The behaviours it does not have, each with what was seen.
    fn failures(&self) -> Vec<Option<String>> {
        BEHAVIOURS.iter().map(|behaviour| (behaviour.check)(self).err()).collect()
    }
}

fn ourselves() -> Peer {
    Peer::new("dl-entry", &[support::binary().to_str().unwrap(), "init", "--"])
}

/// The peers, from Debian's packages of the same names (setpriv is in util-linux).
fn peers() -> Vec<Peer> {
    let user = ["--reuid=1000", "--regid=1000", "--clear-groups"];
    vec![
        Peer::new("tini", &["/usr/bin/tini", "--"]),
        Peer::new("dumb-init", &["/usr/bin/dumb-init", "--"]),
        Peer::new("catatonit", &["/usr/bin/catatonit", "--"]),
        Peer::new("gosu", &["/usr/sbin/gosu", "1000:1000"]),
        Peer::new("setpriv", &[&["/usr/bin/setpriv"], &user[..], &["--"]].concat()),
    ]
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
    let mut compared = peers();
    if let Some(only) = std::env::var_os("PEER") {
        compared.retain(|peer| only == peer.name);
        let peer = compared.first().expect("PEER is tini, dumb-init, catatonit, gosu or setpriv");
        for (behaviour, failure) in BEHAVIOURS.iter().zip(peer.failures()) {
            println!("{:4} {}: {}", mark(&failure), behaviour.claim, failure.unwrap_or_default());
        }
        return;
    }
    for peer in &compared {
        assert!(Path::new(&peer.words[0]).exists(), "{} is missing: apt-get install {}", peer.words[0], peer.name);
    }
    compared.insert(0, ourselves());
    let columns: Vec<_> = std::thread::scope(|scope| {
        let asked: Vec<_> = compared.iter().map(|peer| scope.spawn(|| peer.failures())).collect();
        asked.into_iter().map(|column| column.join().expect("a check panicked")).collect()
    });
    let table = table(&compared, &columns);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/peers.md");
    if std::env::var_os("DL_UPDATE").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let known = std::fs::read_to_string(&file).unwrap_or_default();
    let other: Vec<&str> = table.lines().filter(|line| !known.lines().any(|known| known == *line)).collect();
    assert!(known == table, "docs/peers.md differs (DL_UPDATE=1 writes it):\n{}\n{columns:#?}", other.join("\n"));
}

fn mark(failure: &Option<String>) -> &'static str {
    if failure.is_none() { "yes" } else { "–" }
}

fn table(peers: &[Peer], columns: &[Vec<Option<String>>]) -> String {
    let names: Vec<&str> = peers.iter().map(|peer| peer.name).collect();
    let mut text = format!(
        "# Peers\n\nWhat `dl-entry init` and programs people use in its place do, each asked by `tests/peers` as Debian 12 \
         ships it and run as its manual says; gosu and setpriv only change the user, and tini, dumb-init and catatonit \
         never do. Written by that test (`DL_UPDATE=1`), not by hand.\n\n| | {} |\n|---|{}\n",
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
