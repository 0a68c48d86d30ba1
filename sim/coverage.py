# SPDX-License-Identifier: Apache-2.0
"""Functional coverage of a kernel: what the stimulus and the reference did, counted.

Every count comes from the codes that were sent and from the results the reference computed for
them, never from what a generator meant to do.  A bin that the formats, the ports or the distance
of the rails make impossible has no count: it is not applicable, which is not the same as missed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwquant import codec_np
from hwquant.formats import Format, Minifloat
from hwquant.mac import Overflow, product_range

from .kernels import Kernel
from .rows import Rows
from .vectors import ENABLE, MAX_BEATS, Pass

__all__ = ["Bin", "Counter", "missed", "summary"]

Words = NDArray[np.uint64]
Mask = NDArray[np.bool_]

BITS: Final = 64


@dataclass(frozen=True)
class Bin:
    """How often something happened, and how often it has to; ``count`` None: not applicable."""

    count: int | None
    need: int = 1

    @property
    def hit(self) -> bool:
        """Whether it happened often enough."""
        return self.count is not None and self.count >= self.need

    def to_json(self) -> list[int | None]:
        """Return ``[count, need]``."""
        return [self.count, self.need]


def missed(bins: Mapping[str, Bin]) -> list[str]:
    """Return the possible bins that were not hit."""
    return [name for name, part in bins.items() if part.count is not None and not part.hit]


def summary(tables: Mapping[str, Mapping[str, Bin]]) -> dict[str, Any]:
    """Return bins hit and possible over all kernels, and those missed, by kernel."""
    hit = possible = 0
    lost: dict[str, list[str]] = {}
    for label, bins in tables.items():
        possible += sum(part.count is not None for part in bins.values())
        hit += sum(part.hit for part in bins.values())
        if names := missed(bins):
            lost[label] = names
    return {"bins_hit": hit, "bins_possible": possible, "missed": lost}


class Counter:
    """Count what happens to one kernel, pass by pass."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel, spec = kernel, kernel.spec
        self._pairs = np.zeros((1 << spec.weight.bits, 1 << spec.act.bits), np.int64)
        self._carries = np.zeros(kernel.out_words, np.uint64)
        self._events: dict[str, int] = {}
        self._rails = tuple(
            np.frombuffer(rail.to_bytes(8 * kernel.out_words, "little", signed=True), np.uint64)
            for rail in (spec.accumulator.max_int, spec.accumulator.min_int)
        )

    @property
    def at_a_rail(self) -> int:
        """Results that stood at a rail of the accumulator."""
        return self._events.get("upper rail", 0) + self._events.get("lower rail", 0)

    def _add(self, name: str, count: Any) -> None:
        self._events[name] = self._events.get(name, 0) + int(count)

    def add(self, block: Pass, rows: Rows, words: Words) -> None:
        """Count one pass; ``words`` are the reference's results of the sent beats, in order."""
        self._add_pairs(block)
        if block.stage == "products":
            return  # each beat starts anew: nothing accumulates
        starts = np.cumsum(block.length) - block.length
        self._add("longest dot product", np.count_nonzero(block.length >= self._kernel.spec.beats))
        self._add("clear after a sum", words[starts[1:] - 1].any(axis=1).sum())
        self._add("reset in flight", int(rows.first > 0))
        if block.gaps:
            self._add_gaps(rows, starts)
        self._add_sums(block, words, starts)

    def _add_pairs(self, block: Pass) -> None:
        bits = self._kernel.spec.act.bits
        index = block.sent(block.weight).astype(np.uint16) << bits | block.sent(block.act)
        size = self._pairs.size
        self._pairs += np.bincount(index.ravel(), minlength=size).reshape(self._pairs.shape)

    def _add_gaps(self, rows: Rows, starts: NDArray[np.int64]) -> None:
        """Count the cycles between two beats of one dot product: frozen, or without a beat."""
        frozen = np.cumsum(rows.data[:, 0] & ENABLE == 0)[rows.beat_row]
        between, asleep = np.diff(rows.beat_row) - 1, np.diff(frozen)
        for part in (between, asleep):
            part[starts[1:] - 1] = 0
        self._add("frozen in a dot product", asleep.sum())
        self._add("idle in a dot product", between.sum() - asleep.sum())

    def _add_sums(self, block: Pass, words: Words, starts: NDArray[np.int64]) -> None:
        """Count rails, wraps, signs and carries of the accumulator, from each result to the next.

        A dot product starts from zero, so the result before its first beat counts as zero.
        """
        before = np.empty_like(words)
        before[1:] = words[:-1]
        before[starts] = 0
        added = _minus(words, before)
        carry = before ^ added
        carry ^= words
        self._add_rails(words, carry, starts)
        if self._kernel.spec.overflow is Overflow.WRAP:
            self._add_wraps(block, added, before)
        for part in range(carry.shape[1]):  # column by column: ten times as fast as axis=0
            self._carries[part] |= np.bitwise_or.reduce(carry[:, part])
        negative, was = words[:, -1].view(np.int64) < 0, before[:, -1].view(np.int64) < 0
        self._add("sum turns negative", np.count_nonzero(negative & ~was))
        self._add("sum turns positive", np.count_nonzero(was & ~negative))

    def _add_rails(self, words: Words, carry: Words, starts: NDArray[np.int64]) -> None:
        saturate = self._kernel.spec.overflow is Overflow.SATURATE
        for name, rail in zip(("upper", "lower"), self._rails, strict=True):
            at = words[:, 0] == rail[0]
            for part in range(1, len(rail)):
                at &= words[:, part] == rail[part]
            count = np.count_nonzero(at)
            self._add(f"{name} rail", count)
            if count and saturate:
                left = at[:-1] & ~at[1:]
                left[starts[1:] - 1] = False
                self._add(f"{name} rail left", np.count_nonzero(left))
                carry[at] = 0  # a clamped result is no sum

    def _add_wraps(self, block: Pass, added: Words, before: Words) -> None:
        """Count wraps: the result moved by more than half the range, away from what was added."""
        spec, half = self._kernel.spec, self._kernel.spec.accumulator.width - 1
        if spec.sum_bits > half:
            up, down = self._narrow_wraps(block, before)
        elif added.shape[1] == 1:
            moved = added[:, 0].view(np.int64)
            up, down = moved <= -(1 << half), moved >= 1 << half
        else:  # sums are less than half the range, so rounding to float cannot mislead
            high = added[:, -1].view(np.int64) * 2.0**BITS + added[:, -2]
            limit = 2.0 ** (half - BITS * (added.shape[1] - 2))
            up, down = high <= -0.75 * limit, high >= 0.75 * limit
        self._add("wrap up", np.count_nonzero(up))
        self._add("wrap down", np.count_nonzero(down))

    def _narrow_wraps(self, block: Pass, before: Words) -> tuple[Mask, Mask]:
        """Return the wraps of an accumulator that does not hold one beat's sum."""
        spec = self._kernel.spec
        dot, position = block.dot_of_beat(), block.beat_in_dot()
        products = spec.products(block.weight[dot, position], block.act[dot, position])
        total = products.sum(axis=1).astype(object)
        for part in range(before.shape[1]):
            word = before[:, part]
            word = word.view(np.int64) if part == before.shape[1] - 1 else word
            total += word.astype(object) << BITS * part
        fixed = spec.accumulator
        return np.asarray(total > fixed.max_int, bool), np.asarray(total < fixed.min_int, bool)

    def bins(self) -> dict[str, Bin]:
        """Return every bin of the table, in its order."""
        spec = self._kernel.spec
        found = {**self._pair_bins(), **_operand_bins("weight", spec.weight, self._pairs.sum(1))}
        found |= _operand_bins("act", spec.act, self._pairs.sum(0))
        possible = _possible(self._kernel)
        found |= {
            name: Bin(self._events.get(name, 0) if possible[name] else None) for name in possible
        }
        return found | self._carry_bins()

    def _pair_bins(self) -> dict[str, Bin]:
        spec = self._kernel.spec
        signs = {}
        values = []
        for fmt in (spec.weight, spec.act):
            codes = np.array(fmt.codes)
            full = codec_np.decode(fmt, codes)
            values.append((codes, full))
        (w_codes, w), (a_codes, a) = values
        seen = self._pairs[np.ix_(w_codes, a_codes)]
        for w_name, w_mask in (("+", w > 0), ("-", w < 0)):
            for a_name, a_mask in (("+", a > 0), ("-", a < 0)):
                able = w_mask.any() and a_mask.any()
                count = int(seen[w_mask.astype(bool)][:, a_mask.astype(bool)].sum())
                signs[f"signs {w_name}{a_name}"] = Bin(count if able else None)
        extremes = {}
        for name, extreme in zip(
            ("least product", "largest product"), product_range(spec.weight, spec.act), strict=True
        ):
            count = sum(
                int(seen[np.ix_((w == x).astype(bool), (a == y).astype(bool))].sum())
                for x in {spec.weight.min_int, spec.weight.max_int}
                for y in {spec.act.min_int, spec.act.max_int}
                if x * y == extreme
            )
            extremes[name] = Bin(count if extreme else None)
        pairs = Bin(int(np.count_nonzero(seen)), seen.size)
        return {"code pairs": pairs, **signs, **dict(reversed(extremes.items()))}

    def _carry_bins(self) -> dict[str, Bin]:
        """Return carries into the sign bit and the bits below, of result plus beat, in binary."""
        spec, fixed = self._kernel.spec, self._kernel.spec.accumulator
        low, high = product_range(spec.weight, spec.act)
        reach = high * spec.lanes * _limit(self._kernel)
        carried = int.from_bytes(self._carries.tobytes(), "little")
        top = fixed.width - 1
        if low < 0:
            able = ((1 << top) - 1) & ~1
            sign = True
        else:
            able = ((1 << min(max(reach.bit_length(), 1), top)) - 1) & ~1
            sign = spec.overflow is Overflow.WRAP and reach > fixed.max_int
        lower = Bin((carried & able).bit_count() if able else None, able.bit_count())
        return {
            "bits carried into": lower,
            "carry into the sign bit": Bin(carried >> top & 1 if sign else None),
        }


def _minus(a: Words, b: Words) -> Words:
    """Return ``a - b`` of little-endian words, modulo their size."""
    result = a - b
    borrow: Mask | None = None
    for part in range(a.shape[1] - 1):
        lent = a[:, part] < b[:, part]
        if borrow is not None:
            lent |= (a[:, part] == b[:, part]) & borrow
        result[:, part + 1] -= lent
        borrow = lent
    return result


def _limit(kernel: Kernel) -> int:
    """Return the beats within which something must be reachable to be asked for."""
    return max(kernel.spec.beats, MAX_BEATS)


def _possible(kernel: Kernel) -> dict[str, bool]:
    """Return which events of the accumulator and the control ports can happen at all."""
    spec, control, fixed = kernel.spec, kernel.control, kernel.spec.accumulator
    low, high = product_range(spec.weight, spec.act)
    saturate, limit = spec.overflow is Overflow.SATURATE, _limit(kernel) * spec.lanes
    upper, lower = high * limit > fixed.max_int, low * limit < fixed.min_int
    return {
        "upper rail": saturate and upper,
        "upper rail left": saturate and upper and low < 0,
        "lower rail": saturate and lower,
        "lower rail left": saturate and lower and high > 0,
        "wrap up": not saturate and upper,
        "wrap down": not saturate and lower,
        "sum turns negative": low < 0 or (not saturate and upper),
        "sum turns positive": low < 0 or (not saturate and high * limit > 2 * fixed.max_int + 1),
        "clear after a sum": True,
        "longest dot product": True,
        "frozen in a dot product": control.enable,
        "idle in a dot product": control.valid,
        "reset in flight": control.reset != "none",
    }


def _operand_bins(name: str, fmt: Format, counts: NDArray[np.int64]) -> dict[str, Bin]:
    """Return the bins of one operand from how often each of its codes was sent."""
    exponent, mantissa = (
        (fmt.exponent_bits, fmt.mantissa_bits) if isinstance(fmt, Minifloat) else (0, 0)
    )
    codes = np.array(fmt.codes)
    values = codec_np.decode(fmt, codes)
    sign = fmt.bits - 1

    def times(mask: Any, *, able: bool = True) -> Bin:
        chosen = np.asarray(mask, bool)
        return Bin(int(counts[codes[chosen]].sum()) if able and chosen.any() else None)

    normal = 1 << mantissa
    magnitude = codes & (1 << sign) - 1 if fmt.signed else codes
    return {
        f"{name} +0": times(codes == 0),
        f"{name} -0": times(codes == 1 << sign, able=fmt.sign_magnitude),
        f"{name} smallest": times(abs(values) == min(abs(v) for v in values.tolist() if v)),
        f"{name} subnormal": times((magnitude > 0) & (magnitude < normal), able=exponent > 0),
        f"{name} smallest normal": times(magnitude == normal, able=exponent > 0),
        f"{name} largest": times(values == fmt.max_int),
        f"{name} most negative": times(values == fmt.min_int, able=fmt.min_int < 0),
    }
