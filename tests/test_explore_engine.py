# SPDX-License-Identifier: Apache-2.0
"""The engine: order of completion, follow-up jobs, failures, dying workers, other schedulers."""

import gc
import json
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError

from costmodel.explore.engine import Engine, Job, engine
from hwquant.errors import InputError, ToolError


def test_jobs_follow_ups_and_failures(tmp_path, capfd):
    def follow(outcome):
        yield Job("sum", operator.add, (20, 3))
        if outcome.key == "sum":
            yield Job("product", operator.mul, (outcome.value, 2))

    with engine(workers=1, log=tmp_path / "log") as cluster:
        jobs = [Job("third", operator.truediv, (1, 4)), Job("bad", json.loads, ("{",))]
        outcomes = {o.key: o for o in cluster.run([*jobs, jobs[0]], follow)}
    assert set(outcomes) == {"third", "bad", "sum", "product"}
    assert (outcomes["third"].value, outcomes["product"].value) == (0.25, 46)
    assert outcomes["bad"].error.startswith("JSONDecodeError: Expecting property name")
    assert "in raw_decode" in outcomes["bad"].trace
    assert capfd.readouterr() == ("", "")


def test_workers_are_single_threaded_and_quiet(tmp_path, capfd):
    before = dict(os.environ)
    with engine(workers=1, log=tmp_path / "log") as cluster:
        (threads,) = cluster.run([Job("env", os.getenv, ("OMP_NUM_THREADS",))])
        list(cluster.run([Job("echo", os.system, ("echo chatter",))]))
    assert threads.value == "1"
    assert dict(os.environ) == before
    assert capfd.readouterr() == ("", "")
    assert "chatter" in (tmp_path / "log").read_text()


def test_a_killed_worker_loses_nothing(tmp_path):
    """The first worker to run the job is killed from outside; the job runs again."""
    mark = tmp_path / "pid"
    script = (
        f"import os, pathlib, time; p = pathlib.Path({str(mark)!r})\n"
        "first = not p.exists()\n"
        "p.write_text(str(os.getpid()))\n"
        "time.sleep(60 if first else 0)\n"
    )
    with engine(workers=1, log=tmp_path / "log") as cluster:
        running = cluster.run([Job("slow", exec, (script,)), Job("other", operator.add, (1, 1))])

        def kill():
            while not (mark.exists() and mark.read_text()):
                time.sleep(0.05)
            os.kill(int(mark.read_text()), signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        outcomes = {o.key: o for o in running}
        killer.join()
    assert [outcomes["slow"].error, outcomes["other"].value] == ["", 2]


def test_a_job_that_kills_its_workers_is_given_up(tmp_path, capfd):
    with engine(workers=1, log=tmp_path / "log") as cluster:
        jobs = [Job("deadly", os._exit, (9,)), Job("good", operator.add, (1, 2))]
        outcomes = {o.key: o for o in cluster.run(jobs)}
    assert "worker process died 3 times" in outcomes["deadly"].error
    assert outcomes["good"].value == 3
    assert capfd.readouterr() == ("", "")


def test_another_scheduler_by_address(tmp_path):
    """A scheduler and a worker started as separate programs, as on a cluster."""
    environment = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__STATUS": "none"}
    where = tmp_path / "scheduler.json"
    common = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", "0"]
    dask += ["--host", "127.0.0.1", "--scheduler-file", str(where)]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(where)]
    worker += ["--no-nanny", "--no-dashboard", "--nthreads", "1"]
    processes = [subprocess.Popen(dask, **common)]
    try:
        deadline = time.monotonic() + 60
        while not (where.exists() and where.read_text()) and time.monotonic() < deadline:
            time.sleep(0.1)
        processes.append(subprocess.Popen(worker, **common))
        address = json.loads(Path(where).read_text())["address"]
        with engine(address) as cluster:
            (outcome,) = cluster.run([Job("pid", os.getpid)])
        assert outcome.value == processes[1].pid
    finally:
        for process in processes[::-1]:
            process.kill()
            process.wait()


def test_no_scheduler_is_one_clear_line(monkeypatch):
    monkeypatch.setattr("costmodel.explore.engine.CONNECT_SECONDS", 2)
    ignored = []  # what objects raise while they are thrown away
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)
    with pytest.raises(InputError, match="no Dask scheduler answers"), engine("tcp://127.0.0.1:9"):
        pass
    for address in ("nonsense://x", "noport"):
        with pytest.raises(InputError, match="no Dask scheduler answers"), engine(address):
            pass
    gc.collect()
    assert not ignored


@pytest.mark.parametrize(
    "error", [CommClosedError("Stream is closed"), FutureCancelledError("a", "lost")]
)
def test_a_scheduler_that_goes_while_a_result_is_fetched(error):
    """The job had ended, but its result is not here yet."""

    class Future:
        key, status = "a", "finished"

        def add_done_callback(self, tell):
            tell(self)

        def result(self):
            raise error

    class Client:
        status = "running"

        def nthreads(self):
            return {"worker": 1}

        def submit(self, *_, **__):
            return Future()

    with pytest.raises(ToolError, match=r"scheduler went away .* what is finished is kept"):
        list(Engine(Client()).run([Job("a", abs, (1,))]))
