# SPDX-License-Identifier: Apache-2.0
"""How good probabilities of overflow are: scores on images the fit has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["EDGES", "Scores", "curve", "scores"]

Floats = NDArray[np.float64]

FLOOR: Final = 1e-9
"""The least probability that the log loss believes; a certain error would cost infinity."""
EDGES: Final = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 0.3, 0.7, 1.0)
"""Of the bins of the calibration curve."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Brier score, log loss (nats), and the root mean square error of the channels' rates."""

    brier: float
    log_loss: float
    channel_rmse: float


def scores(estimate: Floats, rates: Floats, event: NDArray[np.bool_]) -> Scores:
    """Return the scores of ``estimate`` (images, channels) on the held-out ``event``.

    ``rates`` (channels,) are what was said about the channels before these images were seen.
    """
    p = np.clip(estimate, FLOOR, 1 - FLOOR)
    return Scores(
        brier=float(np.mean((estimate - event) ** 2)),
        log_loss=float(-np.mean(np.log(np.where(event, p, 1 - p)))),
        channel_rmse=float(np.sqrt(np.mean((rates - event.mean(axis=0)) ** 2))),
    )


def curve(pairs: Sequence[tuple[Floats, NDArray[np.bool_]]]) -> list[dict[str, Any]]:
    """Return the calibration curve: per bin of the estimate, its mean and the share of events."""
    p = np.concatenate([estimate.ravel() for estimate, _ in pairs])
    y = np.concatenate([event.ravel() for _, event in pairs])
    bins = np.clip(np.searchsorted(EDGES, p, side="right") - 1, 0, len(EDGES) - 2)
    found = []
    for i in np.unique(bins):
        inside = bins == i
        found.append(
            {
                "from": EDGES[i],
                "to": EDGES[i + 1],
                "rows": int(inside.sum()),
                "estimated": float(p[inside].mean()),
                "observed": float(y[inside].mean()),
            }
        )
    return found
