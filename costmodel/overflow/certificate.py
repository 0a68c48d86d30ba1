# SPDX-License-Identifier: Apache-2.0
"""The width that no input can exceed, channel by channel: a proof, and the adviser's ceiling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import InputError
from hwquant.fixed import signed_bits
from hwquant.graph import MacLayer
from hwquant.graph.layer import channel_ranges

__all__ = ["channel_bits"]


def channel_bits(layer: MacLayer, *, bias_first: bool = False) -> NDArray[np.int64]:
    """Return the certified accumulator width of each channel of ``layer``.

    It follows from the weight codes and the range of the activation format and holds for every
    partial sum in any order.  The accumulator starts at zero, or at the bias with ``bias_first``
    (the widest channel of both is `MacLayer.acc_bits`).

    Raises `InputError` for a product of two activations, which has no weights.
    """
    if layer.weight_ints is None:
        raise InputError(f"{layer.name} multiplies two activations; it has no weights to certify")
    ranges = channel_ranges(layer.weight_ints, *layer.act_range)
    bias = layer.bias if bias_first and layer.bias is not None else [0] * len(ranges)
    widths = [
        signed_bits(min(low + int(b), 0), max(high + int(b), 0))
        for (low, high), b in zip(ranges, bias, strict=True)
    ]
    return np.array(widths, np.int64)
