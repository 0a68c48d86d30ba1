# SPDX-License-Identifier: Apache-2.0
"""Weight memories as files: the words that a folded layer reads, for ``$readmemh``.

A layer of ``channels`` rows of ``length`` weights is folded onto ``pe`` kernels of ``simd`` lanes.
Channel ``c`` belongs to kernel ``c % pe``; a dot product takes ``beats = ceil(length / simd)``
words.  Word ``(c // pe) * beats + beat`` holds, from its low bits up,

    code[c // pe * pe + p, beat * simd + s]   at bit (p * simd + s) * bits,  s < simd,  p < pe

which is the layout of FINN's decoupled weight memories.  Places beyond the last channel or product
hold the code of zero.  One word a line, in hexadecimal, the highest bits first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hwquant import atomic, codec
from hwquant.errors import InputError
from hwquant.formats import Format

__all__ = ["read_memory", "shape_of", "words_of", "write_memory"]

Codes = NDArray[np.uint8]


def shape_of(channels: int, length: int, pe: int, simd: int) -> tuple[int, int]:
    """Return (words, weights in a word) of a layer's memory.

    Raises `InputError` for a fold that is not positive.
    """
    if pe < 1 or simd < 1:
        raise InputError(f"pe {pe} and simd {simd}, allowed: 1 and more")
    return math.ceil(channels / pe) * math.ceil(length / simd), pe * simd


def words_of(fmt: Format, codes: Codes, pe: int, simd: int) -> list[int]:
    """Return the memory's words for ``codes`` of shape (channels, length), as whole numbers.

    >>> from hwquant.formats import parse
    >>> [f"{w:x}" for w in words_of(parse("int4"), np.array([[1, 2, 3], [4, 5, 6]], "u1"), 1, 2)]
    ['21', '3', '54', '6']
    """
    channels, length = codes.shape
    _, places = shape_of(channels, length, pe, simd)
    groups, beats = math.ceil(channels / pe), math.ceil(length / simd)
    padded = np.full((groups * pe, beats * simd), codec.encode(fmt, 0), np.uint8)
    padded[:channels, :length] = codes
    # (groups, pe, beats, simd) -> (groups, beats, pe, simd)
    ordered = padded.reshape(groups, pe, beats, simd).transpose(0, 2, 1, 3).reshape(-1, places)
    bits = (ordered[..., None] >> np.arange(fmt.bits, dtype=np.uint8)) & 1
    packed = np.packbits(bits.reshape(len(ordered), -1), axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def write_memory(path: str | Path, fmt: Format, codes: Codes, pe: int, simd: int) -> int:
    """Write a layer's memory, whole or not at all; return the number of words."""
    digits = math.ceil(pe * simd * fmt.bits / 4)
    words = words_of(fmt, codes, pe, simd)
    atomic.write_text(path, "".join(f"{word:0{digits}x}\n" for word in words))
    return len(words)


def read_memory(path: str | Path, fmt: Format, shape: Sequence[int], pe: int, simd: int) -> Codes:
    """Return the codes of shape (channels, length) that a memory file holds.

    Raises `InputError` for a file that cannot be read, another number of words, or padding that is
    not zero.
    """
    channels, length = shape
    count, places = shape_of(channels, length, pe, simd)
    try:
        lines = Path(path).read_text("ascii").split()
        words = [int(line, 16) for line in lines]
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no weight memory ({error}); take the point again") from error
    if len(words) != count or any(word >> (places * fmt.bits) for word in words):
        raise InputError(
            f"{path} has {len(words)} words, needed {count} of {places * fmt.bits} bits; "
            "take the point again"
        )
    size = math.ceil(places * fmt.bits / 8)
    raw = np.frombuffer(b"".join(word.to_bytes(size, "little") for word in words), np.uint8)
    bits = np.unpackbits(raw.reshape(count, size), axis=1, bitorder="little")
    bits = bits[:, : places * fmt.bits].reshape(count, places, fmt.bits)
    found = (bits << np.arange(fmt.bits, dtype=np.uint8)).sum(axis=2).astype(np.uint8)
    groups, beats = math.ceil(channels / pe), math.ceil(length / simd)
    full = found.reshape(groups, beats, pe, simd).transpose(0, 2, 1, 3)
    rows = full.reshape(groups * pe, beats * simd)
    outside = np.ones(rows.shape, bool)
    outside[:channels, :length] = False
    if (rows[outside] != codec.encode(fmt, 0)).any():
        raise InputError(f"{path}: a place without a weight is not zero; take the point again")
    return np.ascontiguousarray(rows[:channels, :length])
