//! From the command line to a problem: inputs opened, types and tiles chosen, limits checked.

use std::path::Path;
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3Default;

use crate::cli::{ComputeArgs, ProblemArgs};
use crate::comm::{Comm, Nodes, Reduce};
use crate::element::Dtype;
use crate::error::{Error, Result};
use crate::fail;
use crate::host;
use crate::io::MAX_WRITE_BYTES;
use crate::kernel::Level;
use crate::number::Number;
use crate::partition::{choose_edge, range_of};
use crate::pipeline::{Workers, survey_of};
use crate::plan::{Memory, Source};
use crate::problem::{InputId, Problem};
use crate::report::{bytes, counted};
use crate::schedule::Schedule;
use crate::source::Samples;
use crate::stop;
use crate::store::workdir::Workdir;

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

    /// Opens the inputs of a run, the same for all ranks, and says what they are. Collective.
    pub(super) fn agreed(comm: &Comm, args: &ComputeArgs) -> Result<Self> {
        let mut inputs = comm.agree(Self::open(&args.input, &args.problem))?;
        comm.on_root(|| {
            inputs.tell();
            Ok(())
        })?;
        // first, since chunks that were never written need not read alike on all ranks
        inputs.count_chunks(comm, args.allow_missing_chunks)?;
        inputs.agree(comm)?;
        Ok(inputs)
    }

    /// Makes sure that all ranks see the same inputs. Collective.
    fn agree(&self, comm: &Comm) -> Result<()> {
        self.all().try_for_each(|samples| agree_on_samples(comm, samples))
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

/// Makes sure that all ranks see the same samples: a name may mean another file on another node. Shape and type are compared, and the
/// values of some samples, which every rank reads through its own eyes. Collective.
pub(super) fn agree_on_samples(comm: &Comm, samples: &Samples) -> Result<()> {
    let mine = comm.agree(fingerprint(samples))?;
    let mut roots = mine.clone();
    comm.broadcast(0, &mut roots);
    comm.agree(if mine == roots {
        Ok(())
    } else {
        Err(Error::Failed(format!(
            "{} holds other samples on {} than on rank 0; put them on a file system that all nodes share, or the same copy on each",
            samples.describe(),
            host::name()
        )))
    })
}

/// Samples whose values the ranks compare at most; of one with more features than these, a value.
const COMPARED_SAMPLES: usize = 16;
const COMPARED_FEATURES: usize = 8192;

/// Bytes that are unpacked for it at most, if one sample does not take more: HDF5 unpacks a whole storage chunk for each value.
const COMPARED_BYTES: usize = 32 << 20;

/// What two ranks must have in common to see the same samples: shape, type, and the values of some, the first and the last among them.
fn fingerprint(samples: &Samples) -> Result<Vec<u8>> {
    let Samples { rows, features, dtype, .. } = samples;
    let is_long = *features > COMPARED_FEATURES;
    let fit = COMPARED_BYTES / samples.unpacked_bytes(if is_long { 1 } else { *features }).max(1);
    let count = fit.clamp(1, COMPARED_SAMPLES.min(*rows));
    let place = |number: usize, total: usize| number * (total - 1) / (count - 1).max(1);
    let mut digest = Xxh3Default::new();
    for number in 0..count {
        let row = place(number, *rows);
        if is_long {
            digest.update(samples.show(row, place(number, *features))?.as_bytes());
        } else {
            digest.update(bytemuck::cast_slice(&samples.read::<f64>(row..row + 1)?));
        }
    }
    Ok(format!("{rows} x {features} {dtype} {:016x}", digest.digest()).into_bytes())
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
    let Some(method) = args.kernel.method(metric, d) else {
        return Err(Error::Usage(format!(
            "--kernel gemm: {metric} has no form as a matrix product; use auto or direct"
        )));
    };
    let is_countable = |rows: usize, columns: usize| {
        rows.checked_mul(columns).is_some_and(|values| values.checked_mul(dtype.size()).is_some())
    };
    if !is_countable(n, m) {
        fail!("a matrix of {n} x {m} distances has more bytes than 64 bits can count; use fewer samples");
    }
    if !is_countable(n.max(m), d) {
        fail!(
            "{} samples of {d} features have more bytes than 64 bits can count; use fewer features or samples",
            n.max(m)
        );
    }
    let tile = match args.tile {
        Some(tile) => tile.min(n.max(m)),
        None => choose_edge(n, m, ranks, threads, dtype.size()),
    };
    let tile_bytes = tile.min(n) as u128 * tile.min(m) as u128 * dtype.size() as u128;
    if tile_bytes > MAX_WRITE_BYTES as u128 {
        return Err(Error::Usage(format!(
            "--tile {tile}: a tile would have {tile_bytes} bytes, the limit is {MAX_WRITE_BYTES}; choose a smaller one"
        )));
    }
    Ok(Problem { n, m, d, metric, method, dtype, tile })
}

/// Who computes which tiles.
pub(super) fn schedule(problem: &Problem, ranks: usize, symmetric: bool) -> Schedule {
    Schedule { grid: problem.grid(symmetric), ranks }
}

/// The best SIMD level that every rank has.
pub(super) fn common_level(comm: &Comm) -> Result<Level> {
    let level = comm.agree(Level::detect().map_err(Error::Usage))?;
    let place = Level::ALL.iter().position(|other| *other == level).unwrap_or(0);
    let worst = comm.all_reduce(&[place as u64], Reduce::Max)[0];
    Ok(Level::ALL.iter().copied().nth(usize::try_from(worst).unwrap_or(0)).unwrap_or(level))
}

/// Time to compute, the same on all ranks: the limit asked for, or the end of the Slurm job. Collective.
pub(super) fn time_left(comm: &Comm, limit: Option<Duration>) -> Option<(Duration, &'static str)> {
    if comm.is_root() && stop::job_has_ended() {
        let name = stop::JOB_END;
        log::warn!(
            "{name}={} has passed, so it is ignored: this shell belongs to a job that has ended",
            std::env::var(name).unwrap_or_default()
        );
    }
    let mine = stop::time_left(limit);
    let seconds = mine.map_or(f64::INFINITY, |(left, _)| left.as_secs_f64());
    let left = Duration::try_from_secs_f64(comm.all_reduce(&[seconds], Reduce::Min)[0]).ok()?;
    Some((left, mine.map_or("the limit of another rank", |(_, name)| name)))
}

/// Addresses that HDF5 and MPI take when they open files, beside what a run plans: 4 MB, measured with Open MPI 4.1.4.
const LIBRARY_BYTES: u64 = 16 << 20;

/// Addresses of a thread's stack.
const STACK_BYTES: u64 = 2 << 20;

/// Refuses a run that would map more than this process may, where the shell or the batch system has set a limit for it.
pub(super) fn check_limit(planned: u64, threads: usize, way_out: &str) -> Result<()> {
    let stacks = STACK_BYTES.saturating_mul(threads as u64);
    let needed = [planned, stacks, LIBRARY_BYTES].into_iter().fold(0, u64::saturating_add);
    if let Some(limit) = host::process_limit()
        && needed > limit.left()
    {
        fail!(
            "a process on {} may have {} of memory ({}), {} is in use, and this run needs another {}; {way_out}",
            host::name(),
            bytes(limit.bytes),
            limit.command,
            bytes(limit.used),
            bytes(needed)
        );
    }
    Ok(())
}

/// Refuses a run whose ranks do not fit the limits of their processes, or their node's memory: with a layout that does, of those that
/// `way_out` finds for the memory of a node.
pub(super) fn check_memory(
    memory: &Memory,
    threads: usize,
    nodes: &Nodes,
    way_out: impl Fn(f64) -> Option<String>,
) -> Result<()> {
    // what no option changes is needed first
    check_limit(0, 1, "raise the limit")?;
    let of_limits = "raise the limit, or use more ranks, fewer --threads or a smaller --tile";
    check_limit(memory.total() - memory.base, threads, of_limits)?;
    let needed = memory.total().saturating_mul(nodes.ranks_here as u64);
    if let Some(available) = host::available_memory()
        && needed > available
    {
        let way_out = way_out(available as f64).unwrap_or_else(|| "use nodes with more memory".into());
        fail!(
            "{} on {} would take {} of memory and {} are free; {way_out}",
            counted(nodes.ranks_here, "rank"),
            host::name(),
            bytes(needed),
            bytes(available)
        );
    }
    Ok(())
}

/// Refuses a result that does not fit its file system, or the limit of this process's files.
pub(super) fn check_space(needed: u64, workdir: &Workdir) -> Result<()> {
    let folder = workdir.parent();
    if let Some(free) = host::free_space(folder).map(|free| free.saturating_add(workdir.left_space()))
        && needed > free
    {
        fail!(
            "the result takes {} and {} has {} free; make room, or write it elsewhere",
            bytes(needed),
            folder.display(),
            bytes(free)
        );
    }
    if let Some(limit) = host::file_size_limit()
        && needed > limit
    {
        fail!(
            "the result takes {} and a file of this process may have {} (ulimit -f); raise the limit",
            bytes(needed),
            bytes(limit)
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
