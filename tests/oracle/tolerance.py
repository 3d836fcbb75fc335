"""The error bounds that results are held to: the program's documented one, and SciPy's own."""

import numpy as np
from scipy.spatial.distance import cdist

# ---- the documented constants; the same stand in src/metric and src/kernel ----
BLOCK = 256  # features summed in order; the sums of blocks are added with compensation
TERM_DIRECT = 2  # roundings of a term (x - y)^2 or |x - y|: the difference counts twice when squared
TERM_GRAM = 3  # roundings of a term of |x|^2, |y|^2 or x.y, with those of D^2 = |x|^2 + |y|^2 - 2 x.y
TAU = {"f4": 2.0**-4, "f8": 2.0**-10}  # the Gram value is kept where D^2 >= TAU (|x|^2 + |y|^2)
IN_ORDER = {("cityblock", "f8")}  # summed feature after feature, for the bits of SciPy
GRAM = ("sqeuclidean", "euclidean")  # metrics with a Gram kernel

UNIT_ROUNDOFF = {"f4": 2.0**-24, "f8": 2.0**-53}
SMALLEST = {"f4": 2.0**-149, "f8": 2.0**-1074}
DTYPES = tuple(UNIT_ROUNDOFF)
METRICS = ("sqeuclidean", "euclidean", "cityblock", "chebyshev")


def gamma(k, u):
    """Relative error of k successive roundings: ku / (1 - ku) (Higham 2002, lemma 3.1)."""
    return k * u / (1 - k * u)


def summation_error(metric, dtype, d, roundings):
    """Largest error of a sum over d terms, relative to that of their magnitudes, where a term brings so many roundings.

    In order gamma(d + roundings). In B = ceil(d / 256) blocks, block sums err by gamma(256 + roundings), and their compensated
    sum by u + gamma(B - 1)^2 (Ogita, Rump, Oishi 2005, proposition 4.5).
    """
    u = UNIT_ROUNDOFF[dtype]
    if d <= BLOCK or (metric, dtype) in IN_ORDER:
        return gamma(d + roundings, u)
    of_block, of_blocks = gamma(BLOCK + roundings, u), u + gamma(-(-d // BLOCK) - 1, u) ** 2
    return of_block + of_blocks + of_block * of_blocks


def root(rho):
    """Relative error of the square root of a value with relative error at most rho: about rho / 2.

    |sqrt(1 + e) - 1| = |e| / (1 + sqrt(1 + e)) is largest for e = -rho.
    """
    return rho / (1 + np.sqrt(1 - rho))


def tolerance(expected, norms, metric, dtype, d, kernel="auto", exponent=0):
    """Largest |computed - expected| for each entry; `norms` is |x|^2 + |y|^2 of the entries, `expected` SciPy's in f64.

    Direct kernels: a term takes TERM_DIRECT roundings, so that with sigma = summation_error the relative error is
    rho = sigma(2), for squared distances and cityblock. A maximum does not round: only the difference does, rho = u.

    Gram: |x|^2, |y|^2 and 2 x.y err by at most sigma(3) of themselves, and 2|x.y| <= |x|^2 + |y|^2 = s: together with
    the two last additions D^2 errs by at most 2 sigma(3) s. Kept values have D^2 >= tau s, so rho = 2 sigma(3) / tau at worst;
    we ask of each entry its own 2 sigma(3) s / D^2. Where D^2 < tau s / 2 the guard must have taken the direct kernel (half, since
    computed and true values differ near tau), and rho is the direct one.

    A square root maps rho to root(rho) and rounds once more. Terms may underflow, each to within the smallest number eta
    (twice, with the sum's): 2 d eta.

    Samples scaled by 2^exponent err so in units of the scaled ones. Scaled down, their features may underflow, which adds u and
    2 d eta; distances scaled back may be subnormal, which adds eta.

    SciPy sums in order in f64: gamma(d + 2) with the f64 u, likewise. With |expected - true| <= sigma |true|, the sum of both
    errors is at most (rho + sigma) / (1 - sigma) of the expected value.
    """
    u, u64 = UNIT_ROUNDOFF[dtype], UNIT_ROUNDOFF["f8"]
    maximum = metric == "chebyshev"
    rho = np.full(expected.shape, u if maximum else summation_error(metric, dtype, d, TERM_DIRECT))
    sigma = u64 if maximum else gamma(d + TERM_DIRECT, u64)
    underflow = np.longdouble(2 * d) * SMALLEST[dtype]
    if exponent < 0:
        rho, underflow = rho + 2 * u, 2 * underflow
    degree = 2 if metric == "sqeuclidean" else 1
    expected, norms = np.ldexp(expected, degree * exponent), np.ldexp(norms, 2 * exponent)
    if metric in GRAM and kernel != "direct":
        squared = expected**2 if metric == "euclidean" else expected
        kept = (squared >= TAU[dtype] / 2 * norms) & (squared > 0)
        rho[kept] = np.maximum(rho[kept], 2 * summation_error(metric, dtype, d, TERM_GRAM) * norms[kept] / squared[kept])
    if metric == "euclidean":
        rho, sigma, underflow = root(rho) + u, root(sigma) + u64, np.sqrt(underflow)
    allowed = expected * (rho + sigma) / (1 - sigma) + np.where(expected > 0, underflow, 0)
    return np.ldexp(allowed, -degree * exponent) + (SMALLEST[dtype] if exponent else 0)


def slabs(n, rows=500):
    """Ranges of rows that fit memory easily."""
    return (slice(start, min(start + rows, n)) for start in range(0, n, rows))


def assert_bits_of_scipy(result, x, y, metric):
    """Every entry of the matrix or dataset `result` has the bits of SciPy's."""
    assert result.shape == (len(x), len(y)) and result.dtype == np.float64
    for rows in slabs(len(x)):
        got, expected = np.asarray(result[rows]), cdist(x[rows], y, metric)
        different = np.argwhere(got.view("u8") != expected.view("u8"))
        assert not len(different), f"{len(different)} entries differ in rows {rows}, first {tuple(different[0])} of them"


def assert_within_bound(result, x, y, metric, kernel="auto"):
    """Every entry of the matrix or dataset `result` lies within `tolerance` of SciPy's value for the same samples in f64."""
    dtype = f"f{result.dtype.itemsize}"
    x, y = (np.asarray(z).astype(dtype).astype("f8") for z in (x, y))
    assert result.shape == (len(x), len(y))
    y_norms = np.einsum("ij,ij->i", y, y)
    for rows in slabs(len(x)):
        got, expected = np.asarray(result[rows]).astype("f8"), cdist(x[rows], y, metric)
        norms = np.einsum("ij,ij->i", x[rows], x[rows])[:, None] + y_norms
        allowed = tolerance(expected, norms, metric, dtype, x.shape[1], kernel)
        error = np.abs(got - expected)
        wrong = np.argwhere(~(error <= allowed))
        i, j = wrong[0] if len(wrong) else (0, 0)
        assert not len(wrong), (
            f"{len(wrong)} entries out of bound, first ({rows.start + i}, {j}): "
            f"{got[i, j]!r}, expected {expected[i, j]!r}, error {error[i, j]:.3e}, allowed {allowed[i, j]:.3e}"
        )


def assert_within_exact_bound(result, x, y, metric, exponent, kernel="auto"):
    """Like `assert_within_bound`, for samples of any magnitude, scaled by 2^exponent: against sums in extended precision."""
    dtype = f"f{result.dtype.itemsize}"
    assert np.finfo(np.longdouble).maxexp > 16000, "this machine has no extended precision"
    x, y = (np.asarray(z).astype(dtype).astype(np.longdouble) for z in (x, y))
    assert result.shape == (len(x), len(y))
    expected = np.array([((row - y) ** 2).sum(axis=1) for row in x])
    norms = (x**2).sum(axis=1)[:, None] + (y**2).sum(axis=1)
    expected = np.sqrt(expected) if metric == "euclidean" else expected
    allowed = tolerance(expected, norms, metric, dtype, x.shape[1], kernel, exponent)
    too_large = (expected + allowed > np.finfo(dtype).max) & np.isinf(result)
    wrong = np.argwhere(~((np.abs(result - expected) <= allowed) | too_large))
    i, j = wrong[0] if len(wrong) else (0, 0)
    assert not len(wrong), (
        f"{len(wrong)} entries out of bound, first ({i}, {j}): {result[i, j]!r}, expected {expected[i, j]!r}, allowed {allowed[i, j]!r}"
    )
