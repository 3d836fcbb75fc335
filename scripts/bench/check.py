"""Nobody is timed with a wrong result: some rows are compared with SciPy in f64."""

from bench.failure import Failure
from bench.works import NEIGHBORS

ROWS = 24


class Check:
    """Holds what SciPy says about some rows of x against all of y."""

    def __init__(self, work, x, y):
        import numpy as np
        from scipy.spatial.distance import cdist

        self.rows = np.unique(np.linspace(0, len(x) - 1, ROWS, dtype=int))
        x, y = x[self.rows].astype("f8"), y.astype("f8")
        self.expected = cdist(x, y, work.metric, **work.parameters())
        self.tolerance = tolerance(work, x, y, self.expected)
        if work.group == "neighbors":
            # the nearest, after each sample itself
            self.expected = np.sort(self.expected, axis=1)[:, 1 : NEIGHBORS + 1]
            self.tolerance = self.tolerance.max(axis=1, keepdims=True)

    def rows_are_right(self, found):
        """Raises Failure if these rows of a result are not the expected ones."""
        if found.shape != self.expected.shape:
            raise Failure(f"a result of shape {found.shape} instead of {self.expected.shape}")
        error = abs(found - self.expected)
        if not (error <= self.tolerance).all():
            raise Failure(f"a distance is off by {error.max():.3g}")


def tolerance(work, x, y, expected):
    """Four times the bound of a sum of d terms: 4 (d + 8) u s, where s is the distance, what it is a difference of for the Gram trick."""
    import numpy as np

    unit_roundoff = 2.0**-53 if work.dtype == "f64" else 2.0**-24
    scale = expected
    if work.metric == "sqeuclidean":
        scale = (x * x).sum(1)[:, None] + (y * y).sum(1)
    elif work.metric in ("cosine", "correlation"):
        scale = np.full_like(expected, 2)
    return 4 * (work.d + 8) * unit_roundoff * scale
