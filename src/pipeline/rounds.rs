//! The rounds: in each, the next column block arrives while workers compute the tiles of the ones at hand and the main
//! thread stores those that are done.
//!
//! An order is a tile, the column block it needs, and a parcel from a bounded pool. The main thread hands out an order for
//! every free parcel, so that no worker waits while there is one; waits for full parcels, stores them, and hands them
//! out again. Tiles of the next round follow as soon as its block is here: no worker waits for the last tile of a round. Where samples are
//! read band by band, the main thread reads the next band while no full parcel waits.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use super::Workers;
use super::mail::{self, Mail, Stream};
use super::worker::{Computed, Order, Queue, Worker};
use crate::block::Block;
use crate::comm::{Comm, Tag};
use crate::error::Result;
use crate::kernel::Summary;
use crate::number::Number;
use crate::partition::{Grid, Tile, TileSet};
use crate::report::{Clock, Phase, Progress};
use crate::schedule::Ring;
use crate::sink::{Cursor, FOREIGN_LISTS, Parcel, Sinks};
use crate::stop::Stop;
use crate::store::journal::Done;

/// How long the main thread waits for a tile before it looks after the messages.
const POLL: Duration = Duration::from_micros(200);

/// Column blocks in memory at most: one to compute with, one still in use, one arriving.
pub const COLUMN_BLOCKS: usize = 3;

/// What a rank has computed.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Sum and extremes of all entries.
    pub summary: Summary,
    /// Wrapping sum of all checksums: the ranks' sums add up to the digest of the matrix.
    pub digest: u64,
    /// Entries computed, each of a mirrored pair counted.
    pub pairs: u64,
    /// Entries that the kernel has noted: those that failed the Gram guard, or share no feature. Counted likewise.
    pub noted: u64,
    /// Bytes of results written.
    pub bytes_written: u64,
    /// Bytes of samples read while tiles were computed, in the type that is computed in.
    pub bytes_read: u64,
    /// Bytes of samples sent to other ranks.
    pub bytes_sent: u64,
    /// Bytes of what was found for other ranks.
    pub bytes_mailed: u64,
}

impl Totals {
    /// Counts a tile of the grid, and its mirror image if it has one.
    pub fn count(&mut self, done: &Done, grid: &Grid) {
        let Done { tile, checksum, summary, noted, .. } = done;
        let times = 1 + u32::from(grid.is_mirrored(*tile));
        self.pairs += u64::from(times) * grid.pairs(*tile) as u64;
        self.noted += u64::from(times) * noted;
        self.digest = self.digest.wrapping_add(u64::from(times).wrapping_mul(*checksum));
        self.summary.add(summary, times);
    }

    /// Adds what an earlier run has computed.
    pub fn add(&mut self, before: &Self) {
        self.pairs += before.pairs;
        self.noted += before.noted;
        self.digest = self.digest.wrapping_add(before.digest);
        self.summary.add(&before.summary, 1);
    }
}

/// What the main thread does while workers compute and there is nothing to store.
pub trait Meanwhile {
    /// Does a little of it, some milliseconds at most where that is possible. False if nothing is left to do.
    fn go_on(&mut self) -> Result<bool>;
}

/// Nothing is left to do.
impl Meanwhile for () {
    fn go_on(&mut self) -> Result<bool> {
        Ok(false)
    }
}

/// The rounds of this rank on one way round the ring.
pub struct Rounds<'a> {
    /// The ranks.
    pub comm: &'a Comm,
    /// Who computes what.
    pub ring: Ring,
    /// Tiles that are done already.
    pub done: &'a TileSet,
    /// When to stop early.
    pub stop: &'a Stop,
    /// How long what is found for other ranks waits at most.
    pub mail_interval: Duration,
}

/// What the main thread counts.
pub struct Tally<'a> {
    /// What was computed.
    pub totals: Totals,
    /// Tiles computed.
    pub tiles: usize,
    /// Shows them.
    pub progress: &'a mut Progress,
    /// Where the time goes.
    pub clock: &'a mut Clock,
}

impl<'a> Tally<'a> {
    /// Of nothing yet.
    pub fn new(progress: &'a mut Progress, clock: &'a mut Clock) -> Self {
        Self { totals: Totals::default(), tiles: 0, progress, clock }
    }
}

impl Rounds<'_> {
    /// Computes and stores this rank's tiles, with workers that `make` makes; `cols` is the block that it brings to the ring. Parcels are
    /// made where there are not enough, and left for the next time.
    ///
    /// # Errors
    /// If a tile cannot be stored, or what is done meanwhile fails. The other ranks know nothing of it: the caller must end the job.
    pub fn run<T: Number, W: Worker<T>>(
        &self,
        workers: &Workers,
        make: impl Fn() -> W + Sync,
        cols: Block,
        (sinks, parcels): (&mut Sinks<T>, &mut Vec<Parcel<T>>),
        meanwhile: &mut dyn Meanwhile,
        tally: &mut Tally<'_>,
    ) -> Result<()> {
        let tiles = self.ring.tile_count(self.comm.rank());
        // a rank without tiles passes the blocks of others on, and has a parcel to notice that there is nothing to order
        let most = super::parcels(workers.count()).min(tiles.max(1));
        while parcels.len() < most {
            parcels.push(sinks.parcel());
        }
        let free = std::mem::take(parcels);
        workers.serve(free.len(), make, |queue| {
            let mail = sinks.are_mailed().then(|| Mail::new(&self.ring, self.mail_interval));
            let thread = MainThread {
                rounds: self,
                sinks,
                mail,
                queue,
                free,
                meanwhile,
                ahead: VecDeque::new(),
                open: 0,
                tally,
            };
            *parcels = thread.run(Arc::new(cols))?;
            Ok(())
        })
    }
}

/// The tiles of a round that are not ordered yet, and its column block.
struct Ahead<'a> {
    tiles: Peekable<Box<dyn Iterator<Item = Tile> + 'a>>,
    cols: Arc<Block>,
}

struct MainThread<'a, 'b, T> {
    rounds: &'a Rounds<'a>,
    sinks: &'a mut Sinks<T>,
    meanwhile: &'a mut dyn Meanwhile,
    /// Nothing where no rank finds anything for another.
    mail: Option<Mail>,
    queue: Queue<T>,
    free: Vec<Parcel<T>>,
    ahead: VecDeque<Ahead<'a>>,
    /// Tiles ordered and not yet stored.
    open: usize,
    tally: &'a mut Tally<'b>,
}

impl<'a, T: Number> MainThread<'a, '_, T> {
    /// All rounds; returns the parcels when every tile is stored, or when it is time to stop and the other ranks need this
    /// one's blocks no more, and nothing is left to do meanwhile.
    fn run(mut self, mine: Arc<Block>) -> Result<Vec<Parcel<T>>> {
        let Rounds { comm, ring, .. } = *self.rounds;
        let mut blocks = vec![mine];
        for round in 0..ring.round_count() {
            let current = Arc::clone(&blocks[blocks.len() - 1]);
            self.enter(round);
            self.ahead.push_back(Ahead { tiles: self.tiles(round).peekable(), cols: Arc::clone(&current) });
            self.order();
            self.tell_bounds(round);
            if round + 1 < ring.round_count() {
                let spare = self.spare(&mut blocks)?;
                let next = self.exchange(&current, spare, ring.source(comm.rank(), round + 1));
                blocks.push(Arc::new(next));
            }
        }
        while self.open > 0 || self.mail.as_ref().is_some_and(|mail| !mail.is_over()) {
            let idle = if self.open > 0 { Phase::Compute } else { Phase::Exchange };
            self.step(idle)?;
        }
        if !self.rounds.stop.is_due() {
            while self.meanwhile.go_on()? {}
            self.tally.clock.lap(Phase::Read);
        }
        let written = self.sinks.flush()?;
        self.count_written(written);
        Ok(self.free)
    }

    /// The tiles of a round that are left to do.
    fn tiles(&self, round: usize) -> Box<dyn Iterator<Item = Tile> + 'a> {
        let Rounds { comm, ring, done, .. } = *self.rounds;
        let is_left = |tile: &Tile| !done.contains(*tile);
        if self.sinks.go_outward() {
            Box::new(ring.tiles_outward(comm.rank(), round).filter(is_left))
        } else {
            Box::new(ring.tiles(comm.rank(), round).filter(is_left))
        }
    }

    /// Orders a tile for every free parcel, as long as there are tiles and time.
    fn order(&mut self) {
        if self.rounds.stop.is_due() {
            self.ahead.clear();
        }
        while let Some(next) = self.ahead.front_mut() {
            if self.free.is_empty() || self.sinks.are_full() {
                return;
            }
            let Some(&tile) = next.tiles.peek() else {
                self.ahead.pop_front();
                continue;
            };
            if !make_room(self.mail.as_mut(), self.sinks, tile) {
                return;
            }
            next.tiles.next();
            let (cols, parcel) = (Arc::clone(&next.cols), self.free.pop().expect("one is free"));
            let mirrored = self.rounds.ring.schedule.grid.is_mirrored(tile);
            self.queue.order(Order { tile, mirrored, cols, parcel });
            self.open += 1;
        }
    }

    /// Room for the next column block: a block no worker needs any more, or a new one.
    fn spare(&mut self, blocks: &mut Vec<Arc<Block>>) -> Result<Block> {
        loop {
            let current = blocks.len() - 1;
            if let Some(unused) = (0..current).find(|&at| Arc::strong_count(&blocks[at]) == 1)
                && let Ok(block) = Arc::try_unwrap(blocks.remove(unused))
            {
                return Ok(block);
            }
            if blocks.len() < COLUMN_BLOCKS {
                return Ok(blocks[current].empty());
            }
            self.step(Phase::Compute)?;
        }
    }

    /// Sends the current block on and receives the next, while tiles are stored.
    fn exchange(&mut self, current: &Block, mut spare: Block, source: usize) -> Block {
        let Rounds { comm, ring, .. } = *self.rounds;
        let (to, from) = (ring.send_to(comm.rank()), ring.receive_from(comm.rank()));
        self.tally.totals.bytes_sent += size_of_val(current.words()) as u64;
        let incoming = spare.receive(ring.tile_cols(source));
        // an error must not wait for the messages
        let meanwhile = || comm.or_abort(self.step(Phase::Exchange));
        comm.exchange((current.words(), to), (incoming, from), meanwhile);
        self.tally.clock.lap(Phase::Exchange);
        spare
    }

    /// A turn, and mail if it is time.
    fn step(&mut self, idle: Phase) -> Result<()> {
        self.turn(idle)?;
        self.post();
        Ok(())
    }

    /// Waits a moment for a computed tile, and stores it; takes in what others have sent. Waiting without any tile to come counts as
    /// `idle`.
    fn turn(&mut self, idle: Phase) -> Result<()> {
        let written = self.sinks.tick()?;
        self.count_written(written);
        self.take_in_mail()?;
        if self.open == 0 {
            if self.meanwhile.go_on()? {
                self.tally.clock.lap(idle);
                return Ok(());
            }
            // nothing to do: let the other ranks of a crowded node have the core
            std::thread::yield_now();
            self.tally.clock.lap(idle);
            return Ok(());
        }
        if self.queue.is_idle() && self.meanwhile.go_on()? {
            self.tally.clock.lap(Phase::Compute);
            return Ok(());
        }
        let waited = self.queue.wait(POLL);
        self.tally.clock.lap(Phase::Compute);
        waited.map_or(Ok(()), |computed| self.store(computed))
    }

    fn store(&mut self, Computed { done, parcel }: Computed<T>) -> Result<()> {
        let grid = &self.rounds.ring.schedule.grid;
        let written = self.sinks.store(&done, &parcel)?;
        self.count_written(written);
        let Tally { totals, tiles, progress, .. } = &mut *self.tally;
        totals.count(&done, grid);
        if let Some(stream) = self.mail.as_mut().and_then(|mail| mail.of(done.tile)) {
            stream.open -= 1;
            stream.stored.push(done.tile);
        }
        *tiles += 1;
        progress.advance(*tiles, totals.pairs);
        self.open -= 1;
        self.free.push(parcel);
        self.order();
        self.tally.clock.lap(Phase::Compute);
        Ok(())
    }

    fn count_written(&mut self, bytes: u64) {
        if bytes > 0 {
            self.tally.totals.bytes_written += bytes;
            self.tally.clock.lap(Phase::Write);
        }
    }

    /// Before the tiles of a round are ordered: what is found for the owner of its columns will be mailed.
    fn enter(&mut self, round: usize) {
        let Rounds { comm, ring, .. } = *self.rounds;
        if let Some(mail) = self.mail.as_mut().filter(|_| round > 0) {
            let to = ring.source(comm.rank(), round);
            let tiles = ring.tile_cols(to);
            let rows = ring.schedule.rows_of(tiles.clone());
            mail.begin(to, tiles, rows);
        }
    }

    /// Tells the rank that has this rank's block in a round what this one has found already.
    fn tell_bounds(&mut self, round: usize) {
        let Rounds { comm, ring, .. } = *self.rounds;
        if self.mail.is_some() && round > 0 {
            let bounds = self.sinks.bounds(&ring.schedule.rows_of(ring.tile_cols(comm.rank())));
            self.send(&bounds, ring.holder(comm.rank(), round), Tag::Bounds);
        }
    }

    /// Sends words, while tiles are stored and mail is taken in.
    fn send(&mut self, words: &[u64], to: usize, tag: Tag) {
        let comm = self.rounds.comm;
        self.tally.totals.bytes_mailed += size_of_val(words) as u64;
        comm.send(words, to, tag, || comm.or_abort(self.turn(Phase::Exchange)));
    }

    /// Takes in what other ranks have sent.
    fn take_in_mail(&mut self) -> Result<()> {
        let Rounds { comm, ring, .. } = *self.rounds;
        let Some(mail) = &mut self.mail else { return Ok(()) };
        while let Some((owner, bounds)) = comm.receive(Tag::Bounds) {
            mail.has_come(Tag::Bounds);
            match mail.to(owner) {
                Some(stream) if stream.has_lists => self.sinks.tighten(&stream.rows, &bounds),
                _ => mail.keep(owner, ring.round_of(comm.rank(), owner), bounds),
            }
        }
        while let Some((_, words)) = comm.receive(Tag::Letter) {
            let (is_last, tiles, found) = mail::opened(&words);
            self.sinks.deliver(found)?;
            tiles.into_iter().try_for_each(|tile| self.sinks.has_mirror(tile))?;
            if is_last {
                mail.has_come(Tag::Letter);
            }
        }
        Ok(())
    }

    /// Sends what is found: all, where the tiles of a round are all stored; what there is, if it is time.
    fn post(&mut self) {
        let Some(mail) = &mut self.mail else { return };
        let is_time = mail.is_time() || self.sinks.are_full();
        let is_due = |stream: &&Stream| is_over(stream, &self.ahead) || is_time && !stream.stored.is_empty();
        let due: Vec<usize> = mail.streams.iter().filter(is_due).map(|stream| stream.to).collect();
        for to in due {
            self.post_to(to);
        }
    }

    /// Sends what is found for one rank.
    fn post_to(&mut self, to: usize) {
        let Some(stream) = self.mail.as_mut().and_then(|mail| mail.to(to)) else { return };
        let (is_last, rows) = (is_over(stream, &self.ahead), stream.rows.clone());
        // of these all is in the lists by now
        let tiles = std::mem::take(&mut stream.stored);
        let mut cursor = Cursor::default();
        while let Some(found) = self.sinks.letter(&rows, &mut cursor) {
            self.send(&mail::letter(false, &[], &found), to, Tag::Letter);
        }
        if is_last {
            self.sinks.leave(&rows);
            self.mail.iter_mut().for_each(|mail| mail.streams.retain(|stream| stream.to != to));
        }
        self.send(&mail::letter(is_last, &tiles, &[]), to, Tag::Letter);
        // tiles of a later round may have waited for room
        self.order();
    }
}

/// Whether all tiles of a round are stored.
fn is_over(stream: &Stream, ahead: &VecDeque<Ahead<'_>>) -> bool {
    stream.open == 0 && !ahead.iter().any(|next| next.cols.tiles == stream.tiles)
}

/// Makes lists for what is found in the mirror image of a tile, if another rank owns its rows and they are not there. False if the lists of
/// earlier rounds must go first.
fn make_room<T: Number>(mail: Option<&mut Mail>, sinks: &mut Sinks<T>, tile: Tile) -> bool {
    let Some(mail) = mail else { return true };
    let present = mail.streams.iter().filter(|stream| stream.has_lists).count();
    let Some(stream) = mail.of(tile) else { return true };
    if !stream.has_lists {
        if present == FOREIGN_LISTS {
            return false;
        }
        sinks.enter(&stream.rows);
        sinks.tighten(&stream.rows, &std::mem::take(&mut stream.bounds));
        stream.has_lists = true;
    }
    stream.open += 1;
    true
}
