//! A number with a unit behind it, read and written.

/// Splits `1.5GB` into the number and the unit.
pub(super) fn amount(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse::<f64>().ok().filter(|number| number.is_finite())?;
    Some((number, text[end..].trim_start()))
}

pub(super) fn largest_unit(number: u64, units: &[(&'static str, u64)]) -> (u64, &'static str) {
    let fitting = units.iter().rev().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor));
    fitting.map_or((number, units[0].0), |(name, factor)| (number / factor, name))
}
