# SPDX-License-Identifier: Apache-2.0
"""Style ``table``: products of at most six magnitude bits as tables, absorbed by the accumulator.

The truth is written once, as the product of two decoded codes.  From it follow the addend's bits;
a bit that depends on few enough nets stands in the accumulator's own LUT, every other one reads
computed nets (``codes``): either the bit itself, or a found code that several bits share
(`hw.codes`).  Every table is checked against the product when it is derived.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from hw.codes import found_code
from hw.style import Constant, Parameter, Style
from hwquant import codec
from hwquant.errors import SpecError
from hwquant.formats import Codebook, Format, Integer, Minifloat
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
PRODUCT_BITS: Final = 12
WIDE_NETS: Final = 3  # of a bit of a wider product: the search through more takes minutes
MAX_NETS: Final = 32
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


Truth = int  # a function of both codes: bit number act code + weight code * 2**act bits


def _has_sign_bit(fmt: Format) -> bool:
    return fmt.sign_magnitude


def magnitudes(fmt: Format) -> tuple[int, ...]:
    """Return what the code without its sign bit means, excluded codes as if they were ordinary.

    Integers have no sign bit: their values are two's complement.  A code to which a codebook gives
    no value means 0.
    """
    if isinstance(fmt, Integer):
        ordinary: Format = Integer(fmt.bits, fmt.signed)
        return tuple(codec.decode(ordinary, code) for code in range(1 << fmt.bits))
    if isinstance(fmt, Codebook):
        return tuple(fmt.by_code.get(code, 0) for code in range(1 << fmt.bits - fmt.sign_magnitude))
    ordinary = Minifloat(fmt.exponent_bits, fmt.mantissa_bits, signed=fmt.signed)
    size = 1 << fmt.exponent_bits + fmt.mantissa_bits
    return tuple(codec.decode(ordinary, code) for code in range(size))


class _Nets:
    """The nets of a kernel while it is built: what each is as a function of both codes."""

    def __init__(self, weight: Format, act: Format) -> None:
        inputs = weight.bits + act.bits
        self.size = 1 << inputs
        self.every = (1 << self.size) - 1
        self.raw = tuple(range(1, inputs + 1))
        self.truths: list[Truth] = [0]
        self.truths += [self.truth(x >> bit for x in range(self.size)) for bit in range(inputs)]
        self.codes: list[Table] = []

    @staticmethod
    def truth(values: Iterable[int]) -> Truth:
        """Return the truth table of the lowest bit of a value for each pair of codes."""
        return sum((value & 1) << x for x, value in enumerate(values))

    def table(self, truth: Truth, nets: Sequence[int]) -> int | None:
        """Return ``truth`` as a truth table of ``nets``, None where it is not their function."""
        cells = [self.every]  # the inputs that give each index into the table
        for net in nets:
            ones = self.truths[net]
            cells = [cell & ~ones for cell in cells] + [cell & ones for cell in cells]
        found = 0
        for index, cell in enumerate(cells):
            bits = truth & cell
            if bits and bits != cell:
                return None
            found |= bool(bits) << index
        return found

    def support(self, truth: Truth) -> tuple[int, ...]:
        """Return the raw nets that ``truth`` depends on."""
        return tuple(net for net in self.raw if self._depends(truth, net))

    def _depends(self, truth: Truth, net: int) -> bool:
        ones, step = self.truths[net], 1 << net - 1
        return (truth & ones) >> step != truth & ~ones

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

    def absorbed(self, truth: Truth, most: int = BIT_INPUTS) -> Table | None:
        """Return ``truth`` as a table of the fewest nets, None where ``most`` do not do."""
        for count in range(most + 1):
            for nets in itertools.combinations(range(1, len(self.truths)), count):
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

    # Where each pair of codes stands in a table of the pairs below their sign bits.
    pairs = [
        (x >> act.bits) % len(w) * len(a) + x % (1 << act.bits) % len(a) for x in range(nets.size)
    ]
    products = [y * z for y in w for z in a]
    signs = [act.bits - 1] * _has_sign_bit(act)
    signs += [act.bits + weight.bits - 1] * _has_sign_bit(weight)
    negate = nets.truth(sum(x >> bit for bit in signs) for x in range(nets.size))
    carry = nets.code(negate)
    sign = nets.code(negate ^ nets.truth(products[pair] < 0 for pair in pairs))
    for found in found_code(w, a) or ():
        nets.code(nets.truth(found >> pair for pair in pairs))
    bits = []
    width = max(max(p, -p - 1).bit_length() for p in products)
    most = BIT_INPUTS if width <= PRODUCT_BITS else WIDE_NETS
    for place in range(width):
        plain = nets.truth(products[pair] >> place for pair in pairs)
        table = nets.absorbed(plain ^ negate, most)
        if table is None:
            nets.code(plain)
            table = nets.absorbed(plain ^ negate, most)
        if table is None:
            raise SpecError(f"bit {place} of the product needs more than {BIT_INPUTS} nets")
        bits.append(table)
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
    bits = _product_bits(spec)
    if isinstance(spec.weight, Codebook) or isinstance(spec.act, Codebook):
        try:
            codes = len(tables(spec.weight, spec.act).codes)
        except SpecError as error:
            return str(error)
        nets = 1 + spec.weight.bits + spec.act.bits + codes
        if nets > MAX_NETS:
            return f"a product of {bits} bits has {nets} nets, allowed up to {MAX_NETS}"
    elif bits > PRODUCT_BITS:
        return f"a product of {bits} bits, worth a table each up to {PRODUCT_BITS}"
    if spec.accumulator.width < _low_bits(spec):
        return f"an accumulator of {spec.accumulator.width} bits, allowed from {_low_bits(spec)}"
    return None


def _product_bits(spec: MacSpec) -> int:
    largest = [max(map(abs, magnitudes(fmt))) for fmt in (spec.weight, spec.act)]
    return (largest[0] * largest[1]).bit_length()


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
