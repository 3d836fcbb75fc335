//! A point amid the samples.

use std::ops::Range;

use super::{Held, Part};
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::number::Number;

/// Samples that the point is found from, at most: an odd number of values has one in the middle.
const SAMPLES: usize = 101;

/// The median of each feature, of up to 101 of the `n` samples of X that lie evenly among them: the point is amid most samples even if some are far away. It is
/// 0 where a feature has no number in them. This rank holds the samples `rows`. Collective.
///
/// # Errors
/// If samples cannot be read.
pub(crate) fn origin<T: Number>(
    comm: &Comm,
    held: &Held<'_, T>,
    rows: &Range<usize>,
    n: usize,
) -> Result<Vec<f64>> {
    let (d, count) = (held.features, n.min(SAMPLES));
    let mut values = vec![0.0; count * d];
    let copied = values.chunks_exact_mut(d).enumerate().try_for_each(|(number, sample)| {
        let row = number * (n - 1) / (count - 1).max(1);
        if rows.contains(&row) {
            match &held.parts[0] {
                Part::Packed(packed) => packed.copy(row - rows.start, sample),
                Part::Filed(input, _) => sample.copy_from_slice(&input.read::<f64>(row..row + 1)?),
            }
        }
        Ok(())
    });
    comm.agree(copied)?;
    // one rank has each, and the others 0
    let values = comm.all_reduce(&values, Reduce::Sum);
    let median = |feature: usize| {
        let values = values.iter().skip(feature).step_by(d);
        let mut values: Vec<f64> = values.copied().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        // 0 has one sign, whatever was added to it
        values.get(values.len().saturating_sub(1) / 2).map_or(0.0, |value| value + 0.0)
    };
    Ok((0..d).map(median).collect())
}
