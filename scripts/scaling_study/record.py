"""Reads run records (docs/FORMAT.md) and refuses what cannot be compared."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scaling_study.failure import Failure

DTYPES = "f32", "f64"
ORIGIN = "pass run records as pairdist compute --json writes them"
PHASES = "read", "exchange", "compute", "write", "sync", "wait"


class Layout(NamedTuple):
    """Where a run ran. In order: the baseline is the smallest layout."""

    nodes: int
    ranks: int
    threads: int  # of each rank

    @property
    def cores(self):
        return self.ranks * self.threads

    @property
    def cores_per_node(self):
        return self.cores / self.nodes


class Problem(NamedTuple):
    """What is computed, and whether it is written."""

    n: int
    m: int
    d: int
    metric: str
    kernel: str
    dtype: str
    symmetric: bool
    output: bool

    @property
    def pair_features(self):
        return self.n * self.m * self.d

    @property
    def family(self):
        """All but the numbers of samples."""
        return self[2:]


@dataclass(frozen=True)
class Run:
    """One run record."""

    path: Path
    problem: Problem
    layout: Layout
    tile: int
    versions: tuple
    digest: str
    wall_s: float
    phases: dict  # name: (mean_s, max_s)
    rate: float  # pair-features per second
    bytes_read: int
    bytes_written: int
    bytes_exchanged: int

    @property
    def phases_s(self):
        """Means over the ranks. They add up to the wall time: waiting for others is a phase."""
        return {name: mean_s for name, (mean_s, _) in self.phases.items()}

    @property
    def imbalance(self):
        """max / mean of the time that ranks compute."""
        mean_s, max_s = self.phases["compute"]
        return max_s / mean_s if mean_s else math.nan


class Fields:
    """The fields of a JSON object, checked as they are taken."""

    def __init__(self, path, values, name="the file"):
        if not isinstance(values, dict):
            raise Failure(f"{path}: {name} is not a JSON object: {ORIGIN}")
        self.path, self.values = path, values

    def take(self, name, kind, at_least=None):
        value = self.values.get(name)
        right = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
        if not right or (at_least is not None and not at_least <= value < math.inf):
            limit = "" if at_least is None else f" of at least {at_least}"
            expected = {int: "an integer", (int, float): "a number", str: "a text", bool: "true or false", dict: "an object"}[kind] + limit
            found = f"is {json.dumps(value)}" if name in self.values else "is missing"
            raise Failure(f"{self.path}: {name} {found}, expected {expected}: {ORIGIN}")
        return value

    def integer(self, name, at_least=0):
        return self.take(name, int, at_least)

    def number(self, name):
        return self.take(name, (int, float), 0)

    def part(self, name):
        return Fields(self.path, self.take(name, dict), name)


def read_run(path):
    try:
        record = Fields(path, json.loads(path.read_text()))
    except (ValueError, OSError) as error:
        raise Failure(f"{path} cannot be read as JSON: {error}") from error
    problem, phases, versions = (record.part(name) for name in ("problem", "phases", "versions"))
    if resumed := record.integer("resumed_pairs"):
        raise Failure(f"{path}: {resumed} pairs were done before this run was resumed, so its time says nothing: leave it out")
    if (dtype := problem.take("dtype", str)) not in DTYPES:
        raise Failure(f"{path}: dtype is {dtype}, expected {' or '.join(DTYPES)}: {ORIGIN}")
    return Run(
        path=path,
        problem=Problem(
            *(problem.integer(name, 1) for name in ("n", "m", "d")),
            *(problem.take(name, str) for name in ("metric", "kernel", "dtype")),
            symmetric=record.take("symmetric", bool),
            output=record.integer("bytes_written") > 0,
        ),
        layout=Layout(*(record.integer(name, 1) for name in ("nodes", "ranks", "threads_per_rank"))),
        tile=problem.integer("tile", 1),
        versions=tuple(versions.take(name, str) for name in ("pairdist", "mpi", "hdf5", "simd")),
        digest=record.take("digest", str),
        wall_s=positive_s(record, "wall_s"),
        phases={name: tuple(phases.part(name).number(field) for field in ("mean_s", "max_s")) for name in PHASES},
        rate=record.number("pair_features_per_s"),
        **{name: record.integer(name) for name in ("bytes_read", "bytes_written", "bytes_exchanged")},
    )


def positive_s(record, name):
    seconds = record.number(name)
    if not seconds:
        raise Failure(f"{record.path}: {name} is 0, expected a time: {ORIGIN}")
    return seconds


def read_runs(folders):
    """All records of these folders, checked against each other."""
    runs = []
    for folder in map(Path, folders):
        if not folder.is_dir():
            raise Failure(f"{folder} is not a folder: pass folders of run records")
        paths = sorted(folder.glob("*.json"))
        if not paths:
            raise Failure(f"{folder} holds no run records: pairdist compute --json {folder}/NAME.json writes one")
        runs += map(read_run, paths)
    check_comparable(runs)
    return runs


def check_comparable(runs):
    """One program on one kind of processor; the same result wherever the problem is the same."""
    first, digests = runs[0], {}
    for run in runs:
        if run.versions != first.versions:
            ours, theirs = ("/".join(versions) for versions in (first.versions, run.versions))
            raise Failure(f"{run.path} is from {theirs}, {first.path} from {ours}: make one study of each")
        other = digests.setdefault(run.problem[:-1], run)
        if run.digest != other.digest:
            raise Failure(f"{run.path} has the digest {run.digest}, {other.path} {other.digest}: compute both from the same samples")
