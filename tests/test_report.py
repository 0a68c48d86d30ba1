# SPDX-License-Identifier: Apache-2.0
"""The figure and the offline page: same bytes twice, no request, no broken markup."""

import base64
import gzip
import json
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from costmodel.explore.folder import prepare
from costmodel.explore.hypervolume import hypervolume
from costmodel.explore.measure import point_key, trained
from costmodel.explore.pareto import Sense
from costmodel.explore.pricing import priced
from costmodel.explore.row import Row, Status
from costmodel.explore.rows import read
from costmodel.explore.space import Space, coordinates
from costmodel.explore.store import Store
from costmodel.explore.sweep import sweep
from costmodel.report import page, plots
from costmodel.report.compare import Other, compared
from costmodel.report.details import add_details, read_details
from costmodel.report.front import find_front, growth
from costmodel.report.live import LivePage, View, follow, show
from costmodel.report.records import records_of
from costmodel.report.run import write_page
from hwquant import cache
from hwquant.errors import InputError
from hwquant.ptq.recipe import Recipe

FORMATS = ["int3", "int4", "int8", "e1m2", "e2m1", "e3m2", "e4m3"]
X = [100.0, 200.0, 700.0, 180.0, 150.0, 500.0, 1500.0]
Y = [0.8, 0.93, 0.97, 0.92, 0.925, float("nan"), 0.969]


def figure(**changes):
    fields = {"x": X, "y": Y, "formats": FORMATS, "labels": FORMATS}
    fields |= {"x_axis": plots.axis("lut_sites"), "y_axis": plots.axis("top1")}
    return plots.Figure(**(fields | {"caption": "Yosys 0.70", "chosen": 1} | changes))


def test_figure_is_the_same_twice_and_both_files_are_whole(tmp_path):
    for run in ("a", "b"):
        folder = tmp_path / run
        plots.draw(figure(), folder / "f.png", folder / "f.svg", folder / "f.pdf")
    for name in ("f.png", "f.svg", "f.pdf"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    png = (tmp_path / "a" / "f.png").read_bytes()
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    assert width > 900
    assert height > 600
    ET.parse(tmp_path / "a" / "f.svg")  # noqa: S314 - our own file


def test_another_point_gives_another_figure(tmp_path):
    """Negative control of the comparison above."""
    plots.draw(figure(), tmp_path / "a.svg")
    plots.draw(figure(chosen=2), tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() != (tmp_path / "b.svg").read_bytes()


def test_families_differ_by_marker_and_by_colour():
    names = ["uint4", "int4n", "e0m3", "ue1m3", "e2m1", "e3m2", "e4m3fn", "e5m2ieee"]
    families = [plots.family(name) for name in names]
    assert families == [
        *["integer"] * 2,
        *["minifloat E0-E1"] * 2,
        "minifloat E2",
        "minifloat E3",
        *["minifloat E4+"] * 2,
    ]
    markers, colours = zip(*plots.STYLE.values(), strict=True)
    assert len(set(markers)) == len(set(colours)) == len(plots.STYLE)


def test_colours_stay_apart_in_grey_and_for_colour_blind_readers():
    """Okabe and Ito's palette: no two families closer than a fixed distance, simulated or not."""
    # Machado et al. 2009, severity 1.0, on linear RGB.
    simulations = {
        "normal": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                   [-0.011820, 0.042940, 0.968881]],
    }  # fmt: skip
    codes = [colour for _, colour in plots.STYLE.values()]
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in codes])
    for matrix in simulations.values():
        seen = np.clip(rgb**2.2 @ np.array(matrix).T, 0, 1) ** (1 / 2.2)
        gaps = np.linalg.norm(seen[:, None] - seen[None], axis=2)
        assert gaps[~np.eye(len(seen), dtype=bool)].min() > 0.1


def test_figures_of_one_point_and_of_other_senses(tmp_path):
    one = {"x": [5], "y": [0.5], "formats": ["int4"], "labels": ["int4"], "chosen": 0}
    plots.draw(figure(**one), tmp_path / "one.svg")
    fps = plots.axis("frames", "max")
    assert fps.sense is Sense.MAX
    plots.draw(figure(x_axis=fps, y_axis=plots.axis("acc_bits")), tmp_path / "max.svg")
    with pytest.raises(InputError, match=r"\.png, \.svg, \.pdf"):
        plots.draw(figure(), tmp_path / "f.bmp")


class Audit(HTMLParser):
    """Collects every address a browser would ask for, and checks that tags nest."""

    VOID = frozenset({"meta", "link", "input", "br", "img"})

    def __init__(self):
        super().__init__()
        self.open, self.addresses, self.wrong = [], [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "action", "srcset", "data", "poster"):
                self.addresses.append(value)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def audit(text):
    found = Audit()
    found.feed(text)
    found.close()
    assert not found.wrong
    assert not found.open
    css = re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", text)
    addresses = found.addresses + [a or b for a, b in css]
    return [a for a in addresses if not a.startswith(("#", "data:"))]


AXES = [plots.axis("lut_sites"), plots.axis("top1")]


def sample(rows, **changes):
    fields = {"title": "t", "lead": "l", "figure_svg": "<svg></svg>", "facts": {}, "rows": rows}
    fields |= {"tables": [()] * len(rows), "axes": AXES, "x": "lut_sites", "y": "top1"}
    return page.Page(**(fields | {"chosen": 0} | changes))


def data_of(text):
    found = re.search(r'<script type="application/octet-stream" id="data">(.*?)</script>', text)
    return json.loads(gzip.decompress(base64.b64decode(found[1])))


def column_of(data, name):
    column = next(c for c in data["columns"] if c["name"] == name)
    return (
        [column["words"][code] for code in column["codes"]]
        if "words" in column
        else column["values"]
    )


def test_hostile_text_stays_text():
    evil = '</script><script src="http://x/">alert(1)</script>&"\'$title'
    text = page.render(
        sample(
            [{"a": evil, "b": float("nan")}],
            title=evil,
            lead=evil,
            facts={evil: evil},
            tables=[[{"name": evil, evil: evil}]],
            commands=[(evil, evil)],
            environment={evil: evil},
        )
    )
    assert audit(text) == []
    data = data_of(text)
    assert (column_of(data, "a"), column_of(data, "b")) == ([evil], [None])


def layer_tables(data, point):
    """Read one point's layers back as the page does."""
    shape = data["layers"]["shapes"][data["layers"]["of"][point]]
    before = data["layers"]["of"][:point].count(data["layers"]["of"][point])
    size = len(shape["names"])

    def value(column, index):
        return (
            column["words"][column["codes"][index]]
            if "words" in column
            else column["values"][index]
        )

    return [
        {"name": name}
        | {column["name"]: value(column, k) for column in shape["fixed"]}
        | {column["name"]: value(column, before * size + k) for column in shape["varying"]}
        for k, name in enumerate(shape["names"])
    ]


def test_layers_come_back_from_the_page_as_they_were():
    def table(names, weight, luts):
        return [
            {"name": name, "op": "conv", "weight": weight, "lut_sites": luts + k}
            for k, name in enumerate(names)
        ]

    tables = [table("ab", "int4", 5), [], table("abc", "e2m1", 9), table("ab", "int8", 7)]
    rows = [{"lut_sites": k, "top1": k} for k in range(4)]
    data = data_of(page.render(sample(rows, tables=tables)))
    assert data["layers"]["of"] == [0, -1, 1, 0]
    for point in (0, 2, 3):
        assert layer_tables(data, point) == tables[point]


def test_the_audit_notices_a_request():
    """Negative control: a page with one outside address is found."""
    text = page.render(sample([]))
    assert audit(text) == []
    assert audit(text.replace("<h1>", '<img src="https://x/y.png"><h1>')) == ["https://x/y.png"]


def rows_of(space, results):
    keys = range(len(results))
    return [
        Row(f"k{key}", coordinates(recipe), Status.DONE, dict(result), [dict(LAYER)])
        for key, recipe, result in zip(keys, space.points(), results, strict=True)
    ]


LAYER = {"name": "fc", "weight": "int4", "act": "int4", "lanes": 8, "length": 64, "acc_bits": 13}
METRICS = {"float_top1": 0.99, "ff": 1, "dsp": 0, "weight_bits": 640, "memory_luts": 3}
METRICS |= {"memory_bram18": 1, "test_items": 360, "acc_bits": 13, "flow": "Yosys 0.70, rules"}


def test_a_run_becomes_a_page(tmp_path, monkeypatch):
    space = Space(weights=("int3", "int4", "int8"), recipe={"first_last": ["int8", "int8"]})
    values = [(100, 0.8), (200, 0.95), (700, 0.96)]
    rows = rows_of(space, [METRICS | {"lut_sites": x, "top1": y} for x, y in values])
    rows[2] = Row("k2", rows[2].point, Status.FAILED, {}, [], "out of <memory>")
    folder = prepare(tmp_path / "run", space)
    front = find_front(rows, plots.axis("lut_sites"), plots.axis("top1"))
    write_page(folder, space, rows, front)
    text = folder.report.read_text()
    assert audit(text) == []
    data = data_of(text)
    assert data["chosen"] == 1
    assert column_of(data, "status") == ["done"] * 2 + ["failed"]
    assert column_of(data, "family") == ["integer"] * 3
    assert "hwquant take run --pick key:k1 -o hardware_k1" in text
    low, high = column_of(data, "top1_low")[1], column_of(data, "top1_high")[1]
    assert 0.92 < low < 0.95 < high < 0.97
    assert {"lut_sites", "top1", "weight_bits"} <= {axis["name"] for axis in data["axes"]}
    assert "refresh" not in text.partition("<title>")[0]
    assert Recipe.from_toml(folder.recipe.read_text()) == space.points()[1]
    assert "Yosys 0.70, rules" in text
    assert "prefers-color-scheme: dark" in text
    assert str(tmp_path) not in text
    # A relative path stays as it was given, for its commands are pasted where it was.
    monkeypatch.chdir(tmp_path.parent)
    inside = prepare(Path(tmp_path.name) / "run", space)
    write_page(inside, space, rows, front)
    assert f"hwquant take {tmp_path.name}/run --pick key:k1 " in inside.report.read_text()


def test_ten_thousand_points_with_layers_stay_under_three_megabytes(tmp_path):
    rng = np.random.default_rng(0)
    names = rng.choice(FORMATS, 10_000)
    x, y = rng.uniform(100, 5000, 10_000), rng.uniform(0.1, 1, 10_000)
    plots.draw(figure(x=x, y=y, formats=names, labels=names), tmp_path / "f.svg")
    point = coordinates(Space().points()[0]) | {"status": "done", "family": "integer"}
    rows = [
        point | {"key": f"{k:012x}", "weight": name, "lut_sites": int(a), "top1": b} | METRICS
        for k, (name, a, b) in enumerate(zip(names, x, y, strict=True))
    ]
    tables = [
        [dict(LAYER) | {"name": f"l{k}", "weight": str(name), "lut_sites": int(a) // 9 + k}
         for k in range(9)]
        for name, a in zip(names, x, strict=True)
    ]  # fmt: skip
    text = page.render(sample(rows, tables=tables, figure_svg=(tmp_path / "f.svg").read_text()))
    assert len(text) < 3_000_000, len(text)
    assert layer_tables(data_of(text), 9_999) == tables[9_999]


def test_the_hypervolume_grows_while_results_come_in():
    space = Space(weights=("int3", "int4", "int8"))
    values = [(100, 0.8), (200, 0.95), (700, 0.96)]
    rows = rows_of(space, [METRICS | {"lut_sites": x, "top1": y} for x, y in values])
    timed = [replace(row, finished=1e9 + 5 * k) for k, row in enumerate(rows)]
    pairs = growth(find_front(timed, *AXES))
    assert [seconds for seconds, _ in pairs] == [0, 5, 10]
    volumes = [volume for _, volume in pairs]
    assert volumes == sorted(volumes)
    assert volumes[-1] == pytest.approx(find_front(timed, *AXES).hypervolume, abs=1e-5)
    assert growth(find_front(rows, *AXES)) == []


def stored(root, space, values, done=3):
    """Return a run folder with a store: the first ``done`` points finished, the others waiting."""
    folder = prepare(root, space)
    with Store(folder.store) as store:
        rows = rows_of(space, [METRICS | {"lut_sites": x, "top1": y} for x, y in values])
        store.enroll((row.key, row.point) for row in rows)
        for row in rows[:done]:
            store.save(row.key, row.status, row.metrics, row.layers)
    return folder


SPACE = Space(weights=("int3", "int4", "int8"))
VALUES = [(100, 0.8), (200, 0.95), (700, 0.96)]


def refreshes(path):
    found = re.search(r'<meta http-equiv="refresh" content="(\d+)">', path.read_text())
    return None if found is None else int(found[1])


def test_the_page_follows_a_run_and_rests_when_it_has_ended(tmp_path):
    folder = stored(tmp_path / "run", SPACE, VALUES, done=1)
    shown = []

    def later(seconds):
        """What the sweep does meanwhile: one point more."""
        shown.append((seconds, refreshes(folder.report)))
        with Store(folder.store) as store:
            row = next(r for r in store.rows() if r.status is Status.WAITING)
            x, y = VALUES[len(shown)]
            store.save(row.key, Status.DONE, METRICS | {"lut_sites": x, "top1": y}, [dict(LAYER)])

    assert follow(folder.root, View(), 7, sleep=later) == 2
    assert shown == [(7, 7), (7, 7)]
    told = show(folder.root, View())
    assert refreshes(folder.report) is None
    assert (told["points"], told["done"]) == (3, 3)
    assert follow(folder.root, View(), 7, sleep=later) == 0


def test_a_live_page_is_written_now_and_then_and_never_disturbs(tmp_path):
    folder = stored(tmp_path / "run", SPACE, VALUES, done=0)
    now = [100.0]
    live = LivePage(SPACE, seconds=5, clock=lambda: now[0])
    assert live(folder) is False  # nothing is finished
    assert not folder.report.exists()
    with Store(folder.store) as store:
        row = store.rows()[0]
        store.save(row.key, Status.DONE, METRICS | {"lut_sites": 1, "top1": 0.5}, [dict(LAYER)])
    assert live(folder) is False  # too early
    now[0] += 5
    assert live(folder) is True
    assert refreshes(folder.report) == 5
    assert "1 points" not in folder.report.read_text().partition("<h2")[0]
    assert not folder.figure(".png").exists()  # a page at work is the page alone
    assert live(folder) is False


@pytest.mark.slow
@pytest.mark.synth
def test_a_sweep_at_work_writes_a_page_that_loads_itself_again(tmp_path):
    given = {"model": "zoo:digits_mlp", "weights": ("int3", "int4"), "steps": (("calibrate",),)}
    space = Space(**given, lanes=1, folding="shared", seed=7)
    for recipe in space.points():  # so that there is work to do
        cache.entry_path("point", point_key(space, recipe)).unlink(missing_ok=True)
    seen = []
    live = LivePage(space, seconds=1, clock=lambda: 1e6 * len(seen))

    def watch(folder):
        seen.append(None)
        if live(folder):
            seen[-1] = refreshes(folder.report), len(column_of(data_of(
                folder.report.read_text()), "key"))  # fmt: skip

    done = sweep(space, tmp_path / "run", workers=1, watch=watch)
    assert not done.failed
    assert seen == [(1, 2)] * 2
    show(done.folder.root, View())
    assert refreshes(done.folder.report) is None


def test_two_runs_are_compared_in_one_square(tmp_path):
    mine = stored(tmp_path / "a", SPACE, VALUES)
    better = [(100, 0.9), (200, 0.95), (300, 0.99)]
    theirs = stored(tmp_path / "b", SPACE, better)
    front = find_front(read(mine.store), *AXES)
    tables = compared(front, mine, Other("b", theirs, read(theirs.store)))
    lines = {line[0]: line[1:] for line in tables[0].lines}
    assert lines["finished points"] == (3, 3)
    assert lines["points on the joint front"] == (1, 3)  # (200, 0.95) is in both
    both = np.array(VALUES + better)
    unit = (both - both.min(axis=0)) / np.ptp(both, axis=0)
    for part, told in zip((unit[:3], unit[3:]), lines["hypervolume in the square of both"],
                          strict=True):  # fmt: skip
        assert told == pytest.approx(hypervolume(part, [1, 0], ["min", "max"]), abs=1e-4)
    common = tables[1]
    assert "3 points have the same coordinates in both runs, 2 of them" in common.lead
    assert {line[0] for line in common.lines} == {"int3", "int8"}
    told = show(mine.root, View(), output=tmp_path / "both.html", other=theirs.root)
    assert told["points"] == 3
    text = (tmp_path / "both.html").read_text()
    assert audit(text) == []
    data = data_of(text)
    assert column_of(data, "run") == ["a"] * 3 + ["b"] * 3
    assert [series["name"] for series in data["history"]] == ["a", "b"]
    assert "Points in both runs" in text
    assert not mine.report.exists()  # the run's own page is left alone
    with pytest.raises(InputError, match="holds no run"):
        show(mine.root, View(), other=tmp_path)


def test_runs_of_one_name_keep_theirs_apart(tmp_path):
    mine = stored(tmp_path / "x" / "run", SPACE, VALUES)
    stored(tmp_path / "y" / "run", SPACE, VALUES)
    out = tmp_path / "p.html"
    show(mine.root, View(), output=out, other=tmp_path / "y" / "run")
    assert len(set(column_of(data_of(out.read_text()), "run"))) == 2


def test_estimates_carry_the_intervals_of_the_cost_model():
    space = Space(weights=("int3", "int4"), lanes=4)
    layers = [
        {"name": "a", "op": "linear", "length": 64, "outputs": 8, "weights": 512, "channels": 8}
        | {"weight": "int4", "act": "int4", "acc_bits": 14}
    ]
    totals, detail = priced(layers, {"folding": "per-layer", "lanes": 4}, formula)
    rows = [
        Row("k", coordinates(space.points()[0]), Status.DONE, METRICS | totals, detail),
        Row("m", coordinates(space.points()[1]), Status.DONE, METRICS | totals
            | {"source": "synthesis"}, detail),
    ]  # fmt: skip
    estimated, synthesized = records_of(rows, "", space)
    assert totals["source"] == "formula"
    assert estimated["lut_sites_low"] < totals["lut_sites"] < estimated["lut_sites_high"]
    assert "lut_sites_low" not in synthesized  # what was counted has no interval


def formula(spec):
    from costmodel.kernel import _formula

    return _formula(spec, "plain")


def test_details_are_computed_once_and_fit_into_the_page(tmp_path):
    space = Space(model="zoo:digits_mlp", weights=("e2m1",), steps=(("calibrate",),))
    (recipe,) = space.points()
    folder = prepare(tmp_path / "run", space)
    with Store(folder.store) as store:
        key = point_key(space, recipe)
        store.enroll([(key, coordinates(recipe))])
        store.save(key, Status.DONE, METRICS | {"lut_sites": 9, "top1": 0.9}, [dict(LAYER)])
    show(folder.root, View(details="pick"))
    (kept,) = (folder.root / "details").iterdir()
    first = kept.read_bytes()
    assert len(first) < 20_000
    stamp = kept.stat().st_mtime_ns
    show(folder.root, View(details="front"))
    assert kept.stat().st_mtime_ns == stamp
    found = data_of(folder.report.read_text())["details"]["0"]
    assert found["key"] == key
    weights = found["weights"]
    assert [w["format"] for w in weights] == ["e2m1"] * len(weights)
    model = trained(space.model, "").model
    sizes = [p.numel() for p in model.parameters() if p.dim() == 2]
    assert [sum(w["codes"]) for w in weights] == [sum(w["float"]) for w in weights] == sizes
    assert {s["part"] for s in found["sensitivity"]} == {"weight", "act", "both"}
    assert all(sum(act["counts"]) > 0 for act in found["acts"])
    kept.write_text("{")  # a damaged file is none
    assert read_details(folder, [key]) == {}
    add_details(folder, space, read(folder.store))
    assert kept.read_bytes() == first  # equal arguments give equal details


def test_a_point_of_another_version_has_no_details_and_the_page_is_written(tmp_path, capsys):
    folder = stored(tmp_path / "run", SPACE, VALUES)
    show(folder.root, View(details="pick"))
    assert "another version" in capsys.readouterr().err
    assert data_of(folder.report.read_text())["details"] == {}


def test_figures_have_the_sizes_of_papers_and_carry_their_fonts(tmp_path):
    for size, inches in (("column", 3.45), ("wide", 7.1), ("6x4", 6.0)):
        path = tmp_path / f"{size}.png"
        plots.draw(figure(size=size), path)
        width = struct.unpack(">I", path.read_bytes()[16:20])[0] / 200
        assert width == pytest.approx(inches, abs=0.01)
    plots.draw(figure(), tmp_path / "f.pdf", tmp_path / "f.svg")
    pdf = (tmp_path / "f.pdf").read_bytes()
    assert b"/FontFile2" in pdf  # TrueType, embedded
    assert b"/Type3" not in pdf
    assert "<text" not in (tmp_path / "f.svg").read_text()  # outlines: no font is asked for
    for bad in ("huge", "0x4", "6x", "nanx4", "90x90"):
        with pytest.raises(InputError, match="WIDTHxHEIGHT"):
            plots.inches(bad)


def test_the_report_command(tmp_path):
    folder = stored(tmp_path / "run", SPACE, VALUES)
    command = [str(Path(sys.executable).with_name("hwquant")), "report", str(folder.root)]
    page = tmp_path / "page.html"
    done = subprocess.run(
        [*command, "--details", "none", "--pick", ">=0.95", "-o", str(page), "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == {
        "page": str(page), "points": 3, "done": 3, "front": 3, "pick": "k1",
        "bytes": page.stat().st_size,
    }  # fmt: skip
    for extra, said in (
        (["--y", "speed"], "'speed' is unknown"),
        (["--compare", str(tmp_path)], "holds no run"),
        (["--refresh", "0"], "1<=x<=3600"),
    ):
        bad = subprocess.run([*command, *extra], capture_output=True, text=True)
        assert bad.returncode == 2
        assert said in bad.stderr
        assert "Traceback" not in bad.stderr


def test_a_key_picks_its_point():
    space = Space(weights=("int3", "int4"))
    rows = rows_of(space, [{"lut_sites": 3, "top1": 0.5}, {"lut_sites": 4, "top1": 0.4}])
    assert find_front(rows, *AXES, "key:k1").choice is rows[1]
    with pytest.raises(InputError, match="2 points have a key"):
        find_front(rows, *AXES, "key:k")
    with pytest.raises(InputError, match="no finished point"):
        find_front(rows, *AXES, "key:z")


def test_nothing_finished_and_unknown_metrics_are_said():
    space = Space(weights=("int3",))
    waiting = [Row("k", coordinates(space.points()[0]))]
    with pytest.raises(InputError, match="no point of this run is finished"):
        find_front(waiting, plots.axis("lut_sites"), plots.axis("top1"))
    rows = rows_of(space, [{"lut_sites": 3, "top1": 0.5}])
    with pytest.raises(InputError, match="'speed' is unknown, allowed: lut_sites, top1"):
        find_front(rows, plots.axis("speed"), plots.axis("top1"))
    front = find_front(rows, plots.axis("lut_sites"), plots.axis("top1"))
    assert (front.mask, front.chosen, front.hypervolume) == ((True,), 0, 0.0)
