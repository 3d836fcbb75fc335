"""What is measured: the table of works."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Work:
    """The distances of n samples with d features to n samples.

    group: "compute" for two inputs and no output; "file" for one input, from HDF5 to HDF5; "neighbors" likewise, for the nearest
        NEIGHBORS others of every sample
    goal: pairdist's rate over that of the fastest peer is to be at least this
    programs: the peers that take part; all if empty
    dtype: type of the samples; of truth values ("bool") and bytes ("u8"), distances are f32
    p: the order of a Minkowski distance
    weighted: whether every feature has a weight
    """

    group: str
    metric: str
    n: int
    d: int
    dtype: str
    goal: float
    programs: tuple[str, ...] = ()
    p: float | None = None
    weighted: bool = False

    @property
    def distance(self):
        """The metric with what it is given, as one word."""
        return f"{'weighted-' if self.weighted else ''}{self.metric}{f'-{self.p:g}' if self.p else ''}"

    def parameters(self):
        """What SciPy is given beside the samples: the order, the weights, the variances or an inverse covariance."""
        import numpy as np

        a_number_a_feature = np.linspace(0.5, 1.5, self.d)
        given = {}
        if self.p is not None:
            given["p"] = self.p
        if self.weighted:
            given["w"] = a_number_a_feature
        if self.metric == "seuclidean":
            given["V"] = a_number_a_feature
        if self.metric == "mahalanobis":
            given["VI"] = np.eye(self.d) + 0.5 * np.eye(self.d, k=1) + 0.5 * np.eye(self.d, k=-1)
        return given

    @property
    def size(self):
        return f"{self.n}x{self.d} {self.dtype}"

    @property
    def name(self):
        return f"{self.group} {self.distance} {self.size}"

    @property
    def pair_features(self):
        return self.n * self.n * self.d

    @property
    def bytes(self):
        return self.n * self.n * (8 if self.dtype == "f64" else 4)

    def smaller(self):
        """The same kind of work at a size that tests this program, not the machine."""
        return dataclasses.replace(self, n=max(200, self.n // 16))


WORKS = (
    Work("compute", "cityblock", 4096, 128, "f32", 2.4),
    Work("compute", "cityblock", 4096, 128, "f64", 2.5),
    Work("compute", "cityblock", 12000, 50, "f64", 3.0),
    Work("compute", "cityblock", 3000, 784, "f32", 1.8),
    Work("compute", "cityblock", 8192, 3, "f32", 3.0),
    Work("compute", "sqeuclidean", 4096, 128, "f32", 2.5),
    Work("compute", "sqeuclidean", 4096, 128, "f64", 2.3),
    Work("compute", "sqeuclidean", 12000, 50, "f64", 3.0),
    Work("compute", "sqeuclidean", 3000, 784, "f32", 1.1),
    Work("compute", "sqeuclidean", 8192, 3, "f32", 1.2),
    Work("compute", "cosine", 4096, 128, "f32", 8.0),
    Work("compute", "cosine", 4096, 128, "f64", 5.0),
    Work("compute", "correlation", 4096, 128, "f64", 5.0),
    Work("compute", "canberra", 4096, 128, "f32", 7.0),
    Work("compute", "canberra", 4096, 128, "f64", 3.0),
    Work("compute", "braycurtis", 4096, 128, "f32", 9.0),
    Work("compute", "braycurtis", 4096, 128, "f64", 5.0),
    Work("compute", "seuclidean", 4096, 128, "f64", 9.0),
    Work("compute", "euclidean", 4096, 128, "f64", 5.0, ("SciPy",)),
    Work("compute", "chebyshev", 4096, 128, "f64", 5.0, ("SciPy",)),
    Work("compute", "mahalanobis", 4096, 128, "f64", 100.0, ("SciPy",)),
    Work("compute", "hamming", 4096, 128, "f64", 5.0, ("SciPy",)),
    Work("compute", "cityblock", 4096, 128, "f64", 5.0, weighted=True),
    Work("compute", "minkowski", 2048, 128, "f32", 40.0, p=3),
    Work("compute", "minkowski", 2048, 128, "f64", 60.0, p=3),
    Work("compute", "minkowski", 2048, 128, "f32", 12.0, p=3.2),
    Work("compute", "minkowski", 2048, 128, "f64", 3.0, p=3.2),
    Work("compute", "jensenshannon", 2048, 128, "f32", 10.0),
    Work("compute", "jensenshannon", 2048, 128, "f64", 4.0),
    *(
        Work("compute", metric, 2048, 2048, "bool", 100.0, ("SciPy",))
        for metric in ("jaccard", "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule")
    ),
    Work("compute", "jaccard", 4096, 2048, "bool", 300.0),
    Work("compute", "hamming", 4096, 2048, "bool", 2.0),
    Work("compute", "cityblock", 4096, 784, "u8", 40.0),
    Work("compute", "sqeuclidean", 4096, 784, "u8", 1.4),
    Work("compute", "hamming", 4096, 784, "u8", 30.0),
    Work("file", "cityblock", 12000, 50, "f64", 5.0, ("Numba", "SciPy + Dask", "scikit-learn")),
    Work("file", "sqeuclidean", 16384, 128, "f32", 3.0, ("torch", "Numba", "scikit-learn", "NumPy")),
    Work("neighbors", "sqeuclidean", 32768, 128, "f32", 2.0),
    Work("neighbors", "cityblock", 32768, 128, "f32", 8.0),
)
NEIGHBORS = 16
# What else is measured, by its name in the record.
ONE_INPUT = " one-input"  # behind a work's name: pairdist with one input instead of two
COMPUTE_ALONE = "pairdist --no-output"  # a program: what pairdist takes without writing,
WRITE_ALONE = "raw pwrite"  # and what as many processes as it has ranks take to write the bytes of the matrix
OURS = "pairdist", COMPUTE_ALONE, WRITE_ALONE

ONE_INPUT_GOAL = 1.8  # the pair rate is to be at least this times that with two inputs
WRITE_BOUND_GOAL = 1.15  # the time is to be at most this times (compute alone + write alone)
