"""Makes run records, as docs/FORMAT.md describes them, with the numbers that a test is about."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PHASE = {"min_s": 0.1, "mean_s": 0.1, "max_s": 0.1}


def record(wall_s, nodes=1, ranks=1, threads=1, n=1000, m=None, d=50, output=False, **changes):
    """A run record. `changes`: other fields of it, and of its problem, by name."""
    m = m or n
    problem = {"n": n, "m": m, "d": d, "metric": "cityblock", "kernel": "direct", "dtype": "f64", "tile": 400}
    problem |= {name: changes.pop(name) for name in list(changes) if name in problem}
    phases = {name: dict(PHASE) for name in ("read", "exchange", "write", "sync", "wait")}
    compute = {"min_s": 0.4 * wall_s, "mean_s": 0.5 * wall_s, "max_s": 0.6 * wall_s}
    return {
        "problem": problem,
        "symmetric": True,
        "ranks": ranks,
        "nodes": nodes,
        "threads_per_rank": threads,
        "hosts": [f"node{i}" for i in range(nodes)],
        "versions": {"pairdist": "0.1.0", "mpi": "Open MPI v4.1.4", "hdf5": "1.10.8", "simd": "avx2"},
        "wall_s": wall_s,
        "phases": phases | {"compute": compute},
        "pairs": n * m,
        "resumed_pairs": 0,
        "pair_features_per_s": n * m * d / wall_s,
        "bytes_read": 8 * n * d,
        "bytes_written": 8 * n * m if output else 0,
        "bytes_exchanged": 8 * n * d * (ranks - 1),
        "digest": f"{problem}{changes.get('symmetric')}",
        **changes,
    }


def house_records(table, ranks_per_node=32, threads=8):
    """Records of a published table: {nodes: wall time}."""
    return [record(wall_s, nodes, nodes * ranks_per_node, threads) for nodes, wall_s in table.items()]


class Study:
    """A folder of records and what scripts/scaling makes of it."""

    def __init__(self, folder):
        self.folder = folder / "records"
        self.folder.mkdir()
        self.plots = folder / "plots"

    def add(self, *records):
        for values in records:
            path = self.folder / f"{len(list(self.folder.iterdir())):03}.json"
            path.write_text(values if isinstance(values, str) else json.dumps(values))
        return self

    def run(self, *options, status=0):
        """Runs the program behind scripts/scaling and checks its exit code."""
        argv = [sys.executable, "-m", "scaling_study", *map(str, options)]
        done = subprocess.run(argv, cwd=REPOSITORY / "scripts", capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == status, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done

    def draw(self, *options):
        return self.run(self.folder, "--plots", self.plots, *options)

    def refusal(self):
        """What is said of records that no table can be made of: one line, and nothing on stdout."""
        done = self.run(self.folder, status=1)
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        return done.stderr


@pytest.fixture
def study(tmp_path):
    return Study(tmp_path)
