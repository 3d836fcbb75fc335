"""mahalanobis: against SciPy, and in extended precision where SciPy's inverse loses digits."""

import json

import h5py
import numpy as np
import pytest
from conftest import distances
from scipy.spatial.distance import cdist, pdist, squareform
from tolerance import TAU, gamma

U = 2.0**-53
EXTENDED = np.longdouble


def correlated(n, d, seed=0, strength=1.0):
    """Samples whose features are mixed, some way from the origin."""
    rng = np.random.default_rng(seed)
    mixed = np.eye(d) + strength * rng.normal(size=(d, d)) / np.sqrt(d)
    return rng.normal(size=(n, d)) @ mixed + 10 * rng.normal(size=d)


def near_duplicates(n, d, seed=0):
    """Features that are almost combinations of others, and samples that are almost equal."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    x[:, d // 2 :] = x[:, : d - d // 2] + 1e-4 * rng.normal(size=(n, d - d // 2))
    x[n // 2 :] = x[: n - n // 2] + 1e-7 * rng.normal(size=(n - n // 2, d))
    return x


def pivoted(v):
    """Order and factor of a matrix, whose features are divided by the roots of the diagonal: the largest pivot first."""
    scale = np.sqrt(np.diag(v))
    left, d = v / np.outer(scale, scale), len(v)
    order, factor = np.arange(d), np.zeros((d, d), EXTENDED)
    for k in range(d):
        best = k + int(np.argmax(np.diag(left)[k:]))
        for part in (left, left.T, factor, order):
            part[[k, best]] = part[[best, k]]
        factor[k:, k] = left[k:, k] / np.sqrt(left[k, k])
        left[k:, k:] -= np.outer(factor[k:, k], factor[k:, k])
    return scale, order, factor


def solved(factor, right):
    """factor^-1 right, by forward substitution."""
    z = np.array(right, EXTENDED)
    for k in range(len(z)):
        z[k] = (z[k] - factor[k, :k] @ z[:k]) / factor[k, k]
    return z


def origin(x):
    """What is taken off all samples: the median of each feature, of some samples."""
    rows = np.arange(101) * (len(x) - 1) // 100 if len(x) > 101 else np.arange(len(x))
    return np.sort(x[rows], axis=0)[(len(rows) - 1) // 2]


def extended(x, y):
    """Distances in extended precision, and the bound of docs/ACCURACY.md on those that the program computes."""
    both = np.array(x if y is None else np.vstack([x, y]), EXTENDED)
    # a mean of large numbers would be rounded too
    centred = (both - both[0]) - (both - both[0]).mean(axis=0)
    v = centred.T @ centred / EXTENDED(len(both) - 1)
    scale, order, factor = pivoted(v)
    white = lambda samples: solved(factor, (np.array(samples, EXTENDED) / scale).T[order]).T
    d, other = x.shape[1], x if y is None else y
    # differences first, which lose nothing
    exact = np.array([np.sqrt((white(row - np.array(other, EXTENDED)) ** 2).sum(axis=1)) for row in np.array(x, EXTENDED)])
    inverse = np.abs(solved(factor, np.eye(d)))
    lengths = [np.sqrt((white(samples - origin(x)) ** 2).sum(axis=1)) for samples in (np.array(x, EXTENDED), np.array(other, EXTENDED))]
    kappa = np.sqrt(((inverse @ np.abs(factor)) ** 2).sum())
    of_factor, of_sums = gamma(d + 4, U), gamma(256 + 8, U)
    eta = of_factor * kappa**2 + of_sums * ((inverse @ np.ones(d)) ** 2).sum()
    assert eta < 1
    bound = exact * (1 / np.sqrt(1 - eta) - 1) + of_factor * kappa * np.add.outer(*lengths) + 2 * gamma(256 + 3, U) / TAU["f8"] * exact
    return exact, bound


CASES = {
    "as many samples as needed": lambda: (correlated(6, 5), None),
    "one feature": lambda: (correlated(40, 1), None),
    "a block and one more": lambda: (correlated(300, 65), None),
    "two inputs": lambda: (correlated(90, 20), correlated(70, 20, 1)),
    "near duplicates": lambda: (near_duplicates(120, 12), None),
    "far from the origin": lambda: (1e6 + correlated(100, 9), None),
    # where the rounded mean is far from the mean, beside the spread
    "whole numbers far from the origin": (lambda: (1.7e18 + 256 * np.random.default_rng(3).integers(0, 4, (60, 3)), None)),
    "features of all sizes": lambda: (correlated(100, 9) * np.logspace(-140, 140, 9), None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_distances_are_within_their_bound_of_extended_precision(work, case):
    x, y = case()
    exact, bound = extended(x, y)
    got = distances(work.compute(x, y, "--metric", "mahalanobis", ranks=2))
    assert got.dtype == "f8"
    assert (np.abs(got - exact) <= bound).all(), float((np.abs(got - exact) / np.maximum(bound, 1e-300)).max())
    # of most, the bound leaves many digits
    assert np.median(bound[exact > 0] / exact[exact > 0]) < 1e-3
    work.pairdist("verify", "out.h5", "--all", ranks=2)


@pytest.mark.parametrize("n, m, d", ((50, None, 7), (40, 60, 33), (700, None, 130), (1300, 40, 64)))
def test_scipy_has_the_same_distances(work, n, m, d):
    x, y = correlated(n, d), None if m is None else correlated(m, d, 1)
    expected = squareform(pdist(x, "mahalanobis")) if y is None else cdist(x, y, "mahalanobis")
    np.testing.assert_allclose(distances(work.compute(x, y, "--metric", "mahalanobis")), expected, rtol=1e-9)
    with h5py.File(work / "out.h5") as file:
        both = x if y is None else np.vstack([x, y])
        np.testing.assert_allclose(file["covariance"][:], np.cov(both.T), rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(file["origin"][:], origin(x))


@pytest.mark.parametrize("m", (None, 35))
def test_a_given_inverse_is_that_of_scipy(work, m):
    x, y = correlated(60, 20), None if m is None else correlated(m, 20, 1)
    for inverse in (np.linalg.inv(np.cov(x.T)), np.eye(20), np.linalg.pinv(np.cov(x[:9].T), rcond=1e-10), np.zeros((20, 20)), np.diag(np.arange(20.0))):
        with h5py.File(work / "vi.h5", "w") as file:
            file["vi"], file["x"] = inverse, np.ones((20, 3))
        got = distances(work.compute(x, y, "--metric", "mahal", "--inverse-covariance", "vi.h5", "--force", ranks=2))
        np.testing.assert_allclose(got, cdist(x, x if y is None else y, "mahalanobis", VI=inverse), rtol=1e-9, atol=1e-9)
        work.pairdist("verify", "out.h5", "--all")
    told = work.pairdist("info", "out.h5").stdout
    assert f"inverse_covariance {work / 'vi.h5'}:/vi, digest " in told and "covariance   " not in told.replace("inverse_covariance", "")


def test_one_digest_for_any_ranks_tiles_threads_and_simd_levels(work):
    x, y = correlated(1100, 70), correlated(35, 70, 1)
    with h5py.File(work / "vi.h5", "w") as file:
        file["vi"] = np.linalg.inv(np.cov(x.T))
    work.write("x", x)
    work.write("y", y)
    told = work.pairdist("compute", "x.h5", "--no-output", env={"PAIRDIST_SIMD": "none"}, status=(2,)).stderr
    levels = told.partition("is not a SIMD level of this machine; it has ")[2].split("\n")[0].split(", ")
    assert "portable" in levels
    for given in ([], ["--against", "y.h5"], ["--against", "y.h5", "--inverse-covariance", "vi.h5"]):
        command = ["compute", "x.h5", "--metric", "mahalanobis", "--no-output", "--json", "run.json", *given]
        ways = [(ranks, [], {}) for ranks in (1, 2, 3, 5)] + [(2, ["--tile", "37", "--threads", "3"], {})]
        digests = set()
        for ranks, options, env in ways + [(1, [], {"PAIRDIST_SIMD": level}) for level in levels]:
            work.pairdist(*command, *options, ranks=ranks, env=env)
            digests.add(json.loads((work / "run.json").read_text())["digest"])
        assert len(digests) == 1


def test_f32_samples_are_computed_in_f64_and_all_results_are_made(work):
    x = correlated(200, 12).astype("f4")
    expected = squareform(pdist(x.astype("f8"), "mahalanobis"))
    got = distances(work.compute(x, None, "--metric", "mahalanobis", "--store", "f32"))
    assert got.dtype == "f4"
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    options = ["--metric", "mahalanobis", "--force", "--neighbors", "5", "--radius", "4", "--condensed"]
    with h5py.File(work.compute(x, None, *options, ranks=3)) as file:
        np.testing.assert_allclose(file["condensed"][:], pdist(x.astype("f8"), "mahalanobis"), rtol=1e-9)
        near = np.sort(expected + np.diag(np.full(200, np.inf)), axis=1)[:, :5]
        np.testing.assert_allclose(file["neighbors/distances"][:], near, rtol=1e-9)
        assert len(file["radius/data"]) == (expected <= 4).sum() - 200
        # whole tables of these are not written twice
        assert file["covariance"].shape == (12, 12) and file["origin"].shape == (12,)
    work.pairdist("verify", "out.h5", "--all", ranks=2)
    whole = (100 * np.random.default_rng(2).random((50, 6))).astype("u1")
    expected = squareform(pdist(whole.astype("f8"), "mahalanobis"))
    np.testing.assert_allclose(distances(work.compute(whole, None, "--metric", "mahalanobis", "--force")), expected, rtol=1e-10)


def test_a_resumed_run_needs_the_same_covariance(work):
    x = correlated(300, 10)
    work.write("x", x)
    compute = ["compute", "x.h5", "-o", "out.h5", "--metric", "mahalanobis", "--tile", "50"]
    work.pairdist(*compute, "--time-limit", "00:00:00", status=(75,), ranks=2)
    with h5py.File(work / "vi.h5", "w") as file:
        file["vi"] = np.eye(10)
    told = work.pairdist(*compute, "--resume", "--inverse-covariance", "vi.h5", status=(1,)).stderr
    assert "--inverse-covariance was none and is " in told
    work.write("x", x + 1)
    assert "the digest of" in work.pairdist(*compute, "--resume", status=(1,)).stderr
    work.write("x", x)
    work.pairdist(*compute, "--resume", ranks=3)
    np.testing.assert_allclose(distances(work / "out.h5"), squareform(pdist(x, "mahalanobis")), rtol=1e-9)
    # a covariance that was changed in the result is found
    with h5py.File(work / "out.h5", "r+") as file:
        file["covariance"][3, 3] *= 1.001
    assert "its covariance has changed since it was stored" in work.pairdist("verify", "out.h5", status=(1,)).stderr


REFUSED = {
    "too few samples": (lambda x: x[:4], None, [], "the covariance of 4 features in 4 samples is singular: mahalanobis needs 5 at least; use more samples, or give an inverse covariance with --inverse-covariance"),
    "one sample": (lambda x: x[:1], None, [], "the covariance of 4 features in 1 sample is singular"),
    "a constant feature": (lambda x: x * [1, 1, 0, 1] + 3, None, [], "feature 2 (from 0) has a variance of 0, so the covariance is singular; leave the feature out if it has one value, or scale the samples if they are tiny, or give an inverse covariance with --inverse-covariance"),
    "a feature that is a combination": (lambda x: np.column_stack([x[:, :3], x[:, 0] - 2 * x[:, 2]]), None, [], " (from 0) is a combination of others, up to rounding; leave it out, or give an inverse covariance"),
    "equal features": (lambda x: x[:, [0, 1, 0, 1]], None, [], "2 features are"),
    "variances beyond f64": (lambda x: x * 1e160, None, [], "feature 0 (from 0) has a variance that leaves the range of f64; scale the samples"),
    "variances below f64": (lambda x: x * 1e-160, None, [], "feature 0 (from 0) has a variance that leaves the range of f64; scale the samples"),
    "NaN": (lambda x: np.where(np.arange(4) == 1, np.nan, x), None, ["--allow-nonfinite"], "feature 1 (from 0) has a value that is NaN or infinite; clean the samples"),
    "f32": (lambda x: x, None, ["--dtype", "f32"], "--dtype f32: mahalanobis is computed in f64; leave the option out, and use --store f32"),
    "weights": (lambda x: x, None, ["--weights", "w.h5"], "--weights: mahalanobis takes no weights"),
    "an inverse for another metric": (lambda x: x, np.eye(4), ["--metric", "cosine"], "--inverse-covariance: cosine takes no covariance; leave the option out, or use --metric mahalanobis"),
    "an inverse of other features": (lambda x: x, np.eye(5), [], "has no dataset with 4 x 4 numbers, one for each pair of features, but /vi (5 x 5); write one"),
    "an inverse that is no square": (lambda x: x, np.ones((4, 3)), [], "but /vi (4 x 3); write one"),
    "an inverse that is not symmetric": (lambda x: x, np.eye(4) + np.eye(4, k=1), [], "is not symmetric: it has 0e0 at (1, 0) and 1e0 at (0, 1) (from 0); write (VI + VI.T) / 2"),
    "an inverse with NaN": (lambda x: x, np.diag([1, 1, np.nan, 1]), [], "has NaN at (2, 2) (from 0); write numbers only"),
    "a negative variance": (lambda x: x, np.diag([1.0, 1, 1, -1]), [], "has -1e0 at (3, 3) (from 0), by which samples that differ in that feature alone would have a negative squared distance"),
    "a negative direction": (lambda x: x, np.eye(4) - 0.5, [], "is not positive semi-definite: some samples would have a negative squared distance; give the inverse of a covariance"),
    "a negative direction beside entries that differ a little": (lambda x: x, np.diag([1.0, 1, 1, 1]) + 1.1 * np.eye(4)[:, [1, 0, 2, 3]] * [1, 1, 0, 0] + 9e-6 * np.eye(4, k=3), [], "is not positive semi-definite"),
    "nothing on the diagonal": (lambda x: x, np.ones((4, 4)) - np.eye(4), [], "is not positive semi-definite"),
}


@pytest.mark.parametrize("change, inverse, options, words", REFUSED.values(), ids=REFUSED)
def test_what_has_no_mahalanobis_distances_is_refused_on_any_ranks(work, change, inverse, options, words):
    work.write("x", change(correlated(40, 4)))
    with h5py.File(work / "w.h5", "w") as file:
        file["w"] = np.ones(4)
    if inverse is not None:
        with h5py.File(work / "vi.h5", "w") as file:
            file["vi"] = inverse
        options = ["--inverse-covariance", "vi.h5", *options]
    if "--metric" not in options:
        options = ["--metric", "mahalanobis", *options]
    for ranks in (0, 3):
        told = work.pairdist("compute", "x.h5", "-o", "out.h5", *options, ranks=ranks, status=(1, 2)).stderr
        assert words in told, told
        assert not list(work.folder.glob("out.h5*"))


def test_samples_that_are_no_numbers_have_no_distances_by_a_given_inverse_and_others_do(work):
    x = correlated(30, 4)
    x[7, 2] = np.nan
    with h5py.File(work / "vi.h5", "w") as file:
        file["vi"] = np.linalg.inv(np.cov(correlated(50, 4).T))
        inverse = file["vi"][:]
    got = distances(work.compute(x, None, "--metric", "mahalanobis", "--inverse-covariance", "vi.h5", "--allow-nonfinite", ranks=2))
    np.testing.assert_allclose(got, cdist(x, x, "mahalanobis", VI=inverse), rtol=1e-9)
    assert np.isnan(got[7]).all() and np.isfinite(np.delete(np.delete(got, 7, 0), 7, 1)).all()


def test_a_few_samples_on_many_ranks_and_one_feature(work):
    x = correlated(4, 2)
    expected = squareform(pdist(x, "mahalanobis"))
    np.testing.assert_allclose(distances(work.compute(x, None, "--metric", "mahalanobis", ranks=7)), expected, rtol=1e-12)
    y = correlated(3, 2, 1)
    np.testing.assert_allclose(distances(work.compute(x, y, "--metric", "mahalanobis", "--force", ranks=6)), cdist(x, y, "mahalanobis"), rtol=1e-12)
    one = np.arange(5.0)[:, None] ** 2
    with h5py.File(work.compute(one, None, "--metric", "mahalanobis", "--force")) as file:
        assert file["covariance"].shape == (1, 1)
        np.testing.assert_allclose(file["distances"][:], squareform(pdist(one, "seuclidean")), rtol=1e-14)
    # what a result holds can be given again
    again = work.compute(one, None, "--metric", "mahalanobis", "--inverse-covariance", "out.h5:covariance", out="again.h5")
    np.testing.assert_allclose(distances(again), cdist(one, one, "mahalanobis", VI=[[one.var(ddof=1)]]), rtol=1e-12)


def test_the_disk_must_hold_the_covariance_too(work):
    work.write("x", correlated(50, 40))
    needed = []
    for metric in ("euclidean", "mahalanobis"):
        work.pairdist("plan", "x.h5", "--dtype", "f64", "--neighbors", "3", "--metric", metric, "--json", "plan.json")
        needed.append(json.loads((work / "plan.json").read_text())["disk"]["needed_bytes"])
    assert needed[1] - needed[0] == 8 * (40 * 40 + 40)


def test_one_sample_far_away_leaves_the_others_their_digits(work):
    x = correlated(30, 4)
    expected = cdist(x, x, "mahalanobis", VI=np.eye(4))
    with h5py.File(work / "vi.h5", "w") as file:
        file["vi"] = np.eye(4)
    for far in (1e8, 1e20):
        outlier = x.copy()
        outlier[3] = far
        for y in (None, outlier):
            got = distances(work.compute(outlier if y is None else x, y, "--metric", "mahalanobis", "--inverse-covariance", "vi.h5", "--force", ranks=2))
            kept = np.arange(30) != 3
            np.testing.assert_allclose(got[np.ix_(kept, kept)], expected[np.ix_(kept, kept)], rtol=1e-12)


def test_the_inverse_of_a_singular_covariance_is_told(work):
    x = np.random.default_rng(5).integers(0, 10, (40, 3)).astype("f8")
    x = np.column_stack([x, x.sum(axis=1)])
    covariance = np.cov(x.T)
    # as an inverse comes out that hides it
    inverse = np.linalg.pinv(covariance) + 8e13 * np.outer([1, 1, 1, -1], [1, 1, 1, -1])
    for given, is_told in ((inverse, True), (np.linalg.pinv(covariance), False)):
        work.write("x", x)
        with h5py.File(work / "vi.h5", "w") as file:
            file["vi"] = given
        told = work.pairdist("compute", "x.h5", "--no-output", "--metric", "mahalanobis", "--inverse-covariance", "vi.h5", ranks=2).stderr
        assert ("as if a nearly singular covariance had been inverted: distances have few digits, or none; use numpy.linalg.pinv" in told) == is_told


def test_the_way_out_for_nan_works(work):
    x = correlated(30, 4)
    x[7, 2] = np.nan
    work.write("x", x)
    for metric, option, dataset in (("mahalanobis", "--inverse-covariance", np.eye(4)), ("seuclidean", "--variance", np.ones(4))):
        told = work.pairdist("compute", "x.h5", "--no-output", "--metric", metric, status=(1,)).stderr
        assert f"clean the samples, or compute with them by --allow-nonfinite together with {option}" in told
        with h5py.File(work / "given.h5", "w") as file:
            file["given"] = dataset
        work.pairdist("compute", "x.h5", "--no-output", "--metric", metric, "--allow-nonfinite", option, "given.h5")


def test_a_nearly_singular_covariance_is_told(work):
    x = correlated(40, 4)
    x[:, 3] = x[:, 0] + 3e-7 * x[:, 3]
    work.write("x", x)
    told = work.pairdist("compute", "x.h5", "--no-output", "--metric", "mahalanobis").stderr
    assert "is nearly singular: distances have few digits, as some features are almost combinations of others" in told
