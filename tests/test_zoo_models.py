"""Networks of the zoo: each is traceable, quantizes to its float self, and trains by its recipe."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from hwquant import cache
from hwquant.errors import CacheError, InputError
from hwquant.export.check import check_qonnx
from hwquant.export.qonnx import export_qonnx
from hwquant.nn.codes import workload
from hwquant.ptq.commands import quantize as quantize_command
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe
from hwquant.zoo import training
from hwquant.zoo.catalogue import CATALOGUE, Entry
from hwquant.zoo.commands import zoo
from hwquant.zoo.data.dataset import Data
from hwquant.zoo.fit import TrainingRecipe, _shifted
from hwquant.zoo.models.classifiers import Mlp
from hwquant.zoo.tasks.outputs import logit_error
from hwquant.zoo.tasks.score import score

SHAPES = {
    "digits": ((1, 8, 8), (10,)),
    "glyphs": ((1, 32, 32), (47,)),
    "clean-glyphs": ((2, 16, 16), (1, 16, 16)),
    "scene-masks": ((1, 48, 48), (11, 48, 48)),
    "scene-boxes": ((1, 48, 48), (15, 12, 12)),
    "stdlib-text": ((64,), (97, 64)),
}


def some_input(data: str, count: int = 6) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (count, *SHAPES[data][0])
    if data == "stdlib-text":
        return torch.randint(0, 97, shape, generator=generator).float()
    return torch.rand(shape, generator=generator)


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_network_quantizes_to_nearly_its_float_self(name):
    entry = CATALOGUE[name]
    torch.manual_seed(1)
    model = entry.build().eval()
    x = some_input(entry.data)
    with torch.no_grad():
        expected = model(x)
    assert expected.shape == (len(x), *SHAPES[entry.data][1])
    fine = quantize(model, Recipe(weight="int8", act="int8", scale="float"), x)
    # Without bias correction, which takes back much of what two bits do to random weights.
    crude = Recipe(weight="int2", act="int8", scale="float", steps=["calibrate"])
    coarse = quantize(model, crude, x)
    with torch.no_grad():
        near, far = logit_error(fine(x), expected), logit_error(coarse(x), expected)
    assert near < 0.5
    assert far > 3 * near  # negative control: two bits are far off
    multiplies = workload(fine, x[:1]).layers
    assert len(multiplies) >= 3


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_recipe_is_small_enough_to_run_anywhere(name):
    entry = CATALOGUE[name]
    parameters = sum(p.numel() for p in entry.build().parameters())
    assert 500 < parameters < 400_000
    assert entry.recipe.threads == 1  # the sum's order, and so the weights, do not vary


def tiny(seed: int = 0) -> Data:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((256, 1, 8, 8), generator=generator)
    y = (x[:, 0, :4].mean((1, 2)) > x[:, 0, 4:].mean((1, 2))).long()
    return Data("tiny", x[:192], y[:192], x[:32], x[192:], y[192:])


def small() -> Mlp:
    return Mlp(64, (16,), 2)


ENTRY = Entry(small, "tiny", TrainingRecipe(epochs=12, rate=2e-2, batch=32, shift=0))


def test_training_learns_and_repeats(private_cache):
    data = tiny()
    model = training.train("small", ENTRY, data)
    assert not model.training
    assert score(model, data)["top1"] > 0.85
    [entry] = private_cache.rglob("*.pt")
    entry.unlink()
    again = training.train("small", ENTRY, data)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), again.parameters()))  # noqa: B905
    other = training.train("small", replace(ENTRY, recipe=replace(ENTRY.recipe, seed=1)), data)
    assert not torch.equal(other.layers[1].weight, model.layers[1].weight)  # negative control


def test_cached_weights_are_used_until_recipe_or_data_change(private_cache, monkeypatch):
    data = tiny()
    first = training.train("small", ENTRY, data)
    calls = []
    monkeypatch.setattr(training, "fit", lambda *args: calls.append(args))
    again = training.train("small", ENTRY, data)
    assert not calls
    assert torch.equal(again.layers[1].weight, first.layers[1].weight)
    training.train("small", replace(ENTRY, recipe=replace(ENTRY.recipe, rate=1e-2)), data)
    training.train("small", ENTRY, tiny(seed=1))
    assert len(calls) == 2
    for path in (cache.root() / "zoo").iterdir():
        path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CacheError, match="not whole"):
        training.train("small", ENTRY, data)
    assert private_cache.exists()


def test_comments_and_docstrings_do_not_retrain(tmp_path):
    one, two, three = (tmp_path / name for name in ("1.py", "2.py", "3.py"))
    one.write_text('"""Say."""\ndef f(x):\n    """Do."""\n    return x + 1\n')
    two.write_text("def f(x):\n    # why\n    return (x +\n            1)\n")
    three.write_text("def f(x):\n    return x + 2\n")
    assert training._code(one) == training._code(two) != training._code(three)


def test_shift_moves_every_image_by_at_most_two_pixels():
    x = torch.zeros(200, 2, 8, 8)
    x[:, 0, 4, 4], x[:, 1, 4, 4] = 1, 2
    moved = _shifted(x, 2, torch.Generator().manual_seed(0))
    assert torch.equal(moved[:, 0] * 2, moved[:, 1])
    _, rows, columns = torch.nonzero(moved[:, 0], as_tuple=True)
    assert len(rows) == 200
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4, 5, 6}
    gray = _shifted(x[:, :1], 2, torch.Generator().manual_seed(0))
    assert torch.equal(gray[:, 0], moved[:, 0])


def test_seed_in_the_name():
    with pytest.raises(InputError, match=r"digits_cnn:x.*allowed a number"):
        training.load("digits_cnn:x")
    with pytest.raises(InputError, match=r"'nothing' is unknown, allowed: .*glyphs_resnet8"):
        training.load("nothing")


def test_digits_load_as_before():
    loaded = training.load("digits_mlp")
    assert loaded.float_top1 == loaded.figures["top1"] > 0.95
    assert training.top1(loaded.model, loaded.data.x_test, loaded.data.y_test) == loaded.float_top1
    other = training.load("digits_mlp:1")
    assert other.float_top1 > 0.95
    assert not torch.equal(other.model.layers[1].weight, loaded.model.layers[1].weight)


def test_zoo_command_lists_and_measures():
    listed = json.loads(CliRunner().invoke(zoo, ["--json"]).stdout)
    assert listed.keys() == CATALOGUE.keys()
    assert listed["digits_mlp"] == {"parameters": 6762, "data": "digits", "epochs": 60}
    done = CliRunner().invoke(zoo, ["digits_mlp", "--seeds", "2", "--json"])
    measured = json.loads(done.stdout)["digits_mlp"]
    assert len(measured["top1"]) == 2
    assert measured["top1_mean"] == sum(measured["top1"]) / 2
    failed = CliRunner().invoke(zoo, ["digits_mlp", "nothing"])
    assert isinstance(failed.exception, InputError)


@pytest.mark.parametrize(
    "name", ["glyphs_ddpm", "glyphs_mobilenet", "scenes_detector", "scenes_unet", "text_gpt"]
)
def test_network_exports_and_equals_the_integer_reference(name, tmp_path):
    """What digits do not have: depthwise, transposed, concatenated, embedded, causal."""
    entry = CATALOGUE[name]
    torch.manual_seed(0)
    x = some_input(entry.data, 3)
    quantized = quantize(entry.build().eval(), Recipe(weight="e2m1", act="int8"), x)
    export_qonnx(quantized, tmp_path / "net.onnx", x[:1])
    report = check_qonnx(tmp_path / "net.onnx", x[:2].numpy())
    assert not report.failures
    assert report.differences == 0
    assert report.codes_compared > 100_000


def test_quantize_command_compares_with_the_float_model():
    arguments = ["zoo:digits_mlp", "--weight", "int2", "--act", "int8", "--json"]
    result = json.loads(CliRunner().invoke(quantize_command, arguments).stdout)
    assert result["float_top1"] >= result["top1"] > 0.9
    assert 0 < result["agreement"] < 1
    assert result["kl"] > 0
    assert result["logit_error"] > 0
