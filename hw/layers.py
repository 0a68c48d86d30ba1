# SPDX-License-Identifier: Apache-2.0
"""Write the kernels of all layers of a network: one folder for each distinct kernel."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hwquant.atomic import atomic_folder, write_text
from hwquant.errors import InputError
from hwquant.mac import MacSpec, Overflow
from hwquant.workload import Layer

from .generate import generate, kernel_name, refuse_foreign

__all__ = ["LAYERS", "generate_layers", "layer_specs"]

LAYERS: Final = "layers.json"


def layer_specs(
    layers: Iterable[Layer], *, lanes: int = 1, overflow: Overflow | str = Overflow.WRAP
) -> tuple[dict[str, MacSpec], dict[str, str]]:
    """Return (kernel name -> spec, layer name -> kernel name), as `generate_layers` writes them.

    Raises `InputError` when there is no layer.
    """
    specs: dict[str, MacSpec] = {}
    users: dict[str, str] = {}
    for layer in layers:
        acc = max(layer.acc_bits, 2)
        used = min(lanes, layer.length)
        spec = MacSpec(layer.weight, layer.act, used, layer.length, acc, overflow)
        name = users[layer.name] = kernel_name(spec)
        if name not in specs or specs[name].length < spec.length:
            specs[name] = spec
    if not specs:
        raise InputError("the network has no multiply-accumulate layer, so it needs no kernel")
    return specs, users


def generate_layers(
    layers: Iterable[Layer],
    out: str | Path,
    *,
    lanes: int = 1,
    overflow: Overflow | str = Overflow.WRAP,
    style: str = "plain",
) -> dict[str, str]:
    """Write the kernel of each layer below ``out``; return layer name -> kernel name.

    A layer gets ``lanes`` lanes (or as many as it has products) and its certified accumulator
    width.  Layers that need the same kernel share a folder ``out/<kernel name>``, whose spec holds
    the longest of their lengths; ``layers.json`` says which layer uses which.  ``out`` appears
    whole or not at all.

    ``style`` is a style's name, or ``auto``: then each kernel has its own (`hw.catalogue`).

    Raises `InputError` when there is no layer, or ``out`` cannot be written or holds other things,
    `SpecError` when the style cannot do a layer's kernel.
    """
    specs, users = layer_specs(layers, lanes=lanes, overflow=overflow)
    folder = Path(out)
    refuse_foreign(folder, LAYERS)
    with atomic_folder(folder) as temporary:
        for name, spec in specs.items():
            generate(spec, temporary / name, style=style)
        write_text(temporary / LAYERS, json.dumps({"layers": users}, indent=2) + "\n")
    return users
