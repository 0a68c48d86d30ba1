# SPDX-License-Identifier: Apache-2.0
"""What a MODEL or --data text stands for, by content: part of the key of cached results."""

from __future__ import annotations

from pathlib import Path

from hwquant import cache
from hwquant.errors import InputError

__all__ = ["content_of"]


def content_of(text: str) -> list[str]:
    """Return the content hashes of the files that a MODEL or --data text names.

    A name of the zoo has none: the source of hwquant stands for it.  A folder of images counts by
    its file names, sizes and times of change, because reading all of it would take too long.
    Raises `InputError` for a file or a folder that does not exist.
    """
    named = ":" not in text and "." not in text
    if named or text.startswith("zoo:"):
        return []
    if text.startswith("imagefolder:"):
        return [_folder(text.removeprefix("imagefolder:").partition("?")[0])]
    source, _, rest = text.partition("@")
    if source.startswith("torchvision:"):
        return [_folder(rest) if Path(rest).is_dir() else _file(rest, text)] if rest else []
    file, colon, _ = source.rpartition(":")
    paths = [file if colon else source, *([rest] if rest else [])]
    return [_file(path, text) for path in paths]


def _file(path: str, text: str) -> str:
    if not Path(path).is_file():
        raise InputError(f"{text!r}: there is no file {path}")
    return cache.file_hash(path)


def _folder(path: str) -> str:
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"there is no folder {root}")
    entries = sorted((p.relative_to(root).as_posix(), p.stat()) for p in root.rglob("*"))
    return cache.content_key([(name, stat.st_size, stat.st_mtime_ns) for name, stat in entries])
