//! Reads samples band by band; workers check, digest and pack each slab by slab.

use std::collections::VecDeque;
use std::ops::Range;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Workers;
use super::rounds::Meanwhile;
use super::survey::{Sort, Source, Survey};
use crate::block::Block;
use crate::error::Result;
use crate::failpoint;
use crate::kernel::{PanelShape, WORD_BYTES};
use crate::metric::Measure;
use crate::number::Number;
use crate::partition::lcm;
use crate::source::{Axes, Input, Mark, Samples, Slice, Storage, StoredSamples};

/// Bytes of samples that are converted, surveyed and packed together, if a panel has not more: little enough to stay in a cache from
/// one to the next. Where any number of samples can be read, so many are.
const SLAB_BYTES: usize = 512 << 10;

/// Bytes of samples that a worker looks at together: enough to forget what it takes to begin, and so little that they stay in its
/// innermost cache.
const GROUP_BYTES: usize = 16 << 10;

/// The C library keeps memory of up to so many bytes when it is freed.
const KEPT_BYTES: u64 = 32 << 20;

/// Bytes of a page of memory.
const PAGE_BYTES: usize = 4096;

/// Bytes of a slab of samples that lie in memory feature by feature: of each feature, a worker should find some neighbouring values.
const TURNED_SLAB_BYTES: usize = 8 << 20;

/// Bytes of neighbouring values of a feature that a worker turns together: at least what a processor fetches at once, and at most so many
/// that it need not look for the next feature's place too often.
const TURNED_BYTES: [usize; 2] = [64, 512];

/// Blocks that loaded samples are packed into.
pub struct Target<'a> {
    /// As rows of tiles.
    pub rows: Option<&'a mut Block>,
    /// As columns of tiles.
    pub cols: Option<&'a mut Block>,
    /// What samples are prepared for before they are packed.
    pub measure: Option<&'a Measure>,
}

impl Target<'_> {
    /// Shapes of the panels that are packed.
    pub fn shapes(&self) -> Vec<PanelShape> {
        [&self.rows, &self.cols].into_iter().flatten().map(|block| block.shape()).collect()
    }

    /// Has the system give the blocks their memory. On the workers.
    fn touch(&mut self) {
        for block in [&mut self.rows, &mut self.cols].into_iter().flatten() {
            let pages = block.words_mut().par_chunks_mut(PAGE_BYTES / WORD_BYTES);
            pages.for_each(|page| page[0] = 0);
        }
    }
}

/// Samples that fill whole panels of every shape.
fn whole_panels(panels: &[PanelShape]) -> usize {
    panels.iter().fold(1, |whole, panel| lcm(whole, panel.width))
}

/// Samples of a slab, about half a MiB: whole tiles, or a part of one tile that ends with a panel. One panel of every shape at least, or a
/// tile where that is smaller.
fn slab_rows(slab_bytes: usize, row_bytes: usize, panels: &[PanelShape], edge: usize) -> usize {
    let fit = (slab_bytes / row_bytes).max(1);
    if fit >= edge {
        return fit / edge * edge;
    }
    // a slab that ends inside a tile ends with a panel of every shape; one as large as a tile ends with the tile, since the next
    // tile begins with a panel of its own
    let whole = whole_panels(panels);
    ((fit / whole).max(1) * whole).min(edge)
}

/// `rows` in slabs of so many, of whole tiles or of a part of one tile: they end where slabs of all rows do.
fn slabs(rows: Range<usize>, edge: usize, slab: usize) -> impl Iterator<Item = Range<usize>> {
    let end = move |start: usize| {
        let tile = if slab < edge { start / edge * edge } else { 0 };
        let next = tile + ((start - tile) / slab + 1) * slab;
        rows.end.min(if slab < edge { next.min(tile + edge) } else { next })
    };
    let first = (rows.start < rows.end).then(|| rows.start..end(rows.start));
    std::iter::successors(first, move |part| {
        let next = part.end..end(part.end);
        (!next.is_empty()).then_some(next)
    })
}

/// How samples are read: bands of them at once, each of which is packed slab by slab.
struct Reading {
    edge: usize,
    slab: usize,
    band: Option<usize>,
    /// Whether workers, which have nothing to do before the only band is read, touch the blocks meanwhile: that takes as long as
    /// packing. Not where unpacking a chunk needs the memory.
    is_touched: bool,
}

impl Reading {
    /// Of some of `total` samples.
    fn of<T: Number>(storage: &Storage, panels: &[PanelShape], edge: usize, total: usize) -> Self {
        let row_bytes = storage.features * size_of::<T>().max(storage.stored.size());
        let slab_bytes = if storage.axes == Axes::Columns { TURNED_SLAB_BYTES } else { SLAB_BYTES };
        let slab = slab_rows(slab_bytes, row_bytes, panels, edge);
        let band = storage.band(whole_panels(panels));
        let is_touched = band.is_some_and(|band| band >= total) && storage.unpacking_bytes() <= SLAB_BYTES;
        Self { edge, slab, band, is_touched }
    }

    /// Rows of a file whose first sample is in row `start` among those of all files.
    fn bands(&self, rows: Range<usize>, start: usize) -> Box<dyn Iterator<Item = Range<usize>>> {
        match self.band {
            Some(band) => Box::new(Storage::bands(rows, band)),
            None => Box::new(self.slabs(rows, start)),
        }
    }

    /// Likewise; a slab ends with a tile or panel.
    fn slabs(&self, rows: Range<usize>, start: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let slabs = slabs(start + rows.start..start + rows.end, self.edge, self.slab);
        slabs.map(move |slab| slab.start - start..slab.end - start)
    }
}

/// Bytes of a feature of a sample that a worker turns or decodes: at most as it is stored, and as f64.
pub fn converting_bytes(storage: &Storage) -> usize {
    let turned = if storage.axes == Axes::Columns || storage.decoded { storage.stored.size() } else { 0 };
    turned + if storage.decoded && storage.per_value == 1 { size_of::<f64>() } else { 0 }
}

/// Bytes that are resident at most while `rows` of the `total` samples of a file, and maybe those of more files, are read and packed into panels of so many bytes
/// in all; nothing if 64 bits cannot count them.
pub fn reading_bytes<T: Number>(
    storage: &Storage,
    panels: &[PanelShape],
    edge: usize,
    (rows, total): (usize, usize),
    packed: u64,
    has_more_files: bool,
) -> Option<u64> {
    let Reading { slab, band, is_touched, .. } = Reading::of::<T>(storage, panels, edge, total);
    let band = band.unwrap_or(slab);
    let product = |samples: usize, size: usize| {
        u64::try_from(samples.checked_mul(storage.features)?.checked_mul(size)?).ok()
    };
    let stored_bytes = |samples: usize| u64::try_from(samples.checked_mul(storage.row_bytes())?).ok();
    let converted = if storage.is_ready(T::DTYPE) { 0 } else { size_of::<T>() };
    let converted = product(slab.min(rows), converted + converting_bytes(storage))?;
    let (stored, unpacking) = (stored_bytes(band.min(rows))?, storage.unpacking_bytes() as u64);
    if band >= total {
        if has_more_files {
            // the next file is read while this one is packed, whose panels may be those of the next
            let both = stored.checked_mul(2)?.checked_add(packed)?;
            return both.checked_add(converted)?.checked_add(unpacking);
        }
        // nothing is packed before all is read
        let unpacking = if is_touched { packed.checked_add(unpacking)? } else { unpacking };
        return stored.checked_add(packed.checked_add(converted)?.max(unpacking));
    }
    // one band is read while the one before is packed: the last one is a short one, or of full length
    let packed_later = packed / rows.max(1) as u64 * band.min(rows) as u64;
    let longer = stored_bytes(band.min(rows.saturating_sub(band)))?;
    let both = if stored <= KEPT_BYTES { longer } else { longer.saturating_sub(packed_later) };
    let held = stored.checked_add(both)?;
    held.checked_add(packed)?.checked_add(converted)?.checked_add(unpacking)
}

/// Bands of the samples of an input, to be read one after the other.
struct Bands<'a> {
    input: &'a Input,
    shapes: Vec<PanelShape>,
    edge: usize,
    /// The file of each, and its rows there.
    ahead: Box<dyn Iterator<Item = (usize, Range<usize>)> + 'a>,
}

impl<'a> Bands<'a> {
    /// Of some samples, which are packed into panels of these shapes, in tiles of `edge`.
    fn of<T: Number>(input: &'a Input, rows: Range<usize>, edge: usize, shapes: Vec<PanelShape>) -> Self {
        let of_file = move |file: usize, shapes: &[PanelShape]| {
            let samples = &input.files[file];
            Reading::of::<T>(&samples.storage, shapes, edge, samples.rows)
        };
        let ahead = {
            let shapes = shapes.clone();
            input.pieces(rows).flat_map(move |(file, rows)| {
                let bands = of_file(file, &shapes).bands(rows, input.start(file));
                bands.map(move |rows| (file, rows))
            })
        };
        Self { input, shapes, edge, ahead: Box::new(ahead) }
    }

    /// How the samples of a file are read.
    fn reading<T: Number>(&self, file: usize) -> Reading {
        let samples = &self.input.files[file];
        Reading::of::<T>(&samples.storage, &self.shapes, self.edge, samples.rows)
    }

    /// Reads the next.
    fn read<T: Number>(&mut self) -> Result<Option<Band<'a, T>>> {
        let Some((file, rows)) = self.ahead.next() else { return Ok(None) };
        failpoint::hit("read")?;
        let samples = &self.input.files[file];
        let slice = samples.slice::<T>(rows.clone())?;
        let start = self.input.start(file);
        let slabs = self.reading::<T>(file).slabs(rows.clone(), start).collect();
        Ok(Some(Band { samples, file, start, rows, slabs, slice }))
    }
}

/// Reads the samples `rows`, packs them into tiles of `edge` and returns the survey of those of each file. The main thread reads a band
/// while the workers look at the one before.
///
/// # Errors
/// If they cannot be read.
pub fn load<T: Number>(
    workers: &Workers,
    input: &Input,
    rows: Range<usize>,
    edge: usize,
    mut target: Target<'_>,
) -> Result<Vec<Survey>> {
    let mut bands = Bands::of::<T>(input, rows, edge, target.shapes());
    let is_touched = input.files.len() == 1 && bands.reading::<T>(0).is_touched;
    let mut surveys = vec![Survey::default(); input.files.len()];
    let mut current = if is_touched {
        workers.meanwhile(|| target.touch(), || bands.read::<T>()).1?
    } else {
        bands.read::<T>()?
    };
    while let Some(mut band) = current {
        let (found, next) = workers.meanwhile(|| band.pack_all(&mut target), || bands.read());
        surveys[band.file].merge(&found);
        current = next?;
    }
    Ok(surveys)
}

/// What `rows` of the samples are like, file by file; `measure` is what they are looked at for, if that is known.
pub fn survey_of<T: Number>(
    workers: &Workers,
    input: &Input,
    rows: Range<usize>,
    measure: Option<&Measure>,
) -> Result<Vec<Survey>> {
    load::<T>(workers, input, rows, 1, Target { rows: None, cols: None, measure })
}

/// A block of columns that is read while tiles are computed.
pub struct Ahead<'a, T> {
    bands: Bands<'a>,
    band: Option<Band<'a, T>>,
    block: Block,
    measure: &'a Measure,
    /// What packs the samples: a thread beside the workers, who are busy.
    packer: &'a Workers,
    digest: u64,
}

impl<'a, T: Number> Ahead<'a, T> {
    /// Of the samples `rows`, which `block` has room for.
    pub fn new(
        packer: &'a Workers,
        input: &'a Input,
        rows: Range<usize>,
        edge: usize,
        block: Block,
        measure: &'a Measure,
    ) -> Self {
        let bands = Bands::of::<T>(input, rows, edge, vec![block.shape()]);
        Self { bands, band: None, block, measure, packer, digest: 0 }
    }

    /// The block, with all samples in it; and their digest.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn finish(mut self) -> Result<(Block, u64)> {
        while self.go_on()? {}
        Ok((self.block, self.digest))
    }
}

impl<T: Number> Meanwhile for Ahead<'_, T> {
    fn go_on(&mut self) -> Result<bool> {
        if let Some(mut band) = self.band.take() {
            let mut target = Target { rows: None, cols: Some(&mut self.block), measure: Some(self.measure) };
            let survey = self.packer.install(|| band.pack_next(&mut target));
            self.digest = self.digest.wrapping_add(of_file(survey.digest, band.file));
            self.band = Some(band).filter(|band| !band.slabs.is_empty());
            return Ok(true);
        }
        self.band = self.bands.read()?;
        Ok(self.band.is_some())
    }
}

/// The digest of samples of some files, of which each has a survey: files that change places change it.
pub fn digest_of_files(surveys: &[Survey]) -> u64 {
    let digests = surveys.iter().enumerate().map(|(file, survey)| of_file(survey.digest, file));
    digests.fold(0, u64::wrapping_add)
}

/// What the digest of samples of a file adds to that of all.
fn of_file(digest: u64, file: usize) -> u64 {
    digest.wrapping_mul(2 * file as u64 + 1)
}

/// Samples of a file that were read together.
struct Band<'a, T> {
    samples: &'a Samples,
    file: usize,
    /// The row of the first sample of the file among those of all files.
    start: usize,
    /// Rows of the file.
    rows: Range<usize>,
    /// Those that are not packed yet, in parts that are packed together.
    slabs: VecDeque<Range<usize>>,
    slice: Slice<T>,
}

impl<T: Number> Band<'_, T> {
    /// Packs all of it. On the workers.
    fn pack_all(&mut self, target: &mut Target<'_>) -> Survey {
        let mut survey = Survey::default();
        while !self.slabs.is_empty() {
            survey.merge(&self.pack_next(target));
        }
        survey
    }

    /// Converts, digests and packs the next samples. On the workers.
    fn pack_next(&mut self, target: &mut Target<'_>) -> Survey {
        let Some(rows) = self.slabs.pop_front() else { return Survey::default() };
        let Samples { features, subtracted, ref marks, .. } = *self.samples;
        let (before, measure) = (rows.start - self.rows.start, target.measure);
        let mut converted = Vec::new();
        let (values, stored) = match &mut self.slice {
            Slice::Ready(values) => (&mut values[before * features..][..rows.len() * features], None),
            Slice::Stored(stored) => {
                converted.resize(rows.len() * features, T::default());
                (&mut converted[..], Some(&*stored))
            }
        };
        let together = if stored.is_some_and(StoredSamples::are_turned) {
            let [least, most] = TURNED_BYTES.map(|bytes| bytes / size_of::<T>());
            rows.len().div_ceil(rayon::current_num_threads()).clamp(least, most)
        } else {
            (GROUP_BYTES / (features * size_of::<T>())).max(1)
        };
        let look = |mut survey: Survey, (number, samples): (usize, &mut [T])| {
            let at = number * together;
            let of_file =
                stored.map(|stored| stored.rows(before + at..before + at + samples.len() / features));
            let of_file = of_file.as_ref().zip(stored).map(|((values, first), stored)| {
                values.convert(first * features..first * features + samples.len(), subtracted, samples);
                let source = Source { values, at: *first, subtracted };
                OfFile { source, stored, row: before + at }
            });
            examine(&mut survey, (rows.start + at, features), samples, of_file, marks, measure);
            for (row, sample) in (rows.start + at..).zip(samples.chunks_exact(features)) {
                let hash = xxh3_64_with_seed(bytemuck::cast_slice(sample), row as u64);
                survey.digest = survey.digest.wrapping_add(hash);
            }
            if let Some(measure) = measure {
                samples.chunks_exact_mut(features).for_each(|sample| measure.prepare(sample));
            }
            survey
        };
        let merge = |mut one: Survey, other: Survey| {
            one.merge(&other);
            one
        };
        let groups = values.par_chunks_mut(together * features).enumerate();
        let survey = groups.fold(Survey::default, look).reduce(Survey::default, merge);
        let rows = self.start + rows.start..self.start + rows.end;
        let samples = Converted { rows, features, values };
        for (block, negate) in [(&mut target.rows, false), (&mut target.cols, true)] {
            if let Some(block) = block {
                samples.pack(block, negate);
            }
        }
        survey
    }
}

/// Samples as they are stored in a file, beside their values in the type that is computed in.
#[derive(Clone, Copy)]
pub(super) struct OfFile<'a> {
    pub(super) source: Source<'a>,
    /// Where they were read with others, and which of these is the first.
    pub(super) stored: &'a StoredSamples,
    pub(super) row: usize,
}

/// Adds samples of so many features, from a row on, to a survey, with what can be wrong with them.
pub(super) fn examine<T: Number>(
    survey: &mut Survey,
    (row, features): (usize, usize),
    samples: &mut [T],
    of_file: Option<OfFile<'_>>,
    marks: &[Mark],
    measure: Option<&Measure>,
) {
    let source = of_file.map(|of_file| of_file.source);
    survey.add(row, features, samples, source, marks);
    let rows = 0..samples.len() / features;
    if let Some(OfFile { stored, row: first, .. }) = of_file {
        if stored.may_be_rounded() {
            for at in rows.clone() {
                let (values, place) = stored.rounded(first + at);
                survey.note(Sort::Inexact, values, place.map(|column| (row + at) * features + column));
            }
        }
        for at in rows.filter(|at| stored.has_padding(first + at)) {
            survey.note(Sort::Padding, 1, Some((row + at) * features + features - 1));
        }
    }
    if let Some(measure) = measure {
        survey.add_truth(row, features, samples, source, measure);
    }
}

/// Samples in the type that is computed in.
pub(super) struct Converted<'a, T> {
    pub(super) rows: Range<usize>,
    pub(super) features: usize,
    pub(super) values: &'a [T],
}

impl<T: Number> Converted<'_, T> {
    /// Packs them into a block. On the workers.
    pub(super) fn pack(&self, block: &mut Block, negate: bool) {
        let shape = block.shape();
        let panels: Vec<_> = block.panels_mut(self.rows.clone()).collect();
        panels.into_par_iter().for_each(|(rows, before, panel)| {
            let place = |row: usize| (row - self.rows.start) * self.features;
            shape.pack_part(&self.values[place(rows.start)..place(rows.end)], before, negate, panel);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element::Dtype;
    use crate::kernel::{Level, Packing};
    use crate::metric::Extras;

    fn shape(width: usize) -> PanelShape {
        let (packing, extras, level) = (Packing::Values(Dtype::F32), Extras::None, Level::Portable);
        PanelShape { width, features: 1, packing, extras, level }
    }

    #[test]
    fn slabs_end_with_tiles_or_panels() {
        let panels = [6, 16].map(shape);
        assert_eq!(slab_rows(SLAB_BYTES, 400, &panels, 500) % 500, 0);
        assert_eq!(slab_rows(SLAB_BYTES, 8_000_000, &panels, 500), 48);
        assert_eq!(slab_rows(SLAB_BYTES, 4_000, &panels, 500) % 48, 0);
    }

    #[test]
    fn slabs_begin_with_a_panel_of_both_shapes_for_every_tile_and_length_of_rows() {
        let widths = [1, 2, 3, 4, 5, 6, 8, 12, 14, 16, 24, 32, 48];
        for panels in widths.into_iter().flat_map(|rows| widths.map(|cols| [rows, cols].map(shape))) {
            for edge in (1..=150).chain([255, 256, 257, 511, 512, 513]) {
                for row_bytes in [4, 2_000, 5_600, 20_000, 600_000, 32 << 20] {
                    let slab = slab_rows(SLAB_BYTES, row_bytes, &panels, edge);
                    // a band may begin anywhere: the slabs after its first begin with a panel
                    for start in [2 * edge, 2 * edge + edge / 3] {
                        let offsets =
                            slabs(start..7 * edge + edge / 2, edge, slab).map(|part| part.start % edge);
                        let begins =
                            |offset: usize| panels.iter().all(|panel| offset.is_multiple_of(panel.width));
                        assert!(
                            offsets.skip(usize::from(start > 2 * edge)).all(begins),
                            "slabs of {slab} rows of {row_bytes} bytes, {panels:?}, tiles of {edge}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn slabs_cover_every_row_once_and_end_with_tiles() {
        for (rows, edge, slab) in
            [(0..0, 5, 2), (10..23, 5, 2), (10..23, 5, 5), (10..23, 5, 10), (0..7, 10, 3), (8..29, 5, 2)]
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
