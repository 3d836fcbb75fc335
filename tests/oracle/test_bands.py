"""Samples that do not fit the memory of a rank: read again band by band, with the results of a run that has them all in memory."""

import json
import re

import h5py
import numpy as np
import pytest

RNG = np.random.default_rng(22)
# of 1500 x 1500 values, the packed samples of one rank take 36 MB in f64
N, D = 1500, 1500
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}


def record(work, *arguments, ranks=1, status=(0,)):
    work.pairdist("compute", *arguments, "--json", "run.json", ranks=ranks, status=status)
    return json.loads((work / "run.json").read_text())


def least(work, *arguments, ranks=1) -> float:
    """The memory that the program says a rank needs at least, in bytes."""
    told = work.pairdist("compute", *arguments, "--memory-per-rank", "1kB", ranks=ranks, status=(1,)).stderr
    number, unit = re.search(r"--memory-per-rank: .* are not enough, a rank of this run takes ([\d.]+) (\w+) at least", told).groups()
    return float(number) * UNITS[unit]


def samples(kind: str, n=N, d=D):
    if kind == "f4" or kind == "f8":
        return RNG.normal(size=(n, d)).astype(kind)
    return RNG.integers(0, 2 if kind == "?" else 256, (n, d)).astype(kind)


# each family of kernels, and all that is made of the samples before
CASES = {
    "euclidean": ("f8", ()),
    "cityblock": ("f8", ()),
    "chebyshev": ("f4", ()),
    "cosine": ("f4", ()),
    "correlation": ("f8", ()),
    "braycurtis": ("f4", ()),
    "jensenshannon": ("u1", ("--dtype", "f32")),
    "seuclidean": ("f8", ()),
    "jaccard": ("?", ("--tile", "100")),
    "hamming": ("u1", ("--tile", "100")),
    "sqeuclidean": ("u1", ("--tile", "100")),
}


@pytest.mark.parametrize("ranks", (1, 2, 3))
@pytest.mark.parametrize("metric", CASES)
def test_bands_have_the_digest_of_a_run_in_memory(work, metric, ranks):
    kind, options = CASES[metric]
    d = 20000 if kind in ("?", "u1") else D
    x, y = samples(kind, 600 if kind in ("?", "u1") else N, d), samples(kind, 300, d)
    work.write("x", x)
    work.write("y", y)
    for against in ((), ("--against", "y.h5")):
        given = ("x.h5", *against, "--metric", metric, "--no-output", *options)
        whole = record(work, *given, ranks=ranks)
        assert "bands" not in whole
        floor = least(work, *given, ranks=ranks)
        counts = set()
        for share in (0.01, 0.15, 0.5):
            limit = floor + share * (whole["planned_bytes"] - floor) + 1e5
            banded = record(work, *given, "--memory-per-rank", f"{limit:.0f}", ranks=ranks)
            assert banded["digest"] == whole["digest"], (against, share)
            assert banded["inputs"] == whole["inputs"]
            assert banded["planned_bytes"] <= limit
            counts.add(banded["bands"]["rows"] * banded["bands"]["cols"])
        assert max(counts) > 3, counts


@pytest.mark.parametrize("ranks", (1, 3))
def test_mahalanobis_is_whitened_band_by_band(work, ranks):
    mix = RNG.normal(size=(60, 60))
    work.write("x", RNG.normal(size=(20000, 60)) @ mix)
    work.write("y", RNG.normal(size=(7000, 60)) @ mix)
    for against in ((), ("--against", "y.h5")):
        given = ("x.h5", *against, "--metric", "mahalanobis", "--no-output")
        whole = record(work, *given, ranks=ranks)
        limit = least(work, *given, ranks=ranks) + 1e6
        banded = record(work, *given, "--memory-per-rank", f"{limit:.0f}", ranks=ranks)
        assert banded["bands"]["rows"] > 1 or banded["bands"]["cols"] > 1
        assert banded["digest"] == whole["digest"]


RESULTS = (("--matrix",), ("--condensed",), ("--neighbors", "7"), ("--radius", "54"), ("--matrix", "--neighbors", "3", "--include-self", "--radius", "53.9"))


def same(one, other) -> None:
    """Compares all arrays of two results."""
    with h5py.File(one) as a, h5py.File(other) as b:
        names = []
        a.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        assert names
        for name in names:
            if "checksums" not in name:
                assert np.array_equal(a[name][()], b[name][()]), name


@pytest.mark.parametrize("ranks", (1, 2, 3))
@pytest.mark.parametrize("results", RESULTS, ids=" ".join)
def test_every_result_is_that_of_a_run_in_memory(work, results, ranks):
    work.write("x", samples("f8"))
    work.pairdist("compute", "x.h5", "-o", "whole.h5", *results, ranks=2)
    limit = least(work, "x.h5", "-o", "banded.h5", *results, ranks=ranks) + 3e6
    told = work.pairdist("compute", "x.h5", "-o", "banded.h5", *results, "--memory-per-rank", f"{limit:.0f}", ranks=ranks)
    assert re.search(r"bands +\d+ bands? of samples in memory", told.stdout)
    same(work / "whole.h5", work / "banded.h5")
    work.pairdist("verify", "banded.h5", ranks=2)


@pytest.mark.parametrize("ranks", (1, 2))
def test_a_limit_below_the_least_is_refused_with_what_is_needed(work, ranks):
    work.write("x", samples("f8"))
    for results in (("--no-output",), ("-o", "out.h5", "--neighbors", "20")):
        needed = least(work, "x.h5", *results, ranks=ranks)
        assert not (work / "out.h5.partial").exists()
        # the way out
        work.pairdist("compute", "x.h5", *results, "--memory-per-rank", f"{needed + 2e4:.0f}", ranks=ranks)
    for text in ("0", "-3", "much", "3XB", "nan", "1e3"):
        told = work.pairdist("compute", "x.h5", "--no-output", f"--memory-per-rank={text}", status=(2,)).stderr
        assert "--memory-per-rank" in told and "expected a number of bytes, such as 2GB or 500MiB" in told


def test_plan_says_how_many_bands_and_how_much_is_read(work):
    work.write("x", samples("f8"))
    limit = least(work, "x.h5", "--no-output") + 5e6
    work.pairdist("plan", "x.h5", "--no-output", "--memory-per-rank", f"{limit:.0f}", "--threads", "1", "--json", "plan.json")
    plan = json.loads((work / "plan.json").read_text())
    run = record(work, "x.h5", "--no-output", "--memory-per-rank", f"{limit:.0f}", "--threads", "1")
    assert plan["bands"] == run["bands"] and plan["bytes_read"] == run["bytes_read"]
