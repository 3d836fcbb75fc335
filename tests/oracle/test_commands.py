"""`generate`, `verify`, and the run record of `compute`."""

import json
import re

import h5py
import numpy as np
import pytest
from conftest import MARK, REPOSITORY, distances, launch, members
from tolerance import UNIT_ROUNDOFF, gamma

RECORD = """problem ranks nodes threads_per_rank hosts versions wall_s phases pairs pair_features_per_s recomputed_pairs
bytes_read bytes_written peak_rss_bytes planned_bytes sum min max digest""".split()
PHASES = "read exchange compute write sync wait".split()


def generated(work, name, *options, ranks=0):
    """Makes samples and returns their file and the one 2-D dataset in it."""
    path = work / f"{name}.h5"
    work.pairdist("generate", path, "--samples", 307, "--features", 13, *options, ranks=ranks)
    found = []
    with h5py.File(path, "r") as file:
        file.visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) and item.ndim == 2 else None)
    (samples,) = found
    assert samples.shape == (307, 13) and np.isfinite(samples).all()
    return path, samples


@pytest.mark.parametrize("dtype", ("f32", "f64"))
@pytest.mark.parametrize("distribution", ("uniform", "normal", "blobs"))
def test_generate_makes_the_same_samples_on_any_number_of_ranks(work, distribution, dtype):
    options = "--distribution", distribution, "--dtype", dtype, "--seed"
    path, one = generated(work, "one", *options, 1, ranks=1)
    assert one.dtype == {"f32": np.float32, "f64": np.float64}[dtype]
    for ranks in (2, 3):
        assert generated(work, f"on-{ranks}", *options, 1, ranks=ranks)[1].tobytes() == one.tobytes(), f"{ranks} ranks"
    other = generated(work, "other", *options, 2)[1]
    assert not np.isin(other, one).all(axis=1).any(), "another seed makes other samples"
    assert len(np.unique(one, axis=0)) == len(one), "no two samples are equal"
    work.pairdist("verify", work.compute(path, ranks=2))


# options of verify, and how the entry is changed that it must find: 900 pairs are all of them
CHANGES = {
    "pairs": (("--pairs", 900), lambda value: value / 2),
    "all": (("--all",), lambda value: value / 2),
    "all, last bit": (("--all",), lambda value: np.nextafter(value, 0)),
}


@pytest.mark.parametrize(("options", "change"), CHANGES.values(), ids=CHANGES)
def test_verify_finds_one_changed_entry(work, options, change):
    out = work.compute(np.random.default_rng(11).normal(size=(30, 9)), None, "--tile", "8", ranks=2)
    work.pairdist("verify", out, *options, ranks=2)
    with h5py.File(out, "r+") as file:
        file["distances"][21, 3] = change(file["distances"][21, 3])
    found = work.pairdist("verify", out, *options, ranks=2, status=(1,))
    assert "tile (2, 0)" in found.stderr if options == ("--all",) else "(21, 3)" in found.stderr


def test_the_summary_says_what_bounded_the_run(work):
    # one rank: on a busy machine, two would wait for each other
    x = work.write("x", np.random.default_rng(12).normal(size=(8000, 200)))
    done = work.pairdist("compute", x, "--metric", "cityblock", "--no-output")
    assert "bound by     computing, " in done.stdout and "what helps: more ranks or threads" in done.stdout


@pytest.mark.parametrize("inputs", (1, 2))
def test_the_run_record_describes_the_matrix_with_and_without_output(work, inputs):
    x, y = np.random.default_rng(12).normal(size=(2, 203, 7))
    files = {"x": work.write("x", x), "y": work.write("y", y) if inputs == 2 else None}
    options = "--metric", "euclidean", "--tile", 64
    written = work.record(*options, "-o", work / "out.h5", **files, ranks=2)
    matrix = distances(work / "out.h5")
    assert [field for field in RECORD if field not in written] == []
    assert [phase for phase in PHASES if not {"min_s", "mean_s", "max_s"} <= set(written["phases"][phase])] == []
    problem = {"n": 203, "m": 203, "d": 7, "metric": "euclidean", "dtype": "f64", "tile": 64}
    assert problem.items() <= written["problem"].items() and "kernel" in written["problem"]
    assert written["ranks"] == 2 and written["bytes_written"] >= matrix.nbytes
    for ranks in (1, 2, 3):
        unwritten = work.record(*options, "--no-output", **files, ranks=ranks)
        for record in (written, unwritten):
            assert (record["min"], record["max"]) == (matrix.min(), matrix.max())
            assert record["sum"] == pytest.approx(matrix.sum(), rel=2 * gamma(matrix.size, UNIT_ROUNDOFF["f8"]), abs=0)
        assert int(unwritten["digest"], 16) == int(written["digest"], 16)
        assert unwritten["bytes_written"] == 0


def test_memory_does_not_grow_with_the_result(work):
    n, d, ranks = 10_000, 16, 2
    x = work.write("x", np.random.default_rng(13).random((n, d), dtype="f4"))
    record = work.record("--metric", "sqeuclidean", "-o", work / "out.h5", x=x, ranks=ranks)
    assert record["bytes_written"] >= 4 * n * n == 400_000_000
    row_blocks = 3 * (n // ranks) * d * 4  # the rank's own, the one that visits, the one that arrives
    assert record["peak_rss_bytes"] < 300e6 + row_blocks


def test_a_run_over_its_time_is_killed_with_all_its_ranks(tmp_path):
    """The launcher of these tests is itself under test: nothing it starts may stay behind."""
    marks = tmp_path / "marks"
    with pytest.raises(pytest.fail.Exception, match="killed after 2 s"):
        launch(["sh", "-c", f"trap '' TERM; echo ${MARK} >> {marks}; sleep 60"], ranks=2, timeout=2)
    mark, other = marks.read_text().split()
    assert mark == other and members(mark) == []


def test_how_large_it_can_get_is_what_plan_says(work):
    document = (REPOSITORY / "docs/PLANNING.md").read_text()
    table = re.search(r"^## How large can it get\n.*?(^\|.*?)\n\n", document, re.MULTILINE | re.DOTALL)[1]
    titles, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines())
    assert titles[1:5] == ["`--matrix`", "`--condensed`", "`--neighbors 15`", "`--radius R`, 0.1 % of all pairs"] and len(rows) == 3
    (work / "machine.json").write_text('{"kernel_rate": 40}')
    for samples, *disk, computing in rows:
        for option, told in zip(("--matrix", "--condensed", "--neighbors=15", "--radius=1"), disk):
            words = ("--samples", samples.replace(",", ""), "--features", 128, "--dtype", "f32", "--threads", 1)
            work.pairdist("plan", *words, option, "--machine", "machine.json", "--json", "plan.json")
            plan = json.loads((work / "plan.json").read_text())
            share = next((share for share in plan["radius"] if share["share"] == 0.001), {"result_bytes": 0, "folder_bytes": 0})
            needed = plan["disk"]["needed_bytes"] + share["result_bytes"] + share["folder_bytes"]
            number, unit = told.split()
            assert f"{needed / {'MB': 1e6, 'GB': 1e9, 'TB': 1e12}[unit]:.2f}" == number, (samples, option)
        assert computing == f"{plan['problem']['n'] ** 2 / 2 * 128 / 40e9 / 3600:.3f} core-hours"
