"""Shared by every suite: what "every format" means, and a private cache on request."""

from __future__ import annotations

import pytest

from hwquant import formats

EXOTIC = (
    "e4m3fn e5m2ieee e4m3ieee e3m4ieee e2m3fn e3m0fn ue4m3fn e4m3b4 e4m3b0 e2m1b-3 e5m2b20 "
    "e7m0b0 ue3m2b9 e0m3b1"
)
CODEBOOKS = (
    "pow4a0.75f6 upow3a0.5f2 pow8a0.5f0 pow2a1.5f3 cb2f1_-3_0_1_4 cb3f0_-50_-20_-1_0_2_3 "
    "cb1f24_0_16777215 cb4f7_-128_-89_-67_-51_-36_-24_-12_0_10_21_32_43_56_72_93_128"
)


def every_format() -> list[formats.Format]:
    """Return int2..8, uint1..8, narrow, every (u)ExMy with E>=0 of 2..8 bits, and variants."""
    return [
        *formats.integers(2, 8),
        *formats.integers(1, 8, signed=False),
        *(formats.Integer(bits, narrow=True) for bits in range(2, 9)),
        *(formats.Minifloat(0, m, signed=s) for s in (True, False) for m in range(2 - s, 9 - s)),
        *formats.minifloats(2, 8),
        *formats.minifloats(2, 8, signed=False),
        *map(formats.parse, EXOTIC.split()),
    ]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``fmt`` on every format, codebooks where the module wants them."""
    if "fmt" in metafunc.fixturenames and "fmt" not in _own_parameters(metafunc):
        books = CODEBOOKS if getattr(metafunc.module, "CODEBOOKS_TOO", False) else ""
        metafunc.parametrize("fmt", [*every_format(), *map(formats.parse, books.split())], ids=str)


def _own_parameters(metafunc: pytest.Metafunc) -> set[str]:
    marks = metafunc.definition.iter_markers("parametrize")
    return {name.strip() for mark in marks for name in str(mark.args[0]).split(",")}


@pytest.fixture(scope="session")
def all_formats():
    """Every format, for tests that pair them up."""
    return every_format()


@pytest.fixture
def private_cache(tmp_path, monkeypatch):
    """Point hwquant at an empty cache folder and return it."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("HWQUANT_CACHE", str(folder))
    return folder
