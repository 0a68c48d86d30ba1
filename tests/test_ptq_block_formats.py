# SPDX-License-Identifier: Apache-2.0
"""Rounding steps on block-scaled formats: block scales stay, codes are valid, errors fall."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hwquant.errors import SpecError
from hwquant.nn.codes import quantized_layers
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq import Recipe
from hwquant.ptq.quantize import quantize

FORMATS = ["mxfp4", "nvfp4", "mxint8", "mxfp6e3m2"]
STEPS = ["gptq", "gptq:act_order=true", "gpfq", "qronos"]
STEPS += [f"{name}:iterations=80" for name in ("adaround", "flexround", "qdrop")]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(7)
    layers = [nn.Conv2d(3, 40, 3), nn.ReLU(), nn.Conv2d(40, 8, 3, groups=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128, 6)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(48, 3, 8, 8, generator=torch.Generator().manual_seed(8))


def loss(model, net, images):
    return float((model(images) - net(images)).square().mean().detach())


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fmt", FORMATS)
def test_steps_lower_the_error_and_keep_the_grid(net, images, fmt, step):
    act = "nvfp4" if fmt == "nvfp4" else "mxfp8e4m3"
    plain = quantize(net, Recipe(fmt, act, scale="float", steps=["calibrate"]), images)
    found = quantize(net, Recipe(fmt, act, scale="float", steps=["calibrate", step]), images)
    changed = 0
    for (_, layer), (_, start) in zip(
        quantized_layers(found), quantized_layers(plain), strict=True
    ):
        quantizer, weight = weight_quantizer(layer), layer.weight.detach()
        used = quantizer(weight)
        torch.testing.assert_close(quantizer(used), used, rtol=1e-5, atol=0)  # on the grid
        nearest = weight_quantizer(start)(start.weight.detach())
        changed += int((~torch.isclose(used, nearest)).sum())
    assert changed > 0
    limit = 1.02 if fmt == "mxint8" else 1.0  # eight bits leave little to gain
    assert loss(found, net, images) < limit * loss(plain, net, images)


def test_a_finer_power_of_two_scale_keeps_every_value(net, images):
    """Why MX weights may lose their largest element; and why NVFP4 blocks are put back."""
    model = quantize(net, Recipe("mxfp4", "mxfp8e4m3", steps=["calibrate"]), images)
    layer = dict(quantized_layers(model))["5"]
    quantizer, weight = weight_quantizer(layer), layer.weight.detach()
    value = quantizer(weight)
    scale = quantizer.scale_of(weight)
    lowered = torch.where(value.abs() >= 3 * scale, value / 4, value)  # 6, 4, 3 -> 1.5, 1, 0.75
    lowered = torch.where(lowered.abs() == 0.75 * scale, torch.zeros_like(value), lowered)
    assert torch.equal(quantizer(lowered), lowered)
    assert torch.equal(quantizer.settled(lowered, value), lowered)
    other = quantize(net, Recipe("nvfp4", "nvfp4", steps=["calibrate"]), images)
    layer = dict(quantized_layers(other))["5"]
    quantizer, weight = weight_quantizer(layer), layer.weight.detach()
    value = quantizer(weight)
    scale = quantizer.scale_of(weight)
    lowered = torch.where(value.abs() >= 5 * scale, value / 6 * 4, value)
    assert not torch.allclose(quantizer(lowered), lowered)
    settled = quantizer.settled(lowered, value)
    torch.testing.assert_close(quantizer(settled), settled, rtol=1e-5, atol=0)


def test_steps_that_choose_scales_or_formats_are_refused(net, images):
    for step in ("act_scales", "learned_bias", "pd_scale"):
        with pytest.raises(SpecError, match="cannot do block-scaled formats"):
            quantize(net, Recipe("mxfp4", "mxfp4", steps=["calibrate", step]), images)
