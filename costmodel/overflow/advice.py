# SPDX-License-Identifier: Apache-2.0
"""From what a few images needed to the narrowest saturating accumulator at a stated risk.

An adviser, never a proof: the risk is estimated from the images given and holds for images like
them.  A design that uses an advised width saturates; only the certificate may wrap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import InputError
from hwquant.graph import MacLayer

from .certificate import channel_bits
from .features import features
from .model import Ordinal, Sample, fit, refit
from .needs import Needs

__all__ = ["CONFIDENCE", "Advice", "advise", "sample_of"]

Floats = NDArray[np.float64]

CONFIDENCE: Final = 0.95
REPLICATES: Final = 40
"""Fits under random weights of the images (Bayesian bootstrap), for the upper bound."""
NARROWEST: Final = 2
"""Bits of the narrowest accumulator a kernel has."""


@dataclass(frozen=True)
class Advice:
    """The advised widths of one layer; arrays have one entry per output channel.

    ``risk`` estimates the probability that an image drives the accumulator of ``width`` bits into
    saturation at least once (for the layer: in any channel, added up), ``risk_high`` is its upper
    bound at `CONFIDENCE`; both are 0 where the width is the ``certificate``.  ``seen`` is the
    widest need among the images, ``crossings`` the share of rows whose boundaries crossed.
    """

    layer: MacLayer
    lanes: int
    images: int
    certificate: NDArray[np.int64]
    seen: NDArray[np.int64]
    widths: NDArray[np.int64]
    channel_risk: Floats
    channel_risk_high: Floats
    width: int
    risk: float
    risk_high: float
    model: Ordinal
    crossings: float

    @property
    def rtl(self) -> str:
        """The command that generates the layer's kernel."""
        overflow = "saturate" if self.width < int(self.certificate.max()) else "wrap"
        return (
            f"hwquant rtl --weight {self.layer.weight} --act {self.layer.act} --lanes {self.lanes}"
            f" --length {self.layer.length} --acc {self.width} --overflow {overflow}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-able record."""
        return {
            "name": self.layer.name,
            "op": self.layer.kind,
            "weight": str(self.layer.weight),
            "act": str(self.layer.act),
            "length": self.layer.length,
            "channels": len(self.widths),
            "paper_bits": self.layer.paper_bits,
            "law_bits": self.layer.law_bits,
            "certificate_bits": int(self.certificate.max()),
            "seen_bits": int(self.seen.max()),
            "acc_bits": self.width,
            "risk": self.risk,
            "risk_high": self.risk_high,
            "rtl": self.rtl,
            "boundaries": list(self.model.cuts),
            "penalty": self.model.penalty,
            "crossings": self.crossings,
            "per_channel": {
                "certificate_bits": self.certificate.tolist(),
                "seen_bits": self.seen.tolist(),
                "acc_bits": self.widths.tolist(),
                "risk": self.channel_risk.tolist(),
                "risk_high": self.channel_risk_high.tolist(),
            },
        }


def sample_of(needs: Needs, *, bias_first: bool = False) -> Sample:
    """Return the rows of one layer, one per image and channel."""
    x = features(needs, bias_first=bias_first)
    images, channels = needs.low.shape
    bits = needs.bits(bias_first=bias_first)
    return Sample(
        x.reshape(images * channels, -1), bits.ravel(), np.repeat(np.arange(images), channels)
    )


def advise(
    needs: Needs,
    risk: float,
    *,
    bias_first: bool = False,
    seed: int = 0,
    model: Ordinal | None = None,
) -> Advice:
    """Return the narrowest width of each channel, and of the layer, at ``risk`` per image.

    A width is advised when the upper bound of its estimated risk is at most ``risk``, and the share
    of the given images that exceed it is too; never more than the certificate.  ``model`` is fitted
    to the rows of ``needs`` when it is not given.

    Raises `InputError` for a risk outside (0, 1) or fewer than two images.
    """
    if not 0 < risk < 1:
        raise InputError(f"risk {risk:g}, allowed above 0 and below 1, such as 1e-6")
    images, channels = needs.low.shape
    if images < 2:
        raise InputError("one image says nothing about others; give two or more")
    sample = sample_of(needs, bias_first=bias_first)
    model = fit(sample, seed=seed) if model is None else model
    bits = sample.bits.reshape(images, channels)
    certificate = channel_bits(needs.layer, bias_first=bias_first)
    candidates = np.arange(NARROWEST, max(int(certificate.max()), NARROWEST) + 1)
    estimates = _replicates(model, sample, candidates, seed)
    known = candidates[:, None] >= certificate  # (widths, channels): no input can exceed it
    estimates[:, known] = 0.0
    exceeded = np.array([(bits > width).mean(axis=0) for width in candidates])
    any_exceeded = np.array([(bits > width).any(axis=1).mean() for width in candidates])
    point, high = _bounds(estimates)
    layer_point, layer_high = _bounds(np.minimum(estimates.sum(axis=2), 1.0))
    at = _narrowest(np.maximum(high, exceeded) <= risk)
    layer_at = int(_narrowest(np.maximum(layer_high, any_exceeded)[:, None] <= risk)[0])
    column = np.arange(channels)
    return Advice(
        layer=needs.layer,
        lanes=needs.lanes,
        images=images,
        certificate=certificate,
        seen=bits.max(axis=0),
        widths=candidates[at],
        channel_risk=point[at, column],
        channel_risk_high=high[at, column],
        width=int(candidates[layer_at]),
        risk=float(layer_point[layer_at]),
        risk_high=float(layer_high[layer_at]),
        model=model,
        crossings=model.categories(sample.x)[1] if model.cuts else 0.0,
    )


def _bounds(estimates: Floats) -> tuple[Floats, Floats]:
    """Return the first estimate and the upper bound over all (replicates, ...)."""
    upper = np.quantile(estimates[1:], CONFIDENCE, axis=0, method="higher")
    return estimates[0], np.maximum(estimates[0], upper)


def _narrowest(fine: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return, per column, the first row from which all further rows are fine (the last at most)."""
    from_here = np.logical_and.accumulate(fine[::-1], axis=0)[::-1]
    first = np.where(from_here.any(axis=0), from_here.argmax(axis=0), len(fine) - 1)
    return np.asarray(first, np.int64)


def _replicates(model: Ordinal, sample: Sample, candidates: NDArray[np.int64], seed: int) -> Floats:
    """Return P(need > width) averaged over images, (1 + replicates, widths, channels).

    The first is the fit; the others are fits under independent exponential weights of the images,
    which keep the rows of an image together.
    """
    images = int(sample.image.max()) + 1
    rng = np.random.default_rng(seed)
    found = []
    for replicate in range(REPLICATES + 1):
        weight = rng.exponential(size=images) if replicate else np.ones(images)
        used = refit(model, sample, weight[sample.image]) if replicate else model
        share = weight / weight.sum()
        found.append(
            [share @ used.exceed(sample.x, int(w)).reshape(images, -1) for w in candidates]
        )
    return np.array(found)
