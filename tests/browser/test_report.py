"""The report as a browser shows it: everything drawn, tables that sort, nothing asked of anyone, a face to relight."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pipeline.maps import Maps

pytestmark = pytest.mark.browser

LEVELS = 3  # of 255: two textures and the picture are each rounded to 8 bits


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Any]:
    """The driver, its face drawn. Whatever a test does, the page asks for nothing and the console stays empty."""
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(page.as_uri())
    drawn(browser, "1001/a")
    yield browser
    assert browser.get_log("browser") == []
    assert [url for url in requests(browser) if not url.startswith(("data:", "chrome:"))] == [page.as_uri()]


@pytest.fixture
def phone(browser: Any) -> Iterator[None]:
    """A screen of 390 px with a finger for a pointer."""
    screen = {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    yield
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def requests(browser: Any) -> list[str]:
    """Addresses that were asked for since the log was last read."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def drawn(browser: Any, session: str) -> Any:
    """The canvas, once it shows a session."""
    from selenium.webdriver.support.wait import WebDriverWait

    canvas = browser.find_element("css selector", ".relight canvas")
    WebDriverWait(browser, 20, poll_frequency=0.02).until(lambda _: canvas.get_attribute("data-session") == session)
    return canvas


def pixels(browser: Any) -> np.ndarray:
    """What the canvas shows: (H, W) grey levels, and 0 where nothing is."""
    uri = browser.execute_script("return document.querySelector('.relight canvas').toDataURL()")
    data = np.frombuffer(base64.b64decode(uri.partition(",")[2]), dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED).astype(int)
    assert (image[..., 0] == image[..., 2]).all()
    return np.where(image[..., 3] == 255, image[..., 0], 0)


def lit(maps: Maps, x: float, y: float) -> np.ndarray:
    """The grey levels of Lambert's law for a light at (x, y) of the picture, whose edges are at 1 and 80 degrees."""
    zenith, azimuth = math.radians(80) * min(1, math.hypot(x, y)), math.atan2(y, x)
    light = [math.sin(zenith) * math.cos(azimuth), math.sin(zenith) * math.sin(azimuth), math.cos(zenith)]
    albedo = np.clip(maps.albedo / np.quantile(maps.albedo[maps.mask], 0.995), 0, 1)
    return 255 * albedo * np.clip(maps.normal @ light, 0, None) * maps.mask


def test_every_figure_is_drawn(opened):
    pictures = opened.execute_script(
        "return [...document.images].map(i => [i.alt, i.complete, i.naturalWidth, i.getAttribute('width')])"
    )
    assert len(pictures) == 1 + 2 + 2 * 6  # the still, the choices, the strips
    assert all(complete and int(width) == natural > 0 and alt for alt, complete, natural, width in pictures), pictures
    drawings = opened.execute_script(
        """return [...document.querySelectorAll('svg')].map(s => [s.getAttribute('aria-label'),
           s.getBBox().width, s.getBBox().height, [...s.querySelectorAll('polyline')].map(l => l.getTotalLength())])"""
    )
    assert [name for name, *_ in drawings] == [
        "stage graph",
        "true match rate over false match rate",
        "share of probes found over rank",
        "AUC on validation over epoch",
        "Training loss of the identity over epoch",
    ]
    assert all(width > 300 and height > 50 for _, width, height, _ in drawings), drawings
    assert [len(lengths) for *_, lengths in drawings] == [0, 12, 6, 5, 5]
    assert all(length > 50 for *_, lengths in drawings for length in lengths), drawings
    assert np.ptp(pixels(opened)) > 100


def column(browser: Any, table: int, place: int) -> list[tuple[str, str]]:
    """What the cells of a column show (of bars, their number) and the whole row, without the rows of raw pixels."""
    script = """const rows = [...document.querySelectorAll('table.sort')[arguments[0]].tBodies[0].rows];
        return rows.filter(r => !r.classList.contains('raw')).map(r => [
            [...r.cells[arguments[1]].childNodes].filter(n => n.nodeName !== 'SMALL').map(n => n.textContent).join('')
                || r.cells[arguments[1]].dataset.value, r.textContent])"""
    return [tuple(each) for each in browser.execute_script(script, table, place)]


def number(text: str) -> float | None:
    text = text.strip().replace("−", "-")
    return float(text) if re.fullmatch(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?", text) else None


def test_every_table_sorts_by_every_column(opened):
    """By what the cells show: numbers as numbers whatever their interval, absent ones last."""
    assert not opened.find_elements("css selector", "table:not(.sort)")
    tables = opened.find_elements("css selector", "table.sort")
    assert len(tables) == 8
    seen = 0
    for table, heads in enumerate([t.find_elements("css selector", "th button") for t in tables]):
        for place, head in enumerate(heads):
            before = column(opened, table, place)
            for click in range(2):
                opened.execute_script("arguments[0].click()", head)
                after = column(opened, table, place)
                order = opened.execute_script("return arguments[0].parentNode.ariaSort", head)
                values = [number(text) for text, _ in after]
                assert sorted(after) == sorted(before)
                if any(v is not None for v in values):
                    assert order == ("descending", "ascending")[click]
                    present = [v for v in values if v is not None]
                    assert present == sorted(present, reverse=not click), (table, place, values)
                    assert values[: len(present)] == present, "what is absent comes last"
                    seen += 1
                else:
                    assert order == ("ascending", "descending")[click]
            marked = opened.execute_script("return document.querySelectorAll('table.sort')[arguments[0]]"
                                           ".querySelectorAll('[aria-sort]').length", table)  # fmt: skip
            assert marked == 1
    assert seen > 40


def test_raw_pixels_stay_under_their_run(opened):
    names = """return [...document.querySelectorAll('table.runs')[0].tBodies[0].rows].map(
        r => [r.classList.contains('raw'), r.cells[0].dataset.value])"""
    opened.find_elements("css selector", "table.runs th button")[1].click()
    rows = opened.execute_script(names)
    assert [raw for raw, _ in rows] == [False, True] * 6
    assert [name for _, name in rows[::2]] == ["normal-albedo", "normal", "albedo", "albedo-depth", "depth", "frame"]
    assert [name for _, name in rows[::2]] == [name for _, name in rows[1::2]]


def test_the_keyboard_sorts(opened):
    head = opened.find_elements("css selector", "table.runs th button")[0]
    head.send_keys("\ue007")  # Enter
    assert opened.execute_script("return arguments[0].parentNode.ariaSort", head) == "ascending"
    head.send_keys(" ")
    assert opened.execute_script("return arguments[0].parentNode.ariaSort", head) == "descending"


def test_the_legend_brings_lines_out(opened):
    name = opened.find_element("css selector", ".legend button[data-run='albedo']")
    lines = "return [...document.querySelectorAll('.line.on')].map(l => l.dataset.run)"
    name.click()
    assert set(opened.execute_script(lines)) == {"albedo"}
    name.click()
    assert opened.execute_script(lines) == []


def test_nothing_is_asked_of_anyone(opened, page):
    """After everything that can be pressed was pressed; the requests themselves are counted as the fixture ends."""
    opened.execute_script("document.querySelectorAll('button, summary').forEach(each => each.click())")
    drawn(opened, "1002/a")
    named = opened.execute_script(
        """return [...document.querySelectorAll('*')].flatMap(e => [...e.attributes]).filter(
           a => /^(src|srcset|href|xlink:href|action|poster|data|background)$/.test(a.name)).map(a => a.value)"""
    )
    assert len(named) > 20
    assert [address for address in named if not address.startswith(("data:", "#"))] == []
    assert opened.execute_script("return performance.getEntriesByType('resource').filter("
                                 "r => !r.name.startsWith('data:')).length") == 0  # fmt: skip


@pytest.mark.usefixtures("phone")
def test_it_reads_at_phone_width(opened):
    """The page does not scroll sideways, what is wide scrolls in its own box, and no text is too small to read."""
    opened.execute_script("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert opened.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [390, 390]
    beyond = """return [...document.body.querySelectorAll('*')].filter(
        e => e.getBoundingClientRect().right > 390.5 && !e.closest('.scroll, pre')).map(e => e.outerHTML)"""
    assert opened.execute_script(beyond) == []
    boxes = """return [...document.querySelectorAll('.scroll')].filter(b => b.scrollWidth > b.clientWidth).map(
        b => (b.scrollLeft = 50, b.scrollLeft))"""
    scrolled = opened.execute_script(boxes)
    assert len(scrolled) >= 3
    assert all(left > 0 for left in scrolled)
    small = """return [...document.querySelectorAll('p, li, td, th, small, figcaption, svg.chart text')].map(e => {
        const drawing = e.closest('svg'), scale = drawing ? drawing.getBoundingClientRect().width / 440 : 1;
        return [scale * parseFloat(getComputedStyle(e).fontSize), e.textContent]}).filter(([size]) => size < 10.5)"""
    assert opened.execute_script(small) == []


@pytest.mark.parametrize(("x", "y"), [(-0.9, 0), (0.9, 0), (0, 0.9), (0, -0.9), (0.3, -0.4), (0, 0)])
def test_the_light_stands_where_the_pointer_is(opened, ball, x, y):
    """Against numpy: a light from the left shines on the left, n_x < 0; one from above on n_y > 0."""
    from selenium.webdriver import ActionChains

    canvas = drawn(opened, "1001/a")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    opened.execute_script(
        "arguments[0].addEventListener('pointermove', e => window.at = [e.clientX, e.clientY])", canvas
    )
    width, height = canvas.size["width"], canvas.size["height"]
    ActionChains(opened, duration=0).move_to_element_with_offset(
        canvas, round(x * width / 2), round(-y * height / 2)
    ).perform()
    at = opened.execute_script("return window.at")
    box = opened.execute_script("return arguments[0].getBoundingClientRect().toJSON()", canvas)
    x_seen = 2 * (at[0] - box["left"]) / box["width"] - 1
    y_seen = 1 - 2 * (at[1] - box["top"]) / box["height"]
    assert (x_seen, y_seen) == pytest.approx((x, y), abs=0.01)
    found, expected = pixels(opened), lit(ball, x_seen, y_seen)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= LEVELS
    left, right = found[:, :32].sum(), found[:, 32:].sum()
    above, below = found[:32].sum(), found[32:].sum()
    for value, first, second in ((x, right, left), (y, above, below)):
        if abs(value) == 0.9:
            assert (first > 3 * second) == (value > 0)
            assert (second > 3 * first) == (value < 0)


def test_the_arrow_keys_move_the_light(opened, ball):
    canvas = drawn(opened, "1001/a")
    label = canvas.get_attribute("aria-label")
    assert "1001/a" in label
    assert "arrow keys" in label
    canvas.send_keys("\ue014" * 11, "\ue015" * 4)  # right, down: from (-.4, .4) past the edge of .975, to -.1
    assert np.abs(pixels(opened) - lit(ball, 0.975, -0.1)).max() <= LEVELS
    assert opened.find_element("css selector", ".relight output").text == "zenith 78°, azimuth -6°"
    canvas.send_keys("\ue014" * 3)
    assert np.abs(pixels(opened) - lit(ball, 1, -0.1)).max() <= LEVELS


@pytest.mark.usefixtures("phone")
def test_a_finger_moves_the_light_and_not_the_page(opened, ball):
    canvas = drawn(opened, "1001/a")
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    box = opened.execute_script("return arguments[0].getBoundingClientRect().toJSON()", canvas)
    scrolled = opened.execute_script("return scrollY")
    for kind, y in (("touchStart", 0.0), ("touchMove", -0.3), ("touchMove", -0.75)):
        place = {"x": box["left"] + box["width"] * 0.5, "y": box["top"] + box["height"] * (0.5 - y / 2)}
        opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    opened.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert np.abs(pixels(opened) - lit(ball, 0, -0.75)).max() <= LEVELS
    assert opened.execute_script("return scrollY") == scrolled


def test_another_session_can_be_chosen(opened, ball):
    first, second = opened.find_elements("css selector", ".choices button")
    second.click()
    drawn(opened, "1002/a")
    assert [each.get_attribute("aria-pressed") for each in (first, second)] == ["false", "true"]
    towards = Maps(np.zeros_like(ball.normal), ball.albedo, ball.depth, ball.mask)
    towards.normal[..., 2] = ball.mask
    assert np.abs(pixels(opened) - lit(towards, -0.4, 0.4)).max() <= LEVELS


def test_without_webgl_there_is_a_still_picture_and_a_sentence(browser, page):
    absent = "HTMLCanvasElement.prototype.getContext = () => null"
    added = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": absent})
    try:
        browser.get(page.as_uri())
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
    shown = {name: browser.find_element("css selector", f".relight {name}").is_displayed()
             for name in ("canvas", ".choices", "output", ".still", ".still-only")}  # fmt: skip
    assert shown == {"canvas": False, ".choices": False, "output": False, ".still": True, ".still-only": True}
    assert "no WebGL" in browser.find_element("css selector", ".still-only").text
    still = browser.execute_script("const i = document.querySelector('.still'); return [i.complete, i.naturalWidth]")
    assert still == [True, 64]
    assert browser.get_log("browser") == []
