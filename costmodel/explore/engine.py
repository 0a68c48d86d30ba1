# SPDX-License-Identifier: Apache-2.0
"""The engine of a sweep: jobs with content-hash keys on worker processes.

A local Dask cluster by default (one single-threaded process per core), any Dask scheduler by
address when one machine is not enough.  A worker that dies is replaced and its job runs again; a
job that fails, or kills its worker time after time, ends as an `Outcome` with the reason and the
others go on.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from costmodel.explore.worker_log import VARIABLE
from hwquant.errors import HwquantError, InputError

__all__ = ["Engine", "Job", "Outcome", "engine", "worker_count"]

# One thread per process; and glibc keeps big blocks instead of returning them to the system after
# every tensor, which makes elementwise work on large tensors several times faster.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(1 << 26),
}
ALLOWED_DEATHS = 2  # a job that took three workers with it is at fault itself
CONNECT_SECONDS = 15


@dataclass(frozen=True)
class Job:
    """One call of a module-level function; equal keys mean equal results."""

    key: str
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its value, or why there is none (and the traceback for the log)."""

    key: str
    value: Any = None
    error: str = ""
    trace: str = ""


def worker_count() -> int:
    """Return the number of worker processes: the cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _reason(error: BaseException) -> str:
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return f"its worker process died {ALLOWED_DEATHS + 1} times (out of memory?)"
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, HwquantError) else f"{type(error).__name__}: {text}"


class Engine:
    """A connection to a running cluster."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def run(
        self, jobs: Iterable[Job], follow: Callable[[Outcome], Iterable[Job]] | None = None
    ) -> Iterator[Outcome]:
        """Yield the outcome of every job as it ends, in the order of completion.

        ``follow`` may name further jobs once an outcome is known; they go first.  A job whose key
        was seen before is not run again.  No more jobs are handed out than there are threads, so
        that the death of a worker is held against the job it was running and no other.
        """
        from distributed import as_completed

        waiting: deque[Job] = deque(jobs)
        seen: set[str] = set()
        running = as_completed()
        busy = self._hand_out(waiting, seen, running, 0)
        for future in running:
            outcome = _outcome(future)
            if follow is not None:
                waiting.extendleft(reversed(list(follow(outcome))))
            busy = self._hand_out(waiting, seen, running, busy - 1)
            yield outcome

    def _hand_out(self, waiting: deque[Job], seen: set[str], running: Any, busy: int) -> int:
        """Submit waiting jobs while a thread is free; return how many are then running."""
        threads = max(sum(self._client.nthreads().values()), 1)
        while waiting and busy < threads:
            job = waiting.popleft()
            if job.key not in seen:
                seen.add(job.key)
                running.add(self._client.submit(job.function, *job.args, key=job.key, pure=True))
                busy += 1
        return busy


def _outcome(future: Any) -> Outcome:
    if future.status == "finished":
        return Outcome(future.key, future.result())
    return _failure(future)


def _failure(future: Any) -> Outcome:
    import traceback

    error = future.exception()
    if error is None:
        return Outcome(future.key, error="cancelled by the scheduler")
    trace = "".join(traceback.format_exception(type(error), error, future.traceback()))
    return Outcome(future.key, error=_reason(error), trace=trace)


def _restore(variables: Mapping[str, str | None]) -> None:
    """Undo what Dask does to this process's environment while it spawns workers."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def engine(
    scheduler: str = "", workers: int | None = None, log: str | os.PathLike[str] = os.devnull
) -> Iterator[Engine]:
    """Start a local cluster of ``workers`` processes, or connect to ``scheduler``, and yield it.

    What local workers print is appended to the file ``log``.

    Raises `InputError` when the scheduler does not answer.
    """
    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.comm.timeouts.connect": f"{CONNECT_SECONDS}s",
        "distributed.admin.system-monitor.gil.enabled": False,
    }
    with ExitStack() as stack:
        stack.callback(_restore, {name: os.environ.get(name) for name in WORKER_ENVIRONMENT})
        stack.enter_context(dask.config.set(settings))
        # A dying worker is an outcome, not a page of log on the user's terminal.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        if scheduler:
            try:
                client = Client(scheduler, timeout=CONNECT_SECONDS)
            except (OSError, ValueError) as error:
                raise InputError(
                    f"no Dask scheduler answers at {scheduler!r}; start one with `dask scheduler` "
                    "and give its address, such as tcp://host:8786"
                ) from error
        else:
            cluster = LocalCluster(
                n_workers=workers or worker_count(),
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                host="127.0.0.1",
                dashboard_address=None,
                worker_dashboard_address=None,
                silence_logs=logging.CRITICAL,
                preload=["costmodel.explore.worker_log"],
                env={VARIABLE: os.fspath(log)},
            )
            stack.callback(cluster.close, timeout=10)
            client = Client(cluster)
        stack.callback(client.close, timeout=5)
        yield Engine(client)
