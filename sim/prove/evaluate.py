# SPDX-License-Identifier: Apache-2.0
"""Evaluate terms on many inputs at once.

A value is an array with one entry per sample: bool, uint64 up to 64 bits, Python integers beyond.
"""

from __future__ import annotations

import operator as py
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import ToolError

from .terms import Dag

__all__ = ["Values", "evaluate", "to_values"]

Values = NDArray[Any]

_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "bvand": py.and_,
    "bvor": py.or_,
    "bvxor": py.xor,
    "bvadd": py.add,
    "bvsub": py.sub,
    "bvmul": py.mul,
}
_UNSIGNED: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "bvult": py.lt,
    "bvule": py.le,
    "bvugt": py.gt,
    "bvuge": py.ge,
}


def to_values(numbers: Any, width: int) -> Values:
    """Return integers (any sign) as the two's complement array of ``width`` bits."""
    if width > 64:
        mask = (1 << width) - 1
        return np.array([int(x) & mask for x in np.asarray(numbers).ravel()], object)
    raw = np.asarray(numbers)
    if raw.dtype == object:
        raw = np.array([int(x) & (1 << width) - 1 for x in raw.ravel()], np.uint64)
    return _cut(raw.astype(np.uint64), width)


def _cut(array: Values, width: int) -> Values:
    if width == 64 and array.dtype != object:
        return array
    return array & ((1 << width) - 1)


def _resize(array: Values, width: int) -> Values:
    """Return unsigned values in the representation of ``width`` bits."""
    if width > 64:
        return array if array.dtype == object else array.astype(object)
    return array.astype(np.uint64) if array.dtype == object else array


def _shift(array: Values, amount: Values, width: int, *, left: bool) -> Values:
    small = amount < width
    if object in (array.dtype, amount.dtype):
        shifted = [
            (int(a) << int(s) if left else int(a) >> int(s)) if ok else 0
            for a, s, ok in zip(array, amount, small, strict=True)
        ]
        return to_values(np.array(shifted, object), width)
    by = np.where(small, amount, np.uint64(0))
    moved = np.left_shift(array, by) if left else np.right_shift(array, by)
    return _cut(np.where(small, moved, np.uint64(0)), width)


def _offset(array: Values, width: int) -> Values:
    """Flip the sign bit: signed order becomes unsigned order."""
    return array ^ (1 << width - 1)


def evaluate(
    dag: Dag, terms: Iterable[int], variables: Mapping[int, Values], samples: int
) -> dict[int, Values]:
    """Return the values of every node in the terms' cone.

    Raises `ToolError` for an operator that has no evaluation here.
    """
    found: dict[int, Values] = {}
    for term in dag.cone(terms):
        operator, parameters, args = dag.nodes[term]
        width = dag.widths[term]
        given = [found[arg] for arg in args]
        if operator == "variable":
            found[term] = variables[term]
        elif operator == "constant":
            kind = object if width > 64 else np.uint64
            found[term] = np.full(samples, parameters[0], kind)
        elif operator == "truth":
            found[term] = np.full(samples, parameters[0], bool)
        else:
            widths = [dag.widths[arg] for arg in args]
            found[term] = _apply(operator, parameters, given, widths, width)
    return found


def _apply(
    operator: str, parameters: tuple[Any, ...], given: list[Values], widths: list[int], width: int
) -> Values:
    if operator == "extract":
        high, low = parameters
        return _resize(_cut(given[0] >> low if low else given[0], high - low + 1), width)
    if operator == "concat":
        total = _resize(given[0], width)
        for part, size in zip(given[1:], widths[1:], strict=True):
            total = (total << size) | _resize(part, width)
        return total
    if operator == "ite":
        return np.where(given[0], given[1], given[2])
    if operator in _ARITHMETIC:
        total = given[0]
        for part in given[1:]:
            total = _ARITHMETIC[operator](total, part)
        return _cut(total, width)
    if operator == "bvnot":
        return given[0] ^ ((1 << width) - 1)
    if operator == "bvneg":
        return _cut(0 - given[0] if width > 64 else np.uint64(0) - given[0], width)
    if operator in ("bvshl", "bvlshr"):
        return _shift(given[0], given[1], width, left=operator == "bvshl")
    if operator == "=":
        return np.asarray(given[0] == given[1], bool)
    if operator == "not":
        return ~given[0]
    if operator in ("and", "or", "xor"):
        fold = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[operator]
        total = given[0]
        for part in given[1:]:
            total = fold(total, part)
        return total
    if operator in _UNSIGNED:
        return np.asarray(_UNSIGNED[operator](given[0], given[1]), bool)
    if operator.startswith("bvs") and f"bvu{operator[3:]}" in _UNSIGNED:
        a, b = (_offset(x, w) for x, w in zip(given, widths, strict=True))
        return np.asarray(_UNSIGNED[f"bvu{operator[3:]}"](a, b), bool)
    raise ToolError(f"the netlist holds the operator {operator}, which cannot be evaluated")
