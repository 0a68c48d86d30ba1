# SPDX-License-Identifier: Apache-2.0
"""Files and folders that appear whole or not at all: written under a temporary name, renamed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwquant.errors import InputError

__all__ = ["atomic_file", "atomic_folder", "write_bytes", "write_text"]


def _temporary_beside(path: Path, *, folder: bool) -> Path:
    """Create an empty temporary file or folder next to ``path``, on the same file system."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if folder:
            return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        handle, name = tempfile.mkstemp(
            prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent
        )
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; choose a folder you may write to"
        ) from error
    os.close(handle)
    return Path(name)


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` on success, remove it on any error.

    The temporary name keeps the suffix, for writers that choose a format by it.
    Raises `InputError` when the folder cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        raise InputError(f"cannot write {target}: it is a folder; give a file name")
    temporary = _temporary_beside(target, folder=False)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it replaces ``path``, on any error it is removed.

    Raises `InputError` when ``path`` is a file or cannot be written.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise InputError(f"cannot write {target}: a file of that name exists; choose another name")
    temporary = _temporary_beside(target, folder=True)
    try:
        yield temporary
        temporary.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8, newlines untouched) to ``path``, whole or not at all."""
    write_bytes(path, text.encode())
