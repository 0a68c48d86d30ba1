# SPDX-License-Identifier: Apache-2.0
"""``hwquant overflow``: accumulator widths, certified and advised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from hwquant.cli import emit, json_option
from hwquant.errors import InputError
from hwquant.progress import note, track

__all__ = ["overflow"]

LABEL = "estimated from the images given, not a proof: a design that uses acc_bits must saturate"


@click.command()
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL.onnx")
@click.option("--data", required=True, help="A set of the zoo (its calibration part) or FILE.npy.")
@click.option(
    "--images", type=click.IntRange(min=2), default=32, show_default=True, help="Images to run."
)
@click.option(
    "--risk", type=float, default=1e-6, show_default=True, help="Of saturating, per image."
)
@click.option(
    "--lanes", type=click.IntRange(1, 4096), default=1, show_default=True, help="Products a beat."
)
@click.option(
    "--bias",
    type=click.Choice(["after", "first"]),
    default="after",
    show_default=True,
    help="The requantizer adds it, as behind our kernels; or the accumulator starts at it.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of folds and bootstrap.")
@json_option
def overflow(
    model: Path,
    data: str,
    images: int,
    risk: float,
    lanes: int,
    bias: str,
    seed: int,
    as_json: bool,
) -> None:
    """Advise accumulator widths of an exported network: certified, seen, and at a stated risk.

    certificate_bits can never overflow.  acc_bits is the narrowest width at which an image is
    estimated to saturate the layer with probability --risk at most (95 % upper bound), from the
    widths that a few images really needed.  It is advice, not a proof: use it saturating.

    \b
    Examples:
      hwquant overflow model.onnx --data glyphs --images 32 --risk 1e-6
      hwquant overflow model.onnx --data images.npy --lanes 8 --json
    """
    from costmodel.overflow.advice import CONFIDENCE, advise
    from costmodel.overflow.needs import measure
    from hwquant.graph import load

    graph = load(model)
    inputs = _inputs(data)[:images]
    with track("images", total=len(inputs)) as advance:
        needs = measure(graph, inputs, lanes=lanes, advance=advance)
    advice = []
    with track("layers", total=len(needs)) as advance:
        for need in needs:
            advice.append(advise(need, risk, bias_first=bias == "first", seed=seed))
            advance(detail=need.layer.name)
    rows = [one.to_json() for one in advice]
    left_out = [layer.name for layer in graph.layers() if layer.weight_ints is None]
    left_out += [str(block["name"]) for block in graph.model.metadata.get("block_layers", [])]
    head = {
        "model": str(model),
        "data": data,
        "images": len(inputs),
        "risk": risk,
        "confidence": CONFIDENCE,
        "lanes": lanes,
        "bias": bias,
        "label": LABEL,
        "left_out": left_out,
    }
    if as_json:
        emit({**head, "layers": rows}, as_json=True)
        return
    click.echo(_table(rows))
    click.echo()
    emit(head, as_json=False)
    for row in rows:
        note(row["rtl"])


def _inputs(data: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Return the images of a file, or of a data set's calibration part."""
    if not data.endswith(".npy"):
        from hwquant.zoo.resolve import resolve_data

        found: np.ndarray[Any, np.dtype[Any]] = resolve_data(data).x_calib.numpy()
        return found
    if not Path(data).is_file():
        raise InputError(f"no file {data}; give a .npy array of images or the name of a data set")
    try:
        return np.load(data, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{data} cannot be read as one array of numbers ({error})") from error


def _table(rows: Iterable[Mapping[str, Any]]) -> str:
    columns = ("name", "length", "channels", "paper_bits", "certificate_bits", "seen_bits")
    shown = (*columns, "acc_bits", "risk_high")
    cells = [shown] + [
        (*(str(row[c]) for c in shown[:-1]), f"{row['risk_high']:.1e}") for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )
