//! Work for the processor: one addition per item, as an interpreter would do it.
//!
//! The optimizer knows these sums. Left alone it replaces the first loop by the closed formula
//! and cuts the second into vectors, and "twice the items" would no longer mean "twice the
//! time". [`black_box`] on each item forbids both; the price is one store and one load.

use std::hint::black_box;

/// Sum of the items.
///
/// The items are any iterator, so that the caller decides which part of the work to do and what
/// happens between two items:
///
/// ```
/// # let mut looks = 0;
/// # let mut check_point = || looks += 1;
/// use tasks::cpu;
///
/// let halves = cpu::sum(0..500) + cpu::sum(500..1000);
/// assert_eq!(halves, cpu::sum_below(1000));
///
/// // A check point of a lock, once per item.
/// let watched = cpu::sum((0..1000).inspect(|_| check_point()));
/// assert_eq!(watched, cpu::sum_below(1000));
/// # assert_eq!(looks, 1000);
/// ```
pub fn sum(items: impl Iterator<Item = u64>) -> u128 {
    let mut sum = 0;
    for i in items {
        sum += u128::from(black_box(i));
    }
    sum
}

/// Sum of the squares of the items. Exact while it is below 2^128: see [`MOST_SQUARES`].
pub fn sum_of_squares(items: impl Iterator<Item = u64>) -> u128 {
    let mut sum = 0;
    for i in items {
        let i = u128::from(black_box(i));
        sum += i * i;
    }
    sum
}

/// Sum of i for i < `n`. Exact for every `n`.
pub fn sum_below(n: u64) -> u128 {
    sum(0..n)
}

/// Sum of i² for i < `n`, exact.
///
/// # Panics
///
/// For `n` above [`MOST_SQUARES`].
pub fn sum_of_squares_below(n: u64) -> u128 {
    assert!(n <= MOST_SQUARES, "at most {MOST_SQUARES} squares, not {n}");
    sum_of_squares(0..n)
}

/// The largest `n` whose sum of i² for i < `n` is below 2^128, some 10^13.
pub const MOST_SQUARES: u64 = 10_069_012_961_345;

/// The same sums without a loop: the known answers.
pub mod formula {
    use super::MOST_SQUARES;

    /// Sum of i for i < `n`: n (n - 1) / 2. Exact for every `n`.
    pub fn sum_below(n: u64) -> u128 {
        let n = u128::from(n);
        n * n.saturating_sub(1) / 2
    }

    /// Sum of i² for i < `n`: n (n - 1) (2n - 1) / 6, exact.
    ///
    /// # Panics
    ///
    /// For `n` above [`MOST_SQUARES`].
    pub fn sum_of_squares_below(n: u64) -> u128 {
        assert!(n <= MOST_SQUARES, "at most {MOST_SQUARES} squares, not {n}");
        let sum = sum_below(n);
        let n = u128::from(n);
        let odd = n + n.saturating_sub(1);
        // One of the two factors is a multiple of 3. Dividing the product overflows before.
        if sum.is_multiple_of(3) { sum / 3 * odd } else { sum * (odd / 3) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Zero, one, two, primes, powers of two and of ten, and their neighbours.
    const SIZES: [u64; 21] = [
        0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 97, 99, 100, 127, 128, 255, 256, 1_000, 7_919, 65_536,
        104_729,
    ];

    #[test]
    fn the_loops_agree_with_the_formulas() {
        for n in SIZES {
            assert_eq!(sum_below(n), formula::sum_below(n), "i, n = {n}");
            assert_eq!(
                sum_of_squares_below(n),
                formula::sum_of_squares_below(n),
                "i², n = {n}"
            );
        }
    }

    #[test]
    fn the_articles_sums_are_exact() {
        assert_eq!(sum_below(100_000_000), 4_999_999_950_000_000);
        assert_eq!(sum_below(10_000_000), 49_999_995_000_000);
        let squares = sum_of_squares_below(20_000_000);
        assert_eq!(squares, 2_666_666_466_666_670_000_000);
        assert!(squares > u64::MAX.into());
    }

    #[test]
    fn the_formulas_are_exact_to_the_end_of_their_range() {
        // The last item alone takes the sum from n - 1 to n: the loop's own definition.
        for n in [1, 2, 1_000_000_007, u64::from(u32::MAX), MOST_SQUARES - 1, MOST_SQUARES] {
            let last = n - 1;
            assert_eq!(formula::sum_below(last) + sum(last..n), formula::sum_below(n));
            let squares = formula::sum_of_squares_below(last) + sum_of_squares(last..n);
            assert_eq!(squares, formula::sum_of_squares_below(n));
        }
        let last = u128::from(u64::MAX - 1);
        assert_eq!(formula::sum_below(u64::MAX) - last, formula::sum_below(u64::MAX - 1));
        let (most, next) =
            (formula::sum_of_squares_below(MOST_SQUARES), u128::from(MOST_SQUARES));
        assert_eq!(most.checked_add(next * next), None, "one more square does not fit");
    }

    #[test]
    #[should_panic = "at most 10069012961345 squares, not 10069012961346"]
    fn too_many_squares_are_refused() {
        sum_of_squares_below(MOST_SQUARES + 1);
    }

    #[test]
    fn a_check_point_runs_once_per_item() {
        let mut check_points = 0;
        let sum = sum_of_squares((0..1_000).inspect(|_| check_points += 1));
        assert_eq!(sum, formula::sum_of_squares_below(1_000));
        assert_eq!(check_points, 1_000);
    }

    proptest! {
        #[test]
        fn random_sizes_agree_with_the_formulas(n in 0..200_000_u64) {
            prop_assert_eq!(sum_below(n), formula::sum_below(n));
            prop_assert_eq!(sum_of_squares_below(n), formula::sum_of_squares_below(n));
        }

        /// Beyond 10^9, and beyond what any loop reaches: a piece of the sum is the difference
        /// of two formulas.
        #[test]
        fn random_pieces_agree_with_the_formulas(
            start in 0..MOST_SQUARES - 10_000, length in 0..10_000_u64,
        ) {
            let end = start + length;
            prop_assert_eq!(
                sum(start..end),
                formula::sum_below(end) - formula::sum_below(start)
            );
            prop_assert_eq!(
                sum_of_squares(start..end),
                formula::sum_of_squares_below(end) - formula::sum_of_squares_below(start)
            );
        }
    }
}
