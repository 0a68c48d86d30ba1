# SPDX-License-Identifier: Apache-2.0
"""The price of a kernel: stored measurements, synthesis, and the cost command."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from costmodel import kernel, measurements
from costmodel.characterize import characterize
from costmodel.kernel import estimate
from costmodel.measurements import identity
from costmodel.plan import planned, standard_specs
from hw.yosys import flow
from hwquant.errors import InputError, SpecError
from hwquant.mac import MacSpec

MEASURED = MacSpec("e2m1", "e2m1", length=256)
KEYS = {"lut_sites", "lut_raw", "lutram", "ff", "dsp", "carry", "style", "source", "flow"}


def stored_rows():
    text = files("costmodel").joinpath("data", "characterization.csv").read_text()
    return list(csv.DictReader(io.StringIO(text)))


def test_the_stored_measurements_are_those_of_the_present_rtl():
    """If this fails, an RTL block changed: run hwquant characterize again (docs/kernels.md)."""
    rows = measurements.read(
        files("costmodel").joinpath("data", "characterization.csv").read_text()
    )
    assert len(rows) > 200
    assert [row for row in rows if not row.current] == []
    stored = {identity(row.spec, row.style) for row in rows}
    assert len(stored) == len(rows)
    assert stored <= {identity(spec, style) for spec, style in planned()}
    assert {identity(spec, "plain") for spec in standard_specs()} <= stored


def test_every_standard_kernel_is_measured():
    for spec in standard_specs():
        cost = estimate(spec)
        assert (cost.source, cost.style) == ("measured", "plain")
        assert "Yosys" in cost.flow


@pytest.mark.synth
@pytest.mark.parametrize("weight", ["int4", "e2m1"])
def test_a_stored_measurement_equals_synthesis_now(weight):
    spec = MacSpec(weight, weight, length=256)
    again = estimate(spec, synth=True)
    stored = estimate(spec)
    assert (again.source, again.flow) == ("synthesis", flow())
    # Another version of Yosys may count otherwise, and then says so.
    assert again.resources == stored.resources or again.flow != stored.flow


def test_the_table_in_the_docs_is_the_stored_one():
    text = (Path(__file__).parents[1] / "docs" / "kernels.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    assert len(rows) >= 10
    stored = {
        (row["weight"], row["act"]): row
        for row in reversed(stored_rows())
        if (row["style"], row["lanes"], row["overflow"]) == ("plain", "1", "wrap")
    }
    for name, *figures in rows:
        row = stored[name, name]
        assert figures == [row[key] for key in ("acc_bits", "lut_sites", "lut_raw", "ff")]


def test_formats_that_mean_the_same_hardware_share_a_measurement():
    width = MacSpec("e4m3", "e4m3", length=256).accumulator.width
    for name in ("e4m3b2", "e4m3fn"):
        twin = estimate(MacSpec(name, name, length=256, acc=width))
        assert twin == estimate(MacSpec("e4m3", "e4m3", length=256))


def test_length_matters_only_through_the_accumulator():
    width = MEASURED.accumulator.width
    assert estimate(MacSpec("e2m1", "e2m1", length=7, acc=width)) == estimate(MEASURED)


@pytest.mark.parametrize("change", [{"lanes": 3}, {"acc": 30}, {"overflow": "saturate"}])
def test_other_hardware_is_not_found_among_the_measurements(change):
    spec = MacSpec("e2m1", "e2m1", **{"length": 256, **change})
    assert identity(spec, "plain") not in kernel._measured()
    assert estimate(spec).source == "formula"


def test_measurements_of_another_rtl_are_not_used(monkeypatch):
    """Negative control: after an edit of the RTL no stored figure may be shown."""
    monkeypatch.setattr(measurements.catalogue, "sources_sha256", lambda _: "0" * 64)
    monkeypatch.setattr(measurements.catalogue, "rows", lambda: ())
    assert measurements.measurements.__wrapped__() == ()


def test_a_record_round_trips():
    cost = estimate(MEASURED)
    assert set(cost.to_json()) == KEYS
    assert kernel.KernelCost.from_json(json.loads(json.dumps(cost.to_json()))) == cost


@pytest.mark.synth
def test_characterize_writes_what_estimate_reads(tmp_path):
    path = tmp_path / "kernels.csv"
    assert characterize([(MEASURED, "plain")], path) == []
    (row,) = csv.DictReader(path.open())
    clock = ("path_ps", "logic_levels")
    same = [
        {name: value for name, value in known.items() if name not in clock}
        for known in (row, *stored_rows())
    ]
    assert same[0] in same[1:]
    assert [child.name for child in tmp_path.iterdir()] == ["kernels.csv"]


@pytest.mark.synth
def test_characterize_goes_on_where_it_was(tmp_path, monkeypatch):
    path = tmp_path / "kernels.csv"
    characterize([(MEASURED, "plain")], path)
    monkeypatch.setattr("costmodel.characterize.measure", None)  # nothing is synthesized again
    assert characterize([(MEASURED, "plain")], path) == []
    assert len(measurements.read(path.read_text())) == 1


def test_characterize_leaves_a_foreign_file_alone(tmp_path):
    path = tmp_path / "notes.csv"
    for text in ("precious\n", "a,b\n1,2\n", "weight,act\nint8,int8\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="no characterization"):
            characterize([(MEASURED, "plain")], path)
        assert path.read_text() == text


def test_characterize_says_what_failed(tmp_path):
    path = tmp_path / "kernels.csv"
    with pytest.raises(SpecError, match="table cannot do"):
        characterize([(MacSpec("int8", "int8"), "table")], path)


@pytest.mark.parametrize(
    ("jobs", "text", "said"),
    [(1, None, "no kernels"), (0, None, "jobs 0"), (1, "weight,act\nint4,int4\n", "no charact")],
)
def test_characterize_refuses_bad_input(tmp_path, jobs, text, said):
    path = tmp_path / "kernels.csv"
    if text is not None:
        path.write_text(text)
    kernels = [] if said == "no kernels" else [(MEASURED, "plain")]
    with pytest.raises(InputError, match=said):
        characterize(kernels, path, jobs=jobs)


def test_the_ranking_of_formats_at_equal_width_is_as_expected():
    sites = {
        name: estimate(MacSpec(name, name, length=256)).resources.lut_sites
        for name in ("e2m1", "int4", "e4m3", "int8", "e5m2", "e7m0")
    }
    assert sites["e2m1"] < sites["int4"] < sites["e4m3"] < sites["e5m2"] < sites["e7m0"]


def command(*arguments):
    return subprocess.run(
        [str(Path(sys.executable).with_name("hwquant")), "cost", *arguments],
        capture_output=True,
        text=True,
    )


def test_the_command_prints_the_contract():
    done = command("--weight", "e2m1", "--act", "e2m1", "--length", "256", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    assert set(record) >= KEYS
    assert {key: record[key] for key in KEYS} == estimate(MEASURED).to_json()


@pytest.mark.synth
def test_the_command_synthesizes_on_request():
    done = command("--weight", "e2m1", "--act", "e2m1", "--length", "256", "--synth")
    assert done.returncode == 0
    assert re.search(r"^source +synthesis$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing to price"),
        (["--weight", "int4"], "nothing to price"),
        (["--weight", "int99", "--act", "int4"], "int99"),
        (["--weight", "int4", "--act", "int4", "--lanes", "-1"], "lanes -1"),
        (["--weight", "int4", "--act", "int4", "--acc", "2000"], "acc 2000"),
        (["--weight", "int4", "missing.onnx"], "--weight cannot go with missing.onnx"),
        (["missing.onnx"], "missing.onnx"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(options, said):
    done = command(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_impossible_spec_is_refused():
    with pytest.raises(SpecError, match="lanes 0"):
        estimate(MacSpec("int4", "int4", lanes=0))
