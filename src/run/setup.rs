//! From the command line to a problem: inputs opened, types and tiles chosen, limits checked.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use crate::cli::ProblemArgs;
use crate::comm::{Comm, Nodes, Reduce};
use crate::element::Dtype;
use crate::error::{Context, Error, Result};
use crate::fail;
use crate::host;
use crate::io::matrix::{InputId, MAX_TILE_BYTES};
use crate::io::samples::Samples;
use crate::kernel::Level;
use crate::partition::{Grid, choose_edge, range_of};
use crate::pipeline::{Number, Workers, survey_of};
use crate::plan::Source;
use crate::problem::Problem;
use crate::report::{bytes, counted};
use crate::schedule::Schedule;
use crate::stop;

/// The open inputs of a run.
pub(super) struct Inputs {
    pub(super) x: Samples,
    pub(super) y: Option<Samples>,
    /// Storage chunks of each that were never written, and all chunks, once they are counted.
    pub(super) chunks: Vec<(u64, u64)>,
}

impl Inputs {
    pub(super) fn open(x: &Path, args: &ProblemArgs) -> Result<Self> {
        let x = Samples::open(x, args.dataset.as_deref())?;
        let y = open_against(args)?;
        if let Some(y) = &y
            && x.features != y.features
        {
            fail!(
                "{} has {} features and {} has {}; distances need the same number",
                x.describe(),
                x.features,
                y.describe(),
                y.features
            );
        }
        Ok(Self { x, y, chunks: Vec::new() })
    }

    /// Makes sure that all ranks see the same inputs: a name may mean another file on another node.
    pub(super) fn agree(&self, comm: &Comm) -> Result<()> {
        let Shape { n, m, d, dtype, .. } = self.shape();
        let mine = [n as u64, m as u64, d as u64, dtype.size() as u64];
        if comm.all_reduce(&mine, Reduce::Min) != comm.all_reduce(&mine, Reduce::Max) {
            fail!(
                "{} is not the same on all ranks; is it on a file system that all nodes share?",
                self.x.describe()
            );
        }
        Ok(())
    }

    /// What the result says of them; digests where they are known, and the number that was taken off.
    pub(super) fn ids(&self, digests: &[u64], subtracted: i128) -> Vec<InputId> {
        let id = |(at, samples): (usize, &Samples)| InputId {
            path: std::path::absolute(&samples.path)
                .unwrap_or_else(|_| samples.path.clone())
                .display()
                .to_string(),
            dataset: samples.name.clone(),
            shape: (samples.rows, samples.features),
            digest: digests.get(at).map(|digest| format!("{digest:016x}")).unwrap_or_default(),
            subtracted: if subtracted == 0 { String::new() } else { subtracted.to_string() },
        };
        self.all().enumerate().map(id).collect()
    }

    /// X, and Y if there is one.
    pub(super) fn all(&self) -> impl Iterator<Item = &Samples> {
        [Some(&self.x), self.y.as_ref()].into_iter().flatten()
    }

    pub(super) fn shape(&self) -> Shape {
        let x = &self.x;
        let (m, y_dtype) = self.y.as_ref().map_or((x.rows, x.dtype), |y| (y.rows, y.dtype));
        let dtype = if x.dtype == Dtype::F32 && y_dtype == Dtype::F32 { Dtype::F32 } else { Dtype::F64 };
        let source = Source::of(self.all());
        Shape { n: x.rows, m, d: x.features, dtype, source }
    }
}

/// Opens the second input, if there is one.
pub(super) fn open_against(args: &ProblemArgs) -> Result<Option<Samples>> {
    args.against.as_ref().map(|path| Samples::open(path, args.against_dataset.as_deref())).transpose()
}

/// Digests of samples, each rank reading its share. Collective.
pub(super) fn digests<'a, T: Number>(
    comm: &Comm,
    workers: &Workers,
    inputs: impl Iterator<Item = &'a Samples>,
) -> Result<Vec<u64>> {
    let share = |samples: &Samples| range_of(samples.rows, comm.size(), comm.rank());
    let mine = inputs.map(|samples| Ok(survey_of::<T>(workers, samples, share(samples))?.digest));
    let mine = comm.agree(mine.collect::<Result<Vec<_>>>())?;
    Ok(comm.all_reduce(&mine, Reduce::Sum))
}

/// Sizes of a problem, and the type that loses nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) n: usize,
    pub(super) m: usize,
    pub(super) d: usize,
    pub(super) dtype: Dtype,
    /// How they are stored.
    pub(super) source: Source,
}

/// The problem on so many ranks, which have so many threads together, with what the command line leaves open chosen.
pub(super) fn problem(args: &ProblemArgs, shape: Shape, ranks: usize, threads: usize) -> Result<Problem> {
    let Shape { n, m, d, dtype, .. } = shape;
    let dtype = args.dtype.map_or(dtype, Dtype::from);
    let metric = args.metric;
    let Some(kernel) = args.kernel.method(metric, d) else {
        return Err(Error::Usage(format!(
            "--kernel gemm: {metric} has no form as a matrix product; use auto or direct"
        )));
    };
    if n.checked_mul(m).and_then(|pairs| pairs.checked_mul(dtype.size())).is_none() {
        fail!("a matrix of {n} x {m} distances has more bytes than 64 bits can count");
    }
    let tile = match args.tile {
        Some(tile) => tile.min(n.max(m)),
        None => choose_edge(n, m, ranks, threads, dtype.size()),
    };
    let tile_bytes = tile.min(n) as u128 * tile.min(m) as u128 * dtype.size() as u128;
    if tile_bytes > MAX_TILE_BYTES as u128 {
        return Err(Error::Usage(format!(
            "--tile {tile}: a tile would have {tile_bytes} bytes, the limit is {MAX_TILE_BYTES}; choose a smaller one"
        )));
    }
    Ok(Problem { n, m, d, metric, kernel, dtype, tile })
}

/// Who computes which tiles.
pub(super) fn schedule(problem: &Problem, ranks: usize, symmetric: bool) -> Schedule {
    Schedule { grid: Grid { n: problem.n, m: problem.m, edge: problem.tile }, ranks, symmetric }
}

/// The best SIMD level that every rank has.
pub(super) fn common_level(comm: &Comm) -> Result<Level> {
    let level = comm.agree(Level::detect().map_err(Error::Usage))?;
    let place = Level::ALL.iter().position(|other| *other == level).unwrap_or(0);
    let worst = comm.all_reduce(&[place as u64], Reduce::Max)[0];
    Ok(Level::ALL.iter().copied().nth(usize::try_from(worst).unwrap_or(0)).unwrap_or(level))
}

/// Time to compute, the same on all ranks: the limit asked for, and the end of the Slurm job.
pub(super) fn time_left(comm: &Comm, limit: Option<Duration>) -> Option<Duration> {
    let mine = stop::time_left(limit).map_or(f64::INFINITY, |left| left.as_secs_f64());
    Duration::try_from_secs_f64(comm.all_reduce(&[mine], Reduce::Min)[0]).ok()
}

/// Refuses a run whose ranks do not fit their node's memory.
pub(super) fn check_memory(planned: u64, nodes: &Nodes) -> Result<()> {
    let needed = planned.saturating_mul(nodes.ranks_here as u64);
    if let Some(available) = host::available_memory()
        && needed > available
    {
        fail!(
            "{} on {} would take {} of memory and {} are free; use more nodes, or a smaller --tile",
            counted(nodes.ranks_here, "rank"),
            host::name(),
            bytes(needed),
            bytes(available)
        );
    }
    Ok(())
}

/// Refuses a run record that could not be written, or would replace one of the other files.
pub(super) fn check_record(record: &Path, others: &[&Path]) -> Result<()> {
    let shown = record.display();
    let parent = record.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !parent.is_dir() || record.is_dir() {
        return Err(Error::Usage(format!("--json {shown}: it must be a file in a folder that exists")));
    }
    let absolute = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    if others.iter().any(|other| absolute(other) == absolute(record)) {
        return Err(Error::Usage(format!(
            "--json {shown}: it is an input or the result of this run; choose another name"
        )));
    }
    if record.is_file() && !is_json_object(record) {
        return Err(Error::Usage(format!(
            "--json {shown}: it exists and is no run record; choose another name"
        )));
    }
    // a folder may be there and yet take nothing
    let is_new = record.symlink_metadata().is_err();
    std::fs::File::options().create(true).append(true).open(record).map_err(|error| {
        Error::Usage(format!("--json {shown}: it cannot be written: {error}; choose another name"))
    })?;
    if is_new {
        std::fs::remove_file(record).context(|| format!("{shown} cannot be removed"))?;
    }
    Ok(())
}

/// Whether a file is empty or begins as a record does.
fn is_json_object(path: &Path) -> bool {
    let mut first = [0];
    let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut first));
    matches!((read, first), (Ok(0), _) | (Ok(1), [b'{']))
}

/// Refuses a result that does not fit its file system.
pub(super) fn check_space(needed: u64, folder: &Path) -> Result<()> {
    if let Some(free) = host::free_space(folder)
        && needed > free
    {
        fail!(
            "the result takes {} and {} has {} free; make room, or write it elsewhere",
            bytes(needed),
            folder.display(),
            bytes(free)
        );
    }
    Ok(())
}

/// Calls a generic function with the element type that a [`Dtype`] names.
macro_rules! with_dtype {
    ($dtype:expr, $function:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            $crate::element::Dtype::F32 => $function::<f32>($($argument),*),
            $crate::element::Dtype::F64 => $function::<f64>($($argument),*),
        }
    };
}
pub(super) use with_dtype;
