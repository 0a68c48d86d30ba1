# SPDX-License-Identifier: Apache-2.0
"""The logic of the portable blocks as graphs: decode, multiply, align, as the RTL says them."""

from __future__ import annotations

from typing import Final

from hwquant.formats import Format, Minifloat

from .aig import FALSE, TRUE, Graph, Word

__all__ = ["align", "decode", "multiply", "term"]

HIGH_BITS: Final = 3


def decode(graph: Graph, fmt: Format, code: Word) -> tuple[int, Word, Word]:
    """Return sign, significand and exponent literals of a code, as ``hq_decode``."""
    if not isinstance(fmt, Minifloat):
        return FALSE, list(code), []
    sign = code[-1] if fmt.signed else FALSE
    mantissa = list(code[: fmt.mantissa_bits])
    field = code[fmt.mantissa_bits : fmt.mantissa_bits + fmt.exponent_bits]
    if not field:
        return sign, mantissa, []
    normal = graph.any(field)
    if len(field) == 1:
        return sign, [*mantissa, normal], []
    return sign, [*mantissa, normal], [graph.or_(field[0], normal ^ 1), *field[1:]]


def multiply(graph: Graph, a: Word, b: Word, a_signed: bool, b_signed: bool) -> Word:
    """Return the product of two words, as ``hq_mul`` is synthesized.

    One row for each bit of the shorter operand, sign-extended to the product's width, the sign's
    row complemented; rows are compressed three to two, the last two added on a carry chain.
    """
    width = len(a) + len(b)
    if a_signed != b_signed:  # an unsigned operand gets a sign bit of its own, which is 0
        a, b = (
            [*word, FALSE] if not s else list(word) for word, s in ((a, a_signed), (b, b_signed))
        )
    signed = a_signed or b_signed
    if len(b) > len(a):
        a, b = b, a
    rows: list[Word] = []
    ones: Word = [FALSE] * width
    for place, bit in enumerate(b):
        row = [graph.and_(x, bit) for x in a]
        row = ([FALSE] * place + row + [row[-1] if signed else FALSE] * width)[:width]
        if signed and place == len(b) - 1 and bit != FALSE:
            row = [FALSE] * place + [x ^ 1 for x in row[place:]]
            ones[place] = TRUE
        rows.append(row)
    rows = [row for row in (*rows, ones) if any(x != FALSE for x in row)]
    return _add_rows(graph, rows, width)


def _add_rows(graph: Graph, rows: list[Word], width: int) -> Word:
    """Add words: three become two until two are left, and these meet on a carry chain."""
    rows = _dense(rows, width)
    while len(rows) > 2:
        following: list[Word] = []
        for index in range(0, len(rows), 3):
            group = rows[index : index + 3]
            if len(group) < 3:
                following += group
                continue
            pairs = [graph.full_adder(*bits) for bits in zip(*group, strict=True)]
            following.append([total for total, _ in pairs])
            following.append([FALSE, *(carry for _, carry in pairs)][:width])
        rows = following
    if not rows:
        return [FALSE] * width
    if len(rows) == 1:
        return rows[0]
    low = next((i for i, bits in enumerate(zip(*rows, strict=True)) if FALSE not in bits), width)
    done = [graph.or_(x, y) for x, y in zip(rows[0][:low], rows[1][:low], strict=True)]
    return done + (graph.chain(rows[0][low:], rows[1][low:]) if low < width else [])


def _dense(rows: list[Word], width: int) -> list[Word]:
    """Return the same sum in the fewest words: the bits of each column from the first word on."""
    columns = [[row[i] for row in rows if row[i] != FALSE] for i in range(width)]
    most = max(map(len, columns), default=0)
    return [[column[i] if i < len(column) else FALSE for column in columns] for i in range(most)]


def align(
    graph: Graph, product: Word, exponent: Word, offset: int, signed: bool, width: int
) -> Word:
    """Return ``product << exponent >> offset``, ``width`` bits, as ``hq_align``."""
    if offset and sum(bit != FALSE for bit in product) == 1:
        return _one_hot(graph, product[0], exponent, offset, width)
    total = width + offset
    fill = product[-1] if signed and product else FALSE
    word = (list(product) + [fill] * total)[:total]
    for place, bit in enumerate(exponent):
        step = 1 << place
        moved = ([FALSE] * step + word)[:total]
        word = [graph.mux(bit, one, zero) for one, zero in zip(moved, word, strict=True)]
    return word[offset:]


def _one_hot(graph: Graph, bit: int, exponent: Word, offset: int, width: int) -> Word:
    """Return one bit shifted: each place is one value of the exponent.

    The exponent is never 0, so 0 stands for a product of zero; what one LUT cannot read beside
    accumulator and sign is decoded first.
    """
    gated = [graph.and_(bit, x) for x in exponent]
    low = len(gated) - HIGH_BITS if len(gated) > HIGH_BITS + 1 else 0

    def decoded(word: Word) -> Word:
        return [
            graph.all([x ^ (~value >> i & 1) for i, x in enumerate(word)])
            for value in range(1 << len(word))
        ]

    fine, coarse = decoded(gated[:low]), decoded(gated[low:])
    return [
        graph.and_(fine[place % len(fine)], coarse[place // len(fine)])
        if place < len(fine) * len(coarse)
        else FALSE
        for place in range(offset, offset + width)
    ]


def term(
    graph: Graph, weight: Format, act: Format, w: Word, a: Word, width: int
) -> tuple[int, Word]:
    """Return sign and magnitude of a product of codes, as ``hq_term``."""
    w_sign, w_sig, w_exp = decode(graph, weight, w)
    a_sign, a_sig, a_exp = decode(graph, act, a)
    signs = [fmt.signed and not fmt.sign_magnitude for fmt in (weight, act)]
    product = multiply(graph, w_sig, a_sig, *signs)
    offset = (1 if w_exp else 0) + (1 if a_exp else 0)
    size = max(len(w_exp), len(a_exp))
    exponent: Word = []
    if offset:
        first, second = ((list(e) + [FALSE] * (size + 1))[: size + 1] for e in (w_exp, a_exp))
        exponent = graph.ripple(first, second) if offset == 2 else w_exp or a_exp
    return graph.xor(w_sign, a_sign), align(graph, product, exponent, offset, any(signs), width)
