# SPDX-License-Identifier: Apache-2.0
"""Verify requantizers bit for bit against `hwquant.requant`, many in one simulator (`sim.unit`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hw.requant import (
    RequantBundle,
    requant_from_json,
    requant_latency,
    requant_name,
    requant_sources,
    requant_text,
    requant_to_json,
)
from hwquant.requant import Requantizer, Thresholds

from .requant_vectors import EXHAUSTIVE_BITS, row_words
from .unit import Design, Kind, Unit, Wiring, designs_of, folder_design
from .unit_report import DEFAULT_STEPS, Failure, Report, Result, verify_design, verify_designs

__all__ = [
    "RequantFailure",
    "RequantReport",
    "RequantResult",
    "RequantUnit",
    "requant_design",
    "verify_requant",
    "verify_requant_design",
]

Target = Requantizer | RequantBundle | str | Path


def _wiring(spec: Requantizer) -> Wiring:
    bits = spec.bits if isinstance(spec, Thresholds) else spec.fmt.bits
    chan = max(1, (spec.channels - 1).bit_length())
    ports = (
        f"\n      .chan_i(row_q[8+:{chan}]), .acc_i(row_q[24+:{spec.acc_bits}]), "
        ".valid_o(valid), .code_o(code)"
    )
    return Wiring({"code": bits}, ports, "code")


@dataclass(frozen=True)
class RequantUnit(Unit[Requantizer]):
    """One generated requantizer."""

    OF = Kind(
        "requantizer",
        requant_name,
        requant_to_json,
        requant_from_json,
        row_words,
        lambda _: 1,
        _wiring,
    )


@dataclass(frozen=True)
class RequantFailure(Failure):
    """One result that differs; None stands for no result."""

    channel: int
    acc: int
    expected: int | None
    got: int | None

    def describe(self) -> str:
        """Return the failing vector in words."""
        return (
            f"{self.stage}: channel {self.channel}, accumulator {self.acc}: "
            f"expected code {self.expected}, got {self.got}"
        )


@dataclass(frozen=True)
class RequantResult(Result):
    """Counts of one requantizer."""

    UNIT = RequantUnit
    FAILURE = RequantFailure

    @property
    def exhaustive(self) -> bool:
        """Whether every accumulator was sent."""
        return bool(self.unit.spec.acc_bits <= EXHAUSTIVE_BITS)


@dataclass(frozen=True)
class RequantReport(Report[RequantResult]):
    """All requantizers of one verification."""

    RESULT = RequantResult
    TESTBENCH = "sim.tb_requant"
    NOUN = "codes"


def requant_design(specs: Sequence[Requantizer], styles: Sequence[str] = ()) -> Design[RequantUnit]:
    """Return the library's requantizers of ``specs``, in ``styles`` (``auto`` where not given)."""
    chosen = [*styles, *["auto"] * (len(specs) - len(styles))]
    sources: dict[str, str] = {}
    units, texts = [], []
    for index, (spec, style) in enumerate(zip(specs, chosen, strict=True)):
        unit = RequantUnit(spec, f"unit_{index}", requant_latency(spec, style))
        sources |= requant_sources(spec, style)
        texts.append(requant_text(spec, unit.name, style))
        units.append(unit)
    sources["units.sv"] = "\n".join(texts)
    return Design(tuple(units), sources)


def verify_requant(
    targets: Target | Iterable[Target], *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> RequantReport:
    """Verify requantizers against `hwquant.requant`, in Verilator.

    A target is a requantizer (its RTL is generated), a bundle, or the folder of a bundle (the
    files there are what is verified).  Accumulators of up to 16 bits are all sent, through every
    channel; wider ones at every cut, rail and power of two and at ``steps`` random places.  All
    are also sent with stalls, idle cycles and resets.

    Raises `ToolError` when Verilator or the compiler is missing or refuses the RTL, `InputError`
    for a folder that holds no requantizer.
    """
    load = partial(folder_design, bundle=RequantBundle, unit=RequantUnit)
    designs = designs_of(targets, requant_design, load)
    return verify_designs(designs, RequantReport, seed=seed, steps=steps)


def verify_requant_design(
    design: Design[RequantUnit], *, seed: int = 0, steps: int = DEFAULT_STEPS
) -> RequantReport:
    """Verify a ready design in one simulator."""
    return verify_design(design, RequantReport, seed=seed, steps=steps)
