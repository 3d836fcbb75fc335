"""Runs two programs on the same samples and compares all that they leave: the work of scripts/same-results."""

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

# what tells when, how and by what a result was made
MADE = {"header_checksum", "created", "command_line", "pairdist_version", "pairdist_commit"}
# what a plan did not always say of that
MADE_PLAN = MADE | {"ranks", "threads", "mpi_version", "hdf5_version"}
# what a run record says of the run, not of the result
MEASURED = {"wall_s", "phases", "pair_features_per_s", "peak_rss_bytes", "planned_bytes", "versions", "sum"}
# lines of texts that say when, how or how fast; the last digits of a sum depend on the order of tiles
NOT_COMPARED = ("wall time", "phases", "  ", "bound by", "rate", "written", "memory", "distances    sum", "created", "command")


def write_samples(folder):
    rng = np.random.default_rng(1)
    samples = {
        "x64": rng.normal(size=(311, 37)),
        "y64": rng.normal(size=(97, 37)),
        "x32": rng.normal(size=(311, 37)).astype("f4"),
        "wide": rng.normal(size=(40, 3000)),
        "close": 1e3 + 1e-3 * rng.normal(size=(120, 19)),
        "tiny": (1e-29 * rng.normal(size=(60, 11))).astype("f4"),
        "whole": rng.integers(-100, 100, size=(90, 21)).astype("i2"),
        "stripes": rng.normal(size=(150, 64)),
        "holes": np.where(rng.random((50, 8)) < 0.1, np.nan, rng.normal(size=(50, 8))),
    }
    for name, values in samples.items():
        with h5py.File(folder / f"{name}.h5", "w") as file:
            how = {"chunks": (150, 4), "compression": "gzip"} if name == "stripes" else {}
            file.create_dataset("samples", data=values, **how)


def cases():
    """Ranks, and arguments of compute."""
    metrics = ("sqeuclidean", "euclidean", "cityblock", "chebyshev")
    layouts = [(0, ()), (1, ("--tile", "16")), (2, ("--threads", "2")), (3, ("--tile", "50")), (5, ("--tile", "7"))]
    # every layout with each kind of input, the metrics in turn
    for number, ((ranks, layout), names) in enumerate(itertools.product(layouts, (("x64",), ("x64", "y64"), ("x32",)))):
        yield ranks, [*inputs(names), "--metric", metrics[number % 4], *layout]
    for name, metric in itertools.product(("wide", "close", "tiny", "whole", "stripes"), metrics):
        yield 2, [*inputs((name,)), "--metric", metric]
    for name, kernel in itertools.product(("wide", "close"), ("gemm", "direct")):
        yield 2, [*inputs((name,)), "--kernel", kernel]
    yield 3, [*inputs(("holes",)), "--allow-nonfinite", "--metric", "chebyshev"]
    yield 3, [*inputs(("x64",)), "--dtype", "f32"]


def inputs(names):
    x, *y = (f"{name}.h5" for name in names)
    return [x, *(word for name in y for word in ("--against", name))]


def run(program, folder, ranks, *arguments, status=0):
    launcher = ["mpirun", "-n", str(ranks)] if ranks else []
    words = [*launcher, str(program), *map(str, arguments)]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == status, f"{words}: exit {done.returncode}\n{done.stderr}"
    return done


def of_file(path):
    """All data of a result, and its attributes except those in MADE."""
    with h5py.File(path) as file:
        seen = {"bytes": path.stat().st_size, "attributes": attributes(file)}
        file.visititems(lambda name, item: seen.update({name: (item.shape, str(item.dtype), item.chunks, digest(item), attributes(item))}))
    return seen


def attributes(item):
    # paths of the inputs are not the same
    return {name: re.sub(r'"path": ?"[^"]*"', "", repr(value)) for name, value in sorted(item.attrs.items()) if name not in MADE}


def digest(dataset):
    return hashlib.sha256(dataset[()].tobytes()).hexdigest()


def of_text(text):
    text = text.replace("/old/", "/").replace("/new/", "/")
    return [line for line in text.splitlines() if not line.startswith(NOT_COMPARED)]


def of_record(path):
    record = json.loads(path.read_text())
    for sample in record["inputs"]:
        del sample["path"]
    return {name: value for name, value in record.items() if name not in MEASURED}


def of_plan(path):
    plan = json.loads(path.read_text())
    for sample in plan["inputs"]:
        del sample["path"]
    return {name: value for name, value in plan.items() if name not in MADE_PLAN}


def results(program, folder):
    """What each case leaves."""
    for ranks, arguments in cases():
        name = f"{ranks}: {' '.join(arguments)}"
        yield f"{name}, output", computed(program, folder, ranks, arguments)
        done = run(program, folder, ranks, "compute", *arguments, "--no-output", "--json", "run.json")
        yield f"{name}, none", (of_text(done.stdout), of_record(folder / "run.json"))
    for ranks in (0, 3):
        run(program, folder, ranks, "compute", "x64.h5", "-o", "d.h5", "--tile", "16", "--time-limit", "00:00:00", status=75)
        yield f"{ranks}: stopped", (of_plan(folder / "d.h5.partial/plan.json"), sorted(os.listdir(folder / "d.h5.partial")))
        yield f"{ranks}: resumed", computed(program, folder, ranks, ["x64.h5", "--tile", "16", "--resume"])


def computed(program, folder, ranks, arguments):
    done = run(program, folder, ranks, "compute", *arguments, "-o", "d.h5", "--json", "run.json")
    verified = run(program, folder, 2, "verify", "d.h5", "--all")
    shown = run(program, folder, 0, "info", "d.h5")
    left = (of_text(done.stdout), of_file(folder / "d.h5"), of_record(folder / "run.json"), of_text(verified.stdout), of_text(shown.stdout))
    (folder / "d.h5").unlink()
    return left


def main():
    programs = [Path(word).resolve() for word in sys.argv[1:]]
    assert len({hashlib.sha256(program.read_bytes()).digest() for program in programs}) == 2, "this is one program, not two"
    count = 0
    with tempfile.TemporaryDirectory() as parent:
        folders = [Path(parent, name, "x") for name in ("old", "new")]
        for folder in folders:
            folder.mkdir(parents=True)
            write_samples(folder)
        # names of one length: the command line is in the file, and decides its size
        programs = [shutil.copy(program, folder.parent) for program, folder in zip(programs, folders, strict=True)]
        for (name, old), (_, new) in zip(*map(results, programs, folders), strict=True):
            if old != new:
                sys.exit(f"not the same: {name}\nold: {old}\nnew: {new}")
            count += 1
    print(f"{count} runs: the same distances, checksums, attributes, records and texts")


if __name__ == "__main__":
    main()
