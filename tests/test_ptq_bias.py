# SPDX-License-Identifier: Apache-2.0
"""Bias correction: the mean that the next layer reads is the float network's again."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from hwquant import Recipe
from hwquant.errors import SpecError
from hwquant.ptq.job import build_step
from hwquant.ptq.levels import level, shift_for
from hwquant.ptq.quantize import finish, prepare
from hwquant.ptq.run import Recorder
from hwquant.ptq.step import StepSpec
from hwquant.ptq.trace import propagate_shapes, trace
from hwquant.zoo.training import load


class Block(nn.Module):
    """A sum of two layers before ReLU, one more behind, a branch read twice, GELU."""

    def __init__(self):
        super().__init__()
        self.first, self.short = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 1)
        self.second, self.twice = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.clipped, self.head = nn.ReLU6(inplace=True), nn.Linear(8, 6)
        self.tail = nn.Linear(6, 4)

    def forward(self, x):
        x = functional.relu(self.first(x) + self.short(x))
        x = self.clipped(x + self.second(x))
        y = self.twice(x)
        y = torch.relu(y) + y.mean((2, 3), keepdim=True)
        return self.tail(functional.gelu(self.head(y.mean((2, 3)))))


LEVELS = {
    "first": ("first", 0),  # the shortcut comes after it and has the last word
    "short": ("add", 1),
    "second": ("add_1", 1),
    "twice": ("twice", 0),
    "head": ("head", 0),  # GELU falls and rises
    "tail": ("tail", 0),
}


def job_of(model, x, steps, weight="int3", **options):
    recipe = Recipe(weight, "int8", scale="float", **options)
    job = prepare(model.eval(), recipe, (x,), input_non_negative=False)
    for step in steps:
        build_step(StepSpec.parse(step)).apply(job)
    return job


@pytest.fixture(scope="module")
def block():
    torch.manual_seed(0)
    return Block().eval(), torch.randn(48, 3, 10, 10)


def distance(job, x, places):
    """Return, by layer, how far its channels' means are off at ``places``, in deviations."""
    seen = [{}, {}]
    for values, graph in zip(seen, (job.reference, job.model), strict=True):
        labels = {}
        for path, place in places.items():
            labels[place.node] = (*labels.get(place.node, ()), path)
        record = Recorder(
            graph, labels, lambda path, value, into=values: into.update({path: value})
        )
        with torch.no_grad():
            record.run(x)
    found = {}
    for path, place in places.items():
        exact, given = (place(values[path]).transpose(0, 1).flatten(1) for values in seen)
        off = (exact.mean(1) - given.mean(1)).abs() / exact.std(1).clamp(min=1e-3)
        found[path] = float(off.max())
    return found


def test_a_level_is_what_the_next_layer_reads(block):
    model, x = block
    graph = trace(model)
    propagate_shapes(graph, x[:2])
    for name, (node, functions) in LEVELS.items():
        place = level(graph, name)
        assert (place.node, len(place.functions)) == (node, functions), name


@pytest.mark.parametrize("weight", ["int3", "e2m1", "e3m0"])
def test_means_behind_the_functions_are_those_of_the_float_network(block, weight):
    model, x = block
    plain, job = (
        job_of(model, x, ["calibrate", *more], weight) for more in ([], ["bias_correction"])
    )
    places = {name: level(job.reference, name) for name in LEVELS if name != "first"}
    before, after = distance(plain, x, places), distance(job, x, places)
    assert max(before.values()) > 0.02
    assert all(after[name] < 1e-4 for name in places), after


def test_negative_control_the_layers_own_mean_is_not_that_behind_relu(block):
    model, x = block
    job = job_of(model, x, ["calibrate", "bias_correction:behind=layer"])
    behind = {name: level(job.reference, name) for name in ("short", "second")}
    own = {name: type(place)(name) for name, place in behind.items()}
    assert max(distance(job, x, own).values()) < 1e-4
    assert min(distance(job, x, behind).values()) > 1e-3


def test_a_quantized_summand_is_corrected_by_itself(block):
    model, x = block
    job = job_of(model, x, ["calibrate", "bias_correction"], sums="quantized")
    assert distance(job, x, {"short": level(job.model, "short")})["short"] < 1e-4


def test_shift_meets_the_mean_or_stays():
    torch.manual_seed(1)
    values = torch.randn(5, 4000).double() * torch.tensor([0.1, 1, 10, 1, 1]).unsqueeze(1)
    wanted = torch.tensor([0.5, 0.0001, 3.0, -1.0, 0.0]).double()  # -1: ReLU has no such mean
    start, unit = torch.zeros(5), torch.full((5,), 0.1)

    def excess(shift):
        return torch.relu(values + shift.unsqueeze(1)).mean(1) - wanted

    found = shift_for(excess, start, unit)
    assert torch.all(excess(found)[[0, 1, 2, 4]].abs() < 1e-5)
    assert found[3] == 0
    linear = shift_for(lambda shift: values.mean(1) + shift - wanted, start, unit)
    assert torch.allclose(linear, wanted - values.mean(1), atol=1e-6)


def brevitas_corrected(job):
    from brevitas.graph.calibrate import bias_correction_mode

    with torch.no_grad(), bias_correction_mode(job.model):
        for batch in job.batches:
            job.model(batch)
    return job


@pytest.mark.parametrize("weight", ["int2", "int3"])
def test_nearer_to_the_float_network_than_the_paper_and_brevitas(weight):
    trained = load("digits_cnn")
    model, x, test = trained.model, trained.data.x_calib, trained.data.x_test
    jobs = {
        "plain": job_of(model, x, ["calibrate"], weight),
        "ours": job_of(model, x, ["calibrate", "bias_correction"], weight),
        "layer": job_of(model, x, ["calibrate", "bias_correction:behind=layer"], weight),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jobs["brevitas"] = brevitas_corrected(job_of(model, x, ["calibrate"], weight))
    with torch.no_grad():
        exact = model(test)
        errors = {}
        for name, job in jobs.items():
            finish(job.model)
            errors[name] = float((job.model(test) - exact).square().mean() / exact.var())
    assert errors["ours"] < 0.5 * errors["plain"]
    assert errors["ours"] < errors["layer"]
    assert errors["ours"] < errors["brevitas"]


def test_bad_options_are_named():
    with pytest.raises(SpecError, match="behind='sum', allowed: function, layer"):
        build_step(StepSpec.parse("bias_correction:behind=sum"))
