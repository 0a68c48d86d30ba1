# SPDX-License-Identifier: Apache-2.0
"""GPFQ and Qronos: valid codes, frozen scales, less error than round-to-nearest, like Brevitas."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from brevitas.graph.gpfq import GPFQ
from brevitas.graph.qronos import Qronos
from torch import nn
from torch.nn import functional

from hwquant import Recipe, codec_np, quantize
from hwquant.errors import InputError, SpecError
from hwquant.formats import parse
from hwquant.nn.codes import layer_codes, quantized_layers
from hwquant.nn.layers import MatMul, quantized_layer
from hwquant.nn.quantizers import Quantizer, weight_quantizer
from hwquant.ptq.hessian import to_rows
from hwquant.ptq.job import build_step
from hwquant.ptq.mismatch import relative_error, visit_pairs
from hwquant.ptq.quantize import prepare
from hwquant.ptq.scales import solve
from hwquant.ptq.step import StepSpec
from hwquant.ptq.steps.gpfq import gpfq
from hwquant.ptq.steps.qronos import qronos

FORMATS = [
    ("int3", "int4", False),
    ("int2", "uint4", True),
    ("e2m1", "e2m1", False),
    ("e3m0", "ue2m2", True),
    ("e0m3", "e4m3", False),
    ("e4m3fn", "ue4m0", True),
    ("pow4a0.75f6", "int6", False),
]
STEPS = ["gpfq", "qronos", "gpfq:act_order=true", "qronos:act_order=true,alpha=1e-6"]


class Net(nn.Module):
    """Plain, depthwise, grouped, transposed and one-dimensional convolutions, then linear."""

    def __init__(self):
        super().__init__()
        self.a, self.depth = nn.Conv2d(2, 8, 3, padding=1), nn.Conv2d(8, 8, 3, groups=8)
        self.grouped = nn.Conv2d(8, 6, 3, padding=1, groups=2, padding_mode="reflect")
        self.up = nn.ConvTranspose2d(6, 4, 3, stride=2, groups=2, output_padding=1)
        self.line, self.head = nn.Conv1d(4, 5, 3, dilation=2), nn.Linear(5, 4)

    def forward(self, x):
        x = functional.relu(self.depth(functional.relu(self.a(x))))
        x = functional.relu(self.up(functional.relu(self.grouped(x))))
        return self.head(functional.relu(self.line(x.mean(2))).mean(2))


class Shared(nn.Module):
    """A layer called twice, a product of activations."""

    def __init__(self):
        super().__init__()
        self.first, self.again = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        x = torch.relu(self.again(torch.relu(self.first(x))))
        return self.again(torch.relu(x)) @ x.transpose(1, 2)


SHAPES = {Net: (2, 9, 9), Shared: (5, 6)}


def sample(kind, items=32, seed=0):
    """Return a network and correlated data."""
    torch.manual_seed(seed)
    net, x = kind().eval(), torch.randn(items, *SHAPES[kind])
    return net, x + x.mean(-1, keepdim=True) + torch.roll(x, 1, -1)


def rounded(net, x, *steps, **options):
    """Return the job after ``calibrate`` and ``steps``."""
    job = prepare(net, Recipe(**options), (x,), input_non_negative=False)
    for step in ("calibrate", *steps):
        build_step(StepSpec.parse(step)).apply(job)
    return job


def weighted(job):
    return [site for site in job.sites if not isinstance(job.layer(site), MatMul)]


def off_grid(layer):
    """Return the weights that are not scale x a value of the format."""
    quantizer = weight_quantizer(layer)
    fmt, codes, scale = layer_codes(layer)
    values = codec_np.decode(fmt, codes).astype(np.float32) * np.float32(float(fmt.step)) * scale
    return int((values != layer.weight.detach().numpy()).sum()), quantizer


def errors(job, rows_of):
    """Return each layer's mismatched error, on the inputs that ``job`` gives it."""
    found = {}

    def handle(site, moments):
        h, g = moments.matrices(site.path)
        layer = job.layer(site)
        exact = to_rows(layer, job.float_layer(site).weight.detach())
        found[site.path] = float(relative_error(exact, rows_of(site, layer), h, g).sum())

    visit_pairs(job, handle)
    return found


@pytest.mark.parametrize(("weight", "act", "unsigned"), FORMATS)
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_every_format_gets_valid_codes_on_frozen_scales_and_less_error(
    weight, act, unsigned, granularity
):
    net, x = sample(Net)
    options = {"weight": weight, "act": act, "act_unsigned": unsigned, "granularity": granularity}
    nearest = rounded(net, x, **options)
    for step in STEPS[:2]:
        job = rounded(net, x, step, **options)
        lower = 0
        got = errors(job, lambda _, layer: to_rows(layer, layer.weight.detach()))
        plain = errors(
            job,
            lambda site, layer: to_rows(
                layer, weight_quantizer(layer)(nearest.layer(site).weight.detach())
            ),
        )
        for site in job.sites:
            wrong, quantizer = off_grid(job.layer(site))
            assert wrong == 0
            assert torch.equal(quantizer.scale, weight_quantizer(nearest.layer(site)).scale), (
                site.path
            )
            assert got[site.path] <= plain[site.path] + 1e-9 * abs(plain[site.path]), site.path
            lower += got[site.path] < plain[site.path]
        assert lower >= 4


def test_negative_control_a_weight_one_step_away_is_seen():
    net, x = sample(Net)
    job = rounded(net, x, "qronos", weight="int3")
    layer = job.layer(job.sites[0])
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] *= 1.001
        layer.weight[0, 0, 0, 1] += 0.1 * weight_quantizer(layer).scale[0, 0, 0, 0]
    assert off_grid(layer)[0] in (1, 2)  # a weight of 0 stays 0


def test_negative_control_moments_of_other_data_give_more_error():
    net, x = sample(Net)
    job = rounded(net, x, weight="int3", act="int8")
    site = job.sites[0]
    h, g = {}, {}
    visit_pairs(
        job,
        lambda s, m: (
            h.update({s.path: m.matrices(s.path)[0]}),
            g.update({s.path: m.matrices(s.path)[1]}),
        ),
    )
    rows = to_rows(job.layer(site), job.layer(site).weight.detach())
    scale = weight_quantizer(job.layer(site)).scale.reshape(1, -1, 1)
    right, other = h[site.path], torch.eye(rows.shape[2]).double().unsqueeze(0)

    def nearest(values, _columns):
        return torch.round(values.float() / scale).clamp(-4, 3) * scale

    good = qronos(rows, right, g[site.path], nearest)
    wrong = qronos(rows, other, other, nearest)
    assert float(relative_error(rows, good, right, g[site.path]).sum()) < float(
        relative_error(rows, wrong, right, g[site.path]).sum()
    )


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("weight", ["int3", "e2m1"])
def test_the_network_comes_nearer_to_the_float_one(step, weight):
    net, x = sample(Net, items=128)
    test = sample(Net, items=128, seed=1)[1]

    def error(*steps):
        recipe = Recipe(weight, "int8", scale="float", steps=["calibrate", *steps])
        return float((quantize(net, recipe, x)(test) - net(test)).detach().square().mean())

    assert error(step) < 0.9 * error()


@pytest.mark.parametrize("step", STEPS[:2])
def test_shared_layers_and_products_of_activations(step):
    net, x = sample(Shared)
    job = rounded(net, x, step, weight="int3", act="int8")
    assert len(weighted(job)) == 2
    assert all(off_grid(job.layer(site))[0] == 0 for site in weighted(job))
    nearest = rounded(net, x, weight="int3", act="int8")
    want = job.reference(x)
    assert float((job.model(x) - want).detach().square().mean()) < float(
        (nearest.model(x) - want).detach().square().mean()
    )


# Against Brevitas's own code, on the same layer, data and frozen scales.


def one_layer(name, kind="linear", seed=0):
    """Return a quantized layer, its rows, float and quantized patches (columns, samples)."""
    torch.manual_seed(seed)
    layer = nn.Linear(12, 7) if kind == "linear" else nn.Conv2d(6, 4, 2, groups=2)
    fmt = parse(name)
    rows = layer.weight.detach().flatten(1)
    scale = solve(rows, fmt, "float", "absmax").reshape(-1, *[1] * (layer.weight.dim() - 1))
    quantized = quantized_layer(layer, Quantizer(fmt, "float", 0, "layer", scale))
    groups = getattr(layer, "groups", 1)
    x = torch.randn(groups, 12, 400)
    x = torch.einsum("gij,gjn->gin", torch.randn(groups, 12, 12), x).double()
    y = x + 0.1 * torch.randn_like(x)
    return quantized, rows.reshape(groups, -1, 12), x, y


@pytest.mark.parametrize("name", ["int3", "int4", "e2m1", "e3m0", "e0m3", "e3m2"])
@pytest.mark.parametrize("method", ["gpfq", "qronos"])
@pytest.mark.parametrize("kind", ["linear", "grouped"])
@pytest.mark.parametrize("act_order", [False, True])
def test_the_codes_are_those_of_brevitas(name, method, kind, act_order):
    if act_order and kind == "grouped":
        return  # one order for all groups here, one each there
    layer, rows, x, y = one_layer(name, kind)
    h, g = torch.bmm(y, y.transpose(1, 2)), torch.bmm(x, y.transpose(1, 2))
    scale = layer.weight_quant.tensor_quant.quantizer.scale.reshape(rows.shape[0], -1, 1)
    fmt = parse(name)

    def nearest(values, _columns):
        from hwquant.nn.kernel import quantize_unit

        return quantize_unit(values.float() / scale, fmt) * scale

    if method == "gpfq":
        ours = gpfq(rows, h, g, nearest, act_order=act_order)
        theirs = GPFQ(layer, "l", act_order, 1, create_weight_orig=True)
        theirs.G = g.transpose(1, 2).float() / 400  # its convention: quantized times float
    else:
        ours = qronos(rows, h, g, nearest, alpha=1e-6, act_order=act_order)
        theirs = Qronos(layer, "l", act_order, 1, create_weight_orig=True)
        theirs.G = g.float() / 400
    theirs.H, theirs.nsamples = h.float() / 400, 400
    with torch.no_grad():
        theirs.single_layer_update()
        other = weight_quantizer(layer)(layer.weight).reshape(rows.shape)
    same = float(((ours - other).abs() < 1e-5).float().mean())
    assert same > 0.97  # float32 there, float64 here: a tie now and then
    assert bool((ours != nearest(rows, None)).any())


def test_gpfq_is_the_greedy_choice():
    """Each column is the best of all values of the format, given what was chosen before."""
    _, rows, x, y = one_layer("int2")
    rows, x, y = rows[:, :3, :6], x[:, :6], y[:, :6]
    scale = rows.abs().amax(2, keepdim=True)
    grid = (-2.0, -1.0, 0.0, 1.0)

    def nearest(values, _columns):
        return torch.round(values.float() / scale).clamp(-2, 1) * scale

    q = gpfq(rows, y @ y.transpose(1, 2), x @ y.transpose(1, 2), nearest).double()
    for o, t in itertools.product(range(3), range(6)):
        target = rows[0, o, : t + 1].double() @ x[0, : t + 1]
        done = q[0, o, :t] @ y[0, :t]
        costs = {
            v: float((target - done - v * float(scale[0, o]) * y[0, t]).square().sum())
            for v in grid
        }
        chosen = round(float(q[0, o, t] / scale[0, o]))
        assert costs[chosen] == min(costs.values())


# Bad input.


@pytest.mark.parametrize("step", STEPS[:2])
def test_zero_channels_zero_inputs_and_a_batch_of_one(step, capsys):
    net, x = sample(Net)
    with torch.no_grad():
        net.a.weight[1], net.a.bias[1] = 0, -1  # depth reads a channel of zeros
        net.depth.weight[3] = 0
        net.line.weight.zero_()
        net.line.bias.fill_(-1)  # head reads nothing but zeros
    job = rounded(net, x[:1], step, weight="e2m1", act="e4m3")
    for site in job.sites:
        layer = job.layer(site)
        assert off_grid(layer)[0] == 0
        assert bool(torch.isfinite(layer.weight).all())
    head = job.layer(job.sites[-1])
    assert torch.equal(head.weight, weight_quantizer(head)(job.float_layer(job.sites[-1]).weight))
    assert f"{step}: 6/6" in capsys.readouterr().err


@pytest.mark.parametrize("step", STEPS[:2])
def test_the_float_model_stays_and_seeds_are_not_needed(step):
    net, x = sample(Net)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recipe = Recipe("int3", "int8", steps=["calibrate", step])
    first, second = quantize(net, recipe, x), quantize(net, recipe, x)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])
    for (_, a), (_, b) in zip(quantized_layers(first), quantized_layers(second), strict=True):
        assert np.array_equal(layer_codes(a).codes, layer_codes(b).codes)


@pytest.mark.parametrize("step", STEPS[:2])
def test_activations_that_overflow_are_named(step):
    net, x = sample(Shared)
    with torch.no_grad():
        net.first.weight.fill_(1e30)
        net.again.weight.fill_(1e30)
    with pytest.raises(InputError, match="NaN or infinity"):
        quantize(net, Recipe(steps=["calibrate", step]), x)


def test_wrong_orders_and_options_are_refused():
    net, x = sample(Shared)
    with pytest.raises(SpecError, match="gpfq and qronos each round the weights"):
        quantize(net, Recipe(steps=["calibrate", "gpfq", "qronos"]), x)
    with pytest.raises(SpecError, match="must come before qronos"):
        quantize(net, Recipe(steps=["qronos", "calibrate"]), x)
    with pytest.raises(SpecError, match=r"step qronos: alpha=0\.0"):
        build_step(StepSpec.parse("qronos:alpha=0"))
    with pytest.raises(SpecError, match="step gpfq: unknown option 'alpha'"):
        build_step(StepSpec.parse("gpfq:alpha=1"))
