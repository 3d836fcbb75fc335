//! Whether the ranks of a node fit its memory, and a layout that does.

use super::setup::{self, Shape};
use crate::cli::ProblemArgs;
use crate::comm::{Comm, MAX_RANKS};
use crate::kernel::{Kernel, Level, SimdElement};
use crate::plan::Memory;
use crate::problem::Problem;
use crate::report::counted;
use crate::schedule::Schedule;

/// Nodes among which the fewest that fit are looked for.
pub(super) const MOST_NODES: usize = 10_000;

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

    /// What to change in another layout to get this one.
    pub(super) fn change_from(&self, other: Self) -> String {
        let nodes = (self.nodes != other.nodes).then(|| format!("at least {}", counted(self.nodes, "node")));
        let ranks = (self.ranks_per_node != other.ranks_per_node)
            .then(|| format!("{} on each node", counted(self.ranks_per_node, "rank")));
        let changes: Vec<_> = [nodes, ranks].into_iter().flatten().chain(self.options(other)).collect();
        format!("use {}", changes.join(", "))
    }

    /// The options of `plan` that lay a run out like this, if others stay as they are.
    pub(super) fn plan_options(&self, other: Self) -> String {
        let size = format!("--nodes {} --ranks {}", self.nodes, self.ranks());
        std::iter::once(size).chain(self.options(other)).collect::<Vec<_>>().join(" ")
    }

    /// Options that differ from those of another layout.
    fn options(&self, other: Self) -> impl Iterator<Item = String> {
        let threads = (self.threads != other.threads).then(|| format!("--threads {}", self.threads));
        let tile = self.tile.filter(|_| self.tile != other.tile).map(|tile| format!("--tile {tile}"));
        [threads, tile].into_iter().flatten()
    }
}

/// What is to be computed, on layouts yet to be found.
pub(super) struct Fit<'a> {
    pub(super) args: &'a ProblemArgs,
    pub(super) shape: Shape,
    pub(super) symmetric: bool,
    pub(super) level: Level,
    /// Whether distances are written.
    pub(super) written: bool,
    /// Memory of a node, in bytes.
    pub(super) node_bytes: f64,
}

impl Fit<'_> {
    /// Memory that a rank takes, if such a run is possible.
    fn of_a_rank<T: SimdElement>(&self, layout: Layout) -> Option<u64> {
        // tiles depend on the number of ranks
        let args = ProblemArgs { tile: layout.tile, ..self.args.clone() };
        let ranks = layout.ranks();
        let problem = setup::problem(&args, self.shape, ranks, ranks.saturating_mul(layout.threads)).ok()?;
        let schedule = setup::schedule(&problem, ranks, self.symmetric);
        let kernel = kernel::<T>(&problem, &schedule, self.level);
        let base = Comm::resident_bytes();
        let memory = Memory::of(&schedule, &kernel, self.shape.source, layout.threads, self.written, base);
        Some(memory.ok()?.total())
    }

    /// The fewest nodes whose memory holds ranks as in the layout, whatever number of nodes that has.
    pub(super) fn fewest_nodes<T: SimdElement>(&self, layout: Layout) -> Option<usize> {
        let Shape { n, d, .. } = self.shape;
        let per_node = layout.ranks_per_node;
        // where the samples themselves begin to fit beside the program
        let left = self.node_bytes - per_node as f64 * Comm::resident_bytes() as f64;
        if left <= 0.0 {
            return None;
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates where there is no way"
        )]
        let first = (n as f64 * d as f64 * T::DTYPE.size() as f64 / left) as usize;
        // memory goes up and down with the edge of the tiles that a number of ranks gets: no bisection
        (first.max(1)..=MOST_NODES.min(MAX_RANKS / per_node)).find(|&nodes| {
            let bytes = self.of_a_rank::<T>(Layout { nodes, ..layout });
            bytes.is_some_and(|bytes| bytes as f64 * per_node as f64 <= self.node_bytes)
        })
    }

    /// The first layout that fits, of those that change little first: more nodes, then also smaller tiles than those of `tile`, fewer
    /// ranks on each node, fewer threads.
    pub(super) fn way_out<T: SimdElement>(&self, layout: Layout, tile: usize) -> Option<Layout> {
        let halves = |of: usize| {
            std::iter::successors(Some(of / 2), |half| Some(half / 2)).take_while(|&half| half > 0)
        };
        let tiles = halves(tile).map(|tile| Layout { tile: Some(tile), ..layout });
        let ranks = halves(layout.ranks_per_node).map(|ranks_per_node| Layout { ranks_per_node, ..layout });
        let threads = halves(layout.threads).map(|threads| Layout { threads, ..layout });
        std::iter::once(layout)
            .chain(tiles)
            .chain(ranks)
            .chain(threads)
            .find_map(|layout| Some(Layout { nodes: self.fewest_nodes::<T>(layout)?, ..layout }))
    }
}

/// The kernel of a problem, with panels for its tiles.
pub(super) fn kernel<T: SimdElement>(problem: &Problem, schedule: &Schedule, level: Level) -> Kernel<T> {
    let (height, width) = schedule.grid.tile_shape();
    Kernel::new(problem.metric, problem.kernel, problem.d, level).for_tiles(height, width)
}
