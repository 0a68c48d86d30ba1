# SPDX-License-Identifier: Apache-2.0
"""Properties of the formulas: what must move them, and what they grow with."""

from __future__ import annotations

from dataclasses import replace

import click
import numpy as np
import pytest

from costmodel.formulas import covers, estimate_many
from costmodel.measurements import identity
from costmodel.primitives import FORMULAS
from costmodel.primitives.block_scaled import block_kernels
from costmodel.primitives.constant import constant_kernels
from hw.commands import rtl
from hw.constant.design import build
from hw.constant.spec import MatVecSpec
from hw.styles import STYLES, fitting
from hwquant.block_mac import BlockMacSpec
from hwquant.errors import SpecError
from hwquant.mac import MacSpec

FORMATS = (
    "int3", "int4", "int5", "int8", "uint4", "int4n", "e2m1", "e2m1b0", "e1m2", "e3m1", "ue2m2",
    "e4m3", "e4m3fn", "e0m3", "pow3a0.75f4", "cb2f1_-3_0_1_4",
)  # fmt: skip
CHANGES = (
    *({"weight": name} for name in FORMATS),
    *({"act": name} for name in FORMATS),
    *({"lanes": lanes} for lanes in (2, 3, 4, 8)),
    *({"length": length} for length in (4, 64, 1 << 16)),
    *({"acc": acc} for acc in (18, 19, 21, 24, 30, 34, "auto")),
    {"overflow": "saturate"},
)
SAME_PRICE = {
    "bucket": ("acc",),
    "bucket_fast": ("acc",),
    "bucket_portable": ("acc",),
    "dsp": ("acc",),
    "dsp_acc": ("acc",),
}
"""What changes RTL but not its price: the accumulator of a slice always has 48 bits, and of buckets
it is only how much is read.  Synthesis of e2m1 x e2m2 counts the same for 20, 24 and 30 bits."""
BOOKS = ("digit", "decode", "rom")
COINCIDENCES = {("dsp", "ue2m2"), ("digit_portable", "uint4"), ("plain", "int5")}
"""Styles where a format is priced as the one of the base by chance, most by the lack of a sign."""


def base(style):
    """Return a kernel that a style can do, with widths and length to change."""
    if style.startswith("booth"):
        return {"weight": "int5", "act": "int4", "acc": 20, "length": 256}
    if style.startswith(BOOKS):
        return {"weight": "int4", "act": "pow4a0.75f6", "acc": 26, "length": 256}
    act = "e2m1" if style.startswith("table") else "e2m2"
    return {"weight": "e2m1", "act": act, "acc": 20, "length": 256}


def price(style, spec):
    """Return the counts of one kernel."""
    return tuple(int(values[0]) for values in estimate_many([spec], style).to_columns().values())


def changed(style):
    """Yield (change, spec) of each change of the base that the style can do and prices."""
    for change in CHANGES:
        try:
            spec = MacSpec(**(base(style) | change))
        except SpecError:
            continue
        if STYLES[style].refuse(spec) is None and covers(spec, style):
            yield change, spec


@pytest.mark.parametrize("style", FORMULAS)
def test_every_option_that_changes_the_rtl_moves_the_estimate(style):
    first = MacSpec(**base(style))
    options = set()
    for change, spec in changed(style):
        (name,) = change
        same_rtl = identity(spec, style) == identity(first, style)
        same_price = price(style, spec) == price(style, first)
        expected = same_rtl or name in SAME_PRICE.get(style, ())
        if (style, change[name]) not in COINCIDENCES:
            assert same_price is expected, change
        if not same_rtl:
            options.add(name)
    wanted = {"weight", "act", "acc"}
    wanted |= {"lanes"} if _can(style, lanes=2) else set()
    wanted |= {"overflow"} if _can(style, overflow="saturate") else set()
    wanted |= {"length"} if "bucket" in style else set()
    assert options >= wanted


def _can(style, **change):
    return STYLES[style].refuse(MacSpec(**(base(style) | change))) is None


def test_no_option_of_rtl_is_forgotten():
    """Every option that describes hardware is moved in this file or in `test_cost_tile`."""
    kernel = {"weight", "act", "lanes", "length", "acc", "overflow", "style"}
    blocks, constants, tiles = {"window", "rounding"}, {"constant", "layer", "levels"}, {"tile"}
    others = {"model", "name", "out", "as_json", "help", "shape"}
    known = kernel | blocks | constants | tiles | others
    assert {param.name for param in rtl.params if isinstance(param, click.Parameter)} <= known


def test_every_option_of_block_kernels_moves_the_estimate():
    first = {"weight": "mxfp4", "act": "mxfp4", "lanes": 8, "length": 256, "window": (15, -16)}
    changes = [
        {"weight": "mxint8", "act": "mxint8"}, {"act": "mxfp6e2m3"}, {"lanes": 16},
        {"window": (18, -16)}, {"window": (15, -20)}, {"rounding": "floor"},
        {"overflow": "saturate"},
    ]  # fmt: skip

    def counted(style="plain", **change):
        columns = block_kernels([BlockMacSpec(**(first | change))], [style]).to_columns()
        return tuple(int(values[0]) for values in columns.values())

    for change in changes:
        assert counted(**change) != counted(), change
    assert counted("tree") != counted()


def test_every_option_of_constant_kernels_moves_the_estimate():
    codes = np.random.default_rng(3).integers(0, 16, (6, 8))

    def counted(codes=codes, weight="int4", act="int4", levels=1):
        design = build(MatVecSpec(codes, weight, act), levels=levels)
        columns = constant_kernels([design]).to_columns()
        return tuple(int(values[0]) for values in columns.values())

    other = codes.copy()
    other[0, 0] = 15 - other[0, 0]
    for change in ({"codes": other}, {"weight": "e2m1"}, {"act": "int8"}, {"levels": 4}):
        assert counted(**change) != counted(), next(iter(change))


def test_styles_have_prices_of_their_own():
    spec = MacSpec("e2m1", "e2m1", acc=20, length=256)
    names = [style.name for style in fitting(spec) if style.name in FORMULAS]
    found = {
        name: tuple(int(v[0]) for v in estimate_many([spec], name).to_columns().values())
        for name in names
    }
    assert len(names) >= 10
    assert len(set(found.values())) == len(found)


PAIRS = (("e2m1", "e2m1"), ("e3m2", "e3m2"), ("int4", "int4"), ("int4", "e2m1"))
FAMILIES = (
    [f"int{bits}" for bits in range(2, 9)],
    [f"uint{bits}" for bits in range(2, 9)],
    [f"e1m{bits}" for bits in range(1, 7)],
    [f"e2m{bits}" for bits in range(6)],
    [f"e3m{bits}" for bits in range(5)],
    [f"e{bits}m1" for bits in range(2, 6)],
    [f"pow{bits}a0.75f6" for bits in range(3, 7)],
)
TREES = ("tree", "tree_portable")


def slack(style, count):
    """Return by how much an estimate may fall: portable twins round a fit of several terms.

    At a fixed accumulator a wider product leaves fewer bits to the counter above it, and a bit of
    the portable counter is two LUT cells, one more than a carry position.
    """
    return {"lut_sites": 1, "lut_raw": 8, "ff": 0}[count] if style.endswith("_portable") else 0


def able(style, specs):
    return [spec for spec in specs if STYLES[style].refuse(spec) is None and covers(spec, style)]


def growth(style, specs):
    """Return for each count how much it grows from kernel to kernel; sites with RAM LUTs."""
    found = estimate_many(specs, style)
    sites = found.lut_sites + found.lutram
    counts = {"lut_sites": sites, "lut_raw": found.lut_raw, "ff": found.ff}
    return {name: np.diff(values) for name, values in counts.items()}


@pytest.mark.parametrize("style", FORMULAS)
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_cost_never_falls_with_the_accumulator(style, overflow):
    pair = {name: base(style)[name] for name in ("weight", "act")}
    specs = [MacSpec(**pair, length=64, acc=bits, overflow=overflow) for bits in range(18, 44)]
    specs = able(style, specs)
    assert len(specs) >= 20 or not _can(style, overflow=overflow)
    for name, steps in growth(style, specs).items():
        assert np.all(steps >= -slack(style, name)), name


@pytest.mark.parametrize("style", FORMULAS)
def test_cost_grows_with_lanes(style):
    tried = 0
    for pair in PAIRS:
        # As many beats for all: of fewer beats, buckets are narrower.
        specs = able(style, [MacSpec(*pair, n, length=8 * n, acc=30) for n in range(1, 17)])
        tried += len(specs) > 1
        for name, steps in growth(style, specs).items():
            if name == "ff" and style in TREES:
                continue  # a ternary tree of 13 operands has fewer delays than one of 12
            assert np.all(steps > 0), (pair, name)
    assert tried >= 1 or not _can(style, lanes=2)


@pytest.mark.parametrize("style", FORMULAS)
@pytest.mark.parametrize("acc", ["auto", 44])
def test_cost_never_falls_with_width(style, acc):
    tried = 0
    for names in FAMILIES:
        for other in (None, "int4", "pow4a0.75f6"):
            pairs = [(name, other or name) for name in names]
            specs = able(style, [MacSpec(*pair, length=256, acc=acc) for pair in pairs])
            tried += len(specs) > 1
            for name, steps in growth(style, specs).items():
                assert np.all(steps >= -slack(style, name)), (specs[0], name)
    assert tried >= 4


def test_a_cost_that_falls_is_noticed(monkeypatch):
    """Negative control: a style that gives back two LUTs for each bit of the accumulator."""
    right = FORMULAS["tree"]

    def wrong(specs):
        found = right(specs)
        return replace(found, lut_sites=found.lut_sites - 2.0 * specs.acc)

    monkeypatch.setitem(FORMULAS, "tree", wrong)
    with pytest.raises(AssertionError, match="lut_sites"):
        test_cost_never_falls_with_the_accumulator("tree", "wrap")
