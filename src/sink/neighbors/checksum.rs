//! The checksum of neighbours.

use xxhash_rust::xxh3::Xxh3;

/// Checksum of the neighbours in a row of tiles, which does not depend on how many are taken in at a time.
#[derive(Default)]
pub(super) struct RowsChecksum {
    indices: Xxh3,
    distances: Xxh3,
}

impl RowsChecksum {
    /// Takes in the next ones: both in 64 bits, little-endian, whatever they are stored in.
    pub(super) fn add(&mut self, indices: &[i64], distances: impl Iterator<Item = f64>) {
        for index in indices {
            self.indices.update(&index.to_le_bytes());
        }
        for distance in distances {
            self.distances.update(&distance.to_le_bytes());
        }
    }

    /// The checksum, if they are those of this row of tiles.
    pub(super) fn of_row(&self, tile_row: usize) -> u64 {
        let sum = self.indices.digest().wrapping_mul(3).wrapping_add(self.distances.digest());
        // rows that change places are found
        sum.wrapping_mul(2 * tile_row as u64 + 1)
    }
}
