//! `verify`: a result against the definition of its metric, and against its checksums.

use std::ops::Range;
use std::path::{Component, Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::inputs;
use super::placement;
use super::setup::with_dtype;
use crate::cli::VerifyArgs;
use crate::comm::{Comm, Reduce};
use crate::error::{Context, Error, Result};
use crate::fail;
use crate::io::result::{Header, ResultReader};
use crate::kernel::{Checksum, Level, Method, guard_tau};
use crate::number::Number;
use crate::partition::{Grid, Tile, range_of};
use crate::pipeline::Workers;
use crate::problem::{InputId, Problem};
use crate::report::print;
use crate::sink::matrix::MatrixReader;
use crate::source::{Samples, View};

/// Bytes of samples of an input that are read together; one sample (with `--all`, those of a tile) is read where it has more.
const SAMPLES_BYTES: usize = 64 << 20;

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

/// An entry beyond its tolerance.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    row: usize,
    col: usize,
    value: f64,
    definition: f64,
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
    /// The first of them in the matrix.
    first: Option<Wrong>,
}

impl Worst {
    fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.relative = self.relative.max(other.relative);
        self.of_bound = self.of_bound.max(other.of_bound);
        self.wrong += other.wrong;
        self.first =
            [self.first, other.first].into_iter().flatten().min_by_key(|wrong| (wrong.row, wrong.col));
    }

    /// The worst that any rank has seen. Collective.
    fn of_all(self, comm: &Comm, grid: Grid) -> Self {
        let place = |wrong: Wrong| (wrong.row * grid.m + wrong.col) as u64;
        // below 2⁶³, and beyond all places
        let first = comm.all_reduce(&[self.first.map_or(u64::MAX >> 1, place)], Reduce::Min)[0];
        let mine = self.first.filter(|&wrong| place(wrong) == first);
        let [value, definition] =
            mine.map_or([0; 2], |wrong| [wrong.value, wrong.definition].map(f64::to_bits));
        let sums = comm.all_reduce(&[self.pairs, self.wrong, value, definition], Reduce::Sum);
        let worst = comm.all_reduce(&[self.relative, self.of_bound], Reduce::Max);
        let first = (sums[1] > 0).then(|| Wrong {
            row: usize::try_from(first).unwrap_or(0) / grid.m,
            col: usize::try_from(first).unwrap_or(0) % grid.m,
            value: f64::from_bits(sums[2]),
            definition: f64::from_bits(sums[3]),
        });
        Self { pairs: sums[0], relative: worst[0], of_bound: worst[1], wrong: sums[1], first }
    }
}

pub(super) fn verify(comm: &Comm, args: &VerifyArgs) -> Result<()> {
    let case = comm.agree(Case::open(args))?;
    let seen = comm.agree(case.seen())?;
    comm.same(&seen, "put the result on a file system that all nodes share")?;
    comm.same(&case.places(), "name the samples with --samples, and --against if there are two inputs")?;
    case.samples().try_for_each(|samples| inputs::agree_on_samples(comm, samples))?;
    with_dtype!(case.problem().dtype, verify_in(comm, args, &case))
}

fn verify_in<T: Number>(comm: &Comm, args: &VerifyArgs, case: &Case) -> Result<()> {
    let nodes = placement::nodes(comm);
    let workers = comm.agree(placement::threads(None, &nodes).and_then(Workers::start))?;
    if args.all || case.have_moved() {
        case.check_samples::<T>(comm, &workers)?;
    }
    let checked = if args.all {
        case.all::<T>(comm, &workers)
    } else {
        case.pairs::<T>(comm, &workers, args.pairs, args.seed)
    };
    let worst = comm.agree(checked)?.of_all(comm, case.reader.grid);
    if worst.wrong > 0 && !args.all && !case.have_moved() {
        // the samples may be others than then
        case.check_samples::<T>(comm, &workers)?;
    }
    case.judge(&worst)?;
    comm.on_root(|| {
        let what = if args.all {
            "every pair and checksum".into()
        } else {
            format!("random pairs, seed {}", args.seed)
        };
        print(&format!(
            "verified     {} distances ({what}): largest relative error {:.2e}, {:.1} % of its bound\n",
            worst.pairs,
            worst.relative,
            100.0 * worst.of_bound
        ))
    })
}

/// Row and column of one of `count` random pairs: anywhere in its own part of the matrix, which is cut into `count` equal parts in the
/// order of its rows. So all differ, and any of them is known without the others.
fn pair(grid: Grid, count: usize, number: usize, seed: u64) -> (usize, usize) {
    let part = range_of(grid.n * grid.m, count, number);
    let random = xxh3_64_with_seed(&(number as u64).to_le_bytes(), seed);
    let within = (u128::from(random) * part.len() as u128) >> 64;
    let place = part.start + usize::try_from(within).expect("it is below the length of the part");
    (place / grid.m, place % grid.m)
}

/// `range` in parts of so many.
fn parts(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(len).map(move |first| first..range.end.min(first.saturating_add(len)))
}

/// The options that name file and dataset of X, and of Y.
const OPTIONS: [[&str; 2]; 2] = [["--samples", "--dataset"], ["--against", "--against-dataset"]];

/// What the command line says of an input.
struct Named<'a> {
    file: Option<&'a Path>,
    dataset: Option<&'a str>,
    /// The options that say it.
    options: [&'static str; 2],
}

impl Named<'_> {
    /// Opens an input of the result `path`: samples of the shape that it had.
    fn open(&self, id: &InputId, path: &Path) -> Result<Samples> {
        let [file_option, dataset_option] = self.options;
        let result = path.display();
        let Some(file) = self.file.map(Path::to_owned).or_else(|| find(id, path)) else {
            fail!(
                "{}, which {result} was computed from, is not there, nor is it beside {result}; name the file with {file_option}",
                id.path
            );
        };
        let hint = |text| {
            format!(
                "{text} (the samples that {result} was computed from; {file_option} and {dataset_option} name them if they have moved)"
            )
        };
        let Some(view) = View::from_words(&id.view) else {
            fail!(
                "{result} was computed from samples that were read \"{}\", which this version cannot",
                id.view
            );
        };
        let samples = Samples::open(&file, Some(self.dataset.unwrap_or(&id.dataset)), view)
            .map_err(|error: Error| error.map(hint))?
            .less(subtracted(id, path)?);
        let (rows, features) = id.shape;
        if (samples.rows, samples.features) != (rows, features) {
            fail!(
                "{} has {} x {} values, but had {rows} x {features} when {result} was computed; name the samples that it was computed from with {file_option}",
                samples.describe(),
                samples.rows,
                samples.features
            );
        }
        Ok(samples)
    }
}

/// The file of an input: at its stored path; where there is none, in the result's folder, under as few of the last parts of that path as
/// lead to a file, as the two may have moved together.
fn find(id: &InputId, result: &Path) -> Option<PathBuf> {
    let stored = Path::new(&id.path);
    // what cannot be looked at may be there: opening it tells why not
    if stored.try_exists().unwrap_or(true) {
        return Some(stored.to_owned());
    }
    let parts: Vec<_> = stored.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    let folder = result.parent().unwrap_or(Path::new(""));
    let below = |start: usize| folder.join(parts[start..].iter().collect::<PathBuf>());
    (0..parts.len()).rev().map(below).find(|path| path.is_file())
}

impl Case {
    fn open(args: &VerifyArgs) -> Result<Self> {
        let path = &args.result;
        let reader = MatrixReader::of(ResultReader::open(path)?)?;
        if !reader.file.complete {
            fail!("{} is not finished: its values are not to be used", path.display());
        }
        let [x, y] = [(&args.samples, &args.dataset), (&args.against, &args.against_dataset)];
        let [x, y] = [(x, OPTIONS[0]), (y, OPTIONS[1])].map(|((file, dataset), options)| Named {
            file: file.as_deref(),
            dataset: dataset.as_deref(),
            options,
        });
        let inputs = &reader.file.header.identity.inputs;
        if inputs.len() == 1 && (y.file.is_some() || y.dataset.is_some()) {
            let option = y.options[usize::from(y.file.is_none())];
            return Err(Error::Usage(format!(
                "{option}: {} was computed from one input; leave the option out",
                path.display()
            )));
        }
        let x = x.open(&inputs[0], path)?;
        let y = inputs.get(1).map(|id| y.open(id, path)).transpose()?;
        Ok(Self { reader, x, y })
    }

    /// Each input, and what the result says of it.
    fn inputs(&self) -> impl Iterator<Item = (&Samples, &InputId)> {
        self.samples().zip(&self.header().identity.inputs)
    }

    /// Whether samples are not where they were, so that only their digest tells that they are those.
    fn have_moved(&self) -> bool {
        self.inputs().any(|(samples, id)| samples.path != Path::new(&id.path) || samples.name != id.dataset)
    }

    /// Where this rank has found the samples.
    fn places(&self) -> Vec<(String, String)> {
        let place =
            |(samples, id): (&Samples, &InputId)| (format!("the place of {}", id.path), samples.describe());
        self.inputs().map(place).collect()
    }

    /// Refuses samples that are not those the result was computed from. Collective.
    fn check_samples<T: Number>(&self, comm: &Comm, workers: &Workers) -> Result<()> {
        let digests = inputs::digests::<T>(comm, workers, self.samples())?;
        for (((samples, id), digest), [option, _]) in self.inputs().zip(digests).zip(OPTIONS) {
            let digest = format!("{digest:016x}");
            if digest != id.digest {
                fail!(
                    "{} holds other samples than {} was computed from: their digest is {digest}, and was {}; name the samples that it was computed from with {option}",
                    samples.describe(),
                    self.reader.file.shown(),
                    id.digest
                );
            }
        }
        Ok(())
    }

    /// What ranks must have in common that see the same result.
    fn seen(&self) -> Result<Vec<(String, String)>> {
        let Self { reader, .. } = self;
        let field = |name: &str, value: String| (format!("{name} of {}", reader.file.shown()), value);
        Ok(vec![
            field("the header", format!("{:?}", reader.file.header)),
            field("the digest", format!("{:016x}", reader.digest()?)),
        ])
    }

    /// X, and Y if there is one.
    fn samples(&self) -> impl Iterator<Item = &Samples> {
        [Some(&self.x), self.y.as_ref()].into_iter().flatten()
    }

    fn header(&self) -> &Header {
        &self.reader.file.header
    }

    fn problem(&self) -> &Problem {
        &self.header().identity.problem
    }

    fn y(&self) -> &Samples {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// Compares an entry with the definition.
    fn compare<T: Number>(&self, place: (usize, usize), value: T, x: &[T], y: &[T]) -> Worst {
        let Problem { d, metric, method, dtype, .. } = *self.problem();
        let definition = metric.distance(x, y);
        let tau = (method == Method::Gemm).then(|| guard_tau(dtype));
        let tolerance = metric.tolerance::<T>(d, tau, self.header().scaling_exponent, definition);
        let error = metric.error::<T>(d, tau, value, definition);
        let ratio = |part: f64, whole: f64| if part == 0.0 { 0.0 } else { part / whole };
        let is_wrong = error.is_nan() || error > tolerance;
        Worst {
            pairs: 1,
            relative: ratio(error, definition),
            of_bound: ratio(error, tolerance),
            wrong: u64::from(is_wrong),
            first: is_wrong.then(|| Wrong { row: place.0, col: place.1, value: value.to_f64(), definition }),
        }
    }

    /// This rank's share of `count` different random pairs, or of all; the same pairs for any number of ranks.
    fn pairs<T: Number>(&self, comm: &Comm, workers: &Workers, count: usize, seed: u64) -> Result<Worst> {
        let grid = self.reader.grid;
        let count = count.min(grid.n * grid.m);
        // what is kept of a pair: two samples, places and value, and what comparing them gave
        let beside = 64 + size_of::<Worst>();
        let pair_bytes = (2 * self.problem().d).saturating_mul(size_of::<T>()).saturating_add(beside);
        let mut worst = Worst::default();
        for numbers in
            parts(range_of(count, comm.size(), comm.rank()), (2 * SAMPLES_BYTES / pair_bytes).max(1))
        {
            let mut places: Vec<_> = numbers.map(|number| pair(grid, count, number, seed)).collect();
            // tile by tile, as they lie in the file
            places.sort_unstable_by_key(|&(row, col)| (row / grid.edge, col / grid.edge, row, col));
            let rows = places.iter().map(|&(row, _)| row);
            let cols = places.iter().map(|&(_, col)| col);
            let (x, y) = match &self.y {
                Some(y) => (self.x.pick::<T>(rows)?, Some(y.pick::<T>(cols)?)),
                None => (self.x.pick::<T>(rows.chain(cols))?, None),
            };
            let y = y.as_ref().unwrap_or(&x);
            let entry = |&(row, col): &(usize, usize)| self.reader.entry::<T>(row, col);
            let values = places.iter().map(entry).collect::<Result<Vec<_>>>()?;
            let compare = |at: usize| {
                let (row, col) = places[at];
                self.compare((row, col), values[at], x.sample(row), y.sample(col))
            };
            workers.map(places.len(), compare).iter().for_each(|entry| worst.add(entry));
        }
        Ok(worst)
    }

    /// This rank's share of all tiles. Samples of several tiles are read together, as compressed chunks of the storage may hold
    /// some of each.
    fn all<T: Number>(&self, comm: &Comm, workers: &Workers) -> Result<Worst> {
        let level = Level::detect().map_err(Error::Failed)?;
        let (grid, d) = (self.reader.grid, self.problem().d);
        let tile_bytes = grid.edge.saturating_mul(d).saturating_mul(size_of::<T>());
        let together = (SAMPLES_BYTES / tile_bytes.max(1)).max(1);
        let mut checksum = Checksum::default();
        let mut worst = Worst::default();
        for tile_rows in parts(range_of(grid.tile_rows(), comm.size(), comm.rank()), together) {
            let first_row = grid.rows(tile_rows.start).start;
            let x = self.x.read::<T>(first_row..grid.rows(tile_rows.end - 1).end)?;
            for tile_cols in parts(0..grid.tile_cols(), together) {
                let first_col = grid.cols(tile_cols.start).start;
                let y = self.y().read::<T>(first_col..grid.cols(tile_cols.end - 1).end)?;
                for tile in tile_rows.clone().flat_map(|i| tile_cols.clone().map(move |j| Tile { i, j })) {
                    let (rows, cols) = (grid.rows(tile.i), grid.cols(tile.j));
                    let values = self.reader.block::<T>(rows.clone(), cols.clone())?;
                    self.check_checksum(tile, checksum.of(level, &values, rows.clone(), cols.clone()))?;
                    let (x, y) = (&x[(rows.start - first_row) * d..], &y[(cols.start - first_col) * d..]);
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
        }
        Ok(worst)
    }

    fn check_checksum(&self, tile: Tile, computed: u64) -> Result<()> {
        let stored = self.reader.checksum(tile)?;
        if computed != stored {
            let grid = self.reader.grid;
            let (rows, cols) = (grid.rows(tile.i), grid.cols(tile.j));
            fail!(
                "{}: tile ({}, {}), rows {} to {} and columns {} to {}, has checksum {computed:016x}, but {stored:016x} was stored when it was computed; the file has changed since",
                self.reader.file.shown(),
                tile.i,
                tile.j,
                rows.start,
                rows.end,
                cols.start,
                cols.end
            );
        }
        Ok(())
    }

    fn judge(&self, worst: &Worst) -> Result<()> {
        let Some(Wrong { row, col, value, definition }) = worst.first else { return Ok(()) };
        fail!(
            "{}: {} of {} distances are beyond their bound, first ({row}, {col}): {value:e} in the file, {definition:e} by the definition; compute it again",
            self.reader.file.shown(),
            worst.wrong,
            worst.pairs
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_pairs_differ_and_as_many_as_there_are_are_all_of_them() {
        for (n, m) in [(1, 1), (5, 3), (20, 31)] {
            let grid = Grid { n, m, edge: 4, symmetric: false };
            for count in [1, n, n * m / 2 + 1, n * m] {
                for seed in [0, 1, u64::MAX] {
                    let pairs: HashSet<_> =
                        (0..count).map(|number| pair(grid, count, number, seed)).collect();
                    assert!(pairs.iter().all(|&(row, col)| row < n && col < m), "{pairs:?}");
                    assert_eq!(pairs.len(), count);
                }
            }
        }
    }

    #[test]
    fn random_pairs_lie_everywhere_in_a_matrix_too_large_for_any_disk() {
        let grid = Grid { n: 1 << 30, m: 1 << 30, edge: 4, symmetric: false };
        let pairs: Vec<_> = (0..1000).map(|number| pair(grid, 1000, number, 0)).collect();
        for part in 0..10 {
            let range = range_of(1 << 30, 10, part);
            for place in [|pair: &(usize, usize)| pair.0, |pair: &(usize, usize)| pair.1] {
                let within = pairs.iter().filter(|pair| range.contains(&place(pair))).count();
                assert!((60..150).contains(&within), "{within} of 1000 in a tenth");
            }
        }
    }

    #[test]
    fn parts_cover_a_range_once() {
        for (range, len) in [(0..0, 3), (2..9, 3), (0..6, 3), (4..5, usize::MAX)] {
            assert!(parts(range.clone(), len).flatten().eq(range));
        }
    }
}
