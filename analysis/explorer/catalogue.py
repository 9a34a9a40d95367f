"""The pairs that the page offers: those of the data specs given at the start, and what a reader types."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from analysis.explorer.state import Question
from tension_lens.constants import OBJECTIVES
from tension_lens.data.comparisons import Comparison, split_transcript
from tension_lens.data.datasets import Dataset, Spec, load_comparisons
from tension_lens.errors import RequestError

MATCHES_SHOWN = 40
DEFAULT_DATA = tuple(f"sample:{objective}:{split}" for split in ("test", "train") for objective in OBJECTIVES[::-1])
"""The embedded sample, all of it: no file and no network is needed."""


@dataclass(frozen=True)
class Pair:
    """One chosen and one rejected response to a prompt."""

    comparison: Comparison
    """Of one response a side."""
    name: str
    """What the page calls it."""
    typed: bool

    @property
    def sides(self) -> tuple[str, str]:
        """What the page calls the two responses."""
        return ("response A", "response B") if self.typed else ("chosen", "rejected")


class Catalogue:
    """The data specs that the explorer was started with. A browser chooses among them by name and opens nothing else.

    Args:
        specs: data specs as `tension_lens.evaluate` takes them.
        data_root: folder that mirrors the hub's files.
    """

    def __init__(self, specs: tuple[str, ...], data_root: Path | None = None) -> None:
        self.specs = {str(Spec.parse(text).with_defaults()): Spec.parse(text) for text in specs}
        self.data_root = data_root
        self.source = lru_cache(maxsize=None)(self._source)

    def _source(self, name: str) -> Dataset:
        """The comparisons of a spec, read once.

        Raises:
            RequestError: if it is none of those given at the start or cannot be read.
        """
        if name not in self.specs:
            known = ", ".join(self.specs)
            raise RequestError(f"unknown data {name!r}; choose one of {known}, or give more with --data")
        return load_comparisons(self.specs[name], self.data_root)

    def pair(self, question: Question) -> Pair:
        """The pair a question is about.

        Raises:
            RequestError: if it is of unknown data or its item is not in them, or a typed text is empty.
        """
        if question.source == "type":
            return _typed(question)
        comparisons = self.source(question.data).comparisons
        try:
            item, chosen, rejected = (int(number) for number in (question.item or "0.0.0").split("."))
            if min(item, chosen, rejected) < 0:
                raise ValueError
            comparison = comparisons[item]
            one, other = comparison.chosen[chosen], comparison.rejected[rejected]
        except (ValueError, IndexError):
            raise RequestError(f"no pair {question.item!r} in {question.data}; search for one above") from None
        single = Comparison(
            comparison.prompt,
            (one,),
            (other,),
            comparison.subtask,
            comparison.task_type,
            comparison.id,
            comparison.templated,
        )
        return Pair(single, label(comparison, chosen, rejected), typed=False)

    def search(self, name: str, words: str) -> tuple[list[tuple[str, str]], int]:
        """(item, label) of the first pairs that hold all the words, whatever their case, and how many there are."""
        wanted = words.casefold().split()
        found: list[tuple[str, str]] = []
        count = 0
        for item, comparison in enumerate(self.source(name).comparisons):
            if wanted:
                text = " ".join((comparison.id, comparison.prompt, *comparison.chosen, *comparison.rejected)).casefold()
                if not all(word in text for word in wanted):
                    continue
            for chosen in range(len(comparison.chosen)):
                for rejected in range(len(comparison.rejected)):
                    count += 1
                    if len(found) < MATCHES_SHOWN:
                        found.append((f"{item}.{chosen}.{rejected}", label(comparison, chosen, rejected)))
        return found, count


def label(comparison: Comparison, chosen: int, rejected: int) -> str:
    """A pair in one line: the item's name, which responses where there are several, and the last of the prompt."""
    asked = comparison.prompt.removesuffix("\n\nAssistant:").rpartition("Human:")[2]
    words = " ".join((asked or comparison.chosen[0]).split())
    which = ""
    if len(comparison.chosen) > 1:
        which += f" chosen {chosen + 1}"
    if len(comparison.rejected) > 1:
        which += f" rejected {rejected + 1}"
    return f"{comparison.id}{which}: {words[:90]}{'…' if len(words) > 90 else ''}"


def _typed(question: Question) -> Pair:
    first, second = question.first, question.second
    if not first.strip() or not second.strip():
        raise RequestError("type a prompt and two responses, then press Read this pair")
    for text in (question.prompt, first, second):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError("the text holds half of a surrogate pair, which is no character; remove it") from error
    # A transcript as HH-RLHF writes it is taken as it stands; the template would wrap it a second time.
    transcript = question.prompt.startswith("\n\nHuman:") and split_transcript(question.prompt)[0] == question.prompt
    comparison = Comparison(
        question.prompt, (first,), (second,), "typed", "unknown", "typed pair", templated=not transcript
    )
    return Pair(comparison, "typed pair", typed=True)
