//! The program's source as lines of code: without comments and without tests.

use std::path::{Path, PathBuf};

/// One line of code of a module.
pub struct Line {
    /// `pid1::spawn`.
    pub module: String,
    /// `src/pid1/spawn.rs:12`.
    pub place: String,
    pub code: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every line of code in `src/`, but for the programs' `main` and for what only unit tests compile.
pub fn lines() -> Vec<Line> {
    let mut files = Vec::new();
    walk(&root().join("src"), &mut files);
    let lines: Vec<Line> = files.iter().flat_map(|file| lines_of(file)).collect();
    assert!(lines.len() > 5_000, "{} lines of code were found in src/", lines.len());
    lines
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let is_test = path.ends_with("tests.rs") || path.ends_with("testing.rs");
        if path.is_dir() && !path.ends_with("bin") {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test && !path.ends_with("lib.rs") {
            files.push(path);
        }
    }
}

fn lines_of(file: &Path) -> Vec<Line> {
    let name = file.strip_prefix(root()).unwrap().display().to_string();
    let module = name.trim_start_matches("src/").trim_end_matches(".rs").replace('/', "::");
    let text = std::fs::read_to_string(file).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let numbered = code.lines().enumerate();
    let is_code = |line: &str| !line.trim_start().starts_with("//");
    numbered
        .filter(|(_, line)| is_code(line))
        .map(|(index, line)| Line {
            module: module.clone(),
            place: format!("{name}:{}", index + 1),
            code: line.to_owned(),
        })
        .collect()
}
