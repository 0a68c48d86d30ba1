# SPDX-License-Identifier: Apache-2.0
"""Formulas of structural kernels and of units that are no plain kernel, against synthesis."""

from __future__ import annotations

import csv
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from costmodel import block_fit, block_points
from costmodel.block_points import Point, requantizer
from costmodel.constant import random_matrix
from costmodel.primitives import FORMULAS, SpecArrays, block_scaled, product, requant
from costmodel.primitives.accumulate import hq_tally, hq_updown
from costmodel.primitives.constant import constant_kernels
from costmodel.primitives.counts import Counts
from costmodel.primitives.packing import block, matched
from costmodel.primitives.product import hq_booth, hq_booth_first
from costmodel.primitives.tile import hq_dsp_tile
from costmodel.primitives.tree import hq_tree_sum
from hw.catalogue import rows
from hw.constant.design import build
from hw.sites import pair_luts
from hw.tile import TileSpec
from hwquant.errors import InputError
from hwquant.formats import parse
from hwquant.mac import MacSpec

DATA = Path(__file__).parents[1] / "costmodel" / "data"
NAMES = ("lut_sites", "lut_raw")
ALWAYS_EXACT = ("ff", "dsp", "lutram")

LIMITS = {
    "booth": (0.0, 0.0), "table": (0.0, 0.0), "digit": (0.0, 0.0), "shift": (0.01, 0.04),
    "tree": (0.01, 0.02), "decode": (0.03, 0.10), "rom": (0.08, 0.25),
}  # fmt: skip
"""Style -> mean and worst relative error over the catalogue, of LUT sites and of LUT cells."""


def _measured() -> list[tuple[MacSpec, str, dict[str, int]]]:
    """Return every committed synthesis of a structural style, once."""
    found = [(row.spec, row.style, dict(row.counts)) for row in rows() if row.style in LIMITS]
    with (DATA / "characterization.csv").open(encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["style"] in LIMITS:
                spec = MacSpec(
                    row["weight"], row["act"], int(row["lanes"]), int(row["length"]),
                    int(row["acc_bits"]), row["overflow"],
                )  # fmt: skip
                counts = {name: int(row[name]) for name in (*NAMES, *ALWAYS_EXACT)}
                found.append((spec, row["style"], counts))
    return found


def _errors(
    estimated: Counts, measured: Sequence[dict[str, int]]
) -> dict[str, tuple[float, float]]:
    """Return mean and worst relative error of sites and cells; the rest must be equal."""
    columns = estimated.to_columns()
    for name in ALWAYS_EXACT:
        np.testing.assert_array_equal(columns[name], [counts[name] for counts in measured], name)
    found = {}
    for name in NAMES:
        truth = np.array([counts[name] for counts in measured])
        error = np.abs(columns[name] - truth) / np.maximum(truth, 1)
        found[name] = (float(error.mean()), float(error.max()))
    return found


def _style_errors(style: str) -> dict[str, tuple[float, float]]:
    chosen = [(spec, counts) for spec, name, counts in _measured() if name == style]
    specs = SpecArrays.from_specs([spec for spec, _ in chosen])
    return _errors(FORMULAS[style](specs), [counts for _, counts in chosen])


@pytest.mark.parametrize("style", LIMITS)
def test_structural_kernels_within_their_limits(style: str):
    mean, worst = LIMITS[style]
    for name, (average, most) in _style_errors(style).items():
        assert average <= mean, f"{name}: mean error {average:.2%}"
        assert most <= worst, f"{name}: worst error {most:.2%}"


def test_a_wrong_formula_of_one_block_is_noticed(monkeypatch: pytest.MonkeyPatch):
    right = product.hq_booth_row
    monkeypatch.setattr(product, "hq_booth_row", lambda width: right(width) * 1.05)
    assert _style_errors("booth")["lut_sites"][1] > 0


def _unit(name: str) -> list[Point]:
    found = [point for point in block_points.read() if point.unit == name]
    assert len(found) >= 3, f"too few points of {name}: run python -m costmodel.block_points"
    return found


def _tiles(points: Sequence[Point]) -> Counts:
    formats = ({name: parse(point.spec[name]) for name in ("weight", "act")} for point in points)
    return hq_dsp_tile(
        [TileSpec(**{**point.spec, **f}) for point, f in zip(points, formats, strict=True)]
    )


def _constants(points: Sequence[Point]) -> Counts:
    designs = []
    for point in points:
        shape = (point.spec["inputs"], point.spec["outputs"])
        matrix = random_matrix(
            point.spec["weights"], *shape, point.spec["act"], seed=block_points.SEED
        )
        designs.append(build(matrix, levels=point.spec["levels"]))
    return constant_kernels(designs)


UNITS = {
    "round": (block_fit.estimates, 0.05, 0.15),
    "mulshift": (block_fit.estimates, 0.05, 0.15),
    "thresholds": (block_fit.estimates, 0.05, 0.15),
    "block": (block_fit.estimates, 0.05, 0.15),
    "tile": (_tiles, 0.02, 0.05),
    "constant": (_constants, 0.03, 0.08),
}


@pytest.mark.parametrize("unit", UNITS)
def test_other_units_within_their_limits(unit: str):
    price, mean, worst = UNITS[unit]
    points = _unit(unit)
    for name, (average, most) in _errors(price(points), [p.counts for p in points]).items():
        assert average <= mean, f"{name}: mean error {average:.2%}"
        assert most <= worst, f"{name}: worst error {most:.2%}"


def test_a_perturbed_coefficient_is_noticed(monkeypatch: pytest.MonkeyPatch):
    raw, sites = requant.FITTED["test"]
    monkeypatch.setitem(requant.FITTED, "test", (1.5 * raw, 1.5 * sites))
    points = _unit("round")
    errors = _errors(block_fit.estimates(points), [point.counts for point in points])
    assert all(most > 0.15 for _, most in errors.values())


def test_coefficients_are_those_of_the_data():
    points = block_points.read()
    chosen = block_fit.requant_points(points)
    assert block_fit.fit(chosen, requant.FITTED, block_fit.estimates) == requant.FITTED
    scaled = [point for point in points if point.unit == "block"]
    found = block_fit.fit(scaled, block_scaled.FITTED, block_fit.estimates)
    assert found == block_scaled.FITTED


def test_requantizers_of_formats_held_out(monkeypatch: pytest.MonkeyPatch):
    points = block_fit.requant_points(block_points.read())
    errors = []
    for fmt in sorted({point.spec["fmt"] for point in points if point.unit == "round"}):
        rest = [point for point in points if point.spec.get("fmt") != fmt]
        out = [point for point in points if point.unit == "round" and point.spec["fmt"] == fmt]
        with monkeypatch.context() as patch:
            table = block_fit.fit(rest, requant.FITTED, block_fit.estimates)
            patch.setattr(requant, "FITTED", table)
            columns = block_fit.estimates(out).to_columns()
        for name in NAMES:
            truth = np.array([point.counts[name] for point in out])
            errors += (np.abs(columns[name] - truth) / truth).tolist()
    assert np.mean(errors) <= 0.06
    assert np.max(errors) <= 0.20


def test_arrays_equal_one_by_one():
    chosen = [spec for spec, style, _ in _measured() if style == "tree"]
    together = FORMULAS["tree"](SpecArrays.from_specs(chosen)).to_columns()
    for index, spec in enumerate(chosen):
        alone = FORMULAS["tree"](SpecArrays.from_specs([spec])).to_columns()
        assert all(alone[name][0] == together[name][index] for name in together)


@pytest.mark.parametrize("style", ["booth", "shift", "table", "tree"])
def test_a_wider_accumulator_never_costs_less(style: str):
    pair = {"booth": ("int5", "int5"), "table": ("e2m1", "e2m1")}.get(style, ("e3m2", "e3m2"))
    specs = SpecArrays.of(pair, 0, 1, length=256, acc=np.arange(32, 90))
    columns = FORMULAS[style](specs).to_columns()
    for name in ("lut_sites", "lut_raw", "ff"):
        assert (np.diff(columns[name]) >= 0).all()


def test_more_lanes_cost_more():
    specs = SpecArrays.of(("e2m1", "int4"), 0, 1, lanes=np.arange(1, 65), length=4096, acc=32)
    columns = FORMULAS["tree"](specs).to_columns()
    # Not so flip-flops: a fuller tree needs fewer registers for what waits.
    assert (np.diff(columns["lut_sites"]) > 0).all()
    assert (np.diff(columns["lut_raw"]) > 0).all()


def test_blocks_by_hand():
    # Two rows of eight positions behind a first row of five, its ends in one more site.
    assert hq_booth(6, 6, 1, 1).packed().to_columns()["lut_sites"] == 22
    assert hq_booth_first(4, 1).packed().to_columns()["lut_raw"] == 4
    # Eleven positions, nine bits of counter in five sites and a half, one of control.
    assert hq_tally(11, 20).packed().to_columns() == {
        "lut_sites": 18, "lut_raw": 18, "lutram": 0, "ff": 42, "dsp": 0
    }  # fmt: skip
    assert hq_updown(0).packed().to_columns()["lut_raw"] == 0
    assert hq_tree_sum(1, 8, 0, 20).packed().to_columns()["ff"] == 0
    assert hq_tree_sum(3, 8, 0, 20).packed().to_columns() == {
        "lut_sites": 9, "lut_raw": 8, "lutram": 0, "ff": 10, "dsp": 0
    }  # fmt: skip


def test_strangers_share_sites_as_the_estimator_pairs_them():
    rng = random.Random(3)
    for _ in range(40):
        sizes = [rng.randrange(1, 5) for _ in range(rng.randrange(1, 12))]
        luts = [frozenset(f"{at}.{k}" for k in range(size)) for at, size in enumerate(sizes)]
        words = ("one", "two", "three", "four")
        loose = {word: sizes.count(k + 1) for k, word in enumerate(words)}
        packed = block(raw=len(sizes), **loose).packed().to_columns()  # type: ignore[arg-type]
        assert packed["lut_sites"] == len(luts) - len(pair_luts(luts))


def test_luts_that_share_inputs_are_matched():
    four = [frozenset("ab"), frozenset("abc"), frozenset("abcdef"), frozenset("wxyz")]
    assert matched(four) == (2, 4, 0, 0, 0, 1)


def test_a_table_of_random_words_costs_what_its_size_says():
    record = {"fmt": "int8", "acc_bits": 24, "channels": 64, "bias_bits": 12, "shift": 8}
    spec = requantizer("round", record)
    table = requant.requantizers([spec]).to_columns()["lut_raw"]
    one = requant.requantizers([requantizer("round", record | {"channels": 1})])
    rom = requant.hq_rom(64, 13).packed().to_columns()
    assert rom["lut_raw"] == 13
    assert rom["ff"] == 13
    assert table[0] > one.to_columns()["lut_raw"][0]


def test_bad_points_are_refused():
    with pytest.raises(InputError, match="unit 'lut'"):
        block_points.sources("lut", {})
    with pytest.raises(InputError, match="jobs"):
        block_points.write([], DATA / "none.csv", jobs=0)
