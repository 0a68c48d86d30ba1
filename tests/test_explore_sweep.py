# SPDX-License-Identifier: Apache-2.0
"""Sweeps through the installed command: results, resume after kill -9, failures, bad input.

Everything is real: the network is trained, quantized and tested, kernels go through Yosys, the
picked point through QONNX and Verilator.
"""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import sim
from costmodel.explore import store
from costmodel.explore.folder import load
from costmodel.explore.store import Status
from costmodel.explore.take import Taken
from costmodel.network import network_cost
from hwquant.workload import Layer, Workload

pytestmark = [pytest.mark.slow, pytest.mark.synth, pytest.mark.sim]
COMMAND = str(Path(sys.executable).with_name("hwquant"))
SPACE = ["zoo:digits_mlp", "--weights", "int3,int4,e2m1", "--lanes", "1", "--folding", "shared"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A cache that is empty when this module starts."""
    return tmp_path_factory.mktemp("home")


def call(home, *arguments, code=0):
    """Run the installed command and return its standard output and error."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"HWQUANT_CACHE": str(home / "cache")},
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def start(home, run):
    """Start the sweep and return the process once the first point is done."""
    process = subprocess.Popen(
        [COMMAND, "sweep", *SPACE, "-o", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HWQUANT_CACHE": str(home / "cache")},
    )
    deadline = time.monotonic() + 300
    while not done_rows(run):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def done_rows(run):
    path = run / "results.sqlite"
    if not path.is_file() or not path.stat().st_size:
        return []
    return [row for row in store.read(path) if row.status is Status.DONE]


def workers(process):
    family = psutil.Process(process.pid).children(recursive=True)
    return [child for child in family if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture(scope="module")
def run(home):
    """A finished run that was killed with kill -9 on the way and resumed."""
    folder = home / "run"
    process = start(home, folder)
    children = workers(process)
    assert children
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stderr.close()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert not alive  # no worker outlives its sweep
    kept = {row.key: row for row in done_rows(folder)}
    assert kept
    # The store alone must remember: the caches of results go.
    for kind in ("point", "kernel"):
        shutil.rmtree(home / "cache" / kind)
    out, err = call(home, "sweep", *SPACE, "-o", folder, "--json")
    assert "of 3 points are known already" in err
    result = json.loads(out)
    assert (result["points"], result["done"], result["failed"]) == (3, 3, 0)
    after = {row.key: row for row in done_rows(folder)}
    assert {key: after[key] for key in kept} == kept
    return folder


def test_a_run_leaves_its_folder(run):
    names = {path.name for path in run.iterdir()}
    assert names >= {"config.lock.toml", "results.sqlite", "results.csv", "report.html", "logs"}
    assert names >= {"pareto.png", "pareto.svg", "env.json"}
    assert not [name for name in names if name.startswith(".")]  # nothing half-written
    environment = json.loads((run / "env.json").read_text())
    assert environment["seed"] == 0
    assert environment["packages"]["torch"][0].isdigit()
    with (run / "results.csv").open() as file:
        records = list(csv.DictReader(file))
    assert [record["weight"] for record in records] == ["int3", "int4", "e2m1"]
    assert all("Yosys" in record["flow"] for record in records)


def test_totals_equal_the_network_cost_of_the_stored_layers(run):
    """Oracle: the cost model, from the layers alone."""
    for row in done_rows(run):
        names = Layer.__dataclass_fields__
        layers = ({name: layer[name] for name in names} for layer in row.layers)
        work = Workload(tuple(map(Layer.from_json, layers)))
        cost = network_cost(work, folding="shared", lanes=1, synth=True).to_json()
        for name in ("lut_sites", "ff", "carry", "memory_luts", "memory_bram18", "weight_bits"):
            assert row.metrics[name] == cost[name], name
        assert row.metrics["acc_bits"] == max(layer.acc_bits for layer in work.layers)
        assert 0.5 < row.metrics["top1"] <= 1


def test_a_finished_run_starts_no_workers(run, home):
    before = done_rows(run)
    _, err = call(home, "sweep", *SPACE, "-o", run)
    assert "3 of 3 points are known already" in err
    assert "points: 3/3" not in err
    assert done_rows(run) == before


def test_a_new_folder_uses_what_is_known(run, home, tmp_path):
    def results(folder):
        rows = [(row.key, row.layers, dict(row.metrics)) for row in done_rows(folder)]
        for _, _, metrics in rows:
            del metrics["seconds"]
        return rows

    call(
        home, "sweep", *SPACE, "-o", tmp_path / "again"
    )  # measured anew: the fixture's cache is gone
    assert results(tmp_path / "again") == results(run)
    _, err = call(home, "sweep", *SPACE, "-o", tmp_path / "third")
    assert "3 of 3 points are known already" in err
    assert done_rows(tmp_path / "third") == done_rows(tmp_path / "again")


def test_a_killed_worker_loses_no_point(home, tmp_path, run):
    """Depends on ``run`` only so that the two do not share two cores."""
    del run
    cache = tmp_path / "cache"
    shutil.copytree(home / "cache" / "zoo", cache / "zoo")
    process = subprocess.Popen(
        [COMMAND, "sweep", *SPACE, "--workers", "1", "-o", str(tmp_path / "run")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"HWQUANT_CACHE": str(cache)},
    )
    deadline = time.monotonic() + 120
    while not (cache / "point").is_dir():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    victims = workers(process)
    assert victims
    for victim in victims:
        victim.kill()
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert len(done_rows(tmp_path / "run")) == 3


def test_a_failing_point_is_listed_and_the_others_go_on(home, tmp_path, run):
    del run
    (tmp_path / "space.toml").write_text(
        'model = "zoo:digits_mlp"\nweights = ["int3"]\nlanes = 1\nfolding = "shared"\n'
        'steps = [["gptq", "calibrate"], ["calibrate", "bias_correction"]]\n'
    )
    folder = tmp_path / "run"
    out, err = call(
        home, "sweep", "--space", tmp_path / "space.toml", "-o", folder, "--json", code=1
    )
    result = json.loads(out)
    assert (result["points"], result["done"], result["failed"]) == (2, 1, 1)
    assert "failed: int3: recipe: step calibrate finds the scales" in err
    failed, good = store.read(folder / "results.sqlite")
    assert (failed.status, good.status) == (Status.FAILED, Status.DONE)
    assert "must come before gptq" in failed.error
    assert "Traceback" in (folder / "logs" / "failures.log").read_text()
    assert "must come before gptq" in (folder / "results.csv").read_text()


def test_pareto_prints_the_front_and_picks(run, home, tmp_path):
    out, _ = call(home, "pareto", run, "--x", "lut_sites", "--y", "top1", "--json")
    record = json.loads(out)
    assert set(record) >= {"front", "pick", "points", "hypervolume", "flow"}
    rows = {row.key: row.metrics for row in done_rows(run)}
    front = [rows[line["key"]] for line in record["front"]]
    for metrics in rows.values():
        beaten = [
            m
            for m in front
            if m["lut_sites"] <= metrics["lut_sites"]
            and m["top1"] >= metrics["top1"]
            and (m["lut_sites"], m["top1"]) != (metrics["lut_sites"], metrics["top1"])
        ]
        assert bool(beaten) == (metrics not in front)
    best, _ = call(home, "pareto", run, "--pick", "best", "-o", tmp_path / "f.svg", "--json")
    assert json.loads(best)["pick"]["top1"] == max(m["top1"] for m in rows.values())
    assert (tmp_path / "f.svg").read_text().startswith("<?xml")
    text, _ = call(home, "pareto", run)
    assert "<- picked" in text


def test_taking_a_point_proves_it_and_a_changed_kernel_is_found(run, home, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    out, _ = call(home, "pareto", folder, "--pick", "best", "--take", "--json")
    record = json.loads(out)
    assert record["sound"] is True
    assert record["check"]["codes_compared"] > 1000
    assert record["check"]["differences"] == 0
    assert record["verify"]["mismatches"] == 0
    assert record["verify"]["mac_steps"] >= 65_536
    manifest = json.loads((folder / "rtl" / "manifest.json").read_text())
    assert [kernel["name"] for kernel in manifest["kernels"]] == record["kernels"]
    assert 'failures="0"' in (folder / "verify.xml").read_text()
    assert "mismatches" in (folder / "report.html").read_text()
    # Negative control: the same verification of a damaged kernel must fail.
    source = folder / "rtl" / record["kernels"][0] / "hq_acc.sv"
    text = source.read_text()
    assert text.count("assign addend = ") == 1
    source.write_text(text.replace("assign addend = ", "assign addend = ~"))
    report = sim.verify(folder / "rtl" / record["kernels"][0], steps=2048)
    assert report.mismatches > 0
    broken = Taken(tuple(record["kernels"]), record["check"], report.to_json())
    assert not broken.sound


def one_line(err, *words):
    """The error is the last line, and nothing like a traceback came before it."""
    assert "Traceback" not in err
    last = err.strip().splitlines()[-1]
    assert last.startswith("hwquant: error: "), err
    for word in words:
        assert word in last, last


def test_bad_runs_are_one_clear_line(run, home, tmp_path):
    _, err = call(home, "pareto", run, "--x", "luts", code=2)
    one_line(err, "'luts' is unknown, allowed: ", "lut_sites")
    _, err = call(home, "pareto", tmp_path, code=2)
    one_line(err, "holds no run")
    _, err = call(home, "pareto", run, "--pick", ">=1.01", code=2)
    one_line(err, "relax the bound")
    _, err = call(home, "pareto", run, "-o", tmp_path / "front.gif", code=2)
    one_line(err, ".png, .svg, .pdf")
    other = ["sweep", "zoo:digits_mlp", "--weights", "int5", "--lanes", "1", "-o"]
    _, err = call(home, *other, run, code=2)
    one_line(err, "holds another run", "weights", "choose another folder")
    _, err = call(home, *other, "/proc/nowhere", code=2)
    one_line(err, "cannot write /proc/nowhere")
    torn = tmp_path / "torn"
    shutil.copytree(run, torn)
    whole = (torn / "results.sqlite").read_bytes()
    (torn / "results.sqlite").write_bytes(whole[:5000])
    for command in (["pareto", torn], ["sweep", *SPACE, "-o", torn]):
        _, err = call(home, *command, code=2)
        one_line(err, "results.sqlite is damaged", "run the same command again")


def test_bad_spaces_are_one_clear_line(home, tmp_path):
    space = tmp_path / "space.toml"
    space.write_text("weights = [")
    _, err = call(home, "sweep", "--space", space, "--dry-run", code=2)
    one_line(err, "is not TOML")
    _, err = call(home, "sweep", "--weights", "int44", "--dry-run", code=2)
    one_line(err, "int44")
    _, err = call(home, "sweep", "nets/none.py:make", "-o", tmp_path / "run", code=2)
    one_line(err, "there is no file nets/none.py")
    assert not (tmp_path / "run").exists()
    _, err = call(home, "sweep", "--weights", "int4", code=2)
    assert "-o RUN" in err


def test_dry_run_counts_and_runs_nothing(home, tmp_path):
    flags = ["--weights", "int4,e2m1", "--acts", "same,int8", "--scale", "po2", "--scale", "float"]
    out, _ = call(home, "sweep", *flags, "--dry-run", "--json", "-o", tmp_path / "run")
    record = json.loads(out)
    assert record["points"] == len(record["list"]) == 8
    assert not (tmp_path / "run").exists()


def test_the_lock_file_gives_the_same_space_back(run):
    _, space = load(run)
    assert [str(point.weight) for point in space.points()] == ["int3", "int4", "e2m1"]
