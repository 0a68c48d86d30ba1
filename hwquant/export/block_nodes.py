# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for block-scaled quantizers that trace into explicit ONNX operators.

Weights: elements on the unit grid through ``FloatQuant`` or ``Quant``, times a stored tensor of
block scales.  Activations: the scale of each block is computed in the graph, exactly:

    E8M0    how many powers of two the block's largest magnitude reaches (GreaterOrEqual, ReduceSum)
            is the scale's code; a table gives the scale (Gather).  No logarithm, no rounding.
    E4M3    FloatQuant of the largest magnitude over 6 tensor scales.

Dividing by a power of two is exact.  Dividing by an E4M3 scale (4 significant bits, power-of-two
tensor scale) in float32 cannot reach a tie it does not stand on: ``tie * scale`` is itself a
float32, so a different float32 lies at least one of its last places away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hwquant.block import E4M3_SCALE, E8M0_BIAS, ScaleFormat
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.kernel import quantize_unit

__all__ = ["BlockAct", "BlockWeight", "Element"]

Element = Callable[[Tensor, Any, str], Tensor]
"""Traces the quantizer node of an element: (x in element units, format, tag)."""


def _tag(path: str, fmt: object) -> str:
    return f"{path}|{fmt}|block"


def _to_last(x: Tensor, axis: int) -> Tensor:
    dims = list(range(x.dim()))
    dims.append(dims.pop(axis))
    return x if dims == sorted(dims) else x.permute(*dims)


def _from_last(x: Tensor, axis: int) -> Tensor:
    dims = list(range(x.dim()))
    dims.insert(axis % x.dim(), dims.pop())
    return x if dims == sorted(dims) else x.permute(*dims)


class BlockAct(nn.Module):
    """An activation quantizer whose block scales are computed in the graph."""

    one: Tensor
    thresholds: Tensor
    table: Tensor
    scale: Tensor

    def __init__(self, quantizer: BlockQuantizer, path: str, element: Element) -> None:
        super().__init__()
        self.blocks, self.axis, self.groups = quantizer.blocks, quantizer.axis, quantizer.groups
        self.path, self.element = path, element
        top = 2 * E8M0_BIAS - self.blocks.emax  # the largest code a finite float32 reaches
        codes = torch.arange(top + 1, dtype=torch.float64)
        reach = torch.exp2(codes[1:] - E8M0_BIAS + self.blocks.emax)
        self.register_buffer("thresholds", reach.float())
        self.register_buffer("table", torch.exp2(codes - E8M0_BIAS).float())
        self.register_buffer("scale", quantizer.scale.detach().clone())
        self.register_buffer("one", torch.ones(()))

    def _quantized(self, parts: Tensor) -> Tensor:
        fmt, tag = self.blocks.element, _tag(self.path, self.blocks.element)
        amax = parts.abs().amax(-1, keepdim=True)
        if self.blocks.scale is ScaleFormat.E8M0:
            count = (amax >= self.thresholds).sum(-1)
            scale = self.table[count].unsqueeze(-1)
            return self.element(parts / scale, fmt, tag) * scale
        steps = amax / (float(fmt.max) * self.scale)
        scale = self.element(steps, E4M3_SCALE, _tag(f"{self.path}.scale", E4M3_SCALE))
        scale = scale * self.scale
        safe = torch.where(scale == 0, self.one, scale)  # such a block is 0 by the product
        return self.element(parts / safe, fmt, tag) * scale

    def forward(self, x: Tensor) -> Tensor:
        """Return the quantized ``x``; the batch may be of any size."""
        moved = _to_last(x, self.axis)
        lead, length = [int(n) for n in moved.shape[1:-1]], int(moved.shape[-1])
        size, each = self.blocks.block, length // self.groups
        parts = moved.reshape(-1, *lead, self.groups, each)
        short = -each % size
        if short:
            parts = functional.pad(parts, (0, short))
        out = self._quantized(parts.reshape(-1, *lead, self.groups, (each + short) // size, size))
        out = out.reshape(-1, *lead, self.groups, each + short)
        if short:
            out = out[..., :each]
        return _from_last(out.reshape(-1, *lead, length), self.axis)


class BlockWeight(nn.Module):
    """A weight: stored elements on the unit grid, stored block scales."""

    weight: Tensor
    scale: Tensor

    def __init__(
        self,
        quantizer: BlockQuantizer,
        source: Tensor,
        path: str,
        element: Element,
        *,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        self.fmt, self.path, self.element = quantizer.fmt, path, element
        self.axis, self.transposed = quantizer.axis, transposed
        parts = quantizer.split(source.detach())
        scale = quantizer.block_scales(parts).unsqueeze(-1) * quantizer.scale
        # The quantized numbers over their scales: what the elements are, without another rounding.
        numbers = quantizer.split(quantizer(source.detach()))
        unit = torch.where(scale == 0, torch.zeros_like(parts), numbers.double() / scale.double())
        grid = 2.0**quantizer.blocks.element_exp
        stored = quantize_unit((unit / grid).float(), quantizer.fmt) * grid + 0.0  # -0 becomes 0
        self.length = source.shape[quantizer.axis]
        self.each = self.length // quantizer.groups
        self.register_buffer("weight", stored.contiguous())
        self.register_buffer("scale", scale.float().contiguous())

    def forward(self) -> Tensor:
        """Return the quantized weight, in the layout of its layer (or transposed)."""
        out = self.element(self.weight, self.fmt, _tag(self.path, self.fmt)) * self.scale
        out = out.flatten(-2)
        if out.shape[-1] != self.each:
            out = out[..., : self.each]
        out = _from_last(out.flatten(-2), self.axis)
        return out.t() if self.transposed else out
