//! How long to pause between attempts: exponential with full jitter ("Exponential Backoff And Jitter", AWS
//! Architecture Blog), so that fifty containers started together do not ask together.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// Full jitter may come out at nothing; a server is never asked more often than this.
const SHORTEST: Duration = Duration::from_millis(20);

/// Makes each sequence of one process start elsewhere.
static SEQUENCES: AtomicU64 = AtomicU64::new(0);

/// The pauses of one sequence of attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    ceiling: Duration,
    random: u64,
}

impl Backoff {
    pub fn new() -> Self {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        let sequence = SEQUENCES.fetch_add(1, Ordering::Relaxed);
        Backoff { ceiling: FIRST, random: clock ^ u64::from(std::process::id()).rotate_left(32) ^ sequence << 16 }
    }

    /// Somewhere between nothing and a ceiling that doubles from 100 ms to 5 s.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.ceiling.mul_f64(self.fraction());
        self.ceiling = (self.ceiling * 2).min(LONGEST);
        pause.max(SHORTEST)
    }

    /// In [0, 1). SplitMix64 (Steele, Lea, Flood 2014): any seed is a good one. Not for secrets.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ self.random >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_under_a_ceiling_that_doubles_to_five_seconds() {
        for _ in 0..50 {
            let mut backoff = Backoff::new();
            let ceilings = [100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000];
            for ceiling in ceilings {
                let pause = backoff.next_pause();
                assert!(pause >= SHORTEST && pause <= Duration::from_millis(ceiling), "{pause:?} above {ceiling} ms");
            }
        }
    }

    #[test]
    fn two_sequences_do_not_pause_alike_and_use_the_whole_range() {
        let pauses = || {
            let mut backoff = Backoff::new();
            (0..200).map(|_| backoff.next_pause()).skip(6).collect::<Vec<_>>()
        };
        let (one, other) = (pauses(), pauses());
        assert_ne!(one, other);
        assert!(one.iter().any(|pause| *pause > Duration::from_secs(4)));
        assert!(one.iter().any(|pause| *pause < Duration::from_secs(1)));
    }
}
