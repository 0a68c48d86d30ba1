"""torchvision's networks beside any torch: quantized, exported, executed, compared.

Random weights and a few generated images: figures of accuracy mean nothing here.  The whole of
ResNet-18, MobileNetV2 and ViT-B-32 through ``hwquant export --check`` is measured in docs/zoo.md;
here the two convolutional ones run on small images, and the transformer is traced.
"""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from hwquant.errors import InputError
from hwquant.export.check import check_qonnx
from hwquant.export.qonnx import export_qonnx
from hwquant.ptq.attention import open_attention
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.trace import trace
from hwquant.zoo.resolve import resolve, resolve_data, resolve_model
from hwquant.zoo.vision import MODELS, import_torchvision

SIDE = 64


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Four of 1,000 classes have a folder; the rest stand in classes.txt."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    names = [f"n{i:04d}" for i in range(1000)]
    (root / "classes.txt").write_text("\n".join(names))
    for name in names[::300]:
        (root / name).mkdir()
        for i in range(3):
            coarse = Image.fromarray(rng.integers(0, 256, (7, 6, 3), dtype=np.uint8))
            coarse.resize((90, 80)).save(root / name / f"{i}.png")
    return f"imagefolder:{root}?size={SIDE}&normalize=imagenet"


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_network_exports_and_equals_the_integer_reference(name, pictures, tmp_path):
    found = resolve(f"torchvision:{name}", pictures)
    x = found.data.x_calib
    assert x.shape == (3, 3, SIDE, SIDE)
    assert len(found.data.classes) == 1000
    quantized = quantize(found.model, Recipe(weight="e2m1", act="int8"), x)
    export_qonnx(quantized, tmp_path / "net.onnx", found.data.sample)
    report = check_qonnx(tmp_path / "net.onnx", found.data.x_test[:1].numpy())
    assert not report.failures
    assert report.differences == 0
    assert report.codes_compared > 100_000


def test_every_network_is_traceable():
    """The transformer included, whose shape checks and attention are torchvision's own code."""
    for name in MODELS:
        graph = trace(open_attention(resolve_model(f"torchvision:{name}")))
        side = 224 if name == "vit_b_32" else SIDE
        with torch.no_grad():
            assert graph(torch.zeros(1, 3, side, side)).shape == (1, 1000)


def test_weights_of_a_file_and_of_another_network(tmp_path):
    model = import_torchvision().models.resnet18(weights=None)
    torch.save(model.state_dict(), tmp_path / "r.pth")
    loaded = resolve_model(f"torchvision:resnet18@{tmp_path}/r.pth")
    assert torch.equal(loaded.fc.weight, model.fc.weight)
    with pytest.raises(InputError, match=r"r\.pth do not fit the model.*features"):
        resolve_model(f"torchvision:mobilenet_v2@{tmp_path}/r.pth")


def test_import_works_before_and_after_a_first_failure():
    """In a fresh process, whatever this torch and torchvision were built for."""
    code = (
        "from hwquant.zoo.vision import import_torchvision as i; a = i(); b = i(); "
        "assert a is b; print(a.models.resnet18(weights=None).fc.out_features)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "1000"


def test_cifar_on_disk(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    with pytest.raises(InputError, match=r"CIFAR10: folder .* does not hold it"):
        resolve_data(f"torchvision:CIFAR10@{tmp_path}")
    import_torchvision()
    from torchvision.datasets import CIFAR10, cifar

    written = {}
    for name, _ in [*CIFAR10.train_list, *CIFAR10.test_list]:
        batch = {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 9]}
        (folder / name).write_bytes(pickle.dumps(batch))
        written[name] = batch["data"]
    (folder / CIFAR10.meta["filename"]).write_bytes(
        pickle.dumps({"label_names": list("abcdefghij")})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cifar, "check_integrity", lambda *_: True)  # ours has other checksums
        data = resolve_data(f"torchvision:CIFAR10@{tmp_path}")
    assert data.x_train.shape == (20, 3, 32, 32)
    assert data.x_test.shape == (4, 3, 32, 32)
    assert data.y_test.tolist() == [0, 1, 2, 9]
    expected = written["test_batch"].reshape(4, 3, 32, 32).astype(np.float32) / np.float32(255)
    assert np.array_equal(data.x_test.numpy(), expected)
