//! How samples lie in a file: which of them are best read together, and the memory that takes.

use std::ops::Range;

use hdf5::Dataset;

use super::filters;
use super::stored::StoredType;
use super::view::BITS;
use crate::element::{Content, Dtype};

/// Bytes that are read together where samples are stored in chunks, if a row of chunks has not more.
const BAND_BYTES: usize = 16 << 20;

/// Bytes that lie side by side in the file and are read together, where samples are cut into pieces: enough for a file system to be
/// busy with.
const PIECE_BYTES: usize = 256 << 10;

/// Bytes that are read together at most to have such pieces.
const MOST_BYTES: usize = 256 << 20;

/// Largest chunk that HDF5 reads whole though it is not compressed: the size of its cache.
const CACHED_BYTES: usize = 1 << 20;

/// Chunks that are read together at most, if a sample does not touch more: HDF5 keeps notes about each.
const MOST_CHUNKS: usize = 1 << 16;

/// How a dataset is looked at as samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axes {
    /// Each row is a sample.
    #[default]
    Rows,
    /// Each column is a sample.
    Columns,
    /// Each leading index of a dataset of several dimensions is a sample.
    Leading,
    /// The whole dataset is one sample.
    Whole,
}

/// A storage chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Samples that have values in it.
    pub rows: usize,
    /// Values that each has in it.
    pub features: usize,
    /// Chunks that a sample has values in.
    pub across: usize,
    /// Whether HDF5 must read all of it to have a value.
    pub is_filtered: bool,
    /// Filters that make another copy of it when they unpack it.
    pub copies: usize,
    /// Bytes that it has in the file, on average.
    pub packed: usize,
}

/// The chunks of a dataset, if it has any.
pub(super) fn chunk(dataset: &Dataset, axes: Axes) -> Option<Chunk> {
    let (edges, shape) = (dataset.chunk()?, dataset.shape());
    let count = |dimensions: Range<usize>| {
        let along = dimensions.map(|at| shape[at].div_ceil(edges[at].max(1)));
        along.fold(1, usize::saturating_mul)
    };
    let (rows, features, across) = match axes {
        Axes::Columns => (edges[1], edges[0], count(0..1)),
        Axes::Whole => (1, edges.iter().copied().fold(1, usize::saturating_mul), count(0..shape.len())),
        Axes::Rows | Axes::Leading => {
            (edges[0], edges[1..].iter().copied().fold(1, usize::saturating_mul), count(1..shape.len()))
        }
    };
    let filters = dataset.filters();
    let packed = dataset.storage_size() / (dataset.num_chunks().unwrap_or(0) as u64).max(1);
    let packed = usize::try_from(packed).unwrap_or(usize::MAX);
    Some(Chunk {
        rows,
        features,
        across,
        is_filtered: !filters.is_empty(),
        copies: filters::copying(&filters),
        packed,
    })
}

/// How samples lie in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// Features of a sample.
    pub features: usize,
    /// The type of the values.
    pub stored: StoredType,
    /// Which dimension is that of the samples.
    pub axes: Axes,
    /// Whether values are computed from those in the file.
    pub decoded: bool,
    /// What all values are.
    pub content: Content,
    /// Features in a value of the file: eight where they are the bits of bytes.
    pub per_value: usize,
    /// Chunks, if there are any.
    pub chunk: Option<Chunk>,
}

impl Storage {
    /// Of samples that lie in a file one after the other, in this type.
    pub fn plain(features: usize, stored: StoredType) -> Self {
        Self {
            features,
            stored,
            axes: Axes::Rows,
            decoded: false,
            content: stored.content(),
            per_value: 1,
            chunk: None,
        }
    }

    /// Of samples that are bits of bytes, one after the other.
    pub fn bits(features: usize) -> Self {
        let of_bytes = Self { decoded: true, ..Self::plain(features, StoredType::U8) };
        Self { content: Content::Truth, per_value: BITS, ..of_bytes }
    }

    /// Whether samples can be used as they are read: nothing is to be turned or converted.
    pub fn is_ready(&self, dtype: Dtype) -> bool {
        self.stored.is(dtype) && self.axes != Axes::Columns && !self.decoded
    }

    /// Bytes of a sample as it is stored.
    pub fn row_bytes(&self) -> usize {
        self.features.div_ceil(self.per_value).saturating_mul(self.stored.size())
    }

    /// Bytes of an unpacked chunk, or of a value.
    pub fn unpacked_bytes(&self) -> usize {
        let values = self.chunk.map_or(1, |chunk| chunk.rows.saturating_mul(chunk.features));
        values.saturating_mul(self.stored.size())
    }

    /// Samples that are best read together, `least` of them at least: those of whole chunks where HDF5 reads no less than a chunk,
    /// and enough for pieces of a good size where samples do not lie side by side. Nothing if any number will do.
    pub fn band(&self, least: usize) -> Option<usize> {
        let (size, row_bytes) = (self.stored.size(), self.row_bytes());
        let piece = |bytes: usize| PIECE_BYTES.div_ceil(bytes).min((MOST_BYTES / row_bytes).max(1));
        let (unit, across) = match (self.chunk, self.axes) {
            (None, Axes::Rows | Axes::Leading | Axes::Whole) => return None,
            (None, Axes::Columns) => (piece(size), 1),
            (Some(chunk), _)
                if chunk.is_filtered
                    || self.unpacked_bytes() <= CACHED_BYTES
                        && chunk.rows.saturating_mul(row_bytes) <= MOST_BYTES =>
            {
                (chunk.rows, chunk.across)
            }
            (Some(chunk), Axes::Columns) => (piece(size).min(chunk.rows), chunk.across),
            (Some(chunk), _) => (piece(chunk.features.saturating_mul(size)).min(chunk.rows), chunk.across),
        };
        let units = (BAND_BYTES / row_bytes.saturating_mul(unit)).min(MOST_CHUNKS / across);
        Some(unit.saturating_mul(units.max(least.div_ceil(unit)).max(1)))
    }

    /// `rows` in bands.
    pub fn bands(rows: Range<usize>, band: usize) -> impl Iterator<Item = Range<usize>> {
        let end = move |start: usize| rows.end.min((start / band).saturating_add(1).saturating_mul(band));
        let first = (rows.start < rows.end).then(|| rows.start..end(rows.start));
        std::iter::successors(first, move |part| {
            let next = part.end..end(part.end);
            (!next.is_empty()).then_some(next)
        })
    }

    /// Bytes that HDF5 takes for a moment to unpack a chunk: what a filter is given, and what it makes of that.
    pub fn unpacking_bytes(&self) -> usize {
        let Some(chunk) = self.chunk.filter(|chunk| chunk.is_filtered) else { return 0 };
        let unpacked = self.unpacked_bytes();
        match chunk.copies {
            0 => unpacked,
            1 => unpacked.saturating_add(chunk.packed),
            _ => unpacked.saturating_add(unpacked.max(chunk.packed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage(features: usize, axes: Axes, chunk: Option<(usize, usize, usize)>) -> Storage {
        let chunk = chunk.map(|(rows, width, filters)| Chunk {
            rows,
            features: width,
            across: features.div_ceil(width),
            is_filtered: filters > 0,
            copies: filters,
            packed: 0,
        });
        Storage { axes, chunk, ..Storage::plain(features, StoredType::F64) }
    }

    #[test]
    fn a_compressed_chunk_is_in_one_band() {
        for (rows, width) in [(1, 1), (7, 3), (100, 50), (1000, 1), (80_000, 1000), (1 << 20, 1)] {
            let samples = storage(1000, Axes::Rows, Some((rows, width, 1)));
            let band = samples.band(48).unwrap();
            assert!(band.is_multiple_of(rows) && band >= 48, "{band} rows of chunks of {rows} x {width}");
            assert!(band == rows || (band - rows) * 8000 <= BAND_BYTES.max(48 * 8000), "{band}");
        }
    }

    #[test]
    fn pieces_of_a_file_are_large_enough() {
        // a piece has the values of a band for one feature
        let by_columns = storage(1000, Axes::Columns, None);
        assert_eq!(by_columns.band(1), Some(32 << 10));
        let many_features = storage(1_000_000, Axes::Columns, None);
        assert_eq!(many_features.band(1), Some(33));
        let columns = storage(1000, Axes::Rows, Some((1 << 30, 1, 0)));
        assert_eq!(columns.band(1), Some(32 << 10));
        // whole rows lie side by side already
        let wide = storage(1000, Axes::Rows, Some((1 << 20, 1000, 0)));
        assert_eq!(wide.band(1), Some(33 * (BAND_BYTES / (33 * 8000))));
        assert_eq!(storage(1000, Axes::Rows, None).band(1), None);
    }

    #[test]
    fn bands_begin_with_chunks() {
        let bands = |rows: Range<usize>, band| Storage::bands(rows, band).collect::<Vec<_>>();
        assert_eq!(bands(5..23, 10), [5..10, 10..20, 20..23]);
        assert_eq!(bands(10..30, 10), [10..20, 20..30]);
        assert!(bands(7..7, 10).is_empty());
        assert_eq!(Storage::bands(0..9, usize::MAX).next(), Some(0..9));
    }
}
