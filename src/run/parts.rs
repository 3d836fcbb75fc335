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
    /// The main thread, which reads, and others.
    team: Workers,
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
    Ok(seen.iter().map(|seen| Sample { digest: seen.digest(), preparing: seen.prepared() }).collect())
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
        let parts = Self {
            filed: Filed::new(job, rank, known.subtracted),
            team,
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
        let at_once = ring.tile_count(self.filed.rank).div_ceil(ring.round_count());
        let tiles = FoldedTiles::new(kernel, self.filed.schedule.grid, tiles, (at_once, self.team.count()));
        let mut way = Way::new(self, kernel, ring);
        if !way.fold(rings, &tiles, tally)? {
            return Ok(false);
        }
        way.check_digests()?;
        let [row_extras, col_extras] = way.extras();
        let col_extras = self.of_all_columns(comm, &ring, col_extras);
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
    fn of_all_columns(&self, comm: &Comm, ring: &Ring, own: Vec<u64>) -> Vec<u64> {
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
    known: &'a [Sample],
}

impl Samples<'_> {
    /// None of whose features were read again.
    fn unseen<T: Number>(&self, kernel: &Kernel<T>) -> Vec<Seen> {
        let again = |((_, row), known): (&(usize, usize), &Sample)| {
            Seen::again(*row, known.preparing, kernel.extras_sum())
        };
        places(self.input, self.rows.clone()).iter().zip(self.known).map(again).collect()
    }

    /// Makes sure that they are those that were read at first.
    fn check_digests(&self, seen: &[Seen]) -> Result<()> {
        let changed = seen.iter().zip(self.known).position(|(seen, known)| seen.digest() != known.digest);
        changed.map_or(Ok(()), |at| {
            let row = self.rows.start + at;
            reread::check(self.input, row..row + 1, seen[at].digest(), self.known[at].digest)
        })
    }
}

/// A part of the features of both sides.
struct Part<'a, T> {
    features: Range<usize>,
    rows: Window<'a, T>,
    cols: Option<Window<'a, T>>,
}

/// The panels of a part.
struct Panels {
    rows: Block,
    cols: Block,
}

/// The rows and columns of this rank on one way round the ring.
struct Way<'a, T> {
    parts: &'a Parts,
    kernel: &'a Kernel<T>,
    ring: Ring,
    rows: Samples<'a>,
    /// Where they are not the rows.
    cols: Option<Samples<'a>>,
    /// What is known of each of these rows, and of these columns.
    seen: [Vec<Seen>; 2],
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
        let rows = Samples { input: x, known: own(of_x, &rows, first_row), rows };
        let is_same = y.is_none() && tile_rows == tile_cols;
        let of_cols = || {
            let cols = schedule.cols_of(tile_cols.clone());
            let first_col = schedule.cols_of(schedule.tile_cols(*rank)).start;
            Samples { input: parts.filed.columns(), known: own(&samples[1], &cols, first_col), rows: cols }
        };
        let cols = (!is_same).then(of_cols);
        let seen = [rows.unseen(kernel), cols.as_ref().map_or(Vec::new(), |cols| cols.unseen(kernel))];
        Self { parts, kernel, ring, rows, cols, seen }
    }

    /// Reads a part of the features.
    fn read(rows: &Samples<'a>, cols: Option<&Samples<'a>>, features: Range<usize>) -> Result<Part<'a, T>> {
        let of = |side: &Samples<'a>| Window::read(side.input, side.rows.clone(), features.clone());
        Ok(Part { rows: of(rows)?, cols: cols.map(of).transpose()?, features })
    }

    /// Room for the panels of so many features: of parts of the same length, the memory is used again.
    fn panels(&self, features: usize, last: Option<Panels>) -> Panels {
        let Filed { schedule, rank, .. } = self.parts.filed;
        let (height, edge) = schedule.grid.tile_shape();
        let (of_rows, of_cols) = self.kernel.part_panels(features);
        let (tile_rows, tile_cols) = (self.ring.tile_rows(rank), self.ring.tile_cols(rank));
        let new = || Panels {
            rows: Block::new(tile_rows, height, of_rows),
            cols: Block::new(tile_cols.clone(), edge, of_cols),
        };
        let mut panels = last.filter(|last| last.rows.shape() == of_rows).unwrap_or_else(new);
        // it may have been another rank's
        panels.cols.receive(tile_cols);
        panels
    }

    /// Folds all features of some tiles, part by part, each read while the one before is packed: the blocks of columns go round the ring for each. False if it was time
    /// to stop before the end.
    fn fold(
        &mut self,
        rings: &Rings<'_, T>,
        tiles: &FoldedTiles<'_, T>,
        tally: &mut Tally<'_>,
    ) -> Result<bool> {
        let Parts { filed: Filed { rank, .. }, width, features, ref measure, scaling, .. } = *self.parts;
        let scale = (scaling != 0).then(|| PowerOfTwo::<T>::new(scaling));
        let samples = self.rows.rows.len() + self.cols.as_ref().map_or(0, |cols| cols.rows.len());
        let is_alone = self.ring.round_count() == 1;
        let (mut ahead, mut last, mut values) = (parts(features, width), None, Vec::new());
        let mut read_next = |rows: &Samples<'a>, cols: Option<&Samples<'a>>| {
            ahead.next().map(|features| Self::read(rows, cols, features)).transpose()
        };
        let mut current = read_next(&self.rows, self.cols.as_ref())?;
        while let Some(Part { features, rows, cols }) = current.take() {
            // all ranks stop together
            if rings.comm.all_reduce(&[u64::from(rings.stop.is_due())], Reduce::Max)[0] > 0 {
                return Ok(false);
            }
            tally.totals.bytes_read += (samples * features.len() * size_of::<T>()) as u64;
            let mut panels = self.panels(features.len(), last.take());
            let ring = self.ring;
            let fold = |round: usize, panels: &Panels| {
                let of_round: Vec<Tile> = ring.tiles(rank, round).collect();
                tiles.fold(&of_round, &features, (&panels.rows, &panels.cols));
            };
            let began = Instant::now();
            let [row_seen, col_seen] = &mut self.seen;
            let pack = || {
                let both = if cols.is_none() { Some(&mut panels.cols) } else { None };
                rows.pack(row_seen, measure, scale, (Some(&mut panels.rows), both), &mut values);
                if let Some(cols) = cols {
                    cols.pack(col_seen, measure, scale, (None, Some(&mut panels.cols)), &mut values);
                }
                if is_alone {
                    fold(0, &panels);
                }
                began.elapsed()
            };
            let read = || (read_next(&self.rows, self.cols.as_ref()), began.elapsed());
            let (computing, (next, reading)) = self.parts.team.meanwhile(pack, read);
            current = next?;
            tally.clock.lap(if reading > computing { Phase::Read } else { Phase::Compute });
            if !is_alone {
                self.fold_round_the_ring(rings.comm, fold, &mut panels, tally);
            }
            last = Some(panels);
        }
        Ok(true)
    }

    /// Folds a part while the block of columns goes from rank to rank.
    fn fold_round_the_ring(
        &self,
        comm: &Comm,
        fold: impl Fn(usize, &Panels) + Sync,
        panels: &mut Panels,
        tally: &mut Tally<'_>,
    ) {
        let (ring, rank, team) = (self.ring, self.parts.filed.rank, &self.parts.team);
        for round in 0..ring.round_count() {
            if round + 1 == ring.round_count() {
                team.install(|| fold(round, panels));
            } else {
                let mut spare = panels.cols.empty();
                let exchange = || {
                    let incoming = spare.receive(ring.tile_cols(ring.source(rank, round + 1)));
                    let (to, from) = (ring.send_to(rank), ring.receive_from(rank));
                    comm.exchange((panels.cols.words(), to), (incoming, from), std::thread::yield_now);
                };
                team.meanwhile(|| fold(round, panels), exchange);
                tally.totals.bytes_sent += size_of_val(panels.cols.words()) as u64;
                panels.cols = spare;
            }
            tally.clock.lap(Phase::Compute);
        }
    }

    /// Makes sure that samples are those that were read at first.
    fn check_digests(&self) -> Result<()> {
        let sides = std::iter::once(&self.rows).chain(&self.cols);
        sides.zip(&self.seen).try_for_each(|(side, seen)| side.check_digests(seen))
    }

    /// What these rows, and these columns, carry beside their features.
    fn extras(&self) -> [Vec<u64>; 2] {
        let of = |seen: &Vec<Seen>| seen.iter().map(Seen::extras).collect::<Vec<_>>();
        let [rows, cols] = &self.seen;
        [of(rows), of(if self.cols.is_some() { cols } else { rows })]
    }
}
