"""The depth figure: its numbers by hand, and the page in a real browser without a network."""

import shutil
import subprocess
import sys

import pandas as pd
import pytest

from analysis.depth import DepthConfig, run
from analysis.figures.layers import depth_figure
from analysis.tables.depth import depth_table
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

HELPFUL = NeuronSet.of("helpful", "post", (6, 10), [(0, 1), (4, 2), (5, 3), (5, 4)])
HARMLESS = NeuronSet.of("harmless", "post", (6, 10), [(2, 0), (3, 9)])


def test_the_shares_of_each_third_are_those_counted_by_hand():
    table = depth_table([HELPFUL, HARMLESS]).set_index(["set", "bucket"])
    assert table["share"].to_dict() == {
        ("helpful", "early"): 0.25,
        ("helpful", "middle"): 0.0,
        ("helpful", "late"): 0.75,
        ("harmless", "early"): 0.0,
        ("harmless", "middle"): 1.0,
        ("harmless", "late"): 0.0,
    }
    assert table["uniform"].tolist() == pytest.approx([1 / 3] * 6)


def test_the_figure_shows_the_numbers_of_the_table_beside_the_uniform_share():
    figure = depth_figure([HELPFUL, HARMLESS])
    bars = {trace.name: list(trace.y) for trace in figure.data if trace.name}
    assert bars["helpful"] == [25, 0, 75]
    assert bars["harmless"] == [0, 100, 0]
    assert bars["uniform"] == pytest.approx([100 / 3] * 3)
    histogram = next(trace for trace in figure.data if trace.customdata is not None)
    assert list(histogram.customdata) == [1, 0, 0, 0, 1, 2]


def test_an_empty_set_is_drawn_without_inventing_a_share():
    table = depth_table([NeuronSet.of("shared", "post", (6, 10), [])])
    assert pd.isna(table["share"]).all()


def test_sets_of_different_networks_or_of_one_name_are_refused():
    with pytest.raises(RequestError, match="layers"):
        depth_figure([HELPFUL, NeuronSet.of("mixed", "post", (5, 10), [])])
    with pytest.raises(RequestError, match="different names"):
        depth_figure([HELPFUL, HELPFUL])
    with pytest.raises(RequestError, match="at least one"):
        depth_figure([])


def test_figures_are_drawn_without_torch():
    code = "import sys; sys.modules['torch'] = None; import analysis.depth; print('drawn')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "drawn"


def test_the_page_draws_itself_in_a_browser_with_no_network(tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("NO BROWSER: install Debian's chromium to open the page in this test")
    for one in (HELPFUL, HARMLESS):
        one.save(tmp_path / f"{one.name}.json")
    page = tmp_path / "depth.html"
    run(DepthConfig(sets=[tmp_path / "helpful.json", tmp_path / "harmless.json"], out=page))
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    more = (
        f"--disable-component-update --disable-sync --virtual-time-budget=5000 --user-data-dir={tmp_path / 'profile'}"
    )
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND"
    done = subprocess.run(
        [browser, *flags.split(), *more.split(), nowhere, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert 'class="main-svg"' in done.stdout
    assert "helpful: 4 neurons, by layer" in done.stdout
    assert done.stdout.count('class="point"') >= 3 * 3 + 2 * 6
