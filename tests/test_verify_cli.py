# SPDX-License-Identifier: Apache-2.0
"""``hwquant verify``: JSON keys, exit codes, JUnit, the message of a failing vector, replay."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import sim
from hw.generate import generate
from hw.layers import generate_layers, layer_specs
from hwquant.graph import load
from hwquant.mac import MacSpec

pytestmark = pytest.mark.sim

KEYS = {"kernels", "products", "mac_steps", "mismatches", "seconds", "seed"}
SPEC = MacSpec("e2m1", "int4", 2, 32, 9, "saturate")
STEPS = ("--steps", "2048")


def verify(*arguments, cwd=None):
    """Run the installed command."""
    command = [str(Path(sys.executable).with_name("hwquant")), "verify", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def bundle(tmp_path):
    return generate(SPEC, tmp_path / "rtl")


def edit(bundle, file, right, wrong):
    """Change one generated file by hand."""
    path = bundle.folder / file
    text = path.read_text()
    assert text.count(right) == 1
    path.write_text(text.replace(right, wrong))


def test_one_pair_from_the_command_line(tmp_path):
    done = verify(
        "--weight", "e2m1", "--act", "int4", "--lanes", 2, "--length", 32, "--acc", 9,
        "--overflow", "saturate", "--seed", 11, *STEPS, "--json", "--junit", tmp_path / "v.xml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result.keys() >= KEYS
    assert (result["kernels"], result["products"], result["mismatches"]) == (1, 256, 0)
    assert (result["product_checks"], result["seed"]) == (512, 11)
    assert result["mac_steps"] >= 2048
    suite = ET.fromstring((tmp_path / "v.xml").read_text())  # noqa: S314
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    (case,) = suite.iter("testcase")
    assert "e2m1 x int4, 2 lanes, 9-bit accumulator, saturate" in case.get("name")
    seeds = [p.get("value") for p in suite.iter("property") if p.get("name") == "seed"]
    assert seeds == ["11"]


def test_a_bundle_passes_and_an_edited_bundle_fails_with_replay(bundle, tmp_path):
    good = verify(bundle.folder, *STEPS, "--json", cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["warnings"] == []
    assert not (tmp_path / "hwquant-failure.json").exists()

    edit(bundle, "hq_acc.sv", "{AccBits - 1{~wide[WideBits-1]}}", "{AccBits - 1{1'b1}}")
    bad = verify(bundle.folder, *STEPS, "--json", "--junit", tmp_path / "v.xml", cwd=tmp_path)
    assert bad.returncode == 1
    result = json.loads(bad.stdout)
    assert result["mismatches"] > 0
    assert "hq_acc.sv differs from what was generated" in result["warnings"][0]
    assert "expected -256, got -1" in bad.stderr
    assert "codes [" in bad.stderr
    suite = ET.fromstring((tmp_path / "v.xml").read_text())  # noqa: S314
    assert suite.get("failures") == "1"
    assert "expected -256, got -1" in next(suite.iter("failure")).text

    # The printed replay command is to be copied as it stands.
    (line,) = (x for x in bad.stderr.splitlines() if x.startswith("replay: hwquant verify "))
    arguments = line.removeprefix("replay: hwquant verify ").split()
    again = verify(*arguments, "--json", cwd=tmp_path)
    assert again.returncode == 1, again.stderr
    errors = json.loads(again.stdout)["errors"]
    assert (errors[-1]["expected"], errors[-1]["got"]) == (-256, -1)
    assert "$enddefinitions" in (tmp_path / "hwquant-failure.vcd").read_text()

    # Without the folder, the library's kernel is replayed: it has no fault.
    library = verify("--replay", tmp_path / "hwquant-failure.json", "--json", cwd=tmp_path)
    assert library.returncode == 0, library.stderr
    assert json.loads(library.stdout)["mismatches"] == 0

    # A failing vector of another kernel does not fit.
    other = generate(MacSpec("int3", "int3"), tmp_path / "other").folder
    misfit = verify(other, "--replay", tmp_path / "hwquant-failure.json", cwd=tmp_path)
    assert misfit.returncode == 2
    assert "the failing vector is of" in misfit.stderr


def test_a_harmless_edit_is_a_warning_only(bundle):
    edit(bundle, "hq_acc.sv", "// clamp, else wrap", "// clamp")
    report = sim.verify(bundle.folder, steps=512)
    assert report.mismatches == 0
    assert len(report.warnings) == 1
    assert sim.verify(bundle, steps=512).warnings == report.warnings


def test_an_edited_manifest_is_reported(bundle):
    path = bundle.folder / "manifest.json"
    record = json.loads(path.read_text())
    record["spec"]["acc"] = 10
    path.write_text(json.dumps(record))
    report = sim.verify(bundle.folder, steps=512)
    assert "was changed" in report.warnings[0]
    assert report.mismatches > 0  # the RTL still has nine bits


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "give one of"),
        (("--weight", "int4"), "go together"),
        (("--weight", "int4", "--act", "int9"), "int9"),
        (("--weight", "int4", "--act", "int4", "--acc", "wide"), "wide"),
        (("--weight", "int4", "--act", "int4", "--acc", "2000"), "2000"),
        (("--weight", "int4", "--act", "int4", "--all-pairs"), "give one of"),
        (("--unsigned", "--weight", "int4", "--act", "int4"), "--all-pairs"),
        (("no-such-folder",), "no-such-folder"),
        ((".",), "manifest.json"),
        (("--replay", "no-such-file"), "no-such-file"),
        ((".", "--lanes", "4"), "--lanes cannot go with"),
        (("--weight", "int4", "--act", "int4", "--waves", "a.vcd"), "--replay"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = verify(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_kernels_of_an_exported_network_and_of_its_rtl_folder(tmp_path):
    import torch

    from hwquant import Recipe, export_qonnx, quantize

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(12, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    calib, path = torch.randn(32, 12), tmp_path / "net.onnx"
    export_qonnx(quantize(net, Recipe("int4", "int4"), calib), path, calib[:1])

    done = verify(path, "--lanes", 2, *STEPS, "--json")
    assert done.returncode == 0, done.stderr
    from_file = json.loads(done.stdout)
    assert from_file["kernels"] >= 1

    specs, _ = layer_specs(load(path).workload().layers, lanes=2)
    generate_layers(load(path).workload().layers, tmp_path / "rtl", lanes=2)
    report = sim.verify([tmp_path / "rtl" / name for name in specs], steps=2048)
    assert {result.kernel.spec for result in report.results} == set(specs.values())
    done = verify(tmp_path / "rtl", *STEPS, "--json")
    assert done.returncode == 0, done.stderr
    from_folder = json.loads(done.stdout)
    same = ("kernels", "products", "mac_steps", "mismatches")
    assert [from_folder[key] for key in same] == [from_file[key] for key in same]


def test_damaged_files_are_exit_code_2(tmp_path, bundle):
    for name, text in (("a.json", "{"), ("b.json", "[]"), ("c.json", '{"hwquant_failure": 1}')):
        (tmp_path / name).write_text(text)
        done = verify("--replay", tmp_path / name)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    (bundle.folder / "hq_acc.sv").unlink()
    done = verify(bundle.folder)
    assert done.returncode == 2
    assert "hq_acc.sv cannot be read" in done.stderr
    (tmp_path / "x.onnx").write_bytes(b"\x08\x07")
    assert verify(tmp_path / "x.onnx").returncode == 2


def test_importing_sim_and_its_command_stays_light():
    code = (
        "import sys, sim, sim.commands; "
        "print(sorted({'cocotb', 'torch', 'onnx', 'numpy.testing'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
