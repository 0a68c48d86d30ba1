# SPDX-License-Identifier: Apache-2.0
"""The single-kernel testbench: driver, monitors, model, in-order checker.

The model is fed by the input monitor, so it computes from what the kernel saw.  It is scalar
Python on `hwquant.codec`, the definition itself, and shares no code with the farm's reference.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import RisingEdge

from hwquant import codec
from hwquant.formats import Format
from hwquant.mac import MacSpec, Overflow

from .kernels import Kernel
from .rows import LAST
from .vectors import CLEAR, ENABLE, RESET, VALID

__all__ = ["Beat", "Driver", "InOrderChecker", "InputMonitor", "Model", "OutputMonitor", "Row"]

Row = tuple[int, Sequence[int], Sequence[int]]
"""Control bits, weight codes, activation codes of one clock cycle."""


@dataclass(frozen=True)
class Beat:
    """One accepted beat: codes per lane, whether it starts a dot product and shows its result."""

    clear: bool
    weight: tuple[int, ...]
    act: tuple[int, ...]
    shown: bool = True


def _pack(codes: Sequence[int], fmt: Format) -> int:
    return sum(code << lane * fmt.bits for lane, code in enumerate(codes))


def _unpack(vector: int, fmt: Format, lanes: int) -> tuple[int, ...]:
    return tuple(vector >> lane * fmt.bits & (1 << fmt.bits) - 1 for lane in range(lanes))


class Driver:
    """Put rows on the kernel's input ports, one per clock cycle."""

    def __init__(self, dut: Any, kernel: Kernel) -> None:
        self._dut, self._spec, self._last = dut, kernel.spec, kernel.control.last

    def put(self, row: Row) -> None:
        """Drive one row from the next clock edge's far side on."""
        control, weight, act = row
        dut = self._dut
        dut.en_i.value = int(bool(control & ENABLE))
        dut.valid_i.value = int(bool(control & VALID))
        dut.clear_i.value = int(bool(control & CLEAR))
        dut.rst_i.value = int(bool(control & RESET))
        if self._last:
            dut.last_i.value = int(bool(control & LAST))
        dut.weight_i.value = _pack(weight, self._spec.weight)
        dut.act_i.value = _pack(act, self._spec.act)


class InputMonitor:
    """See which beats the kernel accepts."""

    def __init__(self, dut: Any, kernel: Kernel) -> None:
        self._dut, self._spec, self._final = dut, kernel.spec, kernel.control.final
        self._ready = kernel.control.ready

    def reset(self) -> bool:
        """Return whether this clock edge resets the kernel."""
        return bool(int(self._dut.rst_i.value))

    def sample(self) -> Beat | None:
        """Return the beat accepted at this clock edge, if any."""
        dut, spec = self._dut, self._spec
        if not (int(dut.en_i.value) and int(dut.valid_i.value)):
            return None
        if self._ready and not int(dut.ready_o.value):
            return None
        return Beat(
            bool(int(dut.clear_i.value)),
            _unpack(int(dut.weight_i.value), spec.weight, spec.lanes),
            _unpack(int(dut.act_i.value), spec.act, spec.lanes),
            not self._final or bool(int(dut.last_i.value)),
        )


class OutputMonitor:
    """See the results the kernel presents."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut

    def sample(self) -> int | None:
        """Return the accumulator presented at this clock edge, if any."""
        if not (int(self._dut.en_i.value) and int(self._dut.valid_o.value)):
            return None
        return int(self._dut.acc_o.value.to_signed())

    def shown(self) -> int | None:
        """Return the accumulator at this clock edge, a new result or not, unless it is frozen."""
        return int(self._dut.acc_o.value.to_signed()) if int(self._dut.en_i.value) else None


class Model:
    """The accumulator law on Python integers."""

    def __init__(self, spec: MacSpec) -> None:
        self._spec = spec
        self._acc = 0

    def reset(self) -> None:
        """Clear the accumulator: a dot product may start without clear after a reset."""
        self._acc = 0

    def step(self, beat: Beat) -> int:
        """Return the accumulator after ``beat``."""
        spec, fixed = self._spec, self._spec.accumulator
        total = 0 if beat.clear else self._acc
        for w, a in zip(beat.weight, beat.act, strict=True):
            total += codec.decode(spec.weight, w) * codec.decode(spec.act, a)
        if spec.overflow is Overflow.SATURATE:
            total = min(max(total, fixed.min_int), fixed.max_int)
        else:
            total = (total - fixed.min_int) % (1 << fixed.width) + fixed.min_int
        self._acc = total
        return total


class InOrderChecker:
    """Match results with expectations in order."""

    def __init__(self) -> None:
        self._pending: deque[tuple[int, Beat, int]] = deque()
        self._count = 0
        self.compared = 0
        self.errors: list[dict[str, Any]] = []

    def expect(self, beat: Beat, value: int) -> None:
        """Queue the result that ``beat`` must have."""
        self._pending.append((self._count, beat, value))
        self._count += 1

    def flush(self) -> None:
        """Forget the beats in flight: the kernel was reset."""
        self._pending.clear()

    def actual(self, value: int) -> None:
        """Compare a result with the oldest expectation."""
        if not self._pending:
            self._record(-1, None, None, value)
            return
        index, beat, wanted = self._pending.popleft()
        self.compared += 1
        if value != wanted:
            self._record(index, beat, wanted, value)

    def unsteady(self, held: int, value: int) -> None:
        """Record a result that changed before the next one came."""
        self._record(-1, None, held, value)

    def finish(self) -> None:
        """Record every expectation that found no result."""
        for index, beat, wanted in self._pending:
            self._record(index, beat, wanted, None)

    def _record(self, index: int, beat: Beat | None, wanted: int | None, got: int | None) -> None:
        codes = {"weight": beat.weight, "act": beat.act} if beat is not None else {}
        self.errors.append({"beat": index, **codes, "expected": wanted, "got": got})


class Testbench:
    """Wire the agents to one kernel and play rows."""

    __test__ = False

    def __init__(self, dut: Any, kernel: Kernel) -> None:
        self._dut, self._kernel = dut, kernel
        self.driver = Driver(dut, kernel)
        self.inputs = InputMonitor(dut, kernel)
        self.outputs = OutputMonitor(dut)
        self.model = Model(kernel.spec)
        self.checker = InOrderChecker()
        self._held: int | None = None

    async def play(self, rows: Iterable[Row]) -> None:
        """Reset, drive ``rows``, and let the last results come out."""
        Clock(self._dut.clk_i, 2, "step").start(start_high=False)
        zeros = (0,) * self._kernel.spec.lanes
        # Without a reset, a last beat brings such a kernel to the start of a dot product.
        begin = ENABLE | RESET if self._kernel.control.reset != "none" else ENABLE | VALID | LAST
        self.driver.put((begin, zeros, zeros))
        await RisingEdge(self._dut.clk_i)
        self.driver.put((ENABLE | RESET, zeros, zeros))
        for _ in range(self._kernel.latency + 2):
            await RisingEdge(self._dut.clk_i)
        idle: Row = (ENABLE, zeros, zeros)
        ahead = [idle] * self._kernel.control.abort  # what was reset is not ready at once
        for row in (*ahead, *rows, *[idle] * (self._kernel.latency + 4)):
            self.driver.put(row)
            await RisingEdge(self._dut.clk_i)
            self._observe()
        self.checker.finish()

    def _observe(self) -> None:
        result = self.outputs.sample()
        if result is not None:
            self.checker.actual(result)
        if self._kernel.control.holds:
            self._watch(result)
        if self.inputs.reset():
            self._held = None
            self.checker.flush()
            self.model.reset()
            return
        beat = self.inputs.sample()
        if beat is not None:
            value = self.model.step(beat)
            if beat.shown:
                self.checker.expect(beat, value)

    def _watch(self, result: int | None) -> None:
        """See that a result stays until the next one."""
        shown = self.outputs.shown()
        if result is not None:
            self._held = result
        elif self._held is not None and shown is not None and shown != self._held:
            self.checker.unsteady(self._held, shown)
            self._held = shown  # told once
