# SPDX-License-Identifier: Apache-2.0
"""Formulas of styles ``bucket*``: products added to buckets in distributed RAM, then drained.

Certain are the carry positions of every lane's bucket adder; registers and RAM are exact.  The
rest (exponent adder, significand product, sequencer, the lanes' serial sum) is fitted.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hw.styles import STYLES
from hw.styles.bucket import FAST, PORTABLE, STYLE
from hwquant.formats import Format
from hwquant.mac import MacSpec

from .counts import Counts, counts
from .inferred import Terms, register_inferred
from .product import hq_sig_product
from .specs import SpecArrays

__all__ = ["hq_bucket_ram"]

NAMES: Final = ("Window", "AddrBits", "First", "Last", "Steps", "BucketBits", "Drop", "RecodeAct")
INFERRED_BITS: Final = 14  # of a RAM32M16 when the RAM is inferred


@lru_cache(maxsize=1 << 20)
def _plan(
    style: str, weight: Format, act: Format, lanes: int, beats: int, acc: int
) -> tuple[int, ...]:
    spec = MacSpec(weight, act, lanes, lanes * beats, acc)
    values = STYLES[style].parameters(spec)
    return tuple(int(str(values[name])) for name in NAMES)


def plans(style: str, specs: SpecArrays) -> dict[str, NDArray[Any]]:
    """Return the block's parameters, each different kernel worked out once."""
    beats = -(-specs.length // specs.lanes)
    columns = np.stack([specs.weight_id, specs.act_id, specs.lanes, beats, specs.acc])
    sets, place = np.unique(columns, axis=1, return_inverse=True)
    made = [
        _plan(style, specs.formats[w], specs.formats[a], lanes, beats, acc)
        for w, a, lanes, beats, acc in sets.T.tolist()
    ]
    rows = np.array(made, np.int64)[place.ravel()].T
    return dict(zip(NAMES, rows, strict=True))


def hq_bucket_ram(addr_bits: NDArray[Any], width: NDArray[Any], portable: bool) -> NDArray[Any]:
    """Return the RAM LUTs of one lane's buckets: instantiated cells, or what Yosys infers."""
    if portable:
        return np.where(addr_bits > 5, -(-width // 7) * 8, -(-width // INFERRED_BITS) * 8)
    rest = width % 16
    small = np.minimum(8, np.where(rest <= 4, rest, 4 + np.maximum(0, rest - 8)))
    return np.where(addr_bits > 5, width, 8 * (width // 16) + small)


def _bits(count: NDArray[Any]) -> NDArray[Any]:
    """Return ``$clog2`` of counts from 1."""
    return np.frexp(np.maximum(count - 1, 0).astype(np.float64))[1].astype(np.int64)


def _shape(specs: SpecArrays) -> tuple[NDArray[Any], ...]:
    weight, act = specs.weight, specs.act
    fields = [np.where(o.exp_bits > 1, o.exp_bits, 0) for o in (weight, act)]
    small = np.minimum(weight.sig_bits, act.sig_bits)
    product = weight.sig_bits + act.sig_bits
    return np.minimum(*fields), np.maximum(*fields), small, product


def _exact(style: str, specs: SpecArrays) -> Counts:
    """Return registers and RAM, exact.

    A lane: codes, sign, address, bucket top (its sign bits are one register), and the product with
    what is made of it in the adder's LUTs.  Then the sequencer, and the result's shift register.
    """
    plan = plans(style, specs)
    weight, act, lanes = specs.weight, specs.act, specs.lanes
    least, most, small, product = _shape(specs)
    window, addr, steps = plan["Window"], plan["AddrBits"], plan["Steps"]
    digit = 1 << window
    twos = np.maximum(weight.twos, act.twos)
    direct = (product == 2) & (least > 0) & (window == 0) & (least + most <= 6)
    rows = np.where(
        product == 2,
        0,
        np.where(
            small == 1, product - 2, 2 + np.where((product == 4) & (twos == 0), 1, product - 2)
        ),
    )
    exact = np.where(direct, 1, 2) + rows
    spare = (small == 1) & (product > 2)
    near = np.where(product == 2, 1, product - spare) + window
    far = product - spare + 2
    held = np.where(window == 0, exact, np.where((window == 1) | (product == 2), near, far))
    lane = weight.bits + act.bits + 1 + addr + plan["BucketBits"] - digit + held
    buckets = plan["Last"] - plan["First"] + 1
    low = digit * steps - plan["Drop"]
    ff = lanes * lane + 4 + addr + 3 + low + (steps > buckets) * _bits(steps)
    ff = ff + (lanes > 1) * (lanes * digit + _bits(lanes) + 3)
    portable = style == PORTABLE.name
    if portable:
        ff = ff + lanes * addr
    ram = lanes * hq_bucket_ram(addr, plan["BucketBits"], portable)
    return counts(ff=ff, lutram=ram)


def _terms(style: str, specs: SpecArrays, count: str) -> Terms:
    raw = count == "lut_raw"
    portable = style == PORTABLE.name
    plan = plans(style, specs)
    weight, act, lanes = specs.weight, specs.act, specs.lanes
    least, most, small, product = _shape(specs)
    window, addr, width = plan["Window"], plan["AddrBits"], plan["BucketBits"]
    digit = 1 << window
    swap = plan["RecodeAct"] != 0
    multiply = hq_sig_product(
        np.where(swap, act.sig_bits, weight.sig_bits),
        np.where(swap, weight.sig_bits, act.sig_bits),
        np.where(swap, act.twos, weight.twos),
        np.where(swap, weight.twos, act.twos),
    ).packed()
    made = multiply.lut_raw if raw else multiply.lut_sites
    both = least > 0
    chain = np.where(both, np.maximum(addr + window - 1, most), 0)
    twos = np.maximum(weight.twos, act.twos)
    many = lanes > 1
    tail = plan["Steps"] > plan["Last"] - plan["First"] + 1

    found = Terms(len(specs))
    found.fixed(lanes * width)
    found.add("sequencer", 1, 9 if not raw else 15, 0.2)
    found.add("sequencer address", addr, 1, 1)
    found.add("sequencer tail", tail * _bits(plan["Steps"]), 1, 1)
    found.add("lane", lanes, 2, 0.5)
    found.add("significand product", lanes * made, 1, 0.5)
    found.add("significand product, signed", lanes * made * (twos > 0), 0, 2)
    found.add("product by one bit", lanes * (small == 1), 0, 2)
    found.add("product of single bits", lanes * (product == 2), 0, 2)
    found.add("partial products", lanes * (small > 1) * small * (product - small), 0, 3)
    found.add("exponent adder", lanes * chain, 1.5 if raw else 1, 1)
    found.add("one exponent", lanes * ~both * most, 0.5, 1)
    found.add("exponents", lanes * (least + most), 0.5 if raw else 0.2, 2)
    found.add("two exponents in a bucket", lanes * (window == 1), 0, 2)
    found.add("four exponents in a bucket", lanes * (window == 2), 0, 2)
    found.add("two exponents, product", lanes * (window > 0) * product, 0, 3)
    found.add("four exponents, product", lanes * (window == 2) * product, 0.5, 2)
    found.add("bucket bits", lanes * width, 1 if portable and raw else 0.3 if portable else 0, 2)
    found.add("serial sum", many * lanes, 1, 1)
    found.add("serial sum bits", many * lanes * digit, 1, 1)
    found.add("serial sum carry", many * lanes * _bits(lanes), 0.5, 2)
    return found


def _register(style: str) -> None:
    @register_inferred(style, exact=lambda specs: _exact(style, specs))
    def terms(specs: SpecArrays, count: str) -> Terms:
        return _terms(style, specs, count)


for _style in (STYLE, FAST, PORTABLE):
    _register(_style.name)
