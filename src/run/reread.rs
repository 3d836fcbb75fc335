//! Samples that are read again band by band, because not all of them fit the memory of a rank.

use std::ops::Range;

use super::inputs::Inputs;
use super::job::Job;
use super::reading::{self, Known};
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, PanelShape};
use crate::metric::Measure;
use crate::number::Number;
use crate::pipeline::{Ahead, Held, Survey, Target, Whitening, Workers, load, scale, survey_of, whiten};
use crate::schedule::{Ring, Schedule};
use crate::source::Input;

/// The samples of this rank, which are read once before anything is made, and again for each band.
pub(super) struct Reread {
    schedule: Schedule,
    rank: usize,
    x: Input,
    y: Option<Input>,
    /// Digests of the bands of rows, and of columns, as they were found at first.
    digests: [Vec<u64>; 2],
    shapes: [PanelShape; 2],
    /// What samples are prepared for.
    measure: Measure,
    /// By what they are whitened, if they are.
    pub(super) whitening: Option<Whitening>,
    /// Exponent of the power of two that they are scaled by.
    pub(super) scaling: i32,
    /// What packs samples while the workers compute.
    packer: Workers,
}

impl Reread {
    /// Surveys the samples of this rank, band by band. Collective.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn survey<T: Number>(
        comm: &Comm,
        job: &Job<'_>,
        kernel: &Kernel<T>,
        workers: &Workers,
    ) -> Result<(Known, Self)> {
        let Job { inputs, schedule, problem, .. } = job;
        let rank = comm.rank();
        let mut digests = [Vec::new(), Vec::new()];
        let known = reading::read(comm, inputs, problem.metric, T::DTYPE, |subtracted| {
            let survey = |input: &Input, bands: Vec<Range<usize>>, digests: &mut Vec<u64>| {
                digests.clear();
                let mut all = vec![Survey::default(); input.files.len()];
                for rows in bands {
                    let found = survey_of::<T>(workers, input, rows, Some(kernel.measure()))?;
                    digests.push(digest_of(&found));
                    all.iter_mut().zip(&found).for_each(|(all, found)| all.merge(found));
                }
                Ok(all)
            };
            let of_cols =
                (0..schedule.col_bands()).map(|band| schedule.cols_of(schedule.band_cols(rank, band)));
            let of_rows =
                (0..schedule.bands.rows).map(|band| schedule.rows_of(schedule.band_rows(rank, band)));
            let x = inputs.x.less(subtracted);
            let surveys = match &inputs.y {
                None => survey(&x, of_cols.collect(), &mut digests[1]),
                Some(y) => survey(&x, of_rows.collect(), &mut digests[0]).and_then(|mut surveys| {
                    surveys.extend(survey(&y.less(subtracted), of_cols.collect(), &mut digests[1])?);
                    Ok(surveys)
                }),
            };
            comm.agree(surveys)
        })?;
        if inputs.y.is_none() {
            // bands of columns are parts of those of rows
            let parts = digests[1].chunks(schedule.bands.cols);
            digests[0] =
                parts.map(|parts| parts.iter().fold(0, |sum: u64, part| sum.wrapping_add(*part))).collect();
        }
        let packer = comm.agree(Workers::start(1))?;
        let reread = Self {
            schedule: *schedule,
            rank,
            x: inputs.x.less(known.subtracted),
            y: inputs.y.as_ref().map(|y| y.less(known.subtracted)),
            digests,
            shapes: [kernel.row_panels(), kernel.col_panels()],
            measure: kernel.measure().clone(),
            whitening: None,
            scaling: 0,
            packer,
        };
        Ok((known, reread))
    }

    /// All samples of this rank, each once.
    pub(super) fn held<T: Number>(&self, inputs: &Inputs) -> Held<'_, T> {
        let total = inputs.all().map(Input::rows).sum();
        let Self { schedule, rank, .. } = self;
        let y = self.y.as_ref().map(|y| (y, schedule.cols_of(schedule.tile_cols(*rank))));
        Held::filed((&self.x, schedule.rows_of(schedule.tile_rows(*rank))), y, total)
    }

    fn columns(&self) -> &Input {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// The samples of a band of rows.
    ///
    /// # Errors
    /// If they cannot be read, or have changed.
    pub(super) fn rows<T: Number>(&self, workers: &Workers, band: usize) -> Result<Block> {
        let tiles = self.schedule.band_rows(self.rank, band);
        let samples = self.schedule.rows_of(tiles.clone());
        let (edge, (height, _)) = (self.schedule.grid.edge, self.schedule.grid.tile_shape());
        let mut block = Block::new(tiles, height, self.shapes[0]);
        let target = Target { rows: Some(&mut block), cols: None, measure: Some(&self.measure) };
        let found = load::<T>(workers, &self.x, samples.clone(), edge, target)?;
        check(&self.x, samples.clone(), digest_of(&found), self.digests[0][band])?;
        let mut none = block.empty();
        self.finish::<T>(workers, (&mut block, samples), (&mut none, 0..0));
        Ok(block)
    }

    /// Begins to read the columns of a way round the ring.
    pub(super) fn ahead<T: Number>(&self, ring: &Ring) -> Ahead<'_, T> {
        let tiles = ring.tile_cols(self.rank);
        let (edge, (_, width)) = (self.schedule.grid.edge, self.schedule.grid.tile_shape());
        let samples = self.schedule.cols_of(tiles.clone());
        let block = Block::new(tiles, width, self.shapes[1]);
        Ahead::new(&self.packer, self.columns(), samples, edge, block, &self.measure)
    }

    /// The columns of a way round the ring, after all else that was to be read.
    ///
    /// # Errors
    /// If they cannot be read, or have changed.
    pub(super) fn cols<T: Number>(
        &self,
        workers: &Workers,
        ring: &Ring,
        ahead: Ahead<'_, T>,
    ) -> Result<Block> {
        let (mut block, digest) = ahead.finish()?;
        let samples = self.schedule.cols_of(ring.tile_cols(self.rank));
        check(self.columns(), samples.clone(), digest, self.digests[1][ring.cols])?;
        let mut none = block.empty();
        self.finish::<T>(workers, (&mut none, 0..0), (&mut block, samples));
        Ok(block)
    }

    /// Whitens and scales packed samples.
    fn finish<T: Number>(
        &self,
        workers: &Workers,
        (rows, row_samples): (&mut Block, Range<usize>),
        (cols, col_samples): (&mut Block, Range<usize>),
    ) {
        if let Some(whitening) = &self.whitening {
            let (rows, cols) = ((&mut *rows, row_samples.clone()), (&mut *cols, col_samples.clone()));
            whiten(workers, whitening, rows, cols, self.schedule.grid.edge, false);
        }
        if self.scaling != 0 {
            scale::<T>(workers, rows, row_samples, self.scaling);
            scale::<T>(workers, cols, col_samples, self.scaling);
        }
    }

    /// The largest magnitude of what samples become when they are whitened. Collective.
    ///
    /// # Errors
    /// If they cannot be read, or have changed.
    pub(super) fn largest_whitened<T: Number>(&self, comm: &Comm, workers: &Workers) -> Result<f64> {
        let Some(whitening) = &self.whitening else { return Ok(0.0) };
        let mut largest = 0.0_f64;
        let (edge, (_, width)) = (self.schedule.grid.edge, self.schedule.grid.tile_shape());
        let mut look = |input: &Input, tiles: Range<usize>| -> Result<()> {
            let samples = self.schedule.grid.edge * tiles.start..input.rows().min(edge * tiles.end);
            if samples.is_empty() {
                return Ok(());
            }
            let mut block = Block::new(tiles, width, self.shapes[1]);
            let target = Target { rows: None, cols: Some(&mut block), measure: Some(&self.measure) };
            load::<T>(workers, input, samples.clone(), edge, target)?;
            let mut none = block.empty();
            let (none, block) = ((&mut none, 0..0), (&mut block, samples));
            largest = largest.max(whiten(workers, whitening, none, block, edge, false));
            Ok(())
        };
        let mut bands = |input: &Input, tiles: Range<usize>, together: usize| {
            let mut parts = tiles.clone().step_by(together.max(1));
            parts.try_for_each(|first| look(input, first..tiles.end.min(first + together)))
        };
        let together = self.schedule.band_cols(0, 0).len();
        let all = bands(&self.x, self.schedule.tile_rows(self.rank), together).and_then(|()| match &self.y {
            Some(y) => bands(y, self.schedule.tile_cols(self.rank), together),
            None => Ok(()),
        });
        comm.agree(all)?;
        Ok(comm.all_reduce(&[largest], Reduce::Max)[0])
    }
}

fn digest_of(surveys: &[Survey]) -> u64 {
    surveys.iter().fold(0, |sum, survey| sum.wrapping_add(survey.digest))
}

/// Makes sure that samples are those that were read at first.
pub(super) fn check(input: &Input, samples: Range<usize>, digest: u64, first: u64) -> Result<()> {
    if digest == first {
        return Ok(());
    }
    Err(Error::Failed(format!(
        "samples {} to {} of {} have changed while they were read again: their digest was {first:016x} and is {digest:016x}; put the samples back as they were, and run the same command with --resume, or start over with --force",
        samples.start,
        samples.end,
        input.describe()
    )))
}
