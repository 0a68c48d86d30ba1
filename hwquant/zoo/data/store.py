# SPDX-License-Identifier: Apache-2.0
"""Arrays in the cache: one ``.npz`` per key, written whole, sealed with a checksum."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwquant import atomic, cache
from hwquant.errors import CacheError, InputError

__all__ = ["cached_arrays", "checksum"]

Arrays = dict[str, NDArray[Any]]
SEAL = "seal"


def checksum(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return one hash of all names, types, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def cached_arrays(kind: str, key: str, make: Callable[[], Arrays]) -> Arrays:
    """Return the arrays of ``key``, made by ``make`` on first use.

    Raises `CacheError` when the entry is damaged or the cache folder cannot be written.
    """
    path = cache.entry_path(kind, key, ".npz")
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            seal = str(arrays.pop(SEAL))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CacheError(
                f"cache entry {path} is not whole ({error}); delete it and run again"
            ) from error
        if seal != checksum(arrays):
            raise CacheError(
                f"cache entry {path} does not match its checksum; delete it and run again"
            )
        return arrays
    arrays = make()
    try:
        with atomic.atomic_file(path) as temporary:
            sealed: Any = {SEAL: np.array(checksum(arrays)), **arrays}
            np.savez(temporary, **sealed)
    except InputError as error:
        raise CacheError(f"{error} (set HWQUANT_CACHE to a folder you may write to)") from error
    return arrays
