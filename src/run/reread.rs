//! Samples that are read again band by band, because not all of them fit the memory of a rank.

use std::ops::Range;

use super::filed::Filed;
use super::job::Job;
use super::reading::{self, Known};
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::{Error, Result};
use crate::kernel::{Kernel, PanelShape};
use crate::metric::Measure;
use crate::number::Number;
use crate::pipeline::{Ahead, Target, Whitening, Workers, digest_of_files, load, scale, survey_of, whiten};
use crate::schedule::Ring;
use crate::source::Input;

/// The samples of this rank, which are read once before anything is made, and again for each band.
pub(super) struct Reread {
    pub(super) filed: Filed,
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
            digests.iter_mut().for_each(Vec::clear);
            comm.agree(Filed::new(job, rank, subtracted).survey(|side, input, samples, surveys| {
                let found = survey_of::<T>(workers, input, samples, Some(kernel.measure()))?;
                digests[side as usize].push(digest_of_files(&found));
                surveys.iter_mut().zip(&found).for_each(|(all, found)| all.merge(found));
                Ok(())
            }))
        })?;
        if inputs.y.is_none() {
            // bands of columns are parts of those of rows
            let parts = digests[1].chunks(schedule.bands.cols);
            digests[0] =
                parts.map(|parts| parts.iter().fold(0, |sum: u64, part| sum.wrapping_add(*part))).collect();
        }
        let packer = comm.agree(Workers::start(1))?;
        let reread = Self {
            filed: Filed::new(job, rank, known.subtracted),
            digests,
            shapes: [kernel.row_panels(), kernel.col_panels()],
            measure: kernel.measure().clone(),
            whitening: None,
            scaling: 0,
            packer,
        };
        Ok((known, reread))
    }

    /// The samples of a band of rows.
    ///
    /// # Errors
    /// If they cannot be read, or have changed.
    pub(super) fn rows<T: Number>(&self, workers: &Workers, band: usize) -> Result<Block> {
        let tiles = self.filed.schedule.band_rows(self.filed.rank, band);
        let samples = self.filed.schedule.rows_of(tiles.clone());
        let (edge, (height, _)) = (self.filed.schedule.grid.edge, self.filed.schedule.grid.tile_shape());
        let mut block = Block::new(tiles, height, self.shapes[0]);
        let target = Target { rows: Some(&mut block), cols: None, measure: Some(&self.measure) };
        let found = load::<T>(workers, &self.filed.x, samples.clone(), edge, target)?;
        check(&self.filed.x, samples.clone(), digest_of_files(&found), self.digests[0][band])?;
        let mut none = block.empty();
        self.finish::<T>(workers, (&mut block, samples), (&mut none, 0..0));
        Ok(block)
    }

    /// Begins to read the columns of a way round the ring.
    pub(super) fn ahead<T: Number>(&self, ring: &Ring) -> Ahead<'_, T> {
        let tiles = ring.tile_cols(self.filed.rank);
        let (edge, (_, width)) = (self.filed.schedule.grid.edge, self.filed.schedule.grid.tile_shape());
        let samples = self.filed.schedule.cols_of(tiles.clone());
        let block = Block::new(tiles, width, self.shapes[1]);
        Ahead::new(&self.packer, self.filed.columns(), samples, edge, block, &self.measure)
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
        let samples = self.filed.schedule.cols_of(ring.tile_cols(self.filed.rank));
        check(self.filed.columns(), samples.clone(), digest, self.digests[1][ring.cols])?;
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
            whiten(workers, whitening, rows, cols, self.filed.schedule.grid.edge, false);
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
        let (edge, (_, width)) = (self.filed.schedule.grid.edge, self.filed.schedule.grid.tile_shape());
        let mut look = |input: &Input, tiles: Range<usize>| -> Result<()> {
            let samples = self.filed.schedule.grid.edge * tiles.start..input.rows().min(edge * tiles.end);
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
        let together = self.filed.schedule.band_cols(0, 0).len();
        let all =
            bands(&self.filed.x, self.filed.schedule.tile_rows(self.filed.rank), together).and_then(|()| {
                match &self.filed.y {
                    Some(y) => bands(y, self.filed.schedule.tile_cols(self.filed.rank), together),
                    None => Ok(()),
                }
            });
        comm.agree(all)?;
        Ok(comm.all_reduce(&[largest], Reduce::Max)[0])
    }
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
