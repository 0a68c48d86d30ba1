# SPDX-License-Identifier: Apache-2.0
"""Quantized models on disk: everything comes back, nothing unsafe or broken is accepted."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from hwquant import Recipe, load_quantized, quantize, save_quantized
from hwquant.errors import InputError
from hwquant.nn.codes import quantized_layers, workload


def make():
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    )


@pytest.fixture(scope="module")
def float_model():
    torch.manual_seed(0)
    return make().eval()


@pytest.fixture(scope="module")
def x():
    return torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))


RECIPES = [
    Recipe("e2m1", "ue2m2"),
    Recipe("int4", "int8", scale="float", granularity="per_tensor"),
    Recipe("int8", "e4m3", overrides={"4": {"weight": "e0m3"}}, exclude=["0"]),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_was_saved_is_loaded(recipe, float_model, x, tmp_path):
    qmodel = quantize(float_model, recipe, x)
    save_quantized(qmodel, tmp_path / "q.pt")
    for source in (make, make()):  # only the structure of the float model matters
        loaded = load_quantized(tmp_path / "q.pt", source)
        assert torch.equal(loaded(x), qmodel(x))
        assert loaded.meta["hwquant"] == qmodel.meta["hwquant"]
        assert workload(loaded, x) == workload(qmodel, x)
        assert [n for n, _ in quantized_layers(loaded)] == [n for n, _ in quantized_layers(qmodel)]


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.999])
def test_truncated_files(keep, float_model, x, tmp_path):
    path = tmp_path / "q.pt"
    save_quantized(quantize(float_model, Recipe(), x), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError, match="no whole file of hwquant"):
        load_quantized(path, make)


def test_pickled_code_is_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    path = tmp_path / "bomb.pt"
    torch.save({"header": Bomb(), "state": {}}, path)
    with pytest.raises(InputError, match="no whole file"):
        load_quantized(path, make)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="no whole file"):
        load_quantized(path, make)
    assert not (tmp_path / "ran").exists()


def test_another_model_or_no_quantized_model(float_model, x, tmp_path):
    path = tmp_path / "q.pt"
    save_quantized(quantize(float_model, Recipe(), x), path)
    with pytest.raises(InputError, match="does not fit this model"):
        load_quantized(path, nn.Sequential(nn.Conv2d(1, 5, 3), nn.Flatten(), nn.Linear(180, 3)))
    with pytest.raises(InputError, match="does not fit this model"):
        load_quantized(path, nn.Linear(4, 4))
    with pytest.raises(InputError, match="not quantized"):
        save_quantized(float_model, tmp_path / "x.pt")
    with pytest.raises(InputError, match="no file"):
        load_quantized(tmp_path / "missing.pt", make)
    assert not (tmp_path / "x.pt").exists()
    plain = tmp_path / "plain.pt"
    torch.save(float_model.state_dict(), plain)
    with pytest.raises(InputError, match="no whole file"):
        load_quantized(plain, make)


def test_an_unwritable_folder_leaves_nothing(float_model, x, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        save_quantized(quantize(float_model, Recipe(), x), tmp_path / "file" / "q.pt")
