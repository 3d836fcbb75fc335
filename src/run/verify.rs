//! `verify`: a result against the definition of its metric, and against its checksums.

use std::path::Path;

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

use super::placement;
use super::setup::{self, with_dtype};
use crate::cli::VerifyArgs;
use crate::comm::{Comm, Reduce};
use crate::error::{Context, Error, Result};
use crate::fail;
use crate::io::matrix::{InputId, MatrixReader};
use crate::io::samples::Samples;
use crate::kernel::{Checksum, Level, Method, guard_tau};
use crate::partition::{Tile, range_of};
use crate::pipeline::{Number, Workers};
use crate::report::print;

/// The result to check, and the samples it was computed from.
struct Case {
    reader: MatrixReader,
    x: Samples,
    y: Option<Samples>,
}

/// The whole number that was taken off the samples.
fn subtracted(id: &InputId, path: &Path) -> Result<i128> {
    let text = if id.subtracted.is_empty() { "0" } else { &id.subtracted };
    text.parse().context(|| format!("{} is damaged: what was taken off {}", path.display(), id.path))
}

/// The worst of the entries seen so far.
#[derive(Clone, Copy, Debug, Default)]
struct Worst {
    /// Entries compared.
    pairs: u64,
    /// Largest |value − definition| / definition.
    relative: f64,
    /// Largest |value − definition| / tolerance.
    of_bound: f64,
    /// Entries beyond their tolerance.
    wrong: u64,
    /// The first of them: row, column, value, definition.
    first: Option<(usize, usize, f64, f64)>,
}

impl Worst {
    fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.relative = self.relative.max(other.relative);
        self.of_bound = self.of_bound.max(other.of_bound);
        self.wrong += other.wrong;
        self.first = self.first.or(other.first);
    }
}

pub(super) fn verify(comm: &Comm, args: &VerifyArgs) -> Result<()> {
    let case = comm.agree(Case::open(&args.result))?;
    let seen = comm.agree(case.seen())?;
    comm.same(&seen, "put the result on a file system that all nodes share")?;
    case.samples().try_for_each(|samples| setup::agree_on_samples(comm, samples))?;
    with_dtype!(case.reader.header.dtype, verify_in(comm, args, &case))
}

fn verify_in<T: Number>(comm: &Comm, args: &VerifyArgs, case: &Case) -> Result<()> {
    let nodes = placement::nodes(comm);
    let workers = comm.agree(placement::threads(None, &nodes).and_then(Workers::start))?;
    if args.all {
        case.check_samples::<T>(comm, &workers)?;
    }
    let checked = if args.all { case.all::<T>(comm, &workers) } else { case.pairs::<T>(comm, args.pairs) };
    let mine = comm.agree(checked.and_then(|worst| case.judge(&worst).map(|()| worst)))?;
    let pairs = comm.all_reduce(&[mine.pairs], Reduce::Sum)[0];
    let [relative, of_bound] =
        [mine.relative, mine.of_bound].map(|value| comm.all_reduce(&[value], Reduce::Max)[0]);
    comm.on_root(|| {
        let what = if args.all { "every pair and checksum" } else { "random pairs" };
        print(&format!(
            "verified     {pairs} distances ({what}): largest relative error {relative:.2e}, {:.1} % of its bound\n",
            100.0 * of_bound
        ))
    })
}

impl Case {
    fn open(path: &Path) -> Result<Self> {
        let reader = MatrixReader::open(path)?;
        if !reader.complete {
            fail!("{} is not finished: its values are not to be used", path.display());
        }
        let open = |id: &InputId| {
            let hint = |text| format!("{text} (the samples that {} was computed from)", path.display());
            let samples = Samples::open(Path::new(&id.path), Some(&id.dataset))
                .map_err(|error: Error| error.map(hint))?
                .less(subtracted(id, path)?);
            if (samples.rows, samples.features) != id.shape {
                fail!(
                    "{} has {} x {} values, but had {} x {} when {} was computed",
                    samples.describe(),
                    samples.rows,
                    samples.features,
                    id.shape.0,
                    id.shape.1,
                    path.display()
                );
            }
            Ok(samples)
        };
        let x = open(&reader.header.inputs[0])?;
        let y = reader.header.inputs.get(1).map(open).transpose()?;
        Ok(Self { reader, x, y })
    }

    /// Refuses samples that are not those the result was computed from. Collective.
    fn check_samples<T: Number>(&self, comm: &Comm, workers: &Workers) -> Result<()> {
        let digests = setup::digests::<T>(comm, workers, self.samples())?;
        for ((samples, digest), id) in self.samples().zip(digests).zip(&self.reader.header.inputs) {
            let digest = format!("{digest:016x}");
            if digest != id.digest {
                fail!(
                    "{} has changed: its digest is {digest}, and was {} when {} was computed",
                    samples.describe(),
                    id.digest,
                    self.reader.shown()
                );
            }
        }
        Ok(())
    }

    /// What ranks must have in common that see the same result.
    fn seen(&self) -> Result<Vec<(String, String)>> {
        let Self { reader, .. } = self;
        let field = |name: &str, value: String| (format!("{name} of {}", reader.shown()), value);
        Ok(vec![
            field("the header", format!("{:?}", reader.header)),
            field("the digest", format!("{:016x}", reader.digest()?)),
        ])
    }

    /// X, and Y if there is one.
    fn samples(&self) -> impl Iterator<Item = &Samples> {
        [Some(&self.x), self.y.as_ref()].into_iter().flatten()
    }

    fn y(&self) -> &Samples {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// Compares an entry with the definition.
    fn compare<T: Number>(&self, place: (usize, usize), value: T, x: &[T], y: &[T]) -> Worst {
        let header = &self.reader.header;
        let definition = header.metric.distance(x, y);
        let tau = (header.method == Method::Gemm).then(|| guard_tau(header.dtype));
        let (features, scaling) = (header.features, header.scaling_exponent);
        let tolerance = header.metric.tolerance::<T>(features, tau, scaling, definition);
        let error = header.metric.error::<T>(features, tau, value, definition);
        let ratio = |part: f64, whole: f64| if part == 0.0 { 0.0 } else { part / whole };
        let is_wrong = error.is_nan() || error > tolerance;
        Worst {
            pairs: 1,
            relative: ratio(error, definition),
            of_bound: ratio(error, tolerance),
            wrong: u64::from(is_wrong),
            first: is_wrong.then_some((place.0, place.1, value.to_f64(), definition)),
        }
    }

    /// This rank's share of `count` different random pairs, or of all; the same pairs for any number of ranks.
    fn pairs<T: Number>(&self, comm: &Comm, count: usize) -> Result<Worst> {
        let grid = self.reader.header.grid;
        let (total, mut rng) = (grid.n * grid.m, Xoshiro256PlusPlus::seed_from_u64(0));
        let places = rand::seq::index::sample(&mut rng, total, count.min(total)).into_vec();
        let mut worst = Worst::default();
        for &place in &places[range_of(places.len(), comm.size(), comm.rank())] {
            let (row, col) = (place / grid.m, place % grid.m);
            let (x, y) = (self.x.read::<T>(row..row + 1)?, self.y().read::<T>(col..col + 1)?);
            worst.add(&self.compare((row, col), self.reader.entry::<T>(row, col)?, &x, &y));
        }
        Ok(worst)
    }

    /// This rank's share of all tiles.
    fn all<T: Number>(&self, comm: &Comm, workers: &Workers) -> Result<Worst> {
        let level = Level::detect().map_err(Error::Failed)?;
        let (grid, d) = (self.reader.header.grid, self.reader.header.features);
        let mut checksum = Checksum::default();
        let mut worst = Worst::default();
        for i in range_of(grid.tile_rows(), comm.size(), comm.rank()) {
            let rows = grid.rows(i);
            let x = self.x.read::<T>(rows.clone())?;
            for j in 0..grid.tile_cols() {
                let (tile, cols) = (Tile { i, j }, grid.cols(j));
                let values = self.reader.block::<T>(rows.clone(), cols.clone())?;
                let computed = checksum.of(level, &values, rows.clone(), cols.clone());
                let stored = self.reader.checksum(tile)?;
                if computed != stored {
                    fail!(
                        "{}: tile ({i}, {j}), rows {} to {} and columns {} to {}, has checksum {computed:016x}, but {stored:016x} was stored when it was computed; the file has changed since",
                        self.reader.shown(),
                        rows.start,
                        rows.end,
                        cols.start,
                        cols.end
                    );
                }
                let y = self.y().read::<T>(cols.clone())?;
                let of_row = |r: usize| {
                    let mut worst = Worst::default();
                    let line = values[r * cols.len()..].iter().zip(y.chunks_exact(d)).take(cols.len());
                    for (c, (&value, y)) in line.enumerate() {
                        let place = (rows.start + r, cols.start + c);
                        worst.add(&self.compare(place, value, &x[r * d..][..d], y));
                    }
                    worst
                };
                workers.map(rows.len(), of_row).iter().for_each(|row| worst.add(row));
            }
        }
        Ok(worst)
    }

    fn judge(&self, worst: &Worst) -> Result<()> {
        let Some((row, col, value, definition)) = worst.first else { return Ok(()) };
        fail!(
            "{}: {} of {} distances are beyond their bound, first ({row}, {col}): {value:e} in the file, {definition:e} by the definition; compute it again",
            self.reader.shown(),
            worst.wrong,
            worst.pairs
        )
    }
}
