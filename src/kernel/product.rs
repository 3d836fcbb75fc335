//! Products of matrices in f64, with the loops that compute the Gram trick.

use super::engine;
use super::micro_finish::TileShape;
use super::sweep::{Compiled, Part, TileInput, Widths};
use super::{Level, PanelShape, Scratch, WORD_BYTES};
use crate::element::Dtype;
use crate::kernel::Packing;
use crate::metric::{Exponent, Extras, Finish};
use crate::partition::lcm;

/// Computes C = A·Bᵀ of packed matrices. Every entry is a sum of its own terms, in blocks as [`crate::metric::Summation::Blocked`] has them: the same bits on
/// every level, however the matrices are cut.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    compiled: Compiled<f64>,
    full: Widths,
    level: Level,
}

impl Product {
    /// The best that the level has.
    pub(crate) fn new(level: Level) -> Self {
        let compiled = engine::product::<f64>(level);
        let full = Widths { rows: compiled.rows, cols: level.columns::<f64>() };
        Self { compiled, full, level }
    }

    fn panels(&self, width: usize, terms: usize) -> PanelShape {
        let (packing, extras) = (Packing::Values(Dtype::F64), Extras::None);
        PanelShape { width, features: terms, packing, extras, level: self.level }
    }

    /// Shape of the panels of A, whose rows have so many terms.
    pub(crate) fn rows(&self, terms: usize) -> PanelShape {
        self.panels(self.full.rows, terms)
    }

    /// Shape of the panels of B.
    pub(crate) fn cols(&self, terms: usize) -> PanelShape {
        self.panels(self.full.cols, terms)
    }

    /// Rows that fill whole panels of A, and of B: as many as `about`, or a few less or more.
    pub(crate) fn whole(&self, about: usize) -> usize {
        let whole = lcm(self.full.rows, self.full.cols);
        (about / whole).max(1) * whole
    }

    /// Computes the first `terms` of each sum, of `m` rows of A and `n` rows of B, into rows of `ld` entries.
    ///
    /// # Panics
    /// If a slice is too short for that.
    pub(crate) fn compute(
        &self,
        (a, m, of_a): (&[u64], usize, PanelShape),
        (b, n, of_b): (&[u64], usize, PanelShape),
        terms: usize,
        (out, ld): (&mut [f64], usize),
        scratch: &mut Scratch<f64>,
    ) {
        assert!(
            terms <= of_a.features.min(of_b.features)
                && (of_a.width, of_b.width) == (self.full.rows, self.full.cols),
            "{terms} terms of panels {of_a:?} and {of_b:?}"
        );
        let elements = |panels: PanelShape| panels.len() * WORD_BYTES / size_of::<f64>();
        let input = TileInput {
            rows: bytemuck::cast_slice(a),
            cols: bytemuck::cast_slice(b),
            shape: TileShape { m, n, ld },
            features: terms,
            part: Part::All,
            lens: Widths { rows: elements(of_a), cols: elements(of_b) },
            widths: self.full,
            weights: &[],
            exponent: Exponent::ONE,
            finish: Finish::Plain,
        };
        (self.compiled.tile.full)(input, out, &mut scratch.partials, &mut scratch.wide);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    #[test]
    fn products_are_sums_of_products_with_the_same_bits_on_every_level_and_of_every_part() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let (m, n, terms) = (33, 21, 700);
        let mut matrix =
            |rows: usize| (0..rows * terms).map(|_| rng.random::<f64>() - 0.5).collect::<Vec<_>>();
        let (a, b) = (matrix(m), matrix(n));
        let mut first: Option<Vec<f64>> = None;
        for level in Level::ALL.iter().copied().filter(|level| level.is_available()) {
            let product = Product::new(level);
            let (of_a, of_b) = (product.rows(terms), product.cols(terms));
            let pack = |shape: PanelShape, rows: usize, matrix: &[f64]| {
                let mut panels = vec![0; shape.count(rows) * shape.len()];
                shape.pack(matrix, false, &mut panels);
                panels
            };
            let (a_panels, b_panels) = (pack(of_a, m, &a), pack(of_b, n, &b));
            let mut scratch = Scratch::new();
            let mut all = vec![0.0; m * n];
            product.compute((&a_panels, m, of_a), (&b_panels, n, of_b), terms, (&mut all, n), &mut scratch);
            for (at, got) in all.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let terms = a[i * terms..][..terms].iter().zip(&b[j * terms..][..terms]);
                let (sum, size) =
                    terms.fold((0.0, 0.0), |(sum, size), (x, y)| (x * y + sum, (x * y).abs() + size));
                assert!((got - sum).abs() <= 1e-14 * size, "{got} and {sum}");
            }
            // of some terms alone, as of panels that have no more
            let some = 300;
            let cut = |matrix: &[f64]| {
                matrix.chunks(terms).flat_map(|row| row[..some].to_vec()).collect::<Vec<_>>()
            };
            let (short_a, short_b) = (product.rows(some), product.cols(some));
            let (mut one, mut other) = (vec![0.0; m * n], vec![0.0; m * n]);
            product.compute((&a_panels, m, of_a), (&b_panels, n, of_b), some, (&mut one, n), &mut scratch);
            let (a_panels, b_panels) = (pack(short_a, m, &cut(&a)), pack(short_b, n, &cut(&b)));
            product.compute(
                (&a_panels, m, short_a),
                (&b_panels, n, short_b),
                some,
                (&mut other, n),
                &mut scratch,
            );
            assert_eq!(one, other);
            let expected = first.get_or_insert_with(|| all.clone());
            assert_eq!(*expected, all, "{}", level.name());
        }
    }
}
