"""Reads the same samples from files of several layouts with h5py and with pairdist, in turn: the work of scripts/bench-reading."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

BINARY = os.environ.get("PAIRDIST_BIN", "target/release/pairdist")
MPIRUN = os.environ.get("MPIRUN", "mpirun")
ROW_CHUNK_BYTES = 1 << 20

GZIP = {"compression": "gzip"}
# name: arguments of create_dataset for n samples of d features, option of pairdist
LAYOUTS = {
    "gzip, one chunk": (lambda n, d: {"chunks": (n, d), **GZIP}, []),
    "gzip, chunks of one column": (lambda n, d: {"chunks": (n, 1), **GZIP}, []),
    "gzip, chunks of rows": (lambda n, d: {"chunks": (max(1, min(n, ROW_CHUNK_BYTES // (8 * d))), d), **GZIP}, []),
    "chunks of one column": (lambda n, d: {"chunks": (n, 1)}, []),
    "contiguous, features x samples": (lambda n, d: {}, ["--transpose"]),
}


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench-reading")
    for name, default in (("samples", 8000), ("features", 10_000), ("repeats", 3), ("ranks", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--only", default="")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args()


def make_samples(n, d):
    """Values with 12 random bits, which gzip packs about as well as measured data."""
    import numpy as np

    return np.random.default_rng(1).integers(0, 1 << 12, (n, d), "u2") / 16.0


def write(path, samples, creation, option):
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("samples", data=samples.T if option else samples, **creation)
    os.sync()


def time_of_h5py(path):
    import h5py

    start = time.perf_counter()
    with h5py.File(path, "r") as file:
        file["samples"][()]
    return time.perf_counter() - start


def record_of_pairdist(path, option, ranks):
    """The run record of a computation whose time is mostly reading."""
    record = path.with_suffix(".json")
    launcher = [MPIRUN, "-n", str(ranks)] if ranks else []
    argv = [*launcher, BINARY, "compute", path, *option, "--no-output", "--metric", "sqeuclidean", "--json", record]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"scripts/bench-reading: exit {done.returncode}: {' '.join(map(str, argv))}\n{done.stderr}")
    return json.loads(record.read_text())


def measure(path, option, given):
    """h5py's times and pairdist's records, taken in turn."""
    return [(time_of_h5py(path), record_of_pairdist(path, option, given.ranks)) for _ in range(given.repeats)]


def line(name, runs):
    def median(of):
        return statistics.median(of(seconds, record) for seconds, record in runs)

    def read(record):
        return record["phases"]["read"]["max_s"]

    def peak(record):
        return record["peak_rss_bytes"] / 1e9

    def planned(record):
        return record["planned_bytes"] / 1e9

    numbers = [
        median(lambda seconds, record: seconds),
        median(lambda seconds, record: read(record)),
        median(lambda seconds, record: read(record) / seconds),
        median(lambda seconds, record: record["wall_s"]),
        median(lambda seconds, record: peak(record)),
        median(lambda seconds, record: planned(record)),
        median(lambda seconds, record: peak(record) / planned(record)),
    ]
    return f"| {name} | " + " | ".join(f"{number:.2f}" for number in numbers) + " |"


def main():
    given = arguments()
    layouts = {name: layout for name, layout in LAYOUTS.items() if re.search(given.only, name)}
    size = f"{given.samples} x {given.features} f64, {given.samples * given.features * 8 / 1e6:.0f} MB"
    print(f"{size}, {given.repeats} repeats, in {given.folder}: {'; '.join(layouts)}", flush=True)
    if given.dry_run:
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    samples = make_samples(given.samples, given.features)
    path = given.folder / "samples.h5"
    digests = set()
    print("\n| layout | h5py, s | read, s | read / h5py | wall, s | peak, GB | planned, GB | peak / planned |\n|---|---|---|---|---|---|---|---|")
    try:
        for name, (creation, option) in layouts.items():
            write(path, samples, creation(given.samples, given.features), option)
            runs = measure(path, option, given)
            digests |= {record["digest"] for _, record in runs}
            print(line(name, runs), flush=True)
    finally:
        for made in (path, path.with_suffix(".json")):
            made.unlink(missing_ok=True)
    if len(digests) > 1:
        sys.exit(f"scripts/bench-reading: the layouts gave different distances: {', '.join(sorted(digests))}")


if __name__ == "__main__":
    main()
