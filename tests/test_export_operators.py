# SPDX-License-Identifier: Apache-2.0
"""Operators between the layers: exact ones are proven equal, the others are named islands."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brevitas import nn as qnn
from torch import nn
from torch.nn import functional

from hwquant.export.check import check_qonnx
from hwquant.export.qonnx import export_qonnx
from hwquant.graph import load
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe


class Calls(nn.Module):
    """Three 1x1 convolutions with ``middle`` between them."""

    def __init__(self, *middle):
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(*sizes, 1) for sizes in ((3, 4), (4, 4), (4, 2)))
        self.middle = middle

    def forward(self, x):
        for conv, function in zip((self.a, self.b, self.c), (*self.middle, None), strict=True):
            x = conv(x) if function is None else function(conv(x))
        return x


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return self.c(torch.relu(self.c(torch.relu(self.c(x)))))


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.c, self.d = nn.Conv2d(8, 4, 3), nn.Conv2d(1, 2, 3)
        self.up = nn.Upsample(scale_factor=2)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x):
        x = torch.cat([self.a(x), torch.relu(self.b(x))], 1)
        return self.d(self.up(self.shuffle(self.c(x))))


class Shapes(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(12, 2)

    def forward(self, x):
        x = self.b(torch.relu(self.a(x.permute(0, 2, 3, 1))))[:, :3, 0]
        return self.c(x.reshape(x.shape[0], -1))


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.g, self.b = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = torch.relu(self.a(x))
        return self.b(x * torch.sigmoid(self.g(functional.adaptive_avg_pool2d(x, 1))))


EXACT = {
    "relu6": Calls(functional.relu6, lambda x: x.clamp(-1.5, 0.75)),
    "max_pool": Calls(
        lambda x: functional.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        lambda x: functional.adaptive_max_pool2d(x, 1),
    ),
    "avg_pool": Calls(
        lambda x: functional.avg_pool2d(x, 2, padding=1), lambda x: functional.avg_pool2d(x, 2)
    ),
    "scalars": Calls(lambda x: x * 2 - 1, lambda x: (-x + 0.5) / 4),
    "shared_layer": Shared(),
    "branches": Branches(),
    "shapes": Shapes(),
    "reflect_and_same": nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding="same"),
    ),
}
ISLANDS = {
    "AveragePool": Calls(
        lambda x: functional.avg_pool2d(x, 3), lambda x: functional.avg_pool2d(x, 2, ceil_mode=True)
    ),
    "GlobalAveragePool": Gate(),
    "ReduceMean": Calls(torch.relu, lambda x: x.mean((2, 3), keepdim=True)),
    "Softplus": Calls(functional.softplus, functional.elu),
    "HardSwish": Calls(functional.hardswish, functional.silu),
    "LeakyRelu": Calls(functional.leaky_relu, torch.tanh),
    "InstanceNormalization": nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.PReLU(4), nn.Conv2d(4, 4, 1),
        nn.InstanceNorm2d(4, affine=True), nn.Conv2d(4, 2, 1),
    ),
}  # fmt: skip


def checked(tmp_path, model, recipe, x):
    qmodel = quantize(model.eval(), recipe, x)
    path = tmp_path / "m.onnx"
    export_qonnx(qmodel, path, x[:1])

    def forward(inputs):
        with torch.no_grad():
            return qmodel(torch.from_numpy(inputs)).numpy()

    return check_qonnx(path, x.numpy(), forward), path


def images(size=12):
    return torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("pair", ["int4:int5", "e2m1:e3m2"])
def test_exact_operators_are_proven_and_equal(tmp_path, name, pair):
    weight, act = pair.split(":")
    report, _ = checked(tmp_path, EXACT[name], Recipe(weight, act), images())
    assert (report.differences, report.proven, report.islands) == (0, True, ())


@pytest.mark.parametrize("name", ISLANDS)
def test_islands_are_named_and_nearly_always_equal(tmp_path, name):
    report, _ = checked(tmp_path, ISLANDS[name], Recipe("int4", "int5"), images())
    assert name in {island.split()[0] for island in report.islands}
    assert report.failures == ()
    assert not report.proven
    assert report.differences <= report.codes_compared * 1e-3


def test_a_layer_left_float_is_an_island(tmp_path):
    recipe = Recipe("int4", "int4", exclude=("a",))
    report, path = checked(tmp_path, Calls(torch.relu, torch.relu), recipe, images())
    assert [layer.name for layer in load(path).layers()] == ["b", "c"]
    assert report.islands == ("Conv a.Conv: evaluated in float",)
    assert report.differences <= 2


def test_encoder_layer_with_heads(tmp_path):
    torch.manual_seed(0)
    model = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    report, path = checked(tmp_path, model, Recipe("e2m1", "e3m2"), torch.randn(4, 5, 8))
    assert [layer.kind for layer in load(path).layers()].count("matmul") == 2
    assert report.layers == 8
    assert report.failures == ()


def test_brevitas_model_quantized_in_training(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantIdentity(bit_width=6),
        qnn.QuantConv2d(3, 4, 3, weight_bit_width=4),
        qnn.QuantReLU(bit_width=5),
        nn.Flatten(),
        qnn.QuantLinear(144, 3, bias=True, weight_bit_width=3),
    )
    x = images(8)
    model.train()
    model(x)
    report, path = checked(tmp_path, model, Recipe("int4", "int4"), x)
    assert [str(layer.weight) for layer in load(path).layers()] == ["int4n", "int3n"]
    assert report.failures == ()
    assert report.differences <= 2


def test_batches_that_a_reshape_fixes_are_run_one_by_one(tmp_path):
    import onnx
    from onnx import numpy_helper

    x = images(4)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.ReLU(), nn.Unflatten(1, (2, 2)))
    _, path = checked(tmp_path, nn.Sequential(model, nn.Linear(2, 3)), Recipe("int4", "int4"), x)
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.int64 and array.size and array[0] == -1:
            fixed = np.concatenate([[1], array[1:]])
            tensor.CopyFrom(numpy_helper.from_array(fixed, tensor.name))
    onnx.save(proto, tmp_path / "fixed.onnx")
    free, fixed = load(path), load(tmp_path / "fixed.onnx")
    assert (free.fixed_batch(), fixed.fixed_batch()) == (None, 1)
    a, b = (g.execute(x.numpy())["output"].ints for g in (free, fixed))
    assert np.array_equal(a, b)
    assert check_qonnx(tmp_path / "fixed.onnx", x.numpy()).differences == 0
