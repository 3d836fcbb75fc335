//! `generate`: random samples, the same bytes for any number of ranks.
//!
//! Every sample has a generator of its own, seeded from the file's seed and the sample's row.

use std::ops::Range;

use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;
use xxhash_rust::xxh3::xxh3_64;

use super::limits;
use super::setup::with_dtype;
use crate::cli::{Distribution, GenerateArgs};
use crate::comm::{Comm, Reduce};
use crate::element::{Dtype, Element};
use crate::error::{Error, Result};
use crate::failpoint;
use crate::host;
use crate::io::generated::{SamplesWriter, create};
use crate::number::Number;
use crate::partition::range_of;
use crate::stop::Stop;
use crate::store::workdir::{Existing, Workdir};
use crate::text::{bytes, counted};

/// Clusters of `--distribution blobs`, as many as digits have classes.
const BLOBS: u64 = 10;

/// Bytes of samples that a rank writes at once.
const PIECE_BYTES: usize = 16 << 20;

pub(super) fn generate(comm: &Comm, args: &GenerateArgs, stop: &Stop) -> Result<()> {
    with_dtype!(Dtype::from(args.dtype), generate_in(comm, args, stop))
}

fn generate_in<T: Number>(comm: &Comm, args: &GenerateArgs, stop: &Stop) -> Result<()> {
    let (n, d) = (args.samples, args.features);
    let Some(size) = n.checked_mul(d).and_then(|values| values.checked_mul(size_of::<T>())) else {
        return Err(Error::Usage(format!(
            "{n} samples of {d} features have more bytes than 64 bits can count"
        )));
    };
    comm.agree(limits::check_limit(PIECE_BYTES as u64, 0, "raise the limit"))?;
    let mut workdir = Workdir::of(&args.output, Existing::Samples);
    comm.on_root(|| workdir.check(&[]))?;
    comm.agree(limits::check_space(size as u64, &workdir))?;
    comm.on_root(|| {
        workdir.claim()?;
        workdir.clear()?;
        let created = create::<T>(&workdir.samples(), (n, d), &host::command_line());
        created.map_err(|error| super::end_job(comm, &mut workdir, &error))?;
        workdir.reserve().inspect_err(|_| workdir.discard())
    })?;
    let written = workdir
        .check_shared(comm)
        .and_then(|()| fill::<T>(comm, args, stop, &workdir))
        .and_then(|()| workdir.check_still_shared(comm));
    if let Err(error) = written {
        // some file systems keep the name of a file that any rank has open
        comm.barrier();
        if comm.is_root() {
            workdir.discard();
        }
        return Err(error);
    }
    comm.on_root(|| {
        workdir.publish(false, true)?;
        let (samples, features) = (counted(n, "sample"), counted(d, "feature"));
        log::info!("{}: {samples} of {features}, {}", args.output.display(), bytes(size as u64));
        Ok(())
    })
}

/// Writes all samples to the file that rank 0 has created, and forces them to the disk. Collective.
fn fill<T: Number>(comm: &Comm, args: &GenerateArgs, stop: &Stop, workdir: &Workdir) -> Result<()> {
    let writer = SamplesWriter::open(&workdir.samples(), comm)?;
    let written = write_rows::<T>(comm, args, stop, &writer).and_then(|()| comm.agree(writer.sync()));
    let closed = comm.agree(writer.close());
    written.and(closed)
}

/// Writes this rank's rows, a piece at a time. After each the ranks agree whether to go on: what fails on one rank, or a signal to it,
/// ends the work of all. Collective.
fn write_rows<T: Number>(
    comm: &Comm,
    args: &GenerateArgs,
    stop: &Stop,
    writer: &SamplesWriter,
) -> Result<()> {
    let d = args.features;
    let mut pieces =
        pieces(range_of(args.samples, comm.size(), comm.rank()), d, PIECE_BYTES / size_of::<T>());
    let steps = comm.all_reduce(&[pieces.clone().count() as u64], Reduce::Max)[0];
    let mut row = None;
    let mut values: Vec<T> = Vec::new();
    let mut write = |(rows, features): Piece| {
        values.resize(rows.len() * features.len(), T::default());
        for (number, values) in rows.clone().zip(values.chunks_exact_mut(features.len())) {
            let row = match &mut row {
                Some(row) if features.start > 0 => row,
                _ => row.insert(Row::new(args.distribution, args.seed, number)),
            };
            row.fill(values);
        }
        failpoint::hit("write")?;
        writer.write(rows, features, &values)
    };
    for _ in 0..steps {
        let written = pieces.next().map_or(Ok(()), &mut write);
        comm.agree(written.and_then(|()| if stop.is_signalled() { Err(stopped(args)) } else { Ok(()) }))?;
    }
    Ok(())
}

fn stopped(args: &GenerateArgs) -> Error {
    let shown = args.output.display();
    Error::Stopped(format!(
        "stopped by a signal before {shown} was complete, so nothing is kept; start again"
    ))
}

/// Rows and features that are written at once.
type Piece = (Range<usize>, Range<usize>);

/// All features of `rows` in pieces of at most so many values, in order: some whole rows each, or a part of one row.
fn pieces(rows: Range<usize>, features: usize, values: usize) -> impl Iterator<Item = Piece> + Clone {
    let cut = |range: Range<usize>, len: usize| {
        let end = range.end;
        range.step_by(len).map(move |start| start..end.min(start + len))
    };
    let values = values.max(1);
    cut(rows, (values / features).max(1))
        .flat_map(move |rows| cut(0..features, values).map(move |features| (rows.clone(), features)))
}

/// One sample, whose values come one after the other.
struct Row {
    distribution: Distribution,
    rng: Xoshiro256PlusPlus,
    /// Of `--distribution blobs`: the centre that the sample lies around.
    centre: Xoshiro256PlusPlus,
}

impl Row {
    fn new(distribution: Distribution, seed: u64, row: usize) -> Self {
        let mut rng = generator(seed, row as u64);
        let blob = if distribution == Distribution::Blobs { rng.random_range(0..BLOBS) } else { 0 };
        // rows count up from 0, centres down from the end
        Self { distribution, rng, centre: generator(seed, u64::MAX - blob) }
    }

    /// The next values.
    fn fill<T: Element>(&mut self, values: &mut [T]) {
        let Self { distribution, rng, centre } = self;
        match distribution {
            Distribution::Uniform => values.fill_with(|| T::from_f64(uniform::<T>(rng))),
            Distribution::Normal => values.fill_with(|| T::from_f64(StandardNormal.sample(rng))),
            Distribution::Blobs => values.fill_with(|| {
                let offset: f64 = StandardNormal.sample(rng);
                T::from_f64(20.0 * centre.random::<f64>() - 10.0 + offset)
            }),
        }
    }
}

/// A number in [0, 1) that the type holds exactly, so that rounding never gives 1.
fn uniform<T: Element>(rng: &mut impl Rng) -> f64 {
    match T::DTYPE {
        Dtype::F32 => f64::from(rng.random::<f32>()),
        Dtype::F64 => rng.random::<f64>(),
    }
}

/// A generator for one row.
fn generator(seed: u64, row: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::from_seed(state(seed, row))
}

/// What a row's generator begins with: 256 bits, each word a hash of its own. `seed_from_u64` would take four steps of one sequence,
/// of which other rows may take the same. `jump` leads from each row to the next only, so that a rank would have to take all those
/// before its own; and the numbered streams of ChaCha take longer for every value.
fn state(seed: u64, row: u64) -> [u8; 32] {
    let mut state = [0; 32];
    for (number, word) in (0_u64..).zip(state.chunks_exact_mut(8)) {
        let name = [seed, row, number].map(u64::to_le_bytes);
        word.copy_from_slice(&xxh3_64(name.as_flattened()).to_le_bytes());
    }
    state
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn neighbouring_rows_and_seeds_share_no_word_of_state() {
        let words = |(seed, row)| {
            let words = state(seed, row);
            words.chunks(8).map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let rows = (0..1000).chain(u64::MAX - 10..u64::MAX);
        let places: Vec<_> = rows.flat_map(|row| (0..4).map(move |seed| (seed, row))).collect();
        let all: HashSet<_> = places.iter().copied().flat_map(words).collect();
        assert_eq!(all.len(), 4 * places.len());
    }

    #[test]
    fn the_bits_of_neighbouring_rows_are_independent() {
        // each of 64 bits of a word changes in half of the pairs of rows: 5000 of them, give or take 6 standard deviations
        for number in 0..4 {
            let word = |row| {
                let mut rng = generator(0, row);
                (0..=number).fold(0_u64, |_, _| rng.random())
            };
            let words: Vec<u64> = (0..=10_000).map(word).collect();
            for bit in 0..64 {
                let changes = words.windows(2).filter(|pair| (pair[0] ^ pair[1]) >> bit & 1 == 1).count();
                assert!(changes.abs_diff(5000) < 300, "bit {bit} of word {number} changes {changes} times");
            }
        }
    }

    #[test]
    fn a_sample_is_the_same_whatever_the_size_of_its_pieces() {
        let samples = |distribution, most: usize| {
            let (n, d) = (7, 13);
            let (mut all, mut row) = (vec![0.0_f32; n * d], None);
            for (rows, features) in pieces(0..n, d, most) {
                assert!(rows.len() * features.len() <= most);
                for number in rows {
                    if features.start == 0 {
                        row = Some(Row::new(distribution, 1, number));
                    }
                    let place = number * d + features.start..number * d + features.end;
                    row.as_mut().expect("a row begins with its first feature").fill(&mut all[place]);
                }
            }
            all
        };
        for distribution in [Distribution::Uniform, Distribution::Normal, Distribution::Blobs] {
            let whole = samples(distribution, 1000);
            assert!(whole.iter().all(|value| *value != 0.0));
            for most in [1, 2, 5, 12, 13, 14, 26, 90] {
                assert_eq!(samples(distribution, most), whole, "{distribution:?} in pieces of {most}");
            }
        }
    }
}
