"""Take the README's screenshots of a report, at the widths of a desktop and of a phone.

    python scripts/screenshots.py --report runs/demo/gpt2-tiny/report/report.html --out docs

Needs Debian's chromium and chromium-driver, and selenium. Writes report.png and report-phone.png.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tension_lens.cli import command
from tension_lens.errors import RequestError

PICTURES = {"report.png": (1200, 1150, "primary"), "report-phone.png": (390, 1000, "primary")}
"""Width, height, and the section at the top."""
PATIENCE_S = 60


@dataclass(frozen=True, kw_only=True)
class ScreenshotsConfig:
    """Report and output."""

    report: Path
    """The report.html."""
    out: Path = Path("docs")
    """Folder for the screenshots."""


def run(config: ScreenshotsConfig) -> dict[str, Any]:
    """Open the report at each width, wait until it is drawn, and save a screenshot.

    Raises:
        RequestError: if there is no report or no browser.
    """
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if browser is None or driver is None:
        raise RequestError("screenshots need a browser; install Debian's chromium and chromium-driver")
    if not config.report.is_file():
        raise RequestError(f"{config.report} not found; write it with python -m analysis.report")
    from selenium import webdriver
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(flag)
    config.out.mkdir(parents=True, exist_ok=True)
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(driver)) as window:
        for name, (width, height, top) in PICTURES.items():
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            window.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            window.get(config.report.resolve().as_uri())
            drawn = "return document.documentElement.dataset.drawn"
            WebDriverWait(window, PATIENCE_S).until(lambda window, drawn=drawn: window.execute_script(drawn))
            window.execute_script("document.getElementById(arguments[0])?.scrollIntoView()", top)
            window.save_screenshot(str(config.out / name))
    return {"pictures": [str(config.out / name) for name in PICTURES]}


if __name__ == "__main__":
    command("screenshots", ScreenshotsConfig, run, __doc__)()
