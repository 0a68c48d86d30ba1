# SPDX-License-Identifier: Apache-2.0
"""Logic of products without cells, as the RTL of the styles with significands and shifters says it.

Tables (``hq_tree_table``, ``hq_mul_table``), Booth rows (``hq_booth``, ``hq_book_booth``) and
shifters (``hq_tree_shift``); ``lane`` puts them together as ``hq_tree_lane`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product as pairs_of
from typing import Final

from hw.styles.table import magnitudes
from hwquant.formats import Format

from .aig import FALSE, TRUE, Graph, Word
from .logic import decode

__all__ = ["below_sign", "booth", "chain", "lane", "negative", "select", "significands", "twos"]

NARROW: Final = 4  # bits of a multiplicand whose first Booth row is tables
TABLE_INPUTS: Final = 6


def twos(fmt: Format) -> bool:
    """Return whether codes of ``fmt`` are two's complement."""
    return fmt.signed and not fmt.sign_magnitude


def below_sign(fmt: Format, code: Word) -> Word:
    """Return a code without its sign bit."""
    return code[:-1] if fmt.sign_magnitude else code


def negative(graph: Graph, weight: Format, act: Format, w: Word, a: Word) -> int:
    """Return the sign of a product from the sign bits of its codes."""
    signs = [code[-1] if fmt.sign_magnitude else FALSE for fmt, code in ((weight, w), (act, a))]
    return graph.xor(*signs)


def select(graph: Graph, index: Word, values: Sequence[int], width: int) -> Word:
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


def chain(graph: Graph, a: Word, b: Word, carry: int = FALSE) -> Word:
    """Return ``a + b + carry`` of a carry chain: the carry enters at a position of its own."""
    if carry == FALSE:
        return graph.chain(a, b)
    return graph.chain([TRUE, *a], [carry, *b])[1:]


def _first_row(graph: Graph, digits: Word, value: Word, signed: bool) -> Word:
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
    total = a[:idle] + chain(graph, a[idle:], b[idle:], carry)
    if signed:
        total[-1] = graph.and_(top, graph.or_(*digits))
    return total[:width]


def booth(graph: Graph, a: Word, b: Word, a_signed: bool, b_signed: bool) -> Word:
    """Return the product by radix-4 Booth rows, ``a`` recoded."""
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
        row = _first_row(graph, a[:2], b, b_signed)
        rest = row + [row[-1] if b_signed else FALSE] * (wide - len(b))
    for j in range(rows):
        place, last = first + 2 * j, j == rows - 1
        width = len(a) + len(b) - place if last else len(b) + (2 if b_signed or j == 0 else 3)
        low = digits[place - 1] if j else FALSE
        middle, minus = digits[place], digits[place + 1]
        once = graph.xor(middle, low)
        twice = graph.and_(once ^ 1, graph.xor(minus, middle))
        bits = [
            graph.xor(minus, graph.or_(graph.and_(once, value[i]), graph.and_(twice, below[i])))
            for i in range(width)
        ]
        # So it is in a row that is never negative.
        idle = next((i for i, bit in enumerate(bits) if bit != FALSE), 0) * (minus == FALSE)
        total = rest[:idle] + chain(graph, rest[idle:width], bits[idle:], minus)
        product += total if last else total[:2]
        rest = total[2:] + [total[-1]] * (wide - width + 2)
    return product


def _integer(value: int, bits: int, signed: bool) -> int:
    return value - (1 << bits) if signed and value >> (bits - 1) else value


def significands(graph: Graph, a: Word, b: Word, a_signed: bool, b_signed: bool) -> Word:
    """Return the product of two significands as ``hq_sig_product``; Booth rows recode ``a``."""
    if len(a) + len(b) <= TABLE_INPUTS:
        values = [
            _integer(x, len(a), a_signed) * _integer(y, len(b), b_signed)
            for y, x in pairs_of(range(1 << len(b)), range(1 << len(a)))
        ]
        return select(graph, [*a, *b], values, len(a) + len(b) - (1 in (len(a), len(b))))
    if 1 in (len(a), len(b)):
        (one,), word = (a, b) if len(a) == 1 else (b, a)
        return [graph.and_(one, bit) for bit in word]
    operands = (a, a_signed), (b, b_signed)
    for (digits, complement), (word, signed) in (operands, operands[::-1]):
        if len(digits) == 2 and not complement:
            low = graph.xor(graph.and_(digits[0], word[1]), graph.and_(digits[1], word[0]))
            row = _first_row(graph, digits, word, signed)
            return [graph.and_(digits[0], word[0]), low, *row]
    return booth(graph, a, b, a_signed, b_signed)


def _stage(graph: Graph, word: Word, step: int, by: Word, signed: bool) -> Word:
    """Return ``word << step * by``, as ``hq_mux_shift``."""
    fill = word[-1] if signed else FALSE
    width = len(word) + step * ((1 << len(by)) - 1)
    shifted = [([FALSE] * (step * k) + word + [fill] * width)[:width] for k in range(1 << len(by))]
    for bit in by:
        shifted = [
            [graph.mux(bit, x, y) for x, y in zip(one, zero, strict=True)]
            for zero, one in zip(shifted[::2], shifted[1::2], strict=True)
        ]
    return shifted[0]


def _shift(graph: Graph, word: Word, w: Word, a: Word, signed: bool, width: int) -> Word:
    """Return a product of significands shifted by exponent fields, as ``hq_tree_shift``."""
    fill = word[-1] if signed else FALSE
    most = max(len(w), len(a))
    if most == 2:
        by, field = [(w or a)[1]], w or a
        if w and a:
            by = [
                graph.xor(graph.and_(w[1], w[0] ^ 1), a[1]),
                graph.and_(w[1], graph.or_(w[0], a[1])),
            ]
            field = a
        same = (_stage(graph, word, 1, by, signed) + [fill] * width)[:width]
        both = graph.and_(*field)
        return [graph.mux(both, x, y) for x, y in zip([FALSE, *same[:-1]], same, strict=True)]
    parts = [
        [graph.or_(field[0], graph.any(field[1:]) ^ 1), *field[1:]] for field in (w, a) if field
    ]
    drop = len(parts)
    if drop == 2:
        first, second = ((part + [FALSE] * (most + 1))[: most + 1] for part in parts)
        parts = [graph.ripple(first, second)]
    (by,) = parts
    for k in range(0, len(by), 2):
        word = _stage(graph, word, 1 << k, by[k : k + 2], signed)
    return (word + [fill] * (drop + width))[drop : drop + width]


def lane(
    graph: Graph, weight: Format, act: Format, w: Word, a: Word, recode_act: bool, width: int
) -> tuple[int, Word]:
    """Return sign and product of a lane, ``width`` bits, as ``hq_tree_lane``."""
    sign = negative(graph, weight, act, w, a)
    codes = below_sign(weight, w), below_sign(act, a)
    if len(codes[0]) + len(codes[1]) <= TABLE_INPUTS:
        products = [x * y for x in magnitudes(weight) for y in magnitudes(act)]
        return sign, select(graph, [*codes[1], *codes[0]], products, width)
    sigs, fields = [], []
    for fmt, code in zip((weight, act), codes, strict=True):
        _, significand, exponent = decode(graph, fmt, code)
        low = len(significand) - 1
        sigs.append(significand)
        fields.append(code[low : low + len(exponent)])
    signs = twos(weight), twos(act)
    first, second = (1, 0) if recode_act else (0, 1)
    word = significands(graph, sigs[first], sigs[second], signs[first], signs[second])
    if any(fields):
        return sign, _shift(graph, word, fields[0], fields[1], any(signs), width)
    fill = word[-1] if any(signs) else FALSE
    return sign, (word + [fill] * width)[:width]
