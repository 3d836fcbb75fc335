#!/usr/bin/env python3
# /// script
# requires-python = ">=3.11"
# dependencies = ["h5py==3.16.0", "numpy==2.4.6", "scikit-learn==1.9.1"]
# ///
"""Makes digits.h5, the handwritten digits that scikit-learn ships, as input for pairdist.

usage: make_digits.py [OUT.h5]     default: digits.h5 beside this script
"""

import sys
from pathlib import Path

import h5py
import numpy as np
from sklearn.datasets import load_digits

ATTRIBUTES = {
    "title": "Optical Recognition of Handwritten Digits (the 1797 test samples)",
    "authors": "E. Alpaydin, C. Kaynak (1998)",
    "source": "UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, via sklearn.datasets.load_digits",
    "license": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "changes": "pixel counts 0..16 stored as 8-bit integers in HDF5",
}


def make(path: Path) -> None:
    """Writes the digits to `path`: the same bytes every time."""
    digits = load_digits()
    with h5py.File(path, "w", libver="earliest") as file:
        for name, value in ATTRIBUTES.items():
            file.attrs[name] = np.bytes_(value)
        file.create_dataset(
            "samples",
            data=digits.data.astype(np.uint8),
            chunks=(256, 64),
            compression="gzip",
            compression_opts=9,
            track_times=False,
        )
        file.create_dataset("labels", data=digits.target.astype(np.uint8), track_times=False)


if __name__ == "__main__":
    if len(sys.argv) > 2 or sys.argv[1:2] in (["-h"], ["--help"]):
        sys.exit(__doc__)
    make(Path(sys.argv[1]) if len(sys.argv) == 2 else Path(__file__).with_name("digits.h5"))
