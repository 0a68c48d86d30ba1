# SPDX-License-Identifier: Apache-2.0
"""What the pytest fixtures ``verify_kernel`` and ``kernel_farm`` are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .engine import Target
    from .report import KernelResult, Report

__all__ = ["KernelFarm", "VerifyKernel"]

SHOWN = 3  # failing vectors of a kernel printed in full


class VerifyKernel:
    """What the fixture ``verify_kernel`` is: call it with a spec, a folder, or a TOML."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request, self._folder = request, folder

    def __call__(
        self, target: Target, *, seed: int | None = None, steps: int | None = None
    ) -> Report:
        """Verify one kernel; fail the test with the first failing vectors if a result differs."""
        __tracebackhide__ = True
        report = _verify(self._request, [target], seed, steps)
        if report.mismatches:
            story = _story(report.results[0], target, self._folder, 0)
            pytest.fail("\n".join(story), pytrace=False)
        return report


class KernelFarm:
    """Kernels collected one by one and verified together, in as few simulators as possible."""

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._request, self._folder = request, folder
        self._targets: list[Target] = []

    def add(self, target: Target) -> None:
        """Add a spec, a folder, or a TOML; nothing is verified yet."""
        self._targets.append(target)

    def verify(self, *, seed: int | None = None, steps: int | None = None) -> Report:
        """Verify everything added; fail the test naming every kernel whose results differ."""
        __tracebackhide__ = True
        targets, self._targets = self._targets, []
        report = _verify(self._request, targets, seed, steps)
        lines: list[str] = []
        origins = _origins(targets, report.kernels)
        for index, (result, origin) in enumerate(zip(report.results, origins, strict=True)):
            if result.mismatches:
                lines += _story(result, origin, self._folder, index)
        if lines:
            failed = sum(result.mismatches > 0 for result in report.results)
            head = f"{failed} of {report.kernels} kernels differ from the reference"
            pytest.fail("\n".join([head, *lines]), pytrace=False)
        return report


def _verify(
    request: pytest.FixtureRequest, targets: list[Target], seed: int | None, steps: int | None
) -> Report:
    from .engine import verify

    option = request.config.getoption
    report = verify(
        targets,
        seed=option("--hwquant-seed") if seed is None else seed,
        steps=option("--hwquant-steps") if steps is None else steps,
    )
    # Into pytest's own JUnit file (--junitxml), beside what the test records itself.
    covered = report.coverage()
    properties = {
        "hwquant.seed": report.seed,
        "hwquant.kernels": report.kernels,
        "hwquant.products": report.products,
        "hwquant.mac_steps": report.mac_steps,
        "hwquant.coverage": f"{covered['bins_hit']} of {covered['bins_possible']} bins",
        "hwquant.missed": "; ".join(f"{k}: {', '.join(v)}" for k, v in covered["missed"].items()),
        "hwquant.untested": "; ".join(report.untested),
    }
    request.node.user_properties.extend(properties.items())
    return report


def _origins(targets: list[Target], results: int) -> list[Target | None]:
    """Return the folder or TOML of each result; kernels of specs, which have none, come first."""
    from hwquant.mac import MacSpec

    folders: list[Target | None] = [t for t in targets if not isinstance(t, MacSpec)]
    return [None] * (results - len(folders)) + folders


def _story(result: KernelResult, target: Target | None, folder: Path, number: int) -> list[str]:
    """Return what to print of a failing kernel; its first failing vector is saved."""
    from hw.manifest import Bundle

    from .replay import save_failure

    lines = [f"{result.mismatches} results of {result.kernel.label} differ; the first:"]
    lines += [failure.describe() for failure in result.failures[:SHOWN]]
    if result.failures:
        path = save_failure(result.failures[0], folder / f"hwquant-failure-{number}.json")
        where = target.folder if isinstance(target, Bundle) else target
        shown = f"{where} " if isinstance(where, str | Path) else ""
        waves = path.with_suffix(".vcd")
        lines.append(f"replay: hwquant verify {shown}--replay {path} --waves {waves}")
    return lines
