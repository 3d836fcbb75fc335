"""All samples within a radius, against the program's own matrix, SciPy, scikit-learn and AnnData."""

import json
import re

import anndata
import h5py
import numpy as np
import pytest
import scipy.sparse
import xxhash
from conftest import distances
from sklearn.neighbors import NearestNeighbors

RNG = np.random.default_rng(17)
RANKS = (0, 2, 3, 5)
SAMPLES = {
    # of few values: many pairs lie exactly at the radius
    "ties": np.round(RNG.normal(size=(97, 2)), 1),
    "duplicates": np.repeat(RNG.normal(size=(20, 5)), 4, axis=0),
    "one feature": RNG.normal(size=(61, 1)),
    "900 features": RNG.normal(size=(45, 900)),
    "one sample": np.ones((1, 3)),
}


def within(path):
    """The sparse matrix of a result, as SciPy has it."""
    with h5py.File(path) as file:
        group = file["radius"]
        parts = group["data"][()], group["indices"][()], group["indptr"][()]
        assert group.attrs["encoding-type"] == "csr_matrix" and group.attrs["encoding-version"] == "0.1.0"
        matrix = scipy.sparse.csr_matrix(parts, tuple(group.attrs["shape"]))
    assert parts[1].dtype == "i4" and parts[2].dtype == "i8"
    assert matrix.has_canonical_format and matrix.has_sorted_indices
    return matrix


def check(path, matrix, radius, include_self, symmetric):
    hits = matrix <= matrix.dtype.type(radius)
    if symmetric and not include_self:
        np.fill_diagonal(hits, False)
    found = within(path)
    assert found.shape == matrix.shape and found.dtype == matrix.dtype
    assert np.array_equal(found.indptr, np.append(0, hits.sum(axis=1).cumsum()))
    assert np.array_equal(found.indices, np.nonzero(hits)[1])
    assert np.array_equal(found.data, matrix[hits])


@pytest.mark.parametrize("dtype", ("f4", "f8"))
@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_within_the_radius_is_there_and_nothing_else(work, name, dtype):
    x = work.write("x", SAMPLES[name].astype(dtype))
    y = work.write("y", np.concatenate([SAMPLES[name][::3], SAMPLES[name][:5] + 1]).astype(dtype))
    for other in (None, y):
        matrix = distances(work.compute(x, other, "--force", out="m.h5", ranks=0))
        apart = np.sort(matrix[matrix > 0]) if (matrix > 0).any() else np.ones(1, dtype)
        # every radius on other ranks for each kind of samples
        turn = list(SAMPLES).index(name) + 2 * (other is None) + (dtype == "f4")
        for number, radius in enumerate((0, apart[len(apart) // 40], apart[len(apart) // 2], np.inf), turn):
            ranks, tile, include_self = RANKS[number % 4], (7, 16, 50)[number % 3], other is None and number % 2 == 1
            options = ["--radius", repr(float(radius)), "--tile", tile, "--force", *(["--include-self"] if include_self else [])]
            out = work.compute(x, other, *options, ranks=ranks)
            check(out, matrix, radius, include_self, other is None)
        work.pairdist("verify", out, "--all", ranks=ranks)


def test_every_combination_of_results_has_one_digest(work):
    x = work.write("x", SAMPLES["ties"])
    kinds = (["--matrix"], ["--condensed"], ["--neighbors", 6], ["--radius", 0.7])
    digests, files = {work.record("--no-output", x=x)["digest"]}, {}
    for chosen in range(1, 16):
        options = [word for number, kind in enumerate(kinds) if chosen >> number & 1 for word in kind]
        ranks = chosen % 4
        digests.add(work.record(*options, "-o", work / "out.h5", "--force", "--tile", 13, x=x, ranks=ranks)["digest"])
        with h5py.File(work / "out.h5") as file:
            assert file.attrs.get("results", "matrix").split() == [kind[0][2:] for number, kind in enumerate(kinds) if chosen >> number & 1]
            for name in ("distances", "condensed", "neighbors/indices", "radius/indptr", "radius/indices", "radius/data"):
                if name in file:
                    files.setdefault(name, set()).add(file[name][()].tobytes())
        work.pairdist("verify", "out.h5", "--all", ranks=ranks)
    assert len(digests) == 1
    assert len(files) == 6 and {name: len(bytes) for name, bytes in files.items()} == dict.fromkeys(files, 1)


def test_peers_read_it(work):
    x = RNG.normal(size=(300, 4))
    out = work.compute(x, None, "--radius", 1.5, ranks=2)
    found = within(out)
    with h5py.File(out) as file:
        read = anndata.io.read_elem(file["radius"])
    assert (read != found).nnz == 0
    theirs = NearestNeighbors(radius=1.5, algorithm="brute").fit(x).radius_neighbors_graph(mode="distance")
    assert np.array_equal(theirs.indptr, found.indptr)
    theirs.sort_indices()
    assert np.array_equal(theirs.indices, found.indices) and np.allclose(theirs.data, found.data)


@pytest.mark.parametrize("store, stored", (("f16", "f4"), ("f32", "f4"), ("f64", "f8")))
@pytest.mark.parametrize("dtype", ("f4", "f8"))
def test_distances_are_rounded_after_they_are_compared(work, dtype, store, stored):
    x = work.write("x", SAMPLES["ties"].astype(dtype))
    radius = np.sort(distances(work.compute(x, None, out="m.h5")).ravel())[2000]
    computed = within(work.compute(x, None, "--radius", repr(float(radius)), "--force", ranks=2))
    out = work.compute(x, None, "--radius", repr(float(radius)), "--store", store, "--force", ranks=3)
    found = within(out)
    assert found.data.dtype == stored and np.array_equal(found.indices, computed.indices)
    assert np.array_equal(found.data, computed.data.astype(stored))
    work.pairdist("verify", out, "--all")


def test_no_radius_has_what_is_no_number(work):
    x = RNG.normal(size=(40, 3))
    x[5, 1], x[9, 0] = np.nan, np.inf
    for ranks in RANKS:
        out = work.compute(x, None, "--radius", "inf", "--include-self", "--allow-nonfinite", "--force", "--tile", 9, "--matrix", ranks=ranks)
        matrix = distances(out)
        found = within(out)
        assert np.array_equal(found.indptr, np.append(0, (~np.isnan(matrix)).sum(axis=1).cumsum()))
        assert np.array_equal(np.nonzero(~np.isnan(matrix))[1], found.indices)
        work.pairdist("verify", out, "--all", ranks=ranks)
        (work / "x.h5").unlink()


REFUSED = (
    (("--radius", "nan"), "it must be a number, 0 or more"),
    (("--radius", "-1"), "it must be a number, 0 or more"),
    (("--radius", "near"), "it must be a number, 0 or more"),
    (("--include-self",), "--include-self: it goes with --neighbors or --radius"),
    (("--radius", "1", "--include-self", "--against", "x.h5"), "--include-self: no sample of X is one of Y"),
    (("--radius", "1", "--no-output"), "cannot be used with"),
    (("--condensed", "--against", "x.h5"), "--condensed: with two inputs"),
    (("--condensed", "--no-output"), "cannot be used with"),
)


@pytest.mark.parametrize("ranks", (0, 3))
@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_what_makes_no_sense_is_refused_in_a_sentence(work, options, words, ranks):
    work.write("x", SAMPLES["one feature"])
    out = () if "--no-output" in options else ("-o", "out.h5")
    done = work.pairdist("compute", "x.h5", *out, *options, ranks=ranks, status=(2,))
    assert words in done.stderr
    assert sorted(path.name for path in work.folder.iterdir()) == ["x.h5"]


def checksums(indptr, indices, data, tile):
    """The formula of docs/FORMAT.md."""
    sums = []
    for number, first in enumerate(range(0, len(indptr) - 1, tile)):
        ends = indptr[first : first + tile + 1]
        entries = slice(ends[0], ends[-1])
        parts = (np.diff(ends).astype("<u8"), indices[entries].astype("<i8"), data[entries].astype("<f8"))
        sums.append(sum(3**power * xxhash.xxh3_64_intdigest(part.tobytes()) for power, part in zip((2, 1, 0), parts)) * (2 * number + 1) % 2**64)
    return np.array(sums, "u8")[:, None]


def cut(indptr, indices, data, place):
    indptr[8:] -= 1
    return np.delete(indices, place), np.delete(data, place)


def missing(indptr, indices, data):
    return cut(indptr, indices, data, indptr[7])


def superfluous(indptr, indices, data):
    # one more, which is far away
    far = max(set(range(80)) - {7} - set(indices[indptr[7] : indptr[8]]))
    place = indptr[7] + np.searchsorted(indices[indptr[7] : indptr[8]], far)
    indptr[8:] += 1
    return np.insert(indices, place, far), np.insert(data, place, 1.0)


def itself(indptr, indices, data):
    place = indptr[7] + np.searchsorted(indices[indptr[7] : indptr[8]], 7)
    indptr[8:] += 1
    return np.insert(indices, place, 7), np.insert(data, place, 0.0)


def out_of_range(indptr, indices, data):
    indices[indptr[8] - 1] = 10**6
    return indices, data


def wrong_distance(indptr, indices, data):
    data[indptr[7] + 1] *= 0.9
    return indices, data


def wrong_order(indptr, indices, data):
    place = [indptr[7], indptr[7] + 1]
    indices[place], data[place] = indices[place[::-1]], data[place[::-1]]
    return indices, data


FAULTS = {
    missing: ("of sample 7:", "within the radius of 2.5e0, and is missing"),
    superfluous: ("of sample 7:", "beyond the radius of 2.5e0, and is there"),
    itself: ("of sample 7:", "it is no other sample"),
    out_of_range: ("of sample 7:", "it is no other sample"),
    wrong_distance: ("of sample 7:", "by the definition"),
    wrong_order: ("of sample 7:", "it comes after a larger one"),
}


@pytest.mark.parametrize("ranks", (0, 3))
@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds_what_is_wrong_with_a_row(work, fault, ranks):
    out = work.compute(RNG.normal(size=(80, 6)), None, "--radius", 2.5, "--tile", 30)
    with h5py.File(out, "r+") as file:
        group = file["radius"]
        indptr, indices, data = group["indptr"][()], group["indices"][()], group["data"][()]
        assert np.array_equal(group["checksums"][()], checksums(indptr, indices, data, 30))
        indices, data = fault(indptr, indices, data)
        for name, values in (("indptr", indptr), ("indices", indices), ("data", data), ("checksums", checksums(indptr, indices, data, 30))):
            del group[name]
            group[name] = values
    for options in (("--all",), ("--rows", "80")):
        refused = work.pairdist("verify", out, *options, ranks=ranks, status=(1,)).stderr
        assert all(words in refused for words in FAULTS[fault]), refused
        assert sum(line.startswith("pairdist: ") for line in refused.splitlines()) == 1


@pytest.mark.parametrize("attribute, values", (("shape", ([80, 79], [80], "text")), ("encoding-type", ("csc_matrix",)), ("encoding-version", ("9",))))
def test_attributes_that_others_read_it_by_are_checked(work, attribute, values):
    out = work.compute(RNG.normal(size=(80, 6)), None, "--radius", 2.5)
    for value in (*values, None):
        with h5py.File(out, "r+") as file:
            del file["radius"].attrs[attribute]
            if value is not None:
                file["radius"].attrs[attribute] = value
        for command in (["verify", out], ["info", out], ["compute", "x.h5", "-o", out, "--radius", 2.5, "--resume"]):
            assert f'is damaged: attribute "{attribute}" of radius is not' in work.pairdist(*command, status=(1,)).stderr
        with h5py.File(out, "r+") as file:
            file["radius"].attrs[attribute] = {"shape": [80, 80], "encoding-type": "csr_matrix", "encoding-version": "0.1.0"}[attribute]


@pytest.mark.parametrize("name", ("indptr", "indices", "data", "checksums"))
def test_verify_finds_a_flipped_bit(work, name):
    out = work.compute(RNG.normal(size=(80, 6)), None, "--radius", 2.5, "--tile", 30)
    with h5py.File(out) as file:
        dataset = file[f"radius/{name}"]
        place = dataset.id.get_offset() + dataset.dtype.itemsize * (len(dataset) // 2)
    content = bytearray(out.read_bytes())
    content[place] ^= 1
    out.write_bytes(content)
    for ranks in (0, 2):
        refused = work.pairdist("verify", out, "--all", ranks=ranks, status=(1,)).stderr
        assert "has changed since" in refused or "is damaged" in refused, refused


def test_info_and_plan_tell_what_it_takes(work):
    x = work.write("x", RNG.normal(size=(80, 6)))
    out = work.compute(x, None, "--radius", 2.5, "--include-self", "--matrix")
    told = work.pairdist("info", out).stdout
    count = within(out).nnz
    assert f"radius       all within 2.5 of each of 80 samples, with itself: {count}, {100 * count / 6400:.3f} % of all, f64" in told
    planned = work.pairdist("plan", x, "--radius", 2.5, "--tile", 16, "--json", work / "plan.json").stdout
    assert re.search(r"^radius +76\.00 B in the result if 0\.1 % of all pairs are within it, and .*B beside it until the end$", planned, re.MULTILINE)
    assert "76.80 kB in the result if 100 % of all pairs are within it" in planned
    # what is written is what was planned: pieces, entries and where rows begin
    everything = json.loads((work / "plan.json").read_text())["radius"][-1]
    record = work.record("--radius", "inf", "--include-self", "--tile", 16, "-o", work / "all.h5", x=x)
    assert record["bytes_written"] == everything["result_bytes"] + everything["folder_bytes"] + 81 * 8
    # of rows that have entries by chance, about so many
    x = work.write("x", RNG.random((2000, 3)))
    record = work.record("--radius", 0.03, "--tile", 100, "-o", work / "few.h5", x=x)
    with h5py.File(work / "few.h5") as file:
        share = len(file["radius/data"]) / 2000**2
    few = 400 * (64 + 100 * 8 * (1 - (1 - share) ** 100)) + share * 2000**2 * (12 + 12)
    assert record["bytes_written"] == pytest.approx(few + 2001 * 8, rel=0.05)
