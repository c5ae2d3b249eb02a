"""How sure it is which part of relevance and variety a model kept: 95 % intervals over prompts.

Prompts are drawn again as random halves (Shao and Wu, Annals of Statistics 17, 1989, 1176): a half
of the prompts, drawn without putting back, varies about the whole as the whole does about what all
prompts would give. The bootstrap would hold prompts twice, whose word pairs would then be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..models.encoders import Encoder
from ..runtime.arrays import Flags, Ints, Reals
from .coherence import extract_words
from .quality import MIN_REPLIES, encode_pairs, rarefy
from .statistics import Interval

HALF_SAMPLES = 1000
"""Halves of the prompts that are drawn."""

PairsByPrompt = Sequence[Sequence[tuple[str, str]]]
"""For each prompt the pairs of it and a coherent reply."""


def compute_retention_intervals(
    said: Sequence[PairsByPrompt], encoder: Encoder
) -> list[dict[str, Interval]]:
    """Return for each model which part of the first's relevance and variety it kept.

    What cannot be told is left out: all of the first itself and with fewer prompts than `MIN_REPLIES`,
    the relevance where it is not above zero before in every half, either without replies.
    """
    if len(said[0]) < MIN_REPLIES:
        return [{} for _ in said]
    drawn = _draw_half_samples(len(said[0]))
    first, *others = (_compute_relevances(one, encoder, drawn) for one in said)
    before, *after = (_WordPairs(one) for one in said)
    found: list[dict[str, Interval]] = [{}]
    for relevances, pairs in zip(others, after, strict=True):
        kept = {
            "relevance": relevances / np.where(first > 0, first, np.nan),
            "variety": np.array([pairs.variety(before, chosen) for chosen in drawn]),
        }
        told = {name: values for name, values in kept.items() if np.isfinite(values).all()}
        found.append({name: _compute_interval(values) for name, values in told.items()})
    return found


def _draw_half_samples(prompts: int) -> Flags:
    """Return which prompts are in each half, a row a half, after a row of all of them."""
    order = np.random.default_rng(0).random((HALF_SAMPLES, prompts)).argsort(axis=1)
    return np.concatenate([np.ones((1, prompts), np.bool_), order < prompts // 2])


def _compute_interval(values: Reals) -> Interval:
    """Return the first value, with the 95 % interval of the others about their mean, laid on it."""
    low, high = np.percentile(values[1:], [2.5, 97.5]) - values[1:].mean()
    return Interval(float(values[0]), float(values[0] + low), float(values[0] + high))


def _repeat_prompt_indices(said: PairsByPrompt) -> Ints:
    """Return of each reply the prompt that it is to."""
    return np.repeat(np.arange(len(said)), [len(pairs) for pairs in said])


def _compute_relevances(said: PairsByPrompt, encoder: Encoder, drawn: Flags) -> Reals:
    """Return the relevance in each row of prompts, as `quality.relevance` has it, NaN for few.

    The vectors lie on a grid, so that sums of their products are exact in any order.
    """
    if not any(said):
        return np.full(len(drawn), np.nan)
    contexts, replies = encode_pairs([pair for pairs in said for pair in pairs], encoder)
    chosen = drawn[:, _repeat_prompt_indices(said)].astype(np.float64)
    count = chosen.sum(axis=1)
    own = chosen @ (contexts * replies).sum(axis=1)
    every = ((chosen @ contexts) * (chosen @ replies)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(own / count - (every - own) / (count * (count - 1)), np.float64)


class _WordPairs:
    """The pairs of neighbouring words in what a model said, as numbers."""

    def __init__(self, said: PairsByPrompt) -> None:
        words = [[extract_words(reply) for _, reply in pairs] for pairs in said]
        every = [[pair for reply in replies for pair in pairwise(reply)] for replies in words]
        known: dict[tuple[str, str], int] = {}
        numbers = [known.setdefault(pair, len(known)) for pairs in every for pair in pairs]
        self.pair_ids = np.array(numbers, np.int64)
        self.prompts = _repeat_prompt_indices(every)

    def variety(self, before: _WordPairs, chosen: Flags) -> float:
        """Return the part of the variety before among chosen prompts, as `quality.variety_kept`."""
        new, old = self._counts(chosen), before._counts(chosen)
        drawn = min(int(new.sum()), int(old.sum()))
        left, right = rarefy(new, drawn), rarefy(old, drawn)
        return left / right if left is not None and right else np.nan

    def _counts(self, chosen: Flags) -> Ints:
        return np.bincount(self.pair_ids[chosen[self.prompts]])
