"""The same bytes of /distances for every number of ranks and threads and every tile size."""

from itertools import product

import numpy as np
import pytest
from conftest import distances
from tolerance import DTYPES, METRICS

LAYOUTS = list(product((1, 2, 3, 5, 8), (1, 2), (31, 64, 200)))  # ranks, threads, tile
CASES = list(product(DTYPES, (1, 2)))  # dtype, inputs


@pytest.mark.parametrize("dtype, inputs", CASES)
@pytest.mark.parametrize("metric", METRICS)
def test_ranks_threads_and_tiles_do_not_change_a_byte(work, metric, dtype, inputs):
    """Each metric meets every layout once; they are dealt out over its cases."""
    rng = np.random.default_rng(5)
    n, m, d = (203, 203, 300) if inputs == 1 else (97, 131, 53)
    x = work.write("x", rng.normal(size=(n, d)).astype(dtype))
    y = None if inputs == 1 else work.write("y", rng.normal(size=(m, d)).astype(dtype))
    metric_option = "--metric", metric
    expected = distances(work.compute(x, y, *metric_option, ranks=0))
    assert expected.shape == (n, m) and expected.dtype == dtype
    if inputs == 1:
        assert np.array_equal(expected, expected.T) and not expected.diagonal().any()
    for ranks, threads, tile in LAYOUTS[CASES.index((dtype, inputs)) :: len(CASES)]:
        out = work.compute(x, y, *metric_option, "--force", "--threads", threads, "--tile", tile, ranks=ranks)
        assert distances(out).tobytes() == expected.tobytes(), f"{ranks} ranks, {threads} threads, tile {tile}"
