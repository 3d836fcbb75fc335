"""The peers: what a user would call instead of pairdist.

Every function returns the matrix of distances of the rows of x (n x d) to those of y (m x d), in `out` where the library
takes one, as the `work` says; those of the nearest return indices and distances of others than each row itself. Imports are inside, so that a process loads one peer and no other thread pool than its.
"""

import dataclasses
import functools
import os
from collections.abc import Callable

from bench.works import NEIGHBORS

CORES = len(os.sched_getaffinity(0))


def numpy_gram(work, x, y, out):
    """D^2 = |x|^2 + |y|^2 - 2 x.y in place. Clipped: rounding can make it slightly negative."""
    import numpy as np

    if x.dtype == np.uint8:
        x, y = x.astype("f4"), y.astype("f4")
    np.dot(x, y.T, out=out)
    out *= -2
    out += np.einsum("il,il->i", x, x)[:, None]
    out += np.einsum("jl,jl->j", y, y)
    return np.maximum(out, 0, out=out)


def scipy_cdist(work, x, y, out):
    from scipy.spatial.distance import cdist

    return cdist(x, y, work.metric, out=out, **work.parameters())


def dask_cdist(work, x, y, out):
    """SciPy on blocks of rows, four for each core, in Dask's threads."""
    import dask
    from scipy.spatial.distance import cdist

    rows, given = -(-len(x) // (4 * CORES)), work.parameters()
    blocks = [slice(start, start + rows) for start in range(0, len(x), rows)]
    dask.compute(*[dask.delayed(cdist, pure=False)(x[block], y, work.metric, out=out[block], **given) for block in blocks], scheduler="threads")
    return out


def sklearn_own(work, x, y, out):
    from sklearn.metrics import pairwise

    if work.metric == "sqeuclidean":
        return pairwise.euclidean_distances(x, y, squared=True)
    return {"cityblock": pairwise.manhattan_distances, "cosine": pairwise.cosine_distances}[work.metric](x, y)


def sklearn_jobs(work, x, y, out):
    from sklearn.metrics import pairwise_distances

    return pairwise_distances(x, y, work.metric, n_jobs=-1, **work.parameters())


@functools.cache
def numba_loops(fastmath):
    """The loops a user writes, by metric."""
    from numba import njit, prange

    def cityblock(x, y, out):
        for i in prange(x.shape[0]):
            for j in range(y.shape[0]):
                total = x.dtype.type(0)
                for feature in range(x.shape[1]):
                    total += abs(x[i, feature] - y[j, feature])
                out[i, j] = total

    def sqeuclidean(x, y, out):
        for i in prange(x.shape[0]):
            for j in range(y.shape[0]):
                total = x.dtype.type(0)
                for feature in range(x.shape[1]):
                    difference = x[i, feature] - y[j, feature]
                    total += difference * difference
                out[i, j] = total

    return {loops.__name__: njit(parallel=True, fastmath=fastmath)(loops) for loops in (cityblock, sqeuclidean)}


def numba(fastmath):
    def fill(work, x, y, out):
        numba_loops(fastmath)[work.metric](x, y, out)
        return out

    return fill


def torch_addmm(work, x, y, out):
    """The Gram trick: |y|^2 - 2 x.y in one call, |x|^2 and the clamp in place."""
    import torch

    x, y, distances = map(torch.from_numpy, (x, y, out))
    torch.addmm((y * y).sum(1), x, y.T, beta=1, alpha=-2, out=distances)
    distances.add_((x * x).sum(1, keepdim=True)).clamp_(min=0)
    return out


def torch_extended(work, x, y, out):
    """The Gram trick as one product, the way torch.cdist does it: [-2x, |x|^2, 1] . [y, 1, |y|^2]."""
    import torch

    x, y, distances = map(torch.from_numpy, (x, y, out))
    x2, y2 = ((z * z).sum(1, keepdim=True) for z in (x, y))
    left = torch.cat((-2 * x, x2, torch.ones_like(x2)), 1)
    right = torch.cat((y, torch.ones_like(y2), y2), 1)
    torch.mm(left, right.T, out=distances).clamp_(min=0)
    return out


def torch_cdist(work, x, y, out):
    import torch

    return torch.cdist(torch.from_numpy(x), torch.from_numpy(y), p=float(work.p or 1)).numpy()


def faiss_pairwise(work, x, y, out):
    """What faiss.pairwise_distances calls, into memory that is there already."""
    import faiss

    sizes_and_rows = x.shape[1], len(x), faiss.swig_ptr(x), len(y), faiss.swig_ptr(y)
    if work.metric == "sqeuclidean":
        faiss.pairwise_L2sqr(*sizes_and_rows, faiss.swig_ptr(out))
        return out
    kind = {"cityblock": faiss.METRIC_L1, "canberra": faiss.METRIC_Canberra, "braycurtis": faiss.METRIC_BrayCurtis, "minkowski": faiss.METRIC_Lp}
    faiss.pairwise_extra_distances(*sizes_and_rows, kind[work.metric], work.p or 0, faiss.swig_ptr(out))
    if work.metric == "minkowski":
        out **= 1 / work.p  # faiss stops at the sum
    return out


def faiss_hammings(work, x, y, out):
    """Counts of bits that differ, of packed truth values; packing takes a hundredth of it."""
    import faiss
    import numpy as np

    x, y = np.packbits(x, axis=1), np.packbits(y, axis=1)
    counts = np.empty(out.shape, "i4")
    faiss.hammings(faiss.swig_ptr(x), faiss.swig_ptr(y), len(x), len(y), x.shape[1], faiss.swig_ptr(counts))
    return np.divide(counts, work.d, out=out, casting="unsafe")


def sklearn_nearest(work, x, y, out):
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=NEIGHBORS + 1, algorithm="brute", metric=work.metric, n_jobs=-1).fit(y).kneighbors(x)
    return indices[:, 1:], distances[:, 1:]


def faiss_nearest(work, x, y, out):
    import faiss

    distances, indices = faiss.knn(x, y, NEIGHBORS + 1, metric=faiss.METRIC_L2 if work.metric == "sqeuclidean" else faiss.METRIC_L1)
    return indices[:, 1:], distances[:, 1:]


SQEUCLIDEAN, CITYBLOCK, BOTH = ("sqeuclidean",), ("cityblock",), ("sqeuclidean", "cityblock")
COSINE, MINKOWSKI, OTHERS = ("cosine",), ("minkowski",), ("correlation", "canberra", "braycurtis", "minkowski", "jensenshannon")
TRUTH = ("jaccard", "dice", "rogerstanimoto", "russellrao", "sokalsneath", "yule")
ALL = (*BOTH, *COSINE, *OTHERS, "euclidean", "chebyshev", "seuclidean", "mahalanobis", "hamming", *TRUTH)
FLOATS, EVERY = ("f32", "f64"), ("f32", "f64", "bool", "u8")


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to call a program. Some write f64 whatever the samples are."""

    program: str
    variant: str
    fill: Callable
    metrics: tuple[str, ...]
    dtypes: tuple[str, ...] = FLOATS
    writes_f64: bool = False
    takes_weights: bool = False

    def takes(self, work):
        wanted = not work.programs or self.program in work.programs
        return wanted and work.metric in self.metrics and work.dtype in self.dtypes and (self.takes_weights or not work.weighted)


# program: module that it cannot do without
PEERS = {"NumPy": "numpy", "SciPy": "scipy", "SciPy + Dask": "dask", "scikit-learn": "sklearn", "Numba": "numba", "torch": "torch", "faiss": "faiss"}
VARIANTS = (
    Variant("NumPy", "Gram trick", numpy_gram, SQEUCLIDEAN, (*FLOATS, "u8")),
    Variant("SciPy", "cdist", scipy_cdist, ALL, EVERY, writes_f64=True, takes_weights=True),
    Variant("SciPy + Dask", "cdist on blocks", dask_cdist, ALL, EVERY, writes_f64=True, takes_weights=True),
    Variant("scikit-learn", "euclidean_distances", sklearn_own, SQEUCLIDEAN),
    Variant("scikit-learn", "manhattan_distances", sklearn_own, CITYBLOCK),
    Variant("scikit-learn", "cosine_distances", sklearn_own, COSINE),
    Variant("scikit-learn", "pairwise_distances n_jobs=-1", sklearn_jobs, (*BOTH, *OTHERS, "hamming", "jaccard"), EVERY),
    Variant("Numba", "parallel", numba(False), BOTH),
    Variant("Numba", "parallel fastmath", numba(True), BOTH),
    Variant("torch", "addmm", torch_addmm, SQEUCLIDEAN),
    Variant("torch", "mm of extended rows", torch_extended, SQEUCLIDEAN),
    Variant("torch", "cdist p=1", torch_cdist, CITYBLOCK),
    Variant("torch", "cdist p", torch_cdist, MINKOWSKI),
    Variant("faiss", "hammings", faiss_hammings, ("hamming",), ("bool",)),
    Variant("faiss", "pairwise_distances", faiss_pairwise, (*BOTH, "canberra", "braycurtis", "minkowski"), dtypes=("f32",)),
)


NEAREST = (
    Variant("scikit-learn", "NearestNeighbors brute", sklearn_nearest, BOTH),
    Variant("faiss", "knn", faiss_nearest, BOTH, dtypes=("f32",)),
)


def variants_of(program, work):
    variants = NEAREST if work.group == "neighbors" else VARIANTS
    return {entry.variant: entry for entry in variants if entry.program == program and entry.takes(work)}
