# SPDX-License-Identifier: Apache-2.0
"""The tables and figures of the cost model's page, from committed measurements.

Run ``python -m costmodel.accuracy_page`` to write the marked parts of ``docs/costmodel.md`` and the
figures beside it; ``python -m costmodel.intervals.compare`` first, where measurements or formulas
changed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import Final

from hwquant import atomic
from hwquant.errors import InputError

from .accuracy_errors import OURS, Errors, by_style
from .accuracy_exact import exactness
from .intervals.compare import table
from .intervals.points import Points
from .intervals.shipped import FILE, TARGETS
from .intervals.sources import held_out_points
from .place.points import Point, committed

__all__ = ["clocks", "ecp5_table", "error_table", "fill", "interval_tables"]

PAGE: Final = Path("docs/costmodel.md")
FIGURES: Final = {"lut_sites": "costmodel_sites.png", "lut_raw": "costmodel_raw.png"}
CLOCKS: Final = "costmodel_ecp5.png"
LABELS: Final = {"lut_sites": "LUT sites", "lut_raw": "raw LUTs"}
METHODS: Final = (OURS, "FINN", "linear fit", "nearest kernel")
AIM: Final = (5, 15)
"""Mean and worst error that a formula should have, in per cent."""
MARKED: Final = "<!-- {name}: written by python -m costmodel.accuracy_page -->\n"
END: Final = "<!-- end -->"


def error_table(points: Points) -> str:
    """Return mean and worst error of each method by style, in per cent, as a Markdown table.

    A line below names the styles whose formula is within `AIM`, and those where it is not.
    """
    heads = ["style", "kernels", *(f"{method} mean / worst" for method in METHODS)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    errors = by_style(points)
    for style, found in errors.items():
        cells = [style if style == "all" else f"`{style}`", str(found[OURS].kernels)]
        cells += [_cell(found.get(method)) for method in METHODS]
        lines.append("| " + " | ".join(cells) + " |")
    ours = {style: found[OURS] for style, found in errors.items() if style != "all"}
    within = [s for s, e in ours.items() if e.mean <= AIM[0] and e.worst <= AIM[1]]
    beyond = [style for style in ours if style not in within]
    lines.append(
        f"\nThe aim is {AIM[0]} % on average and {AIM[1]} % at worst. Formulas within it: "
        f"{_names(within)}. Not: {_names(beyond)}."
    )
    return "\n".join(lines) + "\n"


def _names(styles: Sequence[str]) -> str:
    return ", ".join(f"`{style}`" for style in styles) or "none"


def _cell(errors: Errors | None) -> str:
    return "" if errors is None else f"{errors.mean:.1f} / {errors.worst:.1f}"


def interval_tables() -> str:
    """Return the committed comparison of interval predictors, a Markdown table for each count."""
    path = files("costmodel").joinpath(*FILE.split("/"))
    record = json.loads(path.read_text(encoding="utf-8"))["comparison"]
    parts = [
        f"{LABELS[target]}, {found['rows']} kernels of {found['pairs_of_formats']} pairs of "
        f"formats; shipped: **{found['shipped']}**.\n\n{table(found['scores'])}\n"
        for target, found in record.items()
    ]
    return "\n".join(parts)


def _kind(point: Point) -> str:
    lanes = point.spec.lanes
    return point.label if lanes == 1 else f"{point.label}, {lanes} lanes"


def clocks(points: Sequence[Point]) -> dict[str, list[float]]:
    """Return the routed clock of each kernel (median over seeds, MHz) by style and lanes."""
    found: dict[str, list[float]] = {}
    for point in sorted(points, key=lambda p: (p.spec.lanes, p.label)):
        found.setdefault(_kind(point), []).append(median(point.placed.fmax_mhz))
    return found


def ecp5_table(points: Sequence[Point]) -> str:
    """Return LUT4s and routed clocks by style and lanes, as a Markdown table."""
    heads = ("style", "kernels", "fmax MHz: least", "median", "most", "LUT4, median")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for kind, values in clocks(points).items():
        own = [point.placed.lut4 for point in points if _kind(point) == kind]
        cells = [f"`{kind}`", str(len(values))]
        cells += [f"{x:.0f}" for x in (min(values), median(values), max(values), median(own))]
        lines.append("| " + " | ".join(cells) + " |")
    flows = sorted({point.flow for point in points})
    return "\n".join(lines) + "\n\n" + "".join(f"    {flow}\n" for flow in flows)


def fill(text: str, parts: Mapping[str, str]) -> str:
    """Return a page with each marked part replaced.

    Raises `InputError` where the page has not exactly one such mark.
    """
    for name, part in parts.items():
        mark = MARKED.format(name=name)
        if text.count(mark) != 1:
            raise InputError(
                f"the page has {text.count(mark)} parts marked {mark.strip()!r}, not one"
            )
        before, _, rest = text.partition(mark)
        _, end, after = rest.partition(END)
        if not end:
            raise InputError(f"the part marked {mark.strip()!r} has no {END!r} after it")
        text = f"{before}{mark}\n{part}\n{END}{after}"
    return text


def parts() -> dict[str, str]:
    """Return every part of the page that is written, by the name in its mark."""
    found = {f"errors of {t}": error_table(held_out_points(t)) for t in TARGETS}
    found |= {"exact counts": exactness(), "intervals": interval_tables()}
    return found | {"ecp5": ecp5_table(committed())}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page named by the first argument, and the figures beside it."""
    from .accuracy_plot import draw_clocks, draw_estimates

    given = sys.argv[1:] if arguments is None else list(arguments)
    page = Path(given[0]) if given else PAGE
    atomic.write_text(page, fill(page.read_text(encoding="utf-8"), parts()))
    for target, name in FIGURES.items():
        draw_estimates(held_out_points(target), page.parent / name, LABELS[target])
    label = "routed clock, MHz (LFE5U-25F speed 6, median of the seeds)"
    draw_clocks(clocks(committed()), page.parent / CLOCKS, label)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
