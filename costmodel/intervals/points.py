# SPDX-License-Identifier: Apache-2.0
"""Synthesized kernels beside estimates that were made without their formats."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.primitives.specs import SpecArrays
from hwquant.errors import InputError
from hwquant.mac import MacSpec

from .features import family, matrix, to_target
from .folds import groups
from .model import Array, family_index

__all__ = ["Points"]


@dataclass(frozen=True, eq=False)
class Points:
    """Kernels, one count of each from synthesis, and its estimate, formats held out.

    ``estimates[i]`` comes from a formula that was fitted without any kernel of the two formats of
    ``specs[i]``.  ``features`` saves computing `x` again.
    Raises `InputError` for arrays of other lengths, for no kernel, and for a style of no family.
    """

    specs: tuple[MacSpec, ...]
    styles: tuple[str, ...]
    counts: Array
    estimates: Array
    features: Array | None = None

    def __post_init__(self) -> None:
        sizes = {len(self.specs), len(self.styles), len(self.counts), len(self.estimates)}
        if len(sizes) != 1 or sizes == {0}:
            raise InputError(f"points of lengths {sorted(sizes)}; allowed: one length, 1 or more")
        unknown = sorted({style for style in self.styles if not family(style)})
        if unknown:
            raise InputError(f"styles {', '.join(unknown)} belong to no family of intervals")

    @cached_property
    def x(self) -> Array:
        """Features, shape (rows, `features.FEATURES`)."""
        if self.features is not None:
            return self.features
        return matrix(SpecArrays.from_specs(self.specs), self.styles, self.estimates)

    @cached_property
    def y(self) -> Array:
        """Targets, shape (rows,)."""
        return to_target(self.counts, self.estimates)

    @cached_property
    def family(self) -> NDArray[np.intp]:
        """Index in `features.FAMILIES` of each row."""
        return family_index(self.x)

    @cached_property
    def groups(self) -> list[str]:
        """The pair of formats of each row."""
        return groups(self.specs)

    @property
    def digests(self) -> list[str]:
        """A short hash of each kernel and its count."""
        rows = zip(self.specs, self.styles, self.counts, strict=True)
        return [
            hashlib.sha256(f"{spec} {style} {count:g}".encode()).hexdigest()[:8]
            for spec, style, count in rows
        ]

    def __len__(self) -> int:
        return len(self.specs)

    def take(self, index: NDArray[Any] | Sequence[int]) -> Points:
        """Return the rows ``index`` selects."""
        chosen = np.arange(len(self))[np.asarray(index)]
        return Points(
            tuple(self.specs[i] for i in chosen),
            tuple(self.styles[i] for i in chosen),
            self.counts[chosen],
            self.estimates[chosen],
            self.x[chosen],
        )
