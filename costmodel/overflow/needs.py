# SPDX-License-Identifier: Apache-2.0
"""How many bits the accumulator of each channel really needed, image by image.

The network runs on the exact integer executor; of every layer the least and greatest partial sum
after each beat of ``lanes`` products, in element order, over all output positions, is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hwquant.errors import InputError, UnsupportedError
from hwquant.graph import Exact, Graph, MacLayer, Visitor
from hwquant.graph.exact import Array, largest
from hwquant.graph.matmul import Product, matmul
from hwquant.graph.model import Node

from .extremes import Extremes, extremes

__all__ = ["ActStats", "Needs", "bits_needed", "measure"]

CHUNK: Final = 32
"""Images executed at once at most: the executor keeps their tensors."""
CHUNK_NUMBERS: Final = 1 << 18
"""Input numbers executed at once, roughly."""


def bits_needed(low: Array, high: Array) -> NDArray[np.int64]:
    """Return the two's complement width that holds ``low..high`` and zero, elementwise.

    >>> bits_needed(np.array([-8, -8, 0]), np.array([7, 8, 0])).tolist()
    [4, 5, 1]
    """
    return np.maximum(_length(np.maximum(high, 0)), _length(np.maximum(-1 - low, 0))) + 1


def _length(x: Array) -> NDArray[np.int64]:
    """Return the bit length of integers >= 0."""
    if x.dtype != np.object_ and (not x.size or int(x.max()) < 1 << 53):
        exponents: NDArray[np.int64] = np.frexp(x.astype(np.float64))[1].astype(np.int64)
        return exponents
    return np.array([int(v).bit_length() for v in x.ravel()], np.int64).reshape(x.shape)


@dataclass(frozen=True, slots=True)
class ActStats:
    """Mean, root mean square and largest magnitude of a layer's input integers.

    All have shape (images, channels); a channel of a grouped convolution sees its group only.
    """

    mean: NDArray[np.float64]
    rms: NDArray[np.float64]
    peak: NDArray[np.float64]


@dataclass(frozen=True)
class Needs:
    """What one layer's accumulators did: ``low`` and ``high`` have shape (images, channels).

    They are the least and greatest partial sums of products after any beat, zero included and
    bias excluded, at any output position.
    """

    layer: MacLayer
    lanes: int
    low: Array
    high: Array
    acts: ActStats

    def bits(self, *, bias_first: bool = False) -> NDArray[np.int64]:
        """Return the width each (image, channel) needed.

        The accumulators of our kernels start at zero, and the requantizer adds the bias in a wider
        word; with ``bias_first`` they start at the bias.
        """
        offset = self.offset(bias_first=bias_first)
        return bits_needed(self.low + offset, self.high + offset)

    def offset(self, *, bias_first: bool) -> Array:
        """Return what the accumulators start at, one integer per channel."""
        bias = self.layer.bias
        if not bias_first or bias is None:
            return np.zeros(self.low.shape[1], np.int64)
        whole: Array = np.asarray(bias, dtype=object)
        return whole if largest(whole) >= 1 << 61 else whole.astype(np.int64)


class _Watch(Visitor):
    """Collects the extremes of one batch of ``images``, layer by layer."""

    def __init__(self, images: int, lanes: int, wanted: frozenset[str]) -> None:
        self.images, self.lanes, self.wanted = images, lanes, wanted
        self.calls: list[Extremes] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.found: list[Needs] = []

    def product(self, node: Node) -> Product:
        """Watch the operands of the layers wanted."""
        if node.name not in self.wanted:
            return matmul
        self.calls = []
        per_image = node.op in ("Conv", "ConvTranspose")

        def watched(a: Array, b: Array) -> Array:
            self.shapes[node.name] = a.shape
            images = 1 if per_image else self.images
            rows = a if per_image else _by_image(a, images)
            self.calls.append(extremes(rows, b if per_image else b[None], images, self.lanes))
            return matmul(a, b)

        return watched

    def layer(self, layer: MacLayer, result: Exact) -> None:
        """Put the calls of one layer together."""
        del result
        if layer.node in self.wanted and layer.weight_ints is not None:
            self.found.append(_together(layer, self.lanes, self.calls))


def _by_image(a: Array, images: int) -> Array:
    """Return the rows of a matrix product as (1, images * positions, length), images outermost."""
    if a.shape[0] % images:
        raise UnsupportedError(f"{a.shape[0]} rows are not the rows of {images} images")
    return a.reshape(1, -1, a.shape[-1])


def _together(layer: MacLayer, lanes: int, calls: list[Extremes]) -> Needs:
    parts = [np.concatenate([getattr(c, name) for c in calls]) for name in Extremes.__slots__]
    low, high, mean, rms, peak = parts
    return Needs(layer, lanes, low, high, ActStats(mean, rms, peak))


def measure(
    graph: Graph,
    inputs: ArrayLike,
    *,
    lanes: int = 1,
    advance: Callable[[int], Any] = lambda _: None,
) -> tuple[Needs, ...]:
    """Run ``inputs`` (images, ...) and return what every layer with constant weights needed.

    ``advance(n)`` is called when n more images are done.  Memory: the tensors of a few images
    (`CHUNK`) and one layer's unfolded input.

    Raises `InputError` for no images, numbers that are not finite, or a shape the network does
    not take.
    """
    array = checked_inputs(graph, inputs)
    if lanes < 1:
        raise InputError(f"lanes {lanes}, allowed 1 or more")
    layers = [layer for layer in graph.layers() if layer.weight_ints is not None]
    wanted = frozenset(layer.node for layer in layers if layer.weight_ints is not None)
    if not wanted:
        raise InputError(f"{graph.path} has no layer with constant weights; nothing to advise")
    parts = [watch.found for watch in _batches(graph, array, lanes, wanted, advance)]
    return tuple(_joined(pieces, len(array)) for pieces in zip(*parts, strict=True))


def checked_inputs(graph: Graph, inputs: ArrayLike) -> NDArray[np.float32]:
    """Return the images as float32.  Raises `InputError` as `measure` does."""
    try:
        array = np.asarray(inputs, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"the images are no array of numbers ({error})") from error
    if array.ndim == 0 or not len(array):
        raise InputError("no images given, allowed: one or more, shape (images, ...)")
    if not np.isfinite(array).all():
        what = "NaN" if np.isnan(array).any() else "infinity"
        raise InputError(f"the images hold {what}, allowed: finite numbers")
    want = next(iter(graph.model.inputs.values()))
    if want is not None and (
        array.ndim != len(want)
        or any(w not in (None, g) for w, g in zip(want[1:], array.shape[1:], strict=True))
    ):
        shown = " x ".join("any" if n is None else str(n) for n in ("N", *want[1:]))
        got = " x ".join(map(str, array.shape))
        raise InputError(f"{graph.path}: the images have shape {got}, allowed {shown}")
    return array


def _batches(
    graph: Graph,
    array: NDArray[np.float32],
    lanes: int,
    wanted: frozenset[str],
    advance: Callable[[int], Any],
) -> Iterator[_Watch]:
    """Run the images; several at once only where the batch is seen to be the leading axis."""
    fixed = graph.fixed_batch()
    if fixed is not None and fixed > 1:
        for start in range(0, len(array), fixed):
            piece = array[start : start + fixed]
            fill = np.repeat(piece[-1:], fixed - len(piece), axis=0)
            yield _run(graph, np.concatenate([piece, fill]), lanes, wanted)
            advance(len(piece))
        return
    first = _run(graph, array[:1], lanes, wanted)
    yield first
    advance(1)
    several = max(1, min(CHUNK, CHUNK_NUMBERS // max(array[0].size, 1)))
    size, start = (1 if fixed else several), 1
    while start < len(array):
        piece = array[start : start + size]
        watch = _run(graph, piece, lanes, wanted) if size == 1 else None
        if watch is None:
            watch = _try(graph, piece, lanes, wanted, first.shapes)
            if watch is None:
                size = 1
                continue
        yield watch
        start += len(piece)
        advance(len(piece))


def _run(graph: Graph, piece: NDArray[np.float32], lanes: int, wanted: frozenset[str]) -> _Watch:
    watch = _Watch(len(piece), lanes, wanted)
    graph.execute(piece, watch)
    return watch


def _try(
    graph: Graph,
    piece: NDArray[np.float32],
    lanes: int,
    wanted: frozenset[str],
    single: dict[str, tuple[int, ...]],
) -> _Watch | None:
    """Return the run of several images, None where a layer mixes them along another axis."""
    try:
        watch = _run(graph, piece, lanes, wanted)
    except UnsupportedError:
        return None
    convolutions = {n.layer.node for n in watch.found if n.layer.window is not None}
    leads = all(
        shape == (single[name][0] * len(piece), *single[name][1:])
        for name, shape in watch.shapes.items()
        if name not in convolutions
    )
    return watch if leads else None


def _joined(pieces: Iterable[Needs], images: int) -> Needs:
    """Return the batches of one layer as one; images that filled a last batch are dropped."""
    parts = list(pieces)

    def whole(get: Callable[[Needs], Array]) -> Array:
        return np.concatenate([get(part) for part in parts])[:images]

    acts = ActStats(
        whole(lambda n: n.acts.mean), whole(lambda n: n.acts.rms), whole(lambda n: n.acts.peak)
    )
    first = parts[0]
    return Needs(first.layer, first.lanes, whole(lambda n: n.low), whole(lambda n: n.high), acts)
