# SPDX-License-Identifier: Apache-2.0
"""Whether somebody's cluster runs the same code as the process that sweeps.

Results are kept under the content of our source, so a worker with other source would put wrong
results under right names; one without hwquant could not do anything at all.
"""

from __future__ import annotations

import platform
import re
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from hwquant import cache
from hwquant.errors import InputError

__all__ = ["identity", "refuse_unfit"]

PACKAGES: Final = ("hwquant", "hw", "costmodel")
LIBRARIES: Final = ("torch", "brevitas", "numpy")


@lru_cache(maxsize=1)
def identity() -> dict[str, str]:
    """Return what must be equal on all machines: versions, and the content of our source."""
    import costmodel

    root = Path(costmodel.__file__).parent.parent
    files = sorted(
        file
        for package in PACKAGES
        for file in (root / package).rglob("*.*")
        if file.suffix in (".py", ".sv")
    )
    source = cache.content_key(
        *((str(file.relative_to(root)), cache.file_hash(file)) for file in files)
    )
    python = ".".join(platform.python_version_tuple()[:2])
    versions = {name: version(name) for name in ("hwquant", *LIBRARIES)}
    return {"Python": python} | versions | {"source": source[:12]}


def refuse_unfit(client: Any, workers: list[str], *, scheduler: bool = False) -> None:
    """Raise `InputError` for the first of ``workers`` that lacks hwquant or has another version.

    With ``scheduler`` the scheduler, which unpacks our jobs too, is looked at first.
    """
    ours = identity()
    if scheduler:
        try:
            _compare("scheduler", client.run_on_scheduler(identity), ours)
        except ImportError as error:
            _compare("scheduler", error, ours)
        except Exception as error:  # Dask wraps what the other side says in a bare Exception
            if "No module named" not in str(error):
                raise
            _compare("scheduler", error, ours)
    found = client.run(identity, workers=workers, on_error="return")
    for address, theirs in sorted(found.items()):
        if not isinstance(theirs, OSError):  # else it died meanwhile; Dask tells of its jobs
            _compare(f"worker at {address}", theirs, ours)


def _compare(who: str, theirs: Any, ours: dict[str, str]) -> None:
    if isinstance(theirs, BaseException):
        missing = re.search(r"No module named '?([\w.]+)", str(theirs))
        what = f"cannot import {missing[1]}" if missing else f"does not work ({theirs!r})"
        raise InputError(
            f"the {who} {what}; install hwquant {ours['hwquant']} there and start it again"
        )
    for name, value in ours.items():
        if theirs.get(name) != value:
            raise InputError(
                f"the {who} has {name} {theirs.get(name)}, here it is {value}; "
                f"install the same hwquant {ours['hwquant']} there and start it again"
            )
