# SPDX-License-Identifier: Apache-2.0
"""A run as a notebook shows it: the front as an inline drawing and a short table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from costmodel.explore.rows import column
from costmodel.explore.space import label

if TYPE_CHECKING:
    from costmodel.explore.results import Results

__all__ = ["html_of"]

X, Y = "lut_sites", "top1"
LINES = 10
DOTS = 2000
WIDTH, HEIGHT, EDGE = 420, 240, 34
COLUMNS = (X, Y, "weight_bits", "acc_bits")


def html_of(results: Results) -> str:
    """Return HTML without scripts or references: what there is, the front drawn and listed."""
    done, failed = results.done, len(results.failed)
    head = f"{len(results)} points of {results.folder.root}: {len(done)} done, {failed} failed"
    parts = [f"<p>{escape(head)}</p>"]
    if len(done):
        front = done.front(X, Y)
        parts += [_drawing(done, front), _table(front)]
    return f"<div>{''.join(parts)}</div>"


def _table(front: Results) -> str:
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


def _drawing(done: Results, front: Results) -> str:
    """Return an SVG of all points (thinned to `DOTS`) and the front as a staircase."""
    everything = np.array([column(done.rows, X), column(done.rows, Y)])
    everything = everything[:, np.isfinite(everything).all(axis=0)]
    low, span = everything.min(axis=1), np.ptp(everything, axis=1)

    def place(x: Any, y: Any) -> tuple[Any, Any]:
        unit = [(v - a) / (s or 1) for v, a, s in zip((x, y), low, span, strict=True)]
        return EDGE + unit[0] * (WIDTH - 2 * EDGE), HEIGHT - EDGE - unit[1] * (HEIGHT - 2 * EDGE)

    step = -(-everything.shape[1] // DOTS)
    dots = "".join(
        f"M{x:.1f} {y:.1f}h0" for x, y in zip(*place(*everything[:, ::step]), strict=True)
    )
    stairs = np.array(place(np.array(column(front.rows, X)), np.array(column(front.rows, Y)))).T
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
