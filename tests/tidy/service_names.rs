//! The engine knows no service by name: services are data.

use crate::source::{lines, root};

/// Files that may name a service, and why.
const ALLOWED: [(&str, &str); 8] = [
    ("src/cli/command_line.rs", "the examples of the help"),
    ("src/net/s3.rs", "`x-minio-` headers are a part of the protocol"),
    ("src/net/s3/error.rs", "`x-minio-` headers are a part of the protocol"),
    ("src/plan/buckets.rs", "a name the server reserves"),
    ("src/render/format/properties.rs", "the reference that Airlift's format needs for a dollar and a blank"),
    ("src/secrets/detect.rs", "keys and references that several programs know by these names"),
    ("src/wait/target.rs", "the scheme of a URL"),
    ("src/settings/secrets.rs", "passwords known from public examples"),
];

/// Services that are a protocol and a format of files, too: of these only the name by itself is the service's.
const ALSO_A_PROTOCOL: [&str; 1] = ["postgresql"];

fn names(code: &str, service: &str) -> bool {
    match ALSO_A_PROTOCOL.contains(&service) {
        true => code.contains(&format!("\"{service}\"")),
        false => code.contains(service),
    }
}

#[test]
fn no_code_outside_tasks_names_a_service() {
    let services: Vec<String> = std::fs::read_dir(root().join("services"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "shared")
        .collect();
    assert!(services.len() > 2, "{services:?}");
    let mut allowed_and_used = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for line in lines().into_iter().filter(|line| !line.module.starts_with("tasks")) {
        let code = line.code.to_lowercase();
        if !services.iter().any(|service| names(&code, service)) {
            continue;
        }
        match ALLOWED.iter().find(|(file, _)| line.place.starts_with(file)) {
            Some((file, _)) => drop(allowed_and_used.insert(*file)),
            None => found.push(format!("{}: {}", line.place, line.code.trim())),
        }
    }
    assert!(found.is_empty(), "a service is named outside of tasks:\n{}", found.join("\n"));
    let idle: Vec<&str> =
        ALLOWED.iter().map(|(file, _)| *file).filter(|file| !allowed_and_used.contains(file)).collect();
    assert!(idle.is_empty(), "these need no exception: {idle:?}");
}
