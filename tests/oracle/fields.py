"""Fields in files, each of which is a sample, and their distances by NumPy: the course's 31 fields of 5760 x 11520 values, or smaller ones.

    python tests/oracle/fields.py write FOLDER [--files 31] [--shape 5760 11520]
    python tests/oracle/fields.py check FOLDER RESULT.h5

`check` compares a result of all files with NumPy in f64, by the bound of the program: what it prints is the largest error beside what is allowed.
"""

import argparse
from pathlib import Path

import h5py
import numpy as np

ROWS = 64  # rows of a field that are in memory at a time


def paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("field-*.h5"))


def write(folder: Path, files: int, shape: tuple[int, ...], dtype="f4", seed: int = 0) -> list[Path]:
    """Writes smooth fields with some noise, each with another seed, a few rows at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(files):
        rng = np.random.default_rng((seed, number))
        with h5py.File(folder / f"field-{number:03}.h5", "w") as file:
            field = file.create_dataset("field", shape, dtype)
            x = np.linspace(0, 6 + number / 10, shape[-1])
            for first in range(0, shape[0], ROWS):
                rows = np.arange(first, min(first + ROWS, shape[0]))
                smooth = np.sin(x) + np.cos(rows / shape[0] * (3 + number / 7)).reshape(-1, *[1] * (len(shape) - 1))
                field[rows[0] : rows[-1] + 1] = smooth + rng.normal(scale=0.1, size=(len(rows), *shape[1:]))
    return paths(folder)


def distances(files: list[Path], metric: str, dtype=np.float64) -> np.ndarray:
    """The matrix of `cityblock` or `euclidean` distances, in any type, a few rows of all fields at a time."""
    fields = [h5py.File(path, "r")["field"] for path in files]
    sums = np.zeros((len(fields), len(fields)), dtype)
    for first in range(0, fields[0].shape[0], ROWS):
        x = np.stack([field[first : first + ROWS].ravel() for field in fields]).astype(dtype)
        for i in range(1, len(x)):
            for j in range(i):
                difference = x[i] - x[j]
                sums[i, j] += np.abs(difference).sum() if metric == "cityblock" else (difference * difference).sum()
    sums += sums.T
    return np.sqrt(sums) if metric == "euclidean" else sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    writes = commands.add_parser("write")
    writes.add_argument("folder", type=Path)
    writes.add_argument("--files", type=int, default=31)
    writes.add_argument("--shape", type=int, nargs="+", default=(5760, 11520))
    checks = commands.add_parser("check")
    checks.add_argument("folder", type=Path)
    checks.add_argument("result", type=Path)
    args = parser.parse_args()
    if args.command == "write":
        write(args.folder, args.files, tuple(args.shape))
        return
    with h5py.File(args.result) as result:
        metric, got = result.attrs["metric"], result["distances"][()]
    expected = distances(paths(args.folder), metric)
    error = np.abs(got - expected).max() / expected.max()
    print(f"{metric}, {got.dtype}, {len(got)} fields: largest difference from NumPy in f64 {error:.1e} of the largest distance")


if __name__ == "__main__":
    main()
