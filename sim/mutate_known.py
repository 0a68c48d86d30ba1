# SPDX-License-Identifier: Apache-2.0
"""Mutants that neither die nor can be proved equivalent by the prover, each with the reason.

The prover takes equal registers to equal registers, so it cannot see that two kernels keep the same
sums under other addresses.  A mutant stands here by its name, so that any other one like it, and
this one after its line of RTL has moved, is a survivor again.
"""

from __future__ import annotations

from typing import Final

from .kernels import Kernel
from .mutants import Mutant

__all__ = ["KNOWN", "RENAMED", "known"]

RENAMED: Final = (
    "the RAM's words change places: sums are added up and drained through the same address"
)

KNOWN: Final[dict[tuple[str, str], str]] = {}
"""(style, name of the mutant) -> why it is equivalent."""


def name(mutant: Mutant) -> str:
    """Return a mutant's name, without the number that Yosys gave its cell."""
    control = "" if mutant.ctrlbit is None else f" by bit {mutant.ctrlbit}"
    return f"{mutant.src} {mutant.mode} {mutant.port}[{mutant.portbit}]{control}"


def known(kernel: Kernel, mutant: Mutant) -> str | None:
    """Return the reason why a mutant is equivalent, None where it is not on the list."""
    return KNOWN.get((kernel.title, name(mutant)))
