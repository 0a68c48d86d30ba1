# SPDX-License-Identifier: Apache-2.0
"""Functional coverage: counts against a recount, what is impossible, what is missed."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import sim
from hwquant import codec
from hwquant.formats import Integer
from hwquant.mac import MacSpec, Overflow
from sim.compare import rails
from sim.coverage import Bin, Counter, missed, summary
from sim.kernels import Control, Kernel
from sim.rows import Rows, beat_words, expected
from sim.vectors import ENABLE, Pass, generator, product_passes, stream_passes

SPECS = [
    MacSpec("e2m1", "int4", 2, 32, 9, "saturate"),
    MacSpec("e2m1", "int4", 2, 32, 9, "wrap"),
    MacSpec("uint4", "ue2m2", 3, 30, 14, "wrap"),
    MacSpec("uint4", "uint4", 4, 64, 12, "saturate"),
    MacSpec("int4n", "e0m3", 5, 30, 5, "wrap"),  # narrower than a beat's sum
    MacSpec("e5m2", "e5m2", 2, 64, 67, "wrap"),  # two words
    MacSpec("e5m2", "e5m2", 2, 64, 63, "wrap"),  # sign extension alone in the top word
    MacSpec("e6m1", "int8", 1, 64, 80, "saturate"),
    MacSpec("e7m0", "e7m0", 1, 16, 258, "wrap"),
]


def cover(spec, blocks, control=None):
    """Count passes without a simulator; return the counter and the passes."""
    kernel = Kernel(spec, "k", 2) if control is None else Kernel(spec, "k", 2, control)
    counter, laid = Counter(kernel), []
    for block in blocks:
        rows = Rows.of(kernel, block, generator(0, spec, f"{block.stage} rows"))
        counter.add(block, rows, beat_words(kernel, block))
        laid.append((block, rows))
    return kernel, counter, laid


def recount(spec, laid):
    """Count again with Python integers, one beat at a time."""
    fixed, found = spec.accumulator, {}
    carried = 0

    def add(name, condition=1):
        found[name] = found.get(name, 0) + int(condition)

    for block, rows in laid:
        beat = 0
        total_before_dot = 0
        for dot, length in enumerate(block.length.tolist()):
            total = 0
            if block.stage != "products":
                add("longest dot product", length >= spec.beats)
                add("clear after a sum", dot > 0 and total_before_dot != 0)
            for position in range(length):
                codes = [
                    (int(block.weight[dot, position, lane]), int(block.act[dot, position, lane]))
                    for lane in range(spec.lanes)
                ]
                step = 0
                for w, a in codes:
                    x, y = codec.decode(spec.weight, w), codec.decode(spec.act, a)
                    step += x * y
                    if x and y:
                        add(f"signs {'+-'[x < 0]}{'+-'[y < 0]}")
                    add("weight +0", w == 0)
                    add("act largest", y == spec.act.max_int)
                if block.stage == "products":
                    beat += 1
                    continue
                before, exact = total, total + step
                if spec.overflow is Overflow.SATURATE:
                    total = min(max(exact, fixed.min_int), fixed.max_int)
                    for side, rail in (("upper", fixed.max_int), ("lower", fixed.min_int)):
                        add(f"{side} rail", total == rail)
                        add(f"{side} rail left", position and before == rail and total != rail)
                else:
                    total = (exact - fixed.min_int) % (1 << fixed.width) + fixed.min_int
                    add("wrap up", exact > fixed.max_int)
                    add("wrap down", exact < fixed.min_int)
                if spec.overflow is Overflow.WRAP or total not in (fixed.min_int, fixed.max_int):
                    carried |= before ^ step ^ exact
                add("sum turns negative", total < 0 <= before)
                add("sum turns positive", before < 0 <= total)
                if position and block.gaps:
                    gap = range(rows.beat_row[beat - 1] + 1, rows.beat_row[beat])
                    frozen = sum(not rows.data[row, 0] & ENABLE for row in gap)
                    found["frozen"] = found.get("frozen", 0) + frozen
                    found["idle"] = found.get("idle", 0) + len(gap) - frozen
                beat += 1
            total_before_dot = total
    found["frozen in a dot product"] = found.pop("frozen", 0)
    found["idle in a dot product"] = found.pop("idle", 0)
    top = fixed.width - 1
    found["carry into the sign bit"] = carried >> top & 1
    found["bits carried into"] = (carried & (1 << top) - 1).bit_count()
    return found


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_counts_equal_a_recount_in_plain_python(spec):
    blocks = [*product_passes(spec)] if spec.weight.bits + spec.act.bits < 12 else []
    blocks += stream_passes(spec, 3, 1500)
    kernel, counter, laid = cover(spec, blocks)
    wanted, bins = recount(spec, laid), counter.bins()
    assert {"frozen in a dot product", "sum turns negative"} <= set(wanted)
    compared = 0
    for name, part in bins.items():
        if part.count is None:  # what cannot be must not have been
            assert wanted.get(name, 0) == 0, name
        elif name in wanted:
            assert part.count == wanted[name], name
            compared += 1
    assert compared >= 9
    if spec.overflow is Overflow.SATURATE:
        at = [rails(kernel, expected(kernel, b, r), r) for b, r in laid if b.stage != "products"]
        assert counter.at_a_rail == sum(at)


def test_a_stimulus_without_rails_shows_the_bins_missed():
    spec = MacSpec("int4", "int4", 1, 64, 12, "saturate")
    ones = np.ones((2, 64, 1), np.uint8)
    _, counter, _ = cover(spec, [Pass("streams", ones, ones, np.full(2, 64))])
    lost = missed(counter.bins())
    assert {"upper rail", "lower rail", "upper rail left", "signs --", "code pairs"} <= set(lost)
    assert {"weight +0", "idle in a dot product", "reset in flight"} <= set(lost)
    assert not {"weight smallest", "longest dot product", "clear after a sum"} & set(lost)
    full = cover(spec, [*product_passes(spec), *stream_passes(spec, 0, 8192)])[1].bins()
    assert missed(full) == []
    told = summary({"poor": counter.bins(), "full": full})
    assert told["missed"] == {"poor": lost}
    assert told["bins_possible"] - told["bins_hit"] == len(lost)


def test_what_formats_ports_and_distance_make_impossible_is_not_missed():
    bare = Control(enable=False, valid=False, reset="none")
    unsigned = MacSpec("uint4", "ue2m2", 1, 16, 40, "saturate")
    bins = cover(unsigned, [*stream_passes(unsigned, 0, 512)], bare)[1].bins()
    impossible = {name for name, part in bins.items() if part.count is None}
    assert impossible >= {
        "signs +-", "signs -+", "signs --", "weight -0", "act -0", "weight subnormal",
        "weight most negative", "upper rail", "lower rail", "wrap up", "wrap down",
        "sum turns negative", "frozen in a dot product", "idle in a dot product",
        "reset in flight", "carry into the sign bit",
    }  # fmt: skip
    assert bins["act subnormal"].count
    signed = cover(SPECS[0], [*product_passes(SPECS[0])])[1].bins()
    assert signed["weight -0"].count
    assert signed["act -0"].count is None
    assert isinstance(SPECS[0].act, Integer)
    assert not Bin(None).hit


@pytest.mark.sim
def test_the_command_names_kernels_missed_and_writes_the_table(tmp_path):
    command = [str(Path(sys.executable).with_name("hwquant")), "verify", "--weight", "int4"]
    command += ["--act", "int4", "--acc", "12", "--overflow", "saturate", "--json"]
    command += ["--coverage", "c.json", "--junit", "v.xml"]
    few = subprocess.run([*command, "--steps", "8"], cwd=tmp_path, capture_output=True, text=True)
    assert few.returncode == 0, few.stderr
    told = json.loads(few.stdout)["coverage"]
    assert told["bins_hit"] < told["bins_possible"]
    ((label, lost),) = told["missed"].items()
    assert "upper rail" in lost
    assert f"not covered: {label}: {', '.join(lost)}" in few.stderr
    table = json.loads((tmp_path / "c.json").read_text())
    assert table["missed"] == told["missed"]
    assert table["kernels"][label]["code pairs"] == {"count": 256, "need": 256, "hit": True}
    assert table["kernels"][label]["wrap up"]["count"] is None
    assert table["kernels"][label]["upper rail"] == {"count": 0, "need": 1, "hit": False}
    root = ET.parse(tmp_path / "v.xml").getroot()  # noqa: S314
    properties = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert properties["coverage.bins_hit"] == str(told["bins_hit"])
    assert properties["missed"] == ", ".join(lost)
    report = sim.verify(MacSpec("int4", "int4", acc=12, overflow="saturate"), steps=16_384)
    assert report.coverage()["missed"] == {}
