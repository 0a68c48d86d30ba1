# SPDX-License-Identifier: Apache-2.0
"""Hessian-weighted scales: the curvature they weigh by, and a search that misses nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwquant import codec_np
from hwquant.errors import InputError, SpecError
from hwquant.formats import parse
from hwquant.nn.codes import quantized_layers
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq import scale_search
from hwquant.ptq.curvature import input_power, label_free, pick
from hwquant.ptq.job import build_step
from hwquant.ptq.quantize import prepare, quantize
from hwquant.ptq.recipe import Recipe, StepSpec
from hwquant.ptq.scale_search import weighted_errors, weighted_scales
from hwquant.ptq.scales import no_clip_exponents, solve

FORMATS = ["int3", "int8", "int4n", "e2m1", "e3m0", "e4m3", "e5m2", "e0m3", "e2m0"]


def rows(seed=0, shape=(5, 300)):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) * torch.logspace(-3, 3, shape[0]).reshape(-1, 1)
    return x, torch.rand(shape, generator=generator) ** 4


def error(x, importance, fmt, scale):
    """The definition, by the numpy codec."""
    column = scale.reshape(-1, 1)
    q = codec_np.quantize(fmt, (x / column).numpy()).astype(np.float64) * column.double().numpy()
    return ((q - x.double().numpy()) ** 2 * importance.double().numpy()).sum(1)


@pytest.mark.parametrize("name", FORMATS)
def test_powers_of_two_are_the_best_of_all(name):
    fmt, (x, importance) = parse(name), rows()
    found = weighted_scales(x, importance, fmt, "po2")
    top = no_clip_exponents(x.abs().amax(1), fmt)
    every = [error(x, importance, fmt, torch.exp2((top + k).float())) for k in range(-24, 3)]
    assert np.allclose(error(x, importance, fmt, found), np.min(every, axis=0), rtol=1e-9)
    assert (torch.frexp(found)[0] == 0.5).all()


@pytest.mark.parametrize("name", FORMATS)
def test_float_scales_are_near_the_best_of_a_fine_grid(name):
    """Two thousand scales over six octaves, by the numpy codec."""
    fmt, (x, importance) = parse(name), rows(1)
    found = error(x, importance, fmt, weighted_scales(x, importance, fmt, "float"))
    top = x.abs().amax(1) / float(fmt.max)
    every = [error(x, importance, fmt, top * 2.0 ** float(k)) for k in np.linspace(-5, 1, 2000)]
    # With many values an octave the error is all spikes, and small whichever is missed.
    slack = 1.4 if name in ("e4m3", "e5m2") else 1.05
    assert (found <= np.min(every, axis=0) * slack).all()
    for rule in ("absmax", "mse"):
        assert (found <= error(x, importance, fmt, solve(x, fmt, "float", rule)) * 1.001).all()


def test_what_does_not_matter_may_clip():
    x = torch.randn(1, 400, generator=torch.Generator().manual_seed(0))
    x[0, 0] = 3000.0
    importance = torch.ones_like(x)
    importance[0, 0] = 0
    for kind in ("po2", "float"):
        scale = weighted_scales(x, importance, parse("int8"), kind)
        rest = error(x[:, 1:], importance[:, 1:], parse("int8"), scale)
        assert rest < 0.1
        plain = solve(x, parse("int8"), kind, "absmax")
        assert error(x[:, 1:], importance[:, 1:], parse("int8"), plain) > 100  # negative control


def test_rows_without_values_or_without_importance():
    fmt, x = parse("e2m1"), torch.tensor([[0.0, 0.0], [1.0, -3.0], [1e-44, 0.0], [3e38, 1.0]])
    for kind in ("po2", "float"):
        scale = weighted_scales(x, torch.zeros_like(x), fmt, kind)
        assert scale[0] == 1
        assert bool((torch.isfinite(scale) & (scale >= 2.0**-126)).all())
        plain = weighted_scales(x, torch.ones_like(x), fmt, kind)
        assert torch.equal(scale, plain)


def test_pieces_change_nothing(monkeypatch):
    fmt, (x, importance) = parse("e3m0"), rows(2, (7, 50))
    scales = torch.rand(9, 7) * x.abs().amax(1)
    whole = weighted_errors(x, importance, scales, fmt)
    monkeypatch.setattr(scale_search, "ELEMENTS", 120)
    assert torch.allclose(weighted_errors(x, importance, scales, fmt), whole, rtol=1e-12)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(4, 2, 2), nn.Flatten(), nn.Linear(50, 3),
    )  # fmt: skip
    return model.eval(), torch.randn(24, 2, 6, 6)


def test_label_free_hessian_is_the_squared_jacobian(net):
    """Oracle: the Jacobian of every logit of every item, by autograd one at a time."""
    model, x = net
    job = prepare(model, Recipe(), (x,), input_non_negative=False)
    x = x[:6]
    paths = ["0", "2", "4", "6"]
    found = label_free(job.reference, paths, x, draws=4000, seed=1)
    exact = {path: torch.zeros_like(model.get_submodule(path).weight) for path in paths}
    for item in x:
        logits = model(item.unsqueeze(0))[0]
        for logit in logits:
            weights = [model.get_submodule(path).weight for path in paths]
            for path, g in zip(
                paths, torch.autograd.grad(logit, weights, retain_graph=True), strict=True
            ):
                exact[path] += g.square() / len(x)
    for path in paths:
        assert found[path].shape == exact[path].shape
        ratio = found[path].sum() / exact[path].sum()
        assert abs(float(ratio) - 1) < 0.05, path
        both = torch.stack([found[path].flatten(), exact[path].flatten()])
        assert torch.corrcoef(both)[0, 1] > 0.99, path
    assert all(p.grad is None for p in model.parameters())


def test_input_power_is_the_mean_square_of_what_a_weight_multiplies(net):
    model, x = net
    job = prepare(model, Recipe(), (x,), input_non_negative=False)
    power = input_power(job)
    with torch.no_grad():
        into = model[:6](x)
    assert torch.allclose(power["6"], 2 * into.square().mean(0).expand(3, -1), rtol=1e-4)
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    assert torch.allclose(
        power["0"][1, 0, 0, 2], 2 * padded[:, 0, 0:6, 2:8].square().mean(), rtol=1e-4
    )


@pytest.mark.parametrize("scale", ["po2", "float"])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("curvature", ["label_free", "inputs"])
def test_calibrate_lowers_the_weighted_error_of_every_layer(net, scale, granularity, curvature):
    model, x = net
    base = Recipe("int3", "int8", scale=scale, granularity=granularity, steps=["calibrate"])
    step = f"calibrate:weight=hessian,curvature={curvature}"
    weighted = Recipe.from_dict(base.to_dict() | {"steps": [step]})
    job = prepare(model, base, (x,), input_non_negative=False)
    importance = input_power(job)
    if curvature == "label_free":
        importance = label_free(job.reference, list(importance), pick((x,), 64))
    plain, ours = quantize(model, base, x), quantize(model, weighted, x)
    for (path, a), (_, b) in zip(quantized_layers(plain), quantized_layers(ours), strict=True):
        lost = [
            float((importance[path] * (weight_quantizer(q)(q.weight) - q.weight).square()).sum())
            for q in (a, b)
        ]
        assert lost[1] <= lost[0] * (1 + 1e-6), path
    again = quantize(model, weighted, x)
    for (_, a), (_, b) in zip(quantized_layers(ours), quantized_layers(again), strict=True):
        assert torch.equal(weight_quantizer(a).scale, weight_quantizer(b).scale)


def test_items_are_spread_over_all_batches():
    batches = (torch.arange(10.0).reshape(5, 2), torch.arange(10.0, 16.0).reshape(3, 2))
    assert len(pick(batches, 100)) == 8
    assert pick(batches, 3)[:, 0].tolist() == [0, 8, 14]


@pytest.mark.parametrize(
    "options", ["weight=hess", "act=hessian", "rule=hessian", "curvature=x", "items=0", "draws=0"]
)
def test_options_out_of_range(options):
    with pytest.raises(SpecError, match=r"step calibrate: .*allowed"):
        build_step(StepSpec.parse(f"calibrate:{options}"))


def test_gradients_that_overflow_are_named(net):
    model, x = net
    job = prepare(model, Recipe(), (x,), input_non_negative=False)
    with torch.no_grad():
        job.reference.get_submodule("6").weight.fill_(3e38)
    with pytest.raises(InputError, match=r"weights of '[024]' holds NaN or infinity"):
        label_free(job.reference, ["0", "2", "4", "6"], x)
