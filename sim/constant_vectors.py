# SPDX-License-Identifier: Apache-2.0
"""Stimulus of a constant kernel, and what must come back.

A row is a control byte and one byte per activation code, padded to 32-bit words.  A result stands
in the row of its cause among the enabled rows; all other rows keep the sentinel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.constant.spec import MatVecSpec
from hwquant import codec_np
from hwquant.cache import content_key

from .rows import sentinel
from .vectors import ENABLE, RESET, VALID

__all__ = ["EXHAUSTIVE", "Block", "blocks", "is_exhaustive", "out_words", "row_words", "vectors"]

EXHAUSTIVE = 1 << 16
"""Up to so many activation vectors all are sent."""
MAX_ROWS = 1 << 15
TRAFFIC = 2048


def row_words(spec: MatVecSpec) -> int:
    """Return the 32-bit words of a row; three at least, so that all rows are fetched alike."""
    return max(3, -(-(1 + spec.inputs) // 4))


def out_words(spec: MatVecSpec) -> int:
    """Return the 64-bit words of a result; one bit at least is left, so that none is a sentinel."""
    return max(2, spec.outputs * max(spec.out_bits) // 64 + 1)


def is_exhaustive(spec: MatVecSpec) -> bool:
    """Return whether every activation vector is sent."""
    return len(spec.act.codes) ** min(spec.inputs, 17) <= EXHAUSTIVE


@dataclass(frozen=True)
class Block:
    """Rows for one simulation and the raw words that must come back, per enabled row.

    ``codes`` belong to the enabled rows, for telling what failed.
    """

    stage: str
    data: NDArray[np.uint8]
    wanted: NDArray[np.uint64]
    codes: NDArray[np.uint8]
    checks: int


def vectors(spec: MatVecSpec, seed: int, steps: int) -> tuple[str, NDArray[np.uint8]]:
    """Return the activation vectors to send: all of them, or corners and ``steps`` random ones."""
    legal = np.array(spec.act.codes, np.uint8)
    if is_exhaustive(spec):
        grid = np.indices((len(legal),) * spec.inputs).reshape(spec.inputs, -1)
        return "every vector", legal[grid.T]
    rng = np.random.default_rng(int(content_key(repr(spec), seed)[:16], 16))
    random = legal[rng.integers(0, len(legal), (steps, spec.inputs))]
    return "corners and random vectors", np.concatenate([_corners(spec, legal), random])


def _corners(spec: MatVecSpec, legal: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return both rails of every output and input, alternating rails, and single inputs."""
    values = codec_np.decode(spec.act, legal)
    least, most = legal[int(np.argmin(values))], legal[int(np.argmax(values))]
    zero = legal[int(np.argmin(np.abs(values)))]
    signs = np.sign(np.asarray(spec.weights, object)).astype(int)
    upper = np.where(signs > 0, most, np.where(signs < 0, least, zero))
    lower = np.where(signs > 0, least, np.where(signs < 0, most, zero))
    lanes = np.arange(spec.inputs)
    flat = [np.full(spec.inputs, code, np.uint8) for code in legal]
    for period in (1, 2, 4):
        swap = (lanes // period) % 2 == 0
        flat += [np.where(swap, least, most), np.where(swap, most, least)]
    single = np.full((3, spec.inputs, len(legal), spec.inputs), zero, np.uint8)
    single[1], single[2] = least, most
    for lane in lanes:
        single[:, lane, :, lane] = legal
    rows = [upper, lower, np.stack(flat), single.reshape(-1, spec.inputs)]
    return np.unique(np.concatenate(rows).astype(np.uint8), axis=0)


def blocks(spec: MatVecSpec, latency: int, seed: int, steps: int) -> Iterator[Block]:
    """Yield everything that is sent to one kernel; last, traffic with gaps, idles and resets."""
    stage, codes = vectors(spec, seed, steps)
    rng = np.random.default_rng(seed)
    codes = codes[rng.permutation(len(codes))]
    for start in range(0, len(codes), MAX_ROWS):
        part = codes[start : start + MAX_ROWS]
        control = np.full(len(part), ENABLE | VALID, np.uint8)
        yield _block(spec, latency, stage, control, part)
    noise = rng.random((3, TRAFFIC))
    traffic = np.where(noise[0] < 0.8, ENABLE, 0) | np.where(noise[1] < 0.8, VALID, 0)
    control = (traffic | np.where(noise[2] < 0.01, RESET, 0)).astype(np.uint8)
    pick = codes[rng.integers(0, len(codes), TRAFFIC)]
    yield _block(spec, latency, "traffic", control, pick)


def _block(
    spec: MatVecSpec, latency: int, stage: str, control: NDArray[np.uint8], codes: Any
) -> Block:
    data = np.zeros((control.size, 4 * row_words(spec)), np.uint8)
    data[:, 0] = control
    data[:, 1 : 1 + spec.inputs] = codes
    enabled = np.flatnonzero(control & ENABLE)
    sent = (control[enabled] & VALID) != 0
    place = np.cumsum((control & ENABLE) != 0)  # enabled rows up to and with this one
    for row in np.flatnonzero(control & RESET):
        # A reset loses what is inside and, if enabled, its own row; a result that is visible in
        # its cycle still counts.  Either way these are the last `latency` enabled rows.
        sent[max(int(place[row]) - latency, 0) : place[row]] = False
    wanted = sentinel(enabled.size, out_words(spec))
    wanted[sent] = _words(spec, codes[enabled][sent])
    return Block(stage, data, wanted, codes[enabled], int(sent.sum()))


def _words(spec: MatVecSpec, codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the raw words of the outputs, element 0 in the low bits."""
    width = max(spec.out_bits)
    numbers = spec.dot(codes)
    bits = np.zeros((len(codes), 64 * out_words(spec)), np.uint8)
    for at in range(width):
        bits[:, at : spec.outputs * width : width] = (numbers >> at & 1).astype(np.uint8)
    return np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
