# SPDX-License-Identifier: Apache-2.0
"""What cannot be quantized, models and calibration data, is refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from hwquant import Recipe, quantize
from hwquant.errors import InputError, UnsupportedError


@pytest.fixture(scope="module")
def pages():
    """Whole numbers in the shape of an image: float inputs of the attention models."""
    return torch.randn(16, 5, 8, generator=torch.Generator().manual_seed(4))


@pytest.fixture
def images():
    """Return a small network and data that fits it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3))
    return model.eval(), torch.randn(8, 2, 8, 8)


class Dropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).chunk(3, -1)
        return functional.scaled_dot_product_attention(q, k, v, dropout_p=0.1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Einsum(nn.Module):
    def forward(self, x):
        return torch.einsum("bij,bkj->bik", x, x)


class Bare(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(8, 8))

    def forward(self, x):
        return functional.linear(x, self.w)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.Identity(), nn.Conv3d(1, 1, 1)),
            "layer '1' is a Conv3d, allowed: Conv1d",
        ),
        (nn.LSTM(8, 8), "'LSTM|LSTM"),
        (nn.Sequential(nn.Linear(8, 8), nn.Bilinear(8, 8, 2)), "Bilinear"),
        (Branches(), "Branches cannot be traced"),
        (Einsum(), "calls einsum"),
        (nn.Sequential(nn.Linear(8, 8), Bare()), "module '1' calls linear"),
        (Dropout(), "module '': attention with dropout"),
        (Attention(), "attention.MultiheadAttention with add_bias_kv"),
    ],
)
def test_unsupported_models_are_refused_by_name(model, message, pages):
    x = torch.randn(2, 1, 2, 2, 2) if "Conv3d" in message else pages
    with pytest.raises((UnsupportedError, InputError), match=message):
        quantize(model, Recipe(), x)


def test_embedding_may_stay_float_but_nothing_to_quantize_is_an_error(pages):
    with pytest.raises(InputError, match="no layer to quantize"):
        quantize(nn.ReLU(), Recipe(), pages)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(value, images):
    model, x = images
    with torch.no_grad():
        model[0].weight[1, 0, 0, 0] = value
    with pytest.raises(InputError, match=r"0\.weight"):
        quantize(model, Recipe(), x)


@pytest.mark.parametrize(
    ("calib", "message"),
    [
        ([], "empty"),
        (torch.zeros(0, 2, 8, 8), "empty"),
        (torch.zeros(4, 3, 8, 8), r"shape \(1, 3, 8, 8\)"),
        (torch.zeros(4, 2, 8, 8, dtype=torch.int64), "int64"),
        ([torch.zeros(4, 2, 8, 8), torch.zeros(4, 2, 4, 4)], "unequal shapes"),
        ([("labels", torch.zeros(4, 2, 8, 8))], "holds a str, allowed tensors, or tuples"),
        ([{"image": torch.zeros(4, 2, 8, 8)}], "holds a dict"),
        ("no_such_set", "no_such_set"),
        (torch.full((4, 2, 8, 8), float("nan")), "NaN"),
        (torch.zeros(4), r"\(4,\)"),
    ],
)
def test_bad_calibration_data(calib, message, images):
    with pytest.raises(InputError, match=message):
        quantize(images[0], Recipe(), calib)


@pytest.mark.parametrize("device", ["gpu9", "cuda:99"])
def test_a_device_that_is_not_there(device, images):
    model, x = images
    with pytest.raises(InputError, match=f"device '{device}' cannot be used"):
        quantize(model, Recipe(), x, device=device)


class Overwrites(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.relu = nn.Linear(8, 8), nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.fc(x)
        return self.relu(y) + self.fc(y)


def test_reading_a_tensor_after_it_was_overwritten_is_refused(pages):
    with pytest.raises(UnsupportedError, match="reads 'fc' after 'relu' has overwritten it"):
        quantize(Overwrites(), Recipe(), pages)
    fine = nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
    quantize(fine, Recipe(), pages)


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x @ y


def test_more_than_one_input_is_refused(pages):
    with pytest.raises(UnsupportedError, match=r"takes 2 inputs \('y' has no default\)"):
        quantize(TwoInputs(), Recipe(), pages)
