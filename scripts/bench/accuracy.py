"""Largest relative errors of distances on hard samples, as Markdown tables: squared Euclidean ones beside those of other programs, and
those of every other metric beside SciPy's.

The error of an entry is |D - exact| / exact; a star says that the distance of some equal samples is not 0. The exact value is that of
the samples as the type holds them, computed in extended precision.
"""

import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

from bench import ours, peers
from bench.failure import Failure
from bench.works import Work

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


def parallel(random, n, d, dtype):
    """Multiples of one row, but for a millionth."""
    row = np.random.default_rng(1).normal(size=d)
    return random.uniform(0.1, 10, (n, 1)) * (row + 1e-6 * random.normal(size=(n, d)))


def correlated(random, n, d, dtype):
    """Rows whose correlation is 0.95."""
    row = np.random.default_rng(1).normal(size=d)
    return np.sqrt(0.95) * row + np.sqrt(0.05) * random.normal(size=(n, d))


def some_zeros(random, n, d, dtype):
    """Rows of zeros, and zeros in others."""
    samples = random.normal(size=(n, d)) * (random.random((n, d)) < 0.7)
    samples[:: max(2, n // 4)] = 0
    return samples


def of_magnitude(exponent):
    """Near the ends of the range of numbers."""
    return lambda random, n, d, dtype: random.normal(size=(n, d)) * np.float64(np.finfo(dtype).max) ** exponent


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
    def compute(work, x, y, out):
        import h5py

        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("x.h5", "y.h5", "out.h5")]
            for path, samples in zip(paths, (x, y), strict=False):
                with h5py.File(path, "w") as file:
                    file["samples"] = samples
            layout = next(iter(ours.LAYOUTS))
            options = "--against", paths[1], "-o", paths[2], "--metric", work.metric, "--kernel", kernel
            ours.pairdist(layout, paths[0], *options)
            with h5py.File(paths[2]) as file:
                return file["distances"][()]

    return compute


def in_f64(fill):
    return lambda work, x, y, out: fill(work, x.astype("f8"), y.astype("f8"), out.astype("f8"))


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
        got = np.asarray(fill(Work("compute", "sqeuclidean", len(x), x.shape[1], "", 0), x, y, out)).astype(np.longdouble)
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


# ---- every other metric ----

HARD = CASES | {
    "parallel but for 1e-6": pairs_of(100, 50, parallel),
    "correlation 0.95": pairs_of(100, 300, correlated),
    "rows and values of 0": pairs_of(100, 50, some_zeros),
    "huge": pairs_of(50, 20, of_magnitude(0.95)),
    "tiny": pairs_of(50, 20, of_magnitude(-0.9)),
}


def direction(samples, weights):
    scaled = samples * np.sqrt(weights)
    return scaled / np.sqrt((scaled * scaled).sum(-1, keepdims=True))


def deviation(samples, weights):
    return direction(samples - (weights * samples).sum(-1, keepdims=True) / weights.sum(), weights)


def half_square(prepare):
    return lambda x, y, w, p: ((prepare(x, w) - prepare(y, w)) ** 2).sum(-1) / 2


def divergence(x, y, w, p):
    """Of shares: t is |p - q| / (p + q), and the series is where logarithms would cancel."""
    shares = [np.where((rows < 0).any(-1, keepdims=True), np.nan, rows / rows.sum(-1, keepdims=True)) for rows in (x, y)]
    total, apart = shares[0] + shares[1], abs(shares[0] - shares[1])
    t = np.where(total > 0, apart / total, 0)
    series = sum(t ** (2 * k) / (k * (2 * k - 1)) for k in range(1, 20))
    logarithms = (1 + t) * np.log1p(t) + np.where(t < 1, (1 - t) * np.log1p(-t), 0)
    return np.sqrt((total * np.where(t < 0.125, series, logarithms)).sum(-1) / 4)


# from differences, in extended precision
EXACT = {
    "sqeuclidean": lambda x, y, w, p: (w * (x - y) ** 2).sum(-1),
    "euclidean": lambda x, y, w, p: np.sqrt((w * (x - y) ** 2).sum(-1)),
    "cityblock": lambda x, y, w, p: (w * abs(x - y)).sum(-1),
    "chebyshev": lambda x, y, w, p: abs(x - y).max(-1),
    "minkowski": lambda x, y, w, p: (w * abs(x - y) ** p).sum(-1) ** (1 / np.longdouble(p)),
    "seuclidean": lambda x, y, w, p: np.sqrt((w * (x - y) ** 2).sum(-1)),
    "cosine": half_square(direction),
    "correlation": half_square(deviation),
    "canberra": lambda x, y, w, p: np.nansum(w * (abs(x - y) / (abs(x) + abs(y))), -1),
    "braycurtis": lambda x, y, w, p: (w * abs(x - y)).sum(-1) / (w * abs(x + y)).sum(-1),
    "jensenshannon": divergence,
    "hamming": lambda x, y, w, p: (w * (x != y)).sum(-1) / w.sum(),
}
# metric, order, whether with weights
METRICS = (
    *((metric, None, False) for metric in EXACT if metric not in ("sqeuclidean", "minkowski")),
    *(("minkowski", p, False) for p in (0.5, 1.5, 3, 3.2, 8)),
    *((metric, None, True) for metric in EXACT if metric not in ("chebyshev", "minkowski", "seuclidean", "jensenshannon")),
    ("minkowski", 3, True),
)


def errors_of(work, x, y):
    """The largest error of pairdist, the part of its bound as `verify` has it, and the largest error of SciPy in f64."""
    import h5py
    from scipy.spatial.distance import cdist

    given = work.parameters()
    given |= {name: np.float32(given[name]).astype("f8") for name in ("w", "V") if name in given}
    wide = [samples.astype(np.longdouble) for samples in (x, y)]
    weights = given.get("w", 1 / given["V"].astype(np.longdouble) if "V" in given else np.ones(x.shape[1]))
    with np.errstate(all="ignore"):
        expected = np.array([EXACT[work.metric](row, wide[1], weights.astype(np.longdouble), work.p) for row in wide[0]])
        scipy = cdist(x.astype("f8"), y.astype("f8"), work.metric, **given)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("x.h5", "y.h5", "out.h5", "given.h5")]
        for path, samples in zip(paths, (x, y), strict=False):
            with h5py.File(path, "w") as file:
                file["samples"] = samples
        options = ["--metric", work.metric, *(("--p", work.p) if work.p else ())]
        for name, option in (("w", "--weights"), ("V", "--variance")):
            if name in given:
                with h5py.File(paths[3], "w") as file:
                    file["given"] = given[name]
                options += [option, paths[3]]
        ours.pairdist(next(iter(ours.LAYOUTS)), paths[0], "--against", paths[1], "-o", paths[2], *options)
        with h5py.File(paths[2]) as file:
            got = file["distances"][()]
        of_bound = float(re.search(r"([0-9.]+) % of its bound", ours.output_of("verify", paths[2], "--all")).group(1))
    return relative(got, expected), of_bound, relative(scipy, expected)


def relative(got, expected):
    """Of those that the type can tell from 0 and from infinity."""
    limits = np.finfo(got.dtype)
    counted = (expected > limits.tiny / limits.eps) & (expected < limits.max / 2)
    return float(np.max(abs(got - expected)[counted] / expected[counted], initial=0))


def table_of_metrics(names=()):
    """Of all metrics, or of those with these names."""
    print("\n| metric | f32 | of its bound | f64 | of its bound | SciPy (in f64) |\n|---|---|---|---|---|---|")
    for metric, p, weighted in METRICS:
        name = Work("compute", metric, 1, 1, "", 0, p=p, weighted=weighted).distance
        if names and name not in names:
            continue
        worst = np.zeros(5)
        for make in HARD.values():
            found = []
            for kind, (x, y) in ((kind, make(kind)) for kind in TYPES.values()):
                work = Work("compute", metric, len(x), x.shape[1], "", 0, p=p, weighted=weighted)
                found += errors_of(work, x, y)
            worst = np.fmax(worst, [*found[:2], *found[3:]])
        f32, f32_bound, f64, f64_bound, scipy = worst
        name = f"{name.replace('weighted-', '')}{', weights' if weighted else ''}"
        print(f"| {name} | {f32:.0e} | {f32_bound:.0f} % | {f64:.0e} | {f64_bound:.0f} % | {scipy:.0e} |", flush=True)


def main(names):
    warnings.simplefilter("ignore")
    if names:
        table_of_metrics(names)
        return
    for dtype, kind in TYPES.items():
        programs = {name: fill for name, fill in PROGRAMS.items() if dtype == "f32" or name != "faiss"}
        print(f"\n| {dtype} | " + " | ".join(programs) + " |\n|---|" + "---|" * len(programs))
        for case, make in CASES.items():
            x, y = make(kind)
            expected = exact(x, y)
            errors = [largest_error(fill, x, y, expected) for fill in programs.values()]
            print(f"| {case} | " + " | ".join(errors) + " |", flush=True)
    table_of_metrics()


if __name__ == "__main__":
    main(sys.argv[1:])
