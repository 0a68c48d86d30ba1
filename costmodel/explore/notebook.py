# SPDX-License-Identifier: Apache-2.0
"""A run as a notebook shows it: the front as an inline drawing and a short table."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from costmodel.explore.row import Row
from costmodel.explore.rows import column
from costmodel.explore.space import label

__all__ = ["X", "Y", "html_of"]

X, Y = "lut_sites", "top1"
LINES = 10
DOTS = 2000
WIDTH, HEIGHT, EDGE = 420, 240, 34
COLUMNS = (X, Y, "weight_bits", "acc_bits")


def html_of(name: str, done: Sequence[Row], front: Sequence[Row], others: str) -> str:
    """Return HTML without scripts or references: the front of the run ``name`` drawn and listed.

    ``others`` says in words what became of the points that are not ``done``.
    """
    total = f"{len(done)} points of {name} done{others}"
    parts = [f"<p>{escape(total)}</p>"]
    if len(done):
        parts += [_drawing(done, front), _table(front)]
    return f"<div>{''.join(parts)}</div>"


def _table(front: Sequence[Row]) -> str:
    rows = [row for row, _ in zip(front, range(LINES), strict=False)]
    head = "".join(f"<th>{name}</th>" for name in ("point", *COLUMNS))
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(text)}</td>"
            for text in (label(row.point), *(_text(row.metrics.get(name)) for name in COLUMNS))
        )
        + "</tr>"
        for row in rows
    )
    more = len(front) - len(rows)
    tail = f"<p>and {more} more on the front</p>" if more else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{tail}"


def _text(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _drawing(done: Sequence[Row], front: Sequence[Row]) -> str:
    """Return an SVG of all points (thinned to `DOTS`) and the front as a staircase."""
    everything = np.array([column(done, X), column(done, Y)])
    everything = everything[:, np.isfinite(everything).all(axis=0)]
    low, span = everything.min(axis=1), np.ptp(everything, axis=1)

    def place(x: Any, y: Any) -> tuple[Any, Any]:
        unit = [(v - a) / (s or 1) for v, a, s in zip((x, y), low, span, strict=True)]
        return EDGE + unit[0] * (WIDTH - 2 * EDGE), HEIGHT - EDGE - unit[1] * (HEIGHT - 2 * EDGE)

    step = -(-everything.shape[1] // DOTS)
    dots = "".join(
        f"M{x:.1f} {y:.1f}h0" for x, y in zip(*place(*everything[:, ::step]), strict=True)
    )
    stairs = np.array(place(np.array(column(front, X)), np.array(column(front, Y)))).T
    path = f"M{stairs[0, 0]:.1f} {stairs[0, 1]:.1f}"
    path += "".join(f"H{x:.1f}V{y:.1f}" for x, y in stairs[1:])
    start, end = low, low + span
    texts = (
        (EDGE, HEIGHT - 14, "start", f"{start[0]:g}"),
        (WIDTH - EDGE, HEIGHT - 14, "end", f"{end[0]:g} {X}"),
        (4, EDGE - 8, "start", f"{Y} {end[1]:.4g}"),
        (4, HEIGHT - EDGE, "start", f"{start[1]:.3g}"),
    )
    words = "".join(
        f'<text x="{x}" y="{y}" text-anchor="{a}" fill="currentColor">{escape(t)}</text>'
        for x, y, a, t in texts
    )
    return (
        f'<svg role="img" aria-label="Pareto front of {Y} against {X}" width="{WIDTH}" '
        f'height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" font-size="11" '
        'font-family="sans-serif">'
        f'<path d="{dots}" stroke="#888" stroke-width="4" stroke-linecap="round"/>'
        f'<path d="{path}" stroke="#0072b2" stroke-width="2" fill="none"/>{words}</svg>'
    )
