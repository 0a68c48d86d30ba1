# SPDX-License-Identifier: Apache-2.0
"""Runs in Python: lazy rows, fronts, picks, tables in every format, the notebook's view."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import cheap_sweep
import pandas as pd
import pyarrow.parquet
import pytest

from costmodel.explore import folder, rows, table
from costmodel.explore import sweep as driver
from costmodel.explore.pareto import front as reference_front
from costmodel.explore.results import Results, load, sweep
from costmodel.explore.space import Space, coordinates
from costmodel.explore.store import Status, Store, read
from hwquant.errors import InputError

COMMAND = str(Path(sys.executable).with_name("hwquant"))
SPACE = Space(
    model="zoo:digits_mlp",
    weights=tuple(f"e{e}m{m}" for e in (1, 2, 3) for m in (1, 2, 3)),
    acts=("same", "int4", "int8"),
)


@pytest.fixture
def run(tmp_path):
    """A run of 27 points: one failed, one still measured, the rest done."""
    made = folder.prepare(tmp_path / "run", SPACE)
    points = [(f"{k:040x}", coordinates(recipe)) for k, recipe in enumerate(SPACE.points())]
    with Store(made.store) as store:
        store.enroll(points)
        for k, (key, _) in enumerate(points):
            metrics = {"top1": (k * 7 % 27) / 27, "lut_sites": 100 + k * 5 % 27, "acc_bits": k}
            metrics |= {"float_top1": 1.0, "test_items": 360, "flow": "a stand-in"}
            store.save(key, Status.DONE, metrics, [{"name": "fc", "acc_bits": k}])
        store.save(points[3][0], Status.FAILED, {}, error="no <memory>")
        store.save(points[4][0], Status.MEASURED, {"top1": 0.5})
    return made.root


@pytest.fixture
def seen(monkeypatch):
    """What SQLite was asked while a test looked at a store."""
    said = []
    original = rows.reader.__wrapped__

    from contextlib import contextmanager

    @contextmanager
    def traced(path):
        with contextmanager(original)(path) as connection:
            connection.set_trace_callback(said.append)
            yield connection

    monkeypatch.setattr(rows, "reader", traced)
    return said


def test_front_and_pick_equal_the_definitions(run):
    results = load(run)
    assert (len(results), len(results.done), len(results.failed)) == (27, 25, 1)
    done = [row for row in results if row.status is Status.DONE]
    values = [[row.metrics["lut_sites"], row.metrics["top1"]] for row in done]
    mask = reference_front(values, ["min", "max"])
    expected = sorted((v[0], row.key) for v, row, on in zip(values, done, mask, strict=True) if on)
    front = results.front("lut_sites", "top1")
    assert [(row.metrics["lut_sites"], row.key) for row in front] == expected
    best = max(done, key=lambda row: row.metrics["top1"])
    assert results.pick("best") == best
    bounded = results.pick("max top1 where lut_sites<=110")
    assert bounded.metrics["top1"] == max(v[1] for v in values if v[0] <= 110)
    assert results.failed[0].error == "no <memory>"
    with pytest.raises(InputError, match="'luts' is unknown"):
        results.front("luts", "top1")
    with pytest.raises(InputError, match="holds no run"):
        load(run.parent)


def test_the_command_gives_the_same(run, tmp_path):
    files = [tmp_path / f"t{suffix}" for suffix in (".csv", ".json", ".parquet")]
    for file in files:
        call = [COMMAND, "pareto", str(run), "--table", str(file), "--json"]
        done = subprocess.run(call, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    front = load(run).front()
    assert [line["key"] for line in found["front"]] == [row.key for row in front]
    assert found["pick"]["key"] == load(run).pick("knee").key
    assert json.loads(files[1].read_text()) == load(run).to_records()
    bad = [COMMAND, "pareto", str(run), "--table", str(tmp_path / "t.xls")]
    done = subprocess.run(bad, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert ".csv, .json, .parquet" in done.stderr


def test_a_sweep_in_python_is_the_command(tmp_path, monkeypatch):
    """Cheap jobs, the real cluster, store and page; then the command finds all of it done."""
    monkeypatch.setattr(driver, "measure", cheap_sweep.measure)
    monkeypatch.setattr(driver, "price_kernel", cheap_sweep.price_kernel)
    monkeypatch.setenv(cheap_sweep.LOG, str(tmp_path / "log"))
    monkeypatch.setenv("HWQUANT_CACHE", str(tmp_path / "cache"))
    given = {"weights": ["int4", "e2m1"], "acts": ["same"], "lanes": 1, "folding": "shared"}
    results = sweep("zoo:digits_mlp", tmp_path / "run", workers=1, **given)
    assert [row.status for row in results] == [Status.DONE] * 2
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"report.html", "pareto.svg"}
    assert cheap_sweep.runs(tmp_path / "log").total() == 2
    space = tmp_path / "space.toml"
    space.write_text('model = "zoo:digits_mlp"\nweights = ["int4", "e2m1"]\nlanes = 8\n')
    again = sweep(space, tmp_path / "run", acts=["same"], lanes=1, folding="shared")
    assert again.to_records() == results.to_records() == load(tmp_path / "run").to_records()
    assert len(sweep(results.space, tmp_path / "run")) == 2
    with pytest.raises(InputError, match="holds another run"):
        sweep(results.space, tmp_path / "run", seed=1)
    call = [COMMAND, "sweep", "zoo:digits_mlp", "--weights", "int4,e2m1", "--acts", "same"]
    call += ["--lanes", "1", "--folding", "shared", "-o", str(tmp_path / "run")]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "2 of 2 points are known already" in done.stderr
    assert cheap_sweep.runs(tmp_path / "log").total() == 2


def test_every_table_holds_the_same(run, tmp_path):
    results = load(run)
    records = results.to_records()
    results.to_csv(tmp_path / "t.csv")
    results.to_json(tmp_path / "t.json")
    results.to_parquet(tmp_path / "t.parquet")
    with (tmp_path / "t.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [{k: v for k, v in line.items() if v} for line in lines] == [
        {k: str(v) for k, v in record.items()} for record in records
    ]
    assert json.loads((tmp_path / "t.json").read_text()) == records
    parquet = pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist()
    assert [{k: v for k, v in line.items() if v is not None} for line in parquet] == records
    frame = results.to_dataframe()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame["key"]) == [record["key"] for record in records]
    assert frame["top1"].dropna().tolist() == [r["top1"] for r in records if "top1" in r]


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [("pandas", "to_dataframe", "dataframe"), ("pyarrow", "to_parquet", "parquet")],
)
def test_without_an_extra_one_line_says_so(run, tmp_path, monkeypatch, module, call, extra):
    monkeypatch.setitem(sys.modules, module, None)
    results = load(run)
    arguments = [tmp_path / "t.parquet"] if call == "to_parquet" else []
    with pytest.raises(
        InputError, match=rf"{module} is not installed; pip install 'hwquant\[{extra}\]'"
    ):
        getattr(results, call)(*arguments)
    assert not (tmp_path / "t.parquet").exists()


def test_a_notebook_shows_the_front(run):
    html = load(run)._repr_html_()
    assert f"25 points of {load(run).folder.root} done, 1 measured, 1 failed<" in html
    assert "<svg" in html
    for banned in ("<script", "http://", "https://", "src="):
        assert banned not in html
    results = load(run)
    assert "<svg" not in Results(results.folder, results.space, results.rows[:0])._repr_html_()


def test_importing_is_light():
    code = (
        "import sys, costmodel.explore.results\n"
        "heavy = {'torch', 'pandas', 'pyarrow', 'matplotlib', 'distributed', 'scipy'}\n"
        "raise SystemExit(', '.join(heavy & set(sys.modules)) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_opening_and_a_front_read_no_rows(run, seen):
    """The trace is the oracle: no query of the store touches layers, or rows beyond the chosen."""
    results = load(run)
    assert len(results) == 27
    assert [text for text in seen if "points" in text] == [
        "SELECT key FROM points ORDER BY ordinal, key"
    ]
    seen.clear()
    key = results.pick("knee").key
    whole = [text for text in seen if text.startswith("SELECT * ")]
    assert whole == [f"SELECT * FROM points WHERE key IN ('{key}')"]  # noqa: S608
    assert not [text for text in seen if "layers" in text]
    seen.clear()
    first, *_ = results  # control: looking at all of them is seen
    assert [text.count("'0") for text in seen if text.startswith("SELECT * ")] == [27]
    assert first.layers == [{"name": "fc", "acc_bits": 0}]
    assert "FROM layers" in seen[-1]


def test_rows_are_a_sequence(run):
    found = read(run / "results.sqlite")
    listed = list(found)
    assert [row.key for row in found[2:5]] == [row.key for row in listed[2:5]]
    assert found[-1] == listed[-1]
    assert list(found.at([5, 2])) == [listed[5], listed[2]]
    assert rows.keys_of(found) == tuple(rows.keys_of(listed))
    assert rows.numeric_columns(found) == rows.numeric_columns(listed)
    for name in ("top1", "acc_bits"):
        both = (rows.column(found, name), rows.column(listed, name))
        assert str(both[0]) == str(both[1])  # NaN where it is not known
    assert [row.key for row in rows.only(found, Status.DONE)] == [
        row.key for row in rows.only(listed, Status.DONE)
    ]
    assert table.table(found) == table.table(listed)
    with Store(run / "results.sqlite") as store:
        store.enroll([("new", {})])
    with pytest.raises(InputError, match="changed by another run"):
        found[0]


def test_not_a_number_is_stored_as_not_known(tmp_path):
    with Store(tmp_path / "r.sqlite") as store:
        store.enroll([("a", {}), ("b", {})])
        store.save("a", Status.DONE, {"x": float("nan"), "y": float("inf"), "z": 1.5})
        store.save("b", Status.DONE, {"x": 2.0})
        assert store.rows()[0].metrics == {"x": None, "y": None, "z": 1.5}
        assert str(store.rows().column("x")) == "[nan, 2.0]"


def test_a_sweep_names_what_it_does_not_know(tmp_path):
    with pytest.raises(InputError, match="'foo' is unknown, allowed: model"):
        sweep("zoo:digits_mlp", tmp_path / "r", foo=3)
    with pytest.raises(InputError, match="space 3, allowed"):
        sweep(3, tmp_path / "r")
    assert not (tmp_path / "r").exists()
