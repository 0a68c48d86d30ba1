# SPDX-License-Identifier: Apache-2.0
"""The reference of a run: `MacSpec.accumulate` on whole arrays, in words, without Python integers.

A wide product is ``significand * 2**shift``.  It is put into the 32-bit limb that its last bit
falls into, carries move up, and two limbs are a word.  `tests/test_sim_limbs.py` compares it with
`MacSpec.accumulate` and with rational arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwquant import codec_np
from hwquant.formats import Format
from hwquant.mac import MacSpec, Overflow

__all__ = ["accumulate", "to_words"]

Codes = NDArray[np.uint8]
Ints = NDArray[np.int64]
Words = NDArray[np.uint64]

LIMB: Final = 32
WORD: Final = 64
LOW: Final = (1 << LIMB) - 1
NARROW: Final = 62  # bits that an int64 holds after one addition


def accumulate(spec: MacSpec, weight: Codes, act: Codes, words: int) -> Words:
    """Return the accumulator after each beat, starting each dot product from a clear.

    Codes have shape (dots, beats, lanes); the result has shape (dots, beats, words), little-endian
    two's complement.  Raises `FormatError` for a code without a value.
    """
    saturate = spec.overflow is Overflow.SATURATE
    bits = max(spec.accumulator.width, spec.sum_bits)
    if bits > NARROW and _largest(spec) * spec.lanes >= 1 << LIMB - 1:
        shape = len(weight), weight[0].size
        sums = spec.accumulate(weight.reshape(shape), act.reshape(shape))
        return to_words(sums.ravel(), words).reshape(*sums.shape, words)
    if saturate:  # one step of all dot products at a time: they lie side by side
        weight, act = (np.ascontiguousarray(c.transpose(1, 0, 2)) for c in (weight, act))
    if bits <= NARROW:
        small = _small_sums(spec, weight, act)
        (_clamp_small if saturate else _wrap_small)(spec, small)
        found = [small.view(np.uint64)]
    elif saturate:  # a clamp must see the whole sum, a wrap its low words
        found = _clamp(spec, _joined(_limb_sums(spec, weight, act, -(-(bits + 2) // WORD))))
    else:
        found = _wrap(spec, _limb_sums(spec, weight, act, words))
    if len(found) < words:
        found += [(found[-1].view(np.int64) >> WORD - 1).view(np.uint64)] * (words - len(found))
    if saturate:
        found = [word.T for word in found]
    return np.ascontiguousarray(found[0])[..., None] if words == 1 else np.stack(found, axis=-1)


def to_words(numbers: NDArray[Any], words: int) -> Words:
    """Return integers of shape (n,) as (n, words) little-endian two's complement words."""
    if numbers.dtype == object:
        size = 8 * words
        raw = b"".join([x.to_bytes(size, "little", signed=True) for x in numbers.tolist()])
        return np.frombuffer(raw, np.uint64).reshape(-1, words)
    column = numbers.astype(np.int64)[:, None]
    if words == 1:
        return column.view(np.uint64)
    return np.concatenate([column, *[column >> 63] * (words - 1)], axis=1).view(np.uint64)


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
    for code in fmt.codes:
        integer = int(codec_np.decode(fmt, code))
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


def _small_sums(spec: MacSpec, weight: Codes, act: Codes) -> Ints:
    """Return the sum of each beat."""
    _check(spec, weight, act)
    products = _integers(spec.weight).take(weight)
    products *= _integers(spec.act).take(act)
    sums: Ints = products[..., 0] if spec.lanes == 1 else products.sum(axis=-1)
    return sums


def _wrap_small(spec: MacSpec, sums: Ints) -> None:
    """Turn (dots, beats) sums into accumulators, modulo 2**width."""
    np.cumsum(sums, axis=-1, out=sums)
    spare = WORD - spec.accumulator.width
    sums <<= spare
    sums >>= spare


def _clamp_small(spec: MacSpec, sums: Ints) -> None:
    """Turn (beats, dots) sums into accumulators, clamped after each beat."""
    low, high = np.int64(spec.accumulator.min_int), np.int64(spec.accumulator.max_int)
    before = np.zeros(sums.shape[1], np.int64)
    for beat in sums:
        np.add(beat, before, out=beat)
        np.maximum(beat, low, out=beat)
        np.minimum(beat, high, out=beat)
        before = beat


def _limb_sums(spec: MacSpec, weight: Codes, act: Codes, words: int) -> Ints:
    """Return the sum of each beat, modulo its ``2 * words`` limbs, which come first.

    All limbs but the last are 0..2**32-1; the last has the sign.
    """
    count = 2 * words
    shape = weight.shape[:-1]
    parts = [_parts(fmt) for fmt in (spec.weight, spec.act)]
    top = sum(int(shift.max()) for _, shift in parts) // LIMB
    limbs = np.zeros((max(count, top + 1), *shape), np.int64)
    flat, place = limbs.reshape(-1), np.arange(weight[..., 0].size)
    _check(spec, weight, act)
    for lane in range(spec.lanes):
        w, a = (codes[..., lane].ravel().astype(np.intp) for codes in (weight, act))
        value, shift = parts[0][0].take(w), parts[0][1].take(w)
        value *= parts[1][0].take(a)
        shift += parts[1][1].take(a)
        # Below 2**62 when all lanes meet in one limb, see `accumulate`.
        value <<= shift & LIMB - 1
        shift >>= 5
        shift *= place.size
        shift += place
        if lane:
            flat[shift] += value
        else:
            flat[shift] = value
    _carry(limbs[:count])
    return limbs[:count]


def _carry(limbs: Ints) -> None:
    """Move what does not fit into a limb up to the next one, from the lowest on."""
    for index in range(len(limbs) - 1):
        limbs[index + 1] += limbs[index] >> LIMB
        limbs[index] &= LOW


def _joined(limbs: Ints) -> list[Words]:
    """Return words of carried limbs."""
    upper = limbs[1::2] << LIMB
    upper |= limbs[::2]
    return list(upper.view(np.uint64))


def _wrap(spec: MacSpec, limbs: Ints) -> list[Words]:
    """Return the words of the accumulators of (limbs, dots, beats) sums, modulo 2**width."""
    if limbs.shape[-1] > 1:
        np.cumsum(limbs, axis=-1, out=limbs)
        _carry(limbs)
    words = _joined(limbs)
    sign, top = divmod(spec.accumulator.width - 1, WORD)
    word = words[sign].view(np.int64)
    word <<= WORD - 1 - top
    word >>= WORD - 1 - top
    return words[: sign + 1]


def _clamp(spec: MacSpec, words: list[Words]) -> list[Words]:
    """Return the accumulators, clamped after each beat, of the words (beats, dots) of the sums.

    A number fits if all bits from its sign bit on are equal.  If not, it becomes the greatest
    number, or with a sign the complement of that, which is the least.
    """
    sign_word, top = divmod(spec.accumulator.width - 1, WORD)
    most = [
        np.uint64(spec.accumulator.max_int >> WORD * k & 2**WORD - 1) for k in range(len(words))
    ]
    before: Any = [np.zeros_like(word[0]) for word in words]
    sums: Any
    for sums in zip(*words, strict=True):
        _add(sums, before)
        sign = (sums[-1].view(np.int64) >> WORD - 1).view(np.uint64)
        beyond = (sums[sign_word] ^ sign) >> np.uint64(top)
        for above in sums[sign_word + 1 :]:
            beyond |= above ^ sign
        if np.count_nonzero(beyond):
            hit = beyond != 0
            for word, rail in zip(sums, most, strict=True):
                np.copyto(word, sign ^ rail, where=hit)
        before = sums
    return words[: sign_word + 1]


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
