//! Mail: what a rank has found for rows that another owns.
//!
//! With one input the mirror images of a round's tiles are rows of the rank whose block of columns this rank has. What is found in them
//! goes to that rank in letters: at every checkpoint interval, so that a killed run loses no more of them than of anything else, and when
//! the last tile of the round is stored. Only the last letter of a round says that it is the last, so each rank knows how many it must
//! wait for; it comes also where there is nothing to say, or where the run stops early. In turn each rank tells the one that
//! has its block what it has found already, as most of what others find is no better.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::comm::Tag;
use crate::partition::{Tile, from_word};
use crate::schedule::Ring;
use crate::sink::FOREIGN_LISTS;

/// The mail of a round.
#[derive(Debug)]
pub(super) struct Stream {
    /// The rank that it goes to.
    pub(super) to: usize,
    /// That rank's columns of tiles, which are its rows.
    pub(super) tiles: Range<usize>,
    /// Likewise, in the matrix.
    pub(super) rows: Range<usize>,
    /// Whether the lists of these rows are in memory: from the first tile that is ordered.
    pub(super) has_lists: bool,
    /// What their owner has found already, until then.
    pub(super) bounds: Vec<u64>,
    /// Tiles that are ordered and not stored.
    pub(super) open: usize,
    /// Tiles that are stored, and of which not all is sent.
    pub(super) stored: Vec<Tile>,
}

/// All mail of a rank.
#[derive(Debug)]
pub(super) struct Mail {
    pub(super) streams: VecDeque<Stream>,
    /// Last letters that are still to come, and bounds.
    due: [usize; 2],
    /// Rounds that have begun.
    begun: usize,
    /// Bounds of rows whose round has not begun, by the rank that owns them.
    early: Vec<(usize, Vec<u64>)>,
    interval: Duration,
    posted: Instant,
}

impl Mail {
    /// Of a way round the ring on which one letter of each kind comes in every round but the first.
    pub(super) fn new(ring: &Ring, interval: Duration) -> Self {
        let due = [ring.round_count() - 1; 2];
        Self { streams: VecDeque::new(), due, begun: 1, early: Vec::new(), interval, posted: Instant::now() }
    }

    /// Whether all is sent, and all has come.
    pub(super) fn is_over(&self) -> bool {
        self.streams.is_empty() && self.due == [0; 2]
    }

    /// A message that every rank waits for has come.
    pub(super) fn has_come(&mut self, tag: Tag) {
        self.due[tag as usize] -= 1;
    }

    /// The mail of the next round begins, for the rank `to` that owns these columns of tiles, and rows of the matrix.
    pub(super) fn begin(&mut self, to: usize, tiles: Range<usize>, rows: Range<usize>) {
        let early = self.early.iter().position(|(owner, _)| *owner == to);
        let bounds = early.map_or(Vec::new(), |at| self.early.swap_remove(at).1);
        self.begun += 1;
        self.streams.push_back(Stream {
            to,
            tiles,
            rows,
            has_lists: false,
            bounds,
            open: 0,
            stored: Vec::new(),
        });
    }

    /// The stream to a rank.
    pub(super) fn to(&mut self, rank: usize) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.to == rank)
    }

    /// Keeps bounds until the lists of their rows are made. Those of a round that is over are of no use, and where many come early, those
    /// that memory is not planned for are dropped: bounds only spare work.
    pub(super) fn keep(&mut self, owner: usize, round: usize, bounds: Vec<u64>) {
        let is_dropped = round < self.begun || self.early.len() == FOREIGN_LISTS;
        match self.to(owner) {
            Some(stream) => stream.bounds = bounds,
            None if is_dropped => {}
            None => self.early.push((owner, bounds)),
        }
    }

    /// The stream that a tile belongs to: none, if the rows of its mirror image are this rank's.
    pub(super) fn of(&mut self, tile: Tile) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.tiles.contains(&tile.j))
    }

    /// Whether it is time for letters within a round.
    pub(super) fn is_time(&mut self) -> bool {
        let is_time = self.posted.elapsed() >= self.interval;
        if is_time {
            self.posted = Instant::now();
        }
        is_time
    }
}

/// The letter that says of which tiles all is sent, and whether it is the last of its round; with what was found.
pub(super) fn letter(is_last: bool, tiles: &[Tile], found: &[u64]) -> Vec<u64> {
    let mut words = vec![u64::from(is_last), tiles.len() as u64];
    words.extend(tiles.iter().flat_map(|tile| [tile.i as u64, tile.j as u64]));
    words.extend_from_slice(found);
    words
}

/// What a letter says.
pub(super) fn opened(words: &[u64]) -> (bool, Vec<Tile>, &[u64]) {
    let [is_last, count, rest @ ..] = words else { unreachable!("a letter has a beginning") };
    let (tiles, found) = rest.split_at(2 * from_word(*count));
    let (tiles, _) = tiles.as_chunks::<2>();
    let tiles = tiles.iter().map(|[i, j]| Tile { i: from_word(*i), j: from_word(*j) }).collect();
    (*is_last == 1, tiles, found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_opened_as_they_were_written() {
        let tiles = [Tile { i: 3, j: 70 }, Tile { i: 0, j: 1 }];
        assert_eq!(opened(&letter(true, &tiles, &[9, 8])), (true, tiles.to_vec(), &[9, 8][..]));
        assert_eq!(opened(&letter(false, &[], &[])), (false, Vec::new(), &[][..]));
    }
}
