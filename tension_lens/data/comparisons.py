"""Comparisons, HH-RLHF transcripts, and templates that turn a prompt and a response into a text."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

ASSISTANT_TURN = "\n\nAssistant:"
HUMAN_TURN = "\n\nHuman:"
HH_TEMPLATE = "\n\nHuman: {prompt}\n\nAssistant: {response}"
"""The format of HH-RLHF transcripts; the default template of benchmarks."""


@dataclass(frozen=True)
class Comparison:
    """One item of preference data: a prompt with chosen and rejected responses.

    The model's input is `prompt + response` verbatim, or, if `templated`, both joined by the model's template.
    """

    prompt: str
    r"""The prompt; for a transcript, the text up to and including the last `\n\nAssistant:`."""
    chosen: tuple[str, ...]
    """Chosen responses, at least one."""
    rejected: tuple[str, ...]
    """Rejected responses, at least one."""
    subtask: str
    """The part of the dataset, such as `harmless-base` or `xstest-should-refuse`."""
    task_type: str
    """`helpful`, `harmless` or `unknown`."""
    id: str
    """Identifier, unique in its dataset."""
    templated: bool = False
    """Whether the model's template joins prompt and response; see the class."""

    def side(self, side: str) -> tuple[str, ...]:
        """The responses of one side, `chosen` or `rejected`."""
        return self.chosen if side == "chosen" else self.rejected


def split_transcript(text: str) -> tuple[str, str]:
    r"""Split a transcript after its last `\n\nAssistant:` into (prompt, response); without that marker, ("", text)."""
    head, marker, response = text.rpartition(ASSISTANT_TURN)
    return head + marker, response


def first_human_turn(text: str) -> str:
    """The first human turn of a transcript, whitespace collapsed; the key by which data are split."""
    start = text.partition(HUMAN_TURN)[2] or text
    return " ".join(start.partition(ASSISTANT_TURN)[0].split())


def first_of_each_type(task_types: Sequence[str], subtasks: Sequence[str], count: int) -> list[int]:
    """Indices of `count` items of each task type, evenly over its sub-tasks, in order.

    The first of each sub-task, then the second of each, and so on; all of a type that has no more than `count`.
    """
    rank: Counter[str] = Counter()
    by_type: dict[str, list[tuple[int, int]]] = {}
    for index, (task_type, subtask) in enumerate(zip(task_types, subtasks, strict=True)):
        by_type.setdefault(task_type, []).append((rank[subtask], index))
        rank[subtask] += 1
    return sorted(index for ranked in by_type.values() for _, index in sorted(ranked)[:count])


def prompt_key(comparison: Comparison) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of a comparison's first human turn; of its id if it has no prompt."""
    prompt = first_human_turn(comparison.prompt) or f"item {comparison.id}"
    return hashlib.sha256(prompt.encode()).hexdigest()[:16]


def transcript_flaw(chosen: str, rejected: str) -> str | None:
    r"""The reason why two HH-RLHF transcripts are not a valid pair, or None.

    Reasons: `identical`, `empty_reply`, `prompts_differ` (the texts up to the last `\n\nAssistant:` differ), and
    `no_assistant_turn`.
    """
    if chosen == rejected:
        return "identical"
    chosen_prompt, chosen_reply = split_transcript(chosen)
    rejected_prompt, rejected_reply = split_transcript(rejected)
    if not chosen_prompt or not rejected_prompt:
        return "no_assistant_turn"
    if not chosen_reply.strip() or not rejected_reply.strip():
        return "empty_reply"
    if chosen_prompt != rejected_prompt:
        return "prompts_differ"
    return None


def render(prompt: str, response: str, template: str) -> tuple[str, str]:
    """The (prompt text, response text) of a templated item; the model's input is their concatenation.

    Substitution is literal: braces in prompt or response have no meaning.
    """
    before, _, after = template.partition("{response}")
    return before.replace("{prompt}", prompt), response + after


def check_template(template: str) -> str:
    """Return the template if it contains `{prompt}` once and then `{response}` once.

    Raises:
        ValueError: if it does not.
    """
    before, marker, after = template.partition("{response}")
    if not marker or before.count("{prompt}") != 1 or "{prompt}" in after or "{response}" in after:
        raise ValueError(f"a template must contain {{prompt}} once and then {{response}} once, found {template!r}")
    return template
