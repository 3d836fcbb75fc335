//! The samples of a rank: read, surveyed and packed.

use std::ops::Range;

use super::inputs::Inputs;
use super::job::Job;
use super::moments;
use super::parameters::Given;
use super::reading::{self, Known};
use crate::block::Block;
use crate::comm::Comm;
use crate::error::Result;
use crate::kernel::Kernel;
use crate::metric::Measure;
use crate::number::Number;
use crate::pipeline::{Held, Target, Workers, load, scale};
use crate::problem::InputId;
use crate::report::{Clock, Phase};
use crate::source::Input;

/// The stationary block and the one that this rank brings to the ring.
pub(super) struct Blocks {
    pub(super) rows: Block,
    pub(super) cols: Block,
    pub(super) findings: Findings,
}

/// The samples of a rank as they are packed.
pub(super) struct Packed {
    pub(super) rows: Block,
    pub(super) row_samples: Range<usize>,
    pub(super) cols: Block,
    pub(super) col_samples: Range<usize>,
}

impl Packed {
    /// Room for the samples of a rank.
    fn empty<T: Number>(job: &Job<'_>, rank: usize, kernel: &Kernel<T>) -> Self {
        let schedule = &job.schedule;
        let (row_tiles, col_tiles) = (schedule.tile_rows(rank), schedule.tile_cols(rank));
        let (height, width) = schedule.grid.tile_shape();
        Self {
            row_samples: schedule.rows_of(row_tiles.clone()),
            col_samples: schedule.cols_of(col_tiles.clone()),
            rows: Block::new(row_tiles, height, kernel.row_panels()),
            cols: Block::new(col_tiles, width, kernel.col_panels()),
        }
    }

    /// All of them, each once.
    pub(super) fn held<T: Number>(&mut self, inputs: &Inputs) -> Held<'_, T> {
        let total = inputs.all().map(Input::rows).sum();
        let y = inputs.y.as_ref().map(|_| (&mut self.cols, self.col_samples.clone()));
        Held::new((&mut self.rows, self.row_samples.clone()), y, total)
    }
}

/// What reading has told.
pub(super) struct Findings {
    pub(super) ids: Vec<InputId>,
    /// Of all ranks' samples.
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
        clock: &mut Clock,
    ) -> Result<Self> {
        let Job { inputs, schedule, problem, .. } = job;
        let edge = schedule.grid.edge;
        let mut packed = Packed::empty(job, comm.rank(), kernel);
        let measure = Some(kernel.measure());
        let load_some = |input: &Input, range: Range<usize>, target: Target<'_>| {
            comm.agree(load::<T>(workers, input, range, edge, target))
        };
        let known = reading::read(comm, inputs, problem.metric, T::DTYPE, |subtracted| {
            let x = inputs.x.less(subtracted);
            let Packed { rows, row_samples, cols, col_samples } = &mut packed;
            let Some(y) = &inputs.y else {
                let target = Target { rows: Some(rows), cols: Some(cols), measure };
                return load_some(&x, row_samples.clone(), target);
            };
            let target = Target { rows: Some(rows), cols: None, measure };
            let mut surveys = load_some(&x, row_samples.clone(), target)?;
            let target = Target { rows: None, cols: Some(cols), measure };
            surveys.extend(load_some(&y.less(subtracted), col_samples.clone(), target)?);
            Ok(surveys)
        })?;
        comm.on_root(|| reading::judge(inputs, &known, job.args, T::DTYPE))?;
        clock.lap(Phase::Read);
        let (given, whitened) = moments::complete::<T>(comm, job, workers, &mut packed)?;
        clock.lap(Phase::Compute);
        let largest = whitened.unwrap_or_else(|| known.largest());
        let Packed { mut rows, row_samples, mut cols, col_samples } = packed;
        let measure = problem.measure(given.weights(problem.d).as_deref());
        let scaling = measure.scaling_exponent::<T>(problem.d, largest);
        if scaling != 0 {
            log::info!(
                "the samples are scaled by 2^{scaling} so that their powers neither overflow nor vanish: their largest magnitude is {largest:e}"
            );
            scale::<T>(workers, &mut rows, row_samples, scaling);
            scale::<T>(workers, &mut cols, col_samples, scaling);
        }
        let ids = inputs.ids(&known.digests(), known.subtracted);
        Ok(Self { rows, cols, findings: Findings { ids, known, given, measure, scaling } })
    }
}
