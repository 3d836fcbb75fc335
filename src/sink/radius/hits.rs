//! What lies within the radius in a tile.

use super::super::storable::{Storable, overflows};
use super::super::{Part, Place, Strip};
use crate::kernel::within;
use crate::number::Number;
use crate::partition::{Grid, Tile};
use crate::problem::Within;
use crate::store::spool::{Label, Piece};

/// What the images of a tile have within the radius.
pub(super) struct Hits<T, S> {
    grid: Grid,
    within: Within,
    /// The radius, for each row.
    limits: Vec<T>,
    places: Vec<u32>,
    /// The values of a strip, as they were computed.
    computed: Vec<T>,
    /// Entries of each column.
    counts: Vec<u32>,
    pub(super) piece: Piece<S>,
    pub(super) mirror: Piece<S>,
    overflows: bool,
    /// What is known of both, when all strips were collected.
    pub(super) labels: Option<[Label; 2]>,
}

impl<T: Number, S: Storable> Hits<T, S> {
    pub(super) fn new(within: Within, grid: &Grid) -> Self {
        let (height, width) = grid.tile_shape();
        let most = if grid.symmetric { height * width } else { 0 };
        Self {
            grid: *grid,
            within,
            limits: vec![T::from_f64(within.radius.get()); height],
            places: Vec::new(),
            computed: Vec::new(),
            counts: Vec::with_capacity(width),
            piece: Piece::of(height, height * width),
            mirror: Piece::of(width, most),
            overflows: false,
            labels: None,
        }
    }

    /// Transposes the piece.
    fn turn(&mut self, width: usize) {
        let Self { piece, mirror, counts, .. } = self;
        counts.clear();
        counts.resize(width, 0);
        piece.cols.iter().for_each(|col| counts[*col as usize] += 1);
        mirror.clear();
        let mut end = 0;
        for (col, count) in counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            mirror.rows.push([narrow(col), *count]);
            // from here on, where the next entry of the column goes
            (*count, end) = (end, end + *count);
        }
        mirror.cols.resize(piece.cols.len(), 0);
        mirror.values.resize(piece.values.len(), S::zeroed());
        let mut entries = piece.cols.iter().zip(&piece.values);
        for [row, count] in &piece.rows {
            for (col, value) in entries.by_ref().take(*count as usize) {
                let place = &mut counts[*col as usize];
                mirror.cols[*place as usize] = *row;
                mirror.values[*place as usize] = *value;
                *place += 1;
            }
        }
    }
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a tile has less than 2^32 distances")
}

impl<T: Number, S: Storable> Part<T> for Hits<T, S> {
    fn collect(&mut self, strip: &Strip<'_, T>) {
        let Place { rows, cols, level, mirrored } = strip.place;
        let width = cols.len();
        if strip.first == 0 {
            self.piece.clear();
            self.overflows = false;
        }
        let Self { piece, places, limits, computed, .. } = self;
        places.clear();
        places.reserve_exact(strip.values.len());
        within(*level, strip.values, width, (limits, None), places);
        let has_itself = self.grid.symmetric && rows == cols && !self.within.include_self;
        computed.clear();
        // they are in order, and a division takes longer than all else here
        let (mut row, mut before) = (0, 0);
        for at in places.iter().map(|at| *at as usize) {
            while at >= (row + 1) * width {
                note_row(piece, strip.first + row, &mut before, computed.len());
                row += 1;
            }
            let col = at - row * width;
            if !(has_itself && strip.first + row == col) {
                piece.cols.push(narrow(col));
                computed.push(strip.values[at]);
            }
        }
        note_row(piece, strip.first + row, &mut before, computed.len());
        let first = piece.values.len();
        piece.values.resize(first + computed.len(), S::zeroed());
        S::round(computed, &mut piece.values[first..]);
        let mut room = Vec::new();
        self.overflows = self.overflows || overflows(computed, S::widened(&piece.values[first..], &mut room));
        if strip.rows().end == rows.end {
            let tile = Tile { i: rows.start / self.grid.edge, j: cols.start / self.grid.edge };
            let label = self.piece.label(tile, self.overflows);
            let mirror = if *mirrored {
                self.turn(width);
                self.mirror.label(tile.transposed(), self.overflows)
            } else {
                label
            };
            self.labels = Some([label, mirror]);
        }
    }
}

/// Notes how many entries a row has, if it has any; `before` are those of earlier rows of the strip.
fn note_row<S>(piece: &mut Piece<S>, row: usize, before: &mut usize, now: usize) {
    if now > *before {
        piece.rows.push([narrow(row), narrow(now - *before)]);
        *before = now;
    }
}
