"""What the explorer computes and rejects, without a browser."""

import json
import shutil
import socket
import threading
import time
import unicodedata

import numpy as np
import pytest
from dash import no_update
from hypothesis import given
from hypothesis import strategies as st
from parts import hugging_face_activations, neuron_pairs
from parts_explorer import DATA, PAIRS, RUN
from plotly.io import to_json

from analysis.explorer import figures
from analysis.explorer import reading as explorer_reading
from analysis.explorer.__main__ import ExplorerConfig
from analysis.explorer.__main__ import run as serve
from analysis.explorer.answering import Asked, Questions, StaleError, answer
from analysis.explorer.app import make_app
from analysis.explorer.catalogue import Catalogue
from analysis.explorer.reading import neuron_facts, pair_rewards, read_pair, single_neuron
from analysis.explorer.runs import find_runs
from analysis.explorer.selection import ablated_set, inside, map_sets, selected
from analysis.explorer.state import MAX_CHARACTERS, Question
from analysis.explorer.tokens import CONTINUED, visible
from analysis.explorer.views import pair_view
from analysis.explorer.views.neuron_map import export
from tension_lens.data.comparisons import Comparison
from tension_lens.errors import RequestError
from tension_lens.neurons.conditions import ablation, intact
from tension_lens.neurons.depth import bucket_of
from tension_lens.neurons.sets import NeuronSet
from tension_lens.score import ScoreConfig
from tension_lens.score import run as score


@pytest.fixture
def run(explorer):
    return explorer.runs[RUN]


@pytest.fixture(scope="module")
def explorer_model(explorer):
    with explorer.models.using() as models:
        return models.get(explorer.runs[RUN].model("helpful"))


def ask(**fields):
    return Question.of({"run": RUN, "model": "helpful", "set": "shared", **fields})


def pair(prompt, chosen, rejected):
    return Comparison(prompt, (chosen,), (rejected,), "any", "unknown", "0")


def test_a_run_has_the_files_of_its_folder(run):
    assert list(run.models) == ["helpful", "harmless", "mixed"]
    assert set(run.scores) == {"helpful", "harmless", "mixed"}
    assert "shared" in run.sets and len(run.sets) == 6
    assert run.sites() == {"post": {name: name for name in run.models}}


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..", "/etc/passwd", "shared.json", "", None, "nothing"])
def test_unknown_names_open_nothing(run, explorer, name):
    for open_it in (run.model, run.neuron_set, run.scores_of, explorer.catalogue.source, explorer.run):
        with pytest.raises(RequestError):
            open_it(name)


def test_scores_and_examples_are_of_the_requested_site(explorer_root, tmp_path):
    shutil.copytree(explorer_root / "runs" / RUN, tmp_path / RUN)
    model, out = tmp_path / RUN / "models" / "helpful", tmp_path / RUN / "scores" / "helpful-gate"
    asked = {"model": str(model), "data": str(explorer_root / DATA), "device": "cpu", "top_examples": 2}
    score(ScoreConfig(**asked, out=out, site="gate"))
    run = find_runs(tmp_path)[RUN]
    assert run.sites()["gate"] == {"helpful": "helpful-gate"}
    assert run.examples("helpful", "gate") == out
    assert run.examples("helpful", "post") == tmp_path / RUN / "scores" / "helpful"
    assert run.examples("mixed", "gate") is None and run.examples(None, "post") is None


def test_runs_are_found_in_a_folder_but_not_through_links_out_of_it(explorer_root, tmp_path):
    assert list(find_runs(explorer_root / "runs" / RUN)) == [RUN]
    assert list(find_runs(explorer_root)) == [f"runs/{RUN}"]
    (tmp_path / "one" / "models").mkdir(parents=True)
    (tmp_path / "one" / "models" / "helpful").symlink_to(explorer_root / "runs" / RUN / "models" / "helpful")
    with pytest.raises(RequestError):
        find_runs(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("layer", "abc"), ("top", "much"), ("layer", float("inf")), ("neuron", 1e30), ("draw", -1), ("run", ["a"]),
        ("colour", "<b>"), ("off", "all"), ("prompt", "a" * (MAX_CHARACTERS + 1)), ("first", "a\ud800"),
    ],
)  # fmt: skip
def test_invalid_states_are_rejected(name, value):
    with pytest.raises(RequestError, match=name):
        Question.of({name: value})


def test_a_state_keeps_its_values():
    question = Question.of({"layer": "3", "top": 5, "prompt": "a" * MAX_CHARACTERS, "unknown": 1, "set": None})
    assert (question.layer, question.top, question.set, len(question.prompt)) == (3, 5.0, "", MAX_CHARACTERS)


def test_visible_text_has_a_sign_for_invisible_characters():
    assert visible("a\n\tb") == "a⏎\n⇥\tb"
    assert visible("\x00\x07\x1b\x7f") == "␀␇␛␡"
    assert visible("\u202e\u200b\u2067\ufeff") == "‹U+202E›‹U+200B›‹U+2067›‹U+FEFF›"
    assert visible("é 🦜 <b>&amp;") == "é 🦜 <b>&amp;"


@given(st.text())
def test_visible_text_has_no_control_or_format_character(text):
    assert not [c for c in visible(text) if unicodedata.category(c)[0] == "C" and c not in "\n\t"]


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_the_tokens_together_are_the_text(explorer_model, text):
    side, _ = read_pair(explorer_model, pair("Ask: ", text, "no"), None)
    joined = "".join(one for one in side.tokens if one != CONTINUED)
    assert joined.replace(CONTINUED, "") == visible("Ask: " + text).replace(CONTINUED, "")
    assert len(side.tokens) == len(("Ask: " + text).encode())
    assert side.text.response_start == len("Ask: ")


def test_an_emoji_split_across_tokens_is_shown_once(explorer_model):
    side, _ = read_pair(explorer_model, pair("", "a🦜b", "no"), None)
    assert side.tokens == ["a", "🦜", CONTINUED, CONTINUED, CONTINUED, "b"]


def test_values_at_tokens_are_hugging_faces(models, family, site):
    """Of a neuron, and the mean over a set in several layers."""
    reference, model = models[family]
    comparison = pair("Q", " yes, and more", " no")
    neurons = NeuronSet.of("two", site, (model.n_layers, model.d_mlp), [(0, 5), (2, 30)])
    activations = hugging_face_activations(reference, model.encode(["Q yes, and more"])[0], site)
    side, other = read_pair(model, comparison, neurons)
    np.testing.assert_allclose(side.values, (activations[0][:, 5] + activations[2][:, 30]) / 2, atol=1e-5)
    alone, _ = read_pair(model, comparison, single_neuron(model, 2, 30, site))
    np.testing.assert_allclose(alone.values, activations[2][:, 30], atol=1e-5)
    np.testing.assert_allclose([side.reward, other.reward], model.rewards(["Q yes, and more", "Q no"]), atol=1e-5)


def test_equal_texts_tie_and_so_do_rewards_within_rounding(explorer_model, monkeypatch):
    comparison = pair("Q", " yes", " yes")
    side, other = read_pair(explorer_model, comparison, None)
    assert side.rewards.tolist() == other.rewards.tolist()
    conditions = [intact(), ablation(single_neuron(explorer_model, 2, 4))]
    found = pair_rewards(explorer_model, comparison, conditions)
    assert (found[:, 0] == found[:, 1]).all() and found[0, 0] != found[1, 0]
    near = dict(zip(conditions, (np.array([0.5, 0.5 + 3e-8]), np.array([0.5, 0.5 + 1e-4])), strict=True))
    monkeypatch.setattr(explorer_reading, "stream_rewards", lambda *_, **__: iter([(0, near)]))
    assert pair_rewards(explorer_model, pair("Q", " yes", " no"), conditions).tolist() == [
        [0.5, 0.5],
        [0.5, 0.5 + 1e-4],
    ]


def test_the_pair_view_calls_rewards_within_rounding_a_tie(explorer, monkeypatch):
    for apart, word in ((5e-7, "a tie"), (1e-4, "prefers")):

        def read(model, comparison, neurons, apart=apart):
            chosen, rejected = read_pair(model, comparison, neurons)
            reward = chosen.rewards[chosen.text.pooled]
            rejected.rewards[rejected.text.pooled] = reward + apart
            return chosen, rejected

        monkeypatch.setattr(pair_view, "read_pair", read)
        asked = Asked(ask(source="type", prompt="Q", first=" yes", second=" no"), explorer, "s", "pair", 0.0)
        assert word in str(pair_view.pair_panel(asked)[1])


def test_facts_of_a_neuron(explorer_model):
    """The lens by hand; attribution against the drop itself where the network is nearly linear in the neuron."""
    comparison = pair("Q", " yes", " no, not at all")
    facts = neuron_facts(explorer_model, comparison, 2, 4, 258)
    weights = explorer_model.hooked
    write = weights.W_out[2, 4].numpy()
    logits = ((write - write.mean()) * weights.ln_final.w.numpy()) @ weights.W_E.numpy().T
    assert [value for _, value in facts.promoted] == pytest.approx(sorted(logits, reverse=True), abs=1e-5)
    assert [value for _, value in facts.suppressed] == pytest.approx(sorted(logits), abs=1e-5)
    # Between the last layer and the reward there is only the scale of the final norm.
    found = pair_rewards(explorer_model, comparison, [intact(), ablation(single_neuron(explorer_model, 2, 4))])
    assert facts.attribution == pytest.approx(found[0] - found[1], rel=0.5, abs=0.02)


@pytest.mark.parametrize(("layer", "neuron"), [(3, 0), (0, 96), (-1, 0), (0, -1)])
def test_a_missing_neuron_is_rejected(explorer_model, layer, neuron):
    with pytest.raises(RequestError, match=f"{layer}/{neuron}"):
        single_neuron(explorer_model, layer, neuron)


def test_which_neurons_are_ablated(run):
    def pairs(weights="", **fields):
        return neuron_pairs(ablated_set(run, ask(**fields), (3, 96), weights))

    shared = neuron_pairs(run.neuron_set("shared"))
    assert pairs(off="set") == shared
    assert pairs(off="neuron", layer=1, neuron=7) == ((1, 7),)
    for bucket in {bucket_of(layer, 3) for layer, _ in shared}:
        assert pairs(off="bucket", bucket=bucket) == tuple(one for one in shared if bucket_of(one[0], 3) == bucket)
    random = [pairs(off="random", draw=draw) for draw in (0, 0, 1)]
    assert len(random[0]) == len(shared)
    assert random[0] == random[1] != random[2]
    assert pairs("of another model", off="random", draw=0) != random[0]
    assert not set(random[0]) & set(shared)
    with pytest.raises(RequestError):
        pairs(off="selection")


def test_inside_a_polygon_that_is_not_convex():
    # An L: a square of four without its upper right quarter.
    corners = np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], dtype=float)
    x, y = np.array([0.5, 1.5, 0.5, 1.5, 2.5, -1]), np.array([0.5, 0.5, 1.5, 1.5, 0.5, 0.5])
    assert inside(x, y, corners).tolist() == [True, True, True, False, False, False]


def test_a_selection_belongs_to_its_axes(run):
    box = {"axes": f"{RUN}/post/mean_abs", "x": [-1, 1e3], "y": [-1, 1e3]}
    assert len(selected(run, ask(region=box))) == 3 * 96
    assert len(selected(run, ask(region={**box, "x": [1e-9, 1e3], "y": [1e-9, 1e3]}, scale="log"))) == 3 * 96
    assert selected(run, ask(region=box, statistic="rms")) is None
    assert selected(run, ask()) is None
    for damaged in ({**box, "x": [1]}, {**box, "x": ["a", "b"]}, {**box, "x": [float("nan"), 1]}):
        with pytest.raises(RequestError):
            selected(run, ask(region=damaged))


def test_exports_can_be_read_again(run, tmp_path):
    question = ask(top=5)
    helpful = map_sets(run, question)["helpful"]
    content, file, count = export(run, question, "helpful", "json")
    (tmp_path / file).write_text(content, "utf-8")
    assert NeuronSet.load(tmp_path / "helpful.json") == helpful
    rows = export(run, question, "helpful", "csv")[0].splitlines()
    assert rows[0] == "layer,neuron,helpful_mean_abs,harmless_mean_abs,membership"
    assert len(rows) == 1 + count == 1 + round(0.05 * 288)
    for name in ("selection", "nothing"):
        with pytest.raises(RequestError):
            export(run, question, name, "json")


def test_a_newer_request_makes_the_older_stale():
    questions = Questions()
    for asked in (("me", "pair", 1), ("me", "pair", 3), ("you", "pair", 2), ("me", "map", 1)):
        questions.ask(*asked)
    for stale in (questions.ask, questions.require_current):
        with pytest.raises(StaleError):
            stale("me", "pair", 2)
    questions.require_current("me", "pair", 3)
    questions.require_current("you", "pair", 2)


def test_a_request_that_waits_for_the_model_is_dropped_when_a_newer_one_comes(explorer):
    answers = {}

    def old(asked):
        with asked.models():
            return "old"

    def in_background():
        answers["old"] = answer(explorer, "v", {"session": "s", "token": 1}, old)

    with explorer.models.using():
        thread = threading.Thread(target=in_background)
        thread.start()
        while ("s", "v") not in explorer.questions._latest:
            time.sleep(0.01)
        answers["new"] = answer(explorer, "v", {"session": "s", "token": 2}, lambda asked: "new")
    thread.join()
    assert answers["old"] is no_update
    assert answers["new"].children == "new"


def test_an_internal_error_goes_to_the_log_and_not_to_the_page(explorer, caplog):
    found = answer(explorer, "v", {"session": "other", "token": 1}, lambda asked: 1 / 0)
    assert found.children.className == "empty" and "division" not in str(found)
    assert "ZeroDivisionError" in caplog.text


def test_search_finds_all_words_in_any_case(explorer, explorer_root):
    name = str(explorer_root / DATA)
    assert explorer.catalogue.search(name, "")[1] == len(PAIRS)
    assert [item for item, _ in explorer.catalogue.search(name, "CROCODILE bird")[0]] == ["2.0.0"]
    assert explorer.catalogue.search(name, "crocodile friend") == ([], 0)


def test_several_responses_make_several_pairs(tmp_path):
    path = tmp_path / "many.jsonl"
    path.write_text(json.dumps({"prompt": "Q", "chosen": ["a"], "rejected": ["b", "c"]}) + "\n")
    catalogue = Catalogue((str(path),))
    assert [item for item, _ in catalogue.search(str(path), "")[0]] == ["0.0.0", "0.0.1"]
    assert catalogue.pair(Question.of({"data": str(path), "item": "0.0.1"})).comparison.rejected == ("c",)
    for item in ("0.0.2", "1.0.0", "-1.0.0", "x", "0.0"):
        with pytest.raises(RequestError):
            catalogue.pair(Question.of({"data": str(path), "item": item}))


def test_empty_and_overlong_typed_texts_are_rejected(explorer, explorer_model):
    def typed(first, second):
        return explorer.catalogue.pair(Question.of({"source": "type", "prompt": "Q", "first": first, "second": second}))

    with pytest.raises(RequestError):
        typed("a", " \n")
    with pytest.raises(RequestError, match="256"):
        read_pair(explorer_model, typed("a" * 5000, "b").comparison, None)


def test_only_this_machine_gets_an_answer(explorer):
    client = make_app(explorer).server.test_client()
    assert client.get("/", headers={"Host": "127.0.0.1:8050"}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    page = client.get("/", headers={"Host": "localhost"})
    assert "http://" not in page.text and "https://" not in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    for path in ("/assets/../app.py", "/assets/%2e%2e/app.py", "/../../etc/passwd", "/assets/..%2fapp.py"):
        found = client.get(path, headers={"Host": "localhost"}).data
        assert b"import" not in found and b"root:" not in found


def test_the_command_rejects_invalid_input(explorer_root, tmp_path):
    assert ExplorerConfig(runs=tmp_path).host == "127.0.0.1"
    runs = explorer_root / "runs"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for invalid in (
            {"runs": tmp_path / "none"},
            {"runs": tmp_path},
            {"runs": runs, "data": ["nothing"]},
            {"runs": runs, "port": taken.getsockname()[1]},
        ):
            with pytest.raises(RequestError):
                serve(ExplorerConfig(**invalid))


def test_figures_show_their_numbers():
    rng = np.random.default_rng(0)
    importances = (rng.random((4, 8)), rng.random((4, 8)))
    part = NeuronSet.of("shared", "post", (4, 8), [(0, 0), (3, 7)])
    drawn = figures.neuron_map(importances, ("helpful", "harmless"), "mean_abs", {"shared": part})
    assert [len(trace.x) for trace in drawn.data] == [30, 2]
    assert drawn.data[1].customdata.tolist() == [[0, 0], [3, 7]]
    depth = figures.depth_by_layer({"shared": part})
    assert list(depth.data[0].x) == [50, 0, 0, 50]
    histogram = figures.activation_histogram({"chosen": rng.random(50), "rejected": np.zeros(1)})
    assert np.nansum(histogram.data[0].y) == pytest.approx(100)
    change = figures.margin_change({"helpful": np.array([0.75, -0.5])})
    assert list(change.data[0].x) == [0.75, -0.5]
    sweep = figures.margin_sweep([0, 10], {"mixed": np.array([1.0, 2.0])}, "mean_abs")
    for figure in (drawn, depth, histogram, change, sweep):
        assert "rgba(0,0,0,0)" in to_json(figure)
