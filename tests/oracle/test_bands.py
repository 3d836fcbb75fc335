"""Samples that do not fit the memory of a rank: read again band by band, with the results of a run that has them all in memory."""

import json
import re

import h5py
import numpy as np
import pytest

import fields

RNG = np.random.default_rng(22)
# of 1200 x 1500 values, the packed samples of one rank take 29 MB in f64
N, D = 1200, 1500
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


# each family of kernels, and all that is made of the samples before: type of the samples, and their features
CASES = {
    "euclidean": ("f8", D),
    "cityblock": ("f8", D),
    "chebyshev": ("f4", 2 * D),
    "cosine": ("f4", 2 * D),
    "correlation": ("f8", D),
    "braycurtis": ("f4", 2 * D),
    "jensenshannon": ("u1", 2 * D),
    "seuclidean": ("f8", D),
    "jaccard": ("?", 100 * D),
    "hamming": ("u1", 12 * D),
    "sqeuclidean": ("u1", 12 * D),
}


@pytest.mark.parametrize("ranks, metric", [(number % 3 + 1, metric) for number, metric in enumerate(CASES)] + [(3, "euclidean"), (1, "seuclidean")])
def test_bands_have_the_digest_of_a_run_in_memory(work, metric, ranks):
    kind, d = CASES[metric]
    n = N if d < 12 * D else 20 * N * D // d
    work.write("x", samples(kind, n, d))
    work.write("y", samples(kind, n // 2, d))
    for against in ((), ("--against", "y.h5")):
        given = ("x.h5", *against, "--metric", metric, "--no-output")
        whole = record(work, *given, ranks=ranks)
        assert "bands" not in whole
        floor = least(work, *given, ranks=ranks)
        counts = set()
        for share in (0.01, 0.4):
            limit = floor + share * (whole["planned_bytes"] - floor) + 1e5
            banded = record(work, *given, "--memory-per-rank", f"{limit:.0f}", ranks=ranks)
            assert banded["digest"] == whole["digest"], (against, share)
            assert banded["inputs"] == whole["inputs"]
            assert banded["planned_bytes"] <= limit
            counts.add(banded["bands"]["rows"] * banded["bands"]["cols"])
        assert max(counts) > 1, counts


# of 12 samples, all are in one tile: only their features can be cut
LONG = {
    "euclidean": ("f4", ()),
    "sqeuclidean": ("f8", ()),
    "cityblock": ("f8", ()),
    "chebyshev": ("f4", ()),
    "minkowski": ("f4", ("--p", "3")),
    "canberra": ("f4", ("--skip-missing",)),
    "cosine": ("f4", ()),
    "correlation": ("f4", ("--weights", "w.h5")),
    "braycurtis": ("f8", ("--weights", "w.h5")),
    "jensenshannon": ("u1", ("--dtype", "f64")),
    "seuclidean": ("f4", ()),
    "hamming": ("u1", ()),
    "dice": ("?", ()),
    "yule": ("?", ("--weights", "w.h5")),
}


def write_long(work, metric, n, m, d) -> None:
    """Writes n and m samples of d features for a metric, and weights."""
    kind, _ = LONG[metric]
    x, y = samples(kind, n, d), samples(kind, m, d)
    if metric == "canberra":
        x[RNG.random(x.shape) < 0.1] = y[0, ::3] = np.nan
    if kind == "f4":
        x[1] = x[0] * np.float32(1.0001)  # near each other: the Gram guard
    work.write("x", x)
    work.write("y", y)
    with h5py.File(work / "w.h5", "w") as file:
        file["w"] = RNG.random(d) * (RNG.random(d) < 0.9)


def asked(metric):
    """What is asked of them: with one input, and with two."""
    _, options = LONG[metric]
    for against in ((), ("--against", "y.h5")):
        yield "x.h5", *against, "--metric", metric, "--no-output", *options


@pytest.mark.parametrize("ranks, metric", [(number % 3 + 1, metric) for number, metric in enumerate(LONG)] + [(3, "euclidean"), (2, "cityblock")])
def test_parts_of_features_have_the_digest_of_a_run_in_memory(work, metric, ranks):
    d = 700_001
    write_long(work, metric, 12, 5, d)
    for given in asked(metric):
        whole = record(work, *given)
        assert "bands" not in whole
        limit = least(work, *given, ranks=ranks) + 1e5
        parts = record(work, *given, "--memory-per-rank", f"{limit:.0f}", ranks=ranks)
        assert parts["bands"]["features"] < d, parts["bands"]
        assert parts["digest"] == whole["digest"], given
        assert parts["inputs"] == whole["inputs"]
        assert parts["recomputed_pairs"] == whole["recomputed_pairs"]
        assert parts["peak_rss_bytes"] < 1.1 * parts["planned_bytes"] + 8e6


@pytest.mark.parametrize("ranks, metric", [(5 - number % 2 * 2, metric) for number, metric in enumerate(LONG)])
def test_more_ranks_than_tiles_share_the_features(work, metric, ranks):
    write_long(work, metric, 4, 3, 300_001)
    for given in asked(metric):
        whole = record(work, *given)
        assert "bands" not in whole
        way = ("--tile", "4")
        if metric == "correlation":
            # it reads samples by parts five times first: it shares features only where memory is short
            way += ("--memory-per-rank", f"{least(work, *given, *way, ranks=ranks) + 2e6:.0f}")
        shared = record(work, *given, *way, ranks=ranks)
        # f64 cityblock adds one feature after the other
        is_shared = metric != "cityblock"
        assert shared.get("bands", {}).get("shared_features", False) == is_shared
        assert shared["digest"] == whole["digest"], given
        assert shared["inputs"] == whole["inputs"]
        assert shared["recomputed_pairs"] == whole["recomputed_pairs"]
        assert shared["peak_rss_bytes"] < 1.1 * shared["planned_bytes"] + 8e6
        work.pairdist("plan", *given, *way, "--ranks", ranks, "--threads", "1", "--json", "plan.json")
        plan = json.loads((work / "plan.json").read_text())
        names = ("bands", "bytes_read", "bytes_exchanged")
        assert [plan.get(name) for name in names] == [shared.get(name) for name in names]


@pytest.mark.parametrize("ranks", (1, 3))
@pytest.mark.parametrize("shape", ((300, 400), (20, 30, 200), (120_000,)), ids=str)
def test_a_whole_file_is_a_sample(work, shape, ranks):
    x = RNG.normal(size=(7, *shape)).astype("f4")
    creation = {"chunks": tuple(max(1, edge // 3) for edge in shape), "compression": "gzip"}
    for number, sample in enumerate(x):
        work.write(f"x{number}", sample, **(creation if number % 2 else {}))
    work.write("flat", x.reshape(7, -1))
    paths = [f"x{number}.h5" for number in range(7)]
    named = () if len(shape) > 1 else ("--dataset", "samples")
    given = (*paths, "--sample-per-file", *named)
    for metric in ("cityblock", "correlation"):
        flat = record(work, "flat.h5", "--no-output", "--metric", metric)
        whole = record(work, *given, "--no-output", "--metric", metric, ranks=ranks)
        assert whole["digest"] == flat["digest"]
        limit = least(work, *given, "--no-output", "--metric", metric, ranks=ranks) + 1e5
        parts = record(work, *given, "--no-output", "--metric", metric, "--memory-per-rank", f"{limit:.0f}", ranks=ranks)
        assert parts["bands"]["features"] < 120_000 and parts["digest"] == flat["digest"]
        assert all(file["view"] == "one sample" and file["shape"] == [1, 120_000] for file in parts["inputs"])
    work.pairdist("compute", *given, "-o", "out.h5", "--neighbors", 3, "--matrix", ranks=ranks)
    work.pairdist("verify", "out.h5", "--all", ranks=ranks)
    work.write("x3", x[3][:-1])
    told = work.pairdist("compute", *given, "--no-output", ranks=ranks, status=(1,)).stderr
    assert "x3.h5 has" in told and "all files of an input need the same number" in told


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


@pytest.mark.parametrize("ranks", (1, 2))
@pytest.mark.parametrize("metric", ("cityblock", "euclidean"))
def test_fields_in_files_have_the_distances_of_numpy(work, metric, ranks):
    paths = fields.write(work / "fields", 31, (45, 900))
    given = (*paths, "--sample-per-file", "--metric", metric)
    limit = least(work, *given, "--no-output", ranks=ranks) + 1e5
    work.pairdist("compute", *given, "-o", "out.h5", "--memory-per-rank", f"{limit:.0f}", ranks=ranks)
    expected = fields.distances(paths, metric, np.longdouble)
    with h5py.File(work / "out.h5") as file:
        got = file["distances"][()]
    assert got.dtype == np.float32 and np.allclose(got, expected, rtol=1e-5, atol=0)
    work.pairdist("compute", *given, "-o", "exact.h5", "--dtype", "f64", "--memory-per-rank", f"{2.2 * limit:.0f}", ranks=ranks)
    with h5py.File(work / "exact.h5") as file:
        assert np.allclose(file["distances"][()], expected, rtol=1e-13, atol=0)
