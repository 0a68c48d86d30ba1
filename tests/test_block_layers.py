"""Block-scaled formats in layers: equal to the numpy codec, along the axis that is contracted."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwquant import Recipe, block_np, load_quantized, parse, quantize, save_quantized
from hwquant.block import BLOCK_NAMES
from hwquant.errors import InputError, SpecError
from hwquant.nn.block_quantizer import BlockQuantizer
from hwquant.nn.codes import layer_codes, quantized_layers, workload
from hwquant.nn.quantizers import act_quantizer, weight_quantizer


def numbers(*shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape) * np.exp2(rng.integers(-6, 6, shape))
    x = np.ldexp(x, rng.integers(-140, 100, (*shape[:-1], 1))).astype(np.float32)
    x[rng.random(shape) < 0.05] *= -0.0
    x[..., : shape[-1] // 2] = np.ldexp(np.rint(x[..., : shape[-1] // 2] * 8), -2)
    return x


@pytest.mark.parametrize("name", [*BLOCK_NAMES, "mxfp4k5", "nvfp4k3"])
def test_values_equal_numpy(name):
    fmt = parse(name)
    x = numbers(300, 50)
    x[3] = 0
    x[4] = np.float32(3.4e38)
    scales = (1.0, 0.3, 2.0**-10) if fmt.tensor_scale else (1.0,)
    for scale in map(np.float32, scales):
        quantizer = BlockQuantizer(fmt, "float")
        if fmt.tensor_scale:
            quantizer.set_scale(torch.tensor(scale))
        found = quantizer(torch.from_numpy(x)).numpy()
        want = block_np.quantize(fmt, x, scale=float(scale)).astype(np.float32)
        np.testing.assert_array_equal(found, want)
        np.testing.assert_array_equal(np.signbit(found), np.signbit(want))
        codes = quantizer.codes(torch.from_numpy(x))
        np.testing.assert_array_equal(codes, block_np.encode(fmt, x, scale=float(scale)).codes)


@pytest.mark.parametrize(("axis", "groups"), [(-1, 1), (1, 1), (-3, 2), (0, 1)])
def test_blocks_lie_along_the_axis_of_each_group(axis, groups):
    fmt = parse("mxfp4k4")
    x = np.random.default_rng(1).normal(size=(3, 20, 4, 5)).astype(np.float32)
    found = BlockQuantizer(fmt, axis=axis, groups=groups)(torch.from_numpy(x)).numpy()
    pieces = np.split(x, groups, axis)
    want = np.concatenate([block_np.quantize(fmt, piece, axis) for piece in pieces], axis)
    np.testing.assert_array_equal(found, want)


def test_gradient_passes():
    for name in ("mxfp4", "nvfp4", "mxint8"):
        x = torch.randn(4, 40, requires_grad=True)
        BlockQuantizer(parse(name))(x).sum().backward()
        assert x.grad is not None
        assert (x.grad == 1).float().mean() > 0.8


class Net(nn.Module):
    """A plain, a grouped and a transposed convolution, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 40, 3, padding=1)
        self.grouped = nn.Conv2d(40, 36, 3, groups=2)
        self.up = nn.ConvTranspose2d(36, 4, 2)
        self.head = nn.Linear(4 * 7 * 7, 10)

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.grouped(x))
        return self.head(torch.flatten(self.up(x), 1))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Net().eval(), torch.randn(6, 3, 8, 8)


def by_hand(model, x, weight, act):
    """Return the network's output with tensors quantized by the numpy codec."""

    def q(fmt, t, axis, groups=1):
        pieces = np.split(t.detach().numpy(), groups, axis)
        done = [block_np.quantize(fmt, piece, axis, scale=1.0) for piece in pieces]
        return torch.from_numpy(np.concatenate(done, axis).astype(np.float32))

    f = nn.functional
    m = model
    x = torch.relu(f.conv2d(q(act, x, 1), q(weight, m.first.weight, 1), m.first.bias, padding=1))
    x = torch.relu(
        f.conv2d(q(act, x, 1, 2), q(weight, m.grouped.weight, 1), m.grouped.bias, groups=2)
    )
    x = f.conv_transpose2d(q(act, x, 1), q(weight, m.up.weight, 0), m.up.bias)
    x = torch.flatten(x, 1)
    return f.linear(q(act, x, 1), q(weight, m.head.weight, 1), m.head.bias)


@pytest.mark.parametrize(
    ("weight", "act"),
    [("mxfp4", "mxfp8e4m3"), ("mxint8", "mxint8"), ("mxfp6e3m2k8", "mxfp6e2m3k8")],
)
def test_layers_equal_the_numpy_codec(net, weight, act):
    model, x = net
    recipe = Recipe(weight, act, steps=["calibrate"])
    found = quantize(model, recipe, x)(x)
    want = by_hand(model, x, parse(weight), parse(act))
    assert torch.equal(found, want)
    # Negative control: other blocks give another network.
    other = Recipe(
        f"{weight.partition('k')[0]}k16", f"{act.partition('k')[0]}k16", steps=["calibrate"]
    )
    assert not torch.equal(quantize(model, other, x)(x), want)


@pytest.mark.parametrize("scale", ["po2", "float"])
def test_nvfp4_calibrates_its_tensor_scales(net, scale):
    model, x = net
    qmodel = quantize(model, Recipe("nvfp4", "nvfp4", scale=scale), x)
    layers = dict(quantized_layers(qmodel))
    for layer in layers.values():
        q = weight_quantizer(layer)
        amax = float(layer.weight.abs().max())
        assert float(q.scale) == block_np.tensor_scale(q.blocks, amax, po2=scale == "po2")
    act = act_quantizer(qmodel.get_submodule(layers["first"].act_paths[0]))
    assert float(act.scale) == block_np.tensor_scale(
        act.blocks, float(x.abs().max()), po2=scale == "po2"
    )
    error = ((qmodel(x) - model(x)).pow(2).mean() / model(x).pow(2).mean()).detach()
    assert error < 0.2


def test_wider_elements_are_closer(net):
    model, x = net
    exact = model(x).detach()
    errors = [
        float((quantize(model, Recipe(name, name), x)(x) - exact).detach().pow(2).mean())
        for name in ("mxfp4", "mxfp6e3m2", "mxint8")
    ]
    assert errors == sorted(errors, reverse=True)


def test_matmul_blocks_along_the_contraction():
    class Products(nn.Module):
        def __init__(self):
            super().__init__()
            self.line = nn.Linear(40, 40)

        def forward(self, x):
            return torch.matmul(self.line(x), x.transpose(-1, -2))

    torch.manual_seed(1)
    model, x = Products().eval(), torch.randn(2, 36, 40)
    qmodel = quantize(model, Recipe("mxfp4", "mxint8", steps=["calibrate"]), x)
    fmt = parse("mxint8")
    weight = block_np.quantize(parse("mxfp4"), model.line.weight.detach().numpy()).astype(
        np.float32
    )
    left = nn.functional.linear(
        torch.from_numpy(block_np.quantize(fmt, x.numpy()).astype(np.float32)),
        torch.from_numpy(weight),
        model.line.bias,
    )
    a = torch.from_numpy(block_np.quantize(fmt, left.detach().numpy()).astype(np.float32))
    b = block_np.quantize(fmt, x.numpy().swapaxes(1, 2), axis=-2).astype(np.float32)
    assert torch.equal(qmodel(x), torch.matmul(a, torch.from_numpy(b)))


def test_recipe_round_trips_and_checkpoint(net, tmp_path):
    model, x = net
    recipe = Recipe("mxfp4", "mxfp8e4m3", overrides={"head": {"weight": "int8", "act": "int8"}})
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    qmodel = quantize(model, recipe, x)
    save_quantized(qmodel, tmp_path / "net.pt")
    again = load_quantized(tmp_path / "net.pt", model)
    assert torch.equal(again(x), qmodel(x))


def test_refusals(net):
    model, x = net
    with pytest.raises(SpecError, match="do not share their blocks"):
        quantize(model, Recipe("mxfp4", "int8"), x)
    with pytest.raises(SpecError, match="do not share their blocks"):
        quantize(model, Recipe("int8", "mxfp4"), x)
    with pytest.raises(SpecError, match="do not share their blocks"):
        quantize(model, Recipe("mxfp4", "nvfp4"), x)
    qmodel = quantize(model, Recipe("mxfp4", "mxfp4"), x)
    layers = dict(quantized_layers(qmodel))
    with pytest.raises(SpecError, match="block-scaled weights"):
        layer_codes(layers["first"])
    with pytest.raises(SpecError, match="block-scaled"):
        workload(qmodel, x)
    quantizer = weight_quantizer(layers["first"])
    with pytest.raises(SpecError, match="no tensor scale"):
        quantizer.set_scale(torch.tensor(2.0))
    with pytest.raises(InputError, match="NaN"):
        quantizer.codes(torch.full((1, 3, 1, 1), torch.nan))
    with pytest.raises(SpecError, match="no multiple of 2 groups"):
        BlockQuantizer(parse("mxfp4"), groups=2)(torch.zeros(3))
