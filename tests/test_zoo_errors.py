"""What a user can get wrong with data and models: one clear message that names it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from hwquant.errors import InputError, UnsupportedError
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe
from hwquant.zoo.data import folder, image_folder, stdlib_text
from hwquant.zoo.data.folder import FolderOptions, read_options
from hwquant.zoo.data.glyphs import draw
from hwquant.zoo.resolve import resolve, resolve_data, resolve_model
from hwquant.zoo.training import top1

NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d({channels}, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                         nn.Flatten(), nn.Linear(4, {classes}))

def twins():
    class Twins(nn.Module):
        def forward(self, x):
            return x, x
    return Twins()

def lstm():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.reader = nn.LSTM(8, 4, batch_first=True)
            self.head = nn.Linear(4, 2)
        def forward(self, x):
            return self.head(self.reader(x)[0])
    return Reader()
"""


def net(tmp_path, channels=3, classes=2):
    path = tmp_path / "net.py"
    path.write_text(NET.format(channels=channels, classes=classes))
    return f"{path}:make"


def picture(path, mode="RGB", size=(16, 16)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "pictures"
    for name in ("cat", "dog"):
        for i in range(5):
            picture(root / name / f"{i}.png")
    return root


def refused(match, call, *args):
    with pytest.raises(InputError, match=match) as caught:
        call(*args)
    assert "\n" not in str(caught.value)


def test_a_good_folder_and_model_work(tmp_path, pictures):
    found = resolve(net(tmp_path), f"imagefolder:{pictures}")
    assert set(found.figures) == {"top1"}
    assert 0 <= found.float_top1 <= 1
    assert found.data.classes == ("cat", "dog")


def test_missing_and_empty_folders(tmp_path, pictures):
    refused(r"no folder .*/nowhere", resolve_data, f"imagefolder:{tmp_path}/nowhere")
    (tmp_path / "bare").mkdir()
    refused(r"bare holds no class folders", image_folder, tmp_path / "bare")
    (pictures / "eel").mkdir()
    refused(r"pictures/eel holds no images", image_folder, pictures)
    refused(r"no folder .*/lib", stdlib_text, tmp_path / "lib")
    refused(r"bare holds 0 Python files", stdlib_text, tmp_path / "bare")


def test_unreadable_images(pictures):
    broken = pictures / "dog" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    refused(r"dog/3\.png cannot be read", image_folder, pictures)
    broken.write_text("no image at all")
    refused(r"dog/3\.png cannot be read", image_folder, pictures)


def test_gray_among_rgb_and_sizes(pictures):
    picture(pictures / "dog" / "2.png", mode="L")
    refused(r"dog/2\.png is gray, .*cat/0\.png is RGB; add \?channels", image_folder, pictures)
    assert image_folder(pictures, FolderOptions(channels=1)).x_test.shape[1] == 1
    picture(pictures / "dog" / "2.png", size=(16, 12))
    refused(r"dog/2\.png has 16 x 12 pixels, .* 16 x 16; add \?size", image_folder, pictures)


def test_gray_images_for_an_rgb_network(tmp_path, pictures):
    data = f"imagefolder:{pictures}?channels=1"
    refused(r"layer '0' takes 3 channels \(RGB\), .* have 1 \(gray\)", resolve, net(tmp_path), data)
    gray = net(tmp_path, channels=1)
    refused(r"takes 1 channels \(gray\), .* 3 \(RGB\)", resolve, gray, f"imagefolder:{pictures}")


def test_class_mismatch(tmp_path, pictures):
    many = net(tmp_path, classes=7)
    refused(r"7 outputs, data .* 2 classes", resolve, many, f"imagefolder:{pictures}")
    (pictures / "classes.txt").write_text("ant\ncat\n")
    refused(r"pictures/dog is no class of classes\.txt", image_folder, pictures)
    (pictures / "classes.txt").write_text("ant\ncat\ndog\nant\n")
    refused(r"classes\.txt names no class, or one twice", image_folder, pictures)
    for part, name in (("train", "a"), ("train", "b"), ("val", "a"), ("val", "c")):
        picture(tmp_path / "split" / part / name / "1.png")
    refused(r"class 'b' is in only one of .*split/train", image_folder, tmp_path / "split")


def test_options_of_image_folders(pictures):
    refused(
        r"option 'sise' is unknown, allowed: size, channels", read_options, f"{pictures}?sise=3"
    )
    refused(r"size='big', allowed a whole number", read_options, f"{pictures}?size=big")
    refused(r"channels=2", read_options, f"{pictures}?channels=2")
    refused(r"normalize='x', allowed: none, imagenet", read_options, f"{pictures}?normalize=x")
    options = FolderOptions(channels=1, normalize="imagenet")
    refused(r"gray, normalize=imagenet needs RGB", image_folder, pictures, options)


def test_a_folder_that_does_not_fit_memory(pictures, monkeypatch):
    monkeypatch.setattr(folder, "MOST_BYTES", 8 * 3072)
    refused(r"10 images .* add \?limit=8 or less", image_folder, pictures)
    assert len(image_folder(pictures, FolderOptions(limit=8)).x_test) == 6


def test_weights_of_another_architecture(tmp_path):
    model = resolve_model(net(tmp_path, classes=7))
    torch.save(model.state_dict(), tmp_path / "seven.pth")
    other = net(tmp_path, classes=2)
    refused(
        r"seven\.pth do not fit the model.*4\.weight",
        resolve_model,
        f"{other}@{tmp_path}/seven.pth",
    )
    torch.save({"nothing.weight": torch.zeros(1)}, tmp_path / "odd.pth")
    refused(r"odd\.pth do not fit .*0\.weight", resolve_model, f"{other}@{tmp_path}/odd.pth")
    torch.save(model, tmp_path / "pickled.pth")
    refused(r"pickled\.pth cannot be read", resolve_model, f"{other}@{tmp_path}/pickled.pth")
    refused(r"no weights file .*none\.pth", resolve_model, f"{other}@{tmp_path}/none.pth")


def test_unsupported_layers_and_outputs_are_named(tmp_path, pictures):
    source = net(tmp_path).removesuffix(":make")
    refused(r"returns a tuple", resolve, f"{source}:twins", f"imagefolder:{pictures}")
    with pytest.raises(UnsupportedError, match=r"layer 'reader' is a LSTM"):
        quantize(resolve_model(f"{source}:lstm"), Recipe(), torch.rand(4, 6, 8))


def test_unknown_sources_say_what_is_allowed(tmp_path):
    refused(r"allowed: .*imagefolder:PATH.*torchvision:DATASET@PATH", resolve_data, "nothing")
    refused(r"allowed: zoo:NAME.*torchvision:NAME", resolve_model, "nothing")
    refused(r"needs --data: .*glyphs", resolve, net(tmp_path), None)
    refused(r"'resnet999' is unknown, allowed: resnet18", resolve_model, "torchvision:resnet999")
    refused(r"allowed torchvision:DATASET@PATH .*CIFAR10", resolve_data, "torchvision:CIFAR10")
    refused(r"CIFAR10: there is no folder", resolve_data, f"torchvision:CIFAR10@{tmp_path}/none")


def test_figures_that_do_not_exist():
    with pytest.raises(InputError, match="top1 needs class labels"):
        top1(torch.nn.Identity(), torch.zeros(2, 2), torch.zeros(2))
    refused(r"glyphs: 0 images", draw, 0, 1)
