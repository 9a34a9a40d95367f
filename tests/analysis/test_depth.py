"""The depth figure: its numbers by hand, and its page in a browser without a network."""

import shutil
import subprocess
import sys

import pytest

from analysis.depth import DepthConfig, run
from analysis.figures.layers import depth_figure
from analysis.tables.depth import depth_table
from tension_lens.errors import RequestError
from tension_lens.neurons.sets import NeuronSet

HELPFUL = NeuronSet.of("helpful", "post", (6, 10), [(0, 1), (4, 2), (5, 3), (5, 4)])
HARMLESS = NeuronSet.of("harmless", "post", (6, 10), [(2, 0), (3, 9)])


def test_the_figure_has_the_shares_of_the_table_next_to_the_uniform_share():
    table = depth_table([HELPFUL, HARMLESS])
    assert table["share"].tolist() == [0.25, 0, 0.75, 0, 1, 0]
    assert table["uniform"].tolist() == pytest.approx([1 / 3] * 6)
    figure = depth_figure([HELPFUL, HARMLESS], meta={"backbone": "tiny"})
    bars = {trace.name: list(trace.y) for trace in figure.data if trace.name}
    assert (bars["helpful"], bars["harmless"]) == ([25, 0, 75], [0, 100, 0])
    assert bars["uniform"] == pytest.approx([100 / 3] * 3)
    histogram = next(trace for trace in figure.data if trace.customdata is not None)
    assert list(histogram.customdata) == [1, 0, 0, 0, 1, 2]
    assert all(trace.meta == {"backbone": "tiny"} for trace in figure.data)


def test_an_empty_set_has_no_share():
    assert depth_table([NeuronSet.of("shared", "post", (6, 10), [])])["share"].isna().all()


@pytest.mark.parametrize("sets", [[], [HELPFUL, HELPFUL], [HELPFUL, NeuronSet.of("mixed", "post", (5, 10), [])]])
def test_sets_of_different_networks_or_of_one_name_are_refused(sets):
    with pytest.raises(RequestError):
        depth_figure(sets)


def test_figures_need_no_torch_and_their_package_no_plotly():
    code = "import sys; sys.modules['torch'] = None; import analysis.figures; print('plotly' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import analysis.depth"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.browser
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
    command = [browser, *flags.split(), *more.split(), "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    assert 'class="main-svg"' in done.stdout
    assert "helpful: 4 neurons, by layer" in done.stdout
    assert done.stdout.count('class="point"') >= 3 * 3 + 2 * 6
