# SPDX-License-Identifier: Apache-2.0
"""Quantize a tensor to a block-scaled format, blocks along the axis that the product contracts.

The block scales of weights and activations come from the tensor at hand (`hwquant.block`), so
nothing is calibrated but NVFP4's tensor scale.  Bit-equal to `hwquant.block_np.quantize`, rounded
once to float32 where an NVFP4 tensor scale has more than a few bits.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hwquant import block_np
from hwquant.block import E4M3_SCALE, BlockFormat, ScaleFormat
from hwquant.errors import SpecError
from hwquant.formats import Minifloat
from hwquant.nn.kernel import quantize_unit
from hwquant.nn.quantizers import Quantizer, ScaleKind

__all__ = ["BlockQuantizer", "act_blocks", "check_pair", "weight_blocks"]

E8M0_LOWEST: Final = -127
FLOAT32_MAX: Final = torch.finfo(torch.float32).max


def act_blocks(layer: nn.Module | None, operand: int = 0) -> tuple[int, int]:
    """Return (axis, groups) of the blocks in what ``layer`` reads: along its input channels.

    The axis counts from the end.  A grouped convolution starts a block at each group; the second
    operand of a matmul is contracted along its last axis but one.
    """
    if isinstance(layer, nn.Conv1d):
        return -2, layer.groups
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return -3, layer.groups
    return -1 - operand, 1


def weight_blocks(layer: nn.Module) -> tuple[int, int]:
    """Return (axis, groups) of the blocks in the weights: along the input channels of each tap."""
    return (0, layer.groups) if isinstance(layer, nn.ConvTranspose2d) else (1, 1)


def check_pair(path: str, weight: object, act: object) -> None:
    """Raise `SpecError` unless both formats are block-scaled alike, or neither is."""
    if not isinstance(weight, BlockFormat) and not isinstance(act, BlockFormat):
        return
    same = isinstance(weight, BlockFormat) and isinstance(act, BlockFormat)
    if not same or (weight.block, weight.scale) != (act.block, act.scale):  # type: ignore[attr-defined]
        raise SpecError(
            f"{path}: weights {weight} and activations {act} do not share their blocks; allowed: "
            "two block-scaled formats with one block size and one scale format, or none"
        )


class _Straight(torch.autograd.Function):
    """``value`` forward; the gradient goes to ``x`` unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        del ctx, x
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        del ctx
        return grads[0], None


def _power(exponent: Tensor) -> Tensor:
    """Return float32 ``2**exponent`` (-149..127) from its bit pattern."""
    e = exponent.int()
    one = torch.ones_like(e)
    normal, subnormal = (e + 127).clamp(min=0) << 23, one << (e + 149).clamp(0, 22)
    return torch.where(e >= -126, normal, subnormal).view(torch.float32)


def _nearest(y: Tensor, fmt: Minifloat) -> Tensor:
    """Return the nearest value of ``fmt`` in float64, ties to even; for M >= 1."""
    exponent = (torch.frexp(y)[1] - 1).clamp(min=1 - fmt.exponent_bias) - fmt.mantissa_bits
    step = torch.ldexp(torch.ones_like(y), exponent)
    return (torch.round(y / step) * step).clamp(-float(fmt.max), float(fmt.max))


class BlockQuantizer(Quantizer):
    """Map a tensor to the nearest numbers of a block-scaled format.

    ``blocks`` is the format, ``fmt`` its element format, ``scale`` the tensor scale (1 but for
    NVFP4).  Blocks lie along ``axis``, which is cut into ``groups`` equal parts first; the last
    block of a part is shorter where its length is no multiple of the block size.
    """

    def __init__(
        self,
        blocks: BlockFormat,
        scale_kind: ScaleKind = "po2",
        axis: int = -1,
        groups: int = 1,
        module_path: str = "",
    ) -> None:
        super().__init__(blocks.element, scale_kind, None, module_path)
        self.blocks, self.axis, self.groups = blocks, axis, groups

    def set_scale(self, scale: Tensor) -> None:
        """Fix the tensor scale; raises `SpecError` unless it is one that the format has."""
        if scale.numel() != 1 or (not self.blocks.tensor_scale and float(scale) != 1):
            raise SpecError(
                f"{self.module_path or 'quantizer'}: {self.blocks} takes "
                f"{'one scale a tensor' if self.blocks.tensor_scale else 'no tensor scale'}"
            )
        super().set_scale(scale.reshape(()))

    def calibrate(self, amax: float) -> None:
        """Fix the tensor scale for a largest magnitude ``amax``; nothing to do for MX formats."""
        scale = block_np.tensor_scale(self.blocks, amax, po2=self.scale_kind == "po2")
        self.set_scale(torch.tensor(scale))

    def split(self, x: Tensor) -> Tensor:
        """Return ``x`` as (..., groups, blocks, block), zeros behind the end of a group."""
        moved = x.movedim(self.axis, -1)
        if moved.shape[-1] % self.groups:
            raise SpecError(
                f"{self.module_path}: {moved.shape[-1]} channels are no multiple of "
                f"{self.groups} groups"
            )
        parts = moved.reshape(*moved.shape[:-1], self.groups, -1)
        parts = nn.functional.pad(parts, (0, -parts.shape[-1] % self.blocks.block))
        return parts.reshape(*parts.shape[:-1], -1, self.blocks.block)

    def join(self, parts: Tensor, like: Tensor) -> Tensor:
        """Undo `split` for a tensor of the shape of ``like``."""
        length = like.shape[self.axis] // self.groups
        return parts.flatten(-2)[..., :length].flatten(-2).movedim(-1, self.axis)

    def block_scales(self, parts: Tensor) -> Tensor:
        """Return the scale of each block (groups and blocks as in `split`), without tensor scale.

        float32, powers of two or E4M3 values; exact.
        """
        amax = parts.detach().abs().clamp(max=FLOAT32_MAX).amax(-1)
        if self.blocks.scale is ScaleFormat.E8M0:
            exponent = torch.frexp(amax)[1] - 1 - self.blocks.emax
            lowest = torch.full_like(exponent, E8M0_LOWEST)
            return _power(torch.where(amax == 0, lowest, exponent.clamp(E8M0_LOWEST, 127)))
        steps = amax.double() / (float(self.blocks.element.max) * self.scale.double())
        return _nearest(steps, E4M3_SCALE).float()

    def with_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the quantized ``x``, and the scale of each element in its shape."""
        parts = self.split(x)
        scales = self.block_scales(parts).unsqueeze(-1)
        if self.blocks.scale is ScaleFormat.E8M0:
            unit = scales * 2.0**self.blocks.element_exp
            value = quantize_unit(parts / unit, self.fmt) * unit
            return self.join(value, x), self.join(unit.expand_as(parts), x)
        exact = scales.double() * self.scale.double()
        # A scale of 0 makes all its elements 0, whose sign is kept.
        zero = torch.copysign(torch.zeros_like(parts), parts).double()
        steps = torch.where(exact == 0, zero, parts.double() / exact)
        element: Any = self.fmt  # nvfp4: e2m1
        value = (_nearest(steps, element) * exact).float()
        quantized = self.join(value, x)
        unit = self.join(exact.float().expand_as(parts), x)
        return _Straight.apply(x, quantized), unit  # type: ignore[no-untyped-call]

    def scale_of(self, x: Tensor) -> Tensor:
        """Return the scale of each element of ``x`` under the scales of its blocks."""
        return self.with_scale(x)[1]

    def settled(self, found: Tensor, nearest: Tensor) -> Tensor:
        """Return ``found`` where its own block scales give it back, else ``nearest``, per block.

        ``found`` holds values under the scales of ``nearest``.  Under powers of two a finer scale
        still has every value of the coarser one; an E4M3 scale that follows a smaller largest
        element has not.
        """
        kept = torch.isclose(self(found), found, rtol=1e-4, atol=0.0)
        whole = self.split((~kept).float()).amax(-1, keepdim=True) == 0
        mask = self.join(whole.expand_as(self.split(found)), found)
        return torch.where(mask, found, nearest)

    def forward(self, x: Tensor) -> Tensor:
        """Return the numbers nearest to ``x`` under the scales of its blocks, same shape."""
        return self.with_scale(x)[0]

    def block_codes(self, x: Tensor) -> block_np.BlockCodes:
        """Return codes and scales of ``x``, moved to (..., groups, length of a group).

        Raises `InputError` on NaN.
        """
        moved = x.detach().movedim(self.axis, -1).cpu().numpy()
        moved = moved.reshape(*moved.shape[:-1], self.groups, -1)
        name = self.module_path or "tensor"
        return block_np.encode(self.blocks, moved, scale=float(self.scale), name=name)

    def codes(self, x: Tensor) -> NDArray[np.uint8]:
        """Return the code word of each element of ``x``; raises `InputError` on NaN."""
        codes = self.block_codes(x).codes
        flat = codes.reshape(*codes.shape[:-2], -1)
        joined: NDArray[np.uint8] = np.moveaxis(flat, -1, self.axis)
        return joined

    def extra_repr(self) -> str:
        """Return what ``print(model)`` shows."""
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"{self.blocks}, blocks of {self.blocks.block} along axis {self.axis}{groups}"
