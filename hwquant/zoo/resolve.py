# SPDX-License-Identifier: Apache-2.0
"""From what a user types to a model and its data.

MODEL is ``zoo:NAME[:SEED]``, or ``file.py:function`` or ``torchvision:NAME`` with an optional
``@weights.pth``; data is the name of a set of the zoo, ``file.npz`` with arrays ``x`` and ``y``,
``file.py:function`` returning them, ``imagefolder:PATH[?OPTIONS]``, or
``torchvision:DATASET@PATH``.
"""

from __future__ import annotations

import importlib.util
import math
import pickle
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from hwquant.cache import file_hash
from hwquant.errors import InputError
from hwquant.zoo.data import DATASETS, Data, from_arrays, image_folder
from hwquant.zoo.data.folder import read_options
from hwquant.zoo.fitting import check_fit
from hwquant.zoo.tasks.score import score
from hwquant.zoo.training import TrainedModel, find_entry, load

__all__ = ["check_source", "resolve", "resolve_data", "resolve_model"]

MODEL_SOURCES: Final = (
    "zoo:NAME[:SEED], file.py:function[@weights.pth] or torchvision:NAME[@weights.pth]"
)
DATA_SOURCES: Final = (
    f"{', '.join(DATASETS)}, file.npz, file.py:function, imagefolder:PATH[?OPTIONS] or "
    "torchvision:DATASET@PATH"
)


def resolve(model: str, data: str | None = None) -> TrainedModel:
    """Return the float model and its data; ``data`` may be left out for a zoo model.

    Raises `InputError` saying which part of the text cannot be used and why.
    """
    if model.startswith("zoo:"):
        trained = load(model.removeprefix("zoo:"))
        if data in (None, trained.data.name):
            return trained
        module: nn.Module = trained.model
    else:
        module = resolve_model(model)
    if data is None:
        raise InputError(f"model {model!r} needs --data: {DATA_SOURCES}")
    loaded = resolve_data(data)
    module.eval()
    check_fit(module, loaded, model, data)
    figures = score(module, loaded)
    return TrainedModel(model, module, loaded, figures.get("top1", math.nan), figures)


def check_source(text: str) -> None:
    """Raise `InputError` for a MODEL that the zoo lacks, or whose file cannot be imported.

    Nothing is built, trained or loaded.
    """
    if text.startswith("zoo:"):
        find_entry(text.removeprefix("zoo:"))
    elif not text.startswith("torchvision:"):
        _function(text.partition("@")[0], text, MODEL_SOURCES)


def resolve_model(text: str) -> nn.Module:
    """Return the model of one of `MODEL_SOURCES`, in evaluation mode."""
    if text.startswith("zoo:"):
        return load(text.removeprefix("zoo:")).model
    source, _, weights = text.partition("@")
    if source.startswith("torchvision:"):
        from hwquant.zoo.vision import vision_model

        model: Any = vision_model(source.removeprefix("torchvision:"))
    else:
        model = _call(_function(source, text, MODEL_SOURCES), text)
    if not isinstance(model, nn.Module):
        raise InputError(f"{source} returned a {type(model).__name__}, allowed a torch.nn.Module")
    if weights:
        _load_weights(model, Path(weights))
    return model.eval()


def resolve_data(text: str) -> Data:
    """Return the data of one of `DATA_SOURCES`."""
    if text in DATASETS:
        return DATASETS[text]()
    if text.startswith("imagefolder:"):
        return image_folder(*read_options(text.removeprefix("imagefolder:")))
    if text.startswith("torchvision:"):
        from hwquant.zoo.vision import vision_data

        return vision_data(text.removeprefix("torchvision:"))
    if text.endswith(".npz"):
        try:
            with np.load(text, allow_pickle=False) as arrays:
                return from_arrays(text, arrays["x"], arrays["y"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"data {text!r} cannot be read: {error}; it needs x and y") from error
    given = _call(_function(text, text, DATA_SOURCES), text)
    if isinstance(given, Data):
        return given
    if isinstance(given, Mapping) and {"x", "y"} <= set(given):
        return from_arrays(text, given["x"], given["y"])
    if isinstance(given, tuple) and len(given) == 2:
        return from_arrays(text, given[0], given[1])
    raise InputError(f"data {text!r} returned a {type(given).__name__}, allowed arrays (x, y)")


def _function(text: str, given: str, allowed: str) -> Callable[[], Any]:
    """Import ``file.py`` by its path, under a name of its own, and return ``function``."""
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise InputError(f"{given!r} is no source, allowed: {allowed}")
    path = Path(file)
    if not path.is_file():
        raise InputError(f"{given!r}: there is no file {file}")
    alias = f"hwquant_user_{file_hash(path)[:12]}_{path.stem}"
    spec = importlib.util.spec_from_file_location(alias, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{given!r}: {file} cannot be imported as Python")
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module  # classes defined in the file must be findable
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[alias]
        raise InputError(f"{given!r}: importing {file} failed: {error!r}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{given!r}: {file} has no function {name!r}")
    found: Callable[[], Any] = function
    return found


def _call(function: Callable[[], Any], given: str) -> Any:
    try:
        return function()
    except Exception as error:
        raise InputError(f"{given!r}: calling it without arguments failed: {error!r}") from error


def _load_weights(model: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no weights file {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise InputError(
            f"weights {path} cannot be read as a plain state dict (weights_only): it is damaged or "
            "holds pickled code"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()
        raise InputError(f"weights {path} do not fit the model: {' '.join(reason[:2])}") from error
