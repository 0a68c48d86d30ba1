# SPDX-License-Identifier: Apache-2.0
"""Placed points as rows of a CSV file: written by the plan, read by the report, one file a target.

A row holds the kernel, what it uses, the clock of every seed, the hash of its RTL and the flow.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from hw.catalogue import is_current, spec_columns, spec_of_columns
from hwquant import atomic
from hwquant.errors import HwquantError, InputError
from hwquant.mac import MacSpec

from .ecp5 import Placed

__all__ = ["COLUMNS", "Point", "committed", "read", "write"]

COLUMNS: Final = (
    "weight", "act", "lanes", "length", "acc_bits", "overflow", "style", "dsp_allowed",
    "lut4", "carry", "ram", "ff", "dsp", "seeds", "fmax_mhz", "rtl_sha256", "flow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Point:
    """One kernel in one style, placed and routed on an ECP5."""

    spec: MacSpec
    style: str
    dsp_allowed: bool
    placed: Placed
    rtl_sha256: str
    flow: str

    @property
    def current(self) -> bool:
        """Whether the RTL is still what was placed."""
        return is_current(self.spec, self.style, self.rtl_sha256)

    @property
    def label(self) -> str:
        """The style, and whether multipliers were allowed."""
        return f"{self.style} + MULT18X18D" if self.dsp_allowed else self.style


def _record(point: Point) -> dict[str, Any]:
    placed = point.placed
    return {
        **spec_columns(point.spec),
        "style": point.style,
        "dsp_allowed": int(point.dsp_allowed),
        **{name: getattr(placed, name) for name in ("lut4", "carry", "ram", "ff", "dsp")},
        "seeds": " ".join(map(str, placed.seeds)),
        "fmax_mhz": " ".join(map(str, placed.fmax_mhz)),
        "rtl_sha256": point.rtl_sha256,
        "flow": point.flow,
    }


def _point(row: Mapping[str, str]) -> Point:
    spec = spec_of_columns(row)
    lut4, carry, ram, ff, dsp = (int(row[name]) for name in ("lut4", "carry", "ram", "ff", "dsp"))
    seeds = tuple(int(seed) for seed in row["seeds"].split())
    clocks = tuple(float(clock) for clock in row["fmax_mhz"].split())
    if not seeds or len(seeds) != len(clocks):
        raise ValueError(f"{len(seeds)} seeds and {len(clocks)} clocks")
    placed = Placed(lut4, carry, ram, ff, dsp, seeds, clocks)
    allowed = row["dsp_allowed"] == "1"
    return Point(spec, row["style"], allowed, placed, row["rtl_sha256"], row["flow"])


def read(text: str, name: str = "the file") -> tuple[Point, ...]:
    """Return the points of a CSV text; raises `InputError` that names ``name`` and the line."""
    reader = csv.DictReader(io.StringIO(text))
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{name} has no column {', '.join(missing)}; write it with: {WRITER}")
    points = []
    for row in reader:
        try:
            points.append(_point(row))
        except (HwquantError, ValueError, AttributeError, TypeError) as error:
            raise InputError(
                f"{name}, line {reader.line_num} is not a placed point ({error}); "
                f"write the file with: {WRITER}"
            ) from error
    return tuple(points)


WRITER: Final = "python -m costmodel.place.plan"


def committed() -> tuple[Point, ...]:
    """Return the committed points, those of changed RTL left out."""
    text = files("costmodel").joinpath("data", "ecp5.csv").read_text(encoding="utf-8")
    return tuple(point for point in read(text, "costmodel/data/ecp5.csv") if point.current)


def write(points: Iterable[Point], path: str | Path) -> None:
    """Write ``points`` to the CSV file ``path``, whole or not."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_record(point) for point in points)
    atomic.write_text(path, out.getvalue())
