# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin in a project of somebody else's: pass, fail with the vector, options, JUnit."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from hw.generate import generate
from hwquant.mac import MacSpec

pytestmark = pytest.mark.sim

SPEC = MacSpec("int3", "int4", 1, 16, 8, "saturate")

TESTS = """
from hwquant.mac import MacSpec

def test_good(verify_kernel):
    report = verify_kernel("good")
    assert (report.seed, report.mismatches) == (9, 0)

def test_bad(verify_kernel):
    verify_kernel("bad", seed=1, steps=512)

def test_farm(kernel_farm):
    kernel_farm.add(MacSpec("int3", "int4", 1, 16, 8, "saturate"))
    kernel_farm.add("good")
    kernel_farm.add("bad")
    kernel_farm.verify()

def test_nothing(kernel_farm):
    kernel_farm.verify()
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """Run pytest in a folder with a right and a faulty kernel; return its output and JUnit."""
    folder = tmp_path_factory.mktemp("project")
    generate(SPEC, folder / "good")
    generate(SPEC, folder / "bad")
    acc = folder / "bad" / "hq_acc.sv"
    text = acc.read_text()
    right = "{AccBits - 1{~wide[WideBits-1]}}"
    assert right in text
    acc.write_text(text.replace(right, "{AccBits - 1{1'b1}}"))
    (folder / "test_kernels.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=j.xml"]
    options = ["--hwquant-seed=9", "--hwquant-steps=1024", f"--basetemp={folder / 'tmp'}"]
    done = subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True)
    return done.stdout, ET.parse(folder / "j.xml").getroot(), folder  # noqa: S314


def test_right_kernels_pass_and_faulty_ones_fail_with_their_vector(outcome):
    out, root, _ = outcome
    cases = {case.get("name"): case for case in root.iter("testcase")}
    assert {name for name, case in cases.items() if case.find("failure") is None} == {"test_good"}
    text = cases["test_bad"].find("failure").text
    assert "e: int3 x int4" in text or "int3 x int4, 1 lanes, 8-bit accumulator, saturate" in text
    assert "expected -128, got -1" in text
    assert "Traceback" not in out
    assert "nothing to verify" in cases["test_nothing"].find("failure").text


def test_the_farm_names_the_kernel_that_differs(outcome):
    text = outcome[1].find(".//testcase[@name='test_farm']/failure").text
    assert text.startswith("1 of 3 kernels differ from the reference")
    assert "replay: hwquant verify bad --replay " in text


def test_the_replay_file_lies_in_tmp_path_and_its_command_works(outcome):
    _, root, folder = outcome
    text = root.find(".//testcase[@name='test_bad']/failure").text
    command = re.search(r"replay: hwquant (verify .*) --waves", text)[1].split()
    assert str(folder / "tmp") in command[-1]
    program = "from hwquant.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *command], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert "'got': -1" in done.stdout


def test_counts_and_coverage_stand_in_the_junit_file(outcome):
    case = outcome[1].find(".//testcase[@name='test_good']")
    properties = {p.get("name"): p.get("value") for p in case.iter("property")}
    assert properties["hwquant.seed"] == "9"
    assert properties["hwquant.products"] == str(8 * 16)
    assert int(properties["hwquant.mac_steps"]) >= 1024
    hit, possible = properties["hwquant.coverage"].removesuffix(" bins").split(" of ")
    assert int(hit) <= int(possible)


def test_the_plugin_is_light_and_leaves_a_project_with_a_sim_of_its_own_alone(tmp_path):
    (tmp_path / "sim").mkdir()
    (tmp_path / "sim" / "__init__.py").write_text("")
    (tmp_path / "test_x.py").write_text(
        "import sys\n"
        "def test_light():\n"
        "    assert not {'torch', 'brevitas', 'hw', 'sim.engine'} & set(sys.modules)\n"
        "def test_used(verify_kernel):\n    pass\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert "1 passed, 1 error" in done.stdout
    assert "rename the folder" in done.stdout
