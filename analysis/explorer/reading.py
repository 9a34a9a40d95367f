"""What a model makes of one pair: tokens, values at each token, rewards with neurons off, what a neuron does.

Every function that takes a model runs it; call it within `Models.using`.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from tension_lens.constants import SIDES
from tension_lens.data.comparisons import Comparison, render
from tension_lens.errors import RequestError
from tension_lens.neurons.conditions import Condition
from tension_lens.neurons.sets import NeuronSet
from tension_lens.passes.rewards import stream_rewards

if TYPE_CHECKING:
    from torch import Tensor

    from tension_lens.model.reward_model import HookedRewardModel
    from tension_lens.model.tokenization import TokenizedText

CONTINUED = "▫"
"""Shown for a token that begins inside a character, as the later bytes of an emoji do."""


@dataclass(frozen=True)
class TokenView:
    """One token as the page shows it."""

    text: str
    """Its letters, with a sign for what has no glyph or would change the text around it; `CONTINUED` for none."""
    id: int
    in_response: bool
    pooled: bool
    """Whether the reward is read here."""


@dataclass(frozen=True)
class SideReading:
    """One response with its prompt."""

    tokens: tuple[TokenView, ...]
    rewards: Float[np.ndarray, " pos"]
    """The reward read at every token."""
    values: Float[np.ndarray, " pos"]
    """What colours the tokens."""

    @property
    def reward(self) -> float:
        """The reward of the text: that at its pooled token."""
        return float(self.rewards[next(i for i, token in enumerate(self.tokens) if token.pooled)])


def visible(text: str) -> str:
    """A text in which everything can be seen and nothing acts on its neighbours.

    Line ends and tabs stay, behind a sign; control characters become their pictures (U+2400 on); marks of direction,
    joiners, private and unassigned characters become their number.
    """
    shown = []
    for character in text:
        if character in "\n\t":
            shown.append({"\n": "⏎\n", "\t": "⇥\t"}[character])
        elif ord(character) < 0x20:
            shown.append(chr(0x2400 + ord(character)))
        elif ord(character) == 0x7F:
            shown.append("\u2421")
        elif unicodedata.category(character)[0] == "C" or unicodedata.category(character) in ("Zl", "Zp"):
            shown.append(f"‹U+{ord(character):04X}›")
        else:
            shown.append(character)
    return "".join(shown)


def tokenized(model: "HookedRewardModel", comparison: Comparison) -> "tuple[TokenizedText, TokenizedText]":
    """The two texts of a pair as the model reads them.

    Raises:
        RequestError: if one is longer than the model's context, or empty.
    """
    chosen, rejected = model.tokenizer(comparison, 0)
    longest = max(len(chosen.ids), len(rejected.ids))
    if longest > model.max_context:
        raise RequestError(
            f"the longer of the two texts has {longest:,} tokens; this model reads at most {model.max_context:,}, "
            "choose or type a shorter pair"
        )
    return chosen, rejected


def token_views(model: "HookedRewardModel", comparison: Comparison, text: "TokenizedText") -> tuple[TokenView, ...]:
    """The tokens of one text with their letters: each character with the first token that holds some of it."""
    response = comparison.side(text.side)[0]
    parts = (comparison.prompt, response)
    whole = "".join(render(*parts, model.tokenizer.template) if comparison.templated else parts)
    encoded = model.tokenizer.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    letters, done = [], 0
    for _, end in encoded["offset_mapping"]:
        # From where the last token ended, not from this one's start: offsets leave out the space before a word.
        letters.append(visible(whole[done:end]) or CONTINUED)
        done = max(done, end)
    special = model.tokenizer.tokenizer.convert_ids_to_tokens(list(text.ids[len(letters) :]))
    return tuple(
        TokenView(shown, number, position >= text.response_start, position == text.pooled)
        for position, (shown, number) in enumerate(zip([*letters, *map(visible, special)], text.ids, strict=True))
    )


def read_pair(
    model: "HookedRewardModel", comparison: Comparison, neurons: NeuronSet | None
) -> tuple[SideReading, SideReading]:
    """Both sides of a pair, token by token, in one forward pass.

    Args:
        model: the reward model.
        comparison: of one response a side.
        neurons: colours a token by the mean of these neurons' activations at the set's site; None by the reward there.

    Raises:
        RequestError: if a text is too long, or the set is empty or of another network.
    """
    import torch

    from tension_lens.model.batching import padded
    from tension_lens.model.hooks import reading

    texts = tokenized(model, comparison)
    batch = padded(texts, model.pad_id, model.device)
    sums = torch.zeros(batch.tokens.shape, device=model.device)
    chosen_neurons = {} if neurons is None else _by_layer(model, neurons)

    def add(layer: int, activations: "Tensor") -> None:
        if layer in chosen_neurons:
            sums.add_(activations[..., chosen_neurons[layer]].float().sum(-1))

    with reading(model.hooked, "post" if neurons is None else neurons.site, add):
        rewards = model.rewards_at_every_token(batch.tokens)
    values = rewards if neurons is None else sums / len(neurons)
    one, other = (
        SideReading(
            token_views(model, comparison, text),
            rewards[row, : len(text.ids)].cpu().numpy(),
            values[row, : len(text.ids)].cpu().numpy(),
        )
        for row, text in enumerate(texts)
    )
    return one, other


def _by_layer(model: "HookedRewardModel", neurons: NeuronSet) -> dict[int, Int[np.ndarray, " neuron"]]:
    neurons.require_fits(model.n_layers, model.d_mlp, what=f"model {model.card.objective or model.name}")
    if not len(neurons):
        raise RequestError(f"neuron set {neurons.name!r} is empty: it has no mean to colour by")
    return neurons.by_layer()


def pair_rewards(
    model: "HookedRewardModel", comparison: Comparison, conditions: Sequence[Condition]
) -> list[tuple[float, float]]:
    """Chosen and rejected reward of a pair under each condition, in order, as `tension_lens.evaluate` computes them.

    Raises:
        RequestError: if a text is too long or a set is of another network.
    """
    from tension_lens.model.tokenization import TokenizedData

    texts = tokenized(model, comparison)
    data = TokenizedData(texts, {"tokens": sum(len(text.ids) for text in texts)})
    *_, (_, rewards) = stream_rewards(model, data, conditions, token_budget=1 << 20)
    return [(float(both[0]), float(both[1])) for both in rewards.values()]


@dataclass(frozen=True)
class NeuronFacts:
    """What one neuron writes, to the vocabulary and to the reward."""

    promoted: tuple[tuple[str, float], ...]
    """Tokens to whose embedding its output weights point most, and how far."""
    suppressed: tuple[tuple[str, float], ...]
    direct: tuple[float, float]
    """What it adds to the chosen and to the rejected reward without passing another layer."""
    attribution: tuple[float, float]
    """First-order drop of either reward when it is zeroed."""


def neuron_facts(model: "HookedRewardModel", comparison: Comparison, layer: int, neuron: int, n: int) -> NeuronFacts:
    """The logit lens of a neuron's output weights and its effects on the rewards of a pair.

    The lens is W_E · (w_out ⊙ w_norm), w_out centred first where the final norm centres: what a unit of activation adds
    to each token's logit in a backbone with tied embeddings, before the norm divides. Effects: see
    `tension_lens.passes.attribution`.

    Raises:
        RequestError: if the model has no such neuron or a text is too long.
    """
    from tension_lens.model.batching import padded
    from tension_lens.passes.attribution import contributions

    single_neuron(model, layer, neuron)
    hooked = model.hooked
    write = hooked.blocks[layer].mlp.W_out[neuron].float()
    if hooked.cfg.normalization_type == "LN":
        write = write - write.mean()
    logits = hooked.W_E.float() @ (write * hooked.ln_final.w.float())
    top, bottom = logits.topk(n), (-logits).topk(n)
    found = contributions(model, padded(tokenized(model, comparison), model.pad_id, model.device))

    def words(ids: "Tensor", values: "Tensor") -> tuple[tuple[str, float], ...]:
        return tuple((token_name(model, int(i)), float(v)) for i, v in zip(ids, values, strict=True))

    def both(name: str) -> tuple[float, float]:
        chosen, rejected = found[name][:, layer, neuron].tolist()
        return chosen, rejected

    return NeuronFacts(
        words(top.indices, top.values), words(bottom.indices, -bottom.values), both("direct"), both("attribution")
    )


def token_name(model: "HookedRewardModel", number: int) -> str:
    """A token of the vocabulary as text; one that is part of a character by the tokenizer's own name for its bytes."""
    tokenizer = model.tokenizer.tokenizer
    text = tokenizer.decode([number])
    shown = visible(tokenizer.convert_ids_to_tokens(number) if "\ufffd" in text or not text else text)
    return shown.replace("\n", "").replace("\t", "")


def single_neuron(model: "HookedRewardModel", layer: int, neuron: int, site: str = "post") -> NeuronSet:
    """The set of one neuron of a model.

    Raises:
        RequestError: if the model has no such neuron.
    """
    if not (0 <= layer < model.n_layers and 0 <= neuron < model.d_mlp):
        raise RequestError(
            f"the model has layers 0 to {model.n_layers - 1} of neurons 0 to {model.d_mlp - 1}, "
            f"there is no neuron {layer}/{neuron}"
        )
    return NeuronSet.of(f"neuron {layer}/{neuron}", site, (model.n_layers, model.d_mlp), [(layer, neuron)])


def neuron_activations(
    model: "HookedRewardModel",
    comparisons: Sequence[Comparison],
    neuron: tuple[int, int],
    *,
    site: str,
    budget: int,
    go_on: Callable[[], None],
) -> tuple[dict[str, Float[np.ndarray, " token"]], int]:
    """The activations of one neuron at every token of either side, and how many comparisons they are of.

    Comparisons longer than the context are passed over; no more are read once `budget` tokens are reached. Before each
    of them `go_on` is called, which may raise to break off.
    """
    from tension_lens.model.batching import padded
    from tension_lens.model.hooks import reading

    found: dict[str, list[Float[np.ndarray, " token"]]] = {side: [] for side in SIDES}
    read = used = 0
    for comparison in comparisons:
        go_on()
        texts = model.tokenizer(comparison, 0)
        if max(len(text.ids) for text in texts) > model.max_context:
            continue
        if used and used + sum(len(text.ids) for text in texts) > budget:
            break
        batch = padded(texts, model.pad_id, model.device)
        kept: list[Tensor] = []

        def keep(layer: int, activations: "Tensor", kept: "list[Tensor]" = kept) -> None:
            if layer == neuron[0]:
                kept.append(activations[..., neuron[1]].float().cpu())

        with reading(model.hooked, site, keep):
            model.rewards_at_every_token(batch.tokens)
        for row, text in enumerate(texts):
            found[text.side].append(kept[0][row, : len(text.ids)].numpy())
        used += sum(len(text.ids) for text in texts)
        read += 1
    return {side: np.concatenate(rows) if rows else np.zeros(0) for side, rows in found.items()}, read
