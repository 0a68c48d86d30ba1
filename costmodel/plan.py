# SPDX-License-Identifier: Apache-2.0
"""Which kernels are synthesized beforehand: formats x lanes x lengths x accumulators x styles.

The plan is a fixed list (seeded): the standard kernels, then all others, small ones first, so that
an unfinished run is useful.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Final

from hw.styles import STYLES, variant
from hwquant.formats import integers, minifloats
from hwquant.mac import MacSpec, Overflow

__all__ = ["SEED", "planned", "standard_specs"]

SEED: Final = 20261121
SAME: Final = tuple(str(fmt) for fmt in (*integers(3, 8), *minifloats(3, 8)))
"""The 33 formats of 3..8 bits."""
OTHERS: Final = (
    "int2", "int4n", "int8n", "uint2", "uint3", "uint4", "uint6", "uint8", "e0m3", "e0m7",
    "ue2m2", "ue2m1", "ue3m3", "ue4m4", "ue3m1", "ue5m3", "ue1m3", "e4m3fn",
)  # fmt: skip
"""Formats that occur in mixed pairs only."""
POWERS: Final = ("pow4a0.75f6", "upow4a0.75f6", "pow3a0.5f6", "pow5a0.75f6")
BOOKS: Final = (
    *POWERS, "pow3a0.75f5", "upow3a0.5f6", "pow4a0.5f6", "upow4a0.5f5", "pow5a0.5f6",
    "cb3f4_-16_-7_-3_0_2_5_9_16", "cb4f4_-20_-12_-8_-5_-3_-2_-1_0_1_2_3_5_7_10_14_20",
)  # fmt: skip
BESIDE_BOOKS: Final = ("int3", "int4", "int5", "int6", "int8", "uint4", "uint6", "uint8", "e0m3")
"""Formats that meet codebooks."""
LENGTHS: Final = (16, 64, 256, 1024, 4096)

Job = tuple[MacSpec, str]


def standard_specs() -> tuple[MacSpec, ...]:
    """Return the kernels every user meets first: style plain, one lane, exact for 256 products.

    The 33 formats of 3..8 bits with themselves, and the usual mixed pairs.
    """
    mixed = [
        (weight, act)
        for weight in ("int4", "e2m1", "e3m2", "e4m3", "int8")
        for act in ("int8", "uint8", "uint4", "e4m3", "ue4m4")
        if weight != act
    ]
    pairs = [(name, name) for name in SAME] + mixed
    return tuple(MacSpec(weight, act, lanes=1, length=256) for weight, act in pairs)


def _able(style: str, spec: MacSpec) -> bool:
    known = variant(style, spec)
    return known is not None and known.refuse(spec) is None


def _size(job: Job) -> int:
    """Return about how long a synthesis takes: what is wide and has lanes takes longer."""
    spec = job[0]
    return spec.lanes * (spec.sum_bits + spec.weight.bits * spec.act.bits) + spec.accumulator.width


def _random(
    rng: random.Random, names: Iterable[str], lanes: Iterable[int], *, saturate: bool
) -> Iterator[MacSpec]:
    """Yield random mixed kernels for ever; accumulators from narrow to generous."""
    pool, widths = list(names), list(lanes)
    while True:
        weight, act = rng.choice(pool), rng.choice(pool)
        count = rng.choice(widths)
        exact = MacSpec(weight, act, count, max(count, rng.choice(LENGTHS)))
        acc = max(4, exact.exact_bits + rng.choice((-4, 0, 0, 0, 5, 12)))
        clamp = saturate and rng.random() < 0.4
        overflow = Overflow.SATURATE if clamp else Overflow.WRAP
        yield MacSpec(weight, act, count, exact.length, acc, overflow)


def _take(style: str, specs: Iterator[MacSpec], count: int, widest: int = 64) -> list[Job]:
    """Return the first ``count`` of ``specs`` that ``style`` can do and that are not too wide."""
    found: list[Job] = []
    for _ in range(count * 400):
        spec = next(specs)
        if len(found) == count:
            break
        if spec.accumulator.width <= widest and _able(style, spec):
            found.append((spec, style))
    return found


def _same(style: str, length: int, lanes: int = 1, acc: int = 0, most: int = 400) -> list[Job]:
    """Return the same-format pairs that ``style`` can do."""
    made = (MacSpec(name, name, lanes, max(length, lanes)) for name in SAME)
    wider = (
        MacSpec(spec.weight, spec.act, spec.lanes, spec.length, spec.exact_bits + acc)
        for spec in made
        if spec.exact_bits <= most
    )
    return [(spec, style) for spec in wider if _able(style, spec)]


STRUCTURAL: Final = {  # style -> (mixed kernels, lanes, the same with codebooks)
    "table": (6, (1,), 3),
    "booth": (6, (1,), 0),
    "shift": (7, (1,), 0),
    "tree": (9, (1, 2, 3, 4), 0),
    "bucket": (7, (1, 1, 2, 4), 0),
    "bucket_fast": (5, (1, 1, 2), 0),
    "dsp": (8, (1,), 0),
    "dsp_acc": (8, (1, 2), 0),
    "digit": (0, (1,), 5),
    "decode": (0, (1,), 5),
    "rom": (0, (1,), 5),
}
PORTABLE: Final = {
    "table_portable": (5, (1,), 2),
    "booth_portable": (6, (1,), 0),
    "shift_portable": (7, (1,), 0),
    "tree_portable": (8, (1, 2, 4), 0),
    "bucket_portable": (7, (1, 1, 2), 0),
    "dsp_portable": (7, (1,), 0),
    "dsp_acc_portable": (8, (1, 2), 0),
    "digit_portable": (0, (1,), 3),
    "decode_portable": (0, (1,), 3),
    "rom_portable": (0, (1,), 3),
}


MORE: Final = {  # style -> (mixed kernels, lanes, the same with codebooks)
    "table_portable": (9, (1,), 4),
    "booth_portable": (14, (1,), 0),
    "shift_portable": (9, (1,), 0),
    "tree_portable": (10, (1, 2, 4), 0),
    "bucket_portable": (8, (1, 1, 2), 0),
    "dsp_portable": (9, (1,), 0),
    "dsp_acc_portable": (10, (1, 2), 0),
    "digit_portable": (0, (1,), 12),
    "decode_portable": (0, (1,), 12),
    "rom_portable": (0, (1,), 12),
    "rom": (0, (1,), 8),
    "plain": (16, (1, 1, 2, 4), 0),
}
"""Kernels that were planned later, where estimates were worst."""
ALIKE: Final = (
    ("e4m2", "int7"), ("e4m1", "int6"), ("e3m3", "int8n"), ("e5m1", "int5"), ("ue4m3", "int4"),
    ("e3m2", "int6"), ("e4m2", "e0m5"), ("ue4m3", "uint7"), ("e3m3", "e1m5"), ("e4m0", "e0m6"),
    ("e5m0", "e1m4"), ("e3m0", "uint6"), ("int4n", "int3"), ("int5", "uint4"), ("e2m0", "e1m4"),
)  # fmt: skip
"""Pairs for style plain, close to those it was worst at: shifted products, signed and wide."""


def _more() -> Iterator[Job]:
    """Yield the kernels of `MORE`; their random numbers leave the first plan as it is."""
    for weight, act in ALIKE:
        yield MacSpec(weight, act, 1, 256), "plain"
    rng = random.Random(SEED + 1)
    for style, (mixed, lanes, books) in MORE.items():
        narrow = _random(rng, (*SAME, *OTHERS), lanes, saturate=style == "plain")
        yield from _take(style, narrow, mixed, 40)
        pairs = _random(rng, BOOKS, lanes, saturate=False)
        beside = _random(rng, (*BOOKS, *BESIDE_BOOKS, *BESIDE_BOOKS), lanes, saturate=False)
        yield from _take(style, pairs if style.startswith("rom") else beside, books)


def planned() -> tuple[Job, ...]:
    """Return the kernels to characterize, in the order of their use; each hardware once."""
    rng = random.Random(SEED)
    usual = (*SAME, *OTHERS)
    first = [(spec, "plain") for spec in standard_specs()]
    plain = _same("plain", 64, acc=3, most=80)[1::3]
    plain += [
        (MacSpec(s.weight, s.act, s.lanes, s.length, s.exact_bits - 2, "saturate"), name)
        for s, name in _same("plain", 256, most=80)[::2]
        if s.exact_bits > 6
    ]
    plain += _take("plain", _random(rng, usual, (1, 1, 2, 4), saturate=True), 44)
    plain += _same("plain", 256, lanes=2, most=34)[::3] + _same("plain", 256, lanes=4, most=26)[::3]
    plain += _same("plain", 256, lanes=16, most=20)[1::2]
    plain += _take("plain", _random(rng, (*SAME, *POWERS), (1,), saturate=False), 6)
    rest = plain
    for styles in (PORTABLE, STRUCTURAL):
        for style, (mixed, lanes, books) in styles.items():
            if styles is PORTABLE and mixed:
                same = _same(style, 256, most=50)
                rest += same[:: 1 + len(same) // 10]
            rest += _take(style, _random(rng, usual, lanes, saturate=False), mixed)
            with_books = _random(rng, (*POWERS, "int4", "int8", "e2m1"), lanes, saturate=False)
            rest += _take(style, with_books, books)
    rest += _more()
    return _once([*first, *sorted(rest, key=_size)])


def _once(jobs: Iterable[Job]) -> tuple[Job, ...]:
    """Return ``jobs`` without a second of the same hardware."""
    from .measurements import identity

    kept: dict[str, Job] = {}
    for spec, style in jobs:
        kept.setdefault(identity(spec, style), (spec, style))
    return tuple(kept.values())


def styles_without() -> list[str]:
    """Return the styles the plan leaves out: none."""
    covered = {style for _, style in planned()}
    return [name for name in STYLES if name not in covered]
