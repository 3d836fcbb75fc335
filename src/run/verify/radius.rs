//! What lies within the radius of whole rows.

use std::ops::Range;

use super::Case;
use super::fault::{Fault, Worst, Wrong};
use super::rows::RowCheck;
use crate::error::Result;
use crate::number::Number;
use crate::sink::radius::{RadiusReader, Rows};

/// The samples within a radius that are checked.
pub(super) struct RadiusCheck<'a> {
    case: &'a Case,
    reader: RadiusReader<'a>,
    row_bytes: usize,
}

/// What a sample has within its radius, in the file.
pub(super) struct Row {
    number: usize,
    entries: Rows,
}

impl<'a> RadiusCheck<'a> {
    /// Of the case's result.
    pub(super) fn of(case: &'a Case) -> Result<Self> {
        let reader = RadiusReader::of(&case.file)?;
        Ok(Self { case, row_bytes: reader.row_bytes()?, reader })
    }

    fn leaves_out(&self, row: usize, index: usize) -> bool {
        self.case.grid.symmetric && row == index && !self.reader.within.include_self
    }
}

impl RowCheck for RadiusCheck<'_> {
    type Row = Row;

    fn row_bytes(&self) -> usize {
        self.row_bytes
    }

    fn check_checksum(&self, tile_row: usize) -> Result<()> {
        self.reader.check_checksum(tile_row)
    }

    fn read(&self, row: usize) -> Result<Row> {
        Ok(Row { number: row, entries: self.reader.rows(row..row + 1)? })
    }

    fn check_alone(&self, row: &Row) -> Worst {
        let mut worst = Worst::default();
        let mut before = -1;
        for (place, &index) in row.entries.indices.iter().enumerate() {
            let sample = usize::try_from(index).ok().filter(|index| *index < self.case.grid.m);
            let is_strange = index == before || sample.is_none_or(|index| self.leaves_out(row.number, index));
            if is_strange || index < before {
                worst.add(&Worst::of(Wrong {
                    row: row.number,
                    col: place,
                    fault: if is_strange { Fault::Superfluous } else { Fault::Unsorted },
                    value: index as f64,
                    definition: f64::NAN,
                }));
            }
            before = before.max(index);
        }
        worst
    }

    fn compare<T: Number>(&self, row: &Row, x: &[T], samples: Range<usize>, values: &[T]) -> Worst {
        let (case, radius) = (self.case, self.reader.within.radius.get());
        let Rows { indices, distances, .. } = &row.entries;
        let mut worst = Worst::default();
        if !indices.is_sorted() {
            // it was said before, and nothing can be found there
            return worst;
        }
        let start = i64::try_from(samples.start).unwrap_or(i64::MAX);
        let first = indices.partition_point(|index| *index < start);
        let mut listed = indices.iter().zip(distances).skip(first).peekable();
        for (index, y) in samples.zip(values.chunks_exact(x.len())) {
            let reference = case.measure.reference(x, y);
            let definition = reference.distance;
            let wrong = |fault, value| Wrong { row: row.number, col: index, fault, value, definition };
            let (_, tolerance) = case.error_as::<T>(radius, reference, self.reader.store);
            let mut is_listed = false;
            while let Some((_, &value)) =
                listed.next_if(|(other, _)| usize::try_from(**other).is_ok_and(|other| other == index))
            {
                is_listed = true;
                let (error, tolerance) = case.error_as::<T>(value, reference, self.reader.store);
                let wrong = |value| wrong(Fault::NeighbourDistance, value);
                worst.add(&Worst::compared((error, tolerance), value, definition, wrong));
            }
            if is_listed && definition - tolerance > radius {
                worst.add(&Worst::of(wrong(Fault::Beyond, radius)));
            }
            if !is_listed && definition + tolerance <= radius && !self.leaves_out(row.number, index) {
                worst.add(&Worst::of(wrong(Fault::LeftOut, radius)));
            }
        }
        worst
    }
}
