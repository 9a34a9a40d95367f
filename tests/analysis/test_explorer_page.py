"""The explorer driven in a real headless Chromium: every view, links, hostile text, two users at once."""

import base64
import os
import shutil
import time
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pytest
from parts import neuron_pairs
from parts_browser import requests
from parts_explorer import DATA, HOSTILE, LONG, PAIRS, RUN, SAMPLE, served
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tension_lens.data.comparisons import HH_TEMPLATE
from tension_lens.evaluate import EvaluateConfig
from tension_lens.evaluate import run as evaluate
from tension_lens.metrics.item_table import ItemTable
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import NeuronSet, top_percent

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OBJECTIVES = ("helpful", "harmless", "mixed")
PANELS = {"pair": "pair-panel", "off": "off-panel", "map": "map-panel", "neuron": "neuron-panel"}
SECONDS = 40
WIDTHS = (1200, 390)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="NO BROWSER: the explorer's page is not tested; apt-get install chromium chromium-driver",
)


class Page:
    """A browser with the explorer in it."""

    def __init__(self, driver, address, data):
        self.driver, self.address, self.data = driver, address, data

    def open(self, tab="pair", **state):
        """A fresh page in a state, once its view has an answer."""
        state = {"data": self.data, "tab": tab, **state}
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}#{urlencode(state, quote_via=quote)}")
        return self.answer(PANELS[tab])

    def answer(self, panel, after=None):
        """The token of a panel's answer, once there is one that is newer than `after`."""

        def newer(driver):
            found = self.js(f"return document.querySelector('#{panel} [data-token]')?.dataset.token")
            return found if found is not None and (after is None or float(found) > float(after)) else None

        return WebDriverWait(self.driver, SECONDS, 0.05).until(newer)

    def set(self, name, value, panel):
        """Set a control as a reader would have it, and wait for the view."""
        before = self.js(f"return document.querySelector('#{panel} [data-token]')?.dataset.token")
        self.js("dash_clientside.set_props(arguments[0], {value: arguments[1]})", name, value)
        return self.answer(panel, before)

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def text(self, css):
        return self.js("return document.querySelector(arguments[0])?.textContent", css)

    def number(self, css):
        return as_number(self.text(css))

    def table(self, css):
        rows = self.js(
            "return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
            ".map(row => [...row.children].map(cell => cell.textContent))",
            css,
        )
        return {row[0]: row[1:] for row in rows}

    def until(self, script, *arguments):
        return WebDriverWait(self.driver, SECONDS, 0.05).until(lambda _: self.js(script, *arguments))

    def traces(self, css):
        """What a drawn figure shows: name and points of each trace."""
        self.until("return document.querySelector(arguments[0] + ' .js-plotly-plot')?._fullData?.length", css)
        return self.js(
            "return document.querySelector(arguments[0] + ' .js-plotly-plot')._fullData.map(trace =>"
            " ({name: trace.name, x: Array.from(trace.x), y: Array.from(trace.y)}))",
            css,
        )


def as_number(text):
    return float(text.replace("−", "-").replace(",", ""))


def start(downloads=None):
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # Without a graphics card WebGL is drawn by software, which Chromium wants to be asked for.
    flags = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--enable-unsafe-swiftshader")
    for flag in (*flags, "--window-size=1200,1000"):
        options.add_argument(flag)
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="module")
def address(explorer):
    with served(explorer) as found:
        yield found


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def driver(downloads):
    found = start(downloads=downloads)
    yield found
    found.quit()


@pytest.fixture
def page(driver, address, explorer_root):
    """The page; afterwards nothing may stand in the console and no request may have left the machine."""
    for kind in ("browser", "performance"):
        driver.get_log(kind)
    yield Page(driver, address, str(explorer_root / DATA))
    severe = [line["message"] for line in driver.get_log("browser") if line["level"] == "SEVERE"]
    assert not severe
    asked = requests(driver)
    assert asked
    assert not [url for url in asked if not url.startswith((address, "data:", "blob:", "about:"))]


def model_of(explorer, name):
    with explorer.models.using() as models:
        return models.get(explorer.runs[RUN].model(name))


def rewards_of(explorer, name, texts):
    with explorer.models.using():
        return model_of(explorer, name).rewards(texts).tolist()


def test_pair_view_shows_rewards_tokens_and_margin(page, explorer):
    page.open(item="1.0.0", model="harmless")
    one, other = rewards_of(explorer, "harmless", PAIRS[1])
    assert page.number("#margin") == pytest.approx(one - other, abs=1e-4)
    shown = page.js(
        "return [...document.querySelectorAll('.tokens')].map(side => side.textContent.replaceAll('⏎', ''))"
    )
    assert shown == list(PAIRS[1])
    assert page.js("return document.querySelectorAll('.tokens .pooled').length") == 2
    chosen, _, rejected, _ = page.traces("#pair-panel")
    assert (chosen["y"][-1], rejected["y"][-1]) == (pytest.approx(one, abs=1e-4), pytest.approx(other, abs=1e-4))
    assert len(chosen["y"]) == len(PAIRS[1][0])


def test_tokens_are_coloured_by_a_neuron_or_a_set_and_read_by_hover_and_by_keys(page, explorer):
    page.open(item="0.0.0", model="mixed", colour="neuron", layer=1, neuron=7)
    model = model_of(explorer, "mixed")
    ids = model.encode([PAIRS[0][0]])
    from tension_lens.model.hooks import reading

    kept = {}
    with (
        explorer.models.using(),
        reading(model.hooked, "post", lambda layer, a: kept.update({layer: a[0].numpy().copy()})),
    ):
        import torch

        model.hooked(torch.tensor(ids))
    titles = page.js("return [...document.querySelectorAll('.tokens')[0].children].map(token => token.title)")
    values = [as_number(title.split("value ")[1].split(" ")[0]) for title in titles]
    np.testing.assert_allclose(values, kept[1][:, 7], atol=1e-4)
    page.set("colour", "set", "pair-panel")
    neurons = neuron_pairs(explorer.runs[RUN].neuron_set("shared"))
    title = page.js("return document.querySelector('.tokens').children[5].title")
    mean = np.mean([kept[layer][5, index] for layer, index in neurons])
    assert as_number(title.split("value ")[1].split(" ")[0]) == pytest.approx(mean, abs=1e-4)
    # By keys: the third token after two steps to the right of the first.
    page.js("document.querySelector('.tokens').focus()")
    ActionChains(page.driver).send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_RIGHT).perform()
    assert "token 2," in page.text("#token-detail")
    ActionChains(page.driver).move_to_element(page.driver.find_elements(By.CSS_SELECTOR, ".tokens .t")[9]).perform()
    assert "token 9," in page.text("#token-detail")


def test_a_pair_is_found_and_picked(page):
    before = page.open()
    box = page.driver.find_element(By.ID, "words")
    box.send_keys("crocodile")
    page.until("return document.querySelectorAll('.hit').length === 1")
    page.driver.find_element(By.CSS_SELECTOR, ".hit").click()
    page.answer("pair-panel", before)
    assert "Crocodile" in page.text("#pair-panel .sides")
    box.send_keys(" nowhere")
    page.until("return document.querySelector('#hits .empty')?.textContent.includes('no pair')")


def test_a_typed_pair_is_judged_and_its_link_restores_it(page, explorer, address):
    page.open(model="helpful")
    page.driver.find_element(By.XPATH, "//*[@id='source']//label[contains(., 'Type a pair')]").click()
    page.until("return document.querySelector('#pair-panel .empty')?.textContent.includes('two responses')")
    for name, text in (("prompt", "What is 🦜?"), ("first", "A <b>bird</b>"), ("second", "no\nidea & more")):
        page.driver.execute_script(
            "const box = document.getElementById(arguments[0]); const set = Object.getOwnPropertyDescriptor("
            "HTMLTextAreaElement.prototype, 'value').set; set.call(box, arguments[1]);"
            "box.dispatchEvent(new Event('input', {bubbles: true}))",
            name,
            text,
        )
    page.driver.find_element(By.ID, "read").click()
    page.until("return document.querySelector('#margin')")
    prompt, one, other = "What is 🦜?", "A <b>bird</b>", "no\nidea & more"
    texts = [HH_TEMPLATE.format(prompt=prompt, response=response) for response in (one, other)]
    first, second = rewards_of(explorer, "helpful", texts)
    assert page.number("#margin") == pytest.approx(first - second, abs=1e-4)
    link = page.driver.current_url
    page.driver.get("about:blank")
    page.driver.get(link)
    page.answer("pair-panel")
    assert page.number("#margin") == pytest.approx(first - second, abs=1e-4)
    assert page.js("return document.getElementById('second').value") == other


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_what_if_gives_the_numbers_of_evaluate(page, explorer_root, tmp_path, ablation):
    page.open("off", item="1.0.0", off="set", set="harmless_only", ablation=ablation)
    rows = page.table("#effects")
    assert list(rows) == list(OBJECTIVES)
    run = explorer_root / "runs" / RUN
    for name in OBJECTIVES:
        common = {"model": str(run / "models" / name), "data": str(explorer_root / DATA), "device": "cpu"}
        evaluate(EvaluateConfig(**common, out=tmp_path / "before.parquet"))
        means = {"means": run / "scores" / name} if ablation == "mean" else {}
        off = {"ablate": run / "sets" / "harmless_only.json", "ablation": ablation, **means}
        evaluate(EvaluateConfig(**common, out=tmp_path / "after.parquet", **off))
        tables = [ItemTable.load(tmp_path / f"{when}.parquet") for when in ("before", "after")]
        chosen = [table.chosen_rewards.values[1] for table in tables]
        rejected = [table.rejected_rewards.values[1] for table in tables]
        assert [as_number(one) for one in rows[name][0].split(" → ")] == pytest.approx(chosen, abs=1e-4)
        assert [as_number(one) for one in rows[name][1].split(" → ")] == pytest.approx(rejected, abs=1e-4)
        margins = [one - other for one, other in zip(chosen, rejected, strict=True)]
        assert [as_number(one) for one in rows[name][2].split(" → ")] == pytest.approx(margins, abs=2e-4)
        verdicts = ["prefers chosen" if margin > 0 else "prefers rejected" for margin in margins]
        assert rows[name][4] == " → ".join(dict.fromkeys(verdicts))


def test_every_way_to_switch_off_and_the_sweep(page, explorer_root, tmp_path):
    page.open("off", item="2.0.0", off="neuron", layer=1, neuron=3)
    assert "neuron 1/3 (1 neurons" in page.text("#effects caption")
    page.set("off", "random", "off-panel")
    assert "random, as many as shared, draw 0" in page.text("#effects caption")
    page.set("off", "bucket", "off-panel")
    assert "shared, early layers" in page.text("#off-panel")
    page.set("off", "selection", "off-panel")
    assert "no neurons are selected" in page.text("#off-panel .empty")
    page.driver.find_element(By.ID, "sweep").click()
    lines = {line["name"]: line["y"] for line in page.traces("#sweep-panel")}
    assert set(lines) == set(OBJECTIVES)
    run = explorer_root / "runs" / RUN
    importance = NeuronScores.load(run / "scores" / "mixed").importance("mean_abs")
    top_percent(importance, 20.0, "top", "post").save(tmp_path / "top.json")
    out = tmp_path / "out.parquet"
    common = {"model": str(run / "models" / "helpful"), "data": str(explorer_root / DATA), "device": "cpu"}
    evaluate(EvaluateConfig(**common, out=out, ablate=tmp_path / "top.json"))
    # The shares are 0, 1, 2, 5, 10, 20, 40 percent.
    assert lines["helpful"][5] == pytest.approx(ItemTable.load(out).margin[2], abs=1e-4)


def lasso(page, corners):
    """Draw a lasso over the map through points given as shares of its plotting area."""
    box = page.js(
        "const box = document.querySelector('#map-graph .nsewdrag').getBoundingClientRect();"
        "return [box.left + scrollX, box.top + scrollY, box.width, box.height]"
    )
    page.js("scrollTo(0, arguments[0])", box[1] - 200)
    actions = ActionChains(page.driver, duration=30)
    left, top = box[0], box[1] - page.js("return scrollY")
    places = [(round(left + x * box[2]), round(top + y * box[3])) for x, y in corners]
    actions.w3c_actions.pointer_action.move_to_location(*places[0])
    actions.w3c_actions.pointer_action.pointer_down()
    for place in (*places[1:], places[0]):
        actions.w3c_actions.pointer_action.move_to_location(*place)
    actions.w3c_actions.pointer_action.pointer_up()
    actions.perform()


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_the_map_shows_every_neuron_and_the_selection_is_what_the_browser_drew(page, downloads, explorer_root, scale):
    page.open("map", scale=scale)
    traces = page.traces("#map-panel")
    assert sum(len(trace["x"]) for trace in traces) == 3 * 96
    before = page.answer("depth-panel")
    lasso(page, [(0.15, 0.02), (0.98, 0.02), (0.98, 0.97), (0.4, 0.5)])
    page.answer("depth-panel", before)
    # plotly's own count of what lies inside.
    drawn = page.js(
        "return document.querySelector('#map-graph .js-plotly-plot').data"
        ".reduce((sum, trace) => sum + (trace.selectedpoints || []).length, 0)"
    )
    assert 3 < drawn < 3 * 96
    assert page.text("#selected").startswith(f"{drawn} neurons are selected")
    (depth,) = page.traces("#depth-panel")
    assert sum(depth["x"]) == pytest.approx(100)
    file = downloads / "selection.json"
    file.unlink(missing_ok=True)
    page.driver.find_element(By.ID, "export-json").click()
    page.until("return document.getElementById('export-status').textContent.includes('selection.json')")
    WebDriverWait(page.driver, SECONDS).until(lambda _: file.is_file())
    selection = NeuronSet.load(file)
    assert len(selection) == drawn
    # The selection can be switched off at once, and evaluate takes the file.
    page.js("dash_clientside.set_props('tab', {value: 'off'}); dash_clientside.set_props('off', {value: 'selection'})")
    page.until("return document.querySelector('#effects caption')?.textContent.includes('selection')")
    assert f"selection ({drawn} neurons" in page.text("#effects caption")
    shown = as_number(page.table("#effects")["mixed"][2].split(" → ")[1])
    model = explorer_root / "runs" / RUN / "models" / "mixed"
    out = explorer_root / "selection.parquet"
    evaluate(EvaluateConfig(model=str(model), data=str(explorer_root / DATA), out=out, ablate=file, device="cpu"))
    assert shown == pytest.approx(ItemTable.load(out).margin[0], abs=2e-4)
    # The link brings a colleague to the same selection.
    link = page.driver.current_url.replace("tab=off", "tab=map")
    page.driver.get("about:blank")
    page.driver.get(link)
    page.answer("depth-panel")
    assert page.text("#selected").startswith(f"{drawn} neurons are selected")


def test_the_map_colours_by_layer_exports_and_says_what_it_lacks(page, downloads):
    page.open("map", by="layer", export="shared")
    assert len(page.traces("#map-panel")) == 1
    page.set("top", 20, "depth-panel")
    page.js("dash_clientside.set_props('export', {value: 'helpful'})")
    for name, file in (("export-csv", "helpful.csv"), ("export-html", "neuron-map.html")):
        page.driver.find_element(By.ID, name).click()
        WebDriverWait(page.driver, SECONDS).until(lambda _, file=file: (downloads / file).is_file())
    assert len((downloads / "helpful.csv").read_text().splitlines()) == 1 + round(0.2 * 288)
    assert (
        "https://cloud.plotly.com" not in (downloads / "neuron-map.html").read_text("utf-8").split("Plotly.newPlot")[-1]
    )
    page.set("statistic", "change_rms", "map-panel")
    assert "--base" in page.text("#map-panel .empty")
    page.set("site", "gate", "map-panel")
    assert "no scores of helpful read at site gate" in page.text("#map-panel .empty")


def test_a_click_on_a_point_opens_its_neuron(page):
    page.open("map")
    page.traces("#map-panel")
    # The neuron with the largest helpful importance stands alone at the right.
    place = page.js(
        "const plot = document.querySelector('#map-graph .js-plotly-plot'); let best = null;"
        "for (const trace of plot._fullData) for (let i = 0; i < trace.x.length; i++)"
        " if (!best || trace.x[i] > best.x)"
        " best = {x: trace.x[i], y: trace.y[i], name: Array.from(trace.customdata[i])};"
        "const box = plot.querySelector('.nsewdrag').getBoundingClientRect(), full = plot._fullLayout;"
        "scrollTo(0, box.top + scrollY - 200);"
        "const now = plot.querySelector('.nsewdrag').getBoundingClientRect();"
        "return {at: [now.left + full.xaxis.d2p(best.x), now.top + full.yaxis.d2p(best.y)], name: best.name}"
    )
    pointer = ActionChains(page.driver)
    pointer.w3c_actions.pointer_action.move_to_location(*(round(at) for at in place["at"]))
    pointer.pause(0.5).click().perform()
    page.answer("neuron-panel")
    layer, neuron = place["name"]
    assert page.text("#neuron-panel .which").startswith(f"Neuron {layer}/{neuron} of model mixed")


def test_neuron_page(page, explorer_root, explorer):
    page.open("neuron", layer=2, neuron=11, model="harmless", item="1.0.0")
    rows = page.table("#neuron-scores")
    scores = NeuronScores.load(explorer_root / "runs" / RUN / "scores" / "helpful")
    chosen, rejected, in_layer, overall = rows["helpful, mean_abs"]
    assert as_number(chosen) == pytest.approx(float(scores.values["chosen/mean_abs"][2, 11]), rel=1e-3)
    assert as_number(rejected) == pytest.approx(float(scores.values["rejected/mean_abs"][2, 11]), rel=1e-3)
    importance = scores.importance("mean_abs")
    order = np.argsort(-importance[2]).tolist()
    assert in_layer == f"{order.index(11) + 1} of 96"
    assert overall.startswith(f"{(importance > importance[2, 11]).sum() + 1} of 288")
    effects = page.table("#neuron-effects")
    before, after = (as_number(effects[name][2]) for name in ("reward, intact", "reward, neuron off (zero)"))
    assert as_number(effects["drop when off"][2]) == pytest.approx(before - after, abs=2e-3)
    page.answer("driven-panel")
    assert page.js("return document.querySelectorAll('#examples li').length") == 3
    assert page.js("return document.querySelectorAll('#examples mark').length") == 3
    chosen, rejected = page.traces("#driven-panel")
    assert "chosen" in chosen["name"] and "rejected" in rejected["name"]
    # An example opens its pair, coloured by the neuron; the strongest value stands there.
    shown = as_number(page.text("#examples li .number").split(" ")[0])
    page.driver.find_element(By.CSS_SELECTOR, "#examples button").click()
    page.answer("pair-panel")
    page.until("return document.querySelector('.legend')?.textContent.includes('neuron 2/11')")
    titles = page.js("return [...document.querySelectorAll('.tokens .t')].map(token => token.title)")
    values = [as_number(title.split("value ")[1].split(" ")[0]) for title in titles]
    assert max(values, key=abs) == pytest.approx(shown, abs=2e-4)
    page.open("neuron", layer=9, neuron=0)
    assert "there is no neuron 9/0" in page.text("#neuron-panel .empty")


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_text_is_text(page, number):
    page.open(item=f"{3 + number}.0.0")
    shown = page.text(".tokens")
    for part in HOSTILE[number].replace("\u202e", " ").split():
        if part.isascii() and part.isprintable():
            assert part in shown
    if "🦜" in HOSTILE[number]:
        assert shown.count("🦜") == 1
        assert "▫▫▫" in shown
    if "\x07" in HOSTILE[number]:
        assert "␇" in shown and "␛" in shown and "\x1b" not in shown
    assert "\u202e" not in page.text("#page")
    assert page.js("return window.hacked") is None
    assert (
        page.js("return document.querySelectorAll('#page img, #page script, #page style, #page b, #page a').length")
        == 0
    )


def test_long_text_is_refused_with_a_reason(page):
    page.open(item=f"{LONG}.0.0")
    assert "reads at most 256" in page.text("#pair-panel .empty")
    page.open("off", item=f"{LONG}.0.0")
    assert "reads at most 256" in page.text("#off-panel .empty")
    page.open()
    page.js(
        "dash_clientside.set_props('source', {value: 'type'});"
        "dash_clientside.set_props('first', {value: 'a'.repeat(100000)});"
        "dash_clientside.set_props('second', {value: 'b'})"
    )
    page.until("return !document.getElementById('pane-type-choice').className.includes('off')")
    page.driver.find_element(By.ID, "read").click()
    page.until("return document.querySelector('#pair-panel .empty')?.textContent.includes('100,000 characters')")


def test_damaged_links_say_what_is_wrong(page):
    for state, words in (
        ({"run": "../../etc"}, "no run"),
        ({"model": "<img src=x onerror=alert(1)>"}, "no model"),
        ({"data": "/etc/passwd"}, "unknown data"),
        ({"item": "999.0.0"}, "no pair"),
        ({"layer": "x", "colour": "neuron"}, "must be a number"),
        ({"set": "../models/helpful/config", "colour": "set"}, "no neuron set"),
    ):
        page.open(**state)
        assert words in page.text("#pair-panel .empty")


def test_a_link_restores_every_control(page):
    state = {
        "model": "harmless", "item": "2.0.0", "colour": "set", "layer": "2", "neuron": "95", "set": "mixed",
        "off": "bucket", "bucket": "late", "draw": "4", "ablation": "mean", "statistic": "rms", "top": "7.5",
        "by": "layer", "scale": "log",
    }  # fmt: skip
    page.open("off", **state)
    link = page.driver.current_url
    assert {part.split("=")[0]: part.split("=")[1] for part in link.split("#")[1].split("&")} == {
        "run": RUN, "tab": "off", "source": "pick", "site": "post", "data": quote(page.data, safe=""), **state,
    }  # fmt: skip
    caption = page.text("#off-panel caption")
    page.driver.get("about:blank")
    page.driver.get(link)
    page.answer("off-panel")
    assert page.text("#off-panel caption") == caption
    assert page.driver.current_url == link


def test_a_stale_answer_never_overwrites_a_newer_question(page, explorer, monkeypatch):
    page.open(item="0.0.0", model="helpful")
    get = explorer.models.get

    def slow_for_harmless(folder):
        if folder.name == "harmless":
            time.sleep(1.5)
        return get(folder)

    monkeypatch.setattr(explorer.models, "get", slow_for_harmless)
    page.js("dash_clientside.set_props('model', {value: 'harmless'})")
    time.sleep(0.6)
    assert page.driver.title.startswith("Working")
    assert page.js("return document.querySelector('.pane:not(.off) .dash-spinner') !== null")
    page.js("dash_clientside.set_props('model', {value: 'mixed'})")
    one, other = rewards_of(explorer, "mixed", PAIRS[0])
    time.sleep(3)
    assert page.number("#margin") == pytest.approx(one - other, abs=1e-4)


def test_two_users_at_once_get_their_own_answers(page, explorer, address):
    second = start()
    try:
        other = Page(second, address, page.data)
        expected = {}
        for model in ("helpful", "harmless"):
            for item in range(3):
                one, two = rewards_of(explorer, model, PAIRS[item])
                expected[model, item] = one - two
        page.open(model="helpful", item="0.0.0")
        other.open(model="harmless", item="0.0.0")
        for item in (1, 2, 0, 2):
            before = [user.answer("pair-panel") for user in (page, other)]
            for user in (page, other):
                user.js("dash_clientside.set_props('link', {data: {item: arguments[0]}})", f"{item}.0.0")
            for user, model, token in zip((page, other), ("helpful", "harmless"), before, strict=True):
                user.answer("pair-panel", token)
                assert user.number("#margin") == pytest.approx(expected[model, item], abs=1e-4)
    finally:
        second.quit()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("tab", PANELS)
def test_views_fit_wide_and_narrow_screens(page, explorer, tab, width):
    """Kept as pictures where TENSION_LENS_SCREENSHOTS names a folder."""
    comparisons = explorer.catalogue.source(SAMPLE).comparisons
    texts = [(one.prompt + one.chosen[0], one.prompt + one.rejected[0]) for one in comparisons]
    short = next(number for number, pair in enumerate(texts) if max(len(text.encode()) for text in pair) <= 256)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        page.open(tab, data=SAMPLE, item=f"{short}.0.0", layer=1, neuron=7)
        if tab != "off":
            page.traces(f"#{PANELS[tab] if tab != 'neuron' else 'driven-panel'}")
        assert page.js("return document.documentElement.scrollWidth") <= width
        unnamed = page.js(
            "return [...document.querySelectorAll('button, input, textarea, [role=combobox], .tokens')].filter(one =>"
            " one.offsetParent && one.ariaHidden !== 'true'"
            " && !one.textContent.trim() && !one.getAttribute('aria-label') && !one.labels?.length"
            " && !one.getAttribute('aria-labelledby') && !one.title).map(one => one.outerHTML)"
        )
        assert not unnamed
        if folder := os.environ.get("TENSION_LENS_SCREENSHOTS"):
            time.sleep(0.5)
            content = page.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": width, "height": min(content["height"], 2600), "scale": 1}
            asked = {"captureBeyondViewport": True, "clip": clip}
            taken = page.driver.execute_cdp_cmd("Page.captureScreenshot", asked)["data"]
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / f"{tab}-{width}.png").write_bytes(base64.b64decode(taken))
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
