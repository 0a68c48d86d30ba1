# SPDX-License-Identifier: Apache-2.0
"""Round float32 tensors to the nearest value of a format: the fast twin of `codec_np.quantize`.

A number ``y`` with exponent ``e`` lies on a grid of step ``2**(max(e, emin) - M)``.  Adding and
subtracting ``C = 1.5 * 2**(23 - M) * 2**max(e, emin)`` makes the float32 adder itself round to
that grid, to nearest, ties to even.  ``2**e`` is ``y`` with all but its exponent bits cleared.
The subtraction forgets the sign of zero, so ``copysign`` puts it back.

One loop serves every such format: integers and ``e0mM`` are the case where ``emin`` is above every
exponent.  Formats near the top of the float32 range are first scaled down by an exact power of
two, or ``C`` would overflow.  Codebooks are looked up.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from hwquant import codec_np
from hwquant.formats import Codebook, Format, Integer, Minifloat
from hwquant.progress import note

__all__ = ["fake_quantize", "quantize_unit", "set_compile", "steps_up"]

EXPONENT_MASK: Final = 0x7F800000
CHUNK: Final = 1 << 17  # elements whose buffers stay in the second-level cache
COMPILE_FROM: Final = 1 << 20  # elements: smaller tensors never wait for a compiler
COMPILE_AFTER: Final = 1 << 28  # elements rounded eagerly before a compilation is worth seconds
TOP_EXPONENT: Final = 100  # C of a value with this exponent is far below the float32 limit


@dataclass(frozen=True, slots=True)
class Grid:
    """What the loop needs to know about a format; every number is an exact float32.

    ``low`` and ``high`` clamp, ``floor`` is ``2**emin``, ``magic`` is ``1.5 * 2**(23 - M)``, all
    after scaling the input by ``down``; the result is scaled by ``1 / down``.  On an ``even`` grid
    no value has an exponent above ``emin``.
    """

    low: float
    high: float
    floor: float
    magic: float
    down: float
    keep_sign: bool
    even: bool


@lru_cache(maxsize=1024)
def grid(fmt: Integer | Minifloat) -> Grid:
    """Return the loop constants of ``fmt``."""
    fraction = fmt.bits  # a uniform grid is the subnormal range of a wide enough format
    if isinstance(fmt, Minifloat) and fmt.exponent_bits:
        fraction = fmt.mantissa_bits
    emin = fmt.lsb_exp + fraction
    top = fmt.lsb_exp + fmt.max_int.bit_length() - 1
    shift = max(max(top, emin) - TOP_EXPONENT, 0)
    down = 2.0**-shift
    return Grid(
        low=float(fmt.min_int * fmt.step) * down,
        high=float(fmt.max) * down,
        floor=2.0 ** (emin - shift),
        magic=1.5 * 2.0 ** (23 - fraction),
        down=down,
        keep_sign=fmt.sign_magnitude,
        even=top < emin,
    )


def _round(y: Tensor, low: Tensor, high: Tensor, floor: Tensor, magic: Tensor) -> Tensor:
    """Return ``y`` on the grid; the form `torch.compile` fuses into one pass."""
    y = torch.minimum(torch.maximum(y, low), high)
    power = (y.view(torch.int32) & EXPONENT_MASK).view(torch.float32)
    c = torch.maximum(power, floor) * magic
    return (y + c) - c


def _fused_signed(x: Tensor, scale: Tensor, *constants: Tensor) -> Tensor:
    y = x / scale
    return torch.copysign(_round(y, *constants), y) * scale


def _fused_plain(x: Tensor, scale: Tensor, *constants: Tensor) -> Tensor:
    return _round(x / scale, *constants) * scale


class _Compiler:
    """Decides when compiling pays, and falls back to the eager loop for good if it fails."""

    def __init__(self) -> None:
        setting = os.environ.get("HWQUANT_COMPILE", "auto")
        self.mode: bool | None = {"0": False, "1": True}.get(setting)
        self.seen = 0
        self.functions: dict[bool, Callable[..., Tensor]] = {}

    def wanted(self, x: Tensor) -> bool:
        """Return whether ``x`` should go through the compiled loop."""
        if self.mode is False or x.numel() < COMPILE_FROM or x.device.type != "cpu":
            return False
        if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
            return False
        if self.mode is None:
            self.seen += x.numel()
        return self.mode is True or self.seen > COMPILE_AFTER

    def run(self, x: Tensor, scale: Tensor, g: Grid) -> Tensor | None:
        """Return the rounded tensor, or None when no compiler works here."""
        first = g.keep_sign not in self.functions
        if first:
            body = _fused_signed if g.keep_sign else _fused_plain
            self.functions[g.keep_sign] = torch.compile(body, dynamic=True, fullgraph=True)
        flat = x.reshape(-1)
        try:
            result = self.functions[g.keep_sign](flat, scale, *_constants(g)).view(x.shape)
        except (RuntimeError, OSError, ImportError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            self.give_up(reason[0])
            return None
        # Compilers differ in what they take for an optimisation: (y + c) - c is not y here.
        if first and not _same_bits(result, _eager_chunks(x / scale, g) * scale):
            self.give_up("its result differs from the eager one")
            return None
        return result

    def give_up(self, reason: str) -> None:
        """Use the eager loop from now on, and say why, once."""
        self.mode = False
        note(f"torch.compile is not usable ({reason}); using the eager quantizer")


_compiler = _Compiler()


def _same_bits(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.view(torch.int32), b.view(torch.int32))


def set_compile(mode: bool | None) -> None:
    """Compile the loop for large tensors always (True), never (False), or when it pays (None)."""
    _compiler.mode = mode


@lru_cache(maxsize=1024)
def _constants(g: Grid) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the loop constants as tensors, so that one compiled loop serves all formats."""
    low, high, floor, magic = (torch.tensor(v) for v in (g.low, g.high, g.floor, g.magic))
    return low, high, floor, magic


def _eager(y: Tensor, g: Grid, out: Tensor, power: Tensor) -> None:
    """Write ``y`` on the grid to ``out``; ``power`` is scratch of the same shape."""
    torch.clamp(y, g.low, g.high, out=out)
    if g.even:  # one exponent for all
        c = g.floor * g.magic
        out.add_(c).sub_(c)
        if g.keep_sign:
            torch.copysign(out, y, out=out)
        return
    torch.bitwise_and(out.view(torch.int32), EXPONENT_MASK, out=power.view(torch.int32))
    power.clamp_(min=g.floor).mul_(g.magic)
    out.add_(power).sub_(power)
    if g.keep_sign:
        torch.copysign(out, y, out=out)


def _eager_scaled(x: Tensor, scale: Tensor, g: Grid) -> Tensor:
    """Return ``scale`` (one number) times ``x / scale`` on the grid, in one walk over memory."""
    out = torch.empty_like(x)
    source, target = x.view(-1), out.view(-1)
    size = min(CHUNK, source.numel())
    unit, power = (torch.empty(size, dtype=torch.float32, device=x.device) for _ in range(2))
    for start in range(0, source.numel(), CHUNK):
        piece = source[start : start + CHUNK]
        count = piece.numel()
        torch.div(piece, scale, out=unit[:count])
        found = target[start : start + CHUNK]
        _eager(unit[:count], g, found, power[:count])
        found.mul_(scale)
    return out


def _eager_chunks(y: Tensor, g: Grid) -> Tensor:
    """Return ``y`` on the grid, working through pieces that stay in cache."""
    out = torch.empty_like(y)
    source, target = y.view(-1), out.view(-1)
    power = torch.empty(min(CHUNK, source.numel()), dtype=torch.float32, device=y.device)
    for start in range(0, source.numel(), CHUNK):
        piece = source[start : start + CHUNK]
        _eager(piece, g, target[start : start + CHUNK], power[: piece.numel()])
    return out


@lru_cache(maxsize=256)
def steps_up(fmt: Codebook) -> tuple[Tensor, Tensor]:
    """Return the least float32 that rounds to each value but the lowest, and every value."""
    thresholds = codec_np.steps_up(fmt, np.float32)
    values = codec_np.value_table(fmt)[list(fmt.ordered_codes)]
    return torch.from_numpy(thresholds.copy()), torch.from_numpy(values)


def _look_up(y: Tensor, fmt: Codebook) -> Tensor:
    thresholds, values = (table.to(y.device) for table in steps_up(fmt))
    out = values[torch.bucketize(y, thresholds, right=True)]
    if fmt.sign_magnitude:
        out = torch.copysign(out, y)
    return torch.where(torch.isnan(y), y, out)


def _quantize(y: Tensor, fmt: Format) -> Tensor:
    y = y.detach().contiguous()
    if isinstance(fmt, Codebook):
        return _look_up(y, fmt)
    g = grid(fmt)
    if g.down != 1.0:
        return _eager_chunks(y * g.down, g).mul_(1 / g.down)
    if _compiler.wanted(y):
        result = _compiler.run(y, torch.tensor(1.0), g)
        if result is not None:
            return result
    return _eager_chunks(y, g)


class _StraightThrough(torch.autograd.Function):
    """Rounding whose gradient is 1 inside the format's range and 0 where it saturates."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, fmt: Format) -> Tensor:
        ctx.save_for_backward(y)
        ctx.fmt = fmt
        return _quantize(y, fmt)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        low, high = float(ctx.fmt.min_int * ctx.fmt.step), float(ctx.fmt.max)
        return grads[0] * ((y >= low) & (y <= high)), None


def quantize_unit(y: Tensor, fmt: Format) -> Tensor:
    """Return the nearest value of ``fmt`` for each element of float32 ``y``, saturating.

    Bit-equal to `hwquant.codec_np.quantize`, the sign of zero included; NaN passes through.
    The gradient is 1 where ``fmt.min <= y <= fmt.max`` and 0 elsewhere.

    Raises `TypeError` unless ``y`` is float32.
    """
    if y.dtype is not torch.float32:
        raise TypeError(f"quantize_unit takes float32, got {y.dtype}")
    if y.requires_grad and torch.is_grad_enabled():
        result: Tensor = _StraightThrough.apply(y, fmt)  # type: ignore[no-untyped-call]
        return result
    return _quantize(y, fmt)


def fake_quantize(x: Tensor, scale: Tensor, fmt: Format) -> Tensor:
    """Return ``scale * quantize_unit(x / scale, fmt)``; ``scale`` broadcasts.

    Large tensors with one scale take a single fused pass where a compiler is present.
    """
    needs_grad = torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad)
    one_pass = not needs_grad and scale.dim() == 0 and x.dtype is torch.float32
    if one_pass and not isinstance(fmt, Codebook):
        g = grid(fmt)
        if g.down == 1.0 and _compiler.wanted(x):
            result = _compiler.run(x.detach().contiguous(), scale, g)
            if result is not None:
                return result
        if g.down == 1.0:
            return _eager_scaled(x.detach().contiguous(), scale, g)
    return quantize_unit(x / scale, fmt) * scale
