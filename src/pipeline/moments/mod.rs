//! Means, variances and the covariance of the features of all samples, which are packed in the blocks of all ranks or lie in files: the same bits however they
//! are distributed.
//!
//! - `variance` — of every feature
//! - `covariance` — of all features with each other
//! - `origin` — a point amid the samples

mod covariance;
mod origin;
mod variance;

pub(crate) use covariance::{GATHERED_COPIES, GATHERED_SAMPLES, covariance};
pub(crate) use origin::origin;
pub(crate) use variance::variances;

use std::ops::Range;

use super::Workers;
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::metric::PowerOfTwo;
use crate::number::Number;
use crate::source::Input;

/// Bits of a term of an exact sum.
const TERM_BITS: i32 = 94;

/// Bits of a limb: of so few, ranks' sums stay below 2⁶⁴.
const LIMB_BITS: u32 = 44;
const LIMBS: usize = 3;

/// Features that a worker sums together.
const FEATURES: usize = 64;

/// Some samples in a packed panel.
struct Panel<'a, T> {
    /// Samples in the panels before this one.
    first: usize,
    /// Samples of the panel before those meant, and how many these are.
    before: usize,
    count: usize,
    values: &'a [T],
}

/// Some samples in the packed panels of a block.
struct Packed<'a, T> {
    panels: Vec<Panel<'a, T>>,
    width: usize,
    /// −1 where panels hold negated values.
    sign: f64,
}

impl<'a, T: Number> Packed<'a, T> {
    fn of(block: &'a mut Block, rows: Range<usize>, sign: f64) -> Self {
        let (shape, width) = (block.shape(), block.shape().width);
        let panels = if rows.is_empty() {
            Vec::new()
        } else {
            let start = rows.start;
            let panel = |(rows, before, panel): (Range<usize>, usize, &'a mut [u64])| Panel {
                first: rows.start - start,
                before,
                count: rows.len(),
                values: shape.values_of(panel),
            };
            block.panels_mut(rows).map(panel).collect()
        };
        Self { panels, width, sign }
    }

    /// Folds the values of a feature.
    fn fold<A>(&self, feature: usize, start: A, step: &mut impl FnMut(A, f64) -> A) -> A {
        let mut folded = start;
        for &Panel { before, count, values, .. } in &self.panels {
            let line = &values[feature * self.width..][..self.width];
            for value in &line[before..before + count] {
                folded = step(folded, self.sign * value.to_f64());
            }
        }
        folded
    }

    /// Copies one of the samples.
    fn copy(&self, number: usize, sample: &mut [f64]) {
        let at = self.panels.partition_point(|panel| panel.first + panel.count <= number);
        let Panel { first, before, values, .. } = &self.panels[at];
        let lane = before + number - first;
        for (to, line) in sample.iter_mut().zip(values.chunks_exact(self.width)) {
            *to = self.sign * line[lane].to_f64();
        }
    }
}

/// `of` each of `d` features, shared by the workers.
fn over_features<R: Send>(workers: &Workers, d: usize, of: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let part = |part: usize| (part * FEATURES..d.min((part + 1) * FEATURES)).map(&of).collect::<Vec<_>>();
    workers.map(d.div_ceil(FEATURES), part).into_iter().flatten().collect()
}

/// Bytes of samples that are read from files together.
const FILE_BYTES: usize = 16 << 20;

/// Samples of this rank: rows of X, or of Y.
enum Part<'a, T> {
    Packed(Packed<'a, T>),
    /// They lie in files, and are read each time.
    Filed(&'a Input, Range<usize>),
}

/// The samples of this rank.
pub(crate) struct Held<'a, T> {
    /// Rows of X, and of Y if there is one.
    parts: Vec<Part<'a, T>>,
    features: usize,
    /// Samples of all ranks.
    total: usize,
}

impl<'a, T: Number> Held<'a, T> {
    /// Rows of X in their block, and of Y, whose panels hold negated values, if there is one; `total` are the samples of all ranks.
    pub(crate) fn packed(
        x: (&'a mut Block, Range<usize>),
        y: Option<(&'a mut Block, Range<usize>)>,
        total: usize,
    ) -> Self {
        let features = x.0.shape().features;
        let x = Packed::of(x.0, x.1, 1.0);
        let y = y.map(|(block, rows)| Packed::of(block, rows, -1.0));
        Self { parts: std::iter::once(x).chain(y).map(Part::Packed).collect(), features, total }
    }

    /// Rows of X, and of Y if there is one, in their files.
    pub(crate) fn filed(
        x: (&'a Input, Range<usize>),
        y: Option<(&'a Input, Range<usize>)>,
        total: usize,
    ) -> Self {
        let features = x.0.features;
        let part = |(input, rows)| Part::Filed(input, rows);
        Self { parts: std::iter::once(x).chain(y).map(part).collect(), features, total }
    }

    /// Folds the values that this rank has of each feature, by `step(feature, folded, value)`. The order of the samples is left open. Collective.
    ///
    /// # Errors
    /// If samples of any rank cannot be read.
    fn fold<A: Copy + Send + Sync>(
        &self,
        comm: &Comm,
        workers: &Workers,
        start: A,
        step: impl Fn(usize, A, f64) -> A + Sync,
    ) -> Result<Vec<A>> {
        let mut folded = vec![start; self.features];
        let all = self.parts.iter().try_for_each(|part| {
            match part {
                Part::Packed(packed) => {
                    let of = |feature: usize| {
                        packed
                            .fold(feature, folded[feature], &mut |folded, value| step(feature, folded, value))
                    };
                    folded = over_features(workers, self.features, of);
                }
                Part::Filed(input, rows) => {
                    let width = (FILE_BYTES / size_of::<T>()).clamp(1, self.features);
                    let together = (FILE_BYTES / (width * size_of::<T>())).max(1);
                    for first in rows.clone().step_by(together) {
                        let rows = first..rows.end.min(first + together);
                        for start in (0..self.features).step_by(width) {
                            let features = start..self.features.min(start + width);
                            let values = input.read_features::<T>(rows.clone(), features.clone())?;
                            let of = |at: usize| {
                                let samples = values.chunks_exact(features.len());
                                samples.fold(folded[start + at], |folded, sample| {
                                    step(start + at, folded, sample[at].to_f64())
                                })
                            };
                            let some = over_features(workers, features.len(), of);
                            folded[features].copy_from_slice(&some);
                        }
                    }
                }
            }
            Ok(())
        });
        comm.agree(all)?;
        Ok(folded)
    }
}

/// The mean of every feature, and where its values lie.
pub(crate) struct Centre {
    spreads: Vec<Spread>,
    means: Vec<f64>,
}

impl Centre {
    /// Of the samples of all ranks. The sums are exact: every term is a whole number of units of 2⁻⁹⁴ of the largest possible one, so that neither the order of
    /// the samples nor the ranks that hold them matter. Collective.
    ///
    /// # Errors
    /// If samples cannot be read.
    pub(crate) fn of<T: Number>(comm: &Comm, workers: &Workers, held: &Held<'_, T>) -> Result<Self> {
        // the smallest, and the negative of the largest, of which a NaN is neither
        let none = ([f64::INFINITY; 2], true);
        let ends = held.fold(comm, workers, none, |_, ([low, high], finite), value| {
            ([low.min(value), high.min(-value)], finite && value.is_finite())
        })?;
        let known = |(ends, is_finite)| if is_finite { ends } else { [f64::NEG_INFINITY; 2] };
        let ends: Vec<[f64; 2]> = ends.into_iter().map(known).collect();
        let ends = comm.all_reduce(ends.as_flattened(), Reduce::Min);
        let spreads: Vec<Spread> = ends.chunks_exact(2).map(|ends| Spread::of(ends[0], -ends[1])).collect();
        let sums = held.fold(comm, workers, 0_i128, |feature, sum, value| {
            let spread = spreads[feature];
            sum + spread.whole(value, spread.middle, |by| by)
        })?;
        let unit = PowerOfTwo::<f64>::new(-TERM_BITS);
        let mean = |(sum, spread): (i128, &Spread)| {
            spread.middle + spread.scale.times(unit.times(sum as f64) / held.total as f64)
        };
        let means = total_of(comm, &sums).into_iter().zip(&spreads).map(mean).collect();
        Ok(Self { spreads, means })
    }
}

/// Where the values of a feature lie.
#[derive(Clone, Copy)]
struct Spread {
    middle: f64,
    /// Half of their range, or more: up to twice that.
    scale: PowerOfTwo<f64>,
    inverse: PowerOfTwo<f64>,
    is_finite: bool,
}

impl Spread {
    fn of(low: f64, high: f64) -> Self {
        let is_finite = low.is_finite() && high.is_finite();
        let half = high / 2.0 - low / 2.0;
        let exponent = if is_finite && half > 0.0 { crate::metric::exponent_of(half) + 1 } else { 0 };
        Self {
            middle: low / 2.0 + high / 2.0,
            scale: PowerOfTwo::new(exponent),
            inverse: PowerOfTwo::new(-exponent),
            is_finite,
        }
    }

    /// A number of these scales; NaN where the feature has a value that is no number.
    fn scaled(&self, value: f64) -> f64 {
        if self.is_finite { self.scale.times(value) } else { f64::NAN }
    }

    /// `term` of the difference of two values, in units.
    #[allow(clippy::cast_possible_truncation, reason = "the term has so few bits")]
    fn whole(&self, value: f64, from: f64, term: impl Fn(f64) -> f64) -> i128 {
        // differences are within ±2 then, and their squares below 4
        let difference = self.inverse.times(value - from);
        PowerOfTwo::<f64>::new(TERM_BITS).times(term(difference)) as i128
    }
}

/// Sums of all ranks' numbers. Collective.
fn total_of(comm: &Comm, sums: &[i128]) -> Vec<i128> {
    const MASK: u128 = (1 << LIMB_BITS) - 1;
    let limb = |sum: i128, limb: usize| {
        let bits = sum.cast_unsigned() >> (LIMB_BITS as usize * limb) & MASK;
        u64::try_from(bits).expect("a limb has fewer bits")
    };
    let limbs: Vec<u64> = sums.iter().flat_map(|sum| (0..LIMBS).map(move |at| limb(*sum, at))).collect();
    let all = comm.all_reduce(&limbs, Reduce::Sum);
    let joined = |limbs: &[u64]| {
        let parts = limbs.iter().enumerate();
        let shifted = parts.map(|(at, limb)| u128::from(*limb) << (LIMB_BITS as usize * at));
        shifted.fold(0_u128, u128::wrapping_add).cast_signed()
    };
    all.chunks_exact(LIMBS).map(joined).collect()
}
