//! The nearest candidates of many rows.
//!
//! A row keeps its best candidates in a list with room for half as many more: new ones are appended, and the best are selected when the list
//! is full. The worst of the best is a bound for those that come later. Rows are locked in groups, so that many threads add to them.

use std::fmt::Debug;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard};

use crate::element::Element;

/// A distance and the index of a sample in one whole number: in the order of neighbours, which is that of distances, and where they are
/// equal that of indices.
pub trait Candidate: Copy + Ord + Debug + bytemuck::Pod + Send + Sync {
    /// Comes after all candidates.
    const NONE: Self;

    /// The sample of this index, at a distance that is a number.
    fn new<T: Element>(distance: T, index: usize) -> Self;

    /// Its distance.
    fn distance<T: Element>(self) -> T;

    /// Its index.
    fn index(self) -> usize;
}

/// Distances of 32 bits, and indices below 2³² − 1.
impl Candidate for u64 {
    const NONE: Self = Self::MAX;

    #[inline(always)]
    fn new<T: Element>(distance: T, index: usize) -> Self {
        distance.to_ordered() << 32 | index as Self
    }

    #[inline(always)]
    fn distance<T: Element>(self) -> T {
        T::from_ordered(self >> 32)
    }

    #[allow(clippy::cast_possible_truncation, reason = "an index is a usize")]
    #[inline(always)]
    fn index(self) -> usize {
        (self & 0xffff_ffff) as usize
    }
}

impl Candidate for u128 {
    const NONE: Self = Self::MAX;

    #[inline(always)]
    fn new<T: Element>(distance: T, index: usize) -> Self {
        Self::from(distance.to_ordered()) << 64 | index as Self
    }

    #[allow(clippy::cast_possible_truncation, reason = "the upper half has 64 bits")]
    #[inline(always)]
    fn distance<T: Element>(self) -> T {
        T::from_ordered((self >> 64) as u64)
    }

    #[allow(clippy::cast_possible_truncation, reason = "the lower half is an index")]
    #[inline(always)]
    fn index(self) -> usize {
        self as u64 as usize
    }
}

/// Rows that are locked together.
pub const GROUP: usize = 64;

/// Room for candidates that come in, at least.
const LEAST_ROOM: usize = 16;

/// Candidates that take less to sort than to select from.
const FEW: usize = 32;

/// Candidates that a row has room for, of which it keeps so many.
fn room(kept: usize) -> usize {
    kept.saturating_add(LEAST_ROOM.max(kept / 2))
}

/// Bytes that lists of so many rows take, of so many candidates each; nothing if 64 bits cannot count them.
pub fn list_bytes<C>(rows: usize, kept: usize) -> Option<u64> {
    let row = room(kept).checked_add(1)?.checked_mul(size_of::<C>())?.checked_add(size_of::<u32>())?;
    u64::try_from(row.checked_mul(rows)?).ok()
}

#[derive(Debug)]
struct Group<C> {
    /// Candidates of a row that are kept.
    kept: usize,
    /// Those of each row, in any order.
    candidates: Vec<C>,
    /// How many each row has.
    counts: Vec<u32>,
    /// What candidates of each row must come before.
    bounds: Vec<C>,
}

impl<C: Candidate> Group<C> {
    fn new(rows: usize, kept: usize) -> Self {
        let candidates = vec![C::NONE; rows * room(kept)];
        Self { kept, candidates, counts: vec![0; rows], bounds: vec![C::NONE; rows] }
    }

    fn row(&mut self, row: usize) -> &mut [C] {
        &mut self.candidates[row * room(self.kept)..][..self.counts[row] as usize]
    }

    /// Adds a candidate that is not there yet.
    #[inline(always)]
    fn add(&mut self, row: usize, candidate: C) {
        if candidate >= self.bounds[row] || self.kept == 0 {
            return;
        }
        let (room, count) = (room(self.kept), self.counts[row] as usize);
        self.candidates[row * room + count] = candidate;
        self.counts[row] += 1;
        if count + 1 == room {
            self.select(row);
        }
    }

    /// Leaves the best of a row.
    #[allow(clippy::cast_possible_truncation, reason = "a row has fewer than 2^32 candidates")]
    fn select(&mut self, row: usize) {
        let kept = self.kept;
        let candidates = self.row(row);
        if kept == 0 || candidates.len() < kept {
            return;
        }
        // so few are sorted without a branch
        let worst = if candidates.len() <= FEW {
            candidates.sort_unstable();
            candidates[kept - 1]
        } else {
            *candidates.select_nth_unstable(kept - 1).1
        };
        self.bounds[row] = self.bounds[row].min(worst);
        self.counts[row] = kept as u32;
    }

    /// Leaves some candidates of a row, each once.
    #[allow(clippy::cast_possible_truncation, reason = "a row has fewer than 2^32 candidates")]
    fn replace(&mut self, row: usize, candidates: &[C]) {
        let count = candidates.len();
        self.candidates[row * room(self.kept)..][..count].copy_from_slice(candidates);
        self.counts[row] = count as u32;
        self.select(row);
    }
}

/// Lists of contiguous rows.
#[derive(Debug)]
pub struct Lists<C> {
    /// The rows of the matrix.
    pub rows: Range<usize>,
    kept: usize,
    groups: Vec<Mutex<Group<C>>>,
}

impl<C: Candidate> Lists<C> {
    /// Empty lists of these rows, of so many candidates each.
    pub fn new(rows: Range<usize>, kept: usize) -> Self {
        let sizes = (0..rows.len()).step_by(GROUP).map(|first| GROUP.min(rows.len() - first));
        let groups = sizes.map(|size| Mutex::new(Group::new(size, kept))).collect();
        Self { rows, kept, groups }
    }

    fn lock(&self, group: usize) -> MutexGuard<'_, Group<C>> {
        self.groups[group].lock().expect("a thread that panics ends the run")
    }

    /// The rows of a group.
    fn rows_of(&self, group: usize) -> Range<usize> {
        let first = self.rows.start + group * GROUP;
        first..self.rows.end.min(first + GROUP)
    }

    /// The group of a row.
    pub fn group_of(&self, row: usize) -> usize {
        (row - self.rows.start) / GROUP
    }

    /// Groups that hold these rows.
    pub fn groups_of(&self, rows: &Range<usize>) -> Range<usize> {
        let place = |row: usize| row - self.rows.start;
        if rows.is_empty() { 0..0 } else { place(rows.start) / GROUP..place(rows.end - 1) / GROUP + 1 }
    }

    /// Does something with each of these rows: its group, and its place there.
    fn each(&self, rows: Range<usize>, mut visit: impl FnMut(&mut Group<C>, usize)) {
        for group in self.groups_of(&rows) {
            let (of_group, mut locked) = (self.rows_of(group), self.lock(group));
            for row in rows.start.max(of_group.start)..rows.end.min(of_group.end) {
                visit(&mut locked, row - of_group.start);
            }
        }
    }

    /// Adds candidates, each with its row; those of one row after the other lock it once. None of them is there yet.
    pub fn add(&self, candidates: impl Iterator<Item = (usize, C)>) {
        let mut locked: Option<(usize, MutexGuard<'_, Group<C>>)> = None;
        for (row, candidate) in candidates {
            let place = row - self.rows.start;
            let group = place / GROUP;
            let guard = match &mut locked {
                Some((held, guard)) if *held == group => guard,
                _ => {
                    // let go of one group before the next is taken
                    locked = None;
                    &mut locked.insert((group, self.lock(group))).1
                }
            };
            guard.add(place % GROUP, candidate);
        }
    }

    /// What distances of these rows must not exceed to be of use, for samples whose indices are `first` or more.
    pub fn limits<T: Element>(&self, rows: Range<usize>, first: usize, limits: &mut Vec<T>) {
        limits.clear();
        if self.kept == 0 {
            limits.resize(rows.len(), T::from_f64(f64::NEG_INFINITY));
            return;
        }
        self.each(rows, |group, row| {
            let bound = group.bounds[row];
            limits.push(if bound == C::NONE {
                T::from_f64(f64::INFINITY)
            } else if first < bound.index() {
                bound.distance()
            } else {
                below(bound.distance())
            });
        });
    }

    /// What candidates of each of these rows must come before.
    pub fn bounds(&self, rows: &Range<usize>) -> Vec<C> {
        let mut bounds = Vec::with_capacity(rows.len());
        self.each(rows.clone(), |group, row| {
            group.select(row);
            bounds.push(group.bounds[row]);
        });
        bounds
    }

    /// Takes in bounds that are known elsewhere.
    pub fn tighten(&self, bounds: &[C]) {
        let mut bounds = bounds.iter();
        self.each(self.rows.clone(), |group, row| {
            if let Some(bound) = bounds.next() {
                group.bounds[row] = group.bounds[row].min(*bound);
            }
        });
    }

    /// Has a row know its limit, if it has as many candidates as it keeps.
    pub fn settle(&self, row: usize) {
        self.each(row..row + 1, Group::select);
    }

    /// Candidates of a row at most.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// Groups of rows.
    pub fn group_count(&self) -> usize {
        self.groups.len()
    }

    /// Takes the best of a group away: each row that has any, with them.
    pub fn take(&self, group: usize, mut taken: impl FnMut(usize, &[C])) {
        let (rows, mut group) = (self.rows_of(group), self.lock(group));
        for (place, row) in rows.enumerate() {
            group.select(place);
            if group.counts[place] > 0 {
                taken(row, group.row(place));
                group.counts[place] = 0;
            }
        }
    }

    /// Looks at the best of these rows, in any order.
    pub fn look(&self, rows: Range<usize>, mut seen: impl FnMut(&[C])) {
        self.each(rows, |group, row| {
            group.select(row);
            seen(group.row(row));
        });
    }

    /// Adds candidates of a row that may be there already.
    pub fn merge(&self, row: usize, candidates: &[C]) {
        self.each(row..row + 1, |group, row| {
            let mut all = [group.row(row), candidates].concat();
            all.sort_unstable();
            all.dedup();
            all.truncate(group.kept);
            group.replace(row, &all);
        });
    }

    /// Leaves out the candidates of a row for which `is_kept` is false.
    pub fn retain(&self, is_kept: impl Fn(usize, usize) -> bool) {
        for group in 0..self.groups.len() {
            let (rows, mut group) = (self.rows_of(group), self.lock(group));
            for (place, row) in rows.enumerate() {
                let mut kept = group.row(place).to_vec();
                kept.retain(|candidate| is_kept(row, candidate.index()));
                group.bounds[place] = C::NONE;
                group.replace(place, &kept);
            }
        }
    }
}

/// The largest value below a distance.
fn below<T: Element>(distance: T) -> T {
    // there is none below 0: −0 is the same number
    if distance > T::default() {
        T::from_ordered(distance.to_ordered() - 1)
    } else {
        T::from_f64(f64::NEG_INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_xoshiro::Xoshiro256PlusPlus;

    /// Distances of rows to samples, with many ties.
    fn distances(rows: usize, samples: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        (0..rows).map(|_| (0..samples).map(|_| f32::from(rng.random_range(0..20_u8))).collect()).collect()
    }

    fn best(row: &[f32], kept: usize) -> Vec<(f32, usize)> {
        let mut all: Vec<_> = row.iter().copied().zip(0..).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        all.truncate(kept);
        all
    }

    fn found<C: Candidate>(lists: &Lists<C>, row: usize) -> Vec<(f32, usize)> {
        let mut found = Vec::new();
        lists.look(row..row + 1, |candidates| {
            let mut candidates = candidates.to_vec();
            candidates.sort_unstable();
            found = candidates.iter().map(|candidate| (candidate.distance(), candidate.index())).collect();
        });
        found
    }

    fn the_best_of_all_are_kept<C: Candidate>() {
        const ROWS: Range<usize> = 100..270;
        const SAMPLES: usize = 300;
        let distances = distances(ROWS.len(), SAMPLES, 3);
        for kept in [0, 1, 2, 15, 150, 299, 300] {
            let lists = Lists::<C>::new(ROWS, kept);
            // in pieces, of which limits let pass what is of use
            for first in [200, 0, 100, 250, 50, 150] {
                let piece = first..first + 50;
                for (row, values) in ROWS.zip(&distances) {
                    let mut limits = Vec::new();
                    lists.limits::<f32>(row..row + 1, piece.start, &mut limits);
                    let of_use = piece.clone().filter(|&index| values[index] <= limits[0]);
                    lists.add(of_use.map(|index| (row, C::new(values[index], index))));
                }
            }
            for (row, values) in ROWS.zip(&distances) {
                assert_eq!(found(&lists, row), best(values, kept), "row {row}, {kept} kept");
            }
        }
    }

    #[test]
    fn the_best_are_kept_ties_by_index() {
        the_best_of_all_are_kept::<u64>();
        the_best_of_all_are_kept::<u128>();
    }

    #[test]
    fn what_is_taken_from_foreign_rows_makes_the_lists_of_their_owner() {
        let distances = distances(90, 400, 5);
        let own = Lists::<u64>::new(0..90, 7);
        let add = |lists: &Lists<u64>, samples: Range<usize>| {
            for (row, values) in distances.iter().enumerate() {
                lists.add(samples.clone().map(|index| (row, u64::new(values[index], index))));
            }
        };
        add(&own, 0..100);
        let foreign = Lists::<u64>::new(0..90, 7);
        foreign.tighten(&own.bounds(&own.rows));
        for samples in [100..250, 250..400] {
            add(&foreign, samples);
            for group in 0..foreign.group_count() {
                foreign.take(group, |row, taken| own.add(taken.iter().map(|candidate| (row, *candidate))));
            }
        }
        for (row, values) in distances.iter().enumerate() {
            assert_eq!(found(&own, row), best(values, 7));
        }
    }

    #[test]
    fn merging_is_commutative_and_idempotent_and_forgets_what_is_not_done() {
        let distances = distances(3, 200, 9);
        let lists = Lists::<u64>::new(0..3, 5);
        for _ in 0..2 {
            for samples in [150..200, 0..80, 60..160] {
                for (row, values) in distances.iter().enumerate() {
                    let candidates: Vec<u64> =
                        samples.clone().map(|index| u64::new(values[index], index)).collect();
                    lists.merge(row, &candidates);
                }
            }
        }
        for (row, values) in distances.iter().enumerate() {
            assert_eq!(found(&lists, row), best(values, 5));
        }
        // what is left out comes again, and with it the rest
        lists.retain(|_, index| index >= 100);
        for (row, values) in distances.iter().enumerate() {
            assert!(found(&lists, row).iter().all(|&(_, index)| index >= 100));
            lists.add((0..100).map(|index| (row, u64::new(values[index], index))));
            assert_eq!(found(&lists, row), best(values, 5));
        }
    }
}
