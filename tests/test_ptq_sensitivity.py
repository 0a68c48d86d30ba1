# SPDX-License-Identifier: Apache-2.0
"""Sensitivity of single layers: equal to quantizing that layer by hand, foretold by curvature."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional

from hwquant.errors import InputError, SpecError
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.sensitivity import Sensitivity, calibrated, sensitivities
from hwquant.ptq.sensitivity_command import sensitivity as command
from hwquant.zoo.tasks.outputs import accuracy, agreement, kl_divergence


class Net(nn.Module):
    """A residual, operators that work in place, a layer called twice, a product of activations."""

    def __init__(self):
        super().__init__()
        self.stem, self.relu = nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(6, 6, 3, padding=1)
        self.twice, self.head = nn.Linear(6, 6), nn.Linear(6, 5)

    def forward(self, x):
        x = self.relu(self.stem(x))
        y = self.conv(x)
        y += x
        y = functional.relu_(y).mean((2, 3))
        y = torch.tanh(self.twice(torch.tanh(self.twice(y))))
        return self.head(y) + (y @ y.transpose(-2, -1)).mean() * 0.1


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    model, x = Net().eval(), torch.randn(70, 2, 6, 6)
    labels = torch.randint(0, 5, (70,))
    (job,) = calibrated(model, [Recipe("int3", "int4", scale="float")], x)
    return model, x, labels, job


def by_hand(model, job, path, part):
    """Return the model with one layer quantized, by replacing its weights and hooking its input."""
    single = copy.deepcopy(model)
    site = next(s for s in job.sites if s.path == path)
    layer = single.get_submodule(path)
    if part != "act":
        quantized = job.layer(site)
        with torch.no_grad():
            layer.weight.copy_(weight_quantizer(quantized)(quantized.weight))
    if part != "weight":
        layer.register_forward_pre_hook(lambda _, a: (job.act(site.acts[0])(a[0]),))
    return single


@pytest.mark.parametrize("part", ["weight", "act", "both"])
def test_every_row_equals_that_layer_quantized_by_hand(case, part):
    """Oracle: the model itself, run whole; groups of 32 items on our side (matmul excluded)."""
    model, x, labels, job = case
    rows = sensitivities([job], x[:32], labels[:32], parts=[part])
    paths = ["stem", "conv", "twice", "head"]
    assert [row.path for row in rows if row.path != "matmul"] == paths
    with torch.no_grad():
        exact = model(x[:32])
        for row in rows:
            if row.path == "matmul":
                continue
            found = by_hand(model, job, row.path, part)(x[:32])
            wrong = float((found - exact).double().square().mean())
            assert row.logit_mse == pytest.approx(wrong, rel=1e-4, abs=1e-12)
            assert row.kl == pytest.approx(kl_divergence(found, exact), rel=1e-4, abs=1e-9)
            assert row.agreement == agreement(found, exact)
            assert row.accuracy == accuracy(found, labels[:32])
            other = by_hand(model, job, "head" if row.path != "head" else "stem", part)(x[:32])
            other_wrong = float((other - exact).double().square().mean())
            assert row.logit_mse != pytest.approx(other_wrong, rel=1e-3)  # negative control


def test_products_of_activations_have_no_weights(case):
    _, x, _, job = case
    rows = [row for row in sensitivities([job], x[:32]) if row.path == "matmul"]
    assert [(r.part, r.weight, r.act, r.foretold, r.trace) for r in rows] == [
        ("act", None, "int4", None, None)
    ]
    assert rows[0].logit_mse > 0
    assert rows[0].accuracy is None


def test_nothing_is_changed_and_order_does_not_matter(case):
    """In-place operators would spoil the kept values: the rows of a subset must be the same."""
    _, x, labels, job = case
    before = copy.deepcopy(job.reference.state_dict())
    every = sensitivities([job], x, labels)
    again = sensitivities([job], x, labels, parts=["both"])
    assert [row for row in every if row.part == "both"] == again
    assert all(torch.equal(before[k], v) for k, v in job.reference.state_dict().items())


def test_formats_share_what_stays_float(case):
    model, x, _, _ = case
    recipes = [Recipe(w, a, scale="float") for w in ("int3", "e2m1") for a in ("int4", "int8")]
    rows = sensitivities(calibrated(model, recipes, x), x[:20])
    head = [(row.part, row.weight, row.act) for row in rows if row.path == "head"]
    assert head == [
        ("weight", "int3", None), ("weight", "e2m1", None),
        ("act", None, "int4"), ("act", None, "int8"),
        ("both", "int3", "int4"), ("both", "int3", "int8"),
        ("both", "e2m1", "int4"), ("both", "e2m1", "int8"),
    ]  # fmt: skip


def test_curvature_foretells_the_error_of_a_linear_network():
    """With white inputs the diagonal is the whole Hessian, up to sampling noise."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(40, 30), nn.Linear(30, 20)).eval()
    x = torch.randn(4000, 40)
    (job,) = calibrated(model, [Recipe("int3", "int8", scale="float")], x[:256])
    first, second = sensitivities([job], x, parts=["weight"], draws=300)
    assert first.foretold == pytest.approx(first.logit_mse, rel=0.15)
    assert first.trace > 0
    assert second.foretold == pytest.approx(second.logit_mse, rel=0.5)  # its inputs are correlated


def test_coarser_formats_hurt_more(case):
    model, x, _, _ = case
    jobs = calibrated(model, [Recipe(f"int{b}", "int8", scale="float") for b in (2, 4, 8)], x)
    rows = sensitivities(jobs, x, parts=["weight"])
    for path in ("stem", "conv", "head"):
        two, four, eight = (row.logit_mse for row in rows if row.path == path)
        assert two > four > eight


def test_outputs_without_classes_and_of_several_tensors():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 1), nn.Linear(4, 3)

        def forward(self, x):
            return {"a": self.a(x), "b": (self.b(x), x.shape[0])}

    torch.manual_seed(0)
    x = torch.randn(40, 4)
    (job,) = calibrated(Two().eval(), [Recipe("int2", "int8")], x)
    rows = sensitivities([job], x, parts=["weight"])
    assert [(r.path, r.kl, r.agreement, r.accuracy) for r in rows] == [
        ("a", None, None, None), ("b", None, None, None),
    ]  # fmt: skip
    assert all(isinstance(row, Sensitivity) and row.logit_mse > 0 for row in rows)


def test_bad_input(case):
    _, x, labels, job = case
    with pytest.raises(SpecError, match="part 'weights', allowed: weight, act, both"):
        sensitivities([job], x, parts=["weights"])
    with pytest.raises(InputError, match="at least one item"):
        sensitivities([job], x[:0])
    with pytest.raises(InputError, match="70 labels for 3 items"):
        sensitivities([job], x[:3], labels)


def test_command_line():
    run = CliRunner().invoke(
        command,
        ["zoo:digits_mlp", "--weight", "int3,e2m1", "--act", "int8", "--part", "weight",
         "--images", "64", "--json"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    rows = json.loads(run.stdout)["rows"]
    assert {row["weight"] for row in rows} == {"int3", "e2m1"}
    errors = [row["logit_mse"] for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    table = CliRunner().invoke(command, ["zoo:digits_mlp", "--weight", "int3", "--images", "64"])
    assert table.exit_code == 0
    assert table.stdout.splitlines()[0].split()[:5] == [
        "path", "part", "weight", "act", "logit_mse",
    ]  # fmt: skip
