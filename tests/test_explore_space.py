# SPDX-License-Identifier: Apache-2.0
"""Spaces: products of choices, TOML there and back, what a bad space says."""

import pytest
from click.testing import CliRunner

from costmodel.explore.folder import load, prepare
from costmodel.explore.measure import measurement_key, point_key
from costmodel.explore.space import Space, coordinates, from_toml, label, weight_side
from costmodel.explore.sweep_command import sweep as command
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
        rules=("mse", "percentile"),
        seeds=(0, 3),
        styles=("plain", "auto"),
        layers=({}, {"stages.0.conv": {"weight": "int8", "act_unsigned": True}}),
        price="formula",
        parts=("ZU3EG",),
        limits={"lut_sites": 20000, "weight_bits": 1.5e6},
        test_items=100,
        recipe={"first_last": ["int8", "int8"], "percentile": 99.5},
    )
    (tmp_path / "space.toml").write_text(space.to_toml())
    again = Space(**from_toml(tmp_path / "space.toml"))
    assert again == space
    assert again.plan() == space.plan()
    assert again.points()[-1].calibration == "percentile"


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
        ("wieghts = ['int4']", "key 'wieghts' is unknown, allowed: model.*did you mean weights"),
        ("seeds = ['0']", "allowed a list of integers"),
        ("seeds = 3", "allowed a list of integers"),
        ("layers = [3]", "allowed a list of tables"),
        ("[[layers]]\nhead = 'int8'", "allowed a list of tables"),
        ("limits = 5", "allowed a table of numbers"),
        ("price = 3", "allowed a string"),
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
        ({"styles": ()}, InputError),
        ({"styles": ("boot",)}, InputError),
        ({"price": "guess"}, InputError),
        ({"rules": ("mean",)}, SpecError),
        ({"seeds": (-1,)}, InputError),
        ({"seed": 1, "seeds": (2,)}, InputError),
        ({"parts": ("ZU3",)}, InputError),
        ({"test_items": -1}, InputError),
        ({"limits": {"lut_sites": -1}}, InputError),
        ({"limits": {"lut_sites": True}}, InputError),
        ({"limits": {"lut_sites": float("nan")}}, InputError),
        ({"limits": {"weight_bits": 0}}, InputError),
        ({"limits": {"lut_sites": 10**6}, "parts": ("ZU3EG",)}, InputError),
        ({"layers": ({"head": {"wait": "int8"}},)}, SpecError),
        ({"layers": ({},), "recipe": {"overrides": {}}}, InputError),
        ({"rules": ("mse",), "recipe": {"calibration": "mse"}}, InputError),
    ],
)
def test_a_bad_choice_is_refused_at_once(choices, error):
    with pytest.raises(error):
        Space(**choices)


@pytest.mark.parametrize(
    ("choices", "said"),
    [
        ({"limits": {"lut_sitez": 3}}, "did you mean lut_sites"),
        ({"styles": ("boothe",)}, "did you mean booth"),
        ({"parts": ("ZU3",)}, "did you mean ZU3EG"),
        ({"limits": {"lut_sites": 10**6}, "parts": ("ZU3EG",)}, "contradict each other"),
        ({"recipe": {"weight": "int4"}}, "give it as weights"),
        ({"acts": ()}, "acts is empty, so there is no point"),
    ],
)
def test_what_a_bad_choice_says(choices, said):
    with pytest.raises(InputError, match=said) as caught:
        Space(**choices)
    assert "\n" not in str(caught.value)


def test_every_axis_multiplies_the_points():
    space = Space(
        weights=("int4", "e2m1"),
        rules=("mse", "absmax"),
        layers=({}, {"head": {"weight": "int8", "act": "int8"}}),
        seeds=(0, 7),
        styles=("plain", "auto"),
    )
    plan = space.plan()
    assert len(plan) == len(set(plan)) == 2**5
    assert len(space.points()) == 2**3
    seen = [coordinates(point) for point in plan]
    assert len({tuple(sorted(record.items())) for record in seen}) == len(plan)
    assert seen[0].keys() == coordinates(space.points()[0]).keys()  # no column for what is usual
    assert (seen[-1]["style"], seen[-1]["seed"]) == ("auto", 7)
    assert seen[-1]["layers"] == "head: act int8, weight int8"
    keys = {point_key(space, point) for point in plan}
    assert len(keys) == len(plan)
    measurements = {measurement_key(space, point.recipe, point.seed) for point in plan}
    assert len(measurements) == len(plan) // 2  # styles are priced, not measured again
    assert point_key(space, space.points()[0]) == point_key(space, plan[0])


def test_items_are_part_of_a_points_key():
    keys = {
        point_key(space, space.plan()[0])
        for space in (Space(), Space(test_items=100), Space(calib_items=100))
    }
    assert len(keys) == 3


def test_a_weight_side_is_all_but_the_activations():
    def sides(**choices):
        return {weight_side(point) for point in Space(**choices).plan()}

    assert len(sides(weights=("int4",), acts=("int4", "int8"), styles=("plain", "auto"))) == 1
    assert len(sides(weights=("int4", "int5"), acts=("int8",))) == 2
    assert len(sides(weights=("int4",), seeds=(0, 1))) == 2


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


@pytest.mark.parametrize(("option", "text"), [("--weights", ""), ("--acts", "int4,,int8")])
def test_an_empty_name_is_refused(option, text):
    done = CliRunner().invoke(command, ["--dry-run", option, text])
    assert done.exit_code == 2
    assert "names nothing" in done.output


def test_a_dry_run_has_headings():
    done = CliRunner().invoke(command, ["zoo:digits_mlp", "--weights", "int4", "--dry-run"])
    assert done.exit_code == 0, done.output
    head, line = done.stdout.splitlines()[:2]
    assert head.split()[:2] == ["weight", "act"]
    assert line.split()[0] == "int4"
    assert len(line.split()) == len(head.split())


def test_a_damaged_lock_file_is_named(tmp_path):
    prepare(tmp_path / "run", Space())
    (tmp_path / "run" / "config.lock.toml").write_text("weights = [")
    with pytest.raises(InputError, match=r"config\.lock\.toml is not TOML"):
        prepare(tmp_path / "run", Space())
