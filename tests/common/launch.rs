//! Starts the program as its users do, alone or under the MPI launcher, and lets no run outlive its time.
//!
//! MPIRUN names the launcher [default: mpirun]. Without one, tests fail.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

/// Instead of a number of ranks: the program without the launcher.
pub(crate) const ALONE: usize = 0;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_pairdist");

/// Names a job in the environment of its processes.
const MARK: &str = "PAIRDIST_TEST_JOB";

/// How long a run may take before it is killed: a guard against hangs, far above what any needs, also on a slow file system.
const PATIENCE: Duration = Duration::from_secs(180);

/// Runs at a time in one test binary; more only wait for each other's cores.
const SEATS: usize = 6;

/// A run of the program to be.
pub(crate) struct Program<'a> {
    folder: &'a Path,
    ranks: usize,
    environment: Vec<(&'a str, &'a str)>,
    wrapper: Vec<OsString>,
    patience: Duration,
}

impl<'a> Program<'a> {
    pub(crate) fn new(folder: &'a Path, ranks: usize) -> Self {
        Self { folder, ranks, environment: Vec::new(), wrapper: Vec::new(), patience: PATIENCE }
    }

    /// With an environment variable.
    pub(crate) fn env(mut self, name: &'a str, value: &'a str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// With other patience than usual.
    pub(crate) fn within(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// On each rank, through a shell script that ends with `exec "$@"`.
    pub(crate) fn through(mut self, script: &str) -> Self {
        self.wrapper = ["sh", "-c", script, "sh"].map(OsString::from).to_vec();
        self
    }

    /// Starts it with arguments separated by spaces.
    pub(crate) fn start(self, arguments: &str) -> Job {
        let words: Vec<_> = arguments.split_whitespace().collect();
        self.start_with(&words)
    }

    /// Starts it with arguments that may hold anything.
    pub(crate) fn start_with<A: AsRef<OsStr>>(self, arguments: &[A]) -> Job {
        let Self { folder, ranks, environment, wrapper, patience } = self;
        let launcher = std::env::var_os("MPIRUN").unwrap_or_else(|| "mpirun".into());
        let mut words = match ranks {
            ALONE => Vec::new(),
            ranks => vec![launcher, "-n".into(), ranks.to_string().into()],
        };
        words.extend(wrapper);
        words.push(BINARY.into());
        words.extend(arguments.iter().map(|argument| argument.as_ref().to_owned()));
        Job::start(&words, folder, &environment, patience)
    }

    /// Starts it and waits for its end.
    pub(crate) fn run(self, arguments: &str) -> Done {
        self.start(arguments).wait()
    }
}

/// Whether the launcher is that of MPICH.
pub(crate) fn launcher_is_hydra() -> bool {
    let launcher = std::env::var_os("MPIRUN").unwrap_or_else(|| "mpirun".into());
    let version = output_of(Command::new(launcher).arg("--version"));
    String::from_utf8_lossy(&version.stdout).contains("HYDRA")
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Done {
    command: String,
    /// Exit code, 128 + number of the signal that ended it.
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// Bytes of which a run that was refused for its memory says that a rank needs them.
    pub(crate) fn least_memory(&self) -> u64 {
        let words = "a rank of this run takes ";
        let (_, rest) = self.stderr.split_once(words).unwrap_or_else(|| panic!("{self}"));
        let mut words = rest.split(' ');
        let number: f64 = words.next().and_then(|number| number.parse().ok()).unwrap();
        assert_eq!(words.next(), Some("MB"), "{self}");
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "so many bytes")]
        let bytes = (number * 1e6).ceil() as u64;
        bytes
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { command, code, stdout, stderr } = self;
        write!(f, "exit code {code} of {command}\n{}\n{}", end_of(stdout), end_of(stderr))
    }
}

fn end_of(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// A running command with everything it has started. Whatever is left of it is killed when this goes.
pub(crate) struct Job {
    command: String,
    leader: Child,
    stdout: File,
    stderr: File,
    deadline: Instant,
    patience: Duration,
    /// The entry in the environment of all its processes.
    mark: String,
    _session: TempDir,
    _seat: Seat,
}

/// Jobs of this process so far.
static JOBS: AtomicUsize = AtomicUsize::new(0);

impl Job {
    /// Starts a command in a session of its own, with a mark in its environment by which all its descendants can be found.
    pub(crate) fn start(
        words: &[OsString],
        folder: &Path,
        environment: &[(&str, &str)],
        patience: Duration,
    ) -> Self {
        let seat = Seat::take();
        let [stdout, stderr] = [(); 2].map(|()| tempfile::tempfile().expect("a temporary file"));
        let handle = |file: &File| Stdio::from(file.try_clone().expect("another handle of an open file"));
        let mut command = Command::new("setsid");
        command.args(words).current_dir(folder);
        command.stdin(Stdio::null()).stdout(handle(&stdout)).stderr(handle(&stderr));
        // Open MPI makes a folder for what ranks share, in one of the user's that the last run to end removes, and others may need
        let session = TempDir::new().expect("the system has a folder for temporary files");
        command.env("OMPI_MCA_orte_tmpdir_base", session.path());
        set_environment(&mut command, environment);
        let number = format!("{}-{}", std::process::id(), JOBS.fetch_add(1, Ordering::Relaxed));
        command.env(MARK, &number);
        let starting = hold_starts();
        let leader = command.spawn().expect("setsid of util-linux starts");
        drop(starting);
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        let deadline = Instant::now() + patience;
        Self {
            command: words.join(" "),
            leader,
            stdout,
            stderr,
            deadline,
            patience,
            mark: format!("{MARK}={number}"),
            _session: session,
            _seat: seat,
        }
    }

    /// The processes of the program itself: its ranks.
    pub(crate) fn ranks(&self) -> Vec<Pid> {
        let name = Path::new(BINARY).file_name();
        let is_rank =
            |process: &Process| fs::read_link(process.file("exe")).is_ok_and(|exe| exe.file_name() == name);
        self.members().into_iter().filter(is_rank).map(|process| process.id).collect()
    }

    /// Waits until no rank is left, and then a moment for the launcher: Open MPI 4.1.4 may wait for ever for a rank that was killed while
    /// it started. Returns nothing then.
    ///
    /// # Panics
    /// If a rank is left when the time is over.
    pub(crate) fn end_of_ranks(mut self) -> Option<Done> {
        while self.is_running() && !self.ranks().is_empty() {
            if Instant::now() > self.deadline {
                self.kill_all();
                let done = self.done();
                panic!("a rank was left after {:?}: {done}", self.patience);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.deadline = Instant::now() + Duration::from_secs(20);
        self.outcome().ok()
    }

    /// The launcher, or the program where there is none.
    pub(crate) fn leader(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.leader.id()).expect("process numbers are C ints"))
    }

    /// Whether any process of the run is left.
    pub(crate) fn is_running(&mut self) -> bool {
        self.leader.try_wait().expect("a child can be waited for").is_none() || !self.members().is_empty()
    }

    /// Waits for the end of the command and of everything it has started.
    ///
    /// # Panics
    /// If it is not over in time (it is killed then), or there was nothing to start.
    pub(crate) fn wait(self) -> Done {
        self.outcome().unwrap_or_else(|text| panic!("{text}"))
    }

    /// As [`Self::wait`], with a text for a run that had to be killed.
    pub(crate) fn outcome(mut self) -> Result<Done, String> {
        while self.is_running() {
            if Instant::now() > self.deadline {
                self.kill_all();
                let done = self.done();
                return Err(format!("killed after {:?}: {done}", self.patience));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let done = self.done();
        // what setsid and the launcher say of a command they cannot start
        assert!(!matches!(done.code, 126 | 127), "there is nothing to start: {done}");
        Ok(done)
    }

    fn done(&mut self) -> Done {
        let code = |status: ExitStatus| {
            status.code().unwrap_or_else(|| 128 + status.signal().expect("ended by a code or a signal"))
        };
        Done {
            command: self.command.clone(),
            code: code(self.leader.wait().expect("a child can be waited for")),
            stdout: all_of(&mut self.stdout),
            stderr: all_of(&mut self.stderr),
        }
    }

    /// By their environment: Open MPI puts each rank into a process group of its own, MPICH into a session.
    fn members(&self) -> Vec<Process> {
        let is_marked = |process: &Process| {
            let environment = fs::read(process.file("environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|entry| entry == self.mark.as_bytes())
        };
        Process::all().filter(|process| process.is_alive() && is_marked(process)).collect()
    }

    /// SIGKILL to all processes of the run, until there are none.
    fn kill_all(&mut self) {
        // the leader is a member once setsid has run; before, it has no descendants
        let _ = self.leader.kill();
        loop {
            let members = self.members();
            if members.is_empty() {
                return;
            }
            for process in members {
                // it may have ended meanwhile
                let _ = kill(process.id, Signal::SIGKILL);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.kill_all();
        let _ = self.leader.wait();
    }
}

fn all_of(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a temporary file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn set_environment(command: &mut Command, given: &[(&str, &str)]) {
    // more ranks than cores, for Open MPI 4 and 5
    command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
    command.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
    if geteuid().is_root() {
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
    }
    // messages as users see them
    command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE").env_remove("PAIRDIST_FAIL_AT");
    for name in ["SLURM_JOB_END_TIME", "SLURM_STEP_NUM_TASKS", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE"] {
        command.env_remove(name);
    }
    command.envs(given.iter().copied());
}

/// Whether there is a process with this number.
pub(crate) fn is_alive(id: i32) -> bool {
    Process::read(id).is_some_and(|process| process.is_alive())
}

/// An entry of the system's table of processes.
struct Process {
    id: Pid,
    state: char,
}

impl Process {
    fn all() -> impl Iterator<Item = Self> {
        let entries = fs::read_dir("/proc").expect("processes are listed in /proc");
        entries.filter_map(|entry| Self::read(entry.ok()?.file_name().to_str()?.parse().ok()?))
    }

    /// Nothing, if it has ended.
    fn read(id: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // after the name, in parentheses
        let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
        Some(Self { id: Pid::from_raw(id), state })
    }

    /// Not a dead one that nobody has waited for.
    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }

    fn file(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.id)
    }
}

static STARTING: Mutex<()> = Mutex::new(());

/// Lets no program start as long as the guard is kept.
pub(crate) fn hold_starts() -> MutexGuard<'static, ()> {
    // a test that failed to write its input has said so; the others go on
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a program prints, once it has ended. While it starts, no file is open to be written: it would inherit the lock.
pub(crate) fn output_of(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let starting = hold_starts();
    let started = command.spawn().expect("it starts");
    drop(starting);
    started.wait_with_output().expect("it ends")
}

static TAKEN: Mutex<usize> = Mutex::new(0);
static LEFT: Condvar = Condvar::new();

/// The right to run, which [`SEATS`] jobs have at a time.
struct Seat;

impl Seat {
    fn take() -> Self {
        let taken = TAKEN.lock().expect("no thread panics with the lock");
        let mut taken =
            LEFT.wait_while(taken, |taken| *taken == SEATS).expect("no thread panics with the lock");
        *taken += 1;
        Self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        *TAKEN.lock().expect("no thread panics with the lock") -= 1;
        LEFT.notify_one();
    }
}
