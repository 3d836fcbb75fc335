//! Folds that rest between parts of the features: the sums of blocks that are added to them, and their finish.

use pulp::{Simd, WithSimd};

use super::micro::{add_term, load, total};
use super::micro_finish::{TileShape, finish, replace, squares, store};
use super::simd::{Lanes, NV, SimdElement, Token};
use crate::metric::{Arithmetic, Finish, Reduction};

/// The folds of some row panels of a tile, micro-tile by micro-tile.
#[derive(Clone, Copy, Debug)]
pub(super) struct RestingInput<'a, T> {
    pub(super) folds: &'a [T],
    /// What the guard takes, if products were folded.
    pub(super) gram: Option<GramInput<'a, T>>,
    pub(super) shape: TileShape,
    /// What is done with the folded values.
    pub(super) finish: Finish,
}

/// What the Gram guard takes beside the folded products.
#[derive(Clone, Copy, Debug)]
pub(super) struct GramInput<'a, T> {
    /// The folds of the differences.
    pub(super) direct: &'a [T],
    /// Squared norms of the samples of whole panels.
    pub(super) row_norms: &'a [T],
    pub(super) col_norms: &'a [T],
}

/// Computes distances from folds over all features; returns how many entries failed the Gram guard.
pub(super) type FinishFn<T> = fn(RestingInput<'_, T>, &mut [T]) -> u64;

/// The finish of micro-tiles of MR rows on level `S`.
pub(super) fn finish_folds<S: Token, T: SimdElement, const MR: usize>(
    input: RestingInput<'_, T>,
    out: &mut [T],
) -> u64 {
    let simd = S::token().expect("the level was available when the kernel was chosen");
    simd.vectorize(FinishFolds::<T, MR> { input, out })
}

struct FinishFolds<'a, T, const MR: usize> {
    input: RestingInput<'a, T>,
    out: &'a mut [T],
}

impl<T: SimdElement, const MR: usize> WithSimd for FinishFolds<'_, T, MR> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        let Self { input: RestingInput { folds, gram, shape, finish: last }, out } = self;
        let lanes = Lanes::<S, T>::new(simd);
        let nr = NV * size_of::<T::Vector<S>>() / size_of::<T>();
        let (col_panels, len) = (shape.n.div_ceil(nr), 2 * MR * nr);
        let mut recomputed = 0;
        for (number, stored) in folds.chunks_exact(len).enumerate() {
            let (i, j) = (number / col_panels, number % col_panels);
            let mut block = total(lanes, &load::<S, T, MR>(stored));
            if let Some(GramInput { direct, row_norms, col_norms }) = gram {
                let rows = row_norms[i * MR..].first_chunk();
                let cols = T::vectors::<S>(&col_norms[j * nr..]).0.first_chunk();
                let (Some(rows), Some(cols)) = (rows, cols) else {
                    unreachable!("norms are those of whole panels")
                };
                if !squares(lanes, &mut block, (rows, cols)) {
                    let direct = total(lanes, &load::<S, T, MR>(&direct[number * len..][..len]));
                    let inside = shape.inside((i * MR, j * nr), (MR, nr));
                    recomputed += replace(lanes, &mut block, &direct, (rows, cols), inside);
                }
            }
            finish(lanes, last, &mut block);
            store(lanes, shape, (i, j), &block, out);
        }
        recomputed
    }
}

/// Sums of blocks, one after the other, to be added to the folds of a tile: each has a value for each pair.
pub(super) struct AddSums<'a, T> {
    pub(super) folds: &'a mut [T],
    pub(super) sums: &'a [T],
    /// Pairs of a micro-tile.
    pub(super) pairs: usize,
    pub(super) reduction: Reduction,
    /// Whether nothing was folded before.
    pub(super) is_first: bool,
}

impl<T: SimdElement> WithSimd for AddSums<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { folds, sums, pairs, reduction, is_first } = self;
        let lanes = Lanes::<S, T>::new(simd);
        let (of_tile, zero) = (folds.len() / 2, T::splat(simd, T::default()));
        for (number, stored) in folds.chunks_exact_mut(2 * pairs).enumerate() {
            let (values, errors) = stored.split_at_mut(pairs);
            let (values, errors) = (T::vectors_mut::<S>(values).0, T::vectors_mut::<S>(errors).0);
            for (at, block) in sums.chunks_exact(of_tile).enumerate() {
                let terms = T::vectors::<S>(&block[number * pairs..][..pairs]).0;
                for (v, term) in terms.iter().enumerate() {
                    if is_first && at == 0 {
                        (values[v], errors[v]) = (*term, zero);
                    } else if reduction == Reduction::Max {
                        values[v] = lanes.max(values[v], *term);
                    } else {
                        add_term(lanes, &mut values[v], &mut errors[v], *term);
                    }
                }
            }
        }
    }
}
