//! Checksums of tiles, in an array of a result.

use std::ops::Range;

use crate::error::{Context, Result};
use crate::fail;
use crate::io::array::Array;
use crate::io::result::ResultReader;
use crate::partition::Tile;

/// The checksums of the tiles that a rank has stored.
pub struct TileSums {
    known: Vec<(Tile, u64)>,
}

impl TileSums {
    /// Of none yet, and no more than so many.
    pub fn of(most: usize) -> Self {
        Self { known: Vec::with_capacity(most) }
    }

    /// Bytes of so many; nothing if 64 bits cannot count them.
    pub fn bytes(most: usize) -> Option<u64> {
        u64::try_from(most.checked_mul(size_of::<(Tile, u64)>())?).ok()
    }

    /// Adds that of a tile.
    pub fn keep(&mut self, tile: Tile, checksum: u64) {
        self.known.push((tile, checksum));
    }

    /// Writes them to the array of a file, and returns their wrapping sum.
    pub fn write(mut self, array: &Array, shown: &str) -> Result<u64> {
        self.known.sort_unstable_by_key(|&(tile, _)| tile);
        for neighbours in self.known.chunk_by(|(a, _), (b, _)| a.i == b.i && a.j + 1 == b.j) {
            let values: Vec<u64> = neighbours.iter().map(|&(_, checksum)| checksum).collect();
            let first = neighbours[0].0;
            let cols = first.j..first.j + values.len();
            array.write(first.i..first.i + 1, cols, &values).context(|| {
                format!("the checksums of row {} of tiles cannot be written to {shown}", first.i)
            })?;
        }
        Ok(self.known.iter().fold(0_u64, |sum, &(_, checksum)| sum.wrapping_add(checksum)))
    }
}

/// Some checksums of a row of tiles.
pub fn stored_sums(sums: &Array, row: usize, cols: Range<usize>, file: &ResultReader) -> Result<Vec<u64>> {
    let read = sums.read::<u64>(row..row + 1, cols);
    read.context(|| format!("the checksums of {} cannot be read", file.shown()))
}

/// Compares what was computed of a row of tiles with its checksum, which is in the only column of `sums`; `what` is told where it differs.
pub fn check_row(
    sums: &Array,
    (tile_row, rows): (usize, Range<usize>),
    computed: u64,
    what: &str,
    file: &ResultReader,
) -> Result<()> {
    let stored = stored_sums(sums, tile_row, 0..1, file)?[0];
    if computed != stored {
        fail!(
            "{}: the {what} of rows {} to {} have checksum {computed:016x}, but {stored:016x} was stored when they were computed; the file has changed since",
            file.shown(),
            rows.start,
            rows.end
        );
    }
    Ok(())
}

/// Wrapping sum of the checksums in an array, read row by row, each from the column that `first` gives.
pub fn sum_of(sums: &Array, first: impl Fn(usize) -> usize, file: &ResultReader) -> Result<u64> {
    let shape = sums.shape();
    let mut sum = 0_u64;
    for row in 0..shape[0] {
        let stored = stored_sums(sums, row, first(row)..shape[1], file)?;
        sum = stored.iter().fold(sum, |sum, checksum| sum.wrapping_add(*checksum));
    }
    Ok(sum)
}
