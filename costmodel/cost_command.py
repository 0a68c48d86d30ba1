# SPDX-License-Identifier: Apache-2.0
"""What ``hwquant cost`` does: choose between a kernel and a network, and price it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hw.commands import spec_from_options
from hwquant.errors import InputError

from .kernel import estimate
from .network import network_cost

__all__ = ["price", "tables"]


def price(
    model: Path | None,
    kernel: Mapping[str, Any],
    *,
    lanes: int,
    overflow: str,
    folding: str,
    synth: bool,
) -> dict[str, Any]:
    """Return the record that ``hwquant cost`` prints.

    ``kernel`` holds the options that describe one kernel: weight, act, length, acc, dsp.
    Raises `InputError` when neither or both of a model and a kernel are given.
    """
    if model is None:
        if kernel["weight"] is None or kernel["act"] is None:
            raise InputError("nothing to price; give --weight and --act, or an exported .onnx file")
        spec = spec_from_options(
            kernel["weight"], kernel["act"], lanes, kernel["length"], kernel["acc"], overflow
        )
        cost = estimate(spec, synth=synth, dsp=kernel["dsp"]).to_json()
        return cost | {"acc_bits": spec.accumulator.width, "lanes": lanes}
    given = [name for name in ("weight", "act", "length") if kernel[name] is not None]
    given += ["acc"] if kernel["acc"] != "auto" else []
    given += ["dsp"] if kernel["dsp"] else []
    if given:
        names = ", ".join(f"--{name}" for name in given)
        raise InputError(f"{names} cannot go with {model}: the model fixes formats and widths")
    from hwquant.graph import load

    workload = load(model).workload()
    cost_ = network_cost(workload, folding=folding, lanes=lanes, synth=synth, overflow=overflow)
    return cost_.to_json()


def tables(record: Mapping[str, Any]) -> str:
    """Return the kernel and layer tables of a network's record as aligned text."""
    kernels = ("weight", "act", "lanes", "acc_bits", "copies", "lut_sites", "ff", "memory_bits")
    layers = ("name", "op", "weight", "act", "acc_bits", "macs", "kernel", "cycles")
    return "\n\n".join(
        (_table(kernels, record["kernels"]), _table(layers, record["layers"])),
    )


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    cells = [columns, *(tuple(str(row[column]) for column in columns) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
