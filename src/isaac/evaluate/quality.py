"""The quality of replies: length, variety, relevance to the prompt, and mode collapse."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..curation.vectors import as_floats, embed
from ..models.encoders import Encoder
from ..runtime.arrays import Ints, Reals
from ..text import UNSPACED, extract_words
from .statistics import require_package

MAX_SELF_BLEU_REPLIES = 100
"""Number of replies to sample for self-BLEU, which compares each with all the others."""

UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")
"""A character of a script without spaces, such as Chinese, Japanese and Thai."""

COLLAPSE_SHARE = 0.2
"""A model has collapsed if it gives one reply to more than this share of the prompts, or if fewer
than this share of its replies are distinct. Replies to different prompts are hardly ever identical,
so a fifth is far above chance."""

MIN_REPLIES = 10
"""Minimum number of replies for detecting collapse, and of prompts for confidence intervals."""


class ReplyQuality(NamedTuple):
    """Measures of a model's coherent replies; None where there are too few replies.

    ``words`` is the mean length in words; ``distinct_1`` and ``distinct_2`` are the shares of
    distinct words and word pairs (Li et al. 2016); ``self_bleu``, from 0 to 100, is higher the more
    the replies resemble each other (Zhu et al. 2018); ``relevance`` is the mean cosine of a reply
    and its context, minus the mean cosine of a reply and another context.
    """

    replies: int
    words: float | None
    distinct_1: float | None
    distinct_2: float | None
    self_bleu: float | None
    relevance: float | None


class ModeCollapse(NamedTuple):
    """How often replies to different prompts are the same.

    ``common`` is the share of the most common reply, ``different`` the share of distinct replies,
    ``reply`` the most common reply.
    """

    collapsed: bool
    common: float
    different: float
    reply: str


def detect_collapse(replies: Sequence[str]) -> ModeCollapse:
    """Detect whether a model gives the same reply to many different prompts.

    Case and punctuation are ignored; `COLLAPSE_SHARE` is the threshold.
    """
    if not replies:
        return ModeCollapse(False, 0.0, 0.0, "")
    folded = [" ".join(extract_words(reply)) for reply in replies]
    counts = Counter(folded)
    top, top_count = max(counts.items(), key=lambda item: (item[1], item[0]))
    common, different = top_count / len(replies), len(counts) / len(replies)
    collapsed = len(replies) >= MIN_REPLIES and (
        common > COLLAPSE_SHARE or different < COLLAPSE_SHARE
    )
    return ModeCollapse(collapsed, common, different, replies[folded.index(top)])


def count_word_pairs(replies: Sequence[str]) -> Counter[tuple[str, str]]:
    """Count how often each pair of adjacent words occurs."""
    return Counter(pair for reply in replies for pair in pairwise(extract_words(reply)))


def rarefy(counts: Ints, size: int) -> float | None:
    """Compute the expected share of distinct items in a sample drawn without replacement.

    ``counts`` (n,) is how often each distinct item occurs; ``size`` is the number of occurrences to
    draw. None if ``size`` is zero or larger than the total. Hurlbert's rarefaction (Ecology 52,
    1971, 577).
    """
    total = int(counts.sum())
    if not size or total < size:
        return None
    # Items that occur equally often are missed with equal probability, so group them by count:
    # how many items occur i times (entry i), and the counts that do occur.
    items_by_count = np.bincount(counts)
    occurring = np.flatnonzero(items_by_count)
    missed = [_miss_probability(int(count), size, total) for count in occurring]
    # Expected number of items that are drawn at least once, over the size of the sample.
    return float((items_by_count[occurring] * (1 - np.array(missed))).sum() / size)


def _miss_probability(count: int, size: int, total: int) -> float:
    """Compute the probability that a sample contains none of an item's ``count`` occurrences.

    This is C(total - count, size) / C(total, size), computed from logarithms.
    """
    if total - count < size:
        return 0.0
    misses = math.lgamma(total - count + 1) - math.lgamma(total - count - size + 1)
    return math.exp(misses - math.lgamma(total + 1) + math.lgamma(total - size + 1))


def compare_variety(after: Ints, before: Ints) -> float | None:
    """Compute distinct-2 after as a share of distinct-2 before, from the counts of word pairs.

    Both are rarefied to the same number of word pairs, because distinct-2 falls with the length of
    the text: longer replies would look like a loss of variety. None if either side has no pairs.
    """
    size = min(int(after.sum()), int(before.sum()))
    new, old = rarefy(after, size), rarefy(before, size)
    return new / old if new is not None and old else None


def retained_variety(after: Sequence[str], before: Sequence[str]) -> float | None:
    """Compute the share of the baseline's variety that the replies after kept."""
    new, old = (
        np.array(list(count_word_pairs(replies).values()), np.int64) for replies in (after, before)
    )
    return compare_variety(new, old)


def measure_quality(pairs: Sequence[tuple[str, str]], encoder: Encoder) -> ReplyQuality:
    """Measure the quality of replies, given as pairs of context and reply."""
    replies = [reply for _, reply in pairs]
    words = Counter(word for reply in replies for word in extract_words(reply))
    word_pairs = count_word_pairs(replies)
    return ReplyQuality(
        len(replies),
        _ratio(words.total(), len(replies)),
        _ratio(len(words), words.total()),
        _ratio(len(word_pairs), word_pairs.total()),
        compute_self_bleu(replies),
        compute_relevance(pairs, encoder),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def compute_self_bleu(replies: Sequence[str]) -> float | None:
    """Compute the mean BLEU of each reply against the others; None if there are fewer than two.

    If there are more than `MAX_SELF_BLEU_REPLIES`, a sample of that many is used, evenly spaced.
    In scripts without spaces, each character counts as a word: sacrebleu's default tokenization,
    13a, takes what is between two spaces for one word.
    """
    if len(replies) < 2:
        return None
    places = np.unique(np.linspace(0, len(replies) - 1, MAX_SELF_BLEU_REPLIES).round().astype(int))
    chosen = [UNSPACED_CHARACTER.sub(r" \g<0> ", replies[place]) for place in places]
    bleu = require_package("sacrebleu").metrics.BLEU(effective_order=True)
    scores = [
        bleu.sentence_score(reply, chosen[:place] + chosen[place + 1 :]).score
        for place, reply in enumerate(chosen)
    ]
    return float(np.mean(scores))


def compute_relevance(pairs: Sequence[tuple[str, str]], encoder: Encoder) -> float | None:
    """Compute the mean cosine of each context and its reply, minus the mean over all other pairs.

    A model that always gives the same reply has a relevance of zero. None if there are fewer than
    two pairs.
    """
    count = len(pairs)
    if count < 2:
        return None
    contexts, replies = encode_pairs(pairs, encoder)
    # Sums of cosines: over replies with their own context, and over all combinations. The second
    # is the product of two sums, because the dot product is linear.
    matched = float((contexts * replies).sum())
    total = float(contexts.sum(axis=0) @ replies.sum(axis=0))
    return matched / count - (total - matched) / (count * (count - 1))


def encode_pairs(pairs: Sequence[tuple[str, str]], encoder: Encoder) -> tuple[Reals, Reals]:
    """Embed contexts and replies as unit vectors, rounded to the grid: two arrays (pairs, d)."""
    contexts, replies = (
        as_floats(embed(encoder, list(texts)).vectors).astype(np.float64)
        for texts in zip(*pairs, strict=True)
    )
    return contexts, replies
