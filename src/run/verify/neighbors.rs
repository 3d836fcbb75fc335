//! The neighbours of whole rows.

use std::ops::Range;

use super::Case;
use super::fault::{Fault, Worst, Wrong};
use super::rows::RowCheck;
use crate::error::Result;
use crate::number::Number;
use crate::sink::neighbors::{NO_INDEX, NeighborsReader};

/// The neighbours of a result that are checked.
pub(super) struct NeighborsCheck<'a> {
    case: &'a Case,
    reader: NeighborsReader<'a>,
}

/// The neighbours of a sample in the file.
pub(super) struct Row {
    number: usize,
    indices: Vec<i64>,
    distances: Vec<f64>,
    /// The indices of samples in order, each with its place.
    sorted: Vec<(usize, usize)>,
}

impl<'a> NeighborsCheck<'a> {
    /// Of the case's result.
    pub(super) fn of(case: &'a Case) -> Result<Self> {
        Ok(Self { case, reader: NeighborsReader::of(&case.file)? })
    }
}

impl RowCheck for NeighborsCheck<'_> {
    type Row = Row;

    fn row_bytes(&self) -> usize {
        self.reader.row_bytes()
    }

    fn check_checksum(&self, tile_row: usize) -> Result<()> {
        self.reader.check_checksum(tile_row)
    }

    fn read(&self, row: usize) -> Result<Row> {
        let (indices, distances) = self.reader.rows(row..row + 1)?;
        let samples = indices.iter().enumerate().filter_map(|(place, index)| {
            let index = usize::try_from(*index).ok()?;
            Some((index, place))
        });
        let mut sorted: Vec<_> = samples.collect();
        sorted.sort_unstable();
        Ok(Row { number: row, indices, distances, sorted })
    }

    fn check_alone(&self, row: &Row) -> Worst {
        let (grid, nearest) = (self.case.grid, self.reader.nearest);
        let mut worst = Worst::default();
        let mut note = |col: usize, fault: Fault, value: f64| {
            worst.add(&Worst::of(Wrong { row: row.number, col, fault, value, definition: f64::NAN }));
        };
        for pair in row.sorted.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            note(pair[1].1, Fault::Superfluous, pair[1].0 as f64);
        }
        let is_first = |place: usize, index: usize| nearest.include_self && place == 0 && index == row.number;
        for &(index, place) in &row.sorted {
            if index >= grid.m || grid.symmetric && index == row.number && !is_first(place, index) {
                note(place, Fault::Superfluous, index as f64);
            }
        }
        let entries: Vec<(f64, i64)> =
            row.distances.iter().copied().zip(row.indices.iter().copied()).collect();
        let others = match entries.split_first() {
            Some((&(_, index), others)) if usize::try_from(index).is_ok_and(|index| is_first(0, index)) => {
                others
            }
            _ => &entries[..],
        };
        for (place, &(distance, index)) in others.iter().enumerate() {
            if index < 0 && !is_none(distance, index) {
                note(place, Fault::Superfluous, index as f64);
            }
        }
        // ties are in order of what was computed, which a narrower type may not tell apart
        let are_ties_told = self.reader.are_as_computed();
        for pair in others.windows(2) {
            let [(distance, index), (next, after)] = [pair[0], pair[1]];
            let is_end = is_none(next, after);
            let in_order = if is_none(distance, index) {
                is_end
            } else {
                is_end
                    || distance < next
                    || distance.to_bits() == next.to_bits() && (index < after || !are_ties_told)
            };
            if !in_order {
                note(usize::try_from(index).unwrap_or(0), Fault::Order, distance);
            }
        }
        worst
    }

    fn compare<T: Number>(&self, row: &Row, x: &[T], samples: Range<usize>, values: &[T]) -> Worst {
        let (grid, measure) = (self.case.grid, &self.case.measure);
        let mut worst = Worst::default();
        // beyond this, a sample need not be a neighbour; without an end, every one at a distance that is a number is
        let last = row.distances.last().copied().unwrap_or(f64::NEG_INFINITY);
        let has_room = row.indices.last().is_some_and(|index| *index < 0);
        let mut listed =
            row.sorted[row.sorted.partition_point(|&(index, _)| index < samples.start)..].iter().peekable();
        for (index, y) in samples.zip(values.chunks_exact(x.len())) {
            let reference = measure.reference(x, y);
            let definition = reference.distance;
            let wrong = |fault, value| Wrong { row: row.number, col: index, fault, value, definition };
            let mut is_listed = false;
            while let Some((_, place)) = listed.next_if(|(other, _)| *other == index) {
                is_listed = true;
                let value = row.distances[*place];
                worst.add(
                    &self.case.compare::<T>(value, reference, |value| wrong(Fault::NeighbourDistance, value)),
                );
            }
            let is_self = grid.symmetric && index == row.number && !self.reader.nearest.include_self;
            if is_listed || is_self || definition.is_nan() {
                continue;
            }
            // where both overflow the type, the two are equally far
            let is_missing = || {
                let (error, tolerance) = self.case.error::<T>(last, reference);
                error > tolerance && definition + tolerance < last
            };
            if has_room || definition < last && is_missing() {
                worst.add(&Worst::of(wrong(Fault::Missing, last)));
            }
        }
        worst
    }
}

/// Whether an entry stands for no neighbour.
fn is_none(distance: f64, index: i64) -> bool {
    index == NO_INDEX && distance == f64::INFINITY
}
