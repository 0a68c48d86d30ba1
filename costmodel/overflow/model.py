# SPDX-License-Identifier: Apache-2.0
"""Ordinal models of the bits an accumulator needs: PRESTO and, with fewer freedoms, two baselines.

``presto`` lets every boundary have weights of its own and penalises how they differ;
``proportional_odds`` shares one weight vector; ``logistic`` sees only the rarest event.  All three
are fitted by the same code: L1 penalty, cross-validated over the same path.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hwquant.errors import InputError

from .features import Standard, standard
from .likelihood import Coefficients, Rows, minimum, penalty_max

__all__ = ["KINDS", "Ordinal", "Sample", "boundaries", "fit", "refit"]

Floats = NDArray[np.float64]

KINDS: Final = ("presto", "proportional_odds", "logistic")
LEAST_ROWS: Final = 5
"""A category has at least so many rows; smaller ones are merged with a neighbour."""
PATH: Final = 20
FOLDS: Final = 5
SLOPE: Final = float(np.log(16.0))
"""Log-odds per bit beyond the data where only one boundary is known: |s| > t as t**-4."""
SLOPE_LEAST: Final = float(np.log(2.0))


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to fit: features ``x`` (n, p), ``bits`` needed (n,), and the image of each row."""

    x: Floats
    bits: NDArray[np.int64]
    image: NDArray[np.int64]

    def __post_init__(self) -> None:
        x, n = self.x, len(self.bits)
        if x.ndim != 2 or self.bits.ndim != 1 or self.image.shape != (n,) or len(x) != n:
            raise InputError(
                f"features {x.shape}, bits {self.bits.shape}, images {self.image.shape}; "
                "allowed: (n, p), (n,), (n,)"
            )
        if not n:
            raise InputError("no rows to fit; give one image or more")
        if not np.isfinite(x).all():
            raise InputError("the features hold NaN or infinity, allowed: finite numbers")


def boundaries(bits: NDArray[np.int64], least: int = LEAST_ROWS) -> tuple[int, ...]:
    """Return the widths between the categories, each category with at least ``least`` rows.

    A category holds the rows that need more than one width and at most the next.  Merging goes
    from the widest need downward, so the rarest event that has the rows is a category of its own;
    where no row needs a width, the boundary is the widest one that the same rows exceed.

    >>> boundaries(np.repeat([7, 8, 9, 10], [2, 9, 6, 3]))
    (8,)
    """
    values, counts = np.unique(bits, return_counts=True)
    cuts: list[int] = []
    gathered, below = 0, int(counts.sum())
    for i in range(len(values) - 1, 0, -1):
        gathered += int(counts[i])
        below -= int(counts[i])
        if gathered >= least and below >= least:
            cuts.append(int(values[i]) - 1)
            gathered = 0
    return tuple(reversed(cuts))


@dataclass(frozen=True)
class Ordinal:
    """A fitted model: ``cuts`` are the widths of its boundaries, ``rate`` the share beyond.

    Without cuts (all rows alike) it gives one rate for every row.
    """

    kind: str
    cuts: tuple[int, ...]
    standard: Standard
    coefficients: Coefficients
    penalty: float
    rate: float
    widest: int

    def categories(self, x: Floats) -> tuple[Floats, float]:
        """Return each category's probability (n, K), and the share of rows whose boundaries cross.

        Where boundaries cross, negative probabilities are clipped and the rest renormalised.
        """
        cumulative = expit(self.coefficients.linear(self.standard(x)))
        ends = np.zeros((len(x), 1)), np.ones((len(x), 1))
        p = np.diff(np.concatenate([ends[0], cumulative, ends[1]], axis=1), axis=1)
        crossed = float((p < 0).any(axis=1).mean()) if len(x) else 0.0
        p = np.maximum(p, 0)
        return p / p.sum(axis=1, keepdims=True), crossed

    def exceed(self, x: Floats, width: int) -> Floats:
        """Return P(need > width) of each row.

        Between two boundaries the log-odds are interpolated; beyond the last one they fall by as
        much a bit as between the last two at the mean of the data: the shared part of the model.
        """
        if not self.cuts:
            odds = np.log(self.rate) - np.log1p(-self.rate) - SLOPE * (width - self.widest)
            return np.full(len(x), expit(odds))
        p, _ = self.categories(x)
        above = np.cumsum(p[:, ::-1], axis=1)[:, ::-1][:, 1:]
        if width in self.cuts:
            return above[:, self.cuts.index(width)]
        odds = np.log(np.maximum(above, 1e-300)) - np.log(np.maximum(1 - above, 1e-300))
        if self.cuts[0] < width < self.cuts[-1]:
            right = int(np.searchsorted(self.cuts, width))
            left, span = right - 1, self.cuts[right] - self.cuts[right - 1]
            part = (width - self.cuts[left]) / span
            return expit((1 - part) * odds[:, left] + part * odds[:, right])
        at = 0 if width < self.cuts[0] else len(self.cuts) - 1
        return expit(odds[:, at] - self.slope() * (width - self.cuts[at]))

    def slope(self) -> float:
        """Return by how much the log-odds of a need fall per bit beyond the last boundary."""
        if len(self.cuts) < 2:
            return SLOPE
        step = float(self.coefficients.a[-1] - self.coefficients.a[-2])
        return max(step / (self.cuts[-1] - self.cuts[-2]), SLOPE_LEAST)


def _rows(sample: Sample, cuts: tuple[int, ...], scale: Standard, weight: Floats) -> Rows:
    y = np.searchsorted(np.array(cuts), sample.bits).astype(np.int64)
    return Rows(scale(sample.x), y, len(cuts) + 1, weight)


def fit(
    sample: Sample, kind: str = "presto", *, cuts: tuple[int, ...] | None = None, seed: int = 0
) -> Ordinal:
    """Return the model of ``kind``, its penalty chosen by cross-validation over whole images.

    Twenty penalties from the least that silences every feature down to 1 % of it; chosen is the
    lowest mean Brier score, the largest penalty of ties.  ``cuts`` default to `boundaries`; the
    logistic model keeps the last one only.

    Raises `InputError` for rows that cannot be fitted.
    """
    if kind not in KINDS:
        raise InputError(f"model {kind!r}, allowed: {', '.join(KINDS)}")
    found = boundaries(sample.bits) if cuts is None else cuts
    if kind == "logistic":
        found = found[-1:]
    scale = standard(sample.x)
    widest = int(sample.bits.max())
    n = len(sample.bits)
    if not found:
        none = Coefficients(np.zeros(0), np.zeros((0, sample.x.shape[1])))
        return Ordinal(kind, (), scale, none, 0.0, 0.5 / (n + 1), widest)
    rows = _rows(sample, found, scale, np.ones(n))
    free = 1 if kind == "proportional_odds" else rows.categories - 1
    top = penalty_max(rows, free)
    path = np.geomspace(top, 0.01 * top, PATH) if top > 0 else np.zeros(1)
    penalty = _chosen(rows, sample.image, path, free, seed)
    whole = _along(rows, path[path >= penalty], free)[-1]
    return Ordinal(kind, found, scale, whole, penalty, 0.0, widest)


def refit(model: Ordinal, sample: Sample, weight: Floats) -> Ordinal:
    """Return ``model`` fitted again at the same penalty with other weights of the rows."""
    if not model.cuts:
        return model
    rows = _rows(sample, model.cuts, model.standard, weight)
    free = 1 if model.kind == "proportional_odds" else rows.categories - 1
    found = minimum(rows, model.penalty, start=model.coefficients, free=free, steps=60)
    return Ordinal(
        model.kind, model.cuts, model.standard, found, model.penalty, model.rate, model.widest
    )


def _along(rows: Rows, path: Floats, free: int) -> list[Coefficients]:
    """Return the minimum at each penalty of a falling path, each started at the one before."""
    found: list[Coefficients] = []
    for penalty in path:
        start = found[-1] if found else None
        found.append(minimum(rows, float(penalty), start=start, free=free, steps=100))
    return found


def _chosen(rows: Rows, image: NDArray[np.int64], path: Floats, free: int, seed: int) -> float:
    """Return the penalty with the lowest cross-validated Brier score, the largest of ties."""
    images = np.unique(image)
    folds = min(FOLDS, len(images))
    if folds < 2 or len(path) < 2:
        return float(path[0])
    order = np.random.default_rng(seed).permutation(images)
    scores = np.zeros((folds, len(path)))
    used = np.zeros(folds)
    for fold in range(folds):
        out = np.isin(image, order[fold::folds])
        kept = rows.take(np.flatnonzero(~out))
        if len(np.unique(kept.y)) < rows.categories:
            continue  # a category is gone: its boundary cannot be fitted without these images
        left = rows.take(np.flatnonzero(out))
        target = np.eye(rows.categories)[left.y]
        for i, found in enumerate(_along(kept, path, free)):
            cumulative = expit(found.linear(left.x))
            p = np.maximum(np.diff(cumulative, axis=1, prepend=0, append=1), 0)
            p /= p.sum(axis=1, keepdims=True)
            scores[fold, i] = ((p - target) ** 2).sum()
        used[fold] = 1
    total = scores.sum(axis=0)
    return float(path[0]) if not used.any() else float(path[int(np.argmin(total))])
