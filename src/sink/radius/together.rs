//! Puts the pieces of a rank's rows together.

use std::ops::Range;

use super::super::storable::Storable;
use super::super::{Finished, Tail};
use super::checksum::RowsChecksum;
use super::{BATCH, CHECKSUMS, DATA, INDICES, INDPTR, RadiusSink, index_bytes};
use crate::error::{Context, Result};
use crate::failpoint;
use crate::io::Attempt;
use crate::io::array::Line;
use crate::io::result::OpenFile;
use crate::partition::Tile;
use crate::store::spool::{Opened, Piece, Reader};

/// The arrays, open to be written.
struct Lines {
    indptr: Line,
    indices: Line,
    data: Line,
    has_narrow: bool,
    shown: String,
}

impl Lines {
    fn failed(&self) -> String {
        format!(
            "the pairs within the radius cannot be written to {}; make room, then run the same command with --resume",
            self.shown
        )
    }

    /// Writes entries from `first` on.
    fn write<S: Storable>(&self, first: usize, indices: &[i64], data: &[S]) -> Result<()> {
        failpoint::hit("entries")?;
        if indices.is_empty() {
            return Ok(());
        }
        let written = if self.has_narrow {
            let narrow: Vec<i32> =
                indices.iter().map(|index| i32::try_from(*index).expect("it was checked")).collect();
            self.indices.write(first, &narrow)
        } else {
            self.indices.write(first, indices)
        };
        written.and_then(|()| self.data.write(first, data)).context(|| self.failed())
    }
}

impl<S: Storable> Tail for RadiusSink<S> {
    fn entries(&self) -> usize {
        self.pieces.values().map(|piece| piece.label.len).sum()
    }

    fn finish(
        self: Box<Self>,
        file: &OpenFile<'_>,
        first: usize,
        is_due: &dyn Fn() -> bool,
    ) -> Result<Option<Finished>> {
        let open = || -> Attempt<_> {
            let [indptr, indices, data] = [INDPTR, INDICES, DATA].map(|name| file.line(name));
            let has_narrow = index_bytes(self.grid.m) == size_of::<i32>();
            let lines =
                Lines { indptr: indptr?, indices: indices?, data: data?, has_narrow, shown: file.shown() };
            Ok((lines, file.array(CHECKSUMS)?))
        };
        let (lines, checksums) = open().context(|| format!("{} cannot be written", file.shown()))?;
        let mut finished = Finished::default();
        if self.rows.start == 0 && !self.rows.is_empty() {
            lines.indptr.write(0, &[0_i64]).context(|| lines.failed())?;
            finished.bytes += size_of::<i64>() as u64;
        }
        let mut next = first;
        for tile_row in self.rows.clone().step_by(self.grid.edge).map(|row| row / self.grid.edge) {
            if is_due() {
                return Ok(None);
            }
            let sum = self.put_together(&lines, tile_row, &mut next)?;
            let written = checksums.write(tile_row..tile_row + 1, 0..1, &[sum]);
            written.context(|| lines.failed())?;
            finished.checksums = finished.checksums.wrapping_add(sum);
        }
        finished.entries = (next - first) as u64;
        finished.bytes += (self.rows.len() * size_of::<i64>()) as u64;
        finished.bytes += finished.entries * (index_bytes(self.grid.m) + size_of::<S>()) as u64;
        finished.overflows = self.pieces.values().any(|piece| piece.label.overflows);
        Ok(Some(finished))
    }
}

impl<S: Storable> RadiusSink<S> {
    /// Writes a row of tiles, whose entries begin at `next`. Returns its checksum.
    fn put_together(&self, lines: &Lines, tile_row: usize, next: &mut usize) -> Result<u64> {
        let (rows, mut checksum) = (self.grid.rows(tile_row), RowsChecksum::default());
        let tiles = (0..self.grid.tile_cols()).map(|j| Tile { i: tile_row, j });
        let mut opened = Opened::default();
        let piece = |tile: Tile| {
            let shape = (rows.len(), self.grid.cols(tile.j).len());
            Reader::open(self.pieces[&tile].clone(), shape, &mut opened)
        };
        let mut readers = tiles.map(piece).collect::<Result<Vec<_>>>()?;
        let mut counts = vec![0_usize; rows.len()];
        for [row, count] in readers.iter().flat_map(Reader::rows) {
            counts[*row as usize] += *count as usize;
        }
        let mut end = *next;
        let ends = counts.iter().map(|count| {
            end += count;
            i64::try_from(end).expect("entries are below 2^63")
        });
        let ends: Vec<i64> = ends.collect();
        lines.indptr.write(rows.start + 1, &ends).context(|| lines.failed())?;
        checksum.add_counts(counts.iter().map(|count| *count as u64));
        let mut start = 0;
        while start < rows.len() {
            // as many rows as fit, and one at least
            let (mut batch, mut len) = (start..start + 1, counts[start]);
            while batch.end < rows.len() && len + counts[batch.end] <= BATCH {
                len += counts[batch.end];
                batch.end += 1;
            }
            start = batch.end;
            if len <= BATCH {
                *next += self.put_rows(lines, &mut readers, (batch, &counts), *next, &mut checksum)?;
                continue;
            }
            // a row that does not fit, piece by piece
            for (number, reader) in readers.iter_mut().enumerate() {
                let Piece { cols, values: data, .. } = reader.take::<S>(rows_below(reader, batch.end))?;
                let first = self.grid.cols(number).start;
                let indices: Vec<i64> = cols.iter().map(|col| index_of(first, *col)).collect();
                lines.write(*next, &indices, &data)?;
                checksum.add_entries(indices, &data);
                *next += data.len();
            }
        }
        readers.iter().try_for_each(Reader::check)?;
        Ok(checksum.of_row(tile_row))
    }

    /// Writes some rows of a row of tiles, which have so many entries each. Returns how many.
    fn put_rows(
        &self,
        lines: &Lines,
        readers: &mut [Reader],
        (batch, counts): (Range<usize>, &[usize]),
        next: usize,
        checksum: &mut RowsChecksum,
    ) -> Result<usize> {
        let len = counts[batch.clone()].iter().sum();
        let (mut indices, mut data) = (vec![0_i64; len], vec![S::zeroed(); len]);
        // where the next entry of each row goes
        let mut places: Vec<usize> = counts[batch.clone()]
            .iter()
            .scan(0, |end, count| Some(std::mem::replace(end, *end + count)))
            .collect();
        for (number, reader) in readers.iter_mut().enumerate() {
            let Piece { rows, cols, values } = reader.take::<S>(rows_below(reader, batch.end))?;
            let (first, mut read) = (self.grid.cols(number).start, 0);
            for [row, count] in rows {
                let (place, count) = (&mut places[row as usize - batch.start], count as usize);
                for (to, col) in indices[*place..*place + count].iter_mut().zip(&cols[read..]) {
                    *to = index_of(first, *col);
                }
                data[*place..*place + count].copy_from_slice(&values[read..read + count]);
                *place += count;
                read += count;
            }
        }
        lines.write(next, &indices, &data)?;
        checksum.add_entries(indices, &data);
        Ok(len)
    }
}

/// The next rows of a piece that are below `end`.
fn rows_below(reader: &Reader, end: usize) -> usize {
    reader.rows().partition_point(|[row, _]| (*row as usize) < end)
}

fn index_of(first: usize, col: u32) -> i64 {
    i64::try_from(first + col as usize).expect("an index is below 2^63")
}
