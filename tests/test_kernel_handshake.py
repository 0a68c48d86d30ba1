# SPDX-License-Identifier: Apache-2.0
"""Every style, cycle by cycle: beats back to back, stalls, gaps, clears, resets, drains.

One farm holds a kernel of every style and, beside each, the same kernel with one control port tied:
the stimulus that passes the kernel must fail each of these.  What the stimulus did is counted from
the codes sent and the results the reference computed (`sim.coverage`), not from what was meant.
"""

from __future__ import annotations

import pytest

from hw.generate import kernel_text
from hw.library import source_text
from hw.netlist import cell_models
from hw.styles import STYLES, variant
from hwquant.mac import MacSpec
from sim.designs import library_kernel
from sim.engine import verify_designs
from sim.kernels import Design

STEPS = 2048
CANDIDATES = (
    MacSpec("int3", "int3", 1, 40),
    MacSpec("int3", "int3", 2, 40),
    MacSpec("e2m1", "e2m1", 1, 40),
    MacSpec("e3m1", "e3m1", 1, 40),
    MacSpec("e2m2", "e2m2", 1, 40),
    MacSpec("e2m3", "e2m3", 1, 20),
    MacSpec("pow4a0.75f6", "int4", 1, 40),
)
TIED = {  # what is broken: the port, and what it is tied to
    "stall": ("en_i", "1'b1"),
    "gap": ("valid_i", "1'b1"),
    "clear": ("clear_i", "1'b0"),
    "reset": ("rst_i", "1'b0"),
    "drain": ("last_i", "1'b0"),
}
BINS = (
    "clear after a sum",
    "longest dot product",
    "frozen in a dot product",
    "idle in a dot product",
    "reset in flight",
)


def spec_of(name):
    """Return the first spec that a style can do."""
    return next(
        spec
        for spec in CANDIDATES
        if (style := variant(name, spec)) is not None and style.refuse(spec) is None
    )


def tied(text, name, port, value):
    """Return a kernel's text under another name, one control port of its block tied."""
    assert text.count(f".{port}({port})") == 1
    return text.replace("module kernel", f"module {name}").replace(
        f".{port}({port})", f".{port}({value})"
    )


def farm(names):
    """Return a design with the kernels of styles, whole and with each control port tied."""
    kernels, texts, sources = [], [], {}
    for number, style_name in enumerate(names):
        spec = spec_of(style_name)
        style = variant(style_name, spec)
        text = kernel_text(spec, "kernel", style_name)
        sources |= cell_models(style.primitives)
        sources |= {name: source_text(name) for name in style.sources}
        broken = {what: how for what, how in TIED.items() if f".{how[0]}({how[0]})" in text}
        for what, how in {"nothing": None, **broken}.items():
            name = f"{what}_{number}"
            texts.append(
                text.replace("module kernel", f"module {name}")
                if how is None
                else tied(text, name, *how)
            )
            kernels.append(library_kernel(spec, name, style, f"{style_name} {what}"))
    return Design(tuple(kernels), sources | {"kernels.sv": "\n".join(texts)})


@pytest.fixture(scope="module")
def results():
    names = sorted(STYLES)
    report = verify_designs([farm(names[::2]), farm(names[1::2])], steps=STEPS)
    return {result.kernel.title: result for result in report.results}


@pytest.mark.sim
@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_cycle_is_right_whatever_the_control_ports_do(style, results):
    result = results[f"{style} nothing"]
    assert result.mismatches == 0
    assert result.mac_steps >= STEPS
    assert {name: result.coverage[name].hit for name in BINS} == dict.fromkeys(BINS, True)


@pytest.mark.sim
@pytest.mark.parametrize("style", sorted(STYLES))
def test_a_tied_control_port_is_noticed(style, results):
    """Negative control, in the same run: no stall, gap, clear, reset or drain passes unseen."""
    broken = [what for what in TIED if f"{style} {what}" in results]
    assert {"stall", "gap", "clear", "reset"} <= set(broken)
    assert ("drain" in broken) == (STYLES[style].timing is not None)
    unseen = [what for what in broken if not results[f"{style} {what}"].mismatches]
    assert unseen == []
