"""Kinds of turns, which stand for their acts where a corpus of dialogues has none.

Turns are of one kind whose own words, and what the user said before and after them, are alike. A
user answers what was asked, whatever else was put in; so what was put in hardly makes a kind.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...corpus.corpus import Corpus
from ...corpus.formats.task_oriented import acts_from_group, induced_act_from_group, induced_group
from ...models.encoders import Encoder
from ...runtime.arrays import Ints
from ...runtime.progress import Progress
from ..search.exact import find_neighbors
from ..search.kmeans import evenly_spaced, spherical_kmeans, update_centroids
from ..storage import Storage
from ..vectors import GridVectors, embed, to_grid
from .turn_context import group_column, turn_context

MIN_ACTS = 2
"""Kinds at least."""

SQRT_TURNS_PER_ACT = 4
"""Kinds for the square root of the number of turns, divided by this: 21 for 7,000."""

SAMPLES_PER_ACT = 200
"""Turns a kind from which the kinds are learnt."""

BLOCK_TURNS = 10_000
"""Turns whose vectors are put side by side at a time; changes no result."""


class TurnTexts(NamedTuple):
    """Turns (n,): what was said before each, its own words, and what was said next."""

    said: Sequence[str]
    responses: Sequence[str]
    replies: Sequence[str]


def with_induced_acts(
    corpus: Corpus, encoder: Encoder, store: Storage, progress: Progress
) -> Corpus:
    """Return a corpus of dialogues whose turns without acts are grouped by their kinds.

    Where most turns have acts, those without are meant to have none, and stay as they are.
    """
    groups = group_column(corpus)
    bare = np.array([not acts_from_group(group) for group in groups], np.bool_)
    if 2 * int(bare.sum()) <= len(bare):
        return corpus

    def make() -> Ints:
        with progress.stage("kinds of turns", len(bare)) as tick:
            found = np.full(len(bare), -1)
            found[bare] = induce_acts(_select_turns(corpus, np.flatnonzero(bare)), encoder)
            tick(len(bare))
        return found

    kinds = store.array("vectors/kinds", make).tolist()
    pairs = zip(kinds, groups, strict=True)
    return corpus.with_groups(
        [group if kind < 0 else induced_group(kind, group) for kind, group in pairs]
    )


def _select_turns(corpus: Corpus, rows: Ints) -> TurnTexts:
    """Return some turns of a corpus."""
    given, places = turn_context(corpus), rows.tolist()
    columns = (given.said, corpus.column("response"), given.replies)
    return TurnTexts(*([texts[row] for row in places] for texts in columns))


def induce_acts(turns: TurnTexts, encoder: Encoder) -> Ints:
    """Return the kind of each turn, whatever the order of the turns."""
    order = sorted(range(len(turns.said)), key=list(zip(*turns, strict=True)).__getitem__)
    vectors = embed_turns(turns, encoder)
    count = max(MIN_ACTS, round(math.sqrt(len(order)) / SQRT_TURNS_PER_ACT))
    some = np.array(order)[evenly_spaced(len(order), SAMPLES_PER_ACT * count)]
    return find_nearest_centroid(
        vectors, spherical_kmeans(vectors[some], count, SAMPLES_PER_ACT, find_nearest_centroid)
    )


def count_induced_acts(corpus: Corpus) -> Counter[int]:
    """Return how many turns of a corpus are of each kind."""
    kinds = map(induced_act_from_group, group_column(corpus))
    return Counter(kind for kind in kinds if kind is not None)


class InducedActs:
    """The kinds of a corpus whose turns are grouped by them."""

    def __init__(self, corpus: Corpus, encoder: Encoder) -> None:
        self.encoder = encoder
        numbers = [
            -1 if kind is None else kind
            for kind in map(induced_act_from_group, group_column(corpus))
        ]
        rows = np.flatnonzero(np.array(numbers) >= 0)
        self.names, places = np.unique(np.array(numbers)[rows], return_inverse=True)
        if len(rows):
            vectors = embed_turns(_select_turns(corpus, rows), encoder)
            means = np.zeros((len(self.names), vectors.shape[1]), np.int16)
            self.means = update_centroids(means, vectors, places)

    def grouped(self, said: str, response: str, group: str) -> str:
        """Return the group of a turn: its own, or if it has no acts, that of its kind."""
        if acts_from_group(group) or not len(self.names):
            return group
        vector = embed_turns(TurnTexts([said], [response], [""]), self.encoder)
        return induced_group(int(self.names[find_nearest_centroid(vector, self.means)[0]]), group)


def find_nearest_centroid(vectors: GridVectors, means: GridVectors) -> Ints:
    """Return the place of the mean nearest to each vector."""
    return find_neighbors(vectors, means, 1)[:, 0]


def embed_turns(turns: TurnTexts, encoder: Encoder) -> GridVectors:
    """Return unit vectors (n, 3d) of turns: of their three texts side by side, 0 for none."""
    found = np.zeros((len(turns.said), 0), np.int16)
    for texts in turns:
        vectors = _embed_texts(texts, encoder)
        if not found.shape[1]:
            width = vectors.shape[1]
            found = np.zeros((len(texts), width * len(turns)), np.int16)
            free = iter(range(0, found.shape[1], width))
        start = next(free)
        found[:, start : start + width] = vectors
    for start in range(0, len(found), BLOCK_TURNS):
        found[start : start + BLOCK_TURNS] = to_grid(found[start : start + BLOCK_TURNS])
    return found


def _embed_texts(texts: Sequence[str], encoder: Encoder) -> GridVectors:
    every = sorted(set(texts) - {""})
    number = {text: place for place, text in enumerate(every)}
    vectors = embed(encoder, every or [" "]).vectors
    vectors = np.vstack([vectors, np.zeros_like(vectors[:1])])
    return vectors[[number.get(text, len(every)) if text else -1 for text in texts]]
