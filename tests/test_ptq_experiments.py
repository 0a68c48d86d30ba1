# SPDX-License-Identifier: Apache-2.0
"""Named experiments: the catalogue, pairing, resuming, and the statistics."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwquant.errors import InputError
from hwquant.ptq import paired
from hwquant.ptq.experiments import EXPERIMENTS, Experiment, experiment, shortened
from hwquant.ptq.job import build_step
from hwquant.ptq.order import check_order
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.significance import bootstrap, mcnemar
from hwquant.zoo.catalogue import CATALOGUE
from hwquant.zoo.training import load

TINY = Experiment(
    "tiny",
    "finer weights are better",
    "digits_mlp",
    Recipe("int4", "int8", steps=["calibrate"]),
    Recipe("int2", "int8", steps=["calibrate"]),
    "top1",
    "ours",
)


@pytest.fixture(scope="module")
def network():
    return load("digits_mlp")


def test_experiments_are_fair():
    for item in EXPERIMENTS.values():
        assert item.model in CATALOGUE
        assert item.metric == "top1"
        assert item.first != item.second
        assert replace(item.first, steps=item.second.steps) == item.second  # only steps differ
        for recipe in (item.first, item.second):
            steps = [(str(spec), build_step(spec)) for spec in recipe.steps]
            check_order(steps)
        counts = [
            {o for s in recipe.steps for o in s.options if o[0] == "iterations"}
            for recipe in (item.first, item.second)
        ]
        assert counts[0] == counts[1]


def test_every_claim_of_the_literature_is_there():
    assert {"mse-absmax", "gptq-nearest", "adaround-nearest", "pd-mse"} <= set(EXPERIMENTS)
    assert {"eptq-network-layer", "eptq-attention-uniform", "flexround-adaround-w2"} <= set(
        EXPERIMENTS
    )
    assert {"power-uniform", "nupes-power", "qdrop-brecq"} <= set(EXPERIMENTS)


def test_shortened_changes_both_arms():
    short = shortened(EXPERIMENTS["qdrop-brecq"], 7)
    assert [str(step) for step in short.first.steps][1] == "qdrop:iterations=7"
    assert [str(step) for step in short.second.steps][1:] == [
        "brecq:iterations=7",
        "act_scales:iterations=7",
    ]
    assert shortened(EXPERIMENTS["mse-absmax"], 7) == EXPERIMENTS["mse-absmax"]


def test_run_pairs_and_resumes(network, private_cache, monkeypatch):
    options = {"seeds": 2, "draws": 2, "calib": 64, "networks": [network, network]}
    first = paired.run(TINY, **options)
    assert first.difference == pytest.approx(first.first.top1 - first.second.top1)
    assert first.low <= first.difference <= first.high
    assert first.difference > 1
    assert first.holds
    assert first.items == len(network.data.x_test)
    # Two recipes, two draws; both networks are the same one, so its cells are shared.
    assert len(list(private_cache.rglob("*.json"))) == 4
    monkeypatch.setattr(paired, "quantize", None)  # a second run may not quantize
    assert paired.run(TINY, **options) == first
    turned = paired.run(replace(TINY, first=TINY.second, second=TINY.first), **options)
    assert turned.difference == pytest.approx(-first.difference)
    assert (turned.only_first, turned.only_second) == (first.only_second, first.only_first)
    assert not turned.holds
    same = paired.run(replace(TINY, second=TINY.first), **options)
    assert (same.difference, same.low, same.high, same.p, same.holds) == (0, 0, 0, 1, False)


def test_another_recipe_draw_or_network_is_another_cell(network, private_cache):
    recipe = replace(TINY.first, scale="float")  # powers of two are the same for many draws
    cell = paired.measure(network.model, recipe, network.data, 64, 0)
    other = paired.measure(network.model, recipe, network.data, 64, 1)
    assert len(list(private_cache.rglob("*.json"))) == 2
    assert cell.right.shape == other.right.shape == (len(network.data.x_test),)
    assert cell.kl != other.kl
    again = paired.measure(network.model, recipe, network.data, 64, 0)
    assert np.array_equal(again.right, cell.right)


def test_draws_are_seeded_and_without_repetition(network):
    first, again = (torch.cat(paired.draw(network.data, 100, 3)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.cat(paired.draw(network.data, 100, 4)))
    rows = torch.cat(paired.draw(network.data, len(network.data.x_calib), 0))
    order = sorted(map(tuple, network.data.x_calib.flatten(1).tolist()))
    assert sorted(map(tuple, rows.flatten(1).tolist())) == order
    with pytest.raises(InputError, match="allowed 1 to"):
        paired.draw(network.data, 10**6, 0)
    with pytest.raises(InputError, match="allowed 1 to"):
        paired.draw(network.data, 0, 0)


def test_bootstrap():
    rng = np.random.default_rng(1)
    gain = (rng.random((1, 4000)) < 0.1).astype(np.int8)
    low, high = bootstrap(gain)
    error = 1.96 * np.sqrt(0.09 / 4000)  # of the mean of a coin
    assert low == pytest.approx(gain.mean() - error, abs=0.2 * error)
    assert high == pytest.approx(gain.mean() + error, abs=0.2 * error)
    assert bootstrap(gain) == (low, high)
    # Cells that disagree widen the interval: the same mean, from luck.
    cells = np.zeros((4, 4000), np.int8)
    cells[0], cells[1] = 1, -1
    cells[2, :1600] = 1
    wide_low, wide_high = bootstrap(cells)
    assert cells.mean() == 0.1
    assert wide_low < 0
    assert wide_high > 0.2
    assert bootstrap(np.ones((3, 10))) == (1, 1)
    with pytest.raises(InputError, match="shape"):
        bootstrap(np.ones(3))


def test_mcnemar():
    assert mcnemar(0, 0) == 1
    assert mcnemar(10, 2) == pytest.approx(2 * (1 + 12 + 66) / 4096)
    assert mcnemar(2, 10) == mcnemar(10, 2)
    assert mcnemar(5, 5) == 1
    assert mcnemar(540, 470) == pytest.approx(mcnemar(470, 540))
    assert mcnemar(540, 470) == pytest.approx(0.0299, abs=2e-4)  # (69 / sqrt 1010) = 2.171
    assert mcnemar(3000, 1000) < 1e-200
    with pytest.raises(InputError, match="counts"):
        mcnemar(-1, 2)


def test_bad_input(network):
    with pytest.raises(InputError, match="mse-absmax"):
        experiment("nonsense")
    with pytest.raises(InputError, match="seeds=0"):
        paired.run(TINY, seeds=0, networks=[network])
    boxes = replace(network, data=replace(network.data, task="denoise"))
    with pytest.raises(InputError, match="does not classify"):
        paired.run(TINY, seeds=1, networks=[boxes])


def test_command():
    script = Path(sys.executable).with_name("hwquant")
    listed = subprocess.run([script, "experiment", "--list", "--json"], capture_output=True)
    assert set(json.loads(listed.stdout)) == set(EXPERIMENTS)
    for args, said in (([], "no name"), (["nonsense"], "is unknown")):
        done = subprocess.run([script, "experiment", *args], capture_output=True, text=True)
        assert done.returncode == 2
        assert said in done.stderr
