# SPDX-License-Identifier: Apache-2.0
"""Data sets as tensors, one module each.  `DATASETS` holds those that need no path."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hwquant.zoo.data.dataset import Data, Task, from_arrays
from hwquant.zoo.data.digits import digits
from hwquant.zoo.data.folder import FolderOptions, image_folder
from hwquant.zoo.data.glyphs import clean_glyphs, glyphs
from hwquant.zoo.data.scenes import scene_boxes, scene_masks
from hwquant.zoo.data.text import stdlib_text

__all__ = ["DATASETS", "Data", "FolderOptions", "Task", "clean_glyphs", "digits", "from_arrays"]
__all__ += ["glyphs", "image_folder", "scene_boxes", "scene_masks", "stdlib_text"]

DATASETS: Final[dict[str, Callable[[], Data]]] = {
    "clean-glyphs": clean_glyphs,
    "digits": digits,
    "glyphs": glyphs,
    "scene-boxes": scene_boxes,
    "scene-masks": scene_masks,
    "stdlib-text": stdlib_text,
}
