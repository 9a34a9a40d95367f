"""The embedded sample: real HH-RLHF, split by first prompt, reproduced from the published files byte for byte."""

import gzip
import importlib.util
import json
from itertools import combinations
from pathlib import Path

import pytest

import tension_lens
from tension_lens.data.datasets import Spec, load_comparisons

SAMPLE = Path(tension_lens.__file__).parent / "data" / "sample"
SPLITS = {"train": 1100, "test": 400, "validation": 100}
FILES = [f"{objective}.{split}.jsonl.gz" for objective in ("helpful", "harmless") for split in SPLITS]
SCRIPTS = Path(__file__).parents[2] / "scripts"


def rows_of(path):
    """Not splitlines(): texts may hold characters that it takes for line ends."""
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().split("\n") if line]


def stored(name):
    return rows_of(SAMPLE / name)


def sample(objective, split):
    return load_comparisons(Spec.parse(f"sample:{objective}:{split}")).comparisons


def first_prompt(transcript):
    """What stands between the first two speakers' names, without regard to white space."""
    assert transcript.startswith("\n\nHuman:")
    return tuple(transcript[len("\n\nHuman:") :].split("\n\nAssistant:")[0].split())


def load_script(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_no_first_prompt_stands_in_two_splits_of_any_objectives():
    prompts = {
        split: {first_prompt(row["chosen"]) for name in FILES if f".{split}." in name for row in stored(name)}
        for split in SPLITS
    }
    assert len(prompts["train"]) > 500
    assert len(prompts["test"]) > 200
    assert len(prompts["validation"]) > 100
    for one, other in combinations(SPLITS, 2):
        assert not prompts[one] & prompts[other]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("objective", ["helpful", "harmless"])
def test_every_objective_has_as_many_pairs(objective, split):
    assert len(sample(objective, split)) == len(stored(f"{objective}.{split}.jsonl.gz")) == SPLITS[split]


def test_the_tiny_backbones_are_pretrained_on_no_held_out_text(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    rows = {name: stored(name) for name in FILES}
    for subset in ("helpful-base", "helpful-rejection-sampled", "harmless-base"):
        (tmp_path / subset).mkdir()
        with gzip.open(tmp_path / subset / "test.jsonl.gz", "wt", encoding="utf-8") as file:
            file.writelines(
                json.dumps(row) + "\n" for found in rows.values() for row in found if row["subset"] == subset
            )
    read = set(load_script("pretrain_backbone").transcripts(tmp_path))
    texts = {name: {row[side] for row in found for side in ("chosen", "rejected")} for name, found in rows.items()}
    assert read == texts["helpful.train.jsonl.gz"] | texts["harmless.train.jsonl.gz"]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("objective", ["helpful", "harmless", "mixed"])
def test_every_row_is_a_comparison_of_its_objective_with_a_name_of_its_own(objective, split):
    comparisons = sample(objective, split)
    assert len({c.id for c in comparisons}) == len(comparisons)
    assert {c.task_type for c in comparisons} == ({"helpful", "harmless"} if objective == "mixed" else {objective})
    for comparison in comparisons:
        assert comparison.id.startswith(comparison.subtask + "/")
        assert comparison.prompt.endswith("\n\nAssistant:")
        assert comparison.chosen != comparison.rejected
        assert comparison.chosen[0].strip()
        assert comparison.rejected[0].strip()


def test_mixed_is_half_of_each_for_training_and_all_pairs_of_the_held_out_splits():
    helpful, harmless = sample("helpful", "train"), sample("harmless", "train")
    half = len(helpful) // 2
    mixed = sample("mixed", "train")
    assert len(mixed) == len(helpful) == len(harmless)
    assert {c.id for c in mixed} == {c.id for c in (*helpful[:half], *harmless[:half])}
    # Taken in turns, so that any beginning of it holds as many of each.
    assert [c.task_type for c in mixed] == ["helpful", "harmless"] * half
    for split in ("test", "validation"):
        whole = sample("mixed", split)
        assert {c.id for c in whole} == {c.id for c in (*sample("helpful", split), *sample("harmless", split))}
        assert [c.task_type for c in whole] == ["helpful", "harmless"] * SPLITS[split]


def test_texts_of_the_stored_rows_reach_the_model_letter_by_letter():
    for row, comparison in zip(stored("helpful.test.jsonl.gz"), sample("helpful", "test"), strict=True):
        assert comparison.prompt + comparison.chosen[0] == row["chosen"]
        assert comparison.prompt + comparison.rejected[0] == row["rejected"]
        assert (comparison.id, comparison.subtask) == (row["id"], row["subset"])


def test_every_row_is_the_published_row_of_that_number(shared_data):
    parts = ("helpful-base", "helpful-rejection-sampled", "harmless-base")
    published = {part: rows_of(shared_data / "hh-rlhf" / part / "test.jsonl.gz") for part in parts}
    seen = set()
    for name in FILES:
        for row in stored(name):
            part, _, number = row["id"].rpartition("/")
            original = published[part][int(number)]
            assert row == {"id": row["id"], "subset": part, **original}
            assert part.startswith(name.split(".")[0])
            seen.add(row["id"])
    assert len(seen) == 3200


def test_the_script_makes_the_shipped_files_again(shared_data, tmp_path, monkeypatch):
    script = load_script("make_sample")
    monkeypatch.setattr(script, "SAMPLE", tmp_path / "made")
    monkeypatch.setattr("sys.argv", ["make_sample.py", "--hh-rlhf", str(shared_data / "hh-rlhf")])
    script.main()
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted(FILES)
    for name in FILES:
        assert (tmp_path / "made" / name).read_bytes() == (SAMPLE / name).read_bytes()
