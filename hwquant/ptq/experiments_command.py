# SPDX-License-Identifier: Apache-2.0
"""``hwquant experiment``: does a claim of the literature hold on networks of the zoo?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from hwquant import atomic
from hwquant.cli import emit, json_option
from hwquant.errors import InputError
from hwquant.ptq.experiments import EXPERIMENTS, shortened
from hwquant.ptq.experiments import experiment as find

__all__ = ["experiment"]


@click.command()
@click.argument("name", required=False)
@click.option("--list", "listing", is_flag=True, help="List the experiments.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Networks.")
@click.option(
    "--draws",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Calibration draws per network.",
)
@click.option(
    "--calib", type=click.IntRange(1), default=512, show_default=True, help="Items in a draw."
)
@click.option("--items", type=click.IntRange(1), help="Test items.  [default: all]")
@click.option(
    "--iterations", type=click.IntRange(1), help="Of every learned step.  [default: the claim's]"
)
@click.option("--out", type=click.Path(file_okay=False), help="Also write DIR/NAME.json.")
@json_option
def experiment(
    name: str | None,
    listing: bool,
    seeds: int,
    draws: int,
    calib: int,
    items: int | None,
    iterations: int | None,
    out: str | None,
    as_json: bool,
) -> None:
    """Compare the two recipes of the experiment NAME on the same networks and calibration draws.

    Prints the mean difference of accuracy, its 95 % interval, McNemar's p and whether the claim
    holds: the interval excludes 0 and the difference is at least 0.3 points.  The exit code is 0
    whichever way it falls.  Finished cells are cached: the same command resumes.

    \b
    Examples:
      hwquant experiment --list
      hwquant experiment mse-absmax --seeds 1 --items 5000
      hwquant experiment adaround-nearest --seeds 1 --draws 1 --iterations 200
      hwquant experiment flexround-adaround-w2 --seeds 3 --draws 2 --json --out runs/claims
    """
    if listing:
        claims = {item.name: f"{item.claim} ({item.model})" for item in EXPERIMENTS.values()}
        emit(claims, as_json=as_json)
        return
    if name is None:
        raise InputError(f"experiment: no name given, allowed: {', '.join(EXPERIMENTS)}")
    chosen = find(name)
    if iterations is not None:
        chosen = shortened(chosen, iterations)

    from hwquant.ptq.paired import run

    outcome = run(chosen, seeds=seeds, draws=draws, calib=calib, items=items).to_dict()
    if out is not None:
        atomic.write_text(Path(out) / f"{name}.json", json.dumps(outcome, indent=2) + "\n")
    if as_json:
        emit(outcome, as_json=True)
        return
    arms = {arm: outcome.pop(arm) for arm in ("first", "second")}
    for arm, figures in arms.items():
        steps = json.loads(figures["recipe"])["steps"]
        outcome[arm] = (
            f"{figures['top1']:.2f} %  kl {figures['kl']:.4f}  {figures['cpu_s']:.1f} CPU s  "
            f"{' '.join(steps)}"
        )
    emit(outcome, as_json=False)
