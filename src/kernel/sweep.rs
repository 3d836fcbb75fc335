//! The loops around the micro-kernel: cache blocking, and the finish with the last of the features.

use std::marker::PhantomData;
use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::Wide;
use super::micro::{MicroTile, Partial, fold, fold_blocks, load, save, total, zeros};
use super::micro_finish::{Norms, TileShape, finish, replace, squares, store};
use super::resting::{FinishFn, finish_folds};
use super::simd::{Lanes, NV, SimdElement, Token};
use crate::metric::{BLOCK_FEATURES, Exponent, Finish, Fold, Product, Reduction, Summation, summation};

/// Bytes of a column panel that the fold covers before it moves on, for each byte of a vector: they stay in part of a
/// level-2 cache, which is larger where vectors are longer (512 KiB with AVX2 on Zen 3, 1 MiB with AVX-512 on Zen 5).
pub(super) const PANEL_BYTES: usize = 2 << 10;

/// Bytes of row panels that are reused from a level-2 cache for every panel of columns, likewise.
pub(super) const ROWS_BYTES: usize = 4 << 10;

/// Which of the features of its samples the panels of a tile hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of them: the tile is folded and finished.
    All,
    /// The first of them: the folds rest.
    First,
    /// Features that follow those of a part before: the folds continue, and rest again.
    Later,
}

/// The packed samples of a tile: rows in row panels, columns in column panels, `features` each.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileInput<'a, T> {
    pub(super) rows: &'a [T],
    pub(super) cols: &'a [T],
    pub(super) shape: TileShape,
    pub(super) features: usize,
    /// Whether these are all features of the samples.
    pub(super) part: Part,
    /// Elements of a row panel and of a column panel.
    pub(super) lens: Widths,
    /// Samples in a row panel and in a column panel: as many as the micro-kernel takes, or fewer where the tile has only so many.
    pub(super) widths: Widths,
    /// A weight for each feature, where terms have them.
    pub(super) weights: &'a [T],
    /// Exponent of the terms, where they have one.
    pub(super) exponent: Exponent,
    /// What is done with the folded values.
    pub(super) finish: Finish,
}

/// Samples (or elements) in a row panel, and in a column panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Widths {
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// Computes a tile into m rows of n distances; returns how many entries failed the Gram guard. Of a part of the features, it folds them
/// into the partials and writes no distances.
pub(super) type TileFn<T> = fn(TileInput<'_, T>, &mut [T], &mut Vec<T>, &mut Wide<T>) -> u64;

/// What computes tiles from panels as wide as the micro-kernel takes them, and from narrower ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tiles<T> {
    pub(super) full: TileFn<T>,
    pub(super) narrow: TileFn<T>,
}

/// What was compiled for a fold, type and level.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compiled<T> {
    pub(super) tile: Tiles<T>,
    /// Where that folds the product of the Gram trick, the fold of the differences, which the guard takes of parts of the features.
    pub(super) direct: Option<Tiles<T>>,
    /// The finish of folds that rest.
    pub(super) finish: FinishFn<T>,
    /// Samples of a row panel as the micro-kernel takes it.
    pub(super) rows: usize,
    /// Whether terms have weights.
    pub(super) is_weighted: bool,
    /// How features are put together, and in which order.
    pub(super) reduction: Reduction,
    pub(super) summation: Summation,
}

/// The kernel of fold `F` on level `S`, through the Gram product if `gram`.
pub(super) fn compiled<S: Token, T: SimdElement, F: Fold, const MR: usize>(gram: bool) -> Compiled<T> {
    // of terms with weights, one form does for panels of any width: what is folded takes longer than to find that out
    let (tile, direct) = if F::WEIGHTED {
        (Tiles { full: run::<S, T, F, MR, false, true>, narrow: run::<S, T, F, MR, false, true> }, None)
    } else {
        let direct: Tiles<T> =
            Tiles { full: run::<S, T, F, MR, false, false>, narrow: run::<S, T, F, MR, false, true> };
        if gram && F::GRAM {
            let tile =
                Tiles { full: run::<S, T, F, MR, true, false>, narrow: run::<S, T, F, MR, true, true> };
            (tile, Some(direct))
        } else {
            (direct, None)
        }
    };
    Compiled {
        tile,
        direct,
        finish: finish_folds::<S, T, MR>,
        rows: MR,
        is_weighted: F::WEIGHTED,
        reduction: F::REDUCTION,
        summation: summation::<F, T>(),
    }
}

/// Features that are folded before the next micro-tile, a multiple of [`BLOCK_FEATURES`]: the same for all vectors, as a panel is as
/// many of them wide.
fn features_in_cache() -> usize {
    (PANEL_BYTES / NV).next_multiple_of(BLOCK_FEATURES)
}

/// Elements that hold the interrupted folds of an m × n tile.
pub(super) fn partials_len(features: usize, m: usize, n: usize, full: Widths) -> usize {
    if features > features_in_cache() { resting_len(m, n, full) } else { 0 }
}

/// Elements that hold the folds of an m × n tile between features: a value and an error for each pair.
pub(super) fn resting_len(m: usize, n: usize, full: Widths) -> usize {
    2 * m.next_multiple_of(full.rows) * n.next_multiple_of(full.cols)
}

/// Elements that hold what is widened at a time of panels of `stored` samples, without the norms: nothing of those that have the `full`
/// width.
pub(super) fn wide_len(features: usize, stored: Widths, full: Widths) -> usize {
    let len = |stored: usize, full: usize| {
        if stored == full { 0 } else { full * features.min(features_in_cache()) }
    };
    len(stored.rows, full.rows) + len(stored.cols, full.cols)
}

impl<T: SimdElement> Wide<T> {
    /// Makes room to widen panels of `stored` samples: padding samples are zeros of norm 1, as in packed panels.
    fn prepare(&mut self, features: usize, stored: Widths, full: Widths) {
        let fill = |values: &mut Vec<T>, norms: &mut Vec<T>, stored: usize, full: usize| {
            values.clear();
            norms.clear();
            if stored < full {
                values.resize(full * features.min(features_in_cache()), T::default());
                norms.resize(full, T::from_f64(1.0));
            }
        };
        fill(&mut self.rows, &mut self.row_norms, stored.rows, full.rows);
        fill(&mut self.cols, &mut self.col_norms, stored.cols, full.cols);
    }
}

/// Copies lines of `from` samples to lines of `to` samples, whose other samples stay. Returns how many elements these lines have.
#[inline(never)]
fn widen<T: Copy>(lines: &[T], from: usize, wide: &mut [T], to: usize) -> usize {
    for (line, wide) in lines.chunks_exact(from).zip(wide.chunks_exact_mut(to)) {
        wide.iter_mut().zip(line).for_each(|(wide, value)| *wide = *value);
    }
    lines.len() / from * to
}

fn run<S: Token, T: SimdElement, F: Fold, const MR: usize, const GRAM: bool, const NARROW: bool>(
    input: TileInput<'_, T>,
    out: &mut [T],
    partials: &mut Vec<T>,
    wide: &mut Wide<T>,
) -> u64 {
    let simd = S::token().expect("the level was available when the kernel was chosen");
    simd.vectorize(ComputeTile::<T, F, MR, GRAM, NARROW> { input, out, partials, wide, fold: PhantomData })
}

struct ComputeTile<'a, T, F, const MR: usize, const GRAM: bool, const NARROW: bool> {
    input: TileInput<'a, T>,
    out: &'a mut [T],
    partials: &'a mut Vec<T>,
    wide: &'a mut Wide<T>,
    fold: PhantomData<F>,
}

impl<T: SimdElement, F: Fold, const MR: usize, const GRAM: bool, const NARROW: bool> WithSimd
    for ComputeTile<'_, T, F, MR, GRAM, NARROW>
{
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        let Self { input, out, partials, wide, .. } = self;
        let full = Widths { rows: MR, cols: NV * size_of::<T::Vector<S>>() / size_of::<T>() };
        let d = input.features;
        if NARROW {
            wide.prepare(d, input.widths, full);
        }
        // likewise of any number of features
        if d <= BLOCK_FEATURES && !F::WEIGHTED && input.part == Part::All {
            return Sweep::<S, T, F, MR, GRAM, NARROW, false>::new(simd, input).sweep(
                0..d,
                out,
                &mut [],
                wide,
            );
        }
        let tile = Sweep::<S, T, F, MR, GRAM, NARROW, true>::new(simd, input);
        let TileShape { m, n, .. } = input.shape;
        let len = if input.part == Part::All { partials_len(d, m, n, full) } else { resting_len(m, n, full) };
        partials.resize(len, T::default());
        let mut recomputed = 0;
        for features in windows(0..d) {
            recomputed += tile.sweep(features, out, partials, wide);
        }
        recomputed
    }
}

/// The features, cut where a fold is interrupted.
pub(super) fn windows(features: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let most = features_in_cache();
    features.clone().step_by(most).map(move |first| first..features.end.min(first + most))
}

/// A tile on its level, with what its micro-tiles share. Unless it is `LONG`, one block of features is all. Its panels are as wide as
/// the micro-kernel takes them, unless they are `NARROW`.
#[derive(Clone, Copy)]
struct Sweep<
    'a,
    S: Simd,
    T: SimdElement,
    F,
    const MR: usize,
    const GRAM: bool,
    const NARROW: bool,
    const LONG: bool,
> {
    lanes: Lanes<S, T>,
    input: TileInput<'a, T>,
    /// Samples in a column panel.
    nr: usize,
    step: F,
}

impl<
    'a,
    S: Simd,
    T: SimdElement,
    F: Fold,
    const MR: usize,
    const GRAM: bool,
    const NARROW: bool,
    const LONG: bool,
> Sweep<'a, S, T, F, MR, GRAM, NARROW, LONG>
{
    #[inline(always)]
    fn new(simd: S, input: TileInput<'a, T>) -> Self {
        let nr = NV * size_of::<T::Vector<S>>() / size_of::<T>();
        Self { lanes: Lanes::new(simd), input, nr, step: F::of(input.exponent) }
    }

    /// Folds `features` for every micro-tile (row panel i, column panel j), and finishes the tile with the last of
    /// all; between calls the folds rest in `partials`.
    ///
    /// Loops, outermost first: groups of row panels that stay in cache; column panels; the row
    /// panels of the group.
    #[inline(always)]
    fn sweep(self, features: Range<usize>, out: &mut [T], partials: &mut [T], wide: &mut Wide<T>) -> u64 {
        let TileShape { m, n, .. } = self.input.shape;
        let (row_panels, col_panels) = (m.div_ceil(MR), n.div_ceil(self.nr));
        let panel_bytes = MR * features.len() * size_of::<T>();
        let group = (ROWS_BYTES * size_of::<T::Vector<S>>() / panel_bytes).clamp(1, row_panels);
        let part = self.input.part;
        let is_first = features.start == 0 && part != Part::Later;
        let is_last = features.end == self.input.features && part == Part::All;
        let partial_len = 2 * MR * self.nr;
        let mut recomputed = 0;
        for first in (0..row_panels).step_by(group) {
            for j in 0..col_panels {
                for i in first..row_panels.min(first + group) {
                    if !LONG {
                        recomputed += self.finish(i, j, self.fold_short(i, j, wide), out, wide);
                        continue;
                    }
                    let slot = (i * col_panels + j) * partial_len;
                    let start = if is_first {
                        None
                    } else {
                        Some(load::<S, T, MR>(&partials[slot..][..partial_len]))
                    };
                    let partial = self.fold(i, j, features.clone(), start, wide);
                    if is_last {
                        recomputed += self.finish(i, j, total(self.lanes, &partial), out, wide);
                    } else {
                        save::<S, T, MR>(&partial, &mut partials[slot..][..partial_len]);
                    }
                }
            }
        }
        recomputed
    }

    /// Samples that are stored in a panel.
    #[inline(always)]
    fn widths(&self) -> Widths {
        if NARROW { self.input.widths } else { Widths { rows: MR, cols: self.nr } }
    }

    /// Row panel `i`, of as many samples as are stored in one, and what follows it.
    #[inline(always)]
    fn row_panel(&self, i: usize) -> &'a [T] {
        &self.input.rows[i * self.input.lens.rows..]
    }

    #[inline(always)]
    fn col_panel(&self, j: usize) -> &'a [T] {
        &self.input.cols[j * self.input.lens.cols..]
    }

    /// Some features of row panel `i` and column panel `j`, for as many samples as the micro-kernel takes.
    #[inline(always)]
    fn panels<'b>(
        &self,
        i: usize,
        j: usize,
        features: Range<usize>,
        wide: &'b mut Wide<T>,
    ) -> (&'b [T], &'b [T::Vector<S>], &'a [T])
    where
        'a: 'b,
    {
        let Wide { rows, cols, .. } = wide;
        let rows = lines(self.row_panel(i), self.widths().rows, features.clone(), rows, MR);
        let cols = lines(self.col_panel(j), self.widths().cols, features.clone(), cols, self.nr);
        let weights = if F::WEIGHTED { &self.input.weights[features] } else { &[] };
        (rows, T::vectors::<S>(cols).0, weights)
    }

    /// The squared norms of the samples of both panels, likewise.
    #[inline(always)]
    fn norms<'b>(&self, i: usize, j: usize, wide: &'b mut Wide<T>) -> Norms<'b, T, T::Vector<S>, MR>
    where
        'a: 'b,
    {
        let d = self.input.features;
        let Wide { row_norms, col_norms, .. } = wide;
        let rows = lines(self.row_panel(i), self.widths().rows, d..d + 1, row_norms, MR);
        let cols = lines(self.col_panel(j), self.widths().cols, d..d + 1, col_norms, self.nr);
        let norms = (rows.first_chunk(), T::vectors::<S>(cols).0.first_chunk());
        let (Some(rows), Some(cols)) = norms else { unreachable!("a line holds a norm of each sample") };
        (rows, cols)
    }

    /// All features of a micro-tile, which are one block.
    #[inline(always)]
    fn fold_short(&self, i: usize, j: usize, wide: &mut Wide<T>) -> MicroTile<T::Vector<S>, MR> {
        let panels = self.panels(i, j, 0..self.input.features, wide);
        let zeros = zeros(self.lanes);
        if GRAM {
            fold::<S, T, Product, MR>((self.lanes, Product), panels, zeros)
        } else {
            fold::<S, T, F, MR>((self.lanes, self.step), panels, zeros)
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
        wide: &mut Wide<T>,
    ) -> Partial<T::Vector<S>, MR> {
        let panels = self.panels(i, j, features, wide);
        if GRAM {
            fold_blocks::<S, T, Product, MR>((self.lanes, Product), panels, start)
        } else {
            fold_blocks::<S, T, F, MR>((self.lanes, self.step), panels, start)
        }
    }

    /// Distances of the micro-tile into the tile, from the values folded over all features.
    #[inline(always)]
    fn finish(
        self,
        i: usize,
        j: usize,
        mut block: MicroTile<T::Vector<S>, MR>,
        out: &mut [T],
        wide: &mut Wide<T>,
    ) -> u64 {
        let recomputed = if GRAM { self.guard(i, j, &mut block, wide) } else { 0 };
        finish(self.lanes, self.input.finish, &mut block);
        store(self.lanes, self.input.shape, (i, j), &block, out);
        recomputed
    }

    /// From −x·y to D² = |x|² + |y|² − 2x·y, and the direct value where the guard does not keep that. Returns how many entries were
    /// replaced.
    #[inline(always)]
    fn guard(&self, i: usize, j: usize, block: &mut MicroTile<T::Vector<S>, MR>, wide: &mut Wide<T>) -> u64 {
        if squares(self.lanes, block, self.norms(i, j, wide)) {
            return 0;
        }
        // a copy, so that the whole block can stay in registers above
        let mut replaced = *block;
        let direct = self.direct(i, j, wide);
        let inside = self.input.shape.inside((i * MR, j * self.nr), (MR, self.nr));
        let count = replace(self.lanes, &mut replaced, &direct, self.norms(i, j, wide), inside);
        *block = replaced;
        count
    }

    /// The values of a micro-tile from the differences.
    #[inline(always)]
    fn direct(&self, i: usize, j: usize, wide: &mut Wide<T>) -> MicroTile<T::Vector<S>, MR> {
        let d = self.input.features;
        if !LONG {
            let panels = self.panels(i, j, 0..d, wide);
            return fold::<S, T, F, MR>((self.lanes, self.step), panels, zeros(self.lanes));
        }
        let mut partial = None;
        for features in windows(0..d) {
            let panels = self.panels(i, j, features, wide);
            partial = Some(fold_blocks::<S, T, F, MR>((self.lanes, self.step), panels, partial));
        }
        total(self.lanes, &partial.expect("a sample has features"))
    }
}

/// Some lines of a panel of `stored` samples, as lines of `full` samples: the panel's own, or widened ones.
#[inline(always)]
pub(super) fn lines<'b, T: Copy>(
    panel: &'b [T],
    stored: usize,
    features: Range<usize>,
    wide: &'b mut [T],
    full: usize,
) -> &'b [T] {
    if stored == full {
        return &panel[features.start * full..features.end * full];
    }
    let len = widen(&panel[features.start * stored..features.end * stored], stored, wide, full);
    &wide[..len]
}
