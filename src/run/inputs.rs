//! The inputs of a run: opened, compared between ranks, and what a result says of them.

use std::path::PathBuf;

use xxhash_rust::xxh3::Xxh3Default;

use crate::cli::{ComputeArgs, ProblemArgs};
use crate::comm::{Comm, Reduce};
use crate::element::{Content, Dtype};
use crate::error::{Error, Result};
use crate::fail;
use crate::host;
use crate::io::labels::{self, Labels};
use crate::number::Number;
use crate::partition::range_of;
use crate::pipeline::{Workers, survey_of};
use crate::problem::InputId;
use crate::source::{Input, Samples, Storage};

/// The open inputs of a run.
pub(super) struct Inputs {
    pub(super) x: Input,
    pub(super) y: Option<Input>,
    /// Storage chunks of each file that were never written, and all chunks, once they are counted.
    pub(super) chunks: Vec<(u64, u64)>,
}

impl Inputs {
    pub(super) fn open(x: &[PathBuf], args: &ProblemArgs) -> Result<Self> {
        let x = Input::open(x, args.dataset.as_deref(), args.view())?;
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
        let mut inputs = comm.agree(Self::open(&args.inputs, &args.problem))?;
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
        let count = self.files().count();
        self.files().try_for_each(|samples| agree_on_samples(comm, samples, count))
    }

    /// The labels of X and of Y that are asked for, file by file.
    pub(super) fn labels(&self, args: &ProblemArgs) -> Result<[Vec<Labels>; 2]> {
        let open = |name: Option<&str>, input: Option<&Input>| match (name, input) {
            (Some(name), Some(input)) => {
                let of = |samples: &Samples| Labels::open(&samples.path, name, samples.rows);
                input.files.iter().map(of).collect::<Result<Vec<_>>>()
            }
            _ => Ok(Vec::new()),
        };
        let x = open(args.ids.as_deref(), Some(&self.x))?;
        let y = open(args.against_ids.as_deref(), self.y.as_ref())?;
        labels::check_alike(&x)?;
        labels::check_alike(&y)?;
        Ok([x, y])
    }

    /// What the result says of each file; digests where they are known, and the number that was taken off.
    pub(super) fn ids(&self, digests: &[u64], subtracted: i128) -> Vec<InputId> {
        let id = |(at, samples): (usize, &Samples)| InputId {
            path: std::path::absolute(&samples.path)
                .unwrap_or_else(|_| samples.path.clone())
                .display()
                .to_string(),
            dataset: samples.name.clone(),
            shape: (samples.rows, samples.features),
            digest: digests.get(at).map(|digest| format!("{digest:016x}")).unwrap_or_default(),
            view: samples.view.words(),
            subtracted: if subtracted == 0 { String::new() } else { subtracted.to_string() },
        };
        self.files().enumerate().map(id).collect()
    }

    /// X, and Y if there is one.
    pub(super) fn all(&self) -> impl Iterator<Item = &Input> {
        [Some(&self.x), self.y.as_ref()].into_iter().flatten()
    }

    /// The files of X, then those of Y.
    pub(super) fn files(&self) -> impl Iterator<Item = &Samples> {
        self.all().flat_map(|input| &input.files)
    }

    /// What they are, for messages.
    pub(super) fn describe(&self) -> String {
        self.all().map(Input::describe).collect::<Vec<_>>().join(" and ")
    }

    pub(super) fn shape(&self) -> Shape {
        let x = &self.x;
        let y = self.y.as_ref().unwrap_or(x);
        let (dtype, content) = (x.dtype().wider(y.dtype()), x.content().and(y.content()));
        let layouts = [x.layouts(), y.layouts()];
        Shape { n: x.rows(), m: y.rows(), d: x.features, dtype, content, layouts, is_of_file: true }
    }
}

/// Makes sure that all ranks see the same samples: a name may mean another file on another node. Shape and type are compared, and the
/// values of some samples, which every rank reads through its own eyes: of few, where there are many `files`. Collective.
pub(super) fn agree_on_samples(comm: &Comm, samples: &Samples, files: usize) -> Result<()> {
    let mine = comm.agree(fingerprint(samples, files))?;
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

/// What two ranks must have in common to see the same samples: shape, type, and the values of some, the first and the last among them.
/// Where a single value would take long to unpack, they compare what is packed.
fn fingerprint(samples: &Samples, files: usize) -> Result<Vec<u8>> {
    let Samples { rows, features, dtype, storage, .. } = samples;
    // of few values that take long to collect, single ones
    let is_long = *features > COMPARED_FEATURES || samples.cheap(*features).is_none();
    let mut digest = Xxh3Default::new();
    if let Some(cheap) = samples.cheap(if is_long { 1 } else { *features }) {
        let count = cheap.min((COMPARED_SAMPLES / files).max(2)).min(*rows);
        let place = |number: usize, total: usize| number * (total - 1) / (count - 1).max(1);
        for number in 0..count {
            let row = place(number, *rows);
            if is_long {
                digest.update(samples.show(row, place(number, *features))?.as_bytes());
            } else {
                digest.update(bytemuck::cast_slice(&samples.read::<f64>(row..row + 1)?));
            }
        }
    } else {
        digest.update(&samples.packed()?);
    }
    // the content decides how samples are packed
    Ok(format!("{rows} x {features} {dtype} {:?} {:016x}", storage.content, digest.digest()).into_bytes())
}

/// Opens the second input, if there is one.
pub(super) fn open_against(args: &ProblemArgs) -> Result<Option<Input>> {
    let open = |paths: &[PathBuf]| Input::open(paths, args.against_dataset.as_deref(), args.view());
    Some(args.against.as_slice()).filter(|paths| !paths.is_empty()).map(open).transpose()
}

/// Digests of the samples of each file, each rank reading its share. Collective.
pub(super) fn digests<'a, T: Number>(
    comm: &Comm,
    workers: &Workers,
    inputs: impl Iterator<Item = &'a Input>,
) -> Result<Vec<u64>> {
    let mut mine = Vec::new();
    for input in inputs {
        let surveys = comm.agree(survey_of::<T>(
            workers,
            input,
            range_of(input.rows(), comm.size(), comm.rank()),
            None,
        ))?;
        mine.extend(surveys.iter().map(|survey| survey.digest));
    }
    Ok(comm.all_reduce(&mine, Reduce::Sum))
}

/// Sizes of a problem, and the type that loses nothing.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) n: usize,
    pub(super) m: usize,
    pub(super) d: usize,
    pub(super) dtype: Dtype,
    /// What all their values are.
    pub(super) content: Content,
    /// How samples of X and of Y lie in files, with the most rows of one.
    pub(super) layouts: [Vec<(Storage, usize)>; 2],
    /// Whether X is there, and not only its size.
    pub(super) is_of_file: bool,
}
