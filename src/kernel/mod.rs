//! Kernels: from two sets of packed panels to a tile of distances.
//!
//! A [`Kernel`] is chosen once per run from metric, element type, SIMD level and number of features,
//! never from ranks, threads or tiles, and every distance depends on its own two samples alone:
//! so results are the same bits however the work is cut.
//!
//! - `method` — the ways to compute distances
//! - `engine` — what is compiled for each of them
//! - `simd` — vectors and levels, through `pulp`
//! - `pack` — the panels a micro-kernel streams
//! - `micro` — the fold over features, in registers
//! - `micro_finish` — the Gram guard, the finish and the store of what is in registers
//! - `sweep` — the loops around them
//! - `parts` — tiles by parts of the features
//! - `resting` — the folds that rest between parts
//! - `extras` — what is carried with features that come in parts
//! - `finish` — what is left to do when a strip is folded
//! - `counts` — the same in whole numbers, of bits and bytes
//! - `product` — products of matrices
//! - `transpose` — the mirror image of a tile
//! - `bounded` — which distances are within their limits
//! - `extremes` — the range of samples, and whether all are finite
//! - `summary` — sum, extremes and checksum of a finished tile

mod bounded;
mod counts;
mod engine;
mod extras;
mod extremes;
mod finish;
mod method;
mod micro;
mod micro_finish;
mod pack;
mod parts;
mod product;
mod resting;
mod simd;
mod summary;
mod sweep;
mod transpose;

pub(crate) use bounded::{limit_of, within};
pub use extras::ExtrasSum;
pub(crate) use extremes::extremes;
pub use method::{Method, guard_tau};
pub(crate) use pack::WORD_BYTES;
pub use pack::{Packing, PanelShape};
pub use parts::{Folds, Sums};
pub(crate) use product::Product;
pub use simd::{Level, SimdElement};
pub(crate) use summary::{Checksum, Summary};
pub(crate) use transpose::{transpose, transpose_plain};

use std::ops::Range;
use std::sync::OnceLock;

use crate::metric::{Extras, Finish, Measure, PowerOfTwo};
use crate::partition::lcm;
use counts::{CompiledCount, CountInput, CountScratch, Finished};
use engine::Engine;
use micro_finish::TileShape;
use sweep::{Compiled, Part, TileFn, TileInput, Tiles, Widths};

/// Version of the arithmetic: it is raised when any distance of any samples gets other bits, so that a result never has
/// some of both. `tests/arithmetic.rs` holds digests of reference data against it. 1: the first; 2: samples are scaled whose squares
/// would overflow or vanish; 3: whole numbers of 8 bits, whose distances are rounded once.
pub const ARITHMETIC: u32 = 3;

/// Bytes of distances that stay in a level-2 cache beside the panels they are computed from.
const STRIP_BYTES: usize = 128 << 10;

/// What a worker keeps between tiles: folds interrupted by the cache blocking over features, widened panels, and what else is folded of a strip.
#[derive(Debug, Default)]
pub struct Scratch<T> {
    partials: Vec<T>,
    wide: Wide<T>,
    others: [Vec<T>; 3],
    counts: CountScratch,
}

/// Some features of a row panel and of a column panel, and the norms of their samples, where the panels hold fewer samples than a
/// micro-kernel takes.
#[derive(Debug, Default)]
struct Wide<T> {
    rows: Vec<T>,
    cols: Vec<T>,
    row_norms: Vec<T>,
    col_norms: Vec<T>,
}

impl<T> Scratch<T> {
    /// Empty; it grows to what the kernel needs.
    pub const fn new() -> Self {
        let wide = Wide { rows: Vec::new(), cols: Vec::new(), row_norms: Vec::new(), col_norms: Vec::new() };
        let others = [Vec::new(), Vec::new(), Vec::new()];
        Self { partials: Vec::new(), wide, others, counts: CountScratch::new() }
    }
}

/// A compute kernel for tiles of distances.
#[derive(Clone, Debug)]
pub struct Kernel<T> {
    measure: Measure,
    method: Method,
    level: Level,
    features: usize,
    engine: Engine<T>,
    /// A weight for each feature, where terms have them, once they are needed.
    weights: OnceLock<Box<[T]>>,
    /// Samples of the panels that the micro-kernel takes, and of those that are packed.
    full: Widths,
    widths: Widths,
    /// What distances are multiplied by, if samples were scaled.
    undo: Option<PowerOfTwo<T>>,
}

impl<T: SimdElement> Kernel<T> {
    /// The kernel for samples of `features` features, on SIMD level `level`.
    ///
    /// # Panics
    /// If there are no features, or the machine lacks the level.
    pub fn new(measure: impl Into<Measure>, method: Method, features: usize, level: Level) -> Self {
        let measure = measure.into();
        assert!(features > 0, "a sample has at least one feature");
        assert!(method.is_of(&measure), "{} is not computed by {method}", measure.metric().name());
        assert!(level.is_available(), "this machine has no {}", level.name());
        let engine = Engine::new(&measure, method, features, level);
        let full = engine.widths(level);
        let kernel = Self {
            measure,
            method,
            level,
            features,
            engine,
            weights: OnceLock::new(),
            full,
            widths: full,
            undo: None,
        };
        kernel.of_scaled(0)
    }

    /// The same kernel for tiles of m × n at most. Where that is less than a panel, panels are no wider than the tile: padding would
    /// be most of the memory of few samples with many features. The kernel then pads a few features at a time.
    #[must_use]
    pub fn for_tiles(self, m: usize, n: usize) -> Self {
        let full = self.full;
        Self { widths: Widths { rows: full.rows.min(m), cols: full.cols.min(n) }, ..self }
    }

    /// The same kernel with other weights.
    ///
    /// # Panics
    /// If only one of the two has weighted terms, or they differ in more than weights.
    #[must_use]
    pub fn of(self, measure: Measure) -> Self {
        let parts = |measure: &Measure| (measure.form(), measure.exponent(), measure.skips_missing());
        let same = parts(&measure) == parts(&self.measure);
        let weighted = measure.has_weighted_terms() == self.measure.has_weighted_terms();
        assert!(same && weighted, "the kernel computes {:?}", self.measure.metric());
        Self { measure, weights: OnceLock::new(), ..self }.of_scaled(0)
    }

    /// The same kernel for samples that were scaled by 2^`exponent`: its distances are those of the samples as they were.
    #[must_use]
    pub fn of_scaled(self, exponent: i32) -> Self {
        let undo = self.measure.undo_exponent(exponent);
        Self { undo: (undo != 0).then(|| PowerOfTwo::new(undo)), ..self }
    }

    /// What it computes.
    pub fn measure(&self) -> &Measure {
        &self.measure
    }

    /// The SIMD level it runs on.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Shape of the panels that hold a tile's rows.
    pub fn row_panels(&self) -> PanelShape {
        self.panels(self.widths.rows)
    }

    /// Shape of the panels that hold a tile's columns.
    pub fn col_panels(&self) -> PanelShape {
        self.panels(self.widths.cols)
    }

    fn panels(&self, width: usize) -> PanelShape {
        let (packing, extras) = match &self.engine {
            Engine::Values { .. } if self.method == Method::Gemm => {
                (Packing::Values(T::DTYPE), Extras::SquaredNorm)
            }
            Engine::Values { .. } => (Packing::Values(T::DTYPE), Extras::None),
            Engine::Counts { finished, .. } => {
                (finished.counted.packing(self.method), finished.counted.extras())
            }
        };
        PanelShape { width, features: self.features, packing, extras, level: self.level }
    }

    /// Rows of a tile with `n` columns that are best computed together, in a level-2 cache: whole panels, and whole
    /// cache lines of the mirror image.
    pub fn strip_rows(&self, n: usize) -> usize {
        let whole = self.whole_rows();
        (STRIP_BYTES / (n * size_of::<T>()) / whole).max(1) * whole
    }

    /// The same of a tile on the diagonal: whole panels of columns too.
    pub fn diagonal_strip_rows(&self, n: usize) -> usize {
        self.strip_rows(n).next_multiple_of(lcm(self.whole_rows(), self.full.cols))
    }

    fn whole_rows(&self) -> usize {
        lcm(self.full.rows, transpose::LINE_BYTES / size_of::<T>())
    }

    /// Elements of the largest strip of a tile with up to `n` columns.
    pub fn strip_len(&self, n: usize) -> usize {
        (STRIP_BYTES / size_of::<T>()).max(self.diagonal_strip_rows(n) * n)
    }

    /// Bytes that are kept for each feature: its weight as the kernel takes it, and as it is given, which has up to four copies while
    /// samples are read.
    pub fn feature_bytes(&self) -> usize {
        let taken = if self.takes_weights() { size_of::<T>() } else { 0 };
        let given = if self.measure.weights().is_empty() { 0 } else { 4 * size_of::<f64>() };
        taken + given
    }

    fn takes_weights(&self) -> bool {
        match &self.engine {
            Engine::Values { main, others } => {
                main.is_weighted || others.iter().any(|other| other.is_weighted)
            }
            Engine::Counts { .. } => false,
        }
    }

    /// A weight for each feature: 1 where none are given. Nothing where terms have none.
    fn weights(&self) -> &[T] {
        self.weights.get_or_init(|| {
            let given = self.measure.weights_of_terms();
            let weight = |l: usize| T::from_f64(given.get(l).copied().unwrap_or(1.0));
            let features = if self.takes_weights() { self.features } else { 0 };
            (0..features).map(weight).collect()
        })
    }

    /// Elements of scratch that a worker needs for tiles of m × n.
    pub fn scratch_len(&self, m: usize, n: usize) -> usize {
        let full = self.full;
        match &self.engine {
            Engine::Values { others, .. } => {
                sweep::partials_len(self.features, m, n, full)
                    + sweep::wide_len(self.features, self.widths, full)
                    + others.len() * self.strip_len(n).min(m * n)
            }
            Engine::Counts { .. } => {
                let words = self.row_panels().feature_lines();
                let strip = self.diagonal_strip_rows(n).min(m);
                CountScratch::len(words, strip, n, self.widths, full) * WORD_BYTES / size_of::<T>()
            }
        }
    }

    /// Packs row-major samples for the rows of a tile.
    ///
    /// # Panics
    /// If `panels` has not the length that [`Self::row_panels`] gives.
    pub fn pack_rows(&self, samples: &[T], panels: &mut [u64]) {
        self.row_panels().pack(samples, false, panels);
    }

    /// Packs row-major samples for the columns of a tile: negated, so that a difference is an addition.
    ///
    /// # Panics
    /// If `panels` has not the length that [`Self::col_panels`] gives.
    pub fn pack_cols(&self, samples: &[T], panels: &mut [u64]) {
        self.col_panels().pack(samples, true, panels);
    }

    /// Computes the m × n distances of packed rows and columns into `out`, row-major.
    /// Returns how many entries it has noted: those that failed the Gram guard and were computed directly, or whose samples share no feature
    /// where missing values are skipped.
    ///
    /// # Panics
    /// If a slice is shorter than its shape says, or the tile is larger than those that panels were narrowed for.
    pub fn compute(
        &self,
        rows: &[u64],
        m: usize,
        cols: &[u64],
        n: usize,
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> u64 {
        self.compute_cols((rows, m), (cols, n), 0..n, out, scratch)
    }

    /// The same of some of the columns, from the first of a panel on; the others in `out` stay as they are.
    ///
    /// # Panics
    /// Likewise, or if the columns begin within a panel.
    pub fn compute_cols(
        &self,
        (rows, m): (&[u64], usize),
        (cols, ld): (&[u64], usize),
        wanted: Range<usize>,
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> u64 {
        assert_eq!(out.len(), m * ld, "a tile of {m} x {ld}");
        assert!(
            wanted.start.is_multiple_of(self.widths.cols) && wanted.end <= ld,
            "columns {wanted:?} of {ld}"
        );
        let cols = &cols[wanted.start / self.widths.cols * self.col_panels().len()..];
        let n = wanted.len();
        let out = &mut out[wanted.start..];
        self.assert_fits(m, n);
        let shape = TileShape { m, n, ld };
        let noted = match &self.engine {
            Engine::Values { main, others } => {
                self.compute_values((main, others), (rows, cols), shape, out, scratch)
            }
            Engine::Counts { count, finished } => {
                self.compute_counts((count, finished), (rows, cols), shape, out, &mut scratch.counts);
                0
            }
        };
        self.undo_scaling(shape, out);
        noted
    }

    fn assert_fits(&self, m: usize, n: usize) {
        let (Widths { rows: height, cols: width }, full) = (self.widths, self.full);
        assert!(
            (height == full.rows || m <= height) && (width == full.cols || n <= width),
            "a tile of {m} x {n} in panels of {height} and {width}"
        );
    }

    fn compute_values(
        &self,
        (main, others): (&Compiled<T>, &[Compiled<T>]),
        (rows, cols): (&[u64], &[u64]),
        shape: TileShape,
        out: &mut [T],
        scratch: &mut Scratch<T>,
    ) -> u64 {
        let TileShape { m, n, .. } = shape;
        let panels = (self.row_panels(), self.col_panels());
        let input = self.value_input((rows, cols), panels, 0..self.features, Part::All, shape);
        let Scratch { partials, wide, others: folded, .. } = scratch;
        let noted = self.tile(main.tile)(input, out, partials, wide);
        if self.ends_in_registers() {
            return noted;
        }
        for (values, other) in folded.iter_mut().zip(others) {
            values.resize(m * n, T::default());
            let shape = TileShape { ld: n, ..shape };
            let input = TileInput { finish: Finish::Plain, shape, ..input };
            self.tile(other.tile)(input, &mut values[..m * n], partials, wide);
        }
        noted + self.finish_strip(shape, out, folded)
    }

    /// The samples of a tile in panels of these shapes, which hold some of their features.
    fn value_input<'a>(
        &'a self,
        (rows, cols): (&'a [u64], &'a [u64]),
        (row_panels, col_panels): (PanelShape, PanelShape),
        features: Range<usize>,
        part: Part,
        shape: TileShape,
    ) -> TileInput<'a, T> {
        let elements = |panels: PanelShape| panels.len() * WORD_BYTES / size_of::<T>();
        TileInput {
            rows: bytemuck::cast_slice(rows),
            cols: bytemuck::cast_slice(cols),
            shape,
            features: features.len(),
            part,
            lens: Widths { rows: elements(row_panels), cols: elements(col_panels) },
            widths: self.widths,
            weights: self.weights().get(features).unwrap_or(&[]),
            exponent: self.measure.exponent(),
            finish: self.finish_in_registers(),
        }
    }

    /// What computes tiles of the panels that are packed.
    fn tile(&self, tiles: Tiles<T>) -> TileFn<T> {
        if self.widths == self.full { tiles.full } else { tiles.narrow }
    }

    /// The finish of the main fold: what is folded over the features that samples share is no distance yet.
    fn finish_in_registers(&self) -> Finish {
        if self.measure.skips_missing() { Finish::Plain } else { self.measure.form().finish }
    }

    /// Whether nothing is left to do then.
    fn ends_in_registers(&self) -> bool {
        !self.measure.skips_missing() && self.measure.form().finish.ends_in_registers()
    }

    /// Distances in place of what was folded first, from that and the other folds, each with a value for each pair. Returns how many
    /// pairs share no feature where missing values are skipped.
    fn finish_strip(&self, shape: TileShape, out: &mut [T], others: &[Vec<T>; 3]) -> u64 {
        let (TileShape { n, ld, .. }, Self { measure, features, .. }) = (shape, self);
        let finish = measure.form().finish;
        let mut noted = 0;
        for (row, line) in out.chunks_mut(ld).enumerate() {
            let of_row = |at: usize| others[at].get(row * n..(row + 1) * n).unwrap_or(&[]);
            if measure.skips_missing() {
                let total = measure.scaled_to_all(*features);
                noted += finish::finish_shared(finish, &mut line[..n], of_row(0), total);
            } else {
                let others = [of_row(0), of_row(1), of_row(2)];
                finish::finish(finish, &mut line[..n], others, measure.total(*features));
            }
        }
        noted
    }

    /// Distances of the samples as they were, of those that were scaled.
    fn undo_scaling(&self, shape: TileShape, out: &mut [T]) {
        if let Some(undo) = self.undo {
            for line in out.chunks_mut(shape.ld) {
                for distance in &mut line[..shape.n] {
                    *distance = undo.times(*distance);
                }
            }
        }
    }

    fn compute_counts(
        &self,
        (count, finished): (&CompiledCount<T>, &Finished),
        (rows, cols): (&[u64], &[u64]),
        shape: TileShape,
        out: &mut [T],
        scratch: &mut CountScratch,
    ) {
        let panels = (self.row_panels(), self.col_panels());
        let input = self.count_input((rows, cols), panels, Part::All, shape);
        (count.tile)(input, *finished, out, &mut scratch.partials, &mut scratch.wide);
    }

    /// Likewise, in words.
    fn count_input<'a>(
        &self,
        (rows, cols): (&'a [u64], &'a [u64]),
        (row_panels, col_panels): (PanelShape, PanelShape),
        part: Part,
        shape: TileShape,
    ) -> CountInput<'a> {
        let words = row_panels.feature_lines();
        let lens = Widths { rows: row_panels.len(), cols: col_panels.len() };
        CountInput { rows, cols, shape, words, part, lens, widths: self.widths }
    }
}
