//! Reads samples slab by slab; workers check, digest and pack each slab.

use std::ops::Range;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Workers;
use super::survey::{Source, Survey};
use crate::block::Block;
use crate::error::Result;
use crate::failpoint;
use crate::kernel::PanelShape;
use crate::number::Number;
use crate::partition::lcm;
use crate::source::{Mark, Samples, Slice};

/// Bytes that are read at once, where samples are not larger than that: enough for a file system, and little enough to stay in
/// a cache until they are packed.
const SLAB_BYTES: usize = 512 << 10;

/// Likewise where samples are stored in chunks, which HDF5 may unpack anew for every slab that touches them.
const CHUNKED_SLAB_BYTES: usize = 16 << 20;

/// Bytes of samples that a worker looks at together: enough to forget what it takes to begin, and so little that they stay in its
/// innermost cache.
const GROUP_BYTES: usize = 16 << 10;

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

impl<T: Number> Target<'_, T> {
    /// Shapes of the panels that are packed.
    pub fn shapes(&self) -> Vec<PanelShape> {
        [&self.rows, &self.cols].into_iter().flatten().map(|block| block.shape()).collect()
    }
}

/// Rows that are read at once, about half a MiB or, of chunks, 16 MiB: whole tiles, with whole chunks of the file where they fit, or
/// a part of one tile that ends with a panel. One panel of every shape at least, or a tile where that is smaller.
pub fn slab_rows(row_bytes: usize, panels: &[PanelShape], edge: usize, chunk_rows: usize) -> usize {
    let fit = fitting_rows(row_bytes, chunk_rows);
    if fit >= edge {
        return whole_tiles(fit, edge, chunk_rows);
    }
    // a slab that ends inside a tile ends with a panel of every shape; one as large as a tile ends with the tile, since the next
    // tile begins with a panel of its own
    let whole = panels.iter().fold(1, |whole, panel| lcm(whole, panel.width));
    ((fit / whole).max(1) * whole).min(edge)
}

/// Reads the samples `rows`, which begin with a tile of `edge` rows, packs them and returns their survey. The main
/// thread reads a slab while the workers look at the one before.
///
/// # Errors
/// If they cannot be read.
pub fn load<T: Number>(
    workers: &Workers,
    samples: &Samples,
    rows: Range<usize>,
    edge: usize,
    slab: usize,
    mut target: Target<'_, T>,
) -> Result<Survey> {
    let mut survey = Survey::default();
    let mut parts = slabs(rows, edge, slab);
    let mut read = || {
        let Some(rows) = parts.next() else { return Ok(None) };
        failpoint::hit("read")?;
        let slice = samples.slice::<T>(rows.clone())?;
        Ok(Some(Slab { rows, features: samples.features, slice }))
    };
    let mut current = read()?;
    while let Some(mut slab) = current {
        let work = || slab.pack(&mut target, &samples.marks, samples.subtracted);
        let (found, next) = workers.meanwhile(work, &mut read);
        survey.merge(&found);
        current = next?;
    }
    Ok(survey)
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

/// What `rows` of the samples are like.
pub fn survey_of<T: Number>(workers: &Workers, samples: &Samples, rows: Range<usize>) -> Result<Survey> {
    let chunk_rows = samples.chunk_rows();
    let row_bytes = samples.features * size_of::<T>().max(samples.stored_type.size());
    let slab = whole_tiles(fitting_rows(row_bytes, chunk_rows), 1, chunk_rows);
    load(workers, samples, rows, 1, slab, Target::<T> { rows: None, cols: None })
}

/// Samples that were read together.
struct Slab<T> {
    rows: Range<usize>,
    features: usize,
    slice: Slice<T>,
}

impl<T: Number> Slab<T> {
    /// Converts, digests and packs the samples. On the workers.
    fn pack(&mut self, target: &mut Target<'_, T>, marks: &[Mark], subtracted: i128) -> Survey {
        let (first, features) = (self.rows.start, self.features);
        let mut converted = Vec::new();
        let (values, source) = match &mut self.slice {
            Slice::Ready(values) => (&mut values[..], None),
            Slice::Stored(stored) => {
                converted.resize(stored.len(), T::default());
                (&mut converted[..], Some(Source { values: stored, subtracted }))
            }
        };
        let together = (GROUP_BYTES / (features * size_of::<T>())).max(1);
        let samples = values.par_chunks_mut(together * features).enumerate();
        let look = |mut survey: Survey, (number, samples): (usize, &mut [T])| {
            let at = number * together;
            if let Some(Source { values, subtracted }) = source {
                values.convert(at * features..at * features + samples.len(), subtracted, samples);
            }
            survey.add(first + at, at, features, samples, source, marks);
            for (row, sample) in (first + at..).zip(samples.chunks_exact(features)) {
                let hash = xxh3_64_with_seed(bytemuck::cast_slice(sample), row as u64);
                survey.digest = survey.digest.wrapping_add(hash);
            }
            survey
        };
        let merge = |mut one: Survey, other: Survey| {
            one.merge(&other);
            one
        };
        let survey = samples.fold(Survey::default, look).reduce(Survey::default, merge);
        let samples = Converted { rows: self.rows.clone(), features, values };
        for (block, negate) in [(&mut target.rows, false), (&mut target.cols, true)] {
            if let Some(block) = block {
                samples.pack(block, negate);
            }
        }
        survey
    }
}

/// Samples in the type that is computed in.
struct Converted<'a, T> {
    rows: Range<usize>,
    features: usize,
    values: &'a [T],
}

impl<T: Number> Converted<'_, T> {
    fn pack(&self, block: &mut Block<T>, negate: bool) {
        let shape = block.shape();
        let panels: Vec<_> = block.panels_mut(self.rows.clone()).collect();
        panels.into_par_iter().for_each(|(rows, panel)| {
            let place = |row: usize| (row - self.rows.start) * self.features;
            shape.pack(&self.values[place(rows.start)..place(rows.end)], negate, panel);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Level;
    use crate::metric::Extras;

    #[test]
    fn slabs_end_with_tiles_or_panels() {
        let panels = [6, 16].map(|width| PanelShape {
            width,
            features: 1,
            extras: Extras::None,
            level: Level::Portable,
        });
        assert_eq!(slab_rows(400, &panels, 500, 1) % 500, 0);
        assert_eq!(slab_rows(400, &panels, 500, 300) % 1500, 0);
        assert_eq!(slab_rows(8_000_000, &panels, 500, 1), 48);
        assert_eq!(slab_rows(4_000, &panels, 500, 1) % 48, 0);
        assert_eq!(slab_rows(4_000, &panels, 500, 2) % 500, 0);
    }

    #[test]
    fn every_slab_begins_with_a_panel_of_both_shapes_for_every_tile_and_length_of_rows() {
        let shape = |width| PanelShape { width, features: 1, extras: Extras::None, level: Level::Portable };
        let widths = [1, 2, 3, 4, 5, 6, 8, 12, 14, 16, 24, 32, 48];
        for panels in widths.into_iter().flat_map(|rows| widths.map(|cols| [rows, cols].map(shape))) {
            for edge in (1..=150).chain([255, 256, 257, 511, 512, 513]) {
                for (row_bytes, chunk_rows) in
                    [(4, 1), (2_000, 100), (5_600, 1), (20_000, 7), (600_000, 1), (32 << 20, 1000)]
                {
                    let slab = slab_rows(row_bytes, &panels, edge, chunk_rows);
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
