//! Whitening: samples z = L⁻¹(x − c), or Lᵀ(x − c), whose Euclidean distances are the Mahalanobis distances of the samples x.
//!
//! - `factor` — factors of symmetric matrices
//! - `blocks` — whitens packed samples

mod blocks;
mod factor;

pub(crate) use blocks::whiten;

use rayon::prelude::*;

use super::Workers;
use super::moments::{GATHERED_COPIES, GATHERED_SAMPLES};
use crate::kernel::{Level, PanelShape, Product, Scratch};
use crate::metric::{PowerOfTwo, exponent_of};
use factor::{BLOCK, Factor};

/// Samples that are whitened together, about.
const SAMPLES: usize = 160;

/// Takes a covariance off samples, or multiplies them by the root of an inverse covariance.
pub(crate) struct Whitening {
    /// What is taken off every sample.
    centre: Vec<f64>,
    /// The powers of two that features are multiplied by, for the matrix to have a diagonal of about 1.
    scales: Vec<PowerOfTwo<f64>>,
    /// Which feature each one of the factor is.
    order: Vec<usize>,
    product: Product,
    root: Root,
    /// The smallest of the squares that it was divided by, beside the largest value on the diagonal, about 1.
    smallest: f64,
}

/// What centred samples are multiplied by.
enum Root {
    /// L⁻¹, of a covariance P V Pᵀ = L Lᵀ: some rows of L for each step of the substitution.
    Inverse(Vec<Step>),
    /// Lᵀ, of an inverse covariance, in panels.
    Transposed(Vec<u64>),
}

/// Some rows of L.
struct Step {
    /// Their values before the diagonal block, in panels.
    before: Vec<u64>,
    /// Their values in it, column by column.
    diagonal: Vec<f64>,
}

/// Why a matrix is no covariance, or no inverse of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// A feature is a combination of others, up to rounding, and so many are.
    Singular {
        /// One of them.
        feature: usize,
        /// All of them.
        count: usize,
    },
    /// The square of a length along some direction would be negative.
    Negative,
}

/// What is taken for 0 beside values of about 1: the matrix itself is a sum with roundings.
fn least_pivot(d: usize) -> f64 {
    8.0 * d as f64 * f64::EPSILON
}

/// Below this, or not far above what is taken for 0, a pivot leaves distances few digits.
const FEW_DIGITS: f64 = 1e-12;

/// The exponents of a diagonal's square roots, and the matrix less these.
fn balanced(matrix: &[f64], d: usize) -> (Vec<i32>, Vec<f64>) {
    let exponent = |i: usize| {
        let value = matrix[i * d + i];
        if value > 0.0 && value.is_finite() { exponent_of(value).div_euclid(2) } else { 0 }
    };
    let exponents: Vec<i32> = (0..d).map(exponent).collect();
    let mut balanced = matrix.to_vec();
    for (row, i) in balanced.chunks_exact_mut(d).zip(&exponents) {
        for (value, j) in row.iter_mut().zip(&exponents) {
            *value = PowerOfTwo::<f64>::new(-i - j).times(*value);
        }
    }
    (exponents, balanced)
}

impl Whitening {
    /// By a covariance of d × d values, of samples that lie around `centre`.
    ///
    /// # Errors
    /// If it is singular.
    pub(crate) fn of_covariance(
        workers: &Workers,
        level: Level,
        covariance: &[f64],
        centre: &[f64],
    ) -> Result<Self, Unfit> {
        let d = centre.len();
        let (exponents, balanced) = balanced(covariance, d);
        let Factor { order, lower, rank, smallest, .. } =
            Factor::of(workers, level, balanced, d, least_pivot(d));
        if rank < d {
            return Err(Unfit::Singular { feature: order[rank], count: d - rank });
        }
        let product = Product::new(level);
        let step = |number: usize| {
            let rows = number * BLOCK..d.min((number + 1) * BLOCK);
            let shape = product.cols(rows.start.max(1));
            let mut before = Vec::new();
            if rows.start > 0 {
                let values: Vec<f64> =
                    rows.clone().flat_map(|i| lower[i * d..][..rows.start].iter().copied()).collect();
                before.resize(shape.count(rows.len()) * shape.len(), 0);
                shape.pack(&values, false, &mut before);
            }
            let column = |j: usize| {
                let lower = &lower;
                rows.clone().map(move |i| if j <= i { lower[i * d + j] } else { 0.0 })
            };
            Step { before, diagonal: rows.clone().flat_map(column).collect() }
        };
        let steps = workers.map(d.div_ceil(BLOCK), step);
        let scales = exponents.iter().map(|exponent| PowerOfTwo::new(-exponent)).collect();
        Ok(Self { centre: centre.to_vec(), scales, order, product, root: Root::Inverse(steps), smallest })
    }

    /// By an inverse covariance of d × d values that errs by `error` beside rounding: the Frobenius norm of that, with the diagonal brought to 1.
    ///
    /// # Errors
    /// If squares of lengths could be negative for it, by more than it errs.
    pub(crate) fn of_inverse(
        workers: &Workers,
        level: Level,
        inverse: &[f64],
        centre: &[f64],
        error: f64,
    ) -> Result<Self, Unfit> {
        let d = centre.len();
        let (exponents, mut balanced) = balanced(inverse, d);
        for (i, j) in (0..d).flat_map(|i| (0..i).map(move |j| (i, j))) {
            // all that counts of two entries is their sum
            balanced[i * d + j] = f64::midpoint(balanced[i * d + j], balanced[j * d + i]);
        }
        let least = least_pivot(d);
        let Factor { order, lower, smallest, rest, .. } = Factor::of(workers, level, balanced, d, least);
        // the diagonal is below 4
        let most = 4.0 * (least + error);
        // NaN is none of both
        if rest.is_some_and(|(negative, largest)| !(negative >= -most && largest <= most)) {
            return Err(Unfit::Negative);
        }
        let product = Product::new(level);
        let shape = product.cols(d);
        let mut panels = vec![0; shape.count(d) * shape.len()];
        // panel by panel: a whole matrix more would take its memory
        let transposed = |j: usize| (0..d).map(move |i| (i, j));
        for (number, panel) in panels.chunks_exact_mut(shape.len()).enumerate() {
            let rows = (number * shape.width..d.min((number + 1) * shape.width)).flat_map(transposed);
            let values: Vec<f64> = rows.map(|(i, j)| if j <= i { lower[i * d + j] } else { 0.0 }).collect();
            shape.pack(&values, false, panel);
        }
        let scales = exponents.iter().map(|exponent| PowerOfTwo::new(*exponent)).collect();
        Ok(Self { centre: centre.to_vec(), scales, order, product, root: Root::Transposed(panels), smallest })
    }

    /// Whether some of the squares that samples are divided by are so small, for a matrix whose diagonal is about 1, that distances lose most of their
    /// digits.
    pub(crate) fn is_nearly_singular(&self) -> bool {
        self.smallest < FEW_DIGITS.max(1000.0 * least_pivot(self.centre.len()))
    }

    /// Whitens row-major samples.
    fn apply(&self, samples: &mut [f64], scratch: &mut WhiteningScratch) {
        let d = self.centre.len();
        for sample in samples.chunks_exact_mut(d) {
            scratch.sample.clear();
            let centred =
                |&feature: &usize| self.scales[feature].times(sample[feature] - self.centre[feature]);
            scratch.sample.extend(self.order.iter().map(centred));
            sample.copy_from_slice(&scratch.sample);
        }
        match &self.root {
            Root::Inverse(steps) => self.substitute(steps, samples, scratch),
            Root::Transposed(panels) => {
                let (m, of_samples, of_root) =
                    (samples.len() / d, self.product.rows(d), self.product.cols(d));
                scratch.panels.resize(of_samples.count(m) * of_samples.len(), 0);
                of_samples.pack(samples, false, &mut scratch.panels);
                let (left, right) = ((&scratch.panels[..], m, of_samples), (&panels[..], d, of_root));
                self.product.compute(left, right, d, (samples, d), &mut scratch.kernel);
            }
        }
    }

    /// Whitens any number of row-major samples.
    pub(crate) fn apply_all(&self, workers: &Workers, samples: &mut [f64]) {
        let groups = samples.par_chunks_mut(self.product.whole(SAMPLES) * self.centre.len());
        workers.install(|| {
            groups.for_each_init(WhiteningScratch::default, |scratch, group| self.apply(group, scratch));
        });
    }

    /// L⁻¹ of samples, by forward substitution: of each block of features, what those before it account for is taken off.
    fn substitute(&self, steps: &[Step], samples: &mut [f64], scratch: &mut WhiteningScratch) {
        let (d, shape) = (self.centre.len(), self.product.rows(self.centre.len()));
        let m = samples.len() / d;
        scratch.panels.clear();
        scratch.panels.resize(shape.count(m) * shape.len(), 0);
        for (number, step) in steps.iter().enumerate() {
            let features = number * BLOCK..d.min((number + 1) * BLOCK);
            let n = features.len();
            scratch.products.clear();
            scratch.products.resize(m * n, 0.0);
            if features.start > 0 {
                let of_rows = self.product.cols(features.start);
                let (left, right) = ((&scratch.panels[..], m, shape), (&step.before[..], n, of_rows));
                let out = (&mut scratch.products[..], n);
                self.product.compute(left, right, features.start, out, &mut scratch.kernel);
            }
            for (sample, products) in samples.chunks_exact_mut(d).zip(scratch.products.chunks_exact(n)) {
                let left = &mut sample[features.clone()];
                left.iter_mut().zip(products).for_each(|(value, product)| *value -= product);
                for (k, column) in step.diagonal.chunks_exact(n).enumerate() {
                    let value = left[k] / column[k];
                    left[k] = value;
                    for (value_left, factor) in left[k + 1..].iter_mut().zip(&column[k + 1..]) {
                        *value_left -= factor * value;
                    }
                }
            }
            put(&mut scratch.panels, shape, samples, features);
        }
    }
}

/// Copies some features of samples to panels of them.
fn put(panels: &mut [u64], shape: PanelShape, samples: &[f64], features: std::ops::Range<usize>) {
    let panels: &mut [f64] = bytemuck::cast_slice_mut(panels);
    let samples = samples.chunks(shape.width * shape.features);
    for (panel, samples) in panels.chunks_exact_mut(shape.len()).zip(samples) {
        for (lane, sample) in samples.chunks_exact(shape.features).enumerate() {
            for l in features.clone() {
                panel[l * shape.width + lane] = sample[l];
            }
        }
    }
}

/// What a worker keeps between samples.
#[derive(Default)]
struct WhiteningScratch {
    sample: Vec<f64>,
    panels: Vec<u64>,
    products: Vec<f64>,
    kernel: Scratch<f64>,
}

/// Bytes that a rank takes beside its samples to whiten them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WhiteningBytes {
    /// At most: the covariance or its inverse, a copy that is factored, and what samples are multiplied by; and some samples of every worker.
    pub(crate) most: u64,
    /// What is kept until the result has it.
    pub(crate) kept: u64,
}

impl WhiteningBytes {
    /// Of samples with `d` features; nothing if 64 bits cannot count the bytes.
    pub(crate) fn of(d: usize, threads: usize) -> Option<Self> {
        let d = u64::try_from(d).ok()?;
        let kept = d.checked_mul(d)?.checked_mul(8)?;
        // samples as they are, in panels, and what is taken off them
        let of_thread = 3 * 2 * SAMPLES as u64 * 8;
        let gathered = GATHERED_COPIES * GATHERED_SAMPLES as u64 * 8;
        let lines = u64::try_from(threads).ok()?.checked_mul(of_thread)?.checked_add(gathered)?;
        Some(Self { most: kept.checked_mul(3)?.checked_add(d.checked_mul(lines)?)?, kept })
    }
}
