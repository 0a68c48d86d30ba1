# SPDX-License-Identifier: Apache-2.0
"""Codebooks in a network: Brevitas layers, QONNX, qonnx's execution and the integer graph agree."""

from __future__ import annotations

import itertools

import numpy as np
import onnx
import pytest
import torch
from brevitas.quant_tensor import IntQuantTensor
from onnx import numpy_helper
from torch import nn

from hwquant import codec_np
from hwquant.errors import ExportError, UnsupportedError
from hwquant.export.check import check_qonnx
from hwquant.export.qonnx import export_qonnx
from hwquant.formats import parse
from hwquant.graph import load
from hwquant.nn.checkpoint import load_quantized, save_quantized
from hwquant.nn.codes import layer_codes, quantized_layers
from hwquant.nn.quantizers import Quantizer, act_injector
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe

NF4 = "cb4f7_-128_-89_-67_-51_-36_-24_-12_0_10_21_32_43_56_72_93_128"
LOPSIDED = "cb3f0_-9_-4_-1_0_1_2_5"
PAIRS = {
    "power by integer": Recipe("pow4a0.75f6", "int4"),
    "power by power, unsigned where it can be": Recipe(
        "pow3a0.5f2", "pow4a0.5f2", act_unsigned=True
    ),
    "a list by a minifloat": Recipe(NF4, "e2m1"),
    "an integer by a lopsided list": Recipe("int4", LOPSIDED, granularity="per_tensor"),
}


class Net(nn.Module):
    """A residual sum, a depthwise convolution, a max pool and a linear layer."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(2, 4, 3, padding=1)
        self.b = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = torch.relu(self.a(x))
        x = torch.relu(self.b(x)) + x
        return self.head(x.amax((2, 3)))


@pytest.fixture(scope="module")
def data():
    return torch.randn(12, 2, 6, 6, generator=torch.Generator().manual_seed(0))


def quantized(recipe, data):
    torch.manual_seed(0)
    return quantize(Net().eval(), recipe, data)


@pytest.fixture(scope="module")
def good(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "m.onnx"
    qmodel = quantized(PAIRS["power by power, unsigned where it can be"], data)
    export_qonnx(qmodel, path, data[:1])
    return path


@pytest.mark.parametrize("pair", PAIRS)
def test_qonnx_executes_our_codes(pair, data, tmp_path):
    """The oracle is qonnx's executor; every weight, activation and sum is compared."""
    qmodel = quantized(PAIRS[pair], data)
    export_qonnx(qmodel, tmp_path / "m.onnx", data[:1])
    with torch.no_grad():
        report = check_qonnx(
            tmp_path / "m.onnx", data.numpy(), lambda x: qmodel(torch.from_numpy(x)).numpy()
        )
    assert (report.differences, report.proven, report.failures) == (0, True, ())
    assert report.codes_compared > 12 * 2 * 36
    graph = load(tmp_path / "m.onnx")
    modules = dict(quantized_layers(qmodel))
    for layer in graph.layers():
        stored = layer_codes(modules[layer.name])
        assert layer.weight == stored.fmt == PAIRS[pair].weight
        mine = codec_np.canonical(stored.fmt, stored.codes).reshape(layer.weight_codes.shape)
        np.testing.assert_array_equal(mine, layer.weight_codes)
    ops = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert "Gather" in ops
    assert "hwquant_tag" not in str(onnx.load(tmp_path / "m.onnx"))


def test_float_scales_export_too(data, tmp_path):
    recipe = Recipe(NF4, "pow5a0.75f3", scale="float")
    export_qonnx(quantized(recipe, data), tmp_path / "m.onnx", data[:1])
    report = check_qonnx(tmp_path / "m.onnx", data.numpy())
    assert not report.failures
    assert not report.proven


def test_a_file_without_metadata_says_its_codebooks_itself(good, data, tmp_path):
    model = onnx.load(good)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    bare, full = load(tmp_path / "bare.onnx"), load(good)
    for mine, theirs in zip(bare.layers(), full.layers(), strict=True):
        values = [[i * fmt.step for i in fmt.integers] for fmt in (mine.weight, theirs.weight)]
        assert values[0] == values[1]
        np.testing.assert_array_equal(mine.weight_codes, theirs.weight_codes)
    assert check_qonnx(tmp_path / "bare.onnx", data.numpy()).differences == 0


def tensors(model):
    return {tensor.name: tensor for tensor in model.graph.initializer}


def edited(good, tmp_path, name, change):
    model = onnx.load(good)
    tensor = tensors(model)[name]
    array = change(numpy_helper.to_array(tensor).copy())
    tensor.CopyFrom(numpy_helper.from_array(array, name))
    onnx.save(model, tmp_path / "bad.onnx")
    return tmp_path / "bad.onnx"


def moved(index, by):
    def change(array):
        array.reshape(-1)[index] += array.dtype.type(by)
        return array

    return change


FAULTS = {
    "a threshold": ("act_quant.b.thresholds", 7, 0.25, UnsupportedError, "nearest value"),
    "a value of the weights": ("a.weight_quant.values", 5, 0.25, ExportError, "other values"),
    "a value of an activation": ("act_quant.b.values", 5, 0.25, ExportError, "other values"),
    "a rank beyond the list": ("a.weight", 3, 100, ExportError, "beyond its 7 values"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_changed_file_is_refused(fault, good, tmp_path):
    name, index, by, error, said = FAULTS[fault]
    bad = edited(good, tmp_path, name, moved(index, by))
    with pytest.raises(error, match=said):
        load(bad)


@pytest.mark.parametrize("fault", list(FAULTS)[:3])
def test_the_check_finds_what_was_changed(fault, good, data, tmp_path):
    """Negative control: the execution differs from our codes."""
    name, index, by, _, _ = FAULTS[fault]
    bad = edited(good, tmp_path, name, moved(index, by))
    report = check_qonnx(bad, data.numpy())
    assert report.differences
    assert report.failures


def test_another_weight_is_told_by_its_fingerprint(good, data, tmp_path):
    def change(array):
        flat = array.reshape(-1)
        flat[0] = (flat[0] + 1) % 7
        return array

    report = check_qonnx(edited(good, tmp_path, "a.weight", change), data.numpy())
    assert any(row.kind == "fingerprint" and row.differences == 1 for row in report.rows)


def test_a_model_is_saved_and_loaded(data, tmp_path):
    qmodel = quantized(PAIRS["a list by a minifloat"], data)
    save_quantized(qmodel, tmp_path / "q.pt")
    again = load_quantized(tmp_path / "q.pt", Net)
    with torch.no_grad():
        assert torch.equal(again(data), qmodel(data))


@pytest.mark.parametrize("name", ["pow4a0.75f6", "upow4a0.5f2", NF4, LOPSIDED])
def test_brevitas_sees_integers_of_the_decoded_width(name):
    fmt = parse(name)
    scale = torch.tensor(0.25)
    quantizer = Quantizer(fmt, module_path="act", scale=scale)
    from brevitas import nn as qnn

    layer = qnn.QuantIdentity(act_quant=act_injector(quantizer), return_quant_tensor=True).eval()
    x = torch.randn(50, generator=torch.Generator().manual_seed(1)) * 4
    tensor = layer(x)
    assert isinstance(tensor, IntQuantTensor)
    assert tensor.is_valid
    integers = codec_np.decode(fmt, codec_np.encode(fmt, (x / scale).numpy()))
    np.testing.assert_array_equal(tensor.int(float_datatype=False).numpy(), integers)


def test_power_weights_beat_integers_on_a_bell_curve():
    """PowerQuant's claim, weights of 4 bits, absmax scale: 0.75 is nearer than the uniform grid."""
    x = torch.randn(4096, generator=torch.Generator().manual_seed(2))
    errors = {}
    for name in ("int4n", "pow4a0.75f6"):
        fmt = parse(name)
        scale = float(x.abs().max()) / float(fmt.max)
        found = codec_np.quantize(fmt, (x / scale).numpy()) * scale
        errors[name] = float(((x.numpy() - found) ** 2).mean())
    low, high = (errors[name] for name in ("pow4a0.75f6", "int4n"))
    assert low < high


def test_the_torch_kernel_takes_every_threshold_from_the_codec():
    from hwquant.nn.kernel import quantize_unit

    for name in ("pow4a0.75f6", "pow8a0.5f0", NF4, LOPSIDED):
        fmt = parse(name)
        values = sorted(codec_np.values(fmt, fmt.codes).tolist())
        middles = [(a + b) / 2 for a, b in itertools.pairwise(values)]
        x = np.float32(middles)
        x = np.concatenate([x, np.nextafter(x, np.float32(9e9)), np.nextafter(x, np.float32(-9e9))])
        np.testing.assert_array_equal(
            quantize_unit(torch.from_numpy(x), fmt).numpy(), codec_np.quantize(fmt, x)
        )
