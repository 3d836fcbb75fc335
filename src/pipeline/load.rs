//! Reads samples slab by slab; workers check, digest and pack each slab.

use std::ops::Range;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Number, Workers};
use crate::error::Result;
use crate::fail;
use crate::failpoint;
use crate::io::samples::Samples;
use crate::kernel::PanelShape;
use crate::partition::lcm;
use crate::tile::Block;

/// Bytes that are read at once, where samples are not larger than that: enough for a file system, and little enough to stay in
/// a cache until they are packed.
const SLAB_BYTES: usize = 512 << 10;

/// Likewise where samples are stored in chunks, which HDF5 may unpack anew for every slab that touches them.
const CHUNKED_SLAB_BYTES: usize = 16 << 20;

/// Samples that are read at once, for any distribution: at least one.
fn fitting_rows(row_bytes: usize, chunk_rows: usize) -> usize {
    let bytes = if chunk_rows > 1 { CHUNKED_SLAB_BYTES } else { SLAB_BYTES };
    (bytes / row_bytes).max(1)
}

/// `rows` rounded down to whole tiles of `edge`, and whole chunks where they fit.
fn whole_tiles(rows: usize, edge: usize, chunk_rows: usize) -> usize {
    let both = lcm(edge, chunk_rows);
    let unit = if both <= rows { both } else { edge };
    rows / unit * unit
}

/// Blocks that loaded samples are packed into.
pub struct Target<'a, T> {
    /// As rows of tiles.
    pub rows: Option<&'a mut Block<T>>,
    /// As columns of tiles.
    pub cols: Option<&'a mut Block<T>>,
}

/// What loading has found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Loaded {
    /// Wrapping sum of a hash of each sample and its row: the ranks' sums add up to the input's digest.
    pub digest: u64,
    /// Bytes of the samples as they are in memory.
    pub bytes: u64,
    /// Largest magnitude of the finite values, in the type computed in.
    pub largest: f64,
}

/// Rows that are read at once, about half a MiB or, of chunks, 16 MiB: whole tiles, with whole chunks of the file where they fit, or
/// a part of one tile that ends with a panel. One panel of both shapes at least, or a tile where that is smaller.
pub fn slab_rows(row_bytes: usize, panels: [PanelShape; 2], edge: usize, chunk_rows: usize) -> usize {
    let fit = fitting_rows(row_bytes, chunk_rows);
    if fit >= edge {
        return whole_tiles(fit, edge, chunk_rows);
    }
    // a slab that ends inside a tile ends with a panel of both shapes; one as large as a tile ends with the tile, since the next
    // tile begins with a panel of its own
    let whole = lcm(panels[0].width, panels[1].width);
    ((fit / whole).max(1) * whole).min(edge)
}

/// Reads the samples `rows`, which begin with a tile of `edge` rows, and packs them. The main thread reads a slab while the
/// workers look at the one before.
///
/// # Errors
/// If they cannot be read, or one is not finite and `allow_nonfinite` is not given: the first is named.
pub fn load<T: Number>(
    workers: &Workers,
    samples: &Samples,
    rows: Range<usize>,
    edge: usize,
    slab: usize,
    allow_nonfinite: bool,
    mut target: Target<'_, T>,
) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut parts = slabs(rows, edge, slab);
    let mut read = || {
        let Some(rows) = parts.next() else { return Ok(None) };
        failpoint::hit("read")?;
        let values = samples.read::<T>(rows.clone())?;
        Ok(Some(Slab { rows, features: samples.features, values }))
    };
    let mut current = read()?;
    while let Some(mut slab) = current {
        let work = || slab.take(&mut target);
        let (found, next) = workers.meanwhile(work, &mut read);
        if let Some(place) = found.nonfinite
            && !allow_nonfinite
        {
            let (row, column) = (slab.rows.start + place / slab.features, place % slab.features);
            return refuse(samples, row, column, slab.values[place]);
        }
        loaded.digest = loaded.digest.wrapping_add(found.digest);
        loaded.bytes += size_of_val(&slab.values[..]) as u64;
        loaded.largest = loaded.largest.max(found.largest);
        current = next?;
    }
    Ok(loaded)
}

/// `rows`, which begin with a tile, in slabs of so many: of whole tiles, or a part of one tile.
fn slabs(rows: Range<usize>, edge: usize, slab: usize) -> impl Iterator<Item = Range<usize>> {
    let end = move |start: usize| {
        let tile_end = if slab < edge { (start / edge + 1) * edge } else { usize::MAX };
        rows.end.min(start + slab).min(tile_end)
    };
    let first = (rows.start < rows.end).then(|| rows.start..end(rows.start));
    std::iter::successors(first, move |part| (part.end < rows.end).then(|| part.end..end(part.end)))
}

/// What `rows` of the samples add to the input's digest.
pub fn digest_of<T: Number>(workers: &Workers, samples: &Samples, rows: Range<usize>) -> Result<u64> {
    let chunk_rows = samples.chunk_rows();
    let slab = whole_tiles(fitting_rows(samples.features * size_of::<T>(), chunk_rows), 1, chunk_rows);
    let target = Target::<T> { rows: None, cols: None };
    Ok(load(workers, samples, rows, 1, slab, true, target)?.digest)
}

/// Samples that were read together.
struct Slab<T> {
    rows: Range<usize>,
    features: usize,
    values: Vec<T>,
}

/// What the workers found in a slab.
#[derive(Default)]
struct Found {
    digest: u64,
    /// Place of the first value that is not finite.
    nonfinite: Option<usize>,
    /// Largest magnitude of the finite values.
    largest: f64,
}

impl Found {
    /// This, and what was found after it.
    fn and(self, after: &Self) -> Self {
        Self {
            digest: self.digest.wrapping_add(after.digest),
            nonfinite: self.nonfinite.or(after.nonfinite),
            largest: self.largest.max(after.largest),
        }
    }
}

impl<T: Number> Slab<T> {
    /// Digests and packs the samples. On the workers.
    fn take(&mut self, target: &mut Target<'_, T>) -> Found {
        let (first, features) = (self.rows.start, self.features);
        let samples = self.values.par_chunks_mut(features).enumerate();
        let looked = samples.map(|(row, sample)| {
            let (column, largest) = normalize(sample);
            let digest = xxh3_64_with_seed(bytemuck::cast_slice(sample), (first + row) as u64);
            Found { digest, nonfinite: column.map(|column| row * features + column), largest }
        });
        let found = looked.reduce(Found::default, |one, other| one.and(&other));
        for (block, negate) in [(&mut target.rows, false), (&mut target.cols, true)] {
            if let Some(block) = block {
                self.pack(block, negate);
            }
        }
        found
    }

    fn pack(&self, block: &mut Block<T>, negate: bool) {
        let shape = block.shape();
        let panels: Vec<_> = block.panels_mut(self.rows.clone()).collect();
        panels.into_par_iter().for_each(|(rows, panel)| {
            let place = |row: usize| (row - self.rows.start) * self.features;
            shape.pack(&self.values[place(rows.start)..place(rows.end)], negate, panel);
        });
    }
}

/// Makes all NaN the same. Returns the place of the first value that is not finite, and the largest magnitude of those
/// that are.
fn normalize<T: Number>(sample: &mut [T]) -> (Option<usize>, f64) {
    let largest = largest_magnitude(sample);
    // all of them, so that the compiler can use vectors
    if sample.iter().fold(true, |all, value| all & value.is_finite()) {
        return (None, largest.to_f64());
    }
    for value in sample.iter_mut().filter(|value| value.is_nan()) {
        *value = T::NAN;
    }
    let finite = sample.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0.0, |largest: f64, value| largest.max(value.to_f64().abs()));
    (sample.iter().position(|value| !value.is_finite()), largest)
}

/// Values whose magnitudes are compared side by side, for the compiler to use vectors.
const LANES: usize = 16;

/// The largest magnitude; NaN is passed over.
fn largest_magnitude<T: Number>(sample: &[T]) -> T {
    let larger = |a: T, b: T| if b > a { b } else { a };
    let (groups, left) = sample.as_chunks::<LANES>();
    let mut largest = [T::default(); LANES];
    for group in groups {
        for (largest, value) in largest.iter_mut().zip(group) {
            *largest = larger(*largest, value.magnitude());
        }
    }
    largest.into_iter().chain(left.iter().map(|value| value.magnitude())).fold(T::default(), larger)
}

fn refuse<T: Number>(samples: &Samples, row: usize, column: usize, value: T) -> Result<Loaded> {
    let stored = samples.value(row, column)?;
    let what = samples.describe();
    if stored.is_finite() {
        fail!(
            "{what}: the value {stored:e} in row {row}, column {column} (from 0) is too large for f32; use --dtype f64"
        );
    }
    fail!(
        "{what}: the value in row {row}, column {column} (from 0) is {value}; clean the samples, or compute with it by --allow-nonfinite"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Level;

    #[test]
    fn slabs_end_with_tiles_or_panels() {
        let panels =
            [6, 16].map(|width| PanelShape { width, features: 1, norms: false, level: Level::Portable });
        assert_eq!(slab_rows(400, panels, 500, 1) % 500, 0);
        assert_eq!(slab_rows(400, panels, 500, 300) % 1500, 0);
        assert_eq!(slab_rows(8_000_000, panels, 500, 1), 48);
        assert_eq!(slab_rows(4_000, panels, 500, 1) % 48, 0);
        assert_eq!(slab_rows(4_000, panels, 500, 2) % 500, 0);
    }

    fn check_normalize<T: Number>() {
        for len in [1, 15, 16, 17, 40] {
            for place in 0..len {
                let mut sample = vec![T::from_f64(0.5); len];
                sample[place] = T::from_f64(-3.0);
                assert_eq!(normalize(&mut sample), (None, 3.0));
                let next = (place + 1) % len;
                for value in [f64::NAN, f64::NEG_INFINITY] {
                    sample[next] = T::from_f64(value);
                    let largest = if len == 1 { 0.0 } else { 3.0 };
                    assert_eq!(normalize(&mut sample), (Some(next), largest));
                }
            }
        }
    }

    #[test]
    fn the_largest_magnitude_is_that_of_the_finite_values() {
        check_normalize::<f32>();
        check_normalize::<f64>();
    }

    #[test]
    fn every_slab_begins_with_a_panel_of_both_shapes_for_every_tile_and_length_of_rows() {
        let shape = |width| PanelShape { width, features: 1, norms: false, level: Level::Portable };
        let widths = [1, 2, 3, 4, 5, 6, 8, 12, 14, 16, 24, 32, 48];
        for panels in widths.into_iter().flat_map(|rows| widths.map(|cols| [rows, cols].map(shape))) {
            for edge in (1..=150).chain([255, 256, 257, 511, 512, 513]) {
                for (row_bytes, chunk_rows) in
                    [(4, 1), (2_000, 100), (5_600, 1), (20_000, 7), (600_000, 1), (32 << 20, 1000)]
                {
                    let slab = slab_rows(row_bytes, panels, edge, chunk_rows);
                    let rows = 2 * edge..7 * edge + edge / 2;
                    let offsets = slabs(rows, edge, slab).map(|part| part.start % edge);
                    let begins =
                        |offset: usize| panels.iter().all(|panel| offset.is_multiple_of(panel.width));
                    assert!(
                        offsets.into_iter().all(begins),
                        "slabs of {slab} rows of {row_bytes} bytes, {panels:?}, tiles of {edge}"
                    );
                }
            }
        }
    }

    #[test]
    fn slabs_cover_every_row_once_and_end_with_tiles() {
        for (rows, edge, slab) in
            [(0..0, 5, 2), (10..23, 5, 2), (10..23, 5, 5), (10..23, 5, 10), (0..7, 10, 3)]
        {
            let parts: Vec<_> = slabs(rows.clone(), edge, slab).collect();
            assert!(parts.iter().all(|part| part.len() <= slab && !part.is_empty()), "{parts:?}");
            assert!(parts.iter().flat_map(Clone::clone).eq(rows), "{parts:?}");
            if slab < edge {
                let within = |part: &Range<usize>| part.start / edge == (part.end - 1) / edge;
                assert!(parts.iter().all(within), "{parts:?}");
            }
        }
    }
}
