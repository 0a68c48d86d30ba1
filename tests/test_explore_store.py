# SPDX-License-Identifier: Apache-2.0
"""The result store: resume, kill -9, damage, locks, export."""

import csv
import math
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


KILLED = """
import os, random, sys
from costmodel.explore import store
from costmodel.explore.store import Status, Store
store.JOURNAL_BYTES = int(sys.argv[2])
db = Store(sys.argv[1])
db.enroll((f"k{i}", {"i": i}) for i in range(50))
rng = random.Random(0)
for n in range(200):
    pad = "x" * rng.randrange(5000)
    db.save(f"k{rng.randrange(50)}", Status.DONE, {"n": n}, [{"n": n, "pad": pad}])
os.kill(os.getpid(), 9)
"""


def killed(path, journal_bytes):
    """Return a store whose writer ended by kill -9, with its journal beside it."""
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(journal_bytes)])
    assert done.returncode == -signal.SIGKILL
    return path


def test_a_long_journal_is_folded_into_the_file(tmp_path):
    sizes, states = {}, {}
    for limit in (64 << 10, 64 << 20):
        path = killed(tmp_path / f"{limit}.sqlite", limit)
        sizes[limit] = Path(f"{path}-wal").stat().st_size
        states[limit] = [(row.key, row.metrics, list(row.layers)) for row in store.read(path)]
        Path(f"{path}-wal").unlink()
        Path(f"{path}-shm").unlink()
    assert sizes[64 << 10] < 200 << 10 < 1 << 20 < sizes[64 << 20]
    assert states[64 << 10] == states[64 << 20]
    # Without the journal the folded file still knows almost all, the other one nothing.
    assert len(store.read(tmp_path / f"{64 << 10}.sqlite").only(Status.DONE)) > 40
    assert len(store.read(tmp_path / f"{64 << 20}.sqlite")) == 0


def test_a_reader_that_stays_does_not_stop_the_writer(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "JOURNAL_BYTES", 4096)
    path = tmp_path / "r.sqlite"
    with Store(path) as db:
        db.enroll(POINTS)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM points").fetchall()
        for n in range(20):
            db.save("key3", Status.DONE, {"n": n})
        assert db.rows()[0].metrics == {"n": 19}
        assert other.execute("SELECT metrics FROM points WHERE key = 'key3'").fetchone() == ("{}",)
        other.close()
        db.save("key4", Status.DONE, {"n": 20})
    assert [row.metrics.get("n") for row in store.read(path)] == [19, 20, None]


def test_killed_at_any_moment_of_the_start(tmp_path):
    """Stores are made one after the other until the kill; the last one opens, whatever it is."""
    script = (
        "import sys\nfrom costmodel.explore.store import Store\nprint('go', flush=True)\n"
        "for i in range(100000):\n"
        "    with Store(f'{sys.argv[1]}/{i}/r.sqlite') as db:\n"
        "        db.enroll([('a', {}), ('b', {})])\n"
    )
    for attempt in range(6):
        root = tmp_path / str(attempt)
        call = [sys.executable, "-c", script, str(root)]
        child = subprocess.Popen(call, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "go\n"
        time.sleep(0.05 + 0.013 * attempt)
        child.kill()
        child.wait()
        child.stdout.close()
        made = sorted(root.iterdir(), key=lambda folder: int(folder.name))
        for folder in made[-2:]:
            with Store(folder / "r.sqlite") as db:
                assert len(db.rows()) in (0, 2)
                db.enroll(POINTS)
            assert len(store.read(folder / "r.sqlite")) == 3


@pytest.fixture
def public():
    """Yield a new folder that another user reaches; all above pytest's own may be closed to him."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_that_cannot_be_written(public):
    """As another user: what a kill left can be read with its index and says what to do without."""
    folder = public / "theirs"
    folder.mkdir()
    path = killed(folder / "r.sqlite", 64 << 20)
    script = (
        "import os, sys\nfrom costmodel.explore import store\n"
        "from hwquant.errors import InputError\n"
        # Everything is imported before: the other user may not read the environment's files.
        "print(len(store.read(sys.argv[2])), file=sys.stderr)\n"
        "store.Store(sys.argv[2]).close()\n"
        "if os.getuid() == 0:\n    os.setgid(65534)\n    os.setuid(65534)\n"
        "for use in (store.read, store.Store):\n"
        "    try:\n        print(len(use(sys.argv[1])))\n"
        "    except InputError as error:\n        print(error)\n"
    )

    def look():
        call = [sys.executable, "-c", script, str(path), str(mine)]
        done = subprocess.run(call, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    mine = shutil.copytree(folder, public / "mine") / path.name
    for file in folder.iterdir():
        file.chmod(0o444)
    folder.chmod(0o555)
    try:
        read, written = look()
        assert read == "50"
        assert "cannot write" in written
        folder.chmod(0o755)
        Path(f"{path}-shm").unlink()
        folder.chmod(0o555)
        assert "copy the whole folder" in look()[0]
        folder.chmod(0o700)
        if os.getuid() == 0:
            assert "Permission denied" in look()[0]
    finally:
        folder.chmod(0o755)
    copy = shutil.copytree(folder, public / "copy") / path.name
    for file in copy.parent.iterdir():
        file.chmod(0o644)
    assert len(store.read(copy).only(Status.DONE)) > 40


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
