//! The distances of a tile on their way to a file: as they are, and as the mirror image, in the type that they are stored in.

use super::storable::{Storable, overflows};
use super::{Place, Rounded, Strip};
use crate::element::Element;
use crate::kernel::Checksum;
use crate::pages::Pages;
use crate::partition::Grid;

/// Elements that are held of a tile, beside the distances as they are computed.
pub fn held_len(grid: &Grid, is_rounded: bool) -> usize {
    let (height, width) = grid.tile_shape();
    (usize::from(is_rounded) + usize::from(grid.symmetric)) * height * width
}

/// A tile, and its mirror image after it, as they are stored; of the tile nothing where it is stored as it is computed.
pub struct Images<S: Storable> {
    values: Pages<S>,
    is_rounded: bool,
    /// Whether a tile has a mirror image here.
    has_mirror: fn(&Place) -> bool,
    /// Elements that are there, and those of the tile among them.
    len: usize,
    tile_len: usize,
    checksum: Checksum,
    wide: Vec<S::Wide>,
    /// What is known of the strips of the tile so far.
    found: Rounded,
}

impl<S: Storable> Images<S> {
    /// Room for tiles of the grid, which are rounded if `is_rounded`.
    pub fn new(grid: &Grid, is_rounded: bool, has_mirror: fn(&Place) -> bool) -> Self {
        Self {
            values: Pages::zeroed(held_len(grid, is_rounded)),
            is_rounded,
            has_mirror,
            len: 0,
            tile_len: 0,
            checksum: Checksum::default(),
            wide: Vec::new(),
            found: Rounded::default(),
        }
    }

    /// Takes in a strip, and returns it as it is stored.
    pub fn collect<'a, T: Element>(&'a mut self, strip: &Strip<'a, T>) -> &'a [S] {
        let Strip { values, first, place } = *strip;
        let ((height, width), has_mirror) = (place.shape(), (self.has_mirror)(place));
        if first == 0 {
            self.tile_len = if self.is_rounded { height * width } else { 0 };
            self.len = self.tile_len + if has_mirror { height * width } else { 0 };
            self.found = Rounded::default();
        }
        let (tile, mirror) = self.values[..self.len].split_at_mut(self.tile_len);
        let stored = if self.is_rounded {
            let stored = &mut tile[first * width..][..values.len()];
            S::round(values, stored);
            let wide = S::widened(stored, &mut self.wide);
            let sum = self.checksum.of(place.level, wide, strip.rows(), place.cols.clone());
            self.found.checksum = self.found.checksum.wrapping_add(sum);
            self.found.overflows = self.found.overflows || overflows(values, wide);
            stored
        } else {
            bytemuck::cast_slice(values)
        };
        if has_mirror {
            let shape = (values.len() / width, width);
            S::transpose(place.level, shape, (stored, width), (&mut mirror[first..], height));
        }
        stored
    }

    /// The tile, whose distances are `values` as they were computed.
    pub fn tile<'a, T: Element>(&'a self, values: &'a [T]) -> &'a [S] {
        if self.is_rounded { &self.values[..self.tile_len] } else { bytemuck::cast_slice(values) }
    }

    /// Its mirror image.
    pub fn mirror(&self) -> &[S] {
        &self.values[self.tile_len..self.len]
    }

    /// All that is held.
    pub fn held(&self) -> &[u8] {
        bytemuck::cast_slice(&self.values[..self.len])
    }

    /// What is known of the tile, if it was rounded.
    pub fn rounded(&self) -> Option<Rounded> {
        self.is_rounded.then_some(self.found)
    }
}
