//! Sizes in bytes: Trino's, Java's, and IEC and SI told apart.

use super::amount::{amount, largest_unit};
use super::{Rejection, parse_int};

const KIB: u64 = 1024;

fn size_in(text: &str, what: &str, factor: impl Fn(&str) -> Option<u64>) -> Result<u64, Rejection> {
    let reject = |what: String| Rejection { what, accepted: String::new() };
    let (number, unit) = amount(text).ok_or_else(|| reject(format!("is not {what}")))?;
    if unit.is_empty() && number != 0.0 {
        return Err(reject("is a size without its unit".into()));
    }
    let factor = if unit.is_empty() { 1 } else { factor(unit).ok_or_else(|| reject("has an unknown unit".into()))? };
    let bytes = number * factor as f64;
    if bytes > i64::MAX as f64 {
        return Err(reject("is too large".into()));
    }
    Ok(bytes as u64)
}

/// A number without a unit and without a sign: bytes, as many as the services and expressions can count.
fn plain_bytes(text: &str) -> Option<Result<u64, Rejection>> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let too_large = || Rejection { what: "is too large".into(), accepted: String::new() };
    digits.then(|| parse_int(text).map(i64::unsigned_abs).ok_or_else(too_large))
}

fn binary_factor(unit: &str) -> Option<u64> {
    let lower = unit.to_ascii_lowercase();
    // An "i" stands between a prefix and the byte: `5i` is no size.
    if matches!(lower.as_str(), "i" | "ib") {
        return None;
    }
    let prefix = lower.strip_suffix("ib").or_else(|| lower.strip_suffix(['b', 'i'])).unwrap_or(&lower);
    ["", "k", "m", "g", "t", "p"].iter().position(|name| *name == prefix).map(|power| KIB.pow(power as u32))
}

/// `4GB`, `512 MB`, `1.5kB`: airlift's DataSize, whose units are powers of 1024; IEC spellings are taken too.
pub fn parse_datasize(text: &str) -> Result<u64, Rejection> {
    size_in(text, "a size", binary_factor)
}

/// `2g`, `512m`, `8G`, `2GB`, `1073741824`: what `-Xmx` takes and what people write for it.
pub fn parse_jvmsize(text: &str) -> Result<u64, Rejection> {
    match plain_bytes(text) {
        Some(Ok(bytes)) if bytes < KIB * KIB => size_in(text, "a JVM size", binary_factor),
        Some(bytes) => bytes,
        None => size_in(text, "a JVM size", binary_factor),
    }
}

/// `512MiB` is 512·1024², `512MB` is 512·1000²; a plain number is bytes.
pub fn parse_bytes(text: &str) -> Result<u64, Rejection> {
    if let Some(bytes) = plain_bytes(text) {
        return bytes;
    }
    size_in(text, "a size", |unit| {
        let lower = unit.to_ascii_lowercase();
        if lower.ends_with('i') || lower.ends_with("ib") {
            return binary_factor(unit);
        }
        let prefix = lower.strip_suffix('b').unwrap_or(&lower);
        ["", "k", "m", "g", "t", "p"].iter().position(|name| *name == prefix).map(|power| 1000u64.pow(power as u32))
    })
}

/// Trino's spelling: the largest unit without a fraction, `4GB`, `1536MB`, `123B`.
pub fn show_datasize(bytes: u64) -> String {
    let units = [("B", 1), ("kB", KIB), ("MB", KIB.pow(2)), ("GB", KIB.pow(3)), ("TB", KIB.pow(4))];
    let (number, unit) = largest_unit(bytes, &units);
    format!("{number}{unit}")
}

/// `-Xmx`'s spelling: `2g`, `1536m`, `123`.
pub fn show_jvmsize(bytes: u64) -> String {
    let (number, unit) = largest_unit(bytes, &[("", 1), ("k", KIB), ("m", KIB.pow(2)), ("g", KIB.pow(3))]);
    format!("{number}{unit}")
}

/// IEC spelling: `2GiB`, `1536MiB`, `123B`.
pub fn show_bytes(bytes: u64) -> String {
    let units = [("B", 1), ("KiB", KIB), ("MiB", KIB.pow(2)), ("GiB", KIB.pow(3)), ("TiB", KIB.pow(4))];
    let (number, unit) = largest_unit(bytes, &units);
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Behaviours: 86.
    #[test]
    fn sizes_keep_each_services_meaning_of_a_unit() {
        assert_eq!(parse_datasize("4GB").unwrap(), 4 << 30);
        assert_eq!(parse_datasize("512 MB").unwrap(), 512 << 20);
        assert_eq!(parse_jvmsize("8G").unwrap(), 8 << 30);
        assert_eq!(parse_jvmsize("2Gi").unwrap(), 2 << 30);
        assert_eq!(parse_jvmsize("536870912").unwrap(), 512 << 20);
        assert_eq!(parse_bytes("1MB").unwrap(), 1_000_000);
        assert_eq!(parse_bytes("1MiB").unwrap(), 1 << 20);
        assert_eq!(parse_jvmsize("2").unwrap_err().what, "is a size without its unit");
        assert_eq!(parse_datasize("4GX").unwrap_err().what, "has an unknown unit");
        assert_eq!(parse_datasize("99999999999PB").unwrap_err().what, "is too large");
        for parse in [parse_jvmsize, parse_bytes] {
            assert_eq!(parse("18446744073709551615").unwrap_err().what, "is too large");
            assert_eq!(parse("99999999999999999999").unwrap_err().what, "is too large");
            assert!(parse("+1073741824").is_err());
            assert_eq!(parse("5i").unwrap_err().what, "has an unknown unit");
            assert_eq!(parse("5ib").unwrap_err().what, "has an unknown unit");
        }
        assert_eq!(show_datasize(1536 << 20), "1536MB");
        assert_eq!(show_jvmsize(2 << 30), "2g");
    }
}
