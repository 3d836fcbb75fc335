//! Candidates from the strips of a tile.

use std::ops::Range;
use std::sync::{Arc, Mutex, RwLock};

use super::super::{Part, Strip};
use super::MOST_WAITING;
use super::lists::{Candidate, Lists};
use crate::element::Element;
use crate::kernel::{limit_of, within};
use crate::number::Number;

/// The candidates that a rank has found, where all of its threads add to them.
pub(super) struct Found<T, C> {
    pub(super) own: Lists<C>,
    /// The distance of each of its samples to itself, where it counts; NaN as long as it is not known.
    pub(super) selves: Option<Mutex<Vec<T>>>,
    /// Those of rows that other ranks own.
    pub(super) foreign: RwLock<Vec<Arc<Lists<C>>>>,
}

impl<T: Number, C: Candidate> Found<T, C> {
    /// The foreign lists that hold these rows.
    pub(super) fn of(&self, rows: &Range<usize>) -> Option<Arc<Lists<C>>> {
        let foreign = self.foreign.read().expect("a thread that panics ends the run");
        foreign.iter().find(|lists| lists.rows.contains(&rows.start)).cloned()
    }
}

/// Collects candidates from tiles.
pub(super) struct Collector<T, C> {
    found: Arc<Found<T, C>>,
    is_symmetric: bool,
    /// Limits of rows, and of columns.
    limits: [Vec<T>; 2],
    /// Whether those of columns must be looked up again.
    is_stale: bool,
    smallest: Vec<T>,
    places: Vec<u32>,
    forward: Vec<(usize, C)>,
    /// Candidates for rows of the mirror image, those of a group of rows together: they lie far apart otherwise.
    mirrored: Vec<Vec<(usize, C)>>,
}

impl<T: Number, C: Candidate> Collector<T, C> {
    pub(super) fn new(found: Arc<Found<T, C>>, is_symmetric: bool) -> Self {
        Self {
            found,
            is_symmetric,
            limits: [Vec::new(), Vec::new()],
            is_stale: true,
            smallest: Vec::new(),
            places: Vec::new(),
            forward: Vec::new(),
            mirrored: Vec::new(),
        }
    }
}

impl<T: Number, C: Candidate> Part<T> for Collector<T, C> {
    fn collect(&mut self, strip: &Strip<'_, T>) {
        let (place, rows) = (strip.place, strip.rows());
        let is_diagonal = self.is_symmetric && place.cols == place.rows;
        if is_diagonal {
            self.note_selves(strip);
        }
        self.found.own.limits(rows.clone(), place.cols.start, &mut self.limits[0]);
        self.open_rows(strip, is_diagonal);
        let Self { found, limits: [of_rows, of_cols], is_stale, places, forward, mirrored, .. } = self;
        let foreign = place.mirrored.then(|| found.of(&place.cols)).flatten();
        let mirror = foreign.as_deref().unwrap_or(&found.own);
        if place.mirrored && (strip.first == 0 || *is_stale) {
            mirror.limits(place.cols.clone(), place.rows.start, of_cols);
            *is_stale = false;
        }
        let of_cols = place.mirrored.then_some(&of_cols[..]);
        places.clear();
        places.reserve_exact(strip.values.len());
        within(place.level, strip.values, place.cols.len(), (of_rows, of_cols), places);
        let groups = if place.mirrored { mirror.groups_of(&place.cols) } else { 0..0 };
        mirrored.resize_with(mirrored.len().max(groups.len()), Vec::new);
        // they are in order, and a division takes longer than all else here
        let (width, mut row) = (place.cols.len(), 0);
        for at in places.iter().map(|&at| at as usize) {
            while at >= (row + 1) * width {
                row += 1;
            }
            let (col, distance) = (at - row * width, strip.values[at]);
            let (x, y) = (rows.start + row, place.cols.start + col);
            if distance <= of_rows[row] && !(is_diagonal && x == y) {
                forward.push((x, C::new(distance, y)));
                if forward.len() == MOST_WAITING {
                    found.own.add(forward.drain(..));
                }
            }
            if of_cols.is_some_and(|of_cols| distance <= of_cols[col]) {
                let waiting = &mut mirrored[mirror.group_of(y) - groups.start];
                waiting.push((y, C::new(distance, x)));
                if waiting.len() == MOST_WAITING {
                    mirror.add(waiting.drain(..));
                    *is_stale = true;
                }
            }
        }
        found.own.add(forward.drain(..));
        if rows.end == place.rows.end {
            for waiting in mirrored {
                mirror.add(waiting.drain(..));
            }
        }
    }
}

impl<T: Number, C: Candidate> Collector<T, C> {
    /// The distances of samples to themselves, which are on the diagonal.
    fn note_selves(&self, strip: &Strip<'_, T>) {
        let Some(selves) = &self.found.selves else { return };
        let mut selves = selves.lock().expect("a thread that panics ends the run");
        let cols = &strip.place.cols;
        for (row, values) in strip.rows().zip(strip.values.chunks_exact(cols.len())) {
            selves[row - self.found.own.rows.start] = values[row - cols.start];
        }
    }

    /// Takes in the rows of a strip that have no limit yet, so that everything would pass: up to a limit that is found first.
    /// After that nothing of them is within their limits.
    fn open_rows(&mut self, strip: &Strip<'_, T>, is_diagonal: bool) {
        let Self { found, limits: [limits, _], places, smallest, .. } = self;
        let (rows, cols, lists) = (strip.rows(), &strip.place.cols, &found.own);
        let level = strip.place.level;
        // one of them may be the sample itself
        let count = lists.kept() + usize::from(is_diagonal);
        for (at, limit) in limits.iter_mut().enumerate().filter(|(_, limit)| is_open(**limit)) {
            let (row, values) = (rows.start + at, &strip.values[at * cols.len()..][..cols.len()]);
            let found_limit = limit_of(level, values, count, smallest);
            within(level, values, values.len(), (&[found_limit], None), places);
            let candidates = places.iter().map(|&col| (col as usize, cols.start + col as usize));
            let candidates = candidates.filter(|&(_, index)| !(is_diagonal && index == row));
            lists.add(candidates.map(|(col, index)| (row, C::new(values[col], index))));
            lists.settle(row);
            *limit = T::from_f64(f64::NEG_INFINITY);
        }
    }
}

/// Whether every distance is within a limit.
fn is_open<T: Element>(limit: T) -> bool {
    limit > T::default() && !limit.is_finite()
}
