# SPDX-License-Identifier: Apache-2.0
"""The reference of a run: `MacSpec.accumulate` on whole arrays, in words, without Python integers.

A wide product is ``significand * 2**shift``.  It is put into the 32-bit limb that its last bit
falls into, carries move up, and two limbs are a word.  A clamp goes beat by beat, for all dot
products of many kernels at once.  `tests/test_sim_limbs.py` compares it with `MacSpec.accumulate`
and with rational arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwquant import codec_np
from hwquant.formats import Format
from hwquant.mac import MacSpec, Overflow

__all__ = ["accumulate", "accumulate_all", "to_words"]

Codes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

LIMB_LOG: Final = 5
LIMB: Final = 1 << LIMB_LOG
WORD: Final = 64
LOW: Final = (1 << LIMB) - 1
NARROW: Final = 62  # bits that leave room in an int64 for one addition


def accumulate(spec: MacSpec, weight: Codes, act: Codes, words: int) -> Words:
    """Return the accumulator after each beat, starting each dot product from a clear.

    Codes have shape (dots, beats, lanes); the result has shape (dots, beats, words), little-endian
    two's complement.  Raises `FormatError` for a code without a value.
    """
    return accumulate_all([(spec, weight, act, words)])[0]


def accumulate_all(jobs: Sequence[tuple[MacSpec, Codes, Codes, int]]) -> list[Words]:
    """Return `accumulate` of each job; what saturates goes side by side, which is faster."""
    found: dict[int, Words] = {}
    clamped: dict[int, list[tuple[int, Words]]] = {}
    for index, (spec, weight, act, words) in enumerate(jobs):
        bits = max(spec.accumulator.width, spec.sum_bits)
        if bits > NARROW and _largest(spec) * spec.lanes >= 1 << LIMB - 1:
            found[index] = _by_python_integers(spec, weight, act, words)
        elif spec.overflow is Overflow.WRAP:
            wrapped = _wrap(spec, weight, act, 0 if bits <= NARROW else words)
            found[index] = _resized(wrapped.transpose(1, 2, 0), words)
        else:
            # A clamp must see the whole sum.  It takes one beat of all dot products at a time.
            count = 1 if bits <= NARROW else -(-(bits + 2) // WORD)
            w, a = (np.ascontiguousarray(codes.transpose(1, 0, 2)) for codes in (weight, act))
            sums = _sums(spec, w, a) if count == 1 else _joined(_limb_sums(spec, w, a, count))
            clamped.setdefault(count, []).append((index, sums))
    for group in clamped.values():
        specs = [jobs[index][0] for index, _ in group]
        results = _clamp(specs, [sums for _, sums in group])
        for (index, _), result in zip(group, results, strict=True):
            found[index] = _resized(result.transpose(2, 1, 0), jobs[index][3])
    return [found[index] for index in range(len(jobs))]


def to_words(numbers: NDArray[Any], words: int) -> Words:
    """Return integers of shape (n,) as (n, words) little-endian two's complement words."""
    if numbers.dtype == object:
        size = 8 * words
        raw = b"".join([x.to_bytes(size, "little", signed=True) for x in numbers.tolist()])
        return np.frombuffer(raw, np.uint64).reshape(-1, words)
    return _resized(numbers.astype(np.int64)[:, None].view(np.uint64), words)


def _resized(numbers: Words, words: int) -> Words:
    """Return numbers of shape (..., any words) as (..., words) that lie in one piece."""
    if numbers.shape[-1] >= words:
        return np.ascontiguousarray(numbers[..., :words])
    sign = (numbers[..., -1:].view(np.int64) >> WORD - 1).view(np.uint64)
    return np.concatenate([numbers, *[sign] * (words - numbers.shape[-1])], axis=-1)


def _by_python_integers(spec: MacSpec, weight: Codes, act: Codes, words: int) -> Words:
    shape = len(weight), weight[0].size
    sums = spec.accumulate(weight.reshape(shape), act.reshape(shape))
    return to_words(sums.ravel(), words).reshape(*sums.shape, words)


@lru_cache(maxsize=256)
def _integers(fmt: Format) -> Ints:
    """Return the decoded integer of each bit pattern."""
    table = np.zeros(1 << fmt.bits, np.int64)
    codes = np.array(fmt.codes)
    table[codes] = codec_np.decode(fmt, codes)
    return table


@lru_cache(maxsize=256)
def _parts(fmt: Format) -> tuple[Ints, Ints]:
    """Return significand and shift of each bit pattern: its integer is ``sig << shift``."""
    parts = np.zeros((2, 1 << fmt.bits), np.int64)
    integers = codec_np.decode(fmt, np.array(fmt.codes)).tolist()
    for code, integer in zip(fmt.codes, integers, strict=True):
        shift = max((integer & -integer).bit_length() - 1, 0)
        parts[:, code] = integer >> shift, shift
    return parts[0], parts[1]


def _largest(spec: MacSpec) -> int:
    """Return the largest product of two significands, without its sign."""
    return math.prod(int(abs(_parts(fmt)[0]).max()) for fmt in (spec.weight, spec.act))


def _check(spec: MacSpec, weight: Codes, act: Codes) -> None:
    """Raise `FormatError` for a code without a value, as `MacSpec.products` does."""
    for fmt, codes in ((spec.weight, weight), (spec.act, act)):
        if len(fmt.codes) < 1 << fmt.bits or codes.max(initial=0) >> fmt.bits:
            codec_np.decode(fmt, codes)


def _sums(spec: MacSpec, weight: Codes, act: Codes) -> Words:
    """Return the sum of each beat in one word: codes (x, y, lanes), result (1, x, y)."""
    _check(spec, weight, act)
    products = _integers(spec.weight).take(weight)
    products *= _integers(spec.act).take(act)
    sums = products[..., 0] if spec.lanes == 1 else products.sum(axis=-1)
    return sums[None].view(np.uint64)


def _limb_sums(spec: MacSpec, weight: Codes, act: Codes, words: int) -> Ints:
    """Return the sum of each beat modulo its ``2 * words`` limbs, which come first.

    All limbs but the last are 0..2**32-1; the last has the sign.
    """
    _check(spec, weight, act)
    (w_value, w_shift), (a_value, a_shift) = _parts(spec.weight), _parts(spec.act)
    top = int(w_shift.max() + a_shift.max()) // LIMB
    limbs = np.zeros((max(2 * words, top + 1), *weight.shape[:-1]), np.int64)
    flat, place = limbs.reshape(-1), np.arange(weight[..., 0].size)
    for lane in range(spec.lanes):
        w, a = (codes[..., lane].ravel().astype(np.intp) for codes in (weight, act))
        value = w_value.take(w)
        value *= a_value.take(a)
        shift = w_shift.take(w)
        shift += a_shift.take(a)
        # Below 2**62 even if all lanes meet in one limb: `accumulate_all` sees to it.
        value <<= shift & LIMB - 1
        shift >>= LIMB_LOG
        shift *= place.size
        shift += place
        if lane:
            flat[shift] += value
        else:
            flat[shift] = value
    limbs = limbs[: 2 * words]
    _carry(limbs)
    return limbs


def _carry(limbs: Ints) -> None:
    """Move what does not fit into a limb up to the next one, from the lowest on."""
    for index in range(len(limbs) - 1):
        limbs[index + 1] += limbs[index] >> LIMB
        limbs[index] &= LOW


def _joined(limbs: Ints) -> Words:
    """Return the words of carried limbs."""
    words = limbs[1::2] << LIMB
    words |= limbs[::2]
    return words.view(np.uint64)


def _wrap(spec: MacSpec, weight: Codes, act: Codes, words: int) -> Words:
    """Return accumulators modulo 2**width: codes (dots, beats, lanes), result (any, dots, beats).

    They are computed in ``words``, or with 0 in an integer each.
    """
    if not words:
        sums = _sums(spec, weight, act).view(np.int64)
    else:
        sums = _limb_sums(spec, weight, act, words)
    if sums.shape[-1] > 1:
        np.cumsum(sums, axis=-1, out=sums)
        if words:
            _carry(sums)
    found = _joined(sums) if words else sums.view(np.uint64)
    last, top = divmod(spec.accumulator.width - 1, WORD)
    sign = found[last].view(np.int64)
    sign <<= WORD - 1 - top
    sign >>= WORD - 1 - top
    return found[: last + 1]


def _clamp(specs: Sequence[MacSpec], sums: Sequence[Words]) -> Iterator[Words]:
    """Yield the accumulators, clamped after each beat, of sums (words, beats, dots)."""
    count, columns = len(sums[0]), [part.shape[-1] for part in sums]
    every = sums[0]
    if len(sums) > 1:
        every = np.zeros((count, max(part.shape[1] for part in sums), sum(columns)), np.uint64)
    ends = np.cumsum(columns).tolist()
    places = [slice(end - size, end) for end, size in zip(ends, columns, strict=True)]
    for part, place in zip(sums, places, strict=True):
        if part is not every:
            every[:, : part.shape[1], place] = part
    most = np.array([spec.accumulator.max_int for spec in specs], object)
    rails = np.repeat(to_words(most, count), columns, axis=0).T
    if count == 1:
        _clamp_steps(every[0].view(np.int64), rails[0].view(np.int64))
    else:
        _clamp_wide_steps(every, np.ascontiguousarray(rails))
    for part, place in zip(sums, places, strict=True):
        yield every[:, : part.shape[1], place]


def _clamp_steps(beats: Ints, most: Ints) -> None:
    """Turn sums (beats, columns) into accumulators; ``most`` (columns) are the upper rails."""
    least = ~most
    before = np.zeros_like(most)
    for beat in beats:
        np.add(beat, before, out=beat)
        np.maximum(beat, least, out=beat)
        np.minimum(beat, most, out=beat)
        before = beat


def _clamp_wide_steps(beats: Words, most: Words) -> None:
    """Turn sums (words, beats, columns) into accumulators; ``most`` (words, columns).

    A number fits if all its bits from the sign bit on are equal.  If not, it becomes the greatest
    number, or with a sign the complement of that, which is the least.
    """
    above = [(index, ~word) for index, word in enumerate(most) if not (~word == 0).all()]
    before: Any = np.zeros_like(most)
    beat: Any
    for beat in zip(*beats, strict=True):
        _add(beat, before)
        sign = (beat[-1].view(np.int64) >> WORD - 1).view(np.uint64)
        beyond = np.zeros_like(sign)
        for index, mask in above:
            beyond |= (beat[index] ^ sign) & mask
        if np.count_nonzero(beyond):
            hit = beyond != 0
            for word, rail in zip(beat, most, strict=True):
                np.copyto(word, sign ^ rail, where=hit)
        before = beat


def _add(sums: Sequence[Words], other: Sequence[Words]) -> None:
    """Add ``other`` to ``sums``, word by word, in place."""
    last = len(sums) - 1
    carry: NDArray[np.bool_] | None = None
    for index, (word, more) in enumerate(zip(sums, other, strict=True)):
        np.add(word, more, out=word)
        lost = word < more if index < last else None
        if carry is not None:
            np.add(word, carry, out=word)
            if lost is not None:
                lost |= word < carry  # one of the two additions at most
        carry = lost
