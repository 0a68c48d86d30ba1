# SPDX-License-Identifier: Apache-2.0
"""The offline page of a run: one HTML file that asks the network for nothing.

``page.html`` is the frame, ``page.css`` its look (light or dark, as the reader's system or as
chosen), ``scatter.js`` the plot, ``charts.js`` small figures and ``page.js`` everything around
them; all of it and the data become one file.  Without JavaScript the chosen point and the figure
are still there.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, Final

from hwquant import atomic

from . import data
from .compare import Table
from .plots import STYLE, Axis

__all__ = ["Page", "render", "write"]

SCRIPTS: Final = ("scatter.js", "charts.js", "page.js")


@dataclass(frozen=True)
class Page:
    """What the page shows.

    ``rows`` are flat records (``key``, ``label``, ``family`` and ``steps`` have a meaning to the
    page, ``NAME_low`` and ``NAME_high`` are the interval of ``NAME``); ``tables`` are their layers
    in the same order; ``chosen`` is a row's index; ``commands`` pairs what a command does with the
    command, in which ``{key}`` and ``{run}`` stand for the point; ``history`` names curves of
    (seconds, hypervolume); ``figures`` pairs captions and SVG; ``cards`` are (title, value, what it
    is); ``extra`` are further tables; ``details`` (`costmodel.report.details`) belong to rows by
    index; ``level`` is that of the intervals; ``refresh`` is seconds, 0 for a finished run.
    """

    title: str
    lead: str
    figure_svg: str
    facts: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    tables: Sequence[Sequence[Mapping[str, Any]]]
    axes: Sequence[Axis]
    x: str
    y: str
    chosen: int
    run: str = ""
    quiet: Sequence[str] = ()
    commands: Sequence[tuple[str, str]] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[tuple[str, Sequence[tuple[float, float]]]] = ()
    figures: Sequence[tuple[str, str]] = ()
    cards: Sequence[tuple[str, str, str]] = ()
    extra: Sequence[Table] = ()
    details: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    level: float = 0.9
    refresh: int = 0


def _pairs(record: Mapping[str, Any]) -> str:
    return "".join(
        f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(str(value))}</dd>"
        for key, value in record.items()
    )


def _packed(page: Page) -> str:
    return data.packed(
        {
            "count": len(page.rows),
            "columns": data.columns(page.rows),
            "layers": data.layers(page.tables),
            "axes": [
                {"name": a.name, "label": a.label, "sense": str(a.sense), "factor": a.factor}
                for a in page.axes
            ],
            "families": {name: list(look) for name, look in STYLE.items()},
            "x": page.x,
            "y": page.y,
            "chosen": page.chosen,
            "run": page.run,
            "quiet": list(page.quiet),
            "commands": [list(pair) for pair in page.commands],
            "history": [{"name": name, "pairs": list(pairs)} for name, pairs in page.history],
            "details": {str(row): dict(record) for row, record in page.details.items()},
            "baselines": _baselines(page),
        }
    )


def _baselines(page: Page) -> dict[str, float]:
    """Return the value of the float network for every metric that has one in all rows alike."""
    found = {}
    for axis in page.axes:
        values = {row.get(f"float_{axis.name}") for row in page.rows} - {None}
        alone = values.pop() if len(values) == 1 else None
        if isinstance(alone, float) and math.isfinite(alone):
            found[axis.name] = alone
    return found


def _cards(cards: Sequence[tuple[str, str, str]]) -> str:
    return "".join(
        f'<div class="card"><span>{html.escape(title)}</span><b>{html.escape(value)}</b>'
        f"<span>{html.escape(about)}</span></div>"
        for title, value, about in cards
    )


def _extra(table: Table) -> str:
    """Return a section with a table: texts to the left, numbers to the right."""
    first = table.lines[0] if table.lines else [0] * len(table.head)
    texts = [' class="text"' if isinstance(value, str) else "" for value in first]
    names = zip(table.head, texts, strict=True)
    head = "".join(f"<th{text}>{html.escape(str(name))}</th>" for name, text in names)
    lines = "".join(f"<tr>{''.join(_cell(value) for value in line)}</tr>" for line in table.lines)
    return (
        f"<h2>{html.escape(table.title)}</h2>\n"
        f'<p class="quiet">{html.escape(table.lead)}</p>\n<div class="scroll"><table><thead><tr>'
        f"{head}</tr></thead><tbody>{lines}</tbody></table></div>\n"
    )


def _cell(value: Any) -> str:
    text = ' class="text"' if isinstance(value, str) else ""
    return f"<td{text}>{html.escape(str(value))}</td>"


def _layers(layers: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for layer in layers for key in layer))
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    lines = (
        "".join(f"<td>{html.escape(str(layer.get(column, '')))}</td>" for column in columns)
        for layer in layers
    )
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"


def _inline(svg: str) -> str:
    """Return the svg element alone: no XML declaration, doctype or metadata."""
    element = svg[svg.index("<svg") :] if "<svg" in svg else ""
    return re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)


def _resource(name: str) -> str:
    return (resources.files("costmodel.report") / name).read_text("utf-8")


def render(page: Page) -> str:
    """Return the page as HTML text; the same page gives the same text."""
    chosen = page.rows[page.chosen] if page.rows else {}
    filled = {"{key}": str(chosen.get("key", "")), "{run}": str(chosen.get("run") or page.run)}
    commands = "".join(
        f'<div class="quiet">{html.escape(what)}</div>'
        f"<pre>{html.escape(_filled(text, filled))}</pre>"
        for what, text in page.commands
    )
    figures = "".join(
        f'<figure class="paper">{_inline(svg)}'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, svg in page.figures
    )
    refresh = f'<meta http-equiv="refresh" content="{page.refresh}">\n' if page.refresh else ""
    return Template(_resource("page.html")).substitute(
        title=html.escape(page.title),
        lead=html.escape(page.lead),
        refresh=refresh,
        css=_resource("page.css"),
        script="".join(map(_resource, SCRIPTS)),
        figure=_inline(page.figure_svg),
        figures=figures,
        tables="".join(map(_extra, page.extra)),
        cards=_cards(page.cards),
        level=f"{page.level:.0%}",
        facts=_pairs(page.facts),
        layers=_layers(page.tables[page.chosen] if page.tables else ()),
        commands=commands,
        environment=_pairs(page.environment),
        data=_packed(page),
    )


def _filled(text: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        text = text.replace(name, value)
    return text


def write(page: Page, path: str | Path) -> None:
    """Write the page, whole or not at all."""
    atomic.write_text(path, render(page))
