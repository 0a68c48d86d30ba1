# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser, headless Chromium; run with ``pytest -m browser``."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from costmodel.explore.space import Space, coordinates
from costmodel.explore.store import Row, Status
from costmodel.report import page, plots
from costmodel.report.front import find_front
from costmodel.report.run import COMMANDS, QUIET, records_of

pytestmark = pytest.mark.browser

FORMATS = ("int3", "int4", "int8", "e1m2", "e2m1", "e3m2", "e4m3")
AXES = [plots.axis("lut_sites"), plots.axis("top1"), plots.axis("weight_bits")]


def rows(count=60):
    rng = np.random.default_rng(3)
    found = []
    for k in range(count):
        name = FORMATS[k % len(FORMATS)]
        recipe = Space(weights=(name,), steps=(("calibrate",),)).points()[0]
        luts = int(rng.uniform(100, 4000))
        metrics = {"lut_sites": luts, "top1": round(0.5 + 0.1 * np.log10(luts), 4)}
        metrics |= {"weight_bits": 640 * (k % 5 + 1), "float_top1": 0.99, "test_items": 2000}
        metrics |= {"lut_sites_low": luts * 0.95, "lut_sites_high": luts * 1.06}
        layers = [
            {"name": f"conv{n}", "weight": name, "lut_sites": luts // 3 + n, "cycles": 9 * n}
            for n in range(3)
        ]
        point = coordinates(recipe)
        found.append(Row(f"{k:03d}abc", point, Status.DONE, metrics, layers, "", 1e9 + k))
    return found


def write(path, given, **changes):
    front = find_front(given, AXES[0], AXES[1])
    fields = {"title": "hwquant: test", "lead": "60 points", "figure_svg": "<svg></svg>"}
    fields |= {"facts": {"Chosen point": "int4"}, "rows": records_of(given), "axes": AXES}
    fields |= {"tables": [row.layers for row in given], "x": "lut_sites", "y": "top1"}
    fields |= {"chosen": given.index(front.choice), "run": "runs/a", "quiet": QUIET}
    fields |= {"commands": COMMANDS, "history": [("a", [(0, 0.1), (5, 0.3), (9, 0.5)])]}
    page.write(page.Page(**(fields | changes)), path)
    return front


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    assert executable, "Chromium is missing; install it, e.g. apt-get install chromium"
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield running
        running.close()


class Opened:
    """A page in a browser, with every request and every complaint it made."""

    def __init__(self, browser, path, **settings):
        self.context = browser.new_context(viewport={"width": 1200, "height": 900}, **settings)
        self.page = self.context.new_page()
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._said)
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("html[data-ready='1']", timeout=20_000)

    def _said(self, message):
        if message.type == "error":
            self.complaints.append(message.text)

    def text(self, selector):
        return self.page.inner_text(selector)

    def close(self):
        self.context.close()


@pytest.fixture
def opened(browser, tmp_path):
    given = rows()
    front = write(tmp_path / "report.html", given)
    found = Opened(browser, tmp_path / "report.html")
    found.rows, found.front = given, front
    yield found
    assert found.complaints == []
    found.close()


def pixels(shot):
    """Return a PNG as an array, through matplotlib's reader."""
    import io

    import matplotlib.image as mpimg

    return mpimg.imread(io.BytesIO(shot), format="png")[..., :3]


def test_the_plot_is_drawn_in_light_and_in_dark(browser, tmp_path):
    write(tmp_path / "report.html", rows())
    means = {}
    for scheme in ("light", "dark"):
        found = Opened(browser, tmp_path / "report.html", color_scheme=scheme)
        image = pixels(found.page.locator("#canvas").screenshot())
        assert len(np.unique((image * 255).astype(int).reshape(-1, 3), axis=0)) > 50, scheme
        assert image.std() > 0.02
        means[scheme] = image.mean()
        assert found.complaints == []
        found.close()
    assert means["dark"] < 0.35
    assert means["light"] > 0.7


def test_no_request_leaves(opened):
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []


def test_a_request_would_be_noticed(browser, tmp_path):
    """Negative control of the test above."""
    write(tmp_path / "report.html", rows())
    text = (tmp_path / "report.html").read_text()
    bad = text.replace("<h1>", '<img alt="" src="http://127.0.0.1:9/x.png"><h1>', 1)
    (tmp_path / "bad.html").write_text(bad)
    found = Opened(browser, tmp_path / "bad.html")
    assert "http://127.0.0.1:9/x.png" in found.requests
    found.close()


def test_the_front_in_the_page_is_the_front_in_python(opened):
    expected = sum(opened.front.mask)
    assert opened.text("#shown") == f"60 of 60 points, {expected} on the front"


def test_a_click_opens_a_point_with_layers_plots_and_commands(opened):
    target = opened.front.order[0]
    key = opened.front.rows[target].key
    canvas = opened.page.locator("#canvas")
    box = canvas.bounding_box()
    x, y = np.array(opened.front.x), 100 * np.array(opened.front.y)
    pad_x, pad_y = 0.06 * np.ptp(x), 0.06 * np.ptp(y)
    left, right, top, bottom = 70, box["width"] - 18, 14, box["height"] - 46
    across = (x[target] - x.min() + pad_x) / (np.ptp(x) + 2 * pad_x)
    up = (y[target] - y.min() + pad_y) / (np.ptp(y) + 2 * pad_y)
    place = {"x": left + across * (right - left), "y": bottom - up * (bottom - top)}
    canvas.hover(position=place)
    assert opened.page.locator("#tip").is_visible()
    assert "LUT6" in opened.text("#tip")
    canvas.click(position=place)
    shown = opened.text("#point")
    assert f"hwquant take runs/a --pick key:{key} -o hardware_{key}" in shown
    assert "conv2" in shown
    assert opened.page.locator("#point svg rect").count() >= 6
    assert str(opened.front.rows[target].metrics["lut_sites"]) in shown.replace(",", "")


def test_filters_zoom_and_axes(opened):
    whole = opened.page.locator("#canvas").screenshot()
    opened.page.get_by_label("minifloat E2", exact=False).uncheck()
    kept = sum(row.point["weight"] != "e2m1" for row in opened.rows)
    assert opened.text("#shown").startswith(f"{kept} of 60 points")
    opened.page.get_by_label("minifloat E2", exact=False).check()
    opened.page.select_option("#layer", "conv1")
    opened.page.select_option("#layer-format", "e3m2")
    kept = sum(row.point["weight"] == "e3m2" for row in opened.rows)
    assert opened.text("#shown").startswith(f"{kept} of 60 points")
    opened.page.select_option("#layer", "")
    opened.page.fill("#filter", "int4")
    assert opened.text("#shown").startswith("9 of 60 points")
    opened.page.fill("#filter", "")
    assert pixels(opened.page.locator("#canvas").screenshot()).shape == pixels(whole).shape
    for action in (
        lambda: opened.page.click("#nearer"),
        lambda: opened.page.select_option("#x", "weight_bits"),
        lambda: opened.page.check("#log"),
    ):
        before = opened.page.locator("#canvas").screenshot()
        action()
        assert opened.page.locator("#canvas").screenshot() != before


def test_the_keyboard_is_enough(opened):
    opened.page.focus("#canvas")
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("ArrowRight")
    assert opened.page.locator("#tip").is_visible()
    opened.page.keyboard.press("Enter")
    second = opened.front.rows[opened.front.order[1]]
    assert f"key:{second.key}" in opened.text("#point")
    opened.page.focus("#head button >> nth=0")
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("#head th").first.get_attribute("aria-sort") == "ascending"


def test_two_runs_are_told_apart_and_filtered(browser, tmp_path):
    given = rows()
    records = records_of(given, "a") + records_of(given[:20], "b")
    tables = [row.layers for row in given] + [row.layers for row in given[:20]]
    write(tmp_path / "report.html", given, rows=records, tables=tables)
    found = Opened(browser, tmp_path / "report.html")
    assert found.text("#shown").startswith("80 of 80")
    found.page.select_option("#run", "b")
    assert found.text("#shown").startswith("20 of 80")
    assert found.complaints == []
    found.close()


def test_damaged_data_is_said_and_the_rest_stays(browser, tmp_path):
    write(tmp_path / "report.html", rows())
    text = (tmp_path / "report.html").read_text()
    start = text.index('id="data">') + 10
    (tmp_path / "bad.html").write_text(text[: start + 40] + "AAAA" + text[start + 44 :])
    context = browser.new_context()
    opened_page = context.new_page()
    opened_page.goto((tmp_path / "bad.html").as_uri())
    opened_page.wait_for_function("document.getElementById('shown').textContent.length > 0")
    assert "see results.csv" in opened_page.inner_text("#shown")
    assert "Chosen point" in opened_page.inner_text("#point")
    context.close()


def test_ten_thousand_points_open_and_zoom(browser, tmp_path):
    given = rows(10_000)
    write(tmp_path / "report.html", given)
    assert (tmp_path / "report.html").stat().st_size <= 3_000_000
    found = Opened(browser, tmp_path / "report.html")
    assert found.text("#shown").startswith("10000 of 10000 points")
    found.page.click("#nearer")
    assert found.page.locator("#body tr").count() == 301
    assert found.complaints == []
    found.close()
