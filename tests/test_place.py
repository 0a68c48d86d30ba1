# SPDX-License-Identifier: Apache-2.0
"""Placed and routed: ECP5 through nextpnr, and Vivado's reports read back."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from costmodel.commands import cost
from costmodel.place import ecp5, points, vivado
from costmodel.place.plan import jobs
from costmodel.place.probe import probe_flip_flops, probe_text
from costmodel.place.vivado_price import find_point, read_points
from hw.generate import kernel_ports
from hw.netlist import kernel_sources
from hw.yosys import run
from hwquant.errors import InputError, SpecError, ToolError
from hwquant.mac import MacSpec

SPEC = MacSpec("e2m1", "e2m1", length=256, acc=17)
PART = "xczu3eg-sbva484-1-e"

# Written from the layout that UG906 documents; not the output of a run.
UTILIZATION = """\
| Tool Version : Vivado v.2024.1 (lin64) Build 5076996
| Device       : xczu3eg-sbva484-1-e
| Design State : Routed

1. CLB Logic
------------

+----------------------------+------+-------+------------+-----------+-------+
|          Site Type         | Used | Fixed | Prohibited | Available | Util% |
+----------------------------+------+-------+------------+-----------+-------+
| CLB LUTs                   |   29 |     0 |          0 |     70560 |  0.04 |
|   LUT as Logic             |   23 |     0 |          0 |     70560 |  0.03 |
|   LUT as Memory            |    6 |     0 |          0 |     28800 |  0.02 |
| CLB Registers              |   90 |     0 |          0 |    141120 |  0.06 |
| CARRY8                     |    3 |     0 |          0 |      8820 |  0.03 |
| Block RAM Tile             |  0.5 |     0 |          0 |       216 |  0.23 |
| DSPs                       |    1 |     0 |          0 |       360 |  0.28 |
+----------------------------+------+-------+------------+-----------+-------+
"""
TIMING = """\
| Design Timing Summary
| ---------------------
------------------------------------------------------------------------------------------------

    WNS(ns)      TNS(ns)  TNS Failing Endpoints  TNS Total Endpoints      WHS(ns)      THS(ns)
    -------      -------  ---------------------  -------------------      -------      -------
     -0.125       -0.250                      2                   61        0.045        0.000

| Clock Summary
| -------------

Clock  Waveform(ns)       Period(ns)      Frequency(MHz)
-----  ------------       ----------      --------------
clk    {0.000 1.250}      2.500           400.000
"""


# --- ECP5 -------------------------------------------------------------------------------------


def test_the_committed_points_are_the_planned_ones_of_the_present_rtl():
    found = points.committed()
    wanted = {(spec, style, dsp) for spec, style, dsp in jobs()}
    assert {(point.spec, point.style, point.dsp_allowed) for point in found} == wanted
    assert len(found) >= 60
    assert all(len(point.placed.seeds) >= 3 for point in found)
    assert len({point.style for point in found}) >= 5
    assert all(20 < clock < 500 for point in found for clock in point.placed.fmax_mhz)


def test_a_committed_point_is_reproduced_exactly():
    for style in ("table_portable", "plain"):
        point = next(p for p in points.committed() if p.spec == SPEC and p.style == style)
        seeds = point.placed.seeds[:1]
        again = ecp5.place(SPEC, style, seeds=seeds)
        expected = replace(point.placed, seeds=seeds, fmax_mhz=point.placed.fmax_mhz[:1])
        assert point.flow == ecp5.ecp5_flow()
        assert again == expected


def test_another_kernel_gives_another_result():
    """Negative control: equality above is not for want of sensitivity."""
    wider = replace(SPEC, acc=20)
    assert ecp5.place(wider, seeds=(1,)).lut4 > ecp5.place(SPEC, seeds=(1,)).lut4
    assert ecp5.place(SPEC, seeds=(1,)).fmax_mhz != ecp5.place(SPEC, seeds=(2,)).fmax_mhz


def test_multipliers_are_used_only_where_allowed():
    spec = MacSpec("int8", "int8", length=256, acc=24)
    with_dsp, without = (ecp5.place(spec, dsp=dsp, seeds=(1,)) for dsp in (True, False))
    assert (with_dsp.dsp, without.dsp) == (1, 0)
    assert with_dsp.lut4 < without.lut4


def test_the_probe_adds_exactly_its_flip_flops():
    sources = kernel_sources(SPEC, "kernel", "plain")
    ports = kernel_ports(SPEC)

    def flip_flops(top: str, files: dict[str, str]) -> int:
        script = (
            f"read_verilog -sv {' '.join(files)}\n"
            f"synth_ecp5 -top {top} -noflatten -json out.json\nflatten\nwrite_json out.json\n"
        )
        cells = json.loads(run(script, files, "out.json"))["modules"][top]["cells"]
        return Counter(cell["type"] for cell in cells.values())["TRELLIS_FF"]

    alone = flip_flops("kernel", sources)
    probed = flip_flops("probe", {**sources, "probe.sv": probe_text("kernel", ports)})
    assert probed - alone == probe_flip_flops(ports) > 0


def test_a_style_of_another_vendor_is_refused():
    with pytest.raises(SpecError, match=r"style table instantiates .*allowed here: plain"):
        ecp5.place(SPEC, "table")
    with pytest.raises(SpecError, match="no seed"):
        ecp5.place(SPEC, seeds=())


def test_a_missing_nextpnr_is_said_with_the_remedy(monkeypatch):
    monkeypatch.setattr(ecp5, "PROGRAM", "no-such-nextpnr")
    with pytest.raises(ToolError, match=r"missing; install it with: pip install 'hwquant\[ecp5\]'"):
        ecp5.place(SPEC)


def test_points_survive_a_file_and_bad_files_are_refused(tmp_path):
    some = points.committed()[:3]
    points.write(some, tmp_path / "p.csv")
    text = (tmp_path / "p.csv").read_text()
    assert points.read(text) == some
    with pytest.raises(InputError, match=r"p.csv, line 2 .*write the file with"):
        points.read(text.replace(str(some[0].spec.weight), "e9q9", 1), "p.csv")
    with pytest.raises(InputError, match="no column lut4"):
        points.read(text.replace("lut4", "luts", 1), "p.csv")
    changed = replace(some[0], rtl_sha256="0" * 64)
    assert some[0].current
    assert not changed.current


# --- Vivado -----------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path):
    """A folder in which Vivado seems to have run."""
    spec = MacSpec("e2m1", "e2m1", length=256)
    folder = vivado.write_project(spec, tmp_path / "p", style="table", part=PART, clock_mhz=400)
    (folder / "utilization.rpt").write_text(UTILIZATION)
    (folder / "timing.rpt").write_text(TIMING)
    return folder


def test_reports_become_a_point(project):
    point = vivado.read_project(project)
    spec = MacSpec("e2m1", "e2m1", length=256)
    assert (point.lut, point.lut_logic, point.lut_memory, point.carry, point.dsp) == (
        29,
        23,
        6,
        3,
        1,
    )
    assert point.ff == 90 - probe_flip_flops(kernel_ports(spec, "table"))
    assert (point.bram36, point.uram) == (0.5, 0)
    assert (point.period_ns, point.wns_ns, point.fmax_mhz) == (2.5, -0.125, 381.0)
    assert (point.style, point.acc_bits) == ("table", spec.accumulator.width)
    assert point.tool.startswith("Vivado v.2024.1")


def test_points_are_collected_once_each(project, tmp_path):
    point = vivado.read_project(project)
    target = tmp_path / "points.csv"
    assert vivado.append(point, target) == 1
    assert vivado.append(replace(point, lut=30), target) == 1
    assert vivado.append(replace(point, style="plain"), target) == 2
    assert ",30," in target.read_text()
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a file of Vivado points"):
        vivado.append(point, tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("utilization.rpt", "CLB LUTs ", "CLB cells", "no row CLB LUTs or Slice LUTs"),
        ("utilization.rpt", ": Routed", ": Synthesized", "design state 'Synthesized', needed"),
        ("utilization.rpt", "xczu3eg", "xcvu9p", "is of part xcvu9p"),
        ("timing.rpt", "-0.125", "NA", "WNS NA"),
        ("timing.rpt", "WNS(ns)", "slack", "no design timing summary"),
        ("timing.rpt", "clk    {", "clk    [", "lists 0 clocks"),
        ("kernel.json", '"spec"', '"spec', "is damaged"),
    ],
)
def test_reports_that_do_not_fit_are_refused(project, file, old, new, message):
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    with pytest.raises(InputError, match=re.escape(message)):
        vivado.read_project(project)


def test_a_report_cut_short_is_refused(project):
    for cut in range(0, len(TIMING), 40):
        (project / "timing.rpt").write_text(TIMING[:cut])
        try:
            point = vivado.read_project(project)
        except InputError:
            continue
        assert (point.period_ns, point.wns_ns) == (2.5, -0.125)
    (project / "timing.rpt").unlink()
    with pytest.raises(InputError, match=r"run: vivado -mode batch -source run.tcl"):
        vivado.read_project(project)


def test_the_other_families_rows_are_understood():
    seven = UTILIZATION.replace("CLB LUTs  ", "Slice LUTs*").replace("CLB Reg", "Slice Reg")
    counts = vivado.parse_utilization(seven.replace("CARRY8", "CARRY4"))
    assert counts["lut"] == 29
    assert counts["ff"] == 90
    assert counts["carry"] == 3


def test_the_script_names_files_that_are_there(project):
    script = (project / "run.tcl").read_text()
    named = re.search(r"read_verilog -sv \{(.+)\}", script)[1].split()
    assert all((project / name).is_file() for name in named)
    assert f"-part {PART} -mode out_of_context" in script
    assert "-period 2.500" in script


@pytest.mark.parametrize(("part", "clock"), [("a; exit", 400.0), (PART, 0.0), (PART, 1e6)])
def test_bad_parts_and_clocks_are_refused(part, clock, tmp_path):
    with pytest.raises(SpecError, match="allowed"):
        vivado.write_project(SPEC, tmp_path / "p", part=part, clock_mhz=clock)
    assert not (tmp_path / "p").exists()


# --- Vivado's points as prices ------------------------------------------------------------------


TABLE = ("--weight", "e2m1", "--act", "e2m1", "--length", "256", "--style", "table")


def priced(*arguments):
    """Return the record of ``hwquant cost``; errors pass through."""
    done = CliRunner().invoke(cost, [str(argument) for argument in (*arguments, "--json")])
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout)


@pytest.fixture
def collected(project, tmp_path):
    """A file with one point, as hwquant place --into writes it."""
    target = tmp_path / "points.csv"
    vivado.append(vivado.read_project(project), target)
    return target


def test_points_are_read_back_as_written(project, collected):
    assert read_points(collected) == (vivado.read_project(project),)


def test_cost_takes_the_point_of_the_same_kernel(collected):
    found = priced(*TABLE, "--points", collected)
    point = read_points(collected)[0]
    assert (found["source"], found["style"]) == ("vivado", "table")
    assert (found["lut_sites"], found["lutram"], found["ff"]) == (23, 6, point.ff)
    assert (found["fmax_mhz"], found["wns_ns"]) == (381.0, -0.125)
    assert found["flow"].startswith("Vivado v.2024.1 (lin64)")
    assert f"{PART}, out of context, routed" in found["flow"]
    assert "lut_raw" not in found
    ranged = priced(*TABLE, "--points", collected, "--interval", "0.9", "--part", "ZU3EG")
    assert ranged["lut_sites"]["low"] == ranged["lut_sites"]["high"] == 23
    assert ranged["utilisation_percent"]["lut"] == pytest.approx(100 * 29 / 70560, abs=0.01)


@pytest.mark.parametrize(
    "change",
    [("--acc", "20"), ("--weight", "e1m2"), ("--style", "plain"), ("--part", "VC1902")],
)
def test_cost_of_another_kernel_or_part_is_what_it_was(collected, change):
    """Negative control: only the same hardware on the part asked for is that point."""
    found = priced(*TABLE, *change, "--points", collected)
    assert found["source"] in ("measured", "formula")
    assert found == priced(*TABLE, *change)


def test_several_parts_need_a_choice(collected):
    point = read_points(collected)[0]
    vivado.append(replace(point, part="xc7a35tcpg236-1", lut=41), collected)
    with pytest.raises(InputError, match=r"several parts, xc7a35tcpg236-1, .*choose: --part"):
        priced(*TABLE, "--points", collected)
    found = priced(*TABLE, "--points", collected, "--part", "A35T")
    assert found["lut_sites"] + found["lutram"] == 41


def test_a_point_of_old_rtl_is_left_out_and_named(collected, capsys):
    (point,) = read_points(collected)
    stale = (replace(point, rtl_sha256="0" * 64),)
    spec = MacSpec("e2m1", "e2m1", length=256, acc=point.acc_bits)
    assert find_point((point,), spec, "table") == point
    assert find_point(stale, spec, "table") is None
    assert "the RTL of table changed since Vivado ran" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight,act", "w,a", "not a file of Vivado points"),
        ("e2m1", "e2m", "line 2, is damaged"),
        (",2.5,", ",fast,", "line 2, is damaged"),
    ],
)
def test_damaged_points_are_refused(collected, old, new, message):
    text = collected.read_text()
    assert old in text
    collected.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=message):
        priced(*TABLE, "--points", collected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*TABLE, "--synth"), "--points and --synth"),
        (("--weight", "mxfp4", "--act", "mxfp4"), "--points is for kernels of one scale"),
        (("--tile", "lut", "--weight", "int4", "--act", "int4"), "--points cannot go with --tile"),
        (("net.onnx",), "--points cannot go with net.onnx"),
    ],
)
def test_points_go_with_one_kernel(collected, arguments, message):
    with pytest.raises(InputError, match=message):
        priced(*arguments, "--points", collected)
    with pytest.raises(InputError, match=r"cannot be read; write it with hwquant place"):
        priced(*TABLE, "--points", collected.parent / "none.csv")
