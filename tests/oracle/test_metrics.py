"""The metrics on real numbers that SciPy has, with their parameters, against SciPy; and SciPy's own test data."""

import json
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


def test_tiles_on_the_diagonal_are_symmetric_whatever_is_made_of_them(work):
    # of so many features, what is below the diagonal is not computed; tiles of 512 and 1100 have several strips
    x = samples(1100, 300, 14)
    work.write("x", x)
    digests = set()
    for result in (["--no-output"], ["-o", "out.h5", "--force"], ["-o", "out.h5", "--force", "--neighbors", "3"]):
        for tile, ranks in (("64", 3), ("512", 2), ("1100", 1)):
            work.pairdist("compute", "x.h5", *result, "--metric", "cityblock", "--tile", tile, "--json", "run.json", ranks=ranks)
            digests.add(json.loads((work / "run.json").read_text())["digest"])
            if result[1:] == ["out.h5", "--force"]:
                np.testing.assert_array_equal(distances(work / "out.h5"), cdist(x, x, "cityblock"))
    assert len(digests) == 1


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


# what is special: type, options, weights, X, Y, distances
HOSTILE = {
    "canberra of large beside tiny": ("f8", ["canberra"], None, [[1e308, 5e-324]], [[1e308, 1.5e-323]], [[0.5]]),
    "canberra of the largest": ("f8", ["canberra"], None, [[1.7e308, 1.7e308, 1]], [[1.7e308, -1.7e308, 3]], [[1.5]]),
    "canberra of large beside tiny in f32": ("f4", ["canberra"], None, [[3e38, 1.4e-45]], [[3e38, 4.2e-45]], [[0.5]]),
    "canberra of large beside small": ("f8", ["canberra"], None, [[1e308, 1e-20]], [[1e308, 2e-20]], [[1 / 3]]),
    "braycurtis of many": ("f8", ["braycurtis"], None, np.full((1, 20_000), 0.1), np.zeros((1, 20_000)), [[1]]),
    "a high order": ("f4", ["minkowski", "--p", "8"], None, [[0.0], [1.5e-4]], [[1e-6], [1e-5]], [[1e-6, 1e-5], [1.49e-4, 1.4e-4]]),
    "a high order of tiny": ("f8", ["minkowski", "--p", "8"], None, [[0.0], [1.2e-36]], [[6.784759827505946e-40]], [[6.784759827505946e-40], [1.2e-36 - 6.784759827505946e-40]]),
    "a direction with a weight of 0": ("f8", ["cosine"], [1, 1, 0], [[1e-10, 2e-10, 1e150]], [[3e-10, 1e-10, 1]], [[1 - 0.5**0.5]]),
    "a correlation with a weight of 0": ("f8", ["correlation"], [1, 1, 0], [[1e-10, 2e-10, 1e150]], [[3e-10, 1e-10, 1]], [[2]]),
    "a direction with a small weight": ("f8", ["cosine"], [1, 1e-250], [[1e-130, 1]], [[1e-120, 1]], [[1 - 2e-5 / (1 + 1e-10)]]),
    "weights of which none is exact": ("f4", ["hamming"], [0.1] * 3000, np.zeros((1, 3000)), np.ones((1, 3000)), [[1]]),
}


@pytest.mark.parametrize("dtype, metric, weights, x, y, expected", HOSTILE.values(), ids=HOSTILE)
def test_samples_that_easily_lose_digits(work, dtype, metric, weights, x, y, expected):
    x, y = np.array(x, dtype), np.array(y, dtype)
    given = ["--metric", *metric]
    if weights:
        with h5py.File(work / "w.h5", "w") as file:
            file["w"] = weights
        given += ["--weights", "w.h5"]
    got = distances(work.compute(x, y, *given))
    np.testing.assert_allclose(got, expected, rtol={"f8": 1e-14, "f4": 1e-6}[dtype])
    if metric != ["minkowski", "--p", "8"]:
        assert (got <= np.ceil(expected)).all()
    work.pairdist("verify", "out.h5", "--all")


def test_a_large_constant_feature_takes_nothing_from_canberra(work):
    x = np.random.default_rng(12).random((100, 4))
    for dtype, large, small in (("f8", 9.97e307, 1), ("f4", 3.4028235e38, 1e-37)):
        x[:, 1], x[:, 3] = small * x[:, 1], large
        rows = x.astype(dtype)
        got = distances(work.compute(rows, None, "--metric", "canberra", "--force", ranks=2))
        with np.errstate(over="ignore"):
            expected = cdist(*[rows[:, :3].astype("f8")] * 2, "canberra")
        np.testing.assert_allclose(got, expected, rtol={"f8": 1e-14, "f4": 1e-6}[dtype])
        work.pairdist("verify", "out.h5", "--all")


def test_a_given_variance_and_where_it_is_recorded(work):
    x = samples(30, 9, 5)
    variance = 0.5 + np.random.default_rng(6).random(9)
    with h5py.File(work / "v.h5", "w") as file:
        file["groups/v"], file["other"] = variance, np.ones(9)
    work.write("x", x)
    told = work.pairdist("compute", "x.h5", "--no-output", "--metric", "seuclidean", "--variance", "v.h5", status=(1,)).stderr
    assert 'v.h5 has 2 datasets with one number for each of 9 features: /groups/v, /other; name one of them after the file' in told
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


def test_the_variance_of_large_numbers_is_that_of_their_differences(work):
    # of the mean, f64 has the multiples of 256 only
    x = np.array([[1.7e18 + 256 * place, place] for place in range(4)])
    with h5py.File(work.compute(x, None, "--metric", "seuclidean")) as file:
        np.testing.assert_allclose(file["variance"][:], [256**2 * 5 / 3, 5 / 3], rtol=1e-15)


# metric, order, and whether there are results of both sets of samples
EXPECTED = [
    *((metric, None, True) for metric in ("seuclidean", "cosine", "correlation", "cityblock", "euclidean", "chebyshev", "jensenshannon")),
    ("minkowski", 3.2, True),
    ("minkowski", 5.8, False),
]


@pytest.mark.parametrize("metric, p, both", EXPECTED)
@pytest.mark.parametrize("data, expected, precision", (("pdist-double-inp", "pdist-{}-ml", 1e-7), ("iris", "pdist-{}-ml-iris", 1e-6)))
def test_test_data_of_scipy_with_its_expected_values(work, metric, p, both, data, expected, precision):
    if not both and data != "iris":
        return
    x = np.loadtxt(DATA / f"{data}.txt")
    expected = np.loadtxt(DATA / f"{expected.format(metric if p is None else f'{metric}-{p}')}.txt")
    got = work.compute(x, None, "--metric", metric, *([] if p is None else ["--p", str(p)]), "--condensed")
    with h5py.File(got) as file:
        np.testing.assert_allclose(file["condensed"][:], expected.ravel(), atol=precision)


# name of what is refused: options, and words of the sentence
REFUSED = {
    "an order of 0": (["--metric", "minkowski", "--p", "0"], "p must be larger than 0, and is 0"),
    "a negative order": (["--metric", "minkowski", "--p", "-1"], "p must be larger than 0, and is -1"),
    "an order that is no number": (["--metric", "minkowski", "--p", "nan"], "p must be larger than 0, and is NaN"),
    "an order too large": (["--metric", "minkowski", "--p", "32.1"], "p can be 0.001 to 32, or inf, and is 32.1"),
    "an order too small": (["--metric", "minkowski", "--p", "1e-4"], "p can be 0.001 to 32, or inf, and is 0.0001"),
    "an order too large for f32": (["--dtype", "f32", "--metric", "minkowski", "--p", "8.1"], "--p 8.1: powers of differences would leave the range of f32; use --dtype f64"),
    "weights too large for an order": (["--metric", "minkowski", "--p", "3.2", "--weights", "huge.h5"], "is 1e30; with a --p that is no multiple of 0.5 up to 8 it must lie between 1e-18 and 1e18, so multiply all of them by one number"),
    "an order of another metric": (["--p", "3"], "--p: euclidean has no order; leave the option out, or use --metric minkowski"),
    "weights of seuclidean": (["--metric", "seuclidean", "--weights", "good.h5"], "--weights: seuclidean takes no weights"),
    "variances of euclidean": (["--variance", "good.h5"], "--variance: euclidean takes no variances; leave the option out, or use --metric seuclidean"),
    "weights of another length": (["--weights", "long.h5"], "has no dataset with one number for each of 4 features, but /v (5); write one"),
    "negative weights": (["--weights", "negative.h5"], "has -1 for feature 2 (from 0); a weight is a number, 0 or more"),
    "weights that are no numbers": (["--weights", "nan.h5"], "has NaN for feature 2 (from 0)"),
    "weights of 0": (["--weights", "zero.h5"], "are 0; give some features a weight above 0"),
    "variances of 0": (["--metric", "seuclidean", "--variance", "holes.h5"], "is 0.0 for feature 1 (from 0), which is no variance to divide by; so are those of 3; leave such features out, or give them a variance"),
    "constant features": (["--metric", "seuclidean", "--dataset", "constant"], "is 0.0 for feature 2 (from 0), which is no variance to divide by; where all samples have one value, leave the feature out"),
    "weights too far apart for f32": (["--dtype", "f32", "--weights", "apart.h5"], "has 1e-60 for feature 1 (from 0) and 1e0 for another, which f32 cannot hold side by side; compute in f64 (--dtype f64), or give the feature a weight of 0"),
    "variances too far apart for f32": (["--dtype", "f32", "--metric", "seuclidean", "--variance", "wide.h5"], "is 1e60 for feature 1 (from 0) and 1e0 for another, and f32 cannot hold the inverse of both; compute in f64 (--dtype f64), or leave one of them out"),
    "weights too far apart for directions": (["--metric", "cosine", "--weights", "far.h5"], "has 1e-300 for feature 1 (from 0) and 1e0 for another, which f64 cannot hold side by side; give the feature a weight of 0"),
    "a matrix product with weights": (["--kernel", "gemm", "--weights", "good.h5"], "--kernel gemm: euclidean with weights has no form as a matrix product; use auto or direct"),
    "weights that were never written": (["--weights", "partly.h5:v"], "partly.h5 was never written, or not all of it; write all its numbers"),
    "weights that are packed": (["--weights", "packed.h5"], "has an attribute scale_factor, which is not followed here; write the numbers themselves"),
    "weights in a matrix": (["--weights", "square.h5"], "has no dataset with one number for each of 4 features, but /v (2 x 2), /w (5), /x (4, not numbers of up to 64 bits); write one"),
    "weights behind a link": (["--weights", "square.h5:link"], '"link" is a link, and links are not followed here; name what it leads to'),
    "an order below all": (["--metric", "minkowski", "--p", "-inf"], "p must be larger than 0, and is -inf"),
    "a variance of one sample": (["--metric", "seuclidean", "--dataset", "one"], "one sample has no variance; give the features one with --variance, or use --metric euclidean"),
    "a metric that is not there": (["--metric", "kulczynski1"], "the metrics are sqeuclidean, euclidean, cityblock"),
    "weights that are not there": (["--weights", "none.h5"], "none.h5 cannot be opened"),
}


@pytest.mark.parametrize("given, words", REFUSED.values(), ids=REFUSED)
def test_bad_parameters_are_refused_in_a_sentence_on_any_ranks(work, given, words):
    vectors = {
        "good": [1, 2, 3, 4], "long": [1, 2, 3, 4, 5], "negative": [1, 2, -1, 0], "nan": [1, 2, np.nan, 0],
        "zero": [0, 0, 0, 0], "holes": [1, 0, 1, 0], "apart": [1, 1e-60, 1, 1], "wide": [1, 1e60, 1, 1], "far": [1, 1e-300, 1, 1], "huge": [1e30, 1, 0, 1],
    }  # fmt: skip
    for name, values in vectors.items():
        with h5py.File(work / f"{name}.h5", "w") as file:
            file["v"] = np.array(values, dtype="f8")
    x = samples(12, 4, 8)
    constant = x.copy()
    constant[:, 2] = 5
    with h5py.File(work / "x.h5", "w") as file:
        file["samples"], file["constant"], file["one"] = x, constant, x[:1]
    with h5py.File(work / "partly.h5", "w") as file:
        file.create_dataset("v", (4,), "f8", chunks=(2,))[:1] = 1
    with h5py.File(work / "packed.h5", "w") as file:
        file["v"] = np.ones(4)
        file["v"].attrs["scale_factor"] = 2.0
    with h5py.File(work / "square.h5", "w") as file:
        file["v"], file["w"], file["x"], file["link"] = np.ones((2, 2)), np.ones(5), [b"1"] * 4, h5py.SoftLink("/w")
    if "--dataset" not in given:
        given = [*given, "--dataset", "samples"]
    for ranks in (0, 3):
        told = work.pairdist("compute", "x.h5", "-o", "out.h5", *given, ranks=ranks, status=(1, 2)).stderr
        assert words in told, told
        assert not list(work.folder.glob("out.h5*"))
    # that of the samples is not looked at before they are read, nor are they when a run is planned
    if not {"constant", "one"} & set(given):
        assert words in work.pairdist("plan", "x.h5", *given, status=(1, 2)).stderr


@pytest.mark.parametrize("weights", (np.array([True, False, True, True]), np.ones((1, 4)), np.ones((4, 1), "f2"), np.arange(4, dtype=">u2")))
def test_weights_as_people_write_them_and_where_a_run_tells_them(work, weights):
    x = samples(12, 4, 8)
    with h5py.File(work / "w.h5", "w") as file:
        file["groups/w"], file["n"] = weights, 3
    work.write("x", x)
    done = work.pairdist("compute", "x.h5", "-o", "out.h5", "--metric", "cityblock", "--weights", "w.h5", "--json", "run.json")
    assert_close(distances(work / "out.h5"), cdist(x, x, "cityblock", w=weights.ravel().astype("f8")), "f8", "weights")
    assert f"weights: {work / 'w.h5'}:/groups/w" in done.stderr
    record = json.loads((work / "run.json").read_text())
    assert record["weights"]["from"] == f"{work / 'w.h5'}:/groups/w"
    assert record["weights"]["from"] in done.stdout


def test_distances_that_are_no_numbers_or_lost_their_digits_are_told(work):
    x = samples(12, 4, 8).astype("f4")
    work.write("x", x)
    for metric, why in (("cosine", "a row of zeros has no direction"), ("correlation", "a row whose features are all equal"), ("braycurtis", "both parts of the quotient are 0")):
        assert why in work.pairdist("compute", "x.h5", "--no-output", "--metric", metric).stderr
    with h5py.File(work / "w.h5", "w") as file:
        file["w"] = 1e-300 * np.array([1, 2, 3, 4])
    for metric in (["cityblock"], ["sqeuclidean"], ["minkowski", "--p", "0.5"]):
        told = work.pairdist("compute", "x.h5", "--no-output", "--metric", *metric, "--weights", "w.h5").stderr
        assert "all distances have lost digits, or are 0" in told and "scale the samples or the weights" in told



def test_a_quotient_that_is_infinite_is_no_distance_that_is_too_large(work):
    x, y = np.array([[1.0, 2.0]], dtype="f4"), np.array([[-1.0, -2.0]], dtype="f4")
    work.write("x", x)
    work.write("y", y)
    told = work.pairdist("compute", "x.h5", "--against", "y.h5", "-o", "out.h5", "--metric", "braycurtis").stderr
    assert "too large" not in told
    assert distances(work / "out.h5")[0, 0] == np.inf == cdist(x, y, "braycurtis")[0, 0]


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
