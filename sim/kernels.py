# SPDX-License-Identifier: Apache-2.0
"""What is verified: a kernel (spec, module name, latency) and the RTL text that holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hw.manifest import spec_from_json, spec_to_json
from hwquant.mac import MacSpec

__all__ = ["Control", "Design", "Kernel"]


@dataclass(frozen=True)
class Control:
    """What a kernel's ports let a testbench do; the library's kernels allow everything.

    ``enable``: it can be frozen; ``valid``: there can be cycles without a beat; ``reset`` is
    ``"sync"``, ``"async"`` or ``"none"``; ``bubble``: a cycle without a beat must come before each
    dot product; ``last``: port ``last_i`` marks the last beat of a dot product; ``final``: only
    that last beat has a result; ``holds``: a result stays until the next one; ``zeroed``: after a
    reset the first dot product needs no clear.

    ``ready``: port ``ready_o`` says when a beat is taken: not in the ``gap`` enabled cycles after a
    last beat, nor for ``abort`` cycles when a clear comes amid a dot product.  ``longest`` is the
    most beats of a dot product, 0 for any number.
    """

    enable: bool = True
    valid: bool = True
    reset: str = "sync"
    bubble: bool = False
    last: bool = False
    final: bool = False
    holds: bool = True
    zeroed: bool = True
    ready: bool = False
    gap: int = 0
    abort: int = 0
    longest: int = 0


LIBRARY = Control()


@dataclass(frozen=True)
class Kernel:
    """One top: ``name`` is its module, ``latency`` its enabled cycles to a result.

    ``title`` is what reports call it, by default its name.
    """

    spec: MacSpec
    name: str
    latency: int
    control: Control = LIBRARY
    title: str = ""

    @property
    def settle(self) -> int:
        """Enabled cycles after which nothing is left of what was sent."""
        return max(self.latency, self.control.gap, self.control.abort)

    @property
    def row_words(self) -> int:
        """32-bit words of a stimulus row: a control byte, one byte per weight and activation."""
        return -(-(1 + 2 * self.spec.lanes) // 4)

    @property
    def out_words(self) -> int:
        """64-bit words of a result row; at least two bits wider than the accumulator.

        The spare bits leave room for a sentinel that no sign-extended result can equal.
        """
        return -(-(self.spec.accumulator.width + 2) // 64)

    @property
    def label(self) -> str:
        """Say in words which kernel this is."""
        spec = self.spec
        return (
            f"{self.title or self.name}: {spec.weight} x {spec.act}, {spec.lanes} lanes, "
            f"{spec.accumulator.width}-bit accumulator, {spec.overflow}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data; `from_json` reads it back."""
        record = {"spec": spec_to_json(self.spec), "name": self.name, "latency": self.latency}
        if self.control != LIBRARY:
            record["control"] = asdict(self.control)
        return record | ({"title": self.title} if self.title else {})

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Kernel:
        """Rebuild a kernel from `to_json`."""
        return cls(
            spec_from_json(record["spec"]),
            record["name"],
            record["latency"],
            Control(**record.get("control", {})),
            record.get("title", ""),
        )


@dataclass(frozen=True)
class Design:
    """Kernels and the SystemVerilog sources (file name to text) that define them.

    ``origin`` says where the sources came from: the library, or a bundle's folder.
    """

    kernels: tuple[Kernel, ...]
    sources: Mapping[str, str] = field(repr=False)
    origin: str = "library"
