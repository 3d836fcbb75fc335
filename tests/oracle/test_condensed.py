"""The condensed distances, against the program's own matrix and what SciPy makes of them."""

import h5py
import numpy as np
import pytest
import scipy.cluster.hierarchy
import scipy.spatial.distance
from conftest import distances

RNG = np.random.default_rng(18)
RANKS = (0, 2, 3, 5)
NUMPY = {"f16": "f2", "f32": "f4", "f64": "f8"}


def condensed(path):
    with h5py.File(path) as file:
        return file["condensed"][()]


@pytest.mark.parametrize("dtype", ("f4", "f8"))
@pytest.mark.parametrize("shape", ((97, 4), (61, 1), (45, 900), (2, 3), (1, 3)))
def test_it_is_the_upper_triangle_row_by_row(work, shape, dtype):
    x = work.write("x", RNG.normal(size=shape).astype(dtype))
    matrix = distances(work.compute(x, None, out="m.h5", ranks=0))
    expected = matrix[np.triu_indices(shape[0], 1)]
    for ranks, tile in zip(RANKS, (7, 16, 50, 9)):
        out = work.compute(x, None, "--condensed", "--tile", tile, "--force", ranks=ranks)
        found = condensed(out)
        assert found.dtype == dtype and np.array_equal(found, expected)
        with h5py.File(out) as file:
            assert "distances" not in file and file.attrs["results"] == "condensed"
        work.pairdist("verify", out, "--all", ranks=ranks)
    work.pairdist("verify", out, "--pairs", 50)
    assert np.allclose(expected, scipy.spatial.distance.pdist(h5py.File(x)["samples"][()].astype(float)), rtol=1e-5)


@pytest.mark.parametrize("dtype", ("f4", "f8"))
@pytest.mark.parametrize("store", NUMPY)
def test_distances_are_rounded_once(work, store, dtype):
    x = RNG.normal(size=(70, 5)).astype(dtype)
    x[9, 2], x[30:33] = np.nan, 4e4
    x = work.write("x", x)
    options = ("--condensed", "--allow-nonfinite", "--force")
    computed = condensed(work.compute(x, None, *options))
    for ranks in (0, 3):
        out = work.compute(x, None, *options, "--store", store, "--tile", 16, "--matrix", ranks=ranks)
        with np.errstate(over="ignore"):
            assert np.array_equal(condensed(out), computed.astype(NUMPY[store]), equal_nan=True)
        work.pairdist("verify", out, "--all", ranks=ranks)


def test_a_tree_of_clusters_comes_from_it(work):
    x = np.concatenate([RNG.normal(size=(50, 5)) + 20 * number for number in range(4)])
    found = condensed(work.compute(x, None, "--condensed", ranks=2))
    tree = scipy.cluster.hierarchy.linkage(found, "average")
    labels = scipy.cluster.hierarchy.fcluster(tree, 4, "maxclust")
    assert all(len(set(labels[50 * number : 50 * number + 50])) == 1 for number in range(4)) and len(set(labels)) == 4


@pytest.mark.parametrize("ranks", (0, 3))
def test_verify_finds_a_wrong_distance_and_a_flipped_bit(work, ranks):
    out = work.compute(RNG.normal(size=(80, 6)), None, "--condensed", "--tile", 30)
    with h5py.File(out) as file:
        start = file["condensed"].id.get_offset()
    whole = out.read_bytes()
    # of samples 40 and 50
    place = start + 8 * (40 * 80 - 40 * 41 // 2 + 50 - 41)
    content = bytearray(whole)
    content[place] ^= 1
    out.write_bytes(content)
    refused = work.pairdist("verify", out, "--all", ranks=ranks, status=(1,)).stderr
    assert "tile (1, 1), rows 30 to 60 and columns 30 to 60, has checksum" in refused and "has changed since" in refused
    work.pairdist("verify", out, "--pairs", 3160, ranks=ranks)
    content[place + 6] ^= 8
    out.write_bytes(content)
    refused = work.pairdist("verify", out, "--pairs", 3160, ranks=ranks, status=(1,)).stderr
    assert "1 of 3160 distances are beyond their bound, first (40, 50): " in refused


def test_info_and_plan_tell_what_it_takes(work):
    x = work.write("x", RNG.normal(size=(80, 6)))
    out = work.compute(x, None, "--condensed")
    assert "condensed    3160 distances of 80 samples, f64, 25.28 kB" in work.pairdist("info", out).stdout
    assert "25.28 kB for the result" in work.pairdist("plan", x, "--condensed").stdout
