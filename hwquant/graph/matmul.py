# SPDX-License-Identifier: Apache-2.0
"""Exact integer matrix products and convolutions, at the speed of the float64 matrix unit.

A float64 sum of integers is exact while no partial sum passes 2**53.  Wider operands are cut
into limbs small enough for that, and the limb products are added as Python integers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hwquant.graph.exact import Array

__all__ = ["Product", "Window", "conv", "conv_shape", "conv_transpose", "matmul"]
__all__ += ["conv_transpose_shape"]

Product = Callable[[Array, Array], Array]
_FLOAT64_EXACT = 1 << 53
_INT64_SAFE = 1 << 62
_LIMB = 20  # bits: products of two limbs summed over 2**13 terms stay exact


def _bound(a: Array, b: Array) -> int:
    """Return a bound of every partial sum of ``a @ b``: the longest row times both maxima."""
    top_a = max(int(a.max()), -int(a.min())) if a.size else 0
    top_b = max(int(b.max()), -int(b.min())) if b.size else 0
    return top_a * top_b * int(a.shape[-1])


def _limbs(x: Array) -> list[Array]:
    """Return ``x`` as signed limbs of `_LIMB` bits, least significant first, in float64."""
    sign: Array = np.where(x < 0, -1, 1)
    rest: Array = np.abs(x)
    limbs = []
    while True:
        low = rest & ((1 << _LIMB) - 1)
        limbs.append((low * sign).astype(np.float64))
        rest = rest >> _LIMB
        if not (rest != 0).any():
            return limbs


def matmul(a: Array, b: Array) -> Array:
    """Return ``a @ b`` exactly, with broadcasting of leading axes; int64 or Python integers."""
    bound = _bound(a, b)
    if bound < _FLOAT64_EXACT:
        small: Array = np.matmul(a.astype(np.float64), b.astype(np.float64))
        return small.astype(np.int64)
    step = 1 << 13
    if a.shape[-1] > step:
        half = a.shape[-1] // 2
        return _sum(
            matmul(a[..., :half], b[..., :half, :]), matmul(a[..., half:], b[..., half:, :])
        )
    total: Array | None = None
    dtype = np.int64 if bound < _INT64_SAFE else np.object_
    right = _limbs(b)
    for i, left in enumerate(_limbs(a)):
        for j, limb in enumerate(right):
            part = np.matmul(left, limb).astype(np.int64).astype(dtype) * (1 << _LIMB * (i + j))
            total = part if total is None else total + part
    return np.zeros(0) if total is None else total  # there is always one limb


def _sum(a: Array, b: Array) -> Array:
    wide = np.object_ in (a.dtype, b.dtype)
    if wide or max(abs(int(x)) for x in (a.max(), a.min(), b.max(), b.min())) >= _INT64_SAFE >> 1:
        a, b = a.astype(object), b.astype(object)
    return a + b


@dataclass(frozen=True, slots=True)
class Window:
    """Geometry of a convolution over any number of spatial axes.

    ``pads`` is (begin, end) per axis; ``output_padding`` belongs to transposed convolutions.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int = 1
    output_padding: tuple[int, ...] = ()


def conv_transpose_shape(x: tuple[int, ...], w: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """Return the shape of ``conv_transpose``: ``x`` is (N, C, ...), ``w`` (C, M / groups, ...)."""
    extra = window.output_padding or (0,) * (len(x) - 2)
    spatial = (
        (size - 1) * stride - begin - end + dilation * (kernel - 1) + 1 + more
        for size, kernel, stride, dilation, (begin, end), more in zip(
            x[2:], w[2:], window.strides, window.dilations, window.pads, extra, strict=True
        )
    )
    return (x[0], w[1] * window.groups, *spatial)


def conv_shape(x: tuple[int, ...], w: tuple[int, ...], window: Window) -> tuple[int, ...]:
    """Return the shape of ``conv``: ``x`` is (N, C, ...), ``w`` is (M, C / groups, ...)."""
    spatial = (
        (size + sum(pad) - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, dilation, pad in zip(
            x[2:], w[2:], window.strides, window.dilations, window.pads, strict=True
        )
    )
    return (x[0], w[0], *spatial)


def conv(x: Array, w: Array, window: Window, product: Product = matmul) -> Array:
    """Return the convolution of (N, C, ...) with (M, C / groups, ...); exact by `matmul`."""
    rank = x.ndim - 2
    kernel = w.shape[2:]
    padded = np.pad(x, [(0, 0), (0, 0), *window.pads])
    extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, window.dilations, strict=True))
    spatial = tuple(range(2, 2 + rank))
    view = np.lib.stride_tricks.sliding_window_view(padded, extent, axis=spatial)
    strided = tuple(slice(None, None, s) for s in window.strides)
    dilated = tuple(slice(None, None, d) for d in window.dilations)
    view = view[(slice(None), slice(None), *strided, *dilated)]  # (N, C, out..., kernel...)
    out = view.shape[2 : 2 + rank]
    groups = window.groups
    per_group = x.shape[1] // groups
    filters = w.reshape(groups, w.shape[0] // groups, -1)
    order = (1, *range(3, 3 + rank), 2, *range(3 + rank, 3 + 2 * rank))
    results = []
    for image in view:  # one image at a time bounds the memory of the unfolded input
        cut = image.reshape(1, groups, per_group, *out, *kernel).transpose(0, *order)
        columns = cut.reshape(groups, int(np.prod(out)), -1)
        pixels = product(columns, filters.transpose(0, 2, 1))  # (G, pixels, M / G)
        results.append(pixels.transpose(0, 2, 1).reshape(w.shape[0], *out))
    if not results:
        return np.zeros((0, w.shape[0], *out), np.int64)
    wide = any(r.dtype == np.object_ for r in results)
    return np.stack([r.astype(object) for r in results] if wide else results)


def conv_transpose(x: Array, w: Array, window: Window, product: Product = matmul) -> Array:
    """Return the transposed convolution of (N, C, ...) with (C, M / groups, ...).

    It is the convolution of ``x``, spread out by the strides, with the mirrored kernel.
    """
    rank = x.ndim - 2
    kernel = w.shape[2:]
    shape = [
        *x.shape[:2],
        *((n - 1) * s + 1 for n, s in zip(x.shape[2:], window.strides, strict=True)),
    ]
    spread = np.zeros(shape, x.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, s) for s in window.strides))] = x
    groups = window.groups
    mirrored = w[(slice(None), slice(None), *([slice(None, None, -1)] * rank))]
    split = mirrored.reshape(groups, w.shape[0] // groups, w.shape[1], *kernel)
    filters = split.swapaxes(1, 2).reshape(-1, w.shape[0] // groups, *kernel)
    extra = window.output_padding or (0,) * rank
    pads = tuple(
        (d * (k - 1) - begin, d * (k - 1) - end + more)
        for k, d, (begin, end), more in zip(
            kernel, window.dilations, window.pads, extra, strict=True
        )
    )
    trim = [
        slice(max(-b, 0), n - max(-e, 0)) for n, (b, e) in zip(spread.shape[2:], pads, strict=True)
    ]
    spread = spread[(slice(None), slice(None), *trim)]
    grown = tuple((max(b, 0), max(e, 0)) for b, e in pads)
    inner = Window((1,) * rank, window.dilations, grown, groups)
    return conv(spread, filters, inner, product)
