//! Samples that are read part by part of their features, as `pipeline::parts` says.

use std::ops::Range;
use std::time::Instant;

use super::compute::Rings;
use super::filed::Filed;
use super::job::Job;
use super::reading::{self, Known};
use super::reread;
use crate::block::Block;
use crate::comm::{Comm, Reduce};
use crate::error::Result;
use crate::kernel::{Kernel, PanelShape};
use crate::metric::{Measure, PowerOfTwo, Preparing};
use crate::number::Number;
use crate::partition::Tile;
use crate::pipeline::{FinishWorker, FoldedTiles, Rounds, Seen, Survey, Tally, Window, Workers};
use crate::report::Phase;
use crate::schedule::Ring;
use crate::sink::{Parcel, Sinks};
use crate::source::Input;

/// What is known of a sample when it is read again.
struct Sample {
    digest: u64,
    preparing: Preparing,
}

/// The samples of this rank, which are read once before anything is made, and again for each way round the ring.
pub(super) struct Parts {
    pub(super) filed: Filed,
    /// Features of a part, and of a sample.
    width: usize,
    features: usize,
    /// The rows of X that this rank owns, and the columns that it brings; of one input, these alone.
    samples: [Vec<Sample>; 2],
    /// What samples are prepared for.
    measure: Measure,
    /// Exponent of the power of two that they are scaled by.
    pub(super) scaling: i32,
}

/// The parts of the features.
fn parts(features: usize, width: usize) -> impl Iterator<Item = Range<usize>> {
    (0..features).step_by(width).map(move |first| first..features.min(first + width))
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
    let mut parts = parts(input.features, width);
    let mut read = || parts.next().map(|part| Window::read(input, rows.clone(), part)).transpose();
    let mut current = read()?;
    while let Some(window) = current {
        let ((), next) = workers.meanwhile(|| visit(&window), &mut read);
        current = next?;
    }
    Ok(())
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
    each_part::<T>(workers, (input, rows.clone()), width, |part| part.survey(workers, &mut seen, measure))?;
    for ((file, row), seen) in places.iter().zip(&seen) {
        surveys[*file].merge(&seen.surveyed(*row, d, size_of::<T>()));
    }
    for pass in 0..measure.passes() {
        if pass > 0 {
            each_part::<T>(workers, (input, rows.clone()), width, |part| {
                part.look(workers, &mut seen, measure);
            })?;
        }
        seen.iter_mut().for_each(Seen::end_pass);
    }
    Ok(seen.iter().map(|seen| Sample { digest: seen.digest(), preparing: seen.prepared() }).collect())
}

impl Parts {
    /// Surveys the samples of this rank. Collective.
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
        let (rank, width) = (comm.rank(), schedule.bands.features.unwrap_or(problem.d));
        let mut samples = [Vec::new(), Vec::new()];
        let known = reading::read(comm, inputs, problem.metric, T::DTYPE, |subtracted| {
            samples.iter_mut().for_each(Vec::clear);
            comm.agree(Filed::new(job, rank, subtracted).survey(|side, input, rows, surveys| {
                samples[side as usize].extend(look_at(workers, (input, rows), width, kernel, surveys)?);
                Ok(())
            }))
        })?;
        let parts = Self {
            filed: Filed::new(job, rank, known.subtracted),
            width,
            features: problem.d,
            samples,
            measure: kernel.measure().clone(),
            scaling: 0,
        };
        Ok((known, parts))
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
        let Rings { comm, kernel, done, stop, workers, job } = *rings;
        let tiles = ring.all_tiles(self.filed.rank).filter(|tile| !done.contains(*tile));
        let tiles = FoldedTiles::new(kernel, self.filed.schedule.grid, tiles);
        let mut way = Way::new(self, kernel, ring);
        if !way.fold(rings, &tiles, tally)? {
            return Ok(false);
        }
        way.check_digests()?;
        let row_extras: Vec<u64> = way.rows.seen.iter().map(Seen::extras).collect();
        let columns = way.cols.as_ref().unwrap_or(&way.rows);
        let col_extras = self.of_all_columns(comm, &ring, columns.seen.iter().map(Seen::extras));
        drop(way);
        let starts = self.starts(&ring);
        let (grid, first_row) =
            (self.filed.schedule.grid, self.filed.schedule.rows_of(ring.tile_rows(self.filed.rank)).start);
        let extras = |tile: Tile| {
            let (rows, cols) = (grid.rows(tile.i), grid.cols(tile.j));
            let (_, start, first) =
                starts.iter().find(|(tiles, ..)| tiles.contains(&tile.j)).expect("a rank has it");
            let at = start + cols.start - first;
            (&row_extras[rows.start - first_row..rows.end - first_row], &col_extras[at..at + cols.len()])
        };
        let rounds = Rounds { comm, ring, done, stop, mail_interval: job.args.checkpoint_interval };
        // the features have gone round already
        let (_, edge) = grid.tile_shape();
        let nothing = PanelShape { width: edge, ..kernel.part_panels(1).1 };
        let cols = Block::new(ring.tile_cols(self.filed.rank), edge, nothing);
        rounds.run(workers, || FinishWorker::new(&tiles, &extras), cols, stores, &mut (), tally)?;
        Ok(true)
    }

    /// The columns of each rank: which tiles, where they begin among those of all ranks, and in the matrix.
    fn starts(&self, ring: &Ring) -> Vec<(Range<usize>, usize, usize)> {
        let mut start = 0;
        let of_rank = |rank: usize| {
            let tiles = ring.tile_cols(rank);
            let cols = self.filed.schedule.cols_of(tiles.clone());
            let place = (tiles, start, cols.start);
            start += cols.len();
            place
        };
        (0..self.filed.schedule.ranks).map(of_rank).collect()
    }

    /// Words of the columns of all ranks, of which this one knows its own. Collective.
    fn of_all_columns(&self, comm: &Comm, ring: &Ring, own: impl Iterator<Item = u64>) -> Vec<u64> {
        let lens = (0..self.filed.schedule.ranks)
            .map(|rank| self.filed.schedule.cols_of(ring.tile_cols(rank)).len());
        let lens: Vec<usize> = lens.collect();
        let mut all = vec![0; lens.iter().sum()];
        let start: usize = lens[..self.filed.rank].iter().sum();
        all[start..].iter_mut().zip(own).for_each(|(to, word)| *to = word);
        comm.all_reduce(&all, Reduce::Or)
    }
}

/// Samples that are read again, part by part.
struct Samples<'a> {
    input: &'a Input,
    rows: Range<usize>,
    seen: Vec<Seen>,
    known: &'a [Sample],
}

impl<'a> Samples<'a> {
    fn new<T: Number>(input: &'a Input, rows: Range<usize>, known: &'a [Sample], kernel: &Kernel<T>) -> Self {
        let again = |((_, row), known): (&(usize, usize), &Sample)| {
            Seen::again(*row, known.preparing, kernel.extras_sum())
        };
        let seen = places(input, rows.clone()).iter().zip(known).map(again).collect();
        Self { input, rows, seen, known }
    }

    fn read<T: Number>(&self, part: Range<usize>) -> Result<Window<'a, T>> {
        Window::read(self.input, self.rows.clone(), part)
    }
}

/// The rows and columns of this rank on one way round the ring.
struct Way<'a, T> {
    parts: &'a Parts,
    kernel: &'a Kernel<T>,
    ring: Ring,
    rows: Samples<'a>,
    /// Where they are not the rows.
    cols: Option<Samples<'a>>,
}

impl<'a, T: Number> Way<'a, T> {
    fn new(parts: &'a Parts, kernel: &'a Kernel<T>, ring: Ring) -> Self {
        let Parts { filed: Filed { schedule, rank, x, y }, samples, .. } = parts;
        let (tile_rows, tile_cols) = (ring.tile_rows(*rank), ring.tile_cols(*rank));
        let own = |samples: &'a [Sample], rows: &Range<usize>, first: usize| {
            &samples[rows.start - first..rows.end - first]
        };
        let (rows, first_row) =
            (schedule.rows_of(tile_rows.clone()), schedule.rows_of(schedule.tile_rows(*rank)).start);
        // of one input, the columns that a rank brings are the rows that it owns
        let of_x = if y.is_some() { &samples[0] } else { &samples[1] };
        let of_rows = Samples::new(x, rows.clone(), own(of_x, &rows, first_row), kernel);
        let cols = schedule.cols_of(tile_cols.clone());
        let first_col = schedule.cols_of(schedule.tile_cols(*rank)).start;
        let is_same = y.is_none() && tile_rows == tile_cols;
        let of_cols = || {
            let known = own(&samples[1], &cols, first_col);
            Samples::new(parts.filed.columns(), cols.clone(), known, kernel)
        };
        let cols = (!is_same).then(of_cols);
        Self { parts, kernel, ring, rows: of_rows, cols }
    }

    /// A part of the features of both.
    fn read(&self, part: Range<usize>) -> Result<(Window<'a, T>, Option<Window<'a, T>>)> {
        let rows = self.rows.read(part.clone())?;
        Ok((rows, self.cols.as_ref().map(|cols| cols.read(part)).transpose()?))
    }

    /// Folds all features of some tiles, part by part: the blocks of columns go round the ring for each. False if it was time to stop before the end.
    fn fold(
        &mut self,
        rings: &Rings<'_, T>,
        tiles: &FoldedTiles<'_, T>,
        tally: &mut Tally<'_>,
    ) -> Result<bool> {
        let Rings { comm, workers, stop, .. } = *rings;
        let Parts { filed: Filed { schedule, rank, .. }, width, features, ref measure, scaling, .. } =
            *self.parts;
        let (height, edge) = schedule.grid.tile_shape();
        let scale = (scaling != 0).then(|| PowerOfTwo::<T>::new(scaling));
        let mut ahead = parts(features, width);
        let (mut blocks, mut values): (Option<[Block; 2]>, _) = (None, Vec::new());
        let mut current = ahead.next().map(|part| Ok((part.clone(), self.read(part)?))).transpose()?;
        while let Some((part, (rows, cols))) = current.take() {
            // all ranks stop together
            if comm.all_reduce(&[u64::from(stop.is_due())], Reduce::Max)[0] > 0 {
                return Ok(false);
            }
            let shapes = self.kernel.part_panels(part.len());
            let new = || {
                let cols = Block::new(self.ring.tile_cols(rank), edge, shapes.1);
                [Block::new(self.ring.tile_rows(rank), height, shapes.0), cols]
            };
            // of parts of the same length, the memory is used again
            let [mut of_rows, mut of_cols] =
                blocks.take().filter(|blocks| blocks[0].shape() == shapes.0).unwrap_or_else(new);
            if self.ring.round_count() > 1 {
                // it was another rank's
                of_cols.receive(self.ring.tile_cols(rank));
            }
            let both = if cols.is_none() { Some(&mut of_cols) } else { None };
            rows.pack(workers, &mut self.rows.seen, measure, scale, (Some(&mut of_rows), both), &mut values);
            if let (Some(cols), Some(side)) = (&cols, &mut self.cols) {
                cols.pack(workers, &mut side.seen, measure, scale, (None, Some(&mut of_cols)), &mut values);
            }
            let samples = self.rows.rows.len() + self.cols.as_ref().map_or(0, |cols| cols.rows.len());
            tally.totals.bytes_read += (samples * part.len() * size_of::<T>()) as u64;
            drop((rows, cols));
            tally.clock.lap(Phase::Compute);
            for round in 0..self.ring.round_count() {
                let of_round: Vec<Tile> = self.ring.tiles(rank, round).collect();
                let fold = || {
                    let began = Instant::now();
                    tiles.fold(&of_round, &part, (&of_rows, &of_cols));
                    began.elapsed()
                };
                let began = Instant::now();
                if round + 1 < self.ring.round_count() {
                    let mut spare = of_cols.empty();
                    let source = self.ring.source(rank, round + 1);
                    let exchange = || {
                        let (to, from) = (self.ring.send_to(rank), self.ring.receive_from(rank));
                        let incoming = spare.receive(self.ring.tile_cols(source));
                        comm.exchange((of_cols.words(), to), (incoming, from), std::thread::yield_now);
                    };
                    workers.meanwhile(fold, exchange);
                    tally.totals.bytes_sent += size_of_val(of_cols.words()) as u64;
                    of_cols = spare;
                    tally.clock.lap(Phase::Compute);
                } else {
                    let read = || {
                        let next = ahead.next().map(|part| Ok((part.clone(), self.read(part)?))).transpose();
                        (next, began.elapsed())
                    };
                    let (folding, (next, reading)) = workers.meanwhile(fold, read);
                    current = next?;
                    tally.clock.lap(if reading > folding { Phase::Read } else { Phase::Compute });
                }
            }
            blocks = Some([of_rows, of_cols]);
        }
        Ok(true)
    }

    /// Makes sure that samples are those that were read at first.
    fn check_digests(&self) -> Result<()> {
        for Samples { input, rows, seen, known } in std::iter::once(&self.rows).chain(&self.cols) {
            let changed = seen.iter().zip(*known).position(|(seen, known)| seen.digest() != known.digest);
            if let Some(at) = changed {
                let row = rows.start + at;
                reread::check(input, row..row + 1, seen[at].digest(), known[at].digest)?;
            }
        }
        Ok(())
    }
}
