# SPDX-License-Identifier: Apache-2.0
"""Bring sums into one form, so that two adder trees over the same numbers become one term.

Every term x of w bits gets a linear form L over atoms with ``x == L (mod 2**w)`` and an interval
for L.  The rules are those of exact arithmetic:

- bvadd, bvsub, bvneg, bvnot, bvmul by a constant: the same on the forms;
- ``extract[h:l]``: ``floor(L / 2**l)``, where the part below ``2**l`` is known to vanish or, for
  ``(2M + 1 + c) >> 1`` with one bit c, to be c (a carry that enters below the operands);
- ``concat(x, y)``: ``2**width(y) * L(x) + L(y)``, where y is known not to be negative;
- sign extension: L itself, where the interval says that x did not overflow; else a new atom.

A term is then replaced by its form, summed in the width of its interval and in the order of its
atoms, and cut or sign-extended to w bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hwquant.fixed import signed_bits

from .terms import Dag

__all__ = ["Linear", "normalize"]


@dataclass(frozen=True)
class Linear:
    """``sum of coefficient * atom + offset``, known to lie in ``low..high``."""

    parts: tuple[tuple[int, int], ...]
    offset: int
    low: int
    high: int

    def plus(self, other: Linear, factor: int = 1) -> Linear:
        """Return ``self + factor * other``."""
        parts = dict(self.parts)
        for atom, coefficient in other.parts:
            parts[atom] = parts.get(atom, 0) + factor * coefficient
        ends = sorted((factor * other.low, factor * other.high))
        kept = tuple(sorted((a, c) for a, c in parts.items() if c))
        offset = self.offset + factor * other.offset
        return Linear(kept, offset, self.low + ends[0], self.high + ends[1])

    @property
    def plain(self) -> bool:
        """Whether the form only adds and subtracts.

        A carry below the operands makes even coefficients, until it is shifted out.
        """
        return all(coefficient in (1, -1) for _, coefficient in self.parts)

    def fits(self, width: int, *, signed: bool = True) -> bool:
        """Return whether the form lies in the range of ``width`` bits."""
        if signed:
            return -(1 << width - 1) <= self.low and self.high < 1 << width - 1
        return self.low >= 0 and self.high < 1 << width


def _number(value: int) -> Linear:
    return Linear((), value, value, value)


class _Forms:
    def __init__(self, dag: Dag, ranges: Mapping[int, tuple[int, int]]) -> None:
        self.dag = dag
        self.ranges = ranges
        self.forms: dict[int, Linear] = {}

    def atom(self, term: int) -> Linear:
        """Return the form of a term that stays as it is; one bit counts as 0 or 1."""
        width = self.dag.widths[term]
        low, high = (0, 1) if width == 1 else (-(1 << width - 1), (1 << width - 1) - 1)
        low, high = self.ranges.get(term, (low, high))
        return Linear(((term, 1),), 0, low, high)

    def interval(self, form: Linear) -> Linear:
        """Return the form with the interval that its parts give, if that is tighter."""
        low = high = form.offset
        for atom, coefficient in form.parts:
            bounds = self.atom(atom)
            ends = sorted((coefficient * bounds.low, coefficient * bounds.high))
            low, high = low + ends[0], high + ends[1]
        return Linear(form.parts, form.offset, low, high)

    def of(self, term: int) -> Linear:
        """Return the form of a bit vector."""
        found = self.forms.get(term)
        if found is None:
            derived = self._derive(term)
            found = self.forms[term] = (
                self.atom(term) if derived is None else self.interval(derived)
            )
        return found

    def _derive(self, term: int) -> Linear | None:
        operator, parameters, args = self.dag.nodes[term]
        width = self.dag.widths[term]
        if operator == "constant":
            value = parameters[0]
            return _number(value - (1 << width) if value >> width - 1 and width > 1 else value)
        if operator == "bvadd":
            total = self.of(args[0])
            for arg in args[1:]:
                total = total.plus(self.of(arg))
            return total
        if operator == "bvsub":
            return self.of(args[0]).plus(self.of(args[1]), -1)
        if operator == "bvneg":
            return _number(0).plus(self.of(args[0]), -1)
        if operator == "bvnot" and width > 1:
            return _number(-1).plus(self.of(args[0]), -1)
        if operator == "bvmul" and len(args) == 2:
            forms = sorted((self.of(arg) for arg in args), key=lambda form: len(form.parts))
            return None if forms[0].parts else _number(0).plus(forms[1], forms[0].offset)
        if operator == "extract":
            return self._shifted(self.of(args[0]), parameters[1])
        if operator == "concat":
            return self._joined(args)
        return None

    def _shifted(self, form: Linear, low: int) -> Linear | None:
        """Return ``floor(form / 2**low)`` where it is linear."""
        step = 1 << low
        whole = Linear(tuple((a, c // step) for a, c in form.parts if c // step), 0, 0, 0)
        rest = tuple((a, c % step) for a, c in form.parts if c % step)
        offset, left = divmod(form.offset, step)
        whole = self.interval(Linear(whole.parts, offset, 0, 0))
        below = self.interval(Linear(rest, left, 0, 0))
        if below.low >= 0 and below.high < step:
            return whole
        if step == 2 and left == 1 and len(rest) == 1 and below.low == 1 and below.high == 2:
            return whole.plus(self.atom(rest[0][0]))
        return None

    def _joined(self, args: tuple[int, ...]) -> Linear | None:
        dag = self.dag
        inner = args
        while len(inner) > 1:
            top = dag.widths[inner[1]] - 1
            if inner[0] != dag.make("extract", (inner[1],), (top, top)):
                break
            inner = inner[1:]
        if inner != args:
            body = dag.make("concat", inner)
            form = self.of(body)
            return form if form.fits(dag.widths[body]) else None
        high = dag.make("concat", args[:-1]) if len(args) > 2 else args[0]
        low, width = self._unsigned(args[-1]), dag.widths[args[-1]]
        if low is None:
            return None
        return low.plus(self.of(high), 1 << width)

    def _unsigned(self, term: int) -> Linear | None:
        value, width = self.dag.value_of(term), self.dag.widths[term]
        if value is not None:
            return _number(value)
        form = self.of(term)
        return form if form.fits(width, signed=False) else None

    def single_bit(self, term: int) -> int:
        """Return one bit of a sum with a carry below it as a bit of the sum without."""
        _, parameters, args = self.dag.nodes[term]
        bit, width = parameters[0], self.dag.widths[args[0]]
        form = self.of(args[0])
        if form.plain or bit == 0:
            return term
        shifted = self._shifted(form, 1)
        if shifted is None or not shifted.plain:
            return term
        whole = self.build(shifted, width - 1)
        self.forms.setdefault(whole, shifted)
        return self.dag.make("extract", (whole,), (bit - 1, bit - 1))

    def build(self, form: Linear, width: int) -> int:
        """Return the form as a term of ``width`` bits."""
        dag = self.dag
        exact = self.interval(form)
        inner = max(signed_bits(exact.low, exact.high), 2)
        terms = []
        for atom, coefficient in form.parts:
            one_bit = dag.widths[atom] == 1
            wide = dag.make("zero_extend", (atom,), (1,)) if one_bit else atom
            part = dag.fit(wide, inner)
            if coefficient not in (1, -1):
                part = dag.make("bvmul", (part, dag.constant(coefficient, inner)))
            terms.append(dag.make("bvneg", (part,)) if coefficient == -1 else part)
        if form.offset or not terms:
            terms.append(dag.constant(form.offset, inner))
        total = terms[0]
        for part in terms[1:]:
            total = dag.make("bvadd", (total, part))
        return dag.fit(total, width)


def normalize(
    dag: Dag, terms: Iterable[int], ranges: Mapping[int, tuple[int, int]]
) -> dict[int, int]:
    """Return the terms, and all they are made of, with every sum in one form.

    ``ranges`` bounds variables beyond their width; equality of old and new holds within them.
    """
    forms = _Forms(dag, ranges)
    new: dict[int, int] = {}
    for term in dag.cone(terms):
        operator, parameters, args = dag.nodes[term]
        changed = tuple(new[arg] for arg in args)
        rebuilt = term if changed == args else dag.make(operator, changed, parameters)
        width = dag.widths[rebuilt]
        kind = dag.nodes[rebuilt][0]
        if width > 1 and kind in ("bvadd", "bvsub", "bvneg", "extract", "concat"):
            form = forms.of(rebuilt)
            if form.parts != ((rebuilt, 1),) and form.plain:
                rebuilt = forms.build(form, width)
                forms.forms.setdefault(rebuilt, form)
        elif width == 1 and kind == "extract":
            rebuilt = forms.single_bit(rebuilt)
        new[term] = rebuilt
    return new
