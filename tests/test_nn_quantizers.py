# SPDX-License-Identifier: Apache-2.0
"""Our quantizers inside real Brevitas layers: quant tensors, copies, state dicts, code words."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from brevitas import nn as qnn
from brevitas.quant_tensor import FloatQuantTensor, IntQuantTensor
from torch import nn

from hwquant import codec_np
from hwquant.errors import SpecError
from hwquant.formats import Integer, parse
from hwquant.nn.codes import layer_codes
from hwquant.nn.quantizers import (
    Quantizer,
    act_injector,
    act_quantizer,
    is_integer_grid,
    weight_injector,
    weight_quantizer,
)

SCALES = torch.tensor([0.5, 0.25, 1.0, 0.125]).reshape(4, 1, 1, 1)


def conv(fmt):
    torch.manual_seed(0)
    injector = weight_injector(Quantizer(fmt, channel_axis=0, module_path="conv", scale=SCALES))
    return qnn.QuantConv2d(3, 4, 3, weight_quant=injector, bias=True).eval()


def test_quant_weight_is_the_proper_quant_tensor_and_codes_decode_to_it(fmt):
    layer = conv(fmt)
    tensor = layer.quant_weight()
    expected = IntQuantTensor if is_integer_grid(fmt) else FloatQuantTensor
    assert type(tensor) is expected
    found, codes, scale = layer_codes(layer)
    assert found == fmt
    values = codec_np.values(fmt, codes) * scale
    assert np.array_equal(values, tensor.value.detach().numpy())
    assert bool(tensor.signed) == (fmt.min_int < 0)
    if is_integer_grid(fmt):
        assert tensor.is_valid
        assert np.array_equal(tensor.int().numpy(), layer_codes(layer).integers)
    else:
        assert (int(tensor.exponent_bit_width), int(tensor.mantissa_bit_width)) == (
            fmt.exponent_bits,
            fmt.mantissa_bits,
        )
        assert int(tensor.exponent_bias) == fmt.exponent_bias
        assert torch.equal(tensor.value, tensor.value.detach())


def test_activation_layers_return_quant_tensors(fmt):
    injector = act_injector(Quantizer(fmt, module_path="act", scale=torch.tensor(0.5)))
    layer = qnn.QuantIdentity(act_quant=injector, return_quant_tensor=True).eval()
    x = torch.randn(5, 7, generator=torch.Generator().manual_seed(1)) * 4
    tensor = layer(x)
    assert isinstance(tensor, IntQuantTensor if is_integer_grid(fmt) else FloatQuantTensor)
    assert np.array_equal(tensor.value.numpy(), codec_np.quantize(fmt, x.numpy() * 2) / 2)
    assert act_quantizer(layer).fmt == fmt
    plain = qnn.QuantIdentity(act_quant=injector).eval()
    assert torch.equal(plain(x), tensor.value)


@pytest.mark.parametrize("name", ["int4", "e2m1", "e0m3", "e4m3fn"])
def test_scales_survive_copies_state_dicts_new_weights_and_training_mode(name):
    """Brevitas rebuilds quantizers on each of these events; ours stay frozen."""
    layer = conv(parse(name))
    expected = layer.quant_weight().value.detach().clone()
    other = copy.deepcopy(layer)
    assert weight_quantizer(other) is not weight_quantizer(layer)
    other.load_state_dict(layer.state_dict())
    other.train().eval()
    other.weight = nn.Parameter(layer.weight.detach().clone())
    assert torch.equal(other.quant_weight().value, expected)
    weight_quantizer(other).set_scale(SCALES * 2)
    assert torch.equal(weight_quantizer(layer).scale, SCALES)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(weight_quantizer(other).scale, SCALES)


def test_layer_output_is_the_product_of_quantized_values():
    layer = conv(parse("e2m1"))
    x = torch.randn(2, 3, 6, 6)
    weight = layer.quant_weight().value
    assert torch.equal(layer(x), nn.functional.conv2d(x, weight, layer.bias))


def test_quantization_aware_gradients_reach_the_weight():
    layer = conv(parse("int4")).train()
    layer(torch.ones(1, 3, 6, 6)).sum().backward()
    inside = (layer.weight / SCALES >= -8) & (layer.weight / SCALES <= 7)
    assert torch.equal(layer.weight.grad != 0, inside)


def test_scales_are_checked():
    quantizer = Quantizer(parse("int4"), module_path="head")
    for bad, message in (
        (0.0, "not positive"),
        (float("nan"), "not positive"),
        (0.3, "power of two"),
    ):
        with pytest.raises(SpecError, match=f"head: a scale is .*{message}"):
            quantizer.set_scale(torch.tensor(bad))
    assert Quantizer(parse("int4"), "float", scale=torch.tensor(0.3)).scale == np.float32(0.3)
    with pytest.raises(SpecError, match="float scales"):
        Quantizer(parse("int4"), "float").exponents()
    quantizer.set_scale(torch.tensor(2.0**-9))
    assert quantizer.exponents() == -9


def test_layers_without_our_quantizer_are_named():
    with pytest.raises(SpecError, match="Conv2d has no hwquant quantizer"):
        weight_quantizer(nn.Conv2d(1, 1, 1))
    with pytest.raises(SpecError, match="QuantConv2d has no hwquant quantizer"):
        layer_codes(qnn.QuantConv2d(1, 1, 1))


def test_codes_of_a_float_scale_are_those_of_the_forward_pass():
    quantizer = Quantizer(parse("e4m3"), "float", scale=torch.tensor(0.0371))
    x = torch.randn(2000, generator=torch.Generator().manual_seed(5))
    values = codec_np.values(quantizer.fmt, quantizer.codes(x)) * np.float32(0.0371)
    assert np.array_equal(values, quantizer(x).numpy())


def test_integers_have_no_negative_zero():
    x = torch.tensor([-0.1, -0.0, 0.1])
    assert not torch.signbit(Quantizer(Integer(4))(x)).any()
    assert torch.signbit(Quantizer(parse("e2m1"))(x)).tolist() == [True, True, False]
