# SPDX-License-Identifier: Apache-2.0
"""Quantized copies of real modules: exact integers inside, the float model untouched."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import hwquant
from hwquant import Recipe, codec_np, quantize
from hwquant.errors import SpecError
from hwquant.formats import parse
from hwquant.nn.codes import (
    accumulator_bits,
    act_quantizers,
    layer_codes,
    quantized_layers,
    weight_rows,
    workload,
)
from hwquant.nn.layers import MatMul, accumulator_unit, bias_integers
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq.fold import fold_batch_norms
from hwquant.ptq.trace import propagate_shapes, trace
from hwquant.zoo.resolve import resolve_data

PAIRS = [("int4", "int8"), ("e2m1", "e2m1"), ("int8", "uint8"), ("e3m0", "ue2m2"), ("e0m3", "e2m3")]


class Residual(nn.Module):
    """Conv, BN, residual, depthwise, transposed convolution, pooling, linear."""

    def __init__(self):
        super().__init__()
        self.stem, self.bn0 = nn.Conv2d(2, 6, 3, padding=1, stride=2), nn.BatchNorm2d(6)
        self.conv, self.bn1 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.depth, self.bn2 = nn.Conv2d(6, 6, 3, groups=6, padding=1), nn.BatchNorm2d(6)
        self.up, self.bn3 = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2), nn.BatchNorm2d(4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head, self.bn4 = nn.Linear(4, 5), nn.BatchNorm1d(5)

    def forward(self, x):
        x = functional.relu(self.bn0(self.stem(x)))
        x = functional.relu(x + self.bn1(self.conv(x)))
        x = functional.relu(self.bn2(self.depth(x)))
        x = torch.relu(self.bn3(self.up(x)))
        return self.bn4(self.head(self.pool(x).flatten(1)))


class HandAttention(nn.Module):
    def __init__(self, width=8, heads=2):
        super().__init__()
        self.heads, self.qkv, self.proj = (
            heads,
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        weights = (q @ k.transpose(-2, -1) * (c // self.heads) ** -0.5).softmax(-1)
        return self.proj((weights @ v).transpose(1, 2).reshape(b, n, c))


class Fused(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x):
        return self.attention(x, x, x)[0]


class Functional(nn.Module):
    def __init__(self, mode):
        super().__init__()
        self.mode, self.qkv = mode, nn.Linear(8, 24)
        self.register_buffer("mask", torch.ones(5, 5, dtype=torch.bool).tril())

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        options = {
            "plain": {},
            "causal": {"is_causal": True},
            "mask": {"attn_mask": self.mask},
            "scale": {"scale": 0.25},
        }[self.mode]
        return functional.scaled_dot_product_attention(q, k, v, **options)


def trained(model, *shape, seed=0):
    """Return ``model`` with BN statistics from data, in evaluation mode, and that data."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(32, *shape, generator=generator)
    model.train()
    with torch.no_grad():
        for _ in range(4):
            model(x)
    return model.eval(), x


@pytest.fixture(scope="module")
def residual():
    torch.manual_seed(0)
    return trained(Residual(), 2, 8, 8)


@pytest.fixture(scope="module")
def pages():
    """Whole numbers in the shape of an image: float inputs of the attention models."""
    return torch.randn(16, 5, 8, generator=torch.Generator().manual_seed(4))


def integer_result(layer, x_integers, w_integers, bias):
    """Return the layer's exact accumulators, by int64 arithmetic on unfolded patches."""
    if isinstance(layer, nn.Linear):
        return x_integers @ w_integers.T + bias
    x = x_integers.double()
    bias = bias.reshape(-1, 1, 1)
    if isinstance(layer, nn.ConvTranspose2d):  # float64 on integers below 2**53 is exact
        options = (layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation)
        return functional.conv_transpose2d(x, w_integers.double(), None, *options).long() + bias
    n, c = x.shape[:2]
    patches = functional.unfold(x, layer.kernel_size, padding=layer.padding, stride=layer.stride)
    groups = layer.groups
    patches = patches.long().reshape(n, groups, -1, patches.shape[-1])
    weights = w_integers.reshape(groups, layer.out_channels // groups, -1)
    side = int(patches.shape[-1] ** 0.5)
    del c
    return torch.matmul(weights, patches).reshape(n, layer.out_channels, side, side) + bias


def layer_inputs_and_outputs(qmodel, x):
    seen = {}
    handles = [
        layer.register_forward_hook(lambda m, a, out, name=name: seen.update({name: (m, a, out)}))
        for name, layer in quantized_layers(qmodel)
    ]
    with torch.no_grad():
        qmodel(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize(("weight", "act"), PAIRS)
def test_every_layer_equals_integer_arithmetic(residual, weight, act, granularity):
    """Codes -> exact integers -> accumulators equal the layer's float32 output, bit for bit."""
    model, x = residual
    qmodel = quantize(model, Recipe(weight, act, granularity=granularity), x)
    seen = layer_inputs_and_outputs(qmodel, x[:4])
    assert len(seen) == 5
    for name, (layer, (given,), output) in seen.items():
        (quantizer,) = act_quantizers(qmodel, layer)
        codes = quantizer.codes(given)
        x_integers = torch.from_numpy(codec_np.decode(quantizer.fmt, codes))
        unit_in = float(quantizer.scale) * float(quantizer.fmt.step)
        assert torch.equal(x_integers.double() * unit_in, given.double()), name
        fmt, w_codes, scale = layer_codes(layer)
        assert fmt == weight_quantizer(layer).fmt
        assert scale.size == 1 or granularity == "per_channel"
        w_integers = torch.from_numpy(codec_np.decode(fmt, w_codes))
        bias = torch.from_numpy(bias_integers(layer))
        exact = integer_result(layer, x_integers, w_integers, bias)
        assert accumulator_bits(qmodel, layer) <= 24
        unit = torch.from_numpy(accumulator_unit(layer, quantizer))
        shaped = unit if isinstance(layer, nn.Linear) else unit.reshape(-1, 1, 1)
        assert torch.equal(exact.double() * shaped, output.double()), name


def test_negative_control_one_wrong_code_changes_the_result(residual):
    model, x = residual
    qmodel = quantize(model, Recipe("int4", "int8"), x)
    (layer, (given,), output) = layer_inputs_and_outputs(qmodel, x[:4])["conv"]
    (quantizer,) = act_quantizers(qmodel, layer)
    x_integers = torch.from_numpy(codec_np.decode(quantizer.fmt, quantizer.codes(given)))
    w_integers = torch.from_numpy(layer_codes(layer).integers)
    w_integers[0, 0, 1, 1] += 1
    exact = integer_result(layer, x_integers, w_integers, torch.from_numpy(bias_integers(layer)))
    unit = torch.from_numpy(accumulator_unit(layer, quantizer)).reshape(-1, 1, 1)
    assert not torch.equal(exact.double() * unit, output.double())


def test_accumulators_stay_within_their_certificate(residual):
    model, x = residual
    qmodel = quantize(model, Recipe("int4", "int4"), x)
    for layer, (given,), output in layer_inputs_and_outputs(qmodel, x).values():
        (quantizer,) = act_quantizers(qmodel, layer)
        unit = torch.from_numpy(accumulator_unit(layer, quantizer))
        shaped = unit if isinstance(layer, nn.Linear) else unit.reshape(-1, 1, 1)
        largest = int((output.double() / shaped).abs().max())
        assert largest < 1 << accumulator_bits(qmodel, layer) - 1
        del given


def test_the_float_model_is_untouched(residual):
    model, x = residual
    before = copy.deepcopy(model.state_dict())
    expected = model(x)
    quantize(model, Recipe("e2m1", "int4"), x)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert torch.equal(model(x), expected)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_batch_norms_fold_into_every_kind_of_layer(residual):
    model, x = residual
    graph = trace(copy.deepcopy(model))
    propagate_shapes(graph, x[:1])
    assert fold_batch_norms(graph) == ("bn0", "bn1", "bn2", "bn3", "bn4")
    assert not [m for m in graph.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d)]
    with torch.no_grad():
        assert torch.allclose(graph(x), model(x), atol=2e-6)


def test_a_batch_norm_over_another_axis_stays():
    model = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(5))
    model, x = trained(model, 5, 8)
    qmodel = quantize(model, Recipe(), x)
    assert [m for m in qmodel.modules() if isinstance(m, nn.BatchNorm1d)]
    with torch.no_grad():
        assert torch.allclose(qmodel(x), model(x), atol=0.2)


@pytest.mark.parametrize("scale", ["po2", "float"])
@pytest.mark.parametrize("rule", ["absmax", "percentile", "mse"])
def test_eight_bits_are_nearly_float(residual, scale, rule):
    model, x = residual
    qmodel = quantize(model, Recipe(scale=scale, calibration=rule), x)
    with torch.no_grad():
        error = (qmodel(x) - model(x)).square().mean() / model(x).var()
    assert error < 1e-3


def test_one_quantizer_where_two_layers_read_one_tensor(residual):
    model, x = residual
    qmodel = quantize(model, Recipe(), x)
    paths = [layer.act_paths for _, layer in quantized_layers(qmodel)]
    assert len(set(paths)) == 5
    additions = [n for n in qmodel.graph.nodes if "add" in n.name]
    assert str(additions[0].args[0].target) == "act_quant.conv"  # the shortcut reads codes


def test_unsigned_formats_only_where_values_cannot_be_negative(residual):
    model, x = residual
    qmodel = quantize(model, Recipe("int4", "uint4"), x)
    formats = {n: str(act_quantizers(qmodel, m)[0].fmt) for n, m in quantized_layers(qmodel)}
    assert formats == {
        "stem": "int4", "conv": "uint4", "depth": "uint4", "up": "uint4", "head": "uint4",
    }  # fmt: skip
    qmodel = quantize(model, Recipe("int4", "e2m1", act_unsigned=True), x.abs())
    assert str(act_quantizers(qmodel, qmodel.get_submodule("stem"))[0].fmt) == "ue2m2"


def test_first_last_exclude_and_overrides(residual):
    model, x = residual
    recipe = Recipe(
        "int4", "int4", first_last=("int8", "int8"), exclude=["depth"],
        overrides={"conv": {"weight": "e2m1", "granularity": "per_tensor"}},
    )  # fmt: skip
    qmodel = quantize(model, recipe, x)
    found = {name: str(weight_quantizer(layer).fmt) for name, layer in quantized_layers(qmodel)}
    assert found == {"stem": "int8", "conv": "e2m1", "up": "int4", "head": "int8"}
    assert type(qmodel.get_submodule("depth")) is nn.Conv2d
    assert weight_quantizer(qmodel.get_submodule("conv")).scale.shape == ()
    for bad in (Recipe(exclude=["nope"]), Recipe(overrides={"bn0": {"weight": "int4"}})):
        with pytest.raises(SpecError, match="no multiply layer of the model; allowed: stem"):
            quantize(model, bad, x)


def test_sums_may_read_codes_only(residual):
    model, x = residual
    qmodel = quantize(model, Recipe(sums="quantized"), x)
    add = next(n for n in qmodel.graph.nodes if n.name == "add")
    assert all(str(source.target).startswith("act_quant.") for source in add.all_input_nodes)
    with torch.no_grad():
        assert (qmodel(x) - model(x)).square().mean() / model(x).var() < 1e-2


def test_a_layer_called_twice_has_one_input_scale():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(6, 6)

        def forward(self, x):
            return self.fc(torch.tanh(self.fc(x)))

    torch.manual_seed(3)
    model = Twice().eval()
    x = torch.randn(64, 6) * 3
    qmodel = quantize(model, Recipe(calibration="absmax"), x)
    assert [n for n, _ in quantized_layers(qmodel)] == ["fc"]
    nodes = [n for n in qmodel.graph.nodes if str(n.target) == "act_quant.fc"]
    assert len(nodes) == 2
    with torch.no_grad():
        assert (qmodel(x) - model(x)).abs().max() < 0.1


@pytest.mark.parametrize(
    "model",
    [
        HandAttention(),
        Fused(),
        Fused(bias=False),
        Functional("plain"),
        Functional("causal"),
        Functional("mask"),
        Functional("scale"),
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True), 2,
            enable_nested_tensor=False,
        ),
    ],
    ids=["hand", "mha", "mha-nobias", "sdpa", "causal", "mask", "scale", "encoder", "stack"],
)  # fmt: skip
def test_attention_products_are_quantized(model, pages):
    model = model.eval()
    qmodel = quantize(model, Recipe("int8", "int8", scale="float"), pages)
    products = [m for _, m in quantized_layers(qmodel) if isinstance(m, MatMul)]
    assert len(products) == 4 if isinstance(model, nn.TransformerEncoder) else 2
    assert all(len(act_quantizers(qmodel, m)) == 2 for m in products)
    assert "scaled_dot_product" not in qmodel.code
    with torch.no_grad():
        error = (qmodel(pages) - model(pages)).square().mean() / model(pages).var()
    assert error < 2e-3


def test_opened_attention_is_exact_before_quantization(pages):
    from hwquant.ptq.attention import open_attention, open_scaled_dot_product

    mask = torch.ones(5, 5, dtype=torch.bool).triu(1)
    model = nn.MultiheadAttention(8, 2).eval()
    opened = open_attention(copy.deepcopy(model))
    with torch.no_grad():
        ours, theirs = (
            m(pages, pages, pages, attn_mask=mask[:1, :1].expand(16, 16)) for m in (opened, model)
        )
    assert torch.allclose(ours[0], theirs[0], atol=1e-6)
    assert torch.allclose(ours[1], theirs[1], atol=1e-6)
    for mode in ("plain", "causal", "mask", "scale"):
        plain = Functional(mode).eval()
        graph = trace(copy.deepcopy(plain))
        propagate_shapes(graph, pages[:1])
        open_scaled_dot_product(graph)
        with torch.no_grad():
            assert torch.allclose(graph(pages), plain(pages), atol=1e-6)


def test_workload_counts_and_widths(residual):
    model, x = residual
    qmodel = quantize(model, Recipe("int4", "int8"), x)
    found = workload(qmodel, x)
    by_name = {layer.name: layer for layer in found.layers}
    assert [(r.name, r.op, r.length, r.outputs, r.weights, r.channels) for r in found.layers] == [
        ("stem", "conv2d", 18, 96, 108, 6),
        ("conv", "conv2d", 54, 96, 324, 6),
        ("depth", "conv2d", 9, 96, 54, 6),
        ("up", "convtranspose2d", 3, 256, 48, 4),
        ("head", "linear", 4, 5, 20, 5),
    ]
    assert by_name["conv"].acc_bits == accumulator_bits(qmodel, qmodel.get_submodule("conv"))
    assert by_name["conv"].macs == 54 * 96
    law = hwquant.MacSpec("int4", "int8", length=54).exact_bits
    assert 8 < by_name["conv"].acc_bits <= law + 1


def test_transposed_rows_hold_every_tap_of_an_output_channel(residual):
    model, x = residual
    layer = quantize(model, Recipe("int4", "int8"), x).get_submodule("up")
    rows, integers = weight_rows(layer), layer_codes(layer).integers
    assert rows.shape == (4, 12)
    assert np.array_equal(rows[3], integers[3:6, 1].reshape(-1))  # group 1, second output


def test_same_input_same_result(residual):
    model, x = residual
    first, second = (quantize(model, Recipe("e2m1", "int4"), x) for _ in range(2))
    state, again = first.state_dict(), second.state_dict()
    assert all(torch.equal(state[key], again[key]) for key in state)


def test_bias_correction_restores_the_mean(residual):
    model, x = residual
    plain = quantize(model, Recipe("int3", "int8", steps=["calibrate"]), x)
    corrected = quantize(model, Recipe("int3", "int8"), x)
    with torch.no_grad():
        expected = model(x).mean(0)
        shift = (plain(x).mean(0) - expected).abs().max()
        left = (corrected(x).mean(0) - expected).abs().max()
    assert left < shift / 5


def test_batches_or_one_tensor_give_the_same_scales(residual):
    model, x = residual
    recipe = Recipe("int4", "int8", calibration="absmax")
    one, many = quantize(model, recipe, x), quantize(model, recipe, x.split(7))
    for (name, a), (_, b) in zip(quantized_layers(one), quantized_layers(many), strict=True):
        assert act_quantizers(one, a)[0].scale == act_quantizers(many, b)[0].scale, name


def test_a_loader_or_the_name_of_a_set_calibrates():
    data = resolve_data("digits")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    pairs = TensorDataset(data.x_calib, torch.zeros(len(data.x_calib)))
    recipe = Recipe("int4", "int8")
    expected = quantize(net, recipe, data.x_calib).state_dict()
    for calib in ("digits", DataLoader(pairs, batch_size=len(pairs))):
        found = quantize(net, recipe, calib).state_dict()
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_parse_is_the_one_vocabulary():
    assert Recipe("e2m1", "int8").weight is parse("e2m1")


class Sequence(nn.Module):
    """One-dimensional convolutions with every padding."""

    def __init__(self):
        super().__init__()
        self.c1 = nn.Conv1d(3, 4, 3, padding="same", dilation=2)
        self.c2 = nn.Conv1d(4, 6, 3, stride=2, padding=1, padding_mode="reflect", groups=2)
        self.bn = nn.BatchNorm1d(6)
        self.c3 = nn.Conv2d(6, 2, (1, 3), bias=False)

    def forward(self, x):
        x = self.bn(self.c2(torch.relu(self.c1(x))))
        return self.c3(functional.gelu(x).unsqueeze(2))


def test_one_dimensional_convolutions_are_exact_too():
    torch.manual_seed(1)
    model, x = trained(Sequence(), 3, 12)
    qmodel = quantize(model, Recipe("int4", "e2m1"), x)
    seen = layer_inputs_and_outputs(qmodel, x[:4])
    assert list(seen) == ["c1", "c2", "c3"]
    for layer, (given,), output in seen.values():
        (quantizer,) = act_quantizers(qmodel, layer)
        unit = torch.from_numpy(accumulator_unit(layer, quantizer))
        shaped = unit.reshape(-1, *[1] * (layer.weight.dim() - 2))
        step = float(quantizer.scale) * float(quantizer.fmt.step)
        exact = copy.deepcopy(layer).double()  # float64 on integers: no rounding anywhere
        integers = torch.from_numpy(layer_codes(layer).integers).double()
        bias = torch.from_numpy(bias_integers(layer)).double()
        accumulators = exact._conv_forward(given.double() / step, integers, bias)
        assert torch.equal(accumulators, accumulators.round())
        assert torch.equal(accumulators * shaped, output.double())


def test_every_format_runs_end_to_end(fmt):
    """Extreme biases included: finite outputs, codes that decode, a certificate."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    x = torch.rand(16, 6)
    weight = fmt if fmt.min_int < 0 else "int8"
    for scale in ("po2", "float"):
        qmodel = quantize(model, Recipe(weight, fmt, scale=scale), x)
        with torch.no_grad():
            assert torch.isfinite(qmodel(x)).all()
        for layer in workload(qmodel, x).layers:
            assert layer.acc_bits >= 2


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.fc = nn.Embedding(10, 8), nn.Linear(8, 3)

    def forward(self, ids):
        return self.fc(self.table(ids)).mean(1)


def test_token_ids_may_be_the_input(tmp_path):
    torch.manual_seed(0)
    model, ids = Tokens().eval(), torch.arange(20).reshape(4, 5) % 10
    qmodel = quantize(model, Recipe(), ids)
    assert [name for name, _ in quantized_layers(qmodel)] == ["fc"]
    hwquant.save_quantized(qmodel, tmp_path / "q.pt")
    assert torch.equal(hwquant.load_quantized(tmp_path / "q.pt", Tokens)(ids), qmodel(ids))
