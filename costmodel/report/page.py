# SPDX-License-Identifier: Apache-2.0
"""The offline page of a run: one HTML file that asks the network for nothing.

The figure is inline SVG, the table is drawn from compact JSON by a few lines of JavaScript, and
light or dark follows the reader's system.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from hwquant import atomic

__all__ = ["Page", "render", "write"]


@dataclass(frozen=True)
class Page:
    """What the page shows.

    ``rows`` are flat records; ``marks`` gives each row ``""``, ``"front"`` or ``"chosen"``;
    ``commands`` pairs what a command does with the command.
    """

    title: str
    lead: str
    figure_svg: str
    facts: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    marks: Sequence[str]
    layers: Sequence[Mapping[str, Any]] = ()
    commands: Sequence[tuple[str, str]] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)


def _pairs(record: Mapping[str, Any]) -> str:
    return "".join(
        f"<dt>{html.escape(str(key))}</dt><dd>{html.escape(str(value))}</dd>"
        for key, value in record.items()
    )


def _value(value: Any) -> Any:
    """Return what the table's JSON holds: JSON has no NaN, and an absent value is null."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value if isinstance(value, int | str | None) else str(value)


def _data(page: Page) -> str:
    columns = list(dict.fromkeys(key for row in page.rows for key in row))
    rows = [[_value(row.get(column)) for column in columns] for row in page.rows]
    record = {"columns": columns, "rows": rows, "marks": list(page.marks)}
    # "</script>" inside a value must not end the element.
    return json.dumps(record, separators=(",", ":")).replace("<", "\\u003c")


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


def render(page: Page) -> str:
    """Return the page as HTML text; the same page gives the same text."""
    template = Template((resources.files("costmodel.report") / "page.html").read_text("utf-8"))
    commands = "".join(
        f'<div class="quiet">{html.escape(what)}</div><pre>{html.escape(command)}</pre>'
        for what, command in page.commands
    )
    return template.substitute(
        title=html.escape(page.title),
        lead=html.escape(page.lead),
        figure=_inline(page.figure_svg),
        facts=_pairs(page.facts),
        layers=_layers(page.layers),
        commands=commands,
        environment=_pairs(page.environment),
        data=_data(page),
    )


def write(page: Page, path: str | Path) -> None:
    """Write the page, whole or not at all."""
    atomic.write_text(path, render(page))
