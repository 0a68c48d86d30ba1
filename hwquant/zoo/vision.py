# SPDX-License-Identifier: Apache-2.0
"""torchvision, the ``imagenet`` extra: its models and its data sets on the user's disk.

torchvision's wheels carry operators compiled against one build of torch.  Beside another (a
CPU-only torch, say) they do not load, and importing torchvision fails although its models are
plain Python.  Registering the schemas of the operators that the import asks for is then enough.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from hwquant.errors import InputError
from hwquant.progress import note
from hwquant.zoo.data.dataset import CALIB_ITEMS, Data

__all__ = ["DATASETS", "MODELS", "import_torchvision", "vision_data", "vision_model"]

MODELS: Final = ("resnet18", "mobilenet_v2", "vit_b_32")
DATASETS: Final = ("CIFAR10", "CIFAR100", "FashionMNIST", "KMNIST", "MNIST")
# The operators whose existence an import needs, up to torchvision 0.28.
SCHEMAS: Final = tuple(
    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")
)
_KEPT: list[torch.library.Library] = []  # a registration lives as long as its library object


def import_torchvision() -> ModuleType:
    """Return torchvision, without its compiled operators if they do not load.

    Raises `InputError` saying what to install when torchvision is missing or does not import.
    """
    try:
        return importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        raise InputError(
            f"torchvision is not installed ({error}); pip install 'hwquant[imagenet]', or beside a "
            "CPU-only torch: pip install --no-deps torchvision of the matching version"
        ) from error
    except (RuntimeError, OSError, AttributeError) as error:
        if "torchvision::nms" not in str(error):
            raise InputError(f"torchvision does not import: {error}") from error
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library: Any = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in SCHEMAS:
        library.define(schema)
    _KEPT.append(library)
    note(
        "torchvision: compiled operators do not load beside this torch; its models do not need any"
    )
    try:
        return importlib.import_module("torchvision")
    except (RuntimeError, OSError, AttributeError, ImportError) as error:
        raise InputError(
            f"torchvision does not import beside torch {torch.__version__}: {error}; install the "
            "version made for it"
        ) from error


def vision_model(name: str) -> nn.Module:
    """Return the torchvision model ``name`` with random weights from a fixed seed.

    Raises `InputError` for another name than those of `MODELS`.
    """
    if name not in MODELS:
        raise InputError(f"torchvision model {name!r} is unknown, allowed: {', '.join(MODELS)}")
    models = import_torchvision().models
    torch.manual_seed(0)
    model: nn.Module = getattr(models, name)(weights=None)
    return model.eval()


def vision_data(text: str) -> Data:
    """Return the data of ``DATASET@PATH``, which must lie under PATH: nothing is downloaded.

    Pixels are 0..1; 2,048 images of the training part calibrate.
    Raises `InputError` naming the data set or the folder.
    """
    name, _, path = text.partition("@")
    if name not in DATASETS or not path:
        raise InputError(
            f"data 'torchvision:{text}', allowed torchvision:DATASET@PATH with DATASET one of "
            f"{', '.join(DATASETS)}"
        )
    if not Path(path).is_dir():
        raise InputError(f"torchvision:{name}: there is no folder {path}")
    import_torchvision()
    source: Callable[..., Any] = getattr(importlib.import_module("torchvision.datasets"), name)
    parts = []
    for train in (True, False):
        try:
            items = source(root=path, train=train, download=False)
        except (RuntimeError, OSError, ValueError) as error:
            raise InputError(
                f"torchvision:{name}: folder {path} does not hold it: {error}"
            ) from error
        pixels = np.asarray(items.data)
        pixels = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        x = torch.from_numpy(pixels.astype(np.float32) / np.float32(255))
        parts.append((x, torch.as_tensor(items.targets, dtype=torch.int64)))
    (x_train, y_train), (x_test, y_test) = parts
    spread = torch.linspace(0, len(x_train) - 1, min(8 * CALIB_ITEMS, len(x_train))).long()
    classes = tuple(map(str, getattr(items, "classes", ())))
    return Data(
        f"torchvision:{text}",
        *(x_train, y_train, x_train[spread], x_test, y_test),
        classes=classes,
    )
