"""Samples whose squares are too large or too small for their type, against sums in extended precision."""

import h5py
import numpy as np
import pytest
from conftest import distances
from tolerance import assert_within_exact_bound

# magnitude of the samples, and type
EXTREMES = [(1e-29, "f4"), (1e-42, "f4"), (1e20, "f4"), (3e38, "f4"), (1e-200, "f8"), (1e-310, "f8"), (1e200, "f8"), (1.7e308, "f8")]


def samples(n, magnitude, dtype, seed):
    """Rows of a magnitude, every third one far smaller; the first ones are repeated at the end."""
    rows = magnitude * np.random.default_rng(seed).uniform(-1, 1, (n, 45))
    rows[1::3] *= 2.0**-12
    return np.concatenate([rows, rows[:5]]).astype(dtype)


@pytest.mark.parametrize("inputs", [1, 2])
@pytest.mark.parametrize("kernel", ["gemm", "direct"])
@pytest.mark.parametrize("magnitude, dtype", EXTREMES)
def test_euclidean_distances_of_very_small_and_very_large_samples_are_within_the_bound(work, magnitude, dtype, kernel, inputs):
    x = samples(60, magnitude, dtype, 1)
    y = samples(40, magnitude, dtype, 2) if inputs == 2 else None
    out = work.compute(x, y, "--metric", "euclidean", "--kernel", kernel, "--tile", "16", ranks=3)
    with h5py.File(out) as file:
        exponent = int(file.attrs["scaling_exponent"])
    assert exponent != 0
    result = distances(out)
    assert_within_exact_bound(result, x, x if y is None else y, "euclidean", exponent, kernel)
    if y is None:
        assert np.array_equal(result, result.T)
        assert not result[:5, 60:].diagonal().any(), "equal rows"
    work.pairdist("verify", out, "--all")


@pytest.mark.parametrize("magnitude, dtype", EXTREMES)
def test_squared_distances_of_very_small_and_very_large_samples_are_those_of_exact_arithmetic_in_the_type(work, magnitude, dtype):
    x = samples(30, magnitude, dtype, 3)
    out = work.compute(x, None, "--metric", "sqeuclidean", ranks=2)
    with h5py.File(out) as file:
        exponent = int(file.attrs["scaling_exponent"])
    assert_within_exact_bound(distances(out), x, x, "sqeuclidean", exponent)


def test_f32_rows_near_1e_29_have_the_distances_of_scipy(work):
    from scipy.spatial.distance import cdist

    x = (1e-29 * np.random.default_rng(4).normal(size=(50, 60))).astype("f4")
    result = distances(work.compute(x, None, "--metric", "euclidean", ranks=2))
    assert np.allclose(result, cdist(x.astype("f8"), x.astype("f8")), rtol=1e-5, atol=0)
