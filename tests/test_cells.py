# SPDX-License-Identifier: Apache-2.0
"""Cell models against Yosys' own models (oracle), side by side in Verilator."""

from __future__ import annotations

import re

import numpy as np
import pytest
from cell_bench import (
    IN_BITS,
    OWN,
    Instance,
    compiled,
    noise,
    play,
    ports_of,
    stock,
    text_of,
    variants,
)

from hw.netlist import cell_sources, cells_in
from hwquant.errors import ToolError

pytestmark = pytest.mark.sim

FAULTS = {
    "CARRY4": ("S[2] ? c2 : DI[2]", "S[2] ? c2 : DI[1]"),
    "LUT5": ("INIT[{I4, I3, I2, I1, I0}]", "INIT[{I4, I2, I3, I1, I0}]"),
    "LUT6_2": ("O5 = INIT[{1'b0, ", "O5 = INIT[{1'b1, "),
    "FDRE": ("if (R ^ IS_R_INVERTED) Q <= 1'b0;", "if (CE && (R ^ IS_R_INVERTED)) Q <= 1'b0;"),
    "FDSE": ("Q <= 1'b1;", "Q <= 1'b0;"),
    "FDCE": ("posedge clock or posedge clear", "posedge clock"),
    "RAM64M": (".waddr_i(ADDRD), .raddr_i(ADDRC)", ".waddr_i(ADDRD), .raddr_i(ADDRD)"),
    "RAM32X1D": (".raddr_i({DPRA4, DPRA3,", ".raddr_i({DPRA3, DPRA4,"),
    "MUXF7": ("S ? I1 : I0", "S ? I0 : I1"),
    "hq_cell_srl": ("if (en_i)", "if (1)"),
}


def faulty(module):
    """Return the model of ``module`` with a fault, under a name of its own."""
    text = text_of(module, next(t for t in OWN.values() if f"module {module} " in t))
    good, bad = FAULTS[module]
    assert good in text
    text = text.replace(good, bad).replace(f"module {module} ", f"module FAULTY_{module} ", 1)
    return text.replace("module FAULTY_hq_cell_srl", "module faulty_srl")


@pytest.fixture(scope="module")
def differing(tmp_path_factory):
    """Return [(cell, whether faulty, whether it ever differed from Yosys' model)]."""
    first = {}
    for name, settings in variants():
        first.setdefault(name, settings)
    srl = text_of("SRLC32E", OWN["srl.sv"]).replace("SRLC32E", "FAULTY_SRLC32E")
    broken = [srl.replace("hq_cell_srl", "faulty_srl"), *map(faulty, FAULTS)]
    wanted = [("", *variant) for variant in variants()]
    names = ("SRLC32E" if fault == "hq_cell_srl" else fault for fault in FAULTS)
    wanted += [("FAULTY_", name, first[name]) for name in names]
    left = [Instance(how + name, settings, ports_of(name)) for how, name, settings in wanted]
    right = [Instance(f"STOCK_{name}", s, ports_of(name)) for _, name, s in wanted]
    sources = {f"own_{name}": text for name, text in OWN.items()}
    sources["stock.v"] = "\n".join(map(stock, first))
    sources["faults.sv"] = "\n".join(broken)
    program = compiled(sources, [left, right], tmp_path_factory.mktemp("cells"))
    every = np.zeros((1 << 18, IN_BITS // 32), np.uint32)  # CARRY8 has 18 inputs, the others less
    every[:, 0] = np.arange(1 << 18)
    words = play(program, np.concatenate([every, noise(40_000, seed=7)]))
    half = words.shape[2] // 2
    odd = np.bitwise_or.reduce(words[..., :half] ^ words[..., half:], axis=(0, 1))
    bits = np.unpackbits(odd.view(np.uint8), bitorder="little")
    place, found = 0, []
    for (how, name, settings), item in zip(wanted, left, strict=True):
        end = place + sum(item.outputs().values())
        found.append((f"{name} {settings}", bool(how), bool(bits[place:end].any())))
        place = end
    return found


def test_every_cell_equals_yosys_model_on_all_and_on_random_inputs(differing):
    assert [name for name, faulty, differs in differing if differs and not faulty] == []
    assert sum(not faulty for _, faulty, _ in differing) == len(variants())


def test_every_model_has_been_compared():
    models = {m for t in OWN.values() for m in re.findall(r"^module ([A-Z]\w*)", t, re.MULTILINE)}
    assert models - {name for name, _ in variants()} == {"DSP48E2"}


def test_a_fault_in_a_model_is_noticed(differing):
    """Negative control."""
    faulty = {name: differs for name, faulty, differs in differing if faulty}
    assert len(faulty) == len(FAULTS)
    assert all(faulty.values()), faulty


def test_a_cell_without_a_model_is_named():
    text = "module k (a);\n  URAM288 #(\n    .X(1)\n  ) _01_ (\n  );\nendmodule\n"
    assert cells_in(text) == {"URAM288": 1}
    with pytest.raises(ToolError, match=r"URAM288.*modelled.*DSP48E2"):
        cell_sources(text)
