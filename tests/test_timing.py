# SPDX-License-Identifier: Apache-2.0
"""The clock estimate: paths by hand, real netlists, a longer path is seen."""

from __future__ import annotations

import json

import pytest

from hw import timing as model
from hw.generate import generate
from hw.netlist import kernel_sources
from hw.sites import Netlist
from hw.timing import Timing, estimate_clock
from hw.yosys import timing
from hwquant.errors import ToolError
from hwquant.mac import MacSpec

EDGE = model.CLOCK_TO_Q + model.SETUP


def lut(out, *inputs):
    return f"LUT{len(inputs)}", {f"I{i}": [net] for i, net in enumerate(inputs)} | {"O": [out]}


def ff(out, data):
    return "FDRE", {"C": [1], "CE": ["1"], "D": [data], "Q": [out], "R": ["0"]}


def carry(out, up, select, data, first):
    bits = {"S": select, "DI": data, "O": out, "CO": up}
    return "CARRY8", {**bits, "CI": [first], "CI_TOP": ["0"]}


def path(*cells, outputs=(), inits=None):
    return estimate_clock(Netlist(cells, frozenset(outputs), inits or {}))


def test_one_lut_between_two_flip_flops():
    assert path(ff(10, 11), lut(11, 10)) == Timing(EDGE + model.NET + model.LUT, 1)


def test_a_wire_from_flip_flop_to_flip_flop_is_routed():
    assert path(ff(10, 11), ff(11, 2)) == Timing(EDGE + model.NET, 0)


def test_every_doubling_of_the_readers_costs_more():
    cells = [ff(10, 11), *(lut(11 + i, 10) for i in range(4))]
    late = EDGE + model.NET + 2 * model.DOUBLE_FANOUT + model.LUT
    assert path(*cells).path_ps == late


def test_a_chain_is_one_level_and_wired_in_the_slice():
    chain = carry(list(range(30, 38)), list(range(40, 48)), [20, *[11] * 7], ["0"] * 8, "0")
    found = path(ff(10, 37), lut(20, 10), chain)
    late = model.NET + model.LUT + model.CARRY_ENTER + 6 * model.CARRY_STEP + model.CARRY_SUM
    assert found == Timing(EDGE + late, 2)


def test_an_output_that_does_not_read_an_input_does_not_wait_for_it():
    """O5 of this LUT6_2 is I0, O6 is I1: the path through I1 ends at O6."""
    pins = {f"I{i}": [net] for i, net in enumerate((10, 12, "0", "0", "0", "1"))}
    cell = ("LUT6_2", {**pins, "O5": [20], "O6": [21]})
    table = {2: (0xCCCC_CCCC << 32) | 0xAAAA_AAAA}
    cells = (ff(10, 20), lut(12, 10), cell)
    assert path(*cells, inits=table).logic_levels == 1
    late = path(*cells, ff(22, 21), inits=table)
    assert late.logic_levels == 2


def test_a_memory_written_from_what_it_reads_is_no_loop():
    ram = {"A0": [10], "A1": ["0"], "D": [21], "O": [20], "WE": ["1"], "WCLK": [1]}
    found = path(ff(10, 2), lut(21, 20), ("RAM32X1S", ram))
    assert found.logic_levels == 2
    assert found.path_ps > model.RAM_READ + model.LUT + model.RAM_WRITE


def test_a_loop_of_gates_is_refused():
    with pytest.raises(ToolError, match="loop of gates"):
        path(lut(10, 11), lut(11, 10))


@pytest.mark.synth
def test_a_wider_accumulator_is_slower_and_the_bucket_is_not():
    narrow, wide = (
        timing(kernel_sources(MacSpec("int3", "int3", acc=width), "kernel", "plain"), "kernel")
        for width in (14, 60)
    )
    assert wide.path_ps > narrow.path_ps
    assert wide.clock_estimate_mhz < narrow.clock_estimate_mhz


def test_the_manifest_shows_the_estimate_of_a_measured_kernel(tmp_path):
    spec = MacSpec("int3", "int3", length=256, acc=14)
    bundle = generate(spec, tmp_path / "kernel", style="table")
    interface = json.loads((bundle.folder / "manifest.json").read_text())["interface"]
    assert interface["initiation_interval"] == 1
    assert interface["latency_cycles"] == 2
    assert 100 < interface["clock_estimate_mhz"] < 1000
    assert interface["logic_levels"] >= 2
    assert "unplaced" in interface["clock_model"]
