# SPDX-License-Identifier: Apache-2.0
"""Kernels that were synthesized: the committed characterization and the kernel catalogue.

Both files are read as one list.  ``data/characterization.csv`` is written by ``hwquant
characterize``; ``hw/catalogue.csv`` holds the kernels that were verified as well.  A row whose RTL
has changed since is left out.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from hw import catalogue
from hw.catalogue import (
    COUNTS,
    is_current,
    spec_columns,
    spec_of_columns,
    timing_columns,
    timing_of_columns,
)
from hw.sites import Resources
from hw.styles import style_of, variant
from hw.timing import Timing
from hwquant.mac import MacSpec

__all__ = ["COLUMNS", "FILE", "Measurement", "as_text", "identity", "measurements", "read"]

FILE: Final = "data/characterization.csv"

COLUMNS: Final = (
    "weight", "act", "lanes", "length", "acc_bits", "overflow", "style", *COUNTS, "path_ps",
    "logic_levels", "rtl_sha256", "flow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measurement:
    """One synthesis; ``timing`` is the clock estimate of its netlist, where there is one."""

    spec: MacSpec
    style: str
    resources: Resources
    timing: Timing | None
    rtl_sha256: str
    flow: str

    @property
    def current(self) -> bool:
        """Whether the RTL is still what was measured."""
        known = variant(self.style, self.spec)
        if known is None or known.refuse(self.spec) is not None:
            return False
        return is_current(self.spec, self.style, self.rtl_sha256)


def identity(spec: MacSpec, style: str) -> str:
    """Return what the hardware depends on: its parameters (biases and special codes vanish)."""
    values = style_of(style, spec).parameters(spec)
    return json.dumps([style, {key: str(value) for key, value in values.items()}], sort_keys=True)


def read(text: str) -> tuple[Measurement, ...]:
    """Return the measurements in the text of a characterization file, stale ones included."""
    return tuple(
        Measurement(
            spec_of_columns(row),
            row["style"],
            Resources(**{name: int(row[name]) for name in COUNTS}),
            timing_of_columns(row),
            row["rtl_sha256"],
            row["flow"],
        )
        for row in csv.DictReader(io.StringIO(text))
    )


def as_text(rows: Iterable[Measurement]) -> str:
    """Return the text of a characterization file."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {
                **spec_columns(row.spec),
                "style": row.style,
                **row.resources.to_json(),
                **timing_columns(row.timing),
                "rtl_sha256": row.rtl_sha256,
                "flow": row.flow,
            }
        )
    return out.getvalue()


@cache
def measurements() -> tuple[Measurement, ...]:
    """Return every committed measurement of the present RTL, each hardware once."""
    path = files("costmodel").joinpath(*FILE.split("/"))
    found = [row for row in read(path.read_text(encoding="utf-8")) if row.current]
    seen = {identity(row.spec, row.style) for row in found}
    for row in catalogue.rows():
        if identity(row.spec, row.style) in seen:
            continue
        counts = Resources(**row.counts)
        found.append(Measurement(row.spec, row.style, counts, row.timing, row.rtl_sha256, row.flow))
    return tuple(found)
