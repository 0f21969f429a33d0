//! Many short sequences, found together in one pass.
//!
//! Owns hashes and no value: what is looked for is a sequence of units of `fold`, kept as its hash alone (Karp and
//! Rabin, "Efficient randomized pattern-matching algorithms", 1987). A sequence of `WINDOW` units or more is looked for
//! in windows, each on its own: a part of a long secret is found, too, and no search takes longer for it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A longer needle is looked for in pieces of this length.
pub(super) const WINDOW: usize = 32;
/// One that is very long, in pieces of this length.
pub(super) const WIDE_WINDOW: usize = 64;
/// From this length on a needle is very long.
pub(super) const VERY_LONG: usize = 4096;
/// The first so many units are compared at every place of a text; a longer needle is looked at where they fit.
const STEMS: [usize; 4] = [4, 16, WINDOW, WIDE_WINDOW];

const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// Details at the ends of a match.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Edges {
    /// The character before holds some of its bits (base64, second and third alignment).
    pub partial_before: bool,
    /// The character after holds some of its bits, and padding may follow.
    pub partial_after: bool,
    /// It ends with backslashes.
    pub backslashes: bool,
}

impl Edges {
    fn join(&mut self, other: Edges) {
        self.partial_before |= other.partial_before;
        self.partial_after |= other.partial_after;
        self.backslashes |= other.backslashes;
    }
}

#[derive(Debug, Clone, Copy)]
struct Whole {
    name: u32,
    edges: Edges,
}

/// Units `start..end` are a needle, or a part of a long one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    pub start: usize,
    pub end: usize,
    pub name: u32,
    pub edges: Edges,
}

/// The needles there are.
#[derive(Debug, Default)]
pub(super) struct Needles {
    /// By the hash of all its units.
    whole: HashMap<u64, Whole, BuildHasherDefault<Hashed>>,
    /// By the hash of a stem, the lengths of the needles that begin with it: bit n for n units more.
    longer: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// Which stems may be there at all, one bit for each value of a few bits of the hash.
    filter: Vec<u64>,
    /// How many needles and stems `filter` was made for.
    room: usize,
    /// Which lengths of `STEMS` some needle has.
    used: [bool; STEMS.len()],
}

impl Needles {
    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    /// Adds a sequence of at least four units.
    pub(super) fn add(&mut self, units: &[u32], name: u32, edges: Edges) {
        let window = if units.len() >= VERY_LONG { WIDE_WINDOW } else { WINDOW };
        if units.len() < WINDOW {
            return self.add_short(units, name, edges);
        }
        let window = window.min(units.len());
        let last = units.len() - window;
        for start in (0..last).step_by(window).chain([last]) {
            let edges = Edges {
                partial_before: edges.partial_before && start == 0,
                partial_after: edges.partial_after && start == last,
                backslashes: edges.backslashes && start == last,
            };
            self.add_short(&units[start..start + window], name, edges);
        }
    }

    fn add_short(&mut self, units: &[u32], name: u32, edges: Edges) {
        let fits = |stem: &usize| *stem <= units.len();
        let Some((index, stem)) = STEMS.iter().copied().enumerate().rfind(|(_, stem)| fits(stem)) else { return };
        let mut hash = units[..stem].iter().fold(0, |hash, unit| rolled(hash, *unit));
        let stem_key = key(hash, stem);
        for unit in &units[stem..] {
            hash = rolled(hash, *unit);
        }
        let whole = key(hash, units.len());
        if let Some(known) = self.whole.get_mut(&whole) {
            return known.edges.join(edges);
        }
        self.whole.insert(whole, Whole { name, edges });
        if units.len() > stem {
            *self.longer.entry(stem_key).or_default() |= 1 << (units.len() - stem);
        }
        self.used[index] = true;
        self.admit(stem_key);
    }

    /// One in eight bits is set at most, so that few places are looked at for nothing.
    fn admit(&mut self, stem_key: u64) {
        let most = self.whole.len() + self.longer.len();
        if most <= self.room {
            return self.set(stem_key);
        }
        self.room = (most * 2).max(512);
        self.filter = vec![0; (self.room * 8).next_power_of_two() / 64];
        // A needle that is its own stem is known by that alone; the others' hashes set a few bits more.
        let stems: Vec<u64> = self.whole.keys().chain(self.longer.keys()).copied().collect();
        stems.into_iter().for_each(|stem| self.set(stem));
    }

    fn set(&mut self, stem_key: u64) {
        let bit = self.bit(stem_key);
        self.filter[bit / 64] |= 1 << (bit % 64);
    }

    fn bit(&self, stem_key: u64) -> usize {
        (stem_key >> 40) as usize & (self.filter.len() * 64 - 1)
    }

    /// Every place where one is.
    pub(super) fn find(&self, codes: &[u32], report: &mut impl FnMut(Hit)) {
        let used = STEMS.into_iter().zip(self.used).filter(|(stem, used)| *used && *stem <= codes.len());
        for (stem, _) in used {
            let drop = (0..stem).fold(1u64, |power, _| power.wrapping_mul(BASE));
            let mut hash = codes[..stem].iter().fold(0, |hash, unit| rolled(hash, *unit));
            for start in 0.. {
                let stem_key = key(hash, stem);
                let bit = self.bit(stem_key);
                if self.filter[bit / 64] >> (bit % 64) & 1 == 1 {
                    self.look_at(codes, start, stem, hash, report);
                }
                let Some(next) = codes.get(start + stem) else { break };
                hash = rolled(hash, *next).wrapping_sub(term(codes[start]).wrapping_mul(drop));
            }
        }
    }

    fn look_at(&self, codes: &[u32], start: usize, stem: usize, mut hash: u64, report: &mut impl FnMut(Hit)) {
        let mut tell = |hash: u64, length: usize| {
            if let Some(Whole { name, edges }) = self.whole.get(&key(hash, length)).copied() {
                report(Hit { start, end: start + length, name, edges });
            }
        };
        tell(hash, stem);
        let Some(lengths) = self.longer.get(&key(hash, stem)) else { return };
        for more in 1..=31 - lengths.leading_zeros() as usize {
            let Some(unit) = codes.get(start + stem + more - 1) else { return };
            hash = rolled(hash, *unit);
            if lengths >> more & 1 == 1 {
                tell(hash, stem + more);
            }
        }
    }
}

fn rolled(hash: u64, unit: u32) -> u64 {
    hash.wrapping_mul(BASE).wrapping_add(term(unit))
}

fn term(unit: u32) -> u64 {
    u64::from(unit) + 1
}

/// All bits of the hash take part in each bit of the key (Stafford, "Better Bit Mixing", variant 13).
fn key(hash: u64, length: usize) -> u64 {
    let mut key = hash ^ (length as u64) << 56;
    key = (key ^ key >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    key = (key ^ key >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    key ^ key >> 31
}

/// A key is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(text: &str) -> Vec<u32> {
        text.chars().map(u32::from).collect()
    }

    fn found(needles: &[&str], text: &str) -> Vec<(usize, usize)> {
        let mut all = Needles::default();
        needles.iter().for_each(|needle| all.add(&codes(needle), 0, Edges::default()));
        let mut found = Vec::new();
        all.find(&codes(text), &mut |hit| found.push((hit.start, hit.end)));
        found.sort_unstable();
        found
    }

    #[test]
    fn needles_of_every_length_are_found_at_every_place() {
        let text: String = (0..300).map(|index| char::from_u32(0x4e00 + index).unwrap()).collect();
        let part = |start, end| text.chars().skip(start).take(end - start).collect::<String>();
        for length in 4..WINDOW {
            let needle = part(100, 100 + length);
            assert_eq!(found(&[&needle, &part(7, 7 + length)], &text), [(7, 7 + length), (100, 100 + length)]);
        }
        assert_eq!(found(&[&part(100, 170)], &text), [(100, 132), (132, 164), (138, 170)]);
        assert_eq!(
            found(&[&part(100, 110), &part(100, 115), &part(100, 104)], &text),
            [(100, 104), (100, 110), (100, 115)]
        );
        assert_eq!(found(&["abcde"], "abcd"), []);
    }
}
