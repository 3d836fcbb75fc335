"""Every stored type and byte order is read as NumPy converts it, and gives the same digest on any number of ranks."""

import json

import h5py
import numpy as np
import pytest
from conftest import distances

SPECIAL = {
    4: np.array([0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x00000001, 0x807FFFFF, 0x7F7FFFFF], "u4"),
    8: np.array(
        [0, 1 << 63, 0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001, 2**64 - 1, 1, 0x800FFFFFFFFFFFFF, 0x7FEFFFFFFFFFFFFF],
        "u8",
    ),
}
TYPES = "i1 u1 i2 u2 i4 u4 i8 u8 f2 f4 f8".split()
PATTERNS = 1_000_000


def patterns(stored):
    """All values of a type of 8 or 16 bits; of a wider one random bits, and values near which roundings differ."""
    kind, size = stored[0], int(stored[1])
    if size <= 2:
        return np.arange(1 << 8 * size, dtype=f"u{size}").view(stored)
    rng = np.random.default_rng(TYPES.index(stored))
    bits = rng.integers(0, 1 << 8 * size, PATTERNS, f"u{size}", endpoint=False)
    if kind == "f":
        # magnitudes for which the other type has subnormals, rounds up to a power of two, or has no number
        exponent = rng.choice([1e-320, 1e-310, 1e-45, 1e-40, 1e-38, 1, 1e38], PATTERNS) if size == 8 else rng.choice([1e-44, 1e-38, 1], PATTERNS)
        scaled = (rng.uniform(0.5, 4, PATTERNS) * exponent).astype(stored)
        near = np.ldexp(1 - np.ldexp(1.0, -rng.integers(1, 54, PATTERNS)), rng.integers(-150, 128, PATTERNS)).astype(stored)
        return np.concatenate([SPECIAL[size].view(stored), bits.view(stored), scaled, near])
    # whole numbers of every length, where they are rounded and just beside
    shifted = bits >> rng.integers(0, 8 * size, PATTERNS).astype(bits.dtype)
    powers = np.left_shift(np.uint64(1), rng.integers(0, 8 * size, PATTERNS).astype("u8")).astype(bits.dtype)
    beside = powers + rng.integers(-3, 4, PATTERNS).astype(bits.dtype)
    return np.concatenate([values.view(stored) for values in (bits, shifted, beside)])


def expected(values, computed):
    """|x|, as chebyshev gives it for one feature and a zero: NaN is passed over."""
    with np.errstate(over="ignore"):
        converted = np.abs(values.astype(computed))
    return np.where(np.isnan(converted), np.zeros_like(converted), converted)


@pytest.mark.parametrize("computed", ("f4", "f8"))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("stored", TYPES)
def test_every_value_is_converted_as_numpy_converts_it(work, stored, order, computed):
    values = patterns(stored)
    zero = np.zeros((1, 1), stored)
    x = work / "x.h5"
    with h5py.File(x, "w") as file:
        file.create_dataset("samples", data=values.astype(order + stored)[:, None])
    y = work.write("y", zero)
    if stored[0] != "f" and int(stored[1]) >= 4:
        # a number of the other input that keeps a common one from being taken off
        y = work.write("y", np.zeros((1, 1), "f4"))
    options = "--metric", "chebyshev", "--allow-nonfinite", "--dtype", "f32" if computed == "f4" else "f64"
    result = distances(work.compute(x, y, *options, ranks=1))[:, 0]
    wanted = expected(values, computed)
    bits = "u4" if computed == "f4" else "u8"
    wrong = np.flatnonzero(result.view(bits) != wanted.view(bits))
    assert result.dtype == computed and wrong.size == 0, f"{wrong.size} of {values.size}, first {values[wrong[:3]]}: {result[wrong[:3]]}"


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("stored", TYPES)
def test_the_digest_is_the_same_on_any_number_of_ranks(work, stored, order):
    values = patterns(stored)
    values = values[np.random.default_rng(1).integers(0, values.size, (60, 17))]
    # the pair that HDF5 1.10 reads wrongly, in rows of different ranks
    if stored == "f8":
        values[::2, 0], values[1::2, 0] = 1e-40, 0.99999999999
    x = work.write("x", values.astype(order + stored), chunks=(7, 5))
    options = "--metric", "cityblock", "--allow-nonfinite", "--dtype", "f32", "--tile", "10", "--no-output"
    records = [work.record(*options, x=x, ranks=ranks) for ranks in (1, 2, 3, 5)]
    assert len({(record["inputs"][0]["digest"], record["digest"]) for record in records}) == 1


def test_a_big_endian_subnormal_does_not_change_the_value_after_it(work):
    x = work.write("x", np.array([[1e-40], [0.99999999999]], ">f8"))
    y = work.write("y", np.zeros((1, 1)))
    result = distances(work.compute(x, y, "--metric", "cityblock", "--dtype", "f32"))
    assert result[:, 0].tolist() == [np.float32(1e-40), 1.0]


@pytest.mark.parametrize("stored", ("<f8", ">f8", "<f4", ">f4", "<f2", ">f2"))
def test_samples_without_a_zero_keep_the_sign_and_digits(work, stored):
    """Not only magnitudes: the distance of 0 and x is |x|, that of 1 and x tells the sign."""
    values = np.random.default_rng(3).normal(size=(500, 1)).astype(stored)
    result = distances(work.compute(work.write("x", values), np.ones((1, 1), "f8"), "--metric", "cityblock", "--dtype", "f64"))
    assert np.array_equal(result[:, 0], np.abs(values[:, 0].astype("f8") - 1))


@pytest.mark.parametrize("stored, bits, computed", [("f4", np.uint32, "f64"), ("f2", np.uint16, "f32")])
def test_floats_of_other_layouts_are_widened(work, stored, bits, computed):
    """bfloat16 and its like: as many bits, dealt out differently."""
    layout = h5py.h5t.IEEE_F32LE.copy() if stored == "f4" else h5py.h5t.IEEE_F16LE.copy()
    if stored == "f4":
        layout.set_fields(31, 21, 10, 0, 21)  # 10 bits of exponent
        layout.set_ebias(511)
        exponent, mantissa, bias = 10, 21, 511
    else:
        layout.set_fields(15, 7, 8, 0, 7)
        layout.set_ebias(127)
        exponent, mantissa, bias = 8, 7, 127
    rng = np.random.default_rng(4)
    raw = rng.integers(0, 1 << 8 * int(stored[1]), 3000, bits, endpoint=False)
    raw = raw[((raw >> mantissa) & ((1 << exponent) - 1)) < (1 << exponent) - 1]
    with h5py.File(work / "x.h5", "w") as file:
        space = h5py.h5s.create_simple((raw.size, 1))
        dataset = h5py.h5d.create(file.id, b"samples", layout, space)
        dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, raw, mtype=layout)
    e = ((raw.astype("u8") >> np.uint64(mantissa)) & np.uint64((1 << exponent) - 1)).astype("i8")
    m = (raw.astype("u8") & np.uint64((1 << mantissa) - 1)).astype("f8")
    with np.errstate(under="ignore"):
        values = np.where(e == 0, np.ldexp(m, 1 - bias - mantissa), np.ldexp(1 + m * 2.0**-mantissa, e - bias))
    result = distances(work.compute(work / "x.h5", np.zeros((1, 1), "f4"), "--metric", "cityblock", "--dtype", computed))
    assert np.array_equal(result[:, 0], values.astype("f8" if computed == "f64" else "f4"))


def test_the_record_tells_what_the_samples_are_like(work):
    values = np.arange(24.0).reshape(6, 4) - 7
    record = work.record("--no-output", x=work.write("x", values))
    (told,) = record["inputs"]
    assert told["dataset"] == "/samples" and told["shape"] == [6, 4] and told["path"] == str(work / "x.h5")
    assert told["smallest"] == -7 and told["largest"] == 16 and told["subtracted"] is None
    assert [told[name] for name in ("nan", "infinite", "missing_chunks", "marked_missing", "rounded")] == [0] * 5
    assert json.dumps(record).count(told["digest"]) == 1
