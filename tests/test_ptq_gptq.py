# SPDX-License-Identifier: Apache-2.0
"""GPTQ: layers as rows and patches, the textbook recursion, Brevitas, and every kind of layer."""

from __future__ import annotations

import copy
import itertools
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from hwquant.errors import InputError, SpecError
from hwquant.formats import parse
from hwquant.nn.codes import layer_codes, quantized_layers
from hwquant.nn.kernel import quantize_unit
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq.gptq import descend, gptq
from hwquant.ptq.hessian import Hessian, from_rows, to_rows, weighted_error
from hwquant.ptq.job import build_step
from hwquant.ptq.nearest import Nearest
from hwquant.ptq.quantize import prepare, quantize
from hwquant.ptq.recipe import Recipe, StepSpec

LAYERS = {
    "linear": (lambda: nn.Linear(6, 5), (3, 6)),
    "tokens": (lambda: nn.Linear(6, 5), (3, 4, 6)),
    "conv": (lambda: nn.Conv2d(3, 4, (3, 2), padding=(1, 0), stride=(2, 1), dilation=(1, 2)),
             (2, 3, 6, 7)),
    "same": (lambda: nn.Conv2d(3, 4, 4, padding="same"), (2, 3, 6, 6)),
    "reflect": (lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect", groups=2),
                (2, 4, 5, 5)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4), (2, 4, 5, 5)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, padding=2, dilation=2, stride=2, groups=2), (2, 4, 9)),
    "transposed": (lambda: nn.ConvTranspose2d(
        4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2,
        dilation=(1, 2)), (2, 4, 4, 5)),
    "transposed-cropped": (lambda: nn.ConvTranspose2d(2, 3, 2, padding=1), (2, 2, 4, 4)),
}  # fmt: skip


def layer_and_inputs(kind, seed=0):
    torch.manual_seed(seed)
    make, shape = LAYERS[kind]
    return make().eval(), torch.randn(shape)


def outputs(layer, x):
    """Return the layer's outputs without bias as (groups, outputs, positions)."""
    with torch.no_grad():
        y = layer(x) - layer(torch.zeros_like(x))
    if isinstance(layer, nn.Linear):
        return y.reshape(-1, y.shape[-1]).T.unsqueeze(0)
    flat = y.transpose(0, 1).flatten(1)
    return flat.reshape(layer.groups, len(flat) // layer.groups, -1)


@pytest.mark.parametrize("kind", LAYERS)
def test_error_by_the_hessian_is_the_squared_error_of_the_outputs(kind):
    """Oracle: the layer itself, run with the changed weights."""
    layer, x = layer_and_inputs(kind)
    sums = Hessian(layer)
    for part in torch.split(x, 1):
        sums.add(part)
    changed = copy.deepcopy(layer)
    with torch.no_grad():
        changed.weight += torch.randn_like(changed.weight) * 0.1
    assert torch.equal(from_rows(layer, to_rows(layer, layer.weight)), layer.weight)
    difference = outputs(changed, x) - outputs(layer, x)
    expected = 2 * difference.double().square().mean(2)
    error = to_rows(layer, (changed.weight - layer.weight).detach())
    found = weighted_error(error, sums.matrix(kind))
    assert torch.allclose(found, expected, rtol=1e-4)
    changed.weight.data.view(-1)[0] += 0.5  # negative control: another weight, another error
    assert not torch.allclose(
        weighted_error(to_rows(layer, (changed.weight - layer.weight).detach()), sums.matrix("")),
        expected,
        rtol=1e-4,
    )


def problem(groups=1, outputs_=5, columns=24, seed=0, fmt="int3"):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(groups, columns, columns, generator=generator).double()
    x = mixing @ torch.randn(groups, columns, 200, generator=generator).double()
    rows = torch.randn(groups, outputs_, columns, generator=generator)
    fmt = parse(fmt)
    scale = rows.abs().amax(2, keepdim=True) / float(fmt.max) * 0.8
    return rows, 2 / 200 * x @ x.transpose(1, 2), scale, fmt


def textbook(rows, hessian, scale, fmt, damp=0.01):
    """GPTQ as the paper writes it (algorithm 1, one column at a time), in float64 numpy."""
    result = np.empty(rows.shape)
    for g, s in enumerate(scale.numpy()):
        w, h = rows[g].double().numpy().copy(), hessian[g].numpy().copy()
        h[np.diag_indices_from(h)] += damp * np.diag(h).mean()
        upper = np.linalg.cholesky(np.linalg.inv(h)).T
        for k in range(w.shape[1]):
            unit = torch.from_numpy((w[:, k] / s[:, 0]).astype(np.float32))
            q = quantize_unit(unit, fmt).double().numpy() * s[:, 0]
            result[g, :, k] = q
            error = (w[:, k] - q) / upper[k, k]
            w[:, k:] -= np.outer(error, upper[k, k:])
    return result


@pytest.mark.parametrize("fmt", ["int3", "e2m1", "e3m0", "e0m3"])
@pytest.mark.parametrize(("groups", "block"), [(1, 128), (1, 1), (1, 7), (3, 5)])
def test_equals_the_textbook_recursion_without_an_inverse(fmt, groups, block):
    rows, hessian, scale, fmt = problem(groups, fmt=fmt)
    found = gptq(rows, hessian, scale, fmt, block=block)
    assert np.allclose(found.numpy(), textbook(rows, hessian, scale, fmt), rtol=1e-6)


def test_negative_control_round_to_nearest_is_not_it():
    rows, hessian, scale, fmt = problem()
    nearest = quantize_unit(rows / scale, fmt) * scale
    assert not np.allclose(nearest.numpy(), textbook(rows, hessian, scale, fmt))
    better = weighted_error(rows - gptq(rows, hessian, scale, fmt), hessian)
    assert better.sum() < 0.5 * weighted_error(rows - nearest, hessian).sum()


def test_order_of_large_inputs_first_equals_sorting_by_hand():
    rows, hessian, scale, fmt = problem()
    order = torch.argsort(hessian[0].diagonal(), descending=True)
    by_hand = gptq(rows[:, :, order], hessian[:, order][:, :, order], scale, fmt)
    found = gptq(rows, hessian, scale, fmt, act_order=True)
    assert torch.equal(found[:, :, order], by_hand)
    assert not torch.equal(found, gptq(rows, hessian, scale, fmt))


@pytest.mark.parametrize("groups", [1, 3])
def test_descent_never_worsens_a_row_and_ends_where_no_single_change_helps(groups):
    rows, hessian, scale, fmt = problem(groups, columns=12)
    start = gptq(rows, hessian, scale, fmt)
    before = weighted_error(rows - start, hessian)
    errors = [weighted_error(rows - descend(rows, start, hessian, scale, fmt, n), hessian)
              for n in (0, 1, 2, 30)]  # fmt: skip
    assert torch.equal(errors[0], before)
    assert all((b <= a).all() for a, b in itertools.pairwise(errors))
    final = descend(rows, start, hessian, scale, fmt, 30)
    values = Nearest(fmt, torch.device("cpu")).values
    for column, value in itertools.product(range(12), values.tolist()):
        tried = final.clone()
        tried[:, :, column] = value * scale[:, :, 0]
        assert (weighted_error(rows - tried, hessian) >= errors[-1] * (1 - 1e-5)).all()


def test_table_of_edges_rounds_as_the_kernel(fmt):
    values = Nearest(fmt, torch.device("cpu")).values
    middle = (values[:-1] + values[1:]) / 2
    inf = torch.tensor(torch.inf)
    probes = torch.cat(
        [values, *(torch.nextafter(middle, towards) for towards in (inf, -inf)), middle,
         torch.randn(500) * float(fmt.max) / 2, torch.tensor([torch.inf, -torch.inf])]
    )  # fmt: skip
    assert torch.equal(Nearest(fmt, torch.device("cpu"))(probes), quantize_unit(probes, fmt))


def brevitas_gptq(layer, x, blocks, act_order):
    """Return (rounded rows, scales) of Brevitas's GPTQ with frozen scales."""
    from brevitas import nn as qnn
    from brevitas.graph.gptq import gptq_mode
    from brevitas.quant import Int8WeightPerChannelFloat

    frozen = Int8WeightPerChannelFloat.let(bit_width=3, scaling_impl_type="parameter_from_stats")
    if isinstance(layer, nn.Linear):
        new = qnn.QuantLinear(layer.in_features, layer.out_features, weight_quant=frozen, bias=True)
    else:
        kind = qnn.QuantConv1d if isinstance(layer, nn.Conv1d) else qnn.QuantConv2d
        new = kind(
            layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride,
            padding=layer.padding, groups=layer.groups, dilation=layer.dilation,
            weight_quant=frozen,
        )  # fmt: skip
    with torch.no_grad():
        new.weight.copy_(layer.weight)
    model = nn.Sequential(new.eval())
    scale = new.quant_weight().scale.detach().expand_as(layer.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with torch.no_grad(), gptq_mode(model, num_blocks=blocks, act_order=act_order) as mode:
            mode.model(x)
            mode.update()
    return to_rows(layer, new.quant_weight().value.detach()), to_rows(layer, scale)[:, :, :1]


@pytest.mark.parametrize(
    ("kind", "act_order"),  # Brevitas's grouped layers take all groups in the last group's order
    [("linear", False), ("linear", True), ("conv", False), ("conv", True), ("depthwise", False),
     ("conv1d", False)],
)  # fmt: skip
def test_error_is_not_above_that_of_brevitas(kind, act_order):
    """Oracle: Brevitas, scales frozen on both sides, one column a block."""
    make, shape = LAYERS[kind]
    torch.manual_seed(1)
    layer, x = make().eval(), torch.randn(64, *shape[1:])
    x = x + 0.8 * x.flip(1)
    theirs, scale = brevitas_gptq(layer, x, 100, act_order)
    sums = Hessian(layer)
    sums.add(x)
    hessian, rows, fmt = sums.matrix(kind), to_rows(layer, layer.weight.detach()), parse("int3n")
    found = gptq(rows, hessian, scale, fmt, block=1, act_order=act_order)
    nearest = quantize_unit(rows / scale, fmt) * scale
    error, their_error, nearest_error = (
        float(weighted_error(rows - q, hessian).sum()) for q in (found, theirs, nearest)
    )
    assert error <= their_error * (1 + 1e-6)
    swept = weighted_error(rows - descend(rows, found, hessian, scale, fmt, 1), hessian)
    assert float(swept.sum()) <= their_error
    assert float(swept.sum()) < nearest_error


class Everything(nn.Module):
    """Every multiply layer, one called twice, one fed with zeros only."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.depth = nn.Conv2d(6, 6, 3, groups=6, padding=1)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
        self.line = nn.Conv1d(4, 5, 3)
        self.twice = nn.Linear(5, 5)
        self.silent = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.up(torch.relu(self.depth(torch.relu(self.stem(x))))))
        x = torch.relu(self.line(x.flatten(2))).transpose(1, 2)
        x = torch.tanh(self.twice(torch.tanh(self.twice(x))))
        return self.head(x + self.silent(torch.relu(x - 2))).mean(1)


@pytest.fixture(scope="module")
def everything():
    torch.manual_seed(0)
    return Everything().eval(), torch.randn(40, 2, 4, 4)


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize(("name", "scale"), [("int3", "float"), ("e2m1", "po2"), ("e3m0", "float")])
@pytest.mark.parametrize("options", ["", ":act_order=true,sweeps=0", ":block=3,damp=0"])
def test_every_layer_of_a_network_gets_better_codes(everything, name, scale, granularity, options):
    model, x = everything
    steps = ["calibrate", f"gptq{options}"]
    recipe = Recipe(name, "int8", scale=scale, granularity=granularity, steps=steps)
    job = prepare(model, recipe, (x,), input_non_negative=False)
    build_step(recipe.steps[0]).apply(job)
    scales = {s.path: weight_quantizer(job.layer(s)).scale.clone() for s in job.sites}
    sums = {s.path: Hessian(job.layer(s)) for s in job.sites}
    handles = [
        job.layer(s).register_forward_pre_hook(lambda _, a, p=s.path: sums[p].add(a[0]))
        for s in job.sites
    ]
    build_step(recipe.steps[1]).apply(job)
    for handle in handles:
        handle.remove()
    for site in job.sites:
        layer, quantizer = job.layer(site), weight_quantizer(job.layer(site))
        assert torch.equal(quantizer.scale, scales[site.path]), site.path  # frozen
        assert torch.equal(quantizer(layer.weight), layer.weight), site.path  # on the grid
        assert np.isin(layer_codes(layer).codes, quantizer.fmt.codes).all()
        exact = job.float_layer(site).weight.detach()
        if site.path == "silent":
            assert torch.equal(layer.weight, quantizer(exact))  # no input: round-to-nearest
            continue
        hessian = sums[site.path].matrix(site.path)
        error, nearest = (
            weighted_error(to_rows(layer, exact - w.detach()), hessian)
            for w in (layer.weight, quantizer(exact))
        )
        if site.path == "twice":  # its later calls see what its own rounding has changed
            assert error.sum() < 1.05 * nearest.sum()
        else:
            assert (error <= nearest * (1 + 1e-5)).all(), site.path


def test_columns_without_input_keep_round_to_nearest():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(8, 4)).eval(), torch.randn(50, 8) @ torch.randn(8, 8)
    x[:, 2:4] = 0
    qmodel = quantize(model, Recipe("int3", "int8", steps=["calibrate", "gptq"]), x)
    plain = quantize(model, Recipe("int3", "int8", steps=["calibrate"]), x)
    (_, ours), (_, rtn) = *quantized_layers(qmodel), *quantized_layers(plain)
    assert np.array_equal(layer_codes(ours).codes[:, 2:4], layer_codes(rtn).codes[:, 2:4])
    assert not np.array_equal(layer_codes(ours).codes, layer_codes(rtn).codes)


@pytest.mark.parametrize("damp", [0.0, 0.01])
def test_a_singular_hessian_is_damped_more(damp, capsys):
    """Four items and twelve columns: rank 4."""
    torch.manual_seed(0)
    rows, x = torch.randn(1, 6, 12), torch.randn(4, 12).double()
    hessian = (x.T @ x / 2).unsqueeze(0)
    fmt, scale = parse("int3"), torch.full((1, 6, 1), 0.5)
    found = gptq(rows, hessian, scale, fmt, damp=damp, name="fc")
    assert torch.isfinite(found).all()
    assert torch.equal(quantize_unit(found / scale, fmt) * scale, found)
    said = "fc: singular Hessian, damping raised" in capsys.readouterr().err
    assert said == (damp == 0)


def test_one_item_and_batches_of_any_size_give_valid_codes(everything):
    model, x = everything
    recipe = Recipe("int3", "int8", steps=["calibrate", "gptq"])
    one = quantize(model, recipe, x[:1])
    assert all(torch.isfinite(layer.weight).all() for _, layer in quantized_layers(one))
    whole, parts = quantize(model, recipe, x), quantize(model, recipe, x.split(7))
    for (_, a), (_, b) in zip(quantized_layers(whole), quantized_layers(parts), strict=True):
        assert (layer_codes(a).codes == layer_codes(b).codes).mean() > 0.98


def test_infinite_activations_are_named(everything):
    model, x = everything
    recipe = Recipe("int3", "int8", steps=["calibrate", "gptq"])
    job = prepare(model, recipe, (x,), input_non_negative=False)
    build_step(recipe.steps[0]).apply(job)
    with torch.no_grad():
        job.layer(job.sites[1]).bias[0] = torch.nan
    job.model.get_submodule("act_quant.up").act_quant.disable_quant = True
    job.model.set_submodule("act_quant.up", nn.Identity())
    with pytest.raises(InputError, match="read by 'up' holds NaN or infinity"):
        build_step(StepSpec.parse("gptq")).apply(job)


@pytest.mark.parametrize("options", ["damp=-1", "damp=nan", "block=0", "sweeps=-1"])
def test_options_out_of_range(options):
    with pytest.raises(SpecError, match=r"step gptq: .*allowed"):
        build_step(StepSpec.parse(f"gptq:{options}"))


def test_outputs_get_nearer_on_other_data_too(everything):
    """The gain is not only on the calibration items."""
    model, x = everything
    other = torch.randn(200, 2, 4, 4, generator=torch.Generator().manual_seed(9))
    errors = []
    for steps in (["calibrate"], ["calibrate", "gptq"]):
        qmodel = quantize(model, Recipe("int3", "int8", scale="float", steps=steps), x)
        with torch.no_grad():
            errors.append(float(functional.mse_loss(qmodel(other), model(other))))
    assert errors[1] < errors[0]
