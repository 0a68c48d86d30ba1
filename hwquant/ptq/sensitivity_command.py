# SPDX-License-Identifier: Apache-2.0
"""``hwquant sensitivity``: which layers suffer most, one at a time."""

from __future__ import annotations

from itertools import product
from typing import Any

import click

from hwquant.cli import json_option
from hwquant.ptq.commands import recipe_from, recipe_options

__all__ = ["sensitivity"]

PARTS = ("weight", "act", "both")
COLUMNS = ("path", "part", "weight", "act", "logit_mse", "foretold", "kl", "agreement", "accuracy")


@click.command()
@click.argument("model")
@recipe_options
@click.option(
    "--part", "parts", multiple=True, type=click.Choice(PARTS), help="What to quantize; repeatable."
)
@click.option(
    "--images",
    type=click.IntRange(1),
    default=512,
    show_default=True,
    help="Test items to measure on.",
)
@json_option
def sensitivity(
    model: str,
    data: str | None,
    parts: tuple[str, ...],
    images: int,
    as_json: bool,
    **options: Any,
) -> None:
    """Quantize each layer of MODEL alone and tell how much the network's outputs change.

    MODEL and the options are those of `hwquant quantize`; of the steps only calibrate runs.
    --weight and --act take several formats, separated by commas.  The worst layer comes first.

    \b
    Examples:
      hwquant sensitivity zoo:digits_cnn --weight int3 --act int8
      hwquant sensitivity zoo:digits_cnn --weight int4,e2m1 --part weight --json
    """
    weights = (options.pop("weight") or "").split(",")
    acts = (options.pop("act") or "").split(",")
    recipes = [
        recipe_from(**options, weight=weight.strip() or None, act=act.strip() or None)
        for weight, act in product(weights, acts)
    ]

    from hwquant.ptq.sensitivity import calibrated, sensitivities
    from hwquant.zoo.resolve import resolve

    trained = resolve(model, data)
    jobs = calibrated(trained.model, recipes, trained.data.x_calib)
    rows = [
        row.to_dict()
        for row in sensitivities(
            jobs,
            trained.data.x_test[:images],
            trained.data.y_test[:images],
            parts=parts or PARTS,
        )
    ]
    rows.sort(key=lambda row: -row["logit_mse"])
    if as_json:
        import json

        click.echo(json.dumps({"model": model, "rows": rows}))
        return
    click.echo(_table(rows))


def _table(rows: list[dict[str, Any]]) -> str:
    """Return the rows as aligned text; a dash where there is nothing to tell."""
    cells = [COLUMNS, *(tuple(_cell(row[column]) for column in COLUMNS) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def _cell(item: Any) -> str:
    if item is None:
        return "-"
    return f"{item:.4g}" if isinstance(item, float) else str(item)
