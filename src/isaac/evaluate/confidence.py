"""95 % confidence intervals of the shares of relevance and variety that a model kept.

The prompts are resampled as random halves (Shao and Wu, Annals of Statistics 17, 1989, 1176): a
half drawn without replacement varies around the whole as the whole varies around the population of
prompts. A bootstrap would draw some prompts twice, and their word pairs would count as repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from ..models.encoders import Encoder
from ..runtime.arrays import Flags, Ints, Reals
from ..text import extract_words
from .quality import MIN_REPLIES, compare_variety, encode_pairs
from .statistics import Interval

HALF_SAMPLES = 1000
"""Number of random halves of the prompts that are drawn."""

PairsByPrompt = Sequence[Sequence[tuple[str, str]]]
"""For each prompt, its pairs of the prompt and a coherent reply."""


def compute_retention_intervals(
    models: Sequence[PairsByPrompt], encoder: Encoder
) -> list[dict[str, Interval]]:
    """Compute the shares of the baseline's relevance and variety that each model kept.

    The first model is the baseline. The result has one dictionary per model, with the keys
    relevance and variety. It is empty for the baseline, and for all models if there are fewer than
    `MIN_REPLIES` prompts. A key is left out if its share is undefined in any sample: the relevance
    if the baseline's is not above zero, both if a model has too few replies.
    """
    if len(models[0]) < MIN_REPLIES:
        return [{} for _ in models]
    samples = _draw_half_samples(len(models[0]))
    # Relevance of each model in each sample, shape (HALF_SAMPLES + 1,).
    baseline, *others = (_compute_relevances(model, encoder, samples) for model in models)
    baseline_pairs, *other_pairs = map(_WordPairs, models)
    intervals: list[dict[str, Interval]] = [{}]
    for relevances, pairs in zip(others, other_pairs, strict=True):
        # Ratios to the baseline in the same sample; NaN where they are undefined.
        ratios = {
            "relevance": relevances / np.where(baseline > 0, baseline, np.nan),
            "variety": np.array([pairs.variety(baseline_pairs, chosen) for chosen in samples]),
        }
        intervals.append(
            {
                name: _compute_interval(values)
                for name, values in ratios.items()
                if np.isfinite(values).all()
            }
        )
    return intervals


def _draw_half_samples(prompts: int) -> Flags:
    """Draw which prompts are in each sample, shape (HALF_SAMPLES + 1, prompts).

    The first sample has all prompts, every other one a random half.
    """
    order = np.random.default_rng(0).random((HALF_SAMPLES, prompts)).argsort(axis=1)
    return np.concatenate([np.ones((1, prompts), np.bool_), order < prompts // 2])


def _compute_interval(values: Reals) -> Interval:
    """Compute the 95 % interval from the values (samples,): first of all prompts, then of halves.

    The interval is the spread of the halves around their mean, centered on the value of the whole.
    """
    low, high = np.percentile(values[1:], [2.5, 97.5]) - values[1:].mean()
    return Interval(float(values[0]), float(values[0] + low), float(values[0] + high))


def _repeat_prompt_indices(lists: Sequence[Sequence[object]]) -> Ints:
    """The prompt's index of each item, if the lists of all prompts are concatenated: (items,)."""
    return np.repeat(np.arange(len(lists)), [len(items) for items in lists])


def _compute_relevances(pairs: PairsByPrompt, encoder: Encoder, samples: Flags) -> Reals:
    """Compute the relevance of the replies in each sample of prompts, shape (samples,).

    This is `quality.compute_relevance` for many samples at once; NaN if a sample has fewer than two
    replies. The vectors are on a grid, so that sums of their products are exact in any order.
    """
    if not any(pairs):
        return np.full(len(samples), np.nan)
    flat = [pair for prompt_pairs in pairs for pair in prompt_pairs]
    contexts, replies = encode_pairs(flat, encoder)  # (pairs, d) each
    # Which pairs are in each sample, as 0 or 1, shape (samples, pairs).
    chosen = samples[:, _repeat_prompt_indices(pairs)].astype(np.float64)
    count = chosen.sum(axis=1)
    # Sums of cosines in each sample: over replies with their own context, and over all pairings.
    matched = chosen @ (contexts * replies).sum(axis=1)
    total = ((chosen @ contexts) * (chosen @ replies)).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mismatched = (total - matched) / (count * (count - 1))
        return np.asarray(matched / count - mismatched, np.float64)


class _WordPairs:
    """The pairs of adjacent words in a model's replies, as integers.

    ``pair_ids`` and ``prompts`` have one entry per occurrence of a pair: which pair it is, and the
    index of the prompt that the reply belongs to.
    """

    def __init__(self, pairs: PairsByPrompt) -> None:
        # For each prompt, the word pairs of all replies to it.
        by_prompt = [
            [word_pair for _, reply in prompt_pairs for word_pair in pairwise(extract_words(reply))]
            for prompt_pairs in pairs
        ]
        ids: dict[tuple[str, str], int] = {}
        numbers = [
            ids.setdefault(word_pair, len(ids))
            for word_pairs in by_prompt
            for word_pair in word_pairs
        ]
        self.pair_ids = np.array(numbers, np.int64)
        self.prompts = _repeat_prompt_indices(by_prompt)

    def variety(self, before: _WordPairs, chosen: Flags) -> float:
        """The share of the baseline's variety that is left in the chosen prompts, or NaN."""
        share = compare_variety(self._counts(chosen), before._counts(chosen))
        return np.nan if share is None else share

    def _counts(self, chosen: Flags) -> Ints:
        """Count how often each word pair occurs in the replies to the chosen prompts."""
        return np.bincount(self.pair_ids[chosen[self.prompts]])
