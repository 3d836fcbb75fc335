"""The metrics on real numbers that SciPy has, with their parameters, against SciPy; and SciPy's own test data."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.spatial
from conftest import distances
from scipy.spatial.distance import cdist, pdist, squareform

DATA = Path(scipy.spatial.__file__).parent / "tests" / "data"

# metric, its order p, and whether SciPy takes weights for it
METRICS = [
    ("sqeuclidean", None, True),
    ("euclidean", None, True),
    ("cityblock", None, True),
    ("chebyshev", None, True),
    ("seuclidean", None, False),
    ("cosine", None, True),
    ("correlation", None, True),
    ("canberra", None, True),
    ("braycurtis", None, True),
    ("hamming", None, True),
    *(("minkowski", p, True) for p in (0.5, 1, 1.5, 2, 2.5, 3, 7.5, 8, np.inf)),
]
CASES = [(metric, p, weighted) for metric, p, takes in METRICS for weighted in ((False, True) if takes else (False,))]


def samples(n, d, seed):
    """Of both signs, some features of some rows alike, a row of zeros and a constant one."""
    rng = np.random.default_rng(seed)
    x = 2 * rng.random((n, d)) - 0.7
    x[::3, : d // 2] = x[0, : d // 2]
    x[1], x[2] = 0, 0.3
    return x


def options(work, metric, p, weighted, d):
    """What the program and SciPy are given for it."""
    given, scipy = ["--metric", metric], {}
    if p is not None:
        given, scipy = [*given, "--p", str(p)], {"p": p}
    if weighted:
        weights = 10 * np.random.default_rng(d).random(d)
        weights[d // 2 : d // 2 + 3] = 0
        with h5py.File(work / "w.h5", "w") as file:
            file["w"] = weights
        given, scipy = [*given, "--weights", "w.h5"], scipy | {"w": weights}
    return given, scipy


def assert_close(got, expected, dtype, what):
    """Where SciPy loses no digits: to some units in the last place of the type for each of a few hundred terms."""
    expected = np.where(np.abs(expected) < 1e-15, 0, expected)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected), err_msg=what)
    allowed = {"f8": 1e-12, "f4": 2e-5}[dtype]
    np.testing.assert_allclose(got, expected, rtol=allowed, atol=allowed / 10, err_msg=what)


@pytest.mark.parametrize("dtype", ("f8", "f4"))
@pytest.mark.parametrize("metric, p, weighted", CASES)
def test_two_inputs_as_cdist(work, metric, p, weighted, dtype):
    for d, ranks in ((7, 1), (33, 2), (300, 3)):
        x, y = (samples(n, d, seed).astype(dtype).astype("f8") for n, seed in ((41, 1), (29, 2)))
        y[5] = x[7]
        given, scipy = options(work, metric, p, weighted, d)
        got = distances(work.compute(x.astype(dtype), y.astype(dtype), *given, "--tile", "16", "--force", ranks=ranks))
        with np.errstate(all="ignore"):
            expected = cdist(x, y, metric, **scipy)
        if metric == "correlation":
            expected[2], expected[:, 2], expected[1], expected[:, 1] = (np.nan,) * 4
        assert_close(got, expected, dtype, f"{d} features")
        work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("metric, p, weighted", CASES)
def test_one_input_as_pdist_the_same_bits_for_any_ranks_and_tiles(work, metric, p, weighted):
    x = samples(50, 20, 3)
    given, scipy = options(work, metric, p, weighted, 20)
    first = distances(work.compute(x, None, *given, ranks=1))
    with np.errstate(all="ignore"):
        expected = squareform(pdist(x, metric, **scipy), checks=False)
    undefined = {"cosine": [1], "correlation": [1, 2]}.get(metric, [])
    for row in undefined:
        expected[row] = expected[:, row] = np.nan
    if metric == "braycurtis":
        expected[1, 1] = np.nan
    assert_close(first, expected, "f8", metric)
    for ranks, tile in ((2, "7"), (3, "16"), (5, "64")):
        other = distances(work.compute(x, None, *given, "--tile", tile, "--force", ranks=ranks))
        np.testing.assert_array_equal(first.view("u8"), other.view("u8"))
        np.testing.assert_array_equal(other.view("u8"), other.T.copy().view("u8"))


@pytest.mark.parametrize("metric", ("seuclidean", "canberra", "cosine"))
def test_other_results_than_the_matrix(work, metric):
    x = 1 + np.random.default_rng(4).random((60, 12))
    out = work.compute(x, None, "--metric", metric, "--matrix", "--condensed", "--neighbors", "5", "--radius", "0.5", "--tile", "16", ranks=3)
    with h5py.File(out) as file:
        matrix = file["distances"][:]
        np.testing.assert_array_equal(squareform(file["condensed"][:]), matrix)
        np.fill_diagonal(matrix, np.inf)
        np.testing.assert_array_equal(file["neighbors/distances"][:], np.sort(matrix, axis=1)[:, :5])
        assert len(file["radius/data"]) == (matrix <= 0.5).sum()
    work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("dtype", ("f8", "f4"))
def test_a_quotient_of_weighted_sums_keeps_its_digits_at_any_magnitude(work, dtype):
    weights = 10.0 ** np.linspace(-15, 15, 40)
    weights[::7] = 0
    with h5py.File(work / "w.h5", "w") as file:
        file["w"] = weights
    for magnitude in (1e-36, 1e-20, 1.0, 1e37) if dtype == "f4" else (1e-306, 1.0, 1e307):
        x = (magnitude * samples(40, 40, 11)).astype(dtype)
        x[1] = x[0] * (magnitude > 1e-30)
        got = distances(work.compute(x, None, "--metric", "braycurtis", "--weights", "w.h5", "--force", ranks=2))
        wide = x.astype(np.longdouble)
        with np.errstate(all="ignore"):
            expected = np.array([(weights * abs(row - wide)).sum(1) / (weights * abs(row + wide)).sum(1) for row in wide])
        np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
        np.testing.assert_allclose(got, expected.astype("f8"), rtol={"f8": 1e-13, "f4": 1e-5}[dtype])
        assert "of its bound" in work.pairdist("verify", "out.h5", "--all").stdout


def test_a_given_variance_and_where_it_is_recorded(work):
    x = samples(30, 9, 5)
    variance = 0.5 + np.random.default_rng(6).random(9)
    with h5py.File(work / "v.h5", "w") as file:
        file["groups/v"], file["other"] = variance, np.ones(9)
    work.write("x", x)
    told = work.pairdist("compute", "x.h5", "--no-output", "--metric", "seuclidean", "--variance", "v.h5", status=(1,)).stderr
    assert 'v.h5 has 2 datasets of 9 numbers: /groups/v, /other; name one of them after the file' in told
    got = distances(work.compute(x, None, "--metric", "seuclidean", "--variance", "v.h5:groups/v"))
    assert_close(got, cdist(x, x, "seuclidean", V=variance), "f8", "V")
    with h5py.File(work / "out.h5") as file:
        np.testing.assert_array_equal(file["variance"][:], variance)
    assert "groups/v" in work.pairdist("info", "out.h5").stdout


def test_the_variance_is_that_of_all_samples_with_the_same_bits_for_any_ranks(work):
    rng = np.random.default_rng(7)
    x, y = (1e6 + rng.normal(size=(n, 5)) * 10.0 ** np.arange(-2, 3) for n in (101, 57))
    found = []
    for ranks in (1, 2, 3, 5):
        with h5py.File(work.compute(x, y, "--metric", "seuclidean", "--force", ranks=ranks)) as file:
            found.append(file["variance"][:])
    exact = np.var(np.concatenate([x, y]).astype(np.longdouble), axis=0, ddof=1)
    np.testing.assert_allclose(found[0], exact.astype("f8"), rtol=1e-15)
    assert all(np.array_equal(other.view("u8"), found[0].view("u8")) for other in found)


IRIS = [("seuclidean", None), ("cosine", None), ("correlation", None), ("cityblock", None), ("euclidean", None), ("chebyshev", None)]


@pytest.mark.parametrize("metric, p", IRIS)
@pytest.mark.parametrize("data, expected, precision", (("pdist-double-inp", "pdist-{}-ml", 1e-7), ("iris", "pdist-{}-ml-iris", 1e-6)))
def test_test_data_of_scipy_with_its_expected_values(work, metric, p, data, expected, precision):
    x = np.loadtxt(DATA / f"{data}.txt")
    expected = np.loadtxt(DATA / f"{expected.format(metric)}.txt")
    got = work.compute(x, None, "--metric", metric, "--condensed")
    with h5py.File(got) as file:
        np.testing.assert_allclose(file["condensed"][:], expected.ravel(), atol=precision)


# name of what is refused: options, and words of the sentence
REFUSED = {
    "an order of 0": (["--metric", "minkowski", "--p", "0"], "p must be larger than 0, and is 0"),
    "a negative order": (["--metric", "minkowski", "--p", "-1"], "p must be larger than 0, and is -1"),
    "an order that is no number": (["--metric", "minkowski", "--p", "nan"], "p must be larger than 0, and is NaN"),
    "an order between": (["--metric", "minkowski", "--p", "3.2"], "p can be a multiple of 0.5 up to 8, or inf, and is 3.2"),
    "an order of another metric": (["--p", "3"], "--p: euclidean has no order; leave the option out, or use --metric minkowski"),
    "weights of seuclidean": (["--metric", "seuclidean", "--weights", "good.h5"], "--weights: seuclidean takes no weights"),
    "variances of euclidean": (["--variance", "good.h5"], "--variance: euclidean takes no variances; leave the option out, or use one of the metrics that do: seuclidean"),
    "weights of another length": (["--weights", "long.h5"], "has no dataset with one number for each of 4 features"),
    "negative weights": (["--weights", "negative.h5"], "has -1 for feature 2 (from 0); a weight is a number, 0 or more"),
    "weights that are no numbers": (["--weights", "nan.h5"], "has NaN for feature 2 (from 0)"),
    "weights of 0": (["--weights", "zero.h5"], "are 0; give some features a weight above 0"),
    "variances of 0": (["--metric", "seuclidean", "--variance", "holes.h5"], "cannot be divided by for features 1, 3 (from 0); leave these features out, or give them a variance"),
    "constant features": (["--metric", "seuclidean", "--dataset", "constant"], "cannot be divided by for features 2 (from 0); these have one value in all samples"),
    "weights too far apart for f32": (["--dtype", "f32", "--weights", "apart.h5"], "has 1e-60 for feature 1 (from 0) and 1e0 for another, which f32 cannot hold side by side; compute in f64 (--dtype f64), or give the feature a weight of 0"),
    "variances too far apart for f32": (["--dtype", "f32", "--metric", "seuclidean", "--variance", "wide.h5"], "is 1e60 for feature 1 (from 0) and 1e0 for another, and f32 cannot hold the inverse of both; compute in f64 (--dtype f64), or leave one of them out"),
    "weights that are not there": (["--weights", "none.h5"], "none.h5 cannot be opened"),
}


@pytest.mark.parametrize("given, words", REFUSED.values(), ids=REFUSED)
def test_bad_parameters_are_refused_in_a_sentence_on_any_ranks(work, given, words):
    vectors = {
        "good": [1, 2, 3, 4], "long": [1, 2, 3, 4, 5], "negative": [1, 2, -1, 0], "nan": [1, 2, np.nan, 0],
        "zero": [0, 0, 0, 0], "holes": [1, 0, 1, 0], "apart": [1, 1e-60, 1, 1], "wide": [1, 1e60, 1, 1],
    }  # fmt: skip
    for name, values in vectors.items():
        with h5py.File(work / f"{name}.h5", "w") as file:
            file["v"] = np.array(values, dtype="f8")
    x = samples(12, 4, 8)
    constant = x.copy()
    constant[:, 2] = 5
    with h5py.File(work / "x.h5", "w") as file:
        file["samples"], file["constant"] = x, constant
    if "--dataset" not in given:
        given = [*given, "--dataset", "samples"]
    for ranks in (0, 3):
        told = work.pairdist("compute", "x.h5", "-o", "out.h5", *given, ranks=ranks, status=(1, 2)).stderr
        assert words in told, told
        assert not list(work.folder.glob("out.h5*"))


def test_a_run_with_other_parameters_is_not_resumed(work):
    x = samples(12, 4, 9)
    with h5py.File(work / "w.h5", "w") as file:
        file["a"], file["b"] = np.ones(4), np.arange(4.0)
    work.compute(x, None, "--metric", "minkowski", "--p", "3", "--weights", "w.h5:a")
    for given, words in ((["--p", "2.5", "--weights", "w.h5:a"], "--p was 3 and is 2.5"), (["--p", "3", "--weights", "w.h5:b"], "--weights was")):
        told = work.pairdist("compute", "x.h5", "-o", "out.h5", "--metric", "minkowski", *given, "--resume", status=(1,)).stderr
        assert words in told, told
    told = work.pairdist("compute", "x.h5", "-o", "out.h5", "--metric", "minkowski", "--p", "3", "--weights", "w.h5:a", "--resume").stderr
    assert "is complete already" in told
