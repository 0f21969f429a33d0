//! How far apart two spellings are, for every "did you mean".

/// Levenshtein's distance, counting a swap of neighbours as one.
pub fn edit_distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > 3 {
        return usize::MAX;
    }
    let mut rows = vec![(0..=other.len()).collect::<Vec<_>>()];
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let swap = i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b;
            let cost = (rows[i][j] + usize::from(a != b)).min(rows[i][j + 1] + 1).min(row[j] + 1);
            row.push(if swap { cost.min(rows[i - 1][j - 1] + 1) } else { cost });
        }
        rows.push(row);
    }
    rows[one.len()][other.len()]
}

/// How far a name may be from what was probably meant: at most `most`, and a third of a short one.
pub fn tolerance(name: &str, most: usize) -> usize {
    most.min(name.chars().count() / 3)
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
    fn a_short_name_is_not_taken_for_another() {
        assert_eq!([tolerance("foo", 3), tolerance("retries", 3), tolerance("a.long.key", 3)], [1, 2, 3]);
        assert!(edit_distance("foo", "pool") > tolerance("foo", 3));
    }
}
