# SPDX-License-Identifier: Apache-2.0
"""The tables and the figure of the page on mixed precision, from committed records.

Run ``python -m costmodel.explore.mixed.page`` to write the marked parts of
``docs/mixed_precision.md`` and the figure beside it; ``python -m costmodel.explore.mixed.study``
writes the records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from costmodel.accuracy_page import END
from costmodel.explore.certainty import accuracy_interval
from hwquant import atomic
from hwquant.errors import InputError

__all__ = ["fronts_table", "gains_table", "records"]

PAGE: Final = Path("docs/mixed_precision.md")
FIGURE: Final = Path("docs/mixed_precision.png")
MARK: Final = "<!-- {name}: written by python -m costmodel.explore.mixed.page -->\n"
LEVEL: Final = 0.95
STYLE: Final = {"uniform": ("o", "#0072B2", "--"), "mixed": ("s", "#D55E00", "-")}
"""Marker, colour (Okabe-Ito) and line of each front."""
KINDS: Final = {"exact": "integer programme", "mixed": "and NSGA-II"}
MEASURES: Final = {"hypervolume": "hypervolume", "by_budget": "accuracy by budget"}


def records() -> dict[str, dict[str, Any]]:
    """Return the committed records of the study, by model."""
    folder = files("costmodel") / "data"
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.startswith("mixed_"))
    read = [json.loads((folder / name).read_text()) for name in found]
    return {record["setting"]["model"].removeprefix("zoo:"): record for record in read}


def gains_table(given: Mapping[str, Mapping[str, Any]]) -> str:
    """Return areas of both fronts, gains and intervals as a Markdown table, in per cent."""
    heads = ("network", "mixed by", "measure", "uniform", "mixed", "gain", "95 %", "excludes 0")
    lines = ["| " + " | ".join(heads) + " |", "|---" * 3 + "|---:" * 4 + "|---|"]
    for model, record in given.items():
        for kind, by in KINDS.items():
            for measure, said in MEASURES.items():
                gain = record["gains"][f"{measure}_{kind}"]
                shares = (f"{100 * gain[name]:.2f}" for name in ("first", "second", "gain"))
                interval = f"{100 * gain['low']:+.2f} to {100 * gain['high']:+.2f}"
                sure = "yes" if gain["excludes_0"] else "no"
                cells = (f"`{model}`", by, said, *shares, interval, sure)
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def fronts_table(record: Mapping[str, Any]) -> str:
    """Return the scored points of both fronts: cost, loss, accuracy; of mixed ones the formats."""
    axis = record["setting"]["axis"]
    heads = ("front", "LUT sites", "BRAM18", "weight kbit", "loss", "top-1 %", "formats")
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * 5 + "|---|"]
    for name in ("uniform", "mixed"):
        for row in record["fronts"][name]:
            cells = (
                *(name, str(row[axis]), str(row["memory_bram18"])),
                *(f"{row['weight_bits'] / 1000:.0f}", f"{row['loss']:.4f}"),
                *(f"{100 * row['top1']:.2f}", _formats(row["formats"])),
            )
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _formats(formats: Sequence[str]) -> str:
    """Return a network's formats: one pair, one with other ends, or all of them."""
    inner = set(formats[1:-1])
    if len(set(formats)) == 1:
        return formats[0]
    if len(inner) == 1 and formats[0] == formats[-1]:
        return f"{formats[1]}, ends {formats[0]}"
    return " ".join(formats)


def _setting(given: Mapping[str, Mapping[str, Any]]) -> str:
    lines = []
    for model, record in given.items():
        setting, corner = record["setting"], record["reference"]
        last = setting["test_from"] + setting["test_items"] - 1
        lines.append(
            f"- `{model}`: float {100 * record['float_top1']:.2f} % on test items "
            f"{setting['test_from']} to {last}; reference {corner['cost']:.0f} LUT sites (the "
            f"dearest of {record['networks']['uniform']} uniform networks), "
            f"{100 * corner['accuracy']:.2f} %; {record['networks']['measured']} networks measured "
            f"on {setting['calib_items']} calibration inputs."
        )
    return "\n".join(lines)


def draw(given: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw both fronts of every network, accuracies with their intervals."""
    import matplotlib as mpl

    from costmodel.accuracy_plot import SETTINGS, save_png

    with mpl.rc_context(SETTINGS):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        drawing = Figure(figsize=(4.2 * len(given), 3.4))
        FigureCanvasAgg(drawing)
        for number, (model, record) in enumerate(given.items(), 1):
            axes = drawing.add_subplot(1, len(given), number)
            items = record["setting"]["test_items"]
            for name, (marker, colour, line) in STYLE.items():
                rows = record["fronts"][name]
                x = [row[record["setting"]["axis"]] for row in rows]
                top = [100 * row["top1"] for row in rows]
                low, high = accuracy_interval([row["top1"] for row in rows], items, LEVEL)
                spread = [abs(100 * low - top), abs(100 * high - top)]
                axes.errorbar(
                    x, top, spread, marker=marker, color=colour, linestyle=line, markersize=4,
                    linewidth=1, elinewidth=0.7, capsize=1.5, label=name, drawstyle="steps-post",
                )  # fmt: skip
            axes.axhline(100 * record["float_top1"], color="#666666", linewidth=0.8, linestyle=":")
            axes.text(
                0.01, 100 * record["float_top1"], "float", fontsize=7, va="bottom",
                transform=axes.get_yaxis_transform(),
            )  # fmt: skip
            axes.set_xscale("log")
            axes.set_title(model)
            ticks = [t * 1000 for t in (2, 3, 4, 6, 8, 12) if min(x) <= t * 1000 <= max(x)]
            axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
            axes.set_xticks([], minor=True)
            axes.set_xlabel("LUT sites, memories and conversion included")
            axes.set_ylabel("top-1 accuracy [%]")
            axes.legend(frameon=False, loc="lower right")
        drawing.tight_layout()
        save_png(drawing, path)


def main() -> None:
    """Write the marked parts of the page and its figure."""
    given = records()
    if not given or not PAGE.is_file():
        raise InputError(f"run this in a checkout with {PAGE} and records of the study")
    parts = {"setting": _setting(given), "gains": gains_table(given)}
    parts |= {f"fronts of {model}": fronts_table(record) for model, record in given.items()}
    text = PAGE.read_text()
    for name, part in parts.items():
        mark = MARK.format(name=name)
        before, found, rest = text.partition(mark)
        _, end, after = rest.partition(END)
        if not found or not end:
            raise InputError(f"{PAGE} has no part marked {mark.strip()!r}")
        text = f"{before}{mark}\n{part}\n\n{END}{after}"
    atomic.write_text(PAGE, text)
    draw(given, FIGURE)


if __name__ == "__main__":
    main()
