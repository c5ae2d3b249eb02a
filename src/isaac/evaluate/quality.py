"""How much replies say: length, variety, and whether they answer what was asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..curation.vectors import as_floats, embed
from ..models.encoders import Encoder
from .coherence import words_of
from .statistics import package

COMPARED = 100
"""Replies of which each is compared with all the others for self-BLEU."""

SAME = 0.2
"""Share of prompts with one and the same reply above which a model has collapsed, and share of
different replies under which it has. Replies to different prompts are hardly ever the same, so a
fifth is far from chance; a model that answers two prompts in ten alike answers neither."""

ENOUGH = 10
"""Replies below which nothing is said of collapse."""

Reals = npt.NDArray[np.float64]


class Quality(NamedTuple):
    """What replies are like; None where too few can be read.

    ``words`` is the mean length; ``distinct_1`` and ``distinct_2`` are different words and word
    pairs as shares of all (Li et al. 2016); ``self_bleu`` from 0 to 100 grows as replies are alike
    (Zhu et al. 2018); ``relevance`` is the mean cosine of reply and context above that of replies
    and contexts paired at random.
    """

    replies: int
    words: float | None
    distinct_1: float | None
    distinct_2: float | None
    self_bleu: float | None
    relevance: float | None


class Collapse(NamedTuple):
    """How far replies to different prompts are the same.

    ``common`` is the share of the most common reply, ``different`` that of different replies,
    ``reply`` the most common one.
    """

    collapsed: bool
    common: float
    different: float
    reply: str


def collapse_of(replies: Sequence[str]) -> Collapse:
    """Return whether replies to different prompts are nearly all one; `SAME` says from where."""
    if not replies:
        return Collapse(False, 0.0, 0.0, "")
    folded = [" ".join(words_of(reply)) for reply in replies]
    counts = Counter(folded)
    most, times = max(counts.items(), key=lambda item: (item[1], item[0]))
    common, different = times / len(replies), len(counts) / len(replies)
    collapsed = len(replies) >= ENOUGH and (common > SAME or different < SAME)
    return Collapse(collapsed, common, different, replies[folded.index(most)])


def pairs_in(replies: Sequence[str]) -> Counter[tuple[str, str]]:
    """Return how often each pair of neighbouring words occurs."""
    return Counter(pair for reply in replies for pair in pairwise(words_of(reply)))


def distinct_among(counts: Counter[tuple[str, str]], drawn: int) -> float | None:
    """Return the share of different items among so many drawn without putting back, expected.

    Hurlbert's rarefaction (Ecology 52, 1971, 577). None if fewer than that are there.
    """
    return rarefied(np.array(list(counts.values()), np.int64), drawn)


def rarefied(times: npt.NDArray[np.int64], drawn: int) -> float | None:
    """Return the same as `distinct_among` for items of which each occurs so many times."""
    total = int(times.sum())
    if not drawn or total < drawn:
        return None
    repeats = np.bincount(times)
    spread = np.flatnonzero(repeats)
    missed = [_all_missed(int(count), drawn, total) for count in spread]
    return float((repeats[spread] * (1 - np.array(missed))).sum() / drawn)


def variety_kept(after: Sequence[str], before: Sequence[str]) -> float | None:
    """Return distinct-2 of replies as a part of that of others, among equally many word pairs.

    Distinct-2 falls with the length of the text it is taken of, so that of longer replies alone
    would look like a loss of variety. None if either has no pairs.
    """
    new, old = pairs_in(after), pairs_in(before)
    drawn = min(new.total(), old.total())
    left, right = distinct_among(new, drawn), distinct_among(old, drawn)
    return left / right if left is not None and right else None


def _all_missed(count: int, drawn: int, total: int) -> float:
    """Return the chance that none of an item's occurrences is drawn."""
    if total - count < drawn:
        return 0.0
    kept = math.lgamma(total - count + 1) - math.lgamma(total - count - drawn + 1)
    return math.exp(kept - math.lgamma(total + 1) + math.lgamma(total - drawn + 1))


def quality_of(said: Sequence[tuple[str, str]], encoder: Encoder) -> Quality:
    """Return what replies are like, given as pairs of a context and the reply to it."""
    replies = [reply for _, reply in said]
    words = Counter(word for reply in replies for word in words_of(reply))
    pairs = pairs_in(replies)
    return Quality(
        len(replies),
        _share(words.total(), len(replies)),
        _share(len(words), words.total()),
        _share(len(pairs), pairs.total()),
        self_bleu(replies),
        relevance(said, encoder),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def self_bleu(replies: Sequence[str]) -> float | None:
    """Return the mean BLEU of replies against all the others, up to `COMPARED` of them."""
    if len(replies) < 2:
        return None
    places = np.unique(np.linspace(0, len(replies) - 1, COMPARED).round().astype(int))
    chosen = [replies[place] for place in places]
    bleu = package("sacrebleu").metrics.BLEU(effective_order=True)
    scores = [
        bleu.sentence_score(reply, chosen[:place] + chosen[place + 1 :]).score
        for place, reply in enumerate(chosen)
    ]
    return float(np.mean(scores))


def relevance(said: Sequence[tuple[str, str]], encoder: Encoder) -> float | None:
    """Return the mean cosine of contexts and their replies, less that of all other pairs.

    One reply for everything has a relevance of zero, whatever it says.
    """
    count = len(said)
    if count < 2:
        return None
    contexts, replies = vectors_of(said, encoder)
    own = float((contexts * replies).sum())
    every = float(contexts.sum(axis=0) @ replies.sum(axis=0))
    return own / count - (every - own) / (count * (count - 1))


def vectors_of(said: Sequence[tuple[str, str]], encoder: Encoder) -> tuple[Reals, Reals]:
    """Return the unit vectors of contexts and of replies, a row a pair, on the grid."""
    contexts, replies = (
        as_floats(embed(encoder, list(texts)).vectors).astype(np.float64)
        for texts in zip(*said, strict=True)
    )
    return contexts, replies
