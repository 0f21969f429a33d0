//! The values a parameter takes, as a key table's last column says them, read as PostgreSQL reads its own
//! (`parse_int`, `parse_real`, `parse_bool` and `config_enum_lookup_by_name` of guc.c).
//!
//! `bool`; `enum a|b`; `integer` or `real`, with the unit of a bare number and the bounds: `integer:8kB 16 1073741823`.
//! Anything else is any text. Pure.

/// What is wrong with `text` as such a value: `is not …`.
pub fn mistake(kind: &str, text: &str) -> Option<String> {
    let (name, rest) = kind.split_once(' ').unwrap_or((kind, ""));
    let (name, unit) = name.split_once(':').unwrap_or((name, ""));
    match name {
        "bool" => (!is_bool(text)).then(|| "is neither on nor off".to_owned()),
        "enum" => word_mistake(rest, text),
        "integer" | "real" => number_mistake(name == "integer", unit, rest, text),
        _ => None,
    }
}

/// A beginning of on, off, true, false, yes or no that is of one alone; 1 and 0.
fn is_bool(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let begins = |word: &str| !text.is_empty() && word.starts_with(&text);
    ["true", "false", "yes", "no"].into_iter().any(begins) || matches!(text.as_str(), "on" | "of" | "off" | "1" | "0")
}

/// An enum with on and off among its words takes what a bool takes.
fn word_mistake(words: &str, text: &str) -> Option<String> {
    let words: Vec<&str> = words.split('|').collect();
    let known = words.iter().any(|word| word.eq_ignore_ascii_case(text));
    let known = known || words.contains(&"off") && is_bool(text);
    (!known).then(|| format!("is not one of {}", words.join(", ")))
}

/// Each unit in a smaller one: memory in bytes, time in microseconds.
const UNITS: [(&str, bool, f64); 12] = [
    ("B", true, 1.0),
    ("kB", true, 1024.0),
    ("8kB", true, 8192.0),
    ("MB", true, 1_048_576.0),
    ("GB", true, 1_073_741_824.0),
    ("TB", true, 1_099_511_627_776.0),
    ("us", false, 1.0),
    ("ms", false, 1e3),
    ("s", false, 1e6),
    ("min", false, 6e7),
    ("h", false, 3.6e9),
    ("d", false, 8.64e10),
];

fn number_mistake(whole: bool, unit: &str, bounds: &str, text: &str) -> Option<String> {
    let text = text.trim();
    let end = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '-' | '+' | 'e' | 'E')).unwrap_or(text.len());
    let (digits, given) = text.split_at(end);
    let Some(number) = radix_number(text).or_else(|| digits.parse::<f64>().ok()) else {
        return Some(format!("is not a number{}", in_unit(unit)));
    };
    let given = if radix_number(text).is_some() { "" } else { given.trim() };
    let Some(factor) = factor(unit, given) else { return Some(unit_mistake(unit)) };
    let number = if whole { (number * factor).round_ties_even() } else { number * factor };
    let (low, high) = bounds.split_once(' ')?;
    let inside = number >= low.parse().ok()? && number <= high.parse().ok()?;
    (!inside).then(|| format!("is outside of {low} to {high}{}", in_unit(unit)))
}

/// `0x1f`, which C reads as well.
fn radix_number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"))?;
    i64::from_str_radix(digits, 16).ok().map(|number| number as f64)
}

/// What a number with the unit `given` has to be multiplied by for one of `unit`.
fn factor(unit: &str, given: &str) -> Option<f64> {
    if given.is_empty() {
        return Some(1.0);
    }
    let of = |name: &str| UNITS.iter().find(|(unit, ..)| *unit == name);
    let ((_, base_memory, base), (_, memory, size)) = (of(unit)?, of(given).filter(|_| given != "8kB")?);
    (base_memory == memory).then(|| size / base)
}

fn unit_mistake(unit: &str) -> String {
    let kind = UNITS.iter().find(|(name, ..)| *name == unit).map(|(_, memory, _)| *memory);
    match kind {
        None => "has a unit, and is a bare number".into(),
        Some(true) => "has an unknown unit: B, kB, MB, GB and TB are known, in this spelling".into(),
        Some(false) => "has an unknown unit: us, ms, s, min, h and d are known".into(),
    }
}

fn in_unit(unit: &str) -> String {
    if unit.is_empty() { String::new() } else { format!(", in {unit} where it has no unit") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_judged_as_the_server_does() {
        let buffers = "integer:8kB 16 1073741823";
        for (kind, text) in [
            ("bool", "on"),
            ("bool", "YES"),
            ("bool", "t"),
            ("enum minimal|replica|logical", "Replica"),
            ("enum on|off|local", "true"),
            (buffers, "128MB"),
            (buffers, "16384"),
            (buffers, " 1 GB"),
            ("integer 0 63", "0x1f"),
            ("real:ms -1 100", "-1"),
            ("real 0 1", "0.9"),
            ("integer:s 1 600", "1min"),
            ("integer:kB 64 2147483647", "64.5MB"),
            ("", "anything"),
        ] {
            assert_eq!(mistake(kind, text), None, "{kind} {text}");
        }
        for (kind, text, why) in [
            ("bool", "o", "is neither on nor off"),
            ("bool", "", "is neither on nor off"),
            ("enum minimal|replica", "hot", "is not one of minimal, replica"),
            (buffers, "lots", "is not a number, in 8kB where it has no unit"),
            (buffers, "128mb", "has an unknown unit: B, kB, MB, GB and TB are known, in this spelling"),
            (buffers, "5min", "has an unknown unit: B, kB, MB, GB and TB are known, in this spelling"),
            (buffers, "64kB", "is outside of 16 to 1073741823, in 8kB where it has no unit"),
            ("integer 1 262143", "100MB", "has a unit, and is a bare number"),
            ("integer 1 262143", "0", "is outside of 1 to 262143"),
            ("real 0 1", "1.5", "is outside of 0 to 1"),
        ] {
            assert_eq!(mistake(kind, text).as_deref(), Some(why), "{kind} {text}");
        }
    }
}
