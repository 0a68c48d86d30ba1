# SPDX-License-Identifier: Apache-2.0
"""The published study on a tiny network, and the tables of its page."""

from __future__ import annotations

import doctest
import json

import pytest

from costmodel.explore.mixed import budget, gain, page, thin
from costmodel.explore.mixed.study import DROP, Setting, as_many, run


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    setting = Setting(
        "zoo:digits_mlp",
        weights=("int3", "e2m1", "int8"),
        acts=("int4", "int8"),
        calib_items=48,
        test_from=100,
        test_items=200,
        exact_points=6,
        trials=6,
        draws=50,
    )
    journal = tmp_path_factory.mktemp("study") / "a.journal"
    return setting, journal, run(setting, journal)


def test_a_study_resumes_to_the_same_record(case):
    setting, journal, record = case
    assert run(setting, journal) == record
    assert json.loads(json.dumps(record)) == json.loads(json.dumps(run(setting, journal)))


def test_the_record_says_what_was_compared(case):
    setting, _, record = case
    fronts, axis = record["fronts"], setting.axis
    assert record["networks"]["uniform"] == 6 + 5  # with and without 8-bit ends
    dearest = record["reference"]["cost"]
    assert record["reference"]["accuracy"] == pytest.approx(record["float_top1"] - DROP)
    for name in ("exact", "mixed"):
        assert len(fronts[name]) <= len(fronts["uniform"])
        assert all(row[axis] <= dearest for row in fronts[name])
    for rows in fronts.values():
        assert [row["loss"] for row in rows] == sorted((r["loss"] for r in rows), reverse=True)
        assert [row[axis] for row in rows] == sorted(row[axis] for row in rows)
    uniform = [set(row["formats"]) for row in fronts["uniform"]]
    assert all(len(formats) <= 2 for formats in uniform)
    assert any(len(set(row["formats"])) > 2 for row in fronts["exact"])  # something is mixed
    for found in record["gains"].values():
        assert found["low"] <= found["high"]
        assert found["gain"] == pytest.approx(found["second"] - found["first"])


def test_as_many_points_none_dearer():
    class Point:
        def __init__(self, cost, loss):
            self.costs, self.loss = {"c": cost}, loss

    uniform = [Point(2, 0.9), Point(6, 0.2)]
    mixed = [Point(c, 1 / c) for c in range(1, 9)]
    kept = as_many(uniform, mixed, "c")
    assert [point.costs["c"] for point in kept] == [1, 6]


def test_tables_show_the_record(case, tmp_path):
    _, _, record = case
    given = {"digits_mlp": record}
    table = page.gains_table(given).splitlines()
    assert len(table) == 2 + 4
    assert all(line.count("|") == 9 for line in table)
    fronts = page.fronts_table(record).splitlines()
    rows = record["fronts"]
    assert len(fronts) == 2 + len(rows["uniform"]) + len(rows["mixed"])
    assert "ends int8/int8" in "\n".join(fronts)
    page.draw(given, tmp_path / "a.png")
    first = (tmp_path / "a.png").read_bytes()
    page.draw(given, tmp_path / "b.png")
    assert first == (tmp_path / "b.png").read_bytes()
    other = json.loads(json.dumps(record))
    other["fronts"]["mixed"][0]["top1"] = 0.5  # negative control
    page.draw({"digits_mlp": other}, tmp_path / "c.png")
    assert first != (tmp_path / "c.png").read_bytes()


@pytest.mark.parametrize("module", [budget, gain, thin])
def test_docstrings(module):
    result = doctest.testmod(module)
    assert result.attempted
    assert result.failed == 0
