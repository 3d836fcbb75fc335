//! The covariance of all features with each other.
//!
//! Every rank sees all samples, in the order of their rows, and adds up its share of the covariances: so the same terms are added in the same order for any
//! number of ranks. No matrix is ever added to another.

use std::ops::Range;

use rayon::prelude::*;

use super::{Centre, Held, Packed, Part as Samples, TERM_BITS, total_of};
use crate::comm::Comm;
use crate::error::Result;
use crate::kernel::{Level, PanelShape, Product, Scratch};
use crate::metric::{CompensatedSum, PowerOfTwo};
use crate::number::Number;
use crate::partition::range_of;
use crate::pipeline::Workers;

/// Samples whose products are added in one go: a multiple of the blocks of a sum.
pub(crate) const GATHERED_SAMPLES: usize = 512;

/// Copies of them that there are at once: as they come from a rank, feature by feature, and in panels of rows and of columns.
pub(crate) const GATHERED_COPIES: u64 = 4;

/// Features of a part of the matrix that is computed together, about.
const FEATURES: usize = 64;

/// Sums of products of some features with others.
struct Part {
    rows: Range<usize>,
    cols: Range<usize>,
    sums: Vec<CompensatedSum>,
}

impl Part {
    fn add(&mut self, terms: &[f64]) {
        for (sum, term) in self.sums.iter_mut().zip(terms) {
            *sum = sum.plus(*term);
        }
    }

    /// Covariances of `total` samples: the sums, less the products of what the deviations have in common.
    fn finished(&self, deviations: &[f64], total: usize) -> impl Iterator<Item = f64> {
        let pairs = self.rows.clone().flat_map(|row| self.cols.clone().map(move |col| (row, col)));
        self.sums.iter().map(|sum| sum.total()).zip(pairs).map(move |(sum, (row, col))| {
            let common = deviations[row] * deviations[col] / total as f64;
            if total > 1 { (sum - common) / (total - 1) as f64 } else { f64::NAN }
        })
    }
}

/// Sums of the deviations of all samples from the mean of each feature, divided by the spread of the feature: what the rounding of the mean leaves. Exact, and
/// rounded. Collective.
fn deviations<T: Number>(
    comm: &Comm,
    workers: &Workers,
    held: &Held<'_, T>,
    centre: &Centre,
) -> Result<Vec<f64>> {
    let sums = held.fold(comm, workers, 0_i128, |feature, sum, value| {
        sum + centre.spreads[feature].whole(value, centre.means[feature], |by| by)
    })?;
    let unit = PowerOfTwo::<f64>::new(-TERM_BITS);
    Ok(total_of(comm, &sums).into_iter().map(|sum| unit.times(sum as f64)).collect())
}

/// Unbiased covariances of the features of all samples around `centre`, d × d values. `owners` are the rows of X of each rank, and those of Y, counted on from
/// the last of X. NaN where a feature has a value that is no number, and for a single sample. Collective.
///
/// # Errors
/// If samples cannot be read.
pub(crate) fn covariance<T: Number>(
    comm: &Comm,
    workers: &Workers,
    level: Level,
    held: &Held<'_, T>,
    centre: &Centre,
    owners: &[Vec<Range<usize>>],
) -> Result<Vec<f64>> {
    let (d, product) = (held.features, Product::new(level));
    let edge = product.whole(FEATURES);
    let tiles = d.div_ceil(edge);
    let all: Vec<(usize, usize)> = (0..tiles).flat_map(|i| (0..=i).map(move |j| (i, j))).collect();
    let features = |tile: usize| tile * edge..d.min((tile + 1) * edge);
    let mine = |rank: usize| all[range_of(all.len(), comm.size(), rank)].iter();
    let part = |&(i, j): &(usize, usize)| {
        let (rows, cols) = (features(i), features(j));
        let len = rows.len() * cols.len();
        Part { rows, cols, sums: vec![CompensatedSum::default(); len] }
    };
    let mut parts: Vec<Part> = mine(comm.rank()).map(part).collect();
    let mut panels = Panels::new(&product, GATHERED_SAMPLES, d, edge);
    for first in (0..held.total).step_by(GATHERED_SAMPLES) {
        let samples = first..held.total.min(first + GATHERED_SAMPLES);
        let turned = gathered(comm, workers, held, centre, owners, samples.clone())?;
        panels.add_products(workers, &product, &turned, samples.len(), &mut parts);
    }
    let deviations = deviations(comm, workers, held, centre)?;
    let mut finished: Vec<f64> =
        parts.iter().flat_map(|part| part.finished(&deviations, held.total)).collect();
    drop(parts);
    let mut matrix = vec![0.0; d * d];
    for rank in 0..comm.size() {
        let len = mine(rank).map(|&(i, j)| features(i).len() * features(j).len()).sum();
        let mut values = if rank == comm.rank() { std::mem::take(&mut finished) } else { vec![0.0; len] };
        comm.broadcast_values(rank, &mut values);
        let mut values = values.into_iter();
        for &(i, j) in mine(rank) {
            for (row, col) in features(i).flat_map(|row| features(j).map(move |col| (row, col))) {
                let value = values.next().expect("a rank sends all that is its own");
                let value = centre.spreads[row].scaled(centre.spreads[col].scaled(value));
                matrix[row * d + col] = value;
                matrix[col * d + row] = value;
            }
        }
    }
    Ok(matrix)
}

/// Some samples of all ranks, feature by feature: less the mean, and divided by the spread of the feature.
fn gathered<T: Number>(
    comm: &Comm,
    workers: &Workers,
    held: &Held<'_, T>,
    centre: &Centre,
    owners: &[Vec<Range<usize>>],
    samples: Range<usize>,
) -> Result<Vec<f64>> {
    let (d, len) = (held.features, samples.len());
    let mut turned = vec![0.0; d * len];
    let each = owners
        .iter()
        .zip(&held.parts)
        .flat_map(|(owners, part)| owners.iter().enumerate().map(move |(rank, rows)| (rank, rows, part)));
    for (rank, rows, part) in each {
        let common = rows.start.max(samples.start)..rows.end.min(samples.end);
        if common.is_empty() {
            continue;
        }
        let mut values = vec![0.0; d * common.len()];
        let own = common.start - rows.start..common.end - rows.start;
        match part {
            Samples::Packed(packed) if rank == comm.rank() => {
                packed.centred(workers, own, centre, &mut values);
            }
            Samples::Packed(_) => {}
            Samples::Filed(input, held) => {
                let mut read = || {
                    let some = input.read::<f64>(held.start + own.start..held.start + own.end)?;
                    centred(workers, &some, centre, &mut values);
                    Ok(())
                };
                comm.agree(if rank == comm.rank() { read() } else { Ok(()) })?;
            }
        }
        comm.broadcast_values(rank, &mut values);
        for (line, values) in turned.chunks_exact_mut(len).zip(values.chunks_exact(common.len())) {
            line[common.start - samples.start..][..common.len()].copy_from_slice(values);
        }
    }
    Ok(turned)
}

/// Row-major samples, feature by feature: less the mean, and divided by the spread of the feature.
fn centred(workers: &Workers, samples: &[f64], centre: &Centre, out: &mut [f64]) {
    let d = centre.means.len();
    workers.install(|| {
        out.par_chunks_mut(samples.len() / d).enumerate().for_each(|(feature, line)| {
            let (spread, mean) = (&centre.spreads[feature], centre.means[feature]);
            for (to, sample) in line.iter_mut().zip(samples.chunks_exact(d)) {
                *to = spread.inverse.times(sample[feature] - mean);
            }
        });
    });
}

impl<T: Number> Packed<'_, T> {
    /// Some samples, feature by feature: less the mean, and divided by the spread of the feature.
    fn centred(&self, workers: &Workers, samples: Range<usize>, centre: &Centre, out: &mut [f64]) {
        let first = self.panels.partition_point(|panel| panel.first + panel.count <= samples.start);
        workers.install(|| {
            out.par_chunks_mut(samples.len()).enumerate().for_each(|(feature, line)| {
                let (spread, mean) = (&centre.spreads[feature], centre.means[feature]);
                let panels = self.panels[first..].iter().take_while(|panel| panel.first < samples.end);
                for panel in panels {
                    let common = panel.first.max(samples.start)..(panel.first + panel.count).min(samples.end);
                    let values = &panel.values[feature * self.width + panel.before..][..panel.count];
                    let values = &values[common.start - panel.first..common.end - panel.first];
                    let line = &mut line[common.start - samples.start..][..values.len()];
                    for (to, value) in line.iter_mut().zip(values) {
                        *to = spread.inverse.times(self.sign * value.to_f64() - mean);
                    }
                }
            });
        });
    }
}

/// Samples in the panels of both sides of a product, which are filled again and again.
struct Panels {
    rows: Vec<u64>,
    cols: Vec<u64>,
}

impl Panels {
    /// Room for so many samples of `d` features, in tiles of `edge` features.
    fn new(product: &Product, samples: usize, d: usize, edge: usize) -> Self {
        let [rows, cols] = [product.rows(samples), product.cols(samples)]
            .map(|shape| vec![0; d.div_ceil(edge) * shape.count(edge) * shape.len()]);
        Self { rows, cols }
    }

    /// Adds the products of features with each other, of so many samples.
    fn add_products(
        &mut self,
        workers: &Workers,
        product: &Product,
        turned: &[f64],
        samples: usize,
        parts: &mut [Part],
    ) {
        let (rows, cols) = (product.rows(samples), product.cols(samples));
        let edge = product.whole(FEATURES);
        let fill = |panels: &mut [u64], shape: PanelShape| {
            let tiles = panels.par_chunks_mut(shape.count(edge) * shape.len());
            tiles.zip(turned.par_chunks(edge * samples)).for_each(|(panels, features)| {
                let len = shape.count(features.len() / samples) * shape.len();
                shape.pack(features, false, &mut panels[..len]);
            });
        };
        workers.install(|| {
            fill(&mut self.rows, rows);
            fill(&mut self.cols, cols);
        });
        let add = |(products, scratch): &mut (Vec<f64>, Scratch<f64>), part: &mut Part| {
            let (m, n) = (part.rows.len(), part.cols.len());
            let at = |shape: PanelShape, feature: usize| feature / shape.width * shape.len();
            products.clear();
            products.resize(m * n, 0.0);
            product.compute(
                (&self.rows[at(rows, part.rows.start)..], m, rows),
                (&self.cols[at(cols, part.cols.start)..], n, cols),
                samples,
                (products, n),
                scratch,
            );
            part.add(products);
        };
        workers.install(|| parts.par_iter_mut().for_each_init(|| (Vec::new(), Scratch::new()), add));
    }
}
