"""Starts the release binary, alone or under mpirun, in a folder of its own; no run outlives its time.

PAIRDIST_BIN names the binary [default: target/release/pairdist], MPIRUN the launcher [default: mpirun].
"""

import contextlib
import json
import os
import signal
import subprocess
import time
import uuid
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401, before netCDF4: its Blosc takes the HDF5 that it finds loaded first
import numpy as np
import pytest

REPOSITORY = Path(__file__).parents[2]
BINARY = Path(os.environ.get("PAIRDIST_BIN", REPOSITORY / "target/release/pairdist")).resolve()
MPIRUN = os.environ.get("MPIRUN", "mpirun")
# hdf5plugin names its own plugins there
os.environ.pop("HDF5_PLUGIN_PATH", None)
ENVIRONMENT = os.environ | {
    # more ranks than cores, for Open MPI 4 and 5; as root, it wants to be told twice
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    **({"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"} if os.geteuid() == 0 else {}),
}

# one process needs no transports, which Open MPI takes 0.2 s to start
ALONE = {"OMPI_MCA_pml": "ob1", "OMPI_MCA_btl": "self"}

MARK = "PAIRDIST_TEST_JOB"  # names a run in the environment of its processes


def members(mark: str) -> list[int]:
    """Live processes with this mark in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_marked = f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0")
            if is_marked and (process / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                found.append(int(process.name))
    return found


def kill_all(mark: str) -> None:
    """SIGKILL to all processes with a mark, and to those they start meanwhile.

    Group and session are not enough: Open MPI puts each rank in a group, MPICH in a session of its own.
    """
    while found := members(mark):
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def launch(argv, ranks=0, timeout=120, cwd=None, env=None):
    """Runs `argv` under `mpirun -n ranks`, without mpirun if 0, and returns it completed."""
    argv = [str(word) for word in ([MPIRUN, "-n", ranks] if ranks else []) + list(argv)]
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        argv,
        cwd=cwd,
        env=ENVIRONMENT | (env or {}) | {MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except BaseException as reason:
        kill_all(mark)
        stdout, stderr = process.communicate()
        if isinstance(reason, subprocess.TimeoutExpired):
            pytest.fail(f"killed after {timeout} s: {' '.join(argv)}\n{stdout[-2000:]}\n{stderr[-2000:]}")
        raise
    return subprocess.CompletedProcess(argv, process.returncode, stdout, stderr)


class Workspace:
    """A folder with inputs and results of `pairdist`."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        return self.folder / name

    def pairdist(self, *arguments, ranks=0, timeout=120, status=(0,), env=None):
        """Runs the program and checks its exit code."""
        assert BINARY.exists(), f"{BINARY} is missing: cargo build --release"
        done = launch([BINARY, *arguments], ranks, timeout, self.folder, ({} if ranks else ALONE) | (env or {}))
        assert done.returncode in status, f"exit {done.returncode}: {done.args}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done

    def write(self, name: str, samples, **creation) -> Path:
        """Writes `samples` as the dataset of that name in an input file of its own."""
        path = self / f"{name}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("samples", data=samples, **creation)
        return path

    def compute(self, x, y=None, *options, out="out.h5", ranks=1, timeout=120, env=None) -> Path:
        """Computes the distances of arrays, or of files; one input without `y`. Returns the result's path."""
        x, y = (self.write(name, z) if isinstance(z, np.ndarray) else z for name, z in (("x", x), ("y", y)))
        against = [] if y is None else ["--against", y]
        self.pairdist("compute", x, *against, "-o", self / out, *options, ranks=ranks, timeout=timeout, env=env)
        return self / out

    def record(self, *options, x, y=None, ranks=1):
        """The run record (--json) of a computation."""
        against = [] if y is None else ["--against", y]
        self.pairdist("compute", x, *against, *options, "--json", self / "run.json", ranks=ranks)
        return json.loads((self / "run.json").read_text())


def view_of(other: str) -> h5py.VirtualLayout:
    """A view of the samples in another file, whose extent depends on that file."""
    layout = h5py.VirtualLayout((6, 4), "f8", maxshape=(None, 4))
    source = h5py.VirtualSource(other, "samples", (6, 4), "f8", maxshape=(None, 4))
    layout[: h5py.h5s.UNLIMITED, :] = source[: h5py.h5s.UNLIMITED, :]
    return layout


def distances(path: Path) -> np.ndarray:
    """The matrix of a result, in memory."""
    with h5py.File(path, "r") as file:
        return file["distances"][()]


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path)
