# SPDX-License-Identifier: Apache-2.0
"""The table of parts: whole, found by any of their names, utilisation of their resources."""

from __future__ import annotations

import math

import pytest

from costmodel.fold_search import rates_of
from costmodel.parts import find_part, over, parts, utilisation
from costmodel.usage import Usage
from hwquant.errors import InputError


def test_parts_are_whole_and_their_names_differ():
    names = [name.lower() for part in parts() for name in (part.name, *part.aliases)]
    assert len(names) == len(set(names))
    for part in parts():
        assert min(part.lut, part.ff, part.dsp, part.bram36) > 0
        assert part.source
        assert rates_of(part)["dsp"] == -(-part.lut // part.dsp)
    families = {part.family for part in parts()}
    assert families >= {"Zynq UltraScale+", "Kintex UltraScale+", "Virtex UltraScale+", "Versal"}
    assert {"Artix-7", "ECP5"} <= families


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("zu3eg", "ZU3EG"),
        ("VCK190", "VC1902"),
        ("xcvu9p-flga2104-2L-e", "VU9P"),
        (" A35T ", "A35T"),
    ],
)
def test_parts_are_found_by_their_names(name, found):
    assert find_part(name).name == found


@pytest.mark.parametrize(("name", "near"), [("ZU3E", "ZU3EG"), ("vck19", "VC1902")])
def test_an_unknown_part_is_named_with_suggestions(name, near):
    with pytest.raises(InputError, match=f"did you mean .*{near}"):
        find_part(name)


def test_utilisation():
    part = find_part("ZU3EG")
    percent = utilisation(Usage(lut_sites=7000, lutram=56, ff=141120, bram18=108), part)
    assert percent == {"lut": 10.0, "ff": 100.0, "dsp": 0.0, "bram18": 25.0, "uram": None}
    assert utilisation(Usage(uram=1), part)["uram"] == math.inf
    assert over(Usage(uram=1), part.resources) == {"uram": (1, 0)}
