//! The command line.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser, ValueParser};
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::element::{Content, Dtype, StoreType};
use crate::kernel::Method;
use crate::metric::{Measure, Metric, Order};
use crate::source::{Axes, Storage, StoredType, View};
use crate::store::workdir::Existing;

/// Distances between all rows of large sample matrices: the matrix, half of it, the nearest neighbours of every sample, or all within a radius.
///
/// Samples come from HDF5, work is shared by MPI ranks and threads, and the result is written in parallel into one HDF5
/// file. Every subcommand runs under mpirun or srun, and without (as one rank).
#[derive(Debug, Parser)]
#[command(version = crate::VERSION, max_term_width = 100, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Every option and its values, as text: what all ranks must have been given alike.
    #[arg(skip)]
    pub options: Vec<(String, String)>,
}

impl Cli {
    /// Reads the command line; ends the process where it asks for help or makes no sense.
    pub fn read() -> Self {
        let matches = Self::command().get_matches();
        let cli = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Self { options: options(&matches), ..cli }
    }
}

/// The subcommand, and the values of all its options.
fn options(matches: &ArgMatches) -> Vec<(String, String)> {
    let Some((name, given)) = matches.subcommand() else { return Vec::new() };
    let command = Cli::command();
    let arguments = command.find_subcommand(name).into_iter().flat_map(clap::Command::get_arguments);
    let options = arguments.map(|argument| {
        let id = argument.get_id().as_str();
        let shown = argument.get_long().map_or_else(|| id.to_uppercase(), |long| format!("--{long}"));
        // escaped, which tells names apart that are no UTF-8
        let shown_value = |value: &OsStr| value.as_encoded_bytes().escape_ascii().to_string();
        let values = given.get_raw(id).into_iter().flatten().map(shown_value);
        (shown, values.collect::<Vec<_>>().join(" "))
    });
    std::iter::once(("the subcommand".into(), name.into())).chain(options).collect()
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compute the distances of all pairs of samples
    Compute(ComputeArgs),
    /// Write random samples to an HDF5 file, the same bytes for any number of ranks
    Generate(GenerateArgs),
    /// Compare a result with the definition of its metric, and with its checksums
    Verify(VerifyArgs),
    /// Show what a result holds
    Info(InfoArgs),
    /// Show what a run will take: tiles, rounds, memory, bytes and time
    Plan(PlanArgs),
}

/// What is to be computed: shared by compute and plan.
#[derive(Clone, Debug, Args)]
pub struct ProblemArgs {
    /// Second set of samples: distances of the rows of X to the rows of Y; repeated for several files [default: X to itself]
    #[arg(long, value_name = "Y.h5")]
    pub against: Vec<PathBuf>,
    /// Dataset with the samples of X [default: the only two-dimensional numeric one]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Dataset with the samples of Y [default: the only two-dimensional numeric one]
    #[arg(long, value_name = "NAME", requires = "against")]
    pub against_dataset: Option<String>,
    /// The whole dataset of each file is one sample, of any number of dimensions
    #[arg(long, conflicts_with_all = ["transpose", "flatten", "packed"])]
    pub sample_per_file: bool,
    /// Each column of the dataset is a sample, as MATLAB and R store matrices
    #[arg(long, conflicts_with = "flatten")]
    pub transpose: bool,
    /// Each leading index of a dataset of three or more dimensions is a sample
    #[arg(long)]
    pub flatten: bool,
    /// Unpack values as netCDF's attributes say (scale_factor, add_offset, _Unsigned), with NaN for missing ones (_FillValue, missing_value)
    #[arg(long)]
    pub decode_netcdf: bool,
    /// Each byte of the dataset holds eight truth values, as numpy.packbits(x, axis=1) writes them; not with --transpose, --flatten, --decode-netcdf
    #[arg(long, conflicts_with_all = ["transpose", "flatten", "decode_netcdf"])]
    pub packed: bool,
    /// Features of a sample: with --packed, if its last byte is not full; of plan, with --samples
    #[arg(long, value_name = "D", value_parser = positive())]
    pub features: Option<usize>,
    /// Metric, by SciPy's name, in upper or lower case
    #[arg(long, value_name = "NAME", default_value = "euclidean", value_parser = MetricParser)]
    pub metric: Metric,
    /// Order of minkowski: 0.001 to 32 (8 with f32), or inf [default: 2]
    #[arg(long, value_name = "P", value_parser = order, allow_hyphen_values = true)]
    pub p: Option<Order>,
    /// A weight for each feature, 0 or more: the only dataset of that length in W.h5, or the one that is named
    #[arg(long, value_name = "W.h5[:NAME]")]
    pub weights: Option<PathBuf>,
    /// A variance for each feature, of seuclidean [default: those of the samples]
    #[arg(long, value_name = "V.h5[:NAME]")]
    pub variance: Option<PathBuf>,
    /// The inverse of a covariance, D x D numbers, of mahalanobis [default: that of the covariance of the samples]
    #[arg(long, value_name = "VI.h5[:NAME]")]
    pub inverse_covariance: Option<PathBuf>,
    /// NaN stands for a missing value: of two samples, only the features count that both have, and sums over them are scaled up to all features
    #[arg(long)]
    pub skip_missing: bool,
    /// How (squared) Euclidean distances are computed, and those of cosine and correlation
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub kernel: KernelChoice,
    /// Type to compute in [default: that of the samples]
    #[arg(long, value_name = "TYPE")]
    pub dtype: Option<DtypeChoice>,
    /// Write the matrix [default: unless another result is asked for]
    #[arg(long)]
    pub matrix: bool,
    /// Write the upper triangle of the matrix, row by row, as SciPy's pdist gives it: half the bytes; of one input
    #[arg(long)]
    pub condensed: bool,
    /// Of every sample, write the K nearest, nearest first, with their distances; with one input, others than itself
    #[arg(long, value_name = "K", value_parser = positive())]
    pub neighbors: Option<usize>,
    /// Of every sample, write all at distance R or less as a sparse matrix; with one input, others than itself
    #[arg(long, value_name = "R", value_parser = radius, allow_hyphen_values = true)]
    pub radius: Option<f64>,
    /// Have every sample come first among its own neighbours, and be within its own radius if its distance to itself is
    #[arg(long)]
    pub include_self: bool,
    /// Type that distances are stored in, each rounded once [default: the type computed in]
    #[arg(long, value_name = "TYPE")]
    pub store: Option<StoreChoice>,
    /// Dataset with a label for each sample, beside the samples of X: copied to /ids
    #[arg(long, value_name = "NAME")]
    pub ids: Option<String>,
    /// Likewise of Y: copied to /against_ids
    #[arg(long, value_name = "NAME", requires = "against")]
    pub against_ids: Option<String>,
    /// Memory of a rank, such as 2GB or 500MiB; samples that do not fit are read again, band by band [default: what its node and its process have left]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub memory_per_rank: Option<u64>,
    /// Edge of the square tiles; results do not depend on it [default: chosen from the sizes]
    #[arg(long, value_name = "N", value_parser = positive())]
    pub tile: Option<usize>,
}

impl ProblemArgs {
    /// The options without which other methods may compute the metric: ` with weights`, or nothing.
    pub fn with_options(&self) -> String {
        let given = [(self.weights.is_some(), "weights"), (self.skip_missing, "--skip-missing")];
        let names: Vec<_> =
            given.into_iter().filter(|(is_given, _)| *is_given).map(|(_, name)| name).collect();
        if names.is_empty() { String::new() } else { format!(" with {}", names.join(" and ")) }
    }

    /// Whether `--skip-missing` would be accepted beside the other options.
    pub fn could_skip_missing(&self) -> bool {
        self.metric.can_skip_missing() && !matches!(self.kernel, KernelChoice::Gemm)
    }

    /// How the datasets are looked at.
    pub fn view(&self) -> View {
        let axes = match (self.transpose, self.flatten) {
            (true, _) => Axes::Columns,
            (_, true) => Axes::Leading,
            _ if self.sample_per_file => Axes::Whole,
            _ => Axes::Rows,
        };
        View { axes, decodes: self.decode_netcdf, bits: self.packed.then_some(self.features) }
    }
}

/// Options of compute.
#[derive(Clone, Debug, Args)]
pub struct ComputeArgs {
    /// HDF5 files with the samples, one per row: those of one file after those of another
    #[arg(id = "input", value_name = "X.h5", required = true)]
    pub inputs: Vec<PathBuf>,
    /// HDF5 file to write
    #[arg(short, long, value_name = "OUT.h5", required_unless_present = "no_output")]
    pub output: Option<PathBuf>,
    /// The problem.
    #[command(flatten)]
    pub problem: ProblemArgs,
    /// Worker threads of each rank [default: SLURM_CPUS_PER_TASK, else the rank's share of its cores]
    #[arg(long, value_name = "N", value_parser = positive())]
    pub threads: Option<usize>,
    /// Go on where a run was not finished; with any number of ranks and threads
    #[arg(long, conflicts_with_all = ["force", "no_output"])]
    pub resume: bool,
    /// Overwrite an existing result, and start over where a run was not finished
    #[arg(long)]
    pub force: bool,
    /// Compute everything and write nothing
    #[arg(long, conflicts_with_all = ["output", "force", "matrix", "condensed", "neighbors", "radius", "store", "ids", "against_ids"])]
    pub no_output: bool,
    /// Seconds between checkpoints: what a killed run loses at most, and the tiles in hand
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds)]
    pub checkpoint_interval: Duration,
    /// Stop computing after so long, with exit code 75; go on with --resume [default: shortly before the Slurm job's end]
    #[arg(long, value_name = "HH:MM:SS", value_parser = time_limit)]
    pub time_limit: Option<Duration>,
    /// Do not force data to the disk: still safe when the program is killed, not when a node loses power
    #[arg(long)]
    pub no_sync: bool,
    /// Compute with NaN and infinities among the samples instead of refusing them
    #[arg(long, conflicts_with = "skip_missing")]
    pub allow_nonfinite: bool,
    /// Compute with samples some of whose storage chunks were never written: they are read as the fill value
    #[arg(long)]
    pub allow_missing_chunks: bool,
    /// Write the run record to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Options of generate.
#[derive(Clone, Debug, Args)]
pub struct GenerateArgs {
    /// HDF5 file to write
    #[arg(value_name = "OUT.h5")]
    pub output: PathBuf,
    /// Number of samples
    #[arg(long, value_name = "N", value_parser = positive())]
    pub samples: usize,
    /// Number of features
    #[arg(long, value_name = "D", value_parser = positive())]
    pub features: usize,
    /// How values are distributed
    #[arg(long, value_name = "NAME", default_value = "uniform")]
    pub distribution: Distribution,
    /// Type of the values
    #[arg(long, value_name = "TYPE", default_value = "f64")]
    pub dtype: DtypeChoice,
    /// Seed: the same seed gives the same file
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

/// Options of verify.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// Result to check
    #[arg(value_name = "OUT.h5")]
    pub result: PathBuf,
    /// Where the samples of X are now; repeated for several files [default: where they were, or in the folder of the result]
    #[arg(long, value_name = "X.h5")]
    pub samples: Vec<PathBuf>,
    /// Dataset with the samples of X [default: the stored name]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
    /// Where the samples of Y are now [default: as for X]
    #[arg(long, value_name = "Y.h5")]
    pub against: Vec<PathBuf>,
    /// Dataset with the samples of Y [default: the stored name]
    #[arg(long, value_name = "NAME")]
    pub against_dataset: Option<String>,
    /// Number of random pairs of a matrix to recompute [default: 1000]
    #[arg(long, value_name = "N", value_parser = positive())]
    pub pairs: Option<usize>,
    /// Number of random samples whose neighbours are compared with all others [default: 100]
    #[arg(long, value_name = "N", value_parser = positive())]
    pub rows: Option<usize>,
    /// Seed of the random pairs and samples: another seed gives others
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
    /// Recompute every pair, check every checksum, and that the samples have not changed since
    #[arg(long, conflicts_with_all = ["pairs", "rows", "seed"])]
    pub all: bool,
}

/// Options of info.
#[derive(Clone, Debug, Args)]
pub struct InfoArgs {
    /// A result, or samples
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Dataset with the samples [default: the only two-dimensional numeric one]
    #[arg(long, value_name = "NAME")]
    pub dataset: Option<String>,
}

/// Options of plan.
#[derive(Clone, Debug, Args)]
pub struct PlanArgs {
    /// HDF5 files with the samples
    #[arg(
        id = "input",
        value_name = "X.h5",
        required_unless_present = "samples",
        conflicts_with = "samples"
    )]
    pub inputs: Vec<PathBuf>,
    /// Number of samples, instead of a file
    #[arg(long, value_name = "N", requires = "features", value_parser = positive())]
    pub samples: Option<usize>,
    /// Type that these samples are stored in
    #[arg(long, value_name = "TYPE", default_value = "f64", requires = "samples", conflicts_with = "packed")]
    pub stored: StoredChoice,
    /// The problem.
    #[command(flatten)]
    pub problem: ProblemArgs,
    /// Number of ranks [default: one per node]
    #[arg(long, value_name = "P", value_parser = positive())]
    pub ranks: Option<usize>,
    /// Worker threads of each rank [default: SLURM_CPUS_PER_TASK, else the rank's share of the cores of --machine, else of this machine]
    #[arg(long, value_name = "T", value_parser = positive())]
    pub threads: Option<usize>,
    /// Nodes that share the ranks
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = positive())]
    pub nodes: usize,
    /// JSON file that tells what a node can do [default: the kernel's rate is measured here, others are assumed]
    #[arg(long, value_name = "FILE")]
    pub machine: Option<PathBuf>,
    /// Of a run that writes nothing
    #[arg(long, conflicts_with_all = ["matrix", "condensed", "neighbors", "radius", "store"])]
    pub no_output: bool,
    /// Write the plan to this file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Choice of the kernel.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KernelChoice {
    /// The faster one for the metric and number of features
    Auto,
    /// |x|² + |y|² − 2x·y, and direct where that would cancel
    Gemm,
    /// From the differences
    Direct,
}

impl KernelChoice {
    /// Whether it is left to the program.
    pub fn is_auto(self) -> bool {
        matches!(self, Self::Auto)
    }

    /// The method for a metric and number of features of samples with this content, if the metric has it.
    pub fn method(self, measure: &Measure, features: usize, content: Content) -> Option<Method> {
        match self {
            Self::Auto => Some(Method::fastest(measure, features, content)),
            Self::Gemm => measure.has_gram().then_some(Method::Gemm),
            Self::Direct => Some(Method::Direct),
        }
    }
}

/// Choice of the element type.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum DtypeChoice {
    /// Single precision
    F32,
    /// Double precision
    F64,
}

impl From<DtypeChoice> for Dtype {
    fn from(choice: DtypeChoice) -> Self {
        match choice {
            DtypeChoice::F32 => Self::F32,
            DtypeChoice::F64 => Self::F64,
        }
    }
}

/// Choice of the type that samples are stored in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StoredChoice {
    /// True or false, a byte each
    Bool,
    /// Whole numbers of 8 bits, without a sign
    U8,
    /// Whole numbers of 8 bits, with a sign
    I8,
    /// Single precision
    F32,
    /// Double precision
    F64,
}

impl StoredChoice {
    /// How samples lie in a file.
    pub fn storage(self, features: usize) -> Storage {
        let plain = |stored| Storage::plain(features, stored);
        match self {
            Self::Bool => Storage { content: Content::Truth, ..plain(StoredType::U8) },
            Self::U8 => plain(StoredType::U8),
            Self::I8 => plain(StoredType::I8),
            Self::F32 => plain(StoredType::F32),
            Self::F64 => plain(StoredType::F64),
        }
    }
}

/// Choice of the type that distances are stored in.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum StoreChoice {
    /// Half precision: 11 bits, up to 65504
    F16,
    /// Single precision
    F32,
    /// Double precision
    F64,
}

impl From<StoreChoice> for StoreType {
    fn from(choice: StoreChoice) -> Self {
        match choice {
            StoreChoice::F16 => Self::F16,
            StoreChoice::F32 => Self::F32,
            StoreChoice::F64 => Self::F64,
        }
    }
}

/// Distribution of generated samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Distribution {
    /// Every value uniform in [0, 1)
    Uniform,
    /// Every value normal with mean 0 and standard deviation 1
    Normal,
    /// Ten clusters: centres uniform in [-10, 10), samples normal around one of them
    Blobs,
}

impl ComputeArgs {
    /// What to do where the result's name or its working folder is taken.
    pub fn existing(&self) -> Existing {
        match (self.resume, self.force) {
            (true, _) => Existing::Resume,
            (_, true) => Existing::Replace,
            _ => Existing::Refuse,
        }
    }
}

fn radius(text: &str) -> Result<f64, String> {
    let radius = text.parse().ok().filter(|radius: &f64| *radius >= 0.0);
    radius.ok_or_else(|| "it must be a number, 0 or more, or inf for all that are numbers".into())
}

fn order(text: &str) -> Result<Order, String> {
    Order::new(text.parse().map_err(|_| "it must be a number, or inf".to_owned())?)
}

/// Reads a number of bytes: `500000000`, `500MB`, `1.5GiB`.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let power = |prefix: &str| {
        "kMGTP".find(&prefix.replace('K', "k")).and_then(|at| i32::try_from(at).ok()).map(|at| at + 1)
    };
    let prefix = unit.strip_suffix('B').unwrap_or(unit);
    let scale = match prefix.strip_suffix('i') {
        _ if prefix.is_empty() => Some(1.0),
        Some(prefix) if prefix.len() == 1 => power(prefix).map(|power| 1024_f64.powi(power)),
        None if prefix.len() == 1 => power(prefix).map(|power| 1000_f64.powi(power)),
        _ => None,
    };
    let bytes = number.parse::<f64>().ok().zip(scale).map(|(number, scale)| number * scale);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is checked to fit")]
    match bytes {
        Some(bytes) if (1.0..2e18).contains(&bytes) => Ok(bytes as u64),
        _ => Err("expected a number of bytes, such as 2GB or 500MiB".into()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        // more than a Duration holds is longer than any run
        Ok(seconds) if seconds >= 0.0 => Ok(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
        _ => Err("it must be a number of seconds, 0 or more".into()),
    }
}

/// `[DAYS-]HH:MM:SS`, one of the forms that Slurm takes.
fn time_limit(text: &str) -> Result<Duration, String> {
    let parse = || -> Option<u64> {
        let (days, time) = text.split_once('-').unwrap_or(("0", text));
        let parts: Vec<u64> = time.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
        let &[hours, minutes @ 0..60, seconds @ 0..60] = parts.as_slice() else { return None };
        let hours = days.parse::<u64>().ok()?.checked_mul(24)?.checked_add(hours)?;
        hours.checked_mul(3600)?.checked_add(60 * minutes + seconds)
    };
    parse().map(Duration::from_secs).ok_or_else(|| "it must be HH:MM:SS, or DAYS-HH:MM:SS".to_owned())
}

/// Knows metrics by their names and aliases in any case, and says of others how to do without them.
#[derive(Clone)]
struct MetricParser;

impl TypedValueParser for MetricParser {
    type Value = Metric;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Metric, clap::Error> {
        let parse = |text: &str| Metric::from_name(text).ok_or_else(no_metric);
        parse.parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = Metric::ALL.iter().map(|metric| {
            PossibleValue::new(metric.name()).aliases(metric.aliases().iter().copied()).help(metric.formula())
        });
        Some(Box::new(values))
    }
}

fn no_metric() -> String {
    let known: Vec<_> = Metric::ALL.iter().map(|metric| metric.name()).collect();
    format!("the metrics are {}", known.join(", "))
}

fn positive() -> ValueParser {
    let parse = |text: &str| match text.parse::<usize>() {
        Ok(0) => Err("it must be at least 1".to_owned()),
        Ok(number) => Ok(number),
        Err(error) => Err(error.to_string()),
    };
    ValueParser::from(parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_option_is_listed_with_its_values() {
        let words = ["pairdist", "compute", "x.h5", "-o", "d.h5", "--metric", "l1", "--no-sync"];
        let listed = options(&Cli::command().get_matches_from(words));
        for (name, value) in [
            ("the subcommand", "compute"),
            ("INPUT", "x.h5"),
            ("--output", "d.h5"),
            ("--metric", "l1"),
            ("--no-sync", "true"),
            ("--force", "false"),
            ("--against", ""),
        ] {
            assert!(listed.contains(&(name.into(), value.into())), "{name} in {listed:?}");
        }
    }

    #[test]
    fn times_are_read_as_slurm_writes_them() {
        assert_eq!(time_limit("01:02:03"), Ok(Duration::from_secs(3723)));
        assert_eq!(time_limit("2-00:00:01"), Ok(Duration::from_secs(172_801)));
        for wrong in
            ["", "10", "01:02", "00:60:00", "00:00:60", "a:b:c", "-1:00:00", "1-", "99999999999999999999:0:0"]
        {
            assert!(time_limit(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_bytes_with_any_unit() {
        for (text, bytes) in [
            ("1", 1),
            ("500MB", 500_000_000),
            ("2G", 2_000_000_000),
            ("1.5GiB", 3 << 29),
            ("3Ki", 3072),
            ("7kB", 7000),
            ("7KB", 7000),
            ("20B", 20),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "0", "-1", "MB", "1XB", "1.2.3", "1e3", "nan", "inf", "9999999PB", "1 GB", "1iB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_interval_may_be_longer_than_any_run_but_not_negative() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for long in ["1e300", "1e19", "inf"] {
            assert!(seconds(long) >= Ok(Duration::from_secs(1 << 60)), "{long}");
        }
        for wrong in ["-1", "nan", "x", "", "-inf"] {
            assert_eq!(seconds(wrong), Err("it must be a number of seconds, 0 or more".into()), "{wrong}");
        }
    }

    #[test]
    fn every_metric_and_alias_is_accepted() {
        for metric in Metric::ALL {
            let names = [&[metric.name()], metric.aliases()].concat();
            for name in names.into_iter().flat_map(|name| [name.to_owned(), name.to_uppercase()]) {
                let cli =
                    Cli::try_parse_from(["pairdist", "compute", "x.h5", "-o", "d.h5", "--metric", &name]);
                let Ok(Cli { command: Command::Compute(args), .. }) = cli else {
                    panic!("{name} is refused")
                };
                assert_eq!(args.problem.metric, *metric);
            }
        }
    }
}
