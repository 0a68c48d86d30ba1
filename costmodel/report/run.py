# SPDX-License-Identifier: Apache-2.0
"""From the rows of a run, or of two, to its figure and its page."""

from __future__ import annotations

import json
import shlex
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from costmodel.explore.folder import RunFolder
from costmodel.explore.row import Row, Status
from costmodel.explore.rows import numeric_columns
from costmodel.explore.space import Space
from costmodel.explore.take import Taken, recipe_in
from costmodel.report import page, plots
from costmodel.report.compare import Other, Table, compared
from costmodel.report.details import read_details
from costmodel.report.front import Front, find_front, growth
from costmodel.report.records import LEVEL, family_of, name_of, records_of
from hwquant import atomic

__all__ = ["COMMANDS", "QUIET", "Other", "draw_front", "flow_of", "write_page"]

QUIET: Final = (
    "flow", "style", "source", "folding", "lanes", "float_top1", "macs", "key", "family", "label",
    "test_items", "run", "interval_level",
)  # fmt: skip
"""What the page's table leaves out: the same for every point, or told elsewhere."""

COMMANDS: Final = (
    (
        "Everything in one folder: QONNX, RTL, weight memories, cost, proof",
        "hwquant take {run} --pick key:{key} -o hardware_{key}",
    ),
    (
        "Check that folder again, bit for bit",
        "hwquant take --check hardware_{key} && hwquant verify hardware_{key}/rtl",
    ),
    (
        "Price it for another folding or part",
        "hwquant cost hardware_{key}/model.onnx --fps 1000 --json",
    ),
    (
        "Histograms and sensitivity of this point, on this page",
        "hwquant report {run} --pick key:{key}",
    ),
)
"""What can be done with a point, from the folder above the run's."""


def flow_of(rows: Iterable[Row]) -> str:
    """Return which flow priced the rows: every figure is shown with it."""
    return "; ".join(sorted({str(row.metrics["flow"]) for row in rows if "flow" in row.metrics}))


def folding_of(space: Space) -> str:
    """Return what the network total counts, in words."""
    lanes = "1 lane" if space.lanes == 1 else f"{space.lanes} lanes"
    return f"folding {space.folding}, {lanes} a kernel"


def draw_front(front: Front, space: Space, *paths: Any, size: str = plots.SIZE) -> None:
    """Draw the figure of a front; the suffix of each path names the format, ``size`` its size."""
    rows = list(front.rows)
    baseline = rows[0].metrics.get("float_top1") if front.y_axis.name == "top1" else None
    figure = plots.Figure(
        front.x,
        front.y,
        [family_of(row) for row in rows],
        [name_of(row) for row in rows],
        front.x_axis,
        front.y_axis,
        f"{space.model}; {folding_of(space)}. {flow_of(rows)}.",
        front.chosen,
        baseline,
        size,
    )
    plots.draw(figure, *paths)


def _facts(front: Front, space: Space, rows: Sequence[Row], taken: Taken | None) -> dict[str, Any]:
    metrics = front.choice.metrics
    failed = sum(row.status is Status.FAILED for row in rows)
    facts: dict[str, Any] = {
        "Chosen point": f"{name_of(front.choice)} ({front.choice.point.get('steps', '')})"
    }
    if "top1" in metrics:
        facts["Top-1 accuracy"] = f"{metrics['top1']:.2%}" + (
            f" (float {metrics['float_top1']:.2%})" if "float_top1" in metrics else ""
        )
    if {"lut_sites", "ff", "dsp"} <= metrics.keys():
        facts["Logic"] = (
            f"{metrics['lut_sites']:,} LUT6 sites, {metrics['ff']:,} flip-flops, "
            f"{metrics['dsp']} DSP; {folding_of(space)}"
        )
    if {"weight_bits", "memory_luts", "memory_bram18"} <= metrics.keys():
        facts["Weight memory"] = (
            f"{metrics['weight_bits']:,} bit: {metrics['memory_luts']:,} LUTs and "
            f"{metrics['memory_bram18']} block RAMs of 18 kbit"
        )
    if "acc_bits" in metrics:
        facts["Widest accumulator"] = f"{metrics['acc_bits']} bit, certified from the weights"
    facts["Front"] = (
        f"{sum(front.mask)} of {len(front.rows)} finished points, "
        f"normalised hypervolume {front.hypervolume:.3f}"
    )
    facts["Priced by"] = flow_of(rows)
    if failed:
        facts["Failed points"] = f"{failed}, with the reason in the table"
    return facts | ({} if taken is None else _proof(taken))


def _proof(taken: Taken) -> dict[str, Any]:
    check, proof = taken.check, taken.verification
    covered = proof["coverage"]
    missed = "".join(f"; {name} missed {', '.join(b)}" for name, b in covered["missed"].items())
    return {
        "QONNX check": f"{check['codes_compared']:,} codes and accumulators in {check['layers']} "
        f"layers, {check['differences']} differences",
        "RTL proof": f"{proof['kernels']} kernels, {proof['product_checks']:,} products and "
        f"{proof['mac_steps']:,} accumulator steps in Verilator, "
        f"{proof['mismatches']} mismatches",
        "RTL proof covers": f"{covered['bins_hit']} of {covered['bins_possible']} bins of "
        f"functional coverage{missed}",
    }


def _cards(front: Front, rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Return the figures at the top of the page: title, value, what it is."""
    metrics, axes = front.choice.metrics, (front.x_axis, front.y_axis)
    waiting = sum(row.status in (Status.WAITING, Status.MEASURED) for row in rows)
    pruned = sum(row.status is Status.PRUNED for row in rows)
    failed = sum(row.status is Status.FAILED for row in rows)
    state = f"of {len(rows)}" + (f", {waiting} to do" if waiting else "")
    state += f", {failed} failed" if failed else ""
    state += f", {pruned} beyond the limits" if pruned else ""
    cards = [
        ("Points finished", f"{len(front.rows):,}", state),
        ("On the front", f"{sum(front.mask)}", f"hypervolume {front.hypervolume:.3f}"),
        ("Picked", name_of(front.choice), str(front.choice.point.get("steps", ""))),
    ]  # fmt: skip
    for axis in axes:
        value = metrics[axis.name] * axis.factor
        name, _, unit = axis.label.rstrip("]").partition(" [")
        shown = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.5g}"
        shown, about = (f"{shown} %", "") if unit == "%" else (shown, unit)
        if axis.name == "top1" and "float_top1" in metrics:
            about = f"float {metrics['float_top1']:.2%}"
        cards.append((name, shown, about))
    return cards


def _axes(rows: Sequence[Row], front: Front) -> list[plots.Axis]:
    """Return the figure's two axes and every other metric that is a number."""
    names = {n for n in numeric_columns(rows) if not n.endswith(("_low", "_high"))}
    known = [axis for axis in plots.KNOWN if axis.name in names]
    mine = [front.x_axis, front.y_axis]
    rest = sorted(names - {axis.name for axis in known})
    every = [*mine, *known, *(plots.axis(name) for name in rest)]
    return list({axis.name: axis for axis in reversed(every)}.values())[::-1]


def write_page(
    folder: RunFolder,
    space: Space,
    rows: Sequence[Row],
    front: Front,
    taken: Taken | None = None,
    *,
    other: Other | None = None,
    refresh: int = 0,
    output: str | Path | None = None,
) -> None:
    """Write the figures and the page of a run, and the recipe of the chosen point.

    ``other`` is a run to compare with.  ``refresh`` makes the page load itself again after so many
    seconds, while the run goes on; then, and with another ``output``, the page alone is written.

    Raises `InputError` where the other run has nothing to compare.
    """
    rows = list(rows)  # a page shows all of them
    if not refresh and (output is None or Path(output) == folder.report):
        recipe = recipe_in(space, front.choice)
        if recipe is not None:
            atomic.write_text(folder.recipe, recipe.to_toml())
        draw_front(front, space, folder.figure(".png"), folder.figure(".svg"))
        drawing = folder.figure(".svg").read_text()
    else:
        drawing = _svg(front, space)
    environment: Mapping[str, Any] = json.loads(folder.environment.read_text())
    flat = {k: v for k, v in environment.items() if k != "packages"} | environment["packages"]
    name = folder.root.resolve().name
    every, records = rows[:], records_of(rows, name if other else "", space)
    tables: list[Table] = []
    history = [(name, growth(front))]
    if other is not None:
        tables = compared(front, folder, other)
        theirs = list(other.rows)
        every += theirs
        records += records_of(theirs, other.name)
        history.append((other.name, growth(find_front(theirs, front.x_axis, front.y_axis))))
    places = {row.key: i for i, row in enumerate(rows)}
    likely = [front.choice.key, *(front.rows[i].key for i in front.order), *places]
    details = read_details(folder, likely)
    page.write(
        page.Page(
            title=f"hwquant: {space.model}",
            lead=f"{len(rows)} points; {front.y_axis.label} against {front.x_axis.label}."
            + (f" Compared with {other.name}: {len(other.rows)} points." if other else ""),
            figure_svg=drawing,
            facts=_facts(front, space, rows, taken),
            cards=_cards(front, rows),
            rows=records,
            tables=[row.layers for row in every],
            axes=_axes(every, front),
            x=front.x_axis.name,
            y=front.y_axis.name,
            chosen=places[front.choice.key],
            run=shlex.quote(name if folder.root.is_absolute() else str(folder.root)),
            quiet=QUIET,
            commands=COMMANDS,
            environment=flat,
            history=history,
            extra=tables,
            details={places[key]: record for key, record in details.items() if key in places},
            level=LEVEL,
            refresh=refresh,
        ),
        folder.report if output is None else output,
    )


def _svg(front: Front, space: Space) -> str:
    """Return the figure of a front as SVG text, without touching the run's own."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "front.svg"
        draw_front(front, space, path)
        return path.read_text()
