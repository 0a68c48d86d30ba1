# SPDX-License-Identifier: Apache-2.0
"""``hwquant cost`` and ``hwquant rtl`` on a file that ``export_qonnx`` wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hw.manifest import Bundle

FACTS = ("lut_sites", "lut_raw", "lutram", "ff", "dsp", "style", "source", "flow")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A quantized net of two linear layers: 12 inputs, 6 hidden, 3 outputs."""
    import torch

    from hwquant import Recipe, export_qonnx, quantize

    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(12, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    calib = torch.randn(32, 12)
    path = tmp_path_factory.mktemp("model") / "net.onnx"
    export_qonnx(quantize(net, Recipe("int4", "int4"), calib), path, calib[:1])
    return path


def command(*arguments):
    return subprocess.run(
        [str(Path(sys.executable).with_name("hwquant")), *map(str, arguments)],
        capture_output=True,
        text=True,
    )


@pytest.mark.synth
def test_cost_of_an_exported_file(model):
    done = command("cost", model, "--folding", "shared", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert set(record) >= set(FACTS)
    assert [row["macs"] for row in record["layers"]] == [12 * 6, 6 * 3]
    assert record["weight_bits"] == (12 * 6 + 6 * 3) * 4
    assert record["latency_cycles"] == 12 * 6 + 6 * 3
    (kernel,) = record["kernels"]
    assert kernel["acc_bits"] == max(row["acc_bits"] for row in record["layers"])
    alone = command(
        "cost", "--weight", "int4", "--act", "int4", "--acc", kernel["acc_bits"], "--json"
    )
    expected = json.loads(alone.stdout)
    assert {key: record[key] for key in FACTS} == {key: expected[key] for key in FACTS}


@pytest.mark.synth
def test_the_text_form_has_both_tables(model):
    done = command("cost", model, "--folding", "shared")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert any(line.startswith("weight  act") for line in lines)
    assert sum("linear" in line for line in lines) == 2


def test_rtl_of_an_exported_file(model, tmp_path):
    done = command("rtl", model, "--lanes", 4, "-o", tmp_path / "k", "--json")
    assert done.returncode == 0, done.stderr
    users = json.loads(done.stdout)["layers"]
    assert len(users) == 2
    for name in users.values():
        assert Bundle.load(tmp_path / "k" / name).spec.lanes == 4


@pytest.mark.parametrize("name", ["cost", "rtl"])
def test_a_truncated_file_is_one_line_and_exit_code_2(name, model, tmp_path):
    """Negative control: a damaged file must not be priced or written."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.read_bytes()[:-40])
    out = ["-o", tmp_path / "k"] if name == "rtl" else []
    done = command(name, broken, *out)
    assert (done.returncode, done.stdout) == (2, "")
    assert "broken.onnx" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]
