//! Samples that are read part by part of their features, as `pipeline::parts` says.
//!
//! - `sides` — the samples of rows and of columns, as they are read again
//! - `way` — each rank reads its own samples, and columns go round the ring
//! - `shared` — each rank reads features of its own, of all samples

mod shared;
mod sides;
mod way;

use std::ops::Range;
use std::time::Instant;

use shared::Shared;
use way::Way;

use super::compute::Rings;
use super::filed::{Filed, Side};
use super::job::Job;
use super::reading::{self, Known};
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::kernel::Kernel;
use crate::metric::{Measure, Preparing};
use crate::number::Number;
use crate::partition::{Grid, Tile};
use crate::pipeline::{FinishWorker, FoldedTiles, Rounds, Seen, Survey, Tally, Window, Workers};
use crate::report::{Clock, Phase};
use crate::schedule::{Ring, parts_of};
use crate::sink::{Parcel, Sinks};
use crate::source::Input;
use crate::stop::Stop;

/// What is known of a sample when it is read again.
struct Sample {
    /// A hash of its values, which must be the same when they are read again.
    check: u64,
    preparing: Preparing,
}

/// The samples of this rank, which are read once or several times before anything is made, and again for each way round the ring.
pub(super) struct Parts {
    pub(super) filed: Filed,
    /// The main thread, which reads, and others.
    team: Workers,
    /// Features of a part, and of a sample.
    width: usize,
    features: usize,
    /// The rows of X that this rank owns, and the columns that it brings; of one input, these alone. Where ranks share the features, those of all ranks.
    samples: [Vec<Sample>; 2],
    /// What samples are prepared for.
    measure: Measure,
    /// Exponent of the power of two that they are scaled by.
    pub(super) scaling: i32,
}

/// The file of each of some rows of an input, and the row there.
fn places(input: &Input, rows: Range<usize>) -> Vec<(usize, usize)> {
    input.pieces(rows).flat_map(|(file, rows)| rows.map(move |row| (file, row))).collect()
}

/// Reads samples part by part, one part while `visit` looks at the one before, on the workers.
fn each_part<T: Number>(
    workers: &Workers,
    (input, rows): (&Input, Range<usize>),
    width: usize,
    mut visit: impl FnMut(&Window<'_, T>) + Send,
) -> Result<()> {
    let mut parts = parts_of(input.features, width);
    let mut read = || parts.next().map(|part| Window::read(input, rows.clone(), part)).transpose();
    let mut current = read()?;
    while let Some(window) = current {
        let ((), next) = workers.meanwhile(|| visit(&window), &mut read);
        current = next?;
    }
    Ok(())
}

/// Has the team compute one part while this thread reads the next. The time counts as that of whichever takes longer.
fn read_meanwhile<R>(
    team: &Workers,
    clock: &mut Clock,
    compute: impl FnOnce() + Send,
    read: impl FnOnce() -> Result<R>,
) -> Result<R> {
    let compute = || {
        let began = Instant::now();
        compute();
        began.elapsed()
    };
    let read = || {
        let began = Instant::now();
        (read(), began.elapsed())
    };
    let (computing, (next, reading)) = team.meanwhile(compute, read);
    clock.lap(if reading > computing { Phase::Read } else { Phase::Compute });
    next
}

/// What is known of some rows of an input after as many passes as their preparation needs, and their surveys, file by file.
fn look_at<T: Number>(
    workers: &Workers,
    (input, rows): (&Input, Range<usize>),
    width: usize,
    kernel: &Kernel<T>,
    surveys: &mut [Survey],
) -> Result<Vec<Sample>> {
    let (measure, d) = (kernel.measure(), input.features);
    let places = places(input, rows.clone());
    let new = |&(_, row): &(usize, usize)| Seen::nothing(row, d, measure, kernel.extras_sum());
    let mut seen: Vec<Seen> = places.iter().map(new).collect();
    each_part::<T>(workers, (input, rows.clone()), width, |part| part.survey(&mut seen, measure))?;
    for ((file, row), seen) in places.iter().zip(&seen) {
        surveys[*file].merge(&seen.surveyed(*row, d, size_of::<T>()));
    }
    for pass in 0..measure.passes() {
        if pass > 0 {
            each_part::<T>(workers, (input, rows.clone()), width, |part| part.look(&mut seen, measure))?;
        }
        seen.iter_mut().for_each(Seen::end_pass);
    }
    Ok(seen.iter().map(|seen| Sample { check: seen.check(), preparing: seen.prepared() }).collect())
}

/// What is known of `all` samples, of which this rank knows `mine`. Collective.
fn of_all(
    comm: &Comm,
    (all, mine): (usize, Range<usize>),
    own: &[Sample],
    new: impl Fn() -> Preparing,
) -> Vec<Sample> {
    const WORDS: usize = 1 + Preparing::WORDS;
    let mut words = vec![0; all * WORDS];
    for (words, sample) in words[mine.start * WORDS..mine.end * WORDS].chunks_exact_mut(WORDS).zip(own) {
        words[0] = sample.check;
        words[1..].copy_from_slice(&sample.preparing.words());
    }
    let words = comm.all_reduce(&words, Reduce::Or);
    let of_words = |words: &[u64]| Sample { check: words[0], preparing: new().found(&words[1..]) };
    words.chunks_exact(WORDS).map(of_words).collect()
}

impl Parts {
    /// Surveys the samples of this rank. Collective.
    ///
    /// # Errors
    /// If they cannot be read.
    pub(super) fn survey<T: Number>(comm: &Comm, job: &Job<'_>, kernel: &Kernel<T>) -> Result<(Known, Self)> {
        let Job { inputs, schedule, problem, .. } = job;
        let (rank, width) = (comm.rank(), schedule.bands.features.unwrap_or(problem.d));
        let team = comm.agree(Workers::with_this_thread(job.cores.threads))?;
        let mut samples = [Vec::new(), Vec::new()];
        let known = reading::read(comm, inputs, problem.metric, T::DTYPE, |subtracted| {
            samples.iter_mut().for_each(Vec::clear);
            comm.agree(Filed::new(job, rank, subtracted).survey(|side, input, rows, surveys| {
                samples[side as usize].extend(look_at(&team, (input, rows), width, kernel, surveys)?);
                Ok(())
            }))
        })?;
        if schedule.bands.shared_features {
            let filed = Filed::new(job, rank, known.subtracted);
            let new = || kernel.measure().preparing(problem.d);
            samples = [Side::Rows, Side::Columns].map(|side| {
                let own = std::mem::take(&mut samples[side as usize]);
                filed.surveyed(side).map_or(Vec::new(), |(all, mine)| of_all(comm, (all, mine), &own, new))
            });
        }
        let parts = Self {
            filed: Filed::new(job, rank, known.subtracted),
            team,
            width,
            features: problem.d,
            samples,
            measure: kernel.measure().clone(),
            scaling: 0,
        };
        Ok((known.read_times(kernel.measure().first_readings()), parts))
    }

    /// The parts of the features.
    fn ranges(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        parts_of(self.features, self.width)
    }

    /// Computes and stores the tiles of this rank on one way round the ring. False if it was time to stop before its features were all folded.
    ///
    /// # Errors
    /// If samples cannot be read, or have changed, or a tile cannot be stored: the other ranks know nothing of it, so the caller must end the job.
    pub(super) fn go_round<T: Number>(
        &self,
        rings: &Rings<'_, T>,
        ring: Ring,
        stores: (&mut Sinks<T>, &mut Vec<Parcel<T>>),
        tally: &mut Tally<'_>,
    ) -> Result<bool> {
        let Rings { comm, kernel, done, workers, job, .. } = *rings;
        let own = ring.all_tiles(self.filed.rank).filter(|tile| !done.contains(*tile));
        let (grid, threads) = (self.filed.schedule.grid, self.team.count());
        let (tiles, carried) = if self.filed.schedule.bands.shared_features {
            // threads share the features of the sums; a tile is whole when these are added to it
            let tiles = FoldedTiles::new(kernel, grid, own, (1, 1));
            let mut shared = Shared::new(self, kernel, ring, done);
            if !shared.fold(rings, &tiles, tally)? {
                return Ok(false);
            }
            shared.check(comm)?;
            (tiles, shared.carried())
        } else {
            let at_once = ring.tile_count(self.filed.rank).div_ceil(ring.round_count());
            let tiles = FoldedTiles::new(kernel, grid, own, (at_once, threads));
            let mut way = Way::new(self, kernel, ring);
            if !way.fold(rings, &tiles, tally)? {
                return Ok(false);
            }
            way.check()?;
            (tiles, way.carried(comm))
        };
        let extras = |tile: Tile| carried.of(grid, tile);
        // signals and time limit no longer count: the folds would be lost, and to make distances of them takes little time
        let stop = &Stop::never();
        let rounds = Rounds { comm, ring, done, stop, mail_interval: job.args.checkpoint_interval };
        // the features have gone round already
        let cols = Block::new(ring.tile_cols(self.filed.rank), grid.edge, kernel.part_panels(0).1);
        rounds.run(workers, || FinishWorker::new(&tiles, &extras), cols, stores, &mut (), tally)?;
        Ok(true)
    }
}

/// What samples carry beside their features.
struct Carried {
    /// Of rows, from this one on.
    rows: Vec<u64>,
    first_row: usize,
    /// Of columns, and where they are: which tiles, from which place here on, and from which column of the matrix on.
    cols: Vec<u64>,
    places: Vec<(Range<usize>, usize, usize)>,
}

impl Carried {
    /// That of the rows, and of the columns, of a tile.
    fn of(&self, grid: Grid, tile: Tile) -> (&[u64], &[u64]) {
        let (rows, cols) = (grid.rows(tile.i), grid.cols(tile.j));
        let mut places = self.places.iter();
        let (_, start, first) = places.find(|(tiles, ..)| tiles.contains(&tile.j)).expect("a rank has it");
        let at = start + cols.start - first;
        (&self.rows[rows.start - self.first_row..rows.end - self.first_row], &self.cols[at..at + cols.len()])
    }
}
