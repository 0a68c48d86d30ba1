# SPDX-License-Identifier: Apache-2.0
"""Folds that hold out whole formats, never rows.

Rows of one format share its decoder, its widths and so its error; a split by row would let the
model see the format that it is tested on, and flatter its coverage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import InputError
from hwquant.mac import MacSpec

__all__ = ["Fold", "each_pair_out", "group_name", "groups", "leave_one_format_out"]
__all__ += ["some_formats_out"]

Indices = NDArray[np.intp]

BOTH: Final = " x "
"""What stands between the formats in the name of a mixed pair."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Formats held out (``test``, row numbers), and the rows that have none of them."""

    name: str
    test: Indices
    train: Indices


def group_name(spec: MacSpec) -> str:
    """Return the pair of formats, whichever way round.

    >>> group_name(MacSpec("int8", "e2m1"))
    'e2m1 x int8'
    """
    first, second = sorted((str(spec.weight), str(spec.act)))
    return first if first == second else f"{first}{BOTH}{second}"


def groups(specs: Sequence[MacSpec]) -> list[str]:
    """Return the pair of formats of each row."""
    return [group_name(spec) for spec in specs]


def _names(specs: Sequence[MacSpec]) -> NDArray[np.str_]:
    """Return the names of both formats of each row, shape (2, rows)."""
    known = {fmt: str(fmt) for spec in specs for fmt in (spec.weight, spec.act)}
    sides = [[known[s.weight] for s in specs], [known[s.act] for s in specs]]
    return np.array(sides, np.str_)


def _free(names: NDArray[np.str_], formats: set[str]) -> Indices:
    """Return the rows with none of ``formats``."""
    return np.flatnonzero(~np.isin(names, sorted(formats)).any(axis=0))


def each_pair_out(specs: Sequence[MacSpec], pairs: int = 1) -> Iterator[Fold]:
    """Yield folds until every row was tested once: a format alone, or up to ``pairs`` mixed pairs.

    The rows to learn from contain none of the formats of the rows to test, alone or in a mixed
    pair; there may be none.
    """
    names, sides = np.array(groups(specs)), _names(specs)
    mixed = sorted({name for name in names.tolist() if BOTH in name})
    alone = sorted(set(names.tolist()) - set(mixed))
    together = [mixed[start : start + pairs] for start in range(0, len(mixed), pairs)]
    for held in [*([name] for name in alone), *together]:
        formats = {fmt for name in held for fmt in name.split(BOTH)}
        tested = np.flatnonzero(np.isin(names, held))
        yield Fold(", ".join(held), tested, _free(sides, formats))


def leave_one_format_out(specs: Sequence[MacSpec], pairs: int = 1) -> Iterator[Fold]:
    """Yield the folds of `each_pair_out`, which must all have rows to learn from.

    More pairs in a fold make fewer folds and leave less to learn from.
    Raises `InputError` where nothing would be left.
    """
    for fold in each_pair_out(specs, pairs):
        if not len(fold.train):
            raise InputError(f"holding out {fold.name} leaves no rows; give kernels of others")
        yield fold


def some_formats_out(specs: Sequence[MacSpec], count: int, seed: int = 0) -> Iterator[Fold]:
    """Yield ``count`` folds, each with a share of the weight formats held out; rows tested once.

    For what is fitted often (the aggregate's weights, calibration inside a fold).  The rows to
    learn from have none of the held-out formats in either place; a mixed pair's activation format
    may be among them.
    Raises `InputError` for fewer formats than folds.
    """
    sides = _names(specs)
    weights = sides[0]
    formats = sorted(set(weights.tolist()))
    if not 2 <= count <= len(formats):
        raise InputError(f"{count} folds of {len(formats)} formats; allowed: 2..{len(formats)}")
    order = np.random.default_rng(seed).permutation(len(formats))
    for part in range(count):
        held = {formats[i] for i in order[part::count]}
        test = np.flatnonzero(np.isin(weights, sorted(held)))
        train = _free(sides, held)
        if not len(train):
            raise InputError(
                f"holding out {', '.join(sorted(held))} leaves no rows; take more folds"
            )
        yield Fold(", ".join(sorted(held)), test, train)
