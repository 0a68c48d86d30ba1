# SPDX-License-Identifier: Apache-2.0
"""The search through Optuna: seeded, within budgets, resumed after a kill; and its errors."""

from __future__ import annotations

import builtins
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from costmodel.explore.mixed import search as module
from costmodel.explore.mixed.problem import Option
from costmodel.explore.mixed.search import search
from hwquant.errors import InputError, ToolError

FORMATS = tuple(Option(w, a) for w in ("int3", "int4", "int8") for a in ("int4", "int8"))
OPTIONS, TIES = (FORMATS,) * 4, ((1, 2),)
BITS = {"int3": 3, "int4": 4, "int8": 8}
LAYERS = np.array([1.0, 5.0, 2.0, 0.5])


def answer(formats):
    """Return a loss that does not add up, a cost, and no violation."""
    weights = np.array([BITS[o.weight] for o in formats], dtype=float)
    acts = np.array([BITS[o.act] for o in formats], dtype=float)
    errors = LAYERS * (2.0**-weights + 2.0**-acts)
    return float(errors.sum() ** 2 + errors.max()), float(weights.sum() + acts.sum()), 0.0


def everywhere(weight, act):
    return (Option(weight, act),) * 4


def test_starts_come_first_ties_hold_and_every_choice_is_told_once(tmp_path):
    starts = [everywhere("int3", "int4"), everywhere("int8", "int8")]
    asked = []

    def watched(formats):
        asked.append(formats)
        return answer(formats)

    found = search(OPTIONS, TIES, watched, trials=30, journal=tmp_path / "a.journal", starts=starts)
    assert asked[:2] == starts
    assert len(asked) == 30
    assert found == list(dict.fromkeys(asked))
    assert all(formats[1].act == formats[2].act for formats in found)
    assert len({formats[0].act for formats in found} | {formats[3].act for formats in found}) == 2


def test_the_search_beats_its_starts(tmp_path):
    """Negative control: the same number of random choices is worse."""
    starts = [everywhere("int3", "int4"), everywhere("int8", "int8")]
    found = search(OPTIONS, TIES, answer, trials=100, journal=tmp_path / "a.journal", starts=starts)

    def best(choices, budget):
        return min(answer(c)[0] for c in choices if answer(c)[1] <= budget)

    for budget in (36, 40, 44):
        assert best(found, budget) < answer(starts[0])[0] / 1.5
        assert best(found[2:12], 64) > best(found, 44)


def test_budgets_are_told_to_the_sampler(tmp_path):
    """What is allowed becomes the majority of what is asked."""

    def bounded(formats):
        loss, cost, _ = answer(formats)
        return loss, cost, cost / 36 - 1

    shares = []
    for name, ask in (("free", answer), ("bound", bounded)):
        found = search(
            OPTIONS, TIES, ask, trials=100, journal=tmp_path / f"{name}.journal",
            starts=[everywhere("int3", "int4")],
        )  # fmt: skip
        late = found[len(found) // 2 :]
        shares.append(np.mean([answer(formats)[1] <= 36 for formats in late]))
    assert shares[1] > shares[0]


@pytest.mark.parametrize("method", ["nsga2", "tpe"])
def test_a_finished_search_asks_nothing_more(tmp_path, method):
    journal = tmp_path / "a.journal"
    first = search(OPTIONS, TIES, answer, trials=15, journal=journal, method=method)

    def never(_formats):
        raise AssertionError

    assert search(OPTIONS, TIES, never, trials=15, journal=journal, method=method) == first
    more = search(OPTIONS, TIES, answer, trials=25, journal=journal, method=method)
    assert more[: len(first)] == first
    assert len(more) > len(first)


PROGRAM = """
import sys, time
sys.path.insert(0, {tests!r})
from test_mixed_search import *

def slow(formats):
    print("asked", *formats, flush=True)
    time.sleep({pause})
    return answer(formats)

starts = [everywhere("int4", "int4")]
found = search(OPTIONS, TIES, slow, trials=12, journal={journal!r}, starts=starts)
print("end", len(found))
"""


def test_a_killed_search_goes_on(tmp_path):
    journal = str(tmp_path / "a.journal")
    tests = str(Path(__file__).parent)
    slow = PROGRAM.format(tests=tests, journal=journal, pause=0.3)
    process = subprocess.Popen(
        [sys.executable, "-c", slow], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    lines = [process.stdout.readline() for _ in range(5)]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert all(line.startswith("asked") for line in lines)
    time.sleep(0.1)
    quick = PROGRAM.format(tests=tests, journal=journal, pause=0)
    done = subprocess.run([sys.executable, "-c", quick], capture_output=True, text=True, check=True)
    again = done.stdout.splitlines()
    assert again[-1].startswith("end")
    asked = again[:-1]
    assert asked[0] == lines[4].strip()  # the one without an answer is asked again
    assert len(asked) == 12 - 4


def test_a_journal_of_another_search_is_refused(tmp_path):
    journal = tmp_path / "a.journal"
    search(OPTIONS, TIES, answer, trials=2, journal=journal)
    with pytest.raises(InputError, match="holds a search over other layers or formats"):
        search(OPTIONS[:3], (), answer, trials=2, journal=journal)


def test_unknown_methods_and_a_missing_optuna_are_told(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="method 'anneal', allowed: nsga2, tpe"):
        search(OPTIONS, TIES, answer, trials=1, journal=tmp_path / "a", method="anneal")
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "optuna":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ToolError, match=r"install hwquant\[search\]"):
        search(OPTIONS, TIES, answer, trials=1, journal=tmp_path / "b")
    assert module.METHODS == ("nsga2", "tpe")
