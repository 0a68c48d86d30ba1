# SPDX-License-Identifier: Apache-2.0
"""Equalization, SmoothQuant, MagR, batch norm re-estimation: exact in float, better quantized."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
import torch
from brevitas.graph.calibrate import norm_correction_mode
from brevitas.graph.equalize import EqualizeGraph, activation_equalization_mode
from torch import nn
from torch.nn import functional

import hwquant
from hwquant import Recipe, codec_np, quantize
from hwquant.errors import InputError, SpecError
from hwquant.export.check import check_qonnx
from hwquant.export.qonnx import export_qonnx
from hwquant.nn.codes import act_quantizers, layer_codes, quantized_layers
from hwquant.nn.layers import MatMul
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq.factors import input_range, output_range, scale_inputs
from hwquant.ptq.job import build_step
from hwquant.ptq.quantize import prepare
from hwquant.ptq.regions import regions
from hwquant.ptq.spectrum import largest_eigenvalue
from hwquant.ptq.step import StepSpec
from hwquant.ptq.steps.magr import magr, project_onto_l1_ball

FORMATS = [
    ("int3", "int8", False),
    ("int4", "uint4", True),
    ("e2m1", "e2m1", False),
    ("e3m0", "ue2m2", True),
    ("e0m3", "e4m3", False),
    ("e4m3fn", "ue4m0", True),
]
STEPS = ["equalize", "smoothquant", "smoothquant:po2=false,alpha=0.7"]


class Chain(nn.Module):
    """Plain, depthwise, grouped, transposed and one-dimensional convolutions, then linear."""

    def __init__(self):
        super().__init__()
        self.a, self.bn = nn.Conv2d(2, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 3, padding=1, groups=4, bias=False)
        self.up = nn.ConvTranspose2d(12, 6, 2, stride=2, groups=2)
        self.flat, self.line = nn.Conv1d(6, 5, 3), nn.Conv1d(5, 5, 1, groups=5)
        self.head = nn.Linear(5 * 14, 4)

    def forward(self, x):
        x = functional.relu(self.bn(self.a(x)))
        x = functional.leaky_relu(self.depth(x), 0.1)
        x = functional.max_pool2d(functional.relu(self.grouped(x)), 2)
        x = torch.relu(self.up(x)).mean(2)
        x = torch.cat([x, x], -1)
        x = functional.relu(self.line(functional.relu(self.flat(x))))
        return self.head(x.reshape(x.size(0), -1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.one, self.two = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.relu, self.pool = nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(x + self.two(self.relu(self.one(x))))
        return self.head(self.pool(x).flatten(1))


class Shared(nn.Module):
    """A layer called three times, whose outputs it reads itself, and tied weights."""

    def __init__(self):
        super().__init__()
        self.first, self.again, self.last = (nn.Linear(6, 6) for _ in range(3))
        self.last.weight = self.again.weight

    def forward(self, x):
        x = torch.relu(self.first(x))
        for _ in range(3):
            x = torch.relu(self.again(x))
        return self.last(x)


class Tokens(nn.Module):
    """Norm, attention and GELU: nothing but the norms can take a factor."""

    def __init__(self, width=8):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.RMSNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        y = self.norm1(x)
        x = x + self.attention(y, y, y)[0]
        return x + self.fc2(functional.gelu(self.fc1(self.norm2(x))))


class Barrier(nn.Module):
    """Products, ReLU6 and a concatenation of channels: no factor may pass."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.d, self.e = nn.Linear(12, 6), nn.Linear(6, 6)

    def forward(self, x):
        y = self.a(x) * self.b(x)
        z = functional.relu6(self.c(y))
        return self.e(self.d(torch.cat([y, z], -1)) + 1)


class Summed(nn.Module):
    """A tensor that a layer and a sum read, behind a GELU."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        y = functional.gelu(self.a(x))
        return self.c(y + self.b(y))


SHAPES = {Chain: (2, 8, 8), Residual: (3, 6, 6), Shared: (6,), Tokens: (5, 8), Barrier: (6,)}
SHAPES[Summed] = (6,)


def uneven(kind, seed=0):
    """Return a network whose channels differ in range by orders of magnitude, and data."""
    torch.manual_seed(seed)
    net, x = kind(), torch.randn(24, *SHAPES[kind])
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(x)
        for layer in net.modules():
            if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.LayerNorm):
                spread = torch.logspace(-1, 1, len(layer.weight))[torch.randperm(len(layer.weight))]
                layer.weight.mul_(spread.reshape(-1, *[1] * (layer.weight.dim() - 1)))
    return net.eval(), x


def prepared(net, x, **options):
    return prepare(net, Recipe(**options), (x,), input_non_negative=False, keep_unfused=True)


def apply(job, *steps):
    for step in steps:
        build_step(StepSpec.parse(step)).apply(job)


def far(a, b):
    return float((a - b).detach().abs().max() / b.detach().abs().max())


# In float: the function stays.


@pytest.mark.parametrize("kind", list(SHAPES))
@pytest.mark.parametrize("step", STEPS)
def test_the_float_function_and_the_users_model_stay(kind, step):
    net, x = uneven(kind)
    before = copy.deepcopy(net.state_dict())
    job = prepared(net, x)
    want = job.reference(x)
    apply(job, step, step)
    assert far(job.reference(x), want) < 1e-5
    assert far(job.unfused(x), want) < 1e-5
    assert far(net(x), want) < 1e-5
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    for site in job.sites:
        layer = job.layer(site)
        if not isinstance(layer, MatMul):
            assert torch.equal(layer.weight, job.float_layer(site).weight)


def test_negative_control_a_factor_left_behind_is_seen():
    net, x = uneven(Chain)
    job = prepared(net, x)
    want = job.reference(x)
    scale_inputs(job.reference.get_submodule("depth"), torch.full((8,), 1.001))
    assert far(job.reference(x), want) > 1e-5


def test_regions_of_a_chain_link_every_layer():
    net, x = uneven(Chain)
    found = {r.sources: r for r in regions(prepared(net, x).reference, x) if r.exact}
    linked = {source: [tap.path for tap in r.taps] for source, r in found.items()}
    assert linked == {
        ("a",): ["depth"],
        ("depth",): ["grouped"],
        ("grouped",): ["up"],
        ("up",): ["flat"],
        ("flat",): ["line"],
        ("line",): ["head"],
    }
    assert found["line",].taps[0].repeat == 14


def test_regions_of_a_residual_join_and_barriers_end_them():
    net, x = uneven(Residual)
    joined = [r for r in regions(prepared(net, x).reference, x) if "stem" in r.sources]
    assert set(joined[0].sources) == {"stem", "two"}
    assert {tap.path for tap in joined[0].taps} == {"one", "head"}
    net, x = uneven(Barrier)
    assert not any(r.exact for r in regions(prepared(net, x).reference, x))


@pytest.mark.parametrize("kind", [Chain, Residual])
def test_equalize_makes_rows_and_columns_equal(kind):
    net, x = uneven(kind)
    job = prepared(net, x)
    apply(job, "equalize:iterations=200,threshold=0")
    for region in (r for r in regions(job.reference, x) if r.exact):
        get = job.reference.get_submodule
        rows = [output_range(get(path), region.channels) for path in region.sources]
        columns = [input_range(get(t.path), region.channels, t.repeat) for t in region.taps]
        got, want = torch.stack(rows).amax(0), torch.stack(columns).amax(0)
        assert torch.allclose(got, want, rtol=1e-3)


# Against Brevitas, where it does the same.


def modules_only(seed=0):
    """Return a chain that Brevitas can walk: activations as modules, no norm."""
    torch.manual_seed(seed)
    net = nn.Sequential(
        *(nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.ReLU()),
        *(nn.Conv2d(8, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(6, 4, 1)),
    ).eval()
    with torch.no_grad():  # rescaled by hand: what one layer gives more, the next takes less
        for give, take in ((net[0], net[2]), (net[4], net[7])):
            s = torch.logspace(-1, 1, len(give.weight)).reshape(-1, 1, 1, 1)
            give.weight.mul_(s)
            give.bias.mul_(s.flatten())
            take.weight.div_(s if take.groups > 1 else s.transpose(0, 1))
    return net, torch.randn(16, 2, 8, 8)


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_equalize_equals_brevitas_where_that_works(bias):
    net, x = modules_only()
    job = prepared(net, x)
    apply(job, f"equalize:iterations=10,threshold=0,bias={bias}")
    theirs = EqualizeGraph(iterations=10, threshold=None, merge_bias=bias > 0).apply(
        torch.fx.symbolic_trace(copy.deepcopy(net))
    )
    assert far(job.reference(x), net(x)) < 1e-5
    for name in ("0", "2", "4", "7"):
        ours, other = job.reference.get_submodule(name), theirs.get_submodule(name)
        assert torch.allclose(ours.weight, other.weight, rtol=1e-4), name
        assert torch.allclose(ours.bias, other.bias, rtol=1e-4), name


def test_smoothquant_equals_brevitas_where_that_works():
    net, x = modules_only(1)
    job = prepared(net, x)
    apply(job, "smoothquant:po2=false,add_mul_node=false")
    theirs = torch.fx.symbolic_trace(copy.deepcopy(net))
    with (
        torch.no_grad(),
        activation_equalization_mode(theirs, alpha=0.5, layerwise=False, add_mul_node=False),
    ):
        theirs(x)
    for name in ("0", "2", "4"):
        ours, other = job.reference.get_submodule(name), theirs.get_submodule(name)
        assert torch.allclose(ours.weight, other.weight, rtol=1e-4), name
    assert not torch.allclose(job.reference.get_submodule("0").weight, net[0].weight, rtol=1e-2)


def test_brevitas_does_nothing_behind_a_functional_relu_and_breaks_products():
    """Why the regions are ours."""

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.b(functional.relu(self.a(x)))

    class Product(Functional):
        def forward(self, x):
            y = self.a(x)
            return self.b(y * y)

    torch.manual_seed(0)
    x = torch.randn(8, 4)
    for kind in (Functional, Product):
        net = kind()
        with torch.no_grad():
            net.a.weight[0] *= 100
        theirs = EqualizeGraph(merge_bias=False).apply(torch.fx.symbolic_trace(copy.deepcopy(net)))
        job = prepared(net, x)
        apply(job, "equalize")
        assert far(job.reference(x), net(x)) < 1e-5
        ours, old = job.reference.get_submodule("a").weight, net.a.weight
        if kind is Functional:
            assert torch.equal(theirs.get_submodule("a").weight, old)
            assert not torch.allclose(ours, old, rtol=1e-2)
        else:
            assert far(theirs(x), net(x)) > 1e-2
            assert torch.equal(ours, old)


# Quantized: better, and every format.


def codes_are_valid(qnet):
    for _, layer in quantized_layers(qnet):
        if not isinstance(layer, MatMul):
            fmt, codes, _ = layer_codes(layer)
            assert np.isfinite(codec_np.decode(fmt, codes).astype(float)).all()
        for quantizer in act_quantizers(qnet, layer):
            assert bool(torch.isfinite(quantizer.scale).all())


@pytest.mark.parametrize(("weight", "act", "unsigned"), FORMATS)
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_every_format_takes_every_step(weight, act, unsigned, granularity):
    for kind in (Chain, Tokens):
        net, x = uneven(kind)
        steps = ["equalize", "smoothquant", "magr:num_steps=10", "calibrate", "bn_reestimation"]
        recipe = Recipe(
            *(weight, act),
            granularity=granularity,
            act_unsigned=unsigned,
            scale="float",
            steps=steps if kind is Chain else steps[:-1],
        )
        qnet = quantize(net, recipe, x)
        codes_are_valid(qnet)
        assert bool(torch.isfinite(qnet(x)).all())


def test_block_scaled_formats_take_the_transforms():
    net, x = uneven(Tokens)
    plain = error(net, x, "calibrate", weight="mxfp4", act="mxfp4")
    steps = ("smoothquant", "magr:num_steps=5", "calibrate")
    assert error(net, x, *steps, weight="mxfp4", act="mxfp4") < 2 * plain


def error(net, x, *steps, **options):
    quantized = quantize(net, Recipe(steps=steps, **options), x)
    return float((quantized(x) - net(x)).detach().square().mean())


@pytest.mark.parametrize("weight", ["int4", "int6", "e2m1", "e3m0", "e0m3"])
def test_equalize_helps_one_scale_per_tensor(weight):
    net, x = modules_only()
    options = {"weight": weight, "act": "int8", "granularity": "per_tensor"}
    assert error(net, x, "equalize", "calibrate", **options) < 0.5 * error(
        net, x, "calibrate", **options
    )


@pytest.mark.parametrize("act", ["int4", "int6"])
@pytest.mark.parametrize("po2", ["true", "false"])
def test_smoothquant_helps_activations_with_outliers(act, po2):
    torch.manual_seed(0)
    net = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 16), nn.GELU(), nn.Linear(16, 8)).eval()
    with torch.no_grad():
        net[0].weight[3] = 60.0
        net[1].weight[:, 3] /= 60
    x = torch.randn(64, 16)
    plain = error(net, x, "calibrate", weight="int8", act=act)
    smooth = error(net, x, f"smoothquant:po2={po2}", "calibrate", weight="int8", act=act)
    assert smooth < 0.3 * plain


def test_powers_of_two_are_exact():
    """Folded factors that are powers of two change no bit of the float network."""
    net, x = modules_only(2)
    job = prepared(net, x)
    want = job.reference(x)
    apply(job, "smoothquant:add_mul_node=false")
    assert torch.equal(job.reference(x), want)
    assert not torch.equal(job.reference.get_submodule("0").weight, net[0].weight)


# Explicit multiplications.


def test_an_explicit_multiplication_has_a_name_and_survives_saving(tmp_path):
    net, x = uneven(Tokens)
    qnet = quantize(net, Recipe("int8", "int8", steps=["smoothquant", "calibrate"]), x)
    names = [name for name, _ in qnet.named_modules() if name.startswith("channel_scale.")]
    assert len(names) == 2  # behind the attention and the GELU
    for name in names:
        factor = qnet.get_submodule(name).factor
        assert bool((torch.frexp(factor)[0] == 0.5).all())
        assert not bool((factor == factor[0]).all())
    hwquant.save_quantized(qnet, tmp_path / "q.pt")
    again = hwquant.load_quantized(tmp_path / "q.pt", Tokens())
    assert torch.equal(again(x), qnet(x))
    assert again.meta["hwquant"] == qnet.meta["hwquant"]
    plain = quantize(
        net, Recipe("int8", "int8", steps=["smoothquant:add_mul_node=false", "calibrate"]), x
    )
    assert not any("channel_scale" in name for name, _ in plain.named_modules())


@pytest.mark.parametrize("po2", ["true", "false"])
def test_an_explicit_multiplication_is_exported_and_executed(tmp_path, po2):
    net, x = uneven(Tokens)
    net.norm2 = nn.LayerNorm(8)  # ONNX has no RMSNorm yet
    steps = [f"smoothquant:po2={po2}", "calibrate"]
    qnet = quantize(net, Recipe("int8", "int8", steps=steps), x)
    export_qonnx(qnet, tmp_path / "q.onnx", x[:1])
    nodes = {node.name for node in onnx.load(tmp_path / "q.onnx").graph.node}
    assert {"channel_scale.flatten.Mul", "channel_scale.gelu.Mul"} <= nodes
    report = check_qonnx(tmp_path / "q.onnx", x[:2].numpy())
    assert report.differences == 0
    named = [row.layer for row in report.rows if "channel_scale.flatten" in row.why]
    assert named == ([] if po2 == "true" else ["act_quant.attention_out_proj"])  # a shift is exact


def test_a_sum_reads_the_tensor_itself_once_its_codes_have_other_units():
    net, x = uneven(Summed)
    job = prepared(net, x, weight="int8", act="int8")
    add = next(n for n in job.model.graph.nodes if "add" in n.name)
    assert any(str(n.target).startswith("act_quant") for n in add.all_input_nodes)
    want = job.reference(x)
    apply(job, "smoothquant", "calibrate")
    assert not any(str(n.target).startswith("act_quant") for n in add.all_input_nodes)
    assert far(job.model(x), want) < 0.05


def test_codes_that_others_must_read_stay(capsys):
    net, x = uneven(Summed)
    job = prepared(net, x, sums="quantized")
    apply(job, "smoothquant")
    assert "b left as it is: act_quant.b has other readers" in capsys.readouterr().err


def test_layers_left_float_are_scaled_too():
    net, x = uneven(Chain)
    job = prepared(net, x, exclude=["grouped", "flat"])
    want = job.reference(x)
    apply(job, *STEPS)
    assert far(job.reference(x), want) < 1e-5
    assert torch.equal(
        job.model.get_submodule("flat").weight, job.reference.get_submodule("flat").weight
    )


# MagR.


def test_projection_onto_the_ball():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 9, dtype=torch.float64)
    radius = torch.tensor([0.5, 100.0], dtype=torch.float64).reshape(2, 1, 1)
    y = project_onto_l1_ball(x, radius)
    assert torch.allclose(y[0].abs().sum(-1), torch.tensor(0.5, dtype=torch.float64))
    assert torch.equal(y[1], x[1])
    # The nearest point of the ball: no other is nearer (variational inequality).
    other = torch.randn(2, 2000, 9, dtype=torch.float64)
    other = 0.5 * other / other.abs().sum(-1, keepdim=True)
    gap = torch.einsum("ock,onk->ocn", x[:1] - y[:1], other[:1])
    assert float((gap - ((x - y) * y).sum(-1)[:1].unsqueeze(2)).max()) <= 1e-9


def test_magr_lowers_its_objective_and_equals_brevitas():
    torch.manual_seed(0)
    from brevitas.graph.magr import MagR

    layer = nn.Linear(12, 5)
    with torch.no_grad():
        layer.weight[:, 0] *= 8
    x = torch.randn(200, 12) @ torch.randn(12, 12)
    h = (2 / 200) * (x.T @ x).double().unsqueeze(0)
    rows = layer.weight.detach().clone().unsqueeze(0)
    theirs = MagR(layer, "l", 1, create_weight_orig=True, gradient_steps=50, alpha=0.05)
    theirs.H, theirs.nsamples = h.float().clone(), 200
    theirs.single_layer_update()
    ours = magr(rows.clone(), h, 0.05, 50)
    assert float((ours[0] - layer.weight).detach().abs().max()) < 2e-3
    top = float(largest_eigenvalue(h))
    strength = 0.05 * top**2 / float(h.abs().sum(1).amax())

    def objective(w):
        e = (w - rows).double()
        return float((torch.bmm(e, h) * e).sum() / 2 + strength * w.abs().amax(2).sum())

    assert objective(ours) < objective(rows)
    assert bool((ours.abs().amax(2) < rows.abs().amax(2)).all())


def test_magr_changes_only_the_weights_to_be_quantized(capsys):
    net, x = uneven(Chain)
    job = prepared(net, x)
    want = job.reference(x)
    with torch.no_grad():  # depth reads zeros only
        for graph in (job.reference, job.model):
            graph.get_submodule("a").weight.zero_()
            graph.get_submodule("a").bias.fill_(-1.0)
        old = job.layer(job.sites[1]).weight.clone()
    apply(job, "magr:num_steps=5")
    assert "magr: depth reads zeros only, left as it is" in capsys.readouterr().err
    assert torch.equal(job.layer(job.sites[1]).weight, old)
    assert far(job.reference(x), want) > 0  # by our own change above, and no NaN
    moved = [
        s.path for s in job.sites if not torch.equal(job.layer(s).weight, job.float_layer(s).weight)
    ]
    assert "depth" not in moved
    assert len(moved) >= 4


# Batch norm re-estimation.


def stats(graph, name, x):
    found = {}
    from hwquant.ptq.run import Recorder

    Recorder(graph, {name: (name,)}, lambda n, v: found.update({n: v})).run(x)
    rows = found[name].detach().transpose(0, 1).flatten(1).double()
    return rows.mean(1), rows.std(1, correction=0)


@pytest.mark.parametrize("scale", ["float", "po2"])
def test_statistics_behind_a_folded_norm_are_those_of_the_float_network(scale):
    net, x = uneven(Residual)
    job = prepared(net, x, weight="int3", act="int8", scale=scale)
    apply(job, "calibrate")
    before, codes = stats(job.model, "stem", x), layer_codes(job.model.get_submodule("stem")).codes
    apply(job, "bn_reestimation:limit=10")
    want, got = stats(job.reference, "stem", x), stats(job.model, "stem", x)
    assert not torch.allclose(before[0], want[0], rtol=1e-2)
    assert torch.allclose(got[0], want[0], atol=1e-5)
    assert np.array_equal(layer_codes(job.model.get_submodule("stem")).codes, codes)
    if scale == "float":
        assert torch.allclose(got[1], want[1], rtol=1e-4)
    else:
        assert torch.allclose(got[1], before[1], rtol=1e-4)
    untouched = job.model.get_submodule("one")  # no norm behind it
    assert torch.equal(untouched.bias, job.reference.get_submodule("one").bias)


class Live(nn.Module):
    """A batch norm that cannot be folded: the layer has a second reader."""

    def __init__(self):
        super().__init__()
        self.a, self.bn, self.b = nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 3)

    def forward(self, x):
        y = self.a(x)
        return self.b(torch.relu(self.bn(y) + y))


def live():
    torch.manual_seed(0)
    net, x = Live(), torch.randn(32, 2, 8, 8)
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(x)
    return net.eval(), x


def test_a_norm_that_stays_takes_the_statistics_up():
    net, x = live()
    job = prepared(net, x, weight="int2", act="int8")
    apply(job, "calibrate", "bn_reestimation:limit=100")
    want, got = stats(job.reference, "bn", x), stats(job.model, "bn", x)
    assert torch.allclose(got[0], want[0], atol=1e-4)
    assert torch.allclose(got[1], want[1], rtol=1e-3)


def test_brevitas_corrects_half_of_a_changed_variance():
    """Why the formula is ours: its running variance is the geometric mean of old and new."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.BatchNorm2d(3, eps=1e-12))
    x = torch.randn(64, 3, 8, 8)
    net.train()
    for _ in range(200):
        net(x)
    net.eval()
    with torch.no_grad(), norm_correction_mode(net):
        net(2 * x)  # what the layer in front returns is twice as wide now
    net.eval()  # it leaves the norm in training mode
    deviation = net(2 * x).detach().transpose(0, 1).flatten(1).std(1)
    assert torch.allclose(deviation, torch.tensor(2.0).sqrt(), rtol=0.02)


def test_a_model_without_batch_norm_is_told():
    net, x = uneven(Shared)
    with pytest.raises(InputError, match="no batch norm"):
        quantize(net, Recipe(steps=["calibrate", "bn_reestimation"]), x)


# Orders, options, bad input.


@pytest.mark.parametrize("step", ["equalize", "smoothquant", "magr"])
def test_a_transform_behind_the_scales_is_refused(step):
    net, x = uneven(Shared)
    with pytest.raises(SpecError, match=f"{step} .*must come before calibrate"):
        quantize(net, Recipe(steps=["calibrate", step]), x)


@pytest.mark.parametrize(
    "step",
    [
        *("equalize:iterations=0", "equalize:alpha=2", "equalize:threshold=-1", "equalize:bias=2"),
        *("smoothquant:alpha=1.5", "smoothquant:po2=maybe", "magr:alpha=0", "magr:num_steps=0"),
        *("bn_reestimation:limit=0.5", "equalize:merge_bias=true"),
    ],
)
def test_bad_options_are_named(step):
    with pytest.raises(SpecError, match=f"step {step.split(':')[0]}"):
        build_step(StepSpec.parse(step))


@pytest.mark.parametrize("steps", [["equalize"], ["smoothquant"], ["magr:num_steps=5"]])
def test_zero_channels_and_a_batch_of_one(steps):
    net, x = uneven(Chain)
    with torch.no_grad():
        net.depth.weight[2] = 0
        net.depth.bias[2] = 0
        net.grouped.weight[:3] = 0
        net.head.weight[:, :14] = 0
    qnet = quantize(net, Recipe("e2m1", "e4m3", steps=[*steps, "calibrate"]), x[:1])
    codes_are_valid(qnet)
    assert bool(torch.isfinite(qnet(x)).all())


@pytest.mark.parametrize("step", ["smoothquant", "magr:num_steps=2"])
def test_activations_that_are_no_numbers_are_named(step):
    net, x = uneven(Shared)
    with torch.no_grad():
        net.first.weight.fill_(1e30)
        net.again.weight.fill_(1e30)
    with pytest.raises(InputError, match="NaN or infinity"):
        quantize(net, Recipe(steps=[step, "calibrate"]), x)


def test_scales_of_quantizers_are_set_after_the_transforms():
    net, x = uneven(Chain)
    qnet = quantize(net, Recipe("int4", "int8", steps=["equalize", "calibrate"]), x)
    for _, layer in quantized_layers(qnet):
        quantizer = weight_quantizer(layer)
        reach = layer.weight.detach().abs().max() / quantizer.scale.max()
        assert float(reach) <= 2 * float(quantizer.fmt.max)
