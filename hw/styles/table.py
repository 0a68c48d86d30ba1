# SPDX-License-Identifier: Apache-2.0
"""Style ``table``: products of at most six magnitude bits as tables, absorbed by the accumulator.

The truth is written once, as the product of two decoded codes.  From it follow the addend's bits;
a bit that depends on few enough nets stands in the accumulator's own LUT, every other one reads
computed nets (``codes``): either the bit itself, or a found code that several bits share
(`hw.codes`).  Every table is checked against the product when it is derived.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from hw.codes import found_code
from hw.style import Constant, Parameter, Style
from hwquant import codec
from hwquant.errors import SpecError
from hwquant.formats import Format, Integer, Minifloat
from hwquant.mac import MacSpec, Overflow

__all__ = ["ACCUMULATOR_SOURCES", "PORTABLE", "SOURCES", "STYLE", "Tables", "tables"]

ACCUMULATOR_SOURCES: Final = (
    "hq_add.sv",
    "hq_lut.sv",
    "hq_lut_pair.sv",
    "hq_chain.sv",
    "hq_updown.sv",
    "hq_tally.sv",
)
"""The counting accumulator and its leaves, lower blocks first."""

SOURCES: Final = (*ACCUMULATOR_SOURCES, "hq_table_mac.sv")
PRIMITIVES: Final = ("LUT6_2", "CARRY8")

LUT_INPUTS: Final = 6
PICK_BITS: Final = 5
BIT_INPUTS: Final = 5  # of a LUT in front of the carry chain, which also takes the accumulator


@dataclass(frozen=True)
class Table:
    """A LUT: the nets it reads (lowest index bit first) and what it gives for each input."""

    nets: tuple[int, ...]
    truth: int


@dataclass(frozen=True)
class Tables:
    """A kernel as tables.  Nets: 0 is the constant 0, then activation, weight, codes.

    The addend is ``bits``, plus net ``carry``, minus net ``sign`` times 2**len(bits).
    """

    codes: tuple[Table, ...]
    bits: tuple[Table, ...]
    carry: int
    sign: int


Truth = tuple[int, ...]  # a function of both codes: index act code + weight code * 2**act bits


def _has_sign_bit(fmt: Format) -> bool:
    return fmt.signed and not isinstance(fmt, Integer)


def magnitudes(fmt: Format) -> tuple[int, ...]:
    """Return what the code without its sign bit means, excluded codes as if they were ordinary.

    Integers have no sign bit: their values are two's complement.
    """
    if isinstance(fmt, Integer):
        ordinary: Format = Integer(fmt.bits, fmt.signed)
        return tuple(codec.decode(ordinary, code) for code in range(1 << fmt.bits))
    ordinary = Minifloat(fmt.exponent_bits, fmt.mantissa_bits, signed=fmt.signed)
    size = 1 << fmt.exponent_bits + fmt.mantissa_bits
    return tuple(codec.decode(ordinary, code) for code in range(size))


class _Nets:
    """The nets of a kernel while it is built: what each is as a function of both codes."""

    def __init__(self, weight: Format, act: Format) -> None:
        inputs = weight.bits + act.bits
        self.size = 1 << inputs
        self.truths: list[Truth] = [(0,) * self.size]
        self.truths += [tuple(x >> bit & 1 for x in range(self.size)) for bit in range(inputs)]
        self.raw = tuple(range(1, inputs + 1))
        self.codes: list[Table] = []

    def table(self, truth: Truth, nets: Sequence[int]) -> int | None:
        """Return ``truth`` as a truth table of ``nets``, None where it is not their function."""
        columns = [self.truths[net] for net in nets]
        found: dict[int, int] = {}
        for x, bit in enumerate(truth):
            index = sum(column[x] << place for place, column in enumerate(columns))
            if found.setdefault(index, bit) != bit:
                return None
        return sum(bit << index for index, bit in found.items())

    def support(self, truth: Truth) -> tuple[int, ...]:
        """Return the raw nets that ``truth`` depends on."""
        return tuple(
            net
            for net in self.raw
            if any(truth[x] != truth[x ^ 1 << net - 1] for x in range(self.size))
        )

    def code(self, truth: Truth) -> int:
        """Return the net that carries ``truth``: one that exists, or a new LUT."""
        if truth in self.truths:
            return self.truths.index(truth)
        nets = self.support(truth)
        table = self.table(truth, nets)
        if len(nets) > LUT_INPUTS or table is None:
            raise SpecError(f"a table of {len(nets)} inputs, allowed up to {LUT_INPUTS}")
        self.codes.append(Table(nets, table))
        self.truths.append(truth)
        return len(self.truths) - 1

    def absorbed(self, truth: Truth) -> Table | None:
        """Return ``truth`` as a table of the fewest nets, None where `BIT_INPUTS` do not do."""
        useful = [net for net in range(1, len(self.truths))]
        for count in range(BIT_INPUTS + 1):
            for nets in itertools.combinations(useful, count):
                table = self.table(truth, nets)
                if table is not None:
                    return Table(nets, table)
        return None


@lru_cache(maxsize=256)
def tables(weight: Format, act: Format) -> Tables:
    """Return the tables of a MAC kernel.

    A sign-magnitude product enters as magnitude ^ sign, with the sign as carry and as the bit
    subtracted above; a two's complement one as its low bits, minus its top bit.

    Raises `SpecError` where a table would need more than six inputs.
    """
    nets = _Nets(weight, act)
    w, a = magnitudes(weight), magnitudes(act)
    mask_w, mask_a = len(w) - 1, len(a) - 1
    product = [w[x >> act.bits & mask_w] * a[x & mask_a] for x in range(nets.size)]
    flips = [bits for fmt, bits in ((act, act.bits), (weight, act.bits + weight.bits))
             if _has_sign_bit(fmt)]
    negate = tuple(sum(x >> bit - 1 for bit in flips) & 1 for x in range(nets.size))
    carry = nets.code(negate)
    low_bits = max(max(p, -p - 1).bit_length() for p in product)
    below = tuple(int(p < 0) ^ n for p, n in zip(product, negate, strict=True))
    sign = nets.code(below)
    for truth in found_code(w, a) or ():
        nets.code(tuple(truth >> (x >> act.bits & mask_w) * len(a) + (x & mask_a) & 1
                        for x in range(nets.size)))
    bits = []
    for place in range(low_bits):
        plain = tuple(p >> place & 1 for p in product)
        wanted = tuple(bit ^ n for bit, n in zip(plain, negate, strict=True))
        found = nets.absorbed(wanted)
        if found is None:
            nets.code(plain)
            found = nets.absorbed(wanted)
        if found is None:
            raise SpecError(f"bit {place} of the product needs more than {BIT_INPUTS} nets")
        bits.append(found)
    return Tables(tuple(nets.codes), tuple(bits), carry, sign)


def _inputs(spec: MacSpec) -> int:
    """Return how many code bits the magnitude of a product depends on."""
    return sum(fmt.bits - _has_sign_bit(fmt) for fmt in (spec.weight, spec.act))


def _refuse(spec: MacSpec) -> str | None:
    if spec.lanes != 1:
        return f"{spec.lanes} lanes, it has one"
    if spec.overflow is not Overflow.WRAP:
        return "its accumulator wraps and has no clamp"
    if _inputs(spec) > LUT_INPUTS:
        return f"{_inputs(spec)} magnitude bits, a table has up to {LUT_INPUTS}"
    if spec.accumulator.width < _low_bits(spec):
        return f"an accumulator of {spec.accumulator.width} bits, allowed from {_low_bits(spec)}"
    return None


def _low_bits(spec: MacSpec) -> int:
    return len(tables(spec.weight, spec.act).bits)


def _packed(values: Sequence[int], width: int) -> Constant:
    total = sum(value << index * width for index, value in enumerate(values))
    return Constant(total, len(values) * width)


def _repeated(table: Table, inputs: int) -> int:
    """Return the truth table with unused inputs (constant 0) ignored."""
    size, truth = 1 << len(table.nets), table.truth
    return sum((truth >> index % size & 1) << index for index in range(1 << inputs))


def _parameters(spec: MacSpec, *, primitive: bool) -> dict[str, Parameter]:
    found = tables(spec.weight, spec.act)
    codes = found.codes or (Table((), 0),)
    return {
        "Primitive": int(primitive),
        "WeightBits": spec.weight.bits,
        "ActBits": spec.act.bits,
        "Codes": len(codes),
        "LowBits": len(found.bits),
        "AccBits": spec.accumulator.width,
        "CodeInit": _packed([_repeated(t, LUT_INPUTS) for t in codes], 64),
        "CodePick": _packed([n for t in codes for n in _filled(t, LUT_INPUTS)], PICK_BITS),
        "BitInit": _packed([_repeated(t, BIT_INPUTS) for t in found.bits], 32),
        "BitPick": _packed([n for t in found.bits for n in _filled(t, BIT_INPUTS)], PICK_BITS),
        "CarryPick": found.carry,
        "SignPick": found.sign,
    }


def _filled(table: Table, inputs: int) -> list[int]:
    return [*table.nets, *[0] * (inputs - len(table.nets))]


def _primitive_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return _parameters(spec, primitive=True)


def _portable_parameters(spec: MacSpec) -> Mapping[str, Parameter]:
    return _parameters(spec, primitive=False)


STYLE: Final = Style(
    name="table",
    top="hq_table_mac",
    sources=SOURCES,
    latency_cycles=2,
    parameters=_primitive_parameters,
    refuse=_refuse,
    primitives=PRIMITIVES,
)

PORTABLE: Final = Style(
    name="table_portable",
    top="hq_table_mac",
    sources=SOURCES,
    latency_cycles=2,
    parameters=_portable_parameters,
    refuse=_refuse,
)
