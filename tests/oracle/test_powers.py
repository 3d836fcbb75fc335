"""minkowski of any order and jensenshannon: against extended precision, and against SciPy within its own error."""

import h5py
import numpy as np
import pytest
from conftest import distances
from scipy.spatial.distance import cdist, pdist, squareform

UNIT = {"f8": 2.0**-53, "f4": 2.0**-24}


def alone(work, x, y, *given):
    return distances(work.compute(x, y, *given, "--force"))


def with_every_level(work, x, y, *given):
    """Distances, which have the same bits on every SIMD level that this machine has, for any ranks and tiles."""
    first = alone(work, x, y, *given)
    for level, ranks, tile in (("avx2", 1, "16"), ("portable", 2, "7"), (None, 3, "30")):
        environment = {"PAIRDIST_SIMD": level} if level else {}
        other = distances(work.compute(x, y, *given, "--tile", tile, "--force", ranks=ranks, env=environment))
        np.testing.assert_array_equal(first.view(f"u{first.itemsize}"), other.view(f"u{first.itemsize}"))
    return first


def minkowski(x, y, p, w):
    """In extended precision."""
    x, y, w = (np.asarray(values, np.longdouble) for values in (x, y, w))
    with np.errstate(all="ignore"):
        return np.array([((w * abs(row - y) ** np.longdouble(p)).sum(1)) ** (1 / np.longdouble(p)) for row in x]).astype("f8")


@pytest.mark.parametrize("dtype", ("f8", "f4"))
@pytest.mark.parametrize("p", (0.1, 0.3, 1.001, 1.9, np.pi, 3.2, 5.8, 7.99, 9.0, 32.0))
def test_powers_of_any_order_have_all_their_digits(work, p, dtype):
    if dtype == "f4" and p > 8:
        work.write("x", np.eye(3, dtype="f4"))
        told = work.pairdist("compute", "x.h5", "--no-output", "--metric", "minkowski", "--p", str(p), status=(2,)).stderr
        assert f"--p {p:g}: powers of differences would leave the range of f32; use --dtype f64" in told
        return
    rng = np.random.default_rng(1)
    for d in (1, 7, 300):
        x, y = (rng.normal(size=(n, d)).astype(dtype) for n in (41, 29))
        y[5], y[6] = x[7], np.nextafter(x[8], np.array(9, dtype))
        w = rng.random(d)
        w[d // 2 : d // 2 + 2] = 0 if d > 1 else 1
        with h5py.File(work / "w.h5", "w") as file:
            file["w"] = w
        for weights, given in ((np.ones(d), ()), (w, ("--weights", "w.h5"))):
            compute = with_every_level if d == 7 else alone
            got = compute(work, x, y, "--metric", "minkowski", "--p", str(p), *given)
            expected = minkowski(x, y, p, weights)
            lost = 1e-30 if p > 1 else 0
            # of the sum of up to 256 terms, its root and the power
            allowed = UNIT[dtype] * (4 + (min(d, 256) + p + 8) / p)
            with np.errstate(over="ignore"):
                np.testing.assert_allclose(got, expected.astype(dtype), rtol=allowed, atol=lost, err_msg=f"{d} features")
            with np.errstate(all="ignore"):
                of_scipy = cdist(x.astype("f8"), y.astype("f8"), "minkowski", p=p, w=weights)
            np.testing.assert_allclose(got, of_scipy.astype(dtype), rtol=allowed + 1e-13, atol=max(lost, 1e-15))
            work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("dtype, p, magnitudes", (("f8", 3.2, (1e-300, 1e-150, 1e150, 1e307)), ("f8", 31.9, (1e-300, 1e300)), ("f4", 7.7, (1e-37, 1e-20, 1e20, 1e37))))
def test_orders_of_samples_of_any_magnitude(work, dtype, p, magnitudes):
    x = np.random.default_rng(2).random((30, 12))
    expected = minkowski(x, x, p, np.ones(12))
    for magnitude in magnitudes:
        got = distances(work.compute((magnitude * x).astype(dtype), None, "--metric", "minkowski", "--p", str(p), "--force", ranks=2))
        np.testing.assert_allclose(got / magnitude, expected, rtol={"f8": 1e-13, "f4": 2e-5}[dtype])
        work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("dtype", ("f8", "f4"))
@pytest.mark.parametrize("p", (0.001, 0.01, 0.05))
def test_small_orders_of_rows_that_differ_in_one_feature(work, p, dtype):
    for d, magnitude in ((2, 1.0), (10, 1.0), (784, 255.0)):
        x = np.full((3, d), 0.5 * magnitude, dtype)
        x[1, d // 2], x[2, 0] = 0.75 * magnitude, 0.5 * magnitude
        got = distances(work.compute(x, None, "--metric", "minkowski", "--p", str(p), "--force"))
        expected = 0.25 * magnitude * np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
        np.testing.assert_allclose(got, expected, rtol=40 * UNIT[dtype] / p)
        work.pairdist("verify", "out.h5", "--all")


def test_a_small_order_whose_root_is_too_large_for_the_type_is_told_with_its_way_out(work):
    work.write("x", np.random.default_rng(8).normal(size=(13, 50)))
    told = work.pairdist("compute", "x.h5", "--no-output", "--metric", "minkowski", "--p", "0.001").stderr
    assert "some distances are infinite: they are too large for f64; use a larger --p, or scale the samples" in told
    assert "infinite" not in work.pairdist("compute", "x.h5", "--no-output", "--metric", "minkowski", "--p", "0.1").stderr


def test_large_and_small_weights_of_small_powers(work):
    for weight in (1e-18, 1e18):
        with h5py.File(work / "w.h5", "w") as file:
            file["w"] = np.full(12, weight)
        for value in (2.58e-26, 1e-10, 1e20):
            x = np.array([np.zeros(12), np.full(12, value)], "f4")
            got = distances(work.compute(x, None, "--metric", "minkowski", "--p", "1.9", "--weights", "w.h5", "--force"))
            np.testing.assert_allclose(got[0, 1], np.float64(x[1, 0]) * (12 * weight) ** (1 / 1.9), rtol=1e-5)


@pytest.mark.parametrize("dtype, p, offset", (("f8", 32.0, 1e11), ("f8", 31.3, 1.7e9), ("f4", 7.9, 1e4), ("f8", 8.5, 1e13)))
def test_high_orders_of_samples_far_from_the_origin(work, dtype, p, offset):
    x = (offset + np.random.default_rng(6).normal(size=(20, 4))).astype(dtype)
    got = distances(work.compute(x, None, "--metric", "minkowski", "--p", str(p)))
    np.testing.assert_allclose(got, minkowski(x, x, p, np.ones(4)), rtol=40 * UNIT[dtype])


def jensenshannon(x, y):
    """In extended precision, where no digits cancel."""
    with np.errstate(all="ignore"):
        p, q = (rows.astype(np.longdouble) / rows.astype(np.longdouble).sum(1, keepdims=True) for rows in (x, y))
        result = np.empty((len(p), len(q)))
        for place, row in enumerate(p):
            total = row + q
            t = np.where(total > 0, abs(row - q) / total, 0)
            series = sum(t ** (2 * k) / (k * (2 * k - 1)) for k in range(1, 20))
            logarithms = (1 + t) * np.log1p(t) + np.where(t < 1, (1 - t) * np.log1p(-t), 0)
            result[place] = np.sqrt((total * np.where(t < 0.125, series, logarithms)).sum(1) / 4)
    return result


def one_each(n, d):
    return np.eye(d)[np.arange(n) % d]


# rows of shares, or what becomes such
DISTRIBUTIONS = {
    "uniform": lambda rng, n, d: rng.random((n, d)),
    "few above 0": lambda rng, n, d: rng.random((n, d)) * (rng.random((n, d)) < 0.2) + one_each(n, d),
    "counts": lambda rng, n, d: 1.0 * rng.poisson(2, (n, d)) + one_each(n, d),
    "of all magnitudes": lambda rng, n, d: 10 ** rng.uniform(-30, 6, (n, d)),
    "nearly alike": lambda rng, n, d: (1 + rng.random(d)) * (1 + 1e-6 * rng.random((n, d))),
}


@pytest.mark.parametrize("dtype", ("f8", "f4"))
@pytest.mark.parametrize("rows", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_jensenshannon_has_all_its_digits(work, rows, dtype):
    for d in (1, 2, 33, 1031):
        x, y = (rows(np.random.default_rng(seed), n, d).astype(dtype) for n, seed in ((21, 3), (13, 3 if d == 33 else 4)))
        y[5], y[6] = x[7], 4 * x[8]
        compute = with_every_level if d == 33 else alone
        got = compute(work, x, y, "--metric", "jensenshannon")
        expected = jensenshannon(x, y)
        # shares are rounded, and up to 256 terms are summed
        allowed = UNIT[dtype] * (60 + min(d, 256) / 2)
        np.testing.assert_allclose(got, expected, rtol=allowed, atol=UNIT[dtype] + 300 * UNIT["f8"], err_msg=f"{d} features")
        assert got[7, 5] == 0 and got[8, 6] == 0
        # of what is near 0 SciPy has half of the digits
        with np.errstate(invalid="ignore"):
            of_scipy = np.nan_to_num(cdist(x.astype("f8"), y.astype("f8"), "jensenshannon"))  # NaN where its sum is below 0
        np.testing.assert_allclose(got, of_scipy, rtol=1e-5, atol=1e-7)
        work.pairdist("verify", "out.h5", "--all")


def test_jensenshannon_of_what_is_no_distribution_is_infinite_as_in_scipy(work):
    x = np.array([[0.1, 0.2, 0.7], [1, 2, 7], [0, 0, 0], [-1, 2, 3], [-1, -1, -2], [0, 1, 0], [1, 0, 0], [5e-324, 0, 0], [1e308, 1e308, 1e308]])
    for dtype in ("f8", "f4"):
        rows = x[:7].astype(dtype)
        got = distances(work.compute(rows, None, "--metric", "jensenshannon", "--force", ranks=2))
        np.testing.assert_allclose(got, cdist(rows.astype("f8"), rows.astype("f8"), "jensenshannon"), rtol=1e-6, atol=1e-7)
    # sums beyond the range of numbers too
    got = distances(work.compute(x, None, "--metric", "jensenshannon", "--force"))
    assert got[7, 6] == 0 and got[8, 6] == pytest.approx(got[5, 8]) and np.isfinite(got[7:, 5:]).all()
    told = work.pairdist("compute", "x.h5", "--no-output", "--metric", "jensenshannon").stderr
    assert "some distances are infinite: a sample with a negative value, or of zeros alone, is no distribution; leave such samples out" in told


def test_distances_too_small_for_the_type_that_they_are_stored_in_are_told(work):
    work.write("x", 1 + 1e-10 * np.random.default_rng(7).random((9, 40)))
    told = work.pairdist("compute", "x.h5", "-o", "out.h5", "--metric", "js", "--store", "f16").stderr
    assert "all distances are below 6.103515625e-5, of which --store f16 keeps few digits, or none; choose a wider type" in told
    for store, metric in (("f32", "js"), ("f16", "hamming")):
        assert "of which --store" not in work.pairdist("compute", "x.h5", "-o", "out.h5", "--metric", metric, "--store", store, "--force").stderr


def test_jensenshannon_of_one_input_as_pdist_and_nearest_ones(work):
    x = np.random.default_rng(5).random((60, 20))
    out = work.compute(x, None, "--metric", "js", "--matrix", "--condensed", "--neighbors", "5", "--radius", "0.2", ranks=3)
    with h5py.File(out) as file:
        matrix = file["distances"][:]
        np.testing.assert_allclose(matrix, squareform(pdist(x, "jensenshannon")), atol=1e-7)
        np.testing.assert_array_equal(squareform(file["condensed"][:]), matrix)
        np.fill_diagonal(matrix, np.inf)
        np.testing.assert_array_equal(file["neighbors/distances"][:], np.sort(matrix, axis=1)[:, :5])
        assert len(file["radius/data"]) == (matrix <= 0.2).sum()
    work.pairdist("verify", "out.h5", "--all")
