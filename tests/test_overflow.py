# SPDX-License-Identifier: Apache-2.0
"""The accumulator adviser's facts: needs, certificates and saturating arithmetic on real codes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from costmodel.overflow import advise, bits_needed, channel_bits, measure
from costmodel.overflow import needs as needs_module
from costmodel.overflow.extremes import extremes
from hwquant import MacSpec
from hwquant.errors import InputError
from hwquant.fixed import signed_bits
from hwquant.graph import load

IMAGES = 12


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A quantized net: convolution, depthwise convolution with a stride, linear; 1 x 6 x 6 in."""
    import torch

    from hwquant import Recipe, export_qonnx, quantize

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(4, 4, 3, stride=2, groups=4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 5),
    )
    calib = torch.rand(32, 1, 6, 6)
    path = tmp_path_factory.mktemp("overflow") / "net.onnx"
    export_qonnx(quantize(net, Recipe("int4", "e2m1"), calib), path, calib[:1])
    images = np.random.default_rng(1).random((IMAGES, 1, 6, 6), dtype=np.float32)
    np.save(path.with_suffix(".npy"), images)
    return path, images


@pytest.fixture(scope="module")
def measured(network):
    path, images = network
    return {lanes: measure(load(path), images, lanes=lanes) for lanes in (1, 3)}


def windows(codes, layer):
    """Return the activation codes of every dot product, (images, groups, positions, length)."""
    if layer.window is None:
        return codes.reshape(len(codes), 1, 1, -1)
    pads, groups = layer.window.pads, layer.window.groups
    padded = np.pad(codes, [(0, 0), (0, 0), *pads])
    n, c, height, width = padded.shape
    split = padded.reshape(n, groups, c // groups, height, width)
    (down, right) = layer.window.strides
    cuts = [
        split[:, :, :, y : y + 3, x : x + 3].reshape(n, groups, -1)
        for y in range(0, height - 2, down)
        for x in range(0, width - 2, right)
    ]
    return np.stack(cuts, axis=2)


@pytest.mark.parametrize("lanes", [1, 3])
def test_a_saturating_mac_is_exact_exactly_where_the_width_suffices(network, measured, lanes):
    """Oracle: `MacSpec.accumulate` on the codes of the execution."""
    path, images = network
    graph = load(path)
    codes = graph.codes(images)
    clamped = 0
    for need in measured[lanes]:
        layer, bits = need.layer, need.bits()
        acts = windows(codes[layer.acts[0]], layer)
        per_group = layer.channels // acts.shape[1]
        for channel in range(layer.channels):
            weights = layer.weight_codes[channel]
            columns = acts[:, channel // per_group]

            def kernel(acc, overflow, columns=columns, weights=weights, layer=layer):
                spec = MacSpec(layer.weight, layer.act, lanes, layer.length, acc, overflow)
                return spec.accumulate(weights, columns)

            exact = kernel("auto", "wrap")
            ends = exact.min(axis=(1, 2), initial=0), exact.max(axis=(1, 2), initial=0)
            assert np.array_equal(bits[:, channel], bits_needed(*ends))
            for width in range(max(2, int(bits[:, channel].min()) - 1), bits.max() + 1):
                same = (kernel(width, "saturate") == exact).all(axis=(1, 2))
                assert np.array_equal(same, bits[:, channel] <= width)
                clamped += int((~same).sum())
    assert clamped > 50


def test_no_need_exceeds_the_certificate_and_a_narrower_range_is_noticed(measured):
    noticed = 0
    for need in measured[1]:
        for first in (False, True):
            assert (need.bits(bias_first=first) <= channel_bits(need.layer, bias_first=first)).all()
        widest = max(channel_bits(need.layer, bias_first=first).max() for first in (False, True))
        assert widest == need.layer.acc_bits
        low, high = need.layer.act_range
        fault = replace(need.layer, act_range=(low // 8, high // 8))
        noticed += int((need.bits() > channel_bits(fault)).sum())
    assert noticed


def test_coarser_beats_never_need_more(measured):
    for one, three in zip(measured[1], measured[3], strict=True):
        assert (three.bits() <= one.bits()).all()
        assert np.array_equal(one.acts.rms, three.acts.rms)


def test_the_number_of_images_at_once_changes_nothing(network, measured, monkeypatch):
    path, images = network
    monkeypatch.setattr(needs_module, "CHUNK", 1)
    for single, several in zip(measure(load(path), images), measured[1], strict=True):
        assert np.array_equal(single.low, several.low)
        assert np.array_equal(single.high, several.high)
        assert np.array_equal(single.acts.mean, several.acts.mean)


@pytest.mark.parametrize("size", [3, 1 << 11, 1 << 25, 1 << 40])
@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("positions", [1, 5, 40])
def test_extremes_equal_running_sums(size, lanes, positions, monkeypatch):
    """Float32, float64 and Python integers alike; tiles smaller than an image and larger."""
    monkeypatch.setattr("costmodel.overflow.extremes.TILE", 32)
    rng = np.random.default_rng(size % 1000 + lanes)
    groups, images, length, channels = 2, 3, 10, 3
    a = rng.integers(-size, size, (groups, images * positions, length))
    b = rng.integers(-size, size, (groups, length, channels))
    found = extremes(a, b, images, lanes)
    products = a.astype(object)[:, :, None] * b.astype(object).transpose(0, 2, 1)[:, None]
    sums = np.cumsum(products, axis=-1)[..., [*range(lanes - 1, length, lanes), length - 1]]
    sums = sums.reshape(groups, images, positions, channels, -1)
    for got, want in (
        (found.low, np.minimum(sums.min(axis=(2, 4)), 0)),
        (found.high, np.maximum(sums.max(axis=(2, 4)), 0)),
    ):
        assert np.array_equal(got, want.transpose(1, 0, 2).reshape(images, -1))


def test_bits_needed_is_the_width_of_both_ends():
    low, high = -np.arange(70)[:, None], np.arange(70)[None]
    want = [[signed_bits(-a, b) for b in range(70)] for a in range(70)]
    assert np.array_equal(bits_needed(low, high), want)
    wide = bits_needed(np.array([-(1 << 80)], object), np.array([1 << 90], object))
    assert wide.tolist() == [92]
    edge = np.array([(1 << 53) - 1, 1 << 53, (1 << 62) - 1])
    assert bits_needed(np.zeros_like(edge), edge).tolist() == [54, 55, 63]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 1, 6, 6)), "no images"),
        (np.float32(1), "no images"),
        (np.full((2, 1, 6, 6), np.nan), "NaN"),
        (np.full((2, 1, 6, 6), np.inf), "infinity"),
        (np.zeros((2, 1, 6, 7)), "2 x 1 x 6 x 7, allowed N x 1 x 6 x 6"),
        ([["a"]], "no array of numbers"),
    ],
)
def test_unfit_images_are_refused(network, images, message):
    with pytest.raises(InputError, match=message):
        measure(load(network[0]), images)


def test_unfit_requests_are_refused(network, measured):
    with pytest.raises(InputError, match="lanes 0"):
        measure(load(network[0]), network[1], lanes=0)
    for risk in (0, 1, float("nan"), -1e-3):
        with pytest.raises(InputError, match="risk"):
            advise(measured[1][0], risk)
    with pytest.raises(InputError, match="one image"):
        advise(measure(load(network[0]), network[1][:1])[0], 1e-3)


def test_advice_grows_with_caution_and_stops_at_the_certificate(measured, monkeypatch):
    monkeypatch.setattr("costmodel.overflow.advice.REPLICATES", 8)
    for need in measured[1][1:]:
        widths = []
        for risk in (0.5, 1e-2, 1e-300):
            advice = advise(need, risk)
            widths.append((advice.width, advice.widths))
            assert advice.risk <= advice.risk_high <= risk
            assert (advice.channel_risk_high <= risk).all()
            assert (advice.widths <= advice.certificate).all()
            if risk < 1 / IMAGES:
                assert (advice.widths >= advice.seen).all()
                assert advice.width >= advice.seen.max()
        assert sorted(w for w, _ in widths) == [w for w, _ in widths]
        assert (np.diff([w for _, w in widths], axis=0) >= 0).all()
        assert np.array_equal(widths[-1][1], np.maximum(advice.certificate, 2))


def command(*arguments):
    script = Path(sys.executable).with_name("hwquant")
    return subprocess.run([script, *map(str, arguments)], capture_output=True, text=True)


def test_the_command_advises_saturation(network):
    path, _ = network
    done = command("overflow", path, "--data", path.with_suffix(".npy"), "--risk", "0.2", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert "must saturate" in record["label"]
    assert record["images"] == IMAGES
    assert len(record["layers"]) == 3
    for row in record["layers"]:
        narrower = row["acc_bits"] < row["certificate_bits"]
        assert row["rtl"].endswith(
            f"--acc {row['acc_bits']} --overflow {'saturate' if narrower else 'wrap'}"
        )
        assert len(row["per_channel"]["acc_bits"]) == row["channels"]
        assert row["paper_bits"] >= row["certificate_bits"] >= row["acc_bits"]
    assert any(row["acc_bits"] < row["certificate_bits"] for row in record["layers"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["missing.onnx", "--data", "digits"],
        ["MODEL", "--data", "missing.npy"],
        ["MODEL", "--data", "no-such-set"],
        ["MODEL", "--data", "bad.npy"],
    ],
    ids=" ".join,
)
def test_bad_input_is_one_clear_line(network, tmp_path, arguments):
    (tmp_path / "bad.npy").write_bytes(b"no array")
    given = [str(network[0]) if a == "MODEL" else a for a in arguments]
    given = [str(tmp_path / a) if a == "bad.npy" else a for a in given]
    done = command("overflow", *given)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("hwquant: error: ")
    assert "Traceback" not in done.stderr


def test_the_package_loads_no_torch():
    program = "import sys, costmodel.overflow.evaluate; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
