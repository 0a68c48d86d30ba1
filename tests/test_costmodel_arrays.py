# SPDX-License-Identifier: Apache-2.0
"""Kernels as arrays: the same as specs one by one, and what is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest

from costmodel.fit import rows_of
from costmodel.formulas import estimate_many
from costmodel.kernel import estimate
from costmodel.primitives import FORMULAS, SpecArrays
from hw.styles.plain import product_bits
from hwquant.errors import SpecError
from hwquant.formats import integers, minifloats
from hwquant.mac import MacSpec


def test_arrays_of_specs_say_what_specs_say():
    rng = random.Random(5)
    names = [str(fmt) for fmt in (*integers(2, 8), *minifloats(3, 8))] + ["uint8", "ue4m4", "e0m3"]
    specs = []
    for _ in range(500):
        lanes = rng.choice([1, 2, 3, 8, 100])
        length = rng.choice([lanes, 256, 1 << 32])
        overflow = rng.choice(["wrap", "saturate"])
        specs.append(
            MacSpec(
                rng.choice(names), rng.choice(names), lanes, max(lanes, length), "auto", overflow
            )
        )
    arrays = SpecArrays.from_specs(specs)
    assert arrays.exact_bits.tolist() == [spec.exact_bits for spec in specs]
    assert arrays.product_bits.tolist() == [product_bits(s.weight, s.act) for s in specs]
    again = SpecArrays.of(
        arrays.formats, arrays.weight_id, arrays.act_id, lanes=arrays.lanes, length=arrays.length
    )
    assert again.acc.tolist() == [spec.exact_bits for spec in specs]
    assert [str(arrays.spec(i).weight) for i in range(9)] == [str(s.weight) for s in specs[:9]]


def test_one_price_equals_its_place_among_many():
    rows = rows_of("plain")[::9]
    specs = [row.spec for row in rows]
    many = estimate_many(specs).to_columns()
    for index, spec in enumerate(specs[:10]):
        one = estimate_many([spec]).to_columns()
        assert {name: int(v[0]) for name, v in one.items()} == {
            name: int(v[index]) for name, v in many.items()
        }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight_id": 3}, "format index"),
        ({"lanes": 0}, "lanes 0"),
        ({"lanes": 8, "length": 4}, "length below lanes"),
        ({"acc": 1}, "acc 1"),
        ({"saturate": 2}, "saturate"),
    ],
)
def test_impossible_arrays_are_refused(change, said):
    given = {"weight_id": 0, "act_id": 0} | change
    with pytest.raises(SpecError, match=said):
        SpecArrays.of(["int4", "e2m1"], **given)


def test_impossible_kernels_and_styles_are_refused():
    with pytest.raises(SpecError, match="no formula for style 'none'"):
        estimate_many([MacSpec("int4", "int4")], "none")
    with pytest.raises(SpecError, match="table cannot do"):
        estimate_many([MacSpec("int8", "int8")], "table")
    with pytest.raises(SpecError, match=r"no formula for style \['plain'\]"):
        estimate_many([MacSpec("int4", "int4")], ["plain"])


def test_a_codebook_without_a_formula_is_refused_with_the_way_out():
    spec = MacSpec("pow4a0.75f6", "int4")
    said = "style plain has no formula for codebooks .*style digit, .*decode, .*--synth"
    with pytest.raises(SpecError, match=said):
        estimate_many([MacSpec("int4", "int4"), spec], "plain")
    with pytest.raises(SpecError, match=said):  # as arrays too: its LUTs would be nonsense
        estimate_many(SpecArrays.from_specs([spec]), "plain")
    for style in ("digit", "decode", "rom"):
        assert estimate(spec, style).source in ("formula", "measured")
        assert estimate_many([spec], style).lut_sites[0] > 0


def test_no_kernels_cost_nothing():
    assert len(SpecArrays.from_specs([])) == len(SpecArrays.of([], [], [])) == 0
    for style in FORMULAS:
        for none in ([], SpecArrays.from_specs(())):
            found = estimate_many(none, style).to_columns()
            assert [values.shape for values in found.values()] == [(0,)] * 5
    assert estimate_many(MacSpec("int4", name) for name in ("int4", "e2m1")).ff.shape == (2,)


@pytest.mark.parametrize("specs", ["int4", ["int4"], MacSpec("int4", "int4"), None, [None], 3])
def test_what_is_no_spec_is_refused(specs):
    with pytest.raises(SpecError, match=r"needed: (a sequence of )?MacSpec"):
        estimate_many(specs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight_id": [0, 0], "act_id": [0, 0, 0]}, "lengths weight_id 2, act_id 3, lanes 1"),
        ({"weight_id": [0.5]}, "weight_id .*whole numbers"),
        ({"weight_id": ["int4"]}, "weight_id .*whole numbers"),
        ({"weight_id": [None]}, "weight_id .*whole numbers"),
        ({"weight_id": [[0, 1]]}, "one dimension"),
        ({"weight_id": [[0], [0, 1]]}, "one dimension"),
        ({"lanes": float("nan")}, "lanes nan"),
        ({"lanes": [1.0, float("inf")]}, "lanes .*inf"),
        ({"lanes": 1.5}, "lanes 1.5"),
        ({"length": "many"}, "length 'many'"),
        ({"acc": [1 << 70]}, "acc .*whole numbers"),
        ({"formats": "int4"}, "a list of formats"),
        ({"formats": [4, 5]}, "a format 4"),
        ({"formats": []}, "format index"),
    ],
)
def test_arrays_that_are_no_numbers_are_refused(change, said):
    given = {"formats": ["int4", "e2m1"], "weight_id": 0, "act_id": 0} | change
    with pytest.raises(SpecError, match=said):
        SpecArrays.of(**given)


def test_whole_numbers_may_be_floats():
    found = SpecArrays.of(["int4"], [0.0], 0, lanes=np.array([2.0]), saturate=[True])
    assert found.lanes.tolist() == [2]
    assert estimate_many(found).ff.tolist() == estimate_many([found.spec(0)]).ff.tolist()
