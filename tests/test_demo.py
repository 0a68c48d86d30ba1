# SPDX-License-Identifier: Apache-2.0
"""The demo command: the whole path, nothing mocked, and every promise of its run folder."""

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from costmodel.explore.demo import DEMO
from costmodel.explore.store import Status, read
from hw.manifest import Bundle
from hwquant.formats import Integer

COMMAND = str(Path(sys.executable).with_name("hwquant"))
pytestmark = [pytest.mark.slow, pytest.mark.synth, pytest.mark.sim]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The demo's folder and its JSON; uses the user's cache, as a second run does."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    done = subprocess.run([COMMAND, "demo", "-o", folder, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_points_are_integers_and_minifloats():
    recipes = DEMO.points()
    whole = [recipe for recipe in recipes if isinstance(recipe.weight, Integer)]
    assert 12 <= len(recipes) <= 16
    assert 4 <= len(whole) <= len(recipes) - 4


def test_every_point_is_measured_and_priced_by_synthesis(demo):
    folder, record = demo
    rows = read(folder / "results.sqlite")
    assert len(rows) == len(DEMO.points()) == len(record["points"])
    assert record["failed"] == 0
    for row in rows:
        assert row.status is Status.DONE
        assert row.metrics["source"] == "synthesis"
        assert "Yosys" in row.metrics["flow"]
        assert row.metrics["lut_sites"] == sum(layer["lut_sites"] for layer in row.layers)
        # Each layer's accumulator is certified from its own weights.
        assert len({layer["acc_bits"] for layer in row.layers}) > 1


def test_accuracy_makes_sense(demo):
    _, record = demo
    top1 = {line["point"]: line["top1"] for line in record["points"]}
    assert record["float_top1"] > 0.97
    assert top1["int8"] > record["float_top1"] - 0.01
    assert top1["int3"] < top1["int6"]
    cost = {line["point"]: line["lut_sites"] for line in record["points"]}
    assert cost["int3"] < cost["int4"] < cost["int5"] < cost["int6"] < cost["int8"]


def test_the_chosen_point_is_exported_generated_and_proven(demo):
    folder, record = demo
    assert record["check"]["differences"] == 0
    assert record["check"]["proven"] is True
    assert record["check"]["codes_compared"] > 10_000
    assert record["verify"]["mismatches"] == 0
    assert record["verify"]["kernels"] == len(record["kernels"])
    suite = ET.parse(folder / "verify.xml").getroot()  # noqa: S314 - our own file
    assert suite.get("failures") == "0"
    manifest = json.loads((folder / "rtl" / "manifest.json").read_text())
    row = next(r for r in read(folder / "results.sqlite") if r.key == record["chosen"]["key"])
    widths = {layer["name"]: layer["acc_bits"] for layer in row.layers}
    for kernel in manifest["kernels"]:
        bundle = Bundle.load(folder / "rtl" / kernel["name"])
        assert {widths[name] for name in kernel["layers"]} == {bundle.spec.accumulator.width}
        assert str(bundle.spec.weight) == row.point["weight"]


def test_the_folder_is_whole(demo):
    folder, _ = demo
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        *("config.lock.toml", "results.sqlite", "results.csv", "pareto.png", "pareto.svg"),
        *("report.html", "model.onnx", "rtl", "verify.xml", "env.json", "logs"),
    }
    assert "RTL proof" in (folder / "report.html").read_text()
