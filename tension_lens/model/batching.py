"""Which forward pass runs which texts: the packed one, or the native one where it is asked for or a hook needs it."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from tension_lens.console import tell
from tension_lens.model.hooks import demand
from tension_lens.model.packing import Pack, packs, unshared
from tension_lens.model.padding import Batch, batches
from tension_lens.model.tokenization import TokenizedText

if TYPE_CHECKING:
    from tension_lens.model.reward_model import HookedRewardModel


@cache
def _say_once(reason: str) -> None:
    tell(f"note: {reason} needs HookedTransformer's own forward pass, which is slower; it is taken while this lasts")


def plan(
    models: "Sequence[HookedRewardModel]", texts: Sequence[TokenizedText], token_budget: int
) -> Iterator[Batch | Pack]:
    """Texts in batches that all of some models can run: packs, or padded batches where a model needs the native pass.

    A model needs it if its engine is `native`, or as long as it has a hook that the packed pass does not serve: that is
    asked anew before every pack, and said once on stderr. As long as other people's hooks are on points that the packed
    pass does serve, packs share nothing between texts.
    """
    first = models[0]
    if any(model.engine == "native" for model in models):
        yield from batches(texts, token_budget, first.pad_id, first.device)
        return
    for pack in packs(texts, token_budget, first.device):
        demands = [demand(model.hooked) for model in models]
        reasons = [one.native for one in demands if one.native is not None]
        if not reasons and not any(one.by_text for one in demands):
            yield pack
            continue
        if reasons:
            _say_once(reasons[0])
        for batch in batches(pack.texts, token_budget, first.pad_id, first.device):
            yield batch if reasons else unshared(batch.texts, first.device)
