"""What scripts/scaling prints, draws and refuses."""

import itertools
import os
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY, record
from matplotlib.image import imread
from scaling_study import plot, series
from scaling_study import record as record_files

NAMES = ["strong", "weak", "phases", "roofline"]
SIZES = {1: 1000, 2: 1414, 4: 2000}


def strong_and_weak():
    """Both kinds, with and without output, three repeats."""
    for repeat in range(3):
        for output in (False, True):
            for ranks, n in SIZES.items():
                yield record(4.0 / ranks + 0.1 * repeat + output, ranks=ranks, output=output)
                if ranks > 1:
                    yield record(4.0 + 0.1 * repeat + output, ranks=ranks, n=n, output=output)


def cells(line):
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_house_table_has_median_spread_speed_up_and_efficiency(study):
    study.add(*(record(wall_s, nodes=1, ranks=4, threads=2) for wall_s in (8.0, 10.0, 30.0)), record(6.25, nodes=2, ranks=8, threads=2))
    printed = study.run(study.folder).stdout.splitlines()
    start = next(i for i, line in enumerate(printed) if "efficiency" in line)
    assert cells(printed[start]) == ["nodes", "ranks", "threads", "wall, s", "of all runs, s", "runs", "speed-up", "efficiency"]
    assert cells(printed[start + 2]) == ["1", "4", "2", "10.0", "8.00 to 30.0", "3", "1.00", "1.00"]
    assert cells(printed[start + 3]) == ["2", "8", "2", "6.25", "6.25 to 6.25", "1", "1.60", "0.80"]


def test_the_phase_table_has_phases_imbalance_bytes_and_rate(study):
    study.add(record(10.0), record(5.0, ranks=2, output=False))
    row = cells(study.run(study.folder).stdout.splitlines()[-1])
    assert row == ["1", "2", "1", "0.100", "0.100", "2.50", "0.100", "0.100", "0.100", "1.20", "0.400", "0.400", "0", "0.0100"]


def test_output_and_none_are_tables_of_their_own(study):
    study.add(*strong_and_weak())
    titles = re.findall("^### (.*?),.*, (.*)$", study.run(study.folder).stdout, re.MULTILINE)
    assert titles == [(f"{kind} scaling", f"{output} output") for kind in ("Strong", "Weak") for output in ("without", "with")]


@pytest.mark.parametrize(("stop", "nodes"), [(0.9, 1), (0.7, 2), (0.3, 4)])
def test_it_says_up_to_where_the_efficiency_is_worth_it(study, stop, nodes):
    study.add(record(8.0), record(5.0, nodes=2, ranks=2), record(5.0, nodes=4, ranks=4))
    said = study.run(study.folder, "--stop", stop).stdout
    assert f"with an efficiency of at least {stop:.0%}: {nodes} node" in said


def test_runs_that_nothing_compares_with_are_named(study):
    study.add(record(2.0), record(1.0, ranks=2), record(1.0, d=7))
    assert "of 7 features" in study.run(study.folder).stderr


def test_all_plots_are_drawn(study):
    study.add(*strong_and_weak())
    study.draw("--bandwidth", 40, "--peak", 100)
    expected = {f"scaling-{name}.{kind}" for name in NAMES for kind in ("png", "svg")}
    assert {path.name for path in study.plots.iterdir()} == expected


@pytest.mark.parametrize("name", NAMES)
def test_plots_show_more_than_one_colour(study, name):
    study.add(*strong_and_weak())
    study.draw("--bandwidth", 40)
    picture = imread(study.plots / f"scaling-{name}.png")
    assert min(picture.shape[:2]) > 400
    assert len({tuple(pixel) for pixel in picture[::4, ::4].reshape(-1, picture.shape[2])}) > 10


def test_plots_of_the_same_records_are_the_same_bytes(study):
    study.add(*strong_and_weak())
    drawn = []
    for _ in range(2):
        study.draw("--bandwidth", 40)
        drawn.append({path.name: path.read_bytes() for path in study.plots.glob("*.svg")})
    assert len(drawn[0]) == len(NAMES)
    assert drawn[0] == drawn[1]


def test_the_speed_up_is_drawn_where_its_cores_are(study):
    points = series.points_of(record_files.read_runs([study.add(*strong_and_weak()).folder]))
    figure = plot.speed_up_figure("Strong scaling", series.strong_series(points), 0.5)
    axes = figure.axes[0]
    drawn = [(line.get_transform() - axes.transData).transform(line.get_xydata()) for line in axes.lines]
    assert len(drawn) >= 3  # the ideal line, without output, with output
    for x, _ in itertools.chain.from_iterable(drawn):
        assert min(abs(x - cores) for cores in SIZES) < 1e-9  # else it may seem to be above the ideal


def test_no_bar_of_the_phases_ends_at_the_frame(study):
    points = series.points_of(record_files.read_runs([study.add(*strong_and_weak()).folder]))
    for axes in plot.phases_figure(series.strong_series(points)).axes:
        longest = max(bar.get_x() + bar.get_width() for bar in axes.patches)
        assert longest < 0.98 * axes.get_xlim()[1]
        assert axes.get_xlabel() == "time (s)"


def test_one_is_not_plural(study):
    study.add(record(2.0, d=1), record(1.0, nodes=2, ranks=2, d=1))
    said = study.draw("--bandwidth", 40).stdout
    assert "distances of 1 feature," in said
    drawn = "".join(path.read_text() for path in study.plots.glob("*.svg"))
    assert "Roofline of 1 core of a node" in drawn
    for noun in ("core", "feature", "node", "rank", "thread"):
        assert not re.search(rf"\b1 {noun}s", said + drawn)


def test_a_missing_peak_is_named(study):
    study.add(record(2.0), record(1.0, ranks=2))
    assert "add --peak" in study.draw("--bandwidth", 40).stderr
    assert "--peak" not in study.draw("--bandwidth", 40, "--peak", 3).stderr


def test_plots_are_drawn_though_nobody_reads_the_tables(study):
    study.add(record(2.0), record(1.0, ranks=2))
    reads, writes = os.pipe()
    os.close(reads)
    argv = [sys.executable, "-m", "scaling_study", study.folder, "--plots", study.plots]
    done = subprocess.run(argv, cwd=REPOSITORY / "scripts", stdout=writes, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(writes)
    assert "Traceback" not in done.stderr and "Error" not in done.stderr
    assert (study.plots / "scaling-phases.svg").exists()


def test_a_folder_that_plots_cannot_go_to_is_named(study):
    study.add(record(2.0), record(1.0, ranks=2))
    study.plots.write_text("a file")
    done = study.run(study.folder, "--plots", study.plots, status=1)
    assert str(study.plots) in done.stderr and "Traceback" not in done.stderr


def test_the_caption_is_in_the_plots(study):
    study.add(record(2.0), record(1.0, ranks=2))
    study.draw()
    without = (study.plots / "scaling-strong.svg").read_text()
    (study.folder / "about.txt").write_text("two cores somewhere\n")
    study.draw()
    assert "two cores somewhere" not in without
    assert "two cores somewhere" in (study.plots / "scaling-strong.svg").read_text()


def test_plots_that_the_records_are_not_enough_for_are_named(study):
    study.add(record(2.0, output=True), record(1.0, ranks=2, output=True))
    said = study.draw("--bandwidth", 40).stderr
    assert "no plot of Weak scaling" in said
    assert "no plot of the roofline" in said
    assert not list(study.plots.glob("scaling-weak.*")) + list(study.plots.glob("scaling-roofline.*"))


def without(name):
    values = record(1.0)
    del values[name]
    return values


REFUSED = {
    "no records": ([], "holds no run records"),
    "empty": ([""], "cannot be read as JSON"),
    "not JSON": (["{"], "cannot be read as JSON"),
    "not an object": (["[]"], "is not a JSON object"),
    "a missing field": ([without("wall_s")], "wall_s is missing"),
    "a missing part": ([without("phases")], "phases is missing"),
    "a missing phase": ([record(1.0, phases={})], "read is missing"),
    "text for a number": ([record(1.0) | {"wall_s": "fast"}], 'wall_s is "fast"'),
    "no time": ([record(1.0) | {"wall_s": 0.0}], "wall_s is 0"),
    "not a number": ([record(1.0) | {"wall_s": float("nan")}], "wall_s is NaN"),
    "no ranks": ([record(1.0, ranks=0)], "ranks is 0"),
    "true for a number": ([record(1.0, ranks=2) | {"ranks": True}], "ranks is true"),
    "an unknown type": ([record(1.0, dtype="f16")], "dtype is f16"),
    "a resumed run": ([record(1.0, resumed_pairs=5)], "resumed"),
    "other versions": ([record(1.0), record(1.0, versions=record(1.0)["versions"] | {"simd": "avx512"})], "make one study of each"),
    "other samples": ([record(1.0), record(1.0, ranks=2, digest="0")], "from the same samples"),
    "one layout": ([record(1.0), record(1.0)], "different numbers of cores"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_in_one_sentence(study, case):
    values, sentence = REFUSED[case]
    assert sentence in study.add(*values).refusal()


def test_a_missing_folder_is_named(study):
    assert "nowhere is not a folder" in study.run("nowhere", status=1).stderr


@pytest.mark.parametrize("options", ["--stop 2", "--bandwidth 40", "--plots p --bandwidth -1", "--plots p --peak 5"])
def test_wrong_options_are_usage_errors(study, options):
    assert "usage:" in study.run(study.folder, *options.split(), status=2).stderr
