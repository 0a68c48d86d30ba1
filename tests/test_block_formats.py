"""Block-scaled formats against the OCP MX definition, gfloat and ml_dtypes."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction

import gfloat
import gfloat.formats
import ml_dtypes
import numpy as np
import pytest
from click.testing import CliRunner

from hwquant import block_np, codec, formats, parse
from hwquant.block import (
    BLOCK_NAMES,
    BlockFormat,
    ScaleFormat,
    block_format,
    decode_block,
    encode_block,
    scale_code,
    scale_value,
)
from hwquant.commands import format_
from hwquant.errors import FormatError, InputError
from hwquant.mac import MacSpec

GFLOAT = {
    "mxfp4": gfloat.formats.format_info_mxfp4_e2m1,
    "mxfp6e2m3": gfloat.formats.format_info_mxfp6_e2m3,
    "mxfp6e3m2": gfloat.formats.format_info_mxfp6_e3m2,
    "mxfp8e4m3": gfloat.formats.format_info_mxfp8_e4m3,
    "mxfp8e5m2": gfloat.formats.format_info_mxfp8_e5m2,
    "mxint8": gfloat.formats.format_info_mxint8,
}
DTYPES = {
    "mxfp4": ml_dtypes.float4_e2m1fn,
    "mxfp6e2m3": ml_dtypes.float6_e2m3fn,
    "mxfp6e3m2": ml_dtypes.float6_e3m2fn,
    "mxfp8e4m3": ml_dtypes.float8_e4m3fn,
    "mxfp8e5m2": ml_dtypes.float8_e5m2,
    "nvfp4": ml_dtypes.float4_e2m1fn,
}
# OCP MX v1.0, tables 1 and 2: name -> element bits, largest exponent, largest normal, smallest.
OCP = {
    "mxfp8e5m2": (8, 15, 57344.0, 2.0**-16),
    "mxfp8e4m3": (8, 8, 448.0, 2.0**-9),
    "mxfp6e3m2": (6, 4, 28.0, 0.0625),
    "mxfp6e2m3": (6, 2, 7.5, 0.125),
    "mxfp4": (4, 2, 6.0, 0.5),
    "mxint8": (8, 0, 1.984375, 2.0**-6),
}


def samples(count, block, seed=0):
    """Return float32 blocks of very different magnitudes, subnormals and zeros among them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, block)) * np.exp2(rng.integers(-8, 8, (count, block)))
    x = np.ldexp(x, rng.integers(-150, 118, (count, 1))).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = 0
    x[::7] *= -0.0
    x[1::50] = np.sign(x[1::50]) * np.float32(3.4e38)
    # Numbers that are ties of the element formats, and powers of two.
    x[2::9] = np.ldexp(rng.integers(-31, 32, x[2::9].shape), -2)
    x[3::9] = np.exp2(rng.integers(-20, 20, x[3::9].shape))
    return x


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_names_round_trip(name):
    for text in (name, f"{name}k8"):
        fmt = parse(text)
        assert isinstance(fmt, BlockFormat)
        assert str(fmt) == text
        assert parse(str(fmt)) == fmt
        assert {fmt: 1}[parse(text)] == 1
    assert str(parse(f"{name}k{parse(name).block}")) == name
    with pytest.raises(dataclasses.FrozenInstanceError):
        fmt.block = 3
    assert parse("e2m1") == formats.parse("e2m1")


@pytest.mark.parametrize("name", OCP)
def test_ocp_table(name):
    fmt = parse(name)
    bits, emax, largest, smallest = OCP[name]
    assert (fmt.element.bits, fmt.emax, fmt.block) == (bits, emax, 32)
    assert float(fmt.max) == largest
    assert 2.0**fmt.lsb_exp == smallest
    assert fmt.bits_per_element == bits + Fraction(1, 4)


def test_nvfp4_is_16_e2m1_under_e4m3():
    fmt = parse("nvfp4")
    assert (str(fmt.element), fmt.block, fmt.scale) == ("e2m1", 16, ScaleFormat.E4M3)
    assert fmt.tensor_scale
    assert fmt.max == 6 * 448


def test_every_scale_code_equals_ml_dtypes():
    codes = np.arange(256, dtype=np.uint8)
    for scale, dtype in (
        (ScaleFormat.E8M0, ml_dtypes.float8_e8m0fnu),
        (ScaleFormat.E4M3, ml_dtypes.float8_e4m3fn),
    ):
        want = codes.view(dtype).astype(np.float64)
        if scale is ScaleFormat.E4M3:
            want[128:] = np.nan  # no sign: these codes are no scales
        np.testing.assert_array_equal(block_np.scale_table(scale), want)
        for code in codes.tolist():
            if np.isnan(want[code]):
                with pytest.raises(FormatError, match=f"scale code {code} has no value"):
                    scale_value(scale, code)
            else:
                assert scale_value(scale, code) == Fraction(want[code])


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_every_element_code_under_every_scale_equals_the_product(name):
    fmt = parse(name)
    codes = np.array(fmt.element.codes, np.uint8)
    if name in DTYPES:
        element = codes.view(DTYPES[name]).astype(np.float64)
    else:
        element = codes.view(np.int8) / 64.0
    table = block_np.scale_table(fmt.scale)
    scales = np.flatnonzero(~np.isnan(table)).astype(np.uint8)
    size = -(-codes.size // fmt.block)
    tiled = np.tile(codes, (scales.size, 1))
    found = block_np.BlockCodes(fmt, tiled, np.repeat(scales[:, None], size, 1)).values()
    np.testing.assert_array_equal(found, element * table[scales][:, None])
    np.testing.assert_array_equal(np.signbit(found), np.tile(np.signbit(element), (scales.size, 1)))
    for scale in (0, 1, 63, 64, scales[-1]):
        row = decode_block(fmt, int(scale), codes.tolist())
        assert [float(x) for x in row] == found[scale].tolist()


@pytest.mark.parametrize("name", GFLOAT)
def test_quantize_equals_gfloat(name):
    fmt, info = parse(name), GFLOAT[name]
    x = samples(200, 32)
    x[np.abs(x) > 2.0**127 * float(fmt.max) / 2.0**fmt.emax] = 1  # beyond float64 for nobody
    want = [
        gfloat.quantize_block(info, row, gfloat.compute_scale_amax) for row in x.astype(np.float64)
    ]
    # gfloat takes the scale of each block from a rounded logarithm; numbers next to a power of
    # two are not among the samples, and test_scale_rule has them.
    np.testing.assert_array_equal(block_np.quantize(fmt, x), np.array(want))


@pytest.mark.parametrize("name", DTYPES)
def test_elements_equal_ml_dtypes(name):
    fmt = parse(name)
    x = samples(300, fmt.block, seed=1)
    found = block_np.encode(fmt, x)
    scale = block_np.scale_table(fmt.scale)[found.scales] * found.tensor_scale
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        unit = x.astype(np.float64) / scale
    unit = np.where(scale == 0, np.copysign(0, x), unit)
    limit = float(fmt.element.max)
    want = np.clip(unit, -limit, limit).astype(DTYPES[name]).view(np.uint8)
    np.testing.assert_array_equal(found.codes, want & ((1 << fmt.element.bits) - 1))


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_numpy_equals_the_definition(name):
    fmt = parse(name)
    x = samples(60, fmt.block + 3, seed=2)  # the last block has three elements
    x[5, 3], x[6, 1] = np.inf, -np.inf
    for scale in (1.0,) if not fmt.tensor_scale else (None, 1.0, 0.3, 2.0**-20):
        found = block_np.encode(fmt, x, scale=scale)
        values = found.values()
        exact = Fraction(found.tensor_scale)
        for row in range(len(x)):
            for part, at in enumerate(range(0, x.shape[1], fmt.block)):
                cut = slice(at, at + fmt.block)
                code, codes = encode_block(fmt, x[row, cut].tolist(), exact)
                assert code == found.scales[row, part]
                assert codes == tuple(found.codes[row, cut].tolist())
                if scale is not None and scale != 0.3:
                    back = decode_block(fmt, code, codes, exact)
                    assert [float(v) for v in back] == values[row, cut].tolist()


@pytest.mark.parametrize("name", OCP)
def test_scale_rule(name):
    """2**(floor(log2 amax) - emax), at every power of two and its neighbours."""
    fmt = parse(name)
    power = np.exp2(np.arange(-149, 128)).astype(np.float32)
    for x in (power, np.nextafter(power, np.float32(np.inf)), np.nextafter(power, np.float32(0))):
        found = block_np.encode(fmt, x[:, None]).scales[:, 0]
        for amax, code in zip(x.tolist(), found.tolist(), strict=True):
            assert code == scale_code(fmt, Fraction(amax))
            if amax:
                lead = Fraction(amax) / (Fraction(2) ** (code - 127 + fmt.emax))
                assert 1 <= lead < 2 or code == 0
                assert code < 255
    assert scale_code(fmt, Fraction(0)) == 0


def test_zero_blocks_infinities_and_nan():
    for name in BLOCK_NAMES:
        fmt = parse(name)
        zero = block_np.encode(fmt, np.array([[0.0, -0.0]]))
        assert not zero.scales.any()
        assert not zero.values().any()
        if name != "mxint8":
            assert np.signbit(zero.values()).tolist() == [[False, True]]
        top = block_np.quantize(fmt, [np.inf, -np.inf, 1.0])
        assert np.isfinite(top).all()
        assert top[0] > 1e38
        assert top[1] in (-top[0], -top[0] * 128 / 127)
        with pytest.raises(InputError, match=r"weights holds NaN \(first at index \(1, 0\)\)"):
            block_np.encode(fmt, [[1.0], [np.nan]], name="weights")
        with pytest.raises(InputError, match="NaN cannot be encoded"):
            encode_block(fmt, [float("nan")])


def test_axis_and_short_blocks():
    fmt = parse("mxfp4k4")
    x = np.random.default_rng(3).normal(size=(2, 10, 3))
    found = block_np.encode(fmt, x, axis=1)
    assert found.scales.shape == (2, 3, 3)
    again = block_np.encode(fmt, np.moveaxis(x, 1, 2))
    np.testing.assert_array_equal(found.values(), np.moveaxis(again.values(), 2, 1))
    assert block_np.encode(fmt, np.zeros((2, 0))).scales.shape == (2, 0)


def test_nvfp4_tensor_scale():
    fmt = parse("nvfp4")
    for given in (1e-30, 0.1, 1.0, 2688.0, 2689.0, 1e30, 2.0**-100):
        amax = float(np.float32(given))
        scale = block_np.tensor_scale(fmt, amax)
        assert scale == np.float32(amax) / np.float32(2688)
        power = block_np.tensor_scale(fmt, amax, po2=True)
        assert np.frexp(power)[0] == 0.5
        assert Fraction(power) * 2688 >= Fraction(amax) > Fraction(power) / 2 * 2688
    assert block_np.tensor_scale(fmt, 0.0) == 1
    assert block_np.tensor_scale(parse("mxfp4"), 9.0) == 1
    # A block far below the rest has scale 0, and so has all of it.
    x = np.ones((2, 16), np.float32)
    x[1] = 1e-9
    found = block_np.encode(fmt, x)
    assert found.scales[1] == 0
    assert not found.codes[1].any()
    assert found.codes[0].tolist() == [7] * 16


def test_a_wrong_rule_is_noticed():
    """Negative control: the scale one power too large gives other numbers than gfloat."""
    fmt = parse("mxfp4")
    x = samples(50, 32)
    found = block_np.encode(fmt, x)
    worse = block_np.quantize(BlockFormat(fmt.element, 16), x)
    assert (found.values() != worse).any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mxfp5", "is block-scaled"),
        ("mxfp4k0", "is block-scaled"),
        ("mxfp4k99999", "block size 99999, allowed 1..65536"),
        ("mxe2m1", "is block-scaled"),
        ("blah", "is unknown"),
    ],
)
def test_bad_names(name, message):
    with pytest.raises(FormatError, match=message):
        parse(name)


def test_refusals():
    with pytest.raises(FormatError, match="no block-scaled format has elements e3m3"):
        BlockFormat(formats.parse("e3m3"))
    with pytest.raises(FormatError, match="no block-scaled format has elements int8 and a e4m3"):
        BlockFormat(formats.parse("int8"), 16, ScaleFormat.E4M3)
    with pytest.raises(FormatError, match="single numbers"):
        MacSpec("mxfp4", "mxfp4")
    with pytest.raises(InputError, match="tensor scale 2"):
        block_np.encode(parse("mxfp4"), [1.0], scale=2.0)
    with pytest.raises(InputError, match="blocks need an axis"):
        block_np.encode(parse("mxfp4"), 1.0)
    bad = block_np.BlockCodes(parse("mxfp4"), np.zeros(3, np.uint8), np.array([255], np.uint8))
    with pytest.raises(FormatError, match="scale code 255 has no value in e8m0"):
        bad.values()
    nan = block_np.BlockCodes(
        parse("mxfp8e4m3"), np.array([127], np.uint8), np.array([9], np.uint8)
    )
    with pytest.raises(FormatError, match="code 127 has no value"):
        nan.values()
    assert block_format("e2m1") is None


def test_format_command():
    result = CliRunner().invoke(format_, ["mxint8", "--json"])
    record = json.loads(result.stdout)
    assert (record["element"], record["block"], record["scale"]) == ("int8", 32, "e8m0")
    assert record["bits_per_element"] == 8.25
    values = {item["code"]: item["value"] for item in record["codes"]}
    assert (values[127], values[128]) == (1.984375, -2)
    text = CliRunner().invoke(format_, ["nvfp4", "--table"]).stdout
    assert "tensor_scale      True" in text
    assert codec.decode(parse("nvfp4").element, 7) == 12
