//! Whether the ranks of a node fit its memory, and a layout that does.

use std::cmp::Reverse;
use std::iter::once;
use std::ops::RangeInclusive;

use super::bands::{Banded, Size};
use super::inputs::Shape;
use super::setup;
use crate::cli::ProblemArgs;
use crate::comm::{Comm, MAX_RANKS};
use crate::error::Result;
use crate::kernel::{Kernel, Level, WORD_BYTES};
use crate::number::Number;
use crate::plan::Memory;
use crate::problem::Problem;
use crate::schedule::Schedule;
use crate::sink::Results;
use crate::text::counted;

/// Nodes among which the fewest that fit are looked for.
pub(super) const MOST_NODES: usize = 10_000;

/// The smallest tiles that are advised in place of larger ones. The time of a smaller tile is mostly its handing over.
pub(super) const SMALLEST_TILE: usize = 64;

/// How a run is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) nodes: usize,
    pub(super) ranks_per_node: usize,
    /// Of a rank.
    pub(super) threads: usize,
    /// The edge of the tiles, if it is not left to be chosen.
    pub(super) tile: Option<usize>,
}

impl Layout {
    pub(super) fn ranks(&self) -> usize {
        self.nodes.saturating_mul(self.ranks_per_node)
    }

    pub(super) fn size(&self) -> Size {
        Size { ranks: self.ranks(), threads: self.threads }
    }

    /// What to change in another layout to get this one. If that has `unequal` numbers of ranks on its nodes, the ranks are named
    /// in any case.
    pub(super) fn change_from(&self, other: Self, unequal: bool) -> String {
        let (nodes, ranks) = (counted(self.nodes, "node"), counted(self.ranks_per_node, "rank"));
        let size = if self.nodes != other.nodes {
            Some(format!("{nodes} with {ranks} on each"))
        } else if unequal || self.ranks_per_node != other.ranks_per_node {
            Some(format!("{ranks} on each node"))
        } else {
            None
        };
        let options = self.options(other).reduce(|all, option| format!("{all} {option}"));
        format!("use {}", size.into_iter().chain(options).collect::<Vec<_>>().join(" and "))
    }

    /// The options of `plan` that lay a run out like this, if others stay as they are. Threads are named in any case: as many as are
    /// taken without the option depend on the ranks.
    pub(super) fn plan_options(&self, other: Self) -> String {
        let size = format!("--nodes {} --ranks {} --threads {}", self.nodes, self.ranks(), self.threads);
        once(size).chain(self.changed_tile(other)).collect::<Vec<_>>().join(" ")
    }

    /// Options that differ from those of another layout.
    fn options(&self, other: Self) -> impl Iterator<Item = String> {
        let threads = (self.threads != other.threads).then(|| format!("--threads {}", self.threads));
        threads.into_iter().chain(self.changed_tile(other))
    }

    fn changed_tile(&self, other: Self) -> Option<String> {
        self.tile.filter(|_| self.tile != other.tile).map(|tile| format!("--tile {tile}"))
    }
}

/// What is to be computed, on layouts yet to be found.
pub(super) struct Fit<'a> {
    pub(super) args: &'a ProblemArgs,
    pub(super) shape: &'a Shape,
    pub(super) symmetric: bool,
    pub(super) level: Level,
    /// What is made of the distances.
    pub(super) results: &'a Results,
    /// Memory of a node, in bytes.
    pub(super) node_bytes: f64,
}

impl Fit<'_> {
    /// Memory of a rank.
    pub(super) fn memory<T: Number>(
        &self,
        problem: &Problem,
        schedule: &Schedule,
        threads: usize,
    ) -> Result<Memory> {
        let kernel = kernel::<T>(problem, schedule, self.level);
        let base = Comm::resident_bytes();
        Memory::of(schedule, &kernel, &self.shape.layouts, threads, self.results, base)
    }

    /// Memory that a rank takes with all its samples there, if such a run is possible.
    fn of_a_rank<T: Number>(&self, layout: Layout) -> Option<u64> {
        // tiles depend on the number of ranks
        let args = ProblemArgs { tile: layout.tile, ..self.args.clone() };
        let ranks = layout.ranks();
        let problem = setup::problem(&args, self.shape, ranks, ranks.saturating_mul(layout.threads)).ok()?;
        let schedule = setup::schedule(&problem, ranks, self.symmetric);
        Some(self.memory::<T>(&problem, &schedule, layout.threads).ok()?.total())
    }

    /// Whether the memory of a node holds its ranks.
    fn fits<T: Number>(&self, layout: Layout) -> bool {
        let holds = |bytes| bytes as f64 * layout.ranks_per_node as f64 <= self.node_bytes;
        layout.ranks() <= MAX_RANKS && self.of_a_rank::<T>(layout).is_some_and(holds)
    }

    /// Whether it holds them if they keep only as many samples there as they must.
    fn fits_in_bands<T: Number>(&self, layout: Layout, tile: usize) -> bool {
        let holds =
            |banded: Banded| banded.memory.total() as f64 * layout.ranks_per_node as f64 <= self.node_bytes;
        let (size, tile) = (layout.size(), layout.tile.unwrap_or(tile));
        layout.ranks() <= MAX_RANKS
            && (self.banded::<T>(size, tile, None).is_some_and(holds)
                || self.least_parts::<T>(size, tile).is_some_and(holds))
    }

    /// Bytes of a packed sample, at least.
    fn sample_bytes<T: Number>(&self) -> f64 {
        let panel = setup::problem(self.args, self.shape, 1, 1).ok().and_then(|problem| {
            let panels =
                kernel::<T>(&problem, &setup::schedule(&problem, 1, self.symmetric), self.level).row_panels();
            Some((panels.words()? * WORD_BYTES) as f64 / panels.width as f64)
        });
        panel.unwrap_or(self.shape.d as f64 * T::DTYPE.size() as f64)
    }

    /// The numbers of nodes that may do for so many ranks on each: from where the samples themselves fit beside the program.
    fn nodes_to_try<T: Number>(&self, ranks_per_node: usize) -> RangeInclusive<usize> {
        let n = self.shape.n;
        let left = self.node_bytes - ranks_per_node as f64 * Comm::resident_bytes() as f64;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates where no number of nodes is enough"
        )]
        let first = (n as f64 * self.sample_bytes::<T>() / left.max(0.0)) as usize;
        first.max(1)..=MOST_NODES.min(MAX_RANKS / ranks_per_node)
    }

    /// The fewest nodes whose memory holds ranks as in the layout, whatever number of nodes that has. More of them need not fit:
    /// the edge of the tiles depends on the number of ranks, and memory goes up and down with it.
    pub(super) fn fewest_nodes<T: Number>(&self, layout: Layout) -> Option<usize> {
        self.nodes_to_try::<T>(layout.ranks_per_node)
            .find(|&nodes| self.fits::<T>(Layout { nodes, ..layout }))
    }

    /// A layout that fits, instead of one with tiles of `tile`, which may be fixed, that does not. On the same nodes if possible, with smaller tiles,
    /// fewer ranks on each node or fewer threads; else on the fewest nodes, and fewer threads only if no number of nodes is
    /// enough without. Of several such layouts it is one that keeps most threads of a node at work, with the largest tiles.
    pub(super) fn way_out<T: Number>(&self, layout: Layout, tile: usize, is_fixed: bool) -> Option<Layout> {
        let smallest = if tile > SMALLEST_TILE { SMALLEST_TILE } else { 1 };
        let smaller = halves(tile.next_power_of_two() / 2).take_while(|&edge| edge >= smallest && !is_fixed);
        let edges: Vec<_> = once(tile).chain(smaller).map(Some).collect();
        let mut layouts = Vec::new();
        for threads in halves(layout.threads) {
            for ranks_per_node in halves(layout.ranks_per_node) {
                let tiles = once(layout.tile).chain(edges.iter().copied());
                layouts.extend(tiles.map(|tile| Layout { ranks_per_node, threads, tile, ..layout }));
            }
        }
        layouts.sort_by_key(|layout| Reverse(layout.ranks_per_node.saturating_mul(layout.threads)));
        let on = |nodes| {
            let mut layouts = layouts.iter().map(|&other| Layout { nodes, ..other });
            layouts.find(|&other| self.fits_in_bands::<T>(other, tile) || self.fits::<T>(other))
        };
        on(layout.nodes).or_else(|| {
            let as_they_are = self.fewest_nodes::<T>(layout);
            // whether so many nodes are enough is seen from tiles of a given edge: to choose one for each number takes long
            let fewest = |threads| {
                let mut to_try = *self.nodes_to_try::<T>(1).start()..=as_they_are.unwrap_or(MOST_NODES);
                let are_enough = |nodes: &usize| {
                    let ranks = halves(layout.ranks_per_node);
                    let mut layouts = ranks.flat_map(|ranks_per_node| {
                        let layout = Layout { nodes: *nodes, ranks_per_node, threads, ..layout };
                        edges.iter().map(move |&tile| Layout { tile, ..layout })
                    });
                    layouts.any(|other| self.fits::<T>(other))
                };
                to_try.find(are_enough)
            };
            let nodes = fewest(layout.threads).or(as_they_are).or_else(|| fewest(1));
            nodes.and_then(on)
        })
    }
}

/// A number, its half, the half of that, down to 1.
pub(super) fn halves(of: usize) -> impl Iterator<Item = usize> {
    std::iter::successors(Some(of), |half| Some(half / 2)).take_while(|&half| half > 0)
}

/// The kernel of a problem, with panels for its tiles.
pub(super) fn kernel<T: Number>(problem: &Problem, schedule: &Schedule, level: Level) -> Kernel<T> {
    let (height, width) = schedule.grid.tile_shape();
    Kernel::new(problem.measure_of_any_weights(), problem.method, problem.d, level).for_tiles(height, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_a_layout_name_all_that_changes() {
        let old = Layout { nodes: 2, ranks_per_node: 3, threads: 8, tile: None };
        for (new, unequal, words) in [
            (Layout { tile: Some(64), ..old }, false, "use --tile 64"),
            (Layout { threads: 4, tile: Some(64), ..old }, false, "use --threads 4 --tile 64"),
            (Layout { nodes: 5, ..old }, false, "use 5 nodes with 3 ranks on each"),
            (
                Layout { ranks_per_node: 1, threads: 4, ..old },
                false,
                "use 1 rank on each node and --threads 4",
            ),
            // 3 + 1 ranks on two nodes
            (old, true, "use 3 ranks on each node"),
            (Layout { tile: Some(64), ..old }, true, "use 3 ranks on each node and --tile 64"),
        ] {
            assert_eq!(new.change_from(old, unequal), words);
        }
    }
}
