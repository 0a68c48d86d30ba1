# SPDX-License-Identifier: Apache-2.0
"""The record of a network as text: totals, utilisation of a part, kernels, layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from .usage import RESOURCES

__all__ = ["facts", "tables"]

_KERNELS: Final = ("weight", "act", "lanes", "acc_bits", "copies", "lut_sites", "ff", "memory_bits")
_LAYERS: Final = ("name", "op", "weight", "act", "acc_bits", "macs", "kernel", "cycles")
_FOLDS: Final = (
    "name", "weight", "act", "out", "acc_bits", "macs", "pe", "simd", "style", "cycles"
)  # fmt: skip
_WHOLES: Final = ("without_conversion", "with_conversion")


def facts(record: Mapping[str, Any]) -> str:
    """Return what a record says once, one aligned line each."""
    shown = {
        key: _plain(key, value)
        for key, value in record.items()
        if key not in ("kernels", "layers", "over_budget", *_WHOLES)
        and not key.startswith("utilisation_percent_")
    }
    width = max(map(len, shown))
    return "\n".join(f"{key:<{width}}  {value}" for key, value in shown.items())


def tables(record: Mapping[str, Any]) -> str:
    """Return the record of a network as aligned text, a blank line between tables."""
    blocks = [facts(record), _totals(record)]
    if "kernels" in record:
        blocks.append(_table(_KERNELS, [_row(_KERNELS, row) for row in record["kernels"]]))
        blocks.append(_table(_LAYERS, [_row(_LAYERS, row) for row in record["layers"]]))
    else:
        blocks.append(_folds(record["layers"]))
    return "\n\n".join(blocks)


def _plain(key: str, value: Any) -> str:
    if key == "part":
        return f"{value['name']} ({value['family']}, {value['source']})"
    if key == "utilisation_percent":
        return ", ".join(f"{name} {share:g}" for name, share in value.items() if share is not None)
    if isinstance(value, Mapping):
        return f"{value['value']} ({value['low']} .. {value['high']})"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lut(used: Mapping[str, int]) -> int:
    return used["lut_sites"] + used["lutram"]


def _totals(record: Mapping[str, Any]) -> str:
    """Return both totals, and what of the part they use."""
    rows = []
    for whole in _WHOLES:
        used = record[whole] | {"lut": _lut(record[whole])}
        rows.append([whole, *(str(used[name]) for name in RESOURCES)])
        percent = record.get(f"utilisation_percent_{whole}")
        if percent is not None:
            shares = (percent[name] for name in RESOURCES)
            rows.append(["  of the part", *("-" if s is None else f"{s:g} %" for s in shares)])
    return _table(("total", *RESOURCES), rows)


def _folds(layers: Sequence[Mapping[str, Any]]) -> str:
    columns = (*_FOLDS, "lut", "lut+conv", "ff", "dsp", "bram18", "uram")
    rows = []
    for layer in layers:
        one, both = layer["without_conversion"], layer["with_conversion"]
        used = [_lut(one), _lut(both), *(both[name] for name in ("ff", "dsp", "bram18", "uram"))]
        rows.append([*_row(_FOLDS, layer), *map(str, used)])
    return _table(columns, rows)


def _row(columns: Sequence[str], row: Mapping[str, Any]) -> list[str]:
    return ["-" if row[column] is None else str(row[column]) for column in columns]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return aligned columns: numbers to the right, words to the left."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    right = [
        all(cell.strip(" %-").replace(".", "").isdecimal() or cell == "-" for cell in cells)
        for cells in zip(*rows, strict=True)
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in (columns, *rows)
    ]
    return "\n".join(lines)
