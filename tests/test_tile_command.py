# SPDX-License-Identifier: Apache-2.0
"""Tiles on the command line: rtl, verify of options and of folders, netlists, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from hw.commands import rtl
from hw.library import sources_sha256
from hw.tile import TILE_SOURCES, TileSpec, is_tile_folder, tile_from_json, tile_latency, tile_name
from hw.unit_catalogue import read, write
from hwquant.errors import HwquantError, InputError, SpecError
from hwquant.formats import parse
from sim.commands import verify

ROOT = Path(__file__).parents[1]
STORED = [r for r in read((ROOT / "hw/unit_catalogue.csv").read_text()) if r.kind == "tile"]
INT3 = ("--weight", "int3", "--act", "int3", "--length", "16")


def call(command, *args):
    done = CliRunner().invoke(command, [str(arg) for arg in args])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done


@pytest.mark.sim
def test_a_folder_is_written_and_verified_and_a_changed_one_fails(tmp_path):
    """The last part is the negative control."""
    folder = tmp_path / "tile"
    told = json.loads(call(rtl, "--tile", "dsp", *INT3, "-o", folder, "--json").stdout)
    spec = TileSpec(parse("int3"), parse("int3"), 16, adder="dsp")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert is_tile_folder(folder)
    assert tile_from_json(manifest["spec"]) == spec
    assert told["products_per_dsp"] == manifest["layout"]["products"] >= 2
    assert (told["dsps"], told["initiation_interval"]) == (1, 1)
    assert told["latency_cycles"] == tile_latency(spec)
    junit = tmp_path / "verify.xml"
    done = call(verify, folder, "--steps", 256, "--junit", junit, "--json")
    found = json.loads(done.stdout)
    assert (found["tiles"], found["mismatches"], found["level"]) == (1, 0, "rtl")
    assert found["results"] > 256
    assert 'failures="0"' in junit.read_text()
    assert not json.loads(call(verify, "--tile", "dsp", *INT3, "--steps", 256, "--json").stdout)[
        "mismatches"
    ]
    block = folder / "hq_dsp_mul.sv"
    block.write_text(block.read_text().replace(".RND(Bias)", ".RND(48'd0)"))
    done = call(verify, folder, "--steps", 256, "--junit", junit, "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["mismatches"]
    assert 'failures="1"' in junit.read_text()
    assert "expected 0x" in done.stderr
    assert "hq_dsp_mul.sv does not match its hash" in done.stderr


@pytest.mark.sim
@pytest.mark.synth
def test_the_netlist_of_a_folder(tmp_path):
    folder = tmp_path / "tile"
    call(rtl, "--tile", "lut", "--shape", "2x1", "--acc", "10", *INT3, "-o", folder)
    found = json.loads(call(verify, folder, "--netlist", "--dsp", "--steps", 64, "--json").stdout)
    assert (found["level"], found["mismatches"]) == ("netlist", 0)
    assert "DSPs allowed" in found["flow"]


def test_portable_tiles_have_no_device_cells(tmp_path):
    call(rtl, "--tile", "lut", *INT3, "--style", "dsp_tile_portable", "-o", tmp_path / "tile")
    manifest = json.loads((tmp_path / "tile" / "manifest.json").read_text())
    assert manifest["style"] == "dsp_tile_portable"
    assert manifest["parameters"]["Primitive"] == 0


BAD = {
    "lanes cannot go with --tile": ("--tile", "lut", *INT3, "--lanes", 2),
    "window cannot go with --tile": ("--tile", "lut", *INT3, "--window", "15:-16"),
    "allowed with --tile: dsp_tile, dsp_tile_portable": ("--tile", "lut", *INT3, "--style", "tree"),
    "--tile needs --weight and --act": ("--tile", "lut", "--weight", "int4"),
    "--shape goes with --tile": ("--shape", "2x2", *INT3),
    "such as 2x2": ("--tile", "lut", *INT3, "--shape", "4"),
    "no 9 x 9 products": ("--tile", "lut", *INT3, "--shape", "9x9"),
    "allowed: auto, or the accumulator width": ("--tile", "lut", *INT3, "--acc", "wide"),
    "allowed for integers": ("--tile", "dsp", "--weight", "e2m1", "--act", "e2m1"),
}


@pytest.mark.parametrize("said", BAD)
@pytest.mark.parametrize("command", [rtl, verify])
def test_what_is_refused(said, command, tmp_path):
    out = ("-o", tmp_path / "x") if command is rtl else ()
    with pytest.raises(HwquantError) as caught:
        call(command, *BAD[said], *out)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--dsp",), "--dsp goes with --netlist"),
        (("--coverage", "c.json"), "--coverage does not go with a tile"),
    ],
)
def test_what_verify_refuses_besides(options, said):
    with pytest.raises(InputError, match=said):
        call(verify, "--tile", "lut", *INT3, *options)


def test_a_folder_fixes_the_tile(tmp_path):
    call(rtl, "--tile", "lut", *INT3, "-o", tmp_path / "tile")
    with pytest.raises(InputError, match="--acc cannot go with"):
        call(verify, tmp_path / "tile", "--acc", 12)


def test_the_catalogue_is_current_and_in_the_manifest(tmp_path):
    """If this fails, an RTL block changed: run python -m costmodel.unit_catalogue."""
    assert len(STORED) >= 8
    assert all(row.rtl_sha256 == sources_sha256(TILE_SOURCES) for row in STORED)
    assert all(row.counts["dsp"] == 1 and row.checks > 4096 for row in STORED)
    assert read(write(STORED)) == tuple(STORED)
    row = next(row for row in STORED if "int4" in row.name and row.name.endswith("_dsp"))
    spec = tile_from_json(json.loads(row.spec))
    assert tile_name(spec) == row.name
    args = ("--weight", "int4", "--act", "int4", "--length", spec.length, "--acc", spec.acc)
    told = json.loads(call(rtl, "--tile", "dsp", *args, "-o", tmp_path / "t", "--json").stdout)
    assert told["clock_estimate_mhz"] == row.timing.clock_estimate_mhz
    manifest = json.loads((tmp_path / "t" / "manifest.json").read_text())
    assert manifest["measured"]["lut_sites"] == row.counts["lut_sites"] <= 2
    with pytest.raises(SpecError):
        TileSpec(parse("int4"), parse("int4"), adder="dsp", acc=40)
