"""Submits the job scripts of jobs/: to a Slurm of its own (scripts/slurm-sandbox), to stand-ins of it, or without any.

PAIRDIST_BIN names the program [default: target/release/pairdist].
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
BINARY = Path(os.environ.get("PAIRDIST_BIN", REPOSITORY / "target/release/pairdist")).resolve()
SUBMIT = REPOSITORY / "jobs/submit"
CORES = os.cpu_count()


def run(*argv, env=(), status=0, timeout=60, cwd=None):
    """Runs a command, checks its exit code, and returns what it printed."""
    argv = [str(word) for word in argv]
    done = subprocess.run(
        argv,
        cwd=cwd,
        env=os.environ | dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    assert done.returncode == status, f"exit {done.returncode}: {argv}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def generate(path, seconds, samples, threads, dtype="f64"):
    """Samples whose cityblock distances take so many threads, or the cores there are, about so many seconds."""
    size = ["--samples", samples, "--dtype", dtype]
    with tempfile.NamedTemporaryFile(suffix=".json") as plan:
        options = ["--metric", "cityblock", "--no-output", "--threads", min(threads, CORES), "--json", plan.name]
        run(BINARY, "plan", *size, "--features", 1000, *options)
        planned = json.loads(Path(plan.name).read_text())
    features = int(1000 * seconds / planned["seconds"]["compute"])
    run(BINARY, "generate", path, *size, "--features", features)
    return path


def until(condition, timeout):
    """Waits until a condition holds; returns its value."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.1)
    pytest.fail(f"waited {timeout} s in vain")


def records_in(study: Path) -> list[Path]:
    """Files of run records, in the order in which they were kept."""
    return sorted(study.glob("*.json"))


class Run:
    """The folder of a run."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    @property
    def log(self) -> str:
        path = self / "job.log"
        return path.read_text() if path.exists() else ""

    @property
    def starts(self) -> list[Path]:
        return sorted((self / "starts").iterdir())

    @property
    def records(self) -> list[dict]:
        return [json.loads(path.read_text()) for path in records_in(self / "records")]

    @property
    def at_work(self) -> bool:
        """Whether tiles are in the journals."""
        return sum(path.stat().st_size for path in (self / "result").glob("*.partial/journal.*")) > 200


class Sandbox:
    """Submits jobs to scripts/slurm-sandbox."""

    def __init__(self, configuration: str):
        self.env = {"SLURM_CONF": configuration}

    def submit(self, job, folder: Path, *options):
        """Returns the folder of the run, and the number of its job."""
        done = run(SUBMIT, "sandbox", job, "--folder", folder, "--pairdist", BINARY, *options, env=self.env)
        return Run(folder), re.search(r"Submitted batch job (\d+)", done.stdout)[1]

    def show(self, job: str) -> dict:
        """What the controller knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", run("scontrol", "show", "job", job, env=self.env).stdout))

    def wait(self, job: str, timeout=60) -> dict:
        """Waits until a job has ended for good."""
        return until(lambda: (shown := self.show(job))["JobState"] not in UNFINISHED and shown, timeout)

    def submit_and_wait(self, job, folder: Path, *options, timeout=60):
        """Returns the folder of the run, and what the controller knows of its job."""
        run_folder, number = self.submit(job, folder, *options)
        return run_folder, self.wait(number, timeout)

    def srun(self, *argv):
        return run("srun", "--time=00:02:00", *argv, env=self.env | launch_environment())


UNFINISHED = {"PENDING", "RUNNING", "SIGNALING", "COMPLETING", "CONFIGURING", "REQUEUED"}


def launch_environment() -> dict[str, str]:
    """What srun and the ranks need in the sandbox, as jobs/systems/sandbox.sh has it."""
    if "libmpich" in run("ldd", BINARY).stdout:
        return {"SLURM_MPI_TYPE": "pmi2"}
    as_root = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    ucx = {"OMPI_MCA_pml": "ucx", "OMPI_MCA_pml_ucx_tls": "any", "OMPI_MCA_pml_ucx_devices": "any", "UCX_TLS": "self,tcp"}
    return as_root | ucx | {"OMPI_MCA_mpi_yield_when_idle": "1", "SLURM_MPI_TYPE": "pmix"}


def three_free_ports() -> int:
    """The first of three."""
    for first in range(17700, 32000, 3):
        try:
            for port in range(first, first + 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise RuntimeError("no three free ports from 17700 to 32000")


@pytest.fixture(scope="session")
def sandbox():
    """A running Slurm, stopped however the tests end."""
    parent = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    parent.chmod(0o755)  # munge wants its socket within reach of all
    env = {"SLURM_SANDBOX": f"{parent}/sandbox", "SLURM_SANDBOX_PORT": str(three_free_ports())}
    script = REPOSITORY / "scripts/slurm-sandbox"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    try:
        # through pipes, as in eval "$(scripts/slurm-sandbox start)"
        started = run(script, "start", env=env, timeout=300)
        assert started.stdout == f"export SLURM_CONF={parent}/sandbox/slurm.conf\n"
        yield Sandbox(f"{parent}/sandbox/slurm.conf")
    finally:
        run(script, "stop", env=env)
    shutil.rmtree(parent)


@pytest.fixture(scope="session", autouse=True)
def binary():
    assert BINARY.exists(), f"{BINARY} is missing: cargo build --release"
