# SPDX-License-Identifier: Apache-2.0
"""Recipes: frozen, hashable, readable back, and strict about what they are given."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from hwquant.errors import FormatError, SpecError
from hwquant.formats import parse
from hwquant.ptq import Recipe, StepSpec
from hwquant.ptq.job import build_step
from hwquant.ptq.recipe import signed_of, unsigned_of
from hwquant.ptq.step import step_names

RECIPES = [
    Recipe(),
    Recipe("e2m1", "uint4", scale="float", granularity="per_tensor", calibration="absmax"),
    Recipe("int4n", "ue2m2", act_calibration="percentile", percentile=99.5, act_unsigned=True),
    Recipe("e4m3b4", "e4m3fn", first_last=("int8", "int8"), exclude=["a.b", 'odd "name"']),
    Recipe(
        steps=["calibrate:rule=mse,percentile=99.9", "bias_correction"],
        overrides={"head": {"weight": "int8", "calibration": "mse"}, "x.0": {"scale": "float"}},
    ),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_toml_and_json_give_the_recipe_back(recipe):
    assert Recipe.from_toml(recipe.to_toml()) == recipe
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert hash(Recipe.from_toml(recipe.to_toml())) == hash(recipe)


def test_recipes_differ_where_they_differ():
    assert len(set(RECIPES)) == len(RECIPES)
    assert Recipe("int8") != Recipe("int7")
    with pytest.raises(FrozenInstanceError):
        RECIPES[0].scale = "float"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": 4}, "weight 4, allowed a format"),
        ({"weight": "uint4"}, "weight uint4 is unsigned .*such as int4"),
        ({"first_last": ("ue2m2", "int8")}, "first_last ue2m2 is unsigned"),
        ({"overrides": {"a": {"weight": "uint4"}}}, "overrides.a.weight uint4 is unsigned"),
        ({"scale": "pow2"}, "scale 'pow2', allowed: po2, float"),
        ({"granularity": "channel"}, "allowed: per_channel, per_tensor"),
        ({"calibration": "kl"}, "allowed: absmax, percentile, mse"),
        ({"act_calibration": "kl"}, "act_calibration 'kl'"),
        ({"percentile": 3}, r"percentile 3, allowed a number in \(50, 100\]"),
        ({"percentile": "99"}, "percentile '99'"),
        ({"act_unsigned": "yes"}, "allowed true or false"),
        ({"first_last": "int8"}, "first_last 'int8', allowed none or a pair"),
        ({"exclude": "head"}, "allowed a list of layer paths"),
        ({"steps": "calibrate"}, "allowed a list"),
        ({"steps": ["bias_correction"]}, "exactly one must be 'calibrate'"),
        ({"steps": ["calibrate", "magic"]}, "step 'magic' is unknown, allowed: .*bias_correction"),
        ({"steps": ["calibrate:rule"]}, "allowed the form name=value"),
        ({"sums": "x"}, "allowed: accumulator, quantized"),
        ({"overrides": {"a": {"bits": 4}}}, "overrides.a: bits = 4, allowed: weight, act"),
        ({"overrides": {"a": {"scale": 4}}}, "overrides.a.scale 4"),
    ],
)
def test_bad_recipes_say_what_is_allowed(arguments, message):
    with pytest.raises(SpecError, match=message):
        Recipe(**arguments)


def test_bad_files():
    with pytest.raises(SpecError, match="unknown field 'bits', allowed: act, "):
        Recipe.from_toml("bits = 4")
    with pytest.raises(SpecError, match="not TOML"):
        Recipe.from_toml("weight = ")
    with pytest.raises(SpecError, match="not JSON"):
        Recipe.from_json("{")
    with pytest.raises(SpecError, match="JSON object"):
        Recipe.from_json("[]")
    with pytest.raises(FormatError, match="e9m9: 19 bits"):
        Recipe.from_toml('weight = "e9m9"')


def test_settings_follow_first_last_then_overrides():
    recipe = Recipe(
        "int4",
        "int4",
        first_last=("int8", "int7"),
        act_calibration="absmax",
        overrides={"a": {"act": "int5"}},
    )
    assert recipe.settings("b").act == parse("int4")
    assert recipe.settings("b", first_or_last=True).weight == parse("int8")
    assert recipe.settings("a", first_or_last=True).act == parse("int5")
    assert recipe.settings("a").weight_calibration == "mse"
    assert recipe.settings("a").act_calibration == "absmax"


@pytest.mark.parametrize(
    ("signed", "unsigned"),
    [("int4", "uint4"), ("e2m1", "ue2m2"), ("e4m0", "ue4m1"), ("e0m3", "ue0m4")],
)
def test_signed_and_unsigned_twins_have_the_same_width(signed, unsigned):
    assert unsigned_of(parse(signed)) == parse(unsigned)
    assert signed_of(parse(unsigned)) == parse(signed)
    assert signed_of(parse(signed)) == parse(signed)
    assert str(signed_of(parse("ue3m0"))) == "e2m0"


def test_steps_are_found_by_file_name_and_take_typed_options():
    assert set(step_names()) >= {"calibrate", "bias_correction"}
    step = build_step(StepSpec.parse("calibrate:act=percentile,percentile=99.9,samples=2048"))
    assert (step.act, step.percentile, step.samples) == ("percentile", 99.9, 2048)
    for text, message in (
        ("calibrate:speed=2", "unknown option 'speed', allowed: rule, weight, act, percentile"),
        ("calibrate:percentile=high", "percentile='high', allowed a value like 0.0"),
        ("calibrate:rule=best", "allowed: absmax, percentile, mse"),
        ("calibrate:percentile=10", r"allowed \(50, 100\]"),
        ("bias_correction:x=1", "unknown option 'x', allowed: behind"),
    ):
        with pytest.raises(SpecError, match=message):
            build_step(StepSpec.parse(text))


def test_a_new_file_is_a_new_step(tmp_path, monkeypatch):
    """Adding a method is a one-file change: no list of names to extend."""
    import hwquant.ptq.steps as package

    (tmp_path / "shout.py").write_text(
        "from dataclasses import dataclass\n\n\n"
        "@dataclass(frozen=True)\nclass Step:\n    loud: bool = False\n\n"
        "    def apply(self, job):\n        job.append(self.loud)\n"
    )
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    heard = []
    build_step(StepSpec.parse("shout:loud=true")).apply(heard)
    assert heard == [True]


def test_recipes_do_not_import_torch():
    program = (
        "import sys, hwquant.ptq.commands, hwquant.ptq\n"
        "hwquant.ptq.Recipe('e2m1', steps=['calibrate:rule=mse'])\n"
        "assert not {'torch', 'brevitas', 'onnx'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
