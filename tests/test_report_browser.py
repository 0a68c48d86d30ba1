# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser, headless Chromium; run with ``pytest -m browser``."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from costmodel.explore.certainty import surely_dominated
from costmodel.explore.row import Row, Status
from costmodel.explore.space import Space, coordinates
from costmodel.report import page, plots
from costmodel.report.front import find_front
from costmodel.report.records import records_of
from costmodel.report.run import COMMANDS, QUIET

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
        worse = 0.15 if k % 4 == 3 else 0.0  # surely dominated
        metrics = {"lut_sites": luts, "top1": round(0.5 + 0.1 * np.log10(luts) - worse, 4)}
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
    records = records_of([opened.front.rows[i] for i in opened.front.order])
    ends = ("low", "high")  # the intervals of the front are within the view
    every_x = [*x, *(r[f"lut_sites_{end}"] for r in records for end in ends)]
    every_y = [*y, *(100 * r[f"top1_{end}"] for r in records for end in ends)]
    left, right, top, bottom = 70, box["width"] - 18, 14, box["height"] - 46

    def share(value, every):
        pad = 0.06 * np.ptp(every)
        return (value - min(every) + pad) / (np.ptp(every) + 2 * pad)

    across, up = share(x[target], every_x), share(y[target], every_y)
    place = {"x": left + across * (right - left), "y": bottom - up * (bottom - top)}
    canvas.hover(position=place)
    assert opened.page.locator("#tip").is_visible()
    assert "LUT6" in opened.text("#tip")
    canvas.click(position=place)
    shown = opened.text("#point")
    assert f"hwquant take runs/a --pick key:{key} -o hardware_{key}" in shown
    assert "conv2" in shown
    assert opened.page.locator("#kept svg rect").count() >= 6
    assert str(opened.front.rows[target].metrics["lut_sites"]) in shown.replace(",", "")


DETAILS = {
    "items": 64,
    "errors": [{"layer": f"conv{n}", "before": -20.0 - n, "after": -25.0 - n} for n in range(3)],
    "weights": [
        {"layer": f"conv{n}", "format": "e2m1", "grid": [-2, -1, 0, 1, 2], "low": -3, "high": 3}
        | {"codes": [1, 5, 9, 5, 2], "float": [0, 1, 3, 8, 3, 1], "flips": 0.1}
        for n in range(3)
    ],
    "acts": [
        {"layer": f"conv{n}", "format": "ue2m2", "low": 0, "high": 4, "counts": [9, 4, 2, 1]}
        | {"from": 0, "to": 3.5}
        for n in range(3)
    ],
    "sensitivity": [
        {"layer": f"conv{n}", "part": part, "mse": 0.1 / (n + 1), "kl": 0.01 / (n + 1)}
        for n in range(3)
        for part in ("weight", "act", "both")
    ],
}


def test_histograms_and_sensitivity_of_a_point_are_drawn(browser, tmp_path):
    given = rows()
    front = write(tmp_path / "report.html", given)
    chosen = given.index(front.choice)
    write(tmp_path / "report.html", given, details={chosen: DETAILS})
    found = Opened(browser, tmp_path / "report.html")
    kept = found.page.locator("#kept")
    assert kept.locator("[data-chart=weights] svg").count() == 3
    assert kept.locator("[data-chart=weights] svg").first.locator("rect").count() == 5
    assert kept.locator("[data-chart=weights] svg").first.locator("circle").count() == 5
    assert kept.locator("[data-chart=acts] svg").count() == 3
    assert kept.locator("[data-chart=acts] rect.range").count() == 3
    assert kept.locator("[data-chart=sensitivity] circle.first").count() == 4  # and the legend
    assert kept.locator("[data-chart=errors] rect.second").count() == 4
    image = pixels(kept.screenshot())
    assert image.std() > 0.02
    found.page.focus("#canvas")
    found.page.keyboard.press("ArrowRight")
    found.page.keyboard.press("Enter")
    first = front.rows[front.order[0]]
    assert f"hwquant report runs/a --pick key:{first.key}" in kept.inner_text()
    assert kept.locator("[data-chart=weights]").count() == 0
    assert kept.locator("[data-chart=lut_sites] rect").count() == 3
    assert found.complaints == []
    found.close()


def test_surely_dominated_is_told_from_dominated(opened):
    """The page's kinds are those of `costmodel.explore.certainty`."""
    records = records_of(opened.rows)
    low = np.array([[r["lut_sites_low"], r["top1_low"]] for r in records])
    high = np.array([[r["lut_sites_high"], r["top1_high"]] for r in records])
    sure = int(surely_dominated(low, high, ["min", "max"]).sum())
    on = sum(opened.front.mask)
    counts = {
        kind: int(opened.page.locator(f"#meaning [data-kind={kind}]").get_attribute("data-count"))
        for kind in ("on", "off", "sure")
    }
    assert counts == {"on": on, "off": len(opened.rows) - on - sure, "sure": sure}
    assert sure > 0
    opened.page.focus("#canvas")
    opened.page.keyboard.press("ArrowRight")
    tip = opened.text("#tip")
    assert "on the front" in tip
    assert " to " in tip  # the interval


def test_the_theme_is_chosen_and_kept(opened):
    def brightness():
        return pixels(opened.page.locator("#canvas").screenshot()).mean()

    button = opened.page.locator("#theme")
    light = brightness()
    button.click()
    assert button.inner_text() == "Theme: light"
    button.focus()
    opened.page.keyboard.press("Enter")
    assert button.inner_text() == "Theme: dark"
    dark = brightness()
    assert dark < 0.35
    assert light > 0.7
    opened.page.reload()
    opened.page.wait_for_selector("html[data-ready='1']")
    assert brightness() == pytest.approx(dark, abs=0.02)


def test_a_page_at_work_loads_itself_again_and_keeps_the_view(browser, tmp_path):
    path = tmp_path / "report.html"
    write(path, rows(20), refresh=1)
    found = Opened(browser, path)
    assert found.text("#shown").startswith("20 of 20")
    found.page.fill("#filter", "int4")
    write(path, rows(60), refresh=1)  # the sweep goes on
    found.page.wait_for_function(
        "document.getElementById('shown').textContent.includes('of 60 points')", timeout=15_000
    )
    assert found.page.input_value("#filter") == "int4"
    write(path, rows(60))  # and ends
    found.page.wait_for_function(
        "!document.querySelector('meta[http-equiv=refresh]')", timeout=15_000
    )
    loads = sum(url.startswith("file:") for url in found.requests)
    found.page.wait_for_timeout(2500)
    assert sum(url.startswith("file:") for url in found.requests) == loads
    assert found.complaints == []
    found.close()


def test_the_hypervolume_is_drawn_over_time(opened):
    assert opened.page.locator("[data-chart=history] path").count() == 1
    assert "Hypervolume" in opened.text("#history")


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
    assert found.text("#meaning").startswith("front of a")
    both = pixels(found.page.locator("#canvas").screenshot())
    assert "run" in found.text("#head")
    found.page.select_option("#run", "b")
    assert found.text("#shown").startswith("20 of 80")
    assert not np.array_equal(pixels(found.page.locator("#canvas").screenshot()), both)
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


def test_a_telephone_shows_the_page_without_scrolling_sideways(opened):
    width = "document.documentElement.scrollWidth"
    opened.page.set_viewport_size({"width": 390, "height": 844})
    assert opened.page.evaluate(width) <= 390
    # Control: something wider than the screen is noticed.
    opened.page.evaluate("document.querySelector('header').style.minWidth = '500px'")
    assert opened.page.evaluate(width) > 390
