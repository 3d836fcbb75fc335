"""Groups runs, and computes speed-up and efficiency. Times in, numbers out: no files, no text."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from scaling_study.record import Layout, Problem

SAME_WORK = 0.03  # how far the work per core may differ in one weak series, relative


@dataclass(frozen=True)
class Point:
    """All repeats of one problem in one layout."""

    problem: Problem
    layout: Layout
    runs: tuple

    @cached_property
    def walls_s(self):
        return [run.wall_s for run in self.runs]

    @cached_property
    def middle(self):
        """The run with the median wall time; of an even number, the faster of the two in the middle, so that it is one run."""
        return sorted(self.runs, key=lambda run: run.wall_s)[(len(self.runs) - 1) // 2]

    @property
    def wall_s(self):
        return self.middle.wall_s

    @property
    def work_per_core(self):
        return self.problem.pair_features / self.layout.cores


@dataclass(frozen=True)
class Series:
    """The layouts that are compared with one baseline: the fewest nodes, then ranks, then threads."""

    points: tuple  # in the order of layouts; of one layout, the smaller problem first

    @property
    def baseline(self):
        return self.points[0]

    @property
    def is_weak(self):
        return len({point.problem for point in self.points}) > 1

    def more_cores(self, point):
        """How many times the cores of the baseline: the ideal speed-up."""
        return point.layout.cores / self.baseline.layout.cores

    def efficiency_at(self, point, wall_s):
        """Strong: T₁ / (p T_p). Weak, where the work grows with p: T₁ / T_p, corrected for what rounding n left of the work."""
        return self.baseline.wall_s * point.work_per_core / (self.baseline.work_per_core * wall_s)

    def efficiency(self, point):
        return self.efficiency_at(point, point.wall_s)

    def speed_up(self, point):
        """Strong: T₁ / T_p. Weak: of the rate, so that p is ideal as well."""
        return self.efficiency(point) * self.more_cores(point)


def points_of(runs):
    repeats = defaultdict(list)
    for run in runs:
        repeats[run.problem, run.layout].append(run)
    return [Point(*key, tuple(repeats[key])) for key in sorted(repeats)]


def in_order(points):
    return Series(tuple(sorted(points, key=lambda point: (point.layout, point.problem))))


def strong_series(points):
    """One series for each problem that was run on different numbers of cores."""
    by_problem = defaultdict(list)
    for point in points:
        by_problem[point.problem].append(point)
    return [in_order(group) for group in by_problem.values() if differ_in_cores(group)]


def weak_series(points):
    """Problems that differ in the number of samples alone, with the same work per core on different numbers of cores."""
    families = defaultdict(list)
    for point in points:
        families[point.problem.family].append(point)
    series = [in_order(group) for family in families.values() for group in with_same_work(family)]
    return [one for one in series if one.is_weak and differ_in_cores(one.points)]


def with_same_work(points):
    """Splits where the work per core is no longer within SAME_WORK of the smallest of the group."""
    groups = []
    for point in sorted(points, key=lambda point: point.work_per_core):
        if groups and point.work_per_core <= (1 + SAME_WORK) * groups[-1][0].work_per_core:
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups


def differ_in_cores(points):
    return len({point.layout.cores for point in points}) > 1
