# SPDX-License-Identifier: Apache-2.0
"""Several products from one DSP multiplier: how to lay operands out, and the exact twin of it.

``p`` operands share one port and ``q`` operands the other, each at a fixed distance from the next;
one multiplication then holds all ``p * q`` products of the outer product, a stride apart::

    (sum_i x_i * 2**(i * x_step)) * (sum_j y_j * 2**(j * y_step)) = sum_k f_k * 2**(k * stride)

A negative field borrows one from the field above it, so a field read as it stands is one too
small where the bits below are negative: their top bit says so and is added (`Layout.fields`).

`pack` finds the layout with the most products, then the widest stride, for any two ranges.  A
layout counts only if both words fit their ports for *every* combination of operands: two int8 a
stride of 19 apart fill 27 bits, but two most negative codes need 28.

Idea: Xilinx WP486, two int8 products; any p x q: DSP-Packing (arXiv 2203.11028), whose plain
scheme has the error of the borrow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hwquant.errors import SpecError
from hwquant.fixed import signed_bits
from hwquant.formats import Format, Integer, Minifloat

__all__ = ["DSP48E2", "DSP58", "Layout", "Ports", "Range", "multiplicand", "pack"]


@dataclass(frozen=True, slots=True)
class Ports:
    """Widths of a DSP's two multiplier ports and of its result, in bits, two's complement."""

    wide: int
    narrow: int
    result: int


DSP48E2: Final = Ports(27, 18, 48)
DSP58: Final = Ports(27, 24, 58)


@dataclass(frozen=True, slots=True)
class Range:
    """The integers that an operand may be."""

    low: int
    high: int

    def __mul__(self, other: Range) -> Range:
        """Return the range of the product."""
        ends = [x * y for x in (self.low, self.high) for y in (other.low, other.high)]
        return Range(min(ends), max(ends))

    def packed(self, count: int, step: int) -> Range:
        """Return the range of ``count`` operands, each 2**``step`` times the one before."""
        weight = sum(1 << index * step for index in range(count))
        return Range(self.low * weight, self.high * weight)

    @property
    def bits(self) -> int:
        """The least two's complement width."""
        return signed_bits(min(self.low, 0), max(self.high, 0))


def multiplicand(fmt: Format) -> Range:
    """Return what of a code is multiplied: an integer's or codebook's value, or a significand.

    Every code counts, those without a value too; sign and exponent of a minifloat stay outside.

    >>> from hwquant.formats import parse
    >>> multiplicand(parse("int4")), multiplicand(parse("e4m3"))
    (Range(low=-8, high=7), Range(low=0, high=15))
    """
    if isinstance(fmt, Integer):
        half = 1 << fmt.bits - 1
        return Range(-half, half - 1) if fmt.signed else Range(0, 2 * half - 1)
    if isinstance(fmt, Minifloat):
        return Range(0, (1 << fmt.mantissa_bits + (fmt.exponent_bits > 0)) - 1)
    return Range(fmt.min_int, fmt.max_int)


@dataclass(frozen=True, slots=True)
class Layout:
    """``weights`` x ``acts`` products in one multiplication, ``stride`` bits apart.

    Weight i stands at bit ``i * weight_step`` of its port, activation j at ``j * act_step``;
    ``weights_wide`` says that the weights have the wider port.  A field holds the sum of up to
    ``terms`` products of range ``product``.
    """

    weights: int
    acts: int
    stride: int
    weight_step: int
    act_step: int
    weights_wide: bool
    product: Range
    terms: int

    @property
    def count(self) -> int:
        """Products of one multiplication."""
        return self.weights * self.acts

    @property
    def signed(self) -> bool:
        """Whether a field can be negative, so that the one above it has to be corrected."""
        return self.product.low < 0

    def field(self, weight: int, act: int) -> int:
        """Return the number of the field that holds weight ``weight`` times activation ``act``."""
        return (weight * self.weight_step + act * self.act_step) // self.stride

    def multiply(self, weights: Sequence[int], acts: Sequence[int]) -> int:
        """Return the whole product of the two packed words."""
        left = sum(w << i * self.weight_step for i, w in enumerate(weights))
        right = sum(a << j * self.act_step for j, a in enumerate(acts))
        return left * right

    def fields(self, word: int) -> tuple[int, ...]:
        """Return the fields of ``word``, a whole product or a sum of up to ``terms`` of them.

        This is what the hardware does, borrow correction included, on a two's complement word.

        >>> layout = pack(Range(-8, 7), Range(-8, 7))
        >>> layout.weights, layout.acts, layout.stride
        (2, 2, 11)
        >>> word = layout.multiply([-8, 7], [3, -5])
        >>> [layout.fields(word)[layout.field(i, j)] for i in (0, 1) for j in (0, 1)]
        [-24, 40, 21, -35]
        """
        found = []
        for index in range(self.count):
            low = index * self.stride
            value = word >> low & (1 << self.stride) - 1
            if self.signed:
                value -= (value >> self.stride - 1) << self.stride
                value += word >> low - 1 & 1 if index else 0
            found.append(value)
        return tuple(found)


def _holds(product: Range, terms: int, stride: int, count: int) -> bool:
    """Return whether a field of ``stride`` bits holds every sum, the borrow included."""
    low, high = product.low * terms, product.high * terms
    if low >= 0:
        return high < 1 << stride
    return low - (count > 1) >= -(1 << stride - 1) and high < 1 << stride - 1


def _least_stride(product: Range, terms: int, count: int, most: int) -> int | None:
    return next((s for s in range(1, most + 1) if _holds(product, terms, s, count)), None)


def _layouts(weight: Range, act: Range, terms: int, ports: Ports) -> Iterator[Layout]:
    """Yield, for every number of operands on either port, the layout with the widest stride."""
    product = weight * act
    total = Range(product.low * terms, product.high * terms)
    for weights_wide, many, few, wide_first in itertools.product(
        (True, False), range(1, ports.wide + 1), range(1, ports.narrow + 1), (True, False)
    ):
        count = many * few
        least = _least_stride(product, terms, count, ports.result)
        if least is None or count * least > ports.result + 1:
            continue
        wide, narrow = (weight, act) if weights_wide else (act, weight)
        best: Layout | None = None
        for stride in range(least, ports.result + 1):
            steps = (stride, many * stride) if wide_first else (few * stride, stride)
            if (
                wide.packed(many, steps[0]).bits > ports.wide
                or narrow.packed(few, steps[1]).bits > ports.narrow
                or total.packed(count, stride).bits > ports.result
            ):
                break  # and a wider stride fits no better
            first, second = (many, few) if weights_wide else (few, many)
            of_weight, of_act = steps if weights_wide else (steps[1], steps[0])
            best = Layout(first, second, stride, of_weight, of_act, weights_wide, product, terms)
        if best is not None:
            yield best


def pack(
    weight: Range,
    act: Range,
    *,
    terms: int = 1,
    weights: int | None = None,
    acts: int | None = None,
    ports: Ports = DSP48E2,
) -> Layout:
    """Return the layout with the most products, then the widest stride.

    ``terms`` is how many products are added up in the DSP before a field is read; ``weights`` and
    ``acts`` fix how many operands share a port.

    Raises `SpecError` where not even one product fits.
    """
    best: Layout | None = None
    for found in _layouts(weight, act, terms, ports):
        if weights not in (None, found.weights) or acts not in (None, found.acts):
            continue
        # Among equals: the weights on the wide port, whose word the pre-adder makes.
        better = best is None or (
            (found.count, found.stride, found.weights_wide, found.weights)
            > (best.count, best.stride, best.weights_wide, best.weights)
        )
        best = found if better else best
    if best is None:
        shape = f"{weights or 'any'} x {acts or 'any'}"
        raise SpecError(
            f"no {shape} products of {weight.low}..{weight.high} x {act.low}..{act.high}, "
            f"{terms} terms, fit a {ports.wide} x {ports.narrow} multiplier with "
            f"{ports.result} bits; allow fewer operands or terms"
        )
    return best
