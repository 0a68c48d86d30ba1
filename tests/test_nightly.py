# SPDX-License-Identifier: Apache-2.0
"""Nightly verification: stages that resume after a kill, never trust a stale record, and tell."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from hw.styles import STYLES as KERNEL_STYLES
from hwquant.errors import InputError, ToolError
from hwquant.mac import MacSpec
from hwquant.requant import RoundPack
from sim import nightly
from sim.designs import design_of_spec
from sim.engine import verify_designs
from sim.kernels import Design
from sim.mutate_kernels import CAMPAIGN
from sim.nightly import Finding, Stage, Task, run
from sim.nightly_stages import GATE_KERNELS, PROOF_KERNELS, STEPS, found, stages
from sim.nightly_units import finding, unit_tasks
from sim.pairs import all_pairs
from sim.prove import STYLES
from sim.requant import requant_design, verify_requant_design

pytestmark = pytest.mark.sim

SPEC = MacSpec("e2m1", "int4", 1, 32, 9, "saturate")


@pytest.fixture
def calls():
    return []


def counting(calls, name, *, fail=(), content="x", error=None):
    def work():
        calls.append(name)
        if error is not None:
            raise error
        return Finding({"checked": 3}, tuple(fail))

    return Task(name, content, 1.0, work)


def suites(folder):
    root = ET.fromstring((folder / "nightly.xml").read_text())  # noqa: S314
    return {
        suite.get("name"): tuple(int(suite.get(k)) for k in ("tests", "failures", "errors"))
        for suite in root
    }


def test_tasks_run_once_and_their_answers_are_kept(tmp_path, calls, capsys):
    plan = [
        Stage("a", (counting(calls, "one"), counting(calls, "two"))),
        Stage("b", (counting(calls, "one"),)),
    ]
    first = run(plan, tmp_path)
    assert calls == ["one", "two", "one"]
    assert first.passed
    again = run(plan, tmp_path)
    assert len(calls) == 3
    assert again.passed
    assert again.to_json()["stages"]["a"]["resumed"] == 2
    assert again.to_json()["stages"]["a"]["counts"] == {"checked": 6}
    record = json.loads((tmp_path / "nightly.json").read_text())
    assert record["passed"] is True
    assert (record["tasks"], record["planned"], record["failures"]) == (3, 3, 0)
    assert suites(tmp_path) == {"a": (2, 0, 0), "b": (1, 0, 0)}
    told = capsys.readouterr().err
    assert "3 tasks, 0 of them answered before; about 3 s left" in told
    assert "[2/3] a, two: passed in 0 s; about" in told
    assert "3 tasks, 3 of them answered before; about 0 s left" in told


def test_a_failure_is_kept_and_still_a_failure_when_resumed(tmp_path, calls):
    plan = [Stage("a", (counting(calls, "bad", fail=["one wrong"]), counting(calls, "good")))]
    for _ in range(2):
        summary = run(plan, tmp_path)
        assert (summary.passed, summary.failures) == (False, 1)
        assert suites(tmp_path) == {"a": (2, 1, 0)}
        assert "one wrong" in (tmp_path / "nightly.xml").read_text()
    assert calls == ["bad", "good"]


def test_an_error_is_told_not_kept_and_does_not_stop_the_rest(tmp_path, calls):
    broken = counting(calls, "t", error=ToolError("the tool is missing"))
    summary = run([Stage("a", (broken, counting(calls, "u")))], tmp_path)
    assert (summary.passed, summary.failures, len(summary.errors)) == (False, 0, 1)
    assert suites(tmp_path) == {"a": (2, 0, 1)}
    summary = run([Stage("a", (counting(calls, "t"), counting(calls, "u")))], tmp_path)
    assert summary.passed
    assert calls == ["t", "u", "t"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda _: b"",
        lambda raw: raw.replace(b'"failures": ["one wrong"]', b'"failures": []'),
        lambda _: b'{"seal": 1, "value": {}}',
    ],
    ids=["truncated", "emptied", "failure removed", "other"],
)
def test_a_damaged_answer_is_no_answer(tmp_path, calls, damage, capsys):
    plan = [Stage("a", (counting(calls, "bad", fail=["one wrong"]),))]
    run(plan, tmp_path)
    (path,) = (tmp_path / "tasks").iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert run(plan, tmp_path).failures == 1
    assert len(calls) == 2
    assert "runs again" in capsys.readouterr().err


def test_other_content_and_other_sources_are_other_tasks(tmp_path, calls, monkeypatch):
    run([Stage("a", (counting(calls, "t", content={"seed": 0}),))], tmp_path)
    run([Stage("a", (counting(calls, "t", content={"seed": 1}),))], tmp_path)
    assert len(calls) == 2
    real = nightly.identity()
    assert nightly.identity() == real
    monkeypatch.setattr(nightly, "identity", lambda: real + "edited")
    run([Stage("a", (counting(calls, "t", content={"seed": 0}),))], tmp_path)
    assert len(calls) == 3


def test_the_identity_holds_sources_reference_and_tools(monkeypatch):
    real = nightly.identity()
    for name in ("hq_acc.sv", "mac.py", "codec.py", "farm.cpp", "vectors.py"):
        hashed = nightly.cache.file_hash
        with monkeypatch.context() as patch:
            patch.setattr(
                nightly.cache,
                "file_hash",
                lambda path, n=name, h=hashed: "x" if path.name == n else h(path),
            )
            assert nightly.identity() != real, name
    with monkeypatch.context() as patch:
        patch.setattr(nightly, "yosys_version", lambda: "another")
        assert nightly.identity() != real


def test_sources_that_change_while_a_task_runs_void_its_answer(tmp_path, calls, monkeypatch):
    answers = iter(["before", "after"])
    monkeypatch.setattr(nightly, "identity", lambda: next(answers))
    summary = run([Stage("a", (counting(calls, "t"),))], tmp_path)
    assert "changed while it ran" in summary.errors[0]
    assert not summary.passed
    assert not (tmp_path / "tasks").exists()


def test_an_unwritable_folder_is_an_input_error(tmp_path, calls):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        run([Stage("a", (counting(calls, "t"),))], tmp_path / "file")


def test_a_fault_is_found_and_can_be_replayed(tmp_path, capsys):
    design = design_of_spec(SPEC)
    right = "{AccBits - 1{~wide[WideBits-1]}}"
    assert design.sources["hq_acc.sv"].count(right) == 1
    text = design.sources["hq_acc.sv"].replace(right, "{AccBits - 1{1'b1}}")
    broken = Design(design.kernels, {**design.sources, "hq_acc.sv": text})
    plan = [
        Stage(
            "farm", (Task("t", "faulty", 1.0, lambda: found(verify_designs([broken], steps=512))),)
        )
    ]
    summary = run(plan, tmp_path)
    assert not summary.passed
    assert "expected -256, got -1" in summary.records[0].finding.failures[0]
    (vector,) = tmp_path.glob("failure-*.json")
    assert json.loads(vector.read_text())["expected"] == -256
    assert f"--replay {vector}" in capsys.readouterr().err


def test_units_are_verified_and_a_fault_is_a_failure():
    tasks = {task.name: task for task in unit_tasks(1, 64)}
    sound = tasks["requantizers"].run()
    assert (sound.counts["mismatches"], sound.failures) == (0, ())
    assert sound.counts["units"] == len(tasks["requantizers"].content["specs"]) >= 10
    design = requant_design([RoundPack("int4", 12, [300, -764], [2])])
    clip = design.sources["hq_clip.sv"].replace(" | (|bad_q)", "")
    broken = replace(design, sources={**design.sources, "hq_clip.sv": clip})
    found_ = finding(verify_requant_design(broken, steps=64))
    assert found_.counts["mismatches"]
    assert "expected code" in found_.failures[0]


def test_the_stages_are_what_ci_leaves_out():
    plan = {stage.name: stage.tasks for stage in stages(seed=3)}
    for name, unsigned in (("all pairs", False), ("all pairs, unsigned activations", True)):
        steps = {}
        for task in plan[name]:
            for spec in task.content["specs"]:
                steps[str(spec)] = steps.get(str(spec), 0) + task.content["steps"]
        assert len(steps) == len(all_pairs(unsigned=unsigned))
        assert set(steps.values()) == {STEPS}
        seeds = {task.content["seed"] for task in plan[name]}
        assert seeds == set(range(3, 19))
    netlists = [spec for task in plan["gate level"] for spec in task.content["specs"]]
    assert len(netlists) == 2 * 2 * GATE_KERNELS  # signed and unsigned, without and with DSP
    assert sum(len(task.content["specs"]) for task in plan["induction"]) == 2 * PROOF_KERNELS
    assert len(plan["induction and product miters"]) == len(STYLES)
    assert len(plan["mutation"]) == len(CAMPAIGN) + len(KERNEL_STYLES) - 1
    kinds = ("tiles", "block kernels", "constant kernels", "requantizers")
    assert {task.name for task in plan["units"]} == {
        kind + level for kind in kinds for level in ("", ", netlists")
    }
    names = [(stage, task.name) for stage, tasks in plan.items() for task in tasks]
    assert len(set(names)) == len(names)


HQ = str(Path(sys.executable).with_name("hwquant"))
REHEARSAL = ["--steps", "512", "--sample", "1", "--seed", "2", "--json"]


def command(folder):
    return [HQ, "verify", "--nightly", "--out", str(folder), *REHEARSAL]


@pytest.mark.slow
def test_the_command_killed_and_resumed(tmp_path):
    """One kernel in every stage: killed after the first answer, then resumed to the end."""
    out = tmp_path / "night"
    process = subprocess.Popen(
        command(out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not list(out.glob("tasks/*.json")):
        time.sleep(0.05)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = len(list(out.glob("tasks/*.json")))

    done = subprocess.run(command(out), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["passed"] is True
    assert result["tasks"] == result["planned"] >= 7
    assert sum(stage["resumed"] for stage in result["stages"].values()) == kept >= 1
    assert all(stage["failures"] == 0 for stage in result["stages"].values())
    assert result["stages"]["all pairs"]["counts"]["mac_steps"] >= 512
    assert result["stages"]["mutation"]["counts"]["mutants"] > 50
    for stage in ("induction", "induction and product miters"):
        assert result["stages"][stage]["counts"] == {"kernels": 1, "proved": 1}
    assert json.loads((out / "nightly.json").read_text()) == result
    assert set(suites(out)) == set(result["stages"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--nightly"], "--nightly needs --out"),
        (["--nightly", "--out", "x", "--weight", "int4"], "--nightly needs --out"),
        (["--nightly", "--out", "x", "--all-pairs"], "--nightly needs --out"),
        (["--weight", "int4", "--act", "int4", "--out", "x"], "--out goes with --nightly"),
        (["--nightly", "--out", "x", "--sample", "0"], "sample of 0"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = subprocess.run([HQ, "verify", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
