# SPDX-License-Identifier: Apache-2.0
"""The product block, evaluated by Yosys for every code pair, equals the scalar codec's product.

The simulation farm proves all pairs with Verilator; this is a second tool on a few.
"""

from __future__ import annotations

import re

import pytest

from hw import product_bits, product_text
from hw.library import source_text
from hw.styles.plain import PRODUCT_SOURCES
from hw.yosys import run
from hwquant import codec
from hwquant.mac import MacSpec

ROW = re.compile(r"^ +\d+'([01]+) +\d+'([01]+) +\| +\d+'([01]+)", re.MULTILINE)
PAIRS = [
    ("int4", "int4"), ("int4n", "e2m1"), ("e2m1", "e2m1"), ("e3m0", "uint3"), ("e0m3", "ue2m2"),
    ("ue3m0", "int3"), ("uint1", "e4m0"), ("e1m2", "ue0m2"), ("e2m1fn", "e2m1ieee"),
    ("uint4", "uint4"), ("e4m1", "e1m1"), ("e7m0", "e2m0"),
]  # fmt: skip


def truth_table(pair, patch=None):
    """Return {(weight code, act code): product} as the RTL computes it."""
    files = {name: source_text(name) for name in PRODUCT_SOURCES}
    if patch is not None:
        name, good, bad = patch
        assert good in files[name]
        files[name] = files[name].replace(good, bad)
    files["top.sv"] = product_text(MacSpec(*pair), "top_product")
    log = run(
        f"read_verilog -sv {' '.join(files)}\nhierarchy -top top_product\nproc\nflatten\nopt\n"
        "eval -table weight_i,act_i -show product_o\n",
        files,
    )
    table = {}
    for weight, act, product in ROW.findall(log):
        assert len(product) == product_bits(*(MacSpec(*pair).weight, MacSpec(*pair).act))
        table[int(weight, 2), int(act, 2)] = int(product, 2) - (int(product[0]) << len(product))
    return table


def expected(pair):
    spec = MacSpec(*pair)
    return {
        (w, a): codec.decode(spec.weight, w) * codec.decode(spec.act, a)
        for w in spec.weight.codes
        for a in spec.act.codes
    }


@pytest.mark.synth
@pytest.mark.parametrize("pair", PAIRS, ids=" x ".join)
def test_every_code_pair_equals_the_scalar_codec(pair):
    wanted = expected(pair)
    table = truth_table(pair)
    spec = MacSpec(*pair)
    assert len(table) == 1 << spec.weight.bits + spec.act.bits
    assert {codes: table[codes] for codes in wanted} == wanted


@pytest.mark.synth
def test_a_wrong_decoder_gives_wrong_products():
    """Negative control: without the subnormal's exponent of one, subnormals are wrong."""
    pair = ("e2m1", "e2m1")
    table = truth_table(pair, ("hq_decode.sv", "field[0] | ~normal", "field[0]"))
    wanted = expected(pair)
    wrong = {codes for codes in wanted if table[codes] != wanted[codes]}
    assert wrong
    assert all(1 in (w & 7, a & 7) for w, a in wrong)
