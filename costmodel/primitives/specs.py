# SPDX-License-Identifier: Apache-2.0
"""Many multiply-accumulate kernels described by arrays, for formulas that price them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hw.styles.plain import significand_bits
from hwquant.errors import SpecError
from hwquant.formats import Format, Integer, Minifloat, parse
from hwquant.mac import MacSpec, Overflow

from .counts import Counts

__all__ = ["CODEBOOK", "INTEGER", "MINIFLOAT", "Operand", "SpecArrays", "register_formula"]
__all__ += ["FORMULAS", "Formula"]

Ints = NDArray[np.int64]

INTEGER, MINIFLOAT, CODEBOOK = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class Operand:
    """One operand of every kernel, as int64 arrays.

    ``kind`` is `INTEGER`, `MINIFLOAT` or `CODEBOOK`; ``bits`` the code's width; ``exp_bits`` and
    ``man_bits`` its fields (0 for others); ``signed`` whether it has negative values; ``flips``
    whether its sign is a bit apart (sign and magnitude); ``twos`` whether it is signed and not
    that; ``sig_bits`` the significand's width in the RTL, a hidden bit included; ``shift_max`` the
    largest shift, ``2**exp_bits - 2`` with two exponent bits or more, else 0; ``narrow`` whether
    an integer lacks its least value; ``specials`` the number of codes without a value; ``bias``
    the exponent bias (of no consequence to the hardware).

    The least and greatest decoded integers are ``-low << scale`` and ``high << scale``.
    """

    kind: Ints
    bits: Ints
    exp_bits: Ints
    man_bits: Ints
    signed: Ints
    flips: Ints
    twos: Ints
    sig_bits: Ints
    shift_max: Ints
    narrow: Ints
    specials: Ints
    bias: Ints
    low: Ints
    high: Ints
    scale: Ints


@lru_cache(maxsize=4096)
def _facts(fmt: Format) -> tuple[int, ...]:
    """Return one format's entries of `Operand`."""
    minifloat = fmt if isinstance(fmt, Minifloat) else None
    kind = INTEGER if isinstance(fmt, Integer) else MINIFLOAT if minifloat else CODEBOOK
    exponent = minifloat.exponent_bits if minifloat else 0
    low, high = -fmt.min_int, fmt.max_int
    both = low | high
    scale = (both & -both).bit_length() - 1 if both else 0
    return (
        kind,
        fmt.bits,
        exponent,
        minifloat.mantissa_bits if minifloat else 0,
        int(fmt.signed),
        int(fmt.sign_magnitude),
        int(fmt.signed and not fmt.sign_magnitude),
        significand_bits(fmt),
        (1 << exponent) - 2 if exponent > 1 else 0,
        int(isinstance(fmt, Integer) and fmt.narrow),
        (1 << fmt.bits) - len(fmt.codes),
        minifloat.exponent_bias if minifloat else 0,
        low >> scale,
        high >> scale,
        scale,
    )


def _bit_length(x: Ints) -> Ints:
    """Return the bit length of integers of 0 .. 2**53."""
    return np.frexp(x.astype(np.float64))[1].astype(np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class SpecArrays:
    """Kernels as arrays of one shape (n,).

    ``formats`` lists the formats that occur; ``weight_id`` and ``act_id`` are indices into it.
    ``weight`` and ``act`` describe the operands, ``lanes``, ``length``, ``acc`` (accumulator bits,
    never ``auto``) are integers, ``saturate`` is 0 or 1.
    """

    formats: tuple[Format, ...]
    weight_id: Ints
    act_id: Ints
    lanes: Ints
    length: Ints
    acc: Ints
    saturate: Ints
    weight: Operand = field(repr=False)
    act: Operand = field(repr=False)

    @classmethod
    def of(
        cls,
        formats: Sequence[Format | str],
        weight_id: ArrayLike,
        act_id: ArrayLike,
        *,
        lanes: ArrayLike = 1,
        length: ArrayLike | None = None,
        acc: ArrayLike = 0,
        saturate: ArrayLike = 0,
    ) -> SpecArrays:
        """Build kernels from arrays that broadcast to one dimension.

        ``length`` defaults to ``lanes``; ``acc`` 0 means the least width that no dot product of
        ``length`` can exceed, as `MacSpec.exact_bits`.

        Raises `SpecError` for an index without a format, numbers `MacSpec` refuses, and arrays that
        are no whole numbers or of lengths that do not go together.
        """
        if isinstance(formats, str):
            raise SpecError(f"formats {formats!r}, needed: a list of formats")
        known = tuple(parse(fmt) if isinstance(fmt, str) else fmt for fmt in formats)
        for fmt in known:
            if not isinstance(fmt, Format):
                raise SpecError(f"a format {fmt!r}, needed: a name such as 'e2m1', or a format")
        given = {"weight_id": weight_id, "act_id": act_id, "lanes": lanes}
        given |= {"length": lanes if length is None else length, "acc": acc, "saturate": saturate}
        columns = _columns(given)
        weights, acts, lane, long, width, clamp = columns
        _check(len(known), *columns)
        facts = [_facts(fmt) for fmt in known]
        table = np.array(facts, np.int64).reshape(-1, len(fields(Operand))).T
        weight = Operand(*(row[weights] for row in table))
        act = Operand(*(row[acts] for row in table))
        auto = width == 0
        if auto.any():
            width = np.where(auto, _exact_bits(weight, act, long), width)
        return cls(known, weights, acts, lane, long, width, clamp, weight, act)

    @classmethod
    def from_specs(cls, specs: Iterable[MacSpec]) -> SpecArrays:
        """Build kernels from specs; none give arrays of length 0.

        Raises `SpecError` for what is no `MacSpec`.
        """
        if isinstance(specs, MacSpec | str) or not isinstance(specs, Iterable):
            raise SpecError(f"specs {specs!r}, needed: a sequence of MacSpec")
        chosen = list(specs)
        for spec in chosen:
            if not isinstance(spec, MacSpec):
                raise SpecError(f"a spec {spec!r}, needed: MacSpec(weight, act, ...)")
        ids: dict[Format, int] = {}
        pairs = [
            (ids.setdefault(spec.weight, len(ids)), ids.setdefault(spec.act, len(ids)))
            for spec in chosen
        ]
        numbers = [
            (spec.lanes, spec.length, spec.accumulator.width, spec.overflow is Overflow.SATURATE)
            for spec in chosen
        ]
        w, a = np.array(pairs, np.int64).reshape(-1, 2).T
        lanes, length, acc, saturate = np.array(numbers, np.int64).reshape(-1, 4).T
        return cls.of(tuple(ids), w, a, lanes=lanes, length=length, acc=acc, saturate=saturate)

    def __len__(self) -> int:
        return len(self.lanes)

    def spec(self, index: int) -> MacSpec:
        """Return one kernel as a spec."""
        return MacSpec(
            self.formats[self.weight_id[index]],
            self.formats[self.act_id[index]],
            int(self.lanes[index]),
            int(self.length[index]),
            int(self.acc[index]),
            Overflow.SATURATE if self.saturate[index] else Overflow.WRAP,
        )

    @property
    def product_bits(self) -> Ints:
        """Width of the two's complement product in the RTL, as `hw.styles.plain.product_bits`."""
        weight, act = self.weight, self.act
        magnitude = weight.sig_bits + weight.shift_max + act.sig_bits + act.shift_max
        return magnitude + 1 - np.maximum(weight.twos, act.twos)

    @property
    def exact_bits(self) -> Ints:
        """The accumulator law, as `MacSpec.exact_bits`."""
        return _exact_bits(self.weight, self.act, self.length)

    def per_pair(self, function: Callable[[Format, Format], Any]) -> NDArray[Any]:
        """Return ``function(weight, act)`` of every kernel, computed once for each pair.

        It may return a number or a tuple of numbers, which become the first axis.  Cache the
        function (``functools.lru_cache``) where it is slow.
        """
        size = len(self.formats)
        key = self.weight_id * size + self.act_id
        seen = np.flatnonzero(np.bincount(key, minlength=1))
        made = np.array(
            [function(self.formats[k // size], self.formats[k % size]) for k in seen], np.float64
        )
        place = np.zeros(int(seen[-1]) + 1 if len(seen) else 1, np.int64)
        place[seen] = np.arange(len(seen))
        return np.moveaxis(made[place[key]], 0, -1)


def _columns(given: Mapping[str, ArrayLike]) -> list[Ints]:
    """Return arrays of whole numbers of one common length; raises `SpecError` where there is none.

    Numbers that are whole may be of a floating type.
    """
    found = []
    for name, values in given.items():
        try:
            array = np.atleast_1d(np.asarray(values))
            with np.errstate(invalid="ignore"):  # what is no whole number differs below
                whole = array.astype(np.int64)
            fits = array.ndim == 1 and array.dtype.kind in "biuf" and (whole == array).all()
        except (ValueError, TypeError, OverflowError):
            fits = False
        if not fits:
            raise SpecError(f"{name} {values!r:.80}, allowed: whole numbers in one dimension")
        found.append(whole)
    try:
        return list(np.broadcast_arrays(*found))
    except ValueError:
        sizes = ", ".join(f"{name} {len(x)}" for name, x in zip(given, found, strict=True))
        raise SpecError(f"arrays of lengths {sizes}; allowed: one length, or 1") from None


def _check(known: int, weights: Ints, acts: Ints, lanes: Ints, length: Ints, *rest: Ints) -> None:
    acc, saturate = rest
    for ids in (weights, acts):
        if ids.size and not (ids.min() >= 0 and ids.max() < known):
            raise SpecError(f"a format index outside 0..{known - 1}, the list of formats")
    if not lanes.size:
        return
    if lanes.min() < 1 or lanes.max() > 4096:
        raise SpecError(f"lanes {lanes.min()}..{lanes.max()}, allowed 1..4096")
    if (length < lanes).any() or length.max() > 1 << 32:
        raise SpecError("a length below lanes or above 2**32; allowed lanes .. 2**32")
    if ((acc != 0) & ((acc < 2) | (acc > 1024))).any():
        raise SpecError(f"acc {acc.min()}..{acc.max()}, allowed 0 (automatic) or 2..1024 bits")
    if ((saturate != 0) & (saturate != 1)).any():
        raise SpecError("saturate is neither 0 (wrap) nor 1")


def _exact_bits(weight: Operand, act: Operand, length: Ints) -> Ints:
    """Return the least width of all sums of ``length`` products (exact: all fit 53 bits)."""
    scale = weight.scale + act.scale
    lowest = np.maximum(weight.low * act.high, weight.high * act.low) * length
    highest = np.maximum(weight.low * act.low, weight.high * act.high) * length
    # A negative bound -x << s needs bit_length((x << s) - 1) bits: one less for a power of two.
    power = (lowest & (lowest - 1)) == 0
    down = np.where(lowest > 0, _bit_length(np.maximum(lowest, 1)) + scale - power, 0)
    up = np.where(highest > 0, _bit_length(highest) + scale, 0)
    return np.maximum(down, up) + 1


Formula = Callable[[SpecArrays], Counts]

FORMULAS: Final[dict[str, Formula]] = {}
"""Style name -> formula: `SpecArrays` in, `costmodel.primitives.counts.Counts` out."""


def register_formula(*styles: str) -> Callable[[Formula], Formula]:
    """Return a decorator that makes a function the formula of ``styles``."""

    def record(function: Formula) -> Formula:
        FORMULAS.update(dict.fromkeys(styles, function))
        return function

    return record
