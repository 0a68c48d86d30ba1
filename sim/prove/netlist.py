# SPDX-License-Identifier: Apache-2.0
"""The miter of a kernel and its golden model as terms: registers, their next values, wires.

Yosys reads the SystemVerilog, flattens it and writes SMT-LIB.  Nothing is optimized across the
two sides, undefined values become free inputs, and initial values are ignored: a proof holds from
every state that a reset can start in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from hw import yosys
from hwquant.errors import ToolError
from sim.kernels import Design, Kernel

from .golden import GOLDEN, MITER, golden_text, miter_text
from .terms import Dag, parse_functions

__all__ = ["Netlist", "miter_script", "miter_sources", "read"]

RESULT: Final = "miter.smt2"


@dataclass(frozen=True)
class Netlist:
    """A flattened miter.

    ``registers`` maps the variable of a register to its next value, ``inputs`` an input's name to
    its variable, ``wires`` a hierarchical name to its term; ``names`` are the registers' names.
    """

    dag: Dag
    registers: dict[int, int]
    names: dict[int, str]
    inputs: dict[str, int]
    wires: dict[str, int]

    def golden(self, name: str) -> int:
        """Return a wire or register of the golden model."""
        return self.wires[f"u_golden.{name}"]


def miter_sources(design: Design, kernel: Kernel) -> dict[str, str]:
    """Return every source of the miter, file name to text."""
    return {
        **design.sources,
        f"{GOLDEN}.sv": golden_text(kernel),
        f"{MITER}.sv": miter_text(kernel),
    }


def miter_script(names: list[str]) -> str:
    """Return the Yosys script.

    Latches, asynchronous resets, second clocks and falling edges are refused: the step of the
    proof is one rising edge of ``clk_i``.
    """
    return "\n".join(
        (
            f"read_verilog -sv {' '.join(names)}",
            f"hierarchy -check -top {MITER}",
            "proc",
            "setundef -undriven -anyseq",
            "flatten",
            "memory_collect",
            "memory_map",
            "opt_clean",
            "dffunmap",
            "setundef -undriven -anyseq",
            "select -assert-none t:$dff r:CLK_POLARITY=1'1 %d",
            "select -assert-none t:$dff w:clk_i %co1:+$dff[CLK] %d",
            f"write_smt2 -stbv -wires {RESULT}",
            "",
        )
    )


def read(design: Design, kernel: Kernel) -> Netlist:
    """Return the miter of one kernel of ``design``.

    Raises `ToolError` when Yosys is missing or refuses the sources.
    """
    sources = miter_sources(design, kernel)
    text = yosys.run(miter_script(list(sources)), sources, RESULT)
    return _by_lane(_netlist(text), kernel)


def _by_lane(netlist: Netlist, kernel: Kernel) -> Netlist:
    """Return the netlist with one input variable per lane, ``weight_0``, instead of a vector."""
    dag, inputs, replaced = netlist.dag, dict(netlist.inputs), {}
    for port, fmt in (("weight", kernel.spec.weight), ("act", kernel.spec.act)):
        lanes = [dag.variable(f"{port}_{n}", fmt.bits) for n in range(kernel.spec.lanes)]
        vector, whole = dag.make("concat", tuple(reversed(lanes))), inputs.pop(f"{port}_i")
        low = 0  # Yosys may give a port's slices as inputs of their own
        for part in reversed(dag.nodes[whole][2] or (whole,)):
            high = low + dag.widths[part] - 1
            replaced[part] = dag.make("extract", (vector,), (high, low))
            low = high + 1
        inputs |= {f"{port}_{n}": lane for n, lane in enumerate(lanes)}
    new = dag.rebuild([*netlist.registers.values(), *netlist.wires.values()], replaced)
    registers = {variable: new[term] for variable, term in netlist.registers.items()}
    wires = {name: new[term] for name, term in netlist.wires.items()}
    inputs = {name: term for name, term in inputs.items() if term not in replaced}
    return Netlist(dag, registers, netlist.names, inputs, wires)


def _netlist(text: str) -> Netlist:
    if re.search(r"^; yosys-smt2-clock .* negedge", text, re.MULTILINE):
        raise ToolError("the kernel uses the falling edge of its clock; a proof takes rising ones")
    dag = Dag()
    ranges = {
        (int(high), int(low))
        for high, low in re.findall(r"\(\(_ extract (\d+) (\d+)\) state\)", text)
    }
    leaves = {pair: dag.variable(f"s{pair[1]}", pair[0] - pair[1] + 1) for pair in ranges}
    if len({low for _, low in ranges}) != len(ranges):
        raise ToolError("the netlist's registers overlap; this Yosys is not understood")
    found, steps = parse_functions(text, dag, lambda high, low: leaves[high, low])
    prefix = f"|{MITER}"
    registers: dict[int, int] = {}
    names: dict[int, str] = {}
    label = dict(re.findall(r"^\(define-fun (\|[^|]*#\d+\|) .* ; (\S+)$", text, re.MULTILINE))
    for following, function in steps:
        variable = found[function]
        operator, _, args = dag.nodes[variable]
        if operator == "=":  # a register of one bit may be written as a Bool
            variable = next(arg for arg in args if dag.value_of(arg) is None)
        if dag.nodes[variable][0] != "variable":
            raise ToolError(f"register {function} has no state of its own; this is not understood")
        registers[variable] = dag.as_bits(following)
        names[variable] = label.get(function, function).lstrip("\\")
    wires = {
        name.removeprefix(f"{prefix}_n ").removesuffix("|"): dag.as_bits(term)
        for name, term in found.items()
        if name.startswith(f"{prefix}_n ")
    }
    ports = re.findall(r"^; yosys-smt2-input (\S+) ", text, re.MULTILINE)
    replaced = _ports_apart(dag, [wires[name] for name in ports])
    new = dag.rebuild([*registers.values(), *wires.values()], replaced)
    registers = {variable: new[term] for variable, term in registers.items()}
    wires = {name: new[term] for name, term in wires.items()}
    inputs = {name: wires[name] for name in ports}
    free = (set(leaves.values()) | _variables(dag, replaced.values())) - set(registers)
    free -= set(inputs.values()) | set(replaced)
    inputs |= {f"free {dag.nodes[v][1][0]}": v for v in free}
    return Netlist(dag, registers, names, inputs, wires)


def _variables(dag: Dag, terms: Iterable[int]) -> set[int]:
    return {part for term in terms for part in (dag.nodes[term][2] or (term,))}


def _ports_apart(dag: Dag, ports: Sequence[int]) -> dict[int, int]:
    """Return what replaces the variables of which a port is a slice: one variable per slice.

    Yosys may keep ports that stand beside each other somewhere in the netlist as one vector.
    """
    slices: dict[int, set[tuple[int, int]]] = {}
    for port in ports:
        for part in dag.nodes[port][2] if dag.nodes[port][0] == "concat" else (port,):
            operator, where, args = dag.nodes[part]
            if operator == "extract" and dag.nodes[args[0]][0] == "variable":
                slices.setdefault(args[0], set()).add((where[0], where[1]))
    replaced = {}
    for vector, taken in slices.items():
        name, top, parts = dag.nodes[vector][1][0], dag.widths[vector] - 1, []
        for high, low in sorted(taken, reverse=True):
            if high < top:
                parts.append(dag.variable(f"{name}_{high + 1}", top - high))
            parts.append(dag.variable(f"{name}_{low}", high - low + 1))
            top = low - 1
        if top >= 0:
            parts.append(dag.variable(f"{name}_0", top + 1))
        replaced[vector] = dag.make("concat", tuple(parts))
    return replaced
