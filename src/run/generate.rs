//! `generate`: random samples, the same bytes for any number of ranks.
//!
//! Every sample has a generator of its own, seeded from the file's seed and the sample's row.

use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution as _, StandardNormal};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::setup::{self, with_dtype};
use crate::cli::{Distribution, GenerateArgs};
use crate::comm::Comm;
use crate::element::{Dtype, Element};
use crate::error::{Error, Result};
use crate::host;
use crate::io::generated::{SamplesWriter, create};
use crate::io::workdir::{Existing, Workdir};
use crate::partition::range_of;
use crate::pipeline::Number;
use crate::report::bytes;

/// Clusters of `--distribution blobs`, as many as digits have classes.
const BLOBS: usize = 10;

/// Bytes of samples that a rank writes at once.
const SLAB_BYTES: usize = 16 << 20;

pub(super) fn generate(comm: &Comm, args: &GenerateArgs) -> Result<()> {
    with_dtype!(Dtype::from(args.dtype), generate_in(comm, args))
}

fn generate_in<T: Number>(comm: &Comm, args: &GenerateArgs) -> Result<()> {
    let (n, d) = (args.samples, args.features);
    let Some(size) = n.checked_mul(d).and_then(|values| values.checked_mul(size_of::<T>())) else {
        return Err(Error::Usage(format!(
            "{n} samples of {d} features have more bytes than 64 bits can count"
        )));
    };
    let mut workdir = Workdir::of(&args.output, Existing::Keep);
    comm.on_root(|| workdir.check(&[]))?;
    comm.on_root(|| setup::check_space(size as u64, workdir.parent()))?;
    comm.on_root(|| {
        workdir.create()?;
        let created = create::<T>(&workdir.matrix(), (n, d), &host::command_line());
        created.map_err(|error| super::end_job(comm, &mut workdir, &error))
    })?;
    if let Err(error) = workdir.check_shared(comm) {
        return Err(give_up(comm, &mut workdir, error));
    }
    let opened = SamplesWriter::open(&workdir.matrix(), comm);
    let writer = opened.map_err(|error| give_up(comm, &mut workdir, error))?;
    let written = comm.agree(write_rows::<T>(comm, args, &writer));
    let closed = comm.agree(writer.finish());
    if let Err(error) = written.and(closed) {
        return Err(give_up(comm, &mut workdir, error));
    }
    comm.on_root(|| workdir.publish(false, true))?;
    comm.on_root(|| {
        log::info!("{}: {n} samples of {d} features, {}", args.output.display(), bytes(size as u64));
        Ok(())
    })
}

/// Leaves nothing behind.
fn give_up(comm: &Comm, workdir: &mut Workdir, error: Error) -> Error {
    if comm.is_root() {
        workdir.discard();
    }
    error
}

fn write_rows<T: Number>(comm: &Comm, args: &GenerateArgs, writer: &SamplesWriter) -> Result<()> {
    let d = args.features;
    let source = Source::new(args);
    let rows = range_of(args.samples, comm.size(), comm.rank());
    let slab = (SLAB_BYTES / (d * size_of::<T>())).max(1);
    let mut values: Vec<T> = Vec::new();
    for first in rows.clone().step_by(slab) {
        let part = first..rows.end.min(first + slab);
        values.resize(part.len() * d, T::default());
        for (row, sample) in part.zip(values.chunks_exact_mut(d)) {
            source.fill(row, sample);
        }
        writer.write(first, d, &values)?;
    }
    Ok(())
}

/// Where values come from.
struct Source {
    distribution: Distribution,
    seed: u64,
    centres: Vec<Vec<f64>>,
}

impl Source {
    fn new(args: &GenerateArgs) -> Self {
        let centre = |blob: usize| {
            // rows count up from 0, centres down from the end
            let mut rng = generator(args.seed, u64::MAX - blob as u64);
            (0..args.features).map(|_| 20.0 * rng.random::<f64>() - 10.0).collect()
        };
        let blobs = if args.distribution == Distribution::Blobs { BLOBS } else { 0 };
        Self { distribution: args.distribution, seed: args.seed, centres: (0..blobs).map(centre).collect() }
    }

    fn fill<T: Element>(&self, row: usize, sample: &mut [T]) {
        let mut rng = generator(self.seed, row as u64);
        match self.distribution {
            Distribution::Uniform => sample.fill_with(|| T::from_f64(uniform::<T>(&mut rng))),
            Distribution::Normal => sample.fill_with(|| T::from_f64(StandardNormal.sample(&mut rng))),
            Distribution::Blobs => {
                let centre = &self.centres[rng.random_range(0..BLOBS)];
                for (value, centre) in sample.iter_mut().zip(centre) {
                    let offset: f64 = StandardNormal.sample(&mut rng);
                    *value = T::from_f64(centre + offset);
                }
            }
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

/// A generator for one row. The seed is spread first, so that seed + 1 is not the next row's stream.
fn generator(seed: u64, row: u64) -> Xoshiro256PlusPlus {
    let spread = Xoshiro256PlusPlus::seed_from_u64(seed).random::<u64>();
    Xoshiro256PlusPlus::seed_from_u64(spread.wrapping_add(row.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_seeds_differ() {
        let values: Vec<u64> =
            [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(s, r)| generator(s, r).random()).to_vec();
        let mut unique = values.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), values.len());
    }
}
