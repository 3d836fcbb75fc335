"""Baselines, medians, speed-up and efficiency."""

import math

import pytest
from conftest import house_records, record
from scaling_study import record as records
from scaling_study import roofline, series
from scaling_study.failure import Failure

# Published scaling of CP2K on nodes with GH200: nodes: (wall time in s, efficiency, of which two digits are given and not rounded).
# Source: CSCS documentation, page CP2K (github.com/eth-cscs/cscs-docs, docs/software/sciapps/cp2k.md, commit 0840c056).
CP2K = {
    "QS/H2O-1024": {1: (793.1, 1.00), 2: (535.2, 0.74), 4: (543.9, 0.36), 8: (487.3, 0.20), 16: (616.7, 0.08)},
    "H2O-128-RI-MP2": {8: (2037.0, 1.00), 16: (1096.2, 0.92), 32: (611.5, 0.83), 64: (410.5, 0.62), 128: (290.9, 0.43)},
    "H2O-128-RI-dRPA": {8: (575.4, 1.00), 16: (465.8, 0.61), 32: (281.1, 0.51), 64: (205.3, 0.35), 128: (185.8, 0.19)},
}


def points(study, *values):
    return series.points_of(records.read_runs([study.add(*values).folder]))


def strong(study, *values):
    (only,) = series.strong_series(points(study, *values))
    return only


def weak(study, *values):
    (only,) = series.weak_series(points(study, *values))
    return only


def efficiencies(one):
    return [one.efficiency(point) for point in one.points]


@pytest.mark.parametrize("benchmark", CP2K)
def test_published_walls_give_the_published_efficiencies(study, benchmark):
    table = CP2K[benchmark]
    one = strong(study, *house_records({nodes: wall_s for nodes, (wall_s, _) in table.items()}))
    cut = [math.floor(100 * efficiency) / 100 for efficiency in efficiencies(one)]
    assert cut == [efficiency for _, efficiency in table.values()]


def test_speed_up_of_ri_mp2_on_128_nodes_is_seven(study):
    table = CP2K["H2O-128-RI-MP2"]
    one = strong(study, *house_records({nodes: wall_s for nodes, (wall_s, _) in table.items()}))
    assert round(one.speed_up(one.points[-1]), 2) == 7.00


@pytest.mark.parametrize("key", ["nodes", "ranks", "threads"])
def test_the_baseline_has_the_fewest_nodes_then_ranks_then_threads(study, key):
    small, large = {"nodes": ((2, 32, 8), (4, 16, 9)), "ranks": ((2, 4, 8), (2, 8, 2)), "threads": ((2, 4, 1), (2, 4, 8))}[key]
    one = strong(study, record(1.0, *large), record(3.0, *small))
    assert one.baseline.layout == small


def test_the_median_of_the_repeats_counts(study):
    one = strong(study, *(record(wall_s, ranks=1) for wall_s in (9.0, 4.0, 5.0)), *(record(wall_s, ranks=2) for wall_s in (2.0, 8.0, 2.5)))
    assert [point.wall_s for point in one.points] == [5.0, 2.5]
    assert efficiencies(one) == [1.0, 1.0]


def test_of_an_even_number_of_runs_the_faster_of_the_middle_two_is_the_median(study):
    one = strong(study, *(record(wall_s) for wall_s in (9.0, 3.0, 4.0, 6.0)), record(2.0, ranks=2))
    assert one.baseline.wall_s == 4.0
    assert one.efficiency(one.points[1]) == 1.0


def test_phases_are_those_of_the_median_run(study):
    one = strong(study, *(record(wall_s) for wall_s in (5.0, 100.0, 4.0)), record(2.0, ranks=2))
    assert one.baseline.middle.phases_s["compute"] == 2.5


def test_cores_count_not_ranks(study):
    one = strong(study, record(8.0), record(2.0, ranks=2, threads=4))
    assert one.speed_up(one.points[1]) == pytest.approx(4.0)
    assert one.efficiency(one.points[1]) == pytest.approx(0.5)


OTHERS = {"d": 51, "metric": "chebyshev", "kernel": "gemm", "dtype": "f32", "output": True, "symmetric": False}


@pytest.mark.parametrize("name", OTHERS)
def test_other_problems_are_kept_apart(study, name):
    assert series.strong_series(points(study, record(2.0), record(1.0, ranks=2, **{name: OTHERS[name]}))) == []


def test_samples_that_grow_with_the_square_root_of_the_cores_are_weak(study):
    sizes = {1: 24000, 2: 33941, 4: 48000, 8: 67882, 16: 96000}
    one = weak(study, *(record(10.0 + nodes, nodes, 8 * nodes, 16, n=n) for nodes, n in sizes.items()))
    assert [point.layout.nodes for point in one.points] == list(sizes)
    assert efficiencies(one) == pytest.approx([11.0 / (10.0 + nodes) for nodes in sizes], rel=1e-4)
    assert one.speed_up(one.points[-1]) == pytest.approx(16 * 11.0 / 26.0, rel=1e-4)


def test_work_per_core_that_is_not_constant_is_not_weak(study):
    assert series.weak_series(points(study, record(1.0, n=1000), record(1.0, ranks=2, n=1500))) == []


def test_one_size_is_never_weak(study):
    assert series.weak_series(points(study, record(1.0), record(1.0, ranks=2))) == []


def test_a_tile_reads_its_panels(study):
    for features in (50, 500):
        (*_, point) = points(study, record(1.0, n=1000, d=features))
        assert roofline.intensity(point) == pytest.approx(400 * 400 * features / (8 * 2 * 400 * features))


def test_the_roofline_is_drawn_for_the_smallest_layout_that_uses_most_of_a_node(study):
    values = [record(9.0), record(5.0, ranks=2), record(5.0, threads=2), record(3.0, nodes=2, ranks=4), record(1.0, ranks=4, output=True)]
    (drawn,) = roofline.points_to_draw(points(study, *values))
    assert drawn.layout == (1, 1, 2)


def test_the_bandwidth_of_more_cores_than_there_are_is_not_measured():
    with pytest.raises(Failure, match="use 1000000 cores of a node"):
        roofline.measure_bandwidth(1_000_000)


def test_the_bandwidth_is_measured_on_as_many_threads_as_cores_are_drawn(monkeypatch):
    monkeypatch.setattr(roofline, "STREAM_BYTES", 1 << 20)
    made = []
    pool = roofline.ThreadPoolExecutor
    monkeypatch.setattr(roofline, "ThreadPoolExecutor", lambda threads: made.append(threads) or pool(threads))
    assert roofline.measure_bandwidth(1) > 0
    assert made == [1]


@pytest.mark.parametrize(("symmetric", "pairs"), [(False, 1000 * 1000), (True, 3 * 400 * 400 + 2 * 400 * 200 + 200 * 200)])
def test_one_input_computes_the_tiles_on_and_above_the_diagonal(study, symmetric, pairs):
    # edges 400, 400, 200: one pair of whole tiles and two of 400 x 200 beside the three on the diagonal
    (point,) = points(study, record(1.0, n=1000, symmetric=symmetric))
    assert roofline.kernel_rates(point) == pytest.approx([pairs * 50 / 0.5])
