//! Distances of truth values, from how many features of two samples have which values.

use std::ops::{Add, Mul};

/// How many features are true in both samples, in x alone, in y alone, and in neither; or the sums of their weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Table<N> {
    /// In both.
    pub both: N,
    /// In x alone.
    pub of_x: N,
    /// In y alone.
    pub of_y: N,
    /// In neither.
    pub neither: N,
}

/// A distance of truth values, with a = `both`, b = `of_x`, c = `of_y` and d = `neither`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// (b + c) / (a + b + c), and 0 where nothing is true.
    Jaccard,
    /// (b + c) / (2a + b + c)
    Dice,
    /// 2(b + c) / (a + d + 2(b + c))
    RogersTanimoto,
    /// (b + c + d) / (a + b + c + d)
    RussellRao,
    /// 2(b + c) / (a + 2(b + c))
    SokalSneath,
    /// 2bc / (ad + bc), and 0 where bc is.
    Yule,
}

impl Truth {
    /// Numerator and denominator. Each is the same with x and y the other way round, bit by bit.
    #[inline(always)]
    pub fn ratio<N: Copy + Add<Output = N> + Mul<Output = N>>(self, table: Table<N>) -> (N, N) {
        let Table { both, of_x, of_y, neither } = table;
        let unequal = of_x + of_y;
        match self {
            Self::Jaccard => (unequal, both + unequal),
            Self::Dice => (unequal, both + both + unequal),
            Self::RogersTanimoto => (unequal + unequal, both + neither + (unequal + unequal)),
            Self::RussellRao => (unequal + neither, both + (unequal + neither)),
            Self::SokalSneath => (unequal + unequal, both + (unequal + unequal)),
            Self::Yule => (of_x * of_y + of_x * of_y, both * neither + of_x * of_y),
        }
    }

    /// Whether the distance is 0 where numerator and denominator are; elsewhere it is NaN.
    pub const fn is_zero_of_nothing(self) -> bool {
        matches!(self, Self::Jaccard | Self::Yule)
    }

    /// The largest numerator or denominator of so many features.
    pub fn largest(self, features: u64) -> u128 {
        let features = u128::from(features);
        match self {
            // of b = c = d / 2, twice a quarter of the square
            Self::Yule => features * features / 2,
            _ => 2 * features,
        }
    }

    /// Factors in the terms of numerator and denominator.
    pub(super) const fn degree(self) -> i32 {
        if matches!(self, Self::Yule) { 2 } else { 1 }
    }
}

/// `numerator` / `denominator`, rounded to f64 in such a way that another rounding, to a type of fewer bits, gives what a single one
/// would (to odd: S. Boldo, G. Melquiond, "Emulation of FMA and correctly rounded sums", IEEE Trans. Comput. 57, 2008). Both must be
/// whole numbers that f64 holds.
#[inline(always)]
pub fn quotient_to_odd(numerator: f64, denominator: f64) -> f64 {
    let nearest = numerator / denominator;
    // exact
    let rest = (-nearest).mul_add(denominator, numerator);
    let bits = nearest.to_bits();
    if rest == 0.0 || rest.is_nan() || bits & 1 == 1 {
        return nearest;
    }
    f64::from_bits(if rest > 0.0 { bits + 1 } else { bits - 1 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering;

    #[test]
    #[allow(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
    fn a_quotient_to_odd_rounds_once() {
        // quotients a little beside the middle of two neighbours in f32, which f64 takes for it
        let mut found = 0;
        for k in 1 << 12..(1 << 12) + 5000 {
            // times (2^24 + 1) / 2^25, which is such a middle, that is a whole number less a unit in 2^25
            let denominator = (k << 25) + (1_u64 << 24) - 1;
            let above = (u128::from(denominator) * ((1 << 24) + 1)).div_ceil(1 << 25);
            for numerator in [above - 1, above].map(|number| u64::try_from(number).expect("it is smaller")) {
                let (a, b) = (numerator as f64, denominator as f64);
                let once = quotient_to_odd(a, b) as f32;
                // below or above the middle, by whole numbers
                let (left, right) = (u128::from(numerator) << 25, u128::from(denominator) * ((1 << 24) + 1));
                let (lower, upper) = (0.5_f32, 0.5_f32.next_up());
                let expected = match left.cmp(&right) {
                    Ordering::Greater => upper,
                    // a tie goes to the even one
                    Ordering::Less | Ordering::Equal => lower,
                };
                assert_eq!(once.to_bits(), expected.to_bits(), "{numerator} / {denominator}");
                found += u32::from(((a / b) as f32).to_bits() != once.to_bits());
            }
        }
        assert!(found > 0, "no quotient is rounded twice");
    }
}
