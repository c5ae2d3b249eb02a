"""Induced acts: clusters of similar turns, used as acts if a corpus of dialogues has none.

Turns have the same induced act if their own words are similar, and so is what the user said before
and after them. Users respond to what was asked and ignore what was injected, so injected text
rarely becomes an act of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...corpus.corpus import Corpus
from ...corpus.dialogue.group import DialogueGroup
from ...models.encoders import Encoder
from ...runtime.arrays import Ints
from ...runtime.progress import Progress
from ..search.exact import find_neighbors
from ..search.kmeans import evenly_spaced, spherical_kmeans, update_centroids
from ..storage import INDUCED_ACTS_KEY, Storage
from ..vectors import GridVectors, embed, to_grid
from .turn_context import group_column, turn_context

MIN_ACTS = 2
"""Minimum number of induced acts."""

SQRT_TURNS_PER_ACT = 4
"""The number of acts is the square root of the number of turns, divided by this: 21 for 7,000."""

SAMPLES_PER_ACT = 200
"""Sampled turns per act, from which the acts are learned."""

BLOCK_TURNS = 10_000
"""Turns whose vectors are put on the grid at a time; bounds memory, does not affect results."""


class TurnTexts(NamedTuple):
    """Turns (n,): the last user message before each, the response, and the next user message."""

    user_messages: Sequence[str]
    responses: Sequence[str]
    replies: Sequence[str]


def with_induced_acts(
    corpus: Corpus, encoder: Encoder, store: Storage, progress: Progress
) -> Corpus:
    """Group the turns without acts of a corpus of dialogues by induced acts.

    If at least half of the turns have acts, the corpus is returned unchanged: the other turns are
    assumed to have no acts on purpose.
    """
    groups = group_column(corpus)
    lacks_acts = np.array([not DialogueGroup.parse(group).acts for group in groups], np.bool_)
    if 2 * int(lacks_acts.sum()) <= len(lacks_acts):
        return corpus

    def induce() -> Ints:
        with progress.stage("induced acts", len(lacks_acts)) as tick:
            acts = np.full(len(lacks_acts), -1)
            turns = _select_turns(corpus, np.flatnonzero(lacks_acts))
            acts[lacks_acts] = induce_acts(turns, encoder)
            tick(len(lacks_acts))
        return acts

    acts = store.array(INDUCED_ACTS_KEY, induce).tolist()
    pairs = zip(acts, groups, strict=True)
    return corpus.with_groups(
        [
            group if act < 0 else str(DialogueGroup.parse(group).with_induced_act(act))
            for act, group in pairs
        ]
    )


def _select_turns(corpus: Corpus, rows: Ints) -> TurnTexts:
    context, places = turn_context(corpus), rows.tolist()
    columns = (context.user_messages, corpus.column("response"), context.replies)
    return TurnTexts(*([texts[row] for row in places] for texts in columns))


def induce_acts(turns: TurnTexts, encoder: Encoder) -> Ints:
    """Compute the number (n,) of each turn's induced act, whatever the order of the turns."""
    # Sorted by their texts, so that the sample for k-means does not depend on their order.
    order = sorted(range(len(turns.responses)), key=list(zip(*turns, strict=True)).__getitem__)
    vectors = embed_turns(turns, encoder)
    count = max(MIN_ACTS, round(math.sqrt(len(order)) / SQRT_TURNS_PER_ACT))
    sample = np.array(order)[evenly_spaced(len(order), SAMPLES_PER_ACT * count)]
    return find_nearest_centroid(
        vectors, spherical_kmeans(vectors[sample], count, SAMPLES_PER_ACT, find_nearest_centroid)
    )


def count_induced_acts(corpus: Corpus) -> Counter[int]:
    """Count the turns of a corpus with each induced act."""
    acts = (DialogueGroup.parse(group).induced_act for group in group_column(corpus))
    return Counter(act for act in acts if act is not None)


class InducedActs:
    """The induced acts of a corpus, to group a new turn by.

    ``numbers`` (a,) are the numbers of the acts, none if the corpus has no induced acts;
    ``centroids`` (a, 3d) are their mean vectors.
    """

    def __init__(self, corpus: Corpus, encoder: Encoder) -> None:
        self.encoder = encoder
        parsed = (DialogueGroup.parse(group).induced_act for group in group_column(corpus))
        acts = [-1 if act is None else act for act in parsed]
        rows = np.flatnonzero(np.array(acts) >= 0)
        self.numbers, assignments = np.unique(np.array(acts)[rows], return_inverse=True)
        if len(rows):
            vectors = embed_turns(_select_turns(corpus, rows), encoder)
            zeros = np.zeros((len(self.numbers), vectors.shape[1]), np.int16)
            self.centroids = update_centroids(zeros, vectors, assignments)

    def assign_group(self, user_message: str, response: str, group: str) -> str:
        """Give a turn without acts the induced act nearest to it; others keep their group."""
        parsed = DialogueGroup.parse(group)
        if parsed.acts or not len(self.numbers):
            return group
        vector = embed_turns(TurnTexts([user_message], [response], [""]), self.encoder)
        nearest = find_nearest_centroid(vector, self.centroids)[0]
        return str(parsed.with_induced_act(int(self.numbers[nearest])))


def find_nearest_centroid(vectors: GridVectors, centroids: GridVectors) -> Ints:
    """Find the number (n,) of the centroid nearest to each vector."""
    return find_neighbors(vectors, centroids, 1)[:, 0]


def embed_turns(turns: TurnTexts, encoder: Encoder) -> GridVectors:
    """Embed turns as unit vectors (n, 3d): their three texts side by side, 0 for an empty text."""
    vectors = np.zeros((len(turns.responses), 0), np.int16)
    for number, texts in enumerate(turns):
        text_vectors = _embed_texts(texts, encoder)
        width = text_vectors.shape[1]
        if not number:
            vectors = np.zeros((len(texts), width * len(turns)), np.int16)
        vectors[:, number * width : (number + 1) * width] = text_vectors
    for start in range(0, len(vectors), BLOCK_TURNS):
        vectors[start : start + BLOCK_TURNS] = to_grid(vectors[start : start + BLOCK_TURNS])
    return vectors


def _embed_texts(texts: Sequence[str], encoder: Encoder) -> GridVectors:
    """Embed texts (n, d), each distinct text once; the vector of an empty text is 0."""
    distinct = sorted(set(texts) - {""})
    number = {text: place for place, text in enumerate(distinct)}
    vectors = embed(encoder, distinct or [" "]).vectors
    vectors = np.vstack([vectors, np.zeros_like(vectors[:1])])
    return vectors[[number[text] if text else -1 for text in texts]]
