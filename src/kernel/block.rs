//! The loops around the micro-kernel: cache blocking, the Gram guard, the finish, the store.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::micro::{Block, Partial, Product, fold, fold_blocks, total, zeros};
use super::simd::{Lanes, NV, SimdElement, Token};
use super::{Scratch, guard_tau};
use crate::metric::{BLOCK, Formula};

/// Bytes of a column panel that the fold covers before it moves on, for each byte of a vector: they stay in part of a
/// level-2 cache, which is larger where vectors are longer (512 KiB with AVX2 on Zen 3, 1 MiB with AVX-512 on Zen 5).
const PANEL_BYTES: usize = 2 << 10;

/// Bytes of row panels that are reused from a level-2 cache for every panel of columns, likewise.
const ROWS_BYTES: usize = 4 << 10;

/// The packed samples of a tile: `m` in row panels, `n` in column panels, `features` each.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileInput<'a, T> {
    pub(super) rows: &'a [T],
    pub(super) m: usize,
    pub(super) cols: &'a [T],
    pub(super) n: usize,
    pub(super) features: usize,
}

/// Computes a tile into a row-major m × n slice; returns how many entries failed the Gram guard.
pub(super) type TileFn<T> = fn(TileInput<'_, T>, &mut [T], &mut Scratch<T>) -> u64;

/// A monomorphic kernel: its tile function and the samples in its row and column panels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<T> {
    pub(super) tile: TileFn<T>,
    pub(super) mr: usize,
    pub(super) nr: usize,
}

/// The kernel of formula `F` on level `S`, through the Gram product if `gram`.
pub(super) fn entry<S: Token, T: SimdElement, F: Formula, const MR: usize>(gram: bool) -> Entry<T> {
    let nr = NV * size_of::<T::Vector<S>>() / size_of::<T>();
    let tile = if gram && F::GRAM { run::<S, T, F, MR, true> } else { run::<S, T, F, MR, false> };
    Entry { tile, mr: MR, nr }
}

/// Features that are folded before the next micro-tile, a multiple of [`BLOCK`]: the same for all vectors, as a panel is as
/// many of them wide.
fn features_in_cache() -> usize {
    (PANEL_BYTES / NV).next_multiple_of(BLOCK)
}

/// Elements that hold the interrupted folds of an m × n tile.
pub(super) fn partials_len(features: usize, m: usize, mr: usize, n: usize, nr: usize) -> usize {
    if features > features_in_cache() { 2 * m.next_multiple_of(mr) * n.next_multiple_of(nr) } else { 0 }
}

fn run<S: Token, T: SimdElement, F: Formula, const MR: usize, const GRAM: bool>(
    input: TileInput<'_, T>,
    out: &mut [T],
    scratch: &mut Scratch<T>,
) -> u64 {
    let simd = S::token().expect("the level was available when the kernel was chosen");
    simd.vectorize(ComputeTile::<T, F, MR, GRAM> { input, out, scratch, formula: PhantomData })
}

struct ComputeTile<'a, T, F, const MR: usize, const GRAM: bool> {
    input: TileInput<'a, T>,
    out: &'a mut [T],
    scratch: &'a mut Scratch<T>,
    formula: PhantomData<F>,
}

impl<T: SimdElement, F: Formula, const MR: usize, const GRAM: bool> WithSimd
    for ComputeTile<'_, T, F, MR, GRAM>
{
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        let Self { input, out, scratch, .. } = self;
        let d = input.features;
        if d <= BLOCK {
            return Tile::<S, T, F, MR, GRAM, false>::new(simd, input).sweep(0..d, out, &mut []);
        }
        let tile = Tile::<S, T, F, MR, GRAM, true>::new(simd, input);
        let kc = features_in_cache();
        scratch.partials.resize(partials_len(d, input.m, MR, input.n, tile.nr), T::default());
        let mut recomputed = 0;
        for first in (0..d).step_by(kc) {
            recomputed += tile.sweep(first..d.min(first + kc), out, &mut scratch.partials);
        }
        recomputed
    }
}

/// A tile on its level, with what its micro-tiles share. Unless it is `LONG`, one block of features is all.
#[derive(Clone, Copy)]
struct Tile<'a, S: Simd, T: SimdElement, F, const MR: usize, const GRAM: bool, const LONG: bool> {
    lanes: Lanes<S, T>,
    input: TileInput<'a, T>,
    /// Samples in a column panel.
    nr: usize,
    formula: PhantomData<F>,
}

impl<'a, S: Simd, T: SimdElement, F: Formula, const MR: usize, const GRAM: bool, const LONG: bool>
    Tile<'a, S, T, F, MR, GRAM, LONG>
{
    #[inline(always)]
    fn new(simd: S, input: TileInput<'a, T>) -> Self {
        let nr = NV * size_of::<T::Vector<S>>() / size_of::<T>();
        Self { lanes: Lanes::new(simd), input, nr, formula: PhantomData }
    }

    /// Folds `features` for every micro-tile (row panel i, column panel j), and finishes the tile with the last of
    /// them; between calls the folds rest in `partials`.
    ///
    /// Loops, outermost first: groups of row panels that stay in cache; column panels; the row
    /// panels of the group.
    #[inline(always)]
    fn sweep(self, features: Range<usize>, out: &mut [T], partials: &mut [T]) -> u64 {
        let (row_panels, col_panels) = (self.input.m.div_ceil(MR), self.input.n.div_ceil(self.nr));
        let panel_bytes = MR * features.len() * size_of::<T>();
        let group = (ROWS_BYTES * size_of::<T::Vector<S>>() / panel_bytes).clamp(1, row_panels);
        let (is_first, is_last) = (features.start == 0, features.end == self.input.features);
        let partial_len = 2 * MR * self.nr;
        let mut recomputed = 0;
        for first in (0..row_panels).step_by(group) {
            for j in 0..col_panels {
                for i in first..row_panels.min(first + group) {
                    if !LONG {
                        recomputed += self.finish(i, j, self.fold_short(i, j), out);
                        continue;
                    }
                    let slot = (i * col_panels + j) * partial_len;
                    let start = if is_first {
                        None
                    } else {
                        Some(load::<S, T, MR>(&partials[slot..][..partial_len]))
                    };
                    let partial = self.fold(i, j, features.clone(), start);
                    if is_last {
                        recomputed += self.finish(i, j, total(self.lanes, &partial), out);
                    } else {
                        save::<S, T, MR>(&partial, &mut partials[slot..][..partial_len]);
                    }
                }
            }
        }
        recomputed
    }

    #[inline(always)]
    fn row_panel(&self, i: usize) -> &'a [T] {
        let len = MR * (self.input.features + usize::from(GRAM));
        &self.input.rows[i * len..][..len]
    }

    #[inline(always)]
    fn col_panel(&self, j: usize) -> &'a [T::Vector<S>] {
        let len = self.nr * (self.input.features + usize::from(GRAM));
        T::vectors::<S>(&self.input.cols[j * len..][..len]).0
    }

    /// All features of a micro-tile, which are one block.
    #[inline(always)]
    fn fold_short(&self, i: usize, j: usize) -> Block<T::Vector<S>, MR> {
        let d = self.input.features;
        let (rows, cols) = (&self.row_panel(i)[..d * MR], &self.col_panel(j)[..d * NV]);
        let zeros = zeros(self.lanes);
        if GRAM {
            fold::<S, T, Product, MR>(self.lanes, rows, cols, zeros)
        } else {
            fold::<S, T, F, MR>(self.lanes, rows, cols, zeros)
        }
    }

    /// Some features of a micro-tile, after those in `start`.
    #[inline(always)]
    fn fold(
        &self,
        i: usize,
        j: usize,
        features: Range<usize>,
        start: Option<Partial<T::Vector<S>, MR>>,
    ) -> Partial<T::Vector<S>, MR> {
        let rows = &self.row_panel(i)[features.start * MR..features.end * MR];
        let cols = &self.col_panel(j)[features.start * NV..features.end * NV];
        if GRAM {
            fold_blocks::<S, T, Product, MR>(self.lanes, rows, cols, start)
        } else {
            fold_blocks::<S, T, F, MR>(self.lanes, rows, cols, start)
        }
    }

    /// Distances of the micro-tile into the tile, from the values folded over all features.
    #[inline(always)]
    fn finish(self, i: usize, j: usize, mut block: Block<T::Vector<S>, MR>, out: &mut [T]) -> u64 {
        let simd = self.lanes.simd;
        let recomputed = if GRAM { self.guard(i, j, &mut block) } else { 0 };
        for row in &mut block {
            for value in row {
                // the absolute value settles the sign of NaN
                *value = T::abs(simd, F::finish(self.lanes, *value));
            }
        }
        self.store(i, j, &block, out);
        recomputed
    }

    /// From −x·y to D² = |x|² + |y|² − 2x·y, and the direct value where D² ≤ τ(|x|² + |y|²) or the
    /// Gram value is not finite. Returns how many entries were replaced.
    ///
    /// Where the norms are so small that products underflow, the direct value is taken too.
    #[inline(always)]
    fn guard(&self, i: usize, j: usize, block: &mut Block<T::Vector<S>, MR>) -> u64 {
        let simd = self.lanes.simd;
        let two = T::splat(simd, T::from_f64(2.0));
        let mut kept = T::equal(simd, two, two);
        for r in 0..MR {
            for v in 0..NV {
                let norms = self.norms(i, j, r, v);
                block[r][v] = T::mul_add(simd, two, block[r][v], norms);
                kept = T::and(simd, kept, T::greater(simd, block[r][v], self.floor(norms)));
            }
        }
        if T::all(simd, kept) {
            return 0;
        }
        // a copy, so that the whole block can stay in registers above
        let mut replaced = *block;
        let count = self.replace(i, j, &mut replaced);
        *block = replaced;
        count
    }

    /// |x|² + |y|² of row r and column vector v of a micro-tile.
    #[inline(always)]
    fn norms(&self, i: usize, j: usize, r: usize, v: usize) -> T::Vector<S> {
        let (simd, d) = (self.lanes.simd, self.input.features);
        let row_norm = T::splat(simd, self.row_panel(i)[d * MR + r]);
        T::add(simd, row_norm, self.col_panel(j)[d * NV + v])
    }

    /// What a Gram value must exceed to be kept.
    #[inline(always)]
    fn floor(&self, norms: T::Vector<S>) -> T::Vector<S> {
        let simd = self.lanes.simd;
        let tau = T::splat(simd, T::from_f64(guard_tau(T::DTYPE)));
        T::mul_add(simd, tau, norms, T::splat(simd, T::from_f64(T::GUARD_FLOOR)))
    }

    /// Direct values where the block does not exceed its floor.
    #[inline(always)]
    fn replace(&self, i: usize, j: usize, block: &mut Block<T::Vector<S>, MR>) -> u64 {
        let (simd, d) = (self.lanes.simd, self.input.features);
        let rows = &self.row_panel(i)[..d * MR];
        let cols = &self.col_panel(j)[..d * NV];
        let direct = if LONG {
            total(self.lanes, &fold_blocks::<S, T, F, MR>(self.lanes, rows, cols, None))
        } else {
            fold::<S, T, F, MR>(self.lanes, rows, cols, zeros(self.lanes))
        };
        let (zero, one) = (T::splat(simd, T::default()), T::splat(simd, T::from_f64(1.0)));
        let (height, width) = (self.input.m - i * MR, self.input.n - j * self.nr);
        let mut count = [zero; NV];
        for r in 0..MR {
            for v in 0..NV {
                let keep = T::greater(simd, block[r][v], self.floor(self.norms(i, j, r, v)));
                block[r][v] = T::select(simd, keep, block[r][v], direct[r][v]);
                if r < height {
                    count[v] = T::add(simd, count[v], T::select(simd, keep, zero, one));
                }
            }
        }
        let lanes: &[T] = bytemuck::cast_slice(&count);
        let mut replaced = 0.0;
        for lane in &lanes[..width.min(self.nr)] {
            replaced += lane.to_f64();
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small whole number")]
        let replaced = replaced as u64;
        replaced
    }

    /// Writes the part of the block that lies inside the tile.
    #[inline(always)]
    fn store(self, i: usize, j: usize, block: &Block<T::Vector<S>, MR>, out: &mut [T]) {
        let (m, n) = (self.input.m, self.input.n);
        let (row, col) = (i * MR, j * self.nr);
        let (height, width) = (MR.min(m - row), self.nr.min(n - col));
        if height == MR && width == self.nr {
            for r in 0..MR {
                let line = &mut out[(row + r) * n + col..][..self.nr];
                *T::vectors_mut::<S>(line).0.first_chunk_mut().expect("a whole line") = block[r];
            }
            return;
        }
        // a copy, so that the whole block can stay in registers above
        let block = *block;
        for (r, values) in block.iter().enumerate().take(height) {
            let line = &mut out[(row + r) * n + col..][..width];
            line.copy_from_slice(&bytemuck::cast_slice(values)[..width]);
        }
    }
}

#[inline(always)]
fn load<S: Simd, T: SimdElement, const MR: usize>(stored: &[T]) -> Partial<T::Vector<S>, MR> {
    let (value, error) = T::vectors::<S>(stored).0.split_at(MR * NV);
    let mut partial = Partial { value: [[value[0]; NV]; MR], error: [[error[0]; NV]; MR] };
    partial.value.as_flattened_mut().copy_from_slice(value);
    partial.error.as_flattened_mut().copy_from_slice(error);
    partial
}

#[inline(always)]
fn save<S: Simd, T: SimdElement, const MR: usize>(partial: &Partial<T::Vector<S>, MR>, stored: &mut [T]) {
    let (value, error) = T::vectors_mut::<S>(stored).0.split_at_mut(MR * NV);
    value.copy_from_slice(partial.value.as_flattened());
    error.copy_from_slice(partial.error.as_flattened());
}
