//! The samples of a rank: read, surveyed and packed.

use std::ops::Range;

use super::filed::Filed;
use super::inputs::Inputs;
use super::job::Job;
use super::moments;
use super::parameters::Given;
use super::parts::Parts;
use super::reading::{self, Known};
use super::reread::Reread;
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::metric::Measure;
use crate::number::Number;
use crate::pipeline::{Held, Target, Workers, load, scale, whiten};
use crate::problem::InputId;
use crate::report::{Clock, Phase};
use crate::schedule::Bands;
use crate::source::Input;

/// The samples of a rank.
pub(super) enum Blocks {
    /// All in memory: the stationary block, and the one that this rank brings to the ring.
    Whole(Block, Block),
    /// Read again, band by band.
    InBands(Box<Reread>),
    /// Read again, part by part of their features.
    InParts(Box<Parts>),
}

/// The samples of a rank as they are packed.
struct Packed {
    rows: Block,
    row_samples: Range<usize>,
    cols: Block,
    col_samples: Range<usize>,
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
    fn held<T: Number>(&mut self, inputs: &Inputs) -> Held<'_, T> {
        let total = inputs.all().map(Input::rows).sum();
        let y = inputs.y.as_ref().map(|_| (&mut self.cols, self.col_samples.clone()));
        Held::packed((&mut self.rows, self.row_samples.clone()), y, total)
    }

    /// The blocks of rows and of columns, with their samples.
    fn both(&mut self) -> [(&mut Block, Range<usize>); 2] {
        let Self { rows, row_samples, cols, col_samples } = self;
        [(rows, row_samples.clone()), (cols, col_samples.clone())]
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
    ) -> Result<(Self, Findings)> {
        if job.schedule.bands == Bands::NONE {
            return Self::load_whole(comm, job, kernel, workers, clock);
        }
        if job.schedule.bands.features.is_some() {
            let (known, mut parts) = Parts::survey::<T>(comm, job, kernel)?;
            let given = judged::<T>(comm, job, workers, (&known, &parts.filed), clock)?;
            clock.lap(Phase::Compute);
            let largest = known.largest();
            let findings = Findings::of::<T>(job, known, given, largest);
            parts.scaling = findings.scaling;
            return Ok((Self::InParts(Box::new(parts)), findings));
        }
        let (known, mut reread) = Reread::survey::<T>(comm, job, kernel, workers)?;
        let given = judged::<T>(comm, job, workers, (&known, &reread.filed), clock)?;
        let mut largest = known.largest();
        if job.problem.metric.form().is_whitened() {
            reread.whitening = Some(comm.agree(given.whitening(workers, job.level))?);
            largest = reread.largest_whitened::<T>(comm, workers)?;
        }
        clock.lap(Phase::Compute);
        let findings = Findings::of::<T>(job, known, given, largest);
        reread.scaling = findings.scaling;
        Ok((Self::InBands(Box::new(reread)), findings))
    }

    fn load_whole<T: Number>(
        comm: &Comm,
        job: &Job<'_>,
        kernel: &Kernel<T>,
        workers: &Workers,
        clock: &mut Clock,
    ) -> Result<(Self, Findings)> {
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
        let given = moments::complete::<T>(comm, job, workers, || packed.held(inputs))?;
        let mut largest = known.largest();
        if problem.metric.form().is_whitened() {
            let whitening = comm.agree(given.whitening(workers, job.level))?;
            let [rows, cols] = packed.both();
            let mine = whiten(workers, &whitening, rows, cols, edge, inputs.y.is_none());
            largest = comm.all_reduce(&[mine], Reduce::Max)[0];
        }
        clock.lap(Phase::Compute);
        let findings = Findings::of::<T>(job, known, given, largest);
        if findings.scaling != 0 {
            for (block, samples) in packed.both() {
                scale::<T>(workers, block, samples, findings.scaling);
            }
        }
        Ok((Self::Whole(packed.rows, packed.cols), findings))
    }
}

/// What the metric is given, with what is made of samples in files for it, if these have distances. Collective.
fn judged<T: Number>(
    comm: &Comm,
    job: &Job<'_>,
    workers: &Workers,
    (known, filed): (&Known, &Filed),
    clock: &mut Clock,
) -> Result<Given> {
    comm.on_root(|| reading::judge(&job.inputs, known, job.args, T::DTYPE))?;
    clock.lap(Phase::Read);
    moments::complete::<T>(comm, job, workers, || filed.held(&job.inputs))
}

impl Findings {
    /// Of samples whose largest magnitude is `largest`, as distances are computed of them.
    fn of<T: Number>(job: &Job<'_>, known: Known, given: Given, largest: f64) -> Self {
        let Job { inputs, problem, .. } = job;
        let measure = problem.measure(given.weights(problem.d).as_deref());
        let scaling = measure.scaling_exponent::<T>(problem.d, largest);
        if scaling != 0 {
            log::info!(
                "the samples are scaled by 2^{scaling} so that their powers neither overflow nor vanish: their largest magnitude is {largest:e}"
            );
        }
        let ids = inputs.ids(&known.digests(), known.subtracted);
        Self { ids, known, given, measure, scaling }
    }
}
