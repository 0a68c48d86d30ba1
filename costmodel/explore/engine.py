# SPDX-License-Identifier: Apache-2.0
"""The engine of a sweep: jobs with content-hash keys on worker processes.

A local Dask cluster by default (one single-threaded process per core), any Dask scheduler by
address when one machine is not enough.  A worker that dies is replaced and its job runs again; a
job that fails, or kills its worker time after time, ends as an `Outcome` with the reason and the
others go on.  A scheduler that goes away ends the run: what is known is stored, and the same
command goes on from there.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from costmodel.explore.fitness import refuse_unfit
from costmodel.explore.worker_log import VARIABLE
from hwquant.errors import HwquantError, InputError, ToolError
from hwquant.progress import note

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
LOOK_SECONDS = 1.0  # how often the cluster is looked at while no job ends


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
        return f"its worker process died {error.allowed_failures + 1} times (out of memory?)"
    text = " ".join(str(error).split()) or "no message"
    return text if isinstance(error, HwquantError) else f"{type(error).__name__}: {text}"


class Engine:
    """A connection to a running cluster; ``address`` is empty for our own local one."""

    def __init__(self, client: Any, address: str = "") -> None:
        self._client = client
        self._address = address
        self._fit: set[str] = set()
        self._idle_told = False

    def run(
        self, jobs: Iterable[Job], follow: Callable[[Outcome], Iterable[Job]] | None = None
    ) -> Iterator[Outcome]:
        """Yield the outcome of every job as it ends, in the order of completion.

        ``follow`` may name further jobs once an outcome is known; they go first.  A job whose key
        was seen before is not run again.  No more jobs are handed out than there are threads, so
        that the death of a worker is held against the job it was running and no other.

        Raises `ToolError` when the scheduler goes away, `InputError` when a worker of another
        version joins it.
        """
        waiting: deque[Job] = deque(jobs)
        seen: set[str] = set()
        running: dict[str, Any] = {}
        ended: SimpleQueue[Any] = SimpleQueue()
        self._hand_out(waiting, seen, running, ended)
        while running:
            try:
                future = ended.get(timeout=LOOK_SECONDS)
            except Empty:  # a new worker may wait for work, or the scheduler be gone
                self._hand_out(waiting, seen, running, ended)
                continue
            if future.status in ("cancelled", "lost"):
                raise self._gone()
            with self._answering():
                outcome = _outcome(future)
            del running[future.key]
            if follow is not None:
                waiting.extendleft(reversed(list(follow(outcome))))
            self._hand_out(waiting, seen, running, ended)
            yield outcome

    def _hand_out(
        self, waiting: deque[Job], seen: set[str], running: dict[str, Any], ended: SimpleQueue[Any]
    ) -> None:
        """Submit waiting jobs while a thread is free."""
        threads = self._threads()
        while waiting and len(running) < threads:
            job = waiting.popleft()
            if job.key in seen:
                continue
            seen.add(job.key)
            with self._answering():
                future = self._client.submit(job.function, *job.args, key=job.key, pure=True)
            running[job.key] = future
            future.add_done_callback(ended.put)

    def _threads(self) -> int:
        """Return how many jobs the cluster runs at once; 1 while it has no worker."""
        with self._answering():
            threads: dict[str, int] = self._client.nthreads()
            if self._address and (new := threads.keys() - self._fit):
                refuse_unfit(self._client, sorted(new), scheduler=not self._fit)
                self._fit |= new
        if not threads and self._address and not self._idle_told:
            note(
                f"no worker at {self._address} yet; start one with `dask worker {self._address}` "
                "where hwquant is installed"
            )
        self._idle_told = not threads
        return max(sum(threads.values()), 1)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn what a client says of a lost scheduler into one line."""
        from distributed.client import ClosedClientError, FutureCancelledError

        if self._client.status != "running":
            raise self._gone()
        try:
            yield
        except (OSError, ClosedClientError, FutureCancelledError) as error:
            raise self._gone() from error

    def _gone(self) -> ToolError:
        where = f"at {self._address} " if self._address else ""
        again = "start it again and run" if self._address else "run"
        return ToolError(
            f"the Dask scheduler {where}went away or dropped its jobs; {again} the same command: "
            "what is finished is kept"
        )


def _outcome(future: Any) -> Outcome:
    if future.status == "finished":
        return Outcome(future.key, future.result())
    import traceback

    error = future.exception()
    trace = "".join(traceback.format_exception(type(error), error, future.traceback()))
    return Outcome(future.key, error=_reason(error), trace=trace)


def _restore(variables: Mapping[str, str | None]) -> None:
    """Undo what Dask does to this process's environment while it spawns workers."""
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _hush() -> None:
    """Keep Dask's log off the user's terminal: a dying worker is an outcome, not a page of text."""
    for name in ("distributed", *logging.root.manager.loggerDict):
        if name.partition(".")[0] == "distributed":  # Dask gives some of its loggers own levels
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _connect(scheduler: str) -> Any:
    from distributed import Client
    from distributed.comm.addressing import get_address_host_port

    try:
        get_address_host_port(scheduler)  # a client of no address prints a traceback when it goes
        return Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise InputError(
            f"no Dask scheduler answers at {scheduler!r}; start one with `dask scheduler` "
            "and give its address, such as tcp://host:8786"
        ) from error


def _close(client: Any) -> None:
    with suppress(OSError, TimeoutError):  # a scheduler that is gone cannot say goodbye
        client.close(timeout=5)


@contextmanager
def engine(
    scheduler: str = "", workers: int | None = None, log: str | os.PathLike[str] = os.devnull
) -> Iterator[Engine]:
    """Start a local cluster of ``workers`` processes, or connect to ``scheduler``, and yield it.

    What local workers print is appended to the file ``log``.

    Raises `InputError` when the scheduler does not answer, or has a worker without this version
    of hwquant.
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
        _hush()
        if scheduler:
            client = _connect(scheduler)
        else:
            cluster = LocalCluster(
                n_workers=workers or worker_count(),
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",  # a free port: other runs have theirs
                scheduler_kwargs={"dashboard": False},
                worker_dashboard_address=None,
                silence_logs=logging.CRITICAL,
                preload=["costmodel.explore.worker_log"],
                env={VARIABLE: os.fspath(log)},
            )
            stack.callback(cluster.close, timeout=10)
            client = Client(cluster)
        stack.callback(_close, client)
        yield Engine(client, scheduler)
