# SPDX-License-Identifier: Apache-2.0
"""Constant kernels on the command line, and those of an exported network's layers."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from costmodel.commands import cost
from costmodel.constant import random_matrix
from hw.commands import rtl
from hw.constant import MatVecSpec, build
from hw.constant.kernel import ConstantBundle
from hwquant import codec_np
from hwquant.errors import HwquantError, InputError
from sim.commands import verify

CODES = np.random.default_rng(0).integers(0, 4, (3, 9))


def invoke(command, *arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.sim
def test_the_commands_write_verify_and_price_it(tmp_path):
    file = tmp_path / "w.npy"
    np.save(file, CODES)
    how = ["--constant", file, "--weight", "int2", "--act", "uint1", "--json"]
    written = json.loads(invoke(rtl, *how, "-o", tmp_path / "k").stdout)
    assert written["latency_cycles"] == build(MatVecSpec(CODES, "int2", "uint1")).latency
    seen = json.loads(invoke(verify, tmp_path / "k", "--json").stdout)
    assert seen["mismatches"] == 0
    assert seen["results"][0]["exhaustive"]
    direct = json.loads(invoke(verify, *how).stdout)
    assert direct["vectors"] == seen["vectors"]
    priced = json.loads(invoke(cost, *how, "--synth").stdout)
    assert 0 < priced["lut_sites"] < 40
    top = tmp_path / "k" / written["files"][-4]
    text = top.read_text()
    assert ".InvA(" in text
    at = text.index(".a_i({") + len(".a_i({")
    top.write_text(text[:at] + "~" + text[at:])
    assert invoke(verify, tmp_path / "k", "--json").exit_code == 1


def test_the_commands_refuse_what_cannot_be(tmp_path):
    file = tmp_path / "w.npy"
    np.save(file, np.array([[1.5]]))
    cases = {
        "needs --weight and --act": ["--constant", file],
        "float64": ["--constant", file, "--weight", "int4", "--act", "int4"],
        "no .npy file": ["--constant", tmp_path / "no.npy", "--weight", "int4", "--act", "int4"],
        "lanes cannot go": ["--constant", file, "--weight", "int4", "--act", "int4", "--lanes", 2],
        "--layer goes with --constant": ["--layer", "x", "--weight", "int4", "--act", "int4"],
        "allowed with --constant": [
            "--constant", file, "--weight", "int4", "--act", "int4", "--style", "tree",
        ],
    }  # fmt: skip
    for said, arguments in cases.items():
        with pytest.raises(HwquantError, match=said):
            invoke(cost, *arguments)


def test_a_layer_of_an_exported_network_becomes_a_kernel(tmp_path):
    import torch

    from hwquant import Recipe, export_qonnx, quantize
    from hwquant.graph import load

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 2, 3, groups=2), torch.nn.ReLU(), torch.nn.Flatten(),
        torch.nn.Linear(8, 3),
    )  # fmt: skip
    calib = torch.randn(16, 2, 4, 4)
    path = tmp_path / "net.onnx"
    export_qonnx(quantize(net, Recipe("int4", "int4"), calib), path, calib[:1])
    conv, linear = load(path).layers()
    how = ["--constant", path, "--json", "-o", tmp_path / "k"]
    with pytest.raises(InputError, match="2 groups"):
        invoke(rtl, *how, "--layer", conv.name)
    with pytest.raises(InputError, match=f"no --layer, allowed .*{linear.name}"):
        invoke(rtl, *how)
    with pytest.raises(InputError, match="cannot go with"):
        invoke(rtl, *how, "--layer", linear.name, "--weight", "int4")
    assert invoke(rtl, *how, "--layer", linear.name).exit_code == 0
    spec = ConstantBundle.load(tmp_path / "k").spec
    assert np.array_equal(spec.weights, linear.weight_ints.reshape(3, 8))
    assert spec.bias == tuple(int(b) for b in linear.bias)
    assert (spec.weight, spec.act) == (linear.weight, linear.act)
    assert max(spec.out_bits) <= linear.acc_bits


def test_codes_of_gaussian_weights_are_what_they_are_called():
    spec = random_matrix("int4 gaussian", 64, 64, "int4")
    values = codec_np.decode(spec.weight, np.array(spec.codes))
    assert 2.2 < values.std() < 2.6
