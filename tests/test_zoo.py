# SPDX-License-Identifier: Apache-2.0
"""The zoo: real digits, trained networks, and models and data of the user's own."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from hwquant import Recipe, cache, quantize
from hwquant.cli import main
from hwquant.errors import CacheError, InputError
from hwquant.zoo import load
from hwquant.zoo.data import digits, from_arrays
from hwquant.zoo.resolve import resolve, resolve_data, resolve_model
from hwquant.zoo.training import top1

MODEL_FILE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)
    def forward(self, x):
        return self.fc(x.flatten(1))

def make():
    torch.manual_seed(0)
    return Net()

def data():
    import numpy as np
    rng = np.random.default_rng(0)
    return rng.random((40, 1, 8, 8)), rng.integers(0, 10, 40)

def number():
    return 3

def broken():
    raise ValueError("no luck")
"""


@pytest.fixture
def net(tmp_path):
    (tmp_path / "net.py").write_text(MODEL_FILE)
    return tmp_path / "net.py"


def test_digits_are_real_split_once_and_exact():
    data = digits()
    assert (len(data.x_train), len(data.x_calib), len(data.x_test)) == (1437, 256, 360)
    assert data.sample.shape == (1, 1, 8, 8)
    assert torch.equal(data.x_test * 16, (data.x_test * 16).round())
    assert int((data.x_test * 16).max()) == 16
    assert torch.equal(data.x_test, digits().x_test)
    rows = {x.numpy().tobytes() for x in data.x_test}
    assert sum(x.numpy().tobytes() in rows for x in data.x_train) <= 2  # twins in the source
    assert sorted(data.y_test.unique().tolist()) == list(range(10))


@pytest.mark.parametrize(("name", "least"), [("digits_mlp", 0.97), ("digits_cnn", 0.98)])
def test_networks_train_to_their_accuracy(name, least):
    trained = load(name)
    assert trained.float_top1 >= least
    assert not trained.model.training
    assert trained.float_top1 == top1(trained.model, trained.data.x_test, trained.data.y_test)


def test_the_transformer_trains_and_its_attention_is_quantized():
    trained = load("digits_vit")
    assert trained.float_top1 >= 0.95
    data = trained.data
    qmodel = quantize(trained.model, Recipe("int8", "int8"), data.x_calib)
    assert top1(qmodel, data.x_test, data.y_test) >= trained.float_top1 - 0.02


def test_four_bits_keep_the_digits():
    trained = load("digits_cnn")
    data = trained.data
    for weight, act, least in (
        ("int8", "int8", 0.98),
        ("int4", "int4", 0.95),
        ("e2m1", "int8", 0.95),
    ):
        qmodel = quantize(trained.model, Recipe(weight, act), data.x_calib)
        assert top1(qmodel, data.x_test, data.y_test) >= least, (weight, act)


def test_training_is_cached_and_repeatable(private_cache, tmp_path, monkeypatch):
    first = load("digits_mlp")
    (entry,) = (private_cache / "zoo").iterdir()
    stamp = entry.stat().st_mtime_ns
    assert load("digits_mlp").float_top1 == first.float_top1
    assert entry.stat().st_mtime_ns == stamp
    monkeypatch.setenv("HWQUANT_CACHE", str(tmp_path / "other"))
    again = load("digits_mlp").model.state_dict()
    assert all(torch.equal(again[k], v) for k, v in first.model.state_dict().items())
    monkeypatch.setenv("HWQUANT_CACHE", str(private_cache))
    entry.write_bytes(entry.read_bytes()[:100])
    with pytest.raises(CacheError, match=r"not whole; delete it"):
        load("digits_mlp")
    assert cache.root() == private_cache


def test_a_model_of_the_users_own(net, tmp_path):
    model = resolve_model(f"{net}:make")
    with torch.no_grad():
        model.fc.bias.fill_(0.5)
    torch.save(model.state_dict(), tmp_path / "w.pth")
    loaded = resolve_model(f"{net}:make@{tmp_path / 'w.pth'}")
    assert torch.equal(loaded.fc.bias, torch.full((10,), 0.5))
    trained = resolve(f"{net}:make", f"{net}:data")
    assert (len(trained.data.x_calib), len(trained.data.x_test)) == (10, 30)
    assert 0 <= trained.float_top1 <= 1


def test_arrays_of_the_users_own(tmp_path):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.random((20, 3)), y=rng.integers(0, 2, 20))
    data = resolve_data(str(tmp_path / "d.npz"))
    assert data.x_test.dtype is torch.float32
    assert len(data.x_calib) + len(data.x_test) == 20
    for x, y in (
        (np.ones((20, 3)), np.ones(19)),
        (np.ones(20), np.ones(20)),
        (np.ones((4, 1)),) * 2,
    ):
        with pytest.raises(InputError, match="data d: x has shape"):
            from_arrays("d", x, y)
    with pytest.raises(InputError, match="finite numbers and y integer"):
        from_arrays("d", np.full((20, 3), np.nan), np.ones(20, np.int64))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("zoo:resnet", "'resnet' is unknown, allowed: digits_cnn"),
        ("net", "is no source, allowed: zoo:NAME"),
        ("{net}:absent", "has no function 'absent'"),
        ("{net}:number", "returned a int, allowed a torch.nn.Module"),
        ("{net}:broken", "calling it without arguments failed: ValueError"),
        ("{net}x.py:make", "there is no file"),
        ("{net}:make@missing.pth", "no weights file missing.pth"),
        ("{net}:make@{bad}", "cannot be read as a plain state dict"),
        ("{net}:make@{other}", "do not fit the model"),
        ("{syntax}:make", "importing .* failed: SyntaxError"),
    ],
)
def test_models_that_cannot_be_used(text, message, net, tmp_path):
    (tmp_path / "bad.pth").write_bytes(b"PK\x03\x04 not a checkpoint")
    (tmp_path / "syntax.py").write_text("def make(:\n")
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pth")
    names = {"net": net, "bad": tmp_path / "bad.pth", "other": tmp_path / "other.pth"}
    names["syntax"] = tmp_path / "syntax.py"
    with pytest.raises(InputError, match=message):
        resolve_model(text.format(**names))


def test_data_that_cannot_be_used(net, tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04")
    np.savez(tmp_path / "half.npz", x=np.ones((20, 3)))
    for text, message in (
        ("cifar", "is no source, allowed: .*digits.*imagefolder:PATH"),
        (str(tmp_path / "missing.npz"), "cannot be read"),
        (str(tmp_path / "x.npz"), "cannot be read"),
        (str(tmp_path / "half.npz"), "needs x and y"),
        (f"{net}:number", "allowed arrays"),
    ):
        with pytest.raises(InputError, match=message):
            resolve_data(text)
    with pytest.raises(InputError, match="needs --data"):
        resolve(f"{net}:make")
    np.savez(tmp_path / "wide.npz", x=np.ones((20, 9)), y=np.ones(20, np.int64))
    with pytest.raises(InputError, match="does not accept data"):
        resolve(f"{net}:make", str(tmp_path / "wide.npz"))


@pytest.fixture
def command(monkeypatch, capsys):
    """Run ``hwquant quantize`` in this process; return exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hwquant", "quantize", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main()
        out, err = capsys.readouterr()
        return stopped.value.code, out, err

    return run


def test_quantize_command(command, tmp_path):
    (tmp_path / "r.toml").write_text(Recipe("int4", "int4").to_toml())
    code, out, err = command(
        *("zoo:digits_mlp", "--data", "digits", "--weight", "e2m1", "--recipe"),
        *(str(tmp_path / "r.toml"), "--step", "calibrate:rule=mse", "--json"),
        *("--save", str(tmp_path / "q.pt")),
    )
    assert code == 0, err
    result = json.loads(out)
    assert result["float_top1"] >= 0.97
    assert result["top1"] >= 0.95
    assert result["seconds"] >= 0
    assert (result["recipe"]["weight"], result["recipe"]["act"]) == ("e2m1", "int4")
    assert result["recipe"]["steps"] == ["calibrate:rule=mse"]
    assert (tmp_path / "q.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zoo:digits_mlp", "--weight", "e9m9"), "e9m9: 19 bits"),
        (("zoo:digits_mlp", "--step", "magic"), "step 'magic' is unknown"),
        (("zoo:digits_mlp", "--recipe", "absent.toml"), "absent.toml cannot be read"),
        (("zoo:nothing",), "zoo model 'nothing' is unknown"),
    ],
)
def test_quantize_command_refuses_in_one_line(command, arguments, message):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("hwquant: error: ")
    assert len(err.strip().splitlines()) == 1
