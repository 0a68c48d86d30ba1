# SPDX-License-Identifier: Apache-2.0
"""The Pareto figure of a run, as it would stand in a paper: PNG and SVG, without a display.

Families of formats differ by marker and by colour (the Okabe-Ito palette, safe for colour-blind
readers), so the figure also survives a grey print.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from costmodel.explore import pareto
from hwquant import atomic
from hwquant.block import BlockFormat, parse
from hwquant.errors import InputError
from hwquant.formats import Codebook, Integer

__all__ = ["KNOWN", "SIZE", "SIZES", "STYLE", "Axis", "Figure"]
__all__ += ["axis", "draw", "family", "inches"]

SUFFIXES = (".png", ".svg", ".pdf")
# family -> (marker, colour)
STYLE = {
    "integer": ("o", "#0072B2"),
    "minifloat E0-E1": ("v", "#56B4E9"),
    "minifloat E2": ("s", "#D55E00"),
    "minifloat E3": ("^", "#009E73"),
    "minifloat E4+": ("D", "#CC79A7"),
    "codebook": ("P", "#E69F00"),
    "block-scaled": ("X", "#666666"),
    "mixed": ("*", "#999933"),
}
SIZE: Final = "page"
SIZES: Final = {"page": (5.6, 3.7), "column": (3.45, 3.0), "wide": (7.1, 3.6), "slide": (10.0, 5.6)}
"""Inches: a web page, one column and the full width of a two-column paper, a slide."""
# Tried in turn, in points from the marker.
LABEL_OFFSETS = ((6, 5), (6, -11), (-6, 6), (-6, -12), (12, 14), (12, -20), (-12, 16), (-12, -22))
NEAR = 4  # offsets that need no line to the marker
MARKER_PIXELS = 7
LABELS = 30  # at most
RASTER = 2000  # of more points the dominated ones are an image inside a vector figure
LETTERS = 23  # of the caption, on an inch


@dataclass(frozen=True)
class Axis:
    """A metric as an axis: its name in the store, its label with unit, its direction, a factor."""

    name: str
    label: str
    sense: pareto.Sense = pareto.Sense.MIN
    factor: float = 1.0


@dataclass(frozen=True)
class Figure:
    """What is drawn: ``x`` and ``y`` of each point, its weight format or family, its label.

    ``caption`` says the flow; ``size`` is a name of `SIZES` or WIDTHxHEIGHT in inches.
    """

    x: Sequence[float]
    y: Sequence[float]
    formats: Sequence[str]
    labels: Sequence[str]
    x_axis: Axis
    y_axis: Axis
    caption: str = ""
    chosen: int | None = None
    baseline: float | None = None
    size: str = SIZE


KNOWN = (
    Axis("top1", "Top-1 accuracy [%]", pareto.Sense.MAX, 100.0),
    Axis("lut_sites", "Logic of the network [LUT6 sites]"),
    Axis("lut_raw", "Logic of the network [LUTs, unpacked]"),
    Axis("ff", "Flip-flops of the network [count]"),
    Axis("dsp", "DSP blocks of the network [count]"),
    Axis("carry", "Carry blocks of the network [count]"),
    Axis("weight_bits", "Weight memory [bit]"),
    Axis("acc_bits", "Widest accumulator [bit]"),
    Axis("cycles", "Time per inference [clock cycles]"),
)


def axis(name: str, sense: str = "") -> Axis:
    """Return the axis of a metric; ``sense`` ("min" or "max") overrides the usual direction."""
    known = {a.name: a for a in KNOWN}
    found = known.get(name, Axis(name, name.replace("_", " ")))
    if not sense:
        return found
    return Axis(found.name, found.label, pareto.Sense(sense), found.factor)


def family(format_name: str) -> str:
    """Return the family a format is drawn as.

    >>> family("uint4"), family("e2m1"), family("e5m2")
    ('integer', 'minifloat E2', 'minifloat E4+')
    """
    fmt = parse(format_name)
    if isinstance(fmt, BlockFormat):
        return "block-scaled"
    if isinstance(fmt, Integer):
        return "integer"
    if isinstance(fmt, Codebook):
        return "codebook"
    bits = fmt.exponent_bits
    return "minifloat E0-E1" if bits <= 1 else f"minifloat E{bits if bits < 4 else '4+'}"


def inches(size: str) -> tuple[float, float]:
    """Return width and height of a size: a name of `SIZES` or WIDTHxHEIGHT in inches.

    >>> inches("column"), inches("6x4")
    ((3.45, 3.0), (6.0, 4.0))

    Raises `InputError` for anything else.
    """
    if size in SIZES:
        return SIZES[size]
    width, _, height = size.partition("x")
    try:
        found = float(width), float(height)
    except ValueError:
        found = (0.0, 0.0)
    if not all(1 <= side <= 40 for side in found):
        raise InputError(
            f"figure size {size!r}, allowed: {', '.join(SIZES)}, "
            "or WIDTHxHEIGHT in inches (1 to 40)"
        )
    return found


def draw(figure: Figure, *paths: str | Path) -> None:
    """Draw ``figure`` to every path; the suffix (png, svg, pdf) names the format.

    The same figure gives the same bytes.  Raises `InputError` for another suffix.
    """
    for path in paths:
        if Path(path).suffix not in SUFFIXES:
            raise InputError(f"figure {path}: allowed suffixes are {', '.join(SUFFIXES)}")
    import matplotlib as mpl

    settings = {
        "font.size": 8.5 if inches(figure.size)[0] > 4 else 7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.fonttype": "path",  # outlines, so that no viewer needs the font
        "pdf.fonttype": 42,  # TrueType inside the file: what journals ask for
        "svg.hashsalt": "hwquant",
        "figure.dpi": 200,
    }
    with mpl.rc_context(settings):
        drawing = _drawing(figure)
        for path in paths:
            kind = Path(path).suffix[1:]
            undated = {
                "png": {"Software": None},
                "svg": {"Date": None},
                "pdf": {"CreationDate": None},
            }
            with atomic.atomic_file(path) as temporary:
                drawing.savefig(temporary, metadata=undated[kind])


def _drawing(figure: Figure) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawing

    x = np.asarray(figure.x, dtype=float) * figure.x_axis.factor
    y = np.asarray(figure.y, dtype=float) * figure.y_axis.factor
    senses = (figure.x_axis.sense, figure.y_axis.sense)
    on_front = pareto.front(np.column_stack([x, y]), senses)
    drawing = Drawing(figsize=inches(figure.size), layout="constrained")
    FigureCanvasAgg(drawing)
    axes = drawing.add_subplot()
    axes.grid(visible=True, color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    finite = x[np.isfinite(x) & (x > 0)]
    if finite.size and finite.max() > 20 * finite.min():
        axes.set_xscale("log")
    if figure.baseline is not None:
        level = figure.baseline * figure.y_axis.factor
        axes.axhline(level, color="#777777", linewidth=0.8, linestyle=(0, (4, 3)), label="float32")
    _front_line(axes, x[on_front], y[on_front], senses)
    _points(axes, x, y, figure.formats, on_front)
    if figure.chosen is not None:
        ring: dict[str, Any] = {
            "s": 90,
            "facecolors": "none",
            "edgecolors": "black",
            "linewidths": 1.1,
        }
        axes.scatter(x[figure.chosen], y[figure.chosen], **ring, zorder=4, label="chosen")
    axes.set_xlabel(figure.x_axis.label)
    axes.set_ylabel(figure.y_axis.label)
    if figure.caption:
        lines = textwrap.wrap(figure.caption, int(LETTERS * drawing.get_figwidth()))
        about: dict[str, Any] = {"fontsize": 6, "color": "#444444", "x": 0.02, "ha": "left"}
        drawing.supxlabel("\n".join(lines), **about)
    axes.margins(0.06, 0.1)
    width = drawing.get_figwidth()
    keys: dict[str, Any] = {"frameon": False, "handletextpad": 0.4, "columnspacing": 1.2}
    drawing.legend(
        loc="outside upper center", ncols=max(int(width * 0.9), 2), fontsize="small", **keys
    )
    _labels(axes, x, y, figure.labels, np.flatnonzero(on_front))
    return drawing


def _front_line(axes: Any, x: Any, y: Any, senses: tuple[pareto.Sense, pareto.Sense]) -> None:
    """Draw the boundary of what is dominated: horizontal from a point to the next worse x."""
    order = np.argsort(x)
    if senses[0] is pareto.Sense.MAX:
        order = order[::-1]
    line: dict[str, Any] = {
        "color": "#333333",
        "linewidth": 1.1,
        "zorder": 2,
        "label": "Pareto front",
    }
    axes.step(x[order], y[order], where="post", **line)


def _points(axes: Any, x: Any, y: Any, formats: Sequence[str], on_front: Any) -> None:
    families = np.array([name if name in STYLE else family(name) for name in formats])
    for name, (marker, colour) in STYLE.items():
        mine = families == name
        if not mine.any():
            continue
        shape: dict[str, Any] = {
            "marker": marker,
            "edgecolors": colour,
            "linewidths": 1.0,
            "s": 30,
            "zorder": 3,
        }
        many = {"rasterized": len(x) > RASTER}
        off = mine & ~on_front
        axes.scatter(x[off], y[off], facecolors="white", **shape, **many)
        on = mine & on_front
        axes.scatter(x[on], y[on], facecolors=colour, **shape)
        axes.scatter([], [], facecolors=colour, **shape, label=name)


def _labels(axes: Any, x: Any, y: Any, labels: Sequence[str], shown: Any) -> None:
    """Label the front, each label at the first offset that meets no marker and no other label."""
    from matplotlib.text import Text

    drawing = axes.figure
    drawing.draw_without_rendering()
    renderer = drawing.canvas.get_renderer()
    known = np.isfinite(x) & np.isfinite(y)
    markers = axes.transData.transform(np.column_stack([x[known], y[known]]))
    taken: list[Any] = []
    if len(shown) > LABELS:  # of a long front some, evenly
        shown = shown[np.unique(np.linspace(0, len(shown) - 1, LABELS).astype(int))]
    for index in shown:
        for number, (dx, dy) in enumerate(LABEL_OFFSETS):
            far = number >= NEAR
            text = axes.annotate(
                labels[index],
                (x[index], y[index]),
                xytext=(dx, dy),
                textcoords="offset points",
                ha="left" if dx > 0 else "right",
                fontsize="small",
                arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": "#888888"}
                if far
                else None,
                bbox={
                    "boxstyle": "round,pad=0.1",
                    "facecolor": "white",
                    "edgecolor": "none",
                    "alpha": 0.7,
                },
            )
            text.update_positions(renderer)
            box = Text.get_window_extent(text, renderer).padded(MARKER_PIXELS - 2)  # no arrow
            inside = drawing.bbox.x0 < box.x0 and box.x1 < drawing.bbox.x1
            inside = inside and axes.bbox.y0 < box.y0 and box.y1 < axes.bbox.y1 + MARKER_PIXELS
            free = inside and not any(box.overlaps(other) for other in taken)
            if free and not box.count_contains(markers):
                taken.append(box)
                break
            text.remove()  # a label without a place of its own is left out
