# SPDX-License-Identifier: Apache-2.0
"""Write the tables of ``docs/network_cost.md``: two networks of the zoo on three parts.

``python -m costmodel.network_page`` folds the workloads of ``data/workloads.json`` as fast as each
part allows and replaces what stands between the page's markers.  With exported files as arguments
(``NAME=model.onnx``) it takes their workloads into that file first.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from hwquant import atomic
from hwquant.errors import InputError
from hwquant.workload import Layer, Workload

from .folded import FoldedNetwork, fold_network
from .parts import find_part, utilisation
from .prices import network_prices

__all__ = ["MARKS", "PARTS", "fastest_on", "page_tables", "workloads"]

PARTS: Final = ("A35T", "ZU3EG", "VC1902")
STYLES: Final = ("auto",)
MARKS: Final = ("<!-- tables: python -m costmodel.network_page -->", "<!-- end -->")

_DATA: Final = "data/workloads.json"
_PAGE: Final = "docs/network_cost.md"


def workloads() -> dict[str, Workload]:
    """Return the committed workloads by name (network and formats)."""
    text = files("costmodel").joinpath(_DATA).read_text(encoding="utf-8")
    found = json.loads(text)["workloads"]
    return {name: Workload(tuple(map(Layer.from_json, rows))) for name, rows in found.items()}


def fastest_on(workload: Workload, part: str, style: str) -> FoldedNetwork:
    """Return the fastest folding of a network that fits a part, at the default clock."""
    return fold_network(workload, network_prices(), part=find_part(part), style=style)


def _line(cells: Iterable[Any]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    rule = "|---" + "|---:" * (len(columns) - 1) + "|"
    return "\n".join([_line(columns), rule, *map(_line, rows)])


def _summary(name: str, part: str, style: str, network: FoldedNetwork) -> list[Any]:
    one, both = network.without_conversion, network.with_conversion
    share = utilisation(both, find_part(part))["lut"]
    return [
        name, part, style, f"{network.fps:,.0f}", network.interval_cycles, network.latency_cycles,
        one.lut, both.lut, f"{share:g}", both.ff, both.dsp, both.bram18, both.uram,
    ]  # fmt: skip


def _layers(network: FoldedNetwork) -> str:
    columns = (
        "layer", "PE", "SIMD", "style", "cycles", "LUT", "LUT with conversion", "FF", "DSP",
        "BRAM18", "URAM",
    )  # fmt: skip
    rows: list[list[Any]] = []
    for fold in network.folds:
        one, both = fold.without_conversion, fold.with_conversion
        rows.append(
            [f"`{fold.layer.name}`", fold.pe, fold.simd, fold.cost.style, fold.cycles, one.lut]
            + [both.lut, both.ff, both.dsp, both.bram18, both.uram]
        )
    one, both = network.without_conversion, network.with_conversion
    total = ["total", "", "", "", network.interval_cycles, one.lut, both.lut, both.ff, both.dsp]
    rows.append([*total, both.bram18, both.uram])
    return _table(columns, rows)


def page_tables() -> str:
    """Return the tables of the page as Markdown: all networks in short, then layer by layer."""
    columns = (
        "network", "part", "style", "frames/s", "interval", "latency", "LUT",
        "LUT with conversion", "LUT %", "FF", "DSP", "BRAM18", "URAM",
    )  # fmt: skip
    rows, details = [], []
    for name, workload in workloads().items():
        for part in PARTS:
            for style in STYLES:
                network = fastest_on(workload, part, style)
                rows.append(_summary(name, part, style, network))
                if style == "auto" and "int4" in name:
                    details.append(f"### {name} on {part}\n\n{_layers(network)}")
    return "\n\n".join([_table(columns, rows), *details])


def _take(given: Sequence[str]) -> None:
    """Write the workloads of exported files into the committed file."""
    from hwquant.graph import load

    found = {}
    for item in given:
        name, _, path = item.partition("=")
        found[name] = [layer.to_json() for layer in load(path).workload().layers]
    note = "Workloads of exported networks; the commands stand in docs/network_cost.md."
    target = Path("costmodel") / _DATA
    atomic.write_text(target, json.dumps({"note": note, "workloads": found}, indent=1) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Renew the page in the current folder's ``docs``; raises `InputError` without its markers."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given:
        _take(given)
    page = Path(_PAGE)
    text = page.read_text(encoding="utf-8")
    begin, end = MARKS
    if text.count(begin) != 1 or end not in text.partition(begin)[2]:
        raise InputError(f"{page} lacks {begin} and {end} behind it; restore them")
    head, _, rest = text.partition(begin)
    tail = rest.partition(end)[2]
    atomic.write_text(page, f"{head}{begin}\n\n{page_tables()}\n\n{end}{tail}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
