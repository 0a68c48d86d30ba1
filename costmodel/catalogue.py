# SPDX-License-Identifier: Apache-2.0
"""Write the catalogue of kernels: verify, synthesize, record.

Run ``python -m costmodel.catalogue`` for the committed file ``hw/catalogue.csv``; kernels that
stand in it with unchanged RTL and the same flow are kept.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hw.catalogue import COLUMNS, Row, read, spec_columns, timing_columns
from hw.library import sources_sha256
from hw.netlist import kernel_sources
from hw.styles import STYLES, fitting, style_of
from hwquant import atomic
from hwquant.errors import HwquantError
from hwquant.mac import MacSpec
from hwquant.progress import track

from .bucket import bucket_cost, headroom_spec
from .kernel import estimate

__all__ = ["catalogue_specs", "compared", "measure", "write"]

LANES: Final = (1, 8)
STEPS: Final = 65_536
LENGTH: Final = 256
SAME: Final = (
    "int3", "int4", "int5", "int6", "int8", "e1m1", "e2m0", "e1m2", "e2m1", "e3m0", "e2m2", "e3m1",
    "e2m3", "e3m2", "e4m3", "e5m2",
)  # fmt: skip
MIXED: Final = (
    ("e2m1", "int4"),
    ("e2m1", "int8"),
    ("int4", "uint4"),
    ("int8", "uint8"),
    ("e2m1", "ue2m2"),
    ("e4m3", "int8"),
)

NORMAL_FLOAT: Final = "cb4f7_-128_-89_-67_-51_-36_-24_-12_0_10_21_32_43_56_72_93_128"
"""The 4-bit normal float (arXiv 2305.14314), to seven fraction bits."""

CODEBOOKS: Final = (
    ("pow4a0.75f6", "int4"),
    ("pow4a0.75f6", "uint4"),
    ("pow4a0.75f6", "int8"),
    ("pow4a0.75f6", "pow4a0.75f6"),
    ("pow4a0.75f6", "upow4a0.75f6"),
    (NORMAL_FLOAT, "int4"),
    (NORMAL_FLOAT, "int8"),
    (NORMAL_FLOAT, NORMAL_FLOAT),
)


def catalogue_specs(lanes: int = 1) -> tuple[MacSpec, ...]:
    """Return the kernels of the catalogue with ``lanes`` lanes.

    The accumulator is that of `costmodel.bucket.headroom_spec`.
    """
    pairs = [(name, name) for name in SAME] + list((*MIXED, *CODEBOOKS) if lanes == 1 else ())
    return tuple(headroom_spec(weight, act, LENGTH, lanes) for weight, act in pairs)


def compared(spec: MacSpec) -> list[str]:
    """Return the styles that are measured for ``spec``.

    Left out are the portable twins of styles with device cells, which are never smaller, and trees
    of one lane.
    """
    names = [style.name for style in fitting(spec) if not style.name.endswith("_portable")]
    return [name for name in names if name != "tree" or spec.lanes > 1]


def measure(spec: MacSpec, style: str) -> Row:
    """Verify and synthesize one kernel.

    Raises `MismatchError` when it computes anything else than the reference, `ToolError` when a
    tool is missing or fails.
    """
    from hw.yosys import timing
    from sim.designs import design_of_spec
    from sim.engine import verify_designs

    report = verify_designs([design_of_spec(spec, style)], steps=STEPS)
    report.raise_for_mismatch()
    cost = estimate(spec, style, synth=True)
    luts = float(cost.resources.lut_sites + cost.resources.lutram)
    core = 0
    if STYLES[style].timing is not None and spec.lanes == 1:
        parts = bucket_cost(spec, style)
        luts, core = parts.luts, parts.core_luts
    return Row(
        spec,
        style,
        cost.resources.to_json(),
        round(luts, 2),
        sum(result.mac_steps for result in report.results),
        sources_sha256(style_of(style, spec).sources),
        cost.flow,
        core,
        timing(kernel_sources(spec, "kernel", style), "kernel"),
    )


def _record(row: Row) -> dict[str, Any]:
    return {
        **spec_columns(row.spec),
        "style": row.style,
        **row.counts,
        "luts": f"{row.luts:g}",
        "core_luts": row.core_luts or "",
        **timing_columns(row.timing),
        "mac_steps": row.mac_steps,
        "rtl_sha256": row.rtl_sha256,
        "flow": row.flow,
    }


def write(specs: Iterable[MacSpec], path: str | Path) -> list[str]:
    """Measure ``specs`` in every style that can do them and write the CSV file ``path``.

    Rows of ``path`` for these that are still current are kept (and get a clock estimate where they
    have none), all others dropped.  Returns what
    failed, one line each; the file holds the rest.
    """
    from hw.yosys import flow, timing

    target = Path(path)
    old = read(target.read_text(encoding="utf-8")) if target.is_file() else ()
    kept = {(row.spec, row.style): row for row in old if row.current and row.flow == flow()}
    wanted = [(spec, style) for spec in specs for style in compared(spec)]
    kept = {key: kept[key] for key in wanted if key in kept}
    failed: list[str] = []
    with track("kernels", len(wanted)) as advance:
        for spec, style in wanted:
            if (spec, style) not in kept:
                try:
                    kept[spec, style] = measure(spec, style)
                except HwquantError as error:
                    failed.append(f"{spec.weight} x {spec.act} {style}: {error}")
                _store((kept[key] for key in wanted if key in kept), target)
            elif kept[spec, style].timing is None:
                clock = timing(kernel_sources(spec, "kernel", style), "kernel")
                kept[spec, style] = replace(kept[spec, style], timing=clock)
                _store((kept[key] for key in wanted if key in kept), target)
            advance(detail=f"{spec.weight} x {spec.act} {style}")
    _store((kept[key] for key in wanted if key in kept), target)
    return failed


def _store(found: Iterable[Row], target: Path) -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_record(row) for row in found)
    atomic.write_text(target, out.getvalue())


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file named first, by default ``hw/catalogue.csv``; further arguments are lanes."""
    import sys

    from hwquant.progress import note

    given = sys.argv[1:] if arguments is None else list(arguments)
    path = given[0] if given else "hw/catalogue.csv"
    lanes = [int(number) for number in given[1:]] or [*LANES]
    failed = write([spec for number in lanes for spec in catalogue_specs(number)], path)
    for line in failed:
        note(line)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
