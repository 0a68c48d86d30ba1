# SPDX-License-Identifier: Apache-2.0
"""A killed step goes on where it was and ends with the same codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwquant.nn.codes import layer_codes, quantized_layers
from hwquant.ptq import Recipe
from hwquant.ptq.learn import method, resume
from hwquant.ptq.quantize import quantize

STEPS = {
    "blocks": "qdrop:iterations=40",
    "network": "eptq:iterations=120,draws=3",
    "formats": "nupes:iterations=40",
}


class KilledError(Exception):
    """Stands for a signal."""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HWQUANT_CACHE", str(tmp_path))
    monkeypatch.setattr(resume, "EVERY", 0.0)
    return tmp_path


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(64, 5)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(2))


def learned(net, images, step):
    before = ["power_quant"] if step.startswith("nupes") else []
    recipe = Recipe("int3", "int4", scale="float", steps=[*before, "calibrate", step])
    return quantize(net, recipe, images)


def numbers(model):
    found = [layer_codes(layer) for _, layer in quantized_layers(model)]
    return [(str(c.fmt), c.codes, c.scale) for c in found]


def same(a, b):
    return all(
        f == g and np.array_equal(x, y) and np.array_equal(s, t)
        for (f, x, s), (g, y, t) in zip(numbers(a), numbers(b), strict=True)
    )


def killed_after(monkeypatch, calls):
    """Kill the step at its ``calls``-th iteration."""
    left = [calls]

    def fit(soft, data, terms, schedule, advance, stored=None):
        def counted(steps=1, **detail):
            left[0] -= steps == 1  # going on behind a stored iteration is one larger step
            if left[0] < 0:
                raise KilledError
            advance(steps, **detail)

        return original(soft, data, terms, schedule, counted, stored)

    original = method.fit
    monkeypatch.setattr(method, "fit", fit)
    return lambda: monkeypatch.setattr(method, "fit", original)


@pytest.mark.parametrize("kind", STEPS)
@pytest.mark.parametrize("calls", [17, 63])
def test_a_killed_step_ends_as_if_it_had_not_been(cache, monkeypatch, net, images, kind, calls):
    whole = learned(net, images, STEPS[kind])
    assert not list(cache.glob("ptq/*"))
    restore = killed_after(monkeypatch, calls)
    with pytest.raises(KilledError):
        learned(net, images, STEPS[kind])
    assert list(cache.glob("ptq/*/*.pt"))
    restore()
    again = killed_after(monkeypatch, 121 - calls)  # negative control: the rest is really less
    resumed = learned(net, images, STEPS[kind])
    again()
    assert same(resumed, whole)
    assert not list(cache.glob("ptq/*"))


def test_another_recipe_or_other_data_start_anew(cache, monkeypatch, net, images):
    restore = killed_after(monkeypatch, 70)
    with pytest.raises(KilledError):
        learned(net, images, STEPS["blocks"])
    restore()
    other = images.flip(0) * 0.9
    fresh = learned(net, other, STEPS["blocks"])
    assert list(cache.glob("ptq/*"))  # the killed one is still waiting
    monkeypatch.setenv("HWQUANT_CACHE", str(cache / "empty"))
    assert same(fresh, learned(net, other, STEPS["blocks"]))


@pytest.mark.parametrize("name", ["blocks.pt", "training.pt"])
def test_damaged_files_are_not_used(cache, monkeypatch, net, images, capsys, name):
    whole = learned(net, images, STEPS["blocks"])
    restore = killed_after(monkeypatch, 70)
    with pytest.raises(KilledError):
        learned(net, images, STEPS["blocks"])
    restore()
    for path in cache.glob(f"ptq/*/{name}"):
        path.write_bytes(path.read_bytes()[:100])
    assert same(learned(net, images, STEPS["blocks"]), whole)
    assert "is not whole and is not used" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_costs_only_the_resumption(cache, monkeypatch, net, images):
    whole = learned(net, images, STEPS["blocks"])
    file = cache / "file"
    file.write_text("")
    monkeypatch.setenv("HWQUANT_CACHE", str(file))
    assert same(learned(net, images, STEPS["blocks"]), whole)


def test_short_steps_write_nothing(tmp_path, monkeypatch, net, images):
    monkeypatch.setenv("HWQUANT_CACHE", str(tmp_path))
    learned(net, images, STEPS["blocks"])
    assert not list(tmp_path.glob("ptq/*"))


def test_autocast_keeps_codes_valid_and_the_error_low(net, images):
    recipe = Recipe("int3", "int8", scale="float", steps=["calibrate", "brecq:iterations=80"])
    target = net(images).detach()
    errors = []
    for options in ({"autocast": True}, {}):
        model = quantize(net, recipe, images, **options)
        errors.append(float((model(images) - target).square().mean()))
    start = quantize(net, Recipe("int3", "int8", scale="float", steps=["calibrate"]), images)
    assert max(errors) < float((start(images) - target).square().mean())
