# SPDX-License-Identifier: Apache-2.0
"""``python -m costmodel.overflow``: the model against its baselines on networks of the zoo."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from hwquant.graph import Graph, load
from hwquant.progress import note, track

from .evaluate import METHODS, RISKS, LayerResult, evaluate_layer, summary
from .needs import measure

__all__ = ["main"]

COLUMNS: Final = (
    "method",
    "Brier",
    "log loss",
    "channel RMSE",
    "beyond: Brier",
    "log loss",
    "channel RMSE",
    "layers where PRESTO's log loss is less: seen, beyond",
    "s, worst layer",
)
NETWORKS: Final = (
    "zoo:glyphs_resnet8=int4,int4",
    "zoo:glyphs_mlp=e2m1,e2m1",
    "zoo:glyphs_mobilenet=int4,int4",
)


def _quantized(text: str, folder: str) -> tuple[Graph, Any]:
    """Return the integer graph of ``MODEL=WEIGHT,ACT`` (unsigned where it fits) and its data."""
    from hwquant.export.qonnx import export_qonnx
    from hwquant.ptq.quantize import quantize
    from hwquant.ptq.recipe import Recipe
    from hwquant.zoo.resolve import resolve

    model, _, formats = text.partition("=")
    weight, _, act = formats.partition(",")
    trained = resolve(model)
    recipe = Recipe(weight, act or weight, act_unsigned=True)
    path = Path(folder, "model.onnx")
    export_qonnx(
        quantize(trained.model, recipe, trained.data.x_calib[:256]), path, trained.data.sample
    )
    return load(path), trained.data


def _evaluated(text: str, images: int, held_out: int, draws: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        graph, data = _quantized(text, folder)
        found: list[LayerResult] = []
        with track(f"{text} held out", total=held_out) as advance:
            test = measure(graph, data.x_test[:held_out].numpy(), advance=advance)
        for draw in range(draws):
            part = data.x_calib[draw * images : (draw + 1) * images].numpy()
            for seen, held in zip(measure(graph, part), test, strict=True):
                result = evaluate_layer(seen, held)
                if result is None:
                    note(f"{seen.layer.name}: all rows need the same width, nothing to compare")
                else:
                    found.append(result)
                    note(f"draw {draw} {seen.layer.name}: boundary {result.boundary} bits")
    return summary(found)


def _markdown(name: str, found: Mapping[str, Any]) -> str:
    """Return the tables of one network."""
    lines = [
        f"### {name}",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for method in METHODS:
        row = found["methods"][method]
        cells = [f"{row[f'seen_{f}']:.4f}" for f in ("brier", "log_loss", "channel_rmse")]
        cells += [f"{row[f'beyond_{f}']:.5f}" for f in ("brier", "log_loss", "channel_rmse")]
        cells.append(
            f"{row['seen_presto_better']}, {row['beyond_presto_better']} of {found['layers']}"
        )
        cells.append(f"{row['seconds_worst_layer']:.2f}")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += ["", "| widths per channel | " + " | ".join(f"risk {r:g}" for r in RISKS) + " |"]
    lines.append("|---|" + "---|" * len(RISKS))
    tables = [found["widths"][f"{risk:g}"] for risk in RISKS]
    for method in tables[0]:
        cells = [
            f"{t[method]['mean_bits']:.2f} bits, {t[method]['too_narrow']:.1%} too narrow"
            for t in tables
        ]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    lines += ["", "| PRESTO's estimate | rows | mean estimate | observed |", "|---|---|---|---|"]
    for row in found["methods"]["presto"]["curve"]:
        lines.append(
            f"| {row['from']:g} to {row['to']:g} | {row['rows']} | {row['estimated']:.2e} | "
            f"{row['observed']:.2e} |"
        )
    return "\n".join(lines)


@click.command()
@click.argument("networks", nargs=-1, metavar="[MODEL=WEIGHT,ACT]...")
@click.option("--images", type=click.IntRange(min=2), default=32, show_default=True)
@click.option("--held-out", type=click.IntRange(min=1), default=2048, show_default=True)
@click.option("--draws", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--markdown", is_flag=True, help="Tables instead of JSON.")
def main(networks: tuple[str, ...], images: int, held_out: int, draws: int, markdown: bool) -> None:
    """Score the estimates of overflow on networks of the zoo.

    Fitted on IMAGES calibration images (DRAWS times, other images each time), scored on HELD-OUT
    test images; means over layers and draws.

    \b
    Examples:
      python -m costmodel.overflow --markdown
      python -m costmodel.overflow zoo:glyphs_mobilenet=e2m1,e2m1 --held-out 1024
    """
    found = {n: _evaluated(n, images, held_out, draws) for n in networks or NETWORKS}
    if not markdown:
        click.echo(json.dumps(found))
        return
    for name, one in found.items():
        click.echo(_markdown(name, one) + "\n")
        facts = ("layers", "rate", "rate_beyond", "crossings", "bounds", "bounds_held")
        click.echo(", ".join(f"{fact} {one[fact]}" for fact in facts) + "\n")


if __name__ == "__main__":
    main()
