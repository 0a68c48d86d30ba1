# SPDX-License-Identifier: Apache-2.0
"""What the kernel commands take besides, for constant kernels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import numpy as np

from hwquant.errors import InputError, SpecError

from .spec import MatVecSpec

__all__ = ["STYLES", "Constant", "constant_options", "constant_request", "load_matrix"]

F = TypeVar("F", bound=Callable[..., Any])

STYLES: Final = ("constant", "constant-portable")
_META: Final = "hwquant.constant."


class Constant:
    """A constant kernel as the command line describes it."""

    def __init__(self, spec: MatVecSpec, *, levels: int, primitive: bool) -> None:
        self.spec = spec
        self.levels = levels
        self.primitive = primitive


def _keep(ctx: click.Context, option: click.Parameter, value: Any) -> Any:
    """Keep what was given with the context, so that no command has to hand it on."""
    ctx.meta[f"{_META}{option.name}"] = value
    return value


def constant_options(command: F) -> F:
    """Add ``--constant``, ``--layer`` and ``--levels``; `constant_request` reads them."""
    options = (
        click.option(
            "--constant",
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            callback=_keep,
            help="Weights in the wiring: a .npy matrix of weight codes (outputs, inputs), with "
            "--weight and --act; or an exported .onnx file, with --layer.",
        ),
        click.option(
            "--layer",
            metavar="NAME",
            expose_value=False,
            callback=_keep,
            help="With --constant FILE.onnx: the layer whose weights and bias to take.",
        ),
        click.option(
            "--levels",
            type=click.IntRange(1, 16),
            default=1,
            show_default=True,
            expose_value=False,
            callback=_keep,
            help="With --constant: levels of shared adders between two registers.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def load_matrix(path: Path) -> Any:
    """Return the integer array of a .npy file; raises `InputError` when it is none."""
    try:
        return np.load(path, allow_pickle=False)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} is no .npy file that can be read ({reason})") from error
    except (ValueError, EOFError) as error:  # numpy would advise to unpickle what is no array
        raise InputError(
            f"{path} is no .npy file of integers, or it is cut short; write it with numpy.save"
        ) from error


def _from_layer(path: Path, name: str | None) -> MatVecSpec:
    from hwquant.graph import load

    layers = {layer.name: layer for layer in load(path).layers()}
    if name is None or name not in layers:
        given = "no --layer" if name is None else f"--layer {name}"
        raise InputError(f"{given}, allowed for {path}: {', '.join(layers)}")
    layer = layers[name]
    if layer.weight_codes is None:
        raise InputError(f"layer {name} multiplies two activations; it has no constant weights")
    if layer.window is not None and layer.window.groups > 1:
        raise InputError(
            f"layer {name} has {layer.window.groups} groups; its outputs have different inputs"
        )
    if layer.off_grid:
        raise InputError(
            f"layer {name}: {layer.off_grid} biases are no integers on the accumulator grid; "
            "quantize the bias"
        )
    codes = np.asarray(layer.weight_codes).reshape(layer.channels, -1)
    return MatVecSpec(codes, layer.weight, layer.act, layer.bias)


def constant_request(ctx: click.Context) -> Constant | None:
    """Return the constant kernel that a command's options describe, None where they do not.

    Raises `InputError` for a file that cannot be used, or for options that do not go with it.
    """
    path, layer = ctx.meta.get(f"{_META}constant"), ctx.meta.get(f"{_META}layer")
    default = click.core.ParameterSource.DEFAULT
    if path is None:
        given = [n for n in ("layer", "levels") if ctx.get_parameter_source(n) != default]
        if given:
            raise InputError(f"--{given[0]} goes with --constant FILE")
        return None
    params = ctx.params
    fixed = ("lanes", "length", "acc", "overflow", "dsp", "model", "target")
    given = [n for n in fixed if n in params and ctx.get_parameter_source(n) != default]
    if given:
        raise InputError(f"{given[0]} cannot go with --constant, which fixes the kernel")
    style = params.get("style", "constant")
    if ctx.get_parameter_source("style") == default:
        style = "constant"
    if style not in STYLES:
        raise SpecError(f"--style {style!r}, allowed with --constant: {', '.join(STYLES)}")
    weight, act = params["weight"], params["act"]
    if path.suffix == ".onnx":
        if weight is not None or act is not None:
            raise InputError(f"--weight and --act cannot go with {path}, which fixes the formats")
        spec = _from_layer(path, layer)
    else:
        if weight is None or act is None:
            raise InputError("--constant FILE.npy needs --weight and --act")
        if layer is not None:
            raise InputError("--layer goes with --constant FILE.onnx")
        spec = MatVecSpec(load_matrix(path), weight, act)
    levels = ctx.meta[f"{_META}levels"]
    return Constant(spec, levels=levels, primitive=style == "constant")
