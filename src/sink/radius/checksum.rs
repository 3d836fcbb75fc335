//! The checksum of what lies within the radius.

use xxhash_rust::xxh3::Xxh3;

use super::super::storable::Storable;
use crate::element::Element;

/// Checksum of a row of tiles, which does not depend on how much of it is taken in at a time.
#[derive(Default)]
pub(super) struct RowsChecksum([Xxh3; 3]);

impl RowsChecksum {
    /// Takes in the numbers of entries of rows.
    pub(super) fn add_counts(&mut self, counts: impl Iterator<Item = u64>) {
        counts.for_each(|count| self.0[0].update(&count.to_le_bytes()));
    }

    /// Takes in the next entries: both in 64 bits, little-endian, whatever they are stored in.
    pub(super) fn add(&mut self, indices: impl Iterator<Item = i64>, values: impl Iterator<Item = f64>) {
        indices.for_each(|index| self.0[1].update(&index.to_le_bytes()));
        values.for_each(|value| self.0[2].update(&value.to_le_bytes()));
    }

    pub(super) fn add_entries<S: Storable>(&mut self, indices: Vec<i64>, data: &[S]) {
        let mut room = Vec::new();
        let values = S::widened(data, &mut room);
        self.add(indices.into_iter(), values.iter().map(|value| value.to_f64()));
    }

    /// The checksum, if they are those of this row of tiles.
    pub(super) fn of_row(&self, tile_row: usize) -> u64 {
        let sum = self.0.iter().fold(0_u64, |sum, part| sum.wrapping_mul(3).wrapping_add(part.digest()));
        // rows that change places are found
        sum.wrapping_mul(2 * tile_row as u64 + 1)
    }
}
