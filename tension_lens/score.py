"""Score every MLP neuron of a reward model over preference data.

Writes scores.safetensors (statistics of activations on the chosen and on the rejected side, [n_layers, d_mlp]; with
--attribution also what each neuron adds to the reward; with --top-examples also examples.safetensors, where each neuron
is most active) and run.json into --out.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from simple_parsing import field

from tension_lens.artifacts.files import require_writable
from tension_lens.artifacts.layout import EXAMPLES_FILE, RUN_FILE, SCORES_FILE
from tension_lens.cli import parse, run_command
from tension_lens.console import run_through
from tension_lens.constants import SCOPES, SITES, require_one_of
from tension_lens.errors import RequestError
from tension_lens.inputs import OpenConfig, open_run
from tension_lens.passes.activations import finish_scores, stream_statistics
from tension_lens.passes.top_examples import ExampleAccumulator


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(OpenConfig):
    """Which activations to score."""

    out: Path
    """Folder for scores.safetensors and run.json."""
    site: Literal["post", "gate"] = "post"
    """Where a neuron is read: post = TransformerLens' hook_post, gate = act(W_gate x) alone (GPT-2: the same)."""
    scope: Literal["all", "response", "last"] = "all"
    """Over which tokens: all, the response's, or the one at which the reward is read."""
    long: Literal["drop", "truncate"] = "drop"
    """What becomes of a comparison with a text over --max-length."""
    base: str | None = None
    """The backbone before fine-tuning (folder or hub id): adds the statistic change_rms."""
    attribution: bool = field(default=False, action="store_true")
    """Also attribute the reward to neurons: adds attribution (activation times gradient, summed over all positions,
    whatever --scope) and direct (what is written straight to the value head). Takes a second pass over the data, with
    gradients; where its memory does not suffice, lower --token-budget."""
    top_examples: int = 0
    """Also store of each neuron so many comparisons, and the token of each, at which its activation is largest in
    magnitude (for the explorer). Found in the same pass; memory is that of a batch and of the index."""


def run(config: ScoreConfig) -> dict[str, Any]:
    """Score as the config says and write the results.

    Raises:
        RequestError: if anything asked for cannot be had.
    """
    from tension_lens.model.reward_model import HookedRewardModel
    from tension_lens.passes.attribution import stream_contributions, with_contributions

    require_one_of("site", config.site, SITES)
    require_one_of("scope", config.scope, SCOPES)
    if config.top_examples < 0:
        raise RequestError(f"--top-examples must be at least 0, found {config.top_examples}")
    require_writable(config.out, SCORES_FILE, EXAMPLES_FILE, RUN_FILE)
    opened = open_run(config, config.long)
    model, base = opened.model, None
    shape = model.n_layers, model.d_mlp
    if config.base is not None:
        base = HookedRewardModel.from_pretrained(
            config.base, config.device, config.dtype, headless=True, engine=config.engine
        )
        if (base.n_layers, base.d_mlp, base.hooked.cfg.d_vocab) != (*shape, model.hooked.cfg.d_vocab):
            raise RequestError(f"base {config.base} has another shape or vocabulary than model {config.model}")
    how = {"site": config.site, "scope": config.scope}
    examples = None
    if config.top_examples:
        examples = ExampleAccumulator(shape, config.top_examples, model.device)
    stream = stream_statistics(
        model, opened.data.texts, **how, token_budget=config.token_budget, base=base, examples=examples
    )
    sides, seconds = run_through(stream, opened.data.n_tokens, "scoring")
    tokens, contributed = opened.data.n_tokens, None
    if config.attribution:
        backward = stream_contributions(model, opened.data.texts, token_budget=config.token_budget)
        contributed, more_seconds = run_through(backward, opened.data.n_tokens, "attributing")
        tokens, seconds = tokens + opened.data.n_tokens, seconds + more_seconds
    record = opened.record("tension_lens.score", config, seconds, tokens)
    metadata = {
        "model": config.model,
        "weights_sha256": model.weights_sha256,
        "objective": model.card.objective or "unknown",
        "gated": "yes" if model.hooked.cfg.gated_mlp else "no",
        "data": opened.resolved["data"],
        "data_sha256": str(record.data_sha256),
        "items": str(opened.data.counts["kept"]),
        **({"base": config.base, "base_weights_sha256": base.weights_sha256} if config.base and base else {}),
    }
    scores = finish_scores(sides, **how, metadata=metadata)
    if contributed is not None:
        scores = with_contributions(scores, contributed)
    # The index of an earlier run is of other scores than those to be written.
    for earlier in (RUN_FILE, EXAMPLES_FILE):
        (config.out / earlier).unlink(missing_ok=True)
    scores.save(config.out)
    if examples is not None:
        read = {"comparisons": str(len(opened.source.comparisons))}
        examples.finish({**metadata, **how, **read}).save(config.out)
    record.save(config.out / RUN_FILE)
    return {
        "scores": str(config.out / SCORES_FILE),
        "items": opened.data.counts["kept"],
        "tokens": opened.data.n_tokens,
        "tokens_per_second": round(record.tokens_per_second),
    }


if __name__ == "__main__":
    run_command("tension_lens.score", lambda: run(parse(ScoreConfig, "tension_lens.score", __doc__)))
