"""Distances that are stored in another type than they are computed in, against NumPy's rounding."""

import h5py
import numpy as np
import pytest

NUMPY = {"f16": "f2", "f32": "f4", "f64": "f8"}
RESULTS = ("--matrix", "--neighbors", 9)


def samples(dtype):
    """Distances from subnormal in f16 to too large for it, with duplicates and a row without any."""
    x = np.random.default_rng(5).normal(size=(133, 7)).astype(dtype)
    x[:20] *= 1e-6
    x[20:40] *= 1e-4
    x[60:80] *= 3e4
    x[90] = x[91]
    x[100], x[101, 3] = np.nan, np.inf
    return x


def arrays(path):
    with h5py.File(path) as file:
        return [file[name][()] for name in ("distances", "neighbors/distances", "neighbors/indices")]


@pytest.mark.parametrize("dtype", ("f4", "f8"))
@pytest.mark.parametrize("store", NUMPY)
def test_distances_are_rounded_once(work, store, dtype):
    x = work.write("x", samples(dtype))
    *computed, indices = arrays(work.compute(x, None, *RESULTS, "--allow-nonfinite", out="as-computed.h5"))
    with np.errstate(over="ignore"):
        expected = [distances.astype(NUMPY[store]) for distances in computed]
    for ranks, tile in ((0, 20), (3, 50), (2, 7)):
        options = ("--allow-nonfinite", "--store", store, "--tile", tile, "--force")
        out = work.compute(x, None, *RESULTS, *options, ranks=ranks)
        *stored, stored_indices = arrays(out)
        for one, other in zip(stored, expected):
            assert one.dtype == other.dtype
            assert one.tobytes() == other.tobytes(), (ranks, tile)
        # in the order of what was computed
        assert np.array_equal(stored_indices, indices)
        work.pairdist("verify", out, "--all", ranks=ranks)
        work.pairdist("verify", out, ranks=ranks)


@pytest.mark.parametrize("store", NUMPY)
def test_two_inputs(work, store):
    rng = np.random.default_rng(6)
    x, y = (work.write(name, rng.normal(size=(rows, 40))) for name, rows in (("x", 31), ("y", 77)))
    *computed, _ = arrays(work.compute(x, y, *RESULTS, out="as-computed.h5"))
    out = work.compute(x, y, *RESULTS, "--store", store, "--tile", 10, ranks=2)
    for one, other in zip(arrays(out), computed):
        assert np.array_equal(one, other.astype(NUMPY[store]))
    work.pairdist("verify", out, "--all")


def test_the_digest_is_that_of_what_was_computed(work):
    x = work.write("x", np.random.default_rng(7).normal(size=(60, 5)))

    def digest(*options):
        done = work.pairdist("compute", x, *options)
        return next(line for line in done.stdout.splitlines() if line.startswith("digest"))

    digests = {digest("-o", work / f"{store}.h5", "--store", store) for store in NUMPY}
    assert digests == {digest("--no-output")}


@pytest.mark.parametrize("results", (("--matrix",), ("--neighbors", 3)))
def test_what_is_too_large_is_told(work, results):
    x = np.zeros((9, 2), "f4")
    x[:8, 0] = 10_000.0 * np.arange(8)
    # infinite distances are none that were rounded to be so
    x[8] = np.inf
    path = work.write("x", x)
    options = ("-o", work / "r.h5", "--force", "--allow-nonfinite", "--store", "f16")
    for ranks in (0, 3):
        # the farthest pair is at 70,000; of the three nearest none is beyond 30,000
        done = work.pairdist("compute", path, *options, *results, ranks=ranks)
        told = "some distances are stored as infinities: from 6.552e4 on they are too large for --store f16" in done.stderr
        assert told == (results[0] == "--matrix")
        work.pairdist("verify", work / "r.h5", "--all")


def test_a_flipped_byte_is_found(work):
    x = work.write("x", np.random.default_rng(8).normal(size=(60, 5)))
    for name in ("distances", "neighbors/distances"):
        out = work.compute(x, None, *RESULTS, "--store", "f16", "--force")
        with h5py.File(out, "a") as file:
            values = file[name][()]
            values.view("u2")[17, 3] ^= 1
            file[name][...] = values
        done = work.pairdist("verify", out, "--all", status=(1,))
        assert "checksum" in done.stderr or "beyond their bound" in done.stderr


def test_a_run_goes_on_with_the_type_that_it_was_begun_with(work):
    x = work.write("x", np.random.default_rng(9).normal(size=(60, 5)))
    options = ("compute", x, "-o", work / "r.h5", *RESULTS, "--tile", 10)
    work.pairdist(*options, "--store", "f16", "--time-limit", "00:00:00", status=(75,))
    done = work.pairdist(*options, "--store", "f32", "--resume", status=(1,))
    assert "--store was f16 and is f32" in done.stderr
    work.pairdist(*options, "--store", "f16", "--resume", ranks=2)
    work.pairdist("verify", work / "r.h5", "--all")


def test_info_and_plan_know_the_type(work):
    x = work.write("x", np.random.default_rng(10).normal(size=(1000, 5)))
    out = work.compute(x, None, "--store", "f16")
    assert "1000 x 1000, f16, 2.00 MB" in work.pairdist("info", out).stdout
    assert "2.00 MB" in work.pairdist("plan", x, "--store", "f16").stdout
    with h5py.File(out) as file:
        assert (file.attrs["dtype"], file.attrs["store"]) == ("f64", "f16")
        assert file["distances"].dtype == np.float16
