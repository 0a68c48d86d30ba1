# SPDX-License-Identifier: Apache-2.0
"""Does a model fit its data?  Channels, shapes and classes, said plainly before a long run."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwquant.errors import InputError
from hwquant.zoo.data import Data

__all__ = ["check_fit"]

COLOURS = {1: "gray", 3: "RGB"}


def check_fit(model: nn.Module, data: Data, model_name: str, data_name: str) -> None:
    """Raise `InputError` when ``model`` (evaluation mode) cannot be measured on ``data``.

    Names the first convolution when it takes another number of channels, the shape when the
    forward fails, and both numbers when the model does not have an output per class.
    """
    x = data.x_test[:2]
    _check_channels(model, x, model_name, data_name)
    try:
        with torch.no_grad():
            outputs = model(x)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"model {model_name!r} does not accept data {data_name!r} of shape "
            f"{tuple(data.x_test.shape)}: {reason[0]}"
        ) from error
    if not isinstance(outputs, Tensor):
        raise InputError(
            f"model {model_name!r} returns a {type(outputs).__name__}, allowed one tensor; return "
            "the logits alone"
        )
    if data.task in ("classify", "language", "segment"):
        _check_classes(outputs, data, model_name, data_name)


def _check_channels(model: nn.Module, x: Tensor, model_name: str, data_name: str) -> None:
    first = next(((n, m) for n, m in model.named_modules() if isinstance(m, nn.Conv2d)), None)
    if first is None or x.dim() != 4 or first[1].in_channels == x.shape[1]:
        return
    path, layer = first
    given, wanted = x.shape[1], layer.in_channels
    hint = f"; use imagefolder:...?channels={wanted}" if wanted in COLOURS else ""
    raise InputError(
        f"model {model_name!r}: layer {path!r} takes {wanted} channels "
        f"({COLOURS.get(wanted, 'neither gray nor RGB')}), images of {data_name!r} have {given} "
        f"({COLOURS.get(given, 'neither gray nor RGB')}){hint}"
    )


def _check_classes(outputs: Tensor, data: Data, model_name: str, data_name: str) -> None:
    expected = (len(outputs), *data.y_test.shape[1:])
    if outputs.dim() < 2 or (outputs.shape[0], *outputs.shape[2:]) != expected:
        raise InputError(
            f"model {model_name!r} returns shape {tuple(outputs.shape)} for labels of shape "
            f"{tuple(data.y_test[: len(outputs)].shape)}, allowed (batch, classes, ...)"
        )
    largest = int(data.y_test.max())
    named = len(data.classes)
    if outputs.shape[1] <= largest or (named and named != outputs.shape[1]):
        raise InputError(
            f"model {model_name!r} has {outputs.shape[1]} outputs, data {data_name!r} has "
            f"{named or largest + 1} classes; use data of the same classes (for a part of the "
            "classes put all their names into classes.txt of the image folder)"
        )
