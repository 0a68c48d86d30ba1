# SPDX-License-Identifier: Apache-2.0
"""The figures of the accuracy page: estimates against synthesis, and clocks on the ECP5.

Families of formats have the markers and colours of the Pareto figures (Okabe-Ito palette).
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwquant import atomic

from .intervals.features import family as style_family
from .intervals.points import Points
from .report.plots import STYLE, family

__all__ = ["draw_clocks", "draw_estimates", "save_png"]

PANELS: Final = ("plain", "portable", "row", "tree", "bucket", "codebook", "dsp")
TITLES: Final = {
    "portable": "portable twins",
    "row": "table, booth, shift",
    "codebook": "digit, decode, rom",
    "dsp": "dsp, dsp_acc",
}
SETTINGS: Final = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 130,
}


def save_png(drawing: Any, path: Path) -> None:
    """Write a PNG with a palette of 64 colours, a third of the size; the same bytes every time."""
    from PIL import Image

    raw = io.BytesIO()
    drawing.savefig(raw, format="png", metadata={"Software": None}, bbox_inches="tight")
    packed = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(64).save(packed, "png", optimize=True)
    atomic.write_bytes(path, packed.getvalue())


def _drawing(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(width, height))
    FigureCanvasAgg(drawing)
    return drawing


def draw_estimates(points: Points, path: Path, label: str) -> None:
    """Draw held-out estimates over synthesized counts: a panel for each family of styles.

    Families of formats are told by marker and colour (of a mixed pair: the weight's).  Below each
    panel is the error, with 5 % marked.  ``label`` names the count.  The same points give
    the same bytes.
    """
    import matplotlib as mpl

    of = np.array([style_family(style) for style in points.styles])
    formats = np.array([family(str(spec.weight)) for spec in points.specs])
    shown = [name for name in PANELS if (of == name).any()]
    with mpl.rc_context(SETTINGS):
        columns = 4
        rows = -(-(len(shown) + 1) // columns)
        drawing = _drawing(2.25 * columns, 2.9 * rows)
        panels = [(row, column) for row in range(rows) for column in range(columns)]
        grid = drawing.add_gridspec(rows, columns)
        for panel, name in zip(panels, shown, strict=False):
            own = of == name
            inner = grid[panel].subgridspec(2, 1, height_ratios=(3, 1), hspace=0.12)
            axes = drawing.add_subplot(inner[0])
            _panel(axes, points.counts[own], points.estimates[own], formats[own])
            axes.set_title(f"{TITLES.get(name, name)} ({int(own.sum())})", fontsize=8)
            below = drawing.add_subplot(inner[1], sharex=axes)
            _errors(below, points.counts[own], points.estimates[own], formats[own])
            below.set_ylabel("error, %" if panel[1] == 0 else "", fontsize=7.5)
        empty = drawing.add_subplot(grid[panels[len(shown)]])
        empty.axis("off")
        handles = [
            mpl.lines.Line2D(
                [], [], marker=marker, color=colour, linestyle="", markersize=4, label=name
            )
            for name, (marker, colour) in STYLE.items()
            if (formats == name).any()
        ]
        empty.legend(handles=handles, loc="center left", frameon=False, title="weight format")
        drawing.supxlabel(f"{label}, synthesized", fontsize=8.5)
        drawing.supylabel(f"{label}, estimated without the formats", fontsize=8.5)
        drawing.subplots_adjust(wspace=0.34, hspace=0.32, left=0.09, bottom=0.16 / rows)
        save_png(drawing, path)


def _marks(axes: Any, x: Any, y: Any, formats: Any) -> None:
    for name, (marker, colour) in STYLE.items():
        mine = formats == name
        shape: dict[str, Any] = {"marker": marker, "s": 12, "linewidths": 0.6, "zorder": 3}
        axes.scatter(x[mine], y[mine], facecolors="none", edgecolors=colour, **shape)


def _panel(axes: Any, x: Any, y: Any, formats: Any) -> None:
    from matplotlib import ticker

    low, high = max(min(x.min(), y.min()) * 0.7, 0.6), max(x.max(), y.max()) * 1.4
    axes.plot([low, high], [low, high], color="#999999", linewidth=0.7, zorder=2)
    _marks(axes, x, np.maximum(y, low), formats)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0) if high > 30 * low else (1, 2, 5)))
        axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
        axis.set_minor_formatter(ticker.NullFormatter())
    axes.tick_params(labelbottom=False)


def _errors(axes: Any, x: Any, y: Any, formats: Any) -> None:
    errors = 100 * (y - x) / np.maximum(x, 1.0)
    axes.axhspan(-5, 5, color="#E6E6E6", linewidth=0, zorder=1)
    _marks(axes, x, errors, formats)
    reach = max(8.0, float(np.abs(errors).max()) * 1.15)
    axes.set_ylim(-reach, reach)


def draw_clocks(clocks: Mapping[str, Sequence[float]], path: Path, label: str) -> None:
    """Draw routed clocks in MHz: a row for each style, a mark for each kernel, a bar at the median.

    The same clocks give the same bytes.
    """
    import matplotlib as mpl

    names = list(clocks)
    with mpl.rc_context(SETTINGS):
        drawing = _drawing(6.4, 0.9 + 0.3 * len(names))
        axes = drawing.add_subplot()
        for row, name in enumerate(names):
            values = np.asarray(clocks[name], float)
            axes.plot(values, np.full(len(values), row), "o", markersize=3.5, alpha=0.55,
                      color="#0072B2", markeredgewidth=0)  # fmt: skip
            axes.plot([np.median(values)] * 2, [row - 0.32, row + 0.32], color="#D55E00")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.set_xlim(left=0)
        axes.grid(visible=True, axis="x", color="#E6E6E6", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.set_xlabel(label)
        drawing.tight_layout()
        save_png(drawing, path)
