# SPDX-License-Identifier: Apache-2.0
"""``hwquant export``: write QONNX, execute it, compare it with the integer reference."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np

from hwquant.cli import emit, json_option
from hwquant.progress import note
from hwquant.ptq.commands import recipe_from, recipe_options

__all__ = ["export"]

SEED = 0


@click.command()
@click.argument("model")
@recipe_options
@click.option("--check", is_flag=True, help="Execute the file; compare it code for code.")
@click.option(
    "--images", type=click.IntRange(min=1), default=64, show_default=True, help="Inputs to check."
)
@click.option("-o", "--output", type=click.Path(), help="QONNX file to write.")
@json_option
@click.pass_context
def export(
    ctx: click.Context,
    /,
    model: str,
    data: str | None,
    check: bool,
    images: int,
    output: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Export MODEL as QONNX, or check an existing QONNX file.

    MODEL is zoo:NAME or FILE.py:FUNCTION[@WEIGHTS.pth], quantized here first, or a quantized
    FILE.onnx.  --check executes the graph with qonnx and compares every quantizer's codes and
    every layer's sums with the integer reference; the exit code is 1 when numbers differ that
    must be equal (power-of-two scales, sums within 24 bits).

    \b
    Examples:
      hwquant export zoo:digits_cnn --weight e2m1 --act int8 -o cnn.onnx --check
      hwquant export cnn.onnx --check --data digits --images 100 --json
    """
    existing = model.endswith(".onnx")
    if existing and output is not None:
        raise click.UsageError("-o needs a model to quantize; an .onnx file is only checked")
    if not existing and output is None and not check:
        raise click.UsageError("nothing to do: give -o FILE.onnx, --check, or both")
    if existing:
        result, failed = _check_file(model, data, images)
    else:
        result, failed = _export(model, data, recipe_from(**options), output, images, check=check)
    for line in result.get("notes", ()):
        note(line)
    if not as_json:  # what a person reads; the notes are on stderr already
        for row in result.pop("rows", ()):
            sums = f", {row['acc_bits']}-bit sums" if "acc_bits" in row else ""
            sure = "must be equal" if row["proven"] else "not guaranteed equal"
            counted = f"{row['differences']} of {row['compared']} {row['kind']} differ"
            click.echo(f"{row['layer']:<28} {counted} ({sure}{sums})")
        for row in result.get("table", ()):
            formats = f"{row['weight']} x {row['act']}"
            bits = f"{row['acc_bits']} bits (any weights: {row['law_bits']})"
            click.echo(f"{row['name']:<28} {row['op']} {formats}, accumulator {bits}")
        result = {k: v for k, v in result.items() if k not in ("table", "recipe", "notes")}
    emit(result, as_json=as_json)
    if failed:
        ctx.exit(1)


def _check_file(path: str, data: str | None, images: int) -> tuple[dict[str, Any], bool]:
    from hwquant.export.check import check_qonnx
    from hwquant.graph import load

    if data is None:
        shape = load(path, strict=False).input_shape()[1:]
        inputs = np.random.default_rng(SEED).normal(size=(images, *shape)).astype(np.float32)
        note(f"no --data: checking on {images} random inputs (normal, seed {SEED})")
    else:
        from hwquant.zoo.resolve import resolve_data

        inputs = resolve_data(data).x_test[:images].numpy()
    report = check_qonnx(path, inputs)
    return report.to_json(), bool(report.failures)


def _export(
    model: str, data: str | None, recipe: Any, output: str | None, images: int, *, check: bool
) -> tuple[dict[str, Any], bool]:
    import torch

    from hwquant.export.check import check_qonnx
    from hwquant.export.qonnx import export_qonnx
    from hwquant.ptq.quantize import quantize
    from hwquant.zoo.resolve import resolve

    trained = resolve(model, data)
    qmodel = quantize(trained.model, recipe, trained.data.x_calib)

    def forward(inputs: Any) -> Any:
        with torch.no_grad():
            return qmodel(torch.from_numpy(inputs)).numpy()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx") if output is None else Path(output)
        written = export_qonnx(qmodel, path, trained.data.sample)
        result = {"model": model, "recipe": recipe.to_dict(), **written.to_json()}
        result |= {"layers": len(written.layers), "table": written.to_json()["layers"]}
        failed = False
        if check:
            report = check_qonnx(path, trained.data.x_test[:images].numpy(), forward)
            result |= report.to_json()
            failed = bool(report.failures)
    result["path"] = output
    return result, failed
