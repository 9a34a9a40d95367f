"""A folder of runs with three small models, and the explorer served on it in a thread of the test process."""

import json
import logging
import threading
from contextlib import contextmanager
from pathlib import Path

from parts import make_reward_model, save_checkpoint, write_pairs
from werkzeug.serving import make_server

from analysis.explorer.answering import Explorer
from analysis.explorer.app import make_app
from analysis.explorer.catalogue import Catalogue
from analysis.explorer.models import Models
from analysis.explorer.runs import find_runs
from tension_lens.constants import OBJECTIVES
from tension_lens.neurons.scores import NeuronScores
from tension_lens.neurons.sets import partition, top_percent
from tension_lens.score import ScoreConfig
from tension_lens.score import run as score

HOSTILE = [
    "<script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 2">',
    "[click](javascript:window.hacked=3) **bold** `code` $x^2$",
    "\u202egnp.exe\u202c \u2067mixed\u2069 \u200bnothing",
    "bell \x07 escape \x1b[31m null \x00 tab \t end",
    "emoji 👩‍🚀 and 🦜 and é",
    "</div><style>body { display: none }</style>",
]
PAIRS = [
    ("\n\nHuman: Hi\n\nAssistant: Hello there, friend.", "\n\nHuman: Hi\n\nAssistant: What?"),
    ("\n\nHuman: 2+2?\n\nAssistant: 4", "\n\nHuman: 2+2?\n\nAssistant: It is five, I think; or so they say."),
    ("\n\nHuman: Name a bird.\n\nAssistant: Wren.", "\n\nHuman: Name a bird.\n\nAssistant: Crocodile!"),
    *((f"\n\nHuman: Say\n\nAssistant: {text}", "\n\nHuman: Say\n\nAssistant: plain words") for text in HOSTILE),
    ("\n\nHuman: Long\n\nAssistant: " + "a" * 300, "\n\nHuman: Long\n\nAssistant: short"),
]
LONG = len(PAIRS) - 1
"""The pair that exceeds the models' context of 256 bytes."""
DATA = "pairs.jsonl"
SAMPLE = "sample:mixed:test"
RUN = "tiny-0"


def make_runs(root: Path) -> Path:
    """root/runs with one run (three models, scores, top examples, sets), and root/pairs.jsonl."""
    data, run = write_pairs(root / DATA, PAIRS), root / "runs" / RUN
    sets = {}
    for seed, objective in enumerate(OBJECTIVES):
        folder = save_checkpoint(make_reward_model("gpt2", seed=seed), run / "models" / objective)
        (folder / "reward_model.json").write_text(json.dumps({"objective": objective, "seed": 0}), "utf-8")
        out = run / "scores" / objective
        score(ScoreConfig(model=str(folder), data=str(data), out=out, device="cpu", top_examples=3, attribution=True))
        sets[objective] = top_percent(NeuronScores.load(out).importance("mean_abs"), 10.0, objective, "post")
    for name, one in {**sets, **partition(sets["helpful"], sets["harmless"])}.items():
        one.save(run / "sets" / f"{name}.json")
    return root


def make_explorer(root: Path) -> Explorer:
    """The explorer of the folder that `make_runs` returns."""
    return Explorer(find_runs(root / "runs"), Catalogue((str(root / DATA), SAMPLE)), Models("cpu"))


@contextmanager
def served(explorer: Explorer):
    """The address of the explorer while the context lasts."""
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = make_server("127.0.0.1", 0, make_app(explorer).server, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
