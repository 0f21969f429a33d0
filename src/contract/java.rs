//! The JVM as contracts need it: which Java is there, its heap and collector, and which options it refuses to start
//! with.
//!
//! Pure but for `version_at`, which reads one small file of a Java home. Knows no service. Offered to contracts by
//! `expression`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use crate::did_you_mean::edit_distance;
use crate::read;

/// `java/options.tsv`: name, kind, first version, first version that refuses it, what unlocks it.
const OPTIONS: &str = include_str!("java/options.tsv");

/// The table, read once: there may be thousands of options to look up.
static TABLE: LazyLock<Table> = LazyLock::new(Table::read);

/// Further options are java's to judge: each unknown one is compared with every flag there is.
const MOST_OPTIONS: usize = 2000;

/// Options whose argument is the next word (java(1)).
const WITH_ARGUMENT: [&str; 13] = [
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "-m",
    "--module",
    "-d",
    "--describe-module",
    "--add-modules",
    "--add-opens",
    "--add-exports",
];

/// Options of the JVM on other machines than the one the table was made on.
const OF_ARM: [&str; 12] = [
    "UseSVE",
    "UseLSE",
    "UseNeon",
    "UseCRC32",
    "UseSIMDForMemoryOps",
    "UseSIMDForArrayEquals",
    "UseSIMDForSHA3Intrinsic",
    "UseSimpleArrayEquals",
    "UseBlockZeroing",
    "UseBranchProtection",
    "OnSpinWaitInst",
    "AvoidUnalignedAccesses",
];

/// Whether options have a system property that is named like a secret: java prints some variables whole at its start.
/// The password of the trust store that every Java has is known to everybody.
pub fn prints_a_secret(options: &str) -> bool {
    const NAMED: &str =
        "(?i)-D[^ =]*(password|passwd|passphrase|secret|token|credentials?|(api|access|private|secret)[-_.]?key)=[^ ]";
    let named = regex_lite::Regex::new(NAMED).expect("it is tested");
    named.is_match(&options.replace("Password=changeit", ""))
}

/// The feature version of the Java in `home`, such as 25: from its `release` file (JEP 223, `JAVA_VERSION="25.0.2"`).
pub fn version_at(home: &Path) -> Option<u32> {
    let text = read::text(&home.join("release"), read::VALUE).ok()?;
    let version = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?.trim_matches('"');
    // "1.8.0_392" is Java 8.
    let version = version.strip_prefix("1.").unwrap_or(version);
    version.split(['.', '-', '+', '_']).next()?.parse().ok()
}

/// The largest heap that options ask for, in bytes: that of the last one, or else a percentage of `memory`, in whole
/// mebibytes. Java reads `k`, `m`, `g`, `t` or bytes.
pub fn heap(options: &[String], memory: u64) -> Option<u64> {
    let size = last_size(options, ["-Xmx", "-XX:MaxHeapSize="]);
    let percentage = |option: &String| option.strip_prefix("-XX:MaxRAMPercentage=")?.parse::<f64>().ok();
    let share = || options.iter().rev().find_map(percentage).filter(|percent| (0.0..=100.0).contains(percent));
    size.or_else(|| share().map(|percent| (memory as f64 * percent / 100.0) as u64 >> 20 << 20))
}

/// The initial heap that `-Xms` and `-XX:InitialHeapSize` set, in bytes.
pub fn initial_heap(options: &[String]) -> Option<u64> {
    last_size(options, ["-Xms", "-XX:InitialHeapSize="])
}

fn last_size(options: &[String], spellings: [&str; 2]) -> Option<u64> {
    let of =
        |option: &String| spellings.iter().find_map(|spelling| option.strip_prefix(spelling)).and_then(size_in_bytes);
    options.iter().rev().find_map(of)
}

fn size_in_bytes(text: &str) -> Option<u64> {
    let power = match text.bytes().last()?.to_ascii_lowercase() {
        b'k' => 10,
        b'm' => 20,
        b'g' => 30,
        b't' => 40,
        _ => return text.parse().ok(),
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_shl(power).filter(|bytes| *bytes >> power != 0)
}

/// The garbage collector that options ask for, such as `UseZGC`: the last one.
pub fn collector(options: &[String]) -> Option<&str> {
    options.iter().rev().filter_map(|option| option.strip_prefix("-XX:+")).find(|name| is_collector(name))
}

fn is_collector(name: &str) -> bool {
    matches!(name, "UseG1GC" | "UseZGC" | "UseShenandoahGC" | "UseParallelGC" | "UseSerialGC" | "UseEpsilonGC")
}

/// The mistake in each option that Java `version` refuses to start with: `-XX:+X, which Java 21 does not know`.
/// No value is quoted, as it may be a secret.
pub fn refusals(options: &[String], version: u32) -> Vec<String> {
    let given = |name: &str| options.iter().any(|option| option == name);
    let around = Around {
        version,
        tolerant: given("-XX:+IgnoreUnrecognizedVMOptions"),
        diagnostic: given("-XX:+UnlockDiagnosticVMOptions"),
        experimental: given("-XX:+UnlockExperimentalVMOptions"),
    };
    let before = std::iter::once(None).chain(options.iter().map(Some));
    let judged = before.zip(options).take(MOST_OPTIONS);
    judged.filter_map(|(before, option)| refusal(before, option, around)).collect()
}

/// The facts that decide beside the option itself.
#[derive(Clone, Copy)]
struct Around {
    version: u32,
    tolerant: bool,
    diagnostic: bool,
    experimental: bool,
}

fn refusal(before: Option<&String>, option: &str, around: Around) -> Option<String> {
    if let Some(flag) = option.strip_prefix("-XX:") {
        return if around.tolerant { None } else { refusal_of_flag(option, flag, around) };
    }
    if !option.starts_with(['-', '@']) {
        let is_argument = before.is_some_and(|before| WITH_ARGUMENT.contains(&before.as_str()));
        return (!is_argument).then(|| "a word that is not an option: options begin with -".to_owned());
    }
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    let row = TABLE.others.iter().find(|row| match row.kind {
        "option" => row.name == option,
        _ => option.starts_with(row.name),
    })?;
    // The one value that Java 24 and newer take.
    let harmless = option == "-Djava.security.manager=disallow";
    (!harmless && row.is_refused_by(around.version)).then(|| format!("{name}, which Java {} refuses", around.version))
}

fn refusal_of_flag(option: &str, flag: &str, around: Around) -> Option<String> {
    let (name, shape) = match flag.split_once('=') {
        Some((name, _)) => (name, "value"),
        None if flag.starts_with(['+', '-']) => (&flag[1..], "switch"),
        None => (flag, ""),
    };
    let written = option.split('=').next().unwrap_or(option);
    let java = around.version;
    // `-XX:Flags=file` and the like are no flags of the table.
    let Some(row) = TABLE.flags.get(name) else {
        return nearest(name).map(|near| format!("{written}, which no Java knows: did you mean {near}?"));
    };
    if row.is_refused_by(java) {
        return Some(format!("{written}, which Java {java} does not know any more"));
    }
    if row.is_newer_than(java) {
        return Some(format!("{written}, which Java {java} does not know yet"));
    }
    if row.kind != shape {
        let right =
            if row.kind == "switch" { format!("-XX:+{name} or -XX:-{name}") } else { format!("-XX:{name}=…") };
        return Some(format!("{written}, which is written {right}"));
    }
    let locked = match row.lock {
        "diagnostic" if !around.diagnostic => "-XX:+UnlockDiagnosticVMOptions",
        "experimental" if !around.experimental => "-XX:+UnlockExperimentalVMOptions",
        _ => return None,
    };
    Some(format!("{written}, which needs {locked} beside it"))
}

/// The flag that a misspelt one was meant to be.
fn nearest(name: &str) -> Option<&'static str> {
    if OF_ARM.contains(&name) {
        return None;
    }
    let near = TABLE.flags.keys().filter(|flag| flag.len().abs_diff(name.len()) <= 2);
    let name = name.to_lowercase();
    let distances = near.map(|flag| (edit_distance(&name, &flag.to_lowercase()), flag));
    distances.filter(|(distance, _)| *distance <= 2).min().map(|(_, flag)| *flag)
}

/// A line of the table.
struct Row {
    name: &'static str,
    kind: &'static str,
    since: Option<u32>,
    until: Option<u32>,
    lock: &'static str,
}

impl Row {
    fn is_refused_by(&self, version: u32) -> bool {
        self.until.is_some_and(|until| version >= until)
    }

    /// Tried with long-term versions alone: one between two of them may know what the later one does.
    fn is_newer_than(&self, version: u32) -> bool {
        let before = match self.since {
            Some(17) => 11,
            Some(21) => 17,
            Some(_) => 21,
            None => return false,
        };
        version <= before
    }
}

struct Table {
    /// The options after `-XX:`, by name.
    flags: HashMap<&'static str, Row>,
    /// Options, and how options start.
    others: Vec<Row>,
}

impl Table {
    fn read() -> Table {
        let (flags, others): (Vec<Row>, _) = rows().partition(|row| matches!(row.kind, "switch" | "value"));
        Table { flags: flags.into_iter().map(|row| (row.name, row)).collect(), others }
    }
}

fn rows() -> impl Iterator<Item = Row> {
    OPTIONS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let mut fields = line.split('\t');
        let mut next = || fields.next();
        let (name, kind) = (next()?, next()?);
        let (since, until, lock) = (next()?.parse().ok(), next()?.parse().ok(), next()?);
        Some(Row { name, kind, since, until, lock })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn refused(text: &str, version: u32) -> Vec<String> {
        refusals(&words(text), version)
    }

    #[test]
    fn a_property_named_like_a_secret_is_one_unless_everybody_knows_it() {
        assert!(prints_a_secret("-Xmx1g -Djavax.net.ssl.keyStorePassword=x1y2"));
        assert!(prints_a_secret("-Da.access-key=x") && prints_a_secret("-DTOKEN=x"));
        assert!(!prints_a_secret("-Djavax.net.ssl.trustStorePassword=changeit -Da.token-file=/x -Dsecret= x"));
    }

    #[test]
    fn every_line_of_the_table_is_whole() {
        let lines = OPTIONS.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(rows().count(), lines);
        assert_eq!(TABLE.flags.len() + TABLE.others.len(), lines, "a flag is in it twice");
        for row in rows() {
            assert!(matches!(row.kind, "switch" | "value" | "option" | "start"), "{}", row.name);
            assert!(matches!(row.lock, "-" | "diagnostic" | "experimental"), "{}", row.name);
        }
    }

    #[test]
    fn as_many_options_as_a_value_can_hold_are_judged() {
        for option in ["-Dx.y=z ", "-XX:+UseG1GC ", "-XX:+UseG1GCC ", "-XX:+NoSuchThing "] {
            let options = words(&option.repeat((1 << 20) / option.len()));
            let begun = std::time::Instant::now();
            assert!(refusals(&options, 21).len() <= MOST_OPTIONS);
            assert!(begun.elapsed() < std::time::Duration::from_secs(10), "{option} {:?}", begun.elapsed());
        }
    }

    #[test]
    fn the_last_heap_and_collector_win() {
        let heap = |text: &str| heap(&words(text), 8 << 30);
        assert_eq!(heap("-Xmx1g -XX:MaxHeapSize=512m -Xms64m"), Some(512 << 20));
        assert_eq!(heap("-Xmx6442450944"), Some(6 << 30));
        assert_eq!(heap("-Xmx4Q -Xlog:gc"), None);
        assert_eq!(heap("-Xmx1g -XX:MaxRAMPercentage=75.0"), Some(1 << 30));
        assert_eq!(heap("-XX:MaxRAMPercentage=75.0"), Some(6 << 30));
        assert_eq!(initial_heap(&words("-Xmx1g -Xms64M")), Some(64 << 20));
        assert_eq!(
            collector(&words("-XX:+UseG1GC -XX:+UseZGC -XX:+UseAdaptiveSizePolicyWithSystemGC")),
            Some("UseZGC")
        );
        assert_eq!(collector(&words("-XX:-UseG1GC")), None);
    }

    #[test]
    fn an_option_that_is_gone_or_new_is_refused_by_the_versions_that_do_not_know_it() {
        let biased = "-XX:-UseBiasedLocking";
        assert_eq!(refused(biased, 17), [""; 0]);
        assert_eq!(refused(biased, 21), ["-XX:-UseBiasedLocking, which Java 21 does not know any more"]);
        let locker = "-XX:+UnlockDiagnosticVMOptions -XX:GCLockerRetryAllocationCount=32";
        assert_eq!(refused(locker, 24), [""; 0]);
        assert_eq!(refused(locker, 25), ["-XX:GCLockerRetryAllocationCount, which Java 25 does not know any more"]);
        let pinned = "-XX:+UnlockDiagnosticVMOptions -XX:G1NumCollectionsKeepPinned=9";
        assert_eq!(refused(pinned, 21), ["-XX:G1NumCollectionsKeepPinned, which Java 21 does not know yet"]);
        assert_eq!(refused("-d64 -Djava.security.manager=allow", 25).len(), 2);
        assert_eq!(refused("-Djava.security.manager=disallow", 25), [""; 0]);
        assert_eq!(refused(&format!("-XX:+IgnoreUnrecognizedVMOptions {biased}"), 25), [""; 0]);
    }

    #[test]
    fn an_option_written_wrongly_or_locked_says_how_it_is_written() {
        assert_eq!(refused("-XX:UseG1GC", 25), ["-XX:UseG1GC, which is written -XX:+UseG1GC or -XX:-UseG1GC"]);
        assert_eq!(
            refused("-XX:+MaxGCPauseMillis", 25),
            ["-XX:+MaxGCPauseMillis, which is written -XX:MaxGCPauseMillis=…"]
        );
        assert_eq!(refused("-XX:+UseG1Gc", 25), ["-XX:+UseG1Gc, which no Java knows: did you mean UseG1GC?"]);
        assert_eq!(
            refused("-XX:G1NumCollectionsKeepPinned=9", 25),
            ["-XX:G1NumCollectionsKeepPinned, which needs -XX:+UnlockDiagnosticVMOptions beside it"]
        );
        assert_eq!(refused("Xmx4g", 25), ["a word that is not an option: options begin with -"]);
        assert_eq!(refused("--add-opens java.base/java.nio=ALL-UNNAMED -Dx=y @more", 25), [""; 0]);
        assert_eq!(refused("-XX:+UseSVE -XX:SomethingOfAnotherVm=1", 25), [""; 0]);
    }

    #[test]
    fn the_version_is_that_of_the_release_file() {
        let home = std::env::temp_dir().join(format!("dl-entry-java-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        for (text, version) in
            [("A=1\nJAVA_VERSION=\"25.0.2\"\n", Some(25)), ("JAVA_VERSION=\"1.8.0_392\"", Some(8)), ("", None)]
        {
            std::fs::write(home.join("release"), text).unwrap();
            assert_eq!(version_at(&home), version);
        }
        std::fs::remove_dir_all(&home).unwrap();
        assert_eq!(version_at(&home), None);
    }
}
