# SPDX-License-Identifier: Apache-2.0
"""A content-addressed cache: the key is the hash of what the result depends on.

Entries are files named by their key under ``$HWQUANT_CACHE`` (default ``~/.cache/hwquant``),
written atomically and sealed with a checksum.  Two processes may compute the same entry; either
result is the same, and the last rename wins.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from hwquant import atomic
from hwquant.errors import CacheError, InputError

__all__ = ["content_key", "entry_path", "file_hash", "load_json", "root", "store_json"]


def root() -> Path:
    """Return the cache folder (it need not exist yet)."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hwquant"
    return Path(os.environ.get("HWQUANT_CACHE") or default)


def content_key(*parts: Any) -> str:
    """Return a hexadecimal key for ``parts``: JSON-able data, strings or bytes.

    Bytes are hashed by content; anything that is not JSON is keyed by ``str()``, so a `Format`
    or a path gives a stable key.
    """
    digest = hashlib.sha256()
    for part in parts:
        raw = (
            part
            if isinstance(part, bytes)
            else json.dumps(part, sort_keys=True, default=str).encode()
        )
        digest.update(len(raw).to_bytes(8, "little") + raw)
    return digest.hexdigest()[:40]


def file_hash(path: str | Path) -> str:
    """Return the content key of a file."""
    return content_key(Path(path).read_bytes())


def entry_path(kind: str, key: str, suffix: str = ".json") -> Path:
    """Return where the entry of ``kind`` with ``key`` lives (a folder if ``suffix`` is empty)."""
    return root() / kind / f"{key}{suffix}"


def load_json(kind: str, key: str) -> Any | None:
    """Return the stored value, or None when there is no entry.

    Raises `CacheError` when the entry exists and is damaged.
    """
    path = entry_path(kind, key)
    try:
        raw = path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CacheError(
            f"cache entry {path} cannot be read ({error}); delete it and run again"
        ) from error
    try:
        sealed = json.loads(raw)
        value, seal = sealed["value"], sealed["seal"]
    except (ValueError, KeyError, TypeError) as error:
        raise CacheError(
            f"cache entry {path} is not whole ({error!r}); delete it and run again"
        ) from error
    if seal != content_key(value):
        raise CacheError(f"cache entry {path} does not match its checksum; delete it and run again")
    return value


def store_json(kind: str, key: str, value: Any) -> None:
    """Store a JSON-able ``value`` under ``key``; raises `CacheError` if the folder is read-only."""
    text = json.dumps({"seal": content_key(value), "value": value}, sort_keys=True)
    try:
        atomic.write_text(entry_path(kind, key), text)
    except InputError as error:
        raise CacheError(f"{error} (set HWQUANT_CACHE to a folder you may write to)") from error
