# SPDX-License-Identifier: Apache-2.0
"""Compare the model with its baselines on images it has not seen.

``python -m costmodel.overflow.evaluate`` quantizes networks of the zoo, fits on a few calibration
images and scores on test images.  Prints one JSON object, or Markdown tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from .advice import CONFIDENCE, Advice, advise, sample_of
from .baselines import BASELINES
from .features import features, history
from .model import KINDS, Ordinal, fit
from .needs import Needs
from .score import Scores, curve, scores

__all__ = ["METHODS", "RISKS", "LayerResult", "evaluate_layer", "summary"]

Floats = NDArray[np.float64]

METHODS: Final = (*KINDS, *BASELINES)
RISKS: Final = (1e-2, 1e-3)
"""Risks for which a few thousand images know the right width."""


@dataclass(frozen=True)
class LayerResult:
    """One layer: ``seen`` scores the rarest event with five rows, ``beyond`` one bit more.

    ``widths[risk][method]`` are the channels' widths, beside ``oracle`` (narrowest with at most
    that share of held-out images beyond) and ``certificate``; ``adviser`` is PRESTO's upper bound.
    """

    name: str
    channels: int
    boundary: int
    rate: float
    rate_beyond: float
    seen: dict[str, Scores]
    beyond: dict[str, Scores]
    seconds: dict[str, float]
    crossings: float
    widths: dict[float, dict[str, NDArray[np.int64]]]
    covered: list[bool] = field(default_factory=list)
    pairs: dict[str, list[tuple[Floats, NDArray[np.bool_]]]] = field(default_factory=dict)


Estimate = Callable[[int], tuple[Floats, Floats]]
"""From a width: P for each held-out (image, channel), and the rate said of each channel."""


def _ordinal(model: Ordinal, seen: Floats, held: Floats) -> Estimate:
    def estimate(width: int) -> tuple[Floats, Floats]:
        rates = model.exceed(seen.reshape(-1, seen.shape[-1]), width).reshape(seen.shape[:2])
        out = model.exceed(held.reshape(-1, held.shape[-1]), width).reshape(held.shape[:2])
        return out, rates.mean(axis=0)

    return estimate


def _tail(name: str, train: Needs, images: int) -> Estimate:
    low, high = train.low.astype(np.float64), train.high.astype(np.float64)

    def estimate(width: int) -> tuple[Floats, Floats]:
        rates = np.asarray(BASELINES[name](low, high, width))
        return np.broadcast_to(rates, (images, len(rates))), rates

    return estimate


def evaluate_layer(train: Needs, test: Needs) -> LayerResult | None:
    """Fit every method on ``train`` and score it on ``test``; None where all rows need the same."""
    sample = sample_of(train)
    bits = test.bits()
    x, held = features(train), features(test, history=history(train))
    estimates: dict[str, Estimate] = {}
    seconds: dict[str, float] = {}
    models: dict[str, Ordinal] = {}
    for kind in KINDS:
        started = time.process_time()
        models[kind] = fit(sample, kind)
        seconds[kind] = time.process_time() - started
        estimates[kind] = _ordinal(models[kind], x, held)
    for name in BASELINES:
        started = time.process_time()
        estimates[name] = _tail(name, train, len(bits))
        estimates[name](8)
        seconds[name] = time.process_time() - started
    cuts = models["presto"].cuts
    if not cuts:
        return None
    advice = {risk: advise(train, risk, model=models["presto"]) for risk in RISKS}
    boundary = cuts[-1]
    beyond = bits > boundary + 1
    event = bits > boundary
    said = {
        name: (estimate(boundary), estimate(boundary + 1)) for name, estimate in estimates.items()
    }
    return LayerResult(
        name=train.layer.name,
        channels=bits.shape[1],
        boundary=boundary,
        rate=float(event.mean()),
        rate_beyond=float(beyond.mean()),
        seen={name: scores(*at, event) for name, (at, _) in said.items()},
        beyond={name: scores(*at, beyond) for name, (_, at) in said.items()},
        seconds=seconds,
        crossings=models["presto"].categories(held.reshape(-1, held.shape[-1]))[1],
        widths={risk: _widths(estimates, advice[risk], bits, risk) for risk in RISKS},
        covered=[c for one in advice.values() for c in _covered(one, bits)],
        pairs={name: [(at[0], event), (more[0], beyond)] for name, (at, more) in said.items()},
    )


def _widths(
    estimates: dict[str, Estimate], advice: Advice, bits: NDArray[np.int64], risk: float
) -> dict[str, NDArray[np.int64]]:
    """Return each method's narrowest width of each channel at ``risk``, the certificate at most."""
    ceiling = advice.certificate
    candidates = np.arange(2, int(ceiling.max()) + 1)

    def narrowest(rate: Callable[[int], Floats]) -> NDArray[np.int64]:
        fine = np.array([rate(int(width)) <= risk for width in candidates])
        fine |= candidates[:, None] >= ceiling
        steady = np.logical_and.accumulate(fine[::-1], axis=0)[::-1]
        return np.asarray(candidates[steady.argmax(axis=0)], np.int64)

    found = {name: narrowest(lambda w, e=e: e(w)[1]) for name, e in estimates.items()}  # type: ignore[misc]
    oracle = narrowest(lambda w: (bits > w).mean(axis=0))
    return found | {"adviser": advice.widths, "oracle": oracle, "certificate": ceiling}


def _covered(advice: Advice, bits: NDArray[np.int64]) -> list[bool]:
    """Return, for each channel below its certificate, whether its bound held on these images."""
    rate = (bits > advice.widths).mean(axis=0)
    below = advice.widths < advice.certificate
    return [bool(c) for c in (rate <= advice.channel_risk_high)[below]]


def _mean(results: Sequence[LayerResult], get: Callable[[LayerResult], float]) -> float:
    return float(np.mean([get(result) for result in results]))


def _method(results: Sequence[LayerResult], name: str) -> dict[str, Any]:
    """Return one method's mean scores, how often PRESTO beats it, and its calibration curve."""
    row: dict[str, Any] = {"seconds_worst_layer": max(r.seconds[name] for r in results)}
    for event in ("seen", "beyond"):
        mine = [getattr(result, event)[name] for result in results]
        presto = [getattr(result, event)["presto"] for result in results]
        for figure in Scores.__slots__:
            row[f"{event}_{figure}"] = float(np.mean([getattr(one, figure) for one in mine]))
        pairs = zip(presto, mine, strict=True)
        row[f"{event}_presto_better"] = sum(ours.log_loss < other.log_loss for ours, other in pairs)
    return row | {"curve": curve([pair for r in results for pair in r.pairs[name]])}


def summary(results: Sequence[LayerResult]) -> dict[str, Any]:
    """Return means over layers per method, widths against the oracle, and calibration curves."""
    held = [covered for result in results for covered in result.covered]
    found: dict[str, Any] = {
        "layers": len(results),
        "rate": _mean(results, lambda r: r.rate),
        "rate_beyond": _mean(results, lambda r: r.rate_beyond),
        "crossings": _mean(results, lambda r: r.crossings),
        "confidence": CONFIDENCE,
        "bounds": len(held),
        "bounds_held": float(np.mean(held)) if held else None,
        "widths": {},
    }
    found["methods"] = {name: _method(results, name) for name in METHODS}
    for risk in RISKS:
        oracle = np.concatenate([r.widths[risk]["oracle"] for r in results])
        found["widths"][f"{risk:g}"] = {
            name: {
                "mean_bits": float(chosen.mean()),
                "too_narrow": float((chosen < oracle).mean()),
                "equal": float((chosen == oracle).mean()),
            }
            for name in results[0].widths[risk]
            for chosen in [np.concatenate([r.widths[risk][name] for r in results])]
        }
    return found
