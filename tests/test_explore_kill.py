# SPDX-License-Identifier: Apache-2.0
"""kill -9 of a worker, of the scheduler and of the driver, and a truncated journal, in sweeps of
500 points: after the same command every point is there once, and none ran again that was done.

The command is the real one (`cheap_sweep` makes its jobs cheap); the cluster is separate programs
joined over TCP.
"""

import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import cheap_sweep
import psutil
import pytest

from costmodel.explore import store
from costmodel.explore.store import Status, Store

pytestmark = pytest.mark.slow
TESTS = Path(cheap_sweep.__file__).parent
DASK = {"DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__STATUS": "none"}
LONG = 240


class Place:
    """A folder with a run, its cache and its run log, and the programs started for it."""

    def __init__(self, root):
        self.root, self.run, self.log = root, root / "run", root / "log"
        self.programs = []
        path = f"{TESTS.parent}:{TESTS}"
        self.environment = os.environ | DASK | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self.environment |= {"HWQUANT_CACHE": str(root / "cache"), cheap_sweep.LOG: str(self.log)}

    def start(self, *command, **more):
        more = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True} | more
        environment = self.environment | more.pop("environment", {})
        program = subprocess.Popen([sys.executable, *command], env=environment, **more)
        self.programs.append(program)
        return program

    def sweep(self, *options, run=None, **more):
        command = [str(TESTS / "cheap_sweep.py"), "sweep", *cheap_sweep.SPACE, *options]
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
        return self.start(*command, "--json", "-o", str(run or self.run), **more)

    def scheduler(self):
        where = self.root / f"scheduler{len(self.programs)}.json"
        program = self.start(
            *("-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--host", "127.0.0.1"),
            *("--port", "0", "--scheduler-file", str(where)),
        )
        wait_for(lambda: where.exists() and where.read_text())
        return program, json.loads(where.read_text())["address"]

    def worker(self, address, *python, **more):
        options = ("--no-nanny", "--no-dashboard", "--nthreads", "1")
        module = ("-m", "distributed.cli.dask_worker")
        return self.start(*python, *module, address, *options, **more)

    def done(self):
        if not (self.run / "results.sqlite").is_file():
            return 0
        try:
            return len(store.read(self.run / "results.sqlite").only(Status.DONE))
        except store.InputError:  # the very first transaction
            return 0


def wait_for(condition, *programs):
    deadline = time.monotonic() + LONG
    while not condition():
        assert all(program.poll() is None for program in programs)
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finish(program, seconds=LONG):
    """Wait for a sweep; return its exit code, result and what it said."""
    out, err = program.communicate(timeout=seconds)
    return program.returncode, json.loads(out) if out else None, err


def whole(path):
    """Return the rows of a store, of which SQLite itself finds nothing wrong."""
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return list(store.read(path))


def assert_complete(place, again):
    """Every point is done once; at most ``again`` of them ran twice, none more often."""
    rows = whole(place.run / "results.sqlite")
    assert len({row.key for row in rows}) == len(rows) == cheap_sweep.POINTS
    assert {row.status for row in rows} == {Status.DONE}
    for row in rows:  # what the job returned, not what another job did
        assert [layer["weight"] for layer in row.layers] == [row.point["weight"]]
        assert row.metrics["acc_bits"] == row.layers[0]["acc_bits"]
    runs = cheap_sweep.runs(place.log)
    assert len(runs) == cheap_sweep.POINTS
    assert max(runs.values()) <= 2
    assert runs.total() <= cheap_sweep.POINTS + again


@pytest.fixture
def place(tmp_path):
    found = Place(tmp_path)
    yield found
    for program in found.programs[::-1]:
        program.kill()
        program.wait()
        for stream in (program.stdout, program.stderr):
            if stream is not None:
                stream.close()


def test_the_driver_killed_and_its_journal_cut(place):
    first = place.sweep("--workers", "2")
    wait_for(lambda: place.done() >= 100, first)
    code, result, said = finish(place.sweep("--workers", "2"))
    assert (code, result) == (2, None)
    assert said.count("\n") == 1
    assert "in use by another run" in said
    children = psutil.Process(first.pid).children(recursive=True)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    assert not psutil.wait_procs(children, timeout=60)[1]  # no worker outlives its sweep

    # What a disk may leave of the journal: any number of its bytes, no index of it, an old lock.
    before = place.root / "killed"
    shutil.copytree(place.run, before)
    journal = before / "results.sqlite-wal"
    size = journal.stat().st_size
    assert size > 100 * 4096
    assert (before / "results.lock").exists()
    intact = shutil.copytree(before, place.root / "intact") / "results.sqlite"
    full = {row.key: row for row in whole(intact)}
    cuts = [0, 1, 31, 32, 33, 4096 + 56, size // 2, size - 1, size]
    cuts += random.Random(0).sample(range(size), 8)
    counts = []
    for cut in sorted(cuts):
        copy = shutil.copytree(before, place.root / f"cut{cut}")
        (copy / "results.sqlite-shm").unlink()
        os.truncate(copy / journal.name, cut)
        with Store(copy / "results.sqlite") as opened:
            rows = list(opened.rows())
            done = [row for row in rows if row.status is Status.DONE]
            assert all(row == full[row.key] for row in done)
            assert {row.status for row in rows} <= {Status.WAITING, Status.MEASURED, Status.DONE}
            assert len(rows) in (0, cheap_sweep.POINTS)
        whole(copy / "results.sqlite")
        counts.append(len(done))
    assert counts == sorted(counts)
    assert counts[0] == 0
    assert counts[-1] == sum(row.status is Status.DONE for row in full.values()) >= 100

    # The same command again, on a journal cut in half.
    os.truncate(place.run / journal.name, size // 2)
    code, result, said = finish(place.sweep("--workers", "2"))
    assert code == 0, said
    assert (result["done"], result["failed"]) == (cheap_sweep.POINTS, 0)
    assert f"of {cheap_sweep.POINTS} points are known already" in said
    assert_complete(place, again=2)  # what the two workers were at

    # Control: a point that does run again is seen by the check above.
    row = store.read(place.run / "results.sqlite")[7]
    key, name = row.key, f"{row.point['weight']}/{row.point['act']}/{row.point['scale']}"
    times = cheap_sweep.runs(place.log)[name]
    (place.root / "cache" / "point" / f"{key}.json").unlink()
    with Store(place.run / "results.sqlite") as opened:
        opened.save(key, Status.WAITING, {})
    assert finish(place.sweep("--workers", "1"))[0] == 0
    assert cheap_sweep.runs(place.log)[name] == times + 1


def test_a_worker_and_the_scheduler_killed(place):
    scheduler, address = place.scheduler()
    workers = [place.worker(address), place.worker(address)]
    sweep = place.sweep("--scheduler", address)
    wait_for(lambda: place.done() >= 60, sweep)
    os.kill(workers[0].pid, signal.SIGKILL)
    at_death = place.done()
    wait_for(lambda: place.done() >= at_death + 60, sweep, scheduler)
    os.kill(scheduler.pid, signal.SIGKILL)
    code, result, said = finish(sweep)
    assert (code, result) == (2, None)
    (line,) = [line for line in said.splitlines() if not line.startswith("points:")]
    assert line.startswith(f"hwquant: error: the Dask scheduler at {address} went away")
    kept = place.done()
    assert 120 <= kept < cheap_sweep.POINTS

    _, address = place.scheduler()
    place.worker(address)
    code, result, said = finish(place.sweep("--scheduler", address))
    assert code == 0, said
    assert (result["done"], result["failed"]) == (cheap_sweep.POINTS, 0)
    assert f"{kept} of {cheap_sweep.POINTS} points are known already" in said
    assert_complete(place, again=3)  # one of the dead worker, two of the dead scheduler


def test_without_a_kill_every_point_runs_once(place):
    """The control, with a worker that comes when the sweep already waits for one."""
    _, address = place.scheduler()
    sweep = place.sweep("--scheduler", address)
    for line in sweep.stderr:
        if line.startswith("no worker at"):
            break
    assert place.done() == 0
    place.worker(address)
    code, result, said = finish(sweep)
    assert code == 0, said
    assert result["done"] == cheap_sweep.POINTS
    assert_complete(place, again=0)


def test_unfit_workers_are_refused(place):
    """One without hwquant, one with another source; each ends the sweep with one line."""
    _, address = place.scheduler()
    site = Path(psutil.__file__).parents[1]
    everything_else = place.root / "bare"  # with -S: no .pth files, so no editable install
    everything_else.mkdir()
    for entry in site.iterdir():
        if entry.name not in ("hwquant", "hw", "sim", "costmodel"):
            (everything_else / entry.name).symlink_to(entry)
    bare = {"PYTHONPATH": str(everything_else)}
    worker = place.worker(address, "-S", environment=bare, cwd=place.root)
    code, _, said = finish(place.sweep("--scheduler", address), 100)
    assert code == 2
    line = said.splitlines()[-1]
    assert line.startswith("hwquant: error: the worker at tcp://127.0.0.1:")
    assert "cannot import costmodel; install hwquant" in line
    assert "Traceback" not in said
    worker.kill()
    worker.wait()

    other = place.root / "other"
    for package in ("hwquant", "hw", "sim", "costmodel"):
        shutil.copytree(TESTS.parent / package, other / package)
    with (other / "hwquant" / "codec.py").open("a") as file:
        file.write("# another version\n")
    worker = place.worker(address, environment={"PYTHONPATH": f"{other}:{TESTS}"}, cwd=other)
    code, _, said = finish(place.sweep("--scheduler", address))
    assert code == 2
    assert "has source" in said.splitlines()[-1]
    assert not cheap_sweep.runs(place.log)


def test_a_disk_that_is_full(place):
    """No file may grow beyond 300 kB: the sweep ends with one line; with room it goes on."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    code, result, said = finish(place.sweep("--workers", "1", preexec_fn=limit))
    assert (code, result) == (2, None)
    assert "Traceback" not in said
    assert said.splitlines()[-1].startswith("hwquant: error: ")
    kept = len(whole(place.run / "results.sqlite"))
    assert kept in (0, cheap_sweep.POINTS)
    code, result, said = finish(place.sweep("--workers", "2"))
    assert code == 0, said
    assert_complete(place, again=1)


def test_the_log_sees_a_second_run(tmp_path):
    log = tmp_path / "log"
    log.write_text("a\nb\na\n")
    assert cheap_sweep.runs(log) == {"a": 2, "b": 1}
    assert cheap_sweep.runs(tmp_path / "none").total() == 0
