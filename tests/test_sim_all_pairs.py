# SPDX-License-Identifier: Apache-2.0
"""Every pair of formats, as ``hwquant verify --all-pairs`` runs it, with one bit wrong somewhere.

One run is both the proof of the library and its control: 2,178 kernels, every product, 65,536
accumulator steps each.  In one kernel of the 1,089 pairs, drawn by seed, one bit of one product is
wrong for one pair of codes.  It must be found, named and replayed, and nothing else may differ.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hw.generate import generate, kernel_text, product_bits
from hw.library import source_text
from hw.styles import STYLES
from hwquant.mac import MacSpec
from sim.designs import designs_of_specs
from sim.engine import DEFAULT_STEPS, verify_designs
from sim.kernels import Design
from sim.pairs import all_pairs
from sim.replay import save_failure

pytestmark = [pytest.mark.sim, pytest.mark.slow]


@dataclass(frozen=True)
class Fault:
    """In the kernel of ``spec``, one bit of the product of two codes is wrong."""

    spec: MacSpec
    weight: int
    act: int
    bit: int

    @classmethod
    def drawn(cls, seed: int) -> Fault:
        rng = np.random.default_rng(seed)
        specs = all_pairs()
        spec = specs[rng.integers(len(specs))]
        return cls(
            spec,
            int(rng.choice(spec.weight.codes)),
            int(rng.choice(spec.act.codes)),
            int(rng.integers(product_bits(spec.weight, spec.act))),
        )

    def in_term(self, text: str) -> str:
        """Return the block hq_term with the fault."""
        port = ".mag_o(mag_o)"
        assert text.count(port) == 1
        fault = (
            "  logic [ProductBits-1:0] good;\n"
            f"  assign mag_o = good ^ (weight_i == {self.weight} && act_i == {self.act}\n"
            f"      ? ProductBits'(1) << {self.bit} : '0);\n\nendmodule"
        )
        return text.replace(port, ".mag_o(good)").replace("endmodule", fault)

    def in_design(self, design: Design) -> Design:
        """Return ``design`` with the fault, on blocks of its own, if it holds the kernel."""
        named = {kernel.spec: kernel.name for kernel in design.kernels}
        if self.spec not in named:
            return design
        blocks = {name: source_text(name) for name in STYLES["plain"].sources}
        blocks["hq_term.sv"] = self.in_term(blocks["hq_term.sv"])
        good = kernel_text(self.spec, named[self.spec])
        assert design.sources["kernels.sv"].count(good) == 1
        faulty = re.sub(r"\bhq_", "fault_", "\n".join([*blocks.values(), good]))
        kernels = design.sources["kernels.sv"].replace(good, faulty)
        return Design(design.kernels, {**design.sources, "kernels.sv": kernels})


def test_one_wrong_bit_of_one_code_pair_among_all_pairs(tmp_path):
    fault = Fault.drawn(seed=1089)
    designs = [fault.in_design(design) for design in designs_of_specs(all_pairs())]
    report = verify_designs(designs, steps=DEFAULT_STEPS)

    assert (report.kernels, report.products) == (2178, 12_787_776)
    assert all(result.mac_steps >= DEFAULT_STEPS for result in report.results)
    assert sum(result.products for result in report.results) == 2 * 12_787_776

    # Found: in the one kernel, and in no other.
    (bad,) = [result for result in report.results if result.mismatches]
    assert bad.kernel.spec == fault.spec
    # Named: its codes, expected and got.  It is the only product that differs.
    first = bad.failures[0]
    assert (first.stage, first.weight, first.act) == ("products", (fault.weight,), (fault.act,))
    exact = int(fault.spec.products(fault.weight, fault.act))
    assert first.expected == exact
    assert abs(first.got - exact) == 1 << fault.bit
    assert {failure.stage for failure in bad.failures[1:]} == {"streams"}
    text = first.describe()
    assert f"{fault.spec.weight} x {fault.spec.act}" in text
    assert f"codes [{fault.weight}] x [{fault.act}]" in text

    # Replayed: alone, from the saved file, on RTL with the fault and on RTL without.
    saved = save_failure(first, tmp_path / "failure.json")
    bundle = generate(fault.spec, tmp_path / "rtl")
    command = [str(Path(sys.executable).with_name("hwquant")), "verify", str(bundle.folder)]
    command += ["--replay", str(saved), "--json"]
    clean = subprocess.run(command, capture_output=True, text=True)
    assert clean.returncode == 0, clean.stderr
    term = bundle.folder / "hq_term.sv"
    term.write_text(fault.in_term(term.read_text()))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    (error,) = json.loads(done.stdout)["errors"]
    assert (error["expected"], error["got"]) == (first.expected, first.got)
    assert (error["weight"], error["act"]) == ([fault.weight], [fault.act])
