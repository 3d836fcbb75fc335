//! The samples of a rank: read, surveyed and packed.

use std::ops::Range;

use super::job::Job;
use super::parameters::Given;
use super::reading::{self, Known};
use crate::block::Block;
use crate::comm::Comm;
use crate::error::Result;
use crate::fail;
use crate::kernel::Kernel;
use crate::metric::Measure;
use crate::number::Number;
use crate::partition::Grid;
use crate::pipeline::{Held, Target, Workers, load, scale, variances};
use crate::problem::InputId;
use crate::source::Samples;

/// The stationary block and the one that this rank brings to the ring.
pub(super) struct Blocks {
    pub(super) rows: Block,
    pub(super) cols: Block,
    pub(super) findings: Findings,
}

/// What reading has told.
pub(super) struct Findings {
    pub(super) ids: Vec<InputId>,
    /// Of all ranks' samples of X, and of Y if there is one.
    pub(super) known: Known,
    /// What the metric is given, and the metric with it.
    pub(super) given: Given,
    pub(super) measure: Measure,
    /// Exponent of the power of two that the samples were scaled by.
    pub(super) scaling: i32,
}

impl Blocks {
    /// Reads this rank's rows of X, and of Y if there is one. Collective.
    ///
    /// # Errors
    /// If they cannot be read, or have no distances.
    pub(super) fn load<T: Number>(
        comm: &Comm,
        job: &Job<'_>,
        kernel: &Kernel<T>,
        workers: &Workers,
    ) -> Result<Self> {
        let Job { inputs, schedule, problem, .. } = job;
        let Grid { n, m, edge, .. } = schedule.grid;
        let (row_tiles, col_tiles) = (schedule.tile_rows(comm.rank()), schedule.tile_cols(comm.rank()));
        let (height, width) = schedule.grid.tile_shape();
        let mut rows = Block::new(row_tiles.clone(), height, kernel.row_panels());
        let mut cols = Block::new(col_tiles.clone(), width, kernel.col_panels());
        let samples_of = |tiles: Range<usize>, total: usize| {
            (tiles.start * edge).min(total)..(tiles.end * edge).min(total)
        };
        let (row_samples, col_samples) = (samples_of(row_tiles, n), samples_of(col_tiles, m));
        let measure = Some(kernel.measure());
        let load_some = |samples: &Samples, range: Range<usize>, target: Target<'_>| {
            comm.agree(load::<T>(workers, samples, range, edge, target))
        };
        let known = reading::read(comm, inputs, problem.metric, T::DTYPE, |subtracted| {
            let x = inputs.x.less(subtracted);
            let Some(y) = &inputs.y else {
                let target = Target { rows: Some(&mut rows), cols: Some(&mut cols), measure };
                return Ok(vec![load_some(&x, row_samples.clone(), target)?]);
            };
            let target = Target { rows: Some(&mut rows), cols: None, measure };
            let x = load_some(&x, row_samples.clone(), target)?;
            let target = Target { rows: None, cols: Some(&mut cols), measure };
            Ok(vec![x, load_some(&y.less(subtracted), col_samples.clone(), target)?])
        })?;
        comm.on_root(|| reading::judge(inputs, &known, problem.metric, job.args.allow_nonfinite, T::DTYPE))?;
        let mut given = job.given.clone();
        if given.need_variance() {
            let (x, total) = ((&mut rows, row_samples.clone()), n + inputs.y.as_ref().map_or(0, |y| y.rows));
            comm.on_root(|| {
                if total < 2 {
                    fail!("one sample has no variance; give the features one with --variance, or use --metric euclidean");
                }
                Ok(())
            })?;
            let y = inputs.y.as_ref().map(|_| (&mut cols, col_samples.clone()));
            let found = variances(comm, workers, &Held::<T>::new(x, y, total));
            let names: Vec<_> = inputs.all().map(Samples::describe).collect();
            let with_variance = given.with_variance_of(found, &names.join(" and ")).and_then(|given| {
                given.check_range(problem)?;
                Ok(given)
            });
            given = comm.agree(with_variance)?;
        }
        let measure = problem.measure(given.weights(problem.d).as_deref());
        let scaling = measure.scaling_exponent::<T>(problem.d, known.largest());
        if scaling != 0 {
            log::info!(
                "the samples are scaled by 2^{scaling} so that their powers neither overflow nor vanish: their largest magnitude is {:e}",
                known.largest()
            );
            scale::<T>(workers, &mut rows, row_samples, scaling);
            scale::<T>(workers, &mut cols, col_samples, scaling);
        }
        let ids = inputs.ids(&known.digests(), known.subtracted);
        Ok(Self { rows, cols, findings: Findings { ids, known, given, measure, scaling } })
    }
}
