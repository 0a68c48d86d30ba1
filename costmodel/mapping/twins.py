# SPDX-License-Identifier: Apache-2.0
"""Mapped logic of styles without cells, up to a counting accumulator, by pair of formats.

Each style's RTL as a graph: tables become multiplexers of constants, rows become carry chains.
Every graph is simulated on all codes and its equal gates are made one (`equal`); then the addend
meets the accumulator's bits, as in ``hq_tally``, and the whole is covered with LUTs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

from hw.styles import booth as booth_style
from hw.styles import decode as decode_style
from hw.styles import digit, rom, table
from hw.styles.plain import significand_bits
from hwquant.fixed import signed_bits
from hwquant.formats import Codebook, Format
from hwquant.mac import MacSpec

from .aig import FALSE, Graph, Word
from .equal import simplified
from .lanes import below_sign, booth, chain, negative, select, significands, twos
from .logic import decode
from .mapper import CELL_AREA
from .pairs import mapped

__all__ = ["twin_product"]


@dataclass(frozen=True, slots=True)
class _Addend:
    """What enters the accumulator: bits (complemented where ``carry``), carry, sign."""

    bits: Word
    carry: int
    sign: int


def _addend(graph: Graph, product: Word, signed: bool, minus: int) -> _Addend:
    low = product[:-1] if signed else product
    sign = graph.xor(minus, product[-1]) if signed else minus
    return _Addend([graph.xor(bit, minus) for bit in low], minus, sign)


def _table(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    found = table.tables(weight, act)
    nets = [FALSE, *a, *w]

    def lut(of: table.Table) -> int:
        values = [of.truth >> i & 1 for i in range(1 << len(of.nets))]
        return select(graph, [nets[n] for n in of.nets], values, 1)[0]

    nets += [lut(code) for code in found.codes]
    return _Addend([lut(bit) for bit in found.bits], nets[found.carry], nets[found.sign])


def _rom(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    products = [x * y for x in table.magnitudes(weight) for y in table.magnitudes(act)]
    low, high = min(products), max(products)
    width = max(signed_bits(low, high) if low < 0 else high.bit_length(), 2)
    index = [*below_sign(act, a), *below_sign(weight, w)]
    product = select(graph, index, products, width)
    return _addend(graph, product, low < 0, negative(graph, weight, act, w, a))


def _digit(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    spec = MacSpec(weight, act)
    swap = int(str(digit.STYLE.parameters(spec)["IndexAct"])) != 0
    book, other, index, x = (act, weight, a, w) if swap else (weight, act, w, a)
    found = digit.rows(book, other)
    index, x = below_sign(book, index), below_sign(other, x)
    inputs = (index + [FALSE] * digit.INDEX_BITS)[: digit.INDEX_BITS]
    product: Word = []
    rest: Word = []
    for k, truths in enumerate(found.truths):
        read = [*inputs, *(x + [FALSE])[2 * k : 2 * k + 2]]
        row = [
            select(graph, read, [truth >> i & 1 for i in range(digit.INPUTS)], 1)[0]
            for truth in truths
        ]
        width = found.widths[k]
        if k:
            fill = rest[-1] if found.signs[k - 1] else FALSE
            rest = (rest[2:] + [fill] * width)[:width]
            row = chain(graph, rest, row)
        rest = row
        product += rest[:2] if k < len(found.truths) - 1 else rest
    return _addend(graph, product, found.signs[-1], negative(graph, weight, act, w, a))


def _decoded(graph: Graph, fmt: Format, code: Word) -> Word:
    if not isinstance(fmt, Codebook):
        return decode(graph, fmt, code)[1]
    index, width = below_sign(fmt, code), significand_bits(fmt)
    words = [fmt.by_code.get(i, 0) % (1 << width) for i in range(1 << len(index))]
    return select(graph, index, words, width)


def _decode(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    swap = int(str(decode_style.STYLE.parameters(MacSpec(weight, act))["RecodeAct"])) != 0
    signs = [twos(weight), twos(act)]
    words = [_decoded(graph, weight, w), _decoded(graph, act, a)]
    if swap:
        words, signs = words[::-1], signs[::-1]
    product = booth(graph, words[0], words[1], signs[0], signs[1])
    return _addend(graph, product, any(signs), negative(graph, weight, act, w, a))


def _booth(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    swap = int(str(booth_style.STYLE.parameters(MacSpec(weight, act))["RecodeAct"])) != 0
    signs = [twos(weight), twos(act)]
    words = [decode(graph, fmt, code)[1] for fmt, code in ((weight, w), (act, a))]
    if swap:
        words, signs = words[::-1], signs[::-1]
    product = significands(graph, words[0], words[1], signs[0], signs[1])
    return _addend(graph, product, any(signs), negative(graph, weight, act, w, a))


_Build = Callable[[Graph, Format, Format, Word, Word], _Addend]

BUILDERS: Final[dict[str, _Build]] = {
    table.STYLE.name: _table,
    rom.STYLE.name: _rom,
    digit.STYLE.name: _digit,
    booth_style.STYLE.name: _booth,
    decode_style.STYLE.name: _decode,
}


def _graph(style: str, weight: Format, act: Format) -> Graph:
    """Return the addend's logic with the accumulator's bits."""
    raw = Graph()
    codes = raw.inputs(weight.bits), raw.inputs(act.bits)
    found = BUILDERS[style](raw, weight, act, *codes)
    graph, (carry, sign, *bits) = simplified(raw, [found.carry, found.sign, *found.bits])
    for bit in bits:
        other = graph.input()
        graph.position(graph.xor(other, bit), other)
    graph.outputs = [carry, sign]
    return graph


@lru_cache(maxsize=65536)
def twin_product(style: str, weight: Format, act: Format) -> tuple[int, ...]:
    """Return sites, raw LUTs and carry positions of ``style`` without cells up to its accumulator.

    Then the same mapped by the prices of Yosys' library, and the accumulator bits with a position.
    """

    @cache
    def build() -> Graph:
        return _graph(style, weight, act)

    name = f"twin {style} {weight} {act}"
    low = (len(BUILDERS[style](*_inputs(weight, act)).bits),)
    return (*mapped(name, build), *mapped(name, build, CELL_AREA), *low)


def _inputs(weight: Format, act: Format) -> tuple[Graph, Format, Format, Word, Word]:
    graph = Graph()
    return graph, weight, act, graph.inputs(weight.bits), graph.inputs(act.bits)
