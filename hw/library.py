# SPDX-License-Identifier: Apache-2.0
"""The RTL blocks: which files a kernel style is made of, and their text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

__all__ = ["KERNELS", "PRODUCT_SOURCES", "Kernel", "source_text", "sources_sha256"]

PRODUCT_SOURCES: Final = (
    "hq_decode.sv",
    "hq_mul.sv",
    "hq_align.sv",
    "hq_term.sv",
    "hq_product.sv",
)
"""The files of the product alone (top ``hq_product``), lower blocks first."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel style: the block at its top, its source files (lower blocks first), its timing."""

    style: str
    top: str
    sources: tuple[str, ...]
    latency_cycles: int
    initiation_interval: int


KERNELS: Final = {
    "plain": Kernel(
        style="plain",
        top="hq_mac",
        sources=(
            "hq_decode.sv",
            "hq_mul.sv",
            "hq_align.sv",
            "hq_term.sv",
            "hq_add.sv",
            "hq_sum.sv",
            "hq_dot.sv",
            "hq_acc.sv",
            "hq_mac.sv",
        ),
        latency_cycles=2,
        initiation_interval=1,
    )
}
"""Every kernel style by name; ``plain`` is portable SystemVerilog without primitives."""


@cache
def source_text(name: str) -> str:
    """Return the text of one RTL block, for example ``hq_mul.sv``.

    >>> source_text("hq_mul.sv").splitlines()[0]
    '// SPDX-License-Identifier: Apache-2.0'
    """
    return files("hw").joinpath("rtl", name).read_text(encoding="utf-8")


@cache
def sources_sha256(style: str = "plain") -> str:
    """Return one hash over the sources of a kernel style, comments left out: what its RTL is."""
    digest = hashlib.sha256()
    for name in KERNELS[style].sources:
        code = (line.partition("//")[0].strip() for line in source_text(name).splitlines())
        digest.update("\n".join((name, *filter(None, code), "")).encode())
    return digest.hexdigest()
