//! MPI: the only module that communicates.
//!
//! All calls are made by the main thread (`MPI_THREAD_FUNNELED`). What fails on one rank before the
//! rounds is agreed on by all ([`Comm::agree`]); what fails later ends the job ([`Comm::abort`]), as does any panic.

use std::time::Duration;

use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{AsRaw, Communicator, CommunicatorCollectives, Destination, Equivalence, Root, Source};

use crate::error::{Error, Result, end_on_panic, tell};
use crate::fail;
use crate::host;

/// Exit code of a job that one of its ranks ended.
const ABORTED: i32 = 1;

/// MPI counts ranks in a C int.
pub const MAX_RANKS: usize = i32::MAX as usize;

/// Elements in one message: messages of 64-bit words have at most 1 GiB, and counts are within a C int.
const MESSAGE_LEN: usize = 1 << 27;

/// A type that messages can carry.
pub trait Message: Equivalence + Copy {}
impl<T: Equivalence + Copy> Message for T {}

/// What a collective reduction does with the ranks' values.
#[derive(Clone, Copy, Debug)]
pub enum Reduce {
    /// The sum of all values; of integers, wrapping.
    Sum,
    /// The smallest value. Of integers below 2⁶³: MPICH 4.0.2 compares MPI_UINT64_T as if it had a sign.
    Min,
    /// The largest value, likewise.
    Max,
    /// Of integers, the bits that any value has.
    Or,
}

/// What words from rank to rank are about.
#[derive(Clone, Copy, Debug)]
pub enum Tag {
    /// Something that was found for the receiver.
    Letter,
    /// What the sender has already.
    Bounds,
}

/// Marks blocks of samples: a message without a mark is taken for any.
const BLOCK: mpi::Tag = 0;

impl Tag {
    fn number(self) -> mpi::Tag {
        match self {
            Self::Letter => 1,
            Self::Bounds => 2,
        }
    }
}

/// Where the ranks of this job run.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// Host name of each rank.
    pub hosts: Vec<String>,
    /// Number of different nodes.
    pub count: usize,
    /// Ranks on this rank's node.
    pub ranks_here: usize,
    /// Ranks on this rank's node that may use the same cores, this rank among them.
    pub sharing: usize,
    /// The cores that each rank on this rank's node may use.
    pub cores_here: Vec<String>,
    /// Whether this is the first rank of its node.
    pub is_first: bool,
}

/// Time in which a launcher passes on what was said last: MPICH's may end first.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Ends the job on all ranks.
fn abort(world: &SimpleCommunicator) -> ! {
    std::thread::sleep(LAST_WORDS);
    world.abort(ABORTED)
}

/// All ranks of the job. MPI ends when this is dropped, so it must outlive every open file.
pub struct Comm {
    world: SimpleCommunicator,
    // dropped last: it ends MPI
    _universe: Universe,
}

impl Comm {
    /// Starts MPI, and makes every panic end the whole job.
    ///
    /// # Errors
    /// If MPI was started before in this process, or cannot serve a program with threads.
    pub fn start() -> Result<Self> {
        let Some((universe, threading)) = mpi::initialize_with_threading(Threading::Funneled) else {
            fail!("MPI is already running in this process");
        };
        if threading < Threading::Funneled {
            fail!("this MPI library cannot be used by a program with threads (MPI_THREAD_FUNNELED)");
        }
        let comm = Self { world: universe.world(), _universe: universe };
        // a panic on one rank would leave the others waiting
        let who = format!("rank {} on {}: ", comm.rank(), host::name());
        end_on_panic(who, || abort(&SimpleCommunicator::world()));
        Ok(comm)
    }

    /// Number of this rank, from 0.
    pub fn rank(&self) -> usize {
        usize::try_from(self.world.rank()).expect("ranks count from 0")
    }

    /// Number of ranks.
    pub fn size(&self) -> usize {
        usize::try_from(self.world.size()).expect("a job has ranks")
    }

    /// Whether this is rank 0, which speaks for all.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// The communicator's handle, for the parallel file driver.
    pub fn raw(&self) -> <SimpleCommunicator as AsRaw>::Raw {
        self.world.as_raw()
    }

    /// Name and version of the MPI library.
    pub fn library_version() -> String {
        let version = mpi::environment::library_version().unwrap_or_default();
        let line = version.trim_end_matches('\0').lines().next().unwrap_or_default();
        line.split(", package").next().unwrap_or(line).trim().replace('\t', " ")
    }

    /// Memory of a rank that has started MPI and opened a file, in bytes: measured with Open MPI 4.1.4 and MPICH 4.0.2, each with
    /// HDF5 1.10.8 as Debian 12 has them.
    pub fn resident_bytes() -> u64 {
        if Self::library_version().contains("MPICH") { 32 << 20 } else { 25 << 20 }
    }

    /// Waits until every rank is here.
    pub fn barrier(&self) {
        self.world.barrier();
    }

    /// Succeeds on all ranks or on none: if any rank brings an error, all return that of the lowest such rank.
    ///
    /// # Errors
    /// The agreed one. Its text names the rank if rank 0 had no error itself.
    pub fn agree<T>(&self, result: Result<T>) -> Result<T> {
        let size = self.size();
        let mine = if result.is_ok() { size } else { self.rank() };
        let first = self.all_reduce(&[mine as u64], Reduce::Min)[0];
        let Ok(first) = usize::try_from(first) else { unreachable!("ranks fit a usize") };
        if first == size {
            return result;
        }
        let mut told = match &result {
            Err(error) if first == self.rank() => {
                [&[error.exit_code()], error.to_string().as_bytes()].concat()
            }
            _ => Vec::new(),
        };
        self.broadcast(first, &mut told);
        let (code, text) = told.split_first().expect("an error has a code");
        let text = String::from_utf8_lossy(text);
        Err(Error::of(*code, if first == 0 { text.into() } else { format!("rank {first}: {text}") }))
    }

    /// As [`Self::agree`], for what no rank may give up alone, since giving it up is collective: if some ranks have it and others do
    /// not, the job ends.
    ///
    /// # Errors
    /// The agreed one, if no rank has it.
    pub fn all_or_end<T>(&self, result: Result<T>) -> Result<T> {
        let have = self.all_reduce(&[u64::from(result.is_ok())], Reduce::Sum)[0];
        let error = match result {
            Ok(got) if have == self.size() as u64 => return Ok(got),
            result if have == 0 => return self.agree(result),
            Ok(got) => {
                let agreed = self.agree::<()>(Ok(()));
                // given up only with the process
                std::mem::forget(got);
                agreed.expect_err("a rank has an error")
            }
            Err(error) => self.agree::<()>(Err(error)).expect_err("this rank has an error"),
        };
        self.end(&error)
    }

    /// What all ranks have agreed on, after which there is no way back: an error is told by rank 0, and ends the job.
    pub fn or_end<R>(&self, agreed: Result<R>) -> R {
        agreed.unwrap_or_else(|error| self.end(&error))
    }

    fn end(&self, error: &Error) -> ! {
        if self.is_root() {
            tell(error);
            self.abort();
        }
        // until rank 0 has spoken
        loop {
            self.barrier();
        }
    }

    /// Makes sure that every rank has the values that rank 0 has, which are listed under the same names on all ranks.
    ///
    /// # Errors
    /// The first name under which some rank has another value, with both values, and the way out.
    pub fn same(&self, mine: &[(String, String)], way_out: &str) -> Result<()> {
        let text = |values| serde_json::to_vec(values).expect("pairs of texts can be written");
        let mut roots = text(mine);
        self.broadcast(0, &mut roots);
        self.agree(if roots == text(mine) { Ok(()) } else { Err(difference(mine, &roots, way_out)) })
    }

    /// Does `work` on rank 0 while the others wait for its verdict.
    ///
    /// # Errors
    /// Those of `work`, on all ranks.
    pub fn on_root(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        self.agree(if self.is_root() { work() } else { Ok(()) })
    }

    /// Ends the job on all ranks at once, with exit code 1.
    pub fn abort(&self) -> ! {
        abort(&self.world)
    }

    /// What a rank has got inside the rounds, where the others do not wait for its verdict: an error is told, and ends the job.
    pub fn or_abort<R>(&self, result: Result<R>) -> R {
        result.unwrap_or_else(|error| {
            tell(format_args!("rank {} on {}: {error}", self.rank(), host::name()));
            self.abort()
        })
    }

    /// Element by element, the reduction of all ranks' values, on all ranks.
    pub fn all_reduce<T: Message + Default>(&self, values: &[T], reduce: Reduce) -> Vec<T> {
        let mut result = vec![T::default(); values.len()];
        let operation = match reduce {
            Reduce::Sum => SystemOperation::sum(),
            Reduce::Min => SystemOperation::min(),
            Reduce::Max => SystemOperation::max(),
            Reduce::Or => SystemOperation::bitwise_or(),
        };
        self.world.all_reduce_into(values, &mut result[..], operation);
        result
    }

    /// The bytes of rank `root`, on all ranks.
    pub fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) {
        let process = self.world.process_at_rank(count(root));
        let mut len = bytes.len() as u64;
        process.broadcast_into(&mut len);
        bytes.resize(usize::try_from(len).expect("the sender's length fits"), 0);
        // the address of an empty vector of bytes is 1, which Open MPI takes for MPI_IN_PLACE
        if len > 0 {
            process.broadcast_into(&mut bytes[..]);
        }
    }

    /// The values of rank `root`, on all ranks, which have as many.
    pub fn broadcast_values<T: Message>(&self, root: usize, values: &mut [T])
    where
        [T]: mpi::datatype::BufferMut,
    {
        let process = self.world.process_at_rank(count(root));
        for message in values.chunks_mut(MESSAGE_LEN) {
            process.broadcast_into(message);
        }
    }

    /// The line of each rank, cut after 256 bytes, on all of `ranks`.
    fn gather_lines(ranks: &SimpleCommunicator, line: &str) -> Vec<String> {
        const LEN: usize = 256;
        let mut mine = [0_u8; LEN];
        mine.iter_mut().zip(line.bytes()).for_each(|(to, from)| *to = from);
        let mut all = vec![0_u8; LEN * usize::try_from(ranks.size()).expect("ranks fit")];
        ranks.all_gather_into(&mine[..], &mut all[..]);
        let text = |line: &[u8]| String::from_utf8_lossy(line).trim_end_matches('\0').to_owned();
        all.chunks(LEN).map(text).collect()
    }

    /// A line from the first rank of each node, on all ranks; the others give none.
    pub fn lines_of_nodes(&self, line: Option<&str>) -> Vec<String> {
        let mut lines = Self::gather_lines(&self.world, line.unwrap_or_default());
        lines.retain(|line| !line.is_empty());
        lines
    }

    /// Finds out which ranks share nodes, and cores. `host` is this rank's host name, `cores` the list of cores it may use.
    pub fn nodes(&self, host: &str, cores: &str) -> Nodes {
        let hosts = Self::gather_lines(&self.world, host);
        // one rank of each node counts it: host names need not be unique
        let node = self.world.split_shared(self.world.rank());
        let cores_here = Self::gather_lines(&node, cores);
        let mine = &cores_here[usize::try_from(node.rank()).expect("ranks fit")];
        let is_first = u64::from(node.rank() == 0);
        let count = self.all_reduce(&[is_first], Reduce::Sum)[0];
        let fits = "node counts fit";
        Nodes {
            hosts,
            count: usize::try_from(count).expect(fits),
            ranks_here: cores_here.len(),
            sharing: cores_here.iter().filter(|other| *other == mine).count(),
            cores_here,
            is_first: node.rank() == 0,
        }
    }

    /// Sends words to another rank, which must look for them with [`Self::receive`], and calls `meanwhile` until they are on their way.
    pub fn send(&self, words: &[u64], to: usize, tag: Tag, mut meanwhile: impl FnMut()) {
        let to = self.world.process_at_rank(count(to));
        mpi::request::scope(|scope| {
            let mut request = to.immediate_send_with_tag(scope, words, tag.number());
            while let Err(unfinished) = request.test() {
                request = unfinished;
                meanwhile();
            }
        });
    }

    /// Words that another rank has sent, if there are any, and its number. Those of one rank come in their order.
    pub fn receive(&self, tag: Tag) -> Option<(usize, Vec<u64>)> {
        let (message, status) = self.world.any_process().immediate_matched_probe_with_tag(tag.number())?;
        let from = usize::try_from(status.source_rank()).expect("ranks count from 0");
        let len = usize::try_from(status.count(u64::equivalent_datatype())).expect("a message has a length");
        let mut words = vec![0; len];
        message.matched_receive_into(&mut words[..]);
        Some((from, words))
    }

    /// Sends `outgoing` to one rank while `incoming` arrives from another, and calls `meanwhile` until both are through.
    pub fn exchange<T: Message>(
        &self,
        (outgoing, to): (&[T], usize),
        (incoming, from): (&mut [T], usize),
        mut meanwhile: impl FnMut(),
    ) where
        [T]: mpi::datatype::Buffer + mpi::datatype::BufferMut,
    {
        let (to, from) = (self.world.process_at_rank(count(to)), self.world.process_at_rank(count(from)));
        let messages = outgoing.len().div_ceil(MESSAGE_LEN) + incoming.len().div_ceil(MESSAGE_LEN);
        mpi::request::multiple_scope(messages, |scope, requests| {
            for message in incoming.chunks_mut(MESSAGE_LEN) {
                requests.add(from.immediate_receive_into_with_tag(scope, message, BLOCK));
            }
            for message in outgoing.chunks(MESSAGE_LEN) {
                requests.add(to.immediate_send_with_tag(scope, message, BLOCK));
            }
            let mut done = Vec::with_capacity(messages);
            while !requests.test_all(&mut done) {
                meanwhile();
            }
        });
    }
}

/// The first of this rank's values that rank 0 does not have.
fn difference(mine: &[(String, String)], roots: &[u8], way_out: &str) -> Error {
    // ranks of different builds may not even list the same names
    let roots: Vec<(String, String)> = serde_json::from_slice(roots).unwrap_or_default();
    let shown = |value: &str| if value.is_empty() { "not given".into() } else { value.to_owned() };
    let other = mine.iter().find_map(|(name, value)| {
        let theirs = roots.iter().find(|(root, _)| root == name).map_or("", |(_, value)| value);
        (theirs != value).then(|| (name.as_str(), shown(value), shown(theirs)))
    });
    let (name, value, theirs) = other.unwrap_or(("the list of options", "another".into(), "longer".into()));
    Error::Usage(format!("{name} is {value} on {}, and {theirs} on rank 0; {way_out}", host::name()))
}

fn count(rank: usize) -> mpi::Count {
    mpi::Count::try_from(rank).expect("ranks are C ints")
}
