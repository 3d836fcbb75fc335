//! Whitens packed samples where they lie.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::{SAMPLES, Whitening, WhiteningScratch};
use crate::block::Block;
use crate::kernel::PanelShape;
use crate::partition::lcm;
use crate::pipeline::Workers;

/// The same samples in the panels of a block.
struct Part<'a> {
    shape: PanelShape,
    /// Whether they are negated.
    negated: bool,
    /// One after the other, with the samples of each.
    panels: Vec<(usize, &'a mut [u64])>,
}

impl Part<'_> {
    /// Row-major samples.
    fn unpack(&self, samples: &mut Vec<f64>) {
        let PanelShape { width, features, .. } = self.shape;
        samples.clear();
        for (count, panel) in &self.panels {
            let values: &[f64] = self.shape.values_of(panel);
            for lane in 0..*count {
                let sample = values.iter().skip(lane).step_by(width).take(features);
                samples.extend(sample.map(|value| if self.negated { -value } else { *value }));
            }
        }
    }

    fn pack(&mut self, mut samples: &[f64]) {
        for (count, panel) in &mut self.panels {
            let (these, others) = samples.split_at(*count * self.shape.features);
            self.shape.pack(these, self.negated, panel);
            samples = others;
        }
    }
}

/// Some samples of one tile, in each block that holds them.
type Group<'a> = Vec<Part<'a>>;

/// Adds the samples of a block to groups: by the tile, and their place in it.
fn add<'a>(
    groups: &mut BTreeMap<(usize, usize), Group<'a>>,
    (block, samples): (&'a mut Block, Range<usize>),
    edge: usize,
    together: usize,
    negated: bool,
) {
    if samples.is_empty() {
        return;
    }
    let shape = block.shape();
    for (rows, _, panel) in block.panels_mut(samples) {
        let group = groups.entry((rows.start / edge, rows.start % edge / together)).or_default();
        if group.last().is_none_or(|part| part.negated != negated) {
            group.push(Part { shape, negated, panels: Vec::new() });
        }
        group.last_mut().expect("there is a part").panels.push((rows.len(), panel));
    }
}

/// Whitens all samples of two blocks, in tiles of `edge`: of one input, which both hold, or of two. The second holds negated samples. Returns the largest
/// magnitude of what they become.
pub(crate) fn whiten(
    workers: &Workers,
    whitening: &Whitening,
    rows: (&mut Block, Range<usize>),
    cols: (&mut Block, Range<usize>),
    edge: usize,
    symmetric: bool,
) -> f64 {
    let whole = lcm(rows.0.shape().width, cols.0.shape().width);
    let together = (SAMPLES / whole).max(1) * whole;
    let (mut groups, mut others) = (BTreeMap::new(), BTreeMap::new());
    add(&mut groups, rows, edge, together, false);
    add(if symmetric { &mut groups } else { &mut others }, cols, edge, together, true);
    let groups: Vec<Group<'_>> = groups.into_values().chain(others.into_values()).collect();
    workers.install(|| {
        let whitened = groups.into_par_iter().map_init(
            || (Vec::new(), WhiteningScratch::default()),
            |(samples, scratch), mut group| {
                group[0].unpack(samples);
                whitening.apply(samples, scratch);
                for part in &mut group {
                    part.pack(samples);
                }
                samples
                    .iter()
                    .filter(|value| value.is_finite())
                    .fold(0.0, |largest, value| value.abs().max(largest))
            },
        );
        whitened.reduce(|| 0.0, f64::max)
    })
}
