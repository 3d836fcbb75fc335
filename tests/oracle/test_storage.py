"""Samples of every type, byte order, storage, filter and orientation are read as h5py reads them."""

import json
from concurrent.futures import ThreadPoolExecutor

import h5py
import numpy as np
import pytest
from conftest import distances
from scipy.spatial.distance import cdist

EXACT = "--metric", "cityblock", "--dtype", "f64", "--no-sync"  # has the bits of SciPy
SHAPE = 61, 3, 5

# stored type: lower and upper limit of its values
TYPES = {
    "|b1": (0, 2),
    "|i1": (-100, 100),
    "|u1": (0, 250),
    "i2": (-30_000, 30_000),
    "u2": (0, 60_000),
    "i4": (-(2**31), 2**31 - 1),
    "u4": (0, 2**32 - 1),
    "i8": (-(2**40), 2**40),
    "u8": (0, 2**40),
    "f2": (-10, 10),
    "f4": (-10, 10),
    "f8": (-10, 10),
    "g": (-10, 10),  # long double
}
ORDERED = [f"{order}{stored}" for stored in TYPES for order in ("" if stored[0] == "|" else "<>") or [""]]

# how the samples lie in the dataset: option, shape of the dataset
ORIENTATIONS = {
    "rows": ((), lambda values: values.reshape(SHAPE[0], -1)),
    "columns": (("--transpose",), lambda values: values.reshape(SHAPE[0], -1).T),
    "images": (("--flatten",), lambda values: values),
}

# edges of the chunks of a dataset
CHUNKS = {
    "row chunks": lambda shape: (8, *shape[1:]),
    "column chunks": lambda shape: (shape[0], *(1 for _ in shape[1:])),
    "one chunk": lambda shape: shape,
    "ragged chunks": lambda shape: tuple(edge // 2 + 1 for edge in shape),
}
# arguments of create_dataset, and the kinds of types that the filter takes
FILTERS = {
    "no filter": ({}, "biufg"),
    "gzip": ({"compression": "gzip"}, "biufg"),
    "shuffle and gzip": ({"compression": "gzip", "shuffle": True}, "biufg"),
    "LZF": ({"compression": "lzf"}, "biufg"),
    "fletcher32": ({"fletcher32": True}, "biufg"),
    "scaleoffset": ({"scaleoffset": 3}, "f"),
    "whole scaleoffset": ({"scaleoffset": 0}, "iu"),
    "szip": ({"compression": "szip"}, "biuf"),
}
STORAGES = [("contiguous", "no filter"), ("compact", "no filter"), *((chunks, filtered) for chunks in CHUNKS for filtered in FILTERS)]

# some of everything, for several ranks: type, storage, filter, orientation
ON_SEVERAL_RANKS = [
    ("<f8", "column chunks", "gzip", "rows"),
    ("<f8", "one chunk", "shuffle and gzip", "rows"),
    (">f8", "row chunks", "gzip", "columns"),
    ("<f8", "one chunk", "gzip", "images"),
    (">f4", "ragged chunks", "LZF", "columns"),
    ("<f4", "ragged chunks", "scaleoffset", "rows"),
    (">f2", "compact", "no filter", "images"),
    ("<g", "row chunks", "fletcher32", "images"),
    ("|b1", "one chunk", "gzip", "columns"),
    ("|i1", "column chunks", "no filter", "columns"),
    ("|u1", "contiguous", "no filter", "rows"),
    ("<i2", "contiguous", "no filter", "columns"),
    (">i4", "ragged chunks", "whole scaleoffset", "columns"),
    ("<u8", "column chunks", "szip", "images"),
]


def values_of(stored):
    low, high = TYPES[stored.lstrip("<>")]
    return np.random.default_rng(6).uniform(low, high, SHAPE).astype(stored)


def is_possible(stored, filtered):
    dtype = np.dtype(stored)
    kind = "g" if dtype.char == "g" else dtype.kind
    return kind in FILTERS[filtered][1] and not (filtered == "scaleoffset" and dtype.itemsize == 2)


def write(file, name, values, storage, filtered):
    if storage in CHUNKS:
        file.create_dataset(name, data=values, chunks=CHUNKS[storage](values.shape), **FILTERS[filtered][0])
        return
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout({"contiguous": h5py.h5d.CONTIGUOUS, "compact": h5py.h5d.COMPACT}[storage])
    file.create_dataset(name, data=values, dcpl=plist)


def samples(path, name, orientation):
    """What h5py reads."""
    with h5py.File(path) as file:
        stored = file[name][()].astype("f8")
    return stored.T if orientation == "columns" else stored.reshape(len(stored), -1)


def expected(path, name, orientation):
    """SciPy's distances of what h5py reads."""
    x = samples(path, name, orientation)
    return cdist(x, x, "cityblock")


@pytest.mark.parametrize("stored", ORDERED)
def test_every_storage_is_read_as_h5py_reads_it(work, stored):
    """The orientations in turn, so that each type meets each, and each storage and filter meet each; two datasets a run, one as Y."""
    x = work / "x.h5"
    names = {orientation: [] for orientation in ORIENTATIONS}
    with h5py.File(x, "w") as file:
        for number, (storage, filtered) in enumerate(STORAGES, ORDERED.index(stored)):
            if is_possible(stored, filtered):
                orientation = list(ORIENTATIONS)[number % 3]
                names[orientation].append(f"{orientation}, {storage}, {filtered}")
                write(file, names[orientation][-1], ORIENTATIONS[orientation][1](values_of(stored)), storage, filtered)
    pairs = [(orientation, of[number], of[number - 1]) for orientation, of in names.items() for number in range(0, len(of), 2)]

    def is_same(pair):
        orientation, *both = pair
        options = "--dataset", both[0], "--against-dataset", both[1], *ORIENTATIONS[orientation][0]
        result = work.compute(x, x, *options, *EXACT, out=f"{both[0]}.h5", ranks=0)
        return np.array_equal(distances(result), cdist(*(samples(x, name, orientation) for name in both), "cityblock"))

    # a run spends most of its time starting
    with ThreadPoolExecutor(4) as pool:
        assert [pair for pair, same in zip(pairs, pool.map(is_same, pairs)) if not same] == []


@pytest.mark.parametrize("stored, storage, filtered, orientation", ON_SEVERAL_RANKS)
def test_every_number_of_ranks_reads_the_same(work, stored, storage, filtered, orientation):
    with h5py.File(work / "x.h5", "w") as file:
        write(file, "samples", ORIENTATIONS[orientation][1](values_of(stored)), storage, filtered)
    options = *ORIENTATIONS[orientation][0], *EXACT, "--tile", "10", "--force", "-o", work / "out.h5"
    digests = set()
    for ranks in (1, 2, 3, 5):
        record = work.record(*options, x=work / "x.h5", ranks=ranks)
        digests.add((record["inputs"][0]["digest"], record["digest"]))
        assert np.array_equal(distances(work / "out.h5"), expected(work / "x.h5", "samples", orientation))
    assert len(digests) == 1


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_both_inputs_are_read_alike(work, orientation):
    option, lay_out = ORIENTATIONS[orientation]
    x, y = values_of("<f8"), values_of("<i2")
    result = work.compute(lay_out(x), lay_out(y), *option, *EXACT, ranks=2)
    assert np.array_equal(distances(result), cdist(x.reshape(61, -1), y.reshape(61, -1).astype("f8"), "cityblock"))


# shape of the dataset, option, shape of the samples
SHAPES = {
    "one sample of one feature": ((1, 1), "--transpose", (1, 1)),
    "fewer samples than ranks": ((40, 2), "--transpose", (2, 40)),
    "one feature": ((1, 40), "--transpose", (40, 1)),
    "four dimensions": ((20, 2, 1, 3), "--flatten", (20, 6)),
    "images of one pixel": ((20, 1, 1), "--flatten", (20, 1)),
    "one image": ((1, 4, 5), "--flatten", (1, 20)),
    "two dimensions are flat": ((20, 6), "--flatten", (20, 6)),
}


@pytest.mark.parametrize("shape, option, read", SHAPES.values(), ids=SHAPES)
def test_samples_of_every_shape_are_read(work, shape, option, read):
    values = np.random.default_rng(7).normal(size=shape)
    x = values.T if option == "--transpose" else values.reshape(read)
    plan = work.pairdist("plan", work.write("x", values), "--ranks", 2, option).stdout
    assert f"{read[0]} x {read[0]} distances, {read[1]} feature" in plan
    assert np.array_equal(distances(work.compute(work / "x.h5", None, option, *EXACT, ranks=3)), cdist(x, x, "cityblock"))


# shape of the dataset, option, a word of the refusal
REFUSED = {
    "images, not flattened": ((6, 3, 4), [], "--flatten"),
    "images, transposed": ((6, 3, 4), ["--transpose"], "3 dimensions"),
    "a vector, transposed": ((6,), ["--transpose"], "1 dimension"),
    "a vector, flattened": ((6,), ["--flatten"], "1 dimension"),
    "no columns, transposed": ((6, 0), ["--transpose"], "empty"),
    "images without pixels": ((6, 3, 0), ["--flatten"], "empty"),
}


@pytest.mark.parametrize("command", (["compute", "-o", "out.h5"], ["plan", "--ranks", "2"]), ids=lambda command: command[0])
@pytest.mark.parametrize("shape, option, word", REFUSED.values(), ids=REFUSED)
def test_what_has_not_the_dimensions_is_refused(work, command, shape, option, word):
    work.write("x", np.ones(shape))
    refused = work.pairdist(*command, "x.h5", "--dataset", "samples", *option, status=(1,))
    assert word in refused.stderr and "samples" in refused.stderr and sorted(path.name for path in work.folder.iterdir()) == ["x.h5"]


def test_the_only_dataset_of_images_is_found_by_flatten(work):
    with h5py.File(work / "x.h5", "w") as file:
        file["images"], file["labels"] = values_of("|u1"), np.arange(61)
    assert "--flatten" in work.pairdist("compute", "x.h5", "--no-output", status=(1,)).stderr
    assert "/images" in work.pairdist("compute", "x.h5", "--no-output", "--flatten").stderr


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_whole_numbers_beyond_2_53_stay_exact(work, orientation):
    option, lay_out = ORIENTATIONS[orientation]
    near = np.random.default_rng(8).integers(-1000, 1000, SHAPE)
    x = near.reshape(61, -1).astype("f8")
    result = work.compute(lay_out(near + 2**60), None, *option, *EXACT, ranks=2)
    assert np.array_equal(distances(result), cdist(x, x, "cityblock"))
    work.pairdist("verify", result, "--all", ranks=2)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_chunks_that_were_never_written_are_refused(work, orientation):
    option, lay_out = ORIENTATIONS[orientation]
    values = lay_out(values_of("<f8"))
    with h5py.File(work / "x.h5", "w") as file:
        file.create_dataset("samples", values.shape, "f8", chunks=CHUNKS["ragged chunks"](values.shape), fillvalue=7)[0] = values[0]
    assert "--allow-missing-chunks" in work.pairdist("compute", "x.h5", "--no-output", *option, status=(1,)).stderr
    result = work.compute(work / "x.h5", None, *option, *EXACT, "--allow-missing-chunks")
    assert np.array_equal(distances(result), expected(work / "x.h5", "samples", orientation))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_nan_is_refused(work, orientation):
    option, lay_out = ORIENTATIONS[orientation]
    values = values_of("<f8")
    values[40, 2, 1] = np.nan
    refused = work.pairdist("compute", work.write("x", lay_out(values)), "--no-output", *option, ranks=2, status=(1,))
    assert "1 of 61 samples" in refused.stderr
    result = work.compute(work / "x.h5", None, *option, *EXACT, "--allow-nonfinite", ranks=2)
    assert np.array_equal(distances(result), expected(work / "x.h5", "samples", orientation), equal_nan=True)


def decoded(work):
    with h5py.File(work / "x.h5", "w") as file:
        file["samples"] = np.random.default_rng(9).integers(-99, 99, (24, 24), "i2")
        file["samples"].attrs["scale_factor"], file["samples"].attrs["add_offset"] = 0.1, 3.0
        return file["samples"][()] * 0.1 + 3.0


def square(work, option):
    """A dataset that reads well with and without the option, and the samples that it holds with it."""
    if option == "--decode-netcdf":
        return decoded(work)
    values = np.random.default_rng(9).normal(size=(24, 24) if option == "--transpose" else (24, 2, 12))
    work.write("x", values)
    return values.T if option == "--transpose" else values.reshape(24, 24)


@pytest.mark.parametrize("option", ("--transpose", "--flatten", "--decode-netcdf"))
def test_a_result_knows_how_its_samples_were_read(work, option):
    x = square(work, option)
    out = work.compute(work / "x.h5", None, option, *EXACT, "--tile", "8", ranks=2)
    assert np.array_equal(distances(out), cdist(x, x, "cityblock"))
    for options in ((), ("--all",), ("--all", "--samples", work / "x.h5")):
        work.pairdist("verify", out, *options, ranks=2)
    work.pairdist("compute", "x.h5", "-o", out, option, *EXACT, "--tile", "8", "--resume")


@pytest.mark.parametrize("option", ("--transpose", "--flatten", "--decode-netcdf"))
def test_a_stopped_run_is_resumed_with_samples_read_as_before(work, option):
    x = square(work, option)
    arguments = "compute", "x.h5", "-o", "out.h5", *EXACT, "--tile", "8"
    work.pairdist(*arguments, option, "--time-limit", "00:00:00", ranks=2, status=(75,))
    # without the option these are other samples, whose distances must not get into the result
    work.pairdist(*arguments, "--resume", ranks=2, status=(0, 1))
    work.pairdist(*arguments, option, "--resume", ranks=2)
    assert np.array_equal(distances(work / "out.h5"), cdist(x, x, "cityblock"))
    work.pairdist("verify", "out.h5", "--all")


@pytest.mark.parametrize("option, word", (("--transpose", "transposed"), ("--flatten", "flattened"), ("--decode-netcdf", "decoded")))
def test_the_record_and_the_result_say_how_samples_were_read(work, option, word):
    square(work, option)
    record = work.record(option, "-o", work / "out.h5", x=work / "x.h5")
    assert (record["problem"]["n"], record["problem"]["d"]) == (24, 24) and word in json.dumps(record["inputs"])
    with h5py.File(work / "out.h5") as file:
        assert word in file.attrs["input"]
    assert word in work.pairdist("info", "out.h5").stdout


# what info says of a dataset: how it is stored, words of its line
LISTED = {
    "plain": (lambda values: {"data": values.reshape(61, 15)}, ["61", "15"]),
    "gzipped": (lambda values: {"data": values.reshape(61, 15), "chunks": (8, 15), "compression": "gzip"}, ["61", "15", "8", "gzip"]),
    "lzf": (lambda values: {"data": values.reshape(61, 15), "chunks": (8, 5), "compression": "lzf"}, ["8", "5", "lzf"]),
    "images": (lambda values: {"data": values}, ["61", "3", "5", "--flatten"]),
    "complex": (lambda values: {"data": values.reshape(61, 15) + 1j}, ["61", "15", "complex"]),
}


def test_info_lists_every_dataset_and_whether_it_can_be_read(work):
    with h5py.File(work / "x.h5", "w") as file:
        for name, (storage, _) in LISTED.items():
            file.create_dataset(f"group/{name}", **storage(values_of("<f8")))
        file["vector"] = np.ones(3)
    lines = work.pairdist("info", "x.h5").stdout.splitlines()
    for name, (_, words) in LISTED.items():
        (line,) = [line for line in lines if line.startswith(f"group/{name} ")]
        assert [word for word in words if word.lower() not in line.lower()] == [], line
    assert not any("vector" in line for line in lines)


def test_a_result_with_a_slash_after_its_name_is_refused(work):
    work.write("x", np.ones((4, 3)))
    refused = work.pairdist("compute", "x.h5", "-o", "d.h5/", status=(1, 2))
    assert "d.h5/" in refused.stderr.splitlines()[-1] and [path.name for path in work.folder.iterdir()] == ["x.h5"]


def test_digits_that_decoding_rounds_are_told(work):
    with h5py.File(work / "x.h5", "w") as file:
        file["x"] = np.int64(16 * 10**17) + np.arange(60).reshape(20, 3)
        file["x"].attrs["_FillValue"] = np.int64(-1)
    for option in ((), ("--transpose",)):
        told = work.pairdist("compute", "x.h5", "--decode-netcdf", "--no-output", *option).stderr
        assert "more digits than f64 holds" in told and "row 0, column 1 " in told


def test_small_values_that_keep_their_digits_are_not_warned_of(work):
    work.write("x", np.random.default_rng(3).random((6, 20)) * 1e-40)
    for option in ((), ("--transpose",)):
        assert "WARN" not in work.pairdist("compute", "x.h5", "--no-output", *option).stderr


def test_an_attribute_that_cannot_be_followed_is_refused(work):
    path = work.write("x", np.ones((4, 3)))
    assert "no attribute that --decode-netcdf follows" in work.pairdist("compute", path, "--decode-netcdf", "--no-output").stderr
    for value in ("0.5", [0.5, 0.25]):
        with h5py.File(path, "r+") as file:
            file["samples"].attrs["scale_factor"] = value
        assert "scale_factor that is not one number" in work.pairdist("compute", path, "--decode-netcdf", "--no-output", status=(1,)).stderr


def test_values_that_are_all_too_large_are_not_called_too_small(work):
    path = work.write("x", np.random.default_rng(4).normal(size=(20, 4)) * 1e300)
    told = work.pairdist("compute", path, "--dtype", "f32", "--no-output", status=(1,)).stderr
    assert "80 values in 20 of 20 samples are too large for f32" in told
    work.pairdist("compute", path, "--dtype", "f32", "--no-output", "--allow-nonfinite")


def test_a_mask_is_not_taken_where_only_samples_of_more_dimensions_are(work):
    with h5py.File(work / "x.h5", "w") as file:
        file["x"], file["mask"] = np.ones((5, 2, 3)), np.ones((5, 4), bool)
    assert "--flatten" in work.pairdist("compute", "x.h5", "--no-output", status=(1,)).stderr
    assert 'samples are dataset "/x"' in work.pairdist("compute", "x.h5", "--no-output", "--flatten").stderr
