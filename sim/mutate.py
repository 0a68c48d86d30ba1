# SPDX-License-Identifier: Apache-2.0
"""The mutation gate: the farm's stimulus must kill every mutant that is not equivalent.

A mutant that survives is proved to compute the same function, or it is a hole in the stimulus.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hwquant.errors import HwquantError, InputError, ToolError
from hwquant.mac import MacSpec
from hwquant.progress import track

from . import farm_top
from .build import simulator
from .designs import design_of_spec
from .engine import DEFAULT_STEPS
from .kernels import Design, Kernel
from .mutants import SELECT, SELECT_BITS, Mutant, Mutated, mutate_design
from .mutate_known import known
from .mutate_prove import Proof, prove
from .runner import run_job
from .vectors import KINDS

__all__ = [
    "STIMULUS",
    "Fate",
    "MutationError",
    "MutationReport",
    "mutate",
    "mutate_designs",
    "run_mutants",
]

STIMULUS: Final = ("products", *KINDS, "gaps")
"""Everything the farm sends; fewer are for measuring what each part is worth."""

QUICK_ROWS: Final = 4096  # of each pass; nearly all mutants that die do so here

_CPP: Final = """
namespace { int mutant = 0; }
extern "C" void hq_select(int index) { mutant = index; }
extern "C" int hq_mutant() { return mutant; }
"""


class MutationError(HwquantError):
    """A mutant that is not equivalent survived."""


@dataclass(frozen=True)
class Fate:
    """What became of a mutant: ``kill`` says what killed it, else ``proof`` what was proved."""

    mutant: Mutant
    kernel: Kernel = field(repr=False)
    kill: Mapping[str, Any] | None
    proof: Proof | None

    @property
    def survived(self) -> bool:
        """Whether the mutant was neither killed nor proved equivalent, and is not on the list."""
        return self.kill is None and not self.equivalent and self.reason is None

    @property
    def equivalent(self) -> bool:
        """Whether a solver proved that it computes the same function."""
        return self.proof is not None and self.proof.equivalent

    @property
    def reason(self) -> str | None:
        """Why a mutant that a solver could not judge is equivalent (`sim.mutate_known`)."""
        judged = self.kill is not None or self.equivalent
        return None if judged else known(self.kernel, self.mutant)

    def describe(self) -> str:
        """Return the survivor in words, with the codes that tell it from the original."""
        why = "" if self.proof is None else f"\n  {self.proof.describe()}"
        return f"{self.kernel.label}\n  mutant {self.mutant.index}: {self.mutant.label}{why}"

    def to_json(self) -> dict[str, Any]:
        """Return JSON-able data."""
        return {
            "kernel": self.kernel.label,
            "mutant": self.mutant.to_json(),
            "killed_by": None if self.kill is None else dict(self.kill),
            "proof": None if self.proof is None else self.proof.to_json(),
        }


@dataclass(frozen=True)
class MutationReport:
    """All mutants of one campaign, its seed and its wall time in seconds."""

    fates: tuple[Fate, ...] = field(repr=False)
    seed: int
    seconds: float

    @property
    def survivors(self) -> tuple[Fate, ...]:
        """The mutants that are holes in the stimulus."""
        return tuple(fate for fate in self.fates if fate.survived)

    def rows(self) -> list[dict[str, Any]]:
        """Return one record per kernel and block: mutants, killed, equivalent, survivors."""
        groups: dict[tuple[str, str], list[Fate]] = {}
        for fate in self.fates:
            label = fate.kernel.label.removeprefix(f"{fate.kernel.name}: ")
            groups.setdefault((label, fate.mutant.block), []).append(fate)
        return [
            {"block": block, "kernel": label, **_counts(fates)}
            for (label, block), fates in groups.items()
        ]

    def killers(self) -> dict[str, int]:
        """Return how many mutants each kind of stimulus was the first to kill."""
        kinds = Counter(fate.kill["kind"] for fate in self.fates if fate.kill is not None)
        return dict(kinds.most_common())

    def raise_for_survivor(self) -> None:
        """Raise `MutationError` describing the first survivor, if there is one."""
        if self.survivors:
            raise MutationError(
                f"{len(self.survivors)} mutants survive; the first:\n{self.survivors[0].describe()}"
            )

    def to_json(self) -> dict[str, Any]:
        """Return the counts and the survivors, as ``hwquant mutate --json`` prints them."""
        return {
            **_counts(self.fates),
            "seed": self.seed,
            "seconds": round(self.seconds, 2),
            "blocks": self.rows(),
            "killed_first_by": self.killers(),
            "listed_mutants": {
                f"{fate.kernel.title}: {fate.mutant.label}": fate.reason
                for fate in self.fates
                if fate.reason is not None
            },
            "failures": [fate.to_json() for fate in self.survivors],
        }


def _counts(fates: Sequence[Fate]) -> dict[str, int]:
    return {
        "mutants": len(fates),
        "killed": sum(fate.kill is not None for fate in fates),
        "equivalent": sum(fate.kill is None and fate.equivalent for fate in fates),
        "listed": sum(fate.reason is not None for fate in fates),
        "survivors": sum(fate.survived for fate in fates),
    }


def mutate(
    specs: MacSpec | Iterable[MacSpec],
    *,
    mutants: int = 200,
    seed: int = 1,
    steps: int = DEFAULT_STEPS,
    blocks: Sequence[str] | None = None,
    stimulus: Sequence[str] = STIMULUS,
    jobs: int | None = None,
) -> MutationReport:
    """Mutate the blocks of kernels and say which mutants the verification does not notice.

    ``mutants`` are made in each block of each kernel; they see the products and ``steps``
    accumulator steps of `sim.verify`.  Survivors are proved equivalent or are failures.

    >>> report = mutate(MacSpec("e2m1", "int4", 2, 32, 9, "saturate"))  # doctest: +SKIP
    >>> report.raise_for_survivor()  # doctest: +SKIP

    Raises `InputError` for bad arguments, `ToolError` when a tool is missing or fails.
    """
    listed = [specs] if isinstance(specs, MacSpec) else list(specs)
    designs = [(design_of_spec(spec), blocks) for spec in listed]
    return mutate_designs(
        designs, mutants=mutants, seed=seed, steps=steps, stimulus=stimulus, jobs=jobs
    )


def mutate_designs(
    designs: Sequence[tuple[Design, Sequence[str] | None]],
    *,
    mutants: int = 200,
    seed: int = 1,
    steps: int = DEFAULT_STEPS,
    stimulus: Sequence[str] = STIMULUS,
    jobs: int | None = None,
) -> MutationReport:
    """Mutate ready designs of one kernel each, in the blocks named beside them (None: all).

    ``jobs`` kernels run at a time (None: one per core); results do not depend on it.
    """
    if not designs:
        raise InputError("nothing to mutate: no kernel was given")
    for name, value, least in (("mutants", mutants, 1), ("seed", seed, 0), ("steps", steps, 1)):
        if value < least:
            raise InputError(f"{name} {value}, allowed {least} or more")
    start = time.monotonic()

    def one(target: tuple[Design, Sequence[str] | None]) -> list[Fate]:
        design, blocks = target
        mutated = mutate_design(design, count=mutants, seed=seed, blocks=blocks)
        if not mutated.mutants:
            return []
        killed = run_mutants(mutated, seed=seed, steps=steps, stimulus=stimulus)
        left = [mutant for mutant in mutated.mutants if mutant.index not in killed]
        proofs = prove(mutated, left)
        return [
            Fate(m, mutated.kernel, killed.get(m.index), proofs.get(m.index))
            for m in mutated.mutants
        ]

    found: dict[int, list[Fate]] = {}
    workers = max(min(jobs or os.cpu_count() or 1, len(designs)), 1)
    with ThreadPoolExecutor(workers) as pool, track("kernels mutated", len(designs)) as advance:
        futures = {pool.submit(one, target): index for index, target in enumerate(designs)}
        try:
            for future in as_completed(futures):
                found[futures[future]] = future.result()
                advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    fates = tuple(fate for index in range(len(designs)) for fate in found[index])
    if not fates:
        raise InputError("nothing to mutate: these blocks are only wires in these kernels")
    return MutationReport(fates, seed, time.monotonic() - start)


def _wrapper(mutated: Mutated) -> str:
    """Return the kernel's module, now around the mutated netlist and a select register."""
    name = mutated.kernel.name
    texts = "\n".join(mutated.sources.values())
    head = texts.split(f"module {name} (")[1].split(");")[0]
    return f"""module {name} ({head});
  import "DPI-C" function int hq_mutant();
  bit [{SELECT_BITS - 1}:0] select;
  always @(posedge clk_i) select <= {SELECT_BITS}'(hq_mutant());
  mutated_{name} u_mutated (.*, .{SELECT}(select));
endmodule
"""


def run_mutants(
    mutated: Mutated, *, seed: int, steps: int, stimulus: Sequence[str] = STIMULUS
) -> dict[int, dict[str, Any]]:
    """Simulate all mutants; return what killed each one that died, by its index.

    All see the first rows of every pass; a second, much smaller and faster build then shows
    everything to those that are left.

    Raises `ToolError` when the simulation fails or the original itself differs.
    """
    killed = _simulate(mutated, seed=seed, steps=steps, stimulus=stimulus, rows=QUICK_ROWS)
    left = tuple(mutant for mutant in mutated.mutants if mutant.index not in killed)
    if left:
        rest = replace(mutated, mutants=left)
        killed |= _simulate(rest, seed=seed, steps=steps, stimulus=stimulus, rows=None)
    return killed


def _simulate(
    mutated: Mutated, *, seed: int, steps: int, stimulus: Sequence[str], rows: int | None
) -> dict[int, dict[str, Any]]:
    kernel = mutated.kernel
    build = simulator(
        {
            "mutated.v": mutated.netlist(),
            "wrapper.sv": _wrapper(mutated),
            f"{farm_top.TOP}.sv": farm_top.farm_sv([kernel]),
        },
        farm_top.TOP,
        visible=farm_top.VISIBLE,
        cpp=farm_top.farm_cpp([kernel]) + _CPP,
    )
    job = {
        "kernels": [kernel.to_json()],
        "seed": seed,
        "steps": steps,
        "mutants": [mutant.index for mutant in mutated.mutants],
        "rows": rows,
        "stimulus": list(stimulus),
    }
    _, outcome, _ = run_job(build, farm_top.TOP, "sim.tb_mutants", job, seed=seed)
    killed = {int(index): story for index, story in outcome["killed"].items()}
    if 0 in killed:
        raise ToolError(f"{kernel.label}: the original differs already: {killed[0]}")
    if len(killed) + len(outcome["alive"]) != len(mutated.mutants) + 1:
        raise ToolError(f"{kernel.label}: the testbench lost mutants")
    return killed
