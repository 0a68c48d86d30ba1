# SPDX-License-Identifier: Apache-2.0
"""Mapped logic of the codebook styles without cells, up to the accumulator, by pair of formats.

Each style's RTL as a graph: tables become multiplexers of constants, rows become carry chains.
Every graph is simulated on all codes and its equal gates are made one (`equal`); then the addend
meets the accumulator's bits, as in ``hq_tally``, and the whole is covered with LUTs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

from hw.styles import decode as decode_style
from hw.styles import digit, rom, table
from hw.styles.plain import significand_bits
from hwquant import cache as store
from hwquant.fixed import signed_bits
from hwquant.formats import Codebook, Format
from hwquant.mac import MacSpec

from .aig import FALSE, TRUE, Graph, Word
from .equal import simplified
from .logic import decode
from .mapper import CELL_AREA
from .pairs import mapped

__all__ = ["twin_product"]

NARROW: Final = 4  # bits of a multiplicand whose first Booth row is tables


@dataclass(frozen=True, slots=True)
class _Addend:
    """What enters the accumulator: bits (complemented where ``carry``), carry, sign."""

    bits: Word
    carry: int
    sign: int


def _select(graph: Graph, index: Word, values: Sequence[int], width: int) -> Word:
    """Return the bits of a table of constants: multiplexers, the top index bit last."""
    known: dict[tuple[int, ...], int] = {}

    def bit(column: tuple[int, ...], level: int) -> int:
        if not any(column):
            return FALSE
        if all(column):
            return TRUE
        if column not in known:
            half = len(column) // 2
            low, high = (bit(part, level - 1) for part in (column[:half], column[half:]))
            known[column] = graph.mux(index[level - 1], high, low)
        return known[column]

    size = 1 << len(index)
    words = [values[i] if i < len(values) else 0 for i in range(size)]
    return [bit(tuple(w >> place & 1 for w in words), len(index)) for place in range(width)]


def _below(fmt: Format, code: Word) -> Word:
    """Return a code without its sign bit."""
    return code[:-1] if fmt.sign_magnitude else code


def _negative(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> int:
    signs = [code[-1] if fmt.sign_magnitude else FALSE for fmt, code in ((weight, w), (act, a))]
    return graph.xor(*signs)


def _addend(graph: Graph, product: Word, signed: bool, negative: int) -> _Addend:
    low = product[:-1] if signed else product
    sign = graph.xor(negative, product[-1]) if signed else negative
    return _Addend([graph.xor(bit, negative) for bit in low], negative, sign)


def _chain(graph: Graph, a: Word, b: Word, carry: int = FALSE) -> Word:
    """Return ``a + b + carry`` of a carry chain: the carry enters at a position of its own."""
    if carry == FALSE:
        return graph.chain(a, b)
    return graph.chain([TRUE, *a], [carry, *b])[1:]


def _table(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    found = table.tables(weight, act)
    nets = [FALSE, *a, *w]

    def lut(of: table.Table) -> int:
        values = [of.truth >> i & 1 for i in range(1 << len(of.nets))]
        return _select(graph, [nets[n] for n in of.nets], values, 1)[0]

    nets += [lut(code) for code in found.codes]
    return _Addend([lut(bit) for bit in found.bits], nets[found.carry], nets[found.sign])


def _rom(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    products = [x * y for x in table.magnitudes(weight) for y in table.magnitudes(act)]
    low, high = min(products), max(products)
    width = max(signed_bits(low, high) if low < 0 else high.bit_length(), 2)
    index = [*_below(act, a), *_below(weight, w)]
    product = _select(graph, index, products, width)
    return _addend(graph, product, low < 0, _negative(graph, weight, act, w, a))


def _digit(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    spec = MacSpec(weight, act)
    swap = int(str(digit.STYLE.parameters(spec)["IndexAct"])) != 0
    book, other, index, x = (act, weight, a, w) if swap else (weight, act, w, a)
    found = digit.rows(book, other)
    index, x = _below(book, index), _below(other, x)
    inputs = (index + [FALSE] * digit.INDEX_BITS)[: digit.INDEX_BITS]
    product: Word = []
    rest: Word = []
    for k, truths in enumerate(found.truths):
        read = [*inputs, *(x + [FALSE])[2 * k : 2 * k + 2]]
        row = [
            _select(graph, read, [truth >> i & 1 for i in range(digit.INPUTS)], 1)[0]
            for truth in truths
        ]
        width = found.widths[k]
        if k:
            fill = rest[-1] if found.signs[k - 1] else FALSE
            rest = (rest[2:] + [fill] * width)[:width]
            row = _chain(graph, rest, row)
        rest = row
        product += rest[:2] if k < len(found.truths) - 1 else rest
    return _addend(graph, product, found.signs[-1], _negative(graph, weight, act, w, a))


def _first(graph: Graph, digits: Word, value: Word, signed: bool) -> Word:
    """Return the product of two bits and a word without its two low bits, its sign kept."""
    top = value[-1] if signed else FALSE
    once = [graph.and_(digits[0], bit) for bit in (*value, top)]
    twice = [graph.and_(digits[1], bit) for bit in value]
    carry = graph.and_(once[1], twice[0])
    width = len(value)
    if width <= NARROW:
        total = graph.ripple(
            [*once[2:], once[-1]], [*twice[1:], twice[-1] if signed else FALSE], carry
        )
        return total[:width]
    a, b = [*once[2:], FALSE], [*twice[1:], FALSE]
    # Nothing is added below the lowest bit that is not 0 in every value of a codebook.
    used = (x != FALSE or y != FALSE for x, y in zip(a, b, strict=True))
    idle = next((i for i, found in enumerate(used) if found), 0) * (carry == FALSE)
    total = a[:idle] + _chain(graph, a[idle:], b[idle:], carry)
    if signed:
        total[-1] = graph.and_(top, graph.or_(*digits))
    return total[:width]


def _booth(graph: Graph, a: Word, b: Word, a_signed: bool, b_signed: bool) -> Word:
    """Return the product as ``hq_book_booth``."""
    first = 2 if (len(a) % 2 == 0) == a_signed else 1
    rows = (len(a) - first + 1) // 2
    wide = len(b) + 3
    fill = b[-1] if b_signed else FALSE
    digits = [*a, FALSE]
    value = [*b, *[fill] * (wide - len(b))]
    below = [FALSE, *value[:-1]]
    product = [graph.and_(a[0], b[0])]
    if first == 1:
        rest = [graph.and_(a[0], bit) for bit in (*value[1:], value[-1])]
    else:
        product.append(graph.xor(graph.and_(a[0], b[1]), graph.and_(a[1], b[0])))
        row = _first(graph, a[:2], b, b_signed)
        rest = row + [row[-1] if b_signed else FALSE] * (wide - len(b))
    for j in range(rows):
        place, last = first + 2 * j, j == rows - 1
        width = len(a) + len(b) - place if last else len(b) + (2 if b_signed or j == 0 else 3)
        low = digits[place - 1] if j else FALSE
        middle, negative = digits[place], digits[place + 1]
        once = graph.xor(middle, low)
        twice = graph.and_(once ^ 1, graph.xor(negative, middle))
        bits = [
            graph.xor(negative, graph.or_(graph.and_(once, value[i]), graph.and_(twice, below[i])))
            for i in range(width)
        ]
        # So it is in a row that is never negative.
        idle = next((i for i, bit in enumerate(bits) if bit != FALSE), 0) * (negative == FALSE)
        total = rest[:idle] + _chain(graph, rest[idle:width], bits[idle:], negative)
        product += total if last else total[:2]
        rest = total[2:] + [total[-1]] * (wide - width + 2)
    return product


def _decoded(graph: Graph, fmt: Format, code: Word) -> Word:
    if not isinstance(fmt, Codebook):
        return decode(graph, fmt, code)[1]
    index, width = _below(fmt, code), significand_bits(fmt)
    words = [fmt.by_code.get(i, 0) % (1 << width) for i in range(1 << len(index))]
    return _select(graph, index, words, width)


def _decode(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> _Addend:
    swap = int(str(decode_style.STYLE.parameters(MacSpec(weight, act))["RecodeAct"])) != 0
    twos = [fmt.signed and not fmt.sign_magnitude for fmt in (weight, act)]
    words = [_decoded(graph, weight, w), _decoded(graph, act, a)]
    if swap:
        words, twos = words[::-1], twos[::-1]
    product = _booth(graph, words[0], words[1], twos[0], twos[1])
    return _addend(graph, product, any(twos), _negative(graph, weight, act, w, a))


_Build = Callable[[Graph, Format, Format, Word, Word], _Addend]

BUILDERS: Final[dict[str, _Build]] = {
    table.STYLE.name: _table,
    rom.STYLE.name: _rom,
    digit.STYLE.name: _digit,
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


@cache
def _version() -> str:
    return store.content_key(files("costmodel.mapping").joinpath("twins.py").read_text("utf-8"))


@lru_cache(maxsize=65536)
def twin_product(style: str, weight: Format, act: Format) -> tuple[int, ...]:
    """Return sites, raw LUTs and carry positions of ``style`` without cells up to its accumulator.

    Then the same mapped by the prices of Yosys' library, and the accumulator bits with a position.
    """

    @cache
    def build() -> Graph:
        return _graph(style, weight, act)

    name = f"twin {style} {weight} {act} {_version()}"
    low = (len(BUILDERS[style](*_inputs(weight, act)).bits),)
    return (*mapped(name, build), *mapped(name, build, CELL_AREA), *low)


def _inputs(weight: Format, act: Format) -> tuple[Graph, Format, Format, Word, Word]:
    graph = Graph()
    return graph, weight, act, graph.inputs(weight.bits), graph.inputs(act.bits)
