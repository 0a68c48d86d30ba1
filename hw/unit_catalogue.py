# SPDX-License-Identifier: Apache-2.0
"""Tiles and block kernels that were verified and synthesized: ``unit_catalogue.csv``.

`costmodel.unit_catalogue` writes it.  It is a file of its own because such a kernel is not
described by a `hwquant.mac.MacSpec`; rows whose RTL has changed since are not used.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

from .catalogue import COUNTS
from .library import sources_sha256
from .timing import Timing

__all__ = ["COLUMNS", "UnitRow", "current_rows", "price_of", "read", "rows", "write"]

COLUMNS: Final = (
    "kind", "name", "style", *COUNTS, "path_ps", "logic_levels", "checks", "rtl_sha256", "flow",
    "spec",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class UnitRow:
    """One kernel; ``name`` is the default name of its module, and what it is found by.

    ``spec`` is its spec as JSON text.  ``checks`` results were compared, all equal.
    """

    kind: str
    name: str
    style: str
    counts: Mapping[str, int]
    timing: Timing
    checks: int
    rtl_sha256: str
    flow: str
    spec: str

    @property
    def luts(self) -> int:
        """What kernels are compared by: packed LUT6 sites and RAM LUTs."""
        return self.counts["lut_sites"] + self.counts["lutram"]

    def price(self) -> dict[str, Any]:
        """Return counts and flow, as manifests show them."""
        return {"measured": {**self.counts, "flow": self.flow}}


def read(text: str) -> tuple[UnitRow, ...]:
    """Return the rows of a catalogue's text."""
    return tuple(
        UnitRow(
            row["kind"],
            row["name"],
            row["style"],
            {name: int(row[name]) for name in COUNTS},
            Timing(int(row["path_ps"]), int(row["logic_levels"])),
            int(row["checks"]),
            row["rtl_sha256"],
            row["flow"],
            row["spec"],
        )
        for row in csv.DictReader(io.StringIO(text))
    )


def write(found: Iterable[UnitRow]) -> str:
    """Return the text of a catalogue; `read` reads it back."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in found:
        own = {name: getattr(row, name) for name in COLUMNS if hasattr(row, name)}
        times = {"path_ps": row.timing.path_ps, "logic_levels": row.timing.logic_levels}
        writer.writerow(own | dict(row.counts) | times)
    return out.getvalue()


@cache
def rows() -> tuple[UnitRow, ...]:
    """Return the committed catalogue."""
    return read(files("hw").joinpath("unit_catalogue.csv").read_text(encoding="utf-8"))


def current_rows(
    kind: str, sources: Callable[[Any, str], tuple[str, ...]]
) -> tuple[tuple[Any, UnitRow], ...]:
    """Return the rows of ``kind`` whose RTL is still what was measured, each with its spec's JSON.

    ``sources`` gives the RTL files of a spec's JSON in a style.
    """
    found = ((json.loads(row.spec), row) for row in rows() if row.kind == kind)
    return tuple(
        (spec, row)
        for spec, row in found
        if sources_sha256(sources(spec, row.style)) == row.rtl_sha256
    )


def price_of(kind: str, name: str, style: str, sources: tuple[str, ...]) -> UnitRow | None:
    """Return the row of one kernel, None where it is not there or its RTL has changed."""
    wanted = (kind, name, style)
    row = next((row for row in rows() if (row.kind, row.name, row.style) == wanted), None)
    if row is None or sources_sha256(sources) != row.rtl_sha256:
        return None
    return row
