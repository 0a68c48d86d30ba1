# SPDX-License-Identifier: Apache-2.0
"""Learned methods: where they start, where they may end, what they must never do."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hwquant import codec_np
from hwquant.errors import SpecError
from hwquant.formats import integers, minifloats, parse
from hwquant.nn.codes import layer_codes, quantized_layers
from hwquant.nn.kernel import quantize_unit
from hwquant.nn.layers import quantized_layer
from hwquant.nn.quantizers import Quantizer, act_quantizer, weight_quantizer
from hwquant.ptq import Recipe
from hwquant.ptq.learn.blocks import block_key, blocks
from hwquant.ptq.learn.descent import improve
from hwquant.ptq.learn.distribution import corrected
from hwquant.ptq.learn.flex import Divided
from hwquant.ptq.learn.grid import neighbours, values_of
from hwquant.ptq.learn.piece import cut, itemwise
from hwquant.ptq.learn.power import PowerCodes
from hwquant.ptq.learn.prediction import fisher_weights
from hwquant.ptq.learn.rounding import UpOrDown
from hwquant.ptq.learn.sample_attention import attention
from hwquant.ptq.learn.shift import Shifted
from hwquant.ptq.learn.walk import run_piece, walk
from hwquant.ptq.quantize import prepare, quantize

FORMATS = [str(f) for f in (*integers(2, 8), *minifloats(3, 8))]
FORMATS += ["int4n", "e0m3", "e4m3b4", "e4m3fn", "e5m2ieee", "pow4a0.75f6", "cb2f1_-3_0_1_4"]
PARAMETRISATIONS = [UpOrDown, Divided, Shifted]
METHODS = ["adaround", "brecq", "qdrop", "flexround", "pd_quant", "eptq", "learned_bias"]


class Residual(nn.Module):
    """A stem, a residual block with batch norms, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.first = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6))
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        x = functional.relu(x + self.second(self.first(x)))
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    model = Residual()
    for _ in range(20):
        model(torch.randn(16, 1, 6, 6))
    return model.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(48, 1, 6, 6, generator=torch.Generator().manual_seed(4))


def layer_of(fmt, weight, scale):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight = nn.Parameter(weight)
    return quantized_layer(layer, Quantizer(parse(fmt), "float", 0, "layer", scale=scale))


def hard_weights():
    """Weights on, between, in the middle of, and beyond the values of a format."""
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("make", PARAMETRISATIONS)
def test_hard_rounding_starts_at_round_to_nearest(fmt, make):
    values = values_of(parse(fmt))
    middles = (values[1:] + values[:-1]) / 2
    near = torch.nextafter(middles, torch.full_like(middles, torch.inf))
    some = torch.randn(64, generator=hard_weights()) * values[-1] / 2
    unit = torch.cat([values, middles, near, some, values[-1:] * 1.5, -values[-1:] * 9])
    unit = unit[torch.isfinite(unit)]
    scale = torch.tensor([[0.25], [2.0]])
    layer = layer_of(fmt, torch.stack([unit, unit]) * scale, scale)
    found = make(layer).hard() / scale
    assert torch.equal(found.abs(), quantize_unit(layer.weight.detach() / scale, parse(fmt)).abs())


@pytest.mark.parametrize("fmt", ["pow4a0.75f6", "pow3a0.5f4", "pow8a0.9f8"])
def test_power_codes_start_at_round_to_nearest(fmt):
    unit = torch.randn(2, 200, generator=hard_weights()) * float(parse(fmt).max) / 2
    layer = layer_of(fmt, unit, torch.ones(2, 1))
    rounding = PowerCodes(layer)
    assert torch.equal(rounding.hard(), quantize_unit(unit, parse(fmt)))
    assert rounding.final_format() == parse(fmt)


def test_negative_control_one_step_for_all_starts_elsewhere():
    """The start with the tensor's step instead of the local one (wrong for minifloats)."""
    unit = torch.randn(1, 500, generator=hard_weights()) * 2
    layer = layer_of("e2m1", unit, torch.ones(1, 1))
    rounding = UpOrDown(layer)
    share = unit - unit.floor()
    with torch.no_grad():
        rounding.V.copy_(torch.logit((share + 0.1) / 1.2))
    assert (rounding.hard() != quantize_unit(unit, parse("e2m1"))).float().mean() > 0.1


@pytest.mark.parametrize("fmt", FORMATS)
def test_neighbours_are_adjacent_values_around_the_number(fmt):
    values = values_of(parse(fmt))
    reach = float(values[-1])
    unit = torch.linspace(-1.2 * reach, 1.2 * reach, 999)
    low, high = neighbours(unit, parse(fmt))
    position = torch.searchsorted(values, low)
    assert torch.equal(values[position + 1], high)
    inside = unit.clamp(float(values[0]), reach)
    assert bool(((low <= inside) & (inside <= high)).all())


@pytest.mark.parametrize("fmt", ["int3", "e2m1", "e3m0"])
@pytest.mark.parametrize("method", METHODS)
def test_methods_end_on_valid_codes_with_less_error(net, images, fmt, method):
    recipe = {"weight": fmt, "act": "int8", "scale": "float"}
    nearest = quantize(net, Recipe(**recipe, steps=["calibrate"]), images)
    short = {"pd_quant": ",steps=5", "eptq": ",draws=4"}.get(method, "")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    steps = ["calibrate", f"{method}:iterations={200 if method == 'eptq' else 60}{short}"]
    learned = quantize(net, Recipe(**recipe, steps=steps), images)
    for (_, layer), (_, start) in zip(
        quantized_layers(learned), quantized_layers(nearest), strict=True
    ):
        codes = layer_codes(layer)
        again = codec_np.decode(codes.fmt, codes.codes) * float(codes.fmt.step) * codes.scale
        used = weight_quantizer(layer)(layer.weight.detach()).numpy()
        np.testing.assert_allclose(again, used, rtol=1e-6)
        if method != "learned_bias":
            assert torch.equal(weight_quantizer(layer).scale, weight_quantizer(start).scale)
    target = net(images)
    assert (learned(images) - target).square().sum() < (nearest(images) - target).square().sum()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_power_exponents_and_formats_are_learned(net, images):
    steps = ["power_quant", "calibrate", "nupes:iterations=80"]
    model = quantize(net, Recipe("int4", "int8", scale="float", steps=steps), images)
    names = [str(weight_quantizer(layer).fmt) for _, layer in quantized_layers(model)]
    assert all(name.startswith("pow4a") for name in names)
    plain = quantize(net, Recipe("int4", "int8", scale="float", steps=steps[:2]), images)
    target = net(images)
    assert (model(images) - target).square().sum() < (plain(images) - target).square().sum()
    with pytest.raises(SpecError, match="put the step power_quant first"):
        quantize(net, Recipe("int4", "int8", steps=["calibrate", "nupes"]), images)


def test_po2_scales_stay_powers_of_two(net, images):
    steps = ["calibrate", "learned_bias:iterations=40,lr=0.05"]
    model = quantize(net, Recipe("e2m1", "e2m1", steps=steps), images)
    for _, layer in quantized_layers(model):
        act = act_quantizer(model.get_submodule(layer.act_paths[0]))
        for quantizer in (weight_quantizer(layer), act):
            assert bool((torch.frexp(quantizer.scale)[0] == 0.5).all())


def test_a_learned_scale_needs_float_scales(net, images):
    for step in ("flexround:learn_scale=true", "eptq:learn_scale=true"):
        with pytest.raises(SpecError, match="needs recipe scale='float'"):
            quantize(net, Recipe("int4", "int8", steps=["calibrate", step]), images)


@pytest.mark.parametrize("how", ["layer", "block", "network"])
def test_activation_scales_alone_leave_the_weights(net, images, how):
    def model(*steps):
        return quantize(net, Recipe("int4", "int3", scale="float", steps=steps), images)

    plain, learned = (
        model("calibrate"),
        model("calibrate", f"act_scales:iterations=60,blocks={how}"),
    )
    for (_, a), (_, b) in zip(quantized_layers(plain), quantized_layers(learned), strict=True):
        assert torch.equal(a.weight, b.weight)
    target = net(images)
    assert (learned(images) - target).square().sum() != (plain(images) - target).square().sum()


def test_a_seed_fixes_the_result(net, images):
    def codes(seed):
        step = f"qdrop:iterations=30,seed={seed}"
        model = quantize(net, Recipe("int3", "int4", steps=["calibrate", step]), images)
        return [layer_codes(layer).codes for _, layer in quantized_layers(model)]

    first, again, other = codes(0), codes(0), codes(1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


# Small layers, every rounding enumerated.


def small_case(seed):
    generator = torch.Generator().manual_seed(seed)
    outputs, inputs = [(1, 12), (2, 6), (3, 4), (4, 3), (2, 5)][seed % 5]
    names = ["int3", "int2", "e2m1", "e3m0", "e2m0", "e1m1", "int4", "e3m1"]
    layer = nn.Linear(inputs, outputs)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(outputs, inputs, generator=generator))
    mix = torch.randn(inputs, inputs, generator=generator)
    x = torch.randn(128, inputs, generator=generator) @ mix
    return nn.Sequential(layer).eval(), names[seed % 8], x


@pytest.mark.parametrize("step", ["adaround", "flexround", "eptq"])
def test_small_layers_come_near_the_best_rounding(step):
    excess = []
    for seed in range(50):
        model, fmt, x = small_case(seed)
        nearest = quantize(model, Recipe(fmt, "int8", scale="float", steps=["calibrate"]), x)
        steps = ["calibrate", f"{step}:iterations=25"]
        learned = quantize(model, Recipe(fmt, "int8", scale="float", steps=steps), x)
        with torch.no_grad():
            target = model(x)
            layer = nearest.get_submodule("0")
            quantizer = weight_quantizer(layer)
            read = act_quantizer(nearest.get_submodule(layer.act_paths[0]))(x)
            low, high = (
                v * quantizer.scale
                for v in neighbours(layer.weight / quantizer.scale, quantizer.fmt)
            )
            choices = torch.tensor(list(itertools.product([0.0, 1.0], repeat=low.shape[1])))
            best = 0.0
            for row in range(len(low)):
                weights = low[row] + choices * (high[row] - low[row])
                error = read @ weights.T + layer.bias[row] - target[:, row : row + 1]
                best += float(error.square().mean(0).min())
            found = float((learned(x) - target).square().sum(1).mean())
            start = float((nearest(x) - target).square().sum(1).mean())
        assert found <= start * (1 + 1e-5)
        excess.append(found / best - 1)
    assert np.median(excess) <= 0.01
    assert np.quantile(excess, 0.95) <= 0.10


def test_local_search_gains_what_the_quadratic_says():
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(200, 9, generator=generator, dtype=torch.float64)
    w = torch.randn(4, 9, generator=generator, dtype=torch.float64)
    values = values_of(parse("e2m1")).double()
    h, c = (x.T @ x).unsqueeze(0), (w @ x.T @ x).unsqueeze(0)
    scale = torch.full((1, 4, 9), 0.4, dtype=torch.float64)
    start = torch.randint(0, len(values), (1, 4, 9), generator=generator)
    found = improve(start, values, scale, h, c)

    def error(index):
        return ((values[index[0]] * 0.4 - w) @ x.T).square().sum(1)

    assert bool((error(found) < error(start)).all())
    for row, column in itertools.product(range(4), range(9)):
        for step in (-1, 1):
            moved = found.clone()
            moved[0, row, column] = (moved[0, row, column] + step).clamp(0, len(values) - 1)
            assert float(error(moved)[row]) >= float(error(found)[row]) - 1e-9


# Blocks, pieces and the walk.


def job_of(net, images, **options):
    return prepare(net, Recipe(**options), (images[:16], images[16:]), input_non_negative=False)


def test_blocks_partition_the_graph(net, images):
    job = job_of(net, images)
    names = [n.name for n in job.model.graph.nodes if n.op not in ("placeholder", "output")]
    for how, expected in (
        ("layer", ["stem", "first.0", "second.0", "head"]),
        ("block", ["stem", "first.0", "head"]),
        ("network", ["stem"]),
    ):
        parts = blocks(job, how)
        joined = [name for part in parts for name in part.nodes]
        assert joined == names[: len(joined)]
        assert [part.name for part in parts] == expected
        assert sum(len(part.sites) for part in parts) == 4
    with pytest.raises(SpecError, match="allowed: layer, block, network"):
        blocks(job, "stage")


def test_block_keys_follow_module_paths():
    assert block_key("layer1.0.conv1") == "layer1.0"
    assert block_key("encoder.layer_3.attention.query") == "encoder.layer_3"
    assert block_key("features.4") == "features.4"


@pytest.mark.parametrize("how", ["layer", "block", "network"])
def test_the_walk_brings_what_the_graphs_compute(net, images, how):
    job = job_of(net, images, steps=["calibrate"])
    seen = 0
    for data in walk(job, blocks(job, how), rest="float"):
        index = torch.arange(len(images))
        whole = {n.name for n in job.reference.graph.nodes}
        for name, target in zip(data.block.compared, data.targets(index), strict=True):
            alone = cut(job.reference, whole, (name,), ())
            torch.testing.assert_close(target, run_piece(alone, (images,))[0])
        everything = {n.name for n in job.model.graph.nodes}
        for name, value in zip(data.piece.inputs, data.inputs, strict=True):
            if name != "x":
                alone = cut(job.model, everything, (name,), ())
                torch.testing.assert_close(value, run_piece(alone, (images,))[0])
        torch.testing.assert_close(data.logits[0], net(images))
        seen += 1
    assert seen == len(blocks(job, how))


def test_values_with_the_batch_elsewhere_are_not_stored():
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.table = nn.Parameter(torch.ones(1, 5, 4))

        def forward(self, x):
            turned = (self.a(x) + self.table).transpose(0, 1)
            return self.b(turned).transpose(0, 1)

    torch.manual_seed(0)
    model, x = Turned().eval(), torch.randn(7, 5, 4)
    job = prepare(model, Recipe(), (x,), input_non_negative=False)
    assert "transpose" not in itemwise(job.model, x)
    for how in ("layer", "block"):
        steps = ["calibrate", "adaround:iterations=20" if how == "layer" else "brecq:iterations=20"]
        result = quantize(model, Recipe("int4", "int8", steps=steps), x)(x)
        assert result.shape == (7, 5, 4)
        target = model(x).detach()
        assert float((result - target).square().mean()) < float(target.square().mean()) / 20


# Order and combination.


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        (["adaround", "calibrate"], "calibrate finds the scales, so it must come before adaround"),
        (["calibrate", "bias_correction", "brecq"], "so it must come before bias_correction"),
        (["calibrate", "adaround", "flexround"], "adaround and flexround each round the weights"),
        (["calibrate", "format_search"], "chooses formats, so it must come before calibrate"),
    ],
)
def test_impossible_orders_are_refused(net, images, steps, message):
    with pytest.raises(SpecError, match=message):
        quantize(net, Recipe("int4", "int8", steps=steps), images)


def test_schedules_are_checked(net, images):
    for option in ("iterations=0", "batch=0", "lr=-1"):
        with pytest.raises(SpecError, match="allowed"):
            quantize(net, Recipe("int4", "int8", steps=["calibrate", f"adaround:{option}"]), images)


# Data that a method prepares for a block.


def test_distribution_correction_brings_inputs_to_the_statistics(net, images):
    skewed = images * 1.7 + 0.4
    recipe = Recipe(steps=["calibrate"])
    job = prepare(net, recipe, (skewed,), input_non_negative=False, keep_unfused=True)

    def distance(data, norms, source):
        piece = cut(job.unfused, set(data.block.nodes) | {source}, (source,), {data.float_names[0]})
        value = run_piece(piece, data.float_inputs)[0].flatten(2)
        return float((value.mean(-1) - norms.running_mean).square().mean())

    changed = 0
    for data in walk(job, blocks(job, "block")):
        moved = corrected(job, data, steps=80, weight=1.0)
        if data.block.name == "first.0":
            norm, source = job.unfused.get_submodule("first.1"), "first_0"
            assert distance(moved, norm, source) < distance(data, norm, source)
            again = run_piece(data.float_piece, moved.float_inputs)
            assert torch.equal(moved.stored_targets[0], again[0])
            changed += 1
        elif data.block.name == "head":  # no batch norm there: nothing to correct
            assert moved is data
    assert changed == 1


def test_attention_is_the_squared_jacobian(net, images):
    """Against the exact Jacobian of a linear head: E_v (J^T v)^2 is the sum over logits."""
    job = job_of(net, images, steps=["calibrate"])
    found = attention(job.reference, images[:8], ("head",), draws=200, seed=0)
    np.testing.assert_allclose(found.numpy(), 1.0)  # the head's output is the prediction
    stem = attention(job.reference, images[:8], ("stem", "head"), draws=400, seed=0)[0]
    exact = []
    for image in images[:8]:
        inside = job.reference.get_submodule("stem")(image.unsqueeze(0)).detach()

        def rest(value):
            whole = {n.name for n in job.reference.graph.nodes} - {"stem"}
            piece = cut(job.reference, whole, ("head",), {"stem"})
            return piece.module(value)[0][0]

        jacobian = torch.autograd.functional.jacobian(rest, inside)[:, 0]
        exact.append(float(jacobian.square().sum(0).mean((1, 2)).amax()))
    np.testing.assert_allclose(stem.numpy(), exact, rtol=0.35)


def test_fisher_weights_are_even_where_nothing_matters(net, images):
    job = job_of(net, images, steps=["calibrate"])
    for data in walk(job, blocks(job, "block"), rest="float"):
        weights = fisher_weights(job, data).weights
        assert all(w.shape == t.shape for w, t in zip(weights, data.stored_targets, strict=True))
        assert all(abs(float(w.mean()) - 1) < 1e-4 for w in weights)
        assert all(float(w.min()) >= 0.5 for w in weights)
