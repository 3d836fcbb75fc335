"""Kinds of input that are read, and the layout of the result."""

import importlib.util
import json
import shutil

import h5py
import netCDF4
import numpy as np
import pytest
from conftest import REPOSITORY, distances
from tolerance import assert_within_bound

# name: stored type, computed in, range of the values, how the dataset is stored
INPUTS = {
    "contiguous f8": ("<f8", "f8", 10, {}),
    "contiguous f4": ("<f4", "f4", 10, {}),
    "chunked f4": ("<f4", "f4", 10, {"chunks": (32, 5)}),
    "compressed f8": ("<f8", "f8", 10, {"chunks": (50, 7), "compression": "gzip"}),
    "shuffled, compressed, checked f4": ("<f4", "f4", 10, {"chunks": True, "compression": "gzip", "shuffle": True, "fletcher32": True}),
    "big-endian f4": (">f4", "f4", 10, {}),
    "big-endian f8": (">f8", "f8", 10, {"chunks": (16, 23)}),
    "f2": ("<f2", "f4", 10, {}),
    "i1": ("i1", "f4", 100, {}),
    "u1": ("u1", "f4", 200, {"chunks": (64, 23), "compression": "gzip"}),
    "u2": ("<u2", "f4", 60_000, {}),
    "big-endian i2": (">i2", "f4", 30_000, {}),
    "i4": ("<i4", "f8", 2_000_000_000, {}),
    "i8": ("<i8", "f8", 2**40, {}),
}
# attributes of a result that docs/FORMAT.md promises; the last ones begin so
ATTRIBUTES = "format_version arithmetic scaling_exponent pairdist_version pairdist_commit metric kernel symmetric tile created command_line ranks threads header_checksum complete".split()
ATTRIBUTE_GROUPS = "input", "mpi", "hdf5"


@pytest.mark.parametrize("stored, computed, high, storage", INPUTS.values(), ids=INPUTS)
def test_every_kind_of_input_is_read(work, stored, computed, high, storage):
    values = np.random.default_rng(6).uniform(-high if np.dtype(stored).kind != "u" else 0, high, (151, 23))
    x = work.write("x", values.astype(stored), **storage)
    result = distances(work.compute(x, None, "--metric", "euclidean", ranks=3))
    assert result.dtype == computed
    assert_within_bound(result, values.astype(stored), values.astype(stored), "euclidean")


def test_samples_are_rounded_to_the_type_asked_for(work):
    x, y = np.random.default_rng(7).normal(size=(2, 60, 17))
    result = distances(work.compute(x, y, "--metric", "cityblock", "--dtype", "f32", ranks=2))
    assert result.dtype == np.float32
    assert_within_bound(result, x, y, "cityblock")


def test_one_of_two_datasets_must_be_named(work):
    rows = np.random.default_rng(8).normal(size=(2, 40, 6))
    path = work / "two.h5"
    with h5py.File(path, "w") as file:
        file["first"], file["group/second"], file["vector"] = rows[0], rows[1], np.arange(3.0)
    failed = work.pairdist("compute", path, "-o", work / "out.h5", ranks=2, status=(1, 2))
    assert "first" in failed.stderr and "group/second" in failed.stderr and "vector" not in failed.stderr
    assert not (work / "out.h5").exists()
    result = distances(work.compute(path, path, "--dataset", "first", "--against-dataset", "group/second", "--metric", "cityblock"))
    assert_within_bound(result, *rows, "cityblock")


@pytest.mark.parametrize("inputs", (1, 2))
def test_a_result_has_the_promised_layout(work, inputs):
    x, y = np.random.default_rng(9).normal(size=(2, 203, 11))
    out = work.compute(x, None if inputs == 1 else y, "--metric", "chebyshev", "--tile", "64", ranks=2)
    with h5py.File(out, "r") as file:
        matrix, attributes = file["distances"], dict(file.attrs)
        assert matrix.shape == (203, 203) and matrix.chunks == (64, 64)
        assert matrix.id.get_create_plist().get_nfilters() == 0
        assert file["tile_checksums"].size >= 16
        assert [name for name in ATTRIBUTES if name not in attributes] == []
        assert [group for group in ATTRIBUTE_GROUPS if not any(name.startswith(group) for name in attributes)] == []
        assert attributes["complete"] == 1 and set(np.ravel(attributes["tile"])) == {64}
        assert np.asarray(attributes["metric"]).astype(str) == "chebyshev"
        assert attributes["symmetric"] == (inputs == 1)
    assert [path.name for path in work.folder.glob("*.partial")] == []


def test_netcdf_sees_every_attribute_with_its_value(work):
    x = work / "x.h5"
    work.pairdist("generate", x, "--samples", 40, "--features", 5)
    for path in (x, work.compute(x, ranks=2)):
        with h5py.File(path, "r") as file, netCDF4.Dataset(path) as seen:
            assert {name: seen.getncattr(name) for name in seen.ncattrs()} == dict(file.attrs)
            for name, dataset in file.items():
                variable = seen.variables[name]
                assert np.array_equal(variable[...], dataset[...])
                assert {key: variable.getncattr(key) for key in variable.ncattrs()} == dict(dataset.attrs)


def changed(value):
    """Another value of the same type."""
    return {"gemm": "direct", "direct": "gemm"}.get(value, value + "x") if isinstance(value, str) else value + value.dtype.type(1)


def test_a_changed_attribute_is_found(work):
    out = work.compute(np.random.default_rng(14).normal(size=(30, 40)), None, "--metric", "euclidean", "--tile", "8", ranks=2)
    with h5py.File(out, "r") as file:
        names = [name for name in file.attrs if name != "complete"]
    assert {"metric", "kernel", "tile", "scaling_exponent", "header_checksum"} < set(names)
    for name in names:
        copy = shutil.copy(out, work / "copy.h5")
        with h5py.File(copy, "r+") as file:
            file.attrs.modify(name, changed(file.attrs[name]))
        for command in ("verify", "info"):
            told = work.pairdist(command, copy, status=(1,)).stderr
            assert "copy.h5 is damaged: " in told or name == "format_version", f"{name}: {told}"


def test_what_is_missing_or_of_another_type_is_found(work):
    """As a program leaves it that copies a result, and drops or converts a part of it."""
    options = ("--matrix", "--neighbors", 3)
    out = work.compute(np.random.default_rng(18).normal(size=(30, 4)), None, *options)

    def told(change):
        copy = shutil.copy(out, work / "copy.h5")
        with h5py.File(copy, "r+") as file:
            change(file)
        one, other = (work.pairdist(command, copy, status=(1,)).stderr.splitlines()[-1] for command in ("verify", "info"))
        assert one == other and one.startswith(f"pairdist: {copy} is damaged: ")
        return one

    def converted(name, dtype):
        def change(file):
            values = file.pop(name)[()]
            file[name] = values.astype(dtype)
        return change

    for name in ("metric", "tile", "input", "complete", "dtype", "results"):
        assert f'it has no attribute "{name}"' in told(lambda file: file.attrs.__delitem__(name))
    assert "its distances are not f64" in told(converted("distances", "f4"))
    assert "its distances are not f64" in told(converted("distances", "i8"))
    for name, dtype in (("indices", "i8"), ("distances", "f4"), ("checksums", "i8")):
        assert "its neighbours are of other types" in told(converted(f"neighbors/{name}", dtype))


# attributes of a result, and what the program says where they cannot all be true
CONTRADICTIONS = {
    "symmetric": ({"symmetric": np.uint8(0)}, 'attribute "symmetric" is 0, and it has 1 input'),
    "kernel": ({"metric": "cityblock", "kernel": "gemm"}, 'cityblock has no kernel "gemm"'),
}


@pytest.mark.parametrize(("attributes", "words"), CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_a_header_that_contradicts_itself_is_damaged_even_without_its_checksum(work, attributes, words):
    out = work.compute(np.random.default_rng(15).normal(size=(30, 4)))
    with h5py.File(out, "r+") as file:
        del file.attrs["header_checksum"]
        for name, value in attributes.items():
            file.attrs.modify(name, value)
    for ranks in (0, 3):
        for options in ((), ("--all",)):
            told = work.pairdist("verify", out, *options, ranks=ranks, status=(1,)).stderr
            assert "out.h5 is damaged: " in told and words in told


@pytest.mark.parametrize("inputs", (1, 2))
def test_a_result_of_an_older_version_is_read(work, inputs):
    x, y = np.random.default_rng(16).normal(size=(2, 30, 4))
    out = work.compute(x, None if inputs == 1 else y, ranks=2)
    with h5py.File(out, "r+") as file:
        for name in ("header_checksum", "symmetric", "scaling_exponent", "pairdist_commit"):
            del file.attrs[name]
        file.attrs["symmetric"] = np.bool_(inputs == 1)
    for command in (("verify",), ("verify", "--all"), ("info",)):
        work.pairdist(*command[:1], out, *command[1:])
    assert ("yes (one input)" if inputs == 1 else "no (two inputs)") in work.pairdist("info", out).stdout


def weights(count):
    """Weights of rows and columns in checksums, as docs/FORMAT.md gives them."""
    z = np.arange(count, dtype="u8") + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))) & np.uint64(0xFFFFFFFF) | np.uint64(1)


@pytest.mark.parametrize("inputs", (1, 2))
@pytest.mark.parametrize("dtype", ("f4", "f8"))
def test_checksums_and_digest_follow_their_formula(work, dtype, inputs):
    x, y = (np.random.default_rng(seed).normal(size=(rows, 11)).astype(dtype) for seed, rows in ((11, 203), (12, 97)))
    out = work.compute(x, None if inputs == 1 else y, "--tile", "64", "--json", work / "run.json", ranks=2)
    with h5py.File(out, "r") as file:
        matrix, stored = file["distances"][()], file["tile_checksums"][()]
    words = matrix.view("u4").reshape(*matrix.shape, -1).astype("u8")
    values = words[..., 0] if dtype == "f4" else words[..., 0] + np.uint64(0x9E3779B97F4A7C15) * words[..., 1]
    terms = weights(len(matrix))[:, None] * weights(matrix.shape[1]) * values
    tiles = [[terms[i : i + 64, j : j + 64].sum() for j in range(0, terms.shape[1], 64)] for i in range(0, len(terms), 64)]
    assert np.array_equal(stored, np.array(tiles, "u8"))
    assert json.loads((work / "run.json").read_text())["digest"] == f"{terms.sum():016x}"


def test_an_existing_result_is_only_replaced_by_force(work):
    x = np.random.default_rng(10).normal(size=(20, 4))
    before = work.compute(x).read_bytes()
    refused = work.pairdist("compute", work / "x.h5", "-o", work / "out.h5", ranks=2, status=(1, 2))
    assert "out.h5" in refused.stderr and "--force" in refused.stderr
    assert (work / "out.h5").read_bytes() == before
    work.compute(x[:10], None, "--force")
    assert distances(work / "out.h5").shape == (10, 10)


def test_the_committed_digits_are_what_their_script_makes(work):
    specification = importlib.util.spec_from_file_location("make_digits", REPOSITORY / "inputs/make_digits.py")
    make_digits = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(make_digits)
    make_digits.make(work / "digits.h5")
    with h5py.File(work / "digits.h5", "r") as made, h5py.File(REPOSITORY / "inputs/digits.h5", "r") as committed:
        assert dict(made.attrs) == dict(committed.attrs)
        assert set(made) == set(committed) == {"samples", "labels"}
        for name in made:
            assert made[name].dtype == committed[name].dtype and made[name].chunks == committed[name].chunks
            assert np.array_equal(made[name], committed[name])


def test_the_distances_of_the_digits_are_within_the_bound(work):
    with h5py.File(REPOSITORY / "inputs/digits.h5", "r") as file:
        samples = file["samples"][()]
    result = distances(work.compute(REPOSITORY / "inputs/digits.h5", None, "--metric", "euclidean", ranks=2))
    assert_within_bound(result, samples, samples, "euclidean")
