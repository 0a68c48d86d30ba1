# SPDX-License-Identifier: Apache-2.0
"""Plots of a quantization: the facts are right, and the figures carry them."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from hwquant import codec_np
from hwquant.errors import UnsupportedError
from hwquant.nn.codes import act_quantizers, layer_codes, quantized_layers
from hwquant.nn.quantizers import weight_quantizer
from hwquant.ptq import plots
from hwquant.ptq.commands import quantize as command
from hwquant.ptq.facts import ActFacts, Facts, LayerFacts, quantize_with_facts
from hwquant.ptq.quantize import quantize
from hwquant.ptq.recipe import Recipe

RECIPE = Recipe("int3", "e2m1", scale="float", steps=["calibrate", "gptq", "bias_correction"])


def small(relu=nn.ReLU):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), relu(), nn.Conv2d(6, 6, 3, groups=2), relu(), nn.Flatten(),
        nn.Linear(96, 5),
    )  # fmt: skip
    return model.eval(), torch.randn(40, 2, 8, 8)


@pytest.fixture(scope="module")
def case():
    model, x = small()
    qmodel, facts = quantize_with_facts(model, RECIPE, x)
    return model, x, qmodel, facts


def outputs(model, x, paths):
    """Return the outputs of modules by hooks: another way than the facts take."""
    seen = {}
    handles = [
        model.get_submodule(path).register_forward_hook(
            lambda _m, _a, out, path=path: seen.update({path: out.clone()})
        )
        for path in paths
    ]
    with torch.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen


def test_the_model_is_that_of_quantize(case):
    model, x, qmodel, _ = case
    with torch.no_grad():
        assert torch.equal(qmodel(x), quantize(model, RECIPE, x)(x))


def test_errors_are_those_of_the_layers_before_and_after(case):
    """Oracle: hooks on the float model, the calibrated model and the finished one."""
    model, x, qmodel, facts = case
    paths = ["0", "2", "5"]
    assert [layer.path for layer in facts.layers] == paths
    start = quantize(model, replace(RECIPE, steps=["calibrate"]), x)
    exact, before, after = (outputs(m, x, paths) for m in (model, start, qmodel))
    for layer in facts.layers:
        wanted = exact[layer.path].double()
        for found, fact in ((before, layer.before), (after, layer.after)):
            share = (found[layer.path] - wanted).square().sum() / wanted.square().sum()
            assert fact == pytest.approx(float(share), rel=1e-6)
    assert facts.layers[-1].after < facts.layers[-1].before


def test_operators_in_place_do_not_spoil_the_errors(case):
    _, x, _, facts = case
    _, other = quantize_with_facts(small(lambda: nn.ReLU(inplace=True))[0], RECIPE, x)
    assert other.layers == facts.layers


def test_weights_grid_and_flips(case):
    model, _, qmodel, facts = case
    for (path, layer), fact in zip(quantized_layers(qmodel), facts.weights, strict=True):
        assert fact.path == path
        fmt, codes, scale = layer_codes(layer)
        assert np.array_equal(fact.unit, codec_np.decode(fmt, codes).ravel() * float(fmt.step))
        exact = model.get_submodule(path).weight.detach()
        assert np.array_equal(fact.float_unit, (exact / torch.from_numpy(scale)).numpy().ravel())
        assert np.array_equal(fact.grid, np.arange(-4, 4, dtype=np.float32))
        nearest = codec_np.decode(fmt, weight_quantizer(layer).codes(exact)).ravel()
        assert fact.up == np.mean(fact.unit > nearest)
        assert fact.down == np.mean(fact.unit < nearest)
    # Negative control: GPTQ is not round-to-nearest.
    assert max(fact.up + fact.down for fact in facts.weights) > 0.02
    plain = quantize_with_facts(model, replace(RECIPE, steps=["calibrate"]), case[1])[1]
    assert all(item.up == item.down == 0 for item in plain.weights)


def test_ranges_of_what_quantizers_read(case):
    _, x, qmodel, facts = case
    assert [act.path for act in facts.acts] == ["0", "2", "5"]
    first = facts.acts[0]
    assert (first.low, first.high) == (float(x.min()), float(x.max()))
    assert np.allclose(first.percentiles, np.percentile(x.numpy(), [0.1, 1, 50, 99, 99.9]))
    for act, (_, layer) in zip(facts.acts, quantized_layers(qmodel), strict=True):
        (quantizer,) = act_quantizers(qmodel, layer)
        assert act.format_high == 6 * float(quantizer.scale) == -act.format_low
        assert act.fmt == "e2m1"


def test_figure_of_errors_carries_the_numbers(case):
    facts = case[3]
    (axes,) = plots.layer_errors(facts.layers).axes
    lines = {line.get_label(): line.get_xdata() for line in axes.get_lines()}
    before = 10 * np.log10([layer.before for layer in facts.layers])
    after = 10 * np.log10([layer.after for layer in facts.layers])
    assert np.array_equal(lines["round to nearest"], before)
    assert np.array_equal(lines["all steps"], after)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "2", "5"]
    silent = plots.layer_errors([LayerFacts("a", 0.0, 0.0)]).axes[0]  # no error: a finite place
    assert np.isfinite(silent.get_lines()[0].get_xdata()).all()


def test_figure_of_weights_carries_the_numbers(case):
    facts = case[3]
    figure = plots.weight_histograms(facts.weights, facts.layers)
    for axes, fact in zip(figure.axes, facts.weights, strict=True):
        assert axes.get_title() == f"{fact.path}  (int3)"
        assert sum(patch.get_height() for patch in axes.patches) == fact.float_unit.size
        lines = [line.get_xdata() for line in axes.get_lines()]
        assert np.array_equal([x[0] for x in lines[:-1]], fact.grid)
        codes, counts = np.unique(fact.unit, return_counts=True)
        assert np.array_equal(lines[-1], codes)
        assert np.array_equal(axes.get_lines()[-1].get_ydata(), counts)
        assert axes.get_ylim()[1] > counts.max()


def test_many_layers_show_those_that_err_most(case):
    fact = case[3].weights[0]
    weights = [replace(fact, path=f"layer{i}") for i in range(20)]
    layers = [LayerFacts(item.path, 1.0, float(i)) for i, item in enumerate(weights)]
    figure = plots.weight_histograms(weights, layers)
    titles = [axes.get_title().split()[0] for axes in figure.axes]
    assert titles == [f"layer{i}" for i in range(8, 20)]
    assert "12 of 20 layers" in figure._supxlabel.get_text()


def test_figure_of_ranges_carries_the_numbers(case):
    facts = case[3]
    (axes,) = plots.act_ranges(facts.acts).axes
    spans = [c.get_segments()[0][:, 0].tolist() for c in axes.collections]
    assert spans == [[act.low, act.high] for act in facts.acts]
    bars = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in axes.patches]
    assert np.allclose(bars, [(act.percentiles[1], act.percentiles[3]) for act in facts.acts])
    edges = [list(line.get_xdata()) for line in axes.get_lines() if len(line.get_xdata()) == 2]
    wanted = [[act.format_low, act.format_high] for act in facts.acts]
    assert [edge for edge in edges if edge in wanted] == wanted


def test_figure_of_flips_carries_the_numbers(case):
    facts = case[3]
    (axes,) = plots.rounding_flips(facts.weights).axes
    widths = [bar.get_width() for bar in axes.patches]
    shares = [fact.up for fact in facts.weights] + [fact.down for fact in facts.weights]
    assert np.allclose(widths, 100 * np.array(shares), rtol=1e-12)


def test_files_are_the_same_twice_and_nothing_is_too_little(case, tmp_path):
    facts = case[3]
    first, second = (plots.save_plots(facts, tmp_path / name) for name in ("a", "b/c"))
    assert [p.name for p in first] == [
        f"{name}.{suffix}" for name in plots.FIGURES for suffix in ("png", "svg")
    ]
    for a, b in zip(first, second, strict=True):
        assert a.read_bytes() == b.read_bytes()
    assert "Weights not rounded to nearest" in (tmp_path / "a/rounding_flips.svg").read_text()
    zero = ActFacts("a", "int8", 0.0, 0.0, (0.0,) * 5, 0.0, 0.0)
    plots.save_plots(Facts((), (), ()), tmp_path / "none")
    plots.save_plots(Facts((), (), (zero,)), tmp_path / "zero")


def test_block_scaled_formats_have_errors_only(case):
    model, x, _, _ = case
    _, facts = quantize_with_facts(model, Recipe("mxfp4", "mxfp4", steps=["calibrate"]), x)
    assert len(facts.layers) == 3
    assert facts.weights == facts.acts == ()
    assert all(layer.after > 0 for layer in facts.layers)


def test_a_quantized_model_is_refused(case):
    from brevitas import nn as qnn

    with pytest.raises(UnsupportedError, match="quantized by Brevitas"):
        quantize_with_facts(nn.Sequential(qnn.QuantLinear(4, 4, bias=True)), RECIPE, case[1])


def test_command_line_writes_the_figures(tmp_path):
    folder = tmp_path / "figures"
    run = CliRunner().invoke(
        command,
        ["zoo:digits_mlp", "--weight", "int3", "--step", "calibrate", "--step", "gptq",
         "--plots", str(folder), "--json"],
    )  # fmt: skip
    assert run.exit_code == 0, run.output
    result = json.loads(run.stdout)
    assert sorted(result["plots"]) == sorted(str(path) for path in folder.iterdir())
    assert len(result["plots"]) == 8
    plain = CliRunner().invoke(
        command, ["zoo:digits_mlp", "--weight", "int3", "--step", "calibrate", "--step", "gptq",
                  "--json"],
    )  # fmt: skip
    assert json.loads(plain.stdout)["top1"] == result["top1"]


def test_facts_leave_the_float_model_alone():
    model, x = small()
    before = copy.deepcopy(model.state_dict())
    quantize_with_facts(model, RECIPE, x)
    assert all(torch.equal(before[key], item) for key, item in model.state_dict().items())
