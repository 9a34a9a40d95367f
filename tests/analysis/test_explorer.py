"""What the explorer computes and refuses, without a browser."""

import json
import shutil
import socket
import threading
import time
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts import hugging_face_activations, neuron_pairs
from parts_explorer import DATA, LONG, PAIRS, RUN
from plotly.io import to_json

from analysis.explorer import figures
from analysis.explorer.__main__ import ExplorerConfig
from analysis.explorer.__main__ import run as serve
from analysis.explorer.app import make_app
from analysis.explorer.catalogue import Catalogue
from analysis.explorer.holder import Questions, StaleError
from analysis.explorer.reading import CONTINUED, neuron_facts, pair_rewards, read_pair, single_neuron, visible
from analysis.explorer.runs import find_runs
from analysis.explorer.selection import inside, map_sets, off_set, selected
from analysis.explorer.state import MAX_CHARACTERS, Question
from analysis.explorer.views import neuron_map
from analysis.explorer.views.answering import answer
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


def ask(**fields):
    return Question.of({"run": RUN, "model": "helpful", "set": "shared", **fields})


def test_runs_hold_what_lies_in_their_folders(run):
    assert list(run.models) == ["helpful", "harmless", "mixed"]
    assert set(run.scores) == {"helpful", "harmless", "mixed"}
    assert "shared" in run.sets and len(run.sets) == 6
    assert run.sites() == {"post": {name: name for name in run.models}}


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..", "/etc/passwd", "shared.json", "", None, "nothing"])
def test_names_that_are_not_of_the_run_open_nothing(run, explorer, name):
    for open_it in (run.model, run.neuron_set, run.scores_of):
        with pytest.raises(RequestError, match="choose one of"):
            open_it(name)
    with pytest.raises(RequestError, match="unknown data"):
        explorer.catalogue.source(name)
    with pytest.raises(RequestError, match="no run"):
        explorer.run(name)


def test_scores_and_examples_are_those_of_the_site_asked_for(explorer_root, tmp_path):
    shutil.copytree(explorer_root / "runs" / RUN, tmp_path / RUN)
    model, out = tmp_path / RUN / "models" / "helpful", tmp_path / RUN / "scores" / "helpful-gate"
    asked = {"model": str(model), "data": str(explorer_root / DATA), "device": "cpu", "top_examples": 2}
    score(ScoreConfig(**asked, out=out, site="gate"))
    run = find_runs(tmp_path)[RUN]
    assert run.sites()["gate"] == {"helpful": "helpful-gate"}
    assert run.examples("helpful", "gate") == out
    assert run.examples("helpful", "post") == tmp_path / RUN / "scores" / "helpful"
    assert run.examples("mixed", "gate") is None and run.examples(None, "post") is None


def test_links_out_of_the_runs_directory_are_left_out(explorer_root, tmp_path):
    (tmp_path / "runs" / "one" / "models").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "models" / "helpful").symlink_to(explorer_root / "runs" / RUN / "models" / "helpful")
    with pytest.raises(RequestError, match="no run"):
        find_runs(tmp_path / "runs")


def test_a_directory_may_be_one_run_or_hold_several(explorer_root):
    assert list(find_runs(explorer_root / "runs" / RUN)) == [RUN]
    assert list(find_runs(explorer_root)) == [f"runs/{RUN}"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"layer": "abc"}, "must be a number"),
        ({"top": "much"}, "must be a number"),
        ({"layer": float("inf")}, "must be a number"),
        ({"run": ["a"]}, "run must be text"),
        ({"colour": "<b>"}, "unknown colour"),
        ({"off": "all"}, "unknown what"),
        ({"draw": -1}, "at least 0"),
        ({"prompt": "a" * 100_000}, "100,000 characters; at most 20,000"),
    ],
)
def test_questions_that_cannot_be_are_refused(fields, words):
    with pytest.raises(RequestError, match=words):
        Question.of(fields)


def test_a_question_keeps_what_it_was_given():
    question = Question.of({"layer": "3", "top": 5, "prompt": "a" * MAX_CHARACTERS, "unknown": 1, "set": None})
    assert (question.layer, question.top, question.set, len(question.prompt)) == (3, 5.0, "", MAX_CHARACTERS)


def test_visible_text_has_a_sign_for_everything_that_has_none():
    assert visible("a\n\tb") == "a⏎\n⇥\tb"
    assert visible("\x00\x07\x1b\x7f") == "␀␇␛␡"
    assert visible("\u202e\u200b\u2067\ufeff") == "‹U+202E›‹U+200B›‹U+2067›‹U+FEFF›"
    assert visible("é 🦜 <b>&amp;") == "é 🦜 <b>&amp;"


@given(st.text())
def test_visible_text_holds_no_control_or_format_character(text):
    assert not [c for c in visible(text) if unicodedata.category(c)[0] == "C" and c not in "\n\t"]


@given(st.text(min_size=1, max_size=20))
def test_the_letters_of_all_tokens_are_the_text(explorer_model, text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    comparison = Comparison("Ask: ", (text,), ("no",), "any", "unknown", "0")
    side, _ = read_pair(explorer_model, comparison, None)
    letters = [token.text for token in side.tokens]
    assert "".join(one for one in letters if one != CONTINUED).replace(CONTINUED, "") == visible(
        "Ask: " + text
    ).replace(CONTINUED, "")
    assert len(letters) == len(("Ask: " + text).encode())
    assert [token.in_response for token in side.tokens].index(True) == len("Ask: ")


@pytest.fixture(scope="module")
def explorer_model(explorer):
    with explorer.models.using() as models:
        return models.get(explorer.runs[RUN].model("helpful"))


def test_an_emoji_split_across_tokens_is_shown_once(explorer_model):
    side, _ = read_pair(explorer_model, Comparison("", ("a🦜b",), ("no",), "any", "unknown", "0"), None)
    assert [token.text for token in side.tokens] == ["a", "🦜", CONTINUED, CONTINUED, CONTINUED, "b"]


def test_values_at_tokens_are_hugging_faces(models, family, site):
    """Of a neuron, and the mean over a set that lies in several layers."""
    reference, model = models[family]
    comparison = Comparison("Q", (" yes, and more",), (" no",), "any", "unknown", "0")
    neurons = NeuronSet.of("two", site, (model.n_layers, model.d_mlp), [(0, 5), (2, 30)])
    activations = hugging_face_activations(reference, model.encode(["Q yes, and more"])[0], site)
    side, other = read_pair(model, comparison, neurons)
    np.testing.assert_allclose(side.values, (activations[0][:, 5] + activations[2][:, 30]) / 2, atol=1e-5)
    alone, _ = read_pair(model, comparison, single_neuron(model, 2, 30, site))
    np.testing.assert_allclose(alone.values, activations[2][:, 30], atol=1e-5)
    np.testing.assert_allclose([side.reward, other.reward], model.rewards(["Q yes, and more", "Q no"]), atol=1e-5)


def test_facts_of_a_neuron(explorer_model):
    """The lens by hand, and attribution against the drop itself where the network is all but linear in the neuron."""
    comparison = Comparison("Q", (" yes",), (" no, not at all",), "any", "unknown", "0")
    facts = neuron_facts(explorer_model, comparison, 2, 4, 258)
    weights = explorer_model.hooked
    write = weights.W_out[2, 4].numpy()
    logits = ((write - write.mean()) * weights.ln_final.w.numpy()) @ weights.W_E.numpy().T
    assert [value for _, value in facts.promoted] == pytest.approx(sorted(logits, reverse=True), abs=1e-5)
    assert [value for _, value in facts.suppressed] == pytest.approx(sorted(logits), abs=1e-5)
    # In the last layer nothing lies between a neuron and the final norm but that norm's own scale.
    found = pair_rewards(explorer_model, comparison, [intact(), ablation(single_neuron(explorer_model, 2, 4))])
    drops = [before - after for before, after in zip(*found, strict=True)]
    assert facts.attribution == pytest.approx(drops, rel=0.5, abs=0.02)


@pytest.mark.parametrize(("layer", "neuron"), [(3, 0), (0, 96), (-1, 0), (0, -1)])
def test_a_neuron_that_is_not_there_is_refused(explorer_model, layer, neuron):
    with pytest.raises(RequestError, match="there is no neuron"):
        single_neuron(explorer_model, layer, neuron)


def test_what_is_switched_off(run):
    shared = run.neuron_set("shared")
    assert neuron_pairs(off_set(run, ask(off="set"), (3, 96))) == neuron_pairs(shared)
    assert neuron_pairs(off_set(run, ask(off="neuron", layer=1, neuron=7), (3, 96))) == ((1, 7),)
    for bucket in {bucket_of(layer, 3) for layer, _ in neuron_pairs(shared)}:
        held = neuron_pairs(off_set(run, ask(off="bucket", bucket=bucket), (3, 96)))
        assert held == tuple(place for place in neuron_pairs(shared) if bucket_of(place[0], 3) == bucket)
    random = [off_set(run, ask(off="random", draw=draw), (3, 96)) for draw in (0, 0, 1)]
    assert len(random[0]) == len(shared)
    assert neuron_pairs(random[0]) == neuron_pairs(random[1]) != neuron_pairs(random[2])
    with pytest.raises(RequestError, match="no neurons are selected"):
        off_set(run, ask(off="selection"), (3, 96))


def test_inside_a_polygon_that_is_not_convex():
    # An L: the unit square of three without its upper right one.
    corners = np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], dtype=float)
    x, y = np.array([0.5, 1.5, 0.5, 1.5, 2.5, -1]), np.array([0.5, 0.5, 1.5, 1.5, 0.5, 0.5])
    assert inside(x, y, corners).tolist() == [True, True, True, False, False, False]


def test_a_selection_is_of_the_axes_it_was_made_in(run):
    box = {"axes": f"{RUN}/post/mean_abs", "x": [-1, 1e3], "y": [-1, 1e3]}
    assert len(selected(run, ask(region=box))) == 3 * 96
    assert len(selected(run, ask(region={**box, "x": [1e-9, 1e3], "y": [1e-9, 1e3]}, scale="log"))) == 3 * 96
    assert selected(run, ask(region=box, statistic="rms")) is None
    assert selected(run, ask()) is None
    for damaged in ({**box, "x": [1]}, {**box, "x": ["a", "b"]}, {**box, "x": [float("nan"), 1]}):
        with pytest.raises(RequestError, match="damaged"):
            selected(run, ask(region=damaged))


def test_exports_can_be_read_again(run, tmp_path):
    question = ask(top=5)
    sets = map_sets(run, question)
    path = tmp_path / "set.json"
    path.write_text(neuron_map.as_json(sets["helpful"]), "utf-8")
    assert NeuronSet.load(path) == sets["helpful"]
    rows = neuron_map.as_csv(run, question, sets["helpful"]).splitlines()
    assert rows[0] == "layer,neuron,helpful_mean_abs,harmless_mean_abs,membership"
    assert len(rows) == 1 + len(sets["helpful"]) == 1 + round(0.05 * 288)
    with pytest.raises(RequestError, match="nothing is selected"):
        neuron_map.set_named(run, question, "selection")


def test_a_newer_question_makes_the_older_stale():
    questions = Questions()
    questions.ask("me", "pair", 1)
    questions.ask("me", "pair", 3)
    questions.ask("you", "pair", 2)
    questions.ask("me", "map", 1)
    with pytest.raises(StaleError):
        questions.ask("me", "pair", 2)
    with pytest.raises(StaleError):
        questions.require_current("me", "pair", 1)
    questions.require_current("me", "pair", 3)
    questions.require_current("you", "pair", 2)


def test_a_question_that_waits_for_the_model_is_dropped_when_a_newer_one_comes(explorer):
    from dash import no_update

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


def test_a_failure_inside_is_one_line_on_the_page(explorer, caplog):
    def broken(asked):
        raise ZeroDivisionError("secret")

    found = answer(explorer, "v", {"session": "other", "token": 1}, broken)
    assert "terminal" in found.children.children and "secret" not in str(found)
    assert "ZeroDivisionError" in caplog.text


def test_search_looks_for_all_words_everywhere(explorer, explorer_root):
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
        with pytest.raises(RequestError, match="no pair"):
            catalogue.pair(Question.of({"data": str(path), "item": item}))


def test_typed_text_is_refused_where_it_cannot_be_read(explorer, explorer_model):
    typed = {"source": "type", "prompt": "Q"}
    with pytest.raises(RequestError, match="two responses"):
        explorer.catalogue.pair(Question.of({**typed, "first": "a", "second": " \n"}))
    with pytest.raises(RequestError, match="surrogate"):
        explorer.catalogue.pair(Question.of({**typed, "first": "a\ud800", "second": "b"}))
    long = explorer.catalogue.pair(Question.of({**typed, "first": "a" * 5000, "second": "b"}))
    with pytest.raises(RequestError, match="at most 256"):
        read_pair(explorer_model, long.comparison, None)


def test_only_this_machine_is_answered(explorer):
    client = make_app(explorer).server.test_client()
    assert client.get("/", headers={"Host": "127.0.0.1:8050"}).status_code == 200
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 400
    page = client.get("/", headers={"Host": "localhost"})
    assert "http://" not in page.text and "https://" not in page.text
    assert "default-src 'self'" in page.headers["Content-Security-Policy"]
    for path in ("/assets/../app.py", "/assets/%2e%2e/app.py", "/../../etc/passwd", "/assets/..%2fapp.py"):
        assert b"import" not in client.get(path, headers={"Host": "localhost"}).data


def test_the_command_refuses_in_one_line(explorer_root, tmp_path):
    with pytest.raises(RequestError, match="must be a folder of runs"):
        serve(ExplorerConfig(runs=tmp_path / "none"))
    with pytest.raises(RequestError, match="no run in"):
        serve(ExplorerConfig(runs=tmp_path))
    assert ExplorerConfig(runs=tmp_path).host == "127.0.0.1"
    with pytest.raises(RequestError, match="unknown data spec"):
        serve(ExplorerConfig(runs=explorer_root / "runs", data=["nothing"]))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(RequestError, match=f"cannot serve on 127.0.0.1 port {port}"):
            serve(ExplorerConfig(runs=explorer_root / "runs", port=port))


def test_figures_are_drawn_from_numbers_alone():
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
    effect = figures.Effect("helpful", (1.0, 0.25), (0.5, 1.0))
    assert list(figures.margin_change([effect]).data[0].x) == [0.75, -0.5]
    sweep = figures.margin_sweep([0, 10], {"mixed": [1, 2]}, "mean_abs")
    for figure in (drawn, depth, histogram, sweep):
        assert "rgba(0,0,0,0)" in to_json(figure)


def test_the_long_pair_is_there_for_the_page_to_refuse():
    assert len(PAIRS[LONG][0]) > 256
