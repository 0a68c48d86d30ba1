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

_CARRY: Final = "hq_chain.sv:50.14-57.8"
_ONE: Final = "hq_bucket_ram.sv:84.16-87.8"
_ADDR: Final = "hq_bucket.sv:235.5-238.8"
_PLUS: Final = "hq_add.sv:26.28-26.56"
_SUM: Final = "hq_chain.sv:76.7-81.6"

KNOWN: Final[dict[tuple[str, str], str]] = {
    ("bucket", f"{_CARRY} inv CO[1]"): RENAMED,
    ("bucket", f"{_ONE} inv A1[0]"): RENAMED,
    ("bucket", f"{_ONE} inv A2[0]"): RENAMED,
    ("bucket", f"{_ADDR} cnot0 B[0] by bit 1"): RENAMED,
    ("bucket_fast", f"{_CARRY} inv CO[1]"): RENAMED,
    ("bucket_fast", f"{_ONE} inv A3[0]"): RENAMED,
    ("bucket_fast", f"{_ONE} const1 A3[0]"): RENAMED,
    ("bucket_fast", f"{_ADDR} inv B[1]"): RENAMED,
    ("bucket_portable", f"{_PLUS} inv B[3]"): RENAMED,
    ("bucket_portable", f"{_PLUS} const1 A[3]"): RENAMED,
    ("bucket_portable", f"{_SUM} cnot0 sum_o[0] by bit 2"): RENAMED,
    ("bucket_portable", f"{_SUM} inv sum_o[0]"): RENAMED,
    ("bucket_portable", f"{_SUM} inv sum_o[1]"): RENAMED,
    ("bucket_portable", f"{_SUM} inv sum_o[2]"): RENAMED,
    ("bucket_portable", f"{_SUM} const1 a_i[2]"): RENAMED,
}
"""(style, name of the mutant) -> why it is equivalent."""


def name(mutant: Mutant) -> str:
    """Return a mutant's name, without the number that Yosys gave its cell."""
    control = "" if mutant.ctrlbit is None else f" by bit {mutant.ctrlbit}"
    return f"{mutant.src} {mutant.mode} {mutant.port}[{mutant.portbit}]{control}"


def known(kernel: Kernel, mutant: Mutant) -> str | None:
    """Return the reason why a mutant is equivalent, None where it is not on the list."""
    return KNOWN.get((kernel.title, name(mutant)))
