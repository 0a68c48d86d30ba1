# SPDX-License-Identifier: Apache-2.0
"""Mapped netlists of kernels, and the models of the cells they are made of.

The models (``hw/cells/*.sv``) are ours, written from the vendor's documents; ``docs/gate_level.md``
says what each is checked against.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Final

from hwquant.errors import ToolError
from hwquant.mac import MacSpec

from .generate import kernel_text
from .library import source_text
from .styles import style_of

__all__ = ["CELL_FILES", "cell_models", "cell_sources", "cells_in", "kernel_sources", "renamed"]

CELL_FILES: Final = (
    "lut.sv",
    "mux.sv",
    "carry.sv",
    "ff.sv",
    "lutram.sv",
    "srl.sv",
    "dsp48e2.sv",
)
"""The files of cell models; each stands alone."""

_INSTANCE: Final = re.compile(r"^ +(\\?[A-Za-z_$][\w$]*) +(?:#\(|\S+ +\()", re.MULTILINE)
_MODULE: Final = re.compile(r"^module +(\w+)", re.MULTILINE)
_NO_CELL: Final = frozenset({"assign", "always", "if", "else", "module", "initial"})


def kernel_sources(spec: MacSpec, top: str, style: str = "plain") -> dict[str, str]:
    """Return the files of the kernel of ``spec`` with top module ``top``, ready to synthesize.

    The same for every spec that means the same hardware: ``length`` matters only through the
    accumulator's width, except to kernels with one result per dot product.
    """
    width = spec.accumulator.width
    chosen = style_of(style, spec)
    length = spec.lanes if chosen.timing is None else spec.length
    plain = MacSpec(spec.weight, spec.act, spec.lanes, length, width, spec.overflow)
    blocks = {name: source_text(name) for name in chosen.sources}
    return blocks | {f"{top}.sv": kernel_text(plain, top, style)}


@cache
def _models() -> dict[str, tuple[str, str]]:
    """Return cell name -> (file, text of the file)."""
    found: dict[str, tuple[str, str]] = {}
    for name in CELL_FILES:
        text = files("hw").joinpath("cells", name).read_text(encoding="utf-8")
        found |= dict.fromkeys(_MODULE.findall(text), (name, text))
    return found


def cells_in(text: str) -> dict[str, int]:
    """Return how many instances of each module there are in Verilog as Yosys writes it."""
    counts: dict[str, int] = {}
    for name in _INSTANCE.findall(text):
        if name not in _NO_CELL:
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


def cell_sources(text: str) -> dict[str, str]:
    """Return the files (name -> text) with the models of all cells in netlist ``text``.

    Raises `ToolError` naming the cells that have no model.
    """
    return cell_models(cells_in(text))


def cell_models(cells: Iterable[str]) -> dict[str, str]:
    """Return the files (name -> text) with the models of ``cells``.

    Raises `ToolError` naming the cells that have no model.
    """
    models, used = _models(), set(cells)
    unknown = sorted(used - set(models))
    if unknown:
        raise ToolError(
            f"the netlist uses {', '.join(unknown)}, of which hw/cells has no model; "
            f"modelled: {', '.join(sorted(cell for cell in models if cell.isupper()))}"
        )
    wanted = {models[cell] for cell in used}
    return {f"cell_{name}": model for name, model in sorted(wanted)}


def renamed(text: str, old: str, new: str) -> str:
    """Return netlist ``text`` with its one module ``old`` called ``new``."""
    head = re.compile(rf"^module {re.escape(old)}\b", re.MULTILINE)
    changed, count = head.subn(f"module {new}", text)
    if count != 1:
        raise ToolError(f"the netlist holds {count} modules {old}, needed one; synthesize again")
    return changed
