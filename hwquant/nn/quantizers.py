# SPDX-License-Identifier: Apache-2.0
"""A format, a scale, and the Brevitas proxies that carry them.

`Quantizer` is the one quantizer of this package.  `weight_injector` and `act_injector` wrap one
in the dependency injector Brevitas layers expect, so that ``QuantConv2d(..., weight_quant=...)``
and ``QuantIdentity(act_quant=...)`` are ordinary Brevitas layers whose quant tensors are right:
integers, ``e0mM`` (sign-magnitude integers) and codebooks (the integers they decode to) use the
integer proxies, minifloats the float ones.
"""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

import numpy as np
import torch
from brevitas.inject import ExtendedInjector, value
from brevitas.proxy.float_parameter_quant import WeightFloatQuantProxyFromInjector
from brevitas.proxy.float_runtime_quant import ActFloatQuantProxyFromInjector
from brevitas.proxy.parameter_quant import WeightQuantProxyFromInjector
from brevitas.proxy.runtime_quant import ActQuantProxyFromInjector
from numpy.typing import NDArray
from torch import Tensor, nn

from hwquant import codec_np
from hwquant.errors import SpecError
from hwquant.fixed import signed_bits
from hwquant.formats import Codebook, Format, Integer, Minifloat
from hwquant.nn.kernel import fake_quantize

__all__ = ["Quantizer", "ScaleKind", "act_injector", "act_quantizer", "is_integer_grid"]
__all__ += ["weight_injector", "weight_quantizer"]

ScaleKind = Literal["po2", "float"]


def is_integer_grid(fmt: Format) -> bool:
    """Return whether ``fmt`` is an evenly spaced integer grid (``intN``, ``uintN``, ``e0mM``)."""
    return isinstance(fmt, Integer) or (isinstance(fmt, Minifloat) and fmt.exponent_bits == 0)


def _is_float(fmt: Format) -> TypeGuard[Minifloat]:
    """Return whether Brevitas sees floats; a codebook is to it the integers it decodes to."""
    return isinstance(fmt, Minifloat) and fmt.exponent_bits > 0


def _integer_bits(fmt: Format) -> int:
    """Return the width of what Brevitas takes for integers."""
    if not isinstance(fmt, Codebook):
        return fmt.bits
    return signed_bits(fmt.min_int, fmt.max_int) - (not fmt.signed)


class Quantizer(nn.Module):
    """Map a tensor to ``scale * q`` where ``q`` is the nearest value of ``fmt`` to ``x / scale``.

    ``scale`` is a float32 buffer that broadcasts against the tensor: shape () per tensor, or
    ones except along ``channel_axis``.  It is set once, by `set_scale`, and never recomputed.
    ``module_path`` names the layer the quantizer belongs to.
    """

    scale: Tensor

    def __init__(
        self,
        fmt: Format,
        scale_kind: ScaleKind = "po2",
        channel_axis: int | None = None,
        module_path: str = "",
        scale: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.fmt = fmt
        self.scale_kind: ScaleKind = scale_kind
        self.channel_axis = channel_axis
        self.module_path = module_path
        self.register_buffer("scale", torch.tensor(1.0))
        if scale is not None:
            self.set_scale(scale)

    def set_scale(self, scale: Tensor) -> None:
        """Fix the scale.

        Raises `SpecError` unless every scale is positive and finite, and an exact power of two
        where ``scale_kind`` is ``"po2"``.
        """
        new = scale.detach().to(torch.float32)
        if not bool(((new > 0) & torch.isfinite(new)).all()):
            raise SpecError(
                f"{self.module_path or 'quantizer'}: a scale is not positive and finite"
            )
        if self.scale_kind == "po2" and not bool((torch.frexp(new)[0] == 0.5).all()):
            raise SpecError(f"{self.module_path or 'quantizer'}: a scale is not a power of two")
        self.scale = new.clone()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``scale * quantize_unit(x / scale)``, the shape of ``x``."""
        return fake_quantize(x, self.scale, self.fmt)

    def with_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the quantized ``x`` and the scale, which broadcasts against it."""
        return self(x), self.scale

    def scale_of(self, x: Tensor) -> Tensor:
        """Return the scale of each element of ``x``, in its shape."""
        return self.scale.expand_as(x)

    def codes(self, x: Tensor) -> NDArray[np.uint8]:
        """Return the code word of each element of ``x``; raises `InputError` on NaN."""
        unit = (x.detach() / self.scale).cpu().numpy()
        return codec_np.encode(self.fmt, unit, self.module_path or "tensor")

    def exponents(self) -> NDArray[np.int64]:
        """Return log2 of each scale, shape of ``scale``; raises `SpecError` for float scales."""
        if self.scale_kind != "po2":
            raise SpecError(
                f"{self.module_path or 'quantizer'} has float scales, not powers of two"
            )
        exponents: NDArray[np.int64] = torch.frexp(self.scale)[1].cpu().numpy().astype(np.int64) - 1
        return exponents

    def extra_repr(self) -> str:
        """Return what ``print(model)`` shows."""
        shape = "per tensor" if self.channel_axis is None else f"per channel {self.channel_axis}"
        return f"{self.fmt}, {self.scale_kind} scale {shape}"


class _TensorQuant(nn.Module):
    """Give a `Quantizer` the tuple interface of a Brevitas ``tensor_quant``.

    The float tuple is (value, scale, zero point, E, M, bias, saturating, inf, nan); the integer
    one (value, scale, zero point, bit width), where ``scale`` includes the step of the format.
    """

    metadata: Tensor

    def __init__(self, quantizer: Quantizer) -> None:
        super().__init__()
        self.quantizer = quantizer
        fmt = quantizer.fmt
        numbers = [0.0, float(_integer_bits(fmt))]
        if _is_float(fmt):
            numbers = [0.0, fmt.exponent_bits, fmt.mantissa_bits, fmt.exponent_bias]
        self.register_buffer("metadata", torch.tensor(numbers), persistent=False)

    def forward(self, x: Tensor) -> tuple[Any, ...]:
        q, fmt = self.quantizer, self.quantizer.fmt
        metadata = list(self.metadata.unbind())
        quantized, scale = q.with_scale(x)
        if not _is_float(fmt):
            return (quantized, scale * float(fmt.step), *metadata)
        return (quantized, scale, *metadata, True, *_special_codes(fmt))


def _special_codes(fmt: Minifloat) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Return the mantissas that mean inf and NaN at the top exponent, as Brevitas writes them."""
    if not fmt.specials:
        return None, None
    mantissas = [f"{m:0{fmt.mantissa_bits}b}" for m in range(1 << fmt.mantissa_bits)]
    if fmt.specials == "fn":
        return None, (mantissas[-1],)
    return (mantissas[0],), tuple(mantissas[1:])


class _Frozen:
    """A proxy that keeps its quantizer: Brevitas rebuilds it from statistics on many events."""

    def init_tensor_quant(self, *args: Any, **kwargs: Any) -> None:
        built = "fused_activation_quant_proxy" in self._modules or self.tensor_quant is not None  # type: ignore[attr-defined]
        if not built:
            super().init_tensor_quant(*args, **kwargs)  # type: ignore[misc]


class WeightIntProxy(_Frozen, WeightQuantProxyFromInjector):  # type: ignore[misc]
    """Integer weights with a frozen quantizer."""


class WeightFloatProxy(_Frozen, WeightFloatQuantProxyFromInjector):  # type: ignore[misc]
    """Minifloat weights with a frozen quantizer."""


class ActIntProxy(_Frozen, ActQuantProxyFromInjector):  # type: ignore[misc]
    """Integer activations with a frozen quantizer."""


class ActFloatProxy(_Frozen, ActFloatQuantProxyFromInjector):  # type: ignore[misc]
    """Minifloat activations with a frozen quantizer."""


def _injector(proxy: type[Any], quantizer: Quantizer) -> type[ExtendedInjector]:
    """Return an injector class that hands ``quantizer`` to ``proxy``."""
    tensor_quant = _TensorQuant(quantizer)
    fmt = quantizer.fmt
    namespace = {
        "proxy_class": proxy,
        "signed": fmt.min_int < 0,
        "narrow_range": fmt.min_int == -fmt.max_int,
        "tensor_quant": value(lambda: tensor_quant),
    }
    return type("HwquantInjector", (ExtendedInjector,), namespace)


def weight_injector(quantizer: Quantizer) -> type[ExtendedInjector]:
    """Return what a Brevitas layer takes as ``weight_quant``."""
    integer = not _is_float(quantizer.fmt)
    return _injector(WeightIntProxy if integer else WeightFloatProxy, quantizer)


def act_injector(quantizer: Quantizer) -> type[ExtendedInjector]:
    """Return what a Brevitas layer takes as ``act_quant``."""
    integer = not _is_float(quantizer.fmt)
    return _injector(ActIntProxy if integer else ActFloatProxy, quantizer)


def _find(proxy: nn.Module, what: str) -> Quantizer:
    for module in proxy.modules():
        if isinstance(module, Quantizer):
            return module
    raise SpecError(f"{what} has no hwquant quantizer; pass the model through hwquant.quantize")


def weight_quantizer(layer: nn.Module) -> Quantizer:
    """Return the weight quantizer of a quantized layer.

    Raises `SpecError` when the layer's weights are not quantized by this package.
    """
    return _find(getattr(layer, "weight_quant", nn.Identity()), type(layer).__name__)


def act_quantizer(layer: nn.Module) -> Quantizer:
    """Return the quantizer of a ``QuantIdentity``; raises `SpecError` as `weight_quantizer`."""
    return _find(getattr(layer, "act_quant", nn.Identity()), type(layer).__name__)
