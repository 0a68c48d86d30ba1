# SPDX-License-Identifier: Apache-2.0
"""Pruning by lower bounds, prices by formula, forecasts; on a small network of a user's own.

Oracle of a bound: the price of the same point once it is measured.  Negative control: a bound that
is too high is above such a price.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from costmodel.explore import store
from costmodel.explore.forecast import forecast
from costmodel.explore.measure import measured, outline
from costmodel.explore.pricing import PriceList
from costmodel.explore.pruning import lower_bounds, reason_to_prune, shapes_with
from costmodel.explore.space import LIMITS, Space
from costmodel.explore.store import Status

COMMAND = str(Path(sys.executable).with_name("hwquant"))
NET = """
import numpy as np
import torch
from torch import nn


def make():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(128, 4)),
    )


def data():
    random = np.random.default_rng(0)
    x = random.random((200, 1, 8, 8), dtype=np.float32)
    with torch.no_grad():
        y = make()(torch.from_numpy(x)).argmax(1).numpy()
    return x, y
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruning")
    (folder / "net.py").write_text(NET)
    before = os.environ.get("HWQUANT_CACHE")
    os.environ["HWQUANT_CACHE"] = str(folder / "cache")
    yield folder
    os.environ.pop("HWQUANT_CACHE")
    if before is not None:
        os.environ["HWQUANT_CACHE"] = before


def space_of(home, **choices):
    base = {
        "model": f"{home}/net.py:make",
        "data": f"{home}/net.py:data",
        "weights": ("int3", "e2m1", "e3m2"),
        "acts": ("uint4", "int8", "e2m2"),
        "styles": ("plain", "auto"),
        "lanes": 4,
        "price": "formula",
    }
    return Space(**(base | choices))


@pytest.fixture(scope="module")
def network(home):
    return outline(space_of(home))


@pytest.fixture(scope="module")
def priced(home):
    """Metrics of every point, measured."""
    space = space_of(home)
    prices = PriceList(space)
    found = {}
    for point in space.plan():
        known = measured(space.model, space.data, point.recipe)
        totals, layers = prices.network(known["layers"], point.style)
        found[point] = (known["metrics"] | totals, layers)
    return found


def test_bounds_are_below_what_points_cost(home, network, priced):
    space = space_of(home)
    for point, (metrics, layers) in priced.items():
        bounds = lower_bounds(space, network, point)
        assert set(bounds) == set(LIMITS)
        for name in LIMITS:
            assert bounds[name] <= metrics[name], (point, name)
        for name in ("weight_bits", "macs", "interval_cycles", "latency_cycles"):
            assert bounds[name] == metrics[name]
        shapes = shapes_with(network, point.recipe)
        for mine, theirs in zip(shapes, layers, strict=True):
            same = ("name", "op", "length", "outputs", "weights", "channels", "weight", "act")
            assert all(mine[name] == theirs[name] for name in same)
            assert mine["acc_bits"] <= theirs["acc_bits"]
    # Negative control: accumulators as wide as those of another, much longer layer are no bound.
    point = space.plan()[0]
    wide = [layer | {"acc_bits": 40} for layer in shapes_with(network, point.recipe)]
    totals, _ = PriceList(space).network(wide, point.style)
    assert totals["lut_sites"] > priced[point][0]["lut_sites"]


def test_formulas_come_with_an_interval_around_the_price(priced):
    for metrics, _ in priced.values():
        assert metrics["lut_sites_low"] <= metrics["lut_sites"] <= metrics["lut_sites_high"]
        assert metrics["interval_level"] == 0.9
    assert any(m["lut_sites_low"] < m["lut_sites_high"] for m, _ in priced.values())


def test_ends_and_layers_of_their_own_count(home, network):
    space = space_of(
        home,
        layers=({}, {"2": {"weight": "int8"}}),
        recipe={"first_last": ["int8", "int8"], "act_unsigned": True},
    )
    point = space.plan()[-1]
    assert dict(point.recipe.overrides)
    known = measured(space.model, space.data, point.recipe)["layers"]
    for mine, theirs in zip(shapes_with(network, point.recipe), known, strict=True):
        assert (mine["weight"], mine["act"]) == (theirs["weight"], theirs["act"])


def test_a_reason_names_the_limit(home, network, priced):
    point = space_of(home).plan()[0]
    bits = priced[point][0]["weight_bits"]
    tight = space_of(home, limits={"weight_bits": bits - 1})
    reason, _ = reason_to_prune(tight, network, point)
    assert reason == f"weight_bits is {bits} at least, the limit is {bits - 1}"
    exact = space_of(home, limits={"weight_bits": bits})
    assert reason_to_prune(exact, network, point)[0] == ""
    roomy = space_of(home, parts=("ZU3EG",))
    assert reason_to_prune(roomy, network, point)[0] == ""


def call(*arguments, code=0):
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def test_a_sweep_prunes_prices_and_foretells(home, priced, tmp_path):
    space = space_of(home, weights=("int3", "e3m2"), acts=("int8",), parts=("ZU3EG",))
    a, b = (priced[point][0]["weight_bits"] for point in space.plan()[:2])
    file = tmp_path / "space.toml"
    limited = space_of(
        home,
        weights=("int3", "e3m2"),
        acts=("int8",),
        parts=("ZU3EG",),
        limits={"weight_bits": (a + b) / 2},
    )
    file.write_text(limited.to_toml())
    plain = forecast(limited)
    assert (plain.points, plain.measurements, plain.known, plain.weight_sides) == (4, 2, 0, 2)
    assert plain.seconds is None
    assert "unknown" in plain.basis
    out, err = call("sweep", "--space", file, "-o", tmp_path / "run", "--workers", 1, "--json")
    record = json.loads(out)
    assert (record["points"], record["done"], record["pruned"]) == (4, 2, 2)
    assert "2 points are surely beyond a limit" in err
    rows = store.read(tmp_path / "run" / "results.sqlite")
    assert [row.status for row in rows] == [Status.DONE, Status.PRUNED] * 2
    for row, point in zip(rows, limited.plan(), strict=True):
        if row.status is Status.DONE:
            known = priced[point][0]
            for name in ("top1", "lut_sites", "lut_sites_low", "lut_sites_high", "acc_bits"):
                assert row.metrics[name] == known[name]
            assert row.metrics["fits"] == "ZU3EG"
            assert 0 < row.metrics["percent_ZU3EG"] < 100
        else:
            assert row.metrics["weight_bits_least"] == b
            assert "weight_bits is" in row.error
    _, err = call("sweep", "--space", file, "-o", tmp_path / "run", "--workers", 1)
    assert "4 of 4 points are known already" in err
    out, _ = call("sweep", "--space", file, "--dry-run", "--json")
    record = json.loads(out)
    assert (record["measurements"], record["known"]) == (2, 1)
    assert record["seconds"] > 0
    assert "earlier points of this network" in record["basis"]


def test_limits_that_leave_nothing_are_one_line(home, tmp_path):
    file = tmp_path / "space.toml"
    file.write_text(space_of(home, limits={"weight_bits": 1}, acts=("int8",)).to_toml())
    _, err = call("sweep", "--space", file, "-o", tmp_path / "run", "--workers", 1, code=2)
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("hwquant: error: no point is within the limits (weight_bits is")
    bits = [
        row.metrics["weight_bits_least"] for row in store.read(tmp_path / "run" / "results.sqlite")
    ]
    assert f"weight_bits is {min(bits):g} at least" in last
    _, err = call("sweep", "--limit", "lut_sitez=3", "--dry-run", code=2)
    assert "did you mean lut_sites" in err
    _, err = call("sweep", "--limit", "lut_sites", "--dry-run", code=2)
    assert "NAME=NUMBER" in err
