//! Durations in milliseconds, as Trino, Go and ISO 8601 spell them.

use super::Rejection;
use super::amount::{amount, largest_unit};

/// 31 thousand years, in milliseconds.
const LONGEST: f64 = 1e15;

const DURATION_UNITS: [(&str, f64); 8] = [
    ("ns", 1e-6),
    ("us", 1e-3),
    ("µs", 1e-3),
    ("ms", 1.0),
    ("s", 1000.0),
    ("m", 60_000.0),
    ("h", 3_600_000.0),
    ("d", 86_400_000.0),
];

/// Milliseconds of `60s`, `1.5h`, `1h30m` (Trino's and Go's spellings) or `PT1M30S` (ISO 8601, as Java reads it).
pub fn parse_duration(text: &str) -> Result<u64, Rejection> {
    let reject = |what: &str| Rejection { what: what.into(), accepted: String::new() };
    let upper = text.to_ascii_uppercase();
    if let Some(iso) = upper.strip_prefix('P') {
        return whole_millis(parse_iso_duration(iso).ok_or_else(|| reject("is not a duration"))?);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let (number, tail) = amount(rest).ok_or_else(|| reject("is not a duration"))?;
        let end = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let unit = tail[..end].trim_end();
        if unit.is_empty() {
            return Err(reject("is a duration without its unit"));
        }
        let factor = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
        total += number * factor.ok_or_else(|| reject("has an unknown unit"))?;
        rest = &tail[end..];
    }
    if text.is_empty() { Err(reject("is not a duration")) } else { whole_millis(total) }
}

/// Milliseconds that make sense: some or none, and not a fraction of one.
fn whole_millis(total: f64) -> Result<u64, Rejection> {
    let reject = |what: &str| Rejection { what: what.into(), accepted: String::new() };
    match total {
        0.0 => Ok(0),
        less if less < 1.0 => Err(reject("is not a duration of at least 1ms")),
        more if more > LONGEST => Err(reject("is too long")),
        millis => Ok(millis.round() as u64),
    }
}

fn parse_iso_duration(text: &str) -> Option<f64> {
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let mut total = 0.0;
    for (part, units) in [
        (date, [("D", 86_400_000.0), ("", 0.0), ("", 0.0)].as_slice()),
        (time, [("H", 3_600_000.0), ("M", 60_000.0), ("S", 1000.0)].as_slice()),
    ] {
        let mut rest = part;
        while !rest.is_empty() {
            let (number, tail) = amount(rest)?;
            let unit = tail.get(..1)?;
            total += number * units.iter().find(|(name, _)| *name == unit)?.1;
            rest = &tail[1..];
        }
    }
    (!text.is_empty() && text != "T").then_some(total)
}

/// Trino's and Go's spelling: `90s`, `2m`, `250ms`.
pub fn show_duration(millis: u64) -> String {
    shown(millis, "m")
}

/// PostgreSQL's spelling: `90s`, `2min`, `250ms`.
pub fn show_postgresql_duration(millis: u64) -> String {
    shown(millis, "min")
}

fn shown(millis: u64, minutes: &'static str) -> String {
    let units = [("ms", 1), ("s", 1000), (minutes, 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    if millis == 0 {
        return "0s".into();
    }
    let (number, unit) = largest_unit(millis, &units);
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::ValueType;

    fn duration(text: &str) -> Result<u64, String> {
        parse_duration(text).map_err(|why| why.what)
    }

    /// Behaviours: 86.
    #[test]
    fn durations_take_trinos_gos_and_iso_spellings_and_refuse_bare_numbers() {
        assert_eq!(duration("60s"), Ok(60_000));
        assert_eq!(duration("1h30m"), Ok(5_400_000));
        assert_eq!(duration("1.5h"), Ok(5_400_000));
        assert_eq!(duration("PT1M30S"), Ok(90_000));
        assert_eq!(duration("P1DT1H"), Ok(90_000_000));
        assert_eq!(duration("0s"), Ok(0));
        assert_eq!(duration("60"), Err("is a duration without its unit".into()));
        assert_eq!(duration("60 sec"), Err("has an unknown unit".into()));
        assert_eq!(duration("1ns"), Err("is not a duration of at least 1ms".into()));
        assert_eq!(duration("PT"), Ok(0).and(Err("is not a duration".into())));
        assert_eq!(duration("PT0.0001S"), Err("is not a duration of at least 1ms".into()));
        assert_eq!(duration("PT99999999999999999999S"), Err("is too long".into()));
        assert_eq!(duration("99999999999d"), Err("is too long".into()));
        assert_eq!(duration(""), Err("is not a duration".into()));
        assert_eq!((show_duration(120_000), show_postgresql_duration(120_000)), ("2m".into(), "2min".into()));
        assert_eq!((show_postgresql_duration(0), show_postgresql_duration(250)), ("0s".into(), "250ms".into()));
        let shown = ValueType::Duration { min: None, max: None }.parse("60").unwrap_err();
        assert_eq!(shown.accepted, "a duration with its unit: 60s, 2m, 1h30m or PT1M30S");
    }
}
