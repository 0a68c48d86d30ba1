# SPDX-License-Identifier: Apache-2.0
"""The estimate of a folded network under FINN's file names and keys, where they mean the same.

FINN's builder writes these into ``report/`` (https://github.com/Xilinx/finn, analysis passes
res_estimation, op_and_param_counts, dataflow_performance).  What differs here:

- ``LUT`` is LUT sites (packed) plus LUTs used as memory, requantizers included; ``LUT_conversion``
  is the share of these.  ``BRAM_18K`` counts 18 kbit halves.
- ``BRAM_efficiency`` and ``URAM_efficiency`` are weight bits over the bits of the blocks they
  occupy, 1 where there is none.
- Operators are named by bit widths as in FINN (``op_mac_4bx8b``, the narrower first), so formats
  of equal width share a name.  The folding file has FINN's attributes and no others, because FINN
  refuses attributes it does not know.
- ``critical_path_cycles`` is the sum over all layers.

``finn_schema.json`` is the JSON schema of each file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from hwquant import atomic
from hwquant.errors import InputError

from .folded import FoldedNetwork
from .folding import CONVERSION, Fold

__all__ = ["FILES", "finn_records", "finn_schema", "refuse_foreign", "write_finn_files"]

FILES: Final = (
    "estimate_layer_resources.json",
    "estimate_layer_cycles.json",
    "estimate_network_performance.json",
    "op_and_param_counts.json",
    "auto_folding_config.json",
)

_BRAM18_BITS: Final = 18_432
_URAM_BITS: Final = 294_912
_RAM_STYLE: Final = {"bram18": "block", "uram": "ultra", "luts": "distributed"}


def finn_schema() -> dict[str, Any]:
    """Return the JSON schema of every file, by file name."""
    text = files("costmodel").joinpath("data", "finn_schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text)["files"])


def _resources(fold: Fold) -> dict[str, float]:
    used, bits = fold.with_conversion, fold.memory.bits

    def efficiency(blocks: int, size: int) -> float:
        return round(bits / (blocks * size), 6) if blocks and bits else 1.0

    return {
        "BRAM_18K": used.bram18,
        "BRAM_efficiency": efficiency(fold.memory.bram18, _BRAM18_BITS),
        "LUT": used.lut,
        "LUT_conversion": fold.parts[CONVERSION].lut,
        "FF": used.ff,
        "URAM": used.uram,
        "URAM_efficiency": efficiency(fold.memory.uram, _URAM_BITS),
        "DSP": used.dsp,
    }


def _counts(fold: Fold) -> dict[str, int]:
    layer = fold.layer
    low, high = sorted((layer.weight.bits, layer.act.bits))
    return {
        f"op_mac_{low}bx{high}b": layer.macs,
        f"param_weight_{layer.weight.bits}b": layer.weights,
    }


def _sums(rows: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Return the sums by key; of efficiencies there is no sum."""
    sums: dict[str, float] = {}
    for row in rows.values():
        for key, value in row.items():
            if not key.endswith("efficiency"):
                sums[key] = sums.get(key, 0) + value
    return sums


def _folding(fold: Fold) -> dict[str, Any]:
    memory = fold.memory
    kind = next((name for name in _RAM_STYLE if getattr(memory, name)), "luts")
    return {
        "PE": fold.pe,
        "SIMD": fold.simd,
        "ram_style": _RAM_STYLE[kind],
        "resType": "dsp" if fold.cost.resources.dsp else "lut",
    }


def finn_records(network: FoldedNetwork) -> dict[str, dict[str, Any]]:
    """Return the content of every file of `FILES`, by file name."""
    names = _names(network.folds)
    layers = dict(zip(names, network.folds, strict=True))
    resources = {name: _resources(fold) for name, fold in layers.items()}
    counts = {name: _counts(fold) for name, fold in layers.items()}
    slowest = next(name for name, fold in layers.items() if fold is network.bottleneck)
    return {
        "estimate_layer_resources.json": {**resources, "total": _sums(resources)},
        "estimate_layer_cycles.json": {name: fold.cycles for name, fold in layers.items()},
        "estimate_network_performance.json": {
            "critical_path_cycles": network.latency_cycles,
            "max_cycles": network.interval_cycles,
            "max_cycles_node_name": slowest,
            "estimated_throughput_fps": network.fps,
            "estimated_latency_ns": network.latency_cycles * 1e3 / network.clock_mhz,
        },
        "op_and_param_counts.json": {**counts, "total": _sums(counts)},
        "auto_folding_config.json": {
            "Defaults": {},
            **{name: _folding(fold) for name, fold in layers.items()},
        },
    }


def _names(folds: tuple[Fold, ...]) -> list[str]:
    """Return the layers' names, made different and none that a file has another meaning for."""
    taken = {"total", "Defaults"}
    names = []
    for fold in folds:
        name, number = fold.layer.name, 1
        while name in taken:
            number += 1
            name = f"{fold.layer.name}_{number}"
        taken.add(name)
        names.append(name)
    return names


def refuse_foreign(folder: str | Path) -> None:
    """Raise `InputError` when ``folder`` is a file, or holds files but none of these."""
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise InputError(f"cannot write {path}: it is a file; choose a folder with -o")
    there = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if there and not there & set(FILES):
        raise InputError(f"{path} holds other files; choose a new or an empty folder with -o")


def write_finn_files(network: FoldedNetwork, folder: str | Path) -> list[str]:
    """Write the files into ``folder`` and return their names; others there are left alone.

    Raises `InputError` when the folder cannot be written.
    """
    for name, record in finn_records(network).items():
        atomic.write_text(Path(folder) / name, json.dumps(record, indent=2) + "\n")
    return list(FILES)
