# SPDX-License-Identifier: Apache-2.0
"""``hwquant zoo``: the networks that come with hwquant, trained and measured."""

from __future__ import annotations

from typing import Any

import click

from hwquant.cli import emit, json_option
from hwquant.errors import InputError

__all__ = ["zoo"]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Seeds 0 to N-1."
)
@json_option
def zoo(names: tuple[str, ...], seeds: int, as_json: bool) -> None:
    """List the zoo's networks, or train and measure the named ones.

    Training takes seconds to minutes, once; the weights stay in the cache.  The figures are those
    of the network's task on its test part, a list with one entry per seed, and their means.

    \b
    Examples:
      hwquant zoo
      hwquant zoo glyphs_resnet8 glyphs_vit --seeds 3 --json
    """
    from hwquant.zoo.catalogue import CATALOGUE

    unknown = [name for name in names if name not in CATALOGUE]
    if unknown:
        allowed = ", ".join(sorted(CATALOGUE))
        raise InputError(f"zoo model {unknown[0]!r} is unknown, allowed: {allowed}")
    if names:
        emit({name: _measured(name, seeds) for name in names}, as_json=as_json)
        return
    listed: dict[str, Any] = {}
    for name, entry in sorted(CATALOGUE.items()):
        parameters = sum(part.numel() for part in entry.build().parameters())
        recipe = entry.recipe
        listed[name] = {"parameters": parameters, "data": entry.data, "epochs": recipe.epochs}
    emit(listed, as_json=as_json)


def _measured(name: str, seeds: int) -> dict[str, Any]:
    """Return each figure over the seeds, and the means."""
    from hwquant.zoo.training import load

    runs = [load(f"{name}:{seed}").figures for seed in range(seeds)]
    figures: dict[str, Any] = {figure: [run[figure] for run in runs] for figure in runs[0]}
    means = {f"{figure}_mean": sum(values) / seeds for figure, values in figures.items()}
    return figures | means
