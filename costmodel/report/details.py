# SPDX-License-Identifier: Apache-2.0
"""What the page shows of single points beyond their row: histograms, errors, sensitivity.

A point is quantized again (equal arguments give equal codes) and its weights and activations are
counted into a few bins, all on calibration inputs; each layer is also quantized alone.  One small
JSON file a point lies in ``details/`` of the run, so that later pages find it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from costmodel.explore.folder import RunFolder
from costmodel.explore.measure import BATCH, trained
from costmodel.explore.row import Row
from costmodel.explore.space import Point, Space
from costmodel.explore.take import point_of
from hwquant import atomic
from hwquant.errors import HwquantError
from hwquant.progress import note

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FOLDER", "add_details", "details_of", "read_details"]

FOLDER: Final = "details"
VERSION: Final = 1
BINS: Final = 48
ITEMS: Final = 64  # calibration inputs that sensitivity is measured on
DIGITS: Final = 4
LIMIT: Final = 900_000
"""The most characters of details that a page takes; points beyond it are left out."""


def _path(folder: RunFolder, key: str) -> Path:
    return folder.root / FOLDER / f"{key[:12]}.json"


def add_details(folder: RunFolder, space: Space, rows: Iterable[Row]) -> None:
    """Compute and keep the details of ``rows`` where the run has none yet.

    A point that cannot be looked into (a Brevitas model, one of another version of the code) is
    named and left out.
    """
    for row in rows:
        if row.key in read_details(folder, [row.key]):
            continue
        try:
            found = details_of(space, point_of(folder, space, row))
        except HwquantError as error:
            note(f"no histograms of {row.key[:12]}: {error}")
            continue
        record = {"version": VERSION, "key": row.key} | found
        text = json.dumps(record, separators=(",", ":"), allow_nan=False)
        atomic.write_text(_path(folder, row.key), text + "\n")


def read_details(folder: RunFolder, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the details of points that have some, by key, the first ones up to `LIMIT`.

    Damaged files count as none.
    """
    kept = {path.stem: path for path in (folder.root / FOLDER).glob("*.json")}
    found: dict[str, dict[str, Any]] = {}
    size = 0
    for key in dict.fromkeys(keys):
        path = kept.get(key[:12])
        if path is None:
            continue
        try:
            text = path.read_text()
            record = json.loads(text)
        except (OSError, ValueError):
            continue
        if not isinstance(record, dict) or record.get("version") != VERSION:
            continue
        size += len(text)
        if size > LIMIT:
            break
        if record.get("key") == key:
            found[key] = record
    return found


def _short(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _decibel(share: float) -> float | None:
    return _short(10 * math.log10(share)) if share > 0 else None


def details_of(space: Space, point: Point) -> dict[str, Any]:
    """Return a point's layers (errors, weights), activations and sensitivities, JSON-able.

    ``weights``: of each layer the values of the format in units of the scale, how many weights
    have each, and the float weights in bins from ``low`` to ``high``.  ``acts``: what each
    quantizer reads, in bins, and the range of its format.  ``sensitivity``: of each layer alone,
    the mean squared change of the outputs, and of the classes the divergence in nats.
    Raises what `hwquant.quantize` raises.
    """
    import torch

    from hwquant.ptq.facts import quantize_with_facts
    from hwquant.ptq.sensitivity import calibrated, sensitivities

    given = trained(space.model, space.data)
    recipe, calib = point.recipe, given.data.x_calib[: space.calib_items or None]
    torch.manual_seed(point.seed)
    qmodel, facts = quantize_with_facts(given.model, recipe, torch.split(calib, BATCH))
    errors = [
        {"layer": e.path, "before": _decibel(e.before), "after": _decibel(e.after)}
        for e in facts.layers
    ]
    jobs = calibrated(given.model, [recipe], torch.split(calib, BATCH))
    rows = [
        {"layer": s.path, "part": s.part, "mse": _short(s.logit_mse)}
        | ({} if s.kl is None else {"kl": _short(s.kl)})
        for s in sensitivities(jobs, calib[:ITEMS])
    ]
    acts = _activations(qmodel, torch.split(calib, BATCH), facts.acts)
    return {
        "errors": errors,
        "weights": [_weights(w) for w in facts.weights],
        "acts": acts,
        "sensitivity": rows,
        "items": min(ITEMS, len(calib)),
    }


def _weights(facts: Any) -> dict[str, Any]:
    values, counts = np.unique(facts.unit, return_counts=True)
    known = {float(v): int(c) for v, c in zip(values, counts, strict=True)}
    step = float(np.diff(facts.grid).max(initial=0.0))
    low, high = float(facts.grid[0]) - step, float(facts.grid[-1]) + step
    inside = np.clip(facts.float_unit, low, high)
    return {
        "layer": facts.path,
        "format": facts.fmt,
        "grid": [_short(float(v)) for v in facts.grid],
        "codes": [known.get(float(v), 0) for v in facts.grid],
        "low": _short(low),
        "high": _short(high),
        "float": _counts(inside, low, high),
        "flips": _short(facts.up + facts.down),
    }


def _counts(values: NDArray[Any], low: float, high: float) -> list[int]:
    return [int(n) for n in np.histogram(values, BINS, (low, high))[0]]


def _activations(qmodel: Any, batches: Iterable[Any], facts: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the histogram of what every quantizer of the finished network reads."""
    import torch

    from hwquant.ptq.run import Recorder, activation_sources

    known = {fact.path: fact for fact in facts}
    ends: Mapping[str, tuple[float, float]] = {
        path: (min(f.low, f.format_low), max(f.high, f.format_high)) for path, f in known.items()
    }
    sums = {path: np.zeros(BINS, np.int64) for path in known}

    def record(path: str, value: Any) -> None:
        name = path.removeprefix("act_quant.")
        if name in known:
            flat = value.detach().reshape(-1).float().numpy()
            sums[name] += np.asarray(_counts(flat, *ends[name]))

    with torch.no_grad():
        for batch in batches:
            Recorder(qmodel, activation_sources(qmodel), record).run(batch)
    return [
        {
            "layer": path,
            "format": fact.fmt,
            "low": _short(ends[path][0]),
            "high": _short(ends[path][1]),
            "counts": sums[path].tolist(),
            "from": _short(fact.format_low),
            "to": _short(fact.format_high),
        }
        for path, fact in known.items()
    ]
