//! The samples of a rank that are not kept in memory, but read again from their files.

use std::ops::Range;

use super::inputs::Inputs;
use super::job::Job;
use crate::error::Result;
use crate::number::Number;
use crate::pipeline::{Held, Survey};
use crate::schedule::Schedule;
use crate::source::Input;

/// The samples of a rank, in their files.
pub(super) struct Filed {
    pub(super) schedule: Schedule,
    pub(super) rank: usize,
    pub(super) x: Input,
    pub(super) y: Option<Input>,
}

impl Filed {
    /// Those of `rank`, less a whole number.
    pub(super) fn new(job: &Job<'_>, rank: usize, subtracted: i128) -> Self {
        let Inputs { x, y, .. } = &job.inputs;
        let y = y.as_ref().map(|y| y.less(subtracted));
        Self { schedule: job.schedule, rank, x: x.less(subtracted), y }
    }

    /// The input whose samples are columns.
    pub(super) fn columns(&self) -> &Input {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// All of them, each once.
    pub(super) fn held<T: Number>(&self, inputs: &Inputs) -> Held<'_, T> {
        let total = inputs.all().map(Input::rows).sum();
        let Self { schedule, rank, .. } = self;
        let y = self.y.as_ref().map(|y| (y, schedule.surveyed_cols(*rank)));
        Held::filed((&self.x, schedule.surveyed_rows(*rank)), y, total)
    }

    /// How many samples there are of which [`Self::survey`] shows a side, and which of them this rank surveys.
    pub(super) fn surveyed(&self, side: Side) -> Option<(usize, Range<usize>)> {
        let Self { schedule, rank, .. } = self;
        match side {
            Side::Rows => self.y.as_ref().map(|_| (schedule.grid.n, schedule.surveyed_rows(*rank))),
            Side::Columns => Some((schedule.grid.m, schedule.surveyed_cols(*rank))),
        }
    }

    /// Surveys, file by file, to which `look` adds the samples of a band. It gets each sample once: in bands of rows of X and bands of columns of Y, or
    /// with one input in bands of columns, which are parts of those of rows.
    pub(super) fn survey(
        &self,
        mut look: impl FnMut(Side, &Input, Range<usize>, &mut [Survey]) -> Result<()>,
    ) -> Result<Vec<Survey>> {
        let Self { schedule, rank, .. } = self;
        let is_shared = schedule.bands.shared_features;
        let rows = |band| {
            let of_band = schedule.rows_of(schedule.band_rows(*rank, band));
            if is_shared { schedule.surveyed_rows(*rank) } else { of_band }
        };
        let cols = |band| {
            let of_band = schedule.cols_of(schedule.band_cols(*rank, band));
            if is_shared { schedule.surveyed_cols(*rank) } else { of_band }
        };
        let mut all = Vec::new();
        let mut add = |side, input: &Input, bands: &mut dyn Iterator<Item = Range<usize>>| {
            let mut surveys = vec![Survey::default(); input.files.len()];
            for band in bands {
                look(side, input, band, &mut surveys)?;
            }
            all.extend(surveys);
            Ok(())
        };
        if self.y.is_some() {
            add(Side::Rows, &self.x, &mut (0..schedule.bands.rows).map(rows))?;
        }
        add(Side::Columns, self.columns(), &mut (0..schedule.col_bands()).map(cols))?;
        Ok(all)
    }
}

/// Where samples are needed: those of one input on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Rows,
    Columns,
}
