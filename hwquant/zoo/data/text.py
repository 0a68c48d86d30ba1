# SPDX-License-Identifier: Apache-2.0
"""The Python standard library's own source as a character corpus: real text on every machine."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from hwquant.errors import InputError
from hwquant.zoo.data.dataset import Data

__all__ = ["VOCABULARY", "corpus", "encode", "stdlib_text"]

# Printable ASCII and the line end; code 0 stands for any other character.
VOCABULARY: Final = "\0\n" + "".join(map(chr, range(32, 127)))
CONTEXT: Final = 64
TEST_EVERY: Final = 10  # every tenth file is for testing
LIMIT: Final = 1_536_000  # characters of the training part
TEST_LIMIT: Final = 128_000
CALIB_ITEMS: Final = 256
FILE_LIMIT: Final = 65_536  # bytes of one file, so that no file dominates


def corpus(folder: str | Path | None = None) -> list[str]:
    """Return the top-level ``*.py`` files of the standard library as text, sorted by name.

    ``folder`` replaces the library.  Raises `InputError` when the folder is missing or holds no
    source (some distributions ship the library without it).
    """
    library = Path(folder or sysconfig.get_path("stdlib"))
    if not library.is_dir():
        raise InputError(f"stdlib-text: there is no folder {library}")
    files = sorted(library.glob("*.py"), key=lambda path: path.name)
    files += sorted(library.glob("[a-z]*/*.py"), key=lambda path: path.relative_to(library).parts)
    skip = ("site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3")
    files = [f for f in files if f.parent.name not in skip and not f.name.startswith("_sysconfig")]
    texts = [path.read_bytes()[:FILE_LIMIT].decode("ascii", "replace") for path in files]
    texts = [text.replace("\r\n", "\n").expandtabs(4) for text in texts if len(text) > CONTEXT]
    if len(texts) < 2 * TEST_EVERY:
        raise InputError(
            f"stdlib-text: {library} holds {len(texts)} Python files, at least {2 * TEST_EVERY} "
            "are needed; install the library's source"
        )
    return texts


def encode(text: str) -> NDArray[np.uint8]:
    """Return the codes of ``text`` in `VOCABULARY`."""
    codes = np.zeros(128, np.uint8)
    for code, character in enumerate(VOCABULARY):
        codes[ord(character)] = code
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    return codes[np.where(points < 128, points, 0)]


def stdlib_text(folder: str | Path | None = None) -> Data:
    """Return windows of 64 characters and the characters that follow, each by one.

    Inputs are codes as float32 (items, 64), which is exact; labels int64 (items, 64).  The corpus
    is the one of the running Python: figures hold for its minor version.
    """
    texts = corpus(folder)
    train = [text for i, text in enumerate(texts) if i % TEST_EVERY]
    test = texts[::TEST_EVERY]
    x_train, y_train = _windows(train, LIMIT)
    x_test, y_test = _windows(test, TEST_LIMIT)
    spread = torch.linspace(0, len(x_train) - 1, min(CALIB_ITEMS, len(x_train))).long()
    return Data(
        "stdlib-text",
        *(x_train, y_train, x_train[spread], x_test, y_test),
        task="language",
        classes=tuple(VOCABULARY),
    )


def _windows(texts: list[str], limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cut ``texts``, each shortened in proportion to fit ``limit``, into windows."""
    share = min(1.0, limit / sum(map(len, texts)))
    codes = np.concatenate([encode(text[: int(len(text) * share)]) for text in texts])
    count = (len(codes) - 1) // CONTEXT
    inputs = codes[: count * CONTEXT].reshape(count, CONTEXT)
    following = codes[1 : count * CONTEXT + 1].reshape(count, CONTEXT)
    return torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(following.astype(np.int64))
