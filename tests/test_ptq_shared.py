# SPDX-License-Identifier: Apache-2.0
"""Shared work: the code words are those of a quantization alone, and a changed ingredient counts.

Oracle: the same quantization without anything shared.  Negative controls: a weight, a calibration
item, an option changed by a little, each of which must be computed anew.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from hwquant import Recipe, cache, quantize
from hwquant.errors import SpecError
from hwquant.nn.codes import layer_codes, quantized_layers
from hwquant.nn.frozen import frozen
from hwquant.nn.layers import MatMul
from hwquant.ptq.shared import Shared, graph_key, key_of

FULL = ("calibrate", "gptq:inputs=float", "bias_correction")


class Net(nn.Module):
    """Convolutions with a residual, a grouped one, batch norm, pooling, two linear layers."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.body = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.pool, self.head = nn.AdaptiveAvgPool2d(2), nn.Linear(32, 12)
        self.tail = nn.Linear(12, 5)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.body(x))
        return self.tail(torch.relu(self.head(self.pool(x).flatten(1))))


@pytest.fixture
def net():
    torch.manual_seed(3)
    return Net().eval()


@pytest.fixture
def images():
    return torch.randn(96, 1, 8, 8, generator=torch.Generator().manual_seed(4))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HWQUANT_CACHE", str(tmp_path / "cache"))


def recipe(weight, act, steps=FULL, **others):
    return Recipe(weight, act, scale="float", steps=steps, **others)


def same(first, second):
    """Whether two quantized networks have the same codes, scales, biases and outputs."""
    for (path, a), (other, b) in zip(
        quantized_layers(first), quantized_layers(second), strict=True
    ):
        assert path == other
        if isinstance(a, MatMul):
            continue
        one, two = layer_codes(a), layer_codes(b)
        if not np.array_equal(one.codes, two.codes) or not np.array_equal(one.scale, two.scale):
            return False
        if not torch.equal(a.bias_integer, b.bias_integer):
            return False
    states = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in states)


STEPS = [
    FULL,
    ("calibrate",),
    ("calibrate:rule=percentile,percentile=99", "gptq", "bias_correction:behind=layer"),
    ("equalize", "calibrate:weight=hessian,draws=2", "gptq:inputs=float,act_order=true"),
]


@pytest.mark.parametrize("steps", STEPS, ids="+".join)
def test_points_with_shared_work_equal_points_alone(net, images, steps):
    shared = Shared("here")
    for weight, act in itertools.product(("int4", "e2m1"), ("int8", "e3m2")):
        chosen = recipe(weight, act, steps)
        alone = quantize(net, chosen, images)
        together = quantize(net, chosen, images, shared=shared)
        assert same(alone, together), (weight, act)
        assert torch.equal(alone(images), together(images))
    again = quantize(net, chosen, images, shared=Shared("here"))  # from the disk alone
    assert same(alone, again)


def test_work_is_done_once(net, images):
    shared = Shared()
    for weight, act in itertools.product(("int4", "e2m1"), ("int8", "e3m2", "e4m3")):
        quantize(net, recipe(weight, act), images, shared=shared)
    layers, acts = 4, 4
    assert shared.computed == {
        "activations": 1,
        "hessian": 1,
        "means": 1,
        "weight scale": 2 * layers,
        "gptq": 2 * layers,
        "activation scale": 3 * acts,
    }
    other = Shared()
    quantize(net, recipe("e2m1", "e4m3"), images, shared=other)
    assert other.computed == {}  # another process finds all of it
    quantize(net, recipe("e2m1", "e4m3"), images, shared=Shared("newer code"))
    assert other.computed == {}


def changed_weight(net, images):
    with torch.no_grad():
        net.body.weight[0, 0, 0, 0] = torch.nextafter(
            net.body.weight[0, 0, 0, 0], torch.tensor(9.0)
        )
    return net, images, FULL


def changed_item(net, images):
    images = images.clone()
    images[5, 0, 2, 2] += 1e-3
    return net, images, FULL


def changed_option(net, images):
    return net, images, ("calibrate", "gptq:inputs=float,damp=0.02", "bias_correction")


@pytest.mark.parametrize("change", [changed_weight, changed_item, changed_option])
def test_negative_control_a_changed_ingredient_is_computed_anew(net, images, change):
    quantize(net, recipe("int4", "int8"), images, shared=Shared())
    shared = Shared()
    net, images, steps = change(net, images)
    found = quantize(net, recipe("int4", "int8", steps), images, shared=shared)
    assert shared.computed.get("gptq") == 4
    assert ("hessian" in shared.computed) == (change is not changed_option)
    assert same(found, quantize(net, recipe("int4", "int8", steps), images))


def test_negative_control_equality_sees_a_single_code(net, images):
    one, two = (quantize(net, recipe("int4", "int8"), images) for _ in range(2))
    assert same(one, two)
    layer = two.get_submodule("head")
    with torch.no_grad():
        layer.weight[0, 0] += layer.weight_quant.scale().reshape(-1)[0] * 2
    assert not same(one, two)


def test_a_different_stride_is_a_different_network(images):
    keys = set()
    for stride in (1, 2):
        torch.manual_seed(0)
        graph = torch.fx.symbolic_trace(nn.Sequential(nn.Conv2d(1, 2, 3, stride)))
        keys.add(graph_key(graph, (images,)))
    assert len(keys) == 2


def test_keys_tell_shapes_types_and_bytes():
    x = torch.arange(6.0)
    several = [x, x.reshape(2, 3), x.double(), x + 1, x.to(torch.int32), -torch.zeros(6), "x"]
    assert len({key_of(item) for item in several}) == len(several)
    assert key_of(x, "a") != key_of(x) != key_of("a", x)
    assert key_of(x.reshape(2, 3).t()) == key_of(x.reshape(2, 3).t().contiguous())
    assert key_of("ab", "c") != key_of("a", "bc")


def test_memory_is_bounded_and_the_least_used_goes_first():
    shared = Shared(memory=4 * 100, disk=False)
    runs = []

    def once(name):
        def compute():
            runs.append(name)
            return {"x": torch.zeros(40)}

        return shared.once("test", (name,), compute)

    for name in ("a", "b", "a", "c", "a", "b"):
        once(name)
    assert runs == ["a", "b", "c", "b"]  # "c" pushed "b" out, not "a", which was used again


def test_a_damaged_entry_is_computed_anew():
    Shared().once("test", ("a",), lambda: {"x": torch.ones(3)})
    (path,) = (cache.root() / "shared").iterdir()
    path.write_bytes(path.read_bytes()[:100])
    again = Shared()
    found = again.once("test", ("a",), lambda: {"x": torch.full((3,), 2.0)})
    assert again.computed == {"test": 1}
    assert found["x"].tolist() == [2.0, 2.0, 2.0]
    assert Shared().once("test", ("a",), dict)["x"].tolist() == [2.0, 2.0, 2.0]


def test_float_inputs_make_weights_independent_of_activations(net, images):
    def weights(inputs, act):
        steps = ("calibrate", f"gptq:inputs={inputs}")
        model = quantize(net, recipe("int3", act, steps), images)
        return [layer_codes(layer).codes for _, layer in quantized_layers(model)]

    pairs = zip(weights("float", "int8"), weights("float", "int3"), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    pairs = zip(weights("quantized", "int8"), weights("quantized", "int3"), strict=True)
    assert not all(np.array_equal(a, b) for a, b in pairs)  # negative control
    with pytest.raises(SpecError, match="inputs='weights', allowed: quantized, float"):
        weights("weights", "int8")


@pytest.mark.parametrize("pair", [("int4", "int8"), ("e2m1", "e4m3"), ("mxfp4", "mxfp8e4m3")])
def test_a_frozen_network_has_the_same_outputs(net, images, pair):
    model = quantize(net, recipe(*pair, ("calibrate", "bias_correction")), images)
    runner = frozen(model)
    with torch.no_grad():
        assert torch.equal(model(images), runner(images))
        model.get_submodule("head").bias.add_(1.0)  # it is a copy
        assert not torch.equal(model(images), runner(images))
