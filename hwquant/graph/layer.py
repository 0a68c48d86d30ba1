# SPDX-License-Identifier: Apache-2.0
"""A multiply-accumulate layer as integers, and the certificate of its accumulator."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hwquant import workload
from hwquant.fixed import signed_bits
from hwquant.formats import Format
from hwquant.graph.exact import FLOAT32_EXACT, Array
from hwquant.graph.matmul import Window
from hwquant.mac import MacSpec, accumulator_range, paper_bits

__all__ = ["MacLayer", "certify", "channel_ranges", "fingerprint"]


@dataclass(frozen=True)
class MacLayer:
    """One layer: ``length`` products per output, ``outputs`` dot products per inference.

    ``weight_codes`` and ``weight_ints`` (decoded) have one row per output channel, ``bias`` one
    integer; the accumulator of a channel counts in ``unit[channel]``.  They are None for a product
    of two activations, whose second operand takes the weight's place.  ``acts`` names the
    quantized tensors that feed the layer.  ``low..high`` bounds the accumulator: zero, the sums,
    and the sums with their bias; ``peak`` bounds the magnitude of every partial sum in any order.
    ``tensor`` is the ONNX tensor of the result, bias included.  ``off_grid`` counts bias values
    that are no integer on the accumulator grid (they are then added after the accumulator).
    ``act_range`` is the range of the activation integers, zero included.
    ``fingerprint`` is that of `fingerprint`.
    """

    name: str
    op: str
    node: str
    tensor: str
    acts: tuple[str, ...]
    weight: Format
    act: Format
    length: int
    outputs: int
    channels: int
    unit: tuple[Fraction, ...]
    low: int
    high: int
    peak: int
    weight_ints: Array | None = None
    weight_codes: Array | None = None
    bias: Array | None = None
    window: Window | None = None
    off_grid: int = 0
    act_range: tuple[int, int] = (0, 0)
    fingerprint: str = ""

    @property
    def acc_bits(self) -> int:
        """The certified width, of sums without and with the bias (`mac.accumulator_range`)."""
        return signed_bits(self.low, self.high)

    @property
    def law_bits(self) -> int:
        """The accumulator law: the width for any weights of the format, bias excluded."""
        return MacSpec(self.weight, self.act, lanes=1, length=self.length).exact_bits

    @property
    def paper_bits(self) -> int:
        """The width of the paper's formula (arXiv 2311.12359), for comparison."""
        return paper_bits(self.weight, self.act, self.length)

    @property
    def float32_exact(self) -> bool:
        """Whether a float32 sum of the products is exact in any order, given exact operands."""
        po2 = all(
            u.numerator & (u.numerator - 1) == 0 and u.denominator & (u.denominator - 1) == 0
            for u in self.unit
        )
        return po2 and self.peak <= FLOAT32_EXACT and not self.off_grid

    @property
    def kind(self) -> str:
        """The layer's kind as PyTorch calls it: conv2d, convtranspose2d, linear, matmul."""
        if self.weight_codes is None:
            return "matmul"
        if self.window is None:
            return "linear"
        return f"{self.op.lower()}{len(self.window.strides)}d"

    def workload_layer(self) -> workload.Layer:
        """Return what the layer asks of the hardware."""
        return workload.Layer(
            name=self.name,
            op=self.kind,
            length=self.length,
            outputs=self.outputs,
            weights=0 if self.weight_codes is None else int(self.weight_codes.size),
            channels=self.channels,
            weight=self.weight,
            act=self.act,
            acc_bits=self.acc_bits,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the record for metadata and reports."""
        return {
            "name": self.name,
            "op": self.kind,
            "weight": str(self.weight),
            "act": str(self.act),
            "length": self.length,
            "outputs": self.outputs,
            "channels": self.channels,
            "acc_bits": self.acc_bits,
            "law_bits": self.law_bits,
            "paper_bits": self.paper_bits,
            "float32_exact": self.float32_exact,
        }


def channel_ranges(weight_ints: Array, act_low: int, act_high: int) -> list[tuple[int, int]]:
    """Return the least and greatest sum of products of each channel, of whole and partial sums.

    With ``act_low <= 0 <= act_high`` it is ``P*act_low + N*act_high .. P*act_high + N*act_low``
    where P and N are the sums of the channel's positive and negative weights.
    """
    positive = _object_sum(np.maximum(weight_ints, 0))
    negative = _object_sum(np.minimum(weight_ints, 0))
    pairs = zip(positive, negative, strict=True)
    return [(p * act_low + n * act_high, p * act_high + n * act_low) for p, n in pairs]


def _object_sum(ints: Array) -> list[int]:
    bound = max(int(ints.max(initial=0)), -int(ints.min(initial=0))) * max(ints.shape[1], 1)
    if bound >= 1 << 62:
        ints = ints.astype(object)
    return [int(s) for s in ints.sum(axis=1)]


def certify(
    weight_ints: Array, act_low: int, act_high: int, bias: list[int]
) -> tuple[int, int, int]:
    """Return the least and greatest accumulator value, and the peak of any partial sum.

    The same bound as `hwquant.mac.certificate`: a channel lies in its `channel_ranges`, with and
    without its bias.  Zero is always inside, so partial sums are too.
    """
    ranges = channel_ranges(weight_ints, act_low, act_high)
    low, high = accumulator_range(ranges, bias)
    return low, high, max(-low, high, *map(abs, bias))


def fingerprint(codes: Array, bias: Array | None) -> str:
    """Return eight hexadecimal digits per output channel: a checksum of its codes and bias.

    ``codes`` has shape (channels, length), -0 counting as 0; ``bias`` is float32, None for zeros.
    """
    stored = np.zeros(codes.shape[0], "<f4") if bias is None else np.asarray(bias, "<f4") + 0.0
    rows = zip(np.ascontiguousarray(codes, np.uint8), stored.astype("<f4"), strict=True)
    return "".join(f"{zlib.crc32(row.tobytes() + b.tobytes()):08x}" for row, b in rows)
