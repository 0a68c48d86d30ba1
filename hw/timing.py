# SPDX-License-Identifier: Apache-2.0
"""A clock estimate from a mapped netlist: its longest path under a stated delay model.

Nothing is placed, so wires have no lengths: every connection that leaves a slice costs `NET`, more
with fan-out, and what a slice wires by itself (LUT to carry, LUT or sum to its flip-flop, carry to
carry, slice multiplexers) costs nothing.  The delays in `MODEL` are round numbers of the size seen
in the vendor's reports for UltraScale+ parts of speed grade -2; no data sheet gives them.  Use the
result to rank kernels and to see what a path is made of; no tool will meet it to the digit.

Inputs count as if a flip-flop drove them and outputs as if one took them, a DSP slice as
registered on both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import log2
from typing import Any, Final

from hwquant.errors import ToolError

from .sites import Bit, Netlist

__all__ = ["MODEL", "Timing", "estimate_clock"]

CLOCK_TO_Q: Final = 80
SETUP: Final = 30
LUT: Final = 100
NET: Final = 300
DOUBLE_FANOUT: Final = 30  # more for each doubling of the readers
CARRY_ENTER: Final = 120  # S, DI or the chain's first carry to the carry out of a position
CARRY_STEP: Final = 3  # from position to position
CARRY_SUM: Final = 60  # S or carry to the sum
SLICE_MUX: Final = 60
LUT_INPUTS: Final = 6
RAM_READ: Final = 150  # address to data of a LUT used as memory
RAM_WRITE: Final = 100  # setup of its address, data and enable
RAM_CLOCK: Final = 500  # clock to data that was just written
DSP_OUT: Final = 400
DSP_IN: Final = 300

MODEL: Final = (
    f"static model v1, unplaced, ps: flip-flop {CLOCK_TO_Q} + {SETUP}, LUT {LUT}, net {NET} + "
    f"{DOUBLE_FANOUT} per doubling of its readers, carry {CARRY_ENTER} + {CARRY_STEP} a position "
    f"+ {CARRY_SUM}, RAM read {RAM_READ}"
)
"""What every clock estimate must be shown with."""

_RAM: Final = ("RAM", "SRL")
_CLOCKS: Final = frozenset({"C", "CLK", "WCLK"})
_CELL_OUTPUTS: Final = frozenset({"O", "O5", "O6", "CO", "Q", "Q15", "Q31", "SPO", "DPO"})
_MUXES: Final = ("MUXF7", "MUXF8", "MUXF9")
_CARRIES: Final = ("CARRY4", "CARRY8")


@dataclass(frozen=True, slots=True)
class Timing:
    """The longest path: its delay, and the LUTs, carry chains and the like it goes through."""

    path_ps: int
    logic_levels: int

    @property
    def clock_estimate_mhz(self) -> float:
        """The clock it allows."""
        return round(1e6 / self.path_ps, 1)

    def to_json(self) -> dict[str, Any]:
        """Return estimate, levels and the model, as records and manifests show them."""
        return {
            "clock_estimate_mhz": self.clock_estimate_mhz,
            "logic_levels": self.logic_levels,
            "clock_model": MODEL,
        }


Arrival = tuple[float, int]  # ps after the clock edge, levels on the way
START: Final[Arrival] = (0.0, 0)


def _is_register(kind: str) -> bool:
    return kind.startswith(("FD", "DSP"))


def _is_output(kind: str, port: str) -> bool:
    if kind.startswith("DSP"):
        return port in {"P", "PCOUT", "CARRYOUT", "PATTERNDETECT", "ACOUT", "BCOUT", "OVERFLOW"}
    if kind.startswith("RAM"):
        return port in {"O", "SPO", "DPO"} or port.startswith("DO")
    return port in _CELL_OUTPUTS


def _is_through(kind: str, port: str) -> bool:
    """Return whether an input reaches an output without a clock; of a memory only addresses do."""
    if port in _CLOCKS or _is_output(kind, port):
        return False
    return port.startswith(("A", "DPRA")) if kind.startswith(_RAM) else True


class _Paths:
    """Arrival times of all nets of one netlist."""

    def __init__(self, netlist: Netlist) -> None:
        self.netlist = netlist
        self.driver: dict[Bit, tuple[int, str, int]] = {}
        self.readers: Counter[Bit] = Counter(netlist.outputs)
        for number, (kind, cell) in enumerate(netlist.cells):
            for port, bits in cell.items():
                for place, bit in enumerate(bits):
                    if not isinstance(bit, int):
                        continue
                    if _is_output(kind, port):
                        self.driver[bit] = (number, port, place)
                    elif port not in _CLOCKS:
                        self.readers[bit] += 1
        self.found: dict[Bit, Arrival] = {}
        self.longest: Arrival = START

    def run(self) -> Arrival:
        """Return the longest path from register to register, setup included."""
        for bit in self._order():
            self._arrive(bit)
        for number, (kind, cell) in enumerate(self.netlist.cells):
            setup = SETUP if kind.startswith("FD") else DSP_IN if kind.startswith("DSP") else None
            setup = RAM_WRITE if kind.startswith(_RAM) else setup
            if setup is None:
                continue
            for port, bits in cell.items():
                if port in _CLOCKS or _is_output(kind, port):
                    continue
                for place, bit in enumerate(bits):
                    self._end(self._at_pin(bit, number, port, place), setup)
        for bit in self.netlist.outputs:
            if isinstance(bit, int):
                self._end(self._routed(bit), SETUP)
        return self.longest

    def _end(self, arrival: Arrival, setup: int) -> None:
        time, levels = arrival
        self.longest = max(self.longest, (time + setup, levels))

    def _inputs(self, number: int) -> Iterable[Bit]:
        kind, cell = self.netlist.cells[number]
        for port, bits in cell.items():
            if _is_through(kind, port):
                yield from (bit for bit in bits if isinstance(bit, int))

    def _order(self) -> list[Bit]:
        """Return the driven nets, drivers first; raises `ToolError` where there is a loop."""
        done: dict[int, bool] = {}
        order: list[int] = []
        for first in range(len(self.netlist.cells)):
            stack = [(first, False)]
            while stack:
                number, leaving = stack.pop()
                if leaving:
                    done[number] = True
                    order.append(number)
                    continue
                if number in done:
                    if not done[number]:
                        raise ToolError("the netlist has a loop of gates; no path can be timed")
                    continue
                done[number] = False
                stack.append((number, True))
                if _is_register(self.netlist.cells[number][0]):
                    continue
                before = {self.driver[bit][0] for bit in self._inputs(number) if bit in self.driver}
                stack += [(other, False) for other in before if not done.get(other)]
        ports = ((number, self.netlist.cells[number]) for number in order)
        return [
            bit
            for _, (kind, cell) in ports
            for port, bits in cell.items()
            if _is_output(kind, port)
            for bit in bits
            if isinstance(bit, int)
        ]

    def _routed(self, bit: Bit) -> Arrival:
        """Return when a net arrives somewhere else."""
        time, levels = self._source(bit)
        return time + NET + DOUBLE_FANOUT * log2(max(self.readers[bit], 1)), levels

    def _source(self, bit: Bit) -> Arrival:
        if bit not in self.driver:
            return (float(CLOCK_TO_Q), 0)  # an input of the module
        return self.found[bit]

    def _at_pin(self, bit: Bit, number: int, port: str, place: int) -> Arrival:
        """Return when ``bit`` arrives at a pin; free where the slice wires it."""
        if not isinstance(bit, int):
            return START
        if bit not in self.driver:
            return self._routed(bit)
        kind, cell = self.netlist.cells[number]
        source = self.netlist.cells[self.driver[bit][0]][0]
        lut = source.startswith(("LUT", "INV"))
        if kind in _CARRIES and (
            (port == "S" and lut)
            or (port == "DI" and lut and self._same_lut(bit, cell["S"][place]))
            or (port == "CI" and source in _CARRIES)
        ):
            return self.found[bit]
        if kind in _MUXES and port != "S" and (lut or source in _MUXES):
            return self.found[bit]
        if kind.startswith("FD") and port == "D" and (lut or source in (*_CARRIES, *_MUXES)):
            return self.found[bit]
        return self._routed(bit)

    def _same_lut(self, one: Bit, other: Bit) -> bool:
        """Return whether two nets come from one slice LUT, or may."""
        if other not in self.driver or one not in self.driver:
            return True
        cells = [self.netlist.cells[self.driver[bit][0]][1] for bit in (one, other)]
        inputs = [{b for p, bits in c.items() if p.startswith("I") for b in bits} for c in cells]
        return cells[0] is cells[1] or len(inputs[0] | inputs[1]) <= 5

    def _latest(self, number: int, delay: float, output: str = "") -> Arrival:
        kind, cell = self.netlist.cells[number]
        read = self._read(number, output)
        pins = [
            self._at_pin(bit, number, port, place)
            for port, bits in cell.items()
            if _is_through(kind, port) and (read is None or port in read)
            for place, bit in enumerate(bits)
        ]
        time, levels = max(pins, default=START)
        return time + delay, levels + 1

    def _read(self, number: int, output: str) -> set[str] | None:
        """Return the inputs an output of an instantiated LUT depends on, None for other cells."""
        init = self.netlist.inits.get(number)
        if init is None:
            return None
        _, cell = self.netlist.cells[number]
        high = cell["I5"][0] == "1"  # O6 is then the upper half of the table
        inputs = LUT_INPUTS - (output == "O5" or high)
        table = init >> 32 if output == "O6" and high else init
        bits = range(1 << inputs)
        return {
            f"I{pin}"
            for pin in range(inputs)
            if any((table >> x ^ table >> (x ^ 1 << pin)) & 1 for x in bits)
        }

    def _arrive(self, bit: Bit) -> None:
        number, port, place = self.driver[bit]
        kind, _ = self.netlist.cells[number]
        if kind.startswith("FD"):
            self.found[bit] = (float(CLOCK_TO_Q), 0)
        elif kind.startswith("DSP"):
            self.found[bit] = (float(DSP_OUT), 0)
        elif kind in _CARRIES:
            self.found[bit] = self._carry(number, port, place)
        elif kind.startswith(_RAM):
            self.found[bit] = max((float(RAM_CLOCK), 0), self._latest(number, RAM_READ))
        else:
            self.found[bit] = self._latest(number, SLICE_MUX if kind in _MUXES else LUT, port)

    def _carry(self, number: int, port: str, place: int) -> Arrival:
        """Return when a sum or a carry leaves; a chain counts as one level, where it is entered."""
        _, cell = self.netlist.cells[number]
        first = next((b for b in cell.get("CI", ()) if isinstance(b, int)), None)
        carry = START
        if first is not None:
            time, levels = self._at_pin(first, number, "CI", 0)
            chained = first in self.driver and self._kind(first) in _CARRIES
            carry = (time, levels) if chained else (time + CARRY_ENTER, levels + 1)
        for i in range(place + (port == "CO")):
            steps = [(carry[0] + CARRY_STEP, carry[1])]
            for pin in ("S", "DI"):
                time, levels = self._at_pin(cell[pin][i], number, pin, i)
                steps.append((time + CARRY_ENTER, levels + 1))
            carry = max(steps)
        if port == "CO":
            return carry
        time, levels = self._at_pin(cell["S"][place], number, "S", place)
        return max((carry[0] + CARRY_SUM, carry[1]), (time + CARRY_SUM, levels + 1))

    def _kind(self, bit: Bit) -> str:
        return self.netlist.cells[self.driver[bit][0]][0]


def estimate_clock(netlist: Netlist) -> Timing:
    """Return the longest path of ``netlist`` under the module's delay model.

    Raises `ToolError` when gates form a loop.
    """
    time, levels = _Paths(netlist).run()
    return Timing(round(time), levels)
