# SPDX-License-Identifier: Apache-2.0
"""Trained networks by name: trained once with a fixed seed, weights kept in the cache."""

from __future__ import annotations

import ast
import inspect
import math
import pickle
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hwquant import atomic, cache
from hwquant.errors import CacheError, InputError
from hwquant.zoo import fit as loop
from hwquant.zoo import objectives
from hwquant.zoo.catalogue import CATALOGUE, Entry
from hwquant.zoo.data import DATASETS, Data
from hwquant.zoo.data.store import checksum
from hwquant.zoo.fit import TrainingRecipe, fit
from hwquant.zoo.tasks import score

__all__ = ["TrainedModel", "TrainingRecipe", "find_entry", "load", "top1", "train"]


@dataclass(frozen=True)
class TrainedModel:
    """A float model in evaluation mode, its data, and its accuracy on the test part (0..1).

    ``float_top1`` is NaN for tasks without decisions (boxes, noise); ``figures`` holds what
    `hwquant.zoo.tasks.score.score` measures for the task, the main one first.
    """

    name: str
    model: nn.Module
    data: Data
    float_top1: float
    figures: Mapping[str, float] = field(default_factory=dict)


def top1(model: nn.Module, x: Tensor, y: Tensor, batch: int = 256) -> float:
    """Return the share of right decisions: outputs (n, classes, ...) largest at the label.

    A decision is an image, a pixel of a mask, or a next character.
    """
    if not len(x):
        raise InputError("top1 needs at least one item")
    if y.is_floating_point():
        raise InputError("top1 needs class labels; boxes and noise have figures of their own")
    with torch.no_grad():
        right = sum(
            int((model(x[i : i + batch]).argmax(1) == y[i : i + batch]).sum())
            for i in range(0, len(x), batch)
        )
    return right / y.numel()


def find_entry(name: str) -> Entry:
    """Return how ``NAME`` or ``NAME:SEED`` is trained; raises `InputError` for an unknown name."""
    title, _, seed = name.partition(":")
    if title not in CATALOGUE:
        raise InputError(f"zoo model {title!r} is unknown, allowed: {', '.join(sorted(CATALOGUE))}")
    if seed and not (seed.isascii() and seed.isdigit()):
        raise InputError(f"zoo model {name!r}: seed {seed!r}, allowed a number such as {title}:1")
    entry = CATALOGUE[title]
    return replace(entry, recipe=replace(entry.recipe, seed=int(seed or 0)))


def load(name: str) -> TrainedModel:
    """Return the trained network ``NAME`` or ``NAME:SEED``, training it on first use.

    The seed (default 0) sets initial weights and the order of the data; the data stay the same.
    Raises `InputError` for an unknown name, `CacheError` for a damaged cache entry.
    """
    entry = find_entry(name)
    data = DATASETS[entry.data]()
    model = train(name, entry, data)
    figures = _figures(entry, model, data)
    return TrainedModel(name, model, data, figures.get("top1", math.nan), figures)


def _figures(entry: Entry, model: nn.Module, data: Data) -> dict[str, float]:
    """Return the figures on the test part, measured once and cached: 50,000 images take a while."""
    parts = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    test = checksum({"x": data.x_test.numpy(), "y": data.y_test.numpy()})
    source = _code(Path(score.__file__))
    key = cache.content_key(entry.build.__qualname__, checksum(parts), test, source)
    figures: dict[str, float] | None = cache.load_json("zoo-score", key)
    if figures is None:
        figures = score.score(model, data)
        cache.store_json("zoo-score", key, figures)
    return figures


def train(name: str, entry: Entry, data: Data) -> nn.Module:
    """Return the network of ``entry`` trained on ``data``, from the cache where it is there.

    The key covers the recipe, the sources of model and loop, the training data, and the kind of
    device.  On a machine with a GPU the same recipe runs there.
    """
    recipe = entry.recipe
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(recipe.seed)
    model = entry.build()
    path = cache.entry_path("zoo", _key(entry, model, data, device), ".pt")
    if path.exists():
        model.load_state_dict(_read(path))
    else:
        fit(model, data, recipe, name, device)
        model.to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        with atomic.atomic_file(path) as temporary:
            torch.save(model.state_dict(), temporary)
    return model.eval()


def _key(entry: Entry, model: nn.Module, data: Data, device: str) -> str:
    names = {entry.build.__module__, *(type(part).__module__ for part in model.modules())}
    own = [sys.modules[name] for name in sorted(names) if not name.startswith("torch.")]
    sources = [_code(Path(inspect.getfile(part))) for part in (*own, loop, objectives)]
    parts = {"x": data.x_train.numpy(), "y": data.y_train.numpy()}
    name = entry.build.__qualname__
    return cache.content_key(name, asdict(entry.recipe), device, checksum(parts), *sources)


def _code(path: Path) -> str:
    """Return a module's code without comments, docstrings and layout: they cost no new training."""
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [part for part in body if not _is_text(part)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _read(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise CacheError(f"cache entry {path} is not whole; delete it and run again") from error
    return state
