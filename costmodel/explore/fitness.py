# SPDX-License-Identifier: Apache-2.0
"""Whether the workers of somebody's cluster run the same code as the process that sweeps.

Results are kept under the content of our source, so a worker with other source would put wrong
results under right names; one without hwquant could not do anything at all.
"""

from __future__ import annotations

import platform
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


def refuse_unfit(client: Any, workers: list[str]) -> None:
    """Raise `InputError` for the first of ``workers`` that lacks hwquant or has another version."""
    ours = identity()
    found = client.run(identity, workers=workers, on_error="return")
    for address, theirs in sorted(found.items()):
        if isinstance(theirs, ImportError):
            raise InputError(
                f"the worker at {address} cannot import hwquant ({theirs}); install the same "
                f"version there ({ours['hwquant']}) and start it again"
            )
        if isinstance(theirs, OSError):
            continue  # it died meanwhile; Dask tells of its jobs
        if isinstance(theirs, BaseException):
            raise InputError(f"the worker at {address} does not work: {theirs!r}")
        different = [name for name in ours if theirs.get(name) != ours[name]]
        if different:
            name = different[0]
            raise InputError(
                f"the worker at {address} has {name} {theirs.get(name)}, here it is {ours[name]}; "
                "install the same version there and start it again"
            )
