# SPDX-License-Identifier: Apache-2.0
"""Figures of a quantization: layer errors, weights on the grid, activation ranges, flips.

PNG and SVG, without a display, in the Okabe-Ito colours (safe for colour-blind readers).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from hwquant import atomic
from hwquant.ptq.facts import ActFacts, Facts, LayerFacts, WeightFacts

__all__ = ["FIGURES", "act_ranges", "layer_errors", "rounding_flips", "save_plots"]
__all__ += ["weight_histograms"]

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
BINS: Final = 80
SHOWN: Final = 12  # histograms in one figure: of the layers with the largest error
LINEAR: Final = 1e-2  # of the largest magnitude: below, the axis of the ranges is linear
DPI: Final = 200


def _figure(width: float, height: float) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _axes(figure: Any, names: Sequence[str]) -> Any:
    """Return axes with one line per name, the first on top."""
    axes = figure.add_subplot()
    axes.grid(visible=True, axis="x", color="#E6E6E6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def layer_errors(layers: Sequence[LayerFacts]) -> Any:
    """Return the figure of each layer's output error before and after, in dB of its signal."""
    figure = _figure(5.2, 1.2 + 0.22 * len(layers))
    axes = _axes(figure, [layer.path for layer in layers])
    places = np.arange(len(layers))
    before, after = (
        10 * np.log10(np.maximum([getattr(layer, when) for layer in layers], 1e-16))
        for when in ("before", "after")
    )
    axes.hlines(places, before, after, color="#BBBBBB", linewidth=1.4, zorder=2)
    axes.plot(before, places, "o", color=ORANGE, markersize=4.5, label="round to nearest", zorder=3)
    axes.plot(after, places, "s", color=BLUE, markersize=4.5, label="all steps", zorder=3)
    axes.set_xlabel("Error of the layer's output [dB of its power]")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize=7.5)
    return figure


def weight_histograms(weights: Sequence[WeightFacts], layers: Sequence[LayerFacts] = ()) -> Any:
    """Return histograms of the weights in units of their scale, the format's values as lines.

    At most `SHOWN` layers: those of ``layers`` whose error after all steps is largest.
    """
    errors = {layer.path: layer.after for layer in layers}
    worst = sorted(weights, key=lambda item: -errors.get(item.path, 0.0))[:SHOWN]
    chosen = [item for item in weights if item in worst]
    columns = min(3, max(len(chosen), 1))
    lines = -(-max(len(chosen), 1) // columns)
    figure = _figure(2.6 * columns, 0.4 + 1.6 * lines)
    for place, item in enumerate(chosen):
        axes = figure.add_subplot(lines, columns, place + 1)
        step = float(np.diff(item.grid).max())
        reach = (float(item.grid[0]) - step, float(item.grid[-1]) + step)
        for edge in item.grid:
            axes.axvline(edge, color="#BBBBBB", linewidth=0.5, zorder=1)
        inside = np.clip(item.float_unit, *reach)
        axes.hist(inside, bins=BINS, range=reach, color=BLUE, alpha=0.7, zorder=2)
        codes, counts = np.unique(item.unit, return_counts=True)
        axes.vlines(codes, 0, counts, color=ORANGE, linewidth=0.8, zorder=3)
        axes.plot(codes, counts, "o", color=ORANGE, markersize=2.6, zorder=4)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0, 2 * max(counts, default=1))
        axes.set_title(f"{item.path}  ({item.fmt})", fontsize=7)
        axes.tick_params(labelsize=6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    left = f", the {len(chosen)} of {len(weights)} layers that err most"
    figure.supxlabel(
        f"Weight / scale{left if len(chosen) < len(weights) else ''}: float (blue), "
        "each value of the format (orange)",
        fontsize=7.5,
    )
    figure.supylabel("Weights [count]", fontsize=7.5)
    return figure


def act_ranges(acts: Sequence[ActFacts]) -> Any:
    """Return the figure of what each quantizer reads, the format's range drawn over it."""
    figure = _figure(5.6, 1.2 + 0.24 * len(acts))
    axes = _axes(figure, [f"{act.path}  {act.fmt}" for act in acts])
    for place, act in enumerate(acts):
        low, median, high = act.percentiles[1], act.percentiles[2], act.percentiles[3]
        axes.hlines(place, act.low, act.high, color=BLUE, linewidth=1.2, zorder=2,
                    label="all values" if not place else None)  # fmt: skip
        axes.barh(place, high - low, left=low, height=0.45, color=BLUE, alpha=0.6, zorder=2,
                  label="1 % to 99 %" if not place else None)  # fmt: skip
        axes.plot([median], [place], "|", color="white", markersize=6, zorder=3)
        edges = [act.format_low, act.format_high]
        axes.plot(edges, [place, place], linestyle="none", marker="|", markersize=9,
                  markeredgewidth=1.6, color=ORANGE, zorder=4,
                  label="range of the format" if not place else None)  # fmt: skip
    largest = max((max(abs(a.low), abs(a.high), a.format_high) for a in acts), default=1.0)
    axes.axvline(0, color=GREY, linewidth=0.6)
    axes.set_xscale("symlog", linthresh=max(largest, 1e-30) * LINEAR, linscale=0.5)
    axes.tick_params(axis="x", labelsize=6)
    axes.set_xlabel("Activation (logarithmic; linear around 0)")
    if acts:
        axes.legend(
            loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, frameon=False, fontsize=7.5
        )
    return figure


def rounding_flips(weights: Sequence[WeightFacts]) -> Any:
    """Return the figure of the share of weights that a method put above or below the nearest."""
    figure = _figure(5.2, 1.2 + 0.22 * len(weights))
    axes = _axes(figure, [f"{item.path}  {item.fmt}" for item in weights])
    places = np.arange(len(weights))
    up, down = ([100 * getattr(item, way) for item in weights] for way in ("up", "down"))
    axes.barh(places, up, color=GREEN, height=0.7, label="above the nearest value")
    axes.barh(places, down, left=up, color=ORANGE, height=0.7, label="below")
    axes.set_xlabel("Weights not rounded to nearest [%]")
    if not any(up) and not any(down):
        axes.set_xlim(0, 1)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, frameon=False, fontsize=7.5)
    return figure


FIGURES: Final[dict[str, Callable[[Facts], Any]]] = {
    "layer_errors": lambda facts: layer_errors(facts.layers),
    "weight_histograms": lambda facts: weight_histograms(facts.weights, facts.layers),
    "act_ranges": lambda facts: act_ranges(facts.acts),
    "rounding_flips": lambda facts: rounding_flips(facts.weights),
}


def save_plots(facts: Facts, folder: str | Path) -> list[Path]:
    """Write every figure as PNG and SVG into ``folder``; return the paths."""
    from matplotlib import rc_context

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in FIGURES.items():
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": "hwquant", "font.size": 8}):
            figure = draw(facts)
            for suffix in ("png", "svg"):
                buffer = io.BytesIO()
                metadata = {"Date": None} if suffix == "svg" else {"Software": None}
                figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
                atomic.write_bytes(folder / f"{name}.{suffix}", buffer.getvalue())
                written.append(folder / f"{name}.{suffix}")
    return written
