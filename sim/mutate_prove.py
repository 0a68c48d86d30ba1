# SPDX-License-Identifier: Apache-2.0
"""Prove that a mutant computes what the original does, or find inputs that tell them apart.

Registers are cut open: from equal registers and equal inputs both must give equal outputs and
equal next registers.  Two machines with the same step function are the same machine, whatever
their registers hold at first, so this one step is a proof for all time.

Two facts narrow the registers' contents where the step alone is no proof.  Codes without a value
are never applied, so the inputs are legal codes, and so are the operand registers while they are
marked valid.  And an accumulator that clamps sums of products of which none is negative is never
negative, nor is its result.  That this lasts is proved in the same step; it holds from the first
reset on, for the result from the first one on.  Such a proof says that it is under this constraint.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hw import yosys
from hwquant.errors import ToolError
from hwquant.formats import Format
from hwquant.mac import MacSpec, Overflow, product_range

from .mutants import Mutant, Mutated, prepare

__all__ = ["Proof", "prove"]

TIMEOUT_S: Final = 60
LEGAL: Final = "legal codes only"
POSITIVE: Final = "the accumulator is never negative"
CONSTANT: Final = "registers that load a constant hold it"

_KEEPS_STATE: Final = re.compile(r"\$_?(a?l?dff|s?dff|dlatch|adlatch|sr|mem|ff)", re.IGNORECASE)

_WORD: Final = re.compile(r"^(\$memory.*\])\$\d+$")

Module = dict[str, Any]


@dataclass(frozen=True)
class _Limit:
    """A condition on inputs and registers: ``assumed`` before the step, ``kept`` behind it."""

    name: str
    assumed: str
    kept: str


@dataclass(frozen=True)
class Proof:
    """What a solver said: ``verdict`` is equivalent, different, or gave up.

    ``under`` states the constraint on the inputs, if any; ``example`` are inputs and registers
    (a register is named ``q`` and its number) from which mutant and original differ.
    """

    verdict: str
    under: str = ""
    example: Mapping[str, str] = field(default_factory=dict)

    @property
    def equivalent(self) -> bool:
        """Whether equivalence is proved."""
        return self.verdict == "equivalent"

    def describe(self) -> str:
        """Return the verdict in words."""
        where = ", ".join(f"{name} = {value}" for name, value in self.example.items())
        return f"{self.verdict} ({self.under or 'all codes'})" + (f": {where}" if where else "")

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {"verdict": self.verdict, "under": self.under, "example": dict(self.example)}


def prove(mutated: Mutated, mutants: Sequence[Mutant]) -> dict[int, Proof]:
    """Return a proof for each of ``mutants`` of a kernel, by index.

    Raises `ToolError` when Yosys fails or a register is of a kind that cannot be cut open.
    """
    if not mutants:
        return {}
    design = _flat(mutated, mutants)
    gold = design["modules"]["gold"]
    registers = _cut(gold)
    cut: list[Mutant] = []
    proofs: dict[int, Proof] = {}
    for mutant in mutants:
        if _cut(design["modules"][f"gate_{mutant.index}"], registers):
            cut.append(mutant)
        else:
            proofs[mutant.index] = Proof("different", example={"clock": "not the kernel's"})
    limits = _limits(gold, mutated.kernel.spec)
    # A proof without a constraint says more, so the constraint waits for those that need it.
    for part in ([], limits) if limits else ([],):
        proofs |= _solve(design, cut, part)
        cut = [mutant for mutant in cut if not proofs[mutant.index].equivalent]
    return proofs


def _solve(
    design: dict[str, Any], mutants: Sequence[Mutant], limits: Sequence[_Limit]
) -> dict[int, Proof]:
    """Return the solver's verdicts on cut netlists, under the limits on inputs and registers."""
    if not mutants:
        return {}
    gold = design["modules"]["gold"]
    gates = [f"gate_{mutant.index}" for mutant in mutants]
    text = "".join(_miter(gate, design["modules"][gate], gold, limits) for gate in gates)
    under = ", ".join(limit.name for limit in limits)
    script = ["read_json cut.json", "read_verilog -sv miter.sv", "design -save all"]
    for mutant in mutants:
        script += [
            "design -load all",
            f"hierarchy -top miter_gate_{mutant.index}",
            "proc",
            "flatten",
            "opt -full",
            f"log PROOF {mutant.index}",
            f"sat -timeout {TIMEOUT_S} -set-def-inputs -show-inputs -prove trigger 0",
        ]
    for module in design["modules"].values():
        module["attributes"].pop("top", None)
    files = {"cut.json": json.dumps(design), "miter.sv": text}
    log = yosys.run("\n".join(script) + "\n", files)
    parts = re.split(r"^PROOF ", log, flags=re.MULTILINE)[1:]
    proofs = {int(part.split(maxsplit=1)[0]): _verdict(part, under) for part in parts}
    if proofs.keys() != {mutant.index for mutant in mutants}:
        raise ToolError("Yosys did not finish the proofs of all surviving mutants")
    return proofs


def _flat(mutated: Mutated, mutants: Sequence[Mutant]) -> dict[str, Any]:
    """Return Yosys' JSON of the flat original (``gold``) and mutants (``gate_<index>``)."""
    top = mutated.kernel.name
    script = [*prepare(mutated.sources, top), "design -save base"]
    for name, mutant in [("gold", None), *((f"gate_{m.index}", m) for m in mutants)]:
        script += [
            "design -load base",
            *([] if mutant is None else [mutant.command(select=False)]),
            "flatten",
            "opt_clean",
            "memory_collect",
            "memory_map",
            "opt_expr -fine",
            "opt_clean",
            f"rename {top} {name}",
            f"design -copy-to pool {name}",
        ]
    script += ["design -load pool", "write_json flat.json"]
    design: dict[str, Any] = json.loads(
        yosys.run("\n".join(script) + "\n", mutated.sources, "flat.json")
    )
    for module in design[
        "modules"
    ].values():  # a word of a RAM ends in a number that is not its own
        module["cells"] = {_WORD.sub(r"\1", name): cell for name, cell in module["cells"].items()}
    return design


def _cut(module: Module, registers: Sequence[str] | None = None) -> list[str]:
    """Turn each register's output into input ``q<n>`` and its input into output ``d<n>``.

    Returns the registers' names in order (``registers``, where given), or none of them when one
    is not clocked by ``clk_i``.  A register that a mutant never clocks stays as it is; one that it
    has no more, since nothing reads it, has no ports.
    """
    cells, ports = module["cells"], module["ports"]
    clock = ports["clk_i"]["bits"]
    odd = {cell["type"] for cell in cells.values() if _KEEPS_STATE.match(cell["type"])} - {"$dff"}
    if odd:
        raise ToolError(f"cells of type {', '.join(sorted(odd))} keep state in a way not handled")
    found = [name for name, cell in cells.items() if cell["type"] == "$dff"]
    order = list(found if registers is None else registers)
    if not set(found) <= set(order):
        return []
    for number, name in enumerate(order):
        if name not in cells:
            continue
        cell = cells.pop(name)
        wires = cell["connections"]
        if registers is not None and wires["CLK"] in (["0"], ["1"]):
            wires = wires | {"CLK": clock, "D": wires["Q"]}
        if wires["CLK"] != clock or int(cell["parameters"]["CLK_POLARITY"], 2) != 1:
            return []
        ports[f"q{number}"] = {"direction": "input", "bits": wires["Q"]}
        ports[f"d{number}"] = {"direction": "output", "bits": wires["D"]}
        for port in ("q", "d"):
            module["netnames"][f"{port}{number}"] = {
                "hide_name": 0,
                "bits": copy.copy(ports[f"{port}{number}"]["bits"]),
                "attributes": {},
            }
    return order


def _illegal(fmt: Format) -> tuple[int, ...]:
    """Return the codes without a value; they are never applied to a kernel."""
    return tuple(sorted(set(range(1 << fmt.bits)) - set(fmt.codes)))


def _register(module: Module, name: str) -> str:
    """Return the number of the register that drives a net called ``name`` in any block."""
    nets = module["netnames"]
    driven = [net["bits"] for full, net in nets.items() if full.rpartition(".")[2] == name]
    found = {
        port.removeprefix("q")
        for port, entry in module["ports"].items()
        if re.fullmatch(r"q\d+", port) and entry["bits"] in driven
    }
    if len(found) != 1:
        raise ToolError(f"the kernel has {len(found)} registers called {name}, needed 1")
    return found.pop()


def _limits(gold: Module, spec: MacSpec) -> list[_Limit]:
    """Return what holds in this kernel from the first reset on, and may be needed in a proof.

    Reset clears the accumulator but not the result, of which nothing is promised before the first.
    """
    found = _constants(gold)
    if any(_illegal(fmt) for fmt in (spec.weight, spec.act)):
        found.append(_legal_codes(gold, spec))
    if spec.overflow is Overflow.SATURATE and product_range(spec.weight, spec.act)[0] >= 0:
        top = spec.accumulator.width - 1
        numbers = [_register(gold, name) for name in ("acc_q", "acc_o")]
        before, behind = (
            " & ".join(f"~{side}{number}[{top}]" for number in numbers) for side in ("q", "gold_d")
        )
        found.append(_Limit(POSITIVE, before, behind))
    return found


def _constants(gold: Module) -> list[_Limit]:
    """Return that register bits hold the constant that is all they ever load."""
    either: dict[Any, tuple[Any, Any]] = {}
    for cell in gold["cells"].values():
        if cell["type"] == "$mux":
            wires = cell["connections"]
            pairs = zip(wires["A"], wires["B"], strict=True)
            either |= dict(zip(wires["Y"], pairs, strict=True))

    def loaded(bit: Any, own: Any) -> set[Any]:
        if bit == own:
            return set()
        return set().union(*(loaded(b, own) for b in either[bit])) if bit in either else {bit}

    assumed, kept = [], []
    for name, port in gold["ports"].items():
        if not re.fullmatch(r"d\d+", name):
            continue
        held = gold["ports"][f"q{name[1:]}"]["bits"]
        for index, (bit, own) in enumerate(zip(port["bits"], held, strict=True)):
            values = loaded(bit, own)
            if values in ({"0"}, {"1"}):
                (value,) = values
                assumed.append(f"(q{name[1:]}[{index}] == 1'b{value})")
                kept.append(f"(gold_{name}[{index}] == 1'b{value})")
    return [_Limit(CONSTANT, " & ".join(assumed), " & ".join(kept))] if assumed else []


def _legal_codes(gold: Module, spec: MacSpec) -> _Limit:
    """Return that inputs, and operand registers while valid, hold codes with a value."""
    operands = [
        (name, fmt.bits, _illegal(fmt))
        for name, fmt in (("weight", spec.weight), ("act", spec.act))
    ]
    valid = _register(gold, "valid_q")
    numbers = {name: _register(gold, f"{name}_q") for name, *_ in operands}

    def legal(signal: str, bits: int, illegal: Sequence[int]) -> str:
        parts = [
            f"({signal}[{bits * lane} +: {bits}] != {bits}'d{code})"
            for lane in range(spec.lanes)
            for code in illegal
        ]
        return " & ".join(parts) or "1'b1"

    def registers(side: str) -> str:
        parts = [legal(f"{side}{numbers[name]}", bits, bad) for name, bits, bad in operands]
        return f"(~{side}{valid} | ({' & '.join(parts)}))"

    inputs = [legal(f"{name}_i", bits, bad) for name, bits, bad in operands]
    return _Limit(LEGAL, " & ".join([*inputs, registers("q")]), registers("gold_d"))


def _miter(gate: str, module: Module, gold: Module, limits: Sequence[_Limit]) -> str:
    """Return a module whose ``trigger`` is 1 where ``gate`` and the original differ.

    It is 1 as well where the step leaves the limits that it starts in.
    """
    assumed = " & ".join(["1'b1", *(limit.assumed for limit in limits)])
    kept = " & ".join(["1'b1", *(limit.kept for limit in limits)])
    inputs: list[tuple[str, int]] = []
    outputs: list[tuple[str, int]] = []
    for name, port in gold["ports"].items():
        side = inputs if port["direction"] == "input" else outputs
        side.append((name, len(port["bits"])))
    declared = ", ".join(f"input [{width - 1}:0] {name}" for name, width in inputs)
    wires = "\n".join(f"  wire [{w - 1}:0] gold_{name}, gate_{name};" for name, w in outputs)
    common = ", ".join(f".{name}({name})" for name, _ in inputs)
    gold_pins = ", ".join(f".{name}(gold_{name})" for name, _ in outputs)
    inside = module["ports"].keys()
    gate_common = ", ".join(f".{name}({name})" for name, _ in inputs if name in inside)
    gate_pins = ", ".join(f".{name}(gate_{name})" for name, _ in outputs if name in inside)
    differs = " | ".join(f"(gold_{name} != gate_{name})" for name, _ in outputs if name in inside)
    return f"""module miter_{gate} ({declared}, output trigger);
{wires}
  gold u_gold ({common}, {gold_pins});
  {gate} u_gate ({gate_common}, {gate_pins});
  assign trigger = ({assumed}) & ({differs} | ~({kept}));
endmodule
"""


def _verdict(log: str, under: str) -> Proof:
    if "no model found: SUCCESS" in log:
        return Proof("equivalent", under)
    if "model found: FAIL" in log:
        rows = re.findall(r"^\s+\\?(\S+)\s+\S+\s+\S+\s+([01]+)\s*$", log, re.MULTILINE)
        return Proof("different", under, dict(rows))
    return Proof(f"gave up after {TIMEOUT_S} s", under)
