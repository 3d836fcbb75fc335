//! From counts to distances: in whole numbers, and rounded once.

use super::Counted;
use crate::element::{Dtype, Element};
use crate::metric::{Finish, Table, Truth, quotient_to_odd};

/// What is made of the count of a pair.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct Finished {
    /// What was counted.
    pub(in crate::kernel) counted: Counted,
    /// What is done with that.
    pub(in crate::kernel) finish: Finish,
    /// Features of a sample.
    pub(in crate::kernel) features: u64,
}

impl Finished {
    /// Distances of some pairs from their counts; `xs` and `ys` are what the samples of each carry beside their words, and 0 where they
    /// carry nothing.
    #[inline(always)]
    pub(super) fn distances<T: Element>(self, counts: &[u64], xs: &[u64], ys: &[u64], out: &mut [T]) {
        let each = Pairs { counts, xs, ys, out };
        match (self.counted, self.finish) {
            (_, Finish::Truth(truth)) => self.of_truth(truth, each),
            (Counted::CommonBits, _) => each.fill(|common, x, y| self.share(x + y - 2 * common)),
            (Counted::UnequalBytes | Counted::UnequalPlanes, _) => {
                each.fill(|unequal, _, _| self.share(unequal));
            }
            // vectors of numbers of 32 bits are turned into floats faster
            (Counted::Products, Finish::Root) if self.features <= SMALL_SQUARES => {
                each.fill(|product, x, y| root(small::<f64>(square(product, x, y))));
            }
            (Counted::Products, Finish::Root) => {
                each.fill(|product, x, y| root(square(product, x, y) as f64));
            }
            (Counted::Products, _) if self.features <= SMALL_SQUARES => {
                each.fill(|product, x, y| small(square(product, x, y)));
            }
            (Counted::Products, _) => each.fill(|product, x, y| T::from_u64(square(product, x, y))),
            (Counted::Differences | Counted::LargestDifference, _) if self.features <= SMALL_SQUARES => {
                each.fill(|count, _, _| small(count));
            }
            (Counted::Differences | Counted::LargestDifference, _) => {
                each.fill(|count, _, _| T::from_u64(count));
            }
        }
    }

    #[inline(always)]
    fn share<T: Element>(self, unequal: u64) -> T {
        if self.features <= most_exact::<T>() {
            return small::<T>(unequal) / small::<T>(self.features);
        }
        quotient(unequal as f64, self.features as f64)
    }

    #[inline(always)]
    fn of_truth<T: Element>(self, truth: Truth, each: Pairs<'_, T>) {
        // each a loop of its own, in which the metric is known
        match truth {
            Truth::Jaccard => self.of_one(Truth::Jaccard, each),
            Truth::Dice => self.of_one(Truth::Dice, each),
            Truth::RogersTanimoto => self.of_one(Truth::RogersTanimoto, each),
            Truth::RussellRao => self.of_one(Truth::RussellRao, each),
            Truth::SokalSneath => self.of_one(Truth::SokalSneath, each),
            Truth::Yule => self.of_one(Truth::Yule, each),
        }
    }

    #[inline(always)]
    fn of_one<T: Element>(self, truth: Truth, each: Pairs<'_, T>) {
        // of which NaN an operation gives, processors differ; to the compiler one is as good as another
        let nan = std::hint::black_box(T::NAN);
        let nothing = if truth.is_zero_of_nothing() { T::default() } else { nan };
        if truth.largest(self.features) <= most_exact::<T>().into() {
            // numbers of the type, so that their quotient is rounded once
            #[allow(clippy::cast_possible_truncation, reason = "they are no larger")]
            each.fill(|both, x, y| {
                let [both, x, y, features] = [both, x, y, self.features].map(|count| count as i32);
                let neither = features + both - x - y;
                let (numerator, denominator) =
                    truth.ratio(Table { both, of_x: x - both, of_y: y - both, neither });
                let quotient = T::from_i32(numerator) / T::from_i32(denominator.max(1));
                if denominator == 0 { nothing } else { quotient }
            });
        } else if truth.largest(self.features) <= u64::MAX.into() {
            each.fill(|both, x, y| {
                let neither = self.features + both - x - y;
                let (numerator, denominator) =
                    truth.ratio(Table { both, of_x: x - both, of_y: y - both, neither });
                let quotient = quotient(numerator as f64, denominator as f64);
                if denominator == 0 { nothing } else { quotient }
            });
        } else {
            each.fill(|both, x, y| {
                let neither = self.features + both - x - y;
                let [both, of_x, of_y, neither] =
                    [both, x - both, y - both, neither].map(|count| count as f64);
                let (numerator, denominator) = truth.ratio(Table { both, of_x, of_y, neither });
                if denominator == 0.0 { nothing } else { quotient(numerator, denominator) }
            });
        }
    }
}

/// The counts of some pairs, what both samples of each carry, and where their distances go.
struct Pairs<'a, T> {
    counts: &'a [u64],
    xs: &'a [u64],
    ys: &'a [u64],
    out: &'a mut [T],
}

impl<T> Pairs<'_, T> {
    // one loop over all pairs: of a loop for each row, the compiler unrolls it, and has vectors across rows
    #[inline(always)]
    fn fill(self, of: impl Fn(u64, u64, u64) -> T) {
        let len = self.out.len();
        let (counts, xs, ys) = (&self.counts[..len], &self.xs[..len], &self.ys[..len]);
        for (l, out) in self.out.iter_mut().enumerate() {
            *out = of(counts[l], xs[l], ys[l]);
        }
    }
}

/// Features whose squared differences have a sum of no more than 31 bits.
const SMALL_SQUARES: u64 = (i32::MAX / (255 * 255)) as u64;

/// Whole numbers up to this are numbers of the type, and of 32 bits.
#[inline(always)]
fn most_exact<T: Element>() -> u64 {
    u64::try_from(T::WHOLE.min(i32::MAX.into())).expect("it is positive")
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "it is no larger")]
fn small<T: Element>(count: u64) -> T {
    T::from_i32(count as i32)
}

/// |x|² + |y|² − 2x·y, of a product with a sign.
#[inline(always)]
fn square(product: u64, x: u64, y: u64) -> u64 {
    x.wrapping_add(y).wrapping_sub(product.wrapping_mul(2))
}

/// `numerator` / `denominator`, rounded once to the type.
#[inline(always)]
fn quotient<T: Element>(numerator: f64, denominator: f64) -> T {
    T::from_f64(match T::DTYPE {
        Dtype::F32 => quotient_to_odd(numerator, denominator),
        Dtype::F64 => numerator / denominator,
    })
}

/// √`square`, rounded once: of whole numbers below 2⁵² the root in f64 is so near the middle of two neighbours in f32 only where it is
/// that middle.
#[inline(always)]
fn root<T: Element>(square: f64) -> T {
    T::from_f64(square.sqrt())
}
