# SPDX-License-Identifier: Apache-2.0
"""From the rows of a run to its figure and its page."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.explore import pareto
from costmodel.explore.choice import choose
from costmodel.explore.folder import RunFolder
from costmodel.explore.hypervolume import hypervolume
from costmodel.explore.space import Space, coordinates, label
from costmodel.explore.store import Row, Status, column, numeric_columns, table
from costmodel.explore.take import Taken
from costmodel.report import page, plots
from hwquant import atomic
from hwquant.errors import InputError

__all__ = ["Front", "draw_front", "find_front", "write_page"]

# What the page's table leaves out: the same for every point, or told elsewhere.
QUIET_COLUMNS = ("flow", "style", "source", "folding", "lanes", "float_top1", "macs", "key")


@dataclass(frozen=True)
class Front:
    """The finished rows of a run, which of them are on the front, and the one that was picked.

    ``rows`` have both metrics; ``mask`` marks the front; ``chosen`` is an index into ``rows``.
    """

    rows: tuple[Row, ...]
    x_axis: plots.Axis
    y_axis: plots.Axis
    x: tuple[float, ...]
    y: tuple[float, ...]
    mask: tuple[bool, ...]
    chosen: int

    @property
    def choice(self) -> Row:
        """The picked row."""
        return self.rows[self.chosen]

    @property
    def order(self) -> list[int]:
        """The front's indices, from the best x on."""
        sign = -1 if self.x_axis.sense is pareto.Sense.MAX else 1
        return sorted((i for i, on in enumerate(self.mask) if on), key=lambda i: sign * self.x[i])

    @property
    def hypervolume(self) -> float:
        """The area the front dominates, in the unit square spanned by all finished points."""
        values = np.column_stack([self.x, self.y])
        low, span = values.min(axis=0), np.ptp(values, axis=0)
        unit = (values - low) / np.where(span > 0, span, 1)
        senses = (self.x_axis.sense, self.y_axis.sense)
        worst = [1.0 if sense is pareto.Sense.MIN else 0.0 for sense in senses]
        return hypervolume(unit, worst, senses)


def find_front(given: Sequence[Row], x: plots.Axis, y: plots.Axis, rule: str = "knee") -> Front:
    """Return the front of the finished rows in metrics ``x`` and ``y``, and the row ``rule`` picks.

    Raises `InputError` for an unknown metric or rule, or when no point is finished.
    """
    finished = [row for row in given if row.status is Status.DONE]
    if not finished:
        raise InputError("no point of this run is finished; run the same sweep again to resume it")
    xs, ys = column(finished, x.name), column(finished, y.name)
    known = [i for i in range(len(finished)) if math.isfinite(xs[i]) and math.isfinite(ys[i])]
    if not known:
        raise InputError(f"no point has both {x.name} and {y.name}; run the same sweep again")
    values = np.array([[xs[i], ys[i]] for i in known])
    senses = (x.sense, y.sense)
    rows = [finished[i] for i in known]
    metrics = {name: column(rows, name) for name in numeric_columns(rows)}
    return Front(
        tuple(rows),
        x,
        y,
        tuple(values[:, 0].tolist()),
        tuple(values[:, 1].tolist()),
        tuple(pareto.front(values, senses).tolist()),
        choose(metrics, rule, x.name, y.name, senses),
    )


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


def _commands(folder: RunFolder, space: Space, front: Front, taken: Taken | None) -> list[Any]:
    root = shlex.quote(folder.root.name)
    quantize = ["hwquant", "quantize", space.model]
    quantize += ["--data", space.data] if space.data else []
    quantize += ["--recipe", f"{folder.root.name}/{folder.recipe.name}", "-o", "model.onnx"]
    first = front.choice.layers[0]
    spec = ["--weight", first["weight"], "--act", first["act"], "--lanes", str(first["lanes"])]
    spec += ["--length", str(first["length"]), "--acc", str(first["acc_bits"])]
    x, y = front.x_axis.name, front.y_axis.name
    found = [
        ("Quantize and export the chosen point again", shlex.join(quantize)),
        (
            f"Generate the kernel of its first layer, {first['name']}",
            shlex.join(["hwquant", "rtl", *spec, "-o", "kernel"]),
        ),
        ("Pick another point of the front", f"hwquant pareto {root} --x {x} --y {y} --pick best"),
    ]
    if taken is not None:
        kernel = shlex.quote(f"{folder.root.name}/rtl/{taken.kernels[0]}")
        found.append(("Verify a kernel on disk bit for bit", f"hwquant verify {kernel}"))
    return found


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


def write_page(
    folder: RunFolder,
    space: Space,
    rows: Sequence[Row],
    front: Front,
    taken: Taken | None = None,
) -> None:
    """Write the figures and ``report.html`` of a run, and the recipe of the chosen point."""
    for recipe in space.points():
        if coordinates(recipe) == front.choice.point:
            atomic.write_text(folder.recipe, recipe.to_toml())
    draw_front(front, space, folder.figure(".png"), folder.figure(".svg"))
    on_front = {row.key for row, on in zip(front.rows, front.mask, strict=True) if on}
    marks = [
        "chosen" if row.key == front.choice.key else "front" if row.key in on_front else ""
        for row in rows
    ]
    records = [
        {name: value for name, value in record.items() if name not in QUIET_COLUMNS}
        for record in table(rows)
    ]
    environment: Mapping[str, Any] = json.loads(folder.environment.read_text())
    flat = {k: v for k, v in environment.items() if k != "packages"} | environment["packages"]
    page.write(
        page.Page(
            title=f"hwquant: {space.model}",
            lead=f"{len(rows)} points; {front.y_axis.label} against {front.x_axis.label}.",
            figure_svg=folder.figure(".svg").read_text(),
            facts=_facts(front, space, rows, taken),
            rows=records,
            marks=marks,
            layers=front.choice.layers,
            commands=_commands(folder, space, front, taken),
            environment=flat,
        ),
        folder.report,
    )
