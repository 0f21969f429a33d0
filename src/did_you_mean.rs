//! How far apart two spellings are, for every "did you mean".

/// No larger distance is told apart from the largest there is.
const MOST: usize = 3;

/// Levenshtein's distance, counting a swap of neighbours as one; `usize::MAX` where it is more than `MOST`. Takes a
/// time that grows with the length alone: of the table only what is near its diagonal is worked out.
pub fn edit_distance(one: &str, other: &str) -> usize {
    if one.is_ascii() && other.is_ascii() {
        return if differ_in_letters(one, other) { usize::MAX } else { distance(one.as_bytes(), other.as_bytes()) };
    }
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    distance(&one, &other)
}

/// Whether more letters are in one of the two alone than `MOST` changes can account for: nearly always, and quickly
/// seen.
fn differ_in_letters(one: &str, other: &str) -> bool {
    let letters = |text: &str| text.bytes().fold(0u64, |letters, byte| letters | 1 << (byte & 63));
    (letters(one) ^ letters(other)).count_ones() as usize > 2 * MOST
}

fn distance<T: PartialEq>(one: &[T], other: &[T]) -> usize {
    let same = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let (one, other) = (&one[same..], &other[same..]);
    let same = one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count();
    distance_of_different(&one[..one.len() - same], &other[..other.len() - same])
}

fn distance_of_different<T: PartialEq>(one: &[T], other: &[T]) -> usize {
    const WIDTH: usize = 2 * MOST + 1;
    if one.len().abs_diff(other.len()) > MOST {
        return usize::MAX;
    }
    let far = MOST + 1;
    // `row[k]` is the distance of the first `i` and the first `i + k - MOST`.
    let mut row: [usize; WIDTH] = std::array::from_fn(|k| k.checked_sub(MOST).unwrap_or(far));
    let mut before = [far; WIDTH];
    for (i, a) in one.iter().enumerate() {
        let mut next = [far; WIDTH];
        for k in 0..WIDTH {
            let Some(j) = (i + 1 + k).checked_sub(MOST).filter(|j| *j <= other.len()) else { continue };
            let left = if k > 0 { next[k - 1] + 1 } else { far };
            let up = if k + 1 < WIDTH { row[k + 1] + 1 } else { far };
            let Some(b) = j.checked_sub(1).map(|j| &other[j]) else {
                next[k] = up.min(far);
                continue;
            };
            let swap = i > 0 && j > 1 && *a == other[j - 2] && one[i - 1] == *b;
            let swapped = if swap { before[k] + 1 } else { far };
            next[k] = (row[k] + usize::from(a != b)).min(left).min(up).min(swapped).min(far);
        }
        if next.iter().chain(&row).all(|distance| *distance >= far) {
            return usize::MAX;
        }
        (before, row) = (row, next);
    }
    let distance = row[MOST + other.len() - one.len()];
    if distance > MOST { usize::MAX } else { distance }
}

/// How far a name may be from what was probably meant: at most `most`, and a third of a short one.
pub fn tolerance(name: &str, most: usize) -> usize {
    // No more characters than that matter.
    most.min(name.chars().take(3 * most).count() / 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_a_swap_as_one() {
        assert_eq!(edit_distance("PORT", "PROT"), 1);
        assert_eq!(edit_distance("PORT", "PORTS"), 1);
        assert_eq!(edit_distance("PORT", "HOST"), 2);
    }

    #[test]
    fn distances_are_those_of_the_whole_table() {
        for (one, other, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("abcd", "", usize::MAX),
            ("kitten", "sitting", 3),
            ("abcdef", "badcfe", 3),
            ("abcdefgh", "badcfehg", usize::MAX),
            ("größe", "grosse", 3),
            ("aaaa", "bbbb", usize::MAX),
            ("xabcdefghi", "abcdefghix", 2),
            ("ca", "abc", 3),
        ] {
            assert_eq!((edit_distance(one, other), edit_distance(other, one)), (distance, distance), "{one} {other}");
        }
    }

    #[test]
    fn thousands_of_names_are_compared_with_thousands() {
        let names: Vec<String> = (0..600).map(|index| format!("http-server.authentication.name{index}.key")).collect();
        let begun = std::time::Instant::now();
        let near: usize =
            names.iter().map(|one| names.iter().filter(|other| edit_distance(one, other) < 2).count()).sum();
        assert!(near > 600 && begun.elapsed() < std::time::Duration::from_secs(20), "{near} {:?}", begun.elapsed());
    }

    #[test]
    fn a_short_name_is_not_taken_for_another() {
        assert_eq!([tolerance("foo", 3), tolerance("retries", 3), tolerance("a.long.key", 3)], [1, 2, 3]);
        assert!(edit_distance("foo", "pool") > tolerance("foo", 3));
    }
}
