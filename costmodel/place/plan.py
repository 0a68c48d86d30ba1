# SPDX-License-Identifier: Apache-2.0
"""The committed ECP5 points: which kernels, and how to write them.

Run ``python -m costmodel.place.plan``; points that stand in the file with unchanged RTL and the
same flow are kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from costmodel.bucket import headroom_spec
from hw.library import sources_sha256
from hw.styles import style_of
from hwquant.errors import HwquantError
from hwquant.mac import MacSpec
from hwquant.progress import note, track

from .ecp5 import ecp5_flow, place, portable_styles
from .points import Point, read, write

__all__ = ["jobs", "measure"]

LENGTH: Final = 256
SINGLE: Final = (
    "int3", "int4", "int5", "int6", "int8", "e1m1", "e2m0", "e1m2", "e2m1", "e3m0", "e2m2", "e3m1",
    "e2m3", "e3m2", "e4m3", "e5m2",
)  # fmt: skip
MIXED: Final = (("e2m1", "int4"), ("e2m1", "int8"), ("int4", "uint4"), ("e4m3", "int8"))
DOTS: Final = ("int4", "e2m1", "e3m1", "int8")
DOT_LANES: Final = 4
WITH_DSP: Final = ("int4", "int8", "e2m1", "e2m3", "e4m3")

Job = tuple[MacSpec, str, bool]


def jobs() -> list[Job]:
    """Return (spec, style, multipliers allowed) of every committed point."""
    pairs = [(name, name) for name in SINGLE] + [*MIXED]
    singles = [headroom_spec(weight, act, LENGTH, 1) for weight, act in pairs]
    dots = [headroom_spec(name, name, LENGTH, DOT_LANES) for name in DOTS]
    found = [(spec, style, False) for spec in (*singles, *dots) for style in portable_styles(spec)]
    with_dsp = [headroom_spec(name, name, LENGTH, 1) for name in WITH_DSP]
    return found + [(spec, "plain", True) for spec in with_dsp]


def measure(spec: MacSpec, style: str, *, dsp: bool) -> Point:
    """Place and route one kernel; raises what `costmodel.place.ecp5.place` raises."""
    placed = place(spec, style, dsp=dsp)
    sha256 = sources_sha256(style_of(style, spec).sources)
    return Point(spec, style, dsp, placed, sha256, ecp5_flow(dsp=dsp))


def write_all(wanted: Iterable[Job], path: str | Path) -> list[str]:
    """Place what is missing in the CSV file ``path``; returns what failed, one line each."""
    target, work = Path(path), list(wanted)
    old = read(target.read_text(encoding="utf-8"), str(target)) if target.is_file() else ()
    kept = {
        (point.spec, point.style, point.dsp_allowed): point
        for point in old
        if point.current and point.flow == ecp5_flow(dsp=point.dsp_allowed)
    }
    failed = []
    with track("kernels", len(work)) as advance:
        for job in work:
            spec, style, dsp = job
            if job not in kept:
                try:
                    kept[job] = measure(spec, style, dsp=dsp)
                except HwquantError as error:
                    failed.append(f"{spec.weight} x {spec.act} {style}: {error}")
                write((kept[key] for key in work if key in kept), target)
            advance(detail=f"{spec.weight} x {spec.act} {style}")
    write((kept[key] for key in work if key in kept), target)
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file named first, by default ``costmodel/data/ecp5.csv``."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    failed = write_all(jobs(), given[0] if given else "costmodel/data/ecp5.csv")
    for line in failed:
        note(line)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
