# SPDX-License-Identifier: Apache-2.0
"""Stimulus: every code pair, and streams that drive an accumulator where it can go wrong.

A `Pass` is a block of dot products in stream order.  Only codes that have a value are applied.
Everything random comes from one seed and the spec, so a run can be repeated exactly.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hw.manifest import spec_to_json
from hwquant import codec
from hwquant.formats import Codebook, Format, Integer, Minifloat
from hwquant.mac import MacSpec

__all__ = [
    "CLEAR",
    "ENABLE",
    "KINDS",
    "RESET",
    "VALID",
    "Pass",
    "corner_codes",
    "dot_codes",
    "extreme_pair",
    "generator",
    "product_passes",
    "stream_passes",
]

Codes = NDArray[np.uint8]

ENABLE: Final = 1
VALID: Final = 2
CLEAR: Final = 4
RESET: Final = 8

MAX_CELLS: Final = 1 << 22  # codes per operand of one pass: bounds memory
MAX_BEATS: Final = 1024
LONGEST_BEATS: Final = 1 << 16
GAP_SHARE: Final = 4  # one stream beat in so many is sent with gaps around it

KINDS: Final = (
    "random",
    "to the upper rail, then random",
    "to the lower rail, then random",
    "bounce between the rails",
    "largest products of random sign",
    "boundary codes",
    "to a rail, then boundary codes",
    "random with zeros",
)
"""What the dot products of a stream do; dot ``d`` is of kind ``d % 8``."""


@dataclass(frozen=True)
class Pass:
    """Consecutive dot products.

    ``weight`` and ``act`` have shape (dots, beats, lanes); dot ``d`` sends its first ``length[d]``
    beats, clear first.  ``gaps`` sends cycles without enable or without valid in between, and
    ``reset`` drops beats in flight before the first dot.
    """

    stage: str
    weight: Codes
    act: Codes
    length: NDArray[np.int64]
    gaps: bool = False
    reset: bool = False

    @property
    def beats(self) -> int:
        """Beats sent."""
        return int(self.length.sum())

    @cached_property
    def _sent(self) -> NDArray[np.int64]:
        return np.flatnonzero(np.arange(self.weight.shape[1]) < self.length[:, None])

    def sent(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return of ``values`` (dots, beats, ...) those of the beats sent, in order."""
        dots, beats = self.weight.shape[:2]
        flat = values.reshape(dots * beats, *values.shape[2:])
        return flat if self.beats == len(flat) else flat.take(self._sent, axis=0)

    def dot_of_beat(self) -> NDArray[np.int64]:
        """Return the dot that each sent beat belongs to."""
        return np.repeat(np.arange(len(self.length)), self.length)

    def beat_in_dot(self) -> NDArray[np.int64]:
        """Return the position of each sent beat in its dot."""
        starts = np.cumsum(self.length) - self.length
        return np.arange(self.beats) - np.repeat(starts, self.length)


def generator(seed: int, spec: MacSpec, stage: str) -> np.random.Generator:
    """Return the source of randomness for one stage of one kernel."""
    text = json.dumps([spec_to_json(spec), stage], sort_keys=True)
    return np.random.default_rng([seed, zlib.crc32(text.encode())])


@lru_cache(maxsize=1024)
def corner_codes(fmt: Format) -> Codes:
    """Return the codes at a format's boundaries.

    Zero (both signs), the smallest and largest magnitudes, and for a minifloat the last subnormal
    and the first normal code, each with both signs.
    """
    if isinstance(fmt, Integer):
        wanted = {0, 1, fmt.max_int, fmt.max_int - 1}
        if fmt.signed:
            wanted |= {code % (1 << fmt.bits) for code in (-1, -2, fmt.min_int, fmt.min_int + 1)}
    elif isinstance(fmt, Codebook):
        order, zero = fmt.ordered_codes, fmt.zero_rank
        wanted = {*order[:2], *order[-2:], *order[max(zero - 2, 0) : zero + 3]}
        wanted |= {1 << fmt.bits - 1} & set(fmt.codes)  # the largest of two's complement ranks, -0
    else:
        first_normal = 1 << fmt.mantissa_bits
        top = fmt.max_magnitude_code
        wanted = {0, 1, first_normal - 1, first_normal, first_normal + 1, top - 1, top}
        if fmt.signed:
            wanted |= {code | 1 << fmt.bits - 1 for code in wanted}
    codes = np.array(sorted(wanted & set(fmt.codes)), np.uint8)
    codes.setflags(write=False)
    return codes


@lru_cache(maxsize=1024)
def extreme_pair(spec: MacSpec, *, largest: bool) -> tuple[int, int]:
    """Return the codes of the largest or the least product."""
    weights, acts = (
        [(codec.decode(fmt, code), code) for code in corner_codes(fmt).tolist()]
        for fmt in (spec.weight, spec.act)
    )
    pairs = [(x * y, w, a) for x, w in weights for y, a in acts]
    _, w, a = max(pairs) if largest else min(pairs)
    return w, a


def _beats_to_rail(spec: MacSpec) -> int:
    """Return the beats of largest products that reach the upper rail from zero."""
    w, a = extreme_pair(spec, largest=True)
    most = codec.decode(spec.weight, w) * codec.decode(spec.act, a) * spec.lanes
    return -(-spec.accumulator.max_int // max(most, 1)) + 1


def product_passes(spec: MacSpec, cycles: int = 1) -> Iterator[Pass]:
    """Yield every pair of codes once per lane, each beat a dot product of its own.

    Every lane runs through all pairs, each lane from another starting point.  ``cycles`` is what
    a dot product of one beat takes.
    """
    weights = np.array(spec.weight.codes, np.uint8)
    acts = np.array(spec.act.codes, np.uint8)
    pairs = weights.size * acts.size
    offset = (np.arange(spec.lanes) * (2 * pairs // (3 * spec.lanes) | 1)) % pairs
    rows = max(MAX_CELLS // (spec.lanes * cycles), 1)
    for start in range(0, pairs, rows):
        index = (np.arange(start, min(start + rows, pairs))[:, None, None] + offset) % pairs
        w, a = np.divmod(index, acts.size)
        yield Pass("products", weights[w], acts[a], np.ones(len(index), np.int64))


def dot_codes(
    spec: MacSpec, rng: np.random.Generator, dots: int, beats: int
) -> tuple[Codes, Codes]:
    """Return codes (dots, beats, lanes) of weights and activations, of all `KINDS` in turn."""
    shape = (dots, beats, spec.lanes)
    operands = []
    for fmt in (spec.weight, spec.act):
        every, corners = np.array(fmt.codes, np.uint8), corner_codes(fmt)
        codes = every.take(rng.integers(0, every.size, shape, np.uint16))
        # Kinds 5 and 6 speak in boundary codes; kind 7 has zeros in half of its places.
        for kind in (5, 6):
            part = codes[kind :: len(KINDS)]
            part[...] = corners.take(rng.integers(0, corners.size, part.shape, np.uint16))
        codes[7 :: len(KINDS)] *= rng.integers(0, 2, codes[7 :: len(KINDS)].shape, np.uint8)
        operands.append(codes)

    to_rail = min(_beats_to_rail(spec), beats)
    beat = np.arange(beats)
    forced = np.zeros((dots, beats), np.int8)  # +1 the largest product, -1 the least
    forced[1 :: len(KINDS), : 3 * beats // 4] = 1
    forced[2 :: len(KINDS), : 3 * beats // 4] = -1
    # From rail to rail takes twice as long as from zero; the first half period is from zero.
    bounce = np.where((beat + to_rail) // (2 * to_rail + 2) % 2 == 0, 1, -1)
    forced[3 :: len(KINDS)] = bounce
    forced[3 + len(KINDS) :: 2 * len(KINDS)] *= -1
    signs = forced[4 :: len(KINDS)]
    signs[...] = rng.integers(0, 2, signs.shape) * 2 - 1
    forced[6 :: len(KINDS), : to_rail + 1] = 1
    forced[6 + len(KINDS) :: 2 * len(KINDS), : to_rail + 1] = -1
    for sign in (1, -1):
        pair = extreme_pair(spec, largest=sign > 0)
        where = (forced == sign)[..., None]
        for codes, code in zip(operands, pair, strict=True):
            np.copyto(codes, np.uint8(code), where=where)
    return operands[0], operands[1]


def stream_passes(spec: MacSpec, seed: int, steps: int, longest: int = 0) -> Iterator[Pass]:
    """Yield dot products of at least ``steps`` beats in all, none above ``longest`` (0: any).

    Three quarters are long dots back to back; the rest have random lengths (clear mid-stream),
    a partial last beat, gaps, and a reset with beats in flight.  Where ``spec.length`` is beyond
    these dots, the longest legal dots of largest and least products follow, if ``steps`` allow.
    """
    rng = generator(seed, spec, "streams")
    beats = min(max(4 * _beats_to_rail(spec) + 32, 64), MAX_BEATS, max(steps // 16, 1))
    if longest:
        beats = min(beats, longest)
        if longest * spec.lanes * len(KINDS) <= MAX_CELLS:
            yield _longest(spec, rng, longest)
    most = max(MAX_CELLS // (spec.lanes * beats), 1)  # dots in one pass
    left = steps - steps // GAP_SHARE
    while left > 0:
        dots = min(-(-left // beats), most)
        weight, act = dot_codes(spec, rng, dots, beats)
        yield Pass("streams", weight, act, np.full(dots, beats))
        left -= dots * beats
    left = steps // GAP_SHARE
    while left > 0:
        dots = min(-(-2 * left // beats) + len(KINDS), most)
        weight, act = dot_codes(spec, rng, dots, beats)
        length = rng.integers(1, beats + 1, dots)
        length[0] = beats
        _cut_last_beat(spec, rng, weight, act, length)
        yield Pass("gaps", weight, act, length, gaps=True, reset=True)
        left -= int(length.sum())
    longest = min(spec.beats, LONGEST_BEATS, MAX_CELLS // (3 * spec.lanes))
    if 3 * beats // 4 < longest <= steps:
        yield _longest_dots(spec, rng, longest)


def _longest_dots(spec: MacSpec, rng: np.random.Generator, beats: int) -> Pass:
    """Return the longest legal dot products of the largest and of the least product.

    They stand where the kinds of a stream say that a dot product is driven to that rail.
    """
    weight, act = dot_codes(spec, rng, 3, beats)
    for dot, largest in ((1, True), (2, False)):
        weight[dot], act[dot] = extreme_pair(spec, largest=largest)
    return Pass("streams", weight, act, np.array([1, beats, beats]))


def _longest(spec: MacSpec, rng: np.random.Generator, beats: int) -> Pass:
    """Return dot products of the greatest length, full of what fills an accumulator most.

    The largest product; the least; the two in turn; then largest significands, each dot product
    with one pair of exponents and one sign.
    """
    weight, act = dot_codes(spec, rng, len(KINDS), beats)
    ends = [extreme_pair(spec, largest=largest) for largest in (True, False)]
    for dot, chosen in enumerate((ends[:1], ends[1:], ends)):
        for beat in range(beats):
            weight[dot, beat], act[dot, beat] = chosen[beat % len(chosen)]
    for dot in range(3, len(KINDS)):
        for codes, fmt in ((weight, spec.weight), (act, spec.act)):
            if isinstance(fmt, Minifloat):
                full = (1 << fmt.mantissa_bits) - 1
                codes[dot] = next(
                    code | full if code | full in fmt.codes else code
                    for code in [int(rng.choice(fmt.codes))]
                )
    return Pass("streams", weight, act, np.full(len(KINDS), beats))


def _cut_last_beat(
    spec: MacSpec, rng: np.random.Generator, weight: Codes, act: Codes, length: NDArray[Any]
) -> None:
    """Put code 0 into the unused lanes of a partial last beat, in half of the dots."""
    used = rng.integers(1, spec.lanes + 1, length.size)
    used[::2] = spec.lanes
    unused = np.arange(spec.lanes) >= used[:, None]
    for codes in (weight, act):
        last = codes[np.arange(length.size), length - 1]
        last[unused] = 0
        codes[np.arange(length.size), length - 1] = last
