"""Predictions of `pairdist plan` beside the times of runs, as a Markdown table: the program behind scripts/plan-accuracy."""

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from bench import ours
from bench.failure import Failure
from bench.peers import CORES


@dataclasses.dataclass(frozen=True)
class Run:
    """The distances of n samples, with one input, on so many ranks of so many threads."""

    metric: str
    n: int
    d: int
    dtype: str
    ranks: int
    threads: int
    output: bool

    @property
    def cells(self):
        return f"{self.metric} {self.n} x {self.d} {self.dtype}", f"{self.ranks} x {self.threads}", "yes" if self.output else "no"

    def smaller(self, times):
        return dataclasses.replace(self, n=self.n // times)


LAYOUTS = [(1, 1), (CORES, 1), (1, CORES)]
WORKS = [("cityblock", 12000, 50, "f64"), ("cityblock", 12000, 500, "f64"), ("sqeuclidean", 16000, 128, "f32")]
RUNS = [Run(*work, *layout, output) for work in WORKS for layout in LAYOUTS for output in (False, True)]


def generate(run, folder):
    """The run's samples."""
    path = folder / f"{run.n}.h5"
    if not path.exists():
        ours.run(ours.BINARY, "generate", path, "--samples", run.n, "--features", run.d, "--dtype", run.dtype)
    return path


def compute(run, folder):
    """Carries out the run, and returns its record."""
    result = folder / "result.h5"
    result.unlink(missing_ok=True)
    os.sync()
    output = ("-o", result, "--no-sync") if run.output else ("--no-output",)
    return ours.compute(run.ranks, run.threads, generate(run, folder), "--metric", run.metric, *output)


def plan(run, folder, machine):
    """What is planned for the run on a machine."""
    description = folder / "machine.json"
    description.write_text(json.dumps(machine))
    layout = "--ranks", run.ranks, "--threads", run.threads
    output = () if run.output else ("--no-output",)
    return ours.plan(generate(run, folder), "--metric", run.metric, *layout, *output, "--machine", description)


def machine_of(record):
    """What a run record says of the machine."""
    phases = record["phases"]
    # all ranks are on one node, and nothing is forced to the disk
    machine = {"cores": CORES, "node_read_gb_s": record["bytes_read"] / phases["read"]["mean_s"] / 1e9, "disk_gb_s": 1e6}
    if record["bytes_written"]:
        machine["node_write_gb_s"] = record["bytes_written"] / phases["write"]["mean_s"] / 1e9
    return machine


def row(run, repeats):
    """The run's row of the table."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for _ in range(repeats):
            machine = machine_of(compute(run.smaller(2), folder))
            planned = plan(run, folder, machine)
            seconds.append((planned["seconds"]["wall"], compute(run, folder)["wall_s"]))
    predicted, measured = (statistics.median(column) for column in zip(*seconds, strict=True))
    ratio = statistics.median(planned / taken for planned, taken in seconds)
    return f"| {' | '.join(run.cells)} | {predicted:.3f} | {measured:.3f} | {ratio:.2f} |"


def main(argv):
    parser = argparse.ArgumentParser(prog="plan-accuracy", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    options = parser.parse_args(argv)
    if options.repeats < 1:
        parser.error(f"--repeats {options.repeats}: it must be positive")
    runs = [run.smaller(16) if options.quick else run for run in RUNS]
    if options.dry_run:
        for run in runs:
            print(*run.cells, f"({options.repeats} times)", sep=", ")
        return
    print("| run | ranks x threads | output | predicted, s | measured, s | predicted / measured |\n|---|---|---|---|---|---|")
    for run in runs:
        try:
            print(row(run, options.repeats), flush=True)
        except Failure as failure:
            raise SystemExit(f"plan-accuracy: {failure}") from failure


if __name__ == "__main__":
    main(sys.argv[1:])
