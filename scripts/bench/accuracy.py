"""Largest relative errors of squared Euclidean distances on hard samples, as a Markdown table.

The error of an entry is |D - exact| / exact; a star says that the distance of some equal samples is not 0. The exact value is that of
the samples as the type holds them, summed in extended precision.
"""

import tempfile
import warnings
from pathlib import Path

import numpy as np

from bench import ours, peers
from bench.failure import Failure

METRIC = "sqeuclidean"
TYPES = {"f32": np.float32, "f64": np.float64}


def pairs_of(n, d, make):
    """Samples x and y; the first rows of y are those of x, so that some distances are 0."""

    def samples(dtype):
        random = np.random.default_rng(0)
        x, y = (np.asarray(make(random, n, d, dtype), dtype) for _ in "xy")
        y[: n // 8] = x[: n // 8]
        return x, y

    return samples


def ones_and_neighbours(d):
    return lambda dtype: (np.ones((4, d), dtype), np.full((4, d), 1 + 1e-4, dtype))


def clusters(random, n, d, dtype):
    return 100 * random.integers(0, 4, (n, 1)) + 1e-3 * random.normal(size=(n, d))


def wide_range(random, n, d, dtype):
    """Rows of all magnitudes whose squares the type holds."""
    limit = np.log10(np.finfo(dtype).max) / 2 - 2
    return random.normal(size=(n, d)) * 10 ** random.uniform(-limit / 2, limit, (n, 1))


def near_duplicates(random, n, d, dtype):
    base = np.random.default_rng(1).normal(size=(n, d)).astype(dtype)
    return base * (1 + random.integers(0, 3, (n, d)) * np.finfo(dtype).eps)


CASES = {
    "uniform in [0, 1), 50 features": pairs_of(200, 50, lambda random, n, d, dtype: random.random((n, d))),
    "normal, 784 features": pairs_of(100, 784, lambda random, n, d, dtype: random.normal(size=(n, d))),
    "1000 + 1e-4 u, 50 features": pairs_of(200, 50, lambda random, n, d, dtype: 1000 + 1e-4 * random.random((n, d))),
    "5e5 + u, 50 features": pairs_of(200, 50, lambda random, n, d, dtype: 5e5 + random.random((n, d))),
    "clusters of 1e-3 at 0, 100, 200, 300": pairs_of(200, 50, clusters),
    "near-duplicates, a few units in the last place": pairs_of(200, 50, near_duplicates),
    "rows of all magnitudes": pairs_of(200, 16, wide_range),
    "1 against 1 + 1e-4, one feature": ones_and_neighbours(1),
    "1 against 1 + 1e-4, a million features": ones_and_neighbours(1_000_000),
    "uniform in [0, 1), a million features": pairs_of(8, 1_000_000, lambda random, n, d, dtype: random.random((n, d))),
}


def exact(x, y):
    """Squared distances in extended precision."""
    result = np.empty((len(x), len(y)), np.longdouble)
    for i, row in enumerate(x.astype(np.longdouble)):
        for j, other in enumerate(y):
            difference = row - other
            result[i, j] = np.dot(difference, difference)
    return result


def of_pairdist(kernel):
    def compute(metric, x, y, out):
        import h5py

        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("x.h5", "y.h5", "out.h5")]
            for path, samples in zip(paths, (x, y), strict=False):
                with h5py.File(path, "w") as file:
                    file["samples"] = samples
            layout = next(iter(ours.LAYOUTS))
            options = "--against", paths[1], "-o", paths[2], "--metric", metric, "--kernel", kernel
            ours.pairdist(layout, paths[0], *options)
            with h5py.File(paths[2]) as file:
                return file["distances"][()]

    return compute


def in_f64(fill):
    return lambda metric, x, y, out: fill(metric, x.astype("f8"), y.astype("f8"), out.astype("f8"))


PROGRAMS = {
    "pairdist": of_pairdist("auto"),
    "pairdist, direct": of_pairdist("direct"),
    "SciPy (in f64)": in_f64(peers.scipy_cdist),
    "NumPy, Gram trick": peers.numpy_gram,
    "scikit-learn": peers.sklearn_own,
    "torch": peers.torch_extended,
    "faiss": peers.faiss_pairwise,
}


def largest_error(fill, x, y, expected):
    out = np.zeros((len(x), len(y)), x.dtype)
    try:
        got = np.asarray(fill(METRIC, x, y, out)).astype(np.longdouble)
    except Failure:
        raise
    except Exception as reason:  # a peer that refuses a type or lacks its library
        return f"({type(reason).__name__})"
    # beyond what the type can tell from 0 nothing is relative
    floor = np.longdouble(np.finfo(x.dtype).smallest_subnormal) * x.shape[1] * 2
    error = np.maximum(np.abs(got - expected) - floor, 0)
    positive = expected > 0
    worst = float(np.max(error[positive] / expected[positive], initial=0))
    star = "" if np.all(error[~positive] == 0) else " *"
    return ("0" if worst == 0 else f"{worst:.0e}") + star


def main():
    warnings.simplefilter("ignore")
    for dtype, kind in TYPES.items():
        programs = {name: fill for name, fill in PROGRAMS.items() if dtype == "f32" or name != "faiss"}
        print(f"\n| {dtype} | " + " | ".join(programs) + " |\n|---|" + "---|" * len(programs))
        for case, make in CASES.items():
            x, y = make(kind)
            expected = exact(x, y)
            errors = [largest_error(fill, x, y, expected) for fill in programs.values()]
            print(f"| {case} | " + " | ".join(errors) + " |", flush=True)


if __name__ == "__main__":
    main()
