# SPDX-License-Identifier: Apache-2.0
"""Compare every base model with the aggregate on formats held out; ship what wins.

Run ``python -m costmodel.intervals.compare`` to write ``costmodel/data/intervals.json``: the
predictor with the least weighted interval score, fitted on all kernels, and the comparison.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final

from hwquant import atomic

from .assess import Assessment, assess
from .bases import BASES
from .model import Factories
from .nested import fit, held_out
from .points import Points
from .predictor import Predictor
from .shipped import TARGETS, Shipped
from .sources import held_out_points

__all__ = ["compare", "ship", "table", "winner"]

PAIRS: Final = 3
"""Mixed pairs held out at once, so that there are about a hundred folds."""

HEAD: Final = (
    "predictor", "WIS %", "WIS LUTs", "width %", "width LUTs", "95 %", "90 %", "80 %", "50 %",
    "bound CP", "bound clustered", "crossings",
)  # fmt: skip


def compare(points: Points, factories: Factories = BASES, pairs: int = PAIRS) -> dict[str, Any]:
    """Return the `Assessment` of every predictor on ``points``, by name."""
    found = held_out(points, factories, pairs)
    return {name: assess(points, quantiles) for name, quantiles in found.items()}


def winner(scores: Mapping[str, Assessment]) -> str:
    """Return the predictor with the least weighted interval score (of the log target)."""
    return min(scores, key=lambda name: (scores[name].score, name))


def table(scores: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the comparison as a Markdown table, from records of `Assessment.to_json`."""
    lines = ["| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    for name, s in scores.items():
        shares = [f"{100 * s['coverage'][share]:.1f}" for share in ("0.95", "0.9", "0.8", "0.5")]
        cells = [
            name,
            f"{s['score']:.2f}",
            f"{s['score_luts']:.2f}",
            f"{s['width']:.1f}",
            f"{s['width_luts']:.1f}",
            *shares,
            f"{100 * s['lower']:.1f}",
            f"{100 * s['lower_clustered']:.1f}",
            str(s["crossings"]),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ship(points: Points, factories: Factories = BASES) -> tuple[Predictor, dict[str, Any]]:
    """Return the winner fitted on all ``points``, and the record of the comparison."""
    scores = compare(points, factories)
    best = winner(scores)
    record = {
        "shipped": best,
        "points": points.digests,
        "rows": len(points),
        "pairs_of_formats": len(set(points.groups)),
        "scores": {name: found.to_json() for name, found in scores.items()},
    }
    return fit(points, factories)[best], record


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the file named by the first argument and print the comparison."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    path = Path(given[0] if given else "costmodel/data/intervals.json")
    points = [held_out_points(target) for target in TARGETS]
    with ProcessPoolExecutor(len(TARGETS)) as pool:
        found = dict(zip(TARGETS, pool.map(ship, points), strict=True))
    shipped = Shipped({t: p for t, (p, _) in found.items()}, frozenset(points[0].styles))
    comparison = {target: record for target, (_, record) in found.items()}
    text = json.dumps(shipped.to_json() | {"comparison": comparison}, separators=(",", ":"))
    atomic.write_text(path, text + "\n")
    for target, scores in json.loads(text)["comparison"].items():
        print(f"{target}: {scores['rows']} kernels, {scores['pairs_of_formats']} pairs of formats")
        print(table(scores["scores"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
