# SPDX-License-Identifier: Apache-2.0
"""DSP48E2 against plain integer arithmetic written from UG579, and against Yosys' DSP48E1 where
the two agree."""

from __future__ import annotations

import numpy as np
import pytest
from cell_bench import OWN, Instance, compiled, play, stock, text_of
from dsp48e2_model import DSP, Dsp, dsp_instance, dsp_rows, packed, signed

from hwquant.errors import ToolError

pytestmark = pytest.mark.sim

SHARED = [name for name, s in DSP.items() if not s.keys() & {"PREADDINSEL", "BMULTSEL"}]
"""Configurations that DSP48E1 has too, if its narrower pre-adder (25 bits) is not exceeded."""


def dsp48e1_instance(settings):
    """Return Yosys' DSP48E1 in the same configuration; it takes the low bits of D and OPMODE."""
    item = dsp_instance({k: v for k, v in settings.items() if k not in ("AMULTSEL", "RND")})
    pre_adder = '"TRUE"' if settings.get("AMULTSEL") == "AD" else '"FALSE"'
    return Instance("STOCK_DSP48E1", item.settings | {"USE_DPORT": pre_adder}, item.ports)


DSP_FAULTS = {
    "subtraction one off": ("assign p_d = alumode[1] ? ~sum : sum;", "assign p_d = sum;"),
    "a 17-bit shift by 16": ("$signed(PCIN[47:17])", "$signed(PCIN[47:16])"),
    "enable of A1 for A2": (".en_i(CEA2), .d_i(a1)", ".en_i(CEA1), .d_i(a1)"),
    "an unsigned multiplier": ("45'($signed(right))", "45'(right)"),
    "the pre-adder adds": ("inmode[3] ? -preadd", "inmode[3] ? preadd"),
}
REGISTERED = "everything registered, A and B twice"


@pytest.fixture(scope="module")
def dsp_program(tmp_path_factory):
    """Every configuration, and one configuration with each fault."""
    good = [dsp_instance(settings) for settings in DSP.values()]
    text, broken = OWN["dsp48e2.sv"], []
    for index, (old, new) in enumerate(DSP_FAULTS.values()):
        assert old in text
        model = text_of("DSP48E2", text).replace("module DSP48E2", f"module FAULT{index}")
        broken.append(model.replace(old, new))
    bad = [dsp_instance(DSP[REGISTERED], f"FAULT{i}") for i in range(len(broken))]
    sources = {"dsp48e2.sv": text, "faults.sv": "\n".join(broken), "e1.v": stock("DSP48E1")}
    groups = [[item] for item in (*good, *bad)]
    groups += [[dsp_instance(DSP[name]), dsp48e1_instance(DSP[name])] for name in SHARED]
    return compiled(sources, groups, tmp_path_factory.mktemp("dsp"), alone=True), groups


def dsp_mismatches(dsp_program, number, settings, seed, count=1500):
    """Return how many outputs of instance ``number`` differ from the Python model."""
    program, groups = dsp_program
    item, size = groups[number][0], 5
    assert -(-sum(item.outputs().values()) // 32) == size
    rows = dsp_rows(item, settings, count, seed)
    out = play(program, packed(item, rows, number))[..., size * number : size * (number + 1)]
    model, wrong = Dsp(settings), 0
    for index, pins in enumerate(rows):
        for when in (0, 1):
            if when:
                model.edge(pins)
            word, wanted = int.from_bytes(out[index, when].tobytes(), "little"), {}
            if index >= 4:
                wanted = model.outputs(pins)
            for port, width in item.outputs().items():
                wrong += bool(wanted) and word & (1 << width) - 1 != wanted[port]
                word >>= width
    return wrong


@pytest.mark.parametrize("name", DSP)
def test_dsp48e2_equals_plain_arithmetic(name, dsp_program):
    assert dsp_mismatches(dsp_program, list(DSP).index(name), DSP[name], seed=3) == 0


@pytest.mark.parametrize("fault", DSP_FAULTS)
def test_a_fault_in_the_dsp_is_noticed(fault, dsp_program):
    """Negative control."""
    index = len(DSP) + list(DSP_FAULTS).index(fault)
    assert dsp_mismatches(dsp_program, index, DSP[REGISTERED], seed=3) > 10


def test_a_forbidden_mode_stops_the_simulation(dsp_program):
    program, groups = dsp_program
    number = list(DSP).index("accumulator")
    item = groups[number][0]
    rows = dsp_rows(item, DSP["accumulator"], 40, seed=5)
    assert play(program, packed(item, rows, number)).size
    for pin, value in {"OPMODE": 0b000000001, "ALUMODE": 0b0100, "CARRYINSEL": 0b010}.items():
        with pytest.raises(ToolError, match=r"DSP48E2.*OPMODE .*ALUMODE .*allowed"):
            play(program, packed(item, [*rows[:20], rows[20] | {pin: value}], number))


@pytest.mark.parametrize("name", SHARED)
def test_dsp48e2_equals_yosys_dsp48e1_where_both_exist(name, dsp_program):
    program, groups = dsp_program
    index = SHARED.index(name)
    singles = len(DSP) + len(DSP_FAULTS)
    item = groups[singles + index][0]
    rows = dsp_rows(item, DSP[name], 1500, seed=9)
    for row in rows:
        row["OPMODE"] &= 0x7F  # no W
        for pin, bits in (("A", 30), ("ACIN", 30), ("D", 27)):
            row[pin] = signed(row[pin], 24) % (1 << bits)
    out = play(program, packed(item, rows, singles + index))[4:]
    words = np.ascontiguousarray(out[..., 5 * singles + 9 * index :][..., :9])
    bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
    width = sum(item.outputs().values())
    assert np.array_equal(bits[..., :width], bits[..., width : 2 * width])
    assert len(np.unique(words[:, 1], axis=0)) > 1000
