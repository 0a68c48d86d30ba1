# SPDX-License-Identifier: Apache-2.0
"""Prices from imported Vivado points: what ``hwquant place --import DIR --into FILE`` collected."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from costmodel.measurements import identity
from costmodel.parts import Part
from hw.catalogue import is_current, spec_of_columns
from hwquant.errors import HwquantError, InputError
from hwquant.mac import MacSpec
from hwquant.progress import note

from .vivado import VivadoPoint

__all__ = ["find_point", "read_points", "vivado_record"]


def read_points(path: str | Path) -> tuple[VivadoPoint, ...]:
    """Return the points of a file that `costmodel.place.vivado.append` wrote.

    Raises `InputError` for a file that cannot be read or is none.
    """
    source = Path(path)
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{source} cannot be read; write it with hwquant place --import DIR --into {source}"
        ) from error
    reader = csv.DictReader(io.StringIO(text))
    if list(reader.fieldnames or ()) != [field.name for field in fields(VivadoPoint)]:
        raise InputError(f"{source} is not a file of Vivado points; see hwquant place --help")
    types = {"int": int, "float": float, "str": str}
    kinds = {field.name: types[str(field.type)] for field in fields(VivadoPoint)}
    found = []
    for number, row in enumerate(reader, 2):
        try:
            point = VivadoPoint(**{name: kind(row[name]) for name, kind in kinds.items()})
            spec_of_columns(row)
        except (ValueError, TypeError, KeyError, HwquantError) as error:
            raise InputError(f"{source}, line {number}, is damaged ({error})") from error
        found.append(point)
    return tuple(found)


def find_point(
    points: Sequence[VivadoPoint], spec: MacSpec, style: str, part: Part | None = None
) -> VivadoPoint | None:
    """Return the point of the same hardware on ``part`` (any, where None); None without one.

    Points of RTL that has changed since are left out, and named on stderr.  Raises `InputError`
    when several parts have one and none is asked for.
    """
    same = []
    for point in points:
        own = _spec(point)
        if point.style != style or (part is not None and part.name.lower() not in point.part):
            continue
        if not is_current(own, style, point.rtl_sha256):
            if own == spec:
                note(f"the RTL of {style} changed since Vivado ran on {point.part}: run it again")
        elif identity(own, style) == identity(spec, style):
            same.append(point)
    if len({point.part for point in same}) > 1:
        names = ", ".join(sorted(point.part for point in same))
        raise InputError(f"Vivado points of this kernel on several parts, {names}; choose: --part")
    return same[-1] if same else None


def _spec(point: VivadoPoint) -> MacSpec:
    return MacSpec(
        point.weight, point.act, point.lanes, point.length, point.acc_bits, point.overflow
    )


def vivado_record(point: VivadoPoint) -> dict[str, Any]:
    """Return what ``hwquant cost`` prints of a point: counts, clock, where they come from.

    ``lut_sites`` are the LUTs used as logic, as Vivado packs them; LUT cells before packing are
    not in its report.
    """
    tool = point.tool or "Vivado, version not in its report"
    return {
        "lut_sites": point.lut - point.lut_memory,
        "lutram": point.lut_memory,
        "ff": point.ff,
        "dsp": point.dsp,
        "carry": point.carry,
        "bram36": point.bram36,
        "uram": point.uram,
        "style": point.style,
        "source": "vivado",
        "flow": f"{tool}, {point.part}, out of context, {point.state.lower()}",
        "fmax_mhz": point.fmax_mhz,
        "period_ns": point.period_ns,
        "wns_ns": point.wns_ns,
    }
