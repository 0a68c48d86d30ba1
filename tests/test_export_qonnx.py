# SPDX-License-Identifier: Apache-2.0
"""The exported file: its form, what it says, and that qonnx, torch and we compute the same."""

from __future__ import annotations

import json
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from qonnx.core.datatype import DataType
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.transformation.qonnx_to_qcdq import QuantToQCDQ
from torch import nn

from hwquant import Minifloat
from hwquant.errors import ExportError, InputError
from hwquant.export.check import check_qonnx
from hwquant.export.cost import qonnx_cost
from hwquant.export.qonnx import export_qonnx
from hwquant.formats import parse
from hwquant.graph import load
from hwquant.nn.codes import workload
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe


class Residual(nn.Module):
    """Conv, depthwise conv with a residual, pooling by a power of two, linear."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.deep = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = self.stem(x)
        y = torch.relu(self.deep(x) + x)
        y = nn.functional.adaptive_avg_pool2d(y, 1)
        return self.fc(y.view(y.size(0), -1))


class Attention(nn.Module):
    """Two products of activations between projections, with the islands around them."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.gelu = nn.GELU()
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        mixed = torch.softmax(q @ k.transpose(-2, -1) * 0.5, -1) @ v
        return self.out(self.gelu(mixed))


def seeded(build):
    torch.manual_seed(0)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


NETS = {
    "residual": (Residual, (1, 8, 8)),
    "transpose": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 2, 3, dilation=2, padding=2),
        ),
        (2, 6, 6),
    ),
    "conv1d": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(4, 4, 3, stride=2, groups=2),
            nn.Flatten(),
            nn.Linear(16, 3),
        ),
        (3, 9),
    ),
    "attention": (Attention, (4, 8)),
}


def made(net, recipe, items=6):
    build, shape = NETS[net]
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(items, *shape, generator=generator)
    return quantize(seeded(build), recipe, x), x


def forward(qmodel):
    def run(inputs):
        with torch.no_grad():
            return qmodel(torch.from_numpy(inputs)).numpy()

    return run


def exported(tmp_path, net, recipe):
    qmodel, x = made(net, recipe)
    path = tmp_path / "m.onnx"
    return path, export_qonnx(qmodel, path, x[:1]), qmodel, x


FAMILIES = (
    "int4:int4 int4n:uint4 e2m1:e2m1 e3m0:ue3m1 e2m3:ue2m2 e0m3:e0m4 e2m1b4:e2m1b0 e3m2b0:int5 "
    "e3m1fn:e2m3fn e3m1ieee:uint3 int2:uint1 e0m3b2:ue0m3"
)


@pytest.mark.parametrize("pair", FAMILIES.split())
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_every_family_with_powers_of_two_is_equal_everywhere(tmp_path, pair, granularity):
    weight, act = pair.split(":")
    recipe = Recipe(weight, act, granularity=granularity)
    path, report, qmodel, x = exported(tmp_path, "residual", recipe)
    check = check_qonnx(path, x.numpy(), forward(qmodel))
    assert all(layer.acc_bits <= 24 for layer in report.layers)
    assert (check.layers, check.differences, check.proven) == (3, 0, True)
    outputs = next(row for row in check.rows if row.kind == "outputs")
    assert (outputs.differences, outputs.proven) == (0, True)
    assert {str(layer.weight) for layer in report.layers} == {weight}


@pytest.mark.parametrize("net", sorted(NETS))
@pytest.mark.parametrize("pair", ["int4:uint4", "e2m1:ue2m2", "e3m1:int6"])
def test_every_structure_with_powers_of_two(tmp_path, net, pair):
    weight, act = pair.split(":")
    path, report, qmodel, x = exported(tmp_path, net, Recipe(weight, act))
    check = check_qonnx(path, x.numpy(), forward(qmodel))
    assert check.failures == ()
    assert check.layers == len(report.layers) == len(workload(qmodel, x).layers)
    if net != "attention":
        assert (check.differences, check.proven, check.islands) == (0, True, ())


@pytest.mark.parametrize("net", sorted(NETS))
@pytest.mark.parametrize("pair", ["int4:int4", "e2m1:ue2m2"])
def test_float_scales_are_counted_and_explained(tmp_path, net, pair):
    weight, act = pair.split(":")
    path, _, _, x = exported(tmp_path, net, Recipe(weight, act, scale="float"))
    check = check_qonnx(path, x.numpy())
    assert check.failures == ()
    assert not check.proven
    codes = [row for row in check.rows if row.kind == "codes"]
    assert sum(row.differences for row in codes) <= 2  # ties that float32 breaks another way
    assert all(row.why for row in check.rows if not row.proven)
    assert any("float scale" in row.why for row in codes)


def test_float_islands_are_named(tmp_path):
    path, report, _, x = exported(tmp_path, "attention", Recipe("int6", "int6"))
    found = {island.split()[0] for island in report.islands}
    assert found == {"LayerNormalization", "Softmax", "Gelu"}
    assert any("norm" in island for island in report.islands)
    check = check_qonnx(path, x.numpy())
    products = [layer for layer in load(path).layers() if layer.kind == "matmul"]
    assert [p.name for p in products] == ["matmul", "matmul_1"]
    sums = [row for row in check.rows if row.kind in ("accumulators", "logits")]
    assert all(row.proven and row.differences == 0 for row in sums)


def test_wide_accumulators_are_said_not_promised(tmp_path):
    path, report, _, x = exported(tmp_path, "residual", Recipe("e5m2", "e5m2"))
    assert all(layer.acc_bits > 64 for layer in report.layers)
    check = check_qonnx(path, x.numpy())
    assert check.failures == ()
    assert any("bits, float32 sums are exact to 24" in note for note in check.notes)


def test_integer_reference_equals_torch(tmp_path):
    path, _, qmodel, x = exported(tmp_path, "residual", Recipe("e3m2", "ue3m2"))
    out = load(path).execute(x.numpy())["output"]
    assert out.proven
    assert np.array_equal(out.reals(), forward(qmodel)(x.numpy()))


@pytest.mark.parametrize("net", ["residual", "conv1d", "attention"])
def test_workload_of_the_file_is_that_of_the_model(tmp_path, net):
    path, _, qmodel, x = exported(tmp_path, net, Recipe("e2m1", "int5"))
    assert load(path).workload() == workload(qmodel, x[:1])


# The form of the file.


def test_bytes_are_the_same_twice_and_nothing_else_is_left(tmp_path):
    qmodel, x = made("residual", Recipe("e2m1", "ue2m2"))
    export_qonnx(qmodel, tmp_path / "a.onnx", x[:1])
    export_qonnx(qmodel, tmp_path / "b.onnx", x[:1])
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.onnx", "b.onnx"]


def test_form_of_integers_and_minifloats(tmp_path):
    path, _, qmodel, _ = exported(tmp_path, "residual", Recipe("e2m1", "uint4"))
    model = onnx.load(path)
    inits = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    nodes = {n.name: n for n in model.graph.node}
    assert model.ir_version <= 13
    assert {o.domain: o.version for o in model.opset_import}[""] <= 20
    assert {"stem.0", "deep", "fc"} <= set(nodes)
    quantizer = nodes["act_quant.deep"]
    assert (quantizer.op_type, quantizer.domain) == ("Quant", "qonnx.custom_op.general")
    scale = inits[quantizer.input[1]]
    assert scale == qmodel.get_submodule("act_quant.deep").act_quant.scale().numpy()
    weight = nodes["deep.weight_quant"]
    assert weight.op_type == "FloatQuant"
    assert inits[weight.input[1]] == 1
    grid = np.unique(np.abs(inits[weight.input[0]]))
    assert set(grid) <= {0, 0.5, 1, 1.5, 2, 3, 4, 6}
    multiply = next(n for n in model.graph.node if weight.output[0] in n.input)
    assert multiply.op_type == "Mul"
    assert inits[multiply.input[1]].shape == (4, 1, 1, 1)
    assert all(
        info.type.tensor_type.shape.dim for info in model.graph.value_info if info.name in nodes
    )


def test_unsigned_minifloat_is_relu_and_float_quant(tmp_path):
    path, _, _, _ = exported(tmp_path, "residual", Recipe("int4", "ue2m2"))
    nodes = {n.name: n for n in onnx.load(path).graph.node}
    chain = ["act_quant.deep.relu", "act_quant.deep.div", "act_quant.deep", "act_quant.deep.mul"]
    assert [nodes[n].op_type for n in chain] == ["Relu", "Div", "FloatQuant", "Mul"]
    assert str(load(path).quantizers["act_quant.deep.out"].fmt) == "ue2m2"


def test_sign_magnitude_is_a_narrow_quant(tmp_path):
    path, _, _, _ = exported(tmp_path, "residual", Recipe("e0m3", "int4"))
    model = onnx.load(path)
    node = next(n for n in model.graph.node if n.name == "fc.weight_quant")
    attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    inits = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    assert (node.op_type, attrs["signed"], attrs["narrow"]) == ("Quant", 1, 1)
    assert inits[node.input[3]] == 4


def test_metadata(tmp_path):
    path, _, _, _ = exported(tmp_path, "residual", Recipe("e2m1", "int5"))
    (entry,) = onnx.load(path).metadata_props
    told = json.loads(entry.value)
    layers = {layer["name"]: layer for layer in told["layers"]}
    assert set(layers) == {"stem.0", "deep", "fc"}
    assert {"weight", "act", "acc_bits", "law_bits", "paper_bits"} <= set(layers["fc"])
    assert layers["deep"]["acc_bits"] <= layers["deep"]["law_bits"]
    quantizers = told["quantizers"]
    assert quantizers["act_quant.fc.out"]["format"] == "int5"
    assert len(quantizers["deep.weight_quant.out"]["scale_exponent"]) == 4
    assert told["islands"] == []


def annotations(path):
    model = ModelWrapper(str(path))
    return {
        a.tensor_name: a.quant_parameter_tensor_names[0].value
        for a in model.graph.quantization_annotation
    }


def test_data_types_hold_every_value(tmp_path):
    recipe = Recipe("e2m1", "ue2m2", granularity="per_tensor")
    path, _, _, x = exported(tmp_path, "residual", recipe)
    found = annotations(path)
    assert found["fc.weight_quant.out"] == "FLOAT<2,1,1>"
    graph = load(path)
    for name, codes in graph.codes(x.numpy()).items():
        quantizer = graph.quantizers[name]
        from hwquant import codec_np

        values = codec_np.values(quantizer.fmt, codes)
        assert np.all(DataType[found[name]].allowed(values))
        scaled = f"{name.removesuffix('.out')}.mul.out"
        if scaled in found:
            assert np.all(DataType[found[scaled]].allowed(values * quantizer.outer))


def test_bias_zero_is_never_annotated_because_qonnx_misreads_it(tmp_path):
    recipe = Recipe("e2m1b0", "int4", granularity="per_tensor")
    path, _, _, x = exported(tmp_path, "residual", recipe)
    assert DataType["FLOAT<2,1,0>"].max() == 6.0  # the trap: e2m1b0 reaches 12
    assert not [name for name in annotations(path).values() if name.endswith(",0>")]
    weights = [q for q in load(path).quantizers.values() if q.is_weight]
    assert {q.fmt for q in weights} == {Minifloat(2, 1, bias=0)}
    assert check_qonnx(path, x.numpy()).differences == 0


# Other tools read it.


@pytest.mark.parametrize("net", ["residual", "conv1d"])
def test_integer_graphs_run_in_onnxruntime_after_qcdq(tmp_path, net):
    path, _, _, x = exported(tmp_path, net, Recipe("int4n", "uint4"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ModelWrapper(str(path)).transform(QuantToQCDQ())
    assert not model.get_nodes_by_op_type("Quant")
    options = onnxruntime.SessionOptions()
    # Fusing into integer kernels would round to other scales than the file's.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.model.SerializeToString(), options)
    want = load(path).execute(x.numpy())["output"].reals()
    got = [session.run(None, {"input": item[None]})[0] for item in x.numpy()]
    assert np.array_equal(np.concatenate(got), want)


@pytest.mark.parametrize("pair", ["int4:uint4", "e2m1:ue2m2", "e3m2b0:int8", "e4m3fn:e4m3"])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_qonnx_inference_cost_counts_the_right_weight_bits(tmp_path, pair, granularity):
    weight, act = pair.split(":")
    path, _, _, _ = exported(tmp_path, "residual", Recipe(weight, act, granularity=granularity))
    cost = qonnx_cost(path)["total_cost"]
    mine = load(path).workload()
    assert cost["total_mem_w_bits"] == mine.weight_bits
    assert cost["total_macs"] == mine.macs
    assert parse(weight).bits * (36 + 36 + 20) == mine.weight_bits


# Bad input.


def test_unsupported_operator_names_node_and_operator(tmp_path):
    class Fft(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return torch.special.i0(self.fc(x))

    x = torch.randn(4, 4)
    qmodel = quantize(Fft().eval(), Recipe("int4", "int4"), x)
    with pytest.raises(ExportError, match=r"operator aten::\w*i0") as caught:
        export_qonnx(qmodel, tmp_path / "m.onnx", x[:1])
    assert "node" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_operator_the_integer_graph_does_not_know(tmp_path):
    class Sorted(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x):
            return torch.cumsum(self.fc(x), 1)

    x = torch.randn(4, 4)
    qmodel = quantize(Sorted().eval(), Recipe("int4", "int4"), x)
    with pytest.raises(ExportError, match="CumSum"):
        export_qonnx(qmodel, tmp_path / "m.onnx", x[:1])
    assert list(tmp_path.iterdir()) == []


def test_float_model_and_bad_paths(tmp_path):
    x = torch.randn(1, 1, 8, 8)
    with pytest.raises(InputError, match="not quantized"):
        export_qonnx(seeded(Residual), tmp_path / "m.onnx", x)
    qmodel, x = made("residual", Recipe("int4", "int4"))
    with pytest.raises(InputError, match="it is a folder"):
        export_qonnx(qmodel, tmp_path, x[:1])
    with pytest.raises(InputError, match="sample"):
        export_qonnx(qmodel, tmp_path / "m.onnx", x[:0])
