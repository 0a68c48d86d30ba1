"""Block-scaled formats in QONNX: explicit scales, executed by qonnx, compared block for block."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from hwquant import Recipe, block_np, check_qonnx, export_qonnx, parse, quantize
from hwquant.errors import ExportError
from hwquant.export.block_nodes import BlockAct
from hwquant.export.nodes import _element
from hwquant.graph import load
from hwquant.nn.block_quantizer import BlockQuantizer


class Net(nn.Module):
    """Every kind of layer, with channels that do not fill their blocks."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 40, 3, padding=1)
        self.grouped = nn.Conv2d(40, 36, 3, groups=2)
        self.up = nn.ConvTranspose2d(36, 4, 2)
        self.mix = nn.Linear(7, 7)  # on three axes: MatMul
        self.head = nn.Linear(4 * 7 * 7, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.grouped(x))
        return self.head(torch.flatten(self.mix(self.up(x)), 1))


PAIRS = [
    ("mxfp4", "mxfp8e4m3"),
    ("mxint8", "mxint8"),
    ("mxfp6e2m3k8", "mxfp6e3m2k8"),
    ("mxfp8e5m2", "mxfp4"),
    ("nvfp4", "nvfp4"),
]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval(), torch.randn(9, 3, 8, 8)


@pytest.mark.parametrize(("weight", "act"), PAIRS)
def test_the_file_equals_the_model(net, tmp_path, weight, act):
    model, x = net
    qmodel = quantize(model, Recipe(weight, act), x)
    export_qonnx(qmodel, tmp_path / "net.onnx", x[:1])

    def forward(inputs):
        with torch.no_grad():
            return qmodel(torch.from_numpy(inputs)).numpy()

    inputs = x.numpy().copy()
    inputs[0] = 0  # blocks of zeros
    inputs[1] *= 1e-38
    inputs[2] *= 1e30
    report = check_qonnx(tmp_path / "net.onnx", inputs, forward)
    kinds = [row.kind for row in report.rows]
    assert (kinds.count("blocks"), kinds.count("block sums"), kinds.count("block weights")) == (
        5,
    ) * 3
    assert report.failures == ()
    assert report.layers == 5
    assert all(row.proven for row in report.rows if row.kind.startswith("block"))
    assert any("MatMul" in island or "Conv" in island for island in report.islands)
    output = next(row for row in report.rows if row.kind == "outputs")
    assert not output.proven  # sums over blocks in float32


def test_scales_and_elements_are_explicit(net, tmp_path):
    model, x = net
    qmodel = quantize(model, Recipe("mxfp4", "mxint8"), x)
    export_qonnx(qmodel, tmp_path / "net.onnx", x[:1])
    proto = onnx.load(str(tmp_path / "net.onnx"))
    ops = [node.op_type for node in proto.graph.node]
    assert {
        "Abs",
        "ReduceMax",
        "GreaterOrEqual",
        "ReduceSum",
        "Gather",
        "Quant",
        "FloatQuant",
    } <= set(ops)
    assert "Log" not in ops
    stored = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    elements = next(v for k, v in stored.items() if k == "first.weight")
    assert elements.shape == (40, 3, 3, 1, 1, 32)  # out, taps, groups, blocks, elements
    assert set(np.unique(np.abs(elements))) <= {0, 0.5, 1, 1.5, 2, 3, 4, 6}
    scales = [v for v in stored.values() if v.shape == (40, 3, 3, 1, 1, 1)]
    assert len(scales) == 1
    assert (np.frexp(scales[0])[0] == 0.5).all()
    meta = json.loads(next(p.value for p in proto.metadata_props if p.key == "hwquant"))
    assert meta["blocks"]["act_quant.first"]["format"] == "mxint8"


def test_a_changed_file_is_noticed(net, tmp_path):
    """Negative control: one scale, one element, one threshold."""
    model, x = net
    path = tmp_path / "net.onnx"
    export_qonnx(quantize(model, Recipe("mxfp4", "mxfp4"), x), path, x[:1])
    whole = path.read_bytes()
    for shape, kind in (
        ((40, 3, 3, 1, 1, 1), "block weights"),
        ((40, 3, 3, 1, 1, 32), "block weights"),
        ((252,), "blocks"),
    ):
        proto = onnx.load_from_string(whole)
        tensor = next(t for t in proto.graph.initializer if tuple(t.dims) == shape)
        values = numpy_helper.to_array(tensor).copy()
        values *= 0.5
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        onnx.save(proto, str(path))
        assert kind in {row.kind for row in check_qonnx(path, x.numpy()).failures}, kind


@pytest.mark.parametrize(
    "name", ["mxfp4", "mxfp6e2m3", "mxfp6e3m2", "mxfp8e4m3", "mxfp8e5m2", "mxint8"]
)
def test_the_scale_in_the_graph_is_the_rule_everywhere(name):
    """At every power of two of float32, subnormals included, and its neighbours."""
    fmt = parse(name)
    power = np.exp2(np.arange(-149, 128)).astype(np.float32)
    lead = np.concatenate(
        [power, np.nextafter(power, np.float32(0)), np.nextafter(power, np.float32(np.inf))]
    )
    lead = lead[np.isfinite(lead) & (lead < 3e38)]
    x = np.stack([lead, lead * np.float32(0.3), -lead * np.float32(0.77), 0 * lead], -1)
    act = BlockAct(BlockQuantizer(fmt), "q", _element)
    found = act(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(found, block_np.quantize(fmt, x).astype(np.float32))


def test_nvfp4_division_meets_no_wrong_tie():
    """The argument of block_nodes, on numbers next to every tie under every scale."""
    fmt = parse("nvfp4")
    steps = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
    table = block_np.scale_table(fmt.scale)[1:127]
    ties = (steps[:, None] * table).astype(np.float32)
    above, below = np.nextafter(ties, np.float32(9e9)), np.nextafter(ties, np.float32(0))
    largest = np.broadcast_to((6 * table).astype(np.float32), ties.shape)  # gives the block's scale
    x = np.stack([ties, above, below, largest], -1).reshape(-1, 4)
    for scale in (1.0, 2.0**-20):
        quantizer = BlockQuantizer(fmt)
        quantizer.set_scale(torch.tensor(scale))
        scaled = (x * scale).astype(np.float32)
        found = BlockAct(quantizer, "q", _element)(torch.from_numpy(scaled)).numpy()
        want = block_np.quantize(fmt, scaled, scale=scale).astype(np.float32)
        np.testing.assert_array_equal(found, want)


def test_mixed_networks_keep_their_integer_layers(net, tmp_path):
    model, x = net
    recipe = Recipe("mxfp4", "mxfp4", overrides={"head": {"weight": "int8", "act": "int8"}})
    qmodel = quantize(model, recipe, x)
    written = export_qonnx(qmodel, tmp_path / "net.onnx", x[:1])
    assert [layer.name for layer in written.layers] == ["head"]
    report = check_qonnx(tmp_path / "net.onnx", x.numpy())
    assert report.failures == ()
    assert report.layers == 5
    with pytest.raises(ExportError, match="layer 'first' is block-scaled"):
        load(tmp_path / "net.onnx").workload()
