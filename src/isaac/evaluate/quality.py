"""How much replies say: length, variety, and whether they answer what was asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..curation.vectors import as_floats, embed
from ..models.encoders import Encoder
from ..runtime.arrays import Ints, Reals
from .coherence import extract_words
from .statistics import require_package

MAX_SELF_BLEU_REPLIES = 100
"""Replies of which each is compared with all the others for self-BLEU."""

COLLAPSE_SHARE = 0.2
"""Share of prompts with one and the same reply above which a model has collapsed, and share of
different replies under which it has. Replies to different prompts are hardly ever the same, so a
fifth is far from chance; a model that answers two prompts in ten alike answers neither."""

MIN_REPLIES = 10
"""Replies below which nothing is said of collapse."""


class ReplyQuality(NamedTuple):
    """What replies are like; None where too few can be read.

    ``words`` is the mean length; ``distinct_1`` and ``distinct_2`` are different words and word
    pairs as shares of all (Li et al. 2016); ``compute_self_bleu`` from 0 to 100 grows as replies are alike
    (Zhu et al. 2018); ``compute_relevance`` is the mean cosine of reply and context above that of replies
    and contexts paired at random.
    """

    replies: int
    words: float | None
    distinct_1: float | None
    distinct_2: float | None
    self_bleu: float | None
    relevance: float | None


class ModeCollapse(NamedTuple):
    """How far replies to different prompts are the same.

    ``common`` is the share of the most common reply, ``different`` that of different replies,
    ``reply`` the most common one.
    """

    collapsed: bool
    common: float
    different: float
    reply: str


def detect_collapse(replies: Sequence[str]) -> ModeCollapse:
    """Return whether replies to different prompts are nearly all one; `COLLAPSE_SHARE` says from where."""
    if not replies:
        return ModeCollapse(False, 0.0, 0.0, "")
    folded = [" ".join(extract_words(reply)) for reply in replies]
    counts = Counter(folded)
    most, times = max(counts.items(), key=lambda item: (item[1], item[0]))
    common, different = times / len(replies), len(counts) / len(replies)
    collapsed = len(replies) >= MIN_REPLIES and (
        common > COLLAPSE_SHARE or different < COLLAPSE_SHARE
    )
    return ModeCollapse(collapsed, common, different, replies[folded.index(most)])


def count_word_pairs(replies: Sequence[str]) -> Counter[tuple[str, str]]:
    """Return how often each pair of neighbouring words occurs."""
    return Counter(pair for reply in replies for pair in pairwise(extract_words(reply)))


def rarefy_counter(counts: Counter[tuple[str, str]], drawn: int) -> float | None:
    """Return the share of different items among so many drawn without putting back, expected.

    Hurlbert's rarefaction (Ecology 52, 1971, 577). None if fewer than that are there.
    """
    return rarefy(np.array(list(counts.values()), np.int64), drawn)


def rarefy(times: Ints, drawn: int) -> float | None:
    """Return the same as `rarefy_counter` for items of which each occurs so many times."""
    total = int(times.sum())
    if not drawn or total < drawn:
        return None
    repeats = np.bincount(times)
    spread = np.flatnonzero(repeats)
    missed = [_miss_probability(int(count), drawn, total) for count in spread]
    return float((repeats[spread] * (1 - np.array(missed))).sum() / drawn)


def retained_variety(after: Sequence[str], before: Sequence[str]) -> float | None:
    """Return distinct-2 of replies as a part of that of others, among equally many word pairs.

    Distinct-2 falls with the length of the text it is taken of, so that of longer replies alone
    would look like a loss of variety. None if either has no pairs.
    """
    new, old = count_word_pairs(after), count_word_pairs(before)
    drawn = min(new.total(), old.total())
    left, right = rarefy_counter(new, drawn), rarefy_counter(old, drawn)
    return left / right if left is not None and right else None


def _miss_probability(count: int, drawn: int, total: int) -> float:
    """Return the chance that none of an item's occurrences is drawn."""
    if total - count < drawn:
        return 0.0
    kept = math.lgamma(total - count + 1) - math.lgamma(total - count - drawn + 1)
    return math.exp(kept - math.lgamma(total + 1) + math.lgamma(total - drawn + 1))


def measure_quality(said: Sequence[tuple[str, str]], encoder: Encoder) -> ReplyQuality:
    """Return what replies are like, given as pairs of a context and the reply to it."""
    replies = [reply for _, reply in said]
    words = Counter(word for reply in replies for word in extract_words(reply))
    pairs = count_word_pairs(replies)
    return ReplyQuality(
        len(replies),
        _ratio(words.total(), len(replies)),
        _ratio(len(words), words.total()),
        _ratio(len(pairs), pairs.total()),
        compute_self_bleu(replies),
        compute_relevance(said, encoder),
    )


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def compute_self_bleu(replies: Sequence[str]) -> float | None:
    """Return the mean BLEU of replies against all the others, up to `MAX_SELF_BLEU_REPLIES` of them."""
    if len(replies) < 2:
        return None
    places = np.unique(np.linspace(0, len(replies) - 1, MAX_SELF_BLEU_REPLIES).round().astype(int))
    chosen = [replies[place] for place in places]
    bleu = require_package("sacrebleu").metrics.BLEU(effective_order=True)
    scores = [
        bleu.sentence_score(reply, chosen[:place] + chosen[place + 1 :]).score
        for place, reply in enumerate(chosen)
    ]
    return float(np.mean(scores))


def compute_relevance(said: Sequence[tuple[str, str]], encoder: Encoder) -> float | None:
    """Return the mean cosine of contexts and their replies, less that of all other pairs.

    One reply for everything has a relevance of zero, whatever it says.
    """
    count = len(said)
    if count < 2:
        return None
    contexts, replies = encode_pairs(said, encoder)
    own = float((contexts * replies).sum())
    every = float(contexts.sum(axis=0) @ replies.sum(axis=0))
    return own / count - (every - own) / (count * (count - 1))


def encode_pairs(said: Sequence[tuple[str, str]], encoder: Encoder) -> tuple[Reals, Reals]:
    """Return the unit vectors of contexts and of replies, a row a pair, on the grid."""
    contexts, replies = (
        as_floats(embed(encoder, list(texts)).vectors).astype(np.float64)
        for texts in zip(*said, strict=True)
    )
    return contexts, replies
