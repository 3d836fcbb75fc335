//! Factors of symmetric matrices.

use rayon::prelude::*;

use crate::kernel::{Level, Product, Scratch};
use crate::pipeline::Workers;

/// Columns that are factored before the rest of the matrix is brought up to date with them.
pub(super) const BLOCK: usize = 64;

/// Rows of the matrix that a worker brings up to date, about.
const ROWS: usize = 240;

/// P A Pᵀ = L Lᵀ of a symmetric matrix A with no negative direction: L is lower triangular, and P puts the largest of what is left of the diagonal first.
pub(super) struct Factor {
    /// Which row and column of A each one of L is.
    pub(super) order: Vec<usize>,
    /// L, row by row; what is above the diagonal means nothing.
    pub(super) lower: Vec<f64>,
    /// Columns of L that are not 0.
    pub(super) rank: usize,
    /// The smallest value of the diagonal of L, squared.
    pub(super) smallest: f64,
    /// What was left of A when it ended: the smallest value on its diagonal, and the largest magnitude.
    pub(super) rest: Option<(f64, f64)>,
}

impl Factor {
    /// Of d × d values, of which those up to the diagonal are read. It ends where nothing above `least` is left on the diagonal. (LAPACK's DPSTRF does the
    /// same: N. J. Higham, Analysis of the Cholesky decomposition of a semi-definite matrix, in Reliable Numerical Computation, 1990.)
    pub(super) fn of(workers: &Workers, level: Level, values: Vec<f64>, d: usize, least: f64) -> Self {
        let diagonal = (0..d).map(|i| values[i * d + i]).collect();
        let mut left = Left { values, d, diagonal, order: (0..d).collect(), columns: vec![0.0; d * BLOCK] };
        let mut smallest = f64::INFINITY;
        for start in (0..d).step_by(BLOCK) {
            let end = d.min(start + BLOCK);
            left.columns.fill(0.0);
            for k in start..end {
                let pivot = left.largest(k);
                // a NaN ends it too
                if left.diagonal[pivot].partial_cmp(&least) != Some(std::cmp::Ordering::Greater) {
                    let rest = left.rest(workers, start, k);
                    left.store(start, end);
                    let Left { order, mut values, .. } = left;
                    values.chunks_exact_mut(d).for_each(|row| row[k..].fill(0.0));
                    return Self { order, lower: values, rank: k, smallest, rest: Some(rest) };
                }
                left.exchange(start, k, pivot);
                smallest = smallest.min(left.diagonal[k]);
                left.eliminate(start, k);
            }
            left.store(start, end);
            left.update(workers, level, start, end);
        }
        Self { order: left.order, lower: left.values, rank: d, smallest, rest: None }
    }
}

/// A matrix that is being factored: columns of L, and what is left of A beside them.
struct Left {
    /// Of each row, values of L, and from the current block on those of A less the products of all blocks before.
    values: Vec<f64>,
    d: usize,
    /// What is left of the diagonal, of all columns before.
    diagonal: Vec<f64>,
    order: Vec<usize>,
    /// The columns of L in the current block.
    columns: Vec<f64>,
}

impl Left {
    /// The row from `k` on whose value on the diagonal is the largest, the first of several.
    fn largest(&self, k: usize) -> usize {
        (k + 1..self.d).fold(k, |best, i| if self.diagonal[i] > self.diagonal[best] { i } else { best })
    }

    /// Exchanges rows and columns `k` and `other`, which is no smaller.
    fn exchange(&mut self, start: usize, k: usize, other: usize) {
        let d = self.d;
        if k == other {
            return;
        }
        self.order.swap(k, other);
        self.diagonal.swap(k, other);
        for column in 0..BLOCK {
            self.columns.swap(k * BLOCK + column, other * BLOCK + column);
        }
        // only values up to the diagonal are there
        let values = &mut self.values;
        for column in 0..start {
            values.swap(k * d + column, other * d + column);
        }
        for i in k + 1..other {
            values.swap(i * d + k, other * d + i);
        }
        for i in other + 1..d {
            values.swap(i * d + k, i * d + other);
        }
    }

    /// Σ of the products of two rows of L, in the columns of the current block that are there.
    fn product(&self, i: usize, j: usize, columns: usize) -> f64 {
        let (i, j) = (&self.columns[i * BLOCK..][..columns], &self.columns[j * BLOCK..][..columns]);
        i.iter().zip(j).fold(0.0, |sum, (x, y)| sum + x * y)
    }

    /// Computes column `k` of L.
    fn eliminate(&mut self, start: usize, k: usize) {
        let column = k - start;
        let root = self.diagonal[k].sqrt();
        self.columns[k * BLOCK + column] = root;
        for i in k + 1..self.d {
            let value = (self.values[i * self.d + k] - self.product(i, k, column)) / root;
            self.columns[i * BLOCK + column] = value;
            self.diagonal[i] -= value * value;
        }
    }

    /// Keeps the columns of the current block.
    fn store(&mut self, start: usize, end: usize) {
        for i in start..self.d {
            let len = end.min(i + 1) - start;
            self.values[i * self.d + start..][..len].copy_from_slice(&self.columns[i * BLOCK..][..len]);
        }
    }

    /// Takes the products of the columns of a block off what is behind it.
    fn update(&mut self, workers: &Workers, level: Level, start: usize, end: usize) {
        let (d, terms) = (self.d, end - start);
        if end == d {
            return;
        }
        let product = Product::new(level);
        let (rows, cols) = (product.rows(terms), product.cols(terms));
        let edge = product.whole(ROWS);
        let [row_panels, col_panels] = [rows, cols].map(|shape| {
            let mut panels = vec![0; shape.count(d - end) * shape.len()];
            shape.pack(&self.columns[end * BLOCK..], false, &mut panels);
            panels
        });
        let part = |shape: crate::kernel::PanelShape, first: usize| first / shape.width * shape.len();
        workers.install(|| {
            let parts = self.values[end * d..].par_chunks_mut(edge * d).enumerate();
            parts.for_each_init(Scratch::new, |scratch, (number, values)| {
                let (first, m) = (number * edge, values.len() / d);
                let mut products = vec![0.0; m * edge];
                for first_col in (0..first + m).step_by(edge) {
                    let n = edge.min(d - end - first_col);
                    product.compute(
                        (&row_panels[part(rows, first)..], m, rows),
                        (&col_panels[part(cols, first_col)..], n, cols),
                        terms,
                        (&mut products, n),
                        scratch,
                    );
                    for (row, (values, products)) in
                        values.chunks_exact_mut(d).zip(products.chunks_exact(n)).enumerate()
                    {
                        let len = n.min((first + row + 1).saturating_sub(first_col));
                        let values = &mut values[end + first_col..][..len];
                        values.iter_mut().zip(products).for_each(|(value, product)| *value -= product);
                    }
                }
            });
        });
    }

    /// The smallest value that is left on the diagonal from row `k` on, and the largest magnitude anywhere.
    fn rest(&self, workers: &Workers, start: usize, k: usize) -> (f64, f64) {
        let of_row = |i: usize| {
            let i = k + i;
            let diagonal = self.diagonal[i];
            let left = |j: usize| (self.values[i * self.d + j] - self.product(i, j, k - start)).abs();
            (diagonal, (k..i).map(left).fold(diagonal.abs(), larger))
        };
        let rows = workers.map(self.d - k, of_row);
        rows.into_iter().fold((f64::INFINITY, 0.0), |(least, most), (diagonal, magnitude)| {
            (-larger(-least, -diagonal), larger(most, magnitude))
        })
    }
}

/// The larger of two numbers; NaN if one is, which must not be passed over.
fn larger(one: f64, other: f64) -> f64 {
    if one.is_nan() || one >= other { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// B Bᵀ of d × `rank` random numbers.
    fn semidefinite(d: usize, rank: usize) -> Vec<f64> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(d as u64);
        let b: Vec<f64> = (0..d * rank).map(|_| rng.random::<f64>() - 0.5).collect();
        let row = |i: usize| &b[i * rank..][..rank];
        let product = |at: usize| row(at / d).iter().zip(row(at % d)).map(|(x, y)| x * y).sum();
        (0..d * d).map(product).collect()
    }

    fn factor(a: &[f64], d: usize, threads: usize, level: Level) -> Factor {
        let workers = Workers::start(threads).expect("threads start");
        let largest = (0..d).map(|i| a[i * d + i]).fold(0.0, f64::max);
        Factor::of(&workers, level, a.to_vec(), d, 8.0 * d as f64 * largest * f64::EPSILON)
    }

    #[test]
    fn the_product_of_the_factors_is_the_matrix() {
        for (d, rank) in
            [(1, 1), (5, 5), (64, 64), (65, 65), (300, 300), (7, 3), (130, 65), (200, 64), (300, 1)]
        {
            let a = semidefinite(d, rank);
            let Factor { order, lower, rank: found, rest, .. } =
                factor(&a, d, 2, Level::detect().expect("a level"));
            assert_eq!(found, rank, "of {d}");
            assert_eq!(rest.is_some(), rank < d);
            let value = |i: usize, j: usize| if j <= i { lower[i * d + j] } else { 0.0 };
            for (i, j) in (0..d).flat_map(|i| (0..=i).map(move |j| (i, j))) {
                let product: f64 = (0..d).map(|k| value(i, k) * value(j, k)).sum();
                let expected = a[order[i] * d + order[j]];
                assert!(
                    (product - expected).abs() < 1e-13 * d as f64,
                    "{i}, {j} of {d}: {product} and {expected}"
                );
            }
        }
    }

    #[test]
    fn factors_have_the_same_bits_for_any_threads_and_levels() {
        let d = 300;
        let a = semidefinite(d, d);
        let expected = factor(&a, d, 1, Level::Portable);
        for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
            let got = factor(&a, d, 3, level);
            assert_eq!(
                (got.order, got.lower),
                (expected.order.clone(), expected.lower.clone()),
                "{}",
                level.name()
            );
        }
    }

    #[test]
    fn what_is_left_of_a_matrix_with_a_negative_direction_tells() {
        let d = 100;
        let mut a = semidefinite(d, 30);
        a[99 * d + 99] -= 1.0;
        let Factor { rest, .. } = factor(&a, d, 2, Level::Portable);
        let (least, largest) = rest.expect("it has fewer");
        assert!(least < -0.5 && largest > 0.5, "{least}, {largest}");
        let Factor { rank, rest, .. } = factor(&[0.0, 1.0, 1.0, 0.0], 2, 1, Level::Portable);
        assert_eq!((rank, rest), (0, Some((0.0, 1.0))));
        for bad in [f64::NAN, f64::INFINITY] {
            let mut a = semidefinite(d, d);
            (a[40 * d + 7], a[7 * d + 40]) = (bad, bad);
            let Factor { rest, .. } = factor(&a, d, 2, Level::Portable);
            let (least, largest) = rest.expect("it ends");
            assert!(least.is_nan() || largest.is_nan() || largest.is_infinite(), "{least}, {largest}");
        }
    }
}
