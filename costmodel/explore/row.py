# SPDX-License-Identifier: Apache-2.0
"""One point of a run as it is stored: its coordinates, how far it is, what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, overload

__all__ = ["Layers", "Row", "Status"]


class Status(StrEnum):
    """How far a point has come."""

    WAITING = "waiting"
    MEASURED = "measured"  # accuracy known, price not yet
    DONE = "done"
    FAILED = "failed"
    PRUNED = "pruned"  # surely beyond a limit of the space: not measured


class Layers(Sequence[dict[str, Any]]):
    """The layer records of a point, read when they are first looked at; equal to their list."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, load: Callable[[], list[dict[str, Any]]]) -> None:
        self._load: Callable[[], list[dict[str, Any]]] | None = load
        self._records: list[dict[str, Any]] = []

    def _known(self) -> list[dict[str, Any]]:
        if self._load is not None:
            self._records, self._load = self._load(), None
        return self._records

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> list[dict[str, Any]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self._known()[index]

    def __len__(self) -> int:
        return len(self._known())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._known())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Layers):
            return self._known() == other._known()
        return self._known() == other

    def __repr__(self) -> str:
        return repr(self._known()) if self._load is None else "Layers(not read yet)"


@dataclass(frozen=True)
class Row:
    """One point: its coordinates, how far it is, its metrics and its layers.

    ``finished`` is when its last result was written, in seconds of the epoch, 0 while it waits.
    """

    key: str
    point: dict[str, Any]
    status: Status = Status.WAITING
    metrics: dict[str, Any] = field(default_factory=dict)
    layers: Sequence[dict[str, Any]] = field(default_factory=list)
    error: str = ""
    finished: float = field(default=0.0, compare=False)
