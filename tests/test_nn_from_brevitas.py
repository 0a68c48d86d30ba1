# SPDX-License-Identifier: Apache-2.0
"""Models quantized with Brevitas come in where their quantizers map to our formats."""

from __future__ import annotations

import pytest
import torch
from brevitas import nn as qnn
from brevitas.inject.enum import FloatToIntImplType
from brevitas.quant import (
    Int8ActPerTensorFixedPoint,
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFixedPoint,
    Int8WeightPerTensorFloat,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    Uint8ActPerTensorFixedPoint,
    Uint8ActPerTensorFloat,
)
from brevitas.quant.float import Fp8e4m3ActPerTensorFloat, Fp8e4m3WeightPerTensorFloat
from brevitas.quant.float_quant_ocp import (
    Fp8e5m2OCPActPerTensorFloat,
    Fp8e5m2OCPWeightPerTensorFloat,
)
from brevitas.quant_tensor import IntQuantTensor
from torch import nn

from hwquant import Recipe, load_quantized, quantize, save_quantized
from hwquant.errors import UnsupportedError
from hwquant.nn.codes import layer_codes, quantized_layers, workload

# weight, activation (after ReLU), input quantizer, the formats they map to
CASES = {
    "int8": (Int8WeightPerTensorFloat, Uint8ActPerTensorFloat, Int8ActPerTensorFloat),
    "channel": (Int8WeightPerChannelFloat, Uint8ActPerTensorFloat, Int8ActPerTensorFloat),
    "fixed": (
        Int8WeightPerTensorFixedPoint,
        Uint8ActPerTensorFixedPoint,
        Int8ActPerTensorFixedPoint,
    ),
    "int4": (
        Int8WeightPerChannelFloat.let(bit_width=4),
        Uint8ActPerTensorFloat.let(bit_width=4),
        Int8ActPerTensorFloat.let(bit_width=4),
    ),
    "e4m3": (Fp8e4m3WeightPerTensorFloat, Fp8e4m3ActPerTensorFloat, Fp8e4m3ActPerTensorFloat),
    "ocp": (
        Fp8e5m2OCPWeightPerTensorFloat,
        Fp8e5m2OCPActPerTensorFloat,
        Fp8e5m2OCPActPerTensorFloat,
    ),
}
FLOORING = Uint8ActPerTensorFloat.let(float_to_int_impl_type="floor")
FORMATS = {
    "int8": ("int8n", "int8", "uint8"),
    "channel": ("int8n", "int8", "uint8"),
    "fixed": ("int8n", "int8", "uint8"),
    "int4": ("int4n", "int4", "uint4"),
    "e4m3": ("e4m3", "e4m3", "e4m3"),
    "ocp": ("e5m2ieee", "e5m2ieee", "e5m2ieee"),
}


def make(weight, act, first, **options):
    torch.manual_seed(0)
    return nn.Sequential(
        qnn.QuantIdentity(act_quant=first, return_quant_tensor=first is not None),
        qnn.QuantConv2d(1, 4, 3, weight_quant=weight, bias=False),
        nn.BatchNorm2d(4),
        qnn.QuantReLU(act_quant=act, return_quant_tensor=True),
        nn.MaxPool2d(2),
        nn.Flatten(),
        qnn.QuantLinear(36, 5, weight_quant=weight, bias=False, **options),
    )


def trained(*quantizers, **options):
    """Return the model after a few forward passes that settle its scales, and the data."""
    model = make(*quantizers, **options).train()
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        for _ in range(3):
            model(x)
    return model.eval(), x


@pytest.mark.parametrize("case", CASES)
def test_formats_map_and_outputs_agree(case, tmp_path):
    model, x = trained(*CASES[case])
    qmodel = quantize(model, Recipe(), x)
    weight, first, act = FORMATS[case]
    found = [(str(r.weight), str(r.act)) for r in workload(qmodel, x).layers]
    assert found == [(weight, first), (weight, act)]
    with torch.no_grad():
        assert torch.equal(qmodel(x), model(x))  # no bias: the very same arithmetic
    for name, layer in quantized_layers(qmodel):
        fmt, codes, scale = layer_codes(layer)
        theirs = model.get_submodule(name).quant_weight()
        if isinstance(theirs, IntQuantTensor):
            assert (layer_codes(layer).integers == theirs.int().numpy()).all()
        assert codes.shape == tuple(theirs.value.shape)
        assert str(fmt) == weight
        assert scale.size in (1, theirs.value.shape[0])
    save_quantized(qmodel, tmp_path / "q.pt")
    assert torch.equal(load_quantized(tmp_path / "q.pt", model)(x), qmodel(x))


def test_any_weight_rounding_is_kept():
    """Weights come in as quantized values, so a quantizer that floors is no obstacle."""
    weight = Int8WeightPerTensorFloat.let(float_to_int_impl_type=FloatToIntImplType.FLOOR)
    model, x = trained(weight, Uint8ActPerTensorFloat, Int8ActPerTensorFloat)
    with torch.no_grad():
        assert torch.equal(quantize(model, Recipe(), x)(x), model(x))


def test_a_training_loop_of_brevitas_comes_in():
    model, x = trained(*CASES["int4"])
    labels = torch.randint(0, 5, (16,), generator=torch.Generator().manual_seed(2))
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    model.train()
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), labels).backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        assert torch.equal(quantize(model, Recipe(), x)(x), model(x))


def test_input_and_output_quantizers_of_a_layer_are_found():
    layer = qnn.QuantLinear(
        6, 3, bias=True, input_quant=Int8ActPerTensorFloat, output_quant=Int8ActPerTensorFloat
    )
    x = torch.randn(8, 6, generator=torch.Generator().manual_seed(3))
    model = nn.Sequential(layer).train()
    model(x)
    model.eval()
    qmodel = quantize(model, Recipe(), x)
    assert [m.act_paths for _, m in quantized_layers(qmodel)] == [("act_quant.0",)]
    with torch.no_grad():
        step = qmodel.get_submodule("act_quant.0_out")
        assert (qmodel(x) - model(x)).abs().max() <= step.act_quant.scale() * 1.01


@pytest.mark.parametrize(
    ("quantizers", "options", "message"),
    [
        ((ShiftedUint8WeightPerTensorFloat, *CASES["int8"][1:]), {}, "'1'.*zero point"),
        ((*CASES["int8"][:2], ShiftedUint8ActPerTensorFloat), {}, "'act_quant.0'.*zero point"),
        ((None, *CASES["int8"][1:]), {}, "layer '1' .QuantConv2d. has no weight quantizer"),
        ((*CASES["int8"][:2], None), {}, "layer '1' reads 'input_1', which no quantizer"),
        (
            (CASES["int8"][0], FLOORING, CASES["int8"][2]),
            {},
            "'act_quant.3' does not round to nearest",
        ),
    ],
)  # fmt: skip
def test_what_does_not_map_is_named(quantizers, options, message):
    model, x = trained(*quantizers, **options)
    with pytest.raises(UnsupportedError, match=message):
        quantize(model, Recipe(), x)
