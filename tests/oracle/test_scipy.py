"""Distances against scipy.spatial.distance.cdist: the same bits for cityblock in f64, else within the bound of `tolerance`."""

import h5py
import numpy as np
import pytest
from conftest import distances
from scipy.spatial.distance import cdist
from tolerance import DTYPES, GRAM, METRICS, assert_bits_of_scipy, assert_within_bound

# name: n, m (None: one input), d, ranks
SIZES = {
    "100x10": (100, None, 10, 1),
    "200x25": (200, None, 25, 2),
    "1000x50": (1000, None, 50, 3),
    "2000x50": (2000, None, 50, 2),
    "1000x300": (1000, None, 300, 2),
    "997x1013x53": (997, 1013, 53, 3),
    "1x1": (1, None, 1, 1),
    "5 samples on 8 ranks": (5, None, 3, 8),
    "1 sample against 9": (1, 9, 4, 2),
    "more features than a block": (31, 29, 1031, 2),
}
HEADLINE = {"12000x50": (12000, None, 50, 2)}


def samples(n, d, seed=0, dtype="f8"):
    """The generator of the course: uniform in [0, 10)."""
    return (10 * np.random.default_rng(seed).random((n, d))).astype(dtype)


def inputs(size, dtype="f8"):
    n, m, d, ranks = size
    return samples(n, d, 1, dtype), None if m is None else samples(m, d, 2, dtype), ranks


def near_duplicates(rng):
    """Copies of three rows, each with one feature moved to a neighbouring f32 number."""
    x = np.repeat(1 + rng.random((3, 40), dtype="f4"), 30, axis=0)
    moved = np.arange(len(x)), rng.integers(0, 40, len(x))
    x[moved] = np.nextafter(x[moved], np.float32(np.inf))
    return x


def graded(rng):
    """Distances from all of the norm down to a ten thousandth: on both sides of the guard's threshold, and close to it."""
    return 10 + np.logspace(1, -3, 200)[:, None] * rng.normal(size=(200, 16))


def ones_and_slightly_more(d):
    return lambda rng: np.repeat([[1.0], [1 + 1e-4]], [2, 2], axis=0) * np.ones(d)


# samples on which |x|^2 + |y|^2 - 2 x.y cancels
HOSTILE = {
    "1000 + 1e-4 u": lambda rng: 1000 + 1e-4 * rng.random((200, 50)),
    "values around 5e5": lambda rng: 5e5 + 10 * rng.random((150, 40)),
    "tight clusters far from the origin": lambda rng: np.repeat(1e3 * rng.random((5, 33)), 30, axis=0) + 1e-3 * rng.normal(size=(150, 33)),
    "near duplicates": near_duplicates,
    "distances of every size": graded,
    "1 and 1 + 1e-4, one feature": ones_and_slightly_more(1),
    "1 and 1 + 1e-4, a million features": ones_and_slightly_more(1_000_000),
}
KERNELS = [(metric, kernel) for metric in METRICS for kernel in (("auto", "gemm", "direct") if metric in GRAM else ("auto",))]


@pytest.mark.parametrize("size", (SIZES | HEADLINE).values(), ids=SIZES | HEADLINE)
def test_cityblock_f64_has_the_bits_of_scipy(work, size):
    x, y, ranks = inputs(size)
    out = work.compute(x, y, "--metric", "cityblock", ranks=ranks)
    with h5py.File(out, "r") as file:
        assert_bits_of_scipy(file["distances"], x, x if y is None else y, "cityblock")


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_stays_within_its_bound(work, metric, dtype, size):
    x, y, ranks = inputs(size, dtype)
    result = distances(work.compute(x, y, "--metric", metric, ranks=ranks))
    assert result.dtype == dtype
    assert_within_bound(result, x, x if y is None else y, metric)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric, kernel", KERNELS)
def test_hostile_samples_stay_within_the_bound_and_equal_rows_are_at_zero(work, metric, kernel, dtype, data):
    x = data(np.random.default_rng(3)).astype(dtype)
    x = np.concatenate([x, x[::7]])  # equal rows, far from the diagonal
    result = distances(work.compute(x, None, "--metric", metric, "--kernel", kernel, "--tile", "64"))
    assert_within_bound(result, x, x, metric, kernel)
    assert np.array_equal(result, result.T), "not symmetric"
    rows = [row.tobytes() for row in x]
    assert all(result[i, j] == 0 for i in range(len(x)) for j in range(i + 1) if rows[i] == rows[j])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("metric, kernel", KERNELS)
def test_equal_rows_of_two_inputs_are_at_zero(work, metric, kernel, dtype):
    x = HOSTILE["1000 + 1e-4 u"](np.random.default_rng(4)).astype(dtype)
    result = distances(work.compute(x, x[::-1].copy(), "--metric", metric, "--kernel", kernel, ranks=2))
    assert not result[::-1].diagonal().any()
    assert_within_bound(result, x, x[::-1], metric, kernel)


def test_every_name_of_scipy_is_understood_in_any_case(work):
    from scipy.spatial.distance import _METRICS  # SciPy lists its other names nowhere else

    work.write("x", np.eye(5, 3))
    names = {name: metric for metric in _METRICS for name in _METRICS[metric].aka}
    assert len(names) >= 40
    for name, metric in [*names.items(), *((name.upper(), metric) for name, metric in names.items())]:
        assert metric == _METRICS[metric].canonical_name
        done = work.pairdist("compute", "x.h5", "--no-output", "--metric", name)
        assert f" {metric}," in done.stdout or f" {metric} (p = 2)," in done.stdout
