//! Reads samples slab by slab; workers check, digest and pack each slab.

use std::ops::Range;

use rayon::prelude::*;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Number, Workers};
use crate::error::Result;
use crate::fail;
use crate::failpoint;
use crate::io::samples::Samples;
use crate::kernel::PanelShape;
use crate::partition::lcm;
use crate::tile::Block;

/// Bytes that are read at once, where samples are not larger than that: enough for a file system, and little enough that the
/// memory is used again for the next ones.
pub const SLAB_BYTES: usize = 16 << 20;

/// Values that are looked at together.
const GROUP: usize = 4096;

/// Blocks that loaded samples are packed into.
pub struct Target<'a, T> {
    /// As rows of tiles.
    pub rows: Option<&'a mut Block<T>>,
    /// As columns of tiles.
    pub cols: Option<&'a mut Block<T>>,
}

/// What loading has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Wrapping sum of a hash of each sample and its row: the ranks' sums add up to the input's digest.
    pub digest: u64,
    /// Bytes of the samples as they are in memory.
    pub bytes: u64,
}

/// Rows that are read at once: whole panels, whole chunks of the file where they fit, about [`SLAB_BYTES`].
pub fn slab_rows(row_bytes: usize, panels: [PanelShape; 2], edge: usize, chunk_rows: usize) -> usize {
    let fit = (SLAB_BYTES / row_bytes).max(1);
    // a slab that ends inside a tile ends with a panel of both shapes
    let whole = lcm(panels[0].width, panels[1].width);
    if fit >= edge {
        let tiles = fit / edge;
        let chunk_tiles = lcm(edge, chunk_rows) / edge;
        edge * if chunk_tiles <= tiles { tiles / chunk_tiles * chunk_tiles } else { tiles }
    } else {
        (fit / whole).max(1) * whole
    }
}

/// Reads the samples `rows`, which begin with a tile of `edge` rows, and packs them.
///
/// # Errors
/// If they cannot be read, or one is not finite and `allow_nonfinite` is not given: the first is named.
pub fn load<T: Number>(
    workers: &Workers,
    samples: &Samples,
    rows: Range<usize>,
    edge: usize,
    slab: usize,
    allow_nonfinite: bool,
    mut target: Target<'_, T>,
) -> Result<Loaded> {
    let mut loaded = Loaded::default();
    let mut start = rows.start;
    while start < rows.end {
        // a slab smaller than a tile does not reach into the next one
        let tile_end = if slab < edge { (start / edge + 1) * edge } else { usize::MAX };
        let part = start..rows.end.min(start + slab).min(tile_end);
        failpoint::hit("read")?;
        let mut values: Vec<T> = samples.read(part.clone())?;
        if !allow_nonfinite && let Some(place) = first_nonfinite(workers, &values) {
            let (row, column) = (part.start + place / samples.features, place % samples.features);
            return refuse(samples, row, column, values[place]);
        }
        loaded.digest =
            loaded.digest.wrapping_add(digest(workers, &mut values, part.start, samples.features));
        loaded.bytes += size_of_val(&values[..]) as u64;
        if let Some(block) = &mut target.rows {
            pack(workers, &values, &part, samples.features, block, false);
        }
        if let Some(block) = &mut target.cols {
            pack(workers, &values, &part, samples.features, block, true);
        }
        start = part.end;
    }
    Ok(loaded)
}

/// What `rows` of the samples add to the input's digest.
pub fn digest_of<T: Number>(workers: &Workers, samples: &Samples, rows: Range<usize>) -> Result<u64> {
    let slab = (SLAB_BYTES / (samples.features * size_of::<T>())).max(1);
    let mut sum = 0_u64;
    for first in rows.clone().step_by(slab) {
        let mut values: Vec<T> = samples.read(first..rows.end.min(first + slab))?;
        sum = sum.wrapping_add(digest(workers, &mut values, first, samples.features));
    }
    Ok(sum)
}

fn first_nonfinite<T: Number>(workers: &Workers, values: &[T]) -> Option<usize> {
    // all of a group, so that the compiler can use vectors
    let has_any = |group: &[T]| !group.iter().fold(true, |all, value| all & value.is_finite());
    let group = workers.pool.install(|| values.par_chunks(GROUP).position_first(has_any))?;
    let first = values[group * GROUP..].iter().position(|value| !value.is_finite())?;
    Some(group * GROUP + first)
}

fn refuse<T: Number>(samples: &Samples, row: usize, column: usize, value: T) -> Result<Loaded> {
    let stored = samples.value(row, column)?;
    let what = samples.describe();
    if stored.is_finite() {
        fail!(
            "{what}: the value {stored:e} in row {row}, column {column} is too large for f32; use --dtype f64"
        );
    }
    fail!(
        "{what}: the value in row {row}, column {column} is {value}; clean the samples, or compute with it by --allow-nonfinite"
    )
}

/// Makes all NaN the same, and hashes each sample with its row.
fn digest<T: Number>(workers: &Workers, values: &mut [T], first_row: usize, features: usize) -> u64 {
    let hash = |(row, sample): (usize, &mut [T])| {
        for value in sample.iter_mut().filter(|value| value.is_nan()) {
            *value = T::NAN;
        }
        xxh3_64_with_seed(bytemuck::cast_slice(sample), (first_row + row) as u64)
    };
    workers
        .pool
        .install(|| values.par_chunks_mut(features).enumerate().map(hash).reduce(|| 0, u64::wrapping_add))
}

fn pack<T: Number>(
    workers: &Workers,
    values: &[T],
    part: &Range<usize>,
    features: usize,
    block: &mut Block<T>,
    negate: bool,
) {
    let shape = block.shape();
    let panels: Vec<_> = block.panels_mut(part.clone()).collect();
    workers.pool.install(|| {
        panels.into_par_iter().for_each(|(rows, panel)| {
            let samples = &values[(rows.start - part.start) * features..(rows.end - part.start) * features];
            shape.pack(samples, negate, panel);
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slabs_end_with_tiles_or_panels() {
        let panels = [6, 16].map(|width| PanelShape { width, features: 1, norms: false });
        assert_eq!(slab_rows(400, panels, 500, 1) % 500, 0);
        assert_eq!(slab_rows(400, panels, 500, 300) % 1500, 0);
        assert_eq!(slab_rows(8_000_000, panels, 500, 1), 48);
        assert_eq!(slab_rows(400_000, panels, 500, 1) % 48, 0);
    }
}
