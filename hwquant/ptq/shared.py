# SPDX-License-Identifier: Apache-2.0
"""Work that several quantizations of one network have in common, done once.

A result is kept under the content of everything it depends on: tensors by their bytes, the float
network by its graph, its hyperparameters and its weights, formats and options by their text.  So
what is found is what would have been computed, and a changed ingredient finds nothing.  Results are
kept in memory up to a bound, the least recently used going first, and in the cache on disk, where
other processes find them.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

import torch
from torch import Tensor, fx

from hwquant import atomic, cache
from hwquant.errors import CacheError, InputError

__all__ = ["Results", "Shared", "graph_key", "key_of"]

MEMORY: Final = 1 << 29  # bytes of results that a process keeps
CACHE: Final = "shared"

Results = dict[str, Tensor]


def key_of(*ingredients: Any) -> str:
    """Return a key of ``ingredients``: tensors by shape, type and bytes, the rest by `str`.

    >>> key_of(torch.zeros(2), "int4") == key_of(torch.zeros(2), "int4")
    True
    >>> key_of(torch.zeros(2), "int4") == key_of(torch.zeros(2, 1), "int4")
    False
    """
    digest = hashlib.blake2b(digest_size=20)
    for part in ingredients:
        if isinstance(part, Tensor):
            dense = part.detach().cpu().contiguous()
            head = f"tensor {tuple(dense.shape)} {dense.dtype}"
            raw = memoryview(dense.view(-1).view(torch.uint8).numpy().data)
        else:
            head, raw = "text", memoryview(str(part).encode())
        digest.update(f"{head} {raw.nbytes} ".encode())
        digest.update(raw)
    return digest.hexdigest()


def graph_key(graph_module: fx.GraphModule, batches: Iterable[Tensor]) -> str:
    """Return the key of what a graph computes on ``batches``: code, hyperparameters, weights."""
    state = [part for item in graph_module.state_dict().items() for part in item]
    return key_of(str(graph_module.graph), repr(graph_module), *state, "batches", *batches)


class Shared:
    """Results by key: in memory up to ``memory`` bytes, and in the cache where ``disk`` says so.

    ``origin`` names what no ingredient shows: the code at work and the libraries' versions.
    ``computed`` counts how often each kind was computed here, and was not found.
    """

    def __init__(self, origin: str = "", *, memory: int = MEMORY, disk: bool = True) -> None:
        self.origin = origin
        self.memory = memory
        self.disk = disk
        self.computed: dict[str, int] = {}
        self._kept: OrderedDict[str, Results] = OrderedDict()
        self._bytes = 0

    def once(
        self, kind: str, ingredients: Iterable[Any], compute: Callable[[], Results]
    ) -> Results:
        """Return what ``compute()`` returns or has returned for equal ``ingredients``.

        Callers must not change the tensors.
        """
        key = key_of(self.origin, kind, *ingredients)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found = self._load(key) if self.disk else None
        if found is None:
            self.computed[kind] = self.computed.get(kind, 0) + 1
            found = compute()
            if self.disk:
                self._store(key, found)
        self._keep(key, found)
        return found

    def _keep(self, key: str, found: Results) -> None:
        self._kept[key] = found
        self._bytes += _size(found)
        while self._bytes > self.memory and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= _size(gone)

    @staticmethod
    def _load(key: str) -> Results | None:
        """Return the entry on disk; a damaged one counts as absent and is written anew."""
        try:
            found: Results = torch.load(cache.entry_path(CACHE, key, ".pt"), weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile):
            return None
        return found

    @staticmethod
    def _store(key: str, found: Results) -> None:
        path = cache.entry_path(CACHE, key, ".pt")
        try:
            with atomic.atomic_file(path) as temporary:
                torch.save({name: part.clone() for name, part in found.items()}, temporary)
        except InputError as error:
            raise CacheError(f"{error} (set HWQUANT_CACHE to a folder you may write to)") from error


def _size(found: Results) -> int:
    return sum(part.numel() * part.element_size() for part in found.values())
