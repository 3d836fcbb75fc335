"""Files as pandas, PyTables, AnnData, 10x Genomics and newer versions of HDF5 write them: what is said of them, and that it helps."""

import os
import re
import signal
import subprocess
import sys

import anndata
import h5py
import netCDF4
import numpy as np
import pandas
import pytest
import scipy.io
import scipy.sparse
import tables
from conftest import view_of

ROWS = np.random.default_rng(12).normal(size=(50, 4))
FRAME = pandas.DataFrame(ROWS, columns=list("abcd"))
MIXED = FRAME.assign(count=np.arange(50), word="text")
SPARSE = scipy.sparse.random(50, 30, 0.1, format="csr", rng=13)


def told(work, name, *options):
    """What compute says of samples that it does not read."""
    return work.pairdist("compute", name, "--no-output", *options, ranks=2, status=(1,)).stderr


def follow(work, text):
    """Runs the line of Python that a message names, and returns the samples that it has written; none if it changes the file."""
    line = re.search(r"python3 -c '[^\n]*'$", text, re.MULTILINE)
    assert line, text
    command = line.group().replace("python3", sys.executable, 1)
    subprocess.run(command, shell=True, check=True, cwd=work.folder)
    if not (work / "samples.h5").exists():
        return None
    work.pairdist("compute", "samples.h5", "--no-output")
    with h5py.File(work / "samples.h5") as file:
        return file["samples"][()]


def test_a_frame_of_pandas_is_found(work):
    FRAME.to_hdf(work / "x.h5", key="df")
    assert 'samples are dataset "/df/block0_values" in x.h5, 50 x 4' in work.pairdist("compute", "x.h5", "--no-output").stderr


def test_the_columns_of_a_frame_with_several_types_are_made_one_matrix(work):
    MIXED.to_hdf(work / "x.h5", key="my/df")
    refused = told(work, "x.h5")
    assert "choose one with --dataset: my/df/block0_values, my/df/block1_values; " in refused
    assert np.array_equal(follow(work, refused), MIXED.select_dtypes("number").to_numpy())


def test_columns_of_a_frame_that_are_no_numbers_are_told(work):
    FRAME.assign(word="text").to_hdf(work / "x.h5", key="df")
    done = work.pairdist("compute", "x.h5", "--no-output")
    assert 'passed over "df/block1_values": it holds the columns of a pandas frame that are no numbers' in done.stderr


@pytest.mark.parametrize("columns", (None, ["a", "b"]))
@pytest.mark.parametrize("options", ((), ("--dataset", "df/table")))
def test_a_table_of_pandas_is_told_and_its_index_is_no_candidate(work, columns, options):
    # so many rows that the index has rows too
    frame = pandas.DataFrame(np.random.default_rng(14).normal(size=(140_000, 3)), columns=list("abc"))
    frame.to_hdf(work / "x.h5", key="df", format="table", data_columns=columns)
    with h5py.File(work / "x.h5") as file:
        assert file["df/_i_table/index/sorted"].shape[0] == 1
    refused = told(work, "x.h5", *options)
    assert "is a table" in refused and "_i_table" not in refused
    with h5py.File(work / "x.h5", "a") as file:
        file["matrix"] = ROWS
    assert 'samples are dataset "/matrix"' in work.pairdist("compute", "x.h5", "--no-output").stderr
    assert "_i_table" not in work.pairdist("info", "x.h5").stdout
    written = follow(work, refused)
    assert np.array_equal(written, pandas.read_hdf(work / "x.h5", "df").to_numpy())


def test_a_table_of_pytables_is_told(work):
    with tables.open_file(work / "x.h5", "w") as file:
        rows = np.zeros(6, [("x", "f8"), ("y", "i4"), ("v", "f4", 3)])
        rows["x"], rows["v"] = np.arange(6), np.arange(18).reshape(6, 3)
        file.create_table("/it's", "t", rows, createparents=True).cols.x.create_index()
    refused = told(work, "x.h5")
    assert "\"it's/t\": it is a table" in refused
    assert follow(work, refused)[5].tolist() == [5, 0, 15, 16, 17]


def anndata_of(matrix, **embeddings):
    cells = anndata.AnnData(matrix)
    for name, columns in embeddings.items():
        cells.obsm[name] = np.ones((matrix.shape[0], columns))
    cells.varm["PCs"] = np.ones((matrix.shape[1], 10))
    return cells


@pytest.mark.parametrize("kind", ("csr", "csc"))
@pytest.mark.parametrize("options", ((), ("--dataset", "X")))
def test_a_sparse_matrix_of_anndata_is_told_with_what_else_there_is(work, kind, options):
    anndata_of(SPARSE.asformat(kind), X_umap=2, X_pca=10).write_h5ad(work / "x.h5ad")
    refused = told(work, "x.h5ad", *options)
    assert f"it is a sparse matrix ({kind}_matrix) of 50 x 30; " in refused and ": obsm/X_pca, obsm/X_umap, varm/PCs" in refused
    work.pairdist("compute", "x.h5ad", "--no-output", "--dataset", "obsm/X_pca")
    assert np.array_equal(follow(work, refused), SPARSE.toarray())


def test_a_matrix_of_anndata_that_is_a_group_is_told(work):
    anndata_of(SPARSE, X_pca=10).write_h5ad(work / "x.h5ad")
    with h5py.File(work / "x.h5ad", "a") as file:
        del file["X"]
        file.create_group("X")
    assert '"X" seems to hold the samples, but it is a group' in told(work, "x.h5ad")


def test_a_sparse_matrix_of_10x_is_made_dense_with_a_cell_per_row(work):
    with h5py.File(work / "x.h5", "w") as file:
        group, genes = file.create_group("matrix"), SPARSE.T.tocsc()
        group["data"], group["indices"], group["indptr"], group["shape"] = genes.data, genes.indices, genes.indptr, genes.shape
        group["barcodes"] = np.array([b"cell"] * 50)
    refused = told(work, "x.h5")
    assert "it is a sparse matrix (data, indices, indptr) of 30 x 50" in refused
    assert np.array_equal(follow(work, refused), SPARSE.toarray())


@pytest.mark.parametrize("group", ("", "sub/"))
def test_names_that_are_no_utf_8_are_told_and_can_be_changed(work, group):
    with h5py.File(work / "x.h5", "w") as file:
        file[group.encode() + b"caf\xe9"] = ROWS
        if group:
            file[group + "other"] = np.arange(3)
    for text in (told(work, "x.h5"), work.pairdist("info", "x.h5").stdout):
        assert f"{group}caf\N{REPLACEMENT CHARACTER}" in text and "its name is not UTF-8, and must be changed" in text
    assert follow(work, text) is None
    assert f'samples are dataset "/{group}café"' in work.pairdist("compute", "x.h5", "--no-output").stderr


@pytest.mark.parametrize("pattern", ("x%d.h5", "run7.x%03d.h5"))
@pytest.mark.parametrize("rows", (6, 800))
def test_a_file_of_a_family_is_told_and_merged(work, pattern, rows):
    with h5py.File(work / pattern, "w", driver="family", memb_size=4096) as file:
        file["samples"] = np.arange(8 * rows, dtype="f8").reshape(rows, 8)
    members = sorted(path.name for path in work.folder.iterdir())
    assert (len(members) > 10) == (rows > 6)
    for member in members[:2] + members[-1:]:
        refused = told(work, member)
        assert f"{member} is one file of a family" in refused
    command = re.search("h5repart .*", refused).group()
    subprocess.run(command, shell=True, check=True, cwd=work.folder)
    assert f"{rows} x 8" in work.pairdist("compute", "merged.h5", "--no-output").stderr


@pytest.mark.skipif(h5py.version.hdf5_version_tuple < (2, 0, 0), reason="this h5py writes nothing that HDF5 1.10 cannot read")
@pytest.mark.parametrize("options", ((), ("--dataset", "X")))
def test_a_dataset_of_a_newer_hdf5_is_told_and_written_again(work, options):
    with h5py.File(work / "x.h5", "w", libver="latest") as file:
        # the layout of filtered chunks, and all types but the plain ones, are newer than what HDF5 1.10 knows
        file.create_dataset("X", data=ROWS, chunks=(10, 4), compression="gzip")
    refused = told(work, "x.h5", *options)
    assert "it was written by a newer HDF5 than 1." in refused
    assert np.array_equal(follow(work, refused), ROWS)


def test_a_file_with_a_newer_superblock_is_told(work):
    with h5py.File(work / "x.h5", "w", libver="v110") as file:
        file["X"] = ROWS
    content = bytearray((work / "x.h5").read_bytes())
    content[8] = 9
    (work / "x.h5").write_bytes(content)
    assert "or it was written by a newer HDF5 than 1." in told(work, "x.h5")


@pytest.mark.parametrize("version", ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA"))
def test_a_file_of_older_netcdf_is_told_and_how_to_convert_it(work, version):
    with netCDF4.Dataset(work / "x.nc", "w", format=version) as file:
        file.createDimension("sample", 3)
        file.createVariable("X", "f8", ("sample",))
    assert "x.nc is not an HDF5 file, but one of netCDF's older formats; convert it with: nccopy -k nc4 x.nc converted.nc\n" in told(work, "x.nc")


def test_an_older_matlab_file_is_told_and_how_to_convert_it(work):
    scipy.io.savemat(work / "x.mat", {"X": ROWS})
    assert "but an older MATLAB file; save it in MATLAB with save(name, \"-v7.3\")" in told(work, "x.mat")


def test_a_file_whose_writer_was_killed_is_told(work):
    kill = "import h5py, os, numpy; file = h5py.File('x.h5', 'w'); file['X'] = numpy.ones((300, 40)); os._exit(9)"
    subprocess.run([sys.executable, "-c", kill], cwd=work.folder)
    assert re.search("is truncated|the program that wrote it has not finished|is not an HDF5 file", told(work, "x.h5"))


def test_a_file_open_for_writing_is_told(work):
    for libver in ("earliest", "v110"):
        with h5py.File(work / "x.h5", "w", libver=libver) as file:
            file["X"] = ROWS
            file.flush()
            assert "x.h5 is open for writing in another program; close it there" in told(work, "x.h5")
    with h5py.File(work / "x.h5", "a", libver="v110") as file:
        file.swmr_mode = True
        assert "x.h5 is marked as open for writing: close it in the program that writes it" in told(work, "x.h5")
    work.pairdist("compute", "x.h5", "--no-output")


def test_a_file_whose_writer_has_died_is_told_and_cleared(work):
    with h5py.File(work / "x.h5", "w", libver="v110") as file:
        file["X"] = ROWS
    script = "import h5py, os; f = h5py.File('x.h5', 'a', libver='v110'); f['more'] = 1.0; f.flush(); os.kill(os.getpid(), 9)"
    died = subprocess.run([sys.executable, "-c", script], cwd=work.folder)
    assert died.returncode == -signal.SIGKILL
    refused = told(work, "x.h5")
    subprocess.run(re.search("h5clear .*", refused).group(), shell=True, check=True, cwd=work.folder)
    work.pairdist("compute", "x.h5", "--no-output")


def test_info_names_types_and_filters(work):
    created = {
        "big": ROWS.astype(">f8"),
        "half": ROWS.astype("f2"),
        "wide": ROWS.astype("longdouble"),
        "complex": ROWS.astype("c16"),
        "short": ROWS.astype(">i2"),
        "byte": ROWS.astype("u1"),
        "mask": ROWS > 0,
    }
    with h5py.File(work / "x.h5", "w") as file:
        for name, values in created.items():
            file[name] = values
        file.create_dataset("lzf", data=ROWS, chunks=(10, 4), compression="lzf", fletcher32=True)
        file.create_dataset("words", data=np.full((2, 2), "a", h5py.string_dtype()))
        file.create_dataset("ragged", (2, 2), h5py.vlen_dtype("f8"))
        file.create_dataset("offset", data=np.arange(8).reshape(2, 4), chunks=True, scaleoffset=0)
    lines = {line.split()[0]: re.split("  +", line) for line in work.pairdist("info", "x.h5").stdout.splitlines() if line}
    types = {name: lines[name][2] for name in lines if name in created or name in ("words", "ragged")}
    assert types == {
        "big": ">f8", "half": "float16", "wide": "float128", "complex": "complex128", "short": ">i2", "byte": "uint8",
        "mask": "bool", "words": "text", "ragged": "ragged",
    }  # fmt: skip
    assert lines["lzf"][3:5] == ["chunks of 10 x 4", "lzf, fletcher32"] and lines["offset"][4] == "scaleoffset"


def test_info_of_a_virtual_dataset_opens_no_other_file(work):
    with h5py.File(work / "x.h5", "w", libver=("v110", "v110")) as file:
        file.create_virtual_dataset("view", view_of("other.h5"))
        file["X"], file["outside"] = h5py.SoftLink("/outside/samples"), h5py.ExternalLink("other.h5", "/")
    os.mkfifo(work / "other.h5")
    listed = work.pairdist("info", "x.h5", timeout=20).stdout
    assert "it is virtual" in listed and "it is a link that leads nowhere in this file" in listed
