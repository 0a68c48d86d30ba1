# SPDX-License-Identifier: Apache-2.0
"""The RTL blocks: their text, and a hash of what they are."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["source_text", "sources_sha256"]

_CHECK: Final = re.compile(
    r"""^if\ \( (?:(?!\bbegin\b)[^;])* \)\ begin\ :\ gen_bad\w*\n
        \$error\("[^"\n]*"\);\n
        end\n?""",
    re.MULTILINE | re.VERBOSE,
)
"""A block with nothing but an elaboration error, in code without comments and indents."""

_BOUND: Final = re.compile(
    r"""^localparam\ bit\ (?:Bad\w+|Legal)\ =[^;]*;\n
        | (?<=;\ )Legal\ &&\ (?=\w+\ )
        | (?<=\belse\ )if\ \(Legal\)\ (?=begin\b)
        | \bLegal\ \?\ ([^;\n]*)\ :\ 1(?=[;)])""",
    re.MULTILINE | re.VERBOSE,
)
"""Names of illegal parameters, and what keeps them from being unrolled: true in all hardware."""


@cache
def source_text(name: str) -> str:
    """Return the text of one RTL block, for example ``hq_mul.sv``.

    >>> source_text("hq_mul.sv").splitlines()[0]
    '// SPDX-License-Identifier: Apache-2.0'
    """
    return files("hw").joinpath("rtl", name).read_text(encoding="utf-8")


@cache
def sources_sha256(sources: tuple[str, ...]) -> str:
    """Return one hash over the files ``sources``: what their RTL is.

    Left out are comments and the checks of parameters that only stop elaboration.
    """
    digest = hashlib.sha256()
    for name in sources:
        code = (line.partition("//")[0].strip() for line in source_text(name).splitlines())
        text = _BOUND.sub(r"\1", _CHECK.sub("", "\n".join(filter(None, code))))
        digest.update(f"{name}\n{text}\n".encode())
    return digest.hexdigest()
