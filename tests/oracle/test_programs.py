"""Files that other programs write are read as these programs read them: the table of docs/FORMAT.md, row by row."""

import re
import warnings
from typing import NamedTuple

import anndata
import conftest
import h5py
import hdf5plugin
import hdf5storage
import netCDF4
import numpy as np
import pandas
import pytest
import scipy.sparse
import tables
from conftest import REPOSITORY, distances
from scipy.spatial.distance import cdist

ROWS = np.random.default_rng(21).normal(size=(31, 12))
SOME = ROWS > 0.5
WHOLE = np.random.default_rng(22).integers(0, 200, (31, 12))
EXACT = "--metric", "cityblock", "--dtype", "f64"
PLUGINS = "HDF5_PLUGIN_PATH"  # the one "option" that is a variable of the environment


class Row(NamedTuple):
    """What a program writes, and what pairdist is to make of it."""

    make: object  # writes a file and returns the samples that the program itself reads from it
    option: str
    computed: str  # the type, where none is asked for
    told: tuple  # words of the log, or of the refusal
    is_refused: bool


TABLE = {}


def row(program, layout, option="", computed="f64", told=(), refused=()):
    """A row of the table, by what makes its file."""

    def add(make):
        assert (program, layout) not in TABLE
        TABLE[program, layout] = Row(make, option, computed, told or refused, bool(refused))
        return make

    return add


# ---- h5py ----


def of_h5py(**creation):
    """Makes the one dataset of a file, with these arguments of create_dataset."""

    def make(path):
        with h5py.File(path, "w") as file:
            file.create_dataset("samples", **{"data": ROWS} | creation)
        # opened again, since HDF5 may still hold the values as they were before a filter rounded them
        with h5py.File(path) as file:
            return file["samples"][()]

    return make


IMAGES = ROWS.reshape(31, 3, 4)
row("h5py", "2-D array")(of_h5py())
row("h5py", '`compression="gzip"`')(of_h5py(compression="gzip", shuffle=True))
row("h5py", '`compression="lzf"`')(of_h5py(compression="lzf"))
row("h5py", '`compression="szip"`')(of_h5py(compression="szip", chunks=(8, 12)))
row("h5py", "`scaleoffset`")(of_h5py(scaleoffset=4))
row("h5py", "booleans", computed="f32")(of_h5py(data=SOME))
row("h5py", "`numpy.longdouble`", told=("rounded to 64",))(of_h5py(data=ROWS.astype("g") / 3))
row("h5py", "3-D array", refused=("3 dimensions", "--flatten"))(of_h5py(data=IMAGES))
row("h5py", "complex numbers", refused=("complex",))(of_h5py(data=ROWS + 1j))
row("h5py", "structured array", refused=("compound",))(of_h5py(data=np.zeros((31, 12), "f8, f8")))
row("h5py", "text", refused=("text",))(of_h5py(data=ROWS.astype("S20")))
row("h5py", "references", refused=("reference",))(of_h5py(data=None, shape=(31, 12), dtype=h5py.ref_dtype))


@row("h5py", "3-D array, each a sample", "--flatten")
def images(path):
    return of_h5py(data=IMAGES)(path).reshape(31, 12)


@row("h5py", '`libver="latest"` of HDF5 2.0, compressed', refused=("newer HDF5",))
def of_a_later_version(path):
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("samples", data=ROWS, compression="gzip")


# ---- hdf5plugin ----

FILTERS = {
    "Blosc": (hdf5plugin.Blosc, {}),
    "Blosc2": (hdf5plugin.Blosc2, {}),
    "Bitshuffle": (hdf5plugin.Bitshuffle, {}),
    "Zstd": (hdf5plugin.Zstd, {}),
    "LZ4": (hdf5plugin.LZ4, {}),
    "BZip2": (hdf5plugin.BZip2, {}),
    "Zfp": (hdf5plugin.Zfp, {"reversible": True}),
    "SZ": (hdf5plugin.SZ, {"absolute": 1e-3}),
    "SZ3": (hdf5plugin.SZ3, {"absolute": 1e-3}),
    "Sperr": (hdf5plugin.Sperr, {"peak_signal_to_noise_ratio": 60}),
}
for name, (compression, arguments) in FILTERS.items():
    row("hdf5plugin", f"`{name}`", PLUGINS)(of_h5py(chunks=(31, 12), compression=compression(**arguments)))
row("hdf5plugin", "`FciDecomp`", PLUGINS, "f32")(of_h5py(data=WHOLE.astype("u1"), chunks=(31, 12), compression=hdf5plugin.FciDecomp()))


# ---- netCDF4 ----


def variable(file, name, stored, values, time=None, attributes=None, **creation):
    """A variable over a time of its own, and its values as netCDF4 reads them back, NaN where it masks."""
    file.createDimension(f"{name}_time", time)
    file.createDimension(f"{name}_x", 12)
    made = file.createVariable(name, stored, (f"{name}_time", f"{name}_x"), **creation)
    made.setncatts(attributes or {})
    made[: len(values)] = values
    return np.ma.filled(made[:].astype("f8"), np.nan)


def of_netcdf(*arguments, **keywords):
    def make(path):
        with netCDF4.Dataset(path, "w") as file:
            return variable(file, "v", *arguments, **keywords)

    return make


HOLES = np.ma.masked_where(SOME, ROWS)
PACKING = {"scale_factor": 0.013, "add_offset": 4.7}
LIMITS = {"valid_min": np.int16(-480), "valid_max": np.int16(-300)}  # of the stored numbers
UNSIGNED = WHOLE.astype("u1").view("i1")
DECODE, DECODE_HOLES = "--decode-netcdf", "--decode-netcdf --allow-nonfinite"
row("netCDF4", "variable")(of_netcdf("f8", ROWS, 31))
row("netCDF4", "unlimited dimension, `zlib`")(of_netcdf("f8", ROWS, zlib=True, shuffle=True))
row("netCDF4", '`compression="zstd"`', PLUGINS)(of_netcdf("f8", ROWS, compression="zstd"))
row("netCDF4", "`scale_factor`, `add_offset`", DECODE)(of_netcdf("i2", ROWS, attributes=PACKING))
row("netCDF4", "packed, `_FillValue`", DECODE_HOLES)(of_netcdf("i2", HOLES, fill_value=-99, attributes=PACKING))
row("netCDF4", "packed, no `_FillValue`", DECODE_HOLES)(of_netcdf("i2", HOLES, attributes=PACKING))
row("netCDF4", "`missing_value`", DECODE_HOLES, "f32")(of_netcdf("f4", np.where(SOME, -999, ROWS), attributes={"missing_value": np.float32(-999)}))
row("netCDF4", "values never written", DECODE_HOLES)(of_netcdf("f8", ROWS[:20], 31))
row("netCDF4", "whole numbers never written", DECODE_HOLES)(of_netcdf("i4", WHOLE[:20], 31))
row("netCDF4", "bytes, `_FillValue`", DECODE_HOLES, "f32")(of_netcdf("u1", np.ma.masked_where(SOME, WHOLE), fill_value=255))
row("netCDF4", "`valid_range`", DECODE_HOLES)(of_netcdf("f8", ROWS, attributes={"valid_range": [-1.5, 0.5]}))
row("netCDF4", "packed, `valid_min`, `valid_max`", DECODE_HOLES)(of_netcdf("i2", ROWS, attributes=PACKING | LIMITS))
row("netCDF4", '`_Unsigned = "true"`', DECODE, "f32")(of_netcdf("i1", UNSIGNED, attributes={"_Unsigned": "true"}))
row("netCDF4", "unsigned, `_FillValue`", DECODE_HOLES, "f32")(of_netcdf("i1", UNSIGNED, fill_value=UNSIGNED[3, 4], attributes={"_Unsigned": "true"}))


@row("netCDF4", "packed, no option", computed="f32", told=("packed", "--decode-netcdf"))
def packed(path):
    of_netcdf("i2", ROWS, attributes=PACKING)(path)
    with h5py.File(path) as file:
        return file["v"][()]


@row("netCDF4", "packed in f32", DECODE, "f32")
def packed_in_f32(path):
    read = of_netcdf("i2", ROWS, attributes={name: np.float32(value) for name, value in PACKING.items()})(path)
    with h5py.File(path) as file:
        # netCDF4 rounds to f32 twice on the way
        exact = file["v"][()] * np.float64(np.float32(0.013)) + np.float64(np.float32(4.7))
    np.testing.assert_allclose(exact, read, rtol=0, atol=1e-6)
    return exact


@row("netCDF4", "variable shorter than its unlimited dimension", "--dataset v")
def shorter(path):
    """The file has no rows for what was never written; netCDF4 makes them up."""
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("time", None)
        file.createDimension("x", 12)
        for name, rows in (("v", 20), ("other", 31)):
            file.createVariable(name, "f8", ("time", "x"))[:rows] = ROWS[:rows]
        assert file["v"].shape == (31, 12) and file["v"][20:].mask.all()
        return file["v"][:20]


# ---- AnnData and its like ----


def of_anndata(x, read, **parts):
    def make(path):
        with warnings.catch_warnings(action="ignore"):
            anndata.AnnData(x, **parts).write_h5ad(path)
            return np.asarray(read(anndata.read_h5ad(path)))

    return make


PCA = {"obsm": {"X_pca": ROWS[:, :3]}}
row("AnnData", "dense `X`", computed="f32")(of_anndata(ROWS.astype("f4"), lambda data: data.X))
row("AnnData", "dense `X` beside `obsm`", "--dataset X", "f32")(of_anndata(ROWS.astype("f4"), lambda data: data.X, **PCA))
row("AnnData", "`obsm`", "--dataset obsm/X_pca")(of_anndata(scipy.sparse.csr_matrix(ROWS * SOME), lambda data: data.obsm["X_pca"], **PCA))
row("AnnData", "`layers`", "--dataset layers/counts")(of_anndata(ROWS, lambda data: data.layers["counts"], layers={"counts": WHOLE}))
for kind in (scipy.sparse.csr_matrix, scipy.sparse.csc_matrix):
    words = "sparse", kind.__name__, "obsm/X_pca"
    row("AnnData", f"sparse `X` (`{kind.__name__}`)", refused=words)(of_anndata(kind(ROWS * SOME), lambda data: data.obsm["X_pca"], **PCA))


@row("Cell Ranger", "`matrix`", refused=("sparse",))
def cell_ranger(path):
    with h5py.File(path, "w") as file:
        genes = scipy.sparse.csc_matrix(WHOLE * SOME)
        file["matrix/data"], file["matrix/indices"], file["matrix/indptr"] = genes.data, genes.indices, genes.indptr
        file["matrix/shape"], file["matrix/barcodes"] = genes.shape, np.array(["A-1"] * 12, "S18")


@row("loompy", "`matrix`, genes x cells", "--transpose", "f32")
def loom(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("matrix", data=ROWS.T.astype("f4"), chunks=(12, 31), maxshape=(None, None), compression="gzip", compression_opts=2)
        file.create_group("layers"), file.create_group("row_graphs"), file.create_group("col_graphs")
        file["row_attrs/Gene"], file["col_attrs/CellID"] = np.array(["g"] * 12, object), np.array(["c"] * 31, object)
        return file["matrix"][()].T


# ---- pandas and PyTables ----


def of_pandas(frame, **how):
    def make(path):
        frame.to_hdf(path, key="df", **how)
        return pandas.read_hdf(path, "df").select_dtypes("f8").to_numpy()

    return make


FRAME = pandas.DataFrame(ROWS, columns=[f"f{feature}" for feature in range(12)])
row("pandas", '`format="fixed"`')(of_pandas(FRAME, format="fixed"))
row("pandas", '`format="fixed"`, `complib="zlib"`')(of_pandas(FRAME, format="fixed", complevel=5, complib="zlib"))
row("pandas", '`format="fixed"`, `complib="blosc"`', PLUGINS)(of_pandas(FRAME, format="fixed", complevel=5, complib="blosc"))
row("pandas", '`format="fixed"`, columns of several types', "--dataset df/block0_values")(of_pandas(FRAME.assign(label=WHOLE[:, 0]), format="fixed"))
row("pandas", '`format="table"`', refused=("df/table", "table"))(of_pandas(FRAME, format="table"))


def of_pytables(make_node):
    """Makes the node /samples, and reads it with PyTables."""

    def make(path):
        with tables.open_file(path, "w") as file:
            make_node(file)
            return np.asarray(file.root.samples.read()) if not isinstance(file.root.samples, tables.Table) else None

    return make


def extended(file, **how):
    array = file.create_earray("/", "samples", tables.Float64Atom(), (0, 12), **how)
    array.append(ROWS[:20]), array.append(ROWS[20:])


def table(file, name="samples"):
    made = file.create_table("/", name, np.rec.fromarrays([ROWS[:, 0], ROWS[:, 1]], names="a, b"))
    made.cols.a.create_index()


row("PyTables", "`Array`")(of_pytables(lambda file: file.create_array("/", "samples", ROWS)))
row("PyTables", "`Array` beside an indexed `Table`")(of_pytables(lambda file: (table(file, "events"), file.create_array("/", "samples", ROWS))))
row("PyTables", "`CArray`, zlib")(of_pytables(lambda file: file.create_carray("/", "samples", obj=ROWS, filters=tables.Filters(5, "zlib"))))
row("PyTables", "`EArray`")(of_pytables(extended))
for library in ("blosc", "blosc2", "bzip2"):
    row("PyTables", f"`EArray`, {library}", PLUGINS)(of_pytables(lambda file, library=library: extended(file, filters=tables.Filters(5, library))))
row("PyTables", "`Table`", refused=("samples", "table"))(of_pytables(table))
row("PyTables", "booleans", refused=("bit field",))(of_pytables(lambda file: file.create_array("/", "samples", SOME)))
row("PyTables", "complex numbers", refused=("complex",))(of_pytables(lambda file: file.create_array("/", "samples", ROWS + 1j)))
row("PyTables", "array in each element", refused=("arrays",))(
    of_pytables(lambda file: file.create_earray("/", "samples", tables.Float64Atom(shape=12), (0,)).append(ROWS))
)


@row("MDTraj", "`coordinates`", "--flatten --dataset coordinates", "f32")
def trajectory(path):
    with tables.open_file(path, "w", filters=tables.Filters(1, "zlib", shuffle=True)) as file:
        for name, shape in (("cell_lengths", (3,)), ("time", ()), ("coordinates", (4, 3))):
            file.create_earray("/", name, tables.Float32Atom(), (0, *shape)).append(ROWS[:, : int(np.prod(shape))].reshape(31, *shape).astype("f4"))
        return file.root.coordinates.read().reshape(31, 12)


# ---- MATLAB and R ----


def of_matlab(matrix, transposed=True, **how):
    def make(path):
        hdf5storage.savemat(str(path), {"samples": matrix}, appendmat=False, format="7.3", store_python_metadata=False, **how)
        read = hdf5storage.loadmat(str(path), appendmat=False)["samples"]
        return read if transposed else read.T

    return make


row("MATLAB", "`-v7.3`", told=("MATLAB", "--transpose"))(of_matlab(ROWS, transposed=False))
row("MATLAB", "`-v7.3`, rows are samples", "--transpose")(of_matlab(ROWS))
row("MATLAB", "`-v7.3`, compressed", "--transpose")(of_matlab(ROWS, compress=True, compress_size_threshold=0))
row("MATLAB", "`-v7.3`, `single`", "--transpose", "f32")(of_matlab(ROWS.astype("f4")))
row("MATLAB", "`-v7.3`, `logical`", "--transpose", "f32")(of_matlab(SOME))
row("MATLAB", "`-v7.3`, complex numbers", refused=("complex",))(of_matlab(ROWS + 1j))


@row("R, rhdf5", "matrix, rows are samples", "--transpose")
def rhdf5(path):
    """R stores by columns, as Fortran does, and rhdf5 names the dimensions the other way round."""
    with h5py.File(path, "w") as file:
        file.create_dataset("samples", data=np.frombuffer(ROWS.tobytes("F")).reshape(12, 31), chunks=(12, 31), compression="gzip", compression_opts=6)
        file["samples"].attrs["rhdf5-NA.OK"] = np.array([1], "i4")
    return ROWS


REFUSED = [key for key, row in TABLE.items() if row.is_refused]
READ = [key for key, row in TABLE.items() if not row.is_refused]
WITH_PLUGIN = [key for key, row in TABLE.items() if row.option == PLUGINS]


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """Packages set the variable when they are imported."""
    monkeypatch.delitem(conftest.ENVIRONMENT, PLUGINS, raising=False)


def made(work, key, monkeypatch=None):
    """Writes the file of a row, and returns the row, its options and its samples."""
    found = TABLE[key]
    rows = found.make(work / "x.h5")
    if found.option == PLUGINS and monkeypatch:
        monkeypatch.setitem(conftest.ENVIRONMENT, PLUGINS, hdf5plugin.PLUGIN_PATH)
    return found, [word for word in found.option.split() if word != PLUGINS], rows


@pytest.mark.parametrize("key", READ, ids=", ".join)
def test_samples_are_what_the_program_reads(work, monkeypatch, key):
    found, options, rows = made(work, key, monkeypatch)
    rows = np.asarray(rows).astype("f8")
    done = work.pairdist("compute", "x.h5", "-o", "out.h5", *options, *EXACT)
    assert [word for word in found.told if word not in done.stderr] == []
    assert np.array_equal(distances(work / "out.h5"), cdist(rows, rows, "cityblock"), equal_nan=True)
    planned = work.pairdist("plan", "x.h5", "--ranks", 2, *(word for word in options if word != "--allow-nonfinite")).stdout
    assert f"{len(rows)} x {len(rows)} distances, {rows.shape[1]} features, euclidean, {found.computed}, " in planned


@pytest.mark.parametrize("key", REFUSED, ids=", ".join)
def test_what_cannot_be_read_is_refused_in_one_sentence(work, key):
    found, options, _ = made(work, key)
    refused = work.pairdist("compute", "x.h5", "-o", "out.h5", *options, status=(1,))
    *_, sentence = refused.stderr.splitlines()
    assert sentence.startswith("pairdist: ") and refused.stderr.count("pairdist: ") == 1 and not (work / "out.h5").exists()
    assert [word for word in found.told if word.lower() not in sentence.lower()] == []


@pytest.mark.parametrize("key", REFUSED, ids=", ".join)
def test_info_reads_files_that_compute_refuses(work, key):
    made(work, key)
    work.pairdist("info", "x.h5")


@pytest.mark.parametrize("key", WITH_PLUGIN, ids=", ".join)
def test_without_the_plugin_the_filter_and_the_way_out_are_named(work, key):
    made(work, key)
    refused = work.pairdist("compute", "x.h5", "--no-output", status=(1,))
    *_, sentence = refused.stderr.splitlines()
    (name,) = re.findall(r"`(\w+)`$|(\w+)`?\"`$|, (\w+)$", key[1])
    for word in ("".join(name), "hdf5plugin", PLUGINS):
        assert word.lower() in sentence.lower()


@pytest.mark.parametrize("key", [key for key, row in TABLE.items() if row.option == DECODE_HOLES], ids=", ".join)
def test_missing_values_are_refused_as_nan(work, key):
    found, _, rows = made(work, key)
    refused = work.pairdist("compute", "x.h5", "--no-output", *DECODE.split(), status=(1,))
    assert "--allow-nonfinite" in refused.stderr and str(np.isnan(rows).sum()) in refused.stderr.replace(",", "")


def documented():
    """Rows of the table in docs/FORMAT.md: program, layout, what is read, option."""
    section = (REPOSITORY / "docs/FORMAT.md").read_text().split("## Files that other programs write\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line.startswith("| ")]
    return cells[1:]


def test_the_table_in_the_documentation_is_that_of_the_tests():
    shown = [(program, layout, option.replace("`", ""), read.startswith("refused")) for program, layout, read, option in documented()]
    assert shown == [(*key, row.option, row.is_refused) for key, row in TABLE.items()]
