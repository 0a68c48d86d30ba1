# SPDX-License-Identifier: Apache-2.0
"""``hwquant cost MODEL.onnx``: the record of a network, for a stated folding or a searched one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hwquant.errors import InputError
from hwquant.mac import MacSpec

from .finn_files import refuse_foreign, write_finn_files
from .folded import CLOCK_MHZ, FoldedNetwork, fold_network
from .goal import AUTO_FOLDING, Goal
from .kernel import KernelCost
from .network import network_cost
from .parts import find_part, over, utilisation
from .prices import kernel_price, network_prices
from .ranges import spread
from .usage import Usage

if TYPE_CHECKING:
    from hwquant.workload import Workload

__all__ = ["NetworkRequest", "network_record"]


@dataclass(frozen=True)
class NetworkRequest:
    """How to price a network; ``folding`` and ``lanes`` are None where nobody asked for one."""

    lanes: int | None
    folding: str | None
    overflow: str
    style: str
    synth: bool
    goal: Goal


def network_record(model: Path, request: NetworkRequest) -> dict[str, Any]:
    """Return the record of an exported network; writes FINN's files where the goal names a folder.

    Raises `InputError` for options that contradict each other, a name that is no file, and what
    `costmodel.folded.fold_network` refuses.
    """
    goal = request.goal
    part = None if goal.part is None else find_part(goal.part)
    searched = _searched(request)
    if part is not None:
        part.require_lut6()
    if goal.out is not None:
        refuse_foreign(goal.out)
    workload = _workload(model)
    if searched:
        folded = fold_network(
            workload,
            network_prices(synth=request.synth),
            fps=goal.fps,
            limits=goal.limits,
            part=part,
            clock_mhz=CLOCK_MHZ if goal.clock_mhz is None else goal.clock_mhz,
            style=request.style,
            overflow=request.overflow,
        )
        record, used = folded.to_json(), folded.with_conversion
        kernels = [(fold.spec, fold.cost, fold.copies) for fold in folded.folds]
        _finish(folded, goal, record)
    else:

        def one(spec: MacSpec) -> KernelCost:
            return kernel_price(spec, request.style, synth=request.synth)

        cost = network_cost(
            workload,
            folding=request.folding or "per-layer",
            lanes=1 if request.lanes is None else request.lanes,
            overflow=request.overflow,
            price=one,
        )
        record, used = cost.to_json(), cost.with_conversion
        kernels = [(use.spec, use.cost, use.copies) for use in cost.kernels]
    if goal.level is not None:
        record |= _ranges(record, kernels, goal.level)
    if part is not None:
        both = [Usage(**record[name]) for name in ("without_conversion", "with_conversion")]
        excess = over(used, part.resources)
        record |= {
            "part": part.to_json(),
            "utilisation_percent_without_conversion": utilisation(both[0], part),
            "utilisation_percent_with_conversion": utilisation(both[1], part),
            "fits": not excess,
            "over_budget": {name: list(counts) for name, counts in excess.items()},
        }
    return record


def _searched(request: NetworkRequest) -> bool:
    """Return whether the folding is to be searched; raises `InputError` for contradictions."""
    goal = request.goal
    searched = goal.searches or request.folding == AUTO_FOLDING
    if not searched:
        given = ["--clock"] if goal.clock_mhz is not None else []
        given += ["-o"] if goal.out is not None else []
        if given:
            raise InputError(
                f"{given[0]} goes with a folding that is searched; give --fps, --budget, or "
                "--folding auto with --part"
            )
        return False
    if request.folding not in (None, AUTO_FOLDING):
        raise InputError(
            f"--folding {request.folding} fixes what --fps and --budget search; leave one out"
        )
    if request.lanes is not None:
        raise InputError("--lanes fixes what --fps and --budget search; leave one out")
    if not goal.searches and goal.part is None:
        raise InputError("--folding auto needs a target; give --fps, --budget or --part")
    return True


def _workload(model: Path) -> Workload:
    from hwquant.graph import load

    name = str(model)
    if not model.exists() and (name.startswith("zoo:") or model.suffix != ".onnx"):
        raise InputError(
            f"{name} is no exported network; write one with: hwquant quantize "
            f"{name if name.startswith('zoo:') else 'MODEL'} --weight F --act F -o model.onnx"
        )
    return load(model).workload()


def _finish(folded: FoldedNetwork, goal: Goal, record: dict[str, Any]) -> None:
    if goal.out is None:
        return
    record["files"] = write_finn_files(folded, goal.out)
    record["folder"] = str(goal.out)


def _ranges(
    record: Mapping[str, Any], kernels: list[tuple[MacSpec, KernelCost, int]], level: float
) -> dict[str, Any]:
    """Return the totals of LUT sites with their intervals; all but kernels enter as they are."""
    whole = spread(kernels, level)

    def widened(value: int) -> dict[str, Any]:
        rest = value - whole.value
        return whole.to_json() | {
            "value": value,
            "low": whole.low + rest,
            "high": whole.high + rest,
        }

    found: dict[str, Any] = {"interval_level": level}
    if "lut_sites" in record:
        found["lut_sites"] = widened(record["lut_sites"])
    for name in ("without_conversion", "with_conversion"):
        found[f"lut_sites_{name}"] = widened(record[name]["lut_sites"])
    return found
