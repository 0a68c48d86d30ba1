# SPDX-License-Identifier: Apache-2.0
"""One factor per channel against the weights of a layer: their ranges, and their product."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from hwquant.ptq.regions import NORMS

__all__ = ["input_range", "output_range", "scale_inputs", "scale_outputs"]


def _input_factors(layer: Any, factors: Tensor, repeat: int) -> Tensor:
    """Return ``factors`` per channel so that it broadcasts against the weight of ``layer``."""
    per_input = factors.repeat_interleave(repeat)
    if isinstance(layer, nn.Linear):
        return per_input.reshape(1, -1)
    tail = [1] * (layer.weight.dim() - 2)
    if isinstance(layer, nn.ConvTranspose2d):
        return per_input.reshape(-1, 1, *tail)
    groups, inputs, outputs = layer.groups, layer.in_channels, layer.out_channels
    split = per_input.reshape(groups, 1, inputs // groups)
    spread = split.expand(-1, outputs // groups, -1)
    return spread.reshape(outputs, inputs // groups, *tail)


def _output_factors(layer: Any, factors: Tensor) -> Tensor:
    """Return ``factors`` so that it broadcasts against the weight of a layer or norm."""
    if isinstance(layer, NORMS):
        return factors
    if not isinstance(layer, nn.ConvTranspose2d):
        return factors.reshape(-1, *[1] * (layer.weight.dim() - 1))
    groups = layer.groups  # (in, out / groups, kh, kw), inputs ordered by group
    spread = factors.reshape(groups, 1, -1).expand(-1, layer.in_channels // groups, -1)
    return spread.reshape(layer.in_channels, -1, 1, 1)


def _largest(layer: Any, spread: Callable[[Tensor], Tensor], channels: int) -> Tensor:
    """Return the largest magnitude of the weights that each channel's factor multiplies."""
    weight = layer.weight.detach().double().abs()
    owner = spread(torch.arange(channels, dtype=torch.float64)).expand_as(weight).long()
    found = torch.zeros(channels, dtype=torch.float64)
    return found.scatter_reduce(0, owner.reshape(-1), weight.reshape(-1), "amax")


def input_range(layer: Any, channels: int, repeat: int) -> Tensor:
    """Return the largest weight magnitude per channel that ``layer`` reads, float64."""
    return _largest(layer, lambda f: _input_factors(layer, f, repeat), channels)


def output_range(layer: Any, channels: int, bias: float = 0.0) -> Tensor:
    """Return the largest weight magnitude per channel that ``layer`` makes, float64.

    ``bias`` times the magnitude of the bias counts as a weight.
    """
    found = _largest(layer, lambda f: _output_factors(layer, f), channels)
    if not bias or getattr(layer, "bias", None) is None:
        return found
    return torch.maximum(found, bias * layer.bias.detach().double().abs())


def scale_inputs(layer: Any, factors: Tensor, repeat: int = 1) -> None:
    """Multiply the weights of ``layer`` by one factor per input channel."""
    _replace(layer, "weight", layer.weight.double() * _input_factors(layer, factors, repeat))


def scale_outputs(layer: Any, factors: Tensor) -> None:
    """Multiply weights and bias of a layer or norm by one factor per output channel."""
    _replace(layer, "weight", layer.weight.double() * _output_factors(layer, factors))
    if getattr(layer, "bias", None) is not None:
        _replace(layer, "bias", layer.bias.double() * factors)


def _replace(layer: nn.Module, name: str, new: Tensor) -> None:
    """Give ``layer`` a parameter of its own: it may share the old one with another layer."""
    old: Any = getattr(layer, name)
    parameter = nn.Parameter(new.detach().to(old.dtype), requires_grad=old.requires_grad)
    setattr(layer, name, parameter)
