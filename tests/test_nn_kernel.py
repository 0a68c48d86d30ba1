# SPDX-License-Identifier: Apache-2.0
"""The float32 kernel equals the codec bit for bit; Brevitas and QONNX agree with it."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwquant import codec, codec_np
from hwquant.errors import InputError
from hwquant.formats import Integer, minifloats, parse
from hwquant.nn import kernel
from hwquant.nn.kernel import fake_quantize, quantize_unit
from hwquant.nn.quantizers import Quantizer

BENCH = Path(__file__).parent / "benchmarks" / "bench_quantizer.py"
LARGEST = np.finfo(np.float32).max
EXTREMES = [0.0, -0.0, np.inf, -np.inf, LARGEST, -LARGEST, 1e-45, -1e-45, 1.2e-38, -1.2e-38]

CODEBOOKS_TOO = True


def probes(fmt):
    """Every value, every midpoint, the extremes, and the float32 neighbours of all of them."""
    values = np.unique(codec_np.value_table(fmt)[list(fmt.codes)].astype(np.float64))
    middles = (values[1:] + values[:-1]) / 2
    points = np.concatenate([values, middles, EXTREMES]).astype(np.float32)
    with np.errstate(over="ignore", under="ignore"):
        up = np.nextafter(points, np.float32(np.inf))
        down = np.nextafter(points, np.float32(-np.inf))
    return np.concatenate([points, up, down, -points])


def same_bits(a, b):
    return np.array_equal(a.view(np.int32), b.view(np.int32))


def test_equals_the_numpy_codec_bit_for_bit(fmt):
    x = probes(fmt)
    assert same_bits(quantize_unit(torch.from_numpy(x), fmt).numpy(), codec_np.quantize(fmt, x))


def test_equals_the_scalar_codec(fmt):
    x = probes(fmt)[::3]
    by_definition = [float(codec.value(fmt, codec.encode(fmt, float(v)))) for v in x]
    got = quantize_unit(torch.from_numpy(x), fmt).numpy()
    assert np.array_equal(got, np.array(by_definition, np.float32))


@pytest.mark.parametrize(
    "name", ["e4m3b-110", "e2m1b-120", "e0m3b-115", "ue5m3b100", "e7m0", "e7m0b2"]
)
def test_biases_at_the_edge_of_float32(name):
    fmt = parse(name)
    x = probes(fmt)
    assert same_bits(quantize_unit(torch.from_numpy(x), fmt).numpy(), codec_np.quantize(fmt, x))


def test_negative_control_a_wrong_constant_is_detected(monkeypatch):
    fmt = parse("e2m1")
    right = kernel.grid(fmt)
    wrong = replace(right, magic=right.magic * 2)
    monkeypatch.setattr(kernel, "grid", lambda _: wrong)
    x = probes(fmt)
    assert not same_bits(quantize_unit(torch.from_numpy(x), fmt).numpy(), codec_np.quantize(fmt, x))


def test_large_tensors_go_through_in_pieces(monkeypatch):
    monkeypatch.setattr(kernel, "CHUNK", 1000)
    x = torch.randn(7, 3, 211, generator=torch.Generator().manual_seed(1)) * 3
    fmt = parse("e3m2")
    assert same_bits(quantize_unit(x, fmt).numpy(), codec_np.quantize(fmt, x.numpy()))
    strided = x.permute(2, 0, 1)
    assert same_bits(
        np.ascontiguousarray(quantize_unit(strided, fmt).numpy()),
        np.ascontiguousarray(codec_np.quantize(fmt, strided.numpy())),
    )


def test_nan_passes_the_kernel_and_stops_at_the_codes():
    x = torch.tensor([1.0, float("nan")])
    assert torch.isnan(quantize_unit(x, parse("e4m3")))[1]
    with pytest.raises(InputError, match="conv1 holds NaN"):
        Quantizer(parse("e4m3"), module_path="conv1").codes(x)


def test_only_float32():
    with pytest.raises(TypeError, match="float32"):
        quantize_unit(torch.zeros(2, dtype=torch.float64), parse("int4"))


@pytest.mark.parametrize("name", ["e2m1", "int4", "uint4", "e5m2ieee", "ue2m2"])
def test_gradient_is_one_inside_and_zero_where_it_saturates(name):
    fmt = parse(name)
    low, high = float(fmt.min_int * fmt.step), float(fmt.max)
    x = torch.tensor([low * 2 - 1, low, low / 3, 0.0, high / 3, high, high * 2], requires_grad=True)
    quantize_unit(x, fmt).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]


def test_scaled_quantization_divides_and_its_gradients_reach_input_and_scale():
    fmt, scale = parse("e4m3"), torch.tensor(0.3)
    x = torch.randn(1000, generator=torch.Generator().manual_seed(2))
    expected = codec_np.quantize(fmt, (x / scale).numpy()) * np.float32(0.3)
    assert same_bits(fake_quantize(x, scale, fmt).numpy(), expected)
    learned = scale.clone().requires_grad_()
    y = x.clone().requires_grad_()
    fake_quantize(y, learned, fmt).sum().backward()
    assert torch.equal(y.grad, torch.ones(1000))
    # d/ds of s * q(x / s) with a straight-through q is q(x / s) - x / s
    residue = quantize_unit(x / scale, fmt) - x / scale
    assert torch.allclose(learned.grad, residue.sum(), atol=1e-3)


@pytest.fixture(scope="module")
def brevitas_quantizer():
    return runpy.run_path(str(BENCH))["brevitas_quantizer"]


@pytest.mark.parametrize("fmt", [*minifloats(3, 8), *minifloats(3, 8, signed=False)], ids=str)
def test_brevitas_agrees_on_finite_input(fmt, brevitas_quantizer):
    x = probes(fmt)
    x = x[np.isfinite(x)]
    if fmt.mantissa_bits == 0:  # Brevitas gives NaN there: its log2 rounds up to 128
        x = x[np.abs(x) < LARGEST / 2]
    theirs = brevitas_quantizer(fmt)(torch.from_numpy(x)).numpy()
    ours = quantize_unit(torch.from_numpy(x), fmt).numpy()
    assert np.array_equal(ours, theirs)
    if fmt.signed:
        assert same_bits(ours, theirs)


def test_brevitas_exception_infinity_becomes_nan_there_and_saturates_here(brevitas_quantizer):
    x = torch.tensor([float("inf"), float("-inf")])
    fmt = parse("e4m3")
    assert torch.isnan(brevitas_quantizer(fmt)(x)).all()
    assert quantize_unit(x, fmt).tolist() == [480, -480]


@pytest.mark.parametrize("fmt", minifloats(3, 8), ids=str)
def test_qonnx_agrees_on_finite_input(fmt):
    from qonnx.custom_op.general.floatquant import float_quant

    x = probes(fmt)
    x = x[np.isfinite(x)]
    if fmt.mantissa_bits == 0:
        x = x[np.abs(x) < LARGEST / 2]
    with np.errstate(all="ignore"):
        theirs = float_quant(
            x,
            np.float32(1),
            np.float32(fmt.exponent_bits),
            np.float32(fmt.mantissa_bits),
            exponent_bias=np.float32(fmt.exponent_bias),
            max_val=np.float32(fmt.max),
        )
    ours = quantize_unit(torch.from_numpy(x), fmt).numpy()
    assert np.array_equal(ours, np.asarray(theirs, np.float32))


@pytest.mark.parametrize(
    "fmt", [Integer(b, signed=s) for b in range(2, 9) for s in (0, 1)], ids=str
)
def test_torch_fake_quantize_agrees_on_integers(fmt):
    x = torch.randn(4096, generator=torch.Generator().manual_seed(3)) * fmt.max_int
    theirs = torch.fake_quantize_per_tensor_affine(x, 1.0, 0, fmt.min_int, fmt.max_int)
    assert torch.equal(quantize_unit(x, fmt), theirs)


@pytest.mark.slow
def test_benchmark_runs_and_all_paths_are_exact():
    """Ratios are printed, not asserted; mismatches are, the compiled loop's included."""
    command = [sys.executable, str(BENCH), "--elements", str(1 << 20), "--repeats", "1"]
    run = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)
    print(result)
    assert result["mismatches"] == {"eager": 0, "compiled": 0, "brevitas": 0}
    assert result["times_faster_than_brevitas"] > 0


def test_without_a_compiler_the_eager_loop_takes_over(tmp_path):
    """A compiler that does not exist: one line of explanation, right values, exit 0."""
    program = (
        "import torch\n"
        "from hwquant import codec_np\n"
        "from hwquant.formats import parse\n"
        "from hwquant.nn import kernel\n"
        "kernel.set_compile(True)\n"
        "x = torch.randn(1 << 20)\n"
        "got = kernel.quantize_unit(x, parse('e2m1')).numpy()\n"
        "assert (got == codec_np.quantize(parse('e2m1'), x.numpy())).all()\n"
        "assert kernel._compiler.mode is False\n"
    )
    environment = os.environ | {
        "CXX": "/nonexistent/compiler",
        "TORCHINDUCTOR_CACHE_DIR": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment,
    )
    assert run.returncode == 0, run.stderr
    assert "using the eager quantizer" in run.stderr


def test_a_compiler_that_changes_values_is_not_used(monkeypatch, capsys):
    """Negative control of the self-check: (y + c) - c "simplified" to y."""
    monkeypatch.setattr(kernel, "_compiler", kernel._Compiler())
    monkeypatch.setattr(torch, "compile", lambda *_, **__: lambda x, scale, *_c: x / scale * scale)
    kernel.set_compile(True)
    x = torch.randn(kernel.COMPILE_FROM, generator=torch.Generator().manual_seed(6))
    assert same_bits(
        quantize_unit(x, parse("e2m1")).numpy(), codec_np.quantize(parse("e2m1"), x.numpy())
    )
    assert "its result differs" in capsys.readouterr().err
    assert kernel._compiler.mode is False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["e4m3", "int4", "ue3m2"])
def test_the_compiled_loop_divides_by_the_scale(name, monkeypatch):
    monkeypatch.setattr(kernel, "_compiler", kernel._Compiler())
    kernel.set_compile(True)
    fmt, scale = parse(name), torch.tensor(0.0371)
    x = torch.randn(kernel.COMPILE_FROM + 3, generator=torch.Generator().manual_seed(7))
    expected = codec_np.quantize(fmt, (x / scale).numpy()) * scale.numpy()
    assert same_bits(fake_quantize(x, scale, fmt).numpy(), expected)
    assert kernel._compiler.functions


def test_small_tensors_never_wait_for_a_compiler(monkeypatch):
    monkeypatch.setattr(kernel, "_compiler", kernel._Compiler())
    kernel.set_compile(True)
    quantize_unit(torch.zeros(kernel.COMPILE_FROM - 1), parse("int4"))
    assert not kernel._compiler.functions
