"""Train a tiny backbone on HH-RLHF text: a byte-level BPE tokenizer and a language model.

    python scripts/pretrain_backbone.py --hh-rlhf DIR --backbone gpt2-tiny

The architectures are those of the families, small (`train/backbones/NAME/config.json`). The text is every transcript,
chosen and rejected, whose first prompt is not held out by the embedded sample. Weights are float16, under 4 MB.
"""

import argparse
import math
import time
from pathlib import Path

import torch
from make_sample import SOURCES, is_held_out, rows
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, set_seed

# WINDOW is the tiny models' context length, so that every learned position is trained.
BACKBONES = Path(__file__).parent.parent / "train" / "backbones"
END_OF_TEXT = "<|endoftext|>"
PEAK_LR, WARMUP, SEQUENCES_PER_STEP, WINDOW = 2e-3, 100, 16, 512


def transcripts(root: Path) -> list[str]:
    """Every valid transcript outside the held-out split, without repetitions, in a fixed order."""
    found = (row for subsets in SOURCES.values() for subset in subsets for _, row in rows(root, subset))
    kept = (row for row in found if not is_held_out(row["chosen"]))
    return list(dict.fromkeys(row[side] for row in kept for side in ("chosen", "rejected")))


def make_tokenizer(texts: list[str], vocab_size: int, context: int, split_digits: bool) -> PreTrainedTokenizerFast:
    """GPT-2's byte-level BPE; SmolLM2's also splits every digit."""
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level]) if split_digits else byte_level
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT, model_max_length=context
    )


def learning_rate(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a tenth of the peak."""
    if step < WARMUP:
        return PEAK_LR * (step + 1) / WARMUP
    return PEAK_LR * (0.55 + 0.45 * math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hh-rlhf", type=Path, required=True, help="folder with HH-RLHF's subsets")
    parser.add_argument("--backbone", choices=("gpt2-tiny", "smollm2-tiny"), required=True)
    parser.add_argument("--epochs", type=float, default=3.0, help="passes over the text")
    args = parser.parse_args()
    folder = BACKBONES / args.backbone
    config = AutoConfig.from_pretrained(folder)
    texts = transcripts(args.hh_rlhf)
    tokenizer = make_tokenizer(texts, config.vocab_size, config.max_position_embeddings, config.model_type == "llama")

    set_seed(0)
    ids = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in texts]
    generator = torch.Generator().manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    decayed = {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1}
    others = {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    optimizer = torch.optim.AdamW([decayed, others], betas=(0.9, 0.95))
    total = sum(map(len, ids))
    tokens_per_step = SEQUENCES_PER_STEP * WINDOW
    steps = int(args.epochs * total / tokens_per_step)
    print(f"{len(texts)} transcripts, {total} tokens, {steps} steps of {tokens_per_step} tokens", flush=True)

    stream = torch.empty(0, dtype=torch.long)
    started, bar = time.perf_counter(), tqdm(range(steps), disable=None)
    for step in bar:
        if len(stream) < tokens_per_step:
            order = torch.randperm(len(ids), generator=generator).tolist()
            stream = torch.cat([stream, torch.tensor([token for i in order for token in ids[i]])])
        batch, stream = stream[:tokens_per_step].view(-1, WINDOW), stream[tokens_per_step:]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        bar.set_postfix(loss=f"{loss.item():.3f}")
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step} loss {loss.item():.3f} seconds {time.perf_counter() - started:.0f}", flush=True)

    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    main()
