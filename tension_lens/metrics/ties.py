"""Ties: rewards of one item that differ by no more than rounding.

The same token ids at another place of a pack or batch, or with another number of threads, get a slightly different
reward. Measured on 24 to 80 texts in packs and batches of 1 to 20,000 tokens, in three orders, with one and two
threads, the largest difference relative to max(1, |reward|) was

* float32: 5.5 eps (6.6e-7) for the trained gpt2-tiny and smollm2-tiny and for random models of 3 layers, 24 eps
  (2.8e-6) for a random GPT-2 of 24 layers;
* bfloat16: 0.8 eps, float16: 1.6 eps, where the last rounding outweighs the others.

The bounds are two and a half to three times the largest of these.
"""

import numpy as np
from jaxtyping import Bool, Float

from tension_lens.constants import require_one_of
from tension_lens.metrics.ragged import Ragged

ROUNDING_BOUND = {"float32": 2.0**-17, "bfloat16": 2.0**-6, "float16": 2.0**-8}
"""Largest relative difference of two rewards that tie, by dtype: 64 eps in float32, 2 in bfloat16, 4 in float16."""


def tie(
    a: Float[np.ndarray, "*shape"] | float, b: Float[np.ndarray, "*shape"] | float, dtype: str
) -> Bool[np.ndarray, "*shape"]:
    """Whether rewards tie: |a − b| ≤ bound · max(1, |a|, |b|).

    Raises:
        RequestError: if no bound is known for the dtype.
    """
    require_one_of("dtype", dtype, tuple(ROUNDING_BOUND))
    scale = np.maximum(1.0, np.maximum(np.abs(a), np.abs(b)))
    return np.asarray(np.abs(np.subtract(a, b)) <= ROUNDING_BOUND[dtype] * scale)


def settled(chosen: Ragged, rejected: Ragged, dtype: str) -> tuple[Ragged, Ragged]:
    """The rewards of both sides, equal where they tie, so that they can be compared exactly.

    The rewards of an item, of both sides together, are sorted. Every run in which each ties with the next becomes the
    run's smallest reward. Settling twice changes nothing more.

    Raises:
        RequestError: if no bound is known for the dtype.
    """
    rewards = np.concatenate([chosen.values, rejected.values])
    items = np.concatenate([np.repeat(np.arange(len(side)), side.counts) for side in (chosen, rejected)])
    order = np.lexsort((rewards, items))
    ranked, item = rewards[order], items[order]
    first = np.ones(len(ranked), dtype=bool)
    first[1:] = (item[1:] != item[:-1]) | ~tie(ranked[1:], ranked[:-1], dtype)
    equal = np.empty_like(ranked)
    equal[order] = ranked[first][np.cumsum(first) - 1]
    ours, theirs = np.split(equal, [len(chosen.values)])
    return Ragged(ours, chosen.offsets), Ragged(theirs, rejected.offsets)
