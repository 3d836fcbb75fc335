"""Which dataset of a file is taken for the samples: files as h5py, AnnData and netCDF programs write them."""

import os

import h5py
import numpy as np
import pytest
from conftest import view_of

ROWS = np.random.default_rng(11).normal(size=(6, 4))


def sparse(file, name):
    """A CSR matrix, as AnnData writes it."""
    group = file.create_group(name)
    group.attrs["encoding-type"], group.attrs["encoding-version"], group.attrs["shape"] = "csr_matrix", "0.1.0", (6, 4)
    group["data"], group["indices"], group["indptr"] = np.ones(3), np.arange(3), np.arange(7)


def of_type(kind):
    """A dataset of a type that h5py has no NumPy type for."""

    def make(file, name):
        group, _, last = name.rpartition("/")
        group = file.require_group(group) if group else file
        h5py.h5d.create(group.id, last.encode(), kind, h5py.h5s.create_simple((6, 4)))

    return make


def of_a_later_version(file, name):
    """Complex numbers as HDF5 2.0 has them: older libraries cannot open the dataset."""
    if not hasattr(h5py.h5t, "COMPLEX_IEEE_F64LE"):
        pytest.skip("this h5py cannot write what HDF5 1.10 cannot read")
    of_type(h5py.h5t.COMPLEX_IEEE_F64LE)(file, name)


UNREADABLE = {
    "complex": lambda file, name: file.create_dataset(name, data=ROWS.astype("c16")),
    "text": lambda file, name: file.create_dataset(name, data=ROWS.astype("S20")),
    "bit field": of_type(h5py.h5t.STD_B8LE),
    "of a later version": of_a_later_version,
    "sparse": sparse,
}


@pytest.mark.parametrize("name", ("X", "entry/data"))
@pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE)
def test_no_other_dataset_is_taken_for_samples_that_cannot_be_read(work, make, name):
    with h5py.File(work / "x.h5", "w") as file:
        make(file, name)
        file["umap"] = ROWS[:, :2]
    refused = work.pairdist("compute", "x.h5", "--no-output", status=(1,))
    assert f'"{name}" seems to hold the samples' in refused.stderr and "--dataset: umap" in refused.stderr
    work.pairdist("compute", "x.h5", "--no-output", "--dataset", "umap")


@pytest.mark.parametrize("make", UNREADABLE.values(), ids=UNREADABLE)
def test_a_matrix_called_x_is_taken_beside_what_cannot_be_read(work, make):
    with h5py.File(work / "x.h5", "w") as file:
        make(file, "raw/X")
        file["X"] = ROWS
    done = work.pairdist("compute", "x.h5", "--no-output")
    assert 'samples are dataset "/X"' in done.stderr and 'passed over "raw/X": ' in done.stderr


def test_a_virtual_dataset_is_refused_without_opening_what_it_shows(work):
    """Its extent depends on the other file: HDF5 opens that when the shape is asked for, and a FIFO would wait for ever."""
    with h5py.File(work / "x.h5", "w", libver=("v110", "v110")) as file:
        file.create_virtual_dataset("samples", view_of("other.h5"))
    os.mkfifo(work / "other.h5")
    for options in ([], ["--dataset", "samples"]):
        refused = work.pairdist("compute", "x.h5", "--no-output", *options, status=(1,), timeout=20)
        assert "virtual" in refused.stderr


def test_missing_values_of_netcdf_are_told(work):
    values = ROWS.astype("f4")
    values[3, 2] = values[5, 0] = np.float32(9.96921e36)
    with h5py.File(work / "x.h5", "w") as file:
        file["samples"] = values
        file["samples"].attrs["_FillValue"] = np.array([9.96921e36], "f4")
    done = work.pairdist("compute", "x.h5", "--no-output", ranks=2)
    assert "calls 2 values in 2 of 6 samples missing, the first is 9.96921e36 in row 3, column 2" in done.stderr


def test_a_matrix_of_matlab_is_told_to_be_stored_by_columns(work):
    with h5py.File(work / "x.mat", "w", userblock_size=512) as file:
        file["samples"] = ROWS.T
        file["samples"].attrs["MATLAB_class"] = np.bytes_("double")
    done = work.pairdist("compute", "x.mat", "--no-output")
    assert "MATLAB" in done.stderr and "here are the columns" in done.stderr and "--transpose" in done.stderr


def test_values_that_netcdf_never_wrote_are_told(work):
    """netCDF gives each variable a fill value of its own, without an attribute, and masks what equals it."""
    with h5py.File(work / "x.nc", "w") as file:
        variable = file.create_dataset("v", (6, 4), "f8", fillvalue=9.969209968386869e36)
        variable[:3] = ROWS[:3]
    done = work.pairdist("compute", "x.nc", "--no-output")
    assert "its fill value or attribute _FillValue or missing_value calls 12 values in 3 of 6 samples missing" in done.stderr


def test_a_fill_value_of_zero_is_a_value_like_others(work):
    with h5py.File(work / "x.h5", "w") as file:
        file.create_dataset("v", (6, 4), "f8", fillvalue=0.0)[:3] = ROWS[:3]
    assert "missing" not in work.pairdist("compute", "x.h5", "--no-output").stderr


@pytest.mark.parametrize("text", ("true", np.bytes_(b"true")))
def test_numbers_meant_without_a_sign_are_told(work, text):
    with h5py.File(work / "x.nc", "w") as file:
        file["v"] = np.array([[-1, 2], [3, 4], [5, -6]], "i1")
        file["v"].attrs["_Unsigned"] = text
    done = work.pairdist("compute", "x.nc", "--no-output")
    assert "its attribute _Unsigned says are meant without one" in done.stderr


def test_vectors_called_x_are_told_and_arrays_in_elements_are_not_passed_over(work):
    with h5py.File(work / "vector.h5", "w") as file:
        file["X"], file["other"] = np.ones(3), ROWS
    done = work.pairdist("compute", "vector.h5", "--no-output")
    assert 'samples are dataset "/other"' in done.stderr and 'passed over "X": it has no two dimensions' in done.stderr
    # as PyTables writes it
    with h5py.File(work / "pytables.h5", "w") as file:
        kind = h5py.h5t.array_create(h5py.h5t.IEEE_F64LE, (4,))
        h5py.h5d.create(file.id, b"X", kind, h5py.h5s.create_simple((6,)))
        file["other"] = ROWS
    refused = work.pairdist("compute", "pytables.h5", "--no-output", status=(1,))
    assert '"X" seems to hold the samples, but its elements are arrays' in refused.stderr
