# SPDX-License-Identifier: Apache-2.0
"""The catalogue of block kernels and the choice of a style from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from costmodel import block_points
from costmodel.block_kernel import block_price
from costmodel.primitives.block_scaled import block_kernels
from costmodel.unit_catalogue import BLOCKS, block_pairs
from hw import block_kernel, unit_catalogue
from hw.block_kernel import (
    block_from_json,
    block_kernel_name,
    block_sources,
    block_style,
    generate_block,
)
from hw.library import sources_sha256
from hw.unit_catalogue import current_rows, read, rows, write
from hwquant.block_mac import BlockMacSpec

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "hw/unit_catalogue.csv").read_text()
STORED = [row for row in read(TEXT) if row.kind == "block"]
MXFP4 = BlockMacSpec("mxfp4", "mxfp4", 8, 256, (15, -16))


@pytest.fixture
def changed(monkeypatch):
    """Stand another catalogue in the place of the committed one."""

    def use(text):
        monkeypatch.setattr(unit_catalogue, "rows", lambda: read(text))
        block_kernel._rows.cache_clear()

    yield use
    monkeypatch.undo()
    block_kernel._rows.cache_clear()


def test_every_row_is_current():
    """If this fails, an RTL block changed: run python -m costmodel.unit_catalogue."""
    assert write(rows()) == TEXT
    wanted = {(block_kernel_name(spec), style) for spec, style in block_pairs()}
    assert {(row.name, row.style) for row in STORED} == wanted
    for row in STORED:
        spec = block_from_json(json.loads(row.spec))
        assert block_kernel_name(spec) == row.name
        assert sources_sha256(tuple(block_sources(spec, row.style))) == row.rtl_sha256
        assert row.checks > 4096
        assert row.counts["dsp"] == 0


@pytest.mark.parametrize("name", [name for name, _ in BLOCKS])
def test_auto_takes_the_smallest(name):
    spec = BlockMacSpec(name, name, 8, 256, (15, -16))
    mine = [row for row in STORED if row.name == block_kernel_name(spec)]
    best = min(mine, key=lambda row: row.luts)
    style, why = block_style("auto", spec)
    assert style.name == best.style
    assert why.startswith(f"{best.luts} LUTs for this kernel; ")
    _, why = block_style("auto", BlockMacSpec(name, name, 2, 256, (15, -16)))
    assert f"nearest block kernel measured ({best.name})" in why


def test_the_formula_foresees_kernels_it_was_not_fitted_to():
    """Coefficients are fitted to kernels of style tree of four formats (`costmodel.block_fit`)."""
    fitted = {
        (str(point.spec["weight"]), point.spec["style"])
        for point in block_points.read()
        if point.unit == "block"
    }
    new = [(block_from_json(json.loads(row.spec)), row) for row in STORED]
    new = [(spec, row) for spec, row in new if (str(spec.weight), row.style) not in fitted]
    assert len(new) >= 8
    found = block_kernels([spec for spec, _ in new], [row.style for _, row in new]).to_columns()
    for name in ("ff", "lutram", "dsp"):
        assert found[name].tolist() == [row.counts[name] for _, row in new]
    for name in ("lut_sites", "lut_raw"):
        off = [abs(a / row.counts[name] - 1) for a, (_, row) in zip(found[name], new, strict=True)]
        assert sum(off) / len(off) < 0.05
        assert max(off) < 0.12
        assert max(off) > 0.001  # they are estimates, not the measurements themselves


def test_a_pair_that_is_not_there_goes_by_its_elements():
    style, why = block_style("auto", BlockMacSpec("mxfp4", "mxint8", 8))
    assert style.name in ("tree", "plain")
    assert "block kernel" not in why


def test_the_choice_follows_the_figures_and_stale_rows_do_not_count(changed):
    """Negative control."""
    tree = next(
        row for row in STORED if row.name == block_kernel_name(MXFP4) and row.style == "tree"
    )
    assert block_style("auto", MXFP4)[0].name == "tree"
    dear = [
        line.replace(f"tree,{tree.counts['lut_sites']},", "tree,9999,")
        for line in TEXT.splitlines()
    ]
    changed("\n".join(dear))
    assert block_style("auto", MXFP4)[0].name == "plain"
    changed("\n".join(line.replace(tree.rtl_sha256, "0" * 64) for line in TEXT.splitlines()))
    assert block_style("auto", MXFP4)[0].name == "plain"
    assert current_rows("block", lambda *_: ("hq_add.sv",)) == ()


def test_the_manifest_says_which_and_why(tmp_path):
    bundle = generate_block(MXFP4, tmp_path / "k", style="auto")
    row = next(r for r in STORED if r.name == block_kernel_name(MXFP4) and r.style == bundle.style)
    assert bundle.manifest["style_why"] == block_style("auto", MXFP4)[1]
    assert bundle.manifest["measured"]["lut_sites"] == row.counts["lut_sites"]
    assert bundle.manifest["interface"]["clock_estimate_mhz"] == row.timing.clock_estimate_mhz


def test_cost_of_auto_is_that_of_the_catalogue():
    found = block_price(MXFP4, "auto")
    assert found["source"] == "measured"
    row = next(r for r in STORED if r.name == block_kernel_name(MXFP4) and r.style == "tree")
    assert (found["style"], found["lut_sites"]) == ("tree", row.counts["lut_sites"])
