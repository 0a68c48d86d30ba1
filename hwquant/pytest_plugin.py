# SPDX-License-Identifier: Apache-2.0
"""pytest's door to `sim.pytest_plugin`: the options, and fixtures that import it when used.

pytest loads this module in every project of an environment that has hwquant, also in one with a
folder called ``sim`` of its own, so it must not import ours before a test asks for it.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

__all__ = ["kernel_farm", "verify_kernel"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--hwquant-seed`` and ``--hwquant-steps``."""
    group = parser.getgroup("hwquant", "hwquant: kernels proved against the reference arithmetic")
    group.addoption(
        "--hwquant-seed", type=int, default=0, metavar="N", help="seed of the random stimulus"
    )
    group.addoption(
        "--hwquant-steps",
        type=int,
        default=65_536,
        metavar="N",
        help="accumulator steps for each kernel",
    )


def _fixture(name: str, request: pytest.FixtureRequest, folder: Path) -> Any:
    try:
        return getattr(import_module("sim.pytest_plugin"), name)(request, folder)
    except ModuleNotFoundError as error:
        raise pytest.UsageError(
            f"hwquant's package sim cannot be imported ({error}); if this project has a folder "
            "sim, start pytest as `pytest`, not `python -m pytest`, or rename the folder"
        ) from error


@pytest.fixture
def verify_kernel(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a `sim.pytest_plugin.VerifyKernel`: verify one kernel, fail the test if it differs.

    Call it with a `hwquant.mac.MacSpec`, the folder of a generated kernel, or the TOML of a module
    of your own.  The failure shows the first failing vectors and where a replay file was saved.
    """
    return _fixture("VerifyKernel", request, tmp_path)


@pytest.fixture
def kernel_farm(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Return a `sim.pytest_plugin.KernelFarm`: ``add`` kernels, then ``verify`` them at once."""
    return _fixture("KernelFarm", request, tmp_path)
