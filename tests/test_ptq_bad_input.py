# SPDX-License-Identifier: Apache-2.0
"""Bad data and odd networks: a clear error or the documented fallback, never NaN codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from hwquant import Recipe, quantize
from hwquant.errors import InputError
from hwquant.nn.codes import act_quantizers, layer_codes, quantized_layers
from hwquant.nn.quantizers import weight_quantizer

# Every kind of step: scales, rounding by algebra, learned rounding, correction.
STEPS = {
    "calibrate": ["calibrate"],
    "percentile": ["calibrate:rule=percentile"],
    "hessian": ["calibrate:weight=hessian"],
    "inputs": ["calibrate:weight=hessian,curvature=inputs"],
    "gptq": ["calibrate", "gptq"],
    "gptq-order": ["calibrate", "gptq:act_order=true,damp=0"],
    "adaround": ["calibrate", "adaround:iterations=5"],
    "correction": ["calibrate", "gptq", "bias_correction"],
}
FORMATS = [("int3", "float"), ("e2m1", "po2"), ("e3m0", "float")]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(),
        nn.Flatten(), nn.Linear(96, 5),
    ).eval()  # fmt: skip


def data(count=12):
    return torch.randn(count, 2, 6, 6, generator=torch.Generator().manual_seed(1))


def check(model, recipe, calib, probe):
    """Quantize; every code must be one of the format, every scale positive, outputs finite."""
    qmodel = quantize(model, recipe, calib)
    for path, layer in quantized_layers(qmodel):
        if not hasattr(layer, "weight"):
            continue
        quantizer = weight_quantizer(layer)
        assert bool(torch.isfinite(layer.weight).all()), path
        assert bool(torch.isfinite(layer.bias).all()), path
        assert np.isin(layer_codes(layer).codes, quantizer.fmt.codes).all(), path
        assert bool(((quantizer.scale > 0) & torch.isfinite(quantizer.scale)).all()), path
    with torch.no_grad():
        assert bool(torch.isfinite(qmodel(probe)).all())
    return qmodel


def recipes(steps):
    return [Recipe(fmt, "int8", scale=scale, steps=steps) for fmt, scale in FORMATS]


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
class TestEveryStep:
    """The same troubles for each step."""

    def test_one_item(self, steps):
        for recipe in recipes(steps):
            check(network(), recipe, data(1), data())

    def test_one_item_a_batch(self, steps):
        check(network(), recipes(steps)[0], list(data(3).split(1)), data())

    def test_channels_of_zeros(self, steps):
        model = network()
        with torch.no_grad():
            model[0].weight[1] = model[0].bias[1] = 0  # nothing comes out
            model[2].weight[3] = 0  # a depthwise filter
            model[5].weight[:, 7] = model[5].weight[2] = 0  # a column and a row
        for recipe in recipes(steps):
            qmodel = check(model, recipe, data(), data())
            for path, rows in (("0", [1]), ("2", [3]), ("5", [2])):
                weight = qmodel.get_submodule(path).weight
                if "adaround" not in str(recipe.steps[-1]):
                    assert not bool(
                        weight_quantizer(qmodel.get_submodule(path))(weight)[rows].any()
                    )

    def test_a_layer_of_zeros(self, steps):
        model = network()
        with torch.no_grad():
            model[2].weight.zero_()
        check(model, recipes(steps)[1], data(), data())

    def test_data_of_zeros_and_data_that_never_changes(self, steps):
        for recipe in recipes(steps):
            check(network(), recipe, torch.zeros(4, 2, 6, 6), data())
        check(network(), recipes(steps)[0], torch.ones(4, 2, 6, 6), data())

    def test_a_layer_behind_dead_neurons(self, steps):
        """The last layer reads zeros only: its Hessian is zero, its scale has no data."""
        model = network()
        with torch.no_grad():
            model[2].bias.fill_(-1e4)
        for recipe in recipes(steps):
            check(model, recipe, data(), data())

    def test_a_layer_that_reads_empty_tensors(self, steps):
        """Data never reach it: its activation scale stays 1, its weights are rounded to nearest."""

        class Empty(nn.Module):
            def __init__(self):
                super().__init__()
                self.first, self.never = nn.Linear(4, 4), nn.Linear(4, 4)

            def forward(self, x):
                y = self.first(x)
                return y.sum(1) + self.never(torch.relu(y[:, 3:])).sum(1)

        torch.manual_seed(0)
        model = Empty().eval()
        x = torch.randn(8, 3, 4)
        for recipe in recipes(steps):
            qmodel = check(model, recipe, x, x)
            layer = qmodel.get_submodule("never")
            assert float(act_quantizers(qmodel, layer)[0].scale) == 1
            quantizer = weight_quantizer(layer)
            if "hessian" not in str(recipe.steps[0]):
                exact = quantizer(model.never.weight.detach())
                assert torch.equal(quantizer(layer.weight), exact)

    def test_huge_and_tiny_values(self, steps):
        for factor in (1e15, 1e-15):
            model = network()
            with torch.no_grad():
                model[0].weight *= factor
                model[0].bias *= factor
                model[5].weight /= factor
            check(model, recipes(steps)[0], data(), data())

    def test_activations_that_overflow_are_named(self, steps):
        model = network()
        with torch.no_grad():
            model[0].weight.fill_(3e38)
            model[0].bias.fill_(3e38)
        with pytest.raises(InputError, match="holds NaN or infinity"):
            quantize(model, recipes(steps)[0], data().abs() + 1)

    @pytest.mark.parametrize(
        ("calib", "message"),
        [
            (data(0), "calibration data is empty"),
            ([], "calibration data is empty"),
            (torch.zeros(4, 3, 6, 6), r"input of shape \(1, 3, 6, 6\)"),
            (torch.zeros(4, 2, 5, 6), r"input of shape \(1, 2, 5, 6\)"),
            ([data(2), data(2)[:, :, :5]], "unequal shapes"),
            (torch.full((2, 2, 6, 6), torch.nan), "NaN or infinity"),
            (torch.zeros(4), r"shape \(4,\)"),
        ],
        ids=["empty", "none", "channels", "size", "mixed", "nan", "flat"],
    )
    def test_calibration_data_that_do_not_fit(self, steps, calib, message):
        with pytest.raises(InputError, match=message):
            quantize(network(), recipes(steps)[0], calib)


def test_negative_control_a_nan_would_be_seen():
    qmodel = quantize(network(), recipes(["calibrate"])[0], data())
    layer = qmodel.get_submodule("5")
    with torch.no_grad():
        layer.weight[0, 0] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        layer_codes(layer)
