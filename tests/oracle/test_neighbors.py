"""The nearest neighbours against brute force over the program's own matrix, and as the programs that people use take them."""

import itertools
import re

import h5py
import numpy as np
import pytest
import scipy.sparse
import xxhash
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

RNG = np.random.default_rng(16)


def brute_force(distances, count, symmetric, include_self=False):
    """Indices and distances of the nearest: ties by index, NaN never."""
    n = len(distances)
    indices, nearest = np.full((n, count), -1), np.full((n, count), np.inf, distances.dtype)
    for i, row in enumerate(distances):
        others = np.flatnonzero(~np.isnan(row))
        if symmetric:
            others = others[others != i]
        others = others[np.lexsort((others, row[others]))]
        if include_self and not np.isnan(row[i]):
            others = np.concatenate([[i], others])
        others = others[:count]
        indices[i, : len(others)], nearest[i, : len(others)] = others, row[others]
    return indices, nearest


def neighbors(path):
    with h5py.File(path) as file:
        return file["neighbors/indices"][()], file["neighbors/distances"][()]


def with_gaps():
    x = RNG.normal(size=(40, 900))
    x[10:20] = x[0]
    x[30] = np.nan
    x[33, 5] = np.inf
    return x


SAMPLES = {
    "ties": RNG.integers(0, 3, (131, 4)).astype("f8"),
    "duplicates": np.repeat(RNG.normal(size=(20, 3)), 5, axis=0),
    "one feature": np.arange(60, dtype="f8")[:, None] ** 2 % 37,
    "900 features": RNG.normal(size=(50, 900)),
    "not all numbers": with_gaps(),
}


@pytest.mark.parametrize("dtype", ("f4", "f8"))
@pytest.mark.parametrize("metric", ("euclidean", "cityblock"))
@pytest.mark.parametrize("name", SAMPLES)
def test_neighbors_are_those_of_the_matrix(work, name, metric, dtype):
    x = work.write("x", SAMPLES[name].astype(dtype))
    n = len(SAMPLES[name])
    options = ("--metric", metric, "--allow-nonfinite")
    with h5py.File(work.compute(x, None, *options, out="matrix.h5")) as file:
        distances = file["distances"][()]
    cases = itertools.cycle(((1, 0, 7), (n - 1, 2, 10), (4, 3, 8), (15, 7, 6), (15, 5, n)))
    for include_self, (count, ranks, tile) in itertools.product((False, True), itertools.islice(cases, 5)):
        itself = ("--include-self",) if include_self else ()
        out = work.compute(x, None, *options, *itself, "--neighbors", count, "--tile", tile, "--force", ranks=ranks)
        expected = brute_force(distances, count, True, include_self)
        assert all(map(np.array_equal, neighbors(out), expected)), (count, ranks, tile, include_self)
        work.pairdist("verify", out, "--all", ranks=ranks % 3)


@pytest.mark.parametrize("dtype", ("f4", "f8"))
@pytest.mark.parametrize("shape", ((60, 111), (111, 60), (1, 40), (40, 1)))
def test_neighbors_of_two_inputs(work, shape, dtype):
    x, y = (RNG.integers(0, 9, (count, 5)).astype(dtype) for count in shape)
    with h5py.File(work.compute(x, y, out="matrix.h5")) as file:
        distances = file["distances"][()]
    for count, ranks, tile in ((1, 0, 7), (shape[1], 3, 9), (min(15, shape[1]), 5, 64)):
        out = work.compute(work / "x.h5", work / "y.h5", "--neighbors", count, "--tile", tile, "--force", ranks=ranks)
        assert all(map(np.array_equal, neighbors(out), brute_force(distances, count, False)))
        work.pairdist("verify", out, "--all", ranks=2)


def test_with_the_matrix_both_are_those_of_runs_of_their_own(work):
    x = work.write("x", RNG.normal(size=(150, 6)))
    with h5py.File(work.compute(x, out="matrix.h5")) as file:
        distances = file["distances"][()]
    work.record("-o", work / "both.h5", "--neighbors", 5, "--matrix", x=x, ranks=3)
    with h5py.File(work / "both.h5") as file:
        assert np.array_equal(file["distances"][()], distances)
    assert all(map(np.array_equal, neighbors(work / "both.h5"), brute_force(distances, 5, True)))
    records = [work.record("-o", work / f"{n}.h5", *options, x=x, ranks=n) for n, options in ((1, ("--neighbors", 5)), (2, ()))]
    assert len({record["digest"] for record in records}) == 1


def test_scikit_learn_finds_the_same_and_takes_them(work):
    x = RNG.normal(size=(300, 8))
    labels = (x[:, 0] > 0).astype(int)
    indices, distances = neighbors(work.compute(x, None, "--neighbors", 10))
    theirs = NearestNeighbors(n_neighbors=10, algorithm="brute").fit(x).kneighbors()
    assert np.array_equal(indices, theirs[1]) and np.allclose(distances, theirs[0])
    graph = scipy.sparse.csr_matrix((distances.ravel(), indices.ravel(), np.arange(0, 3001, 10)), (300, 300))
    model = KNeighborsClassifier(10, metric="precomputed").fit(graph, labels)
    assert model.score(graph, labels) > 0.8


REFUSED = (
    (("--neighbors", "0"), "at least 1"),
    (("--neighbors", "40"), "--neighbors 40: a sample has 39 neighbours; ask for 39 or fewer"),
    (("--neighbors", "41", "--include-self"), "--neighbors 41: a sample with itself has 40 neighbours; ask for 40 or fewer"),
    (("--include-self",), "--neighbors"),
    (("--neighbors", "5", "--include-self", "--against", "x.h5"), "--include-self: no sample of X is one of Y"),
    (("--neighbors", "41", "--against", "x.h5"), "--neighbors 41: a sample has 40 neighbours"),
    (("--neighbors", "5", "--no-output"), "cannot be used with"),
)


@pytest.mark.parametrize("ranks", (0, 3))
@pytest.mark.parametrize(("options", "words"), REFUSED)
def test_what_makes_no_sense_is_refused_in_a_sentence(work, options, words, ranks):
    work.write("x", SAMPLES["not all numbers"][:, :3])
    out = () if "--no-output" in options else ("-o", "out.h5")
    done = work.pairdist("compute", "x.h5", *out, *options, ranks=ranks, status=(2,))
    assert words in done.stderr
    assert sorted(path.name for path in work.folder.iterdir()) == ["x.h5"]


def swap(array, row, a, b):
    array[row, [a, b]] = array[row, [b, a]]


def missing(indices, distances):
    # the first neighbour goes, and the next sample after the last comes
    indices[7, :-1], distances[7, :-1] = indices[7, 1:], distances[7, 1:]
    others = set(range(len(indices))) - set(indices[7]) - {7}
    indices[7, -1], distances[7, -1] = max(others), distances[7, -2]


def superfluous(indices, distances):
    indices[7, 1], distances[7, 1] = indices[7, 0], distances[7, 0]


def itself(indices, distances):
    indices[7, 0] = 7


def out_of_range(indices, distances):
    indices[7, 0] = 10**6


def wrong_distance(indices, distances):
    distances[7, 2] = (distances[7, 1] + distances[7, 2]) / 2


def wrong_order(indices, distances):
    swap(indices, 7, 1, 2)
    swap(distances, 7, 1, 2)


FAULTS = {
    missing: "is missing, while the last in the file is at",
    superfluous: "it is no other sample, or comes twice",
    itself: "it is no other sample, or comes twice",
    out_of_range: "it is no other sample, or comes twice",
    wrong_distance: "by the definition",
    wrong_order: "it comes before one that is nearer",
}


def rewrite(path, change, checksum):
    """Changes the neighbours in a result; with its checksum, as a program would that computes wrong ones."""
    with h5py.File(path, "r+") as file:
        group = file["neighbors"]
        indices, distances = group["indices"][()], group["distances"][()]
        change(indices, distances)
        group["indices"][...], group["distances"][...] = indices, distances
        if checksum:
            group["checksums"][...] = checksum(indices, distances, int(file.attrs["tile"]))


def checksums(indices, distances, tile):
    """The formula of docs/FORMAT.md."""
    sums = []
    for number, first in enumerate(range(0, len(indices), tile)):
        rows = slice(first, first + tile)
        parts = [xxhash.xxh3_64_intdigest(part[rows].astype(dtype).tobytes()) for part, dtype in ((indices, "<i8"), (distances, "<f8"))]
        sums.append((3 * parts[0] + parts[1]) * (2 * number + 1) % 2**64)
    return np.array(sums, "u8")[:, None]


@pytest.mark.parametrize("ranks", (0, 3))
@pytest.mark.parametrize("fault", FAULTS)
def test_verify_finds_what_is_wrong_with_a_row(work, fault, ranks):
    out = work.compute(RNG.normal(size=(80, 6)), None, "--neighbors", 5, "--tile", 30)
    rewrite(out, fault, checksums)
    for options in (("--all",), ("--rows", "80")):
        refused = work.pairdist("verify", out, *options, ranks=ranks, status=(1,)).stderr
        assert "of sample 7:" in refused and FAULTS[fault] in refused, refused
        assert sum(line.startswith("pairdist: ") for line in refused.splitlines()) == 1


@pytest.mark.parametrize("ranks", (0, 2))
def test_verify_finds_a_flipped_bit(work, ranks):
    out = work.compute(RNG.normal(size=(80, 6)), None, "--neighbors", 5, "--tile", 30)
    with h5py.File(out) as file:
        assert np.array_equal(file["neighbors/checksums"][()], checksums(*neighbors(out), 30))
        place = file["neighbors/distances"].id.get_offset() + 8 * 5 * 41
    content = bytearray(out.read_bytes())
    content[place] ^= 1
    out.write_bytes(content)
    refused = work.pairdist("verify", out, "--all", ranks=ranks, status=(1,)).stderr
    assert "the neighbours of rows 30 to 60 have checksum" in refused and "has changed since" in refused


def test_verify_takes_distances_that_are_too_large_for_what_they_are(work):
    x = RNG.normal(size=(20, 3)).astype("f4") * 1e25
    out = work.compute(x, None, "--metric", "sqeuclidean", "--neighbors", 4, "--tile", 7)
    indices, distances = neighbors(out)
    assert np.isinf(distances).all() and indices[0].tolist() == [1, 2, 3, 4] and indices[7].tolist() == [0, 1, 2, 3]
    work.pairdist("verify", out, "--all", ranks=2)


def test_info_tells_what_a_result_holds(work):
    out = work.compute(RNG.normal(size=(80, 6)), None, "--neighbors", 5, "--include-self", "--matrix")
    told = work.pairdist("info", out).stdout
    assert "distances    80 x 80, f64" in told
    assert "neighbors    5 of each of 80 samples, itself first, f64" in told


def test_a_walk_and_a_ramp_have_their_neighbors(work):
    steps = RNG.normal(size=(2000, 3)).cumsum(axis=0)
    for x in (steps, np.linspace(0, 1, 2000)[:, None], steps[::-1]):
        out = work.compute(x, None, "--neighbors", 15, "--force", ranks=2)
        theirs = NearestNeighbors(n_neighbors=15, algorithm="brute").fit(x).kneighbors()
        assert np.allclose(neighbors(out)[1], theirs[0], atol=1e-9)
        (work / "x.h5").unlink()


LABELS = {
    "variable text": np.array([f"cell {i} \N{GREEK SMALL LETTER ALPHA}" for i in range(30)], object),
    "fixed text": np.array([f"cell {i}" for i in range(30)], "S7"),
    "long fixed text": np.array([f"{i}" * 40 for i in range(30)], "S200"),
    "numbers": np.arange(30, dtype=">i8") * 10**15,
    "small numbers": np.arange(30, dtype="u2"),
    "fractions": np.arange(30, dtype="f4") / 7,
    "booleans": np.arange(30) % 2 == 0,
}


@pytest.mark.parametrize("ranks", (0, 3))
@pytest.mark.parametrize("name", LABELS)
def test_labels_are_copied_as_they_are(work, name, ranks):
    for path in ("x.h5", "y.h5"):
        with h5py.File(work / path, "w") as file:
            file["samples"] = RNG.normal(size=(30, 3))
            file["obs/_index"] = file["obs/obs"] = LABELS[name]
    options = ("--ids", "obs/_index", "--against-ids", "/obs//obs")
    out = work.compute(work / "x.h5", work / "y.h5", *options, "--neighbors", 4, ranks=ranks)
    with h5py.File(work / "x.h5") as source, h5py.File(out) as result:
        for copied in ("ids", "against_ids"):
            assert result[copied].dtype == source["obs/_index"].dtype.newbyteorder("=") or result[copied].dtype == source["obs/_index"].dtype
            assert np.array_equal(result[copied][()], source["obs/_index"][()])
    assert "ids          from obs/_index" in work.pairdist("info", out).stdout
    work.pairdist("verify", out, "--all")
    refused = work.pairdist("compute", "x.h5", "--against", "y.h5", "-o", "out.h5", "--neighbors", 4, "--resume", status=(1,))
    assert "--ids was obs/_index and is none" in refused.stderr


@pytest.mark.parametrize("ranks", (0, 3))
def test_labels_that_are_none_are_refused(work, ranks):
    with h5py.File(work / "x.h5", "w") as file:
        file["samples"] = RNG.normal(size=(30, 3))
        file["short"], file["square"], file["complex"] = np.arange(29), np.ones((30, 1), int), np.ones(30, complex)
        file.create_group("group")
        file["kind/categories"], file["kind/codes"] = [b"one", b"two"], np.arange(30) % 2
        file["link"] = h5py.SoftLink("/short")
        file["far"] = h5py.ExternalLink("y.h5", "/ids")
    cases = {
        "short": "have shape [29]; there must be one for each of 30 samples",
        "square": "have shape [30, 1]",
        "complex": "neither text",
        "link": '"link" is a link, and links are not followed here',
        "far": '"far" is a link, and links are not followed here',
        "none": 'it has no dataset "none" of its own',
        "group": '"group" is a group, not a dataset',
        "kind": '"kind" is a group, not a dataset; its numbers are "kind/codes"',
        "short/none": 'it has no dataset "short/none" of its own',
    }
    for name, words in cases.items():
        refused = work.pairdist("compute", "x.h5", "--dataset", "samples", "-o", "out.h5", "--ids", name, ranks=ranks, status=(1,)).stderr
        assert words in refused and sum(line.startswith("pairdist: ") for line in refused.splitlines()) == 1
        assert sorted(path.name for path in work.folder.iterdir()) == ["x.h5"]


@pytest.mark.parametrize("ranks", (0, 2))
def test_lists_that_do_not_fit_are_told_with_what_they_take(work, ranks):
    work.pairdist("generate", "x.h5", "--samples", 40000, "--features", 2)
    # 40000 lists of 39000 and half as many more, 16 bytes each: 37 GB
    refused = work.pairdist("compute", "x.h5", "-o", "out.h5", "--neighbors", 39000, ranks=ranks, status=(1,)).stderr
    assert re.search(r"are free; .*; lists of neighbours take \d\d\.\d\d GB of it, fewer with a smaller K", refused), refused
    assert sorted(path.name for path in work.folder.iterdir()) == ["x.h5"]
    assert re.search(r"^  lists +\d\d\.\d\d GB$", work.pairdist("plan", "x.h5", "--neighbors", 39000, status=(0, 1)).stdout, re.MULTILINE)


def test_options_of_other_results_are_refused(work):
    x = work.write("x", RNG.normal(size=(30, 4)))
    nearest, matrix = work.compute(x, None, "--neighbors", 3, out="n.h5"), work.compute(x, None, out="m.h5")
    for ranks in (0, 3):
        done = work.pairdist("verify", nearest, "--pairs", 10, ranks=ranks, status=(2,))
        assert "--pairs: " in done.stderr and "holds no matrix" in done.stderr
        done = work.pairdist("verify", matrix, "--rows", 10, ranks=ranks, status=(2,))
        assert "--rows: " in done.stderr and "holds no neighbours" in done.stderr


def test_rows_without_enough_neighbours_are_told(work):
    samples = RNG.normal(size=(30, 4))
    samples[7] = np.nan
    x = work.write("x", samples)
    for ranks in (0, 3):
        options = ("-o", work / "r.h5", "--force", "--allow-nonfinite")
        done = work.pairdist("compute", x, *options, "--neighbors", 29, ranks=ranks)
        assert "30 samples had fewer than 29 distances that are numbers" in done.stderr
        done = work.pairdist("compute", x, *options, "--neighbors", 5, ranks=ranks)
        assert "1 sample had fewer than 5 distances that are numbers" in done.stderr
