"""Truth values and whole numbers of 8 bits: exact, against integer arithmetic in Python, and against SciPy."""

import json
from fractions import Fraction

import h5py
import numpy as np
import pytest
from conftest import distances, launch, BINARY, ALONE
from scipy.spatial.distance import cdist, pdist, squareform

TYPES = {"f4": ["--dtype", "f32"], "f8": ["--dtype", "f64"]}
LEVELS = ("avx512", "avx2", "portable")


def ratios(metric, both, of_x, of_y, neither):
    """Numerator and denominator, of integers."""
    unequal = of_x + of_y
    return {
        "jaccard": (unequal, both + unequal),
        "dice": (unequal, 2 * both + unequal),
        "rogerstanimoto": (2 * unequal, both + neither + 2 * unequal),
        "russellrao": (unequal + neither, both + unequal + neither),
        "sokalsneath": (2 * unequal, both + 2 * unequal),
        "yule": (2 * of_x * of_y, both * neither + of_x * of_y),
        "hamming": (unequal, both + unequal + neither),
    }[metric]


TRUTH = ("jaccard", "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule", "hamming")


def rounded(fraction, dtype):
    """The nearest number of the type, and of two as near the even one."""
    kind = np.dtype(dtype).type
    near = kind(float(fraction))
    some = [near, np.nextafter(near, kind(-1)), np.nextafter(near, kind(np.inf))]
    even = lambda number: int(number.view(f"u{number.itemsize}")) & 1
    return min(some, key=lambda number: (abs(Fraction(float(number)) - fraction), even(number)))


def expected_of(metric, x, y, dtype):
    """Of truth values, by integers."""
    whole = [side.astype("i8") for side in (x, y)]
    both = whole[0] @ whole[1].T
    of_x, of_y = whole[0].sum(1)[:, None] - both, whole[1].sum(1) - both
    neither = x.shape[1] - both - of_x - of_y
    result = np.empty(both.shape, dtype)
    for place in np.ndindex(both.shape):
        above, below = ratios(metric, *(int(part[place]) for part in (both, of_x, of_y, neither)))
        nothing = 0 if metric in ("jaccard", "yule") else np.nan
        result[place] = nothing if below == 0 else rounded(Fraction(above, below), dtype)
    return result


def truth_values(n, d, seed):
    """Some rows all true, all false, alike, or with few ones."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, d)) < rng.choice([0.03, 0.3, 0.5, 0.9], (n, 1))
    x[1], x[2], x[4] = False, True, x[3]
    return x


def check_same(got, expected):
    kind = f"u{got.itemsize}"
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(got[~nan].view(kind), expected[~nan].view(kind))


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", TRUTH)
def test_truth_values_are_exact_however_they_are_stored(work, metric, dtype):
    sizes = ((1, 1), (7, 2), (63, 3), (64, 5), (65, 2), (1000, 3))
    for number, (d, ranks) in enumerate(sizes):
        x, y = truth_values(23, d, d), truth_values(17, d, d + 1)
        expected = expected_of(metric, x, y, dtype)
        with np.errstate(all="ignore"):
            scipy = cdist(x, y, metric)
        np.testing.assert_allclose(expected, scipy, rtol=1e-6 if dtype == "f4" else 1e-15)
        packed = ["--packed", "--features", str(d)]
        ways = ((lambda z: z, []), (lambda z: z.astype("u1"), []), (lambda z: z.astype("f4"), []), (lambda z: np.packbits(z, axis=1), packed))
        for stored, given in (ways[number % 4], ways[(number + 1) % 4]):
            record = work.record("--metric", metric, *TYPES[dtype], *given, "-o", "out.h5", "--force", "--tile", "9", x=work.write("x", stored(x)), y=work.write("y", stored(y)), ranks=ranks)
            check_same(distances(work / "out.h5"), expected)
            kind = {"f": "direct", "u": "u8"}.get(stored(x).dtype.kind) if metric == "hamming" and not given else "bits"
            assert record["problem"]["kernel"] == (kind or "bits")
        work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("metric", TRUTH)
def test_any_number_but_0_is_true(work, metric):
    x = truth_values(20, 40, 3)
    numbers = np.where(x, np.random.default_rng(1).normal(size=x.shape) + 3, 0)
    if metric in ("dice", "hamming"):
        numbers = x.astype("f8")
    expected = expected_of(metric, x, x, "f8")
    check_same(distances(work.compute(numbers, None, "--metric", metric, "--tile", "7", ranks=2)), expected)


@pytest.mark.parametrize("metric", ("jaccard", "yule", "hamming"))
def test_long_samples_of_truth_values_and_all_levels(work, metric):
    x = truth_values(12, 200_000, 8)
    packed = work.write("x", np.packbits(x, axis=1), chunks=(4, 1000), compression="gzip", compression_opts=1)
    digests = set()
    for level in LEVELS:
        for ranks, tile in ((1, "12"), (3, "5")):
            done = launch([BINARY, "compute", packed, "-o", work / "out.h5", "--force", "--packed", "--metric", metric, "--tile", tile, "--json", work / "run.json"], ranks, env={"PAIRDIST_SIMD": level})
            if level == "avx512" and "is not a SIMD level of this machine" in done.stderr:
                continue
            assert done.returncode == 0, done.stderr
            digests.add(json.loads((work / "run.json").read_text())["digest"])
            check_same(distances(work / "out.h5"), expected_of(metric, x, x, "f4"))
    assert len(digests) == 1
    # compressed chunks are read in parts
    work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("metric", TRUTH[:-1])
def test_truth_values_with_weights_as_scipy(work, metric):
    x, y = truth_values(20, 50, 5), truth_values(15, 50, 6)
    weights = np.random.default_rng(2).random(50)
    weights[::9] = 0
    with h5py.File(work / "w.h5", "w") as file:
        file["w"] = weights
    with np.errstate(all="ignore"):
        expected = cdist(x, y, metric, w=weights)
    for dtype, allowed in (("f4", 1e-5), ("f8", 1e-13)):
        for ranks in (1, 3):
            got = distances(work.compute(x, y, "--metric", metric, "--weights", "w.h5", *TYPES[dtype], "--tile", "6", "--force", ranks=ranks))
            np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
            np.testing.assert_allclose(got, expected, rtol=allowed, atol=allowed)
            work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("kernel", ("auto", "direct"))
def test_other_results_of_truth_values(work, kernel):
    x = truth_values(60, 30, 9)
    x[7:40, 10:] = False
    # in f32, a radius of 0.3 includes 3 of 10
    x[5], x[6] = False, False
    x[5, :10] = x[6, :7] = True
    options = ["--matrix", "--condensed", "--neighbors", "5", "--radius", "0.3", "--tile", "16", "--kernel", kernel]
    out = work.compute(x, None, "--metric", "jaccard", *options, ranks=3)
    with h5py.File(out) as file:
        matrix = file["distances"][:]
        np.testing.assert_allclose(matrix, squareform(pdist(x, "jaccard")), rtol=1e-6)
        np.testing.assert_array_equal(squareform(file["condensed"][:]), matrix)
        assert matrix[5, 6] == np.float32(0.3)
        row = slice(*file["radius/indptr"][5:7])
        assert 6 in file["radius/indices"][row]
        np.fill_diagonal(matrix, np.inf)
        np.testing.assert_array_equal(file["neighbors/distances"][:], np.sort(matrix, axis=1)[:, :5])
        assert len(file["radius/data"]) == (matrix <= np.float32(0.3)).sum()
    work.pairdist("verify", "out.h5", "--all")


def numbers(n, d, kind, seed):
    """At the extremes too."""
    limits = np.iinfo(kind)
    rng = np.random.default_rng(seed)
    x = rng.integers(limits.min, limits.max, (n, d), endpoint=True, dtype=kind)
    x[1], x[2], x[4] = limits.min, limits.max, x[3]
    x[5] = rng.choice([limits.min, limits.max], d)
    return x


WHOLE = ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "hamming", "minkowski")


def whole_distances(metric, x, y, dtype):
    """By integers, rounded once."""
    x, y = x.astype("i8"), y.astype("i8")
    if metric in ("sqeuclidean", "euclidean", "minkowski"):
        square = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * (x @ y.T)
        if metric == "sqeuclidean":
            return square.astype(dtype)
        # of numbers of so few digits, rounding the root to f64 first changes nothing
        return np.sqrt(square).astype(dtype)
    of_rows = {
        "cityblock": lambda a: abs(a - y).sum(1).astype(dtype),
        "chebyshev": lambda a: abs(a - y).max(1).astype(dtype),
        "hamming": lambda a: np.array([rounded(Fraction(int(unequal), y.shape[1]), dtype) for unequal in (a != y).sum(1)]),
    }[metric]
    return np.array([of_rows(a) for a in x])


@pytest.mark.parametrize("kind", ("u1", "i1"))
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("metric", WHOLE)
def test_whole_numbers_of_8_bits_are_exact(work, metric, dtype, kind):
    for d, ranks in ((1, 1), (7, 2), (63, 3), (64, 1), (65, 5), (1000, 2)):
        x, y = numbers(21, d, kind, d), numbers(19, d, kind, d + 1)
        given = ["--metric", metric, *TYPES[dtype], "-o", "out.h5", "--force", "--tile", "8"]
        record = work.record(*given, x=work.write("x", x), y=work.write("y", y), ranks=ranks)
        assert record["problem"]["kernel"] == {"u1": "u8", "i1": "i8"}[kind]
        check_same(distances(work / "out.h5"), whole_distances(metric, x, y, dtype))
        # one input, other ranks, and transposed
        given = ["--metric", metric, *TYPES[dtype], "-o", "out.h5", "--force", "--transpose", "--tile", "6"]
        work.record(*given, x=work.write("x", x.T), ranks=4 - min(ranks, 3))
        got = distances(work / "out.h5")
        check_same(got, whole_distances(metric, x, x, dtype))
        assert (np.diag(got) == 0).all()
    work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("d", (33_026, 200_000))
@pytest.mark.parametrize("metric", WHOLE[:5])
def test_long_samples_of_whole_numbers_and_all_levels(work, metric, d):
    x = numbers(9, d, "u1", 4)
    digests = set()
    for level in LEVELS:
        done = launch([BINARY, "compute", work.write("x", x), "-o", work / "out.h5", "--force", "--metric", metric, "--json", work / "run.json"], 0, cwd=work.folder, env=ALONE | {"PAIRDIST_SIMD": level})
        if level == "avx512" and "is not a SIMD level of this machine" in done.stderr:
            continue
        assert done.returncode == 0, done.stderr
        digests.add(json.loads((work / "run.json").read_text())["digest"])
        check_same(distances(work / "out.h5"), whole_distances(metric, x, x, "f4"))
    assert len(digests) == 1
    work.pairdist("verify", "out.h5", "--all")


def test_a_distance_of_whole_numbers_that_is_wrong_by_one_unit_is_found(work):
    work.compute(numbers(20, 300, "u1", 7), None, "--metric", "cityblock", "--dtype", "f64")
    work.pairdist("verify", "out.h5")
    with h5py.File(work / "out.h5", "r+") as file:
        file["distances"][3, 8] = np.nextafter(file["distances"][3, 8], np.inf)
    assert "beyond their bound" in work.pairdist("verify", "out.h5", "--pairs", "400", status=(1,)).stderr


def test_truth_values_are_whole_numbers_of_either_kind_and_kinds_are_not_mixed(work):
    x, signed, unsigned = truth_values(12, 20, 1), numbers(9, 20, "i1", 2), numbers(9, 20, "u1", 3)
    for y, kernel in ((signed, "i8"), (unsigned, "u8"), (truth_values(9, 20, 4), "u8")):
        record = work.record("--metric", "cityblock", "-o", "out.h5", "--force", x=work.write("x", x), y=work.write("y", y))
        assert record["problem"]["kernel"] == kernel
        check_same(distances(work / "out.h5"), whole_distances("cityblock", x, y, "f4"))
    record = work.record("--metric", "cityblock", "-o", "out.h5", "--force", x=work.write("x", signed), y=work.write("y", unsigned))
    assert record["problem"]["kernel"] == "direct"
    check_same(distances(work / "out.h5"), whole_distances("cityblock", signed, unsigned, "f4"))
    told = work.pairdist("compute", "x.h5", "--against", "y.h5", "--no-output", "--metric", "cityblock").stderr
    assert "computed with as f32: one input has signs and the other has none" in told


def test_booleans_that_are_decoded_are_numbers(work):
    x = truth_values(9, 12, 1)
    with h5py.File(work / "x.h5", "w") as file:
        file["samples"] = x
        file["samples"].attrs["scale_factor"] = 0.5
    record = work.record("--metric", "cityblock", "--decode-netcdf", "-o", "out.h5", x="x.h5")
    assert record["problem"]["kernel"] == "direct"
    np.testing.assert_array_equal(distances(work / "out.h5"), cdist(x / 2, x / 2, "cityblock"))


def test_a_number_that_is_too_small_for_the_type_is_not_taken_for_false(work):
    x = truth_values(9, 12, 1) * 1e-50
    check_same(distances(work.compute(x, None, "--metric", "jaccard")), expected_of("jaccard", x > 0, x > 0, "f8"))
    for ranks in (0, 2):
        told = work.pairdist("compute", "x.h5", "-o", "f.h5", "--metric", "jaccard", "--dtype", "f32", ranks=ranks, status=(1,)).stderr
        assert "use --dtype f64" in told
    x[0, 0] = 1
    work.write("x", x)
    told = work.pairdist("compute", "x.h5", "-o", "f.h5", "--metric", "jaccard", "--dtype", "f32", status=(1,)).stderr
    assert "too small for f32 and would be false, the first is 1e-50 in row 0" in told


def test_a_metric_without_whole_numbers_is_computed_as_floats_and_that_is_told(work):
    work.write("x", numbers(12, 8, "u1", 5) | 1)
    for given in (["cosine"], ["canberra"], ["minkowski", "--p", "3"], ["cityblock", "--weights", "w.h5"]):
        with h5py.File(work / "w.h5", "w") as file:
            file["w"] = np.ones(8)
        told = work.pairdist("compute", "x.h5", "--no-output", "--metric", *given).stderr
        assert "are computed with as f32" in told and "has no form in whole numbers" in told
    assert "whole numbers" not in work.pairdist("compute", "x.h5", "--no-output", "--metric", "cityblock").stderr
    # and who asks for floats gets them
    for kernel in ("direct", "gemm"):
        record = work.record("--metric", "sqeuclidean", "--kernel", kernel, "--no-output", x="x.h5")
        assert record["problem"]["kernel"] == kernel


REFUSED = {
    "dice of numbers": ("numbers", ["--metric", "dice"], "are other than 0 and 1, the first is 2 in row 1, column 2 (from 0); dice is for truth values alone"),
    "packed booleans": ("truth", ["--metric", "jaccard", "--packed"], "does not hold bytes without a sign (uint8), which --packed needs"),
    "packed numbers of 16 bits": ("short", ["--metric", "jaccard", "--packed"], "does not hold bytes without a sign (uint8), which --packed needs"),
    "packed floats": ("floats", ["--metric", "jaccard", "--packed"], "does not hold bytes without a sign (uint8), which --packed needs"),
    "too many features": ("bytes", ["--metric", "jaccard", "--packed", "--features", "33"], "has 4 bytes for each sample, which are 25 to 32 bits, and 33 features are asked for"),
    "too few features": ("bytes", ["--metric", "jaccard", "--packed", "--features", "24"], "give a number of features that fits (--features)"),
    "bits behind the last": ("bytes", ["--metric", "jaccard", "--packed", "--features", "29"], "bits behind the last of 29 features are set in 2 of 6 samples, first in row 1 (from 0)"),
    "features of booleans": ("truth", ["--metric", "jaccard", "--packed", "--features", "4"], "does not hold bytes without a sign (uint8)"),
    "features without bits": ("bytes", ["--metric", "jaccard", "--features", "4"], "--features 4: all features of the samples are taken; leave the option out, or use --packed"),
    "packed columns": ("bytes", ["--metric", "jaccard", "--packed", "--transpose"], "cannot be used with"),
    "no features": ("bytes", ["--metric", "jaccard", "--packed", "--features", "0"], "it must be at least 1"),
}


@pytest.mark.parametrize("name, given, words", REFUSED.values(), ids=REFUSED)
def test_what_are_no_truth_values_is_refused_in_a_sentence(work, name, given, words):
    packed = np.full((6, 4), 0b1000, "u1")
    packed[[1, 4], 3] |= 1
    several = np.zeros((6, 4), "u1")
    several[1, 2], several[3] = 2, 3
    samples = {"truth": several > 0, "short": several.astype("u2"), "floats": several.astype("f4"), "numbers": several, "bytes": packed}
    work.write("x", samples[name])
    for ranks in (0, 2):
        told = work.pairdist("compute", "x.h5", "-o", "out.h5", *given, ranks=ranks, status=(1, 2)).stderr
        assert words in told, told
        assert not list(work.folder.glob("out.h5*"))


def test_what_has_no_distance_is_told_and_attributes_of_bits_are_not_followed(work):
    work.write("x", np.zeros((3, 5), bool))
    for metric in ("dice", "sokalsneath"):
        assert "two samples in which nothing is true have no distance" in work.pairdist("compute", "x.h5", "--no-output", "--metric", metric).stderr
    with h5py.File(work / "x.h5", "w") as file:
        file["samples"] = np.packbits(truth_values(9, 12, 1), axis=1)
        file["samples"].attrs["_FillValue"] = np.uint8(1)
    told = work.pairdist("compute", "x.h5", "--no-output", "--metric", "jaccard", "--packed", "--features", "12").stderr
    assert "WARN" not in told


def test_a_packed_input_is_resumed_verified_and_told(work):
    x = truth_values(30, 45, 2)
    work.write("x", np.packbits(x, axis=1))
    given = ["x.h5", "-o", "out.h5", "--packed", "--features", "45", "--metric", "jaccard"]
    done = work.pairdist("compute", *given)
    assert "30 x 45 (packed bits)" in done.stderr
    assert "is complete already" in work.pairdist("compute", *given, "--resume").stderr
    other = [word if word != "45" else "46" for word in given]
    work.pairdist("compute", *other, "--resume", status=(1,))
    assert "packed bits" in work.pairdist("info", "out.h5").stdout
    # which the first version of the format does not know, whatever is computed
    work.pairdist("compute", *given[:-1], "cityblock", "--kernel", "direct", "--force")
    with h5py.File(work / "out.h5") as file:
        assert file.attrs["format_version"] == 2
    work.pairdist("verify", "out.h5", "--all")
    work.pairdist("compute", *given, "--force")
    work.pairdist("verify", "out.h5", "--all")
    plan = work.pairdist("plan", "x.h5", "--packed", "--features", "45", "--metric", "jaccard").stdout
    assert "bits" in plan
    assert "bits" in work.pairdist("plan", "--samples", "1000", "--features", "2048", "--packed", "--metric", "hamming").stdout
