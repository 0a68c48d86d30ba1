# SPDX-License-Identifier: Apache-2.0
"""``hwquant search`` through the installed command: a run folder like a sweep's, clear errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from costmodel.explore import store
from costmodel.explore.mixed.budget import parse_budget
from costmodel.explore.mixed.problem import Option
from costmodel.explore.mixed.run import Question, mixed_recipe
from costmodel.explore.space import Space
from costmodel.explore.store import Status
from costmodel.network import network_cost
from hwquant.errors import InputError
from hwquant.ptq.recipe import Recipe
from hwquant.workload import Layer, Workload

pytestmark = pytest.mark.slow
COMMAND = str(Path(sys.executable).with_name("hwquant"))
FORMATS = ["--weights", "int3,e2m1b1,int8,int3", "--acts", "int4,int8"]
MLP = ["zoo:digits_mlp", *FORMATS, "--images", "48"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


def call(home, *arguments, code=0):
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"HWQUANT_CACHE": str(home / "cache"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def run(home):
    folder = home / "run"
    out, _ = call(home, "search", *MLP, "--points", "4", "-o", folder, "--json")
    return folder, json.loads(out)


def test_a_search_leaves_a_run_like_a_sweeps(run, home):
    folder, told = run
    rows = list(store.read(folder / "results.sqlite"))
    assert told["method"] == "exact"
    assert told["points"] == len(rows) == 4
    assert all(row.status is Status.DONE for row in rows)
    losses = [row.metrics["calib_loss"] for row in rows]
    costs = [row.metrics["lut_sites"] for row in rows]
    assert losses == sorted(losses, reverse=True)
    assert costs == sorted(costs)
    assert len({json.dumps(row.point) for row in rows}) == 4
    assert any(row.point["overrides"] for row in rows)  # something is mixed
    for row in rows:  # oracle: the network's price as a whole
        names = Layer.__dataclass_fields__
        layers = [Layer.from_json({n: layer[n] for n in names}) for layer in row.layers]
        cost = network_cost(Workload(tuple(layers)), folding="per-layer", lanes=8)
        assert cost.resources.lut_sites == row.metrics["lut_sites"]
        assert {str(layer.weight) for layer in layers} <= {"int3", "e2m1", "int8"}
    for name in ("report.html", "pareto.svg", "results.csv", "recipe.toml"):
        assert (folder / name).stat().st_size
    assert Recipe.from_toml((folder / "recipe.toml").read_text()).act_unsigned
    out, _ = call(home, "pareto", folder, "--y", "calib_loss", "--y-sense", "min", "--json")
    assert len(json.loads(out)["front"]) == 4


def test_the_same_command_measures_nothing_again(run, home):
    folder, told = run
    before = {row.key: row.finished for row in store.read(folder / "results.sqlite")}
    out, err = call(home, "search", *MLP, "--points", "4", "-o", folder, "--json")
    assert json.loads(out) == told
    assert "sensitivity" not in err
    assert {row.key: row.finished for row in store.read(folder / "results.sqlite")} == before
    _, err = call(home, "search", *MLP, "--points", "3", "-o", folder, code=2)
    one_line(err, "holds another search (points: 4 there, 3 here)")
    foreign = home / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    _, err = call(home, "search", "FILE.py:not_looked_at", *FORMATS, "-o", foreign, code=2)
    one_line(err, "holds no run")  # said before the model is so much as opened


def test_budgets_bound_what_is_kept(run, home):
    _, told = run
    budget = ["--budget", "lut_sites=700,weight_bits=40000", "--objective", "loss"]
    folder = home / "bounded"
    out, _ = call(home, "search", *MLP, *budget, "-o", folder, "--json")
    assert json.loads(out)["points"] == 1
    (row,) = store.read(folder / "results.sqlite")
    assert row.metrics["lut_sites"] <= 700
    assert row.metrics["weight_bits"] <= 40000
    every = list(store.read(run[0] / "results.sqlite"))
    assert row.metrics["calib_loss"] > min(other.metrics["calib_loss"] for other in every)
    assert told["measured"] >= 4


def test_shared_kernels_are_searched_by_optuna(home):
    flags = ["--folding", "shared", "--trials", "8", "--points", "3"]
    out, _ = call(home, "search", *MLP, *flags, "-o", home / "shared", "--json")
    assert json.loads(out)["method"] == "nsga2"
    assert (home / "shared" / "search.journal").stat().st_size
    rows = list(store.read(home / "shared" / "results.sqlite"))
    assert 1 <= len(rows) <= 3
    _, err = call(home, "search", *MLP, *flags, "--method", "exact", "-o", home / "wrong", code=2)
    one_line(err, "lut_sites does not add up", "nsga2, tpe")


def one_line(err, *words):
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("hwquant: error: "), err
    for word in words:
        assert word in last, last


def test_bad_input_is_one_clear_line(home):
    def refused(*flags, words):
        _, err = call(home, "search", *MLP, *flags, "-o", home / "bad", code=2)
        one_line(err, *words)

    words = ["'lut_site' is unknown, allowed: ", "did you mean lut_sites?"]
    refused("--budget", "lut_site=3", words=words)
    refused("--budget", "lut_sites=few", words=["needed COST=N"])
    refused("--objective", "top1", words=["objective 'top1' is unknown", "weight_bits"])
    refused("--method", "anneal", words=["'anneal', allowed: auto, exact, nsga2, tpe"])
    refused("--acts", "same", words=["names no format"])
    refused("--weights", "int44", words=["int44"])
    refused("--budget", "lut_sites=3", words=["cannot be kept, the cheapest possible is "])
    refused("--budget", "latency_cycles=10", words=["latency_cycles=10 cannot be kept", "lanes"])
    assert not (home / "bad").exists()


def test_budgets_and_recipes_as_text():
    assert parse_budget("bram18=4, weight_bits=9") == {"memory_bram18": 4, "weight_bits": 9}
    assert parse_budget("") == {}
    with pytest.raises(InputError, match="names dsp twice"):
        parse_budget("dsp=1,dsp=2")
    formats = [Option("int4", "int8"), Option("int4", "int8"), Option("e2m1", "int8")]
    recipe = mixed_recipe(Recipe(first_last=("int8", "int8")), ["a", "b", "c"], formats)
    assert (str(recipe.weight), str(recipe.act), recipe.first_last) == ("int4", "int8", None)
    assert [path for path, _ in recipe.overrides] == ["c"]
    settings = [recipe.settings(path, first_or_last=path != "b") for path in "abc"]
    assert [str(s.weight) for s in settings] == ["int4", "int4", "e2m1"]
    question = Question(Space(acts=("int8",)), "loss", {"weight_bits": 3})
    assert question.axis == "weight_bits"
