//! Whole rows of a result: against the distances to all samples by the definition of the metric, and against their checksums.

use std::ops::Range;

use super::fault::Worst;
use super::{Case, SAMPLES_BYTES, parts, random_place};
use crate::comm::Comm;
use crate::error::Result;
use crate::number::Number;
use crate::partition::range_of;
use crate::pipeline::Workers;
use crate::source::Storage;

/// A result that has something of every row, and is checked.
pub(super) trait RowCheck: Sync {
    /// What it has of a row.
    type Row: Sync;

    /// Bytes of a row, at most.
    fn row_bytes(&self) -> usize;

    /// Compares a row of tiles with its checksum.
    fn check_checksum(&self, tile_row: usize) -> Result<()>;

    /// Reads a row.
    fn read(&self, row: usize) -> Result<Self::Row>;

    /// Finds what is wrong with a row in itself.
    fn check_alone(&self, row: &Self::Row) -> Worst;

    /// Compares a row, which is of the sample `x`, with the definition for some samples, whose `values` are given.
    fn compare<T: Number>(&self, row: &Self::Row, x: &[T], samples: Range<usize>, values: &[T]) -> Worst;
}

/// This rank's share of `count` different random rows, or of all; the same rows for any number of ranks.
pub(super) fn check<T: Number, C: RowCheck>(
    check: &C,
    case: &Case,
    (comm, workers): (&Comm, &Workers),
    count: usize,
    seed: u64,
) -> Result<Worst> {
    let (grid, d) = (case.grid, case.problem().d);
    let sample_bytes = d.saturating_mul(size_of::<T>());
    let row_bytes = sample_bytes.saturating_add(check.row_bytes());
    let mut worst = Worst::default();
    let mut checked = None;
    for numbers in parts(range_of(count, comm.size(), comm.rank()), (SAMPLES_BYTES / row_bytes).max(1)) {
        let numbers: Vec<usize> = numbers.map(|number| random_place(grid.n, count, number, seed)).collect();
        for tile_row in numbers.iter().map(|row| row / grid.edge) {
            if checked < Some(tile_row) {
                check.check_checksum(tile_row)?;
                checked = Some(tile_row);
            }
        }
        let x = case.pick::<T>(workers, &case.x, numbers.iter().copied())?;
        let rows = numbers.iter().map(|row| check.read(*row)).collect::<Result<Vec<_>>>()?;
        for row in &rows {
            worst.add(&check.check_alone(row));
        }
        let y = case.y();
        // whole chunks, where they are compressed
        let band = |storage: &Storage| match storage.chunk {
            // a band of packed bits has many times the memory once it is unpacked
            Some(chunk) if storage.per_value > 1 => chunk.rows,
            _ => storage.band(1).unwrap_or(1),
        };
        let band = y.layouts().iter().map(|(storage, rows)| band(storage).min(*rows)).max().unwrap_or(1);
        let band = (SAMPLES_BYTES / sample_bytes.max(1)).max(band).max(1);
        for samples in parts(0..grid.m, band) {
            let values = case.read::<T>(workers, y, samples.clone())?;
            let of_row =
                |at: usize| check.compare(&rows[at], x.sample(numbers[at]), samples.clone(), &values);
            workers.map(rows.len(), of_row).iter().for_each(|row| worst.add(row));
        }
    }
    Ok(worst)
}
