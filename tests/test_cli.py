"""The command line: what it loads, what it prints, how it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "brevitas",
    "onnx",
    "qonnx",
    "onnxruntime",
    "matplotlib",
    "sklearn",
    "cocotb",
    "dask",
}
COMMANDS = sorted(point.name for point in entry_points(group="hwquant.commands"))


def hwquant(*args: str, **kwargs) -> subprocess.CompletedProcess[str]:
    """Run the installed console script, as a user does."""
    script = Path(sys.executable).with_name("hwquant")
    return subprocess.run([script, *args], capture_output=True, text=True, check=False, **kwargs)


def loaded_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sorted({{n.split('.')[0] for n in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module",
    [
        *("hwquant", "hwquant.cli", "hwquant.commands", "hwquant.mac", "hwquant.graph"),
        *("hwquant.ptq.commands", "hwquant.export.commands", "hw", "hw.commands", "hw.generate"),
        *("sim", "sim.commands", "costmodel", "costmodel.commands"),
    ],
)
def test_light_modules_load_nothing_heavy(module):
    assert not loaded_by(f"import {module}") & HEAVY


@pytest.mark.parametrize(
    "args", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join
)
def test_help_is_light_and_shows_examples(args):
    program = (
        f"import sys; sys.argv = ['hwquant', *{args!r}]\n"
        "from hwquant.cli import main\n"
        "try:\n    main()\nexcept SystemExit as done:\n    assert not done.code\n"
    )
    assert not loaded_by(program) & HEAVY
    assert "Example" in hwquant(*args).stdout


def test_every_command_is_listed():
    assert set(COMMANDS) == {
        *("format", "doctor", "quantize", "export", "rtl", "verify", "cost", "sweep", "pareto"),
        *("demo", "zoo", "mutate", "prove", "sensitivity", "experiment", "overflow", "place"),
        *("characterize", "search", "report", "take"),
    }
    listing = hwquant("--help").stdout
    assert all(f"  {name} " in listing for name in COMMANDS)


@pytest.mark.parametrize("name", ["int4", "e2m1", "ue2m2", "e4m3fn", "e7m0"])
def test_format_json(name):
    facts = json.loads(hwquant("format", name, "--table", "--json").stdout)
    assert {"name", "bits", "signed", "max", "min_positive", "codes"} <= facts.keys()
    assert facts["name"] == name
    assert all(entry.keys() == {"code", "value"} for entry in facts["codes"])
    assert max(entry["value"] for entry in facts["codes"]) == facts["max"]


def test_format_table_lists_every_code():
    rows = hwquant("format", "e2m1", "--table").stdout.split("class\n")[1].splitlines()
    assert len(rows) == 16
    assert rows[1].split() == ["1", "0001", "0.5", "subnormal"]


@pytest.mark.parametrize(
    "args",
    [
        ["format", "e9m9"],
        ["rtl", "--weight", "int44", "--act", "int4", "--lanes", "4", "-o", "unused"],
        ["rtl", "--weight", "int4", "--act", "int4", "--lanes", "0", "-o", "unused"],
        ["rtl", "--weight", "int4", "--act", "int4", "--lanes", "4", "--acc", "1", "-o", "unused"],
        ["cost", "--weight", "int4", "--act", "e0m0", "--lanes", "4"],
        ["verify", "no-such-folder"],
        [
            "quantize",
            "zoo:nothing",
            "--data",
            "digits",
            "--weight",
            "int4",
            "--act",
            "int4",
            "-o",
            "unused.onnx",
        ],
        [
            "quantize",
            "no/file.py:f",
            "--data",
            "digits",
            "--weight",
            "int4",
            "--act",
            "int4",
            "-o",
            "unused.onnx",
        ],
        ["pareto", "no-such-run", "--x", "lut_sites", "--y", "top1"],
    ],
    ids=" ".join,
)
def test_bad_input_is_one_clear_line_and_exit_2(args, tmp_path):
    done = hwquant(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("hwquant: error: ")
    assert list(tmp_path.iterdir()) == []


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    target = str(tmp_path / "file" / "rtl")
    done = hwquant("rtl", "--weight", "int4", "--act", "int4", "--lanes", "1", "-o", target)
    assert done.returncode == 2
    assert target in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["fly"], "No such command 'fly'; see `hwquant --help`"),
        (["format"], "Missing argument 'NAME'; see `hwquant format --help`"),
        (["sweep", "--lanes", "x"], "'x' is not a valid integer; see `hwquant sweep --help`"),
        (["sweep", "zoo:digits_mlp"], "or count with --dry-run); see `hwquant sweep --help`"),
        (["sweep", "zoo:no", "-o", "run"], "zoo model 'no' is unknown, allowed: digits_cnn, "),
        (["sweep", "boom.py:f", "--data", "digits", "-o", "run"], "failed: ValueError('boom')"),
    ],
)
def test_usage_is_one_line_and_nothing_is_written(args, said, tmp_path):
    (tmp_path / "boom.py").write_text("raise ValueError('boom')\n")
    done = hwquant(*args, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("hwquant: error: ")
    assert said in line
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["boom.py"]


def test_no_command_prints_the_help():
    done = hwquant()
    assert done.returncode == 2
    assert "Commands:" in done.stderr


def test_doctor_passes_here_and_names_what_is_missing(tmp_path):
    fine = json.loads(hwquant("doctor", "--json").stdout)
    assert fine["ok"] is True
    shutil.copy(shutil.which("true"), tmp_path / "ar")  # a PATH with ar alone
    bare = hwquant("doctor", "--json", env={"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert bare.returncode == 1
    missing = {f["name"]: f["remedy"] for f in json.loads(bare.stdout)["findings"] if not f["ok"]}
    assert missing.keys() == {"c++"}
    assert "apt install" in missing["c++"]
