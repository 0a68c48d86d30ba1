# SPDX-License-Identifier: Apache-2.0
"""``hwquant cost --tile``: measured, by formula, synthesized; bad requests."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from costmodel import tile_cost as module
from costmodel.commands import cost
from costmodel.parts import find_part
from costmodel.tile_cost import tile_cost
from hw.tile import TileSpec, tile_from_json, tile_latency
from hw.unit_catalogue import rows
from hw.yosys import flow
from hwquant.errors import HwquantError, InputError, SpecError
from hwquant.formats import parse

TILES = [(tile_from_json(json.loads(row.spec)), row) for row in rows() if row.kind == "tile"]
INT4 = ("--weight", "int4", "--act", "int4", "--acc", "16")


def call(*arguments):
    done = CliRunner().invoke(cost, [str(argument) for argument in arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def record(*arguments):
    return json.loads(call(*arguments, "--json"))


def test_a_catalogued_tile_has_its_measured_price():
    found = record("--tile", "lut", *INT4)
    spec, row = next((s, r) for s, r in TILES if r.name == "hq_tile_int4_int4_2x2_a16_lut")
    assert {name: found[name] for name in row.counts} == dict(row.counts)
    assert (found["source"], found["flow"], found["style"]) == ("measured", row.flow, "dsp_tile")
    assert (found["shape"], found["products"], found["acc_bits"]) == ("2x2", 4, 16)
    assert found["lut_sites_per_product"] == round(found["lut_sites"] / 4, 2)
    assert found["latency_cycles"] == tile_latency(spec)


def test_the_formula_is_near_every_measured_tile(monkeypatch):
    measured = [tile_cost(spec).resources for spec, _ in TILES]
    monkeypatch.setattr(module, "price_of", lambda *_: None)
    for (spec, _), truth in zip(TILES, measured, strict=True):
        cost = tile_cost(spec)
        assert cost.source == "formula"
        assert "carry" not in cost.to_json()
        found = cost.resources
        assert (found.ff, found.dsp, found.lutram) == (truth.ff, truth.dsp, truth.lutram)
        assert abs(found.lut_sites - truth.lut_sites) <= 0.05 * truth.lut_sites, spec


def test_every_option_of_a_tile_moves_its_price():
    base = {"--tile": "lut", "--weight": "int5", "--act": "int5", "--acc": "20"}

    def priced(**change):
        options = base | {f"--{name}": value for name, value in change.items()}
        found = record(*(word for pair in options.items() for word in pair))
        return {name: found[name] for name in ("lut_sites", "lut_raw", "lutram", "ff")}

    changes = [
        {"weight": "int4"}, {"act": "e2m1"}, {"acc": "21"}, {"shape": "1x2"}, {"tile": "dsp"},
        {"acc": "auto", "length": "4096"},
    ]  # fmt: skip
    for change in changes:
        assert priced(**change) != priced(), change
    wider = [priced(acc=str(bits))["lut_sites"] for bits in range(12, 24)]
    assert wider == sorted(set(wider))


def test_a_part_says_how_much_of_it_a_tile_uses():
    found = record("--tile", "lut", *INT4, "--part", "ZU3EG")
    part = find_part("ZU3EG")
    assert found["part"]["name"] == "ZU3EG"
    assert found["utilisation_percent"]["dsp"] == pytest.approx(100 / part.dsp, abs=0.01)
    text = call("--tile", "lut", *INT4, "--part", "ZU3EG")
    assert "dsp_tile" in text
    assert "ZU3EG" in text


@pytest.mark.synth
def test_synthesis_gives_the_committed_price():
    found = record("--tile", "dsp", *INT4, "--synth")
    row = next(row for _, row in TILES if row.name == "hq_tile_int4_int4_2x1_a16_dsp")
    assert (found["source"], found["flow"]) == ("synthesis", flow())
    if row.flow == flow():
        assert {name: found[name] for name in row.counts} == dict(row.counts)
    portable = record("--tile", "dsp", *INT4, "--style", "dsp_tile_portable", "--synth")
    assert portable["dsp"] == 0
    assert portable["lut_sites"] > found["lut_sites"]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("--tile", "lut", *INT4, "--interval", "0.9"), InputError, "--interval cannot go with"),
        (("--tile", "lut", *INT4, "--folding", "auto"), InputError, "--folding cannot go with"),
        (("--tile", "lut", *INT4, "--fps", "100"), InputError, "--fps cannot go with"),
        (("--tile", "lut", *INT4, "--network", "a.onnx"), InputError, "--network cannot go with"),
        (("--tile", "lut", *INT4, "--lanes", "2"), InputError, "lanes cannot go with"),
        (("--tile", "lut", *INT4, "--style", "tree"), SpecError, "allowed with --tile: dsp_tile"),
        (("--tile", "lut", *INT4, "--style", "dsp_tile_portable"), InputError, "add --synth"),
        (("--tile", "lut", *INT4, "--shape", "9x9"), SpecError, "9"),
        (("--tile", "dsp", "--weight", "e2m1", "--act", "e2m1"), SpecError, "allowed"),
        (("--tile", "lut", "--weight", "int4"), InputError, "needs --weight and --act"),
        ((*INT4, "--shape", "2x2"), InputError, "--shape goes with --tile"),
        (("--tile", "lut", *INT4, "--part", "none"), HwquantError, "part"),
    ],
)
def test_bad_requests_are_refused(arguments, error, said):
    with pytest.raises(error, match=said):
        call(*arguments)


def test_a_tile_of_another_format_has_another_price():
    """Negative control of the comparison above: five bits do not cost what four do."""
    cost = tile_cost(TileSpec(parse("int5"), parse("int5"), 256, 18, "lut")).resources
    four = tile_cost(TileSpec(parse("int4"), parse("int4"), 256, 16, "lut")).resources
    assert abs(cost.lut_sites - four.lut_sites) > 0.05 * four.lut_sites
