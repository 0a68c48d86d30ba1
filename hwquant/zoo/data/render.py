# SPDX-License-Identifier: Apache-2.0
"""Draw glyphs: masters from DejaVu faces, affine maps, strokes; vectorised over images.

Everything is element-wise arithmetic on arrays (images, rows, columns), so the result depends on
the random generator only, not on threads.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwquant.errors import InputError

__all__ = ["CLASSES", "affine", "extent", "masters", "strokes", "warp"]

# 47 classes, as in EMNIST's balanced split: lower case only where it looks unlike upper case.
CLASSES: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
MASTER: Final = 64  # pixels a side
FONT_PIXELS: Final = 48
Float = NDArray[np.float32]


@functools.cache
def masters() -> Float:
    """Return each glyph once, large: (12 faces, 47 classes, 64, 64), ink 0..1, centred.

    The faces are matplotlib's DejaVu fonts without the two Display ones.
    Raises `InputError` when matplotlib brings no such fonts.
    """
    import matplotlib as mpl
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    faces = sorted(p for p in folder.glob("DejaVu*.ttf") if "Display" not in p.name)
    if not faces:
        raise InputError(f"no DejaVu fonts in {folder}; install matplotlib again")
    drawn = np.zeros((len(faces), len(CLASSES), MASTER, MASTER), np.float32)
    for f, face in enumerate(faces):
        font = ImageFont.truetype(str(face), FONT_PIXELS)
        for c, character in enumerate(CLASSES):
            image = Image.new("L", (MASTER, MASTER))
            draw = ImageDraw.Draw(image)
            left, top, right, bottom = draw.textbbox((0, 0), character, font=font)
            corner = ((MASTER - left - right) / 2, (MASTER - top - bottom) / 2)
            draw.text(corner, character, fill=255, font=font)
            drawn[f, c] = np.asarray(image, np.float32) / 255
    drawn.setflags(write=False)
    return drawn


def affine(
    rng: np.random.Generator, count: int, size: tuple[float, float], centre: Float
) -> tuple[Float, Float]:
    """Draw ``count`` maps from output pixels to master pixels: matrices (n, 2, 2), offsets (n, 2).

    ``size`` is the range of the size of 48 master pixels on the output, in output pixels;
    ``centre`` (n, 2) is where the glyph's centre lands, as (x, y).  Rotation within 26 degrees,
    shear within 0.3, aspect ratio 0.8..1.25.
    """
    angle = np.deg2rad(rng.uniform(-26, 26, count))
    cos, sin = np.cos(angle), np.sin(angle)
    zoom = FONT_PIXELS / rng.uniform(*size, count)
    aspect = np.exp(rng.uniform(np.log(0.8), np.log(1.25), count))
    shear = rng.uniform(-0.3, 0.3, count)
    rotation = np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)
    zero, one = np.zeros(count), np.ones(count)
    slant = np.stack([np.stack([one, shear], -1), np.stack([zero, one], -1)], -2)
    stretch = np.stack([zoom * aspect, zoom / aspect], -1)[:, :, None]
    matrix = (stretch * (slant @ rotation)).astype(np.float32)
    offset = MASTER / 2 - np.einsum("nij,nj->ni", matrix, centre)
    return matrix, offset.astype(np.float32)


def warp(ink: Float, which: NDArray[np.intp], matrix: Float, offset: Float, side: int) -> Float:
    """Return masters ``ink[which]`` seen through affine maps, bilinear: (n, side, side).

    ``ink`` is (masters, 64, 64) with an empty border; outside it there is no ink.
    """
    pixel = np.arange(side, dtype=np.float32) + np.float32(0.5)
    x, y = pixel[None, None, :], pixel[None, :, None]
    m, o = matrix[:, :, :, None, None], offset[:, :, None, None]
    top = np.float32(MASTER - 1.001)
    u = np.clip(m[:, 0, 0] * x + m[:, 0, 1] * y + o[:, 0] - np.float32(0.5), 0, top)
    v = np.clip(m[:, 1, 0] * x + m[:, 1, 1] * y + o[:, 1] - np.float32(0.5), 0, top)
    left, up = u.astype(np.int32), v.astype(np.int32)
    du, dv = u - left, v - up
    base = which.astype(np.int32)[:, None, None] * (MASTER * MASTER) + up * MASTER + left
    flat = ink.reshape(-1)
    above = flat.take(base) * (1 - du) + flat.take(base + 1) * du
    below = flat.take(base + MASTER) * (1 - du) + flat.take(base + MASTER + 1) * du
    return above * (1 - dv) + below * dv


def strokes(rng: np.random.Generator, count: int, side: int, chance: float) -> Float:
    """Return one straight stroke per image with probability ``chance``: ink 0..1, (n, side, side).

    Ends are uniform on the image, half widths 0.4..1.2 pixels, edges one pixel soft.
    """
    ends = rng.uniform(0, side, (4, count, 1, 1)).astype(np.float32)
    half = rng.uniform(0.4, 1.2, (count, 1, 1)).astype(np.float32)
    shown = (rng.random((count, 1, 1)) < chance).astype(np.float32)
    x0, y0, dx, dy = ends[0], ends[1], ends[2] - ends[0], ends[3] - ends[1]
    pixel = np.arange(side, dtype=np.float32) + np.float32(0.5)
    px, py = pixel[None, None, :] - x0, pixel[None, :, None] - y0
    along = np.clip((px * dx + py * dy) / (dx * dx + dy * dy + np.float32(1e-6)), 0, 1)
    distance = np.sqrt((px - along * dx) ** 2 + (py - along * dy) ** 2)
    return np.clip(half + np.float32(0.5) - distance, 0, 1) * shown


def extent(mask: NDArray[np.bool_]) -> Float:
    """Return the box (left, top, right, bottom) of each mask (n, h, w), zeros where it is empty."""
    columns, rows = np.any(mask, axis=1), np.any(mask, axis=2)
    left, top = columns.argmax(1), rows.argmax(1)
    right = columns.shape[1] - columns[:, ::-1].argmax(1)
    bottom = rows.shape[1] - rows[:, ::-1].argmax(1)
    box = np.stack([left, top, right, bottom], 1).astype(np.float32)
    return box * np.any(mask, axis=(1, 2))[:, None]
