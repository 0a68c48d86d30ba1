# SPDX-License-Identifier: Apache-2.0
"""Spaces: products of choices, TOML there and back, what a bad space says."""

import pytest

from costmodel.explore.folder import load, prepare
from costmodel.explore.space import Space, coordinates, from_toml, label
from hwquant.errors import FormatError, HwquantError, InputError, SpecError


def test_points_are_the_product_without_repeats():
    space = Space(weights=("int4", "e2m1"), acts=("same", "int4"), scales=("po2", "float"))
    pairs = [(str(p.weight), str(p.act), p.scale) for p in space.points()]
    assert pairs == [
        ("int4", "int4", "po2"),
        ("e2m1", "e2m1", "po2"),
        ("e2m1", "int4", "po2"),
        ("int4", "int4", "float"),
        ("e2m1", "e2m1", "float"),
        ("e2m1", "int4", "float"),
    ]


def test_a_space_survives_toml(tmp_path):
    space = Space(
        model='dir with "quotes"/net.py:make@w.pth',
        weights=("e4m3b4", "int4n"),
        steps=(("calibrate:rule=absmax",), ("calibrate", "bias_correction")),
        lanes=3,
        recipe={"calibration": "absmax", "first_last": ["int8", "int8"], "percentile": 99.5},
    )
    (tmp_path / "space.toml").write_text(space.to_toml())
    again = Space(**from_toml(tmp_path / "space.toml"))
    assert again == space
    assert again.points() == space.points()
    assert again.points()[0].calibration == "absmax"


def test_names_of_points():
    record = coordinates(Space(weights=("e2m1",), acts=("int8",)).points()[0])
    assert record["steps"] == "calibrate+bias_correction"
    assert label(record) == "e2m1/int8"
    assert label(record | {"act": "e2m1"}) == "e2m1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("weights = [", "is not TOML"),
        ("\x00", "is not TOML"),
        ("wieghts = ['int4']", "key 'wieghts' is unknown, allowed: model"),
        ("weights = 'int4'", "allowed a list of strings"),
        ("weights = [4]", "allowed a list of strings"),
        ("steps = ['calibrate']", "allowed a list of lists of strings"),
        ("lanes = true", "allowed an integer"),
        ("lanes = '8'", "allowed an integer"),
        ("recipe = 3", "allowed a table"),
    ],
)
def test_a_bad_file_is_one_clear_line(tmp_path, text, said):
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        from_toml(path)
    assert str(path) in str(caught.value)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match="cannot read"):
        from_toml(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("choices", "error"),
    [
        ({"weights": ()}, InputError),
        ({"weights": ("int99",)}, FormatError),
        ({"acts": ("sane",)}, FormatError),
        ({"steps": (("calibrait",),)}, SpecError),
        ({"scales": ("pot",)}, SpecError),
        ({"granularities": ("per_row",)}, SpecError),
        ({"lanes": 0}, InputError),
        ({"recipe": {"weight": "int4"}}, InputError),
        ({"recipe": {"wait": "int4"}}, SpecError),
    ],
)
def test_a_bad_choice_is_refused_at_once(choices, error):
    with pytest.raises(error):
        Space(**choices)


def test_a_run_folder_is_taken_up_only_by_the_same_space(tmp_path):
    space = Space(weights=("int4",), recipe={"calibration": "absmax"})
    prepare(tmp_path / "run", space)
    prepare(tmp_path / "run", space)
    assert load(tmp_path / "run")[1] == space
    with pytest.raises(InputError, match=r'another run \(weights: \["int4"\] there, \["int5"\]'):
        prepare(tmp_path / "run", Space(weights=("int5",), recipe=space.recipe))


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="holds no run"):
        prepare(tmp_path, Space())
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(InputError, match="it is a file"):
        prepare(tmp_path / "thesis.txt", Space())
    with pytest.raises(HwquantError, match="holds no run"):
        load(tmp_path)
    with pytest.raises(HwquantError, match="cannot write"):
        prepare("/proc/run", Space())


def test_a_damaged_lock_file_is_named(tmp_path):
    prepare(tmp_path / "run", Space())
    (tmp_path / "run" / "config.lock.toml").write_text("weights = [")
    with pytest.raises(InputError, match=r"config\.lock\.toml is not TOML"):
        prepare(tmp_path / "run", Space())
