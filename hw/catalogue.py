# SPDX-License-Identifier: Apache-2.0
"""The catalogue: kernels that were verified and synthesized, and the choice of a style from it.

``catalogue.csv`` has one row per kernel and style.  It is written by `costmodel.catalogue`, from
synthesis and from a verification run; rows whose RTL has changed since are not used.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from hwquant.errors import SpecError
from hwquant.mac import MacSpec

from .library import sources_sha256
from .styles import STYLES, fitting, usual_for_codebooks, variant
from .timing import Timing

__all__ = [
    "AUTO",
    "COLUMNS",
    "COUNTS",
    "Choice",
    "Row",
    "candidates",
    "choose",
    "is_current",
    "measured_timing",
    "rows",
    "spec_columns",
    "spec_of_columns",
    "style_name",
    "timing_columns",
    "timing_of_columns",
]

AUTO: Final = ("auto", "auto-beat", "auto-dsp")
"""Names that stand for a choice: any kernel without a DSP, only those with a result every beat,
any kernel with one DSP slice at most."""

COUNTS: Final = ("lut_sites", "lut_raw", "lutram", "ff", "dsp", "carry")
COLUMNS: Final = (
    "weight", "act", "lanes", "length", "acc_bits", "overflow", "style", *COUNTS, "luts",
    "core_luts", "path_ps", "logic_levels", "mac_steps", "rtl_sha256", "flow",
)  # fmt: skip

# What is tried where nothing was measured, best first: the order of the measured ones.
USUAL: Final = ("table", "booth", "shift", "tree", "plain")
USUAL_DSP: Final = ("dsp", "dsp_acc")  # ahead of them where a DSP is allowed


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel that was synthesized and verified.

    ``luts`` is what kernels are compared by: packed LUT6 sites and RAM LUTs, and of a drain that
    kernels share only the share; ``core_luts`` leaves out that share too (0 for other kernels).
    ``mac_steps`` accumulator steps were compared, all equal.  ``timing`` is an estimate.
    """

    spec: MacSpec
    style: str
    counts: dict[str, int]
    luts: float
    mac_steps: int
    rtl_sha256: str
    flow: str
    core_luts: int = 0
    timing: Timing | None = None

    @property
    def current(self) -> bool:
        """Whether the RTL is still what was measured."""
        return is_current(self.spec, self.style, self.rtl_sha256)


@dataclass(frozen=True, slots=True)
class Choice:
    """A style, and why it was chosen."""

    style: str
    why: str


def spec_columns(spec: MacSpec) -> dict[str, Any]:
    """Return the columns that name a kernel, in a catalogue as in any table of kernels."""
    return {
        "weight": str(spec.weight),
        "act": str(spec.act),
        "lanes": spec.lanes,
        "length": spec.length,
        "acc_bits": spec.accumulator.width,
        "overflow": spec.overflow.value,
    }


def spec_of_columns(row: Mapping[str, str]) -> MacSpec:
    """Return the spec that `spec_columns` wrote; raises `ValueError` or what `MacSpec` raises."""
    lanes, length, width = (int(row[name]) for name in ("lanes", "length", "acc_bits"))
    return MacSpec(row["weight"], row["act"], lanes, length, width, row["overflow"])


def timing_columns(timing: Timing | None) -> dict[str, Any]:
    """Return the columns of a clock estimate, empty where there is none."""
    if timing is None:
        return {"path_ps": "", "logic_levels": ""}
    return {"path_ps": timing.path_ps, "logic_levels": timing.logic_levels}


def timing_of_columns(row: Mapping[str, str]) -> Timing | None:
    """Return the clock estimate that `timing_columns` wrote, None for an old row without one."""
    return Timing(int(row["path_ps"]), int(row["logic_levels"])) if row.get("path_ps") else None


def is_current(spec: MacSpec, style: str, rtl_sha256: str) -> bool:
    """Return whether the RTL of a kernel is still that of this hash."""
    known = variant(style, spec)
    return known is not None and sources_sha256(known.sources) == rtl_sha256


def read(text: str) -> tuple[Row, ...]:
    """Return the rows of a catalogue's text."""
    return tuple(
        Row(
            spec_of_columns(row),
            row["style"],
            {name: int(row[name]) for name in COUNTS},
            float(row["luts"]),
            int(row["mac_steps"]),
            row["rtl_sha256"],
            row["flow"],
            int(row.get("core_luts") or 0),
            timing_of_columns(row),
        )
        for row in csv.DictReader(io.StringIO(text))
    )


@cache
def rows() -> tuple[Row, ...]:
    """Return the committed catalogue, rows of changed RTL left out."""
    text = files("hw").joinpath("catalogue.csv").read_text(encoding="utf-8")
    return tuple(row for row in read(text) if row.current)


def measured_timing(spec: MacSpec, style: str) -> Timing | None:
    """Return the clock estimate of the kernel of ``spec``, None where it was not synthesized."""

    def hardware(of: MacSpec) -> tuple[object, ...]:
        length = 0 if STYLES[style].timing is None else of.length
        return of.weight, of.act, of.lanes, of.accumulator.width, of.overflow, length

    wanted = hardware(spec)
    found = (row for row in rows() if row.style == style and hardware(row.spec) == wanted)
    return next((row.timing for row in found if row.timing is not None), None)


def candidates(spec: MacSpec, *, every_beat: bool = False, dsps: int = 0) -> list[str]:
    """Return the styles that can do ``spec`` with at most ``dsps`` DSP slices."""
    able = [style for style in fitting(spec) if style.dsps <= dsps]
    return [style.name for style in able if not (every_beat and style.timing is not None)]


def _distance(row: Row, spec: MacSpec) -> tuple[int, ...]:
    """Return how far a measured kernel is from ``spec``; formats and overflow are equal."""
    return (
        abs(row.spec.lanes - spec.lanes),
        abs(row.spec.accumulator.width - spec.accumulator.width),
        abs(row.spec.length - spec.length),
    )


def choose(
    spec: MacSpec,
    *,
    every_beat: bool = False,
    dsps: int = 0,
    among: Iterable[Row] | None = None,
) -> Choice:
    """Return the style of the smallest verified kernel for ``spec``.

    The catalogue's kernels of the same pair of formats and the same overflow decide, those nearest
    in lanes, then accumulator width, then length.  A pair that is not in it gets the first of the
    usual styles that can do it, and ``why`` says so.  With ``every_beat`` styles that have one
    result per dot product (ports ``last_i`` and ``ready_o``) are left out.  No kernel has more
    than ``dsps`` DSP slices; among equals in LUTs the one with fewer wins.
    """
    able = candidates(spec, every_beat=every_beat, dsps=dsps)
    pair = (spec.weight, spec.act, spec.overflow)
    known = [
        row
        for row in (rows() if among is None else among)
        if row.style in able and (row.spec.weight, row.spec.act, row.spec.overflow) == pair
    ]
    if not known:
        style = usual_for_codebooks(spec, able) or next(
            name for name in (*USUAL_DSP, *USUAL) if name in able
        )
        return Choice(style, "the pair is not in the catalogue: the usual style for such formats")
    nearest = min(_distance(row, spec) for row in known)
    same = [row for row in known if _distance(row, spec) == nearest]
    best = min(same, key=lambda row: (row.luts, row.counts["dsp"], row.style))
    others = ", ".join(
        f"{row.style} {row.luts:g}" for row in sorted(same, key=lambda r: r.luts) if row != best
    )
    where = (
        "this kernel"
        if not any(nearest)
        else f"the nearest kernel ({best.spec.lanes} lanes, {best.spec.accumulator.width} bits)"
    )
    slices = f" and {best.counts['dsp']} DSP" if best.counts["dsp"] else ""
    return Choice(
        best.style,
        f"{best.luts:g} LUTs{slices} for {where}"
        + (f"; {others}" if others else "; no other verified"),
    )


def style_name(name: str, spec: MacSpec) -> Choice:
    """Return the style that ``name`` means for ``spec``: a style's own name, or one of `AUTO`.

    Raises `SpecError` for any other name.
    """
    if name in AUTO:
        return choose(spec, every_beat=name == "auto-beat", dsps=int(name == "auto-dsp"))
    if name not in STYLES:
        raise SpecError(f"kernel style {name!r}, allowed: {', '.join((*AUTO, *STYLES))}")
    return Choice(name, "given")
