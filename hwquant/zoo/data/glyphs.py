# SPDX-License-Identifier: Apache-2.0
"""Glyphs: 47 rendered characters under distortion, enough of them to compare methods.

Large enough a test (50,000 images: standard error 0.15 points at 88 %) to tell quantization
methods apart, small enough to render in seconds on any machine, and never downloaded.
"""

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
from hwquant.zoo.data.dataset import Data
from hwquant.zoo.data.store import cached_arrays

__all__ = ["clean_glyphs", "draw", "glyphs"]

SIDE: Final = 32
CHUNK: Final = 1000  # images drawn at once, each chunk with a generator of its own
THREADS: Final = 2
SIZE: Final = (0.55, 0.95)  # of 48 master pixels, in sides of the image
SMALLER: Final = (0.5, 0.92)
STROKES: Final = 3
STROKE_CHANCE: Final = 0.45
CONTRAST: Final = (0.28, 1)
NOISE: Final = (0.02, 0.18)  # standard deviation of the pixel noise
STREAMS: Final = {"train": 1, "test": 2, "calib": 3}


def draw(
    count: int, seed: int, *, side: int = SIDE, clean: bool = False
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Render ``count`` images: pixels uint8 (count, side, side) in 1/256, classes uint8 (count,).

    A random face, size, rotation, shear and shift; then distractor strokes, contrast, a brightness
    ramp, noise and inversion unless ``clean``.  The same arguments give the same bytes; fewer
    images are a prefix of more, in steps of 1,000.
    """
    if count < 1 or side < 8:
        raise InputError(f"glyphs: {count} images of {side} pixels, allowed >= 1 of >= 8 pixels")
    starts = range(0, count, CHUNK)
    render.masters()
    with ThreadPoolExecutor(THREADS) as pool:
        parts = list(pool.map(lambda at: _chunk(seed, at // CHUNK, side, clean), starts))
    images, labels = (np.concatenate(part)[:count] for part in zip(*parts, strict=True))
    return images, labels


def _chunk(
    seed: int, number: int, side: int, clean: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    rng = np.random.default_rng([seed, number])
    ink = render.masters()
    faces, classes = ink.shape[:2]
    label = rng.integers(classes, size=CHUNK)
    which = rng.integers(faces, size=CHUNK) * classes + label
    shift = rng.uniform(-0.1, 0.1, (CHUNK, 2)) * side
    centre = (side / 2 + shift).astype(np.float32)
    size = SIZE if clean else SMALLER
    size = (size[0] * side, size[1] * side)
    matrix, offset = render.affine(rng, CHUNK, size, centre)
    picture = render.warp(ink.reshape(-1, *ink.shape[2:]), which, matrix, offset, side)
    if not clean:
        picture = _spoil(rng, picture, side)
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8), label.astype(np.uint8)


def _spoil(rng: np.random.Generator, ink: render.Float, side: int) -> render.Float:
    """Add strokes, contrast, ramp, noise and inversion to ink (n, side, side) in 0..1."""
    count = len(ink)

    def uniform(low: float, high: float) -> render.Float:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    for _ in range(STROKES):
        ink = np.maximum(ink, render.strokes(rng, count, side, STROKE_CHANCE) * uniform(0.3, 1))
    contrast, ground = uniform(*CONTRAST), uniform(0, 1)
    picture = ground * (1 - contrast) + contrast * ink
    ramp = np.linspace(-0.5, 0.5, side, dtype=np.float32)
    picture += uniform(-0.3, 0.3) * ramp[None, None, :] + uniform(-0.3, 0.3) * ramp[None, :, None]
    picture += uniform(*NOISE) * rng.standard_normal(ink.shape, dtype=np.float32)
    inverted = rng.random((count, 1, 1)) < 0.5
    return np.where(inverted, 1 - picture, picture)


def glyphs(train: int = 24_000, test: int = 50_000, calib: int = 2048, seed: int = 0) -> Data:
    """Return the 47-class glyphs: 32 x 32 gray, float32, exact multiples of 1/256.

    Training, test and calibration images come from streams of their own: the test part does not
    change with the size of the training part.  Rendered once (seconds), then cached.
    """
    counts = {"train": train, "test": test, "calib": calib}
    arrays = _rendered("glyphs", counts, seed, SIDE, clean=False)
    part = {name: _images(arrays[f"x_{name}"]) for name in counts}
    label = {name: torch.from_numpy(arrays[f"y_{name}"].astype(np.int64)) for name in counts}
    return Data(
        "glyphs",
        *(part["train"], label["train"], part["calib"], part["test"], label["test"]),
        classes=tuple(render.CLASSES),
    )


def clean_glyphs(train: int = 16_000, test: int = 2_000, seed: int = 0) -> Data:
    """Return undisturbed glyphs of 16 x 16 pixels in -1..1, for generating more of them.

    The inputs of a denoiser are (items, 2, 16, 16): a noisy image and its noise level; the labels
    are the noise.  Here the noise of the training part is left to the training, and the test and
    calibration parts hold noise levels spread evenly.
    """
    from hwquant.zoo.tasks.diffusion import noisy_inputs

    counts = {"train": train, "test": test, "calib": 512}
    arrays = _rendered("clean-glyphs", counts, seed, 16, clean=True)
    part = {name: _images(arrays[f"x_{name}"]) * 2 - 1 for name in counts}
    x_test, noise = noisy_inputs(part["test"], seed + 1)
    x_calib, _ = noisy_inputs(part["calib"], seed + 2)
    labels = torch.from_numpy(arrays["y_train"].astype(np.int64))
    return Data(
        "clean-glyphs",
        *(part["train"], labels, x_calib, x_test, noise),
        task="denoise",
        classes=tuple(render.CLASSES),
    )


def _images(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(pixels.astype(np.float32) / np.float32(256)).unsqueeze(1)


def _rendered(
    name: str, counts: dict[str, int], seed: int, side: int, *, clean: bool
) -> dict[str, NDArray[Any]]:
    """Return x_PART and y_PART of every part, from the cache or drawn now."""
    import matplotlib as mpl
    import PIL

    def make() -> dict[str, NDArray[Any]]:
        arrays: dict[str, NDArray[Any]] = {}
        for part, count in counts.items():
            stream = seed * 8 + STREAMS[part]
            arrays[f"x_{part}"], arrays[f"y_{part}"] = draw(count, stream, side=side, clean=clean)
        return arrays

    sources = [Path(__file__).read_bytes(), Path(render.__file__).read_bytes()]
    versions = (np.__version__, PIL.__version__, mpl.__version__)
    key = cache.content_key(name, counts, seed, side, clean, versions, *sources)
    return cached_arrays("data", key, make)
