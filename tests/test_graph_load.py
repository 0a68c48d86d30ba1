# SPDX-License-Identifier: Apache-2.0
"""Reading QONNX files: built by hand, exported by Brevitas, damaged, and not quantized at all."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import onnx
import pytest
from brevitas import nn as qnn
from brevitas.export import export_qonnx
from brevitas.quant import Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint
from brevitas.quant.scaled_int import Int8ActPerTensorFloat, Int8WeightPerChannelFloat
from onnx import TensorProto, helper, numpy_helper
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes
from torch import nn

from hwquant import mac
from hwquant.errors import ExportError, InputError, UnsupportedError
from hwquant.export.check import check_qonnx
from hwquant.formats import parse
from hwquant.graph import load
from hwquant.graph.layer import channel_ranges
from hwquant.mac import accumulator_range

DOMAIN = "qonnx.custom_op.general"


def constants(prefix, **values):
    return [
        numpy_helper.from_array(np.asarray(v, np.float32), f"{prefix}_{k}")
        for k, v in values.items()
    ]


def quant(x, out, scale, bits, signed=1, narrow=0, rounding="ROUND", zero=0.0):
    inits = constants(out, scale=scale, zero=zero, bits=bits)
    node = helper.make_node(
        "Quant",
        [x, *(i.name for i in inits)],
        [out],
        domain=DOMAIN,
        name=f"q_{out}",
        signed=signed,
        narrow=narrow,
        rounding_mode=rounding,
    )
    return node, inits


def float_quant(x, out, scale, e, m, bias, largest, **attributes):
    inits = constants(out, scale=scale, e=e, m=m, bias=bias, largest=largest)
    attrs = {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1}
    node = helper.make_node(
        "FloatQuant",
        [x, *(i.name for i in inits)],
        [out],
        domain=DOMAIN,
        name=f"q_{out}",
        **(attrs | attributes),
    )
    return node, inits


def write(path, pairs, x_shape, y_shape, extra=()):
    nodes, inits = [], list(extra)
    for node, more in pairs:
        nodes.append(node)
        inits += more
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x_shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, y_shape)],
        inits,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(model, path)
    return path


def linear(path, act, weight, seed=0, shape=(6, 5), bias=None):
    """x -> act quantizer -> Gemm with quantized weight (and bias) -> y."""
    rng = np.random.default_rng(seed)
    w = numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), "w")
    inputs, extra = ["xq", "wq"], [w]
    if bias is not None:
        extra.append(numpy_helper.from_array(np.asarray(bias, np.float32), "b"))
        inputs.append("b")
    gemm = helper.make_node("Gemm", inputs, ["y"], name="fc")
    return write(path, [act, weight, (gemm, [])], [2, shape[0]], [2, shape[1]], extra)


def run_qonnx(path, x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ModelWrapper(str(path)).transform(InferShapes())
        return execute_onnx(model, {model.graph.input[0].name: x})[model.graph.output[0].name]


@pytest.fixture
def int_file(tmp_path):
    return linear(tmp_path / "m.onnx", quant("x", "xq", 0.25, 4), quant("w", "wq", 0.125, 3))


def test_hand_built_integer_graph(int_file):
    graph = load(int_file)
    (layer,) = graph.layers()
    assert (layer.name, layer.kind, layer.length, layer.outputs) == ("fc", "linear", 6, 5)
    assert (layer.weight, layer.act) == (parse("int3"), parse("int4"))
    x = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    out = graph.execute(x)["y"]
    assert out.proven
    assert np.array_equal(out.reals(), run_qonnx(int_file, x))


def test_workload_has_the_certificate_of_mac(int_file):
    graph = load(int_file)
    (layer,) = graph.layers()
    low, high = mac.certificate(layer.weight_ints, layer.act)
    assert (layer.low, layer.high) == (low, high)
    (item,) = graph.workload().layers
    assert (item.weights, item.acc_bits, item.outputs) == (30, layer.acc_bits, 5)
    assert layer.law_bits >= layer.acc_bits


def test_a_bias_that_shortens_the_sums_leaves_the_accumulator_as_wide(tmp_path):
    act, weight = quant("x", "xq", 0.25, 4, signed=0), quant("w", "wq", 0.125, 3)
    bare = load(linear(tmp_path / "bare.onnx", act, weight)).layers()[0]
    ends = channel_ranges(bare.weight_ints, *bare.act_range)
    lift = [-least for least, _ in ends]  # with it no sum is negative, before it they are
    path = linear(tmp_path / "m.onnx", act, weight, bias=np.array(lift) * 0.25 * 0.125)
    (layer,) = load(path).layers()
    assert layer.bias.tolist() == lift
    assert (layer.low, layer.high) == accumulator_range(ends, lift)
    assert layer.low == bare.low < 0
    assert layer.high == max(most - least for least, most in ends)
    assert load(path).workload().layers[0].acc_bits == layer.acc_bits > bare.acc_bits


def test_float_quant_with_the_scale_inside(tmp_path):
    act = float_quant("x", "xq", 0.5, 2, 1, 1, 6.0)
    weight = float_quant("w", "wq", [0.25, 0.5, 1, 2, 4], 4, 3, 7, 448.0, has_nan=1)
    path = linear(tmp_path / "m.onnx", act, weight)
    graph = load(path)
    assert [str(q.fmt) for q in graph.quantizers.values()] == ["e2m1", "e4m3fn"]
    x = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    assert np.array_equal(graph.execute(x)["y"].reals(), run_qonnx(path, x))


def test_bias_on_and_off_the_grid(tmp_path):
    unit = 0.25 * 0.125
    act, weight = quant("x", "xq", 0.25, 4), quant("w", "wq", 0.125, 3)
    on = load(linear(tmp_path / "on.onnx", act, weight, bias=np.arange(5) * 7 * unit))
    off = load(linear(tmp_path / "off.onnx", act, weight, bias=[0.1, 0, 0.3, unit, 1 / 3]))
    assert on.layers()[0].bias.tolist() == [0, 7, 14, 21, 28]
    assert (on.layers()[0].off_grid, off.layers()[0].off_grid) == (0, 3)
    x = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    plain = load(linear(tmp_path / "no.onnx", act, weight)).execute(x)["y"].reals()
    assert np.array_equal(on.execute(x)["y"].reals(), plain + np.arange(5) * 7 * unit)
    bias = np.array([0.1, 0, 0.3, unit, 1 / 3], np.float32).astype(float)
    assert np.array_equal(off.execute(x)["y"].reals(), plain + bias)


def test_accumulators_beyond_64_bits_are_exact(tmp_path):
    act = float_quant("x", "xq", 1.0, 5, 2, 15, 114688.0)
    weight = float_quant("w", "wq", 2.0**-14, 5, 2, 15, 114688.0)
    path = linear(tmp_path / "m.onnx", act, weight)
    (layer,) = load(path).layers()
    assert layer.acc_bits > 64
    assert not layer.float32_exact
    x = np.array([[5e4, -5e4, 3e-5, 1.0, 2.0, 4.0]] * 2, np.float32)
    out = load(path).execute(x)["y"]
    unit = layer.unit[0]
    want = [
        [int(sum(int(w) * int(v / 2.0**-16) for w, v in zip(row, _e5m2(x[0]), strict=True)))]
        for row in layer.weight_ints
    ]
    assert [[int(v)] for v in out.ints[0]] == want
    assert unit == 2.0**-46


def _e5m2(values):
    from hwquant import codec, codec_np

    fmt = parse("e5m2")
    codes = codec_np.encode(fmt, values)
    return [float(codec.value(fmt, int(c))) for c in codes]


def brevitas_file(path, int_quant):
    act, weight = int_quant
    model = nn.Sequential(
        qnn.QuantIdentity(act_quant=act, bit_width=6, return_quant_tensor=False),
        qnn.QuantConv2d(2, 4, 3, padding=1, weight_quant=weight, weight_bit_width=5, bias=True),
        qnn.QuantReLU(bit_width=4, return_quant_tensor=False),
        nn.MaxPool2d(2),
        nn.Flatten(),
        qnn.QuantLinear(64, 3, weight_quant=weight, weight_bit_width=4, bias=False),
    )
    import torch

    torch.manual_seed(0)
    x = torch.randn(8, 2, 8, 8)
    model.train()
    model(x)
    model.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_qonnx(model, args=x[:1], export_path=str(path), dynamo=False)
    return x


@pytest.mark.parametrize(
    ("int_quant", "proven"),
    [
        ((Int8ActPerTensorFixedPoint, Int8WeightPerTensorFixedPoint), False),
        ((Int8ActPerTensorFloat, Int8WeightPerChannelFloat), False),
    ],
)
def test_brevitas_export_is_read_and_checked(tmp_path, int_quant, proven):
    path = tmp_path / "b.onnx"
    x = brevitas_file(path, int_quant)
    graph = load(path)
    assert [str(layer.weight) for layer in graph.layers()] == ["int5n", "int4n"]
    assert [str(layer.act) for layer in graph.layers()] == ["int6", "uint4"]
    report = check_qonnx(path, x.numpy())
    assert (report.layers, report.differences, report.proven) == (2, 0, proven)
    assert "no hwquant metadata" in report.notes[0]


def test_import_stays_light():
    code = "import hwquant.graph, sys, json; print(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(result.stdout))
    assert not loaded & {"torch", "brevitas", "onnx", "qonnx", "onnxruntime", "matplotlib"}


# Bad input: one clear line each.


def test_missing_file():
    with pytest.raises(InputError, match=r"no file .*nowhere\.onnx"):
        load("nowhere.onnx")


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9, 0.99])
def test_truncated_file(tmp_path, int_file, part):
    data = int_file.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises((ExportError, UnsupportedError)):
        load(path).layers()


def test_garbage_file(tmp_path):
    path = tmp_path / "noise.onnx"
    path.write_bytes(np.random.default_rng(0).bytes(4000))
    with pytest.raises(ExportError, match="ONNX"):
        load(path)


def test_plain_float_network(tmp_path):
    relu = helper.make_node("Relu", ["x"], ["y"])
    path = write(tmp_path / "f.onnx", [(relu, [])], [1, 2], [1, 2])
    with pytest.raises(ExportError, match="is not quantized"):
        load(path)


def test_only_weights_quantized(tmp_path):
    w = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    gemm = helper.make_node("Gemm", ["x", "wq"], ["y"], name="fc")
    path = write(tmp_path / "w.onnx", [quant("w", "wq", 1.0, 4), (gemm, [])], [1, 2], [1, 2], [w])
    with pytest.raises(ExportError, match="no multiply layer with both operands quantized"):
        load(path).workload()


BAD_QUANTIZERS = [
    (quant("x", "xq", 0.25, 4, zero=3.0), "zero point 3, allowed 0"),
    (quant("x", "xq", 0.25, 4, rounding="FLOOR"), "rounds by FLOOR, allowed ROUND"),
    (quant("x", "xq", 0.25, 16), "16 bits, allowed 2..8"),
    (quant("x", "xq", 0.25, 4, signed=0, narrow=1), "narrow only when signed"),
    (quant("x", "xq", -0.25, 4), "scale that is not positive"),
    (float_quant("x", "xq", 1.0, 2, 1, 1.5, 6.0), "whole numbers"),
    (float_quant("x", "xq", 1.0, 2, 1, 1, 5.0), "largest value 5, allowed 6"),
    (float_quant("x", "xq", 1.0, 2, 1, 1, 6.0, saturation=0), "does not saturate"),
    (float_quant("x", "xq", 1.0, 6, 5, 1, 6.0), "12 bits, allowed 2..8"),
]


@pytest.mark.parametrize(("act", "message"), BAD_QUANTIZERS)
def test_quantizers_outside_our_formats_are_named(tmp_path, act, message):
    path = linear(tmp_path / "m.onnx", act, quant("w", "wq", 0.125, 3))
    with pytest.raises(UnsupportedError, match=message) as caught:
        load(path)
    assert "q_xq" in str(caught.value)


def test_unsupported_operator_is_named(tmp_path):
    det = helper.make_node("Det", ["xq"], ["y"], name="determinant")
    path = write(tmp_path / "d.onnx", [quant("x", "xq", 1.0, 4), (det, [])], [1, 2, 2], [1])
    with pytest.raises(UnsupportedError, match="Det 'determinant' is not supported"):
        load(path).layers()


def test_inputs_that_do_not_fit(int_file):
    graph = load(int_file)
    with pytest.raises(InputError, match="has shape 2 x 7, allowed 2 x 6"):
        graph.execute(np.zeros((2, 7)))
    with pytest.raises(InputError, match="holds NaN"):
        graph.execute(np.full((2, 6), np.nan))


def test_free_input_size_must_be_given(tmp_path):
    w = numpy_helper.from_array(np.ones((3, 2, 1, 1), np.float32), "w")
    conv = helper.make_node("Conv", ["xq", "wq"], ["y"], name="c")
    pairs = [quant("x", "xq", 1.0, 4), quant("w", "wq", 1.0, 4), (conv, [])]
    path = write(tmp_path / "c.onnx", pairs, ["N", 2, "H", "W"], ["N", 3, "H", "W"], [w])
    graph = load(path)
    with pytest.raises(InputError, match="give input_shape"):
        graph.workload()
    assert graph.workload((1, 2, 5, 4)).layers[0].outputs == 3 * 5 * 4


def test_nan_constant_is_named(tmp_path):
    path = linear(
        tmp_path / "n.onnx",
        quant("x", "xq", 0.25, 4),
        quant("w", "wq", 0.125, 3),
        bias=[np.nan] * 5,
    )
    with pytest.raises(InputError, match="constant 'b' holds NaN"):
        load(path)
