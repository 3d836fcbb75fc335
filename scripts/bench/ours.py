"""pairdist under mpirun, and the raw writes that bound it."""

import json
import multiprocessing
import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench.failure import Failure
from bench.peers import CORES

BINARY = os.environ.get("PAIRDIST_BIN", "target/release/pairdist")
MPIRUN = os.environ.get("MPIRUN", "mpirun")
# variant: ranks, threads of each
LAYOUTS = {f"{CORES} ranks of 1 thread": (CORES, 1), f"1 rank of {CORES} threads": (1, CORES)}
TIMEOUT_S = 1200
PIECE_BYTES = 4 << 20  # of one raw write: about a tile


def pairdist(layout, x_path, *options):
    """Runs `pairdist compute` in one of the layouts, and returns its run record."""
    return compute(*LAYOUTS[layout], x_path, *options)


def compute(ranks, threads, x_path, *options):
    """Runs `pairdist compute` under mpirun, and returns its run record."""
    launcher = MPIRUN, "--bind-to", "none", "-n", ranks
    return json_of(*launcher, BINARY, "compute", x_path, *options, "--threads", threads)


def plan(x_path, *options):
    """Runs `pairdist plan`, and returns what it plans."""
    return json_of(BINARY, "plan", x_path, *options)


def json_of(*argv):
    """What a command writes with --json."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        run(*argv, "--json", file.name)
        return json.loads(Path(file.name).read_text())


def output_of(*words):
    """What a command of pairdist prints."""
    return run(BINARY, *words).stdout


def run(*argv):
    """Runs a command that must not fail."""
    try:
        return subprocess.run([str(word) for word in argv], check=True, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.SubprocessError as failed:
        raise Failure(f"{failed}\n{failed.stderr}") from failed


def write_share(path, start, end, barrier, times):
    """Writes the bytes [start, end) of a file that is there already."""
    piece = bytes(range(256)) * (PIECE_BYTES // 256)
    descriptor = os.open(path, os.O_WRONLY)
    barrier.wait()
    began = time.perf_counter()
    for offset in range(start, end, PIECE_BYTES):
        os.pwrite(descriptor, piece[: end - offset], offset)
    os.close(descriptor)
    times.put((began, time.perf_counter()))


def raw_write(path, n_bytes, processes):
    """Seconds in which so many processes write n_bytes into one file, each its own part."""
    context = multiprocessing.get_context("spawn")
    barrier, times = context.Barrier(processes), context.Queue()
    with open(path, "wb") as file:
        file.truncate(n_bytes)
    bounds = [n_bytes * share // processes for share in range(processes + 1)]
    writers = [context.Process(target=write_share, args=(path, *share, barrier, times)) for share in zip(bounds, bounds[1:], strict=False)]
    for writer in writers:
        writer.start()
    began, ended = zip(*(times.get(timeout=TIMEOUT_S) for _ in writers), strict=True)
    for writer in writers:
        writer.join()
    return max(ended) - min(began)
