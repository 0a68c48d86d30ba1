# SPDX-License-Identifier: Apache-2.0
"""Save and load quantized models: tensors, recipe and formats; never pickled code."""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx, nn

from hwquant import atomic
from hwquant.errors import HwquantError, InputError
from hwquant.formats import parse
from hwquant.nn.channel_scale import insert_channel_scales
from hwquant.nn.quantizers import Quantizer

__all__ = ["VERSION", "load_quantized", "save_quantized"]

VERSION: Final = 1


def save_quantized(qmodel: nn.Module, path: str | Path) -> None:
    """Write a quantized model to ``path``: its state dict and a JSON text, whole or not at all.

    The JSON holds the recipe and, for each quantizer, format, scale kind and channel axis.
    Raises `InputError` for a model that is not quantized, or a folder that cannot be written.
    """
    meta = qmodel.meta.get("hwquant") if isinstance(qmodel, fx.GraphModule) else None
    if not isinstance(meta, dict):
        raise InputError("this model is not quantized; pass it through hwquant.quantize first")
    header = {
        "version": VERSION,
        "recipe": meta["recipe"].to_dict(),
        "input_shape": list(meta["input_shape"]),
        "input_dtype": meta["input_dtype"],
        "input_non_negative": meta["input_non_negative"],
        "channel_scales": meta.get("channel_scales", []),
        "quantizers": {
            name: {
                "format": str(module.fmt),
                "scale_kind": module.scale_kind,
                "channel_axis": module.channel_axis,
                "scale_shape": list(module.scale.shape),
            }
            for name, module in qmodel.named_modules()
            if isinstance(module, Quantizer)
        },
    }
    content = {"header": json.dumps(header, sort_keys=True), "state": qmodel.state_dict()}
    with atomic.atomic_file(path) as temporary:
        torch.save(content, temporary)


def load_quantized(path: str | Path, model: nn.Module | Callable[[], nn.Module]) -> fx.GraphModule:
    """Return the quantized model of ``path``; ``model`` is the float model or makes one.

    Only the float model's structure matters.  Raises `InputError` when the file is missing,
    truncated, not ours, or does not fit the model.
    """
    from hwquant.nn.from_brevitas import is_brevitas_quantized
    from hwquant.ptq.quantize import adopt_brevitas, prepare
    from hwquant.ptq.recipe import Recipe

    header, state = _read(Path(path))
    source = model if isinstance(model, nn.Module) else model()
    try:
        recipe = Recipe.from_dict(header["recipe"])
        dtype = torch.int64 if "int" in header["input_dtype"] else torch.float32
        batches = (torch.zeros(1, *header["input_shape"], dtype=dtype),)
        if is_brevitas_quantized(source):
            qmodel = adopt_brevitas(source, recipe, batches)
        else:
            non_negative = header["input_non_negative"]
            qmodel = prepare(source, recipe, batches, input_non_negative=non_negative).model
        if scales := header.get("channel_scales"):
            insert_channel_scales(qmodel, scales)
            qmodel.meta["hwquant"]["channel_scales"] = scales
        _restore_formats(qmodel, header["quantizers"])
        found = {n: m for n, m in qmodel.named_modules() if isinstance(m, Quantizer)}
        _fit_quantizers(found, header["quantizers"])
        qmodel.load_state_dict(state)
    except (KeyError, TypeError, RuntimeError, HwquantError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path} does not fit this model: {' '.join(reason[:2])}") from error
    return qmodel


def _restore_formats(qmodel: fx.GraphModule, stored: dict[str, Any]) -> None:
    """Give quantizers the formats that steps chose; the recipe holds those before the search."""
    from hwquant.nn.layers import is_multiply
    from hwquant.ptq.reformat import set_act_format, set_weight_format

    for name, module in list(qmodel.named_modules()):
        if isinstance(module, Quantizer) and name in stored:
            fmt = parse(stored[name]["format"])
            owner = module.module_path
            if fmt == module.fmt:
                continue
            if is_multiply(qmodel.get_submodule(owner)):
                set_weight_format(qmodel, owner, fmt)
            else:
                set_act_format(qmodel, owner, fmt)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        header, state = json.loads(content["header"]), content["state"]
        version = header["version"]
    except (
        *(OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile),
        *(KeyError, TypeError, ValueError),
    ) as error:
        raise InputError(
            f"{path} is no whole file of hwquant.save_quantized (truncated, or written by "
            "something else); save the model again"
        ) from error
    if version != VERSION:
        raise InputError(f"{path} has version {version!r}, allowed {VERSION}")
    return header, state


def _fit_quantizers(found: dict[str, Quantizer], stored: dict[str, Any]) -> None:
    """Give each quantizer the stored scale shape; refuse a model that quantizes differently."""
    if set(found) != set(stored):
        different = sorted(set(found) ^ set(stored))
        raise InputError(f"quantizers differ, first {different[0]!r}")
    for name, quantizer in found.items():
        record = stored[name]
        if quantizer.fmt != parse(record["format"]) or quantizer.scale_kind != record["scale_kind"]:
            raise InputError(f"quantizer {name!r} is {quantizer.fmt}, stored {record['format']}")
        quantizer.scale = torch.ones(record["scale_shape"])
