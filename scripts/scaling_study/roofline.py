"""What a tile's traffic allows: arithmetic intensity, kernel rate, and a small test of the memory bandwidth."""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from scaling_study.failure import Failure

ELEMENT_BYTES = {"f32": 4, "f64": 8}
STREAM_BYTES = 1 << 30  # of each of the three arrays: more than the caches of a node hold
STREAM_REPEATS = 10


def intensity(point):
    """Pair-features per byte of a whole tile of edge t: t² d over the bytes of its two panels, 2 t d. Its distances stay in a cache."""
    problem = point.problem
    rows, cols = (min(point.middle.tile, n) for n in (problem.n, problem.m))
    return rows * cols / ((rows + cols) * ELEMENT_BYTES[problem.dtype])


def computed_pairs(problem, tile):
    """With one input, the tiles on and above the diagonal; those on it whole."""
    if not problem.symmetric:
        return problem.n * problem.m
    whole, rest = divmod(problem.n, tile)
    return (problem.n**2 + whole * tile**2 + rest**2) // 2


def kernel_rates(point):
    """Pair-features per second and node while computing, of each repeat. For runs without output: else workers also compute meanwhile."""
    return [
        computed_pairs(run.problem, run.tile) * run.problem.d / run.phases["compute"][0] / run.layout.nodes
        for run in point.runs
        if run.phases["compute"][0]
    ]


def points_to_draw(points):
    """One for each problem without output: of the layouts that use most of a node, the smallest. With output, others also compute
    while they write."""
    alone = [point for point in points if not point.problem.output and kernel_rates(point)]
    most = max((point.layout.cores_per_node for point in alone), default=0)
    smallest = {}
    for point in alone:
        if point.layout.cores_per_node == most:
            smallest.setdefault(point.problem, point)
    return list(smallest.values())


def measure_bandwidth(threads):
    """Bytes per second of c = a + b on so many cores, in the manner of STREAM: two arrays read, one written; the best of some repeats.

    McCalpin, "Memory Bandwidth and Machine Balance in Current High Performance Computers", 1995.
    """
    if threads > (here := len(os.sched_getaffinity(0))):
        raise Failure(f"the runs use {threads} cores of a node, this machine has {here}: measure on such a node, or pass --bandwidth GB/s")
    length = STREAM_BYTES // 8 // threads
    with ThreadPoolExecutor(threads) as pool:
        # each thread fills its own part first, so that the memory is near its core
        parts = list(pool.map(lambda _: [np.ones(length) for _ in range(3)], range(threads)))
        seconds = []
        for _ in range(STREAM_REPEATS):
            start = time.perf_counter()
            list(pool.map(lambda part: np.add(part[0], part[1], out=part[2]), parts))
            seconds.append(time.perf_counter() - start)
    return 3 * 8 * length * threads / min(seconds)
