"""Start-up: ``import hwquant`` and ``hwquant --help`` against ``import numpy``, in one run.

python tests/benchmarks/bench_import.py
"""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

ROUNDS = 7


def cpu_seconds(command: list[str]) -> float:
    """Return the least CPU time of a few runs: load moves it far less than wall time."""
    best = float("inf")
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def main() -> dict[str, float]:
    """Measure and print the ratios."""
    numpy = cpu_seconds([sys.executable, "-c", "import numpy"])
    script = Path(sys.executable).with_name("hwquant")
    cases = {
        "import hwquant": [sys.executable, "-c", "import hwquant"],
        "hwquant --help": [str(script), "--help"],
    }
    ratios = {name: cpu_seconds(command) / numpy for name, command in cases.items()}
    print(f"import numpy: {numpy * 1000:.0f} ms CPU")
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.2f} x import numpy (goal < 3)")
    return ratios


if __name__ == "__main__":
    main()
