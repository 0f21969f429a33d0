//! Classes in jar files: whether the ones that a configuration names are there before a JVM looks for them.
//!
//! Reads the central directories alone (APPNOTE.TXT of ZIP, 4.3.12 and 4.3.16); a file that is not a jar has no
//! classes. Knows no service. Offered to contracts by `expression`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The end of the central directory: 22 bytes, and a comment of at most 65535.
const END: u64 = 22;
const LONGEST_COMMENT: u64 = 65_535;
/// Where a ZIP64 says its own end is, right before the usual one.
const LOCATOR: usize = 20;
/// A directory of a million classes is smaller.
const LARGEST_DIRECTORY: u64 = 256 << 20;

/// Those of `classes` that no jar in `folder` has. Where the folder cannot be read, nothing is known to be missing.
pub fn missing_classes(folder: &Path, classes: &[String]) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return vec![] };
    let mut missing: BTreeSet<String> = classes.iter().map(|class| path_of_class(class)).collect();
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "jar"))
    {
        if missing.is_empty() {
            break;
        }
        let directory = central_directory(&path).unwrap_or_default();
        for name in names(&directory) {
            missing.remove(name);
        }
    }
    classes.iter().filter(|class| missing.contains(&path_of_class(class))).cloned().collect()
}

fn path_of_class(class: &str) -> String {
    format!("{}.class", class.trim().replace('.', "/"))
}

/// The bytes of a jar's central directory.
fn central_directory(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let tail_length = length.min(END + LONGEST_COMMENT + LOCATOR as u64);
    let tail = read(&file, length - tail_length, tail_length)?;
    let end = tail.windows(4).rposition(|mark| mark == b"PK\x05\x06").ok_or(io::ErrorKind::InvalidData)?;
    let (size, start) = match (number(&tail, end + 12, 4), number(&tail, end + 16, 4)) {
        (0xffff_ffff, _) | (_, 0xffff_ffff) => {
            let locator = end.checked_sub(LOCATOR).ok_or(io::ErrorKind::InvalidData)?;
            let end = read(&file, number(&tail, locator + 8, 8), 56)?;
            (number(&end, 40, 8), number(&end, 48, 8))
        }
        usual => usual,
    };
    read(&file, start, size)
}

fn read(file: &File, start: u64, length: u64) -> io::Result<Vec<u8>> {
    if length > LARGEST_DIRECTORY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}

/// A little-endian number; zero where the bytes end before it.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let digits = bytes.get(at..at + length).unwrap_or_default();
    digits.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The names of a central directory's entries.
fn names(directory: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = directory;
    std::iter::from_fn(move || {
        rest = rest.strip_prefix(b"PK\x01\x02")?;
        let [name, extra, comment] = [24, 26, 28].map(|at| number(rest, at, 2) as usize);
        let text = rest.get(42..42 + name)?;
        rest = rest.get(42 + name + extra + comment..)?;
        Some(std::str::from_utf8(text).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A jar of empty classes, of which only the directory matters.
    fn jar(names: &[&str], comment: &str) -> Vec<u8> {
        let mut bytes = b"the files themselves".to_vec();
        let start = bytes.len() as u32;
        for name in names {
            bytes.extend(b"PK\x01\x02");
            bytes.extend([0; 24]);
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend([3, 0, 1, 0]);
            bytes.extend([0; 12]);
            bytes.extend(name.as_bytes());
            bytes.extend(b"xtrc");
        }
        let size = bytes.len() as u32 - start;
        bytes.extend(b"PK\x05\x06");
        bytes.extend([0; 8]);
        bytes.extend(size.to_le_bytes());
        bytes.extend(start.to_le_bytes());
        bytes.extend((comment.len() as u16).to_le_bytes());
        bytes.extend(comment.as_bytes());
        bytes
    }

    fn missing(test: &str, files: &[(&str, Vec<u8>)], classes: &[&str]) -> Vec<String> {
        let folder = std::env::temp_dir().join(format!("dl-entry-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        files.iter().for_each(|(name, bytes)| std::fs::write(folder.join(name), bytes).unwrap());
        let missing = missing_classes(&folder, &classes.iter().map(|class| (*class).to_owned()).collect::<Vec<_>>());
        std::fs::remove_dir_all(&folder).unwrap();
        missing
    }

    #[test]
    fn a_class_of_any_jar_is_found_and_one_of_none_is_missing() {
        let files = [("a.jar", jar(&["a/B.class", "a/B$C.class"], "")), ("d.jar", jar(&["d/E.class"], "a comment"))];
        assert_eq!(missing("jars", &files, &["d.E", "a.B$C", " a.B", "a.C", "E"]), ["a.C", "E"]);
    }

    #[test]
    fn what_is_not_a_jar_has_no_classes_and_stops_nothing() {
        let cut_off = jar(&["a/B.class", "c/D.class"], "")[..60].to_vec();
        let mut boundless = jar(&["a/B.class"], "");
        let end = boundless.len() - 10;
        boundless[end..end + 4].copy_from_slice(&[0xfe; 4]);
        let files = [("a.jar", cut_off), ("b.jar", boundless), ("c.jar", vec![]), ("d.txt", jar(&["a/B.class"], ""))];
        assert_eq!(missing("no-jars", &files, &["a.B"]), ["a.B"]);
    }

    #[test]
    fn nothing_is_known_to_be_missing_where_the_folder_cannot_be_read() {
        assert_eq!(missing_classes(Path::new("/nonexistent"), &["a.B".to_owned()]), Vec::<String>::new());
    }
}
