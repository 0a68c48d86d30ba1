# SPDX-License-Identifier: Apache-2.0
"""The check finds what was broken on purpose, in every part of the file, and exits with 1."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import numpy_helper
from torch import nn

from hwquant.cli import hwquant
from hwquant.errors import ExportError, InputError
from hwquant.export.check import check_qonnx
from hwquant.export.qonnx import export_qonnx
from hwquant.graph import load
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe

PAIRS = {"int": Recipe("int4", "uint4"), "minifloat": Recipe("e2m1", "ue2m2")}


@pytest.fixture(scope="module", params=sorted(PAIRS))
def good(request, tmp_path_factory):
    """An exported file with inputs on which the check finds nothing."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval()
    x = torch.randn(8, 1, 4, 4)
    qmodel = quantize(model, PAIRS[request.param], x)
    path = tmp_path_factory.mktemp("good") / "m.onnx"
    export_qonnx(qmodel, path, x[:1])
    report = check_qonnx(path, x.numpy())
    assert (report.differences, report.proven, report.failures) == (0, True, ())
    return path, x.numpy()


def change(good, tmp_path, edit):
    """Return the report of a copy of the file after ``edit(model, initializers)``."""
    path, x = good
    model = onnx.load(path)
    edit(model, {i.name: i for i in model.graph.initializer})
    onnx.save(model, tmp_path / "bad.onnx")
    return check_qonnx(tmp_path / "bad.onnx", x)


def rewrite(tensor, array):
    tensor.CopyFrom(numpy_helper.from_array(array.astype(np.float32), tensor.name))


def scale_of(model, inits, name):
    node = next(n for n in model.graph.node if n.name == f"{name}.weight_quant")
    return numpy_helper.to_array(inits[node.input[1]])


def test_flipped_weight_code_is_found_and_located(good, tmp_path):
    def edit(model, inits):
        weight = numpy_helper.to_array(inits["0.weight"]).copy()
        scale = np.broadcast_to(scale_of(model, inits, "0"), weight.shape)
        weight[2, 0, 1, 1] += scale[2, 0, 1, 1] * (1 if weight[2, 0, 1, 1] <= 0 else -1)
        rewrite(inits["0.weight"], weight)

    report = change(good, tmp_path, edit)
    assert report.differences == 1
    (failure,) = report.failures
    assert (failure.layer, failure.kind) == ("0", "fingerprint")
    assert "channel 2" in failure.why


def test_shifted_bias_is_found_and_located(good, tmp_path):
    def edit(_, inits):
        bias = numpy_helper.to_array(inits["3.bias"]).copy()
        bias[1] += float(load(good[0]).layers()[1].unit[1])
        rewrite(inits["3.bias"], bias)

    report = change(good, tmp_path, edit)
    assert report.differences == 1
    assert "channel 1" in report.failures[0].why


@pytest.mark.parametrize("mode", ["FLOOR", "CEIL"])
def test_wrong_rounding_is_found_in_the_codes(good, tmp_path, mode):
    def edit(model, _):
        node = next(n for n in model.graph.node if n.name == "act_quant.3")
        next(a for a in node.attribute if a.name == "rounding_mode").s = mode.encode()

    report = change(good, tmp_path, edit)
    assert report.differences > 10
    assert {row.layer for row in report.failures} == {"act_quant.3"}
    with pytest.raises(InputError, match=f"rounds by {mode}"):
        load(tmp_path / "bad.onnx")


def test_scale_changed_after_export_is_found(good, tmp_path):
    def edit(_, inits):
        for name, tensor in inits.items():
            if name.startswith("act_quant.3") and "scale" in name:
                rewrite(tensor, numpy_helper.to_array(tensor) * 2)

    report = change(good, tmp_path, edit)
    assert report.differences > 0
    assert any("scale is not the one written" in row.why for row in report.failures)


def test_weight_off_the_grid_is_found(good, tmp_path):
    def edit(_, inits):
        weight = numpy_helper.to_array(inits["3.weight"]).copy()
        weight[0, 0] *= 1.26
        weight[0, :] = np.where(weight[0] == 0, 0.3 * np.abs(weight).max(), weight[0])
        rewrite(inits["3.weight"], weight)

    assert change(good, tmp_path, edit).differences > 0


def test_format_changed_after_export_is_found(good, tmp_path):
    def edit(model, inits):
        node = next(n for n in model.graph.node if n.name == "act_quant.3")
        index = 3 if node.op_type == "Quant" else 5  # bit width, or largest value
        old = numpy_helper.to_array(inits[node.input[index]])
        rewrite(inits[node.input[index]], old - 1)

    report = change(good, tmp_path, edit)
    assert {row.layer for row in report.failures} == {"act_quant.3"}
    with pytest.raises((ExportError, InputError)):
        load(tmp_path / "bad.onnx")


def test_one_fault_does_not_spread_to_later_layers(good, tmp_path):
    def edit(model, _):
        node = next(n for n in model.graph.node if n.name == "act_quant.0")
        next(a for a in node.attribute if a.name == "rounding_mode").s = b"FLOOR"

    report = change(good, tmp_path, edit)
    assert {row.layer for row in report.failures} == {"act_quant.0"}


def test_difference_to_another_forward_is_counted(good):
    path, x = good
    right = load(path).execute(x)["output"].reals().astype(np.float32)
    assert check_qonnx(path, x, lambda _: right).failures == ()
    wrong = right.copy()
    wrong[3, 1] += 1e-3
    report = check_qonnx(path, x, lambda _: wrong)
    assert [(row.kind, row.differences) for row in report.failures] == [("outputs", 1)]
    assert report.differences == 1


def test_totals_are_the_sum_of_the_rows(good):
    path, x = good
    report = check_qonnx(path, x)
    codes = [r for r in report.rows if r.kind in ("codes", "weights", "logits")]
    sizes = {"act_quant.0": 8 * 16, "act_quant.3": 8 * 64, "0.weight_quant": 36}
    assert sum(r.compared for r in codes) == report.codes_compared
    assert report.codes_compared == sum(sizes.values()) + 192 + 8 * 3
    assert json.loads(json.dumps(report.to_json()))["layers"] == 2


# Bad input.


def test_inputs_that_do_not_fit(good):
    path, x = good
    with pytest.raises(InputError, match="shape 8 x 1 x 4 x 3, allowed N x 1 x 4 x 4"):
        check_qonnx(path, x[..., :3])
    with pytest.raises(InputError, match="the inputs hold NaN"):
        check_qonnx(path, np.full_like(x, np.nan))
    with pytest.raises(InputError, match="the inputs hold infinity"):
        check_qonnx(path, np.full_like(x, np.inf))
    with pytest.raises(InputError, match="allowed N x 1 x 4 x 4"):
        check_qonnx(path, x[:0])


# The command.


def run(*args):
    return CliRunner().invoke(hwquant, ["export", *map(str, args)])


def test_command_checks_a_file(good, tmp_path):
    path, x = good
    result = run(path, "--check", "--images", 5, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["layers"], record["differences"], record["images"]) == (2, 0, 5)
    assert record["codes_compared"] > 500
    model = onnx.load(path)
    node = next(n for n in model.graph.node if n.name == "act_quant.3")
    next(a for a in node.attribute if a.name == "rounding_mode").s = b"FLOOR"
    onnx.save(model, tmp_path / "bad.onnx")
    np.savez(tmp_path / "data.npz", x=np.repeat(x, 3, 0), y=np.arange(24) % 3)
    result = run(tmp_path / "bad.onnx", "--check", "--data", tmp_path / "data.npz", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["differences"] > 0
    assert "must be equal" in result.stderr


def test_command_quantizes_exports_and_checks(tmp_path):
    source = tmp_path / "net.py"
    source.write_text(
        "import torch\n"
        "from torch import nn\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))\n"
    )
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=rng.normal(size=(40, 6)).astype("f4"), y=np.arange(40) % 3)
    out = tmp_path / "m.onnx"
    options = ["--data", tmp_path / "d.npz", "--weight", "e2m1", "--act", "int5", "--images", 4]
    result = run(f"{source}:make", *options, "-o", out, "--check", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["layers"], record["differences"], record["proven"]) == (2, 0, True)
    assert record["path"] == str(out)
    assert [layer["weight"] for layer in record["table"]] == ["e2m1", "e2m1"]
    assert load(out).workload().weight_bits == 4 * (48 + 24)


def test_command_line_mistakes(good, tmp_path):
    path, _ = good
    assert run("zoo:digits_mlp").exit_code == 2
    assert run(path, "-o", tmp_path / "x.onnx").exit_code == 2
    result = run(tmp_path / "no.onnx", "--check")
    assert isinstance(result.exception, InputError)
