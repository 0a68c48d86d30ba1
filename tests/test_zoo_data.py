"""Data sets: the same bytes from the same seed, honest shapes and ranges, parts that do not mix."""

from __future__ import annotations

from importlib import import_module

import numpy as np
import pytest
import torch
from PIL import Image

from hwquant.errors import CacheError, InputError
from hwquant.zoo import data as zoo_data
from hwquant.zoo.data import image_folder, render, scenes, text
from hwquant.zoo.data.folder import FolderOptions, read_options
from hwquant.zoo.data.store import cached_arrays, checksum

glyphs = import_module("hwquant.zoo.data.glyphs")  # the function of that name hides the module


def test_digits_are_sixteenths_and_split_once():
    data = zoo_data.digits()
    assert data.x_train.shape == (1437, 1, 8, 8)
    assert data.x_test.shape == (360, 1, 8, 8)
    assert torch.equal(data.x_train * 16, (data.x_train * 16).round())
    assert torch.equal(data.x_calib, data.x_train[:256])
    assert len(data.classes) == 10


def test_glyph_masters_are_distinct_centred_and_inside():
    ink = render.masters()
    assert ink.shape == (12, 47, 64, 64)
    border = np.concatenate([ink[..., 0, :], ink[..., -1, :], ink[..., 0], ink[..., -1]], -1)
    assert not border.any()
    flat = ink.reshape(12 * 47, -1)
    assert (flat.sum(1) > 50).all()
    assert len(np.unique(flat, axis=0)) == len(flat)


def test_glyphs_repeat_by_seed_and_shorter_draws_are_prefixes():
    images, labels = glyphs.draw(1500, seed=3)
    again, same = glyphs.draw(1500, seed=3)
    assert np.array_equal(images, again)
    assert np.array_equal(labels, same)
    fewer, _ = glyphs.draw(300, seed=3)
    assert np.array_equal(fewer, images[:300])
    other, _ = glyphs.draw(300, seed=4)  # negative control: the seed matters
    assert not np.array_equal(other, fewer)


def test_glyphs_do_not_depend_on_threads(monkeypatch):
    expected, _ = glyphs.draw(2000, seed=5)
    monkeypatch.setattr(glyphs, "THREADS", 1)
    got, _ = glyphs.draw(2000, seed=5)
    assert np.array_equal(got, expected)


def test_every_glyph_class_occurs_and_half_are_inverted():
    images, labels = glyphs.draw(4000, seed=1)
    counts = np.bincount(labels, minlength=47)
    assert counts.min() > 40
    corners = images[:, ::31, ::31].mean((1, 2))
    assert 0.35 < (corners > 127).mean() < 0.65


def test_glyphs_as_data(private_cache):
    data = zoo_data.glyphs(train=600, test=900, calib=100)
    assert data.x_train.shape == (600, 1, 32, 32)
    assert data.x_test.shape == (900, 1, 32, 32)
    assert data.x_train.dtype == torch.float32
    assert torch.equal(data.x_test * 256, (data.x_test * 256).round())
    assert 0 <= float(data.x_test.min()) < float(data.x_test.max()) < 1
    larger = zoo_data.glyphs(train=700, test=900, calib=100)
    assert torch.equal(larger.x_test, data.x_test)  # the test part has a stream of its own
    assert torch.equal(larger.x_calib, data.x_calib)
    parts = [data.x_train[:100], data.x_test[:100], data.x_calib]
    assert len(torch.unique(torch.cat(parts).flatten(1), dim=0)) == 300
    assert len(list(private_cache.rglob("*.npz"))) == 2


def test_warp_against_brute_force():
    """The identity map returns the master; a half-pixel shift the mean of neighbours."""
    ink = render.masters()[0, :3].astype(np.float64)
    matrix = np.tile(np.eye(2, dtype=np.float32), (3, 1, 1))
    same = render.warp(ink, np.arange(3), matrix, np.zeros((3, 2), np.float32), 64)
    assert np.array_equal(same[:, :63, :63], ink[:, :63, :63])
    half = render.warp(ink, np.arange(3), matrix, np.tile(np.float32([0.5, 0]), (3, 1)), 63)
    assert np.array_equal(half[:, :62, :62], (ink[:, :62, :62] + ink[:, :62, 1:63]) / 2)


def test_extent_against_brute_force():
    rng = np.random.default_rng(0)
    masks = rng.random((50, 9, 7)) < 0.05
    for mask, box in zip(masks, render.extent(masks), strict=True):
        rows, columns = np.nonzero(mask)
        expected = (
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else 0
        )
        assert np.array_equal(box, np.broadcast_to(expected, 4))


def test_scenes_boxes_bound_their_masks():
    drawn = scenes.draw_scenes(600, seed=2)
    again = scenes.draw_scenes(600, seed=2)
    assert all(np.array_equal(drawn[name], again[name]) for name in drawn)
    boxes, mask = drawn["boxes"], drawn["mask"]
    assert set(np.unique(mask)) == set(range(11))
    present = boxes[..., 0] >= 0
    assert present.any(1).all()
    for n in range(100):
        inside = np.zeros((48, 48), bool)
        for label, left, top, right, bottom in boxes[n][present[n]].astype(int):
            assert 0 <= left < right <= 48
            assert 0 <= top < bottom <= 48
            assert (mask[n, top:bottom, left:right] == label + 1).any()
            inside[top:bottom, left:right] = True
        assert not mask[n][~inside].any()


def test_text_codes_round_trip_and_follow_by_one():
    sample = "def f(x):\n    return x\x07\u00e9"
    codes = text.encode(sample)
    assert "".join(text.VOCABULARY[c] for c in codes) == sample[:-2] + "\0\0"
    data = zoo_data.stdlib_text()
    assert data.x_train.shape[1] == 64
    assert data.x_train.shape[0] * 64 > 1_000_000
    assert torch.equal(data.x_test[:, 1:].long(), data.y_test[:, :-1])
    assert int(data.x_train.max()) < len(text.VOCABULARY) == len(data.classes)
    again = zoo_data.stdlib_text()
    assert torch.equal(again.x_train, data.x_train)
    letters = (data.x_train == text.VOCABULARY.index("e")).float().mean()
    assert 0.04 < float(letters) < 0.15  # it is English-like source, not noise


@pytest.mark.usefixtures("private_cache")
def test_clean_glyphs_are_noised_by_level():
    data = zoo_data.clean_glyphs(train=200, test=100)
    assert data.task == "denoise"
    assert data.x_test.shape == (100, 2, 16, 16)
    assert data.y_test.shape == (100, 1, 16, 16)
    level = data.x_test[:, 1].flatten(1)
    assert torch.equal(level.min(1).values, level.max(1).values)
    clean, noisy = level[:, 0].argmin(), level[:, 0].argmax()
    distance = (data.x_test[:, :1] - data.y_test).square().mean((1, 2, 3))
    assert float(distance[noisy]) < 0.1 < float(distance[clean])


def test_store_detects_a_changed_value(private_cache):
    made = {"x": np.arange(5), "y": np.ones((2, 2), np.float32)}
    assert checksum(cached_arrays("data", "k", lambda: made)) == checksum(made)
    path = private_cache / "data" / "k.npz"
    stored = dict(np.load(path))
    stored["x"][3] = 7
    np.savez(path, **stored)
    with pytest.raises(CacheError, match=r"k\.npz.*checksum"):
        cached_arrays("data", "k", lambda: made)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CacheError, match=r"k\.npz.*not whole"):
        cached_arrays("data", "k", lambda: made)


def _folder(root, classes=("cat", "dog"), count=6, mode="RGB", size=(20, 16)):
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / name / f"{i}.png")
    return root


def test_image_folder_keeps_pixels_and_labels(tmp_path):
    root = _folder(tmp_path / "pictures")
    data = image_folder(root)
    assert data.x_calib.shape == (3, 3, 16, 20)
    assert data.x_test.shape == (9, 3, 16, 20)
    assert data.classes == ("cat", "dog")
    with Image.open(root / "dog" / "4.png") as image:
        pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).astype(np.float32) / 255)
    everything = torch.cat([data.x_calib, data.x_test])
    found = [i for i, x in enumerate(everything) if torch.equal(x, pixels)]
    assert len(found) == 1
    if found[0] >= 3:
        assert data.y_test[found[0] - 3] == 1


def test_image_folder_with_parts_size_and_limit(tmp_path):
    _folder(tmp_path / "train", count=5)
    _folder(tmp_path / "val", count=4, size=(40, 30))
    data = image_folder(tmp_path, FolderOptions(size=14, channels=1, limit=6))
    assert data.x_train.shape == (6, 1, 14, 14)
    assert data.x_test.shape == (6, 1, 14, 14)
    assert sorted(set(data.y_train.tolist())) == [0, 1]
    with pytest.raises(InputError, match=r"train has images of shape .*val"):
        image_folder(tmp_path)


def test_image_folder_normalizes_and_reads_a_class_list(tmp_path):
    root = _folder(tmp_path / "p", classes=("b", "d"))
    (root / "classes.txt").write_text("a\nb\nc\nd\n")
    plain = image_folder(root)
    assert sorted(set(plain.y_test.tolist())) == [1, 3]
    scaled = image_folder(*read_options(f"{root}?normalize=imagenet"))
    expected = (plain.x_test[:, 0] - 0.485) / 0.229
    assert torch.equal(scaled.x_test[:, 0], expected)
