# SPDX-License-Identifier: Apache-2.0
"""What a kernel style is: one microarchitecture of the multiply-accumulate kernel.

Every style computes `hwquant.mac.MacSpec.accumulate` behind the same ports; styles differ in the
blocks they are made of, in the specs they can do, in latency and in price.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwquant.formats import Codebook
from hwquant.mac import MacSpec

__all__ = ["Constant", "Parameter", "Style", "Timing", "refuse_codebooks"]


@dataclass(frozen=True, slots=True)
class Constant:
    """A parameter with a width of its own, for example the contents of LUTs."""

    value: int
    width: int

    def __str__(self) -> str:
        """Return the SystemVerilog literal.

        >>> str(Constant(0x8778, 16))
        "16'h8778"
        """
        return f"{self.width}'h{self.value:0{-(-self.width // 4)}x}"


Parameter = int | Constant


def _any_spec(_: MacSpec) -> str | None:
    return None


def refuse_codebooks(spec: MacSpec) -> str | None:
    """Return why a style that only knows integers and minifloats refuses ``spec``, None if not."""
    for fmt in (spec.weight, spec.act):
        if isinstance(fmt, Codebook):
            return f"{fmt} is a codebook, which it does not decode"
    return None


@dataclass(frozen=True, slots=True)
class Timing:
    """Cycles of a kernel that has one result per dot product, all enabled cycles.

    ``latency`` is from the last beat to its result, ``gap`` the cycles after the last beat in
    which no beat is taken, ``abort`` those for which a clear amid a dot product has to wait; after
    a reset it is one less.
    """

    latency: int
    gap: int
    abort: int


@dataclass(frozen=True, slots=True)
class Style:
    """A kernel style.

    ``top`` is the block that the wrapper instantiates, ``sources`` the files it is made of
    (lower blocks first), ``parameters`` gives the block's parameters for a spec, in declaration
    order.  ``refuse`` says why the style cannot do a spec, None where it can.  ``primitives``
    names the device cells it instantiates: none in portable RTL; ``dsps`` is how many DSP
    slices it needs.  ``latency_cycles`` are enabled cycles from a beat to its result, a number
    or a function of the spec. With ``timing`` results come once per dot product instead, the
    kernel has ports ``last_i`` and ``ready_o``, and the cycles depend on the spec.
    """

    name: str
    top: str
    sources: tuple[str, ...]
    latency_cycles: int | Callable[[MacSpec], int]
    parameters: Callable[[MacSpec], Mapping[str, Parameter]]
    refuse: Callable[[MacSpec], str | None] = _any_spec
    primitives: tuple[str, ...] = ()
    dsps: int = 0
    initiation_interval: int = 1
    timing: Callable[[MacSpec], Timing] | None = None

    def latency(self, spec: MacSpec) -> int:
        """Return the enabled cycles from a beat to its result, for a kernel of ``spec``."""
        if self.timing is not None:
            return self.timing(spec).latency
        cycles = self.latency_cycles
        return cycles if isinstance(cycles, int) else cycles(spec)
