//! Whole numbers: of samples that are packed as bits, bytes or numbers of 16 bits, what two of them count together.
//!
//! - `simd` — vectors of words, and what is counted in them
//! - `fold` — the fold over the words of a sample, in registers
//! - `finish` — from counts to distances

mod finish;
mod fold;
mod simd;

use std::marker::PhantomData;
use std::ops::Range;

use pulp::NullaryFnOnce;

use super::micro_finish::TileShape;
use super::pack::PLANES;
use super::simd::{Level, NV};
use super::sweep::{PANEL_BYTES, Part, ROWS_BYTES, Widths, lines};
use super::{Method, Packing};
use crate::element::Element;
use crate::metric::{Extras, Form, Preparation, Terms};
pub(super) use finish::Finished;
use fold::{CommonBits, Count, Differences, LargestDifference, Products, UnequalBytes, UnequalPlanes};
use simd::Words;

/// Words of a sample that the fold covers before it moves on: a panel of columns stays in part of a level-2 cache.
const WINDOW: usize = PANEL_BYTES / NV;
const _: () = assert!(WINDOW.is_multiple_of(PLANES), "the planes of a group of bytes are folded together");

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// Bits that both have.
    CommonBits,
    /// Σ |xₗ − yₗ| of bytes.
    Differences,
    /// max |xₗ − yₗ| of bytes.
    LargestDifference,
    /// Bytes that differ.
    UnequalBytes,
    /// The same, of bytes in planes of their bits.
    UnequalPlanes,
    /// Σ xₗ·yₗ of numbers of 16 bits.
    Products,
}

impl Counted {
    /// What distances of a form are made of, if a method that computes in whole numbers makes them.
    pub(super) fn of(form: Form, method: Method) -> Option<Self> {
        if form.is_quotient() || !matches!(form.preparation, Preparation::None | Preparation::Truth) {
            return None;
        }
        match (method, form.terms) {
            (Method::Bits, Terms::Table | Terms::Unequal) => Some(Self::CommonBits),
            (Method::U8 | Method::I8, Terms::Magnitudes) => Some(Self::Differences),
            (Method::U8 | Method::I8, Terms::Largest) => Some(Self::LargestDifference),
            (Method::U8 | Method::I8, Terms::Unequal) => Some(Self::UnequalBytes),
            (Method::U8 | Method::I8, Terms::Squares) => Some(Self::Products),
            _ => None,
        }
    }

    /// The same as a level counts it fastest: with planes a vector of 512 bits compares 64 bytes in as many operations as 8 bytes take
    /// without, but AVX2, which has no instruction that does two of these operations at once, compares bytes faster. So may NEON, which was not measured.
    pub(super) const fn on(self, level: Level) -> Self {
        match (self, level) {
            #[cfg(target_arch = "x86_64")]
            (Self::UnequalBytes, Level::Avx512) => Self::UnequalPlanes,
            (Self::UnequalBytes, Level::Portable) => Self::UnequalPlanes,
            _ => self,
        }
    }

    /// How samples are packed for it.
    pub(super) fn packing(self, method: Method) -> Packing {
        match self {
            Self::CommonBits => Packing::Bits,
            Self::Products => Packing::I16,
            Self::UnequalPlanes => Packing::Planes,
            Self::Differences | Self::LargestDifference | Self::UnequalBytes => match method {
                Method::I8 => Packing::I8,
                _ => Packing::U8,
            },
        }
    }

    /// What all words give together, in place of what some of them give, from that and what the others give.
    pub(super) fn merge(self, counts: &mut [u64], others: &[u64]) {
        for (count, other) in counts.iter_mut().zip(others) {
            *count = match self {
                Self::LargestDifference => (*count).max(*other),
                // products have a sign
                _ => count.wrapping_add(*other),
            };
        }
    }

    /// What a distance needs of each sample besides.
    pub(super) const fn extras(self) -> Extras {
        match self {
            Self::CommonBits => Extras::Ones,
            Self::Products => Extras::SquaredNorm,
            Self::Differences | Self::LargestDifference | Self::UnequalBytes | Self::UnequalPlanes => {
                Extras::None
            }
        }
    }
}

/// The packed samples of a tile. Behind its words, a panel has what its samples carry beside them, if they do.
#[derive(Clone, Copy, Debug)]
pub(super) struct CountInput<'a> {
    pub(super) rows: &'a [u64],
    pub(super) cols: &'a [u64],
    pub(super) shape: TileShape,
    /// Words of a sample, without what follows them.
    pub(super) words: usize,
    /// Whether these are all words of the samples.
    pub(super) part: Part,
    /// Words of a row panel and of a column panel.
    pub(super) lens: Widths,
    /// Samples in a row panel and in a column panel.
    pub(super) widths: Widths,
}

impl<'a> CountInput<'a> {
    /// What the samples of row panel i and of column panel j carry beside their words.
    fn extras(&self, (i, j): (usize, usize)) -> (&'a [u64], &'a [u64]) {
        let Self { rows, cols, words, lens, widths, .. } = *self;
        (
            &rows[i * lens.rows..][words * widths.rows..lens.rows],
            &cols[j * lens.cols..][words * widths.cols..lens.cols],
        )
    }
}

/// What a worker keeps between tiles.
#[derive(Debug, Default)]
pub(super) struct CountScratch {
    /// Counts interrupted by the cache blocking over words.
    pub(super) partials: Vec<u64>,
    pub(super) wide: WideWords,
}

/// Some words of a row panel and of a column panel, where these hold fewer samples than a micro-kernel takes.
#[derive(Debug, Default)]
pub(super) struct WideWords {
    rows: Vec<u64>,
    cols: Vec<u64>,
}

impl CountScratch {
    /// Empty; it grows to what is needed.
    pub(super) const fn new() -> Self {
        Self { partials: Vec::new(), wide: WideWords { rows: Vec::new(), cols: Vec::new() } }
    }

    /// Words that it holds for tiles of m × n.
    pub(super) fn len(words: usize, m: usize, n: usize, stored: Widths, full: Widths) -> usize {
        let partials =
            if words > WINDOW { m.next_multiple_of(full.rows) * n.next_multiple_of(full.cols) } else { 0 };
        partials + Self::wide_len(words, stored, full)
    }

    /// The words among them of panels that are widened.
    pub(super) fn wide_len(words: usize, stored: Widths, full: Widths) -> usize {
        let wide = |stored: usize, full: usize| if stored == full { 0 } else { full * words.min(WINDOW) };
        wide(stored.rows, full.rows) + wide(stored.cols, full.cols)
    }
}

/// Computes a tile into m rows of n distances. Of a part of the features, it counts them into the partials and writes no distances.
pub(super) type CountFn<T> = fn(CountInput<'_>, Finished, &mut [T], &mut Vec<u64>, &mut WideWords);

/// Computes a tile from the counts of all its micro-tiles, and from what the samples of its rows and columns carry beside their words, if
/// they do.
pub(super) type CountFinishFn<T> = fn(&[u64], (&[u64], &[u64]), TileShape, Finished, &mut [T]);

/// What was compiled for a type and level.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompiledCount<T> {
    pub(super) tile: CountFn<T>,
    /// The finish of counts that rest.
    pub(super) finish: CountFinishFn<T>,
    /// Samples of a row panel as the micro-kernel takes it.
    pub(super) rows: usize,
}

/// How a level counts: with micro-tiles of MR rows, as many as leave registers for the temporaries, and NR columns, two vectors of them.
pub(super) fn compiled<T: Element>(counted: Counted, level: Level) -> CompiledCount<T> {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if simd::Counting::token().is_some() => on::<T, simd::Counting, 8, 4, 16>(counted),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => on::<T, pulp::x86::V4, 8, 4, 16>(counted),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => on::<T, pulp::x86::V3, 4, 2, 8>(counted),
        #[cfg(target_arch = "aarch64")]
        Level::Neon => on::<T, pulp::aarch64::Neon, 8, 4, 4>(counted),
        Level::Portable => on::<T, simd::Plain, 4, 2, 4>(counted),
    }
}

/// Of planes, both what was accumulated and what was counted before are in registers, so there are half as many rows: HALF.
fn on<T: Element, W: Words, const MR: usize, const HALF: usize, const NR: usize>(
    counted: Counted,
) -> CompiledCount<T> {
    const { assert!(2 * HALF == MR, "two rows for one of planes") };
    let tile: CountFn<T> = match counted {
        Counted::CommonBits => run::<T, W, CommonBits, MR, NR>,
        Counted::Differences => run::<T, W, Differences, MR, NR>,
        Counted::LargestDifference => run::<T, W, LargestDifference, MR, NR>,
        Counted::UnequalBytes => run::<T, W, UnequalBytes, MR, NR>,
        Counted::UnequalPlanes => {
            let (tile, finish) = (run::<T, W, UnequalPlanes, HALF, NR>, finish_counts::<T, W, HALF, NR>);
            return CompiledCount { tile, finish, rows: HALF };
        }
        Counted::Products => run::<T, W, Products, MR, NR>,
    };
    CompiledCount { tile, finish: finish_counts::<T, W, MR, NR>, rows: MR }
}

fn run<T: Element, W: Words, C: Count, const MR: usize, const NR: usize>(
    input: CountInput<'_>,
    finished: Finished,
    out: &mut [T],
    partials: &mut Vec<u64>,
    wide: &mut WideWords,
) {
    let words = W::token().expect("the level was available when the kernel was chosen");
    const { assert!(NR == NV * size_of::<W::Vector>() / size_of::<u64>(), "columns are two vectors") };
    let full = Widths { rows: MR, cols: NR };
    let WideWords { rows: wide_rows, cols: wide_cols } = wide;
    let TileShape { m, n, .. } = input.shape;
    let (row_panels, col_panels) = (m.div_ceil(full.rows), n.div_ceil(full.cols));
    let len = full.rows * full.cols;
    let rest = input.words > WINDOW || input.part != Part::All;
    partials.resize(if rest { row_panels * col_panels * len } else { 0 }, 0);
    widen_to(wide_rows, input.words, input.widths.rows, full.rows);
    widen_to(wide_cols, input.words, input.widths.cols, full.cols);
    let mut counts = [[0; NR]; MR];
    for window in windows(input.words) {
        let panel_bytes = full.rows * window.len() * size_of::<u64>();
        let group = (ROWS_BYTES * size_of::<W::Vector>() / panel_bytes).clamp(1, row_panels);
        for first in (0..row_panels).step_by(group) {
            for j in 0..col_panels {
                let panel = &input.cols[j * input.lens.cols..];
                let cols = lines(panel, input.widths.cols, window.clone(), wide_cols, full.cols);
                for i in first..row_panels.min(first + group) {
                    let panel = &input.rows[i * input.lens.rows..];
                    let rows = lines(panel, input.widths.rows, window.clone(), wide_rows, full.rows);
                    let slot = (i * col_panels + j) * len;
                    let counts = partials.get_mut(slot..slot + len).unwrap_or(counts.as_flattened_mut());
                    // two functions, so that each is small enough for the compiler to keep all it can in registers
                    let is_first = window.start == 0 && input.part != Part::Later;
                    let count = PhantomData::<C>;
                    words.vectorize(FoldTile::<W, C, MR> { words, rows, cols, counts, is_first, count });
                    if window.end == input.words && input.part == Part::All {
                        let (shape, counts, place) = (input.shape, &*counts, (i, j));
                        let (xs, ys) = input.extras(place);
                        words.vectorize(FinishTile::<T, MR, NR> {
                            shape,
                            finished,
                            place,
                            xs,
                            ys,
                            counts,
                            out,
                        });
                    }
                }
            }
        }
    }
}

fn finish_counts<T: Element, W: Words, const MR: usize, const NR: usize>(
    counts: &[u64],
    (xs, ys): (&[u64], &[u64]),
    shape: TileShape,
    finished: Finished,
    out: &mut [T],
) {
    let words = W::token().expect("the level was available when the kernel was chosen");
    let col_panels = shape.n.div_ceil(NR);
    for (number, counts) in counts.chunks_exact(MR * NR).enumerate() {
        let (i, j) = (number / col_panels, number % col_panels);
        let (xs, ys) = (xs.get(i * MR..).unwrap_or(&[]), ys.get(j * NR..).unwrap_or(&[]));
        let out = &mut *out;
        words.vectorize(FinishTile::<T, MR, NR> { shape, finished, place: (i, j), xs, ys, counts, out });
    }
}

/// Some words of a micro-tile to fold.
struct FoldTile<'a, W, C, const MR: usize> {
    words: W,
    rows: &'a [u64],
    cols: &'a [u64],
    counts: &'a mut [u64],
    /// Whether nothing was counted before.
    is_first: bool,
    count: PhantomData<C>,
}

impl<W: Words, C: Count, const MR: usize> NullaryFnOnce for FoldTile<'_, W, C, MR> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { words, rows, cols, counts, is_first, .. } = self;
        let stored: &mut [W::Vector] = bytemuck::cast_slice_mut(counts);
        let mut counts = fold::zeros::<W, MR>(words);
        if !is_first {
            counts.as_flattened_mut().copy_from_slice(stored);
        }
        let counts = fold::fold::<W, C, MR>(words, (rows, bytemuck::cast_slice(cols)), counts);
        stored.copy_from_slice(counts.as_flattened());
    }
}

/// Micro-tile (row panel i, column panel j), whose distances are to be written as far as they lie inside the tile.
struct FinishTile<'a, T, const MR: usize, const NR: usize> {
    shape: TileShape,
    finished: Finished,
    place: (usize, usize),
    /// What its samples carry beside their words: of a narrow panel there are fewer, and of one that carries nothing none.
    xs: &'a [u64],
    ys: &'a [u64],
    counts: &'a [u64],
    out: &'a mut [T],
}

impl<T: Element, const MR: usize, const NR: usize> NullaryFnOnce for FinishTile<'_, T, MR, NR> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { shape, finished, place: (i, j), xs, ys, counts, out } = self;
        let (xs, ys) = (padded::<MR>(xs), padded::<NR>(ys));
        let mut block = [[T::default(); NR]; MR];
        let (xs, ys) = (xs.map(|x| [x; NR]), [ys; MR]);
        finished.distances(counts, xs.as_flattened(), ys.as_flattened(), block.as_flattened_mut());
        let (row, col) = (i * MR, j * NR);
        let (height, width) = shape.inside((row, col), (MR, NR));
        for (r, distances) in block.iter().enumerate().take(height) {
            let line = &mut out[(row + r) * shape.ld + col..][..width];
            match line.first_chunk_mut::<NR>() {
                Some(whole) => *whole = *distances,
                None => line.copy_from_slice(&distances[..width]),
            }
        }
    }
}

/// So many numbers, with 0 where there are fewer.
#[inline(always)]
fn padded<const N: usize>(numbers: &[u64]) -> [u64; N] {
    if let Some(whole) = numbers.first_chunk() {
        return *whole;
    }
    let mut padded = [0; N];
    padded.iter_mut().zip(numbers).for_each(|(padded, number)| *padded = *number);
    padded
}

/// Room to widen panels of `stored` samples; padding samples are zeros.
fn widen_to(wide: &mut Vec<u64>, words: usize, stored: usize, full: usize) {
    wide.clear();
    if stored < full {
        wide.resize(full * words.min(WINDOW), 0);
    }
}

/// The words of a sample, cut where a fold is interrupted.
fn windows(words: usize) -> impl Iterator<Item = Range<usize>> {
    (0..words).step_by(WINDOW).map(move |first| first..words.min(first + WINDOW))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Finish;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// What a pair counts, from the definition.
    fn count_of(counted: Counted, x: &[u64], y: &[u64]) -> u64 {
        let bytes = |words: &[u64]| bytemuck::cast_slice::<u64, u8>(words).to_vec();
        let (a, b) = (bytes(x), bytes(y));
        let pairs = a.iter().zip(&b);
        let planes = x.chunks(PLANES).zip(y.chunks(PLANES));
        match counted {
            Counted::CommonBits => x.iter().zip(y).map(|(x, y)| u64::from((x & y).count_ones())).sum(),
            Counted::Differences => pairs.map(|(x, y)| u64::from(x.abs_diff(*y))).sum(),
            Counted::LargestDifference => pairs.map(|(x, y)| u64::from(x.abs_diff(*y))).max().unwrap_or(0),
            Counted::UnequalBytes => pairs.filter(|(x, y)| x != y).count() as u64,
            Counted::UnequalPlanes => planes
                .map(|(x, y)| {
                    let unequal =
                        |feature: usize| x.iter().zip(y).any(|(x, y)| x >> feature & 1 != y >> feature & 1);
                    (0..64).filter(|&feature| unequal(feature)).count() as u64
                })
                .sum(),
            Counted::Products => {
                let numbers = |words: &[u64]| bytemuck::cast_slice::<u64, i16>(words).to_vec();
                let products = numbers(x).into_iter().zip(numbers(y));
                products.map(|(x, y)| i64::from(x) * i64::from(y)).sum::<i64>().cast_unsigned()
            }
        }
    }

    fn check<W: Words, const MR: usize, const HALF: usize, const NR: usize>() {
        let Some(_) = W::token() else { return };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let mut scratch = CountScratch::new();
        for words in [1, 2, 31, 254, 255, 256, WINDOW, WINDOW + 1, 2 * WINDOW + 300] {
            for counted in [
                Counted::CommonBits,
                Counted::Differences,
                Counted::LargestDifference,
                Counted::UnequalBytes,
                Counted::UnequalPlanes,
                Counted::Products,
            ] {
                let compiled = on::<f64, W, MR, HALF, NR>(counted);
                let full = Widths { rows: compiled.rows, cols: NR };
                // all bits and none too; of 16-bit numbers, magnitudes up to 255
                let kind = rng.random_range(0..4);
                let word = |rng: &mut Xoshiro256PlusPlus| match (kind, counted) {
                    (0, Counted::Products) => bytemuck::cast([-128_i16, 255, 255, -128]),
                    (0, _) => u64::MAX,
                    (1, Counted::Products) => bytemuck::cast([255_i16; 4]),
                    // sums below 0, over several windows
                    (2, Counted::Products) => {
                        bytemuck::cast([[-128_i16; 4], [127; 4]][rng.random_range(0..8) / 7])
                    }
                    (1, _) => 0,
                    (_, Counted::Products) => {
                        bytemuck::cast([0; 4].map(|_: i16| rng.random_range(-128_i16..256)))
                    }
                    _ => rng.random(),
                };
                let (m, n) = (full.rows + 1, full.cols + 3);
                let [x, y] = [m, n].map(|count| {
                    (0..count)
                        .map(|_| (0..words).map(|_| word(&mut rng)).collect::<Vec<u64>>())
                        .collect::<Vec<_>>()
                });
                for widths in [full, Widths { rows: m.min(full.rows), cols: n }] {
                    let widths = Widths { rows: widths.rows, cols: widths.cols.min(full.cols) };
                    let packed = |samples: &[Vec<u64>], width: usize| {
                        let panels = samples.chunks(width).flat_map(|panel| {
                            (0..words).flat_map(move |at| {
                                (0..width).map(move |lane| panel.get(lane).map_or(0, |sample| sample[at]))
                            })
                        });
                        panels.collect::<Vec<u64>>()
                    };
                    let (rows, cols) = (packed(&x, widths.rows), packed(&y, widths.cols));
                    let lens = Widths { rows: words * widths.rows, cols: words * widths.cols };
                    let (shape, part) = (TileShape { m, n, ld: n }, Part::All);
                    let input = CountInput { rows: &rows, cols: &cols, shape, words, part, lens, widths };
                    // as they are, in f64
                    let finished =
                        Finished { counted: Counted::Differences, finish: Finish::Plain, features: u64::MAX };
                    let mut out = vec![f64::NAN; m * n];
                    (compiled.tile)(input, finished, &mut out, &mut scratch.partials, &mut scratch.wide);
                    for (row, col) in (0..m).flat_map(|row| (0..n).map(move |col| (row, col))) {
                        let expected = count_of(counted, &x[row], &y[col]);
                        let got = out[row * n + col];
                        // negative ones wrap
                        assert_eq!(
                            got.to_bits(),
                            (expected as f64).to_bits(),
                            "{counted:?} of {words} words"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn every_level_counts_what_the_definition_counts() {
        #[cfg(target_arch = "x86_64")]
        {
            check::<simd::Counting, 8, 4, 16>();
            check::<pulp::x86::V4, 8, 4, 16>();
            check::<pulp::x86::V3, 4, 2, 8>();
        }
        #[cfg(target_arch = "aarch64")]
        check::<pulp::aarch64::Neon, 8, 4, 4>();
        check::<simd::Plain, 4, 2, 4>();
    }
}
