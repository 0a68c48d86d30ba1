# SPDX-License-Identifier: Apache-2.0
"""The user's own images: a folder per class, read with Pillow.

``imagefolder:PATH`` with options after a question mark, such as
``imagefolder:photos?size=224&normalize=imagenet&limit=500``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwquant.errors import InputError
from hwquant.zoo.data.dataset import CALIB_ITEMS, SEED, Data

__all__ = ["FolderOptions", "image_folder", "normalized", "read_options"]

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"})
CLASS_LIST: Final = "classes.txt"
MOST_BYTES: Final = 4 << 30
# Mean and deviation of ImageNet's red, green and blue, as torchvision's weights expect them.
NORMALIZATIONS: Final[dict[str, tuple[tuple[float, ...], tuple[float, ...]]]] = {
    "none": ((0.0,), (1.0,)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True)
class FolderOptions:
    """How images become tensors.

    ``size`` scales the shorter side to 8/7 of it and cuts its middle square (0: all images have
    one size already); ``channels`` converts to 1 (gray) or 3 (RGB; 0: as the files are, all
    alike); ``limit`` takes that many images of each part, spread evenly (0: all).
    """

    size: int = 0
    channels: int = 0
    normalize: str = "none"
    limit: int = 0

    def __post_init__(self) -> None:
        if self.channels not in (0, 1, 3) or self.size < 0 or self.limit < 0:
            raise InputError(
                f"imagefolder: size={self.size}, channels={self.channels}, limit={self.limit}; "
                "allowed size >= 0, channels 1 or 3, limit >= 0"
            )
        if self.normalize not in NORMALIZATIONS:
            allowed = ", ".join(NORMALIZATIONS)
            raise InputError(f"imagefolder: normalize={self.normalize!r}, allowed: {allowed}")


def read_options(text: str) -> tuple[str, FolderOptions]:
    """Return the path and the options of ``PATH?size=224&channels=3&normalize=imagenet``."""
    path, _, query = text.partition("?")
    given: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    names = tuple(FolderOptions.__dataclass_fields__)
    for name, value in given.items():
        if name not in names:
            raise InputError(
                f"imagefolder: option {name!r} is unknown, allowed: {', '.join(names)}"
            )
        if name != "normalize":
            if not (value.isascii() and value.isdigit()):
                raise InputError(f"imagefolder: {name}={value!r}, allowed a whole number")
            given[name] = int(value)
    return path, FolderOptions(**given)


def image_folder(path: str | Path, options: FolderOptions | None = None) -> Data:
    """Return the images under ``path`` as data: ``path/CLASS/*.png``, classes in sorted order.

    With ``path/train`` and ``path/val`` (or ``test``) holding the class folders, those are the
    parts; otherwise a quarter of the images (at most 256) calibrates and the rest tests.  A file
    ``classes.txt`` in ``path``, a name a line, gives the classes in the model's order; then some
    may have no folder.  Pixels are 0..1 (value / 255).

    Raises `InputError` naming the folder or file: missing, empty, unreadable, of another size,
    gray among RGB, or a class that the other part or the list does not have.
    """
    root, chosen = Path(path), options or FolderOptions()
    if not root.is_dir():
        raise InputError(f"imagefolder: there is no folder {root}")
    test_root = next((root / n for n in ("val", "test") if (root / n).is_dir()), None)
    split = test_root is not None and (root / "train").is_dir()
    listed = _listed(root)
    name = f"imagefolder:{root}"
    if not split or test_root is None:
        files, classes = _files(root, listed)
        x, y = _read(root, files, chosen)
        order = torch.from_numpy(np.random.default_rng(SEED).permutation(len(y)))
        x, y = x[order], y[order]
        calib = min(max(len(y) // 4, 1), CALIB_ITEMS)
        if len(y) < 2:
            raise InputError(f"imagefolder: {root} holds {len(y)} image, at least 2 are needed")
        return Data(name, x[:0], y[:0], x[:calib], x[calib:], y[calib:], classes=classes)
    train, classes = _files(root / "train", listed)
    test, test_classes = _files(test_root, listed)
    if classes != test_classes:
        odd = sorted(set(classes) ^ set(test_classes))
        raise InputError(
            f"imagefolder: class {odd[0]!r} is in only one of {root / 'train'} and {test_root}; "
            f"both need the same class folders, or a {CLASS_LIST}"
        )
    x, y = _read(root / "train", train, chosen)
    x_test, y_test = _read(test_root, test, chosen)
    if x.shape[1:] != x_test.shape[1:]:
        raise InputError(
            f"imagefolder: {root / 'train'} has images of shape {tuple(x.shape[1:])}, {test_root} "
            f"{tuple(x_test.shape[1:])}; give ?size= and ?channels="
        )
    spread = torch.linspace(0, len(x) - 1, min(CALIB_ITEMS, len(x))).long()
    return Data(name, x, y, x[spread], x_test, y_test, classes=classes)


def _listed(root: Path) -> tuple[str, ...]:
    file = root / CLASS_LIST
    if not file.exists():
        return ()
    try:
        names = tuple(line.strip() for line in file.read_text().splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"imagefolder: {file} cannot be read: {error}") from error
    if len(set(names)) != len(names) or not names:
        raise InputError(f"imagefolder: {file} names no class, or one twice")
    return names


def _files(root: Path, listed: tuple[str, ...]) -> tuple[list[tuple[Path, int]], tuple[str, ...]]:
    """Return (image, class) pairs in a fixed order, and the classes."""
    skip = ("train", "val", "test")
    folders = sorted(p.name for p in root.iterdir() if p.is_dir() and p.name[0] != ".")
    if not folders or all(name in skip for name in folders):
        raise InputError(f"imagefolder: {root} holds no class folders; expected {root}/CLASS/*.png")
    classes = listed or tuple(folders)
    unknown = [name for name in folders if name not in classes]
    if unknown:
        raise InputError(f"imagefolder: folder {root / unknown[0]} is no class of {CLASS_LIST}")
    found: list[tuple[Path, int]] = []
    for folder in folders:
        images = sorted(p for p in (root / folder).iterdir() if p.suffix.lower() in SUFFIXES)
        if not images:
            allowed = ", ".join(sorted(SUFFIXES))
            raise InputError(f"imagefolder: {root / folder} holds no images, allowed: {allowed}")
        found += [(image, classes.index(folder)) for image in images]
    return found, classes


def _read(
    root: Path, files: list[tuple[Path, int]], options: FolderOptions
) -> tuple[Tensor, Tensor]:
    if options.limit and options.limit < len(files):
        spread = np.linspace(0, len(files) - 1, options.limit).round().astype(int)
        files = [files[i] for i in spread]
    first = _pixels(files[0][0], options)
    needed = 4 * first.size * len(files)
    if needed > MOST_BYTES:
        raise InputError(
            f"imagefolder: {len(files)} images in {root} need {needed / (1 << 30):.0f} GiB, "
            f"allowed {MOST_BYTES >> 30}; add ?limit={MOST_BYTES // (4 * first.size)} or less"
        )
    x = np.empty((len(files), *first.shape), np.float32)
    for i, (file, _) in enumerate(files):
        pixels = _pixels(file, options)
        if pixels.shape != first.shape:
            raise InputError(_unlike(file, pixels.shape, files[0][0], first.shape))
        x[i] = pixels
    labels = torch.tensor([label for _, label in files], dtype=torch.int64)
    return normalized(torch.from_numpy(x), options.normalize, root), labels


def _pixels(file: Path, options: FolderOptions) -> NDArray[np.float32]:
    """Return one image (channels, height, width), 0..1."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            gray = image.mode in ("1", "L", "LA", "I", "I;16", "F")
            wanted = options.channels or (1 if gray else 3)
            picture = image.convert("L" if wanted == 1 else "RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise InputError(f"imagefolder: image {file} cannot be read: {error}") from error
    if options.size:
        short = min(picture.size)
        scale = options.size * 8 / 7 / short
        width, height = (max(options.size, round(side * scale)) for side in picture.size)
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - options.size) // 2, (height - options.size) // 2
        picture = picture.crop((left, top, left + options.size, top + options.size))
    values = np.asarray(picture, np.float32) / np.float32(255)
    return values[None] if values.ndim == 2 else np.ascontiguousarray(values.transpose(2, 0, 1))


def _unlike(file: Path, got: tuple[int, ...], first: Path, expected: tuple[int, ...]) -> str:
    names: Mapping[int, str] = {1: "gray", 3: "RGB"}
    if got[0] != expected[0]:
        return (
            f"imagefolder: image {file} is {names[got[0]]}, {first} is {names[expected[0]]}; "
            "add ?channels=1 or ?channels=3"
        )
    return (
        f"imagefolder: image {file} has {got[2]} x {got[1]} pixels, {first} {expected[2]} x "
        f"{expected[1]}; add ?size=224"
    )


def normalized(x: Tensor, name: str, where: str | Path) -> Tensor:
    """Return images with the mean and deviation of ``name`` taken off."""
    mean, deviation = (torch.tensor(v).view(1, -1, 1, 1) for v in NORMALIZATIONS[name])
    if mean.numel() not in (1, x.shape[1]):
        raise InputError(
            f"images of {where} are gray, normalize={name} needs RGB; add channels=3 to the options"
        )
    return x if name == "none" else (x - mean) / deviation
