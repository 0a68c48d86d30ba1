# SPDX-License-Identifier: Apache-2.0
"""The catalogue of kernels, the choice of a style from it, and the page made of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from costmodel import catalogue, kernel_page
from hw import generate
from hw.catalogue import choose, read, rows, style_name
from hw.library import sources_sha256
from hw.styles import STYLES, fitting
from hw.yosys import flow
from hwquant.errors import SpecError
from hwquant.formats import parse
from hwquant.mac import MacSpec

ROOT = Path(__file__).parents[1]
STORED = read((ROOT / "hw" / "catalogue.csv").read_text())
PAIRS = [("int4", "int4"), ("e2m1", "e2m1"), ("e4m3", "e4m3"), ("int8", "uint8"), ("int3", "e7m0")]


def test_every_row_is_of_the_present_rtl_and_was_verified():
    """If this fails, an RTL block changed: run python -m costmodel.catalogue."""
    assert len(STORED) == len(rows())
    assert all(row.mac_steps >= catalogue.STEPS and row.luts > 0 for row in STORED)


def test_the_catalogue_holds_every_style_of_every_kernel():
    wanted = {
        (spec, style)
        for lanes in catalogue.LANES
        for spec in catalogue.catalogue_specs(lanes)
        for style in catalogue.compared(spec)
    }
    assert {(row.spec, row.style) for row in STORED} == wanted


def test_the_choice_is_the_smallest_row():
    for spec in catalogue.catalogue_specs():
        best = min(r.luts for r in STORED if r.spec == spec and not r.counts["dsp"])
        chosen = choose(spec)
        (row,) = (r for r in STORED if r.spec == spec and r.style == chosen.style)
        assert row.luts == best
        assert f"{best:g} LUTs for this kernel" in chosen.why


def test_a_dsp_on_request():
    """No kernel with a DSP is chosen unless one is allowed, and then only where it is smaller."""
    for spec in catalogue.catalogue_specs():
        assert STYLES[choose(spec).style].dsps == 0
        smallest = min(row.luts for row in STORED if row.spec == spec)
        chosen = choose(spec, dsps=1)
        (row,) = (r for r in STORED if r.spec == spec and r.style == chosen.style)
        assert row.luts == smallest
        assert style_name("auto-dsp", spec) == chosen
    spec = MacSpec("int8", "int8", length=256, acc=24)
    assert choose(spec, dsps=1).style == "dsp"
    assert "1 LUTs and 1 DSP for this kernel" in choose(spec, dsps=1).why
    assert choose(MacSpec("int7", "int7"), dsps=1).style == "dsp", "not in the catalogue"


def test_a_result_every_beat_on_request():
    spec = MacSpec("e4m3", "e4m3", length=256)
    assert choose(spec).style == "bucket"
    assert STYLES[choose(spec, every_beat=True).style].timing is None
    assert style_name("auto-beat", spec) == choose(spec, every_beat=True)


@pytest.mark.parametrize(("weight", "act"), PAIRS)
@pytest.mark.parametrize("overflow", ["wrap", "saturate"])
def test_any_kernel_has_a_style_that_can_do_it(weight, act, overflow):
    for lanes, acc in ((1, "auto"), (5, "auto"), (1, 3)):
        spec = MacSpec(weight, act, lanes, 64, acc, overflow)
        assert choose(spec).style in {style.name for style in fitting(spec)}


def test_a_pair_beyond_the_catalogue_is_said_to_be_one():
    assert "not in the catalogue" in choose(MacSpec("e5m1", "uint3")).why
    assert "nearest kernel (1 lanes, 16 bits)" in choose(MacSpec("int4", "int4", acc=24)).why


def test_rows_of_another_rtl_do_not_count():
    """Negative control: a smaller row of RTL that is gone must not win."""
    spec = catalogue.catalogue_specs()[1]
    row = next(r for r in STORED if r.spec == spec and r.style == "plain")
    tiny = replace(row, luts=1.0)
    assert choose(spec, among=[*STORED, tiny]).style == "plain"
    assert not replace(tiny, rtl_sha256="0" * 64).current
    assert row.rtl_sha256 == sources_sha256(STYLES["plain"].sources)


def test_an_unknown_style_is_refused(tmp_path):
    with pytest.raises(SpecError, match="allowed: auto, auto-beat, auto-dsp, plain"):
        generate(MacSpec("int4", "int4"), tmp_path / "k", style="fancy")


def test_the_manifest_says_which_style_and_why(tmp_path):
    bundle = generate(MacSpec("int4", "int4", length=256), tmp_path / "k", style="auto")
    assert bundle.style == bundle.manifest["style"] == "booth"
    assert "LUTs for this kernel" in bundle.manifest["style_why"]


def command(*arguments):
    return subprocess.run(
        [str(Path(sys.executable).with_name("hwquant")), *arguments], capture_output=True, text=True
    )


def test_the_command_compares_by_synthesis():
    kernel = ["--weight", "int3", "--act", "int3", "--acc", "14"]
    done = command("cost", *kernel, "--synth", "--style", "auto", "--json")
    record = json.loads(done.stdout)
    row = next(r for r in STORED if str(r.spec.weight) == "int3" and r.style == "table")
    assert record["style"] == "table"
    assert record["lut_sites"] == row.counts["lut_sites"] or record["flow"] != row.flow
    assert record["style_why"].startswith("smallest of those synthesized: table")


def test_one_row_measured_again(tmp_path):
    spec = catalogue.catalogue_specs()[0]
    again = catalogue.measure(spec, "table")
    stored = next(row for row in STORED if row.spec == spec and row.style == "table")
    assert again == stored or again.flow != stored.flow
    path = tmp_path / "catalogue.csv"
    path.write_text((ROOT / "hw" / "catalogue.csv").read_text())
    before = path.read_text()
    if stored.flow == flow():
        every = [s for lanes in catalogue.LANES for s in catalogue.catalogue_specs(lanes)]
        assert catalogue.write(every, path) == []
        assert path.read_text() == before


@pytest.mark.parametrize(
    ("name", "bound"), [("int3", 4), ("int4", 6), ("e2m1", 8), ("int8", 14), ("e4m3", 37)]
)
def test_bounds_of_products(name, bound):
    """The bounds of the reference study, found there by other code."""
    fmt = parse(name)
    assert kernel_page.product_bound(fmt, fmt) == bound


def test_the_page_is_that_of_the_catalogue():
    assert kernel_page.page() == (ROOT / "docs" / "kernels" / "benchmark.md").read_text()
