"""Make the embedded sample from HH-RLHF's published files.

    python scripts/make_sample.py --hh-rlhf DIR

DIR mirrors the dataset (`harmless-base/test.jsonl.gz`, ...). The hash of the first human turn decides the split, over
all files, so no first prompt is in both splits. Invalid rows and rows whose longer text exceeds MAX_CHARS are left out;
the others are taken in the order of their hash. The selection depends on the rows only.
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
SIZES = {"train": 1100, "test": 400}
HELD_OUT = 0.29
"""Fraction of first prompts held out, also from the pretraining of the tiny backbones."""
MAX_CHARS = 1024
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hh-rlhf", type=Path, required=True, help="folder with HH-RLHF's subsets")
    root = parser.parse_args().hh_rlhf
    SAMPLE.mkdir(exist_ok=True)
    for objective, subsets in SOURCES.items():
        chosen = [
            {"id": f"{subset}/{number}", "subset": subset, "chosen": row["chosen"], "rejected": row["rejected"]}
            for subset in subsets
            for number, row in rows(root, subset)
            if max(len(row["chosen"]), len(row["rejected"])) <= MAX_CHARS
        ]
        chosen.sort(key=lambda row: fraction("order:" + row["chosen"] + row["rejected"]))
        for split, size in SIZES.items():
            kept = [row for row in chosen if is_held_out(row["chosen"]) == (split == "test")]
            print(f"{objective} {split}: {len(kept)} rows fit, {min(size, len(kept))} taken")
            if len(kept) < size:
                raise SystemExit(f"{objective} {split}: {size} rows needed, {len(kept)} found under {root}")
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept[:size])
            # Without file name and time in the gzip header, the same rows give the same bytes.
            (SAMPLE / f"{objective}.{split}.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


if __name__ == "__main__":
    main()
