"""Samples in several files: the results of one file with all of them, and a sentence about the file that is at fault."""

import json
import resource
import shutil

import h5py
import numpy as np
import pytest

from conftest import distances

RNG = np.random.default_rng(21)
CUTS = {"one row each": [1, 2, 3], "inside panels": [7, 30, 31, 90], "halves": [50]}
METRICS = ("euclidean", "cityblock", "correlation", "braycurtis", "seuclidean", "mahalanobis", "jaccard")


def split(work, x, cuts, name="x", **creation):
    """Writes the rows of `x` to files, cut at `cuts`."""
    parts = np.split(x, cuts)
    paths = []
    for number, part in enumerate(parts):
        with h5py.File(work / f"{name}{number}.h5", "w") as file:
            file.create_dataset("samples", data=part, **creation)
        paths.append(f"{name}{number}.h5")
    return paths


def record(work, paths, *options, ranks=1):
    work.pairdist("compute", *paths, *options, "--json", "run.json", ranks=ranks)
    return json.loads((work / "run.json").read_text())


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("ranks", (1, 3))
def test_files_have_the_digest_of_one_file_with_all_samples(work, cuts, ranks):
    x = RNG.normal(size=(101, 9)) * (RNG.random((101, 9)) < 0.8)
    paths, y = split(work, x, cuts), split(work, RNG.normal(size=(40, 9)), [3, 20], "y")
    work.write("x", x)
    work.write("y", np.concatenate([h5py.File(work / path)["samples"][()] for path in y]))
    for number, metric in enumerate(METRICS):
        options = ("--metric", metric, "--no-output", "--tile", 13 + number)
        alone, several = record(work, ["x.h5"], *options), record(work, paths, *options, ranks=ranks)
        assert several["digest"] == alone["digest"], metric
        against = [word for path in y for word in ("--against", path)]
        alone = record(work, ["x.h5"], *options, "--against", "y.h5")
        several = record(work, paths, *options, *against, ranks=ranks)
        assert several["digest"] == alone["digest"], metric
        # each file is digested alone
        digests = [record(work, [path], "--no-output")["inputs"][0]["digest"] for path in paths + y] if number == 0 else digests
        assert [file["digest"] for file in several["inputs"]] == digests
        assert [file["shape"][0] for file in several["inputs"]] == [h5py.File(work / path)["samples"].shape[0] for path in paths + y]


@pytest.mark.parametrize(
    "name, creation, options, kind",
    (
        ("turned", {}, ("--transpose",), "f4"),
        ("compressed", {"chunks": (8, 3), "compression": "gzip"}, (), "f8"),
        ("bytes", {}, (), "u1"),
        ("booleans", {"chunks": (20, 5)}, ("--metric", "hamming"), "?"),
        ("big numbers", {}, ("--metric", "cityblock"), "i8"),
    ),
)
def test_files_are_read_however_their_samples_lie(work, name, creation, options, kind):
    x = (RNG.normal(size=(67, 11)) * 50 + 100).astype(kind)
    x = x + 2**60 if name == "big numbers" else x
    shown = x.T if "--transpose" in options else x
    work.write("x", np.ascontiguousarray(shown), **creation)
    parts = [np.ascontiguousarray(part.T if "--transpose" in options else part) for part in np.split(x, [21, 40])]
    for number, part in enumerate(parts):
        work.write(f"x{number}", part, **{k: v for k, v in creation.items() if k != "chunks"})
    paths = ["x0.h5", "x1.h5", "x2.h5"]
    alone, several = (record(work, given, *options, "--no-output", ranks=2) for given in (["x.h5"], paths))
    assert several["digest"] == alone["digest"]
    out = work.compute(work / "x0.h5", None, *[work / path for path in paths[1:]], *options, "--neighbors", 5, "--matrix", ranks=2)
    work.pairdist("verify", out, "--all", ranks=2)


def test_files_of_different_types_are_computed_in_the_wider(work):
    x = np.round(RNG.normal(size=(30, 4)) * 100)
    for number, kind in enumerate(("i2", "f4", "f8")):
        work.write(f"x{number}", x[10 * number : 10 * number + 10].astype(kind))
    work.write("x", x)
    alone, several = (record(work, given, "--no-output") for given in (["x.h5"], ["x0.h5", "x1.h5", "x2.h5"]))
    assert several["digest"] == alone["digest"]


@pytest.mark.parametrize("ranks", (1, 2))
def test_labels_of_all_files_are_copied_one_after_the_other(work, ranks):
    labels = [np.array(["a", "bc"], "S2"), np.array(["defg"], "S4"), np.array(["h", "ij", "k"], "S2")]
    for number, part in enumerate(labels):
        with h5py.File(work / f"x{number}.h5", "w") as file:
            file["samples"], file["ids"] = RNG.normal(size=(len(part), 3)), part
    paths = [work / f"x{number}.h5" for number in range(3)]
    out = work.compute(paths[0], None, *paths[1:], "--ids", "ids", "--neighbors", 2, ranks=ranks)
    with h5py.File(out) as result:
        assert list(result["ids"][()]) == [b"a", b"bc", b"defg", b"h", b"ij", b"k"]
    with h5py.File(paths[1], "a") as file:
        del file["ids"]
        file["ids"] = [7]
    refused = work.pairdist("compute", *paths, "-o", "other.h5", "--ids", "ids", ranks=ranks, status=(1,)).stderr
    assert 'the labels "ids" of' in refused and "x1.h5 are of another type" in refused


def test_a_result_knows_its_files(work):
    x = RNG.normal(size=(50, 6))
    paths = split(work, x, [20, 21])
    work.pairdist("compute", *paths, "-o", "out.h5", ranks=2)
    assert np.array_equal(distances(work / "out.h5"), distances(work.compute(x, out="alone.h5")))
    with h5py.File(work / "out.h5") as result:
        files = json.loads(result.attrs["input"])
        assert [file["path"] for file in files] == [str(work / path) for path in paths]
        assert [tuple(file["shape"]) for file in files] == [(20, 6), (1, 6), (29, 6)]
        assert result.attrs["symmetric"] == 1
    told = work.pairdist("info", "out.h5").stdout
    assert all(f"input        {work / path}:/samples" in told for path in paths)
    work.pairdist("verify", "out.h5", "--all", ranks=3)
    # they have moved, under other names
    for path in paths:
        shutil.move(work / path, work / f"moved-{path}")
    gone = work.pairdist("verify", "out.h5", status=(1,)).stderr
    assert "x0.h5, which out.h5 was computed from, is not there" in gone
    moved = [word for path in paths for word in ("--samples", f"moved-{path}")]
    work.pairdist("verify", "out.h5", *moved)
    few = work.pairdist("verify", "out.h5", *moved[:4], status=(2,)).stderr
    assert "--samples: out.h5 was computed from 3 files, and 2 are named" in few
    # in another order they are other samples, and the file is named
    swapped = [word for path in ("x2", "x1", "x0") for word in ("--samples", f"moved-{path}.h5")]
    assert "moved-x2.h5 has 29 x 6 values, but had 20 x 6" in work.pairdist("verify", "out.h5", *swapped, status=(1,)).stderr
    with h5py.File(work / "moved-x1.h5", "a") as file:
        file["samples"][0, 0] += 1
    assert "moved-x1.h5 holds other samples" in work.pairdist("verify", "out.h5", *moved, status=(1,)).stderr


@pytest.mark.parametrize("ranks", (0, 2))
def test_a_run_goes_on_with_the_same_files_alone(work, ranks):
    paths = split(work, RNG.normal(size=(60, 5)), [20, 40])
    work.pairdist("compute", *paths, "-o", "out.h5", "--time-limit", "0:00:00", "--tile", 7, ranks=ranks, status=(75,))
    for given, words in (
        (paths[:2], "the number of files of X was 3 and is 2"),
        ([paths[0], paths[2], paths[1]], "x2.h5 was "),
        ([*paths, "--against", paths[0]], "the number of inputs was 1 and is 2"),
    ):
        told = work.pairdist("compute", *given, "-o", "out.h5", "--resume", ranks=ranks, status=(1,)).stderr
        assert words in told
    one = np.concatenate([h5py.File(work / path)["samples"][()] for path in paths])
    work.write("one", one)
    told = work.pairdist("compute", "one.h5", "-o", "out.h5", "--resume", ranks=ranks, status=(1,)).stderr
    assert "the number of files of X was 3 and is 1" in told
    work.pairdist("compute", *paths, "-o", "out.h5", "--resume", ranks=3 - ranks)
    assert np.array_equal(distances(work / "out.h5"), distances(work.compute(one, out="alone.h5")))


@pytest.mark.parametrize("ranks", (0, 3))
def test_the_file_at_fault_is_named(work, ranks):
    split(work, RNG.normal(size=(40, 4)), [10, 20, 30])
    work.write("wide", RNG.normal(size=(5, 7)))
    with h5py.File(work / "named.h5", "w") as file:
        file["other"] = RNG.normal(size=(5, 4))
    with h5py.File(work / "bad.h5", "w") as file:
        file["samples"] = RNG.normal(size=(5, 4))
        file["samples"][3, 2] = np.nan
    cases = {
        "wide.h5": ("wide.h5 has 7 features and", "x0.h5 has 4; all files of an input need the same number"),
        "named.h5": ('"/other" in named.h5; all files of an input need them under the same name', "--dataset"),
        "bad.h5": ('"/samples" in bad.h5: 1 value in 1 of 5 samples is NaN, the first is NaN in row 3, column 2', "--allow-nonfinite"),
        "none.h5": ("none.h5",),
    }
    for name, words in cases.items():
        given = ("x0.h5", "x1.h5", name, "x3.h5")
        told = work.pairdist("compute", *given, "-o", "out.h5", ranks=ranks, status=(1,)).stderr
        assert all(word in told for word in words), told
        assert sum(line.startswith("pairdist: ") for line in told.splitlines()) == 1
        assert not (work / "out.h5").exists() and not (work / "out.h5.partial").exists()
    told = work.pairdist("compute", "x0.h5", "x1.h5", "x2.h5", "-o", "x1.h5", "--force", ranks=ranks, status=(1, 2)).stderr
    assert "x1.h5" in told and h5py.File(work / "x1.h5")["samples"].shape == (10, 4)
    told = work.pairdist("compute", "x0.h5", "x1.h5", "./x0.h5", "--no-output", ranks=ranks).stderr
    assert "given more than once" in told and "x0.h5" in told


@pytest.mark.parametrize("ranks", (0, 2))
def test_a_thousand_files_are_open_a_few_at_a_time(work, ranks):
    x = RNG.normal(size=(1000, 3)).astype("f4")
    paths = split(work, x, list(range(1, 1000)))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
    try:
        told = work.pairdist("compute", *paths, "-o", "out.h5", "--neighbors", 3, "--json", "run.json", ranks=ranks)
        work.pairdist("verify", "out.h5", ranks=ranks)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "and 992 more files" in told.stdout
    files = json.loads((work / "run.json").read_text())["inputs"]
    assert len(files) == 1000 and all(file["shape"] == [1, 3] and len(file["digest"]) == 16 for file in files)
    work.write("x", x)
    assert json.loads((work / "run.json").read_text())["digest"] == record(work, ["x.h5"], "--no-output")["digest"]


def test_plan_takes_several_files(work):
    paths = split(work, RNG.normal(size=(60, 5)), [20, 40])
    told = work.pairdist("plan", *paths).stdout
    assert "60 x 60 distances, 5 features" in told
