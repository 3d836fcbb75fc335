//! Tiles by parts of the features, for samples so long that not even those of one tile fit into memory.
//!
//! ```text
//! let mut folds = kernel.folds(m, n);
//! for features in parts {                       // 0..a, a..b, …, each cut at a multiple of 256
//!     // read these features; prepare, scale and pack them in the panels that `part_panels` gives
//!     kernel.fold_part(&mut folds, features, (rows, m), (cols, n), scratch);
//! }
//! kernel.finish_folds(&folds, 0..m, (row_extras, col_extras), (out, n), scratch);
//! ```
//!
//! The distances are the same bits as those that [`Kernel::compute`] gives of whole samples. A tile may be cut into tiles of their own that begin at
//! panels. Where there are fewer tiles than threads, these can share the features of a part: see [`Kernel::block_sums`].

use std::ops::Range;

use super::counts::CountScratch;
use super::engine::Engine;
use super::micro_finish::TileShape;
use super::resting::{AddSums, GramInput, RestingInput};
use super::simd::vectorize;
use super::sweep::{self, Compiled, Part, TileFn, Tiles, Widths};
use super::{ExtrasSum, Kernel, PanelShape, Scratch, SimdElement, WORD_BYTES, Wide};
use crate::metric::{BLOCK_FEATURES, CompensatedSum, Extras, Finish, Reduction, Summation};

/// What is folded of the pairs of an m × n tile, over the features of the parts so far.
#[derive(Clone, Debug)]
pub struct Folds<T> {
    m: usize,
    n: usize,
    /// Features that are folded: the first ones.
    features: usize,
    /// For each fold of the kernel, values and errors.
    values: Vec<Vec<T>>,
    /// Of a kernel that counts, the counts.
    counts: Vec<u64>,
}

/// What some features of the pairs of an m × n tile give, to be added to its [`Folds`].
#[derive(Clone, Debug)]
pub struct Sums<T> {
    m: usize,
    n: usize,
    features: Range<usize>,
    /// For each fold of the kernel, the sums of one block of features after the other, or one maximum over all.
    values: Vec<Vec<T>>,
    /// Of a kernel that counts, the counts.
    counts: Vec<u64>,
}

/// A fold that rests between parts.
#[derive(Clone, Copy)]
struct Resting<T> {
    tile: TileFn<T>,
    reduction: Reduction,
    summation: Summation,
}

impl<T: SimdElement> Kernel<T> {
    /// Shapes of the panels that hold `features` features of the samples of rows and of columns.
    pub fn part_panels(&self, features: usize) -> (PanelShape, PanelShape) {
        let of_part = |panels: PanelShape| PanelShape { features, extras: Extras::None, ..panels };
        (of_part(self.row_panels()), of_part(self.col_panels()))
    }

    /// What a sample carries beside its features, before the first part of them is added.
    pub fn extras_sum(&self) -> ExtrasSum {
        match (&self.engine, self.row_panels().extras) {
            (_, Extras::None) => ExtrasSum::None,
            (_, Extras::Ones) => ExtrasSum::Ones(0),
            (Engine::Values { .. }, Extras::SquaredNorm) => ExtrasSum::SquaredNorm(CompensatedSum::default()),
            (Engine::Counts { .. }, Extras::SquaredNorm) => ExtrasSum::WholeSquaredNorm(0),
        }
    }

    /// The folds of an m × n tile before its first part.
    ///
    /// # Panics
    /// If the measure [cannot be in parts](crate::metric::Measure::can_be_in_parts), or the tile is larger than those that panels were narrowed for.
    pub fn folds(&self, m: usize, n: usize) -> Folds<T> {
        let metric = self.measure.metric();
        assert!(self.measure.can_be_in_parts(), "{metric} takes all features of a sample at once");
        self.assert_fits(m, n);
        let len = sweep::resting_len(m, n, self.full);
        let (values, counts) = match &self.engine {
            Engine::Values { .. } => (self.resting().map(|_| vec![T::default(); len]).collect(), Vec::new()),
            Engine::Counts { .. } => (Vec::new(), vec![0; len / 2]),
        };
        Folds { m, n, features: 0, values, counts }
    }

    /// Bytes of the folds of an m × n tile.
    pub fn folds_bytes(&self, m: usize, n: usize) -> usize {
        let len = sweep::resting_len(m, n, self.full);
        match &self.engine {
            Engine::Values { .. } => self.resting().count() * len * size_of::<T>(),
            Engine::Counts { .. } => len / 2 * WORD_BYTES,
        }
    }

    /// Pairs that are folded for an m × n tile: those of whole micro-tiles.
    pub fn folded_pairs(&self, m: usize, n: usize) -> usize {
        sweep::resting_len(m, n, self.full) / 2
    }

    /// Elements of scratch that a worker needs to fold parts of m × n tiles, and to finish them strip by strip.
    pub fn part_scratch_len(&self, m: usize, n: usize) -> usize {
        match &self.engine {
            Engine::Values { others, .. } => {
                sweep::wide_len(self.features, self.widths, self.full)
                    + others.len() * self.strip_len(n).min(m * n)
                    + m.next_multiple_of(self.full.rows)
                    + n.next_multiple_of(self.full.cols)
            }
            Engine::Counts { .. } => {
                let words = self.row_panels().feature_lines();
                CountScratch::wide_len(words, self.widths, self.full) * WORD_BYTES / size_of::<T>()
            }
        }
    }

    /// Folds the next part of the features: `features` of `m` samples in row panels and of `n` in column panels, of the shapes that
    /// [`Self::part_panels`] gives.
    ///
    /// # Panics
    /// If the part does not follow those before, does not end at a multiple of [`BLOCK_FEATURES`] or with the last feature, the tile has
    /// another shape than the folds, or a slice is shorter than its shape says.
    pub fn fold_part(
        &self,
        folds: &mut Folds<T>,
        features: Range<usize>,
        (rows, m): (&[u64], usize),
        (cols, n): (&[u64], usize),
        scratch: &mut Scratch<T>,
    ) {
        assert_eq!((m, n), (folds.m, folds.n), "the shape of the tile");
        assert_eq!(features.start, folds.features, "the first feature of the part");
        self.assert_cut(&features);
        let shape = TileShape { m, n, ld: n };
        let panels = self.part_panels(features.len());
        let part_of = |first: usize| if first == 0 { Part::First } else { Part::Later };
        folds.features = features.end;
        match &self.engine {
            Engine::Values { .. } => {
                let resting: Vec<Resting<T>> = self.resting().collect();
                // all folds of the features that are in a cache
                for window in sweep::windows(features.clone()) {
                    let from = window.start - features.start;
                    let part = part_of(window.start);
                    let mut input = self.value_input((rows, cols), panels, window, part, shape);
                    input.rows = &input.rows[from * panels.0.width..];
                    input.cols = &input.cols[from * panels.1.width..];
                    for (fold, values) in resting.iter().zip(&mut folds.values) {
                        (fold.tile)(input, &mut [], values, &mut scratch.wide);
                    }
                }
            }
            Engine::Counts { count, finished } => {
                let input = self.count_input((rows, cols), panels, part_of(features.start), shape);
                (count.tile)(input, *finished, &mut [], &mut folds.counts, &mut scratch.counts.wide);
            }
        }
    }

    /// Whether both products and differences are folded of parts, as the guard needs.
    pub fn folds_twice(&self) -> bool {
        matches!(&self.engine, Engine::Values { main, .. } if main.direct.is_some())
    }

    /// Whether threads can share the features of a part: sums over blocks of features do not depend on each other, nor do maxima and
    /// counts. A sum that adds one feature after the other has no such blocks; there, threads can take parts of the tile.
    pub fn has_block_sums(&self) -> bool {
        self.resting().all(|fold| fold.reduction == Reduction::Max || fold.summation == Summation::Blocked)
    }

    /// What `features` of an m × n tile give, of a part that its panels hold; [`Self::add_sums`] adds it to the folds.
    /// Any thread can compute it, before or after what other features give.
    ///
    /// # Panics
    /// If there are [no such sums](Self::has_block_sums), the features do not lie in the part, part or features begin or end within a
    /// block, or a slice is shorter than its shape says.
    pub fn block_sums(
        &self,
        part: Range<usize>,
        features: Range<usize>,
        (rows, m): (&[u64], usize),
        (cols, n): (&[u64], usize),
        scratch: &mut Scratch<T>,
    ) -> Sums<T> {
        assert!(self.has_block_sums(), "{} adds feature after feature", self.measure.metric());
        assert!(part.start <= features.start && features.end <= part.end, "{features:?} of part {part:?}");
        self.assert_cut(&part);
        self.assert_cut(&features);
        self.assert_fits(m, n);
        let panels = self.part_panels(part.len());
        let shape = TileShape { m, n, ld: n };
        let mut sums = Sums { m, n, features: features.clone(), values: Vec::new(), counts: Vec::new() };
        let lines = |features: usize| self.part_panels(features).0.feature_lines();
        match &self.engine {
            Engine::Values { .. } => {
                let Scratch { partials, wide, .. } = scratch;
                for fold in self.resting() {
                    let mut values = Vec::new();
                    for block in fold.blocks(features.clone()) {
                        let from = lines(block.start - part.start);
                        let mut input = self.value_input((rows, cols), panels, block, Part::First, shape);
                        input.rows = &input.rows[from * panels.0.width..];
                        input.cols = &input.cols[from * panels.1.width..];
                        (fold.tile)(input, &mut [], partials, wide);
                        let stored = partials.chunks_exact(2 * self.pairs());
                        stored.for_each(|stored| values.extend_from_slice(&stored[..self.pairs()]));
                    }
                    sums.values.push(values);
                }
            }
            Engine::Counts { count, finished } => {
                let from = lines(features.start - part.start);
                let mut input = self.count_input((rows, cols), panels, Part::First, shape);
                input.rows = &input.rows[from * panels.0.width..];
                input.cols = &input.cols[from * panels.1.width..];
                input.words = lines(features.len());
                (count.tile)(input, *finished, &mut [], &mut sums.counts, &mut scratch.counts.wide);
            }
        }
        sums
    }

    /// Bytes of scratch that [`Self::block_sums`] takes for an m × n tile.
    pub fn block_sums_scratch(&self, m: usize, n: usize) -> usize {
        match &self.engine {
            Engine::Values { .. } => sweep::resting_len(m, n, self.full) * size_of::<T>(),
            Engine::Counts { .. } => 0,
        }
    }

    /// Words of the [`Sums`] of these features of an m × n tile.
    pub fn sums_words(&self, features: &Range<usize>, m: usize, n: usize) -> usize {
        let len = sweep::resting_len(m, n, self.full) / 2;
        match &self.engine {
            Engine::Values { .. } => {
                let of = |fold: Resting<T>| fold.blocks(features.clone()).count() * len;
                self.resting().map(of).sum::<usize>() * size_of::<T>() / WORD_BYTES
            }
            Engine::Counts { .. } => len,
        }
    }

    /// The sums of these features of an m × n tile that [`Sums::append_to`] made words of.
    ///
    /// # Panics
    /// If the words are not [`Self::sums_words`].
    pub fn sums_of(&self, features: Range<usize>, (m, n): (usize, usize), words: &[u64]) -> Sums<T> {
        assert_eq!(words.len(), self.sums_words(&features, m, n), "words of sums");
        let len = sweep::resting_len(m, n, self.full) / 2;
        let mut sums = Sums { m, n, features: features.clone(), values: Vec::new(), counts: Vec::new() };
        match &self.engine {
            Engine::Values { .. } => {
                let mut values: &[T] = bytemuck::cast_slice(words);
                for fold in self.resting() {
                    let (of_fold, rest) = values.split_at(fold.blocks(features.clone()).count() * len);
                    sums.values.push(of_fold.to_vec());
                    values = rest;
                }
            }
            Engine::Counts { .. } => sums.counts = words.to_vec(),
        }
        sums
    }

    /// Adds the sums of the next features.
    ///
    /// # Panics
    /// If the features do not follow those that are folded, or the tile has another shape.
    pub fn add_sums(&self, folds: &mut Folds<T>, sums: &Sums<T>) {
        assert_eq!((sums.m, sums.n), (folds.m, folds.n), "the shape of the tile");
        assert_eq!(sums.features.start, folds.features, "the first feature of the sums");
        let is_first = folds.features == 0;
        folds.features = sums.features.end;
        for ((fold, folds), sums) in self.resting().zip(&mut folds.values).zip(&sums.values) {
            let (reduction, pairs) = (fold.reduction, self.pairs());
            vectorize(self.level, AddSums { folds, sums, pairs, reduction, is_first });
        }
        if let Engine::Counts { finished, .. } = &self.engine {
            if is_first {
                folds.counts.copy_from_slice(&sums.counts);
            } else {
                finished.counted.merge(&mut folds.counts, &sums.counts);
            }
        }
    }

    /// Computes the distances of some rows of the tile, the first of which begins a panel, into lines of `out` that begin `ld` elements apart, from
    /// folds over all features. `row_extras` are those of these rows, `col_extras` those of all columns, as [`ExtrasSum::total`] gives them; where
    /// samples carry nothing they may be empty. Returns how many entries are noted, as [`Self::compute`] does.
    ///
    /// # Panics
    /// If features are missing, the rows begin within a panel, or a slice is too short.
    pub fn finish_folds(
        &self,
        folds: &Folds<T>,
        rows: Range<usize>,
        (row_extras, col_extras): (&[u64], &[u64]),
        (out, ld): (&mut [T], usize),
        scratch: &mut Scratch<T>,
    ) -> u64 {
        assert_eq!(folds.features, self.features, "features that are folded");
        let Widths { rows: height, cols: width } = self.full;
        assert!(rows.start.is_multiple_of(height) && rows.end <= folds.m, "rows {rows:?} of {}", folds.m);
        if rows.is_empty() {
            return 0;
        }
        let shape = TileShape { m: rows.len(), n: folds.n, ld };
        let out = &mut out[..(rows.len() - 1) * ld + folds.n];
        let of_panel = height * folds.n.next_multiple_of(width);
        let pairs = rows.start * of_panel / height..rows.end.div_ceil(height) * of_panel;
        let noted = match &self.engine {
            Engine::Values { main, others } => {
                let folds = folds.values.iter().map(|values| &values[2 * pairs.start..2 * pairs.end]);
                let folds: Vec<&[T]> = folds.collect();
                self.finish_values((main, others), &folds, shape, (row_extras, col_extras), out, scratch)
            }
            Engine::Counts { count, finished } => {
                (count.finish)(&folds.counts[pairs], (row_extras, col_extras), shape, *finished, out);
                0
            }
        };
        self.undo_scaling(shape, out);
        noted
    }

    fn finish_values(
        &self,
        (main, others): (&Compiled<T>, &[Compiled<T>]),
        folds: &[&[T]],
        shape: TileShape,
        (row_extras, col_extras): (&[u64], &[u64]),
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> u64 {
        let Scratch { wide: Wide { row_norms, col_norms, .. }, others: folded, .. } = scratch;
        let gram = main.direct.map(|_| GramInput {
            direct: folds[1],
            row_norms: padded_norms(row_extras, self.full.rows, row_norms),
            col_norms: padded_norms(col_extras, self.full.cols, col_norms),
        });
        let input = RestingInput { folds: folds[0], gram, shape, finish: self.finish_in_registers() };
        let noted = (main.finish)(input, out);
        if self.ends_in_registers() {
            return noted;
        }
        for ((values, other), folds) in folded.iter_mut().zip(others).zip(&folds[1..]) {
            values.resize(shape.m * shape.n, T::default());
            let shape = TileShape { ld: shape.n, ..shape };
            (other.finish)(RestingInput { folds, gram: None, shape, finish: Finish::Plain }, values);
        }
        noted + self.finish_strip(shape, out, folded)
    }

    /// The folds of the kernel: the main one, beside a Gram product that of the differences, and the others. None where it counts.
    fn resting(&self) -> impl Iterator<Item = Resting<T>> {
        let resting = |tiles: Tiles<T>, compiled: &Compiled<T>| {
            let Compiled { reduction, summation, .. } = *compiled;
            Resting { tile: self.tile(tiles), reduction, summation }
        };
        let mut folds = Vec::new();
        if let Engine::Values { main, others } = &self.engine {
            folds.push(resting(main.tile, main));
            folds.extend(main.direct.map(|direct| resting(direct, main)));
            folds.extend(others.iter().map(|other| resting(other.tile, other)));
        }
        folds.into_iter()
    }

    /// Pairs of a micro-tile.
    fn pairs(&self) -> usize {
        self.full.rows * self.full.cols
    }

    fn assert_cut(&self, features: &Range<usize>) {
        let is_cut = |at: usize| at.is_multiple_of(BLOCK_FEATURES);
        let Range { start, end } = *features;
        assert!(
            start < end && is_cut(start) && (is_cut(end) && end < self.features || end == self.features),
            "features {features:?} of {}",
            self.features
        );
    }
}

impl<T: SimdElement> Sums<T> {
    /// Which features they are of.
    pub fn features(&self) -> Range<usize> {
        self.features.clone()
    }

    /// Their words, behind others: for another process, which makes them sums again by [`Kernel::sums_of`].
    pub fn append_to(&self, words: &mut Vec<u64>) {
        for values in &self.values {
            let first = words.len();
            // whole micro-tiles fill words
            words.resize(first + size_of_val(&values[..]) / WORD_BYTES, 0);
            bytemuck::cast_slice_mut(&mut words[first..]).copy_from_slice(values);
        }
        words.extend(&self.counts);
    }
}

impl<T> Resting<T> {
    /// The features that are folded each to a value of its own, which are put together then.
    fn blocks(&self, features: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let len = if self.reduction == Reduction::Max { features.len().max(1) } else { BLOCK_FEATURES };
        features.clone().step_by(len).map(move |first| first..features.end.min(first + len))
    }
}

/// The squared norms of samples, in whole panels: padding samples have 1, as in packed panels.
fn padded_norms<'a, T: SimdElement>(extras: &[u64], width: usize, norms: &'a mut Vec<T>) -> &'a [T] {
    norms.clear();
    norms.extend(extras.iter().map(|norm| T::from_f64(f64::from_bits(*norm))));
    norms.resize(norms.len().next_multiple_of(width), T::from_f64(1.0));
    norms
}
