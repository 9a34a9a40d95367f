"""Make the embedded sample from HH-RLHF's published files.

    python scripts/make_sample.py --hh-rlhf DIR

DIR mirrors the dataset (`harmless-base/test.jsonl.gz`, ...). The hash of the first human turn decides, over all files,
whether a row is held out, so no first prompt of `train` is in another split. Invalid rows and rows whose longer text
exceeds MAX_CHARS are left out; the others are taken in the order of their hash. `validation` are held-out rows whose
first prompt is in no test file; where they run out, rows up to VALIDATION_CHARS follow. The selection depends on the
rows only.
"""

import argparse
import gzip
import hashlib
import json
from itertools import islice
from pathlib import Path

from tension_lens.data.comparisons import first_human_turn, transcript_flaw

SOURCES = {"helpful": ("helpful-base", "helpful-rejection-sampled"), "harmless": ("harmless-base",)}
FIRST_ROWS = {"harmless-base": 2000}
SIZES = {"train": 1100, "test": 400, "validation": 100}
HELD_OUT = 0.29
"""Fraction of first prompts held out, also from the pretraining of the tiny backbones."""
MAX_CHARS = 1024
VALIDATION_CHARS = 1792
"""Only 10 shorter harmless rows are left; texts up to this length fit the 512 tokens of the tiny backbones."""
SAMPLE = Path(__file__).parent.parent / "tension_lens" / "data" / "sample"


def fraction(text: str) -> float:
    """A number in [0, 1) from the hash of the text."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


def is_held_out(transcript: str) -> bool:
    """Whether the transcript's first prompt is in the held-out split."""
    return fraction("split:" + first_human_turn(transcript)) < HELD_OUT


def rows(root: Path, subset: str) -> list[tuple[int, dict[str, str]]]:
    """The valid rows of a subset's test file, with their row numbers; of `FIRST_ROWS`, the first ones only."""
    with gzip.open(root / subset / "test.jsonl.gz", "rt", encoding="utf-8") as lines:
        numbered = enumerate(json.loads(line) for line in islice(lines, FIRST_ROWS.get(subset)))
        return [(n, row) for n, row in numbered if transcript_flaw(row["chosen"], row["rejected"]) is None]


def length(row: dict[str, str]) -> int:
    """Characters of the longer text."""
    return max(len(row["chosen"]), len(row["rejected"]))


def candidates(root: Path, objective: str) -> list[dict[str, str]]:
    """The rows of an objective's subsets up to VALIDATION_CHARS, in the order of their hash."""
    found = [
        {"id": f"{subset}/{number}", "subset": subset, "chosen": row["chosen"], "rejected": row["rejected"]}
        for subset in SOURCES[objective]
        for number, row in rows(root, subset)
        if length(row) <= VALIDATION_CHARS
    ]
    return sorted(found, key=lambda row: fraction("order:" + row["chosen"] + row["rejected"]))


def save(objective: str, split: str, fitting: list[dict[str, str]]) -> list[dict[str, str]]:
    """Write the first rows that fit to the split's file; return them."""
    size = SIZES[split]
    print(f"{objective} {split}: {len(fitting)} rows fit, {min(size, len(fitting))} taken")
    if len(fitting) < size:
        raise SystemExit(f"{objective} {split}: {size} rows needed, {len(fitting)} found")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in fitting[:size])
    # Without file name and time in the gzip header, the same rows give the same bytes.
    (SAMPLE / f"{objective}.{split}.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    return fitting[:size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hh-rlhf", type=Path, required=True, help="folder with HH-RLHF's subsets")
    root = parser.parse_args().hh_rlhf
    SAMPLE.mkdir(exist_ok=True)
    held_out, tested = {}, set()
    for objective in SOURCES:
        found = candidates(root, objective)
        save(objective, "train", [row for row in found if length(row) <= MAX_CHARS and not is_held_out(row["chosen"])])
        held_out[objective] = [row for row in found if is_held_out(row["chosen"])]
        taken = save(objective, "test", [row for row in held_out[objective] if length(row) <= MAX_CHARS])
        tested |= {first_human_turn(row["chosen"]) for row in taken}
    for objective, found in held_out.items():
        left = [row for row in found if first_human_turn(row["chosen"]) not in tested]
        save(objective, "validation", sorted(left, key=lambda row: length(row) > MAX_CHARS))


if __name__ == "__main__":
    main()
