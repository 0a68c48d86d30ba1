# SPDX-License-Identifier: Apache-2.0
"""Mutants of a kernel: small faults that Yosys puts into its netlist, behind one select input.

A mutant inverts, sticks, or mixes up one bit at one port of one cell (or of one instance) of one
block.  Every instance of a block is a module of its own first, so a mutant sits in one place.
Mutant ``index`` acts while the input `SELECT` of the netlist equals ``index``; 0 is the original.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath
from typing import Any, Final

from hw import yosys
from hwquant.errors import InputError, ToolError

from .kernels import Design, Kernel

__all__ = ["SELECT", "SELECT_BITS", "Mutant", "Mutated", "mutate_design", "prepare"]

SELECT: Final = "hq_mutant_i"
SELECT_BITS: Final = 16
NETLIST: Final = "mutated.v"
_LINE: Final = re.compile(r"^mutate -ctrl \S+ \d+ (\d+) (-mode .*)$", re.MULTILINE)
_OPTION: Final = re.compile(r"-(mode|module|cell|port|portbit|ctrlbit|src) (\S+)")


@dataclass(frozen=True)
class Mutant:
    """One fault: ``mode`` (inv, const0, const1, cnot0, cnot1) at bit ``portbit`` of a port.

    ``cnot0`` and ``cnot1`` invert the bit while bit ``ctrlbit`` of the same port is 0 or 1.
    ``block`` is the RTL module, ``module`` the instance's path, ``src`` where the cell stands.
    """

    index: int
    block: str
    mode: str
    module: str
    cell: str
    port: str
    portbit: int
    ctrlbit: int | None
    src: str

    @property
    def label(self) -> str:
        """Say in words which fault this is."""
        control = "" if self.ctrlbit is None else f" by bit {self.ctrlbit}"
        place = self.module.partition(".")[2] or self.module
        return (
            f"{self.block} {self.src} {self.mode} {self.port}[{self.portbit}]{control} "
            f"of {self.cell} in {place}"
        )

    def command(self, *, select: bool) -> str:
        """Return the Yosys command that makes this mutant, behind the select input or for good."""
        control = f"-ctrl {SELECT} {SELECT_BITS} {self.index} " if select else ""
        bit = "" if self.ctrlbit is None else f" -ctrlbit {self.ctrlbit}"
        return (
            f"mutate {control}-mode {self.mode} -module {self.module} -cell {self.cell} "
            f"-port {self.port} -portbit {self.portbit}{bit}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return asdict(self) | {"label": self.label}


@dataclass(frozen=True)
class Mutated:
    """A kernel, its sources, and its mutants."""

    kernel: Kernel
    sources: Mapping[str, str] = field(repr=False)
    mutants: tuple[Mutant, ...] = field(repr=False)

    def netlist(self) -> str:
        """Return Verilog of module ``mutated_<kernel>``, all mutants behind input `SELECT`."""
        top = self.kernel.name
        script = [
            *prepare(self.sources, top),
            *(mutant.command(select=True) for mutant in self.mutants),
            f"rename {top} mutated_{top}",
            f"write_verilog -noattr {NETLIST}",
        ]
        return yosys.run("\n".join(script) + "\n", self.sources, NETLIST)


def prepare(sources: Mapping[str, str], top: str) -> list[str]:
    """Return the commands that read ``sources``, one module for every instance of a block.

    `proc` gives the write port of a RAM an undefined address and undefined data where it does not
    write.  A fault of the write enable would then write something undefined, which a simulator
    may take for a word that nobody reads; without the choice it writes what stands at the port.
    """
    return [
        f"read_verilog -sv {' '.join(sources)}",
        f"hierarchy -check -top {top}",
        "proc -norom",
        "opt_clean",
        "uniquify",
        f"hierarchy -check -top {top}",
        "opt_expr -mux_undef t:$memwr* %m",
    ]


def mutate_design(
    design: Design, *, count: int, seed: int, blocks: Sequence[str] | None = None
) -> Mutated:
    """Pick ``count`` mutants (all, where there are fewer) of each block of a kernel.

    A block that is only wires in this kernel has none.

    ``blocks`` are RTL modules of the design, all by default; Yosys spreads the mutants evenly over
    cells, ports and source lines.

    Raises `InputError` when a block is no part of the design, `ToolError` when
    Yosys is missing or refuses the sources.
    """
    (kernel,) = design.kernels
    names = [PurePath(name).stem for name in design.sources]
    known = [name for name in names if name != "kernels"]
    wanted = known if blocks is None else list(blocks)
    for block in wanted:
        if block not in known:
            raise InputError(f"block {block!r} is no part of {kernel.label}; it has {known}")
    mutants = _listed(design, kernel.name, wanted, count, seed)
    if len(mutants) >> SELECT_BITS:
        raise InputError(f"{len(mutants)} mutants in one build, allowed {(1 << SELECT_BITS) - 1}")
    return Mutated(kernel, design.sources, tuple(mutants))


def _listed(design: Design, top: str, blocks: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Return the mutants that Yosys picks for each block, numbered from 1."""
    script = prepare(design.sources, top)
    for block in blocks:
        script += [
            f"log BLOCK {block}",
            f"mutate -list {count} -seed {seed} -ctrl {SELECT} {SELECT_BITS} 1 A:hdlname={block}",
        ]
    log = yosys.run("\n".join(script) + "\n", design.sources)
    mutants: list[Mutant] = []
    for part in re.split(r"^BLOCK ", log, flags=re.MULTILINE)[1:]:
        block = part.split(maxsplit=1)[0]
        for _, text in _LINE.findall(part):
            mutants.append(_parse(len(mutants) + 1, block, text))
    return mutants


def _parse(index: int, block: str, text: str) -> Mutant:
    options = dict(_OPTION.findall(text))
    try:
        bit = options.get("ctrlbit")
        return Mutant(
            index,
            block,
            options["mode"],
            options["module"],
            options["cell"],
            options["port"],
            int(options["portbit"]),
            None if bit is None else int(bit),
            options.get("src", ""),
        )
    except (KeyError, ValueError) as error:
        raise ToolError(f"Yosys listed a mutant that is not understood: {text!r}") from error
