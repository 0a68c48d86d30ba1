# SPDX-License-Identifier: Apache-2.0
"""Cell models are clean under -Wall, and refuse what they do not model."""

from __future__ import annotations

import subprocess

import pytest
from cell_bench import OWN, Instance, bench, ports_of, variants
from dsp48e2_model import DSP, dsp_instance

from sim import toolchain

pytestmark = pytest.mark.sim


ILLEGAL = {
    "AREG must be 0..2": {"AREG": 3},
    "ACASCREG must equal AREG": {"AREG": 1, "ACASCREG": 2},
    "MREG must be 0..1": {"MREG": 2},
    "AMULTSEL must be A or AD": {"AMULTSEL": "B"},
    "PREADDINSEL must be A or B": {"PREADDINSEL": "D"},
    "USE_MULT must be MULTIPLY, DYNAMIC or NONE": {"USE_MULT": "MULT"},
    "USE_SIMD other than ONE48 needs USE_MULT NONE": {"USE_SIMD": "TWO24"},
    "USE_PATTERN_DETECT must be NO_PATDET": {"USE_PATTERN_DETECT": "PATDET"},
    "USE_WIDEXOR must be FALSE": {"USE_WIDEXOR": "TRUE"},
    "every IS_*_INVERTED must be 0": {"IS_CLK_INVERTED": 1},
}


@pytest.mark.parametrize("said", ILLEGAL)
def test_an_attribute_that_is_not_modelled_stops_elaboration(said, tmp_path):
    assert said in lint([dsp_instance(ILLEGAL[said])], tmp_path)


def test_a_port_that_is_not_modelled_stops_elaboration(tmp_path):
    item = dsp_instance({})
    assert "PATTERNDETECT" in lint(
        [Instance("DSP48E2", {}, item.ports, {"PATTERNDETECT": ""})], tmp_path
    )


def test_the_models_are_clean_under_wall(tmp_path):
    """But for strings, which Verilator compares by width, and files of several modules."""
    items = [Instance(name, s, ports_of(name)) for name, s in variants()]
    items += [dsp_instance(settings) for settings in DSP.values()]
    assert lint(items, tmp_path) == ""
    broken = {"carry.sv": OWN["carry.sv"].replace("S[0] ^ c0}", "S[0] ^ c0, 1'b0}")}
    assert "WIDTH" in lint(items, tmp_path, broken), "negative control"


def lint(items, folder, changed=None):
    """Return what Verilator says under -Wall of our models in a bench."""
    tools = toolchain.find()
    texts = OWN | (changed or {}) | {"top.sv": bench([items, []])}
    for name, text in texts.items():
        (folder / name).write_text(text)
    quiet = (
        "DECLFILENAME",
        "WIDTHEXPAND",
        "UNUSEDPARAM",
        "UNUSEDSIGNAL",
        "UNDRIVEN",
        "MULTITOP",
        "SYNCASYNCNET",
    )
    command = [tools.verilator, "--lint-only", "-Wall", *(f"-Wno-{name}" for name in quiet)]
    done = subprocess.run(
        [*command, "--top-module", "top", *texts],
        cwd=folder, capture_output=True, text=True,
        env={"VERILATOR_ROOT": str(tools.verilator_root)},
    )  # fmt: skip
    return done.stderr
