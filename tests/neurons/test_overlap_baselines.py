"""Overlaps beside baselines: worked by hand, against a plain loop, and on data whose truth is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tension_lens.errors import RequestError
from tension_lens.neurons.overlap_baselines import EVEN, excess, jaccards, jackknife, top_sets
from tension_lens.neurons.overlap_blocks import BLOCKS, OverlapBlocks

ABOUT = {"site": "post"}


def blocks_of(sums, tokens):
    """Blocks with one source."""
    return OverlapBlocks({"all": np.float32(sums)}, {"all": np.int64(tokens)}, ABOUT)


def drawn(random, shape=(2, 15), truth=None):
    """Sums of blocks around a mean for each neuron."""
    truth = random.exponential(size=shape) if truth is None else truth
    tokens = random.integers(50, 100, (BLOCKS, 2))
    means = truth * random.gamma(30, 1 / 30, (BLOCKS, 2, *shape))
    return blocks_of(means * tokens[..., None, None], tokens)


def test_the_excess_and_its_interval_worked_by_hand():
    # On all four blocks and without each; the differences are 0.3 and 0.2, 0.4, 0.2, 0.4 with mean 0.3.
    observed, baseline = np.array([0.5, 0.4, 0.5, 0.5, 0.6]), np.array([0.2, 0.2, 0.1, 0.3, 0.2])
    found = excess(observed, baseline)
    assert (found.jaccard, found.baseline_jaccard, found.excess) == (0.5, 0.2, pytest.approx(0.3))
    # se² = 3/4 · 4 · 0.1² = 0.03; t(0.975, 3) = 3.182446.
    half = 3.182446 * math.sqrt(0.03)
    assert (found.low, found.high) == (pytest.approx(0.3 - half, abs=1e-6), pytest.approx(0.3 + half, abs=1e-6))
    with pytest.raises(RequestError, match="two blocks"):
        jackknife(np.array([0.5, 0.4]))


def test_of_a_mean_the_jackknife_is_students_interval():
    values = np.random.default_rng(0).normal(size=12)
    low, high = jackknife(np.array([values.mean(), *(np.delete(values, one).mean() for one in range(12))]))
    # t(0.975, 11) = 2.200985.
    half = 2.200985 * values.std(ddof=1) / math.sqrt(12)
    assert (low, high) == (pytest.approx(values.mean() - half, abs=1e-6), pytest.approx(values.mean() + half, abs=1e-6))


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([10.0, 25.0, 50.0]), st.booleans())
def test_sets_and_jaccards_equal_a_plain_loop(seed, top, halves):
    random = np.random.default_rng(seed)
    left, right = drawn(random), drawn(random)
    parts = (
        [[block for block in range(BLOCKS) if block % 2 == side] for side in (0, 1)] if halves else [range(BLOCKS)] * 2
    )
    if halves:
        right = left

    def chosen(blocks, kept):
        mean = 0
        for side in (0, 1):
            sums = sum(blocks.sums["all"][block, side].astype(float) for block in kept)
            mean = mean + sums / sum(blocks.tokens["all"][block, side] for block in kept) / 2
        ranked = sorted(np.ndindex(mean.shape), key=lambda place: -mean[place])
        return set(ranked[: round(top / 100 * mean.size)])

    expected = []
    for left_out in (None, *range(BLOCKS)):
        a, b = (
            chosen(blocks, [one for one in part if one != left_out])
            for blocks, part in zip((left, right), parts, strict=True)
        )
        expected.append(len(a & b) / len(a | b))
    masks = (None, None) if not halves else (EVEN, ~EVEN)
    found = jaccards(top_sets(left, "all", top, masks[0]), top_sets(right, "all", top, masks[1]))
    assert found.tolist() == expected


def test_the_interval_covers_the_excess_of_all_the_data():
    """Two models whose blocks vary around known means: the interval covers the true Jaccard index nearly as said."""
    random = np.random.default_rng(3)
    truths = random.exponential(size=(2, 1, 2000)) ** np.array([1.0, 1.1])[:, None, None]
    truths[1] = 0.5 * truths[1] + 0.5 * truths[0]
    sets = [truth >= np.sort(truth, axis=None)[-200] for truth in truths]
    true = (sets[0] & sets[1]).sum() / (sets[0] | sets[1]).sum()
    covered, width = 0, []
    for _ in range(30):
        tops = [top_sets(drawn(random, (1, 2000), truth), "all", 10.0) for truth in truths]
        low, high = jackknife(jaccards(*tops))
        covered += low <= true <= high
        width.append(high - low)
    assert covered >= 25
    assert np.mean(width) < 0.2
