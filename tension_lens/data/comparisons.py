"""A comparison, HH-RLHF transcripts, and the template that turns a prompt and a response into a text."""

from dataclasses import dataclass

ASSISTANT_TURN = "\n\nAssistant:"
HUMAN_TURN = "\n\nHuman:"
HH_TEMPLATE = "\n\nHuman: {prompt}\n\nAssistant: {response}"
"""The transcript form of HH-RLHF, in which benchmarks are shown to a model that names no other template."""


@dataclass(frozen=True)
class Comparison:
    """One item of preference data: a prompt with the responses people chose and those they rejected.

    The text of a response is `prompt + response`, letter by letter, unless `templated`: then prompt and response are
    bare and the model's template joins them.
    """

    prompt: str
    r"""What the responses answer; for a transcript everything up to and with the last `\n\nAssistant:`."""
    chosen: tuple[str, ...]
    """Accepted responses, at least one."""
    rejected: tuple[str, ...]
    """Rejected responses, at least one."""
    subtask: str
    """The part of the data the item belongs to, such as `harmless-base` or `xstest-should-refuse`."""
    task_type: str
    """`helpful`, `harmless`, or `unknown` where the data does not say."""
    id: str
    """Name of the item, unique in its source."""
    templated: bool = False
    """Whether the model's template joins prompt and response."""

    def side(self, side: str) -> tuple[str, ...]:
        """The responses of one side, `chosen` or `rejected`."""
        return self.chosen if side == "chosen" else self.rejected


def split_transcript(text: str) -> tuple[str, str]:
    r"""A transcript cut after its last `\n\nAssistant:` into (prompt, response).

    A text without that marker has no prompt: ("", text).
    """
    head, marker, response = text.rpartition(ASSISTANT_TURN)
    return head + marker, response


def first_human_turn(text: str) -> str:
    """What the human says first in a transcript, whitespace collapsed; the key that keeps splits apart."""
    start = text.partition(HUMAN_TURN)[2] or text
    return " ".join(start.partition(ASSISTANT_TURN)[0].split())


def transcript_flaw(chosen: str, rejected: str) -> str | None:
    r"""Why a pair of HH-RLHF transcripts cannot be compared, or None if it can.

    Flaws: `identical` (chosen equals rejected), `empty_reply`, `prompts_differ` (the pair does not share the text up
    to the last `\n\nAssistant:`), and `no_assistant_turn`.
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
    """The (prompt text, response text) whose concatenation a templated item shows to the model.

    Literal substitution: braces inside prompt or response mean nothing.
    """
    before, _, after = template.partition("{response}")
    return before.replace("{prompt}", prompt), response + after


def check_template(template: str) -> str:
    """The template itself, if `{prompt}` stands once in it and `{response}` once, later.

    Raises:
        ValueError: if it does not.
    """
    before, marker, after = template.partition("{response}")
    if not marker or before.count("{prompt}") != 1 or "{prompt}" in after or "{response}" in after:
        raise ValueError(f"a template must hold {{prompt}} once and then {{response}} once, found {template!r}")
    return template
