# SPDX-License-Identifier: Apache-2.0
"""The question that mixed precision asks: which option for each layer, as whole numbers.

A layer has options, pairs of a weight and an activation format.  The loss of a choice is the sum of
its layers' losses, a cost the sum of its layers' costs and of what neighbours cost each other: the
requantizer behind a layer depends on its accumulator and on the format that the next layer reads.
Layers that read one tensor are tied: they read it in one format.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import InputError

__all__ = ["Assignment", "Counts", "Option", "Pair", "Problem"]

Counts = NDArray[np.int64]
Assignment = tuple[int, ...]
"""The number of the chosen option, for each layer."""


@dataclass(frozen=True, slots=True)
class Option:
    """The formats of one layer; ``weight`` is empty where both operands are activations."""

    weight: str
    act: str

    def __str__(self) -> str:
        """Return ``weight/act``, or the activation format alone."""
        return f"{self.weight}/{self.act}" if self.weight else self.act


@dataclass(frozen=True)
class Pair:
    """What layers ``left`` and ``right`` cost together.

    It depends on the class of each one's option: ``classes`` holds two tuples, the class of every
    option of the left and of the right layer; ``costs`` maps a cost to a matrix over them.
    """

    left: int
    right: int
    classes: tuple[tuple[int, ...], tuple[int, ...]]
    costs: Mapping[str, Counts]

    def cost(self, name: str, choice: Assignment) -> int:
        """Return the pair's share of a cost, 0 where it has none."""
        if name not in self.costs:
            return 0
        row, column = self.classes[0][choice[self.left]], self.classes[1][choice[self.right]]
        return int(self.costs[name][row, column])


@dataclass(frozen=True)
class Problem:
    """Layers, their options, and what each option loses and costs.

    ``losses[i][p]`` is a whole number of units of ``unit``; ``costs[name][i][p]`` too, of the
    cost's own unit.  ``ties`` are groups of layers that read one tensor.

    Raises `InputError` for tables that do not fit together.
    """

    layers: tuple[str, ...]
    options: tuple[tuple[Option, ...], ...]
    losses: tuple[Counts, ...]
    costs: Mapping[str, tuple[Counts, ...]]
    ties: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[Pair, ...] = ()
    unit: float = 1.0

    def __post_init__(self) -> None:
        sizes = [len(options) for options in self.options]
        if not sizes or 0 in sizes or len(sizes) != len(self.layers):
            raise InputError(f"{len(self.layers)} layers with options {sizes}; each needs some")
        for name, table in {"loss": self.losses, **self.costs}.items():
            if [len(row) for row in table] != sizes:
                raise InputError(f"{name} of {[len(row) for row in table]}, needed {sizes} options")

    def loss(self, choice: Assignment) -> int:
        """Return the summed loss of a choice, in units of ``unit``."""
        return sum(int(row[p]) for row, p in zip(self.losses, choice, strict=True))

    def cost(self, name: str, choice: Assignment) -> int:
        """Return one of ``costs`` of a choice; raises `KeyError` for a name it does not have."""
        own = sum(int(row[p]) for row, p in zip(self.costs[name], choice, strict=True))
        return own + sum(pair.cost(name, choice) for pair in self.pairs)

    def keeps_ties(self, choice: Assignment) -> bool:
        """Return whether layers that read one tensor read it in one format."""
        formats = [options[p].act for options, p in zip(self.options, choice, strict=True)]
        return all(len({formats[i] for i in tie}) == 1 for tie in self.ties)

    def every(self) -> Iterator[Assignment]:
        """Yield every choice that keeps the ties: for small problems, and as the tests' oracle."""
        sizes = (range(len(options)) for options in self.options)
        return (choice for choice in itertools.product(*sizes) if self.keeps_ties(choice))

    def uniform(self) -> dict[Option, Assignment]:
        """Return the choices that give every layer the same formats, by these."""
        first = max(self.options, key=len)
        return {option: self.nearest([option] * len(self.layers)) for option in first}

    def nearest(self, wanted: Sequence[Option]) -> Assignment:
        """Return the choice of these options; a layer without weights ignores the weight format.

        Raises `InputError` for formats that a layer does not have.
        """
        found = []
        for layer, options, want in zip(self.layers, self.options, wanted, strict=True):
            place = next(
                (
                    p
                    for p, have in enumerate(options)
                    if have.act == want.act and have.weight in ("", want.weight)
                ),
                None,
            )
            if place is None:
                raise InputError(
                    f"layer {layer}: formats {want}, allowed: {', '.join(map(str, options))}"
                )
            found.append(place)
        return tuple(found)

    def formats(self, choice: Assignment) -> tuple[Option, ...]:
        """Return the options of a choice."""
        return tuple(options[p] for options, p in zip(self.options, choice, strict=True))
