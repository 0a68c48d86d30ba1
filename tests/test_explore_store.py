# SPDX-License-Identifier: Apache-2.0
"""The result store: resume, kill -9, damage, locks, export."""

import csv
import math
import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from costmodel.explore import database, store
from costmodel.explore.store import Status, Store
from hwquant.errors import InputError

POINTS = [
    (f"key{i}", {"weight": f"int{i}", "act": "int8", "steps": ["calibrate"]}) for i in (3, 4, 5)
]


def filled(path):
    with Store(path) as db:
        db.enroll(POINTS)
        db.save("key3", Status.DONE, {"top1": 0.5, "lut_sites": 100}, [{"name": "fc", "acc": 12}])
        db.save("key4", Status.FAILED, {}, error="NaN in weights, layer fc")
    return path


def test_rows_come_back_in_order_with_types(tmp_path):
    path = filled(tmp_path / "r.sqlite")
    rows = store.read(path)
    assert [row.key for row in rows] == ["key3", "key4", "key5"]
    assert [row.status for row in rows] == [Status.DONE, Status.FAILED, Status.WAITING]
    assert rows[0].metrics == {"top1": 0.5, "lut_sites": 100}
    assert rows[0].layers == [{"name": "fc", "acc": 12}]
    assert rows[0].point["steps"] == ["calibrate"]
    assert rows[1].error == "NaN in weights, layer fc"


def test_enrolling_again_keeps_results(tmp_path):
    path = filled(tmp_path / "r.sqlite")
    with Store(path) as db:
        db.enroll(reversed(POINTS))
        rows = db.rows()
    assert [row.key for row in rows] == ["key5", "key4", "key3"]
    assert rows[2].metrics["top1"] == 0.5


def test_enrolling_other_points_drops_the_rest(tmp_path):
    with Store(filled(tmp_path / "r.sqlite")) as db:
        assert db.enroll([("new", {}), POINTS[0]]) == 2
        assert [row.key for row in db.rows()] == ["new", "key3"]


def test_a_finished_store_is_one_plain_file(tmp_path):
    path = filled(tmp_path / "r.sqlite")
    assert {p.name for p in tmp_path.iterdir()} == {"r.sqlite", "r.lock"}
    assert path.read_bytes()[18:20] == b"\x01\x01"  # not WAL: opens from a read-only folder


def test_readers_do_not_wait_for_the_writer(tmp_path):
    path = tmp_path / "r.sqlite"
    with Store(path) as db:
        db.enroll(POINTS)
        db.save("key3", Status.MEASURED, {"top1": 0.25})
        assert store.read(path)[0].metrics == {"top1": 0.25}


def test_kill_nine_keeps_everything_saved_before(tmp_path):
    path = tmp_path / "r.sqlite"
    script = (
        "import sys, time\n"
        "from costmodel.explore.store import Store, Status\n"
        f"db = Store({str(path)!r})\n"
        "db.enroll((f'k{i}', {'i': i}) for i in range(2000))\n"
        "for i in range(2000):\n"
        "    db.save(f'k{i}', Status.DONE, {'top1': i})\n"
        "    print(i, flush=True)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with child.stdout:
        for line in child.stdout:
            if int(line) >= 200:
                break
        os.kill(child.pid, signal.SIGKILL)
    child.wait()
    with Store(path) as db:
        done = [row for row in db.rows() if row.status is Status.DONE]
    assert len(done) >= 201
    assert [row.metrics["top1"] for row in done] == list(range(len(done)))


def test_a_second_writer_is_refused(tmp_path):
    path = filled(tmp_path / "r.sqlite")
    with Store(path), pytest.raises(InputError, match="in use by another run"):
        Store(path)
    Store(path).close()


def test_a_foreign_lock_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    path = filled(tmp_path / "r.sqlite")
    with Store(path) as db:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(InputError, match="locked by another process"):
            db.save("key5", Status.DONE, {})
        other.close()
        db.save("key5", Status.DONE, {})


@pytest.mark.parametrize("damage", ["truncate", "garbage", "other", "version"])
def test_damage_is_one_clear_line(tmp_path, damage):
    path = filled(tmp_path / "r.sqlite")
    whole = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(whole[: len(whole) // 2])
    elif damage == "garbage":
        path.write_bytes(b"not a database at all" * 400)
    elif damage == "other":
        path.unlink()
        sqlite3.connect(path).execute("CREATE TABLE t(a)")
    else:
        sqlite3.connect(path).execute("PRAGMA user_version = 99")
    for use in (store.read, Store):
        with pytest.raises(InputError, match="damaged") as caught:
            use(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_damaged_row_is_noticed(tmp_path):
    path = filled(tmp_path / "r.sqlite")
    with sqlite3.connect(path) as db:
        db.execute("UPDATE points SET metrics = '{\"top1\": ' WHERE key = 'key3'")
    rows = store.read(path)
    for look in (lambda: rows[0], lambda: list(rows), lambda: rows.column("top1")):
        with pytest.raises(InputError, match="damaged"):
            look()
    assert rows[1].key == "key4"


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        store.read(tmp_path / "none.sqlite")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        Store(tmp_path / "file" / "r.sqlite")


def test_unknown_key_and_column(tmp_path):
    path = filled(tmp_path / "r.sqlite")
    with Store(path) as db, pytest.raises(InputError, match="no point has the key"):
        db.save("nope", Status.DONE, {})
    rows = store.read(path)
    with pytest.raises(InputError, match=r"'luts' is unknown, allowed: lut_sites, top1"):
        store.column(rows, "luts")
    values = store.column(rows, "top1")
    assert values[0] == 0.5
    assert all(map(math.isnan, values[1:]))


def test_csv_has_every_column(tmp_path):
    rows = store.read(filled(tmp_path / "r.sqlite"))
    store.to_csv(rows, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open() as file:
        records = list(csv.DictReader(file))
    assert [r["status"] for r in records] == ["done", "failed", "waiting"]
    assert records[0]["lut_sites"] == "100"
    assert records[1]["error"] == "NaN in weights, layer fc"
