# SPDX-License-Identifier: Apache-2.0
"""How points of a run are shown on a terminal: one name, one line, one table everywhere."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import click

from hwquant.progress import note

if TYPE_CHECKING:
    from costmodel.explore.store import Row
    from costmodel.explore.take import Taken
    from costmodel.report.front import Front

__all__ = ["line_of", "list_failures", "name_of", "print_table", "proof_of", "varied"]

UNSAID: Final = {"seed": 0, "style": "plain"}  # what a point has that says nothing of it
WIDEST = 40  # of a cell in a table; layers of a mixed network say more


def list_failures(failed: list[Row], logs: Any) -> None:
    """Name every failed point and its reason, and where the tracebacks are."""
    from costmodel.explore.space import label

    for row in failed:
        note(f"failed: {label(row.point)}: {row.error}")
    if failed:
        note(f"details in {logs / 'failures.log'}; the same command tries these points again")


def name_of(front: Front) -> str:
    """Return the short name of a front's chosen point."""
    from costmodel.explore.space import label

    return label(front.choice.point)


def varied(front: Front) -> list[str]:
    """Return the coordinates, beside formats and steps, in which points of a front differ."""
    points = [front.rows[index].point for index in front.order]
    names = dict.fromkeys(name for point in points for name in point)
    values = {name: {str(point.get(name, "")) for point in points} for name in names}
    return [
        name
        for name, said in values.items()
        if name not in ("weight", "act", "steps")
        and len(said) > 1
        and max(map(len, said)) <= WIDEST
    ]


def line_of(front: Front, index: int, names: Iterable[str] = ()) -> dict[str, Any]:
    """Return one point of a front as a flat record, with the coordinates ``names``."""
    from costmodel.explore.space import label

    row = front.rows[index]
    extra = ("weight_bits", "acc_bits")
    return (
        {"point": label(row.point)}
        | {front.x_axis.name: row.metrics[front.x_axis.name]}
        | {front.y_axis.name: row.metrics[front.y_axis.name]}
        | {name: row.metrics[name] for name in extra if name in row.metrics}
        | {name: row.point.get(name, UNSAID.get(name, "")) for name in names}
        | {"steps": row.point["steps"], "key": row.key}
    )


def print_table(lines: list[dict[str, Any]], columns: list[str]) -> None:
    """Print aligned columns: text left, numbers right."""
    texts = [columns, *([_text(line[column]) for column in columns] for line in lines)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(columns))]
    for number, row in enumerate(texts):
        cells = (
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        mark = "" if number == 0 else lines[number - 1].get("mark", "")
        click.echo(f"{'  '.join(cells)}  {mark}".rstrip())


def _text(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def proof_of(taken: Taken) -> str:
    """Say what was compared when a point was taken, and how many differences there were."""
    check, proof = taken.check, taken.verification
    return (
        f"QONNX check     {check['codes_compared']:,} codes and accumulators, "
        f"{check['differences']} differences\n"
        f"RTL proof       {proof['kernels']} kernels, {proof['product_checks']:,} products, "
        f"{proof['mac_steps']:,} steps in Verilator, {proof['mismatches']} mismatches"
    )
