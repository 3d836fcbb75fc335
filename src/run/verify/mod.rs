//! `verify`: a result against the definition of its metric, and against its checksums.
//!
//! - `matrix` — random pairs, or all
//! - `rows` — whole rows
//! - `neighbors`, `radius` — what is looked for in them
//! - `fault` — what can be wrong, and the worst of what was seen

mod fault;
mod matrix;
mod neighbors;
mod radius;
mod rows;

use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::inputs;
use super::parameters::Given;
use super::placement;
use super::setup::with_dtype;
use crate::cli::VerifyArgs;
use crate::comm::Comm;
use crate::element::StoreType;
use crate::error::{Context, Error, Result};
use crate::fail;
use crate::io::result::{Header, ResultReader};
use crate::kernel::{Level, Method, guard_tau};
use crate::metric::{Measure, Reference};
use crate::number::Number;
use crate::partition::{Grid, range_of};
use crate::pipeline::{Whitening, Workers};
use crate::problem::{InputId, Problem};
use crate::report::print;
use crate::sink;
use crate::source::{Input, Picked, Samples, Shelf, View};
use crate::text::counted;
use fault::{Worst, Wrong};
use matrix::MatrixCheck;
use neighbors::NeighborsCheck;
use radius::RadiusCheck;

/// Bytes of samples of an input that are read together; one sample (with `--all`, those of a tile) is read where it has more.
const SAMPLES_BYTES: usize = 64 << 20;

/// Random pairs of a matrix, and random samples whose neighbours are looked at, unless the command line says otherwise.
const PAIRS: usize = 1000;
const ROWS: usize = 100;

/// The result to check, and the samples it was computed from.
struct Case {
    file: ResultReader,
    grid: Grid,
    x: Input,
    y: Option<Input>,
    /// The metric with its parameters.
    measure: Measure,
    /// What samples are whitened by, if they are.
    whitening: Option<Whitening>,
}

/// The whole number that was taken off the samples.
fn subtracted(id: &InputId, path: &Path) -> Result<i128> {
    let text = if id.subtracted.is_empty() { "0" } else { &id.subtracted };
    text.parse().context(|| format!("{} is damaged: what was taken off {}", path.display(), id.path))
}

pub(super) fn verify(comm: &Comm, args: &VerifyArgs) -> Result<()> {
    let case = comm.agree(Case::open(args))?;
    let seen = comm.agree(case.seen())?;
    comm.same(&seen, "put the result on a file system that all nodes share")?;
    comm.same(&case.places(), "name the samples with --samples, and --against if there are two inputs")?;
    let count = case.files().count();
    case.files().try_for_each(|(samples, _)| inputs::agree_on_samples(comm, samples, count))?;
    with_dtype!(case.problem().dtype, verify_in(comm, args, case))
}

fn verify_in<T: Number>(comm: &Comm, args: &VerifyArgs, case: Case) -> Result<()> {
    let asked = case.file.asked();
    let options = [
        (args.pairs, asked.matrix || asked.condensed, "--pairs", "matrix"),
        (args.rows, asked.neighbors.is_some() || asked.within.is_some(), "--rows", "neighbours"),
    ];
    for (given, is_there, option, what) in options {
        if given.is_some() && !is_there {
            return Err(Error::Usage(format!(
                "{option}: {} holds no {what}; leave the option out",
                case.file.shown()
            )));
        }
    }
    let nodes = placement::nodes(comm);
    let workers = comm.agree(placement::threads(None, &nodes).and_then(Workers::start))?;
    if args.all || case.have_moved() {
        case.check_samples::<T>(comm, &workers)?;
    }
    let whitening = if case.measure.form().is_whitened() {
        let made = Level::detect()
            .map_err(Error::Failed)
            .and_then(|level| Given::of_result(&case.file)?.whitening(&workers, level));
        Some(comm.agree(made)?)
    } else {
        None
    };
    let case = &Case { whitening, ..case };
    let mut lines = Vec::new();
    let mut judge = |checked: Result<Worst>, what: &str, how: String| -> Result<()> {
        let worst = comm.agree(checked)?.of_all(comm, case.grid);
        if worst.wrong > 0 && !args.all && !case.have_moved() {
            // the samples may be others than then
            case.check_samples::<T>(comm, &workers)?;
        }
        worst.judge(what, &case.file)?;
        lines.push(worst.line(what, &how));
        Ok(())
    };
    let matrix = asked.matrix.then(|| (MatrixCheck::whole(case), "distances"));
    let condensed = asked.condensed.then(|| (MatrixCheck::condensed(case), "condensed distances"));
    for (check, what) in matrix.into_iter().chain(condensed) {
        let check = comm.agree(check)?;
        if args.all {
            judge(check.all::<T>(comm, &workers), what, "every pair and checksum".into())?;
        } else {
            let checked = check.pairs::<T>(comm, &workers, args.pairs.unwrap_or(PAIRS), args.seed);
            judge(checked, what, format!("random pairs, seed {}", args.seed))?;
        }
    }
    let rows = if args.all { case.grid.n } else { args.rows.unwrap_or(ROWS).min(case.grid.n) };
    let how = if args.all {
        "of every sample, against all others, and every checksum".into()
    } else {
        format!("of {}, against all others, seed {}", counted(rows, "random sample"), args.seed)
    };
    let ranks = (comm, &workers);
    if asked.neighbors.is_some() {
        let check = comm.agree(NeighborsCheck::of(case))?;
        judge(rows::check::<T, _>(&check, case, ranks, rows, args.seed), "neighbours", how.clone())?;
    }
    if asked.within.is_some() {
        let check = comm.agree(RadiusCheck::of(case))?;
        let checked = rows::check::<T, _>(&check, case, ranks, rows, args.seed);
        judge(checked, "distances within the radius", how)?;
    }
    comm.on_root(|| print(&lines.concat()))
}

/// One of `count` different random places of so many: anywhere in its own part of them, which are cut into `count` equal parts. So any of
/// them is known without the others.
fn random_place(places: usize, count: usize, number: usize, seed: u64) -> usize {
    let part = range_of(places, count, number);
    let random = xxh3_64_with_seed(&(number as u64).to_le_bytes(), seed);
    let within = (u128::from(random) * part.len() as u128) >> 64;
    part.start + usize::try_from(within).expect("it is below the length of the part")
}

/// `range` in parts of so many.
fn parts(range: Range<usize>, len: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(len).map(move |first| first..range.end.min(first.saturating_add(len)))
}

/// The options that name file and dataset of X, and of Y.
const OPTIONS: [[&str; 2]; 2] = [["--samples", "--dataset"], ["--against", "--against-dataset"]];

/// What the command line says of an input.
struct Named<'a> {
    files: &'a [PathBuf],
    dataset: Option<&'a str>,
    /// The options that say it.
    options: [&'static str; 2],
}

impl Named<'_> {
    /// Opens an input of the result `path`: samples of the shape that it had.
    fn open(&self, ids: &[InputId], path: &Path) -> Result<Input> {
        let (option, given) = (self.options[0], self.files.len());
        if given > 0 && given != ids.len() {
            return Err(Error::Usage(format!(
                "{option}: {} was computed from {}, and {given} are named; repeat the option for each, in their order",
                path.display(),
                counted(ids.len(), "file")
            )));
        }
        let shelf = Arc::default();
        let open = |(at, id): (usize, &InputId)| self.open_file(&shelf, id, self.files.get(at), path);
        Input::of(ids.iter().enumerate().map(open).collect::<Result<Vec<_>>>()?)
    }

    /// Opens one of its files, which may have another name now.
    fn open_file(
        &self,
        shelf: &Arc<Shelf>,
        id: &InputId,
        named: Option<&PathBuf>,
        path: &Path,
    ) -> Result<Samples> {
        let [file_option, dataset_option] = self.options;
        let result = path.display();
        let Some(file) = named.cloned().or_else(|| find(id, path)) else {
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
        let Some(view) = View::from_words(&id.view, id.shape.1) else {
            fail!(
                "{result} was computed from samples that were read \"{}\", which this version cannot",
                id.view
            );
        };
        let samples = Samples::open_on(shelf, &file, Some(self.dataset.unwrap_or(&id.dataset)), view)
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
        let file = sink::open(path)?;
        if !file.complete {
            fail!("{} is not finished: its values are not to be used", path.display());
        }
        let [x, y] = [(&args.samples, &args.dataset), (&args.against, &args.against_dataset)];
        let [x, y] = [(x, OPTIONS[0]), (y, OPTIONS[1])].map(|((files, dataset), options)| Named {
            files,
            dataset: dataset.as_deref(),
            options,
        });
        let (of_x, of_y) = file.header.identity.files();
        if of_y.is_empty() && !(y.files.is_empty() && y.dataset.is_none()) {
            let option = y.options[usize::from(y.files.is_empty())];
            return Err(Error::Usage(format!(
                "{option}: {} was computed from one input; leave the option out",
                path.display()
            )));
        }
        let x = x.open(of_x, path)?;
        let y = if of_y.is_empty() { None } else { Some(y.open(of_y, path)?) };
        let grid = file.header.grid();
        let measure = file.header.identity.problem.measure(file.weights()?.as_deref());
        Ok(Self { file, grid, x, y, measure, whitening: None })
    }

    /// Each file, and what the result says of it.
    fn files(&self) -> impl Iterator<Item = (&Samples, &InputId)> {
        self.inputs().flat_map(|input| &input.files).zip(&self.header().identity.inputs)
    }

    /// Whether samples are not where they were, so that only their digest tells that they are those.
    fn have_moved(&self) -> bool {
        self.files().any(|(samples, id)| samples.path != Path::new(&id.path) || samples.name != id.dataset)
    }

    /// Where this rank has found the samples.
    fn places(&self) -> Vec<(String, String)> {
        let place =
            |(samples, id): (&Samples, &InputId)| (format!("the place of {}", id.path), samples.describe());
        self.files().map(place).collect()
    }

    /// Refuses samples that are not those the result was computed from. Collective.
    fn check_samples<T: Number>(&self, comm: &Comm, workers: &Workers) -> Result<()> {
        let digests = inputs::digests::<T>(comm, workers, self.inputs())?;
        let of_x = self.x.files.len();
        for (number, ((samples, id), digest)) in self.files().zip(digests).enumerate() {
            let [option, _] = OPTIONS[usize::from(number >= of_x)];
            let digest = format!("{digest:016x}");
            if digest != id.digest {
                fail!(
                    "{} holds other samples than {} was computed from: their digest is {digest}, and was {}; name the samples that it was computed from with {option}",
                    samples.describe(),
                    self.file.shown(),
                    id.digest
                );
            }
        }
        Ok(())
    }

    /// What ranks must have in common that see the same result.
    fn seen(&self) -> Result<Vec<(String, String)>> {
        let Self { file, .. } = self;
        let field = |name: &str, value: String| (format!("{name} of {}", file.shown()), value);
        Ok(vec![
            field("the header", format!("{:?}", file.header)),
            field("the checksums", format!("{:016x}", sink::stored_sum(file)?)),
        ])
    }

    /// X, and Y if there is one.
    fn inputs(&self) -> impl Iterator<Item = &Input> {
        [Some(&self.x), self.y.as_ref()].into_iter().flatten()
    }

    fn header(&self) -> &Header {
        &self.file.header
    }

    fn problem(&self) -> &Problem {
        &self.header().identity.problem
    }

    fn y(&self) -> &Input {
        self.y.as_ref().unwrap_or(&self.x)
    }

    /// Samples of X or Y, as distances are computed of them.
    fn read<T: Number>(&self, workers: &Workers, samples: &Input, rows: Range<usize>) -> Result<Vec<T>> {
        let mut values = samples.read::<T>(rows)?;
        self.whiten(workers, &mut values);
        Ok(values)
    }

    /// Likewise of some rows.
    fn pick<T: Number>(
        &self,
        workers: &Workers,
        samples: &Input,
        rows: impl Iterator<Item = usize>,
    ) -> Result<Picked<T>> {
        let mut picked = samples.pick::<T>(rows)?;
        self.whiten(workers, picked.values_mut());
        Ok(picked)
    }

    fn whiten<T: Number>(&self, workers: &Workers, values: &mut [T]) {
        if let Some(whitening) = &self.whitening {
            // no others are whitened
            whitening.apply_all(workers, bytemuck::cast_slice_mut(values));
        }
    }

    /// A stored distance against its definition; `wrong` says where it is, if it is beyond its bound.
    fn compare<T: Number>(
        &self,
        value: f64,
        definition: Reference,
        wrong: impl FnOnce(f64) -> Wrong,
    ) -> Worst {
        Worst::compared(self.error::<T>(value, definition), value, definition.distance, wrong)
    }

    /// What a stored distance differs by from its definition, and by how much it may: the bound of the metric, and half a unit in the last
    /// place where it was rounded to be stored.
    fn error<T: Number>(&self, value: f64, definition: Reference) -> (f64, f64) {
        let store = self.file.asked().stored_as(self.problem().dtype);
        self.error_as::<T>(value, definition, store)
    }

    /// Likewise, of one that is stored in this type.
    fn error_as<T: Number>(&self, value: f64, definition: Reference, store: StoreType) -> (f64, f64) {
        let (Problem { d, method, dtype, .. }, measure) = (*self.problem(), &self.measure);
        let tau = (method == Method::Gemm).then(|| guard_tau(dtype));
        let tolerance = if method.is_whole() {
            let computed = (store.size() >= dtype.size()).then(|| T::from_f64(value));
            measure.whole_tolerance::<T>(d, definition, computed)
        } else {
            measure.tolerance::<T>(d, tau, self.header().scaling_exponent, definition)
        };
        let definition = definition.distance;
        let error = measure.error::<T>(d, tau, T::from_f64(value), definition);
        if store.size() < dtype.size() {
            with_rounding((error, tolerance), value, definition, store)
        } else {
            (error, tolerance)
        }
    }
}

/// Error and tolerance of a distance that was rounded to be stored. A definition that is not finite allows no error.
fn with_rounding(
    (error, tolerance): (f64, f64),
    value: f64,
    definition: f64,
    store: StoreType,
) -> (f64, f64) {
    let largest = definition + tolerance;
    if !definition.is_finite() {
        (error, tolerance)
    } else if value == f64::INFINITY && largest >= store.overflow() {
        (0.0, tolerance)
    } else {
        (error, tolerance + store.rounding(largest))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rounding_to_store_allows_half_a_unit_and_no_more() {
        let allowed = |value: f64, definition: f64| {
            let error =
                if value.to_bits() == definition.to_bits() { 0.0 } else { (value - definition).abs() };
            let (error, tolerance) = with_rounding((error, 0.0), value, definition, StoreType::F16);
            error <= tolerance
        };
        let right =
            [(1.0, 1.000_4), (1999.0, 1999.4), (65_504.0, 65_519.0), (f64::INFINITY, 65_520.0), (0.0, 2e-8)];
        assert!(right.iter().all(|&(value, definition)| allowed(value, definition)));
        let infinity = f64::INFINITY;
        let wrong = [
            (1.0, 1.000_6),
            (1999.0, 1999.6),
            (65_504.0, 65_521.0),
            (infinity, 65_519.0),
            (1.0, infinity),
            (0.0, 4e-8),
        ];
        assert!(!wrong.iter().any(|&(value, definition)| allowed(value, definition)));
    }

    #[test]
    fn random_places_differ_and_as_many_as_there_are_are_all_of_them() {
        for places in [1, 15, 620] {
            for count in [1, places / 2 + 1, places] {
                for seed in [0, 1, u64::MAX] {
                    let all: HashSet<_> =
                        (0..count).map(|number| random_place(places, count, number, seed)).collect();
                    assert!(all.len() == count && all.iter().all(|place| *place < places), "{all:?}");
                }
            }
        }
    }

    #[test]
    fn random_places_lie_everywhere_in_a_matrix_too_large_for_any_disk() {
        let places: Vec<_> = (0..1000).map(|number| random_place(1 << 60, 1000, number, 0)).collect();
        for part in 0..10 {
            let range = range_of(1 << 30, 10, part);
            for place in [|place: &usize| place >> 30, |place: &usize| place % (1 << 30)] {
                let within = places.iter().filter(|at| range.contains(&place(at))).count();
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
