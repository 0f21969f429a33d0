//! The table of Java's options, against the Java that runs the servers.

use dl_entry::contract::java;
use std::collections::BTreeSet;
use std::process::Command;

const UNLOCKED: [&str; 2] = ["-XX:+UnlockDiagnosticVMOptions", "-XX:+UnlockExperimentalVMOptions"];

#[test]
fn the_table_knows_every_option_of_this_java_and_refuses_none_of_them() {
    let home = crate::service::java_home();
    let version = java::version_at(&home).expect("a release file");
    let printed =
        Command::new(home.join("bin/java")).args(UNLOCKED).args(["-XX:+PrintFlagsFinal", "-version"]).output();
    let printed = String::from_utf8(printed.unwrap().stdout).unwrap();
    // `    bool UseG1GC    = true    {product} {ergonomic}`
    let flags: BTreeSet<(&str, &str)> = printed
        .lines()
        .filter_map(|line| line.split_once(" = "))
        .filter_map(|(before, _)| before.trim().split_once(' '))
        .map(|(kind, name)| (name.trim(), kind))
        .collect();
    assert!(flags.len() > 500, "{} options", flags.len());
    let written = |(name, kind): &(&str, &str)| {
        if *kind == "bool" { format!("-XX:+{name}") } else { format!("-XX:{name}=1") }
    };
    let options: Vec<String> = UNLOCKED.map(str::to_owned).into_iter().chain(flags.iter().map(written)).collect();
    assert_eq!(java::refusals(&options, version), [""; 0]);
    let gone = ["-XX:+UseBiasedLocking", "-XX:+UseConcMarkSweepGC", "-XX:+PrintGCDateStamps"].map(str::to_owned);
    assert_eq!(java::refusals(&gone, version).len(), 3);
    let refused = Command::new(home.join("bin/java")).args(&gone[..1]).arg("-version").output().unwrap();
    assert!(!refused.status.success(), "Java {version} starts with {}", gone[0]);
}
