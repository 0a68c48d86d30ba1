# SPDX-License-Identifier: Apache-2.0
"""Networks put together from calibrated layers equal those quantized whole; prices add up."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn

from costmodel.explore.mixed.composed import Bench
from costmodel.explore.mixed.prices import METRICS, network_metrics, problem_of
from costmodel.explore.mixed.problem import Option
from costmodel.explore.mixed.run import mixed_recipe
from costmodel.network import network_cost
from hwquant.errors import InputError, SpecError
from hwquant.nn.codes import workload
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe
from hwquant.workload import Layer, Workload

WEIGHTS, ACTS = ("int3", "e2m1", "int8"), ("int4", "e3m2", "int8")


class Net(nn.Module):
    """A residual with a shortcut (two layers read one tensor) and a product of activations."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv, self.short = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.conv(x) + self.short(x)).flatten(2)
        mixed = torch.softmax(x.transpose(1, 2) @ x, 2)
        return self.head((x @ mixed).mean(2))


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    return Net().eval(), torch.randn(48, 2, 5, 5)


def bench_of(case, steps=("calibrate", "bias_correction"), **fields):
    model, x = case
    return Bench(
        model, Recipe(steps=steps, act_unsigned=True, **fields), WEIGHTS, ACTS, [x], x[:40]
    )


def choices(bench, count, seed=0):
    """Return random formats that keep the ties."""
    rng = random.Random(seed)
    for _ in range(count):
        formats = [rng.choice(bench.options(site)) for site in bench.sites]
        for first, *others in bench.ties:
            for other in others:
                formats[other] = Option(formats[other].weight, formats[first].act)
        yield tuple(formats)


@pytest.mark.parametrize(
    "steps", [("calibrate",), ("calibrate", "bias_correction"), ("calibrate", "gptq")]
)
@pytest.mark.parametrize("scale", ["po2", "float"])
def test_composed_equals_quantized_whole(case, steps, scale):
    """Oracle: `hwquant.quantize` of the same recipe, outputs and accumulators."""
    model, x = case
    bench = bench_of(case, steps, scale=scale)
    before, distinct = model.state_dict(), set()
    for formats in choices(bench, 3):
        composed = bench.job(formats).model
        whole = quantize(model, mixed_recipe(bench.base, bench.paths, formats), x)
        with torch.no_grad():
            outputs = whole(x)
            assert torch.equal(composed(x), outputs)
        assert workload(composed, x[:1]) == workload(whole, x[:1])
        distinct.add(float(outputs.sum()))
    assert len(distinct) == 3  # negative control: another choice is another network
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_ties_and_options_follow_the_graph(case):
    bench = bench_of(case)
    paths = bench.paths
    assert {paths[i] for i in bench.ties[0]} == {"conv", "short"}
    product = paths.index(next(path for path in paths if path.startswith("matmul")))
    assert all(option.weight == "" for option in bench.options(bench.sites[product]))
    assert len(bench.options(bench.sites[0])) == 9


def test_losses_are_zero_only_for_equal_networks(case):
    bench = bench_of(case)
    wide = bench.measured([Option("int8", "int8")] * len(bench.sites))["loss"]
    narrow = bench.measured([Option("int3", "int4")] * len(bench.sites))["loss"]
    assert 0 < wide < narrow
    rows = bench.sensitivities()
    assert rows["head", "weight", "int8"] < rows["head", "weight", "int3"]


@pytest.mark.parametrize("folding", ["per-layer", "per-channel"])
def test_prices_of_layers_add_up_to_the_networks(case, folding):
    """Oracle: `costmodel.network` on the whole; kernels by formula, requantizers and memories."""
    bench = bench_of(case, ("calibrate",))
    options = [bench.options(site) for site in bench.sites]
    works = {
        pair: Workload(
            tuple(map(Layer.from_json, bench.measured(everywhere(bench, pair))["layers"]))
        )
        for pair in (Option(w, a) for w in WEIGHTS for a in ACTS)
    }
    given = problem_of(
        bench.paths, options, works, bench.sensitivities(), bench.ties, folding=folding, lanes=4
    )
    wrong = 0
    for formats in choices(bench, 5):
        work = work_of(bench, formats)
        whole = network_cost(work, folding=folding, lanes=4)
        choice = given.nearest(formats)
        found = {name: given.cost(name, choice) for name in given.costs}
        told = network_metrics(work, folding=folding, lanes=4)
        assert found == {name: told[name] for name in found}
        assert told["lut_sites"] == whole.resources.lut_sites
        assert told["lut_sites_with_conversion"] == whole.with_conversion.lut_sites
        assert told["memory_bram18"] == whole.memory.bram18
        assert set(told) == set(METRICS)
        wrong += found["lut_sites_with_conversion"] != given.cost("lut_sites", choice)
        assert given.loss(choice) > 0
    assert wrong  # negative control: conversion is not free


def test_a_shared_kernel_does_not_add_up(case):
    bench = bench_of(case, ("calibrate",))
    pair = Option("int8", "int8")
    works = {
        pair: Workload(
            tuple(map(Layer.from_json, bench.measured(everywhere(bench, pair))["layers"]))
        )
    }
    options = [[everywhere(bench, pair)[i]] for i in range(len(bench.sites))]
    losses = bench.sensitivities()
    given = problem_of(bench.paths, options, works, losses, (), folding="shared", lanes=4)
    assert set(given.costs) == {"weight_bits", "bops"}


def test_recipes_that_cannot_be_put_together_are_refused(case):
    with pytest.raises(InputError, match="equalize comes before calibrate"):
        bench_of(case, ("equalize", "calibrate"))
    with pytest.raises(InputError, match="sums 'quantized'"):
        bench_of(case, sums="quantized")
    with pytest.raises(SpecError, match="gptq"):
        bench_of(case, ("calibrate", "bias_correction", "gptq"))


def everywhere(bench, pair):
    options = (bench.options(site)[0].weight for site in bench.sites)
    return tuple(Option(pair.weight if weight else "", pair.act) for weight in options)


def work_of(bench, formats):
    return Workload(tuple(map(Layer.from_json, bench.measured(formats)["layers"])))
