//! The variance of every feature.

use super::{Centre, Held, Spread, TERM_BITS, total_of};
use crate::comm::Comm;
use crate::error::Result;
use crate::metric::PowerOfTwo;
use crate::number::Number;
use crate::pipeline::Workers;

/// Unbiased variances of the features of all samples. NaN where a feature has a value that is no number, and for a single sample. Collective.
///
/// Sums are exact, as for [`Centre::of`]: what a term loses is 2⁻⁹⁴ of the square of the feature's range.
///
/// # Errors
/// If samples cannot be read.
pub(crate) fn variances<T: Number>(comm: &Comm, workers: &Workers, held: &Held<'_, T>) -> Result<Vec<f64>> {
    let (Centre { spreads, means }, total) = (Centre::of(comm, workers, held)?, held.total);
    let unit = PowerOfTwo::<f64>::new(-TERM_BITS);
    // of the deviations too: the mean is rounded
    let deviations = held.fold(comm, workers, [0_i128; 2], |feature, [sum, squares], value| {
        let (spread, mean) = (spreads[feature], means[feature]);
        let of_square = spread.whole(value, mean, |by| by * by);
        [sum + spread.whole(value, mean, |by| by), squares + of_square]
    })?;
    let deviations = total_of(comm, deviations.as_flattened());
    let variance = |(sums, spread): (&[i128], &Spread)| {
        if !spread.is_finite || total < 2 {
            return f64::NAN;
        }
        let [sum, squares] = [sums[0], sums[1]].map(|sum| unit.times(sum as f64));
        let squares = squares - sum * sum / total as f64;
        spread.scale.times(spread.scale.times(squares / (total - 1) as f64))
    };
    Ok(deviations.chunks_exact(2).zip(&spreads).map(variance).collect())
}
