# SPDX-License-Identifier: Apache-2.0
"""Diffusion models: calibration from the sampler, concatenations taken apart, the whole flow."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from hwquant.errors import InputError, SpecError
from hwquant.export.check import check_qonnx
from hwquant.export.qonnx import export_qonnx
from hwquant.nn.checkpoint import load_quantized, save_quantized
from hwquant.ptq.concat import split_concatenations
from hwquant.ptq.quantize import prepare, quantize
from hwquant.ptq.recipe import Recipe
from hwquant.ptq.trace import propagate_shapes, trace
from hwquant.ptq.trajectory import sampled_inputs, trajectory
from hwquant.zoo.data import Data
from hwquant.zoo.models.unet import UNet
from hwquant.zoo.tasks.diffusion import ddim_sample


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    net = UNet(2, 1, 3)
    net.train()
    for _ in range(3):  # running statistics of the batch norms
        net(torch.randn(16, 2, 8, 8))
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def inputs(unet):
    noise = torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return trajectory(unet, noise, items=30, steps=5)


class Reads(nn.Module):
    """Concatenates two branches and reads them by ``layer``, whole or called twice."""

    def __init__(self, layer: nn.Module, axis: int, *, twice: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.layer = nn.ReLU(), nn.Tanh(), layer
        self.axis, self.twice = axis, twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        both = torch.cat([self.a(x), self.b(x), x], self.axis)
        y = self.layer(both)
        return y + self.layer(2 * both) if self.twice else y


def graph_of(net, x):
    graph = trace(net.eval())
    propagate_shapes(graph, x)
    return graph


def test_trajectory_is_what_the_sampler_meets(unet):
    noise = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    met = []

    def watched(x):
        met.append(x)
        return unet(x)

    ddim_sample(watched, noise, 4)
    everything = {tuple(row) for x in met for row in x.flatten(1).tolist()}
    drawn = trajectory(unet, noise, items=10, steps=4)
    rows = [tuple(row) for row in drawn.flatten(1).tolist()]
    assert len(set(rows)) == 10
    assert set(rows) <= everything
    levels = drawn[:, 1, 0, 0].tolist()  # every timestep, the noisiest ones once more
    assert sorted(levels) == sorted([1.0] * 3 + [0.75] * 3 + [0.5] * 2 + [0.25] * 2)
    assert torch.equal(drawn, trajectory(unet, noise, items=10, steps=4))
    assert not torch.equal(drawn, trajectory(unet, noise, items=10, steps=4, seed=1))
    for items in (0, 25):
        with pytest.raises(InputError, match="allowed 1 to 24"):
            trajectory(unet, noise, items=items, steps=4)


def test_sampled_inputs_fit_the_data(unet):
    x = torch.randn(21, 2, 8, 8)
    data = Data("tiny", x, x[:, :1], x, x, x[:, :1], task="denoise")
    assert sampled_inputs(unet, data, steps=4).shape == x.shape
    assert sampled_inputs(unet, data, items=3, steps=4).shape == (3, 2, 8, 8)
    with pytest.raises(InputError, match="is for classify"):
        sampled_inputs(unet, replace(data, task="classify"))


@pytest.mark.parametrize(
    ("layer", "axis", "shape"),
    [
        (nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), 1, (2, 2, 5, 5)),
        (nn.Conv2d(6, 4, 3, stride=2, bias=False), -3, (2, 2, 5, 5)),
        (nn.ConvTranspose2d(6, 4, 3, stride=2, output_padding=1), 1, (2, 2, 5, 5)),
        (nn.Conv1d(6, 4, 3, dilation=2), 1, (2, 2, 9)),
        (nn.Linear(6, 4), -1, (2, 5, 2)),
    ],
    ids=lambda item: type(item).__name__,
)
def test_split_computes_the_same(layer, axis, shape):
    net, x = Reads(layer, axis), torch.randn(shape)
    wanted = net(x)
    graph = graph_of(net, x)
    assert split_concatenations(graph) == ("layer",)
    assert torch.allclose(graph(x), wanted, atol=1e-6)
    assert [len(p.weight.shape) for p in graph.get_submodule("layer")] == [
        len(layer.weight.shape)
    ] * 3
    with torch.no_grad():  # a wrong part would show
        graph.get_submodule("layer.1").weight.mul_(2)
    assert not torch.allclose(graph(x), wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (Reads(nn.Conv2d(6, 6, 3, groups=2), 1), (2, 2, 5, 5)),
        (Reads(nn.Conv2d(2, 4, 3), 2), (2, 2, 5, 5)),  # along the height
        (Reads(nn.Linear(2, 4), 1), (2, 5, 2)),  # along the tokens
        (Reads(nn.Conv2d(6, 4, 3), 1, twice=True), (2, 2, 5, 5)),
    ],
    ids=["groups", "height", "tokens", "twice"],
)
def test_other_layers_stay_whole(net, shape):
    graph = graph_of(net, torch.randn(shape))
    assert split_concatenations(graph) == ()


def test_each_operand_has_its_scale(unet, inputs):
    recipe = Recipe("int4", "int4", concat="separate", steps=["calibrate"])
    q = quantize(unet, recipe, inputs)
    scales = {
        n: float(m.act_quant.fused_activation_quant_proxy.tensor_quant.quantizer.scale)
        for n, m in q.get_submodule("act_quant").named_children()
        if n.startswith("up")
    }
    assert {"up2_0_0", "up2_0_1", "up1_0_0", "up1_0_1"} <= set(scales)
    joint = quantize(unet, replace(recipe, concat="joint"), inputs)
    assert {"up2_0", "up1_0"} <= dict(joint.get_submodule("act_quant").named_children()).keys()
    with torch.no_grad():
        wanted = unet(inputs)
        errors = [float((net(inputs) - wanted).square().mean()) for net in (q, joint)]
    assert errors[0] != errors[1]


def test_export_is_exact(unet, inputs, tmp_path):
    q = quantize(unet, Recipe("e2m1", "int6", concat="separate"), inputs)
    export_qonnx(q, tmp_path / "unet.onnx", inputs[:1])
    report = check_qonnx(tmp_path / "unet.onnx", inputs[:4].numpy())
    assert report.differences == 0
    assert report.proven
    assert report.layers == 15


def test_flow(unet, inputs, tmp_path):
    recipe = Recipe(
        "e2m1",
        "int8",
        concat="separate",
        steps=["format_search:acts=false", "calibrate", "adaround:iterations=20"],
    )
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    q = quantize(unet, recipe, inputs)
    nearest = quantize(unet, replace(recipe, steps=recipe.steps[:2]), inputs)
    with torch.no_grad():
        wanted = unet(inputs)
        errors = [float((net(inputs) - wanted).square().mean()) for net in (q, nearest)]
    assert errors[0] < errors[1]
    save_quantized(q, tmp_path / "q.pt")
    again = load_quantized(tmp_path / "q.pt", unet)
    assert torch.equal(again(inputs), q(inputs))


def test_bad_input():
    with pytest.raises(SpecError, match="concat 'both', allowed: joint, separate"):
        Recipe(concat="both")
    net = UNet(2, 1, 3).eval()
    recipe = Recipe(concat="separate", exclude=["up2.0"])
    with pytest.raises(SpecError, match=r"up2\.0\.0"):
        prepare(net, recipe, (torch.randn(2, 2, 8, 8),), input_non_negative=False)
