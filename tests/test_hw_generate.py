# SPDX-License-Identifier: Apache-2.0
"""Generated folders: names, bytes, manifest, and what happens to a folder that was changed."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hw import Bundle, generate, kernel_name, kernel_text, product_bits, product_text
from hw.library import source_text, sources_sha256
from hw.manifest import seal, spec_from_json, spec_to_json
from hw.styles import STYLES
from hwquant.errors import InputError, SpecError
from hwquant.fixed import signed_bits
from hwquant.mac import MacSpec, product_range

GOLDEN = Path(__file__).parent / "golden"
SPECS = {
    "hq_mac_e2m1_int8_l16_a20_wrap": MacSpec("e2m1", "int8", lanes=16, length=256),
    "hq_mac_int4_ue3m2_l1_a12_saturate": MacSpec("int4", "ue3m2", acc=12, overflow="saturate"),
    "hq_mac_e4m3bn2_e4m3fn_l3_a40_wrap": MacSpec("e4m3b-2", "e4m3fn", lanes=3, length=9),
}
PLAIN = STYLES["plain"]
SPEC = MacSpec("e2m1", "int4", lanes=2, length=8)


@pytest.mark.parametrize("name", SPECS)
def test_wrapper_equals_its_golden_copy(name):
    assert kernel_name(SPECS[name]) == name
    assert kernel_text(SPECS[name]) == (GOLDEN / f"{name}.sv").read_text()


def test_manifest_equals_its_golden_copy(tmp_path):
    bundle = generate(SPEC, tmp_path / "k")
    record = json.loads((tmp_path / "k" / "manifest.json").read_text())
    # Hashes and version change with every edit of a block; their truth is tested by loading.
    for key in ("sha256", "seal", "generator"):
        del record[key]
    assert record == json.loads((GOLDEN / "manifest.json").read_text())
    assert bundle.manifest["generator"].startswith("hwquant ")


def test_the_same_spec_gives_the_same_bytes(tmp_path):
    first, second = (generate(SPEC, tmp_path / name) for name in "ab")
    names = sorted(path.name for path in first.folder.iterdir())
    assert names == sorted(path.name for path in second.folder.iterdir())
    assert len(names) == len(PLAIN.sources) + 4
    for name in names:
        content = (first.folder / name).read_bytes()
        assert content == (second.folder / name).read_bytes()
        assert str(tmp_path).encode() not in content
        assert not re.search(rb"\b20\d\d-\d\d", content), f"{name} holds a date"


def test_load_returns_what_generate_returned(tmp_path):
    bundle = generate(SPEC, tmp_path / "k", name="my_kernel")
    assert Bundle.load(tmp_path / "k") == bundle
    assert (bundle.name, bundle.spec) == ("my_kernel", SPEC)
    assert bundle.files[-1] == "my_kernel.sv"
    assert all(path.is_file() for path in bundle.sources)
    listed = (tmp_path / "k" / "files.f").read_text().split()
    assert listed == list(bundle.files)
    core = (tmp_path / "k" / "my_kernel.core").read_text()
    assert core.startswith("CAPI=2:\n")
    assert all(f"- {name}\n" in core for name in bundle.files)


def test_generating_from_the_manifest_gives_the_same_kernel(tmp_path):
    first = generate(SPEC, tmp_path / "a")
    second = generate(Bundle.load(tmp_path / "a").spec, tmp_path / "b", name=first.name)
    assert first.manifest == second.manifest


def test_an_earlier_kernel_is_replaced_whole(tmp_path):
    generate(SPEC, tmp_path / "k", name="old")
    generate(SPEC, tmp_path / "k", name="new")
    assert not (tmp_path / "k" / "old.sv").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_spec_round_trips_through_json(fmt):
    for acc, overflow in itertools.product(("auto", 9), ("wrap", "saturate")):
        spec = MacSpec(fmt, "e2m1", lanes=3, length=50, acc=acc, overflow=overflow)
        assert spec_from_json(json.loads(json.dumps(spec_to_json(spec)))) == spec


def test_every_pair_has_a_legal_name_and_a_wide_enough_product(all_formats):
    slack = set()
    for weight, act in itertools.product(all_formats, repeat=2):
        spec = MacSpec(weight, act)
        assert re.fullmatch(r"hq_mac_[a-z0-9_]+", kernel_name(spec))
        needed = signed_bits(*product_range(weight, act))
        assert needed <= product_bits(weight, act)
        assert PLAIN.parameters(spec)["ProductBits"] == product_bits(weight, act)
        slack.add(product_bits(weight, act) - needed)
    assert 0 in slack


def test_names_of_different_hardware_differ(all_formats):
    names = {}
    for weight, acc, overflow in itertools.product(all_formats, ("auto", 8), ("wrap", "saturate")):
        spec = MacSpec(weight, "int4", acc=acc, overflow=overflow)
        known = names.setdefault(kernel_name(spec), PLAIN.parameters(spec))
        assert known == PLAIN.parameters(spec)


def test_product_top_has_the_documented_ports():
    text = product_text(SPEC, "p")
    assert "output logic [7:0] product_o" in text
    assert "hq_product #(" in text


@pytest.mark.parametrize("name", ["", "9k", "Kernel", "a-b", "hq_mac", "k" * 128, "a\nb"])
def test_an_illegal_name_is_refused_and_nothing_is_written(name, tmp_path):
    with pytest.raises(SpecError, match="kernel name"):
        generate(SPEC, tmp_path / "k", name=name)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_style_is_refused(tmp_path):
    with pytest.raises(SpecError, match="allowed: auto, auto-beat, auto-dsp, plain"):
        generate(SPEC, tmp_path / "k", style="fancy")


def test_a_folder_with_other_things_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds no generated kernel"):
        generate(SPEC, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "k"):
        with pytest.raises(InputError, match="cannot write"):
            generate(SPEC, out)


@pytest.fixture
def bundle(tmp_path):
    return generate(SPEC, tmp_path / "k")


def test_every_changed_source_is_detected(bundle):
    for path in bundle.sources:
        good = path.read_bytes()
        path.write_bytes(good.replace(b"assign", b"assign ", 1) + b"\n")
        with pytest.raises(InputError, match=f"{path.name} does not match its hash"):
            Bundle.load(bundle.folder)
        path.write_bytes(good)
    Bundle.load(bundle.folder)


def test_a_changed_manifest_is_detected(bundle):
    path = bundle.folder / "manifest.json"
    record = json.loads(path.read_text())
    record["spec"]["acc"] = 30
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="was changed after it was generated"):
        Bundle.load(bundle.folder)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not valid JSON"),
        ('{"name": "k", ', "not valid JSON"),
        ("[1, 2]", "holds a list"),
        ("{}", "lacks 'seal'"),
        ('{"seal": "", "sha256": {}, "interface": {}, "name": "k", "spec": 3}', "spec has int"),
    ],
)
def test_a_damaged_manifest_is_named(bundle, content, said):
    (bundle.folder / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=said):
        Bundle.load(bundle.folder)


def test_a_file_list_that_leaves_the_folder_is_refused(bundle):
    path = bundle.folder / "manifest.json"
    record = json.loads(path.read_text())
    record["files"] = ["../../etc/passwd"]
    record["seal"] = seal(record)
    path.write_text(json.dumps(record))
    with pytest.raises(InputError, match="plain names"):
        Bundle.load(bundle.folder)


@pytest.mark.parametrize("key", ["lanes", "weight", "overflow"])
def test_a_spec_with_a_wrong_type_is_refused(key):
    record = spec_to_json(SPEC) | {key: None}
    with pytest.raises(InputError, match=f"{key} is None"):
        spec_from_json(record)


def test_missing_folder_and_missing_source_are_named(bundle):
    with pytest.raises(InputError, match=r"holds no manifest\.json"):
        Bundle.load(bundle.folder / "nowhere")
    bundle.sources[0].unlink()
    with pytest.raises(InputError, match=bundle.sources[0].name):
        Bundle.load(bundle.folder)


def test_the_rtl_identity_ignores_comments_only(monkeypatch):
    original = sources_sha256(PLAIN.sources)
    text = source_text("hq_mul.sv")
    for change, same in ((" // why\n", True), ("\nlogic extra;\n", False)):
        monkeypatch.setattr("hw.library.source_text", lambda _, t=text + change: t)
        changed = sources_sha256.__wrapped__(PLAIN.sources)
        monkeypatch.setattr("hw.library.source_text", lambda _: text)
        assert (changed == sources_sha256.__wrapped__(PLAIN.sources)) is same
    monkeypatch.undo()
    assert sources_sha256.__wrapped__(PLAIN.sources) == original


def command(*arguments):
    return subprocess.run(
        [str(Path(sys.executable).with_name("hwquant")), *arguments], capture_output=True, text=True
    )


def test_the_rtl_command_writes_a_loadable_folder(tmp_path):
    out = str(tmp_path / "k")
    options = ["--weight", "e2m1", "--act", "int8", "--lanes", "4", "--length", "64"]
    done = command("rtl", *options, "--acc", "auto", "--overflow", "wrap", "-o", out, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert record["acc_bits"] == Bundle.load(out).spec.accumulator.width
    assert sorted(record["files"]) == sorted(path.name for path in Path(out).iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--weight", "e9m9", "--act", "int8"], "e9m9"),
        (["--weight", "int4", "--act", "int8", "--acc", "wide"], "--acc 'wide'"),
        (["--weight", "int4", "--act", "int8", "--acc", "1"], "acc 1"),
        (["--weight", "int4", "--act", "int8", "--lanes", "0"], "lanes 0"),
        (["--weight", "int4", "--act", "int8", "--lanes", "4", "--length", "3"], "length 3"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(options, said, tmp_path):
    done = command("rtl", *options, "-o", str(tmp_path / "k"))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
