# SPDX-License-Identifier: Apache-2.0
"""Plain RTL that kernels are compared with, and the figures the kernels have to reach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from costmodel import baseline, kernel_page
from costmodel.catalogue import LANES, catalogue_specs
from hw.catalogue import choose, rows
from hwquant.errors import SpecError
from hwquant.mac import MacSpec
from sim.engine import verify_designs
from sim.kernels import Design

STORED = baseline.read(
    (Path(__file__).parents[1] / "costmodel" / "data" / "baseline.csv").read_text()
)
SPECS = [spec for lanes in LANES for spec in catalogue_specs(lanes) if baseline.has_textbook(spec)]


def name(spec):
    return str(spec.weight) if spec.weight == spec.act else f"{spec.weight} x {spec.act}"


def test_every_stored_figure_is_of_the_present_rtl():
    """If this fails, an RTL block changed: run python -m costmodel.baseline."""
    assert len(baseline.baselines()) == len(STORED)
    assert all(row.mac_steps >= baseline.STEPS for row in STORED if row.source == "textbook")


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.lanes} lanes {name(spec)}")
def test_ours_are_no_larger_than_what_was_known(spec):
    aim = kernel_page.AIM[spec.lanes].get(name(spec))
    if aim is None:
        return
    row = next(r for r in rows() if r.spec == spec and r.style == choose(spec).style)
    assert (row.core_luts or row.luts) / spec.lanes <= aim


@pytest.mark.parametrize("spec", catalogue_specs(1), ids=name)
def test_ours_are_smaller_than_plain_rtl(spec):
    plain = baseline.smallest(spec)
    if plain is not None:
        best = min(row.luts for row in rows() if row.spec == spec and not row.counts["dsp"])
        assert best < plain.lut_sites


def test_mixed_products_by_half_of_the_textbook():
    spec = next(s for s in catalogue_specs(1) if name(s) == "e4m3 x int8")
    textbook = baseline.smallest(spec, [row for row in STORED if row.source == "textbook"])
    best = min(row.luts for row in rows() if row.spec == spec and not row.counts["dsp"])
    assert 2 * best <= textbook.lut_sites


@pytest.mark.sim
def test_the_textbook_kernel_is_exact_and_a_fault_in_it_is_seen():
    """Pairs of every kind, several lanes; negative control: subnormals without their shift."""
    pairs = (("e2m1", "e3m0"), ("int3", "e2m1"), ("uint3", "ue2m1"), ("int4", "uint2"))
    designs = [
        baseline.textbook_design(MacSpec(w, a, lanes, 32), f"kernel_{k}")
        for k, ((w, a), lanes) in enumerate(zip(pairs, (1, 3, 2, 1), strict=True))
    ]
    verify_designs(designs, steps=2048, jobs=1).raise_for_mismatch()
    good, text = "field == '0 ? '0 : 8'(field) - 8'd1", designs[0].sources[baseline.TEXTBOOK]
    assert text.count(good) == 2
    broken = text.replace(good, "8'(field)")
    wrong = Design(designs[0].kernels, {**designs[0].sources, baseline.TEXTBOOK: broken})
    assert verify_designs([wrong], steps=2048, jobs=1).mismatches


def test_the_textbook_kernel_does_not_clamp():
    with pytest.raises(SpecError, match="allowed: overflow wrap"):
        baseline.textbook_design(MacSpec("int4", "int4", overflow="saturate"))


def test_rows_of_other_rtl_do_not_count():
    assert not replace(STORED[0], rtl_sha256="0" * 64).current
