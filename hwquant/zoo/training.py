# SPDX-License-Identifier: Apache-2.0
"""Train the zoo's networks once, with a fixed seed, and keep the weights in the cache."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from hwquant import atomic, cache
from hwquant.errors import CacheError, InputError
from hwquant.progress import track
from hwquant.zoo.data import Data, digits
from hwquant.zoo.models import MODELS

__all__ = ["RECIPES", "TrainedModel", "TrainingRecipe", "load", "top1"]


@dataclass(frozen=True)
class TrainingRecipe:
    """How a network is trained: AdamW with a one-cycle rate."""

    epochs: int
    rate: float
    batch: int = 64
    seed: int = 0
    weight_decay: float = 1e-4


RECIPES: Final = {
    "digits_cnn": TrainingRecipe(epochs=30, rate=1e-2),
    "digits_mlp": TrainingRecipe(epochs=60, rate=1e-2),
    "digits_vit": TrainingRecipe(epochs=40, rate=4e-3, weight_decay=0.05),
}


@dataclass(frozen=True)
class TrainedModel:
    """A float model in evaluation mode, its data, and its accuracy on the test part (0..1)."""

    name: str
    model: nn.Module
    data: Data
    float_top1: float


def top1(model: nn.Module, x: Tensor, y: Tensor, batch: int = 256) -> float:
    """Return the share of items whose largest output is the label."""
    if not len(x):
        raise InputError("top1 needs at least one item")
    with torch.no_grad():
        right = sum(
            int((model(x[i : i + batch]).argmax(1) == y[i : i + batch]).sum())
            for i in range(0, len(x), batch)
        )
    return right / len(x)


def load(name: str) -> TrainedModel:
    """Return the trained network called ``name``, training it on first use (seconds).

    Raises `InputError` for an unknown name, `CacheError` for a damaged cache entry.
    """
    if name not in MODELS:
        raise InputError(f"zoo model {name!r} is unknown, allowed: {', '.join(sorted(MODELS))}")
    recipe, data = RECIPES[name], digits()
    sources = [Path(__file__).with_name(file).read_bytes() for file in ("data.py", "models.py")]
    key = cache.content_key(name, vars(recipe), *sources, Path(__file__).read_bytes())
    path = cache.entry_path("zoo", key, ".pt")
    torch.manual_seed(recipe.seed)
    model = MODELS[name]()
    if path.exists():
        model.load_state_dict(_read(path))
    else:
        _train(model, data, recipe, name)
        with atomic.atomic_file(path) as temporary:
            torch.save(model.state_dict(), temporary)
    model.eval()
    return TrainedModel(name, model, data, top1(model, data.x_test, data.y_test))


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CacheError(f"cache entry {path} is not whole; delete it and run again") from error
    return state


def _train(model: nn.Module, data: Data, recipe: TrainingRecipe, name: str) -> None:
    """Train in place, on one thread so that the result does not depend on the machine's cores."""
    generator = torch.Generator().manual_seed(recipe.seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    steps = -(-len(data.x_train) // recipe.batch)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=recipe.rate, total_steps=recipe.epochs * steps
    )
    loss = nn.CrossEntropyLoss(label_smoothing=0.05)
    model.train()
    try:
        with track(f"train {name}", recipe.epochs) as advance:
            for _ in range(recipe.epochs):
                order = torch.randperm(len(data.x_train), generator=generator)
                for part in torch.split(order, recipe.batch):
                    optimizer.zero_grad()
                    loss(model(data.x_train[part]), data.y_train[part]).backward()
                    optimizer.step()
                    schedule.step()
                advance()
    finally:
        torch.set_num_threads(threads)
    model.eval()
