"""`--skip-missing`: distances over the features that two samples share, against scikit-learn and SciPy."""

import json
import os
import signal
import subprocess
import time

import h5py
import netCDF4
import numpy as np
import pytest
from conftest import ALONE, BINARY, ENVIRONMENT, distances
from scipy.spatial.distance import cdist, squareform
from sklearn.metrics.pairwise import nan_euclidean_distances
from tolerance import UNIT_ROUNDOFF, gamma

NAN = np.nan
METRICS = [
    *((name, None) for name in ("sqeuclidean", "euclidean", "cityblock", "chebyshev", "canberra", "hamming")),
    *(("minkowski", p) for p in (0.5, 1, 1.5, 2, 3, 3.3, 8, np.inf)),
]
SKIP = "--skip-missing"
OTHERS = ("seuclidean", "cosine", "correlation", "braycurtis", "jensenshannon", "jaccard", "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule")


def samples(n, d, seed, dtype="f8"):
    """Values of few digits, some of them equal, with gaps: all values of row 3, all but one of row 4, none of row 5."""
    rng = np.random.default_rng(seed)
    x = (rng.integers(-40, 40, (n, d)) / 8).astype(dtype)
    x[rng.random((n, d)) < 0.2] = NAN
    x[3] = NAN
    x[4, 1:] = NAN
    x[5] = 1
    return x


def expected_of(x, y, metric, p, weights):
    """SciPy's distances of the shared features in f64, times the share of the weights that these have."""
    x, y = x.astype("f8"), y.astype("f8")
    w = np.ones(x.shape[1]) if weights is None else weights
    scipy = {} if p is None else {"p": p}
    out = np.full((len(x), len(y)), NAN)
    for i, j in np.ndindex(out.shape):
        shared = ~np.isnan(x[i]) & ~np.isnan(y[j]) & (w > 0)
        if not shared.any():
            continue
        of_shared = w[shared]
        distance = cdist(x[i : i + 1, shared], y[j : j + 1, shared], metric, w=of_shared, **scipy)[0, 0]
        factor = w.sum() / of_shared.sum()
        if metric in ("chebyshev", "hamming") or p == np.inf:
            factor = 1
        root = {"euclidean": 2, "minkowski": p}.get(metric, 1)
        out[i, j] = distance * factor ** (1 / root)
    return out


def allowed(expected, metric, p, dtype, d):
    """Sums of both programs err by the roundings of their terms and additions, and the weights' sum likewise; a root divides errors by its order.

    A power of a real order has up to 94 roundings; the error of SciPy's is counted with that.
    """
    order = {"euclidean": 2, "minkowski": p}.get(metric, 1)
    roundings = 2 * d + 130 if dtype == "f8" else 2 * d + 60
    return expected * gamma(roundings, UNIT_ROUNDOFF[dtype]) * max(1, 1 / order) + 1e-300


def given(work, metric, p, weights):
    options = ["--metric", metric, SKIP, *([] if p is None else ["--p", str(p)])]
    if weights is not None:
        with h5py.File(work / "w.h5", "w") as file:
            file["w"] = weights
        options += ["--weights", "w.h5"]
    return options


def some_weights(d):
    weights = 10 * np.random.default_rng(d).random(d)
    weights[d // 2 : d // 2 + 2] = 0
    return weights


def assert_as(got, expected, metric, p, dtype, d):
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    numbers = ~np.isnan(expected)
    error = np.abs(got.astype("f8") - expected)[numbers]
    assert (error <= allowed(expected, metric, p, dtype, d)[numbers]).all(), error.max()


@pytest.mark.parametrize("dtype", ("f4", "f8"))
@pytest.mark.parametrize("weighted", (False, True))
@pytest.mark.parametrize("metric, p", METRICS)
def test_two_inputs_as_scipy_on_the_shared_features(work, metric, p, weighted, dtype):
    for d, ranks in ((9, 1), (300, 2)):
        x, y = (samples(n, d, seed, dtype) for n, seed in ((23, 1), (17, 2)))
        weights = some_weights(d) if weighted else None
        options = given(work, metric, p, weights)
        out = work.compute(x, y, *options, "--tile", "8", "--force", "--json", work / "run.json", ranks=ranks)
        got, expected = distances(out), expected_of(x, y, metric, p, weights)
        assert_as(got, expected, metric, p, dtype, d)
        record = json.loads((work / "run.json").read_text())
        assert record["pairs_without_shared_features"] == np.isnan(expected).sum()
        assert record["recomputed_pairs"] == 0
        work.pairdist("verify", "out.h5", "--all", ranks=2)


@pytest.mark.parametrize("weighted", (False, True))
@pytest.mark.parametrize("metric, p", METRICS)
def test_one_input_has_the_same_bits_for_any_ranks_tiles_and_vectors(work, metric, p, weighted):
    d = 261
    x = samples(40, d, 3)
    weights = some_weights(d) if weighted else None
    options, digests = given(work, metric, p, weights), set()
    for ranks, tile, simd in ((1, "64", ""), (2, "7", "portable"), (3, "16", "")):
        out = work.compute(
            x, None, *options, "--tile", tile, "--force", "--json", work / "run.json", ranks=ranks, env={"PAIRDIST_SIMD": simd}
        )
        record = json.loads((work / "run.json").read_text())
        digests.add((record["digest"], record["pairs_without_shared_features"]))
    assert len(digests) == 1
    got = distances(out)
    np.testing.assert_array_equal(got.view("u8"), got.T.copy().view("u8"))
    assert digests.pop()[1] == np.isnan(got).sum() > 0
    assert (np.diag(got)[~np.isnan(np.diag(got))] == 0).all()
    assert_as(got, expected_of(x, x, metric, p, weights), metric, p, "f8", d)


# the samples of scikit-learn's own tests of this function
SKLEARN = {
    "all missing": ([[NAN, NAN], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]]),
    "one missing": ([[1.0, 0.0], [NAN, 0.0]], [[1.0, NAN], [0.0, 2.0]]),
    "none shared": ([[NAN, 1.0], [1.0, NAN]], [[1.0, NAN], [NAN, 3.0]]),
    "one value of either": ([[NAN, 0.0, 0.0, 3.0], [NAN, NAN, 1.0, 0.0]], [[1.0, NAN, 3.0, NAN], [NAN, 1.0, NAN, 2.0]]),
    "no gaps": ([[3.0, 4.0], [0.0, 2.0]], [[0.0, 0.0], [1.0, 1.0]]),
}


@pytest.mark.parametrize("name", SKLEARN)
def test_the_cases_of_scikit_learn(work, name):
    x, y = (np.array(rows) for rows in SKLEARN[name])
    for squared, metric in ((False, "euclidean"), (True, "sqeuclidean")):
        got = distances(work.compute(x, y, "--metric", metric, SKIP, "--force"))
        np.testing.assert_allclose(got, nan_euclidean_distances(x, y, squared=squared), rtol=1e-15)
        got = distances(work.compute(x, None, "--metric", metric, SKIP, "--force"))
        expected = nan_euclidean_distances(x, squared=squared)
        np.testing.assert_allclose(got, expected, rtol=1e-15)


def test_random_samples_as_scikit_learn(work):
    rng = np.random.default_rng(6)
    x, y = (rng.normal(size=(n, 50)) for n in (60, 45))
    for samples_with_gaps in (x, y):
        samples_with_gaps[rng.random(samples_with_gaps.shape) < 0.4] = NAN
    got = distances(work.compute(x, y, SKIP, ranks=2))
    np.testing.assert_allclose(got, nan_euclidean_distances(x, y), rtol=1e-12)


@pytest.mark.parametrize("metric", ("euclidean", "cityblock", "chebyshev", "hamming"))
def test_without_gaps_the_option_changes_nothing(work, metric):
    x = np.random.default_rng(8).normal(size=(50, 300))
    plain = distances(work.compute(x, None, "--metric", metric, "--kernel", "direct"))
    skipping = distances(work.compute(x, None, "--metric", metric, SKIP, "--force", "--json", work / "run.json"))
    np.testing.assert_array_equal(plain.view("u8"), skipping.view("u8"))
    assert json.loads((work / "run.json").read_text())["pairs_without_shared_features"] == 0


def test_all_results_together(work):
    x = samples(60, 12, 4)
    results = ("--matrix", "--condensed", "--neighbors", "5", "--radius", "12", "--tile", "16")
    out = work.compute(x, None, SKIP, *results, ranks=3)
    with h5py.File(out) as file:
        matrix = file["distances"][:]
        upper = file["condensed"][:]
        nearest, indices = file["neighbors/distances"][:], file["neighbors/indices"][:]
        indptr, within = file["radius/indptr"][:], file["radius/indices"][:]
        assert file.attrs["skip_missing"] == 1 and file.attrs["format_version"] == 2
    expected = squareform(upper, checks=False)
    rows, cols = np.triu_indices(60, 1)
    np.testing.assert_array_equal(upper, matrix[rows, cols])
    np.testing.assert_array_equal(expected[~np.eye(60, dtype=bool)], matrix[~np.eye(60, dtype=bool)])
    others = np.where(np.isnan(matrix) | np.eye(60, dtype=bool), np.inf, matrix)
    np.testing.assert_array_equal(nearest, np.sort(others, axis=1)[:, :5])
    assert (indices[3] == -1).all() and np.isinf(nearest[3]).all()
    for row in range(60):
        np.testing.assert_array_equal(within[indptr[row] : indptr[row + 1]], np.flatnonzero(others[row] <= 12))
    work.pairdist("verify", out, "--all", ranks=2)
    told = work.pairdist("info", out).stdout
    assert "euclidean (missing values skipped)" in told


@pytest.mark.parametrize("store", ("f16", "f32"))
def test_stored_in_a_narrower_type(work, store):
    x = samples(30, 12, 5)
    wide = distances(work.compute(x, None, SKIP))
    out = work.compute(x, None, SKIP, "--store", store, "--force", ranks=2)
    np.testing.assert_array_equal(distances(out), wide.astype(store.replace("f16", "f2").replace("f32", "f4")))
    work.pairdist("verify", out, "--all")


def test_a_killed_run_is_resumed_with_the_same_count(work):
    x = samples(120, 7, 9)
    work.write("x", x)
    options = ["compute", "x.h5", "-o", "out.h5", SKIP, "--tile", "2", "--no-sync", "--checkpoint-interval", "0.01"]
    job = subprocess.Popen(
        [BINARY, *options], cwd=work.folder, env=ENVIRONMENT | ALONE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    journal = work / "out.h5.partial/journal.0"
    while not journal.exists() or journal.stat().st_size < 1000:
        assert job.poll() is None, "the run ended before it could be killed"
        time.sleep(0.002)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    without = [word for word in options if word != SKIP]
    # the samples have NaN, and the run that is resumed has skipped them
    told = work.pairdist(*without, "--allow-nonfinite", "--resume", status=(1,)).stderr
    assert "--skip-missing was true and is false" in told
    work.pairdist(*options, "--resume", "--json", "run.json", ranks=2)
    record = json.loads((work / "run.json").read_text())
    got = distances(work / "out.h5")
    assert record["resumed_pairs"] > 0
    assert record["pairs_without_shared_features"] == np.isnan(got).sum() > 0
    np.testing.assert_array_equal(got, distances(work.compute("x.h5", None, SKIP, "--force")))


def test_samples_without_any_value_are_told_and_pairs_counted(work):
    x = np.ones((6, 4))
    x[[1, 4]] = NAN
    x[2, :2], x[3, 2:] = NAN, NAN
    done = work.pairdist("compute", work.write("x", x), "-o", "out.h5", SKIP, "--json", "run.json")
    assert "all values of 2 of 6 samples are NaN, first in row 1 (from 0)" in done.stderr
    # two rows and two columns of six, and the two samples with different halves
    assert "22 of 36 distances are NaN" in done.stderr
    assert "22 pairs (61.11 %) share no feature" in done.stdout
    assert json.loads((work / "run.json").read_text())["inputs"][0]["nan"] == 12
    silent = work.pairdist("compute", work.write("x", np.ones((6, 4))), "-o", "out.h5", SKIP, "--force")
    assert "warn" not in silent.stderr.lower() and "share no feature" not in silent.stdout


def test_samples_whose_squares_overflow_or_vanish(work):
    for factor in (1e-170, 1e170):
        x = samples(30, 40, 7) * factor
        got = distances(work.compute(x, None, SKIP, "--force"))
        expected = expected_of(x / factor, x / factor, "euclidean", None, None) * factor
        np.testing.assert_allclose(got, expected, rtol=1e-13)
        work.pairdist("verify", "out.h5", "--all")


def test_differences_that_are_too_large_are_not_missing(work):
    x = np.array([[1.7e308, 0.0], [-1.7e308, 1.0]])
    for metric in ("cityblock", "chebyshev"):
        got = distances(work.compute(x, None, "--metric", metric, SKIP, "--force"))
        np.testing.assert_array_equal(got, [[0, np.inf], [np.inf, 0]])


def test_weights_that_the_type_does_not_hold_still_select_features_of_chebyshev(work):
    x = np.array([[1, NAN, 5], [2, 7, NAN], [NAN, 1, 1]], "f4")
    with h5py.File(work / "w.h5", "w") as file:
        file["w"] = [1e-200, 1.0, 0.0]
    got = distances(work.compute(x, None, "--metric", "chebyshev", SKIP, "--weights", "w.h5"))
    np.testing.assert_array_equal(got, np.array([[0, 1, NAN], [1, 0, 6], [NAN, 6, 0]], "f4"))
    work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("dtype", ("u1", "i1", "?"))
def test_whole_numbers_of_8_bits_are_computed_as_floats(work, dtype):
    x = np.random.default_rng(10).integers(0, 2, (20, 30)).astype(dtype)
    done = work.pairdist("compute", work.write("x", x), "-o", "out.h5", SKIP, "--metric", "hamming")
    assert "are computed with as f32: hamming (missing values skipped) has no form in whole numbers" in done.stderr
    np.testing.assert_allclose(distances(work / "out.h5"), cdist(x, x, "hamming"), rtol=1e-6)


def test_missing_values_of_netcdf_are_decoded_and_skipped(work):
    x = samples(12, 5, 11)
    with netCDF4.Dataset(work / "x.nc", "w") as file:
        file.createDimension("sample", 12)
        file.createDimension("feature", 5)
        variable = file.createVariable("x", "f8", ("sample", "feature"), fill_value=-999.0)
        variable[:] = np.where(np.isnan(x), -999, x)
    told = work.pairdist("compute", "x.nc", "--no-output").stderr
    assert "use --decode-netcdf to make them NaN, which --skip-missing skips" in told
    refused = work.pairdist("compute", "x.nc", "--no-output", "--decode-netcdf", status=(1,)).stderr
    assert "skip NaN as missing values with --skip-missing" in refused
    work.pairdist("compute", "x.nc", "-o", "out.h5", "--decode-netcdf", SKIP)
    np.testing.assert_allclose(distances(work / "out.h5"), nan_euclidean_distances(x), rtol=1e-14)
    work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("metric", OTHERS)
def test_other_metrics_are_refused(work, metric):
    work.write("x", np.ones((4, 3)))
    for command in (("compute", "x.h5", "--no-output"), ("plan", "x.h5")):
        told = work.pairdist(*command, "--metric", metric, SKIP, status=(2,)).stderr
        assert f"--skip-missing: {metric} cannot skip missing values; leave the option out, or use one of the metrics that can: sqeuclidean, euclidean," in told


def test_bad_input_is_refused_and_the_way_out_works(work):
    x = samples(10, 4, 12)
    work.write("x", x)
    compute = ("compute", "x.h5", "--no-output")
    told = work.pairdist(*compute, SKIP, "--kernel", "gemm", status=(2,)).stderr
    assert "--kernel gemm: euclidean with --skip-missing has no form as a matrix product; use auto or direct" in told
    assert "cannot be used with" in work.pairdist(*compute, SKIP, "--allow-nonfinite", status=(2,)).stderr
    told = work.pairdist(*compute, status=(1,)).stderr
    assert "skip NaN as missing values with --skip-missing, or compute with them by --allow-nonfinite" in told
    for others in (("--metric", "cosine"), ("--kernel", "gemm")):
        assert SKIP not in work.pairdist(*compute, *others, status=(1,)).stderr
    x[7, 1] = np.inf
    work.write("x", x)
    assert SKIP not in work.pairdist(*compute, status=(1,)).stderr
    told = work.pairdist(*compute, SKIP, status=(1,)).stderr
    assert "1 value in 1 of 10 samples is infinite" in told and "NaN, the first" not in told
    assert "or write NaN in place of such values, which --skip-missing skips" in told
    # no other input may have them either
    work.write("y", samples(10, 4, 13))
    assert SKIP not in work.pairdist("compute", "y.h5", "--against", "x.h5", "--no-output", status=(1,)).stderr


def test_a_plan_knows_the_option(work):
    work.write("x", samples(100, 40, 14))
    plan = work.pairdist("plan", "x.h5", SKIP, "--json", "plan.json").stdout
    assert "euclidean (missing values skipped)" in plan and "direct" in plan
    assert json.loads((work / "plan.json").read_text())["problem"]["skip_missing"] is True


def test_a_damaged_attribute_is_found(work):
    out = work.compute(samples(10, 4, 15), None, SKIP)
    with h5py.File(out, "r+") as file:
        del file.attrs["skip_missing"]
    for command in ("verify", "info"):
        assert "is damaged" in work.pairdist(command, out, status=(1,)).stderr
