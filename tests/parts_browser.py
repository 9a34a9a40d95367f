"""A real browser without a network, which opens pages from disk, with its requests and its console."""

import json
import shutil
import time
from contextlib import contextmanager

import pytest

WIDTHS = {"desktop": 1200, "phone": 390}
PATIENCE = 20


@contextmanager
def open_browser(width, downloads):
    """Headless Chromium of a width, saving files into a folder; skips where it is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="NO SELENIUM: pip install selenium to run this test")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("NO BROWSER: install Debian's chromium and chromium-driver to open pages in this test")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    # WebGL without a graphics card needs the software renderer.
    flags = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars")
    for flag in (*flags, "--enable-unsafe-swiftshader"):
        options.add_argument(flag)
    automatic = "profile.default_content_setting_values.automatic_downloads"
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads), automatic: 1})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        found.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield found
    finally:
        found.quit()


def wait_for(what, ask):
    """The value of `ask`, once it is true."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := ask():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {PATIENCE} s for {what}")


def visit(browser, path):
    """Open a page and let it draw everything that is not folded."""
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    wait_for("the page to be drawn", lambda: browser.execute_script("return document.documentElement.dataset.drawn"))


def unfold(browser):
    """Open everything that is folded and let it be drawn."""
    browser.execute_script("document.querySelectorAll('main details').forEach((one) => (one.open = true))")
    drawn = "return [...document.querySelectorAll('.plot, .table')].every((box) => box.dataset.drawn)"
    wait_for("every panel to be drawn", lambda: browser.execute_script(drawn))


def complaints(browser):
    """Everything in the browser's console."""
    return [entry["message"] for entry in browser.get_log("browser")]


def requests(browser):
    """The addresses that the browser requested since the last visit began."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


def overlaps(browser):
    """Pairs of texts that overlap, in each figure and among the blocks of the page, and texts cut off at an edge."""
    return browser.execute_script(OVERLAPS)


OVERLAPS = """
const SLACK = 2;
const visible = (one) => one.checkVisibility({ opacityProperty: true, visibilityProperty: true });
const boxes = (elements) => [...elements].filter(visible)
  .map((one) => [one.textContent.trim().slice(0, 40), one.getBoundingClientRect()])
  .filter(([text, box]) => text && box.width > 0 && box.height > 0);
const cross = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > SLACK
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > SLACK;
const crossing = (list) => list.flatMap(([text, box], place) =>
  list.slice(place + 1).filter(([, other]) => cross(box, other)).map(([other]) => [text, other]));
// Labels at a slant have boxes that cross though their letters do not.
const straight = (one) => Number(/rotate\\((-?[\\d.]+)/.exec(one.getAttribute("transform") ?? "")?.[1] ?? 0) % 90 === 0;
const found = [];
for (const plot of document.querySelectorAll(".plot")) {
  const texts = boxes([...plot.querySelectorAll("svg text")].filter(straight));
  const edge = plot.getBoundingClientRect();
  const cut = texts.filter(([, box]) => box.left < edge.left - SLACK || box.right > edge.right + SLACK);
  found.push(...[...cut, ...crossing(texts)].map((one) => [plot.dataset.figure, ...one]));
}
const blocks = [...document.querySelectorAll("h1, h2, h3, main p, main li, summary, .scroll, nav a")];
return [...found, ...crossing(boxes(blocks.filter((one) => !one.closest("form")))).map((pair) => ["page", ...pair])];
"""
