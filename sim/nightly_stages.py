# SPDX-License-Identifier: Apache-2.0
"""What ``hwquant verify --nightly`` consists of: everything that CI has no time for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from hw.manifest import spec_to_json
from hwquant.mac import MacSpec

from .designs import designs_of_specs
from .engine import verify_designs
from .gates import FARM_NETLISTS, sample, verify_netlists
from .kernels import Design
from .mutate import mutate_designs
from .mutate_kernels import Target, blocks, campaign
from .nightly import Finding, Stage, Task
from .nightly_units import unit_tasks
from .pairs import all_pairs
from .prove import STYLES, Proof, prove
from .replay import failure_record
from .report import Report

__all__ = ["STEPS", "stages"]

STEPS: Final = 1_048_576
"""Accumulator steps of each kernel of all pairs, in runs of `RUN_STEPS` with seeds of their own."""

RUN_STEPS: Final = 65_536  # bounds memory: a farm keeps all rows of a run
FARMS: Final = 4  # in one task
GATE_KERNELS: Final = 64
PROOF_KERNELS: Final = 64
PROOFS: Final = 8  # in one task
PROOF_CPU_SECONDS: Final = 3600.0  # for one kernel; beyond it the prover gives up, a failure here
MUTANTS: Final = 200
STYLE_MUTANTS: Final = 25
REHEARSAL_MUTANTS: Final = 10

# Seconds on two quiet cores, for the time left.
FARM_SECONDS: Final = 1.0
NETLIST_SECONDS: Final = 2.5
PROOF_SECONDS: Final = 5.0
PRODUCT_PROOF_SECONDS: Final = 60.0
MUTANT_SECONDS: Final = 0.06


def stages(
    *, seed: int = 0, steps: int = STEPS, count: int | None = None, jobs: int | None = None
) -> list[Stage]:
    """Return the stages of a nightly run.

    ``count`` takes that many kernels in each stage instead of all, as a rehearsal.
    Raises `InputError` for a ``count`` that is not 1 or more.
    """
    signed, unsigned = all_pairs(), all_pairs(unsigned=True)
    gates = [*sample(signed, GATE_KERNELS, seed), *sample(unsigned, GATE_KERNELS, seed)]
    proofs = [*sample(signed, PROOF_KERNELS, seed), *sample(unsigned, PROOF_KERNELS, seed)]
    styles, targets, mutants = list(STYLES), campaign(), MUTANTS
    if count is not None:
        signed, unsigned, gates = (sample(s, count, seed) for s in (signed, unsigned, gates))
        proofs, styles = sample(proofs, count, seed), styles[:count]
        targets, mutants = sorted(targets, key=_size)[:count], REHEARSAL_MUTANTS
    return [
        Stage("all pairs", tuple(_all_pairs(signed, seed, steps, jobs))),
        Stage("all pairs, unsigned activations", tuple(_all_pairs(unsigned, seed, steps, jobs))),
        Stage("gate level", tuple(_gates(gates, seed, jobs))),
        Stage("induction", tuple(_proofs(proofs, jobs, products=False))),
        Stage("induction and product miters", tuple(_proofs(styles, jobs, products=True))),
        Stage(
            "mutation", tuple(_mutation(target, seed, _few(target, mutants)) for target in targets)
        ),
        Stage("units", unit_tasks(seed, min(steps, RUN_STEPS), count)),
    ]


def _few(target: Target, mutants: int) -> int:
    """Return how many mutants a block gets: fewer in the kernels of styles, which are many."""
    return min(mutants, STYLE_MUTANTS) if target[0].kernels[0].title else mutants


def _size(target: Target) -> int:
    """Return the code pairs of a mutation target's kernel."""
    spec = target[0].kernels[0].spec
    return len(spec.weight.codes) * len(spec.act.codes) * spec.lanes


def _all_pairs(specs: Sequence[MacSpec], seed: int, steps: int, jobs: int | None) -> Iterator[Task]:
    """Yield every farm with every seed, until each kernel has taken ``steps`` steps."""
    farms = list(designs_of_specs(specs))
    groups = [farms[i : i + FARMS] for i in range(0, len(farms), FARMS)]
    runs = -(-steps // RUN_STEPS)
    for turn, (index, group) in itertools.product(range(runs), enumerate(groups)):
        yield Task(
            f"farms {index * FARMS + 1}-{index * FARMS + len(group)} of {len(farms)}, "
            f"seed {seed + turn}",
            {"specs": _named(group), "seed": seed + turn, "steps": min(steps, RUN_STEPS)},
            FARM_SECONDS * len(group),
            _verification(group, seed + turn, min(steps, RUN_STEPS), jobs),
        )


def _verification(farms: list[Design], seed: int, steps: int, jobs: int | None) -> Any:
    return lambda: found(verify_designs(farms, seed=seed, steps=steps, jobs=jobs))


def _gates(specs: Sequence[MacSpec], seed: int, jobs: int | None) -> Iterator[Task]:
    """Yield the mapped netlists, without and with DSP blocks."""
    groups = [specs[i : i + FARM_NETLISTS] for i in range(0, len(specs), FARM_NETLISTS)]
    for dsp, (index, group) in itertools.product((False, True), enumerate(groups)):
        yield Task(
            f"netlists {index + 1} of {len(groups)}{', DSP' * dsp}",
            {"specs": [spec_to_json(s) for s in group], "seed": seed, "dsp": dsp},
            NETLIST_SECONDS * len(group),
            _netlists(group, seed, jobs, dsp=dsp),
        )


def _netlists(specs: Sequence[MacSpec], seed: int, jobs: int | None, *, dsp: bool) -> Any:
    return lambda: found(verify_netlists(specs, dsp=dsp, seed=seed, jobs=jobs))


def _proofs(specs: Sequence[MacSpec], jobs: int | None, *, products: bool) -> Iterator[Task]:
    """Yield proofs for all states; ``products``: of every product by the solver as well."""
    size = 1 if products else PROOFS
    for index in range(0, len(specs), size):
        group = specs[index : index + size]
        yield Task(
            f"kernels {index + 1}-{index + len(group)} of {len(specs)}",
            {"specs": [spec_to_json(spec) for spec in group], "limit": PROOF_CPU_SECONDS},
            len(group) * (PRODUCT_PROOF_SECONDS if products else PROOF_SECONDS),
            _proof(group, jobs, products=products),
        )


def _proof(specs: Sequence[MacSpec], jobs: int | None, *, products: bool) -> Any:
    return lambda: _proved(
        prove(specs, timeout=PROOF_CPU_SECONDS, products=products, jobs=jobs).proofs
    )


def _proved(proofs: Sequence[Proof]) -> Finding:
    bad = [proof for proof in proofs if proof.status != "proved"]
    vectors = [failure_record(proof.failure) for proof in bad if proof.failure is not None]
    counts = {"kernels": len(proofs), "proved": len(proofs) - len(bad)}
    told = tuple(proof.describe() for proof in bad)
    return Finding(counts, told, vectors[0] if vectors else None)


def _mutation(target: Target, seed: int, mutants: int) -> Task:
    design, _ = target
    (kernel,) = design.kernels
    return Task(
        kernel.label.removeprefix(f"{kernel.name}: "),
        {"specs": _named([design]), "seed": seed, "mutants": mutants},
        MUTANT_SECONDS * mutants * len(target[1] or blocks()),
        lambda: _mutants(target, seed, mutants),
    )


def _mutants(target: Target, seed: int, mutants: int) -> Finding:
    report = mutate_designs([target], mutants=mutants, seed=seed)
    counts = {
        "mutants": len(report.fates),
        "killed": sum(fate.kill is not None for fate in report.fates),
        "equivalent": sum(fate.kill is None and fate.equivalent for fate in report.fates),
        "listed": sum(fate.reason is not None for fate in report.fates),
    }
    return Finding(counts, tuple(fate.describe() for fate in report.survivors))


def _named(farms: Sequence[Design]) -> list[Any]:
    return [spec_to_json(kernel.spec) for farm in farms for kernel in farm.kernels]


def found(report: Report) -> Finding:
    """Return a verification as a finding: a failure for each failing vector on record."""
    counts = {
        "kernels": report.kernels,
        "product_checks": sum(result.products for result in report.results),
        "mac_steps": report.mac_steps,
        "mismatches": report.mismatches,
    }
    told = tuple(failure.describe() for failure in report.failures)
    if report.mismatches and not told:
        told = (f"{report.mismatches} results differ",)
    return Finding(counts, told, failure_record(report.failures[0]) if report.failures else None)
