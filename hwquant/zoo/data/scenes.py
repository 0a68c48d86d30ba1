# SPDX-License-Identifier: Apache-2.0
"""Scenes: one to four digits on clutter, with a mask for segmentation and boxes for detection."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from hwquant import cache
from hwquant.errors import InputError
from hwquant.zoo.data import render
from hwquant.zoo.data.dataset import Data, Task
from hwquant.zoo.data.store import cached_arrays

__all__ = ["draw_scenes", "scene_boxes", "scene_masks"]

SIDE: Final = 48
CELLS: Final = 4  # a digit at most in each quarter of the scene
DIGITS: Final = 10
CHUNK: Final = 500
COUNTS: Final = {"train": 8000, "test": 2000, "calib": 512}
STREAMS: Final = {"train": 1, "test": 2, "calib": 3}
INK: Final = 0.5  # a pixel belongs to a digit from half its coverage on


def draw_scenes(count: int, seed: int) -> dict[str, NDArray[Any]]:
    """Render ``count`` scenes.

    Returns ``pixels`` uint8 (count, 48, 48) in 1/256, ``mask`` uint8 (count, 48, 48) of 0 for the
    ground and 1..10 for digits 0..9, and ``boxes`` float32 (count, 4, 5) of (class 0..9, left,
    top, right, bottom) in pixels, class -1 where there is no digit.  The same arguments give the
    same bytes.
    """
    if count < 1:
        raise InputError(f"scenes: {count} images, allowed at least 1")
    render.masters()
    with ThreadPoolExecutor(2) as pool:
        parts = list(pool.map(lambda at: _chunk(seed, at // CHUNK), range(0, count, CHUNK)))
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def _chunk(seed: int, number: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng([seed, number, SIDE])
    masters = render.masters()
    ink = masters[:, :DIGITS].reshape(-1, *masters.shape[2:])
    present = rng.random((CHUNK, CELLS)) < 0.6
    present[np.arange(CHUNK), rng.integers(CELLS, size=CHUNK)] = True
    digit = rng.integers(DIGITS, size=(CHUNK, CELLS))
    face = rng.integers(len(masters), size=(CHUNK, CELLS))
    picture = _clutter(rng)
    mask = np.zeros((CHUNK, SIDE, SIDE), np.uint8)
    boxes = np.full((CHUNK, CELLS, 5), -1, np.float32)
    for cell in range(CELLS):
        middle = np.array([0.25 + 0.5 * (cell % 2), 0.25 + 0.5 * (cell // 2)]) * SIDE
        centre = (middle + rng.uniform(-3.5, 3.5, (CHUNK, 2))).astype(np.float32)
        matrix, offset = render.affine(rng, CHUNK, (16, 27), centre)
        which = face[:, cell] * DIGITS + digit[:, cell]
        cover = render.warp(ink, which, matrix, offset, SIDE)
        cover *= present[:, cell, None, None]
        sign = rng.choice(np.array([-1, 1], np.float32), (CHUNK, 1, 1))
        strength = rng.uniform(0.35, 0.8, (CHUNK, 1, 1)).astype(np.float32)
        picture = picture + cover * sign * strength
        inside = cover > INK
        mask = np.where(inside, digit[:, cell, None, None].astype(np.uint8) + 1, mask)
        shown = present[:, cell] & np.any(inside, axis=(1, 2))
        boxes[shown, cell, 0] = digit[shown, cell]
        boxes[shown, cell, 1:] = render.extent(inside)[shown]
    picture += rng.uniform(0.01, 0.08, (CHUNK, 1, 1)) * rng.standard_normal(picture.shape)
    pixels = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return {"pixels": pixels, "mask": mask, "boxes": boxes}


def _clutter(rng: np.random.Generator) -> render.Float:
    """Return a ground of slow waves and strokes, about 0.25..0.75."""
    axis = np.arange(SIDE, dtype=np.float32) / SIDE
    x, y = axis[None, None, :], axis[None, :, None]
    ground = np.full((CHUNK, SIDE, SIDE), 0.5, np.float32)
    for _ in range(3):
        fx, fy, phase = rng.uniform(-4, 4, (3, CHUNK, 1, 1)).astype(np.float32)
        height = rng.uniform(0, 0.08, (CHUNK, 1, 1)).astype(np.float32)
        ground += height * np.sin(2 * np.float32(np.pi) * (fx * x + fy * y + phase))
    for _ in range(3):
        shade = rng.uniform(-0.4, 0.4, (CHUNK, 1, 1)).astype(np.float32)
        ground += shade * render.strokes(rng, CHUNK, SIDE, 0.7)
    return ground


def scene_masks(seed: int = 0) -> Data:
    """Return scenes with masks: 11 classes a pixel, the ground and ten digits."""
    return _data("scene-masks", "segment", ("ground", *map(str, range(DIGITS))), seed)


def scene_boxes(seed: int = 0) -> Data:
    """Return scenes with boxes: ten classes, up to four objects."""
    return _data("scene-boxes", "detect", tuple(map(str, range(DIGITS))), seed)


def _data(name: str, task: Task, classes: tuple[str, ...], seed: int) -> Data:
    arrays = _rendered(seed)
    pixels = {p: arrays[f"{p}-pixels"].astype(np.float32) / np.float32(256) for p in COUNTS}
    x = {part: torch.from_numpy(pixels[part]).unsqueeze(1) for part in COUNTS}
    y = {part: _labels(arrays, part, task) for part in COUNTS}
    return Data(
        name, x["train"], y["train"], x["calib"], x["test"], y["test"], task=task, classes=classes
    )


def _labels(arrays: dict[str, NDArray[Any]], part: str, task: Task) -> torch.Tensor:
    if task == "detect":
        return torch.from_numpy(arrays[f"{part}-boxes"])
    return torch.from_numpy(arrays[f"{part}-mask"].astype(np.int64))


def _rendered(seed: int) -> dict[str, NDArray[Any]]:
    import matplotlib as mpl
    import PIL

    def make() -> dict[str, NDArray[Any]]:
        drawn = {part: draw_scenes(COUNTS[part], seed * 8 + STREAMS[part]) for part in COUNTS}
        return {f"{part}-{name}": a for part, arrays in drawn.items() for name, a in arrays.items()}

    sources = [Path(__file__).read_bytes(), Path(render.__file__).read_bytes()]
    versions = (np.__version__, PIL.__version__, mpl.__version__)
    return cached_arrays(
        "data", cache.content_key("scenes", COUNTS, seed, versions, *sources), make
    )
