# SPDX-License-Identifier: Apache-2.0
"""From the rows of a run, or of two, to its figure and its page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Final

from costmodel.explore.certainty import accuracy_interval
from costmodel.explore.folder import RunFolder
from costmodel.explore.row import Row, Status
from costmodel.explore.rows import numeric_columns
from costmodel.explore.space import Space, coordinates, label
from costmodel.explore.table import table
from costmodel.explore.take import Taken
from costmodel.report import page, plots
from costmodel.report.front import Front, growth
from hwquant import atomic

__all__ = ["draw_front", "flow_of", "write_page"]

QUIET: Final = (
    "flow", "style", "source", "folding", "lanes", "float_top1", "macs", "key", "family", "label",
    "test_items", "run",
)  # fmt: skip
"""What the page's table leaves out: the same for every point, or told elsewhere."""
LEVEL: Final = 0.9


def flow_of(rows: Sequence[Row]) -> str:
    """Return which flow priced the rows: every figure is shown with it."""
    return "; ".join(sorted({str(row.metrics["flow"]) for row in rows if "flow" in row.metrics}))


def folding_of(space: Space) -> str:
    """Return what the network total counts, in words."""
    return f"folding {space.folding}, {space.lanes} lanes a kernel"


def draw_front(front: Front, space: Space, *paths: Any) -> None:
    """Draw the figure of a front; the suffix of each path names the format."""
    floats = [row.metrics.get("float_top1") for row in front.rows]
    baseline = floats[0] if front.y_axis.name == "top1" else None
    records = [row.point for row in front.rows]
    figure = plots.Figure(
        front.x,
        front.y,
        [record["weight"] for record in records],
        [label(record) for record in records],
        front.x_axis,
        front.y_axis,
        f"{space.model}; {folding_of(space)}. {flow_of(front.rows)}.",
        front.chosen,
        baseline,
    )
    plots.draw(figure, *paths)


COMMANDS: Final = (
    (
        "Export this point as QONNX, generate its kernels, verify them bit for bit",
        "hwquant pareto {run} --pick key:{key} --take",
    ),
    (
        "Check the exported network against exact integers",
        "hwquant export {run}/model.onnx --check",
    ),
    ("Price it again, layer by layer", "hwquant cost {run}/model.onnx --json"),
)
"""What can be done with a point."""


def _facts(front: Front, space: Space, rows: Sequence[Row], taken: Taken | None) -> dict[str, Any]:
    metrics = front.choice.metrics
    failed = sum(row.status is Status.FAILED for row in rows)
    facts: dict[str, Any] = {
        "Chosen point": f"{label(front.choice.point)} ({front.choice.point['steps']})",
        "Top-1 accuracy": f"{metrics['top1']:.2%} (float {metrics['float_top1']:.2%})",
        "Logic": f"{metrics['lut_sites']:,} LUT6 sites, {metrics['ff']:,} flip-flops, "
        f"{metrics['dsp']} DSP; {folding_of(space)}",
        "Weight memory": f"{metrics['weight_bits']:,} bit: {metrics['memory_luts']:,} LUTs and "
        f"{metrics['memory_bram18']} block RAMs of 18 kbit",
        "Widest accumulator": f"{metrics['acc_bits']} bit, certified from the weights",
        "Front": f"{sum(front.mask)} of {len(front.rows)} finished points, "
        f"normalised hypervolume {front.hypervolume:.3f}",
        "Priced by": flow_of(rows),
    }
    if failed:
        facts["Failed points"] = f"{failed}, with the reason in the table"
    if taken is not None:
        check, proof = taken.check, taken.verification
        facts["QONNX check"] = (
            f"{check['codes_compared']:,} codes and accumulators in {check['layers']} layers, "
            f"{check['differences']} differences"
        )
        facts["RTL proof"] = (
            f"{proof['kernels']} kernels, {proof['product_checks']:,} products and "
            f"{proof['mac_steps']:,} accumulator steps in Verilator, "
            f"{proof['mismatches']} mismatches"
        )
        covered = proof["coverage"]
        facts["RTL proof covers"] = (
            f"{covered['bins_hit']} of {covered['bins_possible']} bins of functional coverage"
        ) + "".join(f"; {label} missed {', '.join(b)}" for label, b in covered["missed"].items())
    return facts


def records_of(rows: Sequence[Row], run: str = "") -> list[dict[str, Any]]:
    """Return flat records for the page: table, label, family, and intervals where there are any."""
    found = []
    for row, record in zip(rows, table(rows), strict=True):
        full = {"label": label(row.point)} | record
        full["key"] = row.key[:12]
        full["family"] = plots.family(str(row.point["weight"]))
        items, share = row.metrics.get("test_items"), row.metrics.get("top1")
        if items and share is not None:
            low, high = accuracy_interval(share, int(items), LEVEL)
            full |= {"top1_low": float(low), "top1_high": float(high)}
        found.append(full | ({"run": run} if run else {}))
    return found


def _axes(rows: Sequence[Row], front: Front) -> list[plots.Axis]:
    """Return the figure's two axes and every other metric that is a number."""
    names = numeric_columns(rows)
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
    other: tuple[str, Sequence[Row]] | None = None,
    refresh: int = 0,
) -> None:
    """Write the figures and ``report.html`` of a run, and the recipe of the chosen point.

    ``other`` is the name and the rows of a run to compare with; ``refresh`` makes the page load
    itself again after so many seconds, while the run goes on.
    """
    rows = list(rows)  # a page shows all of them
    for recipe in space.points():
        if coordinates(recipe) == front.choice.point:
            atomic.write_text(folder.recipe, recipe.to_toml())
    draw_front(front, space, folder.figure(".png"), folder.figure(".svg"))
    environment: Mapping[str, Any] = json.loads(folder.environment.read_text())
    flat = {k: v for k, v in environment.items() if k != "packages"} | environment["packages"]
    name = folder.root.name
    every, records = rows[:], records_of(rows, name if other else "")
    if other is not None:
        every += other[1]
        records += records_of(other[1], other[0])
    chosen = next(i for i, row in enumerate(rows) if row.key == front.choice.key)
    page.write(
        page.Page(
            title=f"hwquant: {space.model}",
            lead=f"{len(rows)} points; {front.y_axis.label} against {front.x_axis.label}."
            + (f" Compared with {other[0]}: {len(other[1])} points." if other else ""),
            figure_svg=folder.figure(".svg").read_text(),
            facts=_facts(front, space, rows, taken),
            rows=records,
            tables=[row.layers for row in every],
            axes=_axes(every, front),
            x=front.x_axis.name,
            y=front.y_axis.name,
            chosen=chosen,
            run=shlex.quote(name),
            quiet=QUIET,
            commands=COMMANDS,
            environment=flat,
            history=growth(front),
            refresh=refresh,
        ),
        folder.report,
    )
