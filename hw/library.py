# SPDX-License-Identifier: Apache-2.0
"""The RTL blocks: their text, and a hash of what they are."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

__all__ = ["source_text", "sources_sha256"]


@cache
def source_text(name: str) -> str:
    """Return the text of one RTL block, for example ``hq_mul.sv``.

    >>> source_text("hq_mul.sv").splitlines()[0]
    '// SPDX-License-Identifier: Apache-2.0'
    """
    return files("hw").joinpath("rtl", name).read_text(encoding="utf-8")


@cache
def sources_sha256(sources: tuple[str, ...]) -> str:
    """Return one hash over the files ``sources``, comments left out: what their RTL is."""
    digest = hashlib.sha256()
    for name in sources:
        code = (line.partition("//")[0].strip() for line in source_text(name).splitlines())
        digest.update("\n".join((name, *filter(None, code), "")).encode())
    return digest.hexdigest()
